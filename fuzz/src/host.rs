//! Clusters whose nodes get what the input says: their own messages, late, twice, never or changed
//! on the way; frames, requests and records of anybody's making; links, timers, crashes, lost logs.

use super::Input;
use super::nodes::{self, Blueprint};
use node_protocols::core::{
    Caller, ClientId, Effect, Host, LamportTime, NodeId, Now, RequestId, Time, WallTime,
};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

thread_local! {
    static CLUSTERS: OnceCell<Vec<Vec<Blueprint>>> = const { OnceCell::new() };
}

/// So much happens in one run at most.
const MAX_EVENTS: usize = 300;
/// So many messages are under way at once; the network loses the others.
const MAX_FLIGHTS: usize = 64;

/// The first byte names the cluster, the second says whether console and trace are on; then events.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    CLUSTERS.with(|clusters| {
        let clusters = clusters.get_or_init(nodes::clusters);
        let blueprints = &clusters[input.place(clusters.len())];
        let mut cluster = Cluster::new(blueprints, input.byte() % 2 == 1);
        for _ in 0..MAX_EVENTS {
            if input.is_empty() {
                break;
            }
            cluster.event(&mut input);
        }
    });
}

struct Flight {
    from: usize,
    to: usize,
    payload: Vec<u8>,
}

struct Cluster<'a> {
    nodes: Vec<Node<'a>>,
    ids: Vec<NodeId>,
    now: Now,
    shows: bool,
    /// Nothing came that no node made.
    is_honest: bool,
    /// Ranks are the reference server's word: elections that go by them hold nothing against its lies.
    goes_by_rank: bool,
    /// The links that are up, the lower place first.
    links: BTreeSet<(usize, usize)>,
    flights: Vec<Flight>,
}

struct Node<'a> {
    blueprint: &'a Blueprint,
    /// None when it does not start with what is on its disk.
    host: Option<Host>,
    incarnation: u64,
    log: Vec<(u16, Vec<u8>)>,
    /// The lengths of protocols' files.
    files: BTreeMap<u16, u64>,
    /// The requests without an answer, and how many there were.
    open: BTreeSet<RequestId>,
    asked: u32,
}

