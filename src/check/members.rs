//! Whether a reference server gives ranks once, and keeps its list of who is there. Knows no protocol:
//! only which ranks nodes published, whom the keeper of a list put on it and took off it, and when nodes
//! were up.
//!
//! Document 002. A list by heartbeats is the failure detector of Chandra and Toueg, Unreliable Failure
//! Detectors for Reliable Distributed Systems, JACM 43(2), 1996, of which it has completeness, and
//! accuracy as long as messages are fast.
//!
//! **Silence.** A node is silent while it is down or held up. It begins to be heard within a heartbeat
//! and [`Bounds::notice_ns`] after that: what is silent again before may not have been heard in between.
//! A keeper that was down or held up hears anew.

use super::describe::Millis;
use super::timeline::{Bounds, FaultKind, Happening, What, begin, nothing_of};
use super::{History, Property, Verdict, Violation};
use std::collections::BTreeMap;

/// **Ranks unique and stable.** In the whole run, across restarts of everybody, a node has one rank, and
/// a rank one node.
///
/// Document 002: a name gets the next rank once, the same one on asking again, never one that another
/// still holds or has held.
pub(super) fn ranks_unique_and_stable(history: &History) -> Verdict {
    let began = begin(&history.timeline);
    let (mut ranks, mut nodes) = (BTreeMap::new(), BTreeMap::new());
    for Happening { at, what } in &history.timeline {
        let (What::Rank { id, rank, .. } | What::Listed { id, rank, .. }) = what else { continue };
        let (first_rank, first_id) =
            (*ranks.entry(*id).or_insert(*rank), *nodes.entry(*rank).or_insert(*id));
        let now = Millis(at - began);
        if first_rank != *rank {
            let why = format!("node {id} has rank {first_rank}, and at {now} rank {rank}");
            return violated(Property::RanksUniqueAndStable, why, *at);
        }
        if first_id != *id {
            let why = format!("rank {rank} is of node {first_id}, and at {now} of node {id}");
            return violated(Property::RanksUniqueAndStable, why, *at);
        }
    }
    if ranks.is_empty() { nothing_of(&history.timeline, "ranks") } else { Verdict::Held }
}

/// **Death noticed in time.** Who is on the list and falls silent is off it not before
/// [`Bounds::timeout_ns`] less [`Bounds::heartbeat_ns`] and [`Bounds::delay_ns`], since its last heartbeat
/// may be lost with it on the way, and at latest [`Bounds::timeout_ns`] and
/// [`Bounds::notice_ns`] later, as long as it is silent and the keeper of the list is not. Nobody else is
/// taken off it.
///
/// Document 002: a heartbeat every 5 s; 30 s without one and the server is off the list. Faults of the
/// network, but doubled messages, suspend this until `timeout_ns` after their end.
pub(super) fn death_noticed_in_time(history: &History) -> Verdict {
    let mut lists = Lists { bounds: history.bounds, ..Lists::default() };
    let mut judged = false;
    for Happening { at, what } in &history.timeline {
        judged |= matches!(what, What::Listed { .. });
        let broken = lists.overdue(*at).or_else(|| lists.apply(*at, what));
        if let Some((at, why)) = broken {
            let now = Millis(at - begin(&history.timeline));
            return violated(Property::DeathNoticedInTime, format!("{why} at {now}"), at);
        }
    }
    if judged { Verdict::Held } else { nothing_of(&history.timeline, "a list of members") }
}

/// What is known of the run so far.
#[derive(Default)]
struct Lists {
    bounds: Bounds,
    nodes: BTreeMap<u32, Node>,
    /// Since when a member is on a list: keeper, member.
    listed: BTreeMap<(u32, u32), u64>,
    /// Until when faults of the network excuse.
    hindered: u64,
}

#[derive(Clone, Copy, Default)]
struct Node {
    down: bool,
    paused: bool,
    /// When it fell silent last.
    silent_at: u64,
    /// When the first of the silences began that it was perhaps not heard between.
    unheard_at: u64,
    /// When it spoke again.
    spoke_at: u64,
}

