//! `node verify`: verdicts on the traces of real and simulated runs.

use super::output::Output;
use super::page::{self, PageArgs};
use super::tell;
use crate::client::escaped;
use clap::Args;
use node_lab::explain::{Merged, Source, merge};
use node_lab::registry::Registry;
use node_lab::sim::checker::Checker;
use node_lab::sim::plan::Known;
use node_lab::sim::scenario::Scenario;
use node_lab::study::{Needs, Property, Run, Verdict, Violation};
use node_lab::trace::history::{Taken, Traces};
use node_lab::trace::{lines, told};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Say which properties held in a run, from what clients saw and what nodes did
///
/// A run is the traces of whoever took part, with one clock: a simulated run (`node sim --trace`),
/// all nodes of a cluster from its start (`node --trace`), and clients that tell what they asked
/// and were told (`node bench kv --trace`, or a program of your own). A client has two lines for an
/// operation, or one where no answer came:
///
///   {"at":10,"kind":"invoke","op":"1-4","client":1,"to":2,"protocol":"kv_replication",
///    "label":"{\"put\":{\"key\":\"k\",\"value\":\"v\"}}"}
///   {"at":25,"kind":"return","op":"1-4","label":"{\"put_ok\":{\"timestamp\":7}}"}
///
/// (each in one line), with
///
///   at      when, in nanoseconds of one clock for all; since 1970 beside the traces of nodes
///   op      names the operation: a connection's number, and its own there
///   client  a number; the operations of one client do not overlap, but it may go on after one
///           that gets no answer. In another file it is another client
///   to      the id of the node that was asked
///   label   the request and the reply: JSON, as the traces of nodes have them
///
/// Where clients tell what they asked of a protocol, nothing else counts as asked of it: name the
/// traces of all of them. Of what only nodes saw, a connection is a client. The run begins with an
/// empty store: start the servers anew before, or what others wrote shows as violated. A node whose
/// trace ends a second before others without having stopped counts as killed then.
///
/// With --scenario a run is judged as a simulated one of that scenario: by the properties that it
/// names, held against its [bounds], and by the programs of its [[checker]] tables; what it says of
/// its nodes is known then. What node load drove is judged so:
///
///   node load my.toml --trace clients.jsonl
///   node verify --scenario my.toml clients.jsonl node-*.jsonl
///
/// `node properties` lists the properties: what each says, and what has to be seen to judge it.
/// Traces of real nodes do not show that a node was held up, or cut off from others: whoever does
/// that to nodes should expect elections to look violated. What needs all clocks at one time, or to
/// know who was held up, only the simulator sees: skew_bound, clock_never_backwards,
/// one_liar_moves_nobody and death_noticed_in_time are unknown here.
///
/// Times in verdicts are milliseconds from the beginning of the traces.
///
/// Of a file whose writer was killed the last line may be cut off: it is left out, and a note says
/// so. Where the trace of a node is missing that others name, what needs to see nodes is unknown.
///
/// Prints a line for each property: held, violated and why, or unknown and why. A property is
/// unknown where nothing in the run could have broken it (no client read a key twice, nobody
/// coordinated), or the checker gave up. Exit codes: 0 when all held, 1 when one was violated, 2
/// when the answer is not known: a file cannot be read or is no trace, a property is unknown, or
/// all held and that cannot be printed.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct VerifyArgs {
    /// The traces; - is standard input
    #[arg(required = true, value_name = "TRACE")]
    traces: Vec<PathBuf>,

    /// A property to check, by name; may be given several times [default: all that the run
    /// shows something of and that are promised without conditions; or those of the scenario]
    #[arg(long = "property", value_name = "PROPERTY")]
    properties: Vec<String>,

    /// Judge by this scenario, a file or a name of node scenarios: by its properties, bounds, nodes
    /// and programs
    #[arg(long, value_name = "SCENARIO")]
    scenario: Option<PathBuf>,

    /// Hold the run against this instead of the default, or of what the scenario says: a key of
    /// [bounds], in its unit; node properties lists them. May be given several times
    #[arg(long = "bound", value_name = "NAME=N")]
    bounds: Vec<String>,

    #[command(flatten)]
    page: PageArgs,

    /// Print one JSON object instead: {"verdict","operations","properties":
    /// [{"property","verdict","why","operations","witnesses"}]}; verdicts are held, violated and
    /// unknown
    #[arg(long)]
    json: bool,
}

