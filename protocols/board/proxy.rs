//! The proxy: brings what is published to those who subscribe, and waits for none of them.

use super::{
    Board, Had, MAX_TEXT_BYTES, Maybe, Message, Mutant, Outcome, Planted, Post, Refusal, Reply,
    SERVERS,
};
use super::{error, is_word, stale};
use crate::core::{Bytes, ClientId, Context, LamportTime, NodeId, RequestId};
use ::core::cmp::Ordering;
use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

#[derive(Default)]
pub(super) struct Proxy {
    topics: BTreeMap<Arc<str>, Topic>,
    /// What each connection subscribes to.
    clients: BTreeMap<ClientId, BTreeSet<Arc<str>>>,
    /// How many subscriptions the connections have.
    subscriptions: usize,
    /// The connections that do not read, and how many messages they have missed. They stay in it
    /// while they subscribe to nothing: who comes back is told of what it missed before.
    full: BTreeMap<ClientId, u64>,
    /// The nodes that there is a link to.
    linked: Vec<NodeId>,
    /// By whose clock the stamps are: the broker's, or that of a server that announces something.
    stamps: BTreeMap<NodeId, Stamps>,
    published: u64,
    missed: u64,
    planted: Planted,
}

#[derive(Default)]
struct Topic {
    clients: Vec<ClientId>,
    nodes: Vec<Listener>,
}

/// A node that subscribes.
struct Listener {
    id: NodeId,
    /// When it began, by this node's clock: tells what a proxy counted from what one before it did.
    since: LamportTime,
    /// How many deliveries it has had or missed since then.
    deliveries: u64,
}

/// The stamps of one clock.
#[derive(Default)]
struct Stamps {
    /// Of each user's last post.
    last: BTreeMap<String, LamportTime>,
    /// Users who were forgotten had no later stamp.
    forgotten: LamportTime,
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
/// What all connections may. A subscription takes some hundred bytes.
const MAX_SUBSCRIPTIONS: usize = 100_000;

impl Proxy {
    pub(super) fn new(planted: Planted) -> Proxy {
        Proxy { planted, ..Proxy::default() }
    }

    pub(super) fn status(&self) -> [u64; 4] {
        let mut nodes: Vec<NodeId> =
            self.topics.values().flat_map(|topic| &topic.nodes).map(|node| node.id).collect();
        nodes.sort_unstable();
        nodes.dedup();
        [0, self.published, (self.clients.len() + nodes.len()) as u64, self.missed]
    }

    pub(super) fn check_invariants(&self) {
        let subscribers: usize = self.topics.values().map(|topic| topic.clients.len()).sum();
        let topics: usize = self.clients.values().map(BTreeSet::len).sum();
        let counted = self.subscriptions;
        assert!(subscribers == counted && topics == counted, "{subscribers}, {topics}, {counted}");
    }

    pub(super) fn subscribe(&mut self, to: RequestId, topic: &str, cx: &mut Context<'_, Board>) {
        let own = self.clients.get(&to.client);
        if own.is_none_or(|own| !own.contains(topic)) {
            let is_full = own.is_some_and(|own| own.len() >= MAX_TOPICS);
            if !is_word(topic) {
                let error = error("a topic is a word of 1 to 64 bytes", Maybe::No, cx);
                return cx.reply(to, &error);
            }
            if is_full || self.subscriptions >= MAX_SUBSCRIPTIONS {
                let reason =
                    "a connection subscribes to at most 1000 topics, and all together to 100000";
                let error = error(reason, Maybe::No, cx);
                return cx.reply(to, &error);
            }
            let name = self.topics.get_key_value(topic).map(|(name, _)| Arc::clone(name));
            let name = name.unwrap_or_else(|| topic.into());
            self.topics.entry(Arc::clone(&name)).or_default().clients.push(to.client);
            self.clients.entry(to.client).or_default().insert(name);
            self.subscriptions += 1;
        }
        let (timestamp, clock) = (cx.wall_clock().millis(), cx.local_event());
        cx.reply(to, &Reply::Subscribed { topic: topic.into(), timestamp, clock });
    }

    pub(super) fn unsubscribe(&mut self, to: RequestId, topic: &str, cx: &mut Context<'_, Board>) {
        if let Some(own) = self.clients.get_mut(&to.client)
            && own.remove(topic)
        {
            if own.is_empty() {
                self.clients.remove(&to.client);
            }
            self.remove(to.client, topic);
        }
        let (timestamp, clock) = (cx.wall_clock().millis(), cx.local_event());
        cx.reply(to, &Reply::Unsubscribed { topic: topic.into(), timestamp, clock });
    }

    pub(super) fn on_gone(&mut self, client: ClientId) {
        self.full.remove(&client);
        for topic in self.clients.remove(&client).unwrap_or_default() {
            self.remove(client, &topic);
        }
    }

