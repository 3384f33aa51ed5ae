//! `node sim`: scenarios in virtual time, over many seeds, with verdicts, replay and shrinking.

use super::output::Output;
use super::tell;
use crate::client::escaped;
use clap::Args;
use node_lab::hosted::Hosting;
use node_lab::registry::Registry;
use node_lab::sim::plan::{self, Plan};
use node_lab::sim::run::{Failure, Outcome, run};
use node_lab::sim::scenario::Scenario;
use node_lab::sim::smallest;
use node_lab::sim::tally::{Judged, Tally, Word};
use node_lab::sim::tracer::Tracer;
use node_lab::study::Run;
use node_lab::text;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Run a scenario in the simulator, with faults that a seed draws
///
/// The same protocols and configs as real nodes, in virtual time:
///
///   node sim kv-crash --seeds 1..1000
///   node sim kv-crash --seed 7 --trace run.jsonl
///   node explain run.jsonl -o run.html
///
/// A seed gives the same run on every machine, byte for byte. Without --seed and --seeds it is
/// seed 1. The first seed that fails is shrunk (fewer faults, clients, operations) and saved as a
/// small file; the message names the seed, the property, where it shows first, and the command
/// that runs it again. Values in it are CLIENT-OPERATION: 2-6 is what client 2 PUT in its
/// operation 6.
///
/// Exit codes: 0 every property held, 1 one was violated in some run, 2 unknown, or could not run.
/// Unknown is a property that nothing in any of the runs could have broken, and what a checker gave
/// up; and everything, when the scenario names no property. What was asked for and could not be
/// written is 2 too; a violation is 1 whatever that was.
///
/// A scenario that is there to show a violation (`violates`) ends with 0 when some run shows it,
/// and over all runs every other property held; with 1 when not: then the last line says what it
/// lacks. One seed may be too few. A saved failure that runs again shows its violation, or not.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct SimArgs {
    /// The scenario: a file, or the name of one that comes with the binary (node scenarios)
    #[arg(value_name = "SCENARIO", required_unless_present = "replay")]
    scenario: Option<PathBuf>,
    /// One seed
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Seeds A to B, both included; N alone is N..N
    #[arg(long, value_name = "A..B", value_parser = parse_seeds)]
    seeds: Option<(u64, u64)>,
    /// How many runs at once [default: one for each processor]
    #[arg(long, value_name = "J")]
    jobs: Option<usize>,
    /// Run a failure again from the file that it was saved in
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "seeds", "scenario"])]
    replay: Option<PathBuf>,
    /// The program that the nodes of a scenario with [hosted] run, instead of the one that it names
    #[arg(long, value_name = "FILE")]
    bin: Option<PathBuf>,
    /// What that program is started with
    #[arg(last = true, value_name = "ARGUMENTS", requires = "bin")]
    arguments: Vec<String>,
    /// Write the events of the run, for node verify and node explain; with one seed or --replay
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// The folder for the file of the first failing seed
    #[arg(long, value_name = "DIR", default_value = "run/sim")]
    save: PathBuf,
    /// Do not shrink a failing seed
    #[arg(long)]
    no_shrink: bool,
    /// Print the hash of every run's events
    #[arg(long)]
    hashes: bool,
    /// Print the verdict as one JSON object
    #[arg(long)]
    json: bool,
}

/// A failing run's file.
#[derive(Serialize, Deserialize)]
struct Replay {
    /// The scenario's file, relative to the working directory, or its name.
    scenario: PathBuf,
    /// What it violates.
    property: String,
    /// The program that its nodes are, if they are programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    program: Option<Started>,
    #[serde(flatten)]
    plan: Plan,
}

/// A program, and what it is started with.
#[derive(Clone, Serialize, Deserialize)]
struct Started {
    bin: PathBuf,
    #[serde(default)]
    args: Vec<String>,
}

