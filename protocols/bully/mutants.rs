//! Bugs to plant in an elector, for a test of the simulator and its checkers: whoever looks for
//! bugs must find these. They exist only with the feature `mutants`, which nothing but that test
//! turns on; without it no config can name one, and [`Planted::has`] is false at compile time.

/// A bug, at one place of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "mutants", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "mutants", serde(rename_all = "snake_case"))]
pub enum Mutant {
    /// An announcement of a reign before the one that is known is taken.
    OlderTaken,
    /// An announcement is taken though a node above the announcer is known to live.
    HigherForgotten,
    /// A node that was heard from once counts as live as long as its link is up.
    HeardForEver,
    /// A coordinator answers Alive to whoever holds it coordinator in another reign.
    AnyEpochAlive,
    /// A new reign has the epoch of the one before.
    EpochKept,
    /// A coordinator does not ask whether one above it is there again.
    HigherUnchecked,
    /// A coordinator that hears of a later reign, as after a restart that set its clock back,
    /// announces a new one of its own and stays in the one that it has.
    AnnouncedOnly,
}

#[cfg(feature = "mutants")]
impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 7] = [
        Mutant::OlderTaken,
        Mutant::HigherForgotten,
        Mutant::HeardForEver,
        Mutant::AnyEpochAlive,
        Mutant::EpochKept,
        Mutant::HigherUnchecked,
        Mutant::AnnouncedOnly,
    ];
}

crate::core::planted!();
