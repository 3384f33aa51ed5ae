//! Whether nodes agree on who coordinates. Knows no protocol: only when nodes are up, which of them
//! elect, what hinders them, and whom each says it holds coordinator.
//!
//! Garcia-Molina: Elections in a Distributed Computing System, IEEE Transactions on Computers
//! C-31(1), 1982.
//!
//! A node **holds** the coordinator that it published last since it started; none after a start.
//!
//! An **elector** is a node that is up and elects; where elections go by rank, once it has
//! published its own since it started. Nobody else is asked whom it holds, and nobody else can win.
//!
//! **Disturbances** are starts, stops, pauses and faults while they last, but not messages that
//! come twice; and that an elector gets its rank. A partition disturbs when it begins and when it
//! ends; meanwhile its sides are components of a calm cluster, of which none knows of another. Of
//! several partitions at a time, nodes are in one component when none of them parts them. What is
//! asked of a calm cluster is asked of every moment that nothing has disturbed for [`AGREE`]; what
//! holds between happenings of one and the same time does not count. A run without such a moment,
//! or in which nobody is asked anything then, has no evidence.

use super::witnesses::{holds, leads, stands, told_before};
use super::{ALIVE, Elects, HANDOVER};
use node_lab::check::describe::Millis;
use node_lab::check::timeline::{FaultKind, Happening, What, begin};
use node_lab::study::{AGREE, Run, Verdict, Violation, Witness, nothing_of};
use node_protocols::core::{Epoch, Fact, NodeId};
use node_protocols::facts::{Coordinator, Rank};
use std::collections::BTreeMap;
use std::ops::Range;

/// **Election terminates.** In a calm cluster every elector holds a coordinator, which is an
/// elector too, and in its component.
///
/// Garcia-Molina 1982, assertion 2 of the bully election: if no failures occur meanwhile, a node
/// will be coordinator, and the others will know it.
///
/// Evidence: an elector, at a calm moment.
pub(super) fn election_terminates(history: &Run) -> Verdict {
    let lacks = "no node takes part in elections";
    judge_calm(history, lacks, |cluster, node| {
        let Some((held, _)) = node.holds else {
            let why = format!("node {} holds no coordinator", node.id);
            return Found::Wrong(why, vec![node.id]);
        };
        let problem = match cluster.nodes.iter().find(|other| other.id == held) {
            Some(other) if !other.up => "is down",
            Some(other) if !cluster.connects(node.id, other.id) => "is beyond a partition",
            Some(other) if other.standing().is_none() => "takes no part in elections",
            Some(_) => return Found::Right,
            None => "never was",
        };
        let why = format!("node {} holds node {held} coordinator, which {problem}", node.id);
        Found::Wrong(why, vec![node.id])
    })
}

/// **One coordinator per component.** In a calm cluster the electors of a component hold the same
/// coordinator, in the same reign. Those that hold none are for [`election_terminates`].
///
/// Garcia-Molina 1982, assertion 1: two nodes in normal operation, in one group, have the same
/// coordinator. Whoever fences with the epoch needs it to be the same as well.
///
/// Evidence: two electors in a component that each hold one, at a calm moment.
pub(super) fn one_coordinator_per_component(history: &Run) -> Verdict {
    let lacks = "no two nodes within reach of each other hold a coordinator";
    judge_calm(history, lacks, |cluster, node| {
        let Some((held, epoch)) = node.holds else { return Found::Nothing };
        let mut found = Found::Nothing;
        for other in cluster.component(node.id).filter(|other| other.id != node.id) {
            let (id, other) = (node.id, (other.id, other.holds));
            match other {
                (other, Some((others, _))) if others != held => {
                    let why = format!(
                        "node {id} holds node {held} coordinator, but node {other} holds node \
                         {others}"
                    );
                    return Found::Wrong(why, vec![id, other]);
                }
                (other, Some((_, later))) if later != epoch => {
                    let why = format!(
                        "node {id} holds node {held} coordinator in epoch {epoch}, but node \
                         {other} in epoch {later}"
                    );
                    return Found::Wrong(why, vec![id, other]);
                }
                (_, Some(_)) => found = Found::Right,
                (_, None) => {}
            }
        }
        found
    })
}

