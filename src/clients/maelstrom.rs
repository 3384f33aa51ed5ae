//! `node maelstrom test`: for those who come from there, the same flags for the same workloads, in
//! the simulator. Makes a scenario of them, runs it once and shows the numbers, the verdict and a
//! page.

use crate::cli::output::Output;
use crate::cli::tell;
use crate::client::escaped;
use clap::{Args, Subcommand, ValueEnum};
use node_lab::check::describe::Millis;
use node_lab::explain::{Source, html, merge};
use node_lab::hosted::Guest;
use node_lab::registry::Registry;
use node_lab::sim::run::{Outcome, run};
use node_lab::sim::scenario::Scenario;
use node_lab::sim::tracer::Tracer;
use node_lab::study::Verdict;
use node_lab::trace::{lines, told};
use node_workloads::program::{AVAILABLE, Numbers, Quantiles, numbers};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Test a program that speaks Maelstrom's protocol, with Maelstrom's flags
///
/// The program runs in the simulator: the same faults at the same times whenever the seed is the
/// same, in virtual time, and a page that shows what happened.
///
///   node maelstrom test -w echo --bin ./echo.py --node-count 1 --time-limit 10
///   node maelstrom test -w broadcast --bin ./broadcast --node-count 25 --time-limit 20 \
///     --rate 100 --latency 100 --nemesis partition --topology grid
///
/// The scenario that the flags mean is written beside the page; node sim runs it with many seeds,
/// and makes a failure small.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct MaelstromArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Run a test
    Test(Box<TestArgs>),
}

