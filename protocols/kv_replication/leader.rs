//! The leader: gives every PUT its timestamp, has all followers store it, and brings back those
//! that fell behind. Here is what it knows and what it does with that; `events` has the callbacks.

mod events;

use super::history::{Chain, Finding, Report};
use super::log::{Log, Origin, Waiting};
use super::message::{FollowerInfo, ForwardId, Hash, History, Standing};
use super::mutants::{Mutant, Planted};
use super::shown::SeenLeader;
use super::transfer::{Incoming, is_later};
use super::{Config, Cx, KvReplication, Message, Outcome, Put, Timestamp};
use crate::core::{Bytes, Env, Epoch, Escaped, MAX_LISTED, NodeId, Protocol};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub(crate) struct Leader {
    /// This incarnation of the node.
    epoch: Epoch,
    /// Whether PUTs are taken; before, the leader finds out what the followers have.
    active: bool,
    /// Followers in memory are to know that there is a history, should all who have it lose it.
    known: bool,
    /// At which places followers are asked for their hashes.
    asked: Vec<Timestamp>,
    /// Why no history can go on, though all were heard.
    stuck: Option<Finding>,
    /// The copy of the most advanced follower's table, with that follower's place.
    incoming: Option<(usize, Incoming)>,
    followers: Vec<Follower>,
    log: Log,
    /// No PUT before this one waits.
    first_waiting: Timestamp,
    pending: usize,
    table_seed: u64,
    planted: Planted,
}

/// What the leader knows of a follower.
struct Follower {
    id: NodeId,
    up: bool,
    stage: Stage,
    /// What it answered to this incarnation's probe.
    reported: Option<Report>,
    /// It has, in use, every PUT up to this one.
    acked: Timestamp,
    /// It need not be sent any PUT up to this one.
    received: Timestamp,
    /// The PUT to send next.
    next: Timestamp,
    transfer: u32,
    /// It pulled this copy, which it was not told to make, and has acknowledged nothing since.
    strayed: Option<u32>,
    /// The last PUT when the present copy began; none before its first part was asked for.
    copy_base: Option<Timestamp>,
    last_forward: Option<ForwardId>,
    /// The acknowledgement at which the rest was sent again because it came twice.
    repeated: Option<Timestamp>,
    /// Whether it was told that what it has is no part of this leader's history.
    contradicts: bool,
    /// Its disk had no room for the last PUT that it was sent.
    disk_full: bool,
    /// Whether anything new came from it since the last Resend.
    progress: bool,
    /// How many Resends in a row found nothing new.
    quiet: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Asked how far it is.
    Probing,
    /// Told to go on from the log; that it knows is not known yet.
    Resuming,
    /// Told to copy the table.
    Copying,
    /// In step.
    Streaming,
}

/// How many bytes of the log may be under way to one follower: some turns' worth, so that a slow
/// follower fills neither the link's queue nor, when it must be sent again, the network.
const WINDOW_BYTES: u64 = 4 << 20;

/// Sending again backs off to every 16th Resend for a follower that stays silent.
const MAX_QUIET: u32 = 16;

