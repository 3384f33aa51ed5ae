//! Whether the clocks of a group are kept together. Knows no protocol: only what each node's
//! corrected clock showed, when it was corrected, and whom the node then held coordinator.
//!
//! Gusella and Zatti: The Accuracy of the Clock Synchronization Achieved by TEMPO in Berkeley UNIX
//! 4.3BSD, IEEE Transactions on Software Engineering 15(7), 1989.
//!
//! **Readings** are of the corrected clock, against the time of the run, which no node knows. A
//! clock that is being slewed **owes** the rest.
//!
//! **A life** of a node goes from a start to the next: a node that starts again knows no
//! correction.

use super::rounds::{Late, Rounds};
use super::{FAR, INTERVAL, MOVED, ROUND, SKEW};
use node_lab::check::describe::{Fine, Millis};
use node_lab::check::timeline::{FaultKind, Happening, What, begin};
use node_lab::study::{Run, TURN, Verdict, Violation, Witness, nothing_of};
use node_protocols::core::ClockOffset;
use node_protocols::facts::Coordinator;
use std::collections::{BTreeMap, BTreeSet};

/// **Skew bound.** Two nodes that were corrected in one round, and each before in the same life,
/// differ by at most [`SKEW`] once each has what it owes, until [`INTERVAL`] after that round.
/// Corrections are of one round when they came within [`ROUND`], at nodes that held the same
/// coordinator of the same reign. A node whose clock a fault set has yet to be corrected twice.
///
/// Rounds go on: from [`AGREE`] after the last that disturbs anybody (a start, a stop, a pause, a
/// fault of the network, a new coordinator) each node that runs, and holds a coordinator that runs
/// and holds itself one, is corrected every [`INTERVAL`] and [`ROUND`]. And what a clock owes it is
/// given, at [`SLEW`] of its pace, less a tenth of that.
///
/// Gusella and Zatti 1989, section IV: the error is that of reading clocks over the network, and
/// what clocks drift until the next round. The bound of a scenario is the largest error of a
/// reading on either side, at most half of what round trips vary by, twice, and 2 · drift ·
/// interval.
pub(super) fn skew_bound(history: &Run) -> Verdict {
    let skew_ns = history.bounds.of(&SKEW);
    let round_ns = history.bounds.of(&ROUND);
    let interval_ns = history.bounds.of(&INTERVAL);
    let began = begin(&history.timeline);
    let mut nodes: BTreeMap<u32, Kept> = BTreeMap::new();
    let mut rounds = reads(history).then(|| Rounds::new(history.bounds.clone(), began));
    let mut judged = false;
    for (at, what) in history.timeline.iter().map(|one| (one.at, &one.what)) {
        if let Some(rounds) = &mut rounds
            && let Some(found) = rounds.overdue(at).or_else(|| rounds.apply(at, what))
        {
            return late(history, found, began);
        }
        match what {
            What::Start { node, .. } => _ = nodes.insert(*node, Kept::default()),
            What::Down { node } => _ = nodes.remove(node),
            What::Fault { kind: FaultKind::Clock(node), .. } => {
                let kept = nodes.entry(*node).or_default();
                *kept = Kept { reign: kept.reign, ..Kept::default() };
            }
            What::Fact { node, fact } => {
                if let Some(reign) = fact.read() {
                    nodes.entry(*node).or_default().reign = Some(reign);
                } else if let Some(ClockOffset { .. }) = fact.read() {
                    let kept = nodes.entry(*node).or_default();
                    kept.reading = None;
                    kept.is_second = kept.round.is_some();
                    kept.round = kept.reign.map(|reign| (at, reign));
                }
            }
            What::Clock { node, ahead, owed, .. } => {
                let kept = nodes.entry(*node).or_default();
                kept.reading = Some((at, ahead.saturating_add(*owed)));
                let Some((round, reign, due)) = kept.judged(at, interval_ns) else { continue };
                let others = nodes.iter().filter(|(other, _)| *other != node);
                for (other, kept) in others {
                    let Some((others, its, others_due)) = kept.judged(at, interval_ns) else {
                        continue;
                    };
                    if its != reign || round.abs_diff(others) > round_ns {
                        continue;
                    }
                    judged = true;
                    let skew = due.abs_diff(others_due);
                    if skew > skew_ns {
                        let (now, rounds) = (at - began, round.max(others) - began);
                        let why = format!(
                            "nodes {node} and {other} differ by {} at {}, besides what they owe: \
                             corrected in one round at {}, they may differ by {}",
                            Fine(skew),
                            Millis(now),
                            Millis(rounds),
                            Fine(skew_ns),
                        );
                        let both = [(*other, others_due), (*node, due)];
                        return apart(history, both, at, why, began);
                    }
                }
            }
            _ => {}
        }
    }
    if judged {
        return Verdict::Held;
    }
    if reads(history) {
        let why = "no two clocks were corrected in one round for the second time";
        return Verdict::Unknown { why: why.into() };
    }
    nothing_of(&history.timeline, "clocks")
}

