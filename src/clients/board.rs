//! `node board`: somebody at the bulletin system, who sends messages to the broker and sees what
//! the proxy brings; or an automatic client, which does so by itself.
//!
//! One loop owns the clock and standard output. Threads feed it: the user's lines, the broker's
//! answers, what the proxy pushes, and signals; so messages appear while the user types and while
//! an answer is awaited.

mod link;
mod talk;
mod terminal;

use self::link::{Event, Link, Post, Side, Trouble};
use self::talk::Talk;
use self::terminal::{Before, Terminal};
use crate::cli::output::Output;
use crate::cli::tell;
use crate::client;
use clap::builder::RangedU64ValueParser;
use node_protocols::board::{MAX_TEXT_BYTES, SERVERS, is_word};
use node_protocols::core::LamportTime;
use rustix::process::Signal;
use std::fmt;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

const EXIT_CODES: &str = "\
Exit codes:
  0    told to quit, or at the end of the input, and every message was published
  1    some message was not published, or may not have been; or the proxy refuses a topic
  2    wrong usage
  3    at the start, broker or proxy cannot be reached or is another node; or the output is gone
  141  whoever read the output has gone (| head), as with any command
  130  interrupted (Ctrl-C, SIGINT): ends at once; stderr says how many messages were not published,
       or may not have been
  143  told to stop (SIGTERM): likewise";

const EXAMPLES: &str = "\
Commands:
  send TEXT    have TEXT published under the first topic
  quit         wait for what is under way, and end

What comes looks like this: the client's own Lamport clock, the topic, the physical time by the
servers' common clock, the sender, the server, and the message's Lamport clock:
  [24] general | 2024-03-22 21:26:04.123 | ana via server 2, clock 23: hello
Under the topic servers, which is always shown, a new coordinator is announced. At a terminal, what
comes is shown above the line that is being typed.

A connection that breaks is made again, with waits from 0.1 to 5 s in between. What was said while
the proxy was gone is missed; a message whose answer was lost is never sent again by itself.

Examples:
  node board --user ana                          at the system of configs/board
  node board --user ana --topic rust --topic news
  node board --user bot --auto --interval-ms 500 --count 20
  echo 'send hello' | node board --user ana

