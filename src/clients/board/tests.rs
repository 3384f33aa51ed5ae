//! `node board` from its commands to its lines and exit codes, against a fake broker and a fake
//! proxy.

use super::*;
use crate::client::testing::{Answer, FakeNode, LONG_MS, raw_server, with_more_time};
use clap::Parser;
use node_lab::wire::{PUSHED, Welcome, push_frame_with, push_message};
use node_protocols::board::{Maybe, Reply, Request, Role};
use node_protocols::core::{Bytes, LamportTime, NodeId};
use serde_json::{Value, json};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    board: BoardArgs,
}

fn encoded(reply: &Reply<'_>) -> Vec<u8> {
    postcard::to_allocvec(reply).unwrap()
}

fn frame(sequence: u32, reply: &Reply<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_frame_with(&mut bytes, |out| {
        out.extend_from_slice(&sequence.to_le_bytes());
        out.extend(encoded(reply));
    });
    bytes
}

fn message<'a>(user: &'a str, text: &'a [u8], clock: u64) -> Reply<'a> {
    Reply::Message {
        topic: "general".into(),
        user: user.into(),
        server: Some(NodeId(2)),
        text: Bytes::new(text),
        reply: None,
        headers: None,
        member: None,
        timestamp: 1_711_142_764_123,
        clock: LamportTime(clock),
    }
}

/// A proxy that answers subscriptions, and pushes this after the last one, to who connects first.
fn proxy(pushes: Vec<u8>) -> FakeNode {
    let mut sequence = 0;
    let mut pushes = Some(pushes);
    FakeNode::start_encoded(move |body| match postcard::from_bytes(body).unwrap() {
        Request::Status {} => {
            // The first request over each connection.
            sequence = 1;
            status(Role::Proxy)
        }
        Request::Subscribe { topic, .. } => {
            sequence += 1;
            let is_last = topic == "servers";
            let mut bytes =
                frame(sequence, &Reply::Subscribed { topic, timestamp: 1, clock: LamportTime(1) });
            if is_last {
                bytes.extend(pushes.take().unwrap_or_default());
            }
            Answer::Raw(bytes)
        }
        other => panic!("no client asks a proxy for this: {other:?}"),
    })
}

/// A broker that publishes everything at this clock, and keeps what it got: user, topic, text,
/// clock.
fn broker(clock: u64) -> (FakeNode, Arc<Mutex<Vec<String>>>) {
    let got = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&got);
    let node = FakeNode::start_encoded(move |body| match postcard::from_bytes(body).unwrap() {
        Request::Status {} => status(Role::Broker),
        Request::Send { user, topic, text, clock: sent, .. } => {
            let text = String::from_utf8_lossy(&text);
            kept.lock().unwrap().push(format!("{user} {topic} {text} {}", sent.0));
            let (server, timestamp) = (NodeId(1), 1_711_142_764_000);
            Answer::Encoded(encoded(&Reply::Sent { server, timestamp, clock: LamportTime(clock) }))
        }
        other => panic!("no client asks a broker for this: {other:?}"),
    });
    (node, got)
}

/// What a node is, whose clock has not begun.
fn status_of(role: Role) -> Reply<'static> {
    let (pending, done, subscribers, missed) = (0, 0, 0, 0);
    let (timestamp, clock) = (0, LamportTime(0));
    Reply::Status { role, pending, done, subscribers, missed, timestamp, clock }
}

fn status(role: Role) -> Answer {
    Answer::Encoded(encoded(&status_of(role)))
}

/// A node that does nothing.
fn refusing(role: Role, published: Maybe) -> FakeNode {
    let (reason, clock) = ("\u{1b}[31mno".into(), LamportTime(9));
    let reply = encoded(&Reply::Error { reason, published, timestamp: 0, clock });
    FakeNode::start_encoded(move |body| match postcard::from_bytes(body).unwrap() {
        Request::Status {} => status(role),
        _ => Answer::Encoded(reply.clone()),
    })
}

fn run_with(
    args: &BoardArgs,
    input: impl Read + Send + 'static,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let connected = Connected::open(args)?;
    connected.read(args, input)?;
    connected.talk(args, out, false)
}