#[derive(Args)]
struct TestArgs {
    /// What clients ask
    #[arg(short, long, value_name = "NAME", default_value = "lin-kv")]
    workload: String,
    /// The program that a node is
    #[arg(long, value_name = "FILE")]
    bin: PathBuf,
    /// How many nodes
    #[arg(long, value_name = "NUM", default_value_t = 5)]
    node_count: u32,
    /// For how many seconds clients ask, in virtual time
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    time_limit: u64,
    /// How many operations a second
    #[arg(long, value_name = "RATE", default_value_t = 5.0)]
    rate: f64,
    /// How many clients; 3n is three for each node
    #[arg(long, value_name = "NUMBER", default_value = "1n")]
    concurrency: String,
    /// How long a message between nodes takes on average, in milliseconds
    #[arg(long, value_name = "MILLIS", default_value_t = 0)]
    latency: u64,
    /// How that varies: uniform is from 0 to twice as long
    #[arg(long, value_enum, default_value_t = Distribution::Constant)]
    latency_dist: Distribution,
    /// What breaks, with commas in between
    #[arg(long, value_name = "FAULTS", value_enum, value_delimiter = ',')]
    nemesis: Vec<Nemesis>,
    /// How many seconds lie between faults on average, and how long they last at most
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    nemesis_interval: u64,
    /// What broadcast's nodes are told of their neighbors: line, grid, tree2, tree3, tree4, total
    #[arg(long, value_name = "SPEC", default_value = "grid")]
    topology: String,
    /// What fraction of operations has to be done: total, or 0 to 1
    #[arg(long, value_name = "EXPECTED")]
    availability: Option<String>,
    /// What transactions have to be
    #[arg(long, value_name = "MODEL")]
    consistency_models: Option<String>,
    /// How many keys are in use at once
    #[arg(long, value_name = "INT")]
    key_count: Option<u32>,
    /// The longest transaction
    #[arg(long, value_name = "INT")]
    max_txn_length: Option<u32>,
    /// How often a key is written
    #[arg(long, value_name = "INT")]
    max_writes_per_key: Option<u32>,
    /// Print what programs write to stderr
    #[arg(long)]
    log_stderr: bool,
    /// The seed: another one draws other faults and other operations
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// In real time rather than virtual: what programs without virtual timers may need
    #[arg(long)]
    wall: bool,
    /// The folder for the scenario, the events and the page
    #[arg(long, value_name = "DIR", default_value = "run/maelstrom")]
    store: PathBuf,
    /// What the program is started with
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Distribution {
    Constant,
    Uniform,
    Exponential,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Nemesis {
    Partition,
    Kill,
    Pause,
}

/// The longest settling: what a program that has lost messages needs to send them again, and the
/// last reads.
const SETTLE_SECONDS: u64 = 60;

/// Does it.
pub fn run_command(args: &MaelstromArgs) -> ExitCode {
    // A failed assertion of a run is told as its verdict.
    std::panic::set_hook(Box::new(|_| {}));
    let What::Test(args) = &args.what;
    let mut out = Output::default();
    let code = test(args, &mut out).unwrap_or_else(|why| {
        tell!("node maelstrom: {}", escaped(why.as_bytes()));
        2
    });
    ExitCode::from(out.end("node maelstrom", code, 2))
}

/// Answers the exit code.
fn test(args: &TestArgs, out: &mut Output) -> Result<u8, String> {
    let registry = Arc::new(node_studies::registry());
    let text = scenario(args, &registry)?;
    let store = &args.store;
    let told = |error: std::io::Error| format!("{}: {error}", store.display());
    fs::create_dir_all(store).map_err(told)?;
    let (path, trace) = (store.join("scenario.toml"), store.join("trace.jsonl"));
    fs::write(&path, &text).map_err(told)?;
    let hosting = Guest { bin: args.bin.clone(), args: args.arguments.clone(), ..Guest::default() };
    let scenario = Arc::new(Scenario::open_hosted(&path, &registry, Some(&hosting))?);
    let sink = Box::new(BufWriter::new(File::create(&trace).map_err(told)?));
    let outcome = run(&scenario, &registry, &scenario.plan(args.seed), Tracer::to(sink));
    if let Some(why) = &outcome.trace_error {
        return Err(format!("{}: the events are not whole: {why}", trace.display()));
    }
    let page = store.join("page.html");
    draw(&trace, &page)?;
    if args.log_stderr {
        show_stderr(&trace, out).map_err(told)?;
    }
    show(args, &outcome, out);
    out.say(format_args!("page: {}", page.display()));
    let bin = args.bin.display();
    let again = format!("node sim {} --bin {bin} --seeds 1..20", path.display());
    out.say(format_args!("more seeds: {again}"));
    Ok(verdict(&outcome, out))
}

/// The scenario that the flags mean.
fn scenario(args: &TestArgs, registry: &Registry) -> Result<String, String> {
    let studies = || registry.studies().iter().filter(|one| one.protocol == "program");
    let study = studies().find(|study| study.name == args.workload);
    let study = study.filter(|study| study.name != study.protocol).ok_or_else(|| {
        let names = studies().map(|one| one.name).filter(|name| *name != "program");
        let names = names.collect::<Vec<_>>().join(", ");
        format!("there is no workload {}; there are {names}", args.workload)
    })?;
    let mut properties: Vec<&str> = study.judged().map(|property| property.name).collect();
    if study.name.starts_with("txn-") {
        properties = vec![level(args.consistency_models.as_deref())?];
    }
    properties.push("answers_in_form");
    let mut bounds = String::new();
    if let Some(expected) = &args.availability {
        properties.push("available");
        let _ = writeln!(bounds, "{} = {}", AVAILABLE.name, millionths(expected)?);
    }
    let clients = clients(&args.concurrency, args.node_count)?;
    if !(args.rate > 0.0 && args.rate <= 100_000.0) {
        return Err("--rate is above 0, and at most 100000".into());
    }
    let rate = args.rate.ceil() as u64;
    let mean_us = args.latency.saturating_mul(1_000);
    let (low, high) = match args.latency_dist {
        Distribution::Constant => (mean_us, mean_us),
        Distribution::Uniform => (0, mean_us.saturating_mul(2)),
        Distribution::Exponential => {
            return Err(
                "--latency-dist exponential: the simulator draws latencies evenly; use uniform, \
                        or constant with the fault delay in a scenario"
                    .into(),
            );
        }
    };
    let tier = if args.wall { "wall" } else { "lockstep" };
    let properties = properties.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>();
    let mut text = format!(
        "# node maelstrom test -w {}\n\
         properties = [{}]\nseconds = {}\nsettle_seconds = {SETTLE_SECONDS}\n\n\
         [hosted]\nnodes = {}\ntier = \"{tier}\"\n\n\
         [workload]\nkind = \"{}\"\nclients = {clients}\nrate = {rate}\n",
        study.name,
        properties.join(", "),
        args.time_limit,
        args.node_count,
        study.name,
    );
    text.push_str(&keys(args)?);
    let _ = write!(text, "\n[network]\ndelay_us = [{low}, {high}]\n");
    if !bounds.is_empty() {
        let _ = write!(text, "\n[bounds]\n{bounds}");
    }
    text.push_str(&faults(args));
    Ok(text)
}

/// The property that is a consistency model.
fn level(model: Option<&str>) -> Result<&'static str, String> {
    let levels = [
        ("strict-serializable", "txn_strict_serializable"),
        ("serializable", "txn_serializable"),
        ("repeatable-read", "txn_serializable"),
        ("snapshot-isolation", "txn_snapshot_isolation"),
        ("read-committed", "txn_read_committed"),
        ("read-uncommitted", "txn_read_uncommitted"),
    ];
    let Some(model) = model else { return Ok(levels[0].1) };
    let found = levels.iter().find(|(name, _)| *name == model);
    found.map(|(_, property)| *property).ok_or_else(|| {
        let names = levels.map(|(name, _)| name).join(", ");
        format!("--consistency-models {model}: what is judged is {names}")
    })
}

/// The keys of some workloads alone.
fn keys(args: &TestArgs) -> Result<String, String> {
    let mut text = String::new();
    let is_txn = args.workload.starts_with("txn-");
    let of_keys = is_txn || args.workload == "kafka" || args.workload == "lin-kv";
    if args.workload == "broadcast" {
        let _ = writeln!(text, "topology = {}", toml::Value::from(args.topology.as_str()));
    }
    if args.consistency_models.is_some() && !is_txn {
        return Err(format!("--consistency-models: {} has no transactions", args.workload));
    }
    let numbers = [
        ("keys", args.key_count, of_keys),
        ("txn_length", args.max_txn_length, is_txn),
        ("writes_per_key", args.max_writes_per_key, is_txn || args.workload == "kafka"),
    ];
    for (key, number, is_its) in numbers {
        if let Some(number) = number.filter(|_| is_its) {
            let _ = writeln!(text, "{key} = {number}");
        }
    }
    Ok(text)
}

/// One fault of each kind, and one more for every two intervals, as long as one at most.
fn faults(args: &TestArgs) -> String {
    let mut text = String::new();
    if args.nemesis.is_empty() {
        return text;
    }
    let interval = args.nemesis_interval.max(1).min(args.time_limit);
    let times = 1.max(args.time_limit / (2 * interval));
    text.push_str("\n[faults]\nalways = true\n");
    for (nemesis, name) in
        [(Nemesis::Partition, "partition"), (Nemesis::Kill, "crash"), (Nemesis::Pause, "pause")]
    {
        if args.nemesis.contains(&nemesis) {
            let _ = writeln!(text, "{name} = [{times}, {times}]");
        }
    }
    let _ = writeln!(text, "for_ms = [{}, {}]", interval * 500, interval * 1_000);
    text
}

fn clients(concurrency: &str, nodes: u32) -> Result<u32, String> {
    let (digits, times) = match concurrency.strip_suffix('n') {
        Some("") => ("1", nodes),
        Some(digits) => (digits, nodes),
        None => (concurrency, 1),
    };
    let number = digits.parse::<u32>().ok().and_then(|number| number.checked_mul(times));
    number.ok_or_else(|| format!("--concurrency {concurrency}: write a number, or 3n"))
}

/// A fraction, in millionths.
fn millionths(expected: &str) -> Result<u64, String> {
    if expected == "total" {
        return Ok(1_000_000);
    }
    let wrong = || format!("--availability {expected}: write total, or a number from 0 to 1");
    let fraction = expected.parse::<f64>().map_err(|_| wrong())?;
    if !(0.0..=1.0).contains(&fraction) {
        return Err(wrong());
    }
    Ok(((fraction * 1e6).round() as u64).max(1))
}

fn draw(trace: &Path, page: &Path) -> Result<(), String> {
    let sources = [Source::load(trace).map_err(|error| error.to_string())?];
    let merged = merge(&sources).map_err(|error| error.to_string())?;
    let write = || -> std::io::Result<()> {
        let mut out = BufWriter::new(File::create(page)?);
        html::write(&merged, &mut out)?;
        out.flush()
    };
    write().map_err(|error| format!("{}: {error}", page.display()))
}

fn show_stderr(trace: &Path, out: &mut Output) -> std::io::Result<()> {
    for line in fs::read_to_string(trace)?.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        let said = event["line"].as_str().and_then(|line| line.strip_prefix("stderr: "));
        if let (Some(said), Some(node), Some(at)) =
            (said, event["node"].as_u64(), event["at"].as_u64())
        {
            let at = at as f64 / 1e6;
            out.say(format_args!("{at:.1} ms n{}: {said}", node.saturating_sub(1)));
        }
    }
    Ok(())
}

