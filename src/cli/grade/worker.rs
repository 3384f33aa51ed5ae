//! The worker: a process of the grader's that runs one task and answers over its stdout, which no
//! submission holds. What a submission says or how it ends is nothing to it but what the simulator
//! makes of that.

use super::exchange::{Answer, Failed, Order, PROGRAM, Program, Ran, Work};
use super::measures::{bounds_with, measured, measured_by};
use super::traced::Traced;
use crate::cli::output::Output;
use node_lab::hosted::Guest;
use node_lab::registry::Registry;
use node_lab::sim::plan::Plan;
use node_lab::sim::run::{Failure, Outcome, run};
use node_lab::sim::scenario::Scenario;
use node_lab::sim::shrink::{MAX_SLOW_RUNS, shrink};
use node_lab::sim::tracer::Tracer;
use node_lab::study::{Bounds, Property, Verdict};
use rustix::process::{
    DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal,
};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A turn that takes too long is tried so often: the machine may have been busy.
const TRIES: u32 = 3;

/// Reads an order from stdin, and does it.
pub fn main(registry: Registry) -> ExitCode {
    // A failed assertion of a run is told as its verdict.
    std::panic::set_hook(Box::new(|_| {}));
    let mut out = Output::default();
    let done = prepare().and_then(|order| work(&order, registry, &mut out));
    let last = done.map_or_else(Answer::Cannot, |()| Answer::Done);
    say(&mut out, &last);
    ExitCode::from(out.end("node grade worker", 0, 2))
}

/// Its memory and its pipes are nobody else's, it does not outlive the grader, and what it starts
/// is confined.
fn prepare() -> Result<Order, String> {
    let order: Order =
        serde_json::from_reader(std::io::stdin().lock()).map_err(|error| error.to_string())?;
    let told = |error: rustix::io::Errno| error.to_string();
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(told)?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(told)?;
    order.confines.limit().map_err(|error| error.to_string())?;
    Ok(order)
}

fn say(out: &mut Output, answer: &Answer) {
    if let Ok(line) = serde_json::to_string(answer) {
        out.say(format_args!("{line}"));
        // A grader that waits reads lines as they come; an error is for the end.
        let _ = out.flush();
    }
}

/// A scenario with whatever a submission is, ready to run.
struct Stand {
    registry: Arc<Registry>,
    scenario: Arc<Scenario>,
    traced: Option<Traced>,
    measures: Vec<(&'static Property, Bounds)>,
}

/// The scenario, with that program as its nodes where it has such.
///
/// # Errors
/// What is wrong with the scenario or the program.
fn open(path: &Path, registry: &Registry, order: &Order) -> Result<Scenario, String> {
    let Program::Hosted { bin, user } = &order.program else {
        return Scenario::open(path, registry);
    };
    let limits = order.limits;
    let hosting = Guest { bin: bin.clone(), user: *user, limits: Some(limits), ..Guest::default() };
    Scenario::open_hosted(path, registry, Some(&hosting))
}

fn work(order: &Order, registry: Registry, out: &mut Output) -> Result<(), String> {
    let registry = Arc::new(registry);
    let scenario = Arc::new(open(&order.scenario, &registry, order)?);
    let mut measures = Vec::new();
    for (measure, at_most) in &order.measures {
        let property = measured_by(&registry, measure);
        let property = property.ok_or_else(|| format!("{measure}: no such measure"))?;
        measures.push((property, bounds_with(&registry, &scenario, measure, *at_most)?));
    }
    let traced = match &order.program {
        Program::Hosted { .. } => None,
        Program::Traced { bin, user, folder } => Some(Traced {
            bin: bin.clone(),
            user: *user,
            folder: folder.clone(),
            most_mb: order.confines.file_mb,
        }),
    };
    let stand = Stand { registry, scenario, traced, measures };
    match &order.work {
        Work::Seeds { seeds, until_failure, repeats } => {
            for seed in seeds {
                let ran = stand.seed(*seed, *repeats)?;
                let is_last = *until_failure && ran.failure.is_some();
                say(out, &Answer::Ran(ran));
                if is_last {
                    break;
                }
            }
        }
        Work::Explain { seed, property, seconds, trace } => {
            say(out, &stand.explain(*seed, property, *seconds, trace)?);
        }
    }
    Ok(())
}

impl Stand {
    /// One seed: most of its runs decide.
    fn seed(&self, seed: u64, repeats: u32) -> Result<Ran, String> {
        let (mut held, mut failed): (Vec<Ran>, Vec<Ran>) = (Vec::new(), Vec::new());
        for _ in 0..repeats {
            let mut ran = self.once(seed)?;
            for _ in 1..TRIES {
                if ran.failure.as_ref().is_some_and(Failed::is_of_time) {
                    ran = self.once(seed)?;
                }
            }
            if ran.failure.is_some() {
                failed.push(ran)
            } else {
                held.push(ran)
            }
            if failed.len().max(held.len()) > repeats as usize / 2 {
                break;
            }
        }
        let most = if failed.len() > held.len() { failed } else { held };
        most.into_iter().next().ok_or_else(|| "a seed without a run".to_string())
    }