/// What is printed, for the one who types to read.
#[derive(Clone, Default)]
struct Printed(Arc<(Mutex<Vec<u8>>, Condvar)>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.0.lock().unwrap().write(bytes);
        self.0.1.notify_all();
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Types these lines, and goes once all of this has been printed.
struct Typist {
    lines: &'static [u8],
    wants: Vec<&'static str>,
    printed: Printed,
}

impl Read for Typist {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.lines.is_empty() {
            let has_all = |printed: &mut Vec<u8>| {
                let printed = String::from_utf8_lossy(printed);
                self.wants.iter().all(|want| printed.contains(want))
            };
            let (printed, news) = &*self.printed.0;
            let patience = Duration::from_millis(LONG_MS);
            let waited = news
                .wait_timeout_while(printed.lock().unwrap(), patience, |printed| !has_all(printed));
            // What is missing is missed by the test.
            drop(waited.unwrap());
        }
        self.lines.read(buffer)
    }
}

type Ran = (Vec<String>, Result<(), (u8, String)>);

/// Runs the client as ana on these lines.
fn run_at(broker: &str, proxy: &str, args: &str, input: &'static str) -> Ran {
    run_until(LONG_MS, [broker, proxy], args, input, &[])
}

/// The same, and the input ends when all of this has been printed.
fn run_until(
    timeout_ms: u64,
    [broker, proxy]: [&str; 2],
    args: &str,
    input: &'static str,
    wants: &[&'static str],
) -> Ran {
    let timeout_ms = timeout_ms.to_string();
    let words = ["board", "--broker", broker, "--proxy", proxy, "--user", "ana"];
    let words = words.into_iter().chain(["--timeout-ms", &timeout_ms]);
    let args = Cli::try_parse_from(words.chain(args.split_whitespace())).unwrap().board;
    let mut printed = Printed::default();
    let (lines, wants) = (input.as_bytes(), wants.to_vec());
    let typist = Typist { lines, wants, printed: printed.clone() };
    let ended = run_with(&args, typist, &mut printed);
    let out = String::from_utf8(printed.0.0.lock().unwrap().clone()).unwrap();
    (
        out.lines().map(String::from).collect(),
        ended.map_err(|failure| (failure.exit(), failure.to_string())),
    )
}

#[test]
fn what_is_sent_and_what_comes_is_shown_with_all_clocks() {
    let (broker, got) = broker(17);
    let proxy = proxy(frame(PUSHED, &message("ana", b"hello \x1b[31m", 21)));
    let (broker, proxy) = (broker.addr.to_string(), proxy.addr.to_string());
    let input = "nonsense\n\n  send   hello there \r\n";
    let (lines, ended) = run_until(LONG_MS, [&broker, &proxy], "", input, &["hello \\u{1b}"]);
    assert_eq!(ended, Ok(()));
    let got = got.lock().unwrap();
    let (text, clock) = got[0].rsplit_once(' ').unwrap();
    assert_eq!((got.len(), text), (1, "ana general hello there"));
    // The message may come before or after the answer, and before the client sends.
    assert_eq!(lines.len(), 3, "{lines:?}");
    let has = |part: &str| lines.iter().any(|line| line.ends_with(part));
    assert!(lines.contains(&format!("[{clock}] I send message 1 under general")), "{lines:?}");
    assert!(
        has("] server 1 published message 1 | 2024-03-22 21:26:04.000 | clock 17"),
        "{lines:?}"
    );
    let heard =
        "] general | 2024-03-22 21:26:04.123 | ana via server 2, clock 21: hello \\u{1b}[31m";
    assert!(has(heard), "{lines:?}");
    // Max + 1 at each receive.
    let clocks: Vec<u64> =
        lines.iter().map(|line| line[1..].split_once(']').unwrap().0.parse().unwrap()).collect();
    assert!(clocks.windows(2).all(|two| two[0] < two[1]) && clocks[2] > 21, "{lines:?}");
}

#[test]
fn json_has_an_object_a_line() {
    let (broker, _) = broker(17);
    let pushes = [
        frame(PUSHED, &message("bob", b"hi", 30)),
        frame(PUSHED, &Reply::Missed { messages: 5, timestamp: 1, clock: LamportTime(1) }),
    ];
    let proxy = proxy(pushes.concat());
    let (broker, proxy) = (broker.addr.to_string(), proxy.addr.to_string());
    let wants = ["\"message\"", "\"missed\""];
    let nodes = [&broker[..], &proxy];
    let (lines, ended) = run_until(LONG_MS, nodes, "--json", "send a\nsend b\n", &wants);
    assert_eq!(ended, Ok(()));
    let objects: Vec<Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |event: &str| objects.iter().filter(|one| one["event"] == event).collect::<Vec<_>>();
    assert_eq!(of("sent").len(), 2);
    assert_eq!((&of("sent")[1]["number"], &of("sent")[1]["server"]), (&json!(2), &json!(1)));
    let heard = of("message")[0];
    assert_eq!((&heard["user"], &heard["text"]), (&json!("bob"), &json!("hi")));
    assert!(heard["received"].as_u64().unwrap() > 30);
    assert_eq!(of("missed")[0]["messages"], 5);
}

#[test]
fn what_was_not_published_is_told_and_makes_the_exit_code() {
    let proxy = proxy(Vec::new()).addr.to_string();
    for (published, told) in [
        (Maybe::No, "was not published: \\u{1b}[31mno"),
        (Maybe::Unknown, "may not have been published, and is not sent again: \\u{1b}[31mno"),
    ] {
        let broker = refusing(Role::Broker, published).addr.to_string();
        let (lines, ended) = run_at(&broker, &proxy, "", "send a\nsend b\n");
        let count = lines.iter().filter(|line| line.ends_with(told)).count();
        assert_eq!(count, 2, "{lines:?}");
        let error = "2 of 2 messages were not published, or may not have been";
        assert_eq!(ended, Err((1, error.into())));
    }
}

#[test]
fn a_broker_that_closes_is_told_and_connected_to_again_and_nothing_is_sent_twice() {
    let mut count = 0;
    let broker = FakeNode::start_encoded(move |body| {
        if let Request::Status {} = postcard::from_bytes(body).unwrap() {
            return status(Role::Broker);
        }
        count += 1;
        // It closes instead of the first answer.
        if count == 1 {
            return Answer::Close;
        }
        let (server, timestamp, clock) = (NodeId(count), 0, LamportTime(1));
        Answer::Encoded(encoded(&Reply::Sent { server, timestamp, clock }))
    });
    let (broker, proxy) = (broker.addr.to_string(), proxy(Vec::new()).addr.to_string());
    let (lines, ended) = run_at(&broker, &proxy, "--auto --count 2 --interval-ms 1", "");
    assert_eq!(ended.unwrap_err().0, 1);
    let all = lines.join("\n");
    assert!(all.contains("the broker is gone: "), "{all}");
    assert!(all.contains("message 1 may not have been published, and is not sent again"), "{all}");
    assert!(all.contains("the broker is there again"), "{all}");
    // The second request that the broker got was the second message.
    assert!(all.contains("server 2 published message 2"), "{all}");
}

/// A broker that takes one connection, and closes it with its listener.
fn leaving_broker() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        let welcome = Welcome::Accepted {
            id: NodeId(1),
            identity: 1,
            incarnation: 1,
            lamport: LamportTime::default(),
        };
        push_message(&mut bytes, &welcome);
        stream.write_all(&bytes).unwrap();
        // The greeting and the first request, which asks whether it is a broker, have been read, or
        // closing would reset the connection.
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        stream.write_all(&frame(1, &status_of(Role::Broker))).unwrap();
    });
    addr
}

