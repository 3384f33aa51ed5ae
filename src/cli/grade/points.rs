//! Points, exactly: hundredths, so that a sum is the same in whatever order. Knows nothing else.

use std::fmt;
use std::ops::Add;

/// Hundredths of a point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Points(u64);

/// The most that one thing can give.
const MOST: f64 = 1e6;

/// Points as a file gives them; none where they are none.
pub fn points(given: f64) -> Option<Points> {
    let hundredths = (given * 100.0).round();
    let is_exact = (given * 100.0 - hundredths).abs() < 1e-6;
    (given > 0.0 && given <= MOST && is_exact && hundredths >= 1.0)
        .then_some(Points(hundredths as u64))
}

impl Points {
    /// The part `held` of `all` of it, rounded down: only all of them give everything.
    pub fn part(self, held: u64, all: u64) -> Points {
        let part = u128::from(self.0) * u128::from(held.min(all)) / u128::from(all.max(1));
        Points(part as u64)
    }

    /// Whether there are none.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// As JSON has it.
    pub fn number(self) -> serde_json::Number {
        let whole = self.0.is_multiple_of(100).then(|| (self.0 / 100).into());
        let of = |value: u64| serde_json::Number::from_f64(value as f64 / 100.0);
        whole.or_else(|| of(self.0)).unwrap_or_else(|| 0.into())
    }
}

impl Add for Points {
    type Output = Points;

    fn add(self, other: Points) -> Points {
        Points(self.0 + other.0)
    }
}

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match (self.0 / 100, self.0 % 100) {
            (whole, 0) => whole.to_string(),
            (whole, part) if part % 10 == 0 => format!("{whole}.{}", part / 10),
            (whole, part) => format!("{whole}.{part:02}"),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_exact() {
        let shown = |given| points(given).map(|one| one.to_string());
        assert_eq!(shown(10.0).as_deref(), Some("10"));
        assert_eq!(shown(0.1).as_deref(), Some("0.1"));
        assert_eq!(shown(2.05).as_deref(), Some("2.05"));
        for none in [0.0, -1.0, 0.001, 1.005, f64::NAN, f64::INFINITY, 1e7] {
            assert_eq!(shown(none), None, "{none}");
        }
        let ten = points(10.0).unwrap();
        assert_eq!(ten.part(2, 3).to_string(), "6.66");
        assert_eq!(ten.part(3, 3), ten);
        assert!(ten.part(0, 3).is_none());
        assert_eq!(ten.part(1, 4).number().to_string(), "2.5");
    }
}
