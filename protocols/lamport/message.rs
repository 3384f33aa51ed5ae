//! What the workload says between nodes, and what clients ask and are answered.

use crate::core::{LamportTime, NodeId};
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// Between nodes. The Lamport value travels in the envelope, not here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// Asks for a random number.
    Call {
        /// The caller's count of its calls, from 1 at each of its starts.
        call: u64,
    },
    /// Gives one.
    Answer {
        /// The call that it answers.
        call: u64,
        /// Below [`NUMBERS`].
        number: u8,
    },
}

/// How many different numbers there are to draw: 0 to 99.
pub const NUMBERS: u8 = 100;

/// What clients ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// A random number, for a client with a Lamport clock of its own.
    Number {
        /// The client's clock when it sent this.
        clock: LamportTime,
    },
    /// How the node's clock stands and what it has called; no event of the clock.
    Status {},
}

/// What clients are answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The number.
    Number {
        /// Below [`NUMBERS`].
        number: u8,
        /// The node's clock when it sent this.
        clock: LamportTime,
    },
    /// The request's clock cannot be true; it changed nothing.
    Refused {
        /// Why.
        reason: String,
    },
    /// How the node is.
    Status(Status),
}

/// How a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The node: the second half of `clock.process`.
    pub process: NodeId,
    /// Its Lamport clock.
    pub clock: LamportTime,
    /// Calls made since it started.
    pub calls: u64,
    /// How many of them were answered.
    pub answered: u64,
    /// How many were given up.
    pub timed_out: u64,
    /// Calls of others, nodes and clients, that it served.
    pub served: u64,
}
