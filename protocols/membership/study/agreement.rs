//! What must hold of all members at every moment.

use node_lab::study::{Memory, Snapshot};
use node_protocols::facts::Rank;
use node_protocols::membership::Membership;
use std::collections::BTreeMap;

/// **Members agree on ranks.** Of all ranks that live nodes know at a moment, the reference server
/// among them, none is of two nodes, and no node has two.
///
/// Evidence: two nodes that know a rank.
pub(super) fn members_agree_on_ranks(nodes: &Snapshot<'_>, _: &mut Memory) -> Result<(), String> {
    let (mut ranks, mut owners) = (BTreeMap::new(), BTreeMap::new());
    for (node, membership) in nodes.of::<Membership>() {
        for Rank { id, rank } in membership.ranks() {
            let (first, other) = *ranks.entry(id).or_insert((node, rank));
            if other != rank {
                return Err(format!(
                    "node {first} knows node {id} by rank {other}, and node {node} by rank {rank}"
                ));
            }
            let (first, other) = *owners.entry(rank).or_insert((node, id));
            if other != id {
                return Err(format!(
                    "rank {rank} is of node {other} for node {first}, and of node {id} for node \
                     {node}"
                ));
            }
        }
    }
    Ok(())
}

/// Whether two of them could disagree.
pub(super) fn could_disagree(nodes: &Snapshot<'_>) -> bool {
    let know = |membership: &&Membership| membership.ranks().next().is_some();
    nodes.of::<Membership>().map(|(_, membership)| membership).filter(know).nth(1).is_some()
}
