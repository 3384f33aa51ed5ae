//! Reading files of runs in the forms that studies have for them: JSON lines in, or which line is wrong
//! and why. Knows no form.

use super::{Run, StudyPlugin};
use crate::text::is_beginning;
use std::fmt;
use std::io::{self, BufRead, Read};

/// The longest line, in bytes: the longest value that a store takes by default, with every byte
/// escaped, and room for the key.
const MAX_LINE_BYTES: u64 = 8 << 20;

/// Reads the lines of a form that is a study's own.
pub trait Lines {
    /// Takes a line, of that number from 1; false when it is of no form that this knows.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    fn take(&mut self, number: usize, line: &serde_json::Value) -> Result<bool, String>;
    /// All lines are read: adds them to the run. Answers by how much clients' numbers were moved, since
    /// the clients of different files are different clients.
    ///
    /// # Errors
    /// Which line is wrong, and why.
    fn finish(self: Box<Self>, run: &mut Run) -> Result<u64, (usize, String)>;
}

/// Why a file cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// The source failed.
    Io(io::Error),
    /// A line is none of a history.
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Io(error) => write!(f, "{error}"),
            ReadError::Line { line, why } => write!(f, "line {line}: {why}"),
        }
    }
}

impl std::error::Error for ReadError {}

/// What was read of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// By how much clients' numbers were moved.
    pub moved: u64,
    /// The number of the last line, of which only the beginning is there, as its writer was killed: it is
    /// left out.
    pub cut: Option<usize>,
}

/// Adds a file to a run: JSON lines, blank ones skipped.
///
/// # Errors
/// Which line is wrong, or that the source failed.
pub fn read_lines(
    mut input: impl BufRead,
    studies: &[StudyPlugin],
    run: &mut Run,
) -> Result<Taken, ReadError> {
    let mut readers: Vec<Box<dyn Lines>> =
        studies.iter().filter_map(|study| study.lines()).collect();
    let mut taken = Taken { moved: 0, cut: None };
    let mut buffer = Vec::new();
    for line in 1.. {
        let error = |why: String| ReadError::Line { line, why };
        buffer.clear();
        let mut limited = (&mut input).take(MAX_LINE_BYTES);
        let n = limited.read_until(b'\n', &mut buffer).map_err(ReadError::Io)?;
        if n == 0 {
            break;
        }
        if n as u64 == MAX_LINE_BYTES && buffer.last() != Some(&b'\n') {
            return Err(error(format!("longer than {MAX_LINE_BYTES} bytes")));
        }
        let text = buffer.trim_ascii();
        if text.is_empty() {
            continue;
        }
        if buffer.last() != Some(&b'\n') && is_beginning(text) {
            taken.cut = Some(line);
            break;
        }
        let value: serde_json::Value =
            serde_json::from_slice(text).map_err(|why| error(format!("no JSON object: {why}")))?;
        let mut is_taken = false;
        for reader in &mut readers {
            is_taken = is_taken || reader.take(line, &value).map_err(error)?;
        }
        if !is_taken {
            return Err(error("no line of a trace, and no study knows a line of this form".into()));
        }
    }
    for reader in readers {
        let moved = reader.finish(run).map_err(|(line, why)| ReadError::Line { line, why })?;
        taken.moved = taken.moved.max(moved);
    }
    Ok(taken)
}
