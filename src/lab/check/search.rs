//! The search for a linearization of one register. Works on numbers: which operations of which
//! history they are, and what to say when there is no order, is its caller's business.
//!
//! Wing, Gong: Testing and Verifying Concurrent Objects, JPDC 17, 1993: take an operation that no
//! other precedes, apply it, go on; go back where no operation fits. Lowe: Testing for
//! Linearizability, Concurrency and Computation 29(4), 2017: never search on from a set of taken
//! operations and a register value that were seen before.
//!
//! A state is kept small by what time allows. With the operations sorted by when they were sent,
//! those taken are all below a *horizon* but for a few *undone* ones, and each of these was under
//! way when the last one below the horizon was sent: there are no more of them than clients, and
//! writes without an answer. Only these and the operations that were sent before the first of them
//! was answered can come next.
//!
//! Three rules of registers leave little to search; none excludes the last linearization:
//! - A read of the present value goes first: it changes nothing, and only lets others follow.
//! - A write of a value that nobody is left to read goes first when the present value has no
//!   readers left either; without an answer it does not go at all.
//! - A value that has readers left and no other writer is not overwritten.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher};

/// A time after all others: no answer.
pub const NEVER: u64 = u64::MAX;

/// The value of a register that was never written.
pub const UNWRITTEN: u32 = 0;

/// An operation on the register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Whether it writes `value`, or has read it.
    pub is_write: bool,
    /// The value's number; [`UNWRITTEN`] is never written.
    pub value: u32,
    /// When it was sent.
    pub invoke_ns: u64,
    /// When it was answered: not before it was sent.
    pub return_ns: u64,
    /// A write that need not take place; it has no answer.
    pub is_optional: bool,
    /// The index of an earlier step that goes before this one, whatever the times say.
    pub after: Option<u32>,
}

/// What a search found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// A linearization.
    Order,
    /// That there is none.
    NoOrder,
    /// Neither, within its budget.
    Exhausted,
}

/// Searches for a linearization of `steps`, which are sorted by `invoke_ns`, with values below
/// `values`. Gives up after `max_states` different states. Also says how many it saw.
pub fn search(steps: &[Step], values: usize, max_states: usize) -> (Found, usize) {
    let mut search = Search::new(steps, values);
    if search.has_value_without_writer() {
        return (Found::NoOrder, 0);
    }
    let found = search.run(max_states);
    (found, search.seen.len())
}

struct Search<'a> {
    steps: &'a [Step],
    /// Of each value, how many reads and writes are not taken yet.
    readers: Vec<u32>,
    writers: Vec<u32>,
    /// How many steps that must be taken are not.
    missing: usize,
    /// All steps from here on are not taken.
    horizon: usize,
    /// The steps below the horizon that are not taken, in ascending order.
    undone: Vec<u32>,
    /// The register's value.
    value: u32,
    /// The steps taken, in order.
    taken: Vec<u32>,
    /// States from which the search need not go on again: horizon, undone.
    seen: HashSet<Box<[u32]>, BuildHasherDefault<DefaultHasher>>,
    /// The steps that can come next; scratch space of `settle` and `choices`.
    next: Vec<u32>,
}

/// A state to come back to.
struct Branch {
    value: u32,
    horizon: usize,
    undone: Vec<u32>,
    taken: usize,
    /// The writes that can come next, and how many of them were tried.
    choices: Vec<u32>,
    tried: usize,
}

