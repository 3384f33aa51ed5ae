//! One nonblocking connection: its socket, what came in and is not whole yet, what is to go out.
//! Knows bytes and times, not what they mean to the node.

use super::tracing::LinkNames;
use mio::net::TcpStream;
use node_lab::wire::Session;
use node_protocols::core::{LamportTime, NodeId, Time};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) addr: SocketAddr,
    pub(super) kind: Kind,
    /// What came in and could not be used yet.
    pub(super) inbox: Buffer,
    pub(super) out: Buffer,
    /// The socket may have more: mio tells once, and a budget may have cut the reading short.
    pub(super) readable: bool,
    /// It stands in the list of connections to flush at the end of the turn.
    pub(super) dirty: bool,
    /// It stands in the list of connections that go on without an event.
    pub(super) queued: bool,
    /// The end is in the socket, perhaps behind bytes: no further event will tell of it.
    pub(super) ends: bool,
    /// The peer sends no more.
    pub(super) eof: bool,
    /// It ends once everything is answered and sent.
    pub(super) closing: bool,
    /// What it was told before its end must reach it, though it may still be sending: how many bytes
    /// more are read and forgotten. To close with bytes unread resets a connection, and takes what was
    /// sent along.
    pub(super) lingers: Option<usize>,
    /// Its sending side is shut: it only lingers.
    pub(super) is_shut: bool,
    pub(super) last_heard: Time,
    /// Nothing has come in yet, or nothing behind the greeting.
    pub(super) silent: bool,
    /// Since when a request has been arriving.
    pub(super) input_since: Option<Time>,
    /// Names its messages in traces, once it is a link.
    pub(super) names: LinkNames,
    /// How many of its bytes are in the sum of all clients' memory.
    pub(super) accounted: usize,
}

pub(super) enum Kind {
    /// Came in on a native listener and has not said who it is.
    Greeting,
    /// Says that it is a peer, and is not believed yet.
    Claiming(Claim),
    /// Being dialled.
    Dialing(Dial),
    /// Greeted, and waiting for the welcome.
    Dialed(Dial),
    /// A peer.
    Link(NodeId),
    /// A client.
    Client(Session),
}

/// What a connection that is not believed yet said in its greeting.
#[derive(Clone, Copy)]
pub(super) struct Claim {
    pub(super) peer: NodeId,
    pub(super) identity: u128,
    pub(super) incarnation: u64,
    pub(super) dial: u64,
    pub(super) lamport: LamportTime,
    pub(super) since: Time,
    /// The peer has been asked since.
    pub(super) asked: bool,
}

/// Whom this node dials, and what for.
#[derive(Clone, Copy)]
pub(super) struct Dial {
    pub(super) peer: NodeId,
    pub(super) purpose: Purpose,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To make the link.
    Link,
    /// To ask whether it is the peer that greeted this node.
    Verify,
    /// To ask why it does not dial this node.
    Knock,
}

impl Kind {
    /// The place of the protocol whose client it is.
    pub(super) fn place(&self) -> Option<usize> {
        match self {
            Kind::Client(session) => Some(session.place),
            Kind::Greeting
            | Kind::Claiming(_)
            | Kind::Dialing(_)
            | Kind::Dialed(_)
            | Kind::Link(_) => None,
        }
    }
}

/// What one read made of the socket.
pub(super) enum ReadOutcome {
    /// This many bytes; the socket may have more.
    Some(usize),
    /// Nothing now.
    Drained,
    /// The other side sends no more.
    Eof,
    /// The connection is broken.
    Broken(io::Error),
}

impl Connection {
    pub(super) fn new(stream: TcpStream, addr: SocketAddr, kind: Kind, now: Time) -> Connection {
        Connection {
            stream,
            addr,
            kind,
            inbox: Buffer::default(),
            out: Buffer::default(),
            readable: false,
            dirty: false,
            queued: false,
            ends: false,
            eof: false,
            closing: false,
            lingers: None,
            is_shut: false,
            last_heard: now,
            silent: true,
            input_since: None,
            names: LinkNames::default(),
            accounted: 0,
        }
    }

