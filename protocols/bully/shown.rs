//! What people see of elections: a node's part in them, and messages in short.

use super::{Bully, Message, Phase, Reply, Request};
use crate::core::{Epoch, NodeId};
use ::core::fmt::{self, Write};
use serde::Serialize;

/// A node's part.
#[derive(Serialize)]
pub(super) struct View {
    phase: Phase,
    coordinator: Option<NodeId>,
    epoch: Option<Epoch>,
    /// How high it stands: its id or its rank.
    standing: Option<u32>,
    elections: u64,
}

impl Bully {
    pub(super) fn seen(&self) -> View {
        View {
            phase: self.phase,
            coordinator: self.reign.map(|reign| reign.id),
            epoch: self.reign.map(|reign| reign.epoch),
            standing: self.standing,
            elections: self.elections,
        }
    }
}

pub(super) fn message(message: &Message, out: &mut dyn Write) -> fmt::Result {
    match message {
        Message::Election { .. } => out.write_str("ELECTION"),
        Message::Ok => out.write_str("OK"),
        Message::Coordinator { epoch } => write!(out, "COORD reign {epoch}"),
        Message::Check { coordinator, epoch } => write!(out, "CHECK {coordinator} reign {epoch}"),
        Message::Alive { coordinates: true } => out.write_str("ALIVE"),
        Message::Alive { coordinates: false } => out.write_str("ALIVE, no COORD"),
    }
}

pub(super) fn request(request: &Request, out: &mut dyn Write) -> fmt::Result {
    match request {
        Request::Status {} => out.write_str("STATUS"),
    }
}

pub(super) fn reply(reply: &Reply, out: &mut dyn Write) -> fmt::Result {
    match reply {
        Reply::Status { coordinator: Some(id), epoch, .. } => {
            write!(out, "COORD {id} reign {epoch}")
        }
        Reply::Status { coordinator: None, .. } => out.write_str("no COORD"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Reign};
    use super::*;
    use crate::core::Protocol;
    use crate::testing::{assert_briefs, env, view};

    #[test]
    fn a_node_shows_its_phase_and_whom_it_follows() {
        let mut bully = Bully::new(Config::default(), &env(2)).expect("the config is right");
        assert_eq!(
            view(&bully),
            r#"{"phase":"starting","coordinator":null,"epoch":null,"standing":2,"elections":0}"#
        );
        bully.phase = Phase::Normal;
        bully.reign = Some(Reign { epoch: Epoch(17), id: NodeId(3) });
        assert_eq!(
            view(&bully),
            r#"{"phase":"normal","coordinator":3,"epoch":17,"standing":2,"elections":0}"#
        );
    }

    #[test]
    fn messages_have_short_forms() {
        let (epoch, coordinator) = (Epoch(17), NodeId(3));
        let messages = [
            (Message::Election { epoch }, "ELECTION"),
            (Message::Ok, "OK"),
            (Message::Coordinator { epoch }, "COORD reign 17"),
            (Message::Check { coordinator, epoch }, "CHECK 3 reign 17"),
            (Message::Alive { coordinates: true }, "ALIVE"),
            (Message::Alive { coordinates: false }, "ALIVE, no COORD"),
        ];
        assert_briefs(message, &messages);
        assert_briefs(request, &[(Request::Status {}, "STATUS")]);
        let status = |coordinator| Reply::Status {
            node: NodeId(1),
            coordinator,
            epoch,
            electing: false,
            elections: 0,
            ignored: 0,
            clock: Default::default(),
        };
        let replies = [(status(Some(coordinator)), "COORD 3 reign 17"), (status(None), "no COORD")];
        assert_briefs(reply, &replies);
    }
}
