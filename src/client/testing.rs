//! Blocking fake nodes for the tests of clients: one thread to listen, one for each connection.

use super::push_request;
use node_lab::wire::{self, Frame, Hello, MAX_HELLO_BYTES, Welcome};
use node_protocols::core::{LamportTime, NodeId};
use node_protocols::kv_replication::{Reply, Request, Timestamp};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The timeout of what must not time out, in milliseconds: only a failure waits this long.
pub const LONG_MS: u64 = 120_000;

/// Tries what has to time out, and what has to be done in time beside it, with a timeout in
/// milliseconds that grows until a busy machine has done the one before the other: no verdict
/// depends on how fast it is. An error says what was seen instead.
#[track_caller]
pub fn with_more_time<T>(first_ms: u64, mut attempt: impl FnMut(u64) -> Result<T, String>) -> T {
    let mut timeout_ms = first_ms;
    loop {
        match attempt(timeout_ms) {
            Ok(shown) => return shown,
            Err(seen) => assert!(timeout_ms < LONG_MS / 2, "not within {timeout_ms} ms: {seen}"),
        }
        timeout_ms *= 2;
    }
}

/// What the fake does about a request.
pub enum Answer {
    /// Replies.
    Reply(Reply<'static>),
    /// Replies with what another protocol has encoded.
    Encoded(Vec<u8>),
    /// Replies, and closes the connection.
    ReplyAndClose(Reply<'static>),
    /// Writes these bytes.
    Raw(Vec<u8>),
    /// Says nothing, and leaves the connection open.
    Silence,
    /// Closes the connection.
    Close,
}

/// A fake node; it runs until the test's process ends.
pub struct FakeNode {
    /// Where it listens.
    pub addr: SocketAddr,
}

impl FakeNode {
    /// Answers each request as `answer` says.
    pub fn start(mut answer: impl FnMut(Request<'_>) -> Answer + Send + 'static) -> FakeNode {
        FakeNode::start_encoded(move |body| answer(postcard::from_bytes(body).unwrap()))
    }

    /// Answers each request, of whatever protocol, as `answer` says.
    pub fn start_encoded(answer: impl FnMut(&[u8]) -> Answer + Send + 'static) -> FakeNode {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let answer = Arc::clone(&answer);
                thread::spawn(move || serve(stream.unwrap(), &answer));
            }
        });
        FakeNode { addr }
    }

    /// A store of its own, which keeps the rules of the real one.
    pub fn store() -> FakeNode {
        let mut table: HashMap<Vec<u8>, (Vec<u8>, Timestamp)> = HashMap::new();
        let mut last = Timestamp(0);
        FakeNode::start(move |request| {
            Answer::Reply(match request {
                Request::Put { key, value } => {
                    last = last.next();
                    table.insert(key.to_vec(), (value.to_vec(), last));
                    Reply::PutOk { timestamp: last }
                }
                Request::Get { key, timestamp: known, .. } => match table.get(&key[..]) {
                    None if known == Timestamp(0) => Reply::Null {},
                    None => Reply::TryOtherServerOrLater { timestamp: Timestamp(0) },
                    Some((_, timestamp)) if *timestamp < known => {
                        Reply::TryOtherServerOrLater { timestamp: *timestamp }
                    }
                    Some((value, timestamp)) => {
                        let value = node_protocols::core::Bytes(value.clone().into());
                        Reply::Value { value, timestamp: *timestamp }
                    }
                },
                Request::Info {} => Reply::NotApplied { reason: "no info here".into() },
            })
        })
    }
}

impl super::Client {
    /// Blocks until the other side has closed.
    pub fn wait_for_close(&self) {
        self.stream.set_read_timeout(None).unwrap();
        assert_eq!(self.stream.peek(&mut [0]).unwrap(), 0);
    }
}

/// Writes `bytes` to whoever connects, and closes once the other side has.
pub fn raw_server(bytes: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    addr
}

fn serve(mut stream: TcpStream, answer: &Mutex<impl FnMut(&[u8]) -> Answer>) -> Option<()> {
    stream.set_nodelay(true).unwrap();
    let mut input = Vec::new();
    let hello = read_frame(&mut stream, &mut input, MAX_HELLO_BYTES)?;
    assert_eq!(postcard::from_bytes::<Hello>(&hello).unwrap().magic, wire::MAGIC);
    let mut out = Vec::new();
    let lamport = LamportTime::default();
    let accepted = Welcome::Accepted { id: NodeId(7), identity: 7, incarnation: 1, lamport };
    wire::push_message(&mut out, &accepted);
    stream.write_all(&out).ok()?;
    loop {
        let payload = read_frame(&mut stream, &mut input, super::MAX_FRAME_BYTES)?;
        let (sequence, body) = payload.split_first_chunk().unwrap();
        let answered = (answer.lock().unwrap())(body);
        out.clear();
        match answered {
            Answer::Reply(reply) => push_request(&mut out, u32::from_le_bytes(*sequence), &reply),
            Answer::ReplyAndClose(reply) => {
                push_request(&mut out, u32::from_le_bytes(*sequence), &reply);
                stream.write_all(&out).ok()?;
                return None;
            }
            Answer::Encoded(reply) => wire::push_frame_with(&mut out, |out| {
                out.extend_from_slice(sequence);
                out.extend_from_slice(&reply);
            }),
            Answer::Raw(bytes) => out.extend(bytes),
            Answer::Silence => {}
            Answer::Close => return None,
        }
        stream.write_all(&out).ok()?;
    }
}

fn read_frame(stream: &mut TcpStream, input: &mut Vec<u8>, limit: usize) -> Option<Vec<u8>> {
    let mut buffer = [0; 4096];
    loop {
        match wire::next_frame(input, limit) {
            Frame::Whole { payload, used } => {
                let payload = payload.to_vec();
                input.drain(..used);
                return Some(payload);
            }
            Frame::TooLong { length } => panic!("a client sent a frame of {length} bytes"),
            Frame::Incomplete => {
                let n = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
                input.extend_from_slice(&buffer[..n]);
            }
        }
    }
}
