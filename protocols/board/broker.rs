//! The broker: takes posts, gives each to a server at random, one at a time for each user.

use super::shown::View;
use super::{
    Board, Config, MAX_TEXT_BYTES, Maybe, Message, Outcome, Post, Refusal, Reply, SERVERS,
};
use super::{Timer, error, is_topic, is_word, stale};
use crate::core::{Bytes, Context, LamportTime, MAX_LISTED, NodeId, RequestId, Time};
use ::core::time::Duration;
use alloc::borrow::{Cow, ToOwned};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

pub(super) struct Broker {
    timeout: Duration,
    /// The servers, in ascending order, and whether there is a link to them.
    servers: Vec<(NodeId, bool)>,
    /// The users of whom something is under way, and what waits behind it.
    users: BTreeMap<String, VecDeque<Waiting>>,
    /// By stamp, so by age.
    under_way: BTreeMap<LamportTime, UnderWay>,
    waiting: usize,
    waiting_bytes: usize,
    done: u64,
}

struct Waiting {
    origin: Origin,
    topic: String,
    text: Vec<u8>,
}

struct UnderWay {
    origin: Origin,
    user: String,
    server: NodeId,
    since: Time,
}

/// Who is told how it ended.
#[derive(Clone, Copy)]
enum Origin {
    Client(RequestId),
    Bot { id: NodeId, number: u64 },
}

/// Posts that wait behind others of their users, in all.
const MAX_WAITING: usize = 10_000;
const MAX_WAITING_BYTES: usize = 64 << 20;

impl Broker {
    pub(super) fn new(config: &Config) -> Broker {
        let mut servers: Vec<(NodeId, bool)> =
            config.servers.iter().map(|id| (NodeId(*id), false)).collect();
        servers.sort_unstable();
        servers.dedup();
        Broker {
            timeout: Duration::from_millis(config.timeout_ms),
            servers,
            users: BTreeMap::new(),
            under_way: BTreeMap::new(),
            waiting: 0,
            waiting_bytes: 0,
            done: 0,
        }
    }

    pub(super) fn status(&self) -> [u64; 4] {
        [(self.waiting + self.under_way.len()) as u64, self.done, 0, 0]
    }

