//! Branches of runs: what is before them is the run without them, byte for byte, and what they say
//! happens after.

use node_core::Rng;
use node_lab::registry::Registry;
use node_lab::sim::branch::{Act, Branch, Break, Fares};
use node_lab::sim::compare::{first_difference, traced};
use node_lab::sim::plan::{self, Plan};
use node_lab::sim::run::Outcome;
use node_lab::sim::scenario::Scenario;
use node_lab::sim::why::drawn_anew;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// One of each kind of clients, and nodes that act by themselves.
const SCENARIOS: [&str; 4] = ["kv-all", "board-nats", "lottery", "election-all"];

struct Stage {
    scenario: Arc<Scenario>,
    registry: Arc<Registry>,
}

impl Stage {
    fn of(name: &str) -> Stage {
        let registry = Arc::new(node_studies::registry());
        let scenario = Scenario::open(Path::new(name), &registry);
        Stage { scenario: Arc::new(scenario.expect("it comes with the binary")), registry }
    }

    /// With fewer operations, so that many are run.
    fn plan(&self, seed: u64) -> Plan {
        let whole = self.scenario.plan(seed);
        Plan { operations: whole.operations.min(30), ..whole }
    }

    fn run(&self, plan: &Plan) -> (String, Outcome) {
        self.scenario.check(plan).expect("it is a plan of the scenario");
        traced(&self.scenario, &self.registry, plan)
    }

    fn with(&self, plan: &Plan, branches: impl IntoIterator<Item = Branch>) -> (String, Outcome) {
        self.run(&Plan { branches: branches.into_iter().collect(), ..plan.clone() })
    }
}

fn at(line: &str) -> u64 {
    let line: Value = serde_json::from_str(line).expect("a line is JSON");
    line["at"].as_u64().expect("with a time")
}

/// The lines of a trace up to a time, that included.
fn until(trace: &str, end: u64) -> Vec<&str> {
    trace.lines().take_while(|line| at(line) <= end).collect()
}

fn moment(at_ns: u64, act: Option<Act>) -> Branch {
    Branch::Moment { at_ns, act }
}

#[test]
fn what_is_before_a_branch_is_the_run_without_it() {
    for name in SCENARIOS {
        let stage = Stage::of(name);
        let node = stage.scenario.nodes[0].id.0;
        let mut others = 0;
        for seed in 1..=6 {
            let plan = stage.plan(seed);
            let (whole, first) = stage.run(&plan);
            let mut rng = Rng::stream(seed, "test/moments");
            let end = first.virtual_ns.min(stage.scenario.millis * 1_000_000);
            let breaks = |how| Some(Act::Break { node, how, for_ms: None });
            let acts = [
                Some(Act::Reseed(seed)),
                breaks(Break::Crash),
                breaks(Break::Pause),
                breaks(Break::Cut),
            ];
            for act in acts {
                // Between two events, and at one.
                let between = rng.below(end);
                let at_event = until(&whole, between).last().map_or(between, |line| at(line));
                let at_ns = if rng.below(2) == 0 { between } else { at_event };
                let (branched, outcome) = stage.with(&plan, [moment(at_ns, act)]);
                let case = format!("{name}, seed {seed}, {act:?} at {at_ns}");
                // What a branch says of itself is behind all that happens at its moment.
                let told = branched.lines().position(|line| {
                    line.contains("\"branch at ") && line.contains("\"kind\":\"fault\"")
                });
                let parts = told.unwrap_or(until(&whole, at_ns).len());
                assert!(whole.lines().take(parts).eq(branched.lines().take(parts)), "{case}");
                assert!(parts >= until(&whole, at_ns).len(), "{case}: told at {told:?}");
                assert_eq!(outcome.notes.is_empty(), told.is_some(), "{case}: {:?}", outcome.notes);
                others += u32::from(outcome.hash != first.hash);
            }
        }
        assert!(others >= 18, "{name}: {others} of 24 branches changed something");
    }
}

