//! The lottery when things break: a central that is killed again and again, a disk that
//! fails, a disk that is full, and a thousand agencies beside one that hardly moves.
//!
//! What is random is drawn from [`SEED`], and nothing waits for time to pass.

mod common;

use common::lottery::{
    Central, Running, TextAgency, bet, bets, document, row, sends, sorted, winners_line,
};
use common::{LONG, wait_until, with_more_time};
use node_protocols::core::Rng;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SEED: u64 = 20_240_326;

/// How many requests of a kind an agency saw acknowledged.
fn acks(agency: &Running, action: &str) -> usize {
    agency.stdout().matches(&format!("action: {action} | result: success")).count()
}

fn acks_of(agencies: &[Running]) -> usize {
    let of = |agency| acks(agency, "chunk_ack_received") + acks(agency, "notify_ack_received");
    agencies.iter().map(of).sum()
}

fn draws(said: &str) -> usize {
    said.matches("action: sorteo | result: success").count()
}

#[test]
fn each_bet_is_stored_once_though_the_central_is_killed_at_twenty_moments() {
    const EACH: u32 = 400;
    const KILLS: usize = 20;
    let winning: [&[u32]; 5] = [&[1], &[7, 120], &[], &[60, 61], &[119]];
    // The sixth agency is the test itself: no draw before the last kill but one.
    let central = Central::prepare(6);
    let mut node = central.start();
    let (mut agencies, mut expected) = (Vec::new(), String::new());
    for (id, winning) in (1..).zip(winning) {
        let (path, rows) = bets(central.dir.path(), id, EACH, winning);
        expected += &rows;
        let args = ["--period-ms", "20", "--bets-per-chunk", "1"];
        let stdout = path.with_extension("out");
        agencies.push(Running::spawn(sends(id, central.native, &path, &args), stdout));
    }
    let all = 5 * (EACH as usize + 1);
    let mut rng = Rng::stream(SEED, "kills");
    for kill in 1..=KILLS {
        // One somewhere in each part of the work, the last while agencies finish.
        let (part, end) =
            if kill < KILLS { (all / KILLS, kill * all / KILLS) } else { (agencies.len(), all) };
        let moment = end - rng.below(part as u64) as usize;
        wait_until("the moment of a kill", LONG, || (acks_of(&agencies) >= moment).then_some(()));
        drop(node);
        node = central.start();
    }
    wait_until("all agencies have finished", LONG, || (acks_of(&agencies) == all).then_some(()));
    assert_eq!(draws(&node.stdout()), 0);
    assert_eq!(central.agency().ask("N{AgencyID:6};"), "ACK_NOTIFY;");
    wait_until("the draw", LONG, || (draws(&node.stdout()) > 0).then_some(()));
    drop(node);
    node = central.start();
    for ((id, agency), winning) in (1..).zip(&mut agencies).zip(winning) {
        assert_eq!(agency.wait(), Some(0), "{}", agency.stdout());
        let stdout = agency.stdout();
        assert!(stdout.contains(&winners_line(id, winning)), "{stdout}");
        assert_eq!(acks(agency, "chunk_ack_received"), EACH as usize);
    }
    let file = fs::read_to_string(central.file()).expect("bets.csv");
    assert!(file.ends_with('\n'), "no part of a row");
    assert_eq!(sorted(file), sorted(expected));
    assert_eq!(draws(&node.stdout()), 1, "over all lives");
}

/// Whether processes can be traced here.
fn has_strace() -> bool {
    let mut strace = Command::new("strace");
    strace.args(["-D", "-qq", "-e", "trace=none", "true"]).stderr(Stdio::null());
    strace.status().is_ok_and(|status| status.success())
}

