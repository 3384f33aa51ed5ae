//! What befell nodes in a run, kept whatever its properties ask to see: when one breaks, these are
//! what may have made it so. Knows no protocol.

/// Something that befell a node, or several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mishap {
    /// When, in nanoseconds as in the timeline.
    pub at: u64,
    /// What.
    pub what: Befell,
}

/// What befell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Befell {
    /// A node started.
    Start {
        /// Which.
        node: u32,
        /// Whether it has what its disk had.
        durable: bool,
    },
    /// A node stopped.
    Down {
        /// Which.
        node: u32,
        /// Whether nothing warned it.
        is_crash: bool,
        /// When it last made something durable in this life, and how many bytes.
        synced: Option<(u64, u64)>,
    },
    /// A node was held up.
    Pause {
        /// Which.
        node: u32,
    },
    /// Anything else was broken.
    Fault {
        /// The nodes that it concerns; empty for all.
        nodes: Vec<u32>,
        /// When it ends.
        until: u64,
        /// What, for people.
        says: String,
    },
}
