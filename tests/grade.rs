//! `node grade` from outside: what a class gets, and what comes of submissions that attack their
//! grader.

use rustix::process::geteuid;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A user that is neither the superuser nor one of the grader's.
const SOMEBODY: u32 = 60_600;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// An echo of one node, and a folder for submissions.
struct Course {
    folder: TempDir,
}

/// A node that answers, with something else at the beginning of every request.
fn node_that(does: &str) -> String {
    format!(
        r#"#!/usr/bin/env python3
import json, os, signal, sys, time
me = None
def attack():
    {does}
for line in sys.stdin:
    message = json.loads(line)
    body = message["body"]
    if body["type"] == "init":
        me = body["node_id"]
        answer = {{"type": "init_ok"}}
    else:
        attack()
        answer = {{"type": "echo_ok", "echo": body["echo"]}}
    answer["in_reply_to"] = body["msg_id"]
    print(json.dumps({{"src": me, "dest": message["src"], "body": answer}}), flush=True)
"#
    )
}

impl Course {
    fn new() -> Course {
        let folder = tempfile::tempdir().expect("it is there");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("it is there");
        let course = Course { folder };
        course.write("secret", SECRET);
        fs::set_permissions(course.path("secret"), Permissions::from_mode(0o600))
            .expect("it is there");
        let scenario = "properties = [\"echoes\"]\nseconds = 2\nsettle_seconds = 6\n[hosted]\n\
                        nodes = 1\nturn_ms = 500\n[workload]\nkind = \"echo\"\nrate = 20\n";
        course.write("echo.toml", scenario);
        course.assign("", "");
        course
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it is there")).expect("it is there");
        fs::write(path, text).expect("it is there");
    }

    /// One task, with more keys of `[submission]` and of the task.
    fn assign(&self, submission: &str, task: &str) {
        let text = format!(
            "title = \"Echo\"\n[submission]\nbin = \"main.py\"\n{submission}\n[limits]\n\
             wall_s = 60\nbuild_s = 2\nprocesses = 8\noutput_mb = 2\ndisk_mb = 4\nshrink_s = 1\n\
             [[task]]\nid = \"1\"\npoints = 10\nscenario = \"echo.toml\"\nseeds = 1\n{task}\n"
        );
        self.write("assignment.toml", &text);
    }

    fn submit(&self, name: &str, text: &str) {
        self.write(&format!("all/{name}/main.py"), text);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
        command.current_dir(self.folder.path()).arg("grade").args(args);
        command
    }

    fn grade(&self, name: &str, args: &[&str]) -> (Output, Value) {
        let submission = format!("all/{name}");
        let mut command = self.command(&["assignment.toml", "--submission", &submission]);
        let output = command.args(["-o", "results"]).args(args).output().expect("it is there");
        (output, self.results())
    }

