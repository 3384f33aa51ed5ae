//! Programs as nodes: what a process may say, how it ends, what is broken of it, and by whose time
//! it waits. Where there is no Python, nothing is run.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn program() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/odd.py");
    file.display().to_string()
}

fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output();
    found.is_ok_and(|output| output.status.success())
}

/// Two nodes that are asked to echo, for three seconds; with `more` of a scenario.
fn scenario(folder: &Path, hosted: &str, more: &str) {
    let text = format!(
        "properties = [\"echoes\", \"available\"]\nseconds = 3\nsettle_seconds = 5\n\
         [hosted]\nnodes = 2\n{hosted}\n[workload]\nkind = \"echo\"\nrate = 4\ntimeout_ms = 4000\n\
         {more}\n"
    );
    std::fs::write(folder.join("s.toml"), text).expect("a file");
}

fn sim(folder: &Path, mode: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    command.current_dir(folder).args(["sim", "s.toml", "--no-shrink", "--bin", &program()]);
    command.args(arguments).args(["--", mode]).output().expect("node runs")
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// What the clients of a traced run were told, and the lines of its nodes' stderr.
fn told(folder: &Path) -> (Vec<Value>, Vec<String>) {
    let trace = std::fs::read_to_string(folder.join("t.jsonl")).expect("a trace");
    let events = trace.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event"));
    let events: Vec<Value> = events.collect();
    let returned = events.iter().filter(|event| event["kind"] == "return");
    let told = returned.map(|event| match &event["reply"] {
        Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        other => other.clone(),
    });
    let lines = events.iter().filter_map(|event| event["line"].as_str());
    let lines = lines.filter_map(|line| line.strip_prefix("stderr: "));
    (told.collect(), lines.map(str::to_string).collect())
}

/// What programs get wrong ends the run, with what they said.
#[test]
fn what_is_no_message_and_what_has_no_end_is_a_verdict() {
    if !has_python() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    scenario(
        folder.path(),
        "turn_ms = 3000\nlimits = { memory_mb = 150, processes = 20, output_mb = 2 }",
        "",
    );
    for (mode, why) in [
        ("no json", "it wrote a line to stdout that is no message"),
        ("no json", "hello, I am a node"),
        ("exits", "it exited with status 3; its stderr ends with: it hurts"),
        ("endless line", "it wrote a line of more than 1048576 bytes"),
        // Whichever comes first.
        ("endless lines", "it wrote more than 2 MB in one run"),
        ("itself", "turns without any time between them"),
        ("nobody", "there is nobody of that dest; there are n0 to n1"),
        ("other", "its src is n9, and it is n"),
        ("no type", "its body has no \"type\""),
        ("no init", "it has not answered init within 10 s"),
        ("forks", "processes, more than 20"),
        ("memory", "MB of memory, more than 150"),
    ] {
        if mode == "no init" {
            let file = folder.path().join("s.toml");
            let longer = std::fs::read_to_string(&file).expect("a scenario");
            std::fs::write(&file, longer.replace("seconds = 3\n", "seconds = 12\n"))
                .expect("a file");
        }
        let output = sim(folder.path(), mode, &[]);
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{mode}: {text}");
        let is_program = text.contains("program is violated") || text.contains("converges");
        let is_why = why.split('|').any(|why| text.contains(why));
        assert!(is_program && is_why, "{mode}: {text}");
    }
}

/// A program that is not done in time is nobody's verdict: on another machine it may be.
#[test]
fn a_program_that_never_waits_is_undecided() {
    if !has_python() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    scenario(folder.path(), "turn_ms = 1000", "");
    let output = sim(folder.path(), "busy", &[]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("it did not come to rest within 1000 ms"), "{text}");
    assert!(!text.contains("violated"), "{text}");
}

/// What it prints on stderr is with the event after which it came, and numbers of any size reach
/// clients as they are.
#[test]
fn stderr_and_large_numbers_are_kept() {
    if !has_python() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    scenario(folder.path(), "", "");
    let output = sim(folder.path(), "big", &["--trace", "t.jsonl"]);
    let big = format!("1{}1", "0".repeat(39));
    let (_, lines) = told(folder.path());
    assert!(lines.iter().all(|line| *line == format!("said {big}")), "{lines:?}");
    assert!(lines.len() > 2 && text(&output).contains("41 bytes"), "{}", text(&output));
}

/// SIGKILL, and a start in the same folder; or in an empty one.
#[test]
fn a_crash_keeps_the_folder_and_a_wipe_empties_it() {
    if !has_python() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let crash = |wipe: &str| {
        format!(
            "[[fault]]\nat_ms = 1500\nfor_ms = 200\nkind = \"crash\"\nnode = 1\n{wipe}\n\
             [[fault]]\nat_ms = 2200\nfor_ms = 200\nkind = \"crash\"\nnode = 1\n"
        )
    };
    for (wipe, last) in [("", 3), ("wipe = true", 2)] {
        scenario(folder.path(), "", &crash(wipe));
        sim(folder.path(), "starts", &["--trace", "t.jsonl"]);
        let (_, lines) = told(folder.path());
        let most = lines.iter().filter_map(|line| line.strip_prefix("said ")?.parse::<u32>().ok());
        assert_eq!(most.max(), Some(last), "{wipe}: {lines:?}");
    }
}

/// An hour of sleep takes no time, and as long as the run says.
#[test]
fn timers_of_programs_go_by_the_time_of_the_run() {
    if !has_python() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    scenario(folder.path(), "", "");
    for (mode, said) in [
        ("sleeps", "0.5"),
        ("timers", "[True, 0.25]"),
        ("asyncio", "3.0"),
        ("locks", "[2.0, 2.0, 2025]"),
    ] {
        let output = sim(folder.path(), mode, &["--trace", "t.jsonl"]);
        let (_, lines) = told(folder.path());
        assert!(lines.len() > 1, "{mode}: {}", text(&output));
        let said = format!("said {said}");
        assert!(lines.iter().all(|line| *line == said), "{mode}: {lines:?}");
        assert!(text(&output).contains("tier: virtual timers"), "{}", text(&output));
    }
    scenario(folder.path(), "timers = \"clock\"", "");
    let output = sim(folder.path(), "clock", &["--trace", "t.jsonl"]);
    assert!(text(&output).contains("tier: virtual timers"), "{}", text(&output));
    let trace = std::fs::read_to_string(folder.path().join("t.jsonl")).expect("a trace");
    let at = |kind: &str| {
        let line = trace.lines().find(|line| line.contains(kind)).expect("there is one");
        serde_json::from_str::<Value>(line).expect("JSON")["at"].as_u64().expect("a time")
    };
    assert_eq!(at("\"kind\":\"return\"") - at("\"kind\":\"invoke\""), 700_000_000);
}

/// A library that says more than a pipe holds is heard to the end of the turn.
#[test]
fn many_timers_in_one_turn_are_all_heard() {
    if !has_python() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    scenario(folder.path(), "", "");
    let output = sim(folder.path(), "flood", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

/// What a program leaves in the place of its driver's files is not followed.
#[test]
fn a_driver_writes_where_its_own_files_are_and_nowhere_else() {
    if !has_python() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let precious = folder.path().join("precious");
    std::fs::write(&precious, "as it was, all of it").expect("a file");
    scenario(
        folder.path(),
        "",
        "[[fault]]\nat_ms = 2000\nfor_ms = 200\nkind = \"crash\"\nnode = 1\n",
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    command.current_dir(folder.path()).args(["sim", "s.toml", "--no-shrink", "--bin", &program()]);
    let output = command.args(["--", "links"]).arg(&precious).output().expect("node runs");
    let kept = std::fs::read_to_string(&precious).expect("it is there");
    assert_eq!(kept, "as it was, all of it", "{}", text(&output));
}

/// Random numbers, UUIDs and times of day are the same when a seed runs again, faults and all.
#[test]
fn a_seed_repeats_the_run() {
    if !has_python() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let faults = "[faults]\nalways = true\nloss = [1, 1]\nloss_percent = 30\ncrash = [1, 2]\n\
                  for_ms = [300, 900]\n";
    scenario(folder.path(), "", faults);
    for mode in ["random", "sleeps", "asyncio"] {
        let output = sim(folder.path(), mode, &["--check-determinism", "--seeds", "1..3"]);
        let text = text(&output);
        assert_eq!(output.status.code(), Some(0), "{mode}: {text}");
        assert_eq!(text.matches("the same run twice").count(), 3, "{mode}: {text}");
    }
}

/// What differs is shown: in real time a clock is never the same twice.
#[test]
fn what_no_seed_repeats_is_found_and_named() {
    if !has_python() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    scenario(folder.path(), "timers = \"wall\"", "");
    let output = sim(folder.path(), "random", &["--check-determinism"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("the first event that differs is of node"), "{text}");
    assert!(text.contains("likely: "), "{text}");
}

#[test]
fn real_time_is_a_tier_of_its_own() {
    if !has_python() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    scenario(folder.path(), "tier = \"wall\"\ntimers = \"wall\"", "");
    let output = sim(folder.path(), "", &[]);
    let text = text(&output);
    assert!(text.contains("tier: wall") && text.contains("(1 times real time)"), "{text}");
}

#[test]
fn what_cannot_break_of_a_program_is_refused_with_the_reason() {
    let folder = TempDir::new().expect("a folder");
    for (more, why) in [
        ("[faults]\ndisk_full = [1, 1]", "disk_full: a program writes its files by itself"),
        ("[faults]\nclock = [1, 1]", "clock: a program reads the run's clock"),
        ("[faults]\ntwin = [0, 1]", "twin: a program is known by its name alone"),
        ("[faults]\nliar = [1, 1]", "nobody can lie for it"),
        ("[[fault]]\nat_ms = 1\nkind = \"lost_log\"\nnode = 1", "lost_log: a program writes"),
        ("[clocks]\noffset_ms = 5", "clocks: a program reads the run's clock"),
    ] {
        scenario(folder.path(), "", more);
        let output = sim(folder.path(), "", &[]);
        assert_eq!(output.status.code(), Some(2), "{more}");
        assert!(text(&output).contains(why), "{more}: {}", text(&output));
    }
    scenario(folder.path(), "", "");
    let node = || Command::new(env!("CARGO_BIN_EXE_node"));
    let run = |bin: &str| {
        let mut command = node();
        let output = command.current_dir(folder.path()).args(["sim", "s.toml", "--bin", bin]);
        output.output().expect("node runs")
    };
    std::fs::write(folder.path().join("plain"), "no program").expect("a file");
    for (bin, why) in [
        ("./missing", "No such file"),
        ("./plain", "make it one with chmod +x"),
        ("no-such-program", "there is no program no-such-program"),
    ] {
        let output = run(bin);
        assert_eq!(output.status.code(), Some(2), "{bin}");
        assert!(text(&output).contains(why), "{bin}: {}", text(&output));
    }
    let mut bare = node();
    let bare = bare.current_dir(folder.path()).args(["sim", "s.toml"]).output().expect("it runs");
    assert!(text(&bare).contains("name one with --bin"), "{}", text(&bare));
}
