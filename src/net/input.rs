//! Bytes in: reading connections, and what is whole of it to the Host.

use super::Node;
use super::connection::{Connection, ReadOutcome, State};
use super::served::{Hold, Load, Phase};
use super::table::Key;
use node_lab::wire::{Fault, Frame, Step, next_frame};
use node_protocols::core::{Caller, Counter, Escaped, FrameError, NodeId, RequestId};

/// Effects are moved to their connections whenever they hold this much, so that a connection's
/// high-water mark is seen before the next request adds more.
const DISTRIBUTE_ABOVE: usize = 256 << 10;

/// What goes to the disk in one turn before requests wait for the next: it is in memory until then.
const DURABLE_BYTES_PER_TURN: u64 = 4 << 20;

impl Node {
    /// What a client's next request depends on.
    fn load(&self) -> Load {
        self.connections.load(self.host.outbox().durable_len() > DURABLE_BYTES_PER_TURN)
    }

    /// Reads once, if the connection may be read.
    pub(super) fn receive(&mut self, key: Key) {
        let is_full = self.load().is_turn_full;
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let State::Client(client) = &connection.state
            && let Phase::Lingering { .. } = client.phase
        {
            return self.discard(key);
        }
        if !connection.reads() {
            return;
        }
        if is_full && connection.state.peer().is_none() {
            // It stays in the socket, where it takes no memory of the node's.
            return self.connections.queue(key);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        match connection.read(&mut scratch) {
            ReadOutcome::Some(n) => {
                connection.last_heard = self.now.time;
                self.received(key, &scratch[..n]);
                if self.connections.get(key).is_some_and(Connection::is_readable) {
                    self.connections.queue(key);
                }
            }
            ReadOutcome::Drained => {}
            ReadOutcome::Eof => {
                if let State::Client(client) = &mut connection.state {
                    client.session.end();
                }
                self.consume_inbox(key);
            }
            ReadOutcome::Broken(error) => self.broken(key, &error),
        }
        self.scratch = scratch;
    }

    /// Reads once from a connection that only lingers, and forgets what it was.
    fn discard(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key).filter(|one| one.is_readable()) else {
            return;
        };
        match connection.read(&mut self.scratch) {
            ReadOutcome::Some(n) => {
                let goes_on = match &mut connection.state {
                    State::Client(client) => client.forgets(n),
                    _ => false,
                };
                if !goes_on {
                    self.close(key);
                } else if connection.is_readable() {
                    self.connections.queue(key);
                }
            }
            ReadOutcome::Drained => {}
            ReadOutcome::Eof | ReadOutcome::Broken(_) => self.close(key),
        }
    }

