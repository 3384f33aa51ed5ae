//! What can be broken, as data: drawn from a seed, written to a file, left out one by one when a
//! failure is shrunk.

use super::world::{CHANCE, Nanos, World};
use crate::config::ClockError;
use node_protocols::core::Rng;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One fault: what, from when, how long.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// When it begins, in milliseconds of the run.
    pub at_ms: u64,
    /// How long it lasts, in milliseconds; no matter for what is over at once.
    #[serde(default)]
    pub for_ms: u64,
    /// What.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What is broken. Nodes go by their ids.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// A node stops, and starts again at the end; what it had not synced is lost or torn.
    Crash {
        /// The node.
        node: u32,
        /// Whether its disk is lost too.
        #[serde(default)]
        wipe: bool,
    },
    /// A node does nothing, and then goes on.
    Pause {
        /// The node.
        node: u32,
    },
    /// Nothing passes between these nodes and the others.
    Partition {
        /// One side.
        nodes: Vec<u32>,
    },
    /// Nothing passes in one direction.
    OneWay {
        /// Who is not heard.
        from: u32,
        /// By whom.
        to: u32,
    },
    /// What is sent in one direction is held back until the end.
    Clog {
        /// Whose messages.
        from: u32,
        /// To whom.
        to: u32,
    },
    /// Messages are lost.
    Loss {
        /// How many of a hundred.
        percent: u64,
    },
    /// Messages arrive twice.
    Duplicate {
        /// How many of a hundred.
        percent: u64,
    },
    /// Messages take up to this much longer, and so overtake each other.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// A connection breaks, and is made again.
    Reset {
        /// One end.
        one: u32,
        /// The other.
        other: u32,
    },
    /// A node's next sync fails, which stops it; it starts again at the end.
    SyncError {
        /// The node.
        node: u32,
    },
    /// A node's disk takes nothing, which stops it at its next sync; it starts again at the end.
    DiskFull {
        /// The node.
        node: u32,
    },
    /// A node's wall clock is off by this much, and drifts.
    Clock {
        /// The node.
        node: u32,
        /// Milliseconds.
        offset_ms: i64,
        /// Parts per million.
        drift_ppm: i64,
    },
}

impl Fault {
    /// When it begins.
    pub fn at(&self) -> Nanos {
        self.at_ms * 1_000_000
    }

    /// When it ends.
    pub fn until(&self) -> Nanos {
        (self.at_ms + self.for_ms) * 1_000_000
    }

