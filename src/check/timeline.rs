//! What nodes did in a run, as checkers of clocks and elections read it: the simulator fills it as
//! a run goes, `trace` reads it from the traces of real nodes. Knows no protocol's messages.

use super::Verdict;

/// Something that happened, in nanoseconds of one clock for the whole run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Happening {
    /// When.
    pub at: u64,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// A node started.
    Start {
        /// Which.
        node: u32,
        /// Whether it has a data directory, so that its clock goes on from where it was.
        durable: bool,
    },
    /// A node stopped, in order or not.
    Down {
        /// Which.
        node: u32,
    },
    /// A node was held up, or goes on.
    Pause {
        /// Which.
        node: u32,
        /// False when it goes on.
        on: bool,
    },
    /// A fault began that stands for itself: not a crash or a pause, which have events of their
    /// own.
    Fault {
        /// What it does.
        kind: FaultKind,
        /// When it ends; `at` for what is over at once.
        until: u64,
    },
    /// A node published who coordinates.
    Coordinator {
        /// The node that says so.
        node: u32,
        /// Who coordinates, as it says.
        id: u32,
        /// In which reign.
        epoch: u64,
    },
    /// A node sent a message: one event, however many lines it has for several receivers.
    Send {
        /// Who sent.
        node: u32,
        /// Names the message.
        message: u64,
        /// The Lamport value of the event.
        lamport: u64,
        /// The same number for all copies of one multicast.
        event: u64,
    },
    /// A node received a message.
    Receive {
        /// Who received.
        node: u32,
        /// The message, as its `Send` names it.
        message: u64,
        /// The Lamport value of the event.
        lamport: u64,
    },
    /// Somebody still watched; the last one says how long the run was.
    End,
}

/// What a fault does, as far as checkers care.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// These nodes are cut off from the others, not from each other.
    Partition(Vec<u32>),
    /// Messages arrive twice; which no assumption of a protocol here excludes.
    Duplicate,
    /// Anything else that hinders messages, nodes, disks or clocks.
    Other,
}

impl FaultKind {
    /// What checkers make of a fault of the simulator, by the name that traces have; none for one
    /// whose nodes say themselves what happens to them.
    pub fn named(kind: &str, nodes: &[u32]) -> Option<FaultKind> {
        match kind {
            "crash" | "pause" => None,
            "partition" => Some(FaultKind::Partition(nodes.to_vec())),
            "duplicate" => Some(FaultKind::Duplicate),
            _ => Some(FaultKind::Other),
        }
    }
}

/// How long things may take, in nanoseconds: what a checker of elections holds a run against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// After the last failure, repair or start, all agree within this time.
    pub agree_ns: u64,
    /// While a coordinator takes over from a live one, both may hold themselves coordinator for
    /// this long.
    pub handover_ns: u64,
}

impl Default for Bounds {
    /// Generous for the timeouts of `configs/`.
    fn default() -> Self {
        Bounds { agree_ns: 10_000_000_000, handover_ns: 1_000_000_000 }
    }
}

/// Where the times that verdicts tell begin.
pub(super) fn begin(timeline: &[Happening]) -> u64 {
    timeline.iter().map(|one| one.at).min().unwrap_or_default()
}

/// The verdict on a timeline that does not have `what` in it.
pub(super) fn nothing_of(timeline: &[Happening], what: &str) -> Verdict {
    let what = if timeline.is_empty() { "what nodes did" } else { what };
    Verdict::Unknown { why: format!("the history says nothing of {what}") }
}
