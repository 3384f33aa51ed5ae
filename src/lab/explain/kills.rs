//! Marks where real nodes were killed: they leave no line about it. Knows the form of traces alone.
//!
//! A node that starts without having stopped was killed before; and so was one whose trace ends
//! without a stop, if another node then lost its link to it, which happens at once.

use crate::trace::{Event, Line};
use std::collections::BTreeMap;

/// Adds a `crash` line for each kill to the traces of real nodes.
pub(super) fn mark(files: &mut [Vec<Line<'_>>]) {
    let lost: Vec<(u32, u64)> = files.iter().flatten().filter_map(lost_link).collect();
    for lines in files {
        let is_real =
            |line: &Line<'_>| matches!(&line.event, Event::Run { source, .. } if source == "node");
        if lines.iter().any(is_real) {
            mark_one(lines, &lost);
        }
    }
}

/// A node's link to another went down: the other, and when.
fn lost_link(line: &Line<'_>) -> Option<(u32, u64)> {
    match line.event {
        Event::Link { peer, up: false } => Some((peer, line.at)),
        _ => None,
    }
}

fn mark_one(lines: &mut Vec<Line<'_>>, lost: &[(u32, u64)]) {
    // The place of the last line of each node that is up.
    let mut up: BTreeMap<u32, usize> = BTreeMap::new();
    let mut kills = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        let Some(node) = line.node else { continue };
        match line.event {
            Event::Start { .. } => {
                if let Some(last) = up.insert(node, place) {
                    let last_at = lines[last].at;
                    let at = missed(node, last_at..line.at, lost).unwrap_or(last_at);
                    kills.push((last + 1, node, at));
                }
            }
            Event::Stop | Event::Crash => {
                up.remove(&node);
            }
            _ => {
                up.entry(node).and_modify(|last| *last = place);
            }
        }
    }
    for (node, last) in up {
        if let Some(at) = missed(node, lines[last].at..u64::MAX, lost) {
            kills.push((last + 1, node, at));
        }
    }
    kills.sort_unstable();
    for (place, node, at) in kills.into_iter().rev() {
        let crash = Line { at, node: Some(node), lamport: None, digest: None, event: Event::Crash };
        lines.insert(place, crash);
    }
}

/// When others first lost their link to a node.
fn missed(node: u32, when: std::ops::Range<u64>, lost: &[(u32, u64)]) -> Option<u64> {
    let of_it = lost.iter().filter(|(peer, at)| *peer == node && when.contains(at));
    of_it.map(|(_, at)| *at).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<Line<'static>> {
        let run = r#"{"at":0,"kind":"run","source":"node","scenario":"x","nodes":[1,2]}"#;
        let all = [run].into_iter().chain(texts.iter().copied());
        all.map(|text| serde_json::from_str(String::from(text).leak()).unwrap()).collect()
    }

    /// Times and nodes of the crashes.
    fn crashes(mut files: Vec<Vec<Line<'static>>>) -> Vec<(u64, u32)> {
        mark(&mut files);
        let crash = |line: &Line<'_>| {
            (line.event == Event::Crash).then(|| (line.at, line.node.unwrap_or_default()))
        };
        files.iter().flatten().filter_map(crash).collect()
    }

    const START: &str = r#"{"at":1,"node":1,"kind":"start","incarnation":1}"#;
    const AGAIN: &str = r#"{"at":9,"node":1,"kind":"start","incarnation":2}"#;
    const OTHER: &str = r#"{"at":1,"node":2,"kind":"start","incarnation":1}"#;
    const LOST: &str = r#"{"at":5,"node":2,"kind":"link","peer":1,"up":false}"#;

    #[test]
    fn a_node_that_starts_again_was_killed_when_it_was_missed() {
        assert_eq!(crashes(vec![lines(&[START, AGAIN]), lines(&[OTHER, LOST])]), [(5, 1)]);
        assert_eq!(crashes(vec![lines(&[START, AGAIN]), lines(&[OTHER])]), [(1, 1)]);
        let stop = r#"{"at":4,"node":1,"kind":"stop"}"#;
        assert_eq!(crashes(vec![lines(&[START, stop, AGAIN]), lines(&[OTHER, LOST])]), []);
    }

    #[test]
    fn a_node_that_falls_silent_was_killed_only_if_it_is_missed() {
        assert_eq!(crashes(vec![lines(&[START]), lines(&[OTHER, LOST])]), [(5, 1)]);
        let later = r#"{"at":9000000000,"node":2,"kind":"print","line":"x"}"#;
        assert_eq!(crashes(vec![lines(&[START]), lines(&[OTHER, later])]), []);
    }
}
