//! The page of `node explain` in a real browser: headless Chromium opens it with `#selftest`, uses
//! it as a person would and writes what happened into the document. Skipped where there is none.

#[path = "explain/sample.rs"]
mod sample;

use node::explain::{Source, html, merge, shiviz, text};
use sample::Sample;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A browser that has not answered by then never will.
const PATIENCE: Duration = Duration::from_secs(60);

fn chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    ["chromium", "chromium-browser", "google-chrome"]
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |dir| dir.join(name)))
        .find(|file| file.is_file())
}

fn page(trace: String, file: &Path) {
    let sources = [Source { name: "sample".into(), text: trace }];
    let run = merge(&sources).unwrap();
    assert!(run.notes.is_empty(), "{:?}", run.notes);
    let mut out = Vec::new();
    html::write(&run, &mut out).unwrap();
    std::fs::write(file, out).unwrap();
}

/// What the page's self-test says of this trace; none without a browser.
fn tested(trace: String) -> Option<Value> {
    let Some(browser) = chromium() else {
        println!("skipped: no chromium");
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.html");
    page(trace, &file);
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
    let Some(page) = tested(trace) else { return };
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
    assert_eq!(page["digests"], 3);
    assert!(page["zoomed"].as_f64().unwrap() > 1.0);
    let shown = page["shown"].as_u64().unwrap();
    assert_eq!(shown as usize, events);
    assert_eq!(shown, page["again"].as_u64().unwrap(), "filters are undone");
    assert!(page["withoutTimers"].as_u64().unwrap() < shown);
    assert!(page["withText"].as_u64().unwrap() < 40, "only the run's frame is left");
}

#[test]
fn twenty_nodes_and_ten_thousand_events_pass() {
    let trace = Sample { nodes: 20, events: 10_000, forgetful: false, seed: 7 }.write();
    let Some(page) = tested(trace) else { return };
    assert_eq!(page["problems"], serde_json::json!([]));
    assert_eq!(page["lifelines"], 20);
    assert_eq!(page["violations"], 0);
    assert_eq!(page["opened"], -1);
    assert_eq!(page["states"], 20);
}

#[test]
fn what_is_more_than_a_window_holds_is_a_step_away() {
    let trace = Sample { nodes: 5, events: 60_000, forgetful: false, seed: 9 }.write();
    let events = trace.lines().count() - 1;
    let Some(page) = tested(trace) else { return };
    assert_eq!(page["problems"], serde_json::json!([]));
    assert_eq!(page["events"], events);
    assert_eq!(page["last"], events - 1);
    let part = page["part"].as_str().unwrap().replace(',', "");
    assert_eq!(part, format!("events 50001–{events} of {events}"));
    assert!(page["reached"].as_u64().unwrap() >= 49_999);
}

#[test]
fn hostile_words_stay_words() {
    let words = "</script><img src=x onerror=\"problems.push('run')\"><b>&amp;\u{2028}'\"`";
    let line = |json: Value| json.to_string() + "\n";
    let mut trace = line(serde_json::json!({
        "at": 0, "kind": "run", "source": words, "scenario": words, "nodes": [1, 2] }));
    for event in [
        serde_json::json!({ "kind": "request", "op": words, "client": words, "label": words }),
        serde_json::json!({ "kind": "fact", "protocol": words, "fact": words, "label": words }),
        serde_json::json!({ "kind": "print", "line": words, "digest": words }),
        serde_json::json!({ "kind": "send", "id": words, "to": 2, "protocol": words, "label": words }),
        serde_json::json!({ "kind": "violation", "property": words, "label": words, "ops": [words] }),
    ] {
        let mut event = event;
        event["at"] = 1.into();
        event["node"] = 1.into();
        trace += &line(event);
    }
    trace += &line(serde_json::json!({ "at": 2, "kind": "crash" }));
    trace += &line(
        serde_json::json!({ "at": 2, "kind": "fact", "protocol": "", "fact": "", "label": "" }),
    );
    trace += &line(
        serde_json::json!({ "at": 2, "kind": "reply", "op": "none", "client": "", "label": "" }),
    );
    trace +=
        &line(serde_json::json!({ "at": 2, "kind": "drop", "id": words, "from": 1, "why": "" }));
    let Some(page) = tested(trace) else { return };
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
    assert_eq!(lines(columns), run.entries.len() + 2);
    assert_eq!(lines(log), 2 * run.entries.len() + 2);
}

/// Writes pages to look at: `cargo test --test explain_page -- --ignored`.
#[test]
#[ignore = "writes files to look at"]
fn write_samples() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("explain");
    std::fs::create_dir_all(&dir).unwrap();
    for (nodes, events, forgetful) in [
        (3, 2000, true),
        (3, 2000, false),
        (20, 10_000, true),
        (20, 10_000, false),
        (5, 120_000, true),
    ] {
        let trace = Sample { nodes, events, forgetful, seed: 42 }.write();
        let name = format!("{nodes}-{}", if forgetful { "fails" } else { "holds" });
        std::fs::write(dir.join(format!("{name}.jsonl")), &trace).unwrap();
        page(trace, &dir.join(format!("{name}.html")));
    }
    println!("{}", dir.display());
}
