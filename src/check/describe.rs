//! How operations and times are named in a verdict: short, on one line, never with raw bytes.

use super::history::{Kind, Op, Outcome};
use node_protocols::core::Escaped;
use std::fmt;

/// The longest key or value that is shown in full, in characters.
const MAX_SHOWN: usize = 40;

/// An operation in words: `client 1 PUT k=[v] (timestamp 3, 10..20 ns)`.
pub(crate) struct Described<'a>(pub &'a Op);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = self.0;
        let key = Short(&op.key);
        match op.op {
            Kind::Put => write!(f, "client {} PUT {key}", op.client)?,
            Kind::Get => write!(f, "client {} GET {key}", op.client)?,
        }
        if let Some(value) = &op.value {
            write!(f, "=[{}]", Short(value))?;
        }
        match op.outcome {
            Outcome::Ok => write!(f, " (timestamp {}, ", op.timestamp)?,
            Outcome::Null => write!(f, "=NULL (")?,
            Outcome::TryOther => write!(f, " (refused, ")?,
            Outcome::NotApplied => write!(f, " (not applied, ")?,
            Outcome::MayStillApply => write!(f, " (may still apply, ")?,
            Outcome::Unknown => write!(f, " (no answer, ")?,
        }
        write!(f, "{}..", op.invoke_ns)?;
        if let Some(return_ns) = op.return_ns {
            write!(f, "{return_ns}")?;
        }
        write!(f, " ns)")
    }
}

/// A key or value, escaped, cut when long.
pub(crate) struct Short<'a>(pub &'a str);

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
pub(crate) struct Millis(pub u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} ms", self.0 / 1_000_000, self.0 / 1_000 % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::kv_replication::testing::{get, lost, put};

    #[test]
    fn names_what_happened_on_one_line() {
        let show = |op: &Op| Described(op).to_string();
        assert_eq!(
            show(&put(1, "a\nb", 3, 10, 20)),
            "client 1 PUT k=[a\\nb] (timestamp 3, 10..20 ns)"
        );
        assert_eq!(show(&get(2, None, 0, 10, 20)), "client 2 GET k=NULL (10..20 ns)");
        assert_eq!(show(&lost(put(1, "a", 0, 10, 20))), "client 1 PUT k=[a] (no answer, 10.. ns)");
        let long = "é".repeat(50);
        assert_eq!(Short(&long).to_string(), format!("{}… 100 bytes", "é".repeat(40)));
    }
}
