//! `node studio`: who may ask it and who may not, by bytes on its socket; what it saves, and where.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

#[path = "studio/served.rs"]
mod served;

use serde_json::{Value, json};
use served::{Answer, Studio};
use std::path::Path;
use std::process::Command;

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
    for wrong in ["../x.toml", "/tmp/x.toml", "a/../../x.toml", "x.txt", "x.toml", ""] {
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
