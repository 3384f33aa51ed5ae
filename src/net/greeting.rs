//! How connections begin: accepting, dialling, and the greeting that says who is who. Whether it is
//! true is found out in `verify`.

use super::Node;
use super::connection::{Claim, Dial, Purpose, State};
use super::connections::Connections;
use super::places::{Class, Room};
use super::served::Served;
use super::table::Key;
use super::tracing::LinkNames;
use mio::net::TcpStream;
use node_lab::registry::NATIVE;
use node_lab::wire::Session;
use node_lab::wire::{Frame, Hello, MAGIC, MAX_HELLO_BYTES, Role, VERSION, Welcome, next_frame};
use node_protocols::core::{Counter, Env, Escaped, LamportTime, NodeId, Time};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};

/// The longest reason that is sent to whoever is refused.
const MAX_REASON_BYTES: usize = MAX_HELLO_BYTES - 64;

const SAME_IDENTITY: &str = "both nodes have the same identity: the data directory of one is a copy \
                             of the other's; give it a new one";

impl Node {
    pub(super) fn accept(&mut self, place: usize) {
        for _ in 0..self.connections.accepts_per_turn() {
            match self.connections.listeners.accept(place, self.now.time) {
                Ok(Some((stream, addr))) => self.accepted(place, stream, addr),
                Ok(None) => return,
                Err(error) => {
                    let line = format_args!("cannot accept a connection: {error}");
                    return self.tell(Counter::NoDescriptor, line);
                }
            }
        }
    }

    fn accepted(&mut self, place: usize, stream: TcpStream, addr: SocketAddr) {
        self.host.count(Counter::Accepted);
        let is_native = self.connections.listeners.config(place).gateway == NATIVE;
        let class = if is_native { Class::Stranger } else { Class::Client };
        if let Err(full) = self.make_room(|connections, now| connections.room_for(class, now)) {
            return self.tell(Counter::OverCap, format_args!("{addr} is refused: {full}"));
        }
        let listener = self.connections.listeners.config(place);
        let mut greeting = Vec::new();
        let state = match &listener.protocol {
            Some(protocol) if !is_native => {
                let codec = self.registry.codec(&listener.gateway, protocol);
                let session = self.host.place(protocol).zip(codec);
                // The config was checked against the registry.
                let Some((place, (name, mut codec))) = session else { return };
                codec.identify(self.connections.next_key());
                codec.greet(&mut greeting);
                State::Client(Served::new(Session::ordered(place, name, codec)))
            }
            Some(_) | None => State::Greeting,
        };
        let place = state.place();
        let key = match self.connections.add(stream, addr, state, self.now.time) {
            Ok(key) => key,
            Err(error) => {
                let line = format_args!("cannot serve {addr}: {error}");
                return self.tell(Counter::NoDescriptor, line);
            }
        };
        if let Some(connection) = self.connections.get_mut(key).filter(|_| !greeting.is_empty()) {
            connection.out.tail().extend_from_slice(&greeting);
            self.connections.touch(key);
        }
        if let Some(place) = place {
            self.host.handle_client(place, key, addr, true, self.now);
            self.distribute_if_traced();
        }
    }

    /// Sees to it that there is a place, if need be that of one that has said nothing. Otherwise
    /// answers what there is too much of.
    fn make_room(&mut self, room: impl Fn(&mut Connections, Time) -> Room) -> Result<(), String> {
        loop {
            match room(&mut self.connections, self.now.time) {
                Room::Free => return Ok(()),
                Room::None(full) => return Err(full),
                Room::Of(key, wait) => {
                    if let Some(connection) = self.connections.get(key) {
                        let addr = connection.addr;
                        let line = format_args!(
                            "{addr} is closed: it said nothing in {wait:?}, and others come"
                        );
                        self.tell(Counter::Idle, line);
                    }
                    self.close(key);
                }
            }
        }
    }

    /// Dials the peers that are due: to have a link, to ask whether they greet, or why they do not.
    pub(super) fn dial_due(&mut self) {
        while let Some((dial, addr)) = self.connections.links.take_due(self.now.time) {
            let Err(error) = self.dial(dial, &addr) else { continue };
            let peer = dial.peer;
            log::debug!(target: "net", "cannot dial node {peer} at {addr}: {error}");
            match dial.purpose {
                Purpose::Link => self.connections.links.lost(peer, self.now.time),
                Purpose::Verify => self.check_failed(peer),
                Purpose::Knock => {}
            }
        }
    }

    fn dial(&mut self, dial: Dial, addr: &str) -> io::Result<Key> {
        // An IP needs no look-up; a host name asks the system's resolver, which may take a while.
        let found = addr.to_socket_addrs()?.next();
        let addr = found.ok_or_else(|| io::Error::other("the name has no address"))?;
        let stream = TcpStream::connect(addr)?;
        self.connections.add(stream, addr, State::Dialing(dial), self.now.time)
    }

