//! Whether Lamport values tell what can have caused what. The causes are told by vector clocks
//! that the checker keeps for itself, so that it believes nothing that a node says of the past.
//! Knows no protocol, and of nodes only what they sent and received.
//!
//! Lamport: Time, Clocks, and the Ordering of Events in a Distributed System, CACM 21(7), 1978.
//! Vector clocks: Mattern, Virtual Time and Global States of Distributed Systems, 1989; Fidge,
//! Timestamps in Message-Passing Systems That Preserve the Partial Ordering, 1988.
//!
//! **Restarts.** A node that had no data directory, or has none when it starts again, has forgotten
//! everything: it is another process, and its clock may begin anew. Any other goes on, but what it
//! received after its last send may be lost in a crash, log record and all. Nobody can know of such
//! a receipt, so after a restart it is in nobody's past. What a node sends leaves it only once the
//! bound of its clock is durable, so sends are never forgotten.

use node_lab::check::describe::Millis;
use node_lab::check::timeline::{Happening, What, begin};
use node_lab::study::{Verdict, Violation, Witness, nothing_of};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;

/// Vectors have a component for each node, and one more for each restart that forgot: the bound on
/// both keeps a trace of nonsense from filling the memory.
const MAX_PROCESSES: usize = 1_024;

/// **Clock condition.** When event a can have caused event b (a -> b), a's Lamport value is smaller
/// than b's. Events are sends and receipts; all copies of a multicast are one send; -> is the
/// smallest transitive order in which a node's events are in its order and a send is before its
/// receipts.
///
/// Lamport 1978, "Clock Condition". A message that nobody is seen to send says nothing of others.
///
/// Evidence: an event that another one causes.
pub(super) fn clock_condition(timeline: &[Happening]) -> Verdict {
    if let Some(unknown) = silent(timeline) {
        return unknown;
    }
    let mut past = Past::new(timeline);
    let mut ready: VecDeque<usize> = (0..past.lanes.len()).collect();
    while let Some(lane) = ready.pop_front() {
        past.advance(lane, &mut ready);
        if past.processes.len() > MAX_PROCESSES {
            let why = format!("there are more than {MAX_PROCESSES} nodes and restarts");
            return Verdict::Undecided { why };
        }
    }
    if let Some((at, found)) = past.broken.take() {
        return violated(at, found);
    }
    match past.circle() {
        Some(why) => Verdict::Undecided { why },
        None => Verdict::of(None, past.has_causes, "no event causes another"),
    }
}

/// **Clock strictly increases.** On each node, each event has a greater Lamport value than the one
/// before; across a restart too when the node has a data directory.
///
/// Lamport 1978, implementation rule IR1. What follows a restart is held against the last send
/// before it: see the head of this file.
///
/// Evidence: an event that has another before it.
pub(super) fn clock_strictly_increases(timeline: &[Happening]) -> Verdict {
    if let Some(unknown) = silent(timeline) {
        return unknown;
    }
    let begin = begin(timeline);
    let mut nodes: BTreeMap<u32, Latest> = BTreeMap::new();
    let mut broken: Option<(u64, Broken)> = None;
    let mut follows = false;
    for Happening { at, what } in timeline {
        let (node, lamport) = match what {
            What::Start { node, durable, .. } => {
                let latest = nodes.entry(*node).or_default();
                let goes_on = std::mem::replace(&mut latest.durable, *durable) && *durable;
                latest.sent = latest.sent.filter(|_| goes_on);
                latest.last = latest.sent.map(|(_, sent)| sent);
                continue;
            }
            What::Send { node, lamport, event, .. } => {
                let latest = nodes.entry(*node).or_default();
                if latest.sent.is_some_and(|(before, _)| before == *event) {
                    continue;
                }
                latest.sent = Some((*event, (*lamport, *at)));
                (*node, *lamport)
            }
            What::Receive { node, lamport, .. } => (*node, *lamport),
            What::Down { .. }
            | What::Pause { .. }
            | What::Fault { .. }
            | What::Fact { .. }
            | What::Clock { .. }
            | What::Link { .. }
            | What::End => continue,
        };
        let before = nodes.entry(node).or_default().last.replace((lamport, *at));
        follows |= before.is_some();
        let Some((value, when)) = before.filter(|(value, _)| lamport <= *value) else { continue };
        if broken.as_ref().is_none_or(|(first, _)| at < first) {
            let why = format!(
                "{} has Lamport value {lamport}, but the node's event before it, at {}, has {value}",
                Event { what, at: at.saturating_sub(begin) },
                Millis(when.saturating_sub(begin)),
            );
            let earlier = witness("clock before", timeline.iter(), (node, when, value), begin);
            let later = event("clock that went back", node, what, (*at, lamport), begin);
            broken = Some((*at, (why, earlier.into_iter().chain([later]).collect())));
        }
    }
    match broken {
        Some((at, found)) => violated(at, found),
        None => Verdict::of(None, follows, "no node has an event after another"),
    }
}

