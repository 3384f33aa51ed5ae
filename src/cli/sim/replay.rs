//! Failing runs as files: saved by one `node sim`, and run again by another.

use node_lab::hosted::Hosting;
use node_lab::sim::branch::Branch;
use node_lab::sim::fault::Fault;
use node_lab::sim::moves::Choice;
use node_lab::sim::plan::{self, Plan};
use node_lab::sim::scenario::Scenario;
use node_lab::text;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// A failing run's file.
#[derive(Serialize)]
pub(in crate::cli) struct Replay {
    /// The scenario's file, relative to the working directory, or its name.
    pub scenario: PathBuf,
    /// What it violates.
    pub property: String,
    /// The program that its nodes are, if they are programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Started>,
    #[serde(flatten)]
    pub plan: Plan,
}

/// A program, and what it is started with.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::cli) struct Started {
    pub bin: PathBuf,
    #[serde(default)]
    pub args: Vec<String>,
}

/// Saves a plan that violates a property. Answers its file.
///
/// # Errors
/// It cannot be written, in one line.
pub(in crate::cli) fn save(
    folder: &Path,
    scenario: &Scenario,
    plan: &Plan,
    property: &str,
) -> Result<PathBuf, String> {
    let text = text(scenario, plan, property)?;
    let stem = scenario.path.file_stem().unwrap_or_default().to_string_lossy();
    let path = folder.join(format!("{stem}-{}.toml", plan.seed));
    let told = |error: io::Error| {
        format!("cannot save {}: {error}; name another folder with --save", path.display())
    };
    std::fs::create_dir_all(folder).map_err(told)?;
    std::fs::write(&path, text).map_err(|error| {
        // Half a plan is none.
        let _ = std::fs::remove_file(&path);
        told(error)
    })?;
    Ok(path)
}

/// What is in such a file.
///
/// # Errors
/// The plan cannot be written as TOML, in one line.
pub(in crate::cli) fn text(
    scenario: &Scenario,
    plan: &Plan,
    property: &str,
) -> Result<String, String> {
    let program = scenario.hosted.as_ref().map(|hosted| &hosted.hosting);
    let program =
        program.map(|Hosting { bin, args, .. }| Started { bin: bin.clone(), args: args.clone() });
    let replay = Replay {
        scenario: scenario.path.clone(),
        property: property.into(),
        program,
        plan: plan.clone(),
    };
    toml::to_string(&replay).map_err(|error| error.to_string())
}

/// Reads one.
///
/// # Errors
/// What is wrong with it, in one line.
pub(in crate::cli) fn read(path: &Path) -> Result<Replay, String> {
    let text = text::read(path).map_err(|error| error.of(path))?;
    parse(path, &text)
}

/// A file as it is read: flat, so that an error knows its line.
#[derive(Deserialize)]
struct Form {
    scenario: PathBuf,
    property: String,
    program: Option<Started>,
    seed: u64,
    clients: u32,
    operations: u32,
    #[serde(default)]
    fault: Vec<Fault>,
    #[serde(default)]
    branch: Vec<Branch>,
    choice: Option<Vec<Choice>>,
}

/// Reads the text of one; `path` only names it.
///
/// # Errors
/// What is wrong with it, in one line.
pub(in crate::cli) fn parse(path: &Path, text: &str) -> Result<Replay, String> {
    let form: Form = plan::parse(path, text)?;
    let Form { scenario, property, program, .. } = form;
    let Form { seed, clients, operations, fault: faults, branch: branches, .. } = form;
    let plan = Plan { seed, clients, operations, faults, branches, choices: form.choice };
    Ok(Replay { scenario, property, program, plan })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_plan_is_told_with_its_line() {
        let text = "scenario = \"s\"\nproperty = \"p\"\nseed = 1\nclients = 1\noperations = 1\n\n\
                    [[fault]]\nat_ms = 1\nfor_ms = 1\nkind = \"pause\"\nnode = 1\n\n\
                    [[branch]]\nat_ns = 5\nreseed = 2\n";
        let plan = parse(Path::new("p.toml"), text).map(|replay| replay.plan);
        assert_eq!(plan.as_ref().map(|plan| plan.branches.len()), Ok(1));
        let again = toml::from_str::<Plan>(&text.split_once("property").expect("it").1[6..]);
        assert_eq!(plan.ok(), again.ok());
        let wrong = parse(Path::new("p.toml"), &text.replace("reseed", "rseed")).err();
        let line = wrong.as_deref().and_then(|why| why.split(':').nth(1));
        assert!(matches!(line, Some("13" | "14" | "15")), "{wrong:?}");
    }
}
