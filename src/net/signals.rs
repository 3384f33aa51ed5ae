//! SIGTERM and SIGINT as readiness of a socket, so that the loop sees them like anything else.

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{self, Read};

pub(super) struct Signals(UnixStream);

impl Signals {
    pub(super) fn register(registry: &Registry, token: Token) -> io::Result<Signals> {
        let (read, write) = std::os::unix::net::UnixStream::pair()?;
        read.set_nonblocking(true)?;
        for signal in [SIGTERM, SIGINT] {
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        let mut read = UnixStream::from_std(read);
        registry.register(&mut read, token, Interest::READABLE)?;
        Ok(Signals(read))
    }

    /// How many signals came since this was last asked.
    pub(super) fn take(&mut self) -> usize {
        let mut bytes = [0; 16];
        self.0.read(&mut bytes).unwrap_or(0)
    }
}
