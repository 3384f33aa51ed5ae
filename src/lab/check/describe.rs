//! How things are named in a verdict and by its witnesses, everywhere alike: texts, times, nodes
//! and clients. Short, on one line, never with raw bytes.

use node_core::Escaped;
use std::fmt;

/// The longest key or value that is shown in full, in characters.
const MAX_SHOWN: usize = 24;

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

/// A line of what together says the cause: `① older read: GET k returned …`, from place 0 on.
pub fn because(place: usize, role: &str, says: &str) -> String {
    const ONE: u32 = '①' as u32;
    let number = u32::try_from(place).ok().filter(|place| *place < 20);
    let number = number.and_then(|place| char::from_u32(ONE + place)).unwrap_or('·');
    format!("{number} {}: {}", Escaped(role.as_bytes()), Escaped(says.as_bytes()))
}

/// Nanoseconds as milliseconds: `12.3 ms`. Cut, not rounded, so that what is later never shows as
/// earlier.
pub struct Millis(pub u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} ms", self.0 / 1_000_000, self.0 / 100_000 % 10)
    }
}

/// From when to when, in nanoseconds: `10.0 to 25.5 ms`, or `sent at 10.0 ms` where there is no
/// end.
pub struct Span(pub u64, pub Option<u64>);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(end) => {
                write!(f, "{}.{} to {}", self.0 / 1_000_000, self.0 / 100_000 % 10, Millis(end))
            }
            None => write!(f, "sent at {}", Millis(self.0)),
        }
    }
}

/// A length of time of which fractions of a millisecond matter: `12.345 ms`.
pub struct Fine(pub u64);

impl fmt::Display for Fine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} ms", self.0 / 1_000_000, self.0 / 1_000 % 1_000)
    }
}

/// The numbers from here on are of clients that come in the end, one for each node.
pub const FINALS: u64 = 1_000_000_000;
/// From here on of clients that set nodes up before all others.
pub const SETUPS: u64 = 2_000_000_000;
/// From here on of clients that come one after the other, for one question each.
pub const NEWCOMERS: u64 = 1 << 32;

/// A client by its number: `client 3`, `final reader 1`, `setup 1`, `newcomer 1`.
pub struct Client(pub u64);

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            number @ NEWCOMERS.. => write!(f, "newcomer {}", number - NEWCOMERS),
            number @ SETUPS.. => write!(f, "setup {}", number - SETUPS + 1),
            number @ FINALS.. => write!(f, "final reader {}", number - FINALS + 1),
            number => write!(f, "client {number}"),
        }
    }
}

/// A node by its id: `node 2`.
pub struct Node(pub u32);

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut() {
        let long = "é".repeat(50);
        assert_eq!(Short(&long).to_string(), format!("{}… 100 bytes", "é".repeat(24)));
    }

    #[test]
    fn times_are_cut_to_a_tenth_of_a_millisecond() {
        assert_eq!(Millis(965_899_999).to_string(), "965.8 ms");
        assert_eq!(Fine(965_899_999).to_string(), "965.899 ms");
        assert_eq!(Span(10_050_000, Some(25_500_000)).to_string(), "10.0 to 25.5 ms");
        assert_eq!(Span(10_050_000, None).to_string(), "sent at 10.0 ms");
    }

    #[test]
    fn clients_with_a_part_of_their_own_are_called_by_it() {
        let names = [3, FINALS, SETUPS + 1, NEWCOMERS + 2].map(|number| Client(number).to_string());
        assert_eq!(names, ["client 3", "final reader 1", "setup 2", "newcomer 2"]);
    }
}