#[test]
fn a_branch_without_an_act_and_one_after_the_end_change_nothing() {
    for name in SCENARIOS {
        let stage = Stage::of(name);
        for seed in 1..=3 {
            let plan = stage.plan(seed);
            let (whole, first) = stage.run(&plan);
            let mut rng = Rng::stream(seed, "test/empty");
            let empty = (0..5).map(|_| moment(rng.below(first.virtual_ns), None));
            let (again, outcome) = stage.with(&plan, empty);
            assert!(again == whole, "{name}, seed {seed}");
            assert_eq!((outcome.hash, outcome.events), (first.hash, first.events));
            assert_eq!(outcome.notes, [""; 0]);
            let after = [
                moment(first.virtual_ns + 1, Some(Act::Reseed(1))),
                Branch::Message { id: u64::MAX, fares: Fares::Drop },
            ];
            let (again, outcome) = stage.with(&plan, after);
            assert!(again == whole, "{name}, seed {seed}");
            assert_eq!((outcome.hash, outcome.events), (first.hash, first.events));
            let [late, unknown] = &outcome.notes[..] else { panic!("{:?}", outcome.notes) };
            assert!(late.starts_with("branch 1 met nothing: the run was over before"), "{late}");
            assert!(unknown.starts_with("branch 2 met nothing: there is no message"), "{unknown}");
        }
    }
}

/// The messages of a trace: by id, when it is sent and from whom to whom, and when it arrives.
fn messages(trace: &str) -> BTreeMap<String, Message> {
    let mut all: BTreeMap<String, Message> = BTreeMap::new();
    for line in trace.lines() {
        let line: Value = serde_json::from_str(line).expect("a line is JSON");
        let id = || line["id"].as_str().expect("a message has one").to_string();
        let at = line["at"].as_u64().expect("a time");
        match line["kind"].as_str() {
            Some("send") => {
                let (from, to) = (line["node"].clone(), line["to"].clone());
                all.insert(id(), Message { sent: at, from, to, got: None, lost: None });
            }
            Some("recv") => {
                all.get_mut(&id()).into_iter().for_each(|one| one.got = Some(at));
            }
            Some("drop") => {
                let why = line["why"].as_str().map(str::to_string);
                all.get_mut(&id()).into_iter().for_each(|one| one.lost = why.clone());
            }
            _ => {}
        }
    }
    all
}

#[derive(Clone, PartialEq, Debug)]
struct Message {
    sent: u64,
    from: Value,
    to: Value,
    got: Option<u64>,
    lost: Option<String>,
}

/// Messages that wait for nothing but their way: a branch that holds one back shows alone.
fn calm() -> (Stage, Plan, String, BTreeMap<String, Message>) {
    let stage = Stage::of("kv-calm");
    let plan = stage.plan(1);
    let (whole, _) = stage.run(&plan);
    let known = messages(&whole);
    (stage, plan, whole, known)
}

#[test]
fn a_message_is_lost_late_or_first() {
    let (stage, plan, whole, known) = calm();
    let end = stage.scenario.millis * 1_000_000;
    let got = known.iter().filter_map(|(id, one)| Some((id, one, one.got?)));
    let got = got.filter(|(_, one, _)| one.sent < end);
    let under_way = |one: &Message| -> Vec<&Message> {
        let same_link = |other: &&Message| (&other.from, &other.to) == (&one.from, &one.to);
        let is_before =
            |other: &&Message| other.sent < one.sent && other.got.is_some_and(|at| at > one.sent);
        known.values().filter(same_link).filter(is_before).collect()
    };
    let (crowded, others): (Vec<_>, Vec<_>) =
        got.partition(|(_, one, _)| !under_way(one).is_empty());
    let (mut ids, mut overtook) = (0, 0);
    for (id, one, arrives) in crowded.into_iter().take(12).chain(others.into_iter().step_by(9)) {
        let of = |fares| [Branch::Message { id: id.parse().expect("a number"), fares }];
        let (trace, outcome) = stage.with(&plan, of(Fares::Drop));
        assert_eq!(outcome.notes, [""; 0]);
        let again = &messages(&trace)[id];
        assert_eq!((again.got, again.lost.as_deref()), (None, Some("branch")), "message {id}");
        let same = until(&whole, arrives - 1).len();
        assert!(trace.lines().take(same).eq(whole.lines().take(same)), "message {id}");

        let (trace, outcome) = stage.with(&plan, of(Fares::DelayMs(50)));
        assert_eq!(outcome.notes, [""; 0]);
        let late = messages(&trace)[id].got.expect("it arrives");
        assert!(late >= arrives + 50_000_000, "message {id}: {late}");
        let same = until(&whole, one.sent - 1).len();
        assert!(trace.lines().take(same).eq(whole.lines().take(same)), "message {id}");
        // What follows it on its link does not overtake it.
        let later = messages(&trace).into_values();
        let mut later = later.filter(|other| (&other.from, &other.to) == (&one.from, &one.to));
        assert!(later.all(|other| other.sent <= one.sent || other.got.is_none_or(|at| at >= late)));

        let (trace, _) = stage.with(&plan, of(Fares::First));
        let all = messages(&trace);
        // A node that waits for its disk takes it a little later.
        let first = all[id].got.expect("it arrives");
        assert!(first <= arrives, "message {id}");
        // What was under way is not held back by it.
        for other in under_way(one) {
            let again =
                all.values().find(|again| (again.sent, &again.to) == (other.sent, &other.to));
            assert!(again.is_some_and(|again| again.got > Some(first)), "message {id}: {other:?}");
            overtook += 1;
        }
        ids += 1;
    }
    assert!(ids >= 20 && overtook >= 3, "{overtook} overtaken by {ids}");
}

