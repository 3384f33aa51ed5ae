//! The node's console: the lines that documents prescribe, on standard output, one write a turn.

use std::io::Write;

#[derive(Default)]
pub(super) struct Console {
    lines: Vec<u8>,
    broken: bool,
}

impl Console {
    pub(super) fn line(&mut self, line: &[u8]) {
        if !self.broken {
            self.lines.extend_from_slice(line);
            self.lines.push(b'\n');
        }
    }

    pub(super) fn flush(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(&self.lines).and_then(|()| stdout.flush());
        self.lines.clear();
        if let Err(error) = written {
            // Whoever read the console has gone; the node's work goes on without it.
            self.broken = true;
            log::error!(target: "net", "standard output is gone, no more console lines: {error}");
        }
    }
}
