//! The clients' side of the in-memory cluster: requests go out as they would be encoded by a
//! gateway, replies come back as they were encoded by the protocol.

use super::{Answer, Cluster, LEADER, ms};
use node_protocols::core::{Bytes, Caller, ClientId, NodeId, RequestId, Time};
use node_protocols::kv_replication::{Info, Reply, Request, Timestamp};
use std::collections::BTreeSet;
use std::net::SocketAddr;

impl Cluster {
    /// Runs until the request is answered.
    pub fn wait(&mut self, ticket: u32) -> Reply<'_> {
        let until = self.now + ms(60_000);
        while self.open.contains_key(&ticket) && self.step(until) {}
        self.reply(ticket).expect("every request is answered, and the node lives")
    }

    /// The address from which request `ticket` comes.
    pub fn addr(ticket: u32) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 40_000 + (ticket % 20_000) as u16))
    }

    pub fn request(&mut self, node: NodeId, request: &Request<'_>) -> u32 {
        let bytes = postcard::to_allocvec(request).expect("requests have a postcard form");
        self.tickets += 1;
        let ticket = self.tickets;
        if self.trace.is_some() {
            self.note(format!("request {ticket} to {node}: {request:?}"));
        }
        let client = ClientId { slot: ticket, generation: 0 };
        let caller =
            Caller { request: RequestId { client, sequence: 0 }, addr: Self::addr(ticket) };
        self.open.insert(ticket, node);
        let now = self.clock();
        match self.event(node, |host| host.handle_request(0, caller, &bytes, now)) {
            Some(done) => assert_eq!(done, Ok(()), "it was encoded above"),
            None => {
                self.open.remove(&ticket);
                self.answers.insert(ticket, Answer { at: self.now, reply: None });
            }
        }
        ticket
    }

    pub fn put(&mut self, node: NodeId, key: &str, value: &str) -> u32 {
        self.request(node, &Request::Put { key: key.into(), value: value.into() })
    }

    pub fn get(&mut self, node: NodeId, key: &str, timestamp: Timestamp) -> u32 {
        let key = Bytes::from(key);
        self.request(node, &Request::Get { key, timestamp, applied: Timestamp(0) })
    }

    /// A PUT to its end, which must be PUT_OK.
    pub fn put_ok(&mut self, node: NodeId, key: &str, value: &str) -> Timestamp {
        let ticket = self.put(node, key, value);
        match self.wait(ticket) {
            Reply::PutOk { timestamp } => timestamp,
            other => panic!("PUT {key} at {node}: {other:?}"),
        }
    }

    /// What a node says of itself.
    pub fn info(&mut self, node: NodeId) -> Info<'_> {
        let ticket = self.request(node, &Request::Info {});
        match self.reply(ticket) {
            Some(Reply::Info(info)) => info,
            other => panic!("INFO at {node}: {other:?}"),
        }
    }

    pub fn is_complete(&mut self, node: NodeId) -> bool {
        self.is_up(node) && self.info(node).complete
    }

    /// None while the request is open, and when its node crashed.
    pub fn reply(&self, ticket: u32) -> Option<Reply<'_>> {
        let reply = self.answers.get(&ticket)?.reply.as_ref()?;
        Some(postcard::from_bytes(reply).expect("replies decode"))
    }

    /// When the request ended, with a reply or with its node's crash.
    pub fn ended(&self, ticket: u32) -> Option<Time> {
        self.answers.get(&ticket).map(|answer| answer.at)
    }

    pub fn open(&self) -> BTreeSet<u32> {
        self.open.keys().copied().collect()
    }

    /// Whether all nodes are up with the same, whole table, and their leader knows.
    pub fn has_converged(&mut self) -> bool {
        if !self.ids().into_iter().all(|id| self.is_complete(id)) {
            return false;
        }
        let info = self.info(LEADER);
        let (applied, digest) = (info.applied, info.table_digest.into_owned());
        let known = info.followers.values().all(|follower| follower.acked == applied);
        known
            && self.ids().into_iter().all(|id| {
                let info = self.info(id);
                info.applied == applied && info.table_digest == digest
            })
    }

    /// How far each node is, for a test that fails.
    pub fn summary(&mut self) -> String {
        let open = format!("open requests {:?}", self.open());
        let ids = self.ids().into_iter().filter(|id| self.is_up(*id)).collect::<Vec<_>>();
        ids.into_iter().fold(open, |text, id| {
            let info = self.info(id);
            let (complete, applied, followers) = (info.complete, info.applied, &info.followers);
            format!("{text}\n{id}: complete {complete} applied {applied} {followers:?}")
        })
    }
}
