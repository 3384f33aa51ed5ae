//! What a scenario says of the lottery's agencies.

use super::text::Wire;
use serde::Deserialize;

/// What agencies do: the table `[workload.lottery]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The most batches that an agency sends: each draws 1 to this many.
    pub operations: u32,
    /// The most bets in a batch.
    pub bets: u64,
    /// How many of a hundred batches are large instead: they have 50 to 99 bets.
    pub large_percent: u64,
    /// How many of a hundred bets win, besides those that do by chance.
    pub winner_percent: u64,
    /// How many of a hundred agencies win with every bet.
    pub lucky_percent: u64,
    /// How many of a hundred batches have names that the file must quote.
    pub quote_percent: u64,
    /// How many of a hundred times an agency first does what it should not: it sends an acknowledged
    /// batch again, or with other bets, a batch with one bad bet, or bets after it has finished.
    pub misbehave_percent: u64,
    /// How many of a hundred requests lose their connection on the way or on the way back.
    pub cut_percent: u64,
    /// How many times each agency has its winners told.
    pub results: u32,
    /// The longest pause between two requests of an agency, in milliseconds.
    pub think_ms: u64,
    /// When an agency gives up an answer, in milliseconds.
    pub timeout_ms: u64,
    /// What the agencies speak, through the gateway's codec and in pieces that the seed cuts; without,
    /// their requests and replies are typed.
    pub wire: Option<Wire>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            operations: 12,
            bets: 4,
            large_percent: 0,
            winner_percent: 10,
            lucky_percent: 0,
            quote_percent: 20,
            misbehave_percent: 0,
            cut_percent: 0,
            results: 3,
            think_ms: 200,
            timeout_ms: 2_000,
            wire: None,
        }
    }
}

/// Bounds that keep a run finite, and documents apart.
const MAX_OPERATIONS: u32 = 10_000;
const MAX_BETS: u64 = 99;

impl Settings {
    /// What of them makes no sense in a run of so many milliseconds.
    pub fn check(&self, millis: u64, settle_millis: u64) -> Result<(), String> {
        let percents = [
            self.large_percent,
            self.winner_percent,
            self.lucky_percent,
            self.quote_percent,
            self.misbehave_percent,
            self.cut_percent,
        ];
        if percents.iter().any(|percent| *percent > 100) || self.cut_percent == 100 {
            return Err("workload: percents are at most 100, and cut_percent below".into());
        }
        let most = 1..=MAX_OPERATIONS;
        if self.operations > MAX_OPERATIONS || !most.contains(&self.results) {
            return Err(format!(
                "workload: operations at most {MAX_OPERATIONS}, results 1 to {MAX_OPERATIONS}"
            ));
        }
        if !(1..=MAX_BETS).contains(&self.bets) || self.timeout_ms == 0 {
            return Err(format!("workload: bets 1 to {MAX_BETS}, timeout_ms at least 1"));
        }
        let whole = millis + settle_millis;
        let steps = u64::from(self.operations) + u64::from(self.results);
        if self.timeout_ms > settle_millis || steps.saturating_mul(self.think_ms) > whole {
            return Err("workload: operations and results times think_ms must fit into seconds \
                        and settle_seconds, and timeout_ms into settle_seconds, or agencies would \
                        not come to an end"
                .into());
        }
        Ok(())
    }
}