/// A node's last event and its last send with its event's number; each a Lamport value and a time.
#[derive(Default)]
struct Latest {
    /// Whether its clock survives a restart.
    durable: bool,
    last: Option<(u64, u64)>,
    sent: Option<(u64, (u64, u64))>,
}

/// Why something breaks a property, and what shows it.
type Broken = (String, Vec<Witness>);

fn violated(at: u64, (why, witnesses): Broken) -> Verdict {
    Verdict::Violated(Violation::at(at, why).with(witnesses))
}

/// An event at a node, with its time and its Lamport value.
fn event(
    role: &'static str,
    node: u32,
    what: &What,
    (at, lamport): (u64, u64),
    begin: u64,
) -> Witness {
    let (kind, does) = match what {
        What::Send { .. } => ("send", "sends"),
        _ => ("recv", "receives"),
    };
    let time = Millis(at.saturating_sub(begin));
    let says = format!("node {node} {does} a message at {time} with Lamport value {lamport}");
    Witness::event(role, node, at, kind, says)
}

/// The event that a node had then, by its Lamport value.
fn witness<'a>(
    role: &'static str,
    happenings: impl Iterator<Item = &'a Happening>,
    (id, when, value): (u32, u64, u64),
    begin: u64,
) -> Option<Witness> {
    let mut found = happenings.filter(|one| {
        let (What::Send { node, lamport, .. } | What::Receive { node, lamport, .. }) = &one.what
        else {
            return false;
        };
        (*node, one.at, *lamport) == (id, when, value)
    });
    Some(event(role, id, &found.next()?.what, (when, value), begin))
}

/// What is to be said when there is nothing to judge.
fn silent(timeline: &[Happening]) -> Option<Verdict> {
    let is_event = |one: &Happening| matches!(one.what, What::Send { .. } | What::Receive { .. });
    if timeline.iter().any(is_event) {
        return None;
    }
    Some(nothing_of(timeline, "messages"))
}

/// Everything that is known of causes while the nodes' events are gone through, each node's in its
/// order and a receipt after its send.
struct Past<'a> {
    begin: u64,
    lanes: Vec<Lane<'a>>,
    processes: Vec<Process>,
    /// The messages that the timeline has a send of, each with the place of that event's vector in
    /// `vectors` once it has been gone through.
    sent: HashMap<u64, Option<usize>>,
    vectors: Vec<Vec<u32>>,
    /// Lanes whose next receipt is of a message that has not been gone through.
    waiting: HashMap<u64, Vec<usize>>,
    /// The earliest event that breaks the condition.
    broken: Option<(u64, Broken)>,
    /// Whether any event was held against another.
    has_causes: bool,
}

/// One node's happenings.
struct Lane<'a> {
    happenings: Vec<&'a Happening>,
    /// How many have been gone through.
    next: usize,
    /// Which process the node is now.
    process: usize,
    /// Whether what it knows survives a restart.
    durable: bool,
}

/// A node from a start with empty memory until it forgets.
struct Process {
    node: u32,
    /// From 1.
    life: u32,
    /// The Lamport values and times of its events.
    events: Vec<(u64, u64)>,
    /// For each process, how many of its events are in the past of the last one here, which counts
    /// itself.
    vector: Vec<u32>,
    /// The last send: its event's number, and the place of its vector.
    sent: Option<(u64, usize)>,
}