impl Leader {
    pub(crate) fn new(env: &Env, table_seed: u64, planted: Planted) -> Leader {
        Leader {
            epoch: Epoch(env.incarnation),
            active: false,
            known: false,
            asked: Vec::new(),
            stuck: None,
            incoming: None,
            followers: env.peers.iter().copied().map(Follower::new).collect(),
            log: Log::new(),
            first_waiting: Timestamp(1),
            pending: 0,
            table_seed,
            planted,
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) fn info(&self) -> BTreeMap<NodeId, FollowerInfo> {
        let info = |follower: &Follower| FollowerInfo { up: follower.up, acked: follower.acked };
        self.followers.iter().map(|follower| (follower.id, info(follower))).collect()
    }

    pub(crate) fn seen(&self) -> SeenLeader {
        let is_in_step = |one: &&Follower| one.up && one.stage == Stage::Streaming;
        let lags = |one: &&Follower| !is_in_step(one);
        let ids = |list: &mut dyn Iterator<Item = &Follower>| {
            list.map(|follower| follower.id).take(MAX_LISTED).collect()
        };
        SeenLeader {
            active: self.active,
            log: self.log.len(),
            waiting: self.pending,
            in_step: ids(&mut self.followers.iter().filter(is_in_step)),
            behind: ids(&mut self.followers.iter().filter(lags)),
        }
    }

    /// A PUT of an earlier incarnation, from the disk: some follower may lack it.
    pub(crate) fn recover_put(&mut self, put: &Put<'_>, config: &Config) {
        self.log.push(put.reign, put.key, put.value, None);
        while self.log.bytes() > config.max_log_bytes as u64 {
            self.log.pop();
        }
        self.first_waiting = put.timestamp.next();
    }

    /// A checkpoint's end: the log starts behind it.
    pub(crate) fn recover_applied(&mut self, timestamp: Timestamp) {
        self.log.reset(timestamp);
        self.first_waiting = timestamp.next();
    }

    fn place(&self, id: NodeId) -> Option<usize> {
        self.followers.iter().position(|follower| follower.id == id)
    }

    /// Every follower has, in use, every PUT up to this one.
    fn committed(&self, head: Timestamp) -> Timestamp {
        let acked = self.followers.iter().map(|follower| follower.acked);
        if self.planted.has(Mutant::AnswerAtOnce) {
            return head;
        }
        if self.planted.has(Mutant::AnswerAtMajority) {
            return acked.max().unwrap_or(head);
        }
        acked.min().unwrap_or(head)
    }

    /// Sends what fits the window.
    fn pump(&mut self, place: usize, cx: &mut Cx<'_>) {
        let (epoch, log, follower) = (self.epoch, &self.log, &mut self.followers[place]);
        while follower.wants_next(log)
            && let Some(entry) = log.entry(follower.next)
        {
            let (key, value) = (Bytes::new(entry.key()), Bytes::new(entry.value()));
            let (reign, timestamp) = (entry.reign, follower.next);
            let message = Message::Replication { epoch, reign, timestamp, key, value };
            cx.send(follower.id, &message);
            follower.next = timestamp.next();
        }
    }

    /// Sends the newest PUT to all followers that are in step, encoded once; the others get it
    /// when they have come that far.
    fn fan_out(&mut self, timestamp: Timestamp, key: &[u8], value: &[u8], cx: &mut Cx<'_>) {
        let (epoch, log) = (self.epoch, &self.log);
        let (key, value) = (Bytes::new(key), Bytes::new(value));
        let in_step = self.followers.iter_mut().filter_map(|follower| {
            let wants = follower.next == timestamp && follower.wants_next(log);
            wants.then(|| {
                follower.next = timestamp.next();
                follower.id
            })
        });
        let reign = epoch;
        let message = Message::Replication { epoch, reign, timestamp, key, value };
        cx.multicast(in_step, &message);
    }

    fn tell(&self, waiting: Waiting, outcome: Outcome<'_>, cx: &mut Cx<'_>) {
        match waiting.origin {
            Origin::Client(request) => cx.reply(request, &outcome.into()),
            Origin::Forward(follower, id) => {
                cx.send(follower, &Message::Forwarded { id, outcome });
            }
        }
    }

    /// Drops what all followers have from the log, and tells who waited for it.
    fn commit(&mut self, head: Timestamp, cx: &mut Cx<'_>) {
        let committed = self.committed(head);
        while self.log.first() <= committed
            && let Some(entry) = self.log.front()
        {
            let timestamp = self.log.first();
            if let Some(waiting) = entry.waiting {
                cx.print(format_args!(
                    "Enviando PUT_OK ao Cliente {} da key:{} ts:{timestamp}",
                    waiting.addr,
                    Escaped(entry.key())
                ));
                self.tell(waiting, Outcome::Ok { timestamp }, cx);
                self.pending -= 1;
            }
            self.log.pop();
        }
        self.first_waiting = self.first_waiting.max(self.log.first());
    }

    /// Gives up on the PUT at `timestamp`, if somebody still waits for it.
    fn give_up(&mut self, timestamp: Timestamp, cx: &mut Cx<'_>) {
        let entry = self.log.entry_mut(timestamp);
        let Some(waiting) = entry.and_then(|entry| entry.waiting.take()) else { return };
        self.pending -= 1;
        let missing: Vec<u32> = self
            .followers
            .iter()
            .filter(|follower| follower.acked < timestamp)
            .map(|follower| follower.id.0)
            .collect();
        let reason =
            format!("no REPLICATION_OK in time from nodes {missing:?} for timestamp {timestamp}");
        if self.planted.has(Mutant::TimeoutNotApplied) {
            return self.tell(waiting, Outcome::NotApplied { reason: reason.into() }, cx);
        }
        self.tell(waiting, Outcome::MayStillApply { reason: reason.into() }, cx);
    }

    /// Keeps the log within its bound: who needs more than it holds will copy the table.
    fn trim(&mut self, config: &Config) {
        while self.log.bytes() > config.max_log_bytes as u64
            && self.log.first() < self.log.last()
            && !self.front_waits()
        {
            self.log.pop();
        }
        self.first_waiting = self.first_waiting.max(self.log.first());
    }

    /// Whether somebody waits for the oldest PUT in the log, which therefore must stay.
    fn front_waits(&self) -> bool {
        self.log.front().is_some_and(|entry| entry.waiting.is_some())
    }

    /// What a follower is asked before anything else.
    fn probe(&self) -> Message<'static> {
        Message::Probe { epoch: self.epoch, at: self.asked.clone(), known: self.known }
    }

