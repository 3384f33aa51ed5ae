//! `node bench kv` against fake nodes.

use super::*;
use crate::client::testing::{Answer, FakeNode, raw_server, with_more_time};
use crate::clients::bench::{BenchArgs, BenchCommand};
use clap::Parser;
use node_lab::trace::history::read;
use node_protocols::kv_replication::{Reply, Timestamp};
use node_studies::kv_replication::Store;
use node_studies::kv_replication::history::{Kind, Op, Outcome};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    bench: BenchArgs,
}

fn parse(args: &str) -> KvBenchArgs {
    let words = ["bench", "kv"].into_iter().chain(args.split_whitespace());
    match Cli::try_parse_from(words).unwrap().bench.command {
        BenchCommand::Kv(args) => args,
        other => panic!("{other:?}"),
    }
}

/// A short run; its report as JSON.
fn bench(server: SocketAddr, args: &str) -> (Exit, Value) {
    bench_for(200, server, args)
}

fn bench_for(ms: u64, server: SocketAddr, args: &str) -> (Exit, Value) {
    let seconds = ms as f64 / 1e3;
    let args = parse(&format!("--server {server} --seconds {seconds} --warmup 0 --json {args}"));
    let mut out = Vec::new();
    let exit = run_with(&args, false, &mut out, &mut Vec::new()).unwrap();
    (exit, serde_json::from_slice(&out).unwrap())
}

/// A run that shows this: longer when the machine has no time for it.
fn bench_until(
    server: SocketAddr,
    args: &str,
    shows: impl Fn(Exit, &Value) -> bool,
) -> (Exit, Value) {
    with_more_time(200, |ms| {
        let (exit, report) = bench_for(ms, server, args);
        if shows(exit, &report) { Ok((exit, report)) } else { Err(report.to_string()) }
    })
}

/// What the clients tell in a trace.
fn store(file: &Path) -> Arc<Store> {
    let text = std::fs::read(file).unwrap();
    Store::of(&read(&text[..]).unwrap())
}

fn unanswered(store: &Store) -> u64 {
    store.ops.iter().filter(|op| op.outcome == Outcome::Unknown).count() as u64
}

#[test]
fn a_closed_loop_counts_both_kinds() {
    let node = FakeNode::store();
    let args = "--connections 3 --depth 4 --put-percent 50 --keys 10 --seed 7";
    let (exit, report) = bench_until(node.addr, args, |_, report| {
        report["put"]["ops"] != 0 && report["get"]["ops"] != 0
    });
    assert_eq!(exit, Exit::Measured);
    let ops = |kind: &str| report[kind]["ops"].as_u64().unwrap();
    assert_eq!(report["ops"], ops("put") + ops("get"));
    assert_eq!(report["errors"], serde_json::json!({}));
    assert_eq!(report["parameters"]["seed"], 7);
    assert!(report["in_flight"].as_u64().unwrap() <= 12);
}

#[test]
fn a_rate_is_kept_and_what_cannot_be_sent_is_told() {
    let node = FakeNode::store();
    let (_, report) = bench(node.addr, "--connections 2 --rate 500");
    let ops = report["ops"].as_u64().unwrap();
    let rest = report["in_flight"].as_u64().unwrap() + report["unsent"].as_u64().unwrap();
    // At most one reply a connection comes after the end and before the loop sees that.
    assert!((98..=100).contains(&(ops + rest)), "{report}");
    // Nobody answers: two are in flight, the others wait, and the run still ends.
    let node = FakeNode::start(|_| Answer::Silence);
    let args = "--connections 2 --rate 500";
    let (exit, report) = bench_until(node.addr, args, |_, report| report["in_flight"] == 2);
    assert_eq!(exit, Exit::NothingMeasured);
    let due = report["parameters"]["seconds"].as_f64().unwrap() * 500.0;
    assert_eq!(report["unsent"].as_u64().unwrap(), due.round() as u64 - 2, "{report}");
}

