//! The study of `ring`: what must be true of who is inside. Nodes act by themselves; there are no
//! clients.

use crate::{Epoch, Inside, Ring};
use node_core::FactKind;
use node_lab::check::describe::Millis;
use node_lab::check::timeline::{Happening, What, begin};
use node_lab::study::{
    Bound, Cast, Most, Needs, NoSettings, Property, Run, Study, TURN, Unit, Verdict, Violation,
    Witness, nothing_of,
};
use std::collections::BTreeMap;

/// Mutual exclusion, and that the token comes.
pub struct RingStudy;

/// How long it may take until a node is inside again.
pub const ROUND: Bound = Bound {
    name: "round_ms",
    unit: Unit::Millis,
    default: 15_000,
    most: Most::Run,
    statement: "when nothing disturbs them, every node is inside once within this time",
};

const SOURCE: &str =
    "Le Lann: Distributed Systems - Towards a Formal Approach, IFIP Congress, 1977";

const fn property(
    name: &'static str,
    statement: &'static str,
    bounds: &'static [Bound],
    judge: fn(&Run) -> Verdict,
) -> Property {
    Property {
        name,
        statement,
        source: SOURCE,
        needs: Needs::NODES,
        bounds,
        is_promised: true,
        missing: publish,
        shows: |run| run.saw(|what| what.read::<Inside>().is_some()),
        judge,
    }
}

fn publish(cast: &Cast<'_>) -> Option<String> {
    cast.lacks_publisher(FactKind::of::<Inside>())
}

impl Study for RingStudy {
    type Protocol = Ring;
    type Settings = NoSettings;
    const PROPERTIES: &'static [Property] = &[
        property(
            "mutual_exclusion",
            "no two nodes are inside the critical section at the same time",
            &[],
            mutual_exclusion,
        ),
        property(
            "token_comes_around",
            "when nothing disturbs them, every node that is up gets inside again and again",
            &[ROUND],
            token_comes_around,
        ),
    ];
}

/// What of a timeline these properties are about.
enum Moved {
    Enters(u32, Epoch),
    Leaves(u32),
}

fn moved(what: &What) -> Option<Moved> {
    match what {
        // Who has crashed, or starts anew, is not inside.
        What::Start { node, .. } | What::Down { node } => Some(Moved::Leaves(*node)),
        what => what.read::<Inside>().map(|(node, Inside { enters, epoch })| match enters {
            true => Moved::Enters(node, epoch),
            false => Moved::Leaves(node),
        }),
    }
}

/// A node is inside from when it says so until it says that it leaves, or is down. One that is held
/// up stays inside: it goes on where it was.
///
/// Evidence: two nodes that were inside, one after the other.
fn mutual_exclusion(run: &Run) -> Verdict {
    let began = begin(&run.timeline);
    let mut inside: BTreeMap<u32, (u64, Epoch)> = BTreeMap::new();
    let (mut last, mut has_moved) = (None, false);
    for Happening { at, what } in &run.timeline {
        match moved(what) {
            Some(Moved::Enters(node, epoch)) => {
                let there = inside.iter().find(|(id, _)| **id != node);
                if let Some((other, (entered, first))) = there {
                    let (since, now) = (Millis(entered - began), Millis(at - began));
                    let why = format!(
                        "nodes {other} and {node} are both inside: node {other} since {since} with \
                         token {first}, node {node} from {now} on with token {epoch}"
                    );
                    let says = |node: u32, at: u64| {
                        format!("node {node} is inside from {} on", Millis(at - began))
                    };
                    let (there, here) = (says(*other, *entered), says(node, *at));
                    let witnesses = vec![
                        Witness::event("first inside", *other, *entered, "fact", there),
                        Witness::event("second inside", node, *at, "fact", here),
                    ];
                    return Verdict::Violated(Violation::at(*at, why).with(witnesses));
                }
                inside.insert(node, (*at, epoch));
                has_moved |= last.replace(node).is_some_and(|last| last != node);
            }
            Some(Moved::Leaves(node)) => {
                inside.remove(&node);
            }
            None => {}
        }
    }
    Verdict::of(None, has_moved, "no two nodes were inside, one after the other")
}

/// Starts, stops, pauses and faults disturb. From the last of them on, every node that is up enters
/// within [`ROUND`], and again within as long.
///
/// Evidence: a node that is up, for longer than that after the last disturbance.
fn token_comes_around(run: &Run) -> Verdict {
    let round = run.bounds.of(&ROUND);
    let Some(end) = run.timeline.last().map(|one| one.at) else {
        return nothing_of(&run.timeline, "a ring");
    };
    let (mut calm, mut seen) = (0, BTreeMap::new());
    for Happening { at, what } in &run.timeline {
        match what {
            What::Start { node, .. } => drop(seen.insert(*node, 0)),
            What::Down { node } => drop(seen.remove(node)),
            What::Pause { .. } => {}
            What::Fault { until, .. } => {
                calm = calm.max(*until);
                continue;
            }
            _ => continue,
        }
        calm = calm.max(*at);
    }
    seen.values_mut().for_each(|last| *last = calm);
    let late = |node: u32, last: u64, at: u64| {
        (at > last.saturating_add(round)).then(|| {
            let since = Millis(last - begin(&run.timeline));
            let why = format!("node {node} is not inside for {} from {since} on", Millis(round));
            let says = format!("node {node} should be inside again after {since}");
            let waits = Witness::event("node that waits", node, last, TURN, says);
            Violation::at(last.saturating_add(round), why).with(vec![waits])
        })
    };
    let entries = run.timeline.iter().filter(|one| one.at > calm);
    for Happening { at, what } in entries {
        let Some(Moved::Enters(node, _)) = moved(what) else { continue };
        let Some(last) = seen.insert(node, *at) else { continue };
        if let Some(violation) = late(node, last, *at) {
            return Verdict::Violated(violation);
        }
    }
    let broken = seen.iter().find_map(|(node, last)| late(*node, *last, end));
    let has_evidence = !seen.is_empty() && end > calm.saturating_add(round);
    Verdict::of(broken, has_evidence, "something disturbed the ring until the end")
}
