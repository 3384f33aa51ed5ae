//! How a node takes to others that say they are its peers: raw sockets play node 1, which dials
//! the node under test, and node 3, which it dials. The node under test is node 2.

mod common;

use common::clients::{Answer, Native, Resp, answer, bulk, connect, ok, set};
use common::{Cluster, LONG, Node, PATIENT, Ports, Setup, local, wait_until, with_more_time};
use node_lab::wire::{Hello, Proof, Role, VERSION, Welcome, push_frame, push_message};
use node_protocols::core::{Epoch, LamportTime, NodeId, encode, protocol_tag};
use node_protocols::kv_replication::{Hash, History, Message, Standing, Timestamp};
use std::collections::VecDeque;
use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Node 2 of three, alone.
fn node_2(limits: &str) -> Cluster {
    let limits = if limits.is_empty() { PATIENT } else { limits };
    let mut cluster = Cluster::prepare(Setup { limits: limits.into(), ..Setup::default() });
    cluster.run(2);
    cluster
}

fn peer(cluster: &str, id: u32, to: u32) -> Hello<'_> {
    greeting(cluster, id, to, LamportTime(0))
}

fn greeting(cluster: &str, id: u32, to: u32, lamport: LamportTime) -> Hello<'_> {
    let (id, to, cluster) = (NodeId(id), NodeId(to), cluster.into());
    let (identity, incarnation, dial) = (1, 1, 1);
    Hello::new(Role::Peer { cluster, id, to, identity, incarnation, dial, lamport })
}

/// Where node 1 would listen.
fn door(cluster: &Cluster) -> TcpListener {
    // A process that another test is just starting may still hold the one before.
    wait_until("its port is free", LONG, || TcpListener::bind(cluster.native_addr(1)).ok())
}

/// Node 1's connection to node 2, welcome.
fn link(cluster: &Cluster) -> Native {
    Native::link(cluster.native_addr(2), &peer("test", 1, 2), &door(cluster))
}

/// The same, with a clock that stands there.
fn greeted(cluster: &Cluster, lamport: LamportTime) -> Native {
    let hello = greeting("test", 1, 2, lamport);
    Native::link(cluster.native_addr(2), &hello, &door(cluster))
}

/// A frame as nodes send them: tag and Lamport value, then the message.
fn frame_bytes(tag: &str, lamport: u64, message: &Message<'_>) -> Vec<u8> {
    let (mut payload, mut bytes) = (Vec::new(), Vec::new());
    encode(&(protocol_tag(tag), lamport), &mut payload);
    encode(message, &mut payload);
    push_frame(&mut bytes, &payload);
    bytes
}

fn probe(epoch: u64) -> Vec<u8> {
    frame_bytes(
        "kv_replication",
        1,
        &Message::Probe { epoch: Epoch(epoch), at: vec![], known: false },
    )
}

/// The next message that is no heartbeat.
fn message(link: &mut Native) -> String {
    loop {
        let payload = link.frame().expect("the link is up");
        if let Ok(((_, _), body)) = postcard::take_from_bytes::<(u16, u64)>(&payload) {
            let message = postcard::from_bytes::<Message<'_>>(body).expect("a message decodes");
            return format!("{message:?}");
        }
        assert!(payload.is_empty(), "neither a message nor a heartbeat: {payload:?}");
    }
}

