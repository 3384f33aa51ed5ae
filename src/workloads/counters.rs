//! The workloads `g-counter` and `pn-counter`: programs add up, and in the end each knows the sum.
//!
//! An addition without a definite answer may have taken place or not, so the sum may be any of
//! several: those that Maelstrom's checker accepts (`src/maelstrom/workload/pn_counter.clj`). As
//! there, only the last reads are judged: before, nodes may know as little as they like.

use crate::crew::{Asks, Crew, is_final, name};
use crate::errors::Told;
use crate::json::Key;
use node_core::Rng;
use node_lab::check::describe::Millis;
use node_lab::hosted::{Body, Program};
use node_lab::study::{Cast, Clients, Needs, Property, Run, Shipped, Study, Verdict, Violation};
use serde_json::json;

/// The study of counters that only grow.
pub struct GCounter;
/// The study of counters that also go down.
pub struct PnCounter;

crate::settings! {
    /// `[workload] kind = "g-counter"` and `"pn-counter"`.
    Settings {}
}

/// More ranges of sums than this are not looked at: additions of a workload are small, and few are
/// enough.
const MAX_RANGES: usize = 10_000;

const fn of_counters(
    name: &'static str,
    statement: &'static str,
    missing: fn(&Cast<'_>) -> Option<String>,
    shows: fn(&Run) -> bool,
) -> Property {
    Property {
        name,
        statement,
        source: "Maelstrom, doc/workloads.md: g-counter, pn-counter",
        needs: Needs::OPERATIONS.and(Needs::EVERY_CLIENT),
        bounds: &[],
        is_promised: true,
        missing,
        shows,
        judge: counter_sums,
    }
}

/// Whether nodes know the sum in the end.
pub const COUNTER_SUMS: Property = of_counters(
    "counter_sums",
    "in the end every node reads the sum of all acknowledged additions, and of any of those whose \
     outcome is unknown",
    |cast| {
        const RUN: &str = "the scenario say [workload] kind = \"g-counter\"";
        cast.lacks_clients(GCounter::NAME, "clients of a counter", RUN)
    },
    |run| !deltas(run).is_empty() && !deltas(run).iter().any(|delta| *delta < 0),
);
/// Likewise, where it also goes down.
pub const PN_COUNTER_SUMS: Property = of_counters(
    "pn_counter_sums",
    "in the end every node reads the sum of all acknowledged additions and subtractions, and of any \
     of those whose outcome is unknown",
    |cast| {
        const RUN: &str = "the scenario say [workload] kind = \"pn-counter\"";
        cast.lacks_clients(PnCounter::NAME, "clients of a counter", RUN)
    },
    |run| deltas(run).iter().any(|delta| *delta < 0),
);

/// What is added in a run: of which counter it is, that alone shows.
fn deltas(run: &Run) -> Vec<i128> {
    let of = |call: Called| match call.what {
        Call::Add(delta) => Some(delta),
        Call::Read(_) => None,
    };
    calls(run).into_iter().filter_map(of).collect()
}

impl Study for GCounter {
    type Protocol = Program;
    const NAME: &'static str = "g-counter";
    type Settings = Settings;
    const SCENARIOS: &'static [Shipped] = shipped! {
        "sim/glomers/4.toml"
    };
    const PROPERTIES: &'static [Property] = &[COUNTER_SUMS];

    fn clients(settings: Settings, cast: &Cast<'_>) -> Result<Option<Box<dyn Clients>>, String> {
        Crew::clients(Self::NAME, settings.pace(), cast, Adds { least: 0 })
    }
}

impl Study for PnCounter {
    type Protocol = Program;
    const NAME: &'static str = "pn-counter";
    type Settings = Settings;
    const PROPERTIES: &'static [Property] = &[PN_COUNTER_SUMS];

    fn clients(settings: Settings, cast: &Cast<'_>) -> Result<Option<Box<dyn Clients>>, String> {
        Crew::clients(Self::NAME, settings.pace(), cast, Adds { least: -5 })
    }
}

/// Additions of `least` to 4, and reads.
#[derive(Clone, Debug)]
struct Adds {
    least: i64,
}

impl Asks for Adds {
    fn next(&mut self, _: u32, rng: &mut Rng) -> Option<Body<'static>> {
        if rng.below(2) == 0 {
            return Some(Body::of(&json!({ "type": "read" })));
        }
        let delta = self.least + rng.below((5 - self.least).unsigned_abs()) as i64;
        Some(Body::of(&json!({ "type": "add", "delta": delta })))
    }
}

