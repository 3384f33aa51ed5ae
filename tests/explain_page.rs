//! The page of `node explain` in a real browser: headless Chromium opens it with `#selftest`, uses
//! it as a person would and writes what happened into the document. Skipped where there is none.
//! With EXPLAIN_KEEP=DIR the pages are kept there, to look at.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

#[path = "browser/found.rs"]
mod found;
#[path = "explain/pages.rs"]
mod pages;
#[path = "explain/sample.rs"]
mod sample;

use found::chromium;
use node_lab::explain::{Source, merge, shiviz, text};
use pages::part;
use sample::Sample;
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A browser that has not answered by then never will.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the page's self-test says of this trace; none without a browser.
fn tested(name: &str, trace: String) -> Option<Value> {
    tested_part(name, trace, usize::MAX)
}

fn tested_part(name: &str, trace: String, events: usize) -> Option<Value> {
    let Some(browser) = chromium() else {
        println!("skipped: no chromium");
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.html");
    part(trace, events, &file);
    if let Some(keep) = std::env::var_os("EXPLAIN_KEEP") {
        std::fs::create_dir_all(&keep).unwrap();
        std::fs::copy(&file, Path::new(&keep).join(format!("{name}.html"))).unwrap();
    }
    let profile = format!("--user-data-dir={}", dir.path().join("profile").display());
    let dump = std::fs::File::create(dir.path().join("dom")).unwrap();
    let child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,900"])
        .args(["--no-first-run", "--virtual-time-budget=20000", "--dump-dom", &profile])
        .arg(format!("file://{}#selftest", file.display()))
        .stdout(dump)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait(child);
    let dom = std::fs::read_to_string(dir.path().join("dom")).unwrap();
    let result = dom.split("<pre id=\"selftest\">").nth(1).expect("the page wrote no result");
    let result = result.split("</pre>").next().unwrap().replace("&lt;", "<").replace("&gt;", ">");
    let result = serde_json::from_str(&result.replace("&amp;", "&")).unwrap();
    println!("{result}");
    Some(result)
}

fn wait(mut child: Child) {
    let end = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the browser did not finish in {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_failing_run_opens_at_its_violation_and_can_be_stepped_through() {
    let trace = Sample { nodes: 3, events: 2000, forgetful: true, seed: 42 }.write();
    let count = |kind: &str| trace.matches(&format!("\"kind\":\"{kind}\"")).count();
    let events = trace.lines().count() - 1;
    let (received, lost, violations) = (count("recv"), count("drop"), count("violation"));
    assert!(violations == 1 && lost > 0 && count("duplicate") > 0 && count("crash") > 0);
    let Some(page) = tested("3-fails", trace) else { return };
    assert_eq!(page["problems"], serde_json::json!([]), "no error on the console");
    assert_eq!(page["events"], events);
    assert_eq!(page["lifelines"], 3);
    assert_eq!(page["violations"], 1);
    assert_eq!(page["lost"], lost);
    let arrows = page["arrows"].as_u64().unwrap() as usize;
    assert!((received + lost..received + lost + 20).contains(&arrows), "{arrows} arrows");
    assert!(page["copies"].as_u64().unwrap() > 0);
    assert!(page["redPixels"].as_u64().unwrap() > 500, "the violation is marked in red");
    let opened = page["opened"].as_u64().unwrap();
    assert!(opened > 0 && page["atViolation"] == true);
    assert_eq!(page["path"], serde_json::json!([0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0]));
    assert_eq!(page["last"], events - 1);
    assert_eq!(page["states"], 3);
    assert!(page["zoomed"].as_f64().unwrap() > 1.0);
    let shown = page["shown"].as_u64().unwrap();
    assert_eq!(shown as usize, events);
    assert_eq!(shown, page["again"].as_u64().unwrap(), "filters are undone");
    assert!(page["withoutTimers"].as_u64().unwrap() < shown);
    assert!(page["withText"].as_u64().unwrap() < 40, "only the run's frame is left");
}

/// The clients of a simulated run tell of themselves: each has a lane, and what it asked has a way
/// to the node's request, and the reply one back. Where the names differ, as in real traces, both
/// tell of it apart.
#[test]
fn clients_have_lanes_and_their_operations_ways_to_the_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.jsonl");
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/sim/kv-linearizable.toml");
    let output = Command::new(env!("CARGO_BIN_EXE_node"))
        .args(["sim", scenario, "--seed", "15", "--no-shrink", "--trace"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "it shows what it is there to show");
    let trace = std::fs::read_to_string(file).unwrap();
    let count = |kind: &str| trace.matches(&format!("\"kind\":\"{kind}\"")).count();
    let (asked, seen) = (count("invoke"), count("request"));
    let ways = seen + count("return");
    assert!(asked > 20 && ways > 40, "{asked} operations, {ways} ways");
    let Some(page) = tested("clients", trace.clone()) else { return };
    assert_eq!(page["problems"], serde_json::json!([]));
    assert!(page["clients"].as_u64().unwrap() > 2);
    assert_eq!(page["operations"], asked);
    assert_eq!(page["passages"], ways);
    assert_eq!(page["atViolation"], true);
    assert!(page["redPixels"].as_u64().unwrap() > 500, "what it rests on is marked in red");

    let is_of_client = |line: &str| ["invoke", "return"].iter().any(|kind| line.contains(kind));
    let apart = |line: &str| match is_of_client(line) {
        true => line.replace(r#""op":""#, r#""op":"client "#),
        false => line.to_string(),
    };
    let real: Vec<String> = trace.lines().map(apart).collect();
    let Some(page) = tested("clients-apart", real.join("\n") + "\n") else { return };
    assert_eq!(page["problems"], serde_json::json!([]));
    assert_eq!((&page["operations"], &page["passages"]), (&(asked + seen).into(), &0.into()));
}

#[test]
fn a_run_that_holds_opens_at_its_beginning() {
    let trace = Sample { nodes: 3, events: 2000, forgetful: false, seed: 42 }.write();
    let Some(page) = tested("3-holds", trace) else { return };
    assert_eq!(page["problems"], serde_json::json!([]));
    assert_eq!(page["violations"], 0);
    assert_eq!(page["opened"], -1);
    // A curve over the run says where it is steepest, on the page and to those who do not see it.
    let curve = &page["curve"];
    let says = curve["says"].as_str().unwrap();
    assert!(
        says.starts_with("It became likely between ") && says.contains("20% and 90%"),
        "{says}"
    );
    assert!(curve["red"].as_i64().unwrap() > 500, "{curve}");
    assert_eq!(
        curve["marks"],
        serde_json::json!(["here"]),
        "an event that is none takes them away"
    );
    assert_eq!((&curve["gone"], &curve["left"]), (&true.into(), &0.into()));
    assert!(page["redPixels"].as_u64().unwrap() < 500);
}

#[test]
fn twenty_nodes_and_ten_thousand_events_are_no_trouble() {
    for (name, forgetful) in [("20-fails", true), ("20-holds", false)] {
        let trace = Sample { nodes: 20, events: 10_000, forgetful, seed: 42 }.write();
        let Some(page) = tested(name, trace) else { return };
        assert_eq!(page["problems"], serde_json::json!([]));
        assert_eq!(page["lifelines"], 20);
        assert_eq!(page["states"], 20);
        assert_eq!(page["violations"], u64::from(forgetful));
        assert_eq!(page["atViolation"], forgetful);
        assert_eq!(page["opened"] == -1, !forgetful);
    }
}

/// Zoomed out, arrows and events are bundled: what is drawn is bounded by the screen, what it
/// stands for is everything, and what was lost is among it on its own.
#[test]
fn a_large_run_is_seen_at_once_in_few_strokes_and_nothing_lost_disappears() {
    for (name, nodes) in [("5-large", 5), ("20-large", 20)] {
        let trace = Sample { nodes, events: 60_000, forgetful: false, seed: 9 }.write();
        let events = trace.lines().count() - 1;
        let of_nodes = trace.lines().filter(|line| line.contains("\"node\":")).count();
        let lost = trace.matches("\"kind\":\"drop\"").count();
        assert!(lost > 1000);
        let Some(page) = tested(name, trace) else { return };
        assert_eq!(page["problems"], serde_json::json!([]));
        assert_eq!(page["events"], events);
        assert_eq!(page["last"], events - 1);
        let levels = &page["levels"];
        for axis in ["time", "order"] {
            let drawn = &levels[axis];
            assert_eq!(drawn["messages"], page["arrows"], "{axis}: bundles stand for all arrows");
            assert_eq!(drawn["lost"], lost, "{axis}: and for all that were lost");
            assert_eq!(drawn["events"], of_nodes, "{axis}: cells stand for all events");
            let count = |what: &str| drawn[what].as_u64().unwrap();
            assert_eq!(count("lines"), 0, "{axis}: none is drawn alone");
            let strokes = count("bundles") + count("gaps") + count("cells");
            assert!((1..25_000).contains(&strokes), "{axis}: {strokes} strokes");
        }
        assert_eq!(levels["lostBundles"], lost, "what was lost has bundles of its own");
        let said = levels["bundle"].as_str().unwrap();
        assert!(said.contains("messages node ") && said.ends_with("click to zoom in"), "{said}");
        assert!(
            levels["zoomedIn"].as_f64().unwrap() > 5.0,
            "a click goes to where it is told apart"
        );
        assert_eq!(levels["counted"], 0, "moving the view counts nothing anew");
        assert!(
            levels["zoomed"]["messages"].as_u64().unwrap() * 2 < page["arrows"].as_u64().unwrap()
        );
    }
}

/// The page of ten thousand events of a store, with all that they say and the nodes' views.
#[test]
fn a_page_of_ten_thousand_events_is_no_larger_than_a_picture() {
    let dir = tempfile::tempdir().unwrap();
    let (file, scenario) = (dir.path().join("run.jsonl"), dir.path().join("store.toml"));
    let config =
        |name: &str| format!("{:?}", format!("{}/configs/{name}", env!("CARGO_MANIFEST_DIR")));
    let nodes = ["kv-leader.toml", "kv-follower-2.toml", "kv-follower-3.toml"].map(config);
    let workload = "[workload.kv_replication]\nclients = 4\noperations = 175\nthink_ms = 10\n";
    let faults = "[faults]\ncrash = [1, 3]\nloss = [1, 2]\nloss_percent = 20\n";
    let head = format!("nodes = [{}]\nproperties = [\"regular_register\"]\n", nodes.join(", "));
    std::fs::write(&scenario, format!("{head}seconds = 60\n{workload}{faults}")).unwrap();
    let mut sim = Command::new(env!("CARGO_BIN_EXE_node"));
    sim.arg("sim").arg(&scenario).args(["--seed", "3", "--no-shrink", "--trace"]).arg(&file);
    assert!(sim.output().unwrap().status.success());
    let trace = std::fs::read_to_string(&file).unwrap();
    let sources = [Source { name: "store".into(), text: trace }];
    let run = merge(&sources).unwrap();
    assert!(run.entries.len() >= 10_000, "{}", run.entries.len());
    let mut page = Vec::new();
    node_lab::explain::html::write(&run, &mut page).unwrap();
    assert!(page.len() <= 1_500_000, "{} bytes", page.len());
}

/// A page of a part says what is not there, begins with how the nodes stood, and shows the whole
/// run in its strip; nothing that is carried in has a place of its own.
#[test]
fn a_part_of_a_run_says_what_is_left_out_and_begins_where_the_run_was() {
    let trace = Sample { nodes: 5, events: 20_000, forgetful: false, seed: 9 }.write();
    let events = trace.lines().count() - 1;
    let Some(page) = tested_part("5-part", trace, 2_000) else { return };
    assert_eq!(page["problems"], serde_json::json!([]));
    let part = &page["part"];
    let says = part["says"].as_str().unwrap();
    let total = format!("{},{:03}", events / 1000, events % 1000);
    assert!(says.starts_with(&format!("2,000 of {total} events are here: ")), "{says}");
    assert!(says.contains("node explain sample -o part.html --around "), "{says}");
    assert!(says.contains(" send, ") && says.contains("node 3 "), "the rest is counted: {says}");
    assert_eq!(part["places"], 2_000, "what is carried in takes no place");
    assert_eq!(part["counted"], events, "the strip is the whole run's");
    let carried = part["carried"].as_u64().unwrap();
    assert!((10..200).contains(&carried), "{carried} are carried in");
    assert_eq!(page["events"].as_u64().unwrap(), 2_000 + carried);
    // The first step is the first of the part, and all nodes are known to be up, with a digest.
    assert!(page["path"][0].as_u64().unwrap() > 0);
    assert_eq!((&part["up"], &part["digests"]), (&5.into(), &5.into()));
    let whole = part["strip"].as_f64().unwrap();
    assert!((0.02..0.25).contains(&whole), "where one is in the strip: {whole}");
}

#[test]
fn hostile_words_stay_words() {
    let words = "</script><img src=x onerror=\"problems.push('run')\"><b>&amp;\u{2028}'\"`";
    let line = |json: Value| json.to_string() + "\n";
    let mut trace = line(serde_json::json!({
        "at": 0, "kind": "run", "source": words, "scenario": words, "nodes": [1, 2] }));
    for event in [
        serde_json::json!({ "kind": "request", "op": words, "client": words, "label": words }),
        serde_json::json!({ "kind": "fact", "protocol": words, "fact": words, "value": { words: [words] } }),
        serde_json::json!({ "kind": "start", "incarnation": 1, "name": words }),
        serde_json::json!({ "kind": "view", "protocol": words, "value": { words: [words] } }),
        serde_json::json!({ "kind": "print", "line": words, "digest": words }),
        serde_json::json!({ "kind": "send", "id": words, "to": 2, "protocol": words, "label": words, "brief": words }),
        serde_json::json!({ "kind": "violation", "property": words, "label": words, "witnesses": [{ "role": words, "says": words, "op": words }] }),
    ] {
        let mut event = event;
        event["at"] = 1.into();
        event["node"] = 1.into();
        trace += &line(event);
    }
    trace += &line(serde_json::json!({ "at": 2, "kind": "crash" }));
    trace += &line(
        serde_json::json!({ "at": 2, "kind": "fact", "protocol": "", "fact": "", "value": "" }),
    );
    trace += &line(
        serde_json::json!({ "at": 2, "kind": "reply", "op": "none", "client": "", "label": "" }),
    );
    trace +=
        &line(serde_json::json!({ "at": 2, "kind": "drop", "id": words, "from": 1, "why": "" }));
    let Some(page) = tested("hostile", trace) else { return };
    assert_eq!(page["problems"], serde_json::json!([]));
    assert_eq!(page["violations"], 1);
}

#[test]
fn the_other_forms_are_written_for_the_same_traces() {
    let trace = Sample { nodes: 3, events: 500, forgetful: true, seed: 42 }.write();
    let sources = [Source { name: "sample".into(), text: trace }];
    let run = merge(&sources).unwrap();
    let (mut columns, mut log) = (Vec::new(), Vec::new());
    text::write(&run, &mut columns).unwrap();
    shiviz::write(&run, &mut log).unwrap();
    let lines = |text: Vec<u8>| String::from_utf8(text).unwrap().lines().count();
    // Under the violation a line for each of its two witnesses.
    assert_eq!(lines(columns), run.entries.len() + 2 + 2);
    assert_eq!(lines(log), 2 * run.entries.len() + 2);
}

#[test]
fn traces_of_nodes_whose_clocks_differ_are_merged_by_cause() {
    let trace = Sample { nodes: 3, events: 2000, forgetful: false, seed: 5 }.write();
    let trace = trace.replace("\"source\":\"sim\"", "\"source\":\"node\"");
    let mut files = [String::new(), String::new(), String::new()];
    for (number, line) in trace.lines().enumerate() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let node = line["node"].as_u64().unwrap_or(1) as usize - 1;
        // The second node's clock is 50 ms ahead, the third's a second.
        let at = line["at"].as_u64().unwrap() + [0, 50_000_000, 1_000_000_000][node];
        line["at"] = at.into();
        for (file, text) in files.iter_mut().enumerate() {
            if number == 0 || file == node {
                *text += &format!("{line}\n");
            }
        }
    }
    let source = |text: &String| Source { name: "node".into(), text: text.clone() };
    let sources: Vec<Source> = files.iter().map(source).collect();
    let run = merge(&sources).unwrap();
    assert!(run.notes.is_empty(), "{:?}", run.notes);
    assert_eq!(run.entries.len(), trace.lines().count() - 1);
    assert!(run.entries.iter().enumerate().all(|(at, entry)| entry.cause.is_none_or(|by| by < at)));
    assert!(run.entries.is_sorted_by_key(|entry| entry.t));
    for (node, file) in (1..).zip(&files) {
        let own = |line: &node_lab::trace::Line| serde_json::to_value(line).unwrap();
        let merged = run.entries.iter().filter(|entry| entry.line.node == Some(node));
        let merged: Vec<Value> = merged.map(|entry| own(&entry.line)).collect();
        let read = file.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let read: Vec<Value> = read.filter(|line| line["node"] == node).collect();
        assert_eq!(merged, read, "the order of node {node}");
    }
}

/// A run of two nodes, in which node 2 loses what it acknowledged: in a millisecond it is down and
/// up again, and its disk is gone. Node 1 holds of facts some for each node, one for another, and
/// many.
const LOST: &str = include_str!("explain/lost.jsonl");

/// The events of that trace, without its head.
fn lost_events() -> Vec<Value> {
    LOST.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn texts(values: &Value) -> Vec<&str> {
    values.as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

fn places(values: &Value) -> Vec<usize> {
    let places = values.as_array().unwrap().iter();
    places.map(|place| place.as_u64().unwrap() as usize).collect()
}

/// The page tells why: its lines lead to what they speak of, and nothing of that is dimmed or
/// hidden.
#[test]
fn a_violation_says_what_it_rests_on() {
    let Some(page) = tested("because", LOST.into()) else { return };
    assert_eq!(page["problems"], serde_json::json!([]));
    let lines = [
        "① write: PUT k=v at node 2 returned OK",
        "② not written: node 2 answered ① at 1.1 ms with nothing written to its disk \
         since it was asked",
        "③ crash: node 2 went down",
        "④ read: GET k at node 2 returned NULL",
    ];
    assert_eq!(texts(&page["because"]), lines, "of the fifth the trace has nothing to click on");
    assert_eq!(
        page["numbered"],
        serde_json::json!([1, 2, 3, 4]),
        "each has its number in the picture"
    );
    assert_eq!(page["inPicture"], true, "from the first witness to the last");

    let events = lost_events();
    let followed: Vec<&Value> = places(&page["followed"]).iter().map(|at| &events[*at]).collect();
    assert_eq!((&followed[0]["kind"], &followed[0]["op"]), (&"return".into(), &"0-0".into()));
    assert_eq!((&followed[1]["kind"], &followed[1]["op"]), (&"reply".into(), &"0-0".into()));
    assert_eq!(followed[2]["kind"], "crash");
    assert_eq!((&followed[3]["kind"], &followed[3]["op"]), (&"return".into(), &"1-0".into()));
    assert_eq!(page["current"], serde_json::json!([null, null, null, "true"]));

    assert_eq!((&page["dimmedWitnesses"], &page["hiddenWitnesses"]), (&0.into(), &0.into()));
    let bright = places(&page["bright"]);
    let of = |kind: &str| bright.iter().filter(|at| events[**at]["kind"] == kind).count();
    let counts = ["crash", "fault", "invoke", "timer"].map(of);
    assert_eq!(counts, [1, 1, 2, 0], "the other node had no part in it: {bright:?}");

    let meanwhile = ["2.0 ms: node 2 was down and lost its disk, until 3.0 ms"];
    assert_eq!(texts(&page["meanwhile"]), meanwhile);
    assert_eq!(texts(&page["lanes"]), ["client 0", "newcomer 1"]);
}

/// A run of nine nodes whose one witness is at its very beginning: later node 1 is told of another
/// and does not heed it; of what else goes wrong some has no part.
fn unheeded() -> String {
    let key = "k".repeat(40);
    let mut lines = vec![
        r#"{"at":0,"kind":"run","source":"sim","scenario":"unheeded","nodes":[1,2,3,4,5,6,7,8,9]}"#
            .to_string(),
    ];
    let mut say = |line: String| lines.push(line);
    for node in 1..=9 {
        say(format!(r#"{{"at":0,"node":{node},"kind":"start","incarnation":1}}"#));
    }
    say(r#"{"at":1,"node":1,"kind":"fact","protocol":"p","fact":"Head","subject":4,"value":{"epoch":1}}"#.into());
    let fault = |at: u64, kind: &str, node: u32, label: &str| {
        format!(
            r#"{{"at":{at},"kind":"fault","place":0,"fault":"{kind}","nodes":[{node}],"until":{},"label":"{label}"}}"#,
            at + 1_000_000
        )
    };
    say(fault(2_000_000, "cut", 3, "nobody's: node 3 cut off"));
    say(fault(2_000_000, "loss", 1, "idle: node 1 loses nothing"));
    say(r#"{"at":2100000,"node":3,"kind":"send","id":"x","to":2,"protocol":"p","label":"X"}"#
        .into());
    say(r#"{"at":2200000,"node":2,"kind":"drop","id":"x","from":3,"why":"cut"}"#.into());
    for at in 0..900 {
        let (time, node) = (4_000_000 + at * 1000, 2 + at % 8);
        say(format!(r#"{{"at":{time},"node":{node},"kind":"timer","protocol":"p","label":"t"}}"#));
    }
    say(fault(5_000_000, "cut", 1, "real: node 1 cut off"));
    for from in 2..=9 {
        let to_one = r#""to":1,"protocol":"p","label":"Y""#;
        say(format!(r#"{{"at":5100000,"node":{from},"kind":"send","id":"y{from}",{to_one}}}"#));
    }
    for from in 2..=9 {
        say(format!(
            r#"{{"at":5200000,"node":1,"kind":"drop","id":"y{from}","from":{from},"why":"cut"}}"#
        ));
    }
    say(r#"{"at":7000000,"node":2,"kind":"send","id":"z","to":1,"protocol":"p","label":"COORD"}"#
        .into());
    say(r#"{"at":7100000,"node":1,"kind":"recv","id":"z","from":2}"#.into());
    for op in 0..5 {
        let asked = r#""client":7,"to":2,"protocol":"p","label":"x""#;
        say(format!(r#"{{"at":7500000,"kind":"invoke","op":"7-{op}",{asked}}}"#));
    }
    say(format!(
        r#"{{"at":8000000,"kind":"violation","property":"p","label":"of {key} nothing","witnesses":[{{"role":"held","says":"{key} at node 1","node":1,"at":1,"event":"fact"}}]}}"#
    ));
    lines.join("\n") + "\n"
}

/// The page opens where it can be read, at the end of what a lone early witness began; a message
/// that was received and not heeded is never dimmed; what had no part is no line.
#[test]
fn the_opening_can_be_read_and_shows_what_was_not_heeded() {
    let Some(page) = tested("unheeded", unheeded()) else { return };
    assert_eq!(page["problems"], serde_json::json!([]));
    assert_eq!((&page["openedPast"], &page["showsViolation"]), (&false.into(), &true.into()));
    let across = page["across"].as_u64().unwrap();
    assert!((80..=125).contains(&across), "{across} events are read beside each other");
    assert_eq!(page["numbered"], serde_json::json!([1]), "at the edge, as it lies beyond");
    assert_eq!(page["received"], serde_json::json!([1, 0]), "one is received, none is dimmed");

    let meanwhile = texts(&page["meanwhile"]);
    assert_eq!(meanwhile.len(), 5, "{meanwhile:?}");
    assert_eq!(meanwhile[0], "5.0 ms: real: node 1 cut off", "{meanwhile:?}");
    assert!(meanwhile[1..].iter().all(|line| line.contains(" to node 1 was lost")));
    // What nobody answered is told by its number, until one asks.
    assert_eq!(page["folded"], serde_json::json!([["client 7", 1, 5]]));
    assert_eq!(page["openFolds"], serde_json::json!([["client 7", 5, 0]]));
    let verdict = texts(&page["verdicts"][0]);
    assert!(verdict[0].starts_with("p — of kkkkkkkkkkkk…kkkkkk nothing"), "{verdict:?}");
    assert_eq!(verdict[1], format!("of {} nothing", "k".repeat(40)), "the whole is its title");
    assert_eq!(texts(&page["because"]), ["① held: kkkkkkkkkkkk…kkkkkk at node 1"]);
}

/// What lasts is in the picture: facts in rows of their own, faults with both ends; and the table
/// of states marks what a step changed.
#[test]
fn nothing_that_lasts_is_dropped_and_changes_are_marked() {
    let Some(page) = tested("lasting", LOST.into()) else { return };
    assert_eq!((&page["facts"], &page["banded"]), (&9.into(), &9.into()));
    assert_eq!((&page["unoffered"], &page["unfolded"]), (&0.into(), &true.into()), "+ more opens");
    let labels = texts(&page["bandLabels"]);
    assert!(labels.contains(&"Rank node 2, rank 2"), "{labels:?}");
    for axis in ["narrowest_order", "narrowest_time"] {
        assert!(page[axis].as_f64().unwrap() >= 8.0, "both ends of a millisecond are apart");
    }
    assert_eq!((&page["beyond"], &page["hiddenRed"]), (&0.into(), &0.into()));

    let events = lost_events();
    let first = |kind: &str| events.iter().position(|event| event["kind"] == kind).unwrap();
    let changed = |kind: &str| &page["changed"][first(kind).to_string()];
    let words = texts(changed("request"));
    assert_eq!(words, ["keys: 1 was 0", "seen: 900 values + 0, 1, 2 and 897 more"]);
    assert_eq!(*changed("timer"), Value::Null, "a timer changes nothing");

    // What a node was before it went down, beside what it is when it is back.
    let back = events.iter().rposition(|event| event["kind"] == "start").unwrap();
    let back = texts(&page["changed"][back.to_string()]);
    let known = ["is: up was crashed", "keys: 0 was 1 before the crash"];
    assert_eq!(back[..2], known, "{back:?}");
    assert!(back[2].starts_with("seen: none − 0, 1, 2"), "{back:?}");
    // Whom the witnesses speak of first; no long number is broken, and the whole is its title.
    assert_eq!(texts(&page["columns"]), ["node 2", "node 1"]);
    let order = &page["order"][first("request").to_string()];
    assert_eq!(texts(order), ["is", "keys", "seen", "epoch"], "what changed, then the rest");
    assert!(page["numbers"].as_u64().unwrap() >= 4 && page["wrapped"] == 0);
    let cut = serde_json::json!(["1735…0000", "1735689600000"]);
    assert_eq!(page["cut"], serde_json::json!([cut, cut]));
    // A band says less the narrower it is, and the numbers last.
    let forms = ["Rank node 2, rank 2", "node 2, rank 2", "2, rank 2", "2, ra 2", "2·2"];
    assert!(page["bandForms"].as_array().unwrap().contains(&serde_json::json!(forms)));
}
