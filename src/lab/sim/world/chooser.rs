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

use super::super::moves::{Budget, Choice, Move, Touched};
pub use super::under_way::Rules;
use super::under_way::{Next, Ready, Source, UnderWay};
use super::{Nanos, World};

/// How far the run's time moves with each step: so far that times in verdicts show it.
pub(super) const TICK: Nanos = 100_000;

/// A step that was taken, and what else could have been.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Taken {
    /// What it was.
    pub does: Move,
    /// What it would have been by itself.
    pub by_itself: Move,
    /// The message that it is about, as traces number it; none where it is about none.
    pub message: Option<u64>,
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
    pub(super) under_way: UnderWay,
    touched: Touched,
    seen: usize,
    /// What a crash finds on the disk.
    pub(super) fate: Option<bool>,
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
            under_way: UnderWay::new(rules),
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

    /// The run's time with the next step.
    pub(super) fn tick(&self, now: Nanos) -> Nanos {
        self.under_way.clock.max(now + TICK)
    }

    /// Something has to do with a node.
    pub(super) fn touch(&mut self, touched: Touched) {
        self.touched.add(touched);
    }

    /// What is next, and whether a step begins with it.
    pub(super) fn next(&mut self, world: &World) -> (Next, bool) {
        if let Some(at) = self.under_way.urgent(world) {
            return (Next::Happens(self.under_way.take(at)), false);
        }
        self.close(world);
        let begins =
            !self.is_choosing && self.end == End::Open && self.under_way.clock >= self.rules.from;
        self.is_choosing |= begins;
        if self.is_choosing && self.step >= self.rules.depth {
            (self.is_choosing, self.end) = (false, End::Deep);
        }
        let mut ready = self.under_way.ready(world, self.is_choosing);
        ready.sort_by_key(|one| one.order);
        let chosen = match self.is_choosing {
            true => self.choose(world, &ready),
            false => ready.first().map(|one| one.does),
        };
        let Some(does) = chosen else { return (Next::Nothing, true) };
        let source = ready.iter().find(|one| one.does == does).map(|one| one.source);
        (self.carry_out(does, source, world), true)
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

    /// What is chosen; none where all has been tried, or nothing can be.
    fn choose(&mut self, world: &World, ready: &[Ready]) -> Option<Move> {
        let by_itself = ready.first()?.does;
        let faults = self.under_way.faults(world, ready, &self.left);
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
            let (touched, message) = (Touched::default(), self.under_way.message(does, world));
            let taken = Taken { does, by_itself, message, touched, born, ready, faults, asleep };
            self.taken.push(taken);
        }
        self.under_way.born = Some(self.step);
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
                Next::Happens(self.under_way.take(at))
            }
            (Move::Late(_), Some(Source::Pending(at))) => Next::Late(self.under_way.take(at)),
            (Move::Timer(_), Some(Source::Timer(node))) => self.under_way.fire(world, node),
            (Move::Start(it) | Move::Back(it), _) => {
                let node = place(it.of);
                self.under_way.comes_back(node);
                Next::Starts(node)
            }
            (Move::Time, Some(Source::Time(at))) => {
                self.under_way.clock = at;
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
                Next::Happens(self.under_way.take(at))
            }
            (Move::Early(it), _) => self.under_way.fire(world, place(it.of)),
            (Move::Crash(it), _) | (Move::CrashKept(it), _) => {
                let node = place(it.of);
                self.under_way.stops(node);
                self.fate = Some(matches!(does, Move::CrashKept(_)));
                Next::Crashes(node)
            }
            (Move::Drop(it) | Move::Copy(it) | Move::Hold(it), _) => {
                let (from, to) = (place(it.from), place(it.to));
                self.touch(Touched::way(from, to));
                self.under_way.spoil(does, from, to, it.nth)
            }
            (_, _) => Next::Passes,
        }
    }
}

impl World {
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
