//! What each node did last, in words, for the witness of a turn that broke something: kept only
//! where a trace is written, and only of the latest messages. Knows no protocol.

use crate::check::describe::{Millis, Node};
use crate::study::{Nanos, TURN};
use crate::trace::{Event, Testimony};
use std::collections::{BTreeMap, VecDeque};

/// So many messages are known by what they said.
const KNOWN: usize = 4_096;
/// The longest message that is told, in characters.
const MAX_SAID: usize = 60;

/// What nodes did last.
#[derive(Default)]
pub(super) struct Doing {
    /// The last messages that were sent, by their names.
    sent: VecDeque<(String, String)>,
    last: BTreeMap<u32, (Nanos, String)>,
}

impl Doing {
    /// A line of the trace.
    pub(super) fn note(&mut self, at: Nanos, node: Option<u32>, event: &Event<'_>) {
        if let Event::Send { id, label, brief, .. } = event {
            if self.sent.len() == KNOWN {
                self.sent.pop_front();
            }
            let said = brief.as_ref().unwrap_or(label);
            self.sent.push_back((id.to_string(), said.chars().take(MAX_SAID).collect()));
        }
        let Some(node) = node else { return };
        let said = match event {
            Event::Recv { id, from } => {
                let known = self.sent.iter().rev().find(|(one, _)| one == id);
                let what = known.map_or("a message", |(_, said)| said);
                format!("received {what} from {}", Node(*from))
            }
            Event::Timer { label, .. } => format!("had its timer {label} run out"),
            Event::Request { client, label, brief, .. } => {
                let asked: String =
                    brief.as_ref().unwrap_or(label).chars().take(MAX_SAID).collect();
                format!("was asked {asked} by {client}")
            }
            Event::Link { peer, up: true } => format!("had its link to {} made", Node(*peer)),
            Event::Link { peer, up: false } => format!("lost its link to {}", Node(*peer)),
            Event::Start { .. } => "started".into(),
            _ => return,
        };
        self.last.insert(node, (at, said));
    }

    /// A witness that is a turn, with what its node did then.
    pub(super) fn told(&self, witness: &Testimony<'static>) -> Testimony<'static> {
        let is_turn = witness.event.as_deref() == Some(TURN) && witness.role.starts_with("turn ");
        let known = witness.node.and_then(|node| Some((node, self.last.get(&node)?)));
        let known = known.filter(|(_, (at, _))| is_turn && witness.at == Some(*at));
        let Some((node, (at, said))) = known else { return witness.clone() };
        let says = format!("{} {said} at {}: after that it does not hold", Node(node), Millis(*at));
        Testimony { says: says.into(), ..witness.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_says_what_its_node_received() {
        let mut doing = Doing::default();
        let send = Event::Send {
            id: "86".into(),
            to: 2,
            protocol: "p".into(),
            label: "{}".into(),
            brief: Some("ANSWER 10".into()),
        };
        doing.note(1_000_000, Some(1), &send);
        doing.note(2_000_000, Some(2), &Event::Recv { id: "86".into(), from: 1 });
        let turn = Testimony {
            role: "turn that broke it".into(),
            node: Some(2),
            at: Some(2_000_000),
            event: Some(TURN.into()),
            ..Testimony::default()
        };
        let says = "node 2 received ANSWER 10 from node 1 at 2.0 ms: after that it does not hold";
        assert_eq!(doing.told(&turn).says, says);
        let other = Testimony { at: Some(3_000_000), ..turn };
        assert_eq!(doing.told(&other), other, "of another time nothing is known");
    }
}
