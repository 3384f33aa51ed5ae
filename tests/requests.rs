//! Three ways without a study: clients from a scenario alone, a property judged by a program, and a
//! sequential specification, on a counter that no study knows and on this tree's protocols.
//!
//! The programs are Python's: `python3` has to be there.

use node_lab::registry::Registry;
use node_lab::sim::run::{Outcome, run};
use node_lab::sim::scenario::Scenario;
use node_lab::sim::shrink::{MAX_RUNS, shrink};
use node_lab::sim::tally::{Tally, Word};
use node_lab::sim::tracer::Tracer;
use node_lab::study::spec::{Answer, Spec, linearizable};
use node_lab::study::{Operation, Run, Verdict};
use node_protocols::core::{Caller, ConfigError, Context, Env, NodeId, Protocol};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

/// A grow-only counter: nodes tell each other their own share. The bug to plant: they tell what was
/// added, which is then counted as often as it is heard.
struct Counter {
    config: CounterConfig,
    me: NodeId,
    shares: BTreeMap<NodeId, u64>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CounterConfig {
    #[serde(default)]
    tells_additions: bool,
}

#[derive(Debug, Serialize, Deserialize)]
enum Told {
    Share(u64),
    Added(u64),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    Add { amount: u8 },
    Total {},
}

#[derive(Debug, Serialize, Deserialize)]
struct Reply {
    total: u64,
}

impl Protocol for Counter {
    const NAME: &'static str = "counter";
    type Config = CounterConfig;
    type Message<'a> = Told;
    type Record<'a> = ();
    type Timer = ();
    type Request<'a> = Request;
    type Reply<'a> = Reply;

    fn new(config: CounterConfig, env: &Env) -> Result<Self, ConfigError> {
        Ok(Counter { config, me: env.id, shares: BTreeMap::from([(env.id, 0)]) })
    }

    fn on_start(&mut self, cx: &mut Context<'_, Self>) {
        cx.set_timer((), Duration::from_millis(500));
    }

    fn on_message(&mut self, from: NodeId, told: Told, _: &mut Context<'_, Self>) {
        let known = self.shares.entry(from).or_default();
        match told {
            Told::Share(share) => *known = share.max(*known),
            Told::Added(more) => *known += more,
        }
    }

    fn on_timer(&mut self, (): (), cx: &mut Context<'_, Self>) {
        if !self.config.tells_additions {
            cx.broadcast(&Told::Share(self.shares[&self.me]));
        }
        cx.set_timer((), Duration::from_millis(500));
    }