impl Node {
    fn is_silent(&self) -> bool {
        self.down || self.paused
    }
}

impl Lists {
    /// Who should be off a list by now, and when that was.
    fn overdue(&self, at: u64) -> Option<(u64, String)> {
        let overdue = |(&(keeper, member), &since): (&(u32, u32), &u64)| {
            let (keeper, node) = (self.node(keeper), self.node(member));
            if keeper.is_silent() || !node.is_silent() {
                return None;
            }
            let from = node.silent_at.max(since).max(keeper.spoke_at).max(self.hindered);
            let due = from.saturating_add(self.bounds.timeout_ns + self.bounds.notice_ns);
            let since = Millis(at.saturating_sub(node.silent_at));
            (at > due).then(|| (due, format!("node {member}, silent for {since}, is still listed")))
        };
        self.listed.iter().find_map(overdue)
    }

    fn node(&self, id: u32) -> Node {
        self.nodes.get(&id).copied().unwrap_or_default()
    }

    fn apply(&mut self, at: u64, what: &What) -> Option<(u64, String)> {
        match what {
            What::Start { node, .. } => self.change(at, *node, |node| {
                (node.down, node.paused) = (false, false);
            }),
            What::Down { node } => {
                self.change(at, *node, |node| (node.down, node.paused) = (true, false));
                // Whoever keeps a list has none when it starts again.
                self.listed.retain(|(keeper, _), _| keeper != node);
            }
            What::Pause { node, on } => self.change(at, *node, |node| node.paused = *on),
            What::Fault { kind: FaultKind::Partition(_) | FaultKind::Other, until } => {
                let excused = until.saturating_add(self.bounds.timeout_ns);
                self.hindered = self.hindered.max(excused);
            }
            What::Listed { node, id, on: true, .. } => {
                self.listed.insert((*node, *id), at);
            }
            What::Listed { node, id, on: false, .. } => {
                self.listed.remove(&(*node, *id));
                return self.off(at, *node, *id);
            }
            _ => {}
        }
        None
    }

    /// Notes that a node falls silent, or speaks again.
    fn change(&mut self, at: u64, id: u32, change: impl FnOnce(&mut Node)) {
        let grace = self.grace();
        let node = self.nodes.entry(id).or_default();
        let was = node.is_silent();
        change(node);
        match (was, node.is_silent()) {
            (false, true) => {
                node.silent_at = at;
                if at.saturating_sub(node.spoke_at) > grace {
                    node.unheard_at = at;
                }
            }
            (true, false) => node.spoke_at = at,
            (false, false) | (true, true) => {}
        }
    }

    /// How long after it speaks again a node may not be heard yet.
    fn grace(&self) -> u64 {
        self.bounds.heartbeat_ns.saturating_add(self.bounds.notice_ns)
    }

    /// What is wrong with taking a member off a list.
    fn off(&self, at: u64, keeper: u32, member: u32) -> Option<(u64, String)> {
        let (keeper, node) = (self.node(keeper), self.node(member));
        let lately = |since: u64| since > 0 && at.saturating_sub(since) <= self.grace();
        if at < self.hindered || lately(keeper.spoke_at) {
            return None;
        }
        if !node.is_silent() && !lately(node.spoke_at) {
            return Some((at, format!("node {member} is off the list, and is not silent")));
        }
        let Bounds { timeout_ns, heartbeat_ns, delay_ns, .. } = self.bounds;
        let least = timeout_ns.saturating_sub(heartbeat_ns).saturating_sub(delay_ns);
        let silent = at.saturating_sub(node.unheard_at);
        (silent < least).then(|| {
            let silent = Millis(silent);
            (at, format!("node {member} is off the list, silent for only {silent},"))
        })
    }
}

fn violated(property: Property, why: String, at: u64) -> Verdict {
    Verdict::Violated(Violation { property, why, ops: Vec::new(), at: Some(at) })
}

#[cfg(test)]
mod tests;