#[test]
fn a_greeting_that_is_not_right_is_refused_with_the_reason_in_one_line() {
    let mut wrong_magic = peer("test", 1, 2);
    wrong_magic.magic = *b"REDO";
    let mut later = peer("test", 1, 2);
    later.version = VERSION + 1;
    let client = Hello::new(Role::Client { protocol: "no\u{1b}[2Jne".into() });
    for (hello, reason) in [
        (wrong_magic, "it begins with no greeting"),
        (later, "it speaks version 4, this node 3"),
        (peer("te\nst", 1, 2), "it is of cluster te\\nst, this node of test"),
        (peer("test", 9, 2), "it says it is node 9, which is not in this node's [peers]"),
        (peer("test", 2, 2), "it says it is node 2, which is not in this node's [peers]"),
        (
            peer("test", 1, 3),
            "it means to reach node 3, this is node 2: [peers] is wrong at the one that dials",
        ),
        (peer("test", 3, 2), "node 3 must not dial node 2: lower ids dial higher ones"),
        (client, "it asks for protocol no\\u{1b}[2Jne, which is not run here"),
    ] {
        let cluster = node_2("");
        let mut native = Native::raw(connect(cluster.native_addr(2)));
        let addr = native.stream.local_addr().unwrap();
        native.greet(&hello);
        assert_eq!(native.refusal().as_deref(), Some(reason));
        assert!(native.frame().is_none(), "it is closed");
        assert_eq!(cluster.counter(2, "closed_bad_handshake"), 1);
        assert_eq!(cluster.counter(2, "link_up"), 0);
        let line = format!("closed_bad_handshake: {addr} is refused: {reason}");
        assert_eq!(cluster.node(2).log_lines(&line), 1, "{}", cluster.node(2).stderr());
        assert_eq!(cluster.node(2).log_lines("WARN"), 1);
    }
}

#[test]
fn what_is_no_greeting_at_all_is_refused() {
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[255; 4], &[0; 64], b"\x02\0\0\0\xff\xff"] {
        let cluster = node_2("");
        let mut native = Native::raw(connect(cluster.native_addr(2)));
        native.stream.write_all(noise).unwrap();
        assert_eq!(native.refusal().as_deref(), Some("it begins with no greeting"));
        assert!(native.frame().is_none(), "it is closed");
        assert_eq!(cluster.counter(2, "closed_bad_handshake"), 1);
        assert_eq!(cluster.node(2).log_lines("closed_bad_handshake"), 1);
    }
}

#[test]
fn who_greets_too_slowly_is_closed_however_often_a_byte_comes() {
    let cluster = node_2("greeting_timeout_ms = 300");
    let mut silent = Native::raw(connect(cluster.native_addr(2)));
    let mut slow = Native::raw(connect(cluster.native_addr(2)));
    slow.stream.write_all(&[200, 0, 0, 0]).unwrap();
    assert!(silent.frame().is_none(), "it is closed");
    wait_until("the slow one is closed", LONG, || {
        slow.stream.write_all(&[0]).is_err().then_some(())
    });
    assert_eq!(cluster.counter(2, "closed_too_slow"), 2);
}

#[test]
fn a_second_connection_of_a_peer_replaces_the_first() {
    let cluster = node_2("");
    let mut first = link(&cluster);
    first.stream.write_all(&probe(5)).unwrap();
    assert!(message(&mut first).starts_with("State { epoch: 5, "));
    let mut second = link(&cluster);
    while let Some(payload) = first.frame() {
        assert!(payload.is_empty(), "nothing but heartbeats until it is closed");
    }
    second.stream.write_all(&probe(6)).unwrap();
    assert!(message(&mut second).starts_with("State { epoch: 6, "));
    assert_eq!((cluster.counter(2, "link_up"), cluster.counter(2, "link_down")), (2, 1));
    drop(second);
    wait_until("the link is down", LONG, || (cluster.counter(2, "link_down") == 2).then_some(()));
}

#[test]
fn a_link_that_flaps_does_not_flood_the_log() {
    let start = Instant::now();
    let cluster = node_2("");
    for _ in 0..200 {
        drop(link(&cluster));
    }
    wait_until("every end is seen", LONG, || {
        (cluster.counter(2, "link_down") >= 200).then_some(())
    });
    let lines = cluster.node(2).log_lines("link to node");
    // Ten in ten seconds.
    let most = 10 * (start.elapsed().as_secs() as usize / 10 + 2);
    assert!((1..=most).contains(&lines), "{lines} lines");
}

