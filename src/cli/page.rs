//! The page of a run, written by the commands that judge one, and opened in a browser. Knows no
//! protocol.

use super::tell;
use node_lab::explain::slice::{Asked, cut};
use node_lab::explain::{Merged, html};
use node_lab::study::{Property, Run, Verdict, Violation};
use node_lab::trace::{Event, Line, Testimony, told};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The page of a run, and whether somebody wants to look at it at once.
#[derive(clap::Args)]
pub struct PageArgs {
    /// Write the page of the run, with what it violates; of several runs, of the first that fails,
    /// as small as it was made
    #[arg(long, value_name = "FILE.html")]
    pub explain: Option<PathBuf>,
    /// Open that page in a browser: $BROWSER, or what xdg-open takes
    #[arg(long, requires = "explain")]
    pub open: bool,
}

/// How many events a page shows at most.
const MAX_EVENTS: usize = 20_000;

impl PageArgs {
    /// Writes the page that was asked for and opens it. `command` shows the run in full.
    ///
    /// # Errors
    /// What could not be written or opened, in one line that says what to do.
    pub fn write(&self, run: Merged<'_>, command: &str) -> Result<(), String> {
        let Some(file) = &self.explain else { return Ok(()) };
        let asked = Asked { around: None, events: MAX_EVENTS, command };
        let (run, part) = cut(run, &asked);
        if let Some(part) = &part {
            tell!("node: {}", part.says);
        }
        let extras = html::Extras { part, ..html::Extras::default() };
        let write = || {
            let mut out = BufWriter::new(File::create(file)?);
            html::write_with(&run, &extras, &mut out)?;
            out.flush()
        };
        write().map_err(|error: io::Error| format!("{}: {error}", file.display()))?;
        if self.open { open(file.as_os_str()) } else { Ok(()) }
    }
}

/// Opens a file or an address in a browser.
///
/// # Errors
/// There is none, in one line that says what to do.
pub fn open(what: &OsStr) -> Result<(), String> {
    let named = std::env::var_os("BROWSER").filter(|browser| !browser.is_empty());
    let browser = named.unwrap_or_else(|| "xdg-open".into());
    let quiet = Stdio::null;
    let mut command = Command::new(&browser);
    command.arg(what).stdin(quiet()).stdout(quiet()).stderr(quiet());
    command.spawn().map(drop).map_err(|error| {
        format!(
            "{} cannot be opened with {}: {error}; set BROWSER to a browser, or open it yourself",
            what.display(),
            browser.display(),
        )
    })
}

/// Adds verdicts to a run of which the traces say less: a violation that they do not tell becomes
/// an event, and a note says what was judged. Times of `run` are from `begin` on.
pub fn judge(
    merged: &mut Merged<'_>,
    run: &Run,
    begin: u64,
    verdicts: &[(&'static Property, Verdict)],
) {
    let mut words = Vec::new();
    let (mut held, mut unknown) = (0, 0);
    for (property, verdict) in verdicts {
        let word = match verdict {
            Verdict::Held => {
                held += 1;
                "held"
            }
            Verdict::Unknown { .. } | Verdict::Undecided { .. } => {
                unknown += 1;
                "unknown"
            }
            Verdict::Violated(found) => {
                violated(merged, run, begin, property, found);
                "violated"
            }
        };
        words.push(format!("{property} {word}"));
    }
    if !words.is_empty() {
        merged.judged = Some([held, unknown]);
        merged.notes.push(format!("judged by node verify: {}", words.join(", ")));
    }
}

fn violated(
    merged: &mut Merged<'_>,
    run: &Run,
    begin: u64,
    property: &Property,
    found: &Violation,
) {
    let is_told = merged.entries.iter().any(|entry| match &entry.line.event {
        Event::Violation { property: known, .. } => known == property.name,
        _ => false,
    });
    if is_told {
        return;
    }
    let witnesses = found.witnesses.iter().zip(told(&found.witnesses, run));
    let witnesses = witnesses.map(|(witness, told)| Testimony {
        op: witness.op().and_then(|place| name(merged, run, begin, place)).map(Into::into),
        at: told.at.map(|at| at.saturating_add(begin)),
        ..told
    });
    let witnesses = witnesses.collect();
    let at = found.shows_at(run).unwrap_or(run.end_ns).saturating_add(begin);
    let (property, label) = (property.name.into(), found.why.clone().into());
    let event = Event::Violation { property, label, witnesses };
    merged.add(Line { at, node: None, lamport: None, digest: None, event });
}

/// What the traces call an operation: that of the same kind, time and node. Merging may name
/// clients' operations anew, so names alone do not tell.
fn name(merged: &Merged<'_>, run: &Run, begin: u64, place: usize) -> Option<String> {
    let operation = run.operations.get(place)?;
    let at = operation.invoke_ns.saturating_add(begin);
    let sequence = format!("-{}", operation.sequence);
    let named = merged.entries.iter().filter(|entry| entry.line.at == at);
    let mut named = named.filter_map(|entry| match &entry.line.event {
        Event::Invoke { op, to, .. } if !operation.is_seen_at_node => {
            (Some(*to) == operation.node && op.ends_with(&sequence)).then_some(op)
        }
        Event::Request { op, .. } if operation.is_seen_at_node => {
            (entry.line.node == operation.node).then_some(op)
        }
        _ => None,
    });
    named.next().map(ToString::to_string)
}
