//! The shape of the code, as far as a test can keep it: which room knows which, no circle among
//! files, no protocol's name in the engine, and the house's style. Cargo keeps the rest: what is in
//! a package that does not depend on another cannot name it.

#[path = "tidy/rooms.rs"]
mod rooms;

use self::rooms::{Package, code, files};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The packages, the folder of each, and what in it is not the package's.
const PACKAGES: [Package; 6] = [
    Package { name: "node-core", folder: "protocols/core", without: &[] },
    Package {
        name: "node-protocols",
        folder: "protocols",
        without: &["core", "studies", "tests", "study"],
    },
    Package { name: "node-lab", folder: "src/lab", without: &[] },
    Package { name: "node-studies", folder: "protocols/studies", without: &[] },
    Package { name: "node-workloads", folder: "src/workloads", without: &[] },
    Package { name: "node", folder: "src", without: &["lab", "workloads"] },
];

/// The rooms of the laboratory and of the node, and which others each may know: ARCHITECTURE has
/// the same.
const ROOMS: [(&str, &str, &[&str]); 20] = [
    ("node-lab", "text", &[]),
    ("node-lab", "log", &[]),
    ("node-lab", "check", &[]),
    ("node-lab", "plugins", &[]),
    ("node-lab", "config", &["plugins", "text"]),
    ("node-lab", "wire", &["plugins"]),
    ("node-lab", "hosted", &[]),
    ("node-lab", "study", &["check", "config", "plugins", "text"]),
    ("node-lab", "registry", &["explain", "plugins", "study"]),
    ("node-lab", "trace", &["check", "plugins", "study", "text"]),
    (
        "node-lab",
        "sim",
        &["check", "config", "hosted", "log", "registry", "study", "text", "trace", "wire"],
    ),
    ("node-lab", "explain", &["check", "text", "trace"]),
    ("node", "wal", &[]),
    ("node", "client", &[]),
    ("node", "disk", &["wal"]),
    ("node", "epoch", &[]),
    ("node", "net", &["disk", "epoch", "wal"]),
    ("node", "load", &["client"]),
    ("node", "cli", &["client", "load", "net"]),
    ("node", "clients", &["cli", "client", "epoch"]),
];

/// Where no protocol is named: whoever comes from outside is served like this tree's.
const ENGINE: [&str; 7] =
    ["src/lab", "src/cli", "src/client.rs", "src/load", "src/net", "src/disk", "src/wal"];
/// The protocols of this tree, and what only they are about. Not `lamport`: that clock is in the
/// envelope.
const NAMES: [&str; 7] = ["bully", "berkeley", "lottery", "kv_", "membership", "bulletin", "board"];

/// The longest line, in columns.
const COLUMNS: usize = 100;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All that is wrong, a line each.
#[track_caller]
fn assert_none(what: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}

#[test]
fn no_file_knows_one_that_knows_it() {
    let circles: Vec<String> =
        PACKAGES.iter().flat_map(|package| package.graph(root()).circles()).collect();
    assert_none("files that import each other, by whatever way", &circles);
}

#[test]
fn a_room_knows_only_those_below_it() {
    let mut wrong = Vec::new();
    for package in PACKAGES.iter().filter(|one| ["node", "node-lab"].contains(&one.name)) {
        let graph = package.graph(root());
        for (from, to) in graph.between_rooms() {
            let room = ROOMS.iter().find(|(of, name, _)| *of == package.name && *name == from);
            let Some((_, _, may)) = room else {
                wrong.push(format!("{}: the room {from} is not in the table", package.name));
                continue;
            };
            if !may.contains(&&*to) {
                wrong.push(format!("{}: {from} knows {to}", package.name));
            }
        }
    }
    assert_none("rooms that must not know each other", &wrong);
}

/// The engine's files, by their paths from the root.
fn engine() -> Vec<String> {
    let all = ENGINE.iter().flat_map(|folder| files(&root().join(folder)));
    all.map(|file| file.strip_prefix(root()).expect("below").display().to_string()).collect()
}

