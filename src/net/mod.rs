//! The mio driver: one thread, one loop, one node.
//!
//! One turn of the loop:
//!
//! ```text
//!   poll ─► accept, read (a bounded part of each connection) ─► Host ─► due timers ─► Host
//!        ─► effects into connections' buffers ─► log: append, sync ─► one write a connection
//! ```
//!
//! Nothing is written to a socket or the console before the log is durable: that is the fence of
//! `Outbox`, and with one sync a turn it is group commit by itself. This module owns policy on
//! sockets, time and memory; what messages mean is the Host's.

mod buffer;
mod clock;
mod connection;
mod connections;
mod console;
mod greeting;
mod input;
mod links;
mod listeners;
mod notices;
mod output;
mod places;
mod pushes;
mod served;
mod signals;
mod table;
mod tracing;
mod upkeep;
mod verify;

use self::clock::Clock;
use self::connections::{Connections, Ended};
use self::console::Console;
use self::notices::Notices;
use self::pushes::Pushes;
use self::signals::Signals;
use self::table::Key;
use self::tracing::Tracing;
use crate::disk::{Directory, Disk};
use crate::wal::WalError;
use mio::{Events, Poll, Token};
use node_lab::config::{Config, ConfigError, Listener};
use node_lab::registry::Registry;
use node_protocols::core::{Counter, Env, Exit, Host, NodeId, Now, Rng, Time};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::Path;
use std::time::Duration;

/// A running node.
pub struct Node {
    config: Config,
    registry: Registry,
    env: Env,
    host: Host,
    disk: Option<Disk>,
    poll: Poll,
    clock: Clock,
    now: Now,
    signals: Signals,
    connections: Connections,
    console: Console,
    notices: Notices,
    /// The loop's one read buffer.
    scratch: Vec<u8>,
    /// The request being handed over.
    request: Vec<u8>,
    pushes: Pushes,
    /// A protocol has asked for the node's end, and how it is to end.
    asked_to_stop: Option<Exit>,
    /// Until when a node that stops finishes what is in flight.
    draining: Option<Time>,
    tracing: Option<Tracing>,
}

/// The node cannot go on.
#[derive(Debug)]
pub enum Fatal {
    /// The log failed; nothing of this turn has left the node.
    Wal(WalError),
    /// Waiting for events failed.
    Poll(io::Error),
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fatal::Wal(error) => write!(f, "{error}"),
            Fatal::Poll(error) => write!(f, "cannot wait for events: {error}"),
        }
    }
}

impl std::error::Error for Fatal {}

/// How many events one poll may bring; more come with the next.
const EVENTS: usize = 1_024;
/// How much one connection may bring in a turn: enough to empty a default socket buffer, little
/// enough that no connection holds up the others.
const READ_BYTES: usize = 256 << 10;
/// How often the effects of one turn may set off further requests that waited for them.
const ROUNDS_PER_TURN: usize = 16;

const SIGNAL_TOKEN: Token = Token(usize::MAX);

impl Node {
    /// Binds, recovers and starts the protocols. With `trace`, every event is also written to that
    /// file.
    ///
    /// # Errors
    /// What hinders the node from starting.
    pub fn start(
        mut config: Config,
        registry: Registry,
        trace: Option<&Path>,
    ) -> Result<Node, ConfigError> {
        config.read_inputs(&registry)?;
        let clock = Clock::new(config.clock);
        let poll_error = |error: io::Error| config.error(&[], format!("cannot set up: {error}"));
        let poll = Poll::new().map_err(poll_error)?;
        let signals = Signals::register(poll.registry(), SIGNAL_TOKEN).map_err(poll_error)?;
        let (seed, fresh) = (entropy() as u64, entropy());
        let registered = poll.registry().try_clone().map_err(poll_error)?;
        let connections = Connections::bind(&config, registered, Rng::stream(seed, "links"))?;
        let directory = claim(&config, fresh)?;
        let identity = directory.as_ref().map_or(fresh, Directory::identity);
        let env = config.env(clock.now().wall.millis().max(1), identity, seed);
        let Opened { mut host, disk, is_lost } = open_disk(&config, &registry, &env, directory)?;
        host.set_output(config.console, trace.is_some());
        check_clock(&config, &mut host, clock.now())?;
        let tracing = trace.map(|path| {
            let created = Tracing::create(path, env.id, clock.origin_since_epoch());
            created.map_err(|error| {
                config.error(&[], format!("cannot write the trace {}: {error}", path.display()))
            })
        });
        let mut tracing = tracing.transpose()?;
        if let Some(tracing) = &mut tracing {
            let nodes = [env.id].iter().chain(&env.peers).map(|id| id.0).collect();
            // A clock whose log was lost does not go on from where it was.
            let env = Env { durable: env.durable && !is_lost, ..env.clone() };
            tracing.run(&config, nodes, &env, &host);
            tracing.files(disk.as_ref(), &host);
        }
        let mut node = Node {
            now: clock.now(),
            connections,
            console: Console::default(),
            notices: Notices::default(),
            scratch: vec![0; READ_BYTES],
            request: Vec::new(),
            pushes: Pushes::default(),
            asked_to_stop: None,
            draining: None,
            tracing,
            config,
            registry,
            env,
            host,
            disk,
            poll,
            clock,
            signals,
        };
        node.measure_disk();
        node.host.handle_start(node.now);
        for Listener { addr, gateway, .. } in node.connections.listeners.iter() {
            log::info!(target: "net", "node {} listens on {addr} ({gateway})", node.env.id);
        }
        Ok(node)
    }

