//! Disks that go bad, and memories lost one after the other, as a seed draws them.

use super::ranges::between;
use super::{Fault, How, Kind, Ranges};
use crate::sim::world::PLACES;
use node_core::Rng;

/// The most that a drawn spot of rot has: more than a batch of a few records, less than most logs.
const MAX_SPOT_BYTES: u64 = 300;
/// The oldest copy that is drawn.
const MAX_BACK_MS: u64 = 8_000;

/// Makes a fault of a node whose disk goes bad, at a time in milliseconds.
type Make<'a> = &'a dyn Fn(&mut Rng, u32, u64) -> Kind;

impl Ranges {
    /// Of the nodes with disks, some are drawn first, from the seed: nobody else's goes bad in
    /// this run. What happens to these is drawn from `luck`.
    pub(super) fn draw_bad_disks(
        &self,
        seed: u64,
        luck: u64,
        disks: &[u32],
        millis: u64,
    ) -> Vec<Fault> {
        let mut victims = disks.to_vec();
        let mut rng = Rng::stream(seed, "fault/bad_disks");
        shuffle(&mut victims, &mut rng);
        victims.truncate(self.bad_disks.unwrap_or(1) as usize);
        let mut faults = Vec::new();
        if victims.is_empty() {
            return faults;
        }
        let foreign = |rng: &mut Rng, node, _| {
            let (from, stranger) =
                (disks[rng.below(disks.len() as u64) as usize], rng.below(2) == 0);
            // Its own is none.
            Kind::Foreign { node, from, whole: false, stranger: stranger || from == node }
        };
        let families: [(&str, [u64; 2], Make<'_>); 5] = [
            ("emptied", self.emptied, &|_, node, _| Kind::Crash { node, wipe: true }),
            ("lost_log", self.lost_log, &|_, node, _| Kind::LostLog { node }),
            ("bit_rot", self.bit_rot, &|rng, node, _| rot(rng, node)),
            ("rollback", self.rollback, &|rng, node, at_ms| {
                let most = at_ms.min(MAX_BACK_MS);
                Kind::Rollback { node, back_ms: rng.below(most + 1) }
            }),
            ("foreign", self.foreign, &foreign),
        ];
        for (name, count, make) in families {
            let mut rng = Rng::stream(luck, &format!("fault/{name}"));
            let on = rng.below(2) == 0;
            for _ in 0..if on { between(&mut rng, count) } else { 0 } {
                let (at_ms, for_ms) = (rng.below(millis.max(1)), between(&mut rng, self.for_ms));
                let for_ms = for_ms.min(millis - at_ms);
                let node = victims[rng.below(victims.len() as u64) as usize];
                faults.push(Fault { at_ms, for_ms, kind: make(&mut rng, node, at_ms) });
            }
        }
        faults
    }

    /// All nodes stop and start, in an order that is drawn: whoever is back may not have got from
    /// the others what it lost when the next one stops.
    pub(super) fn draw_rolling(&self, seed: u64, nodes: &[u32], millis: u64) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut rng = Rng::stream(seed, "fault/rolling");
        let on = rng.below(2) == 0;
        let mut at_ms = 0;
        for _ in 0..if on { between(&mut rng, self.rolling) } else { 0 } {
            let mut order = nodes.to_vec();
            shuffle(&mut order, &mut rng);
            // Two at once would be all nodes down.
            at_ms += rng.below((millis / 2).max(1));
            for node in order {
                let for_ms = between(&mut rng, self.rolling_ms);
                if at_ms + for_ms <= millis {
                    faults.push(Fault { at_ms, for_ms, kind: Kind::Crash { node, wipe: false } });
                }
                at_ms += for_ms + between(&mut rng, self.rolling_gap_ms);
            }
        }
        faults
    }
}

