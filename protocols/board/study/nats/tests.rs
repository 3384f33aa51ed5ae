//! What a NATS client makes of what it is told, piece by piece.

use super::*;

const INFO: &str = "INFO {\"server_id\":\"x\",\"max_payload\":1}\r\n";

/// A connection that wants an `+OK` for everything, or not, and has said so.
fn connected(is_verbose: bool) -> Nats {
    let mut nats = Nats::new(1, 1);
    nats.state = State { is_greeted: true, is_connected: true, is_verbose, ..State::default() };
    nats
}

/// One that is subscribed to `topic.0`, and has copies of what is under `topic.*`.
fn listening() -> Nats {
    let mut nats = connected(false);
    nats.state.add(Kind::Topic, "topic.0", "");
    nats.state.add(Kind::Copy, "topic.*", "");
    nats.state.ping(Tells::Subscribed);
    assert_eq!(nats.say(), b"SUB topic.0 0\r\nSUB topic.* 1\r\nPING\r\n");
    assert_eq!(heard(&mut nats, "PONG\r\n"), Ok(vec![subscribed("topic.0")]));
    nats
}

/// What it makes of something that is told in single bytes, as any other pieces are made of these.
fn heard(nats: &mut Nats, text: &str) -> Result<Vec<Told>, String> {
    let mut said = Vec::new();
    for byte in text.as_bytes() {
        said.append(&mut nats.hear(&[*byte])?);
    }
    Ok(said)
}

fn subscribed(topic: &'static str) -> Told {
    Told::Answer(Reply::Subscribed { topic: topic.into(), timestamp: 0, clock: CLOCK })
}

fn message(text: &'static str, reply: Option<&'static str>, headers: Option<&'static str>) -> Told {
    let bytes = |text: &'static str| Bytes::new(text.as_bytes());
    Told::Pushed(Reply::Message {
        topic: "topic.0".into(),
        user: "".into(),
        server: None,
        text: bytes(text),
        reply: reply.map(Cow::Borrowed),
        headers: headers.map(bytes),
        member: None,
        timestamp: 0,
        clock: CLOCK,
    })
}

#[test]
fn what_is_published_is_heard_once_and_with_what_goes_beside_it() {
    let mut nats = listening();
    // What looks like another message is text.
    let text =
        "MSG topic.0 0 inbox.1 9\r\n\r\nMSG a 1\r\nMSG topic.0 1 inbox.1 9\r\n\r\nMSG a 1\r\n";
    assert_eq!(heard(&mut nats, text), Ok(vec![message("\r\nMSG a 1", Some("inbox.1"), None)]));
    // Copies of what the client has not asked for by its topic do not count.
    assert_eq!(heard(&mut nats, "MSG topic.7 1 1\r\nx\r\n"), Ok(vec![]));
    nats.state.has_headers = true;
    let header = "NATS/1.0\r\nA: b\r\n\r\n";
    let bytes = header.len();
    let text = format!("HMSG topic.0 0 {bytes} {}\r\n{header}x\r\n", bytes + 1);
    assert_eq!(heard(&mut nats, &text), Ok(vec![message("x", None, Some(header))]));
}

#[test]
fn copies_come_together_and_no_more_often_than_they_are_to() {
    let one = "MSG topic.0 0 1\r\nx\r\n";
    let (copy, other) = ("MSG topic.0 1 1\r\nx\r\n", "MSG topic.0 0 1\r\ny\r\n");
    for (texts, why) in [
        (&[one, other][..], "not for subscription 1"),
        (&[copy, other], "not for subscription 0"),
        (&[one, "PING\r\n"], "not for subscription 1"),
        (&[one, copy, copy, other], "not for subscription 0"),
    ] {
        let error = heard(&mut listening(), &texts.concat()).expect_err("it is none");
        assert!(error.contains(why), "{texts:?}: {error}");
    }
    // A subscription that is to end has what was on the way before the PONG, and then no more.
    for (before, after, is_sound) in
        [(2, 0, true), (1, 1, true), (1, 0, false), (1, 2, false), (2, 1, false), (3, 0, true)]
    {
        let mut nats = listening();
        nats.state.subscriptions[1].limit = Some(2);
        nats.state.expected.push_back(Expected::Pong(Tells::Limited(1)));
        let copied = |n: usize| format!("MSG topic.0 0 1\r\n{n}\r\nMSG topic.0 1 1\r\n{n}\r\n");
        let text: String = (0..before).map(copied).collect();
        let more: String = (before..before + after).map(copied).collect();
        let text = [&text, "PONG\r\n", &more, other, other].concat();
        let said = heard(&mut nats, &text);
        assert_eq!(said.is_ok(), is_sound, "{before} and {after}: {said:?}");
    }
}

#[test]
fn a_post_is_published_when_that_is_told_in_its_turn() {
    let sent = Reply::Sent { server: SERVER, timestamp: 0, clock: CLOCK };
    let done = Ok(vec![Told::Answer(sent)]);
    let mut nats = connected(true);
    nats.state.expect_ok(Tells::Posted);
    assert_eq!(heard(&mut nats, "+OK\r\n"), done);
    nats.state.expect_ok(Tells::Nothing);
    nats.state.ping(Tells::Posted);
    assert_eq!(heard(&mut nats, "+OK\r\nPONG\r\n"), done);
    assert!(heard(&mut nats, "PONG\r\n").is_err(), "nobody asked");
    nats.state.expect_ok(Tells::Nothing);
    nats.state.ping(Tells::Posted);
    assert!(heard(&mut nats, "PONG\r\n").is_err(), "in the order of the requests");
}

#[test]
fn that_nobody_listens_is_told_to_who_waits_for_answers() {
    let waiting = || {
        let mut nats = connected(false);
        nats.state.has_headers = true;
        nats.state.add(Kind::Inbox, "inbox.1.*", "");
        nats.state.inbox = Some("inbox.1.3".into());
        nats
    };
    let nobody = "HMSG inbox.1.3 0 16 16\r\nNATS/1.0 503\r\n\r\n\r\n";
    assert_eq!(heard(&mut waiting(), nobody), Ok(vec![]));
    for wrong in [&nobody.replace("1.3", "1.4")[..], "MSG inbox.1.3 0 0\r\n\r\n"] {
        assert!(heard(&mut waiting(), wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_no_server_says_is_refused() {
    assert_eq!(heard(&mut Nats::new(1, 1), INFO), Ok(vec![]));
    for wrong in [
        &format!("{INFO}{INFO}")[..],
        "INFO {}\r\n",
        "+OK\r\n",
        "PONG\r\n",
        "-ERR 'Permissions Violation: x'\r\n",
        "MSG topic.0 7 0\r\n\r\n",
        "MSG topic.1 0 0\r\n\r\n",
        "MSG topic.0 0\r\n\r\n",
        "MSG topic.0 0 x\r\n",
        "MSG topic.0 0 1\r\nxyz",
        "HMSG topic.0 0 12 12\r\nNATS/1.0\r\n\r\n\r\n",
        "HMSG topic.0 0 13 12\r\nNATS/1.0\r\n\r\n\r\n",
        "{\"service\":\"sent\"}\r\n",
    ] {
        let mut nats = listening();
        nats.state.is_greeted = false;
        assert!(heard(&mut nats, wrong).is_err(), "{wrong}");
    }
}