/// **Highest live id wins.** In a calm cluster an elector that holds a coordinator holds the
/// elector with the highest id in its component, or the highest rank where elections go by rank.
///
/// Garcia-Molina 1982: the bully algorithm forces nodes with lower identification numbers into
/// accepting the highest as coordinator.
///
/// Evidence: an elector that holds one, at a calm moment.
pub(super) fn highest_live_id_wins(history: &Run) -> Verdict {
    let lacks = "no node holds a coordinator";
    judge_calm(history, lacks, |cluster, node| {
        let highest = cluster.component(node.id).max_by_key(|other| other.standing());
        let Some(((held, _), highest)) = node.holds.zip(highest) else { return Found::Nothing };
        if held == highest.id {
            return Found::Right;
        }
        let by = match highest.rank {
            Some(rank) => format!(", by its rank {rank}"),
            None => String::new(),
        };
        let (id, highest) = (node.id, highest.id);
        let why = format!(
            "node {id} holds node {held} coordinator, but the highest within its reach is \
             {highest}{by}"
        );
        Found::Wrong(why, vec![id, highest])
    })
}

/// **One coordinator.** At no time, for longer than [`HANDOVER`], do two nodes that are
/// up and not held up each hold themselves coordinator, whether they can reach each other or not.
///
/// No disturbance suspends this, so it is more than the bully algorithm has to offer: it loses it
/// under partition, where each side elects a coordinator of its own, and whenever messages take
/// longer than its timeout, since a slow coordinator then counts as dead. Garcia-Molina 1982 has it
/// only under the assumption that neither happens; his invitation algorithm makes do without by
/// giving up this very property.
///
/// Evidence: two nodes, of which one held itself coordinator.
pub(super) fn one_coordinator(history: &Run) -> Verdict {
    let handover_ns = history.bounds.of(&HANDOVER);
    let Some(sweep) = Sweep::new(history) else {
        return nothing_of(&history.timeline, "elections");
    };
    let began = sweep.begin;
    let mut has_led = false;
    let broken = sweep.run(|cluster, during| {
        has_led |= cluster.nodes.len() > 1 && cluster.nodes.iter().any(Node::leads);
        let (first, second) = cluster.oldest_leaders()?;
        let since = second.leads_since.max(first.leads_since);
        // Longer than the bound, and there is nothing between two nanoseconds.
        let at = since.saturating_add(handover_ns).saturating_add(1);
        (at < during.end).then(|| {
            let why = format!(
                "nodes {} and {} each hold themselves coordinator from {} on, for longer than {}",
                first.id,
                second.id,
                Millis(since - began),
                Millis(handover_ns),
            );
            let mut both = [first, second].map(|node| (node.leads_since, node.id));
            both.sort_unstable();
            let roles = ["first coordinator", "second coordinator"].into_iter().zip(both);
            let coordinators = roles.map(|(role, (since, id))| leads(role, id, since, began));
            Violation::at(at, why).with(coordinators.collect())
        })
    });
    Verdict::of(broken, has_led, "no node of several held itself coordinator")
}

/// **Reigns go forward.** In a node's life each reign that it publishes, epoch and then id, is
/// later than the one before. No disturbance suspends this.
///
/// García-Molina 1982 has no reigns; a coordinator that is a hint is safe to use as long as whoever
/// uses it can refuse an earlier one, late or replayed: the fencing tokens of Gray and Cheriton,
/// Leases, SOSP 1989, and Burrows, The Chubby Lock Service, OSDI 2006.
///
/// Evidence: a node that published two in one life.
pub(super) fn reigns_go_forward(history: &Run) -> Verdict {
    let began = begin(&history.timeline);
    let mut known: BTreeMap<u32, (Epoch, NodeId)> = BTreeMap::new();
    let (mut says, mut follows) = (false, false);
    for Happening { at, what } in &history.timeline {
        match what {
            What::Start { node, .. } => _ = known.remove(node),
            What::Fact { node, fact } => {
                let Some(Coordinator { id, epoch }) = fact.read() else { continue };
                says = true;
                let Some(before) = known.insert(*node, (epoch, id)) else { continue };
                follows = true;
                if (epoch, id) <= before {
                    let (old_epoch, old) = before;
                    let why = format!(
                        "node {node} turns to node {id} in epoch {epoch} at {}, after node {old} in \
                         epoch {old_epoch}",
                        Millis(at.saturating_sub(began)),
                    );
                    let told = told_before(&history.timeline, *node, *at);
                    let later = holds("reign that is not later", *node, (*at, id, epoch), began);
                    let earlier = told.map(|told| holds("earlier reign", *node, told, began));
                    let witnesses = earlier.into_iter().chain([later]).collect();
                    return Verdict::Violated(Violation::at(*at, why).with(witnesses));
                }
            }
            _ => {}
        }
    }
    if !says {
        return nothing_of(&history.timeline, "elections");
    }
    Verdict::of(None, follows, "no node saw two reigns in one life")
}

