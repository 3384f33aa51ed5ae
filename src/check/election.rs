//! Whether nodes agree on who coordinates. Knows no protocol: only when nodes are up, which of them
//! elect, what hinders them, and whom each says it holds coordinator.
//!
//! Garcia-Molina: Elections in a Distributed Computing System, IEEE Transactions on Computers
//! C-31(1), 1982.
//!
//! A node **holds** the coordinator that it published last since it started; none after a start.
//!
//! An **elector** is a node that is up and elects; where elections go by rank, once it has published
//! its own since it started. Nobody else is asked whom it holds, and nobody else can win.
//!
//! **Disturbances** are starts, stops, pauses and faults while they last, but not messages that come
//! twice; and that an elector gets its rank. A partition disturbs when it begins and when it ends;
//! meanwhile its sides are components of a calm cluster, of which none knows of another. Of several
//! partitions at a time, nodes are in one component when none of them parts them. What is asked of a
//! calm cluster is asked of every moment that nothing has disturbed for [`Bounds::agree_ns`]; what
//! holds between happenings of one and the same time does not count. A run without such a moment, or
//! without an elector then, shows nothing.

use super::describe::Millis;
use super::timeline::{Bounds, Elects, FaultKind, Happening, What, begin, nothing_of};
use super::{History, Property, Verdict, Violation};
use std::ops::Range;

/// **Election terminates.** In a calm cluster every elector holds a coordinator, which is an elector
/// too, and in its component.
///
/// Garcia-Molina 1982, assertion 2 of the bully election: if no failures occur meanwhile, a node
/// will be coordinator, and the others will know it.
pub(super) fn election_terminates(history: &History) -> Verdict {
    judge_calm(history, Property::ElectionTerminates, |cluster, node| {
        let Some(held) = node.holds else {
            return Some(format!("node {} holds no coordinator", node.id));
        };
        let problem = match cluster.nodes.iter().find(|other| other.id == held) {
            Some(other) if !other.up => "is down",
            Some(other) if !cluster.connects(node.id, other.id) => "is beyond a partition",
            Some(other) if other.standing().is_none() => "takes no part in elections",
            Some(_) => return None,
            None => "never was",
        };
        Some(format!("node {} holds node {held} coordinator, which {problem}", node.id))
    })
}

/// **One coordinator per component.** In a calm cluster the electors of a component hold the same
/// coordinator. Those that hold none are for [`election_terminates`].
///
/// Garcia-Molina 1982, assertion 1: two nodes in normal operation, in one group, have the same
/// coordinator.
pub(super) fn one_coordinator_per_component(history: &History) -> Verdict {
    judge_calm(history, Property::OneCoordinatorPerComponent, |cluster, node| {
        let held = node.holds?;
        let other = cluster.component(node.id).find_map(|other| {
            let others = other.holds.filter(|others| *others != held)?;
            Some((other.id, others))
        });
        let (other, others) = other?;
        Some(format!(
            "node {} holds node {held} coordinator, but node {other} holds node {others}",
            node.id
        ))
    })
}

/// **Highest live id wins.** In a calm cluster an elector that holds a coordinator holds the elector
/// with the highest id in its component, or the highest rank where elections go by rank.
///
/// Garcia-Molina 1982: the bully algorithm forces nodes with lower identification numbers into
/// accepting the highest as coordinator.
pub(super) fn highest_live_id_wins(history: &History) -> Verdict {
    judge_calm(history, Property::HighestLiveIdWins, |cluster, node| {
        let held = node.holds?;
        let highest = cluster.component(node.id).max_by_key(|other| other.standing())?;
        (held != highest.id).then(|| {
            let by = match highest.rank {
                Some(rank) => format!(", by its rank {rank}"),
                None => String::new(),
            };
            let (id, highest) = (node.id, highest.id);
            format!(
                "node {id} holds node {held} coordinator, but the highest within its reach is \
                 {highest}{by}"
            )
        })
    })
}

/// **One coordinator.** At no time, for longer than [`Bounds::handover_ns`], do two nodes that are
/// up and not held up each hold themselves coordinator, whether they can reach each other or not.
///
/// No disturbance suspends this, so it is more than the bully algorithm has to offer: it loses it
/// under partition, where each side elects a coordinator of its own, and whenever messages take
/// longer than its timeout, since a slow coordinator then counts as dead. Garcia-Molina 1982 has it
/// only under the assumption that neither happens; his invitation algorithm makes do without by
/// giving up this very property.
pub(super) fn one_coordinator(history: &History) -> Verdict {
    let Bounds { handover_ns, .. } = history.bounds;
    let Some(sweep) = Sweep::new(history) else {
        return nothing_of(&history.timeline, "elections");
    };
    let began = sweep.begin;
    let broken = sweep.run(|cluster, during| {
        let (first, second) = cluster.oldest_leaders()?;
        let since = second.leads_since.max(first.leads_since);
        // Longer than the bound, and there is nothing between two nanoseconds.
        let at = since.saturating_add(handover_ns).saturating_add(1);
        (at < during.end).then(|| Violation {
            property: Property::OneCoordinator,
            why: format!(
                "nodes {} and {} each hold themselves coordinator from {} on, for longer than {}",
                first.id,
                second.id,
                Millis(since - began),
                Millis(handover_ns),
            ),
            ops: Vec::new(),
            at: Some(at),
        })
    });
    broken.map_or(Verdict::Held, Verdict::Violated)
}

