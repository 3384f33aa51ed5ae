//! What clients of logs asked, and were told. Knows no property.

use crate::crew::{is_final, name};
use crate::errors::Told;
use crate::json::{Json, Key};
use node_lab::check::describe::Millis;
use node_lab::hosted::Body;
use node_lab::study::{Nanos, Operation, Run};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// Offsets by keys.
pub(super) type Offsets = BTreeMap<String, i64>;
/// What polls show: by keys, offsets with their messages, in the reply's order.
pub(super) type Shown = BTreeMap<String, Vec<(i64, Json)>>;

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    /// It was acknowledged at this offset.
    At(i64),
    Refused,
    Unknown,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum What {
    Send {
        key: String,
        message: Json,
        sent: Sent,
    },
    /// One that was answered.
    Poll {
        from: Offsets,
        shown: Shown,
    },
    /// One that was not refused; its answer's time is there when it was acknowledged.
    Commit(Offsets),
    /// One that was answered.
    List {
        keys: Vec<String>,
        offsets: Offsets,
    },
    /// It was answered, but not in the form that this kind of request has.
    Malformed(String),
}

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Call {
    /// The operation's place.
    pub(super) place: usize,
    pub(super) client: u64,
    /// The program's name.
    pub(super) node: String,
    pub(super) asked: Nanos,
    /// When it was done; none when it is not known to be.
    pub(super) done: Option<Nanos>,
    pub(super) what: What,
}

impl Call {
    pub(super) fn is_final(&self) -> bool {
        is_final(self.client)
    }

    /// The offsets that a poll asked for, and what it shows.
    pub(super) fn poll(&self) -> Option<(&Offsets, &Shown)> {
        match &self.what {
            What::Poll { from, shown } => Some((from, shown)),
            _ => None,
        }
    }

    /// Whether it ended before the other began.
    pub(super) fn is_before(&self, other: &Call) -> bool {
        self.done.is_some_and(|done| done <= other.asked)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Send { .. } => "send",
            What::Poll { .. } => "poll",
            What::Commit(_) => "commit_offsets",
            What::List { .. } => "list_committed_offsets",
            What::Malformed(ref kind) => kind,
        };
        write!(f, "{what} at {} on {}", Millis(self.asked), self.node)
    }
}

/// What polls of this reply show; none where it has not the form.
pub(super) fn shown(reply: &Body<'_>) -> Option<Shown> {
    let keys: BTreeMap<String, Vec<(i64, Box<RawValue>)>> = Key::of(reply, "msgs").read()?;
    let one = |(offset, message): (i64, Box<RawValue>)| (offset, Json::of(&message));
    Some(keys.into_iter().map(|(key, all)| (key, all.into_iter().map(one).collect())).collect())
}

/// The offsets of a body.
pub(super) fn offsets(body: &Body<'_>) -> Option<Offsets> {
    Key::of(body, "offsets").read()
}

/// All calls of a run, in the order in which they were asked.
pub(super) fn of(run: &Run) -> Vec<Call> {
    run.operations_of("program").filter_map(|(place, one)| call(run, place, one)).collect()
}

fn call(run: &Run, place: usize, operation: &Operation) -> Option<Call> {
    let request = run.request::<Body<'_>>(operation)?;
    let told = Told::of(&request, run.reply(operation));
    let what = what(&request, &told)?;
    Some(Call {
        place,
        client: operation.client,
        node: operation.node.map_or_else(|| "a node".into(), name),
        asked: operation.invoke_ns,
        done: operation.return_ns.filter(|_| told.is_done()),
        what,
    })
}

/// None where it is no call of this workload, or one that says nothing.
fn what(request: &Body<'_>, told: &Told) -> Option<What> {
    let kind = request.kind();
    let malformed = || What::Malformed(kind.to_string());
    match (&*kind, told) {
        ("send", _) => {
            let key: String = Key::of(request, "key").read()?;
            let message = Key::of(request, "msg").value()?;
            let sent = match told {
                Told::Done(reply) => match Key::of(reply, "offset").read() {
                    Some(offset) => Sent::At(offset),
                    None => return Some(malformed()),
                },
                Told::Refused(_) => Sent::Refused,
                Told::Unknown => Sent::Unknown,
            };
            Some(What::Send { key, message, sent })
        }
        ("poll", Told::Done(reply)) => {
            let from = offsets(request)?;
            Some(shown(reply).map_or_else(malformed, |shown| What::Poll { from, shown }))
        }
        ("commit_offsets", Told::Done(_) | Told::Unknown) => Some(What::Commit(offsets(request)?)),
        ("list_committed_offsets", Told::Done(reply)) => {
            let keys = Key::of(request, "keys").read()?;
            Some(offsets(reply).map_or_else(malformed, |offsets| What::List { keys, offsets }))
        }
        _ => None,
    }
}
