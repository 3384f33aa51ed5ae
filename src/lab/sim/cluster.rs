//! A cluster for tests of protocols, step by step: nodes in the simulator's [`World`], and a test
//! that says what happens to them and looks at what they do. Knows no protocol.
//!
//! Unless the test says otherwise a message takes a millisecond, and nothing else takes time: what
//! a test does is over, with the answers to it that need no message, when the call returns. After
//! every event the Hosts assert their invariants, and those of a study hold if it is
//! [watched](Cluster::watch).
//!
//! ```
//! # use node_core::{Caller, ConfigError, Context, Env, Never, NodeId, Protocol, erase};
//! # struct Double;
//! # impl Protocol for Double {
//! #     const NAME: &'static str = "double";
//! #     type Config = ();
//! #     type Message<'a> = Never;
//! #     type Record<'a> = Never;
//! #     type Timer = Never;
//! #     type Request<'a> = u32;
//! #     type Reply<'a> = u32;
//! #     fn new((): (), _: &Env) -> Result<Double, ConfigError> { Ok(Double) }
//! #     fn on_message(&mut self, _: NodeId, message: Never, _: &mut Context<'_, Self>) {
//! #         match message {}
//! #     }
//! #     fn on_timer(&mut self, timer: Never, _: &mut Context<'_, Self>) { match timer {} }
//! #     fn on_request(&mut self, caller: Caller, n: u32, cx: &mut Context<'_, Self>) {
//! #         cx.reply(caller.request, &(2 * n));
//! #     }
//! # }
//! use node_lab::sim::cluster::{Cluster, SECOND};
//!
//! let nodes = |env: &Env| vec![erase::<Double>((), env).expect("the config is right")];
//! let mut cluster = Cluster::new(1, &[1, 2], nodes);
//! cluster.start_all();
//! cluster.cut(1, 2);
//! cluster.run(SECOND);
//! assert_eq!(cluster.ask::<Double>(2, &21), 42);
//! ```

use super::tracer::Tracer;
use super::world::{Birth, CHANCE, Folder, Network, Step, Weather, World};
use crate::config::ClockError;
use crate::study::{Nanos, Property, Run, Seen, Study, Verdict};
use crate::wire::PUSHED;
use node_core::{
    DynProtocol, Env, Fact, FrameError, Host, LamportRule, NodeId, Protocol, Rng, WallTime, encode,
    protocol_tag,
};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// A millisecond.
pub const MS: Nanos = 1_000_000;
/// A second.
pub const SECOND: Nanos = 1_000 * MS;

/// Nodes, and the clients of a test. Nodes go by their ids, times are nanoseconds.
pub struct Cluster {
    world: World,
    seed: u64,
    ids: Vec<u32>,
    /// The pairs that are cut off from each other.
    cut: BTreeSet<(u32, u32)>,
    /// The world's clients, one for each client's connection to a protocol of a node.
    connections: BTreeMap<(u32, u32, &'static str), u32>,
    /// Who asked, by the request's number, as long as it is not over.
    open: BTreeMap<u32, u32>,
    /// When which request was over, and the answer to it, if there was one.
    ended: BTreeMap<u32, (Nanos, Option<Vec<u8>>)>,
    /// What clients got that they had subscribed to.
    pushed: Vec<(u32, Vec<u8>)>,
    asked: u32,
}

impl Cluster {
    /// Nodes with these ids, all down. `build` makes a node's protocols, at each of its starts.
    pub fn new(
        seed: u64,
        ids: &[u32],
        build: impl Fn(&Env) -> Vec<Box<dyn DynProtocol>> + 'static,
    ) -> Cluster {
        Cluster::make(seed, ids, false, build)
    }

    /// The same with disks.
    pub fn with_disks(
        seed: u64,
        ids: &[u32],
        build: impl Fn(&Env) -> Vec<Box<dyn DynProtocol>> + 'static,
    ) -> Cluster {
        Cluster::make(seed, ids, true, build)
    }

