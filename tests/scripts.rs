//! The scripts that start and stop nodes as processes, where something is in their way.

mod common;

use common::{free_port, local};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// A folder of echo servers at these ports.
fn folder(ports: &[u16]) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder for the test");
    for (id, port) in (1..).zip(ports) {
        let config = format!(
            "[node]\nid = {id}\ncluster = \"test\"\n[[listeners]]\naddr = \"127.0.0.1:{port}\"\n\
             gateway = \"echo\"\n[protocols.echo]\n"
        );
        fs::write(dir.path().join(format!("node-{id}.toml")), config).expect("a config");
    }
    dir
}

/// The nodes of the folder are stopped when this goes.
struct Stop<'a>(&'a Path);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        cluster("down", self.0);
    }
}

fn cluster(what: &str, dir: &Path) -> Output {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/cluster.sh"))
        .env("NODE", env!("CARGO_BIN_EXE_node"))
        .env_remove("NODE_LOG")
        .env_remove("NODE_TRACE")
        .arg(what)
        .arg(dir)
        .output()
        .expect("it runs")
}

/// What a script does before it begins in a folder of its own.
fn clear(dir: &Path) -> Output {
    let script = ". scripts/lib.sh; clear_folder \"$1\" 'the test' 'look at it'";
    Command::new("bash")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["-euc", script, "bash"])
        .arg(dir)
        .output()
        .expect("it runs")
}

fn running(dir: &Path) -> usize {
    let status = cluster("status", dir);
    String::from_utf8_lossy(&status.stdout).lines().filter(|line| line.contains("running")).count()
}

#[test]
fn what_was_started_beside_a_node_that_cannot_start_is_stopped_again() {
    let ports = [free_port(), free_port(), free_port()];
    let busy = TcpListener::bind(local(ports[1])).expect("it is free");
    let dir = folder(&ports);
    let _stop = Stop(dir.path());
    let up = cluster("up", dir.path());
    assert_eq!(up.status.code(), Some(1));
    let said = String::from_utf8_lossy(&up.stderr);
    assert!(said.contains("node-2 did not start: ") && said.contains("stopped again"), "{said}");
    assert_eq!(running(dir.path()), 0);
    drop(busy);
    assert!(cluster("up", dir.path()).status.success());
    assert_eq!(running(dir.path()), 3);
}

#[test]
fn a_folder_whose_nodes_run_is_not_taken_from_them() {
    let dir = folder(&[free_port()]);
    let other = folder(&[free_port()]);
    let (_stop, _stop_other) = (Stop(dir.path()), Stop(other.path()));
    for dir in [&dir, &other] {
        assert!(cluster("up", dir.path()).status.success());
    }
    let refused = clear(dir.path());
    assert_eq!(refused.status.code(), Some(1));
    let told = format!(
        "the test already runs; look at it, or stop it with scripts/cluster.sh down {}\n",
        dir.path().display()
    );
    assert_eq!(String::from_utf8_lossy(&refused.stderr), told);
    assert_eq!(running(dir.path()), 1);

    // The number of a node that is gone is now another node's, or nobody's.
    cluster("down", dir.path());
    let pid = fs::read(other.path().join("node-1.pid")).expect("it runs");
    for left in [&pid[..], b"4194305\n", b""] {
        fs::create_dir_all(dir.path()).expect("a folder");
        fs::write(dir.path().join("node-1.toml"), "").expect("a file");
        fs::write(dir.path().join("node-1.pid"), left).expect("a file");
        let cleared = clear(dir.path());
        assert!(cleared.status.success(), "{cleared:?}");
        assert!(!dir.path().exists());
    }
    assert_eq!(running(other.path()), 1);
}
