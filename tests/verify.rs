//! `node verify` with a scenario: its properties, its bounds and its programs judge a run that was
//! written as traces.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

fn node(words: &[&str]) -> Output {
    let command = &mut Command::new(env!("CARGO_BIN_EXE_node"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    command.current_dir(root).args(words).output().expect("node runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// The trace of a scenario's seed.
fn trace(folder: &TempDir, scenario: &str, seed: u64) -> String {
    let trace = folder.path().join("trace.jsonl").display().to_string();
    let seeds = format!("{seed}..{seed}");
    let ran = node(&["sim", scenario, "--seeds", &seeds, "--trace", &trace]);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    trace
}

/// A scenario of three stores that a shell script judges: `said` is its verdict.
fn judged_by_a_script(folder: &TempDir, name: &str, said: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = |name: &str| root.join("configs").join(name).display().to_string();
    let nodes = ["kv-leader.toml", "kv-follower-2.toml", "kv-follower-3.toml"].map(config);
    let script = format!(
        r#"ops=0; while read -r line; do case $line in *'"op":'*) ops=$((ops+1));; *'"end":true'*) {said};; esac; done"#
    );
    let scenario = format!(
        "nodes = {nodes:?}\nproperties = [\"regular_register\"]\nseconds = 2\n\
         [workload.kv_replication]\nclients = 2\noperations = 5\n\
         [[checker]]\nname = \"script\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n"
    );
    let path = folder.path().join(name);
    fs::write(&path, scenario).expect("a scenario");
    path
}

#[test]
fn a_scenarios_properties_and_programs_judge_traces() {
    let folder = TempDir::new().expect("a folder");
    let held = judged_by_a_script(
        &folder,
        "held.toml",
        r#"if [ $ops -gt 9 ]; then echo '{"verdict":"held"}'; else echo "{\"verdict\":\"unknown\",\"why\":\"$ops ops\"}"; fi"#,
    );
    let held = held.display().to_string();
    let trace = trace(&folder, &held, 1);
    let judged = node(&["verify", "--scenario", &held, &trace]);
    let expected = "regular_register     held\nscript               held\n";
    assert_eq!((text(&judged.stdout), judged.status.code()), (expected, Some(0)));

    let broken = r#"echo '{"verdict":"violated","why":"it says so","operations":[0]}'"#;
    let broken = judged_by_a_script(&folder, "broken.toml", broken).display().to_string();
    let judged = node(&["verify", "--scenario", &broken, "--property", "script", &trace]);
    let expected = "script               violated: it says so\n  ① operation: client ";
    assert!(text(&judged.stdout).starts_with(expected), "{}", text(&judged.stdout));
    assert_eq!(judged.status.code(), Some(1));

    let unknown = node(&["verify", "--property", "script", &trace]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("script: no such property; there are monotonic_reads"));
}

#[test]
fn bounds_are_the_scenarios_unless_the_command_line_says_otherwise() {
    let folder = TempDir::new().expect("a folder");
    let scenario = "configs/sim/election-crash.toml";
    let trace = trace(&folder, scenario, 1);
    let property = ["--property", "election_terminates", trace.as_str()];
    let judge = |more: &[&str]| {
        let judged = node(&[&["verify"], more, &property].concat());
        let line = text(&judged.stdout).to_string() + text(&judged.stderr);
        (line, judged.status.code())
    };
    let held = ("election_terminates  held\n".to_string(), Some(0));
    assert_eq!(judge(&["--scenario", scenario]), held);
    for more in [&["--bound", "agree_ms=1"][..], &["--bound=agree_ms=1", "--scenario", scenario]] {
        let (line, code) = judge(more);
        assert!(line.starts_with("election_terminates  violated: "), "{more:?}: {line}");
        assert_eq!(code, Some(1));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = fs::read_to_string(root.join(scenario)).expect("the scenario");
    let own = own.replace("../election", &root.join("configs/election").display().to_string());
    let tight = folder.path().join("tight.toml");
    fs::write(&tight, own.replace("agree_ms = 8000", "agree_ms = 1")).expect("a scenario");
    let (line, _) = judge(&["--scenario", &tight.display().to_string()]);
    assert!(line.starts_with("election_terminates  violated: "), "{line}");
    for (given, why) in [
        ("agree_ms", "give NAME=N"),
        ("agree_ms=soon", "give NAME=N"),
        ("agree_ms=0", "agree_ms is 1 to"),
        ("agree=1", "agree: no property is held against it; there are agree_ms"),
    ] {
        let (line, code) = judge(&["--bound", given]);
        assert!(line.contains(&format!("--bound {given}: ")) && line.contains(why), "{line}");
        assert_eq!(code, Some(2));
    }
}

/// Whatever a trace lacks may explain what looks broken, and what looks whole.
#[test]
fn no_verdict_rests_on_what_is_missing() {
    let folder = TempDir::new().expect("a folder");
    let path = trace(&folder, "election-crash", 1);
    let lines = fs::read_to_string(&path).expect("the trace");
    let without = lines.lines().filter(|line| !line.contains(r#""node":4,"#));
    fs::write(&path, without.collect::<Vec<_>>().join("\n") + "\n").expect("a trace");
    for more in [&["--scenario", "election-crash"][..], &[]] {
        let judged = node(&[&["verify"], more, &[path.as_str()]].concat());
        let said = text(&judged.stdout);
        assert_eq!(judged.status.code(), Some(2), "{said}");
        assert!(said.contains("unknown: no trace is of node 4"), "{said}");
        assert!(!said.contains("violated") && !said.contains("held"), "{said}");
    }

    // Clients that tell of themselves need no node's word.
    let path = trace(&folder, "kv-linearizable", 15);
    let lines = fs::read_to_string(&path).expect("the trace");
    let without = lines.lines().filter(|line| !line.contains(r#""node":3,"#));
    fs::write(&path, without.collect::<Vec<_>>().join("\n") + "\n").expect("a trace");
    let judged = node(&["verify", "--property", "linearizable", &path]);
    assert_eq!(judged.status.code(), Some(1), "{}", text(&judged.stdout));

    // Of what only nodes saw, the PUT of a value may be at the node whose trace is missing.
    let told = lines.replace(r#""source":"sim""#, r#""source":"node""#);
    let is_client = |line: &&str| line.contains(r#""kind":"invoke""#);
    let without = told.lines().filter(|line| !line.contains(r#""node":1,"#) && !is_client(line));
    fs::write(&path, without.collect::<Vec<_>>().join("\n") + "\n").expect("a trace");
    let judged = node(&["verify", "--property", "regular_register", &path]);
    let said = text(&judged.stdout);
    assert_eq!(judged.status.code(), Some(2), "{said}");
    assert!(said.contains("or what node 1 saw explains it"), "{said}");

    let path = trace(&folder, "board", 3);
    let lines = fs::read(&path).expect("the trace");
    for part in 1..20 {
        // In the middle of a line: a cut at its end cannot be seen.
        let from = lines.len() * part / 20;
        let end = lines[from..].iter().position(|byte| *byte == b'\n').map_or(from, |at| from + at);
        fs::write(&path, &lines[..end - 3]).expect("a trace");
        let judged = node(&["verify", "--scenario", "board", &path]);
        let said = text(&judged.stdout);
        assert_ne!(judged.status.code(), Some(1), "cut after {end} bytes: {said}");
    }
}

/// Which requests are the last of a run, and what it was drawn from, stands in its trace.
#[test]
fn a_program_is_told_the_plan_of_the_run_and_no_other() {
    let folder = TempDir::new().expect("a folder");
    let count = r#"seed=none; finals=0"#;
    let said = r#"echo "{\"verdict\":\"unknown\",\"why\":\"$finals finals, $head\"}""#;
    let scenario = judged_by_a_script(&folder, "finals.toml", said);
    let told = fs::read_to_string(&scenario).expect("the scenario");
    let told = told.replace("ops=0; while", &format!("{count}; while"));
    let told = told.replace(
        r#"*'"op":'*) ops=$((ops+1));;"#,
        r#"*'"run":'*) head=${line#*'"seed":'}; head=${head%'}'*};; *'"final":true'*) finals=$((finals+1));;"#,
    );
    let workload = "[workload]\nkind = \"requests\"\nclients = 3\noperations = 4\n\
                    [[workload.request]]\njson = '{\"get\":{\"key\":\"k\"}}'\n\
                    [workload.final]\njson = '{\"info\":{}}'\n";
    let told = told.replace("[workload.kv_replication]\nclients = 2\noperations = 5\n", workload);
    let told = told.replace("seconds = 2\n", "seconds = 5\n");
    fs::write(&scenario, &told).expect("a scenario");
    let scenario = scenario.display().to_string();
    let plan = folder.path().join("small.toml");
    let small = "property = \"script\"\nseed = 9\nclients = 1\noperations = 2\n";
    fs::write(&plan, format!("scenario = {scenario:?}\n{small}")).expect("a plan");
    let trace = folder.path().join("small.jsonl").display().to_string();
    let ran = node(&["sim", "--replay", &plan.display().to_string(), "--trace", &trace]);
    let line = |out: &Output| {
        let said = text(&out.stdout).to_string();
        let at = said.find("finals").unwrap_or_else(|| panic!("{said}{}", text(&out.stderr)));
        said[at - 2..].lines().next().expect("a line").to_string()
    };
    let simulated = line(&ran);
    assert!(simulated.starts_with("3 finals, 9"), "{simulated}");
    let judged = node(&["verify", "--scenario", &scenario, "--property", "script", &trace]);
    assert!(simulated.starts_with(&line(&judged)), "{simulated}: {}", line(&judged));
    // What only nodes saw: nobody knows which requests were the last.
    let lines = fs::read_to_string(&trace).expect("the trace");
    let of_nodes = lines.lines().filter(|line| !line.contains(r#""kind":"invoke""#));
    let of_nodes = of_nodes
        .collect::<Vec<_>>()
        .join("\n")
        .replace(r#""source":"sim","#, r#""source":"node","#);
    let of_nodes = of_nodes.replace(r#""seed":9,"clients":1,"#, "");
    fs::write(&trace, of_nodes + "\n").expect("a trace");
    let judged = node(&["verify", "--scenario", &scenario, "--property", "script", &trace]);
    assert!(line(&judged).starts_with("0 finals, null"), "{}", line(&judged));
}

/// A client reads nothing after another was told that its PUT is done, and the node was killed in
/// between: traces of a real node and of clients, one clock for both.
const REAL: [&str; 2] = [
    r#"{"at":5000000,"kind":"run","source":"node","scenario":"x","nodes":[1]}
{"at":5000000,"node":1,"kind":"start","incarnation":1}
{"at":31000000,"node":1,"kind":"crash"}
{"at":33000000,"node":1,"kind":"start","incarnation":2}
{"at":60000000,"node":1,"kind":"note","line":"x"}
"#,
    r#"{"at":9000000,"kind":"run","source":"clients","scenario":"x","nodes":[1]}
{"at":15000000,"kind":"invoke","op":"1-1","client":1,"to":1,"protocol":"kv_replication","label":"{\"put\":{\"key\":\"k\",\"value\":\"v\"}}"}
{"at":30000000,"kind":"return","op":"1-1","label":"{\"put_ok\":{\"timestamp\":7}}"}
{"at":35000000,"kind":"invoke","op":"2-1","client":2,"to":1,"protocol":"kv_replication","label":"{\"get\":{\"key\":\"k\"}}"}
{"at":40000000,"kind":"return","op":"2-1","label":"{\"null\":{}}"}
"#,
];

#[test]
fn real_runs_are_shown_as_they_are_judged() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let traces = [file("node.jsonl"), file("clients.jsonl")];
    for (path, text) in traces.iter().zip(REAL) {
        fs::write(path, text).expect("it is written");
    }
    let because = [
        "① newer write: client 1 PUT k=v at node 1 returned PUT_OK (timestamp 7, 10.0 to 25.0 ms)",
        "② crash: node 1 stopped without warning at 26.0 ms",
        "③ restart: node 1 started again with nothing at 28.0 ms",
        "④ older read: client 2 GET k at node 1 returned NULL (30.0 to 35.0 ms)",
    ];
    let judged = node(&["verify", &traces[0], &traces[1], "--property", "regular_register"]);
    let told: Vec<&str> = text(&judged.stdout).lines().skip(1).map(str::trim).collect();
    assert_eq!((&told[..], judged.status.code()), (&because[..], Some(1)));
    let shown = node(&["explain", &traces[0], &traces[1], "--format", "text"]);
    for line in because {
        assert!(text(&shown.stdout).contains(line), "{line}: {}", text(&shown.stdout));
    }
    // The operations and events that it names are those of the page.
    let page = file("page.html");
    let names = ["--property", "regular_register", "--explain", &page];
    let judged = node(&[&["verify", &traces[0], &traces[1]], &names[..]].concat());
    assert_eq!(judged.status.code(), Some(1), "{}", text(&judged.stderr));
    let page = fs::read_to_string(&page).expect("a page");
    assert!(page.contains("older read") && page.contains("judged by node verify"));
    let stdin = node(&["verify", "-", "--explain", &file("other.html")]);
    assert_eq!(stdin.status.code(), Some(2));
}