impl<'a> Past<'a> {
    fn new(timeline: &'a [Happening]) -> Past<'a> {
        let mut nodes: BTreeMap<u32, Vec<&Happening>> = BTreeMap::new();
        let mut sent = HashMap::new();
        for happening in timeline {
            match happening.what {
                What::Send { node, message, .. } => {
                    sent.insert(message, None);
                    nodes.entry(node).or_default().push(happening);
                }
                What::Start { node, .. } | What::Receive { node, .. } => {
                    nodes.entry(node).or_default().push(happening);
                }
                What::Down { .. }
                | What::Pause { .. }
                | What::Fault { .. }
                | What::Fact { .. }
                | What::Clock { .. }
                | What::Link { .. }
                | What::End => {}
            }
        }
        let processes = nodes.keys().map(|node| Process::new(*node, 1)).collect();
        let lanes = nodes.into_values().enumerate();
        let lanes = lanes.map(|(process, happenings)| Lane {
            happenings,
            next: 0,
            process,
            durable: false,
        });
        Past {
            begin: begin(timeline),
            lanes: lanes.collect(),
            processes,
            sent,
            vectors: Vec::new(),
            waiting: HashMap::new(),
            broken: None,
            has_causes: false,
        }
    }

    /// Goes through a node's happenings until one must wait. Whoever waited for what this node
    /// sent is ready again.
    fn advance(&mut self, lane: usize, ready: &mut VecDeque<usize>) {
        while let Some(&happening) = self.lanes[lane].happenings.get(self.lanes[lane].next) {
            match happening.what {
                What::Start { durable, .. } => {
                    self.restart(lane, durable);
                    if self.processes.len() > MAX_PROCESSES {
                        return;
                    }
                }
                What::Send { message, lamport, event, .. } => {
                    let vector = self.send(lane, happening, lamport, event);
                    // Of two sends under one name the first counts.
                    if let Some(place @ None) = self.sent.get_mut(&message) {
                        *place = Some(vector);
                    }
                    ready.extend(self.waiting.remove(&message).unwrap_or_default());
                }
                What::Receive { message, lamport, .. } => match self.sent.get(&message) {
                    Some(None) => {
                        self.waiting.entry(message).or_default().push(lane);
                        return;
                    }
                    Some(Some(vector)) => self.event(lane, happening, lamport, Some(*vector)),
                    None => self.event(lane, happening, lamport, None),
                },
                What::Down { .. }
                | What::Pause { .. }
                | What::Fault { .. }
                | What::Fact { .. }
                | What::Clock { .. }
                | What::Link { .. }
                | What::End => {}
            }
            self.lanes[lane].next += 1;
        }
    }

    fn restart(&mut self, lane: usize, durable: bool) {
        let fresh = self.processes.len();
        let lane = &mut self.lanes[lane];
        let goes_on = std::mem::replace(&mut lane.durable, durable) && durable;
        let process = &mut self.processes[lane.process];
        if !goes_on {
            // A life without events needs no component.
            if !process.events.is_empty() {
                let next = Process::new(process.node, process.life + 1);
                lane.process = fresh;
                self.processes.push(next);
            }
            return;
        }
        process.vector.clear();
        if let Some((_, vector)) = process.sent {
            process.vector.extend_from_slice(&self.vectors[vector]);
        }
    }

    /// Returns the place of the event's vector.
    fn send(&mut self, lane: usize, happening: &Happening, lamport: u64, event: u64) -> usize {
        let process = self.lanes[lane].process;
        if let Some((before, vector)) = self.processes[process].sent
            && before == event
        {
            return vector;
        }
        self.event(lane, happening, lamport, None);
        let vector = self.vectors.len();
        self.vectors.push(self.processes[process].vector.clone());
        self.processes[process].sent = Some((event, vector));
        vector
    }

    /// One event of a node, caused by what came before it there and by the send whose vector is
    /// at `cause`.
    ///
    /// It is held against the latest event in its past of each process of which it brings news.
    /// The earlier ones, and those of which the event before it knew, are then smaller too, as long
    /// as nothing else breaks the condition.
    fn event(&mut self, lane: usize, happening: &Happening, lamport: u64, cause: Option<usize>) {
        let own = self.lanes[lane].process;
        let mut vector = std::mem::take(&mut self.processes[own].vector);
        let cause: &[u32] = cause.map_or(&[], |cause| &self.vectors[cause]);
        vector.resize(vector.len().max(cause.len()).max(own + 1), 0);
        let (mut culprit, mut has_causes) = (None, false);
        let mut hold_against = |process: usize, count: u32| {
            let latest = (count as usize).checked_sub(1);
            let latest = latest.and_then(|latest| self.processes[process].events.get(latest));
            has_causes |= latest.is_some();
            if let Some(latest) = latest.filter(|(value, _)| lamport <= *value) {
                culprit.get_or_insert((process, *latest));
            }
        };
        hold_against(own, vector[own]);
        for (process, (known, news)) in vector.iter_mut().zip(cause).enumerate() {
            if news > known {
                *known = *news;
                hold_against(process, *news);
            }
        }
        self.has_causes |= has_causes;
        self.processes[own].events.push((lamport, happening.at));
        vector[own] = self.processes[own].events.len() as u32;
        self.processes[own].vector = vector;
        if let Some((process, latest)) = culprit
            && self.broken.as_ref().is_none_or(|(first, _)| happening.at < *first)
        {
            let why = self.explain(happening, lamport, own, process, latest);
            let of = (self.processes[process].node, latest.1, latest.0);
            let all = self.lanes.iter().flat_map(|lane| lane.happenings.iter().copied());
            let earlier = witness("event in its past", all, of, self.begin);
            let (node, what) = (self.processes[own].node, &happening.what);
            let now = (happening.at, lamport);
            let later = event("clock that went back", node, what, now, self.begin);
            let witnesses = earlier.into_iter().chain([later]).collect();
            self.broken = Some((happening.at, (why, witnesses)));
        }
    }

    fn explain(
        &self,
        happening: &Happening,
        lamport: u64,
        own: usize,
        culprit: usize,
        (value, when): (u64, u64),
    ) -> String {
        let since = |at: u64| at.saturating_sub(self.begin);
        format!(
            "{} has Lamport value {lamport} and vector {}, but the event of node {} in its past, \
             at {}, has {value}",
            Event { what: &happening.what, at: since(happening.at) },
            Vector { counts: &self.processes[own].vector, processes: &self.processes },
            self.processes[culprit],
            Millis(since(when)),
        )
    }

    /// A receipt that can only come before its send, when there is one: then the timeline is none
    /// of a run.
    fn circle(&self) -> Option<String> {
        let stuck = self.lanes.iter().filter_map(|lane| lane.happenings.get(lane.next));
        let first = stuck.min_by_key(|happening| happening.at)?;
        let event = Event { what: &first.what, at: first.at.saturating_sub(self.begin) };
        Some(format!("{event} is before its send, in whatever order the events are taken"))
    }
}

impl Process {
    fn new(node: u32, life: u32) -> Process {
        Process { node, life, events: Vec::new(), vector: Vec::new(), sent: None }
    }
}

/// The node, and which of its lives when it has forgotten another: `3`, `3/2`.
impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.life {
            1 => write!(f, "{}", self.node),
            life => write!(f, "{}/{life}", self.node),
        }
    }
}

/// What is not zero of a vector: `{1: 3, 2: 4}`.
struct Vector<'a> {
    counts: &'a [u32],
    processes: &'a [Process],
}

impl fmt::Display for Vector<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.processes.iter().zip(self.counts).filter(|(_, count)| **count > 0);
        write!(f, "{{")?;
        for (place, (process, count)) in known.enumerate() {
            write!(f, "{}{process}: {count}", if place == 0 { "" } else { ", " })?;
        }
        write!(f, "}}")
    }
}

/// An event in words; its time is from the run's beginning.
struct Event<'a> {
    what: &'a What,
    at: u64,
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = Millis(self.at);
        match self.what {
            What::Send { node, message, .. } => write!(f, "node {node} sending {message} at {at}"),
            What::Receive { node, message, .. } => {
                write!(f, "node {node} receiving {message} at {at}")
            }
            other => write!(f, "{other:?} at {at}"),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
