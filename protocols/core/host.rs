//! The Host: one node's protocols, its Lamport clock and its outbox, as pure as they are.

use super::io::{FrameError, Io, Malformed, decode};
use super::outbox::encode;
use super::{
    Caller, ClientId, Corrupt, Counter, Counters, DynProtocol, Env, Jump, LamportClock,
    LamportRule, LamportTime, NodeId, Now, Outbox, Span, Time, WallTime,
};
use ::core::fmt;
use ::core::net::SocketAddr;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// One node without its sockets, files and clocks.
///
/// # The contract of a driver
///
/// 1. Before the Host is made, what a protocol's [`input`](DynProtocol::input) names is read and
///    given to it. Then [`handle_record`](Host::handle_record) for each record of the log, in
///    order;
///    [`handle_file`](Host::handle_file) for each of [`files`](Host::files); then
///    [`handle_start`](Host::handle_start), once.
/// 2. Then any `handle_*`, one at a time, with a `now` whose time never goes back.
/// 3. After each of them, or after as many as make a turn:
///    [`handle_turn_end`](Host::handle_turn_end); append [`outbox`](Host::outbox)`.files()` and
///    make that durable, then `records()` (or the checkpoint, when one is asked for, from
///    [`snapshot`](Host::snapshot)), then carry out the effects in order, then clear all. When
///    that fails, no effect leaves and the node stops.
/// 4. [`handle_timers`](Host::handle_timers) when [`deadline`](Host::deadline) has come.
/// 5. [`handle_greeting`](Host::handle_greeting) with the Lamport value of the peer's greeting,
///    which may refuse the link; then [`handle_link`](Host::handle_link) `up` before the first
///    frame over it, `down` after its last, in turns for each peer.
/// 6. [`set_room`](Host::set_room) between turns, as far as the driver knows how much the disk
///    still takes: protocols then refuse what would not fit. It is an estimate, and 3 holds when it
///    is wrong.
pub struct Host {
    protocols: Vec<Box<dyn DynProtocol>>,
    io: Io,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Malformed => f.write_str("it does not decode"),
            FrameError::UnknownProtocol(tag) => {
                write!(f, "it is for protocol tag {tag:#06x}, which this node does not run")
            }
            FrameError::Jump(jump) => jump.fmt(f),
        }
    }
}

/// What precedes the message in every frame between nodes.
#[derive(Serialize, Deserialize)]
struct Envelope {
    tag: u16,
    lamport: LamportTime,
}

/// How many facts the facts of one event may set off. Protocols publish on change; one that answers
/// a fact with a fact for ever is broken, and a node that spins on it helps nobody.
const MAX_FACTS_PER_EVENT: usize = 1_000;

impl Host {
    /// A node with these protocols, in config order.
    pub fn new(env: &Env, mut protocols: Vec<Box<dyn DynProtocol>>, rule: LamportRule) -> Host {
        for (place, protocol) in protocols.iter_mut().enumerate() {
            protocol.set_place(place);
        }
        let io = Io {
            id: env.id,
            peers: env.peers.clone(),
            now: Now::default(),
            lamport: LamportClock::new(rule, env.durable),
            received: LamportTime::default(),
            outbox: Outbox::default(),
            facts: VecDeque::new(),
            counters: Counters::default(),
            room: u64::MAX,
            wants_turn_end: false,
        };
        Host { protocols, io }
    }

    /// Switches console lines and trace notes on or off; both are off at first.
    pub fn set_output(&mut self, console: bool, trace: bool) {
        self.io.outbox.console = console;
        self.io.outbox.trace = trace;
    }

    /// How many bytes of records and files the disk has room for, from the next turn on; unlimited
    /// at first.
    pub fn set_room(&mut self, bytes: u64) {
        self.io.room = bytes;
    }

    /// Gives one record of the log back to the protocol that wrote it.
    ///
    /// # Errors
    /// No protocol here takes it: the log is another config's, or damaged.
    pub fn handle_record(&mut self, tag: u16, record: &[u8]) -> Result<(), Corrupt> {
        if tag == HOST_TAG {
            let bound =
                decode(record).map_err(|Malformed| Corrupt("a Lamport bound is 8 bytes"))?;
            self.io.lamport.recover(bound);
            return Ok(());
        }
        let owner = self.protocols.iter_mut().find(|protocol| protocol.tag() == tag);
        owner
            .ok_or(Corrupt("it belongs to a protocol that this node does not run"))?
            .recover(record)
    }