    fn received(&mut self, key: Key, data: &[u8]) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !connection.inbox.is_empty() {
            connection.keep(data);
            return self.consume_inbox(key);
        }
        // The common case: whole requests, taken where they were read.
        let used = self.consume(key, data);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.keep(&data[used..]);
            self.account(key);
        }
    }

    /// Goes on with what came in before.
    pub(super) fn consume_inbox(&mut self, key: Key) {
        let Some(inbox) = self.connections.take_inbox(key) else { return };
        let used = self.consume(key, inbox.pending());
        self.connections.put_inbox(key, inbox, used);
        self.account(key);
    }

    /// Takes what is whole; answers how many bytes that was.
    fn consume(&mut self, key: Key, data: &[u8]) -> usize {
        let mut used = 0;
        loop {
            let Some(connection) = self.connections.get(key) else { return data.len() };
            let rest = &data[used..];
            let (step, changes) = match connection.state {
                State::Dialing(_) => (0, false),
                State::Greeting => (self.on_hello(key, rest), true),
                State::Claiming(claim) => (self.on_proof(key, claim, rest), true),
                State::Greeted(dial) => (self.on_welcome(key, dial, rest), true),
                State::Link(peer, _) => (self.frames(key, peer, rest), false),
                State::Client(_) => (self.requests(key, rest), false),
                State::Parting(_) => return data.len(),
            };
            used += step;
            // A greeting is followed by what the connection is then for.
            if !changes || step == 0 || used == data.len() {
                break;
            }
        }
        let Some(connection) = self.connections.get_mut(key) else { return data.len() };
        if connection.is_closing() {
            return data.len();
        }
        if connection.has_ended() {
            match &mut connection.state {
                // It may yet take what is at hand.
                State::Client(client) if client.is_busy() => {}
                // What is left will never be whole.
                State::Client(client) => {
                    client.drain();
                    // Its place is free for the next, unless it is to get something yet.
                    if client.is_done(connection.out.len()) {
                        self.close(key);
                    } else {
                        self.connections.touch(key);
                    }
                    return data.len();
                }
                _ => {
                    self.close(key);
                    return data.len();
                }
            }
        }
        let partial = used < data.len();
        if partial && connection.input_since.is_none() {
            connection.input_since = Some(self.now.time);
            self.connections.sweep_within(self.config.limits.request_timeout_ms, self.now.time);
        } else if used > 0 {
            connection.input_since = partial.then_some(self.now.time);
        }
        used
    }

    /// Frames of a peer.
    fn frames(&mut self, key: Key, peer: NodeId, data: &[u8]) -> usize {
        let limit = self.config.limits.max_frame_bytes as usize;
        let mut used = 0;
        loop {
            match next_frame(&data[used..], limit) {
                Frame::Incomplete => return used,
                Frame::TooLong { length } => {
                    self.tell(
                        Counter::TooLong,
                        format_args!("node {peer} announces a frame of {length} bytes"),
                    );
                    self.close(key);
                    return data.len();
                }
                Frame::Whole { payload, used: step } => {
                    used += step;
                    // An empty frame is a heartbeat.
                    if payload.is_empty() {
                        continue;
                    }
                    let done = self.host.handle_frame(peer, payload, self.now);
                    if let Some(tracing) = &mut self.tracing
                        && let Some(connection) = self.connections.get_mut(key)
                        && let State::Link(_, names) = &mut connection.state
                    {
                        let error = done.err().map(|error| error.to_string());
                        tracing.received(peer, names, error, &self.host);
                    }
                    if let Err(error) = done {
                        let line = format_args!("a frame of node {peer} is dropped: {error}");
                        self.notices.tell(error.counter(), self.now.time, line);
                        if let FrameError::Jump(_) = error {
                            self.close(key);
                            return data.len();
                        }
                    }
                    if self.host.outbox().len() > DISTRIBUTE_ABOVE {
                        self.distribute();
                    }
                    self.distribute_if_traced();
                    if self.connections.get(key).is_none() {
                        return data.len();
                    }
                }
            }
        }
    }

    /// Requests of a client.
    fn requests(&mut self, key: Key, data: &[u8]) -> usize {
        let limit = self.config.limits.max_request_bytes as usize;
        let mut used = 0;
        loop {
            let load = self.load();
            let Node { connections, host, request, .. } = self;
            let Some(connection) = connections.get_mut(key) else { return data.len() };
            let addr = connection.addr;
            let State::Client(client) = &mut connection.state else { return used };
            let rest = &data[used..];
            if client.is_held(connection.out.len(), rest, load) {
                if client.phase == Phase::Held(Hold::Turn) {
                    self.connections.queue(key);
                }
                return used;
            }
            let place = client.session.place;
            match client.next(rest, limit, request, connection.out.tail()) {
                Step::Incomplete | Step::Wait => return used,
                Step::Answered { used: step } => {
                    used += step;
                    self.connections.touch(key);
                }
                Step::Request { used: step, sequence } => {
                    used += step;
                    let caller = Caller { request: RequestId { client: key, sequence }, addr };
                    if let Some(tracing) = &mut self.tracing {
                        tracing.request(caller.request, addr, place, request, host);
                    }
                    if host.handle_request(place, caller, request, self.now).is_err() {
                        client.session.forget_last();
                        self.fault(key, Fault::Malformed("it does not decode".into()));
                        return data.len();
                    }
                    connections.asked(key, request.len());
                    if self.host.outbox().len() > DISTRIBUTE_ABOVE {
                        self.distribute();
                    }
                    self.distribute_if_traced();
                }
                Step::Close { fault } => {
                    client.drain();
                    self.connections.touch(key);
                    if let Some(fault) = fault {
                        self.fault(key, fault);
                    }
                    return data.len();
                }
            }
        }
    }

    /// Ends the session of a client that does not keep to its protocol.
    fn fault(&mut self, key: Key, fault: Fault) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let State::Client(client) = &mut connection.state else { return };
        let addr = connection.addr;
        match fault {
            Fault::TooLong(_) | Fault::Malformed(_) => client.drain_and_linger(),
            Fault::Http => client.drain(),
        }
        match fault {
            Fault::Http => self.tell(
                Counter::Http,
                format_args!(
                    "{addr} is closed: it speaks HTTP or TLS, as a web page's request does"
                ),
            ),
            Fault::TooLong(bytes) => self.tell(
                Counter::TooLong,
                format_args!("{addr} is closed: its request has {bytes} bytes and no end"),
            ),
            Fault::Malformed(why) => self.tell(
                Counter::BadRequest,
                format_args!("{addr} is closed: {}", Escaped(why.as_bytes())),
            ),
        }
        self.connections.touch(key);
    }

    /// A node that is told to stop takes no further requests.
    pub(super) fn stop_reading(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        match &mut connection.state {
            State::Client(client) => client.drain(),
            State::Greeting => {
                let now = self.now.time;
                self.connections.turn_into(key, State::Parting(now), now);
            }
            State::Parting(_) => {}
            State::Dialing(_) | State::Greeted(_) | State::Claiming(_) | State::Link(..) => return,
        }
        self.connections.touch(key);
    }
}