    fn make(
        seed: u64,
        ids: &[u32],
        durable: bool,
        build: impl Fn(&Env) -> Vec<Box<dyn DynProtocol>> + 'static,
    ) -> Cluster {
        let all: Vec<NodeId> = ids.iter().copied().map(NodeId).collect();
        let nodes = all.clone();
        let host = move |Birth { place, incarnation, identity, .. }| {
            let id = nodes[place];
            let peers = nodes.iter().copied().filter(|peer| *peer != id).collect();
            let seed = Rng::stream(seed, &format!("host/{id}/{incarnation}")).next_u64();
            let env = Env { id, peers, incarnation, identity, seed, durable };
            Host::new(&env, build(&env), LamportRule::MaxPlusOne)
        };
        let network = Network {
            delay: MS..=MS,
            client_delay: 0..=0,
            ordered: false,
            sync: 0..=0,
            notice: 0,
            redial: 0..=0,
            ..Network::default()
        };
        let mut world = World::new(seed, &all, &[], network, Box::new(host), Tracer::new());
        world.look();
        for place in (0..ids.len()).filter(|_| durable) {
            world.set_home(place, "test", None);
        }
        Cluster {
            world,
            seed,
            ids: ids.to_vec(),
            cut: BTreeSet::new(),
            connections: BTreeMap::new(),
            open: BTreeMap::new(),
            ended: BTreeMap::new(),
            pushed: Vec::new(),
            asked: 0,
        }
    }

    /// From now on the invariants of a study hold after every event, and what its properties go by
    /// is kept.
    pub fn watch<S: Study>(&mut self) {
        self.world.watch.set(S::INVARIANTS.iter());
        self.world.tracer.watch(S::PROPERTIES);
    }

    /// The verdict on a property of what nodes have done, since they are watched or were judged.
    pub fn judge(&mut self, property: &Property) -> Verdict {
        let end_ns = self.now();
        let timeline = self.world.tracer.take_timeline(end_ns);
        (property.judge)(&Run { timeline, end_ns, is_simulated: true, ..Run::default() })
    }

    fn place(&self, id: u32) -> usize {
        let place = self.ids.iter().position(|one| *one == id);
        place.unwrap_or_else(|| panic!("there is no node {id}"))
    }

    // Nodes.

    /// The nodes' ids.
    pub fn ids(&self) -> Vec<u32> {
        self.ids.clone()
    }

    /// Starts a node that is down with what is on its disk, and links it to the others.
    pub fn start(&mut self, id: u32) {
        assert!(!self.is_up(id), "node {id} is up");
        self.world.start(self.place(id));
        self.settle();
    }

    /// Starts all nodes, in the order of their ids as they were given.
    pub fn start_all(&mut self) {
        for id in self.ids() {
            self.start(id);
        }
    }

    /// Stops a node at once. Its disk stays: what is being synced is on it, or a part of that.
    pub fn crash(&mut self, id: u32) {
        self.world.crash(self.place(id), false);
        self.settle();
    }

    /// Whether a node runs.
    pub fn is_up(&self, id: u32) -> bool {
        self.world.is_up(self.place(id))
    }

    /// Has a node do nothing for so long; what comes meanwhile waits.
    pub fn pause(&mut self, id: u32, nanos: Nanos) {
        let until = self.now() + nanos;
        self.world.pause(self.place(id), until);
        self.run_until(until);
    }

    /// Whether what a node does waits for its disk.
    pub fn is_syncing(&self, id: u32) -> bool {
        self.world.is_syncing(self.place(id))
    }

    /// A node that runs.
    pub fn host(&self, id: u32) -> &Host {
        self.world.host(self.place(id)).unwrap_or_else(|| panic!("node {id} is down"))
    }

    /// The state of a protocol of a node that runs.
    pub fn state<P: Protocol>(&self, id: u32) -> &P {
        let host = self.host(id);
        let place = host.place(P::NAME).expect("the node runs the protocol");
        let state: &dyn Any = host.protocols()[place].state();
        state.downcast_ref().expect("a protocol has its name alone")
    }

    /// Sets how far a node's wall clock is ahead, and how much faster its clocks run.
    pub fn set_clock(&mut self, id: u32, offset_ms: i64, drift_ppm: i64) {
        self.world.set_clock(self.place(id), ClockError { offset_ms, drift_ppm });
    }

    /// What a node's wall clock shows.
    pub fn wall(&self, id: u32) -> WallTime {
        self.world.node_now(self.place(id)).wall
    }

    // Disks.

    /// What is on a node's disk.
    pub fn disk(&self, id: u32) -> Folder {
        self.world.folder(self.place(id))
    }

