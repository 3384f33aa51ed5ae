//! The pages say what the code does: tables of keys, faults and properties are held against what
//! the parsers and the registry have, and links against what is there.

use node_lab::config::Config;
use node_lab::sim::branch::Branch;
use node_lab::sim::fault::Fault;
use node_lab::sim::scenario::Scenario;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All pages for users.
fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).expect("the folder is there");
    let mut pages: Vec<PathBuf> = docs.map(|entry| entry.expect("an entry").path()).collect();
    pages.retain(|path| path.extension().is_some_and(|end| end == "md"));
    pages.extend(["README.md", "ARCHITECTURE.md"].map(|name| root().join(name)));
    pages
}

/// The names between backticks.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_string).collect()
}

/// The rows of the table under a heading, cell by cell.
fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let head = format!("\n### {heading}\n");
    let start = page.find(&head).unwrap_or_else(|| panic!("no heading {heading}"));
    let lines = page[start + head.len()..].lines();
    let table = lines.skip_while(|line| !line.starts_with('|')).skip(2);
    let table = table.take_while(|line| line.starts_with('|'));
    table
        .map(|line| line.split(" | ").map(|cell| cell.trim_matches(['|', ' ']).into()).collect())
        .collect()
}

/// The keys that a table documents.
fn keys(page: &str, heading: &str) -> BTreeSet<String> {
    let rows = rows(page, heading);
    let keys: BTreeSet<String> = rows.iter().flat_map(|row| quoted(&row[0])).collect();
    assert_eq!(keys.len(), rows.len(), "{heading}: a key in each row, once");
    keys
}

/// What a parser that is given an unknown key says that there is.
fn expected(error: &str) -> BTreeSet<String> {
    let (_, known) = error.split_once("expected").unwrap_or_else(|| panic!("{error}"));
    quoted(known)
}

/// What is known in a table of a scenario of these nodes.
fn of_scenario(nodes: &[&str], table: &str) -> BTreeSet<String> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("scenario.toml");
    let nodes: Vec<PathBuf> = nodes.iter().map(|name| root().join("configs").join(name)).collect();
    let unknown = if table.is_empty() { "zz = 1\n".into() } else { format!("{table}\nzz = 1\n") };
    let (top, rest) =
        if table.is_empty() { (unknown, String::new()) } else { (String::new(), unknown) };
    let text = format!("{top}nodes = {nodes:?}\nproperties = []\n{rest}");
    fs::write(&path, text).expect("a file");
    let error = Scenario::load(&path, &node_studies::registry()).expect_err("a key is unknown");
    expected(&error)
}

#[test]
fn every_key_of_a_scenario_is_in_its_table() {
    let page = page("docs/scenarios.md");
    let store = ["kv-leader.toml", "kv-follower-2.toml", "kv-follower-3.toml"];
    let lottery = ["lottery/central.toml"];
    let board = [
        "board/broker.toml",
        "board/proxy.toml",
        "board/reference.toml",
        "board/server-1.toml",
        "board/server-2.toml",
        "board/server-3.toml",
    ];
    assert_eq!(keys(&page, "top level"), of_scenario(&store, ""));
    let mut tables: Vec<(&str, &[&str])> = vec![
        ("[hosted]", &store),
        ("[workload.kv_replication]", &store),
        ("[workload.lottery]", &lottery),
        ("[workload.board]", &board),
    ];
    tables.extend(
        ["[clocks]", "[network]", "[disk]", "[faults]", "[explore]"]
            .map(|table| (table, &store[..])),
    );
    for (table, nodes) in tables {
        assert_eq!(keys(&page, &format!("`{table}`")), of_scenario(nodes, table), "{table}");
    }
}

/// A value that a key of a fault takes.
fn value(key: &str) -> &'static str {
    match key {
        "nodes" | "spares" => "[1]",
        "wipe" | "whole" | "stranger" => "true",
        "how" => "\"flip\"",
        _ => "1",
    }
}

#[test]
fn every_fault_and_its_keys_are_in_the_table() {
    let page = page("docs/scenarios.md");
    let heading = "`[[fault]]`";
    let unknown = "at_ms = 1\nkind = \"zz\"\n";
    let error = toml::from_str::<Fault>(unknown).expect_err("there is none of that kind");
    assert_eq!(keys(&page, heading), expected(error.message()));
    for row in rows(&page, heading) {
        let kind = quoted(&row[0]).pop_first().expect("a kind");
        let mut text = format!("at_ms = 1\nfor_ms = 1\nkind = \"{kind}\"\n");
        for key in quoted(&row[1]) {
            text += &format!("{key} = {}\n", value(&key));
        }
        let fault: Fault = toml::from_str(&text).unwrap_or_else(|error| panic!("{kind}: {error}"));
        // What is written has all keys of the kind, and no others.
        let written = toml::Table::try_from(&fault).expect("it can be written");
        let general = ["at_ms", "for_ms", "kind"];
        let known = written.keys().filter(|key| !general.contains(&key.as_str()));
        assert_eq!(quoted(&row[1]), known.cloned().collect(), "{kind}");
    }
}

