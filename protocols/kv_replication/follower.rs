//! A follower: stores what the leader tells it, in order, and passes clients' PUTs on. Whether what
//! it has is the leader's history is the leader's to say.

use super::message::{ForwardId, Hash, History, Standing};
use super::mutants::{Mutant, Planted};
use super::shown::SeenFollower;
use super::transfer::{Incoming, Part, is_later, send_chunk};
use super::{Config, Cx, KvReplication, Message, Outcome, Put, Reply, Role, Timer, Timestamp};
use crate::core::{Bytes, Caller, Epoch, Escaped, NodeId, Protocol, RequestId, Time};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;

/// At how many places a leader may ask for hashes at once: it asks for the ends of all replicas.
const MAX_MARKS_ASKED: usize = 1_024;

pub(crate) struct Follower {
    pub(crate) leader: NodeId,
    leader_up: bool,
    /// The leader's incarnation, zero before its first probe.
    epoch: Epoch,
    /// Whether the leader has said, over this link, that what comes follows what is here. Before,
    /// a Replication is not taken: its acknowledgement would make the leader believe that the
    /// Resume came, and so how far a complete replica must be, when it may have been lost.
    resumed: bool,
    /// The replica is complete once it has this PUT, with this hash.
    complete_at: Option<(Timestamp, Hash)>,
    incoming: Option<Incoming>,
    /// The last copy begun in this epoch.
    last_transfer: Option<u32>,
    incarnation: u64,
    /// PUTs that were passed on; the front one has sequence `first_forward`.
    /// What it has is to be acknowledged once the turn ends.
    ack_due: bool,
    forwards: VecDeque<Option<Forward>>,
    first_forward: u64,
    table_seed: u64,
    planted: Planted,
}

struct Forward {
    request: RequestId,
    deadline: Time,
}

impl Follower {
    pub(crate) fn new(
        leader: NodeId,
        incarnation: u64,
        table_seed: u64,
        planted: Planted,
    ) -> Follower {
        Follower {
            leader,
            leader_up: false,
            epoch: Epoch(0),
            resumed: false,
            complete_at: None,
            incoming: None,
            last_transfer: None,
            incarnation,
            ack_due: false,
            forwards: VecDeque::new(),
            first_forward: 0,
            table_seed,
            planted,
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) fn seen(&self) -> SeenFollower {
        SeenFollower {
            linked: self.leader_up,
            resumed: self.resumed,
            copying: self.incoming.is_some(),
            waiting: self.forwards.iter().flatten().count(),
        }
    }

    /// Why it answers no GET, as long as it is not complete.
    pub(crate) fn why_incomplete(&self) -> String {
        let leader = self.leader;
        if self.incoming.is_some() {
            return format!("it copies the table of its leader, node {leader}");
        }
        match self.complete_at {
            Some((head, _)) => format!("it still lacks PUTs before {head}, which its leader has"),
            None if self.leader_up => {
                format!("its leader, node {leader}, has not said yet what it lacks")
            }
            None => format!("it has no link to its leader, node {leader}, who knows what it lacks"),
        }
    }

    /// Passes a client's PUT on to the leader.
    pub(crate) fn forward(
        &mut self,
        caller: Caller,
        key: &[u8],
        value: &[u8],
        config: &Config,
        cx: &mut Cx<'_>,
    ) {
        cx.print(format_args!("Encaminhando PUT key:{} value:{}", Escaped(key), Escaped(value)));
        let refusal = if !self.leader_up {
            Some("this server has no link to the leader; try again")
        } else if self.forwards.len() >= config.max_pending_puts {
            Some("too many PUTs are waiting at this server; try again")
        } else {
            None
        };
        if let Some(reason) = refusal {
            return cx.reply(caller.request, &Reply::NotApplied { reason: reason.into() });
        }
        let sequence = self.first_forward + self.forwards.len() as u64;
        // The leader answers within its own timeout; only a lost answer lets this one pass.
        let timeout = config.put_timeout() + config.resend_after();
        if self.forwards.is_empty() {
            cx.set_timer(Timer::Deadline, timeout);
        }
        let deadline = cx.now() + timeout;
        self.forwards.push_back(Some(Forward { request: caller.request, deadline }));
        let id = ForwardId { incarnation: self.incarnation, sequence };
        let (key, value) = (Bytes::new(key), Bytes::new(value));
        cx.send(self.leader, &Message::Forward { id, addr: caller.addr, key, value });
    }

    fn forwarded(&mut self, id: ForwardId, outcome: Outcome<'_>, cx: &mut Cx<'_>) {
        if id.incarnation != self.incarnation && !self.planted.has(Mutant::IncarnationIgnored) {
            return;
        }
        let place = id.sequence.checked_sub(self.first_forward);
        let place = place.and_then(|place| usize::try_from(place).ok());
        let waiting = place.and_then(|place| self.forwards.get_mut(place));
        if let Some(forward) = waiting.and_then(Option::take) {
            cx.reply(forward.request, &outcome.into());
        }
        self.drop_answered();
    }

    fn drop_answered(&mut self) {
        while let Some(None) = self.forwards.front() {
            self.forwards.pop_front();
            self.first_forward += 1;
        }
    }

    pub(crate) fn expire_forwards(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        for waiting in &mut self.forwards {
            if let Some(forward) = waiting.take_if(|forward| forward.deadline <= now) {
                let reason = "the leader did not answer in time".into();
                cx.reply(forward.request, &Reply::MayStillApply { reason });
            }
        }
        self.drop_answered();
        if let Some(Some(forward)) = self.forwards.front() {
            cx.set_timer(Timer::Deadline, forward.deadline - now);
        }
    }

    pub(crate) fn leader_link(&mut self, up: bool, cx: &mut Cx<'_>) {
        self.leader_up = up;
        self.resumed = false;
        self.ack_due = false;
        // The leader begins a new copy, if one is needed, once it has asked how far this one is.
        self.incoming = None;
        cx.cancel_timer(Timer::Resend);
        if up {
            return;
        }
        self.first_forward += self.forwards.len() as u64;
        for forward in self.forwards.drain(..).flatten() {
            let reason = "the link to the leader broke before its answer came".into();
            if self.planted.has(Mutant::LinkLossNotApplied) {
                cx.reply(forward.request, &Reply::NotApplied { reason });
                continue;
            }
            cx.reply(forward.request, &Reply::MayStillApply { reason });
        }
        cx.cancel_timer(Timer::Deadline);
    }

    fn start_copy(&mut self, transfer: u32, config: &Config, cx: &mut Cx<'_>) {
        self.last_transfer = Some(transfer);
        self.ack_due = false;
        let incoming = Incoming::new(transfer, self.table_seed, self.planted);
        incoming.pull(self.epoch, self.leader, cx);
        self.incoming = Some(incoming);
        cx.set_timer(Timer::Resend, config.resend_after());
    }

    fn adopt_epoch(&mut self, epoch: Epoch) {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.resumed = false;
            self.ack_due = false;
            self.incoming = None;
            if !self.planted.has(Mutant::TransferNotReset) {
                self.last_transfer = None;
            }
            self.complete_at = None;
        }
    }
}

