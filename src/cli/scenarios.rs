//! `node scenarios`: the scenarios that come with the studies, to list, to read and to write where
//! they can be changed.

use super::output::Output;
use super::tell;
use crate::client::escaped;
use clap::Args;
use node_lab::registry::Registry;
use node_lab::study::{Shipped, StudyPlugin};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// List the scenarios that come with the binary, or write one to change it
///
/// Each is known by its name, in any folder:
///
///   node sim kv-all --seeds 1..1000
///
/// With --out it is written together with the configs that it names, and is a file like any other:
///
///   node scenarios kv-all --out mine
///   node sim mine/sim/kv-all.toml
///
/// Exit codes: 0, 1 when a file cannot be written or another is there already, 2 when there is no
/// scenario of that name, or what was asked for cannot be printed.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct ScenariosArgs {
    /// Print this one [default: list all, study by study]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Write it below this folder instead, with its configs
    #[arg(long, value_name = "DIR", requires = "name")]
    out: Option<PathBuf>,
}

/// Exit code when nothing can be said.
const UNKNOWN: u8 = 2;

/// Prints or writes.
pub fn run(args: &ScenariosArgs, registry: &Registry) -> ExitCode {
    let mut out = Output::default();
    let code = match &args.name {
        None => list(registry, &mut out),
        Some(name) => match registry.scenario(name) {
            Some((study, shipped)) => show(study, shipped, args.out.as_deref(), &mut out),
            None => {
                let name = escaped(name.as_bytes());
                tell!("node scenarios: {name}: no such scenario; node scenarios lists them");
                UNKNOWN
            }
        },
    };
    ExitCode::from(out.end("node scenarios", code, UNKNOWN))
}

fn list(registry: &Registry, out: &mut Output) -> u8 {
    let all = || registry.studies().iter().flat_map(|study| study.scenarios);
    let width = all().map(|one| one.name().len()).max().unwrap_or_default();
    for study in registry.studies().iter().filter(|study| !study.scenarios.is_empty()) {
        out.say(format_args!("{}", study.name));
        for one in study.scenarios {
            out.say(format_args!("  {:width$}  {}", one.name(), one.about()));
        }
    }
    if all().next().is_none() {
        tell!("node scenarios: none comes with these protocols: name scenarios by their files");
    }
    0
}

/// Prints a scenario, or writes it.
fn show(study: &StudyPlugin, shipped: &Shipped, folder: Option<&Path>, out: &mut Output) -> u8 {
    let Some(folder) = folder else {
        // It remembers an error itself.
        let _ = out.write_all(shipped.text.as_bytes());
        return 0;
    };
    let files = files(study, shipped);
    let named = |file: &Shipped| escaped(folder.join(file.path).display().to_string().as_bytes());
    // Nothing is written where something would be overwritten.
    for file in &files {
        let there = fs::read(folder.join(file.path));
        if there.is_ok_and(|text| text != file.text.as_bytes()) {
            tell!("node scenarios: {}: File exists, and is another", named(file));
            return 1;
        }
    }
    for file in &files {
        if let Err(why) = write(&folder.join(file.path), file.text) {
            tell!("node scenarios: {}: {why}", named(file));
            return 1;
        }
        out.say(format_args!("{}", named(file)));
    }
    0
}

/// A scenario, and the configs that it names.
pub(super) fn files(study: &StudyPlugin, shipped: &Shipped) -> Vec<Shipped> {
    let table: toml::Table = shipped.text.parse().unwrap_or_default();
    let nodes = table.get("nodes").and_then(toml::Value::as_array);
    let nodes = nodes.into_iter().flatten().filter_map(toml::Value::as_str);
    let named: BTreeSet<String> = nodes.map(|path| shipped.named(path)).collect();
    let configs = study.configs.iter().filter(|config| named.contains(config.path));
    [*shipped].into_iter().chain(configs.copied()).collect()
}

/// Writes a file, unless it is there as it is to be.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    match File::create_new(path) {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(why) if why.kind() == ErrorKind::AlreadyExists && path.is_file() => Ok(()),
        Err(why) => Err(why),
    }
}
