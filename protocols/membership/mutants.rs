//! Bugs to plant in the reference server, for a test of the simulator and its checkers: whoever
//! looks for bugs must find these. They exist only with the feature `mutants`, which nothing but
//! that test turns on; without it no config can name one, and [`Planted::has`] is false at compile
//! time.

/// A bug, at one place of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "mutants", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "mutants", serde(rename_all = "snake_case"))]
pub enum Mutant {
    /// A rank is not in the log: after a restart another gets it.
    RankNotRecorded,
    /// Nobody is taken off the list while anybody is heard.
    LatestExpires,
    /// Time in which the reference server was held up counts as everybody's silence.
    HeldUpCounts,
    /// Half of the time is enough to be taken off the list.
    EarlyOff,
    /// It looks at the list as seldom as the timeout is long.
    LooksSeldom,
}

#[cfg(feature = "mutants")]
impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 5] = [
        Mutant::RankNotRecorded,
        Mutant::LatestExpires,
        Mutant::HeldUpCounts,
        Mutant::EarlyOff,
        Mutant::LooksSeldom,
    ];
}

crate::core::planted!();
