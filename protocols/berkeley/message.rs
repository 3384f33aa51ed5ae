//! What servers say to each other, and what clients ask.

use crate::core::{Epoch, NodeId, WallTime};
use serde::{Deserialize, Serialize};

/// Between servers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// From the coordinator: what time is it there?
    Ask {
        /// The coordinator's reign.
        epoch: Epoch,
        /// Counts its rounds.
        round: u64,
    },
    /// The answer.
    Time {
        /// As in the question.
        epoch: Epoch,
        /// As in the question.
        round: u64,
        /// What the server's corrected clock shows.
        clock: WallTime,
    },
    /// From the coordinator: how far to move the clock from where it was when it was asked for.
    Adjust {
        /// As in the question.
        epoch: Epoch,
        /// As in the question.
        round: u64,
        /// By how much, in nanoseconds.
        nanos: i64,
    },
    /// To the coordinator: a round is due, since enough messages were processed here.
    Due,
}

/// What clients ask.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How is the clock?
    Status {},
}

/// What clients are answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// How the clock is.
    Status {
        /// Which server.
        node: NodeId,
        /// What its corrected clock shows, in nanoseconds since the epoch.
        clock: WallTime,
        /// What is added to its own clock at present, in nanoseconds.
        correction: i64,
        /// What is still to be added, in nanoseconds.
        owed: i64,
        /// Who coordinates, as far as it knows.
        coordinator: Option<NodeId>,
        /// How many rounds it has held as the coordinator.
        rounds: u64,
        /// How often it has been told how far to move its clock.
        adjustments: u64,
    },
}
