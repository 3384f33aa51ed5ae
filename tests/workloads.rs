//! Workloads with programs: one that does each of them right, and one for each way to do it wrong,
//! which a property by name finds in every run. Where there is no Python, nothing is run.

use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn program() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/node.py");
    file.display().to_string()
}

fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output();
    found.is_ok_and(|output| output.status.success())
}

/// A scenario with the program, wrong or right.
fn sim(folder: &Path, scenario: &str, seeds: &str, mode: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    command.current_dir(folder).args(["sim", scenario, "--seeds", seeds, "--no-shrink"]);
    command.args(["--bin", &program(), "--", mode]).output().expect("node runs")
}

/// Fails unless all seeds end so: held, or violating this.
#[track_caller]
fn assert_ends(output: &Output, violated: Option<&str>, seeds: usize) {
    let text = String::from_utf8_lossy(&output.stdout);
    let all = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(i32::from(violated.is_some())), "{all}");
    if let Some(property) = violated {
        let found = text.matches(&format!("{property} is violated")).count();
        assert_eq!(found, seeds, "{all}");
    }
}

/// Three nodes and a workload, for four seconds.
fn write(folder: &Path, kind: &str, properties: &str) -> String {
    let name = format!("{kind}.toml");
    let text = format!(
        "properties = [{properties}]\nseconds = 5\nsettle_seconds = 20\n[hosted]\nnodes = 3\n\
         [workload]\nkind = \"{kind}\"\nrate = 20\n"
    );
    std::fs::write(folder.join(&name), text).expect("a file");
    name
}

/// A workload, its properties, and each way to be wrong with the property that finds it.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

#[test]
fn each_workload_tells_right_from_wrong() {
    if !has_python() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let sets = "\"broadcast_delivers\", \"no_phantoms\", \"no_duplicates\", \"answers_in_form\"";
    let logs = "\"kafka_offsets_monotonic\", \"kafka_no_skips\", \"kafka_consistent_offsets\", \
                \"kafka_commits\", \"kafka_no_lost_writes\", \"answers_in_form\"";
    let cases: [Case<'_>; 7] = [
        ("echo", "\"echoes\", \"available\"", &[("loud", "echoes")]),
        ("unique-ids", "\"unique_ids\", \"available\"", &[("same", "unique_ids")]),
        (
            "broadcast",
            sets,
            &[
                ("silent", "broadcast_delivers"),
                ("invents", "no_phantoms"),
                ("repeats", "no_duplicates"),
            ],
        ),
        (
            "g-set",
            "\"g_set_delivers\", \"g_set_no_phantoms\", \"g_set_no_duplicates\"",
            &[("silent", "g_set_delivers"), ("invents", "g_set_no_phantoms")],
        ),
        ("g-counter", "\"counter_sums\"", &[("counter silent", "counter_sums")]),
        ("pn-counter", "\"pn_counter_sums\"", &[("counter silent", "pn_counter_sums")]),
        (
            "kafka",
            logs,
            &[
                ("loses", "kafka_no_lost_writes"),
                ("backwards", "kafka_offsets_monotonic"),
                ("skips", "kafka_no_skips"),
                ("alone", "kafka_consistent_offsets"),
                ("forgets", "kafka_commits"),
            ],
        ),
    ];
    for (kind, properties, wrongs) in cases {
        let scenario = write(folder.path(), kind, properties);
        let right = if kind.ends_with("counter") { "counter" } else { "" };
        assert_ends(&sim(folder.path(), &scenario, "1..2", right), None, 2);
        for (mode, property) in wrongs {
            // What is wrong breaks other properties, too.
            let scenario = write(folder.path(), kind, &format!("\"{property}\""));
            let ended = sim(folder.path(), &scenario, "1..2", mode);
            assert_ends(&ended, Some(property), 2);
        }
    }
}

#[test]
fn who_sends_once_passes_3b_and_fails_3c_in_every_run() {
    if !has_python() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    assert_ends(&sim(folder.path(), "glomers/3b", "1..3", ""), None, 3);
    assert_ends(&sim(folder.path(), "glomers/3c", "1..5", ""), Some("broadcast_delivers"), 5);
}

#[test]
fn a_node_that_never_answers_a_last_read_is_told() {
    if !has_python() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let scenario = write(folder.path(), "broadcast", "\"answers_in_form\"");
    let ended = sim(folder.path(), &scenario, "1..1", "strange");
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{text}");
    assert!(text.contains("answers_in_form is violated"), "{text}");
}
