//! `node bench kv`: load for the store, with latencies that can be believed, and a trace of all
//! operations for the checkers.

mod alarm;
mod connection;
mod load;
mod run;
mod stats;
mod workload;

use self::load::Load;
use super::{Exit, MAX_IN_FLIGHT_BYTES, check_times, ns, show, within};
use crate::client;
use node_lab::trace::ClientWriter;
use serde::Serialize;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub const HELP: &str = "\
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
  node bench kv --connections 4 --keys 10 --put-percent 50 --trace run.jsonl

Trace (--trace FILE, a new file): what clients asked and were told, for `node verify` and `node
explain`, beside the traces of the nodes or alone. Start the servers anew before: it is judged as
all that was ever asked of them. Each operation has a line when it is sent and, if a reply comes,
one when it has been read; times are nanoseconds since 1970.
  {\"at\":1700000000000001200,\"kind\":\"invoke\",\"op\":\"0-12\",\"client\":0,\"to\":1,
   \"protocol\":\"kv_replication\",\"label\":\"{\\\"put\\\":{\\\"key\\\":…}}\",\"brief\":\"PUT …\"}
  {\"at\":1700000000000090500,\"kind\":\"return\",\"op\":\"0-12\",\"label\":\"{\\\"put_ok\\\":{\\\"timestamp\\\":7}}\"}
  op      the connection, and the operation's number on it
  client  its operations do not overlap, except that it goes on after one without a reply
  to      the node that was asked
GETs carry the client's last timestamp of the key, as --sessions does.

Exit codes:
  0  operations were answered in the measured time, whatever else went wrong
  1  none was; the report says why
  5  wrong usage, or a trace that cannot be written";

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
    /// Send the client's last timestamp of the key with each GET; --trace does it anyway
    #[arg(long)]
    pub sessions: bool,
    /// Write every operation to this file, which must be new; costs throughput
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
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
    trace: Option<PathBuf>,
    seed: u64,
}

impl Plan {
    fn resolve(args: &KvBenchArgs) -> Result<Plan, String> {
        let servers: Result<Vec<SocketAddr>, String> =
            args.servers.iter().map(|text| client::resolve(text)).collect();
        check_times(args.seconds, args.warmup)?;
        let sessions = args.sessions || args.trace.is_some();
        if args.connections * args.depth * args.value_bytes > MAX_IN_FLIGHT_BYTES {
            return Err("--connections × --depth × --value-bytes is above 1 GiB; lower one".into());
        }
        if sessions && args.connections * args.depth * args.keys > MAX_REMEMBERED {
            return Err(format!(
                "with --sessions or --trace, --connections × --depth × --keys must be at most \
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
            trace: args.trace.clone(),
            seed: args.seed.unwrap_or_else(|| RandomState::new().hash_one(0)),
        })
    }

    /// One for each place in each connection's depth.
    fn clients(&self) -> usize {
        self.connections * self.depth
    }

    fn warmup_ns(&self) -> u64 {
        ns(self.warmup)
    }

    fn measured_ns(&self) -> u64 {
        ns(self.seconds)
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

fn create_trace(path: &Path) -> Result<ClientWriter, String> {
    ClientWriter::create(path, "bench kv", None).map_err(|error| {
        format!("trace {} cannot be made: {error}; name a file that is new", path.display())
    })
}

/// Runs `node bench kv`.
pub(super) fn run_with(
    args: &KvBenchArgs,
    progress: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Exit, String> {
    let plan = Plan::resolve(args)?;
    let trace = plan.trace.as_deref().map(create_trace).transpose()?;
    let (stats, leftover) = Load::new(&plan, trace)?.run(progress.then_some(err))?;
    let report = stats.report(&plan, leftover);
    show(&report, args.json, out)?;
    Ok(if report.ops > 0 { Exit::Measured } else { Exit::NothingMeasured })
}

#[cfg(test)]
mod tests;
