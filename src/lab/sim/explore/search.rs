//! The search: which order is tried next, given the steps of those that were. Knows no world: what
//! runs is handed to it.
//!
//! Depth first, by running again from the start: a run goes by itself behind the steps that are
//! given to it. Two moves that touch nothing in common leave the same behind in either order, so of
//! two orders that differ only in such neighbours one is enough. Which others there are is read off
//! each run: where a step and a later one touch something in common, nothing between them makes the
//! one wait for the other, and the later could have come first, it is tried first too (dynamic
//! partial order reduction: Flanagan and Godefroid, POPL 2005; which first step of the later one's
//! past is enough: Abdulla, Aronsson, Jonsson and Sagonas, Optimal Dynamic Partial Order Reduction,
//! POPL 2014, source sets). What has been tried at a step sleeps behind the others until something
//! touches what it touches (sleep sets: Godefroid, Partial-Order Methods for the Verification of
//! Concurrent Systems, 1996).
//!
//! A fault that a run does not have is in no run to be read off. So wherever a step is tried, or
//! sleeps, the faults that touch what it touches are tried too, and first: the message lost instead
//! of taken, the node that stops before its next turn. How many faults there are is the same in all
//! orders of the same steps, so a bound on them hides no order (as a bound on the order itself
//! would: Coons, Musuvathi and McKinley, OOPSLA 2013). A bound on the number of steps does: a
//! search that meets it has exhausted nothing.

use crate::sim::moves::{Move, Touched};
use crate::sim::world::chooser::{End, Taken};

/// A set of steps, of which there are at most 128.
type Steps = u128;

/// What needs not to be tried, and what each touched when it was.
type Asleep = Vec<(Move, Touched)>;

/// Runs, in the order that is asked for.
pub trait Runs {
    /// Takes these steps, and goes by itself behind them, but for what sleeps at the last of them.
    /// Answers the steps from the last of these on.
    fn run(&mut self, first: &[Move], asleep: &[(Move, Touched)]) -> Ran;
}

/// What a run took.
#[derive(Debug)]
pub struct Ran {
    /// The steps from the last that was given on; all of them where none was.
    pub taken: Vec<Taken>,
    /// How choosing ended.
    pub end: End,
}

/// How much of a search is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// Nothing: every order has been tried.
    Nothing,
    /// More.
    More,
}

/// A search under way.
pub struct Search {
    stack: Vec<Frame>,
    /// Whether orders that differ in nothing are tried once.
    reduces: bool,
    has_begun: bool,
    /// Whether some run had as many steps as there may be.
    pub is_deep: bool,
    /// How many runs were given up, as all that they could do had been tried.
    pub given_up: u64,
}

/// A step of the last run, and what of it is to be tried.
struct Frame {
    taken: Taken,
    /// The steps without which this one would not be as it is.
    before: Steps,
    tried: Vec<(Move, Touched)>,
    /// Faults before all else: what they are instead of then sleeps with them.
    faults: Vec<Move>,
    to_try: Vec<Move>,
}

impl Frame {
    fn new(taken: Taken, before: Steps) -> Frame {
        let tried = vec![(taken.does, taken.touched)];
        Frame { taken, before, tried, faults: Vec::new(), to_try: Vec::new() }
    }

    fn is_known(&self, what: Move) -> bool {
        let asleep = self.taken.asleep.iter().chain(&self.tried);
        let waits = self.faults.contains(&what) || self.to_try.contains(&what);
        waits || asleep.into_iter().any(|(one, _)| *one == what)
    }

    fn try_too(&mut self, what: Move) {
        if !self.is_known(what) {
            let list = if what.is_fault() { &mut self.faults } else { &mut self.to_try };
            list.push(what);
        }
    }

    fn can(&self, what: Move) -> bool {
        let faults = || self.taken.faults.iter().map(|(fault, _)| fault);
        self.taken.ready.contains(&what) || faults().any(|fault| *fault == what)
    }
}

impl Search {
    /// Nothing is tried yet.
    pub fn new(reduces: bool) -> Search {
        Search { stack: Vec::new(), reduces, has_begun: false, is_deep: false, given_up: 0 }
    }

