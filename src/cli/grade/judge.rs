//! One task of one submission: a worker is asked, watched, and what it answers becomes points. A
//! worker that is ended by others, or by the clock, is a reason and no crash.

use super::account::Account;
use super::assignment::{Assignment, Score, Seed, Task};
use super::exchange::{Answer, Failed, Measured, Order, PROGRAM, Program, Ran, Work};
use super::launch::{Bounds, Confines, End, Said, command, watch};
use super::points::Points;
use node_lab::hosted;
use node_lab::sim::plan::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// What came of a task.
#[derive(Clone, Debug)]
pub struct Result {
    /// Its points.
    pub earned: Points,
    /// How it went.
    pub status: Status,
    /// Why not all points, a line each; those of the hidden seeds name no seed.
    pub reasons: Vec<String>,
    /// What failed.
    pub failure: Option<Found>,
}

/// How a task went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// All points.
    Passed,
    /// Some.
    Partial,
    /// None.
    Failed,
    /// None, since it could not be decided in time.
    OutOfTime,
    /// Nobody knows: the grader could not.
    NotGraded,
}

impl Status {
    /// In results.
    pub fn word(self) -> &'static str {
        match self {
            Status::Passed => "passed",
            Status::Partial => "partial",
            Status::Failed => "failed",
            Status::OutOfTime => "out of time",
            Status::NotGraded => "not graded",
        }
    }
}

/// A failing seed.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which.
    pub seed: Seed,
    /// What broke.
    pub failed: Failed,
    /// The smallest plan found, and what breaks in it.
    pub small: Option<(Plan, Failed)>,
    /// That plan's faults, for people.
    pub faults: Vec<String>,
    /// Its trace.
    pub trace: Option<PathBuf>,
}

/// What is judged, and where.
pub struct Bench<'a> {
    /// The assignment.
    pub assignment: &'a Assignment,
    /// What runs.
    pub program: Program,
    /// Whose it is.
    pub account: &'a Account,
    /// A folder of the grader's, for the worker.
    pub place: &'a Path,
    /// Whether values of hidden seeds may be shown.
    pub reveal: bool,
}

/// A worker's answers, and how it ended.
struct Heard {
    answers: Vec<Answer>,
    end: End,
    complaint: String,
}

/// A task's nodes have so many processes of one user together at most: those of all nodes.
const MAX_NODES: u64 = 100;
/// How much of a worker's stderr is kept, and the longest line of it.
const TAIL: usize = 1_000;
const MAX_ANSWERS: usize = 64 << 20;
/// A worker's own files, traces above all, beside what a submission's may be.
const TRACE_MB: u64 = 512;

impl Result {
    /// One that nobody ran.
    pub fn of(status: Status, why: String) -> Result {
        Result { earned: Points::default(), status, reasons: vec![why], failure: None }
    }
}

