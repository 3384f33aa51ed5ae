//! What members and the reference server say to each other, and what JSON clients ask.

use crate::core::{LamportTime, NodeId};
use alloc::borrow::Cow;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Between nodes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message<'a> {
    /// From a member: this is its name, and it is there.
    Join {
        /// Its name.
        #[serde(borrow)]
        name: Cow<'a, str>,
    },
    /// From a member: it is still there.
    Heartbeat {
        /// A fingerprint of the last list that it got: it is sent one that it does not have.
        list: u64,
    },
    /// From the reference server: the nodes that are there.
    Members {
        /// In the order of their ranks.
        list: Vec<Member>,
    },
    /// From the reference server: the member gets no rank.
    Refused {
        /// Why.
        #[serde(borrow)]
        reason: Cow<'a, str>,
    },
}

/// A node with a rank.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Its rank.
    pub rank: u32,
}

/// A number that differs, in all likelihood, for lists that differ.
pub(super) fn fingerprint(list: &[Member]) -> u64 {
    list.iter().fold(0, |sum: u64, Member { node, rank }| {
        (sum ^ u64::from(node.0) << 32 ^ u64::from(*rank)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    })
}

/// What clients ask, in the document's form: `{"service":"rank","data":{…}}`. `timestamp` is
/// milliseconds of the client's clock, `clock` its Lamport clock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request<'a> {
    /// Which rank has this name? It gets one if it has none.
    Rank {
        /// The name.
        #[serde(borrow)]
        user: Cow<'a, str>,
        /// Milliseconds.
        timestamp: u64,
        /// Lamport's clock.
        clock: LamportTime,
    },
    /// Who is there?
    List {
        /// Milliseconds.
        timestamp: u64,
        /// Lamport's clock.
        clock: LamportTime,
    },
    /// This name is still there.
    Heartbeat {
        /// The name.
        #[serde(borrow)]
        user: Cow<'a, str>,
        /// Milliseconds.
        timestamp: u64,
        /// Lamport's clock.
        clock: LamportTime,
    },
    /// What came was none of these; it is answered with the reason.
    Malformed {
        /// Why.
        #[serde(borrow)]
        reason: Cow<'a, str>,
    },
}

impl Request<'_> {
    /// The client's clock.
    pub(super) fn clock(&self) -> Option<LamportTime> {
        match self {
            Request::Rank { clock, .. }
            | Request::List { clock, .. }
            | Request::Heartbeat { clock, .. } => Some(*clock),
            Request::Malformed { .. } => None,
        }
    }
}

/// What clients are answered, in the document's form.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply<'a> {
    /// The name's rank.
    Rank {
        /// From 1.
        rank: u32,
        /// Milliseconds.
        timestamp: u64,
        /// Lamport's clock.
        clock: LamportTime,
    },
    /// Who is there, in the order of their ranks.
    List {
        /// Names and ranks.
        #[serde(borrow)]
        list: Vec<Listed<'a>>,
        /// Milliseconds.
        timestamp: u64,
        /// Lamport's clock.
        clock: LamportTime,
    },
    /// It is noted.
    Heartbeat {
        /// Milliseconds.
        timestamp: u64,
        /// Lamport's clock.
        clock: LamportTime,
    },
    /// Nothing was done.
    Error {
        /// Why.
        #[serde(borrow)]
        reason: Cow<'a, str>,
        /// Milliseconds.
        timestamp: u64,
        /// Lamport's clock.
        clock: LamportTime,
    },
}

/// A server in a [`Reply::List`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Listed<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// Its rank.
    pub rank: u32,
}

/// In the reference server's log: a name got the next rank.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record<'a> {
    /// The name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// Its rank.
    pub rank: u32,
    /// Its node; none for one that came through the JSON gateway.
    pub node: Option<NodeId>,
}
