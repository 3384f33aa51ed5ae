//! What people see of the workload: how a node's calls go, and messages in short.

use super::{Lamport, Message, Reply, Request};
use crate::core::NodeId;
use ::core::fmt::{self, Write};
use serde::Serialize;

/// How a node's calls go.
#[derive(Serialize)]
pub(super) struct View {
    calls: u64,
    answered: u64,
    timed_out: u64,
    served: u64,
    /// Who is to answer the call under way.
    waits_for: Option<NodeId>,
}

impl Lamport {
    pub(super) fn seen(&self) -> View {
        View {
            calls: self.calls,
            answered: self.answered,
            timed_out: self.timed_out,
            served: self.served,
            waits_for: self.callee,
        }
    }
}

pub(super) fn message(message: &Message, out: &mut dyn Write) -> fmt::Result {
    match message {
        Message::Call { call } => write!(out, "CALL {call}"),
        Message::Answer { call, number } => write!(out, "ANSWER {call}: {number}"),
    }
}

pub(super) fn request(request: &Request, out: &mut dyn Write) -> fmt::Result {
    match request {
        Request::Number { clock } => write!(out, "NUMBER at {}", clock.0),
        Request::Status {} => out.write_str("STATUS"),
    }
}

pub(super) fn reply(reply: &Reply, out: &mut dyn Write) -> fmt::Result {
    match reply {
        Reply::Number { number, clock } => write!(out, "{number} at {}", clock.0),
        Reply::Refused { .. } => out.write_str("REFUSED"),
        Reply::Status(status) => {
            write!(out, "{} of {} calls answered", status.answered, status.calls)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Status};
    use super::*;
    use crate::core::{LamportTime, Protocol};
    use crate::testing::{assert_briefs, env, view};

    #[test]
    fn a_node_shows_how_its_calls_go() {
        let config = Config {
            interval_ms: [0, 0],
            timeout_ms: 1,
            calls: 0,
            #[cfg(feature = "mutants")]
            mutant: None,
        };
        let mut lamport = Lamport::new(config, &env(2)).expect("the config is right");
        (lamport.calls, lamport.answered, lamport.callee) = (3, 2, Some(NodeId(1)));
        assert_eq!(
            view(&lamport),
            r#"{"calls":3,"answered":2,"timed_out":0,"served":0,"waits_for":1}"#
        );
    }

    #[test]
    fn messages_have_short_forms() {
        let clock = LamportTime(12);
        let messages = [
            (Message::Call { call: 5 }, "CALL 5"),
            (Message::Answer { call: 5, number: 42 }, "ANSWER 5: 42"),
        ];
        assert_briefs(message, &messages);
        let requests =
            [(Request::Number { clock }, "NUMBER at 12"), (Request::Status {}, "STATUS")];
        assert_briefs(request, &requests);
        let process = NodeId(1);
        let status = Status { process, clock, calls: 9, answered: 8, timed_out: 1, served: 3 };
        let replies = [
            (Reply::Number { number: 42, clock }, "42 at 12"),
            (Reply::Refused { reason: "x".into() }, "REFUSED"),
            (Reply::Status(status), "8 of 9 calls answered"),
        ];
        assert_briefs(reply, &replies);
    }
}
