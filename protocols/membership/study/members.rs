//! Whether a reference server gives ranks once, and keeps its list of who is there. Knows no
//! protocol: only which ranks nodes published, whom the keeper of a list put on it and took off it,
//! and when nodes were up.
//!
//! Document 002. A list by heartbeats is the failure detector of Chandra and Toueg, Unreliable
//! Failure Detectors for Reliable Distributed Systems, JACM 43(2), 1996, of which it has
//! completeness, and accuracy as long as messages are fast.
//!
//! **Silence.** A node is silent while it is down or held up. A keeper hears it within a heartbeat
//! and
//! [`NOTICE`] of the time from which both are not: what is silent again before may not have been
//! heard in between.
//!
//! **A keeper's time** stands still while it is held up: it can hear nobody, and has to know that.
//! How long it was, it knows but for [`NOTICE`], each time. A keeper that starts has an empty list.

use super::{DELAY, HEARTBEAT, TIMEOUT};
use node_lab::check::describe::Millis;
use node_lab::check::timeline::{FaultKind, Happening, What, begin};
use node_lab::study::{Bounds, NOTICE, Run, Verdict, Violation, Witness, nothing_of};
use node_protocols::core::NodeId;
use node_protocols::facts::{Listed, Rank};
use std::collections::BTreeMap;

/// **Ranks unique and stable.** In the whole run, across restarts of everybody, a node has one
/// rank, and a rank one node.
///
/// Document 002: a name gets the next rank once, the same one on asking again, never one that
/// another still holds or has held.
///
/// Evidence: ranks that were said twice or more often.
pub(super) fn ranks_unique_and_stable(history: &Run) -> Verdict {
    let began = begin(&history.timeline);
    let (mut ranks, mut nodes) = (BTreeMap::new(), BTreeMap::new());
    let mut said = 0;
    for Happening { at, what } in &history.timeline {
        let Some((by, kind, id, rank)) = said_rank(what) else { continue };
        let now = (by, kind, *at);
        let (first_rank, ranked) = *ranks.entry(id).or_insert((rank, now));
        let (first_id, named) = *nodes.entry(rank).or_insert((id, now));
        said += 1;
        let says = |role, id: NodeId, rank: u32, (by, kind, at): (u32, &'static str, u64)| {
            let when = Millis(at - began);
            let says = format!("node {by} says at {when} that node {id} has rank {rank}");
            Witness::event(role, by, at, kind, says)
        };
        let time = Millis(at - began);
        let (why, first) = if first_rank != rank {
            let why = format!("node {id} has rank {first_rank}, and at {time} rank {rank}");
            (why, says("first rank", id, first_rank, ranked))
        } else if first_id != id {
            let why = format!("rank {rank} is of node {first_id}, and at {time} of node {id}");
            (why, says("first of the rank", first_id, rank, named))
        } else {
            continue;
        };
        let role = if first_rank != rank { "other rank" } else { "other of the rank" };
        let witnesses = vec![first, says(role, id, rank, now)];
        return Verdict::Violated(Violation::at(*at, why).with(witnesses));
    }
    if ranks.is_empty() {
        return nothing_of(&history.timeline, "ranks");
    }
    Verdict::of(None, said > 1, "a rank was said once, which can be no other")
}

/// Who says so by which line of a trace, whose rank, and which.
fn said_rank(what: &What) -> Option<(u32, &'static str, NodeId, u32)> {
    let given = what.read().map(|(by, Rank { id, rank })| (by, "fact Rank", id, rank));
    given.or_else(|| what.read().map(|(by, Listed { id, rank, .. })| (by, LISTED, id, rank)))
}

/// How traces call the line that puts a node on a list, or takes it off.
const LISTED: &str = "fact Listed";

