//! How connections begin: accepting, dialling, and the greeting that says who is who.

use super::clients::Session;
use super::connection::{Connection, Kind};
use super::table::{Key, token};
use super::tracing::LinkNames;
use super::wire::{
    Frame, Hello, MAGIC, MAX_HELLO_BYTES, Role, VERSION, Welcome, next_frame, push_message,
};
use super::{ACCEPTS_PER_TURN, Node};
use crate::registry::NATIVE;
use mio::Interest;
use mio::net::TcpStream;
use node_protocols::core::{Counter, Escaped, LamportTime, NodeId};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// How long to wait before accepting again when the process is out of descriptors, unless a
/// connection ends before.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

impl Node {
    pub(super) fn accept(&mut self, place: usize) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listening) = self.listeners.get_mut(place) else { return };
            listening.more = false;
            match listening.socket.accept() {
                Ok((stream, addr)) => self.accepted(place, stream, addr),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    // The peer gave up in the queue, or a signal came: the next may be fine.
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => {
                        listening.more = true;
                        self.accept_at = Some(self.now.time + ACCEPT_RETRY);
                        let line = format_args!("cannot accept a connection: {error}");
                        return self.tell(Counter::NoDescriptor, line);
                    }
                },
            }
        }
        if let Some(listening) = self.listeners.get_mut(place) {
            listening.more = true;
        }
    }

    fn accepted(&mut self, place: usize, stream: TcpStream, addr: SocketAddr) {
        self.host.count(Counter::Accepted);
        if self.clients >= self.max_clients {
            let clients = self.clients;
            let line = format_args!("{addr} is refused: {clients} clients are connected");
            return self.tell(Counter::OverCap, line);
        }
        let listener = &self.listeners[place].config;
        let mut greeting = Vec::new();
        let kind = match &listener.protocol {
            Some(protocol) if listener.gateway != NATIVE => {
                let codec = self.registry.codec(&listener.gateway, protocol);
                let session = self.host.place(protocol).zip(codec);
                // The config was checked against the registry.
                let Some((place, (name, mut codec))) = session else { return };
                codec.identify(self.table.next_key());
                codec.greet(&mut greeting);
                Kind::Client(Session::ordered(place, name, codec))
            }
            Some(_) | None => Kind::Greeting,
        };
        if let Kind::Greeting = kind {
            self.sweep_within(self.config.limits.greeting_timeout_ms);
        }
        let place = kind.place();
        let key = match self.add(stream, addr, kind) {
            Ok(key) => key,
            Err(error) => {
                let line = format_args!("cannot serve {addr}: {error}");
                return self.tell(Counter::NoDescriptor, line);
            }
        };
        if let Some(connection) = self.table.get_mut(key).filter(|_| !greeting.is_empty()) {
            connection.out.tail().extend_from_slice(&greeting);
            self.touch(key);
        }
        if let Some(place) = place {
            self.host.handle_client(place, key, addr, true, self.now);
            self.distribute_if_traced();
        }
    }

    fn add(&mut self, mut stream: TcpStream, addr: SocketAddr, kind: Kind) -> io::Result<Key> {
        // Small messages must not wait for more; whole turns go out in one write anyway.
        let _ = stream.set_nodelay(true);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, token(self.table.next_key()), interest)?;
        let counts = !matches!(kind, Kind::Dialing(_));
        self.clients += usize::from(counts);
        if self.config.limits.idle_timeout_ms > 0 {
            self.sweep_within(self.config.limits.idle_timeout_ms);
        }
        Ok(self.table.insert(Connection::new(stream, addr, kind, self.now.time)))
    }

    pub(super) fn dial_due(&mut self) {
        while let Some((peer, addr)) = self.links.take_due(self.now.time) {
            if let Err(error) = self.dial(peer, &addr) {
                log::debug!(target: "net", "cannot dial node {peer} at {addr}: {error}");
                self.links.lost(self.env.id, peer, self.now.time);
            }
        }
    }

    fn dial(&mut self, peer: NodeId, addr: &str) -> io::Result<()> {
        // An IP needs no look-up; a host name asks the system's resolver, which may take a while.
        let found = addr.to_socket_addrs()?.next();
        let addr = found.ok_or_else(|| io::Error::other("the name has no address"))?;
        let stream = TcpStream::connect(addr)?;
        self.sweep_within(self.config.limits.greeting_timeout_ms);
        self.add(stream, addr, Kind::Dialing(peer)).map(|_| ())
    }

    /// A connection that is being dialled may be there now: greet.
    pub(super) fn on_connected(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let Kind::Dialing(peer) = connection.kind else { return };
        let failed = connection.stream.take_error().ok().flatten();
        if failed.is_some() {
            return self.close(key);
        }
        match connection.stream.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotConnected => return,
            Err(_) => return self.close(key),
        }
        connection.kind = Kind::Dialed(peer);
        self.dials += 1;
        let hello = Hello::new(Role::Peer {
            cluster: self.config.cluster.as_str().into(),
            id: self.env.id,
            to: peer,
            incarnation: self.env.incarnation,
            dial: self.dials,
            lamport: self.host.lamport(),
        });
        connection.names = LinkNames::new(self.env.id, self.env.incarnation, self.dials);
        push_message(connection.out.tail(), &hello);
        self.touch(key);
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
            Role::Client { protocol } => match self.host.place(&protocol) {
                Some(place) => self.welcome(key, Kind::Client(Session::native(place))),
                None => {
                    let protocol = Escaped(protocol.as_bytes());
                    let why = format!("it asks for protocol {protocol}, which is not run here");
                    return self.reject(key, data, &why);
                }
            },
            Role::Peer { cluster, id, to, incarnation, dial, lamport } => {
                let fault = self.peer_fault(&cluster, id, to);
                let fault = fault.or_else(|| self.catch_up(lamport));
                match fault {
                    None => {
                        if let Some(connection) = self.table.get_mut(key) {
                            connection.names = LinkNames::new(id, incarnation, dial);
                        }
                        self.welcome(key, Kind::Link(id));
                        self.link_up(key, id);
                    }
                    Some(why) => return self.reject(key, data, &why),
                }
            }
        }
        used
    }

    /// Why a greeting of a peer is not accepted.
    fn peer_fault(&self, cluster: &str, id: NodeId, to: NodeId) -> Option<String> {
        let me = self.env.id;
        if cluster != self.config.cluster {
            let (theirs, ours) = (Escaped(cluster.as_bytes()), &self.config.cluster);
            Some(format!("it is of cluster {theirs}, this node of {ours}"))
        } else if to != me {
            Some(format!(
                "it means to reach node {to}, this is node {me}: [peers] is wrong at the one that dials"
            ))
        } else if self.links.get(id).is_none() {
            Some(format!("it says it is node {id}, which is not in this node's [peers]"))
        } else if id >= me {
            Some(format!("node {id} must not dial node {me}: lower ids dial higher ones"))
        } else {
            None
        }
    }

    /// Why where a peer's Lamport clock stands is not accepted.
    fn catch_up(&mut self, lamport: LamportTime) -> Option<String> {
        self.host.handle_greeting(lamport).err().map(|jump| jump.to_string())
    }

    fn welcome(&mut self, key: Key, kind: Kind) {
        let Some(connection) = self.table.get_mut(key) else { return };
        if let Some(place) = kind.place() {
            self.host.handle_client(place, key, connection.addr, true, self.now);
        }
        connection.kind = kind;
        let (id, incarnation, lamport) = (self.env.id, self.env.incarnation, self.host.lamport());
        push_message(connection.out.tail(), &Welcome::Accepted { id, incarnation, lamport });
        self.touch(key);
    }

    /// Ends a connection that did not greet properly: one line in the log, the reason to whoever
    /// can read it. Takes all that came.
    fn reject(&mut self, key: Key, data: &[u8], why: &str) -> usize {
        let Some(connection) = self.table.get_mut(key) else { return data.len() };
        let addr = connection.addr;
        push_message(connection.out.tail(), &Welcome::Refused { reason: why.into() });
        connection.closing = true;
        self.touch(key);
        self.tell(Counter::BadHandshake, format_args!("{addr} is refused: {why}"));
        data.len()
    }

    /// The answer to this node's greeting.
    pub(super) fn on_welcome(&mut self, key: Key, peer: NodeId, data: &[u8]) -> usize {
        let (payload, used) = match next_frame(data, MAX_HELLO_BYTES) {
            Frame::Incomplete => return 0,
            Frame::TooLong { .. } => (&[][..], data.len()),
            Frame::Whole { payload, used } => (payload, used),
        };
        let why = match postcard::from_bytes::<Welcome<'_>>(payload) {
            Ok(Welcome::Accepted { id, lamport, .. }) if id == peer => 'refused: {
                if let Some(why) = self.catch_up(lamport) {
                    break 'refused why;
                }
                if let Some(connection) = self.table.get_mut(key) {
                    connection.kind = Kind::Link(peer);
                    self.clients += 1;
                }
                self.link_up(key, peer);
                return used;
            }
            Ok(Welcome::Accepted { id, .. }) => format!("node {id} is there; check [peers]"),
            Ok(Welcome::Refused { reason }) => {
                format!("it answers: {}", Escaped(reason.as_bytes()))
            }
            Err(_) => "what listens there is no node; check [peers]".into(),
        };
        let addr = self.links.get(peer).map_or_else(String::new, |peer| peer.addr.clone());
        self.tell(Counter::BadHandshake, format_args!("no link to node {peer} at {addr}: {why}"));
        self.close(key);
        data.len()
    }

    fn link_up(&mut self, key: Key, peer: NodeId) {
        // The peer is no client, and does not count against their cap.
        self.clients -= 1;
        let level = self.links.level(peer, self.now.time);
        if let Some(old) = self.links.get(peer).and_then(|peer| peer.link) {
            log::log!(
                target: "net",
                level,
                "node {peer} connects anew, and its link is replaced; if that goes on, two nodes \
                 have this id"
            );
            self.close(old);
        }
        self.links.up(peer, key, self.now.time);
        let every = Duration::from_millis(self.config.limits.heartbeat_ms);
        let beat = self.now.time + every;
        self.next_heartbeat = Some(self.next_heartbeat.map_or(beat, |next| next.min(beat)));
        log::log!(target: "net", level, "link to node {peer} is up");
        if let Some(tracing) = &mut self.tracing {
            tracing.link(peer, true);
        }
        self.host.handle_link(peer, true, self.now);
        self.distribute_if_traced();
    }
}
