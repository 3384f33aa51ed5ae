//! What stores of keys and values are asked and answer, and `lin-kv`: one map, so that each
//! operation takes effect when it arrives.
//!
//! `read key`, `write key value` and `cas key from to` (with `create_if_not_exists`, a key that is
//! not there is made); keys and values are any JSON. Errors: 10 no such operation, 12 it has not
//! what it needs, 20 no such key, 22 the value is not `from`.

use super::Service;
use crate::hosted::body::Body;
use node_core::Rng;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Read,
    Write(Json),
    Cas { from: Json, to: Json, creates: bool },
}

/// A JSON value as it was written: a number may be larger than any of Rust's.
#[derive(Clone, Debug)]
pub(super) struct Json(Box<RawValue>);

impl PartialEq for Json {
    fn eq(&self, other: &Json) -> bool {
        let value = |json: &Json| serde_json::from_str::<Value>(json.0.get()).ok();
        let is_number = |value: &Option<Value>| value.as_ref().is_some_and(Value::is_number);
        let (one, same) = (value(self), value(other));
        // Of numbers that are too large for a value, the text is what they are.
        match is_number(&one) && self.0.get().len() > EXACT_DIGITS {
            true => self.0.get() == other.0.get(),
            false => one == same,
        }
    }
}

/// Numbers of so many digits are exact.
const EXACT_DIGITS: usize = 15;

/// An operation, and the key that it is about, as text.
pub(super) fn read(body: &Body<'_>) -> Result<(String, Op), Body<'static>> {
    let kind = body.kind();
    if !["read", "write", "cas"].contains(&&*kind) {
        let text = format!("{kind}: a store takes read, write and cas");
        return Err(error(10, &text));
    }
    let lacks = |what: &str| error(12, &format!("{kind} needs {what}"));
    let needed = |key: &str| body.key(key).map(Json).ok_or_else(|| lacks(key));
    let Json(key) = needed("key")?;
    // Keys that are the same but for blanks, or the order of what is in them, are the same.
    let key = serde_json::from_str::<Value>(key.get()).map_or(key.to_string(), |v| v.to_string());
    let op = match &*kind {
        "read" => Op::Read,
        "write" => Op::Write(needed("value")?),
        _ => {
            let creates = body.key("create_if_not_exists");
            let creates = creates.is_some_and(|creates| creates.get() == "true");
            Op::Cas { from: needed("from")?, to: needed("to")?, creates }
        }
    };
    Ok((key, op))
}

/// What an operation is answered where the key has this value, and what the value is then, if it
/// is another.
pub(super) fn apply(op: &Op, value: Option<&Json>) -> (Body<'static>, Option<Json>) {
    match (op, value) {
        (Op::Read, Some(value)) => {
            (Body::of(&json!({"type": "read_ok", "value": null})).with("value", &value.0), None)
        }
        (Op::Write(value), _) => (Body::of(&json!({"type": "write_ok"})), Some(value.clone())),
        (Op::Cas { to, creates: true, .. }, None) => (cas_ok(), Some(to.clone())),
        (Op::Cas { from, to, .. }, Some(value)) if from == value => (cas_ok(), Some(to.clone())),
        (Op::Cas { from, .. }, Some(value)) => {
            let text = format!("expected {}, but had {}", from.0, value.0);
            (error(22, &text), None)
        }
        (Op::Read | Op::Cas { .. }, None) => (error(20, "key does not exist"), None),
    }
}

fn cas_ok() -> Body<'static> {
    Body::of(&json!({"type": "cas_ok"}))
}

/// An error of a code.
pub(super) fn error(code: u32, text: &str) -> Body<'static> {
    Body::of(&json!({"type": "error", "code": code, "text": text}))
}

/// A linearizable store.
#[derive(Default)]
pub(super) struct LinKv {
    values: BTreeMap<String, Json>,
}

impl Service for LinKv {
    fn ask(&mut self, _: &str, body: &Body<'_>, _: &mut Rng) -> Body<'static> {
        let (key, op) = match read(body) {
            Ok(asked) => asked,
            Err(error) => return error,
        };
        let (answer, value) = apply(&op, self.values.get(&key));
        if let Some(value) = value {
            self.values.insert(key, value);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::super::service;
    use super::*;

    fn ask(text: &str, kv: &mut dyn Service) -> String {
        let (body, _) = Body::parse(text).unwrap();
        kv.ask("n0", &body, &mut Rng::stream(1, "test")).text().to_string()
    }

    #[test]
    fn it_answers_as_the_document_says() {
        let mut kv = service("lin-kv").unwrap();
        let mut is = |asked: &str, told: &str| {
            let answer = ask(asked, &mut *kv);
            assert!(answer.contains(told), "{asked}: {answer}");
        };
        is(r#"{"type":"read","key":1}"#, r#""code":20"#);
        is(r#"{"type":"cas","key":1,"from":0,"to":1}"#, r#""code":20"#);
        is(r#"{"type":"cas","key":1,"from":0,"to":1,"create_if_not_exists":true}"#, "cas_ok");
        is(r#"{"type":"cas","key":1,"from":0,"to":2}"#, r#""code":22"#);
        is(r#"{"type":"cas","key":1,"from":1.0,"to":2}"#, r#""code":22"#);
        is(r#"{"type":"cas","key":1,"from":1,"to":{"b":1,"a":2}}"#, "cas_ok");
        is(r#"{"type":"cas","key":1,"from":{"a":2,"b":1},"to":3}"#, "cas_ok");
        is(r#"{"type":"read","key":1}"#, r#"{"type":"read_ok","value":3}"#);
        is(r#"{"type":"write","key":"1","value":4}"#, "write_ok");
        is(r#"{"type":"read","key":1}"#, r#""value":3"#);
        is(r#"{"type":"write","key":2,"value":123456789012345678901}"#, "write_ok");
        is(r#"{"type":"cas","key":2,"from":123456789012345678902,"to":1}"#, r#""code":22"#);
        is(r#"{"type":"read","key":2}"#, r#""value":123456789012345678901"#);
        is(r#"{"type":"write","key":2,"value":null}"#, "write_ok");
        is(r#"{"type":"read","key":2}"#, r#""value":null"#);
        is(r#"{"type":"write","key":2}"#, r#""code":12"#);
        is(r#"{"type":"drop","key":2}"#, r#""code":10"#);
    }
}
