//! `node bench board` against fake NATS servers.

use super::*;
use crate::client::testing::{LONG_MS, raw_server, with_more_time};
use crate::clients::bench::{BenchArgs, BenchCommand};
use clap::Parser;
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    bench: BenchArgs,
}

fn parse(args: &str) -> Result<BoardBenchArgs, clap::Error> {
    let words = ["bench", "board"].into_iter().chain(args.split_whitespace());
    match Cli::try_parse_from(words)?.bench.command {
        BenchCommand::Board(args) => Ok(args),
        other => panic!("{other:?}"),
    }
}

/// A run that ends when the server ends it, or at its own timeout; its report as JSON.
fn bench(server: SocketAddr, args: &str) -> (Exit, Value) {
    bench_for(3_600.0, server, args)
}

fn bench_for(seconds: f64, server: SocketAddr, args: &str) -> (Exit, Value) {
    let common = format!("--server {server} --seconds {seconds} --warmup 0 --subscribers 2 --json");
    let timeout =
        if args.contains("--timeout-ms") { "".into() } else { format!("--timeout-ms {LONG_MS}") };
    let mut out = Vec::new();
    let args = parse(&format!("{common} {args} {timeout}")).unwrap();
    let exit = run_with(&args, false, &mut out, &mut Vec::new()).unwrap();
    (exit, serde_json::from_slice(&out).unwrap())
}

/// A run to its end, in which each subscriber got ten messages: longer when the machine has no time
/// for it.
fn bench_whole(server: SocketAddr, args: &str) -> (Exit, Value) {
    with_more_time(100, |ms| {
        let (exit, report) = bench_for(ms as f64 / 1e3, server, args);
        assert_eq!(report["whole"], true, "{report}");
        let is_enough = report["deliveries"].as_u64().is_some_and(|deliveries| deliveries >= 20);
        if is_enough { Ok((exit, report)) } else { Err(report.to_string()) }
    })
}

fn first_error<'a>(report: &'a Value, kind: &str) -> &'a str {
    report["errors"][kind]["first"].as_str().unwrap_or_else(|| panic!("{report}"))
}

/// Ends a run.
const ENOUGH: &[u8] = b"-ERR 'enough'\r\n";

const INFO: &str = "INFO {\"server_name\":\"fake\\u001b\",\"version\":\"1\",\"more\":[{}]}\r\n";

/// A server with one topic. What it does with the payload of each publication is `deliver`'s: it
/// gets the publication's number, counted from 0, and says what each subscriber is sent.
fn server(deliver: impl FnMut(u64, &[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let subscribers: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let deliver = Arc::new(Mutex::new((0, deliver)));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (subscribers, deliver) = (Arc::clone(&subscribers), Arc::clone(&deliver));
            thread::spawn(move || serve(stream.unwrap(), &subscribers, &deliver));
        }
    });
    addr
}

fn serve(
    mut stream: TcpStream,
    subscribers: &Mutex<Vec<TcpStream>>,
    deliver: &Mutex<(u64, impl FnMut(u64, &[u8]) -> Vec<u8>)>,
) -> Option<()> {
    stream.set_nodelay(true).unwrap();
    stream.write_all(INFO.as_bytes()).ok()?;
    let mut input = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while input.read_line(&mut line).ok()? > 0 {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            // As servers do, it asks back at once.
            ["PING"] => stream.write_all(b"PING\r\nPONG\r\n").ok()?,
            ["SUB", "bench", "1"] => subscribers.lock().unwrap().push(stream.try_clone().unwrap()),
            ["PUB", "bench", length] => {
                let mut payload = vec![0; length.parse::<usize>().unwrap() + 2];
                input.read_exact(&mut payload).ok()?;
                let mut deliver = deliver.lock().unwrap();
                let number = deliver.0;
                deliver.0 += 1;
                let said = deliver.1(number, &payload[..payload.len() - 2]);
                for mut subscriber in &*subscribers.lock().unwrap() {
                    // One may have gone at the end.
                    let _ = subscriber.write_all(&said);
                }
            }
            ["PONG"] => {}
            _ => assert!(line.starts_with("CONNECT {\"verbose\":false"), "{line}"),
        }
        line.clear();
    }
    None
}

