//! Output that could not be written: every command fails, and says so, when standard output is
//! full, and is quiet about a reader that has gone. Files, verdicts and nodes likewise.

mod common;

use common::clients::try_connect;
use common::{Cluster, LONG, Node, Setup, free_port, local, wait_until};
use rustix::process::Signal;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A file that is always full.
fn full() -> File {
    File::options().write(true).open("/dev/full").expect("Linux has it")
}

/// A pipe that nobody reads.
fn nobody() -> Stdio {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// Runs the binary in the tree's folder, with `input` typed.
fn run(words: &[&str], input: &str, stdout: Stdio) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    command.args(words).current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("NODE_LOG");
    command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    // One that ends early does not read it.
    let _ = child.stdin.take().expect("it is a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("what the node says is text")
}

/// A command, what is typed, and its exit codes when standard output is full and when nobody reads.
type Case<'a> = (Vec<&'a str>, &'a str, [u8; 2]);

/// Runs each twice.
fn check(cases: &[Case<'_>]) {
    for (words, input, codes) in cases {
        // On a busy machine a load may have measured nothing.
        let is = |code: Option<i32>, known: u8| {
            code == Some(known.into()) || (words[0] == "bench" && code == Some(1))
        };
        let shown = run(words, input, full().into());
        let told = text(&shown.stderr);
        assert!(is(shown.status.code(), codes[0]), "{words:?}: {shown:?}");
        assert!(told.contains("No space left on device"), "{words:?}: {told}");
        let cut = run(words, input, nobody());
        let told = text(&cut.stderr);
        assert!(is(cut.status.code(), codes[1]), "{words:?}: {cut:?}");
        for word in ["os error", "pipe", "standard output", "panicked"] {
            assert!(!told.contains(word), "{words:?}: {told}");
        }
    }
}

#[test]
fn a_command_whose_output_is_lost_fails_in_words_or_without_a_reader_quietly() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("a name").to_string();
    let (trace, save) = (path("trace.jsonl"), path("save"));
    let words = ["sim", "configs/sim/kv-calm.toml", "--trace", &trace];
    assert!(run(&words, "", Stdio::null()).status.success());
    let calm = "configs/sim/kv-calm.toml";
    let violated = "configs/sim/kv-linearizable.toml";
    check(&[
        (vec!["--help"], "", [2, 0]),
        (vec!["--version"], "", [2, 0]),
        (vec!["help", "sim"], "", [2, 0]),
        (vec!["kv", "--help"], "", [5, 0]),
        (vec!["bench", "kv", "-h"], "", [5, 0]),
        (vec!["check", "configs/kv-leader.toml", "configs/echo.toml"], "", [1, 0]),
        (vec!["sim", calm], "", [2, 0]),
        (vec!["sim", calm, "--json"], "", [2, 0]),
        (vec!["sim", calm, "--hashes", "--seeds", "1..3"], "", [2, 0]),
        (vec!["sim", violated, "--seed", "15", "--no-shrink"], "", [2, 0]),
        (vec!["sim", violated, "--seed", "15", "--json", "--save", &save], "", [2, 0]),
        (vec!["properties"], "", [2, 0]),
        (vec!["verify", &trace], "", [2, 0]),
        (vec!["verify", &trace, "--json"], "", [2, 0]),
        (vec!["explain", &trace], "", [1, 0]),
        (vec!["explain", &trace, "--format", "text"], "", [1, 0]),
        (vec!["explain", &trace, "--format", "shiviz"], "", [1, 0]),
        (vec!["explain", &trace, "--table", "elections"], "", [1, 0]),
    ]);
}

/// Nodes with all that commands talk to.
struct Nodes {
    dir: TempDir,
    addrs: Vec<SocketAddr>,
    _nodes: Vec<Node>,
}

fn start() -> Nodes {
    let dir = tempfile::tempdir().expect("a folder");
    let addrs: Vec<SocketAddr> = (0..4).map(|_| local(free_port())).collect();
    let data = dir.path().join("data");
    let all = format!(
        "data_dir = {data:?}\n[[listeners]]\naddr = \"{}\"\n\
         [protocols.kv_replication]\nleader = 1\n[protocols.lamport]\n[protocols.lottery]\nagencies = 1\n",
        addrs[0]
    );
    let peer = "[peers]\n0 = \"127.0.0.1:1\"\n";
    let broker = format!(
        "{peer}[[listeners]]\naddr = \"{}\"\n[protocols.board]\nrole = \"broker\"\nservers = [0]\n\
         [protocols.bully]\n[protocols.berkeley]\nservers = [0, 1]\n",
        addrs[1]
    );
    let proxy = format!(
        "{peer}[[listeners]]\naddr = \"{}\"\n[[listeners]]\naddr = \"{}\"\ngateway = \"nats\"\n\
         [protocols.board]\nrole = \"proxy\"\n",
        addrs[2], addrs[3]
    );
    let mut nodes = Vec::new();
    for (name, config, addr) in
        [("all", all, addrs[0]), ("broker", broker, addrs[1]), ("proxy", proxy, addrs[3])]
    {
        let path = dir.path().join(name).with_extension("toml");
        fs::write(&path, format!("[node]\nid = 1\nconsole = false\n{config}")).expect("a config");
        let node = Node::spawn(&path, &dir.path().join(name), None);
        wait_until("the node listens", LONG, || {
            node.assert_runs();
            try_connect(addr).ok()
        });
        nodes.push(node);
    }
    Nodes { dir, addrs, _nodes: nodes }
}

#[test]
fn a_client_whose_output_is_lost_fails_in_words_or_without_a_reader_quietly() {
    let nodes = start();
    let [all, broker, proxy, nats] =
        &nodes.addrs.iter().map(ToString::to_string).collect::<Vec<_>>()[..]
    else {
        panic!("there are four")
    };
    let bets = nodes.dir.path().join("bets.csv");
    fs::write(&bets, "Ana,Paz,1,2000-01-01,7574\n").expect("bets");
    let bets = bets.to_str().expect("a name");
    let run_kv = ["kv", "--server", all];
    let kv = |words: &[&'static str]| [&run_kv[..], words].concat();
    let board = ["board", "--broker", broker, "--proxy", proxy, "--user", "ana"];
    let agency = vec!["agency", "--id", "1", "--central", all, "--bets", bets];
    let short = ["--seconds", "0.2", "--warmup", "0"];
    let bench = |words: &[&'static str], addr| [words, &["--server", addr], &short].concat();
    check(&[
        (kv(&["put", "k", "v"]), "", [5, 0]),
        (kv(&["get", "k", "--json"]), "", [5, 0]),
        (kv(&["get", "none"]), "", [5, 1]),
        (kv(&["info"]), "", [5, 0]),
        (kv(&["info", "--json"]), "", [5, 0]),
        (kv(&[]), "PUT\na\nb\nGET\na\n", [5, 141]),
        (vec!["clock", "--server", all], "", [3, 141]),
        (vec!["clock", "--server", all, "--json", "--calls", "3"], "", [3, 141]),
        (vec!["clock", "--server", all, "--status"], "", [3, 141]),
        (vec!["skew", "--nodes", broker], "", [3, 0]),
        (vec!["skew", "--nodes", broker, "--json"], "", [3, 0]),
        (agency.clone(), "", [3, 0]),
        ([&agency[..], &["--json", "--quiet"]].concat(), "", [3, 0]),
        ([&board[..], &["--auto"]].concat(), "", [3, 141]),
        ([&board[..], &["--json"]].concat(), "send hello\n", [3, 141]),
        (bench(&["bench", "kv"], all), "", [5, 0]),
        (bench(&["bench", "kv", "--json"], all), "", [5, 0]),
        (bench(&["bench", "board"], nats), "", [5, 0]),
    ]);
    // Bets are sent whether somebody reads of it or not.
    let stored = fs::read_to_string(nodes.dir.path().join("data/bets.csv")).expect("they are kept");
    assert_eq!(stored, "1,Ana,Paz,1,2000-01-01,7574\n");
}

#[test]
fn a_file_that_is_not_whole_is_told_beside_the_verdict() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("a name").to_string();
    let (trace, taken) = (path("trace.jsonl"), path("taken"));
    fs::write(&taken, "").expect("a file where a folder is to be");
    let violated = "configs/sim/kv-linearizable.toml";
    let calm = "configs/sim/kv-calm.toml";
    for (words, code, says, tells) in [
        (vec![calm, "--trace", "/dev/full"], 2, "every property held", "the trace is not whole"),
        (
            vec![violated, "--seed", "15", "--trace", "/dev/full"],
            2,
            "linearizable is violated",
            "not whole",
        ),
        (vec![violated, "--seed", "15", "--save", &taken], 0, "  not saved: cannot save", ""),
        (vec![calm, "--trace", "/no/such/folder/file"], 2, "", "No such file"),
    ] {
        let shrink = if words.contains(&"--save") { &[][..] } else { &["--no-shrink"] };
        let words = [&["sim"], &words[..], shrink].concat();
        let output = run(&words, "", Stdio::piped());
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        assert!(text(&output.stdout).contains(says), "{words:?}: {}", text(&output.stdout));
        assert!(text(&output.stderr).contains(tells), "{words:?}: {}", text(&output.stderr));
    }
    let words = ["sim", violated, "--seed", "15", "--save", &taken, "--json"];
    let object: serde_json::Value =
        serde_json::from_slice(&run(&words, "", Stdio::piped()).stdout).expect("one object");
    let failure = &object["failures"][0];
    let again = failure["replay"].as_str().expect("a command");
    assert_eq!(again, format!("node sim {violated} --seeds 15..15"));
    assert!(failure["unsaved"].as_str().is_some_and(|why| why.contains("--save")), "{failure}");
    // The command that is told finds it again.
    let again: Vec<&str> = again.split(' ').skip(1).chain(["--no-shrink"]).collect();
    let output = run(&again, "", Stdio::piped());
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("seed 15: linearizable is violated"));
    assert!(run(&["sim", calm, "--trace", &trace], "", Stdio::null()).status.success());
    let output = run(&["explain", &trace, "-o", "/dev/full"], "", Stdio::piped());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/dev/full: No space left"), "{output:?}");
}

#[test]
fn what_cannot_be_told_on_standard_error_is_no_reason_to_panic() {
    for (words, code) in [(&["check", "no such file"][..], 1), (&["sim", "none"], 2), (&[], 2)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
        let status = command.args(words).stdout(Stdio::null()).stderr(full()).status();
        assert_eq!(status.expect("the binary runs").code(), Some(code), "{words:?}");
    }
}

/// A file that begins well and ends in the middle of a line, as a killed process leaves it.
fn cut(name: &Path, whole: &str, bytes: usize) -> PathBuf {
    let path = name.to_path_buf();
    let kept = whole.trim_end().len() - bytes;
    fs::write(&path, &whole.as_bytes()[..kept]).expect("a file");
    path
}

#[test]
fn a_cut_last_line_is_left_out_with_a_note() {
    let dir = tempfile::tempdir().expect("a folder");
    let trace = dir.path().join("trace.jsonl");
    let name = |path: &Path| path.to_str().expect("a name").to_string();
    let words = ["sim", "configs/sim/kv-calm.toml", "--trace", &name(&trace)];
    assert!(run(&words, "", Stdio::null()).status.success());
    let whole = fs::read_to_string(&trace).expect("a file");
    let part = dir.path().join("part.jsonl");
    let path = name(&cut(&part, &whole, 1));
    let note = format!("{path}:{}: the last line is cut off", whole.lines().count());
    for command in [&["verify"][..], &["explain", "--format", "text"]] {
        let words: Vec<&str> = command.iter().copied().chain([&path[..]]).collect();
        let output = run(&words, "", Stdio::piped());
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(&note), "{}", text(&output.stderr));
    }
    // Within a character.
    let run_line = r#"{"at":0,"kind":"run","source":"node","scenario":"x","nodes":[1]}"#;
    let accent = format!("{run_line}\n{{\"at\":1,\"node\":1,\"kind\":\"note\",\"line\":\"é");
    fs::write(&part, &accent.as_bytes()[..accent.len() - 1]).expect("a file");
    let output = run(&["explain", "--format", "text", &name(&part)], "", Stdio::piped());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    // In the middle a broken line is none that was cut off.
    fs::write(&part, format!("{run_line}\n{{\"at\":1,\n{run_line}\n")).expect("a file");
    for command in ["verify", "explain"] {
        let output = run(&[command, &name(&part)], "", Stdio::piped());
        assert_ne!(output.status.code(), Some(0), "{command}");
    }
}

