//! The facts of this crate's protocols. They stand beside the protocols, since one that publishes a
//! fact and one that uses it know the fact, and not each other.

use crate::core::{Epoch, FactType, NodeId};
use serde::{Deserialize, Serialize};

/// Who coordinates, in which reign. A hint: not safe under partition. Checkers of
/// elections take a node whose protocol publishes it for one that elects, by rank if the protocol
/// needs [`Rank`], by id otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Coordinator {
    /// The coordinator.
    pub id: NodeId,
    /// Its reign, larger than that of every coordinator it can have known of. What relies on it
    /// fences with this and the id, which orders reigns that knew nothing of each other.
    pub epoch: Epoch,
}

impl FactType for Coordinator {
    const NAME: &'static str = "Coordinator";
    fn subject(&self) -> Option<NodeId> {
        Some(self.id)
    }
}

/// The rank that the reference server gave to a node, this one or another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rank {
    /// The node.
    pub id: NodeId,
    /// From 1; never given twice.
    pub rank: u32,
}

impl FactType for Rank {
    const NAME: &'static str = "Rank";
    fn subject(&self) -> Option<NodeId> {
        Some(self.id)
    }
}

/// The reference server, on this node, has put a node on its list, or taken it off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// The node.
    pub id: NodeId,
    /// Its rank.
    pub rank: u32,
    /// False when it is off the list.
    pub on: bool,
}

impl FactType for Listed {
    const NAME: &'static str = "Listed";
    fn subject(&self) -> Option<NodeId> {
        Some(self.id)
    }
}

/// This node has processed a message of a client; one fact for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Processed;

impl FactType for Processed {
    const NAME: &'static str = "Processed";
}