#[test]
fn every_key_of_a_branch_is_in_the_table() {
    let page = page("docs/scenarios.md");
    let heading = "`[[branch]]`";
    let error = toml::from_str::<Branch>("zz = 1").expect_err("there is none of that key");
    assert_eq!(keys(&page, heading), expected(error.message()));
    for row in rows(&page, heading) {
        let key = quoted(&row[0]).pop_first().expect("a key");
        let value = |key: &str| match key {
            "drop" | "first" => "true",
            "message" => "\"1\"",
            _ => "1",
        };
        let mut text = format!("{key} = {}\n", value(&key));
        for other in quoted(&row[1]) {
            text += &format!("{other} = {}\n", value(&other));
        }
        // These need one of several others.
        text += match &key[..] {
            "for_ms" => "at_ns = 1\ncrash = 1\n",
            "message" => "drop = true\n",
            _ => "",
        };
        let branch: Branch = toml::from_str(&text).unwrap_or_else(|error| panic!("{key}: {error}"));
        let written = toml::Table::try_from(branch).expect("it can be written");
        assert_eq!(toml::from_str::<toml::Table>(&text).expect("it is read"), written, "{key}");
    }
}

#[test]
fn every_key_of_a_config_is_in_its_table() {
    let page = page("docs/operating.md");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("node.toml");
    for (table, rest) in
        [("[node]", ""), ("[[listeners]]", "addr = \"127.0.0.1:1\"\n"), ("[limits]", "")]
    {
        let head = if table == "[node]" { "" } else { "[node]\nid = 1\n" };
        fs::write(&path, format!("{head}{table}\n{rest}zz = 1\n")).expect("a file");
        let error = Config::load(&path, &node_studies::registry());
        let error = error.map(|_| ()).expect_err("a key is unknown").to_string();
        assert_eq!(keys(&page, &format!("`{table}`")), expected(&error), "{table}");
    }
}

/// The registry is the one place: `node properties --markdown` prints what the page has.
#[test]
fn the_table_of_properties_is_that_of_the_registry() {
    let node = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
        let output = command.arg("properties").args(words).output().expect("the binary runs");
        let code = output.status.code();
        (code, String::from_utf8(output.stdout).expect("text"))
    };
    let (code, tables) = node(&["--markdown"]);
    assert_eq!(code, Some(0));
    let has_them = page("docs/verifying.md").contains(&tables);
    assert!(
        has_them,
        "docs/verifying.md is to have what node properties --markdown prints:\n{tables}"
    );
    let registry = node_studies::registry();
    let (_, text) = node(&[]);
    let (_, json) = node(&["--json"]);
    let all: Vec<serde_json::Value> = serde_json::from_str(&json).expect("an array");
    assert_eq!(all.len(), registry.properties().count());
    for (property, object) in registry.properties().zip(&all) {
        assert_eq!(object["name"], property.name);
        assert_eq!(object["statement"], property.statement);
        for told in [property.name, property.statement, property.source] {
            assert!(text.contains(told) && tables.contains(told), "{property}: {told}");
        }
        for bound in property.bounds {
            assert!(text.contains(bound.statement) && tables.contains(bound.name), "{property}");
        }
    }
    let (code, one) = node(&["one_coordinator"]);
    assert_eq!((code, one.matches("source: ").count()), (Some(0), 1), "{one}");
    assert!(one.contains("bound: handover_ms, 1000 ms unless set"), "{one}");
    assert!(one.contains("judged only when it is named"), "{one}");
    assert_eq!(node(&["nice"]), (Some(2), String::new()));
}

/// GitHub's name of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn links_lead_somewhere() {
    for path in pages() {
        let text = fs::read_to_string(&path).expect("a page");
        let name = path.display();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let folder = path.parent().expect("a folder");
            let target = if file.is_empty() { path.clone() } else { folder.join(file) };
            assert!(target.exists(), "{name}: {link}");
            if !place.is_empty() {
                let text = fs::read_to_string(&target).expect("a page");
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                let found =
                    headings.any(|line| anchor(line.trim_start_matches(['#', ' '])) == place);
                assert!(found, "{name}: {link}");
            }
        }
    }
}

#[test]
fn the_first_page_is_short_and_tells_what_is_run_after_every_change() {
    let page = page("README.md");
    assert!(page.len() <= 8_192, "README.md has {} bytes", page.len());
    let ci = fs::read_to_string(root().join(".ci/run")).expect("the script");
    let is_run = |command: &str| ci.lines().any(|line| line.trim() == command);
    assert!(page.contains("\nmake test ") && is_run("make test"), "one command runs all tests");
    let docs = fs::read_dir(root().join("docs")).expect("the folder is there");
    for entry in docs {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        assert!(page.contains(&format!("docs/{name}")), "README.md leads to docs/{name}");
    }
}
