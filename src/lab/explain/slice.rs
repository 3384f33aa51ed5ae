//! The part of a run that a page shows where all of it would be too much: what is around the first
//! violation and its witnesses, or around what was asked for, or the end. What of the rest is
//! needed to understand the part is carried into it: how nodes stood, messages and operations that
//! begin or end outside, faults in force. The rest is counted. Knows nothing of pages.

use super::carry::{Chosen, carry_all};
use super::witnesses::Places;
use super::{Entry, Merged, kind};
use crate::trace::Event;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::iter;
use std::ops::Range;

/// In how many parts of equal time the whole run is counted.
const DENSITY: usize = 600;
/// How many faults and violations of the rest are told one by one.
const TOLD: usize = 200;

/// How much of a run is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Around what; none for the first violation and what it rests on, or else the end.
    pub around: Option<Around>,
    /// How many events at most, but for those that are carried in.
    pub events: usize,
    /// The command that shows the run, without its options for parts: what a reader is told.
    pub command: &'a str,
}

/// What a part is around.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Around {
    /// The event of this number, from 1, among all of the run.
    Event(usize),
    /// This time, in nanoseconds after [`Merged::base`].
    Time(u64),
}

/// Which part of a run some entries are.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Of each entry, whether it is there for the sake of others alone.
    carried: Vec<bool>,
    summary: Value,
    /// What is left out, in a sentence or two.
    pub says: String,
}

impl Part {
    /// Whether an entry, by its index, lies outside the part and is there to explain it.
    pub fn is_carried(&self, index: usize) -> bool {
        self.carried.get(index).copied().unwrap_or_default()
    }

    /// What pages are told: `total` and `kept` (how many events), `begin` and `end` of the run
    /// (nanoseconds after its base), `ranges` (`at`: the index of its first entry, `first` and
    /// `last`: events' numbers in the run, `left`: how many are left out before it), `density` (how
    /// many events in each of equal times), and of what is left out `kinds`, `nodes`, `faults`,
    /// `violations`; `says`, `command`.
    pub fn json(&self) -> &Value {
        &self.summary
    }
}

/// Cuts the wanted part out of a run; all of it when that is no more than was asked for.
pub fn cut<'a>(run: Merged<'a>, asked: &Asked<'_>) -> (Merged<'a>, Option<Part>) {
    let asked = &Asked { events: asked.events.max(1), ..*asked };
    if run.entries.len() <= asked.events {
        return (run, None);
    }
    let ranges = ranges(&run, asked);
    let mut chosen = vec![Chosen::Left; run.entries.len()];
    for range in &ranges {
        chosen[range.clone()].fill(Chosen::Kept);
    }
    carry_all(&run, &ranges, &mut chosen);

    let (says, summary) = summarize(&run, asked, &ranges, &chosen);
    let mut place = vec![None; chosen.len()];
    let there = chosen.iter().enumerate().filter(|(_, one)| **one != Chosen::Left);
    for (next, (index, _)) in there.enumerate() {
        place[index] = Some(next);
    }
    let carried = chosen.iter().filter(|one| **one != Chosen::Left);
    let carried = carried.map(|one| *one == Chosen::Carried).collect();
    let of_part = |(index, mut entry): (usize, Entry<'a>)| {
        place[index]?;
        entry.cause = entry.cause.and_then(|cause| place[cause]);
        Some(entry)
    };
    let entries = run.entries.into_iter().enumerate().filter_map(of_part).collect();
    (Merged { entries, ..run }, Some(Part { carried, summary, says }))
}

/// The entries that are kept, ascending and apart.
fn ranges(run: &Merged, asked: &Asked<'_>) -> Vec<Range<usize>> {
    let count = run.entries.len();
    let last = count - 1;
    let anchors = match asked.around {
        Some(Around::Event(number)) => vec![number.saturating_sub(1).min(last)],
        Some(Around::Time(t)) => vec![run.entries.partition_point(|one| one.t < t).min(last)],
        None => anchors(run),
    };
    let (Some(low), Some(high)) = (anchors.iter().min(), anchors.iter().max()) else {
        return iter::once(count.saturating_sub(asked.events)..count).collect();
    };
    let span = high - low + 1;
    if span <= asked.events {
        // What came before explains more than what comes after.
        let share = if asked.around.is_some() { 2 } else { 3 };
        let spare = asked.events - span;
        let after = (spare / share).min(last - high);
        let from = low.saturating_sub(spare - after);
        return iter::once(from..count.min(from + asked.events)).collect();
    }
    // Too far apart: some around each.
    let each = (asked.events / anchors.len()).max(1);
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for anchor in anchors {
        let from = anchor.saturating_sub(each * 2 / 3);
        let to = count.min(from + each);
        match ranges.last_mut() {
            Some(before) if from <= before.end => before.end = before.end.max(to),
            _ => ranges.push(from..to),
        }
    }
    ranges
}

