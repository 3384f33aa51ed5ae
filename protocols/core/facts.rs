//! What the protocols of one node tell each other. They never call each other: one publishes a
//! fact, the others get it before the next event from outside.

use super::{Correction, Epoch, NodeId};

/// A statement that one protocol of this node makes and any other may use. Each kind has at most
/// one publisher on a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fact {
    /// Who coordinates, in which reign. A hint: not safe under partition. Traces and checkers take a node
    /// whose protocol publishes it for one that elects, by rank if the protocol needs [`Fact::Rank`], by
    /// id otherwise.
    Coordinator {
        /// The coordinator.
        id: NodeId,
        /// Its reign, larger than that of every coordinator it can have known of. What relies on it
        /// fences with this and the id, which orders reigns that knew nothing of each other.
        epoch: Epoch,
    },
    /// The rank that the reference server gave to a node, this one or another.
    Rank {
        /// The node.
        id: NodeId,
        /// From 1; never given twice.
        rank: u32,
    },
    /// The reference server, on this node, has put a node on its list, or taken it off.
    Listed {
        /// The node.
        id: NodeId,
        /// Its rank.
        rank: u32,
        /// False when it is off the list.
        on: bool,
    },
    /// What must be added to this node's wall clock to have the group's time.
    ClockOffset {
        /// How it moves from the present value to the right one.
        correction: Correction,
    },
    /// This node has processed a message of a client; one fact for each.
    Processed,
}

/// The kinds of [`Fact`], for declaring who publishes and who needs what.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FactKind {
    /// [`Fact::Coordinator`]
    Coordinator,
    /// [`Fact::Rank`]
    Rank,
    /// [`Fact::Listed`]
    Listed,
    /// [`Fact::ClockOffset`]
    ClockOffset,
    /// [`Fact::Processed`]
    Processed,
}

impl Fact {
    /// Which kind of fact this is.
    pub fn kind(&self) -> FactKind {
        match self {
            Fact::Coordinator { .. } => FactKind::Coordinator,
            Fact::Rank { .. } => FactKind::Rank,
            Fact::Listed { .. } => FactKind::Listed,
            Fact::ClockOffset { .. } => FactKind::ClockOffset,
            Fact::Processed => FactKind::Processed,
        }
    }
}
