//! Which of what can be next is next, where the order of a run is chosen instead of drawn. Without
//! a chooser the world's heap decides. Knows neither who wants which order, nor why.
//!
//! What can be next, in the order in which it is by itself: what is under way between nodes, of
//! each way the oldest; what was held back; timers that are due; and when nothing of that is left,
//! time passes until the next is due. A client's next operation comes when it is due, or any time
//! before. Faults are beside these, and only by choice.
//!
//! A step is one of these and all that follows from it at once: what clients ask reaches its node,
//! what they are told reaches them, and with no crash to come a sync takes no time. Time stands
//! still between nodes unless it passes for all, so two steps at different nodes leave the same
//! behind in either order; the run's own time moves by a tick a step, which gives operations their
//! order.

use super::super::moves::{Budget, Choice, MAX_NODES, Move, Of, Touched, Way};
use super::super::token::Token;
use super::network::pair;
use super::{Nanos, What, World};

/// How far the run's time moves with each step: so far that times in verdicts show it.
pub(super) const TICK: Nanos = 100_000;
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

/// A step that was taken, and what else could have been.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Taken {
    /// What it was.
    pub does: Move,
    /// What it would have been by itself.
    pub by_itself: Move,
    /// What it touched.
    pub touched: Touched,
    /// The step that made it possible; none for what was there when choosing began.
    pub born: Option<u32>,
    /// What could have been next, but for faults.
    pub ready: Vec<Move>,
    /// The faults that could have been next, and what each is about.
    pub faults: Vec<(Move, Touched)>,
    /// What needed not to be tried there, as it has been before something that touches nothing of
    /// it.
    pub asleep: Vec<(Move, Touched)>,
}

/// How choosing ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum End {
    /// It has not.
    #[default]
    Open,
    /// Its time was over.
    Whole,
    /// It had as many steps as there may be.
    Deep,
    /// All that could be next has been tried: the run was given up.
    Asleep,
    /// What was wanted could not be at that step.
    Misfit(u32),
}

/// Decides, and keeps what it decided among.
pub struct Chooser {
    rules: Rules,
    left: Budget,
    wanted: Vec<Choice>,
    asleep: Vec<(Move, Touched)>,
    /// From which step on steps are kept, and what sleeps matters.
    keeps_from: u32,
    taken: Vec<Taken>,
    step: u32,
    end: End,
    is_choosing: bool,
    pending: Vec<Pending>,
    starts: Vec<Return>,
    /// The time of all nodes, and how far some are ahead of it.
    clock: Nanos,
    ahead: [Nanos; MAX_NODES],
    counts: Counts,
    touched: Touched,
    seen: usize,
    /// What a crash finds on the disk.
    pub(super) fate: Option<bool>,
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
struct Ready {
    does: Move,
    order: (u8, Nanos, u64),
    source: Source,
    born: Option<u32>,
}

#[derive(Clone, Copy)]
enum Source {
    Pending(usize),
    Timer(usize),
    Start,
    Time(Nanos),
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

impl Chooser {
    /// One that goes by itself, but for what is wanted; keeps steps from `keeps_from` on, where
    /// what sleeps is not to be tried.
    pub fn new(
        rules: Rules,
        wanted: Vec<Choice>,
        keeps_from: u32,
        asleep: Vec<(Move, Touched)>,
    ) -> Chooser {
        Chooser {
            rules,
            left: rules.budget,
            wanted,
            asleep,
            keeps_from,
            taken: Vec::new(),
            step: 0,
            end: End::Open,
            is_choosing: false,
            pending: Vec::new(),
            starts: Vec::new(),
            clock: 0,
            ahead: [0; MAX_NODES],
            counts: Counts::default(),
            touched: Touched::default(),
            seen: 0,
            fate: None,
        }
    }

    /// The steps that were kept, and how choosing ended.
    pub fn into_taken(self) -> (Vec<Taken>, End) {
        (self.taken, self.end)
    }

