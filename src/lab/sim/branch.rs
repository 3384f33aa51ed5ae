//! Branches: what of a run goes otherwise than its plan had it, as data. Everything before a branch
//! is the run without it, byte for byte.

use super::fault::{Kind, MAX_DELAY_MS};
use super::world::{Nanos, Way};
use crate::check::describe::Millis;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One branch: `[[branch]]` of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub enum Branch {
    /// At a moment: behind all that happens then, and before all that happens later.
    Moment {
        /// Nanoseconds of the run.
        at_ns: Nanos,
        /// What; nothing changes nothing.
        act: Option<Act>,
    },
    /// From when a message is sent.
    Message {
        /// The number that traces show: the `id` of its send, or of its duplicate.
        id: u64,
        /// How it fares.
        fares: Fares,
    },
}

/// What happens at a moment. Nodes go by their ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// All that is still to be drawn is drawn anew: the number names the draws. Faults are no
    /// draws of the run: they stay.
    Reseed(u64),
    /// A node breaks.
    Break {
        /// The node.
        node: u32,
        /// How.
        how: Break,
        /// How long, in milliseconds; without, [`DEFAULT_MS`], or as long as there is time for
        /// faults.
        for_ms: Option<u64>,
    },
}

/// How a node breaks at a branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Break {
    /// It stops, and starts again at the end.
    Crash,
    /// Likewise, and its disk is lost.
    Wipe,
    /// It does nothing, and then goes on.
    Pause,
    /// Nothing passes between it and the others.
    Cut,
}

/// How a message fares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fares {
    /// It is lost where it would have arrived.
    Drop,
    /// It arrives so many milliseconds later.
    DelayMs(u64),
    /// It arrives at once, before all that is under way on its link.
    First,
}

/// How long what a branch breaks lasts where it does not say, in milliseconds.
pub const DEFAULT_MS: u64 = 1_000;

/// More change nothing that fewer do not.
pub const MAX_BRANCHES: usize = 1_000;

/// The table as it is written.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_ns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reseed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crash: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wipe: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pause: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cut: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    for_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drop: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<bool>,
}

const BOTH: &str =
    "a branch has at_ns, the moment in nanoseconds, or message, the id of a send in the trace";

impl TryFrom<Raw> for Branch {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Branch, String> {
        match (raw.at_ns, &raw.message) {
            (Some(at_ns), None) => {
                if raw.drop.is_some() || raw.delay_ms.is_some() || raw.first.is_some() {
                    return Err("drop, delay_ms and first are of a message, not of at_ns".into());
                }
                Ok(Branch::Moment { at_ns, act: raw.act()? })
            }
            (None, Some(message)) => {
                let id = message.parse().ok().filter(|id| *id > 0).ok_or_else(|| {
                    format!("message: {message:?} is no id: take that of a send in the trace")
                })?;
                Ok(Branch::Message { id, fares: raw.fares()? })
            }
            (None, None) | (Some(_), Some(_)) => Err(BOTH.into()),
        }
    }
}

impl Raw {
    fn act(&self) -> Result<Option<Act>, String> {
        let breaks = [
            (self.crash, Break::Crash),
            (self.wipe, Break::Wipe),
            (self.pause, Break::Pause),
            (self.cut, Break::Cut),
        ];
        let for_ms = self.for_ms;
        let breaks = breaks.into_iter().filter_map(|(node, how)| node.map(|node| (node, how)));
        let breaks = breaks.map(|(node, how)| Act::Break { node, how, for_ms });
        let mut acts = self.reseed.map(Act::Reseed).into_iter().chain(breaks);
        let act = acts.next();
        if acts.next().is_some() {
            return Err(
                "at most one of reseed, crash, wipe, pause and cut: give each a branch of \
                        its own"
                    .into(),
            );
        }
        match act {
            None | Some(Act::Reseed(_)) if for_ms.is_some() => {
                Err("for_ms is of crash, wipe, pause and cut".into())
            }
            _ => Ok(act),
        }
    }

    fn fares(&self) -> Result<Fares, String> {
        let Raw { reseed, crash, wipe, pause, cut, for_ms, .. } = self;
        let of_moments = [crash, wipe, pause, cut].iter().any(|one| one.is_some());
        if of_moments || reseed.is_some() || for_ms.is_some() {
            return Err(
                "reseed, crash, wipe, pause, cut and for_ms are of at_ns, not of a message".into(),
            );
        }
        match (self.drop, self.delay_ms, self.first) {
            (Some(true), None, None) => Ok(Fares::Drop),
            (None, Some(ms), None) => Ok(Fares::DelayMs(ms)),
            (None, None, Some(true)) => Ok(Fares::First),
            _ => Err("a message has one of drop = true, delay_ms = N and first = true".into()),
        }
    }
}