#[test]
fn a_trace_has_every_operation_once_and_sessions_hold() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.jsonl");
    let node = FakeNode::store();
    let args = "--connections 3 --depth 2 --put-percent 50 --keys 4 --trace";
    let (_, report) = bench(node.addr, &format!("{args} {}", file.display()));
    let store = store(&file);
    assert_eq!(unanswered(&store), report["in_flight"].as_u64().unwrap());
    // Replies that are read together with the last ones in time are written, and not counted.
    let in_time = |op: &&Op| op.return_ns.is_some_and(|ns| ns < 200_000_000);
    assert_eq!(store.ops.iter().filter(in_time).count() as u64, report["ops"].as_u64().unwrap());
    let mut values = HashSet::new();
    let mut ends: HashMap<u64, u64> = HashMap::new();
    for op in &store.ops {
        assert_eq!(op.server, "7", "as the node has greeted");
        if op.op == Kind::Put {
            let value = op.value.clone().unwrap();
            assert_eq!(value.len(), 64);
            assert!(values.insert(value), "{op:?}");
        } else if op.outcome == Outcome::Ok {
            assert!(op.timestamp > 0, "{op:?}");
        }
        let returned = op.return_ns.unwrap_or(u64::MAX);
        assert!(op.invoke_ns >= std::mem::replace(ends.entry(op.client).or_default(), returned));
    }
    let first = std::fs::read_to_string(&file).unwrap();
    let first = first.lines().nth(1).unwrap();
    assert!(first.contains(r#""protocol":"kv_replication""#), "{first}");
    // A second run does not overwrite it.
    let error = run_with(
        &parse(&format!("--seconds 0.1 --trace {}", file.display())),
        false,
        &mut Vec::new(),
        &mut Vec::new(),
    );
    assert!(error.unwrap_err().contains("name a file that is new"));
}

#[test]
fn a_server_that_closes_midway_is_counted_and_dialled_again() {
    let mut count = 0;
    let node = FakeNode::start(move |_| {
        count += 1;
        match count % 5 {
            0 => Answer::Close,
            _ => Answer::Reply(Reply::PutOk { timestamp: Timestamp(count) }),
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.jsonl");
    let (exit, report) = with_more_time(500, |ms| {
        // It must be new each time.
        let _ = std::fs::remove_file(&file);
        let args = format!("--connections 2 --trace {}", file.display());
        let (exit, report) = bench_for(ms, node.addr, &args);
        let closed = report["errors"]["closed"]["count"].as_u64();
        if closed > Some(1) { Ok((exit, report)) } else { Err(report.to_string()) }
    });
    assert_eq!(exit, Exit::Measured);
    let count = |kind: &str| report["errors"][kind]["count"].as_u64().unwrap();
    assert_eq!(count("lost"), count("closed"));
    assert_eq!(unanswered(&store(&file)), count("lost") + report["in_flight"].as_u64().unwrap());
}

#[test]
fn nobody_there_ends_on_time_with_a_reason() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (exit, report) = bench_until(free, "--connections 2", |_, report| {
        report["errors"]["connect_failed"]["count"].as_u64() >= Some(2)
    });
    assert_eq!(exit, Exit::NothingMeasured);
    let failed = &report["errors"]["connect_failed"];
    assert!(failed["first"].as_str().unwrap().contains("refused"), "{report}");
}

#[test]
fn garbage_is_counted_and_never_panics() {
    let greets = raw_server(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    let malformed = |_, report: &Value| report["errors"]["malformed"]["count"] != Value::Null;
    let (exit, _) = bench_until(greets, "--connections 2", malformed);
    assert_eq!(exit, Exit::NothingMeasured);
    type Make = fn() -> Answer;
    let answers: [(Make, &str); 4] = [
        (|| Answer::Raw(vec![255; 64]), "above the limit"),
        (|| Answer::Raw(b"\x02\0\0\0ab".to_vec()), "without a sequence"),
        (|| Answer::Raw(b"\x05\0\0\0\x09\x09\x09\x09\x00".to_vec()), "to no request"),
        (|| Answer::Reply(Reply::Null {}), "does not fit"),
    ];
    for (answer, words) in answers {
        let addr = FakeNode::start(move |_| answer()).addr;
        let (exit, report) = bench_until(addr, "--connections 2", malformed);
        assert_eq!(exit, Exit::NothingMeasured);
        let first = report["errors"]["malformed"]["first"].as_str().unwrap();
        assert!(first.contains(words), "{first}");
    }
}

#[test]
fn a_reply_that_does_not_come_gives_the_connection_up() {
    let node = FakeNode::start(|_| Answer::Silence);
    with_more_time(200, |ms| {
        let args = format!("--connections 1 --timeout-ms {}", ms / 10);
        let (_, report) = bench_for(ms, node.addr, &args);
        let count = |kind: &str| report["errors"][kind]["count"].as_u64();
        let is_so = count("timed_out") >= Some(1) && count("lost") >= Some(1);
        if is_so { Ok(()) } else { Err(report.to_string()) }
    });
}

#[test]
fn the_table_shows_errors_with_their_first_words_escaped() {
    let refusal = Reply::NotApplied { reason: "full\x1b".into() };
    let node = FakeNode::start(move |_| Answer::Reply(refusal.clone()));
    let table = with_more_time(100, |ms| {
        let seconds = ms as f64 / 1e3;
        let args = parse(&format!("--server {} --seconds {seconds} --warmup 0", node.addr));
        let mut out = Vec::new();
        assert_eq!(run_with(&args, false, &mut out, &mut Vec::new()), Ok(Exit::NothingMeasured));
        let table = String::from_utf8(out).unwrap();
        if table.contains("errors: not_applied") { Ok(table) } else { Err(table) }
    });
    assert!(table.contains("the first: full\\u{1b}"), "{table}");
}

#[test]
fn progress_comes_each_second_when_wanted() {
    let node = FakeNode::store();
    with_more_time(1_200, |ms| {
        let half = ms as f64 / 2e3;
        let args = parse(&format!("--server {} --seconds {half} --warmup {half}", node.addr));
        let mut err = Vec::new();
        run_with(&args, true, &mut Vec::new(), &mut err).unwrap();
        let err = String::from_utf8(err).unwrap();
        if err.contains("ops/s") { Ok(()) } else { Err(err) }
    });
}

#[test]
fn what_cannot_be_run_is_told_before_it_starts() {
    for wrong in ["--seconds 0", "--warmup -1", "--seconds nan", "--server x"] {
        let args = parse(&wrong.replace("--warmup -1", "--warmup=-1"));
        assert!(Plan::resolve(&args).is_err(), "{wrong}");
    }
    let large = parse("--connections 10000 --depth 4096 --value-bytes 8000000");
    assert!(Plan::resolve(&large).unwrap_err().contains("above 1 GiB"));
    let many = parse("--sessions --keys 1000000 --connections 1000");
    assert!(Plan::resolve(&many).unwrap_err().contains("at most"));
}
