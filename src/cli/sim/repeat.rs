//! `node sim --check-determinism`: the same plan twice, and the first event that differs. Knows no
//! protocol.

use crate::cli::output::Output;
use node_lab::registry::Registry;
use node_lab::sim::compare::first_difference;
use node_lab::sim::plan::Plan;
use node_lab::sim::run::{Outcome, run};
use node_lab::sim::scenario::Scenario;
use node_lab::sim::tracer::Tracer;
use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::sync::Arc;

/// Runs a plan twice, and tells what differs. Answers whether nothing does.
///
/// # Errors
/// The events of the runs cannot be kept.
pub(super) fn check(
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    plan: &Plan,
    out: &mut Output,
) -> Result<bool, String> {
    let told = |error: io::Error| format!("the events of two runs cannot be kept: {error}");
    let folder = tempfile::tempdir().map_err(told)?;
    let mut runs: Vec<(Outcome, BufReader<File>)> = Vec::new();
    for name in ["one", "other"] {
        let path = folder.path().join(name);
        let sink = BufWriter::new(File::create(&path).map_err(told)?);
        let outcome = run(scenario, registry, plan, Tracer::to(Box::new(sink)));
        runs.push((outcome, BufReader::new(File::open(&path).map_err(told)?)));
    }
    let [(one, lines), (other, others)] = &mut runs[..] else { return Ok(false) };
    let seed = plan.seed;
    if one.hash == other.hash {
        let same = format!("the same run twice: {:016x}, {} events", one.hash, one.events);
        out.say(format_args!("seed {seed}: {same}"));
        return Ok(true);
    }
    out.say(format_args!(
        "seed {seed}: two runs differ: {:016x} and {:016x}",
        one.hash, other.hash
    ));
    match first_difference(lines, others).map_err(told)? {
        Some(difference) => {
            for line in difference.to_string().lines() {
                out.say(format_args!("  {line}"));
            }
        }
        None => out.say(format_args!("  their events are the same as far as a trace shows them")),
    }
    for cause in causes(scenario, one) {
        out.say(format_args!("  likely: {cause}"));
    }
    Ok(false)
}

/// What makes such programs differ, as far as one can tell from outside.
fn causes(scenario: &Scenario, outcome: &Outcome) -> Vec<String> {
    let Some(hosted) = &scenario.hosted else { return Vec::new() };
    let mut causes = Vec::new();
    if let Some(reached) = &outcome.reached {
        if reached.is_wall {
            causes.push("the tier is wall: only faults are repeated".to_string());
        }
        if let Some((who, call)) = &reached.waits {
            causes.push(format!(
                "{who} waits for the machine's clock ({call}): use timers = \"shim\" with Python, Node.js \
                 or Ruby, or ask the service clock"
            ));
        }
    }
    causes.push(
        match language(&hosted.hosting.bin).as_deref() {
            Some("python") => {
                "os.urandom, threads that race, or a value from outside the run (a file, an address, id())"
            }
            Some("node") => "work in other threads, or a value from outside the run (process.pid, a file)",
            Some("ruby") => "threads that race, object ids, or a value from outside the run",
            Some("go") => {
                "the order in which Go walks a map (sort the keys), goroutines that race to write, or the \
                 time of day and math/rand, which the service clock replaces"
            }
            Some(_) | None => {
                "the order of a hash table, threads that race, the time of day, or random numbers: the \
                 service clock has now and random"
            }
        }
        .to_string(),
    );
    causes
}

/// What a program is written in, by its first line or what is in it.
fn language(bin: &std::path::Path) -> Option<String> {
    let bytes = std::fs::read(bin).ok()?;
    if let Some(rest) = bytes.strip_prefix(b"#!") {
        let line = rest.split(|byte| *byte == b'\n').next()?;
        let line = String::from_utf8_lossy(line).into_owned();
        let known = ["python", "node", "ruby"].into_iter().find(|name| line.contains(name));
        return known.map(str::to_string);
    }
    let is_go = bytes.windows(11).any(|part| part == b"Go buildinf" || part == b"go.buildid\0");
    is_go.then(|| "go".to_string())
}
