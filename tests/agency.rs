//! The lottery as real processes: agencies that go on while the central is killed and connections
//! break, bad files, signals, and the single bet.

mod common;

use common::group::Group;
use common::{LONG, Node, free_port, local, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// A central for so many agencies.
fn central(agencies: u32) -> Group {
    Group::prepare("lottery", &[&format!("agencies = {agencies}")])
}

fn stored(group: &Group) -> u64 {
    group.status(1)["bets"].as_u64().expect("a number")
}

/// The rows of bets.csv, sorted.
fn rows(group: &Group) -> Vec<String> {
    sorted(fs::read_to_string(group.path(1, "data").join("bets.csv")).expect("it is there"))
}

fn sorted(text: String) -> Vec<String> {
    let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
    rows.sort_unstable();
    rows
}

/// `node agency --id ID` with these arguments, and no bet in its environment.
fn command(id: u32, central: SocketAddr, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    command.args(["agency", "--id", &id.to_string(), "--central", &central.to_string()]).args(args);
    for name in ["NODE_LOG", "NOMBRE", "APELLIDO", "DOCUMENTO", "NACIMIENTO", "NUMERO"] {
        command.env_remove(name);
    }
    command
}

fn sends(id: u32, central: SocketAddr, bets: &Path, args: &[&str]) -> Command {
    let mut command = command(id, central, args);
    command.arg("--bets").arg(bets);
    command
}

/// An agency that goes on while the test does; killed when this goes.
struct Running {
    child: Child,
    stdout: PathBuf,
}

impl Running {
    fn spawn(mut command: Command, stdout: PathBuf) -> Running {
        let file = File::create(&stdout).expect("a file for output");
        let child = command.stdin(Stdio::null()).stdout(file).stderr(Stdio::null()).spawn();
        Running { child: child.expect("the binary runs"), stdout }
    }

    fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).expect("standard output is text")
    }

    /// Its exit code.
    #[track_caller]
    fn wait(&mut self) -> Option<i32> {
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

/// Writes `agency-ID.csv` with so many bets; some are quoted, and those at `winning` win. Answers the
/// path, and the rows that the central is to write.
fn bets(dir: &Path, id: u32, count: u32, winning: &[u32]) -> (PathBuf, String) {
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

fn document(id: u32, bet: u32) -> u32 {
    id * 1_000_000 + bet
}

/// The line with an agency's winners.
fn winners_line(id: u32, winning: &[u32]) -> String {
    let documents: Vec<_> = winning.iter().map(|bet| document(id, *bet).to_string()).collect();
    format!(
        "action: consulta_ganadores | result: success | client_id: {id} | cant_ganadores: {} | dni_ganadores: [{}]\"\n",
        winning.len(),
        documents.join(" ")
    )
}

/// Between agencies and central: of the central's writes it passes on all but every 20th, and breaks
/// the connection instead.
fn breaking_proxy(central: SocketAddr) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind(local(free_port())).expect("the port is free");
    let addr = listener.local_addr().expect("it is bound");
    let writes = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&writes);
    thread::spawn(move || {
        for agency in listener.incoming() {
            let counter = Arc::clone(&counter);
            // A central that is down takes none: neither does the proxy.
            if let (Ok(agency), Ok(central)) = (agency, TcpStream::connect(central)) {
                thread::spawn(move || relay(agency, central, &counter));
            }
        }
    });
    (addr, writes)
}

