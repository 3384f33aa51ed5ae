//! A verdict's witnesses as a trace has them: by the names of its operations, and by its nodes,
//! times and kinds of lines.

use crate::check::describe::because;
pub use crate::study::TURN;
use crate::study::{Operation, Reference, Run, Witness};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Something that a violation points at: an operation, or an event of this trace.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Testimony<'a> {
    /// The part that it plays, in two or three words.
    pub role: Cow<'a, str>,
    /// What happened, in one line.
    #[serde(default)]
    pub says: Cow<'a, str>,
    /// The operation, by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<Cow<'a, str>>,
    /// Where the event was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    /// When it was, as lines have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// The kind of its line; `turn` for the last line of that node until then, and `fact NAME` for
    /// one that states this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Cow<'a, str>>,
}

/// A line for each, in the order of telling.
pub fn lines(witnesses: &[Testimony<'_>]) -> impl Iterator<Item = String> {
    witnesses.iter().enumerate().map(|(place, one)| because(place, &one.role, &one.says))
}

/// Witnesses as the trace of their run has them.
pub fn told(witnesses: &[Witness], run: &Run) -> Vec<Testimony<'static>> {
    witnesses.iter().map(|witness| written(witness, &run.operations)).collect()
}

fn written(witness: &Witness, operations: &[Operation]) -> Testimony<'static> {
    let (role, says) = (witness.role.clone(), witness.says.clone().into());
    let known = Testimony { role, says, ..Testimony::default() };
    match &witness.of {
        Reference::Operation(place) => {
            let name = |one: &Operation| format!("{}-{}", one.connection, one.sequence).into();
            Testimony { op: operations.get(*place).map(name), ..known }
        }
        Reference::Event { node, at, kind } => {
            Testimony { node: *node, at: Some(*at), event: Some(kind.clone()), ..known }
        }
    }
}
