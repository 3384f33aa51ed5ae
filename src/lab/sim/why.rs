//! When a run was lost: from moments of it, the rest is drawn anew many times, and the share that
//! breaks the same property is a curve. Where it rises most, the failure became likely.
//!
//! Each continuation is a plan as any other: what has begun stays, a branch draws anew what the run
//! draws, and faults that begin later are those of another draw. Knows no protocol.

use super::branch::{Act, Branch};
use super::compare::traced;
use super::fault::Fault;
use super::plan::Plan;
use super::run::{Failure, run};
use super::scenario::Scenario;
use super::tracer::Tracer;
use super::world::Nanos;
use crate::registry::Registry;
use node_core::Rng;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

/// How much is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effort {
    /// At how many moments, two at least: spread evenly over the times at which something happens,
    /// from the beginning to where the failure shows.
    pub points: usize,
    /// At how many more, one after the other, each in the middle of where the curve rises most.
    pub closer: usize,
    /// How many continuations at each.
    pub runs: u32,
    /// How many at once.
    pub jobs: usize,
}

impl Default for Effort {
    fn default() -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Effort { points: 40, closer: 8, runs: 50, jobs }
    }
}

/// What continuations from a moment showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Point {
    /// The moment, in nanoseconds: all that happens then has happened.
    pub at_ns: Nanos,
    /// How many continuations there were.
    pub runs: u32,
    /// How many break the same property.
    pub failed: u32,
    /// How many break something else.
    pub others: u32,
}

impl Point {
    /// The share that breaks the same property, 0 to 1.
    pub fn share(&self) -> f64 {
        f64::from(self.failed) / f64::from(self.runs.max(1))
    }
}

/// The curve of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Why {
    /// The plan, its faults in the order of time, and with as many operations as the scenario has
    /// where that breaks the same.
    pub plan: Plan,
    /// What it breaks.
    pub failure: Failure,
    /// Its trace: lines of JSON.
    pub trace: String,
    /// In the order of time.
    pub points: Vec<Point>,
    /// Where it rises most; none where it never rises.
    pub step: Option<Step>,
}

/// A rise of the curve, from one point to the next.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Step {
    /// The point before it, by its place; the other is the next.
    pub from: usize,
    /// By how much the share rises, 0 to 1.
    pub rise: f64,
    /// The standard deviation of such a difference if the shares were equal: of two binomials with
    /// the share of both together.
    pub sigma: f64,
}

/// So many standard deviations a step has to be for chance not to explain it: it is the largest of
/// some fifty, each of which exceeds this by chance in one of 30,000.
const CLEAR: f64 = 4.0;

impl Step {
    /// Whether chance does not explain it.
    pub fn is_clear(&self) -> bool {
        self.rise > CLEAR * self.sigma
    }

    fn between(from: usize, one: &Point, other: &Point) -> Step {
        let runs = f64::from(one.runs + other.runs);
        // A share is not known to be 0 or 1 for all that nothing else was seen.
        let share = (f64::from(one.failed + other.failed) + 1.0) / (runs + 2.0);
        let each = 1.0 / f64::from(one.runs.max(1)) + 1.0 / f64::from(other.runs.max(1));
        let sigma = (share * (1.0 - share) * each).sqrt();
        Step { from, rise: other.share() - one.share(), sigma }
    }
}

/// The plan with all that comes after a moment drawn anew, which `by` names: a branch draws what
/// the run draws, and faults that begin later are those of another draw. `sent` is how many
/// messages the plan's run has at that moment: branches of later ones go, as messages are others.
pub fn drawn_anew(scenario: &Scenario, plan: &Plan, at_ns: Nanos, sent: u64, by: u64) -> Plan {
    let mut luck = Rng::stream(plan.seed, "plan/anew");
    luck.redraw(by);
    let is_later = |fault: &Fault| fault.at() > at_ns;
    let mut faults = plan.faults.clone();
    faults.retain(|fault| !is_later(fault));
    faults.extend(scenario.faults_anew(plan, luck.next_u64()).into_iter().filter(is_later));
    let mut branches = plan.branches.clone();
    branches.retain(|branch| match branch {
        Branch::Moment { at_ns: at, .. } => *at <= at_ns,
        Branch::Message { id, .. } => *id <= sent,
    });
    branches.push(Branch::Moment { at_ns, act: Some(Act::Reseed(by)) });
    Plan { faults, branches, ..plan.clone() }
}

/// A moment of the run at which something happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Moment {
    at_ns: Nanos,
    /// How many messages there are by then.
    sent: u64,
}

/// What of a line of a trace says when it is, and whether it is a new message.
#[derive(Deserialize)]
struct Seen<'a> {
    at: Nanos,
    kind: &'a str,
    id: Option<&'a str>,
}

/// The moments of a trace until the failure shows.
fn moments(trace: &str, end: Nanos) -> Vec<Moment> {
    let mut moments: Vec<Moment> = Vec::new();
    let mut sent = 0;
    for line in trace.lines() {
        let Ok(Seen { at, kind, id }) = serde_json::from_str(line) else { continue };
        if kind == "violation" || at > end {
            continue;
        }
        if matches!(kind, "send" | "duplicate") {
            sent = id.and_then(|id| id.parse().ok()).map_or(sent, |id: u64| sent.max(id));
        }
        match moments.last_mut() {
            Some(last) if last.at_ns >= at => last.sent = sent,
            _ => moments.push(Moment { at_ns: at, sent }),
        }
    }
    moments
}

