//! What can be broken, as data: drawn from a seed, written to a file, left out one by one when a
//! failure is shrunk.

mod bad_disks;
mod ranges;

pub use self::ranges::Ranges;

use super::world::{CHANCE, Nanos, PLACES, Rot, World};
use crate::config::ClockError;
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
    /// A node stops, and while it is down a part of its log goes bad.
    BitRot {
        /// The node.
        node: u32,
        /// Where, in millionths of the log.
        place: u64,
        /// How.
        how: How,
        /// How many bytes; no matter for `flip` and `cut`.
        #[serde(default)]
        bytes: u64,
    },
    /// A node stops, and comes back with a copy of its directory from this long before.
    Rollback {
        /// The node.
        node: u32,
        /// Milliseconds.
        back_ms: u64,
    },
    /// A node stops, and comes back with another node's log.
    Foreign {
        /// The node.
        node: u32,
        /// Whose log.
        from: u32,
        /// Whether it is all of the directory.
        #[serde(default)]
        whole: bool,
        /// Whether it is one of another cluster's.
        #[serde(default)]
        stranger: bool,
    },
    /// A node stops, and comes back without its log, to its directory.
    LostLog {
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
    /// A second process of a node's id runs, with an empty disk of its own. It has no links: who is
    /// greeted dials the configured address, where the first one is.
    Twin {
        /// The node.
        node: u32,
    },
    /// A node also says what others said, to whom it is not meant, and with changes.
    Liar {
        /// The node.
        node: u32,
        /// Who hears from it nothing but what they said themselves.
        #[serde(default)]
        spares: Vec<u32>,
        /// Seeds what it says.
        lies: u32,
    },
}

/// How a part of a log goes bad.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// One bit is another.
    Flip,
    /// Bytes are zero.
    Zeroes,
    /// Bytes are anything.
    Garbage,
    /// All that follows is gone.
    Cut,
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
        self.kind.name()
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
            Kind::BitRot { place, .. } if place >= PLACES => {
                Some("place must be below 1000000, the end of the log")
            }
            Kind::BitRot { bytes, .. } if bytes > MAX_ROT_BYTES => {
                Some("bytes must be at most 1048576")
            }
            Kind::Rollback { back_ms, .. } if back_ms > self.at_ms => {
                Some("back_ms must be at most at_ms: before the run there was no directory")
            }
            Kind::Foreign { node, from, stranger: false, .. } if node == from => {
                Some("from must be another node, or stranger be true")
            }
            _ => None,
        }
    }

    /// Whether it breaks something of nodes with disks alone.
    pub fn is_of_disks(&self) -> bool {
        match self.kind {
            Kind::Crash { wipe, .. } => wipe,
            Kind::SyncError { .. }
            | Kind::DiskFull { .. }
            | Kind::BitRot { .. }
            | Kind::Rollback { .. }
            | Kind::Foreign { .. }
            | Kind::LostLog { .. } => true,
            Kind::Pause { .. }
            | Kind::Partition { .. }
            | Kind::OneWay { .. }
            | Kind::Clog { .. }
            | Kind::Loss { .. }
            | Kind::Duplicate { .. }
            | Kind::Delay { .. }
            | Kind::Reset { .. }
            | Kind::Clock { .. }
            | Kind::Twin { .. }
            | Kind::Liar { .. } => false,
        }
    }

    /// When the copy is made that a node comes back with, and of which node.
    pub fn copies(&self) -> Option<(Nanos, u32)> {
        match self.kind {
            Kind::Rollback { node, back_ms } => {
                Some((self.at_ms.saturating_sub(back_ms) * 1_000_000, node))
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
            | Kind::BitRot { node, .. }
            | Kind::Rollback { node, .. }
            | Kind::LostLog { node }
            | Kind::Clock { node, .. } => vec![*node],
            Kind::Foreign { node, from, .. } => vec![*node, *from],
            Kind::Twin { node } | Kind::Liar { node, .. } => vec![*node],
            Kind::Partition { nodes } => nodes.clone(),
            Kind::OneWay { from, to } | Kind::Clog { from, to } => vec![*from, *to],
            Kind::Reset { one, other } => vec![*one, *other],
            Kind::Loss { .. } | Kind::Duplicate { .. } | Kind::Delay { .. } => Vec::new(),
        }
    }

    /// Whom a liar spares.
    pub fn spared(&self) -> &[u32] {
        match &self.kind {
            Kind::Liar { spares, .. } => spares,
            _ => &[],
        }
    }

    /// Breaks it. `number` is its own among the plan's.
    pub fn begin(&self, world: &mut World, number: u32, place: &dyn Fn(u32) -> Option<usize>) {
        self.kind.begin(world, number, self.until(), place);
    }

    /// Mends it. `number` is as at its beginning.
    pub fn end(&self, world: &mut World, number: u32, place: &dyn Fn(u32) -> Option<usize>) {
        self.kind.end(world, number, place);
    }
}

