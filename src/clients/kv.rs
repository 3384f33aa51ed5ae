//! `node kv`: the store's client, interactive as the document has it, or one request a run.
//!
//! stdout carries results and nothing else; menus, prompts, errors and advice go to stderr. The
//! client never learns who leads.

mod cluster;
mod menu;
mod report;
#[doc(hidden)]
pub mod session;

use self::cluster::{Cluster, Failure};
use self::report::{Exit, InfoReport, Op, Outcome, Report};
use self::session::Session;
use crate::cli::output::{Output, is_reader_gone};
use crate::client;
use clap::builder::RangedU64ValueParser;
use node_protocols::kv_replication::{Reply, Request, Timestamp};
use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Where the document puts the three servers.
pub const DEFAULT_SERVERS: [&str; 3] = ["127.0.0.1:10097", "127.0.0.1:10098", "127.0.0.1:10099"];

const EXIT_CODES: &str = "\
Exit codes:
  0  done: PUT_OK, or the value was found; info: every server answered
  1  the key is absent (NULL)
  2  refused: TRY_OTHER_SERVER_OR_LATER; the server is behind what this client has seen
  3  the PUT was not applied; it is safe to try again
  4  the PUT may still take effect; GET the key and see before you try again
  5  no server reachable, wrong usage, a session file that cannot be read or written, or
     anything else, also output that cannot be written; a PUT with this code was not sent, or stderr
     says what became of it
  141  interactive, and whoever read the output has gone (| head), as with any command";

const EXAMPLES: &str = "\
Without a command it is interactive, with three choices:
  INIT  asks for the three servers (an empty line takes the default)
  PUT   asks for key and value, and sends them to one of the servers, picked at random
  GET   asks for a key, and sends it, with the last timestamp that this client has seen for it,
        to one of the servers, picked at random
A choice is its number or its name; end of input ends the program. Menu and prompts are on stderr,
results on stdout.

Each request goes to a server picked at random; when that one cannot be reached, to another. A PUT
that a server may have got is never sent again by itself.

Examples:
  node kv                                             interactive
  node kv put city Lisboa                             one PUT at the default servers
  node kv get city
  node kv get city --server 127.0.0.1:10098           at this server and no other
  node kv get city --session me.json                  never go back, across runs too
  node kv put --session me.json -- --key -value       a key and a value that begin with -
  node kv info --json --servers 10.0.0.1:10097,10.0.0.2:10097

JSON (--json), one object a line, on stdout:
  {\"op\":\"get\",\"key\":\"city\",\"outcome\":\"ok\",\"value\":\"Lisboa\",\"timestamp\":1,\"known\":0,\"server\":\"127.0.0.1:10097\"}
  outcome    ok, null, try_other, not_applied, may_still_apply, unreachable, failed
  timestamp  of the key at the server; known: the client's own, as sent with a GET
  reason     when there is one; key_hex and value_hex replace key and value that are no UTF-8

";

/// Use the key-value store: interactive, or one PUT, GET or info a run
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("{EXAMPLES}{EXIT_CODES}"), after_help = EXIT_CODES)]
pub struct KvArgs {
    /// The servers, IP:port or name:port, with commas; one alone pins it. Interactive use needs
    /// no INIT then. [default: 127.0.0.1:10097,127.0.0.1:10098,127.0.0.1:10099]
    #[arg(
        long,
        visible_alias = "server",
        value_name = "ADDR,…",
        value_delimiter = ',',
        global = true
    )]
    pub servers: Vec<String>,
    /// Print results as JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Keep what this client has seen in this file, so that later runs never see less. One run at
    /// a time, one cluster a file; it is made when it is not there
    #[arg(long, value_name = "FILE", global = true)]
    pub session: Option<PathBuf>,
    /// How long a request may take, connecting included, in milliseconds
    #[arg(long, value_name = "MS", global = true, default_value_t = 10_000,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=3_600_000))]
    pub timeout_ms: u64,
    /// What to do; interactive when left out
    #[command(subcommand)]
    pub command: Option<KvCommand>,
}

