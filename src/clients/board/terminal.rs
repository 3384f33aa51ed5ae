//! The terminal of a person who types while messages arrive: one thread reads lines with an editor
//! that keeps what is typed below what is printed. It knows no commands but the last, `quit`.
//!
//! The editor has the terminal to itself, in raw mode, while a line is being typed; all output goes
//! through it. Whichever way the client ends, the terminal is then as it was.

use super::Urgent;
use super::link::Event;
use super::talk::QUIT;
use crate::cli::output::Output;
use node_protocols::board::MAX_TEXT_BYTES;
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor, ExternalPrinter};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long the editor has to let go of the terminal, and how often it is told to.
const LET_GO: Duration = Duration::from_secs(1);
const TELL_AGAIN: Duration = Duration::from_millis(5);

/// How long the next line waits for what is printed about the last one. It is bounded since
/// printing may wait for the editor.
const PRINTED: Duration = Duration::from_millis(200);

/// Moves the cursor up and down again: what comes before it has been shown when it is taken.
const NOTHING: &str = "\u{1b}[A\n";

/// How the terminal was, which can be restored at any time, more than once; none was changed by
/// default.
#[derive(Clone, Default)]
pub struct Before(Option<Arc<Termios>>);

impl Before {
    /// As standard input is now.
    pub fn now() -> Before {
        Before(tcgetattr(io::stdin()).ok().map(Arc::new))
    }

    pub fn restore(&self) {
        if let Some(termios) = &self.0 {
            // A terminal that is gone needs it no more.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, termios);
        }
    }

    /// Between two lines of the editor, what is typed waits for the next, Ctrl-D too, and is not
    /// echoed twice; Ctrl-C is a signal.
    fn keep_keys(&self) {
        if let Some(termios) = &self.0 {
            let mut termios = Termios::clone(termios);
            termios.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            termios.special_codes[SpecialCodeIndex::VMIN] = 1;
            termios.special_codes[SpecialCodeIndex::VTIME] = 0;
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &termios);
        }
    }
}

type LineEditor = Editor<(), MemHistory>;

/// The terminal, until this goes.
pub struct Terminal {
    printer: Box<dyn ExternalPrinter>,
    reader: JoinHandle<()>,
    /// The reader is to end, and signals that tell it so are not the user's.
    closing: Arc<AtomicBool>,
    before: Before,
    /// What is not a whole output yet.
    output: Vec<u8>,
    /// Takes what comes after the editor.
    out: Output,
}

impl Terminal {
    /// Takes the terminal over. None where it is too simple for an editor, such as TERM=dumb.
    /// Signals must have been given handlers before.
    pub fn open(
        before: Before,
        closing: Arc<AtomicBool>,
        urgent: Urgent,
        out: Output,
    ) -> io::Result<Option<Terminal>> {
        // A pasted line is a line, as one that is typed.
        let config = Config::builder().auto_add_history(true).bracketed_paste(false).build();
        let history = MemHistory::with_config(&config);
        let Ok(mut editor) = LineEditor::with_history(config, history) else { return Ok(None) };
        let Ok(printer) = editor.create_external_printer() else { return Ok(None) };
        let told = Arc::clone(&closing);
        before.keep_keys();
        let reader = thread::Builder::new()
            .name("terminal".into())
            .spawn(move || read_lines(editor, &urgent, &told))
            .inspect_err(|_| before.restore())?;
        let printer = Box::new(printer);
        Ok(Some(Terminal { printer, reader, closing, before, output: Vec::new(), out }))
    }
}

/// Reads until the end is told, also when nothing is sent any more: what is printed meanwhile goes
/// through the editor, and Ctrl-C works.
fn read_lines(mut editor: LineEditor, urgent: &Urgent, closing: &AtomicBool) {
    let mut prompt = "> ";
    while !closing.load(Ordering::SeqCst) {
        let event = match editor.readline(prompt) {
            Ok(mut line) => {
                if line.trim() == QUIT {
                    prompt = "";
                }
                line.truncate(line.floor_char_boundary(MAX_TEXT_BYTES + 64));
                let (obeyed, is_obeyed) = mpsc::sync_channel(0);
                urgent.tell(Event::Typed(line.into_bytes(), obeyed));
                let _ = is_obeyed.recv_timeout(PRINTED);
                continue;
            }
            Err(ReadlineError::Interrupted) => Event::Stop(Signal::INT),
            Err(ReadlineError::Eof) => {
                prompt = "";
                Event::InputEnded
            }
            Err(_) => {
                // The terminal is gone.
                urgent.tell(Event::InputEnded);
                return;
            }
        };
        if !closing.load(Ordering::SeqCst) {
            urgent.tell(event);
        }
    }
}

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Shows what was written, which is whole lines, above what is typed.
    fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&self.output).into_owned();
        self.output.clear();
        if self.printer.print(text.clone()).is_err() {
            // The editor has ended.
            self.out.write_all(text.as_bytes())?;
            self.out.flush()?;
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The editor holds one output at most that is not shown: it takes another when it is.
        let _ = self.printer.print(NOTHING.into());
        self.closing.store(true, Ordering::SeqCst);
        let begin = Instant::now();
        // Told between two lines it does not hear it, so again.
        while !self.reader.is_finished() && begin.elapsed() < LET_GO {
            let _ = kill_process(getpid(), Signal::INT);
            thread::sleep(TELL_AGAIN);
        }
        self.before.restore();
    }
}
