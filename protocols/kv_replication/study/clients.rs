//! Clients of the key-value store: PUTs and GETs, one after the other for each client, and the
//! history of it.

use super::script::{Asks, Step};
use super::wire::{Answer, Ask, Foreign, Wire};
use node_lab::check::describe::NEWCOMERS;
use node_lab::study::Load;
use node_lab::study::Nanos;
use node_lab::study::{Clients, Port, Said, Workload};
use node_protocols::core::{Bytes, Protocol, Rng, encode};
use node_protocols::kv_replication::{KvReplication, Reply, Request, Timestamp};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What clients do: the table `[workload.kv_replication]`.
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
    /// How large keys, values and tables are.
    pub sizes: Sizes,
    /// What the clients speak, through the gateway's codec and in pieces that the seed cuts;
    /// without, their requests and replies are typed.
    pub wire: Option<Wire>,
    /// What each client asks, instead of what is drawn.
    pub script: Vec<Vec<Step>>,
}

/// How large keys, values and tables are: drawn from the seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sizes {
    /// Small in most seeds, as small ones find most and cost least.
    #[default]
    Mixed,
    /// Large in every seed.
    Large,
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
            sizes: Sizes::Mixed,
            wire: None,
            script: Vec::new(),
        }
    }
}

/// Bounds that keep a run finite.
const MAX_CLIENTS: u32 = 1_000;
/// In the end every key is read at every node, within the time to settle. How much of that time
/// a key may take: about twice what it does.
const READ_KEY_MS: u64 = 20;