    /// Starts or restarts the copy of a follower that cannot go on from the log.
    fn resync(&mut self, place: usize, cx: &mut Cx<'_>) {
        let follower = &mut self.followers[place];
        if follower.stage != Stage::Copying {
            ::log::info!(target: KvReplication::NAME, "node {} copies the table", follower.id);
        }
        follower.stage = Stage::Copying;
        follower.transfer = follower.transfer.wrapping_add(1);
        follower.strayed = None;
        follower.copy_base = None;
        let message = follower.resync_message(self.epoch);
        cx.send(follower.id, &message);
    }

    /// A follower pulls what it was not told to copy: a lie or a replayed Resync had it begin, and it takes
    /// no Replication until it has a copy. So it is told to begin another; answers whether it is.
    fn stray_pull(&mut self, place: usize, transfer: u32, cx: &mut Cx<'_>) -> bool {
        let follower = &mut self.followers[place];
        let is_late = is_later(follower.transfer, transfer);
        match follower.stage {
            // It will be told what to do.
            Stage::Probing => return false,
            // Its present Resync is sent until it follows that, which it does if that is later.
            Stage::Copying if is_late => return false,
            Stage::Copying => {}
            // The first may be one of a copy that is done, late or twice.
            Stage::Resuming | Stage::Streaming => {
                if follower.strayed.replace(transfer) != Some(transfer) {
                    return false;
                }
            }
        }
        if !is_late {
            follower.transfer = transfer;
        }
        self.resync(place, cx);
        true
    }

    /// A follower holds what this leader's history does not have: that was never acknowledged, since
    /// the leader has all that was.
    fn replace(&mut self, place: usize, theirs: History, ours: &Chain, cx: &mut Cx<'_>) {
        let follower = &mut self.followers[place];
        // Once: its link may come and go as often as it likes.
        if !::core::mem::replace(&mut follower.contradicts, true) {
            ::log::warn!(
                target: KvReplication::NAME,
                "node {} holds another history (its PUT {} has the hash {:?}, of genesis {:?}; this \
                 leader is at PUT {} of genesis {:?}): its table is replaced by a copy of this one",
                follower.id,
                theirs.applied,
                theirs.hash,
                theirs.genesis,
                ours.applied(),
                ours.genesis()
            );
        }
        self.resync(place, cx);
    }

    /// A follower that said what it has: from the log, if that reaches back, or by a copy.
    fn welcome(&mut self, place: usize, ours: &Chain, cx: &mut Cx<'_>) {
        let follower = &mut self.followers[place];
        let Some(theirs) = follower.reported.as_ref().map(|report| report.history) else { return };
        let head = ours.applied();
        let is_new = theirs.genesis == Hash(0) && theirs.applied == Timestamp(0);
        let known = ours.hash_at(theirs.applied);
        let contradicts = theirs.applied > head
            || theirs.genesis != ours.genesis()
            || known.is_some_and(|hash| hash != theirs.hash);
        if contradicts && !is_new {
            return self.replace(place, theirs, ours, cx);
        }
        follower.contradicts = false;
        let applied = if self.planted.has(Mutant::ResumeTooLate) {
            theirs.applied.next().min(head)
        } else if self.planted.has(Mutant::TrustOldAck) {
            theirs.applied.max(follower.acked)
        } else {
            theirs.applied
        };
        if applied.next() < self.log.first() || (known.is_none() && !is_new) {
            return self.resync(place, cx);
        }
        follower.acked = applied;
        follower.received = applied;
        follower.next = applied.next();
        follower.stage = Stage::Resuming;
        let history = ours.history(Standing::Whole);
        cx.send(follower.id, &Message::Resume { epoch: self.epoch, history });
        self.commit(head, cx);
        self.pump(place, cx);
    }

    /// Why it takes no PUT and answers no GET.
    pub(crate) fn why_inactive(&self) -> String {
        let unheard = self.followers.iter().filter(|follower| follower.reported.is_none());
        let unheard: Vec<u32> = unheard.map(|follower| follower.id.0).collect();
        if !unheard.is_empty() {
            return format!(
                "the leader has just started, and has not heard from nodes {unheard:?} what they hold"
            );
        }
        if let Some((place, _)) = &self.incoming {
            return format!("the leader copies what node {} has", self.followers[*place].id);
        }
        let held = self.followers.iter().filter_map(|follower| {
            let History { genesis, applied, hash, standing } = follower.reported.as_ref()?.history;
            Some(format!(
                "node {}: {standing:?} up to PUT {applied}, hash {hash:?}, genesis {genesis:?}",
                follower.id
            ))
        });
        let held = held.collect::<Vec<String>>().join("; ");
        match &self.stuck {
            Some(Finding::Lost) => format!(
                "no node is left that has every PUT ({held}): put back a data_dir that has; or stop all \
                 nodes, empty their data_dirs, and start anew, without what was stored"
            ),
            Some(Finding::Differ) => format!(
                "what the nodes hold contradicts each other, and no majority agrees ({held}): find out \
                 which data_dir is of this store, and empty the others"
            ),
            Some(Finding::Nothing | Finding::Holder(_) | Finding::Ask(_)) | None => {
                "the leader has just started, and compares what the nodes hold".into()
            }
        }
    }

