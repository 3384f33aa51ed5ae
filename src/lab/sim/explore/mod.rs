//! Bounded exhaustive exploration: all orders in which what is under way can come, with at most so
//! many faults, of a small scenario; by running again for each (stateless model checking:
//! Godefroid, Model Checking for Programming Languages using VeriSoft, POPL 1997). Owns which
//! searches there are, and what they found. Knows neither the command line nor clocks.
//!
//! ```text
//!   [explore] ─ faults, fewest first ─► search ─ steps ─► chooser in the world ─► run
//!                                         ▲                                        │
//!                                         └── what each step touched ◄── verdicts ─┘
//! ```
//!
//! There is a search for each number of faults of each kind, those with the fewest first: so the
//! first run that breaks something has as few faults as any. Each counts the orders with exactly
//! its faults, so the counts are those of one processor however many there are.
//!
//! What is found says that no order within the bounds breaks a property. That orders which differ
//! only in neighbours that touch nothing in common are judged alike rests on what judges them:
//! clients' operations have one order, in which none is moved; and what a property reads of nodes
//! in the order of time is touched by every step that adds to it.

pub mod search;
#[cfg(test)]
mod tests;

use self::search::{Left, Ran, Runs, Search};
use super::compare::Lines;
use super::moves::{Budget, Choice, Move, Touched};
use super::plan::Plan;
use super::run::{Failure, Outcome, run_chosen};
use super::scenario::Scenario;
use super::scenario::explore::Explore;
use super::tally::Tally;
use super::tracer::Tracer;
use super::world::chooser::{Chooser, End, Taken};
use crate::registry::Registry;
use crate::trace::{Event, Line};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How searches are to be made.
pub struct Asked<'a> {
    /// What clients draw from; nothing else is drawn.
    pub seed: u64,
    /// How many searches at once.
    pub jobs: usize,
    /// Whether orders that differ in nothing are tried once. Without, every order is.
    pub reduces: bool,
    /// Hears of the run of every order that counts.
    pub hears: &'a (dyn Fn(&Outcome) + Sync),
    /// Whether to go on, with so many runs done.
    pub goes_on: &'a (dyn Fn(u64) -> bool + Sync),
}

/// What searches found.
#[derive(Debug)]
pub struct Explored {
    /// The bounds within which.
    pub explore: Explore,
    /// How many orders were tried.
    pub schedules: u64,
    /// How many runs that took: some are given up, or are tried once more with other faults beside.
    pub runs: u64,
    /// What they showed, property by property.
    pub tally: Tally,
    /// How the searches ended.
    pub ended: Ended,
    /// What broke first.
    pub found: Option<Found>,
}

/// How searches ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Every order within the bounds was tried.
    Exhausted,
    /// Something broke.
    Found,
    /// They were stopped.
    Stopped,
    /// Some order had more steps than `depth`: those that follow were not tried.
    Deep,
}

/// A run that breaks something, with as few faults as any, and no choice that it breaks without.
#[derive(Debug)]
pub struct Found {
    /// It.
    pub plan: Plan,
    /// How many steps were chosen in it.
    pub steps: usize,
    /// What it breaks.
    pub failure: Failure,
    /// What the messages say that its choices are about, by the choices' steps.
    pub says: BTreeMap<u32, String>,
}