/// The names of this tree's facts. `ClockOffset` is the core's.
fn facts() -> Vec<String> {
    let text = fs::read_to_string(root().join("protocols/facts.rs")).expect("the facts");
    let names = text.split("const NAME: &'static str = \"").skip(1);
    names.filter_map(|rest| Some(rest.split_once('"')?.0.to_string())).collect()
}

/// Whether a word stands there, and is no part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|one| one == word)
}

#[test]
fn the_engine_names_no_protocol_and_no_fact() {
    let (facts, mut wrong) = (facts(), Vec::new());
    assert!(facts.len() > 3, "{facts:?}");
    for path in engine() {
        for (number, line) in code(&root().join(&path)).lines().enumerate() {
            let protocol = NAMES.iter().find(|name| line.contains(*name));
            let fact = facts.iter().find(|fact| has_word(line, fact));
            if let Some(name) = protocol.copied().or(fact.map(String::as_str)) {
                wrong.push(format!("{path}:{}: {name}: {}", number + 1, line.trim()));
            }
            let crates = line.contains("node_protocols::") || line.contains("node_studies::");
            let is_core = line.contains("node_protocols::core") && !path.starts_with("src/lab");
            if crates && !is_core {
                wrong.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none("protocols and facts in the engine", &wrong);
}

#[test]
fn every_file_opens_with_what_it_owns_and_no_line_is_longer_than_a_screen() {
    let folders = ["src", "protocols", "tests", "benches", "examples", "fuzz/src", "fuzz/targets"];
    let mut wrong = Vec::new();
    for file in folders.iter().flat_map(|folder| files(&root().join(folder))) {
        let text = fs::read_to_string(&file).expect("a file");
        let name = file.strip_prefix(root()).unwrap_or(&file).display();
        if !text.starts_with("//!") {
            wrong.push(format!("{name}: it does not say what it owns"));
        }
        for (number, line) in text.lines().enumerate() {
            // A text that people or programs read is not cut where it does not end.
            let is_text = line.contains('"') || line.trim_end().ends_with('\\');
            let is_comment = line.trim_start().starts_with("//");
            if line.chars().count() > COLUMNS
                && (is_comment && !line.starts_with("//! |") || !is_text && !is_comment)
            {
                wrong.push(format!("{name}:{}: longer than {COLUMNS} columns", number + 1));
            }
        }
    }
    assert_none("style", &wrong);
}

/// What the compiler and clippy keep, as long as they are told to: documentation of everything
/// public, the errors of what can fail, and functions that fit a screen.
#[test]
fn the_lints_of_the_house_are_on_in_every_package() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("a manifest");
    let workspace = read("Cargo.toml");
    for lint in ["unsafe_code = \"forbid\"", "missing_docs", "missing_errors_doc", "too_many_lines"]
    {
        assert!(workspace.contains(lint), "Cargo.toml: {lint}");
    }
    assert!(read("clippy.toml").contains("too-many-lines-threshold = 70"));
    for package in &PACKAGES {
        let manifest = match package.folder {
            "src" => workspace.clone(),
            folder => read(&format!("{folder}/Cargo.toml")),
        };
        let has = manifest.contains("[lints]\nworkspace = true");
        assert!(has, "{}: it has the workspace's lints", package.name);
    }
}

/// The test's own eyes: a circle of three, and rooms.
#[test]
fn circles_and_rooms_are_seen() {
    let edge = |to: &[&str]| to.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let edges = BTreeMap::from([
        ("a".to_string(), edge(&["b::x"])),
        ("b::x".to_string(), edge(&["c"])),
        ("b::y".to_string(), edge(&["c"])),
        ("c".to_string(), edge(&["a"])),
    ]);
    let graph = rooms::Graph { package: "p", edges };
    assert_eq!(graph.circles(), ["p: a, b::x, c"]);
    let between: Vec<(String, String)> = graph.between_rooms().into_iter().collect();
    let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
    assert_eq!(between, [pair("a", "b"), pair("b", "c"), pair("c", "a")]);
}