/// Exit code when nothing can be said.
const UNKNOWN: u8 = 2;

/// Checks the traces and prints the verdicts.
pub fn run(args: &VerifyArgs, registry: &Registry) -> ExitCode {
    let mut out = Output::default();
    let code = verify(args, registry, &mut out).unwrap_or_else(|why| {
        tell!("node: {}", escaped(why.as_bytes()));
        UNKNOWN
    });
    ExitCode::from(out.end("node verify", code, UNKNOWN))
}

/// Answers the exit code.
fn verify(args: &VerifyArgs, registry: &Registry, out: &mut Output) -> Result<u8, String> {
    let scenario = args.scenario.as_deref().map(|path| Scenario::open(path, registry));
    let scenario = scenario.transpose()?;
    let known = known(scenario.as_ref(), registry);
    if let Some(name) = args.properties.iter().find(|name| known.iter().all(|p| p.name != **name)) {
        let all: Vec<&str> = known.iter().map(|one| one.name).collect();
        return Err(format!("--property {name}: no such property; there are {}", all.join(", ")));
    }
    let Read { mut run, plan, unseen, begin } = read(&args.traces, scenario.as_ref())?;
    if let Some(scenario) = &scenario {
        run.bounds = scenario.bounds.clone();
        run.nodes = scenario.nodes.clone();
    }
    for given in &args.bounds {
        let (name, value) = given.split_once('=').unwrap_or((given, ""));
        let value = value.parse().map_err(|_| format!("--bound {given}: give NAME=N"))?;
        let set = registry.set_bound(&mut run.bounds, name, value, LONGEST_MS);
        set.map_err(|why| format!("--bound {given}: {why}"))?;
    }
    let judge = |property: &'static Property| match &scenario {
        None => (property.judge)(&run).told(&run, || registry.json_forms()),
        Some(scenario) => scenario.judge(property, &run, registry, plan),
    };
    let asked = match &scenario {
        Some(scenario) if args.properties.is_empty() => scenario.properties.clone(),
        _ => properties(&args.properties, &run, &known),
    };
    let verdicts = asked.into_iter().map(|property| {
        let verdict = unseen.verdict(property, &run).unwrap_or_else(|| judge(property));
        (property, unseen.doubt(property, verdict, &run))
    });
    let verdicts: Vec<(&'static Property, Verdict)> = verdicts.collect();
    let shows_nothing = registry.properties().all(|property| !(property.shows)(&run));
    if shows_nothing && run.timeline.is_empty() && run.operations.is_empty() || verdicts.is_empty()
    {
        let why = "there is nothing to judge: no operation, no message, no fact that a property is \
                   about; see node properties";
        return Err(why.into());
    }
    let text = if args.json { show_json(&run, &verdicts) } else { show(&run, &verdicts) };
    // It remembers an error itself.
    let _ = out.write_all(text.as_bytes());
    draw(args, &run, begin, &verdicts)?;
    Ok(overall(&verdicts))
}

