//! Nodes: starting, stopping, their clocks, their turns, and the syncs that turns wait for.

use super::{Birth, FileSeen, Folder, Nanos, Node, Sync, What, World, within};
use crate::config::ClockError;
use crate::log::recovery::Verdict;
use crate::study::{Snapshot, Violation};
use crate::trace::told;
use node_core::{ClockOffset, Correction, Effect, Host, Now, Time, WallTime};

impl World {
    /// Starts a node, with what is on its disk. One that refuses that stays down.
    pub fn start(&mut self, node: usize) {
        self.touch(node);
        let Node { id, disk, host, .. } = &mut self.nodes[node];
        if host.is_some() || disk.refusal.is_some() {
            return;
        }
        let id = *id;
        let (claim, identity) = match disk.claim(id) {
            Ok(claimed) => claimed,
            Err(owner) => {
                let why = format!("its directory is node {}'s of {:?}", owner.node, owner.cluster);
                return self.refuse(node, why, false);
            }
        };
        // As on a real node: by the wall clock, which a fault may have set back.
        let incarnation = self.node_now(node).wall.millis().max(1);
        let is_new = self.nodes[node].disk.is_new;
        let birth = Birth { place: node, incarnation, identity, is_new, redrawn: self.redrawn };
        let mut host = (self.build)(birth);
        let verdict = self.nodes[node].disk.recover(id, claim, identity, &mut host);
        let is_lost = match verdict {
            Verdict::New | Verdict::Kept(_) => false,
            Verdict::Lost(what) => {
                host = (self.build)(birth);
                host.handle_log_lost();
                let line = format!("begins without its log: {what}");
                self.tracer.note(self.now, id, line.as_bytes());
                true
            }
            Verdict::Refused(what) => {
                return self.refuse(node, format!("its log: {what}"), host.restores());
            }
        };
        host.set_output(self.tracer.is_full() || self.seen.is_some(), self.tracer.is_full());
        // On a disk that lost something the node may start anew, whatever it wrote before.
        let is_new = std::mem::take(&mut self.nodes[node].disk.is_new);
        let durable = host.is_durable() && !is_new && !is_lost;
        self.tracer.start(self.now, id, incarnation, durable, &host);
        if !self.recover_files(node, &mut host) {
            return;
        }
        self.nodes[node].disk.accepted();
        self.nodes[node].correction = Correction::default();
        self.nodes[node].has_ended = false;
        let now = self.node_now(node);
        host.handle_start(now);
        self.nodes[node].host = Some(Box::new(host));
        self.finish_turn(node);
        for peer in 0..self.nodes.len() {
            self.dial(node, peer);
        }
    }

    /// Tells the Host of its protocols' files, and cuts them to what the log knows of.
    fn recover_files(&mut self, node: usize, host: &mut Host) -> bool {
        let files: Vec<u16> = host.files().map(|(tag, _)| tag).collect();
        for tag in files {
            let file = self.nodes[node].disk.folder.files.entry(tag).or_default();
            match host.handle_file(tag, file.len() as u64) {
                Ok(kept) => {
                    file.truncate(kept as usize);
                    if let Some(owner) = host.name_of(tag) {
                        self.tracer.file(self.now, self.ids[node], owner, file);
                    }
                    if let Some(seen) = &mut self.seen {
                        let (at, bytes) = (self.now, file.clone());
                        seen.files.push(FileSeen { at, node, tag, bytes });
                    }
                }
                Err(corrupt) => {
                    self.refuse(node, format!("its file: {corrupt}"), false);
                    return false;
                }
            }
        }
        true
    }

    /// A node does not start. That is its right when its disk went bad, and nobody else has what
    /// was on it.
    fn refuse(&mut self, node: usize, why: String, restores: bool) {
        let id = self.nodes[node].id;
        self.tracer.refused(self.now, id, &why);
        self.refusals.push((self.now, id, why.clone()));
        if !self.nodes[node].disk.refused(why.clone()) || restores {
            self.failure = Some(format!("node {id} refuses what it finds: {why}"));
        }
    }