/// One request.
#[derive(Debug, clap::Subcommand)]
pub enum KvCommand {
    /// Store a value; prints PUT_OK and its timestamp once every server has it
    #[command(after_help = EXIT_CODES)]
    Put {
        /// The key, any bytes
        #[arg(allow_negative_numbers = true)]
        key: OsString,
        /// The value, any bytes
        #[arg(allow_negative_numbers = true)]
        value: OsString,
    },
    /// Read a value; prints it with the timestamps of client and server
    #[command(after_help = EXIT_CODES)]
    Get {
        /// The key, any bytes
        #[arg(allow_negative_numbers = true)]
        key: OsString,
    },
    /// Ask every server how it is
    #[command(after_help = EXIT_CODES)]
    Info,
}

/// Runs `node kv` on the process's own streams.
pub fn run(args: &KvArgs) -> ExitCode {
    let exit = run_with(args, io::stdin().lock(), &mut Output::default(), &mut io::stderr());
    ExitCode::from(exit as u8)
}

/// Runs `node kv`.
fn run_with(args: &KvArgs, input: impl BufRead, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    let mut store = match Store::new(args, out, err) {
        Ok(store) => store,
        Err((error, err)) => {
            // Who closed stderr has the exit code.
            let _ = writeln!(err, "{error}");
            return Exit::Failed;
        }
    };
    let ended = match &args.command {
        None => menu::run(&mut store, !args.servers.is_empty(), input),
        Some(KvCommand::Put { key, value }) => {
            store.put(key.as_encoded_bytes(), value.as_encoded_bytes())
        }
        Some(KvCommand::Get { key }) => store.get(key.as_encoded_bytes()),
        Some(KvCommand::Info) => store.info(),
    };
    ended.unwrap_or_else(|error| {
        store.tell(format_args!("stopped: {error}"));
        Exit::Failed
    })
}

/// The store as one client sees it, and where results go.
struct Store<'a> {
    cluster: Cluster,
    session: Session,
    timeout: Duration,
    json: bool,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// Whoever read the results has gone.
    unheard: bool,
}