    /// A follower knows a later reign than this one, because this node's clock was set back since:
    /// begins one after that.
    fn reign_after(&mut self, epoch: Epoch, cx: &mut Cx<'_>) {
        self.epoch = Epoch(epoch.0.saturating_add(1));
        self.incoming = None;
        let probe = self.probe();
        ::log::warn!(
            target: KvReplication::NAME,
            "a follower has seen epoch {epoch}, later than this start: going on with {}",
            self.epoch
        );
        for follower in &mut self.followers {
            follower.stage = Stage::Probing;
            follower.reported = None;
            if follower.up {
                cx.send(follower.id, &probe);
            }
        }
    }

    /// Whether some follower owes an answer.
    fn owed(&self, head: Timestamp) -> bool {
        let owes = |follower: &Follower| {
            follower.up && (follower.stage != Stage::Streaming || follower.acked < head)
        };
        self.incoming.is_some() || self.followers.iter().any(owes)
    }

    /// Sends again to one follower what it did not answer.
    fn nudge(&mut self, place: usize, ours: &Chain, cx: &mut Cx<'_>) {
        let epoch = self.epoch;
        let probe = self.probe();
        let follower = &mut self.followers[place];
        match follower.stage {
            Stage::Probing => cx.send(follower.id, &probe),
            Stage::Resuming => {
                follower.next = follower.received.next();
                let history = ours.history(Standing::Whole);
                cx.send(follower.id, &Message::Resume { epoch, history });
            }
            Stage::Copying => {
                let message = follower.resync_message(epoch);
                cx.send(follower.id, &message);
                if follower.copy_base.is_some() {
                    follower.next = follower.received.next();
                }
            }
            Stage::Streaming => follower.next = follower.acked.next(),
        }
        if follower.needs_log() && follower.next < self.log.first() {
            self.resync(place, cx);
        } else {
            self.pump(place, cx);
        }
    }

    pub(crate) fn check_invariants(&self, head: Timestamp) {
        assert_eq!(self.log.last(), head, "the log ends with the last PUT");
        let waiting = (self.log.first().0..=self.log.last().0)
            .filter(|timestamp| {
                let entry = self.log.entry(Timestamp(*timestamp));
                entry.is_some_and(|entry| entry.waiting.is_some())
            })
            .count();
        assert_eq!(waiting, self.pending, "every waiting PUT is counted once");
        for follower in &self.followers {
            assert!(follower.acked <= head, "node {} acknowledged the future", follower.id);
            assert!(follower.acked <= follower.received, "what is in use was received");
        }
    }
}

impl Follower {
    fn new(id: NodeId) -> Follower {
        Follower {
            id,
            up: false,
            stage: Stage::Probing,
            reported: None,
            acked: Timestamp(0),
            received: Timestamp(0),
            next: Timestamp(1),
            transfer: 0,
            strayed: None,
            copy_base: None,
            last_forward: None,
            repeated: None,
            contradicts: false,
            disk_full: false,
            progress: true,
            quiet: 0,
        }
    }

    fn resync_message(&self, epoch: Epoch) -> Message<'static> {
        let Follower { transfer, contradicts, .. } = *self;
        Message::Resync { epoch, transfer, contradicts }
    }

    /// Whether Replications go to it.
    fn needs_log(&self) -> bool {
        match self.stage {
            Stage::Probing => false,
            Stage::Copying => self.copy_base.is_some(),
            Stage::Resuming | Stage::Streaming => true,
        }
    }

    /// Whether it is in step, now that it says to have everything up to `applied` in use.
    fn is_in_step(&self, applied: Timestamp) -> bool {
        match self.stage {
            Stage::Probing => false,
            Stage::Resuming | Stage::Streaming => true,
            // From before the base it can only tell of the table that is being replaced.
            Stage::Copying => self.copy_base.is_some_and(|base| applied >= base),
        }
    }

    /// Whether its next PUT may be sent now.
    fn wants_next(&self, log: &Log) -> bool {
        self.up
            && self.needs_log()
            && self.next >= log.first()
            && log.distance(self.received, Timestamp(self.next.0 - 1)) < WINDOW_BYTES
    }
}