#[test]
fn what_is_drawn_anew_is_every_stream_of_the_run() {
    for name in
        ["kv-disk", "kv-resp", "board-json", "board-nats", "lottery-text", "clocks-requests"]
    {
        let stage = Stage::of(name);
        let plan = Plan { faults: Vec::new(), ..stage.scenario.plan(2) };
        let (whole, _) = stage.run(&plan);
        let at_ns = 500_000_000;
        let (other, _) = stage.with(&plan, [moment(at_ns, Some(Act::Reseed(9)))]);
        let (again, _) = stage.with(&plan, [moment(at_ns, Some(Act::Reseed(9)))]);
        assert!(other == again, "{name}");
        let (third, _) = stage.with(&plan, [moment(at_ns, Some(Act::Reseed(8)))]);
        assert!(other != third, "{name}");
        let clients = |trace: &str| {
            let mut clients: BTreeMap<String, Vec<u64>> = BTreeMap::new();
            for line in trace.lines().filter(|line| at(line) > at_ns) {
                let line: Value = serde_json::from_str(line).expect("a line is JSON");
                if line["kind"] == "invoke" {
                    let client = line["client"].to_string();
                    clients.entry(client).or_default().push(line["at"].as_u64().expect("a time"));
                }
            }
            clients
        };
        // What was scheduled before comes as it would have, and everything behind it otherwise.
        let (of_one, of_other) = (clients(&whole), clients(&other));
        let both: Vec<_> = of_one
            .iter()
            .filter(|(client, asked)| asked.len() > 2 && of_other.contains_key(*client))
            .collect();
        assert!(!both.is_empty(), "{name}: clients ask: {of_one:?}");
        for (client, asked) in both {
            assert_ne!(asked[1..], of_other[client][1..], "{name}: client {client}");
        }
        let ways = |trace: &str| {
            let mut ways: BTreeMap<String, Vec<Option<u64>>> = BTreeMap::new();
            for one in messages(trace).into_values().filter(|one| one.sent > at_ns) {
                let way = one.got.map(|got| got - one.sent);
                ways.entry(format!("{} to {}", one.from, one.to)).or_default().push(way);
            }
            ways
        };
        let (of_one, of_other) = (ways(&whole), ways(&other));
        for (link, ways) in of_one.iter().filter(|(link, _)| of_other.contains_key(*link)) {
            assert_ne!(ways, &of_other[link], "{name}: messages from {link}");
        }
    }
}

#[test]
fn what_is_no_branch_is_refused_with_its_reason() {
    let stage = Stage::of("kv-crash");
    let plan = stage.plan(1);
    let refused = |table: &str| {
        let text = format!("seed = 1\nclients = 1\noperations = 1\n[[branch]]\n{table}\n");
        let read = plan::parse::<Plan>(Path::new("plan.toml"), &text)?;
        stage.scenario.check(&Plan { branches: read.branches, ..plan.clone() })
    };
    let late = "at_ns = 20000000000\ncrash = 1";
    let twice = "message = \"7\"\ndrop = true\n[[branch]]\nmessage = \"7\"\nfirst = true";
    for (table, why) in [
        ("reseed = 1", "a branch has at_ns"),
        ("at_ns = 1\nmessage = \"2\"\ndrop = true", "a branch has at_ns"),
        ("at_ns = 1\ndrop = true", "are of a message"),
        ("message = \"2\"\ncrash = 1", "are of at_ns"),
        ("message = \"2\"", "a message has one of"),
        ("message = \"2\"\ndrop = false", "a message has one of"),
        ("message = \"x\"\ndrop = true", "\"x\" is no id"),
        ("message = \"0\"\ndrop = true", "\"0\" is no id"),
        ("message = \"2\"\ndelay_ms = 60001", "delay_ms is 1 to 60000"),
        ("at_ns = 1\ncrash = 1\npause = 2", "at most one of"),
        ("at_ns = 1\nfor_ms = 2", "for_ms is of"),
        ("at_ns = 1\ncrash = 9", "there is no node 9"),
        ("at_ns = 1\nwipe = 1", "node 1 has no data_dir"),
        ("at_ns = 1\npause = 1\nfor_ms = 20000", "within the run's 20000 ms"),
        (late, "within the run's 20000 ms"),
        (twice, "branch 2: message 7 has a branch already"),
        ("at_ns = 1\nreset = 1", "unknown field `reset`"),
    ] {
        let error = refused(table).expect_err(table);
        assert!(error.contains(why), "{table}: {error}");
    }
    assert_eq!(refused("at_ns = 1\ncrash = 1"), Ok(()));
    assert_eq!(refused("at_ns = 90000000000000"), Ok(()));
}