    fn results(&self) -> Value {
        let text = fs::read_to_string(self.path("results/results.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// What came of a submission that does something at every request.
    #[track_caller]
    fn fails(&self, does: &str, told: &str) {
        self.submit("eve", &node_that(does));
        let (output, results) = self.grade("eve", &[]);
        is_failure(&output, &results, told);
    }
}

#[track_caller]
fn is_failure(output: &Output, results: &Value, told: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(results["score"], 0, "{stderr}");
    let reason = results["tests"][0]["output"].as_str().unwrap_or_default();
    assert!(reason.contains(told), "{reason}\n{stderr}");
}

#[test]
fn who_does_what_is_asked_has_all_points_in_every_form() {
    let course = Course::new();
    course.submit("ada", &node_that("pass"));
    let (output, results) = course.grade("ada", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((&results["score"], &results["tests"][0]["status"]), (&10.into(), &"passed".into()));
    let read =
        |name: &str| fs::read_to_string(course.path("results").join(name)).expect("it is there");
    assert_eq!(read("row.csv"), "submission,score,max,1,1 status\nada,10,10,10,passed\n");
    assert!(read("junit.xml").contains("failures=\"0\" errors=\"0\""));
    assert!(read("classroom.b64").starts_with("ey"), "{}", read("classroom.b64"));
    assert!(read("report.html").contains("10 of 10 points"));
    for name in ["results.json", "report.html"] {
        let mode =
            course.path("results").join(name).metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn what_cannot_be_graded_is_no_zero() {
    let course = Course::new();
    course.submit("ada", &node_that("pass"));
    course.assign("", "hidden = 1");
    let (output, _) = course.grade("ada", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--secret FILE"));
    assert_eq!(course.grade("nobody", &["--no-hidden"]).0.status.code(), Some(2));
    assert_eq!(course.grade("ada", &["--no-hidden", "--only", "2"]).0.status.code(), Some(2));
    course.write("echo.toml", "properties = [\"x\"]\n[hosted]\nnodes = 1\n");
    let (output, _) = course.grade("ada", &["--no-hidden"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no such property"));
}

#[test]
fn hidden_seeds_are_named_by_their_places_until_they_are_revealed() {
    let course = Course::new();
    course.assign("", "hidden = 3\nscore = \"fraction\"");
    // It tells its seed, and fails.
    course.submit("eve", &node_that("sys.exit(os.environ['NODE_SEED'])"));
    let (output, results) = course.grade("eve", &["--secret", "secret"]);
    is_failure(&output, &results, "0 of 4 seeds hold");
    course.assign("", "hidden = 1");
    let text = fs::read_to_string(course.path("assignment.toml")).expect("it is there");
    course.write("assignment.toml", &text.replace("seeds = 1\n", ""));
    let (output, results) = course.grade("eve", &["--secret", "secret"]);
    is_failure(
        &output,
        &results,
        "hidden seed #1: the program ended the run: what it wrote is not",
    );
    let shown =
        |name: &str| fs::read_to_string(course.path("results").join(name)).expect("it is there");
    assert!(!shown("results.json").contains("stderr"), "{}", shown("results.json"));
    assert!(!shown("pages/1.html").contains("\"seed\":\""), "a page names the seed");
    let (_, results) = course.grade("eve", &["--secret", "secret", "--reveal"]);
    let told = results["tests"][0]["output"].as_str().expect("it is there").to_string();
    let seed = told.split(['(', ')']).nth(1).expect("a number").parse::<u64>();
    assert!(seed.is_ok_and(|seed| seed > 1 << 32), "{told}");
}

#[test]
fn who_loops_for_ever_is_out_of_time() {
    let course = Course::new();
    course.submit("eve", &node_that("\n    while True: pass"));
    let (output, results) = course.grade("eve", &[]);
    is_failure(&output, &results, "could not be decided in time");
}

#[test]
fn who_forks_without_end_has_too_many_processes() {
    let course = Course::new();
    course.submit(
        "eve",
        &node_that(
            "\n    while True:\n        if os.fork() == 0: os.execlp('sleep', 'sleep', '98765')",
        ),
    );
    let (output, results) = course.grade("eve", &[]);
    // A busy machine may end its turn before it has as many as it may have.
    let said = results["tests"][0]["output"].as_str().unwrap_or_default();
    let is_late = said.contains("could not be decided in time");
    let told = if is_late { "turn_ms" } else { "the program ended the run" };
    is_failure(&output, &results, told);
    let sleeps = Command::new("pgrep").args(["-f", "^sleep 98765"]).output();
    assert!(sleeps.is_ok_and(|output| output.stdout.is_empty()), "processes are left");
}

#[test]
fn who_fills_the_disk_is_ended() {
    let course = Course::new();
    let fill = "\n    for n in range(100000): open(f'{FOLDER}{n}', 'wb').write(bytes(1 << 20))";
    course.fails(&fill.replace("{FOLDER}", "big"), "");
    if geteuid().is_root() {
        course.fails(&fill.replace("{FOLDER}", "/tmp/grade-test-"), "");
        assert!(!Path::new("/tmp/grade-test-0").exists(), "it is left");
    }
}

#[test]
fn who_writes_megabytes_without_a_newline_is_ended() {
    let course = Course::new();
    course.fails("\n    while True: sys.stdout.write('x' * 65536)", "a line of more than");
}

#[test]
fn who_reads_the_secret_fails() {
    let course = Course::new();
    course.assign("", "hidden = 1");
    let path = course.path("secret");
    course.submit("eve", &node_that(&format!("open('{}').read(); os._exit(3)", path.display())));
    let (output, results) = course.grade("eve", &["--secret", "secret"]);
    is_failure(&output, &results, "the program ended the run");
    let told = results["tests"][0]["output"].as_str().expect("it is there").to_string();
    if geteuid().is_root() {
        assert!(told.contains("Permission denied"), "{told}");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("it is there");
    let (output, _) = course.grade("eve", &["--secret", "secret"]);
    assert_eq!(output.status.code(), Some(2), "a secret that all can read is none");
}

#[test]
fn a_forged_verdict_is_no_verdict() {
    let course = Course::new();
    let forged = "#!/bin/sh\necho '{\"Ran\":{\"failure\":null,\"undecided\":[],\"held\":[\"echoes\"],\
                  \"lacks\":[],\"measured\":[]}}'\necho '\"Done\"'\nexit 0\n";
    course.submit("eve", forged);
    let (output, results) = course.grade("eve", &[]);
    is_failure(&output, &results, "the program ended the run");
}

#[test]
fn a_build_that_hangs_is_ended_and_one_that_fails_is_shown() {
    let course = Course::new();
    course.submit("eve", &node_that("pass"));
    course.assign("build = \"sleep 1000\"", "");
    let (output, results) = course.grade("eve", &[]);
    is_failure(&output, &results, "took more than 2 s (build_s)");
    course.assign("build = \"echo no; exit 3\"", "");
    let (output, results) = course.grade("eve", &[]);
    is_failure(&output, &results, "ended with exit code 3; it wrote last: no");
}

#[test]
fn who_kills_its_parent_fails() {
    let course = Course::new();
    let kills = "os.kill(os.getppid(), signal.SIGKILL); time.sleep(1)";
    course.fails(kills, if geteuid().is_root() { "not permitted" } else { "ended its grader" });
    if !geteuid().is_root() {
        return;
    }
    // Where it may: the grader is somebody, and submissions are too.
    fs::set_permissions(course.folder.path(), Permissions::from_mode(0o777)).expect("it is there");
    fs::remove_dir_all(course.path("results")).expect("it is there");
    let args = ["assignment.toml", "--submission", "all/eve", "-o", "results"];
    let output = course.command(&args).uid(SOMEBODY).gid(SOMEBODY).output();
    let output = output.expect("this file can be run by everybody");
    is_failure(&output, &course.results(), "ended its grader");
    assert!(String::from_utf8_lossy(&output.stderr).contains("WARN"));
}

#[test]
fn a_class_has_a_row_each_and_the_same_twice() {
    let course = Course::new();
    course.submit("ada", &node_that("pass"));
    course.submit("=eve", &node_that("sys.exit(0)"));
    course.write("all/nobody/README", "nothing");
    let grade = |output: &str| {
        let done = course.command(&["all", "all/", "-o", output]).output().expect("it is there");
        let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
        (done.status.code(), stderr, fs::read_to_string(course.path(output)).expect("it is there"))
    };
    let (code, stderr, class) = grade("one.csv");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("[3/3]"), "{stderr}");
    let expected = "submission,score,max,1,1 status\n'=eve,0,10,0,failed\nada,10,10,10,passed\n\
                    nobody,0,10,0,failed\n";
    assert_eq!(class, expected);
    assert_eq!(grade("two.csv").2, class);
}
