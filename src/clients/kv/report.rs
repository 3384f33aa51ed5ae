//! How results look: the document's lines, JSON lines, what goes to stderr, and the exit codes.
//! Nothing that a peer or a user typed gets out unescaped.

use super::session::to_hex;
use crate::cli::output::READER_GONE;
use node_protocols::core::Escaped;
use node_protocols::kv_replication::{Info, Timestamp};
use serde::Serialize;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::net::SocketAddr;

/// How `node kv` ends; its help documents the numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// PUT_OK, or a value.
    Done = 0,
    /// The key is absent.
    Absent = 1,
    /// TRY_OTHER_SERVER_OR_LATER.
    TryOther = 2,
    /// The PUT has no effect.
    NotApplied = 3,
    /// The PUT may still take effect.
    MayStillApply = 4,
    /// Anything else.
    Failed = 5,
    /// Whoever read the results has gone, and no more is asked.
    ReaderGone = READER_GONE as isize,
}

/// One PUT or GET and what became of it.
pub struct Report<'a> {
    /// The key.
    pub key: &'a [u8],
    /// What was asked.
    pub op: Op<'a>,
    /// Who answered, or should have.
    pub server: Option<SocketAddr>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What was asked.
#[derive(Clone, Copy)]
pub enum Op<'a> {
    /// PUT of this value.
    Put(&'a [u8]),
    /// GET by a client that knows of this timestamp.
    Get(Timestamp),
}

/// What became of a PUT or GET.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// PUT_OK.
    Stored(Timestamp),
    /// The value.
    Found(Vec<u8>, Timestamp),
    /// NULL.
    Absent,
    /// TRY_OTHER_SERVER_OR_LATER.
    TryOther(Timestamp),
    /// A PUT that has no effect, and why.
    NotApplied(String),
    /// A PUT that may take effect, and why that is not known.
    MayStillApply(String),
    /// No server got it, and why.
    Unreachable(String),
    /// A GET without an answer, and why.
    Failed(String),
}

impl Outcome {
    /// The exit code that tells it.
    pub fn exit(&self) -> Exit {
        match self {
            Outcome::Stored(_) | Outcome::Found(..) => Exit::Done,
            Outcome::Absent => Exit::Absent,
            Outcome::TryOther(_) => Exit::TryOther,
            Outcome::NotApplied(_) => Exit::NotApplied,
            Outcome::MayStillApply(_) => Exit::MayStillApply,
            Outcome::Unreachable(_) | Outcome::Failed(_) => Exit::Failed,
        }
    }

    /// Its name in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Stored(_) | Outcome::Found(..) => "ok",
            Outcome::Absent => "null",
            Outcome::TryOther(_) => "try_other",
            Outcome::NotApplied(_) => "not_applied",
            Outcome::MayStillApply(_) => "may_still_apply",
            Outcome::Unreachable(_) => "unreachable",
            Outcome::Failed(_) => "failed",
        }
    }

    /// What the server says the key's timestamp is.
    fn timestamp(&self) -> Option<Timestamp> {
        match self {
            Outcome::Stored(timestamp)
            | Outcome::Found(_, timestamp)
            | Outcome::TryOther(timestamp) => Some(*timestamp),
            Outcome::Absent => Some(Timestamp(0)),
            Outcome::NotApplied(_)
            | Outcome::MayStillApply(_)
            | Outcome::Unreachable(_)
            | Outcome::Failed(_) => None,
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Outcome::NotApplied(reason)
            | Outcome::MayStillApply(reason)
            | Outcome::Unreachable(reason)
            | Outcome::Failed(reason) => Some(reason),
            Outcome::Stored(_) | Outcome::Found(..) | Outcome::Absent | Outcome::TryOther(_) => {
                None
            }
        }
    }
}

