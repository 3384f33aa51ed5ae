//! Histories for tests: single operations in few words.

use super::history::{Kind, Op, Outcome};

/// The operations of a violation that is none.
pub(super) const NOTHING: [usize; 0] = [];

/// A PUT of key `k` that was answered.
pub(super) fn put(client: u64, value: &str, timestamp: u64, invoke_ns: u64, return_ns: u64) -> Op {
    Op {
        client,
        op: Kind::Put,
        key: "k".into(),
        value: Some(value.into()),
        invoke_ns,
        return_ns: Some(return_ns),
        outcome: Outcome::Ok,
        timestamp,
        server: String::new(),
    }
}

/// A GET of key `k` that was answered, with NULL when `value` is none.
pub(super) fn get(
    client: u64,
    value: Option<&str>,
    timestamp: u64,
    invoke_ns: u64,
    return_ns: u64,
) -> Op {
    Op {
        op: Kind::Get,
        value: value.map(Into::into),
        outcome: if value.is_some() { Outcome::Ok } else { Outcome::Null },
        ..put(client, "", timestamp, invoke_ns, return_ns)
    }
}

/// The same, without an answer.
pub(super) fn lost(op: Op) -> Op {
    Op { outcome: Outcome::Unknown, return_ns: None, ..op }
}

/// The same GET, refused.
pub(super) fn refused(op: Op) -> Op {
    Op { outcome: Outcome::TryOther, value: None, ..op }
}

/// The same on another key.
pub(super) fn on(key: &str, op: Op) -> Op {
    Op { key: key.into(), ..op }
}
