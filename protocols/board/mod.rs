//! A bulletin board: what a client says goes through a broker to one of several servers, which process
//! it, and from there through a proxy to all who subscribe to its topic.
//!
//! ```text
//!  client, bot        broker              server             proxy           subscribers
//!    │ ── send ───────► │ ── Work ─────────► │                  │                  │
//!    │                  │  to one at random  │ ── Publish ────► │ ── message ────► │
//!    │                  │                    │ ◄── Published ── │                  │
//!    │ ◄── sent ─────── │ ◄────────── Done ──│                  │                  │
//! ```
//!
//! **Source.** Document 002. The servers' other protocols are tied to it by facts alone: `Coordinator`
//! is announced under the topic `servers`, `ClockOffset` gives the times of messages, and each message
//! processed is a fact `Processed`.
//!
//! **Guarantees.** A post is published at most once; its client is told that it was, that it was not, or
//! that this is not known, within `timeout_ms` of when a server got it. The posts of one user reach every
//! subscriber in the order in which the broker took them: it gives the next to a server only when the one
//! before is answered, and the proxy drops one that comes after a later one. A subscriber that does not
//! read loses messages, not the others' time, and is told how many when it reads again; so is a bot whose
//! link broke. Who comes late hears what is said from then on. Of a group of subscribers one gets each
//! message, drawn from those that read.
//!
//! **Assumes** one broker and one proxy. A post whose server dies is not tried again: whether it was
//! published is not known. What was published at the proxy itself, by whoever connects there, has the
//! order of its connection.

mod bot;
mod broker;
mod message;
mod mutants;
mod nats;
mod proxy;
mod server;
mod shown;
mod subject;

pub use self::message::{Had, Maybe, Member, Message, Outcome, Post, Refusal, Reply, Request};
#[cfg(feature = "mutants")]
pub use self::mutants::Mutant;
pub use self::nats::Nats;