fn relay(mut agency: TcpStream, mut central: TcpStream, writes: &AtomicU32) {
    let (mut requests, mut onward) =
        (agency.try_clone().expect("a socket"), central.try_clone().expect("a socket"));
    thread::spawn(move || {
        let _ = std::io::copy(&mut requests, &mut onward);
        let _ = onward.shutdown(Shutdown::Both);
    });
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = central.read(&mut buffer) {
        let is_last = writes.fetch_add(1, Ordering::Relaxed) % 20 == 19;
        if is_last || agency.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = agency.shutdown(Shutdown::Both);
    let _ = central.shutdown(Shutdown::Both);
}

#[test]
fn bets_are_stored_once_though_the_central_is_killed_and_answers_are_lost() {
    const EACH: u32 = 300;
    let winning: [&[u32]; 5] = [&[7, 300], &[1], &[50, 51, 52], &[], &[299]];
    let group = central(5);
    let mut node: Node = group.start(1);
    let (proxy, writes) = breaking_proxy(group.native_addr(1));
    let mut expected = String::new();
    let mut agencies = Vec::new();
    for (id, winning) in (1..).zip(winning) {
        let (path, rows) = bets(group.dir.path(), id, EACH, winning);
        expected += &rows;
        let command = sends(id, proxy, &path, &["--period-ms", "20", "--bets-per-chunk", "1"]);
        let stdout = path.with_extension("out");
        agencies.push(Running::spawn(command, stdout));
    }
    let total = u64::from(EACH) * 5;
    for part in [total / 5, total / 2] {
        wait_until("some bets are stored", LONG, || (stored(&group) >= part).then_some(()));
        drop(node);
        node = group.start(1);
        let kept = stored(&group);
        assert!(part <= kept && kept < total, "{kept} of {total} are stored after the kill");
    }
    for ((id, agency), winning) in (1..).zip(&mut agencies).zip(winning) {
        let (code, stdout) = (agency.wait(), agency.stdout());
        assert_eq!(code, Some(0), "{stdout}");
        assert!(stdout.contains(&winners_line(id, winning)), "{stdout}");
        let acks = stdout.matches("action: chunk_ack_received | result: success").count();
        assert_eq!(acks, EACH as usize);
        assert!(
            stdout.ends_with(&format!("loop_finished | result: success | client_id: {id}\"\n"))
        );
    }
    assert!(writes.load(Ordering::Relaxed) > 100, "answers were lost");
    assert_eq!(rows(&group), sorted(expected));
    assert_eq!(node.stdout().matches("action: sorteo | result: success").count(), 1);
}

#[test]
fn a_bad_row_stops_the_agency_and_once_it_is_right_all_is_stored_once() {
    let group = central(1);
    let _node = group.start(1);
    let (path, expected) = bets(group.dir.path(), 1, 20, &[12]);
    let right = fs::read_to_string(&path).expect("it was written");
    fs::write(&path, right.replace(&format!(",{},", document(1, 12)), ",x\x1b,")).expect("a file");
    let run = || {
        let output = sends(1, group.native_addr(1), &path, &["--bets-per-chunk", "5"]).output();
        let Output { status, stdout, .. } = output.expect("the binary runs");
        (status.code(), String::from_utf8(stdout).expect("text"))
    };
    let (code, stdout) = run();
    assert_eq!(code, Some(1), "{stdout}");
    let last = stdout.lines().last().expect("lines");
    let error = format!(
        "level=error msg=\"action: read_bets | result: fail | client_id: 1 | error: {}:12: the document is digits, and not too many: \\\"x\\\\u{{1b}}\\\"\"",
        path.display()
    );
    assert!(last.ends_with(&error), "{last}");
    assert_eq!(stored(&group), 10, "what was acknowledged stays, and no more");
    assert_eq!(group.status(1)["drawn"], false);

    fs::write(&path, right).expect("a file");
    let (code, stdout) = run();
    assert_eq!(code, Some(0), "{stdout}");
    assert!(stdout.contains(&winners_line(1, &[12])), "{stdout}");
    assert_eq!(rows(&group), sorted(expected));
}

#[test]
fn an_agency_that_is_told_to_stop_says_so_and_may_come_back() {
    let group = central(2);
    let _node = group.start(1);
    let (path, mut expected) = bets(group.dir.path(), 1, 10, &[3]);
    for signal in [Signal::TERM, Signal::INT] {
        let command = sends(1, group.native_addr(1), &path, &["--quiet", "--period-ms", "3600000"]);
        let mut waiting = Running::spawn(command, path.with_extension("out"));
        wait_until("it waits for results", LONG, || {
            waiting.stdout().contains("action: results_phase_started").then_some(())
        });
        kill_process(Pid::from_child(&waiting.child), signal).expect("it runs");
        assert_eq!(waiting.wait(), Some(0));
        let stdout = waiting.stdout();
        let actions: Vec<_> =
            stdout.lines().filter_map(|line| line.split(" msg=").nth(1)).collect();
        let expected = [
            "notify_ack_received | result: success",
            "notify_phase_completed | result: success",
            "results_phase_started | result: in_progress",
            "socket_closing | result: success",
            "signal_receiver_channel_shutdown | result: success",
            "loop_finished | result: success",
        ];
        let expected = expected.map(|line| format!("\"action: {line} | client_id: 1\""));
        assert_eq!(actions[1..], expected, "{stdout}");
    }
    let (other, rows_of_other) = bets(group.dir.path(), 2, 10, &[]);
    expected += &rows_of_other;
    for (id, path, winning) in [(2, &other, &[][..]), (1, &path, &[3])] {
        let stdout = path.with_extension("out");
        let mut agency = Running::spawn(sends(id, group.native_addr(1), path, &["--json"]), stdout);
        assert_eq!(agency.wait(), Some(0), "{}", agency.stdout());
        let documents: Vec<u32> = winning.iter().map(|bet| document(id, *bet)).collect();
        let found = agency.stdout().lines().any(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            line["action"] == "consulta_ganadores"
                && line["dni_ganadores"] == serde_json::json!(documents)
        });
        assert!(found, "{}", agency.stdout());
    }
    assert_eq!(rows(&group), sorted(expected));
}

#[test]
fn a_single_bet_comes_from_the_environment_and_exit_codes_tell() {
    let group = central(5);
    let node = group.start(1);
    let bet = |number: &str, central, args: &[&str]| {
        let mut command = command(3, central, args);
        command.envs([("NOMBRE", "Santiago Lionel"), ("APELLIDO", "Lorca")]);
        command.envs([("DOCUMENTO", "30904465"), ("NACIMIENTO", "1999-03-17"), ("NUMERO", number)]);
        let Output { status, stdout, .. } = command.output().expect("the binary runs");
        (status.code(), String::from_utf8(stdout).expect("text"))
    };
    let addr = group.native_addr(1);
    // The second time it is known already.
    for _ in 0..2 {
        let (code, stdout) = bet("2201", addr, &[]);
        assert_eq!(code, Some(0), "{stdout}");
        let line =
            "msg=\"action: apuesta_enviada | result: success | dni: 30904465 | numero: 2201\"\n";
        assert!(stdout.contains(line), "{stdout}");
    }
    assert_eq!(rows(&group), ["3,Santiago Lionel,Lorca,30904465,1999-03-17,2201"]);
    let line = "action: apuesta_almacenada | result: success | dni: 30904465 | numero: 2201\n";
    assert!(node.stdout().contains(line));

    let (code, stdout) = bet("10000", addr, &[]);
    assert_eq!(code, Some(1));
    assert!(stdout.contains("action: apuesta_enviada | result: fail"), "{stdout}");
    assert_eq!(bet("x", addr, &[]).0, Some(2));
    assert_eq!(bet("1", local(free_port()), &["--timeout-ms", "200"]).0, Some(3));
    let none = command(3, addr, &[]).output().expect("the binary runs");
    assert_eq!(none.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&none.stderr).contains("NOMBRE is not set"));
    assert_eq!(stored(&group), 1);
}