#[test]
fn a_disk_that_fails_acknowledges_nothing_and_ends_the_central() {
    if !has_strace() {
        return println!("skipped: no strace");
    }
    const ALL: u32 = 12;
    let mut rng = Rng::stream(SEED, "failures");
    // Each batch is one write and one sync of either file. To find the disk full here is to have
    // taken it for emptier than it was.
    for (file, call, error, said) in [
        ("bets.csv", "write", "ENOSPC", "writing {}: No space left on device"),
        ("bets.csv", "fdatasync", "EIO", "syncing {}: Input/output error"),
        ("log", "write", "ENOSPC", "writing {}: No space left on device"),
        ("log", "fdatasync", "EIO", "syncing {}: Input/output error"),
    ] {
        let stored = rng.below(u64::from(ALL)) as usize;
        let central = Central::prepare(1);
        let path = central.file().with_file_name(file);
        let path = path.to_str().expect("text");
        let trace = central.dir.path().join("strace");
        let trace = trace.to_str().expect("text");
        // The log begins with a record of the lottery's rules.
        let when = stored + 1 + usize::from(file == "log");
        let inject = format!("inject={call}:error={error}:when={when}");
        let words = ["strace", "-D", "-f", "-qq", "-o", trace, "-P", path, "-e", &inject];
        let mut node = central.start_under(&words);
        let (bets, expected) = bets(central.dir.path(), 1, ALL, &[3]);
        let args = ["--period-ms", "20", "--bets-per-chunk", "1"];
        let command = sends(1, central.native, &bets, &args);
        let mut agency = Running::spawn(command, bets.with_extension("out"));
        assert_eq!(node.wait_exit(LONG).code(), Some(1));
        let error = format!("node: stopped: {}", said.replace("{}", path));
        assert!(node.stderr().contains(&error), "{}", node.stderr());
        assert_eq!(acks(&agency, "chunk_ack_received"), stored, "{error}");
        assert_eq!(node.stdout().matches("action: apuesta_almacenada").count(), stored, "{error}");

        let node = central.start();
        assert_eq!(agency.wait(), Some(0), "{}", agency.stdout());
        assert!(agency.stdout().contains(&winners_line(1, &[3])), "{}", agency.stdout());
        let rows: Vec<_> = expected.lines().collect();
        assert_eq!(central.rows(), rows, "what was acknowledged is there, and all is there once");
        assert_eq!(draws(&node.stdout()), 1);
    }
}

/// A small file system of its own, until this goes.
struct Mounted(PathBuf);

impl Mounted {
    /// None where mounting is not permitted.
    fn new(path: &Path) -> Option<Mounted> {
        fs::create_dir(path).expect("a folder for the test");
        mount("size=1m", path).then(|| Mounted(path.into()))
    }

    fn grow(&self) {
        assert!(mount("remount,size=8m", &self.0), "what was mounted can be mounted anew");
    }
}

fn mount(options: &str, path: &Path) -> bool {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).stderr(Stdio::null());
    mount.status().is_ok_and(|status| status.success())
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Also while a node has files open there.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

const FULL: &str = "the disk is full: make room, then send again";

#[test]
fn a_full_disk_puts_bets_off_until_there_is_room() {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let path = dir.path().join("small");
    let Some(disk) = Mounted::new(&path) else {
        return println!("skipped: no permission to mount");
    };
    let central = Central::prepare_in(dir, path.join("data"), 2);
    let mut node = central.start();
    let mut text = central.agency();
    let refused = format!("E{{{FULL}}};");
    let mut expected = Vec::new();
    // Large messages as long as they fit, then single bets.
    for per_message in [70, 1] {
        loop {
            let first = expected.len() as u32;
            let documents: Vec<_> = (first + 1..=first + per_message).collect();
            let rows = documents.iter().map(|document| bet(1, *document, 7));
            match text.ask(&format!("B{};", rows.collect::<Vec<_>>().join(","))) {
                answer if answer == refused => break,
                answer => assert_eq!(answer, "ACK_CHUNK;"),
            }
            expected.extend(documents.iter().map(|document| row(1, *document, 7)));
            assert!(expected.len() < 100_000, "the disk is full at some time");
        }
    }
    assert!(expected.len() > 5_000, "{} bets", expected.len());
    assert_eq!(text.ask("N{AgencyID:1};"), refused);
    assert_eq!(text.ask("Q{AgencyID:1};"), "W;", "what needs no room goes on");
    assert!(central.rows() == expected, "what was acknowledged, and nothing else");

    let (bets, more) = bets(central.dir.path(), 2, 300, &[3]);
    let run = |args: &[&str]| {
        let mut command = sends(2, central.native, &bets, args);
        command.env("NODE_LOG", "warn");
        Running::spawn(command, bets.with_extension("out"))
    };
    let fail = format!(
        "action: chunk_ack_received | result: fail | client_id: 2 | chunk_id: 1 | error: {FULL} (tried for "
    );
    with_more_time(200, |ms| {
        let mut gives_up = run(&["--timeout-ms", &ms.to_string()]);
        assert_eq!(gives_up.wait(), Some(3));
        let said = gives_up.stdout();
        if said.contains(&fail) { Ok(()) } else { Err(said) }
    });

    // A restart changes nothing.
    drop((text, node));
    node = central.start();
    text = central.agency();
    let one = format!("B{};", bet(1, 900_000, 7574));
    assert_eq!(text.ask(&one), refused);
    assert!(central.rows() == expected);

    let mut waits = run(&["--period-ms", "20"]);
    let failed = || node.stdout().matches(&format!("result: fail | error: {FULL}")).count();
    let before = failed();
    wait_until("the agency tries again", LONG, || (failed() >= before + 2).then_some(()));
    disk.grow();
    assert_eq!(text.ask(&one), "ACK_CHUNK;");
    assert_eq!(text.ask("N{AgencyID:1};"), "ACK_NOTIFY;");
    assert_eq!(waits.wait(), Some(0), "{}", waits.stdout());
    assert!(waits.stdout().contains(&winners_line(2, &[3])), "{}", waits.stdout());
    assert_eq!(text.ask("Q{AgencyID:1};"), "R{PlayerDocID:900000};");
    node.assert_runs();

    expected.push(row(1, 900_000, 7574));
    expected.extend(more.lines().map(str::to_owned));
    let all = sorted(expected.join("\n"));
    for _ in 0..2 {
        assert!(sorted(central.rows().join("\n")) == all, "each bet is there once");
        drop(node);
        node = central.start();
        assert_eq!(central.agency().ask("Q{AgencyID:1};"), "R{PlayerDocID:900000};");
    }
    assert_eq!(draws(&node.stdout()), 1);
    drop((node, disk));
}

