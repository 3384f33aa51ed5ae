//! The study of programs, whatever their clients want: whether they answer, and at what price. Its
//! numbers are for tables, too.

use crate::broadcast::STABLE_LATENCY;
use crate::crew::{is_setup, name};
use crate::errors::Told;
use crate::set::{self, quantile};
use node_lab::check::describe::Millis;
use node_lab::check::timeline::What;
use node_lab::hosted::{Body, Program};
use node_lab::study::{
    Bound, Cast, MAX_WITNESSES, Most, Nanos, Needs, NoSettings, Operation, Property, Run, Study,
    Unit, Verdict, Violation,
};
use serde::{Deserialize, Serialize};

/// The study. It has no clients: any workload's are judged.
pub struct ProgramStudy;

/// How much of what clients ask is done.
pub const AVAILABLE: Bound = Bound {
    name: "available_ppm",
    unit: Unit::Plain,
    default: 1_000_000,
    most: Most::Of(1_000_000),
    statement: "of a million operations, at least so many are done; a million is total availability",
};
/// Below what the messages of an operation are.
pub const MESSAGES: Bound = Bound {
    name: "msgs_per_op_milli",
    unit: Unit::Plain,
    default: 30_000,
    most: Most::Of(1_000_000_000),
    statement: "messages between nodes, for each operation, are below this, in thousandths: 30000 is 30",
};
/// Below what the median of the operations' latencies is.
pub const MEDIAN: Bound = Bound {
    name: "op_median_ms",
    unit: Unit::Millis,
    default: 1_000,
    most: Most::Run,
    statement: "the median time until an operation is done is below this",
};
/// Below what the longest of the operations' latencies is.
pub const MAX: Bound = Bound {
    name: "op_max_ms",
    unit: Unit::Millis,
    default: 5_000,
    most: Most::Run,
    statement: "the longest time until an operation is done is below this",
};

const fn of_programs(
    name: &'static str,
    statement: &'static str,
    source: &'static str,
    judge: fn(&Run) -> Verdict,
) -> Property {
    Property {
        name,
        statement,
        source,
        needs: Needs::OPERATIONS,
        bounds: &[],
        is_promised: false,
        missing,
        shows: |run| run.operations_of("program").next().is_some(),
        judge,
    }
}

fn missing(cast: &Cast<'_>) -> Option<String> {
    crate::crew::programs(cast)
        .is_empty()
        .then(|| "is judged where nodes are programs: give the scenario a table [hosted]".into())
}

/// Whether what clients ask is done.
pub const AVAILABLE_PROPERTY: Property = Property {
    bounds: &[AVAILABLE],
    ..of_programs(
        "available",
        "so much of what clients ask is answered as done, neither refused nor left open",
        "Maelstrom, src/maelstrom/checker.clj: availability",
        available,
    )
};
/// Whether replies have a form that clients know.
pub const ANSWERS_IN_FORM: Property = Property {
    is_promised: true,
    ..of_programs(
        "answers_in_form",
        "a reply's type is its request's with _ok, or it is an error with a whole number as code",
        "Maelstrom, doc/protocol.md",
        answers_in_form,
    )
};
/// Whether operations cost few messages.
pub const MESSAGES_PER_OPERATION: Property = Property {
    needs: Needs::OPERATIONS.and(Needs::EVERY_CLIENT).and(Needs::MESSAGES),
    bounds: &[MESSAGES],
    ..of_programs(
        "messages_per_operation",
        "messages among nodes and services, divided by clients' operations, are below a bound",
        "Maelstrom, doc/results.md: net.servers.msgs-per-op; Gossip Glomers, challenges 3d and 3e",
        messages_per_operation,
    )
};
/// Whether most operations are done soon.
pub const MEDIAN_LATENCY: Property = Property {
    bounds: &[MEDIAN],
    ..of_programs(
        "median_latency",
        "the median time from request to answer, of the operations that are done, is below a bound",
        "Jepsen's checker perf: latency-quantiles",
        |run| latency(run, &MEDIAN, 50, "median"),
    )
};
/// Whether all operations are done soon.
pub const MAX_LATENCY: Property = Property {
    bounds: &[MAX],
    ..of_programs(
        "max_latency",
        "the longest time from request to answer, of the operations that are done, is below a bound",
        "Jepsen's checker perf: latency-quantiles",
        |run| latency(run, &MAX, 100, "longest"),
    )
};

