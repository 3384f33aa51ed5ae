//! `node why`: when a run was lost, as a curve in the terminal, on the page and as JSON. Knows no
//! protocol.

use super::output::Output;
use super::sim::progress::Progress;
use super::sim::replay::{self, Started};
use super::tell;
use crate::client::escaped;
use clap::Args;
use node_lab::check::describe::Millis;
use node_lab::explain::{self, Entry, Merged, Source, merge, text};
use node_lab::hosted::Guest;
use node_lab::registry::Registry;
use node_lab::sim::plan::Plan;
use node_lab::sim::scenario::Scenario;
use node_lab::sim::why::{Effort, Point, Why, why};
use node_lab::trace::Event;
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Find out when a failing run was lost: the moment at which its failure became likely
///
/// Give it a saved failure, or a scenario and a seed that fails:
///
///   node sim kv-linearizable --seeds 1..100
///   node why run/sim/kv-linearizable-15.toml --explain why.html
///   node why kv-lost-memory --seed 5
///
/// At 40 moments of the run the rest is drawn anew 50 times: what has happened stays, and the ways
/// of messages, what clients do and the faults that begin later are drawn again. The share of these
/// that violates the same property is a curve; where it rises most, the failure became likely, and
/// what happened there is told. The moments are spread evenly over the times at which something
/// happens, from the beginning to where the failure shows, so that there are more of them where
/// more goes on; up to 8 more come closer to the steepest rise.
///
/// Faults that begin after a moment are not those of the run: with these every continuation would
/// meet the same end, and the curve would be high from the beginning. Where the scenario draws no
/// faults but fixes them, those of the run come with a chance of one half each. A rise that chance
/// may explain, of less than 4 standard deviations of the difference of two shares, is told as
/// such: give it more --runs.
///
/// Exit codes: 0 the curve is there, 1 the run violates nothing, 2 it could not be run or written.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct WhyArgs {
    /// The file of a saved failure; or a scenario, a file or a name (node scenarios)
    #[arg(value_name = "REPLAY | SCENARIO")]
    run: PathBuf,
    /// The seed of a scenario [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// At how many moments, 2 to 1000
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u16).range(2..=1_000))]
    points: u16,
    /// How many times the rest is drawn anew at each, 1 to 100000
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// How many runs at once [default: one for each processor]
    #[arg(long, value_name = "J")]
    jobs: Option<usize>,
    /// Write the run as a page, with the curve over its diagram
    #[arg(long, value_name = "FILE")]
    explain: Option<PathBuf>,
    /// The program that the nodes of a scenario with [hosted] run, instead of the one that it names
    #[arg(long, value_name = "FILE")]
    bin: Option<PathBuf>,
    /// What the program of --bin is started with
    #[arg(last = true, value_name = "ARGUMENTS", requires = "bin")]
    arguments: Vec<String>,
    /// Print the curve as one JSON object
    #[arg(long)]
    json: bool,
}

/// How a command ends that could not do what it was asked for.
const COULD_NOT: u8 = 2;

/// Runs it.
pub fn main(args: &WhyArgs, registry: Registry) -> ExitCode {
    // A failed assertion of a run is told as its verdict.
    std::panic::set_hook(Box::new(|_| {}));
    let mut out = Output::default();
    let code = find(args, &Arc::new(registry), &mut out).unwrap_or_else(|why| {
        tell!("node why: {}", escaped(why.as_bytes()));
        COULD_NOT
    });
    ExitCode::from(out.end("node why", code, COULD_NOT))
}

