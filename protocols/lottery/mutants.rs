//! Bugs to plant in the central, for a test of the simulator and its checkers: whoever looks for
//! bugs must find these. They exist only with the feature `mutants`, which nothing but that test
//! turns on; without it no config can name one, and [`Planted::has`] is false at compile time.

/// A bug, at one place of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "mutants", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "mutants", serde(rename_all = "snake_case"))]
pub enum Mutant {
    /// A batch is acknowledged, and appended to the file, but not recorded.
    NoRecord,
    /// What tells batches apart is only in memory.
    BatchesForgotten,
    /// Batches are taken as if they had no numbers.
    NumbersIgnored,
    /// What stood before a bad bet stays in the file.
    HalfBatchStays,
    /// The draw takes place when all agencies but one have finished.
    DrawEarly,
    /// The draw takes place again when an agency says again that it has finished.
    DrawTwice,
    /// Each agency is told everybody's winners.
    AllWinners,
    /// A snapshot has each agency's first 8 batches.
    SnapshotDropsBatches,
    /// A batch that was stored is refused when its agency has finished.
    RetryAfterEndRefused,
    /// A second node may speak for an agency, beside the first.
    TwoSpeakForOne,
    /// An agency is told its first 50 winners.
    WinnersCut,
}

#[cfg(feature = "mutants")]
impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 11] = [
        Mutant::NoRecord,
        Mutant::BatchesForgotten,
        Mutant::NumbersIgnored,
        Mutant::HalfBatchStays,
        Mutant::DrawEarly,
        Mutant::DrawTwice,
        Mutant::AllWinners,
        Mutant::SnapshotDropsBatches,
        Mutant::RetryAfterEndRefused,
        Mutant::TwoSpeakForOne,
        Mutant::WinnersCut,
    ];
}

crate::core::planted!();