fn message(payload: &[u8]) -> Vec<u8> {
    [format!("MSG bench 1 {}\r\n", payload.len()).as_bytes(), payload, b"\r\n"].concat()
}

#[test]
fn every_message_comes_to_every_subscriber_once() {
    for (window, bytes, more) in [(1, 16, 0), (3, 128, 100), (100, 100_000, 0)] {
        let args = format!("--window {window} --message-bytes {bytes} --not-reading {more}");
        let (exit, report) = bench_whole(server(|_, payload| message(payload)), &args);
        assert_eq!(exit, Exit::Measured, "{report}");
        assert!(report["deliveries"].as_u64().unwrap() > 0, "{report}");
        for none in ["lost", "told_lost", "out_of_order", "in_flight"] {
            assert_eq!(report[none], 0, "{report}");
        }
        assert_eq!(report["errors"], serde_json::json!({}));
        assert_eq!(report["server_name"], "fake\\u{1b} 1");
        assert!(report["latency"]["p99_us"].as_f64().unwrap() > 0.0);
        assert!(report["generator"]["generator_cores"].as_f64().is_some());
        assert_eq!(report["server"], Value::Null);
    }
}

#[test]
fn messages_may_come_in_pieces() {
    // Each publication brings the end of the message before, and all but the end of its own; every
    // tenth brings its own whole, so that the window moves on.
    let mut rest = Vec::new();
    let cut = server(move |number, payload| {
        let mut said = std::mem::take(&mut rest);
        said.extend_from_slice(&message(payload));
        if number % 10 != 9 {
            rest = said.split_off(said.len() - 1 - number as usize % 7);
        } else if number > 100 {
            said.extend_from_slice(ENOUGH);
        }
        said
    });
    let (_, report) = bench(cut, "--window 20");
    assert!(first_error(&report, "refused").contains("enough"), "{report}");
    assert!(report["deliveries"].as_u64().unwrap() > 160, "{report}");
    assert_eq!((&report["lost"], &report["out_of_order"]), (&0.into(), &0.into()), "{report}");
}

#[test]
fn gaps_and_what_is_told_of_them_are_counted() {
    // Of ten messages two are missed, and of these the server tells.
    let misses = server(|number, payload| match number % 10 {
        2 | 3 => b"-ERR 'Permissions Violation: 1 messages missed'\r\n".to_vec(),
        _ => message(payload),
    });
    let (exit, report) = bench_whole(misses, "--window 1000");
    assert_eq!(exit, Exit::Measured, "{report}");
    let lost = report["lost"].as_u64().unwrap();
    assert!(lost > 0 && lost == report["told_lost"].as_u64().unwrap(), "{report}");
    assert_eq!(report["in_flight"], 0);
    // A gap that nobody tells of is seen all the same, at the next message.
    let silent = server(|number, payload| match number {
        1 => Vec::new(),
        50 => ENOUGH.to_vec(),
        _ => message(payload),
    });
    let (_, report) = bench(silent, "--window 4");
    assert_eq!((&report["lost"], &report["told_lost"]), (&2.into(), &0.into()), "{report}");
}

#[test]
fn even_a_whole_window_that_is_told_to_be_lost_lets_it_go_on() {
    let tells = server(|number, payload| match number % 2 {
        _ if number == 50 => ENOUGH.to_vec(),
        0 => b"-ERR 'Permissions Violation: 1 messages missed'\r\n".to_vec(),
        _ => message(payload),
    });
    let (_, report) = bench(tells, "--window 1");
    assert!(first_error(&report, "refused").contains("enough"), "{report}");
    assert_eq!((&report["lost"], &report["told_lost"]), (&50.into(), &50.into()), "{report}");
}

