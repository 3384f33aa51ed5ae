//! The reference server: ranks for ever, and the list of those that are there.

use super::{
    Listed, Member, Membership, Message, Mutant, Planted, Record, Reply, Request, Timer,
    fingerprint, is_name,
};
use crate::core::{Context, Corrupt, Counter, Escaped, NodeId, RecordSink, Time};
use crate::facts;
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
    /// How many of them no node has.
    clients: usize,
    /// When it looks at the list next; none while nobody is on it.
    looks_at: Option<Time>,
    telling: Telling,
    planted: Planted,
}

/// Whether members wait to hear who is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Telling {
    /// They know.
    Done,
    /// They have just been told; the next time comes with the timer.
    Lately,
    /// With the timer they are told what is new since.
    Due,
}

pub(super) struct Server {
    pub(super) name: String,
    /// The node that has the name; none where a JSON client brought it.
    node: Option<NodeId>,
    /// When it was last heard from; none while it is off the list.
    heard: Option<Time>,
}

/// How many names that no node has get a rank. Each is in memory and in the log, and in the answer
/// to `list`, for ever; there is no such bound for nodes, of which each has one name.
const MAX_CLIENTS: usize = 10_000;
const NO_PLACE: &str = "10000 names of clients have ranks, which are for ever: no more get one";
const NO_NAME: &str = "a name has 1 to 64 bytes, no space, control character, quote or backslash";
const NO_RANK: &str = "no such name has a rank: ask for one";
/// It looks at the list so many times in the timeout, to see when it was held up itself.
const LOOKS: u32 = 30;
/// How long members wait for what is new after they were told. A list is as long as there are nodes
/// and goes to each, so that many that start at a time would have many long ones.
const TELL_EVERY: Duration = Duration::from_millis(100);

impl Reference {
    pub(super) fn new(timeout: Duration, planted: Planted) -> Reference {
        Reference {
            timeout,
            servers: Vec::new(),
            names: BTreeMap::new(),
            clients: 0,
            looks_at: None,
            telling: Telling::Done,
            planted,
        }
    }

