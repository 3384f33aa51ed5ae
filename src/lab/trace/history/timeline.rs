//! What nodes did, from their traces: the lines that checkers of clocks and elections judge. Knows
//! the form of traces, and no protocol's facts or messages.
//!
//! A node that is killed leaves no line that says so: it starts again without having stopped, or
//! its trace ends without a stop and another node then loses its link to it, which happens at once.

use crate::check::timeline::{FaultKind, Happening, What};
use crate::study::{Befell, Mishap};
use crate::trace::{Event, Line};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Makes one timeline of several traces.
#[derive(Default)]
pub(super) struct Timeline {
    happenings: Vec<Happening>,
    /// Faults, and the last syncs before nodes stopped.
    mishaps: Vec<Mishap>,
    /// Messages' numbers, by their names in traces; a copy has its original's.
    messages: HashMap<String, u64>,
    next_message: u64,
    /// How many sends there were.
    events: u64,
    nodes: BTreeMap<u32, Node>,
    /// Whether the present trace is one of real nodes.
    is_real: bool,
    /// The last line of all traces.
    end: Option<u64>,
    /// The real nodes that were up where their traces end, and when that is.
    open: Vec<(u32, u64)>,
    /// When a node's link to another went down: (the other, when).
    lost_links: Vec<(u32, u64)>,
    /// The places of what nobody wrote down: a node was killed, some time until that of its next
    /// line.
    killed: Vec<(usize, u64)>,
}

/// A node as its trace leaves it.
#[derive(Default)]
struct Node {
    up: bool,
    /// Its last line.
    last: u64,
    /// When it last made something durable, and how many bytes.
    synced: Option<(u64, u64)>,
    /// Its last send, if nothing was received since.
    sent: Option<Sent>,
}

/// What copies of one multicast have in common, and the number of their event.
struct Sent {
    lamport: u64,
    protocol: String,
    label: String,
    /// Its receivers: each gets one copy.
    to: BTreeSet<u32>,
    event: u64,
}

impl Timeline {
    /// Takes a line of the present trace.
    pub fn line(&mut self, line: &Line<'_>) {
        let at = line.at;
        self.end = self.end.max(Some(at));
        let Some(node) = line.node else { return self.run_line(at, &line.event) };
        self.mishap(node, at, &line.event);
        match &line.event {
            Event::Start { durable, runs, .. } => {
                self.down_if_up(node, at);
                self.nodes.insert(node, Node { up: true, last: at, ..Node::default() });
                self.push(at, What::Start { node, durable: *durable, runs: runs.clone() });
            }
            Event::Crash | Event::Stop => {
                self.nodes.entry(node).or_default().up = false;
                self.push(at, What::Down { node });
            }
            Event::Pause { on } => self.push(at, What::Pause { node, on: *on }),
            event @ Event::Fact { .. } => {
                if let Some(fact) = event.to_fact() {
                    self.push(at, What::Fact { node, fact });
                }
            }
            Event::Send { id, protocol, label, to, .. } => {
                if let Some(lamport) = line.lamport {
                    let message = self.message(id);
                    let event = self.event(node, lamport, protocol, label, *to);
                    self.push(at, What::Send { node, message, lamport, event });
                }
            }
            Event::Recv { id, .. } => {
                if let Some(lamport) = line.lamport {
                    let message = self.message(id);
                    self.nodes.entry(node).or_default().sent = None;
                    self.push(at, What::Receive { node, message, lamport });
                }
            }
            Event::Duplicate { id, of } => {
                let message = self.message(of);
                self.messages.insert(id.to_string(), message);
            }
            Event::Link { peer, up } => {
                if !up {
                    self.lost_links.push((*peer, at));
                }
                self.push(at, What::Link { node, peer: *peer, up: *up });
            }
            Event::Run { .. }
            | Event::Drop { .. }
            | Event::Timer { .. }
            | Event::Request { .. }
            | Event::Reply { .. }
            | Event::Push { .. }
            | Event::View { .. }
            | Event::Sync { .. }
            | Event::File { .. }
            | Event::Print { .. }
            | Event::Note { .. }
            | Event::Fault { .. }
            | Event::Invoke { .. }
            | Event::Return { .. }
            | Event::Contact { .. }
            | Event::Violation { .. } => {}
        }
        self.nodes.entry(node).or_default().last = at;
    }

