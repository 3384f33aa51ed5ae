//! What happened, one JSON line an operation, for the checkers.

use serde::Serialize;
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Lines wait for this many bytes before they are written: the loop seldom stops for the disk.
const BUFFER_BYTES: usize = 1 << 20;

/// A file of operations.
pub struct History {
    out: BufWriter<File>,
}

/// One operation, in the order of the file's fields.
#[derive(Serialize)]
pub struct Line<'a> {
    /// The client's number.
    pub client: u32,
    /// `put` or `get`.
    pub op: &'static str,
    /// The key.
    pub key: Cow<'a, str>,
    /// What was PUT, or what the GET got.
    pub value: Option<Cow<'a, str>>,
    /// When it was sent.
    pub invoke_ns: u64,
    /// When its reply was read; none without one.
    pub return_ns: Option<u64>,
    /// How it ended.
    pub outcome: &'static str,
    /// The reply's; 0 for none.
    pub timestamp: u64,
    /// Who was asked.
    pub server: &'a str,
}

impl History {
    /// Starts a file, which must not exist yet: a history is not to be lost by a second run.
    pub fn create(path: &Path) -> Result<History, String> {
        let file = File::create_new(path).map_err(|error| {
            format!("history {} cannot be made: {error}; name a file that is new", path.display())
        })?;
        Ok(History { out: BufWriter::with_capacity(BUFFER_BYTES, file) })
    }

    /// Appends one operation.
    pub fn write(&mut self, line: &Line<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }

    /// Writes what waits.
    pub fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