fn rot(rng: &mut Rng, node: u32) -> Kind {
    let how = match rng.below(4) {
        0 => How::Flip,
        1 => How::Zeroes,
        2 => How::Garbage,
        _ => How::Cut,
    };
    // Half of the spots are near the end, where what was told last is.
    let place = match rng.below(2) {
        0 => rng.below(PLACES),
        _ => PLACES - 1 - rng.below(PLACES / 20),
    };
    let bytes = match how {
        How::Zeroes | How::Garbage => 1 + rng.below(MAX_SPOT_BYTES),
        How::Flip | How::Cut => 0,
    };
    Kind::BitRot { node, place, how, bytes }
}

/// Fisher and Yates.
fn shuffle(nodes: &mut [u32], rng: &mut Rng) {
    for place in (1..nodes.len()).rev() {
        nodes.swap(place, rng.below(place as u64 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn ranges() -> Ranges {
        Ranges { crash: [1, 3], reset: [1, 4], for_ms: [50, 4_000], ..Ranges::default() }
    }

    fn bad(bad_disks: Option<u64>) -> Ranges {
        let some = [1, 3];
        Ranges {
            bad_disks,
            emptied: some,
            lost_log: some,
            bit_rot: some,
            rollback: some,
            foreign: some,
            ..ranges()
        }
    }

    const NODES: [u32; 4] = [1, 2, 3, 4];
    const MILLIS: u64 = 10_000;

    #[test]
    fn the_disks_of_so_many_nodes_go_bad_and_of_no_other() {
        for (bad_disks, most) in [(None, 1), (Some(2), 2)] {
            let (mut kinds, mut nodes, mut at_once) = (BTreeSet::new(), BTreeSet::new(), 0);
            for seed in 0..300 {
                let faults = bad(bad_disks).draw(seed, &NODES, MILLIS, &[1, 2, 4]);
                let disks = faults.iter().filter(|fault| fault.is_of_disks());
                let victims: BTreeSet<u32> = disks.clone().map(|fault| fault.nodes()[0]).collect();
                assert!(victims.len() <= most, "seed {seed}: {victims:?}");
                at_once = at_once.max(victims.len());
                kinds.extend(disks.clone().map(Fault::name));
                nodes.extend(victims);
                for fault in disks {
                    assert_eq!(fault.excess(), None, "{fault}");
                    assert!(fault.at_ms + fault.for_ms <= MILLIS, "{fault}");
                }
            }
            let all = ["bit_rot", "crash", "foreign", "lost_log", "rollback"];
            assert_eq!(kinds, BTreeSet::from(all));
            assert_eq!((nodes, at_once), (BTreeSet::from([1, 2, 4]), most));
        }
    }

    /// So that a seed that found something goes on finding it.
    #[test]
    fn new_kinds_shift_no_draw_of_the_others() {
        for seed in 0..50 {
            let mut mixed = Ranges {
                rolling: [1, 2],
                rolling_ms: [5, 50],
                twin: [1, 2],
                liar: [1, 2],
                ..bad(None)
            }
            .draw(seed, &NODES, MILLIS, &NODES);
            for fault in ranges().draw(seed, &NODES, MILLIS, &NODES) {
                let place =
                    mixed.iter().position(|other| *other == fault).expect("it is there too");
                mixed.remove(place);
            }
        }
    }

    #[test]
    fn nodes_roll_one_after_the_other() {
        let ranges = Ranges {
            rolling: [1, 3],
            rolling_ms: [5, 200],
            rolling_gap_ms: [100, 600],
            ..Ranges::default()
        };
        let mut rolled = 0;
        for seed in 0..100 {
            let faults = ranges.draw(seed, &NODES, MILLIS, &[]);
            for pair in faults.windows(2) {
                assert!(pair[1].at_ms >= pair[0].at_ms + pair[0].for_ms, "two are down at once");
            }
            let first: BTreeSet<u32> = faults.iter().take(4).flat_map(Fault::nodes).collect();
            rolled += u32::from(first.len() == 4);
        }
        assert!(rolled > 20, "in {rolled} of 100 runs all nodes are started anew");
    }
}