#[test]
fn what_waits_for_a_broker_that_stays_away_is_given_up_at_once() {
    // One after the other they would take three times as long, however fast the machine is.
    with_more_time(300, |ms| {
        let (broker, proxy) = (leaving_broker(), proxy(Vec::new()).addr.to_string());
        let begin = Instant::now();
        let input = "send a\nsend b\nsend c\nquit\n";
        let (lines, ended) = run_until(ms, [&broker, &proxy], "", input, &[]);
        let is_at_once = begin.elapsed() < Duration::from_millis(3 * ms);
        let error = "3 of 3 messages were not published, or may not have been";
        let is_told = ended == Err((1, error.into()));
        let all = lines.join("\n");
        let is_so = is_at_once && is_told && all.contains("message 3 was not published: ");
        if is_so { Ok(()) } else { Err(format!("{ended:?} {:?} {all}", begin.elapsed())) }
    });
}

#[test]
fn a_proxy_that_goes_is_told_and_what_was_missed_may_be() {
    let (broker, _) = broker(1);
    // A frame without a sequence: the connection is of no more use.
    let proxy = proxy(vec![1, 0, 0, 0, 0]).addr.to_string();
    let nodes = [&broker.addr.to_string()[..], &proxy];
    let (lines, ended) = run_until(LONG_MS, nodes, "", "send a\n", &["the proxy is there again"]);
    assert_eq!(ended, Ok(()));
    let all = lines.join("\n");
    assert!(all.contains("the proxy is gone: "), "{all}");
    assert!(all.contains("the proxy is there again; messages may have been missed"), "{all}");
}

