//! JSON values that programs answer with, told apart as what they are, whatever their text looks
//! like. Knows no workload.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// How deep arrays and objects are looked into: below, their text is compared.
const MAX_DEPTH: u32 = 64;

/// A JSON value. Two are equal when they say the same: white space, escapes in strings and the
/// order of an object's keys are nothing; numbers are what is written, however large, so that `1`
/// is not `1.0`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Json {
    /// A whole number.
    Int(i64),
    /// Anything else, in one form.
    Text(String),
}

impl Json {
    /// The value of this text.
    pub fn of(raw: &RawValue) -> Json {
        let text = raw.get();
        match text.parse::<i64>() {
            // A text like -0 is another number than 0.
            Ok(number) if !text.starts_with("-0") => Json::Int(number),
            _ => Json::Text(canonical(text, MAX_DEPTH)),
        }
    }

    /// The values of an array; none where it is none.
    pub fn list(raw: &RawValue) -> Option<Vec<Json>> {
        if let Ok(numbers) = serde_json::from_str::<Vec<i64>>(raw.get())
            && numbers.iter().all(|number| *number != 0)
        {
            return Some(numbers.into_iter().map(Json::Int).collect());
        }
        let values: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
        Some(values.into_iter().map(Json::of).collect())
    }
}

/// The text of a JSON value in one form.
fn canonical(text: &str, depth: u32) -> String {
    let below = |raw: &RawValue| canonical(raw.get(), depth - 1);
    match text.as_bytes().first() {
        Some(b'"') => match serde_json::from_str::<String>(text) {
            Ok(string) => serde_json::to_string(&string).unwrap_or(string),
            Err(_) => text.into(),
        },
        Some(b'[') if depth > 0 => match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(values) => {
                let values: Vec<String> = values.into_iter().map(below).collect();
                format!("[{}]", values.join(","))
            }
            Err(_) => text.into(),
        },
        Some(b'{') if depth > 0 => {
            match serde_json::from_str::<BTreeMap<String, &RawValue>>(text) {
                Ok(values) => {
                    let pair = |(key, value): (String, &RawValue)| {
                        format!(
                            "{}:{}",
                            serde_json::to_string(&key).unwrap_or_default(),
                            below(value)
                        )
                    };
                    let pairs: Vec<String> = values.into_iter().map(pair).collect();
                    format!("{{{}}}", pairs.join(","))
                }
                Err(_) => text.into(),
            }
        }
        _ => text.into(),
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Int(number) => write!(f, "{number}"),
            Json::Text(text) => node_lab::check::describe::Short(text).fmt(f),
        }
    }
}

impl Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Int(number) => number.serialize(serializer),
            Json::Text(text) => text.serialize(serializer),
        }
    }
}

/// One key of a body; nothing where it has none.
#[derive(Debug)]
pub struct Key(pub Option<Box<RawValue>>);

impl Key {
    /// That of a body.
    pub fn of(body: &node_lab::hosted::Body<'_>, key: &str) -> Key {
        let keys = body.read::<BTreeMap<String, Box<RawValue>>>();
        Key(keys.and_then(|mut keys| keys.remove(key)))
    }

    /// Its value.
    pub fn value(&self) -> Option<Json> {
        self.0.as_deref().map(Json::of)
    }

    /// What it is, of a type.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_str(self.0.as_deref()?.get()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Json {
        Json::of(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn what_says_the_same_is_equal() {
        for (one, other) in [
            ("7", " 7 "),
            (r#""A\n""#, r#""\u0041\u000a""#),
            ("[1, [ 2 ]]", "[1,[2]]"),
            (r#"{"a": 1, "b": "x"}"#, r#"{"b":"\u0078","a":1}"#),
            ("340282366920938463463374607431768211456", "340282366920938463463374607431768211456"),
        ] {
            assert_eq!(of(one), of(other));
        }
    }

    #[test]
    fn what_says_something_else_is_not() {
        let all = [
            "1",
            "1.0",
            "\"1\"",
            "[1]",
            "null",
            "true",
            "0",
            "-0",
            "-1",
            "18446744073709551616",
            "18446744073709551617",
            "1e400",
            r#"{"a":1}"#,
            r#"{"a":"1"}"#,
        ];
        for (place, one) in all.iter().enumerate() {
            for other in &all[..place] {
                assert_ne!(of(one), of(other));
            }
        }
    }

    #[test]
    fn lists_are_lists_however_their_values_look() {
        let list = |text: &str| Json::list(serde_json::from_str(text).unwrap());
        assert_eq!(list("[1, 2]"), Some(vec![Json::Int(1), Json::Int(2)]));
        assert_eq!(list("[0, -0, \"a\"]").unwrap().len(), 3);
        assert_eq!(list("[]"), Some(Vec::new()));
        assert_eq!((list("{}"), list("7")), (None, None));
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let Ok(raw) = serde_json::from_str::<Box<RawValue>>(&deep) else { return };
        assert_eq!(Json::of(&raw), Json::of(&raw));
    }
}
