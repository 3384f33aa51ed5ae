//! Who is there: a reference server gives servers their ranks, and lists those that it hears from.
//!
//! ```text
//!  member                          reference server                 JSON client
//!    │ ── Join (name) ──────────────► │ the name's rank, the next one │ ◄── rank, list, heartbeat
//!    │ ◄──────────────── Members ──── │ if it had none; durable       │
//!    │ ── Heartbeat ────────────────► │
//!    │                                │ no heartbeat for timeout_ms:
//!    │                                │ off the list
//! ```
//!
//! `Members` goes to a node that joins, to all listed nodes, ten times a second at most, when a
//! node is new on the list, and to one whose heartbeat says that it has another list. It has nodes'
//! ranks alone: names that clients bring over JSON are in `list` only.
//!
//! **Source.** Document 002: services `rank`, `list` and `heartbeat`, a heartbeat every 5 s, and 30
//! s without one.
//!
//! **Guarantees.** A name has one rank for ever, across restarts of either side, and a rank one
//! name: ranks are durable before anybody hears of them. A server that dies is off the list between
//! `timeout_ms` − `heartbeat_ms` and `timeout_ms` after its death, give or take a message's delay:
//! its last heartbeat may be lost with it; one that is paused for less stays on it. Who comes back
//! has its rank, and is listed again at once. A reference server that starts lists those that it
//! hears from again. One that was held up heard nobody meanwhile: its timer is late then, and
//! everybody has as much more time, but for a fifteenth of `timeout_ms`.
//!
//! **Assumes** one reference server, which comes back with its data directory. A failure detector
//! by timeouts is not more than that: who is slow is taken for dead, and who is dead for alive for
//! a while. Nodes are who their links say; on the JSON gateway a name is taken as it comes. Ranks
//! are for ever, so 10,000 names that no node has get one; nodes get theirs all the same.
//!
//! A member publishes the ranks of all listed nodes, its own among them (the fact `Rank`), as they
//! become known. A node that leaves the list keeps its rank: whether it lives is for others to find
//! out. The reference server publishes who comes and goes (the fact `Listed`).

mod member;
mod message;
mod mutants;
mod reference;
mod shown;

pub use self::message::{Listed, Member, Message, Record, Reply, Request};
#[cfg(feature = "mutants")]
pub use self::mutants::Mutant;

use self::member::Follower;
use self::message::fingerprint;
#[cfg(not(feature = "mutants"))]
use self::mutants::Mutant;
use self::mutants::Planted;
use self::reference::Reference;
use crate::core::{
    Caller, ConfigError, Context, Corrupt, Env, FactKind, NodeId, Protocol, RecordSink,
};
use crate::facts::{self, Rank};
use ::core::fmt;
use ::core::time::Duration;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// The table `[protocols.membership]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What this node is.
    pub role: Role,
    /// A member's name.
    #[serde(default)]
    pub name: String,
    /// The id of a member's reference server.
    #[serde(default)]
    pub reference: u32,
    /// How often a member says that it is there, in milliseconds.
    #[serde(default = "default_heartbeat_ms")]
    pub heartbeat_ms: u64,
    /// How long the reference server lists a server that it does not hear from, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// The bug to plant.
    #[cfg(feature = "mutants")]
    #[serde(default)]
    pub mutant: Option<Mutant>,
}

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Gives out ranks, and keeps the list.
    Reference,
    /// A server.
    Member,
}

fn default_heartbeat_ms() -> u64 {
    5_000
}
fn default_timeout_ms() -> u64 {
    30_000
}

/// An hour: longer waits are a typing error.
const MAX_WAIT_MS: u64 = 3_600_000;
/// A name is a word, not a text.
const MAX_NAME_BYTES: usize = 64;

/// One node's part.
pub struct Membership {
    part: Part,
}

enum Part {
    Reference(Reference),
    Member(Follower),
}

/// What a node waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// The next heartbeat, at a member.
    Heartbeat,
    /// Some server's time may be over, at the reference server.
    Expiry,
    /// Members may be told again who is there, at the reference server.
    Tell,
}