impl Settings {
    /// What of them makes no sense in a run of so many milliseconds.
    ///
    /// # Errors
    /// Which setting breaks which rule, in one line.
    pub fn check(&self, millis: u64, settle_millis: u64) -> Result<(), String> {
        let percent = self.put_percent.max(self.newcomer_percent);
        let one = self.keys >= 1 && self.timeout_ms >= 1;
        if !(1..=MAX_CLIENTS).contains(&self.clients) || !one || percent > 100 {
            return Err(format!(
                "workload: clients 1 to {MAX_CLIENTS}, keys and timeout_ms at least 1, put_percent \
                 and newcomer_percent at most 100"
            ));
        }
        if self.wire == Some(Wire::Resp) && self.one_timestamp {
            return Err(
                "workload: one_timestamp: a RESP client names no timestamps, its connection \
                        keeps one: leave it out"
                    .into(),
            );
        }
        let keys = self.script.iter().flatten().filter_map(|step| Some(step.asks()?.key));
        if keys.max().is_some_and(|key| key >= self.keys) {
            return Err("workload: script: its keys are k0 to the one before keys".into());
        }
        let waits = |steps: &Vec<Step>| {
            steps.iter().fold(0, |sum: u64, step| sum.saturating_add(step.millis()))
        };
        if self.script.iter().map(waits).max().is_some_and(|longest| longest > millis) {
            return Err("workload: script: a client's pauses (WAIT) must fit into seconds".into());
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

impl Clients for Settings {
    fn check(&self, millis: u64, settle_millis: u64) -> Result<(), String> {
        Settings::check(self, millis, settle_millis)
    }

    fn counts(&self) -> (u32, u32) {
        match self.script.iter().map(Vec::len).max() {
            Some(longest) => (self.script.len() as u32, longest as u32),
            None => (self.clients, self.operations),
        }
    }

    fn most(&self) -> u32 {
        MAX_CLIENTS
    }

    fn meet_twins(&self) -> bool {
        true
    }

    fn start(&self, plan: &Load, port: &mut dyn Port) -> Box<dyn Workload> {
        Box::new(Crew::new(self, plan, port))
    }
}

/// One seed of so many has keys and values of any size, and one of so many a table of several
/// hundred keys: each costs several small ones.
const LARGE_OF: u64 = 32;
const WIDE_OF: u64 = 256;
/// The longest key and value, in bytes: more than a frame's head, less than any server refuses.
const MAX_KEY: u64 = 120;
const MAX_VALUE: u64 = 4 << 10;
/// So many keys beside those that the clients share make a table wide.
const WIDE: std::ops::Range<u64> = 257..513;
/// So many clients fill it, at the beginning of the run, and give up what is not there by then.
const LOADERS: u32 = 8;
const LOAD_UNTIL: Nanos = 2_000_000_000;
/// One of so many of them is read in the end: replicas that differ have digests that do.
const READ_OF: u64 = 8;

/// What a seed makes of sizes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Drawn {
    seed: u64,
    /// Whether keys and values are of any size.
    is_large: bool,
    /// How many keys the table has beside those that the clients share; 0 for none.
    wide: u64,
}

impl Drawn {
    fn new(sizes: Sizes, seed: u64) -> Drawn {
        let mut rng = Rng::stream(seed, "workload/sizes");
        let (large, wide) = (rng.below(LARGE_OF) == 0, rng.below(WIDE_OF) == 0);
        let entries = WIDE.start + rng.below(WIDE.end - WIDE.start);
        let (is_large, is_wide) = match sizes {
            Sizes::Mixed => (large, wide),
            // A seed of the one kind is none of the other, or small ones would be in neither.
            Sizes::Large => (seed.is_multiple_of(2), !seed.is_multiple_of(2)),
        };
        Drawn { seed, is_large, wide: if is_wide { entries } else { 0 } }
    }

    /// The name of a key, which is the same at each use.
    fn key(&self, key: u64) -> String {
        let mut name = format!("k{key}");
        if self.is_large {
            let mut rng = Rng::stream(self.seed, &format!("workload/key/{key}"));
            pad(&mut name, rng.below(MAX_KEY + 1));
        }
        name
    }

    /// A value that nobody else writes.
    fn value(&self, id: u32, sequence: u32) -> String {
        let mut value = format!("{id}-{sequence}");
        if self.is_large {
            let mut rng = Rng::stream(self.seed, &format!("workload/value/{id}/{sequence}"));
            let most = match rng.below(8) {
                0 => MAX_VALUE,
                1..3 => 256,
                _ => 0,
            };
            pad(&mut value, rng.below(most + 1));
        }
        value
    }
}

/// Makes a text at least so long.
fn pad(text: &mut String, bytes: u64) {
    let more = (bytes as usize).saturating_sub(text.len());
    // Its place stands in it, so that a piece from the middle is not the one it should be.
    for place in 0..more {
        text.push(char::from(b'a' + (place % 23) as u8));
    }
}

/// One of so many operations goes to a second process of a node's id, while there is one.
const TWIN_OF: u64 = 4;

/// A RESP client's connections are clients of their own in a history: they are its sessions.
const CONNECTIONS: u64 = 1_000_000;

/// All clients of a run.
pub struct Crew {
    clients: Vec<Client>,
    workload: Settings,
    operations: u32,
    drawn: Drawn,
    /// The first of those who ask one node each how it is, once the clients are done.
    first_probe: u32,
    /// The first of those who fill the table.
    first_loader: u32,
    probed: BTreeMap<usize, Status>,
    probe_round: u32,
    /// Those who ask also read the keys in the end: how many keys each has still to read.
    unread: Vec<u64>,
    /// How many operations there have been.
    asked: u64,
    scratch: Vec<u8>,
}

/// What a client is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// It PUTs and GETs.
    Worker,
    /// It asks a node how it is, and reads in the end.
    Probe,
    /// It fills the table.
    Loader,
}

/// How a node said that it is.
struct Status {
    /// When it was asked.
    round: u32,
    /// Whether it answers.
    complete: bool,
    /// Why it does not, in its words.
    reason: String,
    /// Its last PUT.
    applied: u64,
}

struct Client {
    rng: Rng,
    /// Draws which GETs are a newcomer's.
    newcomers: Rng,
    /// Draws which operations go to a second process of a node's id, while there is one.
    twins: Rng,
    done: u32,
    /// The sequence of the operation under way.
    current: Option<u32>,
    sequence: u32,
    seen: BTreeMap<u64, Timestamp>,
    key: u64,
    is_newcomer: bool,
    /// What it speaks, unless its requests are typed.
    foreign: Option<Foreign>,
    /// The server that it asked last.
    server: Option<usize>,
}

impl Crew {
    /// The clients of a plan, at the beginning of the run.
    pub fn new(workload: &Settings, plan: &Load, port: &mut dyn Port) -> Crew {
        // Those who ask how nodes are, and who fill the table, belong to the simulator.
        let wire = |id: u32| workload.wire.filter(|_| id < plan.clients);
        let client = |id: u32| Client {
            rng: Rng::stream(plan.seed, &format!("workload/{id}")),
            newcomers: Rng::stream(plan.seed, &format!("workload/{id}/newcomers")),
            twins: Rng::stream(plan.seed, &format!("workload/{id}/twins")),
            done: 0,
            current: None,
            sequence: 0,
            seen: BTreeMap::new(),
            key: 0,
            is_newcomer: false,
            foreign: wire(id).map(|wire| Foreign::new(wire, plan.seed, id)),
            server: None,
        };
        let drawn = Drawn::new(workload.sizes, plan.seed);
        let first_loader = plan.clients + port.nodes() as u32;
        let loaders = if drawn.wide > 0 { LOADERS } else { 0 };
        let mut clients = Crew {
            // One more for each node: those who ask it how it is.
            clients: (0..first_loader + loaders).map(client).collect(),
            workload: workload.clone(),
            operations: plan.operations,
            drawn,
            first_probe: plan.clients,
            first_loader,
            probed: BTreeMap::new(),
            probe_round: 0,
            unread: Vec::new(),
            asked: 0,
            scratch: Vec::new(),
        };
        for id in 0..clients.clients.len() as u32 {
            port.add_client(KvReplication::NAME);
            if let Some(wire) = wire(id) {
                port.set_wire(id, wire.gateway());
            }
            match clients.role(id) {
                Role::Worker => clients.think(id, port),
                Role::Probe => {}
                Role::Loader => clients.load_next(id, port),
            }
        }
        clients
    }

