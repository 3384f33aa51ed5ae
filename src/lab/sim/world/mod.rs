//! The world of a run: virtual time, nodes with clocks and disks, links between them, and clients'
//! connections. Knows Hosts and bytes, no protocol and no scenario.

mod branch;
pub mod chooser;
mod chosen;
mod clients;
mod disk;
mod liar;
mod network;
mod nodes;
mod pool;
mod port;
mod under_way;
mod wires;

pub use self::branch::Way;
pub use self::disk::{Folder, PLACES, Rot};

use self::branch::Diverted;
use self::chooser::Chooser;
use self::disk::{Disk, Written};
use self::liar::Forger;
use self::pool::Pool;
use self::wires::Wire;
use super::tracer::Tracer;
use crate::config::ClockError;
use crate::registry::Registry;
pub use crate::study::Nanos;
use crate::study::{FileSeen, FrameSeen, Met, Run, Seen, Watch};
use crate::wire::PUSHED;
use node_core::{Correction, Host, NodeId, Rng};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Builds a node's Host: at its start, and again each time that it restarts.
pub type Build = dyn FnMut(Birth) -> Host;

/// A start of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Birth {
    /// The node's place.
    pub place: usize,
    /// Larger each time that it starts.
    pub incarnation: u64,
    /// Names its data directory.
    pub identity: u128,
    /// Whether its disk is empty.
    pub is_new: bool,
    /// What the run's draws were drawn anew by, if they were.
    pub redrawn: Option<u64>,
}

/// How the network behaves when nothing is broken.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// A message's way, in nanoseconds; drawn for each.
    pub delay: RangeInclusive<Nanos>,
    /// The way of what a client says or hears.
    pub client_delay: RangeInclusive<Nanos>,
    /// Whether messages of one direction keep their order, as over TCP, unless a fault delays them.
    pub ordered: bool,
    /// A sync's time.
    pub sync: RangeInclusive<Nanos>,
    /// How long after an end of a link is gone the other end knows.
    pub notice: Nanos,
    /// How long an unusable link may last before both ends give it up.
    pub link_timeout: Nanos,
    /// How long two nodes that can reach each other take to make a link; where an end waits for its
    /// disk it takes so long again, so not nothing where syncs take time.
    pub redial: RangeInclusive<Nanos>,
}

impl Default for Network {
    fn default() -> Self {
        Network {
            delay: 1_000_000..=10_000_000,
            client_delay: 1_000_000..=10_000_000,
            ordered: true,
            sync: 100_000..=2_000_000,
            notice: 1_000_000,
            link_timeout: 5_000_000_000,
            redial: 10_000_000..=200_000_000,
        }
    }
}

