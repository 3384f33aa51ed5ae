//! Two runs beside each other: where they first differ. Knows traces, and nothing of who asks.
//!
//! Runs of one plan and of a fork of it are the same event for event up to the fork. What is judged
//! in the end stands among the events at the time when it showed, so verdicts are passed by: a run
//! may be lost long before its fork.

use super::show::{MAX_EVENTS, place_on_page};
use node_lab::explain::{Entry, Merged, Source, merge};
use node_lab::trace::{Event, Line};
use serde_json::{Value, json};

/// Where two traces first differ. For each its event there (none where it has ended), when that
/// is, and the places of verdicts among its events before: an event's place without those is the
/// same in both. Of long runs the places are those on the pages of the parts around that time.
///
/// # Errors
/// One is no trace, in one line.
pub(super) fn compare(one: &str, other: &str) -> Result<Value, String> {
    let sources = [one, other].map(|text| [Source { name: "run".into(), text: text.into() }]);
    let [one, other] = &sources;
    let one = merge(one).map_err(|error| error.to_string())?;
    let other = merge(other).map_err(|error| error.to_string())?;
    let Some([a, b]) = parting(&one, &other) else { return Ok(json!({"is_same": true})) };
    let is_long = [&one, &other].iter().any(|run| run.entries.len() > MAX_EVENTS);
    let sides = match is_long {
        true => parts([one, other], [a, b]),
        false => vec![told(&one, a), told(&other, b)],
    };
    Ok(json!({"is_same": false, "sides": sides}))
}

/// An event's place in its run, and its time.
type Place = Option<(usize, u64)>;

/// Where two runs part: where each is then, if it is not over.
fn parting(one: &Merged<'_>, other: &Merged<'_>) -> Option<[Place; 2]> {
    let (mut at, mut beside) = (events(one), events(other));
    loop {
        match (at.next(), beside.next()) {
            (Some((_, a)), Some((_, b))) if is_same(a, b) => {}
            (None, None) => return None,
            (a, b) => return Some([a, b].map(|it| it.map(|(at, entry)| (at, entry.t)))),
        }
    }
}

/// The events without verdicts, each with its place.
fn events<'a>(run: &'a Merged<'a>) -> impl Iterator<Item = (usize, &'a Entry<'a>)> {
    let is_event = |(_, entry): &(usize, &Entry<'_>)| !is_verdict(&entry.line);
    run.entries.iter().enumerate().filter(is_event)
}

fn is_verdict(line: &Line<'_>) -> bool {
    matches!(line.event, Event::Violation { .. })
}

fn is_same(one: &Entry<'_>, other: &Entry<'_>) -> bool {
    one.t == other.t && one.line == other.line
}

/// Likewise, of runs that are too long for a page: the pages of the parts around the difference.
fn parts(runs: [Merged<'_>; 2], places: [Place; 2]) -> Vec<Value> {
    let around = places.iter().flatten().map(|(_, t)| *t).min().unwrap_or(0);
    let side = |(run, place): (Merged<'_>, Place)| {
        let t = place.map(|(_, t)| t);
        let on_page = place.map(|(at, _)| place_on_page(run, at, around));
        json!({"event": on_page.flatten(), "t": t, "verdicts": [], "around": around.to_string()})
    };
    runs.into_iter().zip(places).map(side).collect()
}

fn told(run: &Merged<'_>, place: Place) -> Value {
    let (event, t) = place.unzip();
    let before = &run.entries[..event.unwrap_or(run.entries.len())];
    let verdicts: Vec<usize> =
        (0..).zip(before).filter(|(_, entry)| is_verdict(&entry.line)).map(|(at, _)| at).collect();
    json!({"event": event, "t": t, "verdicts": verdicts})
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = r#"{"at":0,"kind":"run","source":"sim","scenario":"x","seed":1,"nodes":[1]}"#;

    fn trace(lines: &[(u64, &str)]) -> String {
        let line = |(at, line): &(u64, &str)| {
            format!("{{\"at\":{at},\"node\":1,\"kind\":\"print\",\"line\":\"{line}\"}}\n")
        };
        format!("{RUN}\n{}", lines.iter().map(line).collect::<String>())
    }

    const LOST: &str = r#"{"at":1,"kind":"violation","property":"p","label":"","witnesses":[]}"#;

    #[test]
    fn the_first_difference_is_found_and_verdicts_are_none() {
        let one = trace(&[(1, "a"), (2, "b"), (3, "c")]);
        let other = trace(&[(1, "a"), (2, "b"), (4, "c")]);
        assert_eq!(compare(&one, &one), Ok(json!({"is_same": true})));
        let lost = format!("{one}{LOST}\n");
        assert_eq!(compare(&one, &lost), Ok(json!({"is_same": true})));
        let told = compare(&lost, &other).unwrap();
        let sides = json!([
            {"event": 3, "t": 3, "verdicts": [1]},
            {"event": 2, "t": 4, "verdicts": []},
        ]);
        assert_eq!(told, json!({"is_same": false, "sides": sides}));
        let told = compare(&one, &trace(&[(1, "a"), (2, "b")])).unwrap();
        assert_eq!(told["sides"][1], json!({"event": null, "t": null, "verdicts": []}));
        assert!(compare(&one, "no trace").is_err());
    }
}
