//! One connection of the load, and as many clients as its depth, each with one operation at a time:
//! dials, greets, keeps up to `depth` operations in flight, and takes
//! their replies. It never blocks; the loop tells it what its socket can do.

use super::run::{Operation, Place, Run};
use super::workload::Kind;
use crate::client::{MAX_FRAME_BYTES, push_request, socket::Socket};
use crate::clients::bench::stats::{Failure, Trouble};
use mio::event::Event;
use mio::{Registry, Token};
use node_lab::wire::{
    self, Frame, Hello, LENGTH_BYTES, MAX_HELLO_BYTES, Role, SEQUENCE_BYTES, Welcome,
};
use node_protocols::core::Protocol;
use node_protocols::kv_replication::{KvReplication, Reply, Request, Timestamp};
use std::io;
use std::net::SocketAddr;

/// How long a connection that failed waits before it dials again: a node that restarts is found
/// soon, and one that is gone costs little.
const REDIAL_AFTER_NS: u64 = 100_000_000;

/// How many low bits of a sequence name the slot; the others tell its uses apart.
const SLOT_BITS: u32 = 12;

/// The deepest pipeline: what the slot's bits can name.
pub const MAX_DEPTH: usize = 1 << SLOT_BITS;

/// One connection.
pub struct Connection {
    /// Its number.
    index: u32,
    addr: SocketAddr,
    /// The node's id, as it greeted last.
    node: u32,
    state: State,
    socket: Socket,
    slots: Vec<(u32, Option<Operation>)>,
    free: Vec<u32>,
    operations: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Dials when the time has come.
    Waiting { until: u64 },
    /// Has dialled and waits for the greeting.
    Greeting { since: u64 },
    /// Takes operations.
    Ready,
}

impl Connection {
    /// Dials at the first tick.
    pub fn new(index: u32, addr: SocketAddr, depth: usize) -> Connection {
        Connection {
            index,
            addr,
            node: 0,
            state: State::Waiting { until: 0 },
            socket: Socket::default(),
            slots: vec![(0, None); depth],
            free: (0..depth as u32).rev().collect(),
            operations: 0,
        }
    }

    /// Whether it can take an operation now.
    pub fn is_free(&self) -> bool {
        self.state == State::Ready && !self.free.is_empty()
    }

    /// What is in flight.
    pub fn in_flight(&self) -> impl Iterator<Item = &Operation> {
        self.slots.iter().filter_map(|(_, operation)| operation.as_ref())
    }

    /// Dials when it is time, and gives up what has waited longer than `timeout_ns`.
    pub fn tick(&mut self, registry: &Registry, timeout_ns: u64, run: &mut Run) {
        let now = run.now_ns();
        let since = match self.state {
            State::Waiting { until } if now >= until => return self.dial(registry, run),
            State::Waiting { .. } => return,
            State::Greeting { since } => Some(since),
            State::Ready => self.in_flight().map(|operation| operation.sent).min(),
        };
        if since.is_some_and(|since| now.saturating_sub(since) > timeout_ns) {
            let words = format!("{}: no answer within {} ms", self.addr, timeout_ns / 1_000_000);
            self.fail((Trouble::TimedOut, words), run);
        }
    }

    fn dial(&mut self, registry: &Registry, run: &mut Run) {
        match self.socket.dial(self.addr, registry, Token(self.index as usize)) {
            Ok(()) => {
                self.state = State::Greeting { since: run.now_ns() };
                let role = Role::Client { protocol: KvReplication::NAME.into() };
                wire::push_message(&mut self.socket.out, &Hello::new(role));
            }
            Err(error) => {
                self.fail((Trouble::ConnectFailed, format!("{}: {error}", self.addr)), run);
            }
        }
    }

