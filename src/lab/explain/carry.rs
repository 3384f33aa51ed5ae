//! What a part of a run needs of the rest to be understood: how nodes stood, what was under way
//! when it begins or ends, and the faults in force. Which part it is, others decide.

use super::Merged;
use crate::trace::Event;
use std::collections::HashMap;
use std::ops::Range;

/// What becomes of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Chosen {
    Left,
    Carried,
    Kept,
}

/// Carries in what the kept `ranges` need, which are ascending and apart.
pub(super) fn carry_all(run: &Merged, ranges: &[Range<usize>], chosen: &mut [Chosen]) {
    carry_state(run, ranges, chosen);
    carry_messages(run, chosen);
    carry_operations(run, chosen);
    carry_faults(run, ranges, chosen);
}

fn carry(chosen: &mut [Chosen], index: usize) {
    if chosen[index] == Chosen::Left {
        chosen[index] = Chosen::Carried;
    }
}

/// What there is one of at a time.
#[derive(PartialEq, Eq, Hash)]
enum Standing<'a> {
    View(u32, &'a str),
    Fact(u32, &'a str, &'a str, Option<u32>),
    Started(u32),
    Life(u32),
    Paused(u32),
    Digest(u32),
    Lamport(u32),
}

/// Carries in how the nodes stand where each range begins: what they last said of themselves.
fn carry_state(run: &Merged, ranges: &[Range<usize>], chosen: &mut [Chosen]) {
    let mut last: HashMap<Standing, usize> = HashMap::new();
    let mut begins = ranges.iter().map(|range| range.start).peekable();
    for (index, entry) in run.entries.iter().enumerate() {
        if begins.next_if_eq(&index).is_some() {
            last.values().for_each(|standing| carry(chosen, *standing));
            if begins.peek().is_none() {
                return;
            }
        }
        let Some(node) = entry.line.node else { continue };
        if entry.line.digest.is_some() {
            last.insert(Standing::Digest(node), index);
        }
        if entry.line.lamport.is_some() {
            last.insert(Standing::Lamport(node), index);
        }
        let standing = match &entry.line.event {
            Event::View { protocol, .. } => Standing::View(node, protocol),
            Event::Fact { protocol, fact, subject, .. } => {
                Standing::Fact(node, protocol, fact, *subject)
            }
            Event::Start { .. } => {
                last.insert(Standing::Started(node), index);
                Standing::Life(node)
            }
            Event::Crash | Event::Stop => Standing::Life(node),
            Event::Pause { .. } => Standing::Paused(node),
            _ => continue,
        };
        last.insert(standing, index);
    }
}

/// Carries in what was sent before a range and arrives in it, and the other way round.
fn carry_messages(run: &Merged, chosen: &mut [Chosen]) {
    for (index, entry) in run.entries.iter().enumerate() {
        let Some(mut cause) = entry.cause else { continue };
        let is_copy = matches!(run.entries[cause].line.event, Event::Duplicate { .. });
        if chosen[cause] == Chosen::Kept || is_copy && chosen[cause] == Chosen::Carried {
            carry(chosen, index);
        }
        if chosen[index] != Chosen::Kept {
            continue;
        }
        // A message, its copy and a copy's receipt.
        for _ in 0..4 {
            carry(chosen, cause);
            match run.entries[cause].cause {
                Some(before) => cause = before,
                None => break,
            }
        }
    }
}

/// Where an operation that a range has something of begins and ends outside.
#[derive(Default)]
struct Ends {
    /// Its first and its last entry that are kept.
    kept: (usize, usize),
    /// The last asking before, of client and of node; the first answer after.
    asked: [Option<usize>; 2],
    answered: [Option<usize>; 2],
}

/// Carries in the ends of operations. A name may come again when its operation is over.
fn carry_operations(run: &Merged, chosen: &mut [Chosen]) {
    let mut ends: HashMap<&str, Ends> = HashMap::new();
    for (index, entry) in run.entries.iter().enumerate() {
        if chosen[index] == Chosen::Kept
            && let Some((op, _)) = operation(&entry.line.event)
        {
            let first = Ends { kept: (index, index), ..Ends::default() };
            ends.entry(op).or_insert(first).kept.1 = index;
        }
    }
    for (index, entry) in run.entries.iter().enumerate() {
        if let Some((op, role)) = operation(&entry.line.event)
            && let Some(ends) = ends.get_mut(op)
        {
            match role {
                0 | 1 if index < ends.kept.0 => ends.asked[role] = Some(index),
                2 | 3 if index > ends.kept.1 => {
                    ends.answered[role - 2].get_or_insert(index);
                }
                _ => {}
            }
        }
    }
    for ends in ends.values() {
        for index in ends.asked.iter().chain(&ends.answered).flatten() {
            carry(chosen, *index);
        }
    }
}

/// An operation's name, and the event's role in it.
fn operation<'b>(event: &'b Event<'_>) -> Option<(&'b str, usize)> {
    match event {
        Event::Invoke { op, .. } => Some((op, 0)),
        Event::Request { op, .. } => Some((op, 1)),
        Event::Reply { op, .. } => Some((op, 2)),
        Event::Return { op, .. } => Some((op, 3)),
        _ => None,
    }
}

/// Carries in the faults that are in force in a range.
fn carry_faults(run: &Merged, ranges: &[Range<usize>], chosen: &mut [Chosen]) {
    let times = |range: &Range<usize>| (run.entries[range.start].t, run.entries[range.end - 1].t);
    for (index, entry) in run.entries.iter().enumerate() {
        let Event::Fault { until, .. } = &entry.line.event else { continue };
        let until = until.saturating_sub(run.base);
        let is_in_force = |(begin, end)| entry.t <= end && until > begin;
        if ranges.iter().map(times).any(is_in_force) {
            carry(chosen, index);
        }
    }
}
