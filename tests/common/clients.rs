//! Small blocking clients of the three gateways. Every wait of theirs ends after [`LONG`].

use super::LONG;
use node_lab::wire::{
    Frame, Hello, Proof, Role, Welcome, next_frame, push_frame_with, push_message,
};
use node_protocols::core::{LamportTime, NodeId};
use node_protocols::kv_replication::{Reply, Request, Timestamp};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Connects, with deadlines on everything that follows.
pub fn connect(addr: SocketAddr) -> TcpStream {
    try_connect(addr).unwrap_or_else(|error| panic!("cannot connect to {addr}: {error}"))
}

pub fn try_connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, LONG)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LONG))?;
    stream.set_write_timeout(Some(LONG))?;
    Ok(stream)
}

/// Reads until the other side closes, gently or not; panics when it does not.
#[track_caller]
pub fn read_to_close(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection is not closed: {error}; read {bytes:?}"),
    }
    bytes
}

/// One answer of the RESP gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Status(String),
    Error(String),
    Bulk(Vec<u8>),
    Null,
}

/// A Redis client.
pub struct Resp {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// A command in RESP's form.
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

pub fn set(key: &[u8], value: &[u8]) -> Vec<u8> {
    command(&[b"SET", key, value])
}

pub fn get(key: &[u8]) -> Vec<u8> {
    command(&[b"GET", key])
}

pub fn bulk(value: &[u8]) -> Answer {
    Answer::Bulk(value.to_vec())
}

pub fn ok() -> Answer {
    Answer::Status("OK".into())
}

impl Resp {
    pub fn connect(addr: SocketAddr) -> Resp {
        Resp { stream: connect(addr), buffer: Vec::new() }
    }

    pub fn try_connect(addr: SocketAddr) -> io::Result<Resp> {
        Ok(Resp { stream: try_connect(addr)?, buffer: Vec::new() })
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the node reads");
    }

    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.try_answer().expect("the node answers")
    }

    pub fn try_answer(&mut self) -> io::Result<Answer> {
        let line = self.line()?;
        let (kind, rest) = line.split_at(1);
        Ok(match kind {
            "+" => Answer::Status(rest.into()),
            "-" => Answer::Error(rest.into()),
            "$" if rest == "-1" => Answer::Null,
            "$" => {
                let length = rest.parse::<usize>().expect("a length");
                self.fill(length + 2)?;
                let mut value: Vec<u8> = self.buffer.drain(..length + 2).collect();
                assert!(value.ends_with(b"\r\n"), "a bulk string has an end");
                value.truncate(length);
                Answer::Bulk(value)
            }
            _ => panic!("no answer of this store: {line:?}"),
        })
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(String::from_utf8(line[..end].to_vec()).expect("a line is text"));
            }
            self.fill(self.buffer.len() + 1)?;
        }
    }

    fn fill(&mut self, length: usize) -> io::Result<()> {
        let mut chunk = [0; 64 << 10];
        while self.buffer.len() < length {
            match self.stream.read(&mut chunk)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                n => self.buffer.extend_from_slice(&chunk[..n]),
            }
        }
        Ok(())
    }

    #[track_caller]
    pub fn ask(&mut self, bytes: &[u8]) -> Answer {
        self.send(bytes);
        self.answer()
    }

    #[track_caller]
    pub fn set(&mut self, key: &str, value: &str) {
        assert_eq!(self.ask(&set(key.as_bytes(), value.as_bytes())), ok(), "SET {key} {value}");
    }

    #[track_caller]
    pub fn get(&mut self, key: &str) -> Answer {
        self.ask(&get(key.as_bytes()))
    }

    #[track_caller]
    pub fn info(&mut self) -> BTreeMap<String, String> {
        let Answer::Bulk(text) = self.ask(&command(&[b"INFO"])) else {
            panic!("INFO is a bulk string")
        };
        let text = String::from_utf8(text).expect("INFO is text");
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        pairs.map(|(key, value)| (key.into(), value.into())).collect()
    }
}

