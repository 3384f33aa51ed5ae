//! `node verify`: verdicts on histories of real and simulated runs.

use super::output::Output;
use super::tell;
use crate::client::escaped;
use clap::Args;
use node_lab::registry::Registry;
use node_lab::study::{AGREE, Bounds, Needs, Property, Run, Taken, Verdict, Violation, read_lines};
use node_lab::trace::history::{self, Traces};
use node_studies::bully::{ALIVE, HANDOVER};
use serde_json::json;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Say which properties held in a run, from what clients saw and what nodes did
///
/// A history of the key-value store is JSON lines, one operation a line:
///
///   {"client":1,"op":"put","key":"k","value":"v","invoke_ns":10,"return_ns":25,
///    "outcome":"ok","timestamp":7,"server":"127.0.0.1:10097"}
///
/// (in one line), with
///
///   client      a number; the operations of one client do not overlap
///   op          put or get
///   key, value  the value written or read; null where a get read none
///   invoke_ns   when it was sent, in nanoseconds of one clock for all clients
///   return_ns   when its answer came; null when none came
///   outcome     ok; for a get also null (the key was never written) and try_other (refused: the
///               server is behind the client); for a put also not_applied (it never takes effect)
///               and may_still_apply (it may take effect, or have done so); unknown (no answer)
///   timestamp   the one that the store gave to the put, or of the value read; 0 for none
///   server      who was asked; not used
///
/// and, if known, one line for each replica with what it held in the end, once nothing was under
/// way any more:
///
///   {"replica":"n1","applied":7,"digest":"9f3c"}
///
/// A history begins with an empty store and holds everybody who wrote to it: start the servers anew
/// before each `node bench kv --history`, or what others wrote shows as violated. Several files are
/// taken as parts of one run, with one clock and different clients in each. `node bench kv
/// --history` and `node sim --history` write histories. A trace of a node (`--trace`) is taken as
/// the history of the requests that reached it, of the messages that it sent and received, and of
/// whom it held coordinator: name the traces of all nodes of a cluster, on one machine, from its
/// start. A node whose trace ends a second before others without having stopped counts as killed
/// then.
///
/// `node properties` lists the properties: what each says, and what has to be seen to judge it.
/// Traces of real nodes do not show that a node was held up, or cut off from others: whoever does
/// that to nodes should expect elections to look violated. What needs all clocks at one time, or to
/// know who was held up, only the simulator sees: skew_bound, clock_never_backwards,
/// one_liar_moves_nobody and death_noticed_in_time are unknown here.
///
/// Times in verdicts are milliseconds of the history's clock, or from the beginning of the traces.
///
/// Of a file whose writer was killed the last line may be cut off: it is left out, and a note says
/// so.
///
/// Prints a line for each property: held, violated and why, or unknown and why. A property is
/// unknown where nothing in the history could have broken it (no client read a key twice, nobody
/// coordinated), or the checker gave up. Exit codes: 0 when all held, 1 when one was violated, 2
/// when the answer is not known: a file cannot be read or is no history, a property is unknown, or
/// all held and that cannot be printed.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct VerifyArgs {
    /// The histories or traces; - is standard input
    #[arg(required = true, value_name = "HISTORY")]
    histories: Vec<PathBuf>,

    /// A property to check, by name; may be given several times [default: all that the history
    /// shows something of, but linearizable, one_coordinator and live_higher_prevails]
    #[arg(long = "property", value_name = "PROPERTY")]
    properties: Vec<String>,

    /// How long after the last failure, repair or start all nodes hold the right coordinator, in
    /// milliseconds
    #[arg(long, value_name = "MS", default_value_t = AGREE.default)]
    agree_ms: u64,

    /// How long two nodes may hold themselves coordinator while one takes over, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = HANDOVER.default)]
    handover_ms: u64,

    /// For how long a node that was heard from counts as live, in milliseconds: T of the election
    #[arg(long, value_name = "MS", default_value_t = ALIVE.default)]
    alive_ms: u64,

    /// Print one JSON object instead: {"verdict","operations","replicas","properties":
    /// [{"property","verdict","why","operations"}]}; verdicts are held, violated and unknown
    #[arg(long)]
    json: bool,
}

/// Exit code when nothing can be said.
const UNKNOWN: u8 = 2;

