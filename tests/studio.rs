//! `node studio`: who may ask it and who may not, by bytes on its socket; what it saves, and where;
//! and its page in a real browser, where there is one, used as a person would.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod browser;
mod common;
#[path = "studio/served.rs"]
mod served;

use browser::Browser;
use common::{LONG, free_port, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use served::{Answer, Studio};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// The head of a command as the page sends it, with some of its lines replaced or left out.
fn command(studio: &Studio, change: &[(&str, Option<&str>)]) -> String {
    let lines = [
        ("Host", format!("127.0.0.1:{}", studio.port)),
        ("Origin", format!("http://127.0.0.1:{}", studio.port)),
        ("Sec-Fetch-Site", "same-origin".to_string()),
        ("Content-Type", "application/json".to_string()),
        ("X-Studio-Token", studio.token.clone()),
        ("Content-Length", "2".to_string()),
    ];
    let mut head = format!("POST /{}/api/start HTTP/1.1\r\n", studio.token);
    for (name, value) in lines {
        let changed = change.iter().find(|(changed, _)| *changed == name);
        if let Some(value) = changed.map_or(Some(value.as_str()), |(_, value)| *value) {
            head += &format!("{name}: {value}\r\n");
        }
    }
    head + "\r\n{}"
}

#[test]
fn only_the_page_itself_may_ask() {
    let studio = Studio::start(&["kv-calm"]);
    let ask = |change: &[(&str, Option<&str>)]| studio.raw(command(&studio, change).as_bytes());
    assert_eq!(ask(&[]).status, 200);
    assert_eq!(ask(&[("Origin", None), ("Sec-Fetch-Site", None)]).status, 200, "no browser");
    let (port, other) = (studio.port, studio.port ^ 1);
    let localhost = format!("localhost:{port}");
    assert_eq!(ask(&[("Host", Some(&localhost)), ("Origin", None)]).status, 200);
    // A name that its own server made point to 127.0.0.1, and a page of elsewhere.
    let (rebound, elsewhere) =
        (format!("evil.example:{port}"), format!("http://127.0.0.1:{other}"));
    let long = "0".repeat(32);
    let refused: [&[(&str, Option<&str>)]; 15] = [
        &[("Host", Some(&rebound))],
        &[("Host", Some("127.0.0.1"))],
        &[("Host", None)],
        &[("Host", Some(&rebound)), ("Origin", Some(&format!("http://{rebound}")))],
        &[("Origin", Some("http://evil.example"))],
        &[("Origin", Some("null"))],
        &[("Origin", Some(&elsewhere))],
        &[("Origin", Some(&format!("https://127.0.0.1:{port}")))],
        &[("Sec-Fetch-Site", Some("cross-site"))],
        &[("Sec-Fetch-Site", Some("same-site"))],
        // A form sends none of these.
        &[("X-Studio-Token", None)],
        &[("X-Studio-Token", Some(&long))],
        &[("Content-Type", Some("text/plain"))],
        &[("Content-Type", Some("application/x-www-form-urlencoded"))],
        &[("Content-Type", None)],
    ];
    for change in refused {
        let answer = ask(change);
        assert_eq!(answer.status, 403, "{change:?}: {answer:?}");
        assert!(!answer.body.contains("scenarios"), "{change:?}: {answer:?}");
    }
}

#[test]
fn nothing_is_read_without_the_token_and_no_answer_is_for_others() {
    let studio = Studio::start(&["kv-calm"]);
    let get = |path: &str, more: &str| {
        let host = format!("Host: 127.0.0.1:{}\r\n{more}\r\n", studio.port);
        studio.raw(format!("GET {path} HTTP/1.1\r\n{host}").as_bytes())
    };
    let own = format!("/{}/", studio.token);
    let cut = &studio.token[..31];
    for path in ["/", "/core.js", "/run/0", "//", &format!("/{cut}/"), &format!("/{cut}g/")] {
        let answer = get(path, "");
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
        assert!(!answer.body.contains("studio.css") && !answer.head.contains(&studio.token));
    }
    let token = format!("Cookie: token={}\r\nX-Studio-Token: {}\r\n", studio.token, studio.token);
    assert_eq!(get("/", &token).status, 403, "neither a cookie nor a header opens a page");
    let run = studio.ask("run", &json!({"name": "kv-calm", "seed": "1"}));
    assert_eq!((run.status, &run.json()["run"]), (200, &json!(0)), "{run:?}");
    for path in ["", "core.js", "studio.css", "run/0", "run/1", "nothing"] {
        let answer = get(&format!("{own}{path}"), "Origin: null\r\n");
        assert_eq!(answer.status, 403, "a page without an origin reads {path}");
        let answer = get(&format!("{own}{path}"), "");
        let is_there = !["run/1", "nothing"].contains(&path);
        assert_eq!(answer.status, if is_there { 200 } else { 404 }, "{path}");
        let head = answer.head.to_lowercase();
        assert!(!head.contains("access-control"), "{head}");
        for said in [
            "frame-ancestors 'self'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
            "cache-control: no-store",
        ] {
            assert!(head.contains(said), "{path}: {said}: {head}");
        }
        assert!(!head.contains("set-cookie"), "{head}");
    }
    let asked = |method: &str| {
        studio.raw(
            format!("{method} {own} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", studio.port)
                .as_bytes(),
        )
    };
    for method in ["OPTIONS", "PUT", "HEAD", "TRACE"] {
        assert_eq!(asked(method).status, 405, "{method}");
    }
}

#[test]
fn what_is_no_request_or_too_long_is_refused_and_the_next_is_answered() {
    let studio = Studio::start(&["kv-calm"]);
    let host = format!("Host: 127.0.0.1:{}\r\n", studio.port);
    let fields: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let page = format!("GET /{}/ HTTP/1.1\r\n", studio.token);
    let twice = format!("{page}{host}{host}\r\n");
    for (what, bytes, status) in [
        ("no HTTP", "\u{16}\u{3}\u{1} hello\r\n\r\n".to_string(), 400),
        ("another version", format!("GET / HTTP/9.9\r\n{host}\r\n"), 400),
        ("many fields", format!("{page}{host}{fields}\r\n"), 431),
        ("a long head", format!("{page}X: {}", "x".repeat(40_000)), 431),
        ("two hosts", twice, 400),
        ("no length", command(&studio, &[("Content-Length", None)]), 411),
        ("no number", command(&studio, &[("Content-Length", Some("-1"))]), 411),
        ("a long body", command(&studio, &[("Content-Length", Some("99999999999"))]), 413),
    ] {
        let answer = studio.raw(bytes.as_bytes());
        assert_eq!(answer.status, status, "{what}: {answer:?}");
    }
    for (name, body) in [
        ("start", "{}"),
        ("run", "null"),
        ("run", "[1,2"),
        ("run", r#"{"name":"kv-calm","seed":"-1"}"#),
        ("run", r#"{"name":"kv-calm","text":"","seed":"1"}"#),
        ("scenario", r#"{"name":"../../etc/passwd"}"#),
        ("scenario", r#"{"name":"/etc/passwd"}"#),
        ("seeds", r#"{"name":"kv-calm","first":0,"last":18446744073709551615}"#),
        ("job", r#"{"job":99}"#),
        ("told", r#"{"run":18446744073709551615}"#),
        ("nothing", "{}"),
    ] {
        let answer = studio.ask_text(name, body);
        let expected: &[u16] = if name == "start" { &[200] } else { &[400, 404] };
        assert!(expected.contains(&answer.status), "{name} {body}: {answer:?}");
        assert_eq!(answer.status == 200, answer.json().get("error").is_none(), "{answer:?}");
        assert!(!answer.body.contains("root:"), "{answer:?}");
    }
    // Whoever says nothing keeps nobody waiting.
    let silent: Vec<_> = (0..20).map(|_| studio.connect()).collect();
    assert_eq!(studio.ask("start", &json!({})).status, 200);
    drop(silent);
}

#[test]
fn what_is_saved_is_new_and_below_the_working_folder() {
    let studio = Studio::start(&[]);
    let text = studio.ask("scenario", &json!({"name": "kv-calm"})).json()["text"].clone();
    let save = |wanted: &str| -> Answer {
        studio.ask("save", &json!({"name": "kv-calm", "text": text, "wanted": wanted}))
    };
    for wrong in
        ["../x.toml", "/tmp/x.toml", "a/../../x.toml", ".git/sim/x.toml", "x.txt", "x.toml", ""]
    {
        let answer = save(wrong);
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
    }
    std::os::unix::fs::symlink("/tmp", studio.folder().join("out")).unwrap();
    assert_eq!(save("out/sim/x.toml").status, 400, "a link leads out");
    let saved = save("mine/sim/x.toml");
    assert_eq!(saved.status, 200, "{saved:?}");
    let file = studio.folder().join("mine/sim/x.toml");
    assert_eq!(json!(std::fs::read_to_string(&file).unwrap()), text);
    assert!(save("mine/sim/x.toml").body.contains("File exists"));
    let same = studio.ask("run", &json!({"name": "mine/sim/x.toml", "seed": "1"}));
    assert_eq!(same.status, 200, "it is a scenario, with its configs: {same:?}");
    let listed = studio.ask("start", &json!({})).json()["scenarios"].clone();
    let names: Vec<&Value> = listed.as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert!(names.contains(&&json!("mine/sim/x.toml")) && names.contains(&&json!("kv-calm")));
}

/// Whether `node sim --replay` ends as a run that violates something, and its words.
fn replayed(folder: &Path, file: &str) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_node"))
        .args(["sim", "--replay", file])
        .current_dir(folder)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_saved_plan_has_the_same_verdict_in_the_terminal() {
    let studio = Studio::start(&["kv-linearizable"]);
    let run = studio.ask("run", &json!({"name": "kv-linearizable", "seed": "15"})).json();
    let why = run["told"]["failure"]["why"].as_str().unwrap();
    let wanted = "run/studio/plan.toml";
    let saved = studio.ask("save_plan", &json!({"run": run["run"], "wanted": wanted}));
    assert_eq!(saved.status, 200, "{saved:?}");
    let (code, said) = replayed(studio.folder(), wanted);
    assert_eq!(code, Some(0), "it shows what it is there to show: {said}");
    assert!(said.contains(why), "{said}\n{why}");
    let again = studio.ask("save_plan", &json!({"run": run["run"], "wanted": wanted}));
    assert_eq!(again.status, 400, "nothing is overwritten");
    let opened = studio.ask("replay", &json!({"name": wanted})).json();
    assert_eq!(opened["run"], run["run"], "the same plan is the same run");
}

#[test]
fn a_fork_is_its_parent_up_to_the_branch_and_replays_in_the_terminal() {
    let studio = Studio::start(&["kv-linearizable"]);
    let run = studio.ask("run", &json!({"name": "kv-linearizable", "seed": "15"})).json();
    let fork = |branch: &Value| {
        let answer = studio.ask("fork", &json!({"run": run["run"], "branches": [branch]}));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let compare = |other: &Value| {
        studio.ask("compare", &json!({"one": run["run"], "other": other["run"]})).json()
    };
    // Nothing that is otherwise is nothing that is otherwise.
    assert_eq!(compare(&fork(&json!({"at_ns": 900_000_000}))), json!({"is_same": true}));
    // It is lost after 900 ms: what is drawn anew before then has a future of its own.
    let at_ns = 500_000_000_u64;
    let (mut held, mut replays) = (None, 0);
    for reseed in 1..50 {
        let other = fork(&json!({"at_ns": at_ns, "reseed": reseed}));
        let said = compare(&other);
        assert_eq!(said["is_same"], false);
        for side in said["sides"].as_array().unwrap() {
            assert!(side["t"].as_u64().unwrap() >= at_ns, "{said}");
        }
        if other["told"]["failure"].is_null() {
            held = Some(other);
            break;
        }
    }
    let held = held.expect("one of fifty futures is a good one");
    for (run, failed) in
        [(&held, false), (&fork(&json!({"at_ns": 1_200_000_000, "reseed": 1})), true)]
    {
        let wanted = format!("run/studio/{replays}.toml");
        let saved = studio.ask("save_plan", &json!({"run": run["run"], "wanted": wanted}));
        assert_eq!(saved.status, 200, "{saved:?}");
        let (_, said) = replayed(studio.folder(), &wanted);
        let why = run["told"]["failure"]["why"].as_str();
        assert_eq!(why.is_some(), failed, "{run}");
        assert_eq!(said.contains("is violated"), failed, "{said}");
        assert!(why.is_none_or(|why| said.contains(why)), "{said}");
        replays += 1;
    }
    for wrong in
        [json!({"at_ns": 1, "crash": 99}), json!({"message": "x", "drop": true}), json!({})]
    {
        let answer = studio.ask("fork", &json!({"run": run["run"], "branches": [wrong]}));
        assert_eq!(answer.status, 400, "{answer:?}");
    }
}

#[test]
fn a_run_that_fails_is_made_smaller_and_fails_the_same() {
    let studio = Studio::start(&["kv-linearizable"]);
    let run = studio.ask("run", &json!({"name": "kv-linearizable", "seed": "15"})).json();
    let job = studio.ask("shrink", &json!({"run": run["run"]})).json();
    let small = wait_until("it is smaller", LONG, || {
        let said = studio.ask("job", &job).json();
        (said["is_over"] == true).then(|| said["end"]["told"].clone())
    });
    assert_eq!(small["failure"]["property"], "linearizable");
    assert!(small["operations"].as_u64() < run["told"]["operations"].as_u64(), "{small}");
    let held = studio.ask("run", &json!({"name": "kv-linearizable", "seed": "2"})).json();
    let answer = studio.ask("shrink", &json!({"run": held["run"]}));
    assert_eq!(answer.status, 400, "there is nothing to make smaller: {answer:?}");
}

#[test]
fn what_breaks_in_some_order_opens_as_a_run_and_replays_in_the_terminal() {
    let studio = Studio::start(&[]);
    let shipped = "explore/kv-3";
    let text = studio.ask("scenario", &json!({"name": shipped})).json();
    assert_eq!(text["about"]["explores"], true, "{text}");
    // Of two GETs at once one may see what the other does not see any more.
    let text = text["text"].as_str().unwrap().replace(
        r#""regular_register", "unique_timestamps", "replicas_equal""#,
        r#""linearizable""#,
    );
    let text = text.replace(r#"[["PUT 1"], ["GET 3"]]"#, r#"[["PUT 1"], ["GET 3"], ["GET 2"]]"#);
    let name = "mine/sim/explore/mine.toml";
    let saved = studio.ask("save", &json!({"name": shipped, "text": text, "wanted": name}));
    assert_eq!(saved.status, 200, "{saved:?}");
    let job = studio.ask("explore", &json!({"name": name, "seconds": 600})).json();
    let end = wait_until("it is found", LONG, || {
        let said = studio.ask("job", &job).json();
        (said["is_over"] == true).then(|| said["end"].clone())
    });
    assert_eq!((&end["ended"], end["schedules"].as_u64() > Some(1)), (&json!("found"), true));
    let why = end["told"]["failure"]["why"].as_str().unwrap();
    let wanted = "run/studio/found.toml";
    let saved = studio.ask("save_plan", &json!({"run": end["run"], "wanted": wanted}));
    assert_eq!(saved.status, 200, "{saved:?}");
    let (code, said) = replayed(studio.folder(), wanted);
    assert!(code == Some(1) && said.contains(why), "{said}\n{why}");
    let answer = studio.ask("explore", &json!({"name": "kv-calm", "seconds": 1}));
    assert_eq!(answer.status, 400, "it has no bounds: {answer:?}");
}

/// The last seed of all is one seed, and not the beginning of all others.
#[test]
fn the_strip_of_the_largest_seed_has_an_end() {
    let studio = Studio::start(&["kv-linearizable"]);
    let most = u64::MAX;
    let asked = json!({"name": "kv-linearizable", "first": most - 1, "last": most});
    let job = studio.ask("seeds", &asked).json();
    let pieces = wait_until("both are done", LONG, || {
        let said = studio.ask("job", &job).json();
        let pieces = said["pieces"].as_array().unwrap().clone();
        (said["is_over"] == true || pieces.len() > 2).then_some(pieces)
    });
    let mut seeds: Vec<u64> = pieces.iter().map(|one| one["seed"].as_u64().unwrap()).collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [most - 1, most]);
}

/// A run of more events than a page takes, and a fork: both are shown around their difference.
#[test]
fn of_a_long_run_the_part_around_the_difference_is_shown() {
    let studio = Studio::start(&[]);
    let text = studio.ask("scenario", &json!({"name": "kv-calm"})).json()["text"].clone();
    let text = text.as_str().unwrap().replace("clients = 3", "clients = 8\nthink_ms = 10");
    let text = text.replace("operations = 20", "operations = 500");
    let run = studio.ask("run", &json!({"name": "kv-calm", "text": text, "seed": "1"})).json();
    assert!(run["told"]["events"].as_u64() > Some(20_000), "{run}");
    let at_ns = 1_000_000_000_u64;
    let branch = json!({"at_ns": at_ns, "reseed": 1});
    let fork = studio.ask("fork", &json!({"run": run["run"], "branches": [branch]})).json();
    let said = studio.ask("compare", &json!({"one": run["run"], "other": fork["run"]})).json();
    for (side, of) in said["sides"].as_array().unwrap().iter().zip([&run, &fork]) {
        let around = side["around"].as_str().unwrap();
        assert!(side["t"].as_u64() >= Some(at_ns) && side["event"].is_u64(), "{said}");
        let page = studio.get(&format!("run/{}/at/{around}", of["run"]));
        let whole = studio.get(&format!("run/{}", of["run"]));
        assert_eq!((page.status, whole.status), (200, 200));
        assert!(page.body.contains("left out") && whole.body.contains("left out"));
        assert_ne!(page.body, whole.body, "without a violation the end is shown");
    }
    assert_eq!(studio.get("run/0/at/x").status, 404);
}

#[test]
fn when_a_run_was_lost_is_a_curve_of_it() {
    let studio = Studio::start(&["kv-linearizable"]);
    let run = studio.ask("run", &json!({"name": "kv-linearizable", "seed": "15"})).json();
    let asked = json!({"run": run["run"], "points": 4, "runs": 3});
    let job = studio.ask("why", &asked).json();
    let end = wait_until("the curve is there", LONG, || {
        let said = studio.ask("job", &job).json();
        (said["is_over"] == true).then(|| said["end"].clone())
    });
    assert_eq!(end["run"], run["run"], "it has all its operations: {end}");
    let points = end["points"].as_array().unwrap();
    assert!(points.len() >= 4 && points.is_sorted_by_key(|point| point["t"].as_u64()), "{end}");
    // From the moment of the violation nothing can go otherwise any more.
    assert_eq!(points.last().unwrap()["share"], 1.0, "{end}");
    let lost = run["told"]["failure"]["at_ms"].as_f64().unwrap();
    assert!(points.last().unwrap()["t"].as_f64().unwrap() / 1e6 <= lost + 1e-6, "{end}");
    let held = studio.ask("run", &json!({"name": "kv-linearizable", "seed": "2"})).json();
    let job = studio.ask("why", &json!({"run": held["run"]})).json();
    let failed = wait_until("it is over", LONG, || {
        let said = studio.ask("job", &job);
        (said.status == 400).then_some(said)
    });
    assert!(failed.body.contains("breaks nothing"), "{failed:?}");
}

/// The middle of what `expression` is in the document, in the window's pixels.
const MIDDLE: &str = "(it => { it.scrollIntoView({ block: 'nearest' }); const box = \
    it.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })";

fn click(browser: &mut Browser, expression: &str) {
    let at = browser.js(&format!("{MIDDLE}({expression})"));
    browser.click(at[0].as_f64().unwrap(), at[1].as_f64().unwrap(), "left");
}

/// Where the frame is, and in it the middle of what `expression` is in its `page`.
fn click_in_frame(browser: &mut Browser, expression: &str) {
    let frame = browser.js("(box => [box.x, box.y])(frames[0].iframe.getBoundingClientRect())");
    let script = format!("(page => {MIDDLE}({expression}))(frames[0].iframe.contentDocument)");
    let at = browser.js(&script);
    let both = |place: usize| frame[place].as_f64().unwrap() + at[place].as_f64().unwrap();
    browser.click(both(0), both(1), "left");
}

/// A person runs seeds, opens the red one, has the rest drawn anew from the moment of the violation
/// on, sees both, saves the plan, and runs it again in the terminal.
#[test]
fn a_person_opens_what_is_red_forks_it_compares_saves_and_replays() {
    let Some(mut browser) = Browser::start() else { return };
    let studio = Studio::start(&["kv-linearizable"]);
    browser.go(&studio.url);
    browser.until("el('strip').childElementCount === 100 && el('halt').hidden");
    assert_eq!(browser.js("document.querySelectorAll('#strip .red').length"), 2);
    assert_eq!(browser.js("document.querySelectorAll('#strip .green').length"), 98);
    click(&mut browser, "document.querySelector('#strip [data-seed=\"15\"]')");
    browser.until("frames.length === 1 && frames[0].page");
    assert_eq!(browser.js("frames[0].page.violations"), 1);
    // The menu of the event that the page opens at, by its key.
    click_in_frame(&mut browser, "page.getElementById('back')");
    browser.press("m", false);
    let items = "[...frames[0].iframe.contentDocument.querySelectorAll('[role=menuitem]')]";
    browser.until(&format!("{items}.length > 3"));
    let fork = "[...page.querySelectorAll('[role=menuitem]')]\
                .find(it => it.textContent === 'Fork: the rest is drawn anew')";
    click_in_frame(&mut browser, fork);
    browser.until("frames.length === 2 && frames.every(it => it.page) && !el('verdicts').hidden");
    let sides = browser.js("frames.map(it => it.side.t)");
    let lost = browser.js("runs.get(0).told.failure.at_ms").as_f64().unwrap();
    assert!(sides[0].as_f64().unwrap() > 900e6 && sides[0].as_f64().unwrap() < lost * 1e6 + 200e6);
    assert_eq!(browser.js("frames[0].page.range.from"), browser.js("frames[1].page.range.from"));
    // What is selected in one is selected in the other, up to the difference.
    click_in_frame(&mut browser, "page.getElementById('back')");
    browser.until("leader === frames[0]");
    click_in_frame(&mut browser, "page.getElementById('first')");
    browser.until("frames.every(it => it.page.selected === 0)");
    let said = browser.js("el('verdicts').textContent").to_string();
    assert!(said.contains("The same until"), "{said}");
    assert_eq!(browser.js("document.querySelectorAll('#runs li').length"), 2);
    // What was open is open when the page is loaded again.
    browser.reload();
    browser.until("runs.size === 2 && frames.length === 2 && frames.every(it => it.page)");
    browser.until("!el('verdicts').hidden");
    browser.js("el('plan-name').value = 'run/studio/mine.toml'");
    click(&mut browser, "el('plan').querySelector('button')");
    browser.until("el('note').textContent.includes('node sim --replay run/studio/mine.toml')");
    let failure = browser.js("runs.get(current).told.failure");
    assert_eq!(browser.js("problems.concat(...frames.map(it => it.page.problems))"), json!([]));
    let (_, replayed) = replayed(studio.folder(), "run/studio/mine.toml");
    assert_eq!(replayed.contains("is violated"), !failure.is_null(), "{replayed}\n{failure}");
    let own = failure["why"].as_str().unwrap_or("");
    assert!(replayed.contains(own), "{replayed}\n{own}");
    let text = std::fs::read_to_string(studio.folder().join("run/studio/mine.toml")).unwrap();
    assert!(text.contains("[[branch]]"), "{text}");
}

/// A page of another origin knows even the address, and still reads nothing and commands nothing.
#[test]
fn a_page_of_another_origin_reads_nothing_and_commands_nothing() {
    let Some(mut browser) = Browser::start() else { return };
    let studio = Studio::start(&["kv-calm"]);
    browser.go(&elsewhere());
    browser.until("document.title === 'elsewhere'");
    let attack = include_str!("studio/attack.js");
    let attack = attack.lines().filter(|line| !line.starts_with("//")).collect::<Vec<_>>();
    let attack = format!("({})('{}', '{}')", attack.join("\n"), studio.url, studio.token);
    let got = browser.js(&attack);
    assert_eq!(got["read"], "refused", "{got}");
    assert_eq!(got["plain"], "refused", "{got}");
    assert_eq!(got["command"], "refused", "{got}");
    assert_eq!(got["frame"], "refused", "{got}");
    assert_eq!(got["script"], "refused", "{got}");
    // An opaque answer tells nothing; what matters is that nothing was done.
    assert!(["refused", "opaque"].contains(&got["blind"].as_str().unwrap()), "{got}");
    assert!(!studio.folder().join("evil.toml").exists());
    assert_eq!(std::fs::read_dir(studio.folder()).unwrap().count(), 0);
    assert_eq!(studio.ask("start", &json!({})).status, 200, "the page itself goes on");
    // A name that its owner makes point to this machine, so that its page is of the same origin.
    let rebound = studio.url.replace("127.0.0.1", "rebound.example");
    browser.go(&rebound);
    browser.until("document.body.textContent.includes('127.0.0.1 and localhost alone')");
}

/// The address of a server of a page of its own, on another port of this machine: the nearest that
/// another origin can be, and for cookies the same.
fn elsewhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let page = "<title>elsewhere</title><body>";
            let _ = stream.read(&mut [0; 4096]);
            let head = format!("Content-Type: text/html\r\nContent-Length: {}", page.len());
            let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\nConnection: close\r\n\r\n{page}");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

/// A folder with configs of two nodes, of which the second does not run: its pid file names
/// somebody else. What was started in it ends with it.
struct Nodes {
    folder: PathBuf,
    other: Child,
}

impl Nodes {
    fn prepare(folder: &Path) -> Nodes {
        for id in 1..=2 {
            let listener = format!("addr = \"127.0.0.1:{}\"\ngateway = \"echo\"", free_port());
            let config = format!(
                "[node]\nid = {id}\ncluster = \"test\"\n\n[[listeners]]\n{listener}\n\n\
                 [protocols.echo]\n"
            );
            std::fs::write(folder.join(format!("node-{id}.toml")), config).unwrap();
        }
        let other = Command::new("sleep").arg("600").spawn().unwrap();
        std::fs::write(folder.join("node-2.pid"), format!("{}\n", other.id())).unwrap();
        Nodes { folder: folder.into(), other }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        let _ = self.other.kill();
        let _ = self.other.wait();
        let pid = std::fs::read_to_string(self.folder.join("node-1.pid")).ok();
        let pid = pid.and_then(|pid| Pid::from_raw(pid.trim().parse().ok()?));
        let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
    }
}

#[test]
fn nodes_are_followed_and_left_alone_unless_that_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("nodes")).unwrap();
    let mut nodes = Nodes::prepare(&folder.path().join("nodes"));
    let control = |studio: &Studio, node: &str, what: &str| {
        studio.ask("control", &json!({"node": node, "what": what}))
    };
    let studio = Studio::start_in(folder, &["nodes"]);
    for what in ["start", "kill", "pause", "go_on"] {
        assert_eq!(control(&studio, "node-1", what).status, 403, "{what} was not allowed");
    }
    assert!(!nodes.folder.join("node-1.pid").exists(), "nothing was started");
    let folder = studio.stop();
    let studio = Studio::start_in(folder, &["nodes", "--allow-control"]);
    let look = || studio.ask("live", &json!({})).json();
    let is = |is: &str| {
        wait_until(is, LONG, || (look()["nodes"][0]["is"] == is).then_some(()));
    };
    is("down");
    assert_eq!(control(&studio, "node-1", "start").status, 200);
    is("up");
    assert_eq!(control(&studio, "node-1", "start").status, 400, "it runs already");
    wait_until("its trace is read", LONG, || {
        let node = look()["nodes"][0].clone();
        (node["is_up_by_trace"] == true && node["events"].as_u64() > Some(0)).then_some(())
    });
    assert_eq!(control(&studio, "node-1", "pause").status, 200);
    is("paused");
    assert_eq!(control(&studio, "node-1", "go_on").status, 200);
    is("up");
    wait_until("it is judged", LONG, || look()["judged"]["is_whole"].as_bool());
    let page = studio.get("live/100");
    assert!(page.status == 200 && page.body.contains("\"source\":\"node\""), "{}", page.status);
    // Whoever else has the number of a pid file is none of the folder's nodes.
    for what in ["kill", "pause", "go_on"] {
        assert_eq!(control(&studio, "node-2", what).status, 400, "{what}");
    }
    assert_eq!(nodes.other.try_wait().unwrap(), None, "it goes on");
    for name in ["node-3", "../node-1", ""] {
        assert_eq!(control(&studio, name, "start").status, 400, "{name}");
    }
    assert_eq!(control(&studio, "node-1", "kill").status, 200);
    is("down");
}