impl KvReplication {
    pub(crate) fn follower_message(&mut self, message: Message<'_>, cx: &mut Cx<'_>) {
        let Role::Follower(follower) = &mut self.role else { return };
        let current = follower.epoch;
        match message {
            Message::Probe { epoch, at, known } => {
                // A memory that is lost is only missed by those who know that there was something.
                if known && self.standing == Standing::Nothing {
                    self.standing = Standing::Partial;
                }
                // When the leader's clock was set back between its incarnations, it must get ahead
                // again, and learns here of what.
                follower.adopt_epoch(epoch);
                let (epoch, history) = (follower.epoch, self.replica.chain.history(self.standing));
                let marks = at.iter().take(MAX_MARKS_ASKED);
                let marks = marks.map(|at| (*at, self.replica.chain.hash_at(*at))).collect();
                cx.send(follower.leader, &Message::State { epoch, history, marks });
            }
            Message::Resume { epoch, history } if epoch == current => self.on_resume(history, cx),
            Message::Resync { epoch, transfer, contradicts } if epoch == current => {
                if follower.last_transfer.is_none_or(|last| is_later(transfer, last)) {
                    follower.start_copy(transfer, &self.config, cx);
                    self.lacks(contradicts);
                } else if follower.incoming.is_none() {
                    // This copy is finished and in use, but the leader does not know.
                    self.acknowledge(cx);
                }
            }
            Message::Replication { epoch, reign, timestamp, key, value } if epoch == current => {
                self.on_replication(&Put { reign, timestamp, key: &key, value: &value }, cx);
            }
            Message::Chunk { epoch, transfer, cursor, next, base, head, entries }
                if epoch == current =>
            {
                let leader = follower.leader;
                let incoming = follower.incoming.as_mut();
                let Some(incoming) = incoming.filter(|incoming| incoming.transfer == transfer)
                else {
                    return;
                };
                if incoming.chunk(cursor, next, base, head, &entries) {
                    incoming.pull(epoch, leader, cx);
                    self.finish_copy(cx);
                }
            }
            // A leader that is behind copies the most advanced follower.
            Message::Pull { epoch, transfer, cursor } if epoch == current => {
                let base = self.replica.chain.history(self.standing);
                let part = Part { epoch, transfer, cursor, base };
                send_chunk(&self.replica, follower.leader, &part, self.config.chunk_bytes, cx);
            }
            Message::Forwarded { id, outcome } => follower.forwarded(id, outcome, cx),
            // Of an earlier reign, or what only a follower says.
            Message::Resume { .. }
            | Message::Resync { .. }
            | Message::Replication { .. }
            | Message::Chunk { .. }
            | Message::Pull { .. }
            | Message::State { .. }
            | Message::ReplicationOk { .. }
            | Message::DiskFull { .. }
            | Message::Staged { .. }
            | Message::Forward { .. } => {}
        }
    }