/// The verdict on all runs.
#[derive(Serialize)]
struct Summary {
    scenario: String,
    verdict: Word,
    /// The property that the scenario is there to show violated.
    #[serde(skip_serializing_if = "Option::is_none")]
    violates: Option<&'static str>,
    runs: u64,
    failed: u64,
    /// How many of them violate that property.
    shown: u64,
    /// Whether that is what the runs show, and nothing else: then all is as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_shown: Option<bool>,
    unknown: u64,
    properties: Vec<Judged>,
    /// What is unknown, or was in some runs, for people.
    #[serde(skip)]
    lines: Vec<String>,
    events: u64,
    deliveries: u64,
    virtual_seconds: f64,
    real_seconds: f64,
    /// The first starts that nodes refused, because of what was on their disks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<String>,
    failures: Vec<Report>,
    /// Files that were asked for and are not whole, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unwritten: Vec<String>,
}

#[derive(Serialize)]
struct Report {
    seed: u64,
    property: String,
    why: String,
    at_ms: f64,
    /// The command that runs it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<String>,
    /// Why the command is not that of a shrunk run: its file could not be saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    unsaved: Option<String>,
    faults: Vec<String>,
}

/// So many failing seeds are told one by one; all are counted.
const MAX_REPORTS: usize = 5;

/// What is kept of each run lies in memory until the end.
const MAX_SEEDS: u64 = 10_000_000;

fn parse_seeds(text: &str) -> Result<(u64, u64), String> {
    // One alone is from itself to itself.
    let parts = text.split_once("..").unwrap_or((text, text));
    let number = |text: &str| text.trim_start_matches('=').parse::<u64>();
    match (number(parts.0), number(parts.1)) {
        (Ok(first), Ok(last)) if first <= last && last - first < MAX_SEEDS && last < u64::MAX => {
            Ok((first, last))
        }
        (Ok(first), Ok(last)) if first <= last => {
            Err(format!("at most {MAX_SEEDS} seeds at once, and none is 2^64-1"))
        }
        _ => Err("write A..B with A not above B, for example 1..1000, or one seed".into()),
    }
}

/// Runs it.
pub fn main(args: &SimArgs, registry: Registry) -> ExitCode {
    // A failed assertion of a run is told as its verdict.
    std::panic::set_hook(Box::new(|_| {}));
    let mut out = Output::default();
    let code = simulate(args, registry, &mut out).unwrap_or_else(|why| {
        tell!("node sim: {}", escaped(why.as_bytes()));
        2
    });
    ExitCode::from(out.end("node sim", code, 2))
}

/// Answers the exit code.
fn simulate(args: &SimArgs, registry: Registry, out: &mut Output) -> Result<u8, String> {
    let registry = Arc::new(registry);
    let replay = args.replay.as_deref().map(read_replay).transpose()?;
    let path = replay.as_ref().map(|replay| replay.scenario.as_path());
    let path = path.or(args.scenario.as_deref()).ok_or("name a scenario")?;
    let given = args.bin.clone().map(|bin| Started { bin, args: args.arguments.clone() });
    let given = given.or_else(|| replay.as_ref()?.program.clone());
    let given = given.map(|Started { bin, args }| Hosting { bin, args, ..Hosting::default() });
    let scenario = Arc::new(Scenario::open_hosted(path, &registry, given.as_ref())?);
    if let Some(replay) = &replay {
        let name = args.replay.as_deref().unwrap_or(path).display();
        scenario.check(&replay.plan).map_err(|why| format!("{name}: {why}"))?;
    }
    let (first, last) = args.seeds.unwrap_or_else(|| {
        let seed = args.seed.unwrap_or(1);
        (seed, seed)
    });
    let single = replay.is_some() || first == last;
    if !single && args.trace.is_some() {
        return Err("--trace is for one run: give --seed N".into());
    }
    let started = Instant::now();
    let mut unwritten = Vec::new();
    let mut tally = Tally::new(&scenario.properties);
    let outcomes = if single {
        let plan = replay.map_or_else(|| scenario.plan(first), |replay| replay.plan);
        let mut outcome = run_one(args, &scenario, &registry, &plan, &mut unwritten)?;
        tally.take(&mut outcome);
        vec![outcome]
    } else {
        run_many(args, &scenario, &registry, (first, last), &mut tally)
    };
    if args.hashes {
        for outcome in &outcomes {
            out.say(format_args!("{} {:016x}", outcome.plan.seed, outcome.hash));
        }
    }
    let mut summary = summarize(args, &scenario, &registry, outcomes, tally, started);
    summary.unwritten = unwritten;
    if args.json {
        let object = serde_json::to_string(&summary).map_err(|error| error.to_string())?;
        out.say(format_args!("{object}"));
    } else {
        print(&summary, out);
    }
    for why in &summary.unwritten {
        tell!("node sim: {why}");
    }
    let written = summary.unwritten.is_empty();
    Ok(match (summary.is_shown, summary.verdict) {
        (Some(true), _) | (None, Word::Held) if written => 0,
        (Some(false), _) | (None, Word::Violated) => 1,
        (Some(true), _) | (None, Word::Held | Word::Unknown) => 2,
    })
}

