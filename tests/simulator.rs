//! The simulator as its users meet it: scenarios and their verdicts, equal runs for equal seeds in
//! two processes, replay, traces; and that what must fail a run does.

use node_lab::sim::errors;
use node_lab::sim::plan::Plan;
use node_lab::sim::run::{Outcome, run};
use node_lab::sim::scenario::Scenario;
use node_lab::sim::tally::{Tally, Word};
use node_lab::sim::tracer::Tracer;
use node_lab::study::{Invariant, Memory, Needs, NoSettings, Property, Snapshot, Study, Verdict};
use node_lab::trace::{Event, Line};
use node_protocols::core::{Caller, ConfigError, Context, Env, MAX_BRIEF, Never, NodeId, Protocol};
use node_studies::kv_replication::history::Outcome as Answer;
use node_studies::kv_replication::{Store, TWIN};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn scenarios() -> Vec<PathBuf> {
    let folder = fs::read_dir(root().join("configs/sim")).expect("the scenarios' folder");
    let paths = folder.map(|entry| entry.expect("an entry").path());
    // Those in folders need programs (tests/workloads.rs), or are explored (tests/explore.rs).
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.is_file()).collect();
    paths.sort();
    paths
}

fn sim(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    command.current_dir(root()).arg("sim").args(words).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("what it says is text")
}

#[test]
fn every_scenario_shows_what_it_says() {
    let registry = Arc::new(node_studies::registry());
    assert!(scenarios().len() >= 8);
    for path in scenarios() {
        let scenario = Arc::new(Scenario::load(&path, &registry).expect("it loads"));
        let outcome = |seed| run(&scenario, &registry, &scenario.plan(seed), Tracer::new());
        let Some(property) = scenario.violates else {
            // A thousand nodes take seconds.
            let seeds = if scenario.nodes.len() > 100 { 0 } else { 60 };
            let mut tally = Tally::new(&scenario.properties);
            for seed in 1..=seeds {
                let mut outcome = outcome(seed);
                assert_eq!(outcome.failure, None, "{}, seed {seed}", path.display());
                tally.take(&mut outcome);
            }
            let held = tally.verdict() == Word::Held;
            assert!(seeds == 0 || held, "{}: {:?}", path.display(), tally.lines());
            continue;
        };
        let found = (1..=400).find_map(|seed| outcome(seed).failure);
        let found = found.unwrap_or_else(|| panic!("{} shows nothing", path.display()));
        assert_eq!(found.property, property.name, "{}: {found:?}", path.display());
    }
}

/// No clock, entropy, thread or unordered map reaches a run: else two processes would differ.
#[test]
fn fifty_seeds_have_the_same_hashes_in_two_processes() {
    for scenario in ["kv-all.toml", "kv-disk-all.toml", "lottery.toml"] {
        let scenario = &format!("configs/sim/{scenario}");
        let words = [scenario, "--seeds", "1..50", "--hashes"];
        let hashes = |jobs| {
            let output = sim(&[&words[..], &["--jobs", jobs]].concat());
            assert!(output.status.success(), "{}", text(&output.stderr));
            let lines = text(&output.stdout).lines().take(50).map(str::to_string);
            lines.collect::<Vec<String>>()
        };
        let (one, other) = (hashes("1"), hashes("2"));
        assert_eq!(one, other);
        let mut different: Vec<&str> =
            one.iter().filter_map(|line| line.split(' ').nth(1)).collect();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), 50, "seeds make different runs");
    }
}