    fn role(&self, id: u32) -> Role {
        match id {
            id if id < self.first_probe => Role::Worker,
            id if id < self.first_loader => Role::Probe,
            _ => Role::Loader,
        }
    }

    /// Whether all operations are over.
    fn are_done(&self) -> bool {
        let workers = &self.clients[..self.first_probe as usize];
        let loaders = &self.clients[self.first_loader as usize..];
        workers.iter().all(|client| client.done >= self.operations && client.current.is_none())
            && loaders.iter().all(|client| client.current.is_none())
    }

    /// Puts the loader's next key into the table.
    fn load_next(&mut self, id: u32, port: &mut dyn Port) {
        let loader = &mut self.clients[id as usize];
        let place = u64::from(loader.done * LOADERS + (id - self.first_loader));
        if place >= self.drawn.wide || port.now() > LOAD_UNTIL {
            return;
        }
        loader.done += 1;
        let server = loader.rng.below(port.nodes() as u64) as usize;
        self.send(id, server, self.workload.keys + place, true, port);
    }

    /// The client goes on with what it has to do, its operation being over.
    fn go_on(&mut self, id: u32, port: &mut dyn Port) {
        match self.role(id) {
            Role::Worker => self.think(id, port),
            Role::Probe => self.read_next(id, port),
            Role::Loader => self.load_next(id, port),
        }
    }

    fn think(&mut self, id: u32, port: &mut dyn Port) {
        let pause = self.clients[id as usize].rng.below(self.workload.think_ms * 1_000 + 1);
        port.wake(port.now() + pause * 1_000, id);
    }