/// **Death noticed in time.** Who is on the list and falls silent is off it not before
/// [`TIMEOUT`] less [`HEARTBEAT`] and [`DELAY`], since its last heartbeat
/// may be lost with it on the way, and at latest [`TIMEOUT`] and
/// [`NOTICE`] later, by the keeper's time, as long as it is silent. Nobody else is taken off
/// the list, and nobody who is not on it. Who has been on it and can be heard again is on it again
/// within a heartbeat and [`NOTICE`].
///
/// Document 002: a heartbeat every 5 s; 30 s without one and the server is off the list. Faults of
/// the network, but doubled messages, suspend this until `timeout_ns` after their end. Only who
/// sees all from outside can know who was held up.
///
/// Evidence: a node that was taken off the list, or that stood there for [`TIMEOUT`].
pub(super) fn death_noticed_in_time(history: &Run) -> Verdict {
    if !history.is_simulated && !history.timeline.is_empty() {
        let why = "only node sim judges it, by the bounds of a scenario";
        return Verdict::Unknown { why: why.into() };
    }
    let mut lists = Lists { bounds: history.bounds.clone(), ..Lists::default() };
    let mut first: Option<u64> = None;
    let mut judged = false;
    for Happening { at, what } in &history.timeline {
        if let Some((_, Listed { on, .. })) = what.read() {
            first = first.or(Some(*at));
            judged |= !on;
        }
        judged |= first.is_some_and(|first| at.saturating_sub(first) >= lists.bounds.of(&TIMEOUT));
        let broken = lists.overdue(*at).or_else(|| lists.apply(*at, what));
        if let Some((at, member, why)) = broken {
            let began = begin(&history.timeline);
            let why = format!("{why} at {}", Millis(at - began));
            let witnesses = known_of(&history.timeline, member, at, began);
            return Verdict::Violated(Violation::at(at, why).with(witnesses));
        }
    }
    if first.is_none() {
        return nothing_of(&history.timeline, "a list of members");
    }
    Verdict::of(None, judged, "nobody was on the list for as long as it takes to notice a death")
}

/// What is known of the run so far.
#[derive(Default)]
struct Lists {
    bounds: Bounds,
    nodes: BTreeMap<u32, Node>,
    /// Who has ever been on a list: keeper, member.
    places: BTreeMap<(u32, u32), Place>,
    /// Until when faults of the network excuse.
    hindered: u64,
}

#[derive(Clone, Copy, Default)]
struct Node {
    down: bool,
    paused: bool,
    /// When it was held up last, how often, and for how long the times before.
    paused_at: u64,
    pauses: u64,
    held_up: u64,
}

impl Node {
    fn is_silent(&self) -> bool {
        self.down || self.paused
    }

    fn mark(&self, at: u64) -> Mark {
        let now = if self.paused { at.saturating_sub(self.paused_at) } else { 0 };
        Mark { at, held_up: self.held_up.saturating_add(now), pauses: self.pauses }
    }
}

/// A moment in a keeper's life.
#[derive(Clone, Copy)]
struct Mark {
    at: u64,
    /// How long it had been held up by then, and how often.
    held_up: u64,
    pauses: u64,
}

impl Mark {
    /// The keeper's time from an earlier moment to this one, and how often it was held up
    /// meanwhile.
    fn since(self, earlier: Mark) -> (u64, u64) {
        let all = self.at.saturating_sub(earlier.at);
        let held_up = self.held_up.saturating_sub(earlier.held_up);
        (all.saturating_sub(held_up), self.pauses.saturating_sub(earlier.pauses))
    }
}

/// A member, as its keeper knows it.
struct Place {
    /// Whether it is on the list, and since when it is or not.
    is_listed: bool,
    changed: u64,
    /// Since when both could be heard; none while one cannot.
    heard: Option<u64>,
    /// Since when it may not have been heard.
    unheard: Mark,
    /// When it fell silent or was listed, whichever was later.
    silent: Mark,
}

