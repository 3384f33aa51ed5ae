//! The lottery as real processes: agencies, as clients and as nodes, that go on while the central
//! is killed and connections break, bad files, signals, and the single bet.

mod common;

use common::group::Group;
use common::lottery::{Running, bets, command, document, sends, sorted, winners_line};
use common::{LONG, Node, free_port, local, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// A central for so many agencies.
fn central(agencies: u32) -> Group {
    Group::prepare("lottery", &[&format!("agencies = {agencies}")])
}

/// The central is the last node: agencies dial it.
fn stored(group: &Group) -> u64 {
    group.status(group.len())["bets"].as_u64().expect("a number")
}

/// The rows of bets.csv, sorted.
fn rows(group: &Group) -> Vec<String> {
    sorted(
        fs::read_to_string(group.path(group.len(), "data").join("bets.csv")).expect("it is there"),
    )
}

/// Between agencies and central: of the central's writes it passes on all but every 20th, and
/// breaks the connection instead.
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
        assert!(part <= kept, "{kept} of {total} are stored after the kill");
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

/// Agencies as nodes 1 to N, each with the file and the keys given, and a central behind them.
fn nodes(agencies: &[(&Path, &str)]) -> Group {
    let mut tables = Vec::new();
    for (id, (bets, keys)) in (1..).zip(agencies) {
        let central = agencies.len() + 1;
        tables.push(format!(
            "role = \"agency\"\nagency = {id}\ncentral = {central}\nbets = {bets:?}\n{keys}"
        ));
    }
    tables.push(format!("agencies = {}", agencies.len()));
    Group::prepare("lottery", &tables.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn agencies_as_nodes_and_their_central_are_killed_and_each_bet_is_stored_once() {
    const EACH: u32 = 300;
    let dir = tempfile::tempdir().expect("a folder for the bets");
    let winning: [&[u32]; 3] = [&[7, 300], &[], &[50]];
    let mut expected = String::new();
    let mut paths = Vec::new();
    for (id, winning) in (1..).zip(winning) {
        let (path, rows) = bets(dir.path(), id, EACH, winning);
        expected += &rows;
        paths.push(path);
    }
    let keys = "bets_per_chunk = 1\nperiod_ms = 20\nresend_after_ms = 100";
    let tables: Vec<(&Path, &str)> = paths.iter().map(|path| (path.as_path(), keys)).collect();
    let group = nodes(&tables);
    let mut central = group.start(4);
    let mut agencies: Vec<Node> = (1..=3).map(|id| group.spawn(id)).collect();
    let total = u64::from(EACH) * 3;
    let wait_stored = |part| {
        wait_until("some bets are stored", LONG, || (stored(&group) >= part).then_some(()));
    };
    for (id, agency) in (1..).zip(&mut agencies) {
        wait_stored(total * id as u64 / 10);
        agency.assert_runs();
        // It is killed before another is started in its place.
        agency.signal(Signal::KILL);
        agency.wait_exit(LONG);
        *agency = group.spawn(id);
    }
    wait_stored(total / 2);
    drop(central);
    central = group.start(4);
    for (id, (agency, winning)) in (1..).zip(agencies.iter_mut().zip(winning)) {
        assert_eq!(agency.wait_exit(LONG * 2).code(), Some(0), "{}", agency.stderr());
        let said = agency.stdout();
        assert_eq!(said.matches(&winners_line(id, winning)).count(), 1, "{said}");
        let end = format!("action: loop_finished | result: success | client_id: {id}\"\n");
        assert!(said.ends_with(&end), "{said}");
    }
    assert_eq!(rows(&group), sorted(expected));
    central.assert_runs();
    central.signal(Signal::TERM);
    assert_eq!(central.wait_exit(LONG).code(), Some(0));
    assert_eq!(central.stdout().matches("action: sorteo | result: success").count(), 1);
}

#[test]
fn an_agency_as_a_node_fails_with_a_reason_and_stops_when_it_is_told_to() {
    let dir = tempfile::tempdir().expect("a folder for the bets");
    let (good, _) = bets(dir.path(), 1, 5, &[]);
    let (bad, expected) = bets(dir.path(), 2, 5, &[]);
    let text = fs::read_to_string(&bad).expect("it was written");
    fs::write(&bad, text.replace(&format!(",{},", document(2, 5)), ",x,")).expect("a file");
    let none = dir.path().join("none.csv");
    let group = nodes(&[(&good, ""), (&bad, "bets_per_chunk = 2"), (&none, "")]);
    let _central = group.start(4);

    let mut waits = group.start(1);
    wait_until("it waits for results", LONG, || {
        waits.stdout().contains("action: results_phase_started").then_some(())
    });
    waits.signal(Signal::TERM);
    assert_eq!(waits.wait_exit(LONG).code(), Some(0));
    let said = waits.stdout();
    let last: Vec<_> = said.lines().rev().take(3).collect();
    let actions = ["loop_finished", "signal_receiver_channel_shutdown", "socket_closing"];
    for (line, action) in last.iter().zip(actions) {
        let end = format!("\"action: {action} | result: success | client_id: 1\"");
        assert!(line.ends_with(&end), "{said}");
    }

    let mut fails = group.spawn(2);
    assert_eq!(fails.wait_exit(LONG).code(), Some(1));
    let said = fails.stdout();
    let error = format!(
        "action: read_bets | result: fail | client_id: 2 | error: {}:5: the document is digits, and not too many: \\\"x\\\"\"\n",
        bad.display()
    );
    assert!(said.ends_with(&error), "{said}");
    let whole = expected.split_inclusive('\n').take(4).collect();
    assert_eq!(
        rows(&group).split_off(5),
        sorted(whole),
        "what was acknowledged stays, and no more"
    );

    // The file is there when it starts, not when its config is checked.
    let config = group.path(3, "toml");
    let check = Command::new(env!("CARGO_BIN_EXE_node")).arg("check").arg(&config).output();
    assert!(check.expect("the binary runs").status.success());
    let mut missing = group.spawn(3);
    assert_eq!(missing.wait_exit(LONG).code(), Some(1));
    let line = fs::read_to_string(&config).expect("its config");
    let line = line.lines().position(|line| line.starts_with("bets = ")).expect("the key") + 1;
    let told = format!(
        "node: {}:{line}: protocols.lottery.bets = {none:?}: cannot read it: No such file or directory (os error 2); name a file that this user may read\n",
        config.display()
    );
    assert_eq!(missing.stderr(), told);
}
