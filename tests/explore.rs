//! `node explore` on real protocols: that what is tried once is enough, that counts are the same on
//! any number of processors, and that planted bugs are found without a seed, with few faults, as
//! plans that run again.

use node_lab::registry::Registry;
use node_lab::sim::explore::{Asked, Ended, Explored, explore};
use node_lab::sim::run::Outcome;
use node_lab::sim::scenario::Scenario;
use node_protocols::kv_replication::Reply;
use node_studies::kv_replication::Store;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Servers of the store, and what a scenario of them says.
#[derive(Clone, Copy)]
enum Servers {
    Memory,
    Disk,
}

struct Small {
    scenario: Arc<Scenario>,
    registry: Arc<Registry>,
    _folder: TempDir,
}

fn small(servers: Servers, rest: &str) -> Small {
    let names = match servers {
        Servers::Memory => ["kv-leader.toml", "kv-follower-2.toml", "kv-follower-3.toml"],
        Servers::Disk => ["kv-disk/node-1.toml", "kv-disk/node-2.toml", "kv-disk/node-3.toml"],
    };
    let nodes: Vec<PathBuf> = names.iter().map(|name| root().join("configs").join(name)).collect();
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("small.toml");
    let properties = r#"["monotonic_reads", "read_your_writes", "regular_register",
        "unique_timestamps", "linearizable_writes", "replicas_equal"]"#;
    let text = format!("nodes = {nodes:?}\nproperties = {properties}\nseconds = 2\n{rest}");
    fs::write(&path, text).expect("a file");
    let registry = Arc::new(node_studies::registry());
    let scenario = Scenario::load(&path, &registry).expect("a scenario");
    Small { scenario: Arc::new(scenario), registry, _folder: folder }
}

impl Small {
    fn explore(&self, reduces: bool, jobs: usize, hears: &(dyn Fn(&Outcome) + Sync)) -> Explored {
        let asked = Asked { seed: 1, jobs, reduces, hears, goes_on: &|_| true };
        explore(&self.scenario, &self.registry, &asked).expect("it has the table")
    }

    /// What clients were told and replicas hold in the end, over all orders.
    fn ends(&self, reduces: bool) -> (Explored, BTreeSet<String>) {
        let ends = Mutex::new(BTreeSet::new());
        let hears = |outcome: &Outcome| {
            let run = &outcome.run;
            let told = run.operations.iter().map(|one| {
                let reply: Option<Reply<'_>> = run.reply(one);
                (one.client, one.sequence, format!("{reply:?}"))
            });
            let store = Store::of(run);
            let held = store.replicas.iter().map(|one| (one.applied, one.digest.clone()));
            let broken = outcome.failure.as_ref().map(|failure| &failure.property);
            let (mut told, held): (Vec<_>, Vec<_>) = (told.collect(), held.collect());
            told.sort();
            ends.lock().expect("no panic").insert(format!("{told:?} {held:?} {broken:?}"));
        };
        let explored = self.explore(reduces, 2, &hears);
        (explored, ends.into_inner().expect("no panic"))
    }
}

/// With and without what is tried once, clients are told the same and replicas become the same.
#[test]
fn what_is_tried_once_is_enough() {
    let cases = [
        (Servers::Memory, "script = [[\"PUT 1\"]]", "until_ms = 200\ndrops = 1"),
        (Servers::Memory, "script = [[\"PUT 1\"], [\"GET 3\"]]", "until_ms = 101"),
        (Servers::Memory, "script = [[\"GET 2\"]]", "until_ms = 101\ncrashes = 1"),
        (Servers::Disk, "script = [[\"PUT 1\"]]", "until_ms = 101"),
    ];
    for (servers, script, bounds) in cases {
        let rest = format!(
            "[workload.kv_replication]\nkeys = 1\nthink_ms = 0\n{script}\n\
             [explore]\nfrom_ms = 100\ndown_ms = 50\n{bounds}\n"
        );
        let small = small(servers, &rest);
        let (every, all) = small.ends(false);
        let (once, some) = small.ends(true);
        println!("{script} {bounds}: {} orders, {} tried", every.schedules, once.schedules);
        assert_eq!((every.ended, once.ended), (Ended::Exhausted, Ended::Exhausted));
        assert_eq!(all, some, "{script} {bounds}");
        assert!(once.schedules < every.schedules);
    }
}