/// Tries all orders.
///
/// # Errors
/// The scenario says nothing of exploring.
pub fn explore(
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    asked: &Asked<'_>,
) -> Result<Explored, String> {
    let Some(explore) = scenario.explore else {
        let path = scenario.path.display();
        return Err(format!("{path}: no table [explore]: see docs/exploring.md"));
    };
    let mut plan = scenario.plan(asked.seed);
    (plan.faults, plan.choices) = (Vec::new(), Some(Vec::new()));
    let budgets = budgets(explore.budget());
    let (next, runs, first_found) =
        (AtomicUsize::new(0), AtomicU64::new(0), AtomicUsize::new(usize::MAX));
    let all: Mutex<Vec<(usize, Part)>> = Mutex::new(Vec::new());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(budget) = budgets.get(number) else { return };
            let goes_on = || {
                let done = runs.fetch_add(1, Ordering::Relaxed);
                first_found.load(Ordering::Relaxed) > number && (asked.goes_on)(done)
            };
            let part = Part::search(scenario, registry, &plan, explore, *budget, asked, &goes_on);
            if part.found.is_some() {
                first_found.fetch_min(number, Ordering::Relaxed);
            }
            all.lock().unwrap_or_else(PoisonError::into_inner).push((number, part));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..asked.jobs.max(1) {
            scope.spawn(work);
        }
        work();
    });
    let mut parts = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    parts.sort_by_key(|(number, _)| *number);
    let mut explored = Explored {
        explore,
        schedules: 0,
        runs: runs.into_inner(),
        tally: Tally::new(&scenario.properties),
        ended: Ended::Exhausted,
        found: None,
    };
    for (_, part) in parts {
        explored.take(part);
        if let Some(found) = explored.found.take() {
            let found = smallest(scenario, registry, explore, found);
            explored.found = Some(told(scenario, registry, explore, found));
            break;
        }
    }
    Ok(explored)
}

impl Explored {
    fn take(&mut self, part: Part) {
        self.schedules += part.schedules;
        self.tally.merge(part.tally);
        let ended = match (&part.found, part.is_whole, part.is_deep) {
            (Some(_), _, _) => Ended::Found,
            (None, false, _) => Ended::Stopped,
            (None, true, true) => Ended::Deep,
            (None, true, false) => Ended::Exhausted,
        };
        if ended == Ended::Found || self.ended == Ended::Exhausted {
            self.ended = ended;
        }
        self.found = part.found;
    }
}

/// All numbers of faults up to these, the fewest first.
fn budgets(most: Budget) -> Vec<Budget> {
    let mut all = Vec::new();
    for drops in 0..=most.drops {
        for duplicates in 0..=most.duplicates {
            for delays in 0..=most.delays {
                for timeouts in 0..=most.timeouts {
                    let of = |crashes| Budget { drops, duplicates, delays, timeouts, crashes };
                    all.extend((0..=most.crashes).map(of));
                }
            }
        }
    }
    all.sort_by_key(|budget| (budget.total(), *budget));
    all
}

/// One search: the orders with exactly these faults.
struct Part {
    schedules: u64,
    tally: Tally,
    is_whole: bool,
    is_deep: bool,
    found: Option<Found>,
}

impl Part {
    fn search(
        scenario: &Arc<Scenario>,
        registry: &Arc<Registry>,
        plan: &Plan,
        explore: Explore,
        budget: Budget,
        asked: &Asked<'_>,
        goes_on: &dyn Fn() -> bool,
    ) -> Part {
        let tally = Tally::new(&scenario.properties);
        let (hears, schedules, found) = (asked.hears, 0, None);
        let mut runs =
            Orders { scenario, registry, plan, explore, budget, tally, schedules, found, hears };
        let mut search = Search::new(asked.reduces);
        let mut is_whole = false;
        while runs.found.is_none() && goes_on() {
            if search.step(&mut runs) == Left::Nothing {
                is_whole = true;
                break;
            }
        }
        let Orders { tally, schedules, found, .. } = runs;
        Part { schedules, tally, is_whole, is_deep: search.is_deep, found }
    }
}

/// Runs of a scenario in the orders that a search asks for.
struct Orders<'a> {
    scenario: &'a Arc<Scenario>,
    registry: &'a Arc<Registry>,
    plan: &'a Plan,
    explore: Explore,
    budget: Budget,
    tally: Tally,
    schedules: u64,
    found: Option<Found>,
    hears: &'a (dyn Fn(&Outcome) + Sync),
}

