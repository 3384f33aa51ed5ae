//! One connection of the load: the publisher's, that of a subscriber that reads, or that of one
//! that does not. It dials, greets and subscribes, takes what the server says, and knows which
//! messages have come. It never blocks; the loop tells it what its socket can do.

use super::run::{MAX_UNWRITTEN_BYTES, Run};
use super::wire::{self, Info, Op, Parsed};
use crate::client::{escaped, socket::Socket};
use crate::clients::bench::stats::{Failure, Trouble};
use mio::event::Event;
use mio::{Registry, Token};
use std::fmt;
use std::io;

/// The name of a connection's only subscription.
const SID: &[u8] = b"1";

/// Answers that the server does not take, beside publications: only one that keeps asking, and
/// reads nothing, gets so many.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// What a connection is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Publisher,
    Reader,
    /// Subscribes, and never reads what comes.
    NotReading,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Waits for `INFO`.
    Greeting,
    /// Waits for `PONG`: what was asked for before it is then in force.
    Asked,
    Ready,
}

/// One connection.
pub struct Connection {
    /// Its number: the publisher's is 0, and subscribers count from 1.
    index: usize,
    pub role: Role,
    state: State,
    pub socket: Socket,
    /// The number after that of the last message that came in order.
    next: u64,
    /// How many the server said since then that it did not deliver.
    told: u64,
}

impl Connection {
    /// Begins to connect.
    pub fn dial(
        index: usize,
        role: Role,
        registry: &Registry,
        run: &Run,
    ) -> Result<Connection, Failure> {
        let (state, socket) = (State::Greeting, Socket::default());
        let mut connection = Connection { index, role, state, socket, next: 0, told: 0 };
        match connection.socket.dial(run.server, registry, Token(index)) {
            Ok(()) => Ok(connection),
            Err(error) => Err(connection.broken(error, run)),
        }
    }

    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// The number of the first message that has neither come nor is told to be lost.
    pub fn position(&self, run: &Run) -> u64 {
        self.next.saturating_add(self.told).min(run.published)
    }

    /// Messages that never come: those behind the last that came, as far as they are told to be
    /// lost.
    pub fn lost_at_the_end(&self, run: &Run) -> u64 {
        self.position(run) - self.next
    }