/// A client of one JSON object a line.
pub struct Json {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Json {
    pub fn connect(addr: SocketAddr) -> Json {
        Json { stream: connect(addr), buffer: Vec::new() }
    }

    #[track_caller]
    pub fn send(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\n").as_bytes()).expect("the node reads");
    }

    #[track_caller]
    pub fn answer(&mut self) -> serde_json::Value {
        let mut chunk = [0; 64 << 10];
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).expect("an answer is JSON");
            }
            let n = self.stream.read(&mut chunk).expect("the node answers");
            assert!(n > 0, "closed in the middle of {:?}", String::from_utf8_lossy(&self.buffer));
            self.buffer.extend_from_slice(&chunk[..n]);
        }
    }

    #[track_caller]
    pub fn ask(&mut self, line: &str) -> serde_json::Value {
        self.send(line);
        self.answer()
    }
}

/// A connection of frames: a native client, or whoever a test plays.
pub struct Native {
    pub stream: TcpStream,
    buffer: Vec<u8>,
    next_sequence: u32,
}

impl Native {
    /// A client, greeted and welcome.
    pub fn connect(addr: SocketAddr) -> Native {
        let mut native = Native::raw(connect(addr));
        native.greet(&Hello::new(Role::Client { protocol: "kv_replication".into() }));
        let welcome = native.frame().expect("a welcome");
        let welcome = postcard::from_bytes::<Welcome<'_>>(&welcome);
        assert!(matches!(welcome, Ok(Welcome::Accepted { .. })), "{welcome:?}");
        native
    }

    /// A client, greeted and welcome, unless there is no place for it.
    pub fn try_client(addr: SocketAddr) -> Option<Native> {
        let mut native = Native::raw(connect(addr));
        native.greet(&Hello::new(Role::Client { protocol: "kv_replication".into() }));
        native.refusal().is_none().then_some(native)
    }

    pub fn raw(stream: TcpStream) -> Native {
        Native { stream, buffer: Vec::new(), next_sequence: 0 }
    }

    pub fn greet(&mut self, hello: &Hello<'_>) {
        let mut bytes = Vec::new();
        push_message(&mut bytes, hello);
        self.stream.write_all(&bytes).expect("the node reads");
    }

    /// The next frame's payload; none when the node has closed.
    pub fn frame(&mut self) -> Option<Vec<u8>> {
        let mut chunk = [0; 64 << 10];
        loop {
            match next_frame(&self.buffer, 1 << 30) {
                Frame::Whole { payload, used } => {
                    let payload = payload.to_vec();
                    self.buffer.drain(..used);
                    return Some(payload);
                }
                Frame::TooLong { length } => panic!("a frame of {length} bytes"),
                Frame::Incomplete => {}
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("neither a frame nor an end: {error}"),
            }
        }
    }

