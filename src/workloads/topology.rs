//! Who is whose neighbour: what programs are told, and may use or not. Knows no workload.

use serde::Deserialize;
use std::collections::BTreeMap;

/// The shapes that Maelstrom has (`src/maelstrom/workload/broadcast.clj` there).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topology {
    /// One after the other.
    Line,
    /// A square, as far as they go: at most four neighbours each.
    #[default]
    Grid,
    /// A tree with two children each.
    #[serde(alias = "tree")]
    Tree2,
    /// A tree with three children each.
    Tree3,
    /// A tree with four children each.
    Tree4,
    /// Everybody is everybody's.
    Total,
}

impl Topology {
    /// Each of so many programs, and its neighbours.
    pub fn neighbours(self, nodes: usize) -> BTreeMap<String, Vec<String>> {
        let name = |node: usize| format!("n{node}");
        let of = |node: usize| {
            let near =
                (0..nodes).filter(|other| *other != node && self.are_near(node, *other, nodes));
            (name(node), near.map(name).collect())
        };
        (0..nodes).map(of).collect()
    }

    fn are_near(self, one: usize, other: usize, nodes: usize) -> bool {
        let (low, high) = (one.min(other), one.max(other));
        let is_child = |children: usize| (high - 1) / children == low;
        match self {
            Topology::Line => high - low == 1,
            Topology::Grid => {
                let side = (1..=nodes).find(|side| side * side >= nodes).unwrap_or(1);
                high - low == side || high - low == 1 && low / side == high / side
            }
            Topology::Tree2 => is_child(2),
            Topology::Tree3 => is_child(3),
            Topology::Tree4 => is_child(4),
            Topology::Total => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(topology: Topology, nodes: usize) -> String {
        let neighbours = topology.neighbours(nodes);
        let line = |node: usize| neighbours[&format!("n{node}")].join(" ").replace('n', "");
        (0..nodes).map(line).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn shapes_are_maelstroms() {
        assert_eq!(shown(Topology::Line, 4), "1, 0 2, 1 3, 2");
        // 0 1 2 / 3 4
        assert_eq!(shown(Topology::Grid, 5), "1 3, 0 2 4, 1, 0 4, 1 3");
        assert_eq!(shown(Topology::Grid, 4), "1 2, 0 3, 0 3, 1 2");
        assert_eq!(shown(Topology::Tree2, 6), "1 2, 0 3 4, 0 5, 1, 1, 2");
        assert_eq!(shown(Topology::Tree3, 6), "1 2 3, 0 4 5, 0, 0, 1, 1");
        assert_eq!(shown(Topology::Tree4, 6), "1 2 3 4, 0 5, 0, 0, 0, 1");
        assert_eq!(shown(Topology::Total, 3), "1 2, 0 2, 0 1");
        for topology in [Topology::Line, Topology::Grid, Topology::Tree4, Topology::Total] {
            assert_eq!(shown(topology, 1), "");
            assert_eq!(topology.neighbours(25).len(), 25);
        }
    }
}
