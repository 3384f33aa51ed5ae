//! Two runs beside each other: where they first differ. Knows traces, and nothing of who asks.
//!
//! Runs of one plan and of a fork of it are the same event for event up to the fork. What is judged
//! in the end stands among the events at the time when it showed, so verdicts are passed by: a run
//! may be lost long before its fork.

use node_lab::explain::{Entry, Merged, Source, merge};
use node_lab::trace::{Event, Line};
use serde_json::{Value, json};

/// Where two traces first differ. For each its event there (none where it has ended), when that
/// is, and the places of verdicts among its events before: an event's place without those is the
/// same in both.
///
/// # Errors
/// One is no trace, in one line.
pub(super) fn compare(one: &str, other: &str) -> Result<Value, String> {
    let sources = [one, other].map(|text| [Source { name: "run".into(), text: text.into() }]);
    let [one, other] = &sources;
    let one = merge(one).map_err(|error| error.to_string())?;
    let other = merge(other).map_err(|error| error.to_string())?;
    let (mut at, mut beside) = (events(&one), events(&other));
    loop {
        let (a, b) = (at.next(), beside.next());
        match (a, b) {
            (Some((_, a)), Some((_, b))) if is_same(a, b) => {}
            (None, None) => return Ok(json!({"is_same": true})),
            (a, b) => {
                let sides = [told(&one, a.map(|(at, _)| at)), told(&other, b.map(|(at, _)| at))];
                return Ok(json!({"is_same": false, "sides": sides}));
            }
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

fn told(run: &Merged<'_>, place: Option<usize>) -> Value {
    let before = &run.entries[..place.unwrap_or(run.entries.len())];
    let verdicts: Vec<usize> =
        (0..).zip(before).filter(|(_, entry)| is_verdict(&entry.line)).map(|(at, _)| at).collect();
    let t = place.and_then(|place| run.entries.get(place)).map(|entry| entry.t);
    json!({"event": place, "t": t, "verdicts": verdicts})
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
