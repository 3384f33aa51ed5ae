//! What goes between the nodes of the bulletin system, and what clients ask.

use super::Role;
use crate::core::{Bytes, LamportTime, NodeId};
use alloc::borrow::Cow;
use serde::{Deserialize, Serialize};

/// What somebody says under a topic.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Post<'a> {
    /// Who says it.
    #[serde(borrow)]
    pub user: Cow<'a, str>,
    /// Where.
    #[serde(borrow)]
    pub topic: Cow<'a, str>,
    /// What.
    #[serde(borrow)]
    pub text: Bytes<'a>,
}

/// How a post ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// All subscribers get it.
    Published,
    /// Nobody gets it.
    Refused(Refusal),
    /// It may have been published, or still be.
    Unknown,
}

/// Why a post was not published.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// No server is linked to the broker.
    NoServer,
    /// The server that got it has no link to the proxy.
    NoProxy,
    /// Too many posts wait.
    Busy,
    /// A later post of the same user was published before it.
    Late,
    /// A name or topic that cannot be, or too long a text.
    Form,
    /// Under the servers' own topic.
    Servers,
}

/// How far a bot's subscription is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Had {
    /// When it began, by the proxy's clock.
    pub since: LamportTime,
    /// How many deliveries there have been.
    pub deliveries: u64,
}

/// Between nodes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message<'a> {
    /// From a bot to the broker.
    Send {
        /// Numbers the bot's posts.
        number: u64,
        /// What to publish.
        #[serde(borrow)]
        post: Post<'a>,
    },
    /// From the broker to a bot.
    Sent {
        /// As in `Send`.
        number: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// From the broker to a server: process this.
    Work {
        /// Orders the posts of a user: a later one has a larger stamp.
        stamp: LamportTime,
        /// What to publish.
        #[serde(borrow)]
        post: Post<'a>,
    },
    /// From a server to the broker.
    Done {
        /// As in `Work`.
        stamp: LamportTime,
        /// As in `Publish`; of the refusal, if it was not published.
        timestamp: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// From a server to the proxy.
    Publish {
        /// Whose clock the stamp is of: the broker's, as in `Work`, or the server's own.
        clock: NodeId,
        /// As in `Work`.
        stamp: LamportTime,
        /// Milliseconds since the epoch by the servers' common clock.
        timestamp: u64,
        /// What to publish.
        #[serde(borrow)]
        post: Post<'a>,
    },
    /// From the proxy to a server.
    Published {
        /// As in `Publish`: two clocks can give the same stamp.
        clock: NodeId,
        /// As in `Publish`.
        stamp: LamportTime,
        /// How it ended.
        outcome: Outcome,
    },
    /// From a bot to the proxy: deliver what is said under this topic from now on.
    Subscribe {
        /// The topic.
        #[serde(borrow)]
        topic: Cow<'a, str>,
        /// What the bot has had over this subscription; none for a new one.
        had: Option<Had>,
    },
    /// From the proxy to a bot.
    Subscribed {
        /// The topic.
        #[serde(borrow)]
        topic: Cow<'a, str>,
        /// What there has been: the deliveries above what the bot had are missed, and if it began
        /// anew, nobody knows how many are.
        now: Had,
    },
    /// From the proxy to a bot.
    Deliver {
        /// The deliveries over this subscription, from 1.
        number: u64,
        /// Milliseconds since the epoch by the servers' common clock.
        timestamp: u64,
        /// Who processed it; none for what was published at the proxy.
        server: Option<NodeId>,
        /// What was said.
        #[serde(borrow)]
        post: Post<'a>,
    },
}

/// A subscription whose messages are shared: of all members of a group, one gets each.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member<'a> {
    /// The group; it goes over all topics.
    #[serde(borrow)]
    pub group: Cow<'a, str>,
    /// What the client calls it, if it has several.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
}

