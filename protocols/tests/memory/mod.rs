//! A small in-memory driver of [`Host`]: N nodes of `kv_replication`, a virtual clock, links, disks
//! and clients, all from one seed. It keeps the driver's contract to the letter and checks the
//! protocol's invariants after every event; it is not the simulator.
#![allow(dead_code, reason = "each test file uses its own part of it")]

mod client;

use node_protocols::core::{
    Effect, Env, Host, LamportRule, NodeId, Now, Protocol, RequestId, Rng, Time, WallTime, erase,
    protocol_tag,
};
use node_protocols::kv_replication::{
    Config, Durability, History, KvReplication, Message, Record, Timestamp,
};
use std::collections::BTreeMap;
use std::time::Duration;

pub const LEADER: NodeId = NodeId(1);

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What a cluster is made of. All nodes have the same config.
pub struct Options {
    pub seed: u64,
    pub nodes: u32,
    pub config: Config,
    /// How long a message takes: a draw from here.
    pub delay_us: std::ops::Range<u64>,
    /// Whether messages of one link overtake each other.
    pub reorder: bool,
    pub loss_percent: u64,
    pub duplicate_percent: u64,
}

impl Default for Options {
    fn default() -> Options {
        let config = Config {
            leader: LEADER,
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
        };
        let (reorder, loss_percent, duplicate_percent) = (false, 0, 0);
        let delay_us = 1_000..1_001;
        Options { seed: 1, nodes: 3, config, delay_us, reorder, loss_percent, duplicate_percent }
    }
}

/// Where a node stops in its next turn that has something to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fuse {
    /// Nothing of the turn is durable, nothing has left.
    BeforeDisk,
    /// The turn is durable, nothing has left.
    AfterDisk,
}

/// A request's end. A reply is kept as it was encoded.
struct Answer {
    at: Time,
    /// None when the node that was asked has crashed, and the connection with it.
    reply: Option<Vec<u8>>,
}

struct Node {
    /// None while it is down.
    host: Option<Host>,
    incarnation: u64,
    disk: Vec<(u16, Vec<u8>)>,
    /// The last PUT on the disk.
    durable: Timestamp,
    fuse: Option<Fuse>,
    log_lost: bool,
}

/// Both directions between two nodes.
#[derive(Default)]
struct Link {
    cut: bool,
    up: bool,
    /// When the last message sent each way arrives.
    last: [Time; 2],
}

struct Flight {
    from: NodeId,
    to: NodeId,
    payload: Vec<u8>,
}

pub struct Cluster {
    pub options: Options,
    pub now: Time,
    pub console: Vec<(NodeId, String)>,
    /// Lines of what happened, when the test wants them.
    pub trace: Option<Vec<String>>,
    nodes: BTreeMap<NodeId, Node>,
    links: BTreeMap<(NodeId, NodeId), Link>,
    wire: BTreeMap<(Time, u64), Flight>,
    sent: u64,
    rng: Rng,
    /// The node that each open request went to.
    open: BTreeMap<u32, NodeId>,
    answers: BTreeMap<u32, Answer>,
    tickets: u32,
}

impl Cluster {
    /// All nodes started, all links up.
    pub fn new(options: Options) -> Cluster {
        let mut cluster = Cluster::down(options);
        for node in cluster.ids() {
            cluster.start(node);
        }
        cluster
    }

    /// All nodes down, for the tests that start them one by one.
    pub fn down(options: Options) -> Cluster {
        let ids: Vec<NodeId> = (1..=options.nodes).map(NodeId).collect();
        let mut links = BTreeMap::new();
        for (place, low) in ids.iter().enumerate() {
            for high in &ids[place + 1..] {
                links.insert((*low, *high), Link::default());
            }
        }
        let node = || Node {
            host: None,
            incarnation: 0,
            disk: Vec::new(),
            durable: Timestamp(0),
            fuse: None,
            log_lost: false,
        };
        Cluster {
            now: Time(0),
            console: Vec::new(),
            trace: None,
            nodes: ids.into_iter().map(|id| (id, node())).collect(),
            links,
            wire: BTreeMap::new(),
            sent: 0,
            rng: Rng::stream(options.seed, "memory/network"),
            open: BTreeMap::new(),
            answers: BTreeMap::new(),
            tickets: 0,
            options,
        }
    }

    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    pub fn is_up(&self, node: NodeId) -> bool {
        self.nodes[&node].host.is_some()
    }

