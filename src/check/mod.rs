//! Verdicts on histories: pure functions that say whether a named property held in a run.
//!
//! A checker knows only what clients saw and what replicas held in the end ([`history`] has the
//! form), what the lottery's central left in its file, and when nodes started, stopped, sent, received,
//! said who coordinates, and what their clocks showed ([`timeline`]); it knows nothing of a protocol's messages or state, so the same verdicts hold for simulated and
//! for real runs.
//!
//! **Time.** All times are of one clock. An operation precedes another when its answer came
//! strictly before the other was sent; equal times count as overlapping. One client's operations
//! are in order even when one is sent at the very time at which the one before was answered. A PUT
//! without a certain outcome may take effect at any time after it was sent, or never.
//!
//! **Start.** A history begins with an empty store and holds every client that wrote to it.

pub(crate) mod describe;
pub mod history;
mod read;
pub(crate) mod search;
pub mod timeline;
pub(crate) mod zones;

pub use self::read::ReadError;

use self::history::{Board, Kind, Lottery, Op, Outcome, Replica};
use self::timeline::{Happening, What};
use crate::study::{Bounds, Property, Verdict};

/// A run as its clients saw it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// The operations, in any order.
    pub ops: Vec<Op>,
    /// What replicas held at the end; empty when nobody looked.
    pub replicas: Vec<Replica>,
    /// A run of the lottery; none when there was none.
    pub lottery: Option<Lottery>,
    /// A run of the bulletin board; none when there was none.
    pub board: Option<Board>,
    /// What nodes did, in the order in which it happened on each node; empty when nobody looked.
    pub timeline: Vec<Happening>,
    /// What elections, clocks and lists are held against.
    pub bounds: Bounds,
    /// Whether who wrote it saw all nodes from outside: who was held up, and when faults were. The
    /// simulator does; traces of real nodes do not.
    pub is_simulated: bool,
}

impl History {
    /// Whether something happened.
    pub fn saw(&self, is: fn(&What) -> bool) -> bool {
        self.timeline.iter().any(|one| is(&one.what))
    }
}

/// Says whether `property` held in `history`.
pub fn check(property: &Property, history: &History) -> Verdict {
    (property.judge)(history)
}

impl Op {
    /// A PUT that was answered with PUT_OK.
    pub(crate) fn is_acknowledged_put(&self) -> bool {
        self.op == Kind::Put && self.outcome == Outcome::Ok
    }

    /// The timestamp that a GET saw, NULL counting as 0; none for a PUT, and for a GET that was
    /// refused or not answered, which is no read.
    pub(crate) fn seen_timestamp(&self) -> Option<u64> {
        match (self.op, self.outcome) {
            (Kind::Get, Outcome::Ok) => Some(self.timestamp),
            (Kind::Get, Outcome::Null) => Some(0),
            (
                Kind::Get,
                Outcome::TryOther | Outcome::NotApplied | Outcome::MayStillApply | Outcome::Unknown,
            )
            | (Kind::Put, _) => None,
        }
    }

    /// The end of the operation, in nanoseconds; no time is later than that of one that never
    /// ended.
    pub(crate) fn end_ns(&self) -> u64 {
        self.return_ns.unwrap_or(u64::MAX)
    }
}

/// The indexes of `ops` client by client, each client's in the order in which it issued them.
pub(crate) fn by_client(ops: &[Op]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..ops.len()).collect();
    order.sort_by_key(|&i| (ops[i].client, ops[i].invoke_ns, ops[i].end_ns(), i));
    order
}

/// The indexes of `ops` in the order in which they were sent.
pub(crate) fn by_invocation(ops: &[Op]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..ops.len()).collect();
    order.sort_by_key(|&i| (ops[i].invoke_ns, ops[i].end_ns(), i));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies;

    /// What nothing could have broken is not held.
    #[test]
    fn an_empty_history_shows_nothing_of_any_property() {
        for property in studies::registry().properties() {
            let verdict = check(property, &History::default());
            assert!(matches!(verdict, Verdict::Unknown { .. }), "{property}: {verdict:?}");
        }
    }
}
