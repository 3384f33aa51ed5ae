//! Who is who: nodes, clients and their requests. Plain numbers with a type each, so that one
//! cannot stand where another is meant.

use ::core::fmt;
use ::core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// A node's number, as the config gives it. Unique in its cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The reign of a leader or coordinator: a later one has a larger number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// The bare number, as in `Display`: traces are read by people.
impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The bare number, as in `Display`.
impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One connection of a client. The generation tells a reused slot from its former holder, so a
/// reply to a client that has gone reaches nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId {
    /// The driver's table slot.
    pub slot: u32,
    /// How often that slot had been given away before.
    pub generation: u32,
}

/// One request on one connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId {
    /// The connection that it came on.
    pub client: ClientId,
    /// Its place among the requests of that connection; wraps.
    pub sequence: u32,
}

/// Who sent a request: what a reply needs, and the address that console lines print.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Where the reply goes.
    pub request: RequestId,
    /// The client's own address.
    pub addr: SocketAddr,
}
