//! What is under way in a world whose order is chosen: what can be next, the faults that can be
//! instead, and since which step. Knows not what is chosen, nor what has been tried.

use super::super::moves::{Budget, MAX_NODES, Move, Of, Touched, Way};
use super::super::token::Token;
use super::network::pair;
use super::{Nanos, What, World};

/// How long a node that comes back takes at least: its next life has a later time of its own.
const STARTS_IN: Nanos = 1_000_000;

/// Between what choosing goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// When it begins: until then nothing is chosen, and clients wait.
    pub from: Nanos,
    /// When it ends.
    pub until: Nanos,
    /// How many steps it goes on at most.
    pub depth: u32,
    /// After how long a node that stopped is due back.
    pub down: Nanos,
    /// How many faults there may be.
    pub budget: Budget,
    /// Whether a sync is a step of its own, so that a node can stop before it.
    pub syncs: bool,
}

/// What the world does next.
pub(super) enum Next {
    Happens(What),
    Timers(usize),
    Starts(usize),
    Crashes(usize),
    /// A message is lost.
    Loses(What),
    /// A message gets a copy, to be held back under that number.
    Copies(What, u32),
    /// A message is held back; or arrives late, and happens then.
    Holds(usize, usize),
    Late(What),
    /// Time passed, or nothing but a step.
    Passes,
    Nothing,
}

/// What is under way, and the nodes' time.
pub(super) struct UnderWay {
    rules: Rules,
    pending: Vec<Pending>,
    starts: Vec<Return>,
    /// The time of all nodes, and how far some are ahead of it.
    pub(super) clock: Nanos,
    ahead: [Nanos; MAX_NODES],
    counts: Counts,
    /// The step that what comes about now belongs to; none before the first.
    pub(super) born: Option<u32>,
}

/// How many of each there were: they number moves.
#[derive(Default)]
struct Counts {
    ways: [[u32; MAX_NODES]; MAX_NODES],
    late: [[u32; MAX_NODES]; MAX_NODES],
    timers: [u32; MAX_NODES],
    crashes: [u32; MAX_NODES],
    clients: Vec<u32>,
}

/// Something that is to happen.
struct Pending {
    kind: Kind,
    what: What,
    at: Nanos,
    sequence: u64,
    born: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// At once.
    Urgent,
    /// Between nodes, by their places.
    Under {
        from: usize,
        to: usize,
        nth: u32,
    },
    /// Likewise, held back.
    Late {
        from: usize,
        to: usize,
        nth: u32,
    },
    Link {
        one: usize,
        other: usize,
        nth: u32,
    },
    Sync {
        node: usize,
        nth: u32,
    },
    /// A client goes on, when it is due or before; or gives up, when it is due.
    Client {
        client: u32,
        nth: u32,
        waits: bool,
    },
    /// When it is due, at once.
    Timed,
}

/// A node is to come back.
struct Return {
    node: usize,
    nth: u32,
    at: Nanos,
    born: Option<u32>,
}

/// Something that can be next.
pub(super) struct Ready {
    pub(super) does: Move,
    pub(super) order: (u8, Nanos, u64),
    pub(super) source: Source,
    pub(super) born: Option<u32>,
}

#[derive(Clone, Copy)]
pub(super) enum Source {
    Pending(usize),
    Timer(usize),
    Start,
    Time(Nanos),
}

impl UnderWay {
    /// Nothing, at the beginning of a run.
    pub(super) fn new(rules: Rules) -> UnderWay {
        UnderWay {
            rules,
            pending: Vec::new(),
            starts: Vec::new(),
            clock: 0,
            ahead: [0; MAX_NODES],
            counts: Counts::default(),
            born: None,
        }
    }

    /// A node's time.
    pub(super) fn time_of(&self, node: usize) -> Nanos {
        self.clock.max(self.ahead[node % MAX_NODES])
    }