impl From<Branch> for Raw {
    fn from(branch: Branch) -> Raw {
        match branch {
            Branch::Moment { at_ns, act } => {
                let mut raw = Raw { at_ns: Some(at_ns), ..Raw::default() };
                match act {
                    None => {}
                    Some(Act::Reseed(by)) => raw.reseed = Some(by),
                    Some(Act::Break { node, how, for_ms }) => {
                        raw.for_ms = for_ms;
                        let key = match how {
                            Break::Crash => &mut raw.crash,
                            Break::Wipe => &mut raw.wipe,
                            Break::Pause => &mut raw.pause,
                            Break::Cut => &mut raw.cut,
                        };
                        *key = Some(node);
                    }
                }
                raw
            }
            Branch::Message { id, fares } => {
                let raw = Raw { message: Some(id.to_string()), ..Raw::default() };
                match fares {
                    Fares::Drop => Raw { drop: Some(true), ..raw },
                    Fares::DelayMs(ms) => Raw { delay_ms: Some(ms), ..raw },
                    Fares::First => Raw { first: Some(true), ..raw },
                }
            }
        }
    }
}

impl Branch {
    /// The node that it breaks.
    pub fn node(&self) -> Option<u32> {
        match self {
            Branch::Moment { act: Some(Act::Break { node, .. }), .. } => Some(*node),
            Branch::Moment { .. } | Branch::Message { .. } => None,
        }
    }

    /// Whether it breaks something of nodes with disks alone.
    pub fn is_of_disks(&self) -> bool {
        let wipes = |act: &Act| matches!(act, Act::Break { how: Break::Wipe, .. });
        matches!(self, Branch::Moment { act: Some(act), .. } if wipes(act))
    }

    /// What of it is more than a run with faults for so many milliseconds can have.
    pub fn excess(&self, millis: u64) -> Option<String> {
        match self {
            Branch::Moment { at_ns, act: Some(Act::Break { for_ms, .. }) } => {
                let lasts = for_ms.unwrap_or(0).saturating_mul(1_000_000);
                let ends = at_ns.saturating_add(lasts);
                let is_late = ends > millis * 1_000_000 || *at_ns >= millis * 1_000_000;
                is_late.then(|| format!("it must begin and end within the run's {millis} ms"))
            }
            Branch::Message { fares: Fares::DelayMs(ms), .. } => {
                let known = 1..=MAX_DELAY_MS;
                let wrong = !known.contains(ms);
                wrong.then(|| format!("delay_ms is 1 to {MAX_DELAY_MS} (a minute)"))
            }
            Branch::Moment { .. } | Branch::Message { .. } => None,
        }
    }

    /// With half the time that it takes; none where that would be none.
    pub fn halved(&self) -> Option<Branch> {
        let half = |ms: u64| Some(ms / 2).filter(|ms| *ms > 0);
        match *self {
            Branch::Moment { at_ns, act: Some(Act::Break { node, how, for_ms }) } => {
                let for_ms = Some(half(for_ms.unwrap_or(DEFAULT_MS))?);
                Some(Branch::Moment { at_ns, act: Some(Act::Break { node, how, for_ms }) })
            }
            Branch::Message { id, fares: Fares::DelayMs(ms) } => {
                Some(Branch::Message { id, fares: Fares::DelayMs(half(ms)?) })
            }
            Branch::Moment { .. } | Branch::Message { .. } => None,
        }
    }

    /// For people, who call nodes so.
    pub fn tell(&self, name: &dyn Fn(u32) -> String) -> String {
        match self {
            Branch::Moment { at_ns, act } => {
                let at = Millis(*at_ns);
                match act {
                    None => format!("branch at {at}: nothing is otherwise"),
                    Some(Act::Reseed(by)) => {
                        format!("branch at {at}: the rest is drawn anew (reseed {by})")
                    }
                    Some(Act::Break { node, how, for_ms }) => {
                        let long = match for_ms {
                            Some(ms) => format!("{ms} ms"),
                            None => format!("{DEFAULT_MS} ms at most"),
                        };
                        format!(
                            "branch at {at}: {} {} {long}{}",
                            name(*node),
                            how.lasts(),
                            how.end()
                        )
                    }
                }
            }
            Branch::Message { id, fares } => {
                format!("branch: message {id} {}", Way::from(*fares))
            }
        }
    }
}

impl Break {
    /// The fault that it is.
    pub(super) fn kind(self, node: u32) -> Kind {
        match self {
            Break::Crash => Kind::Crash { node, wipe: false },
            Break::Wipe => Kind::Crash { node, wipe: true },
            Break::Pause => Kind::Pause { node },
            Break::Cut => Kind::Partition { nodes: vec![node] },
        }
    }

    fn lasts(self) -> &'static str {
        match self {
            Break::Crash | Break::Wipe => "down for",
            Break::Pause => "held up for",
            Break::Cut => "cut off from the others for",
        }
    }

    fn end(self) -> &'static str {
        if self == Break::Wipe { ", its disk lost" } else { "" }
    }
}

impl From<Fares> for Way {
    fn from(fares: Fares) -> Way {
        match fares {
            Fares::Drop => Way::Drop,
            Fares::DelayMs(ms) => Way::Late(ms * 1_000_000),
            Fares::First => Way::First,
        }
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tell(&|node| format!("node {node}")))
    }
}
