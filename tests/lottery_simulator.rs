//! The lottery in the simulator: that its scenarios reach what they are there for, that wrong
//! settings are told, and that what a run leaves is judged the same from its file. Their verdicts,
//! and the bugs that they find, are in `simulator.rs` and `mutants.rs`.

use node_lab::registry::Registry;
use node_lab::sim::plan::Plan;
use node_lab::sim::run::{Outcome, run};
use node_lab::sim::scenario::Scenario;
use node_lab::sim::tracer::Tracer;
use node_studies::lottery::history::Known;
use node_studies::lottery::model::{Asked, Lottery, Told};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn node(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    command.current_dir(root()).args(words).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("what it says is text")
}

fn load(path: &Path) -> Result<(Arc<Scenario>, Arc<Registry>), String> {
    let registry = Arc::new(node_studies::registry());
    Ok((Arc::new(Scenario::load(path, &registry)?), registry))
}

fn shipped(name: &str) -> PathBuf {
    root().join("configs/sim").join(name)
}

/// What happened in runs: how many times.
#[derive(Debug, Default)]
struct Met {
    retries_acknowledged: u32,
    duplicates_acknowledged: u32,
    refused: BTreeMap<&'static str, u32>,
    starts: usize,
    starts_after_the_draw: usize,
    lines_lost: u32,
    quoted: u32,
    /// Agencies that have sent more than 8 batches, and that have more than 50 winners.
    of_many_batches: usize,
    of_many_winners: usize,
}

const REFUSALS: [&str; 5] = [
    "given to other bets",
    "the agency has finished",
    "out of range",
    "day of the calendar",
    "of one agency",
];

impl Met {
    fn count(&mut self, lottery: &Lottery) {
        let mut sent = BTreeMap::new();
        for ask in &lottery.asks {
            let Asked::Bets { batch, bets } = &ask.ask else { continue };
            let told = ask.answer.as_ref().map(|answer| &answer.told);
            let (unanswered, stored) = sent.entry((ask.agency, batch, bets)).or_insert((0, 0));
            match told {
                None => *unanswered += 1,
                Some(Told::Stored(_)) => {
                    self.retries_acknowledged += u32::from(*unanswered > 0 && *stored == 0);
                    self.duplicates_acknowledged += u32::from(*stored > 0);
                    *stored += 1;
                }
                Some(Told::Refused(reason)) => {
                    let known = REFUSALS.iter().find(|known| reason.contains(*known));
                    *self.refused.entry(known.copied().unwrap_or("else")).or_default() += 1;
                }
                Some(other) => panic!("bets were answered {other:?}"),
            }
        }
        let starts = &lottery.files[..lottery.files.len() - 1];
        self.starts += starts.len();
        let is_told = |told: &Told| matches!(told, Told::Winners(_));
        let answers = lottery.asks.iter().filter_map(|ask| ask.answer.as_ref());
        let drawn = answers.filter(|answer| is_told(&answer.told)).map(|answer| answer.at_ns).min();
        let drawn = drawn.expect("a run goes on until winners are told");
        self.starts_after_the_draw += starts.iter().filter(|file| file.at_ns > drawn).count();
        self.lines_lost += u32::from(lottery.draws.is_empty());
        self.quoted += u32::from(lottery.files.iter().any(|file| file.text.contains('"')));
        let mut many = (BTreeSet::new(), BTreeSet::new());
        for ask in &lottery.asks {
            match (&ask.ask, ask.answer.as_ref().map(|answer| &answer.told)) {
                (Asked::Bets { batch: 9.., .. }, Some(Told::Stored(_))) => {
                    many.0.insert(ask.agency)
                }
                (_, Some(Told::Winners(all))) if all.len() > 50 => many.1.insert(ask.agency),
                _ => false,
            };
        }
        self.of_many_batches += many.0.len();
        self.of_many_winners += many.1.len();
    }
}

#[test]
fn scenarios_reach_what_they_are_there_for() {
    for name in ["lottery.toml", "lottery-torn.toml"] {
        let (scenario, registry) = load(&shipped(name)).expect("it loads");
        let mut met = Met::default();
        for seed in 1..=40 {
            let Outcome { run: seen, failure, .. } =
                run(&scenario, &registry, &scenario.plan(seed), Tracer::new());
            assert_eq!(failure, None, "{name}, seed {seed}");
            met.count(Known::of(&seen).lottery.as_ref().expect("a lottery"));
        }
        println!("{name}: {met:?}");
        assert!(met.retries_acknowledged > 100 && met.duplicates_acknowledged > 100, "{met:?}");
        for reason in REFUSALS {
            assert!(met.refused.get(reason).is_some_and(|times| *times > 5), "{reason}: {met:?}");
        }
        assert!(met.starts > 100 && met.starts_after_the_draw > 10, "{met:?}");
        assert!(met.quoted == 40 && met.of_many_batches > 40, "{met:?}");
        assert!(name == "lottery-torn.toml" || met.of_many_winners > 3, "{met:?}");
    }
}

