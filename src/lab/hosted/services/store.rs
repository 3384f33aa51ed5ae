//! What the three key-value stores have in common: the requests, what each does to one key, and the
//! errors. Knows no consistency: which state a request meets is the store's own affair.

use crate::hosted::Body;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// How deep arrays and objects of keys and values are looked into: below, their text is compared.
const MAX_DEPTH: u32 = 64;
/// So much of a value is shown in an error.
const MAX_SHOWN: usize = 200;

/// What a program asks of a store.
pub(super) struct Ask {
    /// The key, in one form.
    pub key: String,
    what: What,
}

enum What {
    Read,
    Write(Value),
    Cas { from: Value, to: Value, creates: bool },
}

/// A value: as it was written, compared by what it says.
#[derive(Clone, Debug)]
pub(super) struct Value {
    text: Box<RawValue>,
    canonical: String,
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        self.canonical == other.canonical
    }
}

impl Ask {
    /// What a body asks.
    ///
    /// # Errors
    /// The body of the error that answers it.
    pub fn of(body: &Body<'_>) -> Result<Ask, Body<'static>> {
        let kind = body.kind();
        if !matches!(&*kind, "read" | "write" | "cas") {
            let text = format!("this service does read, write and cas, and not {}", shown(&kind));
            return Err(refusal(10, &text));
        }
        let mut keys: BTreeMap<String, Box<RawValue>> = body.read().unwrap_or_default();
        let mut take = |key: &str| {
            let lacks = || refusal(12, &format!("a {kind} needs a key \"{key}\""));
            keys.remove(key).ok_or_else(lacks)
        };
        let key = canonical(take("key")?.get(), MAX_DEPTH);
        let what = match &*kind {
            "read" => What::Read,
            "write" => What::Write(Value::of(take("value")?)),
            _ => {
                let (from, to) = (Value::of(take("from")?), Value::of(take("to")?));
                let creates = match take("create_if_not_exists").as_deref().map(RawValue::get) {
                    Ok("true") => true,
                    Ok("false" | "null") | Err(_) => false,
                    Ok(_) => {
                        let text = "create_if_not_exists is true or false";
                        return Err(refusal(12, text));
                    }
                };
                What::Cas { from, to, creates }
            }
        };
        Ok(Ask { key, what })
    }

    /// What it writes where its key has this value, if anything, and its answer.
    pub fn apply(&self, value: Option<&Value>) -> (Option<Value>, Body<'static>) {
        match (&self.what, value) {
            (What::Write(value), _) => (Some(value.clone()), done("write_ok")),
            (What::Read, Some(value)) => {
                let answer = ReadOk { kind: "read_ok", value: &value.text };
                (None, Body::of(&answer))
            }
            (What::Cas { from, to, .. }, Some(value)) if from == value => {
                (Some(to.clone()), done("cas_ok"))
            }
            (What::Cas { from, .. }, Some(value)) => {
                let (is, not) = (shown(value.text.get()), shown(from.text.get()));
                (None, refusal(22, &format!("the value is {is}, and not {not}")))
            }
            (What::Cas { to, creates: true, .. }, None) => (Some(to.clone()), done("cas_ok")),
            (What::Read | What::Cas { .. }, None) => {
                (None, refusal(20, &format!("there is no key {}", shown(&self.key))))
            }
        }
    }
}

impl Value {
    fn of(text: Box<RawValue>) -> Value {
        let canonical = canonical(text.get(), MAX_DEPTH);
        Value { text, canonical }
    }
}

#[derive(Serialize)]
struct ReadOk<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    value: &'a RawValue,
}

fn done(kind: &str) -> Body<'static> {
    Body::of(&serde_json::json!({ "type": kind }))
}

/// The body of an error.
pub(super) fn refusal(code: u32, text: &str) -> Body<'static> {
    Body::of(&serde_json::json!({ "type": "error", "code": code, "text": text }))
}

pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// The text of a JSON value in one form: white space, the order of keys and the escapes in strings
/// make no difference, and numbers stay as they are written, however large.
fn canonical(text: &str, depth: u32) -> String {
    let below = |raw: &RawValue| canonical(raw.get(), depth - 1);
    let form = match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(text)
            .ok()
            .and_then(|string| serde_json::to_string(&string).ok()),
        Some(b'[') if depth > 0 => {
            let values = serde_json::from_str::<Vec<&RawValue>>(text).ok();
            let joined = |values: Vec<&RawValue>| {
                values.into_iter().map(below).collect::<Vec<_>>().join(",")
            };
            values.map(|values| format!("[{}]", joined(values)))
        }
        Some(b'{') if depth > 0 => {
            let pairs = serde_json::from_str::<BTreeMap<String, &RawValue>>(text).ok();
            let pair = |(key, value): (String, &RawValue)| {
                format!("{}:{}", serde_json::to_string(&key).unwrap_or(key), below(value))
            };
            pairs.map(|pairs| {
                format!("{{{}}}", pairs.into_iter().map(pair).collect::<Vec<_>>().join(","))
            })
        }
        _ => None,
    };
    form.unwrap_or_else(|| text.into())
}