impl Report<'_> {
    /// Writes the result to `out` and, when there is trouble, what to do about it to `err`.
    pub fn show(&self, json: bool, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
        // First, for it must not be lost with stdout.
        if let Some(advice) = self.advice() {
            // Who closed stderr does not want to know.
            let _ = writeln!(err, "{advice}");
        }
        if json {
            writeln!(out, "{}", self.json())?;
        } else if let Some(line) = self.line() {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }

    /// The document's line; none for what it does not know of.
    fn line(&self) -> Option<String> {
        let (key, server) = (Escaped(self.key), self.server?);
        let timestamp = self.outcome.timestamp()?;
        let shown = match (&self.outcome, self.op) {
            (_, Op::Put(value)) => {
                let value = Escaped(value);
                return Some(format!(
                    "PUT_OK key: {key} value {value} timestamp {timestamp} realizada no servidor {server}"
                ));
            }
            (Outcome::Found(value, _), _) => &value[..],
            (Outcome::TryOther(_), _) => b"TRY_OTHER_SERVER_OR_LATER",
            _ => b"NULL",
        };
        let Op::Get(known) = self.op else { return None };
        Some(format!(
            "GET key: {key} value: {} obtido do servidor {server}, meu timestamp {known} e do servidor {timestamp}",
            Escaped(shown)
        ))
    }

    /// What a person should know and do.
    fn advice(&self) -> Option<String> {
        let reason = Escaped(self.outcome.reason()?.as_bytes());
        let key = Escaped(self.key);
        let op = self.op.name().to_uppercase();
        Some(match &self.outcome {
            Outcome::NotApplied(_) => {
                format!("{op} of key {key} was not applied: {reason}. It is safe to try again.")
            }
            Outcome::MayStillApply(_) => format!(
                "{op} of key {key} may still take effect: {reason}. \
                 GET the key and see before you try again."
            ),
            Outcome::Unreachable(_) => format!(
                "{op} of key {key} was sent to no server and has no effect: {reason}. \
                 Start the servers or check their addresses, then try again."
            ),
            _ => format!("{op} of key {key} failed: {reason}. It changed nothing; try again."),
        })
    }

    fn json(&self) -> String {
        let value = match (&self.outcome, self.op) {
            (Outcome::Found(value, _), _) => Some(&value[..]),
            (_, Op::Put(value)) => Some(value),
            _ => None,
        };
        let known = match self.op {
            Op::Put(_) => None,
            Op::Get(known) => Some(known),
        };
        let (key, key_hex) = text_or_hex(Some(self.key));
        let (value, value_hex) = text_or_hex(value);
        let (timestamp, server) = (self.outcome.timestamp(), self.server);
        let (outcome, reason) = (self.outcome.name(), self.outcome.reason());
        let op = self.op.name();
        json_line(&JsonReport {
            op,
            key,
            key_hex,
            outcome,
            value,
            value_hex,
            timestamp,
            known,
            server,
            reason,
        })
    }
}

impl Op<'_> {
    fn name(self) -> &'static str {
        match self {
            Op::Put(_) => "put",
            Op::Get(_) => "get",
        }
    }
}

/// One JSON line; bytes that are no UTF-8 are in the field with `_hex`.
#[derive(Serialize)]
struct JsonReport<'a> {
    op: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

fn text_or_hex(bytes: Option<&[u8]>) -> (Option<&str>, Option<String>) {
    match bytes.map(|bytes| (bytes, str::from_utf8(bytes))) {
        None => (None, None),
        Some((_, Ok(text))) => (Some(text), None),
        Some((bytes, Err(_))) => (None, Some(to_hex(bytes))),
    }
}

/// A JSON line that is safe on a terminal: besides JSON's own escapes, characters that do not
/// print are `\uXXXX`.
fn json_line(value: &impl Serialize) -> String {
    // Only maps with odd keys fail, and none of ours has any.
    let plain = serde_json::to_string(value).unwrap_or_default();
    let mut line = String::with_capacity(plain.len());
    for c in plain.chars() {
        let plain = matches!(c, ' '..='~') || (!c.is_ascii() && c.escape_debug().len() == 1);
        if plain {
            line.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(line, "\\u{unit:04x}");
        }
    }
    line
}

/// A server's `info`, or why there is none.
pub struct InfoReport<'a, 'i> {
    /// The server.
    pub server: SocketAddr,
    /// What it says.
    pub info: Result<&'a Info<'i>, &'a str>,
}

#[derive(Serialize)]
struct JsonInfo<'a, 'i> {
    op: &'static str,
    server: SocketAddr,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(flatten)]
    info: Option<&'a Info<'i>>,
}

impl InfoReport<'_, '_> {
    /// As one JSON line.
    pub fn json(&self) -> String {
        json_line(&JsonInfo {
            op: "info",
            server: self.server,
            outcome: if self.info.is_ok() { "ok" } else { "failed" },
            reason: self.info.err(),
            info: self.info.ok(),
        })
    }
}

/// As a few lines for people; counters that are zero are left out.
impl fmt::Display for InfoReport<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = match self.info {
            Ok(info) => info,
            Err(reason) => {
                return write!(f, "{}: no answer: {}", self.server, Escaped(reason.as_bytes()));
            }
        };
        let role = match info.leader == info.node {
            true => "leader".to_owned(),
            false => format!("follower of {}", info.leader),
        };
        let complete = if info.complete { "complete" } else { "INCOMPLETE, refuses GETs" };
        let digest = Escaped(info.table_digest.as_bytes());
        writeln!(f, "{}: node {}, {role}, {complete}", self.server, info.node)?;
        if !info.reason.is_empty() {
            writeln!(f, "  because {}", Escaped(info.reason.as_bytes()))?;
        }
        write!(
            f,
            "  epoch {}, applied {}, keys {}, table {digest}",
            info.epoch, info.applied, info.keys
        )?;
        for (id, follower) in &info.followers {
            let link = if follower.up { "up" } else { "DOWN" };
            write!(f, "\n  follower {id}: {link}, has every PUT up to {}", follower.acked)?;
        }
        for (name, count) in info.counters.iter().filter(|(_, count)| **count > 0) {
            write!(f, "\n  {} {count}", Escaped(name.as_bytes()))?;
        }
        Ok(())
    }
}
