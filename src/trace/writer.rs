//! Writes lines as they come, so that memory does not grow with the run.

use super::{Event, Line};
use std::io::{self, Write};

/// Where lines go.
pub struct LineWriter {
    sink: Box<dyn Write + Send>,
    /// The last line, which may yet get its turn's digest.
    pending: Option<Line<'static>>,
    error: Option<io::Error>,
}

impl LineWriter {
    /// Writes to `sink`.
    pub fn new(sink: Box<dyn Write + Send>) -> LineWriter {
        LineWriter { sink, pending: None, error: None }
    }

    /// Adds a line.
    pub fn line(
        &mut self,
        at: u64,
        node: Option<u32>,
        lamport: Option<u64>,
        event: Event<'static>,
    ) {
        self.write_pending();
        self.pending = Some(Line { at, node, lamport, digest: None, event });
    }

    /// The state of a node after a turn goes with the turn's last line.
    pub fn end_turn(&mut self, node: u32, digest: u64) {
        if let Some(line) = self.pending.as_mut().filter(|line| line.node == Some(node)) {
            line.digest = Some(format!("{digest:016x}").into());
        }
    }

    /// Hands over what there is, and says whether everything so far could be written; the first
    /// failure ends the writing.
    pub fn flush(&mut self) -> io::Result<()> {
        self.write_pending();
        match self.error.take() {
            Some(error) => {
                self.sink = Box::new(io::sink());
                Err(error)
            }
            None => self.sink.flush(),
        }
    }

    fn write_pending(&mut self) {
        let Some(line) = self.pending.take().filter(|_| self.error.is_none()) else { return };
        let written = serde_json::to_writer(&mut self.sink, &line).map_err(io::Error::from);
        if let Err(error) = written.and_then(|()| self.sink.write_all(b"\n")) {
            self.error = Some(error);
        }
    }
}
