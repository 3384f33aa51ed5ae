//! Nodes of any one protocol, each with its own table, as real processes.

use super::clients::{Json, try_connect};
use super::{LONG, Node, PATIENT, free_port, local, wait_until};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use tempfile::TempDir;

/// Nodes 1 to N, ready to be started.
pub struct Group {
    pub dir: TempDir,
    /// Native and JSON.
    ports: Vec<[u16; 2]>,
    /// Whether the nodes write their events to `ID.jsonl`.
    pub trace: bool,
}

impl Group {
    /// Writes the configs: `tables` has each node's lines of `[protocols.PROTOCOL]`.
    pub fn prepare(protocol: &str, tables: &[&str]) -> Group {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let ports: Vec<_> = tables.iter().map(|_| [free_port(), free_port()]).collect();
        let group = Group { dir, ports, trace: false };
        for (id, table) in (1..).zip(tables) {
            let config = group.config(id, protocol, table);
            fs::write(group.path(id, "toml"), config).expect("a config");
        }
        group
    }

    pub fn path(&self, id: usize, extension: &str) -> PathBuf {
        self.dir.path().join(id.to_string()).with_extension(extension)
    }

    fn config(&self, id: usize, protocol: &str, table: &str) -> String {
        let [native, json] = self.ports[id - 1];
        let data_dir = self.path(id, "data");
        let peers = (1..).zip(&self.ports).filter(|(peer, _)| *peer != id);
        let peers: String =
            peers.map(|(peer, [native, _])| format!("{peer} = \"127.0.0.1:{native}\"\n")).collect();
        format!(
            "[node]\nid = {id}\ncluster = \"test\"\ndata_dir = {data_dir:?}\n\n[peers]\n{peers}\n\
             [[listeners]]\naddr = \"127.0.0.1:{native}\"\n\n\
             [[listeners]]\naddr = \"127.0.0.1:{json}\"\ngateway = \"json\"\n\n\
             [limits]\n{PATIENT}\n[protocols.{protocol}]\n{table}\n"
        )
    }

    pub fn len(&self) -> usize {
        self.ports.len()
    }

    /// Starts a node, and does not wait for it.
    pub fn spawn(&self, id: usize) -> Node {
        let name = self.dir.path().join(id.to_string());
        let trace = self.trace.then(|| self.path(id, "jsonl"));
        Node::spawn_with(&self.path(id, "toml"), &name, None, trace.as_deref())
    }

    /// Starts a node, and waits until it listens.
    pub fn start(&self, id: usize) -> Node {
        let node = self.spawn(id);
        wait_until("the node listens", LONG, || {
            node.assert_runs();
            try_connect(self.json_addr(id)).ok()
        });
        node
    }

    pub fn native_addr(&self, id: usize) -> SocketAddr {
        local(self.ports[id - 1][0])
    }

    pub fn json_addr(&self, id: usize) -> SocketAddr {
        local(self.ports[id - 1][1])
    }

    pub fn json(&self, id: usize) -> Json {
        Json::connect(self.json_addr(id))
    }

    pub fn status(&self, id: usize) -> Value {
        self.json(id).ask(r#"{"status":{}}"#)["status"].take()
    }
}