    /// Tries one order more.
    pub fn step(&mut self, runs: &mut dyn Runs) -> Left {
        let (first, asleep) = match self.next() {
            Some(next) => next,
            None if self.has_begun => return Left::Nothing,
            None => (Vec::new(), Vec::new()),
        };
        let ran = runs.run(&first, &asleep);
        self.is_deep |= ran.end == End::Deep;
        self.given_up += u64::from(ran.end == End::Asleep);
        self.take(first.len(), ran.taken);
        self.has_begun = true;
        Left::More
    }

    /// The steps to take next, and what sleeps at the last.
    fn next(&mut self) -> Option<(Vec<Move>, Asleep)> {
        while let Some(frame) = self.stack.last_mut() {
            let Some(does) = frame.faults.pop().or_else(|| frame.to_try.pop()) else {
                self.stack.pop();
                continue;
            };
            let mut asleep = frame.taken.asleep.clone();
            if self.reduces {
                asleep.extend(&frame.tried);
            }
            let mut first: Vec<Move> = self.stack.iter().map(|frame| frame.taken.does).collect();
            if let Some(last) = first.last_mut() {
                *last = does;
            }
            return Some((first, asleep));
        }
        None
    }

    /// Takes what a run took behind so many given steps.
    fn take(&mut self, given: usize, taken: Vec<Taken>) {
        let from = given.saturating_sub(1);
        let mut steps = taken.into_iter();
        // The last frame stays what it is, but for what was taken there now.
        if given > 0
            && let (Some(frame), Some(now)) = (self.stack.last_mut(), steps.next())
        {
            frame.tried.push((now.does, now.touched));
            let asleep = std::mem::take(&mut frame.taken.asleep);
            frame.taken = Taken { asleep, ..now };
        }
        self.stack.extend(steps.map(|taken| Frame::new(taken, 0)));
        for at in from..self.stack.len() {
            self.read_off(at);
        }
    }

    /// What a step says of what else is to be tried, there and before.
    fn read_off(&mut self, at: usize) {
        if !self.reduces {
            let frame = &mut self.stack[at];
            let faults = frame.taken.faults.iter().map(|(fault, _)| *fault);
            let all: Vec<Move> = frame.taken.ready.iter().copied().chain(faults).collect();
            all.into_iter().for_each(|what| frame.try_too(what));
            return;
        }
        self.faults_there(at);
        let mut before: Steps = 0;
        let (touched, born) = (self.stack[at].taken.touched, self.stack[at].taken.born);
        let mut races = Vec::new();
        for earlier in (0..at).rev() {
            let bit = 1 << earlier;
            let frame = &self.stack[earlier];
            if before & bit != 0 {
                continue;
            }
            let is_cause = born == Some(earlier as u32);
            let meets = frame.taken.touched.meets(touched);
            if is_cause || meets {
                before |= bit | frame.before;
            }
            if meets && !is_cause {
                races.push(earlier);
            }
        }
        self.stack[at].before = before;
        for earlier in races {
            self.turn_round(earlier, at);
        }
    }

    /// Wherever a step is tried, or sleeps, the faults that touch what it touches are tried.
    fn faults_there(&mut self, at: usize) {
        let frame = &mut self.stack[at];
        let mut touched = frame.taken.touched;
        frame.taken.asleep.iter().for_each(|(_, asleep)| touched.add(*asleep));
        let near = frame.taken.faults.iter().filter(|(_, home)| home.meets(touched));
        let near: Vec<Move> = near.map(|(fault, _)| *fault).collect();
        near.into_iter().for_each(|fault| frame.try_too(fault));
    }

    /// Has the later of two steps tried first, where it can be.
    fn turn_round(&mut self, earlier: usize, later: usize) {
        let bit: Steps = 1 << earlier;
        let mut apart: Steps = 1 << later;
        for between in earlier + 1..later {
            if self.stack[between].before & bit == 0 {
                apart |= 1 << between;
            }
        }
        let firsts = (earlier + 1..=later)
            .filter(|step| apart & 1 << step != 0 && self.stack[*step].before & apart == 0)
            .map(|step| self.stack[step].taken.does);
        let firsts: Vec<Move> = firsts.collect();
        let frame = &mut self.stack[earlier];
        if firsts.iter().any(|first| frame.is_known(*first)) {
            return;
        }
        if let Some(first) = firsts.iter().find(|first| frame.can(**first)) {
            frame.try_too(*first);
        }
    }
}
