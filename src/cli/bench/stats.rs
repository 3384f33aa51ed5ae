//! What is counted while the load runs, and how it is shown afterwards.

use super::Plan;
use super::workload::Kind;
use hdrhistogram::Histogram;
use node_protocols::core::Escaped;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Latencies up to an hour, in nanoseconds, to three digits.
const LONGEST_NS: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// No connection.
    ConnectFailed,
    /// The node does not take the client.
    Refused,
    /// The connection was closed or broke.
    Closed,
    /// The node sent what makes no sense.
    Malformed,
    /// No greeting or no reply in time; the connection is given up.
    TimedOut,
    /// An operation was in flight on a connection that ended.
    Lost,
    /// TRY_OTHER_SERVER_OR_LATER.
    TryOther,
    /// A PUT without effect.
    NotApplied,
    /// A PUT that may take effect.
    MayStillApply,
}

const TROUBLES: [(Trouble, &str); 9] = [
    (Trouble::ConnectFailed, "connect_failed"),
    (Trouble::Refused, "refused"),
    (Trouble::Closed, "closed"),
    (Trouble::Malformed, "malformed"),
    (Trouble::TimedOut, "timed_out"),
    (Trouble::Lost, "lost"),
    (Trouble::TryOther, "try_other"),
    (Trouble::NotApplied, "not_applied"),
    (Trouble::MayStillApply, "may_still_apply"),
];

/// The counters of a run.
pub struct Stats {
    puts: Histogram<u64>,
    gets: Histogram<u64>,
    /// How late operations were sent, against their schedule.
    lag: Histogram<u64>,
    done: u64,
    troubles: [(u64, Option<String>); TROUBLES.len()],
    window_ns: (u64, u64),
}

impl Stats {
    /// Operations count when they are answered within `window_ns`, from the start of the run.
    pub fn new(window_ns: (u64, u64)) -> Result<Stats, String> {
        let histogram = || {
            Histogram::new_with_bounds(1, LONGEST_NS, DIGITS)
                .map_err(|error| format!("no histogram: {error}"))
        };
        let (puts, gets, lag) = (histogram()?, histogram()?, histogram()?);
        Ok(Stats { puts, gets, lag, done: 0, troubles: Default::default(), window_ns })
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

    /// Something went wrong; the first words about each kind are kept.
    pub fn trouble(&mut self, trouble: Trouble, words: impl FnOnce() -> String) {
        let (count, first) = &mut self.troubles[trouble as usize];
        *count += 1;
        first.get_or_insert_with(words);
    }

    /// How many operations were answered, from the beginning.
    pub fn total_done(&self) -> u64 {
        self.done
    }

    /// How much went wrong, from the beginning.
    pub fn total_troubles(&self) -> u64 {
        self.troubles.iter().map(|(count, _)| count).sum()
    }

    /// The run is over.
    pub fn report<'a>(&'a self, plan: &'a Plan, leftover: Leftover) -> Report<'a> {
        let seconds = (self.window_ns.1 - self.window_ns.0) as f64 / 1e9;
        let ops = self.puts.len() + self.gets.len();
        let errors = TROUBLES.iter().zip(&self.troubles).filter(|(_, (count, _))| *count > 0);
        let errors = errors.map(|(&(_, name), (count, first))| {
            (name, Errors { count: *count, first: first.as_deref() })
        });
        Report {
            ops,
            ops_per_s: ops as f64 / seconds,
            put: Latency::of(&self.puts, seconds),
            get: Latency::of(&self.gets, seconds),
            send_lag: Latency::of(&self.lag, seconds),
            errors: errors.collect(),
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
    put: Option<Latency>,
    get: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    send_lag: Option<Latency>,
    errors: BTreeMap<&'static str, Errors<'a>>,
    #[serde(flatten)]
    leftover: Leftover,
    parameters: &'a Plan,
}

#[derive(Serialize)]
struct Errors<'a> {
    count: u64,
    first: Option<&'a str>,
}

/// Times in microseconds.
#[derive(Serialize)]
struct Latency {
    ops: u64,
    ops_per_s: f64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>, seconds: f64) -> Option<Latency> {
        let us = |ns: u64| ns as f64 / 1e3;
        let at = |quantile| us(histogram.value_at_quantile(quantile));
        (!histogram.is_empty()).then(|| Latency {
            ops: histogram.len(),
            ops_per_s: histogram.len() as f64 / seconds,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(histogram.max()),
        })
    }
}

/// The table for people.
impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.parameters)?;
        writeln!(
            f,
            "{:8}{:>12}{:>12}{:>11}{:>11}{:>11}{:>11}{:>11}",
            "", "ops", "ops/s", "p50 µs", "p90 µs", "p99 µs", "p99.9 µs", "max µs"
        )?;
        for (name, latency) in
            [("PUT", &self.put), ("GET", &self.get), ("send lag", &self.send_lag)]
        {
            let Some(l) = latency else { continue };
            writeln!(
                f,
                "{name:8}{:>12}{:>12.0}{:>11.1}{:>11.1}{:>11.1}{:>11.1}{:>11.1}",
                l.ops, l.ops_per_s, l.p50_us, l.p90_us, l.p99_us, l.p999_us, l.max_us
            )?;
        }
        if self.ops == 0 {
            writeln!(f, "no operation was answered in the measured time")?;
        }
        if self.errors.is_empty() {
            writeln!(f, "errors: none")?;
        }
        for (name, errors) in &self.errors {
            write!(f, "errors: {name} {}", errors.count)?;
            if let Some(first) = errors.first.filter(|first| !first.is_empty()) {
                write!(f, ", the first: {}", Escaped(first.as_bytes()))?;
            }
            writeln!(f)?;
        }
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
    fn every_trouble_has_its_own_name_at_its_own_place() {
        for (place, (trouble, _)) in TROUBLES.iter().enumerate() {
            assert_eq!(*trouble as usize, place);
        }
    }

    #[test]
    fn only_what_is_answered_in_the_window_counts_and_from_when_it_was_due() {
        let mut stats = Stats::new((1_000, 1_000_001_000)).unwrap();
        stats.done(Kind::Put, 500, 999);
        stats.done(Kind::Put, 500, 2_500);
        stats.done(Kind::Get, 500, 1_000_001_000);
        stats.trouble(Trouble::Closed, || "first".into());
        stats.trouble(Trouble::Closed, || "second".into());
        let plan = Plan::default();
        let report = stats.report(&plan, Leftover::default());
        assert_eq!((report.ops, stats.total_done()), (1, 3));
        let put = report.put.as_ref().unwrap();
        assert!((put.p50_us - 2.0).abs() < 0.01, "{}", put.p50_us);
        assert!(report.get.is_none());
        assert_eq!(report.errors["closed"].count, 2);
        assert_eq!(report.errors["closed"].first, Some("first"));
    }
}
