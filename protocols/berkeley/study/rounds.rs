//! Whether rounds go on while a coordinator reigns, and whether clocks are slewed as they are told:
//! what
//! [`skew_bound`](super::skew_bound) needs beside the distance of clocks that had a round.

use super::{INTERVAL, ROUND, SLEW};
use node_lab::check::describe::Millis;
use node_lab::check::timeline::{FaultKind, What};
use node_lab::study::{AGREE, Bounds};
use node_protocols::core::{ClockOffset, Fact, NodeId};
use node_protocols::facts::Coordinator;
use std::collections::BTreeMap;

/// Whom rounds reach.
pub(super) struct Rounds {
    bounds: Bounds,
    began: u64,
    nodes: BTreeMap<u32, Server>,
    /// When something last disturbed anybody.
    disturbed: u64,
}

#[derive(Default)]
struct Server {
    /// It is down or held up.
    is_away: bool,
    /// Whom it holds coordinator, in which reign.
    reign: Option<Coordinator>,
    /// When it was corrected last.
    corrected: u64,
    reading: Option<Reading>,
}

/// What a clock showed.
#[derive(Clone, Copy)]
struct Reading {
    at: u64,
    /// How far it was ahead without its correction.
    own: i128,
    correction: i128,
    owed: i128,
    /// How often it was corrected since.
    corrections: u32,
}

/// A clock that is not kept, or not slewed, as it should be.
pub(super) struct Late {
    pub(super) at: u64,
    pub(super) node: u32,
    pub(super) why: String,
    /// Who should have held a round; none where it is the node that does not do as it was told.
    pub(super) coordinator: Option<u32>,
}

/// A node's own clock that runs faster or slower than this, in parts per million, was set
/// meanwhile, or waits for the time that it has shown before.
const SET_PPM: u64 = 10_000;
/// How exact readings are, in nanoseconds.
const ROUNDING_NS: i128 = 1_000;

impl Rounds {
    pub(super) fn new(bounds: Bounds, began: u64) -> Rounds {
        Rounds { bounds, began, nodes: BTreeMap::new(), disturbed: began }
    }

    /// Who should have been corrected by now, and when.
    pub(super) fn overdue(&self, at: u64) -> Option<Late> {
        let agree_ns = self.bounds.of(&AGREE);
        let interval_ns = self.bounds.of(&INTERVAL);
        let round_ns = self.bounds.of(&ROUND);
        let calm = self.disturbed.saturating_add(agree_ns);
        let within = interval_ns.saturating_add(round_ns);
        if at <= calm.saturating_add(within) {
            return None;
        }
        self.nodes.iter().find_map(|(id, node)| {
            let due = node.corrected.max(calm).saturating_add(within);
            let Coordinator { id: NodeId(coordinator), .. } =
                node.reign.filter(|_| !node.is_away && at > due)?;
            let agrees = |its: &Server| !its.is_away && its.reign == node.reign;
            let reigns = self.nodes.get(&coordinator).is_some_and(agrees);
            // Whoever is alone has nobody to hold a round with.
            let several = self.nodes.values().filter(|its| agrees(its)).count() > 1;
            (reigns && several).then(|| {
                let last = match node.corrected {
                    0 => "was never corrected".to_string(),
                    last => format!("was last corrected at {}", Millis(last - self.began)),
                };
                let until = Millis(due - self.began);
                let why = format!(
                    "node {id} {last}, and not again until {until}, when it was due, though node \
                     {coordinator} coordinates and nothing disturbs them"
                );
                Late { at: due, node: *id, why, coordinator: Some(coordinator) }
            })
        })
    }

    /// What is wrong with how a clock moves, at a reading.
    pub(super) fn apply(&mut self, at: u64, what: &What) -> Option<Late> {
        match what {
            What::Start { node, .. } => {
                self.disturbed = self.disturbed.max(at);
                self.nodes.insert(*node, Server::default());
            }
            What::Down { node } => self.away(at, *node, true),
            What::Pause { node, on } => self.away(at, *node, *on),
            What::Fault { kind: FaultKind::Partition(_) | FaultKind::Other, until } => {
                self.disturbed = self.disturbed.max(at).max(*until);
            }
            What::Fact { node, fact } => self.told(at, *node, fact),
            What::Clock { node, ahead, correction, owed, .. } => {
                let (ahead, correction) = (i128::from(*ahead), i128::from(*correction));
                let reading = Reading {
                    at,
                    own: ahead - correction,
                    correction,
                    owed: i128::from(*owed),
                    corrections: 0,
                };
                let before = self.nodes.entry(*node).or_default().reading.replace(reading)?;
                let (gone, least) = before.too_slow(&reading, self.bounds.of(&SLEW))?;
                let (owed, then) = (before.owed.unsigned_abs(), Millis(before.at - self.began));
                let millis = |nanos: u128| Millis(u64::try_from(nanos).unwrap_or(u64::MAX));
                let (owed, least) = (millis(owed), millis(least.unsigned_abs()));
                let back = if gone < 0 { "-" } else { "" };
                let gone = millis(gone.unsigned_abs());
                let why = format!(
                    "node {node}, whose clock owed {owed} at {then}, was slewed by {back}{gone} until \
                     {}, which is less than {least}",
                    Millis(at - self.began),
                );
                return Some(Late { at, node: *node, why, coordinator: None });
            }
            What::Fault { kind: FaultKind::Duplicate | FaultKind::Clock(_), .. }
            | What::Link { .. }
            | What::Send { .. }
            | What::Receive { .. }
            | What::End => {}
        }
        None
    }

    /// A node turns to a coordinator, or is corrected.
    fn told(&mut self, at: u64, node: u32, fact: &Fact) {
        if let Some(reign) = fact.read::<Coordinator>() {
            let server = self.nodes.entry(node).or_default();
            if server.reign.replace(reign) != Some(reign) {
                self.disturbed = self.disturbed.max(at);
            }
        } else if let Some(ClockOffset { .. }) = fact.read() {
            let server = self.nodes.entry(node).or_default();
            server.corrected = at;
            if let Some(reading) = &mut server.reading {
                reading.corrections += 1;
            }
        }
    }

    fn away(&mut self, at: u64, id: u32, is_away: bool) {
        self.disturbed = self.disturbed.max(at);
        self.nodes.entry(id).or_default().is_away = is_away;
    }
}

impl Reading {
    /// How far the correction has moved since this reading, and how far it had to, if that is more.
    fn too_slow(&self, now: &Reading, slew_ppm: u64) -> Option<(i128, i128)> {
        let long = i128::from(now.at.saturating_sub(self.at));
        let is_set =
            (now.own - self.own).abs() > long * i128::from(SET_PPM) / 1_000_000 + ROUNDING_NS;
        if is_set || self.owed == 0 {
            return None;
        }
        let whole = long * i128::from(slew_ppm) / 1_000_000;
        // Its own clock may be slower than the time of the run.
        let most = whole * 9 / 10;
        let least = match self.corrections {
            0 => most.min(self.owed.abs()),
            // It moves to where it had to go, and then to elsewhere; the same way if it is not
            // there yet.
            1 if self.owed.signum() == now.owed.signum() && self.owed.abs() > 2 * whole => most,
            _ => return None,
        };
        let gone = (now.correction - self.correction) * self.owed.signum();
        (gone + ROUNDING_NS < least).then_some((gone, least))
    }
}
