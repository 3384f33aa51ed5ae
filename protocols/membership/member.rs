//! A member: joins, says that it is there, and tells this node's other protocols who has which rank.

use super::{Member, Membership, Message, Timer, fingerprint};
use crate::core::{Context, Counter, Escaped, NodeId};
use crate::facts::Rank;
use ::core::time::Duration;
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::String;

/// How many nodes' ranks are kept: no cluster has so many, and a false list must not fill the memory.
const MAX_MEMBERS: usize = 10_000;

/// A member of the group.
pub(super) struct Follower {
    me: NodeId,
    pub(super) name: String,
    reference: NodeId,
    every: Duration,
    /// What has been published.
    pub(super) ranks: BTreeMap<NodeId, u32>,
    /// The last list that came, as a number.
    list: u64,
}

impl Follower {
    pub(super) fn new(me: NodeId, name: String, reference: NodeId, every: Duration) -> Follower {
        Follower { me, name, reference, every, ranks: BTreeMap::new(), list: 0 }
    }

    /// Its own rank, once it knows it.
    pub(super) fn rank(&self) -> Option<u32> {
        self.ranks.get(&self.me).copied()
    }

    pub(super) fn on_link(&mut self, peer: NodeId, up: bool, cx: &mut Context<'_, Membership>) {
        if peer != self.reference {
            return;
        }
        if up {
            cx.send(peer, &Message::Join { name: Cow::Borrowed(&self.name) });
            cx.set_timer(Timer::Heartbeat, self.every);
        } else {
            cx.cancel_timer(Timer::Heartbeat);
        }
    }

    pub(super) fn on_heartbeat(&mut self, cx: &mut Context<'_, Membership>) {
        // Until it has its rank, its name may have got lost.
        if self.ranks.contains_key(&cx.me()) {
            cx.send(self.reference, &Message::Heartbeat { list: self.list });
        } else {
            cx.send(self.reference, &Message::Join { name: Cow::Borrowed(&self.name) });
        }
        cx.set_timer(Timer::Heartbeat, self.every);
    }

    pub(super) fn on_message(
        &mut self,
        from: NodeId,
        message: Message<'_>,
        cx: &mut Context<'_, Membership>,
    ) {
        match message {
            _ if from != self.reference => cx.count(Counter::Stale),
            Message::Members { list } => {
                self.list = fingerprint(&list);
                for Member { node: id, rank } in list {
                    if self.ranks.len() >= MAX_MEMBERS && !self.ranks.contains_key(&id) {
                        cx.count(Counter::Stale);
                        continue;
                    }
                    if self.ranks.insert(id, rank) == Some(rank) {
                        continue;
                    }
                    if id == cx.me() {
                        let (clock, name) = (cx.lamport().0, Escaped(self.name.as_bytes()));
                        cx.print(format_args!("[{clock}.{id}] {name} has rank {rank}"));
                    }
                    cx.publish(Rank { id, rank });
                }
            }
            Message::Refused { reason } => {
                let reason = Escaped(reason.as_bytes());
                log::warn!(target: "membership", "the reference server gives no rank: {reason}");
            }
            Message::Join { .. } | Message::Heartbeat { .. } => cx.count(Counter::Stale),
        }
    }

    pub(super) fn digest(&self) -> u64 {
        let mix = |sum: u64, (id, rank): (&NodeId, &u32)| {
            sum.rotate_left(9) ^ u64::from(id.0) << 32 ^ u64::from(*rank)
        };
        self.ranks.iter().fold(0, mix)
    }
}