/// A trace that lacks its end may lack the PUT of a value that was read.
#[test]
fn what_was_cut_off_is_not_held_against_the_store() {
    let dir = tempfile::tempdir().expect("a folder");
    let get = r#"{"at":5,"kind":"invoke","op":"1-1","client":1,"to":1,"protocol":"kv_replication","label":"{\"get\":{\"key\":\"k\"}}"}
        {"at":9,"kind":"return","op":"1-1","label":"{\"value\":{\"value\":\"v\",\"timestamp\":1}}"}"#;
    let path = dir.path().join("trace.jsonl");
    for (rest, code) in [("", 1), ("{\"at\":2,\"kind\":\"invoke\",\"op\":", 2)] {
        fs::write(&path, format!("{get}\n{rest}")).expect("a file");
        let words = ["verify", path.to_str().expect("a name"), "--property", "regular_register"];
        let output = run(&words, "", Stdio::piped());
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stdout));
    }
}

#[test]
fn a_node_that_lost_lines_goes_on_and_says_so_in_the_end() {
    let cluster = Cluster::prepare(Setup { nodes: 1, console: true, ..Setup::default() });
    let config = cluster.config_path(1);
    let run = |trace: Option<&str>, stdout: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
        command.arg("--config").arg(&config).env_remove("NODE_LOG");
        command.args(trace.iter().flat_map(|trace| ["--trace", trace]));
        let child = command.stdout(stdout).stderr(Stdio::piped()).spawn().expect("it runs");
        wait_until("the node listens", LONG, || try_connect(cluster.resp_addr(1)).ok());
        let mut client = cluster.resp(1);
        client.set("k", "v");
        client.set("k", "w");
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM)
            .expect("it is there");
        let output = child.wait_with_output().expect("it ends");
        (output.status.code(), text(&output.stderr).to_string())
    };
    let (code, told) = run(None, full().into());
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(told.matches("console lines are lost until there is room").count(), 1, "{told}");
    let (code, told) = run(None, nobody());
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("no more console lines") && !told.contains("ERROR"), "{told}");
    let (code, told) = run(Some("/dev/full"), Stdio::null());
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("the trace ends here"), "{told}");
}
