//! Messages between nodes, and the links that carry them.

use super::{CHANCE, FrameSeen, Nanos, What, World, within};
use node_core::{FrameError, Host, NodeId};

/// Where a link is made at once, and a node is held up: that goes on in time.
const MIN_RETRY: Nanos = 1_000_000;

impl World {
    pub(super) fn place(&self, id: NodeId) -> Option<usize> {
        // Ids are few, and mostly where their number says.
        let guess = (id.0 as usize).wrapping_sub(1);
        if self.ids.get(guess) == Some(&id) {
            return Some(guess);
        }
        self.ids.iter().position(|one| *one == id)
    }

    pub(super) fn send(
        &mut self,
        from: usize,
        to: NodeId,
        payload: &[u8],
        is_copy: bool,
        host: &Host,
    ) {
        let Some(to) = self.place(to) else { return };
        let (sender, receiver) = (self.ids[from], self.ids[to]);
        let id = self.tracer.send(self.now, sender, receiver, payload, is_copy, host);
        if let Some(seen) = &mut self.seen {
            seen.frames.push(FrameSeen { at: self.now, from, to, payload: payload.to_vec() });
        }
        if self.forger.is_some() && self.hear(from, payload, host) {
            return self.tracer.lost(self.now, sender, receiver, id, "a lie instead");
        }
        let n = self.nodes.len();
        let (pair, side) = pair(n, from, to);
        let link = &self.links[pair];
        if !link.up[side] {
            return self.tracer.lost(self.now, self.ids[from], self.ids[to], id, "no_link");
        }
        let clogged = link.clogged_until[side];
        let stream = &mut self.streams[from * n + to];
        // Both streams move once for each message, whatever the weather.
        let delay = within(&mut stream.delay, &self.network.delay);
        let fate = stream.fate.next_u64();
        if link.cut[side] > 0 {
            return self.tracer.lost(self.now, self.ids[from], self.ids[to], id, "cut");
        }
        if scaled(fate & 0xFFFF_FFFF, CHANCE) < self.weather.loss {
            return self.tracer.lost(self.now, self.ids[from], self.ids[to], id, "loss");
        }
        let extra = scaled(fate >> 16 & 0xFFFF_FFFF, self.weather.delay);
        let at = self.now.max(clogged) + delay + extra;
        let (at, generation) = self.put_on_link(from, to, payload, at, id);
        let (from, to) = (from as u16, to as u16);
        if scaled(fate >> 32, CHANCE) < self.weather.duplicate {
            let copy = self.tracer.duplicate(self.now, self.ids[to as usize], id);
            let slot = self.payloads.put(payload);
            let later = at + scaled(fate >> 8 & 0xFFFF_FFFF, *self.network.delay.end());
            self.set_out(later, What::Frame { from, to, generation, slot, id: copy });
        }
    }

    /// A frame is under way, and arrives at that time, or behind the last one where links keep the
    /// order. Answers when, and over which link.
    pub(super) fn put_on_link(
        &mut self,
        from: usize,
        to: usize,
        payload: &[u8],
        mut at: Nanos,
        id: u64,
    ) -> (Nanos, u32) {
        let n = self.nodes.len();
        let generation = self.links[pair(n, from, to).0].generation;
        let stream = &self.streams[from * n + to];
        if self.network.ordered && self.weather.delay == 0 {
            at = at.max(stream.last);
        }
        let slot = self.payloads.put(payload);
        let frame = What::Frame { from: from as u16, to: to as u16, generation, slot, id };
        let at = self.set_out(at, frame);
        let stream = &mut self.streams[from * n + to];
        stream.last = stream.last.max(at);
        (at, generation)
    }

