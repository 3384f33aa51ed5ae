//! What clients saw and what was left in the end: the input of every checker. As JSON lines, one
//! record a line; simulated runs, `node bench kv --history` and tests write the same form.

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Record {
    /// A client's operation.
    Op(Op),
    /// What a replica held at the end, when nothing was under way any more.
    Replica(Replica),
}

/// A client's operation on a key-value store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Op {
    /// The client; its operations do not overlap.
    pub client: u64,
    /// Which operation.
    pub op: Kind,
    /// The key.
    pub key: String,
    /// PUT: the value written, unique in the history. GET: the value read; none where none was.
    pub value: Option<String>,
    /// When it was sent, in nanoseconds of one clock for the whole history.
    pub invoke_ns: u64,
    /// When its answer came; none when none did.
    pub return_ns: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// PUT: the timestamp that the server gave. GET: the timestamp of the value, or the server's
    /// own for the key when it refused; 0 for none.
    #[serde(default)]
    pub timestamp: u64,
    /// The server that was asked.
    #[serde(default)]
    pub server: String,
}

/// Which operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Store a value.
    Put,
    /// Read a value.
    Get,
}

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// PUT_OK, or a value.
    Ok,
    /// GET: the key was never PUT.
    Null,
    /// GET: refused, the server is behind the client.
    TryOther,
    /// PUT: it did not and will not take effect.
    NotApplied,
    /// PUT: it may have taken effect, or still take effect.
    MayStillApply,
    /// No answer came: as `MayStillApply` for a PUT, nothing for a GET.
    Unknown,
}

/// What a replica held at the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Replica {
    /// Which replica.
    pub replica: String,
    /// Its last PUT.
    pub applied: u64,
    /// A digest of its table, in hexadecimal.
    pub digest: String,
}