/// Runs one, and writes the files that were asked for. A file that cannot be made ends it before
/// it begins; one that cannot be written on is told beside the verdict.
fn run_one(
    args: &SimArgs,
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    plan: &Plan,
    unwritten: &mut Vec<String>,
) -> Result<Outcome, String> {
    let tracer = match &args.trace {
        Some(path) => Tracer::to(Box::new(BufWriter::new(create(path)?))),
        None => Tracer::new(),
    };
    let outcome = run(scenario, registry, plan, tracer);
    if let Some((why, path)) = outcome.trace_error.as_ref().zip(args.trace.as_ref()) {
        unwritten.push(format!("{}: the trace is not whole: {why}", path.display()));
    }
    Ok(outcome)
}

/// What is kept of one run among many.
type Kept = Outcome;

fn run_many(
    args: &SimArgs,
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    (first, last): (u64, u64),
    tally: &mut Tally,
) -> Vec<Kept> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = args.jobs.unwrap_or(processors).max(1);
    let next = AtomicU64::new(first);
    let stop = AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel::<Outcome>();
    let mut outcomes = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > last {
                        return;
                    }
                    let plan = scenario.plan(seed);
                    let mut outcome = run(scenario, registry, &plan, Tracer::new());
                    if outcome.failure.is_none() {
                        // Only failing runs are looked at again.
                        outcome.run = Run::default();
                        outcome.plan.faults = Vec::new();
                    }
                    if sender.send(outcome).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut progress = Progress::new(last - first + 1);
        for mut outcome in receiver {
            tally.take(&mut outcome);
            progress.one(outcome.failure.is_some());
            outcomes.push(outcome);
        }
        progress.end();
    });
    outcomes.sort_by_key(|outcome| outcome.plan.seed);
    outcomes
}

fn summarize(
    args: &SimArgs,
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    outcomes: Vec<Outcome>,
    tally: Tally,
    started: Instant,
) -> Summary {
    let mut summary = Summary {
        scenario: scenario.path.display().to_string(),
        verdict: tally.verdict(),
        violates: scenario.violates.map(|property| property.name),
        runs: outcomes.len() as u64,
        failed: 0,
        shown: 0,
        is_shown: None,
        unknown: 0,
        lines: tally.lines(),
        properties: tally.into_properties(),
        events: 0,
        deliveries: 0,
        virtual_seconds: 0.0,
        real_seconds: started.elapsed().as_secs_f64(),
        refused: Vec::new(),
        failures: Vec::new(),
        unwritten: Vec::new(),
    };
    for outcome in outcomes {
        summary.events += outcome.events;
        summary.deliveries += outcome.deliveries;
        summary.virtual_seconds += outcome.virtual_ns as f64 / 1e9;
        summary.unknown += u64::from(!outcome.unknown.is_empty());
        let seed = outcome.plan.seed;
        let refused = outcome.refused.iter().map(|start| format!("seed {seed}: {start}"));
        summary.refused.extend(refused.take(MAX_REPORTS - summary.refused.len()));
        let Some(failure) = &outcome.failure else { continue };
        summary.failed += 1;
        summary.shown += u64::from(Some(failure.property.as_str()) == summary.violates);
        if summary.failures.len() < MAX_REPORTS {
            let first = summary.failures.is_empty();
            summary.failures.push(report(args, scenario, registry, &outcome, failure, first));
        }
    }
    summary.is_shown = summary.violates.map(|_| summary.shows(args.replay.is_some()));
    summary
}