#[test]
fn what_comes_twice_or_late_is_counted_and_fails() {
    let twice = server(|_, payload| [message(payload), message(payload)].concat());
    let (exit, report) = bench_whole(twice, "");
    assert_eq!(exit, Exit::NothingMeasured);
    assert!(report["out_of_order"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["lost"], 0, "{report}");
}

#[test]
fn a_message_that_does_not_come_ends_the_run() {
    let report = with_more_time(100, |ms| {
        let stops =
            server(|number, payload| if number >= 5 { Vec::new() } else { message(payload) });
        let (exit, report) = bench(stops, &format!("--window 3 --timeout-ms {ms}"));
        assert_eq!(exit, Exit::NothingMeasured);
        let told = format!("has not come within {ms} ms, nor was it told to be lost");
        let words = &report["errors"]["timed_out"]["first"];
        let is_told = words.as_str().is_some_and(|words| words.contains(&told));
        let is_so = is_told && report["in_flight"].as_u64().unwrap() >= 3;
        if is_so { Ok(report) } else { Err(report.to_string()) }
    });
    assert_eq!(report["whole"], false);
    assert!(report["measured_s"].as_f64().unwrap() < 3_600.0);
}

#[test]
fn what_the_server_refuses_ends_the_run_and_is_shown_escaped() {
    let refuses = server(|_, _| b"-ERR 'no\x1b[2J'\r\n".to_vec());
    let (exit, report) = bench(refuses, "");
    assert_eq!(exit, Exit::NothingMeasured);
    let words = first_error(&report, "refused");
    assert!(words.contains("the server says no: no\\u{1b}[2J"), "{words}");
}

#[test]
fn messages_of_others_are_told_apart() {
    let mixed = server(|_, payload| [message(b"hello"), message(payload)].concat());
    let (exit, report) = bench_whole(mixed, "");
    assert_eq!(exit, Exit::Measured, "{report}");
    let words = first_error(&report, "foreign");
    assert!(words.contains("does another publish under bench?"), "{words}");
    assert_eq!((&report["lost"], &report["out_of_order"]), (&0.into(), &0.into()));
}

#[test]
fn what_cannot_be_is_told_and_never_panics() {
    type Say = fn(&[u8]) -> Vec<u8>;
    let answers: [(Say, &str); 7] = [
        (|_| vec![255; 100_000], "no NATS"),
        (|_| b"MSG bench 1 x\r\n".to_vec(), "without a length"),
        (|_| b"MSG bench 1 18446744073709551615\r\n".to_vec(), "more than 8 MiB"),
        (|_| b"MSG bench 2 0\r\n\r\n".to_vec(), "nobody asked for"),
        (|_| b"MSG other 1 0\r\n\r\n".to_vec(), "nobody asked for"),
        (|payload| message(&[&[255; 8], &payload[8..]].concat()), "not published yet"),
        (|_| "INFO ".repeat(20_000).into_bytes(), "a line without end"),
    ];
    for (say, words) in answers {
        let (exit, report) = bench(server(move |_, payload| say(payload)), "");
        assert_eq!(exit, Exit::NothingMeasured);
        let first = first_error(&report, "malformed");
        assert!(first.contains(words) && first.contains("is --server"), "{first}");
    }
    // A number of missed messages beyond all is no reason to count wrong.
    let tells = format!("-ERR 'Permissions Violation: {} messages missed'\r\n", u64::MAX).repeat(2);
    let tells = server(move |number, _| match number {
        50 => ENOUGH.to_vec(),
        _ => tells.clone().into_bytes(),
    });
    let (_, report) = bench(tells, "--window 2");
    assert!(first_error(&report, "refused").contains("enough"), "{report}");
    assert_eq!(report["told_lost"], u64::MAX, "{report}");
}

#[test]
fn no_server_and_one_of_another_kind_are_told_with_what_to_do() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (exit, report) = bench(free, "");
    assert_eq!(exit, Exit::NothingMeasured);
    let words = first_error(&report, "connect_failed");
    assert!(words.contains("refused") && words.contains("is the server there"), "{words}");
    for (greeting, kind, words) in [
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "malformed", "no NATS"),
        ("PING\r\n", "malformed", "no greeting"),
        ("INFO x\r\n", "malformed", "without a JSON object"),
        ("INFO {\"max_payload\":100}\r\n", "refused", "lower --message-bytes"),
        ("INFO {\"auth_required\":true}\r\n", "refused", "a server without"),
        ("-ERR 'full'\r\n", "refused", "says no: full"),
        ("INFO {}\r\n", "closed", "log says why"),
        ("", "connect_failed", "closed by the server"),
    ] {
        let (exit, report) = bench(raw_server(greeting.into()), "");
        assert_eq!(exit, Exit::NothingMeasured);
        let first = first_error(&report, kind);
        assert!(first.contains(words), "{greeting}: {first}");
    }
}

