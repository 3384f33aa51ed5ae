//! The leader's events: links, messages, PUTs and timers.

use super::super::history::{Finding, Report, find};
use super::super::log::{Origin, Waiting};
use super::super::message::{Hash, History, Message, Standing};
use super::super::mutants::Mutant;
use super::super::transfer::{Incoming, Part, send_chunk};
use super::super::{Cx, KvReplication, Outcome, Put, Replica, Role, Timer, Timestamp};
use super::{MAX_QUIET, Stage};
use crate::core::{Caller, Escaped, NodeId, Protocol};
use ::core::net::SocketAddr;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

impl KvReplication {
    pub(crate) fn start_leading(&mut self, cx: &mut Cx<'_>) {
        let Role::Leader(leader) = &mut self.role else { return };
        leader.asked = Vec::from([self.replica.applied()]);
        // What is on its own disk may be too little. With nobody to ask, it is all there is.
        let trusts = self.standing == Standing::Whole && leader.planted.has(Mutant::TrustOwnDisk);
        if leader.followers.is_empty() || trusts {
            self.begin_reign(cx);
        }
    }

    pub(crate) fn follower_link(&mut self, peer: NodeId, up: bool, cx: &mut Cx<'_>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(place) = leader.place(peer) else { return };
        if leader.incoming.as_ref().is_some_and(|(source, _)| *source == place) {
            leader.incoming = None;
        }
        let probe = leader.probe();
        // A link that flaps must not put off what the others are to be sent again.
        let armed = leader.owed(self.replica.applied());
        let follower = &mut leader.followers[place];
        follower.up = up;
        follower.stage = Stage::Probing;
        follower.reported = None;
        follower.quiet = 0;
        follower.strayed = None;
        follower.last_forward = None;
        follower.disk_full = false;
        if up {
            cx.send(peer, &probe);
        }
        if up && !armed {
            cx.set_timer(Timer::Resend, self.config.resend_after());
        }
    }

