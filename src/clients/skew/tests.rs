//! `node skew` against fake servers whose clocks are known.

use super::*;
use crate::client::testing::{Answer, FakeNode, LONG_MS, with_more_time};
use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    skew: SkewArgs,
}

fn run_at(nodes: &str, args: &str) -> (String, Result<(), (u8, String)>) {
    run_for(LONG_MS, nodes, args)
}

fn run_for(timeout_ms: u64, nodes: &str, args: &str) -> (String, Result<(), (u8, String)>) {
    let timeout_ms = timeout_ms.to_string();
    let words = ["skew", "--nodes", nodes, "--timeout-ms", &timeout_ms];
    let words = words.into_iter().chain(args.split_whitespace());
    let args = Cli::try_parse_from(words).unwrap().skew;
    let mut out = Vec::new();
    let ended = run_with(&args, &mut out);
    (
        String::from_utf8(out).unwrap(),
        ended.map_err(|failure| (failure.exit(), failure.to_string())),
    )
}

/// A server whose clock is this far ahead of the others'.
fn server(id: u32, origin: Instant, ahead_ms: i64, owed: i64) -> FakeNode {
    FakeNode::start_encoded(move |_| {
        let now = WallTime::from_millis(1_000_000_000)
            .plus(i64::try_from(origin.elapsed().as_nanos()).unwrap());
        let reply = Reply::Status {
            node: NodeId(id),
            clock: now.plus(ahead_ms * 1_000_000),
            correction: 0,
            owed,
            coordinator: (id != 3).then_some(NodeId(2)),
            rounds: 0,
            adjustments: 0,
        };
        Answer::Encoded(postcard::to_allocvec(&reply).unwrap())
    })
}

#[test]
fn the_clocks_offsets_are_found_within_the_error_that_is_told() {
    let origin = Instant::now();
    let servers =
        [server(1, origin, 500, 0), server(2, origin, -1_500, -7_000), server(3, origin, 2_000, 0)];
    let nodes = servers.map(|server| server.addr.to_string()).join(",");
    let (out, ended) = run_at(&nodes, "--json --readings 20");
    assert_eq!(ended, Ok(()));
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    for (place, true_offset) in [0.0, -2_000.0, 1_500.0].into_iter().enumerate() {
        let node = &object["nodes"][place];
        let error = (node["offset_ms"].as_f64().unwrap() - true_offset).abs();
        // What is printed is cut to whole microseconds.
        assert!(error <= node["error_ms"].as_f64().unwrap() + 0.003, "{out}");
    }
    let error = (object["largest_ms"].as_f64().unwrap() - 3_500.0).abs();
    assert!(error <= object["error_ms"].as_f64().unwrap() + 0.003, "{out}");

    let (out, ended) = run_at(&nodes, "");
    assert_eq!(ended, Ok(()));
    let lines: Vec<&str> = out.lines().collect();
    assert!(
        lines[0].starts_with("node 1             0.000 ms ± 0.000 ms; follows node 2"),
        "{out}"
    );
    assert!(lines[1].contains("owes -0.007 ms; coordinates"), "{out}");
    assert!(lines[2].ends_with("; knows no coordinator"), "{out}");
    assert!(lines[3].starts_with("largest skew "), "{out}");
}

#[test]
fn one_clock_is_not_apart_from_itself() {
    let one = server(1, Instant::now(), 0, 0).addr.to_string();
    let (out, ended) = run_at(&one, "");
    assert_eq!(ended, Ok(()));
    assert!(out.ends_with("largest skew 0.000 ms ± 0.000 ms\n"), "{out}");
}

#[test]
fn who_does_not_answer_is_told_after_the_clocks_of_the_others() {
    let silent = FakeNode::start_encoded(|_| Answer::Silence).addr.to_string();
    with_more_time(30, |ms| {
        let (out, ended) = run_for(ms, &silent, "");
        let told = format!("{silent}: no answer within {ms} ms; or leave it out with --nodes");
        let is_told = (&*out, &ended) == ("", &Err((3, told)));
        if is_told { Ok(()) } else { Err(format!("{ended:?} {out}")) }
    });

    let origin = Instant::now();
    let [one, two] = [1, 2].map(|id| server(id, origin, 0, 0).addr.to_string());
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nodes = format!("{one},{nobody},{two},{silent}");
    let refused = format!("{nobody}: connection refused (is the node running there?)");
    let (out, enough_ms) = with_more_time(100, |ms| {
        let (out, ended) = run_for(ms, &nodes, "");
        let told = format!("{silent}: no answer within {ms} ms; or leave them out with --nodes");
        let is_told = ended == Err((3, format!("{refused}\nnode skew: {told}")));
        if is_told { Ok((out, ms)) } else { Err(format!("{ended:?} {out}")) }
    });
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("node 1 ") && lines[1].starts_with("node 2 "), "{out}");
    assert!(lines[2].starts_with("largest skew "), "{out}");

    let object = with_more_time(enough_ms, |ms| {
        let (out, ended) = run_for(ms, &nodes, "--json");
        assert_eq!(ended.unwrap_err().0, 3);
        let object: serde_json::Value = serde_json::from_str(&out).unwrap();
        if object["unread"].as_array().is_some_and(|unread| unread.len() == 2) {
            Ok(object)
        } else {
            Err(out)
        }
    });
    assert_eq!(object["nodes"].as_array().unwrap().len(), 2);
    let unread = &object["unread"];
    assert_eq!(
        (&unread[0]["addr"], &unread[0]["reason"]),
        (&nobody.to_string().into(), &refused.into())
    );
    assert_eq!(unread[1]["addr"], silent);
}

#[test]
fn what_is_no_address_or_comes_twice_is_refused() {
    assert_eq!(run_at("nowhere", "").1.unwrap_err().0, 2);
    let origin = Instant::now();
    let [one, again] = [1, 1].map(|_| server(1, origin, 0, 0).addr);
    let (out, ended) = run_at(&format!("{one},{one}"), "");
    assert_eq!((&*out, ended), ("", Err((2, format!("{one} is named twice")))));
    let (out, ended) = run_at(&format!("{one},{again}"), "");
    let told = format!("{again} is node 1, which is named twice");
    assert_eq!((&*out, ended), ("", Err((2, told))));
}
