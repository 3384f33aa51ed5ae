//! Bytes in, bytes out: reading connections into the Host, and the Host's effects into
//! connections.

use super::Node;
use super::buffer::{Buffer, kept_bytes};
use super::connection::{Connection, ReadOutcome, State};
use super::places::Class;
use super::served::{Hold, Load, Phase};
use super::table::Key;
use node_lab::wire::{Fault, Step};
use node_lab::wire::{Frame, next_frame, push_frame};
use node_protocols::core::{Caller, Counter, Effect, Escaped, FrameError, NodeId, RequestId, Span};
use std::net::Shutdown;

/// Effects are moved to their connections whenever they hold this much, so that a connection's
/// high-water mark is seen before the next request adds more.
const DISTRIBUTE_ABOVE: usize = 256 << 10;

/// Unanswered requests of all clients above which each has one request at a time. Whatever waits
/// for a slow peer or disk waits in front of the node then, in the clients' sockets, and not in
/// the links' queues and the protocols' logs, which give up above theirs.
const MAX_UNANSWERED_BYTES: usize = 16 << 20;

/// Replies and pushes of one turn above which requests wait for the next: the bound on clients'
/// memory is kept when connections are flushed, and a turn may serve thousands of them.
pub(super) const REPLIED_BYTES_PER_TURN: usize = 4 << 20;

/// What goes to the disk in one turn before requests wait for the next: it is in memory until then.
const DURABLE_BYTES_PER_TURN: u64 = 4 << 20;

