//! One nonblocking connection: its socket, what it is there for, what came in and is not whole yet,
//! what is to go out. Knows bytes and times, not what they mean to the node.

use super::buffer::Buffer;
use super::served::{Phase, Served};
use super::tracing::LinkNames;
use mio::net::TcpStream;
use node_lab::config::Limits;
use node_protocols::core::{Counter, LamportTime, NodeId, Time};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) addr: SocketAddr,
    pub(super) state: State,
    input: Input,
    /// What came in and could not be used yet.
    pub(super) inbox: Buffer,
    pub(super) out: Buffer,
    pub(super) last_heard: Time,
    /// Since when a request has been arriving.
    pub(super) input_since: Option<Time>,
    /// It stands in the list of connections to flush at the end of the turn.
    pub(super) dirty: bool,
    /// It stands in the list of connections that go on without an event.
    pub(super) queued: bool,
    /// How many of its bytes are in the sum of all clients' memory.
    pub(super) accounted: usize,
}

/// What a connection is there for, and how far that is.
///
/// ```text
///   dialled by this node:   Dialing ──► Greeted ──► Link
///   came in, native:        Greeting ──► Claiming ──► Link
///                               │  └────────┴──► Parting
///   came in, by a gateway:      └──► Client
/// ```
pub(super) enum State {
    /// Being dialled.
    Dialing(Dial),
    /// This node has greeted, and waits for the welcome.
    Greeted(Dial),
    /// Came in on a native listener and has not said who it is.
    Greeting,
    /// Says that it is a peer, and is not believed yet.
    Claiming(Claim),
    /// A peer; its messages are named so in traces.
    Link(NodeId, LinkNames),
    /// A client.
    Client(Served),
    /// Did not become a peer or a client: ends when it has been sent what it is told. Since when.
    Parting(Time),
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

/// What is known of the bytes in the socket: mio tells once that there are some.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    /// None: there will be an event.
    Drained,
    /// Perhaps some, and there may be no further event.
    Readable,
    /// The end, perhaps behind some: there will be no further event.
    Ending,
    /// The end was read.
    Ended,
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

impl State {
    /// The place of the protocol whose client it is.
    pub(super) fn place(&self) -> Option<usize> {
        match self {
            State::Client(client) => Some(client.session.place),
            State::Dialing(_)
            | State::Greeted(_)
            | State::Greeting
            | State::Claiming(_)
            | State::Link(..)
            | State::Parting(_) => None,
        }
    }

    /// The peer that it is, is to be or says it is.
    pub(super) fn peer(&self) -> Option<NodeId> {
        match self {
            State::Dialing(Dial { peer, .. }) | State::Greeted(Dial { peer, .. }) => Some(*peer),
            State::Claiming(Claim { peer, .. }) | State::Link(peer, _) => Some(*peer),
            State::Greeting | State::Client(_) | State::Parting(_) => None,
        }
    }

    /// What is wrong when its deadline is over.
    pub(super) fn lateness(&self) -> &'static str {
        match self {
            State::Greeting => "it did not greet in time",
            State::Claiming(_) => "it did not prove in time that it is the peer that it says it is",
            State::Dialing(_) | State::Greeted(_) => "it did not answer in time",
            State::Link(..) => "the link is silent",
            State::Client(client) if client.session.outstanding == 0 => {
                "it was silent, or its request did not arrive in time"
            }
            State::Client(_) => "it took too long",
            State::Parting(_) => "it did not read in time what it was told",
        }
    }
}

impl Connection {
    pub(super) fn new(stream: TcpStream, addr: SocketAddr, state: State, now: Time) -> Connection {
        Connection {
            stream,
            addr,
            state,
            input: Input::Drained,
            inbox: Buffer::default(),
            out: Buffer::default(),
            last_heard: now,
            input_since: None,
            dirty: false,
            queued: false,
            accounted: 0,
        }
    }