impl Bench<'_> {
    /// Judges a task by these seeds.
    pub fn judge(&self, task: &Task, seeds: &[Seed]) -> Result {
        let until_failure = task.score != Score::Fraction;
        let values = seeds.iter().map(|seed| seed.value).collect();
        let work = Work::Seeds { seeds: values, until_failure, repeats: task.repeats };
        let heard = match self.ask(task, work) {
            Ok(heard) => heard,
            Err(why) => return Result::of(Status::NotGraded, why),
        };
        let Heard { answers, end, complaint } = heard;
        let mut runs = Vec::new();
        let mut is_done = false;
        for answer in answers {
            match answer {
                Answer::Ran(ran) => runs.push(ran),
                Answer::Cannot(why) => return Result::of(Status::NotGraded, why),
                Answer::Done => is_done = true,
                Answer::Explained { .. } | Answer::Gone => {}
            }
        }
        let next = seeds.get(runs.len()).map_or_else(String::new, |seed| seed.name(self.reveal));
        let ended = |status, why: String| Result::of(status, format!("{next}: {why}"));
        match end {
            End::OutOfTime => {
                let most = self.assignment.limits.wall_s;
                ended(
                    Status::OutOfTime,
                    format!("it could not be decided in time ({most} s, wall_s)"),
                )
            }
            End::Excess(what) => ended(Status::Failed, what),
            End::Killed(signal) => {
                ended(Status::Failed, format!("the submission ended its grader (signal {signal})"))
            }
            End::Exited(0) if is_done => self.score(task, seeds, &runs),
            End::Exited(code) => {
                let why = format!("the worker ended with {code} and no word: {complaint}");
                Result::of(Status::NotGraded, why)
            }
        }
    }

    fn score(&self, task: &Task, seeds: &[Seed], runs: &[Ran]) -> Result {
        let all = seeds.len() as u64;
        let fails = |ran: &&Ran| ran.failure.is_some();
        let held = runs.iter().filter(|ran| ran.failure.is_none()).count() as u64;
        let first = runs.iter().position(|ran| ran.failure.is_some());
        let undecided = runs.iter().zip(seeds).find(|(ran, _)| !ran.undecided.is_empty());
        if let (None, Some((ran, seed))) = (first, undecided) {
            let why = ran.undecided.join("; ");
            let why = format!("{}: nobody can decide it: {why}", seed.name(self.reveal));
            return Result::of(Status::NotGraded, why);
        }
        let mut reasons = Vec::new();
        if let Some((ran, seed)) = runs.iter().zip(seeds).find(|(ran, _)| fails(ran)) {
            reasons.extend(ran.failure.as_ref().map(|failed| self.reason(*seed, failed)));
        }
        let lacks = if held > 0 { no_evidence(runs) } else { Vec::new() };
        let has_evidence = lacks.is_empty();
        for (property, why) in lacks {
            reasons.push(format!("nothing that it did shows {property}: {why}"));
        }
        let base = match task.score {
            _ if !has_evidence => Points::default(),
            Score::All if first.is_some() => Points::default(),
            Score::All => task.points,
            Score::Fraction => task.points.part(held, all),
            Score::UntilFirstFailure => task.points.part(first.map_or(all, |at| at as u64), all),
        };
        if base != task.points && task.score != Score::All {
            reasons.push(format!("{held} of {all} seeds hold"));
        }
        let mut earned = base;
        for (place, limit) in task.limits.iter().enumerate() {
            let name = format!("{} at most {}", limit.measure, limit.at_most);
            match exceeded(runs, seeds, place) {
                _ if base != task.points => {
                    reasons.push(format!("{name}: only where every seed holds"));
                }
                None => earned = earned + limit.points,
                Some((seed, why)) => {
                    reasons.push(format!("{name}: {}: {why}", seed.name(self.reveal)));
                }
            }
        }
        let failure = first.and_then(|at| {
            let failed = runs[at].failure.clone()?;
            Some(Found { seed: seeds[at], failed, small: None, faults: Vec::new(), trace: None })
        });
        let is_of_time = failure.as_ref().is_some_and(|found| found.failed.is_of_time());
        let status = match earned {
            earned if earned == task.most() => Status::Passed,
            earned if !earned.is_none() => Status::Partial,
            _ if is_of_time => Status::OutOfTime,
            _ => Status::Failed,
        };
        Result { earned, status, reasons, failure }
    }

    /// Why a seed failed, as everybody may read it: what a program wrote in a run of a hidden seed
    /// may tell of that seed.
    fn reason(&self, seed: Seed, failed: &Failed) -> String {
        let Failed { property, why, at_ns } = failed;
        let open = seed.is_open(self.reveal);
        let why = if open { why.as_str() } else { "what it wrote is not shown" };
        let what = match property == PROGRAM {
            true if failed.is_of_time() => "it could not be decided in time:".to_string(),
            true => "the program ended the run:".to_string(),
            false => format!("{property} is violated at {} ms:", at_ns / 1_000_000),
        };
        format!("{}: {what} {why}", seed.name(self.reveal))
    }

    /// Makes a failure small and writes its trace.
    pub fn explain(&self, task: &Task, found: &mut Found, trace: &Path) {
        let seconds = self.assignment.limits.shrink_s;
        let (property, seed) = (found.failed.property.clone(), found.seed.value);
        let work = Work::Explain { seed, property, seconds, trace: trace.into() };
        let Ok(heard) = self.ask(task, work) else { return };
        for answer in heard.answers {
            if let Answer::Explained { plan, faults, failure } = answer {
                found.faults = faults;
                found.small = Some((plan, failure));
                found.trace = Some(trace.into());
            }
        }
    }

    /// Has a worker do something.
    fn ask(&self, task: &Task, work: Work) -> std::result::Result<Heard, String> {
        let limits = &self.assignment.limits;
        let told = |error: &dyn std::fmt::Display| format!("no worker: {error}");
        let order = Order {
            scenario: task.scenario.clone(),
            program: self.program.clone(),
            limits: hosted::Limits {
                memory_mb: limits.memory_mb,
                processes: limits.processes,
                output_mb: limits.output_mb,
                disk_mb: limits.disk_mb,
            },
            confines: Confines {
                user: None,
                processes: self.account.user.map(|_| limits.processes * MAX_NODES),
                file_mb: limits.disk_mb.max(TRACE_MB),
            },
            measures: task.limits.iter().map(|one| (one.measure.clone(), one.at_most)).collect(),
            work,
        };
        let order = serde_json::to_string(&order).map_err(|error| told(&error))?;
        // A file without a name that others could open: nobody has to feed a pipe.
        let mut input = tempfile::tempfile_in(self.place).map_err(|error| told(&error))?;
        use std::io::{Seek, Write};
        input.write_all(order.as_bytes()).map_err(|error| told(&error))?;
        input.rewind().map_err(|error| told(&error))?;
        let own = std::env::current_exe().map_err(|error| told(&error))?;
        let temp = self.place.join("run");
        if temp.exists() {
            fs::remove_dir_all(&temp).map_err(|error| told(&error))?;
        }
        fs::create_dir(&temp).map_err(|error| told(&error))?;
        let mut command = command(&own, self.account, &temp);
        command.args(["grade", "worker"]).stdin(Stdio::from(input));
        let bounds = Bounds {
            wall: Duration::from_secs(limits.wall_s),
            memory_mb: None,
            processes: None,
            output_mb: (MAX_ANSWERS >> 20) as u64,
            disk_mb: limits.disk_mb,
        };
        let (mut out, mut complaint) = (Vec::new(), Vec::new());
        let mut hear = |said: Said<'_>| match said {
            Said::Out(bytes) => out.extend_from_slice(bytes),
            Said::Err(bytes) if complaint.len() < TAIL => complaint.extend_from_slice(bytes),
            Said::Err(_) => {}
        };
        let end = watch(command, self.account, &bounds, &mut hear).map_err(|error| told(&error))?;
        let answers = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        // Of a worker that was ended the last line may be cut off.
        let answers = answers.filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let complaint = String::from_utf8_lossy(&complaint).trim().to_string();
        Ok(Heard { answers, end, complaint })
    }
}