    /// The answer to a greeting: nothing, or why it is refused.
    pub fn refusal(&mut self) -> Option<String> {
        let frame = self.frame().expect("an answer to the greeting");
        match postcard::from_bytes::<Welcome<'_>>(&frame).expect("a welcome") {
            Welcome::Accepted { .. } => None,
            Welcome::Refused { reason } => Some(reason.into_owned()),
        }
    }

    /// A link to the node at `addr`, greeted as a peer that listens on `door`, and proved there.
    pub fn link(addr: SocketAddr, hello: &Hello<'_>, door: &TcpListener) -> Native {
        let mut link = Native::raw(connect(addr));
        link.greet(hello);
        let (_question, challenge) = answer(door, hello, true);
        link.prove(challenge);
        assert_eq!(link.refusal(), None);
        link
    }

    pub fn prove(&mut self, challenge: u128) {
        let mut bytes = Vec::new();
        push_message(&mut bytes, &Proof { challenge });
        self.stream.write_all(&bytes).expect("the node reads");
    }

    pub fn request_bytes(&mut self, request: &Request<'_>) -> (u32, Vec<u8>) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let mut bytes = Vec::new();
        push_frame_with(&mut bytes, |out| {
            out.extend_from_slice(&sequence.to_le_bytes());
            node_protocols::core::encode(request, out);
        });
        (sequence, bytes)
    }

    pub fn send(&mut self, request: &Request<'_>) -> u32 {
        let (sequence, bytes) = self.request_bytes(request);
        self.stream.write_all(&bytes).expect("the node reads");
        sequence
    }

    /// The next reply, with the sequence of its request.
    #[track_caller]
    pub fn reply(&mut self) -> (u32, Reply<'static>) {
        let frame = self.frame().expect("a reply");
        let (sequence, reply) = frame.split_first_chunk::<4>().expect("a sequence");
        let reply = postcard::from_bytes::<Reply<'_>>(reply).expect("a reply decodes");
        (u32::from_le_bytes(*sequence), owned(reply))
    }

    #[track_caller]
    pub fn ask(&mut self, request: &Request<'_>) -> Reply<'static> {
        let sequence = self.send(request);
        let (answered, reply) = self.reply();
        assert_eq!(answered, sequence, "one request, one reply");
        reply
    }

    #[track_caller]
    pub fn put(&mut self, key: &str, value: &str) -> Timestamp {
        match self.ask(&Request::Put { key: key.into(), value: value.into() }) {
            Reply::PutOk { timestamp } => timestamp,
            other => panic!("PUT {key} {value}: {other:?}"),
        }
    }

    #[track_caller]
    pub fn get(&mut self, key: &str, timestamp: u64) -> Reply<'static> {
        let (timestamp, applied) = (Timestamp(timestamp), Timestamp(0));
        self.ask(&Request::Get { key: key.into(), timestamp, applied })
    }
}

/// Answers the question that comes to a peer's door, whether it is greeting; gives the challenge.
pub fn answer(door: &TcpListener, hello: &Hello<'_>, greets: bool) -> (Native, u128) {
    let (mut question, (id, to, challenge)) = loop {
        let mut question = Native::raw(door.accept().expect("the node asks").0);
        question.stream.set_read_timeout(Some(LONG)).expect("a deadline");
        let asked = question.frame().expect("a question");
        match postcard::from_bytes::<Hello<'_>>(&asked).expect("a greeting").role {
            Role::Verify { id, to, challenge, .. } => break (question, (id, to, challenge)),
            // It waits for the peer that this is.
            Role::Knock { .. } => {}
            asked => panic!("{asked:?}"),
        }
    };
    let Role::Peer { id: me, to: node, identity, incarnation, .. } = hello.role else {
        panic!("{hello:?}")
    };
    assert_eq!((id, to), (node, me));
    let lamport = LamportTime(0);
    let mut bytes = Vec::new();
    let answer = match greets {
        true => Welcome::Accepted { id: NodeId(me.0), identity, incarnation, lamport },
        false => Welcome::Refused { reason: "it is another".into() },
    };
    push_message(&mut bytes, &answer);
    question.stream.write_all(&bytes).expect("the node reads");
    (question, challenge)
}

fn owned(reply: Reply<'_>) -> Reply<'static> {
    match reply {
        Reply::PutOk { timestamp } => Reply::PutOk { timestamp },
        Reply::NotApplied { reason } => Reply::NotApplied { reason: reason.into_owned().into() },
        Reply::MayStillApply { reason } => {
            Reply::MayStillApply { reason: reason.into_owned().into() }
        }
        Reply::Value { value, timestamp } => {
            let value = node_protocols::core::Bytes(value.to_vec().into());
            Reply::Value { value, timestamp }
        }
        Reply::Null {} => Reply::Null {},
        Reply::TryOtherServerOrLater { timestamp } => Reply::TryOtherServerOrLater { timestamp },
        Reply::Info(_) => panic!("tests ask for INFO by RESP or JSON"),
    }
}