    pub(super) fn recover(&mut self, record: Record<'_>) -> Result<(), Corrupt> {
        let Record { name, rank, node } = record;
        match self.names.get(&*name) {
            // A node took over a name.
            Some(known) if *known == rank => {
                let holder = &mut self.servers[rank as usize - 1].node;
                self.clients -= usize::from(holder.is_none() && node.is_some());
                *holder = node.or(*holder);
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
        self.clients += usize::from(node.is_none());
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
                    self.hear(rank, cx);
                    cx.send(from, &Message::Members { list: self.members() });
                }
                Err(reason) => cx.send(from, &Message::Refused { reason: reason.into() }),
            },
            Message::Heartbeat { list: known } => {
                let place = self.servers.iter().position(|server| server.node == Some(from));
                match place {
                    Some(place) => {
                        self.hear(place as u32 + 1, cx);
                        let list = self.members();
                        // One that was sent may be lost, and nobody is told who has gone.
                        if fingerprint(&list) != known {
                            cx.send(from, &Message::Members { list });
                        }
                    }
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
            return Err(NO_NAME);
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
                    self.clients -= 1;
                    cx.persist(&Record { name: name.into(), rank, node });
                    Ok(rank)
                }
                _ => Ok(rank),
            };
        }
        if node.is_some_and(|node| self.servers.iter().any(|server| server.node == Some(node))) {
            return Err("this node has another name already: names are for ever");
        }
        if node.is_none() {
            self.has_place()?;
        }
        let rank = self.add(name, node);
        if !self.planted.has(Mutant::RankNotRecorded) {
            cx.persist(&Record { name: name.into(), rank, node });
        }
        let (clock, me, name) = (cx.lamport().0, cx.me(), Escaped(name.as_bytes()));
        cx.print(format_args!("[{clock}.{me}] {name} gets rank {rank}"));
        Ok(rank)
    }

    /// Whether one more client's name can have a rank.
    fn has_place(&self) -> Result<(), &'static str> {
        if self.clients < MAX_CLIENTS { Ok(()) } else { Err(NO_PLACE) }
    }

    /// A server is there.
    fn hear(&mut self, rank: u32, cx: &mut Context<'_, Membership>) {
        let now = cx.now();
        let Server { heard, node, .. } = &mut self.servers[rank as usize - 1];
        let (is_new, is_node) = (heard.replace(now).is_none(), node.is_some());
        if !is_new {
            return;
        }
        self.tell(rank, true, cx);
        if is_node {
            self.announce(cx);
        }
        if self.looks_at.is_none() {
            // Nobody's time is over before that.
            self.look_next(cx);
        }
    }

    /// Takes those off the list whose time is over.
    pub(super) fn on_expiry(&mut self, cx: &mut Context<'_, Membership>) {
        let now = cx.now();
        // Whoever holds this node up keeps it from hearing anybody meanwhile.
        // Every timer is a little late, which adds up to nothing.
        let late = self.looks_at.map_or(Duration::ZERO, |at| now - at);
        if late > self.timeout / LOOKS && !self.planted.has(Mutant::HeldUpCounts) {
            for server in &mut self.servers {
                server.heard = server.heard.map(|heard| (heard + late).min(now));
            }
        }
        if self.planted.has(Mutant::LatestExpires) {
            let latest = self.servers.iter().filter_map(|server| server.heard).max();
            self.servers.iter_mut().for_each(|server| server.heard = server.heard.and(latest));
        }
        let most = if self.planted.has(Mutant::EarlyOff) { self.timeout / 2 } else { self.timeout };
        for place in 0..self.servers.len() {
            let heard = self.servers[place].heard;
            if heard.is_some_and(|heard| now - heard >= most) {
                self.servers[place].heard = None;
                self.tell(place as u32 + 1, false, cx);
            }
        }
        self.look_next(cx);
    }

    fn look_next(&mut self, cx: &mut Context<'_, Membership>) {
        let heard = self.servers.iter().filter_map(|server| server.heard).min();
        let looks = if self.planted.has(Mutant::LooksSeldom) { 1 } else { LOOKS };
        let latest = cx.now() + self.timeout / looks;
        let first = heard.map(|heard| (heard + self.timeout).min(latest));
        self.looks_at = first.map(|first| if looks == 1 { latest } else { first });
        if let Some(at) = self.looks_at {
            cx.set_timer(Timer::Expiry, at - cx.now());
        }
    }

    fn tell(&self, rank: u32, on: bool, cx: &mut Context<'_, Membership>) {
        let (clock, me) = (cx.lamport().0, cx.me());
        let Server { name, node, .. } = &self.servers[rank as usize - 1];
        let name = Escaped(name.as_bytes());
        let what = if on { "is listed" } else { "is off the list: no heartbeat" };
        cx.print(format_args!("[{clock}.{me}] {name} (rank {rank}) {what}"));
        if let Some(id) = *node {
            cx.publish(facts::Listed { id, rank, on });
        }
    }

    pub(super) fn listed(&self) -> impl Iterator<Item = (u32, &Server)> {
        (1..).zip(&self.servers).filter(|(_, server)| server.heard.is_some())
    }

    /// The ranks that nodes have.
    pub(super) fn of_nodes(&self) -> impl Iterator<Item = (NodeId, u32)> {
        (1..).zip(&self.servers).filter_map(|(rank, server)| Some((server.node?, rank)))
    }

    fn members(&self) -> Vec<Member> {
        let listed = self.listed();
        listed.filter_map(|(rank, server)| server.node.map(|node| Member { node, rank })).collect()
    }

    /// All listed nodes have to hear who is there.
    fn announce(&mut self, cx: &mut Context<'_, Membership>) {
        if self.telling != Telling::Done {
            self.telling = Telling::Due;
            return;
        }
        let list = self.members();
        let to: Vec<NodeId> = list.iter().map(|member| member.node).collect();
        cx.multicast(to, &Message::Members { list });
        self.telling = Telling::Lately;
        cx.set_timer(Timer::Tell, TELL_EVERY);
    }

    /// Members may be told again.
    pub(super) fn on_tell(&mut self, cx: &mut Context<'_, Membership>) {
        let was = ::core::mem::replace(&mut self.telling, Telling::Done);
        if was == Telling::Due {
            self.announce(cx);
        }
    }

    /// Why a client's request can have no answer.
    pub(super) fn check(&self, request: &Request<'_>) -> Result<(), &'static str> {
        match request {
            Request::Rank { user, .. } if !is_name(user) => Err(NO_NAME),
            Request::Rank { user, .. } if !self.names.contains_key(&**user) => self.has_place(),
            Request::Heartbeat { user, .. } if !self.names.contains_key(&**user) => Err(NO_RANK),
            Request::Rank { .. }
            | Request::List { .. }
            | Request::Heartbeat { .. }
            | Request::Malformed { .. } => Ok(()),
        }
    }

    /// Answers a client at this time of its clock.
    pub(super) fn answer<'a>(
        &'a mut self,
        request: Request<'a>,
        timestamp: u64,
        cx: &mut Context<'_, Membership>,
    ) -> Result<Reply<'a>, Cow<'a, str>> {
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
                self.hear(rank.ok_or(NO_RANK)?, cx);
                Reply::Heartbeat { timestamp, clock: cx.local_event() }
            }
            Request::Malformed { reason } => return Err(reason),
        })
    }

    /// How many ranks it has given out.
    pub(super) fn ranks(&self) -> usize {
        self.servers.len()
    }

    pub(super) fn digest(&self) -> u64 {
        let listed =
            self.listed().fold(0, |sum: u64, (rank, _)| sum.rotate_left(7) ^ u64::from(rank));
        listed ^ (self.servers.len() as u64) << 32
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.names.len() == self.servers.len(), "a name has no rank, or two");
        // The others were the last when they came.
        if let Some(last) = self.servers.last() {
            let rank = self.servers.len() as u32;
            assert!(self.names.get(&last.name) == Some(&rank), "rank {rank} is not its name's");
        }
        let clients = self.servers.iter().filter(|server| server.node.is_none());
        assert!(clients.count() == self.clients, "names of clients are not counted right");
    }
}
