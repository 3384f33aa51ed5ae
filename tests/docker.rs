//! The scripts for containers: the compose file as text, everywhere; the image, the store, an
//! election, the lottery and the echo server in containers, where there is an engine.
//!
//! The second has a project and an image of its own, so it neither meets nor touches others, and
//! leaves nothing behind, whatever happens.

mod common;

use common::{LONG, wait_until};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A cold build on a busy machine; only a failure waits this long.
const BUILD: Duration = Duration::from_secs(3_600);
/// The slowest step of the demo has two minutes of its own.
const DEMO: Duration = Duration::from_secs(2_000);

fn script(name: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("scripts").join(name));
    command.current_dir(root).env("NODE", env!("CARGO_BIN_EXE_node"));
    command.env_remove("COMPOSE_PROJECT_NAME").env_remove("NODE_LOG");
    command
}

/// Runs it to its end, which may come with [`Signal::TERM`] at the deadline.
#[track_caller]
fn run(command: &mut Command, deadline: Duration) -> Output {
    let said = tempfile::tempdir().expect("a folder for the output");
    let (out, err) = (said.path().join("out"), said.path().join("err"));
    let file = |path| fs::File::create(path).expect("a file for output");
    command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err)).process_group(0);
    let mut child = command.spawn().expect("it is there");
    let read = |path| fs::read(path).expect("what it said");
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_until("it ends", deadline, || child.try_wait().expect("it is our child"))
    }));
    let status = ended.unwrap_or_else(|_| {
        let _ = kill_process_group(Pid::from_child(&child), Signal::TERM);
        let stderr = String::from_utf8_lossy(&read(&err)).into_owned();
        panic!("{command:?} did not end within {deadline:?}: {stderr}");
    });
    Output { status, stdout: read(&out), stderr: read(&err) }
}

#[track_caller]
fn succeed(command: &mut Command, deadline: Duration) -> String {
    let output = run(command, deadline);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout
}

fn works(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Past the capture of tests that pass, so that it is seen what did not run.
fn skip(why: &str) {
    #[expect(clippy::disallowed_methods, reason = "what tests print is not shown when they pass")]
    writeln!(io::stdout(), "skipped: {why}").expect("standard output");
}

/// What the engine still has of a project: (what, its id). None when it does not say.
fn left(project: &str) -> Option<Vec<(&'static str, String)>> {
    let label = format!("label=com.docker.compose.project={project}");
    let mut found = Vec::new();
    for (kind, how) in [("container", "-aq"), ("volume", "-q"), ("network", "-q")] {
        let list = Command::new("docker").args([kind, "ls", how, "--filter", &label]).output();
        let list = list.ok().filter(|list| list.status.success())?;
        let ids = String::from_utf8_lossy(&list.stdout).into_owned();
        found.extend(ids.lines().map(|id| (kind, id.to_string())));
    }
    Some(found)
}

/// Removes the image, and what the script has left of the project, when this goes.
struct Own {
    image: String,
    project: String,
}

impl Drop for Own {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (kind, id) in left(&self.project).unwrap_or_default() {
                let force: &[&str] = if kind == "container" { &["-f"] } else { &[] };
                let _ = Command::new("docker").args([kind, "rm"]).args(force).arg(id).output();
            }
        }
        let _ = Command::new("docker").args(["image", "rm", &self.image]).output();
    }
}

#[test]
fn every_scenario_runs_in_containers() {
    if !works("docker", &["info"]) {
        return skip("no engine");
    }
    if !works("docker", &["compose", "version"]) && !works("docker-compose", &["version"]) {
        return skip("no Docker Compose");
    }
    let name = format!("node-test-{}", std::process::id());
    let own = Own { image: format!("{name}:test"), project: name };
    // A build for development, without what debuggers need: a release takes minutes.
    let mut build = script("docker-image.sh");
    build.env("CARGO_PROFILE_DEV_DEBUG", "0").args(["-p", "dev", "-t", &own.image]);
    succeed(&mut build, BUILD);

    let dir = tempfile::tempdir().expect("a folder for the test");
    let demo = |scenario: &str, nodes: &str| {
        let mut demo = script("docker-demo.sh");
        demo.env("COMPOSE_PROJECT_NAME", &own.project).args(["-i", &own.image, "-o"]);
        succeed(demo.arg(dir.path().join(scenario)).args([scenario, nodes]), DEMO)
    };
    let said = demo("kv", "3");
    assert!(said.contains("\n== done: nothing was lost\n"), "{said}");
    let said = demo("election", "4");
    assert!(said.contains("\n== done: node 3 took over from node 4, and gave way"), "{said}");
    let said = demo("lottery", "3");
    assert!(said.contains("\n== done: 3000 bets were stored once, and the right ones"), "{said}");
    let said = demo("board", "3");
    assert!(
        said.contains("\n== done: 40 messages were published, and the coordinator was"),
        "{said}"
    );
    if works("busybox", &["true"]) {
        let said = demo("echo", "1");
        let tested = |result| format!("\naction: test_echo_server | result: {result}\n");
        let (there, gone) = said.split_once("\n== the server is told to stop").expect("both");
        assert!(there.ends_with(&tested("success")), "{said}");
        assert!(gone.contains(&tested("fail")), "{said}");
    } else {
        skip("no busybox: the echo server is not asked");
    }
    assert_eq!(left(&own.project), Some(vec![]), "the script removes what it made");
}

