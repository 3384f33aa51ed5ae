//! What the store's nodes say to each other, to their clients and to their logs.

use crate::core::{Bytes, Epoch, NodeId};
use ::core::fmt;
use ::core::net::SocketAddr;
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The place of a PUT in the order of all PUTs, from 1; 0 stands before the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "u64")]
pub struct Timestamp(pub u64);

/// A counter that moves once per PUT does not get here in a thousand years; a forged timestamp
/// above it does not decode, so that counting on from any that did never overflows.
const MAX_TIMESTAMP: u64 = 1 << 62;

impl TryFrom<u64> for Timestamp {
    type Error = &'static str;
    fn try_from(timestamp: u64) -> Result<Timestamp, &'static str> {
        if timestamp > MAX_TIMESTAMP {
            return Err("a timestamp above 2^62 was never given by a leader");
        }
        Ok(Timestamp(timestamp))
    }
}

impl Timestamp {
    /// The one that follows.
    #[must_use]
    pub fn next(self) -> Timestamp {
        Timestamp(self.0 + 1)
    }
}

/// The bare number, as in `Display`: traces are read by people.
impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A hash over a history, or its random beginning.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hash(pub u64);

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a replica has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct History {
    /// Where its history begins; 0 when it has none.
    pub genesis: Hash,
    /// Its last PUT.
    pub applied: Timestamp,
    /// The hash over everything up to that.
    pub hash: Hash,
    /// Whether that is all that it ever acknowledged.
    pub standing: Standing,
}

/// Whether a replica has what it ever acknowledged, as far as it can know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Standing {
    /// It has nothing, and never heard that there was something.
    #[default]
    Nothing,
    /// It lacks something of which it knows.
    Partial,
    /// It has everything that it acknowledged, and had everything when it began to.
    Whole,
}

/// Between nodes. All but `Forward` and `Forwarded` carry the epoch, which is the leader's
/// incarnation: what belongs to an earlier one is ignored.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message<'a> {
    /// Leader: what do you have?
    Probe {
        /// The leader's epoch.
        epoch: Epoch,
        /// And what was your hash at these places?
        at: Vec<Timestamp>,
        /// There is a history, or was: who has nothing lacks something.
        known: bool,
    },
    /// Follower: this.
    State {
        /// The epoch of the probe.
        epoch: Epoch,
        /// What it has.
        history: History,
        /// Its hashes at the places that it was asked for; none where it cannot say.
        marks: Vec<(Timestamp, Option<Hash>)>,
    },
    /// Leader: what you have is the beginning of what I have, and what you lack follows from the
    /// log.
    Resume {
        /// The leader's epoch.
        epoch: Epoch,
        /// What the leader has; who has that has everything.
        history: History,
    },
    /// Leader: pull a copy of the table, since the log does not reach back to you, or you have what
    /// I have not.
    Resync {
        /// The leader's epoch.
        epoch: Epoch,
        /// Tells this copy from earlier ones.
        transfer: u32,
        /// What you have is no part of the leader's history: answer no GET from it.
        contradicts: bool,
    },
    /// The document's REPLICATION.
    Replication {
        /// The leader's epoch.
        epoch: Epoch,
        /// The epoch in which the PUT got its timestamp.
        reign: Epoch,
        /// The PUT's timestamp.
        timestamp: Timestamp,
        /// The key.
        #[serde(borrow)]
        key: Bytes<'a>,
        /// The value.
        #[serde(borrow)]
        value: Bytes<'a>,
    },
    /// The document's REPLICATION_OK, cumulative.
    ReplicationOk {
        /// The leader's epoch.
        epoch: Epoch,
        /// The follower has every PUT up to this one.
        applied: Timestamp,
        /// Its hash there.
        hash: Hash,
    },
    /// Follower: its disk has no room for what comes next, which is therefore not taken.
    DiskFull {
        /// The leader's epoch.
        epoch: Epoch,
    },
    /// Follower, while it copies: PUTs up to this one are in the copy, which is not in use yet.
    Staged {
        /// The leader's epoch.
        epoch: Epoch,
        /// The last PUT that need not be sent again.
        received: Timestamp,
    },
    /// Whoever copies: send the part from here.
    Pull {
        /// The leader's epoch.
        epoch: Epoch,
        /// Which copy.
        transfer: u32,
        /// The place of the part's first entry.
        cursor: u32,
    },
    /// A part of the table.
    Chunk {
        /// The leader's epoch.
        epoch: Epoch,
        /// Which copy.
        transfer: u32,
        /// The place of the part's first entry.
        cursor: u32,
        /// Where the next part begins; none after the last.
        next: Option<u32>,
        /// Every PUT of this history is in the copy once all parts are there.
        base: History,
        /// No PUT after this one is in this part.
        head: Timestamp,
        /// The entries.
        #[serde(borrow)]
        entries: Vec<Entry<'a>>,
    },
    /// Follower: a client's PUT.
    Forward {
        /// The follower's name for it.
        id: ForwardId,
        /// The client.
        addr: SocketAddr,
        /// The key.
        #[serde(borrow)]
        key: Bytes<'a>,
        /// The value.
        #[serde(borrow)]
        value: Bytes<'a>,
    },
    /// Leader: what became of it.
    Forwarded {
        /// The follower's name for it.
        id: ForwardId,
        /// What to tell the client.
        #[serde(borrow)]
        outcome: Outcome<'a>,
    },
}

