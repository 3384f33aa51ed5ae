//! The lottery's central as a real process: the document's wire over TCP, and bets.csv across
//! kills.

mod common;

use common::lottery::{Central, Running, bet, command, row, sends};
use common::{LONG, wait_until};
use rustix::process::Signal;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::Command;

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
    assert_eq!(one.ask(&format!("B{};", bet(1, 13, 5))), "E{bet 1: the agency has finished};");
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
        let told = "11 bytes at the end of ";
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

#[test]
fn a_file_that_this_node_may_not_have_written_is_not_touched() {
    let refused = |central: &Central, words: &str| {
        let before = fs::read(central.file()).ok();
        let mut node = central.spawn();
        assert_eq!(node.wait_exit(LONG).code(), Some(1));
        assert!(node.stderr().contains(words), "{}", node.stderr());
        assert_eq!(fs::read(central.file()).ok(), before);
    };
    // Somebody's own, in a folder that is a node's for the first time.
    let central = Central::prepare(1);
    fs::create_dir(central.file().parent().expect("it has one")).expect("a folder");
    fs::write(central.file(), "Ana,Paz,1,2000-01-01,5\n").expect("a file");
    for _ in 0..2 {
        refused(&central, "there is no log beside it");
    }
    fs::remove_file(central.file()).expect("it is there");
    std::os::unix::fs::symlink("/dev/null", central.file()).expect("a link");
    refused(&central, "it is no file");

    // One that lost its log.
    let central = Central::prepare(1);
    let node = central.start();
    assert_eq!(central.agency().ask(&format!("B{};", bet(1, 11, 5))), "ACK_CHUNK;");
    drop(node);
    let log = central.file().with_file_name("log");
    let kept = fs::read(&log).expect("a log");
    fs::remove_file(&log).expect("it is there");
    refused(&central, "it is gone; put it back");

    // One whose log lost what was synced.
    let mut damaged = kept.clone();
    damaged[40] ^= 1;
    fs::write(&log, &damaged).expect("it is damaged");
    refused(&central, "it is damaged at byte 28");
    assert_eq!(fs::read(&log).expect("it is there"), damaged, "it is left alone");
    fs::write(&log, kept).expect("it is put back");

    // One that somebody put a line into.
    let rows = fs::read_to_string(central.file()).expect("bets.csv");
    fs::write(central.file(), format!("agency,name\n{rows}")).expect("it is changed");
    refused(&central, "in the middle of a line");
    fs::write(central.file(), rows).expect("it is put back");
    drop(central.start());
    assert_eq!(central.rows(), [row(1, 11, 5)]);
}

#[test]
fn the_documents_clients_of_exercises_5_and_6_are_answered_as_there() {
    let central = Central::prepare(2);
    let node = central.start();
    // A connection for each message, as those clients have it.
    let ask = |text: &str| central.agency().ask(text);
    let single = format!("{};", bet(1, 11, 7574));
    assert_eq!(ask(&single), single);
    assert_eq!(ask(&format!("{},{};", bet(2, 21, 5), bet(2, 22, 5))), "ACK_CHUNK;");
    assert_eq!(ask(&format!("{};", bet(2, 23, 5))), "ACK_CHUNK;", "the last chunk of its file");
    assert_eq!(ask(&single.replace("1991-08-10", "1991-02-30"))[..9], *"E{bet 1: ");
    let rows = [row(1, 11, 7574), row(2, 21, 5), row(2, 22, 5), row(2, 23, 5)];
    assert_eq!(central.rows(), rows);
    assert_eq!(ask("Q{AgencyID:1};"), "W;");
    // A query is logged before the draw, too.
    for line in [
        "action: apuesta_almacenada | result: success | dni: 11 | numero: 7574",
        "action: results_query_received | result: success | agency: 1",
    ] {
        wait_until(line, LONG, || node.stdout().contains(line).then_some(()));
    }
}

/// As the document's client of exercise 7 does with its end: it reads no answer.
#[test]
fn an_end_whose_client_is_gone_counts() {
    let central = Central::prepare(1);
    let _node = central.start();
    central.agency().send("N{AgencyID:1};");
    wait_until("the draw", LONG, || (central.agency().ask("Q{AgencyID:1};") == "R;").then_some(()));
}

