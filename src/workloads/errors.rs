//! What a reply means to the client that asked: done, refused, or nobody knows. Knows the error
//! codes of line JSON, and no workload.

use node_lab::hosted::Body;
use node_lab::study::{Operation, Run};
use serde::Deserialize;

/// An error code that programs may answer with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorCode {
    /// The number.
    pub code: u64,
    /// Its name.
    pub name: &'static str,
    /// Whether what was asked certainly did not happen, and never will.
    pub is_definite: bool,
    /// When to answer so, in one sentence.
    pub statement: &'static str,
}

const fn code(
    code: u64,
    name: &'static str,
    is_definite: bool,
    statement: &'static str,
) -> ErrorCode {
    ErrorCode { code, name, is_definite, statement }
}

/// All that have a meaning of their own; of any other, nobody knows what it says.
pub const ERRORS: &[ErrorCode] = &[
    code(0, "timeout", false, "what was asked took too long"),
    code(1, "node-not-found", true, "the node that was asked does not exist"),
    code(10, "not-supported", true, "the program does not do this"),
    code(11, "temporarily-unavailable", true, "the node cannot do this now"),
    code(12, "malformed-request", true, "the request is not of the form that is asked for"),
    code(13, "crash", false, "something went wrong, and the request may have taken place"),
    code(14, "abort", true, "the request was given up, and did not take place"),
    code(20, "key-does-not-exist", true, "there is no such key"),
    code(21, "key-already-exists", true, "there is such a key already"),
    code(22, "precondition-failed", true, "the value is not the one that was expected"),
    code(30, "txn-conflict", true, "the transaction was aborted by another one"),
];

/// What is known of a code: its name, and whether it is definite.
pub fn known(code: i64) -> (&'static str, bool) {
    let found = ERRORS.iter().find(|one| i64::try_from(one.code) == Ok(code));
    found.map_or(("unknown", false), |one| (one.name, one.is_definite))
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// It took place: the reply, whose `type` is the request's with `_ok`.
    Done(Body<'static>),
    /// It did not, and never will: a definite error of this code.
    Refused(i64),
    /// It may have, or may yet: no answer, an indefinite error, or a reply of no known form.
    Unknown,
}

/// The body of an error.
#[derive(Deserialize)]
struct Refusal {
    code: i64,
}

impl Told {
    /// What a reply means to whoever asked this.
    pub fn of(request: &Body<'_>, reply: Option<Body<'_>>) -> Told {
        let Some(reply) = reply else { return Told::Unknown };
        let kind = reply.kind();
        if kind.strip_suffix("_ok") == Some(&*request.kind()) {
            return Told::Done(reply.into_owned());
        }
        match reply.read::<Refusal>() {
            Some(Refusal { code }) if kind == "error" && known(code).1 => Told::Refused(code),
            _ => Told::Unknown,
        }
    }

    /// What an operation of a run was told.
    pub fn by(run: &Run, operation: &Operation) -> Told {
        match run.request::<Body<'_>>(operation) {
            Some(request) => Told::of(&request, run.reply(operation)),
            None => Told::Unknown,
        }
    }

    /// Whether it took place.
    pub fn is_done(&self) -> bool {
        matches!(self, Told::Done(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn told(request: &str, reply: &str) -> Told {
        Told::of(&Body::parse(request).unwrap().0, Some(Body::parse(reply).unwrap().0))
    }

    #[test]
    fn what_a_reply_means() {
        let read = r#"{"type":"read"}"#;
        assert!(told(read, r#"{"type":"read_ok"}"#).is_done());
        assert_eq!(told(read, r#"{"type":"write_ok"}"#), Told::Unknown);
        assert_eq!(told(read, r#"{"type":"read"}"#), Told::Unknown);
        for definite in [1, 10, 11, 12, 14, 20, 21, 22, 30] {
            let reply = format!(r#"{{"type":"error","code":{definite},"text":"no"}}"#);
            assert_eq!(told(read, &reply), Told::Refused(definite));
            let other = format!(r#"{{"type":"mistake","code":{definite}}}"#);
            assert_eq!(told(read, &other), Told::Unknown);
        }
        for open in ["0", "13", "1000", "7", "-1", "\"11\"", "null", "11.5"] {
            let reply = format!(r#"{{"type":"error","code":{open}}}"#);
            assert_eq!(told(read, &reply), Told::Unknown, "{open}");
        }
        assert_eq!(told(read, r#"{"type":"error"}"#), Told::Unknown);
        assert_eq!(Told::of(&Body::parse(read).unwrap().0, None), Told::Unknown);
    }

    #[test]
    fn codes_and_names_differ() {
        let codes: BTreeSet<u64> = ERRORS.iter().map(|one| one.code).collect();
        let names: BTreeSet<&str> = ERRORS.iter().map(|one| one.name).collect();
        assert_eq!((codes.len(), names.len()), (ERRORS.len(), ERRORS.len()));
        assert_eq!(known(22), ("precondition-failed", true));
        assert_eq!(known(1000), ("unknown", false));
    }
}