#[test]
fn frames_that_come_byte_by_byte_are_frames() {
    let cluster = node_2("");
    let mut stream = connect(cluster.native_addr(2));
    let epoch = Epoch(5);
    let mut bytes = Vec::new();
    push_message(&mut bytes, &peer("test", 1, 2));
    for byte in std::mem::take(&mut bytes) {
        stream.write_all(&[byte]).unwrap();
    }
    let (_question, challenge) = answer(&door(&cluster), &peer("test", 1, 2), true);
    // What anybody can have it say is no proof, and no harm.
    for challenge in [0, challenge ^ 1, challenge] {
        push_message(&mut bytes, &Proof { challenge });
    }
    bytes.extend(probe(5));
    push_frame(&mut bytes, &[]);
    let (genesis, standing) = (Hash(7), Standing::Whole);
    let history = History { genesis, applied: Timestamp(0), hash: genesis, standing };
    let resume = Message::Resume { epoch, history };
    bytes.extend(frame_bytes("kv_replication", 2, &resume));
    let (key, value) = (b"k".into(), b"v".into());
    let put = Message::Replication { epoch, reign: epoch, timestamp: Timestamp(1), key, value };
    bytes.extend(frame_bytes("kv_replication", 3, &put));
    for byte in bytes {
        stream.write_all(&[byte]).unwrap();
    }
    let mut link = Native::raw(stream);
    assert_eq!(link.refusal(), None);
    assert!(message(&mut link).starts_with("State { epoch: 5, "));
    // One acknowledgement is for all that came in a turn, so how many there are depends.
    while !message(&mut link).starts_with("ReplicationOk { epoch: 5, applied: 1, ") {}
    assert_eq!(cluster.info(2)["applied_timestamp"], "1");
}

/// Whoever is truly that far ahead is caught up with when the link is made anew; a forger gains
/// nothing.
#[test]
fn a_clock_too_far_ahead_is_refused_in_a_frame_and_caught_up_with_in_a_greeting() {
    let cluster = node_2("");
    let mut link = link(&cluster);
    let ahead = 1 << 40;
    let probe = |lamport| {
        frame_bytes(
            "kv_replication",
            lamport,
            &Message::Probe { epoch: Epoch(1), at: vec![], known: false },
        )
    };
    for forged in [u64::MAX, ahead] {
        link.stream.write_all(&probe(forged)).unwrap();
        while link.frame().is_some() {}
        link = greeted(&cluster, LamportTime(7));
    }
    assert_eq!(cluster.counter(2, "dropped_lamport_jump"), 2);
    // What was too far is not any more, behind a greeting that says so.
    link = greeted(&cluster, LamportTime(ahead - 1));
    link.stream.write_all(&probe(ahead)).unwrap();
    assert!(message(&mut link).starts_with("State { epoch: 1, "));
    assert!(cluster.node(2).log_lines("dropped_lamport_jump: ") >= 1);
}

#[test]
fn frames_that_make_no_sense_are_dropped_and_the_link_stays() {
    let cluster = node_2("");
    let mut link = link(&cluster);
    let mut bytes = Vec::new();
    push_frame(&mut bytes, b"\xff\xff\xff\xff\xff\xff");
    let mut truncated = probe(1);
    let length = truncated.len() - 4 - 1;
    truncated.truncate(4 + length);
    truncated[..4].copy_from_slice(&(length as u32).to_le_bytes());
    bytes.extend(truncated);
    bytes.extend(frame_bytes(
        "nobody",
        1,
        &Message::Probe { epoch: Epoch(1), at: vec![], known: false },
    ));
    bytes.extend(probe(7));
    link.stream.write_all(&bytes).unwrap();
    assert!(message(&mut link).starts_with("State { epoch: 7, "));
    assert_eq!(cluster.counter(2, "dropped_bad_frame"), 3);
    assert_eq!(cluster.counter(2, "link_down"), 0);
    assert!(cluster.node(2).log_lines("dropped_bad_frame: a frame of node 1 is dropped") >= 1);
    // A frame beyond the limit is not read, so the link ends.
    link.stream.write_all(&[255; 4]).unwrap();
    assert!(link.frame().is_none(), "it is closed");
    assert_eq!(cluster.counter(2, "closed_too_long"), 1);
    assert_eq!(cluster.counter(2, "link_down"), 1);
    let line = "closed_too_long: node 1 announces a frame of 4294967295 bytes";
    assert_eq!(cluster.node(2).log_lines(line), 1);
}

