//! The replicated store in a cluster, with what its clients say. All nodes have the same config.
#![allow(dead_code, reason = "each test file uses its own part of it")]

use node_lab::sim::cluster::{Cluster, MS};
use node_lab::study::Nanos;
use node_protocols::core::{Bytes, DynProtocol, Env, NodeId, erase};
use node_protocols::kv_replication::{
    Config, Durability, Info, KvReplication, Reply, Request, Timestamp,
};
use node_studies::kv_replication::StoreStudy;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

pub const LEADER: u32 = 1;

pub const fn ms(millis: u64) -> Nanos {
    millis * MS
}

pub fn config() -> Config {
    Config {
        leader: NodeId(LEADER),
        durability: Durability::Memory,
        put_timeout_ms: 200,
        resend_after_ms: 20,
        max_key_bytes: 64,
        max_value_bytes: 1 << 20,
        max_pending_puts: 1_000,
        max_log_bytes: 1 << 20,
        chunk_bytes: 256 << 10,
        #[cfg(feature = "mutants")]
        mutant: None,
    }
}

/// Nodes 1 to so many, which nothing has happened to.
pub struct Store(Cluster);

impl Deref for Store {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0
    }
}

impl DerefMut for Store {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.0
    }
}

impl Store {
    /// All nodes have started.
    pub fn new(seed: u64, nodes: u32, config: Config) -> Store {
        let ids: Vec<u32> = (1..=nodes).collect();
        let has_disks = config.durability == Durability::Disk;
        let build = move |env: &Env| -> Vec<Box<dyn DynProtocol>> {
            vec![erase::<KvReplication>(config.clone(), env).expect("the config is right")]
        };
        let make = if has_disks { Cluster::with_disks } else { Cluster::new };
        let mut store = Store(make(seed, &ids, build));
        store.watch::<StoreStudy>();
        store.start_all();
        store
    }

    /// Three nodes that have heard from each other.
    pub fn ready(config: Config) -> Store {
        let mut store = Store::new(1, 3, config);
        store.run(ms(50));
        assert!(store.has_converged(), "an empty store is ready at once");
        store
    }

    /// The address from which clients ask a node.
    pub fn client(&mut self, node: u32) -> SocketAddr {
        self.addr::<KvReplication>(node, 0)
    }

    pub fn ask_for(&mut self, node: u32, request: &Request<'_>) -> u32 {
        self.request::<KvReplication>(node, 0, request)
    }

    pub fn put(&mut self, node: u32, key: &str, value: &str) -> u32 {
        self.ask_for(node, &Request::Put { key: key.into(), value: value.into() })
    }

    pub fn get(&mut self, node: u32, key: &str, timestamp: Timestamp) -> u32 {
        let key = Bytes::from(key);
        self.ask_for(node, &Request::Get { key, timestamp, applied: Timestamp(0) })
    }

    /// None while the request is open, and when its node crashed.
    pub fn answer(&self, ticket: u32) -> Option<Reply<'static>> {
        self.reply::<KvReplication>(ticket)
    }

    /// Runs until the request is answered.
    pub fn wait(&mut self, ticket: u32) -> Reply<'static> {
        let until = self.now() + ms(60_000);
        while self.ended(ticket).is_none() && self.step(until) {}
        self.answer(ticket).expect("every request is answered, and the node lives")
    }

    /// A PUT to its end, which must be PUT_OK.
    pub fn put_ok(&mut self, node: u32, key: &str, value: &str) -> Timestamp {
        let ticket = self.put(node, key, value);
        match self.wait(ticket) {
            Reply::PutOk { timestamp } => timestamp,
            other => panic!("PUT {key} at {node}: {other:?}"),
        }
    }

    /// What a node says of itself.
    pub fn info(&mut self, node: u32) -> Info<'static> {
        let ticket = self.ask_for(node, &Request::Info {});
        match self.wait(ticket) {
            Reply::Info(info) => info,
            other => panic!("INFO at {node}: {other:?}"),
        }
    }

    pub fn is_complete(&mut self, node: u32) -> bool {
        self.is_up(node) && self.info(node).complete
    }

    /// Whether all nodes are up with the same, whole table, and their leader knows.
    pub fn has_converged(&mut self) -> bool {
        if !self.ids().into_iter().all(|id| self.is_complete(id)) {
            return false;
        }
        let Info { applied, table_digest, followers, .. } = self.info(LEADER);
        followers.values().all(|follower| follower.acked == applied)
            && self.ids().into_iter().all(|id| {
                let info = self.info(id);
                info.applied == applied && info.table_digest == table_digest
            })
    }

    /// How far each node is, for a test that fails.
    pub fn summary(&mut self) -> String {
        let open = format!("open requests {:?}", self.open().collect::<Vec<_>>());
        let ids = self.ids().into_iter().filter(|id| self.is_up(*id)).collect::<Vec<_>>();
        ids.into_iter().fold(open, |text, id| {
            let info = self.info(id);
            let (complete, applied, followers) = (info.complete, info.applied, &info.followers);
            format!("{text}\n{id}: complete {complete} applied {applied} {followers:?}")
        })
    }
}
