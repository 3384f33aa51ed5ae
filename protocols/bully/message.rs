//! What nodes say to each other, and to clients.

use crate::core::{Epoch, LamportTime, NodeId};
use serde::{Deserialize, Serialize};

/// Between nodes. Who coordinates is never told by hearsay: the coordinator is whoever sent
/// [`Message::Coordinator`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// To higher ids: is one of you there? ELECTION in the paper.
    Election {
        /// The latest reign that the sender knows.
        epoch: Epoch,
    },
    /// The answer: yes, and it takes over.
    Ok,
    /// To lower ids: the sender coordinates.
    Coordinator {
        /// Its reign.
        epoch: Epoch,
    },
    /// The health check: to the coordinator, is it still there; from a coordinator to higher ids,
    /// are they there again.
    Check {
        /// Whom the sender holds coordinator: the receiver, or itself.
        coordinator: NodeId,
        /// In which reign.
        epoch: Epoch,
    },
    /// The answer to a health check of the coordinator.
    Alive {
        /// Whether the sender coordinates.
        coordinates: bool,
    },
}

impl Message {
    /// The reign that it speaks of.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        match self {
            Message::Election { epoch }
            | Message::Coordinator { epoch }
            | Message::Check { epoch, .. } => Some(*epoch),
            Message::Ok | Message::Alive { .. } => None,
        }
    }
}

/// From clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Who coordinates, as this node knows.
    Status {},
}

/// To clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Who coordinates.
    Status {
        /// This node.
        node: NodeId,
        /// The coordinator; none before the first election is over.
        coordinator: Option<NodeId>,
        /// Its reign.
        epoch: Epoch,
        /// Whether this node is in an election.
        electing: bool,
        /// How many elections it has held since its start.
        elections: u64,
        /// How many announcements and the like it has ignored, as void.
        ignored: u64,
        /// Its Lamport clock.
        clock: LamportTime,
    },
}
