//! When a run was lost: the curve of a known bug rises where its cause is.

use node_lab::registry::Registry;
use node_lab::sim::compare::traced;
use node_lab::sim::plan::Plan;
use node_lab::sim::scenario::Scenario;
use node_lab::sim::why::{Effort, Why, why};
use serde_json::Value;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

fn open(name: &str) -> (Arc<Scenario>, Arc<Registry>) {
    let registry = Arc::new(node_studies::registry());
    let scenario = Scenario::open(Path::new(name), &registry);
    (Arc::new(scenario.expect("it comes with the binary")), registry)
}

fn find(name: &str, plan: &Plan, effort: Effort) -> Result<Why, String> {
    let (scenario, registry) = open(name);
    why(&scenario, &registry, plan, effort, &mut |_, _| ControlFlow::Continue(()))
}

/// A run of the leader that takes PUTs which no follower gets, one of which is read, and then loses
/// its memory. That is the cause: until then the followers can get them still.
fn lost_memory() -> Plan {
    let (scenario, _) = open("kv-lost-memory");
    Plan { clients: 2, ..scenario.plan(5) }
}

#[test]
fn the_curve_rises_where_the_cause_is() {
    let plan = lost_memory();
    let effort = Effort { points: 20, closer: 8, runs: 50, jobs: 2 };
    let found = find("kv-lost-memory", &plan, effort).expect("it fails");
    assert_eq!(found.failure.property, "unique_timestamps");
    let causes: Vec<u64> = found
        .trace
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"))
        .filter(|line| line["kind"] == "crash" && line["node"] == 1)
        .map(|line| line["at"].as_u64().expect("a time"))
        .collect();
    let [cause] = causes[..] else { panic!("node 1 crashes once: {causes:?}") };

    // Two shares of 50 runs differ by more than 4 standard deviations of such a difference by
    // chance in one of 30,000, and the curve has some 30 steps: that any seems clear by chance
    // alone is one in a thousand.
    let step = found.step.expect("it rises");
    assert!(step.is_clear(), "{step:?}");
    // The step is from one point to the next, and has the cause in it.
    let (before, after) = found.bracket().expect("there is a step");
    assert!((before.at_ns..after.at_ns).contains(&(cause - 1)), "{before:?}, {after:?}");

    // Where the failure shows, nothing helps any more; at the beginning much is open.
    let (first, last) = (found.points[0], found.points[found.points.len() - 1]);
    assert_eq!((last.at_ns, last.failed), (found.failure.at, 50));
    let share = f64::from(first.failed + last.failed) / 100.0;
    let sigma = (share * (1.0 - share) * 2.0 / 50.0).sqrt();
    assert!(last.share() - first.share() > 4.0 * sigma, "{first:?}");
    assert!(found.points.iter().all(|point| point.runs == 50));
    assert!(found.points.is_sorted_by_key(|point| point.at_ns));
}

#[test]
fn a_curve_is_the_same_whoever_runs_it_and_can_be_ended() {
    let plan = lost_memory();
    let few = |jobs| Effort { points: 4, closer: 1, runs: 6, jobs };
    let one = find("kv-lost-memory", &plan, few(1)).expect("it fails");
    let other = find("kv-lost-memory", &plan, few(3)).expect("it fails");
    assert_eq!(one, other);
    let (scenario, registry) = open("kv-lost-memory");
    let (_, outcome) = traced(&scenario, &registry, &one.plan);
    assert_eq!(outcome.failure.as_ref(), Some(&one.failure));
    let mut asked = 0;
    let ended = why(&scenario, &registry, &plan, few(2), &mut |done, all| {
        asked += 1;
        assert!(done <= all && all == 30, "{done} of {all}");
        if done >= 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(ended.map(|_| ()), Err("it was ended before it was done".into()));
    assert!(asked < 10, "{asked} runs");
    let nothing = find("kv-calm", &open("kv-calm").0.plan(1), few(1)).map(|_| ());
    assert!(nothing.is_err_and(|why| why.contains("breaks nothing")));
}

#[test]
fn the_command_shows_it_in_the_terminal_on_the_page_and_as_json() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
        command.current_dir(dir.path()).args(arguments).output().expect("it runs")
    };
    let text = "scenario = \"kv-lost-memory\"\nproperty = \"unique_timestamps\"\nseed = 5\n\
                clients = 2\noperations = 37\n\n\
                [[fault]]\nat_ms = 2000\nfor_ms = 2500\nkind = \"partition\"\nnodes = [1]\n\n\
                [[fault]]\nat_ms = 4000\nfor_ms = 1\nkind = \"crash\"\nnode = 1\n";
    std::fs::write(dir.path().join("saved.toml"), text).expect("a file");
    let few = ["why", "saved.toml", "--points", "6", "--runs", "40"];
    let shown = node(&[&few[..], &["--explain", "why.html"]].concat());
    let said = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.status.code(), Some(0), "{said}");
    assert!(said.starts_with("kv-lost-memory, seed 5: unique_timestamps is violated at"), "{said}");
    assert!(said.contains("100% │") && said.contains("▲ became likely here"), "{said}");
    assert!(said.contains("4000 ms: node 1 down for 1 ms"), "{said}");
    let page = std::fs::read_to_string(dir.path().join("why.html")).expect("a page");
    assert!(page.contains("\"curve\":[{\"share\":"), "the page has the curve");
    let told = node(&[&few[..], &["--json"]].concat());
    let told: Value = serde_json::from_slice(&told.stdout).expect("one JSON object");
    assert_eq!(told["property"], "unique_timestamps");
    let points = told["points"].as_array().expect("points");
    assert!((7..=14).contains(&points.len()) && points.iter().all(|one| one["runs"] == 40));
    assert!(told["step"]["events"].as_array().is_some_and(|events| !events.is_empty()), "{told}");

    let calm = node(&["why", "kv-calm", "--points", "2", "--runs", "1"]);
    assert_eq!(calm.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&calm.stderr).contains("this run breaks nothing"));
    let both = node(&["why", "saved.toml", "--seed", "2"]);
    assert_eq!(both.status.code(), Some(2));
}
