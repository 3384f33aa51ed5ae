//! The random-number workload in real processes: their consoles, clients with clocks of their own,
//! and clocks that outlive a SIGKILL.

mod common;

use common::group::Group;
use common::{LONG, wait_until};
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Output};

/// Nodes 1 to N: `protocol` has each node's lines of `[protocols.lamport]`.
fn prepare(protocol: &[&str]) -> Group {
    Group::prepare("lamport", protocol)
}

fn answered(clocks: &Group, id: usize) -> u64 {
    clocks.status(id)["answered"].as_u64().expect("a number")
}

/// `node clock` at a node.
fn client(clocks: &Group, id: usize, args: &[&str]) -> Output {
    let server = clocks.native_addr(id).to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    command.args(["clock", "--server", &server]).args(args).output().expect("it runs")
}

const SERVES: &str = "interval_ms = [3600000, 3600000]";
const CALLS: &str = "interval_ms = [1, 5]\ntimeout_ms = 500";

/// `[clock.node] what` as numbers and words; panics on a line of another form.
fn parse(line: &str) -> (u64, u64, &str) {
    let split = || {
        let (stamp, what) = line.strip_prefix('[')?.split_once("] ")?;
        let (clock, node) = stamp.split_once('.')?;
        Some((clock.parse().ok()?, node.parse().ok()?, what))
    };
    split().unwrap_or_else(|| panic!("no line of the workload: {line}"))
}

#[test]
fn two_nodes_call_and_their_consoles_show_clocks_that_only_grow() {
    let clocks = prepare(&[CALLS, SERVES]);
    let nodes = [clocks.start(1), clocks.start(2)];
    wait_until("calls are answered", LONG, || (answered(&clocks, 1) >= 5).then_some(()));
    for (id, node) in (1..).zip(&nodes) {
        let mut last = 0;
        let stdout = node.stdout();
        let (whole, _) = stdout.rsplit_once('\n').expect("lines");
        for line in whole.lines() {
            let (clock, process, _) = parse(line);
            assert_eq!(process, id);
            assert!(clock > last, "{line} after {last}");
            last = clock;
        }
    }
    let served = nodes[1].stdout();
    let first: Vec<_> = served.lines().take(3).map(|line| parse(line).2).collect();
    assert!(first[0].starts_with("got call ") && first[0].ends_with(" from node 1"), "{first:?}");
    assert!(first[1].starts_with("drew "), "{first:?}");
    assert!(first[2].starts_with("sent ") && first[2].ends_with(" to node 1"), "{first:?}");
}

#[test]
fn a_call_to_a_node_that_is_down_is_given_up_and_the_next_one_is_made() {
    let clocks = prepare(&[CALLS, SERVES]);
    let node = clocks.start(1);
    wait_until("calls are given up", LONG, || {
        (clocks.status(1)["timed_out"].as_u64() >= Some(2)).then_some(())
    });
    assert!(node.stdout().contains("] gave up call 1 to node 2 after 500 ms\n"));
    let _other = clocks.start(2);
    wait_until("calls are answered", LONG, || (answered(&clocks, 1) >= 1).then_some(()));
}

