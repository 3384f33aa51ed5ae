//! Bugs planted in the store (feature `mutants`) that need at most two faults: `node explore` finds
//! each without a seed, with as few faults as any, and the plan that it finds shows it again.

use node_lab::registry::Registry;
use node_lab::sim::explore::{Asked, explore};
use node_lab::sim::run::run;
use node_lab::sim::scenario::Scenario;
use node_lab::sim::tracer::Tracer;
use node_protocols::core::Protocol;
use node_protocols::kv_replication::{KvReplication, Mutant};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A bug, what clients do, the bounds, and how many faults its smallest run has.
type Planted = (Mutant, &'static str, &'static str, usize);

const PLANTED: &[Planted] = &[
    (Mutant::AnswerAtOnce, r#"["PUT 1"], ["GET 2"]"#, "", 0),
    (Mutant::AnswerAtMajority, r#"["PUT 1"], ["GET 3"]"#, "", 0),
    (Mutant::OwnTimestamp, r#"["PUT 2"], ["PUT 1"]"#, "", 0),
    (Mutant::ResumeTooLate, r#"["PUT 1"], ["PUT 1"]"#, "crashes = 1", 1),
    (Mutant::TrustOldAck, r#"["PUT 1"], ["PUT 1"]"#, "crashes = 1", 1),
    (Mutant::SendOnce, r#"["PUT 1"]"#, "drops = 1", 1),
    (Mutant::CopyMissesTail, r#"["PUT 1"]"#, "crashes = 1", 1),
    (Mutant::IgnoreTimestamp, r#"["PUT 1"], ["GET 2", "GET 3"]"#, "", 0),
    (Mutant::LinkLossNotApplied, r#"["PUT 2"], ["GET 3"]"#, "crashes = 1", 1),
    (Mutant::TransferNotReset, r#"["PUT 1"]"#, "crashes = 2", 2),
];

fn planted(one: &Planted, registry: &Registry) -> (TempDir, Scenario) {
    let (bug, script, bounds, _) = *one;
    let names = ["kv-leader.toml", "kv-follower-2.toml", "kv-follower-3.toml"];
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let nodes: Vec<PathBuf> = names.iter().map(|name| configs.join(name)).collect();
    let text = format!(
        "nodes = {nodes:?}\nseconds = 7\nproperties = [\"monotonic_reads\", \"read_your_writes\", \
         \"regular_register\", \"unique_timestamps\", \"linearizable_writes\", \"replicas_equal\"]\n\
         [workload.kv_replication]\nkeys = 2\nthink_ms = 0\nscript = [{script}]\n\
         [explore]\nfrom_ms = 100\ndown_ms = 200\n{bounds}\n"
    );
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("planted.toml");
    fs::write(&path, text).expect("a file");
    let keys = [(KvReplication::NAME, "mutant", toml::Value::try_from(bug).expect("a name"))];
    let scenario = Scenario::load_with(&path, registry, &keys).expect("a scenario");
    (folder, scenario)
}

/// So many runs find each: a bound that is counted, and the same on every machine.
const MOST_RUNS: u64 = 4_000;

#[test]
fn planted_bugs_of_few_faults_are_found_without_a_seed() {
    // A run that breaks an invariant panics and is caught: that is a finding, not news.
    std::panic::set_hook(Box::new(|_| {}));
    let registry = Arc::new(node_studies::registry());
    let mut wrong = Vec::new();
    for one in PLANTED {
        let (_folder, scenario) = planted(one, &registry);
        let scenario = Arc::new(scenario);
        let goes_on = |runs| runs < MOST_RUNS;
        let (jobs, reduces) = (1, true);
        let asked = Asked { seed: 1, jobs, reduces, hears: &|_| {}, goes_on: &goes_on };
        let explored = explore(&scenario, &registry, &asked).expect("it has the table");
        let Some(found) = explored.found else {
            wrong.push(format!("{:?} is not found: {:?}", one.0, explored.ended));
            continue;
        };
        let choices = found.plan.choices.clone().unwrap_or_default();
        let faults = choices.iter().filter(|choice| choice.does.is_fault()).count();
        let property = found.failure.property;
        println!("{:20?} {property:20} {faults} faults, {} runs", one.0, explored.runs);
        if faults != one.3 {
            wrong.push(format!("{:?}: {faults} faults: {choices:?}", one.0));
        }
        let again = run(&scenario, &registry, &found.plan, Tracer::new());
        if again.failure.is_none_or(|again| again.property != property) {
            wrong.push(format!("{:?}: its plan does not show it again", one.0));
        }
    }
    assert_eq!(wrong, [""; 0]);
}