impl Lists {
    /// Who should be off a list by now or on it again, and since when.
    fn overdue(&self, at: u64) -> Option<Found> {
        let timeout_ns = self.bounds.of(&TIMEOUT);
        let notice_ns = self.bounds.of(&NOTICE);
        let overdue = |(&(keeper, member), place): (&(u32, u32), &Place)| {
            let (keeper, node) = (self.node(keeper), self.node(member));
            if place.is_listed && node.is_silent() && !keeper.is_silent() {
                let held_up = keeper.mark(at).held_up.saturating_sub(place.silent.held_up);
                let from = place.silent.at.max(self.hindered).saturating_add(held_up);
                let due = from.saturating_add(timeout_ns).saturating_add(notice_ns);
                let since = Millis(at.saturating_sub(place.silent.at));
                let why = || format!("node {member}, silent for {since}, is still listed");
                return (at > due).then(|| (due, member, why()));
            }
            let heard = place.heard.filter(|_| !place.is_listed)?;
            let from = heard.max(place.changed);
            let due = from.max(self.hindered).saturating_add(self.grace());
            let since = Millis(at.saturating_sub(heard));
            let why = || format!("node {member}, to be heard for {since}, is not listed again");
            (at > due).then(|| (due, member, why()))
        };
        self.places.iter().find_map(overdue)
    }

    fn node(&self, id: u32) -> Node {
        self.nodes.get(&id).copied().unwrap_or_default()
    }

    fn apply(&mut self, at: u64, what: &What) -> Option<Found> {
        match what {
            What::Start { node, .. } => {
                self.empty(at, *node);
                self.change(at, *node, false, false);
            }
            What::Down { node } => {
                self.empty(at, *node);
                self.change(at, *node, true, false);
            }
            What::Pause { node, on } => self.change(at, *node, self.node(*node).down, *on),
            What::Fault { kind: FaultKind::Partition(_) | FaultKind::Other, until } => {
                let excused = until.saturating_add(self.bounds.of(&TIMEOUT));
                self.hindered = self.hindered.max(excused);
            }
            What::Fact { .. } => {
                let (keeper, Listed { id: NodeId(member), on, .. }) = what.read()?;
                if !on {
                    return self.off(at, keeper, member);
                }
                self.on(at, keeper, member);
            }
            _ => {}
        }
        None
    }

    /// Puts a member on a list.
    fn on(&mut self, at: u64, keeper: u32, member: u32) {
        let place = (keeper, member);
        let (keeper, member) = (self.node(keeper), self.node(member));
        let now = keeper.mark(at);
        let both = !keeper.is_silent() && !member.is_silent();
        let fresh = Place {
            is_listed: true,
            changed: at,
            heard: both.then_some(at),
            unheard: now,
            silent: now,
        };
        let place = self.places.entry(place).or_insert(fresh);
        (place.is_listed, place.changed) = (true, at);
        // It was heard just now.
        (place.unheard, place.silent) = (now, now);
    }

    /// A keeper that starts, or stops, has no list.
    fn empty(&mut self, at: u64, id: u32) {
        for (_, place) in self.places.iter_mut().filter(|((keeper, _), _)| *keeper == id) {
            (place.is_listed, place.changed) = (false, at);
        }
    }

    /// A node falls silent, or speaks again, or goes on as it was.
    fn change(&mut self, at: u64, id: u32, down: bool, paused: bool) {
        let grace = self.grace();
        let node = self.nodes.entry(id).or_default();
        let before = *node;
        match (before.paused, paused) {
            (false, true) => (node.paused_at, node.pauses) = (at, node.pauses + 1),
            (true, false) => {
                let now = at.saturating_sub(node.paused_at);
                node.held_up = node.held_up.saturating_add(now);
            }
            (false, false) | (true, true) => {}
        }
        (node.down, node.paused) = (down, paused);
        for ((keeper, member), place) in &mut self.places {
            if *keeper != id && *member != id {
                continue;
            }
            let (one, other) = (self.nodes.get(keeper), self.nodes.get(member));
            let is_silent = |node: Option<&Node>| node.is_some_and(Node::is_silent);
            let now = one.copied().unwrap_or_default().mark(at);
            if *member == id && !before.is_silent() && is_silent(other) {
                place.silent = now;
            }
            if is_silent(one) || is_silent(other) {
                let heard = place.heard.take();
                if heard.is_some_and(|since| at.saturating_sub(since) > grace) {
                    // With the pause that begins now still to come.
                    let begins = u64::from(*keeper == id && paused && !before.paused);
                    place.unheard = Mark { pauses: now.pauses - begins, ..now };
                }
            } else {
                place.heard = place.heard.or(Some(at));
            }
        }
    }