/// The lines of one service.
fn service<'a>(compose: &'a str, name: &str) -> Vec<&'a str> {
    let lines = compose.lines().skip_while(|line| *line != format!("  {name}:")).skip(1);
    lines.take_while(|line| line.starts_with("    ")).map(str::trim).collect()
}

#[test]
fn a_compose_file_has_one_service_for_each_config() {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let configs = dir.path().join("five");
    succeed(script("generate-kv.sh").args(["-n", "5", "-o"]).arg(&configs), LONG);
    // One node keeps nothing, and takes long to stop.
    let second = configs.join("node-2.toml");
    let text = fs::read_to_string(&second).expect("its config");
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("data_dir")).collect();
    fs::write(&second, text.join("\n") + "\n[limits]\ndrain_ms = 60_500\n").expect("a config");
    succeed(script("compose.sh").arg("-p").arg(&configs), LONG);

    let out = configs.join("docker");
    let read = |name: &str| fs::read_to_string(out.join(name)).expect("it is written");
    let compose = read("docker-compose.yml");
    for id in 1..=5 {
        let lines = service(&compose, &format!("node-{id}"));
        let has = |line: &str| lines.contains(&line);
        assert!(has(&format!("- \"./node-{id}.toml:/node.toml:ro\"")), "{compose}");
        assert!(has(&format!("- \"127.0.0.1:{0}:{0}\"", 10096 + id)), "{compose}");
        assert!(has("restart: \"no\""), "{compose}");
        // Longer than the 5 s and 60.5 s of the nodes' own.
        let grace = if id == 2 { "stop_grace_period: 66s" } else { "stop_grace_period: 10s" };
        assert!(has(grace), "{compose}");
        assert_eq!(has(&format!("- \"data-{id}:/data\"")), id != 2, "{compose}");
        let config = read(&format!("node-{id}.toml"));
        assert_eq!(config.contains("\ndata_dir = \"/data\"\n"), id != 2, "{config}");
        assert!(config.contains(&format!("\naddr = \"0.0.0.0:{}\"\n", 12096 + id)), "{config}");
        // Each peer is at the address of its service, in the port of its own config.
        for peer in (1..=5).filter(|peer| *peer != id) {
            let address = service(&compose, &format!("node-{peer}"));
            let address = address.iter().find_map(|line| line.strip_prefix("ipv4_address: "));
            let address = address.expect("every service has one");
            let line = format!("\n{peer} = \"{address}:{}\"", 10096 + peer);
            assert!(config.contains(&line), "no {line} in {config}");
        }
    }

    // A peer whose config is missing would never be there.
    fs::remove_file(configs.join("node-5.toml")).expect("it was there");
    let output = run(script("compose.sh").arg(&configs), LONG);
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("node 1 has a peer 5"), "{stderr}");
}

#[test]
fn agencies_and_their_bets_are_mounted_read_only() {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let configs = dir.path().join("two");
    succeed(script("generate-lottery.sh").args(["-n", "2", "-o"]).arg(&configs), LONG);
    // Without the bets the engine would mount a folder.
    let output = run(script("compose.sh").arg(&configs), LONG);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("generate-bets.sh"), "{stderr}");

    let bets = configs.join("bets");
    succeed(script("generate-bets.sh").args(["-n", "2", "-b", "5", "-o"]).arg(&bets), LONG);
    succeed(script("compose.sh").arg(&configs), LONG);
    let out = configs.join("docker");
    let read = |name: &str| fs::read_to_string(out.join(name)).expect("it is written");
    let compose = read("docker-compose.yml");
    let central = service(&compose, "node-3");
    let address = central.iter().find_map(|line| line.strip_prefix("ipv4_address: "));
    let address = address.expect("every service has one");
    for id in 1..=2 {
        let lines = service(&compose, &format!("node-{id}"));
        let mounts: Vec<_> = lines.iter().filter(|line| line.contains(":/")).collect();
        let bets = bets.canonicalize().expect("it is there").join(format!("agency-{id}.csv"));
        let expected = [
            format!("- \"./node-{id}.toml:/node.toml:ro\""),
            format!("- \"{}:/bets.csv:ro\"", bets.display()),
        ];
        assert_eq!(mounts, expected.iter().collect::<Vec<_>>(), "{compose}");
        let config = read(&format!("node-{id}.toml"));
        assert!(config.contains("\nbets = \"/bets.csv\"\n"), "{config}");
        assert!(config.contains(&format!("\n3 = \"{address}:10403\"")), "{config}");
        let addr = format!("\naddr = \"0.0.0.0:{}\"\n", 10_400 + id);
        assert!(config.contains(&addr) && !config.contains("data_dir"), "{config}");
    }
    assert!(central.contains(&"- \"data-3:/data\""), "{compose}");
}