    /// What this replica has is the beginning of the leader's history, of which this is the end.
    fn on_resume(&mut self, leaders: History, cx: &mut Cx<'_>) {
        let Role::Follower(follower) = &mut self.role else { return };
        if follower.incoming.is_some() {
            // Over one link a Resync never precedes a Resume: this one was overtaken.
            return;
        }
        let early = follower.planted.has(Mutant::CompleteTooEarly);
        if self.replica.chain.is_nothing() && self.replica.applied() == Timestamp(0) {
            self.begin_history(leaders.genesis.0, cx);
        }
        let chain = &self.replica.chain;
        if chain.genesis() != leaders.genesis {
            return;
        }
        let own = (chain.applied(), chain.hash());
        let Role::Follower(follower) = &mut self.role else { return };
        follower.resumed = true;
        let all = (leaders.applied, leaders.hash);
        follower.complete_at = Some(if early { own } else { all });
        self.lacks(false);
        self.acknowledge(cx);
    }

    /// There is a history of which this replica has not all, or that even contradicts what it has.
    fn lacks(&mut self, contradicts: bool) {
        if contradicts {
            self.complete = false;
            ::log::warn!(
                target: Self::NAME,
                "what this replica holds is no part of its leader's history: it is replaced by a copy"
            );
        }
        if contradicts || self.standing == Standing::Nothing {
            self.standing = Standing::Partial;
        }
    }

    fn on_replication(&mut self, put: &Put<'_>, cx: &mut Cx<'_>) {
        let applied = self.replica.applied();
        let has_room = self.has_room(put.key, put.value, cx);
        let Role::Follower(follower) = &mut self.role else { return };
        if let Some(incoming) = &mut follower.incoming {
            if let Some(received) = incoming.replication(put) {
                cx.send(follower.leader, &Message::Staged { epoch: follower.epoch, received });
                self.finish_copy(cx);
            }
            return;
        }
        if !follower.resumed && !follower.planted.has(Mutant::TakeUnresumed) {
            return;
        }
        let timestamp = put.timestamp;
        let skips = timestamp > applied && follower.planted.has(Mutant::AcceptGaps);
        if timestamp == applied.next() || skips {
            if !has_room {
                return cx.send(follower.leader, &Message::DiskFull { epoch: follower.epoch });
            }
            cx.print(format_args!(
                "REPLICATION key:{} value:{} ts:{timestamp}",
                Escaped(put.key),
                Escaped(put.value)
            ));
            self.apply(put, cx);
        } else {
            ::log::debug!(
                target: Self::NAME,
                "REPLICATION {timestamp} does not follow {applied}: dropped"
            );
        }
        let Role::Follower(follower) = &mut self.role else { return };
        // One acknowledgement is for all that came in a turn.
        follower.ack_due = true;
        cx.at_turn_end();
    }

    pub(crate) fn acknowledge_if_due(&mut self, cx: &mut Cx<'_>) {
        if let Role::Follower(Follower { ack_due: true, .. }) = self.role {
            self.acknowledge(cx);
        }
    }

    fn acknowledge(&mut self, cx: &mut Cx<'_>) {
        let chain = &self.replica.chain;
        let (applied, hash) = (chain.applied(), chain.hash());
        let Role::Follower(follower) = &mut self.role else { return };
        follower.ack_due = false;
        let epoch = follower.epoch;
        cx.send(follower.leader, &Message::ReplicationOk { epoch, applied, hash });
        let Some((head, hash)) = follower.complete_at.take_if(|(head, _)| applied >= *head) else {
            return;
        };
        // The leader sees by the hash above that it has to send a copy.
        if chain.hash_at(head).is_none_or(|own| own == hash) {
            self.becomes_complete(cx);
        }
    }

    /// Asks again for a part of the table that does not come, and tries again to store a copy that the
    /// disk had no room for.
    pub(crate) fn pull_again(&mut self, cx: &mut Cx<'_>) {
        let Role::Follower(follower) = &mut self.role else { return };
        let (epoch, leader) = (follower.epoch, follower.leader);
        let Some(incoming) = &mut follower.incoming else { return };
        if !incoming.take_progress() {
            incoming.pull(epoch, leader, cx);
        }
        cx.set_timer(Timer::Resend, self.config.resend_after());
        self.finish_copy(cx);
    }

    fn finish_copy(&mut self, cx: &mut Cx<'_>) {
        let persists = self.persists();
        let Role::Follower(follower) = &mut self.role else { return };
        let finished = follower.incoming.as_ref().filter(|incoming| incoming.is_finished());
        let Some(bytes) = finished.map(Incoming::bytes) else { return };
        if persists && !cx.has_room_for(bytes) {
            return cx.send(follower.leader, &Message::DiskFull { epoch: follower.epoch });
        }
        if let Some(incoming) = follower.incoming.take() {
            follower.resumed = true;
            cx.cancel_timer(Timer::Resend);
            self.adopt(incoming.into_replica(), cx);
            self.acknowledge(cx);
        }
    }
}
