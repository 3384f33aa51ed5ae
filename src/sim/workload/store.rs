//! Clients of the key-value store: PUTs and GETs, one after the other for each client, and the
//! history of it.

use super::{Token, Workload};
use crate::check::History;
use crate::check::history::{Kind, Op, Outcome, Replica};
use crate::sim::plan::Plan;
use crate::sim::world::{Nanos, World};
use node_protocols::core::{Bytes, Protocol, Rng, encode};
use node_protocols::kv_replication::{KvReplication, Reply, Request, Timestamp};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What clients do: the table `[workload]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many clients.
    pub clients: u32,
    /// How many operations each.
    pub operations: u32,
    /// How many keys they share.
    pub keys: u64,
    /// How many of a hundred operations are PUTs.
    pub put_percent: u64,
    /// How many of a hundred GETs are a newcomer's, who has seen nothing: a server that is behind
    /// must not answer it either, and cannot know that from the GET.
    pub newcomer_percent: u64,
    /// Clients keep one timestamp for all keys instead of one for each, as Redis clients must.
    pub one_timestamp: bool,
    /// The longest pause between two operations of a client, in milliseconds.
    pub think_ms: u64,
    /// When a client gives up, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            clients: 4,
            operations: 60,
            keys: 3,
            put_percent: 50,
            newcomer_percent: 20,
            one_timestamp: false,
            think_ms: 200,
            timeout_ms: 12_000,
        }
    }
}

/// Bounds that keep a run finite.
pub(super) const MAX_CLIENTS: u32 = 1_000;
/// In the end every key is read at every node, within the time to settle. How much of that time
/// a key may take: about twice what it does.
const READ_KEY_MS: u64 = 20;

impl Settings {
    /// What of them makes no sense in a run of so many milliseconds.
    pub fn check(&self, millis: u64, settle_millis: u64) -> Result<(), String> {
        let percent = self.put_percent.max(self.newcomer_percent);
        let one = self.keys >= 1 && self.timeout_ms >= 1;
        if !(1..=MAX_CLIENTS).contains(&self.clients) || !one || percent > 100 {
            return Err(format!(
                "workload: clients 1 to {MAX_CLIENTS}, keys and timeout_ms at least 1, put_percent \
                 and newcomer_percent at most 100"
            ));
        }
        let most = settle_millis / READ_KEY_MS;
        if self.keys > most {
            return Err(format!(
                "workload: at most {most} keys can be read at the end within settle_seconds"
            ));
        }
        let whole = millis + settle_millis;
        if self.timeout_ms > whole
            || u64::from(self.operations).saturating_mul(self.think_ms) > whole
        {
            return Err("workload: operations times think_ms, and timeout_ms, must fit into \
                        seconds and settle_seconds, or clients would not come to an end"
                .into());
        }
        Ok(())
    }
}

/// Newcomers are clients of their own in a history; these are no other's numbers.
const NEWCOMERS: u64 = 1 << 32;

/// All clients of a run.
pub struct Clients {
    clients: Vec<Client>,
    workload: Settings,
    operations: u32,
    /// The first of those who ask one node each how it is, once the clients are done.
    first_probe: u32,
    probed: BTreeMap<usize, Status>,
    probe_round: u32,
    /// Those who ask also read every key in the end: how many keys each has still to read.
    unread: Vec<u64>,
    /// What has been done so far.
    ops: Vec<Op>,
    /// Client and sequence of each operation, as traces name them.
    names: Vec<(u64, u32)>,
    scratch: Vec<u8>,
}

/// How a node is.
struct Status {
    /// Whether it answers.
    complete: bool,
    /// Its last PUT.
    applied: u64,
    /// Its table's digest.
    digest: String,
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

impl Clients {
    /// The clients of a plan, at the beginning of the run.
    pub fn new(workload: &Settings, plan: &Plan, world: &mut World) -> Clients {
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
            world.add_client(plan.seed, KvReplication::NAME);
            if id < plan.clients {
                clients.think(id, world);
            }
        }
        clients
    }

    /// Whether all operations are over.
    fn are_done(&self) -> bool {
        let workers = &self.clients[..self.first_probe as usize];
        workers.iter().all(|client| client.done >= self.operations && client.current.is_none())
    }

    fn think(&mut self, id: u32, world: &mut World) {
        let pause = self.clients[id as usize].rng.below(self.workload.think_ms * 1_000 + 1);
        world.wake(world.now() + pause * 1_000, Token::Think(id).pack());
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

    /// Asks every node how it is; the answers are there a little later.
    fn probe(&mut self, world: &mut World) {
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
    fn read_all(&mut self, world: &mut World) {
        self.unread = vec![self.workload.keys; world.len()];
        for node in 0..world.len() as u32 {
            self.read_next(self.first_probe + node, world);
        }
    }

    /// Whether every key was read at every node.
    fn have_read_all(&self) -> bool {
        !self.unread.is_empty()
            && self.unread.iter().all(|left| *left == 0)
            && self.clients.iter().all(|client| client.current.is_none())
    }

    /// Whether the last reading has begun.
    fn are_reading(&self) -> bool {
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

    /// Whether every node is whole and all are equally far; what they hold is for a checker to say.
    fn is_settled(&self, world: &World) -> bool {
        let first = self.probed.get(&0).map(|status| status.applied);
        let is_even = |status: &Status| status.complete && Some(status.applied) == first;
        self.are_done() && self.probed.len() == world.len() && self.probed.values().all(is_even)
    }
}

impl Workload for Clients {
    fn wake(&mut self, id: u32, world: &mut World) {
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

    fn reply(&mut self, id: u32, sequence: u32, reply: &[u8], world: &mut World) {
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

    fn closed(&mut self, id: u32, world: &mut World) {
        if id >= self.first_probe {
            return;
        }
        if self.clients[id as usize].current.take().is_some() {
            self.think(id, world);
        }
    }

    fn timeout(&mut self, id: u32, sequence: u32, world: &mut World) {
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

    fn is_over(&mut self, world: &mut World, _: Nanos) -> bool {
        if self.have_read_all() {
            return true;
        }
        if self.are_reading() {
            // Their answers are on the way.
        } else if self.is_settled(world) {
            self.read_all(world);
        } else if self.are_done() {
            self.probe(world);
        }
        false
    }

    fn unsettled(&self, world: &World) -> String {
        let describe = |node: usize| match self.probed.get(&node) {
            Some(status) => format!(
                "node {} {}at {}",
                world.id(node),
                if status.complete { "" } else { "incomplete " },
                status.applied
            ),
            None => format!("node {} silent", world.id(node)),
        };
        (0..world.len()).map(describe).collect::<Vec<_>>().join(", ")
    }

    fn take_history(&mut self, world: &mut World) -> History {
        let replica = |(node, status): (&usize, &Status)| Replica {
            replica: world.id(*node).to_string(),
            applied: status.applied,
            digest: status.digest.clone(),
        };
        let replicas = self.probed.iter().map(replica).collect();
        History { ops: std::mem::take(&mut self.ops), replicas, ..History::default() }
    }

    fn name(&self, op: usize) -> Option<(u64, u32)> {
        self.names.get(op).copied()
    }
}