    /// A line that concerns no single node.
    fn run_line(&mut self, at: u64, event: &Event<'_>) {
        match event {
            Event::Run { source, .. } => self.is_real = source == "node",
            Event::Fault { fault, nodes, until, label, .. } => {
                if let Some(kind) = FaultKind::named(fault, nodes) {
                    let says = label.to_string();
                    self.befell(at, Befell::Fault { nodes: nodes.clone(), until: *until, says });
                    self.push(at, What::Fault { kind, until: *until });
                }
            }
            _ => {}
        }
    }

    /// The present trace is over, and the next one begins.
    pub fn end_of_trace(&mut self) {
        let nodes = std::mem::take(&mut self.nodes);
        if self.is_real {
            let up = nodes.iter().filter(|(_, node)| node.up);
            self.open.extend(up.map(|(id, node)| (*id, node.last)));
        }
        self.is_real = false;
    }

    /// All of it, each node's happenings in their order; and what befell nodes, in that of time.
    pub fn finish(mut self) -> (Vec<Happening>, Vec<Mishap>) {
        self.end_of_trace();
        let Some(end) = self.end else { return (Vec::new(), Vec::new()) };
        for (node, last) in std::mem::take(&mut self.open) {
            if self.lost_links.iter().any(|(peer, at)| *peer == node && *at >= last) {
                self.killed(node, last, u64::MAX);
            }
        }
        self.place_killed();
        self.push(end, What::End);
        self.mishaps.sort_by_key(|one| one.at);
        (self.happenings, self.mishaps)
    }

    fn push(&mut self, at: u64, what: What) {
        self.happenings.push(Happening { at, what });
    }

    /// Keeps what befell a node, and what it made durable before.
    fn mishap(&mut self, node: u32, at: u64, event: &Event<'_>) {
        let state = self.nodes.entry(node).or_default();
        match event {
            Event::Start { durable, .. } => {
                self.befell(at, Befell::Start { node, durable: *durable });
            }
            Event::Crash | Event::Stop => {
                let synced = state.synced.take();
                let is_crash = matches!(event, Event::Crash);
                self.befell(at, Befell::Down { node, is_crash, synced });
            }
            Event::Pause { on: true } => self.befell(at, Befell::Pause { node }),
            Event::Sync { bytes, ok: true } => state.synced = Some((at, *bytes)),
            _ => {}
        }
    }

    fn befell(&mut self, at: u64, what: Befell) {
        self.mishaps.push(Mishap { at, what });
    }

    fn down_if_up(&mut self, node: u32, until: u64) {
        if let Some(before) = self.nodes.get(&node).filter(|before| before.up) {
            self.killed(node, before.last, until);
        }
    }

    fn killed(&mut self, node: u32, last: u64, until: u64) {
        self.killed.push((self.happenings.len(), until));
        self.push(last, What::Down { node });
    }

    /// A node that is killed is missed: its links go down at once.
    fn place_killed(&mut self) {
        for (place, until) in std::mem::take(&mut self.killed) {
            let Some(Happening { at, what: What::Down { node } }) = self.happenings.get_mut(place)
            else {
                continue;
            };
            let missed = self.lost_links.iter().filter(|(peer, _)| peer == node);
            let missed = missed.map(|(_, when)| *when).filter(|when| (*at..until).contains(when));
            *at = missed.min().unwrap_or(*at);
            let what = Befell::Down { node: *node, is_crash: true, synced: None };
            self.mishaps.push(Mishap { at: *at, what });
        }
    }

    /// The number of the message of that name.
    fn message(&mut self, name: &str) -> u64 {
        if let Some(number) = self.messages.get(name) {
            return *number;
        }
        self.next_message += 1;
        self.messages.insert(name.to_string(), self.next_message);
        self.next_message
    }

