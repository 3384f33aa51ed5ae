//! A server: processes posts, publishes them, and announces the coordinator.

use super::{Board, Message, Outcome, Post, Refusal, SERVERS, stale};
use crate::core::{Bytes, Context, Correction, Epoch, Escaped, Fact, LamportTime, NodeId};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

pub(super) struct Server {
    name: String,
    proxy: NodeId,
    is_linked: bool,
    /// What the proxy has not confirmed yet, and which broker gave it.
    pending: BTreeMap<LamportTime, NodeId>,
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

    pub(super) fn on_message(
        &mut self,
        from: NodeId,
        message: Message<'_>,
        cx: &mut Context<'_, Board>,
    ) {
        match message {
            Message::Work { stamp, post } => self.on_work(from, stamp, post, cx),
            Message::Published { clock, stamp, outcome } if from == self.proxy => {
                if clock == cx.me() {
                    self.announcing = self.announcing.filter(|announced| *announced != stamp);
                } else if self.pending.get(&stamp) == Some(&clock) {
                    self.pending.remove(&stamp);
                    cx.send(clock, &Message::Done { stamp, outcome });
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
        if self.is_linked {
            self.pending.insert(stamp, broker);
            self.publish(broker, stamp, post, cx);
        } else {
            let outcome = Outcome::Refused(Refusal::NoProxy);
            cx.send(broker, &Message::Done { stamp, outcome });
        }
        cx.publish(Fact::Processed);
    }

    fn publish(
        &self,
        clock: NodeId,
        stamp: LamportTime,
        post: Post<'_>,
        cx: &mut Context<'_, Board>,
    ) {
        let timestamp = self.correction.read(cx.wall_clock()).millis();
        cx.send(self.proxy, &Message::Publish { clock, stamp, timestamp, post });
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
        for (stamp, broker) in ::core::mem::take(&mut self.pending) {
            cx.send(broker, &Message::Done { stamp, outcome: Outcome::Unknown });
        }
    }

    pub(super) fn on_fact(&mut self, fact: &Fact, cx: &mut Context<'_, Board>) {
        match *fact {
            Fact::Coordinator { id, epoch } => {
                self.reign = (id == cx.me()).then_some(epoch);
                self.announcing = None;
                if self.reign.is_some() {
                    self.announce(cx);
                }
            }
            Fact::ClockOffset { correction } => self.correction = correction,
            Fact::Rank { .. } | Fact::Listed { .. } | Fact::Processed => {}
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
        let timestamp = self.correction.read(cx.wall_clock()).millis();
        let name = &self.name;
        let text = format!(
            "{{\"service\":\"election\",\"data\":{{\"coordinator\":\"{name}\",\"epoch\":{epoch},\
             \"timestamp\":{timestamp},\"clock\":{}}}}}",
            stamp.0
        );
        let text = Bytes::new(text.as_bytes());
        let post = Post { user: name.into(), topic: SERVERS.into(), text };
        self.publish(cx.me(), stamp, post, cx);
    }
}
