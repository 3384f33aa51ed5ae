//! Hostile input on every listener of a real node: it lives, goes on serving honest clients within
//! a bounded time and memory, counts each cause and tells it in a few escaped lines.

mod common;

use common::clients::{Answer, Json, Native, Resp, bulk, connect, get, ok, read_to_close, set};
use common::{Cluster, LONG, Setup, wait_until, with_more_time};
use node_protocols::core::Rng;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit, setrlimit};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MAX_GROWTH: u64 = 64 << 20;

/// The node under attack.
const VICTIM: u32 = 2;

/// Attacks node 2, a follower, while honest clients use its gateways, and checks what must hold
/// under every attack.
fn under_attack(setup: Setup, attack: impl FnOnce(&Cluster)) -> Cluster {
    let cluster = Cluster::start(setup);
    let before = cluster.node(VICTIM).rss_bytes();
    let start = Instant::now();
    let done = Arc::new(AtomicBool::new(false));
    let honest = {
        let (mut resp, mut json) = (cluster.resp(VICTIM), cluster.json(VICTIM));
        // Once answered they are accepted: the attack finds their descriptors open.
        resp.set("honest", "");
        json.ask(r#"{"get":{"key":"honest"}}"#);
        let done = done.clone();
        std::thread::spawn(move || serve_honestly(resp, json, &done))
    };
    attack(&cluster);
    let most = cluster.node(VICTIM).rss_bytes();
    done.store(true, Ordering::Relaxed);
    // Each of its waits had a deadline.
    let served = honest.join().expect("honest clients are served");
    assert!(served > 0);
    assert!(most < before + MAX_GROWTH, "{most} bytes in memory, {before} before");
    // New connections are served too.
    assert_eq!(cluster.resp(VICTIM).ask(&set(b"after", b"it")), ok());
    assert_log(&cluster, start.elapsed());
    cluster
}

/// Until told that it is done; answers how often it was served.
fn serve_honestly(mut resp: Resp, mut json: Json, done: &AtomicBool) -> u64 {
    let mut served = 0;
    // At least once after the attack has begun, and once more when it is over.
    let mut last = false;
    while !last {
        last = done.load(Ordering::Relaxed);
        let value = format!("{served}");
        resp.set("honest", &value);
        assert_eq!(resp.get("honest"), bulk(value.as_bytes()));
        let got = json.ask(r#"{"get":{"key":"honest"}}"#);
        assert_eq!(got["value"]["value"], value.as_str());
        served += 1;
    }
    served
}

/// One line a second for each cause, without raw control characters.
fn assert_log(cluster: &Cluster, elapsed: Duration) {
    let log = cluster.node(VICTIM).stderr();
    let raw = log.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(raw, None, "the log has a raw control character");
    let most = elapsed.as_secs() as usize + 1;
    for (name, _) in node_protocols::core::Counters::default().iter() {
        let lines = log.lines().filter(|line| line.contains(&format!("{name}: "))).count();
        assert!(lines <= most, "{lines} lines about {name} in {elapsed:?}");
    }
}

/// The cause was counted, and told.
#[track_caller]
fn assert_told(cluster: &Cluster, counter: &str) {
    assert!(cluster.counter(VICTIM, counter) > 0, "{counter} is counted");
    let lines = cluster.node(VICTIM).log_lines(&format!("{counter}: "));
    assert!(lines > 0, "{counter} is told: {}", cluster.node(VICTIM).stderr());
}

/// Whether the other side has closed; drops what it said.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    let closed = loop {
        match stream.read(&mut [0; 4_096]) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
            Err(_) => break true,
        }
    };
    stream.set_nonblocking(false).expect("a socket");
    closed
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::stream(seed, "noise");
    (0..len / 8).flat_map(|_| rng.next_u64().to_le_bytes()).collect()
}

/// Sends all of it, over as many connections as it takes, to a listener that hangs up at will.
fn pour(addr: SocketAddr, bytes: &[u8], times: usize) {
    for _ in 0..times {
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut stream = connect(addr);
            let mut other = stream.try_clone().expect("a descriptor");
            // Somebody must read the answers, or the node rightly stops reading.
            let reader =
                std::thread::spawn(move || std::io::copy(&mut other, &mut std::io::sink()));
            while !rest.is_empty() {
                let step = &rest[..rest.len().min(64 << 10)];
                // What is written when it hangs up counts as sent.
                rest = &rest[step.len()..];
                if stream.write_all(step).is_err() {
                    break;
                }
            }
            let _ = stream.shutdown(Shutdown::Both);
            let _ = reader.join();
        }
    }
}