/// What agencies that are nodes do in runs, and two that are told to be one.
#[test]
fn agencies_as_nodes_meet_what_they_are_there_for() {
    let (scenario, registry) = load(&shipped("lottery-nodes.toml")).expect("it loads");
    let (mut rivals_refused, mut rivals_heard, mut retries, mut losses) = (0, 0, 0, 0);
    let (mut drawn, mut after_the_end) = (0, 0);
    for seed in 1..=60 {
        let outcome = run(&scenario, &registry, &scenario.plan(seed), Tracer::new());
        assert_eq!(outcome.failure, None, "seed {seed}");
        assert_eq!(outcome.unknown, [""; 0], "every property is decided");
        let known = Known::of(&outcome.run);
        let lottery = known.lottery.as_ref().expect("a lottery");
        losses += lottery.losses.len();
        let mut ended = BTreeSet::new();
        let mut stored = BTreeSet::new();
        for ask in lottery.asks.iter().filter(|ask| ask.node.is_some()) {
            let Some(told) = ask.answer.as_ref().map(|answer| &answer.told) else { continue };
            match told {
                Told::Refused(why) => {
                    rivals_refused += u32::from(why.contains("another node speaks"));
                    continue;
                }
                Told::Finished => _ = ended.insert(ask.agency),
                Told::Stored(_) => {
                    let Asked::Bets { batch, .. } = &ask.ask else { panic!("{ask:?}") };
                    retries += u32::from(!stored.insert((ask.agency, *batch)));
                    after_the_end += u32::from(ended.contains(&ask.agency));
                }
                Told::Winners(_) | Told::NotDrawn => {}
            }
            rivals_heard += u32::from(ask.node == Some(3));
        }
        drawn += lottery.draws.len();
    }
    let met = [rivals_refused, rivals_heard, retries, after_the_end];
    println!("{met:?}, {losses} links lost, {drawn} draws");
    assert!(met.iter().all(|times| *times > 10) && losses > 50 && drawn > 20, "{met:?}");
}

/// A full disk that was measured, and then another fault of it: the node has room again when both
/// are over.
#[test]
fn seeds_that_found_something_hold() {
    let (scenario, registry) = load(&shipped("lottery.toml")).expect("it loads");
    for seed in [131, 149, 298] {
        let outcome = run(&scenario, &registry, &scenario.plan(seed), Tracer::new());
        assert_eq!(outcome.failure, None, "seed {seed}");
    }
}

/// A shrunk plan has fewer agencies with bets, and the others finish without any.
#[test]
fn a_smaller_plan_comes_to_its_draw_too() {
    let (scenario, registry) = load(&shipped("lottery.toml")).expect("it loads");
    let whole = scenario.plan(1);
    assert_eq!((whole.clients, whole.operations), (5, 18));
    for (clients, operations) in [(1, 18), (1, 0), (3, 1)] {
        let plan = Plan { clients, operations, ..whole.clone() };
        assert_eq!(scenario.check(&plan), Ok(()));
        let outcome = run(&scenario, &registry, &plan, Tracer::new());
        assert_eq!(outcome.failure, None);
        let known = Known::of(&outcome.run);
        let lottery = known.lottery.as_ref().expect("a lottery");
        let told = lottery.asks.iter().filter_map(|ask| ask.answer.as_ref());
        assert!(told.filter(|answer| matches!(answer.told, Told::Winners(_))).count() >= 5);
    }
    assert!(scenario.check(&Plan { clients: 6, ..whole.clone() }).is_err());
    assert!(scenario.check(&Plan { operations: 19, ..whole }).is_err());
}