    /// Whether every protocol that writes to the log gets back from its peers what a lost log had.
    /// A log that is there for the Lamport clock alone nobody gives back.
    pub fn restores(&self) -> bool {
        let mut persisting =
            self.protocols.iter().filter(|protocol| protocol.persists()).peekable();
        persisting.peek().is_some() && persisting.all(|protocol| protocol.restores())
    }

    /// The node's log was set aside. In the place of all [`handle_record`](Host::handle_record).
    pub fn handle_log_lost(&mut self) {
        for protocol in &mut self.protocols {
            protocol.log_lost();
        }
    }

    /// Whether the clock stands, after all records, where other nodes believe it at `now`.
    ///
    /// # Errors
    /// The clock is further ahead than the wall clock allows.
    pub fn check_clock(&mut self, now: Now) -> Result<(), Jump> {
        self.io.set_now(now);
        self.io.lamport.check()
    }

    /// The name of the protocol with a tag.
    pub fn name_of(&self, tag: u16) -> Option<&'static str> {
        let owner = self.protocols.iter().find(|protocol| protocol.tag() == tag)?;
        Some(owner.name())
    }

    /// The files that protocols add to: their protocols' tags, and their names in the data
    /// directory.
    pub fn files(&self) -> impl Iterator<Item = (u16, &'static str)> {
        let protocols = self.protocols.iter();
        protocols.filter_map(|protocol| Some((protocol.tag(), protocol.file()?)))
    }

    /// A protocol's file has this many bytes. Answers how many to keep.
    ///
    /// # Errors
    /// The file is shorter than the log knows.
    pub fn handle_file(&mut self, tag: u16, bytes: u64) -> Result<u64, Corrupt> {
        let owner = self.protocols.iter_mut().find(|protocol| protocol.tag() == tag);
        owner
            .ok_or(Corrupt("it belongs to a protocol that this node does not run"))?
            .recover_file(bytes)
    }

    /// Starts the protocols.
    pub fn handle_start(&mut self, now: Now) {
        self.io.set_now(now);
        for protocol in &mut self.protocols {
            protocol.start(&mut self.io);
        }
        // Only now, so that no protocol hears of another before it has started itself.
        self.deliver_facts();
    }

    /// A frame's payload came from a peer. After a [`FrameError::Jump`] the link is to be made
    /// anew: the greetings then tell which of the two clocks is behind.
    ///
    /// # Errors
    /// Why it was dropped; nothing changed.
    pub fn handle_frame(
        &mut self,
        from: NodeId,
        payload: &[u8],
        now: Now,
    ) -> Result<(), FrameError> {
        self.io.set_now(now);
        let done = self.deliver_frame(from, payload);
        self.io.counters.add(done.map_or_else(|error| error.counter(), |()| Counter::FramesIn));
        self.deliver_facts();
        done
    }

    fn deliver_frame(&mut self, from: NodeId, payload: &[u8]) -> Result<(), FrameError> {
        let (envelope, body) =
            postcard::take_from_bytes::<Envelope>(payload).map_err(|_| FrameError::Malformed)?;
        let place = self
            .protocols
            .iter()
            .position(|protocol| protocol.tag() == envelope.tag)
            .ok_or(FrameError::UnknownProtocol(envelope.tag))?;
        self.protocols[place].message(from, envelope.lamport, body, &mut self.io)
    }

    /// A client's request, encoded as postcard, for the protocol at `place`.
    ///
    /// # Errors
    /// The bytes are no request of the protocol; nothing changed.
    pub fn handle_request(
        &mut self,
        place: usize,
        caller: Caller,
        request: &[u8],
        now: Now,
    ) -> Result<(), Malformed> {
        self.io.set_now(now);
        self.protocols[place].request(caller, request, &mut self.io)?;
        self.deliver_facts();
        Ok(())
    }

    /// A client of the protocol at `place` connected or is gone.
    pub fn handle_client(
        &mut self,
        place: usize,
        client: ClientId,
        addr: SocketAddr,
        up: bool,
        now: Now,
    ) {
        self.io.set_now(now);
        self.protocols[place].client(client, addr, up, &mut self.io);
        self.deliver_facts();
    }

    /// A client of the protocol at `place` does not read what is pushed to it, or has room again.
    pub fn handle_backpressure(&mut self, place: usize, client: ClientId, full: bool, now: Now) {
        self.io.set_now(now);
        self.protocols[place].backpressure(client, full, &mut self.io);
        self.deliver_facts();
    }

    /// The node stops.
    pub fn handle_stop(&mut self, now: Now) {
        self.io.set_now(now);
        for place in 0..self.protocols.len() {
            self.protocols[place].stop(&mut self.io);
            self.deliver_facts();
        }
    }

    /// Fires what is due at `now`.
    pub fn handle_timers(&mut self, now: Now) {
        self.io.set_now(now);
        for place in 0..self.protocols.len() {
            let mut fired = 0;
            while fired < MAX_TIMERS_PER_CALL && self.protocols[place].fire(&mut self.io) {
                fired += 1;
                self.deliver_facts();
            }
        }
    }

    /// What the node had at hand has been delivered, and the effects leave next.
    pub fn handle_turn_end(&mut self) {
        if !::core::mem::take(&mut self.io.wants_turn_end) {
            return;
        }
        for place in 0..self.protocols.len() {
            self.protocols[place].turn_end(&mut self.io);
            self.deliver_facts();
        }
    }

    /// A peer's greeting said where its Lamport clock stands. An error means that it cannot be
    /// true: the link is not to be made. Only with the greeting of whoever is known to be the peer.
    ///
    /// # Errors
    /// The peer's clock is too far ahead; nothing changed.
    pub fn handle_greeting(&mut self, lamport: LamportTime, now: Now) -> Result<(), Jump> {
        self.io.set_now(now);
        let caught_up = self.io.lamport.catch_up(lamport);
        if caught_up.is_err() {
            self.io.counters.add(Counter::LamportJump);
        }
        self.io.reserve();
        caught_up
    }

    /// The link to a peer came up or went down.
    pub fn handle_link(&mut self, peer: NodeId, up: bool, now: Now) {
        self.io.set_now(now);
        self.io.counters.add(if up { Counter::LinkUp } else { Counter::LinkDown });
        for place in 0..self.protocols.len() {
            self.protocols[place].link(peer, up, &mut self.io);
            self.deliver_facts();
        }
    }

    fn deliver_facts(&mut self) {
        // One message may tell of any number of nodes.
        let most = self.io.facts.len() + MAX_FACTS_PER_EVENT;
        let mut delivered = 0;
        while let Some((publisher, fact)) = self.io.facts.pop_front() {
            delivered += 1;
            assert!(delivered <= most, "facts answer facts without end: {fact:?}");
            for place in (0..self.protocols.len()).filter(|place| *place != publisher) {
                self.protocols[place].fact(&fact, &mut self.io);
            }
        }
    }

    /// When [`handle_timers`](Host::handle_timers) has something to do next.
    pub fn deadline(&self) -> Option<Time> {
        self.protocols.iter().filter_map(|protocol| protocol.deadline()).min()
    }

    /// Writes the records that rebuild the state of all protocols, for a checkpoint.
    pub fn snapshot(&self, write: &mut dyn FnMut(u16, &[u8])) {
        if let Some(bound) = self.io.lamport.reserved() {
            let mut record = Vec::new();
            encode(&bound, &mut record);
            write(HOST_TAG, &record);
        }
        for protocol in &self.protocols {
            protocol.snapshot(write);
        }
    }

    /// What the protocols want done.
    pub fn outbox(&self) -> &Outbox {
        &self.io.outbox
    }

    /// The outbox, for clearing what is done.
    pub fn outbox_mut(&mut self) -> &mut Outbox {
        &mut self.io.outbox
    }

    /// The node's counters.
    pub fn counters(&self) -> &Counters {
        &self.io.counters
    }

    /// Counts something that the driver saw.
    pub fn count(&mut self, counter: Counter) {
        self.io.counters.add(counter);
    }

    /// Whether what the node persists survives it.
    pub fn is_durable(&self) -> bool {
        self.io.lamport.reserved().is_some()
    }

    /// The wall clock as protocols would see it at `now`.
    pub fn wall_clock(&self, now: Now) -> WallTime {
        self.io.follow(now).wall
    }

    /// The node's Lamport clock as it stands.
    pub fn lamport(&self) -> LamportTime {
        self.io.lamport.value()
    }

    /// The value that the last receive of a frame had.
    pub fn lamport_of_receive(&self) -> LamportTime {
        self.io.received
    }

    /// The protocols, in config order.
    pub fn protocols(&self) -> &[Box<dyn DynProtocol>] {
        &self.protocols
    }

    /// The place of a protocol in config order.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.protocols.iter().position(|protocol| protocol.name() == name)
    }

    /// Asserts what must always hold of the protocols' states.
    pub fn check_invariants(&self) {
        for protocol in &self.protocols {
            protocol.check_invariants();
        }
    }

    /// The message of a frame's payload as JSON, for traces.
    pub fn describe(&self, payload: &[u8]) -> String {
        if postcard::take_from_bytes::<Envelope>(payload).is_err() {
            return String::from("(malformed)");
        }
        let described = self.describe_parts(payload);
        described.map_or_else(|| String::from("(unknown)"), |(_, _, label)| label)
    }

    /// The protocol of a frame's payload, the Lamport value that it carries, and the message as
    /// JSON, for traces.
    pub fn describe_parts(&self, payload: &[u8]) -> Option<(&'static str, LamportTime, String)> {
        let (envelope, body) = postcard::take_from_bytes::<Envelope>(payload).ok()?;
        let owner = self.protocols.iter().find(|protocol| protocol.tag() == envelope.tag)?;
        Some((owner.name(), envelope.lamport, owner.describe(body)))
    }

    /// The message of a frame's payload in short; none where it has no short form, or is none of
    /// this node's.
    pub fn brief(&self, payload: &[u8]) -> Option<String> {
        let (envelope, body) = postcard::take_from_bytes::<Envelope>(payload).ok()?;
        let owner = self.protocols.iter().find(|protocol| protocol.tag() == envelope.tag)?;
        owner.brief(body)
    }

    /// What of a frame's payload tells runs apart.
    pub fn hashed<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        let Some((tag, body)) = Host::message_of(payload) else { return payload };
        let owner = self.protocols.iter().find(|protocol| protocol.tag() == tag);
        let unhashed = owner.map_or(0, |owner| owner.unhashed(body)).min(body.len());
        &payload[..payload.len() - unhashed]
    }

    /// The tag of the protocol whose frame's payload it is, and its encoded message.
    pub fn message_of(payload: &[u8]) -> Option<(u16, &[u8])> {
        let (envelope, body) = postcard::take_from_bytes::<Envelope>(payload).ok()?;
        Some((envelope.tag, body))
    }

    /// The Lamport value that a frame's payload carries.
    pub fn lamport_of(payload: &[u8]) -> Option<LamportTime> {
        postcard::take_from_bytes::<Envelope>(payload).ok().map(|(envelope, _)| envelope.lamport)
    }

    /// A number that is equal for equal states of all protocols.
    pub fn digest(&self) -> u64 {
        self.protocols.iter().fold(0, |sum: u64, protocol| sum.rotate_left(17) ^ protocol.digest())
    }
}

