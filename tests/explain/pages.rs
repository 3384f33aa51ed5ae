//! Pages for a browser.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use node_lab::explain::slice::{Asked, cut};
use node_lab::explain::{Source, html, merge};
use std::path::Path;

/// Writes the page of a trace.
#[allow(dead_code, reason = "not every test wants all of a run")]
pub fn page(trace: String, file: &Path) {
    part(trace, usize::MAX, file);
}

/// Writes a page of so many events of it at most.
pub fn part(trace: String, events: usize, file: &Path) {
    let sources = [Source { name: "sample".into(), text: trace }];
    let run = merge(&sources).unwrap();
    assert!(run.notes.is_empty(), "{:?}", run.notes);
    let asked = Asked { around: None, events, command: "node explain sample -o part.html" };
    let (run, part) = cut(run, &asked);
    let mut out = Vec::new();
    html::write_with(&run, &html::Extras { part, ..html::Extras::default() }, &mut out).unwrap();
    std::fs::write(file, out).unwrap();
}
