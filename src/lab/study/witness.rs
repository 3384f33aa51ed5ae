//! What a verdict rests on: what broke a property, and its witnesses, in the order in which one
//! tells them. Knows no protocol, and not where it is shown.

use super::run::Run;
use serde::Serialize;
use std::borrow::Cow;

/// What broke a property.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// One line: clients, keys, timestamps, times.
    pub why: String,
    /// What it rests on: one to [`MAX_WITNESSES`] that together say the cause, in the order of
    /// telling. A study that judges a list of its own has operations placed in the run in the end.
    pub witnesses: Vec<Witness>,
    /// The operations among them, as the study shows them.
    pub shown: Vec<serde_json::Value>,
    /// When it first showed, in nanoseconds as in the timeline; none where operations say it.
    pub at: Option<u64>,
}

/// So many witnesses at most: who has to read more does not see the cause.
pub const MAX_WITNESSES: usize = 5;

/// Something that a verdict points at, and the part that it plays.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Witness {
    /// Its part, in two or three words: `older read`, `second coordinator`.
    pub role: Cow<'static, str>,
    /// What happened, in one line that can stand alone; empty where the run says it best.
    pub says: String,
    /// Where it is in the run.
    pub of: Reference,
}

/// Something in a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reference {
    /// An operation, by its place.
    Operation(usize),
    /// An event of the timeline.
    Event {
        /// The node where it was; none for a fault, and for what concerns no node alone.
        node: Option<u32>,
        /// When, in nanoseconds as in the timeline.
        at: u64,
        /// What, as traces name kinds of lines; [`TURN`] for whatever a node did then.
        kind: Cow<'static, str>,
    },
}

/// The kind of an event that is whatever the node did last until that time.
pub const TURN: &str = "turn";

/// The role of an operation of which nothing else is known.
const OPERATION: &str = "operation";

impl Witness {
    /// An operation, by its place.
    pub fn operation(
        role: impl Into<Cow<'static, str>>,
        place: usize,
        says: impl Into<String>,
    ) -> Witness {
        Witness { role: role.into(), says: says.into(), of: Reference::Operation(place) }
    }

    /// Something that a node did, as a line of this kind tells it.
    pub fn event(
        role: impl Into<Cow<'static, str>>,
        node: u32,
        at: u64,
        kind: &'static str,
        says: impl Into<String>,
    ) -> Witness {
        let of = Reference::Event { node: Some(node), at, kind: kind.into() };
        Witness { role: role.into(), says: says.into(), of }
    }

    /// A fault that began then.
    pub fn fault(at: u64, says: impl Into<String>) -> Witness {
        let of = Reference::Event { node: None, at, kind: "fault".into() };
        Witness { role: "fault".into(), says: says.into(), of }
    }

    /// Its operation, if it is one.
    pub fn op(&self) -> Option<usize> {
        match self.of {
            Reference::Operation(place) => Some(place),
            Reference::Event { .. } => None,
        }
    }

    /// When it was over, in nanoseconds: an operation's answer, or its asking when none came.
    pub fn at(&self, run: &Run) -> Option<u64> {
        match &self.of {
            Reference::Operation(place) => {
                let operation = run.operations.get(*place)?;
                Some(operation.return_ns.unwrap_or(operation.invoke_ns))
            }
            Reference::Event { at, .. } => Some(*at),
        }
    }
}

impl Violation {
    /// What these show, told in this order: the last operation among them broke it.
    pub fn by(witnesses: Vec<Witness>, why: impl Into<String>) -> Violation {
        Violation { why: why.into(), witnesses, shown: Vec::new(), at: None }
    }

    /// What the timeline shows, at a time.
    pub fn at(at: u64, why: String) -> Violation {
        Violation { why, witnesses: Vec::new(), shown: Vec::new(), at: Some(at) }
    }

    /// What operations show, of whose parts nobody says more: first the one that broke it, which
    /// is told last.
    pub fn of(mut ops: Vec<usize>, why: String) -> Violation {
        let first = ops.len().min(1);
        ops.rotate_left(first);
        let of = |place| Witness::operation(OPERATION, place, "");
        Violation::by(ops.into_iter().map(of).collect(), why)
    }

    /// What operations show, each in its role, in this order: the last of them broke it. What
    /// happened the run says.
    pub fn shown_by<R: Into<Cow<'static, str>>>(
        roles: impl IntoIterator<Item = (R, usize)>,
        why: impl Into<String>,
    ) -> Violation {
        let witness = |(role, place)| Witness::operation(role, place, "");
        Violation::by(roles.into_iter().map(witness).collect(), why)
    }

    /// With these witnesses instead.
    #[must_use]
    pub fn with(self, witnesses: Vec<Witness>) -> Violation {
        Violation { witnesses, ..self }
    }

    /// The operations that it rests on, by their places, each once: first the one that broke it,
    /// which is told last.
    pub fn ops(&self) -> Vec<usize> {
        ops(&self.witnesses)
    }

    /// When it first showed, in nanoseconds: what it says, or else when the operation that is told
    /// last was over; none where neither is known.
    pub fn shows_at(&self, run: &Run) -> Option<u64> {
        let mut told = self.witnesses.iter().rev();
        let last = || told.find(|one| one.op().is_some()).and_then(|one| one.at(run));
        self.at.or_else(last)
    }

    /// With its operations, which are of a list that a study made, placed in the run; one that has
    /// no place there is no witness.
    #[must_use]
    pub(super) fn placed<T: Serialize>(
        self,
        list: &[T],
        place: impl Fn(usize) -> Option<usize>,
    ) -> Violation {
        let ops = self.ops();
        let shown = ops.iter().filter_map(|op| list.get(*op));
        let shown = shown.filter_map(|one| serde_json::to_value(one).ok()).collect();
        let put = |witness: Witness| match witness.op() {
            Some(op) => Some(Witness { of: Reference::Operation(place(op)?), ..witness }),
            None => Some(witness),
        };
        let witnesses = self.witnesses.into_iter().filter_map(put).collect();
        Violation { witnesses, shown, ..self }
    }
}

/// The operations among witnesses, by their places, each once: first the one that is told last.
pub fn ops(witnesses: &[Witness]) -> Vec<usize> {
    let mut ops = Vec::with_capacity(witnesses.len());
    for op in witnesses.iter().filter_map(Witness::op) {
        if !ops.contains(&op) {
            ops.push(op);
        }
    }
    let last = ops.len().min(1);
    ops.rotate_right(last);
    ops
}
