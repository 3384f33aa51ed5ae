//! Election of a coordinator by the Bully algorithm: the highest live node wins, by id, or by the
//! rank that a reference server gave it.
//!
//! ```text
//!  a node that misses its coordinator       higher ids            lower ids
//!     │ ── Election ────────────────────────► │
//!     │ ◄───────────────────────────── Ok ─── │ ── Election ──► still higher ids …
//!     │                                       │ (no Ok within T)
//!     │ ◄───────────────────── Coordinator ── │ ── Coordinator ──► │
//!
//!  from time to time: Check to the coordinator, which answers Alive; and from a coordinator to the
//!  ids above it, which must not be there, and take over when they are.
//! ```
//!
//! **Source.** H. García-Molina, "Elections in a Distributed Computing System", IEEE Transactions
//! on Computers C-31(1), 1982, in the form of the textbooks (ELECTION, OK, COORDINATOR) and of
//! document 000 (health checks). `T` is `election_timeout_ms`.
//!
//! **Assumes**, as the paper does: a node is up or down, and starts again without memory; a message
//! between live nodes and its answer take less than `T` together; nothing is lost, and nobody is
//! cut off.
//!
//! **Guarantees** under these: the highest live node coordinates, all live nodes know it within a
//! health check and 5 `T` of the last failure or start, and no two hold themselves coordinator but
//! while a higher one takes over: a message's way if messages are fast, and less than 2 `T`. When n
//! nodes lose their highest, an election costs at most n² − n − 1 messages (the lowest finds out),
//! and n − 1 if the second highest does, as long as messages are fast against `T`: one that is
//! nearly late can set off another election.
//!
//! **Without them** elections still come to the same end once messages pass again, but meanwhile
//! there can be two coordinators: one in each part of a network that is cut in two, or the one that
//! was only slow beside its successor (the property `one_coordinator`). A coordinator by Bully is a
//! hint; whoever relies on it fences with epoch and id. Coming together again needs health checks
//! on every node, and links that carry both ways. Peers are trusted: one that lies can keep others
//! electing.
//!
//! **Departs from the paper** in what real networks need:
//!
//! - A reign has an epoch: the Lamport time at which it began. So it is above the epoch of every
//!   coordinator that its node can have heard of, and an announcement of an earlier reign, late or
//!   replayed, is ignored; and so is one of an epoch that no clock has reached. Reigns that know
//!   nothing of each other, in parts that are cut off or after all nodes lost their clocks (no data
//!   directory), are ordered by epoch, then id, and by nothing in time.
//! - An announcement is ignored while a node above the announcer is known to live: it was heard
//!   from within `T` over a link that is up.
//! - A node that starts waits up to `T` for an announcement, and the highest one for all its links,
//!   so that nodes that start together elect once.
//! - A coordinator checks the ids above it, so that parts that were cut off from each other find
//!   together again.

mod message;
mod mutants;
mod shown;

pub use self::message::{Message, Reply, Request};
#[cfg(feature = "mutants")]
pub use self::mutants::Mutant;

#[cfg(not(feature = "mutants"))]
use self::mutants::Mutant;
use self::mutants::Planted;