#[test]
fn who_says_nothing_is_not_waited_for() {
    // The kernel connects, and nobody greets.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    with_more_time(20, |ms| {
        let (exit, report) = bench(silent.local_addr().unwrap(), &format!("--timeout-ms {ms}"));
        assert_eq!(exit, Exit::NothingMeasured);
        let told = format!("no INFO within {ms} ms; is --server the NATS listener?");
        let words = &report["errors"]["timed_out"]["first"];
        let is_told = words.as_str().is_some_and(|words| words.contains(&told));
        if is_told { Ok(()) } else { Err(report.to_string()) }
    });
}

#[test]
fn the_table_shows_what_was_measured() {
    let addr = server(|_, payload| message(payload));
    let pid = std::process::id();
    let table = with_more_time(100, |ms| {
        let common = format!("--server {addr} --timeout-ms {LONG_MS} --warmup 0 --pid {pid}");
        let args = parse(&format!("{common} --seconds {}", ms as f64 / 1e3)).unwrap();
        let mut out = Vec::new();
        let exit = run_with(&args, false, &mut out, &mut Vec::new()).unwrap();
        let table = String::from_utf8(out).unwrap();
        if exit == Exit::Measured { Ok(table) } else { Err(table) }
    });
    for part in
        ["1 publisher, 10 subscribers, window 100", "(fake\\u{1b} 1)", "delivered", "errors: none"]
    {
        assert!(table.contains(part), "{table}");
    }
    assert!(table.contains("lost 0, told to be lost 0, twice or out of order 0\n"), "{table}");
    assert!(table.contains("the server: ") && table.contains("MiB resident"), "{table}");
}

/// Keeps what is written, and tells the server.
struct Seen(Vec<u8>, Arc<AtomicBool>);

impl Write for Seen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.store(true, Ordering::Relaxed);
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn progress_comes_each_second_when_wanted() {
    let seen = Arc::new(AtomicBool::new(false));
    let mut err = Seen(Vec::new(), Arc::clone(&seen));
    let addr = server(move |_, payload| match seen.load(Ordering::Relaxed) {
        true => ENOUGH.to_vec(),
        false => message(payload),
    });
    let common = format!("--server {addr} --timeout-ms {LONG_MS}");
    let args = parse(&format!("{common} --seconds 3600 --window 1")).unwrap();
    run_with(&args, true, &mut Vec::new(), &mut err).unwrap();
    let err = String::from_utf8(err.0).unwrap();
    // A busy machine may come to it a second late.
    let first = err.trim_start().split_once(" s").unwrap();
    assert!(first.0.parse::<u64>().is_ok() && first.1.contains("deliveries/s"), "{err}");
}

#[test]
fn what_cannot_be_run_is_told_before_it_starts() {
    for wrong in ["--seconds 0", "--warmup=-1", "--seconds nan", "--server x"] {
        assert!(Plan::resolve(&parse(wrong).unwrap()).is_err(), "{wrong}");
    }
    for wrong in ["--topic a*", "--message-bytes 15", "--window 0", "--pid 0", "--subscribers 0"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
    let large = parse("--window 1000000 --message-bytes 8000000").unwrap();
    assert!(Plan::resolve(&large).unwrap_err().contains("above 1 GiB"));
    let nobody = parse(&format!("--pid {}", u32::MAX)).unwrap();
    let error = run_with(&nobody, false, &mut Vec::new(), &mut Vec::new()).unwrap_err();
    assert!(error.contains("--pid"), "{error}");
}
