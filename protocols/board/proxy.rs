//! The proxy: brings what is published to those who subscribe, and waits for none of them.

use super::{
    Board, MAX_TEXT_BYTES, Maybe, Message, Mutant, Outcome, Planted, Post, Refusal, Reply,
};
use super::{error, is_word, stale};
use crate::core::{Bytes, ClientId, Context, LamportTime, NodeId, RequestId};
use ::core::cmp::Ordering;
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

#[derive(Default)]
pub(super) struct Proxy {
    topics: BTreeMap<String, Topic>,
    /// How many topics each connection subscribes to.
    clients: BTreeMap<ClientId, usize>,
    /// The connections that do not read, and how many messages they have missed.
    full: BTreeMap<ClientId, u64>,
    /// The nodes that there is a link to.
    linked: Vec<NodeId>,
    /// The stamp of each user's last post.
    stamps: BTreeMap<String, LamportTime>,
    /// Users who were forgotten had no later stamp.
    forgotten: LamportTime,
    published: u64,
    missed: u64,
    planted: Planted,
}

#[derive(Default)]
struct Topic {
    clients: Vec<ClientId>,
    /// Nodes, and how many deliveries each has had or missed.
    nodes: Vec<(NodeId, u64)>,
}

/// How a post stands to what its user has published.
enum Order {
    /// After all of it.
    Next,
    /// It is the last of it.
    Again,
    /// A later one was published.
    Late,
}

/// Whose last stamps are known. Of the others only the latest of all is.
const MAX_USERS: usize = 100_000;
/// What one connection may subscribe to.
const MAX_TOPICS: usize = 1_000;

impl Proxy {
    pub(super) fn new(planted: Planted) -> Proxy {
        Proxy { planted, ..Proxy::default() }
    }

    pub(super) fn status(&self) -> [u64; 4] {
        let mut nodes: Vec<NodeId> =
            self.topics.values().flat_map(|topic| &topic.nodes).map(|node| node.0).collect();
        nodes.sort_unstable();
        nodes.dedup();
        [0, self.published, (self.clients.len() + nodes.len()) as u64, self.missed]
    }

    pub(super) fn check_invariants(&self) {
        let subscriptions: usize = self.topics.values().map(|topic| topic.clients.len()).sum();
        let counted: usize = self.clients.values().sum();
        assert!(subscriptions == counted, "{subscriptions} subscriptions, {counted} counted");
        assert!(self.full.keys().all(|client| self.clients.contains_key(client)));
    }

    pub(super) fn subscribe(&mut self, to: RequestId, topic: &str, cx: &mut Context<'_, Board>) {
        let count = self.clients.get(&to.client).copied().unwrap_or_default();
        if !is_word(topic) || count >= MAX_TOPICS {
            let reason = "a topic is a word of 1 to 64 bytes, and a connection has at most 1000";
            let error = error(reason, Maybe::No, cx);
            return cx.reply(to, &error);
        }
        let subscribers = &mut self.topics.entry(topic.into()).or_default().clients;
        if !subscribers.contains(&to.client) {
            subscribers.push(to.client);
            self.clients.insert(to.client, count + 1);
        }
        cx.reply(to, &Reply::Subscribed { topic: topic.into() });
    }

    pub(super) fn unsubscribe(&mut self, to: RequestId, topic: &str, cx: &mut Context<'_, Board>) {
        self.remove(to.client, Some(topic));
        cx.reply(to, &Reply::Unsubscribed { topic: topic.into() });
    }

    pub(super) fn on_gone(&mut self, client: ClientId) {
        if self.clients.contains_key(&client) {
            self.remove(client, None);
        }
    }

    /// Takes a connection's subscription to one topic away, or all.
    fn remove(&mut self, client: ClientId, only: Option<&str>) {
        let mut count = self.clients.get(&client).copied().unwrap_or_default();
        self.topics.retain(|name, topic| {
            if only.is_none_or(|only| only == name)
                && let Some(place) = topic.clients.iter().position(|one| *one == client)
            {
                topic.clients.swap_remove(place);
                count -= 1;
            }
            !topic.clients.is_empty() || !topic.nodes.is_empty()
        });
        if count > 0 {
            self.clients.insert(client, count);
        } else {
            self.clients.remove(&client);
            self.full.remove(&client);
        }
    }

    /// A connection's buffer is full, or has room again.
    pub(super) fn on_backpressure(
        &mut self,
        client: ClientId,
        full: bool,
        cx: &mut Context<'_, Board>,
    ) {
        if full {
            if self.clients.contains_key(&client) {
                self.full.entry(client).or_default();
            }
        } else if let Some(missed) = self.full.remove(&client) {
            let unsaid = u64::from(self.planted.has(Mutant::MissedMiscounted));
            let messages = missed.saturating_sub(unsaid);
            if messages == 0 {
                return;
            }
            cx.push([client], &Reply::Missed { messages });
        }
    }

