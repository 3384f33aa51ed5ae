//! What a load counts: operations, how long their answers took, and what went wrong.

use super::link::{Failure, Trouble};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// Latencies up to an hour, in nanoseconds, to three digits.
const LONGEST_NS: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

/// What was counted.
pub struct Counts {
    /// How many operations were asked.
    pub asked: u64,
    /// How many of them were answered.
    pub answered: u64,
    /// When the last answer came, in nanoseconds from the beginning.
    pub last_answer_ns: u64,
    /// How long answers took, in nanoseconds.
    latencies: Histogram<u64>,
    troubles: BTreeMap<Trouble, (u64, String)>,
}

/// How long answers took, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Latency {
    /// Half of them took no longer.
    pub median_ns: u64,
    /// 99 of a hundred.
    pub p99_ns: u64,
    /// All of them.
    pub max_ns: u64,
}

impl Counts {
    pub(super) fn new() -> Result<Counts, String> {
        let latencies = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS)
            .map_err(|error| format!("no histogram: {error}"))?;
        let troubles = BTreeMap::new();
        Ok(Counts { asked: 0, answered: 0, last_answer_ns: 0, latencies, troubles })
    }

    pub(super) fn answer(&mut self, asked_ns: u64, now_ns: u64) {
        self.answered += 1;
        self.last_answer_ns = now_ns;
        self.latencies.saturating_record(now_ns.saturating_sub(asked_ns).max(1));
    }

    pub(super) fn trouble(&mut self, (trouble, words): Failure) {
        self.troubles.entry(trouble).or_insert((0, words)).0 += 1;
    }

    /// How many operations got no answer.
    pub fn unanswered(&self) -> u64 {
        self.asked - self.answered
    }

    /// How many answers came each second, from the beginning to the last one.
    pub fn per_second(&self) -> f64 {
        self.answered as f64 / (self.last_answer_ns as f64 / 1e9).max(1e-9)
    }

    /// How long answers took; none where none came.
    pub fn latency(&self) -> Option<Latency> {
        let at = |quantile| self.latencies.value_at_quantile(quantile);
        let max_ns = self.latencies.max();
        let latency = Latency { median_ns: at(0.5), p99_ns: at(0.99), max_ns };
        (!self.latencies.is_empty()).then_some(latency)
    }

    /// What went wrong with connections: its name, how often, and the first words about it, which
    /// may be a server's.
    pub fn troubles(&self) -> impl Iterator<Item = (&'static str, u64, &str)> {
        self.troubles.iter().map(|(trouble, (count, first))| (trouble.name(), *count, &**first))
    }
}
