//! `node agency`: one agency of the national lottery. Sends its bets to the central, tells it that
//! they are all, and waits for its winners.
//!
//! stdout carries the document's lines, in its words; the log and the progress bar go to stderr.
//! Batches have numbers, and the same file is always cut into the same batches: whatever breaks on
//! the way, and however often the agency is started again, each bet is stored once.

mod central;
mod lines;
mod link;
mod rows;
mod text;

use self::central::{Answer, Trouble};
use self::lines::Lines;
use self::link::Link;
use self::rows::BetsFile;
use self::text::Exercise;
use crate::cli::output::Output;
use crate::client;
use clap::builder::RangedU64ValueParser;
use node_protocols::lottery::{Bet, Value, bet_of};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::env;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

const EXIT_CODES: &str = "\
Exit codes:
  0  done: the winners are known (a single bet: it is stored), or told to stop (SIGTERM, SIGINT)
  1  the central refuses, or the file is bad: what was acknowledged before stays stored
  2  wrong usage
  3  the central cannot be reached, runs no lottery, or did not answer in time; or its disk is full
     and stayed so; or the output could not be written: start again";

const EXAMPLES: &str = "\
The file has one bet a line: name,surname,document,birthdate,number, in UTF-8, quoted as RFC 4180
has it where a field needs it, with line ends of either kind. It is read as it is sent, and sending
stops at the first bad row. Correct the row and start again: batches that are stored are not stored
again. The same holds after any other end, as long as earlier rows and --bets-per-chunk stay.

Examples:
  node agency --id 1 --bets agency-1.csv
  node agency --id 2 --central 127.0.0.1:12346 --bets agency-2.csv --quiet
  node agency --id 2 --central 127.0.0.1:12345 --bets agency-2.csv --wire text  (the document's)
  NOMBRE='Santiago Lionel' APELLIDO=Lorca DOCUMENTO=30904465 NACIMIENTO=1999-03-17 NUMERO=2201 \\
    node agency --id 3                     a single bet, sent as batch 1 of the agency

The document's wire (--wire text) has no numbers. What may have arrived is then not sent again: the
agency ends with code 3, and names the lines; see what the central has before you send the rest.

JSON (--json), one object a line, on stdout: time, level, action, result, and the other names:
  {\"action\":\"chunk_ack_received\",\"chunk_id\":1,\"client_id\":1,\"level\":\"info\",\"result\":\"success\",\"time\":…}
  {\"action\":\"consulta_ganadores\",\"cant_ganadores\":1,\"dni_ganadores\":[30876370],…}

";

/// Send an agency's bets to the lottery's central, and wait for its winners
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("{EXAMPLES}{EXIT_CODES}"), after_help = EXIT_CODES)]
pub struct AgencyArgs {
    /// The agency's number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    id: u32,
    /// The central's listener of that wire, IP:port or name:port [default: 127.0.0.1:12346, or
    /// 127.0.0.1:12345 with --wire text]
    #[arg(long, value_name = "ADDR")]
    central: Option<String>,
    /// How to speak to the central: `native` stores each bet once, whatever breaks; `text` is the
    /// document's own wire, for its own server
    #[arg(long, value_enum, default_value = "native")]
    wire: Wire,
    /// With --wire text, of which of the document's exercises the server is: 6 has chunks alone, 7
    /// and 6 a connection for each message, 8 one for all. A single bet is always exercise 5
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(6..=8))]
    exercise: Option<u8>,
    /// The agency's bets; without it a single one, from the environment: NOMBRE, APELLIDO,
    /// DOCUMENTO, NACIMIENTO, NUMERO
    #[arg(long, value_name = "FILE")]
    bets: Option<PathBuf>,
    /// How many bets are sent at a time, at most; fewer where they would exceed 8 KiB
    #[arg(long, value_name = "N", default_value_t = 50,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=10_000))]
    bets_per_chunk: u64,
    /// How long to wait before asking for results again, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1_000,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=3_600_000))]
    period_ms: u64,
    /// Give up when the central has answered nothing, or that its disk is full, for so long, in
    /// milliseconds
    #[arg(long, value_name = "MS", default_value_t = 60_000,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=3_600_000))]
    timeout_ms: u64,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Print no line for each chunk
    #[arg(long)]
    quiet: bool,
}

/// How an agency speaks to its central.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Wire {
    Native,
    Text,
}

impl AgencyArgs {
    fn central(&self) -> &str {
        self.central.as_deref().unwrap_or(match self.wire {
            Wire::Native => "127.0.0.1:12346",
            Wire::Text => "127.0.0.1:12345",
        })
    }

    fn exercise(&self) -> Exercise {
        match self.exercise {
            Some(6) => Exercise::Six,
            Some(7) => Exercise::Seven,
            Some(_) | None => Exercise::Eight,
        }
    }
}