/// What clients ask, at the broker or at the proxy. `timestamp` is milliseconds of the client's
/// clock, `clock` its Lamport clock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request<'a> {
    /// At the broker: have this processed and published.
    Send {
        /// Who says it.
        #[serde(borrow)]
        user: Cow<'a, str>,
        /// Where.
        #[serde(borrow)]
        topic: Cow<'a, str>,
        /// What.
        #[serde(borrow)]
        text: Bytes<'a>,
        /// Milliseconds.
        timestamp: u64,
        /// Lamport's clock.
        clock: LamportTime,
    },
    /// At the proxy: deliver what is said under this topic from now on.
    Subscribe {
        /// The topic, or what stands for several: `*` for one word between dots, a last `>` for one
        /// or more.
        #[serde(borrow)]
        topic: Cow<'a, str>,
        /// Shares with others; none for who hears everything.
        #[serde(borrow, default)]
        member: Option<Member<'a>>,
    },
    /// At the proxy: no more of this topic.
    Unsubscribe {
        /// As in `Subscribe`.
        #[serde(borrow)]
        topic: Cow<'a, str>,
        /// As in `Subscribe`.
        #[serde(borrow, default)]
        member: Option<Member<'a>>,
        /// A member may stay until it has had so many messages in all.
        #[serde(default)]
        after: Option<u64>,
    },
    /// At the proxy: publish this as it is. What one connection publishes keeps its order.
    Publish {
        /// Where.
        #[serde(borrow)]
        topic: Cow<'a, str>,
        /// What.
        #[serde(borrow)]
        text: Bytes<'a>,
        /// Whether the client wants no answer, if it is published.
        #[serde(default)]
        quiet: bool,
        /// Under which topic answers are waited for.
        #[serde(borrow, default)]
        reply: Option<Cow<'a, str>>,
        /// What NATS' clients say beside the text.
        #[serde(borrow, default)]
        headers: Option<Bytes<'a>>,
        /// Whether the client does not want to hear it itself.
        #[serde(default)]
        no_echo: bool,
        /// Whether the client wants to hear, under `reply`, that nobody subscribes to the topic: as
        /// NATS says it, with the header `503`.
        #[serde(default)]
        no_responders: bool,
    },
    /// How it goes, at any node of the board.
    Status {},
    /// What came was none of these; it is answered with the reason.
    Malformed {
        /// Why.
        #[serde(borrow)]
        reason: Cow<'a, str>,
    },
}

/// What clients are answered, and what they get without asking.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply<'a> {
    /// The post was processed and published.
    Sent {
        /// Which server processed it.
        server: NodeId,
        /// The message's: milliseconds since the epoch by the servers' common clock.
        timestamp: u64,
        /// Lamport's clock.
        clock: LamportTime,
    },
    /// What is said from now on will come as `Message`.
    Subscribed {
        /// The topic.
        #[serde(borrow)]
        topic: Cow<'a, str>,
        /// Milliseconds.
        timestamp: u64,
        /// Lamport's clock.
        clock: LamportTime,
    },
    /// No more comes of the topic.
    Unsubscribed {
        /// The topic.
        #[serde(borrow)]
        topic: Cow<'a, str>,
        /// Milliseconds.
        timestamp: u64,
        /// Lamport's clock.
        clock: LamportTime,
    },
    /// It goes to so many subscribers.
    Published {
        /// How many.
        subscribers: u64,
        /// The message's: milliseconds since the epoch by the proxy's clock.
        timestamp: u64,
        /// Lamport's clock.
        clock: LamportTime,
    },
    /// Without being asked for: somebody said this.
    Message {
        /// Where.
        #[serde(borrow)]
        topic: Cow<'a, str>,
        /// Who; empty for what was published at the proxy.
        #[serde(borrow)]
        user: Cow<'a, str>,
        /// Which server processed it; none for what was published at the proxy.
        server: Option<NodeId>,
        /// What.
        #[serde(borrow)]
        text: Bytes<'a>,
        /// Under which topic an answer is waited for.
        #[serde(borrow)]
        reply: Option<Cow<'a, str>>,
        /// What NATS' clients say beside the text.
        #[serde(borrow)]
        headers: Option<Bytes<'a>>,
        /// Which of the client's memberships it is for; none for who hears everything.
        #[serde(borrow)]
        member: Option<Member<'a>>,
        /// Milliseconds since the epoch by the servers' common clock.
        timestamp: u64,
        /// Lamport's clock.
        clock: LamportTime,
    },
    /// Without being asked for: the client did not read, and so many messages are gone.
    Missed {
        /// How many.
        messages: u64,
        /// Milliseconds.
        timestamp: u64,
        /// Lamport's clock.
        clock: LamportTime,
    },
    /// The post did not come through, or it is not known whether it did.
    Error {
        /// What happened.
        #[serde(borrow)]
        reason: Cow<'a, str>,
        /// Whether it may still have been published.
        published: Maybe,
        /// Milliseconds.
        timestamp: u64,
        /// Lamport's clock.
        clock: LamportTime,
    },
    /// How it goes.
    Status {
        /// What the node is.
        role: Role,
        /// Broker: posts that are under way or wait.
        pending: u64,
        /// Server: posts processed. Proxy: messages published. Broker: posts answered.
        done: u64,
        /// Proxy: connections and nodes that subscribe.
        subscribers: u64,
        /// Proxy: messages that subscribers missed.
        missed: u64,
        /// Milliseconds.
        timestamp: u64,
        /// Lamport's clock.
        clock: LamportTime,
    },
}

/// Whether something happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Maybe {
    /// Not, and it will not.
    No,
    /// That is not known.
    Unknown,
}