#[test]
fn counts_are_the_same_on_any_number_of_processors() {
    let rest = "[workload.kv_replication]\nkeys = 1\nthink_ms = 0\nscript = [[\"PUT 1\"]]\n\
                [explore]\nfrom_ms = 100\nuntil_ms = 101\ndrops = 1\nduplicates = 1\n";
    let small = small(Servers::Memory, rest);
    let count = |jobs| {
        let Explored { schedules, runs, ended, .. } = small.explore(true, jobs, &|_| {});
        (schedules, runs, ended)
    };
    let one = count(1);
    assert!(one.0 > 10 && one.2 == Ended::Exhausted, "{one:?}");
    assert_eq!([count(2), count(3)], [one, one]);
}

fn node(words: &[&str], folder: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    let output = command.current_dir(folder).args(words).output().expect("the binary runs");
    (output.status.code(), String::from_utf8(output.stdout).expect("text"))
}

/// Two GETs of one client at two servers while a PUT is on its way: without a timestamp the second
/// may see less. What breaks is found without a fault, saved, and run again with the same verdict.
#[test]
fn what_is_found_runs_again_and_exit_codes_tell_how_it_ended() {
    let folder = TempDir::new().expect("a folder");
    let names = ["kv-leader.toml", "kv-follower-2.toml", "kv-follower-3.toml"];
    let nodes: Vec<PathBuf> = names.iter().map(|name| root().join("configs").join(name)).collect();
    let write = |name: &str, property: &str, bounds: &str| {
        let text = format!(
            "nodes = {nodes:?}\nproperties = [\"{property}\"]\nseconds = 2\n\
             [workload.kv_replication]\nkeys = 1\nthink_ms = 0\n\
             script = [[\"PUT 1\"], [\"GET 2\"], [\"GET 3\"]]\n\
             [explore]\nfrom_ms = 100\n{bounds}\n"
        );
        fs::write(folder.path().join(name), text).expect("a file");
    };
    write("late.toml", "linearizable", "drops = 1");
    let (code, told) = node(&["explore", "late.toml", "--save", "saved"], folder.path());
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("linearizable is violated at"), "{told}");
    assert!(told.contains("with 0 faults"), "{told}");
    let plan = fs::read_to_string(folder.path().join("saved/late-1.toml")).expect("it is saved");
    assert!(plan.contains("[[choice]]") && !plan.contains("drop"), "{plan}");
    let replay = ["sim", "--replay", "saved/late-1.toml", "--trace", "run.jsonl"];
    let (code, again) = node(&replay, folder.path());
    assert_eq!(code, Some(1), "{again}");
    let line =
        |text: &str| text.lines().find(|line| line.contains("is violated at")).map(str::to_string);
    let why = line(&told).expect("a line");
    assert!(line(&again).is_some_and(|line| line.ends_with(&why)), "{again}\n{told}");

    write("held.toml", "regular_register", "until_ms = 101");
    let (code, told) = node(&["explore", "held.toml"], folder.path());
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("schedules, none violates regular_register within these bounds"),
        "{told}"
    );
    assert!(!told.contains("correct"), "{told}");
    write("deep.toml", "regular_register", "depth = 3");
    let (code, told) = node(&["explore", "deep.toml", "--json"], folder.path());
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("\"ended\":\"depth\""), "{told}");
    let (code, told) = node(&["explore", "held.toml", "--seconds", "0"], folder.path());
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("bound reached: 0 s after 0 schedules"), "{told}");
    // A plan of another scenario: what it chooses cannot be there.
    let other = plan.replace("late.toml", "held.toml").replace("GET", "PUT");
    fs::write(folder.path().join("other.toml"), other.replace("step = ", "step = 9"))
        .expect("a file");
    let (code, told) = node(&["sim", "--replay", "other.toml"], folder.path());
    assert_eq!(code, Some(2), "{told}");
}
