//! What nodes did in a run, as checkers of clocks, elections and lists read it: the simulator fills
//! it as a run goes, `trace` reads it from the traces of real nodes. Knows no protocol's messages,
//! and no kind of fact.

use node_core::{Fact, FactKind, FactType, Host};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

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
        /// What it runs; nothing where nobody says.
        runs: Vec<Running>,
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
    /// A protocol of a node told the others something.
    Fact {
        /// The node that says so.
        node: u32,
        /// What.
        fact: Fact,
    },
    /// What a node's corrected clock showed.
    Clock {
        /// Which.
        node: u32,
        /// How far it was ahead of the time of the run, in nanoseconds.
        ahead: i64,
        /// What of that the correction added.
        correction: i64,
        /// What slewing was still to add.
        owed: i64,
        /// Whether the node itself looked, and not only who watches the run.
        own: bool,
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
    /// A link of a node is made, or lost.
    Link {
        /// The node that says so.
        node: u32,
        /// To whom.
        peer: u32,
        /// False when it is lost.
        up: bool,
    },
    /// Somebody still watched; the last one says how long the run was.
    End,
}

impl What {
    /// That this node states this.
    pub fn fact(node: u32, fact: impl FactType) -> What {
        What::Fact { node, fact: Fact::of(fact) }
    }

    /// The node that states something of this kind, and what; none if this is anything else.
    pub fn read<F: FactType>(&self) -> Option<(u32, F)> {
        let What::Fact { node, fact } = self else { return None };
        Some((*node, fact.read()?))
    }
}

/// A protocol that a node runs, and the facts by which the node's others know it. All by name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Running {
    /// Which.
    pub protocol: Cow<'static, str>,
    /// The facts that it publishes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publishes: Vec<Cow<'static, str>>,
    /// The facts without which it cannot work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Cow<'static, str>>,
}

impl Running {
    /// What a node runs, in the order of its config.
    pub fn all_on(host: &Host) -> Vec<Running> {
        let names = |kinds: &[FactKind]| kinds.iter().map(|kind| kind.name().into()).collect();
        let running = host.protocols().iter().map(|protocol| Running {
            protocol: protocol.name().into(),
            publishes: names(protocol.publishes()),
            needs: names(protocol.needs()),
        });
        running.collect()
    }

    /// Whether it publishes facts of this kind.
    pub fn publishes(&self, kind: FactKind) -> bool {
        self.publishes.iter().any(|name| name == kind.name())
    }

    /// Whether it cannot work without them.
    pub fn needs(&self, kind: FactKind) -> bool {
        self.needs.iter().any(|name| name == kind.name())
    }
}

/// What a fault does, as far as checkers care.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// These nodes are cut off from the others, not from each other.
    Partition(Vec<u32>),
    /// Messages arrive twice; which no assumption of a protocol here excludes.
    Duplicate,
    /// This node's clock is set, and from then on may run faster or slower.
    Clock(u32),
    /// Anything else that hinders messages, nodes or disks.
    Other,
}

impl FaultKind {
    /// What checkers make of a fault of the simulator, by the name that traces have; none for one
    /// whose nodes say themselves what happens to them.
    pub fn named(kind: &str, nodes: &[u32]) -> Option<FaultKind> {
        match kind {
            "crash" | "pause" | "reseed" => None,
            "partition" => Some(FaultKind::Partition(nodes.to_vec())),
            "duplicate" => Some(FaultKind::Duplicate),
            "clock" => nodes.first().map(|node| FaultKind::Clock(*node)),
            _ => Some(FaultKind::Other),
        }
    }
}

/// Where the times that verdicts tell begin.
pub fn begin(timeline: &[Happening]) -> u64 {
    timeline.iter().map(|one| one.at).min().unwrap_or_default()
}