    pub(super) fn frame(&mut self, from: u16, to: u16, generation: u32, slot: u32, id: u64) {
        let (sender, receiver) = (self.ids[from as usize], self.ids[to as usize]);
        let (pair, side) = pair(self.nodes.len(), to as usize, from as usize);
        let link = &self.links[pair];
        let alive = link.generation == generation && link.up[side];
        if !alive || link.cut[1 - side] > 0 {
            let why = if alive { "cut" } else { "down" };
            self.tracer.lost(self.now, sender, receiver, id, why);
            return self.discard(What::Frame { from, to, generation, slot, id });
        }
        if self.is_dropped(id, sender, receiver) {
            return self.discard(What::Frame { from, to, generation, slot, id });
        }
        if self.defers(to, What::Frame { from, to, generation, slot, id }) {
            return;
        }
        let now = self.node_now(to as usize);
        let payload = self.payloads.take(slot);
        let Some(host) = &mut self.nodes[to as usize].host else {
            return self.payloads.give(slot, payload);
        };
        let done = host.handle_frame(sender, &payload, now);
        self.deliveries += 1;
        match done {
            Ok(()) => self.tracer.recv(self.now, sender, receiver, id, host),
            Err(error) => {
                if let FrameError::Jump(_) = error {
                    self.reset(from as usize, to as usize);
                }
                self.tracer.lost(self.now, sender, receiver, id, &error.to_string());
            }
        }
        self.payloads.give(slot, payload);
        self.finish_turn(to as usize);
    }

    /// A node gets a frame that nobody sent, as if from that peer.
    ///
    /// # Errors
    /// Why the node does not take it.
    pub fn inject(&mut self, from: NodeId, to: usize, payload: &[u8]) -> Result<(), FrameError> {
        let now = self.node_now(to);
        let Some(host) = &mut self.nodes[to].host else { return Ok(()) };
        let done = host.handle_frame(from, payload, now);
        self.finish_turn(to);
        done
    }

    /// Has two nodes make a link, if they can and have none.
    pub(super) fn dial(&mut self, one: usize, other: usize) {
        self.dial_after(one, other, 0);
    }

    /// Likewise, and it takes so long at least.
    fn dial_after(&mut self, one: usize, other: usize, least: Nanos) {
        let both = self.nodes[one].host.is_some() && self.nodes[other].host.is_some();
        if one == other || !both || one.max(other) >= self.linked() {
            return;
        }
        let (pair, _) = pair(self.nodes.len(), one, other);
        let link = &mut self.links[pair];
        if link.up == [false; 2] && link.cut == [0; 2] && !link.dialing {
            link.dialing = true;
            let generation = link.generation;
            let takes = within(&mut self.streams[pair].redial, &self.network.redial);
            self.at(self.now + takes.max(least), What::LinkUp { pair: pair as u32, generation });
        }
    }

    pub(super) fn link_up(&mut self, pair: u32, generation: u32) {
        let n = self.nodes.len();
        let (low, high) = (pair as usize / n, pair as usize % n);
        let link = &mut self.links[pair as usize];
        link.dialing = false;
        let ready = [low, high].iter().all(|node| {
            let node = &self.nodes[*node];
            node.host.is_some() && node.syncing.is_none() && node.paused_until <= self.now
        });
        if link.generation != generation || link.cut != [0; 2] || !ready {
            return self.dial_after(low, high, MIN_RETRY);
        }
        link.generation += 1;
        link.up = [true; 2];
        for (node, peer) in [(high, low), (low, high)] {
            let lamport = self.nodes[peer].host.as_deref().map(Host::lamport).unwrap_or_default();
            let now = self.node_now(node);
            if let Some(host) = &mut self.nodes[node].host {
                // Nobody forges a greeting here.
                let caught_up = host.handle_greeting(lamport, now);
                debug_assert!(caught_up.is_ok(), "{caught_up:?}");
            }
        }
        for (node, peer) in [(high, low), (low, high)] {
            self.tell_link(node, peer, true);
        }
    }

