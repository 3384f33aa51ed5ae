//! The leader's events: links, messages, PUTs and timers.

use super::super::log::{Origin, Waiting};
use super::super::message::Message;
use super::super::mutants::Mutant;
use super::super::transfer::{Incoming, Part, send_chunk};
use super::super::{Cx, KvReplication, Outcome, Replica, Role, Timer, Timestamp};
use super::{MAX_QUIET, Stage};
use crate::core::{Caller, Escaped, NodeId, Protocol};
use ::core::net::SocketAddr;
use alloc::vec::Vec;

impl KvReplication {
    pub(crate) fn start_leading(&mut self, cx: &mut Cx<'_>) {
        let Role::Leader(leader) = &mut self.role else { return };
        // With everything on disk, or nobody to ask, there is nothing to find out.
        if self.complete || leader.followers.is_empty() {
            leader.active = true;
            self.becomes_complete(cx);
        }
    }

    pub(crate) fn follower_link(&mut self, peer: NodeId, up: bool, cx: &mut Cx<'_>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(place) = leader.place(peer) else { return };
        if leader.incoming.as_ref().is_some_and(|(source, _)| *source == place) {
            leader.incoming = None;
        }
        let epoch = leader.epoch;
        // A link that flaps must not put off what the others are to be sent again.
        let armed = leader.owed(self.replica.applied);
        let follower = &mut leader.followers[place];
        follower.up = up;
        follower.stage = Stage::Probing;
        follower.reported = None;
        follower.quiet = 0;
        follower.last_forward = None;
        if up {
            cx.send(peer, &Message::Probe { epoch });
        }
        if up && !armed {
            cx.set_timer(Timer::Resend, self.config.resend_after());
        }
    }

    pub(crate) fn leader_message(&mut self, from: NodeId, message: Message<'_>, cx: &mut Cx<'_>) {
        let head = self.replica.applied;
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(place) = leader.place(from) else { return };
        let current = leader.epoch;
        let follower = &mut leader.followers[place];
        match message {
            Message::State { epoch, applied } if epoch == current => {
                if follower.reported.is_some() {
                    return;
                }
                follower.reported = Some(applied);
                follower.progress = true;
                if leader.active {
                    leader.welcome(place, head, cx);
                } else {
                    self.find_state(cx);
                }
            }
            Message::State { .. } if leader.planted.has(Mutant::LaterEpochIgnored) => {}
            Message::State { epoch, .. } if epoch > current => leader.reign_after(epoch, cx),
            Message::ReplicationOk { epoch, applied } if epoch == current && applied <= head => {
                if follower.stage == Stage::Resuming || applied > follower.acked {
                    follower.progress = true;
                }
                if follower.is_in_step(applied) {
                    follower.stage = Stage::Streaming;
                }
                // The same twice: the follower got something that does not follow. What it lacks is
                // sent again at once, but only once; after that it is up to the timer.
                if follower.stage == Stage::Streaming
                    && applied == follower.acked
                    && follower.next > applied.next()
                    && follower.repeated != Some(applied)
                {
                    follower.repeated = Some(applied);
                    follower.next = applied.next();
                }
                follower.acked = follower.acked.max(applied);
                follower.received = follower.received.max(applied);
                follower.next = follower.next.max(follower.received.next());
                leader.commit(head, cx);
                leader.pump(place, cx);
            }
            Message::Staged { epoch, received } if epoch == current && received <= head => {
                follower.progress |= received > follower.received;
                follower.received = follower.received.max(received);
                follower.next = follower.next.max(follower.received.next());
                if leader.planted.has(Mutant::StagedCounts) {
                    follower.acked = follower.received;
                    leader.commit(head, cx);
                }
                leader.pump(place, cx);
            }
            Message::Pull { epoch, transfer, cursor }
                if epoch == current && transfer == follower.transfer =>
            {
                follower.progress = true;
                let base = *follower.copy_base.get_or_insert_with(|| {
                    follower.received = head;
                    follower.next = head.next();
                    head
                });
                let part = Part { epoch, transfer, cursor, base };
                send_chunk(&self.replica, from, &part, self.config.chunk_bytes, cx);
            }
            Message::Chunk { epoch, cursor, next, base, head, entries, .. } if epoch == current => {
                if let Some((source, incoming)) = &mut leader.incoming
                    && *source == place
                    && incoming.chunk(cursor, next, base, head, &entries)
                {
                    incoming.pull(epoch, from, cx);
                    self.finish_recovery(cx);
                }
            }
            Message::Forward { id, addr, key, value } => {
                // One that is not newer than the last is a duplicate, or was overtaken: taking
                // it could store a value twice, the second time over a newer one.
                let is_late = follower.last_forward >= Some(id);
                if is_late && !leader.planted.has(Mutant::ForwardTwice) {
                    return;
                }
                follower.last_forward = Some(id);
                self.put(Origin::Forward(from, id), addr, &key, &value, cx);
            }
            // Of an earlier reign, or what only a leader says.
            Message::State { .. }
            | Message::ReplicationOk { .. }
            | Message::Staged { .. }
            | Message::Pull { .. }
            | Message::Chunk { .. }
            | Message::Probe { .. }
            | Message::Resume { .. }
            | Message::Resync { .. }
            | Message::Replication { .. }
            | Message::Forwarded { .. } => {}
        }
    }

    pub(crate) fn put_from_client(
        &mut self,
        caller: Caller,
        key: &[u8],
        value: &[u8],
        cx: &mut Cx<'_>,
    ) {
        self.put(Origin::Client(caller.request), caller.addr, key, value, cx);
    }

