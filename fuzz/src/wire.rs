//! What peers and native clients send: frames, greetings, and the bodies behind an envelope.

use super::nodes::{self, Blueprint};
use super::{Input, cut};
use node_lab::wire::{Frame, Hello, Proof, Welcome, next_frame, push_frame, push_message};
use node_protocols::core::{Host, LamportTime, MAX_BRIEF, NodeId, Now};
use std::cell::OnceCell;

thread_local! {
    static NODES: OnceCell<Vec<(&'static str, Blueprint)>> = const { OnceCell::new() };
}

/// The first byte says what the others are.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 4 {
        0 => frames(&mut input),
        1 => greeting(input.rest()),
        2 => bodies(&mut input),
        _ => envelopes(&mut input),
    }
}

/// The same frames come out of a stream wherever it is cut, and what they were made of.
fn frames(input: &mut Input<'_>) {
    let limit = usize::from(input.number() % 1_000);
    let seed = input.number();
    let stream = input.rest();
    let whole = frames_of(&[stream], limit);
    assert_eq!(frames_of(&cut(stream, seed), limit), whole, "cuts change no frame");
    let (payloads, _) = whole;
    let mut again = Vec::new();
    payloads.iter().for_each(|payload| push_frame(&mut again, payload));
    assert!(stream.starts_with(&again), "a frame is written as it was read");
}

/// The payloads, and the length of a frame that is too long.
fn frames_of(pieces: &[&[u8]], limit: usize) -> (Vec<Vec<u8>>, Option<usize>) {
    let (mut payloads, mut inbox) = (Vec::new(), Vec::new());
    for piece in pieces {
        inbox.extend_from_slice(piece);
        let mut start = 0;
        loop {
            match next_frame(&inbox[start..], limit) {
                Frame::Incomplete => break,
                Frame::Whole { payload, used } => {
                    assert!(payload.len() <= limit && (1..=inbox.len() - start).contains(&used));
                    payloads.push(payload.to_vec());
                    start += used;
                }
                Frame::TooLong { length } => {
                    assert!(length > limit);
                    return (payloads, Some(length));
                }
            }
        }
        inbox.drain(..start);
    }
    (payloads, None)
}

/// What decodes as a greeting is one: written again and read again it is the same.
fn greeting(bytes: &[u8]) {
    if let Ok(hello) = postcard::from_bytes::<Hello<'_>>(bytes) {
        let mut out = Vec::new();
        push_message(&mut out, &hello);
        assert_eq!(postcard::from_bytes::<Hello<'_>>(&out[4..]).as_ref(), Ok(&hello));
    }
    let _ = postcard::from_bytes::<Proof>(bytes);
    if let Ok(welcome) = postcard::from_bytes::<Welcome<'_>>(bytes) {
        let mut out = Vec::new();
        push_message(&mut out, &welcome);
        assert_eq!(postcard::from_bytes::<Welcome<'_>>(&out[4..]).as_ref(), Ok(&welcome));
    }
}

/// Decodes a body as each kind that a protocol has, and shows it as traces do.
fn bodies(input: &mut Input<'_>) {
    let chosen = input.byte();
    with_host(chosen, |host| {
        let body = input.rest();
        for protocol in host.protocols() {
            protocol.describe(body);
            protocol.describe_request(body);
            protocol.describe_reply(body);
            let briefs = [
                protocol.brief(body),
                protocol.brief_request(body),
                protocol.brief_reply(body),
                protocol.brief_record(body),
            ];
            for brief in briefs.into_iter().flatten() {
                // With the `…` of what is cut.
                assert!(brief.chars().count() <= MAX_BRIEF + 1, "{brief}");
                assert!(!brief.contains(char::is_control), "{brief:?}");
            }
        }
    });
}

/// Payloads of frames for a Host without peers: each is taken or refused.
fn envelopes(input: &mut Input<'_>) {
    let chosen = input.byte();
    with_host(chosen, |host| {
        host.handle_start(Now::default());
        while !input.is_empty() {
            let lamport = LamportTime(u64::from_le_bytes(std::array::from_fn(|_| input.byte())));
            let _ = host.handle_greeting(lamport, Now::default());
            let payload = input.short();
            let (described, at) = (host.describe_parts(payload), Host::lamport_of(payload));
            let before = host.lamport();
            let done = host.handle_frame(NodeId(2), payload, Now::default());
            match done {
                Ok(()) => assert!(host.lamport() > before && described.is_some() && at.is_some()),
                Err(_) => assert_eq!(host.lamport(), before, "what is dropped moves no clock"),
            }
            host.handle_turn_end();
            host.check_invariants();
        }
    });
}

fn with_host(chosen: u8, then: impl FnOnce(&mut Host)) {
    NODES.with(|nodes| {
        let nodes = nodes.get_or_init(nodes::alone);
        then(&mut nodes[usize::from(chosen) % nodes.len()].1.host(1));
    });
}
