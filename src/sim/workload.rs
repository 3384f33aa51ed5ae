//! What clients do in a run: PUTs and GETs on the key-value store, one after the other for each
//! client, and the history of it.

use super::scenario::{Plan, Workload};
use super::world::{Nanos, World};
use crate::check::history::{Kind, Op, Outcome};
use node_protocols::core::{Bytes, Rng, encode};
use node_protocols::kv_replication::{Reply, Request, Timestamp};
use std::collections::BTreeMap;

/// Newcomers are clients of their own in a history; these are no other's numbers.
const NEWCOMERS: u64 = 1 << 32;

/// All clients of a run.
pub struct Clients {
    clients: Vec<Client>,
    workload: Workload,
    operations: u32,
    /// The first of those who ask one node each how it is, once the clients are done.
    first_probe: u32,
    probed: BTreeMap<usize, Status>,
    probe_round: u32,
    /// Those who ask also read every key in the end: how many keys each has still to read.
    unread: Vec<u64>,
    /// What has been done so far.
    pub ops: Vec<Op>,
    /// Client and sequence of each operation, as traces name them.
    names: Vec<(u64, u32)>,
    scratch: Vec<u8>,
}

/// How a node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Whether it answers.
    pub complete: bool,
    /// Its last PUT.
    pub applied: u64,
    /// Its table's digest.
    pub digest: String,
}

struct Client {
    rng: Rng,
    /// Draws which GETs are a newcomer's.
    newcomers: Rng,
    done: u32,
    /// The operation under way: its place in `ops`, and its sequence.
    current: Option<(usize, u32)>,
    sequence: u32,
    seen: BTreeMap<u64, Timestamp>,
    key: u64,
    is_newcomer: bool,
}

/// What a wake-up is for. Sequences tell a timeout of an operation that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token {
    /// The client may go on.
    Think(u32),
    /// The client's operation of that sequence has taken too long.
    Timeout(u32, u32),
    /// A fault of the plan begins.
    Begin(u32),
    /// It ends.
    End(u32),
    /// Look whether everything is in order again.
    Settle,
}

impl Token {
    /// As the world carries it.
    pub fn pack(self) -> u64 {
        let (kind, a, b) = match self {
            Token::Think(client) => (0, client, 0),
            Token::Timeout(client, sequence) => (1, client, sequence),
            Token::Begin(place) => (2, place, 0),
            Token::End(place) => (3, place, 0),
            Token::Settle => (4, 0, 0),
        };
        kind << 60 | u64::from(a) << 32 | u64::from(b)
    }

    /// What the world carried.
    pub fn unpack(token: u64) -> Token {
        let (a, b) = ((token >> 32) as u32 & 0x0FFF_FFFF, token as u32);
        match token >> 60 {
            0 => Token::Think(a),
            1 => Token::Timeout(a, b),
            2 => Token::Begin(a),
            3 => Token::End(a),
            _ => Token::Settle,
        }
    }
}

impl Clients {
    /// The clients of a plan, at the beginning of the run.
    pub fn new(workload: &Workload, plan: &Plan, world: &mut World) -> Clients {
        let client = |id: u32| Client {
            rng: Rng::stream(plan.seed, &format!("workload/{id}")),
            newcomers: Rng::stream(plan.seed, &format!("workload/{id}/newcomers")),
            done: 0,
            current: None,
            sequence: 0,
            seen: BTreeMap::new(),
            key: 0,
            is_newcomer: false,
        };
        let mut clients = Clients {
            // One more for each node: those who ask it how it is.
            clients: (0..plan.clients + world.len() as u32).map(client).collect(),
            workload: workload.clone(),
            operations: plan.operations,
            first_probe: plan.clients,
            probed: BTreeMap::new(),
            probe_round: 0,
            unread: Vec::new(),
            ops: Vec::new(),
            names: Vec::new(),
            scratch: Vec::new(),
        };
        for id in 0..clients.clients.len() as u32 {
            world.add_client(plan.seed);
            if id < plan.clients {
                clients.think(id, world);
            }
        }
        clients
    }

    /// Whether all operations are over.
    pub fn are_done(&self) -> bool {
        let workers = &self.clients[..self.first_probe as usize];
        workers.iter().all(|client| client.done >= self.operations && client.current.is_none())
    }

    fn think(&mut self, id: u32, world: &mut World) {
        let pause = self.clients[id as usize].rng.below(self.workload.think_ms * 1_000 + 1);
        world.wake(world.now() + pause * 1_000, Token::Think(id).pack());
    }

    /// The client's next operation.
    pub fn invoke(&mut self, id: u32, world: &mut World) {
        let (workload, operations) = (&self.workload, self.operations);
        let client = &mut self.clients[id as usize];
        if client.done >= operations || client.current.is_some() {
            return;
        }
        client.done += 1;
        let key = client.rng.below(workload.keys);
        let server = client.rng.below(world.len() as u64) as usize;
        let put = client.rng.below(100) < workload.put_percent;
        self.send(id, server, key, put, world);
    }