impl Summary {
    /// Whether runs show the violation that the scenario is there to show, and nothing else broken
    /// or unknown. One that was shrunk to that violation has evidence of little else.
    fn shows(&self, is_replay: bool) -> bool {
        let is_as_meant =
            |one: &Judged| self.violates == Some(one.property) || one.verdict == Word::Held;
        self.shown > 0
            && self.shown == self.failed
            && (is_replay || self.unknown == 0 && self.properties.iter().all(is_as_meant))
    }

    /// What came of the runs, in a few words.
    fn outcome(&self) -> String {
        let others = self.properties.iter().filter(|one| self.violates != Some(one.property));
        let unknown = others.filter(|one| one.verdict == Word::Unknown).count();
        let other = if self.violates.is_some() { "other " } else { "" };
        let rest = match (self.failed - self.shown, unknown) {
            (0, 0) if self.unknown > 0 => format!("{} runs undecided", self.unknown),
            (0, 0) if self.properties.is_empty() => "unknown".to_string(),
            (0, 0) if self.violates.is_some() && self.properties.len() == 1 => {
                "no other property is judged".to_string()
            }
            (0, 0) => format!("every {other}property held"),
            (0, unknown) => {
                format!("{unknown} of {} properties unknown", self.properties.len())
            }
            (failed, _) if self.violates.is_some() => format!("{failed} violate something else"),
            (failed, _) => format!("{failed} violated"),
        };
        let runs = if self.runs == 1 { "1 run".into() } else { format!("{} runs", self.runs) };
        match (self.violates, self.is_shown, self.shown) {
            (Some(property), Some(true), shown) => format!(
                "shows what it is there to show: {property} violated in {shown} of {runs}; {rest}"
            ),
            (Some(property), _, 0) => format!(
                "does not show what it is there to show: {property} violated in none of {runs}; \
                 {rest}; try more seeds"
            ),
            (Some(property), _, shown) => format!(
                "does not show alone what it is there to show: {property} violated in {shown} of \
                 {runs}; {rest}"
            ),
            (None, ..) => format!("{runs}, {rest}"),
        }
    }
}

/// Tells one failing run; the first is shrunk and saved. If it cannot be saved, it is told all the
/// same, with the command that finds it again.
fn report(
    args: &SimArgs,
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    outcome: &Outcome,
    failure: &Failure,
    first: bool,
) -> Report {
    let (mut plan, mut failure) = (outcome.plan.clone(), failure.clone());
    let (mut replay, mut unsaved) = (None, None);
    if first && !args.no_shrink && args.replay.is_none() {
        (plan, failure) = smallest(scenario, registry, &plan, &failure);
        let property = &failure.property;
        replay = Some(match save(args, scenario, &plan, property) {
            Ok(path) => format!("node sim --replay {}", path.display()),
            Err(why) => {
                unsaved = Some(why);
                let (path, seed) = (scenario.path.display(), plan.seed);
                format!("node sim {path} --seeds {seed}..{seed}")
            }
        });
    }
    Report {
        seed: plan.seed,
        property: failure.property,
        why: failure.why,
        at_ms: failure.at as f64 / 1e6,
        replay,
        unsaved,
        faults: plan.faults.iter().map(ToString::to_string).collect(),
    }
}