#[test]
fn a_wrong_answer_to_the_nodes_own_greeting_is_told_and_it_dials_again() {
    let accepted = |id| Welcome::Accepted {
        id: NodeId(id),
        identity: 3,
        incarnation: 1,
        lamport: LamportTime(0),
    };
    let frame = |welcome: &Welcome<'_>| {
        let mut bytes = Vec::new();
        push_message(&mut bytes, welcome);
        bytes
    };
    for (answer, why) in [
        (frame(&accepted(9)), "node 9 is there"),
        (frame(&Welcome::Refused { reason: "no\x07".into() }), "it answers: no\\u{7}"),
        (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), "what listens there is no node"),
        (vec![3, 0, 0, 0, 255, 255, 255], "what listens there is no node"),
    ] {
        let mut cluster = Cluster::prepare(Setup::default());
        let addr = local(cluster.ports[2].native);
        let listener = TcpListener::bind(addr).unwrap();
        cluster.run(2);
        let mut first = Native::raw(listener.accept().unwrap().0);
        let hello = first.frame().unwrap();
        let hello = postcard::from_bytes::<Hello<'_>>(&hello).unwrap();
        let Role::Peer { cluster: name, id, to, .. } = hello.role else { panic!("{hello:?}") };
        assert_eq!((&*name, id, to), ("test", NodeId(2), NodeId(3)));
        first.stream.write_all(&answer).unwrap();
        assert!(first.frame().is_none(), "it is closed");
        let mut second = Native::raw(listener.accept().unwrap().0);
        assert!(second.frame().is_some(), "it greets again");
        second.stream.write_all(&frame(&accepted(3))).unwrap();
        wait_until("the link is up", LONG, || (cluster.counter(2, "link_up") == 1).then_some(()));
        assert_eq!(cluster.counter(2, "closed_bad_handshake"), 1);
        let line = format!("closed_bad_handshake: no link to node 3 at {addr}: {why}");
        assert_eq!(cluster.node(2).log_lines(&line), 1, "{}", cluster.node(2).stderr());
    }
}

#[test]
fn a_peer_that_takes_the_connection_and_says_nothing_is_dialled_again() {
    let setup = Setup { limits: "greeting_timeout_ms = 200".into(), ..Setup::default() };
    let mut cluster = Cluster::prepare(setup);
    let listener = TcpListener::bind(local(cluster.ports[2].native)).unwrap();
    cluster.run(2);
    for _ in 0..2 {
        let mut mute = Native::raw(listener.accept().unwrap().0);
        assert!(mute.frame().is_some(), "it greets");
        assert!(mute.frame().is_none(), "it gives up");
    }
    assert!(cluster.counter(2, "closed_too_slow") >= 2);
}

/// The config of node `id` with ports and a data directory of its own, as one who copies it would
/// change it; started.
fn twin(cluster: &Cluster, id: u32) -> (Node, Ports) {
    let ports = Ports::reserve();
    let own = cluster.ports[id as usize - 1];
    let mut config = cluster.config(id);
    for (old, new) in [(own.native, ports.native), (own.resp, ports.resp), (own.json, ports.json)] {
        config = config.replace(&format!(":{old}\""), &format!(":{new}\""));
    }
    let dir = cluster.dir.path();
    config = config.replace(&format!("data-{id}"), &format!("data-{id}-twin"));
    let path = dir.join(format!("node-{id}-twin.toml"));
    std::fs::write(&path, config).expect("a config");
    (Node::spawn(&path, &dir.join(format!("twin-{id}")), None), ports)
}