#[test]
fn a_clock_that_cannot_be_true_is_told_and_not_taken() {
    let (broker, _) = broker(u64::MAX);
    let proxy = proxy(Vec::new()).addr.to_string();
    let (lines, ended) = run_at(&broker.addr.to_string(), &proxy, "", "send a\n");
    assert_eq!(ended, Ok(()));
    assert!(lines[1].starts_with("[1] a clock cannot be true, and is not taken: "), "{lines:?}");
    assert!(lines[2].starts_with("[1] server 1 published message 1"), "{lines:?}");
}

/// As when the nodes have run for long.
#[test]
fn the_clients_clock_begins_where_the_nodes_stand() {
    let stands = LamportTime(1 << 40);
    let broker = FakeNode::start_encoded(move |body| {
        let reply = match (postcard::from_bytes(body).unwrap(), status_of(Role::Broker)) {
            (Request::Status {}, Reply::Status { role, pending, done, subscribers, .. }) => {
                let (missed, timestamp, clock) = (0, 0, stands);
                Reply::Status { role, pending, done, subscribers, missed, timestamp, clock }
            }
            _ => Reply::Sent { server: NodeId(1), timestamp: 0, clock: LamportTime(stands.0 + 9) },
        };
        Answer::Encoded(encoded(&reply))
    });
    let proxy = proxy(Vec::new()).addr.to_string();
    let (lines, ended) = run_at(&broker.addr.to_string(), &proxy, "", "send a\n");
    assert_eq!(ended, Ok(()));
    let all = lines.join("\n");
    assert!(all.contains(&format!("[{}] I send message 1", stands.0 + 1)), "{all}");
    assert!(all.contains(&format!("[{}] server 1 published message 1", stands.0 + 10)), "{all}");
}

#[test]
fn whoever_is_not_there_refuses_or_is_something_else_is_told_at_the_start() {
    let right = proxy(Vec::new()).addr.to_string();
    let publisher = broker(1).0.addr.to_string();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_, ended) = run_at(&nobody.to_string(), &right, "", "");
    let hint = "connection refused (is the node running there?)";
    assert_eq!(ended, Err((3, format!("the broker (--broker): {nobody}: {hint}"))));

    let stranger = raw_server(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).to_string();
    let (_, ended) = run_at(&publisher, &stranger, "", "");
    assert_eq!(ended.unwrap_err().0, 3);

    let (_, ended) = run_at(&publisher, &refusing(Role::Proxy, Maybe::No).addr.to_string(), "", "");
    assert_eq!(ended, Err((1, "the proxy (--proxy): \\u{1b}[31mno".into())));

    // Nodes of the board that have another part.
    let server = refusing(Role::Server, Maybe::No).addr.to_string();
    let (_, ended) = run_at(&server, &right, "", "");
    let told =
        format!("{server}: this node is not the broker; --broker takes the broker's address");
    assert_eq!(ended, Err((3, format!("the broker (--broker): {told}"))));
    let (_, ended) = run_at(&publisher, &server, "", "");
    let told = format!("{server}: this node is not the proxy; --proxy takes the proxy's address");
    assert_eq!(ended, Err((3, format!("the proxy (--proxy): {told}"))));

    let (_, ended) = run_at("nowhere", &right, "", "");
    assert_eq!(ended.unwrap_err().0, 2);
    for wrong in ["--user", "--user a\u{a0}b", "--topic \"", "--count 3"] {
        let words = ["board"].into_iter().chain(wrong.split(' '));
        assert!(Cli::try_parse_from(words).is_err(), "{wrong}");
    }
}