#[test]
fn agencies_speak_the_documents_wire() {
    let central = Central::prepare(2);
    let _node = central.start();
    let bets = |id: u32| {
        let path = central.dir.path().join(format!("agency-{id}.csv"));
        let line = |bet: u32| format!("Zoë,Paz,{id}{bet:03},1999-03-17,{}\r\n", 7_574 * (bet % 2));
        fs::write(&path, (1..=101).map(line).collect::<String>()).expect("a file of bets");
        path
    };
    let said = |mut command: Command| {
        let output = command.output().expect("the binary runs");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    let text = ["--wire", "text", "--period-ms", "10", "--bets-per-chunk", "50"];
    let other = sends(2, central.text, &bets(2), &text);
    let mut other = Running::spawn(other, central.dir.path().join("2"));
    let words = [&text[..], &["--exercise", "7"]].concat();
    let (code, one) = said(sends(1, central.text, &bets(1), &words));
    assert_eq!((code, other.wait()), (Some(0), Some(0)), "{one}");
    for (id, lines) in [(1, one), (2, other.stdout())] {
        assert_eq!(lines.matches("chunk_ack_received | result: success").count(), 3, "{lines}");
        let first = format!("cant_ganadores: 51 | dni_ganadores: [{id}001 {id}003 ");
        assert!(lines.contains(&first), "{lines}");
    }
    assert_eq!(central.rows().len(), 202);
    let (code, late) = said(sends(1, central.text, &bets(1), &text));
    assert_eq!(code, Some(1));
    let why = "chunk_id: 1 | error: bet 1: the agency has finished (";
    assert!(late.contains(why) && late.contains("agency-1.csv, lines 1 to 50)"), "{late}");
    let (code, _) = said(sends(1, central.text, &bets(1), &["--exercise", "7"]));
    assert_eq!(code, Some(2), "--exercise is for the document's wire");
    let single = |wire: &[&str]| {
        let mut command = command(1, central.text, wire);
        command.envs([("NOMBRE", "Ana"), ("APELLIDO", "Paz"), ("DOCUMENTO", "5")]);
        command.envs([("NACIMIENTO", "1999-03-17"), ("NUMERO", "1")]);
        said(command)
    };
    assert_eq!(single(&["--wire", "text"]).0, Some(1), "refused, as its agency has finished");
}

/// The central's trace has what agencies asked, and what was in its file when it began and ended.
#[test]
fn a_real_lottery_is_judged_by_its_trace() {
    let central = Central::prepare(2);
    let trace = central.dir.path().join("central.jsonl");
    let scenario = central.dir.path().join("scenario.toml");
    let properties = "ack_implies_durable batch_all_or_nothing stored_exactly_once \
                      draw_once_after_all winners_only_to_their_agency";
    let properties: Vec<&str> = properties.split(' ').collect();
    fs::write(&scenario, format!("nodes = [\"node.toml\"]\nproperties = {properties:?}\n"))
        .expect("a scenario");
    let verify = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
        command.args(["verify", "--scenario"]).arg(&scenario).arg(&trace);
        let output = command.output().expect("the binary runs");
        (String::from_utf8(output.stdout).expect("text"), output.status.code())
    };

    let node = central.start_traced(&trace);
    let mut one = central.agency();
    assert_eq!(one.ask(&format!("B{},{};", bet(1, 11, 5), bet(1, 12, 7574))), "ACK_CHUNK;");
    assert_eq!(one.ask("N{AgencyID:1};"), "ACK_NOTIFY;");
    // Killed: nobody saw what the file has in the end.
    drop(node);
    let (verdicts, code) = verify();
    assert_eq!(code, Some(2), "{verdicts}");
    assert!(!verdicts.contains("held") && !verdicts.contains("violated"), "{verdicts}");

    let mut node = central.start_traced(&trace);
    let (mut one, mut two) = (central.agency(), central.agency());
    assert_eq!(two.ask(&format!("B{};", bet(2, 21, 7574))), "ACK_CHUNK;");
    assert_eq!(two.ask("N{AgencyID:2};"), "ACK_NOTIFY;");
    assert_eq!(one.ask("Q{AgencyID:1};"), "R{PlayerDocID:12};");
    assert_eq!(two.ask("Q{AgencyID:2};"), "R{PlayerDocID:21};");
    drop((one, two));
    node.signal(Signal::TERM);
    assert!(node.wait_exit(LONG).success());
    let (verdicts, code) = verify();
    assert_eq!(code, Some(0), "{verdicts}");
    assert_eq!(verdicts.matches(" held\n").count(), properties.len(), "{verdicts}");
    // One row of the last look was never there.
    let lines = fs::read_to_string(&trace).expect("the trace");
    let forged = lines.replace("2,Ciro,Hernández,21,", "2,Ciro,Hernández,22,");
    fs::write(&trace, forged).expect("a trace");
    let (verdicts, code) = verify();
    assert_eq!(code, Some(1), "{verdicts}");
}