#[test]
fn a_second_process_of_an_id_is_refused_and_told_once_on_both_sides() {
    let limits = "greeting_timeout_ms = 1000".into();
    let setup = Setup { disk: true, put_timeout_ms: 500, limits, ..Setup::default() };
    let cluster = Cluster::start(setup);
    // Long enough ago that nobody can ask about its own greeting any more.
    let (start, lately) = (Instant::now(), Duration::from_secs(2));
    wait_until("the links are no new ones", LONG, || (start.elapsed() > lately).then_some(()));
    // Short for the twin's PUT, which nobody answers: one of the cluster may be late.
    let put = |id: u32, value: &[u8]| {
        wait_until("a PUT is in time", LONG, || {
            (cluster.resp(id).ask(&set(b"k", value)) == ok()).then_some(())
        });
    };
    put(1, b"v");
    let (twin, ports) = twin(&cluster, 1);
    let mine = format!("127.0.0.1:{}", cluster.ports[0].native);
    wait_until("it has tried several times, and both are told of", LONG, || {
        twin.assert_runs();
        let tried = [2, 3].iter().all(|id| cluster.counter(*id, "closed_bad_handshake") >= 4);
        let told = [&twin, cluster.node(1)].map(|node| node.log_lines("closed_bad_handshake"));
        (tried && told == [2, 2]).then_some(())
    });
    let stop = "another process says to node 2 that it is node 1: stop that one, or give it an id and \
                a data_dir of its own";
    let asked = format!(
        "node 1 at {mine}, where [peers] of node 2 has it, was asked whether this is it; \
                         it answers: {stop}"
    );
    let lines = cluster.node(2).log_lines(&format!("is refused: {asked}"));
    assert_eq!(lines, 1, "{}", cluster.node(2).stderr());
    assert_eq!(twin.log_lines(&format!("no link to node 2 at {}", cluster.native_addr(2))), 1);
    assert_eq!(twin.log_lines(stop), 1, "{}", twin.stderr());
    assert_eq!(cluster.node(1).log_lines(stop), 1, "{}", cluster.node(1).stderr());
    assert_eq!(cluster.node(2).log_lines("closed_bad_handshake"), 1);
    // Nobody hears it, and the cluster goes on.
    let answer = Resp::connect(local(ports.resp)).ask(&set(b"k", b"twin"));
    assert!(matches!(&answer, Answer::Error(_)), "{answer:?}");
    put(3, b"w");
    for id in 1..=3 {
        assert_eq!(cluster.resp(id).get("k"), bulk(b"w"));
        assert_eq!(cluster.counter(id, "link_down"), 0, "node {id}");
    }
}

/// One that nobody dials, as its id is the highest, asks why.
#[test]
fn a_second_process_that_waits_to_be_dialled_is_told_why_it_is_not() {
    with_more_time(1_500, |ms| {
        let limits = format!("link_timeout_ms = {ms}\nredial_max_ms = 200");
        wait_to_be_dialled(limits)
    });
}

/// An error when the cluster's own links were given up, for lack of time.
fn wait_to_be_dialled(limits: String) -> Result<(), String> {
    let cluster = Cluster::start(Setup { limits, ..Setup::default() });
    let (twin, _) = twin(&cluster, 3);
    let why = |me: u32| {
        let mine = cluster.native_addr(3);
        format!(
            "another process is node 3, at {mine}, where [peers] of node {me} has it: stop one of \
             them, or give this one an id and a data_dir of its own"
        )
    };
    wait_until("it knocks at both", LONG, || {
        [1, 2].iter().all(|me| twin.log_lines(&why(*me)) == 1).then_some(())
    });
    for me in [1, 2] {
        assert_eq!(cluster.node(me).log_lines(&why(me)), 1, "{}", cluster.node(me).stderr());
    }
    let down = [1, 2, 3].map(|id| cluster.counter(id, "link_down"));
    if down == [0; 3] { Ok(()) } else { Err(format!("{down:?} links went down")) }
}

