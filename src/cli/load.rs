//! `node load`: a scenario's clients against real nodes, with verdicts from what they saw.

use super::output::Output;
use super::tell;
use super::verify::{as_json, overall, show, word};
use crate::client::{escaped, resolve};
use crate::load::{Addresses, Counts, Driven, Latency, Load, Progress, drive, verdicts};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use node_lab::registry::Registry;
use node_lab::sim::scenario::Scenario;
use node_lab::study::{Property, Verdict};
use node_lab::trace::ClientWriter;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Let a scenario's clients loose on real nodes, over TCP
///
/// The clients that `node sim` has in virtual time, of any study or of kind = "requests", ask real
/// nodes in real time, and what they see is judged by the same properties. Nothing is broken: kill,
/// stop or cut off the nodes meanwhile as you like. Start them anew before each load, since
/// properties count on an empty beginning.
///
///   node load configs/sim/kv-all.toml --trace clients.jsonl
///   node load configs/sim/kv-all.toml --seconds 60 --operations 100000
///   node load SCENARIO --servers 1=127.0.0.1:7001,2=127.0.0.1:7002
///   node load SCENARIO --servers 1=127.0.0.1:7001,1/resp=127.0.0.1:6379
///   node verify clients.jsonl [the nodes' traces]
///
/// Clients that speak through a gateway in the scenario (wire = "...") speak through it here. In
/// --servers, ID is the node's native listener, and ID/GATEWAY that of a gateway; without it
/// everything is taken from the listeners in the nodes' configs.
///
/// A client whose connection is refused or lost goes on as in the simulator when a node dies. What
/// got no answer is never taken for done, nor for undone.
///
/// Prints a line for each of the scenario's properties: held, violated and why, or unknown and why.
/// Unknown is what clients alone cannot see (messages, clocks, files), and what nothing in the run
/// could have broken. Two lines come beside them when it is so: `converges` is unknown when the run
/// did not come to rest in the scenario's settle_seconds, and `codec` is violated when an answer
/// was none that a server may give. Then operations a second, and how long answers took.
///
/// Exit codes, as of node sim: 0 every property held, 1 one was violated, 2 unknown, or could not
/// run, or what was asked for could not be written. That a scenario is there to show a violation
/// (`violates`) changes nothing: its faults are left out. A load that is stopped by SIGINT or
/// SIGTERM (^C) is judged as far as it is.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct LoadArgs {
    /// The scenario: a file, or the name of one that comes with the binary (node scenarios)
    #[arg(value_name = "SCENARIO")]
    scenario: PathBuf,
    /// Where the nodes listen, by id [default: the listeners in their configs]
    #[arg(long, value_name = "ID[/GATEWAY]=HOST:PORT", value_delimiter = ',')]
    servers: Vec<String>,
    /// What clients draw everything from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// When clients begin no more operations, if they are not done before [default: the scenario's
    /// seconds]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..=86_400))]
    seconds: Option<u64>,
    /// How many operations of each client [default: the scenario's]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u32>::new().range(1..1_000_000))]
    operations: Option<u32>,
    /// Write what clients ask and are told, for node verify and node explain; the file must not
    /// exist
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Print one JSON object instead: {"scenario","seed","verdict","properties":[{"property",
    /// "verdict","why","operations"}],"operations","answered","seconds","per_second","latency_us":
    /// {"median","p99","max"},"errors":{NAME:{"count","first"}}}
    #[arg(long)]
    json: bool,
}

/// Exit code when nothing can be said.
const UNKNOWN: u8 = 2;

/// Verdicts on a scenario's properties.
type Verdicts = [(&'static Property, Verdict)];

/// Runs it.
pub fn run(args: &LoadArgs, registry: &Registry) -> ExitCode {
    let mut out = Output::default();
    let code = load(args, registry, &mut out).unwrap_or_else(|why| {
        tell!("node load: {}", escaped(why.as_bytes()));
        UNKNOWN
    });
    ExitCode::from(out.end("node load", code, UNKNOWN))
}

/// Answers the exit code.
fn load(args: &LoadArgs, registry: &Registry, out: &mut Output) -> Result<u8, String> {
    let scenario = Scenario::open(&args.scenario, registry)?;
    let gateways = registry.gateway_names();
    let addresses = Addresses::new(&args.servers, &scenario.nodes, &gateways, resolve)?;
    let mut plan = scenario.plan(args.seed);
    plan.operations = args.operations.unwrap_or(plan.operations);
    plan.faults.clear();
    let millis = args.seconds.map_or(scenario.millis, |seconds| seconds * 1_000);
    let trace = match &args.trace {
        None => None,
        Some(path) => {
            let name = scenario.path.display().to_string();
            let writer = ClientWriter::create(path, &name, Some(plan.load()));
            Some(writer.map_err(|error| format!("{}: {error}", path.display()))?)
        }
    };
    let mut bar = Bar::new(Duration::from_millis(millis));
    let (scenario, plan, addresses) = (&scenario, &plan, &addresses);
    let is_stopped = stops().map_err(|error| format!("no signals: {error}"))?;
    let is_stopped = &*is_stopped;
    let load = Load { scenario, registry, plan, addresses, millis, trace, is_stopped };
    let driven = drive(load, &mut |progress| bar.show(progress));
    bar.end();
    let driven = driven.inspect_err(|_| {
        // Nothing was judged, and the next try makes the file anew.
        let _ = args.trace.as_ref().map(std::fs::remove_file);
    })?;
    let verdicts = verdicts(scenario, registry, plan, &driven);
    let name = scenario.path.display().to_string();
    if args.json {
        out.say(format_args!("{}", as_object(&name, args.seed, &driven, &verdicts)));
    } else {
        // It remembers an error itself.
        let _ = out.write_all(show(&driven.run, &verdicts).as_bytes());
        print(&name, &driven, out);
    }
    let mut code = if verdicts.is_empty() { UNKNOWN } else { overall(&verdicts) };
    if let Some((path, why)) = args.trace.as_ref().zip(driven.trace_error) {
        tell!("node load: {}: the trace is not whole: {why}", path.display());
        code = if code == 0 { UNKNOWN } else { code };
    }
    Ok(code)
}

/// What SIGINT and SIGTERM set: who stops a load wants to know what came of it so far. The second
/// ends it at once.
fn stops() -> io::Result<Arc<AtomicBool>> {
    let is_stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_default(signal, Arc::clone(&is_stopped))?;
        flag::register(signal, Arc::clone(&is_stopped))?;
    }
    Ok(is_stopped)
}

fn print(name: &str, driven: &Driven, out: &mut Output) {
    let counts = &driven.counts;
    let Counts { asked, answered, .. } = counts;
    let seconds = driven.run.end_ns as f64 / 1e9;
    out.say(format_args!(
        "{name}: {asked} operations in {seconds:.1} s, {answered} answered ({:.0}/s), {} without \
         an answer",
        counts.per_second(),
        counts.unanswered(),
    ));
    if let Some(Latency { median_ns, p99_ns, max_ns }) = counts.latency() {
        let ms = |ns: u64| ns as f64 / 1e6;
        out.say(format_args!(
            "latency: median {:.3} ms, 99 % {:.3} ms, max {:.3} ms",
            ms(median_ns),
            ms(p99_ns),
            ms(max_ns)
        ));
    }
    for (trouble, count, first) in counts.troubles() {
        let first = escaped(first.as_bytes());
        out.say(format_args!("errors: {trouble} {count}, the first: {first}"));
    }
}

fn as_object(name: &str, seed: u64, driven: &Driven, verdicts: &Verdicts) -> serde_json::Value {
    let counts = &driven.counts;
    let us = |ns: u64| ns as f64 / 1e3;
    let latency = counts.latency().map(|Latency { median_ns, p99_ns, max_ns }| {
        json!({ "median": us(median_ns), "p99": us(p99_ns), "max": us(max_ns) })
    });
    let errors = counts.troubles().map(|(trouble, count, first)| {
        (trouble.to_string(), json!({ "count": count, "first": first }))
    });
    json!({
        "scenario": name,
        "seed": seed,
        "verdict": if verdicts.is_empty() { "unknown" } else { word(verdicts) },
        "properties": as_json(&driven.run, verdicts),
        "operations": counts.asked,
        "answered": counts.answered,
        "seconds": driven.run.end_ns as f64 / 1e9,
        "per_second": counts.per_second(),
        "latency_us": latency,
        "errors": errors.collect::<serde_json::Map<_, _>>(),
    })
}

/// A line on a terminal that tells how far it is.
struct Bar {
    whole: Duration,
    shown: Instant,
    on: bool,
}

impl Bar {
    fn new(whole: Duration) -> Bar {
        Bar { whole, shown: Instant::now(), on: io::stderr().is_terminal() }
    }

    fn show(&mut self, Progress { since, asked, answered }: Progress) {
        if self.on && self.shown.elapsed() >= Duration::from_millis(100) {
            self.shown = Instant::now();
            let (done, whole) = (since.as_secs_f64(), self.whole.as_secs_f64());
            let full = ((30.0 * done / whole) as usize).min(30);
            let _ = write!(
                io::stderr(),
                "\r[{}{}] {done:.0}/{whole:.0} s, {asked} operations, {answered} answered ({:.0}/s) ",
                "#".repeat(full),
                ".".repeat(30 - full),
                answered as f64 / done.max(1e-9),
            );
        }
    }

    fn end(&self) {
        if self.on {
            let _ = write!(io::stderr(), "\r{:90}\r", "");
        }
    }
}
