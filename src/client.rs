//! The blocking native client: one connection to one node, one request at a time, and what the node
//! pushes without being asked.
//!
//! It owns the socket and the deadlines, and knows nothing of any protocol's requests. Every error
//! says what to do next, and whether the request may have reached the node: that decides whether
//! sending it again, or elsewhere, could make it take effect twice.

pub mod socket;
#[cfg(test)]
pub(crate) mod testing;

use node_lab::wire::{
    self, Frame, Hello, LENGTH_BYTES, MAX_HELLO_BYTES, PUSHED, Role, SEQUENCE_BYTES, Welcome,
};
use node_protocols::core::{Escaped, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::time::{Duration, Instant};

/// The longest request or reply: the frames that a node takes are no longer either.
pub const MAX_FRAME_BYTES: usize = 16 << 20;

/// How much is read at a time: a length alone never makes the client set memory aside.
const READ_BYTES: usize = 64 << 10;

/// How much may be pushed while a reply is awaited. It is kept, since a subscriber must not lose it
/// unawares; a node that pushes more and does not answer is given up.
const MAX_PUSHED_BYTES: usize = 64 << 20;

/// The system takes no timeout of nothing.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);

/// A connection to one node, past the greeting.
pub struct Client {
    addr: SocketAddr,
    node: NodeId,
    stream: TcpStream,
    input: Vec<u8>,
    /// Whether `input` is a frame that has been read: the next one begins behind it.
    is_read: bool,
    output: Vec<u8>,
    sequence: u32,
    /// What was pushed while a reply was awaited, oldest first, and how long that is in all.
    pushed: VecDeque<Vec<u8>>,
    pushed_bytes: usize,
    /// The one that was last given out.
    taken: Vec<u8>,
}

impl Client {
    /// Connects to `protocol` on the node at `addr`; connection and greeting together take no
    /// longer than `timeout`.
    ///
    /// # Errors
    /// The node cannot be reached, or refuses.
    pub fn connect(
        addr: SocketAddr,
        protocol: &str,
        timeout: Duration,
    ) -> Result<Client, ClientError> {
        let deadline = Deadline::after(timeout);
        let open = || {
            let stream = TcpStream::connect_timeout(&addr, timeout.max(SHORTEST_TIMEOUT))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let stream = open().map_err(|source| ClientError::Unreachable { addr, source })?;
        let mut client = Client {
            addr,
            node: NodeId(0),
            stream,
            input: Vec::new(),
            is_read: false,
            output: Vec::new(),
            sequence: 0,
            pushed: VecDeque::new(),
            pushed_bytes: 0,
            taken: Vec::new(),
        };
        client.greet(protocol, deadline)?;
        Ok(client)
    }

    /// The node's address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The node's id, as its greeting says.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Whether the node has kept the connection open and silent since the last reply. A request
    /// on a connection that is closed already would be lost without need.
    pub fn is_open(&self) -> bool {
        let peek = || {
            self.stream.set_nonblocking(true)?;
            let peeked = self.stream.peek(&mut [0]);
            self.stream.set_nonblocking(false)?;
            peeked
        };
        peek().is_err_and(|e| e.kind() == ErrorKind::WouldBlock)
    }

    /// Sends one request and waits for its reply. After an error the connection is of no more use.
    ///
    /// # Errors
    /// The connection failed, or the answer is none.
    pub fn request<'c, R: Deserialize<'c>>(
        &'c mut self,
        request: &impl Serialize,
        timeout: Duration,
    ) -> Result<R, ClientError> {
        let addr = self.addr;
        let deadline = Deadline::after(timeout);
        // The last one is the pushes'.
        self.sequence = (self.sequence + 1) % PUSHED;
        self.output.clear();
        push_request(&mut self.output, self.sequence, request);
        let bytes = self.output.len() - LENGTH_BYTES;
        if bytes > MAX_FRAME_BYTES {
            return Err(ClientError::TooLong { bytes });
        }
        self.send(deadline).map_err(|source| ClientError::NotSent { addr, source })?;
        let body = self.reply_body(deadline)?;
        postcard::from_bytes(&self.input[body]).map_err(|_| undecodable(addr))
    }

    /// Waits for what the node pushes next; none when nothing has come within `timeout`. After an
    /// error the connection is of no more use.
    ///
    /// # Errors
    /// The connection failed, or what came is no push.
    pub fn next_push<'c, R: Deserialize<'c>>(
        &'c mut self,
        timeout: Duration,
    ) -> Result<Option<R>, ClientError> {
        let addr = self.addr;
        let deadline = Deadline::after(timeout);
        let body = loop {
            if let Some(body) = self.pushed.pop_front() {
                self.pushed_bytes -= body.len();
                self.taken = body;
                break &self.taken[..];
            }
            match self.sequenced(deadline) {
                Ok((PUSHED, body)) => break &self.input[body],
                // The answer to a request that was given up.
                Ok(_) => {}
                // What has come of a frame stays, and the next call goes on with it.
                Err(ClientError::TimedOut { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        };
        postcard::from_bytes(body).map(Some).map_err(|_| undecodable(addr))
    }

    fn greet(&mut self, protocol: &str, deadline: Deadline) -> Result<(), ClientError> {
        let addr = self.addr;
        wire::push_message(
            &mut self.output,
            &Hello::new(Role::Client { protocol: protocol.into() }),
        );
        self.send(deadline).map_err(|source| ClientError::Unreachable { addr, source })?;
        let payload = self.frame(MAX_HELLO_BYTES, deadline).map_err(|error| match error {
            ClientError::TimedOut { addr, .. } => {
                ClientError::NotANode { addr, why: "it did not greet in time" }
            }
            ClientError::Malformed { addr, .. } => {
                ClientError::NotANode { addr, why: "it answered with something else" }
            }
            ClientError::Closed { addr } => {
                ClientError::NotANode { addr, why: "it closed the connection without a greeting" }
            }
            other => other,
        })?;
        match postcard::from_bytes(&self.input[payload]) {
            Ok(Welcome::Accepted { id, .. }) => {
                self.node = id;
                Ok(())
            }
            Ok(Welcome::Refused { reason }) => {
                Err(ClientError::Refused { addr, reason: escaped(reason.as_bytes()) })
            }
            Err(_) => Err(ClientError::NotANode { addr, why: "its greeting does not decode" }),
        }
    }

    /// Writes `output`. When it fails, the frame's last byte has not been handed on: the node
    /// never sees a whole frame, and does nothing.
    fn send(&mut self, deadline: Deadline) -> io::Result<()> {
        let mut rest = &self.output[..];
        while !rest.is_empty() {
            let left = deadline.left().ok_or(ErrorKind::TimedOut)?;
            self.stream.set_write_timeout(Some(left))?;
            match self.stream.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => rest = &rest[n..],
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for the reply to the last request: where it is in `input`. Keeps what is pushed
    /// before.
    fn reply_body(&mut self, deadline: Deadline) -> Result<Range<usize>, ClientError> {
        loop {
            let (sequence, body) = self.sequenced(deadline)?;
            if sequence == self.sequence {
                return Ok(body);
            }
            if sequence == PUSHED {
                self.pushed_bytes += body.len();
                if self.pushed_bytes > MAX_PUSHED_BYTES {
                    let why = format!("more than {MAX_PUSHED_BYTES} bytes of messages, no answer");
                    return Err(ClientError::Malformed { addr: self.addr, why });
                }
                self.pushed.push_back(self.input[body].to_vec());
            }
        }
    }

    /// Waits for the next reply or push: its sequence, and where the rest is in `input`.
    fn sequenced(&mut self, deadline: Deadline) -> Result<(u32, Range<usize>), ClientError> {
        let payload = self.frame(MAX_FRAME_BYTES, deadline)?;
        match self.input[payload.clone()].split_first_chunk() {
            Some((sequence, _)) => {
                Ok((u32::from_le_bytes(*sequence), payload.start + SEQUENCE_BYTES..payload.end))
            }
            None => {
                let why = "a reply without a sequence".into();
                Err(ClientError::Malformed { addr: self.addr, why })
            }
        }
    }

    /// Waits for the next frame: where its payload is in `input`.
    fn frame(&mut self, limit: usize, deadline: Deadline) -> Result<Range<usize>, ClientError> {
        let addr = self.addr;
        if std::mem::take(&mut self.is_read) {
            self.input.clear();
        }
        loop {
            match wire::next_frame(&self.input, limit) {
                Frame::Whole { payload, used } => {
                    self.is_read = true;
                    return Ok(used - payload.len()..used);
                }
                Frame::TooLong { length } => {
                    let why = format!("a frame of {length} bytes; the limit is {limit}");
                    return Err(ClientError::Malformed { addr, why });
                }
                Frame::Incomplete => self.read_more(limit, deadline)?,
            }
        }
    }

    /// Reads no further than to the end of the frame: nothing is ever left over.
    fn read_more(&mut self, limit: usize, deadline: Deadline) -> Result<(), ClientError> {
        let addr = self.addr;
        let lost = |source| ClientError::Lost { addr, source };
        let wanted = match self.input.split_first_chunk::<LENGTH_BYTES>() {
            None => LENGTH_BYTES,
            Some((length, _)) => LENGTH_BYTES + (u32::from_le_bytes(*length) as usize).min(limit),
        };
        let at = self.input.len();
        let Some(left) = deadline.left() else {
            return Err(ClientError::TimedOut { addr, after: deadline.whole });
        };
        self.stream.set_read_timeout(Some(left)).map_err(lost)?;
        self.input.resize(at + (wanted - at).min(READ_BYTES), 0);
        let read = self.stream.read(&mut self.input[at..]);
        self.input.truncate(at + read.as_ref().map_or(0, |n| *n));
        match read {
            Ok(0) => Err(ClientError::Closed { addr }),
            Ok(_) => Ok(()),
            Err(error) if is_pause(&error) => Ok(()),
            Err(source) => Err(lost(source)),
        }
    }
}

fn undecodable(addr: SocketAddr) -> ClientError {
    let why = "a reply that does not decode; are client and node of the same version?".into();
    ClientError::Malformed { addr, why }
}

/// Appends one request as a frame.
pub fn push_request(out: &mut Vec<u8>, sequence: u32, request: &impl Serialize) {
    wire::push_frame_with(out, |out| {
        out.extend_from_slice(&sequence.to_le_bytes());
        // Requests hold bytes, strings and numbers, which postcard always takes.
        if let Ok(filled) = postcard::to_extend(request, std::mem::take(out)) {
            *out = filled;
        }
    });
}

/// Finds the socket address behind `IP:port` or `name:port`.
///
/// # Errors
/// It is no address.
pub fn resolve(text: &str) -> Result<SocketAddr, String> {
    let shown = escaped(text.as_bytes());
    let hint = "give IP:port or name:port, such as 127.0.0.1:10097";
    let found: Vec<SocketAddr> = text
        .trim()
        .to_socket_addrs()
        .map_err(|error| format!("\"{shown}\" is no server address: {error}; {hint}"))?
        .collect();
    // Nodes listen on 127.0.0.1 by default, and `localhost` often comes out as ::1 first.
    let best = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
    best.copied().ok_or_else(|| format!("\"{shown}\" has no address; {hint}"))
}

/// A time by which something must be done.
#[derive(Clone, Copy)]
struct Deadline {
    from: Instant,
    whole: Duration,
}

impl Deadline {
    fn after(whole: Duration) -> Deadline {
        Deadline { from: Instant::now(), whole }
    }

    /// What is left; none when it has passed.
    fn left(&self) -> Option<Duration> {
        self.whole.checked_sub(self.from.elapsed()).filter(|left| !left.is_zero())
    }
}

/// Whether a read or write ended early without the connection being broken.
fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Text of a peer, fit for a terminal.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    Escaped(bytes).to_string()
}

/// Why there is no reply.
#[derive(Debug)]
pub enum ClientError {
    /// There is no connection.
    Unreachable {
        /// The node.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Something else than a node answered, or nothing did.
    NotANode {
        /// Where.
        addr: SocketAddr,
        /// What was seen.
        why: &'static str,
    },
    /// The node takes no such client.
    Refused {
        /// The node.
        addr: SocketAddr,
        /// The node's words, escaped.
        reason: String,
    },
    /// The request is longer than any node takes.
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The connection broke before the whole request was out.
    NotSent {
        /// The node.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The node closed the connection instead of answering.
    Closed {
        /// The node.
        addr: SocketAddr,
    },
    /// The connection broke before the reply.
    Lost {
        /// The node.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// No reply in time.
    TimedOut {
        /// The node.
        addr: SocketAddr,
        /// How long it had.
        after: Duration,
    },
    /// The reply makes no sense.
    Malformed {
        /// The node.
        addr: SocketAddr,
        /// What was seen.
        why: String,
    },
}

impl ClientError {
    /// Whether the node may have got the request, and so may have acted on it.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            ClientError::Unreachable { .. }
            | ClientError::NotANode { .. }
            | ClientError::Refused { .. }
            | ClientError::TooLong { .. }
            | ClientError::NotSent { .. } => false,
            ClientError::Closed { .. }
            | ClientError::Lost { .. }
            | ClientError::TimedOut { .. }
            | ClientError::Malformed { .. } => true,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Unreachable { addr, source } => match source.kind() {
                ErrorKind::ConnectionRefused => {
                    write!(f, "{addr}: connection refused (is the node running there?)")
                }
                ErrorKind::TimedOut | ErrorKind::WouldBlock => {
                    write!(f, "{addr}: no connection in time; check the address and the network")
                }
                _ => write!(f, "{addr}: no connection ({source}); check the address"),
            },
            ClientError::NotANode { addr, why } => write!(
                f,
                "{addr}: {why}; a node's native listener should be there, check the address"
            ),
            ClientError::Refused { addr, reason } => {
                write!(f, "{addr}: the node refuses this client: {reason}")
            }
            ClientError::TooLong { bytes } => write!(
                f,
                "the request has {bytes} bytes, and {MAX_FRAME_BYTES} is the most; send less"
            ),
            ClientError::NotSent { addr, source } => {
                write!(f, "{addr}: the connection broke before the request was out ({source})")
            }
            ClientError::Closed { addr } => {
                write!(f, "{addr}: the node closed the connection before it answered")
            }
            ClientError::Lost { addr, source } => {
                write!(f, "{addr}: the connection broke before the answer ({source})")
            }
            ClientError::TimedOut { addr, after } => {
                write!(f, "{addr}: no answer within {} ms", after.as_millis())
            }
            ClientError::Malformed { addr, why } => write!(f, "{addr}: got {why}"),
        }
    }
}

impl std::error::Error for ClientError {}

#[cfg(test)]
mod tests {
    use super::testing::{Answer, FakeNode, LONG_MS, raw_server, with_more_time};
    use super::*;
    use node_protocols::core::Protocol;
    use node_protocols::kv_replication::{KvReplication, Reply, Request, Timestamp};

    const TIMEOUT: Duration = Duration::from_millis(LONG_MS);
    /// For what must time out: nothing else is under way.
    const SHORT: Duration = Duration::from_millis(30);

    /// Sends a request whose reply does not come, and gives it up.
    fn give_up(client: &mut Client) {
        with_more_time(30, |ms| {
            match client.request::<Reply>(&get("k"), Duration::from_millis(ms)) {
                Err(ClientError::TimedOut { .. }) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    fn connect(addr: SocketAddr) -> Result<Client, ClientError> {
        Client::connect(addr, KvReplication::NAME, TIMEOUT)
    }

    fn get(key: &str) -> Request<'_> {
        Request::Get { key: key.into(), timestamp: Timestamp(0), applied: Timestamp(0) }
    }

    /// A reply of the store as one frame, under this sequence.
    fn frame_of(sequence: u32, timestamp: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_request(&mut bytes, sequence, &Reply::PutOk { timestamp: Timestamp(timestamp) });
        bytes
    }

    #[test]
    fn what_is_pushed_is_kept_while_a_reply_is_awaited_and_comes_in_order() {
        let node = FakeNode::start(|_| {
            // Pushes around the reply to the first request, and one that is whole only after the
            // second.
            let frames = [(PUSHED, 1), (PUSHED, 2), (1, 7), (PUSHED, 3)];
            Answer::Raw(frames.map(|(sequence, n)| frame_of(sequence, n)).concat())
        });
        let mut client = connect(node.addr).unwrap();
        let reply: Reply = client.request(&get("k"), TIMEOUT).unwrap();
        assert_eq!(reply, Reply::PutOk { timestamp: Timestamp(7) });
        for timestamp in 1..=3 {
            let pushed: Option<Reply> = client.next_push(TIMEOUT).unwrap();
            assert_eq!(pushed, Some(Reply::PutOk { timestamp: Timestamp(timestamp) }));
        }
        assert!(matches!(client.next_push::<Reply>(SHORT), Ok(None)));
    }

    #[test]
    fn a_push_that_comes_in_parts_is_waited_for_again() {
        let (first, rest) = (frame_of(PUSHED, 9), frame_of(PUSHED, 10));
        let cut = first.len() - 1;
        let mut parts = [first[..cut].to_vec(), [&first[cut..], &rest].concat()].into_iter();
        let node = FakeNode::start(move |_| Answer::Raw(parts.next().unwrap_or_default()));
        let mut client = connect(node.addr).unwrap();
        // Nobody answers: what comes is the next part.
        give_up(&mut client);
        while client.input.len() < cut {
            assert!(matches!(client.next_push::<Reply>(SHORT), Ok(None)));
        }
        assert!(matches!(client.next_push::<Reply>(SHORT), Ok(None)));
        give_up(&mut client);
        for timestamp in [9, 10] {
            let pushed: Option<Reply> = client.next_push(TIMEOUT).unwrap();
            assert_eq!(pushed, Some(Reply::PutOk { timestamp: Timestamp(timestamp) }));
        }
        assert_eq!(client.pushed_bytes, 0);
    }

    #[test]
    fn requests_are_answered_one_after_the_other() {
        let node = FakeNode::store();
        let mut client = connect(node.addr).unwrap();
        assert_eq!(client.node(), NodeId(7));
        let put = Request::Put { key: "k".into(), value: "v".into() };
        for timestamp in 1..=3 {
            let reply: Reply = client.request(&put, TIMEOUT).unwrap();
            assert_eq!(reply, Reply::PutOk { timestamp: Timestamp(timestamp) });
        }
        let reply: Reply = client.request(&get("k"), TIMEOUT).unwrap();
        assert_eq!(reply, Reply::Value { value: "v".into(), timestamp: Timestamp(3) });
        assert!(client.is_open());
    }

    #[test]
    fn a_value_longer_than_one_read_arrives_whole() {
        let node = FakeNode::store();
        let mut client = connect(node.addr).unwrap();
        let value = vec![0xAB; READ_BYTES * 3 + 1];
        let put = Request::Put { key: "k".into(), value: (&value).into() };
        let _: Reply = client.request(&put, TIMEOUT).unwrap();
        let reply: Reply = client.request(&get("k"), TIMEOUT).unwrap();
        assert_eq!(reply, Reply::Value { value: (&value).into(), timestamp: Timestamp(1) });
    }

    #[test]
    fn nobody_there_is_refused_and_nothing_arrived() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = connect(free).err().unwrap();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("is the node running there?"), "{error}");
        assert!(!error.may_have_arrived());
    }

    #[test]
    fn whoever_greets_otherwise_is_not_a_node() {
        for bytes in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\x02\0\0\0\x09\x09", b""] {
            let error = connect(raw_server(bytes.to_vec())).err().unwrap();
            assert!(matches!(error, ClientError::NotANode { .. }), "{bytes:?}: {error}");
            assert!(!error.may_have_arrived());
        }
    }

    #[test]
    fn a_silent_listener_is_not_a_node_once_time_is_up() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        with_more_time(30, |ms| {
            let error = Client::connect(addr, "x", Duration::from_millis(ms)).err().unwrap();
            let told = error.to_string();
            if told.contains("did not greet in time") { Ok(()) } else { Err(told) }
        });
    }

    #[test]
    fn a_refusal_shows_the_nodes_words_escaped() {
        let mut bytes = Vec::new();
        wire::push_message(&mut bytes, &Welcome::Refused { reason: "no\x1b[31m".into() });
        let error = connect(raw_server(bytes)).err().unwrap();
        assert!(matches!(error, ClientError::Refused { .. }), "{error}");
        assert!(error.to_string().ends_with("refuses this client: no\\u{1b}[31m"), "{error}");
    }

    #[test]
    fn a_close_garbage_a_huge_length_and_silence_may_have_arrived() {
        type Make = fn() -> Answer;
        let cases: [(Make, &str); 4] = [
            (|| Answer::Close, "closed the connection before it answered"),
            (|| Answer::Raw(vec![255; 4]), "a frame of 4294967295 bytes"),
            (|| Answer::Raw(b"\x02\0\0\0ab".to_vec()), "without a sequence"),
            (|| Answer::Raw(b"\x05\0\0\0\x01\0\0\0\x63".to_vec()), "does not decode"),
        ];
        for (answer, words) in cases {
            let node = FakeNode::start(move |_| answer());
            let mut client = connect(node.addr).unwrap();
            let error = client.request::<Reply>(&Request::Info {}, TIMEOUT).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert!(error.may_have_arrived());
        }
        let silent = FakeNode::start(|_| Answer::Silence);
        with_more_time(30, |ms| {
            let mut client = connect(silent.addr).unwrap();
            let timeout = Duration::from_millis(ms);
            let error = client.request::<Reply>(&Request::Info {}, timeout).unwrap_err();
            let told = error.to_string();
            let is_told = told.contains(&format!("no answer within {ms} ms"));
            if is_told && error.may_have_arrived() { Ok(()) } else { Err(told) }
        });
    }

    #[test]
    fn replies_to_other_requests_are_passed_over() {
        let node = FakeNode::start(|_| {
            let mut bytes = Vec::new();
            push_request(&mut bytes, 99, &Reply::Null {});
            push_request(&mut bytes, 1, &Reply::PutOk { timestamp: Timestamp(4) });
            Answer::Raw(bytes)
        });
        let mut client = connect(node.addr).unwrap();
        let reply: Reply = client.request(&Request::Info {}, TIMEOUT).unwrap();
        assert_eq!(reply, Reply::PutOk { timestamp: Timestamp(4) });
    }

    #[test]
    fn a_request_above_the_limit_is_not_sent() {
        let node = FakeNode::start(|_| panic!("nothing may arrive"));
        let mut client = connect(node.addr).unwrap();
        let value = vec![0; MAX_FRAME_BYTES];
        let put = Request::Put { key: "k".into(), value: (&value).into() };
        let error = client.request::<Reply>(&put, TIMEOUT).unwrap_err();
        assert!(matches!(error, ClientError::TooLong { .. }) && !error.may_have_arrived());
    }

    #[test]
    fn addresses_resolve_or_say_what_is_wrong() {
        assert_eq!(resolve(" 127.0.0.1:10097 "), Ok(SocketAddr::from(([127, 0, 0, 1], 10097))));
        assert_eq!(resolve("localhost:1").map(|addr| addr.port()), Ok(1));
        for wrong in ["127.0.0.1", "", "127.0.0.1:99999"] {
            let error = resolve(wrong).unwrap_err();
            assert!(error.contains("give IP:port"), "{error}");
        }
    }
}