/// Asks `what` is wrong with each elector, at every moment at which the cluster is calm.
fn judge_calm(
    history: &History,
    property: Property,
    what: impl Fn(&Cluster, &Node) -> Option<String>,
) -> Verdict {
    let agree_ns = history.bounds.agree_ns;
    let Some(sweep) = Sweep::new(history) else {
        return nothing_of(&history.timeline, "elections");
    };
    let began = sweep.begin;
    let (mut calm, mut judged) = (false, false);
    let broken = sweep.run(|cluster, during| {
        let at = cluster.calm_since()?.saturating_add(agree_ns).max(during.start);
        if at >= during.end {
            return None;
        }
        calm = true;
        judged |= cluster.electors().next().is_some();
        let wrong = cluster.electors().find_map(|node| what(cluster, node))?;
        let (since, now) = (cluster.disturbed - began, at - began);
        let why = format!("{wrong} at {}, undisturbed since {}", Millis(now), Millis(since));
        Some(Violation { property, why, ops: Vec::new(), at: Some(at) })
    });
    match broken {
        Some(violation) => Verdict::Violated(violation),
        None if judged => Verdict::Held,
        None if calm => {
            let why = "whenever the run is undisturbed, no node takes part in elections".into();
            Verdict::Unknown { why }
        }
        None => {
            let why = format!("the run is never undisturbed for {}", Millis(agree_ns));
            Verdict::Unknown { why }
        }
    }
}

/// What changes the cluster, in the order of time.
struct Sweep<'a> {
    changes: Vec<(u64, Change<'a>)>,
    begin: u64,
    end: u64,
}