#[test]
fn whoever_does_not_listen_where_the_peer_is_configured_is_no_peer() {
    let cluster = node_2("");
    let mut stranger = Native::raw(connect(cluster.native_addr(2)));
    stranger.greet(&greeting("test", 1, 2, LamportTime((1 << 63) - 1)));
    let mine = cluster.native_addr(1);
    let none = format!("node 1 does not answer at {mine}, where [peers] of node 2 has it");
    let refusal = stranger.refusal().expect("it is refused");
    assert!(refusal.starts_with(&none), "{refusal}");
    assert!(stranger.frame().is_none(), "it is closed");

    // The peer is there, and did not greet: what the stranger says does not count, nor its frames.
    let door = door(&cluster);
    let mut stranger = Native::raw(connect(cluster.native_addr(2)));
    let hello = greeting("test", 1, 2, LamportTime((1 << 63) - 1));
    stranger.greet(&hello);
    let mut forged = Vec::new();
    push_message(&mut forged, &Proof { challenge: 7 });
    stranger.stream.write_all(&forged).unwrap();
    let (mut question, _) = answer(&door, &hello, false);
    assert!(question.frame().is_none(), "one answer is all");
    let refusal = stranger.refusal().expect("it is refused");
    assert!(refusal.ends_with("it answers: it is another"), "{refusal}");
    let mut stranger = Native::raw(connect(cluster.native_addr(2)));
    stranger.greet(&hello);
    stranger.stream.write_all(&probe(1)).unwrap();
    let why = "it goes on before it has proved that it is the peer that it says it is";
    assert_eq!(stranger.refusal().as_deref(), Some(why));
    assert_eq!(cluster.counter(2, "link_up"), 0);
    drop(door);
    // Nor does its clock.
    let mut link = link(&cluster);
    link.stream.write_all(&probe(1)).unwrap();
    let (_, lamport) = envelope(&mut link);
    assert!(lamport < 1_000, "{lamport}");
}

/// The clock of the next message that is no heartbeat.
fn envelope(link: &mut Native) -> (u16, u64) {
    loop {
        let payload = link.frame().expect("the link is up");
        if let Ok((envelope, _)) = postcard::take_from_bytes::<(u16, u64)>(&payload) {
            return envelope;
        }
    }
}

#[test]
fn a_crowd_that_says_it_is_a_peer_does_not_keep_the_peer_out() {
    let start = Instant::now();
    let mut cluster = Cluster::start(Setup { nodes: 2, ..Setup::default() });
    cluster.kill(1);
    let addr = cluster.native_addr(2);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut crowd = VecDeque::new();
                while !done.load(Ordering::Relaxed) {
                    let mut one = Native::raw(connect(addr));
                    one.greet(&peer("test", 1, 2));
                    crowd.push_back(one);
                    if crowd.len() > 100 {
                        crowd.pop_front();
                    }
                }
            });
        }
        let linked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            cluster.run(1);
            cluster.wait_ready();
            cluster.resp(1).set("k", "v");
        }));
        done.store(true, Ordering::Relaxed);
        linked.expect("the peer is linked");
    });
    assert_eq!(cluster.counter(1, "link_down"), 0);
    let lines = cluster.node(2).log_lines("closed_bad_handshake");
    let most = 30 + start.elapsed().as_secs() as usize;
    assert!((1..=most).contains(&lines), "{lines} lines");
}

/// What a peer that lies can do, and what older versions stored: the cluster goes on from there.
#[test]
fn a_clock_that_lies_took_to_the_end_stops_no_write_and_no_restart() {
    let mut cluster = Cluster::prepare(Setup { disk: true, ..Setup::default() });
    cluster.run(2);
    let far = (1 << 63) + (1 << 40);
    drop(greeted(&cluster, LamportTime(far)));
    let mut refused = Native::raw(connect(cluster.native_addr(2)));
    let hello = greeting("test", 1, 2, LamportTime(u64::MAX));
    refused.greet(&hello);
    let (_question, challenge) = answer(&door(&cluster), &hello, true);
    refused.prove(challenge);
    let why = refused.refusal().expect("no clock can be there");
    assert!(why.starts_with("its Lamport value 18446744073709551615 is too far above"), "{why}");
    for value in ["a", "b"] {
        for id in 1..=3 {
            if id != 2 || value == "b" {
                cluster.run(id);
            }
        }
        cluster.wait_ready();
        cluster.resp(1).set("k", value);
        cluster.resp(2).set("k2", value);
        cluster.wait_equal(LONG);
        for id in 1..=3 {
            assert_eq!(cluster.terminate(id).code(), Some(0));
        }
    }
    cluster.run(3);
    cluster.run(2);
    let mut link = greeted(&cluster, LamportTime(0));
    link.stream.write_all(&probe(1 << 40)).unwrap();
    assert!(envelope(&mut link).1 > far, "its clock does not go back");
}