JSON (--json), one object a line, on stdout; received is the client's own clock:
  {\"event\":\"sending\",\"number\":1,\"clock\":1}
  {\"event\":\"sent\",\"number\":1,\"server\":2,\"timestamp\":…,\"clock\":17,\"received\":18}
  {\"event\":\"not_sent\",\"number\":1,\"published\":\"no\",\"reason\":…}   published: no or unknown
  {\"event\":\"message\",\"topic\":\"general\",\"user\":\"ana\",\"server\":2,\"text\":\"hello\",\"timestamp\":…,\"clock\":23,\"received\":24}
  {\"event\":\"missed\",\"messages\":5}
  {\"event\":\"untrue_clock\",\"reason\":…}          a clock so far ahead that it is not taken
  {\"event\":\"gone\",\"side\":\"proxy\",\"reason\":…}   {\"event\":\"back\",\"side\":\"proxy\"}

";

const COMMANDS: &str = "Type send TEXT, or quit.";

/// Messages that wait for their answers: a user or script that is faster than the system hears of
/// it.
const MAX_WAITING: usize = 1_000;

/// Events that wait to be printed. Behind them the proxy's thread waits, and the proxy tells what
/// is missed.
const MAX_EVENTS: usize = 1_000;

/// How long a signal waits for an output that takes nothing.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(1);

/// Send messages to the bulletin system, and see what is said there
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("{EXAMPLES}{EXIT_CODES}"), after_help = EXIT_CODES)]
pub struct BoardArgs {
    /// The broker's native listener, IP:port or name:port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10501")]
    broker: String,
    /// The proxy's native listener
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10502")]
    proxy: String,
    /// Who sends: a word of 1 to 64 bytes
    #[arg(long, value_name = "NAME", value_parser = word)]
    user: String,
    /// What to see, once or more; what is sent goes to the first
    #[arg(long, value_name = "TOPIC", default_value = "general", value_parser = word)]
    topic: Vec<String>,
    /// Send by itself, and read no input
    #[arg(long)]
    auto: bool,
    /// How often --auto sends, in milliseconds; the next waits for the answer to the one before
    #[arg(long, value_name = "MS", default_value_t = 1_000, requires = "auto",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=3_600_000))]
    interval_ms: u64,
    /// How many messages --auto sends; without it, it goes on until it is interrupted
    #[arg(long, value_name = "N", requires = "auto")]
    count: Option<u64>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    /// How long each step may take, connecting included, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5_000,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=3_600_000))]
    timeout_ms: u64,
}

fn word(text: &str) -> Result<String, String> {
    let rule = "it must be 1 to 64 bytes without spaces, quotes and backslashes";
    if is_word(text) { Ok(text.into()) } else { Err(rule.into()) }
}

/// Why the client did not do all that it was to do.
#[derive(Debug)]
enum Failure {
    /// An address has not the form of one.
    Usage(String),
    /// There is no connection to begin with.
    Start(Side, Trouble),
    /// So many messages failed.
    Unpublished { failed: u64, of: u64 },
    /// A signal ended it, and so many messages had failed or were not answered.
    Stopped { signal: Signal, failed: u64, of: u64 },
    /// Standard output is gone, or a thread cannot be started.
    Output(io::Error),
}

impl Failure {
    fn exit(&self) -> u8 {
        match self {
            Failure::Start(_, Trouble::Refused(_)) | Failure::Unpublished { .. } => 1,
            Failure::Usage(_) => 2,
            Failure::Start(_, Trouble::Client(_) | Trouble::Role(..)) | Failure::Output(_) => 3,
            Failure::Stopped { signal, .. } => exit_of(*signal),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(what) => f.write_str(what),
            Failure::Start(side, trouble) => {
                write!(f, "the {0} (--{0}): {1}", side.name(), trouble.text())
            }
            Failure::Unpublished { failed, of } => {
                write!(f, "{failed} of {of} messages were not published, or may not have been")
            }
            Failure::Stopped { signal, failed, of } => {
                let what = if *signal == Signal::INT { "interrupted" } else { "told to stop" };
                f.write_str(what)?;
                if *failed == 0 {
                    return Ok(());
                }
                write!(f, ": {}", Failure::Unpublished { failed: *failed, of: *of })
            }
            Failure::Output(error) => write!(f, "stopped: {error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

/// As shells tell that a signal ended a process.
fn exit_of(signal: Signal) -> u8 {
    128 + signal.as_raw() as u8
}

/// Runs `node board` on the process's own streams.
pub fn run(args: &BoardArgs) -> ExitCode {
    let mut out = Output::default();
    let code = match run_on_process(args, &mut out) {
        Ok(()) => 0,
        Err(Failure::Output(_)) if out.error().is_some() => out.cut_short(),
        Err(failure) => {
            tell!("node board: {failure}");
            failure.exit()
        }
    };
    ExitCode::from(out.end("node board", code, 3))
}

fn run_on_process(args: &BoardArgs, out: &mut Output) -> Result<(), Failure> {
    let connected = Connected::open(args)?;
    let is_typed = io::stdin().is_terminal() && Output::is_terminal();
    let is_typed = is_typed && !args.auto && !args.json;
    // Who reads no terminal may not set it either, as in the background.
    let before = if is_typed { Before::now() } else { Before::default() };
    let closing = Arc::new(AtomicBool::new(false));
    for signal in [Signal::INT, Signal::TERM] {
        watch_signal(signal, connected.urgent(), before.clone(), Arc::clone(&closing))?;
    }
    if is_typed {
        tell!("{COMMANDS}");
        let terminal = Terminal::open(before, closing, connected.urgent(), out.clone())?;
        if let Some(mut terminal) = terminal {
            return connected.talk(args, &mut terminal, true);
        }
    }
    connected.read(args, io::stdin())?;
    connected.talk(args, out, false)
}

/// Tells the loop of a signal. If it cannot end, since nobody takes its output, the process does.
fn watch_signal(
    signal: Signal,
    urgent: Urgent,
    before: Before,
    closing: Arc<AtomicBool>,
) -> io::Result<()> {
    let (mut read, write) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(signal.as_raw(), write)?;
    let watch = move || {
        // A byte is a signal; the other end never goes.
        while read.read_exact(&mut [0]).is_ok() {
            if closing.load(Ordering::SeqCst) {
                continue;
            }
            urgent.tell(Event::Stop(signal));
            thread::sleep(OUTPUT_PATIENCE);
            before.restore();
            std::process::exit(exit_of(signal).into());
        }
    };
    thread::Builder::new().name("signal".into()).spawn(watch)?;
    Ok(())
}

/// Tells the loop what does not wait behind other events.
#[derive(Clone)]
struct Urgent {
    urgent: SyncSender<Event>,
    events: SyncSender<Event>,
}

impl Urgent {
    /// Does not wait: when so much is urgent already, this is lost.
    fn tell(&self, event: Event) {
        let _ = self.urgent.try_send(event);
        // Where events wait, the loop looks anyway.
        let _ = self.events.try_send(Event::Look);
    }
}

/// Broker and proxy are there: what they tell, and where posts go.
struct Connected {
    events: SyncSender<Event>,
    heard: Receiver<Event>,
    urgent: SyncSender<Event>,
    urgently: Receiver<Event>,
    posts: SyncSender<Post>,
    /// Where the nodes' clocks stand.
    clock: LamportTime,
}

impl Connected {
    fn open(args: &BoardArgs) -> Result<Connected, Failure> {
        let (events, heard) = mpsc::sync_channel(MAX_EVENTS);
        let (urgent, urgently) = mpsc::sync_channel(MAX_WAITING);
        let (posts, to_send) = mpsc::sync_channel(MAX_WAITING);
        let mut topics = args.topic.clone();
        topics.push(SERVERS.into());
        let open = |side, addr: &str, topics| {
            let addr = client::resolve(addr).map_err(Failure::Usage)?;
            let timeout = Duration::from_millis(args.timeout_ms);
            Link::open(side, addr, timeout, topics, events.clone())
                .map_err(|trouble| Failure::Start(side, trouble))
        };
        let broker = open(Side::Broker, &args.broker, Vec::new())?;
        let proxy = open(Side::Proxy, &args.proxy, topics)?;
        let clock = broker.clock().max(proxy.clock());
        let named = |name: &str| thread::Builder::new().name(name.into());
        named("broker").spawn(move || broker.post(&to_send))?;
        named("proxy").spawn(move || proxy.listen())?;
        Ok(Connected { events, heard, urgent, urgently, posts, clock })
    }

    fn urgent(&self) -> Urgent {
        Urgent { urgent: self.urgent.clone(), events: self.events.clone() }
    }

    /// Takes commands from an input where nobody types.
    fn read(&self, args: &BoardArgs, input: impl Read + Send + 'static) -> io::Result<()> {
        if !args.auto {
            let events = self.events.clone();
            let read = move || read_lines(BufReader::new(input), &events);
            thread::Builder::new().name("input".into()).spawn(read)?;
        }
        Ok(())
    }

    /// Talks until the end.
    fn talk(self, args: &BoardArgs, out: &mut dyn Write, at_terminal: bool) -> Result<(), Failure> {
        let mut talk = Talk::new(args, out, at_terminal, self.posts, self.clock);
        let stopped = talk.go_on(&self.heard, &self.urgently)?;
        match (stopped, talk.failed()) {
            (Some(signal), (failed, of)) => Err(Failure::Stopped { signal, failed, of }),
            (None, (0, _)) => Ok(()),
            (None, (failed, of)) => Err(Failure::Unpublished { failed, of }),
        }
    }
}

/// The user's lines, without their ends. One that is longer than any message is cut, just above
/// what the broker takes.
fn read_lines(mut input: impl BufRead, events: &SyncSender<Event>) {
    const MOST: u64 = MAX_TEXT_BYTES as u64 + 64;
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(MOST).read_until(b'\n', &mut line);
        if !matches!(read, Ok(1..)) {
            break;
        }
        if line.pop_if(|last| *last == b'\n').is_none() && line.len() as u64 == MOST {
            let _ = input.skip_until(b'\n');
        }
        if events.send(Event::Line(line)).is_err() {
            return;
        }
    }
    // Nobody is there to hear it: the client has ended.
    let _ = events.send(Event::InputEnded);
}

#[cfg(test)]
mod tests;
