//! Results on disk: files that only their owner can read, as others' submissions may still run.

use super::assignment::Task;
use super::exchange::Failed;
use super::judge::Found;
use super::report::Report;
use super::results::{classroom, csv, gradescope, html, junit};
use node_lab::explain::{self, Source, merge};
use node_lab::sim::plan::Plan;
use serde::Serialize;
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

/// The page of a failure, and its plan where that is no secret.
///
/// # Errors
/// The trace cannot be read, or the page not written.
pub fn page(found: &Found, task: &Task, results: &Path, reveal: bool) -> Result<(), String> {
    let Some(trace) = &found.trace else { return Ok(()) };
    let mut source = Source::load(trace).map_err(|error| error.to_string())?;
    source.name.clone_from(&task.id);
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
    let id = &task.id;
    write_private(&folder.join(format!("{id}.html")), &text)?;
    let open = found.small.as_ref().filter(|_| found.seed.is_open(reveal));
    let Some((plan, Failed { property, .. })) = open else { return Ok(()) };
    let replay = Replay { scenario: &task.scenario, property, plan };
    let text = toml::to_string(&replay).map_err(|error| error.to_string())?;
    write_private(&folder.join(format!("{id}.toml")), &text)
}

/// A failing run's file, as `node sim --replay` reads it; who runs it names the program.
#[derive(Serialize)]
struct Replay<'a> {
    scenario: &'a Path,
    property: &'a str,
    #[serde(flatten)]
    plan: &'a Plan,
}

/// Every form of a report, in a folder.
///
/// # Errors
/// Which file cannot be written.
pub fn write_results(report: &Report<'_>, folder: &Path) -> Result<(), String> {
    let tasks: Vec<_> = report.tasks.iter().map(|(task, _)| *task).collect();
    let row = csv::head(&tasks) + &csv::row(report);
    let page = |task: &Task| {
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
