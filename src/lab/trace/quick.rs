//! Reads the lines that large runs are made of, several times as fast as the general way: without
//! looking at a line twice, and without a copy of a text that has no escapes in it. What is not one
//! of these, or not as it should be, is left to the general way, which also says what is wrong.

use super::{Event, Line};
use serde::Deserialize;
use std::borrow::Cow;

/// A text that borrows where it can.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A line with all fields that some of these events have.
#[derive(Deserialize)]
struct Quick<'a> {
    at: u64,
    #[serde(default)]
    node: Option<u32>,
    #[serde(default)]
    lamport: Option<u64>,
    #[serde(default, borrow)]
    digest: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    id: Option<Text<'a>>,
    #[serde(default)]
    to: Option<u32>,
    #[serde(default)]
    from: Option<u32>,
    #[serde(default, borrow)]
    why: Option<Text<'a>>,
    #[serde(default, borrow)]
    of: Option<Text<'a>>,
    #[serde(default, borrow)]
    protocol: Option<Text<'a>>,
    #[serde(default, borrow)]
    label: Option<Text<'a>>,
    #[serde(default, borrow)]
    brief: Option<Text<'a>>,
    #[serde(default, borrow)]
    line: Option<Text<'a>>,
    #[serde(default)]
    peer: Option<u32>,
    #[serde(default)]
    up: Option<bool>,
}

/// The line, if it is one of these and right.
fn quick(text: &str) -> Option<Line<'_>> {
    let of = serde_json::from_str::<Quick<'_>>(text).ok()?;
    let event = match &*of.kind {
        "send" => Event::Send {
            id: of.id?.0,
            to: of.to?,
            protocol: of.protocol?.0,
            label: of.label?.0,
            brief: of.brief.map(|brief| brief.0),
        },
        "recv" => Event::Recv { id: of.id?.0, from: of.from? },
        "drop" => Event::Drop { id: of.id?.0, from: of.from?, why: of.why?.0 },
        "duplicate" => Event::Duplicate { id: of.id?.0, of: of.of?.0 },
        "timer" => Event::Timer { protocol: of.protocol?.0, label: of.label?.0 },
        "print" => Event::Print { line: of.line?.0 },
        "link" => Event::Link { peer: of.peer?, up: of.up? },
        _ => return None,
    };
    let (at, node, lamport, digest) = (of.at, of.node, of.lamport, of.digest.map(|it| it.0));
    Some(Line { at, node, lamport, digest, event })
}

impl<'a> Line<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &'a str) -> Result<Line<'a>, serde_json::Error> {
        match quick(text) {
            Some(line) => Ok(line),
            None => serde_json::from_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_read_quickly_is_the_line_that_it_is() {
        let lines = [
            r#"{"at":5,"node":1,"lamport":7,"digest":"ab","kind":"send","id":"m","to":2,"protocol":"p","label":"{\"a\":1}","brief":"a"}"#,
            r#"{"kind":"send","id":"m\u0041","to":2,"protocol":"","label":"","at":5}"#,
            r#"{"at":6,"node":2,"kind":"recv","id":"m","from":1,"later":[1,{"kind":"crash"}]}"#,
            r#"{"at":6,"node":2,"kind":"drop","id":"m","from":1,"why":"loss"}"#,
            r#"{"at":6,"kind":"duplicate","id":"m'","of":"m"}"#,
            r#"{"at":6,"node":2,"kind":"timer","protocol":"p","label":"t"}"#,
            r#"{"at":6,"node":2,"kind":"print","line":"é\n"}"#,
            r#"{"at":6,"node":2,"kind":"link","peer":1,"up":false}"#,
        ];
        for text in lines {
            let general: Line<'_> = serde_json::from_str(text).unwrap();
            assert_eq!(quick(text).as_ref(), Some(&general), "{text}");
        }
        let text = lines[3];
        let Some(Event::Drop { id: Cow::Borrowed(id), .. }) = quick(text).map(|line| line.event)
        else {
            panic!("a text without escapes is not copied");
        };
        assert!(text.as_bytes().as_ptr_range().contains(&id.as_ptr()));
    }

    #[test]
    fn what_is_wrong_is_said_as_ever() {
        for text in [
            r#"{"at":6,"node":2,"kind":"recv","id":"m"}"#,
            r#"{"at":6,"node":2,"kind":"recv","id":7,"from":1}"#,
            r#"{"at":-6,"node":2,"kind":"recv","id":"m","from":1}"#,
            r#"{"at":6,"kind":"nowhere"}"#,
            r#"{"at":6,"kind":"recv""#,
            "[]",
        ] {
            assert!(quick(text).is_none(), "{text}");
            let error = |read: Result<Line<'_>, serde_json::Error>| read.unwrap_err().to_string();
            assert_eq!(error(Line::read(text)), error(serde_json::from_str(text)));
        }
        // Another kind may have a field of the name and another type.
        let other = r#"{"at":6,"kind":"view","protocol":"p","value":{"line":1},"line":5}"#;
        assert!(Line::read(other).is_ok());
    }
}