/// What ended the work early: the step that failed, and why.
#[derive(Debug)]
struct Failure {
    action: &'static str,
    chunk: Option<u64>,
    error: String,
    exit: u8,
    /// Whoever reads it wants to know which bets it concerns.
    names_bets: bool,
}

impl Failure {
    /// The central does not do it, or the file is bad.
    fn refused(action: &'static str, error: impl Into<String>) -> Failure {
        Failure { action, chunk: None, error: error.into(), exit: 1, names_bets: true }
    }

    fn at(action: &'static str, trouble: Trouble) -> Failure {
        let exit = if trouble.is_refusal() { 1 } else { 3 };
        let (error, names_bets) = (trouble.to_string(), trouble.concerns_bets());
        Failure { action, chunk: None, error, exit, names_bets }
    }

    fn of_chunk(self, chunk: u64) -> Failure {
        Failure { chunk: Some(chunk), ..self }
    }
}

/// Runs `node agency` on the process's own streams.
pub fn run(args: &AgencyArgs) -> ExitCode {
    let mut out = Output::default();
    let lines = Lines::new(Box::new(out.clone()), args.json, io::stderr().is_terminal());
    let lines = Arc::new(Mutex::new(lines));
    let prepared = || {
        if args.exercise.is_some() && args.wire != Wire::Text {
            return Err("--exercise is for --wire text: give both, or neither".into());
        }
        let single = args.bets.is_none().then(|| single_bet(args.id)).transpose()?;
        let central = client::resolve(args.central())?;
        watch_signals(args.id, Arc::clone(&lines), out.clone())
            .map_err(|error| format!("cannot wait for signals: {error}"))?;
        let timeout = Duration::from_millis(args.timeout_ms);
        Ok((single, Link::new(args, central, timeout)))
    };
    let (single, central) = match prepared() {
        Ok(prepared) => prepared,
        Err::<_, String>(error) => {
            // Who closed stderr has the exit code.
            let _ = writeln!(io::stderr(), "node agency: {error}");
            return ExitCode::from(2);
        }
    };
    let mut agency = Agency { args, central, lines };
    let code = agency.report(single);
    ExitCode::from(out.end("node agency", code, UNWRITTEN))
}

/// The exit code when all is done and its lines could not be printed.
const UNWRITTEN: u8 = 3;

/// How long a signal waits for a line that is being printed.
const LINES_PATIENCE: Duration = Duration::from_secs(1);

/// On SIGTERM or SIGINT ends the process, with the document's lines as its last.
fn watch_signals(id: u32, lines: Arc<Mutex<Lines>>, mut out: Output) -> io::Result<()> {
    let (mut read, write) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGINT] {
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    thread::Builder::new().name("signals".into()).spawn(move || {
        // A byte is a signal; the other end never goes.
        if read.read_exact(&mut [0]).is_err() {
            return;
        }
        // Whoever holds them may wait for a reader that does not come.
        let asked = Instant::now();
        let mut lines = loop {
            match lines.try_lock() {
                Ok(lines) => break lines,
                Err(TryLockError::Poisoned(lines)) => break lines.into_inner(),
                Err(TryLockError::WouldBlock) if asked.elapsed() > LINES_PATIENCE => {
                    std::process::exit(0);
                }
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(10)),
            }
        };
        for action in ["socket_closing", "signal_receiver_channel_shutdown", "loop_finished"] {
            lines.print("info", action, "success", &[("client_id", Value::Number(id.into()))]);
        }
        // The lock is kept: nothing is printed after them. What is in flight is stored or not, and
        // the next run with the same file finds out.
        std::process::exit(out.end("node agency", 0, UNWRITTEN).into());
    })?;
    Ok(())
}

fn lock(lines: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bet that the environment describes.
fn single_bet(agency: u32) -> Result<Bet<'static>, String> {
    let names = ["NOMBRE", "APELLIDO", "DOCUMENTO", "NACIMIENTO", "NUMERO"];
    let mut values = Vec::new();
    for name in names {
        let value = env::var_os(name).ok_or_else(|| {
            format!("give --bets FILE, or a single bet in the environment: {name} is not set")
        })?;
        values.push(value);
    }
    let fields: Vec<&[u8]> = values.iter().map(|value| value.as_encoded_bytes()).collect();
    bet_of(agency, &fields).map_err(|fault| format!("the bet of {}: {fault}", names.join(", ")))
}

/// One agency at work.
struct Agency<'a> {
    args: &'a AgencyArgs,
    central: Link,
    lines: Arc<Mutex<Lines>>,
}

