//! What people see of the clocks: a server's part in keeping them together, and messages in short.

use super::{Berkeley, Message, Ms, Reply, Request};
use crate::core::NodeId;
use ::core::fmt::{self, Write};
use serde::Serialize;

/// A server's part.
#[derive(Serialize)]
pub(super) struct View {
    coordinator: Option<NodeId>,
    /// The round under way, at the coordinator.
    round: Option<Round>,
    /// Rounds held, and times that the clock was moved.
    rounds: u64,
    adjustments: u64,
    /// What the clock is corrected by, or will be once it has slewed there.
    correction_ns: i64,
    /// Messages since the last round that was due.
    processed: u64,
}

#[derive(Serialize)]
struct Round {
    number: u64,
    asked: usize,
    answered: usize,
}

impl Berkeley {
    pub(super) fn seen(&self) -> View {
        let round = self.round.as_ref().map(|round| Round {
            number: round.number,
            asked: round.asked,
            answered: round.answers.len(),
        });
        View {
            coordinator: self.coordinator.map(|reign| reign.id),
            round,
            rounds: self.rounds,
            adjustments: self.adjustments,
            correction_ns: self.correction.target(),
            processed: self.processed,
        }
    }
}

pub(super) fn message(message: &Message, out: &mut dyn Write) -> fmt::Result {
    match message {
        Message::Ask { round, .. } => write!(out, "ASK round {round}"),
        Message::Time { round, .. } => write!(out, "TIME round {round}"),
        Message::Adjust { nanos, .. } => write!(out, "ADJUST {}", Ms(*nanos)),
        Message::Due => out.write_str("ROUND DUE"),
    }
}

pub(super) fn request(request: &Request, out: &mut dyn Write) -> fmt::Result {
    match request {
        Request::Status {} => out.write_str("STATUS"),
    }
}

pub(super) fn reply(reply: &Reply, out: &mut dyn Write) -> fmt::Result {
    match reply {
        Reply::Status { correction, .. } => write!(out, "CLOCK {}", Ms(*correction)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Reign};
    use super::*;
    use crate::core::{Correction, Epoch, Protocol, Time, WallTime};
    use crate::testing::{assert_briefs, env, view};
    use alloc::vec::Vec;

    #[test]
    fn a_server_shows_its_round_and_its_correction() {
        let config = Config::default();
        let mut berkeley = Berkeley::new(config, &env(2)).expect("the config is right");
        let none = r#"{"coordinator":null,"round":null,"rounds":0,"adjustments":0,"#;
        assert_eq!(view(&berkeley), [none, r#""correction_ns":0,"processed":0}"#].concat());
        berkeley.coordinator = Some(Reign { epoch: Epoch(1), id: NodeId(2) });
        berkeley.rounds = 7;
        berkeley.correction = Correction::default().slew(WallTime(0), -5_000, 1);
        berkeley.round = Some(super::super::Round {
            number: 7,
            asked_at: Time(0),
            clock: WallTime(0),
            correction: 0,
            asked: 2,
            answers: Vec::new(),
        });
        let round = r#"{"coordinator":2,"round":{"number":7,"asked":2,"answered":0},"#;
        let rest = r#""rounds":7,"adjustments":0,"correction_ns":-5000,"processed":0}"#;
        assert_eq!(view(&berkeley), [round, rest].concat());
    }

    #[test]
    fn messages_have_short_forms() {
        let (epoch, round, clock) = (Epoch(1), 7, WallTime(0));
        let messages = [
            (Message::Ask { epoch, round }, "ASK round 7"),
            (Message::Time { epoch, round, clock }, "TIME round 7"),
            (Message::Adjust { epoch, round, nanos: -1_500_000 }, "ADJUST -1.500 ms"),
            (Message::Due, "ROUND DUE"),
        ];
        assert_briefs(message, &messages);
        assert_briefs(request, &[(Request::Status {}, "STATUS")]);
        let status = Reply::Status {
            node: NodeId(1),
            clock,
            correction: 250_000,
            owed: 0,
            coordinator: None,
            rounds: 0,
            adjustments: 0,
        };
        assert_briefs(reply, &[(status, "CLOCK +0.250 ms")]);
    }
}