    pub(super) fn tell_link(&mut self, node: usize, peer: usize, up: bool) {
        let (now, peer_id) = (self.node_now(node), self.ids[peer]);
        if let Some(host) = &mut self.nodes[node].host {
            host.handle_link(peer_id, up, now);
            self.tracer.link(self.now, self.ids[node], peer_id, up);
            if let Some(seen) = self.seen.as_mut().filter(|_| !up) {
                seen.links_lost.push((self.now, node, peer));
            }
            self.finish_turn(node);
        }
    }

    /// This end of a link is gone at once, the other knows a little later.
    pub(super) fn drop_link(&mut self, node: usize, peer: usize) {
        if node == peer {
            return;
        }
        let (pair, side) = pair(self.nodes.len(), node, peer);
        let link = &mut self.links[pair];
        link.up[side] = false;
        if link.up[1 - side] {
            let (generation, at) = (link.generation, self.now + self.network.notice);
            let (node, peer) = (peer as u16, node as u16);
            self.at(at, What::LinkDown { node, peer, generation });
        }
    }

    pub(super) fn link_down(&mut self, node: u16, peer: u16, generation: u32) {
        let (pair, side) = pair(self.nodes.len(), node as usize, peer as usize);
        let link = &self.links[pair];
        if link.generation != generation || !link.up[side] {
            return;
        }
        if self.defers(node, What::LinkDown { node, peer, generation }) {
            return;
        }
        self.links[pair].up[side] = false;
        self.tell_link(node as usize, peer as usize, false);
        self.dial(node as usize, peer as usize);
    }

    /// Breaks a connection at both ends; the nodes make a new one.
    pub fn reset(&mut self, one: usize, other: usize) {
        let (pair, _) = pair(self.nodes.len(), one, other);
        let generation = self.links[pair].generation;
        for (node, peer) in [(one as u16, other as u16), (other as u16, one as u16)] {
            self.at(self.now, What::LinkDown { node, peer, generation });
        }
    }

    /// Forbids one direction; heal as often as it was cut.
    pub fn cut(&mut self, from: usize, to: usize) {
        let (pair, side) = pair(self.nodes.len(), from, to);
        self.links[pair].cut[side] += 1;
        self.links[pair].cuts += 1;
        self.expect_silence(from, to);
    }

    /// Allows one direction again.
    pub fn heal(&mut self, from: usize, to: usize) {
        let (pair, side) = pair(self.nodes.len(), from, to);
        let link = &mut self.links[pair];
        link.cut[side] = link.cut[side].saturating_sub(1);
        link.cuts += 1;
        self.dial(from, to);
    }

    /// Holds one direction's messages back until `until`.
    pub fn clog(&mut self, from: usize, to: usize, until: Nanos) {
        let (pair, side) = pair(self.nodes.len(), from, to);
        self.links[pair].clogged_until[side] = until;
    }

    /// A link on which nothing can come is given up after a while.
    pub(super) fn expect_silence(&mut self, one: usize, other: usize) {
        if one == other {
            return;
        }
        let (pair, _) = pair(self.nodes.len(), one, other);
        let (cut, at) = (self.links[pair].cuts, self.now + self.network.link_timeout);
        self.at(at, What::LinkTimeout { pair: pair as u32, cut });
    }

    pub(super) fn link_timeout(&mut self, pair: u32, cut: u32) {
        let n = self.nodes.len();
        let (low, high) = (pair as usize / n, pair as usize % n);
        let link = &self.links[pair as usize];
        let paused = |node: usize| self.nodes[node].paused_until > self.now;
        let silent = link.cut != [0; 2] || paused(low) || paused(high);
        if link.cuts == cut && silent && link.up == [true; 2] {
            self.reset(low, high);
        }
    }
}

/// The place of two nodes' link, and whether the first is its lower (0) or higher (1) end.
pub(super) fn pair(n: usize, one: usize, other: usize) -> (usize, usize) {
    if one < other { (one * n + other, 0) } else { (other * n + one, 1) }
}

/// The part of `whole` that 32 random bits choose.
fn scaled(bits: u64, whole: Nanos) -> Nanos {
    ((u128::from(bits) * u128::from(whole)) >> 32) as u64
}
