//! The events of a run, as JSON lines: what a simulated run, a real node and its clients write
//! alike, and what `node explain` and `node verify` read.
//!
//! The first line is a [`Event::Run`]. Lines of one node are in the order of its turns; `at` is
//! nanoseconds, in the simulator since the run's beginning, otherwise since the Unix epoch.

mod clients;
pub mod history;
mod quick;
mod views;
mod witnesses;
mod writer;

pub use self::clients::ClientWriter;
pub use self::witnesses::{TURN, Testimony, lines, told};
pub use self::writer::LineWriter;

use crate::check::timeline::Running;
use node_core::{Fact, NodeId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;

/// One line.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Line<'a> {
    /// When, in nanoseconds.
    pub at: u64,
    /// Where; none for what concerns the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    /// The node's Lamport clock after the event; none where no clock moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lamport: Option<u64>,
    /// A hash of the states of the node's protocols after the turn, in hexadecimal; only on the
    /// last line of a turn, which `view` lines follow.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Cow<'a, str>>,
    /// What.
    #[serde(borrow, flatten)]
    pub event: Event<'a>,
}

/// What happened. The field `kind` names the variant.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event<'a> {
    /// The run: which nodes, and how to have it again.
    Run {
        /// `sim`, `node`, or `clients`: those of real nodes.
        source: Cow<'a, str>,
        /// The scenario's or config's name.
        scenario: Cow<'a, str>,
        /// The simulator's seed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seed: Option<u64>,
        /// How many clients it begins with; those with larger numbers come later.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clients: Option<u32>,
        /// The nodes' ids.
        nodes: Vec<u32>,
    },
    /// The node started.
    Start {
        /// Larger each time.
        incarnation: u64,
        /// Whether it has a data directory, so that its clock goes on from where it was.
        #[serde(default)]
        durable: bool,
        /// What it runs, by the names of protocols and of the facts that they publish and need.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        runs: Vec<Running>,
        /// What its config calls it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Cow<'a, str>>,
    },
    /// The node stopped without warning.
    Crash,
    /// The node stopped in order.
    Stop,
    /// The node was held up, or goes on.
    Pause {
        /// False when it goes on.
        on: bool,
    },
    /// A link of the node came up or went down.
    Link {
        /// The other end.
        peer: u32,
        /// Which of the two.
        up: bool,
    },
    /// The node sent a message.
    Send {
        /// Names the message; its `recv`, `drop` and `duplicate` carry the same.
        id: Cow<'a, str>,
        /// To whom.
        to: u32,
        /// Whose message it is.
        protocol: Cow<'a, str>,
        /// The message: JSON; what JSON cannot carry is a text for people.
        label: Cow<'a, str>,
        /// The message in short, where it has a short form that differs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        brief: Option<Cow<'a, str>>,
    },
    /// The node received a message.
    Recv {
        /// The message.
        id: Cow<'a, str>,
        /// From whom.
        from: u32,
    },
    /// A message was lost. The node is the one that would have received it.
    Drop {
        /// The message.
        id: Cow<'a, str>,
        /// From whom.
        from: u32,
        /// `loss`, `cut`, `down` (the receiver was), `no_link`, or what the node said.
        why: Cow<'a, str>,
    },
    /// The network made a second copy, which is received under a name of its own.
    Duplicate {
        /// The copy.
        id: Cow<'a, str>,
        /// The message that was copied.
        of: Cow<'a, str>,
    },
    /// A timer fired.
    Timer {
        /// Whose.
        protocol: Cow<'a, str>,
        /// Which.
        label: Cow<'a, str>,
    },
    /// A client's request reached the node.
    Request {
        /// Names the operation; its `reply` carries the same.
        op: Cow<'a, str>,
        /// The client.
        client: Cow<'a, str>,
        /// Whose request it is.
        #[serde(default)]
        protocol: Cow<'a, str>,
        /// The request: JSON, as on the `json` gateway.
        label: Cow<'a, str>,
        /// The request in short, where it has a short form that differs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        brief: Option<Cow<'a, str>>,
    },
    /// The node answered.
    Reply {
        /// The operation.
        op: Cow<'a, str>,
        /// The client.
        client: Cow<'a, str>,
        /// Whose request it is.
        #[serde(default)]
        protocol: Cow<'a, str>,
        /// The reply, likewise.
        label: Cow<'a, str>,
        /// The reply in short, where it has a short form that differs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        brief: Option<Cow<'a, str>>,
    },
    /// The node sent a client what it had subscribed to.
    Push {
        /// The client.
        client: Cow<'a, str>,
        /// Whose request it is.
        #[serde(default)]
        protocol: Cow<'a, str>,
        /// What, as a reply.
        label: Cow<'a, str>,
        /// What was sent in short, where it has a short form that differs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        brief: Option<Cow<'a, str>>,
    },
    /// A client asked a node for something, at its own time. Simulated clients say so, and those
    /// that write a trace of their own; at the node it is a `request`.
    Invoke {
        /// Names the operation, as its `request` and `reply` do: a connection's number, and its
        /// own.
        op: Cow<'a, str>,
        /// The client, whose operations do not overlap.
        client: u64,
        /// Whom it asked.
        to: u32,
        /// Whether that is a second process of the node's id.
        #[serde(default, skip_serializing_if = "is_false")]
        twin: bool,
        /// Whose request it is.
        protocol: Cow<'a, str>,
        /// The request, as in `request`.
        label: Cow<'a, str>,
        /// The request in short, where it has a short form that differs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        brief: Option<Cow<'a, str>>,
    },
    /// The answer reached the client.
    Return {
        /// The operation.
        op: Cow<'a, str>,
        /// The reply, as in `reply`.
        label: Cow<'a, str>,
        /// The reply in short, where it has a short form that differs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        brief: Option<Cow<'a, str>>,
    },
    /// Something else that a client met on a connection of its own.
    Contact {
        /// The connection's number.
        connection: u32,
        /// `pushed` (it got what it subscribed to), `closed` (it learned that the connection was
        /// gone), `left` (it gave it up), `dozes` (it reads no more), `reads` (it reads on).
        what: Cow<'a, str>,
        /// What was pushed, as a reply; empty for the others.
        #[serde(default, skip_serializing_if = "str::is_empty")]
        label: Cow<'a, str>,
    },
    /// A protocol of the node told the others something.
    Fact {
        /// Whose fact.
        protocol: Cow<'a, str>,
        /// Which kind, by its name.
        fact: Cow<'a, str>,
        /// The node that it is about, if it is about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<u32>,
        /// What it states.
        value: Value,
    },
    /// What can be seen of a protocol's state, after a turn that changed it. Every protocol with a
    /// view shows it at the node's start.
    View {
        /// Whose state.
        protocol: Cow<'a, str>,
        /// A value of the protocol's own form.
        value: serde_json::Value,
    },
    /// Records were made durable, or the attempt failed.
    Sync {
        /// How many bytes.
        bytes: u64,
        /// False when the disk did not take them.
        ok: bool,
    },
    /// What is in a protocol's file: after the node has started, and last when it stops.
    File {
        /// Whose.
        protocol: Cow<'a, str>,
        /// All of it; what is no UTF-8 is replaced.
        content: Cow<'a, str>,
    },
    /// A console line.
    Print {
        /// The line.
        line: Cow<'a, str>,
    },
    /// A remark of a protocol.
    Note {
        /// The remark.
        line: Cow<'a, str>,
    },
    /// The simulator broke something.
    Fault {
        /// Its place in the schedule.
        place: usize,
        /// Which kind: `crash`, `partition`, `clog`, …
        fault: Cow<'a, str>,
        /// The nodes that it concerns; empty for all.
        nodes: Vec<u32>,
        /// When it ends, in nanoseconds; equal to `at` for what is over at once.
        until: u64,
        /// The fault, for people.
        label: Cow<'a, str>,
    },
    /// A property does not hold.
    Violation {
        /// Which property.
        property: Cow<'a, str>,
        /// Why, for people.
        label: Cow<'a, str>,
        /// What it rests on, in the order of telling.
        #[serde(default)]
        witnesses: Vec<Testimony<'a>>,
    },
}