impl Study for ProgramStudy {
    type Protocol = Program;
    const NAME: &'static str = "program";
    type Settings = NoSettings;
    const PROPERTIES: &'static [Property] = &[
        AVAILABLE_PROPERTY,
        ANSWERS_IN_FORM,
        MESSAGES_PER_OPERATION,
        MEDIAN_LATENCY,
        MAX_LATENCY,
        STABLE_LATENCY,
    ];
}

/// What a run came to, in numbers. Times are nanoseconds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Numbers {
    /// Operations of clients.
    pub operations: usize,
    /// How many of them were done.
    pub ok: usize,
    /// How many were refused.
    pub fail: usize,
    /// How many have an unknown outcome.
    pub info: usize,
    /// Messages that nodes and services sent each other; none where nobody counted.
    pub server_messages: Option<u64>,
    /// These for each operation, in thousandths.
    pub messages_per_operation_milli: Option<u64>,
    /// How long operations took that were done.
    pub latencies: Option<Quantiles>,
    /// How long elements of a set took until every read showed them.
    pub stable_latencies: Option<Quantiles>,
    /// What became of elements of a set; none where there is no set.
    pub elements: Option<Elements>,
}

/// Quantiles of times, as Jepsen takes them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Quantiles {
    /// The shortest.
    pub min: Nanos,
    /// In the middle.
    pub median: Nanos,
    /// Of 95 parts in a hundred, the longest.
    pub p95: Nanos,
    /// Of 99 parts in a hundred, the longest.
    pub p99: Nanos,
    /// The longest.
    pub max: Nanos,
}

/// What became of elements of a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Elements {
    /// How many were to be added.
    pub attempts: usize,
    /// How many every read showed in the end.
    pub stable: usize,
    /// How many of these not at once.
    pub stale: usize,
    /// How many were lost.
    pub lost: usize,
    /// How many nobody had to show.
    pub never_read: usize,
}

impl Quantiles {
    /// Those of ascending times; none of nothing.
    pub fn of(sorted: &[Nanos]) -> Option<Quantiles> {
        let at = |percent| quantile(sorted, percent);
        Some(Quantiles { min: at(0)?, median: at(50)?, p95: at(95)?, p99: at(99)?, max: at(100)? })
    }
}

/// What clients asked, but for what only sets nodes up.
fn operations(run: &Run) -> impl Iterator<Item = (usize, &Operation)> {
    run.operations_of("program").filter(|(_, operation)| !is_setup(operation.client))
}

fn latencies(run: &Run) -> Vec<Nanos> {
    let done = operations(run).filter(|(_, operation)| Told::by(run, operation).is_done());
    let times = done.filter_map(|(_, one)| Some(one.return_ns?.saturating_sub(one.invoke_ns)));
    let mut times: Vec<Nanos> = times.collect();
    times.sort_unstable();
    times
}

/// The numbers of a run.
pub fn numbers(run: &Run) -> Numbers {
    let mut numbers = Numbers::default();
    for (_, operation) in operations(run) {
        numbers.operations += 1;
        match Told::by(run, operation) {
            Told::Done(_) => numbers.ok += 1,
            Told::Refused(_) => numbers.fail += 1,
            Told::Unknown => numbers.info += 1,
        }
    }
    let sends =
        run.timeline.iter().filter(|one| matches!(one.what, What::Send { .. })).count() as u64;
    if sends > 0 {
        numbers.server_messages = Some(sends);
        let per_operation = (sends * 1_000).checked_div(numbers.operations as u64);
        numbers.messages_per_operation_milli = per_operation;
    }
    numbers.latencies = Quantiles::of(&latencies(run));
    let sets = set::sets(run);
    if sets.attempts > 0 {
        numbers.stable_latencies = Quantiles::of(&sets.latencies);
        numbers.elements = Some(Elements {
            attempts: sets.attempts,
            stable: sets.stable,
            stale: sets.stale,
            lost: sets.lost.len(),
            never_read: sets.never_read,
        });
    }
    numbers
}