impl Kind {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
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
            Kind::BitRot { .. } => "bit_rot",
            Kind::Rollback { .. } => "rollback",
            Kind::Foreign { .. } => "foreign",
            Kind::LostLog { .. } => "lost_log",
            Kind::Clock { .. } => "clock",
            Kind::Twin { .. } => "twin",
            Kind::Liar { .. } => "liar",
        }
    }

    /// Breaks it, until then. `number` is its fault's among the plan's.
    pub fn begin(
        &self,
        world: &mut World,
        number: u32,
        until: Nanos,
        place: &dyn Fn(u32) -> Option<usize>,
    ) {
        let at = place;
        match self {
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
            Kind::BitRot { node, place, how, bytes } => {
                let rot = match how {
                    How::Flip => Rot::Flip,
                    How::Zeroes => Rot::Zeroes(*bytes),
                    How::Garbage => Rot::Garbage(*bytes),
                    How::Cut => Rot::Cut,
                };
                each(at(*node), |node| world.rot(node, *place, rot));
            }
            Kind::Rollback { node, .. } => each(at(*node), |node| world.roll_back(node, number)),
            Kind::Foreign { node, from, whole, stranger } => {
                each(at(*node).zip(at(*from)), |(node, from)| {
                    world.give_foreign(node, from, *whole, *stranger);
                });
            }
            Kind::LostLog { node } => each(at(*node), |node| world.lose_log(node)),
            Kind::Clock { node, offset_ms, drift_ppm } => {
                let clock = ClockError { offset_ms: *offset_ms, drift_ppm: *drift_ppm };
                each(at(*node), |node| world.set_clock(node, clock));
            }
            Kind::Twin { .. } => each(world.twin(number), |twin| world.start(twin)),
            Kind::Liar { node, spares, lies } => {
                let spares = spares.iter().filter_map(|id| at(*id)).collect();
                each(at(*node), |node| world.lie(number, node, spares, *lies));
            }
        }
    }

    /// Mends it. `number` is as at its beginning.
    pub fn end(&self, world: &mut World, number: u32, place: &dyn Fn(u32) -> Option<usize>) {
        let at = place;
        match self {
            Kind::Crash { node, .. }
            | Kind::SyncError { node }
            | Kind::DiskFull { node }
            | Kind::BitRot { node, .. }
            | Kind::Rollback { node, .. }
            | Kind::Foreign { node, .. }
            | Kind::LostLog { node } => each(at(*node), |node| world.start(node)),
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
            Kind::Twin { .. } => each(world.twin(number), |twin| world.crash(twin, false)),
            Kind::Liar { .. } => world.stop_lying(number),
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

impl Fault {
    /// For people, where nodes are programs, which go by their names.
    pub fn among_programs(&self) -> String {
        let (at, long) = (self.at_ms, self.for_ms);
        let name = |id: &u32| format!("n{}", id.saturating_sub(1));
        match &self.kind {
            Kind::Crash { node, wipe } => {
                let lost = if *wipe { ", its folder emptied" } else { "" };
                format!("{at} ms: {} killed, and down for {long} ms{lost}", name(node))
            }
            Kind::Pause { node } => format!("{at} ms: {} held up for {long} ms", name(node)),
            Kind::Partition { nodes } => {
                let nodes = nodes.iter().map(name).collect::<Vec<_>>().join(", ");
                format!("{at} ms: {nodes} cut off from the others for {long} ms")
            }
            Kind::OneWay { from, to } => {
                let (from, to) = (name(from), name(to));
                format!("{at} ms: nothing passes from {from} to {to} for {long} ms")
            }
            Kind::Clog { from, to } => {
                let (from, to) = (name(from), name(to));
                format!("{at} ms: messages from {from} to {to} held back for {long} ms")
            }
            Kind::Reset { one, other } => {
                format!("{at} ms: what is between {} and {} is lost", name(one), name(other))
            }
            _ => self.to_string(),
        }
    }
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
            Kind::BitRot { node, place, how, bytes } => {
                let percent = place / (PLACES / 100);
                write!(
                    f,
                    "{at} ms: node {node} down for {long} ms, and at {percent}% of its log "
                )?;
                match how {
                    How::Flip => f.write_str("a bit flips"),
                    How::Zeroes => write!(f, "{bytes} bytes are zero"),
                    How::Garbage => write!(f, "{bytes} bytes are garbage"),
                    How::Cut => f.write_str("it is cut"),
                }
            }
            Kind::Rollback { node, back_ms } => write!(
                f,
                "{at} ms: node {node} down for {long} ms, back with a copy from {back_ms} ms before"
            ),
            Kind::Foreign { node, from, whole, stranger } => {
                let what = if *whole { "directory" } else { "log" };
                let of = if *stranger { " of another cluster" } else { "" };
                write!(
                    f,
                    "{at} ms: node {node} down for {long} ms, back with the {what} of node \
                     {from}{of}"
                )
            }
            Kind::LostLog { node } => {
                write!(f, "{at} ms: node {node} down for {long} ms, back without its log")
            }
            Kind::Clock { node, offset_ms, drift_ppm } => {
                write!(f, "{at} ms: clock of node {node} off by {offset_ms} ms, {drift_ppm} ppm")
            }
            Kind::Twin { node } => {
                write!(f, "{at} ms: a second process of node {node} runs for {long} ms")
            }
            Kind::Liar { node, .. } => write!(f, "{at} ms: node {node} lies for {long} ms"),
        }
    }
}

/// Bounds that keep a run finite, and clocks in their range.
pub(super) const MAX_DELAY_MS: u64 = 60_000;
const MAX_ROT_BYTES: u64 = 1 << 20;
pub(super) const MAX_OFFSET_MS: u64 = 86_400_000;
pub(super) const MAX_DRIFT_PPM: u64 = 500_000;
