//! The programs in `examples/programs`: those that are right hold, and each that is wrong is caught
//! by the property that its page names, and shrinks to few faults. Without Python nothing is run,
//! and without Go nothing that is in Go.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/programs")
}

fn has(command: &str, argument: &str) -> bool {
    let found = Command::new(command).arg(argument).output();
    let has = found.is_ok_and(|output| output.status.success());
    if !has {
        eprintln!("there is no {command}: its programs are not tried");
    }
    has
}

/// A few nodes that are cut off from each other for a while.
struct Case {
    workload: &'static str,
    properties: &'static str,
    /// Further lines of the scenario.
    more: &'static str,
}

const ECHO: Case = Case { workload: "echo", properties: "\"echoes\"", more: "" };
const IDS: Case =
    Case { workload: "unique-ids", properties: "\"unique_ids\", \"available\"", more: "" };
const BROADCAST: Case = Case {
    workload: "broadcast",
    properties: "\"broadcast_delivers\", \"no_phantoms\", \"no_duplicates\"",
    more: "",
};
/// Nodes are killed and started again, and held up, too.
const HARSH: Case = Case {
    workload: "broadcast",
    properties: "\"broadcast_delivers\", \"no_phantoms\", \"no_duplicates\"",
    more: "[faults]\nalways = true\npartition = [1, 1]\ncrash = [1, 2]\npause = [1, 2]\n\
           for_ms = [1500, 2500]\n",
};
/// With the bounds of challenges 3d and 3e that are the lower ones, and no faults.
const FAST: Case = Case {
    workload: "broadcast",
    properties: "\"broadcast_delivers\", \"messages_per_operation\", \"stable_latency\"",
    more: "[network]\ndelay_us = [100000, 100000]\n\
           [bounds]\nmsgs_per_op_milli = 20000\nmedian_ms = 400\nmax_ms = 600\n",
};
const SET: Case = Case {
    workload: "g-set",
    properties: "\"g_set_delivers\", \"g_set_no_phantoms\", \"g_set_no_duplicates\"",
    more: "",
};
const COUNTER: Case = Case { workload: "g-counter", properties: "\"counter_sums\"", more: "" };
const UP_AND_DOWN: Case =
    Case { workload: "pn-counter", properties: "\"pn_counter_sums\"", more: "" };
/// Two clients ask each node, or nothing would be concurrent there.
const REGISTERS: Case = Case {
    workload: "lin-kv",
    properties: "\"lin_kv_linearizable\"",
    more: "clients = 10\n[faults]\nalways = true\npartition = [1, 1]\nfor_ms = [1500, 2500]\n",
};
const LOGS: Case = Case {
    workload: "kafka",
    properties: "\"kafka_no_lost_writes\", \"kafka_offsets_monotonic\", \"kafka_no_skips\", \
                 \"kafka_consistent_offsets\", \"kafka_commits\"",
    more: "",
};
const TXNS: Case =
    Case { workload: "txn-rw-register", properties: "\"txn_read_committed\"", more: "" };

fn sim(case: &Case, program: &Path, arguments: &[&str]) -> Output {
    let folder = TempDir::new().expect("a folder");
    let Case { workload, properties, more } = case;
    let faults = "[faults]\nalways = true\npartition = [1, 2]\nfor_ms = [1500, 2500]\n";
    let more = if more.is_empty() { faults } else { more };
    let text = format!(
        "properties = [{properties}]\nseconds = 5\nsettle_seconds = 20\n[hosted]\nnodes = 5\n\
         [workload]\nkind = \"{workload}\"\nrate = 20\n{more}"
    );
    fs::write(folder.path().join("scenario.toml"), text).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    command.current_dir(folder.path()).args(["sim", "scenario.toml", "--bin"]);
    command.arg(program).args(arguments).output().expect("node runs")
}

#[track_caller]
fn assert_holds(case: &Case, program: &Path) {
    let output = sim(case, program, &["--seeds", "1..2", "--no-shrink"]);
    let name = program.display();
    assert!(output.status.success(), "{name}: {output:?}");
}

/// Every seed ends with this property violated, and what is left of the first has few faults.
#[track_caller]
fn assert_caught(case: &Case, program: &Path, property: &str) {
    let output = sim(case, program, &["--seeds", "1..2"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{}: {text}{}", program.display(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{all}");
    let caught = text.matches(&format!("{property} is violated")).count();
    assert_eq!(caught, 2, "{all}");
    let first = text.split("again: ").next().unwrap_or_default();
    // Faults begin with their time, and witnesses with their number.
    let is_fault =
        |line: &&str| line.starts_with("  ") && line[2..].starts_with(|c: char| c.is_ascii_digit());
    let faults = first.lines().filter(is_fault).count();
    assert!(faults <= 3, "{all}");
}

#[test]
fn programs_in_python() {
    if !has("python3", "--version") {
        return;
    }
    let program = |name: &str| programs().join("python").join(format!("{name}.py"));
    let right = [
        (&ECHO, "echo"),
        (&IDS, "unique_ids"),
        (&BROADCAST, "broadcast"),
        (&HARSH, "broadcast"),
        (&BROADCAST, "broadcast_batched"),
        (&FAST, "broadcast_batched"),
        (&SET, "g_set"),
        (&COUNTER, "counter"),
        (&UP_AND_DOWN, "pn_counter"),
        (&REGISTERS, "lin_kv"),
        (&LOGS, "kafka"),
        (&TXNS, "txn"),
    ];
    for (case, name) in right {
        assert_holds(case, &program(name));
    }
    let wrong = [
        (&BROADCAST, "broadcast_forgets", "broadcast_delivers"),
        (&COUNTER, "counter_caches", "counter_sums"),
        (&REGISTERS, "lin_kv_stale", "lin_kv_linearizable"),
    ];
    for (case, name, property) in wrong {
        assert_caught(case, &program(name), property);
    }
}

#[test]
fn programs_in_go() {
    if !has("go", "version") {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let mut build = Command::new("go");
    build.current_dir(programs().join("go")).args(["build", "-o"]).arg(folder.path());
    let built = build.arg("./cmd/...").output().expect("go runs");
    assert!(built.status.success(), "{built:?}");
    assert_holds(&ECHO, &folder.path().join("echo"));
    assert_holds(&BROADCAST, &folder.path().join("broadcast"));
    let forgets = folder.path().join("broadcast_forgets");
    assert_caught(&BROADCAST, &forgets, "broadcast_delivers");
}