impl<'a> Store<'a> {
    fn new(
        args: &KvArgs,
        out: &'a mut dyn Write,
        err: &'a mut dyn Write,
    ) -> Result<Store<'a>, (String, &'a mut dyn Write)> {
        let parts = || {
            let session = args.session.as_deref().map_or(Ok(Session::default()), Session::load)?;
            Ok((addresses(&args.servers)?, session))
        };
        let (servers, session) = match parts() {
            Ok(parts) => parts,
            Err(error) => return Err((error, err)),
        };
        let timeout = Duration::from_millis(args.timeout_ms);
        let cluster = Cluster::new(&servers, timeout);
        Ok(Store { cluster, session, timeout, json: args.json, out, err, unheard: false })
    }

    /// Exchanges the servers. What the client has seen stays: it has seen it.
    fn use_servers(&mut self, servers: &[SocketAddr]) {
        self.cluster = Cluster::new(servers, self.timeout);
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> io::Result<Exit> {
        let request = Request::Put { key: key.into(), value: value.into() };
        let (server, outcome) = match self.cluster.ask(&request, put_outcome, self.err) {
            Ok((server, outcome)) => (Some(server), outcome),
            Err(Failure::Unreachable { reason }) => (None, Outcome::Unreachable(reason)),
            Err(Failure::TooLong { reason }) => (None, Outcome::NotApplied(reason)),
            Err(Failure::Unanswered { addr, reason }) => {
                (Some(addr), Outcome::MayStillApply(reason))
            }
        };
        self.finish(&Report { key, op: Op::Put(value), server, outcome })
    }

    fn get(&mut self, key: &[u8]) -> io::Result<Exit> {
        let known = self.session.known(key);
        let request = Request::Get { key: key.into(), timestamp: known, applied: Timestamp(0) };
        let (server, outcome) = match self.cluster.ask(&request, get_outcome, self.err) {
            Ok((server, outcome)) => (Some(server), outcome),
            Err(Failure::Unreachable { reason }) => (None, Outcome::Unreachable(reason)),
            Err(Failure::TooLong { reason }) => (None, Outcome::Failed(reason)),
            Err(Failure::Unanswered { addr, reason }) => (Some(addr), Outcome::Failed(reason)),
        };
        self.finish(&Report { key, op: Op::Get(known), server, outcome })
    }

    /// Prints a result and notes what the client has seen by it.
    fn finish(&mut self, report: &Report<'_>) -> io::Result<Exit> {
        let seen = match &report.outcome {
            Outcome::Stored(timestamp) | Outcome::Found(_, timestamp) => *timestamp,
            _ => Timestamp(0),
        };
        // Before the print: whoever reads the line may start the next run at once.
        let saved = self.session.saw(report.key, seen);
        let shown = report.show(self.json, self.out, self.err);
        self.unless_unheard(shown).map_err(|error| {
            let outcome = report.outcome.name();
            let what = format!("the outcome is {outcome}, and it cannot be printed: {error}");
            io::Error::new(error.kind(), what)
        })?;
        match saved {
            Ok(()) => Ok(report.outcome.exit()),
            Err(error) => {
                self.tell(format_args!("{error}"));
                Ok(Exit::Failed)
            }
        }
    }

    fn info(&mut self) -> io::Result<Exit> {
        let mut exit = Exit::Done;
        let servers: Vec<SocketAddr> = self.cluster.addrs().collect();
        for server in servers {
            let json = self.json;
            let show = |report: InfoReport<'_, '_>| match json {
                true => report.json(),
                false => report.to_string(),
            };
            let read = |reply: Reply<'_>| match reply {
                Reply::Info(info) => Some(show(InfoReport { server, info: Ok(&info) })),
                _ => None,
            };
            let asked =
                Cluster::new(&[server], self.timeout).ask(&Request::Info {}, read, self.err);
            let shown = asked.map(|(_, shown)| shown).unwrap_or_else(|failure| {
                exit = Exit::Failed;
                show(InfoReport { server, info: Err(failure.reason()) })
            });
            let printed = writeln!(self.out, "{shown}").and_then(|()| self.out.flush());
            self.unless_unheard(printed)?;
        }
        Ok(exit)
    }

    /// That the reader has gone is no error.
    fn unless_unheard(&mut self, printed: io::Result<()>) -> io::Result<()> {
        match printed {
            Err(error) if is_reader_gone(&error) => {
                self.unheard = true;
                Ok(())
            }
            printed => printed,
        }
    }

    /// Says something on stderr; who closed it does not want to know.
    fn tell(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.err, "{line}");
    }
}

fn addresses(servers: &[String]) -> Result<Vec<SocketAddr>, String> {
    match servers {
        [] => DEFAULT_SERVERS.iter().map(|text| client::resolve(text)).collect(),
        given => given.iter().map(|text| client::resolve(text)).collect(),
    }
}

fn put_outcome(reply: Reply<'_>) -> Option<Outcome> {
    match reply {
        Reply::PutOk { timestamp } => Some(Outcome::Stored(timestamp)),
        Reply::NotApplied { reason } => Some(Outcome::NotApplied(reason.into_owned())),
        Reply::MayStillApply { reason } => Some(Outcome::MayStillApply(reason.into_owned())),
        Reply::Value { .. }
        | Reply::Null {}
        | Reply::TryOtherServerOrLater { .. }
        | Reply::Info(_) => None,
    }
}

fn get_outcome(reply: Reply<'_>) -> Option<Outcome> {
    match reply {
        Reply::Value { value, timestamp } => Some(Outcome::Found(value.0.into_owned(), timestamp)),
        Reply::Null {} => Some(Outcome::Absent),
        Reply::TryOtherServerOrLater { timestamp } => Some(Outcome::TryOther(timestamp)),
        Reply::NotApplied { reason } | Reply::MayStillApply { reason } => {
            Some(Outcome::Failed(reason.into_owned()))
        }
        Reply::PutOk { .. } | Reply::Info(_) => None,
    }
}

#[cfg(test)]
mod tests;
