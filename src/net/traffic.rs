//! Bytes in, bytes out: reading connections into the Host, and the Host's effects into
//! connections.

use super::Node;
use super::connection::{Buffer, Kind, ReadOutcome, kept_bytes};
use super::places::Class;
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

/// Replies and pushes of one turn above which requests wait for the next: the bound on clients' memory is
/// kept when connections are flushed, and a turn may serve thousands of them.
pub(super) const REPLIED_BYTES_PER_TURN: usize = 4 << 20;

/// What a client may still send that has been told why its connection ends.
const LINGER_BYTES: usize = 8 << 20;

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
        if connection.is_shut {
            return self.discard(key);
        }
        let paused = matches!(&connection.kind, Kind::Client(session)
            if session.paused || session.waiting || session.full);
        let dialing = matches!(connection.kind, Kind::Dialing(_));
        if !connection.readable || connection.closing || connection.eof || paused || dialing {
            return;
        }
        if connection.peer().is_none() && is_full {
            // It stays in the socket, where it takes no memory of the node's.
            return self.queue(key);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        match connection.read(&mut scratch) {
            ReadOutcome::Some(n) => {
                connection.last_heard = self.now.time;
                connection.silent = false;
                self.received(key, &scratch[..n]);
                if self.table.get(key).is_some_and(|connection| connection.readable) {
                    self.queue(key);
                }
            }
            ReadOutcome::Drained => {}
            ReadOutcome::Eof => {
                connection.eof = true;
                if let Kind::Client(session) = &mut connection.kind {
                    session.end();
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
        let Some(connection) = self.table.get_mut(key).filter(|one| one.readable) else { return };
        match connection.read(&mut self.scratch) {
            ReadOutcome::Some(n) => {
                let left = connection.lingers.and_then(|left| left.checked_sub(n));
                connection.lingers = left;
                match left {
                    Some(_) if connection.readable => self.queue(key),
                    Some(_) => {}
                    None => self.close(key),
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
            let (step, changes) = match connection.kind {
                Kind::Dialing(_) => (0, false),
                Kind::Greeting => (self.on_hello(key, rest), true),
                Kind::Claiming(claim) => (self.on_proof(key, claim, rest), true),
                Kind::Dialed(dial) => (self.on_welcome(key, dial, rest), true),
                Kind::Link(peer) => (self.frames(key, peer, rest), false),
                Kind::Client(_) => (self.requests(key, rest), false),
            };
            used += step;
            // A greeting is followed by what the connection is then for.
            if !changes || step == 0 || used == data.len() {
                break;
            }
        }
        let Some(connection) = self.table.get_mut(key) else { return data.len() };
        if connection.closing {
            return data.len();
        }
        if connection.eof {
            let waits = matches!(&connection.kind, Kind::Client(session)
                if session.outstanding > 0 || session.paused || session.waiting || session.full);
            if !waits {
                // What is left will never be whole.
                if connection.peer().is_some() {
                    self.close(key);
                    return data.len();
                }
                connection.closing = true;
                self.touch(key);
                return data.len();
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
                    {
                        let error = done.err().map(|error| error.to_string());
                        tracing.received(peer, &mut connection.names, error, &self.host);
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
            let is_full = self.is_turn_full();
            let Node { table, host, request, .. } = self;
            let Some(connection) = table.get_mut(key) else { return data.len() };
            let addr = connection.addr;
            let Kind::Client(session) = &mut connection.kind else { return used };
            session.paused = connection.out.len() > high_water;
            let much = session.unanswered_bytes > high_water
                || self.unanswered_bytes > MAX_UNANSWERED_BYTES;
            session.full = much && session.outstanding > 0 && used < data.len();
            if session.paused || session.full || connection.closing {
                return used;
            }
            if is_full && used < data.len() {
                session.waiting = true;
                self.queue(key);
                return used;
            }
            let place = session.place;
            match session.next(&data[used..], limit, request, connection.out.tail()) {
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
                        session.forget_last();
                        self.fault(key, Fault::Malformed("it does not decode".into()));
                        return data.len();
                    }
                    session.unanswered_bytes += request.len();
                    self.unanswered_bytes += request.len();
                    if self.host.outbox().len() > DISTRIBUTE_ABOVE {
                        self.distribute();
                    }
                    self.distribute_if_traced();
                }
                Step::Close { fault } => {
                    connection.closing = true;
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
        let addr = connection.addr;
        connection.closing = true;
        connection.lingers = match fault {
            Fault::TooLong(_) | Fault::Malformed(_) => Some(LINGER_BYTES),
            Fault::Http => None,
        };
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
                        let names = connection.as_mut().map(|connection| &mut connection.names);
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
        let Kind::Client(session) = &mut connection.kind else { return };
        let reply = reply.map(|reply| self.host.outbox().bytes(reply));
        if let Some((tracing, reply)) = self.tracing.as_mut().zip(reply) {
            tracing.reply(to, connection.addr, session.place, reply, &self.host);
        }
        self.unanswered_bytes -= session.release();
        let length = reply.map_or(0, <[u8]>::len);
        self.replied_bytes += length;
        session.reply(to.sequence, reply, connection.out.tail_for(length));
        let has_room = session.full && session.unanswered_bytes <= high_water / 2;
        let goes_on = (session.outstanding == 0 || has_room)
            && (!connection.inbox.is_empty() || connection.eof);
        self.touch(to.client);
        if goes_on {
            self.queue(to.client);
        }
    }

    /// One write for each connection that has something to send.
    pub(super) fn flush(&mut self) {
        let max_queue = self.config.limits.max_link_queue_bytes as usize;
        let high_water = self.config.limits.client_high_water_bytes as usize;
        let kept = kept_bytes(self.places.clients);
        let mut place = 0;
        // Whoever is closed here may leave others something to send.
        while let Some(key) = self.dirty.get(place).copied() {
            place += 1;
            let Some(connection) = self.table.get_mut(key) else { continue };
            connection.dirty = false;
            if let Err(error) = connection.flush(kept) {
                log::debug!(target: "net", "{}: {error}", connection.addr);
                self.close(key);
                continue;
            }
            let waiting = connection.out.len();
            match &mut connection.kind {
                Kind::Link(peer) => {
                    let peer = *peer;
                    if let Some(peer) = self.links.get_mut(peer) {
                        peer.last_sent = self.now.time;
                    }
                    if waiting > max_queue {
                        let line = format_args!("node {peer} does not read: the link starts anew");
                        self.tell(Counter::LinkOverflow, line);
                        self.close(key);
                    }
                }
                Kind::Client(session)
                    if session.max_pending_bytes().is_some_and(|most| waiting > most) =>
                {
                    let addr = connection.addr;
                    let line = format_args!("{addr} is closed: {waiting} bytes wait to be read");
                    self.tell(Counter::NotReading, line);
                    self.close(key);
                }
                Kind::Client(session) => {
                    let is_told = session.max_pending_bytes().is_none();
                    let backs_up = is_told && session.is_pushed_to && waiting > high_water;
                    let goes_on = session.is_backed_up && waiting <= high_water / 2;
                    if (backs_up && !session.is_backed_up) || goes_on {
                        session.is_backed_up = backs_up;
                        self.host.handle_backpressure(session.place, key, backs_up, self.now);
                    }
                    let resumes = session.paused && waiting <= high_water;
                    if resumes {
                        session.paused = false;
                    }
                    let done = session.outstanding == 0 && waiting == 0 && connection.closing;
                    if done {
                        self.finish(key);
                    } else {
                        self.account(key);
                        if resumes {
                            self.queue(key);
                        }
                    }
                }
                Kind::Greeting | Kind::Claiming(_) | Kind::Dialed(_)
                    if connection.closing && waiting == 0 =>
                {
                    self.close(key);
                }
                Kind::Greeting | Kind::Claiming(_) | Kind::Dialing(_) | Kind::Dialed(_) => {}
            }
        }
        self.dirty.clear();
    }

    /// Ends a connection that has everything it is to get: now, or when it has sent what it was about to.
    fn finish(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let lingers = connection.lingers.is_some() && !connection.eof && self.draining.is_none();
        let begins = lingers && !connection.is_shut;
        if !begins || connection.stream.shutdown(Shutdown::Write).is_err() {
            return self.close(key);
        }
        connection.is_shut = true;
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
        self.places.leave(Class::of(&connection.kind));
        match connection.kind {
            Kind::Greeting => {}
            Kind::Claiming(claim) => {
                self.claim_over(key, claim.peer);
            }
            Kind::Client(session) => {
                self.unanswered_bytes -= session.unanswered_bytes;
                self.host.handle_client(session.place, key, connection.addr, false, self.now);
                self.distribute_if_traced();
            }
            Kind::Dialing(dial) | Kind::Dialed(dial) => self.dial_over(key, dial),
            Kind::Link(peer) => {
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
        if connection.peer().is_none() {
            connection.closing = true;
            self.touch(key);
        }
    }
}
