//! Sessions of single clients with a real cluster: pipelines, cut and joined segments, large
//! values, half-closed connections.

mod common;

use common::clients::{Answer, Json, Resp, bulk, command, connect, get, ok, read_to_close, set};
use common::{Cluster, LONG, PATIENT, Setup, wait_until, with_more_time};
use node_protocols::kv_replication::{Reply, Request, Timestamp};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::Shutdown;

fn alone() -> Cluster {
    Cluster::start(Setup { nodes: 1, ..Setup::default() })
}

#[test]
fn a_pipeline_in_one_write_is_answered_in_order_and_its_get_sees_its_sets() {
    let cluster = Cluster::start(Setup::default());
    for id in 1..=3 {
        let mut resp = cluster.resp(id);
        let mut bytes = Vec::new();
        for n in 0..500 {
            bytes.extend(set(b"k", n.to_string().as_bytes()));
        }
        bytes.extend(get(b"k"));
        bytes.extend(b"PING\r\n");
        bytes.extend(set(b"k", b"last"));
        bytes.extend(get(b"k"));
        resp.send(&bytes);
        for _ in 0..500 {
            assert_eq!(resp.answer(), ok());
        }
        assert_eq!(resp.answer(), bulk(b"499"));
        assert_eq!(resp.answer(), Answer::Status("PONG".into()));
        assert_eq!(resp.answer(), ok());
        assert_eq!(resp.answer(), bulk(b"last"));
    }
}