    fn durable(&self) -> bool {
        self.options.config.durability == Durability::Disk
    }

    fn clock(&self) -> Now {
        Now { time: self.now, wall: WallTime(self.now.0) }
    }

    // Nodes and links.

    /// Starts a node with what is on its disk, and brings up its links.
    pub fn start(&mut self, id: NodeId) {
        let peers: Vec<NodeId> = self.ids().into_iter().filter(|peer| *peer != id).collect();
        let (seed, durable, now) = (self.options.seed, self.durable(), self.clock());
        let node = self.nodes.get_mut(&id).expect("tests name nodes that exist");
        assert!(node.host.is_none(), "node {id} is up");
        node.incarnation += 1;
        node.fuse = None;
        let identity = u128::from(seed) << 64 | u128::from(id.0);
        // Other random numbers at each start, as on real nodes.
        let seed = seed ^ (node.incarnation << 32);
        let env = Env { id, peers, incarnation: node.incarnation, identity, seed, durable };
        let protocol = erase::<KvReplication>(self.options.config.clone(), &env);
        let protocol = protocol.expect("the config is right");
        let mut host = Host::new(&env, vec![protocol], LamportRule::MaxPlusOne);
        host.set_output(true, true);
        for (tag, record) in &node.disk {
            host.handle_record(*tag, record).expect("the node wrote it itself");
        }
        if std::mem::take(&mut node.log_lost) {
            host.handle_log_lost();
        }
        host.handle_start(now);
        node.host = Some(host);
        self.note(format!("node {id} starts"));
        self.settle(id);
        self.connect();
    }

    /// Stops a node at once; its disk stays.
    pub fn crash(&mut self, id: NodeId) {
        self.note(format!("node {id} crashes"));
        self.nodes.get_mut(&id).expect("it exists").host = None;
        for peer in self.ids() {
            self.disconnect(id, peer);
        }
        let asked = self.open.iter().filter(|(_, asked)| **asked == id);
        for ticket in asked.map(|(ticket, _)| *ticket).collect::<Vec<_>>() {
            self.open.remove(&ticket);
            self.answers.insert(ticket, Answer { at: self.now, reply: None });
        }
    }

    /// Takes the last records off the disk of a node that is down.
    pub fn roll_back(&mut self, id: NodeId, records: usize) {
        let disk = &mut self.nodes.get_mut(&id).expect("it exists").disk;
        disk.truncate(disk.len().saturating_sub(records));
    }

    /// Sets the log of a node that is down aside, as a driver does with one that is damaged.
    pub fn lose_log(&mut self, id: NodeId) {
        self.wipe(id);
        self.nodes.get_mut(&id).expect("it exists").log_lost = true;
    }

    /// Empties the disk of a node that is down.
    pub fn wipe(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("it exists");
        assert!(node.host.is_none(), "node {id} is up");
        node.disk.clear();
        node.durable = Timestamp(0);
    }

    pub fn take_disk(&mut self, id: NodeId) -> Vec<(u16, Vec<u8>)> {
        std::mem::take(&mut self.nodes.get_mut(&id).expect("it exists").disk)
    }

    pub fn give_disk(&mut self, id: NodeId, disk: Vec<(u16, Vec<u8>)>) {
        let node = self.nodes.get_mut(&id).expect("it exists");
        node.disk.clear();
        disk.iter().for_each(|(tag, record)| node.append(*tag, record));
    }

    /// How much the disk of a node that is up takes from now on.
    pub fn set_room(&mut self, id: NodeId, bytes: u64) {
        let host = self.nodes.get_mut(&id).expect("it exists").host.as_mut();
        host.expect("it is up").set_room(bytes);
    }

    /// Has the node stop within its next turn.
    pub fn arm(&mut self, id: NodeId, fuse: Fuse) {
        self.nodes.get_mut(&id).expect("it exists").fuse = Some(fuse);
    }

    pub fn disarm(&mut self, id: NodeId) {
        self.nodes.get_mut(&id).expect("it exists").fuse = None;
    }

    pub fn cut(&mut self, one: NodeId, other: NodeId) {
        self.links.get_mut(&pair(one, other)).expect("two nodes").cut = true;
        self.disconnect(one, other);
    }

