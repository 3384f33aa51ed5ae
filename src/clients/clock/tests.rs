//! `node clock` from its arguments to its lines and exit codes, against fake nodes.

use super::*;
use crate::client::testing::{Answer, FakeNode, LONG_MS, with_more_time};
use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    clock: ClockArgs,
}

fn run_at(server: &str, args: &str) -> (String, Result<(), (u8, String)>) {
    run_for(LONG_MS, server, args)
}

fn run_for(timeout_ms: u64, server: &str, args: &str) -> (String, Result<(), (u8, String)>) {
    let timeout_ms = timeout_ms.to_string();
    let words = ["clock", "--server", server, "--timeout-ms", &timeout_ms];
    let words = words.into_iter().chain(args.split_whitespace());
    let args = Cli::try_parse_from(words).unwrap().clock;
    let mut out = Vec::new();
    let ended = run_with(&args, &mut out);
    (
        String::from_utf8(out).unwrap(),
        ended.map_err(|failure| (failure.exit(), failure.to_string())),
    )
}

/// A node with a clock, which answers 42.
fn honest() -> FakeNode {
    let mut clock = LamportClock::default();
    FakeNode::start_encoded(move |body| {
        let reply = match postcard::from_bytes(body).unwrap() {
            Request::Number { clock: sent } => match clock.observe(sent) {
                Ok(_) => {
                    clock.tick();
                    Reply::Number { number: 42, clock: clock.tick() }
                }
                Err(jump) => Reply::Refused { reason: format!("\u{1b}[31m{jump}") },
            },
            Request::Status {} => Reply::Status(Status {
                process: node_protocols::core::NodeId(7),
                clock: clock.value(),
                calls: 3,
                answered: 2,
                timed_out: 1,
                served: 9,
            }),
        };
        Answer::Encoded(postcard::to_allocvec(&reply).unwrap())
    })
}

/// A node that gives every request the same answer.
fn answering(reply: &Reply) -> FakeNode {
    let reply = postcard::to_allocvec(reply).unwrap();
    FakeNode::start_encoded(move |_| Answer::Encoded(reply.clone()))
}

#[test]
fn a_call_shows_both_clocks_at_each_step_and_the_next_goes_on_from_there() {
    let at = honest().addr.to_string();
    let (out, ended) = run_at(&at, "--calls 2");
    assert_eq!(ended, Ok(()));
    assert_eq!(
        out,
        format!(
            "[1] I call {at} for a number\n[4] node 7 sends 42\n[5] I receive it: max(1, 4) + 1\n\
             [6] I call {at} for a number\n[9] node 7 sends 42\n[10] I receive it: max(6, 9) + 1\n"
        )
    );
}

#[test]
fn json_has_an_object_a_line_and_the_nodes_clock_follows_one_that_is_ahead() {
    let at = honest().addr.to_string();
    let (out, ended) = run_at(&at, "--json --clock 999");
    assert_eq!(ended, Ok(()));
    let line: serde_json::Value = serde_json::from_str(out.trim_end()).unwrap();
    let expected = serde_json::json!({
        "call": 1, "server": at, "node": 7, "number": 42,
        "sent": 1000, "answered": 1003, "received": 1004,
    });
    assert_eq!(line, expected);
}

#[test]
fn status_shows_the_nodes_clock_and_calls() {
    let at = honest().addr.to_string();
    let (out, ended) = run_at(&at, "--status");
    assert_eq!(ended, Ok(()));
    assert_eq!(out, "[0.7] 3 calls made, 2 answered, 1 given up; 9 served\n");
    let (out, _) = run_at(&at, "--status --json");
    assert_eq!(
        out,
        "{\"process\":7,\"clock\":0,\"calls\":3,\"answered\":2,\"timed_out\":1,\"served\":9}\n"
    );
}

#[test]
fn a_refused_clock_is_told_escaped() {
    let at = honest().addr.to_string();
    let (out, ended) = run_at(&at, "--clock 5000000000");
    assert_eq!(out, format!("[5000000001] I call {at} for a number\n"));
    let reason = "its Lamport value 5000000001 is too far above the local 0";
    assert_eq!(ended, Err((1, format!("the node refuses the call: \\u{{1b}}[31m{reason}"))));
}

#[test]
fn an_answer_whose_clock_cannot_be_true_is_told() {
    for untrue in [1, u64::MAX] {
        let node = answering(&Reply::Number { number: 1, clock: LamportTime(untrue) });
        let (_, ended) = run_at(&node.addr.to_string(), "");
        let told = format!("the answer's clock, {untrue}, cannot be true: the call's was 1");
        assert_eq!(ended, Err((4, told)));
    }
}

#[test]
fn whoever_is_no_node_or_does_not_answer_is_told() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (out, ended) = run_at(&nobody.to_string(), "");
    assert_eq!(out, "");
    let hint = "connection refused (is the node running there?)";
    assert_eq!(ended, Err((3, format!("{nobody}: {hint}"))));

    let silent = FakeNode::start_encoded(|_| Answer::Silence).addr;
    with_more_time(30, |ms| {
        let (_, ended) = run_for(ms, &silent.to_string(), "");
        let told = Err((3, format!("{silent}: no answer within {ms} ms")));
        if ended == told { Ok(()) } else { Err(format!("{ended:?}")) }
    });

    let confused = answering(&Reply::Refused { reason: String::new() }).addr.to_string();
    let (_, ended) = run_at(&confused, "--status");
    assert_eq!(ended.unwrap_err().0, 3);

    let (_, ended) = run_at("nowhere", "");
    assert_eq!(ended.unwrap_err().0, 2);
}