    /// Stops a node at once. What was being synced is lost, or is on the disk although nobody
    /// was told.
    pub fn crash(&mut self, node: usize, wipe: bool) {
        if self.nodes[node].host.take().is_none() {
            return;
        }
        self.touch(node);
        let keeps = self.nodes[node].crash_fate.below(2) == 0;
        let keeps = self.fate().unwrap_or(keeps);
        if let Some(sync) = self.nodes[node].syncing.take() {
            // Files are written before the log: they have all of it if the log has, and otherwise
            // any part of it.
            for (tag, bytes) in &sync.files {
                let most = bytes.len() as u64;
                let part = self.nodes[node].crash_fate.below(most + 1);
                let part = if keeps { most } else { part } as usize;
                let file = self.nodes[node].disk.folder.files.entry(*tag).or_default();
                file.extend_from_slice(&bytes[..part]);
            }
            let (disk, mut written) = (&mut self.nodes[node].disk, sync.written);
            match keeps {
                true => {
                    let _ = disk.keep(&mut written);
                }
                false => disk.tear(&written),
            }
        }
        let gone = &mut self.nodes[node];
        if wipe {
            gone.disk.folder = Folder::default();
            gone.disk.is_new = true;
        }
        gone.callers.clear();
        gone.paused_until = 0;
        gone.wake_at = Nanos::MAX;
        for what in std::mem::take(&mut gone.backlog) {
            self.discard(what);
        }
        self.tracer.crash(self.now, self.nodes[node].id);
        for peer in 0..self.nodes.len() {
            self.drop_link(node, peer);
        }
        for client in 0..self.clients.len() {
            if self.clients[client].node == Some(node as u16) {
                let generation = self.clients[client].generation;
                let at = self.now + self.network.notice;
                self.at(at, What::Closed { client: client as u32, generation });
            }
        }
    }

    /// Whether a node runs.
    pub fn is_up(&self, node: usize) -> bool {
        self.nodes[node].host.is_some()
    }

    /// Whether a node's turn waits for its disk.
    pub fn is_syncing(&self, node: usize) -> bool {
        self.nodes[node].syncing.is_some()
    }

    /// Holds a node up: what comes waits.
    pub fn pause(&mut self, node: usize, until: Nanos) {
        if self.nodes[node].host.is_none() {
            return;
        }
        self.nodes[node].paused_until = until;
        self.tracer.pause(self.now, self.nodes[node].id, true);
        self.at(until, What::Resume { node: node as u16 });
        for peer in 0..self.nodes.len() {
            self.expect_silence(node, peer);
        }
    }

    /// The next sync of a node fails; `full_until` is when there is room again. The node has
    /// measured that there is none, or finds out by the sync.
    pub fn break_disk(&mut self, node: usize, full_until: Nanos) {
        let is_measured = self.nodes[node].crash_fate.below(2) == 0;
        let Node { disk, host, .. } = &mut self.nodes[node];
        disk.fail_next = full_until <= self.now;
        disk.full_until = full_until;
        disk.is_measured = is_measured && !disk.fail_next;
        if let Some(host) = host {
            // What an earlier fault of the disk had it measure is over.
            host.set_room(if disk.is_measured { 0 } else { u64::MAX });
        }
    }

    /// From now on a node's disk takes so many bytes, as the node has measured.
    pub fn set_room(&mut self, node: usize, bytes: u64) {
        if let Some(host) = &mut self.nodes[node].host {
            host.set_room(bytes);
        }
    }

    /// Mends disks, by hand where a node does not start with what is on them, and starts what is
    /// down.
    pub fn mend(&mut self) {
        for node in 0..self.len() {
            self.nodes[node].disk.fail_next = false;
            self.nodes[node].disk.full_until = 0;
            self.nodes[node].disk.put_right();
            self.start(node);
        }
    }