#[test]
fn a_trace_is_the_same_each_time_and_every_line_reads() {
    let dir = tempfile::tempdir().expect("a folder");
    let trace = |name: &str| {
        let path = dir.path().join(name);
        let words = ["configs/sim/kv-disk-all.toml", "--seed", "7", "--trace"];
        let output = sim(&[&words[..], &[path.to_str().expect("a name")]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        fs::read_to_string(path).expect("a trace")
    };
    let one = trace("one");
    assert_eq!(one, trace("other"));
    let lines: Vec<Line<'_>> =
        one.lines().map(|line| serde_json::from_str(line).expect("a line of a trace")).collect();
    assert!(matches!(lines[0].event, Event::Run { seed: Some(7), .. }));
    let count = |is: fn(&Event<'_>) -> bool| lines.iter().filter(|line| is(&line.event)).count();
    assert!(count(|event| matches!(event, Event::Recv { .. })) > 100);
    assert!(count(|event| matches!(event, Event::Fault { .. })) > 0);
    assert!(lines.iter().any(|line| line.digest.is_some()));
    assert!(lines.is_sorted_by_key(|line| line.at), "time does not go back");
}

#[test]
fn tracing_changes_nothing() {
    let registry = Arc::new(node_studies::registry());
    for (name, seeds) in [("kv-all", 20), ("board", 2), ("lottery-nodes", 2), ("clocks", 2)] {
        let path = root().join(format!("configs/sim/{name}.toml"));
        let scenario = Arc::new(Scenario::load(&path, &registry).expect("it loads"));
        for seed in 1..=seeds {
            let plan = scenario.plan(seed);
            let bare = run(&scenario, &registry, &plan, Tracer::new());
            let traced = run(&scenario, &registry, &plan, Tracer::to(Box::new(io::sink())));
            assert_eq!((bare.hash, bare.events), (traced.hash, traced.events), "{name} {seed}");
        }
    }
}

#[test]
fn a_run_that_nobody_wants_any_more_ends_undecided() {
    let registry = Arc::new(node_studies::registry());
    let path = root().join("configs/sim/kv-all.toml");
    let scenario = Arc::new(Scenario::load(&path, &registry).unwrap());
    let stop = Arc::new(AtomicBool::new(true));
    let tracer = Tracer::new().stopping(stop.clone());
    let outcome = run(&scenario, &registry, &scenario.plan(1), tracer);
    assert_eq!((outcome.events, outcome.failure.is_none()), (0, true));
    assert_eq!(outcome.unknown, ["it was stopped"]);
    stop.store(false, Ordering::Relaxed);
    let again = run(&scenario, &registry, &scenario.plan(1), Tracer::new().stopping(stop));
    assert_eq!(again.unknown, [""; 0]);
}

#[test]
fn a_failing_seed_is_told_saved_small_and_replayed() {
    let dir = tempfile::tempdir().expect("a folder");
    let save = dir.path().to_str().expect("a name");
    let scenario = "configs/sim/kv-lost-memory.toml";
    let output = sim(&[scenario, "--seeds", "1..20", "--save", save]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "it is there to show that: {said}");
    assert!(said.contains("unique_timestamps is violated at "), "{said}");
    let last = said.lines().last().expect("a last line");
    let shows = ": shows what it is there to show: unique_timestamps violated in ";
    assert!(
        last.contains(shows) && last.contains(" of 20 runs; no other property is judged; "),
        "{last}"
    );
    let again = said.lines().find_map(|line| line.trim().strip_prefix("again: node sim --replay "));
    let file = again.expect("the command that runs it again");
    let saved: Plan = toml::from_str(&fs::read_to_string(file).expect("the file")).expect("a plan");
    let whole =
        Scenario::load(&root().join(scenario), &node_studies::registry()).expect("it loads");
    let most = whole.plan(saved.seed);
    assert!(saved.clients < most.clients && saved.operations < most.operations);
    let replayed = sim(&["--replay", file, "--json"]);
    assert_eq!(replayed.status.code(), Some(0));
    let verdict: serde_json::Value =
        serde_json::from_slice(&replayed.stdout).expect("one JSON object");
    assert_eq!(verdict["failures"][0]["property"], "unique_timestamps");
    assert_eq!(verdict["failures"][0]["seed"], saved.seed);
    assert_eq!((&verdict["verdict"], &verdict["is_shown"]), (&"violated".into(), &true.into()));
}

/// A scenario that is there to show a violation ends with 0 for that alone.
#[test]
fn what_a_scenario_is_there_to_show_and_does_not_show_exits_with_1() {
    let scenario = "configs/sim/kv-linearizable.toml";
    let calm = (1..=9).map(|seed| sim(&[scenario, "--seed", &seed.to_string(), "--no-shrink"]));
    let calm = calm.into_iter().find(|output| output.status.code() == Some(1));
    let calm = calm.expect("few seeds show it");
    let last = text(&calm.stdout).lines().last().expect("a last line");
    let told = "does not show what it is there to show: linearizable violated in none of 1 run; no other \
                property is judged; try more seeds";
    assert!(last.contains(told), "{last}");
    // The same nodes and faults, and nothing that is said to be violated.
    let dir = tempfile::tempdir().expect("a folder");
    let (file, save) = (dir.path().join("scenario.toml"), dir.path().join("save"));
    let all = fs::read_to_string(root().join(scenario)).expect("a scenario");
    let all = all.replace("\"../", &format!("\"{}/", root().join("configs").display()));
    let run = |text: &str| {
        fs::write(&file, text).expect("a file");
        let (file, save) = (file.to_str().expect("a name"), save.to_str().expect("a name"));
        sim(&[file, "--seeds", "15", "--no-shrink", "--save", save])
    };
    let shown = run(&all);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stdout));
    let two = "properties = [\"linearizable\", \"monotonic_reads\"]";
    let other = all.replace("properties = [\"linearizable\"]", two);
    let other =
        run(&other.replace("violates = \"linearizable\"", "violates = \"monotonic_reads\""));
    assert_eq!(other.status.code(), Some(1), "{}", text(&other.stdout));
    assert!(text(&other.stdout).contains("violate something else"), "{}", text(&other.stdout));
    let none = run(&all.replace("violates = \"linearizable\"", ""));
    assert_eq!(none.status.code(), Some(1), "{}", text(&none.stdout));
}

#[test]
fn what_cannot_run_exits_with_2_and_says_why() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("wrong.toml");
    let config = root().join("configs/kv-leader.toml");
    for (scenario, why) in [
        ("nodes = []\nproperties = []\n".to_string(), "nodes: name at least one config"),
        (format!("nodes = [{config:?}]\nproperties = [\"nice\"]\n"), "nice: no such property"),
        (
            format!("nodes = [{config:?}]\nproperties = []\nsecond = 3\n"),
            "wrong.toml:3: unknown field",
        ),
        ("nodes = [\"none.toml\"]\nproperties = []\n".to_string(), "cannot read it"),
    ] {
        fs::write(&file, scenario).expect("a file");
        let output = sim(&[file.to_str().expect("a name")]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
    }
    for seeds in ["5..1", "0..18446744073709551615"] {
        let wrong = sim(&["configs/sim/kv-calm.toml", "--seeds", seeds]);
        assert_eq!(wrong.status.code(), Some(2), "{seeds}");
    }
    let full = sim(&["configs/sim/kv-calm.toml", "--seed", "1", "--trace", "/dev/full"]);
    assert_eq!(full.status.code(), Some(2));
    assert!(text(&full.stderr).contains("not whole"), "{}", text(&full.stderr));
}

/// Each of these once hung, ended in a verdict about nothing, or broke something else than asked.
#[test]
fn a_scenario_beyond_its_bounds_does_not_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("wrong.toml");
    let path = file.to_str().expect("a name");
    let config = |name| root().join("configs").join(name);
    let (one, two) = (config("kv-leader.toml"), config("kv-follower-2.toml"));
    let head = format!("nodes = [{one:?}, {two:?}]\nproperties = []\nseconds = 2\n");
    let pause = "kind = \"pause\"\nnode = 1";
    let clock = "for_ms = 1\nkind = \"clock\"\nnode = 1";
    for (rest, why) in [
        ("settle_seconds = 0".into(), "settle_seconds"),
        ("[workload.kv_replication]\nkeys = 20000".into(), "keys"),
        ("[workload.kv_replication]\noperations = 1000".into(), "operations"),
        ("[workload.kv_replication]\ntimeout_ms = 9000000000".into(), "timeout_ms"),
        ("[network]\ndelay_us = [0, 9000000000000000000]".into(), "network"),
        ("[faults]\ncrash = [3, 1]".into(), "crash"),
        ("[faults]\ncrash = [0, 9000000000000000000]".into(), "crash"),
        ("[faults]\nloss_percent = 200".into(), "loss_percent"),
        ("[faults]\nfor_ms = [2, 1]".into(), "for_ms"),
        ("[faults]\nrolling_gap_ms = [2, 1]".into(), "rolling_gap_ms"),
        ("[faults]\nbit_rot = [1, 2]".into(), "no node has a data_dir"),
        ("[faults]\nwipe_percent = 20".into(), "no node has a data_dir"),
        ("[faults]\nbad_disks = 0".into(), "bad_disks"),
        ("[faults]\nliar = [3, 1]".into(), "liar"),
        ("[faults]\nliar_spares = [9]".into(), "no node 9"),
        (
            "[[fault]]\nat_ms = 1\nkind = \"liar\"\nnode = 2\nlies = 1\nspares = [7]".into(),
            "no node 7",
        ),
        ("[faults]\nwipe_percent = 20\nemptied = [1, 1]".into(), "use emptied"),
        ("[[fault]]\nat_ms = 1\nkind = \"disk_full\"\nnode = 1".into(), "no data_dir"),
        ("[[fault]]\nat_ms = 1\nkind = \"lost_log\"\nnode = 2".into(), "no data_dir"),
        (format!("[[fault]]\nat_ms = 1999\nfor_ms = 2\n{pause}"), "end within"),
        (format!("[[fault]]\nat_ms = 9223372036854775807\nfor_ms = 9\n{pause}"), "end within"),
        ("[[fault]]\nat_ms = 1\nkind = \"pause\"\nnode = 99".into(), "no node 99"),
        ("[[fault]]\nat_ms = 1\nkind = \"loss\"\npercent = 101".into(), "percent"),
        (
            format!("[[fault]]\nat_ms = 1\n{clock}\noffset_ms = 0\ndrift_ppm = -1000000"),
            "drift_ppm",
        ),
        (
            format!(
                "[[fault]]\nat_ms = 1\n{clock}\noffset_ms = -9223372036854775808\ndrift_ppm = 0"
            ),
            "offset_ms",
        ),
    ] {
        fs::write(&file, format!("{head}{rest}\n")).expect("a file");
        let output = sim(&[path]);
        assert_eq!(output.status.code(), Some(2), "{rest}");
        assert!(text(&output.stderr).contains(why), "{rest}: {}", text(&output.stderr));
    }
    fs::write(&file, format!("nodes = [{one:?}, {one:?}]\nproperties = []\n")).expect("a file");
    let twice = sim(&[path]);
    assert_eq!(twice.status.code(), Some(2));
    assert!(text(&twice.stderr).contains("id 1"), "{}", text(&twice.stderr));
    // A saved plan has the same bounds.
    for (key, value) in [("clients", "1000000000"), ("operations", "4294967295")] {
        let replay = dir.path().join("replay.toml");
        let other = if key == "clients" { "operations" } else { "clients" };
        let text_of = format!(
            "scenario = \"configs/sim/kv-calm.toml\"\nproperty = \"x\"\nseed = 1\n{key} = {value}\n\
             {other} = 1\nfault = []\n"
        );
        fs::write(&replay, text_of).expect("a file");
        let output = sim(&["--replay", replay.to_str().expect("a name")]);
        assert_eq!(output.status.code(), Some(2), "{key}");
        assert!(text(&output.stderr).contains(key), "{}", text(&output.stderr));
    }
}