use self::bot::Bot;
use self::broker::Broker;
#[cfg(not(feature = "mutants"))]
use self::mutants::Mutant;
use self::mutants::Planted;
use self::proxy::{Proxy, Said, Wishes};
use self::server::Server;
use self::subject::is_pattern;
use crate::core::{
    Caller, ClientId, ConfigError, Context, Counter, Env, Fact, FactKind, Never, NodeId, Protocol,
};
use crate::facts::Processed;
use ::core::fmt;
use ::core::net::SocketAddr;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The table `[protocols.board]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What this node is.
    pub role: Role,
    /// The name of a server or bot.
    #[serde(default)]
    pub name: String,
    /// The ids of the servers that a broker gives posts to.
    #[serde(default)]
    pub servers: Vec<u32>,
    /// The id of a bot's broker.
    #[serde(default)]
    pub broker: Option<u32>,
    /// The id of a server's or bot's proxy.
    #[serde(default)]
    pub proxy: Option<u32>,
    /// How long a broker waits for a server, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// What a bot subscribes to.
    #[serde(default = "default_topics")]
    pub topics: Vec<String>,
    /// Where a bot speaks.
    #[serde(default = "default_topic")]
    pub topic: String,
    /// What a bot says, one after the other, over and over.
    #[serde(default)]
    pub texts: Vec<String>,
    /// How often a bot speaks, in milliseconds.
    #[serde(default = "default_interval_ms")]
    pub interval_ms: u64,
    /// The bug to plant.
    #[cfg(feature = "mutants")]
    #[serde(default)]
    pub mutant: Option<Mutant>,
}

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes posts, and gives each to a server.
    Broker,
    /// Processes posts.
    Server,
    /// Brings what is published to those who subscribe.
    Proxy,
    /// Says something from time to time, and listens.
    Bot,
}

fn default_timeout_ms() -> u64 {
    2_000
}
fn default_interval_ms() -> u64 {
    2_000
}
fn default_topic() -> String {
    String::from("general")
}
fn default_topics() -> Vec<String> {
    [default_topic(), String::from(SERVERS)].into()
}

/// The topic of the servers' own announcements.
pub const SERVERS: &str = "servers";
/// An hour: longer waits are a typing error.
const MAX_WAIT_MS: u64 = 3_600_000;
/// Names are words, not texts.
const MAX_NAME_BYTES: usize = 64;
/// Topics have parts; what NATS' documentation advises.
const MAX_TOPIC_BYTES: usize = 256;
/// The longest text of a post.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// One node's part of the board.
pub struct Board {
    part: Part,
}

enum Part {
    Broker(Broker),
    Server(Server),
    Proxy(Proxy),
    Bot(Bot),
}

/// What a node waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// The broker: the oldest post under way takes too long.
    Overdue,
    /// The bot: the next text.
    Speak,
}

impl Protocol for Board {
    const NAME: &'static str = "board";
    const PUBLISHES: &'static [FactKind] = &[FactKind::of::<Processed>()];
    const JSON_KEYS: Option<(&'static str, &'static str)> = Some(("service", "data"));
    const INTERNAL: &'static [&'static str] = &["malformed"];
    type Config = Config;
    type Message<'a> = Message<'a>;
    type Record<'a> = Never;
    type Timer = Timer;
    type Request<'a> = Request<'a>;
    type Reply<'a> = Reply<'a>;

    fn new(config: Config, env: &Env) -> Result<Board, ConfigError> {
        let wrong = |key, rule: &str| Err(ConfigError { key, rule: String::from(rule) });
        let peer = |id: Option<u32>| id.map(NodeId).filter(|id| env.peers.contains(id));
        let proxy = || {
            let rule = String::from("it must be the id of one of [peers]");
            peer(config.proxy).ok_or(ConfigError { key: "proxy", rule })
        };
        if !(1..=MAX_WAIT_MS).contains(&config.timeout_ms) {
            return wrong("timeout_ms", "it must be 1 to 3600000 (an hour)");
        }
        if !(1..=MAX_WAIT_MS).contains(&config.interval_ms) {
            return wrong("interval_ms", "it must be 1 to 3600000 (an hour)");
        }
        let is_named = is_word(&config.name);
        let part = match config.role {
            Role::Server | Role::Bot if !is_named => {
                return wrong("name", "it must be a word of 1 to 64 bytes");
            }
            Role::Broker => {
                let is_peer = |id: &u32| env.peers.contains(&NodeId(*id));
                if config.servers.is_empty() || !config.servers.iter().all(is_peer) {
                    return wrong("servers", "name at least one, each an id of [peers]");
                }
                Part::Broker(Broker::new(&config))
            }
            Role::Server => Part::Server(Server::new(config.name.clone(), proxy()?)),
            Role::Proxy => Part::Proxy(Proxy::new(config.planted())),
            Role::Bot => {
                if !is_topic(&config.topic) || config.topic == SERVERS {
                    let rule =
                        "it must be a word of 1 to 256 bytes, and not servers, the servers' own";
                    return wrong("topic", rule);
                }
                let mut topics: Vec<&String> = config.topics.iter().collect();
                topics.sort_unstable();
                topics.dedup();
                if topics.len() < config.topics.len()
                    || !topics.iter().all(|topic| is_listed(topic))
                {
                    let rule = "each must be a different word of 1 to 256 bytes, without * and > \
                                for parts of it";
                    return wrong("topics", rule);
                }
                if config.texts.iter().any(|text| text.len() > MAX_TEXT_BYTES) {
                    return wrong("texts", "each must have at most 1048576 bytes");
                }
                let Some(broker) = peer(config.broker) else {
                    return wrong("broker", "it must be the id of one of [peers]");
                };
                let proxy = proxy()?;
                Part::Bot(Bot::new(config, broker, proxy))
            }
        };
        Ok(Board { part })
    }

    fn malformed(reason: &str) -> Option<Request<'_>> {
        // The document has time and clock in every answer.
        Some(Request::Malformed { reason: reason.into() })
    }

    fn on_start(&mut self, cx: &mut Context<'_, Self>) {
        if let Part::Bot(bot) = &self.part {
            bot.on_start(cx);
        }
    }

    fn on_message(&mut self, from: NodeId, message: Message<'_>, cx: &mut Context<'_, Self>) {
        match &mut self.part {
            Part::Broker(broker) => broker.on_message(from, message, cx),
            Part::Server(server) => server.on_message(from, message, cx),
            Part::Proxy(proxy) => proxy.on_message(from, message, cx),
            Part::Bot(bot) => bot.on_message(from, message, cx),
        }
    }

    fn on_timer(&mut self, timer: Timer, cx: &mut Context<'_, Self>) {
        match (&mut self.part, timer) {
            (Part::Broker(broker), Timer::Overdue) => broker.on_overdue(cx),
            (Part::Bot(bot), Timer::Speak) => bot.on_speak(cx),
            // No part sets another's.
            (_, Timer::Overdue | Timer::Speak) => {}
        }
    }

    fn on_request(&mut self, caller: Caller, request: Request<'_>, cx: &mut Context<'_, Self>) {
        let to = caller.request;
        match (&mut self.part, request) {
            (part, Request::Status {}) => {
                let (role, [pending, done, subscribers, missed]) = match part {
                    Part::Broker(broker) => (Role::Broker, broker.status()),
                    Part::Server(server) => (Role::Server, server.status()),
                    Part::Proxy(proxy) => (Role::Proxy, proxy.status()),
                    Part::Bot(bot) => (Role::Bot, bot.status()),
                };
                let (timestamp, clock) = (cx.wall_clock().millis(), cx.lamport());
                let reply =
                    Reply::Status { role, pending, done, subscribers, missed, timestamp, clock };
                cx.reply(to, &reply);
            }
            (_, Request::Malformed { reason }) => {
                let (timestamp, clock) = (cx.wall_clock().millis(), cx.local_event());
                let published = Maybe::No;
                cx.reply(to, &Reply::Error { reason, published, timestamp, clock });
            }
            (Part::Broker(broker), Request::Send { user, topic, text, clock, .. }) => {
                if cx.receive_event(clock).is_err() {
                    return self.refuse(caller, "the clock is too far ahead", cx);
                }
                broker.on_send(to, Post { user, topic, text }, cx);
            }
            (Part::Proxy(proxy), Request::Subscribe { topic, member }) => {
                proxy.subscribe(to, &topic, member.as_ref(), cx);
            }
            (Part::Proxy(proxy), Request::Unsubscribe { topic, member, after }) => {
                proxy.unsubscribe(to, &topic, member.as_ref(), after, cx);
            }
            (
                Part::Proxy(proxy),
                Request::Publish { topic, text, quiet, reply, headers, no_echo, no_responders },
            ) => {
                let (reply, headers) = (reply.as_deref(), headers.as_deref());
                let said = Said { topic: &topic, user: "", text: &text, reply, headers };
                proxy.publish_here(to, &said, &Wishes { quiet, no_echo, no_responders }, cx);
            }
            (_, Request::Send { .. }) => self.refuse(caller, "send to the broker", cx),
            (
                _,
                Request::Subscribe { .. } | Request::Unsubscribe { .. } | Request::Publish { .. },
            ) => self.refuse(caller, "subscribe and publish at the proxy", cx),
        }
    }

    fn on_link(&mut self, peer: NodeId, up: bool, cx: &mut Context<'_, Self>) {
        match &mut self.part {
            Part::Broker(broker) => broker.on_link(peer, up, cx),
            Part::Server(server) => server.on_link(peer, up, cx),
            Part::Proxy(proxy) => proxy.on_link(peer, up),
            Part::Bot(bot) => bot.on_link(peer, up, cx),
        }
    }

    fn on_client(&mut self, client: ClientId, _: SocketAddr, up: bool, _: &mut Context<'_, Self>) {
        if let (Part::Proxy(proxy), false) = (&mut self.part, up) {
            proxy.on_gone(client);
        }
    }

    fn on_backpressure(&mut self, client: ClientId, full: bool, cx: &mut Context<'_, Self>) {
        if let Part::Proxy(proxy) = &mut self.part {
            proxy.on_backpressure(client, full, cx);
        }
    }

    fn on_fact(&mut self, fact: &Fact, cx: &mut Context<'_, Self>) {
        if let Part::Server(server) = &mut self.part {
            server.on_fact(fact, cx);
        }
    }

    fn digest(&self) -> u64 {
        let [pending, done, subscribers, missed] = match &self.part {
            Part::Broker(broker) => broker.status(),
            Part::Server(server) => server.status(),
            Part::Proxy(proxy) => proxy.status(),
            Part::Bot(bot) => bot.status(),
        };
        done ^ pending.rotate_left(48) ^ subscribers.rotate_left(40) ^ missed.rotate_left(24)
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

    fn check_invariants(&self) {
        match &self.part {
            Part::Broker(broker) => broker.check_invariants(),
            Part::Proxy(proxy) => proxy.check_invariants(),
            Part::Server(_) | Part::Bot(_) => {}
        }
    }
}

impl Board {
    fn refuse(&self, caller: Caller, reason: &'static str, cx: &mut Context<'_, Self>) {
        let error = error(reason, Maybe::No, cx);
        cx.reply(caller.request, &error);
    }
}

/// What a client is told whose post did not come through.
fn error(
    reason: impl Into<Cow<'static, str>>,
    published: Maybe,
    cx: &mut Context<'_, Board>,
) -> Reply<'static> {
    let (timestamp, clock) = (cx.wall_clock().millis(), cx.local_event());
    Reply::Error { reason: reason.into(), published, timestamp, clock }
}

/// What others send and nobody here expects: late, doubled, or from who should not.
fn stale(cx: &mut Context<'_, Board>) {
    cx.count(Counter::Stale);
}

/// Whether it can be a name: it travels in lines and between spaces.
pub fn is_word(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && is_plain(text)
}

/// Whether it can be a topic.
fn is_topic(text: &str) -> bool {
    (1..=MAX_TOPIC_BYTES).contains(&text.len()) && is_plain(text)
}

fn is_plain(text: &str) -> bool {
    text.chars().all(|c| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '\\'))
}

/// Whether a node can subscribe to it: that one is numbered, so it stands for itself alone.
fn is_listed(topic: &str) -> bool {
    is_topic(topic) && !is_pattern(topic)
}

/// What is wrong with a topic.
fn topic_fault(topic: &[u8]) -> String {
    let length = topic.len();
    if length > MAX_TOPIC_BYTES {
        return format!("a topic has at most {MAX_TOPIC_BYTES} bytes, and this one has {length}");
    }
    format!("a topic is a word of 1 to {MAX_TOPIC_BYTES} bytes without quotes and backslashes")
}

impl Refusal {
    fn reason(self) -> &'static str {
        match self {
            Refusal::NoServer => "no server is there: try again",
            Refusal::NoProxy => "the server has no link to the proxy: try again",
            Refusal::Busy => "too many posts wait: try again later",
            Refusal::Late => "a later post of this user was published before it",
            Refusal::Servers => "under the topic servers speak the servers alone",
            Refusal::Form => {
                "users are words of 1 to 64 bytes, topics of 1 to 256, and a text has at most 1048576 \
                 bytes"
            }
        }
    }
}