    /// Sets a node's clock. Its monotonic time goes on from where it is.
    pub fn set_clock(&mut self, node: usize, clock: ClockError) {
        let local = self.local(node);
        self.nodes[node].set_at = (self.time_of(node), local);
        self.nodes[node].clock = clock;
        // What it waits for comes at another time now.
        if self.nodes[node].syncing.is_none() {
            self.schedule_wake(node);
        }
    }

    /// A node's own time.
    pub(super) fn local(&self, node: usize) -> Nanos {
        let now = self.time_of(node);
        let node = &self.nodes[node];
        node.set_at.1 + drifted(now - node.set_at.0, node.clock.drift_ppm)
    }

    /// What a node's clocks show.
    pub fn node_now(&self, node: usize) -> Now {
        let clock = self.nodes[node].clock;
        let local = self.local(node);
        let wall = WallTime(ORIGIN.0 + local).plus(clock.offset_ms * 1_000_000);
        Now { time: Time(local), wall }
    }

    /// Notes what the clocks of all nodes that are up show.
    pub fn read_clocks(&mut self) {
        for node in 0..self.len() {
            self.read_clock(node, false);
        }
    }

    /// Notes what a node's corrected clock shows. A node that waits for its disk shows what it
    /// showed before, as nothing of its turn has left it.
    fn read_clock(&mut self, node: usize, own: bool) {
        let Some(host) = &self.nodes[node].host else { return };
        if !self.tracer.reads_clocks() {
            return;
        }
        let (wall, correction) =
            (host.wall_clock(self.node_now(node)), self.nodes[node].correction);
        let ahead = correction.read(wall).since(WallTime(ORIGIN.0 + self.now));
        let (added, owed) = (correction.nanos(wall), correction.owed(wall));
        self.tracer.clock(self.now, self.nodes[node].id, ahead, added, owed, own);
    }

    /// Keeps an event for later if the node cannot take it now.
    pub(super) fn defers(&mut self, node: u16, what: What) -> bool {
        let place = node as usize;
        let node = &mut self.nodes[place];
        let busy = node.syncing.is_some() || node.paused_until > self.now;
        if busy && node.host.is_some() {
            node.backlog.push_back(what);
            self.touch(place);
        }
        busy
    }

    pub(super) fn resume(&mut self, node: u16) {
        let at = node as usize;
        if self.nodes[at].paused_until > self.now || self.nodes[at].host.is_none() {
            return;
        }
        self.tracer.pause(self.now, self.nodes[at].id, false);
        self.work_off(node);
        for peer in 0..self.nodes.len() {
            self.dial(at, peer);
        }
    }

    pub(super) fn work_off(&mut self, node: u16) {
        let at = node as usize;
        while self.watch.broken().is_none()
            && self.nodes[at].syncing.is_none()
            && self.nodes[at].paused_until <= self.now
            && let Some(what) = self.nodes[at].backlog.pop_front()
        {
            match what {
                What::Frame { from, to, generation, slot, id } => {
                    self.frame(from, to, generation, slot, id);
                }
                What::Wake { node, at } => self.timers(node, at),
                What::LinkDown { node, peer, generation } => self.link_down(node, peer, generation),
                What::Request { client, generation, node, sequence, slot } => {
                    self.request_arrives(client, generation, node, sequence, slot);
                }
                What::Piece { client, generation, node, slot } => {
                    self.piece_arrives(client, generation, node, slot);
                }
                What::Gone { client, generation, node } => {
                    self.client_gone(client, generation, node);
                }
                What::Backpressure { client, generation, node, full } => {
                    self.backpressure(client, generation, node, full);
                }
                // The others concern no node's turn, and are never deferred.
                What::Synced { .. }
                | What::Resume { .. }
                | What::LinkUp { .. }
                | What::LinkTimeout { .. }
                | What::Reply { .. }
                | What::Heard { .. }
                | What::Closed { .. }
                | What::Driver { .. } => {}
            }
        }
    }

