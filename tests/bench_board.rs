//! `node bench board` against a real proxy, alone: every message comes to every subscriber that
//! reads, once and in order, also beside one that never reads.

mod common;

use common::{LONG, Node, free_port, local, wait_until, with_more_time};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::net::TcpStream;
use std::process::{Command, Output};
use tempfile::TempDir;

struct Proxy {
    _dir: TempDir,
    nats: u16,
    node: Node,
}

impl Proxy {
    fn start() -> Proxy {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let (native, nats) = (free_port(), free_port());
        let path = dir.path().join("proxy.toml");
        let config = format!(
            "[node]\nid = 1\ncluster = \"test\"\nconsole = false\n[peers]\n\
             [[listeners]]\naddr = \"127.0.0.1:{native}\"\n\
             [[listeners]]\naddr = \"127.0.0.1:{nats}\"\ngateway = \"nats\"\n\
             [protocols.board]\nrole = \"proxy\"\n"
        );
        fs::write(&path, config).expect("a config");
        let node = Node::spawn(&path, &path.with_extension(""), None);
        wait_until("the proxy listens", LONG, || {
            node.assert_runs();
            TcpStream::connect(local(nats)).ok()
        });
        Proxy { _dir: dir, nats, node }
    }

    fn bench(&self, args: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_node"))
            .args(["bench", "board", "--warmup", "0", "--server", &local(self.nats).to_string()])
            .args(["--timeout-ms", "120000"])
            .args(args.split_whitespace())
            .output()
            .expect("the binary runs")
    }

    /// A run in which something was delivered: longer when the machine has no time for it.
    fn measure(&self, args: &str) -> Value {
        with_more_time(300, |ms| {
            let seconds = ms as f64 / 1e3;
            let output = self.bench(&format!("--seconds {seconds} --json {args}"));
            let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
            assert_eq!(report["whole"], true, "{report}");
            if report["deliveries"] == 0 {
                return Err(report.to_string());
            }
            assert_eq!(output.status.code(), Some(0), "{report}");
            Ok(report)
        })
    }
}

#[track_caller]
fn assert_nothing_lost(report: &Value) {
    for none in ["lost", "told_lost", "out_of_order", "in_flight"] {
        assert_eq!(report[none], 0, "{none}: {report}");
    }
    assert_eq!(report["errors"], serde_json::json!({}));
}

#[test]
fn every_subscriber_gets_every_message_once() {
    let proxy = Proxy::start();
    for args in
        ["--subscribers 1 --window 1", "--subscribers 7", "--message-bytes 100000 --window 3"]
    {
        assert_nothing_lost(&proxy.measure(args));
    }
    let report = proxy.measure(&format!("--pid {}", proxy.node.pid()));
    assert_nothing_lost(&report);
    assert_eq!(report["server_name"], "node 2.9.0");
    assert!(report["server"]["rss_peak_bytes"].as_u64() >= report["server"]["rss_bytes"].as_u64());
    assert!(report["server"]["rss_bytes"].as_u64() > Some(0), "{report}");
    let table = String::from_utf8(proxy.bench("--seconds 0.1").stdout).expect("a table");
    assert!(table.contains("10 subscribers, window 100, 128-byte messages"), "{table}");
}

#[test]
fn who_does_not_read_costs_the_others_no_message() {
    let proxy = Proxy::start();
    // Large messages: the buffers of those who do not read are soon full, and their connections
    // end. A window of them is still far below what the proxy keeps for all clients, or readers'
    // could, too.
    let report = proxy.measure("--not-reading 2 --message-bytes 16384 --window 20 --subscribers 3");
    assert_nothing_lost(&report);
    assert_eq!(report["parameters"]["not_reading"], 2);
}

#[test]
fn a_server_that_is_not_there_and_a_wrong_argument_have_their_exit_codes() {
    let mut proxy = Proxy::start();
    let wrong = proxy.bench("--window 0");
    assert_eq!(wrong.status.code(), Some(5));
    proxy.node.signal(Signal::KILL);
    proxy.node.wait_exit(LONG);
    let gone = proxy.bench("--seconds 0.1");
    assert_eq!(gone.status.code(), Some(1));
    let said = String::from_utf8(gone.stdout).expect("a report");
    assert!(said.contains("errors: connect_failed 1, the first: the publisher at"), "{said}");
}