impl Protocol for Membership {
    const NAME: &'static str = "membership";
    const PUBLISHES: &'static [FactKind] =
        &[FactKind::of::<Rank>(), FactKind::of::<facts::Listed>()];
    const JSON_KEYS: Option<(&'static str, &'static str)> = Some(("service", "data"));
    const INTERNAL: &'static [&'static str] = &["malformed"];
    type Config = Config;
    type Message<'a> = Message<'a>;
    type Record<'a> = Record<'a>;
    type Timer = Timer;
    type Request<'a> = Request<'a>;
    type Reply<'a> = Reply<'a>;

    fn new(config: Config, env: &Env) -> Result<Membership, ConfigError> {
        let wrong = |key, rule: &str| Err(ConfigError { key, rule: String::from(rule) });
        if !(1..=MAX_WAIT_MS).contains(&config.heartbeat_ms) {
            return wrong("heartbeat_ms", "it must be 1 to 3600000 (an hour)");
        }
        if config.timeout_ms > MAX_WAIT_MS {
            return wrong("timeout_ms", "it must be at most 3600000 (an hour)");
        }
        let Config { heartbeat_ms, timeout_ms, .. } = config;
        if timeout_ms <= heartbeat_ms {
            // The key of the two that is in the file: the other may be missing there.
            return if timeout_ms == default_timeout_ms() {
                wrong(
                    "heartbeat_ms",
                    &format!("it must be below timeout_ms, which is {timeout_ms}"),
                )
            } else {
                wrong(
                    "timeout_ms",
                    &format!("it must be above heartbeat_ms, which is {heartbeat_ms}"),
                )
            };
        }
        let timeout = Duration::from_millis(config.timeout_ms);
        let part = match config.role {
            Role::Reference if !env.durable => {
                return wrong("role", "ranks are for ever: set data_dir under [node]");
            }
            Role::Reference if !config.name.is_empty() || config.reference != 0 => {
                return wrong("role", "name and reference are a member's");
            }
            Role::Reference => Part::Reference(Reference::new(timeout, config.planted())),
            Role::Member if !is_name(&config.name) => {
                let rule = "a member has a name of 1 to 64 bytes, without spaces, control characters, \
                            quotes and backslashes";
                return wrong("name", rule);
            }
            Role::Member if !env.peers.contains(&NodeId(config.reference)) => {
                return wrong("reference", "it must be the id of one of [peers]");
            }
            Role::Member => {
                let every = Duration::from_millis(config.heartbeat_ms);
                Part::Member(Follower::new(env.id, config.name, NodeId(config.reference), every))
            }
        };
        Ok(Membership { part })
    }

    fn malformed(reason: &str) -> Option<Request<'_>> {
        // The document has time and clock in every answer.
        Some(Request::Malformed { reason: reason.into() })
    }

    fn persists(&self) -> bool {
        matches!(self.part, Part::Reference(_))
    }

    fn on_recover(&mut self, record: Record<'_>) -> Result<(), Corrupt> {
        match &mut self.part {
            Part::Reference(reference) => reference.recover(record),
            Part::Member(_) => Err(Corrupt("a member of the group writes no records")),
        }
    }

    fn snapshot(&self, sink: &mut RecordSink<'_>) {
        if let Part::Reference(reference) = &self.part {
            reference.snapshot(sink);
        }
    }

    fn on_message(&mut self, from: NodeId, message: Message<'_>, cx: &mut Context<'_, Self>) {
        match &mut self.part {
            Part::Reference(reference) => reference.on_message(from, message, cx),
            Part::Member(member) => member.on_message(from, message, cx),
        }
    }

    fn on_timer(&mut self, timer: Timer, cx: &mut Context<'_, Self>) {
        match (&mut self.part, timer) {
            (Part::Reference(reference), Timer::Expiry) => reference.on_expiry(cx),
            (Part::Reference(reference), Timer::Tell) => reference.on_tell(cx),
            (Part::Member(member), Timer::Heartbeat) => member.on_heartbeat(cx),
            // No part sets the other's.
            (Part::Reference(_), Timer::Heartbeat)
            | (Part::Member(_), Timer::Expiry | Timer::Tell) => {}
        }
    }

    fn on_request(&mut self, caller: Caller, request: Request<'_>, cx: &mut Context<'_, Self>) {
        let timestamp = cx.wall_clock().millis();
        let reply = self.answer(request, timestamp, cx).unwrap_or_else(|reason| Reply::Error {
            reason,
            timestamp,
            clock: cx.local_event(),
        });
        cx.reply(caller.request, &reply);
    }

    fn on_link(&mut self, peer: NodeId, up: bool, cx: &mut Context<'_, Self>) {
        match &mut self.part {
            Part::Reference(_) => {}
            Part::Member(member) => member.on_link(peer, up, cx),
        }
    }

    fn digest(&self) -> u64 {
        match &self.part {
            Part::Reference(reference) => reference.digest(),
            Part::Member(member) => member.digest(),
        }
    }

    fn view(&self) -> impl Serialize {
        self.seen()
    }

    fn brief(message: &Message<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        shown::message(message, out)
    }

    fn brief_request(request: &Request<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        shown::request(request, out)
    }

    fn brief_reply(reply: &Reply<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        shown::reply(reply, out)
    }

    fn brief_record(record: &Record<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        shown::record(record, out)
    }

    fn check_invariants(&self) {
        if let Part::Reference(reference) = &self.part {
            reference.check_invariants();
        }
    }
}

impl Membership {
    /// The ranks of nodes that it knows: at the reference server, those that it gave.
    pub fn ranks(&self) -> impl Iterator<Item = Rank> {
        let (reference, member) = match &self.part {
            Part::Reference(reference) => (Some(reference), None),
            Part::Member(member) => (None, Some(member)),
        };
        let given = reference.into_iter().flat_map(Reference::of_nodes);
        let heard = member.into_iter().flat_map(|member| &member.ranks);
        let heard = heard.map(|(id, rank)| (*id, *rank));
        given.chain(heard).map(|(id, rank)| Rank { id, rank })
    }

    /// What a client is answered; a request that is refused leaves this node's clock alone.
    fn answer<'a>(
        &'a mut self,
        request: Request<'a>,
        timestamp: u64,
        cx: &mut Context<'_, Self>,
    ) -> Result<Reply<'a>, Cow<'a, str>> {
        let Part::Reference(reference) = &mut self.part else {
            return Err("ask the reference server".into());
        };
        reference.check(&request)?;
        if let Some(clock) = request.clock() {
            cx.receive_event(clock).map_err(|_| "the clock is too far ahead")?;
        }
        reference.answer(request, timestamp, cx)
    }
}

/// Whether it can be a name: it travels in lines and between spaces.
fn is_name(name: &str) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '\\');
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.chars().all(is_plain)
}
