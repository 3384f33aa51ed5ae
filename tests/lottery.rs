//! The lottery's central as a real process: the document's wire over TCP, and bets.csv across kills.

mod common;

use common::lottery::{Central, bet, row};
use common::{LONG, wait_until};
use std::fs::{self, OpenOptions};
use std::io::Write;

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