    /// Takes a connection out of a topic's subscribers.
    fn remove(&mut self, client: ClientId, name: &str) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        if let Some(place) = topic.clients.iter().position(|one| *one == client) {
            topic.clients.swap_remove(place);
            self.subscriptions -= 1;
        }
        if topic.clients.is_empty() && topic.nodes.is_empty() {
            self.topics.remove(name);
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
            self.full.entry(client).or_default();
        } else if let Some(missed) = self.full.remove(&client) {
            let unsaid = u64::from(self.planted.has(Mutant::MissedMiscounted));
            let messages = missed.saturating_sub(unsaid);
            if messages > 0 {
                let (timestamp, clock) = (cx.wall_clock().millis(), cx.local_event());
                cx.push([client], &Reply::Missed { messages, timestamp, clock });
            }
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
                let outcome = self.take(from, clock, stamp, timestamp, &post, cx);
                cx.send(from, &Message::Published { clock, stamp, outcome });
            }
            Message::Subscribe { topic, had } => self.subscribe_node(from, &topic, had, cx),
            _ => stale(cx),
        }
    }

    /// What comes of a server's post.
    fn take(
        &mut self,
        from: NodeId,
        clock: NodeId,
        stamp: LamportTime,
        timestamp: u64,
        post: &Post<'_>,
        cx: &mut Context<'_, Board>,
    ) -> Outcome {
        if !is_word(&post.topic) {
            return Outcome::Refused(Refusal::Form);
        }
        // What servers say of themselves comes from them alone.
        if *post.topic == *SERVERS && clock != from {
            return Outcome::Refused(Refusal::Servers);
        }
        match self.order(clock, &post.user, stamp) {
            Order::Next => {
                self.publish(timestamp, Some(from), post, cx);
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
        }
    }

    /// How a post stands to those of its user that were published; notes one that comes next.
    fn order(&mut self, clock: NodeId, user: &str, stamp: LamportTime) -> Order {
        let Stamps { last, forgotten } = self.stamps.entry(clock).or_default();
        if let Some(last) = last.get_mut(user) {
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
        if stamp <= *forgotten {
            return Order::Late;
        }
        if last.len() >= MAX_USERS {
            // Half of them at once, so that it costs nothing per user.
            let mut stamps: Vec<LamportTime> = last.values().copied().collect();
            let (_, median, _) = stamps.select_nth_unstable(MAX_USERS / 2);
            *forgotten = (*forgotten).max(*median);
            last.retain(|_, stamp| *stamp > *forgotten);
        }
        last.insert(user.into(), stamp);
        Order::Next
    }

    /// A client's own publication.
    pub(super) fn publish_here(
        &mut self,
        to: RequestId,
        topic: &str,
        text: Bytes<'_>,
        quiet: bool,
        cx: &mut Context<'_, Board>,
    ) {
        if !is_word(topic) || text.len() > MAX_TEXT_BYTES {
            let error = error(Refusal::Form.reason(), Maybe::No, cx);
            return cx.reply(to, &error);
        }
        if topic == SERVERS {
            let error = error(Refusal::Servers.reason(), Maybe::No, cx);
            return cx.reply(to, &error);
        }
        let timestamp = cx.wall_clock().millis();
        let post = Post { user: Cow::Borrowed(""), topic: topic.into(), text };
        let subscribers = self.publish(timestamp, None, &post, cx);
        if quiet {
            return cx.no_reply(to);
        }
        let clock = cx.local_event();
        cx.reply(to, &Reply::Published { subscribers, timestamp, clock });
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
        for Listener { id, deliveries, .. } in &mut topic.nodes {
            *deliveries += 1;
            if self.linked.contains(id) {
                let (number, post) = (*deliveries, post.clone());
                cx.send(*id, &Message::Deliver { number, timestamp, server, post });
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
        had: Option<Had>,
        cx: &mut Context<'_, Board>,
    ) {
        if !is_word(name) {
            return stale(cx);
        }
        let nodes = &mut self.topics.entry(name.into()).or_default().nodes;
        let place = nodes.iter().position(|node| node.id == from);
        // One that was told of it before goes on; all others hear from now on.
        let goes_on = place.filter(|place| had.is_some_and(|had| had.since == nodes[*place].since));
        let place = goes_on.unwrap_or_else(|| {
            let listener = Listener { id: from, since: cx.local_event(), deliveries: 0 };
            if let Some(place) = place {
                nodes[place] = listener;
                return place;
            }
            nodes.push(listener);
            nodes.len() - 1
        });
        let Listener { since, deliveries, .. } = nodes[place];
        let now = Had { since, deliveries };
        cx.send(from, &Message::Subscribed { topic: name.into(), now });
    }

    pub(super) fn on_link(&mut self, peer: NodeId, up: bool) {
        self.linked.retain(|node| *node != peer);
        if up {
            self.linked.push(peer);
        }
    }
}