impl Node {
    /// Notes that a connection has something to send.
    pub(super) fn touch(&mut self, key: Key) {
        if let Some(connection) = self.table.get_mut(key)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push(key);
        }
    }

    /// Whether further requests wait for the next turn.
    fn is_turn_full(&self) -> bool {
        self.replied_bytes >= REPLIED_BYTES_PER_TURN
            || self.host.outbox().durable_len() > DURABLE_BYTES_PER_TURN
    }

    /// Notes that a connection can go on without an event.
    pub(super) fn queue(&mut self, key: Key) {
        if let Some(connection) = self.table.get_mut(key)
            && !connection.queued
        {
            connection.queued = true;
            self.ready.push(key);
        }
    }

    /// Reads once, if the connection may be read.
    pub(super) fn receive(&mut self, key: Key) {
        let is_full = self.is_turn_full();
        let Some(connection) = self.table.get_mut(key) else { return };
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
            return self.queue(key);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        match connection.read(&mut scratch) {
            ReadOutcome::Some(n) => {
                connection.last_heard = self.now.time;
                self.received(key, &scratch[..n]);
                if self.table.get(key).is_some_and(Connection::is_readable) {
                    self.queue(key);
                }
            }
            ReadOutcome::Drained => {}
            ReadOutcome::Eof => {
                if let State::Client(client) = &mut connection.state {
                    client.session.end();
                }
                self.consume_inbox(key);
            }
            ReadOutcome::Broken(error) => {
                log::debug!(target: "net", "{}: {error}", connection.addr);
                self.close(key);
            }
        }
        self.scratch = scratch;
    }

    /// Reads once from a connection that only lingers, and forgets what it was.
    fn discard(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key).filter(|one| one.is_readable()) else {
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
                    self.queue(key);
                }
            }
            ReadOutcome::Drained => {}
            ReadOutcome::Eof | ReadOutcome::Broken(_) => self.close(key),
        }
    }

    fn received(&mut self, key: Key, data: &[u8]) {
        let Some(connection) = self.table.get_mut(key) else { return };
        if !connection.inbox.is_empty() {
            connection.keep(data);
            return self.consume_inbox(key);
        }
        // The common case: whole requests, taken where they were read.
        let used = self.consume(key, data);
        if let Some(connection) = self.table.get_mut(key) {
            connection.keep(&data[used..]);
            self.account(key);
        }
    }

    /// Goes on with what came in before.
    pub(super) fn consume_inbox(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let mut inbox = std::mem::take(&mut connection.inbox);
        let used = self.consume(key, inbox.pending());
        inbox.advance(used, kept_bytes(self.places.clients));
        if let Some(connection) = self.table.get_mut(key) {
            connection.inbox = inbox;
            self.account(key);
        }
    }

    /// Takes what is whole; answers how many bytes that was.
    fn consume(&mut self, key: Key, data: &[u8]) -> usize {
        let mut used = 0;
        loop {
            let Some(connection) = self.table.get(key) else { return data.len() };
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
        let Some(connection) = self.table.get_mut(key) else { return data.len() };
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
                    match client.is_done(connection.out.len()) {
                        true => self.close(key),
                        false => self.touch(key),
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
            self.sweep_within(self.config.limits.request_timeout_ms);
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
                        && let Some(connection) = self.table.get_mut(key)
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
                    if self.table.get(key).is_none() {
                        return data.len();
                    }
                }
            }
        }
    }

    /// Requests of a client.
    fn requests(&mut self, key: Key, data: &[u8]) -> usize {
        let limit = self.config.limits.max_request_bytes as usize;
        let high_water = self.config.limits.client_high_water_bytes as usize;
        let mut used = 0;
        loop {
            let load = Load {
                high_water,
                is_much_unanswered: self.unanswered_bytes > MAX_UNANSWERED_BYTES,
                is_turn_full: self.is_turn_full(),
            };
            let Node { table, host, request, .. } = self;
            let Some(connection) = table.get_mut(key) else { return data.len() };
            let addr = connection.addr;
            let State::Client(client) = &mut connection.state else { return used };
            let rest = &data[used..];
            if client.is_held(connection.out.len(), rest, load) {
                if client.phase == Phase::Held(Hold::Turn) {
                    self.queue(key);
                }
                return used;
            }
            let place = client.session.place;
            match client.next(rest, limit, request, connection.out.tail()) {
                Step::Incomplete | Step::Wait => return used,
                Step::Answered { used: step } => {
                    used += step;
                    self.touch(key);
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
                    client.asked(request.len());
                    self.unanswered_bytes += request.len();
                    if self.host.outbox().len() > DISTRIBUTE_ABOVE {
                        self.distribute();
                    }
                    self.distribute_if_traced();
                }
                Step::Close { fault } => {
                    client.drain();
                    self.touch(key);
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
        let Some(connection) = self.table.get_mut(key) else { return };
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
        self.touch(key);
    }

    /// In a trace the effects of an event stand behind it.
    pub(super) fn distribute_if_traced(&mut self) {
        if self.tracing.is_some() {
            self.distribute();
        }
    }

    /// Moves the Host's effects to where they go; nothing leaves the node yet.
    pub(super) fn distribute(&mut self) {
        for place in 0..self.host.outbox().effects().len() {
            match self.host.outbox().effects()[place] {
                Effect::Send { to, payload } => {
                    let link = self.links.get(to).and_then(|peer| peer.link);
                    let mut connection = link.and_then(|key| self.table.get_mut(key));
                    if let Some(tracing) = &mut self.tracing {
                        let state = connection.as_mut().map(|connection| &mut connection.state);
                        let names = match state {
                            Some(State::Link(_, names)) => Some(names),
                            _ => None,
                        };
                        tracing.sent(to, self.host.outbox().bytes(payload), names, &self.host);
                    }
                    let Some((key, connection)) = link.zip(connection) else {
                        self.host.count(Counter::NoLink);
                        continue;
                    };
                    push_frame(connection.out.tail(), self.host.outbox().bytes(payload));
                    self.touch(key);
                }
                Effect::Reply { to, reply } => {
                    if self.pushes.wait_for(to.client, self.host.outbox()) {
                        self.finish_pushes();
                    }
                    self.answer(to, Some(reply));
                }
                Effect::Over { to } => self.answer(to, None),
                Effect::Push { to, reply } => self.push(to, reply),
                Effect::Print { line } => self.console.line(self.host.outbox().bytes(line)),
                // The first to ask has the say.
                Effect::Stop { exit } => {
                    self.asked_to_stop.get_or_insert(exit);
                }
                // For traces and checkers.
                Effect::Note { .. } | Effect::Timer { .. } | Effect::Fact { .. } => {}
            }
            if let Some(tracing) = &mut self.tracing {
                tracing.effect(self.host.outbox().effects()[place], &self.host);
            }
        }
        self.finish_pushes();
        self.host.outbox_mut().clear_effects();
    }

    /// A request is over: its client gets the reply, if there is one, and room for other requests.
    fn answer(&mut self, to: RequestId, reply: Option<Span>) {
        let high_water = self.config.limits.client_high_water_bytes as usize;
        let Some(connection) = self.table.get_mut(to.client) else { return };
        let State::Client(client) = &mut connection.state else { return };
        let reply = reply.map(|reply| self.host.outbox().bytes(reply));
        if let Some((tracing, reply)) = self.tracing.as_mut().zip(reply) {
            tracing.reply(to, connection.addr, client.session.place, reply, &self.host);
        }
        self.unanswered_bytes -= client.release();
        let length = reply.map_or(0, <[u8]>::len);
        self.replied_bytes += length;
        client.session.reply(to.sequence, reply, connection.out.tail_for(length));
        let goes_on =
            client.has_room(high_water) && (!connection.inbox.is_empty() || connection.has_ended());
        self.touch(to.client);
        if goes_on {
            self.queue(to.client);
        }
    }

    /// One write for each connection that has something to send.
    pub(super) fn flush(&mut self) {
        let kept = kept_bytes(self.places.clients);
        let mut place = 0;
        // Whoever is closed here may leave others something to send.
        while let Some(key) = self.dirty.get(place).copied() {
            place += 1;
            let Some(connection) = self.table.get_mut(key) else { continue };
            connection.dirty = false;
            match connection.flush(kept) {
                Ok(()) => self.flushed(key),
                Err(error) => {
                    log::debug!(target: "net", "{}: {error}", connection.addr);
                    self.close(key);
                }
            }
        }
        self.dirty.clear();
    }

    /// A connection was written to: whether it goes on, and how.
    fn flushed(&mut self, key: Key) {
        let high_water = self.config.limits.client_high_water_bytes as usize;
        let Some(connection) = self.table.get_mut(key) else { return };
        let waiting = connection.out.len();
        match &mut connection.state {
            State::Link(peer, _) => {
                let peer = *peer;
                if let Some(peer) = self.links.get_mut(peer) {
                    peer.last_sent = self.now.time;
                }
                if waiting > self.config.limits.max_link_queue_bytes as usize {
                    let line = format_args!("node {peer} does not read: the link starts anew");
                    self.tell(Counter::LinkOverflow, line);
                    self.close(key);
                }
            }
            State::Client(client) => {
                if client.session.max_pending_bytes().is_some_and(|most| waiting > most) {
                    let addr = connection.addr;
                    let line = format_args!("{addr} is closed: {waiting} bytes wait to be read");
                    self.tell(Counter::NotReading, line);
                    return self.close(key);
                }
                if let Some(backs_up) = client.backpressure(waiting, high_water) {
                    let place = client.session.place;
                    self.host.handle_backpressure(place, key, backs_up, self.now);
                }
                let resumes = client.resumes(waiting, high_water);
                if client.is_done(waiting) {
                    return self.finish(key);
                }
                self.account(key);
                if resumes {
                    self.queue(key);
                }
            }
            State::Parting(_) if waiting == 0 => self.close(key),
            State::Dialing(_)
            | State::Greeted(_)
            | State::Greeting
            | State::Claiming(_)
            | State::Parting(_) => {}
        }
    }

    /// Ends a client's connection that has everything it is to get: now, or when it has sent what
    /// it was about to.
    fn finish(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let ended = connection.has_ended();
        let State::Client(client) = &mut connection.state else { return };
        let lingers =
            client.phase == Phase::Draining { lingers: true } && !ended && self.draining.is_none();
        if !lingers || connection.stream.shutdown(Shutdown::Write).is_err() {
            return self.close(key);
        }
        client.linger();
        connection.inbox = Buffer::default();
        // As long as the rest of a request may take.
        connection.input_since = Some(self.now.time);
        self.sweep_within(self.config.limits.request_timeout_ms);
        self.account(key);
        self.queue(key);
    }

    /// Ends a connection now.
    pub(super) fn close(&mut self, key: Key) {
        let Some(mut connection) = self.table.remove(key) else { return };
        let _ = self.poll.registry().deregister(&mut connection.stream);
        self.client_memory -= connection.accounted;
        self.places.leave(Class::of(&connection.state));
        match connection.state {
            State::Greeting | State::Parting(_) => {}
            State::Claiming(claim) => {
                self.claim_over(key, claim.peer);
            }
            State::Client(client) => {
                self.unanswered_bytes -= client.unanswered_bytes();
                let place = client.session.place;
                self.host.handle_client(place, key, connection.addr, false, self.now);
                self.distribute_if_traced();
            }
            State::Dialing(dial) | State::Greeted(dial) => self.dial_over(key, dial),
            State::Link(peer, _) => {
                let current = self.links.get_mut(peer).filter(|peer| peer.link == Some(key));
                if let Some(current) = current {
                    current.link = None;
                    let level = self.links.level(peer, self.now.time);
                    log::log!(target: "net", level, "link to node {peer} is down");
                    self.links.lost(self.env.id, peer, self.now.time);
                    if let Some(tracing) = &mut self.tracing {
                        tracing.link(peer, false);
                    }
                    self.host.handle_link(peer, false, self.now);
                    self.distribute_if_traced();
                }
            }
        }
        // A descriptor is free again.
        if let Some(at) = &mut self.accept_at {
            *at = self.now.time;
        }
    }

    /// A node that is told to stop takes no further requests.
    pub(super) fn stop_reading(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        match &mut connection.state {
            State::Client(client) => client.drain(),
            State::Greeting => connection.state = State::Parting(self.now.time),
            State::Parting(_) => {}
            State::Dialing(_) | State::Greeted(_) | State::Claiming(_) | State::Link(..) => return,
        }
        self.touch(key);
    }
}
