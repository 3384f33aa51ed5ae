//! The body of a message in line JSON: an object with a `type`, kept as the text that its program
//! wrote, but for the two keys that only name messages. Knows no process.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// A message's body without `msg_id` and `in_reply_to`: the text of a JSON object, its keys in
/// ascending order, their values as they were written (a number may be larger than any of Rust's).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Body<'a>(Cow<'a, str>);

/// What names a message, and the one that it answers: JSON values as they were written, or empty.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ids {
    /// `msg_id`.
    pub msg_id: String,
    /// `in_reply_to`.
    pub in_reply_to: String,
}

impl Body<'_> {
    /// The body in this text, and what names it.
    ///
    /// # Errors
    /// Why it is none, in one line.
    pub fn parse(text: &str) -> Result<(Body<'static>, Ids), String> {
        let keys: BTreeMap<Cow<'_, str>, &RawValue> =
            serde_json::from_str(text).map_err(|error| format!("a body is an object: {error}"))?;
        Body::of_keys(keys)
    }

    fn of_keys(
        mut keys: BTreeMap<Cow<'_, str>, &RawValue>,
    ) -> Result<(Body<'static>, Ids), String> {
        let kind = keys.get("type").ok_or("its body has no \"type\"")?;
        serde_json::from_str::<Cow<'_, str>>(kind.get())
            .map_err(|_| "its body's \"type\" is no string")?;
        let mut id = |key: &str| keys.remove(key).map_or("", RawValue::get);
        let (msg_id, in_reply_to) = (id("msg_id"), id("in_reply_to"));
        let given = |id: &str| if id == "null" { String::new() } else { id.to_string() };
        let ids = Ids { msg_id: given(msg_id), in_reply_to: given(in_reply_to) };
        let text = serde_json::to_string(&keys).map_err(|error| error.to_string())?;
        Ok((Body(text.into()), ids))
    }

    /// The body that is this value's JSON.
    ///
    /// # Panics
    /// When that is no object with a `type`.
    pub fn of(value: &impl Serialize) -> Body<'static> {
        let text = serde_json::to_string(value).expect("a body is JSON");
        Body::parse(&text).expect("a body is an object with a type").0
    }

    /// With another value under a key.
    pub fn with(&self, key: &str, value: &RawValue) -> Body<'static> {
        let mut keys: BTreeMap<Cow<'_, str>, &RawValue> =
            serde_json::from_str(&self.0).unwrap_or_default();
        keys.insert(key.into(), value);
        Body(serde_json::to_string(&keys).unwrap_or_default().into())
    }

    /// The value of a key, as it was written; `null` is one.
    pub fn key(&self, key: &str) -> Option<Box<RawValue>> {
        let mut keys: BTreeMap<Cow<'_, str>, Box<RawValue>> =
            serde_json::from_str(&self.0).unwrap_or_default();
        keys.remove(key)
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Its `type`.
    pub fn kind(&self) -> String {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(borrow, rename = "type")]
            kind: Cow<'a, str>,
        }
        let read = serde_json::from_str::<Kind<'_>>(&self.0);
        read.map_or_else(|_| String::new(), |kind| kind.kind.into_owned())
    }

    /// What it says; none where it is of no such form.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.0).ok()
    }

    /// In short: its type, and what is no list or object in it.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn brief(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let keys: BTreeMap<Cow<'_, str>, &RawValue> =
            serde_json::from_str(&self.0).unwrap_or_default();
        out.write_str(&self.kind())?;
        for (key, value) in keys.iter().filter(|(key, _)| *key != "type") {
            let value = value.get();
            match value.starts_with(['{', '[']) {
                true => write!(out, " {key}=…")?,
                false => write!(out, " {key}={value}")?,
            }
        }
        Ok(())
    }

    /// The text with what names it, as a program reads it.
    pub fn named(&self, ids: &Ids) -> String {
        let open = self.0.strip_suffix('}').unwrap_or(&self.0);
        let mut text = open.to_string();
        for (key, id) in [("in_reply_to", &ids.in_reply_to), ("msg_id", &ids.msg_id)] {
            if !id.is_empty() {
                // There is a type before it.
                text.extend([",\"", key, "\":", id.as_str()]);
            }
        }
        text.push('}');
        text
    }

    /// It does not borrow.
    pub fn into_owned(self) -> Body<'static> {
        Body(Cow::Owned(self.0.into_owned()))
    }

    /// Likewise, from a borrow.
    pub fn to_owned(&self) -> Body<'static> {
        Body(Cow::Owned(self.0.to_string()))
    }
}

impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text between nodes, an object for people.
impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_str(&self.0);
        }
        let value: Value = serde_json::from_str(&self.0).unwrap_or_default();
        value.serialize(serializer)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Body<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <&'de str>::deserialize(deserializer).map(|text| Body(Cow::Borrowed(text)));
        }
        let value = Value::deserialize(deserializer)?;
        let (body, _) = Body::parse(&value.to_string()).map_err(D::Error::custom)?;
        Ok(body)
    }
}