/// A property is asked of those who can have it, and held where something could have broken it.
#[test]
fn what_nothing_could_break_is_not_held() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("scenario.toml");
    let path = file.to_str().expect("a name");
    let config = |name: &str| format!("{:?}", root().join("configs").join(name));
    let elections = ["election/node-1.toml", "election/node-2.toml"].map(config).join(", ");
    let store = ["kv-leader.toml", "kv-follower-2.toml", "kv-follower-3.toml"];
    let store = store.map(config).join(", ");
    let sim_of = |nodes: &str, properties: &str, rest: &str| {
        let head = format!("nodes = [{nodes}]\nproperties = [{properties}]\nseconds = 20\n");
        fs::write(&file, head + rest).expect("a file");
        sim(&[path, "--seeds", "1..3", "--json"])
    };
    let refused = |nodes: &str, property: &str, why: &str| {
        let output = sim_of(nodes, &format!("{property:?}"), "");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{property}: {said}");
        assert!(said.contains(&format!("properties: {property} ")) && said.contains(why), "{said}");
    };
    refused(&elections, "linearizable", "every node run kv_replication");
    refused(&elections, "ranks_unique_and_stable", "a node runs membership");
    refused(&elections, "skew_bound", "a node runs berkeley");
    refused(&elections, "draw_once_after_all", "a lottery's central");
    refused(&store, "one_coordinator", "a node runs bully");
    refused(&store, "no_silent_gap", "a bulletin system");
    refused(&config("kv-disk/node-1.toml"), "clock_condition", "several nodes");
    refused(&config("clocksync/server.toml"), "live_higher_prevails", "run no other protocol");

    let unknown = |nodes: &str, properties: &str, rest: &str| {
        let output = sim_of(nodes, properties, rest);
        assert_eq!(output.status.code(), Some(2), "{properties}: {}", text(&output.stdout));
        let all: serde_json::Value = serde_json::from_slice(&output.stdout).expect("an object");
        assert_eq!(all["verdict"], "unknown", "{all}");
        all
    };
    let all = unknown(&store, "\"linearizable\"", "[workload.kv_replication]\noperations = 0\n");
    let one = &all["properties"][0];
    assert_eq!((&one["property"], &one["verdict"]), (&"linearizable".into(), &"unknown".into()));
    assert_eq!((&one["held"], &one["no_evidence"]), (&0.into(), &3.into()));
    assert_eq!(one["why"], "no GET returned a value");
    // Nothing disturbs them, so that each node sees one reign.
    let all = unknown(&elections, "\"election_terminates\", \"reigns_go_forward\"", "");
    assert_eq!(all["properties"][0]["verdict"], "held");
    assert_eq!(all["properties"][1]["verdict"], "unknown");
    assert!(unknown(&store, "", "")["properties"].as_array().is_some_and(Vec::is_empty));
    let said = sim(&[path, "--seed", "1"]);
    assert_eq!(said.status.code(), Some(2));
    assert!(text(&said.stdout).contains("names no property"), "{}", text(&said.stdout));
}