    pub(super) fn seen(&self) -> View<'_> {
        let linked = self.servers.iter().filter(|server| server.1);
        View::Broker {
            under_way: self.under_way.len(),
            waiting: self.waiting,
            done: self.done,
            servers: linked.map(|server| server.0).take(MAX_LISTED).collect(),
        }
    }

    pub(super) fn check_invariants(&self) {
        let waiting: usize = self.users.values().map(VecDeque::len).sum();
        assert!(waiting == self.waiting, "{waiting} posts wait, and {} are counted", self.waiting);
        assert!(
            self.users.len() == self.under_way.len(),
            "a user has two posts under way, or none"
        );
    }

    pub(super) fn on_send(&mut self, to: RequestId, post: Post<'_>, cx: &mut Context<'_, Board>) {
        self.take(Origin::Client(to), post, cx);
    }

    pub(super) fn on_message(
        &mut self,
        from: NodeId,
        message: Message<'_>,
        cx: &mut Context<'_, Board>,
    ) {
        match message {
            Message::Send { number, post } => {
                self.take(Origin::Bot { id: from, number }, post, cx);
            }
            Message::Done { stamp, timestamp, outcome } => {
                let is_its = self.under_way.get(&stamp).is_some_and(|one| one.server == from);
                if is_its {
                    self.end(stamp, outcome, timestamp, cx);
                } else {
                    stale(cx);
                }
            }
            _ => stale(cx),
        }
    }

    pub(super) fn on_link(&mut self, peer: NodeId, up: bool, cx: &mut Context<'_, Board>) {
        let Ok(place) = self.servers.binary_search_by_key(&peer, |server| server.0) else { return };
        self.servers[place].1 = up;
        // What it had may have come through, and its answers will not.
        let lost = self.under_way.iter().filter(|(_, one)| !up && one.server == peer);
        for stamp in lost.map(|(stamp, _)| *stamp).collect::<Vec<_>>() {
            self.end(stamp, Outcome::Unknown, cx.wall_clock().millis(), cx);
        }
    }

    pub(super) fn on_overdue(&mut self, cx: &mut Context<'_, Board>) {
        let now = cx.now();
        while let Some((stamp, oldest)) = self.under_way.first_key_value()
            && now - oldest.since >= self.timeout
        {
            let stamp = *stamp;
            self.end(stamp, Outcome::Unknown, cx.wall_clock().millis(), cx);
        }
        self.watch(cx);
    }

    /// Has the timer run while something is under way.
    fn watch(&self, cx: &mut Context<'_, Board>) {
        match self.under_way.first_key_value() {
            Some((_, oldest)) => {
                cx.set_timer(Timer::Overdue, oldest.since + self.timeout - cx.now());
            }
            None => cx.cancel_timer(Timer::Overdue),
        }
    }

    /// Gives a post to a server, or lets it wait behind those of its user.
    fn take(&mut self, origin: Origin, post: Post<'_>, cx: &mut Context<'_, Board>) {
        let is_sound = is_word(&post.user) && is_topic(&post.topic);
        if !is_sound || post.text.len() > MAX_TEXT_BYTES {
            return self.tell(origin, Outcome::Refused(Refusal::Form), None, cx);
        }
        if post.topic == SERVERS {
            return self.tell(origin, Outcome::Refused(Refusal::Servers), None, cx);
        }
        if let Some(queue) = self.users.get_mut(&*post.user) {
            let bytes = self.waiting_bytes + post.text.len();
            if self.waiting >= MAX_WAITING || bytes > MAX_WAITING_BYTES {
                return self.tell(origin, Outcome::Refused(Refusal::Busy), None, cx);
            }
            self.waiting += 1;
            self.waiting_bytes = bytes;
            let (topic, text) = (post.topic.into_owned(), post.text.to_vec());
            return queue.push_back(Waiting { origin, topic, text });
        }
        if self.dispatch(origin, &post, cx) {
            self.users.insert(post.user.into_owned(), VecDeque::new());
        }
    }

    /// Sends a post to a server; false when there is none, and its origin has been told.
    fn dispatch(&mut self, origin: Origin, post: &Post<'_>, cx: &mut Context<'_, Board>) -> bool {
        let linked = self.servers.iter().filter(|server| server.1);
        let count = linked.clone().count() as u64;
        if count == 0 {
            self.tell(origin, Outcome::Refused(Refusal::NoServer), None, cx);
            return false;
        }
        let chosen = cx.rng().below(count) as usize;
        let Some((server, _)) = linked.clone().nth(chosen).copied() else { return false };
        let stamp = cx.local_event();
        cx.send(server, &Message::Work { stamp, post: post.clone() });
        let user = post.user.clone().into_owned();
        let first = self.under_way.is_empty();
        self.under_way.insert(stamp, UnderWay { origin, user, server, since: cx.now() });
        if first {
            self.watch(cx);
        }
        true
    }

    /// A post is over: its origin is told, and the next of its user goes.
    fn end(
        &mut self,
        stamp: LamportTime,
        outcome: Outcome,
        timestamp: u64,
        cx: &mut Context<'_, Board>,
    ) {
        let Some(UnderWay { origin, user, server, .. }) = self.under_way.remove(&stamp) else {
            return;
        };
        self.tell(origin, outcome, Some((server, timestamp)), cx);
        let Some(mut queue) = self.users.remove(&user) else { return };
        while let Some(Waiting { origin, topic, text }) = queue.pop_front() {
            self.waiting -= 1;
            self.waiting_bytes -= text.len();
            let post =
                Post { user: Cow::Borrowed(&user), topic: topic.into(), text: Bytes::new(&text) };
            if self.dispatch(origin, &post, cx) {
                self.users.insert(user.to_owned(), queue);
                break;
            }
        }
    }

    fn tell(
        &mut self,
        origin: Origin,
        outcome: Outcome,
        server: Option<(NodeId, u64)>,
        cx: &mut Context<'_, Board>,
    ) {
        self.done += 1;
        let to = match origin {
            Origin::Bot { id, number } => return cx.send(id, &Message::Sent { number, outcome }),
            Origin::Client(to) => to,
        };
        let reply = match (outcome, server) {
            (Outcome::Published, Some((server, timestamp))) => {
                Reply::Sent { server, timestamp, clock: cx.local_event() }
            }
            (Outcome::Refused(refusal), _) => error(refusal.reason(), Maybe::No, cx),
            (Outcome::Published | Outcome::Unknown, _) => {
                error("the server does not answer", Maybe::Unknown, cx)
            }
        };
        cx.reply(to, &reply);
    }
}