/// The first violation and what it rests on, ascending.
fn anchors(run: &Merged) -> Vec<usize> {
    let is = |entry: &Entry| matches!(entry.line.event, Event::Violation { .. });
    let Some(first) = run.entries.iter().position(is) else { return Vec::new() };
    let places = Places::of(run);
    let mut anchors = vec![first];
    if let Event::Violation { witnesses, .. } = &run.entries[first].line.event {
        anchors.extend(witnesses.iter().filter_map(|one| places.find(one)));
    }
    anchors.sort_unstable();
    anchors.dedup();
    anchors
}

/// What is left out, in words and as pages take it.
fn summarize(
    run: &Merged,
    asked: &Asked<'_>,
    ranges: &[Range<usize>],
    chosen: &[Chosen],
) -> (String, Value) {
    let (begin, end) = (run.entries[0].t, run.entries[run.entries.len() - 1].t);
    let mut density = vec![0_u64; DENSITY];
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let mut nodes: BTreeMap<u32, u64> = BTreeMap::new();
    let (mut faults, mut violations) = (Vec::new(), Vec::new());
    for (index, entry) in run.entries.iter().enumerate() {
        let share = (entry.t - begin) as f64 / (end - begin).max(1) as f64;
        density[((share * DENSITY as f64) as usize).min(DENSITY - 1)] += 1;
        if chosen[index] != Chosen::Left {
            continue;
        }
        *kinds.entry(kind(&entry.line.event)).or_default() += 1;
        if let Some(node) = entry.line.node {
            *nodes.entry(node).or_default() += 1;
        }
        match &entry.line.event {
            Event::Fault { fault, label, until, .. } if faults.len() < TOLD => {
                let until = until.saturating_sub(run.base);
                faults.push(json!({"t": entry.t, "until": until, "fault": fault, "label": label}));
            }
            Event::Violation { property, .. } if violations.len() < TOLD => {
                violations.push(json!({"t": entry.t, "number": index + 1, "property": property}));
            }
            _ => {}
        }
    }
    let before = |index: usize| chosen[..index].iter().filter(|one| **one != Chosen::Left).count();
    let mut until = 0;
    let told = ranges.iter().map(|range| {
        let left = chosen[until..range.start].iter().filter(|one| **one == Chosen::Left).count();
        until = range.end;
        let numbers = (range.start + 1, range.end);
        json!({"at": before(range.start), "first": numbers.0, "last": numbers.1, "left": left})
    });
    let told: Vec<Value> = told.collect();
    let says = says(run, asked, ranges);
    let kept: usize = ranges.iter().map(Range::len).sum();
    let summary = json!({
        "total": run.entries.len(), "kept": kept, "begin": begin, "end": end, "ranges": told,
        "density": density, "kinds": kinds, "nodes": nodes.into_iter().collect::<Vec<_>>(),
        "faults": faults, "violations": violations, "says": says, "command": asked.command,
    });
    (says, summary)
}

fn says(run: &Merged, asked: &Asked<'_>, ranges: &[Range<usize>]) -> String {
    let kept: usize = ranges.iter().map(Range::len).sum();
    let total = run.entries.len();
    let mut says = format!("{} of {} events are here:", grouped(kept), grouped(total));
    for (place, range) in ranges.iter().enumerate() {
        let (first, last) = (&run.entries[range.start], &run.entries[range.end - 1]);
        let comma = if place == 0 { "" } else { "," };
        let numbers = (grouped(range.start + 1), grouped(range.end));
        let (from, to) = (millis(first.t), millis(last.t));
        let _ = write!(says, "{comma} {} to {} ({from} to {to})", numbers.0, numbers.1);
    }
    let why = match asked.around {
        Some(_) => "around what was asked for",
        None if anchors_are_known(run) => "around the first violation and what it rests on",
        None => "the end, as no violation is recorded",
    };
    let _ = write!(says, ", {why}; {} are left out.", grouped(total - kept));
    says
}

