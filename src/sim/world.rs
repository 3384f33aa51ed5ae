//! The world of a run: virtual time, nodes with clocks and disks, links between them, and clients'
//! connections. Knows Hosts and bytes, no protocol and no scenario.

use super::tracer::Tracer;
use node_protocols::core::{
    Caller, ClientId, Effect, Host, NodeId, Now, RequestId, Rng, Time, WallTime,
};
use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::ops::RangeInclusive;

/// Nanoseconds since the run's beginning, by no node's clock.
pub type Nanos = u64;

/// Builds a node's Host: at its start, and again each time that it restarts.
pub type Build = dyn FnMut(usize, u64) -> Host;

/// How the network behaves when nothing is broken.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// A message's way, in nanoseconds; drawn for each.
    pub delay: RangeInclusive<Nanos>,
    /// Whether messages of one direction keep their order, as over TCP, unless a fault delays them.
    pub ordered: bool,
    /// A sync's time.
    pub sync: RangeInclusive<Nanos>,
    /// How long after an end of a link is gone the other end knows.
    pub notice: Nanos,
    /// How long an unusable link may last before both ends give it up.
    pub link_timeout: Nanos,
    /// How long two nodes that can reach each other take to make a link.
    pub redial: RangeInclusive<Nanos>,
}

impl Default for Network {
    fn default() -> Self {
        Network {
            delay: 1_000_000..=10_000_000,
            ordered: true,
            sync: 100_000..=2_000_000,
            notice: 1_000_000,
            link_timeout: 5_000_000_000,
            redial: 10_000_000..=200_000_000,
        }
    }
}

/// Chances are out of this many.
pub const CHANCE: u64 = 1_000_000;

/// What breaks messages between nodes while it lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// The chance that a message is lost, out of [`CHANCE`].
    pub loss: u64,
    /// The chance that a message arrives twice, out of [`CHANCE`].
    pub duplicate: u64,
    /// How much longer a message may take, in nanoseconds.
    pub delay: Nanos,
}

/// What a step of the world means to whoever drives it.
#[derive(Debug)]
pub enum Step {
    /// Something inside.
    Inside,
    /// A reply reached a client.
    Reply {
        /// The client.
        client: u32,
        /// The request's sequence.
        sequence: u32,
        /// The encoded reply.
        reply: Vec<u8>,
    },
    /// A client's connection is gone: its node is down.
    Closed {
        /// The client.
        client: u32,
    },
    /// A wake-up that the driver asked for.
    Wake {
        /// What for.
        token: u64,
    },
    /// Nothing is left to happen.
    End,
}

/// Everything that happens in a run.
pub struct World {
    now: Nanos,
    sequence: u64,
    queue: BinaryHeap<Scheduled>,
    nodes: Vec<Node>,
    ids: Vec<NodeId>,
    links: Vec<Link>,
    streams: Vec<Stream>,
    network: Network,
    weather: Weather,
    payloads: Pool,
    clients: Vec<Client>,
    build: Box<Build>,
    /// What happened, for hashes, traces and people.
    pub tracer: Tracer,
    fair: Rng,
    /// Why the run cannot go on: a Host's panic is not caught, but a refused record is told here.
    pub failure: Option<String>,
    events: u64,
    deliveries: u64,
}

struct Scheduled {
    at: Nanos,
    sequence: u64,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Frame { from: u16, to: u16, generation: u32, slot: u32, id: u64 },
    Wake { node: u16, at: Nanos },
    Synced { node: u16, turn: u64 },
    Resume { node: u16 },
    LinkUp { pair: u32, generation: u32 },
    LinkDown { node: u16, peer: u16, generation: u32 },
    LinkTimeout { pair: u32, cut: u32 },
    Request { client: u32, generation: u32, node: u16, sequence: u32, slot: u32 },
    Reply { client: u32, generation: u32, sequence: u32, slot: u32 },
    Closed { client: u32, generation: u32 },
    Driver { token: u64 },
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    /// The earliest is the greatest: the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

struct Node {
    id: NodeId,
    host: Option<Host>,
    paused_until: Nanos,
    /// A sync is under way: its turn's effects wait, and so do later events.
    syncing: Option<Sync>,
    turns: u64,
    /// Events that came while the node was paused or syncing.
    backlog: VecDeque<What>,
    disk: Disk,
    clock: Clock,
    /// The run's and the node's own time when the clock was last set.
    set_at: (Nanos, Nanos),
    /// The wake-up that is scheduled for its next deadline.
    wake_at: Nanos,
    rng: Rng,
}

struct Sync {
    turn: u64,
    records: Vec<u8>,
    checkpoint: bool,
}

/// A disk: what is on it survives the node.
#[derive(Default)]
struct Disk {
    /// Records as tag (u16), length (u32), bytes.
    durable: Vec<u8>,
    /// The next sync fails, which is fatal to the node.
    fail_next: bool,
    /// Until when every sync fails.
    full_until: Nanos,
}

/// A node's own clock against the run's.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Added to the wall clock, in milliseconds.
    pub offset_ms: i64,
    /// How much faster than the run's time, in parts per million.
    pub drift_ppm: i64,
}