    /// The message that a move is about.
    pub(super) fn message(&self, does: Move, world: &World) -> Option<u64> {
        let is_it = |one: &&Pending| match (does, one.kind) {
            (
                Move::Deliver(it) | Move::Drop(it) | Move::Copy(it) | Move::Hold(it),
                Kind::Under { from, to, nth },
            )
            | (Move::Late(it), Kind::Late { from, to, nth }) => it == ids(world, from, to, nth),
            _ => false,
        };
        match self.pending.iter().find(is_it)?.what {
            What::Frame { id, .. } => Some(id),
            _ => None,
        }
    }

    /// What is there, and is not any more.
    pub(super) fn take(&mut self, at: usize) -> What {
        self.pending.remove(at).what
    }

    /// A node stops: the how manieth time is counted.
    pub(super) fn stops(&mut self, node: usize) {
        self.counts.crashes[node] += 1;
    }

    /// A node comes back, in a time of its own.
    pub(super) fn comes_back(&mut self, node: usize) {
        self.starts.retain(|one| one.node != node);
        self.ahead[node] = self.time_of(node) + STARTS_IN;
    }

    /// Takes what is to happen.
    pub(super) fn put(&mut self, at: Nanos, sequence: u64, what: What, now: Nanos, n: usize) {
        let kind = match what {
            What::Frame { from, to, .. } => self.under(from, to, n),
            What::LinkDown { node, peer, .. } => self.under(peer, node, n),
            What::LinkUp { pair, generation } => {
                let (one, other) = (pair as usize / n, pair as usize % n);
                Kind::Link { one, other, nth: generation }
            }
            // A node's own time says when.
            What::Wake { .. } => return,
            What::Synced { node, turn } if self.rules.syncs => {
                Kind::Sync { node: node.into(), nth: turn as u32 }
            }
            What::Resume { .. } | What::LinkTimeout { .. } => Kind::Timed,
            What::Driver { token } => self.of_driver(token),
            What::Synced { .. }
            | What::Request { .. }
            | What::Reply { .. }
            | What::Piece { .. }
            | What::Heard { .. }
            | What::Closed { .. }
            | What::Gone { .. }
            | What::Backpressure { .. } => Kind::Urgent,
        };
        // By the nodes' time, which is the same in whatever order steps come.
        let at = if kind == Kind::Urgent { at } else { self.clock + at.saturating_sub(now) };
        let born = self.born;
        self.pending.push(Pending { kind, what, at, sequence, born });
    }

    fn under(&mut self, from: u16, to: u16, n: usize) -> Kind {
        let (from, to) = (usize::from(from), usize::from(to));
        debug_assert!(n <= MAX_NODES);
        let count = &mut self.counts.ways[from][to];
        *count += 1;
        Kind::Under { from, to, nth: *count }
    }

    fn of_driver(&mut self, token: u64) -> Kind {
        let (client, waits) = match Token::unpack(token) {
            Token::Think(client) => (client, false),
            Token::Rest(client) | Token::Timeout(client, _) => (client, true),
            _ => return Kind::Timed,
        };
        let counts = &mut self.counts.clients;
        counts.resize(counts.len().max(client as usize + 1), 0);
        let nth = &mut counts[client as usize];
        *nth += 1;
        Kind::Client { client, nth: *nth, waits }
    }

    /// Has a copy of a message held back.
    pub(super) fn put_late(&mut self, sequence: u64, what: What, nth: u32) {
        let What::Frame { from, to, .. } = what else { return };
        let kind = Kind::Late { from: from.into(), to: to.into(), nth };
        let (at, born) = (self.clock, self.born);
        self.pending.push(Pending { kind, what, at, sequence, born });
    }

    /// A node that stopped comes back.
    pub(super) fn put_start(&mut self, node: usize) {
        let (nth, at) = (self.counts.crashes[node], self.clock + self.rules.down);
        self.starts.push(Return { node, nth, at, born: self.born });
    }

