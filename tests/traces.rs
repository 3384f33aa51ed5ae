//! Traces of real nodes: written as they run, merged and read by `node explain`.

mod common;

use common::{Cluster, LONG, Setup, wait_until};
use node::trace::{Event, Line};
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
    let (mut sent, mut received, mut replies) = (BTreeSet::new(), BTreeSet::new(), 0);
    for line in texts.iter().flat_map(|text| text.lines()) {
        let line: Line<'_> = serde_json::from_str(line).expect("a line of a trace");
        match line.event {
            Event::Send { id, .. } => assert!(sent.insert(id.into_owned()), "a name twice"),
            Event::Recv { id, .. } => assert!(received.insert(id.into_owned()), "a name twice"),
            Event::Reply { label, .. } => replies += usize::from(label.contains("PutOk")),
            _ => {}
        }
    }
    assert!(received.is_subset(&sent), "{:?}", received.difference(&sent));
    assert!(received.len() > 10);
    assert_eq!(replies, 3);
    let output = Command::new(env!("CARGO_BIN_EXE_node"))
        .args(["explain", "--format", "text"])
        .args(&paths)
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("REPLICATION key:k value:v1 ts:1"));
}

/// What a node was doing when it was killed is in its trace.
#[test]
fn a_killed_node_leaves_its_trace() {
    let mut cluster = Cluster::start(Setup { nodes: 1, trace: true, ..Setup::default() });
    cluster.resp(1).set("k", "v");
    let path = cluster.dir.path().join("1.jsonl");
    wait_until("the PUT is in the trace", LONG, || {
        fs::read_to_string(&path).ok().filter(|text| text.contains("PutOk"))
    });
    cluster.kill(1);
    let text = fs::read_to_string(&path).expect("a trace");
    assert!(text.contains("PutOk") && text.ends_with('\n'));
}
