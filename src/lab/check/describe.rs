//! How texts and times are named in a verdict: short, on one line, never with raw bytes.

use node_core::Escaped;
use std::fmt;

/// The longest key or value that is shown in full, in characters.
const MAX_SHOWN: usize = 40;

/// A key or value, escaped, cut when long.
pub struct Short<'a>(pub &'a str);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(MAX_SHOWN) {
            Some((end, _)) => {
                let bytes = self.0.len();
                write!(f, "{}… {bytes} bytes", Escaped(&self.0.as_bytes()[..end]))
            }
            None => write!(f, "{}", Escaped(self.0.as_bytes())),
        }
    }
}

/// Nanoseconds as milliseconds: `12.345 ms`.
pub struct Millis(pub u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} ms", self.0 / 1_000_000, self.0 / 1_000 % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut() {
        let long = "é".repeat(50);
        assert_eq!(Short(&long).to_string(), format!("{}… 100 bytes", "é".repeat(40)));
    }
}