#[test]
fn noise_on_every_listener() {
    let cluster = under_attack(Setup::default(), |cluster| {
        let addrs =
            [cluster.native_addr(VICTIM), cluster.resp_addr(VICTIM), cluster.json_addr(VICTIM)];
        std::thread::scope(|scope| {
            for (seed, addr) in (1..).zip(addrs) {
                scope.spawn(move || pour(addr, &noise(seed, 1 << 20), 22));
            }
        });
    });
    assert_told(&cluster, "closed_bad_handshake");
}

#[test]
fn lengths_of_4_gib() {
    let cluster = under_attack(Setup::default(), |cluster| {
        for _ in 0..50 {
            let mut greeting = connect(cluster.native_addr(VICTIM));
            greeting.write_all(&[255; 4]).unwrap();
            read_to_close(&mut greeting);
            let mut native = Native::connect(cluster.native_addr(VICTIM));
            native.stream.write_all(&[255; 4]).unwrap();
            assert!(native.frame().is_none());
            for header in
                ["*4294967295\r\n", "*2\r\n$4294967295\r\n", "*1\r\n$99999999999999999999\r\n"]
            {
                let mut resp = cluster.resp(VICTIM);
                let Answer::Error(error) = resp.ask(header.as_bytes()) else { panic!("{header}") };
                assert!(error.starts_with("ERR Protocol error: invalid "), "{error}");
                assert!(resp.try_answer().is_err(), "it is closed");
            }
        }
    });
    for counter in ["closed_bad_handshake", "closed_too_long", "closed_bad_request"] {
        assert_told(&cluster, counter);
    }
    assert_eq!(cluster.counter(VICTIM, "closed_too_long"), 50);
    assert_eq!(cluster.counter(VICTIM, "closed_bad_request"), 150);
}

#[test]
fn two_hundred_slow_connections_are_closed_in_time() {
    let limits = "greeting_timeout_ms = 500\nrequest_timeout_ms = 500".to_string();
    let cluster = under_attack(Setup { limits, ..Setup::default() }, |cluster| {
        let mut slow = Vec::new();
        for n in 0..200 {
            let (addr, begin) = match n % 4 {
                0 => (cluster.native_addr(VICTIM), &[100, 0, 0, 0][..]),
                1 => (cluster.resp_addr(VICTIM), &b"*3\r\n$3\r\nSET\r\n$500\r\n"[..]),
                2 => (cluster.json_addr(VICTIM), &b"{\"put\":{"[..]),
                _ => (cluster.resp_addr(VICTIM), &b"inline"[..]),
            };
            let mut stream = connect(addr);
            stream.write_all(begin).unwrap();
            slow.push(stream);
        }
        wait_until("all slow connections are closed", LONG, || {
            slow.retain_mut(|stream| stream.write_all(b" ").is_ok() && !is_closed(stream));
            slow.is_empty().then_some(())
        });
    });
    assert_told(&cluster, "closed_too_slow");
    // A peer's greeting may have been too slow as well.
    assert!(cluster.counter(VICTIM, "closed_too_slow") >= 200);
}

#[test]
fn two_thousand_idle_connections_cost_little_and_no_time() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("up to the hard limit");
    under_attack(Setup::default(), |cluster| {
        let mut idle = Vec::new();
        for n in 0..2_000 {
            let addr = match n % 3 {
                0 => cluster.resp_addr(VICTIM),
                1 => cluster.json_addr(VICTIM),
                _ => Native::connect(cluster.native_addr(VICTIM)).stream.peer_addr().unwrap(),
            };
            idle.push(connect(addr));
        }
        wait_until("all are accepted", LONG, || {
            (cluster.node(VICTIM).open_descriptors() > 2_000).then_some(())
        });
    });
}

