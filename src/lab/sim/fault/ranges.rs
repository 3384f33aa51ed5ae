//! What a scenario says of faults, and what a seed makes of it.

use super::{Fault, Kind, MAX_DELAY_MS};
use node_core::Rng;
use serde::{Deserialize, Serialize};

/// Ranges to draw faults from: the table `[faults]` of a scenario. Each family has a range for
/// how many faults of it a run gets; a run has each family with a chance of one half, since faults
/// hide each other (swarm testing: Groce et al., 2012).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ranges {
    /// Whether every seed has faults of every kind that is named, whole: none comes without them,
    /// where each has each kind with a chance of one half otherwise.
    pub always: bool,
    /// How many crashes.
    pub crash: [u64; 2],
    /// How many of a hundred crashes lose the disk too.
    pub wipe_percent: u64,
    /// How many pauses.
    pub pause: [u64; 2],
    /// How many partitions: one node, half of them, or any group.
    pub partition: [u64; 2],
    /// How many times a node is cut off and back again, five times in a row.
    pub flap: [u64; 2],
    /// How many one-way cuts.
    pub one_way: [u64; 2],
    /// How many clogs.
    pub clog: [u64; 2],
    /// How many spells of loss, of up to `loss_percent`.
    pub loss: [u64; 2],
    /// The most that is lost.
    pub loss_percent: u64,
    /// How many spells of duplication, of up to 30 %.
    pub duplicate: [u64; 2],
    /// How many spells of longer and very different delays.
    pub delay: [u64; 2],
    /// The longest such delay, in milliseconds.
    pub delay_ms: u64,
    /// How many broken connections.
    pub reset: [u64; 2],
    /// How many failing syncs.
    pub sync_error: [u64; 2],
    /// How many full disks.
    pub disk_full: [u64; 2],
    /// How many clocks that are off, by up to 10 s and 500 ppm.
    pub clock: [u64; 2],
    /// How many times a second process of a node's id runs beside it, which some clients meet.
    pub twin: [u64; 2],
    /// How many times a node lies: its frames are joined, or now and then replaced, by what any
    /// node said before, sent to any other and with bytes changed.
    pub liar: [u64; 2],
    /// Who never lies, and hears from liars nothing but what it said itself: whom others believe
    /// what they say of themselves, such as a leader its followers' acknowledgements.
    pub liar_spares: Vec<u32>,
    /// How many of the nodes have disks that go bad, in one of the five ways that follow; one
    /// unless it is given.
    pub bad_disks: Option<u64>,
    /// How many times such a disk is emptied.
    pub emptied: [u64; 2],
    /// How many times its log is gone, and the directory is not.
    pub lost_log: [u64; 2],
    /// How many times a part of its log rots: a bit, zeroes, garbage, a cut.
    pub bit_rot: [u64; 2],
    /// How many times it is replaced by an older copy.
    pub rollback: [u64; 2],
    /// How many times its log is replaced by another node's, or another cluster's.
    pub foreign: [u64; 2],
    /// How many times all nodes stop and start, one after the other.
    pub rolling: [u64; 2],
    /// How long each of them is down then, in milliseconds.
    pub rolling_ms: [u64; 2],
    /// How long after one is back the next one stops, in milliseconds.
    pub rolling_gap_ms: [u64; 2],
    /// The shortest and longest fault, in milliseconds.
    pub for_ms: [u64; 2],
}

/// One flap's cuts.
const FLAPS: u64 = 5;

/// More break nothing that fewer do not.
const MAX_FAULTS: u64 = 1_000;

impl Ranges {
    /// How many times what happens, by its name.
    fn counts(&self) -> [(&'static str, [u64; 2]); 21] {
        [
            ("crash", self.crash),
            ("pause", self.pause),
            ("partition", self.partition),
            ("flap", self.flap),
            ("one_way", self.one_way),
            ("clog", self.clog),
            ("loss", self.loss),
            ("duplicate", self.duplicate),
            ("delay", self.delay),
            ("reset", self.reset),
            ("sync_error", self.sync_error),
            ("disk_full", self.disk_full),
            ("clock", self.clock),
            ("twin", self.twin),
            ("liar", self.liar),
            ("emptied", self.emptied),
            ("lost_log", self.lost_log),
            ("bit_rot", self.bit_rot),
            ("rollback", self.rollback),
            ("foreign", self.foreign),
            ("rolling", self.rolling),
        ]
    }

    /// The kinds that may be drawn.
    pub fn kinds(&self) -> Vec<&'static str> {
        let drawn = self.counts().into_iter().filter(|(_, range)| *range != [0, 0]);
        drawn.map(|(name, _)| name).collect()
    }

