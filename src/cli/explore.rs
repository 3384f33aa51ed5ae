//! `node explore`: all orders of a small scenario within bounds, what was tried, and the smallest
//! run that breaks something. Knows no protocol.

use super::output::Output;
use super::sim::replay;
use super::tell;
use crate::client::escaped;
use clap::Args;
use node_lab::registry::Registry;
use node_lab::sim::explore::{Asked, Ended, Explored, Found, explore};
use node_lab::sim::scenario::Scenario;
use node_lab::sim::tally::{Judged, Word};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Try every order of a small scenario, with a few faults, instead of orders that a seed draws
///
/// A scenario with the table [explore] is run again and again from its start: each time in another
/// order of what is under way (messages, timers, what clients do), with each message lost, doubled
/// or overtaken, each node stopped at each moment, as many as [explore] says:
///
///   node explore explore/kv-3
///
/// Orders that differ only in what touches nothing in common are tried once. It ends with what was
/// tried, "exhausted" or the bound that was reached first, and, where something broke, with the
/// smallest run that does: fewest faults first, and no choice that is not needed. That run is saved
/// as a plan, and node sim --replay runs it again, with --trace for node explain.
///
/// That nothing broke is said of these bounds and no others: with one message lost, nobody knows of
/// two.
///
/// Exit codes: 0 every order within the bounds was tried and every property held, 1 one was
/// violated, 2 unknown: a bound was reached, or no order had evidence of some property, or it could
/// not run.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct ExploreArgs {
    /// The scenario: a file, or the name of one that comes with the binary (node scenarios)
    #[arg(value_name = "SCENARIO")]
    scenario: PathBuf,
    /// How long to try, in seconds of this machine
    #[arg(long, value_name = "S", default_value_t = 60)]
    seconds: u64,
    /// What clients draw what they do from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many searches at once [default: one for each processor]
    #[arg(long, value_name = "J")]
    jobs: Option<usize>,
    /// Try every order, also those that differ in nothing: to see what that costs
    #[arg(long)]
    every_order: bool,
    /// The folder for the file of what breaks
    #[arg(long, value_name = "DIR", default_value = "run/sim")]
    save: PathBuf,
    /// Print what was found as one JSON object
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Serialize)]
struct Summary {
    scenario: String,
    verdict: Word,
    /// `exhausted`, `found`, `time`, `depth`.
    ended: &'static str,
    schedules: u64,
    runs: u64,
    real_seconds: f64,
    bounds: String,
    properties: Vec<Judged>,
    #[serde(skip)]
    lines: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counterexample: Option<Counterexample>,
}

#[derive(Serialize)]
struct Counterexample {
    property: String,
    why: String,
    at_ms: f64,
    faults: usize,
    steps: usize,
    /// Step by step what is chosen otherwise than it would be by itself.
    choices: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unsaved: Option<String>,
}

/// Runs it.
pub fn main(args: &ExploreArgs, registry: Registry) -> ExitCode {
    // A failed assertion of a run is told as its verdict.
    std::panic::set_hook(Box::new(|_| {}));
    let mut out = Output::default();
    let code = search(args, registry, &mut out).unwrap_or_else(|why| {
        tell!("node explore: {}", escaped(why.as_bytes()));
        2
    });
    ExitCode::from(out.end("node explore", code, 2))
}

/// Answers the exit code.
fn search(args: &ExploreArgs, registry: Registry, out: &mut Output) -> Result<u8, String> {
    let registry = Arc::new(registry);
    let scenario = Arc::new(Scenario::open(&args.scenario, &registry)?);
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let progress = Progress::new(Duration::from_secs(args.seconds));
    let asked = Asked {
        seed: args.seed,
        jobs: args.jobs.unwrap_or(processors),
        reduces: !args.every_order,
        hears: &|_| {},
        goes_on: &|done| progress.goes_on(done),
    };
    let explored = explore(&scenario, &registry, &asked)?;
    progress.end();
    let summary = summarize(args, &scenario, explored, progress.started.elapsed());
    if args.json {
        let object = serde_json::to_string(&summary).map_err(|error| error.to_string())?;
        out.say(format_args!("{object}"));
    } else {
        print(&summary, out);
    }
    Ok(match (summary.counterexample.is_some(), summary.ended, summary.verdict) {
        (true, _, _) => 1,
        (false, "exhausted", Word::Held) => 0,
        (false, _, _) => 2,
    })
}