/// What a client of a counter asked, and was told.
struct Called {
    place: usize,
    what: Call,
    told: Told,
}

enum Call {
    Add(i128),
    /// Whether it is one of the last.
    Read(bool),
}

fn calls(run: &Run) -> Vec<Called> {
    let called = |(place, operation): (usize, &node_lab::study::Operation)| {
        let request = run.request::<Body<'_>>(operation)?;
        let what = match &*request.kind() {
            "add" => Call::Add(Key::of(&request, "delta").read()?),
            "read" => Call::Read(is_final(operation.client)),
            _ => return None,
        };
        let told = Told::of(&request, run.reply(operation));
        Some(Called { place, what, told })
    };
    run.operations_of("program").filter_map(called).collect()
}

/// Evidence: a last read, and an addition that was acknowledged and is not zero.
fn counter_sums(run: &Run) -> Verdict {
    let calls = calls(run);
    let (mut sum, mut open, mut has_adds) = (0_i128, Vec::new(), false);
    for call in &calls {
        match (&call.what, &call.told) {
            (Call::Add(delta), Told::Done(_)) => {
                sum = sum.saturating_add(*delta);
                has_adds |= *delta != 0;
            }
            (Call::Add(delta), Told::Unknown) => open.push(*delta),
            (Call::Add(_), Told::Refused(_)) | (Call::Read(_), _) => {}
        }
    }
    let Some(sums) = reachable(sum, &open) else {
        let why = format!("{} additions have an unknown outcome: too many sums", open.len());
        return Verdict::Undecided { why };
    };
    let mut has_reads = false;
    let is_added = |one: &&Called| matches!((&one.what, &one.told), (Call::Add(_), Told::Done(_)));
    let last_added = calls.iter().rev().find(is_added).map(|one| one.place);
    for Called { place, what, told } in &calls {
        let (Call::Read(true), Told::Done(reply)) = (what, told) else { continue };
        has_reads = true;
        let read: Option<i128> = Key::of(reply, "value").read();
        if read.is_some_and(|read| sums.iter().any(|(low, high)| (*low..=*high).contains(&read))) {
            continue;
        }
        let operation = &run.operations[*place];
        let value = Key::of(reply, "value").value();
        let why = format!(
            "{} read {} at {}, but the sum is {}",
            name(operation.node.unwrap_or_default()),
            value.map_or_else(|| "no value".into(), |value| value.to_string()),
            Millis(operation.invoke_ns),
            shown(&sums),
        );
        let added = last_added.map(|place| ("last acknowledged addition", place));
        let roles = added.into_iter().chain([("wrong sum", *place)]);
        return Verdict::Violated(Violation::shown_by(roles, why));
    }
    Verdict::of(None, has_reads && has_adds, "nobody read in the end what somebody had added")
}

/// The sums that some of the additions of unknown outcome make, as ranges in ascending order that
/// do not touch; none when there are too many.
fn reachable(sum: i128, open: &[i128]) -> Option<Vec<(i128, i128)>> {
    let mut ranges = vec![(sum, sum)];
    for delta in open {
        let moved = ranges
            .iter()
            .map(|(low, high)| (low.saturating_add(*delta), high.saturating_add(*delta)));
        let mut all: Vec<(i128, i128)> = ranges.iter().copied().chain(moved).collect();
        all.sort_unstable();
        ranges.clear();
        for (low, high) in all {
            match ranges.last_mut() {
                Some((_, end)) if low <= end.saturating_add(1) => *end = high.max(*end),
                _ => ranges.push((low, high)),
            }
        }
        if ranges.len() > MAX_RANGES {
            return None;
        }
    }
    Some(ranges)
}

/// At most so many ranges are shown.
const MAX_SHOWN: usize = 5;

fn shown(sums: &[(i128, i128)]) -> String {
    let one = |(low, high): &(i128, i128)| match low == high {
        true => low.to_string(),
        false => format!("{low} to {high}"),
    };
    let all: Vec<String> = sums.iter().take(MAX_SHOWN).map(one).collect();
    let rest = if sums.len() > MAX_SHOWN { ", …" } else { "" };
    format!("{}{rest}", all.join(", "))
}

#[cfg(test)]
#[path = "counters_tests.rs"]
mod tests;