    pub(super) fn on_message(
        &mut self,
        from: NodeId,
        message: Message<'_>,
        cx: &mut Context<'_, Board>,
    ) {
        match message {
            Message::Publish { clock, stamp, timestamp, post } => {
                let order =
                    if is_word(&post.topic) { self.order(&post.user, stamp) } else { Order::Late };
                let outcome = match order {
                    Order::Next => {
                        self.publish(timestamp, Some(from), &post, cx);
                        Outcome::Published
                    }
                    Order::Again => {
                        // Which of the two answers arrives first is open: both say what happened.
                        stale(cx);
                        Outcome::Published
                    }
                    Order::Late => {
                        stale(cx);
                        Outcome::Refused(Refusal::Late)
                    }
                };
                cx.send(from, &Message::Published { clock, stamp, outcome });
            }
            Message::Subscribe { topic, had } => self.subscribe_node(from, &topic, had, cx),
            _ => stale(cx),
        }
    }

    /// How a post stands to those of its user that were published; notes one that comes next.
    fn order(&mut self, user: &str, stamp: LamportTime) -> Order {
        if let Some(last) = self.stamps.get_mut(user) {
            let order = match stamp.cmp(last) {
                Ordering::Greater => Order::Next,
                Ordering::Equal if self.planted.has(Mutant::TwiceDelivered) => Order::Next,
                Ordering::Equal if self.planted.has(Mutant::AgainSaidLate) => Order::Late,
                Ordering::Equal => Order::Again,
                Ordering::Less if self.planted.has(Mutant::LateNotDropped) => Order::Next,
                Ordering::Less => Order::Late,
            };
            *last = stamp.max(*last);
            return order;
        }
        if stamp <= self.forgotten {
            return Order::Late;
        }
        if self.stamps.len() >= MAX_USERS {
            let oldest = self.stamps.iter().min_by_key(|(_, stamp)| **stamp);
            if let Some((user, stamp)) = oldest.map(|(user, stamp)| (user.clone(), *stamp)) {
                self.forgotten = self.forgotten.max(stamp);
                self.stamps.remove(&user);
            }
        }
        self.stamps.insert(user.into(), stamp);
        Order::Next
    }

    /// A client's own publication.
    pub(super) fn publish_here(
        &mut self,
        to: RequestId,
        topic: &str,
        text: Bytes<'_>,
        cx: &mut Context<'_, Board>,
    ) {
        if !is_word(topic) || text.len() > MAX_TEXT_BYTES {
            let error = error(Refusal::Form.reason(), Maybe::No, cx);
            return cx.reply(to, &error);
        }
        let timestamp = cx.wall_clock().millis();
        let post = Post { user: Cow::Borrowed(""), topic: topic.into(), text };
        let subscribers = self.publish(timestamp, None, &post, cx);
        cx.reply(to, &Reply::Published { subscribers });
    }

    /// Brings a post to all who subscribe; answers how many those are.
    fn publish(
        &mut self,
        timestamp: u64,
        server: Option<NodeId>,
        post: &Post<'_>,
        cx: &mut Context<'_, Board>,
    ) -> u64 {
        self.published += 1;
        let Some(topic) = self.topics.get_mut(&*post.topic) else { return 0 };
        let Post { user, topic: name, text } = post;
        if !topic.clients.is_empty() {
            let message = Reply::Message {
                topic: Cow::Borrowed(name),
                user: Cow::Borrowed(user),
                server,
                text: Bytes::new(text),
                timestamp,
                // One event, however many hear of it.
                clock: cx.local_event(),
            };
            if self.full.is_empty() {
                cx.push(topic.clients.iter().copied(), &message);
            } else {
                for client in &topic.clients {
                    if let Some(missed) = self.full.get_mut(client) {
                        *missed += 1;
                        self.missed += 1;
                    }
                }
                let reading = topic.clients.iter().filter(|client| !self.full.contains_key(client));
                cx.push(reading.copied(), &message);
            }
        }
        for (node, deliveries) in &mut topic.nodes {
            *deliveries += 1;
            if self.linked.contains(node) {
                let (number, post) = (*deliveries, post.clone());
                cx.send(*node, &Message::Deliver { number, timestamp, server, post });
            } else {
                self.missed += 1;
            }
        }
        (topic.clients.len() + topic.nodes.len()) as u64
    }

    fn subscribe_node(
        &mut self,
        from: NodeId,
        name: &str,
        had: Option<u64>,
        cx: &mut Context<'_, Board>,
    ) {
        if !is_word(name) {
            return stale(cx);
        }
        let nodes = &mut self.topics.entry(name.into()).or_default().nodes;
        let place = nodes.iter().position(|node| node.0 == from).unwrap_or_else(|| {
            nodes.push((from, 0));
            nodes.len() - 1
        });
        if had.is_none() {
            // It has started anew, and hears from now on.
            nodes[place].1 = 0;
        }
        let deliveries = nodes[place].1;
        cx.send(from, &Message::Subscribed { topic: name.into(), deliveries });
    }

    pub(super) fn on_link(&mut self, peer: NodeId, up: bool) {
        self.linked.retain(|node| *node != peer);
        if up {
            self.linked.push(peer);
        }
    }
}