/// Writes the page that was asked for, with what was judged.
fn draw(
    args: &VerifyArgs,
    run: &Run,
    begin: u64,
    verdicts: &[(&'static Property, Verdict)],
) -> Result<(), String> {
    if args.page.explain.is_none() {
        return Ok(());
    }
    if args.traces.iter().any(|file| file == Path::new("-")) {
        return Err("--explain: standard input is read once: name the trace's file".into());
    }
    let sources: Result<Vec<Source>, _> =
        args.traces.iter().map(|file| Source::load(file)).collect();
    let sources = sources.map_err(|error| error.to_string())?;
    let mut merged = merge(&sources).map_err(|error| error.to_string())?;
    page::judge(&mut merged, run, begin, verdicts);
    let traces: Vec<String> = args.traces.iter().map(|file| file.display().to_string()).collect();
    args.page.write(merged, &format!("node explain {} -o part.html", traces.join(" ")))
}

/// What `node explain` adds to the traces of real nodes: verdicts on what they show, as without a
/// scenario; nothing of what cannot be judged.
pub(super) fn judge_traces(files: &[PathBuf], registry: &Registry, merged: &mut Merged<'_>) {
    let Ok(Read { run, begin, plan: _, unseen }) = read(files, None) else { return };
    let all = known(None, registry);
    let judged = properties(&[], &run, &all).into_iter().map(|property| {
        let judge = || (property.judge)(&run).told(&run, || registry.json_forms());
        let verdict = unseen.verdict(property, &run).unwrap_or_else(judge);
        (property, unseen.doubt(property, verdict, &run))
    });
    let verdicts: Vec<_> = judged.collect();
    page::judge(merged, &run, begin, &verdicts);
}

/// The longest run of real nodes that a bound is for: a year.
const LONGEST_MS: u64 = 365 * 24 * 3_600_000;

/// All properties that can be asked for: those of a scenario's programs come last.
fn known(scenario: Option<&Scenario>, registry: &Registry) -> Vec<&'static Property> {
    let own = scenario.into_iter().flat_map(|scenario| &scenario.checkers);
    registry.properties().chain(own.map(Checker::property)).collect()
}

/// What was read of the traces of a run.
struct Read {
    run: Run,
    /// When it began, as its traces have it.
    begin: u64,
    plan: Known,
    unseen: Unseen,
}

/// What of a run nobody saw.
#[derive(Default)]
struct Unseen {
    /// The end of a trace is cut off.
    is_cut: bool,
    /// There is no node's trace.
    has_no_nodes: bool,
    /// The nodes whose traces are missing beside those of others, in words.
    missing: Option<String>,
}

impl Unseen {
    /// The verdict on what needs that.
    fn verdict(&self, property: &Property, run: &Run) -> Option<Verdict> {
        let needs = property.needs;
        let of_nodes = needs.contains(Needs::NODES) || needs.contains(Needs::MESSAGES);
        if !of_nodes {
            return None;
        }
        if self.has_no_nodes && !run.operations.is_empty() {
            let why = "no trace of a node is among these: name those of the nodes too".into();
            return Some(Verdict::Unknown { why });
        }
        let missing = self.missing.as_ref()?;
        Some(Verdict::Unknown { why: format!("no trace is of {missing}") })
    }

    /// What a cut off file lacks may be the PUT of a value that somebody read, or an answer. What a
    /// node saw whose trace is missing may be such a PUT too, unless clients tell of themselves.
    fn doubt(&self, property: &Property, verdict: Verdict, run: &Run) -> Verdict {
        let Verdict::Violated(Violation { why, .. }) = &verdict else { return verdict };
        let needs = property.needs;
        let is_told_by_nodes = || run.operations.iter().any(|one| one.is_seen_at_node);
        let why = match &self.missing {
            _ if self.is_cut && needs.contains(Needs::OPERATIONS) => {
                format!("{why}; or what was cut off explains it")
            }
            Some(missing) if needs.contains(Needs::EVERY_CLIENT) && is_told_by_nodes() => {
                format!("{why}; or what {missing} saw explains it")
            }
            _ => return verdict,
        };
        Verdict::Undecided { why }
    }
}

/// Reads the traces of a run.
fn read(files: &[PathBuf], scenario: Option<&Scenario>) -> Result<Read, String> {
    let (mut traces, mut run) = (Traces::default(), Run::default());
    let mut unseen = Unseen::default();
    for file in files {
        let taken = load(file, &mut traces, &mut run);
        let taken = taken.map_err(|why| format!("{}: {why}", file.display()))?;
        if let Some(line) = taken.cut {
            unseen.is_cut = true;
            let place = format!("{}:{line}", file.display());
            let place = escaped(place.as_bytes());
            tell!("node: note: {place}: the last line is cut off, and left out");
        }
        if taken.moved > 0 {
            let moved = taken.moved;
            tell!("node: client N of {} is named client {moved} + N", file.display());
        }
    }
    let (seed, clients) = traces.plan();
    let named = scenario.into_iter().flat_map(|one| one.nodes.iter().map(|node| node.id.0));
    let mut nodes: BTreeSet<u32> = traces.nodes().iter().copied().chain(named).collect();
    nodes.retain(|node| !traces.traced().contains(node));
    unseen.has_no_nodes = traces.traced().is_empty();
    if !unseen.has_no_nodes && !nodes.is_empty() {
        let nodes: Vec<String> = nodes.iter().map(|node| format!("node {node}")).collect();
        let missing = nodes.join(", ");
        tell!("node: note: no trace is of {missing}: what it did is not known");
        unseen.missing = Some(missing);
    }
    let begin = traces.begin();
    traces.finish(&mut run);
    Ok(Read { run, begin, plan: Known { seed, clients }, unseen })
}

/// Adds a file to a run.
fn load(file: &Path, traces: &mut Traces, run: &mut Run) -> Result<Taken, String> {
    if file == Path::new("-") {
        return traces.read(std::io::stdin().lock(), run);
    }
    let input = BufReader::new(File::open(file).map_err(|error| error.to_string())?);
    traces.read(input, run)
}

/// Of those known, the properties asked for, each once, or those that are promised and that the run
/// can show.
fn properties(asked: &[String], run: &Run, known: &[&'static Property]) -> Vec<&'static Property> {
    let is_meant = |property: &&Property| match asked {
        [] => property.is_promised && (property.shows)(run),
        asked => asked.iter().any(|name| name == property.name),
    };
    known.iter().copied().filter(is_meant).collect()
}

/// 0, 1 or 2: a violation outweighs what is unknown.
pub(super) fn overall(verdicts: &[(&'static Property, Verdict)]) -> u8 {
    let codes = verdicts.iter().map(|(_, verdict)| match verdict {
        Verdict::Held => 0,
        Verdict::Unknown { .. } | Verdict::Undecided { .. } => UNKNOWN,
        Verdict::Violated(_) => 1,
    });
    codes.reduce(|a, b| if a == 1 || b == 1 { 1 } else { a.max(b) }).unwrap_or(0)
}

/// A line for each, and under a violation one for each of its witnesses.
pub(super) fn show(run: &Run, verdicts: &[(&'static Property, Verdict)]) -> String {
    let line = |(property, verdict): &(&Property, Verdict)| match verdict {
        Verdict::Held => format!("{property:<20} held\n"),
        Verdict::Violated(Violation { why, witnesses, .. }) => {
            let witnesses = told(witnesses, run);
            let because: String = lines(&witnesses).map(|line| format!("  {line}\n")).collect();
            format!("{property:<20} violated: {why}\n{because}")
        }
        Verdict::Unknown { why } | Verdict::Undecided { why } => {
            format!("{property:<20} unknown: {why}\n")
        }
    };
    verdicts.iter().map(line).collect()
}

/// A JSON object for each.
pub(super) fn as_json(
    run: &Run,
    verdicts: &[(&'static Property, Verdict)],
) -> Vec<serde_json::Value> {
    let one = |(property, verdict): &(&Property, Verdict)| {
        let name = property.name;
        match verdict {
            Verdict::Held => json!({"property": name, "verdict": "held"}),
            Verdict::Unknown { why } | Verdict::Undecided { why } => {
                json!({"property": name, "verdict": "unknown", "why": why})
            }
            Verdict::Violated(Violation { why, witnesses, shown, .. }) => json!({
                "property": name,
                "verdict": "violated",
                "why": why,
                "operations": shown,
                "witnesses": told(witnesses, run),
            }),
        }
    };
    verdicts.iter().map(one).collect()
}

/// All of them in a word.
pub(super) fn word(verdicts: &[(&'static Property, Verdict)]) -> &'static str {
    match overall(verdicts) {
        0 => "held",
        1 => "violated",
        _ => "unknown",
    }
}

fn show_json(run: &Run, verdicts: &[(&'static Property, Verdict)]) -> String {
    let all = json!({
        "verdict": word(verdicts),
        "operations": run.operations.len(),
        "properties": as_json(run, verdicts),
    });
    format!("{all}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use node_lab::check::timeline::{Happening, What};
    use node_lab::study::{AGREE, Bounds};
    use node_protocols::facts::Rank;

    fn property(name: &str) -> &'static Property {
        node_studies::registry().property(name).expect("a property of this tree")
    }

    fn names(asked: &[&str], run: &Run) -> Vec<&'static str> {
        let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
        let meant = properties(&asked, run, &known(None, &node_studies::registry()));
        meant.into_iter().map(|property| property.name).collect()
    }

    fn all() -> Vec<&'static str> {
        node_studies::registry().properties().map(|property| property.name).collect()
    }

    /// Client 2 does not read what client 1 has PUT; and what more is told.
    fn stale(more: &str) -> Run {
        taken(&[format!("{RUN}{STALE}{more}")])
    }

    fn taken(texts: &[String]) -> Run {
        let (mut traces, mut run) = (Traces::default(), Run::default());
        for text in texts {
            traces.read(text.as_bytes(), &mut run).unwrap();
        }
        traces.finish(&mut run);
        run
    }

    /// Whoever elects has 50 ms for it.
    fn held(texts: &[String]) -> Run {
        let run = taken(texts);
        Run { bounds: Bounds::default().with(&AGREE, 50_000_000), ..run }
    }

    fn check(name: &str, run: &Run) -> Verdict {
        (property(name).judge)(run)
    }

    const STALE: &str = r#"
        {"at":10000000,"kind":"invoke","op":"1-1","client":1,"to":1,"protocol":"kv_replication","label":"{\"put\":{\"key\":\"k\",\"value\":\"v\"}}"}
        {"at":25000000,"kind":"return","op":"1-1","label":"{\"put_ok\":{\"timestamp\":7}}"}
        {"at":30000000,"kind":"invoke","op":"2-1","client":2,"to":3,"protocol":"kv_replication","label":"{\"get\":{\"key\":\"k\"}}"}
        {"at":35000000,"kind":"return","op":"2-1","label":"{\"null\":{}}"}
    "#;

    /// A replica is asked what it holds.
    const INFO: &str = r#"
        {"at":40000000,"kind":"invoke","op":"3-1","client":3,"to":1,"protocol":"kv_replication","label":"{\"info\":{}}"}
        {"at":45000000,"kind":"return","op":"3-1","label":"{\"info\":{\"node\":1,\"leader\":1,\"epoch\":1,\"complete\":true,\"applied\":0,\"keys\":0,\"table_digest\":\"\",\"followers\":{},\"counters\":{}}}"}
    "#;

    #[test]
    fn the_default_is_what_the_store_promises_and_the_run_can_show() {
        let run = stale("");
        assert_eq!(names(&[], &run), all()[..5]);
        let run = stale(INFO);
        assert_eq!(names(&[], &run), all()[..6]);
        let asked = ["linearizable", "monotonic_reads", "linearizable"];
        assert_eq!(names(&asked, &run), ["monotonic_reads", "linearizable"]);
    }

    /// Without the witnesses, which are below what is violated and nowhere else.
    fn verdicts_of(shown: &str) -> String {
        let mut lines: Vec<&str> = Vec::new();
        for line in shown.lines() {
            let is_witness = line.starts_with("  ");
            let is_first = is_witness && line.starts_with("  ①");
            let is_violated = lines.last().is_some_and(|last| last.contains(" violated: "));
            assert!(!is_first || is_violated, "{shown}");
            if !is_witness {
                lines.push(line);
            }
        }
        let violated = lines.iter().filter(|line| line.contains(" violated: ")).count();
        assert_eq!(shown.matches("  ①").count(), violated, "{shown}");
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn one_line_a_property_and_a_code_for_all() {
        let run = stale("");
        let all = node_studies::registry();
        let verdicts: Vec<_> = all.properties().map(|one| (one, check(one.name, &run))).collect();
        let verdicts = &verdicts[..7];
        assert_eq!(
            verdicts_of(&show(&run, &verdicts[1..])),
            "read_your_writes     unknown: no client read a key that it had PUT\n\
             regular_register     violated: client 2's GET k at node 3 returned NULL \
             at 35.0 ms, though client 1's PUT k=v at node 1 (timestamp 7) had been acknowledged before (25.0 ms)\n\
             unique_timestamps    unknown: no timestamp of a key was seen twice\n\
             linearizable_writes  unknown: no two PUTs were acknowledged\n\
             replicas_equal       unknown: the history says nothing of replicas\n\
             linearizable         violated: no order explains that client 2's GET k at node 3 \
             returned NULL at 35.0 ms, beside: client 1 PUT k=v at node 1 returned PUT_OK (timestamp 7, 10.0 to 25.0 ms)\n"
        );
        assert_eq!(overall(verdicts), 1);
        assert_eq!(overall(&verdicts[3..6]), UNKNOWN);
        assert_eq!(overall(&verdicts[..2]), UNKNOWN, "what nothing could break is not held");
        assert_eq!(overall(&[(property("monotonic_reads"), Verdict::Held)]), 0);
        let all: serde_json::Value = serde_json::from_str(&show_json(&run, verdicts)).unwrap();
        assert_eq!(all["verdict"], "violated");
        assert_eq!(all["properties"][2]["operations"][1]["timestamp"], 7);
        assert_eq!(all["properties"][5]["verdict"], "unknown");
    }

    const RUN: &str = r#"{"at":0,"kind":"run","source":"node","scenario":"x","nodes":[1,2]}"#;

    /// Two nodes' traces: 2 coordinates, and 1 hears of it with `value`.
    fn traces(value: u64) -> Run {
        let one = format!(
            r#"{RUN}
            {{"at":10000000,"node":1,"kind":"start","incarnation":1}}
            {{"at":30000000,"node":1,"lamport":{value},"kind":"recv","id":"a","from":2}}
            {{"at":30000000,"node":1,"kind":"fact","protocol":"bully","fact":"Coordinator","subject":2,"value":{{"id":2,"epoch":1}}}}
            "#
        );
        let two = format!(
            r#"{RUN}
            {{"at":10000000,"node":2,"kind":"start","incarnation":1}}
            {{"at":20000000,"node":2,"kind":"fact","protocol":"bully","fact":"Coordinator","subject":2,"value":{{"id":2,"epoch":1}}}}
            {{"at":20000000,"node":2,"lamport":4,"kind":"send","id":"a","to":1,"protocol":"bully","label":"{{\"Coordinator\":{{\"epoch\":1}}}}"}}
            {{"at":40000000,"node":2,"lamport":5,"kind":"send","id":"b","to":1,"protocol":"bully","label":"\"Ok\""}}
            {{"at":90000000,"node":2,"kind":"note","line":"x"}}
            "#
        );
        held(&[one, two])
    }

    #[test]
    fn traces_are_judged_by_what_they_show() {
        let run = traces(5);
        let shown = names(&[], &run);
        let expected = [
            "clock_condition",
            "clock_strictly_increases",
            "election_terminates",
            "one_coordinator_per_component",
            "highest_live_id_wins",
        ];
        assert_eq!(shown, expected);
        for property in shown {
            assert_eq!(check(property, &run), Verdict::Held, "{property}");
        }
        assert!(matches!(check("monotonic_reads", &run), Verdict::Unknown { .. }));
        let verdicts = [(property("clock_condition"), check("clock_condition", &traces(4)))];
        assert_eq!(
            verdicts_of(&show(&Run::default(), &verdicts)),
            "clock_condition      violated: node 1 receiving 1 at 20.0 ms has Lamport value 4 and \
             vector {1: 1, 2: 1}, but the event of node 2 in its past, at 10.0 ms, has 4\n"
        );
    }

    /// What elects by rank.
    const ELECTS: &str = r#"{"protocol":"bully","publishes":["Coordinator"],"needs":["Rank"]}"#;

    /// Node 1, of rank 2, and node 2, of rank 1, hold `winner` coordinator; node 3 gives ranks and
    /// does not elect.
    fn by_rank(winner: u32) -> Run {
        let coordinator = |at: u32, node: u32| {
            format!(
                r#"{{"at":{at}000000,"node":{node},"kind":"fact","protocol":"bully","fact":"Coordinator","subject":{winner},"value":{{"id":{winner},"epoch":1}}}}"#
            )
        };
        let server = |node: u32| {
            let ranks = (1..=2).map(|id| {
                let rank = 3 - id;
                format!(
                    r#"{{"at":12000000,"node":{node},"kind":"fact","protocol":"membership","fact":"Rank","subject":{id},"value":{{"id":{id},"rank":{rank}}}}}"#
                )
            });
            let ranks = ranks.collect::<Vec<_>>().join("\n");
            let start = format!(
                r#"{{"at":10000000,"node":{node},"kind":"start","incarnation":1,"runs":[{ELECTS}]}}"#
            );
            format!("{RUN}\n{start}\n{ranks}\n{}\n", coordinator(20, node))
        };
        let start =
            r#"{"at":10000000,"node":3,"kind":"start","incarnation":1,"runs":[{"protocol":"x"}]}"#;
        let reference = format!(
            r#"{RUN}{}{start}{}{{"at":90000000,"node":3,"kind":"note","line":"x"}}"#,
            '\n', '\n'
        );
        held(&[server(1), server(2), reference])
    }

    #[test]
    fn an_election_by_rank_is_judged_by_ranks_among_those_that_elect() {
        let verdicts = |winner| {
            let run = by_rank(winner);
            let shown = names(&[], &run).into_iter();
            let judged = shown.map(|name| (property(name), check(name, &run)));
            verdicts_of(&show(&run, &judged.collect::<Vec<_>>()))
        };
        assert_eq!(
            verdicts(1),
            "election_terminates  held\n\
             one_coordinator_per_component held\n\
             highest_live_id_wins held\n\
             ranks_unique_and_stable held\n"
        );
        assert_eq!(
            verdicts(2),
            "election_terminates  held\n\
             one_coordinator_per_component held\n\
             highest_live_id_wins violated: node 1 holds node 2 coordinator, but the highest within \
             its reach is 1, by its rank 2 at 52.0 ms, undisturbed since 2.0 ms\n\
             ranks_unique_and_stable held\n"
        );
        assert!(verdicts(3).contains("node 3 coordinator, which takes no part in elections"));
        let mut run = by_rank(1);
        run.timeline.push(Happening {
            at: 95_000_000,
            what: What::fact(2, Rank { id: node_protocols::core::NodeId(1), rank: 1 }),
        });
        let again = check("ranks_unique_and_stable", &run);
        assert!(matches!(again, Verdict::Violated(_)), "{again:?}");
        let listed = check("death_noticed_in_time", &run);
        assert!(matches!(listed, Verdict::Unknown { .. }), "{listed:?}");
    }

    #[test]
    fn a_trace_of_nothing_has_nothing_to_show() {
        let run = taken(&[RUN.into()]);
        assert_eq!(names(&[], &run), [""; 0]);
    }
}
