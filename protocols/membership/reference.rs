//! The reference server: ranks for ever, and the list of those that are there.

use super::{
    Listed, Member, Membership, Message, Mutant, Planted, Record, Reply, Request, Timer, is_name,
};
use crate::core::{Context, Corrupt, Counter, Escaped, Fact, NodeId, RecordSink, Time};
use ::core::time::Duration;
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// The keeper of ranks and of the list.
pub(super) struct Reference {
    timeout: Duration,
    /// By rank, from 1.
    servers: Vec<Server>,
    /// Ranks by name.
    names: BTreeMap<String, u32>,
    planted: Planted,
}

struct Server {
    name: String,
    /// The node that has the name; none where a JSON client brought it.
    node: Option<NodeId>,
    /// When it was last heard from; none while it is off the list.
    heard: Option<Time>,
}

/// Each has a name in memory and in the log.
const MAX_SERVERS: usize = 100_000;

impl Reference {
    pub(super) fn new(timeout: Duration, planted: Planted) -> Reference {
        Reference { timeout, servers: Vec::new(), names: BTreeMap::new(), planted }
    }

    pub(super) fn recover(&mut self, record: Record<'_>) -> Result<(), Corrupt> {
        let Record { name, rank, node } = record;
        match self.names.get(&*name) {
            // A node took over a name.
            Some(known) if *known == rank => {
                self.servers[rank as usize - 1].node = node;
                Ok(())
            }
            Some(_) => Err(Corrupt("a name got a second rank")),
            None if rank as usize == self.servers.len() + 1 => {
                self.add(&name, node);
                Ok(())
            }
            None => Err(Corrupt("a rank does not follow the one before it")),
        }
    }

    pub(super) fn snapshot(&self, sink: &mut RecordSink<'_>) {
        for (rank, server) in (1..).zip(&self.servers) {
            let name = Cow::Borrowed(&server.name[..]);
            sink.record(&Record { name, rank, node: server.node });
        }
    }

    /// Gives a name the next rank.
    fn add(&mut self, name: &str, node: Option<NodeId>) -> u32 {
        self.servers.push(Server { name: name.into(), node, heard: None });
        let rank = self.servers.len() as u32;
        self.names.insert(name.into(), rank);
        rank
    }

    pub(super) fn on_message(
        &mut self,
        from: NodeId,
        message: Message<'_>,
        cx: &mut Context<'_, Membership>,
    ) {
        match message {
            Message::Join { name } => match self.rank(&name, Some(from), cx) {
                Ok(rank) => {
                    if !self.hear(rank, cx) {
                        // It was listed already, and asks anew.
                        cx.send(from, &Message::Members { list: self.members() });
                    }
                }
                Err(reason) => cx.send(from, &Message::Refused { reason: reason.into() }),
            },
            Message::Heartbeat => {
                let place = self.servers.iter().position(|server| server.node == Some(from));
                match place {
                    Some(place) => _ = self.hear(place as u32 + 1, cx),
                    // It joined a reference server that forgot it.
                    None => cx.count(Counter::Stale),
                }
            }
            Message::Members { .. } | Message::Refused { .. } => cx.count(Counter::Stale),
        }
    }

