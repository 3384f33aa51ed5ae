//! Bytes out: the Host's effects into connections, and one write for each of these.

use super::Node;
use super::buffer::Buffer;
use super::connection::State;
use super::served::Phase;
use super::table::Key;
use node_protocols::core::{Counter, Effect};
use std::io;
use std::net::Shutdown;

impl Node {
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
                    let payload = self.host.outbox().bytes(payload);
                    if let Some(tracing) = &mut self.tracing {
                        let names = self.connections.names(to);
                        tracing.sent(to, payload, names, &self.host);
                    }
                    if !self.connections.send(to, payload) {
                        self.host.count(Counter::NoLink);
                    }
                }
                Effect::Reply { to, reply } => {
                    if self.pushes.wait_for(to.client, self.host.outbox()) {
                        self.finish_pushes();
                    }
                    let reply = self.host.outbox().bytes(reply);
                    if let Some(tracing) = &mut self.tracing
                        && let Some(connection) = self.connections.get(to.client)
                        && let Some(place) = connection.state.place()
                    {
                        tracing.reply(to, connection.addr, place, reply, &self.host);
                    }
                    self.connections.reply(to, Some(reply));
                }
                Effect::Over { to } => self.connections.reply(to, None),
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

    /// One write for each connection that has something to send.
    pub(super) fn flush(&mut self) {
        // Whoever is closed here may leave others something to send.
        while let Some((key, written)) = self.connections.write_next() {
            match written {
                Ok(()) => self.flushed(key),
                Err(error) => self.broken(key, &error),
            }
        }
    }

    /// Ends a connection that cannot be read or written any more.
    pub(super) fn broken(&mut self, key: Key, error: &io::Error) {
        if let Some(connection) = self.connections.get(key) {
            log::debug!(target: "net", "{}: {error}", connection.addr);
        }
        self.close(key);
    }

    /// A connection was written to: whether it goes on, and how.
    fn flushed(&mut self, key: Key) {
        let high_water = self.config.limits.client_high_water_bytes as usize;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let waiting = connection.out.len();
        match &mut connection.state {
            State::Link(peer, _) => {
                let peer = *peer;
                if let Some(peer) = self.connections.links.get_mut(peer) {
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
                    self.connections.queue(key);
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
        let Some(connection) = self.connections.get_mut(key) else { return };
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
        self.connections.sweep_within(self.config.limits.request_timeout_ms, self.now.time);
        self.account(key);
        self.connections.queue(key);
    }
}