#[derive(Clone, Copy)]
enum Change<'a> {
    Happens(&'a What),
    FaultEnds(&'a FaultKind),
}

impl<'a> Sweep<'a> {
    /// None when the timeline says nothing of nodes that elect.
    fn new(history: &'a History) -> Option<Sweep<'a>> {
        let timeline: &[Happening] = &history.timeline;
        let mut changes = Vec::new();
        let (mut end, mut says) = (0, false);
        for Happening { at, what } in timeline {
            end = end.max(*at);
            match what {
                What::Start { elects: Elects::Id | Elects::Rank, .. } => says = true,
                What::Coordinator { .. } => says = true,
                What::Start { elects: Elects::No, .. } => {}
                What::Down { .. } | What::Pause { .. } => {}
                // A node takes part once it knows its own rank; whether the others know it too is for
                // them to see to in time.
                What::Rank { node, id, .. } if node == id => {}
                What::Fault { kind: FaultKind::Duplicate, .. }
                | What::Send { .. }
                | What::Receive { .. }
                | What::Corrected { .. }
                | What::Clock { .. }
                | What::Rank { .. }
                | What::Listed { .. }
                | What::End => continue,
                What::Fault { kind, until } => {
                    changes.push((*at.max(until), Change::FaultEnds(kind)));
                }
            }
            changes.push((*at, Change::Happens(what)));
        }
        // A fault that is over at once begins before it ends.
        changes.sort_by_key(|(at, change)| (*at, matches!(change, Change::FaultEnds(_))));
        let begin = begin(timeline);
        says.then_some(Sweep { changes, begin, end })
    }

    /// Shows the cluster as it is between one change and the next, which comes at the end of the
    /// range, until `see` has seen enough.
    fn run(
        self,
        mut see: impl FnMut(&Cluster<'a>, Range<u64>) -> Option<Violation>,
    ) -> Option<Violation> {
        let mut cluster = Cluster::new(self.begin);
        let mut from = self.begin;
        for (at, change) in self.changes.into_iter().take_while(|(at, _)| *at <= self.end) {
            if at > from {
                if let Some(violation) = see(&cluster, from..at) {
                    return Some(violation);
                }
                from = at;
            }
            cluster.apply(at, change);
        }
        see(&cluster, from..self.end.saturating_add(1))
    }
}

/// The nodes at a moment.
struct Cluster<'a> {
    /// Ascending by id.
    nodes: Vec<Node>,
    /// One side of each partition.
    partitions: Vec<&'a [u32]>,
    /// How many other faults there are.
    hindrances: usize,
    /// When the last disturbance was; the beginning is one.
    disturbed: u64,
}

struct Node {
    id: u32,
    up: bool,
    paused: bool,
    elects: Elects,
    /// What it has published since it started.
    rank: Option<u32>,
    holds: Option<u32>,
    /// Since when it leads, if it does.
    leads_since: u64,
}

impl Node {
    /// How high it stands among electors; none if it is none, or would be if it were up.
    fn standing(&self) -> Option<u32> {
        match self.elects {
            Elects::No => None,
            Elects::Id => Some(self.id),
            Elects::Rank => self.rank,
        }
    }

    /// Whether it holds itself coordinator, and can act as one.
    fn leads(&self) -> bool {
        self.up && !self.paused && self.holds == Some(self.id)
    }
}

impl<'a> Cluster<'a> {
    fn new(begin: u64) -> Cluster<'a> {
        Cluster { nodes: Vec::new(), partitions: Vec::new(), hindrances: 0, disturbed: begin }
    }

    fn apply(&mut self, at: u64, change: Change<'a>) {
        match change {
            Change::Happens(What::Start { node, elects, .. }) => {
                self.disturbed = at;
                self.change(at, *node, |node| {
                    (node.up, node.paused, node.holds) = (true, false, None);
                    (node.elects, node.rank) = (*elects, None);
                });
            }
            Change::Happens(What::Rank { id, rank, .. }) => self.take_rank(at, *id, *rank),
            Change::Happens(What::Down { node }) => {
                self.disturbed = at;
                self.change(at, *node, |node| (node.up, node.paused) = (false, false));
            }
            Change::Happens(What::Pause { node, on }) => {
                self.disturbed = at;
                self.change(at, *node, |node| node.paused = *on && node.up);
            }
            Change::Happens(What::Coordinator { node, id, .. }) => {
                self.change(at, *node, |node| node.holds = Some(*id));
            }
            Change::Happens(What::Fault { kind, .. }) => {
                self.disturbed = at;
                match kind {
                    FaultKind::Partition(side) => self.partitions.push(side),
                    FaultKind::Duplicate | FaultKind::Clock(_) | FaultKind::Other => {
                        self.hindrances += 1;
                    }
                }
            }
            Change::FaultEnds(kind) => {
                self.disturbed = at;
                match kind {
                    FaultKind::Partition(side) => {
                        let place = self.partitions.iter().position(|one| one == side);
                        place.map(|place| self.partitions.swap_remove(place));
                    }
                    FaultKind::Duplicate | FaultKind::Clock(_) | FaultKind::Other => {
                        self.hindrances -= 1;
                    }
                }
            }
            Change::Happens(
                What::Send { .. }
                | What::Receive { .. }
                | What::Corrected { .. }
                | What::Clock { .. }
                | What::Listed { .. }
                | What::End,
            ) => {}
        }
    }

    /// A node has published its own rank.
    fn take_rank(&mut self, at: u64, id: u32, rank: u32) {
        let Ok(place) = self.nodes.binary_search_by_key(&id, |node| node.id) else { return };
        let node = &mut self.nodes[place];
        if node.elects == Elects::Rank && node.rank != Some(rank) {
            node.rank = Some(rank);
            self.disturbed = at;
        }
    }

    /// A node that is first heard of otherwise than by its start was up before anybody looked.
    fn change(&mut self, at: u64, id: u32, change: impl FnOnce(&mut Node)) {
        let place = self.nodes.binary_search_by_key(&id, |node| node.id).unwrap_or_else(|place| {
            let fresh = Node {
                id,
                up: true,
                paused: false,
                elects: Elects::default(),
                rank: None,
                holds: None,
                leads_since: 0,
            };
            self.nodes.insert(place, fresh);
            place
        });
        let node = &mut self.nodes[place];
        let led = node.leads();
        change(node);
        if node.leads() && !led {
            node.leads_since = at;
        }
    }

    fn electors(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.up && node.standing().is_some())
    }

    /// Since when nothing disturbs, if so.
    fn calm_since(&self) -> Option<u64> {
        let is_hindered = self.hindrances > 0 || self.nodes.iter().any(|node| node.paused);
        (!is_hindered).then_some(self.disturbed)
    }

    /// Whether no partition parts these two.
    fn connects(&self, one: u32, other: u32) -> bool {
        self.partitions.iter().all(|side| side.contains(&one) == side.contains(&other))
    }

    /// The electors that this one can reach, itself included.
    fn component(&self, id: u32) -> impl Iterator<Item = &Node> {
        self.electors().filter(move |other| self.connects(id, other.id))
    }

    /// The two that have held themselves coordinator for longest.
    fn oldest_leaders(&self) -> Option<(&Node, &Node)> {
        let mut oldest: [Option<&Node>; 2] = [None, None];
        for node in self.nodes.iter().filter(|node| node.leads()) {
            if oldest[0].is_none_or(|first| node.leads_since < first.leads_since) {
                oldest = [Some(node), oldest[0]];
            } else if oldest[1].is_none_or(|second| node.leads_since < second.leads_since) {
                oldest[1] = Some(node);
            }
        }
        oldest[0].zip(oldest[1])
    }
}

#[cfg(test)]
mod tests;
