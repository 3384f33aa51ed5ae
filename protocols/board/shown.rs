//! What people see of the board: what waits where, and messages in short.

use super::{Board, Message, Outcome, Part, Post, Reply, Request};
use crate::core::{Clipped, Epoch, NodeId};
use ::core::fmt::{self, Write};
use alloc::vec::Vec;
use serde::Serialize;

/// How a node is.
#[derive(Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub(super) enum View<'a> {
    Broker {
        /// Posts that are at a server, and that wait behind others of their users.
        under_way: usize,
        waiting: usize,
        done: u64,
        /// The servers that there is a link to, as far as that is short.
        servers: Vec<NodeId>,
    },
    Server {
        name: &'a str,
        has_proxy: bool,
        /// What the proxy has not confirmed yet.
        pending: usize,
        processed: u64,
        /// While it coordinates.
        reign: Option<Epoch>,
    },
    Proxy {
        published: u64,
        /// Connections and nodes that subscribe, and to how much the connections do.
        subscribers: u64,
        subscriptions: usize,
        /// Connections that do not read, and what was missed for it.
        not_reading: usize,
        missed: u64,
    },
    Bot {
        name: &'a str,
        has_broker: bool,
        sent: u64,
        answered: u64,
        heard: u64,
        missed: u64,
    },
}

impl Board {
    pub(super) fn seen(&self) -> View<'_> {
        match &self.part {
            Part::Broker(broker) => broker.seen(),
            Part::Server(server) => server.seen(),
            Part::Proxy(proxy) => proxy.seen(),
            Part::Bot(bot) => bot.seen(),
        }
    }
}

/// How much of a topic, a text or a reason a short form has.
const MAX_TOPIC: usize = 10;
const MAX_TEXT: usize = 8;
const MAX_REASON: usize = 16;

/// A post: where, and what.
struct Said<'a>(&'a str, &'a [u8]);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", topic(self.0), Clipped(self.1, MAX_TEXT))
    }
}

impl<'a> From<&'a Post<'_>> for Said<'a> {
    fn from(post: &'a Post<'_>) -> Said<'a> {
        Said(&post.topic, &post.text)
    }
}

fn topic(topic: &str) -> Clipped<'_> {
    Clipped(topic.as_bytes(), MAX_TOPIC)
}

/// Nothing where all is well.
struct How(Outcome);

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Outcome::Published => Ok(()),
            Outcome::Refused(refusal) => write!(f, ", not: {refusal:?}"),
            Outcome::Unknown => f.write_str(", perhaps"),
        }
    }
}

pub(super) fn message(message: &Message<'_>, out: &mut dyn Write) -> fmt::Result {
    match message {
        Message::Send { post, .. } => write!(out, "SEND {}", Said::from(post)),
        Message::Sent { number, outcome } => write!(out, "SENT #{number}{}", How(*outcome)),
        Message::Work { post, .. } => write!(out, "WORK {}", Said::from(post)),
        Message::Done { stamp, outcome, .. } => write!(out, "DONE @{}{}", stamp.0, How(*outcome)),
        Message::Publish { post, .. } => write!(out, "PUBLISH {}", Said::from(post)),
        Message::Published { stamp, outcome, .. } => {
            write!(out, "PUBLISHED @{}{}", stamp.0, How(*outcome))
        }
        Message::Subscribe { topic: to, .. } => write!(out, "SUBSCRIBE {}", topic(to)),
        Message::Subscribed { topic: to, .. } => write!(out, "SUBSCRIBED {}", topic(to)),
        Message::Deliver { post, .. } => write!(out, "DELIVER {}", Said::from(post)),
    }
}

pub(super) fn request(request: &Request<'_>, out: &mut dyn Write) -> fmt::Result {
    match request {
        Request::Send { topic, text, .. } => write!(out, "SEND {}", Said(topic, text)),
        Request::Subscribe { topic: to, .. } => write!(out, "SUBSCRIBE {}", topic(to)),
        Request::Unsubscribe { topic: to, .. } => write!(out, "UNSUBSCRIBE {}", topic(to)),
        Request::Publish { topic, text, .. } => write!(out, "PUBLISH {}", Said(topic, text)),
        Request::Status {} => out.write_str("STATUS"),
        Request::Malformed { .. } => out.write_str("MALFORMED"),
    }
}

