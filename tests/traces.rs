//! Traces of real nodes: written as they run, merged and read by `node explain`.

mod common;

use common::{Cluster, LONG, Setup, wait_until};
use node_lab::trace::{Event, Line};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

#[test]
fn traces_of_three_nodes_fit_together() {
    let mut cluster = Cluster::start(Setup { trace: true, console: true, ..Setup::default() });
    for id in 1..=3 {
        cluster.resp(id).set("k", &format!("v{id}"));
    }
    cluster.wait_equal(LONG);
    for id in 1..=3 {
        assert!(cluster.terminate(id).success());
    }
    let paths: Vec<_> = (1..=3).map(|id| cluster.dir.path().join(format!("{id}.jsonl"))).collect();
    let texts: Vec<String> =
        paths.iter().map(|path| fs::read_to_string(path).expect("a trace")).collect();
    let (mut sent, mut received) = (BTreeSet::new(), BTreeSet::new());
    let (mut replies, mut briefs, mut applied) = (0, 0, None);
    for line in texts.iter().flat_map(|text| text.lines()) {
        let line: Line<'_> = serde_json::from_str(line).expect("a line of a trace");
        match line.event {
            Event::Send { id, .. } => assert!(sent.insert(id.into_owned()), "a name twice"),
            Event::Recv { id, .. } => assert!(received.insert(id.into_owned()), "a name twice"),
            Event::Reply { label, brief, .. } => {
                replies += usize::from(label.contains("put_ok"));
                briefs += usize::from(brief.is_some_and(|brief| brief.starts_with("PUT_OK @")));
            }
            Event::View { value, .. } => applied = applied.max(value["applied"].as_u64()),
            _ => {}
        }
    }
    assert!(received.is_subset(&sent), "{:?}", received.difference(&sent));
    assert!(received.len() > 10);
    assert_eq!((replies, briefs, applied), (3, 3, Some(3)));
    let output = Command::new(env!("CARGO_BIN_EXE_node"))
        .args(["explain", "--format", "text"])
        .args(&paths)
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("REPLICATION key:k value:v1 ts:1"));
}

/// A restart goes on in the same trace, and the store's promises are judged from the traces alone.
#[test]
fn traces_of_a_cluster_with_a_restart_are_verified() {
    let mut cluster = Cluster::start(Setup { trace: true, disk: true, ..Setup::default() });
    cluster.resp(2).set("k", "one");
    cluster.kill(3);
    // As if it had been killed in the middle of a line.
    let torn = fs::OpenOptions::new().append(true).open(cluster.dir.path().join("3.jsonl"));
    std::io::Write::write_all(&mut torn.expect("a trace"), b"{\"at\":17").expect("room");
    cluster.run(3);
    cluster.wait_ready();
    // A client's own reads are evidence of what it is promised.
    let mut client = cluster.resp(1);
    client.set("k", "two");
    client.get("k");
    client.get("k");
    cluster.resp(3).get("k");
    let paths = (1..=3).map(|id| cluster.dir.path().join(format!("{id}.jsonl")));
    let paths: Vec<_> = paths.collect();
    let starts = || {
        let text = fs::read_to_string(&paths[2]).expect("a trace");
        text.matches("\"kind\":\"start\"").count()
    };
    assert_eq!(starts(), 2);
    wait_until("the GET is in the trace", LONG, || {
        fs::read_to_string(&paths[2]).ok().filter(|text| text.contains("\\\"value\\\":\\\"two"))
    });
    let verify = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
        let output = command.arg("verify").args(&paths).output().expect("the binary runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = verify();
    assert_eq!(code, Some(0), "{said}");
    let mut explain = Command::new(env!("CARGO_BIN_EXE_node"));
    let explained = explain.args(["explain", "--format", "text"]).args(&paths).output();
    assert!(explained.expect("the binary runs").status.success());
    // A reply that went back would be seen.
    let stale = fs::read_to_string(&paths[2]).expect("a trace");
    let stale = stale.replace("two", "one").replace("\\\"timestamp\\\":2", "\\\"timestamp\\\":1");
    fs::write(&paths[2], stale).expect("a file");
    let (code, said) = verify();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("regular_register     violated"), "{said}");
}

/// What a node was doing when it was killed is in its trace.
#[test]
fn a_killed_node_leaves_its_trace() {
    let mut cluster = Cluster::start(Setup { nodes: 1, trace: true, ..Setup::default() });
    cluster.resp(1).set("k", "v");
    let path = cluster.dir.path().join("1.jsonl");
    wait_until("the PUT is in the trace", LONG, || {
        fs::read_to_string(&path).ok().filter(|text| text.contains("put_ok"))
    });
    cluster.kill(1);
    let text = fs::read_to_string(&path).expect("a trace");
    assert!(text.contains("put_ok") && text.ends_with('\n'));
}

/// The tables are those that studies bring: help lists them, and so does the error for another.
#[test]
fn explain_shows_the_tables_that_studies_bring_and_says_which_there_are() {
    let explain = |args: &[&str]| {
        let trace = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lab/explain/testdata/small.jsonl");
        let node = Command::new(env!("CARGO_BIN_EXE_node"))
            .args(["explain", trace, "--table"])
            .args(args)
            .output()
            .expect("the binary runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (node.status.code(), text(node.stdout), text(node.stderr))
    };
    let (code, out, err) = explain(&["elections"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("# ") && out.contains("agreed after"), "{out}");
    let (code, out, err) = explain(&["nothing"]);
    assert_eq!((code, &*out), (Some(2), ""));
    assert!(err.contains("'nothing'") && err.contains("possible values: elections"), "{err}");
    let (code, help, _) = explain(&["elections", "--help"]);
    assert_eq!(code, Some(0));
    assert!(help.contains("- elections: when each election of bully began"), "{help}");
}
