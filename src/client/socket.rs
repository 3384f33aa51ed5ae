//! A non-blocking socket with what waits to be written and what is half read. It knows no format.

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::borrow::Cow;
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::SocketAddr;

/// A socket, or the place for one: nothing can be read or written before it has dialled.
#[derive(Default)]
pub struct Socket {
    /// What waits to be written; what has been written is taken away when all has.
    pub out: Vec<u8>,
    stream: Option<TcpStream>,
    writable: bool,
    written: usize,
    /// The beginning of something that is not whole yet.
    tail: Vec<u8>,
}

impl Socket {
    /// Begins to connect; events come with `token`.
    ///
    /// # Errors
    /// The system's, or that nobody listens there.
    pub fn dial(&mut self, addr: SocketAddr, registry: &Registry, token: Token) -> io::Result<()> {
        let mut stream = TcpStream::connect(addr)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        stream.set_nodelay(true)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// No event comes any more. The connection stays.
    ///
    /// # Errors
    /// The system's.
    pub fn ignore(&mut self, registry: &Registry) -> io::Result<()> {
        self.stream.as_mut().map_or(Ok(()), |stream| registry.deregister(stream))
    }

    /// Notes that there is room.
    pub fn on_event(&mut self, event: &Event) {
        self.writable |= event.is_writable();
    }

    /// How much waits to be written.
    pub fn pending(&self) -> usize {
        self.out.len() - self.written
    }

    /// Writes what waits, as far as the socket takes it.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while self.writable && self.written < self.out.len() {
            match stream.write(&self.out[self.written..]) {
                Ok(0) => return Err(closed()),
                Ok(n) => self.written += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        Ok(())
    }

    /// Reads once; 0 when there is nothing. The end of the stream is an error.
    ///
    /// # Errors
    /// The connection is gone, or never was.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(stream) = &mut self.stream else { return Ok(0) };
        loop {
            return match stream.read(buffer) {
                Ok(0) => Err(closed()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
                read => read,
            };
        }
    }

    /// Whether a read has emptied the socket: one that does not fill the buffer has, unless the end
    /// of the stream is still to come.
    pub fn is_drained(read: usize, buffer: &[u8], closing: bool) -> bool {
        read == 0 || (read < buffer.len() && !closing)
    }

    /// What was read, behind what was half read before.
    pub fn with_tail<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if self.tail.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let mut tail = mem::take(&mut self.tail);
        tail.extend_from_slice(bytes);
        Cow::Owned(tail)
    }

    /// Keeps what is half read: all but `used` bytes.
    pub fn keep_tail(&mut self, bytes: Cow<'_, [u8]>, used: usize) {
        match bytes {
            Cow::Borrowed(bytes) => self.tail.extend_from_slice(&bytes[used..]),
            Cow::Owned(mut bytes) => {
                bytes.drain(..used);
                self.tail = bytes;
            }
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "closed by the server")
}