/// Checks the histories and prints the verdicts.
pub fn run(args: VerifyArgs, registry: &Registry) -> ExitCode {
    if let Some(name) = args.properties.iter().find(|name| registry.property(name).is_none()) {
        let all: Vec<&str> = registry.properties().map(|one| one.name).collect();
        let (name, all) = (escaped(name.as_bytes()), all.join(", "));
        tell!("node: --property {name}: no such property; there are {all}");
        return ExitCode::from(UNKNOWN);
    }
    let (mut traces, mut run) = (Traces::default(), Run::default());
    let mut is_cut = false;
    for file in &args.histories {
        let taken = match load(file, registry, &mut traces, &mut run) {
            Ok(taken) => taken,
            Err(why) => {
                let file = file.display();
                tell!("node: {}", escaped(format!("{file}: {why}").as_bytes()));
                return ExitCode::from(UNKNOWN);
            }
        };
        if let Some(line) = taken.cut {
            is_cut = true;
            let place = format!("{}:{line}", file.display());
            let place = escaped(place.as_bytes());
            tell!("node: note: {place}: the last line is cut off, and left out");
        }
        if taken.moved > 0 {
            let moved = taken.moved;
            tell!("node: client N of {} is named client {moved} + N", file.display());
        }
    }
    traces.finish(&mut run);
    run.bounds = Bounds::default()
        .with(&AGREE, args.agree_ms.saturating_mul(1_000_000))
        .with(&HANDOVER, args.handover_ms.saturating_mul(1_000_000))
        .with(&ALIVE, args.alive_ms.saturating_mul(1_000_000));
    let verdicts: Vec<(&'static Property, Verdict)> = properties(&args.properties, &run, registry)
        .into_iter()
        .map(|property| (property, (property.judge)(&run)))
        .map(|(property, verdict)| {
            (property, if is_cut { doubt(property, verdict) } else { verdict })
        })
        .collect();
    let shows_nothing = registry.properties().all(|property| !(property.shows)(&run));
    if shows_nothing && run.timeline.is_empty() || verdicts.is_empty() {
        tell!(
            "node: there is nothing to judge: no operation, no message, no fact that a property is \
             about; see node properties"
        );
        return ExitCode::from(UNKNOWN);
    }
    let text = if args.json { show_json(&run, &verdicts) } else { show(&verdicts) };
    let mut out = Output::default();
    // It remembers an error itself.
    let _ = out.write_all(text.as_bytes());
    ExitCode::from(out.end("node verify", overall(&verdicts), UNKNOWN))
}

/// Adds a file to a run.
fn load(
    file: &Path,
    registry: &Registry,
    traces: &mut Traces,
    run: &mut Run,
) -> Result<Taken, String> {
    if file == Path::new("-") {
        return read(std::io::stdin().lock(), registry, traces, run);
    }
    let input = BufReader::new(File::open(file).map_err(|error| error.to_string())?);
    read(input, registry, traces, run)
}

/// A trace, or lines of a form that a study knows.
fn read(
    mut input: impl BufRead,
    registry: &Registry,
    traces: &mut Traces,
    run: &mut Run,
) -> Result<Taken, String> {
    let head = input.fill_buf().map_err(|error| error.to_string())?;
    if history::is_trace(head) {
        return traces.read(input, run).map(|cut| Taken { moved: 0, cut });
    }
    read_lines(input, registry.studies(), run).map_err(|error| error.to_string())
}

/// What a cut off file lacks may be the PUT of a value that somebody read.
fn doubt(property: &Property, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Violated(Violation { why, .. })
            if property.needs.contains(Needs::EVERY_CLIENT) =>
        {
            Verdict::Undecided { why: format!("{why}; or what was cut off explains it") }
        }
        verdict => verdict,
    }
}

/// The properties asked for, each once, or those that are promised and that the history can show.
fn properties(asked: &[String], run: &Run, registry: &Registry) -> Vec<&'static Property> {
    let is_meant = |property: &&Property| match asked {
        [] => property.is_promised && (property.shows)(run),
        asked => asked.iter().any(|name| name == property.name),
    };
    registry.properties().filter(is_meant).collect()
}