pub(super) fn reply(reply: &Reply<'_>, out: &mut dyn Write) -> fmt::Result {
    match reply {
        Reply::Sent { server, .. } => write!(out, "SENT by node {server}"),
        Reply::Subscribed { topic: to, .. } => write!(out, "SUBSCRIBED {}", topic(to)),
        Reply::Unsubscribed { topic: to, .. } => write!(out, "UNSUBSCRIBED {}", topic(to)),
        Reply::Published { subscribers, .. } => write!(out, "PUBLISHED to {subscribers}"),
        Reply::Message { topic, text, .. } => write!(out, "{}", Said(topic, text)),
        Reply::Missed { messages, .. } => write!(out, "MISSED {messages}"),
        Reply::Error { reason, .. } => {
            write!(out, "ERROR {}", Clipped(reason.as_bytes(), MAX_REASON))
        }
        Reply::Status { pending, done, .. } => write!(out, "{pending} pending, {done} done"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Had, Maybe, Refusal, Role};
    use super::*;
    use crate::core::{Bytes, LamportTime, Protocol};
    use crate::testing::{assert_briefs, env, view};
    use alloc::borrow::Cow;
    use alloc::string::String;
    use alloc::vec;

    fn node(role: Role) -> Board {
        let config = Config {
            role,
            name: "one".into(),
            servers: vec![1, 3],
            broker: Some(1),
            proxy: Some(3),
            timeout_ms: 1,
            topics: vec![],
            topic: "t".into(),
            texts: vec![],
            interval_ms: 1,
            #[cfg(feature = "mutants")]
            mutant: None,
        };
        Board::new(config, &env(2)).expect("the config is right")
    }

    #[test]
    fn each_role_shows_what_waits_there() {
        let of = |role| -> String { view(&node(role)) };
        let broker = r#"{"role":"broker","under_way":0,"waiting":0,"done":0,"servers":[]}"#;
        assert_eq!(of(Role::Broker), broker);
        let server = r#"{"role":"server","name":"one","has_proxy":false,"pending":0,"#;
        assert_eq!(of(Role::Server), [server, r#""processed":0,"reign":null}"#].concat());
        let proxy = r#"{"role":"proxy","published":0,"subscribers":0,"subscriptions":0,"#;
        assert_eq!(of(Role::Proxy), [proxy, r#""not_reading":0,"missed":0}"#].concat());
        let bot = r#"{"role":"bot","name":"one","has_broker":false,"sent":0,"answered":0,"#;
        assert_eq!(of(Role::Bot), [bot, r#""heard":0,"missed":0}"#].concat());
    }

    fn post() -> Post<'static> {
        let (user, topic) = (Cow::from("ana"), Cow::from("top\u{1b}ic"));
        Post { user, topic, text: Bytes::new(b"hello, world") }
    }

    const SAID: &str = "top\\u{1b}i…: hello, w…";

    #[test]
    fn messages_have_short_forms() {
        let (stamp, clock, timestamp, outcome) =
            (LamportTime(152), NodeId(6), 0, Outcome::Published);
        let refused = Outcome::Refused(Refusal::NoProxy);
        let topic = || Cow::from("a.rather.long.topic");
        let now = Had { since: stamp, deliveries: 1 };
        let messages = [
            (Message::Send { number: 3, post: post() }, "SEND "),
            (Message::Work { stamp, post: post() }, "WORK "),
            (Message::Publish { clock, stamp, timestamp, post: post() }, "PUBLISH "),
            (Message::Deliver { number: 1, timestamp, server: None, post: post() }, "DELIVER "),
        ];
        for (one, verb) in messages {
            assert_briefs(message, &[(one, &[verb, SAID].concat()[..])]);
        }
        let messages = [
            (Message::Sent { number: 3, outcome: Outcome::Unknown }, "SENT #3, perhaps"),
            (Message::Done { stamp, timestamp, outcome }, "DONE @152"),
            (Message::Done { stamp, timestamp, outcome: refused }, "DONE @152, not: NoProxy"),
            (Message::Published { clock, stamp, outcome }, "PUBLISHED @152"),
            (Message::Subscribe { topic: topic(), had: None }, "SUBSCRIBE a.rather.l…"),
            (Message::Subscribed { topic: topic(), now }, "SUBSCRIBED a.rather.l…"),
        ];
        assert_briefs(message, &messages);
    }

    #[test]
    fn what_clients_ask_has_short_forms() {
        let (timestamp, clock) = (0, LamportTime(1));
        let Post { user, topic, text } = post();
        let send = Request::Send { user, topic, text, timestamp, clock };
        assert_briefs(request, &[(send, &["SEND ", SAID].concat()[..])]);
        let topic = || Cow::from("t");
        let requests = [
            (Request::Subscribe { topic: topic(), member: None }, "SUBSCRIBE t"),
            (Request::Unsubscribe { topic: topic(), member: None, after: None }, "UNSUBSCRIBE t"),
            (
                Request::Publish {
                    topic: topic(),
                    text: Bytes::new(b"\xff"),
                    quiet: false,
                    reply: None,
                    headers: None,
                    no_echo: false,
                    no_responders: false,
                },
                "PUBLISH t: \\xff",
            ),
            (Request::Status {}, "STATUS"),
            (Request::Malformed { reason: topic() }, "MALFORMED"),
        ];
        assert_briefs(request, &requests);
    }

    #[test]
    fn what_clients_are_told_has_short_forms() {
        let (timestamp, clock, topic) = (0, LamportTime(1), || Cow::from("t"));
        let (server, published) = (NodeId(2), Maybe::No);
        let Post { user, topic: under, text } = post();
        let (reply_to, headers, member) = (None, None, None);
        let heard = Reply::Message {
            topic: under,
            user,
            server: None,
            text,
            reply: reply_to,
            headers,
            member,
            timestamp,
            clock,
        };
        let reason = Cow::from("no server is there: try again");
        let status = Reply::Status {
            role: Role::Broker,
            pending: 1,
            done: 9,
            subscribers: 0,
            missed: 0,
            timestamp,
            clock,
        };
        let replies = [
            (Reply::Sent { server, timestamp, clock }, "SENT by node 2"),
            (Reply::Subscribed { topic: topic(), timestamp, clock }, "SUBSCRIBED t"),
            (Reply::Unsubscribed { topic: topic(), timestamp, clock }, "UNSUBSCRIBED t"),
            (Reply::Published { subscribers: 4, timestamp, clock }, "PUBLISHED to 4"),
            (heard, SAID),
            (Reply::Missed { messages: 5, timestamp, clock }, "MISSED 5"),
            (Reply::Error { reason, published, timestamp, clock }, "ERROR no server is the…"),
            (status, "1 pending, 9 done"),
        ];
        assert_briefs(reply, &replies);
    }
}
