//! `node bench kv`: load for the store, with latencies that can be believed, and a history of all
//! operations for the checkers.

mod alarm;
mod connection;
mod history;
mod load;
mod stats;
mod workload;

use self::history::History;
use self::load::Load;
use crate::client;
use clap::builder::RangedU64ValueParser;
use serde::Serialize;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "\
Without --rate each connection keeps --depth operations in flight (closed loop): this measures what
the servers can do. With --rate operations are sent by a schedule (open loop), and the latency of
each counts from the time when it was due, however late it could be sent: this measures what users
would see. What is due and cannot be sent is reported as unsent.

Operations count when they are answered after the warmup and before the end; errors count from the
start. The run ends on time whatever the servers do. A connection that breaks dials again after
100 ms. Each place in a connection's depth is one client, with one operation at a time.

Examples:
  node bench kv                                          PUTs at 127.0.0.1:10097, 50 connections
  node bench kv --connections 200 --depth 16 --seconds 30
  node bench kv --servers 127.0.0.1:10097,127.0.0.1:10098,127.0.0.1:10099 --put-percent 10
  node bench kv --rate 20000 --json                      open loop, one JSON object on stdout
  node bench kv --connections 4 --keys 10 --put-percent 50 --history run.jsonl

History (--history FILE, a new file): one JSON object a line for each operation, in the order of the
replies; operations without a reply come when their connection ends, or last.
  {\"client\":0,\"op\":\"put\",\"key\":\"key-3\",\"value\":\"0-12-5f…\",\"invoke_ns\":1200,\"return_ns\":90500,
   \"outcome\":\"ok\",\"timestamp\":7,\"server\":\"127.0.0.1:10097\"}
  client     its operations do not overlap, except that it goes on after one without a reply
  op         put, get
  value      what was PUT, unique in the run; what a GET got, else null
  invoke_ns, return_ns
             on one monotonic clock, from the start of the run; return_ns is null without a reply
  outcome    ok, null (absent), try_other, not_applied, may_still_apply, unknown (no reply: a PUT
             may have taken effect)
  timestamp  the reply's; 0 when it has none
GETs carry the client's last timestamp of the key, as --sessions does.

Exit codes:
  0  operations were answered in the measured time, whatever else went wrong
  1  none was; the report says why
  5  wrong usage, or a history that cannot be written";

/// Load the servers of a protocol and measure them
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// What to load
    #[command(subcommand)]
    pub command: BenchCommand,
}

/// What to load.
#[derive(Debug, clap::Subcommand)]
pub enum BenchCommand {
    /// The key-value store
    #[command(after_long_help = HELP)]
    Kv(KvBenchArgs),
}

/// The load's arguments.
#[derive(Debug, clap::Args)]
pub struct KvBenchArgs {
    /// The servers, IP:port or name:port, with commas; connections take them in turn
    #[arg(
        long,
        visible_alias = "server",
        value_name = "ADDR,…",
        value_delimiter = ',',
        default_value = "127.0.0.1:10097"
    )]
    pub servers: Vec<String>,
    /// How many connections
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = within(1, 10_000))]
    pub connections: u64,
    /// How many operations each connection keeps in flight
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = within(1, connection::MAX_DEPTH as u64))]
    pub depth: u64,
    /// How long to measure
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    pub seconds: f64,
    /// How long to load before measuring, in seconds
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    pub warmup: f64,
    /// How long a value is, in bytes; short ones grow to hold their number
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = within(1, 8 << 20))]
    pub value_bytes: u64,
    /// How many keys
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = within(1, 1 << 31))]
    pub keys: u64,
    /// How many of a hundred operations are PUTs; the rest are GETs
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = within(0, 100))]
    pub put_percent: u64,
    /// Open loop: this many operations a second, for all connections together
    #[arg(long, value_name = "OPS", value_parser = within(1, 100_000_000))]
    pub rate: Option<u64>,
    /// How long a reply may take before its connection is given up, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = within(1, 3_600_000))]
    pub timeout_ms: u64,
    /// Send the client's last timestamp of the key with each GET; --history does it anyway
    #[arg(long)]
    pub sessions: bool,
    /// Write every operation to this file, which must be new; costs throughput
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// What operations and keys are drawn from; another one each time when left out
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
    /// Print a line each second to stderr even when that is no terminal
    #[arg(long)]
    pub progress: bool,
}

fn within(least: u64, most: u64) -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(least..=most)
}

/// Nobody measures for longer than a day.
const MAX_SECONDS: f64 = 86_400.0;
/// What requests in flight may take of this machine's memory.
const MAX_IN_FLIGHT_BYTES: u64 = 1 << 30;
/// What clients may remember, in timestamps: 800 MB.
const MAX_REMEMBERED: u64 = 100_000_000;