    /// A node, which stops, has this disk from now on.
    pub fn set_disk(&mut self, id: u32, disk: Folder) {
        self.world.set_folder(self.place(id), disk);
        self.settle();
    }

    /// A node, which stops, has lost its log.
    pub fn lose_log(&mut self, id: u32) {
        self.world.lose_log(self.place(id));
        self.settle();
    }

    /// A node's disk takes so many bytes from now on.
    pub fn set_room(&mut self, id: u32, bytes: u64) {
        self.world.set_room(self.place(id), bytes);
    }

    // The network.

    /// How the network behaves from now on.
    pub fn network(&mut self) -> &mut Network {
        self.world.network_mut()
    }

    /// Of a hundred messages so many are lost from now on, and so many come twice.
    pub fn set_weather(&mut self, loss_percent: u64, duplicate_percent: u64) {
        let part = |percent| percent * (CHANCE / 100);
        let (loss, duplicate) = (part(loss_percent), part(duplicate_percent));
        self.world.set_weather(Weather { loss, duplicate, delay: 0 });
    }

    /// Cuts two nodes off from each other: their link breaks, with all that is under way on it.
    pub fn cut(&mut self, one: u32, other: u32) {
        if self.cut.insert(pair(one, other)) {
            let (one, other) = (self.place(one), self.place(other));
            self.world.cut(one, other);
            self.world.cut(other, one);
            self.world.reset(one, other);
            self.settle();
        }
    }

    /// Lets them have a link again.
    pub fn heal(&mut self, one: u32, other: u32) {
        if self.cut.remove(&pair(one, other)) {
            let (one, other) = (self.place(one), self.place(other));
            self.world.heal(one, other);
            self.world.heal(other, one);
            self.settle();
        }
    }

    /// Hands a message to a node, as if from a peer, with the Lamport value of its own clock.
    pub fn forge<P: Protocol>(&mut self, from: u32, to: u32, message: &P::Message<'_>) {
        let mut payload = Vec::new();
        encode(&(protocol_tag(P::NAME), self.host(to).lamport()), &mut payload);
        encode(message, &mut payload);
        self.inject(from, to, &payload).expect("it is well formed");
    }

    /// Hands a frame to a node, as if from a peer.
    ///
    /// # Errors
    /// Why the node does not take it.
    pub fn inject(&mut self, from: u32, to: u32, payload: &[u8]) -> Result<(), FrameError> {
        let taken = self.world.inject(NodeId(from), self.place(to), payload);
        self.settle();
        taken
    }

    // Clients.

    /// A request of a client to a node; its number finds the answer. Each client has a connection
    /// of its own to each node and protocol.
    pub fn request<P: Protocol>(&mut self, id: u32, client: u32, request: &P::Request<'_>) -> u32 {
        let place = self.place(id);
        let connection = self.connection::<P>(id, client);
        let mut body = Vec::new();
        encode(request, &mut body);
        self.asked += 1;
        self.open.insert(self.asked, connection);
        self.world.request(connection, place, self.asked, &body);
        self.settle();
        self.asked
    }

    fn connection<P: Protocol>(&mut self, id: u32, client: u32) -> u32 {
        let (world, seed) = (&mut self.world, self.seed);
        let made = self.connections.entry((client, id, P::NAME));
        *made.or_insert_with(|| world.add_client(seed, P::NAME))
    }

    /// A request, and the answer that it gets at once.
    pub fn ask<P: Protocol>(&mut self, id: u32, request: &P::Request<'_>) -> P::Reply<'static> {
        let number = self.request::<P>(id, 0, request);
        self.reply::<P>(number).expect("it is answered at once")
    }

    /// The answer to a request, if it has come. Replies borrow from their bytes, and a test is
    /// short: these are never freed.
    pub fn reply<P: Protocol>(&self, number: u32) -> Option<P::Reply<'static>> {
        let reply = self.ended.get(&number)?.1.as_ref()?;
        Some(decode(reply))
    }

    /// The address from which a client asks a node.
    pub fn addr<P: Protocol>(&mut self, id: u32, client: u32) -> SocketAddr {
        let connection = self.connection::<P>(id, client);
        self.world.addr(connection)
    }

    /// When a request was over: it was answered, or its node is down.
    pub fn ended(&self, number: u32) -> Option<Nanos> {
        self.ended.get(&number).map(|(at, _)| *at)
    }

    /// The requests that are not over.
    pub fn open(&self) -> impl Iterator<Item = u32> {
        self.open.keys().copied()
    }

