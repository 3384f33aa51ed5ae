//! `node skew`: asks the servers that keep their clocks together what time it is there, and shows how
//! far the clocks are apart.
//!
//! Each clock is read over the network as in F. Cristian, "Probabilistic Clock Synchronization"
//! (1989): of several readings the one with the shortest round trip, which is off by half of that at
//! most. All readings are taken against one monotonic clock here.

use crate::client::{self, Client, ClientError};
use clap::builder::RangedU64ValueParser;
use node_protocols::berkeley::{Berkeley, Reply, Request};
use node_protocols::core::{NodeId, Protocol, WallTime};
use serde_json::json;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const EXIT_CODES: &str = "\
Exit codes:
  0  all clocks were read
  2  wrong usage
  3  a node cannot be reached, keeps no clock (protocol berkeley), or did not answer in time";

const EXAMPLES: &str = "\
A node's offset is how far its clock is ahead of the first one's; each is known within half the round
trip to both. What a node owes is what its clock is still to be moved by, slowly.

Examples:
  node skew                                      the three servers of configs/board
  node skew --nodes 127.0.0.1:10504,127.0.0.1:10505 --readings 50

JSON (--json), one object, on stdout, milliseconds throughout:
  {\"nodes\":[{\"node\":1,\"offset_ms\":0.000,\"error_ms\":0.051,\"owed_ms\":0.000,\"coordinator\":3},…],
   \"largest_ms\":3999.870,\"error_ms\":0.098}

";

/// Show how far the clocks of servers that run berkeley are apart
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("{EXAMPLES}{EXIT_CODES}"), after_help = EXIT_CODES)]
pub struct SkewArgs {
    /// The servers' native listeners, IP:port or name:port, with commas in between
    #[arg(
        long,
        value_name = "ADDRS",
        value_delimiter = ',',
        default_value = "127.0.0.1:10504,127.0.0.1:10505,127.0.0.1:10506"
    )]
    nodes: Vec<String>,
    /// How often each clock is read; the fastest answer counts
    #[arg(long, value_name = "N", default_value_t = 8,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=10_000))]
    readings: u64,
    /// Print JSON, one object
    #[arg(long)]
    json: bool,
    /// How long each step may take, connecting included, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5_000,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=3_600_000))]
    timeout_ms: u64,
}

/// Why clocks were not read.
#[derive(Debug)]
enum Failure {
    /// An address has not the form of one.
    Usage(String),
    /// There is no node, or no answer.
    Client(ClientError),
    /// The results cannot be printed.
    Output(io::Error),
}

impl Failure {
    fn exit(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Client(_) | Failure::Output(_) => 3,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(what) => f.write_str(what),
            Failure::Client(error) => error.fmt(f),
            Failure::Output(error) => write!(f, "stopped: {error}"),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::Client(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

/// Runs `node skew` on the process's own streams.
pub fn run(args: &SkewArgs) -> ExitCode {
    match run_with(args, &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Who closed stderr has the exit code.
            let _ = writeln!(io::stderr(), "node skew: {failure}");
            ExitCode::from(failure.exit())
        }
    }
}

/// A clock, read once.
#[derive(Clone, Copy)]
struct Reading {
    node: NodeId,
    /// How far the clock is ahead of this program's, in nanoseconds, give or take `error`.
    offset: i64,
    error: i64,
    owed: i64,
    coordinator: Option<NodeId>,
}

fn run_with(args: &SkewArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let timeout = Duration::from_millis(args.timeout_ms);
    let mut clients = Vec::new();
    for addr in &args.nodes {
        let addr = client::resolve(addr).map_err(Failure::Usage)?;
        clients.push(Client::connect(addr, Berkeley::NAME, timeout)?);
    }
    let origin = Instant::now();
    let mut best: Vec<Option<Reading>> = vec![None; clients.len()];
    // In turn, so that clocks that are being moved are read at about the same time.
    for _ in 0..args.readings {
        for (client, best) in clients.iter_mut().zip(&mut best) {
            let reading = read(client, origin, timeout)?;
            if best.is_none_or(|best| reading.error < best.error) {
                *best = Some(reading);
            }
        }
    }
    let readings: Vec<Reading> = best.into_iter().flatten().collect();
    Ok(show(&readings, args.json, out)?)
}

fn read(client: &mut Client, origin: Instant, timeout: Duration) -> Result<Reading, ClientError> {
    let asked = origin.elapsed();
    let Reply::Status { node, clock, owed, coordinator, .. } =
        client.request(&Request::Status {}, timeout)?;
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let (asked, answered) = (nanos(asked), nanos(origin.elapsed()));
    let round_trip = answered.saturating_sub(asked);
    let offset = clock.since(WallTime(asked + round_trip / 2));
    let error = i64::try_from(round_trip.div_ceil(2)).unwrap_or(i64::MAX);
    Ok(Reading { node, offset, error, owed, coordinator })
}

fn show(readings: &[Reading], json: bool, out: &mut dyn Write) -> io::Result<()> {
    // Somebody was asked: clap wants one address at least.
    let Some(first) = readings.first() else { return Ok(()) };
    let relative = |one: &Reading| one.offset.saturating_sub(first.offset);
    let error = |one: &Reading| if one.node == first.node { 0 } else { one.error + first.error };
    // The pair that is furthest apart are the two ends.
    let by_offset = |one: &&Reading| one.offset;
    let (low, high) =
        (readings.iter().min_by_key(by_offset), readings.iter().max_by_key(by_offset));
    let (low, high) = (low.unwrap_or(first), high.unwrap_or(first));
    let largest = high.offset.saturating_sub(low.offset);
    let bound = if readings.len() > 1 { low.error + high.error } else { 0 };
    if json {
        let nodes: Vec<_> = readings
            .iter()
            .map(|one| {
                json!({
                    "node": one.node, "offset_ms": ms(relative(one)), "error_ms": ms(error(one)),
                    "owed_ms": ms(one.owed), "coordinator": one.coordinator,
                })
            })
            .collect();
        let object = json!({ "nodes": nodes, "largest_ms": ms(largest), "error_ms": ms(bound) });
        return writeln!(out, "{object}");
    }
    for one in readings {
        let (offset, error, owed) = (Ms(relative(one)), Ms(error(one)), Ms(one.owed));
        write!(out, "node {:<4} {offset:>14} ms ± {error} ms", one.node.0)?;
        if one.owed != 0 {
            write!(out, ", owes {owed} ms")?;
        }
        match one.coordinator {
            Some(id) if id == one.node => writeln!(out, "; coordinates")?,
            Some(id) => writeln!(out, "; follows node {id}")?,
            None => writeln!(out, "; knows no coordinator")?,
        }
    }
    writeln!(out, "largest skew {} ms ± {} ms", Ms(largest), Ms(bound))?;
    out.flush()
}

/// Nanoseconds as milliseconds, for JSON: whole microseconds, which a double holds exactly enough.
fn ms(nanos: i64) -> f64 {
    (nanos / 1_000) as f64 / 1_000.0
}

/// Nanoseconds as milliseconds, for people.
struct Ms(i64);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs() / 1_000;
        f.pad(&format!("{sign}{}.{:03}", micros / 1_000, micros % 1_000))
    }
}

#[cfg(test)]
mod tests;