    pub fn heal(&mut self, one: NodeId, other: NodeId) {
        self.links.get_mut(&pair(one, other)).expect("two nodes").cut = false;
        self.connect();
    }

    /// Brings up every link that can be.
    fn connect(&mut self) {
        for (low, high) in self.links.keys().copied().collect::<Vec<_>>() {
            let link = &self.links[&(low, high)];
            if !link.cut && !link.up && self.is_up(low) && self.is_up(high) {
                self.links.insert((low, high), Link { up: true, ..Link::default() });
                self.note(format!("link {low}-{high} up"));
                self.tell_link(low, high, true);
            }
        }
    }

    /// Takes a link down with all that is under way.
    fn disconnect(&mut self, one: NodeId, other: NodeId) {
        let Some(link) = self.links.get_mut(&pair(one, other)) else { return };
        if std::mem::take(&mut link.up) {
            self.wire.retain(|_, flight| pair(flight.from, flight.to) != pair(one, other));
            let (low, high) = pair(one, other);
            self.note(format!("link {low}-{high} down"));
            self.tell_link(low, high, false);
        }
    }

    fn tell_link(&mut self, low: NodeId, high: NodeId, up: bool) {
        let now = self.clock();
        for (node, peer) in [(low, high), (high, low)] {
            self.event(node, |host| host.handle_link(peer, up, now));
        }
    }

    // Events and effects.

    /// Has a node hear what another never said.
    pub fn lie(&mut self, from: NodeId, to: NodeId, message: &Message<'_>) {
        let envelope = (protocol_tag(KvReplication::NAME), 0_u64);
        let frame = postcard::to_allocvec(&(envelope, message)).expect("it has a postcard form");
        let now = self.clock();
        let done = self.event(to, |host| host.handle_frame(from, &frame, now));
        assert_eq!(done, Some(Ok(())), "it is well formed");
    }

    /// Has a node handle one event, if it is up, and carries out what it wants done.
    fn event<T>(&mut self, id: NodeId, handle: impl FnOnce(&mut Host) -> T) -> Option<T> {
        let node = self.nodes.get_mut(&id).expect("it exists");
        let done = handle(node.host.as_mut()?);
        self.settle(id);
        Some(done)
    }

    /// The third part of the contract: durable first, then the effects in order.
    fn settle(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("it exists");
        let Some(mut host) = node.host.take() else { return };
        host.handle_turn_end();
        host.check_invariants();
        if host.outbox().is_empty() {
            node.host = Some(host);
            return;
        }
        if node.fuse == Some(Fuse::BeforeDisk) {
            return self.crash(id);
        }
        node.write(&host, self.options.config.durability);
        if node.fuse == Some(Fuse::AfterDisk) {
            return self.crash(id);
        }
        for effect in host.outbox().effects() {
            match *effect {
                Effect::Send { to, payload } => {
                    self.transmit(id, to, host.outbox().bytes(payload), &host);
                }
                Effect::Reply { to, reply } => self.answer(to, host.outbox().bytes(reply)),
                Effect::Push { .. } | Effect::Over { .. } => {
                    panic!("the store answers, and no more")
                }
                Effect::Print { line } => {
                    let line = text(host.outbox().bytes(line));
                    self.note(format!("{id} prints {line}"));
                    self.console.push((id, line));
                }
                Effect::Note { line } => {
                    let line = text(host.outbox().bytes(line));
                    self.note(format!("{id} notes {line}"));
                }
                // The golden trace names what happens, not why.
                Effect::Timer { .. } | Effect::Fact { .. } | Effect::Stop { .. } => {}
            }
        }
        host.outbox_mut().clear_effects();
        host.outbox_mut().clear_records();
        self.nodes.get_mut(&id).expect("it exists").host = Some(host);
    }

    fn transmit(&mut self, from: NodeId, to: NodeId, payload: &[u8], host: &Host) {
        if self.durable() {
            self.nodes[&from].assert_fence(payload);
        }
        let Some(link) = self.links.get_mut(&pair(from, to)).filter(|link| link.up) else {
            return;
        };
        let mut copies = 1;
        if self.rng.below(100) < self.options.loss_percent {
            copies = 0;
        } else if self.rng.below(100) < self.options.duplicate_percent {
            copies = 2;
        }
        let delays = self.options.delay_us.clone();
        for _ in 0..copies {
            let delay = delays.start + self.rng.below(delays.end - delays.start);
            let mut at = self.now + Duration::from_micros(delay);
            let last = &mut link.last[usize::from(from < to)];
            if !self.options.reorder {
                at = at.max(*last);
            }
            *last = at;
            self.sent += 1;
            let flight = Flight { from, to, payload: payload.to_vec() };
            self.wire.insert((at, self.sent), flight);
        }
        if self.trace.is_some() {
            self.note(format!("{from}→{to} {}", host.describe(payload)));
        }
    }

