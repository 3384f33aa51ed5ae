//! What `node explain` shows: traces read, checked and merged into one causal order.
//!
//! The forms it is shown in are in `html`, `text` and `shiviz`, and in the tables that studies
//! bring; they take a [`Merged`] and know nothing of files. Nothing here trusts a trace: a line
//! that is none is an error with its place, and what does not fit together (a message received that
//! nobody sent, or before it was sent) is said in [`Merged::notes`] and shown all the same.

mod carry;
mod data;
pub mod html;
mod kills;
mod merge;
pub mod shiviz;
pub mod slice;
pub mod text;
mod witnesses;

pub use self::text::title;

use crate::text::{is_beginning, line_of};
use crate::trace::{Event, Line};
use node_core::Escaped;
use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

/// A trace as it was read, not yet understood.
#[derive(Debug)]
pub struct Source {
    /// What errors and notes call it.
    pub name: String,
    /// JSON lines.
    pub text: String,
}

/// The traces, as one.
#[derive(Debug)]
pub struct Merged<'a> {
    /// `sim` or `node`.
    pub source: String,
    /// The scenario's or the configs' names.
    pub scenario: String,
    /// The simulator's seed.
    pub seed: Option<u64>,
    /// All nodes that a trace names, ascending.
    pub nodes: Vec<u32>,
    /// Where the times begin: 0 in the simulator, the first event of real nodes.
    pub base: u64,
    /// All events but the `run` lines and clients' `contact`s. A node's are in its own order, a
    /// message's receipt follows its sending, and otherwise the wall clock decides.
    pub entries: Vec<Entry<'a>>,
    /// What a reader must know about the traces: what was left out, what contradicts itself.
    pub notes: Vec<String>,
    /// Of the properties that it was judged by after it was read, how many held and how many are
    /// unknown; none when it was not.
    pub judged: Option<[usize; 2]>,
    /// When clients got what they had subscribed to; the entries are the `push`es of the nodes.
    heard: Vec<Heard<'a>>,
}

/// What a client heard.
#[derive(Debug)]
struct Heard<'a> {
    /// When, in nanoseconds as in the trace.
    at: u64,
    connection: u32,
    /// As in the `push`.
    label: Cow<'a, str>,
}

/// One event in its place.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The line.
    pub line: Line<'a>,
    /// When, in nanoseconds after [`Merged::base`]; never less than the entry before. It is later
    /// than the line's own time where the node's clock was behind that of the node it heard from.
    pub t: u64,
    /// The entry that sent the message which this one received or lost, or that was copied; the
    /// `invoke` of a `request`, and the `reply` of a `return`, where they have one name.
    pub cause: Option<usize>,
}

/// What a study tells of a run in a table, for `node explain --table NAME`. Registered by
/// [`Registry::register_table`](crate::registry::Registry::register_table).
#[derive(Clone, Copy)]
pub struct RunTable {
    /// What it is asked for by.
    pub name: &'static str,
    /// What it tells, in one line.
    pub help: &'static str,
    /// Draws it up and writes it; its errors are those of the output.
    pub write: fn(&Merged<'_>, &mut dyn Write) -> io::Result<()>,
}

/// Why traces cannot be shown.
#[derive(Debug)]
pub enum Error {
    /// The file cannot be read or written.
    Io(String, io::Error),
    /// The line is no UTF-8, or not a line of a trace.
    Line {
        /// The file.
        file: String,
        /// From 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(file, error) => write!(f, "{file}: {error}"),
            // What serde says may quote the trace.
            Error::Line { file, line, why } => {
                write!(f, "{file}:{line}: {}", Escaped(why.as_bytes()))
            }
        }
    }
}

impl std::error::Error for Error {}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(file: &Path) -> Result<Source, Error> {
        let name = file.display().to_string();
        let bytes = match std::fs::read(file) {
            Ok(bytes) => bytes,
            Err(error) => return Err(Error::Io(name, error)),
        };
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Source { name, text }),
            Err(error) => {
                let (at, wrong) =
                    (error.utf8_error().valid_up_to(), error.utf8_error().error_len());
                let mut bytes = error.into_bytes();
                let line = line_of(&bytes, at);
                // A last line may be cut off within a character.
                bytes.truncate(at);
                match (String::from_utf8(bytes), wrong) {
                    (Ok(text), None) => Ok(Source { name, text }),
                    _ => Err(Error::Line { file: name, line, why: "not UTF-8".into() }),
                }
            }
        }
    }

    /// The lines, with their numbers. Of a node that was killed the last may be cut off: that one
    /// is left out, and a note says so.
    fn lines<'a>(
        &'a self,
        notes: &mut Vec<String>,
        heard: &mut Vec<Heard<'a>>,
    ) -> Result<Vec<Line<'a>>, Error> {
        let mut lines = Vec::new();
        let broken = |line, why| Error::Line { file: self.name.clone(), line, why };
        for (index, text) in self.text.split('\n').enumerate() {
            if text.trim().is_empty() {
                continue;
            }
            match Line::read(text) {
                Ok(line) => {
                    if lines.is_empty() && !matches!(line.event, Event::Run { .. }) {
                        let why = "a trace begins with a line of kind \"run\"";
                        return Err(broken(index + 1, why.into()));
                    }
                    // What else clients meet on their connections stands at the nodes, too.
                    match line.event {
                        Event::Contact { connection, label, .. } if !label.is_empty() => {
                            heard.push(Heard { at: line.at, connection, label });
                        }
                        Event::Contact { .. } => {}
                        _ => lines.push(line),
                    }
                }
                Err(_) if is_last(&self.text, text) && is_beginning(text.as_bytes()) => {
                    notes.push(format!(
                        "{}:{}: the last line is cut off, and left out",
                        self.name,
                        index + 1
                    ));
                }
                Err(error) => {
                    let why = error.to_string();
                    let why = why.split(" at line ").next().unwrap_or_default();
                    return Err(broken(index + 1, format!("not a line of a trace: {why}")));
                }
            }
        }
        if lines.is_empty() {
            return Err(broken(1, "no events".into()));
        }
        Ok(lines)
    }
}

