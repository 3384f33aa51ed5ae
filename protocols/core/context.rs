//! What a protocol may do in a callback: everything goes into the node's outbox.

use super::io::Io;
use super::outbox::Effect;
use super::records::record_len;
use super::timers::Timers;
use super::{
    ClientId, Counter, Counters, Exit, Fact, FactKind, FactType, Jump, LamportTime, NodeId,
    Protocol, RequestId, Rng, Time, WallTime,
};
use ::core::fmt;
use ::core::time::Duration;
use alloc::vec::Vec;

/// A sink for the effects of one callback of protocol `P`.
pub struct Context<'a, P: Protocol> {
    pub(crate) io: &'a mut Io,
    pub(crate) timers: &'a mut Timers<P::Timer>,
    pub(crate) rng: &'a mut Rng,
    pub(crate) tag: u16,
    /// The protocol's place in config order.
    pub(crate) place: usize,
}

impl<P: Protocol> Context<'_, P> {
    /// This node.
    pub fn me(&self) -> NodeId {
        self.io.id
    }

    /// The monotonic clock, read once a turn.
    pub fn now(&self) -> Time {
        self.io.now.time
    }

    /// The wall clock, read once a turn. It can be wrong and can jump ahead, but never goes back
    /// while the node runs.
    pub fn wall_clock(&self) -> WallTime {
        self.io.now.wall
    }

    /// The node's Lamport clock as it stands.
    pub fn lamport(&self) -> LamportTime {
        self.io.lamport.value()
    }

    /// Counts a local event on the node's Lamport clock.
    pub fn local_event(&mut self) -> LamportTime {
        self.io.tick()
    }

    /// Counts the receive of a value that came in a request, from a client with a clock of its own.
    ///
    /// # Errors
    /// The value is too far ahead: nothing changed.
    pub fn receive_event(&mut self, received: LamportTime) -> Result<LamportTime, Jump> {
        let value = self.io.observe_client(received);
        if value.is_err() {
            self.count(Counter::LamportJump);
        }
        value
    }

    /// This protocol's own random stream.
    pub fn rng(&mut self) -> &mut Rng {
        self.rng
    }

    /// Sends to one peer. Nothing is kept for a peer without a link.
    pub fn send(&mut self, to: NodeId, message: &P::Message<'_>) {
        let payload = self.io.frame(self.tag, message);
        self.io.outbox.push(Effect::Send { to, payload });
    }

    /// Sends the same message to several peers: one send event, encoded once.
    pub fn multicast(&mut self, to: impl IntoIterator<Item = NodeId>, message: &P::Message<'_>) {
        let mut to = to.into_iter().peekable();
        if to.peek().is_none() {
            return;
        }
        let payload = self.io.frame(self.tag, message);
        for to in to {
            self.io.outbox.push(Effect::Send { to, payload });
        }
    }

    /// Sends the same message to all peers.
    pub fn broadcast(&mut self, message: &P::Message<'_>) {
        let payload = self.io.frame(self.tag, message);
        for place in 0..self.io.peers.len() {
            let to = self.io.peers[place];
            self.io.outbox.push(Effect::Send { to, payload });
        }
    }

    /// Answers a request. A client that has gone gets nothing.
    pub fn reply(&mut self, to: RequestId, reply: &P::Reply<'_>) {
        let reply = self.io.outbox.span(|arena| super::outbox::encode(reply, arena));
        self.io.outbox.push(Effect::Reply { to, reply });
    }

    /// A request is over, and its client wants no answer.
    pub fn no_reply(&mut self, to: RequestId) {
        self.io.outbox.push(Effect::Over { to });
    }

    /// Sends the same to several clients, without a request of theirs: what they subscribed to. See
    /// [`on_backpressure`](Protocol::on_backpressure) for clients that do not read.
    pub fn push(&mut self, to: impl IntoIterator<Item = ClientId>, reply: &P::Reply<'_>) {
        self.io.outbox.push_to(to, |arena| super::outbox::encode(reply, arena));
    }

    /// Appends a record to the node's log. What is sent, replied or printed in or after this
    /// callback leaves the node only when the record is durable.
    pub fn persist(&mut self, record: &P::Record<'_>) {
        self.io.outbox.record(self.tag, record);
    }

    /// Whether the disk has room for this record, beside all that the turn writes already. A
    /// protocol that asks can refuse what does not fit; for one that does not, a full disk ends the
    /// node.
    pub fn has_room(&self, record: &P::Record<'_>) -> bool {
        self.has_room_for(record_len(record))
    }

    /// Whether the disk has room for so many bytes of records, beside all that the turn writes
    /// already.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        self.io.outbox.durable_len().saturating_add(bytes) <= self.io.room
    }

    /// What is added to these bytes is appended to the protocol's [file](Protocol::FILE), and
    /// durable before the callback's records are. Persist a record that tells how long the file
    /// then is: after a crash it may be longer.
    pub fn file(&mut self) -> &mut Vec<u8> {
        assert!(P::FILE.is_some(), "{} declares no file", P::NAME);
        self.io.outbox.file(self.tag)
    }

    /// Has the log rewritten from the protocols' snapshots at the end of the turn; the fence
    /// holds as for [`persist`](Context::persist).
    pub fn checkpoint(&mut self) {
        self.io.outbox.request_checkpoint();
    }

    /// Calls `on_timer(timer)` after `delay`; replaces an earlier setting of the same timer.
    pub fn set_timer(&mut self, timer: P::Timer, delay: Duration) {
        self.timers.set(timer, self.io.now.time + delay);
    }

    /// Calls `on_turn_end` once what the node has at hand has been delivered.
    pub fn at_turn_end(&mut self) {
        self.io.wants_turn_end = true;
    }

    /// Takes a setting back, if there is one.
    pub fn cancel_timer(&mut self, timer: P::Timer) {
        self.timers.cancel(timer);
    }

    /// Ends the node once what this callback does has left it.
    pub fn stop(&mut self, exit: Exit) {
        self.io.outbox.push(Effect::Stop { exit });
    }

    /// Tells the other protocols of this node.
    pub fn publish<F: FactType>(&mut self, fact: F) {
        let is_declared = P::PUBLISHES.contains(&FactKind::of::<F>());
        assert!(is_declared, "{} does not declare {fact:?}", P::NAME);
        let fact = Fact::of(fact);
        self.io.facts.push_back((self.place, fact.clone()));
        self.io.outbox.publish(self.place, fact);
    }

    /// Prints a line that the protocol's document prescribes. Whatever a peer or client sent goes
    /// through [`Escaped`](super::Escaped).
    pub fn print(&mut self, line: fmt::Arguments<'_>) {
        if self.io.outbox.console {
            let line = self.io.outbox.text(line);
            self.io.outbox.push(Effect::Print { line });
        }
    }

    /// Adds a line to the trace of the run, if one is kept.
    pub fn note(&mut self, line: fmt::Arguments<'_>) {
        if self.io.outbox.trace {
            let line = self.io.outbox.text(line);
            self.io.outbox.push(Effect::Note { line });
        }
    }

    /// Counts something.
    pub fn count(&mut self, counter: Counter) {
        self.io.counters.add(counter);
    }

    /// The node's counters.
    pub fn counters(&self) -> &Counters {
        &self.io.counters
    }
}
