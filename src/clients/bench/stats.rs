//! What every load counts: latencies, and what goes wrong; and how both are shown.

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
    /// The server does not take the client, or not what it asks for.
    Refused,
    /// The connection was closed or broke.
    Closed,
    /// The server sent what makes no sense.
    Malformed,
    /// No greeting, no reply or no message in time; the connection is given up.
    TimedOut,
    /// An operation was in flight on a connection that ended.
    Lost,
    /// TRY_OTHER_SERVER_OR_LATER.
    TryOther,
    /// A PUT without effect.
    NotApplied,
    /// A PUT that may take effect.
    MayStillApply,
    /// A message under the topic that is none of this run, or not as it was published.
    Foreign,
}

const TROUBLES: [(Trouble, &str); 10] = [
    (Trouble::ConnectFailed, "connect_failed"),
    (Trouble::Refused, "refused"),
    (Trouble::Closed, "closed"),
    (Trouble::Malformed, "malformed"),
    (Trouble::TimedOut, "timed_out"),
    (Trouble::Lost, "lost"),
    (Trouble::TryOther, "try_other"),
    (Trouble::NotApplied, "not_applied"),
    (Trouble::MayStillApply, "may_still_apply"),
    (Trouble::Foreign, "foreign"),
];

/// How a connection ended: the kind, and words about it.
pub type Failure = (Trouble, String);

/// How often what went wrong, with the first words about each kind.
#[derive(Default)]
pub struct Troubles([(u64, Option<String>); TROUBLES.len()]);

impl Troubles {
    /// Something went wrong.
    pub fn add(&mut self, trouble: Trouble, words: impl FnOnce() -> String) {
        let (count, first) = &mut self.0[trouble as usize];
        *count += 1;
        first.get_or_insert_with(words);
    }

    /// How much went wrong.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(count, _)| count).sum()
    }

    /// What there was, for a report.
    pub fn errors(&self) -> Errors<'_> {
        let some = TROUBLES.iter().zip(&self.0).filter(|(_, (count, _))| *count > 0);
        let some = some.map(|(&(_, name), (count, first))| {
            (name, Counted { count: *count, first: first.as_deref() })
        });
        Errors(some.collect())
    }
}

/// Errors by their names.
#[derive(Serialize)]
pub struct Errors<'a>(BTreeMap<&'static str, Counted<'a>>);

#[derive(Serialize)]
struct Counted<'a> {
    count: u64,
    first: Option<&'a str>,
}

/// A line for each, and nothing that a server sent goes out unescaped.
impl fmt::Display for Errors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            writeln!(f, "errors: none")?;
        }
        for (name, error) in &self.0 {
            write!(f, "errors: {name} {}", error.count)?;
            if let Some(first) = error.first.filter(|first| !first.is_empty()) {
                write!(f, ", the first: {}", Escaped(first.as_bytes()))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// An empty histogram of latencies.
pub fn histogram() -> Result<Histogram<u64>, String> {
    Histogram::new_with_bounds(1, LONGEST_NS, DIGITS)
        .map_err(|error| format!("no histogram: {error}"))
}

/// Times in microseconds.
#[derive(Serialize)]
pub struct Latency {
    pub p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

impl Latency {
    /// Of nanoseconds; none of nothing.
    pub fn of(histogram: &Histogram<u64>) -> Option<Latency> {
        let us = |ns: u64| ns as f64 / 1e3;
        let at = |quantile| us(histogram.value_at_quantile(quantile));
        (!histogram.is_empty()).then(|| Latency {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(histogram.max()),
        })
    }
}

/// The table's head, over columns as `Display` fills them.
pub const LATENCY_HEAD: &str = "     p50 µs     p90 µs     p99 µs   p99.9 µs     max µs";

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        [self.p50_us, self.p90_us, self.p99_us, self.p999_us, self.max_us]
            .iter()
            .try_for_each(|us| write!(f, "{us:>11.1}"))
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
    fn the_first_words_of_each_kind_are_kept_and_shown_escaped() {
        let mut troubles = Troubles::default();
        assert_eq!(troubles.errors().to_string(), "errors: none\n");
        troubles.add(Trouble::Closed, || "first\x1b".into());
        troubles.add(Trouble::Closed, || "second".into());
        troubles.add(Trouble::Lost, String::new);
        assert_eq!(troubles.total(), 3);
        let text = troubles.errors().to_string();
        assert_eq!(text, "errors: closed 2, the first: first\\u{1b}\nerrors: lost 1\n");
    }
}