/// Two nodes' connection. A new one has a new generation; frames of an old one never arrive.
#[derive(Clone, Default)]
struct Link {
    generation: u32,
    /// Whether the lower and the higher node think that it is up.
    up: [bool; 2],
    /// How many faults forbid each direction: lower to higher, higher to lower.
    cut: [u32; 2],
    /// Tells a cut from a later one.
    cuts: u32,
    clogged_until: [Nanos; 2],
    /// A `LinkUp` is scheduled.
    dialing: bool,
}

/// One direction's random draws.
struct Stream {
    delay: Rng,
    fate: Rng,
    /// When the last message arrives.
    last: Nanos,
}

struct Client {
    generation: u32,
    node: Option<u16>,
    rng: Rng,
    addr: SocketAddr,
}

impl World {
    /// A world of the nodes that `build` makes, all down.
    pub fn new(
        seed: u64,
        ids: &[NodeId],
        network: Network,
        build: Box<Build>,
        tracer: Tracer,
    ) -> World {
        let n = ids.len();
        let node = |id: &NodeId| Node {
            id: *id,
            host: None,
            paused_until: 0,
            syncing: None,
            turns: 0,
            backlog: VecDeque::new(),
            disk: Disk::default(),
            clock: Clock { offset_ms: 0, drift_ppm: 0 },
            set_at: (0, 0),
            wake_at: Nanos::MAX,
            rng: Rng::stream(seed, &format!("sim/node/{id}")),
        };
        let direction = |from: &NodeId, to: &NodeId| Stream {
            delay: Rng::stream(seed, &format!("sim/delay/{from}/{to}")),
            fate: Rng::stream(seed, &format!("sim/fate/{from}/{to}")),
            last: 0,
        };
        let streams = ids.iter().flat_map(|from| ids.iter().map(move |to| direction(from, to)));
        World {
            now: 0,
            sequence: 0,
            queue: BinaryHeap::new(),
            nodes: ids.iter().map(node).collect(),
            ids: ids.to_vec(),
            links: vec![Link::default(); n * n],
            streams: streams.collect(),
            network,
            weather: Weather::default(),
            payloads: Pool::default(),
            clients: Vec::new(),
            build,
            tracer,
            fair: Rng::stream(seed, "sim/links"),
            failure: None,
            events: 0,
            deliveries: 0,
        }
    }

    /// The run's time.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// How many events have happened, and how many of them were messages that arrived.
    pub fn counts(&self) -> (u64, u64) {
        (self.events, self.deliveries)
    }