/// Finds out when a run was lost. Shrinking leaves a run no more operations than its failure needs,
/// so that what goes otherwise has none left to fail by: with as many as the scenario has it is
/// looked at, if it breaks the same then. `progress` hears how many continuations are done, and of
/// how many at most; it may end it.
///
/// # Errors
/// The plan breaks nothing, or `progress` has ended it, in one line.
pub fn why(
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    plan: &Plan,
    effort: Effort,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Why, String> {
    let mut plan = plan.clone();
    // What has begun has its number still when what comes later is another.
    plan.faults.sort_by_key(|fault| fault.at_ms);
    let breaks = |plan: &Plan| {
        let (trace, outcome) = traced(scenario, registry, plan);
        outcome.failure.map(|failure| (trace, failure))
    };
    let (mut trace, mut failure) =
        breaks(&plan).ok_or("this run breaks nothing: name one that does")?;
    let (_, operations) = scenario.workload.as_ref().map_or((0, 0), |clients| clients.counts());
    if plan.operations < operations {
        let whole = Plan { operations, ..plan.clone() };
        if let Some(again) = breaks(&whole).filter(|again| again.1.property == failure.property) {
            plan = whole;
            (trace, failure) = again;
        }
    }
    let moments = moments(&trace, failure.at);
    let mut search = Search { scenario, registry, plan: &plan, failure: &failure, moments };
    let points = search.points(effort, progress)?;
    let step = steepest(&points);
    Ok(Why { step, points, trace, plan, failure })
}

/// The first of the steps that rise most.
fn steepest(points: &[Point]) -> Option<Step> {
    let steps = points.windows(2).enumerate();
    let steps = steps.map(|(from, two)| Step::between(from, &two[0], &two[1]));
    let steps = steps.filter(|step| step.rise > 0.0);
    steps.reduce(|best, step| if step.rise > best.rise { step } else { best })
}

struct Search<'a> {
    scenario: &'a Arc<Scenario>,
    registry: &'a Arc<Registry>,
    plan: &'a Plan,
    failure: &'a Failure,
    moments: Vec<Moment>,
}

type Progress<'a> = &'a mut dyn FnMut(usize, usize) -> ControlFlow<()>;

impl Search<'_> {
    fn points(&mut self, effort: Effort, progress: Progress<'_>) -> Result<Vec<Point>, String> {
        let last = self.moments.len().checked_sub(1).ok_or("nothing happens in this run")?;
        let asked = effort.points.max(2) - 1;
        let mut places: Vec<usize> = (0..=asked).map(|point| point * last / asked).collect();
        places.dedup();
        let all = (places.len() + effort.closer) * effort.runs as usize;
        let mut done = 0;
        let mut progress = |more: usize| {
            done += more;
            progress(done, all)
        };
        let mut points = self.ask(&places, effort, &mut progress)?;
        for _ in 0..effort.closer {
            let Some(Step { from, .. }) = steepest(&points) else { break };
            let middle = places[from].midpoint(places[from + 1]);
            if middle == places[from] {
                break;
            }
            places.insert(from + 1, middle);
            points.insert(from + 1, self.ask(&[middle], effort, &mut progress)?[0]);
        }
        Ok(points)
    }

    /// What continuations from moments show.
    fn ask(
        &self,
        places: &[usize],
        effort: Effort,
        progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Vec<Point>, String> {
        let fresh = |place: &usize| {
            let at_ns = self.moments[*place].at_ns;
            Point { at_ns, runs: 0, failed: 0, others: 0 }
        };
        let mut points: Vec<Point> = places.iter().map(fresh).collect();
        let runs = effort.runs.max(1) as usize;
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..effort.jobs.max(1) {
                let (sender, next, stop) = (sender.clone(), &next, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(place) = places.get(number / runs) else { return };
                        let broken = self.continued(*place, 1 + (number % runs) as u64);
                        if sender.send((number / runs, broken)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            for (place, broken) in receiver {
                let point = &mut points[place];
                point.runs += 1;
                let is_same = broken.as_ref().map(|property| *property == self.failure.property);
                point.failed += u32::from(is_same == Some(true));
                point.others += u32::from(is_same == Some(false));
                if progress(1).is_break() {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        });
        let whole = points.iter().all(|point| point.runs as usize == runs);
        if whole { Ok(points) } else { Err("it was ended before it was done".into()) }
    }

    /// What a continuation breaks.
    fn continued(&self, place: usize, by: u64) -> Option<String> {
        let Moment { at_ns, sent } = self.moments[place];
        let plan = drawn_anew(self.scenario, self.plan, at_ns, sent, by);
        let outcome = run(self.scenario, self.registry, &plan, Tracer::new());
        outcome.failure.map(|failure| failure.property)
    }
}

impl Why {
    /// The points around the step: the last moment at which the rest could well go otherwise, and
    /// the first at which it became likely to fail.
    pub fn bracket(&self) -> Option<(Point, Point)> {
        let from = self.step?.from;
        Some((*self.points.get(from)?, *self.points.get(from + 1)?))
    }

    /// The lines of the trace behind the first of these times, up to the second.
    pub fn lines_in(&self, from: Nanos, until: Nanos) -> Vec<&str> {
        let is_in = |line: &&str| {
            serde_json::from_str(line).is_ok_and(|Seen { at, kind, .. }: Seen<'_>| {
                at > from && at <= until && kind != "violation"
            })
        };
        self.trace.lines().filter(is_in).collect()
    }
}