    /// Does what the socket is ready for.
    pub fn on_event(
        &mut self,
        event: &Event,
        buffer: &mut [u8],
        run: &mut Run,
    ) -> Result<(), Failure> {
        if self.role == Role::NotReading && self.is_ready() {
            return Ok(());
        }
        self.socket.on_event(event);
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.receive(event.is_read_closed(), buffer, run)?;
        }
        self.flush(run)
    }

    /// Writes what waits, as far as the socket takes it.
    pub fn flush(&mut self, run: &Run) -> Result<(), Failure> {
        self.socket.flush().map_err(|error| self.broken(error, run))
    }

    /// Reads until the socket is empty. What the window lets come is bounded; a server that says
    /// more is left when the run must be over.
    fn receive(&mut self, closing: bool, buffer: &mut [u8], run: &mut Run) -> Result<(), Failure> {
        loop {
            let read = self.socket.read(buffer).map_err(|error| self.broken(error, run))?;
            let now = run.now_ns();
            let bytes = self.socket.with_tail(&buffer[..read]);
            let used = self.ops(&bytes, now, run)?;
            self.socket.keep_tail(bytes, used);
            if Socket::is_drained(read, buffer, closing) || now >= run.give_up_ns {
                return Ok(());
            }
        }
    }

    /// Handles what is whole in `bytes`; returns how much that is.
    fn ops(&mut self, bytes: &[u8], now: u64, run: &mut Run) -> Result<usize, Failure> {
        let mut at = 0;
        loop {
            match wire::parse(&bytes[at..]) {
                Parsed::Incomplete => return Ok(at),
                Parsed::Wrong(why) => return Err(self.malformed(why, run)),
                Parsed::Whole { op, used } => {
                    self.on_op(op, now, run)?;
                    at += used;
                }
            }
        }
    }

    fn on_op(&mut self, op: Op<'_>, now: u64, run: &mut Run) -> Result<(), Failure> {
        match (self.state, op) {
            (_, Op::Err(reason)) => match wire::told_lost(reason) {
                Some(messages) => {
                    self.told = self.told.saturating_add(messages);
                    run.stats.told_lost = run.stats.told_lost.saturating_add(messages);
                    Ok(())
                }
                None => Err(self.refused(&escaped(reason), run)),
            },
            (State::Greeting, Op::Info(info)) => self.on_info(info, run),
            (State::Greeting, _) => Err(self.malformed("no greeting", run)),
            (State::Asked, Op::Pong) => {
                self.state = State::Ready;
                Ok(())
            }
            (State::Asked | State::Ready, Op::Ping) => {
                let most = MAX_UNWRITTEN_BYTES + MAX_ANSWER_BYTES + run.message_bytes;
                if self.socket.pending() > most {
                    return Err(self.malformed("PINGs, and it takes no PONG", run));
                }
                self.socket.out.extend_from_slice(b"PONG\r\n");
                Ok(())
            }
            (State::Asked | State::Ready, Op::Message { topic, sid, payload }) => {
                self.on_message(topic, sid, payload, now, run)
            }
            (State::Asked, Op::Info(_) | Op::Ok)
            | (State::Ready, Op::Info(_) | Op::Ok | Op::Pong) => Ok(()),
        }
    }

    fn on_info(&mut self, info: &[u8], run: &mut Run) -> Result<(), Failure> {
        let Ok(info) = serde_json::from_slice::<Info>(info) else {
            return Err(self.malformed("INFO without a JSON object", run));
        };
        if info.auth_required || info.tls_required {
            let what =
                "it wants a password or TLS, which this load does not know; try a server without";
            return Err(self.refused(what, run));
        }
        if (run.message_bytes as u64) > info.max_payload {
            let most = info.max_payload;
            let what = format!("it takes messages of at most {most} bytes; lower --message-bytes");
            return Err(self.refused(&what, run));
        }
        run.note_server(&info);
        let version = env!("CARGO_PKG_VERSION");
        let mut asked = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"tls_required\":false,\
             \"name\":\"node bench\",\"lang\":\"rust\",\"version\":\"{version}\",\"protocol\":0}}\r\n"
        );
        if self.role != Role::Publisher {
            asked += &format!("SUB {} 1\r\n", run.topic);
        }
        asked += "PING\r\n";
        self.socket.out.extend_from_slice(asked.as_bytes());
        self.state = State::Asked;
        Ok(())
    }

    fn on_message(
        &mut self,
        topic: &[u8],
        sid: &[u8],
        payload: &[u8],
        now: u64,
        run: &mut Run,
    ) -> Result<(), Failure> {
        if self.role == Role::Publisher || sid != SID || topic != run.topic.as_bytes() {
            return Err(self.malformed("a message that nobody asked for", run));
        }
        let Some(number) = run.messages.number(payload) else {
            run.stats.troubles.add(Trouble::Foreign, || {
                let topic = &run.topic;
                format!("{self}: not as this run published it; does another publish under {topic}?")
            });
            return Ok(());
        };
        if number >= run.published {
            return Err(self.malformed("a message that is not published yet", run));
        }
        if number < self.next {
            run.stats.out_of_order += 1;
            return Ok(());
        }
        run.stats.lost += number - self.next;
        self.next = number + 1;
        self.told = 0;
        run.stats.delivered(run.published_at(number), now);
        Ok(())
    }

    fn failure(&self, trouble: Trouble, what: impl fmt::Display, run: &Run) -> Failure {
        (trouble, format!("{self} at {}: {what}", run.server))
    }

    fn broken(&self, error: io::Error, run: &Run) -> Failure {
        match self.state {
            State::Greeting => {
                let hint = "is the server there, and --server its NATS address? each connection \
                            takes a descriptor, too (ulimit -n)";
                self.failure(Trouble::ConnectFailed, format_args!("{error}; {hint}"), run)
            }
            State::Asked | State::Ready => {
                let hint = "the server's log says why";
                self.failure(Trouble::Closed, format_args!("{error}; {hint}"), run)
            }
        }
    }

    fn refused(&self, what: &str, run: &Run) -> Failure {
        self.failure(Trouble::Refused, format_args!("the server says no: {what}"), run)
    }

    fn malformed(&self, what: &str, run: &Run) -> Failure {
        let hint = "is --server the NATS listener?";
        self.failure(Trouble::Malformed, format_args!("the server sent {what}; {hint}"), run)
    }

    /// It has waited too long, to be ready or for its next message.
    pub fn timed_out(&self, run: &Run) -> Failure {
        let ms = run.timeout_ns / 1_000_000;
        let what = match self.state {
            State::Greeting => format!("no INFO within {ms} ms; is --server the NATS listener?"),
            State::Asked => {
                format!("no PONG within {ms} ms; the server is too slow, or no NATS server")
            }
            State::Ready => format!(
                "message {} has not come within {ms} ms, nor was it told to be lost; lower --window, or \
                 raise --timeout-ms if the server is only slow",
                self.position(run)
            ),
        };
        self.failure(Trouble::TimedOut, what, run)
    }
}

/// Its name in errors.
impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.role {
            Role::Publisher => f.write_str("the publisher"),
            Role::Reader => write!(f, "subscriber {}", self.index),
            Role::NotReading => write!(f, "subscriber {}, not reading,", self.index),
        }
    }
}
