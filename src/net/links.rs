//! The links to peers: who dials whom and when again, and which connection is the link now.
//! Makes no sockets itself.

use super::table::Key;
use crate::config::Config;
use node_protocols::core::{NodeId, Rng, Time};
use std::time::Duration;

pub(super) struct Links {
    /// Sorted by id.
    peers: Vec<Peer>,
    redial_max: Duration,
    rng: Rng,
}

pub(super) struct Peer {
    pub(super) id: NodeId,
    pub(super) addr: String,
    /// The link, once both sides have greeted.
    pub(super) link: Option<Key>,
    /// When to dial; none while there is a connection, or when the peer dials us.
    dial_at: Option<Time>,
    /// How many dials in a row did not make a link.
    failures: u32,
    /// When something was last sent over the link.
    pub(super) last_sent: Time,
    /// Since when lines about the link are counted, and how many there were since.
    told: (Time, u32),
}

/// A link that flaps gets this many lines in the log in such a time; INFO counts all.
const MAX_LINES: u32 = 10;
const LINES_TIME: Duration = Duration::from_secs(10);

/// The first wait is this part of the longest: a peer that restarts is back soon.
const FIRST_REDIAL_PART: u32 = 40;

impl Links {
    pub(super) fn new(config: &Config, rng: Rng) -> Links {
        let peers = config.peers.iter().map(|(id, addr)| Peer {
            id: *id,
            addr: addr.clone(),
            link: None,
            // The lower id dials, so that two nodes never make two links at once.
            dial_at: (config.id < *id).then_some(Time(0)),
            failures: 0,
            last_sent: Time(0),
            told: (Time(0), 0),
        });
        let redial_max = Duration::from_millis(config.limits.redial_max_ms);
        Links { peers: peers.collect(), redial_max, rng }
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Peer> {
        let place = self.peers.binary_search_by_key(&id, |peer| peer.id).ok()?;
        self.peers.get(place)
    }

    pub(super) fn get_mut(&mut self, id: NodeId) -> Option<&mut Peer> {
        let place = self.peers.binary_search_by_key(&id, |peer| peer.id).ok()?;
        self.peers.get_mut(place)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.peers.iter_mut()
    }

    pub(super) fn any_up(&self) -> bool {
        self.peers.iter().any(|peer| peer.link.is_some())
    }

    /// A connection that was the link, or was to become it, is gone. Dials again later, if it is
    /// ours to dial.
    pub(super) fn lost(&mut self, me: NodeId, id: NodeId, now: Time) {
        let (redial_max, jitter) = (self.redial_max, self.rng.below(1_000));
        let Some(peer) = self.get_mut(id).filter(|peer| me < peer.id) else { return };
        let wait = redial_max / FIRST_REDIAL_PART * 2u32.saturating_pow(peer.failures.min(16));
        peer.failures = peer.failures.saturating_add(1);
        // Half to the whole of the wait, so that nodes that lost the same peer do not dial it in
        // step for ever.
        let wait = wait.min(redial_max);
        let wait = wait / 2 + (wait / 2).mul_f64(jitter as f64 / 1_000.0);
        peer.dial_at = Some(now + wait);
    }

    pub(super) fn up(&mut self, id: NodeId, key: Key, now: Time) {
        if let Some(peer) = self.get_mut(id) {
            peer.link = Some(key);
            peer.dial_at = None;
            peer.failures = 0;
            peer.last_sent = now;
        }
    }

    /// How loud a line about this peer's link is.
    pub(super) fn level(&mut self, id: NodeId, now: Time) -> log::Level {
        let Some(peer) = self.get_mut(id) else { return log::Level::Debug };
        if now - peer.told.0 >= LINES_TIME {
            peer.told = (now, 0);
        }
        peer.told.1 = peer.told.1.saturating_add(1);
        if peer.told.1 <= MAX_LINES { log::Level::Info } else { log::Level::Debug }
    }

    /// Takes a peer that is due to be dialled.
    pub(super) fn take_due(&mut self, now: Time) -> Option<(NodeId, String)> {
        let due = |peer: &&mut Peer| peer.dial_at.is_some_and(|at| at <= now);
        let peer = self.peers.iter_mut().find(due)?;
        peer.dial_at = None;
        Some((peer.id, peer.addr.clone()))
    }

    pub(super) fn next_dial(&self) -> Option<Time> {
        self.peers.iter().filter_map(|peer| peer.dial_at).min()
    }
}