impl Event<'static> {
    /// A protocol of the node told the others this.
    pub fn of_fact(protocol: &'static str, fact: &Fact) -> Event<'static> {
        Event::Fact {
            protocol: protocol.into(),
            fact: fact.name().to_string().into(),
            subject: fact.subject().map(|node| node.0),
            value: fact.json(),
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Event<'_> {
    /// Whether a client says it, and no node.
    pub fn is_of_client(&self) -> bool {
        matches!(self, Event::Invoke { .. } | Event::Return { .. } | Event::Contact { .. })
    }

    /// What a protocol told the others, if that is what happened.
    pub fn to_fact(&self) -> Option<Fact> {
        let Event::Fact { fact, subject, value, .. } = self else { return None };
        Some(Fact::recorded(fact, subject.map(NodeId), value.clone()))
    }
}

/// The short form beside a label; none that says no more than the label does.
pub fn brief(brief: Option<String>, label: &str) -> Option<Cow<'static, str>> {
    brief.filter(|brief| brief != label).map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use node_core::Epoch;
    use node_protocols::facts::{Coordinator, Processed};

    #[test]
    fn a_fact_is_json_in_its_line_and_read_from_there() {
        let line = |fact: &Fact| {
            let event = Event::of_fact("bully", fact);
            let line = Line { at: 5, node: Some(1), lamport: None, digest: None, event };
            serde_json::to_string(&line).unwrap()
        };
        let said = Coordinator { id: NodeId(3), epoch: Epoch(u64::MAX) };
        let text = line(&Fact::of(said));
        let form = r#"{"at":5,"node":1,"kind":"fact","protocol":"bully","fact":"Coordinator","subject":3,"value":{"epoch":18446744073709551615,"id":3}}"#;
        assert_eq!(text, form);
        let read: Line<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(read.event.to_fact().unwrap().read(), Some(said));
        assert_eq!(read.event.to_fact(), Some(Fact::of(said)));
        let text = line(&Fact::of(Processed));
        assert!(text.ends_with(r#""fact":"Processed","value":null}"#), "{text}");
        let read: Line<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(read.event.to_fact(), Some(Fact::of(Processed)));
        // Words for people, which are no value, are not taken for one.
        let words =
            r#"{"at":5,"node":1,"kind":"fact","protocol":"p","fact":"Processed","label":"x"}"#;
        assert!(serde_json::from_str::<Line<'_>>(words).is_err());
    }
}