/// Evidence: an operation.
fn available(run: &Run) -> Verdict {
    let all: Vec<(usize, &Operation)> = operations(run).collect();
    let open = all.iter().filter(|(_, operation)| !Told::by(run, operation).is_done());
    let open: Vec<usize> = open.map(|(place, _)| *place).collect();
    let done = all.len() - open.len();
    let bound = run.bounds.of(&AVAILABLE);
    let enough = done as u64 * 1_000_000 >= bound.saturating_mul(all.len() as u64);
    let broken = open.first().filter(|_| !enough).map(|place| {
        let operation = &run.operations[*place];
        let kind = run.request::<Body<'_>>(operation).map_or_else(String::new, |body| body.kind());
        let became = match run.reply::<Body<'_>>(operation) {
            Some(reply) => format!("answered {}", node_core::Escaped(reply.text().as_bytes())),
            None => "did not answer".into(),
        };
        let why = format!(
            "{done} of {} operations are done, and {bound} of a million have to be: {} was asked to \
             {kind} at {}, and {became}",
            all.len(),
            name(operation.node.unwrap_or_default()),
            Millis(operation.invoke_ns),
        );
        let roles = open.iter().rev().take(MAX_WITNESSES - 1).rev();
        let roles = roles.filter(|other| *other != place).chain([place]);
        Violation::shown_by(roles.map(|place| ("operation not done", *place)), why)
    });
    Verdict::of(broken, !all.is_empty(), "nobody asked for anything")
}

/// The code of an error.
#[derive(Deserialize)]
struct Code {
    #[serde(rename = "code")]
    _code: i64,
}

/// Evidence: a reply.
fn answers_in_form(run: &Run) -> Verdict {
    let mut has_evidence = false;
    for (place, operation) in run.operations_of("program") {
        let Some(reply) = run.reply::<Body<'_>>(operation) else { continue };
        let Some(request) = run.request::<Body<'_>>(operation) else { continue };
        has_evidence = true;
        let (asked, told) = (request.kind(), reply.kind());
        let is_error = told == "error" && reply.read::<Code>().is_some();
        if !is_error && told.strip_suffix("_ok") != Some(&*asked) {
            let why = format!(
                "{} was asked to {asked} at {}, and answered neither {asked}_ok nor an error with a \
                 code: {}",
                name(operation.node.unwrap_or_default()),
                Millis(operation.invoke_ns),
                node_core::Escaped(reply.text().as_bytes()),
            );
            return Verdict::Violated(Violation::shown_by([("answer of no form", place)], why));
        }
    }
    Verdict::of(None, has_evidence, "nobody was answered")
}

/// Evidence: a message, and an operation.
fn messages_per_operation(run: &Run) -> Verdict {
    let Numbers { operations, server_messages, messages_per_operation_milli, .. } = numbers(run);
    let bound = run.bounds.of(&MESSAGES);
    let milli = |number: u64| format!("{}.{:03}", number / 1_000, number % 1_000);
    let broken = messages_per_operation_milli.filter(|number| *number >= bound).map(|number| {
        let why = format!(
            "{} messages for {operations} operations are {} for each, and not below {}",
            server_messages.unwrap_or_default(),
            milli(number),
            milli(bound)
        );
        let mut all = self::operations(run).map(|(place, _)| place);
        let (first, last) = (all.next(), all.last());
        let roles = first.map(|place| ("first of the operations", place)).into_iter();
        let roles = roles.chain(last.map(|place| ("last of them", place)));
        Violation::shown_by(roles, why)
    });
    let has_evidence = messages_per_operation_milli.is_some();
    Verdict::of(broken, has_evidence, "no message of a node, or no operation, was seen")
}

/// Evidence: an operation that was done.
fn latency(run: &Run, bound: &Bound, percent: usize, what: &str) -> Verdict {
    let (latencies, below) = (latencies(run), run.bounds.of(bound));
    let found = quantile(&latencies, percent);
    let broken = found.filter(|latency| *latency >= below).map(|latency| {
        let count = latencies.len();
        let (latency, below) = (Millis(latency), Millis(below));
        let why =
            format!("the {what} of {count} operations took {latency}, and not less than {below}");
        let took = |one: &Operation| one.return_ns.map(|at| at.saturating_sub(one.invoke_ns));
        let done = operations(run).filter(|(_, one)| Told::by(run, one).is_done());
        let slowest = done.max_by_key(|(_, one)| took(one)).map(|(place, _)| place);
        Violation::shown_by(slowest.map(|place| ("slowest operation", place)), why)
    });
    Verdict::of(broken, found.is_some(), "no operation was done")
}

#[cfg(test)]
#[path = "program_tests.rs"]
mod tests;
