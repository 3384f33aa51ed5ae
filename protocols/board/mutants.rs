//! Bugs to plant in the proxy, for a test of the simulator and its checkers: whoever looks for bugs
//! must find these. They exist only with the feature `mutants`, which nothing but that test turns
//! on; without it no config can name one, and [`Planted::has`] is false at compile time.

/// A bug, at one place of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "mutants", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "mutants", serde(rename_all = "snake_case"))]
pub enum Mutant {
    /// A post that comes after a later one of its user is delivered too.
    LateNotDropped,
    /// A post that arrives twice is delivered twice.
    TwiceDelivered,
    /// A post that arrives twice is said, the second time, not to be published.
    AgainSaidLate,
    /// Who did not read is told of one missed message less.
    MissedMiscounted,
}

#[cfg(feature = "mutants")]
impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 4] = [
        Mutant::LateNotDropped,
        Mutant::TwiceDelivered,
        Mutant::AgainSaidLate,
        Mutant::MissedMiscounted,
    ];
}

crate::core::planted!();