    /// Runs until told to stop, until a protocol asks for it, or until the log fails.
    ///
    /// # Errors
    /// What the node cannot go on after.
    pub fn run(mut self) -> Result<Exit, Fatal> {
        let mut events = Events::with_capacity(EVENTS);
        self.finish_turn()?;
        while !self.is_drained() {
            match self.poll.poll(&mut events, self.timeout()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
                Err(error) => return Err(Fatal::Poll(error)),
            }
            self.now = self.clock.now();
            self.look_after_disk()?;
            if let Some(tracing) = &mut self.tracing {
                tracing.begin_turn(self.now.time);
            }
            for event in &events {
                match event.token() {
                    SIGNAL_TOKEN => self.on_signal(),
                    token => self.on_event(token, event),
                }
            }
            self.go_on();
            self.on_time();
            if self.asked_to_stop.is_some() && self.draining.is_none() {
                self.stop();
            }
            self.finish_turn()?;
        }
        log::info!(target: "net", "node {} stops", self.env.id);
        if let Some(tracing) = &mut self.tracing {
            tracing.files(self.disk.as_ref(), &self.host);
            tracing.stop();
            tracing.end_turn(&self.host);
        }
        if !self.console.is_whole() || self.tracing.as_ref().is_some_and(|trace| !trace.is_whole())
        {
            log::error!(target: "net", "lines of the console or the trace were lost, see above");
            return Ok(Exit::Failure);
        }
        Ok(self.asked_to_stop.unwrap_or(Exit::Success))
    }

    fn on_event(&mut self, token: Token, event: &mio::event::Event) {
        if let Some(place) = self.connections.listeners.place(token) {
            return self.accept(place);
        }
        let key = table::key(token);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if event.is_writable() && !connection.out.is_empty() {
            self.connections.touch(key);
        }
        if event.is_writable() || event.is_error() {
            self.on_connected(key);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.on_readable(event.is_read_closed());
            }
            self.receive(key);
        }
    }

    /// Goes on with what a budget cut short in the last turn.
    fn go_on(&mut self) {
        for place in 0..self.connections.listeners.len() {
            if self.connections.listeners.goes_on(place, self.now.time) {
                self.accept(place);
            }
        }
        for key in self.connections.take_ready() {
            if self.connections.goes_on(key) {
                self.consume_inbox(key);
                self.receive(key);
            }
        }
    }

    /// Carries the turn's effects out: buffers, log, trace, sockets, console.
    fn finish_turn(&mut self) -> Result<(), Fatal> {
        for _ in 0..ROUNDS_PER_TURN {
            self.host.handle_turn_end();
            self.distribute();
            if !self.connections.any_ready() {
                break;
            }
            self.go_on();
        }
        self.make_durable().map_err(Fatal::Wal)?;
        self.connections.end_turn();
        // The trace comes first: of a node that is killed it has all that was heard from it.
        if let Some(tracing) = &mut self.tracing {
            tracing.end_turn(&self.host);
        }
        self.flush();
        self.console.flush();
        Ok(())
    }

    /// Before anything is asked of the protocols: what they refuse for lack of room, they refuse by
    /// how the disk is now.
    fn measure_disk(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.measure(self.now.time, &mut self.host);
        }
    }

    /// Nothing is promised any more once it would be forgotten.
    fn look_after_disk(&mut self) -> Result<(), Fatal> {
        if let Some(disk) = &mut self.disk {
            disk.look(self.now.time).map_err(Fatal::Wal)?;
        }
        self.measure_disk();
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), WalError> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let written = disk.write(&mut self.host)?;
        if let Some(tracing) = self.tracing.as_mut().filter(|_| written > 0) {
            tracing.sync(written);
        }
        Ok(())
    }

    /// How long to wait for events: not at all when there is something to go on with.
    fn timeout(&self) -> Option<Duration> {
        let stops = self.asked_to_stop.is_some() && self.draining.is_none();
        if stops || !self.host.outbox().is_empty() {
            return Some(Duration::ZERO);
        }
        let times = [
            self.host.deadline(),
            self.connections.wake_at(self.draining.is_some(), self.now.time),
            self.draining,
            self.disk.as_ref().and_then(Disk::look_at),
        ];
        let next = times.into_iter().flatten().min()?;
        Some(next - self.clock.now().time)
    }

    fn on_signal(&mut self) {
        if self.signals.take() == 0 {
            return;
        }
        if self.draining.is_some() {
            log::warn!(target: "net", "told again to stop: what is in flight is given up");
            self.draining = Some(self.now.time);
            return;
        }
        log::info!(target: "net", "node {} was told to stop: finishing what is in flight", self.env.id);
        self.stop();
    }

    /// Takes nothing new, and finishes what is in flight.
    fn stop(&mut self) {
        self.connections.listeners.close();
        self.draining = Some(self.now.time + Duration::from_millis(self.config.limits.drain_ms));
        self.host.handle_stop(self.now);
        for key in self.connections.keys() {
            self.stop_reading(key);
        }
    }

    /// Whether a node that stops has nothing left to finish.
    fn is_drained(&self) -> bool {
        let Some(deadline) = self.draining else { return false };
        let clients = self.connections.clients();
        if clients > 0 && self.now.time >= deadline {
            log::warn!(target: "net", "{clients} clients still had something in flight");
        }
        clients == 0 || self.now.time >= deadline
    }

    /// Ends a connection now, and tells those whom it concerns.
    fn close(&mut self, key: Key) {
        self.connections.close(key, self.now.time);
        while let Some(ended) = self.connections.next_ended() {
            match ended {
                Ended::Client { place, key, addr } => {
                    self.host.handle_client(place, key, addr, false, self.now);
                }
                Ended::Link(peer) => {
                    if let Some(tracing) = &mut self.tracing {
                        tracing.link(peer, false);
                    }
                    self.host.handle_link(peer, false, self.now);
                }
                Ended::Check(peer) => self.check_failed(peer),
            }
            self.distribute_if_traced();
        }
    }

    fn tell(&mut self, cause: Counter, line: fmt::Arguments<'_>) {
        self.host.count(cause);
        self.notices.tell(cause, self.now.time, line);
    }

    /// The same about a peer, who tries again and again: once, as long as it is for the same
    /// reason.
    fn tell_news(&mut self, peer: NodeId, why: &str, line: fmt::Arguments<'_>) {
        let cause = Counter::BadHandshake;
        self.host.count(cause);
        let now = self.now.time;
        if self.connections.links.is_news(peer, why, now) && self.notices.tell(cause, now, line) {
            self.connections.links.told(peer, why, now);
        }
    }
}

