//! What is counted while the load runs, and how it is shown afterwards.

use super::Plan;
use super::workload::Kind;
use crate::clients::bench::stats::{Errors, LATENCY_HEAD, Latency, Troubles, histogram};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt;

/// The counters of a run.
pub struct Stats {
    puts: Histogram<u64>,
    gets: Histogram<u64>,
    /// How late operations were sent, against their schedule.
    lag: Histogram<u64>,
    done: u64,
    /// What went wrong.
    pub troubles: Troubles,
    window_ns: (u64, u64),
}

impl Stats {
    /// Operations count when they are answered within `window_ns`, from the start of the run.
    pub fn new(window_ns: (u64, u64)) -> Result<Stats, String> {
        let (puts, gets, lag) = (histogram()?, histogram()?, histogram()?);
        Ok(Stats { puts, gets, lag, done: 0, troubles: Troubles::default(), window_ns })
    }

    /// An operation was answered.
    pub fn done(&mut self, kind: Kind, due_ns: u64, now_ns: u64) {
        self.done += 1;
        if (self.window_ns.0..self.window_ns.1).contains(&now_ns) {
            let histogram = match kind {
                Kind::Put => &mut self.puts,
                Kind::Get => &mut self.gets,
            };
            histogram.saturating_record((now_ns - due_ns).max(1));
        }
    }

    /// An operation that was due earlier is sent.
    pub fn sent_late(&mut self, due_ns: u64, now_ns: u64) {
        if now_ns >= self.window_ns.0 {
            self.lag.saturating_record((now_ns - due_ns).max(1));
        }
    }

    /// How many operations were answered, from the beginning.
    pub fn total_done(&self) -> u64 {
        self.done
    }

    /// The run is over.
    pub fn report<'a>(&'a self, plan: &'a Plan, leftover: Leftover) -> Report<'a> {
        let seconds = (self.window_ns.1 - self.window_ns.0) as f64 / 1e9;
        let ops = self.puts.len() + self.gets.len();
        Report {
            ops,
            ops_per_s: ops as f64 / seconds,
            put: Timed::of(&self.puts, seconds),
            get: Timed::of(&self.gets, seconds),
            send_lag: Timed::of(&self.lag, seconds),
            errors: self.troubles.errors(),
            leftover,
            parameters: plan,
        }
    }
}

/// What the run's end cut short.
#[derive(Default, Serialize)]
pub struct Leftover {
    /// Operations without a reply yet.
    pub in_flight: u64,
    /// How long the oldest of them had been waiting, in microseconds.
    pub oldest_in_flight_us: u64,
    /// Operations that were due and not sent; only with a rate.
    pub unsent: u64,
}

/// The run's result.
#[derive(Serialize)]
pub struct Report<'a> {
    /// Operations answered in the measured time.
    pub ops: u64,
    ops_per_s: f64,
    put: Option<Timed>,
    get: Option<Timed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    send_lag: Option<Timed>,
    errors: Errors<'a>,
    #[serde(flatten)]
    leftover: Leftover,
    parameters: &'a Plan,
}

/// Operations of one kind.
#[derive(Serialize)]
struct Timed {
    ops: u64,
    ops_per_s: f64,
    #[serde(flatten)]
    latency: Latency,
}

impl Timed {
    fn of(histogram: &Histogram<u64>, seconds: f64) -> Option<Timed> {
        let ops = histogram.len();
        let timed = |latency| Timed { ops, ops_per_s: ops as f64 / seconds, latency };
        Latency::of(histogram).map(timed)
    }
}

/// The table for people.
impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.parameters)?;
        writeln!(f, "{:8}{:>12}{:>12}{LATENCY_HEAD}", "", "ops", "ops/s")?;
        for (name, timed) in [("PUT", &self.put), ("GET", &self.get), ("send lag", &self.send_lag)]
        {
            let Some(Timed { ops, ops_per_s, latency }) = timed else { continue };
            writeln!(f, "{name:8}{ops:>12}{ops_per_s:>12.0}{latency}")?;
        }
        if self.ops == 0 {
            writeln!(f, "no operation was answered in the measured time")?;
        }
        write!(f, "{}", self.errors)?;
        let Leftover { in_flight, oldest_in_flight_us, unsent } = self.leftover;
        write!(f, "at the end: {in_flight} in flight, the oldest for {oldest_in_flight_us} µs")?;
        if unsent > 0 {
            write!(
                f,
                "; {unsent} DUE BUT NOT SENT: the servers or this load cannot keep the rate"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_answered_in_the_window_counts_and_from_when_it_was_due() {
        let mut stats = Stats::new((1_000, 1_000_001_000)).unwrap();
        stats.done(Kind::Put, 500, 999);
        stats.done(Kind::Put, 500, 2_500);
        stats.done(Kind::Get, 500, 1_000_001_000);
        let plan = Plan::default();
        let report = stats.report(&plan, Leftover::default());
        assert_eq!((report.ops, stats.total_done()), (1, 3));
        let put = report.put.as_ref().unwrap();
        assert!((put.latency.p50_us - 2.0).abs() < 0.01, "{}", put.latency.p50_us);
        assert!(report.get.is_none());
    }
}
