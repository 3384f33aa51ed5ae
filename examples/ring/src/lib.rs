//! `ring`: mutual exclusion by a token that goes round.
//!
//! ```text
//!          Token                     no token for patience_ms:
//!    1 ─────────────► 2
//!    ▲                │              3 ── Ask e ──► 1, 2, 4     a new token has epoch e
//!    │                ▼              3 ◄─ Grant e ── all        none has it, all fence with e
//!    4 ◄───────────── 3              3 ◄─ Deny ───── one        it has it, or knows a later epoch
//! ```
//!
//! Whoever has the token is inside the critical section, for `hold_ms`, and passes it on to the
//! next node by id that it has a link to (Le Lann, "Distributed Systems - Towards a Formal
//! Approach", IFIP 1977). A token is lost with whoever had it, or with the link that it was on.
//!
//! A lost token is made anew, in one of two ways:
//!
//! - `timeout`: whoever has not seen it for `patience_ms` makes another. That is right as long as
//!   no message and no node takes longer. A token that was only late makes two.
//! - `consent`: whoever has not seen it asks all others, and makes another when every one of them
//!   says that it has none and will take none of an earlier epoch. That is safe however long
//!   anything takes. It needs all nodes: while one is down or cut off, nobody makes a token.
//!
//! Le Lann lets nodes that time out compete with control messages and keeps one winner, under his
//! assumption that messages and nodes are fast enough. Consent does without that assumption. What
//! it needs beside is a memory: a promise is on the disk before it is said, so nodes have a data
//! directory.

pub mod study;

use node_core::{
    Caller, ConfigError, Context, Corrupt, Env, FactKind, FactType, Never, NodeId, Protocol,
    RecordSink,
};
use node_lab::registry::Registry;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// The protocol and its study, and nothing else.
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.register_study::<study::RingStudy>();
    registry
}

/// The table `[protocols.ring]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// For how long a node stays inside, in milliseconds.
    pub hold_ms: u64,
    /// After how long without the token a node takes it to be lost, in milliseconds.
    pub patience_ms: u64,
    /// What it does then.
    pub regenerate: Regenerate,
}

/// How a lost token is made anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Regenerate {
    /// At once, by whoever misses it.
    Timeout,
    /// When all others consent.
    Consent,
}

/// Names a token: later ones are greater, and no two nodes make the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Epoch {
    number: u64,
    /// Who made it; 0 for none yet.
    by: u32,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.number, self.by)
    }
}

/// What goes between nodes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Message {
    /// The token; `hops` is how often it was passed on, so that a copy is known for one.
    Token {
        /// Which.
        epoch: Epoch,
        /// How often it was passed on.
        hops: u64,
    },
    /// May I make this one?
    Ask(Epoch),
    /// I have none, and take none before that.
    Grant(Epoch),
    /// No: I have the token, or know of this epoch.
    Deny(Epoch),
}

/// A promise to take no token before this.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Promise(Epoch);

/// What a node waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// The end of its stay.
    Leave,
    /// The token has been away for too long.
    Missing,
}

/// That a node enters or leaves the critical section.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Inside {
    /// Whether it enters.
    pub enters: bool,
    /// With which token.
    pub epoch: Epoch,
}

impl FactType for Inside {
    const NAME: &'static str = "Inside";
}

/// One node of the ring.
pub struct Ring {
    config: Config,
    me: NodeId,
    /// All others, in ascending order.
    peers: Vec<NodeId>,
    /// Those that there is a link to.
    linked: BTreeSet<NodeId>,
    /// The latest token that it knows of: it takes none before.
    epoch: Epoch,
    /// How often that was passed on when it was here last; none when it never was.
    hops: Option<u64>,
    /// Whether it has the token.
    holds: bool,
    /// Who has consented to the token that it wants to make; none when it wants to make none.
    grants: Option<BTreeSet<NodeId>>,
}

impl Protocol for Ring {
    const NAME: &'static str = "ring";
    const PUBLISHES: &'static [FactKind] = &[FactKind::of::<Inside>()];
    type Config = Config;
    type Message<'a> = Message;
    type Record<'a> = Promise;
    type Timer = Timer;
    type Request<'a> = Never;
    type Reply<'a> = Never;

    fn new(config: Config, env: &Env) -> Result<Self, ConfigError> {
        if config.hold_ms == 0 {
            return Err(ConfigError { key: "hold_ms", rule: "it must be at least 1".into() });
        }
        if config.patience_ms <= config.hold_ms {
            let rule = "it must be longer than hold_ms: a round takes as long for each node";
            return Err(ConfigError { key: "patience_ms", rule: rule.into() });
        }
        Ok(Ring {
            config,
            me: env.id,
            peers: env.peers.clone(),
            linked: BTreeSet::new(),
            epoch: Epoch::default(),
            hops: None,
            holds: false,
            grants: None,
        })
    }

    fn persists(&self) -> bool {
        true
    }

    fn on_recover(&mut self, Promise(epoch): Promise) -> Result<(), Corrupt> {
        self.epoch = self.epoch.max(epoch);
        Ok(())
    }

    fn snapshot(&self, sink: &mut RecordSink<'_>) {
        sink.record(&Promise(self.epoch));
    }

    /// The first token is made by the node with the lowest id, when it starts for the first time.
    fn on_start(&mut self, cx: &mut Context<'_, Self>) {
        self.miss(cx);
        let is_lowest = self.peers.iter().all(|peer| self.me < *peer);
        if is_lowest && self.epoch == Epoch::default() {
            self.make(self.next_epoch(), cx);
        }
    }