/// 0, 1 or 2: a violation outweighs what is unknown.
fn overall(verdicts: &[(&'static Property, Verdict)]) -> u8 {
    let codes = verdicts.iter().map(|(_, verdict)| match verdict {
        Verdict::Held => 0,
        Verdict::Unknown { .. } | Verdict::Undecided { .. } => UNKNOWN,
        Verdict::Violated(_) => 1,
    });
    codes.reduce(|a, b| if a == 1 || b == 1 { 1 } else { a.max(b) }).unwrap_or(0)
}

fn show(verdicts: &[(&'static Property, Verdict)]) -> String {
    let line = |(property, verdict): &(&Property, Verdict)| match verdict {
        Verdict::Held => format!("{property:<20} held\n"),
        Verdict::Violated(Violation { why, .. }) => format!("{property:<20} violated: {why}\n"),
        Verdict::Unknown { why } | Verdict::Undecided { why } => {
            format!("{property:<20} unknown: {why}\n")
        }
    };
    verdicts.iter().map(line).collect()
}

fn show_json(run: &Run, verdicts: &[(&'static Property, Verdict)]) -> String {
    let one = |(property, verdict): &(&Property, Verdict)| {
        let name = property.name;
        match verdict {
            Verdict::Held => json!({"property": name, "verdict": "held"}),
            Verdict::Unknown { why } | Verdict::Undecided { why } => {
                json!({"property": name, "verdict": "unknown", "why": why})
            }
            Verdict::Violated(Violation { why, shown, .. }) => {
                json!({"property": name, "verdict": "violated", "why": why, "operations": shown})
            }
        }
    };
    let verdict = match overall(verdicts) {
        0 => "held",
        1 => "violated",
        _ => "unknown",
    };
    let all = json!({
        "verdict": verdict,
        "operations": run.operations.len(),
        "properties": verdicts.iter().map(one).collect::<Vec<_>>(),
    });
    format!("{all}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use node_lab::check::timeline::{Happening, What};
    use node_protocols::facts::Rank;

    fn property(name: &str) -> &'static Property {
        node_studies::registry().property(name).expect("a property of this tree")
    }

    fn names(asked: &[&str], run: &Run) -> Vec<&'static str> {
        let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
        let meant = properties(&asked, run, &node_studies::registry());
        meant.into_iter().map(|property| property.name).collect()
    }

    fn all() -> Vec<&'static str> {
        node_studies::registry().properties().map(|property| property.name).collect()
    }

    fn stale(more: &str) -> Run {
        let mut run = Run::default();
        read_lines(
            format!("{STALE}{more}").as_bytes(),
            node_studies::registry().studies(),
            &mut run,
        )
        .unwrap();
        run
    }

    fn check(name: &str, run: &Run) -> Verdict {
        (property(name).judge)(run)
    }

    const STALE: &str = r#"
        {"client":1,"op":"put","key":"k","value":"v","invoke_ns":10000000,"return_ns":25000000,"outcome":"ok","timestamp":7}
        {"client":2,"op":"get","key":"k","value":null,"invoke_ns":30000000,"return_ns":35000000,"outcome":"null"}
    "#;

    #[test]
    fn the_default_is_what_the_store_promises_and_the_history_can_show() {
        let history = stale("");
        assert_eq!(names(&[], &history), all()[..5]);
        let history = stale(r#"{"replica":"a","applied":0,"digest":""}"#);
        assert_eq!(names(&[], &history), all()[..6]);
        let asked = ["linearizable", "monotonic_reads", "linearizable"];
        assert_eq!(names(&asked, &history), ["monotonic_reads", "linearizable"]);
    }

    #[test]
    fn one_line_a_property_and_a_code_for_all() {
        let history = stale("");
        let all = node_studies::registry();
        let verdicts: Vec<_> =
            all.properties().map(|one| (one, check(one.name, &history))).collect();
        let verdicts = &verdicts[..7];
        assert_eq!(
            show(&verdicts[1..]),
            "read_your_writes     unknown: no client read a key that it had PUT\n\
             regular_register     violated: client 2 GET k returned NULL \
             (30.000 to 35.000 ms) was sent after client 1 PUT k=v returned PUT_OK (timestamp 7, 10.000 to 25.000 ms)\n\
             unique_timestamps    unknown: no timestamp of a key was seen twice\n\
             linearizable_writes  unknown: no two PUTs were acknowledged\n\
             replicas_equal       unknown: the history says nothing of replicas\n\
             linearizable         violated: no order explains client 2 GET k returned NULL \
             (30.000 to 35.000 ms) beside client 1 PUT k=v returned PUT_OK (timestamp 7, 10.000 to 25.000 ms)\n"
        );
        assert_eq!(overall(verdicts), 1);
        assert_eq!(overall(&verdicts[3..6]), UNKNOWN);
        assert_eq!(overall(&verdicts[..2]), UNKNOWN, "what nothing could break is not held");
        assert_eq!(overall(&[(property("monotonic_reads"), Verdict::Held)]), 0);
        let all: serde_json::Value = serde_json::from_str(&show_json(&history, verdicts)).unwrap();
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
            {{"at":20000000,"node":2,"lamport":4,"kind":"send","id":"a","to":1,"protocol":"bully","label":"Coordinator {{ epoch: 1 }}"}}
            {{"at":40000000,"node":2,"lamport":5,"kind":"send","id":"b","to":1,"protocol":"bully","label":"Ok"}}
            {{"at":90000000,"node":2,"kind":"note","line":"x"}}
            "#
        );
        let mut traces = Traces::default();
        let mut history = Run::default();
        for text in [one, two] {
            let text = text.trim_start().as_bytes();
            read(text, &node_studies::registry(), &mut traces, &mut history).unwrap();
        }
        traces.finish(&mut history);
        history.bounds = history.bounds.with(&AGREE, 50_000_000);
        history
    }

    #[test]
    fn traces_are_judged_by_what_they_show() {
        let history = traces(5);
        let shown = names(&[], &history);
        let expected = [
            "clock_condition",
            "clock_strictly_increases",
            "election_terminates",
            "one_coordinator_per_component",
            "highest_live_id_wins",
        ];
        assert_eq!(shown, expected);
        for property in shown {
            assert_eq!(check(property, &history), Verdict::Held, "{property}");
        }
        assert!(matches!(check("monotonic_reads", &history), Verdict::Unknown { .. }));
        let verdicts = [(property("clock_condition"), check("clock_condition", &traces(4)))];
        assert_eq!(
            show(&verdicts),
            "clock_condition      violated: node 1 receiving 1 at 20.000 ms has Lamport value 4 and \
             vector {1: 1, 2: 1}, but the event of node 2 in its past, at 10.000 ms, has 4\n"
        );
    }

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
                r#"{{"at":10000000,"node":{node},"kind":"start","incarnation":1,"elects":"rank"}}"#
            );
            format!("{RUN}\n{start}\n{ranks}\n{}\n", coordinator(20, node))
        };
        let start = r#"{"at":10000000,"node":3,"kind":"start","incarnation":1,"elects":"no"}"#;
        let reference = format!(
            r#"{RUN}{}{start}{}{{"at":90000000,"node":3,"kind":"note","line":"x"}}"#,
            '\n', '\n'
        );
        let (mut traces, mut history) = (Traces::default(), Run::default());
        for text in [server(1), server(2), reference] {
            read(text.as_bytes(), &node_studies::registry(), &mut traces, &mut history).unwrap();
        }
        traces.finish(&mut history);
        history.bounds = history.bounds.with(&AGREE, 50_000_000);
        history
    }

    #[test]
    fn an_election_by_rank_is_judged_by_ranks_among_those_that_elect() {
        let verdicts = |winner| {
            let history = by_rank(winner);
            let shown = names(&[], &history).into_iter();
            let judged = shown.map(|name| (property(name), check(name, &history)));
            show(&judged.collect::<Vec<_>>())
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
             its reach is 1, by its rank 2 at 52.000 ms, undisturbed since 2.000 ms\n\
             ranks_unique_and_stable held\n"
        );
        assert!(verdicts(3).contains("node 3 coordinator, which takes no part in elections"));
        let mut history = by_rank(1);
        history.timeline.push(Happening {
            at: 95_000_000,
            what: What::fact(2, Rank { id: node_protocols::core::NodeId(1), rank: 1 }),
        });
        let again = check("ranks_unique_and_stable", &history);
        assert!(matches!(again, Verdict::Violated(_)), "{again:?}");
        let listed = check("death_noticed_in_time", &history);
        assert!(matches!(listed, Verdict::Unknown { .. }), "{listed:?}");
    }

    #[test]
    fn a_trace_of_nothing_has_nothing_to_show() {
        let history = history::read(RUN.as_bytes()).unwrap();
        assert_eq!(names(&[], &history), [""; 0]);
    }
}
