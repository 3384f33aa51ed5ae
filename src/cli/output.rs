//! Standard output and standard error of the commands, and nothing else touches them: clippy denies
//! `print!`, `eprint!` and `io::stdout` everywhere.
//!
//! A command writes on and need not look at each line. The first error is remembered, and
//! [`Output::end`] makes the exit code of it: who asked for output and has not got it must not read
//! success. A reader that has gone, as in `node … | head`, has got what it asked for: the exit code
//! is that of what the command found out, and one that it cut short ends as SIGPIPE would end it.
//! Standard error is different: where it cannot be written there is nobody left to tell.

use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::{Arc, OnceLock};

/// The exit code of a command that ended early since its reader has gone: what a shell says of any
/// that SIGPIPE ended.
pub(crate) const READER_GONE: u8 = 128 + 13;

/// Standard output. All copies share the first error, after which nothing is written any more.
#[derive(Clone, Default)]
pub(crate) struct Output {
    error: Arc<OnceLock<io::Error>>,
}

impl Output {
    /// Whether a person sees it.
    #[expect(clippy::disallowed_methods, reason = "it is what all others use instead")]
    pub fn is_terminal() -> bool {
        io::stdout().is_terminal()
    }

    /// Prints a line. That it could not be is for [`Output::end`] to tell.
    pub fn say(&mut self, line: fmt::Arguments<'_>) {
        let _ = writeln!(self, "{line}");
    }

    /// Shows the help or version that was asked for.
    pub fn help(&mut self, asked: &clap::Error) {
        let printed = asked.print();
        let _ = self.keep(printed);
    }

    /// Why something could not be printed, if so.
    pub fn error(&self) -> Option<&io::Error> {
        self.error.get()
    }

    /// The code for [`Output::end`] of a command that gave up because it could not print.
    pub fn cut_short(&self) -> u8 {
        let is_gone = self.error().is_some_and(is_reader_gone);
        if is_gone { READER_GONE } else { 0 }
    }

    /// How the command ends that would have ended with `code`. If something could not be printed,
    /// that is told on standard error, and success becomes `unwritten`; any other code stays, since
    /// it says more. That the reader has gone changes nothing.
    pub fn end(&mut self, command: &str, code: u8, unwritten: u8) -> u8 {
        // Half a line may wait.
        let _ = self.flush();
        let Some(error) = self.error().filter(|error| !is_reader_gone(error)) else { return code };
        super::tell!("{command}: standard output is not whole: {error}");
        if code == 0 { unwritten } else { code }
    }

    /// Remembers the first error.
    fn keep<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() != ErrorKind::Interrupted
        {
            // A later one says no more.
            let _ = self.error.set(copy(error));
        }
        result
    }
}

impl Write for Output {
    #[expect(clippy::disallowed_methods, reason = "it is what all others use instead")]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.error() {
            Some(error) => Err(copy(error)),
            None => self.keep(io::stdout().write(bytes)),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "it is what all others use instead")]
    fn flush(&mut self) -> io::Result<()> {
        match self.error() {
            Some(error) => Err(copy(error)),
            None => self.keep(io::stdout().flush()),
        }
    }
}

/// Whether it is that nobody reads any more.
pub(crate) fn is_reader_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::BrokenPipe
}

fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error.kind().into(),
    }
}