fn show(args: &TestArgs, outcome: &Outcome, out: &mut Output) {
    let Numbers {
        operations,
        ok,
        fail,
        info,
        server_messages,
        messages_per_operation_milli,
        latencies,
        stable_latencies,
        elements,
    } = numbers(&outcome.run);
    let (workload, nodes) = (&args.workload, args.node_count);
    out.say(format_args!("workload {workload}, {nodes} nodes, seed {}", args.seed));
    out.say(format_args!("  operations      {operations}: {ok} ok, {fail} fail, {info} info"));
    let messages = server_messages.unwrap_or(outcome.deliveries);
    let each = messages_per_operation_milli
        .or_else(|| (messages * 1_000).checked_div(operations as u64))
        .unwrap_or_default();
    let each = each as f64 / 1e3;
    out.say(format_args!("  net.servers     {messages} messages, {each:.3} msgs-per-op"));
    let quantiles = |name: &str, found: Option<Quantiles>, out: &mut Output| {
        if let Some(Quantiles { min, median, p95, p99, max }) = found {
            let ms = |ns: u64| ns as f64 / 1e6;
            let (min, median, p95, p99, max) = (ms(min), ms(median), ms(p95), ms(p99), ms(max));
            out.say(format_args!(
                "  {name} 0: {min:.1}, 0.5: {median:.1}, 0.95: {p95:.1}, 0.99: {p99:.1}, 1: {max:.1} ms"
            ));
        }
    };
    quantiles("latencies      ", latencies, out);
    quantiles("stable-latencies", stable_latencies, out);
    if let Some(elements) = elements {
        let node_workloads::program::Elements { attempts, stable, stale, lost, never_read } =
            elements;
        out.say(format_args!(
            "  elements        {attempts}: {stable} stable, {stale} stale, {lost} lost, {never_read} \
             never read"
        ));
    }
    if let Some(reached) = &outcome.reached {
        out.say(format_args!("  tier            {reached}"));
    }
}

