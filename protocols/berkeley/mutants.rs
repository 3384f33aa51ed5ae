//! Bugs to plant in a server, for a test of the simulator and its checkers: whoever looks for bugs
//! must find these. They exist only with the feature `mutants`, which nothing but that test turns
//! on; without it no config can name one, and [`Planted::has`] is false at compile time.

/// A bug, at one place of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "mutants", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "mutants", serde(rename_all = "snake_case"))]
pub enum Mutant {
    /// A clock that disagrees with all others is averaged with them.
    OutlierAveraged,
    /// One server, the lowest that answers, is not told how far to move.
    OneNotAdjusted,
    /// A clock is told to move half of the way.
    HalfAdjusted,
    /// A coordinator holds two rounds, and then no more.
    RoundsEnd,
}

#[cfg(feature = "mutants")]
impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 4] =
        [Mutant::OutlierAveraged, Mutant::OneNotAdjusted, Mutant::HalfAdjusted, Mutant::RoundsEnd];
}

crate::core::planted!();