#[test]
fn a_saved_plan_with_branches_runs_again_and_says_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("branched.toml");
    let text = "scenario = \"kv-calm\"\nproperty = \"linearizable\"\nseed = 1\nclients = 3\n\
                operations = 20\n\n\
                [[branch]]\nat_ns = 300000000\nwipe = 2\nfor_ms = 200\n\n\
                [[branch]]\nmessage = \"9\"\ndrop = true\n\n\
                [[branch]]\nmessage = \"4000000\"\nfirst = true\n";
    std::fs::write(&file, text).expect("a file");
    let node = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
        command.args(["sim", "--replay"]).arg(&file).args(arguments).output().expect("it runs")
    };
    let refused = node(&[]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("branch 1: node 2 has no data_dir: crash it"), "{why}");
    std::fs::write(&file, text.replace("wipe", "crash")).expect("a file");
    let trace = dir.path().join("trace.jsonl");
    let shown = node(&["--trace", trace.to_str().expect("a path")]);
    let said = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(said.contains("seed 1: branch 3 met nothing: there is no message 4000000"), "{said}");
    let lines = std::fs::read_to_string(&trace).expect("a trace");
    assert!(lines.contains("branch at 300.0 ms: node 2 down for 200 ms"), "{lines}");
    assert!(lines.contains("\"label\":\"message 9 from node"), "{lines}");
}

/// Faults that begin later are others in a continuation, and whatever has begun goes on as it was.
#[test]
fn the_rest_can_be_drawn_anew_with_its_faults_from_any_moment() {
    for name in ["kv-all", "kv-twin", "kv-bad-disk", "kv-liar", "board-json", "election-all"] {
        let stage = Stage::of(name);
        let mut others = 0;
        for seed in 1..=4 {
            let mut plan = stage.plan(seed);
            plan.faults.sort_by_key(|fault| fault.at_ms);
            let (whole, _) = stage.run(&plan);
            let mut rng = Rng::stream(seed, "test/anew");
            let at_ns = rng.below(stage.scenario.millis * 1_000_000);
            let known = until(&whole, at_ns);
            let again = drawn_anew(&stage.scenario, &plan, at_ns, known.len() as u64, seed);
            let (trace, _) = stage.run(&again);
            let same = trace.lines().take(known.len()).eq(known.iter().copied());
            assert!(same, "{name}, seed {seed}, from {at_ns}");
            let begun = |plan: &Plan| {
                let begun = plan.faults.iter().filter(|fault| fault.at() <= at_ns);
                begun.cloned().collect::<Vec<_>>()
            };
            assert_eq!(begun(&plan), begun(&again));
            others += u32::from(plan.faults != again.faults);
        }
        assert!(others >= 2, "{name}: {others} of 4 have other faults");
    }
}

#[test]
fn two_runs_part_where_a_branch_says() {
    let (stage, plan, whole, known) = calm();
    let arrives = |one: &&Message| one.got.is_some_and(|got| got > 1_000_000_000);
    let (id, one) = known.iter().find(|(_, one)| arrives(one)).expect("a message");
    let branch = Branch::Message { id: id.parse().expect("a number"), fares: Fares::Drop };
    let (other, _) = stage.with(&plan, [branch]);
    let part = |one: &str, other: &str| {
        first_difference(&mut one.as_bytes(), &mut other.as_bytes()).expect("memory can be read")
    };
    assert_eq!(part(&whole, &whole), None);
    let found = part(&whole, &other).expect("they part");
    let same = whole.lines().zip(other.lines()).take_while(|(one, other)| one == other).count();
    assert_eq!((found.line, Some(found.at_ns)), (same, one.got));
    let said = found.to_string();
    assert!(said.starts_with("the first event that differs is of node "), "{said}");
    assert!(said.contains("\"fault\":\"drop\""), "{said}");
    let short: String = whole.lines().take(3).map(|line| format!("{line}\n")).collect();
    let found = part(&short, &whole).expect("one is longer");
    assert_eq!((found.line, found.one), (3, None));
}