fn anchors_are_known(run: &Merged) -> bool {
    run.violations() > 0
}

/// A number with its thousands apart.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// As verdicts and the page say times: cut, so that what is later never shows as earlier.
fn millis(nanos: u64) -> String {
    format!("{}.{} ms", nanos / 1_000_000, nanos / 100_000 % 10)
}

#[cfg(test)]
mod tests {
    use super::super::{Merged, Source, kind, merge};
    use super::{Around, Asked, Part, cut};

    /// Node 1 sends, and asks and answers a client, once a millisecond; node 2 receives a
    /// millisecond and a half later, so that something of all kinds is always under way.
    fn source(extra: &str) -> Source {
        let head = r#"{"at":0,"kind":"run","source":"sim","scenario":"s","nodes":[1,2]}"#;
        let mut lines: Vec<(u64, String)> = Vec::new();
        let mut put = |at: u64, rest: String| lines.push((at, format!("{{\"at\":{at},{rest}}}")));
        for node in [1, 2] {
            put(0, format!(r#""node":{node},"kind":"start","incarnation":1,"name":"n{node}""#));
            put(0, format!(r#""node":{node},"kind":"view","protocol":"p","value":{{"x":0}}"#));
        }
        put(1, r#""node":2,"kind":"fact","protocol":"p","fact":"F","subject":1,"value":7"#.into());
        for (place, until) in [(0, 5_000_000), (1, 900_000_000)] {
            put(
                2,
                format!(
                    r#""kind":"fault","place":{place},"fault":"loss","nodes":[],"until":{until},"label":"l{place}""#
                ),
            );
        }
        for at in 1..500_u64 {
            let ms = at * 1_000_000;
            put(
                ms,
                format!(
                    r#""node":1,"lamport":{at},"kind":"send","id":"{at}","to":2,"protocol":"p","label":"m""#
                ),
            );
            put(
                ms + 1,
                format!(
                    r#""node":1,"digest":"{at:x}","kind":"request","op":"{at}","client":"c","label":"a""#
                ),
            );
            put(ms + 1_500_000, format!(r#""node":2,"kind":"recv","id":"{at}","from":1"#));
            put(
                ms + 1_600_000,
                format!(r#""node":1,"kind":"reply","op":"{at}","client":"c","label":"b""#),
            );
        }
        lines.sort_by_key(|line| line.0);
        let mut text = head.to_string();
        for (_, line) in lines {
            text = text + "\n" + &line;
        }
        Source { name: "t".into(), text: text + "\n" + extra }
    }

    fn cut_of<'a>(source: &'a [Source], around: Option<Around>) -> (Merged<'a>, Part) {
        let asked = Asked { around, events: 100, command: "node explain t" };
        let (run, part) = cut(merge(source).unwrap(), &asked);
        (run, part.unwrap())
    }

    /// The carried entries' kinds, times in milliseconds and nodes.
    fn carried(run: &Merged, part: &Part) -> Vec<String> {
        let of = |(index, entry): (usize, &super::Entry)| {
            let node = entry.line.node.unwrap_or(0);
            let text = format!("{} {} {node}", kind(&entry.line.event), entry.t / 1_000_000);
            part.is_carried(index).then_some(text)
        };
        run.entries.iter().enumerate().filter_map(of).collect()
    }

    #[test]
    fn a_part_knows_how_nodes_stood_and_what_was_under_way_and_says_what_is_left_out() {
        let sources = [source("")];
        let whole = merge(&sources).unwrap().entries.len();
        let (run, part) = cut_of(&sources, Some(Around::Time(250_000_000)));
        let kept = run.entries.iter().enumerate().filter(|(index, _)| !part.is_carried(*index));
        assert_eq!(kept.count(), 100);
        let times = |text: &str| text.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
        let all = carried(&run, &part);
        let stood: Vec<_> = all.iter().filter(|text| times(text) < 100).map(|t| &**t).collect();
        let names = ["start 0 1", "view 0 1", "start 0 2", "view 0 2", "fact 0 2", "fault 0 0"];
        assert_eq!(stood, names, "and of the faults the one in force alone");
        // What was sent or asked before the first that is kept, and arrives in the part.
        let crossing: Vec<_> = all.iter().filter(|text| times(text) >= 100).collect();
        assert!(crossing.iter().any(|text| text.starts_with("send 23")), "{crossing:?}");
        assert!(crossing.iter().any(|text| text.starts_with("request 23")), "{crossing:?}");
        assert!(crossing.iter().any(|text| text.starts_with("recv 26")), "{crossing:?}");
        assert!(crossing.iter().any(|text| text.starts_with("reply 26")), "{crossing:?}");
        assert!(crossing.len() < 10, "{crossing:?}");
        // No message of the part comes from nowhere, and causes are those that they were.
        for (index, entry) in
            run.entries.iter().enumerate().filter(|(_, e)| kind(&e.line.event) == "recv")
        {
            let cause = entry.cause.unwrap();
            assert!(cause < index && kind(&run.entries[cause].line.event) == "send");
        }
        let summary = part.json();
        assert_eq!((&summary["total"], &summary["kept"]), (&whole.into(), &100.into()));
        let left: u64 =
            summary["kinds"].as_object().unwrap().values().filter_map(|n| n.as_u64()).sum();
        assert_eq!(left as usize, whole - run.entries.len(), "all that is left out is counted");
        let density: u64 =
            summary["density"].as_array().unwrap().iter().filter_map(|n| n.as_u64()).sum();
        assert_eq!(density as usize, whole);
        assert_eq!(summary["faults"].as_array().unwrap().len(), 1);
        let text = "100 of 2,003 events are here: 952 to 1,051 (237.5 ms to 262.0 ms)";
        assert!(part.says.starts_with(text), "{}", part.says);
        assert!(
            part.says.ends_with("around what was asked for; 1,903 are left out."),
            "{}",
            part.says
        );
    }

    #[test]
    fn without_a_violation_it_is_the_end_and_with_one_what_it_rests_on_however_far_apart() {
        let sources = [source("")];
        let (run, part) = cut_of(&sources, None);
        assert!(part.says.ends_with("the end, as no violation is recorded; 1,903 are left out."));
        assert_eq!(run.entries.last().unwrap().t / 1_000_000, 500);

        let far = r#"{"at":400000000,"kind":"violation","property":"p","label":"l","witnesses":[{"role":"a","says":"s","op":"20"},{"role":"b","says":"s","op":"380"}]}"#;
        let sources = [source(far)];
        let (run, part) = cut_of(&sources, None);
        let ranges = part.json()["ranges"].as_array().unwrap();
        assert_eq!(ranges.len(), 3, "each has some around it: {}", part.says);
        let place = ranges[1]["at"].as_u64().unwrap() as usize;
        assert!(!part.is_carried(place) && part.is_carried(place - 1));
        let kept = |wanted: &str| {
            let mut all = run.entries.iter().enumerate();
            all.any(|(index, e)| {
                !part.is_carried(index) && super::super::text::detail(&run, e).contains(wanted)
            })
        };
        assert!(kept("[20] b") && kept("[380] b") && kept("p: l"));
        assert!(!kept("[200] b"));
        assert!(part.says.contains("around the first violation and what it rests on"));
    }

    #[test]
    fn what_is_no_more_than_was_asked_for_is_whole_and_no_number_is_out_of_reach() {
        let sources = [source("")];
        let asked = Asked { around: None, events: 2_003, command: "" };
        assert!(cut(merge(&sources).unwrap(), &asked).1.is_none());
        for around in [Around::Event(0), Around::Event(usize::MAX), Around::Time(u64::MAX)] {
            let (run, part) = cut_of(&sources, Some(around));
            assert!(run.entries.len() >= 100 && !part.says.is_empty());
        }
        let asked = Asked { around: None, events: 0, command: "" };
        let (run, part) = cut(merge(&sources).unwrap(), &asked);
        assert!(!run.entries.is_empty() && part.is_some());
    }
}