    /// The document's PUT at the leader.
    fn put(&mut self, origin: Origin, addr: SocketAddr, key: &[u8], value: &[u8], cx: &mut Cx<'_>) {
        cx.print(format_args!("Cliente {addr} PUT key:{} value:{}", Escaped(key), Escaped(value)));
        let Role::Leader(leader) = &mut self.role else { return };
        let timeout = self.config.put_timeout();
        let waiting = Waiting { origin, addr, deadline: cx.now() + timeout };
        let refusal = if !leader.active {
            Some("the leader has just started and has not heard from all followers; try again")
        } else if leader.pending >= self.config.max_pending_puts {
            Some("too many PUTs are waiting at the leader; try again")
        } else if leader.log.bytes() > self.config.max_log_bytes as u64 && leader.front_waits() {
            Some("PUTs come faster than the followers take them; try again")
        } else {
            None
        };
        if let Some(reason) = refusal {
            return leader.tell(waiting, Outcome::NotApplied { reason: reason.into() }, cx);
        }
        if leader.pending == 0 {
            cx.set_timer(Timer::Deadline, timeout);
        }
        if !leader.owed(self.replica.applied) {
            cx.set_timer(Timer::Resend, self.config.resend_after());
        }
        leader.pending += 1;
        leader.log.push(key, value, Some(waiting));
        let timestamp = leader.log.last();
        leader.fan_out(timestamp, key, value, cx);
        self.apply(timestamp, key, value, cx);
        let Role::Leader(leader) = &mut self.role else { return };
        leader.trim(&self.config);
        if leader.followers.is_empty() || leader.planted.has(Mutant::AnswerAtOnce) {
            leader.commit(timestamp, cx);
        }
    }

    pub(crate) fn expire_puts(&mut self, cx: &mut Cx<'_>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let now = cx.now();
        while let Some(entry) = leader.log.entry(leader.first_waiting) {
            if let Some(waiting) = entry.waiting {
                if waiting.deadline > now {
                    return cx.set_timer(Timer::Deadline, waiting.deadline - now);
                }
                leader.give_up(leader.first_waiting, cx);
            }
            leader.first_waiting = leader.first_waiting.next();
        }
        leader.trim(&self.config);
    }

    pub(crate) fn resend(&mut self, cx: &mut Cx<'_>) {
        let head = self.replica.applied;
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.planted.has(Mutant::SendOnce) {
            return;
        }
        let epoch = leader.epoch;
        if let Some((source, incoming)) = &mut leader.incoming
            && !incoming.take_progress()
        {
            let source = leader.followers[*source].id;
            incoming.pull(epoch, source, cx);
        }
        for place in 0..leader.followers.len() {
            let follower = &mut leader.followers[place];
            if ::core::mem::take(&mut follower.progress) {
                follower.quiet = 0;
                continue;
            }
            let settled = follower.stage == Stage::Streaming && follower.acked >= head;
            let reported = follower.stage == Stage::Probing && follower.reported.is_some();
            if !follower.up || settled || (reported && !leader.active) {
                continue;
            }
            follower.quiet += 1;
            // At the 1st, 2nd, 4th, 8th and every 16th silent Resend.
            if follower.quiet.is_power_of_two() || follower.quiet % MAX_QUIET == 0 {
                leader.nudge(place, head, cx);
            }
        }
        if leader.owed(head) {
            cx.set_timer(Timer::Resend, self.config.resend_after());
        }
    }

    /// The leader has just started without its data: once all followers have said how far they
    /// are, it copies the one that is furthest, since what any client was told is stored is
    /// stored there.
    fn find_state(&mut self, cx: &mut Cx<'_>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let assumed = leader.planted.has(Mutant::HearOneFollower).then_some(Timestamp(0));
        let reports: Option<Vec<Timestamp>> =
            leader.followers.iter().map(|follower| follower.reported.or(assumed)).collect();
        let Some(reports) = reports else { return };
        if leader.incoming.is_some() {
            return;
        }
        let furthest = reports.iter().enumerate().max_by_key(|(_, applied)| **applied);
        match furthest {
            Some((place, applied)) if *applied > self.replica.applied => {
                let incoming = Incoming::new(0, leader.table_seed, leader.planted);
                let source = leader.followers[place].id;
                ::log::info!(
                    target: Self::NAME,
                    "this leader has PUTs up to {}, node {source} up to {applied}: copying",
                    self.replica.applied
                );
                incoming.pull(leader.epoch, source, cx);
                leader.incoming = Some((place, incoming));
                cx.set_timer(Timer::Resend, self.config.resend_after());
            }
            Some(_) | None => self.begin_reign(cx),
        }
    }

    fn finish_recovery(&mut self, cx: &mut Cx<'_>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let finished = leader.incoming.take_if(|(_, incoming)| incoming.is_finished());
        if let Some((_, incoming)) = finished {
            let replica: Replica = incoming.into_replica();
            leader.log.reset(replica.applied);
            leader.first_waiting = leader.log.first();
            self.adopt(replica, cx);
            self.begin_reign(cx);
        }
    }

    fn begin_reign(&mut self, cx: &mut Cx<'_>) {
        self.becomes_complete(cx);
        let head = self.replica.applied;
        let Role::Leader(leader) = &mut self.role else { return };
        leader.active = true;
        ::log::info!(target: Self::NAME, "leading from timestamp {head}, epoch {}", leader.epoch);
        for place in 0..leader.followers.len() {
            leader.welcome(place, head, cx);
        }
        cx.set_timer(Timer::Resend, self.config.resend_after());
    }
}