    /// One read. A read that does not fill the buffer has drained the socket: with edge-triggered
    /// readiness on a stream the next byte makes a new event. The end does too, unless it came
    /// together with the bytes.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        match self.stream.read(buffer) {
            Ok(0) => ReadOutcome::Eof,
            Ok(n) => {
                self.readable = n == buffer.len() || self.ends;
                ReadOutcome::Some(n)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                ReadOutcome::Drained
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => ReadOutcome::Some(0),
            Err(error) => ReadOutcome::Broken(error),
        }
    }

    /// Puts bytes that cannot be used yet behind those that are there.
    pub(super) fn keep(&mut self, data: &[u8]) {
        self.inbox.tail_for(data.len()).extend_from_slice(data);
    }

    /// One write of what is to go out; what is left waits for the socket to be writable. An empty
    /// buffer keeps at most `kept` bytes.
    pub(super) fn flush(&mut self, kept: usize) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        match self.stream.write(self.out.pending()) {
            Ok(n) => {
                self.out.advance(n, kept);
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// What it holds in memory for its client: whole buffers, which are larger than what is in
    /// them. Empty ones are small.
    pub(super) fn held_bytes(&self) -> usize {
        let inbox = self.inbox.memory();
        match &self.kind {
            Kind::Client(session) => inbox + self.out.memory() + session.held_bytes(),
            Kind::Greeting
            | Kind::Claiming(_)
            | Kind::Dialing(_)
            | Kind::Dialed(_)
            | Kind::Link(_) => inbox,
        }
    }

    pub(super) fn peer(&self) -> Option<NodeId> {
        match self.kind {
            Kind::Dialing(Dial { peer, .. }) | Kind::Dialed(Dial { peer, .. }) => Some(peer),
            Kind::Claiming(Claim { peer, .. }) | Kind::Link(peer) => Some(peer),
            Kind::Greeting | Kind::Client(_) => None,
        }
    }
}

/// Bytes that came in, or are to go out: one contiguous buffer, of which a front part may be gone already.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    gone: usize,
}

/// What all clients' empty buffers keep of their memory: a busy client's next reply needs no new
/// one, and thousands that are idle do not hold what their last one took.
const KEPT_BYTES: usize = 2 << 20;
/// One client's share, however few there are.
pub(super) const MAX_KEPT_BYTES: usize = 256 << 10;

/// What an empty buffer of one of so many clients keeps.
pub(super) fn kept_bytes(clients: usize) -> usize {
    (KEPT_BYTES / clients.max(1)).min(MAX_KEPT_BYTES)
}

/// Empties a buffer, and gives all of it back if it is larger than `kept`. Cutting it down would
/// leave a hole beside it that is just too small for the next one of its size.
pub(super) fn give_back(bytes: &mut Vec<u8>, kept: usize) {
    if bytes.capacity() > kept {
        *bytes = Vec::new();
    } else {
        bytes.clear();
    }
}

/// Makes room for `more` bytes: in steps of a quarter, since doubling would leave up to half of a
/// large buffer unused.
fn grow(bytes: &mut Vec<u8>, more: usize) {
    if bytes.capacity() - bytes.len() < more {
        bytes.reserve_exact(more.max(bytes.len() / 4));
    }
}

/// About what a gateway adds to a reply.
const FRAMING_BYTES: usize = 64;

/// A front part that is gone is dropped when it is larger than this, and most of the buffer.
const GONE_BYTES: usize = 64 << 10;

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.gone
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it takes of memory while something is in it: more than just that.
    fn memory(&self) -> usize {
        if self.is_empty() { 0 } else { self.bytes.capacity() }
    }

    /// Where to append.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Where to append something of about this many bytes.
    pub(super) fn tail_for(&mut self, bytes: usize) -> &mut Vec<u8> {
        grow(&mut self.bytes, bytes + FRAMING_BYTES);
        &mut self.bytes
    }

    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.gone..]
    }

    /// So many bytes more are gone. An empty buffer keeps at most `kept` bytes.
    pub(super) fn advance(&mut self, bytes: usize, kept: usize) {
        self.gone += bytes;
        if self.gone == self.bytes.len() {
            give_back(&mut self.bytes, kept);
            self.gone = 0;
        } else if self.gone > GONE_BYTES && self.gone > self.bytes.len() / 2 {
            // What is gone is dropped when it is most of the buffer: each byte moves once.
            self.bytes.drain(..self.gone);
            self.gone = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_partial_write_goes_next_and_in_order() {
        let mut out = Buffer::default();
        let all: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
        out.tail().extend_from_slice(&all);
        let mut sent = Vec::new();
        for step in [1, 70_000, 100_000, 100_000, 29_999] {
            sent.extend_from_slice(&out.pending()[..step]);
            out.advance(step, 1_000);
        }
        assert!(out.is_empty());
        assert_eq!(out.bytes.capacity(), 0);
        assert_eq!(sent, all);
    }

    #[test]
    fn what_idle_clients_keep_does_not_grow_with_their_number() {
        assert_eq!(kept_bytes(0), MAX_KEPT_BYTES);
        for clients in [1, 50, 1_000, 16_384] {
            assert!(clients * kept_bytes(clients) <= KEPT_BYTES);
        }
    }

    #[test]
    fn a_buffer_grows_in_small_steps_but_not_for_every_byte() {
        let (mut bytes, mut steps) = (Vec::new(), 0);
        while bytes.len() < 1 << 20 {
            let before = bytes.capacity();
            grow(&mut bytes, 1);
            bytes.push(0);
            steps += usize::from(bytes.capacity() != before);
            assert!(bytes.capacity() <= bytes.len() + bytes.len() / 4 + 1);
        }
        assert!(steps < 100, "{steps} steps");
    }
}
