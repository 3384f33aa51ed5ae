//! All sockets of the node. Here alone connections come into being, turn into something else and
//! end, so that what hangs on them is always right: places, the memory that clients hold, who has
//! something to send, who can go on, and what is known of the links to peers. Knows no Host: what
//! that has to hear of connections that ended is given as data.

use super::buffer::{Buffer, kept_bytes};
use super::connection::{Connection, Dial, Purpose, State};
use super::links::Links;
use super::listeners::Listeners;
use super::places::{Class, Places, Room};
use super::served::Load;
use super::table::{Key, Table, token};
use super::tracing::LinkNames;
use mio::net::TcpStream;
use mio::{Interest, Registry};
use node_lab::config::{Config, ConfigError, Limits};
use node_lab::wire::{push_frame, push_message};
use node_protocols::core::{Counter, NodeId, RequestId, Rng, Time};
use serde::Serialize;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

pub(super) struct Connections {
    pub(super) listeners: Listeners,
    pub(super) links: Links,
    registry: Registry,
    limits: Limits,
    table: Table<Connection>,
    places: Places,
    /// Those that have something to send.
    dirty: Vec<Key>,
    /// How many of them were written to in this turn.
    written: usize,
    /// Those that go on without an event.
    ready: Vec<Key>,
    /// What all clients hold.
    client_memory: usize,
    /// About how many bytes all clients' unanswered requests have.
    unanswered_bytes: usize,
    /// How many bytes of replies and pushes this turn has made.
    replied_bytes: usize,
    next_sweep: Option<Time>,
    next_heartbeat: Option<Time>,
    ended: VecDeque<Ended>,
}

/// What others have to hear of a connection that ended.
pub(super) enum Ended {
    /// The link to a peer is down.
    Link(NodeId),
    /// A client of the protocol at this place is gone.
    Client { place: usize, key: Key, addr: SocketAddr },
    /// A peer could not be asked whether it greets.
    Check(NodeId),
}

/// Unanswered requests of all clients above which each has one request at a time. Whatever waits
/// for a slow peer or disk waits in front of the node then, in the clients' sockets, and not in
/// the links' queues and the protocols' logs, which give up above theirs.
const MAX_UNANSWERED_BYTES: usize = 16 << 20;

/// Replies and pushes of one turn above which requests wait for the next: the bound on clients'
/// memory is kept when connections are flushed, and a turn may serve thousands of them.
const REPLIED_BYTES_PER_TURN: usize = 4 << 20;

/// Sweeps look at all connections, so they keep at least this distance.
const MIN_SWEEP: Duration = Duration::from_millis(100);

impl Connections {
    /// None yet but the listeners, which are bound. Events are registered in `registry`.
    pub(super) fn bind(
        config: &Config,
        registry: Registry,
        rng: Rng,
    ) -> Result<Connections, ConfigError> {
        Ok(Connections {
            listeners: Listeners::bind(config, &registry)?,
            links: Links::new(config, rng),
            registry,
            limits: config.limits.clone(),
            table: Table::new(),
            places: Places::of(config, raise_descriptor_limit()),
            dirty: Vec::new(),
            written: 0,
            ready: Vec::new(),
            client_memory: 0,
            unanswered_bytes: 0,
            replied_bytes: 0,
            next_sweep: None,
            next_heartbeat: None,
            ended: VecDeque::new(),
        })
    }

    /// When there is something to do, if no event comes before: now, when some can go on. A node
    /// that stops makes no new ones.
    pub(super) fn wake_at(&self, stops: bool, now: Time) -> Option<Time> {
        if !self.ready.is_empty() || self.listeners.any_goes_on(now) {
            return Some(now);
        }
        let due = if stops { None } else { self.links.next_due() };
        let times = [due, self.next_heartbeat, self.next_sweep, self.listeners.retry_at()];
        times.into_iter().flatten().min()
    }

    /// The key that the next connection gets.
    pub(super) fn next_key(&self) -> Key {
        self.table.next_key()
    }

    pub(super) fn get(&self, key: Key) -> Option<&Connection> {
        self.table.get(key)
    }

