//! `node bench board`: load for the bulletin system's proxy, or for any other NATS server, over the
//! same protocol: one publisher, and as many subscribers as asked for.

mod connection;
mod load;
mod process;
mod run;
mod stats;
mod wire;

use self::load::Load;
use super::{Exit, MAX_IN_FLIGHT_BYTES, check_times, ns, show, within};
use crate::client;
use node_protocols::board::is_word;
use serde::Serialize;
use std::fmt;
use std::io::Write;
use std::net::SocketAddr;

pub const HELP: &str = "\
One connection publishes, and each subscriber has one of its own; all are this process's, on one
thread. A message is published when the slowest subscriber that reads is less than --window messages
behind (closed loop): 1 measures how long a message takes, 1000 what the server can do. A window
that is more than the server keeps for one client (client_high_water_bytes of the proxy's limits)
measures what it does about slow subscribers. Latency counts from when a message is handed to the
publisher's socket to when a subscriber has read it.

Publications and deliveries count after the warmup and before the end. Then nothing more is
published, and the run ends when all has come. Each message carries its number:
  lost                   numbers that a subscriber did not get
  told to be lost        as the server said by -ERR 'Permissions Violation: N messages missed'
  twice or out of order  messages whose number is not above the one before; must be 0

The server's processor time (--pid, Linux alone) is that of all its threads, in ticks of 10 ms:
measure for some seconds. This load's own is shown, too: near one core, it is the load that holds
the server up.

A connection that breaks, an -ERR, what is no NATS, and a message that does not come within
--timeout-ms end the run; the report says what happened, and shows what was measured until then.

Examples:
  node bench board                                       the proxy of configs/board
  node bench board --window 1 --subscribers 1            one message at a time
  node bench board --not-reading 1 --message-bytes 1000  beside one that never reads
  node bench board --server 127.0.0.1:4222 --pid $(pidof nats-server) --json

Exit codes:
  0  messages were delivered in the measured time, in order and none twice, and no connection
     broke; some may be lost
  1  otherwise; the report says why
  5  wrong usage, or a process of --pid that cannot be read";

/// The load's arguments.
#[derive(Debug, clap::Args)]
pub struct BoardBenchArgs {
    /// The server's NATS listener, IP:port or name:port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:14502")]
    server: String,
    /// How many subscribers read
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = within(1, 10_000))]
    subscribers: u64,
    /// How many more subscribe and never read
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = within(0, 10_000))]
    not_reading: u64,
    /// How many messages the publisher may be ahead of the slowest subscriber that reads
    #[arg(long, value_name = "W", default_value_t = 100, value_parser = within(1, 1_000_000))]
    window: u64,
    /// How long a message is, in bytes
    #[arg(long, value_name = "N", default_value_t = 128,
          value_parser = within(wire::MIN_MESSAGE_BYTES as u64, wire::MAX_MESSAGE_BYTES as u64))]
    message_bytes: u64,
    /// What is published and subscribed to; others who use it disturb
    #[arg(long, value_name = "TOPIC", default_value = "bench", value_parser = topic)]
    topic: String,
    /// How long to measure
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    seconds: f64,
    /// How long to load before measuring, in seconds
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    warmup: f64,
    /// How long connecting, and then any message, may take before the run ends, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = within(1, 3_600_000))]
    timeout_ms: u64,
    /// The server's process: show its processor time and memory
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    /// Print a line each second to stderr even when that is no terminal
    #[arg(long)]
    pub progress: bool,
}

fn topic(text: &str) -> Result<String, String> {
    let rule = "it must be 1 to 64 bytes without spaces, quotes, backslashes, * and >";
    if is_word(text) && !text.contains(['*', '>']) { Ok(text.into()) } else { Err(rule.into()) }
}

/// The arguments, checked; also the report's parameters.
#[derive(Debug, Serialize)]
struct Plan {
    #[serde(rename = "address")]
    server: SocketAddr,
    subscribers: usize,
    not_reading: usize,
    window: usize,
    message_bytes: usize,
    topic: String,
    seconds: f64,
    warmup: f64,
    timeout_ms: u64,
    pid: Option<u32>,
}

impl Plan {
    fn resolve(args: &BoardBenchArgs) -> Result<Plan, String> {
        check_times(args.seconds, args.warmup)?;
        if args.window * args.message_bytes > MAX_IN_FLIGHT_BYTES {
            return Err("--window × --message-bytes is above 1 GiB; lower one".into());
        }
        Ok(Plan {
            server: client::resolve(&args.server)?,
            // The ranges of the arguments fit these types.
            subscribers: args.subscribers as usize,
            not_reading: args.not_reading as usize,
            window: args.window as usize,
            message_bytes: args.message_bytes as usize,
            topic: args.topic.clone(),
            seconds: args.seconds,
            warmup: args.warmup,
            timeout_ms: args.timeout_ms,
            pid: args.pid,
        })
    }

    fn warmup_ns(&self) -> u64 {
        ns(self.warmup)
    }

    fn end_ns(&self) -> u64 {
        ns(self.warmup) + ns(self.seconds)
    }

    fn timeout_ns(&self) -> u64 {
        self.timeout_ms * 1_000_000
    }
}

/// The report's head.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { server, subscribers, not_reading, window, message_bytes, .. } = self;
        write!(f, "1 publisher, {subscribers} subscribers")?;
        if *not_reading > 0 {
            write!(f, " and {not_reading} not reading")?;
        }
        let Plan { topic, seconds, warmup, .. } = self;
        write!(
            f,
            ", window {window}, {message_bytes}-byte messages under {topic}, {seconds} s after \
             {warmup} s of warmup, at {server}"
        )
    }
}

/// Runs `node bench board`.
pub(super) fn run_with(
    args: &BoardBenchArgs,
    progress: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Exit, String> {
    let plan = Plan::resolve(args)?;
    if let Some(pid) = plan.pid {
        // Told before the run, not after it.
        process::Usage::of(pid)?;
    }
    let stats = Load::new(&plan)?.run(progress.then_some(err))?;
    let report = stats.report(&plan);
    show(&report, args.json, out)?;
    Ok(if report.is_good() { Exit::Measured } else { Exit::NothingMeasured })
}

#[cfg(test)]
mod tests;