impl<'a> Cluster<'a> {
    /// All nodes started, and all links up.
    fn new(blueprints: &'a [Blueprint], shows: bool) -> Cluster<'a> {
        let node = |blueprint| Node {
            blueprint,
            host: None,
            incarnation: 0,
            log: Vec::new(),
            files: BTreeMap::new(),
            open: BTreeSet::new(),
            asked: 0,
        };
        let mut cluster = Cluster {
            nodes: blueprints.iter().map(node).collect(),
            ids: blueprints.iter().map(|blueprint| blueprint.id).collect(),
            now: Now { time: Time(0), wall: WallTime::from_millis(1_700_000_000_000) },
            shows,
            is_honest: true,
            goes_by_rank: blueprints.len() > 4,
            links: BTreeSet::new(),
            flights: Vec::new(),
        };
        for place in 0..cluster.nodes.len() {
            cluster.start(place, false);
        }
        for one in 0..cluster.nodes.len() {
            for other in one + 1..cluster.nodes.len() {
                cluster.link(one, other, true);
            }
        }
        cluster
    }

    fn event(&mut self, input: &mut Input<'_>) {
        let what = input.byte() % 16;
        self.is_honest &= !matches!(what, 3 | 6 | 7);
        match what {
            0..=2 => self.deliver(input, &mut |_| {}, true),
            3 => {
                let (at, mask) = (input.number(), input.byte());
                let change = &mut |payload: &mut Vec<u8>| {
                    let at = usize::from(at) % payload.len().max(1);
                    payload.get_mut(at).into_iter().for_each(|byte| *byte ^= mask);
                };
                self.deliver(input, change, true);
            }
            4 => self.deliver(input, &mut |_| {}, false),
            5 => {
                let lost = input.place(self.flights.len());
                if lost < self.flights.len() {
                    self.flights.swap_remove(lost);
                }
            }
            6 => self.forge(input),
            7 => {
                let (from, to) = self.pair(input);
                let payload = input.short().to_vec();
                self.frame(from, to, &payload);
            }
            8 | 9 => self.request(input),
            10 => {
                let (one, other) = self.pair(input);
                let up = !self.links.contains(&(one.min(other), one.max(other)));
                self.link(one, other, up);
            }
            11 => {
                let millis = [0, 1, 10, 20, 50, 200, 1_000, 60_000, 86_400_000];
                self.pass(millis[input.place(millis.len())]);
            }
            12 => self.restart(input),
            13 => self.client(input),
            14 => self.settle(),
            _ => self.surroundings(input),
        }
    }

    fn pair(&self, input: &mut Input<'_>) -> (usize, usize) {
        let byte = usize::from(input.byte());
        (byte % self.nodes.len(), byte / 16 % self.nodes.len())
    }

    /// Delivers a message that is under way, and maybe lets it come again.
    fn deliver(&mut self, input: &mut Input<'_>, change: &mut dyn FnMut(&mut Vec<u8>), once: bool) {
        let place = input.place(self.flights.len());
        let Some(flight) = self.flights.get(place) else { return };
        let (from, to, mut payload) = (flight.from, flight.to, flight.payload.clone());
        if once {
            self.flights.remove(place);
        }
        change(&mut payload);
        self.frame(from, to, &payload);
    }

    /// A message of one of the receiver's protocols, with anything in it.
    fn forge(&mut self, input: &mut Input<'_>) {
        let (from, to) = self.pair(input);
        let (which, ahead) = (input.byte(), input.byte());
        let body = input.short();
        let Some(host) = &self.nodes[to].host else { return };
        let protocols = host.protocols();
        let tag = protocols[usize::from(which) % protocols.len()].tag();
        let lamport = LamportTime(host.lamport().0.saturating_add(ahead.into()));
        let mut payload = Vec::new();
        node_protocols::core::encode(&(tag, lamport), &mut payload);
        payload.extend_from_slice(body);
        self.frame(from, to, &payload);
    }

    fn frame(&mut self, from: usize, to: usize, payload: &[u8]) {
        if self.links.contains(&(from.min(to), from.max(to))) {
            let (id, now, shows) = (self.ids[from], self.now, self.shows);
            self.at(to, |host| {
                if shows {
                    host.describe(payload);
                }
                let _ = host.handle_frame(id, payload, now);
                if shows {
                    host.protocols().iter().for_each(|protocol| drop(protocol.view()));
                }
            });
        }
    }

    fn request(&mut self, input: &mut Input<'_>) {
        let (place, which, slot) = (input.place(self.nodes.len()), input.byte(), input.byte() % 4);
        let body = input.short();
        let (now, shows) = (self.now, self.shows);
        let node = &mut self.nodes[place];
        let Some(host) = &mut node.host else { return };
        let protocol = usize::from(which) % host.protocols().len();
        if shows {
            host.protocols()[protocol].describe_request(body);
        }
        node.asked += 1;
        let request = RequestId { client: client(slot), sequence: node.asked };
        if host.handle_request(protocol, Caller { request, addr: ADDR }, body, now).is_ok() {
            node.open.insert(request);
        }
        self.at(place, |_| {});
    }

    fn client(&mut self, input: &mut Input<'_>) {
        let (place, which, slot) = (input.place(self.nodes.len()), input.byte(), input.byte());
        let now = self.now;
        self.at(place, |host| {
            let protocol = usize::from(which) % host.protocols().len();
            match slot / 4 % 4 {
                0 | 1 => host.handle_client(protocol, client(slot % 4), ADDR, slot & 4 == 0, now),
                up => host.handle_backpressure(protocol, client(slot % 4), up == 2, now),
            }
        });
    }

    fn link(&mut self, one: usize, other: usize, up: bool) {
        let key = (one.min(other), one.max(other));
        let both = self.nodes[one].host.is_some() && self.nodes[other].host.is_some();
        if one == other || self.links.contains(&key) == up || (up && !both) {
            return;
        }
        match up {
            true => self.links.insert(key),
            false => self.links.remove(&key),
        };
        self.flights
            .retain(|flight| (flight.from.min(flight.to), flight.from.max(flight.to)) != key);
        let now = self.now;
        for (place, peer) in [(one, other), (other, one)] {
            let id = self.ids[peer];
            let theirs = self.nodes[peer].host.as_ref().map(Host::lamport).filter(|_| up);
            self.at(place, |host| {
                if let Some(lamport) = theirs {
                    let _ = host.handle_greeting(lamport, now);
                }
                host.handle_link(id, up, now);
            });
        }
    }

    /// Lets time pass, and fires what is due.
    fn pass(&mut self, millis: u64) {
        let nanos = millis * 1_000_000;
        self.now.time = Time(self.now.time.0.saturating_add(nanos));
        self.now.wall = WallTime(self.now.wall.0.saturating_add(nanos));
        let now = self.now;
        for place in 0..self.nodes.len() {
            self.at(place, |host| host.handle_timers(now));
        }
    }

    /// What is under way arrives, and what that sets off.
    fn settle(&mut self) {
        for _ in 0..MAX_FLIGHTS {
            if self.flights.is_empty() {
                return;
            }
            let Flight { from, to, payload } = self.flights.remove(0);
            self.frame(from, to, &payload);
        }
    }

    fn surroundings(&mut self, input: &mut Input<'_>) {
        let place = input.place(self.nodes.len());
        match input.byte() % 4 {
            0 => {
                let room = input.number().into();
                self.at(place, |host| host.set_room(room));
            }
            1 => self.now.wall = WallTime(u64::from(input.number()) << (input.byte() % 64)),
            2 => {
                let lamport = LamportTime(u64::from(input.number()) << (input.byte() % 64));
                let now = self.now;
                self.at(place, |host| {
                    let _ = host.handle_greeting(lamport, now);
                });
            }
            _ => {
                let now = self.now;
                self.at(place, |host| host.handle_stop(now));
            }
        }
    }

    /// A node stops without warning and starts with what is then on its disk.
    fn restart(&mut self, input: &mut Input<'_>) {
        let place = input.place(self.nodes.len());
        let (what, how) = (input.byte(), input.number());
        for other in 0..self.nodes.len() {
            self.link(place, other, false);
        }
        let node = &mut self.nodes[place];
        (node.host, node.open) = (None, BTreeSet::new());
        self.is_honest &= what % 8 < 3;
        let records = node.log.len();
        match what % 8 {
            0..=2 => {}
            3 => node.log.truncate(records.saturating_sub(usize::from(how) % 16)),
            4 => {
                if let Some((_, record)) = node.log.get_mut(usize::from(how % 64) % records.max(1))
                {
                    let at = usize::from(how / 64) % record.len().max(1);
                    record.get_mut(at).into_iter().for_each(|byte| *byte ^= what);
                }
            }
            5 => {
                let tag = node.log.last().map_or(0, |(tag, _)| *tag);
                node.log.push((tag, input.short().to_vec()));
            }
            6 => node.files.values_mut().for_each(|bytes| *bytes = how.into()),
            _ => (node.log, node.files) = Default::default(),
        }
        self.start(place, what % 8 == 7 && how % 2 == 1);
        for other in 0..self.nodes.len() {
            if how >> other & 0x100 == 0 {
                self.link(place, other, true);
            }
        }
    }

    /// Starts a node, if it does with what is on its disk.
    fn start(&mut self, place: usize, log_lost: bool) {
        let node = &mut self.nodes[place];
        node.incarnation += 1;
        let mut host = node.blueprint.host(node.incarnation);
        host.set_output(self.shows, self.shows);
        let mut records = node.log.iter();
        let sound = records.all(|(tag, record)| host.handle_record(*tag, record).is_ok());
        if (!sound || log_lost) && host.restores() {
            host = node.blueprint.host(node.incarnation);
            host.set_output(self.shows, self.shows);
            host.handle_log_lost();
            node.log.clear();
        } else if !sound {
            return;
        }
        for (tag, _) in host.files().collect::<Vec<_>>() {
            let bytes = node.files.entry(tag).or_default();
            match host.handle_file(tag, *bytes) {
                Ok(kept) => {
                    assert!(kept <= *bytes, "a file is cut, not made longer");
                    *bytes = kept;
                }
                Err(_) => return,
            }
        }
        host.handle_start(self.now);
        node.host = Some(host);
        self.at(place, |_| {});
    }

    /// Has a node handle something, and carries out what it wants done.
    fn at(&mut self, place: usize, handle: impl FnOnce(&mut Host)) {
        let node = &mut self.nodes[place];
        let Some(mut host) = node.host.take() else { return };
        handle(&mut host);
        host.handle_turn_end();
        if self.is_honest || !self.goes_by_rank {
            host.check_invariants();
        }
        node.write(&host);
        for effect in host.outbox().effects() {
            match *effect {
                Effect::Send { to, payload } => {
                    let Some(to) = self.ids.iter().position(|id| *id == to) else {
                        // Its log says so, after a change; a driver has no link to there.
                        assert!(!self.is_honest, "it sends to nobody");
                        continue;
                    };
                    let is_up = self.links.contains(&(place.min(to), place.max(to)));
                    if is_up && self.flights.len() < MAX_FLIGHTS {
                        let payload = host.outbox().bytes(payload).to_vec();
                        self.flights.push(Flight { from: place, to, payload });
                    }
                }
                Effect::Reply { to, .. } | Effect::Over { to } => {
                    assert!(node.open.remove(&to), "a request is answered twice");
                }
                Effect::Push { to, .. } => assert!(!host.outbox().clients(to).is_empty()),
                Effect::Print { line } | Effect::Note { line } => {
                    let line = str::from_utf8(host.outbox().bytes(line)).expect("lines are text");
                    assert!(!line.contains('\n'), "a line has one line");
                }
                Effect::Timer { .. } | Effect::Fact { .. } | Effect::Stop { .. } => {}
            }
        }
        host.outbox_mut().clear_effects();
        host.outbox_mut().clear_records();
        node.host = Some(host);
    }
}

impl Node<'_> {
    /// Makes a turn durable, in the order of the fence.
    fn write(&mut self, host: &Host) {
        let outbox = host.outbox();
        for (tag, bytes) in outbox.files() {
            *self.files.entry(tag).or_default() += bytes.len() as u64;
        }
        if outbox.checkpoint() {
            self.log.clear();
            return host.snapshot(&mut |tag, record| self.log.push((tag, record.to_vec())));
        }
        let mut rest = outbox.records();
        while let Some((head, tail)) = rest.split_first_chunk::<6>() {
            let (tag, length) = ([head[0], head[1]], [head[2], head[3], head[4], head[5]]);
            let (record, after) = tail.split_at(u32::from_le_bytes(length) as usize);
            self.log.push((u16::from_le_bytes(tag), record.to_vec()));
            rest = after;
        }
        assert!(rest.is_empty(), "records are whole");
    }
}

const ADDR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);

fn client(slot: u8) -> ClientId {
    ClientId { slot: slot.into(), generation: 0 }
}
