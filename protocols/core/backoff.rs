//! Exponential back-off: how long whoever redials or retries waits between its attempts. For
//! protocols, drivers and clients alike; knows no clock, so the waiting is the caller's.

use super::rng::Rng;
use ::core::time::Duration;

/// The waits between attempts: doubled from the first to the longest.
///
/// ```
/// use core::time::Duration;
/// use node_core::Backoff;
///
/// let (first, longest) = (Duration::from_millis(100), Duration::from_millis(250));
/// let mut backoff = Backoff::new(first, longest);
/// let waits = [100, 200, 250, 250].map(Duration::from_millis);
/// for wait in waits {
///     assert_eq!(backoff.wait(), wait);
///     backoff.failed();
/// }
/// backoff.succeeded();
/// assert_eq!(backoff.wait(), first);
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    wait: Duration,
}

impl Backoff {
    /// Begins with `first`, and never waits more than `longest`.
    pub fn new(first: Duration, longest: Duration) -> Backoff {
        let first = first.min(longest);
        Backoff { first, longest, wait: first }
    }

    /// How long to wait before the next attempt.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// The same with jitter: half of it or more, so that those who lost the same peer at once do
    /// not dial it in step for ever.
    pub fn jittered(&self, rng: &mut Rng) -> Duration {
        let half = self.wait / 2;
        let part = rng.below(JITTER_STEPS.into()) as u32;
        half + half * part / JITTER_STEPS
    }

    /// Whether no attempt has failed since the last that did not.
    pub fn is_fresh(&self) -> bool {
        self.wait == self.first
    }

    /// An attempt failed: the next wait is twice as long.
    pub fn failed(&mut self) {
        self.wait = self.wait.saturating_mul(2).min(self.longest);
    }

    /// An attempt succeeded: the next wait is the first.
    pub fn succeeded(&mut self) {
        self.wait = self.first;
    }
}

/// How finely jitter is drawn.
const JITTER_STEPS: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_takes_up_to_half_away_and_nothing_else() {
        let (mut rng, wait) = (Rng::stream(1, "backoff"), Duration::from_millis(100));
        let backoff = Backoff::new(wait, wait);
        let waits: [Duration; 100] = core::array::from_fn(|_| backoff.jittered(&mut rng));
        assert!(waits.iter().all(|one| (wait / 2..wait).contains(one)), "{waits:?}");
        let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
        assert!(*most - *least > wait / 4, "{least:?} to {most:?}");
    }

    #[test]
    fn it_neither_overflows_nor_passes_its_longest() {
        let mut backoff = Backoff::new(Duration::from_secs(3), Duration::MAX);
        for _ in 0..100 {
            backoff.failed();
        }
        assert_eq!(backoff.wait(), Duration::MAX);
        let short = Backoff::new(Duration::from_secs(3), Duration::from_secs(1));
        assert_eq!(short.wait(), Duration::from_secs(1));
    }
}