/// How many timers of one protocol fire in one call. A callback may set its own timer to now, and
/// would then never let go; what is still due fires at the next call.
const MAX_TIMERS_PER_CALL: usize = 64;

/// The tag of the Host's own records in the log: bounds of the Lamport clock.
pub const HOST_TAG: u16 = 0;

impl Io {
    /// The time of what happens next.
    fn set_now(&mut self, now: Now) {
        // A turn has many events at one time.
        if now != self.now {
            self.now = self.follow(now);
            self.lamport.set_wall(self.now.wall);
        }
    }

    /// A wall clock that was set back is not followed back.
    fn follow(&self, now: Now) -> Now {
        let passed = i64::try_from((now.time - self.now.time).as_nanos()).unwrap_or(i64::MAX);
        let wall = if now.wall < self.now.wall { self.now.wall.plus(passed) } else { now.wall };
        Now { time: now.time, wall }
    }

    /// A local event or a send on the Lamport clock.
    pub(crate) fn tick(&mut self) -> LamportTime {
        let value = self.lamport.tick();
        self.reserve();
        value
    }

    /// A receive of a client's request on the Lamport clock.
    pub(crate) fn observe_client(&mut self, received: LamportTime) -> Result<LamportTime, Jump> {
        let value = self.lamport.observe_client(received, self.now.time);
        self.reserve();
        value
    }

    /// A receive on the Lamport clock.
    pub(crate) fn observe(&mut self, received: LamportTime) -> Result<LamportTime, Jump> {
        let value = self.lamport.observe(received);
        self.reserve();
        value
    }

    /// The fence keeps what the clock said from leaving before its bound is durable.
    fn reserve(&mut self) {
        if let Some(bound) = self.lamport.reserve() {
            self.outbox.record(HOST_TAG, &bound);
        }
    }

    /// Encodes a message behind its envelope: a send event of the Lamport clock.
    pub(crate) fn frame(&mut self, tag: u16, message: &impl Serialize) -> Span {
        let envelope = Envelope { tag, lamport: self.tick() };
        self.outbox.span(|arena| {
            encode(&envelope, arena);
            encode(message, arena);
        })
    }
}