#[test]
fn json_lines_call_a_node_and_what_is_wrong_is_told() {
    let clocks = prepare(&[SERVES]);
    let _node = clocks.start(1);
    let mut client = clocks.json(1);
    let answer = client.ask(r#"{"number":{"clock":1}}"#);
    assert_eq!(answer["number"]["clock"], 4, "{answer}");
    assert!(answer["number"]["number"].as_u64() < Some(100), "{answer}");
    let forged = client.ask(r#"{"number":{"clock":18446744073709551615}}"#);
    let reason = "its Lamport value 18446744073709551615 is too far above the local 4";
    assert_eq!(forged, json!({"refused": {"reason": reason}}));
    for wrong in [r#"{"number":{"clock":-1}}"#, r#"{"number":{}}"#, "{}", "nonsense"] {
        let answer = client.ask(wrong);
        assert!(answer["error"].is_string(), "{wrong}: {answer}");
    }
    let status = client.ask(r#"{"status":{}}"#);
    let expected =
        json!({"process": 1, "clock": 4, "calls": 0, "answered": 0, "timed_out": 0, "served": 1});
    assert_eq!(status["status"], expected);
}

#[test]
fn node_clock_shows_both_clocks_and_its_exit_codes_tell() {
    let clocks = prepare(&[SERVES]);
    let _node = clocks.start(1);
    let server = clocks.native_addr(1);
    let called = client(&clocks, 1, &["--clock", "10"]);
    assert_eq!(called.status.code(), Some(0));
    let stdout = String::from_utf8(called.stdout).unwrap();
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(lines[0], format!("[11] I call {server} for a number"));
    assert!(lines[1].starts_with("[14] node 1 sends "), "{stdout}");
    assert_eq!(lines[2], "[15] I receive it: max(11, 14) + 1");

    let refused = client(&clocks, 1, &["--clock", "99999999999"]);
    assert_eq!(refused.status.code(), Some(1));
    let json_listener = clocks.json_addr(1).to_string();
    let elsewhere = client(&clocks, 1, &["--timeout-ms", "60000"]);
    assert_eq!(elsewhere.status.code(), Some(0));
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    let no_native = command.args(["clock", "--timeout-ms", "500", "--server", &json_listener]);
    assert_eq!(no_native.output().expect("it runs").status.code(), Some(3));
    assert_eq!(client(&clocks, 1, &["--calls", "x"]).status.code(), Some(2));
    assert_eq!(client(&clocks, 1, &["--status", "--calls", "2"]).status.code(), Some(2));
}

#[test]
fn a_clock_with_a_data_dir_goes_on_above_where_it_was_after_a_kill() {
    let clocks = prepare(&[SERVES]);
    let node = clocks.start(1);
    let clock = |answer: Value| answer["number"]["clock"].as_u64().expect("a clock");
    let before = clock(clocks.json(1).ask(r#"{"number":{"clock":500000}}"#));
    assert_eq!(before, 500_003);
    drop(node);
    let _again = clocks.start(1);
    let after = clock(clocks.json(1).ask(r#"{"number":{"clock":1}}"#));
    assert!(after > before, "{after}");
}

#[test]
fn a_bad_interval_is_told_by_file_line_key_and_rule() {
    for (protocol, told) in [
        (
            "interval_ms = [9, 5]",
            "interval_ms = [9, 5]: it is [MIN, MAX], the shorter time first: [5, 9]",
        ),
        ("timeout_ms = 0", "timeout_ms = 0: it must be 1 to 3600000 milliseconds (an hour)"),
        (
            "interval_ms = 5",
            "interval_ms = 5: invalid type: integer `5`, expected an array of length 2",
        ),
    ] {
        let clocks = prepare(&[protocol]);
        let file = clocks.path(1, "toml");
        let check = Command::new(env!("CARGO_BIN_EXE_node")).arg("check").arg(&file).output();
        let stderr = String::from_utf8(check.expect("it runs").stderr).unwrap();
        let line = fs::read_to_string(&file).unwrap().lines().position(|line| line == protocol);
        let line = line.expect("it is in the file") + 1;
        assert_eq!(
            stderr.trim_end(),
            format!("node: {}:{line}: protocols.lamport.{told}", file.display())
        );
    }
}

/// Requests cannot take a node's clock so far that its peers refuse it for ever.
#[test]
fn a_client_that_runs_a_clock_ahead_cuts_nobody_off() {
    let clocks = prepare(&[CALLS, SERVES]);
    let nodes = [clocks.start(1), clocks.start(2)];
    wait_until("calls are answered", LONG, || (answered(&clocks, 1) >= 1).then_some(()));
    let mut client = clocks.json(1);
    let mut refused = 0;
    for step in 1..=5_u64 {
        let asked = client.ask(&format!(r#"{{"number":{{"clock":{}}}}}"#, step << 31));
        refused += u64::from(asked["refused"].is_object());
    }
    assert_eq!(refused, 5, "a client is not believed that far");
    let mut taken = 0;
    for _ in 0..50 {
        let clock = clocks.status(1)["clock"].as_u64().expect("a clock");
        let asked = client.ask(&format!(r#"{{"number":{{"clock":{}}}}}"#, clock + (1 << 18)));
        taken += u64::from(asked["number"].is_object());
    }
    assert!(taken >= 4, "it is believed a million a second");
    let before = answered(&clocks, 1);
    wait_until("calls go on", LONG, || (answered(&clocks, 1) > before + 3).then_some(()));
    drop(nodes);
}