/// Runs a scenario of the given files once.
fn run_of(nodes: &str, rest: &str) -> (Outcome, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("scenario.toml");
    let configs = root().join("configs");
    let nodes: Vec<PathBuf> = nodes.split(' ').map(|name| configs.join(name)).collect();
    fs::write(&path, format!("nodes = {nodes:?}\n{rest}")).expect("a file");
    let registry = Arc::new(node_studies::registry());
    let scenario = Arc::new(Scenario::load(&path, &registry).expect("it loads"));
    let lines = Lines::default();
    let outcome = run(&scenario, &registry, &scenario.plan(1), Tracer::to(Box::new(lines.clone())));
    let lines = lines.0.lock().expect("nobody panics with it").clone();
    (outcome, String::from_utf8(lines).expect("a trace is text"))
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics with it").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const STORE: &str = "kv-disk/node-1.toml kv-disk/node-2.toml kv-disk/node-3.toml";

/// The real log's recovery, on simulated disks.
#[test]
fn a_simulated_log_that_cannot_be_taken_is_set_aside() {
    for (fault, why) in [
        ("kind = \"bit_rot\"\nplace = 300000\nhow = \"flip\"", "it is damaged at byte "),
        ("kind = \"bit_rot\"\nplace = 0\nhow = \"zeroes\"\nbytes = 9", "it is damaged at byte 0"),
        ("kind = \"foreign\"\nfrom = 3", "it is another directory's"),
        ("kind = \"foreign\"\nfrom = 2\nstranger = true", "it is another directory's"),
        ("kind = \"lost_log\"", "it is gone"),
    ] {
        let rest = format!(
            "properties = [\"regular_register\", \"replicas_equal\"]\n\
             [[fault]]\nat_ms = 6000\nfor_ms = 500\nnode = 2\n{fault}\n"
        );
        let (outcome, trace) = run_of(STORE, &rest);
        assert_eq!(outcome.failure, None, "{fault}");
        assert_eq!(outcome.refused, [""; 0], "{fault}");
        let told = format!("begins without its log: {why}");
        assert_eq!(trace.matches(&told).count(), 1, "{fault}: not {told}");
    }
}

/// A central whose log has lost what it told its agencies does not start, and nor does a server
/// with another's directory. Whoever runs them puts that right.
#[test]
fn a_simulated_node_that_does_not_start_stays_down_and_the_run_says_so() {
    let store = "properties = [\"regular_register\", \"replicas_equal\"]\n";
    let lottery = "properties = [\"ack_implies_durable\", \"stored_exactly_once\"]\n";
    for (nodes, head, fault, why) in [
        (
            STORE,
            store,
            "node = 2\nkind = \"foreign\"\nfrom = 3\nwhole = true",
            "node 2: its directory is node 3's of \"kv\"",
        ),
        (
            "lottery/central.toml",
            lottery,
            "node = 1\nkind = \"bit_rot\"\nplace = 300000\nhow = \"flip\"",
            "node 1: its log: it is damaged at byte ",
        ),
        (
            "lottery/central.toml",
            lottery,
            "node = 1\nkind = \"lost_log\"",
            "node 1: its log: it is gone",
        ),
    ] {
        let rest = format!("{head}seconds = 9\n[[fault]]\nat_ms = 4000\nfor_ms = 1000\n{fault}\n");
        let (outcome, trace) = run_of(nodes, &rest);
        assert_eq!(outcome.failure, None, "{fault}");
        let [refused] = &outcome.refused[..] else { panic!("{fault}: {:?}", outcome.refused) };
        assert!(refused.starts_with(&format!("5000 ms: {why}")), "{refused}");
        let starts = trace.lines().filter(|line| line.contains("does not start: ")).count();
        assert_eq!(starts, 1, "it is not tried again");
    }
}

/// A node's state is seen when it starts and when it changes, and what is said has short forms.
#[test]
fn a_trace_shows_states_and_short_forms() {
    let nodes = "board/server-1.toml board/server-2.toml board/server-3.toml board/bot-1.toml \
                 board/bot-2.toml board/broker.toml board/proxy.toml board/reference.toml";
    let rest = "properties = [\"one_coordinator\"]\nseconds = 20\n\
                [[fault]]\nat_ms = 9000\nfor_ms = 3000\nkind = \"crash\"\nnode = 3\n";
    let (outcome, trace) = run_of(nodes, rest);
    assert_eq!(outcome.failure, None);
    let (mut last, mut changes) = (BTreeMap::new(), BTreeMap::new());
    let (mut starts, mut briefs, mut names) = (Vec::new(), 0, BTreeSet::new());
    let mut views = Vec::new();
    for line in trace.lines().map(|line| serde_json::from_str::<Line<'_>>(line).expect("a line")) {
        let node = line.node.unwrap_or_default();
        match line.event {
            Event::Start { name, .. } => {
                names.insert(name.expect("all have one").into_owned());
                starts.push((line.at, node));
                // It shows all again.
                last.retain(|(other, _), _| *other != node);
            }
            Event::View { protocol, value } => {
                views.push((line.at, node));
                let of = (node, protocol.into_owned());
                *changes.entry(of.1.clone()).or_insert(0) += 1;
                assert_ne!(last.get(&of), Some(&value), "only what has changed is written");
                last.insert(of, value);
            }
            Event::Send { label, brief, protocol, .. } => {
                let message = serde_json::from_str::<serde_json::Value>(&label);
                assert!(message.is_ok(), "a message is JSON: {label}");
                let brief = brief.expect("all protocols have short forms");
                assert!(brief.chars().count() <= MAX_BRIEF && brief != label, "{brief}");
                briefs += usize::from(protocol == "bully" && brief.starts_with("COORD reign "));
            }
            _ => {}
        }
    }
    assert!(starts.len() == 9 && briefs > 0, "{starts:?}, {briefs} announcements");
    for start in starts.iter().filter(|(_, node)| *node == 3) {
        assert_eq!(views.iter().filter(|view| *view == start).count(), 4, "at {start:?}");
    }
    assert!(names.contains("server 3") && names.contains("broker"), "{names:?}");
    // One for each at its start, and more.
    for (protocol, nodes) in [("membership", 5), ("bully", 4), ("berkeley", 4), ("board", 8)] {
        assert!(changes[protocol] > nodes, "{changes:?}");
        let seen = last.keys().filter(|(_, of)| of == protocol).count();
        assert!(seen >= nodes - 1, "{protocol}: {:?}", last.keys());
    }
    let bully = &last[&(1, "bully".to_string())];
    assert_eq!((&bully["phase"], bully["coordinator"].is_u64()), (&"normal".into(), true));
}

/// What a leader says is there again from a follower, to the other one and to the leader itself.
#[test]
fn a_liar_says_what_others_said() {
    let nodes = "kv-leader.toml kv-follower-2.toml kv-follower-3.toml";
    let rest = "properties = [\"regular_register\", \"replicas_equal\"]\nseconds = 20\n\
                [[fault]]\nat_ms = 1000\nfor_ms = 19000\nkind = \"liar\"\nnode = 2\nlies = 7\n\
                spares = [1]\n";
    let (outcome, trace) = run_of(nodes, rest);
    assert_eq!(outcome.failure, None);
    let mut said = [0; 4];
    for line in trace.lines().map(|line| serde_json::from_str::<Line<'_>>(line).expect("a line")) {
        if let (Some(2), Event::Send { to, label, .. }) = (line.node, &line.event)
            && ["{\"Replication\":", "{\"Forwarded\":"].iter().any(|own| label.starts_with(own))
        {
            said[*to as usize] += 1;
        }
    }
    assert!(said[1] > 10 && said[3] > 10, "{said:?}");
}

/// Frames that still decode, and say what no honest node says: whoever is told is wrong, and goes
/// on. Beside the first seeds one in which a reference server gave a node another rank than before.
#[test]
fn forged_frames_break_no_invariant() {
    let registry = Arc::new(node_studies::registry());
    for (name, found) in [
        ("berkeley", None),
        ("board-election", Some(896)),
        ("board", None),
        ("clocks-restarts", None),
        ("election-all", None),
        ("kv-disk-all", None),
        ("kv-restarts", None),
        ("lottery-nodes", None),
        ("membership", None),
    ] {
        let path = root().join(format!("configs/sim/{name}.toml"));
        let mut scenario = Scenario::load(&path, &registry).expect("it loads");
        // What a lie breaks else is no matter: peers are not authenticated.
        (scenario.properties, scenario.violates, scenario.settles) = (Vec::new(), None, false);
        scenario.ranges.liar = [2, 6];
        scenario.ranges.for_ms[1] = scenario.ranges.for_ms[1].max(8_000);
        let scenario = Arc::new(scenario);
        for seed in (1..=12).chain(found) {
            let outcome = run(&scenario, &registry, &scenario.plan(seed), Tracer::new());
            assert_eq!(outcome.failure, None, "{name}, seed {seed}");
        }
    }
}

/// A second process of an id has nothing to answer from, and gets nothing.
#[test]
fn a_twin_takes_no_put_and_answers_no_get() {
    let registry = Arc::new(node_studies::registry());
    let path = root().join("configs/sim/kv-twin.toml");
    let scenario = Arc::new(Scenario::load(&path, &registry).expect("it loads"));
    let mut refused = [0, 0];
    for seed in 1..=40 {
        let outcome = run(&scenario, &registry, &scenario.plan(seed), Tracer::new());
        assert_eq!(outcome.failure, None, "seed {seed}");
        for op in Store::of(&outcome.run).ops.iter().filter(|op| op.server.ends_with(TWIN)) {
            match op.outcome {
                Answer::NotApplied => refused[0] += 1,
                Answer::TryOther => refused[1] += 1,
                // It stopped before it answered.
                Answer::Unknown => {}
                Answer::Ok | Answer::Null | Answer::MayStillApply => {
                    panic!("seed {seed}: {op:?}");
                }
            }
        }
    }
    assert!(refused.iter().all(|refused| *refused > 50), "{refused:?}");
}

/// A protocol that breaks its own rule, or logs an error, when it is asked for a certain key.
struct Broken(Fault);

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Fault {
    Asserts,
    Logs,
}

#[derive(Clone, Deserialize, Serialize)]
struct BrokenConfig {
    fault: Fault,
}

impl Protocol for Broken {
    const NAME: &'static str = "broken";
    type Config = BrokenConfig;
    type Message<'a> = Never;
    type Record<'a> = Never;
    type Timer = ();
    type Request<'a> = Never;
    type Reply<'a> = Never;

    fn new(config: BrokenConfig, _: &Env) -> Result<Self, ConfigError> {
        Ok(Broken(config.fault))
    }
    fn on_message(&mut self, _: NodeId, message: Never, _: &mut Context<'_, Self>) {
        match message {}
    }
    fn on_start(&mut self, cx: &mut Context<'_, Self>) {
        cx.set_timer((), Duration::from_secs(1));
    }
    fn on_timer(&mut self, (): (), _: &mut Context<'_, Self>) {
        match self.0 {
            Fault::Asserts => panic!("a rule is broken"),
            Fault::Logs => log::error!(target: "broken", "this must not happen"),
        }
    }
    fn on_request(&mut self, _: Caller, request: Never, _: &mut Context<'_, Self>) {
        match request {}
    }
}

/// A run of a node that does so.
fn broken(fault: &str) -> Outcome {
    let mut registry = node_studies::registry();
    registry.register::<Broken>();
    let registry = Arc::new(registry);
    let dir = tempfile::tempdir().expect("a folder");
    let node = "[node]\nid = 1\n[[listeners]]\naddr = \"127.0.0.1:1\"\n";
    let config = format!("{node}[protocols.broken]\nfault = \"{fault}\"\n");
    fs::write(dir.path().join("node.toml"), config).expect("a file");
    let scenario = "nodes = [\"node.toml\"]\nproperties = []\nsettle_seconds = 1\n";
    let path = dir.path().join("scenario.toml");
    fs::write(&path, scenario).expect("a file");
    let scenario = Arc::new(Scenario::load(&path, &registry).expect("it loads"));
    run(&scenario, &registry, &scenario.plan(1), Tracer::new())
}

/// Whoever calls the simulator: nobody has set a logger here.
#[test]
fn an_assertion_or_an_error_line_fails_a_run() {
    for (fault, property) in [("asserts", "invariant"), ("logs", "error_log")] {
        let failure = broken(fault).failure.expect("it fails");
        assert_eq!(failure.property, property, "{failure:?}");
    }
}

/// A door that each node goes through once, for half a second, and at a time of its own.
struct Door {
    enters_ms: u64,
    is_inside: bool,
}

#[derive(Clone, Deserialize, Serialize)]
struct DoorConfig {
    enters_ms: u64,
}

impl Protocol for Door {
    const NAME: &'static str = "door";
    type Config = DoorConfig;
    type Message<'a> = Never;
    type Record<'a> = Never;
    type Timer = ();
    type Request<'a> = Never;
    type Reply<'a> = Never;

    fn new(config: DoorConfig, _: &Env) -> Result<Self, ConfigError> {
        Ok(Door { enters_ms: config.enters_ms, is_inside: false })
    }
    fn on_message(&mut self, _: NodeId, message: Never, _: &mut Context<'_, Self>) {
        match message {}
    }
    fn on_start(&mut self, cx: &mut Context<'_, Self>) {
        cx.set_timer((), Duration::from_millis(self.enters_ms));
    }
    fn on_timer(&mut self, (): (), cx: &mut Context<'_, Self>) {
        self.is_inside = !self.is_inside;
        if self.is_inside {
            cx.set_timer((), Duration::from_millis(500));
        }
    }
    fn on_request(&mut self, _: Caller, request: Never, _: &mut Context<'_, Self>) {
        match request {}
    }
}

struct DoorStudy;

impl Study for DoorStudy {
    type Protocol = Door;
    type Settings = NoSettings;
    const PROPERTIES: &'static [Property] = &[];
    const INVARIANTS: &'static [Invariant] = &[Invariant::of::<Door>(
        "mutual_exclusion",
        "no two nodes are inside at once",
        "Dijkstra: Solution of a Problem in Concurrent Programming Control, CACM 8(9), 1965",
        one_inside,
    )];
}

