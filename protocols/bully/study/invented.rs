//! What must hold of all electors at every moment.

use node_lab::study::{Memory, Snapshot};
use node_protocols::bully::Bully;
use node_protocols::core::{Epoch, NodeId};
use node_protocols::facts::Coordinator;
use std::collections::BTreeSet;

/// **No invented reign.** Whoever holds another node coordinator holds it in a reign that this node
/// itself began, now or earlier in the run: who coordinates is never told by hearsay, and no epoch
/// changes on its way.
///
/// Evidence: a node that holds another one coordinator.
pub(super) fn no_invented_reign(nodes: &Snapshot<'_>, known: &mut Memory) -> Result<(), String> {
    let begun: &mut BTreeSet<(NodeId, Epoch)> = known.of();
    let held = || nodes.of::<Bully>().filter_map(|(node, bully)| Some((node, bully.holds()?)));
    let own = held().filter(|(node, reign)| *node == reign.id);
    begun.extend(own.map(|(node, reign)| (node, reign.epoch)));
    let unknown = |(_, reign): &(NodeId, Coordinator)| !begun.contains(&(reign.id, reign.epoch));
    match held().find(unknown) {
        None => Ok(()),
        Some((node, Coordinator { id, epoch })) => Err(format!(
            "node {node} holds node {id} coordinator in epoch {epoch}, a reign that node {id} never \
             began"
        )),
    }
}

/// Whether one could be.
pub(super) fn could_be_invented(nodes: &Snapshot<'_>) -> bool {
    let mut held = nodes.of::<Bully>().filter_map(|(node, bully)| Some((node, bully.holds()?)));
    held.any(|(node, reign)| node != reign.id)
}