/// The arguments, checked; also the report's parameters.
#[derive(Debug, Default, Serialize)]
struct Plan {
    servers: Vec<SocketAddr>,
    connections: usize,
    depth: usize,
    seconds: f64,
    warmup: f64,
    value_bytes: usize,
    keys: u32,
    put_percent: u8,
    rate: Option<u64>,
    timeout_ms: u64,
    sessions: bool,
    history: Option<PathBuf>,
    seed: u64,
}

impl Plan {
    fn resolve(args: &KvBenchArgs) -> Result<Plan, String> {
        let servers: Result<Vec<SocketAddr>, String> =
            args.servers.iter().map(|text| client::resolve(text)).collect();
        let in_range = |least: f64, value: f64| (least..=MAX_SECONDS).contains(&value);
        if !in_range(0.001, args.seconds) || !in_range(0.0, args.warmup) {
            return Err(format!(
                "--seconds must be 0.001 to {MAX_SECONDS}, --warmup 0 to {MAX_SECONDS}"
            ));
        }
        let sessions = args.sessions || args.history.is_some();
        if args.connections * args.depth * args.value_bytes > MAX_IN_FLIGHT_BYTES {
            return Err("--connections × --depth × --value-bytes is above 1 GiB; lower one".into());
        }
        if sessions && args.connections * args.depth * args.keys > MAX_REMEMBERED {
            return Err(format!(
                "with --sessions or --history, --connections × --depth × --keys must be at most \
                 {MAX_REMEMBERED}; lower one"
            ));
        }
        Ok(Plan {
            servers: servers?,
            // The ranges of the arguments fit these types.
            connections: args.connections as usize,
            depth: args.depth as usize,
            seconds: args.seconds,
            warmup: args.warmup,
            value_bytes: args.value_bytes as usize,
            keys: args.keys as u32,
            put_percent: args.put_percent as u8,
            rate: args.rate,
            timeout_ms: args.timeout_ms,
            sessions,
            history: args.history.clone(),
            seed: args.seed.unwrap_or_else(|| RandomState::new().hash_one(0)),
        })
    }

    /// One for each place in each connection's depth.
    fn clients(&self) -> usize {
        self.connections * self.depth
    }

    fn warmup_ns(&self) -> u64 {
        Duration::from_secs_f64(self.warmup).as_nanos() as u64
    }

    fn measured_ns(&self) -> u64 {
        Duration::from_secs_f64(self.seconds).as_nanos() as u64
    }

    fn timeout_ns(&self) -> u64 {
        self.timeout_ms * 1_000_000
    }
}

/// The report's head.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} connections × depth {}, ", self.connections, self.depth)?;
        match self.rate {
            Some(rate) => write!(f, "open loop at {rate}/s, ")?,
            None => write!(f, "closed loop, ")?,
        }
        write!(
            f,
            "{}% PUT, {}-byte values, {} keys, {} s after {} s of warmup, seed {}, at",
            self.put_percent, self.value_bytes, self.keys, self.seconds, self.warmup, self.seed
        )?;
        self.servers.iter().try_for_each(|server| write!(f, " {server}"))
    }
}

/// How a bench ends; its help documents the numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Exit {
    Answered = 0,
    NothingAnswered = 1,
    Failed = 5,
}

/// Runs `node bench`.
pub fn run(args: BenchArgs) -> ExitCode {
    let BenchCommand::Kv(args) = args.command;
    let progress = args.progress || io::stderr().is_terminal();
    let exit = run_with(&args, progress, &mut io::stdout(), &mut io::stderr());
    ExitCode::from(exit.unwrap_or_else(|error| {
        // Who closed stderr has the exit code.
        let _ = writeln!(io::stderr(), "{error}");
        Exit::Failed
    }) as u8)
}

fn run_with(
    args: &KvBenchArgs,
    progress: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Exit, String> {
    let plan = Plan::resolve(args)?;
    let history = plan.history.as_deref().map(History::create).transpose()?;
    let (stats, leftover) = Load::new(&plan, history)?.run(progress.then_some(err))?;
    let report = stats.report(&plan, leftover);
    let text = match args.json {
        true => serde_json::to_string(&report).map_err(|error| error.to_string())?,
        false => report.to_string(),
    };
    writeln!(out, "{text}").map_err(|error| format!("the report cannot be printed: {error}"))?;
    Ok(if report.ops > 0 { Exit::Answered } else { Exit::NothingAnswered })
}

#[cfg(test)]
mod tests;
