//! One client's connection to a node: native frames behind a greeting, or a gateway's bytes as they
//! are. It never blocks. It knows no request.

use crate::client::MAX_FRAME_BYTES;
use crate::client::socket::Socket;
use mio::event::Event;
use mio::{Registry, Token};
use node_lab::wire::{self, Frame, Hello, MAX_HELLO_BYTES, Role, Welcome};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// So often a connection is read before others have their turn.
const MAX_READS: usize = 64;

/// What came over a connection.
pub(super) enum Came {
    /// The node has greeted, as this id.
    Greeted(u32),
    /// A frame: its sequence, and the reply.
    Reply(u32, Vec<u8>),
    /// A gateway's bytes.
    Bytes(Vec<u8>),
}

/// Why a connection is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Trouble {
    /// Nobody took it.
    ConnectFailed,
    /// The node does not take this client.
    Refused,
    /// The node closed it, or it broke.
    Closed,
    /// What came makes no sense.
    Malformed,
}

impl Trouble {
    /// What reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Trouble::ConnectFailed => "connect_failed",
            Trouble::Refused => "refused",
            Trouble::Closed => "closed",
            Trouble::Malformed => "malformed",
        }
    }
}

/// How a connection ended: the kind, and words about it.
pub(super) type Failure = (Trouble, String);

/// A connection, or the place for one.
#[derive(Default)]
pub(super) struct Link {
    socket: Socket,
    stage: Stage,
    addr: Option<SocketAddr>,
    /// Frames that wait for the greeting.
    held: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// There is none.
    #[default]
    None,
    /// It is dialled, and its node has not greeted.
    Greeting,
    /// It carries frames.
    Frames,
    /// It carries a gateway's bytes.
    Bytes,
}

impl Link {
    /// Begins to connect, as a native client of a protocol or, without one, in bytes.
    pub fn dial(
        &mut self,
        addr: SocketAddr,
        native: Option<&str>,
        registry: &Registry,
        token: Token,
    ) -> Result<(), Failure> {
        *self = Link { addr: Some(addr), ..Link::default() };
        if let Err(error) = self.socket.dial(addr, registry, token) {
            return Err((Trouble::ConnectFailed, format!("{addr}: {error}")));
        }
        self.stage = Stage::Bytes;
        if let Some(protocol) = native {
            self.stage = Stage::Greeting;
            let role = Role::Client { protocol: protocol.into() };
            wire::push_message(&mut self.socket.out, &Hello::new(role));
        }
        Ok(())
    }

    /// Gives the connection up.
    pub fn hang_up(&mut self) {
        *self = Link::default();
    }

    /// Sends a native request.
    pub fn request(&mut self, sequence: u32, request: &[u8]) -> Result<(), Failure> {
        let out = match self.stage {
            Stage::Greeting => &mut self.held,
            Stage::Frames => &mut self.socket.out,
            Stage::None | Stage::Bytes => return Ok(()),
        };
        wire::push_frame_with(out, |out| {
            out.extend_from_slice(&sequence.to_le_bytes());
            out.extend_from_slice(request);
        });
        self.flush()
    }

    /// Sends bytes as they are.
    pub fn say(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.stage == Stage::Bytes {
            self.socket.out.extend_from_slice(bytes);
        }
        self.flush()
    }

    /// Notes what the socket can do.
    pub fn on_event(&mut self, event: &Event) -> Result<(), Failure> {
        self.socket.on_event(event);
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.socket.flush().map_err(|error| self.broken(&error))
    }

    /// Reads what there is; answers whether there may be more. What came before a failure counts.
    pub fn read(&mut self, buffer: &mut [u8], came: &mut Vec<Came>) -> Result<bool, Failure> {
        for _ in 0..MAX_READS {
            let read = self.socket.read(buffer).map_err(|error| self.broken(&error))?;
            if read == 0 {
                return Ok(false);
            }
            if self.stage == Stage::Bytes {
                came.push(Came::Bytes(buffer[..read].to_vec()));
                continue;
            }
            let bytes = self.socket.with_tail(&buffer[..read]);
            let used = self.frames(&bytes, came)?;
            self.socket.keep_tail(bytes, used);
        }
        Ok(true)
    }

    /// Takes whole frames; answers how many bytes they are.
    fn frames(&mut self, bytes: &[u8], came: &mut Vec<Came>) -> Result<usize, Failure> {
        let mut at = 0;
        loop {
            let is_greeting = self.stage == Stage::Greeting;
            let limit = if is_greeting { MAX_HELLO_BYTES } else { MAX_FRAME_BYTES };
            match wire::next_frame(&bytes[at..], limit) {
                Frame::Incomplete => return Ok(at),
                Frame::TooLong { length } => {
                    return Err(self.malformed(format!("a frame of {length} bytes")));
                }
                Frame::Whole { payload, used } => {
                    at += used;
                    came.push(if is_greeting {
                        self.greeted(payload)?
                    } else {
                        self.reply(payload)?
                    });
                }
            }
        }
    }

    fn greeted(&mut self, payload: &[u8]) -> Result<Came, Failure> {
        match postcard::from_bytes(payload) {
            Ok(Welcome::Accepted { id, .. }) => {
                self.stage = Stage::Frames;
                self.socket.out.append(&mut self.held);
                self.flush()?;
                Ok(Came::Greeted(id.0))
            }
            Ok(Welcome::Refused { reason }) => Err((Trouble::Refused, self.at(&reason))),
            Err(_) => Err(self.malformed("no greeting of a node".into())),
        }
    }

    fn reply(&self, payload: &[u8]) -> Result<Came, Failure> {
        let (sequence, body) = payload
            .split_first_chunk()
            .ok_or_else(|| self.malformed("a reply without a sequence".into()))?;
        Ok(Came::Reply(u32::from_le_bytes(*sequence), body.to_vec()))
    }

    fn broken(&self, error: &io::Error) -> Failure {
        let trouble = match error.kind() {
            ErrorKind::ConnectionRefused => Trouble::ConnectFailed,
            _ => Trouble::Closed,
        };
        (trouble, self.at(&error.to_string()))
    }

    /// What came makes no sense.
    pub fn malformed(&self, what: String) -> Failure {
        (Trouble::Malformed, self.at(&what))
    }

    fn at(&self, what: &str) -> String {
        self.addr.map_or_else(|| what.into(), |addr| format!("{addr}: {what}"))
    }
}
