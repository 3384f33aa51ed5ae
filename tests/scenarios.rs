//! The scenarios that come with the binary: known by name in any folder, the same as their files,
//! and written where they can be changed.

use node_lab::sim::scenario::Scenario;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn node(folder: &Path, words: &[&str]) -> Output {
    let command = &mut Command::new(env!("CARGO_BIN_EXE_node"));
    command.current_dir(folder).args(words).output().expect("node runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn every_scenario_of_the_tree_comes_with_a_study_and_is_its_file() {
    let registry = node_studies::registry();
    let sim = root().join("configs/sim");
    let list = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("scenarios");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    let (folders, mut files): (Vec<_>, Vec<_>) = list(&sim).into_iter().partition(|it| it.is_dir());
    files.extend(folders.iter().flat_map(|folder| list(folder)));
    let mut names = 0;
    for file in files {
        let name = file.strip_prefix(&sim).expect("below").with_extension("");
        let name = name.to_string_lossy().into_owned();
        let (_, shipped) = registry.scenario(&name).expect(&name);
        assert!(!shipped.about().is_empty(), "{name}: its head says nothing");
        let of_file = Scenario::load(&file, &registry).expect("it loads");
        let of_name = Scenario::open(Path::new(&name), &registry).expect("it opens");
        let ids = |one: &Scenario| one.nodes.iter().map(|node| node.id).collect::<Vec<_>>();
        assert_eq!(ids(&of_file), ids(&of_name), "{name}");
        assert_eq!(of_file.properties, of_name.properties, "{name}");
        assert_eq!(of_file.plan(7), of_name.plan(7), "{name}");
        names += 1;
    }
    let shipped = registry.studies().iter().map(|study| study.scenarios.len()).sum::<usize>();
    assert_eq!(shipped, names, "as many files as names");
}

/// Whatever a seed draws can be saved, replayed and forked: it is a plan of its scenario.
#[test]
fn what_a_seed_draws_is_a_plan_of_its_scenario() {
    let registry = node_studies::registry();
    for one in registry.studies().iter().flat_map(|study| study.scenarios) {
        let name = one.name();
        let scenario = Scenario::open(Path::new(&name), &registry).expect("it opens");
        for seed in 1..=50 {
            let fit = scenario.check(&scenario.plan(seed));
            assert_eq!(fit, Ok(()), "{name}, seed {seed}");
        }
    }
}

#[test]
fn a_name_does_in_any_folder_and_a_copy_runs_as_the_original() {
    let folder = TempDir::new().expect("a folder");
    let hash = |folder: &Path, scenario: &str| {
        let ran = node(folder, &["sim", scenario, "--seed", "3", "--hashes"]);
        assert_eq!(ran.status.code(), Some(0), "{scenario}: {}", text(&ran.stderr));
        text(&ran.stdout).lines().next().expect("a hash").to_string()
    };
    let original = hash(root(), "configs/sim/clocks.toml");
    assert_eq!(hash(folder.path(), "clocks"), original);

    let write = || node(folder.path(), &["scenarios", "clocks", "--out", "mine"]);
    let written = write();
    assert_eq!(written.status.code(), Some(0), "{}", text(&written.stderr));
    assert!(text(&written.stdout).starts_with("mine/sim/clocks.toml\nmine/clocks/node-1.toml\n"));
    assert_eq!(hash(folder.path(), "mine/sim/clocks.toml"), original);
    assert_eq!(write().status.code(), Some(0), "what is there is the same");
    // What was changed is left alone, and what would come beside it is not written.
    let mine = folder.path().join("mine");
    fs::write(mine.join("clocks/node-1.toml"), "changed").expect("a file");
    fs::remove_file(mine.join("sim/clocks.toml")).expect("a file");
    let again = write();
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("mine/clocks/node-1.toml: File exists"));
    assert!(!mine.join("sim/clocks.toml").exists());

    let listed = node(folder.path(), &["scenarios"]);
    let line = "  clocks-max          Document 002's rule, max(local, received), breaks";
    assert!(text(&listed.stdout).contains(line), "{}", text(&listed.stdout));
    let shown = node(folder.path(), &["scenarios", "clocks"]);
    let file = fs::read(root().join("configs/sim/clocks.toml")).expect("the file");
    assert_eq!(shown.stdout, file);
}

#[test]
fn a_failure_of_a_name_is_replayed_and_a_name_of_none_is_told() {
    let folder = TempDir::new().expect("a folder");
    let ran = node(folder.path(), &["sim", "clocks-max", "--seeds", "1..3"]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stdout));
    let saved = "run/sim/clocks-max-1.toml";
    assert!(text(&ran.stdout).contains(&format!("node sim --replay {saved}")));
    let again = node(folder.path(), &["sim", "--replay", saved]);
    assert!(text(&again.stdout).contains("clock_condition is violated"), "{}", text(&again.stdout));

    for (words, why) in [
        (&["sim", "clockz"][..], "no scenario of that name: see node scenarios"),
        (&["scenarios", "clockz"][..], "clockz: no such scenario; node scenarios lists them"),
        (&["sim", "clockz.toml"][..], "clockz.toml: "),
    ] {
        let ran = node(folder.path(), words);
        assert_eq!(ran.status.code(), Some(2));
        assert!(text(&ran.stderr).contains(why), "{}", text(&ran.stderr));
    }
}