    /// How long it takes until a node is heard that can be.
    fn grace(&self) -> u64 {
        self.bounds.of(&HEARTBEAT).saturating_add(self.bounds.of(&NOTICE))
    }

    /// Takes a member off a list; what is wrong with that.
    fn off(&mut self, at: u64, keeper: u32, member: u32) -> Option<Found> {
        let (now, grace) = (self.node(keeper).mark(at), self.grace());
        let place = self.places.get_mut(&(keeper, member)).filter(|place| place.is_listed);
        let Some(place) = place else {
            let why = format!("node {member} is off the list, and was not on it,");
            return Some((at, member, why));
        };
        (place.is_listed, place.changed) = (false, at);
        if at < self.hindered {
            return None;
        }
        if place.heard.is_some_and(|since| at.saturating_sub(since) > grace) {
            return Some((at, member, format!("node {member} is off the list, and is not silent")));
        }
        let timeout_ns = self.bounds.of(&TIMEOUT);
        let heartbeat_ns = self.bounds.of(&HEARTBEAT);
        let delay_ns = self.bounds.of(&DELAY);
        let notice_ns = self.bounds.of(&NOTICE);
        let least = timeout_ns.saturating_sub(heartbeat_ns).saturating_sub(delay_ns);
        let (silent, pauses) = now.since(place.unheard);
        (silent.saturating_add(pauses.saturating_mul(notice_ns)) < least).then(|| {
            let silent = Millis(silent);
            (at, member, format!("node {member} is off the list, silent for only {silent},"))
        })
    }
}

/// When a list was wrong, of which member, and how.
type Found = (u64, u32, String);

/// What befell a member last, and what was said of it last, until then; in the order of time.
fn known_of(timeline: &[Happening], member: u32, until: u64, began: u64) -> Vec<Witness> {
    let mut known: Vec<(u64, Witness)> = Vec::new();
    let mut last = |find: &dyn Fn(&What, u64) -> Option<Witness>| {
        let happened = timeline.iter().filter(|one| one.at <= until);
        let told = happened.filter_map(|one| Some((one.at, find(&one.what, one.at)?)));
        known.extend(told.last());
    };
    let time = |at: u64| Millis(at - began);
    let own = |role, kind, does: &str, at: u64| {
        Witness::event(role, member, at, kind, format!("node {member} {does} at {}", time(at)))
    };
    last(&|what, at| match what {
        What::Down { node } if *node == member => Some(own("silence", "crash", "stopped", at)),
        What::Pause { node, on: true } if *node == member => {
            Some(own("silence", "pause", "was held up", at))
        }
        _ => None,
    });
    last(&|what, at| match what {
        What::Start { node, .. } if *node == member => {
            Some(own("can be heard", "start", "started", at))
        }
        What::Pause { node, on: false } if *node == member => {
            Some(own("can be heard", "pause", "went on", at))
        }
        _ => None,
    });
    for wanted in [true, false] {
        last(&|what, at| {
            let (keeper, Listed { id, on, .. }) = what.read()?;
            let (role, does) = match on {
                true => ("put on the list", "puts it on"),
                false => ("taken off the list", "takes it off"),
            };
            (id.0 == member && on == wanted).then(|| {
                let says = format!("node {keeper} {does} the list at {}", time(at));
                Witness::event(role, keeper, at, LISTED, says)
            })
        });
    }
    known.sort_by_key(|(at, _)| *at);
    known.into_iter().map(|(_, witness)| witness).collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