    fn send(&mut self, id: u32, server: usize, key: u64, put: bool, world: &mut World) {
        let client = &mut self.clients[id as usize];
        client.sequence += 1;
        client.key = key;
        client.is_newcomer = !put && client.newcomers.below(100) < self.workload.newcomer_percent;
        let sequence = client.sequence;
        let (name, value) = (format!("k{key}"), format!("{id}-{sequence}"));
        let bytes = Bytes::new(name.as_bytes());
        let request = if put {
            Request::Put { key: bytes, value: Bytes::new(value.as_bytes()) }
        } else {
            let of_key = client.seen.get(&key).copied().unwrap_or_default();
            let of_all = client.seen.values().max().copied().unwrap_or_default();
            let (timestamp, applied) = match (client.is_newcomer, self.workload.one_timestamp) {
                (true, _) => (Timestamp(0), Timestamp(0)),
                (false, true) => (Timestamp(0), of_all),
                (false, false) => (of_key, Timestamp(0)),
            };
            Request::Get { key: bytes, timestamp, applied }
        };
        self.scratch.clear();
        encode(&request, &mut self.scratch);
        let newcomer = client.is_newcomer;
        client.current = Some((self.ops.len(), sequence));
        world.request(id, server, sequence, &self.scratch);
        let timeout = world.now() + self.workload.timeout_ms * 1_000_000;
        world.wake(timeout, Token::Timeout(id, sequence).pack());
        self.names.push((id.into(), sequence));
        self.ops.push(Op {
            client: if newcomer { NEWCOMERS + self.ops.len() as u64 } else { id.into() },
            op: if put { Kind::Put } else { Kind::Get },
            key: name,
            value: put.then_some(value),
            invoke_ns: world.now(),
            return_ns: None,
            outcome: Outcome::Unknown,
            timestamp: 0,
            server: (server + 1).to_string(),
        });
    }

    /// A reply reached a client.
    pub fn reply(&mut self, id: u32, sequence: u32, reply: &[u8], world: &mut World) {
        // The Host encoded it from this type; what does not decode is no reply.
        let Ok(reply) = postcard::from_bytes::<Reply<'_>>(reply) else { return };
        if id >= self.first_probe && self.unread.is_empty() {
            return self.probed(id, sequence, &reply);
        }
        let client = &mut self.clients[id as usize];
        let Some((place, _)) = client.current.filter(|current| current.1 == sequence) else {
            return;
        };
        client.current = None;
        let op = &mut self.ops[place];
        op.return_ns = Some(world.now());
        (op.outcome, op.timestamp) = match reply {
            Reply::PutOk { timestamp } => (Outcome::Ok, timestamp.0),
            Reply::NotApplied { .. } => (Outcome::NotApplied, 0),
            Reply::MayStillApply { .. } => (Outcome::MayStillApply, 0),
            Reply::Value { value, timestamp } => {
                op.value = Some(String::from_utf8_lossy(&value).into_owned());
                (Outcome::Ok, timestamp.0)
            }
            Reply::Null {} => (Outcome::Null, 0),
            Reply::TryOtherServerOrLater { timestamp } => (Outcome::TryOther, timestamp.0),
            Reply::Info(_) => (Outcome::Unknown, 0),
        };
        if op.outcome == Outcome::Ok && !client.is_newcomer {
            let seen = client.seen.entry(client.key).or_default();
            *seen = Timestamp(op.timestamp).max(*seen);
        }
        if id >= self.first_probe {
            return self.read_next(id, world);
        }
        self.think(id, world);
    }

    /// A client's connection is gone; what was under way stays unknown.
    pub fn closed(&mut self, id: u32, world: &mut World) {
        if id >= self.first_probe {
            return;
        }
        if self.clients[id as usize].current.take().is_some() {
            self.think(id, world);
        }
    }

    /// An operation has taken too long, unless it is over.
    pub fn timeout(&mut self, id: u32, sequence: u32, world: &mut World) {
        let client = &mut self.clients[id as usize];
        if client.current.is_some_and(|current| current.1 == sequence) {
            client.current = None;
            world.disconnect(id);
            if id >= self.first_probe {
                return self.read_next(id, world);
            }
            self.think(id, world);
        }
    }

    /// Asks every node how it is; the answers are there a little later.
    pub fn probe(&mut self, world: &mut World) {
        self.probed.clear();
        self.probe_round += 1;
        self.scratch.clear();
        encode(&Request::Info {}, &mut self.scratch);
        for node in 0..world.len() {
            world.request(self.first_probe + node as u32, node, self.probe_round, &self.scratch);
        }
    }

    fn probed(&mut self, id: u32, round: u32, reply: &Reply<'_>) {
        if let Reply::Info(info) = reply
            && round == self.probe_round
        {
            let status = Status {
                complete: info.complete,
                applied: info.applied.0,
                digest: info.table_digest.to_string(),
            };
            self.probed.insert((id - self.first_probe) as usize, status);
        }
    }

    /// Begins to read every key at every node, which shows what no replica holds any more.
    pub fn read_all(&mut self, world: &mut World) {
        self.unread = vec![self.workload.keys; world.len()];
        for node in 0..world.len() as u32 {
            self.read_next(self.first_probe + node, world);
        }
    }

    /// Whether every key was read at every node.
    pub fn have_read_all(&self) -> bool {
        !self.unread.is_empty()
            && self.unread.iter().all(|left| *left == 0)
            && self.clients.iter().all(|client| client.current.is_none())
    }

    /// Whether the last reading has begun.
    pub fn are_reading(&self) -> bool {
        !self.unread.is_empty()
    }

    fn read_next(&mut self, id: u32, world: &mut World) {
        let node = (id - self.first_probe) as usize;
        if self.unread[node] == 0 {
            return;
        }
        self.unread[node] -= 1;
        let key = self.unread[node];
        self.send(id, node, key, false, world);
    }

    /// Client and sequence of each operation, as traces name them.
    pub fn names(&self) -> Vec<(u64, u32)> {
        self.names.clone()
    }

    /// What the last probe found: a node's status by its place.
    pub fn statuses(&self) -> &BTreeMap<usize, Status> {
        &self.probed
    }
}

/// Long enough for a probe's answers to come.
pub const PROBE_EVERY: Nanos = 200_000_000;
