//! The node's console: the lines that documents prescribe, on standard output, one write a turn.
//!
//! A node serves others, so it goes on when its lines cannot be written, and tells of it in the
//! log; its exit code tells again, unless it is only that their reader has gone.

use std::io::{ErrorKind, Write};

#[derive(Default)]
pub(super) struct Console {
    lines: Vec<u8>,
    broken: bool,
    /// The last lines were lost because what takes them is full.
    full: bool,
    /// Lines were lost that somebody may yet look for.
    lost: bool,
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
        #[expect(clippy::disallowed_methods, reason = "the console is the node's standard output")]
        self.flush_to(&mut std::io::stdout().lock());
    }

    /// Whether all lines were written for which there was a reader.
    pub(super) fn is_whole(&self) -> bool {
        !self.lost
    }

    fn flush_to(&mut self, stdout: &mut impl Write) {
        let written = stdout.write_all(&self.lines).and_then(|()| stdout.flush());
        self.lines.clear();
        match written {
            Ok(()) => self.full = false,
            // What does not wait for its reader is full as a disk is.
            Err(error)
                if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::WouldBlock) =>
            {
                if !self.full {
                    log::warn!(target: "net", "console lines are lost until there is room: {error}");
                }
                (self.full, self.lost) = (true, true);
            }
            Err(error) => {
                self.broken = true;
                self.lost |= error.kind() != ErrorKind::BrokenPipe;
                log::warn!(target: "net", "standard output is gone, no more console lines: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    /// Standard output with an error, or without.
    struct Stdout(Vec<u8>, Option<ErrorKind>);

    impl Write for Stdout {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.1 {
                Some(kind) => Err(kind.into()),
                None => self.0.write(bytes),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_go_on_after_a_full_disk_and_not_without_a_reader() {
        for (error, shown, is_whole) in [
            (ErrorKind::StorageFull, &b"one\nthree\n"[..], false),
            (ErrorKind::WouldBlock, b"one\nthree\n", false),
            (ErrorKind::BrokenPipe, b"one\n", true),
            (ErrorKind::Other, b"one\n", false),
        ] {
            let (mut console, mut stdout) = (Console::default(), Stdout(Vec::new(), None));
            for (line, error) in [("one", None), ("two", Some(error)), ("three", None)] {
                stdout.1 = error;
                console.line(line.as_bytes());
                console.flush_to(&mut stdout);
            }
            assert_eq!(stdout.0, shown, "{error}");
            assert_eq!(console.is_whole(), is_whole, "{error}");
        }
    }
}
