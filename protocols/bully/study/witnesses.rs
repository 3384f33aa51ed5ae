//! What speaks for a verdict on elections: whom nodes held coordinator since when, and what
//! disturbed them last. Knows no protocol.

use node_lab::check::describe::Millis;
use node_lab::check::timeline::{FaultKind, Happening, What};
use node_lab::study::{TURN, Witness};
use node_protocols::core::{Epoch, NodeId};
use node_protocols::facts::Coordinator;

/// A node that holds itself coordinator since then.
pub(super) fn leads(role: &'static str, id: u32, since: u64, began: u64) -> Witness {
    let from = Millis(since.saturating_sub(began));
    let says = format!("node {id} holds itself coordinator from {from} on");
    Witness::event(role, id, since, COORDINATOR, says)
}

/// How traces call the line in which a node says whom it holds coordinator.
const COORDINATOR: &str = "fact Coordinator";

/// What a node said of a coordinator: when, whom, and in which epoch.
pub(super) type Told = (u64, NodeId, Epoch);

/// What a node said last of a coordinator before a time.
pub(super) fn told_before(timeline: &[Happening], node: u32, before: u64) -> Option<Told> {
    let mut said = timeline.iter().filter(|one| one.at < before).filter_map(|one| {
        let (by, Coordinator { id, epoch }) = one.what.read()?;
        (by == node).then_some((one.at, id, epoch))
    });
    said.next_back()
}

/// A node that holds somebody coordinator.
pub(super) fn holds(role: &'static str, node: u32, (at, id, epoch): Told, began: u64) -> Witness {
    let since = Millis(at.saturating_sub(began));
    let says = format!("node {node} holds node {id} coordinator, in epoch {epoch}, since {since}");
    Witness::event(role, node, at, COORDINATOR, says)
}

/// What these nodes said last, and what disturbed last before all should agree.
pub(super) fn stands(
    timeline: &[Happening],
    nodes: &[u32],
    (since, at): (u64, u64),
    began: u64,
) -> Vec<Witness> {
    let disturbs = |one: &&Happening| {
        one.at == since
            && matches!(one.what, What::Start { .. } | What::Down { .. } | What::Pause { .. })
    };
    let last = timeline.iter().rev().find(disturbs).map(|one| disturbance(one, began));
    let ends = || {
        let mut faults = timeline.iter().filter_map(|one| match &one.what {
            What::Fault { kind, until } if *until == since => Some((one.at, kind, "ended")),
            What::Fault { kind, .. } if one.at == since => Some((one.at, kind, "began")),
            _ => None,
        });
        let time = Millis(since - began);
        let (begin, kind, how) = faults.next_back()?;
        let what = match kind {
            FaultKind::Partition(nodes) => format!("the partition of {nodes:?} from the others"),
            FaultKind::Clock(_) | FaultKind::Duplicate | FaultKind::Other => "a fault".into(),
        };
        Some(Witness::fault(begin, format!("{what} {how} at {time}: nothing disturbs after it")))
    };
    let roles = ["coordinator held", "other coordinator held"];
    let held = roles.into_iter().zip(nodes).map(|(role, node)| {
        match told_before(timeline, *node, at.saturating_add(1)) {
            Some(told) => holds(role, *node, told, began),
            None => {
                let says =
                    format!("node {node} has held no coordinator until {}", Millis(at - began));
                Witness::event("no coordinator held", *node, at, TURN, says)
            }
        }
    });
    last.or_else(ends).into_iter().chain(held).collect()
}

/// What disturbs.
fn disturbance(happening: &Happening, began: u64) -> Witness {
    let at = happening.at;
    let (node, kind, what) = match &happening.what {
        What::Start { node, .. } => (*node, "start", "started"),
        What::Down { node } => (*node, "crash", "stopped"),
        What::Pause { node, on: true } => (*node, "pause", "was held up"),
        What::Pause { node, on: false } => (*node, "pause", "went on"),
        What::Link { .. }
        | What::Fault { .. }
        | What::Fact { .. }
        | What::Clock { .. }
        | What::Send { .. }
        | What::Receive { .. }
        | What::End => (0, TURN, "did something"),
    };
    let says = format!("node {node} {what} at {}: nothing disturbs after it", Millis(at - began));
    Witness::event("last disturbance", node, at, kind, says)
}