    /// The name of its kind.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Crash { .. } => "crash",
            Kind::Pause { .. } => "pause",
            Kind::Partition { .. } => "partition",
            Kind::OneWay { .. } => "one_way",
            Kind::Clog { .. } => "clog",
            Kind::Loss { .. } => "loss",
            Kind::Duplicate { .. } => "duplicate",
            Kind::Delay { .. } => "delay",
            Kind::Reset { .. } => "reset",
            Kind::SyncError { .. } => "sync_error",
            Kind::DiskFull { .. } => "disk_full",
            Kind::Clock { .. } => "clock",
        }
    }

    /// What of it is more than a run can have.
    pub fn excess(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Loss { percent } | Kind::Duplicate { percent } if percent > 100 => {
                Some("percent must be at most 100")
            }
            Kind::Delay { ms } if ms > MAX_DELAY_MS => Some("ms must be at most 60000 (a minute)"),
            Kind::Clock { offset_ms, .. } if offset_ms.unsigned_abs() > MAX_OFFSET_MS => {
                Some("offset_ms must be at most 86400000 (a day) either way")
            }
            Kind::Clock { drift_ppm, .. } if drift_ppm.unsigned_abs() > MAX_DRIFT_PPM => {
                Some("drift_ppm must be at most 500000 (half) either way")
            }
            _ => None,
        }
    }

    /// The nodes that it concerns; empty for all.
    pub fn nodes(&self) -> Vec<u32> {
        match &self.kind {
            Kind::Crash { node, .. }
            | Kind::Pause { node }
            | Kind::SyncError { node }
            | Kind::DiskFull { node }
            | Kind::Clock { node, .. } => vec![*node],
            Kind::Partition { nodes } => nodes.clone(),
            Kind::OneWay { from, to } | Kind::Clog { from, to } => vec![*from, *to],
            Kind::Reset { one, other } => vec![*one, *other],
            Kind::Loss { .. } | Kind::Duplicate { .. } | Kind::Delay { .. } => Vec::new(),
        }
    }

    /// Breaks it.
    pub fn begin(&self, world: &mut World, place: &dyn Fn(u32) -> Option<usize>) {
        let (until, at) = (self.until(), place);
        match &self.kind {
            Kind::Crash { node, wipe } => {
                each(at(*node), |node| world.crash(node, *wipe));
            }
            Kind::Pause { node } => each(at(*node), |node| world.pause(node, until)),
            Kind::Partition { nodes } => {
                for (one, other) in boundary(world, nodes, at) {
                    world.cut(one, other);
                    world.cut(other, one);
                }
            }
            Kind::OneWay { from, to } => {
                each(at(*from).zip(at(*to)), |(from, to)| world.cut(from, to));
            }
            Kind::Clog { from, to } => {
                each(at(*from).zip(at(*to)), |(from, to)| world.clog(from, to, until));
            }
            Kind::Loss { percent } => {
                let mut weather = world.weather();
                weather.loss += percent * CHANCE / 100;
                world.set_weather(weather);
            }
            Kind::Duplicate { percent } => {
                let mut weather = world.weather();
                weather.duplicate += percent * CHANCE / 100;
                world.set_weather(weather);
            }
            Kind::Delay { ms } => {
                let mut weather = world.weather();
                weather.delay += ms * 1_000_000;
                world.set_weather(weather);
            }
            Kind::Reset { one, other } => {
                each(at(*one).zip(at(*other)), |(one, other)| world.reset(one, other));
            }
            Kind::SyncError { node } => each(at(*node), |node| world.break_disk(node, 0)),
            Kind::DiskFull { node } => each(at(*node), |node| world.break_disk(node, until)),
            Kind::Clock { node, offset_ms, drift_ppm } => {
                let clock = ClockError { offset_ms: *offset_ms, drift_ppm: *drift_ppm };
                each(at(*node), |node| world.set_clock(node, clock));
            }
        }
    }

    /// Mends it.
    pub fn end(&self, world: &mut World, place: &dyn Fn(u32) -> Option<usize>) {
        let at = place;
        match &self.kind {
            Kind::Crash { node, .. } | Kind::SyncError { node } | Kind::DiskFull { node } => {
                each(at(*node), |node| world.start(node));
            }
            Kind::Partition { nodes } => {
                for (one, other) in boundary(world, nodes, at) {
                    world.heal(one, other);
                    world.heal(other, one);
                }
            }
            Kind::OneWay { from, to } => {
                each(at(*from).zip(at(*to)), |(from, to)| world.heal(from, to));
            }
            Kind::Loss { percent } => {
                let mut weather = world.weather();
                weather.loss -= percent * CHANCE / 100;
                world.set_weather(weather);
            }
            Kind::Duplicate { percent } => {
                let mut weather = world.weather();
                weather.duplicate -= percent * CHANCE / 100;
                world.set_weather(weather);
            }
            Kind::Delay { ms } => {
                let mut weather = world.weather();
                weather.delay -= ms * 1_000_000;
                world.set_weather(weather);
            }
            // These end by themselves, or never.
            Kind::Pause { .. } | Kind::Clog { .. } | Kind::Reset { .. } | Kind::Clock { .. } => {}
        }
    }
}

fn each<T>(place: Option<T>, act: impl FnOnce(T)) {
    if let Some(place) = place {
        act(place);
    }
}