/// Answers the exit code.
fn find(args: &WhyArgs, registry: &Arc<Registry>, out: &mut Output) -> Result<u8, String> {
    let (scenario, plan) = open(args, registry)?;
    let known = Effort::default();
    let jobs = args.jobs.unwrap_or(known.jobs).max(1);
    let effort = Effort { points: args.points.into(), runs: args.runs, jobs, ..known };
    // A file that cannot be made is told before all is run.
    let page = args.explain.as_deref().map(create).transpose()?;
    let mut shown: Option<Progress> = None;
    let mut progress = |_, all| {
        let shown = shown.get_or_insert_with(|| Progress::new("runs at most", all as u64));
        shown.one(false);
        ControlFlow::Continue(())
    };
    let found = why(&scenario, registry, &plan, effort, &mut progress);
    shown.iter().for_each(Progress::end);
    let found = match found {
        Ok(found) => found,
        Err(nothing) => {
            tell!("node why: {}: {nothing}", scenario.path.display());
            return Ok(1);
        }
    };
    let name = scenario.path.display().to_string();
    let sources = [Source { name: name.clone(), text: found.trace.clone() }];
    let merged = merge(&sources).map_err(|error| error.to_string())?;
    match args.json {
        true => out.say(format_args!("{}", json(&name, &found, &merged)?)),
        false => print(&name, &found, &merged, out),
    }
    if let Some((mut file, path)) = page.zip(args.explain.as_deref()) {
        let curve = found.points.iter().map(|point| (point.at_ns, point.share())).collect();
        let extras = explain::html::Extras { curve, part: None };
        let written = explain::html::write_with(&merged, &extras, &mut file);
        let written = written.and_then(|()| file.flush());
        written.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(0)
}

/// The scenario and the plan that the command line names.
fn open(args: &WhyArgs, registry: &Registry) -> Result<(Arc<Scenario>, Plan), String> {
    let saved = is_saved(&args.run).then(|| replay::read(&args.run)).transpose()?;
    if saved.is_some() && args.seed.is_some() {
        return Err(format!("--seed is for a scenario: {} has its own", args.run.display()));
    }
    let given = args.bin.clone().map(|bin| Started { bin, args: args.arguments.clone() });
    let given = given.or_else(|| saved.as_ref()?.program.clone());
    let given = given.map(|Started { bin, args }| Guest { bin, args, ..Guest::default() });
    let path = saved.as_ref().map_or(&args.run, |saved| &saved.scenario);
    let scenario = Scenario::open_hosted(path, registry, given.as_ref())?;
    let plan = match saved {
        Some(saved) => saved.plan,
        None => scenario.plan(args.seed.unwrap_or(1)),
    };
    scenario.check(&plan).map_err(|why| format!("{}: {why}", args.run.display()))?;
    Ok((Arc::new(scenario), plan))
}

/// Whether a file is a saved failure, which names its scenario; what is none is read as a scenario.
fn is_saved(path: &Path) -> bool {
    let text = node_lab::text::read(path).ok();
    let table = text.and_then(|text| text.parse::<toml::Table>().ok());
    table.is_some_and(|table| table.contains_key("scenario"))
}

fn create(path: &Path) -> Result<BufWriter<File>, String> {
    let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(BufWriter::new(file))
}

/// The curve for programs.
#[derive(Serialize)]
struct Told<'a> {
    scenario: &'a str,
    seed: u64,
    property: &'a str,
    why: &'a str,
    at_ns: u64,
    points: &'a [Point],
    /// Where the failure became likely; none where the curve never rises.
    step: Option<ToldStep>,
}

#[derive(Serialize)]
struct ToldStep {
    from_ns: u64,
    to_ns: u64,
    from_share: f64,
    to_share: f64,
    sigma: f64,
    /// Whether chance does not explain it.
    is_clear: bool,
    /// What happened between, for people.
    events: Vec<String>,
}

fn json(name: &str, found: &Why, run: &Merged<'_>) -> Result<String, String> {
    let step = found.step.zip(found.bracket()).map(|(step, (before, after))| ToldStep {
        from_ns: before.at_ns,
        to_ns: after.at_ns,
        from_share: before.share(),
        to_share: after.share(),
        sigma: step.sigma,
        is_clear: step.is_clear(),
        events: between(run, before, after).map(|entry| text::told(run, entry)).collect(),
    });
    let told = Told {
        scenario: name,
        seed: found.plan.seed,
        property: &found.failure.property,
        why: &found.failure.why,
        at_ns: found.failure.at,
        points: &found.points,
        step,
    };
    serde_json::to_string(&told).map_err(|error| error.to_string())
}

fn between<'a>(
    run: &'a Merged<'a>,
    before: Point,
    after: Point,
) -> impl Iterator<Item = &'a Entry<'a>> {
    let entries = run.entries.iter().filter(happens);
    entries.filter(move |entry| entry.t > before.at_ns && entry.t <= after.at_ns)
}

/// Whether something happens in it: a state is seen, and a verdict given.
fn happens(entry: &&Entry<'_>) -> bool {
    !matches!(entry.line.event, Event::Violation { .. } | Event::View { .. })
}

