//! Scenarios in tests: many seeds in, a verdict on each property out, and the smallest run found
//! that breaks one. Knows neither the command line nor files other than the scenario's.
//!
//! ```no_run
//! # fn my_registry() -> node_lab::registry::Registry { node_lab::registry::Registry::new() }
//! use node_lab::sim::try_scenario;
//!
//! let report = try_scenario("configs/sim/calm.toml", my_registry(), 1..=200).expect("it loads");
//! assert!(report.is_as_promised(), "{report}");
//! ```

use super::plan::Plan;
use super::run::{Failure, Outcome, run};
use super::scenario::Scenario;
use super::shrink::{MAX_RUNS, MAX_SLOW_RUNS, shrink};
use super::tally::{Judged, Tally, Word};
use super::tracer::Tracer;
use crate::check::describe::Millis;
use crate::registry::Registry;
use crate::trace::{self, Testimony};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What the runs of a scenario showed. It prints itself as a test wants to say it.
#[derive(Debug)]
pub struct Report {
    /// The scenario's file.
    pub scenario: PathBuf,
    /// How many runs there were.
    pub runs: u64,
    /// The verdict on each property, in the scenario's order.
    pub properties: Vec<Judged>,
    /// What broke, by the lowest seed that shows it: properties, and `converges`, `invariant` and
    /// such.
    pub findings: Vec<Finding>,
    /// What is unknown, or was in some runs, a line each.
    pub lines: Vec<String>,
    violates: Option<&'static str>,
    verdict: Word,
}

/// Something that broke.
#[derive(Debug)]
pub struct Finding {
    /// The property, or what else a [`Failure`] names.
    pub property: String,
    /// Every seed that breaks it, in ascending order.
    pub seeds: Vec<u64>,
    /// The first of them with what does not matter left out.
    pub plan: Plan,
    /// Its faults, for people.
    pub faults: Vec<String>,
    /// What that run shows, in one line.
    pub why: String,
    /// When it shows, in nanoseconds from the run's beginning.
    pub at_ns: u64,
    /// What it rests on, in the order of telling.
    pub witnesses: Vec<Testimony<'static>>,
}

/// Runs a scenario, a file or one that a study brings by that name, with every seed of a range, and
/// shrinks the first failure of each property.
///
/// # Errors
/// What is wrong with the scenario or a config that it names, in one line.
pub fn try_scenario(
    path: impl AsRef<Path>,
    registry: impl Into<Arc<Registry>>,
    seeds: RangeInclusive<u64>,
) -> Result<Report, String> {
    let registry = registry.into();
    let scenario = Arc::new(Scenario::open(path.as_ref(), &registry)?);
    let (tally, failed) = run_all(&scenario, &registry, &seeds);
    let mut findings: Vec<Finding> = Vec::new();
    for (plan, failure) in failed {
        match findings.iter_mut().find(|one| one.property == failure.property) {
            Some(known) => known.seeds.push(plan.seed),
            None => {
                let seeds = vec![plan.seed];
                let (plan, failure) = smallest(&scenario, &registry, &plan, &failure);
                let Failure { property, why, at: at_ns, witnesses } = failure;
                let faults = plan.faults.iter().map(|fault| scenario.tell(fault)).collect();
                let found = Finding { property, seeds, plan, faults, why, at_ns, witnesses };
                findings.push(found);
            }
        }
    }
    Ok(Report {
        scenario: scenario.path.clone(),
        runs: (*seeds.end() + 1).saturating_sub(*seeds.start()),
        lines: tally.lines(),
        verdict: tally.verdict(),
        properties: tally.into_properties(),
        findings,
        violates: scenario.violates.map(|property| property.name),
    })
}

/// The smallest plan found that breaks the same property, and how that run breaks it.
pub fn smallest(
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    plan: &Plan,
    failure: &Failure,
) -> (Plan, Failure) {
    smallest_told(scenario, registry, plan, failure, &mut |_, _| {})
}

/// Likewise, and tells before each run how many there were, and how many there are at most.
pub fn smallest_told(
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    plan: &Plan,
    failure: &Failure,
    tell: &mut dyn FnMut(u32, u32),
) -> (Plan, Failure) {
    let mut found = failure.clone();
    let is_slow = scenario.hosted.is_some();
    let most = if is_slow { MAX_SLOW_RUNS } else { MAX_RUNS };
    let mut runs = 0;
    let mut fails = |plan: &Plan| {
        tell(runs, most);
        runs += 1;
        match run(scenario, registry, plan, Tracer::new()).failure {
            Some(again) if again.property == failure.property => {
                found = again;
                true
            }
            Some(_) | None => false,
        }
    };
    let (plan, _) = shrink(plan, most, &mut fails);
    (plan, found)
}

type Failed = Vec<(Plan, Failure)>;

/// Runs all seeds, as many at once as there are processors. Answers the plans that failed, by seed.
fn run_all(
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    seeds: &RangeInclusive<u64>,
) -> (Tally, Failed) {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicU64::new(*seeds.start());
    let all = Mutex::new((Tally::new(&scenario.properties), Failed::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let mut outcome: Outcome =
                        run(scenario, registry, &scenario.plan(seed), Tracer::new());
                    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                    all.0.take(&mut outcome);
                    if let Some(failure) = outcome.failure {
                        all.1.push((outcome.plan, failure));
                    }
                }
            });
        }
    });
    let (tally, mut failed) = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|(plan, _)| plan.seed);
    (tally, failed)
}

impl Report {
    /// Whether the runs show what the scenario says: every property held, except the one that it
    /// `violates`, which some seed broke; and nothing else went wrong.
    pub fn is_as_promised(&self) -> bool {
        let Some(shown) = self.violates else { return self.verdict == Word::Held };
        let is_shown = self.findings.iter().any(|one| one.property == shown);
        let only = self.findings.iter().all(|one| one.property == shown);
        let others = self.properties.iter().filter(|one| one.property != shown);
        is_shown && only && others.into_iter().all(|one| one.verdict == Word::Held)
    }

    /// What broke a property; none when nothing did.
    pub fn finding(&self, property: &str) -> Option<&Finding> {
        self.findings.iter().find(|one| one.property == property)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { scenario, runs, properties, findings, lines, .. } = self;
        writeln!(f, "{}: {runs} runs", scenario.display())?;
        for Judged { property, held, violated, no_evidence, .. } in properties {
            let counts = format!("held in {held}, violated in {violated}, no evidence in");
            writeln!(f, "{property}: {counts} {no_evidence}")?;
        }
        for Finding { property, seeds, plan, faults, why, at_ns, witnesses } in findings {
            let (seed, at, n) = (plan.seed, Millis(*at_ns), seeds.len());
            writeln!(f, "seed {seed} of {n}: {property} is violated at {at}: {why}")?;
            trace::lines(witnesses).try_for_each(|line| writeln!(f, "  {line}"))?;
            for fault in faults {
                writeln!(f, "  {fault}")?;
            }
        }
        if let Some(property) = self.violates.filter(|name| self.finding(name).is_none()) {
            writeln!(f, "none shows {property} violated, as the scenario is there to do")?;
        }
        lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