/// One entry of the table.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entry<'a> {
    /// When it was last PUT.
    pub timestamp: Timestamp,
    /// The key.
    #[serde(borrow)]
    pub key: Bytes<'a>,
    /// The value.
    #[serde(borrow)]
    pub value: Bytes<'a>,
}

/// Names a forwarded PUT; later ones of a follower are larger, across its restarts too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct ForwardId {
    /// The follower's incarnation.
    pub incarnation: u64,
    /// From 0 in each incarnation.
    pub sequence: u64,
}

/// How a PUT ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome<'a> {
    /// All nodes have it.
    Ok {
        /// Its timestamp.
        timestamp: Timestamp,
    },
    /// It did not and will not take effect.
    NotApplied {
        /// Why.
        #[serde(borrow)]
        reason: Cow<'a, str>,
    },
    /// It may have taken effect, or still take effect.
    MayStillApply {
        /// Why that is not known.
        #[serde(borrow)]
        reason: Cow<'a, str>,
    },
}

impl<'a> From<Outcome<'a>> for Reply<'a> {
    fn from(outcome: Outcome<'a>) -> Reply<'a> {
        match outcome {
            Outcome::Ok { timestamp } => Reply::PutOk { timestamp },
            Outcome::NotApplied { reason } => Reply::NotApplied { reason },
            Outcome::MayStillApply { reason } => Reply::MayStillApply { reason },
        }
    }
}

/// In the log, with `durability = "disk"`.
#[derive(Debug, Serialize, Deserialize)]
pub enum Record<'a> {
    /// The PUT after the last one.
    Put {
        /// The epoch in which it got its timestamp.
        reign: Epoch,
        /// Its timestamp.
        timestamp: Timestamp,
        /// The key.
        #[serde(borrow)]
        key: Bytes<'a>,
        /// The value.
        #[serde(borrow)]
        value: Bytes<'a>,
    },
    /// An entry of the table at a checkpoint.
    Entry {
        /// When it was last PUT.
        timestamp: Timestamp,
        /// The key.
        #[serde(borrow)]
        key: Bytes<'a>,
        /// The value.
        #[serde(borrow)]
        value: Bytes<'a>,
    },
    /// Begins a history, and ends a checkpoint's entries: every PUT up to this one is among them.
    Applied {
        /// The last PUT.
        timestamp: Timestamp,
        /// Where the history begins.
        genesis: Hash,
        /// The hash at the last PUT.
        hash: Hash,
    },
    /// From here on this node has had everything that any client was told is stored.
    Complete,
}

/// What clients ask.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request<'a> {
    /// Store a value.
    Put {
        /// The key.
        #[serde(borrow)]
        key: Bytes<'a>,
        /// The value.
        #[serde(borrow)]
        value: Bytes<'a>,
    },
    /// Read a value.
    Get {
        /// The key.
        #[serde(borrow)]
        key: Bytes<'a>,
        /// The last timestamp that the client has seen for the key; 0 when none.
        #[serde(default)]
        timestamp: Timestamp,
        /// A timestamp that the server must have come to, for clients that keep one for all keys
        /// instead of one for each; 0 when none.
        #[serde(default)]
        applied: Timestamp,
    },
    /// How the server is.
    Info {},
}

/// What clients are answered.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply<'a> {
    /// PUT: all nodes have it.
    PutOk {
        /// Its timestamp.
        timestamp: Timestamp,
    },
    /// PUT: it did not and will not take effect.
    NotApplied {
        /// Why.
        #[serde(borrow)]
        reason: Cow<'a, str>,
    },
    /// PUT: it may have taken effect, or still take effect.
    MayStillApply {
        /// Why that is not known.
        #[serde(borrow)]
        reason: Cow<'a, str>,
    },
    /// GET: the value.
    Value {
        /// The value.
        #[serde(borrow)]
        value: Bytes<'a>,
        /// When it was PUT.
        timestamp: Timestamp,
    },
    /// GET: the key was never PUT.
    Null {},
    /// GET: this server has not come as far as the client.
    TryOtherServerOrLater {
        /// When the server's value of the key was PUT; 0 when it has none.
        timestamp: Timestamp,
    },
    /// How the server is.
    #[serde(borrow)]
    Info(Info<'a>),
}

/// How a server is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Info<'a> {
    /// The server.
    pub node: NodeId,
    /// The leader.
    pub leader: NodeId,
    /// The leader's reign, 0 when the server has not heard from it.
    pub epoch: Epoch,
    /// Whether it has everything, and so answers.
    pub complete: bool,
    /// Why it does not answer, in words; empty when it does.
    #[serde(borrow, default)]
    pub reason: Cow<'a, str>,
    /// It has every PUT up to this one.
    pub applied: Timestamp,
    /// How many keys it has.
    pub keys: u64,
    /// XXH3 over keys, values and timestamps, in hexadecimal: equal for equal tables.
    #[serde(borrow)]
    pub table_digest: Cow<'a, str>,
    /// At the leader: how far each follower is.
    pub followers: BTreeMap<NodeId, FollowerInfo>,
    /// The node's counters.
    #[serde(borrow)]
    pub counters: BTreeMap<Cow<'a, str>, u64>,
}

/// How far a follower is, as its leader sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FollowerInfo {
    /// Whether there is a link.
    pub up: bool,
    /// Its last REPLICATION_OK.
    pub acked: Timestamp,
}