impl Network {
    /// Everything is there at once, where its order is chosen.
    pub fn take_no_time(&mut self) {
        self.delay = 0..=0;
        self.client_delay = 0..=0;
        self.sync = 0..=0;
        self.redial = 0..=0;
        self.notice = 0;
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
    /// Bytes reached a client that speaks through a gateway.
    Heard {
        /// The client.
        client: u32,
        /// A piece of what it is told.
        bytes: Vec<u8>,
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
    seed: u64,
    /// What the draws were drawn anew by, if they were.
    redrawn: Option<u64>,
    /// The messages that fare otherwise than the network has them.
    diverted: Diverted,
    now: Nanos,
    sequence: u64,
    queue: BinaryHeap<Scheduled>,
    nodes: Vec<Node>,
    /// The faults that start second processes of nodes' ids, by their numbers. These have the last
    /// places among the nodes, and no links: whoever is greeted dials the configured address, where
    /// the first one is.
    twins: Vec<u32>,
    /// How many of the nodes, before those, serve the others and are spared by every fault.
    services: usize,
    ids: Vec<NodeId>,
    links: Vec<Link>,
    streams: Vec<Stream>,
    network: Network,
    weather: Weather,
    payloads: Pool,
    clients: Vec<Client>,
    build: Box<Build>,
    /// The gateways that clients can speak through.
    codecs: Option<Arc<Registry>>,
    /// Copies of directories, for faults to come.
    copies: BTreeMap<u32, Folder>,
    refusals: Vec<(Nanos, NodeId, String)>,
    /// What lies are made of, where somebody will lie.
    forger: Option<Forger>,
    /// What nodes showed, once somebody looks.
    seen: Option<Seen>,
    /// What clients asked and met.
    run: Run,
    /// What happened, for hashes, traces and people.
    pub tracer: Tracer,
    /// The invariants that the scenario asks for.
    pub(crate) watch: Watch,
    /// Why the run cannot go on: a Host's panic is not caught, but a refused record is told here.
    pub failure: Option<String>,
    /// What went wrong between a client that speaks through a gateway and the gateway's codec.
    pub garbled: Option<String>,
    events: u64,
    deliveries: u64,
    /// Says what is next, where the order is chosen; else the queue does.
    chooser: Option<Box<Chooser>>,
    /// How many faults it has chosen.
    chosen_faults: usize,
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
    Piece { client: u32, generation: u32, node: u16, slot: u32 },
    Heard { client: u32, generation: u32, slot: u32 },
    Closed { client: u32, generation: u32 },
    Gone { client: u32, generation: u32, node: u16 },
    Backpressure { client: u32, generation: u32, node: u16, full: bool },
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
    /// Boxed: each turn takes it out and puts it back.
    host: Option<Box<Host>>,
    paused_until: Nanos,
    /// A sync is under way: its turn's effects wait, and so do later events.
    syncing: Option<Sync>,
    turns: u64,
    /// Events that came while the node was paused or syncing.
    backlog: VecDeque<What>,
    /// The clients' connections that its Host was told of: client and generation.
    callers: BTreeSet<(u32, u32)>,
    disk: Disk,
    clock: ClockError,
    /// What the node has published of what its clock lacks.
    correction: Correction,
    /// The run's and the node's own time when the clock was last set.
    set_at: (Nanos, Nanos),
    /// The wake-up that is scheduled for its next deadline.
    wake_at: Nanos,
    sync_time: Rng,
    /// Whether a crash finds on the disk what was being synced.
    crash_fate: Rng,
    /// A protocol has asked for the node's end. It goes on, as nobody waits for a process.
    has_ended: bool,
}

struct Sync {
    turn: u64,
    written: Written,
    /// What goes to protocols' files, by tag.
    files: Vec<(u16, Vec<u8>)>,
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
    /// How long making a link takes; of the direction from the lower node.
    redial: Rng,
    /// When the last message arrives.
    last: Nanos,
}

struct Client {
    /// Whose requests it makes.
    protocol: &'static str,
    /// Its tag.
    tag: u16,
    generation: u32,
    node: Option<u16>,
    rng: Rng,
    /// When the last of what it subscribed to arrives.
    last_push: Nanos,
    /// It does not read: what it subscribed to waits in its connection.
    is_asleep: bool,
    waiting: Vec<u32>,
    /// Its node knows, or will, that it does not read.
    is_backed_up: bool,
    addr: SocketAddr,
    /// It speaks through a gateway, in bytes.
    wire: Option<Box<Wire>>,
    /// Its operations under way on this connection: their sequences, and their places in the run.
    open: Vec<(u32, usize)>,
}

impl World {
    /// A world of the nodes that `build` makes, all down; also of second processes of some ids,
    /// with the numbers of the faults that start them.
    pub fn new(
        seed: u64,
        ids: &[NodeId],
        twins: &[(u32, NodeId)],
        network: Network,
        build: Box<Build>,
        tracer: Tracer,
    ) -> World {
        let own = ids.len();
        let ids: Vec<NodeId> = ids.iter().copied().chain(twins.iter().map(|twin| twin.1)).collect();
        let n = ids.len();
        let node = |(place, id): (usize, &NodeId)| Node {
            id: *id,
            host: None,
            paused_until: 0,
            syncing: None,
            turns: 0,
            backlog: VecDeque::new(),
            callers: BTreeSet::new(),
            disk: match place.checked_sub(own) {
                None => Disk::new(seed, &id.to_string()),
                Some(twin) => Disk::new(seed, &format!("{id}/twin/{}", twins[twin].0)),
            },
            clock: ClockError::default(),
            correction: Correction::default(),
            set_at: (0, 0),
            wake_at: Nanos::MAX,
            sync_time: Rng::stream(seed, &format!("sim/sync/{id}")),
            crash_fate: Rng::stream(seed, &format!("sim/crash/{id}")),
            has_ended: false,
        };
        let direction = |from: &NodeId, to: &NodeId| Stream {
            delay: Rng::stream(seed, &format!("sim/delay/{from}/{to}")),
            fate: Rng::stream(seed, &format!("sim/fate/{from}/{to}")),
            redial: Rng::stream(seed, &format!("sim/redial/{from}/{to}")),
            last: 0,
        };
        let streams = ids.iter().flat_map(|from| ids.iter().map(move |to| direction(from, to)));
        World {
            seed,
            redrawn: None,
            diverted: Diverted::default(),
            now: 0,
            sequence: 0,
            queue: BinaryHeap::new(),
            nodes: ids.iter().enumerate().map(node).collect(),
            twins: twins.iter().map(|twin| twin.0).collect(),
            services: 0,
            links: vec![Link::default(); n * n],
            streams: streams.collect(),
            ids,
            network,
            weather: Weather::default(),
            payloads: Pool::default(),
            clients: Vec::new(),
            build,
            codecs: None,
            copies: BTreeMap::new(),
            refusals: Vec::new(),
            forger: None,
            seen: None,
            run: Run::default(),
            tracer,
            watch: Watch::default(),
            failure: None,
            garbled: None,
            events: 0,
            deliveries: 0,
            chooser: None,
            chosen_faults: 0,
        }
    }

    /// Has clients speak through these gateways.
    pub fn set_codecs(&mut self, codecs: Arc<Registry>) {
        self.codecs = Some(codecs);
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
        self.nodes[node].host.as_deref()
    }

    /// Keeps from now on what nodes show.
    pub fn look(&mut self) {
        self.seen = Some(Seen::default());
    }

    /// What nodes have shown, where somebody looks.
    pub fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }

    /// What nodes have shown, and last what is in their files now.
    pub fn take_seen(&mut self) -> Seen {
        let mut seen = self.seen.take().unwrap_or_default();
        for (place, node) in self.nodes.iter().enumerate() {
            let file = |(tag, bytes): (&u16, &Vec<u8>)| FileSeen {
                at: self.now,
                node: place,
                tag: *tag,
                bytes: bytes.clone(),
            };
            seen.files.extend(node.disk.folder.files.iter().map(file));
            for (tag, bytes) in &node.disk.folder.files {
                let owner = node.host.as_ref().and_then(|host| host.name_of(*tag));
                if let Some(owner) = owner {
                    self.tracer.file(self.now, node.id, owner, bytes);
                }
            }
        }
        seen
    }

    /// A node's id.
    pub fn id(&self, node: usize) -> NodeId {
        self.ids[node]
    }

    /// Has the last so many of the nodes serve the others: faults spare them.
    pub fn set_services(&mut self, services: usize) {
        self.services = services;
    }

    /// How many nodes there are; services and second processes are none.
    pub fn len(&self) -> usize {
        self.linked() - self.services
    }

    /// How many nodes and services there are: what has links.
    pub fn linked(&self) -> usize {
        self.nodes.len() - self.twins.len()
    }

    /// The place of the second process that the fault of that number starts.
    pub fn twin(&self, number: u32) -> Option<usize> {
        let twin = self.twins.iter().position(|twin| *twin == number)?;
        Some(self.linked() + twin)
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How the network behaves from now on when nothing is broken.
    pub fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    /// Sets what breaks messages from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// What breaks messages now.
    pub fn weather(&self) -> Weather {
        self.weather
    }

    fn at(&mut self, at: Nanos, what: What) {
        self.sequence += 1;
        let (sequence, now, n) = (self.sequence, self.now, self.nodes.len());
        match &mut self.chooser {
            None => self.queue.push(Scheduled { at, sequence, what }),
            Some(chooser) => chooser.under_way.put(at, sequence, what, now, n),
        }
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
        if self.chooser.is_some() {
            return self.chosen_step();
        }
        let Some(Scheduled { at, what, .. }) = self.queue.pop() else { return Step::End };
        self.now = at;
        self.events += 1;
        self.happen(what)
    }

    fn happen(&mut self, what: What) -> Step {
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
                    match sequence {
                        PUSHED => self.note_push(client, &reply),
                        _ => self.note_reply(client, sequence, &reply),
                    }
                    return Step::Reply { client, sequence, reply };
                }
                self.payloads.give(slot, reply);
            }
            What::Piece { client, generation, node, slot } => {
                self.piece_arrives(client, generation, node, slot);
            }
            What::Heard { client, generation, slot } => {
                let bytes = self.payloads.take(slot);
                if self.clients[client as usize].generation == generation {
                    return Step::Heard { client, bytes };
                }
                self.payloads.give(slot, bytes);
            }
            What::Closed { client, generation } => {
                if self.clients[client as usize].generation == generation {
                    self.clients[client as usize].node = None;
                    self.next_generation(client);
                    self.note_contact(client, Met::Closed);
                    return Step::Closed { client };
                }
            }
            What::Gone { client, generation, node } => self.client_gone(client, generation, node),
            What::Backpressure { client, generation, node, full } => {
                self.backpressure(client, generation, node, full);
            }
            What::Driver { token } => return Step::Wake { token },
        }
        Step::Inside
    }
}

fn within(rng: &mut Rng, range: &RangeInclusive<Nanos>) -> Nanos {
    range.start() + rng.below(range.end() - range.start() + 1)
}