#[test]
fn idle_nodes_do_not_spin() {
    let cluster = Cluster::start(Setup::default());
    let mut open: Vec<Resp> = (0..50).map(|_| cluster.resp(VICTIM)).collect();
    // Half a request, a whole one, and an end: whatever an event left behind is dealt with.
    open[0].send(b"*2\r\n$3\r\nGET");
    assert_eq!(open[1].get("none"), Answer::Null);
    open[2].stream.shutdown(Shutdown::Write).unwrap();
    assert_little_processor_time(&cluster, &[1, 2, 3]);
}

/// Each node uses less than a fifth of a second's processor time in a second, or in as long as it
/// takes to look.
fn assert_little_processor_time(cluster: &Cluster, ids: &[u32]) {
    let ticks = || ids.iter().map(|id| cluster.node(*id).cpu_ticks()).collect::<Vec<u64>>();
    let (before, start) = (ticks(), Instant::now());
    let second = Duration::from_secs(1);
    wait_until("a second passes", LONG, || (start.elapsed() >= second).then_some(()));
    let after = ticks();
    let most = 20 * (start.elapsed().as_millis() as u64).div_ceil(1_000);
    for ((id, before), after) in ids.iter().zip(before).zip(after) {
        assert!(after - before < most, "node {id} used {} ticks of 10 ms", after - before);
    }
}

#[test]
fn a_json_line_of_100_mib() {
    let cluster = under_attack(Setup::default(), |cluster| {
        let mut stream = connect(cluster.json_addr(VICTIM));
        stream.write_all(b"{\"put\":{\"key\":\"").unwrap();
        let chunk = vec![b'x'; 1 << 20];
        let sent = (0..100).take_while(|_| stream.write_all(&chunk).is_ok()).count();
        assert!(sent < 40, "{sent} MiB were taken");
        assert!(is_closed(&mut stream));
    });
    assert_told(&cluster, "closed_too_long");
}

#[test]
fn half_requests_of_many_clients_share_a_bounded_memory() {
    let cluster = under_attack(Setup::default(), |cluster| {
        let chunk = vec![b'x'; 3 << 20];
        let mut held = Vec::new();
        for _ in 0..30 {
            let mut stream = connect(cluster.json_addr(VICTIM));
            let _ = stream.write_all(&chunk);
            held.push(stream);
        }
        wait_until("the bound is kept", LONG, || {
            (cluster.counter(VICTIM, "closed_input_memory") >= 14).then_some(())
        });
    });
    assert_told(&cluster, "closed_input_memory");
}

#[test]
fn clients_that_never_read_share_a_bounded_memory() {
    let cluster = under_attack(Setup::default(), |cluster| {
        let value = vec![b'x'; 1 << 20];
        assert_eq!(cluster.resp(VICTIM).ask(&set(b"large", &value)), ok());
        let mut deaf = Vec::new();
        for _ in 0..100 {
            let mut stream = connect(cluster.resp_addr(VICTIM));
            stream.write_all(&get(b"large").repeat(20)).unwrap();
            deaf.push(stream);
        }
        wait_until("the bound is kept", LONG, || {
            (cluster.counter(VICTIM, "closed_not_reading") > 0).then_some(())
        });
    });
    assert_told(&cluster, "closed_not_reading");
}

/// What one reply needed is given back, and leaves no hole in the heap that the next does not fit.
#[test]
fn clients_that_were_served_and_are_idle_hold_little() {
    under_attack(Setup::default(), |cluster| {
        let (large, medium) = (vec![b'x'; 1 << 20], vec![b'x'; 60_000]);
        assert_eq!(cluster.resp(VICTIM).ask(&set(b"large", &large)), ok());
        assert_eq!(cluster.resp(VICTIM).ask(&set(b"medium", &medium)), ok());
        let mut idle = Vec::new();
        for _ in 0..1_500 {
            let mut client = cluster.resp(VICTIM);
            assert_eq!(client.ask(&get(b"medium")), bulk(&medium));
            idle.push(client);
        }
        for client in idle.iter_mut().take(150) {
            assert_eq!(client.ask(&get(b"large")), bulk(&large));
        }
        // As long as they are there.
        let held = cluster.node(VICTIM).rss_bytes();
        assert!(held < 12 << 20, "{held} bytes in memory");
    });
}