impl<'a> Search<'a> {
    fn new(steps: &'a [Step], values: usize) -> Search<'a> {
        let (mut readers, mut writers) = (vec![0; values], vec![0; values]);
        for step in steps {
            let side = if step.is_write { &mut writers } else { &mut readers };
            side[step.value as usize] += 1;
        }
        Search {
            steps,
            readers,
            writers,
            missing: steps.iter().filter(|step| !step.is_optional).count(),
            horizon: 0,
            undone: Vec::new(),
            value: UNWRITTEN,
            taken: Vec::with_capacity(steps.len()),
            seen: HashSet::default(),
            next: Vec::new(),
        }
    }

    fn has_value_without_writer(&self) -> bool {
        let pairs = self.readers.iter().zip(&self.writers).skip(UNWRITTEN as usize + 1);
        pairs.into_iter().any(|(&readers, &writers)| readers > 0 && writers == 0)
    }

    fn run(&mut self, max_states: usize) -> Found {
        let mut branches: Vec<Branch> = Vec::new();
        loop {
            self.settle();
            if self.missing == 0 {
                return Found::Order;
            }
            if self.is_new() {
                if self.seen.len() > max_states {
                    return Found::Exhausted;
                }
                branches.push(self.branch());
            }
            loop {
                let Some(branch) = branches.last_mut() else { return Found::NoOrder };
                if let Some(&choice) = branch.choices.get(branch.tried) {
                    branch.tried += 1;
                    self.go_back(branch);
                    self.take(choice as usize);
                    break;
                }
                branches.pop();
            }
        }
    }

    /// Takes all steps whose turn it can be without excluding any linearization.
    fn settle(&mut self) {
        loop {
            self.find_next();
            let next = std::mem::take(&mut self.next);
            let before = self.taken.len();
            for &i in &next {
                let step = &self.steps[i as usize];
                let is_unread = self.readers[step.value as usize] == 0;
                if self.is_held_back(step) {
                    continue;
                }
                if !step.is_write {
                    if step.value == self.value {
                        self.take(i as usize);
                    }
                } else if step.is_optional && is_unread {
                    let value = self.value;
                    self.take(i as usize);
                    self.value = value;
                } else if is_unread && self.readers[self.value as usize] == 0 {
                    self.take(i as usize);
                }
            }
            self.next = next;
            if self.taken.len() == before {
                return;
            }
        }
    }

    /// The present state, with the writes that can come next. As `settle` found nothing more to
    /// take, `next` is up to date.
    fn branch(&self) -> Branch {
        let value = self.value as usize;
        let is_last_chance = self.readers[value] > 0 && self.writers[value] == 0;
        let can_follow = |&&i: &&u32| {
            let step = &self.steps[i as usize];
            step.is_write && !self.is_held_back(step)
        };
        let choices = if is_last_chance {
            Vec::new()
        } else {
            self.next.iter().filter(can_follow).copied().collect()
        };
        Branch {
            value: self.value,
            horizon: self.horizon,
            undone: self.undone.clone(),
            taken: self.taken.len(),
            choices,
            tried: 0,
        }
    }

    fn go_back(&mut self, branch: &Branch) {
        for i in self.taken.drain(branch.taken..) {
            let step = &self.steps[i as usize];
            let side = if step.is_write { &mut self.writers } else { &mut self.readers };
            side[step.value as usize] += 1;
            self.missing += usize::from(!step.is_optional);
        }
        self.value = branch.value;
        self.horizon = branch.horizon;
        self.undone.clone_from(&branch.undone);
    }

    fn take(&mut self, i: usize) {
        if i < self.horizon {
            if let Ok(place) = self.undone.binary_search(&(i as u32)) {
                self.undone.remove(place);
            }
        } else {
            self.undone.extend(self.horizon as u32..i as u32);
            self.horizon = i + 1;
        }
        let step = &self.steps[i];
        if step.is_write {
            self.value = step.value;
            self.writers[step.value as usize] -= 1;
        } else {
            self.readers[step.value as usize] -= 1;
        }
        self.missing -= usize::from(!step.is_optional);
        self.taken.push(i as u32);
    }

    /// Sets `next` to the steps that no other precedes in time: the undone ones, and those beyond
    /// the horizon that were sent before the first of all these was answered.
    fn find_next(&mut self) {
        self.next.clear();
        self.next.extend_from_slice(&self.undone);
        let ends = self.undone.iter().map(|&i| self.steps[i as usize].return_ns);
        let mut first_end = ends.min().unwrap_or(NEVER);
        for (i, step) in self.steps.iter().enumerate().skip(self.horizon) {
            if step.invoke_ns > first_end {
                break;
            }
            first_end = first_end.min(step.return_ns);
            self.next.push(i as u32);
        }
    }

    /// Whether the step that goes before this one is not taken yet.
    fn is_held_back(&self, step: &Step) -> bool {
        step.after.is_some_and(|before| {
            before as usize >= self.horizon || self.undone.binary_search(&before).is_ok()
        })
    }

    /// Remembers the present state; whether it was not known before. The register's value is no
    /// part of it: after `settle` the next step is a write, and whether one may follow depends on
    /// the steps taken alone, as a value that must not be overwritten has readers whatever the
    /// register holds.
    fn is_new(&mut self) -> bool {
        let mut key = Vec::with_capacity(1 + self.undone.len());
        key.push(self.horizon as u32);
        key.extend_from_slice(&self.undone);
        self.seen.insert(key.into_boxed_slice())
    }
}