    fn once(&self, seed: u64) -> Result<Ran, String> {
        let plan = self.scenario.plan(seed);
        if let Some(traced) = &self.traced {
            return traced.run(&self.scenario, &self.registry, &plan, &self.measures);
        }
        let mut tracer = Tracer::new();
        tracer.watch(self.measures.iter().map(|(property, _)| *property));
        let outcome = run(&self.scenario, &self.registry, &plan, tracer);
        Ok(ran(outcome, &self.measures))
    }

    fn faults(&self, plan: &Plan) -> Vec<String> {
        plan.faults.iter().map(|fault| self.scenario.tell(fault)).collect()
    }

    /// Makes a failure small within a time, and writes the trace of what is left.
    fn explain(
        &self,
        seed: u64,
        property: &str,
        seconds: u64,
        trace: &Path,
    ) -> Result<Answer, String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", trace.display());
        let plan = self.scenario.plan(seed);
        if let Some(traced) = &self.traced {
            let ran = traced.run(&self.scenario, &self.registry, &plan, &[])?;
            let Some(failure) = ran.failure else { return Ok(Answer::Gone) };
            std::fs::copy(traced.trace(), trace).map_err(|error| told(&error))?;
            return Ok(Answer::Explained { faults: self.faults(&plan), plan, failure });
        }
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut fails = |plan: &Plan| {
            Instant::now() < until && {
                let outcome = run(&self.scenario, &self.registry, plan, Tracer::new());
                outcome.failure.is_some_and(|failure| failure.property == property)
            }
        };
        // What is not property of one program, but of one run of it, cannot be made small.
        let is_program = property == PROGRAM;
        let (plan, _) =
            if is_program { (plan, 0) } else { shrink(&plan, MAX_SLOW_RUNS, &mut fails) };
        let file = File::create(trace).map_err(|error| told(&error))?;
        let tracer = Tracer::to(Box::new(BufWriter::new(file)));
        let outcome = run(&self.scenario, &self.registry, &plan, tracer);
        match (outcome.failure, outcome.trace_error) {
            (_, Some(why)) => Err(told(&why)),
            (Some(failure), None) => {
                Ok(Answer::Explained { faults: self.faults(&plan), plan, failure: failed(failure) })
            }
            (None, None) => Ok(Answer::Gone),
        }
    }
}

fn failed(failure: Failure) -> Failed {
    let Failure { property, why, at, .. } = failure;
    Failed { property, why, at_ns: at }
}

fn ran(outcome: Outcome, measures: &[(&'static Property, Bounds)]) -> Ran {
    let Outcome { mut run, failure, verdicts, unknown, out_of_time, virtual_ns, .. } = outcome;
    let mut ran = Ran { undecided: unknown, ..Ran::default() };
    for (property, verdict) in verdicts {
        match verdict {
            Verdict::Held => ran.held.push(property.name.into()),
            Verdict::Unknown { why } => ran.lacks.push((property.name.into(), why)),
            Verdict::Undecided { .. } | Verdict::Violated(_) => {}
        }
    }
    ran.measured = measured(&mut run, measures);
    ran.failure = failure.map(failed).or_else(|| {
        let why = out_of_time?;
        Some(Failed { property: PROGRAM.into(), why, at_ns: virtual_ns })
    });
    ran
}
