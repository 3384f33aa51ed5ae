//! `node sim`: scenarios in virtual time, over many seeds, with verdicts, replay and shrinking.

pub(in crate::cli) mod progress;
mod repeat;
pub(in crate::cli) mod replay;
mod summary;

use self::progress::Progress;
use self::replay::Started;
use self::summary::{Asked, Summary, print, summarize};
use super::output::Output;
use super::page::PageArgs;
use super::tell;
use crate::client::escaped;
use clap::Args;
use node_lab::explain::{Source, merge};
use node_lab::hosted::Guest;
use node_lab::registry::Registry;
use node_lab::sim::compare::traced;
use node_lab::sim::plan::Plan;
use node_lab::sim::run::{Outcome, run};
use node_lab::sim::scenario::Scenario;
use node_lab::sim::tally::{Tally, Word};
use node_lab::sim::tracer::Tracer;
use node_lab::study::Run;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

/// Run a scenario in the simulator, with faults that a seed draws
///
/// The same protocols and configs as real nodes, in virtual time:
///
///   node sim kv-crash --seeds 1..1000
///   node sim kv-crash --seed 7 --trace run.jsonl
///   node explain run.jsonl -o run.html
///
/// --explain why.html draws the page of the failure at once, and --open shows it.
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
    /// What the program of --bin is started with
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
    /// Run each seed twice, and show the first event that differs; 1 when one does
    #[arg(long, conflicts_with_all = ["trace", "hashes", "json", "explain"])]
    check_determinism: bool,
    #[command(flatten)]
    page: PageArgs,
    /// Print the hash of every run's events
    #[arg(long)]
    hashes: bool,
    /// Print the verdict as one JSON object
    #[arg(long)]
    json: bool,
}

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
    let replay = args.replay.as_deref().map(replay::read).transpose()?;
    let path = replay.as_ref().map(|replay| replay.scenario.as_path());
    let path = path.or(args.scenario.as_deref()).ok_or("name a scenario")?;
    let given = args.bin.clone().map(|bin| Started { bin, args: args.arguments.clone() });
    let given = given.or_else(|| replay.as_ref()?.program.clone());
    let given = given.map(|Started { bin, args }| Guest { bin, args, ..Guest::default() });
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
    if args.check_determinism {
        let plans: Vec<Plan> = match replay {
            Some(replay) => vec![replay.plan],
            None => (first..=last).map(|seed| scenario.plan(seed)).collect(),
        };
        return differ(&scenario, &registry, &plans, out);
    }
    let started = Instant::now();
    let mut single_plan = None;
    let mut unwritten = Vec::new();
    let mut tally = Tally::new(&scenario.properties);
    let outcomes = if single {
        let plan = replay.map_or_else(|| scenario.plan(first), |replay| replay.plan);
        let plan = single_plan.insert(plan);
        let mut outcome = run_one(args, &scenario, &registry, plan, &mut unwritten)?;
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
    let asked =
        Asked { folder: &args.save, shrinks: !args.no_shrink, is_replay: args.replay.is_some() };
    let mut summary = summarize(asked, &scenario, &registry, outcomes, tally, started);
    summary.unwritten = unwritten;
    let drawn = draw(args, &scenario, &registry, &summary, single_plan.as_ref());
    summary.unwritten.extend(drawn.err());
    match args.json {
        true => {
            let object = serde_json::to_string(&summary).map_err(|error| error.to_string())?;
            out.say(format_args!("{object}"));
        }
        false => print(&summary, out),
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

/// Runs each twice. Answers 1 when one differs.
fn differ(
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    plans: &[Plan],
    out: &mut Output,
) -> Result<u8, String> {
    let mut differ = 0;
    for plan in plans {
        differ += u8::from(!repeat::check(scenario, registry, plan, out)?).min(1 - differ);
    }
    Ok(differ)
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

/// Writes the page that was asked for: of the first run that failed, or of the only one.
fn draw(
    args: &SimArgs,
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    summary: &Summary,
    single: Option<&Plan>,
) -> Result<(), String> {
    let Some(file) = &args.page.explain else { return Ok(()) };
    let failing = summary.first_failing();
    let Some(plan) = failing.or(single) else {
        // What was asked for is the page of a failure, and there is none.
        tell!("node sim: no run failed: {} is not written; --seed N draws one run", file.display());
        return Ok(());
    };
    let (text, _) = traced(scenario, registry, plan);
    let (name, seed) = (scenario.path.display(), plan.seed);
    let again = match summary.replay() {
        Some(command) => command.to_string(),
        None => format!("node sim {name} --seed {seed}"),
    };
    let command = format!("{again} --trace run.jsonl; node explain run.jsonl -o part.html");
    let sources = [Source { name: name.to_string(), text }];
    let mut merged = merge(&sources).map_err(|error| error.to_string())?;
    if single != Some(plan) || summary.replay().is_some() {
        merged.notes.push(format!("seed {seed}, made smaller as far as it fails; {again}"));
    }
    args.page.write(merged, &command)
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
        let mut progress = Progress::new("seeds", last - first + 1);
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

fn create(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|error| format!("{}: {error}", path.display()))
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