    pub(super) fn discard(&mut self, what: What) {
        if let What::Piece { client, generation, .. } = what {
            self.break_wire(client, generation);
        }
        if let What::Frame { slot, .. } | What::Request { slot, .. } | What::Piece { slot, .. } =
            what
        {
            let bytes = self.payloads.take(slot);
            self.payloads.give(slot, bytes);
        }
    }

    pub(super) fn timers(&mut self, node: u16, at: Nanos) {
        let place = node as usize;
        if self.nodes[place].wake_at != at || self.nodes[place].host.is_none() {
            return;
        }
        if self.defers(node, What::Wake { node, at }) {
            return;
        }
        self.nodes[place].wake_at = Nanos::MAX;
        let now = self.node_now(place);
        if let Some(host) = &mut self.nodes[place].host {
            host.handle_timers(now);
        }
        self.tracer.timer(self.now, self.nodes[place].id);
        self.finish_turn(place);
    }

    /// After a callback: its effects leave at once, or when the disk has its records.
    pub(super) fn finish_turn(&mut self, node: usize) {
        let place = node;
        self.touch(place);
        let Node { disk, host, .. } = &mut self.nodes[place];
        let Some(host) = host else { return };
        host.handle_turn_end();
        host.check_invariants();
        if disk.is_measured && disk.full_until <= self.now {
            disk.is_measured = false;
            host.set_room(u64::MAX);
        }
        let outbox = host.outbox();
        if !outbox.has_to_be_durable() {
            return self.release(place);
        }
        let files = outbox.files().map(|(tag, bytes)| (tag, bytes.to_vec())).collect();
        let written = disk.written(host);
        host.outbox_mut().clear_records();
        let node = &mut self.nodes[place];
        node.turns += 1;
        let turn = node.turns;
        node.syncing = Some(Sync { turn, written, files });
        let takes = within(&mut node.sync_time, &self.network.sync);
        self.at(self.now + takes, What::Synced { node: place as u16, turn });
    }

    pub(super) fn synced(&mut self, node: u16, turn: u64) {
        let place = node as usize;
        let state = &mut self.nodes[place];
        if state.syncing.as_ref().is_none_or(|sync| sync.turn != turn) {
            return;
        }
        let fails = state.disk.fail_next || state.disk.full_until > self.now;
        if fails {
            state.disk.fail_next = false;
            let bytes = state.syncing.as_ref().map_or(0, |sync| sync.written.len());
            self.tracer.sync(self.now, self.nodes[place].id, bytes, false);
            // A failed sync is fatal: nothing of the turn leaves the node.
            return self.crash(place, false);
        }
        if let Some(Sync { mut written, files, .. }) = state.syncing.take() {
            let bytes = written.len();
            if state.disk.keep(&mut written).is_err() {
                // No batch can have it: fatal, as on a real node.
                return self.crash(place, false);
            }
            for (tag, bytes) in &files {
                state.disk.folder.files.entry(*tag).or_default().extend_from_slice(bytes);
            }
            self.tracer.sync(self.now, self.nodes[place].id, bytes, true);
        }
        self.release(place);
        self.work_off(node);
    }

