//! Random numbers that a seed determines: SplitMix64 (Steele, Lea, Flood 2014).
//!
//! Streams are independent by label: a stream is seeded with a hash of (seed, label), so that
//! drawing more from one never shifts another. Not for secrets.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream that `label` names under `seed`.
    pub fn stream(seed: u64, label: &str) -> Rng {
        Rng(xxh3_64_with_seed(label.as_bytes(), seed))
    }

    /// Goes on as another stream, which `by` and all that came before name: two that were
    /// independent stay so.
    pub fn redraw(&mut self, by: u64) {
        self.0 = xxh3_64_with_seed(&self.0.to_le_bytes(), by);
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..bound` (Lemire's multiply and shift; the bias is below 2^-32 for the
    /// bounds in use). `bound` must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a draw from nothing has no answer");
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_different_labels_are_different_and_repeat() {
        let draw = |label| Rng::stream(7, label).next_u64();
        assert_eq!(draw("a"), draw("a"));
        assert_ne!(draw("a"), draw("b"));
        assert_ne!(Rng::stream(8, "a").next_u64(), draw("a"));
    }

    #[test]
    fn a_stream_that_is_drawn_anew_is_another_and_repeats() {
        let draw = |label, by| {
            let mut rng = Rng::stream(7, label);
            rng.redraw(by);
            rng.next_u64()
        };
        assert_eq!(draw("a", 1), draw("a", 1));
        assert_ne!(draw("a", 1), draw("a", 2));
        assert_ne!(draw("a", 1), draw("b", 1));
        assert_ne!(draw("a", 0), Rng::stream(7, "a").next_u64());
    }

    #[test]
    fn below_stays_below_and_reaches_every_value() {
        let mut rng = Rng::stream(1, "t");
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[rng.below(5) as usize] = true;
        }
        assert_eq!(seen, [true; 5]);
    }
}