/// The properties of which no run had evidence, and what the first lacks.
fn no_evidence(runs: &[Ran]) -> Vec<(String, String)> {
    let held: BTreeSet<&String> = runs.iter().flat_map(|ran| &ran.held).collect();
    let mut lacks: BTreeMap<String, String> = BTreeMap::new();
    for (property, why) in runs.iter().flat_map(|ran| &ran.lacks) {
        if !held.contains(property) {
            lacks.entry(property.clone()).or_insert_with(|| why.clone());
        }
    }
    lacks.into_iter().collect()
}

/// The first run in which a measure was too large, or that nothing could be measured in any.
fn exceeded(runs: &[Ran], seeds: &[Seed], place: usize) -> Option<(Seed, String)> {
    let all = runs.iter().zip(seeds);
    let of = |(ran, seed): (&Ran, &Seed)| Some((*seed, ran.measured.get(place)?.clone()));
    let all: Vec<(Seed, Measured)> = all.filter_map(of).collect();
    let too_large = all.iter().find_map(|(seed, one)| match one {
        Measured::Exceeded(why) => Some((*seed, why.clone())),
        Measured::Kept | Measured::Nothing(_) => None,
    });
    let is_kept = all.iter().any(|(_, one)| *one == Measured::Kept);
    too_large.or_else(|| match all.first() {
        Some((seed, Measured::Nothing(why))) if !is_kept => Some((*seed, why.clone())),
        _ => None,
    })
}