/// Tells it to people.
fn print(name: &str, found: &Why, run: &Merged<'_>, out: &mut Output) {
    let (seed, at) = (found.plan.seed, Millis(found.failure.at));
    let (property, why) = (&found.failure.property, &found.failure.why);
    out.say(format_args!("{name}, seed {seed}: {property} is violated at {at}: {why}"));
    let runs = found.points.first().map_or(0, |point| point.runs);
    let points = found.points.len();
    out.say(format_args!(
        "of {runs} runs that go on otherwise from each of {points} moments, so many violate it too:"
    ));
    for line in chart(found) {
        out.say(format_args!("{line}"));
    }
    let others: u32 = found.points.iter().map(|point| point.others).sum();
    if others > 0 {
        out.say(format_args!("{others} of all these runs break something else instead"));
    }
    let Some((step, (before, after))) = found.step.zip(found.bracket()) else {
        out.say(format_args!(
            "no moment of this run makes it likelier: drawn anew from any, as many fail"
        ));
        return;
    };
    let (from, to) = (Millis(before.at_ns), Millis(after.at_ns));
    let (few, many) = (percent(before), percent(after));
    let word = if step.is_clear() { "became likely here" } else { "rises most here" };
    out.say(format_args!("{word}: after {from} {few} fail, after {to} {many}"));
    if !step.is_clear() {
        let deviations = step.rise / step.sigma;
        out.say(format_args!(
            "  chance may explain such a rise, of {deviations:.1} standard deviations: more --runs tell more"
        ));
    }
    tell_events(run, before, after, out);
}

/// So many events of a step are told, and so many of those around it.
const MAX_TOLD: usize = 16;
const AROUND: usize = 2;
/// Events are cut after so many characters.
const MAX_LINE: usize = 140;

/// An event as it fits a line.
fn line(run: &Merged<'_>, entry: &Entry<'_>) -> String {
    let told = text::told(run, entry);
    match told.char_indices().nth(MAX_LINE) {
        Some((end, _)) => format!("{}…", &told[..end]),
        None => told,
    }
}

/// What happened at the step, and a little of what was around it. Of many, what breaks or mends
/// something comes first.
fn tell_events(run: &Merged<'_>, before: Point, after: Point, out: &mut Output) {
    let all: Vec<&Entry<'_>> = run.entries.iter().filter(happens).collect();
    let first = all.partition_point(|entry| entry.t <= before.at_ns);
    let last = all.partition_point(|entry| entry.t <= after.at_ns);
    let weighty = |entry: &&&Entry<'_>| {
        matches!(
            entry.line.event,
            Event::Fault { .. } | Event::Crash | Event::Start { .. } | Event::Fact { .. }
        )
    };
    let is_long = last - first > MAX_TOLD;
    let few = |entry: &&&Entry<'_>| !is_long || weighty(entry);
    let told: Vec<&&Entry<'_>> = all[first..last].iter().filter(few).take(MAX_TOLD).collect();
    for entry in &all[first.saturating_sub(AROUND)..first] {
        out.say(format_args!("    {}", line(run, entry)));
    }
    for entry in &told {
        out.say(format_args!("  > {}", line(run, entry)));
    }
    let more = last - first - told.len();
    if more > 0 {
        out.say(format_args!("  > and {more} events more until {}", Millis(after.at_ns)));
    }
    for entry in &all[last..(last + AROUND).min(all.len())] {
        out.say(format_args!("    {}", line(run, entry)));
    }
}

fn percent(point: Point) -> String {
    format!("{:.0}% ({} of {})", point.share() * 100.0, point.failed, point.runs)
}

/// How many rows a chart has, each of eight steps.
const ROWS: usize = 4;
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A wider chart would be broken into lines.
const MAX_WIDTH: usize = 100;

/// The curve as bars, a column a point, with the step marked. The columns go with what happens, not
/// with time.
fn chart(found: &Why) -> Vec<String> {
    let points = &found.points;
    let each = points.len().div_ceil(MAX_WIDTH).max(1);
    let step = found.step.map(|step| (step.from + 1) / each);
    // Of several points in a column the last is shown.
    let columns: Vec<&Point> = points.chunks(each).filter_map(<[Point]>::last).collect();
    let steps = (ROWS * 8) as f64;
    let heights: Vec<usize> =
        columns.iter().map(|point| (point.share() * steps).ceil() as usize).collect();
    let mut lines = Vec::new();
    for row in (0..ROWS).rev() {
        let bars: String =
            heights.iter().map(|height| BARS[height.saturating_sub(row * 8).min(8)]).collect();
        let scale = match row {
            0 => "  0%",
            _ if row == ROWS - 1 => "100%",
            _ => "    ",
        };
        lines.push(format!("  {scale} │{bars}│"));
    }
    let (first, last) = (points.first(), points.last());
    let ends = [first, last]
        .map(|point| point.map_or(String::new(), |point| Millis(point.at_ns).to_string()));
    let [begin, end] = &ends;
    let width = columns.len() + 2;
    let gap = width.saturating_sub(begin.len() + end.len()).max(1);
    if let Some(column) = step {
        let clear = found.step.is_some_and(|step| step.is_clear());
        let word = if clear { "became likely here" } else { "rises most here" };
        lines.push(format!("        {}▲ {word}", " ".repeat(column)));
    }
    lines.push(format!("       {begin}{}{end}", " ".repeat(gap)));
    lines
}