    /// What a client got that it had subscribed to.
    pub fn pushed<P: Protocol>(&self, client: u32) -> Vec<P::Reply<'static>> {
        let of = |to: &u32| self.connections.iter().any(|(key, one)| one == to && key.0 == client);
        let its = self.pushed.iter().filter(|(to, _)| of(to));
        its.map(|(_, reply)| decode(reply)).collect()
    }

    /// A client's connection takes no more, or does again.
    pub fn backpressure<P: Protocol>(&mut self, id: u32, client: u32, full: bool) {
        let connection = self.connection::<P>(id, client);
        self.world.tell(connection, full);
        self.settle();
    }

    /// A client's connection is gone.
    pub fn disconnect<P: Protocol>(&mut self, id: u32, client: u32) {
        let connection = self.connection::<P>(id, client);
        self.world.disconnect(connection);
        self.settle();
    }

    // What nodes show.

    /// What nodes have shown; they go by their places there.
    pub fn seen(&self) -> &Seen {
        self.world.seen().expect("somebody looks from the beginning")
    }

    /// What nodes printed, in order.
    pub fn printed(&self) -> impl DoubleEndedIterator<Item = (u32, &str)> {
        self.seen().lines.iter().map(|(_, place, line)| (self.ids[*place], &line[..]))
    }

    /// The facts that a node published, in order.
    pub fn facts(&self, id: u32) -> impl DoubleEndedIterator<Item = &Fact> {
        let place = self.place(id);
        self.seen().facts.iter().filter(move |(_, at, _)| *at == place).map(|(_, _, fact)| fact)
    }

    /// The messages of a protocol that nodes sent, in order: from, to, message.
    pub fn sent<P: Protocol>(&self) -> impl Iterator<Item = (u32, u32, P::Message<'_>)> {
        self.seen().frames.iter().filter_map(|frame| {
            let (tag, message) = Host::message_of(&frame.payload)?;
            let message = (tag == protocol_tag(P::NAME)).then(|| postcard::from_bytes(message))?;
            let (from, to) = (self.ids[frame.from], self.ids[frame.to]);
            Some((from, to, message.expect("nodes send what decodes")))
        })
    }

    // Time.

    /// The time.
    pub fn now(&self) -> Nanos {
        self.world.now()
    }

    /// Whether nothing is under way, and no timer runs.
    pub fn is_idle(&self) -> bool {
        self.world.next_at().is_none()
    }

    /// Lets time pass.
    pub fn run(&mut self, nanos: Nanos) {
        self.run_until(self.now() + nanos);
    }

    /// Lets time pass until then.
    pub fn run_until(&mut self, until: Nanos) {
        while self.step(until) {}
        // The clock moves with what happens.
        self.world.wake(until, 0);
        while self.step(until) {}
    }

    /// Lets the next thing happen, unless it is behind `until`; answers whether it did.
    pub fn step(&mut self, until: Nanos) -> bool {
        if self.world.next_at().is_none_or(|at| at > until) {
            return false;
        }
        match self.world.step() {
            Step::Inside | Step::Wake { .. } | Step::Heard { .. } | Step::End => {}
            Step::Reply { client, sequence: PUSHED, reply } => self.pushed.push((client, reply)),
            Step::Reply { sequence, reply, .. } => {
                let asked = self.open.remove(&sequence);
                assert!(asked.is_some(), "request {sequence} is answered once");
                self.ended.insert(sequence, (self.now(), Some(reply)));
            }
            Step::Closed { client } => {
                let now = self.now();
                let its = self.open.extract_if(.., |_, asked| *asked == client);
                self.ended.extend(its.map(|(number, _)| (number, (now, None))));
            }
        }
        if let Some((property, violation)) = self.world.watch.broken() {
            panic!("{property}: {}", violation.why);
        }
        if let Some(why) = &self.world.failure {
            panic!("{why}");
        }
        true
    }

    /// Lets all happen that takes no time.
    fn settle(&mut self) {
        while self.step(self.now()) {}
    }
}

fn pair(one: u32, other: u32) -> (u32, u32) {
    (one.min(other), one.max(other))
}

fn decode<T: serde::Deserialize<'static>>(reply: &[u8]) -> T {
    postcard::from_bytes(reply.to_vec().leak()).expect("a reply decodes")
}
