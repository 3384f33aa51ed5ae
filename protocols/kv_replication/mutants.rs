//! Bugs to plant in the store, for a test of the simulator and its checkers: whoever looks for bugs
//! must find these. They exist only with the feature `mutants`, which nothing but that test turns
//! on; without it no config can name one, and [`Planted::has`] is false at compile time.

/// A bug, at one place of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "mutants", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "mutants", serde(rename_all = "snake_case"))]
pub enum Mutant {
    /// The leader answers a PUT as soon as it has it itself.
    AnswerAtOnce,
    /// The leader answers a PUT as soon as one follower has it: a majority of three.
    AnswerAtMajority,
    /// The leader takes a PUT in a copy that is not in use yet for one that is.
    StagedCounts,
    /// A follower applies a Replication that does not follow the one before.
    AcceptGaps,
    /// A follower gives a client's PUT a timestamp of its own instead of passing it on.
    OwnTimestamp,
    /// After a reconnect the leader goes on one PUT too late.
    ResumeTooLate,
    /// After a reconnect the leader goes on from the follower's last acknowledgement, whatever the
    /// follower says that it still has.
    TrustOldAck,
    /// The leader never sends anything a second time.
    SendOnce,
    /// Two PUTs at a time go to the disk: the first is told to be stored before it is there.
    AnswerBeforeSync,
    /// PUTs do not go to the disk.
    NoRecord,
    /// A checkpoint misses its last entry.
    CheckpointMissesTail,
    /// A copy of the table misses its last entry.
    CopyMissesTail,
    /// Between two parts of a copy an entry is left out.
    CopySkipsEntry,
    /// A PUT that reaches a copy after a newer one of its key replaces that.
    KeyMovesBack,
    /// A follower takes no copy from a leader that has counted fewer than the one before it.
    TransferNotReset,
    /// A GET's timestamp is ignored.
    IgnoreTimestamp,
    /// A GET's timestamp for all keys is ignored.
    IgnoreApplied,
    /// A node that lost its data answers GETs before it has everything again.
    AnswerIncomplete,
    /// A node that lost its data takes itself for complete before it has what the leader named.
    CompleteTooEarly,
    /// A follower takes Replications before the leader has said from where.
    TakeUnresumed,
    /// A leader that lost its memory goes by the first follower that it hears from.
    HearOneFollower,
    /// A leader whose clock was set back stays with an epoch that followers take for an old one.
    LaterEpochIgnored,
    /// A forwarded PUT that arrives twice is applied twice.
    ForwardTwice,
    /// A restarted follower takes the answer to a PUT of its earlier life for one of this life.
    IncarnationIgnored,
    /// A PUT that waited too long is said not to be applied.
    TimeoutNotApplied,
    /// A PUT whose answer was lost with the link to the leader is said not to be applied.
    LinkLossNotApplied,
    /// A leader goes on from what is on its own disk, without asking.
    TrustOwnDisk,
    /// What a node that lacks something has is taken for all that there was.
    TrustPartial,
    /// A value is cut to 64 bytes.
    ValueCut,
    /// A copy of the table ends at its entry 256.
    CopyEndsEarly,
}

#[cfg(feature = "mutants")]
impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 30] = [
        Mutant::AnswerAtOnce,
        Mutant::AnswerAtMajority,
        Mutant::StagedCounts,
        Mutant::AcceptGaps,
        Mutant::OwnTimestamp,
        Mutant::ResumeTooLate,
        Mutant::TrustOldAck,
        Mutant::SendOnce,
        Mutant::AnswerBeforeSync,
        Mutant::NoRecord,
        Mutant::CheckpointMissesTail,
        Mutant::CopyMissesTail,
        Mutant::CopySkipsEntry,
        Mutant::KeyMovesBack,
        Mutant::TransferNotReset,
        Mutant::IgnoreTimestamp,
        Mutant::IgnoreApplied,
        Mutant::AnswerIncomplete,
        Mutant::CompleteTooEarly,
        Mutant::TakeUnresumed,
        Mutant::HearOneFollower,
        Mutant::LaterEpochIgnored,
        Mutant::ForwardTwice,
        Mutant::IncarnationIgnored,
        Mutant::TimeoutNotApplied,
        Mutant::LinkLossNotApplied,
        Mutant::TrustOwnDisk,
        Mutant::TrustPartial,
        Mutant::ValueCut,
        Mutant::CopyEndsEarly,
    ];
}

crate::core::planted!();

impl Planted {
    /// What a leader with a bug makes of what the replicas have.
    pub(super) fn distort(self, reports: &mut [super::history::Report]) {
        for report in reports {
            let history = &mut report.history;
            if self.has(Mutant::TrustPartial) && history.standing != super::Standing::Nothing {
                history.standing = super::Standing::Nothing;
                if history.applied.0 > 0 {
                    history.standing = super::Standing::Whole;
                }
            }
        }
    }
}