#[test]
fn a_thousand_agencies_at_once_beside_a_slow_one() {
    const AGENCIES: u32 = 1_000;
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).expect("it is allowed");
    // The last is the slow one.
    let central = Central::prepare(AGENCIES + 1);
    let node = central.start();
    let number = |id: u32, place: u32| if (id + place).is_multiple_of(3) { 7_574 } else { place };
    let mut slow = central.agency();
    let message = format!("B{};N{{AgencyID:{}}};", bet(AGENCIES + 1, 1, 5), AGENCIES + 1);
    let (sent, mut rest) = message.split_at(10);
    slow.send(sent);
    let mut agencies: Vec<_> = (1..=AGENCIES).map(|id| (id, central.agency())).collect();
    // All ask before any answer is read, and the slow one sends one more byte.
    let mut all = |agencies: &mut [(u32, TextAgency)],
                   ask: &dyn Fn(u32) -> String,
                   answer: &dyn Fn(u32) -> String| {
        for (id, agency) in &mut *agencies {
            agency.send(&ask(*id));
        }
        let (byte, after) = rest.split_at(1);
        slow.send(byte);
        rest = after;
        for (id, agency) in agencies {
            assert_eq!(agency.answer(), answer(*id), "agency {id}");
        }
    };
    for round in 0..2 {
        let places = move || 3 * round..3 * round + 3;
        let ask = |id| {
            let bets: Vec<_> =
                places().map(|place| bet(id, document(id, place), number(id, place))).collect();
            format!("B{};", bets.join(","))
        };
        all(&mut agencies, &ask, &|_| "ACK_CHUNK;".into());
    }
    let query = |id| format!("Q{{AgencyID:{id}}};");
    all(&mut agencies, &|id| format!("N{{AgencyID:{id}}};"), &|_| "ACK_NOTIFY;".into());
    all(&mut agencies, &query, &|_| "W;".into());
    assert_eq!(draws(&node.stdout()), 0);
    slow.send(rest);
    assert_eq!([slow.answer(), slow.answer()], ["ACK_CHUNK;", "ACK_NOTIFY;"]);
    let winners = |id| {
        let won = (0..6).filter(|place| number(id, *place) == 7_574);
        let won: Vec<_> =
            won.map(|place| format!("{{PlayerDocID:{}}}", document(id, place))).collect();
        format!("R{};", won.join(","))
    };
    for (id, agency) in &mut agencies {
        agency.send(&query(*id));
    }
    for (id, agency) in &mut agencies {
        assert_eq!(agency.answer(), winners(*id), "agency {id}");
    }
    assert_eq!(draws(&node.stdout()), 1);
    let (mut rows, mut expected) = (central.rows(), Vec::new());
    for id in 1..=AGENCIES {
        expected.extend((0..6).map(|place| row(id, document(id, place), number(id, place))));
    }
    expected.push(row(AGENCIES + 1, 1, 5));
    rows.sort_unstable();
    expected.sort_unstable();
    assert!(rows == expected, "each bet is there once");
}