    /// Carries out a turn's effects.
    pub(super) fn release(&mut self, place: usize) {
        self.read_clock(place, true);
        let Some(host) = self.nodes[place].host.take() else { return };
        let id = self.nodes[place].id;
        let mut last = None;
        for effect in host.outbox().effects() {
            match *effect {
                Effect::Send { to, payload } => {
                    // The copies of a multicast share their bytes.
                    let is_copy = last.replace(payload) == Some(payload);
                    self.send(place, to, host.outbox().bytes(payload), is_copy, &host);
                }
                Effect::Reply { to, reply } => {
                    self.reply(place, to, host.outbox().bytes(reply), &host);
                }
                Effect::Push { to, reply } => {
                    let (to, reply) = (host.outbox().clients(to), host.outbox().bytes(reply));
                    self.push(place, to, reply, &host);
                }
                Effect::Print { line } => {
                    let line = host.outbox().bytes(line);
                    if let Some(seen) = &mut self.seen {
                        let line = String::from_utf8_lossy(line).into_owned();
                        seen.lines.push((self.now, place, line));
                    }
                    self.tracer.print(self.now, id, line);
                }
                Effect::Note { line } => {
                    self.tracer.note(self.now, id, host.outbox().bytes(line));
                }
                Effect::Timer { place, label } => {
                    let protocol = host.protocols()[place].name();
                    self.tracer.fired(self.now, id, protocol, host.outbox().bytes(label));
                }
                Effect::Over { to } => self.over(place, to, &host),
                // Nobody waits for a process: the node goes on, and answers what it still hears.
                Effect::Stop { .. } => self.nodes[place].has_ended = true,
                Effect::Fact { place: publisher, fact } => {
                    let fact = host.outbox().fact(fact);
                    if let Some(seen) = &mut self.seen {
                        seen.facts.push((self.now, place, fact.clone()));
                    }
                    if let Some(ClockOffset { correction }) = fact.read() {
                        self.nodes[place].correction = correction;
                    }
                    self.tracer.fact(self.now, id, host.protocols()[publisher].name(), fact);
                }
            }
        }
        let mut host = host;
        host.outbox_mut().clear_effects();
        if self.tracer.is_full() {
            self.tracer.end_turn(self.now, id, &host);
        }
        self.nodes[place].host = Some(host);
        self.check_all(place);
        self.schedule_wake(place);
    }

    /// Whether what must hold of all nodes still does, now that the effects of a turn have left.
    fn check_all(&mut self, place: usize) {
        let Node { id, host: Some(host), .. } = &self.nodes[place] else { return };
        let id = *id;
        if !self.watch.concerns(host) {
            return;
        }
        let shows = |node: &&Node| node.syncing.is_none();
        let nodes = self.nodes.iter().filter(shows);
        let hosts: Vec<_> =
            nodes.filter_map(|node| Some((node.id, node.host.as_deref()?))).collect();
        let mishaps = self.tracer.mishaps();
        let broken = self.watch.look(self.now, id, host, &Snapshot::new(&hosts), mishaps);
        if let Some((name, violation)) = broken {
            // Here, so that nothing else of this instant comes between it and what broke it.
            let Violation { why, witnesses, .. } = violation;
            self.tracer.violation(self.now, name, why, &told(witnesses, &self.run));
        }
    }

    pub(super) fn schedule_wake(&mut self, place: usize) {
        let now = self.time_of(place);
        let node = &mut self.nodes[place];
        let deadline = node.host.as_deref().and_then(Host::deadline);
        let Some(deadline) = deadline else {
            node.wake_at = Nanos::MAX;
            return;
        };
        let left = deadline.0.saturating_sub(node.set_at.1);
        let at = node.set_at.0 + undrifted(left, node.clock.drift_ppm);
        let at = at.max(now);
        if at != node.wake_at {
            node.wake_at = at;
            self.at(at, What::Wake { node: place as u16, at });
        }
    }
}

/// The runs take place on 1 January 2025, so that offsets may be negative.
const ORIGIN: WallTime = WallTime::from_millis(1_735_689_600_000);

/// The run's time by a clock that drifts.
fn drifted(at: Nanos, ppm: i64) -> Nanos {
    if ppm == 0 {
        return at;
    }
    (i128::from(at) * i128::from(1_000_000 + ppm) / 1_000_000) as u64
}

/// When a drifting clock shows `local`: not before.
fn undrifted(local: Nanos, ppm: i64) -> Nanos {
    if ppm == 0 {
        return local;
    }
    let rate = i128::from(1_000_000 + ppm);
    ((i128::from(local) * 1_000_000 + rate - 1) / rate) as u64
}