    fn on_request(&mut self, caller: Caller, request: Request, cx: &mut Context<'_, Self>) {
        if let Request::Add { amount } = request {
            let amount = u64::from(amount);
            let own = self.shares.entry(self.me).or_default();
            *own += amount;
            let told = match self.config.tells_additions {
                true => Told::Added(amount),
                false => Told::Share(*own),
            };
            cx.broadcast(&told);
        }
        cx.reply(caller.request, &Reply { total: self.shares.values().sum() });
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn data(name: &str) -> PathBuf {
    root().join("tests/data/requests").join(name)
}

fn registry() -> Arc<Registry> {
    let mut registry = node_studies::registry();
    registry.register::<Counter>();
    Arc::new(registry)
}

fn load(name: &str, bug: bool) -> Arc<Scenario> {
    let keys = [("counter", "tells_additions", toml::Value::Boolean(bug))];
    let keys = if bug { &keys[..] } else { &[] };
    Arc::new(Scenario::load_with(&data(name), &registry(), keys).expect("it loads"))
}

fn outcome(scenario: &Arc<Scenario>, seed: u64) -> Outcome {
    run(scenario, &registry(), &scenario.plan(seed), Tracer::new())
}

/// A text as a scenario of that folder.
fn parse(text: &str) -> Result<Scenario, String> {
    let load = &mut |config: &Path| {
        let path = data(".").join(config);
        node_lab::config::Config::load(&path, &registry()).map_err(|error| error.to_string())
    };
    Scenario::parse(&data("x.toml"), text, &registry(), None, load)
}

#[test]
fn a_program_judges_the_answers_of_clients_that_no_study_has() {
    let scenario = load("counter.toml", false);
    let mut tally = Tally::new(&scenario.properties);
    for seed in 1..=40 {
        let mut one = outcome(&scenario, seed);
        assert_eq!((&one.failure, &one.unknown[..]), (&None, &[][..]), "seed {seed}");
        let last: Vec<&Operation> = one.run.operations.iter().filter(|op| op.client >= 3).collect();
        assert!(last.len() >= 3, "each node is asked in the end");
        let at = last[0].invoke_ns;
        assert!(at >= 15_000_000_000, "{at} ns: after 10 s of faults, 5 s for nodes to agree");
        assert_eq!(one.run.operations.len() - last.len(), 3 * 12);
        tally.take(&mut one);
    }
    assert_eq!(tally.verdict(), Word::Held, "{:?}", tally.lines());
}

#[test]
fn the_program_finds_a_planted_bug_which_is_shrunk() {
    let scenario = load("counter.toml", true);
    let found = (1..=20).map(|seed| outcome(&scenario, seed)).find(|one| one.failure.is_some());
    let found = found.expect("a seed that duplicates or loses an addition");
    let failure = found.failure.expect("it is one");
    assert_eq!(failure.property, "sum");
    assert!(failure.why.contains("in the end, and"), "{}", failure.why);
    let [witness] = &failure.witnesses[..] else { panic!("the answer that shows it: {failure:?}") };
    let name = |one: &Operation| format!("{}-{}", one.connection, one.sequence);
    let is_it = |one: &&Operation| witness.op.as_deref() == Some(&*name(one));
    let shows = found.run.operations.iter().find(is_it).expect("it is one of the run");
    assert_eq!(Some(failure.at), shows.return_ns, "{failure:?}");
    assert!(witness.says.contains(" asked node "), "{witness:?}");
    let mut fails = |plan: &_| {
        let again = run(&scenario, &registry(), plan, Tracer::new());
        again.failure.is_some_and(|failure| failure.property == "sum")
    };
    let (small, _) = shrink(&found.plan, MAX_RUNS, &mut fails);
    assert!(small.faults.len() <= 1 && small.operations <= 2, "{small:?}");
}

#[test]
fn equal_seeds_ask_the_same() {
    let scenario = load("counter.toml", false);
    let hash = |seed| outcome(&scenario, seed).hash;
    assert_eq!(hash(7), hash(7));
    assert_ne!(hash(7), hash(8));
}

const NODES: &str = "nodes = [\"counter-node.toml\"]\ncount = 2\nproperties = []\n";

#[test]
fn what_no_protocol_takes_is_refused_when_the_scenario_is_loaded() {
    let good = "[[workload.request]]\njson = '{\"total\":{}}'\n";
    for (workload, request, why) in [
        (
            "",
            r#"{"sub":{}}"#,
            "request 1: {\"sub\":{}} is no request of counter: unknown request `sub`",
        ),
        ("", r#"{"add":{"amount":"x"}}"#, "invalid type: string"),
        ("", r#"{"add":{"amount":"$int(0,256)"}}"#, "{\"add\":{\"amount\":256}} is no request"),
        ("", r#"{"add":{"amount":"$int(9,1)"}}"#, "write $int(LOW,HIGH)"),
        ("", "{", "request 1: EOF"),
        ("protocol = \"lamport\"\n", r#"{"status":{}}"#, "nodes: name at least one"),
        ("protocol = \"none\"\n", r#"{"total":{}}"#, "there is no protocol none"),
        ("nodes = [3]\n", r#"{"total":{}}"#, "no node 3 runs counter"),
        ("clients = 0\n", r#"{"total":{}}"#, "clients 1 to 1000"),
        ("x = 1\n", r#"{"total":{}}"#, "x.toml:6: unknown field `x`"),
        ("think_ms = 9000\n", r#"{"total":{}}"#, "operations times think_ms"),
    ] {
        let text = format!(
            "{NODES}[workload]\nkind = \"requests\"\n{workload}\
             [[workload.request]]\njson = '{request}'\n"
        );
        let error = parse(&text).expect_err(request);
        assert!(error.contains(why), "{request}: {error}");
    }
    for (more, why) in [
        ("[workload.final]\njson = '{\"sub\":{}}'\n", "final: {\"sub\":{}} is no request"),
        ("[workload.final]\njson = '{\"total\":{}}'\nafter_ms = 60000\n", "final: after_ms"),
        ("[[checker]]\nname = \"linearizable\"\ncommand = [\"x\"]\n", "already a property"),
        ("[[checker]]\nname = \"a\"\ncommand = []\n", "name a program"),
    ] {
        let text = format!("{NODES}[workload]\nkind = \"requests\"\n{good}{more}");
        let error = parse(&text).expect_err(more);
        assert!(error.contains(why), "{more}: {error}");
    }
    let two = "[[checker]]\nname = \"a\"\ncommand = [\"x\"]\n".repeat(2);
    assert!(parse(&format!("{NODES}{two}")).expect_err("two").contains("two have that name"));
    assert!(parse(&format!("{NODES}[workload]\nkind = \"requests\"\n{good}")).is_ok());
}

/// Nodes that do not answer in the end are asked again until the time to settle is over.
#[test]
fn a_run_whose_last_answers_are_missing_does_not_come_to_rest() {
    let text = format!(
        "{NODES}seconds = 1\nsettle_seconds = 2\n[network]\ndelay_us = [5000, 5000]\n\
         [workload]\nkind = \"requests\"\noperations = 1\ntimeout_ms = 1\n\
         [[workload.request]]\njson = '{{\"total\":{{}}}}'\n\
         [workload.final]\njson = '{{\"total\":{{}}}}'\nafter_ms = 500\n"
    );
    let scenario = Arc::new(parse(&text).expect("it loads"));
    let one = outcome(&scenario, 1);
    let failure = one.failure.expect("it does not");
    assert_eq!(failure.property, "converges");
    assert!(failure.why.ends_with("node 1 silent, node 2 silent"), "{}", failure.why);
    assert!(one.run.operations.iter().filter(|op| op.client == 3).count() > 3, "asked again");
    assert!(one.run.operations.iter().all(|op| op.return_ns.is_none()), "given up");
}

/// A program that fails is not one that says that a property held.
#[test]
fn a_program_that_says_nothing_leaves_the_run_undecided() {
    let text = format!(
        "{NODES}seconds = 1\n[workload]\nkind = \"requests\"\noperations = 1\n\
         [[workload.request]]\njson = '{{\"total\":{{}}}}'\n\
         [[checker]]\nname = \"fails\"\ncommand = [\"python3\", \"-c\", \"x\"]\n"
    );
    let scenario = Arc::new(parse(&text).expect("it loads"));
    let mut one = outcome(&scenario, 1);
    assert_eq!(one.failure, None);
    let [why] = &one.unknown[..] else { panic!("{:?}", one.unknown) };
    assert!(why.starts_with("fails: ") && why.contains("NameError"), "{why}");
    let mut tally = Tally::new(&scenario.properties);
    tally.take(&mut one);
    assert_eq!(tally.verdict(), Word::Unknown);
}

/// What one counter does whose additions answer the new total.
struct Total;

impl Spec for Total {
    const PROTOCOL: &'static str = "counter";
    type State = u64;
    type Input = u64;
    type Output = u64;

    fn input(run: &Run, operation: &Operation) -> Option<u64> {
        Some(match run.request(operation)? {
            Request::Add { amount } => amount.into(),
            Request::Total {} => 0,
        })
    }

    fn output(run: &Run, operation: &Operation) -> Answer<u64> {
        run.reply(operation).map_or(Answer::Maybe, |Reply { total }| Answer::Told(total))
    }

    fn step(state: &u64, input: &u64, output: Option<&u64>) -> Option<u64> {
        let total = state + input;
        output.is_none_or(|told| *told == total).then_some(total)
    }
}

/// One node alone is linearizable; several that tell each other later are not.
#[test]
fn a_counter_is_held_against_its_specification() {
    let verdict = |count: u32| {
        let text = format!(
            "nodes = [\"counter-node.toml\"]\ncount = {count}\nproperties = []\n\
             [workload]\nkind = \"requests\"\n[[workload.request]]\n\
             json = '{{\"add\":{{\"amount\":\"$int(1,9)\"}}}}'\n[faults]\npause = [1, 2]\n"
        );
        let scenario = Arc::new(parse(&text).expect("it loads"));
        linearizable::<Total>(&outcome(&scenario, 1).run)
    };
    assert_eq!(verdict(1), Verdict::Held);
    let several = verdict(3);
    let Verdict::Violated(violation) = &several else { panic!("{several:?}") };
    assert!(violation.why.starts_with("no order explains what client "), "{}", violation.why);
}

fn sim(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    command.current_dir(root()).arg("sim").args(words).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("what it says is text")
}

#[test]
fn node_sim_runs_them_shrinks_and_replays() {
    let held = sim(&["tests/data/requests/numbers.toml", "--seeds", "1..20", "--json"]);
    assert_eq!(held.status.code(), Some(0), "{}{}", text(&held.stdout), text(&held.stderr));
    let verdict: Value = serde_json::from_slice(&held.stdout).expect("one JSON object");
    let names: Vec<&Value> = verdict["properties"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["property"])
        .collect();
    assert_eq!(names, ["clock_condition", "numbers"]);

    let dir = tempfile::tempdir().expect("a folder");
    let (save, trace) = (dir.path().join("save"), dir.path().join("trace"));
    let scenario = "tests/data/requests/numbers-below-50.toml";
    let words = [scenario, "--seeds", "1..5", "--save", save.to_str().expect("a name")];
    let broken = sim(&words);
    let said = text(&broken.stdout);
    assert_eq!(broken.status.code(), Some(0), "it shows what it is there to show: {said}");
    assert!(said.contains("numbers is violated at ") && said.contains(" answered "), "{said}");
    let again = said.lines().find_map(|line| line.trim().strip_prefix("again: node sim --replay "));
    let again = again.expect("the command that runs it again");
    let replayed = sim(&["--replay", again, "--trace", trace.to_str().expect("a name")]);
    assert_eq!(replayed.status.code(), Some(0), "{}", text(&replayed.stderr));
    let trace = fs::read_to_string(trace).expect("a trace");
    let line = trace.lines().find(|line| line.contains("\"numbers\"")).expect("the violation");
    assert!(line.contains("violation"), "{line}");
}