impl Runs for Orders<'_> {
    fn run(&mut self, first: &[Move], asleep: &[(Move, Touched)]) -> Ran {
        let wanted = (0..).zip(first).map(|(step, does)| Choice { step, does: *does }).collect();
        let keeps_from = first.len().saturating_sub(1);
        let rules = self.explore.rules(self.scenario.millis, self.budget);
        let chooser = Chooser::new(rules, wanted, keeps_from as u32, asleep.to_vec());
        let (mut outcome, taken, end) =
            chosen(self.scenario, self.registry, self.plan, chooser, Tracer::new());
        let steps = first.iter().take(keeps_from).copied().chain(taken.iter().map(|one| one.does));
        let steps: Vec<Move> = steps.collect();
        let mut left = self.budget;
        for does in &steps {
            if let Some(fault) = left.of(*does) {
                *fault = fault.saturating_sub(1);
            }
        }
        // With fewer faults it is another search's.
        if end != End::Asleep && left == Budget::default() {
            self.schedules += 1;
            (self.hears)(&outcome);
            if let Some(failure) = outcome.failure.clone() {
                let choices = (0..).zip(&steps).map(|(step, does)| Choice { step, does: *does });
                let plan = Plan { choices: Some(choices.collect()), ..self.plan.clone() };
                self.found =
                    Some(Found { plan, steps: steps.len(), failure, says: BTreeMap::new() });
            }
            self.tally.take(&mut outcome);
        }
        Ran { taken, end }
    }
}

fn chosen(
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    plan: &Plan,
    chooser: Chooser,
    tracer: Tracer,
) -> (Outcome, Vec<Taken>, End) {
    let chooser = Some(Box::new(chooser));
    let (outcome, chooser) = run_chosen(scenario, registry, plan, tracer, chooser);
    let (taken, end) = chooser.map(|chooser| chooser.into_taken()).unwrap_or_default();
    (outcome, taken, end)
}

/// The same violation with as few choices as are needed: only those that are not made by
/// themselves, and of these none without which it is violated too.
fn smallest(
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    explore: Explore,
    found: Found,
) -> Found {
    let rules = explore.rules(scenario.millis, explore.budget());
    let again = |plan: &Plan, wanted: Vec<Choice>| -> Option<Found> {
        let chooser = Chooser::new(rules, wanted, 0, Vec::new());
        let (outcome, taken, _) = chosen(scenario, registry, plan, chooser, Tracer::new());
        let failure = outcome.failure.filter(|one| one.property == found.failure.property)?;
        let by_choice = |(step, one): (u32, &Taken)| {
            (one.does != one.by_itself).then_some(Choice { step, does: one.does })
        };
        let choices = (0..).zip(&taken).filter_map(by_choice).collect();
        let plan = Plan { choices: Some(choices), ..plan.clone() };
        Some(Found { plan, steps: taken.len(), failure, says: BTreeMap::new() })
    };
    let all = found.plan.choices.clone().unwrap_or_default();
    let Some(mut best) = again(&found.plan, all) else { return found };
    let mut at = 0;
    loop {
        let choices = best.plan.choices.clone().unwrap_or_default();
        if at >= choices.len() {
            return best;
        }
        let mut fewer = choices.clone();
        fewer.remove(at);
        let smaller = again(&best.plan, fewer);
        let count = |found: &Found| found.plan.choices.as_ref().map_or(0, Vec::len);
        match smaller.filter(|smaller| count(smaller) < choices.len()) {
            Some(smaller) => (best, at) = (smaller, 0),
            None => at += 1,
        }
    }
}

/// What its choices' messages say, as its trace has them.
fn told(
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    explore: Explore,
    mut found: Found,
) -> Found {
    let rules = explore.rules(scenario.millis, explore.budget());
    let choices = found.plan.choices.clone().unwrap_or_default();
    let chooser = Chooser::new(rules, choices.clone(), 0, Vec::new());
    let lines = Lines::default();
    let tracer = Tracer::to(Box::new(lines.clone()));
    let (_, taken, _) = chosen(scenario, registry, &found.plan, chooser, tracer);
    let mut messages = BTreeMap::new();
    for line in lines.bytes().split(|byte| *byte == b'\n') {
        match serde_json::from_slice::<Line<'_>>(line).map(|line| line.event) {
            Ok(Event::Send { id, label, brief, .. }) => {
                messages.insert(id.to_string(), brief.unwrap_or(label).to_string());
            }
            Ok(Event::Duplicate { id, of }) => {
                let same = messages.get(&*of).cloned().unwrap_or_default();
                messages.insert(id.to_string(), same);
            }
            _ => {}
        }
    }
    for choice in choices {
        let message = taken.get(choice.step as usize).and_then(|one| one.message);
        let says = message.and_then(|id| messages.get(&id.to_string()));
        found.says.extend(says.map(|says| (choice.step, says.clone())));
    }
    found
}