fn boundary(
    world: &World,
    nodes: &[u32],
    place: &dyn Fn(u32) -> Option<usize>,
) -> Vec<(usize, usize)> {
    let inside: Vec<usize> = nodes.iter().filter_map(|node| place(*node)).collect();
    let outside = (0..world.len()).filter(|node| !inside.contains(node));
    outside.flat_map(|one| inside.iter().map(move |other| (one, *other))).collect()
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, long) = (self.at_ms, self.for_ms);
        match &self.kind {
            Kind::Crash { node, wipe: false } => {
                write!(f, "{at} ms: node {node} down for {long} ms")
            }
            Kind::Crash { node, wipe: true } => {
                write!(f, "{at} ms: node {node} down for {long} ms, its disk lost")
            }
            Kind::Pause { node } => write!(f, "{at} ms: node {node} held up for {long} ms"),
            Kind::Partition { nodes } => {
                write!(f, "{at} ms: {nodes:?} cut off from the others for {long} ms")
            }
            Kind::OneWay { from, to } => {
                write!(f, "{at} ms: nothing passes from {from} to {to} for {long} ms")
            }
            Kind::Clog { from, to } => {
                write!(f, "{at} ms: messages from {from} to {to} held back for {long} ms")
            }
            Kind::Loss { percent } => {
                write!(f, "{at} ms: {percent}% of messages lost for {long} ms")
            }
            Kind::Duplicate { percent } => {
                write!(f, "{at} ms: {percent}% of messages doubled for {long} ms")
            }
            Kind::Delay { ms } => write!(f, "{at} ms: up to {ms} ms more on the way for {long} ms"),
            Kind::Reset { one, other } => write!(f, "{at} ms: connection {one}–{other} breaks"),
            Kind::SyncError { node } => {
                write!(f, "{at} ms: the next sync of node {node} fails; back {long} ms later")
            }
            Kind::DiskFull { node } => {
                write!(f, "{at} ms: the disk of node {node} full for {long} ms")
            }
            Kind::Clock { node, offset_ms, drift_ppm } => {
                write!(f, "{at} ms: clock of node {node} off by {offset_ms} ms, {drift_ppm} ppm")
            }
        }
    }
}

/// Ranges to draw faults from: the table `[faults]` of a scenario. Each family has a range for
/// how many faults of it a run gets; a run has each family with a chance of one half, since faults
/// hide each other (swarm testing: Groce et al., 2012).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ranges {
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
    /// The shortest and longest fault, in milliseconds.
    pub for_ms: [u64; 2],
}

/// One flap's cuts.
const FLAPS: u64 = 5;

/// Bounds that keep a run finite, and clocks in their range.
const MAX_FAULTS: u64 = 1_000;
const MAX_DELAY_MS: u64 = 60_000;
pub(super) const MAX_OFFSET_MS: u64 = 86_400_000;
pub(super) const MAX_DRIFT_PPM: u64 = 500_000;

impl Ranges {
    /// What of them makes no sense.
    pub fn check(&self) -> Result<(), String> {
        let counts = [
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
        ];
        for (name, [low, high]) in counts {
            if low > high || high > MAX_FAULTS {
                return Err(format!(
                    "{name} goes from its lower to its higher bound, which is at most {MAX_FAULTS}"
                ));
            }
        }
        if self.for_ms[0] > self.for_ms[1] {
            return Err("for_ms goes from its lower to its higher bound".into());
        }
        if self.wipe_percent > 100 || self.loss_percent > 100 {
            return Err("wipe_percent and loss_percent must be at most 100".into());
        }
        if self.delay_ms > MAX_DELAY_MS {
            return Err(format!("delay_ms must be at most {MAX_DELAY_MS} (a minute)"));
        }
        Ok(())
    }