    /// What happens before anything is chosen.
    pub(super) fn urgent(&self, world: &World) -> Option<usize> {
        let is_urgent = |one: &&(usize, &Pending)| match one.1.kind {
            Kind::Urgent => true,
            Kind::Timed => one.1.at <= self.clock,
            Kind::Under { .. } | Kind::Late { .. } | Kind::Link { .. } | Kind::Sync { .. } => {
                world.is_void(one.1.what)
            }
            Kind::Client { .. } => false,
        };
        let all: Vec<(usize, &Pending)> = self.pending.iter().enumerate().collect();
        let first = all.iter().filter(is_urgent).min_by_key(|(_, one)| (one.at, one.sequence));
        first.map(|(at, _)| *at)
    }

    /// What can be next.
    pub(super) fn ready(&mut self, world: &World, is_choosing: bool) -> Vec<Ready> {
        self.starts.retain(|one| world.nodes[one.node].host.is_none());
        let is_busy = |node: usize| world.nodes[node].syncing.is_some();
        let mut ready: Vec<Ready> = Vec::new();
        let mut due = Nanos::MAX;
        if self.clock < self.rules.from {
            due = self.rules.from;
        }
        for (place, one) in self.pending.iter().enumerate() {
            let source = Source::Pending(place);
            let mut add = |does, order| ready.push(Ready { does, order, source, born: one.born });
            match one.kind {
                Kind::Under { from, to, nth } => {
                    let is_behind = |other: &Pending| match other.kind {
                        Kind::Under { from: of, to: at, nth: before } => {
                            (of, at) == (from, to) && before < nth
                        }
                        _ => false,
                    };
                    if is_busy(to) || world.network.ordered && self.pending.iter().any(is_behind) {
                        continue;
                    }
                    add(Move::Deliver(ids(world, from, to, nth)), (0, 0, one.sequence));
                }
                Kind::Late { from, to, nth } => {
                    if !is_busy(to) {
                        add(Move::Late(ids(world, from, to, nth)), (1, 0, one.sequence));
                    }
                }
                Kind::Link { one: low, other, nth } => {
                    if !is_busy(low) && !is_busy(other) {
                        add(Move::Link(ids(world, low, other, nth)), (0, 0, one.sequence));
                    }
                }
                Kind::Sync { node, nth } => {
                    add(Move::Sync(Of { of: world.ids[node].0, nth }), (0, 0, one.sequence));
                }
                Kind::Client { client, nth, waits } => {
                    let at = one.at.max(if waits { 0 } else { self.rules.from });
                    let is_due = at <= self.clock;
                    due = due.min(if is_due { Nanos::MAX } else { at });
                    if is_due || !waits && is_choosing {
                        let class = if is_due { 3 } else { 4 };
                        add(Move::Client(Of { of: client, nth }), (class, at, 0));
                    }
                }
                Kind::Timed => due = due.min(one.at),
                Kind::Urgent => {}
            }
        }
        self.ready_nodes(world, due, &mut ready);
        ready
    }

    /// Timers, nodes that come back, and time, which passes when nothing else is under way.
    fn ready_nodes(&self, world: &World, mut due: Nanos, ready: &mut Vec<Ready>) {
        for (place, node) in world.nodes.iter().enumerate() {
            if node.host.is_none() || node.syncing.is_some() || node.wake_at == Nanos::MAX {
                continue;
            }
            let of = Of { of: node.id.0, nth: self.counts.timers[place] };
            if node.wake_at <= self.time_of(place) {
                let (source, order) = (Source::Timer(place), (2, node.wake_at, place as u64));
                ready.push(Ready { does: Move::Timer(of), order, source, born: None });
            } else {
                due = due.min(node.wake_at);
            }
        }
        let is_quiet = ready.iter().all(|one| one.order.0 >= 3);
        for Return { node, nth, at, born } in &self.starts {
            if *at > self.clock {
                due = due.min(*at);
                continue;
            }
            let does = Move::Start(Of { of: world.ids[*node].0, nth: *nth });
            let (order, source) = ((3, *at, 1), Source::Start);
            ready.push(Ready { does, order, source, born: *born });
        }
        let is_moot = ready.iter().any(|one| one.order.0 == 3);
        if is_quiet && !is_moot && due < Nanos::MAX {
            let (order, source) = ((4, due, 2), Source::Time(due));
            ready.push(Ready { does: Move::Time, order, source, born: None });
        }
    }