    fn on_message(&mut self, from: NodeId, message: Message, cx: &mut Context<'_, Self>) {
        match message {
            Message::Token { epoch, hops } => self.on_token(epoch, hops, cx),
            Message::Ask(epoch) => self.on_ask(from, epoch, cx),
            Message::Grant(epoch) => self.on_grant(from, epoch, cx),
            Message::Deny(epoch) => {
                if self.grants.take().is_some() {
                    self.learn(epoch, cx);
                    self.miss(cx);
                }
            }
        }
    }

    fn on_timer(&mut self, timer: Timer, cx: &mut Context<'_, Self>) {
        match (timer, self.config.regenerate) {
            (Timer::Leave, _) => self.pass_on(cx),
            (Timer::Missing, Regenerate::Timeout) => self.make(self.next_epoch(), cx),
            (Timer::Missing, Regenerate::Consent) => {
                let epoch = self.next_epoch();
                self.learn(epoch, cx);
                self.grants = Some(BTreeSet::new());
                cx.broadcast(&Message::Ask(epoch));
                self.miss(cx);
            }
        }
    }

    fn on_request(&mut self, _: Caller, request: Never, _: &mut Context<'_, Self>) {
        match request {}
    }

    fn on_link(&mut self, peer: NodeId, up: bool, _: &mut Context<'_, Self>) {
        if up {
            self.linked.insert(peer);
        } else {
            self.linked.remove(&peer);
        }
    }

    /// What a trace shows of a node, whenever it has changed.
    fn view(&self) -> impl Serialize {
        View { inside: self.holds, epoch: self.epoch.to_string() }
    }

    /// What stands at an arrow.
    fn brief(message: &Message, out: &mut dyn fmt::Write) -> fmt::Result {
        match message {
            Message::Token { epoch, hops } => write!(out, "TOKEN {epoch} hop {hops}"),
            Message::Ask(epoch) => write!(out, "ASK {epoch}"),
            Message::Grant(epoch) => write!(out, "GRANT {epoch}"),
            Message::Deny(epoch) => write!(out, "DENY {epoch}"),
        }
    }

    fn brief_record(Promise(epoch): &Promise, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "PROMISE {epoch}")
    }
}

/// See [`Ring::view`].
#[derive(Serialize)]
struct View {
    inside: bool,
    epoch: String,
}

impl Ring {
    fn next_epoch(&self) -> Epoch {
        Epoch { number: self.epoch.number + 1, by: self.me.0 }
    }

    /// Keeps the latest epoch that it heard of, across restarts too.
    fn learn(&mut self, epoch: Epoch, cx: &mut Context<'_, Self>) {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.hops = None;
            cx.persist(&Promise(epoch));
        }
    }

    /// Waits for the token. Lower ids lose patience first, so that not all do at once.
    fn miss(&mut self, cx: &mut Context<'_, Self>) {
        let before = self.peers.iter().filter(|peer| **peer < self.me).count() as u64;
        let patience = self.config.patience_ms + before * self.config.hold_ms;
        cx.set_timer(Timer::Missing, Duration::from_millis(patience));
    }

    fn make(&mut self, epoch: Epoch, cx: &mut Context<'_, Self>) {
        self.grants = None;
        self.learn(epoch, cx);
        cx.note(format_args!("makes token {epoch}"));
        self.enter(epoch, 0, cx);
    }

    fn enter(&mut self, epoch: Epoch, hops: u64, cx: &mut Context<'_, Self>) {
        (self.holds, self.hops, self.grants) = (true, Some(hops), None);
        cx.cancel_timer(Timer::Missing);
        cx.set_timer(Timer::Leave, Duration::from_millis(self.config.hold_ms));
        cx.publish(Inside { enters: true, epoch });
    }

    /// Leaves, and gives the token to the next node; without one in reach it comes back in at once.
    fn pass_on(&mut self, cx: &mut Context<'_, Self>) {
        let (epoch, hops) = (self.epoch, self.hops.unwrap_or_default());
        self.holds = false;
        cx.publish(Inside { enters: false, epoch });
        let above = self.linked.iter().find(|peer| **peer > self.me);
        match above.or(self.linked.iter().next()).copied() {
            Some(next) => {
                cx.send(next, &Message::Token { epoch, hops: hops + 1 });
                self.miss(cx);
            }
            None => self.enter(epoch, hops, cx),
        }
    }

    fn on_token(&mut self, epoch: Epoch, hops: u64, cx: &mut Context<'_, Self>) {
        // A copy of a token is none: it is no later than what was here already.
        let is_copy = epoch == self.epoch && self.hops.is_some_and(|seen| hops <= seen);
        let is_fenced = self.config.regenerate == Regenerate::Consent && epoch < self.epoch;
        if self.holds || is_copy || is_fenced {
            cx.note(format_args!("drops token {epoch}, hop {hops}"));
            return;
        }
        match self.config.regenerate {
            Regenerate::Timeout => self.epoch = epoch,
            Regenerate::Consent => self.learn(epoch, cx),
        }
        self.enter(epoch, hops, cx);
    }

    fn on_ask(&mut self, from: NodeId, epoch: Epoch, cx: &mut Context<'_, Self>) {
        if self.holds || epoch < self.epoch {
            cx.send(from, &Message::Deny(self.epoch));
            return;
        }
        // Its own attempt is over: it has just promised to take no such token.
        self.grants = None;
        self.learn(epoch, cx);
        cx.send(from, &Message::Grant(epoch));
        self.miss(cx);
    }

    fn on_grant(&mut self, from: NodeId, epoch: Epoch, cx: &mut Context<'_, Self>) {
        let Some(grants) = &mut self.grants else { return };
        if epoch == self.epoch {
            grants.insert(from);
            if grants.len() == self.peers.len() {
                self.make(epoch, cx);
            }
        }
    }
}