#[test]
fn bytes_that_come_one_at_a_time_make_the_same_requests() {
    let cluster = alone();
    let mut resp = cluster.resp(1);
    let mut bytes = set(b"k\r\n", b"\0\xff$3\r\n");
    bytes.extend(get(b"k\r\n"));
    for byte in bytes {
        resp.send(&[byte]);
    }
    assert_eq!(resp.answer(), ok());
    assert_eq!(resp.answer(), bulk(b"\0\xff$3\r\n"));
    let mut json = cluster.json(1);
    for byte in b"{\"get\":{\"key\":\"none\"}}\r\n" {
        json.stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(json.answer(), serde_json::json!({"null": {}}));
    let mut native = cluster.native(1);
    let request = Request::Put { key: "n".into(), value: "v".into() };
    let (sequence, bytes) = native.request_bytes(&request);
    for byte in bytes {
        native.stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(native.reply(), (sequence, Reply::PutOk { timestamp: Timestamp(2) }));
}

#[test]
fn two_requests_and_a_half_in_one_segment() {
    let cluster = alone();
    let mut json = cluster.json(1);
    let half = r#"{"put":{"key":"b","value":"2"}}"#;
    let whole =
        concat!(r#"{"put":{"key":"a","value":"1"}}"#, "\n\n", r#"{"get":{"key":"a"}}"#, "\n",);
    json.stream.write_all(format!("{whole}{}", &half[..9]).as_bytes()).unwrap();
    assert_eq!(json.answer(), serde_json::json!({"put_ok": {"timestamp": 1}}));
    let value = serde_json::json!({"value": {"value": "1", "timestamp": 1}});
    assert_eq!(json.answer(), value);
    json.send(&half[9..]);
    assert_eq!(json.answer(), serde_json::json!({"put_ok": {"timestamp": 2}}));
    let mut native = cluster.native(1);
    let mut bytes = Vec::new();
    for n in 0..3 {
        let value = format!("{n}");
        let request = Request::Put { key: "n".into(), value: value.as_str().into() };
        bytes.extend(native.request_bytes(&request).1);
    }
    let (both, last) = bytes.split_at(bytes.len() - 3);
    native.stream.write_all(both).unwrap();
    assert_eq!(native.reply(), (0, Reply::PutOk { timestamp: Timestamp(3) }));
    assert_eq!(native.reply(), (1, Reply::PutOk { timestamp: Timestamp(4) }));
    native.stream.write_all(last).unwrap();
    assert_eq!(native.reply(), (2, Reply::PutOk { timestamp: Timestamp(5) }));
}

#[test]
fn a_value_of_1_mib_passes_and_a_longer_one_is_refused_with_a_reason() {
    let cluster = Cluster::start(Setup::default());
    let largest = vec![b'x'; 1 << 20];
    let mut resp = cluster.resp(2);
    assert_eq!(resp.ask(&set(b"k", &largest)), ok());
    for id in 1..=3 {
        assert_eq!(cluster.resp(id).ask(&get(b"k")), bulk(&largest));
    }
    let longer = vec![b'x'; (1 << 20) + 1];
    let limit =
        "NOTAPPLIED the SET has no effect: the value has 1048577 bytes, the limit is 1048576";
    assert_eq!(resp.ask(&set(b"k", &longer)), Answer::Error(limit.into()));
    let long_key = vec![b'k'; 4_097];
    let limit = "NOTAPPLIED the SET has no effect: the key has 4097 bytes, the limit is 4096";
    assert_eq!(resp.ask(&set(&long_key, b"v")), Answer::Error(limit.into()));
    assert_eq!(resp.ask(&get(b"k")), bulk(&largest), "the connection goes on");
    // A request above max_request_bytes (4 MiB) ends the connection.
    let mut greedy = cluster.resp(2);
    greedy.send(&set(b"k", &vec![b'x'; 5 << 20]));
    let limit =
        "ERR the request has more than 4194304 bytes (max_request_bytes): the connection ends";
    assert_eq!(greedy.answer(), Answer::Error(limit.into()));
    assert!(greedy.try_answer().is_err(), "it is closed");
    let mut json = cluster.json(2);
    json.send(&format!("{{\"put\":\"{}", "x".repeat(5 << 20)));
    let error = json.answer()["error"].take();
    assert!(error.as_str().is_some_and(|error| error.contains("max_request_bytes")), "{error}");
    assert_eq!(read_to_close(&mut json.stream), b"");
    assert_eq!(cluster.counter(2, "closed_too_long"), 2);
    assert!(cluster.node(2).log_lines("closed_too_long") >= 1);
    assert_eq!(cluster.counter(2, "closed_too_slow"), 0);
}

/// Clients that cannot send all of it do not look for the reason.
#[test]
fn who_is_still_sending_hears_why_it_ends() {
    let limits = "max_request_bytes = 1024".to_string();
    let cluster = Cluster::start(Setup { nodes: 1, limits, ..Setup::default() });
    let mut resp = cluster.resp(1);
    resp.send(&set(b"k", &vec![b'x'; 7 << 20]));
    let Answer::Error(why) = resp.answer() else { panic!("it is too long") };
    assert!(why.contains("max_request_bytes"), "{why}");
    assert!(resp.try_answer().is_err(), "it is closed");
}

/// What it is told comes behind the replies to what it asked before.
#[test]
fn a_request_that_is_too_long_waits_for_those_before_it() {
    let limits = "max_request_bytes = 1024".to_string();
    let cluster = Cluster::start(Setup { limits, put_timeout_ms: 500, ..Setup::default() });
    cluster.signal(3, Signal::STOP);
    let mut resp = cluster.resp(1);
    let bytes = [set(b"k", b"v"), set(b"k", &[b'x'; 2_000])].concat();
    // Its end is not there, so that it is seen to be too long.
    resp.send(&bytes[..bytes.len() - 100]);
    let Answer::Error(first) = resp.answer() else { panic!("no PUT_OK without node 3") };
    assert!(first.starts_with("UNKNOWN"), "{first}");
    let Answer::Error(second) = resp.answer() else { panic!("it is too long") };
    assert!(second.contains("max_request_bytes"), "{second}");
    assert!(resp.try_answer().is_err(), "it is closed");
}

/// As a course's client does: an object, one read, and the connection stays open.
#[test]
fn an_object_needs_no_line_and_may_have_many() {
    let cluster = alone();
    let mut json = cluster.json(1);
    let mut ask = |bytes: &str| {
        json.stream.write_all(bytes.as_bytes()).unwrap();
        json.answer()
    };
    let put_ok = |timestamp: u64| serde_json::json!({"put_ok": {"timestamp": timestamp}});
    assert_eq!(ask(r#"{"put":{"key":"nonl","value":"1"}}"#), put_ok(1));
    assert_eq!(
        ask("{\n  \"put\": {\n    \"key\": \"k\",\n    \"value\": \"}\"\n  }\n}"),
        put_ok(2)
    );
    assert_eq!(ask("\n{\"get\":{\"key\":\"k\"}}")["value"]["value"], "}");
    let mut stream = connect(cluster.json_addr(1));
    stream.write_all(br#"{"put":{"key":"nonl","value":"2"}}{"get":{"key":"nonl"}}"#).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answers = "{\"put_ok\":{\"timestamp\":3}}\n{\"value\":{\"value\":\"2\",\"timestamp\":3}}\n";
    assert_eq!(String::from_utf8_lossy(&read_to_close(&mut stream)), answers);
}

#[test]
fn nothing_of_a_transaction_is_executed() {
    let cluster = alone();
    let mut resp = cluster.resp(1);
    // As redis-py's pipeline sends it: all at once.
    let multi = [command(&[b"MULTI"]), set(b"tx", b"1"), command(&[b"EXEC"])].concat();
    assert_eq!(resp.ask(&multi), ok());
    let Answer::Error(refused) = resp.answer() else { panic!("the SET is refused") };
    assert!(refused.contains("no transactions"), "{refused}");
    let Answer::Error(aborted) = resp.answer() else { panic!("EXEC does nothing") };
    assert!(aborted.starts_with("EXECABORT "), "{aborted}");
    assert_eq!(resp.get("tx"), Answer::Null);
    resp.set("tx", "2");
}

/// One command may ask for more than a client's buffer holds, and the end may come before the answers.
#[test]
fn the_values_of_many_keys_come_as_the_client_reads_them() {
    let cluster = alone();
    let value = vec![b'x'; 1 << 20];
    assert_eq!(cluster.resp(1).ask(&set(b"k", &value)), ok());
    let before = cluster.node(1).rss_bytes();
    let words: Vec<&[u8]> = [&b"MGET"[..]].into_iter().chain([&b"k"[..]; 64]).collect();
    let mut resp = cluster.resp(1);
    resp.send(&command(&words));
    resp.stream.shutdown(Shutdown::Write).unwrap();
    let mut honest = cluster.resp(1);
    for _ in 0..20 {
        assert_eq!(honest.get("none"), Answer::Null);
    }
    let held = cluster.node(1).rss_bytes();
    assert!(held < before + (24 << 20), "{held} bytes in memory, {before} before");
    let mut head = [0; 5];
    resp.stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"*64\r\n");
    for _ in 0..64 {
        assert_eq!(resp.answer(), bulk(&value));
    }
    assert!(resp.try_answer().is_err(), "then it ends");
}

#[test]
fn a_client_that_shuts_its_writing_down_gets_its_answers_and_then_the_end() {
    let cluster = Cluster::start(Setup::default());
    for id in 1..=3 {
        // As printf | nc: requests, then the end, in whatever segments.
        let mut stream = connect(cluster.resp_addr(id));
        let mut bytes = set(b"k", b"v");
        bytes.extend(get(b"k"));
        bytes.extend(b"PING\r\n");
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_close(&mut stream), b"+OK\r\n$1\r\nv\r\n+PONG\r\n");
        let mut stream = connect(cluster.json_addr(id));
        stream.write_all(b"{\"get\":{\"key\":\"none\"}}\n{\"put\":").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let said = String::from_utf8(read_to_close(&mut stream)).unwrap();
        let half = said.strip_prefix("{\"null\":{}}\n").expect("the answer to the whole one");
        assert!(
            half.starts_with("{\"error\":\"EOF while parsing"),
            "half a request is none: {half}"
        );
        let mut native = cluster.native(id);
        native.send(&Request::Put { key: "n".into(), value: "v".into() });
        native.stream.shutdown(Shutdown::Write).unwrap();
        assert!(matches!(native.reply().1, Reply::PutOk { .. }));
        assert!(native.frame().is_none());
    }
}

/// The end may reach the node together with the last bytes: one event, and no other follows.
#[test]
fn an_end_that_comes_with_the_last_bytes_is_seen() {
    let cluster = alone();
    let addrs = [cluster.resp_addr(1), cluster.json_addr(1), cluster.native_addr(1)];
    let mut streams = addrs.map(connect);
    wait_until("the node has all connections", LONG, || {
        (cluster.counter(1, "connections_accepted") >= 3).then_some(())
    });
    let before = cluster.node(1).open_descriptors();
    cluster.signal(1, Signal::STOP);
    for (stream, bytes) in streams.iter_mut().zip([&b"PING\r\n"[..], b"{\"get\"", b"\x10\0"]) {
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    }
    cluster.signal(1, Signal::CONT);
    let [resp, json, native] = &mut streams;
    assert_eq!(read_to_close(resp), b"+PONG\r\n");
    let said = String::from_utf8(read_to_close(json)).unwrap();
    assert!(said.starts_with("{\"error\":\"EOF while parsing"), "half a request is none: {said}");
    assert_eq!(read_to_close(native), b"");
    drop(streams);
    wait_until("the node has closed them", LONG, || {
        (cluster.node(1).open_descriptors() <= before - 3).then_some(())
    });
}

#[test]
fn a_client_that_vanishes_with_a_request_in_flight_leaves_nothing_behind() {
    let cluster = Cluster::start(Setup { put_timeout_ms: 500, ..Setup::default() });
    let before = wait_until("descriptors settle", LONG, || {
        let count = cluster.node(1).open_descriptors();
        (cluster.info(1).contains_key("node") && count == cluster.node(1).open_descriptors())
            .then_some(count)
    });
    cluster.signal(3, Signal::STOP);
    let waiting: Vec<Resp> = (0..20)
        .map(|n| {
            let mut resp = cluster.resp(1);
            resp.send(&set(b"k", format!("{n}").as_bytes()));
            resp
        })
        .collect();
    wait_until("all are in flight", LONG, || {
        (cluster.info(1)["applied_timestamp"] == "20").then_some(())
    });
    drop(waiting);
    cluster.signal(3, Signal::CONT);
    cluster.wait_equal(LONG);
    wait_until("their descriptors are closed", LONG, || {
        (cluster.node(1).open_descriptors() <= before).then_some(())
    });
    assert_eq!(cluster.resp(2).get("k"), bulk(b"19"));
}

/// Commands that wait for one another may be sent without waiting for answers: the node takes
/// them at its own pace, keeps few of them in memory and stays quick for others.
#[test]
fn a_long_pipeline_of_gets_is_slowed_down_not_cut_off() {
    let cluster = alone();
    cluster.resp(1).set("k", "v");
    let before = cluster.node(1).rss_bytes();
    let commands = 300_000;
    let mut stream = connect(cluster.resp_addr(1));
    let mut sender = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        // The key's length makes 64 MiB of all together; nobody has such a key.
        let one = get(&[b'k'; 200]);
        for _ in 0..commands / 100 {
            sender.write_all(&one.repeat(100)).expect("the node goes on reading");
        }
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let reader = std::thread::spawn(move || {
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).map(|_| answers)
    });
    let (mut honest, mut served) = (cluster.resp(1), 0);
    let mut most = 0;
    while !writer.is_finished() {
        assert_eq!(honest.get("k"), bulk(b"v"));
        served += 1;
        most = most.max(cluster.node(1).rss_bytes());
    }
    writer.join().unwrap();
    let answers = reader.join().unwrap().expect("all answers and the end");
    assert_eq!(answers.len(), commands * b"$-1\r\n".len());
    assert!(served > 1, "only {served} others were served meanwhile");
    assert!(most < before + (16 << 20), "{most} bytes in memory, {before} before");
}

#[test]
fn a_client_that_does_not_read_its_answers_is_slowed_down_not_buffered_for() {
    let cluster = alone();
    let value = vec![b'x'; 1 << 20];
    assert_eq!(cluster.resp(1).ask(&set(b"k", &value)), ok());
    let before = cluster.node(1).rss_bytes();
    let mut native = cluster.native(1);
    let requests = 300;
    for _ in 0..requests {
        let timestamp = Timestamp(0);
        native.send(&Request::Get { key: "k".into(), timestamp, applied: timestamp });
    }
    let mut honest = cluster.json(1);
    for _ in 0..20 {
        honest.ask(r#"{"get":{"key":"none"}}"#);
    }
    let held = cluster.node(1).rss_bytes();
    assert!(held < before + (24 << 20), "{held} bytes in memory, {before} before");
    for sequence in 0..requests {
        let (answered, reply) = native.reply();
        let Reply::Value { value: got, .. } = reply else { panic!("{sequence} has no value") };
        assert!(answered == sequence && *got == *value);
    }
}

#[test]
fn a_half_request_behind_an_answered_one_still_has_its_deadline() {
    let limits = "request_timeout_ms = 200".to_string();
    let cluster = Cluster::start(Setup { limits, put_timeout_ms: 600, ..Setup::default() });
    cluster.signal(3, Signal::STOP);
    let mut resp = cluster.resp(1);
    let mut bytes = set(b"k", b"v");
    bytes.extend(b"*3\r\n$3\r\nSET");
    resp.send(&bytes);
    let Answer::Error(error) = resp.answer() else { panic!("no PUT_OK without node 3") };
    assert!(error.starts_with("UNKNOWN"), "{error}");
    assert_eq!(read_to_close(&mut resp.stream), b"");
    assert_eq!(cluster.counter(1, "closed_too_slow"), 1);
}

#[test]
fn idle_connections_are_closed_when_the_config_says_so() {
    let (cluster, mut idle) = with_more_time(300, |ms| {
        let limits = format!("{PATIENT}idle_timeout_ms = {ms}");
        let cluster = Cluster::start(Setup { nodes: 1, limits, ..Setup::default() });
        let mut idle = cluster.resp(1);
        idle.send(b"PING\r\n");
        match idle.try_answer() {
            Ok(Answer::Status(pong)) if pong == "PONG" => Ok((cluster, idle)),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(read_to_close(&mut idle.stream), b"");
    let mut silent = Json::connect(cluster.json_addr(1));
    assert_eq!(read_to_close(&mut silent.stream), b"");
    assert!(cluster.counter(1, "closed_idle") >= 2);
}

#[test]
fn quit_is_answered_before_the_end() {
    let cluster = alone();
    let mut resp = cluster.resp(1);
    resp.send(&command(&[b"QUIT"]));
    assert_eq!(read_to_close(&mut resp.stream), b"+OK\r\n");
}