impl Agency<'_> {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        lock(&self.lines)
    }

    fn say(&self, action: &str, result: &str, more: &[(&str, Value<'_>)]) {
        let mut fields = vec![("client_id", Value::Number(self.args.id.into()))];
        fields.extend_from_slice(more);
        self.lines().print("info", action, result, &fields);
    }

    /// Does the work, prints why it failed if it did, and answers the exit code.
    fn report(&mut self, single: Option<Bet<'static>>) -> u8 {
        let Err(failure) = self.work(single) else { return 0 };
        let mut fields = vec![("client_id", Value::Number(self.args.id.into()))];
        fields.extend(failure.chunk.map(|chunk| ("chunk_id", Value::Number(chunk))));
        fields.push(("error", Value::Text(&failure.error)));
        self.lines().print("error", failure.action, "fail", &fields);
        failure.exit
    }

    fn work(&mut self, single: Option<Bet<'static>>) -> Result<(), Failure> {
        let AgencyArgs { bets_per_chunk, period_ms, .. } = self.args;
        let server = client::escaped(self.args.central().as_bytes());
        let period = format!("{period_ms}ms");
        let config = [
            ("server_address", Value::Text(&server)),
            ("loop_period", Value::Text(&period)),
            ("bets_per_chunk", Value::Number(*bets_per_chunk)),
        ];
        self.say("config", "success", &config);
        match (single, &self.args.bets) {
            (Some(bet), _) => self.send_single(bet)?,
            (None, Some(path)) => {
                self.send_file(path)?;
                if self.args.exercise() != Exercise::Six {
                    self.finish()?;
                    self.results()?;
                }
            }
            (None, None) => {}
        }
        self.say("loop_finished", "success", &[]);
        Ok(())
    }

    fn send_single(&mut self, bet: Bet<'static>) -> Result<(), Failure> {
        let action = "apuesta_enviada";
        let (document, number) = (bet.document, bet.number);
        self.store(1, vec![bet], true, action)?;
        let fields =
            [("dni", Value::Number(document)), ("numero", Value::Number(u64::from(number)))];
        self.lines().print("info", action, "success", &fields);
        Ok(())
    }

    fn send_file(&mut self, path: &Path) -> Result<(), Failure> {
        let per_chunk = usize::try_from(self.args.bets_per_chunk).unwrap_or(usize::MAX);
        let bad_file = |error: String| Failure::refused("read_bets", error);
        let mut file = BetsFile::open(path, self.args.id, per_chunk).map_err(bad_file)?;
        self.lines().progress_of(file.bytes());
        let mut number = 0;
        while let Some(mut chunk) = file.next_chunk().map_err(bad_file)? {
            number += 1;
            let action = "chunk_ack_received";
            self.store(number, std::mem::take(&mut chunk.bets), false, action).map_err(
                |failure| {
                    let mut failure = failure.of_chunk(number);
                    if failure.names_bets {
                        failure.error += &file.place_of(&chunk);
                    }
                    failure
                },
            )?;
            if !self.args.quiet {
                self.say(action, "success", &[("chunk_id", Value::Number(number))]);
            }
            self.lines().progress(chunk.end);
        }
        self.lines().progress_ends();
        Ok(())
    }

    /// Has a batch stored. Its bets go with it.
    fn store(
        &mut self,
        batch: u64,
        bets: Vec<Bet<'static>>,
        is_single: bool,
        action: &'static str,
    ) -> Result<(), Failure> {
        let count = bets.len() as u64;
        match self.central.store(batch, bets, is_single) {
            Ok(Answer::Stored(stored)) if stored == count => Ok(()),
            Ok(_) => Err(Failure::at(action, Trouble::Unexpected)),
            Err(trouble) => Err(Failure::at(action, trouble)),
        }
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let action = "notify_ack_received";
        match self.central.finish(self.args.id) {
            Ok(Answer::Finished) => {}
            Ok(_) => return Err(Failure::at(action, Trouble::Unexpected)),
            Err(trouble) => return Err(Failure::at(action, trouble)),
        }
        self.say(action, "success", &[]);
        self.say("notify_phase_completed", "success", &[]);
        Ok(())
    }

    fn results(&mut self) -> Result<(), Failure> {
        let action = "consulta_ganadores";
        self.say("results_phase_started", "in_progress", &[]);
        let documents = loop {
            match self.central.results(self.args.id) {
                Ok(Answer::Winners(documents)) => break documents,
                Ok(Answer::NotDrawn) => {
                    thread::sleep(Duration::from_millis(self.args.period_ms));
                }
                Ok(_) => return Err(Failure::at(action, Trouble::Unexpected)),
                Err(trouble) => return Err(Failure::at(action, trouble)),
            }
        };
        let fields = [
            ("cant_ganadores", Value::Number(documents.len() as u64)),
            ("dni_ganadores", Value::Documents(&documents)),
        ];
        self.say(action, "success", &fields);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
