//! A server: processes posts, publishes them, and announces the coordinator.

use super::shown::View;
use super::{Board, Message, Outcome, Post, Refusal, SERVERS, stale};
use crate::core::{
    Bytes, ClockOffset, Context, Correction, Epoch, Escaped, Fact, LamportTime, NodeId,
};
use crate::facts::{Coordinator, Processed};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

pub(super) struct Server {
    name: String,
    proxy: NodeId,
    is_linked: bool,
    /// What the proxy has not confirmed yet: which broker gave it, and the timestamp it has.
    pending: BTreeMap<LamportTime, (NodeId, u64)>,
    /// What came over the present links, by stamp and broker: a copy of what was refused could find the
    /// proxy there, and be published after all.
    taken: BTreeSet<(LamportTime, NodeId)>,
    /// Of the servers' common clock.
    correction: Correction,
    /// The reign of this server as the coordinator, while it is one, and the stamp of what the proxy
    /// was told of it, until that is confirmed.
    reign: Option<Epoch>,
    announcing: Option<LamportTime>,
    processed: u64,
}

/// Copies come soon after what they are of.
const MAX_TAKEN: usize = 10_000;

impl Server {
    pub(super) fn new(name: String, proxy: NodeId) -> Server {
        Server {
            name,
            proxy,
            is_linked: false,
            pending: BTreeMap::new(),
            taken: BTreeSet::new(),
            correction: Correction::default(),
            reign: None,
            announcing: None,
            processed: 0,
        }
    }

    pub(super) fn status(&self) -> [u64; 4] {
        [self.pending.len() as u64, self.processed, 0, 0]
    }

    pub(super) fn seen(&self) -> View<'_> {
        View::Server {
            name: &self.name,
            has_proxy: self.is_linked,
            pending: self.pending.len(),
            processed: self.processed,
            reign: self.reign,
        }
    }

    pub(super) fn on_message(
        &mut self,
        from: NodeId,
        message: Message<'_>,
        cx: &mut Context<'_, Board>,
    ) {
        match message {
            Message::Work { stamp, post } => self.on_work(from, stamp, post, cx),
            Message::Published { clock, stamp, outcome } if from == self.proxy => {
                let given = self.pending.get(&stamp).filter(|(broker, _)| *broker == clock);
                if clock == cx.me() {
                    self.on_announced(stamp, outcome, cx);
                } else if let Some((_, timestamp)) = given.copied() {
                    self.pending.remove(&stamp);
                    cx.send(clock, &Message::Done { stamp, timestamp, outcome });
                } else {
                    stale(cx);
                }
            }
            _ => stale(cx),
        }
    }

    fn on_work(
        &mut self,
        broker: NodeId,
        stamp: LamportTime,
        post: Post<'_>,
        cx: &mut Context<'_, Board>,
    ) {
        if !self.taken.insert((stamp, broker)) {
            return stale(cx);
        }
        if self.taken.len() > MAX_TAKEN {
            self.taken.pop_first();
        }
        self.processed += 1;
        let (clock, me) = (cx.lamport().0, cx.me());
        let (user, topic) = (Escaped(post.user.as_bytes()), Escaped(post.topic.as_bytes()));
        cx.print(format_args!("[{clock}.{me}] processes {user}'s message under {topic}"));
        let timestamp = self.now(cx);
        if self.is_linked {
            self.pending.insert(stamp, (broker, timestamp));
            let clock = broker;
            cx.send(self.proxy, &Message::Publish { clock, stamp, timestamp, post });
        } else {
            let outcome = Outcome::Refused(Refusal::NoProxy);
            cx.send(broker, &Message::Done { stamp, timestamp, outcome });
        }
        cx.publish(Processed);
    }

    /// Milliseconds by the servers' common clock.
    fn now(&self, cx: &Context<'_, Board>) -> u64 {
        self.correction.read(cx.wall_clock()).millis()
    }

    /// The proxy has an announcement of this server's. It refuses one only when it has a later one,
    /// as after a restart of this server: then it is made anew.
    fn on_announced(&mut self, stamp: LamportTime, outcome: Outcome, cx: &mut Context<'_, Board>) {
        if self.announcing != Some(stamp) {
            return;
        }
        self.announcing = None;
        if outcome != Outcome::Published {
            self.announce(cx);
        }
    }

    pub(super) fn on_link(&mut self, peer: NodeId, up: bool, cx: &mut Context<'_, Board>) {
        // Nothing outlives its link.
        self.taken.retain(|(_, broker)| *broker != peer);
        if peer != self.proxy {
            return;
        }
        self.is_linked = up;
        if up {
            // Nobody was there to hear it, or it is not known whether.
            if self.reign.is_some() && self.announcing.is_some() {
                self.announce(cx);
            }
            return;
        }
        let outcome = Outcome::Unknown;
        for (stamp, (broker, timestamp)) in ::core::mem::take(&mut self.pending) {
            cx.send(broker, &Message::Done { stamp, timestamp, outcome });
        }
    }

    pub(super) fn on_fact(&mut self, fact: &Fact, cx: &mut Context<'_, Board>) {
        if let Some(Coordinator { id, epoch }) = fact.read() {
            self.reign = (id == cx.me()).then_some(epoch);
            self.announcing = None;
            if self.reign.is_some() {
                self.announce(cx);
            }
        } else if let Some(ClockOffset { correction }) = fact.read() {
            self.correction = correction;
        }
    }

    /// Tells all who subscribe to the servers' topic that this one coordinates.
    fn announce(&mut self, cx: &mut Context<'_, Board>) {
        let Some(epoch) = self.reign else { return };
        let stamp = cx.local_event();
        self.announcing = Some(stamp);
        if !self.is_linked {
            return;
        }
        let timestamp = self.now(cx);
        let name = &self.name;
        let text = format!(
            "{{\"service\":\"election\",\"data\":{{\"coordinator\":\"{name}\",\"epoch\":{epoch},\
             \"timestamp\":{timestamp},\"clock\":{}}}}}",
            stamp.0
        );
        let text = Bytes::new(text.as_bytes());
        let post = Post { user: name.into(), topic: SERVERS.into(), text };
        let clock = cx.me();
        cx.send(self.proxy, &Message::Publish { clock, stamp, timestamp, post });
    }
}