    /// A connection that is being dialled may be there now: greet.
    pub(super) fn on_connected(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let State::Dialing(dial) = connection.state else { return };
        let failed = connection.stream.take_error().ok().flatten();
        if failed.is_some() {
            return self.close(key);
        }
        match connection.stream.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotConnected => return,
            Err(_) => return self.close(key),
        }
        self.connections.turn_into(key, State::Greeted(dial), self.now.time);
        let (id, to) = (self.env.id, dial.peer);
        let challenge = match dial.purpose {
            Purpose::Link | Purpose::Knock => 0,
            Purpose::Verify => self.ask_claims(to),
        };
        let cluster = self.config.cluster.as_str().into();
        let role = match dial.purpose {
            Purpose::Link => Role::Peer {
                cluster,
                id,
                to,
                identity: self.env.identity,
                incarnation: self.env.incarnation,
                dial: self.connections.links.greeted(to, key, self.now.time),
                lamport: self.host.lamport(),
            },
            Purpose::Verify => Role::Verify { cluster, id, to, challenge },
            Purpose::Knock => {
                let Env { identity, incarnation, .. } = self.env;
                Role::Knock { cluster, id, to, identity, incarnation }
            }
        };
        self.connections.say(key, &Hello::new(role));
    }

    /// The first frame of a connection that came in.
    pub(super) fn on_hello(&mut self, key: Key, data: &[u8]) -> usize {
        let (payload, used) = match next_frame(data, MAX_HELLO_BYTES) {
            Frame::Incomplete => return 0,
            Frame::TooLong { .. } => return self.reject(key, data, "it begins with no greeting"),
            Frame::Whole { payload, used } => (payload, used),
        };
        let hello = match postcard::from_bytes::<Hello<'_>>(payload) {
            Ok(hello) if hello.magic == MAGIC => hello,
            Ok(_) | Err(_) => return self.reject(key, data, "it begins with no greeting"),
        };
        if hello.version != VERSION {
            let why = format!("it speaks version {}, this node {VERSION}", hello.version);
            return self.reject(key, data, &why);
        }
        match hello.role {
            Role::Client { protocol } => {
                let Some(place) = self.host.place(&protocol) else {
                    let protocol = Escaped(protocol.as_bytes());
                    let why = format!("it asks for protocol {protocol}, which is not run here");
                    return self.reject(key, data, &why);
                };
                if let Err(full) = self.make_room(Connections::room_for_client) {
                    return self.reject_for(Counter::OverCap, key, data, &full);
                }
                self.welcome(key, State::Client(Served::new(Session::native(place))));
            }
            Role::Peer { cluster, id, to, identity, incarnation, dial, lamport } => {
                let fault = self.peer_fault(&cluster, id, to).or_else(|| {
                    let same = identity == self.env.identity;
                    same.then(|| SAME_IDENTITY.into())
                });
                let since = self.now.time;
                let claim =
                    Claim { peer: id, identity, incarnation, dial, lamport, since, asked: false };
                if let Some(why) = fault.or_else(|| self.claim(key, claim)) {
                    return self.reject(key, data, &why);
                }
            }
            Role::Verify { cluster, id, to, challenge } => {
                if let Some(why) = self.verify_fault(&cluster, id, to) {
                    return self.reject_news(key, id, data, &why);
                }
                self.prove(key, id, challenge);
            }
            Role::Knock { cluster, id, to, identity, incarnation } => {
                let fault = self.verify_fault(&cluster, id, to);
                if let Some(why) = fault.or_else(|| self.knocked(key, id, (identity, incarnation)))
                {
                    return self.reject_news(key, id, data, &why);
                }
            }
        }
        used
    }

    /// Why a greeting of a peer is not accepted.
    fn peer_fault(&self, cluster: &str, id: NodeId, to: NodeId) -> Option<String> {
        let fault = self.any_fault(cluster, id, to);
        fault.or_else(|| {
            let me = self.env.id;
            let why = || format!("node {id} must not dial node {me}: lower ids dial higher ones");
            (id >= me).then(why)
        })
    }

    /// Why a question of a peer is not answered.
    fn verify_fault(&self, cluster: &str, id: NodeId, to: NodeId) -> Option<String> {
        let fault = self.any_fault(cluster, id, to);
        fault.or_else(|| {
            let me = self.env.id;
            (id <= me)
                .then(|| format!("node {me} never dials node {id}: lower ids dial higher ones"))
        })
    }

    fn any_fault(&self, cluster: &str, id: NodeId, to: NodeId) -> Option<String> {
        let me = self.env.id;
        if cluster != self.config.cluster {
            let (theirs, ours) = (Escaped(cluster.as_bytes()), &self.config.cluster);
            Some(format!("it is of cluster {theirs}, this node of {ours}"))
        } else if to != me {
            Some(format!(
                "it means to reach node {to}, this is node {me}: [peers] is wrong at the one that dials"
            ))
        } else if self.connections.links.get(id).is_none() {
            Some(format!("it says it is node {id}, which is not in this node's [peers]"))
        } else {
            None
        }
    }

    /// Why where a peer's Lamport clock stands is not accepted.
    pub(super) fn catch_up(&mut self, lamport: LamportTime) -> Option<String> {
        self.host.handle_greeting(lamport, self.now).err().map(|jump| jump.to_string())
    }

    pub(super) fn welcome(&mut self, key: Key, state: State) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Some(place) = state.place() {
            self.host.handle_client(place, key, connection.addr, true, self.now);
        }
        self.connections.turn_into(key, state, self.now.time);
        let (id, identity) = (self.env.id, self.env.identity);
        let (incarnation, lamport) = (self.env.incarnation, self.host.lamport());
        let welcome = Welcome::Accepted { id, identity, incarnation, lamport };
        self.connections.say(key, &welcome);
    }

    /// Ends a connection that did not greet properly: one line in the log, the reason to whoever
    /// can read it. Takes all that came.
    fn reject(&mut self, key: Key, data: &[u8], why: &str) -> usize {
        self.reject_for(Counter::BadHandshake, key, data, why)
    }

    fn reject_for(&mut self, cause: Counter, key: Key, data: &[u8], why: &str) -> usize {
        let Some(addr) = self.refuse(key, why) else { return data.len() };
        self.tell(cause, format_args!("{addr} is refused: {why}"));
        data.len()
    }

    /// The same for whoever names a peer, and tries again and again: told when it is news.
    pub(super) fn reject_news(&mut self, key: Key, peer: NodeId, data: &[u8], why: &str) -> usize {
        let Some(addr) = self.refuse(key, why) else { return data.len() };
        self.tell_news(peer, why, format_args!("{addr} is refused: {why}"));
        data.len()
    }

    /// Says why, and closes when that is sent.
    pub(super) fn refuse(&mut self, key: Key, why: &str) -> Option<SocketAddr> {
        self.connections.turn_into(key, State::Parting(self.now.time), self.now.time);
        // The other side takes no longer frame, and a reason may have another node's in it.
        let end = why.floor_char_boundary(MAX_REASON_BYTES);
        self.connections.say(key, &Welcome::Refused { reason: why[..end].into() });
        self.connections.get(key).map(|connection| connection.addr)
    }

    /// The answer to this node's greeting.
    pub(super) fn on_welcome(&mut self, key: Key, dial: Dial, data: &[u8]) -> usize {
        let (payload, used) = match next_frame(data, MAX_HELLO_BYTES) {
            Frame::Incomplete => return 0,
            Frame::TooLong { .. } => (&[][..], data.len()),
            Frame::Whole { payload, used } => (payload, used),
        };
        let peer = dial.peer;
        let why = match postcard::from_bytes::<Welcome<'_>>(payload) {
            Ok(Welcome::Accepted { id, identity, incarnation, lamport }) if id == peer => 'no: {
                if identity == self.env.identity {
                    break 'no SAME_IDENTITY.into();
                }
                match dial.purpose {
                    Purpose::Link => {}
                    Purpose::Verify => {
                        self.confirmed(key, peer);
                        return data.len();
                    }
                    Purpose::Knock => {
                        self.close(key);
                        return data.len();
                    }
                }
                if let Some(why) = self.catch_up(lamport) {
                    break 'no why;
                }
                let dial = self.connections.links.welcomed(peer);
                let names = LinkNames::new(self.env.id, self.env.incarnation, dial);
                self.connections.turn_into(key, State::Link(peer, names), self.now.time);
                self.link_up(key, peer, (identity, incarnation));
                return used;
            }
            Ok(Welcome::Accepted { id, .. }) => format!("node {id} is there; check [peers]"),
            Ok(Welcome::Refused { reason }) => {
                format!("it answers: {}", Escaped(reason.as_bytes()))
            }
            Err(_) => "what listens there is no node; check [peers]".into(),
        };
        match dial.purpose {
            Purpose::Link | Purpose::Knock => {
                let line = format!(
                    "no link to node {peer} at {}: {why}",
                    self.connections.links.addr(peer)
                );
                self.tell_news(peer, &why, format_args!("{line}"));
                if dial.purpose == Purpose::Knock
                    && self.connections.links.is_news(peer, &why, self.now.time)
                {
                    self.connections.links.knock_again(peer, self.now.time);
                }
                self.close(key);
            }
            Purpose::Verify => self.denied(key, peer, &why),
        }
        data.len()
    }

    pub(super) fn link_up(&mut self, key: Key, peer: NodeId, process: (u128, u64)) {
        let level = self.connections.links.level(peer, self.now.time);
        if let Some(old) = self.connections.links.get(peer).and_then(|peer| peer.link) {
            log::log!(
                target: "net",
                level,
                "node {peer} connects anew, and its link is replaced"
            );
            self.close(old);
        }
        self.connections.link_up(key, peer, process, self.now.time);
        log::log!(target: "net", level, "link to node {peer} is up");
        if let Some(tracing) = &mut self.tracing {
            tracing.link(peer, true);
        }
        self.host.handle_link(peer, true, self.now);
        self.distribute_if_traced();
    }
}