    pub(crate) fn leader_message(&mut self, from: NodeId, message: Message<'_>, cx: &mut Cx<'_>) {
        let head = self.replica.applied();
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(place) = leader.place(from) else { return };
        let current = leader.epoch;
        let follower = &mut leader.followers[place];
        match message {
            Message::State { epoch, history, marks } if epoch == current => {
                self.on_state(place, Report { history, marks }, cx);
            }
            Message::State { .. } if leader.planted.has(Mutant::LaterEpochIgnored) => {}
            Message::State { epoch, .. } if epoch > current => leader.reign_after(epoch, cx),
            Message::ReplicationOk { epoch, applied, hash }
                if epoch == current && applied <= head =>
            {
                if self.differs(place, applied, hash, cx) {
                    return;
                }
                let Role::Leader(leader) = &mut self.role else { return };
                let follower = &mut leader.followers[place];
                follower.strayed = None;
                if follower.stage == Stage::Resuming || applied > follower.acked {
                    follower.progress = true;
                    follower.disk_full = false;
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
            Message::DiskFull { epoch } if epoch == current => {
                follower.disk_full = true;
                // It is asked again at each Resend, so that it goes on soon after there is room.
                follower.quiet = 0;
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
            Message::Pull { epoch, transfer, cursor } if epoch == current => {
                self.on_pull(place, transfer, cursor, cx);
            }
            Message::Chunk { epoch, cursor, next, base, head, entries, .. } if epoch == current => {
                let reported = follower.reported.as_ref().map(|report| report.history);
                if let Some((source, incoming)) = &mut leader.incoming
                    && *source == place
                    && reported == Some(base)
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
            | Message::DiskFull { .. }
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

    fn on_state(&mut self, place: usize, report: Report, cx: &mut Cx<'_>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let follower = &mut leader.followers[place];
        if leader.active && follower.reported.is_some() {
            return;
        }
        follower.reported = Some(report);
        follower.progress = true;
        if leader.active {
            leader.welcome(place, &self.replica.chain, cx);
        } else {
            self.spread_word(cx);
            self.find_state(cx);
        }
    }

    fn on_pull(&mut self, place: usize, transfer: u32, cursor: u32, cx: &mut Cx<'_>) {
        let head = self.replica.applied();
        let Role::Leader(leader) = &mut self.role else { return };
        let (epoch, follower) = (leader.epoch, &mut leader.followers[place]);
        if follower.stage != Stage::Copying || follower.transfer != transfer {
            let armed = leader.owed(head);
            if leader.stray_pull(place, transfer, cx) && !armed {
                cx.set_timer(Timer::Resend, self.config.resend_after());
            }
            return;
        }
        follower.progress = true;
        let base = *follower.copy_base.get_or_insert_with(|| {
            follower.received = head;
            follower.next = head.next();
            head
        });
        let to = follower.id;
        let base = self.copy_base(base);
        let part = Part { epoch, transfer, cursor, base };
        send_chunk(&self.replica, to, &part, self.config.chunk_bytes, cx);
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
        let timeout = self.config.put_timeout();
        let waiting = Waiting { origin, addr, deadline: cx.now() + timeout };
        let refusal = self.put_refusal(key, value, cx);
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(reason) = refusal {
            return leader.tell(waiting, Outcome::NotApplied { reason: reason.into() }, cx);
        }
        if leader.pending == 0 {
            cx.set_timer(Timer::Deadline, timeout);
        }
        if !leader.owed(self.replica.applied()) {
            cx.set_timer(Timer::Resend, self.config.resend_after());
        }
        leader.pending += 1;
        leader.log.push(leader.epoch, key, value, Some(waiting));
        let (reign, timestamp) = (leader.epoch, leader.log.last());
        leader.fan_out(timestamp, key, value, cx);
        self.apply(&Put { reign, timestamp, key, value }, cx);
        let Role::Leader(leader) = &mut self.role else { return };
        leader.trim(&self.config);
        if leader.followers.is_empty() || leader.planted.has(Mutant::AnswerAtOnce) {
            leader.commit(timestamp, cx);
        }
    }

    /// Why a PUT is not taken.
    fn put_refusal(&self, key: &[u8], value: &[u8], cx: &Cx<'_>) -> Option<String> {
        let Role::Leader(leader) = &self.role else { return None };
        if !leader.active {
            return Some(leader.why_inactive());
        }
        if let Some(full) = leader.followers.iter().find(|follower| follower.disk_full) {
            return Some(format!(
                "the disk of node {} is full: make room, then try again",
                full.id
            ));
        }
        let most = self.config.max_log_bytes as u64;
        let reason = if leader.pending >= self.config.max_pending_puts {
            "too many PUTs are waiting at the leader; try again"
        } else if leader.log.bytes() > most && leader.front_waits() {
            "PUTs come faster than the followers take them; try again"
        } else if !self.has_room(key, value, cx) {
            "the leader's disk is full: make room, then try again"
        } else {
            return None;
        };
        Some(reason.into())
    }

    /// The history up to where a copy began, for whoever copies it.
    fn copy_base(&self, base: Timestamp) -> History {
        let chain = &self.replica.chain;
        let history = chain.history(self.standing);
        // A copy that takes so long that its beginning is forgotten ends with a hash that nobody
        // has, and is made again.
        History { applied: base, hash: chain.hash_at(base).unwrap_or(Hash(0)), ..history }
    }

    /// Whether what a follower acknowledges is not what this leader has at that place.
    fn differs(&mut self, place: usize, applied: Timestamp, hash: Hash, cx: &mut Cx<'_>) -> bool {
        let ours = &self.replica.chain;
        let Role::Leader(leader) = &mut self.role else { return false };
        let same = ours.hash_at(applied).is_none_or(|own| own == hash);
        if same {
            return false;
        }
        match leader.followers[place].stage {
            // It speaks of the table that is being replaced, or is about to be.
            Stage::Probing | Stage::Copying => {}
            Stage::Resuming | Stage::Streaming => {
                let history = History { applied, hash, ..ours.history(Standing::Partial) };
                leader.replace(place, history, ours, cx);
            }
        }
        true
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
        let ours = &self.replica.chain;
        let head = ours.applied();
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
                leader.nudge(place, ours, cx);
            }
        }
        if leader.owed(head) {
            cx.set_timer(Timer::Resend, self.config.resend_after());
        }
        // One for which the disk had no room.
        self.finish_recovery(cx);
    }

    /// The leader has just started. What is on its own disk may be too little, or nothing, or
    /// not of this store: once all followers have said what they have, it goes on with the history
    /// that has everything which any client was told is stored.
    fn find_state(&mut self, cx: &mut Cx<'_>) {
        let (own, durable) = (self.own_report(), self.persists());
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.incoming.is_some() {
            return;
        }
        let nothing = || Report { history: History::default(), marks: Vec::new() };
        let assumed = leader.planted.has(Mutant::HearOneFollower).then(nothing);
        let theirs = leader.followers.iter();
        let theirs = theirs.map(|follower| follower.reported.clone().or_else(|| assumed.clone()));
        let Some(mut reports) = [Some(own)].into_iter().chain(theirs).collect::<Option<Vec<_>>>()
        else {
            return;
        };
        leader.planted.distort(&mut reports);
        match find(&reports, durable) {
            Finding::Ask(places) => {
                leader.asked = places;
                let probe = leader.probe();
                for follower in &mut leader.followers {
                    follower.reported = None;
                    if follower.up {
                        cx.send(follower.id, &probe);
                    }
                }
                cx.set_timer(Timer::Resend, self.config.resend_after());
            }
            Finding::Nothing | Finding::Holder(0) => self.begin_reign(cx),
            Finding::Holder(place) => self.copy_from(place - 1, cx),
            stuck @ (Finding::Lost | Finding::Differ) => {
                let is_new = leader.stuck.as_ref() != Some(&stuck);
                leader.stuck = Some(stuck);
                if is_new {
                    ::log::warn!(target: Self::NAME, "cannot lead: {}", leader.why_inactive());
                }
            }
        }
    }

    /// Memories forget that there is a history when their nodes restart, and whoever has it may be next:
    /// so everybody who is up is to know of it.
    fn spread_word(&mut self, cx: &mut Cx<'_>) {
        if self.persists() {
            return;
        }
        let Role::Leader(leader) = &mut self.role else { return };
        let standing = |report: &Report| report.history.standing;
        let mut reports = leader.followers.iter().filter_map(|one| one.reported.as_ref());
        leader.known |= reports.any(|report| standing(report) != Standing::Nothing);
        if !leader.known {
            return;
        }
        if self.standing == Standing::Nothing {
            self.standing = Standing::Partial;
        }
        let probe = leader.probe();
        for follower in leader.followers.iter().filter(|follower| follower.up) {
            if follower.reported.as_ref().map(standing) == Some(Standing::Nothing) {
                cx.send(follower.id, &probe);
            }
        }
    }

    fn own_report(&self) -> Report {
        let chain = &self.replica.chain;
        let asked = match &self.role {
            Role::Leader(leader) => &leader.asked[..],
            Role::Follower(_) => &[],
        };
        let marks = asked.iter().map(|at| (*at, chain.hash_at(*at))).collect();
        Report { history: chain.history(self.standing), marks }
    }

    /// A follower has what this leader lacks.
    fn copy_from(&mut self, place: usize, cx: &mut Cx<'_>) {
        let own = self.replica.applied();
        let Role::Leader(leader) = &mut self.role else { return };
        let incoming = Incoming::new(0, leader.table_seed, leader.planted);
        let follower = &leader.followers[place];
        let (source, theirs) = (follower.id, &follower.reported);
        let theirs = theirs.as_ref().map_or(own, |report| report.history.applied);
        ::log::info!(
            target: Self::NAME,
            "this leader has PUTs up to {own}, node {source} has what was acknowledged, up to \
             {theirs}: copying"
        );
        incoming.pull(leader.epoch, source, cx);
        leader.incoming = Some((place, incoming));
        cx.set_timer(Timer::Resend, self.config.resend_after());
    }

    fn finish_recovery(&mut self, cx: &mut Cx<'_>) {
        let persists = self.persists();
        let Role::Leader(leader) = &mut self.role else { return };
        let finished = leader.incoming.take_if(|(_, incoming)| {
            incoming.is_finished() && (!persists || cx.has_room_for(incoming.bytes()))
        });
        if let Some((_, incoming)) = finished {
            let replica: Replica = incoming.into_replica();
            leader.log.reset(replica.applied());
            leader.first_waiting = leader.log.first();
            self.adopt(replica, cx);
            self.begin_reign(cx);
        }
    }

    fn begin_reign(&mut self, cx: &mut Cx<'_>) {
        if self.replica.chain.is_nothing() {
            let genesis = cx.rng().next_u64();
            let Role::Leader(leader) = &self.role else { return };
            // A stream of random numbers may begin anew with the node; its incarnation does not.
            self.begin_history(genesis ^ leader.epoch.0.rotate_left(32), cx);
        }
        self.becomes_complete(cx);
        let (ours, durable) = (&self.replica.chain, self.persists());
        let Role::Leader(leader) = &mut self.role else { return };
        leader.active = true;
        leader.known = !durable;
        leader.stuck = None;
        leader.asked.clear();
        let head = ours.applied();
        ::log::info!(target: Self::NAME, "leading from timestamp {head}, epoch {}", leader.epoch);
        for place in 0..leader.followers.len() {
            leader.welcome(place, ours, cx);
        }
        cx.set_timer(Timer::Resend, self.config.resend_after());
    }
}