/// A node's clock is not kept, or not slewed, as it should be.
fn late(history: &Run, found: Late, began: u64) -> Verdict {
    let Late { at, node, why, coordinator } = found;
    let now = Millis(at - began);
    let last = last_correction(&history.timeline, node, at, began);
    let mut witnesses: Vec<Witness> = last.into_iter().collect();
    let Some(coordinator) = coordinator else {
        let says = format!("the clock of node {node} has moved too little at {now}");
        witnesses.push(reading("clock that is not slewed", node, at, says));
        return Verdict::Violated(Violation::at(at, why).with(witnesses));
    };
    // Whom the coordinator's rounds reached last says whether there were any.
    let others = history.timeline.iter().rev().filter(|one| one.at <= at).find_map(|one| {
        let (by, ClockOffset { .. }) = one.what.read()?;
        (by != node).then_some((one.at, by))
    });
    if let Some((when, by)) = others {
        let says = format!(
            "the last correction of any other node is node {by}'s, at {}",
            Millis(when - began)
        );
        let round = Witness::event("last round", by, when, "fact ClockOffset", says);
        let place = witnesses.iter().position(|one| one.at(history) > Some(when));
        witnesses.insert(place.unwrap_or(witnesses.len()), round);
    }
    let says = format!(
        "by {now} node {coordinator}, the coordinator, should have corrected node {node} again"
    );
    witnesses.push(reading("first correction missed", node, at, says));
    Verdict::Violated(Violation::at(at, why).with(witnesses))
}

/// Two clocks differ: each node with how far its clock is ahead.
fn apart(history: &Run, both: [(u32, i64); 2], at: u64, why: String, began: u64) -> Verdict {
    let (mut told, mut shown) = (Vec::new(), Vec::new());
    for (id, due) in both {
        told.extend(last_correction(&history.timeline, id, at, began));
        let (far, now) = (how_far(due), Millis(at - began));
        let says = format!("the clock of node {id} is {far} at {now}, with what it owes");
        shown.push(reading("clock reading", id, at, says));
    }
    Verdict::Violated(Violation::at(at, why).with([told, shown].concat()))
}

/// What is known of a node that runs.
#[derive(Default)]
struct Kept {
    /// Whom it holds coordinator, in which reign.
    reign: Option<Coordinator>,
    /// When it was corrected last, and whom it held coordinator then.
    round: Option<(u64, Coordinator)>,
    /// That was not the first time.
    is_second: bool,
    /// When its clock was read, and how far it was ahead, with what it owed.
    reading: Option<(u64, i64)>,
}

impl Kept {
    /// The round that its reading at this time is held to, the reign, and the reading; if any.
    fn judged(&self, at: u64, interval_ns: u64) -> Option<(u64, Coordinator, i64)> {
        let (round, reign) = self.round.filter(|_| self.is_second)?;
        let (_, due) = self.reading.filter(|(read, _)| *read == at)?;
        (at.saturating_sub(round) <= interval_ns).then_some((round, reign, due))
    }
}

/// **Clock never backwards.** Within a node's life no reading of its corrected clock that it takes
/// is before an earlier one. What others read between two of its own readings does not count: a
/// clock that is set back meanwhile has not gone back for the node if it is above the earlier one
/// again.
///
/// Gusella and Zatti 1989, section II: a clock that is ahead is slowed down, as programs rely on
/// time not going back.
///
/// Evidence: a clock that was corrected, and that its node reads after that not for the first time.
pub(super) fn clock_never_backwards(history: &Run) -> Verdict {
    if !reads(history) {
        return nothing_of(&history.timeline, "clocks");
    }
    let began = begin(&history.timeline);
    let mut last: BTreeMap<u32, (u64, i128)> = BTreeMap::new();
    let (mut corrected, mut is_read_again) = (BTreeSet::new(), false);
    for Happening { at, what } in &history.timeline {
        match what {
            What::Start { node, .. } => {
                last.remove(node);
                corrected.remove(node);
            }
            What::Fact { node, fact } if fact.read::<ClockOffset>().is_some() => {
                corrected.insert(*node);
            }
            What::Clock { node, ahead, own: true, .. } => {
                let shown = i128::from(*at) + i128::from(*ahead);
                let before = last.insert(*node, (*at, shown));
                is_read_again |= before.is_some() && corrected.contains(node);
                let Some((read, before)) = before.filter(|(_, before)| shown < *before) else {
                    continue;
                };
                let back = u64::try_from(before - shown).unwrap_or(u64::MAX);
                let why = format!(
                    "the clock of node {node} ran back by {} between {} and {}",
                    Fine(back),
                    Millis(read - began),
                    Millis(at - began),
                );
                let (from, to) = (Millis(read - began), Millis(at - began));
                let before = format!("node {node} reads its clock at {from}");
                let after = format!("node {node} reads its clock at {to}: {} less", Fine(back));
                let last = last_correction(&history.timeline, *node, *at, began);
                let mut witnesses = vec![reading("clock before", *node, read, before)];
                witnesses.extend(last.filter(|one| one.at(history) > Some(read)));
                witnesses.push(reading("clock that went back", *node, *at, after));
                return Verdict::Violated(Violation::at(*at, why).with(witnesses));
            }
            _ => {}
        }
    }
    Verdict::of(None, is_read_again, "no clock that was corrected was read by its node after that")
}