    fn answer(&mut self, to: RequestId, reply: &[u8]) {
        let ticket = to.client.slot;
        assert!(self.open.remove(&ticket).is_some(), "request {ticket} is answered once");
        let answer = Answer { at: self.now, reply: Some(reply.to_vec()) };
        self.answers.insert(ticket, answer);
        if self.trace.is_some() {
            self.note(format!("request {ticket} gets {:?}", self.reply(ticket)));
        }
    }

    fn note(&mut self, line: String) {
        let at = self.now.0 / 1_000;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>4}.{:03} ms  {line}", at / 1_000, at % 1_000));
        }
    }

    // Time.

    /// When something happens next.
    pub fn next(&self) -> Option<Time> {
        let hosts = self.nodes.values().filter_map(|node| node.host.as_ref());
        let timer = hosts.filter_map(Host::deadline).min();
        let frame = self.wire.keys().next().map(|(at, _)| *at);
        [timer, frame].into_iter().flatten().min()
    }

    /// The next event, unless it lies behind `until`.
    fn step(&mut self, until: Time) -> bool {
        let Some(at) = self.next().filter(|at| *at <= until) else { return false };
        self.now = self.now.max(at);
        let now = self.clock();
        if let Some(first) = self.wire.first_entry().filter(|first| first.key().0 <= at) {
            let Flight { from, to, payload } = first.remove();
            let done = self.event(to, |host| host.handle_frame(from, &payload, now));
            assert_eq!(done, Some(Ok(())), "a node sends what a node takes");
        } else {
            for id in self.ids() {
                let host = self.nodes[&id].host.as_ref();
                if host.and_then(Host::deadline).is_some_and(|deadline| deadline <= at) {
                    self.event(id, |host| host.handle_timers(now));
                }
            }
        }
        true
    }

    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
        self.now = until;
    }
}

impl Node {
    /// Makes the turn durable.
    fn write(&mut self, host: &Host, durability: Durability) {
        let outbox = host.outbox();
        if outbox.checkpoint() {
            self.disk.clear();
            return host.snapshot(&mut |tag, record| self.append(tag, record));
        }
        let mut rest = outbox.records();
        assert!(rest.is_empty() || durability == Durability::Disk, "records, but no disk");
        while let Some((head, tail)) = rest.split_first_chunk::<6>() {
            let length = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
            self.append(u16::from_le_bytes([head[0], head[1]]), &tail[..length]);
            rest = &tail[length..];
        }
        assert!(rest.is_empty(), "records are whole");
    }

    fn append(&mut self, tag: u16, record: &[u8]) {
        self.disk.push((tag, record.to_vec()));
        if tag != protocol_tag(KvReplication::NAME) {
            // The Host's own: bounds of the Lamport clock.
            return;
        }
        match postcard::from_bytes(record).expect("records decode") {
            Record::Put { timestamp, .. } | Record::Applied { timestamp, .. } => {
                self.durable = timestamp;
            }
            Record::Entry { .. } | Record::Complete => {}
        }
    }

    /// Nothing that a message claims to be stored may be missing on the disk it comes from.
    fn assert_fence(&self, payload: &[u8]) {
        let (_envelope, body) =
            postcard::take_from_bytes::<(u16, u64)>(payload).expect("an envelope leads");
        match postcard::from_bytes(body).expect("messages decode") {
            Message::Replication { timestamp: claimed, .. }
            | Message::ReplicationOk { applied: claimed, .. }
            | Message::State { history: History { applied: claimed, .. }, .. } => {
                assert!(claimed <= self.durable, "{claimed} left before it was durable");
            }
            _ => {}
        }
    }
}

fn pair(one: NodeId, other: NodeId) -> (NodeId, NodeId) {
    (one.min(other), one.max(other))
}

fn text(line: &[u8]) -> String {
    String::from_utf8(line.to_vec()).expect("console lines are UTF-8")
}
