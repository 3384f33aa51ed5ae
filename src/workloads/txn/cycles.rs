//! Cycles of dependencies that a level forbids. Knows no values.

use super::{Anomaly, Check, Edge, Kind, Level};
use std::collections::{BTreeMap, VecDeque};

/// A transaction, and what to remember of the way to it.
type Spot = (usize, bool);

impl Check<'_> {
    pub(super) fn cycles(&self, level: Level) -> Option<Anomaly> {
        use Walk::{Any, Apart, Never, One};
        let kinds: &[(Level, Kind, Walk, &str)] = &[
            (Level::ReadUncommitted, Kind::Ww, Never, "G0"),
            (Level::ReadCommitted, Kind::Wr, Never, "G1c"),
            (Level::SnapshotIsolation, Kind::Rw, One, "G-single"),
            (Level::SnapshotIsolation, Kind::Rw, Apart, "G-nonadjacent"),
            (Level::RepeatableRead, Kind::Rw, Any, "G2"),
        ];
        for with_time in [false, true] {
            if with_time && level != Level::StrictSerializable {
                continue;
            }
            for (least, most, walk, name) in kinds {
                let is_in =
                    |edge: &Edge| edge.kind <= *most || (with_time && edge.kind == Kind::Time);
                if level < *least {
                    continue;
                }
                if let Some(cycle) = self.cycle(&is_in, *walk) {
                    let time = if with_time { "-realtime" } else { "" };
                    return self.told(&cycle, &format!("{name}{time}"));
                }
            }
        }
        None
    }

    fn told(&self, cycle: &[(usize, &Edge)], name: &str) -> Option<Anomaly> {
        let step = |(from, edge): &(usize, &Edge)| {
            let kind = format!("{:?}", edge.kind).to_lowercase();
            format!("{} before {} ({kind}): {}", self.name(*from), self.name(edge.to), edge.why)
        };
        let steps: Vec<String> = cycle.iter().map(step).collect();
        let txns: Vec<usize> = cycle.iter().map(|(from, _)| *from).collect();
        self.anomaly(&txns, format!("{name}, a cycle: {}", steps.join("; ")))
    }

    /// The nodes that may be on a cycle: no end of the graph.
    fn core(&self, is_in: &dyn Fn(&Edge) -> bool) -> Vec<bool> {
        let mut stays = vec![true; self.edges.len()];
        loop {
            let mut entered = vec![false; stays.len()];
            let mut leaves = vec![false; stays.len()];
            for (from, edges) in self.edges.iter().enumerate().filter(|(from, _)| stays[*from]) {
                for edge in edges.iter().filter(|edge| is_in(edge) && stays[edge.to]) {
                    (leaves[from], entered[edge.to]) = (true, true);
                }
            }
            let next: Vec<bool> = entered.iter().zip(leaves).map(|(a, b)| *a && b).collect();
            if next == stays {
                return stays;
            }
            stays = next;
        }
    }

    /// A cycle of edges, the shortest through its first transaction.
    fn cycle(&self, is_in: &dyn Fn(&Edge) -> bool, walk: Walk) -> Option<Vec<(usize, &Edge)>> {
        let stays = self.core(is_in);
        (0..stays.len()).filter(|start| stays[*start]).find_map(|start| {
            let mut from: BTreeMap<Spot, (Spot, &Edge)> = BTreeMap::new();
            let mut queue = VecDeque::from([(start, false)]);
            while let Some(now) = queue.pop_front() {
                let edges = self.edges[now.0].iter();
                for edge in edges.filter(|edge| is_in(edge) && stays[edge.to]) {
                    let Some(mark) = walk.on(now.1, edge.kind == Kind::Rw) else { continue };
                    let next = (edge.to, mark);
                    if next.0 == start && !(walk == Walk::Apart && mark) {
                        let (mut cycle, mut at) = (vec![(now.0, edge)], now);
                        while at != (start, false) {
                            let (before, edge) = from[&at];
                            cycle.push((before.0, edge));
                            at = before;
                        }
                        cycle.reverse();
                        return Some(cycle);
                    }
                    if next != (start, false) && !from.contains_key(&next) {
                        from.insert(next, (now, edge));
                        queue.push_back(next);
                    }
                }
            }
            None
        })
    }
}

/// How many rw a cycle has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Walk {
    Never,
    One,
    /// No two next to each other.
    Apart,
    Any,
}

impl Walk {
    /// What to remember after an edge; none when it cannot be taken.
    fn on(self, mark: bool, is_rw: bool) -> Option<bool> {
        match self {
            Walk::Never => (!is_rw).then_some(false),
            Walk::One => (!(mark && is_rw)).then_some(mark || is_rw),
            Walk::Apart => (!(mark && is_rw)).then_some(is_rw),
            Walk::Any => Some(false),
        }
    }
}
