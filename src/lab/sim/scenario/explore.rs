//! `[explore]` of a scenario: between what all orders of a run are tried. Knows no run.

use crate::sim::moves::{Budget, MAX_NODES};
use crate::sim::world::chooser::Rules;
use serde::Deserialize;

/// The table `[explore]`: times of the run, in milliseconds, and how many of what there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Explore {
    /// When choosing begins. Until then everything comes by itself, and clients wait.
    pub from_ms: u64,
    /// When it ends; without, with the scenario's `seconds`.
    pub until_ms: Option<u64>,
    /// How many steps are chosen at most.
    pub depth: u32,
    /// After how long a node that stopped is due back.
    pub down_ms: u64,
    /// How many messages are lost.
    pub drops: u32,
    /// How many arrive twice.
    pub duplicates: u32,
    /// How many are overtaken by later ones.
    pub delays: u32,
    /// How many times a node's timers fire, or a node comes back, before messages under way arrive.
    pub timeouts: u32,
    /// How many times a node stops.
    pub crashes: u32,
}

/// The most steps: a run's order is a number of so many bits.
pub const MAX_DEPTH: u32 = 128;
/// The most faults of a kind.
const MAX_FAULTS: u32 = 8;

impl Default for Explore {
    fn default() -> Explore {
        Explore {
            from_ms: 0,
            until_ms: None,
            depth: MAX_DEPTH,
            down_ms: 1_000,
            drops: 0,
            duplicates: 0,
            delays: 0,
            timeouts: 0,
            crashes: 0,
        }
    }
}

impl Explore {
    /// Whether it makes sense in a scenario of so many nodes and milliseconds.
    ///
    /// # Errors
    /// Which key breaks which rule, in one line.
    pub fn check(&self, nodes: usize, millis: u64) -> Result<(), String> {
        if nodes > MAX_NODES {
            return Err(format!("at most {MAX_NODES} nodes: all orders of more are too many"));
        }
        if !(1..=MAX_DEPTH).contains(&self.depth) {
            return Err(format!("depth is 1 to {MAX_DEPTH}"));
        }
        let until = self.until_ms.unwrap_or(millis);
        if self.from_ms >= until || until > millis {
            return Err(
                "from_ms is before until_ms, which is at most the scenario's seconds".into()
            );
        }
        if self.down_ms > millis {
            return Err("down_ms is at most the scenario's seconds".into());
        }
        match self.budget().named().iter().find(|(_, count)| *count > MAX_FAULTS) {
            Some((name, _)) => Err(format!("{name} is at most {MAX_FAULTS}")),
            None => Ok(()),
        }
    }

    /// How many faults there may be.
    pub fn budget(&self) -> Budget {
        let Explore { drops, duplicates, delays, timeouts, crashes, .. } = *self;
        Budget { drops, duplicates, delays, timeouts, crashes }
    }

    /// What a run of so many milliseconds chooses between, with these faults.
    pub fn rules(&self, millis: u64, budget: Budget) -> Rules {
        let ms = |ms: u64| ms * 1_000_000;
        Rules {
            from: ms(self.from_ms),
            until: ms(self.until_ms.unwrap_or(millis)),
            depth: self.depth,
            down: ms(self.down_ms),
            budget,
            syncs: self.crashes > 0,
        }
    }
}
