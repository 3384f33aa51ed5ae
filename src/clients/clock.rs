//! `node clock`: a person with a Lamport clock calls a node, and sees both clocks step by step.
//!
//! stdout carries the steps, errors go to stderr. The clock here follows the node's own rule: one
//! step for a send, max + 1 for a receive.

use crate::cli::output::Output;
use crate::cli::tell;
use crate::client::{self, Client, ClientError};
use crate::epoch::since_epoch;
use clap::builder::RangedU64ValueParser;
use node_protocols::core::{LamportClock, LamportRule, LamportTime, Protocol, WallTime};
use node_protocols::lamport::{Lamport, Reply, Request, Status};
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

const EXIT_CODES: &str = "\
Exit codes:
  0  every call was answered
  1  the node refuses the clock: more than 2^32 above its own
  2  wrong usage
  3  the node cannot be reached, runs no lamport, or did not answer in time; or the output cannot be
     written
  4  the answer's clock cannot be true: not after the call's, or too far above it";

const EXAMPLES: &str = "\
The steps of a call, for a clock that begins at 0 and a node that has done nothing yet:
  [1] I call 127.0.0.1:10201 for a number
  [4] node 1 sends 42
  [5] I receive it: max(1, 4) + 1
The node's own steps in between, 2 for the receive and 3 for the handler, are on its console.

Examples:
  node clock                                    one call at node 1 of configs/clocks
  node clock --server 127.0.0.1:10203 --calls 5
  node clock --clock 1000                       a clock that is ahead: the node's catches up
  node clock --status                           how the node's clock stands

JSON (--json), one object a line, on stdout:
  {\"call\":1,\"server\":\"127.0.0.1:10201\",\"node\":1,\"sent\":1,\"answered\":4,\"received\":5,\"number\":42}
  --status: {\"process\":1,\"clock\":4,\"calls\":0,\"answered\":0,\"timed_out\":0,\"served\":1}

";

/// Call a node for a random number, and see both Lamport clocks step by step
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("{EXAMPLES}{EXIT_CODES}"), after_help = EXIT_CODES)]
pub struct ClockArgs {
    /// The node, IP:port or name:port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10201")]
    server: String,
    /// Where this client's clock begins
    #[arg(long, value_name = "N", default_value_t = 0)]
    clock: u64,
    /// How many calls to make, one after the other
    #[arg(long, value_name = "N", default_value_t = 1)]
    calls: u64,
    /// Show the node's clock and what it has called, and make no call
    #[arg(long, conflicts_with_all = ["clock", "calls"])]
    status: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    /// How long each step may take, connecting included, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5_000,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=3_600_000))]
    timeout_ms: u64,
}

/// Why the calls ended early.
#[derive(Debug)]
enum Failure {
    /// The address has not the form of one.
    Usage(String),
    /// There is no node, or no answer.
    Client(ClientError),
    /// The answer is to something else.
    Unexpected,
    /// The node refuses the clock, for this reason.
    Refused(String),
    /// The answer's clock cannot be true.
    Untrue { sent: LamportTime, answered: LamportTime },
    /// The results cannot be printed.
    Output(io::Error),
}

impl Failure {
    fn exit(&self) -> u8 {
        match self {
            Failure::Refused(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Client(_) | Failure::Unexpected | Failure::Output(_) => 3,
            Failure::Untrue { .. } => 4,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(what) => f.write_str(what),
            Failure::Client(error) => error.fmt(f),
            Failure::Unexpected => f.write_str("the answer is to something else than a call"),
            Failure::Refused(reason) => {
                let reason = client::escaped(reason.as_bytes());
                write!(f, "the node refuses the call: {reason}")
            }
            Failure::Untrue { sent, answered } => write!(
                f,
                "the answer's clock, {}, cannot be true: the call's was {}",
                answered.0, sent.0
            ),
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

/// Runs `node clock` on the process's own streams.
pub fn run(args: &ClockArgs) -> ExitCode {
    let mut out = Output::default();
    let code = match run_with(args, &mut out) {
        Ok(()) => 0,
        Err(Failure::Output(_)) => out.cut_short(),
        Err(failure) => {
            tell!("node clock: {failure}");
            failure.exit()
        }
    };
    ExitCode::from(out.end("node clock", code, 3))
}

fn run_with(args: &ClockArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let server = client::resolve(&args.server).map_err(Failure::Usage)?;
    let timeout = Duration::from_millis(args.timeout_ms);
    let mut client = Client::connect(server, Lamport::NAME, timeout)?;
    if args.status {
        return match client.request(&Request::Status {}, timeout)? {
            Reply::Status(status) => Ok(show_status(&status, args.json, out)?),
            Reply::Number { .. } | Reply::Refused { .. } => Err(Failure::Unexpected),
        };
    }
    let mut caller = Caller { server, timeout, json: args.json, client, clock: clock(args.clock) };
    (1..=args.calls).try_for_each(|call| caller.call(call, out))
}

/// A clock that stands at `value`.
fn clock(value: u64) -> LamportClock {
    let mut clock = LamportClock::new(LamportRule::MaxPlusOne, false);
    clock.set_wall(WallTime(since_epoch()));
    clock.recover(LamportTime(value));
    clock
}

/// This client, and the connection it calls over.
struct Caller {
    server: SocketAddr,
    timeout: Duration,
    json: bool,
    client: Client,
    clock: LamportClock,
}

impl Caller {
    fn call(&mut self, call: u64, out: &mut dyn Write) -> Result<(), Failure> {
        let (server, node) = (self.server, self.client.node());
        let sent = self.clock.tick();
        if !self.json {
            writeln!(out, "[{}] I call {server} for a number", sent.0)?;
            out.flush()?;
        }
        let reply = self.client.request(&Request::Number { clock: sent }, self.timeout)?;
        let (number, answered) = match reply {
            Reply::Number { number, clock } => (number, clock),
            Reply::Refused { reason } => return Err(Failure::Refused(reason)),
            Reply::Status(_) => return Err(Failure::Unexpected),
        };
        let received = self.clock.observe(answered);
        let (true, Ok(received)) = (answered > sent, received) else {
            return Err(Failure::Untrue { sent, answered });
        };
        if self.json {
            let line = serde_json::json!({
                "call": call, "server": server, "node": node, "number": number,
                "sent": sent, "answered": answered, "received": received,
            });
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "[{}] node {node} sends {number}", answered.0)?;
            let (sent, answered) = (sent.0, answered.0);
            writeln!(out, "[{}] I receive it: max({sent}, {answered}) + 1", received.0)?;
        }
        Ok(out.flush()?)
    }
}

fn show_status(status: &Status, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        let line = serde_json::to_string(status).map_err(io::Error::other)?;
        return writeln!(out, "{line}");
    }
    let Status { process, clock, calls, answered, timed_out, served } = status;
    writeln!(
        out,
        "[{}.{process}] {calls} calls made, {answered} answered, {timed_out} given up; {served} served",
        clock.0
    )
}

#[cfg(test)]
mod tests;