fn one_inside(nodes: &Snapshot<'_>, _: &mut Memory) -> Result<(), String> {
    let inside: Vec<NodeId> =
        nodes.of::<Door>().filter(|(_, door)| door.is_inside).map(|(id, _)| id).collect();
    if inside.len() > 1 { Err(format!("nodes {inside:?} are inside")) } else { Ok(()) }
}

/// A run of nodes that go in at these times, and its trace.
fn door(enters_ms: &[u64], properties: &str) -> (Outcome, String) {
    let mut registry = node_studies::registry();
    registry.register_study::<DoorStudy>();
    let registry = Arc::new(registry);
    let dir = tempfile::tempdir().expect("a folder");
    let ids = 1..=enters_ms.len();
    for (id, enters_ms) in ids.clone().zip(enters_ms) {
        let peers: String = ids.clone().filter(|peer| *peer != id).map(peer_line).collect();
        let listener = format!("[[listeners]]\naddr = \"127.0.0.1:{id}\"\n");
        let protocol = format!("[protocols.door]\nenters_ms = {enters_ms}\n");
        let config = format!("[node]\nid = {id}\n[peers]\n{peers}{listener}{protocol}");
        fs::write(dir.path().join(format!("node-{id}.toml")), config).expect("a file");
    }
    let nodes: Vec<String> = ids.map(|id| format!("node-{id}.toml")).collect();
    let path = dir.path().join("scenario.toml");
    let scenario = format!("nodes = {nodes:?}\nproperties = {properties}\nsettle_seconds = 1\n");
    fs::write(&path, scenario).expect("a file");
    let scenario = Arc::new(Scenario::load(&path, &registry).expect("it loads"));
    let trace = dir.path().join("trace");
    let tracer = Tracer::to(Box::new(fs::File::create(&trace).expect("a file")));
    let outcome = run(&scenario, &registry, &scenario.plan(1), tracer);
    (outcome, fs::read_to_string(trace).expect("a trace"))
}