    /// The name's rank; a new one if it has none.
    fn rank(
        &mut self,
        name: &str,
        node: Option<NodeId>,
        cx: &mut Context<'_, Membership>,
    ) -> Result<u32, &'static str> {
        if !is_name(name) {
            return Err("a name has 1 to 64 bytes");
        }
        if let Some(rank) = self.names.get(name).copied() {
            let Server { node: holder, heard, .. } = &mut self.servers[rank as usize - 1];
            return match (*holder, node) {
                (Some(holder), Some(node)) if holder != node => {
                    Err("another node has this name: give each its own")
                }
                (None, Some(_)) => {
                    *holder = node;
                    // All have to hear of the node.
                    *heard = None;
                    cx.persist(&Record { name: name.into(), rank, node });
                    Ok(rank)
                }
                _ => Ok(rank),
            };
        }
        if node.is_some_and(|node| self.servers.iter().any(|server| server.node == Some(node))) {
            return Err("this node has another name already: names are for ever");
        }
        if self.servers.len() >= MAX_SERVERS {
            return Err("there are too many names");
        }
        let rank = self.add(name, node);
        if !self.planted.has(Mutant::RankNotRecorded) {
            cx.persist(&Record { name: name.into(), rank, node });
        }
        let (clock, me, name) = (cx.lamport().0, cx.me(), Escaped(name.as_bytes()));
        cx.print(format_args!("[{clock}.{me}] {name} gets rank {rank}"));
        Ok(rank)
    }

    /// A server is there. Answers whether it was off the list, and now all know that it is on it.
    fn hear(&mut self, rank: u32, cx: &mut Context<'_, Membership>) -> bool {
        let now = cx.now();
        let is_new = self.servers[rank as usize - 1].heard.replace(now).is_none();
        if is_new {
            self.tell(rank, true, cx);
            self.announce(cx);
            self.expire_next(cx);
        }
        is_new
    }

    /// Takes those off the list whose time is over.
    pub(super) fn on_expiry(&mut self, cx: &mut Context<'_, Membership>) {
        let now = cx.now();
        let mut some = false;
        for place in 0..self.servers.len() {
            let heard = self.servers[place].heard;
            if heard.is_some_and(|heard| now - heard >= self.timeout) {
                self.servers[place].heard = None;
                self.tell(place as u32 + 1, false, cx);
                some = true;
            }
        }
        if some {
            self.announce(cx);
        }
        self.expire_next(cx);
    }

    fn expire_next(&self, cx: &mut Context<'_, Membership>) {
        let heard = self.servers.iter().filter_map(|server| server.heard);
        let next = if self.planted.has(Mutant::LatestExpires) { heard.max() } else { heard.min() };
        match next {
            Some(heard) => cx.set_timer(Timer::Expiry, heard + self.timeout - cx.now()),
            None => cx.cancel_timer(Timer::Expiry),
        }
    }

    fn tell(&self, rank: u32, on: bool, cx: &mut Context<'_, Membership>) {
        let (clock, me) = (cx.lamport().0, cx.me());
        let Server { name, node, .. } = &self.servers[rank as usize - 1];
        let name = Escaped(name.as_bytes());
        let what = if on { "is listed" } else { "is off the list: no heartbeat" };
        cx.print(format_args!("[{clock}.{me}] {name} (rank {rank}) {what}"));
        if let Some(id) = *node {
            cx.publish(Fact::Listed { id, rank, on });
        }
    }

    fn listed(&self) -> impl Iterator<Item = (u32, &Server)> {
        (1..).zip(&self.servers).filter(|(_, server)| server.heard.is_some())
    }

    fn members(&self) -> Vec<Member<'_>> {
        let listed = self.listed();
        let member = listed.map(|(rank, server)| Member {
            name: Cow::Borrowed(&server.name),
            rank,
            node: server.node,
        });
        member.collect()
    }

    /// Tells all listed nodes who is there.
    fn announce(&self, cx: &mut Context<'_, Membership>) {
        let to = self.listed().filter_map(|(_, server)| server.node);
        cx.multicast(to, &Message::Members { list: self.members() });
    }

    /// Answers a client at this time of its clock.
    pub(super) fn answer(
        &mut self,
        request: Request<'_>,
        timestamp: u64,
        cx: &mut Context<'_, Membership>,
    ) -> Result<Reply<'_>, &'static str> {
        Ok(match request {
            Request::Rank { user, .. } => {
                let rank = self.rank(&user, None, cx)?;
                self.hear(rank, cx);
                Reply::Rank { rank, timestamp, clock: cx.local_event() }
            }
            Request::List { .. } => {
                let list = self.listed();
                let list = list.map(|(rank, server)| Listed { name: (&*server.name).into(), rank });
                Reply::List { list: list.collect(), timestamp, clock: cx.local_event() }
            }
            Request::Heartbeat { user, .. } => {
                let rank = self.names.get(&*user).copied();
                self.hear(rank.ok_or("no such name has a rank: ask for one")?, cx);
                Reply::Heartbeat { timestamp, clock: cx.local_event() }
            }
        })
    }

    pub(super) fn digest(&self) -> u64 {
        let listed =
            self.listed().fold(0, |sum: u64, (rank, _)| sum.rotate_left(7) ^ u64::from(rank));
        listed ^ (self.servers.len() as u64) << 32
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.names.len() == self.servers.len(), "a name has no rank, or two");
        for (rank, server) in (1..).zip(&self.servers) {
            assert!(self.names.get(&server.name) == Some(&rank), "rank {rank} is not its name's");
        }
    }
}