    /// A running node's Host.
    pub fn host(&self, node: usize) -> Option<&Host> {
        self.nodes[node].host.as_ref()
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Sets a node's clock. Its monotonic time goes on from where it is.
    pub fn set_clock(&mut self, node: usize, clock: Clock) {
        let local = self.local(node);
        self.nodes[node].set_at = (self.now, local);
        self.nodes[node].clock = clock;
        // What it waits for comes at another time now.
        if self.nodes[node].syncing.is_none() {
            self.schedule_wake(node);
        }
    }

    /// A node's own time.
    fn local(&self, node: usize) -> Nanos {
        let node = &self.nodes[node];
        node.set_at.1 + drifted(self.now - node.set_at.0, node.clock.drift_ppm)
    }

    /// Sets what breaks messages from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// What breaks messages now.
    pub fn weather(&self) -> Weather {
        self.weather
    }

    // ---- scheduling ----

    fn at(&mut self, at: Nanos, what: What) {
        self.sequence += 1;
        self.queue.push(Scheduled { at, sequence: self.sequence, what });
    }

    /// Has [`Step::Wake`] returned at `at`.
    pub fn wake(&mut self, at: Nanos, token: u64) {
        self.at(at.max(self.now), What::Driver { token });
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<Nanos> {
        self.queue.peek().map(|next| next.at)
    }

    /// Lets the next thing happen.
    pub fn step(&mut self) -> Step {
        let Some(Scheduled { at, what, .. }) = self.queue.pop() else { return Step::End };
        self.now = at;
        self.events += 1;
        match what {
            What::Frame { from, to, generation, slot, id } => {
                self.frame(from, to, generation, slot, id);
            }
            What::Wake { node, at } => self.timers(node, at),
            What::Synced { node, turn } => self.synced(node, turn),
            What::Resume { node } => self.resume(node),
            What::LinkUp { pair, generation } => self.link_up(pair, generation),
            What::LinkDown { node, peer, generation } => self.link_down(node, peer, generation),
            What::LinkTimeout { pair, cut } => self.link_timeout(pair, cut),
            What::Request { client, generation, node, sequence, slot } => {
                self.request_arrives(client, generation, node, sequence, slot);
            }
            What::Reply { client, generation, sequence, slot } => {
                let reply = self.payloads.take(slot);
                if self.clients[client as usize].generation == generation {
                    return Step::Reply { client, sequence, reply };
                }
                self.payloads.give(slot, reply);
            }
            What::Closed { client, generation } => {
                if self.clients[client as usize].generation == generation {
                    self.clients[client as usize].generation += 1;
                    self.clients[client as usize].node = None;
                    return Step::Closed { client };
                }
            }
            What::Driver { token } => return Step::Wake { token },
        }
        Step::Inside
    }

    // ---- nodes ----

    /// Starts a node, with what is on its disk.
    pub fn start(&mut self, node: usize) {
        if self.nodes[node].host.is_some() {
            return;
        }
        // As on a real node: by the wall clock, which a fault may have set back.
        let incarnation = self.node_now(node).wall.0.max(1);
        let mut host = (self.build)(node, incarnation);
        host.set_output(self.tracer.is_full(), self.tracer.is_full());
        self.tracer.start(self.now, self.nodes[node].id, incarnation);
        let mut rest = &self.nodes[node].disk.durable[..];
        while let Some((tag, record, more)) = split_record(rest) {
            if let Err(corrupt) = host.handle_record(tag, record) {
                let id = self.nodes[node].id;
                self.failure = Some(format!("node {id} refuses its own log: {corrupt}"));
                return;
            }
            rest = more;
        }
        let now = self.node_now(node);
        host.handle_start(now);
        self.nodes[node].host = Some(host);
        self.finish_turn(node);
        for peer in 0..self.nodes.len() {
            self.dial(node, peer);
        }
    }

    /// Stops a node at once. What was being synced is lost, or is on the disk although nobody
    /// was told.
    pub fn crash(&mut self, node: usize, wipe: bool) {
        if self.nodes[node].host.take().is_none() {
            return;
        }
        let keeps = self.nodes[node].rng.below(2) == 0;
        let sync = self.nodes[node].syncing.take();
        if let Some(sync) = sync.filter(|sync| keeps && !sync.checkpoint) {
            self.nodes[node].disk.durable.extend_from_slice(&sync.records);
        }
        let gone = &mut self.nodes[node];
        if wipe {
            gone.disk.durable.clear();
        }
        gone.paused_until = 0;
        gone.wake_at = Nanos::MAX;
        for what in std::mem::take(&mut gone.backlog) {
            self.discard(what);
        }
        self.tracer.crash(self.now, self.nodes[node].id);
        for peer in 0..self.nodes.len() {
            self.drop_link(node, peer);
        }
        for client in 0..self.clients.len() {
            if self.clients[client].node == Some(node as u16) {
                let generation = self.clients[client].generation;
                let at = self.now + self.network.notice;
                self.at(at, What::Closed { client: client as u32, generation });
            }
        }
    }

    /// Whether a node runs.
    pub fn is_up(&self, node: usize) -> bool {
        self.nodes[node].host.is_some()
    }

    /// Holds a node up: what comes waits.
    pub fn pause(&mut self, node: usize, until: Nanos) {
        if self.nodes[node].host.is_none() {
            return;
        }
        self.nodes[node].paused_until = until;
        self.tracer.pause(self.now, self.nodes[node].id, true);
        self.at(until, What::Resume { node: node as u16 });
        for peer in 0..self.nodes.len() {
            self.expect_silence(node, peer);
        }
    }

    /// The next sync of a node fails; `full_until` is when there is room again.
    pub fn break_disk(&mut self, node: usize, full_until: Nanos) {
        let disk = &mut self.nodes[node].disk;
        disk.fail_next = full_until <= self.now;
        disk.full_until = full_until;
    }

    /// Mends disks and starts what is down.
    pub fn mend(&mut self) {
        for node in 0..self.nodes.len() {
            self.nodes[node].disk.fail_next = false;
            self.nodes[node].disk.full_until = 0;
            self.start(node);
        }
    }

    fn node_now(&self, node: usize) -> Now {
        let clock = self.nodes[node].clock;
        let local = self.local(node);
        // The runs take place on 1 January 2025, so that offsets may be negative.
        const ORIGIN_MS: i64 = 1_735_689_600_000;
        let wall = ORIGIN_MS + clock.offset_ms + (local / 1_000_000) as i64;
        Now { time: Time(local), wall: WallTime(wall.max(0) as u64) }
    }

    /// Keeps an event for later if the node cannot take it now.
    fn defers(&mut self, node: u16, what: What) -> bool {
        let node = &mut self.nodes[node as usize];
        let busy = node.syncing.is_some() || node.paused_until > self.now;
        if busy && node.host.is_some() {
            node.backlog.push_back(what);
        }
        busy
    }

    fn resume(&mut self, node: u16) {
        let at = node as usize;
        if self.nodes[at].paused_until > self.now || self.nodes[at].host.is_none() {
            return;
        }
        self.tracer.pause(self.now, self.nodes[at].id, false);
        self.work_off(node);
        for peer in 0..self.nodes.len() {
            self.dial(at, peer);
        }
    }

    fn work_off(&mut self, node: u16) {
        let at = node as usize;
        while self.nodes[at].syncing.is_none()
            && self.nodes[at].paused_until <= self.now
            && let Some(what) = self.nodes[at].backlog.pop_front()
        {
            match what {
                What::Frame { from, to, generation, slot, id } => {
                    self.frame(from, to, generation, slot, id);
                }
                What::Wake { node, at } => self.timers(node, at),
                What::LinkDown { node, peer, generation } => self.link_down(node, peer, generation),
                What::Request { client, generation, node, sequence, slot } => {
                    self.request_arrives(client, generation, node, sequence, slot);
                }
                // The others concern no node's turn, and are never deferred.
                What::Synced { .. }
                | What::Resume { .. }
                | What::LinkUp { .. }
                | What::LinkTimeout { .. }
                | What::Reply { .. }
                | What::Closed { .. }
                | What::Driver { .. } => {}
            }
        }
    }

    fn discard(&mut self, what: What) {
        if let What::Frame { slot, .. } | What::Request { slot, .. } = what {
            let bytes = self.payloads.take(slot);
            self.payloads.give(slot, bytes);
        }
    }

    fn timers(&mut self, node: u16, at: Nanos) {
        let place = node as usize;
        if self.nodes[place].wake_at != at || self.nodes[place].host.is_none() {
            return;
        }
        if self.defers(node, What::Wake { node, at }) {
            return;
        }
        self.nodes[place].wake_at = Nanos::MAX;
        let now = self.node_now(place);
        if let Some(host) = &mut self.nodes[place].host {
            host.handle_timers(now);
        }
        self.tracer.timer(self.now, self.nodes[place].id);
        self.finish_turn(place);
    }

    /// After a callback: its effects leave at once, or when the disk has its records.
    fn finish_turn(&mut self, node: usize) {
        let place = node;
        let Some(host) = &mut self.nodes[place].host else { return };
        host.check_invariants();
        let outbox = host.outbox();
        let (bytes, checkpoint) = (outbox.records(), outbox.checkpoint());
        if bytes.is_empty() && !checkpoint {
            return self.release(place);
        }
        let mut records = Vec::new();
        if checkpoint {
            host.snapshot(&mut |tag, record| crate::wal::push_record(&mut records, tag, record));
        } else {
            records.extend_from_slice(bytes);
        }
        host.outbox_mut().clear_records();
        let node = &mut self.nodes[place];
        node.turns += 1;
        let turn = node.turns;
        node.syncing = Some(Sync { turn, records, checkpoint });
        let takes = within(&mut node.rng, &self.network.sync);
        self.at(self.now + takes, What::Synced { node: place as u16, turn });
    }

    fn synced(&mut self, node: u16, turn: u64) {
        let place = node as usize;
        let state = &mut self.nodes[place];
        if state.syncing.as_ref().is_none_or(|sync| sync.turn != turn) {
            return;
        }
        let fails = state.disk.fail_next || state.disk.full_until > self.now;
        if fails {
            state.disk.fail_next = false;
            let bytes = state.syncing.as_ref().map_or(0, |sync| sync.records.len());
            self.tracer.sync(self.now, self.nodes[place].id, bytes, false);
            // A failed sync is fatal: nothing of the turn leaves the node.
            return self.crash(place, false);
        }
        if let Some(sync) = state.syncing.take() {
            if sync.checkpoint {
                state.disk.durable.clear();
            }
            state.disk.durable.extend_from_slice(&sync.records);
            self.tracer.sync(self.now, self.nodes[place].id, sync.records.len(), true);
        }
        self.release(place);
        self.work_off(node);
    }

    /// Carries out a turn's effects.
    fn release(&mut self, place: usize) {
        let Some(host) = self.nodes[place].host.take() else { return };
        let id = self.nodes[place].id;
        for effect in host.outbox().effects() {
            match *effect {
                Effect::Send { to, payload } => {
                    self.send(place, to, host.outbox().bytes(payload), &host);
                }
                Effect::Reply { to, reply } => {
                    self.reply(place, to, host.outbox().bytes(reply), &host);
                }
                Effect::Print { line } => {
                    self.tracer.print(self.now, id, host.outbox().bytes(line));
                }
                Effect::Note { line } => {
                    self.tracer.note(self.now, id, host.outbox().bytes(line));
                }
                Effect::Timer { place, label } => {
                    let protocol = host.protocols()[place].name();
                    self.tracer.fired(self.now, id, protocol, host.outbox().bytes(label));
                }
                Effect::Fact { place, fact } => {
                    self.tracer.fact(self.now, id, host.protocols()[place].name(), &fact);
                }
            }
        }
        let mut host = host;
        host.outbox_mut().clear_effects();
        if self.tracer.is_full() {
            self.tracer.end_turn(self.now, id, &host);
        }
        self.nodes[place].host = Some(host);
        self.schedule_wake(place);
    }

    fn schedule_wake(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        let deadline = node.host.as_ref().and_then(Host::deadline);
        let Some(deadline) = deadline else {
            node.wake_at = Nanos::MAX;
            return;
        };
        let left = deadline.0.saturating_sub(node.set_at.1);
        let at = node.set_at.0 + undrifted(left, node.clock.drift_ppm);
        let at = at.max(self.now);
        if at != node.wake_at {
            node.wake_at = at;
            self.at(at, What::Wake { node: place as u16, at });
        }
    }

    // ---- messages ----

    fn place(&self, id: NodeId) -> Option<usize> {
        // Ids are few, and mostly where their number says.
        let guess = (id.0 as usize).wrapping_sub(1);
        if self.ids.get(guess) == Some(&id) {
            return Some(guess);
        }
        self.ids.iter().position(|one| *one == id)
    }

    fn send(&mut self, from: usize, to: NodeId, payload: &[u8], host: &Host) {
        let Some(to) = self.place(to) else { return };
        let id = self.tracer.send(self.now, self.ids[from], self.ids[to], payload, host);
        let n = self.nodes.len();
        let (pair, side) = pair(n, from, to);
        let link = &self.links[pair];
        if !link.up[side] {
            return self.tracer.lost(self.now, self.ids[from], self.ids[to], id, "no_link");
        }
        let (generation, clogged) = (link.generation, link.clogged_until[side]);
        let stream = &mut self.streams[from * n + to];
        // Both streams move once for each message, whatever the weather.
        let delay = within(&mut stream.delay, &self.network.delay);
        let fate = stream.fate.next_u64();
        if link.cut[side] > 0 {
            return self.tracer.lost(self.now, self.ids[from], self.ids[to], id, "cut");
        }
        if scaled(fate & 0xFFFF_FFFF, CHANCE) < self.weather.loss {
            return self.tracer.lost(self.now, self.ids[from], self.ids[to], id, "loss");
        }
        let extra = scaled(fate >> 16 & 0xFFFF_FFFF, self.weather.delay);
        let mut at = self.now.max(clogged) + delay + extra;
        let stream = &mut self.streams[from * n + to];
        if self.network.ordered && self.weather.delay == 0 {
            at = at.max(stream.last);
        }
        stream.last = stream.last.max(at);
        let slot = self.payloads.put(payload);
        let (from, to) = (from as u16, to as u16);
        self.at(at, What::Frame { from, to, generation, slot, id });
        if scaled(fate >> 32, CHANCE) < self.weather.duplicate {
            let copy = self.tracer.duplicate(self.now, self.ids[to as usize], id);
            let slot = self.payloads.put(payload);
            let later = at + scaled(fate >> 8 & 0xFFFF_FFFF, *self.network.delay.end());
            self.at(later, What::Frame { from, to, generation, slot, id: copy });
        }
    }

    fn frame(&mut self, from: u16, to: u16, generation: u32, slot: u32, id: u64) {
        let (sender, receiver) = (self.ids[from as usize], self.ids[to as usize]);
        let (pair, side) = pair(self.nodes.len(), to as usize, from as usize);
        let link = &self.links[pair];
        let alive = link.generation == generation && link.up[side];
        if !alive || link.cut[1 - side] > 0 {
            let why = if alive { "cut" } else { "down" };
            self.tracer.lost(self.now, sender, receiver, id, why);
            return self.discard(What::Frame { from, to, generation, slot, id });
        }
        if self.defers(to, What::Frame { from, to, generation, slot, id }) {
            return;
        }
        let now = self.node_now(to as usize);
        let payload = self.payloads.take(slot);
        let Some(host) = &mut self.nodes[to as usize].host else {
            return self.payloads.give(slot, payload);
        };
        let done = host.handle_frame(sender, &payload, now);
        self.deliveries += 1;
        match done {
            Ok(()) => self.tracer.recv(self.now, sender, receiver, id, &payload, host),
            Err(error) => {
                self.tracer.lost(self.now, sender, receiver, id, &error.to_string());
            }
        }
        self.payloads.give(slot, payload);
        self.finish_turn(to as usize);
    }

    // ---- links ----

    /// Has two nodes make a link, if they can and have none.
    fn dial(&mut self, one: usize, other: usize) {
        let both = self.nodes[one].host.is_some() && self.nodes[other].host.is_some();
        if one == other || !both {
            return;
        }
        let (pair, _) = pair(self.nodes.len(), one, other);
        let link = &mut self.links[pair];
        if link.up == [false; 2] && link.cut == [0; 2] && !link.dialing {
            link.dialing = true;
            let generation = link.generation;
            let takes = within(&mut self.fair, &self.network.redial);
            self.at(self.now + takes, What::LinkUp { pair: pair as u32, generation });
        }
    }

    fn link_up(&mut self, pair: u32, generation: u32) {
        let n = self.nodes.len();
        let (low, high) = (pair as usize / n, pair as usize % n);
        let link = &mut self.links[pair as usize];
        link.dialing = false;
        let ready = [low, high].iter().all(|node| {
            let node = &self.nodes[*node];
            node.host.is_some() && node.syncing.is_none() && node.paused_until <= self.now
        });
        if link.generation != generation || link.cut != [0; 2] || !ready {
            return self.dial(low, high);
        }
        link.generation += 1;
        link.up = [true; 2];
        for (node, peer) in [(high, low), (low, high)] {
            self.tell_link(node, peer, true);
        }
    }

    fn tell_link(&mut self, node: usize, peer: usize, up: bool) {
        let (now, peer_id) = (self.node_now(node), self.ids[peer]);
        if let Some(host) = &mut self.nodes[node].host {
            host.handle_link(peer_id, up, now);
            self.tracer.link(self.now, self.ids[node], peer_id, up);
            self.finish_turn(node);
        }
    }

    /// This end of a link is gone at once, the other knows a little later.
    fn drop_link(&mut self, node: usize, peer: usize) {
        if node == peer {
            return;
        }
        let (pair, side) = pair(self.nodes.len(), node, peer);
        let link = &mut self.links[pair];
        link.up[side] = false;
        if link.up[1 - side] {
            let (generation, at) = (link.generation, self.now + self.network.notice);
            let (node, peer) = (peer as u16, node as u16);
            self.at(at, What::LinkDown { node, peer, generation });
        }
    }

    fn link_down(&mut self, node: u16, peer: u16, generation: u32) {
        let (pair, side) = pair(self.nodes.len(), node as usize, peer as usize);
        let link = &self.links[pair];
        if link.generation != generation || !link.up[side] {
            return;
        }
        if self.defers(node, What::LinkDown { node, peer, generation }) {
            return;
        }
        self.links[pair].up[side] = false;
        self.tell_link(node as usize, peer as usize, false);
        self.dial(node as usize, peer as usize);
    }

    /// Breaks a connection at both ends; the nodes make a new one.
    pub fn reset(&mut self, one: usize, other: usize) {
        let (pair, _) = pair(self.nodes.len(), one, other);
        let generation = self.links[pair].generation;
        for (node, peer) in [(one as u16, other as u16), (other as u16, one as u16)] {
            self.at(self.now, What::LinkDown { node, peer, generation });
        }
    }

    /// Forbids one direction; heal as often as it was cut.
    pub fn cut(&mut self, from: usize, to: usize) {
        let (pair, side) = pair(self.nodes.len(), from, to);
        self.links[pair].cut[side] += 1;
        self.links[pair].cuts += 1;
        self.expect_silence(from, to);
    }

    /// Allows one direction again.
    pub fn heal(&mut self, from: usize, to: usize) {
        let (pair, side) = pair(self.nodes.len(), from, to);
        let link = &mut self.links[pair];
        link.cut[side] = link.cut[side].saturating_sub(1);
        link.cuts += 1;
        self.dial(from, to);
    }

    /// Holds one direction's messages back until `until`.
    pub fn clog(&mut self, from: usize, to: usize, until: Nanos) {
        let (pair, side) = pair(self.nodes.len(), from, to);
        self.links[pair].clogged_until[side] = until;
    }

    /// A link on which nothing can come is given up after a while.
    fn expect_silence(&mut self, one: usize, other: usize) {
        if one == other {
            return;
        }
        let (pair, _) = pair(self.nodes.len(), one, other);
        let (cut, at) = (self.links[pair].cuts, self.now + self.network.link_timeout);
        self.at(at, What::LinkTimeout { pair: pair as u32, cut });
    }

    fn link_timeout(&mut self, pair: u32, cut: u32) {
        let n = self.nodes.len();
        let (low, high) = (pair as usize / n, pair as usize % n);
        let link = &self.links[pair as usize];
        let paused = |node: usize| self.nodes[node].paused_until > self.now;
        let silent = link.cut != [0; 2] || paused(low) || paused(high);
        if link.cuts == cut && silent && link.up == [true; 2] {
            self.reset(low, high);
        }
    }

    // ---- clients ----

    /// Adds a client.
    pub fn add_client(&mut self, seed: u64) -> u32 {
        let client = self.clients.len() as u32;
        let port = 20_000 + (client % 40_000) as u16;
        self.clients.push(Client {
            generation: 0,
            node: None,
            rng: Rng::stream(seed, &format!("sim/client/{client}")),
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
        });
        client
    }

    /// Sends a request, over a new connection when it goes to another node than the last.
    pub fn request(&mut self, client: u32, node: usize, sequence: u32, request: &[u8]) {
        let state = &mut self.clients[client as usize];
        if state.node != Some(node as u16) {
            state.node = Some(node as u16);
            state.generation += 1;
        }
        let generation = state.generation;
        let at = self.now + within(&mut state.rng, &self.network.delay);
        let slot = self.payloads.put(request);
        let node = node as u16;
        self.at(at, What::Request { client, generation, node, sequence, slot });
    }

    fn request_arrives(
        &mut self,
        client: u32,
        generation: u32,
        node: u16,
        sequence: u32,
        slot: u32,
    ) {
        let what = What::Request { client, generation, node, sequence, slot };
        if self.clients[client as usize].generation != generation {
            return self.discard(what);
        }
        if self.nodes[node as usize].host.is_none() {
            let at = self.now + self.network.notice;
            self.at(at, What::Closed { client, generation });
            return self.discard(what);
        }
        if self.defers(node, what) {
            return;
        }
        let now = self.node_now(node as usize);
        let request = self.payloads.take(slot);
        let id = ClientId { slot: client, generation };
        let addr = self.clients[client as usize].addr;
        let caller = Caller { request: RequestId { client: id, sequence }, addr };
        let at = self.nodes[node as usize].id;
        if let Some(host) = &mut self.nodes[node as usize].host {
            self.tracer.request(self.now, at, client, sequence, &request, host);
            // The workload encodes requests from their types.
            let done = host.handle_request(0, caller, &request, now);
            debug_assert!(done.is_ok(), "a workload's request decodes");
        }
        self.payloads.give(slot, request);
        self.finish_turn(node as usize);
    }

    fn reply(&mut self, node: usize, to: RequestId, reply: &[u8], host: &Host) {
        let (client, generation) = (to.client.slot, to.client.generation);
        self.tracer.reply(self.now, self.ids[node], client, to.sequence, reply, host);
        let state = &mut self.clients[client as usize];
        let at = self.now + within(&mut state.rng, &self.network.delay);
        let slot = self.payloads.put(reply);
        self.at(at, What::Reply { client, generation, sequence: to.sequence, slot });
    }

    /// The client gives up its connection, and whatever may still come over it.
    pub fn disconnect(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        state.generation += 1;
        state.node = None;
    }

    /// Gives back the buffer of a reply.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.payloads.free_buffer(buffer);
    }
}

/// The place of two nodes' link, and whether the first is its lower (0) or higher (1) end.
fn pair(n: usize, one: usize, other: usize) -> (usize, usize) {
    if one < other { (one * n + other, 0) } else { (other * n + one, 1) }
}

fn within(rng: &mut Rng, range: &RangeInclusive<Nanos>) -> Nanos {
    range.start() + rng.below(range.end() - range.start() + 1)
}

/// The part of `whole` that 32 random bits choose.
fn scaled(bits: u64, whole: Nanos) -> Nanos {
    ((u128::from(bits) * u128::from(whole)) >> 32) as u64
}

/// The run's time by a clock that drifts.
fn drifted(at: Nanos, ppm: i64) -> Nanos {
    if ppm == 0 {
        return at;
    }
    (i128::from(at) * i128::from(1_000_000 + ppm) / 1_000_000) as u64
}

/// When a drifting clock shows `local`: not before.
fn undrifted(local: Nanos, ppm: i64) -> Nanos {
    if ppm == 0 {
        return local;
    }
    let rate = i128::from(1_000_000 + ppm);
    ((i128::from(local) * 1_000_000 + rate - 1) / rate) as u64
}

/// The first record of a disk's bytes, and what follows.
fn split_record(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    Some((u16::from_le_bytes(*tag), &rest[..length], &rest[length..]))
}

/// Buffers for what is under way, used again and again.
#[derive(Default)]
struct Pool {
    slots: Vec<Vec<u8>>,
    free: Vec<u32>,
    spare: Vec<Vec<u8>>,
}

impl Pool {
    fn put(&mut self, bytes: &[u8]) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(self.spare.pop().unwrap_or_default());
            (self.slots.len() - 1) as u32
        });
        let buffer = &mut self.slots[slot as usize];
        buffer.clear();
        buffer.extend_from_slice(bytes);
        slot
    }

    /// Takes a buffer out; `give` puts it back and frees the slot.
    fn take(&mut self, slot: u32) -> Vec<u8> {
        std::mem::take(&mut self.slots[slot as usize])
    }

    fn give(&mut self, slot: u32, buffer: Vec<u8>) {
        self.slots[slot as usize] = buffer;
        self.free.push(slot);
    }

    fn free_buffer(&mut self, buffer: Vec<u8>) {
        self.spare.push(buffer);
    }
}