fn save(
    args: &SimArgs,
    scenario: &Scenario,
    plan: &Plan,
    property: &str,
) -> Result<PathBuf, String> {
    let stem = scenario.path.file_stem().unwrap_or_default().to_string_lossy();
    let path = args.save.join(format!("{stem}-{}.toml", plan.seed));
    let program = scenario.hosted.as_ref().map(|hosted| &hosted.hosting);
    let program =
        program.map(|Hosting { bin, args, .. }| Started { bin: bin.clone(), args: args.clone() });
    let replay = Replay {
        scenario: scenario.path.clone(),
        property: property.into(),
        program,
        plan: plan.clone(),
    };
    let text = toml::to_string(&replay).map_err(|error| error.to_string())?;
    let told = |error: io::Error| {
        format!("cannot save {}: {error}; name another folder with --save", path.display())
    };
    std::fs::create_dir_all(&args.save).map_err(told)?;
    std::fs::write(&path, text).map_err(|error| {
        // Half a plan is none.
        let _ = std::fs::remove_file(&path);
        told(error)
    })?;
    Ok(path)
}

fn read_replay(path: &Path) -> Result<Replay, String> {
    let text = text::read(path).map_err(|error| error.of(path))?;
    plan::parse(path, &text)
}

fn create(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn print(summary: &Summary, out: &mut Output) {
    for Report { seed, property, why, at_ms, replay, unsaved, faults } in &summary.failures {
        out.say(format_args!("seed {seed}: {property} is violated at {at_ms:.3} ms: {why}"));
        for fault in faults {
            out.say(format_args!("  {fault}"));
        }
        if let Some(why) = unsaved {
            out.say(format_args!("  not saved: {why}"));
        }
        if let Some(replay) = replay {
            out.say(format_args!("  again: {replay}"));
        }
    }
    for start in &summary.refused {
        out.say(format_args!("{start}: it does not start until that is put right"));
    }
    let more = summary.failed - summary.failures.len() as u64;
    if more > 0 {
        out.say(format_args!("and {more} seeds more"));
    }
    for line in &summary.lines {
        out.say(format_args!("{line}"));
    }
    let real = summary.real_seconds.max(1e-9);
    out.say(format_args!(
        "{}: {}; {:.0} s simulated in {:.1} s ({:.0} times real time), {} messages",
        summary.scenario,
        summary.outcome(),
        summary.virtual_seconds,
        summary.real_seconds,
        summary.virtual_seconds / real,
        summary.deliveries,
    ));
}

/// A line on a terminal that tells how far it is.
struct Progress {
    all: u64,
    done: u64,
    failed: u64,
    started: Instant,
    shown: Instant,
    on: bool,
}

impl Progress {
    fn new(all: u64) -> Progress {
        let now = Instant::now();
        let on = std::io::stderr().is_terminal();
        Progress { all, done: 0, failed: 0, started: now, shown: now, on }
    }

    fn one(&mut self, failed: bool) {
        self.done += 1;
        self.failed += u64::from(failed);
        if self.on && self.shown.elapsed() >= Duration::from_millis(100) {
            self.shown = Instant::now();
            let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
            let (full, rate) = ((30 * self.done / self.all) as usize, self.done as f64 / seconds);
            let _ = write!(
                io::stderr(),
                "\r[{}{}] {}/{} seeds, {rate:.0}/s, {} failed ({:.2}/s) ",
                "#".repeat(full),
                ".".repeat(30 - full),
                self.done,
                self.all,
                self.failed,
                self.failed as f64 / seconds,
            );
        }
    }

    fn end(&self) {
        if self.on {
            let _ = write!(io::stderr(), "\r{:90}\r", "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_or_one() {
        assert_eq!(parse_seeds("1..1000"), Ok((1, 1_000)));
        assert_eq!(parse_seeds("3"), Ok((3, 3)));
        for wrong in ["", "x", "..", "3..", "4..3", "1..18446744073709551615"] {
            assert!(parse_seeds(wrong).is_err(), "{wrong}");
        }
    }
}
