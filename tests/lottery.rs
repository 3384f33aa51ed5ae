//! The lottery's central as a real process: the document's wire over TCP, and bets.csv across kills.

mod common;

use common::clients::try_connect;
use common::{LONG, Node, free_port, local, wait_until};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use tempfile::TempDir;

struct Central {
    dir: TempDir,
    addr: SocketAddr,
}

impl Central {
    fn prepare(agencies: u32) -> Central {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let addr = local(free_port());
        let data = dir.path().join("data");
        let config = format!(
            "[node]\nid = 1\ndata_dir = {data:?}\n\n[[listeners]]\naddr = \"{addr}\"\n\
             gateway = \"lottery-text\"\n\n[protocols.lottery]\nagencies = {agencies}\n"
        );
        fs::write(dir.path().join("node.toml"), config).expect("a config");
        Central { dir, addr }
    }

    fn spawn(&self) -> Node {
        Node::spawn(&self.dir.path().join("node.toml"), &self.dir.path().join("node"), None)
    }

    fn start(&self) -> Node {
        let node = self.spawn();
        wait_until("the central listens", LONG, || {
            node.assert_runs();
            try_connect(self.addr).ok()
        });
        node
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("data/bets.csv")
    }

    fn rows(&self) -> Vec<String> {
        let text = fs::read_to_string(self.file()).expect("bets.csv");
        text.lines().map(str::to_string).collect()
    }

    fn agency(&self) -> Agency {
        Agency(try_connect(self.addr).expect("the central listens"))
    }
}

/// A client of the document's wire.
struct Agency(TcpStream);

impl Agency {
    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("the central reads");
    }

    /// The next answer, with its end.
    fn answer(&mut self) -> String {
        let (mut answer, mut byte) = (Vec::new(), [0]);
        while answer.last() != Some(&b';') {
            self.0.read_exact(&mut byte).expect("the central answers");
            answer.push(byte[0]);
        }
        String::from_utf8(answer).expect("text")
    }

    fn ask(&mut self, text: &str) -> String {
        self.send(text);
        self.answer()
    }
}

fn bet(agency: u32, document: u32, number: u32) -> String {
    format!(
        "{{PlayerName:Ciro,PlayerSurname:Hernández,PlayerDocID:{document},\
         PlayerDateOfBirth:1991-08-10,WageredNumber:{number},AgencyID:{agency}}}"
    )
}

fn row(agency: u32, document: u32, number: u32) -> String {
    format!("{agency},Ciro,Hernández,{document},1991-08-10,{number}")
}

#[test]
fn a_whole_dialogue_on_one_connection_each() {
    let central = Central::prepare(2);
    let node = central.start();
    let (mut one, mut two) = (central.agency(), central.agency());
    assert_eq!(one.ask(&format!("B{},{};", bet(1, 11, 5), bet(1, 12, 7574))), "ACK_CHUNK;");
    // Two messages in one segment, and one in many.
    two.send(&format!("B{};N{{AgencyID:2}};", bet(2, 21, 7574)));
    assert_eq!([two.answer(), two.answer()], ["ACK_CHUNK;", "ACK_NOTIFY;"]);
    assert_eq!(two.ask("Q{AgencyID:2};"), "W;");
    for byte in "N{AgencyID:1};".bytes() {
        one.send(&char::from(byte).to_string());
    }
    assert_eq!(one.answer(), "ACK_NOTIFY;");
    assert_eq!(one.ask("Q{AgencyID:1};"), "R{PlayerDocID:12};");
    assert_eq!(two.ask("Q{AgencyID:2};"), "R{PlayerDocID:21};");
    assert_eq!(one.ask(&format!("B{};", bet(1, 13, 5))), "E{the agency has finished};");
    assert_eq!(central.rows(), [row(1, 11, 5), row(1, 12, 7574), row(2, 21, 7574)]);
    let said = node.stdout();
    assert_eq!(said.matches("action: sorteo | result: success").count(), 1, "{said}");
    assert!(said.contains("action: accept_connections | result: success | ip: 127.0.0.1\n"));
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_nothing_else_stays() {
    let central = Central::prepare(1);
    let node = central.start();
    let mut agency = central.agency();
    for document in 1..=20 {
        assert_eq!(agency.ask(&format!("B{};", bet(1, document, 5))), "ACK_CHUNK;");
    }
    drop(node);
    let whole: Vec<String> = (1..=20).map(|document| row(1, document, 5)).collect();
    assert_eq!(central.rows(), whole);
    // A kill in the middle of an append leaves a part of a row.
    let mut file = OpenOptions::new().append(true).open(central.file()).expect("bets.csv");
    file.write_all(b"1,Ciro,Hern").expect("it is a file");
    drop(file);
    let node = central.start();
    // It listens before it reads its folder.
    wait_until("the cut is told", LONG, || {
        let told = "ended with 11 bytes that were never acknowledged";
        (node.log_lines(told) == 1).then_some(())
    });
    assert_eq!(central.rows(), whole);
    assert_eq!(central.agency().ask(&format!("B{};", bet(1, 21, 5))), "ACK_CHUNK;");
    assert_eq!(central.rows().len(), 21);
}

#[test]
fn a_file_that_lost_bets_is_not_gone_on_with() {
    let central = Central::prepare(1);
    let node = central.start();
    assert_eq!(central.agency().ask(&format!("B{};", bet(1, 11, 5))), "ACK_CHUNK;");
    drop(node);
    fs::write(central.file(), "").expect("it is a file");
    let mut node = central.spawn();
    assert_eq!(node.wait_exit(LONG).code(), Some(1));
    let said = node.stderr();
    assert!(said.contains("bets.csv has lost bets that were acknowledged"), "{said}");
    assert_eq!(central.rows(), [""; 0], "nothing is changed");
}
