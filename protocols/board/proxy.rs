//! The proxy: brings what is published to those who subscribe, and waits for none of them.

mod stamps;

use self::stamps::{Order, Stamps};
use super::shown::View;
use super::subject::Subjects;
use super::{
    Board, Had, MAX_TEXT_BYTES, Maybe, Member, Message, Mutant, Outcome, Planted, Post, Refusal,
    Reply, SERVERS,
};
use super::{error, is_listed, is_topic, is_word, stale, topic_fault};
use crate::core::{Bytes, ClientId, Context, LamportTime, NodeId, RequestId};
use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

#[derive(Default)]
pub(super) struct Proxy {
    subjects: Subjects<Topic>,
    /// What each connection subscribes to.
    clients: BTreeMap<ClientId, Own>,
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
    found: Found,
    planted: Planted,
}

/// What is kept of a topic, or of what stands for several.
#[derive(Default)]
struct Topic {
    /// Who hears everything.
    clients: Vec<ClientId>,
    /// Who shares.
    groups: BTreeMap<Arc<str>, Vec<Sharer>>,
    nodes: Vec<Listener>,
}

impl Topic {
    fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.groups.is_empty() && self.nodes.is_empty()
    }
}

/// A member of a group.
struct Sharer {
    client: ClientId,
    /// What the client calls this membership.
    name: Arc<str>,
    /// How many messages it has had.
    had: u64,
    /// How many it is to have in all.
    limit: Option<u64>,
}

/// What one connection subscribes to.
#[derive(Default)]
struct Own {
    topics: BTreeSet<Arc<str>>,
    /// Topic, group and the client's name for it.
    memberships: BTreeSet<(Arc<str>, Arc<str>, Arc<str>)>,
}

impl Own {
    fn len(&self) -> usize {
        self.topics.len() + self.memberships.len()
    }
}

/// What a message goes to; buffers, so that finding it allocates nothing.
#[derive(Default)]
struct Found {
    /// Who subscribes to a pattern.
    clients: Vec<ClientId>,
    /// Groups, and under which subject they have members.
    groups: Vec<(Arc<str>, Arc<str>)>,
    path: String,
}

/// What is said: a server's post, or what a client publishes itself.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) topic: &'a str,
    pub(super) user: &'a str,
    pub(super) text: &'a [u8],
    pub(super) reply: Option<&'a str>,
    pub(super) headers: Option<&'a [u8]>,
}

/// What a client wants of its publication.
pub(super) struct Wishes {
    pub(super) quiet: bool,
    pub(super) no_echo: bool,
    pub(super) no_responders: bool,
}

/// Where and when a message was processed.
#[derive(Clone, Copy)]
struct Origin {
    server: Option<NodeId>,
    timestamp: u64,
}

/// A node that subscribes.
struct Listener {
    id: NodeId,
    /// When it began, by this node's clock: tells what a proxy counted from what one before it did.
    since: LamportTime,
    /// How many deliveries it has had or missed since then.
    deliveries: u64,
}

/// What one connection may subscribe to.
pub(super) const MAX_TOPICS: usize = 1_000;
/// What all connections may. A subscription takes some hundred bytes.
const MAX_SUBSCRIPTIONS: usize = 100_000;
/// What NATS says to who asks where nobody answers.
const NO_RESPONDERS: &[u8] = b"NATS/1.0 503\r\n\r\n";

impl Proxy {
    pub(super) fn new(planted: Planted) -> Proxy {
        Proxy { planted, ..Proxy::default() }
    }

    pub(super) fn status(&self) -> [u64; 4] {
        let mut nodes: Vec<NodeId> =
            self.subjects.values().flat_map(|topic| &topic.nodes).map(|node| node.id).collect();
        nodes.sort_unstable();
        nodes.dedup();
        [0, self.published, (self.clients.len() + nodes.len()) as u64, self.missed]
    }