fn peer_line(peer: usize) -> String {
    format!("{peer} = \"127.0.0.1:{peer}\"\n")
}

/// What is planted: the third goes in while the second is inside.
#[test]
fn a_broken_invariant_ends_the_run_where_it_broke() {
    const ASKED: &str = "[\"mutual_exclusion\"]";
    let (outcome, trace) = door(&[1_000, 2_000, 2_300], ASKED);
    let failure = outcome.failure.expect("two are inside");
    assert_eq!((failure.property.as_str(), failure.at), ("mutual_exclusion", 2_300_000_000));
    assert!(failure.why.contains("are inside"), "{failure:?}");
    assert!(matches!(outcome.verdicts[..], [(_, Verdict::Violated(_))]), "{:?}", outcome.verdicts);
    let lines: Vec<Line<'_>> =
        trace.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
    let [.., before, last] = &lines[..] else { panic!("{trace}") };
    let Event::Violation { witnesses, .. } = &last.event else { panic!("{trace}") };
    let [turn] = &witnesses[..] else { panic!("{trace}") };
    assert_eq!(
        (turn.node, turn.at, turn.event.as_deref()),
        (Some(3), Some(failure.at), Some("turn"))
    );
    assert!(matches!(before.event, Event::Timer { .. }), "{trace}");
    assert_eq!((before.node, before.at, last.at), (Some(3), failure.at, failure.at), "{trace}");

    let (outcome, _) = door(&[1_000, 2_000, 2_600], ASKED);
    assert_eq!((outcome.failure, &outcome.verdicts[0].1), (None, &Verdict::Held));
    let (outcome, _) = door(&[1_000], ASKED);
    assert!(matches!(outcome.verdicts[0].1, Verdict::Unknown { .. }), "alone is no evidence");
    let (outcome, _) = door(&[1_000, 1_000], "[]");
    assert_eq!(outcome.failure, None, "nobody asks");
}

