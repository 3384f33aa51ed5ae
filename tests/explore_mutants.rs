//! Bugs planted in the protocols and in the nodes' clocks (feature `mutants`) that need at most two
//! faults: `node explore` finds each without a seed, with as few faults as any, and the plan that
//! it finds shows it again; without the bug, the same plan holds.

use node_lab::registry::Registry;
use node_lab::sim::explore::{Asked, explore};
use node_lab::sim::plan::Plan;
use node_lab::sim::run::{Failure, run};
use node_lab::sim::scenario::Scenario;
use node_lab::sim::tracer::Tracer;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// A bug, by protocol and name; the scenario; how many faults its smallest run has.
struct Planted {
    bug: (&'static str, &'static str),
    nodes: &'static [&'static str],
    text: String,
    faults: usize,
}

const MEMORY: &[&str] = &["kv-leader", "kv-follower-2", "kv-follower-3"];
const TWO: &[&str] = &["kv-leader", "kv-follower-2"];
const TWO_DISKS: &[&str] = &["kv-disk/node-1", "kv-disk/node-2"];
const ELECTORS: &[&str] = &["election/node-1", "election/node-2"];
const CLOCKS: &[&str] = &["clocks/node-1", "clocks/node-2"];
const THREE_CLOCKS: &[&str] = &["clocks/node-1", "clocks/node-2", "clocks/node-3"];
const MEMBERS: &[&str] = &["membership/server-1", "membership/reference"];
const TWO_MEMBERS: &[&str] =
    &["membership/server-1", "membership/server-2", "membership/reference"];

fn all() -> Vec<Planted> {
    let mut all = Vec::new();
    for (bug, nodes, script, bounds, faults) in STORE {
        let down = if bounds.contains("down_ms") { "" } else { "down_ms = 200\n" };
        // A store on disks may apply a PUT twice, under two timestamps.
        let once = if *nodes == TWO_DISKS { "" } else { "\"unique_timestamps\", " };
        let text = format!(
            "seconds = 8\nproperties = [\"monotonic_reads\", \"read_your_writes\", {once}\
             \"regular_register\", \"linearizable_writes\", \"replicas_equal\"]\n\
             [workload.kv_replication]\nkeys = 2\nthink_ms = 0\nscript = [{script}]\n\
             [explore]\nfrom_ms = 100\n{down}{bounds}\n"
        );
        all.push(Planted { bug: ("kv_replication", bug), nodes, text, faults: *faults });
    }
    for (protocol, bug, nodes, head, bounds, faults) in OTHERS {
        let text = format!("{head}\n[explore]\n{bounds}\n");
        all.push(Planted { bug: (protocol, bug), nodes, text, faults: *faults });
    }
    all
}