/// **Live higher prevails.** A node that got a message from a node above it within [`ALIVE`], over
/// a link that has been up since, turns to no other node below that one. Judged where elections go
/// by id and nodes run nothing else, since any message counts; not of a node whose clock a fault
/// set.
///
/// García-Molina 1982: a node accepts a lower coordinator only when those above are down. It spares
/// a cluster the reign of a node that cannot hear the highest, though all others do.
///
/// Evidence: a node that turned to a coordinator while it heard of another node.
pub(super) fn live_higher_prevails(history: &Run) -> Verdict {
    let alive_ns = history.bounds.of(&ALIVE);
    let began = begin(&history.timeline);
    // By who hears, and whom; when.
    let mut heard: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    let mut senders: BTreeMap<u64, u32> = BTreeMap::new();
    let mut electors: BTreeMap<u32, bool> = BTreeMap::new();
    let mut has_evidence = false;
    for Happening { at, what } in &history.timeline {
        match what {
            What::Start { node, runs, .. } => {
                heard.retain(|(by, _), _| by != node);
                let is_set = electors.get(node) == Some(&false);
                electors.insert(*node, Elects::of(runs) == Elects::Id && !is_set);
            }
            What::Fault { kind: FaultKind::Clock(node), .. } => _ = electors.insert(*node, false),
            What::Send { node, message, .. } => _ = senders.insert(*message, *node),
            What::Receive { node, message, .. } => {
                if let Some(sender) = senders.get(message) {
                    heard.insert((*node, *sender), *at);
                }
            }
            What::Link { node, peer, up: false } => _ = heard.remove(&(*node, *peer)),
            What::Fact { node, fact } if electors.get(node) == Some(&true) => {
                let Some(Coordinator { id: NodeId(id), epoch }) = fact.read() else { continue };
                if id == *node {
                    continue;
                }
                let others = heard.range((*node, 0)..=(*node, u32::MAX));
                let others = others.map(|((_, other), when)| (*other, *when));
                for (other, when) in others
                    .filter(|(other, when)| *other != id && at.saturating_sub(*when) < alive_ns)
                {
                    has_evidence = true;
                    if other > id {
                        let why = format!(
                            "node {node} turns to node {id} in epoch {epoch} at {}, though it \
                             heard node {other} at {}",
                            Millis(at.saturating_sub(began)),
                            Millis(when.saturating_sub(began)),
                        );
                        let says = format!(
                            "node {node} heard node {other}, which is above node {id}, at {}",
                            Millis(when.saturating_sub(began))
                        );
                        let heard = Witness::event("higher node heard", *node, when, "recv", says);
                        let turn = (*at, NodeId(id), epoch);
                        let turns = holds("turn to a lower one", *node, turn, began);
                        let found = Violation::at(*at, why).with(vec![heard, turns]);
                        return Verdict::Violated(found);
                    }
                }
            }
            _ => {}
        }
    }
    if electors.is_empty() {
        return nothing_of(&history.timeline, "elections");
    }
    let lacks = "no node turned to a coordinator while it heard another node";
    Verdict::of(None, has_evidence, lacks)
}

/// What there is to say of an elector.
enum Found {
    /// Nothing is asked of it.
    Nothing,
    Right,
    /// What is wrong, and whose words show it.
    Wrong(String, Vec<u32>),
}

