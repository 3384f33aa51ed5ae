//! The lottery's processes: a central, `node agency`, and clients of the document's wire.

use super::clients::try_connect;
use super::{LONG, Node, free_port, local, wait_until};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A central with the document's wire and the native one.
pub struct Central {
    pub dir: TempDir,
    data: PathBuf,
    pub text: SocketAddr,
    pub native: SocketAddr,
}

impl Central {
    pub fn prepare(agencies: u32) -> Central {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let data = dir.path().join("data");
        Central::prepare_in(dir, data, agencies)
    }

    /// One whose data directory is elsewhere.
    pub fn prepare_in(dir: TempDir, data: PathBuf, agencies: u32) -> Central {
        let (text, native) = (local(free_port()), local(free_port()));
        // However slow a test's client is, it is not what the central closes.
        let config = format!(
            "[node]\nid = 1\ndata_dir = {data:?}\n\n[[listeners]]\naddr = \"{text}\"\n\
             gateway = \"lottery-text\"\n\n[[listeners]]\naddr = \"{native}\"\n\n\
             [limits]\nrequest_timeout_ms = 3600000\n\n[protocols.lottery]\nagencies = {agencies}\n"
        );
        fs::write(dir.path().join("node.toml"), config).expect("a config");
        Central { dir, data, text, native }
    }

    pub fn spawn(&self) -> Node {
        self.spawn_under(&[])
    }

    /// Starts it with these words before its command.
    pub fn spawn_under(&self, wrapper: &[&str]) -> Node {
        let name = self.dir.path().join("node");
        Node::spawn_under(wrapper, &self.dir.path().join("node.toml"), &name)
    }

    pub fn start(&self) -> Node {
        self.start_under(&[])
    }

    /// The same as for [`spawn_under`](Central::spawn_under), and waits until it listens.
    pub fn start_under(&self, wrapper: &[&str]) -> Node {
        let node = self.spawn_under(wrapper);
        wait_until("the central listens", LONG, || {
            node.assert_runs();
            try_connect(self.text).ok()
        });
        node
    }

    /// Starts it, with every event written to this file, and waits until it listens.
    pub fn start_traced(&self, trace: &Path) -> Node {
        let config = self.dir.path().join("node.toml");
        let node = Node::spawn_with(&config, &self.dir.path().join("node"), None, Some(trace));
        wait_until("the central listens", LONG, || {
            node.assert_runs();
            try_connect(self.text).ok()
        });
        node
    }

    pub fn file(&self) -> PathBuf {
        self.data.join("bets.csv")
    }

    pub fn rows(&self) -> Vec<String> {
        let text = fs::read_to_string(self.file()).expect("bets.csv");
        text.lines().map(str::to_string).collect()
    }

    pub fn agency(&self) -> TextAgency {
        TextAgency(try_connect(self.text).expect("the central listens"))
    }
}

/// A client of the document's wire.
pub struct TextAgency(TcpStream);

impl TextAgency {
    pub fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("the central reads");
    }

    /// The next answer, with its end.
    pub fn answer(&mut self) -> String {
        let (mut answer, mut byte) = (Vec::new(), [0]);
        while answer.last() != Some(&b';') {
            self.0.read_exact(&mut byte).expect("the central answers");
            answer.push(byte[0]);
        }
        String::from_utf8(answer).expect("text")
    }

    pub fn ask(&mut self, text: &str) -> String {
        self.send(text);
        self.answer()
    }
}

pub fn bet(agency: u32, document: u32, number: u32) -> String {
    format!(
        "{{PlayerName:Ciro,PlayerSurname:Hernández,PlayerDocID:{document},\
         PlayerDateOfBirth:1991-08-10,WageredNumber:{number},AgencyID:{agency}}}"
    )
}

pub fn row(agency: u32, document: u32, number: u32) -> String {
    format!("{agency},Ciro,Hernández,{document},1991-08-10,{number}")
}

pub fn sorted(text: String) -> Vec<String> {
    let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
    rows.sort_unstable();
    rows
}

/// `node agency --id ID` with these arguments, and no bet in its environment.
pub fn command(id: u32, central: SocketAddr, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    command.args(["agency", "--id", &id.to_string(), "--central", &central.to_string()]).args(args);
    for name in ["NODE_LOG", "NOMBRE", "APELLIDO", "DOCUMENTO", "NACIMIENTO", "NUMERO"] {
        command.env_remove(name);
    }
    command
}

pub fn sends(id: u32, central: SocketAddr, bets: &Path, args: &[&str]) -> Command {
    let mut command = command(id, central, args);
    command.arg("--bets").arg(bets);
    command
}

/// An agency that goes on while the test does; killed when this goes.
pub struct Running {
    pub child: Child,
    stdout: PathBuf,
}

impl Running {
    pub fn spawn(mut command: Command, stdout: PathBuf) -> Running {
        let file = File::create(&stdout).expect("a file for output");
        let child = command.stdin(Stdio::null()).stdout(file).stderr(Stdio::null()).spawn();
        Running { child: child.expect("the binary runs"), stdout }
    }

    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).expect("standard output is text")
    }

    /// Its exit code.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        let child = &mut self.child;
        let ended = || child.try_wait().expect("it is our child");
        wait_until("the agency ends", LONG * 2, ended).code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes `agency-ID.csv` with so many bets; some are quoted, and those at `winning` win. Answers
/// the path, and the rows that the central is to write.
pub fn bets(dir: &Path, id: u32, count: u32, winning: &[u32]) -> (PathBuf, String) {
    let path = dir.join(format!("agency-{id}.csv"));
    let (mut file, mut expected) = (String::new(), String::new());
    for bet in 1..=count {
        let number = if winning.contains(&bet) { 7_574 } else { bet % 7_000 };
        let surname = if bet % 3 == 0 { "\"Pérez, \"\"h.\"\"\"" } else { "Núñez" };
        let row = format!("Agustín,{surname},{},1999-03-17,{number}", document(id, bet));
        file += &format!("{row}\r\n");
        expected += &format!("{id},{row}\n");
    }
    fs::write(&path, file).expect("a file of bets");
    (path, expected)
}

pub fn document(id: u32, bet: u32) -> u32 {
    id * 1_000_000 + bet
}

/// The line with an agency's winners.
pub fn winners_line(id: u32, winning: &[u32]) -> String {
    let documents: Vec<_> = winning.iter().map(|bet| document(id, *bet).to_string()).collect();
    format!(
        "action: consulta_ganadores | result: success | client_id: {id} | cant_ganadores: {} | dni_ganadores: [{}]\"\n",
        winning.len(),
        documents.join(" ")
    )
}
