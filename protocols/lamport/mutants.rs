//! Bugs to plant in a caller, for a test of the simulator and its checkers: whoever looks for bugs
//! must find these. They exist only with the feature `mutants`, which nothing but that test turns
//! on; without it no config can name one, and [`Planted::has`] is false at compile time. Bugs of
//! the clock itself are values of `LamportRule`.

/// A bug, at one place of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "mutants", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "mutants", serde(rename_all = "snake_case"))]
pub enum Mutant {
    /// An answer that nobody waits for, late or doubled, is counted.
    AnyAnswerTaken,
    /// A call that is given up is not counted.
    GivenUpUncounted,
}

#[cfg(feature = "mutants")]
impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 2] = [Mutant::AnyAnswerTaken, Mutant::GivenUpUncounted];
}

crate::core::planted!();