    fn send(&mut self, id: u32, server: usize, key: u64, put: bool, port: &mut dyn Port) {
        let client = &mut self.clients[id as usize];
        client.sequence += 1;
        client.key = key;
        client.is_newcomer = !put
            && self.workload.script.is_empty()
            && client.newcomers.below(100) < self.workload.newcomer_percent;
        let sequence = client.sequence;
        let (name, value) = (self.drawn.key(key), self.drawn.value(id, sequence));
        let of_key = client.seen.get(&key).copied().unwrap_or_default();
        let of_all = client.seen.values().max().copied().unwrap_or_default();
        let (timestamp, applied) = match (client.is_newcomer, self.workload.one_timestamp) {
            (true, _) => (Timestamp(0), Timestamp(0)),
            (false, true) => (Timestamp(0), of_all),
            (false, false) => (of_key, Timestamp(0)),
        };
        client.current = Some(sequence);
        let bytes = Bytes::new(name.as_bytes());
        let mut request = match put {
            true => Request::Put { key: bytes, value: Bytes::new(value.as_bytes()) },
            false => Request::Get { key: bytes, timestamp, applied },
        };
        let whose = match client.is_newcomer {
            true => NEWCOMERS + self.asked,
            false => id.into(),
        };
        self.asked += 1;
        self.scratch.clear();
        let timeout = port.now() + self.workload.timeout_ms * 1_000_000;
        match &mut client.foreign {
            Some(foreign) => {
                let ask = match put {
                    true => Ask::Put { key: &name, value: &value },
                    false => Ask::Get { key: &name, timestamp: timestamp.0, applied: applied.0 },
                };
                let is_resp = self.workload.wire == Some(Wire::Resp);
                if is_resp && client.is_newcomer {
                    port.disconnect(id);
                }
                let bytes = foreign.ask(ask);
                let connection = port.connect(id, server);
                // A RESP client names no timestamps: its connection is its session.
                let whose = match is_resp {
                    true => u64::from(id) + u64::from(connection) * CONNECTIONS,
                    false => whose,
                };
                if let (true, Request::Get { timestamp, applied, .. }) = (is_resp, &mut request) {
                    (*timestamp, *applied) = (Timestamp(0), Timestamp(0));
                }
                encode(&request, &mut self.scratch);
                let said = Said { request: &self.scratch, bytes: &bytes };
                port.say(id, whose, server, sequence, said);
            }
            None => {
                encode(&request, &mut self.scratch);
                port.request(id, whose, server, sequence, &self.scratch);
            }
        }
        port.expire(timeout, id, sequence);
    }

    /// Asks every node how it is; the answers are there a little later.
    fn probe(&mut self, port: &mut dyn Port) {
        self.probe_round += 1;
        self.scratch.clear();
        encode(&Request::Info {}, &mut self.scratch);
        for node in 0..port.nodes() {
            let probe = self.first_probe + node as u32;
            port.request(probe, probe.into(), node, self.probe_round, &self.scratch);
        }
    }

    fn probed(&mut self, id: u32, round: u32, reply: &Reply<'_>) {
        if let Reply::Info(info) = reply
            && round == self.probe_round
        {
            let (complete, applied) = (info.complete, info.applied.0);
            let status = Status { round, complete, reason: info.reason.to_string(), applied };
            self.probed.insert((id - self.first_probe) as usize, status);
        }
    }

