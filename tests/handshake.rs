//! How a node takes to others that say they are its peers: raw sockets play node 1, which dials
//! the node under test, and node 3, which it dials. The node under test is node 2.

mod common;

use common::clients::{Native, answer, connect};
use common::{Cluster, LONG, Setup, local, wait_until};
use node::net::wire::{Hello, Proof, Role, VERSION, Welcome, push_frame, push_message};
use node_protocols::core::{Epoch, LamportTime, NodeId, encode, protocol_tag};
use node_protocols::kv_replication::{Message, Timestamp};
use std::io::Write;
use std::net::TcpListener;

/// Node 2 of three, alone.
fn node_2(limits: &str) -> Cluster {
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
    TcpListener::bind(cluster.native_addr(1)).expect("its port is free")
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
    frame_bytes("kv_replication", 1, &Message::Probe { epoch: Epoch(epoch) })
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
    assert_eq!(message(&mut first), "State { epoch: 5, applied: 0 }");
    let mut second = link(&cluster);
    while let Some(payload) = first.frame() {
        assert!(payload.is_empty(), "nothing but heartbeats until it is closed");
    }
    second.stream.write_all(&probe(6)).unwrap();
    assert_eq!(message(&mut second), "State { epoch: 6, applied: 0 }");
    assert_eq!((cluster.counter(2, "link_up"), cluster.counter(2, "link_down")), (2, 1));
    drop(second);
    wait_until("the link is down", LONG, || (cluster.counter(2, "link_down") == 2).then_some(()));
}

#[test]
fn a_link_that_flaps_does_not_flood_the_log() {
    let cluster = node_2("");
    for _ in 0..200 {
        drop(link(&cluster));
    }
    wait_until("every end is seen", LONG, || {
        (cluster.counter(2, "link_down") >= 200).then_some(())
    });
    let lines = cluster.node(2).log_lines("link to node");
    // Ten in ten seconds, and this takes less than some of those.
    assert!((1..=100).contains(&lines), "{lines} lines");
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
    let resume = Message::Resume { epoch, head: Timestamp(0) };
    bytes.extend(frame_bytes("kv_replication", 2, &resume));
    let (key, value) = (b"k".into(), b"v".into());
    let put = Message::Replication { epoch, timestamp: Timestamp(1), key, value };
    bytes.extend(frame_bytes("kv_replication", 3, &put));
    for byte in bytes {
        stream.write_all(&[byte]).unwrap();
    }
    let mut link = Native::raw(stream);
    assert_eq!(link.refusal(), None);
    assert_eq!(message(&mut link), "State { epoch: 5, applied: 0 }");
    assert_eq!(message(&mut link), "ReplicationOk { epoch: 5, applied: 0 }");
    assert_eq!(message(&mut link), "ReplicationOk { epoch: 5, applied: 1 }");
    assert_eq!(cluster.info(2)["applied_timestamp"], "1");
}

/// Whoever is truly that far ahead is caught up with when the link is made anew; a forger gains
/// nothing.
#[test]
fn a_clock_too_far_ahead_is_refused_in_a_frame_and_caught_up_with_in_a_greeting() {
    let cluster = node_2("");
    let mut link = link(&cluster);
    let ahead = 1 << 40;
    let probe =
        |lamport| frame_bytes("kv_replication", lamport, &Message::Probe { epoch: Epoch(1) });
    for forged in [u64::MAX, ahead] {
        link.stream.write_all(&probe(forged)).unwrap();
        while link.frame().is_some() {}
        link = greeted(&cluster, LamportTime(7));
    }
    assert_eq!(cluster.counter(2, "dropped_lamport_jump"), 2);
    // What was too far is not any more, behind a greeting that says so.
    link = greeted(&cluster, LamportTime(ahead - 1));
    link.stream.write_all(&probe(ahead)).unwrap();
    assert_eq!(message(&mut link), "State { epoch: 1, applied: 0 }");
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
    bytes.extend(frame_bytes("nobody", 1, &Message::Probe { epoch: Epoch(1) }));
    bytes.extend(probe(7));
    link.stream.write_all(&bytes).unwrap();
    assert_eq!(message(&mut link), "State { epoch: 7, applied: 0 }");
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