    /// Does what the socket is ready for; with `refill`, sends as much as the depth allows.
    pub fn on_event(&mut self, event: &Event, refill: bool, buffer: &mut [u8], run: &mut Run) {
        self.socket.on_event(event);
        let mut work = || {
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.receive(event.is_read_closed(), buffer, run)?;
            }
            while refill && self.is_free() {
                self.issue(run.now_ns(), run);
            }
            self.flush()
        };
        if let Err(failure) = work() {
            self.fail(failure, run);
        }
    }

    /// Queues one operation, which was due at `due`.
    pub fn issue(&mut self, due: u64, run: &mut Run) {
        let Some(slot) = self.free.pop() else { return };
        let (kind, key) = run.workload.draw();
        let client = self.index * self.slots.len() as u32 + slot;
        let number = self.operations;
        self.operations += 1;
        let sent = run.now_ns();
        let (sequence, operation) = &mut self.slots[slot as usize];
        *sequence = slot | (number as u32) << SLOT_BITS;
        let issued = Operation { client, kind, key, due, sent };
        *operation = Some(issued);
        let start = self.socket.out.len();
        match kind {
            Kind::Put => {
                let (key, value) = run.workload.key_and_value(key, client, number);
                let request = Request::Put { key: key.into(), value: value.into() };
                push_request(&mut self.socket.out, *sequence, &request);
            }
            Kind::Get => {
                let (timestamp, applied) = (run.known(client, key), Timestamp(0));
                let key = run.workload.key(key).into();
                push_request(
                    &mut self.socket.out,
                    *sequence,
                    &Request::Get { key, timestamp, applied },
                );
            }
        }
        let at = Place { connection: self.index, sequence: *sequence };
        let request = &self.socket.out[start + LENGTH_BYTES + SEQUENCE_BYTES..];
        run.note_sent(at, self.node, &issued, request);
    }

    /// Writes what is queued, as far as the socket takes it.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.socket.flush().map_err(|error| self.broken(error))
    }

    /// Reads until the socket is empty, or the time is up.
    fn receive(&mut self, closing: bool, buffer: &mut [u8], run: &mut Run) -> Result<(), Failure> {
        loop {
            let read = self.socket.read(buffer).map_err(|error| self.broken(error))?;
            let now = run.now_ns();
            let bytes = self.socket.with_tail(&buffer[..read]);
            let used = self.frames(&bytes, now, run)?;
            self.socket.keep_tail(bytes, used);
            if Socket::is_drained(read, buffer, closing) || now >= run.end_ns {
                return Ok(());
            }
        }
    }

    /// Handles the whole frames in `bytes`; returns how much they took.
    fn frames(&mut self, bytes: &[u8], now: u64, run: &mut Run) -> Result<usize, Failure> {
        let mut at = 0;
        loop {
            let greeted = self.state == State::Ready;
            let limit = if greeted { MAX_FRAME_BYTES } else { MAX_HELLO_BYTES };
            match wire::next_frame(&bytes[at..], limit) {
                Frame::Incomplete => return Ok(at),
                Frame::TooLong { .. } => return Err(self.malformed("a frame above the limit")),
                Frame::Whole { payload, used } => {
                    if greeted {
                        self.on_reply(payload, now, run)?;
                    } else {
                        self.on_welcome(payload)?;
                    }
                    at += used;
                }
            }
        }
    }

    fn on_welcome(&mut self, payload: &[u8]) -> Result<(), Failure> {
        match postcard::from_bytes(payload) {
            Ok(Welcome::Accepted { id, .. }) => {
                self.node = id.0;
                self.state = State::Ready;
                Ok(())
            }
            Ok(Welcome::Refused { reason }) => {
                Err((Trouble::Refused, format!("{}: {reason}", self.addr)))
            }
            Err(_) => Err(self.malformed("no greeting")),
        }
    }

    fn on_reply(&mut self, payload: &[u8], now: u64, run: &mut Run) -> Result<(), Failure> {
        let Some((sequence, body)) = payload.split_first_chunk() else {
            return Err(self.malformed("a reply without a sequence"));
        };
        let sequence = u32::from_le_bytes(*sequence);
        let slot = sequence & (MAX_DEPTH as u32 - 1);
        let operation = match self.slots.get_mut(slot as usize) {
            Some((used, operation)) if *used == sequence => operation.take(),
            _ => None,
        };
        let Some(operation) = operation else {
            return Err(self.malformed("a reply to no request"));
        };
        self.free.push(slot);
        let answered = match postcard::from_bytes::<Reply<'_>>(body) {
            Ok(reply) => run.complete(&operation, &reply, now),
            Err(_) => false,
        };
        if answered {
            run.note_reply(Place { connection: self.index, sequence }, body, now);
            return Ok(());
        }
        run.lose();
        Err(self.malformed("a reply that does not fit its request"))
    }

    /// Ends the connection: what is in flight is lost, and it dials again after a while.
    pub fn fail(&mut self, (trouble, words): Failure, run: &mut Run) {
        run.stats.troubles.add(trouble, || words);
        self.socket = Socket::default();
        self.abandon(run);
        self.free.clear();
        self.free.extend((0..self.slots.len() as u32).rev());
        self.state = State::Waiting { until: run.now_ns() + REDIAL_AFTER_NS };
    }

    /// Gives up what is in flight.
    pub fn abandon(&mut self, run: &mut Run) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].1.take().is_some() {
                run.lose();
            }
        }
    }

    fn broken(&self, error: io::Error) -> Failure {
        let trouble = match self.state {
            State::Ready => Trouble::Closed,
            State::Greeting { .. } | State::Waiting { .. } => Trouble::ConnectFailed,
        };
        (trouble, format!("{}: {error}", self.addr))
    }

    fn malformed(&self, what: &str) -> Failure {
        (Trouble::Malformed, format!("{}: {what}", self.addr))
    }
}
