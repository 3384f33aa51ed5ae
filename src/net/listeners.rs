//! The sockets on which connections come in, and what they are for. Who gets a place is not theirs
//! to say.

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use node_lab::config::{Config, ConfigError, Listener};
use node_protocols::core::Time;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

pub(super) struct Listeners {
    all: Vec<Listening>,
    /// When to try again to accept, after the process ran out of descriptors.
    retry_at: Option<Time>,
}

struct Listening {
    socket: TcpListener,
    config: Listener,
    /// There may be more to accept, and no event will tell: a budget or a lack of descriptors cut
    /// the accepting short.
    more: bool,
}

/// How long to wait before accepting again when the process is out of descriptors, unless a
/// connection ends before.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

fn token(place: usize) -> Token {
    Token(usize::MAX - 1 - place)
}

impl Listeners {
    /// Binds what the config names.
    pub(super) fn bind(config: &Config, registry: &Registry) -> Result<Listeners, ConfigError> {
        let mut all = Vec::new();
        for (place, listener) in config.listeners.iter().enumerate() {
            let bind = || {
                let mut socket = TcpListener::bind(listener.addr)?;
                registry.register(&mut socket, token(place), Interest::READABLE)?;
                // With port 0 it is the system that chooses.
                let addr = socket.local_addr()?;
                Ok((socket, addr))
            };
            let (socket, addr) = bind().map_err(|error: io::Error| {
                let what = match error.kind() {
                    ErrorKind::AddrInUse => {
                        "another process listens there: stop it, or change the port".to_string()
                    }
                    _ => format!("cannot listen there: {error}"),
                };
                config.error(&["listeners", &place.to_string(), "addr"], what)
            })?;
            let config = Listener { addr, ..listener.clone() };
            all.push(Listening { socket, config, more: false });
        }
        Ok(Listeners { all, retry_at: None })
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.all.iter().map(|listening| &listening.config)
    }

    /// The place of the listener that a token names.
    pub(super) fn place(&self, of: Token) -> Option<usize> {
        let place = usize::MAX - 1 - of.0;
        (place < self.all.len()).then_some(place)
    }

    /// What a listener is for.
    pub(super) fn config(&self, place: usize) -> &Listener {
        &self.all[place].config
    }

    /// One connection that came in, if there is one.
    pub(super) fn accept(
        &mut self,
        place: usize,
        now: Time,
    ) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        let Some(listening) = self.all.get_mut(place) else { return Ok(None) };
        self.retry_at = None;
        listening.more = true;
        match listening.socket.accept() {
            Ok(accepted) => Ok(Some(accepted)),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => {
                    listening.more = false;
                    Ok(None)
                }
                // The peer gave up in the queue, or a signal came: the next may be fine.
                ErrorKind::Interrupted | ErrorKind::ConnectionAborted => Ok(None),
                _ => {
                    self.retry_at = Some(now + ACCEPT_RETRY);
                    Err(error)
                }
            },
        }
    }

    /// Whether this one is to be gone on with now.
    pub(super) fn goes_on(&self, place: usize, now: Time) -> bool {
        self.retry_at.is_none_or(|at| at <= now)
            && self.all.get(place).is_some_and(|listening| listening.more)
    }

    pub(super) fn any_goes_on(&self, now: Time) -> bool {
        (0..self.all.len()).any(|place| self.goes_on(place, now))
    }

    /// When to try again to accept.
    pub(super) fn retry_at(&self) -> Option<Time> {
        self.retry_at
    }

    /// A descriptor is free again.
    pub(super) fn retry_soon(&mut self, now: Time) {
        if let Some(at) = &mut self.retry_at {
            *at = now;
        }
    }

    /// Nobody comes in any more.
    pub(super) fn close(&mut self) {
        self.all.clear();
        self.retry_at = None;
    }
}