/// Whoever reads a violation finds what it rests on in the same trace.
#[test]
fn a_violation_names_operations_as_the_trace_does() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("trace");
    let words = ["configs/sim/kv-lost-memory.toml", "--seed"];
    let violated = (1..=20).find_map(|seed| {
        let seed = seed.to_string();
        let trace = ["--trace", path.to_str().expect("a name")];
        let output = sim(&[&words[..], &[seed.as_str()], &trace].concat());
        // It shows what it is there to show.
        (output.status.code() == Some(0)).then(|| fs::read_to_string(&path).expect("a trace"))
    });
    let trace = violated.expect("a seed that is violated");
    let (mut known, mut named) = (BTreeSet::new(), Vec::new());
    for line in trace.lines() {
        match serde_json::from_str::<Line<'_>>(line).expect("a line").event {
            Event::Request { op, .. } => drop(known.insert(op.into_owned())),
            Event::Violation { witnesses, .. } => {
                named.extend(witnesses.into_iter().filter_map(|one| Some(one.op?.into_owned())));
            }
            _ => {}
        }
    }
    assert!(!named.is_empty() && named.iter().all(|op| known.contains(op)), "{named:?}");
}

/// What ships is judged at every moment of its scenarios, and has evidence in each run.
#[test]
fn invariants_of_shipped_scenarios_hold_and_something_could_have_broken_them() {
    let registry = Arc::new(node_studies::registry());
    for (scenario, invariants) in [
        ("kv-disk-all", &["replicas_never_differ"][..]),
        ("kv-copies", &["replicas_never_differ"]),
        ("election-all", &["no_invented_reign"]),
        ("membership", &["members_agree_on_ranks"]),
        ("board-election", &["no_invented_reign", "members_agree_on_ranks"]),
    ] {
        let path = root().join(format!("configs/sim/{scenario}.toml"));
        let scenario = Arc::new(Scenario::load(&path, &registry).expect("it loads"));
        for seed in 1..=20 {
            let outcome = run(&scenario, &registry, &scenario.plan(seed), Tracer::new());
            assert_eq!(outcome.failure, None, "seed {seed}");
            for invariant in invariants {
                let mut all = outcome.verdicts.iter();
                let judged = all.find(|(property, _)| property.name == *invariant);
                let (_, verdict) = judged.expect("it is judged");
                assert_eq!(*verdict, Verdict::Held, "{invariant}, seed {seed}");
            }
        }
    }
}