    pub(super) fn seen(&self) -> View<'_> {
        let [_, _, subscribers, _] = self.status();
        View::Proxy {
            published: self.published,
            subscribers,
            subscriptions: self.subscriptions,
            not_reading: self.full.len(),
            missed: self.missed,
        }
    }

    pub(super) fn check_invariants(&self) {
        let of_topic = |topic: &Topic| {
            topic.clients.len() + topic.groups.values().map(Vec::len).sum::<usize>()
        };
        let subscribers: usize = self.subjects.values().map(of_topic).sum();
        let topics: usize = self.clients.values().map(Own::len).sum();
        let counted = self.subscriptions;
        assert!(subscribers == counted && topics == counted, "{subscribers}, {topics}, {counted}");
    }

    pub(super) fn subscribe(
        &mut self,
        to: RequestId,
        topic: &str,
        member: Option<&Member<'_>>,
        cx: &mut Context<'_, Board>,
    ) {
        let own = self.clients.get(&to.client);
        let has = own.is_some_and(|own| match member {
            None => own.topics.contains(topic),
            Some(member) => own.memberships.contains(&named(topic, member)),
        });
        if !has {
            let is_full = own.is_some_and(|own| own.len() >= MAX_TOPICS);
            let refusal = if !is_topic(topic) {
                Some(Cow::Owned(topic_fault(topic.as_bytes())))
            } else if member.is_some_and(|one| !is_word(&one.group) || !is_name(&one.name)) {
                Some("a group is a word of 1 to 64 bytes, and a member's name of at most 64".into())
            } else if is_full || self.subscriptions >= MAX_SUBSCRIPTIONS {
                let reason =
                    "a connection subscribes to at most 1000 topics, and all together to 100000";
                Some(reason.into())
            } else {
                None
            };
            if let Some(reason) = refusal {
                let error = error(reason, Maybe::No, cx);
                return cx.reply(to, &error);
            }
            self.add(to.client, topic, member);
        }
        let (timestamp, clock) = (cx.wall_clock().millis(), cx.local_event());
        cx.reply(to, &Reply::Subscribed { topic: topic.into(), timestamp, clock });
    }

    fn add(&mut self, client: ClientId, topic: &str, member: Option<&Member<'_>>) {
        let (name, topic) = self.subjects.entry(topic);
        let own = self.clients.entry(client).or_default();
        match member {
            None => {
                topic.clients.push(client);
                own.topics.insert(name);
            }
            Some(member) => {
                let group = topic.groups.get_key_value(&*member.group);
                let group = group.map_or_else(|| (&*member.group).into(), |one| Arc::clone(one.0));
                let own_name: Arc<str> = (&*member.name).into();
                let sharers = topic.groups.entry(Arc::clone(&group)).or_default();
                sharers.push(Sharer { client, name: Arc::clone(&own_name), had: 0, limit: None });
                own.memberships.insert((name, group, own_name));
            }
        }
        self.subscriptions += 1;
    }

    pub(super) fn unsubscribe(
        &mut self,
        to: RequestId,
        topic: &str,
        member: Option<&Member<'_>>,
        after: Option<u64>,
        cx: &mut Context<'_, Board>,
    ) {
        match (member, after) {
            (None, Some(_)) => {
                let error = error("after is for members of a group", Maybe::No, cx);
                return cx.reply(to, &error);
            }
            (None, None) => {
                let own = self.clients.get_mut(&to.client);
                if own.is_some_and(|own| own.topics.remove(topic)) {
                    self.remove(to.client, topic);
                }
            }
            (Some(member), after) => {
                let sharer = self.subjects.get_mut(topic).and_then(|topic| {
                    let mut sharers = topic.groups.get_mut(&*member.group)?.iter_mut();
                    sharers.find(|one| one.client == to.client && *one.name == *member.name)
                });
                match (sharer, after) {
                    (None, _) => {}
                    (Some(sharer), Some(limit)) if sharer.had < limit => {
                        sharer.limit = Some(limit);
                    }
                    (Some(_), _) => self.leave(to.client, &named(topic, member)),
                }
            }
        }
        self.forget_idle(to.client);
        let (timestamp, clock) = (cx.wall_clock().millis(), cx.local_event());
        cx.reply(to, &Reply::Unsubscribed { topic: topic.into(), timestamp, clock });
    }

    pub(super) fn on_gone(&mut self, client: ClientId) {
        self.full.remove(&client);
        let Some(own) = self.clients.remove(&client) else { return };
        for topic in own.topics {
            self.remove(client, &topic);
        }
        for membership in own.memberships {
            self.leave(client, &membership);
        }
    }

    /// Takes a connection out of those who hear everything of a topic.
    fn remove(&mut self, client: ClientId, name: &str) {
        let Some(topic) = self.subjects.get_mut(name) else { return };
        if let Some(place) = topic.clients.iter().position(|one| *one == client) {
            topic.clients.swap_remove(place);
            self.subscriptions -= 1;
        }
        if topic.is_empty() {
            self.subjects.remove(name);
        }
    }

    /// Takes a connection out of a group.
    fn leave(&mut self, client: ClientId, membership: &(Arc<str>, Arc<str>, Arc<str>)) {
        let (topic_name, group, name) = membership;
        if let Some(own) = self.clients.get_mut(&client) {
            own.memberships.remove(membership);
        }
        let Some(topic) = self.subjects.get_mut(topic_name) else { return };
        let Some(sharers) = topic.groups.get_mut(group) else { return };
        let is_it = |one: &Sharer| one.client == client && one.name == *name;
        if let Some(place) = sharers.iter().position(is_it) {
            sharers.swap_remove(place);
            self.subscriptions -= 1;
        }
        if sharers.is_empty() {
            topic.groups.remove(group);
        }
        if topic.is_empty() {
            self.subjects.remove(topic_name);
        }
    }

    /// A connection without subscriptions is no subscriber.
    fn forget_idle(&mut self, client: ClientId) {
        if self.clients.get(&client).is_some_and(|own| own.len() == 0) {
            self.clients.remove(&client);
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
        if !is_topic(&post.topic) {
            return Outcome::Refused(Refusal::Form);
        }
        // What servers say of themselves comes from them alone.
        if *post.topic == *SERVERS && clock != from {
            return Outcome::Refused(Refusal::Servers);
        }
        let stamps = self.stamps.entry(clock).or_default();
        match stamps.order(&post.user, stamp, &self.planted) {
            Order::Next => {
                let Post { user, topic, text } = post;
                let said = Said { topic, user, text, reply: None, headers: None };
                self.publish(Origin { server: Some(from), timestamp }, &said, None, cx);
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

    /// A client's own publication.
    pub(super) fn publish_here(
        &mut self,
        to: RequestId,
        said: &Said<'_>,
        wishes: &Wishes,
        cx: &mut Context<'_, Board>,
    ) {
        if let Some(reason) = fault(said) {
            let error = error(reason, Maybe::No, cx);
            return cx.reply(to, &error);
        }
        let timestamp = cx.wall_clock().millis();
        let origin = Origin { server: None, timestamp };
        let except = wishes.no_echo.then_some(to.client);
        let subscribers = self.publish(origin, said, except, cx);
        if let (0, true, Some(topic)) = (subscribers, wishes.no_responders, said.reply) {
            let said =
                Said { topic, text: b"", reply: None, headers: Some(NO_RESPONDERS), ..*said };
            let message = message(&said, origin, None, cx.local_event());
            match self.full.get_mut(&to.client) {
                Some(missed) => {
                    *missed += 1;
                    self.missed += 1;
                }
                None => cx.push([to.client], &message),
            }
        }
        if wishes.quiet {
            return cx.no_reply(to);
        }
        let clock = cx.local_event();
        cx.reply(to, &Reply::Published { subscribers, timestamp, clock });
    }

    /// Brings what is said to all who subscribe, but to one; answers how many those are. Of each group
    /// one gets it.
    fn publish(
        &mut self,
        origin: Origin,
        said: &Said<'_>,
        except: Option<ClientId>,
        cx: &mut Context<'_, Board>,
    ) -> u64 {
        self.published += 1;
        self.find(said.topic);
        let Proxy { subjects, found, full, missed, .. } = self;
        let exact = subjects.topic(said.topic);
        let has_nodes = exact.is_some_and(|topic| !topic.nodes.is_empty());
        let exact = exact.map_or(&[][..], |topic| &topic.clients);
        let mut subscribers = 0;
        if !exact.is_empty() || !found.clients.is_empty() || !found.groups.is_empty() {
            // One event, however many hear of it.
            let clock = cx.local_event();
            let to = if found.clients.is_empty() {
                exact
            } else {
                // Each hears it once, however many of its subscriptions it belongs to.
                found.clients.extend_from_slice(exact);
                found.clients.sort_unstable();
                found.clients.dedup();
                &found.clients
            };
            let message = message(said, origin, None, clock);
            if full.is_empty() && except.is_none() {
                subscribers += to.len() as u64;
                cx.push(to.iter().copied(), &message);
            } else {
                let others = || to.iter().filter(|client| except != Some(**client));
                for client in others() {
                    subscribers += 1;
                    if let Some(its) = full.get_mut(client) {
                        *its += 1;
                        *missed += 1;
                    }
                }
                cx.push(others().filter(|client| !full.contains_key(client)).copied(), &message);
            }
            subscribers += self.share(origin, said, clock, except, cx);
        }
        if has_nodes { subscribers + self.deliver(origin, said, cx) } else { subscribers }
    }

    /// Finds who subscribes to a topic beside those who name it.
    fn find(&mut self, topic: &str) {
        let Proxy { subjects, found: Found { clients, groups, path }, .. } = self;
        clients.clear();
        groups.clear();
        let mut add = |name: &Arc<str>, topic: &Topic| {
            let its = topic.groups.keys();
            groups.extend(its.map(|group| (Arc::clone(group), Arc::clone(name))));
        };
        if let Some((name, topic)) = subjects.topic_entry(topic) {
            add(name, topic);
        }
        subjects.each_pattern(topic, path, &mut |name, topic| {
            clients.extend_from_slice(&topic.clients);
            add(name, topic);
        });
    }

    /// Gives what is said to one member of each group; answers how many groups there are.
    fn share(
        &mut self,
        origin: Origin,
        said: &Said<'_>,
        clock: LamportTime,
        except: Option<ClientId>,
        cx: &mut Context<'_, Board>,
    ) -> u64 {
        let mut groups = ::core::mem::take(&mut self.found.groups);
        groups.sort_unstable();
        let mut shared = 0;
        for group in groups.chunk_by(|one, other| one.0 == other.0) {
            let Some((topic, place)) = self.choose(group, except, cx) else { continue };
            shared += 1;
            let (name, topic) = (&group[0].0, &group[topic].1);
            let sharers = self.subjects.get_mut(topic).and_then(|one| one.groups.get_mut(name));
            let Some(sharer) = sharers.and_then(|sharers| sharers.get_mut(place)) else { continue };
            if let Some(missed) = self.full.get_mut(&sharer.client) {
                *missed += 1;
                self.missed += 1;
                continue;
            }
            let member = Member { group: (&**name).into(), name: (&*sharer.name).into() };
            cx.push([sharer.client], &message(said, origin, Some(member), clock));
            sharer.had += 1;
            if sharer.limit.is_some_and(|limit| sharer.had >= limit) {
                let client = sharer.client;
                let membership = (Arc::clone(topic), Arc::clone(name), Arc::clone(&sharer.name));
                self.leave(client, &membership);
                self.forget_idle(client);
            }
        }
        groups.clear();
        self.found.groups = groups;
        shared
    }

    /// Draws a member of a group: one that reads, if there is one. The group's members are under
    /// several subjects: answers which, and the place there.
    fn choose(
        &self,
        group: &[(Arc<str>, Arc<str>)],
        except: Option<ClientId>,
        cx: &mut Context<'_, Board>,
    ) -> Option<(usize, usize)> {
        let sharers = |topic: usize| -> &[Sharer] {
            let (name, topic) = &group[topic];
            let topic = self.subjects.subject(topic);
            topic.and_then(|topic| topic.groups.get(name)).map_or(&[], |sharers| sharers)
        };
        let all: usize = (0..group.len()).map(|topic| sharers(topic).len()).sum();
        let drawn = if all > 1 { cx.rng().below(all as u64) as usize } else { 0 };
        let mut first = drawn;
        for topic in 0..group.len() {
            match sharers(topic).get(first) {
                Some(sharer) => {
                    let is_full = self.full.contains_key(&sharer.client);
                    if except == Some(sharer.client) || is_full {
                        break;
                    }
                    return Some((topic, first));
                }
                None => first -= sharers(topic).len(),
            }
        }
        // The next that can take it; who does not read only if all do not.
        let places = (0..group.len())
            .flat_map(|topic| sharers(topic).iter().enumerate().map(move |one| (topic, one)));
        let rank = |(number, (_, (_, sharer))): &(usize, (usize, (usize, &Sharer)))| {
            (self.full.contains_key(&sharer.client), *number < drawn)
        };
        let others = places.enumerate().filter(|(_, (_, (_, one)))| except != Some(one.client));
        others.min_by_key(rank).map(|(_, (topic, (place, _)))| (topic, place))
    }

    /// Brings what is said to the nodes that subscribe; answers how many those are.
    fn deliver(&mut self, origin: Origin, said: &Said<'_>, cx: &mut Context<'_, Board>) -> u64 {
        let Some(topic) = self.subjects.get_mut(said.topic) else { return 0 };
        let Origin { server, timestamp } = origin;
        for Listener { id, deliveries, .. } in &mut topic.nodes {
            *deliveries += 1;
            if self.linked.contains(id) {
                let (user, topic) = (said.user.into(), said.topic.into());
                let post = Post { user, topic, text: Bytes::new(said.text) };
                let number = *deliveries;
                cx.send(*id, &Message::Deliver { number, timestamp, server, post });
            } else {
                self.missed += 1;
            }
        }
        topic.nodes.len() as u64
    }

    fn subscribe_node(
        &mut self,
        from: NodeId,
        name: &str,
        had: Option<Had>,
        cx: &mut Context<'_, Board>,
    ) {
        if !is_listed(name) {
            return stale(cx);
        }
        let nodes = &mut self.subjects.entry(name).1.nodes;
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

/// A membership as the proxy keeps it.
fn named(topic: &str, member: &Member<'_>) -> (Arc<str>, Arc<str>, Arc<str>) {
    (topic.into(), (&*member.group).into(), (&*member.name).into())
}

/// Whether a client can call a membership so.
fn is_name(name: &str) -> bool {
    name.is_empty() || is_word(name)
}

/// Why a client cannot publish this, if it cannot.
pub(super) fn fault(said: &Said<'_>) -> Option<Cow<'static, str>> {
    let Said { topic, text, reply, headers, .. } = said;
    if let Some(wrong) = [Some(*topic), *reply].into_iter().flatten().find(|one| !is_topic(one)) {
        return Some(topic_fault(wrong.as_bytes()).into());
    }
    if *topic == SERVERS {
        return Some(Refusal::Servers.reason().into());
    }
    let is_header = |one: &[u8]| one.starts_with(b"NATS/1.0") && one.ends_with(b"\r\n\r\n");
    if headers.is_some_and(|headers| !is_header(headers)) {
        return Some("headers begin with NATS/1.0, and end with an empty line".into());
    }
    if headers.map_or(0, <[u8]>::len) + text.len() > MAX_TEXT_BYTES {
        return Some("headers and text together have at most 1048576 bytes".into());
    }
    None
}

/// What a client hears.
fn message<'a>(
    said: &Said<'a>,
    origin: Origin,
    member: Option<Member<'a>>,
    clock: LamportTime,
) -> Reply<'a> {
    Reply::Message {
        topic: Cow::Borrowed(said.topic),
        user: Cow::Borrowed(said.user),
        server: origin.server,
        text: Bytes::new(said.text),
        reply: said.reply.map(Cow::Borrowed),
        headers: said.headers.map(Bytes::new),
        member,
        timestamp: origin.timestamp,
        clock,
    }
}
