//! Nodes that lie: beside what a node says, or instead of it, frames go out that have the right
//! form and the wrong content. They are made of frames that passed before, whoever said them, and
//! so are of any protocol without knowing one.

use super::network::pair;
use super::{Nanos, World, within};
use node_core::{Host, Rng};
use std::collections::VecDeque;

/// So many of the last frames are there to lie with; half of the lies are made of the newest few.
const MAX_HEARD: usize = 256;
const NEWEST: u64 = 16;
/// At most so many lies beside one frame, and so many in all: what is answered to a lie may have
/// its liar send more, and that for ever.
const MAX_AT_ONCE: u64 = 3;
const MAX_LIES: u32 = 2_000;
/// At most so many bytes of a lie are others than they were.
const MAX_CHANGED: u64 = 3;

/// What lies are made of, and who tells them.
#[derive(Default)]
pub(super) struct Forger {
    heard: VecDeque<Heard>,
    liars: Vec<Liar>,
}

/// A frame that a node sent.
struct Heard {
    from: usize,
    payload: Vec<u8>,
}

struct Liar {
    /// The number of the fault that makes it one.
    number: u32,
    node: usize,
    /// Who hears from it nothing but what they said themselves.
    spares: Vec<usize>,
    rng: Rng,
    left: u32,
}

impl World {
    /// Keeps frames from now on, for lies to come.
    pub fn listen(&mut self) {
        self.forger = Some(Forger::default());
    }

    /// A node lies from now on to all others, but for those that it `spares`: these hear their own
    /// earlier frames.
    pub fn lie(&mut self, number: u32, node: usize, spares: Vec<usize>, lies: u32) {
        let rng = Rng::stream(lies.into(), "sim/liar");
        let liar = Liar { number, node, spares, rng, left: MAX_LIES };
        self.forger.get_or_insert_default().liars.push(liar);
    }

    /// What the fault of that number made a liar lies no more.
    pub fn stop_lying(&mut self, number: u32) {
        if let Some(forger) = &mut self.forger {
            forger.liars.retain(|liar| liar.number != number);
        }
    }

    /// Lies are others from now on.
    pub(super) fn redraw_lies(&mut self, by: u64) {
        let liars = self.forger.iter_mut().flat_map(|forger| &mut forger.liars);
        liars.for_each(|liar| liar.rng.redraw(by));
    }

    /// A node sends a frame: it is kept, and if the node lies, so it does now. Whether that is
    /// instead of the frame.
    pub(super) fn hear(&mut self, from: usize, payload: &[u8], host: &Host) -> bool {
        let Some(mut forger) = self.forger.take() else { return false };
        let mut instead = false;
        for liar in forger.liars.iter_mut().filter(|liar| liar.node == from) {
            if liar.rng.below(2) == 0 || liar.left == 0 {
                continue;
            }
            instead |= liar.rng.below(8) == 0;
            for _ in 0..=liar.rng.below(MAX_AT_ONCE) {
                liar.left = liar.left.saturating_sub(1);
                if let Some((to, lie)) = liar.forge(&forger.heard, self.len()) {
                    let delay = within(&mut liar.rng, &self.network.delay);
                    self.send_forged(from, to, &lie, delay, host);
                }
            }
        }
        if forger.heard.len() == MAX_HEARD {
            forger.heard.pop_front();
        }
        forger.heard.push_back(Heard { from, payload: payload.to_vec() });
        self.forger = Some(forger);
        instead
    }

    /// As [`send`](World::send), but for draws, so that lies shift none of the others'.
    fn send_forged(&mut self, from: usize, to: usize, payload: &[u8], delay: Nanos, host: &Host) {
        let (sender, receiver) = (self.ids[from], self.ids[to]);
        let id = self.tracer.send(self.now, sender, receiver, payload, false, host);
        let n = self.nodes.len();
        let (pair, side) = pair(n, from, to);
        let link = &self.links[pair];
        if !link.up[side] || link.cut[side] > 0 {
            return self.tracer.lost(self.now, sender, receiver, id, "no_link");
        }
        let at = self.now.max(link.clogged_until[side]) + delay;
        self.put_on_link(from, to, payload, at, id);
    }
}

impl Liar {
    /// A lie, and to whom; none when there is nothing yet to make one of.
    fn forge(&mut self, heard: &VecDeque<Heard>, nodes: usize) -> Option<(usize, Vec<u8>)> {
        let others = (nodes as u64).checked_sub(1).filter(|others| *others > 0)?;
        let to = (self.node + 1 + self.rng.below(others) as usize) % nodes;
        let is_spared = self.spares.contains(&to);
        let is_known = |heard: &&Heard| !is_spared || heard.from == to;
        let known = heard.iter().filter(is_known).count() as u64;
        if known == 0 {
            return None;
        }
        let most = if self.rng.below(2) == 0 { known } else { known.min(NEWEST) };
        let back = self.rng.below(most) as usize;
        let mut lie = heard.iter().rev().filter(is_known).nth(back)?.payload.clone();
        if !is_spared && self.rng.below(2) == 0 {
            for _ in 0..=self.rng.below(MAX_CHANGED) {
                self.change(&mut lie);
            }
        }
        Some((to, lie))
    }

    /// Changes a byte as one of a number: it stays as long, so that what follows is read as before.
    fn change(&mut self, lie: &mut [u8]) {
        if lie.is_empty() {
            return;
        }
        let place = self.rng.below(lie.len() as u64) as usize;
        let bits = match self.rng.below(3) {
            // One more or less, mostly: of a counter, an epoch, a kind.
            0 => 1,
            1 => 1 << self.rng.below(7),
            _ => 1 + self.rng.below(127),
        };
        lie[place] ^= bits as u8;
    }
}