    /// The number of a send's event. A multicast has a line for each receiver, one after the other.
    fn event(&mut self, node: u32, lamport: u64, protocol: &str, label: &str, to: u32) -> u64 {
        let last = &mut self.nodes.entry(node).or_default().sent;
        if let Some(sent) = last
            && (sent.lamport, &*sent.protocol, &*sent.label) == (lamport, protocol, label)
            && sent.to.insert(to)
        {
            return sent.event;
        }
        self.events += 1;
        let (protocol, label) = (protocol.to_string(), label.to_string());
        *last = Some(Sent { lamport, protocol, label, to: [to].into(), event: self.events });
        self.events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(traces: &[&[&str]]) -> Vec<String> {
        let mut timeline = Timeline::default();
        for trace in traces {
            for line in *trace {
                timeline.line(&serde_json::from_str(line).expect("a line"));
            }
            timeline.end_of_trace();
        }
        let shown = timeline.finish().0.into_iter();
        shown.map(|one| format!("{} {:?}", one.at, one.what)).collect()
    }

    const RUN: &str = r#"{"at":0,"kind":"run","source":"node","scenario":"x","nodes":[1,2]}"#;
    const SIM: &str = r#"{"at":0,"kind":"run","source":"sim","scenario":"x","nodes":[1,2]}"#;

    #[test]
    fn lines_become_happenings() {
        let shown = timeline(&[&[
            SIM,
            r#"{"at":1,"node":1,"kind":"start","incarnation":1,"durable":true,"runs":[{"protocol":"p","publishes":["F"]}]}"#,
            r#"{"at":1,"node":2,"kind":"start","incarnation":1}"#,
            r#"{"at":2,"node":1,"kind":"pause","on":true}"#,
            r#"{"at":3,"node":1,"kind":"pause","on":false}"#,
            r#"{"at":4,"node":1,"kind":"fact","protocol":"bully","fact":"Coordinator","subject":3,"value":{"id":3,"epoch":17}}"#,
            r#"{"at":4,"node":2,"kind":"fact","protocol":"x","fact":"Anything","value":null}"#,
            r#"{"at":5,"kind":"fault","place":0,"fault":"partition","nodes":[1],"until":9,"label":""}"#,
            r#"{"at":5,"kind":"fault","place":1,"fault":"duplicate","nodes":[],"until":9,"label":""}"#,
            r#"{"at":5,"kind":"fault","place":2,"fault":"crash","nodes":[1],"until":9,"label":""}"#,
            r#"{"at":5,"kind":"fault","place":3,"fault":"pause","nodes":[1],"until":9,"label":""}"#,
            r#"{"at":5,"kind":"fault","place":4,"fault":"clock","nodes":[1],"until":9,"label":""}"#,
            r#"{"at":6,"node":1,"kind":"crash"}"#,
            r#"{"at":7,"node":2,"kind":"stop"}"#,
            r#"{"at":8,"node":2,"kind":"print","line":"x"}"#,
        ]]);
        assert_eq!(
            shown,
            [
                r#"1 Start { node: 1, durable: true, runs: [Running { protocol: "p", publishes: ["F"], needs: [] }] }"#,
                "1 Start { node: 2, durable: false, runs: [] }",
                "2 Pause { node: 1, on: true }",
                "3 Pause { node: 1, on: false }",
                r#"4 Fact { node: 1, fact: Coordinator {"epoch":17,"id":3} }"#,
                "4 Fact { node: 2, fact: Anything null }",
                "5 Fault { kind: Partition([1]), until: 9 }",
                "5 Fault { kind: Duplicate, until: 9 }",
                "5 Fault { kind: Clock(1), until: 9 }",
                "6 Down { node: 1 }",
                "7 Down { node: 2 }",
                "8 End",
            ]
        );
        assert_eq!(timeline(&[]), [""; 0]);
    }

    fn send(at: u64, node: u32, id: &str, lamport: u64, label: &str) -> String {
        let to = id.as_bytes()[0];
        format!(
            r#"{{"at":{at},"node":{node},"lamport":{lamport},"kind":"send","id":"{id}","to":{to},"protocol":"p","label":"{label}"}}"#
        )
    }

    fn recv(at: u64, node: u32, id: &str, lamport: u64) -> String {
        format!(
            r#"{{"at":{at},"node":{node},"lamport":{lamport},"kind":"recv","id":"{id}","from":9}}"#
        )
    }

    #[test]
    fn messages_have_one_number_in_all_traces_and_multicasts_one_event() {
        let lines = [
            send(1, 1, "a", 3, "x"),
            r#"{"at":1,"node":9,"kind":"drop","id":"a","from":1,"why":"loss"}"#.into(),
            send(1, 1, "b", 3, "x"),
            send(1, 1, "c", 3, "y"),
            recv(2, 1, "z", 4),
            send(3, 1, "d", 3, "y"),
            send(4, 1, "e", 3, "y"),
            r#"{"at":4,"node":2,"kind":"duplicate","id":"copy","of":"b"}"#.into(),
            r#"{"at":4,"node":1,"kind":"recv","id":"no clock","from":9}"#.into(),
        ];
        let one: Vec<&str> = lines.iter().map(|line| line.as_str()).collect();
        let two = [recv(2, 2, "b", 4), recv(3, 2, "copy", 5)];
        let two: Vec<&str> = two.iter().map(|line| line.as_str()).collect();
        let sends = |message, lamport, event| {
            format!("Send {{ node: 1, message: {message}, lamport: {lamport}, event: {event} }}")
        };
        let receives = |node, message, lamport| {
            format!("Receive {{ node: {node}, message: {message}, lamport: {lamport} }}")
        };
        assert_eq!(
            timeline(&[&one, &two]),
            [
                format!("1 {}", sends(1, 3, 1)),
                format!("1 {}", sends(2, 3, 1)),
                format!("1 {}", sends(3, 3, 2)),
                format!("2 {}", receives(1, 4, 4)),
                format!("3 {}", sends(5, 3, 3)),
                format!("4 {}", sends(6, 3, 3)),
                format!("2 {}", receives(2, 2, 4)),
                format!("3 {}", receives(2, 2, 5)),
                "4 End".into(),
            ]
        );
    }

    /// A multicast has one copy for each receiver: whoever gets two was sent two messages.
    #[test]
    fn two_messages_to_one_node_are_two_events() {
        let twice = [RUN, &send(1, 1, "a1", 3, "x"), &send(1, 1, "a2", 3, "x")].map(String::from);
        let twice: Vec<&str> = twice.iter().map(String::as_str).collect();
        let shown = timeline(&[&twice]);
        assert!(shown[0].ends_with("event: 1 }") && shown[1].ends_with("event: 2 }"), "{shown:?}");
    }

    #[test]
    fn a_killed_node_is_down_after_its_last_line() {
        let start = |at: u64| format!(r#"{{"at":{at},"node":1,"kind":"start","incarnation":1}}"#);
        let print = |at: u64| format!(r#"{{"at":{at},"node":1,"kind":"print","line":"x"}}"#);
        let (first, last, again) = (start(1), print(5), start(9));
        let soon = r#"{"at":2000000000,"node":2,"kind":"stop"}"#;
        let late = r#"{"at":12,"node":2,"kind":"link","peer":1,"up":false}"#;
        let restarted = [RUN, &first, &last, RUN, &again];
        let start = "Start { node: 1, durable: false, runs: [] }";
        let down = "Down { node: 1 }";
        let common = [format!("1 {start}"), format!("5 {down}"), format!("9 {start}")];
        assert_eq!(timeline(&[&restarted, &[RUN, soon]])[..3], common);
        assert_eq!(timeline(&[&restarted, &[RUN, soon]]).len(), 5);
        let killed = timeline(&[&restarted, &[RUN, late]]);
        assert_eq!(killed[..3], common);
        assert_eq!(killed[3], "12 Link { node: 2, peer: 1, up: false }");
        assert_eq!(killed[4], format!("12 {down}"));
        // The simulator says itself who is down.
        let quiet = timeline(&[&[SIM, &first, soon]]);
        assert_eq!(quiet.len(), 3, "{quiet:?}");
    }
}