fn summarize(
    args: &ExploreArgs,
    scenario: &Scenario,
    explored: Explored,
    took: Duration,
) -> Summary {
    let Explored { explore, schedules, runs, tally, ended, found } = explored;
    let (from, until) = (explore.from_ms, explore.until_ms.unwrap_or(scenario.millis));
    let (budget, depth) = (explore.budget(), explore.depth);
    let bounds = format!("{budget}, {depth} steps, {from} to {until} ms");
    let verdict = match ended {
        Ended::Found => Word::Violated,
        Ended::Exhausted => tally.verdict(),
        Ended::Stopped | Ended::Deep => Word::Unknown,
    };
    Summary {
        scenario: scenario.path.display().to_string(),
        verdict,
        ended: match ended {
            Ended::Exhausted => "exhausted",
            Ended::Found => "found",
            Ended::Stopped => "time",
            Ended::Deep => "depth",
        },
        schedules,
        runs,
        real_seconds: took.as_secs_f64(),
        bounds,
        lines: tally.lines(),
        properties: tally.into_properties(),
        counterexample: found.map(|found| counterexample(args, scenario, found)),
    }
}

fn counterexample(args: &ExploreArgs, scenario: &Scenario, found: Found) -> Counterexample {
    let Found { plan, steps, failure, says } = found;
    let saved = replay::save(&args.save, scenario, &plan, &failure.property);
    let (replay, unsaved) = match saved {
        Ok(path) => (Some(format!("node sim --replay {}", path.display())), None),
        Err(why) => (None, Some(why)),
    };
    let choices = plan.choices.unwrap_or_default();
    Counterexample {
        property: failure.property,
        why: failure.why,
        at_ms: failure.at as f64 / 1e6,
        faults: choices.iter().filter(|choice| choice.does.is_fault()).count(),
        steps,
        choices: choices
            .iter()
            .map(|one| {
                let says = says.get(&one.step).map_or(String::new(), |says| format!(" {says}"));
                format!("step {}: {}{says}", one.step, one.does)
            })
            .collect(),
        replay,
        unsaved,
    }
}

fn print(summary: &Summary, out: &mut Output) {
    let Summary { scenario, schedules, runs, real_seconds, bounds, properties, .. } = summary;
    let names: Vec<&str> = properties.iter().map(|one| one.property).collect();
    let names = match names[..] {
        [] => "anything: the scenario names no property".into(),
        _ => names.join(", "),
    };
    if let Some(found) = &summary.counterexample {
        let Counterexample { property, why, at_ms, faults, steps, choices, .. } = found;
        out.say(format_args!("{property} is violated at {at_ms:.1} ms: {why}"));
        out.say(format_args!("  with {faults} faults, in {steps} steps, all by itself but for"));
        for choice in choices {
            out.say(format_args!("  {choice}"));
        }
        if let Some(why) = &found.unsaved {
            out.say(format_args!("  not saved: {why}"));
        }
        if let Some(replay) = &found.replay {
            out.say(format_args!("  again: {replay}"));
        }
    } else {
        for line in &summary.lines {
            out.say(format_args!("{line}"));
        }
    }
    let took = format!("{runs} runs in {real_seconds:.1} s");
    let told = match summary.ended {
        "found" => format!("violated: after {schedules} schedules, with as few faults as any"),
        "exhausted" => {
            format!("exhausted: {schedules} schedules, none violates {names} within these bounds")
        }
        "depth" => format!(
            "bound reached: more than the steps allowed, after {schedules} schedules; none of them violates \
             {names}"
        ),
        _ => format!(
            "bound reached: {real_seconds:.0} s after {schedules} schedules; none of them violates {names}"
        ),
    };
    out.say(format_args!("{scenario}: {told} ({bounds}); {took}"));
}

/// How far it is: a line on a terminal; and when its time is over.
struct Progress {
    started: Instant,
    most: Duration,
    shown: Mutex<Instant>,
    runs: AtomicU64,
    is_shown: bool,
}

impl Progress {
    fn new(most: Duration) -> Progress {
        let now = Instant::now();
        let is_shown = io::stderr().is_terminal();
        Progress { started: now, most, shown: Mutex::new(now), runs: AtomicU64::new(0), is_shown }
    }

    fn goes_on(&self, done: u64) -> bool {
        self.runs.store(done, Ordering::Relaxed);
        let elapsed = self.started.elapsed();
        if self.is_shown
            && let Ok(mut shown) = self.shown.try_lock()
            && shown.elapsed() >= Duration::from_millis(200)
        {
            *shown = Instant::now();
            let rate = done as f64 / elapsed.as_secs_f64().max(1e-9);
            let (seconds, most) = (elapsed.as_secs(), self.most.as_secs());
            let line = format!("{done} runs, {rate:.0} a second, {seconds} of {most} s");
            let _ = write!(io::stderr(), "\r{line:60}");
        }
        elapsed < self.most
    }

    fn end(&self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r{:60}\r", "");
        }
    }
}