/// Tells the verdict on each property and on all. Answers the exit code.
fn verdict(outcome: &Outcome, out: &mut Output) -> u8 {
    let mut unknown = 0;
    for (property, verdict) in &outcome.verdicts {
        match verdict {
            Verdict::Held => out.say(format_args!("  {property}: held")),
            Verdict::Violated(found) => {
                out.say(format_args!("  {property}: violated: {}", found.why));
                for line in lines(&told(&found.witnesses, &outcome.run)) {
                    out.say(format_args!("    {line}"));
                }
            }
            Verdict::Unknown { why } | Verdict::Undecided { why } => {
                unknown += 1;
                out.say(format_args!("  {property}: unknown: {why}"));
            }
        }
    }
    if let Some(failure) = &outcome.failure {
        let (property, why) = (&failure.property, &failure.why);
        if outcome.verdicts.iter().all(|(judged, _)| judged.name != property) {
            let at = Millis(failure.at);
            out.say(format_args!("  {property}: at {at}: {why}"));
        }
        out.say(format_args!("Analysis invalid! (ノಥ益ಥ)ノ {property} does not hold."));
        return 1;
    }
    for why in &outcome.unknown {
        out.say(format_args!("  unknown: {why}"));
    }
    if unknown > 0 || !outcome.unknown.is_empty() || outcome.verdicts.is_empty() {
        out.say(format_args!("Analysis unknown: not everything could be judged."));
        return 2;
    }
    out.say(format_args!("Everything looks good! Every property held."));
    0
}