/// Bugs of the store: nodes, what clients do, bounds, faults.
type OfStore = (&'static str, &'static [&'static str], &'static str, &'static str, usize);

const STORE: &[OfStore] = &[
    ("answer_at_once", MEMORY, r#"["PUT 1"], ["GET 2"]"#, "", 0),
    ("answer_at_majority", MEMORY, r#"["PUT 1"], ["GET 3"]"#, "", 0),
    ("own_timestamp", MEMORY, r#"["PUT 2"], ["PUT 1"]"#, "", 0),
    ("resume_too_late", MEMORY, r#"["PUT 1"], ["PUT 1"]"#, "crashes = 1", 1),
    ("trust_old_ack", MEMORY, r#"["PUT 1"], ["PUT 1"]"#, "crashes = 1", 1),
    ("send_once", MEMORY, r#"["PUT 1"]"#, "drops = 1", 1),
    ("copy_misses_tail", MEMORY, r#"["PUT 1"]"#, "crashes = 1", 1),
    ("ignore_timestamp", MEMORY, r#"["PUT 1"], ["GET 2", "GET 3"]"#, "", 0),
    ("link_loss_not_applied", MEMORY, r#"["PUT 2"], ["GET 3"]"#, "crashes = 1", 1),
    ("transfer_not_reset", MEMORY, r#"["PUT 1"]"#, "crashes = 2", 2),
    // The PUT waits for the server that is down, for longer than its timeout.
    ("timeout_not_applied", MEMORY, r#"["PUT 1", "GET 2"]"#, "crashes = 1\ndown_ms = 5500", 1),
    ("forward_twice", MEMORY, r#"["PUT 2"]"#, "duplicates = 1", 1),
    // The GET, and the second PUT, come in the moment in which the server is back.
    ("answer_incomplete", MEMORY, r#"["PUT 1"], ["WAIT 200", "GET 3"]"#, "crashes = 1", 1),
    ("incarnation_ignored", TWO, r#"["PUT 2"], ["WAIT 200", "PUT 2"]"#, AT_300, 1),
    // Both servers stop after the PUT, and the GET comes when both are back.
    ("no_record", TWO_DISKS, r#"["PUT 1"], ["WAIT 201", "GET 2"]"#, BOTH_STOP, 2),
    ("answer_before_sync", TWO_DISKS, r#"["PUT 1"], ["WAIT 201", "GET 2"]"#, BOTH_STOP, 2),
];

const AT_300: &str = "until_ms = 301\ncrashes = 1";
const BOTH_STOP: &str = "until_ms = 302\ndown_ms = 100\ncrashes = 2";

type OfOther =
    (&'static str, &'static str, &'static [&'static str], &'static str, &'static str, usize);

const OTHERS: &[OfOther] = &[
    (
        "bully",
        "any_epoch_alive",
        ELECTORS,
        REIGNS,
        "until_ms = 2500\ndown_ms = 100\ndrops = 1\ncrashes = 1",
        2,
    ),
    ("bully", "higher_unchecked", ELECTORS, REIGNS, "until_ms = 2500\ndrops = 2", 2),
    ("node", "local", CLOCKS, CONDITION, "until_ms = 300", 0),
    ("node", "received", THREE_CLOCKS, CONDITION, "until_ms = 1200", 0),
    ("lamport", "any_answer_taken", CLOCKS, INCREASES, "until_ms = 1200\nduplicates = 1", 1),
    ("lamport", "given_up_uncounted", CLOCKS, INCREASES, "until_ms = 1200\ndrops = 1", 1),
    ("membership", "early_off", MEMBERS, DEATHS, "until_ms = 300\ndown_ms = 9000\ncrashes = 1", 1),
    (
        "membership",
        "looks_seldom",
        MEMBERS,
        DEATHS,
        "until_ms = 1500\ndown_ms = 15000\ncrashes = 1",
        1,
    ),
    (
        "membership",
        "rank_not_recorded",
        TWO_MEMBERS,
        RANKS,
        "until_ms = 30\ndown_ms = 10\ncrashes = 1",
        1,
    ),
];

const REIGNS: &str = "seconds = 6\nsettle_seconds = 12\nproperties = [\"election_terminates\", \
    \"one_coordinator_per_component\", \"highest_live_id_wins\"]\n[bounds]\nagree_ms = 8000";
const CONDITION: &str = "seconds = 4\nproperties = [\"clock_condition\"]";
const INCREASES: &str = "seconds = 4\nproperties = [\"clock_strictly_increases\"]";
const DEATHS: &str = "seconds = 30\nproperties = [\"death_noticed_in_time\"]\n[bounds]\n\
    heartbeat_ms = 1000\ntimeout_ms = 6000\ndelay_ms = 10\nnotice_ms = 500";
const RANKS: &str = "seconds = 3\nproperties = [\"ranks_unique_and_stable\", \
    \"members_agree_on_ranks\"]";

/// Writes the nodes' configs, without peers that are not there, and the scenario.
fn write(one: &Planted, folder: &Path) {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let read = |name: &str| {
        let text = fs::read_to_string(configs.join(name).with_extension("toml")).expect("a config");
        text.parse::<toml::Table>().expect("TOML")
    };
    let mut tables: Vec<toml::Table> = one.nodes.iter().map(|name| read(name)).collect();
    let ids: Vec<String> = tables.iter().map(|table| table["node"]["id"].to_string()).collect();
    let mut names = Vec::new();
    for (table, id) in tables.iter_mut().zip(&ids) {
        if let Some(toml::Value::Table(peers)) = table.get_mut("peers") {
            peers.retain(|peer, _| ids.iter().any(|id| id == peer));
        }
        let name = format!("node-{id}.toml");
        fs::write(folder.join(&name), table.to_string()).expect("a file");
        names.push(name);
    }
    let text = format!("nodes = {names:?}\n{}", one.text);
    fs::write(folder.join("planted.toml"), text).expect("a file");
}

fn fails(scenario: &Arc<Scenario>, registry: &Arc<Registry>, plan: &Plan) -> Option<Failure> {
    run(scenario, registry, plan, Tracer::new()).failure
}

/// So many runs find each: a bound that is counted, and the same on every machine.
const MOST_RUNS: u64 = 4_000;

/// What is wrong with how a bug is found.
fn look_for(one: &Planted, registry: &Arc<Registry>) -> Option<String> {
    let folder = TempDir::new().expect("a folder");
    write(one, folder.path());
    let path = folder.path().join("planted.toml");
    let (protocol, name) = one.bug;
    let key = if protocol == "node" { "lamport_rule" } else { "mutant" };
    let keys = [(protocol, key, toml::Value::from(name))];
    let planted = Arc::new(Scenario::load_with(&path, registry, &keys).expect("a scenario"));
    let healthy = Arc::new(Scenario::load(&path, registry).expect("a scenario"));
    let goes_on = |runs| runs < MOST_RUNS;
    let asked = Asked { seed: 1, jobs: 1, reduces: true, hears: &|_| {}, goes_on: &goes_on };
    let explored = explore(&planted, registry, &asked).expect("it has the table");
    let Some(found) = explored.found else {
        return Some(format!("{name} is not found: {:?}", explored.ended));
    };
    let choices = found.plan.choices.clone().unwrap_or_default();
    let faults = choices.iter().filter(|choice| choice.does.is_fault()).count();
    let property = found.failure.property;
    println!("{protocol:14} {name:21} {property:29} {faults} faults, {} runs", explored.runs);
    if faults != one.faults {
        return Some(format!("{name}: {faults} faults: {choices:?}"));
    }
    if fails(&planted, registry, &found.plan).is_none_or(|again| again.property != property) {
        return Some(format!("{name}: its plan does not show it again"));
    }
    let without = fails(&healthy, registry, &found.plan);
    without.map(|failure| format!("{name}: its plan fails without it: {failure:?}"))
}

#[test]
fn planted_bugs_of_few_faults_are_found_without_a_seed() {
    // A run that breaks an invariant panics and is caught: that is a finding, not news.
    std::panic::set_hook(Box::new(|_| {}));
    let registry = Arc::new(node_studies::registry());
    let wrong: Vec<String> = all().iter().filter_map(|one| look_for(one, &registry)).collect();
    drop(std::panic::take_hook());
    assert_eq!(wrong, [""; 0]);
}