    /// The step at which what was wanted could not be.
    pub fn misfit(&self) -> Option<u32> {
        match self.end {
            End::Misfit(step) => Some(step),
            // The run was over before it came to that.
            End::Open | End::Whole | End::Deep | End::Asleep => {
                self.wanted.iter().map(|one| one.step).find(|step| *step >= self.step)
            }
        }
    }

    /// Whether the run was given up.
    pub fn is_given_up(&self) -> bool {
        self.end == End::Asleep
    }

    /// A node's time.
    pub(super) fn time_of(&self, node: usize) -> Nanos {
        self.clock.max(self.ahead[node % MAX_NODES])
    }

    /// The run's time with the next step.
    pub(super) fn tick(&self, now: Nanos) -> Nanos {
        self.clock.max(now + TICK)
    }

    /// Something has to do with a node.
    pub(super) fn touch(&mut self, touched: Touched) {
        self.touched.add(touched);
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
        let born = self.born();
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

    /// The step of what comes about now.
    fn born(&self) -> Option<u32> {
        self.step.checked_sub(1)
    }

    /// Has a copy of a message held back.
    pub(super) fn put_late(&mut self, sequence: u64, what: What, nth: u32) {
        let What::Frame { from, to, .. } = what else { return };
        let kind = Kind::Late { from: from.into(), to: to.into(), nth };
        let (at, born) = (self.clock, self.born());
        self.pending.push(Pending { kind, what, at, sequence, born });
    }

    /// A node that stopped comes back.
    pub(super) fn put_start(&mut self, node: usize) {
        let (nth, at) = (self.counts.crashes[node], self.clock + self.rules.down);
        self.starts.push(Return { node, nth, at, born: self.born() });
    }

    /// What is next, and whether a step begins with it.
    pub(super) fn next(&mut self, world: &World) -> (Next, bool) {
        if let Some(at) = self.urgent(world) {
            return (Next::Happens(self.pending.remove(at).what), false);
        }
        self.close(world);
        let begins = !self.is_choosing && self.end == End::Open && self.clock >= self.rules.from;
        self.is_choosing |= begins;
        if self.is_choosing && self.step >= self.rules.depth {
            (self.is_choosing, self.end) = (false, End::Deep);
        }
        let mut ready = self.ready(world);
        ready.sort_by_key(|one| one.order);
        let chosen = match self.is_choosing {
            true => self.choose(world, &ready),
            false => ready.first().map(|one| one.does),
        };
        let Some(does) = chosen else { return (Next::Nothing, true) };
        let source = ready.iter().find(|one| one.does == does).map(|one| one.source);
        (self.carry_out(does, source, world), true)
    }

    /// What happens before anything is chosen.
    fn urgent(&self, world: &World) -> Option<usize> {
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

    /// The step before is over.
    pub(super) fn close(&mut self, world: &World) {
        let seen = world.seen_so_far();
        let is_seen = seen != self.seen || world.watch.is_asked() && self.touched.has_node();
        if is_seen {
            self.touched.add(Touched::SEEN);
        }
        self.seen = seen;
        let touched = std::mem::take(&mut self.touched);
        if self.step > self.keeps_from
            && let Some(last) = self.taken.last_mut().filter(|_| self.is_choosing)
        {
            last.touched.add(touched);
            let touched = last.touched;
            self.asleep.retain(|(_, one)| !one.meets(touched));
        }
    }

    /// What can be next.
    fn ready(&mut self, world: &World) -> Vec<Ready> {
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
                    if is_due || !waits && self.is_choosing {
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
    fn faults(&self, world: &World, ready: &[Ready]) -> Vec<(Move, Touched)> {
        let left = &self.left;
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

    /// What is chosen; none where all has been tried, or nothing can be.
    fn choose(&mut self, world: &World, ready: &[Ready]) -> Option<Move> {
        let by_itself = ready.first()?.does;
        let faults = self.faults(world, ready);
        let place = self.wanted.binary_search_by_key(&self.step, |one| one.step);
        let wanted = place.ok().map(|place| self.wanted[place].does);
        let is_there = |does: &Move| {
            let mut faults = faults.iter().map(|(fault, _)| fault);
            ready.iter().any(|one| one.does == *does) || faults.any(|fault| fault == does)
        };
        if wanted.is_some_and(|does| !is_there(&does)) && self.end == End::Open {
            self.end = End::Misfit(self.step);
        }
        let sleeps = |does: Move| {
            self.step > self.keeps_from && self.asleep.iter().any(|(one, _)| *one == does)
        };
        // Where all sleeps, what breaks it may not.
        let all = ready.iter().map(|one| one.does).chain(faults.iter().map(|(fault, _)| *fault));
        let awake = || all.clone().find(|does| !sleeps(*does));
        let Some(does) = wanted.filter(is_there).or_else(awake) else {
            (self.is_choosing, self.end) = (false, End::Asleep);
            return None;
        };
        if self.step >= self.keeps_from {
            let born = ready.iter().find(|one| one.does == does).and_then(|one| one.born);
            let (ready, asleep) = (ready.iter().map(|one| one.does).collect(), self.asleep.clone());
            let touched = Touched::default();
            self.taken.push(Taken { does, by_itself, touched, born, ready, faults, asleep });
        }
        self.step += 1;
        Some(does)
    }

    fn carry_out(&mut self, does: Move, source: Option<Source>, world: &World) -> Next {
        if let Some(left) = self.left.of(does) {
            *left = left.saturating_sub(1);
        }
        let place = |id: u32| world.ids.iter().position(|one| one.0 == id).unwrap_or_default();
        match (does, source) {
            (Move::Deliver(it), Some(Source::Pending(at))) => {
                self.touch(Touched::way(place(it.from), place(it.to)));
                Next::Happens(self.pending.remove(at).what)
            }
            (Move::Late(_), Some(Source::Pending(at))) => Next::Late(self.pending.remove(at).what),
            (Move::Timer(_), Some(Source::Timer(node))) => self.fire(world, node),
            (Move::Start(it) | Move::Back(it), _) => {
                let node = place(it.of);
                self.starts.retain(|one| one.node != node);
                self.ahead[node] = self.time_of(node) + STARTS_IN;
                Next::Starts(node)
            }
            (Move::Time, Some(Source::Time(at))) => {
                self.clock = at;
                self.touch(Touched::ALL);
                if self.is_choosing && at >= self.rules.until {
                    self.close(world);
                    self.is_choosing = false;
                    self.end = if self.end == End::Open { End::Whole } else { self.end };
                }
                Next::Passes
            }
            (_, Some(Source::Pending(at))) => {
                if let Move::Client(_) = does {
                    self.touch(Touched::CLIENTS);
                }
                Next::Happens(self.pending.remove(at).what)
            }
            (Move::Early(it), _) => self.fire(world, place(it.of)),
            (Move::Crash(it), _) | (Move::CrashKept(it), _) => {
                let node = place(it.of);
                self.counts.crashes[node] += 1;
                self.fate = Some(matches!(does, Move::CrashKept(_)));
                Next::Crashes(node)
            }
            (Move::Drop(it) | Move::Copy(it) | Move::Hold(it), _) => {
                self.spoil(does, place(it.from), place(it.to), it.nth)
            }
            (_, _) => Next::Passes,
        }
    }

    fn fire(&mut self, world: &World, node: usize) -> Next {
        self.ahead[node] = self.time_of(node).max(world.nodes[node].wake_at);
        self.counts.timers[node] += 1;
        Next::Timers(node)
    }

    /// Something becomes of the message of that way and number.
    fn spoil(&mut self, does: Move, from: usize, to: usize, nth: u32) -> Next {
        self.touch(Touched::way(from, to));
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
        self.pending[at].born = self.step.checked_sub(1);
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

    /// How much is kept of nodes in the order of time.
    fn seen_so_far(&self) -> usize {
        let seen = self.seen.as_ref().map_or(0, |seen| {
            seen.files.len()
                + seen.lines.len()
                + seen.facts.len()
                + seen.frames.len()
                + seen.links_lost.len()
        });
        seen + self.tracer.timeline_len()
    }
}