/// What nobody can guess: the standard library's keys are the system's random bytes, and its hash
/// gives none of them away.
fn entropy() -> u128 {
    let half = || u128::from(RandomState::new().build_hasher().finish());
    half() << 64 | half()
}

/// Takes the data directory, if the node has one, and reads whose it is.
fn claim(config: &Config, fresh: u128) -> Result<Option<Directory>, ConfigError> {
    let Some(dir) = &config.data_dir else { return Ok(None) };
    let claimed = Directory::claim(dir, &config.cluster, config.id, fresh);
    claimed.map(Some).map_err(|error| disk_error(config, &error))
}

/// What a node begins with.
struct Opened {
    host: Host,
    disk: Option<Disk>,
    /// The log was set aside.
    is_lost: bool,
}

/// Builds the Host, and gives back what is in the data directory.
fn open_disk(
    config: &Config,
    registry: &Registry,
    env: &Env,
    directory: Option<Directory>,
) -> Result<Opened, ConfigError> {
    let mut host = config.host(registry, env)?;
    let Some(directory) = directory else {
        return Ok(Opened { host, disk: None, is_lost: false });
    };
    let log = directory.recover(&mut host).map_err(|error| disk_error(config, &error))?;
    let is_lost = log.is_lost;
    if is_lost {
        host = config.host(registry, env)?;
        host.handle_log_lost();
    }
    let disk = Disk::open(directory, log, config.sync, &mut host);
    let disk = disk.map(Some).map_err(|error| disk_error(config, &error))?;
    Ok(Opened { host, disk, is_lost })
}

fn disk_error(config: &Config, error: &WalError) -> ConfigError {
    config.error(&["node", "data_dir"], error.to_string())
}

/// Whether the Lamport clock stands where others believe it. One that does not was taken there by
/// lies, and would never make a link.
fn check_clock(config: &Config, host: &mut Host, now: Now) -> Result<(), ConfigError> {
    host.check_clock(now).map_err(|jump| {
        let rule = format!(
            "the Lamport clock in it stands at {}, where no honest one can be by this machine's wall \
             clock ({}): set that if it is wrong; otherwise what is in there was forged: restore a \
             copy from before, or move it away and start with a new one",
            jump.local.0, now.wall
        );
        config.error(&["node", "data_dir"], rule)
    })
}