    /// What of them makes no sense.
    ///
    /// # Errors
    /// Which range makes no sense, in one line.
    pub fn check(&self) -> Result<(), String> {
        for (name, [low, high]) in self.counts() {
            if low > high || high > MAX_FAULTS {
                return Err(format!(
                    "{name} goes from its lower to its higher bound, which is at most {MAX_FAULTS}"
                ));
            }
        }
        let times = [
            ("for_ms", self.for_ms),
            ("rolling_ms", self.rolling_ms),
            ("rolling_gap_ms", self.rolling_gap_ms),
        ];
        if let Some((name, _)) = times.iter().find(|(_, [low, high])| low > high) {
            return Err(format!("{name} goes from its lower to its higher bound"));
        }
        if self.bad_disks == Some(0) {
            return Err("bad_disks must be at least 1: leave the kinds of bad disks out".into());
        }
        if self.wipe_percent > 0 && self.makes_disks_bad() && self.bad_disks.is_none() {
            return Err(
                "wipe_percent takes disks beside the one that goes bad: use emptied, or say \
                        with bad_disks how many"
                    .into(),
            );
        }
        if self.wipe_percent > 100 || self.loss_percent > 100 {
            return Err("wipe_percent and loss_percent must be at most 100".into());
        }
        if self.delay_ms > MAX_DELAY_MS {
            return Err(format!("delay_ms must be at most {MAX_DELAY_MS} (a minute)"));
        }
        Ok(())
    }

    fn makes_disks_bad(&self) -> bool {
        let kinds = [self.emptied, self.lost_log, self.bit_rot, self.rollback, self.foreign];
        kinds != [[0, 0]; 5]
    }

    /// Whether a part of them breaks something of nodes with disks alone.
    pub fn are_of_disks(&self) -> bool {
        let disks = [self.sync_error, self.disk_full];
        self.makes_disks_bad() || disks != [[0, 0]; 2] || self.wipe_percent > 0
    }

    /// The faults of a run of `millis`, of nodes of which these have `disks`. One node, drawn too,
    /// keeps its memory (when no node has a disk) or its disk, so that what was acknowledged stays
    /// somewhere, but for `rolling`, and for disks that go bad.
    pub fn draw(&self, seed: u64, nodes: &[u32], millis: u64, disks: &[u32]) -> Vec<Fault> {
        self.draw_with(seed, seed, nodes, millis, disks)
    }

    /// Likewise, with other luck: the seed says still who keeps what it has, and whose disks go
    /// bad, so that these faults may follow others of that seed.
    pub fn draw_with(
        &self,
        seed: u64,
        luck: u64,
        nodes: &[u32],
        millis: u64,
        disks: &[u32],
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        let hat = Hat { ranges: self, seed: luck, nodes, millis };
        let keep = Rng::stream(seed, "fault/keep").below(nodes.len() as u64) as usize;
        self.draw_of_nodes(&hat, nodes[keep], disks, &mut faults);
        self.draw_of_links(&hat, &mut faults);
        faults.extend(self.draw_bad_disks(seed, luck, disks, millis));
        faults.extend(self.draw_rolling(luck, nodes, millis));
        faults.extend(self.draw_flaps(luck, nodes, millis));
        faults.sort_by_key(|fault| fault.at_ms);
        faults
    }

    /// What happens to nodes, their clocks and their disks.
    fn draw_of_nodes(&self, hat: &Hat<'_>, keep: u32, disks: &[u32], faults: &mut Vec<Fault>) {
        let durable = !disks.is_empty();
        hat.draw("crash", self.crash, faults, &mut |rng| {
            let node = hat.node(rng);
            let wipe = rng.below(100) < self.wipe_percent && node != keep;
            let allowed = durable || node != keep;
            allowed.then_some(Kind::Crash { node, wipe })
        });
        hat.draw("pause", self.pause, faults, &mut |rng| Some(Kind::Pause { node: hat.node(rng) }));
        if durable {
            hat.draw("sync_error", self.sync_error, faults, &mut |rng| {
                Some(Kind::SyncError { node: hat.node(rng) })
            });
            hat.draw("disk_full", self.disk_full, faults, &mut |rng| {
                Some(Kind::DiskFull { node: hat.node(rng) })
            });
        }
        hat.draw("clock", self.clock, faults, &mut |rng| {
            let offset_ms = rng.below(20_001) as i64 - 10_000;
            let drift_ppm = rng.below(1_001) as i64 - 500;
            Some(Kind::Clock { node: hat.node(rng), offset_ms, drift_ppm })
        });
        hat.draw("twin", self.twin, faults, &mut |rng| Some(Kind::Twin { node: hat.node(rng) }));
        let liars = hat.nodes.iter().copied().filter(|id| !self.liar_spares.contains(id));
        let liars: Vec<u32> = liars.collect();
        hat.draw("liar", self.liar, faults, &mut |rng| {
            let most = liars.len().max(1) as u64;
            let (place, lies) = (rng.below(most) as usize, rng.next_u64() as u32);
            let spares = self.liar_spares.clone();
            liars.get(place).map(|node| Kind::Liar { node: *node, spares, lies })
        });
    }