/// Counts lines.
struct Counts(&'static AtomicUsize);

impl log::Log for Counts {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, _: &log::Record<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn flush(&self) {}
}

/// There is one logger a process, so that each case has a process of its own.
#[test]
fn a_program_with_a_logger_of_its_own_passes_it_on_or_gets_no_verdict() {
    const CASE: &str = "NODE_TEST_LOGGER";
    static LINES: AtomicUsize = AtomicUsize::new(0);
    let logger = || Box::new(Counts(&LINES));
    match std::env::var(CASE).as_deref() {
        Ok("own") => {
            log::set_boxed_logger(logger()).expect("the first");
            log::set_max_level(log::LevelFilter::Error);
            let outcome = broken("logs");
            assert_eq!((outcome.failure, LINES.load(Ordering::Relaxed)), (None, 1));
            assert!(outcome.unknown[0].contains("errors::pass_on"), "{:?}", outcome.unknown);
            assert!(errors::pass_on(logger(), log::LevelFilter::Warn).is_err());
            assert_eq!(broken("asserts").failure.expect("it fails").property, "invariant");
        }
        Ok(_) => {
            errors::pass_on(logger(), log::LevelFilter::Off).expect("the first");
            let outcome = broken("logs");
            assert_eq!(outcome.failure.expect("it fails").property, "error_log");
            assert!(errors::pass_on(logger(), log::LevelFilter::Warn).is_err(), "the second");
            assert_eq!(LINES.load(Ordering::Relaxed), 0, "it wants none");
        }
        Err(_) => {
            let test = "a_program_with_a_logger_of_its_own_passes_it_on_or_gets_no_verdict";
            for case in ["own", "passed"] {
                let mut command = Command::new(std::env::current_exe().expect("this test"));
                let done = command.args(["--exact", test]).env(CASE, case).output();
                let done = done.expect("it runs");
                assert!(done.status.success(), "{case}: {}", text(&done.stdout));
                assert!(text(&done.stdout).contains("1 passed"), "{case}");
            }
        }
    }
}

/// Nothing seen is nothing shown.
#[test]
fn an_empty_history_gets_no_verdict() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("empty.jsonl");
    fs::write(&path, "").expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    let output = command.arg("verify").arg(&path).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("nothing to judge"));
}

/// Runs that broke the store while it came to survive bad disks and memories that are lost one
/// after the other: a leader that began anew though it had heard of a history, one that nobody who
/// was up knew of, and one that waited for ever since a log was lost before there was any history.
#[test]
fn seeds_that_broke_the_store_hold() {
    let registry = Arc::new(node_studies::registry());
    for (name, seeds) in [
        ("kv-rolling", &[60, 75, 189, 190, 338, 432, 528][..]),
        ("kv-bad-disk", &[136, 354, 485, 651, 659, 697][..]),
    ] {
        let path = root().join(format!("configs/sim/{name}.toml"));
        let scenario = Arc::new(Scenario::load(&path, &registry).expect("it loads"));
        for seed in seeds {
            let outcome = run(&scenario, &registry, &scenario.plan(*seed), Tracer::new());
            assert_eq!(outcome.failure, None, "{name}, seed {seed}");
        }
    }
}

/// A run is a trace: what clients say in it gets the verdicts that the run got.
#[test]
fn a_trace_is_judged_as_its_run_was() {
    let registry = Arc::new(node_studies::registry());
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("trace.jsonl");
    let mut violated = 0;
    for (name, seeds) in [
        ("kv-all", 1..=20),
        ("kv-resp", 1..=10),
        ("kv-linearizable", 10..=20),
        ("kv-twin", 1..=5),
        ("board", 1..=10),
        ("board-nats", 1..=10),
    ] {
        let file = root().join(format!("configs/sim/{name}.toml"));
        let scenario = Arc::new(Scenario::load(&file, &registry).expect("it loads"));
        for seed in seeds {
            let tracer = Tracer::to(Box::new(fs::File::create(&path).expect("a file")));
            let outcome = run(&scenario, &registry, &scenario.plan(seed), tracer);
            let trace = fs::read(&path).expect("a trace");
            let read = node_lab::trace::history::read(&trace[..]).expect("it reads");
            assert_eq!(read.operations.len(), outcome.run.operations.len(), "{name}, seed {seed}");
            let of_clients = |needs: Needs| needs.contains(Needs::OPERATIONS);
            for (property, verdict) in &outcome.verdicts {
                if of_clients(property.needs) {
                    let again = (property.judge)(&read);
                    assert_eq!(&again, verdict, "{name}, seed {seed}: {property}");
                    violated += u32::from(matches!(again, Verdict::Violated(_)));
                }
            }
        }
    }
    assert!(violated > 0, "some of them show a violation");
}

/// From a failure to its page in one command; the page is of the run that was made smaller.
#[test]
fn a_failing_run_is_drawn_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let (page, save) = (dir.path().join("page.html"), dir.path().join("sim"));
    let (page_name, save) = (page.to_str().expect("a name"), save.to_str().expect("a name"));
    let words = ["configs/sim/kv-linearizable.toml", "--seeds", "14..15", "--save", save];
    let output = sim(&[&words[..], &["--explain", page_name]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = String::from_utf8(output.stdout).expect("text");
    assert!(told.contains("  ③ newer read: ") && told.contains("  ⑤ older read: "), "{told}");
    let drawn = fs::read_to_string(&page).expect("a page");
    assert!(drawn.contains("older read") && drawn.contains("made smaller"));
    // Where no run fails there is nothing to draw, and that is no failure of the command.
    fs::remove_file(&page).expect("it is there");
    let words = ["configs/sim/kv-calm.toml", "--seeds", "1..2", "--explain", page_name];
    let output = sim(&words);
    assert!(output.status.code() == Some(0) && !page.exists(), "{output:?}");
}
