//! `node skew`: asks the servers that keep their clocks together what time it is there, and shows
//! how far the clocks are apart.
//!
//! Each clock is read over the network as in F. Cristian, "Probabilistic Clock Synchronization"
//! (1989): of several readings the one with the shortest round trip, which is off by half of that
//! at most. All readings are taken against one monotonic clock here.

use crate::cli::output::Output;
use crate::cli::tell;
use crate::client::{self, Client, ClientError};
use clap::builder::RangedU64ValueParser;
use node_protocols::berkeley::{Berkeley, Reply, Request};
use node_protocols::core::{NodeId, Protocol, WallTime};
use serde_json::json;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const EXIT_CODES: &str = "\
Exit codes:
  0  all clocks were read
  2  wrong usage, such as a node that is named twice
  3  a node cannot be reached, keeps no clock (protocol berkeley), or did not answer in time; the
     clocks of the others are shown; or the output cannot be written";

const EXAMPLES: &str = "\
A node's offset is how far its clock is ahead of the first's; each is known within half the round
trip to both. What a node owes is what its clock is still to be moved by, slowly.

Examples:
  node skew                                      the three servers of configs/board
  node skew --nodes 127.0.0.1:10504,127.0.0.1:10505 --readings 50

JSON (--json), one object, on stdout, milliseconds throughout:
  {\"nodes\":[{\"node\":1,\"offset_ms\":0.000,\"error_ms\":0.051,\"owed_ms\":0.000,\"coordinator\":3},…],
   \"largest_ms\":3999.870,\"error_ms\":0.098,\"unread\":[{\"addr\":\"127.0.0.1:10506\",\"reason\":…},…]}
unread is there when a clock could not be read; nothing is printed when none could.

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
    /// Clocks that were not read.
    Unread(Vec<(SocketAddr, ClientError)>),
    /// The results cannot be printed.
    Output(io::Error),
}

impl Failure {
    fn exit(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Unread(_) | Failure::Output(_) => 3,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(what) => f.write_str(what),
            Failure::Unread(errors) => {
                for (place, (_, error)) in errors.iter().enumerate() {
                    write!(f, "{}{error}", if place == 0 { "" } else { "\nnode skew: " })?;
                }
                let it = if errors.len() == 1 { "it" } else { "them" };
                write!(f, "; or leave {it} out with --nodes")
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

/// Runs `node skew` on the process's own streams.
pub fn run(args: &SkewArgs) -> ExitCode {
    let mut out = Output::default();
    let code = match run_with(args, &mut out) {
        Ok(()) | Err(Failure::Output(_)) => 0,
        Err(failure) => {
            tell!("node skew: {failure}");
            failure.exit()
        }
    };
    ExitCode::from(out.end("node skew", code, 3))
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

/// A server whose clock is read.
struct Server {
    addr: SocketAddr,
    client: Result<Client, ClientError>,
    best: Option<Reading>,
}

fn run_with(args: &SkewArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let timeout = Duration::from_millis(args.timeout_ms);
    let mut addrs: Vec<SocketAddr> = Vec::new();
    for text in &args.nodes {
        let addr = client::resolve(text).map_err(Failure::Usage)?;
        if addrs.contains(&addr) {
            return Err(Failure::Usage(format!("{addr} is named twice")));
        }
        addrs.push(addr);
    }
    let connect = |addr| Client::connect(addr, Berkeley::NAME, timeout);
    let mut servers: Vec<Server> =
        addrs.into_iter().map(|addr| Server { addr, client: connect(addr), best: None }).collect();
    let origin = Instant::now();
    // In turn, so that clocks that are being moved are read at about the same time.
    for _ in 0..args.readings {
        for Server { client, best, .. } in &mut servers {
            let Ok(connected) = client else { continue };
            match read(connected, origin, timeout) {
                Ok(reading) if best.is_none_or(|best| reading.error < best.error) => {
                    *best = Some(reading);
                }
                Ok(_) => {}
                // Who stops answering is not waited for again.
                Err(error) => *client = Err(error),
            }
        }
    }
    let mut readings: Vec<Reading> = Vec::new();
    let mut unread: Vec<(SocketAddr, ClientError)> = Vec::new();
    for Server { addr, client, best } in servers {
        match (client, best) {
            (Err(error), _) => unread.push((addr, error)),
            // A node may have several addresses.
            (Ok(_), Some(best)) if readings.iter().any(|other| other.node == best.node) => {
                let twice = format!("{addr} is node {}, which is named twice", best.node);
                return Err(Failure::Usage(twice));
            }
            (Ok(_), best) => readings.extend(best),
        }
    }
    let shown = show(&readings, &unread, args.json, out);
    if unread.is_empty() { Ok(shown?) } else { Err(Failure::Unread(unread)) }
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

fn show(
    readings: &[Reading],
    unread: &[(SocketAddr, ClientError)],
    json: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
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
        let mut object =
            json!({ "nodes": nodes, "largest_ms": ms(largest), "error_ms": ms(bound) });
        if !unread.is_empty() {
            let one = |(addr, reason): &(SocketAddr, ClientError)| json!({ "addr": addr.to_string(), "reason": reason.to_string() });
            object["unread"] = unread.iter().map(one).collect();
        }
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