    /// Begins to read the keys at every node, which shows what no replica holds any more.
    fn read_all(&mut self, port: &mut dyn Port) {
        self.unread = vec![self.workload.keys + self.drawn.wide / READ_OF; port.nodes()];
        for node in 0..port.nodes() as u32 {
            self.read_next(self.first_probe + node, port);
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

    fn read_next(&mut self, id: u32, port: &mut dyn Port) {
        let node = (id - self.first_probe) as usize;
        if self.unread[node] == 0 {
            return;
        }
        self.unread[node] -= 1;
        let keys = self.workload.keys;
        let key = match self.unread[node].checked_sub(keys) {
            Some(place) => keys + place * READ_OF,
            None => self.unread[node],
        };
        self.send(id, node, key, false, port);
    }

    /// Whether every node is whole and all are equally far; what they hold is for a checker to say.
    fn is_settled(&self, port: &dyn Port) -> bool {
        let first = self.probed.get(&0).map(|status| status.applied);
        let is_even = |status: &Status| {
            status.round == self.probe_round && status.complete && Some(status.applied) == first
        };
        self.are_done() && self.probed.len() == port.nodes() && self.probed.values().all(is_even)
    }
}

impl Workload for Crew {
    fn redraw(&mut self, by: u64) {
        for client in &mut self.clients {
            for rng in [&mut client.rng, &mut client.newcomers, &mut client.twins] {
                rng.redraw(by);
            }
            client.foreign.iter_mut().for_each(|foreign| foreign.redraw(by));
        }
    }

    fn wake(&mut self, id: u32, port: &mut dyn Port) {
        let (workload, operations) = (&self.workload, self.operations);
        let client = &mut self.clients[id as usize];
        if client.done >= operations || client.current.is_some() {
            return;
        }
        if !workload.script.is_empty() {
            let script = workload.script.get(id as usize);
            let Some(step) = script.and_then(|steps| steps.get(client.done as usize)).copied()
            else {
                client.done = operations;
                return;
            };
            client.done += 1;
            let Asks { put, node, key } = match step {
                Step::Ask(asks) => asks,
                Step::Wait(millis) => return port.rest(port.now() + millis * 1_000_000, id),
            };
            let server = (0..port.nodes()).find(|place| port.id(*place).0 == node);
            return self.send(id, server.unwrap_or_default(), key, put, port);
        }
        client.done += 1;
        let key = client.rng.below(workload.keys);
        let server = client.rng.below(port.nodes() as u64) as usize;
        let put = client.rng.below(100) < workload.put_percent;
        // A connection's session has to have some operations.
        let stays = workload.wire == Some(Wire::Resp)
            && client.foreign.as_mut().is_some_and(Foreign::stays);
        let server = client.server.filter(|_| stays).unwrap_or(server);
        client.server = Some(server);
        let twins = port.twins_up();
        let server = match !twins.is_empty() && client.twins.below(TWIN_OF) == 0 {
            true => twins[client.twins.below(twins.len() as u64) as usize],
            false => server,
        };
        self.send(id, server, key, put, port);
    }

    fn reply(&mut self, id: u32, sequence: u32, reply: &[u8], port: &mut dyn Port) {
        // The Host encoded it from this type; what does not decode is no reply.
        let Ok(reply) = postcard::from_bytes::<Reply<'_>>(reply) else { return };
        if self.role(id) == Role::Probe && self.unread.is_empty() {
            return self.probed(id, sequence, &reply);
        }
        let client = &mut self.clients[id as usize];
        if client.current != Some(sequence) {
            return;
        }
        client.current = None;
        let timestamp = match reply {
            Reply::PutOk { timestamp } | Reply::Value { timestamp, .. } => Some(timestamp),
            Reply::NotApplied { .. }
            | Reply::MayStillApply { .. }
            | Reply::Null {}
            | Reply::TryOtherServerOrLater { .. }
            | Reply::Info(_) => None,
        };
        if let Some(timestamp) = timestamp.filter(|_| !client.is_newcomer) {
            let seen = client.seen.entry(client.key).or_default();
            *seen = timestamp.max(*seen);
        }
        self.go_on(id, port);
    }

    fn hear(&mut self, id: u32, bytes: &[u8], port: &mut dyn Port) {
        let client = &mut self.clients[id as usize];
        let (Some(foreign), Some(sequence)) = (&mut client.foreign, client.current) else {
            return;
        };
        let answer = match foreign.hear(bytes) {
            Ok(None) => return,
            Ok(Some(answer)) => answer,
            Err(why) => {
                let why = format!("client {id} is told what is {why}");
                port.garbled(why);
                return;
            }
        };
        let reply = match port.given(id) {
            Some(given) => typed(&answer, given),
            None => match told(&answer) {
                Some(reply) => Some(reply),
                // That it was answered is all that is known, and no property rests on it.
                None => {
                    client.current = None;
                    port.answered(id, sequence, &[]);
                    return self.go_on(id, port);
                }
            },
        };
        let Some(reply) = reply else {
            let why = format!("client {id} is told what its server did not say: {answer:?}");
            port.garbled(why);
            return;
        };
        let mut typed = Vec::new();
        encode(&reply, &mut typed);
        port.answered(id, sequence, &typed);
        self.reply(id, sequence, &typed, port);
    }

    fn closed(&mut self, id: u32, port: &mut dyn Port) {
        // Who asks how a node is asks again when it has waited for long enough.
        if self.role(id) != Role::Probe && self.clients[id as usize].current.take().is_some() {
            self.go_on(id, port);
        }
    }

    fn timeout(&mut self, id: u32, sequence: u32, port: &mut dyn Port) {
        let client = &mut self.clients[id as usize];
        if client.current == Some(sequence) {
            client.current = None;
            port.disconnect(id);
            self.go_on(id, port);
        }
    }

    fn enough(&mut self) {
        self.operations = 0;
    }

    fn is_over(&mut self, port: &mut dyn Port, _: Nanos) -> bool {
        if self.have_read_all() {
            return true;
        }
        if self.are_reading() {
            // Their answers are on the way.
        } else if self.is_settled(port) {
            self.read_all(port);
        } else if self.are_done() {
            self.probe(port);
        }
        false
    }

    fn unsettled(&self, port: &dyn Port) -> String {
        let describe = |node: usize| {
            let id = port.id(node);
            let Some(status) = self.probed.get(&node) else {
                return format!("node {id} silent: it has never said how it is");
            };
            // The last answers may still be under way.
            if status.round + 1 < self.probe_round {
                return format!("node {id} silent: it ended at PUT {} before", status.applied);
            }
            let why = match (status.complete, status.reason.as_str()) {
                (true, _) => String::new(),
                (false, "") => " and may lack some before it".into(),
                (false, reason) => format!(" and does not answer: {reason}"),
            };
            format!("node {id} ends at PUT {}{why}", status.applied)
        };
        (0..port.nodes()).map(describe).collect::<Vec<_>>().join("; ")
    }
}

/// An answer as the reply that it was, of those that the codec was given; none when it was none of
/// them. RESP's answers have no timestamps: these are the replies', found by the value, so that
/// whoever is given another's value is given its timestamp.
fn typed<'a>(answer: &'a Answer, given: &'a [Vec<u8>]) -> Option<Reply<'a>> {
    let mut given = given.iter().filter_map(|reply| postcard::from_bytes::<Reply<'a>>(reply).ok());
    given.find(|reply| match (answer, reply) {
        (Answer::Stored(told), Reply::PutOk { timestamp }) => {
            told.is_none_or(|told| told == timestamp.0)
        }
        (Answer::Value(text, told), Reply::Value { value, timestamp }) => {
            text.as_bytes() == &*value.0 && told.is_none_or(|told| told == timestamp.0)
        }
        (Answer::Null, Reply::Null {})
        | (Answer::Behind, Reply::TryOtherServerOrLater { .. })
        | (Answer::NotApplied, Reply::NotApplied { .. })
        | (Answer::MayStillApply, Reply::MayStillApply { .. }) => true,
        _ => false,
    })
}

/// An answer as the reply that it says to be; none where its form does not tell all of it, as
/// RESP's have no timestamps.
fn told(answer: &Answer) -> Option<Reply<'_>> {
    let timestamp = |told: &Option<u64>| told.map(Timestamp);
    match answer {
        Answer::Stored(told) => Some(Reply::PutOk { timestamp: timestamp(told)? }),
        Answer::Value(text, told) => {
            Some(Reply::Value { value: text.as_bytes().into(), timestamp: timestamp(told)? })
        }
        Answer::Null => Some(Reply::Null {}),
        // Why is for people.
        Answer::NotApplied => Some(Reply::NotApplied { reason: "".into() }),
        Answer::MayStillApply => Some(Reply::MayStillApply { reason: "".into() }),
        Answer::Behind => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_seeds_are_large_and_their_texts_have_their_place_in_them() {
        let drawn = |sizes| (1..=10_000).map(move |seed| Drawn::new(sizes, seed));
        let large = drawn(Sizes::Mixed).filter(|drawn| drawn.is_large).count();
        let wide = drawn(Sizes::Mixed).filter(|drawn| drawn.wide > 0).count();
        assert!((200..500).contains(&large) && (20..80).contains(&wide), "{large} and {wide}");
        assert!(drawn(Sizes::Large).all(|drawn| drawn.is_large != (drawn.wide > 256)));

        let small = Drawn::default();
        assert_eq!((small.key(2), small.value(1, 7)), ("k2".to_string(), "1-7".to_string()));
        let large = Drawn { seed: 1, is_large: true, wide: 0 };
        let lengths: Vec<usize> = (0..200).map(|n| large.value(3, n).len()).collect();
        assert!(lengths.iter().any(|length| *length > 2_000), "{lengths:?}");
        assert!(lengths.iter().filter(|length| **length < 10).count() > 50, "{lengths:?}");
        assert!((0..9).any(|key| large.key(key).len() > 64));
        assert_eq!(large.key(4), large.key(4));
        assert!(large.value(3, 150).starts_with("3-150"));
    }
}
