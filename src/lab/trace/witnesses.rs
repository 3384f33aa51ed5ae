//! A verdict's witnesses as a trace has them: by the names of its operations, and by its nodes,
//! times and kinds of lines.

pub use crate::study::TURN;
use crate::study::{Operation, Reference, Witness};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Something that a violation points at: an operation, or an event of this trace.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
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

/// A witness as a trace has it, beside the operations of its run.
pub fn written(witness: &Witness, operations: &[Operation]) -> Testimony<'static> {
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
