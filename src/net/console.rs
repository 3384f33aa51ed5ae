//! The node's console: the lines that documents prescribe, on standard output, one write a turn.

use std::io::{ErrorKind, Write};

#[derive(Default)]
pub(super) struct Console {
    lines: Vec<u8>,
    broken: bool,
    /// The last lines were lost because the disk that takes them is full.
    full: bool,
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
        self.flush_to(&mut std::io::stdout().lock());
    }

    fn flush_to(&mut self, stdout: &mut impl Write) {
        let written = stdout.write_all(&self.lines).and_then(|()| stdout.flush());
        self.lines.clear();
        match written {
            Ok(()) => self.full = false,
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                if !self.full {
                    log::warn!(target: "net", "console lines are lost until there is room: {error}");
                }
                self.full = true;
            }
            Err(error) => {
                // Whoever read the console has gone; the node's work goes on without it.
                self.broken = true;
                log::error!(target: "net", "standard output is gone, no more console lines: {error}");
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
        for (error, shown) in
            [(ErrorKind::StorageFull, &b"one\nthree\n"[..]), (ErrorKind::BrokenPipe, b"one\n")]
        {
            let (mut console, mut stdout) = (Console::default(), Stdout(Vec::new(), None));
            for (line, error) in [("one", None), ("two", Some(error)), ("three", None)] {
                stdout.1 = error;
                console.line(line.as_bytes());
                console.flush_to(&mut stdout);
            }
            assert_eq!(stdout.0, shown, "{error}");
        }
    }
}
