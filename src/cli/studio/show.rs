//! Traces as pages, each of no more than a browser takes: of a run that has more, the part around
//! something.

use node_lab::explain::slice::{Around, Asked, cut};
use node_lab::explain::{Entry, Merged, Source, html, merge};

/// The most events that a page shows.
pub(super) const MAX_EVENTS: usize = 20_000;

/// The page of traces, or of the part around that time, in nanoseconds; `judge` adds verdicts that
/// they lack, and `command` is what shows them in the terminal.
///
/// # Errors
/// One is no trace, in one line.
pub(super) fn page(
    sources: &[Source],
    around: Option<u64>,
    command: &str,
    judge: impl FnOnce(&mut Merged<'_>),
) -> Result<Vec<u8>, String> {
    let mut run = merge(sources).map_err(|error| error.to_string())?;
    judge(&mut run);
    let around = around.map(Around::Time);
    let (run, part) = cut(run, &Asked { around, events: MAX_EVENTS, command });
    let mut page = Vec::new();
    let extras = html::Extras { part, ..html::Extras::default() };
    html::write_with(&run, &extras, &mut page).map_err(|error| error.to_string())?;
    Ok(page)
}

/// The place of an entry of a run on the page of the part around that time; none where it is not
/// on it.
pub(super) fn place_on_page(run: Merged<'_>, place: usize, around: u64) -> Option<usize> {
    let wanted = run.entries.get(place).map(|entry| (entry.t, entry.line.clone()))?;
    let around = Some(Around::Time(around));
    let (part, _) = cut(run, &Asked { around, events: MAX_EVENTS, command: "" });
    let is_it = |entry: &Entry<'_>| entry.t == wanted.0 && entry.line == wanted.1;
    part.entries.iter().position(is_it)
}