#[test]
fn settings_that_make_no_sense_are_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("wrong.toml");
    let central = root().join("configs/lottery/central.toml");
    let store = root().join("configs/kv-leader.toml");
    let other = dir.path().join("other.toml");
    let second = fs::read_to_string(&central).expect("the config").replace("id = 1", "id = 2");
    fs::write(&other, second).expect("a file");
    let error = |nodes: &[&Path], workload: &str| {
        let head = format!("nodes = {nodes:?}\nproperties = []\n");
        fs::write(&file, format!("{head}[workload.lottery]\n{workload}\n")).expect("a file");
        load(&file).map(|_| ()).expect_err(workload)
    };
    for (workload, why) in [
        ("keys = 3", "wrong.toml:4: unknown field `keys`"),
        ("cut_percent = 100", "cut_percent"),
        ("quote_percent = 101", "percents"),
        ("large_percent = 101", "percents"),
        ("lucky_percent = 101", "percents"),
        ("\n[disk]\ncheckpoint_bytes = [2, 1]", "checkpoint_bytes goes from its lower"),
        ("bets = 0", "bets"),
        ("results = 0", "results"),
        ("operations = 10001", "operations"),
        ("timeout_ms = 0", "timeout_ms"),
        ("timeout_ms = 9000000000", "timeout_ms"),
        ("think_ms = 18446744073709551615", "think_ms"),
    ] {
        let said = error(&[&central], workload);
        assert!(said.contains(why), "{workload}: {said}");
    }
    let said = error(&[&central], "misbehave_per_cent = 3");
    assert!(said.contains("wrong.toml:4: unknown field `misbehave_per_cent`"), "{said}");
    let said = error(&[&store], "misbehave_percent = 3");
    assert!(said.contains("what the nodes run has no simulated clients of lottery"), "{said}");
    let said = error(&[&central, &other], "operations = 3");
    assert!(said.contains("what the nodes run has no simulated clients"), "{said}");
}

/// A connection is told to the central when its first request arrives, as the driver does.
#[test]
fn the_central_hears_of_connections() {
    let dir = tempfile::tempdir().expect("a folder");
    let trace = dir.path().join("trace.jsonl");
    let path = trace.to_str().expect("a name");
    let output = node(&["sim", "configs/sim/lottery.toml", "--seed", "1", "--trace", path]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let trace = fs::read_to_string(path).expect("a trace");
    let lines = trace.matches("action: accept_connections | result: success").count();
    assert!(lines >= 5, "{lines}");
}

/// What the file of bets had stands in traces: they are judged as the run was. What agencies that
/// are nodes asked does not.
#[test]
fn a_trace_is_judged_as_its_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let trace = dir.path().join("run.jsonl");
    let path = trace.to_str().expect("a name");
    let simulate = |name: &str, seed: u64| {
        let output = node(&["sim", name, "--seed", &seed.to_string(), "--trace", path]);
        assert!(output.status.success(), "{name} {seed}: {}", text(&output.stderr));
    };
    let verify = |name: &str| {
        let output = node(&["verify", "--scenario", name, path]);
        (text(&output.stdout).to_string(), output.status.code())
    };
    for name in ["lottery", "lottery-torn", "lottery-text"] {
        for seed in 1..=10 {
            simulate(name, seed);
            let (verdicts, code) = verify(name);
            assert_eq!(code, Some(0), "{name} {seed}: {verdicts}");
        }
    }
    // A bet of the last look is gone.
    let lines = fs::read_to_string(&trace).expect("the trace");
    let last = lines.lines().rfind(|line| line.contains(r#""kind":"file""#)).expect("a look");
    let cut = last.rfind("\\n").and_then(|end| last[..end].rfind("\\n")).expect("two rows");
    let torn = format!("{}\\n\"}}", &last[..cut]);
    fs::write(&trace, lines.replace(last, &torn)).expect("a trace");
    let (verdicts, code) = verify("lottery-text");
    assert_eq!(code, Some(1), "{verdicts}");
    assert!(verdicts.contains("stored_exactly_once  violated: "), "{verdicts}");
    // The look itself is gone.
    let without = lines.lines().filter(|line| !line.contains(r#""kind":"file""#));
    fs::write(&trace, without.collect::<Vec<_>>().join("\n") + "\n").expect("a trace");
    let (verdicts, code) = verify("lottery-text");
    assert_eq!(code, Some(2), "{verdicts}");
    assert!(verdicts.contains("unknown: nobody saw the file of bets"), "{verdicts}");

    simulate("lottery-nodes", 1);
    let (verdicts, code) = verify("lottery-nodes");
    assert_eq!(code, Some(2), "{verdicts}");
    assert!(verdicts.contains("unknown: traces do not have what agencies"), "{verdicts}");
}