use crate::core::{
    Caller, ConfigError, Context, Counter, Env, Epoch, Fact, FactKind, LamportTime, Never, NodeId,
    Protocol, Time,
};
use crate::facts::{Coordinator, Rank};
use ::core::fmt;
use ::core::time::Duration;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The table `[protocols.bully]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `T`: how long to wait for an answer, in milliseconds. Above the longest time that a message
    /// and its answer can take.
    pub election_timeout_ms: u64,
    /// How often the coordinator's health is checked, in milliseconds; 0 for never.
    pub health_check_ms: u64,
    /// What makes a node higher than another.
    pub by: By,
    /// The bug to plant.
    #[cfg(feature = "mutants")]
    pub mutant: Option<Mutant>,
}

/// What makes a node higher than another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Its id: all nodes of the config take part.
    #[default]
    Id,
    /// Its rank, which another protocol of this node learns (the fact `Rank`): the nodes that have
    /// one take part.
    Rank,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            election_timeout_ms: 2_000,
            health_check_ms: 1_000,
            by: By::Id,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }
}

/// An hour: longer waits are a typing error.
const MAX_WAIT_MS: u64 = 3_600_000;

/// Lines about what is void come at most so often; `ignored` in the status counts all.
const QUIET: Duration = Duration::from_secs(1);

/// One node's part in elections.
pub struct Bully {
    me: NodeId,
    by: By,
    /// How high this node stands; none before it has a rank, and then it takes no part.
    standing: Option<u32>,
    timeout: Duration,
    health_check: Option<Duration>,
    /// The other nodes, in ascending order of standing and id.
    peers: Vec<Peer>,
    phase: Phase,
    /// Who coordinates, as far as this node knows.
    reign: Option<Reign>,
    /// How many elections it has held.
    elections: u64,
    /// When something void was last told of.
    told: Option<Time>,
    planted: Planted,
}

struct Peer {
    /// How high it stands; none for one that takes no part.
    standing: Option<u32>,
    id: NodeId,
    is_linked: bool,
    /// When something last came from it.
    heard: Option<Time>,
}

/// A coordinator's time: ordered, the later one is larger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Reign {
    epoch: Epoch,
    id: NodeId,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    /// Just started: somebody may announce itself.
    Starting,
    /// No election is under way here.
    Normal,
    /// Asked the higher ids.
    Electing,
    /// One of them answered.
    Waiting,
}

/// What a node waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// An announcement, after the start.
    Start,
    /// An OK to its Election.
    Answer,
    /// The announcement of whoever answered OK.
    Announcement,
    /// The next health check.
    Check,
    /// The answer to a health check.
    Alive,
}

impl Protocol for Bully {
    const NAME: &'static str = "bully";
    const PUBLISHES: &'static [FactKind] = &[FactKind::of::<Coordinator>()];
    type Config = Config;
    type Message<'a> = Message;
    type Record<'a> = Never;
    type Timer = Timer;
    type Request<'a> = Request;
    type Reply<'a> = Reply;

    fn new(config: Config, env: &Env) -> Result<Bully, ConfigError> {
        let wrong = |key, rule: &str| Err(ConfigError { key, rule: String::from(rule) });
        if !(1..=MAX_WAIT_MS).contains(&config.election_timeout_ms) {
            return wrong("election_timeout_ms", "it must be 1 to 3600000 (an hour)");
        }
        if config.health_check_ms > MAX_WAIT_MS {
            return wrong("health_check_ms", "it must be at most 3600000 (an hour), 0 for never");
        }
        let standing = |id: NodeId| (config.by == By::Id).then_some(id.0);
        let peer =
            |id: &NodeId| Peer { standing: standing(*id), id: *id, is_linked: false, heard: None };
        Ok(Bully {
            me: env.id,
            by: config.by,
            standing: standing(env.id),
            timeout: Duration::from_millis(config.election_timeout_ms),
            health_check: (config.health_check_ms > 0)
                .then(|| Duration::from_millis(config.health_check_ms)),
            peers: env.peers.iter().map(peer).collect(),
            phase: Phase::Starting,
            reign: None,
            elections: 0,
            told: None,
            planted: config.planted(),
        })
    }

    fn needs(&self) -> &'static [FactKind] {
        match self.by {
            By::Id => &[],
            By::Rank => const { &[FactKind::of::<Rank>()] },
        }
    }

    fn on_start(&mut self, cx: &mut Context<'_, Self>) {
        if self.by == By::Id && self.peers.is_empty() {
            return self.take_over(cx);
        }
        if self.standing.is_some() {
            cx.set_timer(Timer::Start, self.timeout);
        }
    }

    fn on_fact(&mut self, fact: &Fact, cx: &mut Context<'_, Self>) {
        if self.by == By::Rank
            && let Some(Rank { id, rank }) = fact.read()
        {
            self.on_rank(id, rank, cx);
        }
    }

    fn on_message(&mut self, from: NodeId, message: Message, cx: &mut Context<'_, Self>) {
        if message.epoch().is_some_and(|epoch| epoch.0 >= cx.lamport().0) {
            // The frame's own Lamport value is above every epoch that its sender can know of.
            return self.ignore(format_args!("node {from} speaks of an epoch to come"), cx);
        }
        let now = cx.now();
        match self.peer(from) {
            Some(peer) if peer.standing.is_some() => peer.heard = Some(now),
            // It knows of its rank before this node does, and will say it again.
            _ => return cx.count(Counter::Stale),
        }
        if self.standing.is_none() {
            return cx.count(Counter::Stale);
        }
        match message {
            Message::Election { epoch } => self.on_election(from, epoch, cx),
            Message::Ok => self.on_ok(from, cx),
            Message::Coordinator { epoch } => self.on_coordinator(Reign { epoch, id: from }, cx),
            Message::Check { coordinator, epoch } => {
                self.on_check(from, Reign { epoch, id: coordinator }, cx);
            }
            Message::Alive { coordinates } => self.on_alive(from, coordinates, cx),
        }
    }

    fn on_timer(&mut self, timer: Timer, cx: &mut Context<'_, Self>) {
        match timer {
            Timer::Start => self.start_election(cx),
            Timer::Answer => self.take_over(cx),
            Timer::Announcement => {
                self.say(cx, format_args!("no announcement came: asks again"));
                self.phase = Phase::Normal;
                self.start_election(cx);
            }
            Timer::Check => self.check(cx),
            Timer::Alive => {
                if let Some(Reign { id, .. }) = self.reign {
                    self.say(cx, format_args!("coordinator {id} does not answer"));
                }
                self.start_election(cx);
            }
        }
    }

    fn on_request(&mut self, caller: Caller, request: Request, cx: &mut Context<'_, Self>) {
        match request {
            Request::Status {} => {
                let status = Reply::Status {
                    node: self.me,
                    coordinator: self.reign.map(|reign| reign.id),
                    epoch: self.epoch(),
                    electing: matches!(self.phase, Phase::Electing | Phase::Waiting),
                    elections: self.elections,
                    ignored: cx.counters().value(Counter::Stale),
                    clock: cx.lamport(),
                };
                cx.reply(caller.request, &status);
            }
        }
    }

    fn on_link(&mut self, id: NodeId, up: bool, cx: &mut Context<'_, Self>) {
        let Some(peer) = self.peer(id) else { return };
        peer.is_linked = up;
        // A link that breaks may be made again: health checks say whether the node is gone.
        if up {
            self.meet(id, cx);
        }
    }

    fn digest(&self) -> u64 {
        let Reign { epoch, id } = self.reign.unwrap_or(Reign { epoch: Epoch(0), id: NodeId(0) });
        epoch.0.rotate_left(32) ^ u64::from(id.0) << 2 ^ self.phase as u64
    }

    fn view(&self) -> impl Serialize {
        self.seen()
    }

    fn brief(message: &Message, out: &mut dyn fmt::Write) -> fmt::Result {
        shown::message(message, out)
    }

    fn brief_request(request: &Request, out: &mut dyn fmt::Write) -> fmt::Result {
        shown::request(request, out)
    }

    fn brief_reply(reply: &Reply, out: &mut dyn fmt::Write) -> fmt::Result {
        shown::reply(reply, out)
    }

    fn check_invariants(&self) {
        if let Some(reign) = self.reign {
            assert!(!self.is_below_me(reign.id), "node {} follows a lower one", self.me);
        }
        let asks = matches!(self.phase, Phase::Electing | Phase::Waiting);
        assert!(!asks || !self.higher().is_empty(), "node {} has nobody to ask", self.me);
    }
}

impl Bully {
    /// Whom it holds coordinator, in which reign, though it may be looking for another.
    pub fn holds(&self) -> Option<Coordinator> {
        self.reign.map(|Reign { epoch, id }| Coordinator { id, epoch })
    }

    fn place(&self, id: NodeId) -> Option<usize> {
        match self.by {
            By::Id => self.peers.binary_search_by_key(&id, |peer| peer.id).ok(),
            By::Rank => self.peers.iter().position(|peer| peer.id == id),
        }
    }

    fn peer(&mut self, id: NodeId) -> Option<&mut Peer> {
        let place = self.place(id)?;
        self.peers.get_mut(place)
    }

    fn standing_of(&self, id: NodeId) -> Option<u32> {
        if id == self.me {
            return self.standing;
        }
        self.peers[self.place(id)?].standing
    }

    fn is_above_me(&self, id: NodeId) -> bool {
        self.standing_of(id) > self.standing
    }

    fn is_below_me(&self, id: NodeId) -> bool {
        self.standing_of(id) < self.standing
    }

    /// Nodes without a standing come first.
    fn higher(&self) -> &[Peer] {
        let standing = self.standing;
        &self.peers[self.peers.partition_point(|peer| peer.standing <= standing)..]
    }

    fn lower(&self) -> &[Peer] {
        let standing = self.standing;
        let some = self.peers.partition_point(|peer| peer.standing.is_none());
        let me = self.peers.partition_point(|peer| peer.standing < standing);
        &self.peers[some.min(me)..me]
    }

    /// The reference server said where a node stands.
    fn on_rank(&mut self, id: NodeId, rank: u32, cx: &mut Context<'_, Self>) {
        if id == self.me {
            match self.standing.replace(rank) {
                None => cx.set_timer(Timer::Start, self.timeout),
                Some(before) if before != rank => self.stand_anew(cx),
                Some(_) => {}
            }
            return;
        }
        let Some(peer) = self.peer(id) else { return };
        if peer.standing.replace(rank) == Some(rank) {
            return;
        }
        let is_linked = peer.is_linked;
        self.peers.sort_by_key(|peer| (peer.standing, peer.id));
        self.stand_anew(cx);
        if is_linked {
            self.meet(id, cx);
        }
        if self.coordinates() {
            // Perhaps it is the first above this one.
            self.check_later(cx);
        }
    }

    /// Somebody stands elsewhere than before. Of a node that had a rank only a reference server
    /// says so that began anew, or lies: whom this node follows, or asked, may be below it now.
    fn stand_anew(&mut self, cx: &mut Context<'_, Self>) {
        let follows_lower = self.reign.is_some_and(|reign| self.is_below_me(reign.id));
        if follows_lower {
            self.reign = None;
        }
        let asks = matches!(self.phase, Phase::Electing | Phase::Waiting);
        let asks_nobody = asks && self.higher().is_empty();
        if asks_nobody || (follows_lower && !asks) {
            cx.cancel_timer(Timer::Answer);
            cx.cancel_timer(Timer::Announcement);
            self.phase = Phase::Normal;
            self.start_election(cx);
        }
    }

    /// Another node is within reach.
    fn meet(&mut self, id: NodeId, cx: &mut Context<'_, Self>) {
        if self.standing_of(id).is_none() || self.standing.is_none() {
            return;
        }
        if self.coordinates() {
            self.greet(id, cx);
        } else if self.phase == Phase::Electing && self.is_above_me(id) {
            // It could not be asked before, and may announce itself any moment.
            cx.send(id, &Message::Election { epoch: self.epoch() });
            cx.set_timer(Timer::Answer, self.timeout);
        } else if self.phase == Phase::Starting
            && self.by == By::Id
            && self.higher().is_empty()
            && self.peers.iter().all(|peer| peer.is_linked)
        {
            self.start_election(cx);
        }
    }

    /// The latest reign's epoch; 0 before the first.
    fn epoch(&self) -> Epoch {
        self.reign.map_or(Epoch(0), |reign| reign.epoch)
    }

    fn coordinates(&self) -> bool {
        self.phase == Phase::Normal && self.reign.is_some_and(|reign| reign.id == self.me)
    }

    /// Asks the higher ids, unless an election is under way.
    fn start_election(&mut self, cx: &mut Context<'_, Self>) {
        if matches!(self.phase, Phase::Electing | Phase::Waiting) {
            return;
        }
        for timer in [Timer::Start, Timer::Check, Timer::Alive] {
            cx.cancel_timer(timer);
        }
        self.elections += 1;
        if self.higher().is_empty() {
            return self.take_over(cx);
        }
        self.phase = Phase::Electing;
        let to = self.higher().iter().map(|peer| peer.id);
        cx.multicast(to, &Message::Election { epoch: self.epoch() });
        self.say(cx, format_args!("asks {} (ELECTION)", List::all(self.higher())));
        cx.set_timer(Timer::Answer, self.timeout);
    }

    /// Nobody above is there: begins a reign, and tells everybody below.
    fn take_over(&mut self, cx: &mut Context<'_, Self>) {
        let mut epoch = Epoch(cx.local_event().0);
        if self.planted.has(Mutant::EpochKept) && self.reign.is_some() {
            epoch = self.epoch();
        }
        let reign = Reign { epoch, id: self.me };
        self.settle(reign, cx);
        cx.multicast(self.lower().iter().map(|peer| peer.id), &Message::Coordinator { epoch });
        self.say(
            cx,
            format_args!(
                "I am the coordinator, and tell {} (COORDINATOR)",
                List::linked(self.lower())
            ),
        );
        log::info!(target: "bully", "this node is the coordinator, in epoch {epoch}");
    }

    /// The election is over.
    fn settle(&mut self, reign: Reign, cx: &mut Context<'_, Self>) {
        for timer in [Timer::Start, Timer::Answer, Timer::Announcement, Timer::Check, Timer::Alive]
        {
            cx.cancel_timer(timer);
        }
        self.phase = Phase::Normal;
        let is_new = self.reign.replace(reign) != Some(reign);
        self.check_later(cx);
        if is_new {
            cx.publish(Coordinator { id: reign.id, epoch: reign.epoch });
        }
    }

    /// A lower node asks.
    fn on_election(&mut self, from: NodeId, epoch: Epoch, cx: &mut Context<'_, Self>) {
        if self.is_above_me(from) {
            return cx.count(Counter::Stale);
        }
        cx.send(from, &Message::Ok);
        self.say(cx, format_args!("is asked by {from}, answers OK"));
        if self.coordinates() {
            // What it knows of is a reign, perhaps this one, and none of its own.
            self.assert_reign(Reign { epoch, id: self.me }, &[from], cx);
        } else {
            self.start_election(cx);
        }
    }

    /// A higher node is there.
    fn on_ok(&mut self, from: NodeId, cx: &mut Context<'_, Self>) {
        if self.phase == Phase::Electing && self.is_above_me(from) {
            self.phase = Phase::Waiting;
            cx.cancel_timer(Timer::Answer);
            // It may in turn wait for one above it, and that one announces itself after T.
            cx.set_timer(Timer::Announcement, self.timeout * 2);
            self.say(cx, format_args!("{from} answers OK: waits for its announcement"));
        }
    }

    fn on_coordinator(&mut self, reign: Reign, cx: &mut Context<'_, Self>) {
        if self.is_below_me(reign.id) {
            // It does not know that this node is there.
            return self.challenge(reign, cx);
        }
        let is_older = self.reign.is_some_and(|current| reign < current);
        if is_older && !self.planted.has(Mutant::OlderTaken) {
            if self.coordinates() {
                // Two elections ended at once: the higher one wins, in a reign after both.
                self.greet(reign.id, cx);
            }
            return self.refuse(reign, "a later one is known", cx);
        }
        if let Some(live) = self.live_above(reign.id, cx.now()) {
            let why = format_args!("node {live} above it is alive");
            return self.refuse(reign, why, cx);
        }
        if self.reign != Some(reign) || self.phase != Phase::Normal {
            self.say(cx, format_args!("{} is the coordinator", reign.id));
            log::info!(target: "bully", "node {} coordinates, in epoch {}", reign.id, reign.epoch);
        }
        self.settle(reign, cx);
    }

    /// A node that was heard from a moment ago, over a link that is still there.
    fn live_above(&self, id: NodeId, now: Time) -> Option<NodeId> {
        let standing = self.standing_of(id);
        let is_live = |peer: &&Peer| {
            peer.standing > standing
                && peer.is_linked
                && peer.heard.is_some_and(|heard| {
                    now - heard < self.timeout || self.planted.has(Mutant::HeardForEver)
                })
        };
        if self.planted.has(Mutant::HigherForgotten) {
            return None;
        }
        self.peers.iter().find(is_live).map(|peer| peer.id)
    }

    fn refuse(&mut self, reign: Reign, why: impl fmt::Display, cx: &mut Context<'_, Self>) {
        let Reign { epoch, id } = reign;
        self.ignore(format_args!("the announcement of node {id}, epoch {epoch}: {why}"), cx);
    }

    /// Counts what is void, and tells of it, though not of each in a flood.
    fn ignore(&mut self, what: fmt::Arguments<'_>, cx: &mut Context<'_, Self>) {
        cx.count(Counter::Stale);
        let now = cx.now();
        if self.told.is_none_or(|told| now - told >= QUIET) {
            self.told = Some(now);
            log::warn!(target: "bully", "{}: {what}", Counter::Stale.name());
        }
    }

    /// A lower node holds itself coordinator.
    fn challenge(&mut self, theirs: Reign, cx: &mut Context<'_, Self>) {
        if self.coordinates() {
            let lower: Vec<NodeId> = self.lower().iter().map(|peer| peer.id).collect();
            self.assert_reign(theirs, &lower, cx);
        } else if self.phase == Phase::Starting || self.reign.is_none_or(|ours| ours < theirs) {
            self.start_election(cx);
        }
        // Otherwise it follows a higher one, whom the lower one will find too.
    }

    /// Tells `to` who coordinates: this node, and if they know a later reign, in a new one, which
    /// everybody must hear of.
    fn assert_reign(&mut self, theirs: Reign, to: &[NodeId], cx: &mut Context<'_, Self>) {
        // By rank, the lower one can have the higher id: of two reigns of one epoch its own is the
        // later.
        if self.reign.is_some_and(|ours| ours >= theirs) {
            let epoch = self.epoch();
            cx.multicast(to.iter().copied(), &Message::Coordinator { epoch });
        } else if self.planted.has(Mutant::AnnouncedOnly) {
            let epoch = Epoch(cx.local_event().0);
            cx.multicast(to.iter().copied(), &Message::Coordinator { epoch });
        } else {
            self.take_over(cx);
        }
    }

    /// A link to a peer is there, and this node coordinates.
    fn greet(&self, peer: NodeId, cx: &mut Context<'_, Self>) {
        let epoch = self.epoch();
        if self.is_below_me(peer) {
            cx.send(peer, &Message::Coordinator { epoch });
            self.say(cx, format_args!("tells {peer} too (COORDINATOR)"));
        } else {
            cx.send(peer, &Message::Check { coordinator: self.me, epoch });
        }
    }

    /// Is the coordinator there, or, at the coordinator, is one above it there again?
    fn check(&mut self, cx: &mut Context<'_, Self>) {
        let Some(Reign { epoch, id: coordinator }) = self.reign else { return };
        let check = Message::Check { coordinator, epoch };
        if coordinator == self.me {
            if self.planted.has(Mutant::HigherUnchecked) {
                return self.check_later(cx);
            }
            cx.multicast(self.higher().iter().map(|peer| peer.id), &check);
            return self.check_later(cx);
        }
        cx.send(coordinator, &check);
        cx.set_timer(Timer::Alive, self.timeout);
    }

    fn check_later(&self, cx: &mut Context<'_, Self>) {
        // The highest of all has nobody to check.
        let has_nobody = self.coordinates() && self.higher().is_empty();
        if let Some(every) = self.health_check.filter(|_| !has_nobody) {
            cx.set_timer(Timer::Check, every);
        }
    }

    fn on_check(&mut self, from: NodeId, theirs: Reign, cx: &mut Context<'_, Self>) {
        if theirs.id != self.me {
            return if theirs.id == from && self.is_below_me(from) {
                self.challenge(theirs, cx);
            } else {
                cx.count(Counter::Stale);
            };
        }
        if self.coordinates() {
            if self.epoch() == theirs.epoch || self.planted.has(Mutant::AnyEpochAlive) {
                cx.send(from, &Message::Alive { coordinates: true });
            } else {
                self.assert_reign(theirs, &[from], cx);
            }
            return;
        }
        match self.phase {
            // It was the coordinator before it started anew.
            Phase::Starting => self.start_election(cx),
            Phase::Normal => cx.send(from, &Message::Alive { coordinates: false }),
            // Its election will tell.
            Phase::Electing | Phase::Waiting => {}
        }
    }

    fn on_alive(&mut self, from: NodeId, coordinates: bool, cx: &mut Context<'_, Self>) {
        let is_ours = self.reign.is_some_and(|reign| reign.id == from);
        if self.phase != Phase::Normal || !is_ours {
            return;
        }
        cx.cancel_timer(Timer::Alive);
        if coordinates {
            self.check_later(cx);
        } else {
            self.say(cx, format_args!("{from} coordinates no more"));
            self.start_election(cx);
        }
    }

    /// A console line behind the node's time in Lamport's total order: clock and process.
    fn say(&self, cx: &mut Context<'_, Self>, line: fmt::Arguments<'_>) {
        let (LamportTime(clock), process) = (cx.lamport(), self.me);
        cx.print(format_args!("[{clock}.{process}] {line}"));
    }
}

/// The ids of some nodes, the first of many.
struct List<'a> {
    peers: &'a [Peer],
    /// Leaves out those without a link.
    only_linked: bool,
}

/// So many are listed one by one.
const MAX_LISTED: usize = 10;

impl List<'_> {
    fn all(peers: &[Peer]) -> List<'_> {
        List { peers, only_linked: false }
    }

    fn linked(peers: &[Peer]) -> List<'_> {
        List { peers, only_linked: true }
    }
}

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = || self.peers.iter().filter(|peer| peer.is_linked || !self.only_linked);
        for (place, peer) in listed().take(MAX_LISTED).enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{}", peer.id)?;
        }
        match listed().count() {
            0 => f.write_str("nobody"),
            many if many > MAX_LISTED => write!(f, " and {} more", many - MAX_LISTED),
            _ => Ok(()),
        }
    }
}