#[test]
fn nesting_and_forms_that_no_request_has_are_answered_with_an_error() {
    under_attack(Setup::default(), |cluster| {
        let mut json = cluster.json(VICTIM);
        let deep = 500_000;
        for line in [
            "[".repeat(deep),
            format!("{{\"put\":{}", "{\"a\":".repeat(deep)),
            format!("{{\"put\":{{\"key\":{}", "[".repeat(deep)),
            format!("{{\"get\":{{\"key\":\"k\",\"else\":{}", "[".repeat(deep)),
            "{\"put\":{\"key\":\"k\",\"value\":1e999999}}".into(),
            "{\"put\":{\"key\":\"k\"}}".into(),
            "{\"get\":{\"key\":\"k\",\"timestamp\":18446744073709551616}}".into(),
            "{\"get\":{\"key\":\"k\",\"timestamp\":-1}}".into(),
            "{\"\\u001b[31m\":{}}".into(),
            "\"\\ud800\"".into(),
            "null".into(),
        ] {
            let answer = json.ask(&line);
            let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["error"], "{}", &line[..line.len().min(60)]);
        }
        json.stream.write_all(b"{\"get\":{\"key\":\"\xff\"}}\n").unwrap();
        assert!(json.answer()["error"].is_string(), "what is no UTF-8 is no JSON");
        // A value that is no text has no form in JSON; whoever asks is told.
        assert_eq!(cluster.resp(VICTIM).ask(&set(b"binary", b"\xff\xfe")), ok());
        assert!(json.ask(r#"{"get":{"key":"binary"}}"#)["error"].is_string());
        assert_eq!(json.ask(r#"{"get":{"key":"none"}}"#), serde_json::json!({"null": {}}));
        for unfinished in ["hello", "[1]", "123", "{\"get\":{\"key\":", &"{\"a\":".repeat(1_000)] {
            let mut stream = connect(cluster.json_addr(VICTIM));
            stream.write_all(unfinished.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let answer = serde_json::from_slice::<serde_json::Value>(&read_to_close(&mut stream));
            assert!(answer.is_ok_and(|answer| answer["error"].is_string()), "{unfinished}");
        }
    });
}

/// A page of any origin can have a browser send these (Fetch, \"no-cors\"), or could if nobody
/// looked.
#[test]
fn a_web_page_writes_nothing() {
    let commands = "SET page 1\r\n*3\r\n$3\r\nSET\r\n$4\r\npage\r\n$1\r\n1\r\n";
    let object = "{\"put\":{\"key\":\"page\",\"value\":\"1\"}}\n";
    let cluster = under_attack(Setup::default(), |cluster| {
        for (addr, body) in
            [(cluster.resp_addr(VICTIM), commands), (cluster.json_addr(VICTIM), object)]
        {
            let headers =
                "Host: 127.0.0.1\r\nContent-Type: text/plain\r\nOrigin: http://page\r\n\r\n";
            for line in [
                "POST / HTTP/1.1\r\n",
                "post / HTTP/1.1\r\n",
                "\r\nPOST / HTTP/1.1\r\n",
                "GET /page HTTP/1.1\r\n",
                "PUT /page HTTP/1.1\r\n",
                "OPTIONS / HTTP/1.1\r\n",
                "SET /page HTTP/1.1\r\n",
                "PRI * HTTP/2.0\r\n\r\n",
                "",
            ] {
                let head = format!("{line}{headers}");
                // As a whole; in pieces, the body last; behind something that is fine.
                for pieces in [
                    vec![format!("{head}{body}")],
                    vec![head.clone(), body.into()],
                    head.chars().map(String::from).chain([body.into()]).collect(),
                ] {
                    let mut stream = connect(addr);
                    for piece in pieces {
                        if stream.write_all(piece.as_bytes()).is_err() {
                            break;
                        }
                    }
                    assert_eq!(read_to_close(&mut stream), b"", "{line:?}");
                }
            }
        }
        let mut resp = cluster.resp(VICTIM);
        resp.send(format!("{}POST / HTTP/1.1\r\n\r\n{commands}", "SET fine 1\r\n").as_bytes());
        assert_eq!(read_to_close(&mut resp.stream), b"+OK\r\n");
        assert_eq!(cluster.resp(VICTIM).get("page"), Answer::Null);
        assert_eq!(cluster.resp(VICTIM).get("/page"), Answer::Null);
        // Of its own commands none is taken for HTTP.
        let mut resp = cluster.resp(VICTIM);
        assert_eq!(resp.ask(b"GET fine\r\n"), bulk(b"1"));
        assert_eq!(resp.ask(b"SET fine \"POST / HTTP/1.1\"\r\n"), ok());
        assert_eq!(resp.ask(&set(b"fine", b"\r\nPOST / HTTP/1.1\r\n")), ok());
    });
    assert_told(&cluster, "closed_http");
    assert_eq!(cluster.counter(VICTIM, "closed_http"), 2 * 9 * 3 + 1);
}

#[test]
fn control_characters_reach_neither_log_nor_console() {
    let cluster = under_attack(Setup { console: true, ..Setup::default() }, |cluster| {
        let evil = "k\n2026-01-01 [INFO] forged\r\x1b[2J\x1b]0;title\x07\u{202e}\u{85}\0";
        cluster.resp(VICTIM).set(evil, evil);
        assert_eq!(cluster.resp(VICTIM).get(evil), bulk(evil.as_bytes()));
        let Answer::Error(error) = cluster.resp(VICTIM).ask(b"\x1b[2J\x07 x\r\n") else { panic!() };
        assert_eq!(error, "ERR unknown command '\\u{1b}[2J\\u{7}'");
        let mut json = cluster.json(VICTIM);
        json.send(&serde_json::json!({"get": {"key": evil}}).to_string());
        assert_eq!(json.answer()["value"]["value"], evil);
        for bytes in [&b"*1\r\n$\x1b[2J\r\n"[..], b"*1\x1b\r\n"] {
            let mut resp = cluster.resp(VICTIM);
            resp.send(bytes);
            read_to_close(&mut resp.stream);
        }
    });
    assert_told(&cluster, "closed_bad_request");
    for id in 1..=3 {
        let console = cluster.node(id).stdout();
        assert!(console.contains("k\\n2026-01-01 [INFO] forged\\r\\u{1b}[2J"), "{console}");
        assert!(console.chars().all(|c| !c.is_control() || c == '\n'));
        assert!(console.lines().all(|line| !line.starts_with("2026")));
    }
}

#[test]
fn native_requests_that_do_not_decode_leave_no_connection_behind() {
    let cluster = under_attack(Setup::default(), |cluster| {
        let before = wait_until("descriptors settle", LONG, || {
            let count = cluster.node(VICTIM).open_descriptors();
            // A cluster works before all its links are there.
            (cluster.counter(VICTIM, "link_up") >= 2
                && count == cluster.node(VICTIM).open_descriptors())
            .then_some(count)
        });
        for bytes in [
            // A request of an unknown kind, one without a sequence, one with bytes left over.
            &b"\x05\0\0\0\0\0\0\0\x63"[..],
            b"\x02\0\0\0\0\0",
            b"\x06\0\0\0\0\0\0\0\x02\x00",
        ] {
            for _ in 0..50 {
                let mut native = Native::connect(cluster.native_addr(VICTIM));
                native.stream.write_all(bytes).unwrap();
                assert!(native.frame().is_none(), "it is closed");
            }
        }
        wait_until("their descriptors are closed", LONG, || {
            (cluster.node(VICTIM).open_descriptors() <= before).then_some(())
        });
    });
    assert_told(&cluster, "closed_bad_request");
    assert_eq!(cluster.counter(VICTIM, "closed_bad_request"), 150);
}

#[test]
fn with_few_descriptors_the_node_lives_through_more_clients_than_it_can_take() {
    let start = Instant::now();
    let cluster = Cluster::start(Setup { max_descriptors: Some(64), ..Setup::default() });
    let mut honest = cluster.resp(VICTIM);
    honest.set("k", "v");
    let crowd: Vec<TcpStream> = (0..200)
        .map(|n| match n % 2 {
            0 => connect(cluster.resp_addr(VICTIM)),
            _ => connect(cluster.json_addr(VICTIM)),
        })
        .collect();
    // Who is in stays in, and the node neither spins nor loses its links.
    assert_little_processor_time(&cluster, &[VICTIM]);
    honest.set("k", "w");
    let info = honest.info();
    let count = |name: &str| info[name].parse::<u64>().unwrap();
    let refused = count("refused_over_connection_cap") + count("refused_no_descriptor");
    assert!(refused + count("closed_idle") >= 100, "{info:?}");
    assert_eq!(count("link_down"), 0);
    drop(crowd);
    wait_until("it serves again", LONG, || {
        let mut resp = Resp::try_connect(cluster.resp_addr(VICTIM)).ok()?;
        resp.stream.write_all(&get(b"k")).ok()?;
        (resp.try_answer().ok()? == bulk(b"w")).then_some(())
    });
    assert_little_processor_time(&cluster, &[VICTIM]);
    // One a second for each of two causes.
    let most = 2 * (start.elapsed().as_secs() as usize + 1);
    assert!(cluster.node(VICTIM).log_lines("refused_") <= most);
}

/// Those that came a moment ago and have said nothing are no reason to turn somebody away.
#[test]
fn a_client_that_speaks_gets_the_place_of_one_that_does_not_at_once() {
    let cluster = Cluster::start(Setup { max_descriptors: Some(64), ..Setup::default() });
    let mut honest = cluster.resp(VICTIM);
    honest.set("k", "v");
    for _ in 0..5 {
        let crowd: Vec<TcpStream> = (0..60).map(|_| connect(cluster.resp_addr(VICTIM))).collect();
        // It is the last of its listener's queue, and nobody takes its place again.
        assert_eq!(cluster.resp(VICTIM).ask(&get(b"k")), bulk(b"v"));
        drop(crowd);
    }
    assert_eq!(honest.get("k"), bulk(b"v"));
    assert_eq!(cluster.counter(VICTIM, "refused_over_connection_cap"), 0);
    assert_told(&cluster, "closed_idle");
}

/// A turn takes connections before it reads from them.
#[test]
fn a_request_that_is_not_read_yet_keeps_its_clients_place() {
    let limits = "max_clients = 1".into();
    let cluster = Cluster::start(Setup { limits, nodes: 1, ..Setup::default() });
    for _ in 0..5 {
        wait_until("its place is free", LONG, || {
            let mut resp = Resp::try_connect(cluster.resp_addr(1)).ok()?;
            resp.stream.write_all(&get(b"k")).ok()?;
            resp.stream.shutdown(Shutdown::Write).ok()?;
            let mut said = Vec::new();
            // To the end, so that the node has no connection any more.
            resp.stream.read_to_end(&mut said).ok()?;
            (said == b"$-1\r\n").then_some(())
        });
        cluster.signal(1, Signal::STOP);
        let mut asks = cluster.resp(1);
        asks.send(&get(b"k"));
        let silent = connect(cluster.json_addr(1));
        cluster.signal(1, Signal::CONT);
        assert_eq!(asks.answer(), Answer::Null);
        drop((asks, silent));
    }
}

/// Peers have places of their own, however many clients there are.
#[test]
fn a_leader_that_restarts_is_linked_while_idle_clients_take_all_places() {
    let limits = "max_clients = 40\nsilent_timeout_ms = 60000".into();
    let mut cluster = Cluster::start(Setup { limits, ..Setup::default() });
    let mut honest = cluster.resp(1 + VICTIM);
    honest.set("k", "v");
    let crowds: Vec<TcpStream> = (0..300)
        .map(|n| match n % 3 {
            0 => connect(cluster.resp_addr(VICTIM)),
            _ => connect(cluster.native_addr(VICTIM)),
        })
        .collect();
    // Some have even asked something, and keep their places.
    let mut greeted = Vec::new();
    while let Some(mut native) = Native::try_client(cluster.native_addr(VICTIM)) {
        native.get("k", 0);
        greeted.push(native);
        assert!(greeted.len() <= 40, "the cap is kept");
    }
    cluster.kill(1);
    cluster.run(1);
    wait_until("the leader is linked", LONG, || {
        let info = cluster.info(1);
        let up = info.iter().filter(|(_, value)| value.contains("state=up")).count();
        (up == 2).then_some(())
    });
    wait_until("a PUT is done", LONG, || {
        honest.send(&set(b"k", b"w"));
        (honest.answer() == ok()).then_some(())
    });
    drop((crowds, greeted));
}

#[test]
fn who_never_says_anything_makes_room_and_ends() {
    let (cluster, mut spoke) = with_more_time(3_000, |ms| {
        let limits = format!("max_clients = 10\nsilent_timeout_ms = {ms}");
        let cluster = Cluster::start(Setup { limits, ..Setup::default() });
        let mut spoke: Vec<Resp> = (0..3).map(|_| cluster.resp(VICTIM)).collect();
        for one in &mut spoke {
            let asked = one.stream.write_all(&get(b"k")).and_then(|()| one.try_answer());
            // Who was not in time is away.
            asked.map_err(|error| error.to_string())?;
        }
        Ok((cluster, spoke))
    });
    let mut silent: Vec<TcpStream> = (0..7).map(|_| connect(cluster.json_addr(VICTIM))).collect();
    // The next ones are served at the cost of those, one each.
    for _ in 0..3 {
        spoke.push(wait_until("there is room", LONG, || {
            let mut resp = Resp::try_connect(cluster.resp_addr(VICTIM)).ok()?;
            resp.stream.write_all(&get(b"k")).ok()?;
            (resp.try_answer().ok()? == Answer::Null).then_some(resp)
        }));
    }
    wait_until("the others end by themselves", LONG, || {
        silent.retain_mut(|stream| !is_closed(stream));
        silent.is_empty().then_some(())
    });
    for one in &mut spoke {
        assert_eq!(one.get("k"), Answer::Null);
    }
    assert_told(&cluster, "closed_idle");
}

#[test]
fn a_long_line_in_small_pieces_costs_no_more_than_its_bytes() {
    let cluster = under_attack(Setup::default(), |cluster| {
        // What the pace itself costs on this machine.
        let mut pace = cluster.resp(VICTIM);
        let mut used = cluster.node(VICTIM).cpu_ticks();
        for _ in 0..500 {
            pace.ask(b"PING\r\n");
        }
        let paced = cluster.node(VICTIM).cpu_ticks() - used;
        used = cluster.node(VICTIM).cpu_ticks();
        let mut stream = connect(cluster.json_addr(VICTIM));
        stream.write_all(&vec![b'x'; 3 << 20]).unwrap();
        // Each byte is on its own: the node has the one before when the next is sent.
        for _ in 0..500 {
            stream.write_all(b"x").unwrap();
            pace.ask(b"PING\r\n");
        }
        used = cluster.node(VICTIM).cpu_ticks() - used;
        let most = 150 + 4 * paced;
        assert!(used < most, "{used} ticks of 10 ms, {paced} for the pace alone");
    });
    assert_eq!(cluster.counter(VICTIM, "closed_too_long"), 0);
}

/// The cap on clients keeps descriptors free for the node itself; here it has fewer than it was
/// promised, so that accepting fails.
#[test]
fn a_node_that_runs_out_of_descriptors_waits_for_some_without_spinning() {
    let cluster = Cluster::start(Setup::default());
    let mut honest = cluster.resp(VICTIM);
    honest.set("k", "v");
    let few = cluster.node(VICTIM).open_descriptors() as u64 + 3;
    let limit = Rlimit { current: Some(few), maximum: Some(few) };
    let pid = Pid::from_raw(cluster.node(VICTIM).pid() as i32);
    prlimit(pid, Resource::Nofile, limit).expect("our own child's limit");
    let mut crowd: Vec<TcpStream> = (0..20).map(|_| connect(cluster.resp_addr(VICTIM))).collect();
    wait_until("it runs out", LONG, || {
        (honest.info()["refused_no_descriptor"] != "0").then_some(())
    });
    assert_little_processor_time(&cluster, &[VICTIM]);
    honest.set("k", "w");
    // Those that wait in the listener's queue get in when others leave.
    let mut last = crowd.pop().expect("one of them");
    last.write_all(b"PING\r\n").unwrap();
    drop(crowd);
    let mut answer = [0; 7];
    last.read_exact(&mut answer).expect("it is served");
    assert_eq!(&answer, b"+PONG\r\n");
    assert_eq!(honest.info()["link_down"], "0");
}