    /// There is something in the socket, and, if it is so, the end behind it.
    pub(super) fn on_readable(&mut self, ends: bool) {
        self.input = match self.input {
            Input::Drained | Input::Readable if !ends => Input::Readable,
            Input::Drained | Input::Readable | Input::Ending => Input::Ending,
            Input::Ended => Input::Ended,
        };
    }

    /// Whether the socket may have more, and no event will tell.
    pub(super) fn is_readable(&self) -> bool {
        matches!(self.input, Input::Readable | Input::Ending)
    }

    /// Whether the other side sends no more.
    pub(super) fn has_ended(&self) -> bool {
        self.input == Input::Ended
    }

    /// Whether there is something to read that may be read now.
    pub(super) fn reads(&self) -> bool {
        self.is_readable()
            && match &self.state {
                State::Greeted(_) | State::Greeting | State::Claiming(_) | State::Link(..) => true,
                State::Client(client) => client.reads(),
                State::Dialing(_) | State::Parting(_) => false,
            }
    }

    /// One read. A read that does not fill the buffer has drained the socket: with edge-triggered
    /// readiness on a stream the next byte makes a new event. The end does too, unless it came
    /// together with the bytes.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        match self.stream.read(buffer) {
            Ok(0) => {
                self.input = Input::Ended;
                ReadOutcome::Eof
            }
            Ok(n) => {
                if n < buffer.len() && self.input == Input::Readable {
                    self.input = Input::Drained;
                }
                ReadOutcome::Some(n)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.input = Input::Drained;
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

    /// What it holds in memory for others than peers: whole buffers, which are larger than what is
    /// in them. Empty ones are small.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.state {
            State::Greeting | State::Claiming(_) | State::Parting(_) => self.inbox.memory(),
            State::Client(client) => {
                self.inbox.memory() + self.out.memory() + client.session.held_bytes()
            }
            State::Dialing(_) | State::Greeted(_) | State::Link(..) => 0,
        }
    }

    /// By when it must get on, and what it is counted as when it does not.
    pub(super) fn deadline(&self, limits: &Limits, now: Time) -> Option<(Time, Counter)> {
        let after = |since: Time, millis: u64| since + Duration::from_millis(millis);
        match &self.state {
            State::Link(..) => None,
            State::Claiming(claim) => {
                // The peer may take as long to be reached, to answer, and to prove it.
                let most = 3 * limits.greeting_timeout_ms;
                Some((after(claim.since, most), Counter::TooSlow))
            }
            State::Greeting | State::Dialing(_) | State::Greeted(_) => {
                // Counted from its beginning: a byte now and then does not buy time.
                let since = self.input_since.unwrap_or(self.last_heard);
                Some((after(since, limits.greeting_timeout_ms), Counter::TooSlow))
            }
            State::Parting(since) => {
                Some((after(*since, limits.greeting_timeout_ms), Counter::TooSlow))
            }
            State::Client(client) => {
                // While it waits for the node its time stands still; a later look goes on with it.
                let high_water = limits.client_high_water_bytes as usize;
                let waits = client.waits(self.out.len(), high_water);
                let from = |since| if waits { now } else { since };
                let request = self
                    .input_since
                    .map(|since| (after(from(since), limits.request_timeout_ms), Counter::TooSlow));
                let idle = (limits.idle_timeout_ms > 0)
                    .then(|| (after(from(self.last_heard), limits.idle_timeout_ms), Counter::Idle));
                // Somebody may sit before one that has greeted.
                let is_silent = client.phase == Phase::Silent && !client.session.is_native();
                let silent = is_silent
                    .then(|| (after(self.last_heard, limits.silent_timeout_ms), Counter::Idle));
                request.into_iter().chain(idle).chain(silent).min()
            }
        }
    }

    /// Whether it takes nothing more that comes in.
    pub(super) fn is_closing(&self) -> bool {
        match &self.state {
            State::Parting(_) => true,
            State::Client(client) => {
                matches!(client.phase, Phase::Draining { .. } | Phase::Lingering { .. })
            }
            State::Dialing(_)
            | State::Greeted(_)
            | State::Greeting
            | State::Claiming(_)
            | State::Link(..) => false,
        }
    }
}