    /// What it is changes by [`turn_into`](Connections::turn_into) alone.
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Connection> {
        self.table.get_mut(key)
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.table.iter().map(|(key, _)| key).collect()
    }

    /// How many are not to peers.
    pub(super) fn clients(&self) -> usize {
        self.table.iter().filter(|(_, one)| one.state.peer().is_none()).count()
    }

    /// A connection begins; the caller has made sure of a place.
    ///
    /// # Errors
    /// It could not be registered for events, and is gone.
    pub(super) fn add(
        &mut self,
        mut stream: TcpStream,
        addr: SocketAddr,
        state: State,
        now: Time,
    ) -> io::Result<Key> {
        // Small messages must not wait for more; whole turns go out in one write anyway.
        let _ = stream.set_nodelay(true);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(&mut stream, token(self.table.next_key()), interest)?;
        let class = Class::of(&state);
        if let State::Dialing(Dial { peer, purpose: Purpose::Verify }) = state {
            self.links.checks(peer, self.table.next_key());
        }
        let key = self.table.insert(Connection::new(stream, addr, state, now));
        self.places.take(key, class, &self.table);
        let Limits { silent_timeout_ms, greeting_timeout_ms, idle_timeout_ms, .. } = self.limits;
        match class {
            Class::Client => self.sweep_within(silent_timeout_ms, now),
            Class::Stranger | Class::Own => self.sweep_within(greeting_timeout_ms, now),
        }
        if idle_timeout_ms > 0 {
            self.sweep_within(idle_timeout_ms, now);
        }
        Ok(key)
    }