/// Whether `line` ends `text` without a newline.
fn is_last(text: &str, line: &str) -> bool {
    line.as_bytes().as_ptr_range().end == text.as_bytes().as_ptr_range().end
}

/// Reads and merges traces.
///
/// # Errors
/// Which line of which source is none of a trace.
pub fn merge(sources: &[Source]) -> Result<Merged<'_>, Error> {
    let (mut notes, mut heard) = (Vec::new(), Vec::new());
    let mut files = Vec::with_capacity(sources.len());
    for source in sources {
        files.push(source.lines(&mut notes, &mut heard)?);
    }
    Ok(Merged { heard, ..merge::merge(files, notes) })
}

impl<'a> Merged<'a> {
    /// The message that an entry is about, as its sender named it: protocol, label and short form.
    /// Follows copies to their original.
    pub fn message<'b>(
        &'b self,
        entry: &'b Entry<'a>,
    ) -> Option<(&'b str, &'b str, Option<&'b str>)> {
        let mut entry = entry;
        // A message, its copy and a copy's receipt; nothing makes a copy of a copy, and a trace
        // that says so is not followed for ever.
        for _ in 0..4 {
            if let Event::Send { protocol, label, brief, .. } = &entry.line.event {
                return Some((protocol, label, brief.as_deref()));
            }
            entry = &self.entries[entry.cause?];
        }
        None
    }

    /// Adds what nobody wrote into the traces, behind all that had happened by then.
    pub fn add(&mut self, line: Line<'a>) {
        let t = line.at.saturating_sub(self.base);
        let place = self.entries.partition_point(|entry| entry.t <= t);
        for entry in &mut self.entries {
            entry.cause = entry.cause.map(|cause| cause + usize::from(cause >= place));
        }
        self.entries.insert(place, Entry { line, t, cause: None });
    }

    /// Of each violation, in the order of the entries, the entries that its witnesses mean, by
    /// their indices; none for a witness that fits no entry.
    pub fn witnesses(&self) -> Vec<Vec<Option<usize>>> {
        let places = witnesses::Places::of(self);
        let violations = self.entries.iter().filter_map(|entry| match &entry.line.event {
            Event::Violation { witnesses, .. } => Some(witnesses),
            _ => None,
        });
        violations.map(|all| all.iter().map(|one| places.find(one)).collect()).collect()
    }

    /// How many violations there are.
    pub fn violations(&self) -> usize {
        let is = |entry: &&Entry| matches!(entry.line.event, Event::Violation { .. });
        self.entries.iter().filter(is).count()
    }
}

/// The value of the field `kind`.
pub fn kind(event: &Event) -> &'static str {
    match event {
        Event::Run { .. } => "run",
        Event::Start { .. } => "start",
        Event::Crash => "crash",
        Event::Stop => "stop",
        Event::Pause { .. } => "pause",
        Event::Link { .. } => "link",
        Event::Send { .. } => "send",
        Event::Recv { .. } => "recv",
        Event::Drop { .. } => "drop",
        Event::Duplicate { .. } => "duplicate",
        Event::Timer { .. } => "timer",
        Event::Request { .. } => "request",
        Event::Reply { .. } => "reply",
        Event::Push { .. } => "push",
        Event::Invoke { .. } => "invoke",
        Event::Return { .. } => "return",
        Event::Contact { .. } => "contact",
        Event::Fact { .. } => "fact",
        Event::View { .. } => "view",
        Event::Sync { .. } => "sync",
        Event::File { .. } => "file",
        Event::Print { .. } => "print",
        Event::Note { .. } => "note",
        Event::Fault { .. } => "fault",
        Event::Violation { .. } => "violation",
    }
}