/// Asks `what` there is to say of each elector, at every moment at which the cluster is calm; and
/// what a run `lacks` in which it is nothing.
fn judge_calm(history: &Run, lacks: &str, what: impl Fn(&Cluster, &Node) -> Found) -> Verdict {
    let agree_ns = history.bounds.of(&AGREE);
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
        let wrong = cluster.electors().find_map(|node| match what(cluster, node) {
            Found::Nothing => None,
            Found::Right => {
                judged = true;
                None
            }
            Found::Wrong(why, nodes) => Some((why, nodes)),
        })?;
        let (wrong, nodes) = wrong;
        let (since, now) = (cluster.disturbed - began, at - began);
        let why = format!("{wrong} at {}, undisturbed since {}", Millis(now), Millis(since));
        let span = (cluster.disturbed, at);
        let witnesses = stands(&history.timeline, &nodes, span, began);
        Some(Violation::at(at, why).with(witnesses))
    });
    match broken {
        Some(violation) => Verdict::Violated(violation),
        None if judged => Verdict::Held,
        None if calm => {
            Verdict::Unknown { why: format!("whenever the run is undisturbed, {lacks}") }
        }
        None => {
            let why = format!("the run is never undisturbed for {}", Millis(agree_ns));
            Verdict::Unknown { why }
        }
    }
}

/// A node takes part once it knows its own rank; whether the others know it too is for them to see
/// to in time.
fn own_rank(node: u32, fact: &Fact) -> Option<Rank> {
    fact.read().filter(|rank: &Rank| rank.id == NodeId(node))
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
    /// A node turns to a coordinator.
    Turns(u32, Coordinator),
    /// A node has published its own rank.
    Ranks(Rank),
    FaultEnds(&'a FaultKind),
}

impl<'a> Sweep<'a> {
    /// None when the timeline says nothing of nodes that elect.
    fn new(history: &'a Run) -> Option<Sweep<'a>> {
        let timeline: &[Happening] = &history.timeline;
        let mut changes = Vec::new();
        let (mut end, mut says) = (0, false);
        for Happening { at, what } in timeline {
            end = end.max(*at);
            match what {
                What::Start { runs, .. } => says |= Elects::of(runs) != Elects::No,
                What::Fact { node, fact } => {
                    if let Some(reign) = fact.read() {
                        says = true;
                        changes.push((*at, Change::Turns(*node, reign)));
                    } else if let Some(rank) = own_rank(*node, fact) {
                        changes.push((*at, Change::Ranks(rank)));
                    }
                    continue;
                }
                What::Down { .. } | What::Pause { .. } => {}
                What::Fault { kind: FaultKind::Duplicate, .. }
                | What::Send { .. }
                | What::Receive { .. }
                | What::Clock { .. }
                | What::Link { .. }
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
    /// Whom, in which epoch.
    holds: Option<(u32, Epoch)>,
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
        self.up && !self.paused && self.holds.is_some_and(|(id, _)| id == self.id)
    }
}

impl<'a> Cluster<'a> {
    fn new(begin: u64) -> Cluster<'a> {
        Cluster { nodes: Vec::new(), partitions: Vec::new(), hindrances: 0, disturbed: begin }
    }

    fn apply(&mut self, at: u64, change: Change<'a>) {
        match change {
            Change::Happens(What::Start { node, runs, .. }) => {
                self.disturbed = at;
                self.change(at, *node, |node| {
                    (node.up, node.paused, node.holds) = (true, false, None);
                    (node.elects, node.rank) = (Elects::of(runs), None);
                });
            }
            Change::Ranks(Rank { id, rank }) => self.take_rank(at, id.0, rank),
            Change::Happens(What::Down { node }) => {
                self.disturbed = at;
                self.change(at, *node, |node| (node.up, node.paused) = (false, false));
            }
            Change::Happens(What::Pause { node, on }) => {
                self.disturbed = at;
                self.change(at, *node, |node| node.paused = *on && node.up);
            }
            Change::Turns(node, Coordinator { id, epoch }) => {
                self.change(at, node, |node| node.holds = Some((id.0, epoch)));
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
                What::Fact { .. }
                | What::Send { .. }
                | What::Receive { .. }
                | What::Clock { .. }
                | What::Link { .. }
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
#[path = "tests.rs"]
mod tests;