    /// The faults that can be next.
    pub(super) fn faults(
        &self,
        world: &World,
        ready: &[Ready],
        left: &Budget,
    ) -> Vec<(Move, Touched)> {
        let mut faults = Vec::new();
        for one in ready {
            let (Move::Deliver(way), Source::Pending(at)) = (one.does, one.source) else {
                continue;
            };
            let What::Frame { from, to, .. } = self.pending[at].what else { continue };
            let about = Touched::way(from.into(), to.into());
            faults.extend((left.drops > 0).then_some((Move::Drop(way), about)));
            faults.extend((left.duplicates > 0).then_some((Move::Copy(way), about)));
            faults.extend((left.delays > 0).then_some((Move::Hold(way), about)));
        }
        for Return { node, nth, at, .. } in &self.starts {
            if left.timeouts > 0 && *at > self.clock {
                let back = Move::Back(Of { of: world.ids[*node].0, nth: *nth });
                faults.push((back, Touched::node(*node)));
            }
        }
        for (place, node) in world.nodes.iter().enumerate().filter(|(_, node)| node.host.is_some())
        {
            let (of, about) = (node.id.0, Touched::node(place));
            let is_syncing = node.syncing.is_some();
            if left.timeouts > 0
                && !is_syncing
                && (self.time_of(place) + 1..Nanos::MAX).contains(&node.wake_at)
            {
                let early = Move::Early(Of { of, nth: self.counts.timers[place] });
                faults.push((early, about));
            }
            if left.crashes > 0 {
                let of = Of { of, nth: self.counts.crashes[place] };
                faults.push((Move::Crash(of), about));
                faults.extend(is_syncing.then_some((Move::CrashKept(of), about)));
            }
        }
        faults
    }

    /// A node's timers fire, in a time of its own if they are not due.
    pub(super) fn fire(&mut self, world: &World, node: usize) -> Next {
        self.ahead[node] = self.time_of(node).max(world.nodes[node].wake_at);
        self.counts.timers[node] += 1;
        Next::Timers(node)
    }

    /// Something becomes of the message of that way and number.
    pub(super) fn spoil(&mut self, does: Move, from: usize, to: usize, nth: u32) -> Next {
        let is_it = |one: &Pending| one.kind == Kind::Under { from, to, nth };
        let Some(at) = self.pending.iter().position(is_it) else { return Next::Passes };
        if let Move::Drop(_) = does {
            return Next::Loses(self.pending.remove(at).what);
        }
        let late = &mut self.counts.late[from][to];
        *late += 1;
        if let Move::Copy(_) = does {
            return Next::Copies(self.pending[at].what, *late);
        }
        self.pending[at].kind = Kind::Late { from, to, nth: *late };
        self.pending[at].born = self.born;
        Next::Holds(from, to)
    }
}

fn ids(world: &World, from: usize, to: usize, nth: u32) -> Way {
    Way { from: world.ids[from].0, to: world.ids[to].0, nth }
}

impl World {
    /// Whether nothing can come of it any more.
    fn is_void(&self, what: What) -> bool {
        let n = self.nodes.len();
        match what {
            What::Frame { from, to, generation, .. } => {
                let (pair, side) = pair(n, to.into(), from.into());
                let link = &self.links[pair];
                link.generation != generation || !link.up[side]
            }
            What::LinkDown { node, peer, generation } => {
                let (pair, side) = pair(n, node.into(), peer.into());
                let link = &self.links[pair];
                link.generation != generation || !link.up[side]
            }
            What::LinkUp { pair, generation } => {
                let (one, other) = (pair as usize / n, pair as usize % n);
                let is_down = |node: usize| self.nodes[node].host.is_none();
                self.links[pair as usize].generation != generation || is_down(one) || is_down(other)
            }
            What::Synced { node, turn } => {
                let sync = self.nodes[usize::from(node)].syncing.as_ref();
                sync.is_none_or(|sync| sync.turn != turn)
            }
            _ => false,
        }
    }
}