/// **One liar moves nobody.** When one clock is further than [`FAR`] from the median of all
/// from the beginning, and no other, none of the others is ever to be corrected by more than
/// [`MOVED`].
///
/// Gusella and Zatti 1989, section III: the fault-tolerant average is over the largest set of
/// clocks that do not differ by more than γ.
///
/// Evidence: such a clock, and another that is corrected.
pub(super) fn one_liar_moves_nobody(history: &Run) -> Verdict {
    let far_ns = history.bounds.of(&FAR);
    let moved_ns = history.bounds.of(&MOVED);
    if !reads(history) {
        return nothing_of(&history.timeline, "clocks");
    }
    let unknown = |why: &str| Verdict::Unknown { why: why.into() };
    let Some(liar) = liar(history, far_ns) else {
        return unknown("there is not one clock that is far off, and no other");
    };
    let began = begin(&history.timeline);
    let mut is_corrected = false;
    for Happening { at, what } in &history.timeline {
        is_corrected |= what.read().is_some_and(|(node, ClockOffset { .. })| node != liar);
        let What::Clock { node, correction, owed, .. } = what else { continue };
        let moved = correction.saturating_add(*owed).unsigned_abs();
        if *node != liar && moved > moved_ns {
            let why = format!(
                "node {node} is corrected by {} at {}, and only the clock of node {liar} is far off",
                Fine(moved),
                Millis(at - began),
            );
            let mut witnesses = vec![first_reading(&history.timeline, liar, began)];
            witnesses.extend(last_correction(&history.timeline, *node, *at, began));
            let says =
                format!("node {node} is corrected by {} at {}", Fine(moved), Millis(at - began));
            witnesses.push(reading("clock that was moved", *node, *at, says));
            return Verdict::Violated(Violation::at(*at, why).with(witnesses));
        }
    }
    if is_corrected { Verdict::Held } else { unknown("no clock but the one far off is corrected") }
}

/// The one node whose own clock is far from the others' median, by the first reading of each.
fn liar(history: &Run, far_ns: u64) -> Option<u32> {
    let mut own: BTreeMap<u32, i64> = BTreeMap::new();
    for Happening { what, .. } in &history.timeline {
        if let What::Clock { node, ahead, correction, .. } = what {
            own.entry(*node).or_insert(ahead.saturating_sub(*correction));
        }
    }
    let mut sorted: Vec<i64> = own.values().copied().collect();
    sorted.sort_unstable();
    let median = *sorted.get(sorted.len() / 2)?;
    let mut liars = own.iter().filter(|(_, own)| own.abs_diff(median) > far_ns);
    let (liar, _) = liars.next()?;
    // Of two clocks nobody can tell which one is right.
    (own.len() > 2 && liars.next().is_none()).then_some(*liar)
}

/// What the one clock that is far off showed first.
fn first_reading(timeline: &[Happening], liar: u32, began: u64) -> Witness {
    let own = timeline.iter().find_map(|one| match &one.what {
        What::Clock { node, ahead, correction, .. } if *node == liar => {
            Some((one.at, ahead.saturating_sub(*correction)))
        }
        _ => None,
    });
    let (at, by) = own.unwrap_or((began, 0));
    let says = format!("the clock of node {liar} is {} at {}", how_far(by), Millis(at - began));
    reading("clock that is far off", liar, at, says)
}

fn reads(history: &Run) -> bool {
    history.timeline.iter().any(|one| matches!(one.what, What::Clock { .. }))
}

/// When a node's clock was corrected last until then.
fn last_correction(timeline: &[Happening], node: u32, until: u64, began: u64) -> Option<Witness> {
    let known = timeline.iter().filter(|one| one.at <= until);
    let mut corrected =
        known.filter(|one| one.what.read().is_some_and(|(by, ClockOffset { .. })| by == node));
    let at = corrected.next_back()?.at;
    let says =
        format!("node {node} is corrected for the last time before at {}", Millis(at - began));
    Some(Witness::event("last correction", node, at, "fact ClockOffset", says))
}

/// What a node's clock showed, which stands at what the node did last.
fn reading(role: &'static str, node: u32, at: u64, says: String) -> Witness {
    Witness::event(role, node, at, TURN, says)
}

/// How far ahead, in words.
fn how_far(nanos: i64) -> String {
    let word = if nanos < 0 { "behind" } else { "ahead" };
    format!("{} {word}", Fine(nanos.unsigned_abs()))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
