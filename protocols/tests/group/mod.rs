//! A group of real Hosts over an in-memory network, for protocols that act by themselves: virtual time,
//! a wall clock for each node that is off as the test says, delays from a seed, disks.
#![allow(dead_code, reason = "each test file uses its own part of it")]

use node_protocols::core::{
    Caller, ClientId, DynProtocol, Effect, Env, Fact, Host, LamportRule, NodeId, Now, Protocol,
    RequestId, Rng, Time, WallTime, encode,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;
/// 1 January 2025.
const ORIGIN: u64 = 1_735_689_600 * SECOND;

/// Builds a node's protocols.
pub type Build = dyn Fn(&Env) -> Vec<Box<dyn DynProtocol>>;

pub struct Group {
    /// Nanoseconds.
    pub now: u64,
    /// How long a message takes.
    pub delay: Range<u64>,
    pub loss_percent: u64,
    pub duplicate_percent: u64,
    /// What each node printed.
    pub printed: Vec<(u32, String)>,
    /// What each node published.
    pub facts: Vec<(u32, Fact)>,
    hosts: BTreeMap<u32, Host>,
    /// How far a node's wall clock is ahead, and how much faster it runs, in ppm.
    clocks: BTreeMap<u32, (i64, i64)>,
    disks: BTreeMap<u32, Vec<(u16, Vec<u8>)>>,
    ids: Vec<u32>,
    /// The pairs that are cut off from each other.
    cut: BTreeSet<(u32, u32)>,
    links: BTreeSet<(u32, u32)>,
    /// By arrival: from, to, payload.
    wire: BTreeMap<(u64, u64), (u32, u32, Vec<u8>)>,
    sent: u64,
    asked: u32,
    replies: BTreeMap<u32, Vec<u8>>,
    /// By client.
    pushed: Vec<(u32, Vec<u8>)>,
    rng: Rng,
    build: Box<Build>,
}

impl Group {
    /// Nodes with these ids, all down.
    pub fn new(seed: u64, ids: &[u32], build: Box<Build>) -> Group {
        Group {
            now: 0,
            delay: MS..MS + 1,
            loss_percent: 0,
            duplicate_percent: 0,
            printed: Vec::new(),
            facts: Vec::new(),
            hosts: BTreeMap::new(),
            clocks: BTreeMap::new(),
            disks: BTreeMap::new(),
            ids: ids.to_vec(),
            cut: BTreeSet::new(),
            links: BTreeSet::new(),
            wire: BTreeMap::new(),
            sent: 0,
            asked: 0,
            replies: BTreeMap::new(),
            pushed: Vec::new(),
            rng: Rng::stream(seed, "group/network"),
            build,
        }
    }

    pub fn start_all(&mut self) {
        for id in self.ids.clone() {
            self.start(id);
        }
    }

    pub fn set_clock(&mut self, id: u32, offset: i64, drift_ppm: i64) {
        self.clocks.insert(id, (offset, drift_ppm));
    }

    /// What a node's wall clock shows.
    pub fn wall(&self, id: u32) -> WallTime {
        let (offset, ppm) = self.clocks.get(&id).copied().unwrap_or_default();
        let drift = i128::from(self.now) * i128::from(ppm) / 1_000_000;
        WallTime(ORIGIN + self.now).plus(offset + drift as i64)
    }

    fn time(&self, id: u32) -> Now {
        Now { time: Time(self.now), wall: self.wall(id) }
    }

    pub fn start(&mut self, id: u32) {
        let peers = self.ids.iter().filter(|peer| **peer != id).map(|peer| NodeId(*peer));
        let env = Env {
            id: NodeId(id),
            peers: peers.collect(),
            incarnation: self.now + 1,
            identity: u128::from(id),
            seed: 1,
            durable: true,
        };
        let mut host = Host::new(&env, (self.build)(&env), LamportRule::MaxPlusOne);
        host.set_output(true, true);
        for (tag, record) in self.disks.entry(id).or_default() {
            host.handle_record(*tag, record).expect("its own record");
        }
        host.handle_start(self.time(id));
        self.hosts.insert(id, host);
        self.turn(id);
        self.connect();
    }

    pub fn kill(&mut self, id: u32) {
        self.hosts.remove(&id);
        self.wire.retain(|_, (from, to, _)| *from != id && *to != id);
        for peer in self.ids.clone() {
            self.disconnect(id, peer);
        }
    }

    /// Has a node do nothing for so long: its links break, and are made anew when it goes on.
    pub fn hold_up(&mut self, id: u32, nanos: u64) {
        for peer in self.ids.clone() {
            self.cut(id, peer);
        }
        let host = self.hosts.remove(&id).expect("it runs");
        self.run(nanos);
        self.hosts.insert(id, host);
        // It goes on with what is due.
        self.run(0);
        for peer in self.ids.clone() {
            self.heal(id, peer);
        }
    }

    /// How many messages were sent, with those that were doubled and without those that were lost.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    pub fn cut(&mut self, one: u32, other: u32) {
        self.cut.insert(pair(one, other));
        self.disconnect(one, other);
    }

    pub fn heal(&mut self, one: u32, other: u32) {
        self.cut.remove(&pair(one, other));
        self.connect();
    }

    fn disconnect(&mut self, one: u32, other: u32) {
        if !self.links.remove(&pair(one, other)) {
            return;
        }
        self.wire.retain(|_, (from, to, _)| pair(*from, *to) != pair(one, other));
        self.tell_link(one, other, false);
    }

    fn connect(&mut self) {
        for (place, one) in self.ids.clone().into_iter().enumerate() {
            for other in self.ids.clone().split_off(place + 1) {
                let both = self.hosts.contains_key(&one) && self.hosts.contains_key(&other);
                let pair = pair(one, other);
                if both && !self.cut.contains(&pair) && self.links.insert(pair) {
                    let lamports = [one, other].map(|id| self.hosts[&id].lamport());
                    for (id, lamport) in [(one, lamports[1]), (other, lamports[0])] {
                        let now = self.time(id);
                        let host = self.hosts.get_mut(&id).expect("it runs");
                        host.handle_greeting(lamport, now).expect("nobody forges");
                    }
                    self.tell_link(one, other, true);
                }
            }
        }
    }

    fn tell_link(&mut self, one: u32, other: u32, up: bool) {
        for (id, peer) in [(one, other), (other, one)] {
            let now = self.time(id);
            if let Some(host) = self.hosts.get_mut(&id) {
                host.handle_link(NodeId(peer), up, now);
                self.turn(id);
            }
        }
    }

    /// Hands a message to a node, as if from a peer, with the Lamport value of its own clock.
    pub fn forge<P: Protocol>(&mut self, from: u32, to: u32, message: &P::Message<'_>) {
        let mut payload = Vec::new();
        let lamport = self.hosts[&to].lamport();
        encode(&(node_protocols::core::protocol_tag(P::NAME), lamport), &mut payload);
        encode(message, &mut payload);
        self.arrive(from, to, &payload);
    }

    fn arrive(&mut self, from: u32, to: u32, payload: &[u8]) {
        let now = self.time(to);
        if let Some(host) = self.hosts.get_mut(&to) {
            host.handle_frame(NodeId(from), payload, now).expect("peers send what decodes");
            self.turn(to);
        }
    }

    /// A client's request, and what it is answered at once.
    pub fn ask<P: Protocol>(&mut self, id: u32, request: &P::Request<'_>) -> P::Reply<'static> {
        let sequence = self.request::<P>(id, 0, request);
        self.reply::<P>(sequence).expect("it answers at once")
    }

    /// A request of a client, by whose number its answer will be found.
    pub fn request<P: Protocol>(&mut self, id: u32, client: u32, request: &P::Request<'_>) -> u32 {
        let mut body = Vec::new();
        encode(request, &mut body);
        self.asked += 1;
        let sequence = self.asked;
        let client = ClientId { slot: client, generation: 0 };
        let addr = "127.0.0.1:1".parse().expect("an address");
        let caller = Caller { request: RequestId { client, sequence }, addr };
        let now = self.time(id);
        let host = self.hosts.get_mut(&id).expect("it runs");
        let place = host.place(P::NAME).expect("it runs the protocol");
        host.handle_request(place, caller, &body, now).expect("a request");
        self.turn(id);
        sequence
    }

    /// The answer to a request, if it has come. Replies borrow from their bytes, and a test is short.
    pub fn reply<P: Protocol>(&mut self, sequence: u32) -> Option<P::Reply<'static>> {
        let reply = self.replies.remove(&sequence)?;
        Some(postcard::from_bytes(reply.leak()).expect("a reply"))
    }

    /// What a client got that it had subscribed to.
    pub fn pushed<P: Protocol>(&self, client: u32) -> Vec<P::Reply<'static>> {
        let its = self.pushed.iter().filter(|(to, _)| *to == client);
        let decode = |bytes: &Vec<u8>| postcard::from_bytes(bytes.clone().leak()).expect("a reply");
        its.map(|(_, bytes)| decode(bytes)).collect()
    }

    /// A client does not read, or reads again.
    pub fn backpressure<P: Protocol>(&mut self, id: u32, client: u32, full: bool) {
        let now = self.time(id);
        let host = self.hosts.get_mut(&id).expect("it runs");
        let place = host.place(P::NAME).expect("it runs the protocol");
        host.handle_backpressure(place, ClientId { slot: client, generation: 0 }, full, now);
        self.turn(id);
    }

    /// A client's connection is gone.
    pub fn gone<P: Protocol>(&mut self, id: u32, client: u32) {
        let now = self.time(id);
        let host = self.hosts.get_mut(&id).expect("it runs");
        let place = host.place(P::NAME).expect("it runs the protocol");
        let addr = "127.0.0.1:1".parse().expect("an address");
        host.handle_client(place, ClientId { slot: client, generation: 0 }, addr, false, now);
        self.turn(id);
    }

    fn turn(&mut self, id: u32) {
        let host = self.hosts.get_mut(&id).expect("it runs");
        host.handle_turn_end();
        host.check_invariants();
        let mut rest = host.outbox().records();
        while let Some((head, tail)) = rest.split_first_chunk::<6>() {
            let length = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
            let tag = u16::from_le_bytes([head[0], head[1]]);
            self.disks.entry(id).or_default().push((tag, tail[..length].to_vec()));
            rest = &tail[length..];
        }
        let outbox = host.outbox();
        for effect in outbox.effects() {
            let text = |span| String::from_utf8(outbox.bytes(span).to_vec()).expect("text");
            match *effect {
                Effect::Send { to, payload } => {
                    let linked = self.links.contains(&pair(id, to.0));
                    if !linked || self.rng.below(100) < self.loss_percent {
                        continue;
                    }
                    let copies = 1 + u32::from(self.rng.below(100) < self.duplicate_percent);
                    for _ in 0..copies {
                        let span = self.delay.end - self.delay.start;
                        let at = self.now + self.delay.start + self.rng.below(span);
                        self.sent += 1;
                        let payload = outbox.bytes(payload).to_vec();
                        self.wire.insert((at, self.sent), (id, to.0, payload));
                    }
                }
                Effect::Reply { to, reply } => {
                    self.replies.insert(to.sequence, outbox.bytes(reply).to_vec());
                }
                Effect::Push { to, reply } => {
                    for client in outbox.clients(to) {
                        self.pushed.push((client.slot, outbox.bytes(reply).to_vec()));
                    }
                }
                Effect::Print { line } => self.printed.push((id, text(line))),
                Effect::Fact { fact, .. } => self.facts.push((id, outbox.fact(fact).clone())),
                Effect::Over { .. }
                | Effect::Note { .. }
                | Effect::Timer { .. }
                | Effect::Stop { .. } => {}
            }
        }
        host.outbox_mut().clear_records();
        host.outbox_mut().clear_effects();
    }

    /// When the next thing happens.
    fn next(&self) -> Option<u64> {
        let timers = self.hosts.values().filter_map(Host::deadline).map(|at| at.0);
        let arrivals = self.wire.keys().next().map(|(at, _)| *at);
        timers.chain(arrivals).min()
    }

    /// Lets everything happen that does until then.
    pub fn run_until(&mut self, until: u64) {
        while let Some(at) = self.next().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            let arrival = self.wire.keys().next().copied().filter(|(at, _)| *at <= self.now);
            if let Some((from, to, payload)) = arrival.and_then(|key| self.wire.remove(&key)) {
                self.arrive(from, to, &payload);
                continue;
            }
            for id in self.hosts.keys().copied().collect::<Vec<_>>() {
                let now = self.time(id);
                let host = self.hosts.get_mut(&id).expect("it runs");
                if host.deadline().is_some_and(|at| at <= now.time) {
                    host.handle_timers(now);
                    self.turn(id);
                }
            }
        }
        self.now = until;
    }

    pub fn run(&mut self, nanos: u64) {
        self.run_until(self.now + nanos);
    }
}

fn pair(one: u32, other: u32) -> (u32, u32) {
    (one.min(other), one.max(other))
}