    /// What happens to messages and links.
    fn draw_of_links(&self, hat: &Hat<'_>, faults: &mut Vec<Fault>) {
        let nodes = hat.nodes;
        let several = nodes.len() > 1;
        hat.draw("partition", self.partition, faults, &mut |rng| {
            let mut group: Vec<u32> = match rng.below(3) {
                0 => vec![hat.node(rng)],
                1 => nodes[..nodes.len() / 2].to_vec(),
                _ => nodes.iter().copied().filter(|_| rng.below(2) == 0).collect(),
            };
            group.sort_unstable();
            let parts = !group.is_empty() && group.len() < nodes.len();
            parts.then_some(Kind::Partition { nodes: group })
        });
        hat.draw("one_way", self.one_way, faults, &mut |rng| {
            let (from, to) = hat.two(rng);
            several.then_some(Kind::OneWay { from, to })
        });
        hat.draw("clog", self.clog, faults, &mut |rng| {
            let (from, to) = hat.two(rng);
            several.then_some(Kind::Clog { from, to })
        });
        hat.draw("loss", self.loss, faults, &mut |rng| {
            Some(Kind::Loss { percent: 1 + rng.below(self.loss_percent.max(1)) })
        });
        hat.draw("duplicate", self.duplicate, faults, &mut |rng| {
            Some(Kind::Duplicate { percent: 1 + rng.below(30) })
        });
        hat.draw("delay", self.delay, faults, &mut |rng| {
            Some(Kind::Delay { ms: 1 + rng.below(self.delay_ms.max(1)) })
        });
        hat.draw("reset", self.reset, faults, &mut |rng| {
            let (one, other) = hat.two(rng);
            several.then_some(Kind::Reset { one, other })
        });
    }

    /// Nodes that are cut off again and again.
    fn draw_flaps(&self, seed: u64, nodes: &[u32], millis: u64) -> Vec<Fault> {
        let (mut faults, several) = (Vec::new(), nodes.len() > 1);
        let longest = self.for_ms[1].max(1);
        let mut rng = Rng::stream(seed, "fault/flap");
        let on = rng.below(2) == 0 && several;
        for _ in 0..if on { between(&mut rng, self.flap) } else { 0 } {
            let (start, node) =
                (rng.below(millis.max(1)), nodes[rng.below(nodes.len() as u64) as usize]);
            for flap in 0..FLAPS {
                let at_ms = start + flap * longest.min(400);
                let for_ms = longest.min(200);
                if at_ms + for_ms <= millis {
                    let kind = Kind::Partition { nodes: vec![node] };
                    faults.push(Fault { at_ms, for_ms, kind });
                }
            }
        }
        faults
    }
}

/// What the families of a run's faults are drawn from.
struct Hat<'a> {
    ranges: &'a Ranges,
    seed: u64,
    nodes: &'a [u32],
    millis: u64,
}

impl Hat<'_> {
    /// Draws a family, each from a stream of its own.
    fn draw(
        &self,
        name: &str,
        count: [u64; 2],
        faults: &mut Vec<Fault>,
        make: &mut dyn FnMut(&mut Rng) -> Option<Kind>,
    ) {
        let mut rng = Rng::stream(self.seed, &format!("fault/{name}"));
        let on = rng.below(2) == 0 || self.ranges.always;
        let n = if on { between(&mut rng, count) } else { 0 };
        for _ in 0..n {
            let (at_ms, for_ms) = self.draw_times(&mut rng);
            let tries = if self.ranges.always { MAX_TRIES } else { 1 };
            if let Some(kind) = (0..tries).find_map(|_| make(&mut rng)) {
                faults.push(Fault { at_ms, for_ms, kind });
            }
        }
    }

    /// When a fault begins and how long it lasts. Everything is mended when the run's first phase
    /// ends.
    fn draw_times(&self, rng: &mut Rng) -> (u64, u64) {
        if self.ranges.always {
            let for_ms = between(rng, self.ranges.for_ms).min(self.millis);
            return (rng.below(self.millis - for_ms + 1), for_ms);
        }
        let at_ms = rng.below(self.millis.max(1));
        (at_ms, between(rng, self.ranges.for_ms).min(self.millis - at_ms))
    }

    fn node(&self, rng: &mut Rng) -> u32 {
        self.nodes[rng.below(self.nodes.len() as u64) as usize]
    }

    fn two(&self, rng: &mut Rng) -> (u32, u32) {
        let nodes = self.nodes.len() as u64;
        let one = rng.below(nodes) as usize;
        let other = (one + 1 + rng.below((nodes - 1).max(1)) as usize) % self.nodes.len();
        (self.nodes[one], self.nodes[other])
    }
}

/// How often a fault that has to be is drawn until it is one.
const MAX_TRIES: u32 = 64;

pub(super) fn between(rng: &mut Rng, range: [u64; 2]) -> u64 {
    range[0] + rng.below(range[1].saturating_sub(range[0]) + 1)
}
