//! The links to peers: who dials whom and when again, which connection is the link now, and which
//! say that they should be. Makes no sockets itself.

use super::connection::{Dial, Purpose};
use super::table::Key;
use node_lab::config::Config;
use node_protocols::core::{Backoff, NodeId, Rng, Time};
use std::time::Duration;

pub(super) struct Links {
    /// This node.
    me: NodeId,
    /// Sorted by id.
    peers: Vec<Peer>,
    /// After so long a peer has noticed that a link is gone, and dialled anew.
    patience: Duration,
    rng: Rng,
    /// How often this node has greeted a peer.
    dials: u64,
}

pub(super) struct Peer {
    pub(super) id: NodeId,
    pub(super) addr: String,
    /// The link, once both sides have greeted.
    pub(super) link: Option<Key>,
    /// The identity and incarnation of the node at its other end.
    pub(super) process: (u128, u64),
    /// When to ask why it does not dial; none while there is a link, or when it is ours to dial.
    knock_at: Option<Time>,
    /// The connection over which this node has greeted it, and waits for the answer.
    pub(super) greeted: Option<Key>,
    /// The number of that greeting, and its name in traces.
    pub(super) dial: u64,
    /// When it was last greeted, and whether it has asked about that greeting.
    greeted_at: Option<Time>,
    asked: bool,
    /// Connections that say they are this peer.
    pub(super) claims: Vec<Key>,
    /// What the peer is to say over its own.
    pub(super) challenge: Option<u128>,
    /// The connection over which the peer is asked.
    pub(super) check: Option<Key>,
    /// When it is to be asked, and not before when it may be.
    pub(super) check_at: Option<Time>,
    check_from: Time,
    check_backoff: Backoff,
    /// Why it was last refused, and when that was told.
    refusal: Option<(String, Time)>,
    /// When to dial; none while there is a connection, or when the peer dials us.
    dial_at: Option<Time>,
    /// How long dials that do not make a link are apart.
    backoff: Backoff,
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

/// The same before a peer that did not answer is asked again whether it greets.
const FIRST_CHECK_PART: u32 = 20;

/// A peer is asked no oftener whether it greets: whoever says that it is that peer sets it off.
const CHECK_DISTANCE: Duration = Duration::from_millis(10);

/// How often a peer that does not dial is asked why.
const KNOCK_EVERY: Duration = Duration::from_secs(30);

/// What goes on failing for the same reason is told as often.
const SAME_REFUSAL: Duration = Duration::from_secs(60);

impl Links {
    pub(super) fn new(config: &Config, rng: Rng) -> Links {
        let limits = &config.limits;
        let redial_max = Duration::from_millis(limits.redial_max_ms);
        let patience = Duration::from_millis(limits.link_timeout_ms) + redial_max;
        let peers = config.peers.iter().map(|(id, addr)| Peer {
            id: *id,
            addr: addr.clone(),
            link: None,
            process: (0, 0),
            knock_at: (*id < config.id).then_some(Time(0) + patience),
            greeted: None,
            dial: 0,
            greeted_at: None,
            asked: false,
            claims: Vec::new(),
            challenge: None,
            check: None,
            check_at: None,
            check_from: Time(0),
            check_backoff: Backoff::new(redial_max / FIRST_CHECK_PART, redial_max),
            refusal: None,
            // The lower id dials, so that two nodes never make two links at once.
            dial_at: (config.id < *id).then_some(Time(0)),
            backoff: Backoff::new(redial_max / FIRST_REDIAL_PART, redial_max),
            last_sent: Time(0),
            told: (Time(0), 0),
        });
        Links { me: config.id, peers: peers.collect(), patience, rng, dials: 0 }
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Peer> {
        self.peers.get(self.place(id)?)
    }

    pub(super) fn get_mut(&mut self, id: NodeId) -> Option<&mut Peer> {
        let place = self.place(id)?;
        self.peers.get_mut(place)
    }

    fn place(&self, id: NodeId) -> Option<usize> {
        self.peers.binary_search_by_key(&id, |peer| peer.id).ok()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter()
    }

    pub(super) fn any_up(&self) -> bool {
        self.peers.iter().any(|peer| peer.link.is_some())
    }

    /// A connection that was the link, or was to become it, is gone. Dials again later, if it is
    /// ours to dial.
    pub(super) fn lost(&mut self, id: NodeId, now: Time) {
        let Some(place) = self.place(id) else { return };
        let peer = &mut self.peers[place];
        if id < self.me {
            peer.knock_at = Some(now + self.patience);
            return;
        }
        peer.greeted = None;
        peer.dial_at = Some(now + peer.backoff.jittered(&mut self.rng));
        peer.backoff.failed();
    }

    /// The peer is greeted over this connection. Gives the greeting's number.
    pub(super) fn greeted(&mut self, id: NodeId, key: Key, now: Time) -> u64 {
        self.dials += 1;
        let dial = self.dials;
        if let Some(peer) = self.get_mut(id) {
            (peer.greeted, peer.dial) = (Some(key), dial);
            (peer.greeted_at, peer.asked) = (Some(now), false);
        }
        dial
    }

    /// The peer has answered the greeting. Gives the greeting's number.
    pub(super) fn welcomed(&mut self, id: NodeId) -> u64 {
        self.get_mut(id).map_or(0, |peer| {
            peer.greeted = None;
            peer.dial
        })
    }

    /// The peer asks about a greeting, and so is at work: whether it is the first time.
    pub(super) fn asked(&mut self, id: NodeId) -> bool {
        self.get_mut(id).is_some_and(|peer| !std::mem::replace(&mut peer.asked, true))
    }

    /// Whether it was greeted so lately that it may ask about a greeting that was given up.
    pub(super) fn greeted_within(&self, id: NodeId, time: Duration, now: Time) -> bool {
        let at = self.get(id).and_then(|peer| peer.greeted_at);
        at.is_some_and(|at| now - at < time)
    }

    /// Where the config has this peer.
    pub(super) fn addr(&self, id: NodeId) -> &str {
        self.get(id).map_or("", |peer| &peer.addr)
    }

    /// The peer is to be asked as soon as it may be.
    pub(super) fn check_soon(&mut self, id: NodeId) {
        if let Some(peer) = self.get_mut(id).filter(|peer| peer.check.is_none()) {
            peer.check_at = Some(peer.check_from);
        }
    }

    /// The peer is asked over this connection.
    pub(super) fn checks(&mut self, id: NodeId, key: Key) {
        if let Some(peer) = self.get_mut(id) {
            peer.check = Some(key);
        }
    }

    /// A connection says that it is this peer.
    pub(super) fn claimed(&mut self, id: NodeId, key: Key) {
        if let Some(peer) = self.get_mut(id) {
            peer.claims.push(key);
        }
    }

    /// The peer was asked, and answered or not.
    pub(super) fn checked(&mut self, id: NodeId, answered: bool, now: Time) {
        let Some(peer) = self.get_mut(id) else { return };
        peer.check = None;
        if answered {
            peer.check_backoff.succeeded();
            peer.check_from = now + CHECK_DISTANCE;
        } else {
            peer.check_from = now + peer.check_backoff.wait();
            peer.check_backoff.failed();
        }
    }

    /// Whether it is to be told why a handshake with this peer failed.
    pub(super) fn is_news(&self, id: NodeId, why: &str, now: Time) -> bool {
        let refusal = self.get(id).and_then(|peer| peer.refusal.as_ref());
        refusal.is_none_or(|(last, at)| last != why || now - *at >= SAME_REFUSAL)
    }

    /// It was told.
    pub(super) fn told(&mut self, id: NodeId, why: &str, now: Time) {
        if let Some(peer) = self.get_mut(id) {
            peer.refusal = Some((why.into(), now));
        }
    }

    /// What the peer answered was not told, or not yet.
    pub(super) fn knock_again(&mut self, id: NodeId, now: Time) {
        let patience = self.patience;
        if let Some(peer) = self.get_mut(id) {
            peer.knock_at = peer.knock_at.map(|at| at.min(now + patience));
        }
    }

    pub(super) fn up(&mut self, id: NodeId, key: Key, process: (u128, u64), now: Time) {
        if let Some(peer) = self.get_mut(id) {
            peer.link = Some(key);
            peer.process = process;
            peer.knock_at = None;
            peer.dial_at = None;
            peer.backoff.succeeded();
            peer.last_sent = now;
        }
    }

    /// A connection that was a link is gone. Whether it was the link now.
    pub(super) fn down(&mut self, id: NodeId, key: Key, now: Time) -> bool {
        let Some(peer) = self.get_mut(id).filter(|peer| peer.link == Some(key)) else {
            return false;
        };
        peer.link = None;
        let level = self.level(id, now);
        log::log!(target: "net", level, "link to node {id} is down");
        self.lost(id, now);
        true
    }

    /// A connection no longer says that it is this peer. When it was the last that did: forgets
    /// what the peer was to be asked, and gives the connection over which it is.
    pub(super) fn claim_over(&mut self, id: NodeId, key: Key) -> Option<Key> {
        let peer = self.get_mut(id)?;
        peer.claims.retain(|claim| *claim != key);
        if !peer.claims.is_empty() {
            return None;
        }
        (peer.challenge, peer.check_at) = (None, None);
        peer.check.take()
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

    /// Takes a peer that is due to be dialled, and what for.
    pub(super) fn take_due(&mut self, now: Time) -> Option<(Dial, String)> {
        for purpose in [Purpose::Link, Purpose::Verify, Purpose::Knock] {
            for peer in &mut self.peers {
                let (at, next) = match purpose {
                    Purpose::Link => (&mut peer.dial_at, None),
                    Purpose::Verify => (&mut peer.check_at, None),
                    Purpose::Knock => (&mut peer.knock_at, Some(now + KNOCK_EVERY)),
                };
                if at.is_some_and(|at| at <= now) {
                    *at = next;
                    return Some((Dial { peer: peer.id, purpose }, peer.addr.clone()));
                }
            }
        }
        None
    }

    /// When the next is due.
    pub(super) fn next_due(&self) -> Option<Time> {
        let times = |peer: &Peer| [peer.dial_at, peer.check_at, peer.knock_at];
        self.peers.iter().flat_map(times).flatten().min()
    }
}