    /// A connection turns out to be something else.
    pub(super) fn turn_into(&mut self, key: Key, state: State, now: Time) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let (before, after) = (Class::of(&connection.state), Class::of(&state));
        let left = std::mem::replace(&mut connection.state, state);
        if let State::Claiming(claim) = connection.state {
            self.links.claimed(claim.peer, key);
        }
        if before != after {
            self.places.leave(before);
            self.places.take(key, after, &self.table);
        }
        if let State::Claiming(claim) = left {
            self.claim_over(key, claim.peer, now);
        }
    }

    /// Ends a connection now. What others have to hear of it is in
    /// [`next_ended`](Connections::next_ended).
    pub(super) fn close(&mut self, key: Key, now: Time) {
        let Some(mut connection) = self.table.remove(key) else { return };
        let _ = self.registry.deregister(&mut connection.stream);
        self.client_memory -= connection.accounted;
        self.places.leave(Class::of(&connection.state));
        self.listeners.retry_soon(now);
        match connection.state {
            State::Greeting | State::Parting(_) => {}
            State::Claiming(claim) => self.claim_over(key, claim.peer, now),
            State::Client(client) => {
                self.unanswered_bytes -= client.unanswered_bytes();
                let (place, addr) = (client.session.place, connection.addr);
                self.ended.push_back(Ended::Client { place, key, addr });
            }
            State::Dialing(dial) | State::Greeted(dial) => self.dial_over(key, dial, now),
            State::Link(peer, _) => {
                if self.links.down(peer, key, now) {
                    self.ended.push_back(Ended::Link(peer));
                }
            }
        }
    }

    /// The next that ended, for whoever has to hear of it.
    pub(super) fn next_ended(&mut self) -> Option<Ended> {
        self.ended.pop_front()
    }

    /// A connection that this node dialled is gone before it was of use.
    fn dial_over(&mut self, key: Key, dial: Dial, now: Time) {
        match dial.purpose {
            Purpose::Link => self.links.lost(dial.peer, now),
            Purpose::Verify => {
                if self.links.get(dial.peer).is_some_and(|peer| peer.check == Some(key)) {
                    self.ended.push_back(Ended::Check(dial.peer));
                }
            }
            Purpose::Knock => {}
        }
    }

    /// The connections that say they are this peer.
    pub(super) fn claims(&self, id: NodeId) -> Vec<Key> {
        self.links.get(id).map_or_else(Vec::new, |peer| peer.claims.clone())
    }

    /// A connection no longer says that it is a peer. If no other does, nobody waits for the
    /// peer's answer.
    fn claim_over(&mut self, key: Key, id: NodeId, now: Time) {
        if let Some(check) = self.links.claim_over(id, key) {
            self.close(check, now);
        }
    }

    /// Whether there is a place for one more of this class.
    pub(super) fn room_for(&mut self, class: Class, now: Time) -> Room {
        let too_many = self.places.too_many(class);
        self.places.room(too_many, &mut self.table, now)
    }

    /// The same for one that has a place, and turns out to be a client.
    pub(super) fn room_for_client(&mut self, now: Time) -> Room {
        let too_many = self.places.too_many_clients();
        self.places.room(too_many, &mut self.table, now)
    }

    /// How many connections a listener may take in a turn.
    pub(super) fn accepts_per_turn(&self) -> usize {
        self.places.accepts_per_turn()
    }

    /// Notes that a connection has something to send.
    pub(super) fn touch(&mut self, key: Key) {
        if let Some(connection) = self.table.get_mut(key)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push(key);
        }
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

    /// Whether some can go on without an event.
    pub(super) fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes the list of those that can go on without an event; each is still in it until it
    /// [`goes_on`](Connections::goes_on).
    pub(super) fn take_ready(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.ready)
    }

    /// A connection goes on now, and may be queued again. Whether it is there.
    pub(super) fn goes_on(&mut self, key: Key) -> bool {
        self.table.get_mut(key).map(|connection| connection.queued = false).is_some()
    }

    /// Takes what came in before and could not be used yet.
    pub(super) fn take_inbox(&mut self, key: Key) -> Option<Buffer> {
        self.table.get_mut(key).map(|connection| std::mem::take(&mut connection.inbox))
    }

    /// Gives it back, of which so much was used.
    pub(super) fn put_inbox(&mut self, key: Key, mut inbox: Buffer, used: usize) {
        inbox.advance(used, kept_bytes(self.places.clients));
        if let Some(connection) = self.table.get_mut(key) {
            connection.inbox = inbox;
        }
    }

    /// Writes once to the next connection that has something to send, of this turn.
    pub(super) fn write_next(&mut self) -> Option<(Key, io::Result<()>)> {
        let kept = kept_bytes(self.places.clients);
        loop {
            let Some(key) = self.dirty.get(self.written).copied() else {
                self.dirty.clear();
                self.written = 0;
                return None;
            };
            self.written += 1;
            if let Some(connection) = self.table.get_mut(key) {
                connection.dirty = false;
                return Some((key, connection.flush(kept)));
            }
        }
    }

    /// What names the messages of the link to a peer in traces.
    pub(super) fn names(&mut self, peer: NodeId) -> Option<&mut LinkNames> {
        let key = self.links.get(peer)?.link?;
        match &mut self.table.get_mut(key)?.state {
            State::Link(_, names) => Some(names),
            _ => None,
        }
    }

    /// Sends what belongs to the greeting of a connection.
    pub(super) fn say(&mut self, key: Key, message: &impl Serialize) {
        if let Some(connection) = self.table.get_mut(key) {
            push_message(connection.out.tail(), message);
            self.touch(key);
        }
    }

    /// Sends a frame to a peer. Whether there is a link to it.
    pub(super) fn send(&mut self, peer: NodeId, payload: &[u8]) -> bool {
        let link = self.links.get(peer).and_then(|peer| peer.link);
        let Some((key, connection)) = link.and_then(|key| Some((key, self.table.get_mut(key)?)))
        else {
            return false;
        };
        push_frame(connection.out.tail(), payload);
        self.touch(key);
        true
    }

    /// A client's request of so many bytes was handed over.
    pub(super) fn asked(&mut self, key: Key, bytes: usize) {
        if let Some(connection) = self.table.get_mut(key)
            && let State::Client(client) = &mut connection.state
        {
            client.asked(bytes);
            self.unanswered_bytes += bytes;
        }
    }

    /// A request is over: its client gets the reply, if there is one, and room for other requests.
    pub(super) fn reply(&mut self, to: RequestId, reply: Option<&[u8]>) {
        let high_water = self.limits.client_high_water_bytes as usize;
        let Some(connection) = self.table.get_mut(to.client) else { return };
        let State::Client(client) = &mut connection.state else { return };
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

    /// So many bytes were pushed to a client; more than it reads is all that a turn makes.
    pub(super) fn pushed(&mut self, key: Key, bytes: usize, is_much: bool) {
        let bytes = if is_much { REPLIED_BYTES_PER_TURN } else { bytes };
        self.replied_bytes = self.replied_bytes.saturating_add(bytes);
        self.touch(key);
    }

    /// What a client's next request depends on, when the disk has as much to write as a turn may
    /// make, or not.
    pub(super) fn load(&self, is_disk_full: bool) -> Load {
        Load {
            high_water: self.limits.client_high_water_bytes as usize,
            is_much_unanswered: self.unanswered_bytes > MAX_UNANSWERED_BYTES,
            is_turn_full: is_disk_full || self.replied_bytes >= REPLIED_BYTES_PER_TURN,
        }
    }

    /// What was replied and pushed goes out now.
    pub(super) fn end_turn(&mut self) {
        self.replied_bytes = 0;
    }

    /// Brings the sum of what clients hold up to date.
    pub(super) fn account(&mut self, key: Key) {
        if let Some(connection) = self.table.get_mut(key) {
            let held = connection.held_bytes();
            self.client_memory = self.client_memory - connection.accounted + held;
            connection.accounted = held;
        }
    }

    /// The client that holds most, when all together hold too much.
    pub(super) fn largest_of_too_much(&self) -> Option<(Key, &Connection)> {
        if self.client_memory as u64 <= self.limits.max_client_memory_bytes {
            return None;
        }
        self.table.iter().max_by_key(|(_, one)| one.accounted)
    }

    /// Makes sure that connections are looked at within this time.
    pub(super) fn sweep_within(&mut self, millis: u64, now: Time) {
        let at = now + Duration::from_millis(millis);
        self.next_sweep = Some(self.next_sweep.map_or(at, |next| next.min(at)));
    }

    /// Those that took too long, and which bound that was; empty when it is not yet time to look.
    pub(super) fn late(&mut self, now: Time) -> Vec<(Key, Counter)> {
        let mut late = Vec::new();
        if self.next_sweep.is_none_or(|at| now < at) {
            return late;
        }
        let mut next: Option<Time> = None;
        for (key, connection) in self.table.iter() {
            let Some((deadline, cause)) = connection.deadline(&self.limits, now) else { continue };
            if deadline <= now {
                late.push((key, cause));
            } else {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
            }
        }
        self.next_sweep = next.map(|next| next.max(now + MIN_SWEEP));
        late
    }

    /// A connection is the link to a peer now, and the process at its other end this one.
    pub(super) fn link_up(&mut self, key: Key, peer: NodeId, process: (u128, u64), now: Time) {
        self.links.up(peer, key, process, now);
        let beat = now + Duration::from_millis(self.limits.heartbeat_ms);
        self.next_heartbeat = Some(self.next_heartbeat.map_or(beat, |next| next.min(beat)));
    }

    /// When it is time to: says something over links on which this node was quiet, and answers on
    /// which the peer was, for too long.
    pub(super) fn heartbeat(&mut self, now: Time) -> Vec<(Key, NodeId)> {
        let (mut quiet, mut silent) = (Vec::new(), Vec::new());
        if self.next_heartbeat.is_none_or(|at| now < at) {
            return silent;
        }
        let every = Duration::from_millis(self.limits.heartbeat_ms);
        let timeout = Duration::from_millis(self.limits.link_timeout_ms);
        for peer in self.links.iter() {
            let Some(key) = peer.link else { continue };
            let heard = self.table.get(key).map_or(now, |connection| connection.last_heard);
            if now - heard >= timeout {
                silent.push((key, peer.id));
            } else if now - peer.last_sent >= every / 2 {
                quiet.push(key);
            }
        }
        for key in quiet {
            if let Some(connection) = self.table.get_mut(key) {
                push_frame(connection.out.tail(), &[]);
                self.touch(key);
            }
        }
        self.next_heartbeat = self.links.any_up().then(|| now + every);
        silent
    }
}

/// Lets the process open as many descriptors as it may, and says how many that is.
fn raise_descriptor_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let in_force = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    in_force.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests;
