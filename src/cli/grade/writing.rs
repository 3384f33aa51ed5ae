//! Results on disk: files that only their owner can read, as others' submissions may still run.

use super::judge::Found;
use super::report::Report;
use super::results::{classroom, csv, gradescope, html, junit};
use node_lab::explain::{self, Source, merge};
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Makes a folder that only its owner can enter; one that is there stays as it is.
///
/// # Errors
/// It cannot be made.
pub fn create_private(folder: &Path) -> Result<(), String> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| format!("{}: {error}", folder.display()))
}

/// Writes a file that only its owner can read.
///
/// # Errors
/// It cannot be written.
pub fn write_private(path: &Path, text: &str) -> Result<(), String> {
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let done = open.and_then(|mut file| {
        // One that was there may be open to all.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())
    });
    done.map_err(|error| format!("{}: {error}", path.display()))
}

/// The page of a failure.
///
/// # Errors
/// The trace cannot be read, or the page not written.
pub fn page(found: &Found, task: &str, results: &Path, reveal: bool) -> Result<(), String> {
    let Some(trace) = &found.trace else { return Ok(()) };
    let mut source = Source::load(trace).map_err(|error| error.to_string())?;
    source.name = task.into();
    let sources = [source];
    let mut merged = merge(&sources).map_err(|error| error.to_string())?;
    if !found.seed.is_open(reveal) {
        merged.seed = None;
    }
    let mut bytes = Vec::new();
    explain::html::write(&merged, &mut bytes).map_err(|error| error.to_string())?;
    let folder = results.join("pages");
    create_private(&folder)?;
    let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    write_private(&folder.join(format!("{task}.html")), &text)
}

/// Every form of a report, in a folder.
///
/// # Errors
/// Which file cannot be written.
pub fn write_results(report: &Report<'_>, folder: &Path) -> Result<(), String> {
    let tasks: Vec<_> = report.tasks.iter().map(|(task, _)| *task).collect();
    let row = csv::head(&tasks) + &csv::row(report);
    let page = |task: &super::assignment::Task| {
        let page = format!("pages/{}.html", task.id);
        let is_its = report.tasks.iter().any(|(one, result)| {
            let trace = result.failure.as_ref().and_then(|found| found.trace.as_ref());
            one.id == task.id && trace.is_some()
        });
        (is_its && folder.join(&page).exists()).then_some(page)
    };
    for (name, text) in [
        ("results.json", gradescope::write(report)),
        ("classroom.b64", classroom::write(report)),
        ("junit.xml", junit::write(report)),
        ("row.csv", row),
        ("report.html", html::write(report, &page)),
    ] {
        write_private(&folder.join(name), &text)?;
    }
    Ok(())
}