    /// The faults of a run of `millis`. With `keep`, the node of that place keeps its memory
    /// (`durable` false) or its disk (`durable` true), so that what was acknowledged stays
    /// somewhere.
    pub fn draw(&self, seed: u64, nodes: &[u32], millis: u64, durable: bool) -> Vec<Fault> {
        let mut faults = Vec::new();
        let keep = Rng::stream(seed, "fault/keep").below(nodes.len() as u64) as usize;
        let longest = self.for_ms[1].max(1);
        let mut family = |name: &str,
                          count: [u64; 2],
                          make: &mut dyn FnMut(&mut Rng) -> Option<Kind>| {
            let mut rng = Rng::stream(seed, &format!("fault/{name}"));
            let on = rng.below(2) == 0;
            let n = if on { between(&mut rng, count) } else { 0 };
            for _ in 0..n {
                let (at_ms, for_ms) = (rng.below(millis.max(1)), between(&mut rng, self.for_ms));
                // Everything is mended when the run's first phase ends.
                let for_ms = for_ms.min(millis - at_ms);
                if let Some(kind) = make(&mut rng) {
                    faults.push(Fault { at_ms, for_ms, kind });
                }
            }
        };
        let node = |rng: &mut Rng| nodes[rng.below(nodes.len() as u64) as usize];
        let two = |rng: &mut Rng| {
            let one = rng.below(nodes.len() as u64) as usize;
            let other =
                (one + 1 + rng.below((nodes.len() as u64 - 1).max(1)) as usize) % nodes.len();
            (nodes[one], nodes[other])
        };
        let several = nodes.len() > 1;
        family("crash", self.crash, &mut |rng| {
            let node = node(rng);
            let wipe = rng.below(100) < self.wipe_percent && node != nodes[keep];
            let allowed = durable || node != nodes[keep];
            allowed.then_some(Kind::Crash { node, wipe })
        });
        family("pause", self.pause, &mut |rng| Some(Kind::Pause { node: node(rng) }));
        family("partition", self.partition, &mut |rng| {
            let mut group: Vec<u32> = match rng.below(3) {
                0 => vec![node(rng)],
                1 => nodes[..nodes.len() / 2].to_vec(),
                _ => nodes.iter().copied().filter(|_| rng.below(2) == 0).collect(),
            };
            group.sort_unstable();
            (!group.is_empty() && group.len() < nodes.len())
                .then_some(Kind::Partition { nodes: group })
        });
        family("one_way", self.one_way, &mut |rng| {
            let (from, to) = two(rng);
            several.then_some(Kind::OneWay { from, to })
        });
        family("clog", self.clog, &mut |rng| {
            let (from, to) = two(rng);
            several.then_some(Kind::Clog { from, to })
        });
        family("loss", self.loss, &mut |rng| {
            Some(Kind::Loss { percent: 1 + rng.below(self.loss_percent.max(1)) })
        });
        family("duplicate", self.duplicate, &mut |rng| {
            Some(Kind::Duplicate { percent: 1 + rng.below(30) })
        });
        family("delay", self.delay, &mut |rng| {
            Some(Kind::Delay { ms: 1 + rng.below(self.delay_ms.max(1)) })
        });
        family("reset", self.reset, &mut |rng| {
            let (one, other) = two(rng);
            several.then_some(Kind::Reset { one, other })
        });
        if durable {
            family("sync_error", self.sync_error, &mut |rng| {
                Some(Kind::SyncError { node: node(rng) })
            });
            family("disk_full", self.disk_full, &mut |rng| {
                Some(Kind::DiskFull { node: node(rng) })
            });
        }
        family("clock", self.clock, &mut |rng| {
            let offset_ms = rng.below(20_001) as i64 - 10_000;
            let drift_ppm = rng.below(1_001) as i64 - 500;
            Some(Kind::Clock { node: node(rng), offset_ms, drift_ppm })
        });
        let mut rng = Rng::stream(seed, "fault/flap");
        let on = rng.below(2) == 0 && several;
        for _ in 0..if on { between(&mut rng, self.flap) } else { 0 } {
            let (start, node) = (rng.below(millis.max(1)), node(&mut rng));
            for flap in 0..FLAPS {
                let at_ms = start + flap * longest.min(400);
                let for_ms = longest.min(200);
                if at_ms + for_ms <= millis {
                    let kind = Kind::Partition { nodes: vec![node] };
                    faults.push(Fault { at_ms, for_ms, kind });
                }
            }
        }
        faults.sort_by_key(|fault| fault.at_ms);
        faults
    }
}

fn between(rng: &mut Rng, range: [u64; 2]) -> u64 {
    range[0] + rng.below(range[1].saturating_sub(range[0]) + 1)
}
