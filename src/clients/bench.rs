//! `node bench`: load for the servers of a protocol, with latencies that can be believed.
//!
//! What the loads share is here: what is counted and how it is shown. Each load has its own module,
//! and knows nothing of the other.

mod board;
mod kv;
mod stats;

use crate::cli::output::Output;
use crate::cli::tell;
use clap::builder::RangedU64ValueParser;
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

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
    #[command(after_long_help = kv::HELP)]
    Kv(kv::KvBenchArgs),
    /// The bulletin system's proxy, or any NATS server
    #[command(after_long_help = board::HELP)]
    Board(board::BoardBenchArgs),
}

/// How a bench ends; its help documents the numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Exit {
    Measured = 0,
    NothingMeasured = 1,
    Failed = 5,
}

/// Runs `node bench`.
pub fn run(args: &BenchArgs) -> ExitCode {
    let (mut out, err) = (Output::default(), &mut io::stderr());
    let is_watched = err.is_terminal();
    let exit = match &args.command {
        BenchCommand::Kv(args) => kv::run_with(args, args.progress || is_watched, &mut out, err),
        BenchCommand::Board(args) => {
            board::run_with(args, args.progress || is_watched, &mut out, err)
        }
    };
    let code = match exit {
        Ok(exit) => exit as u8,
        Err(error) => {
            tell!("{error}");
            Exit::Failed as u8
        }
    };
    ExitCode::from(out.end("node bench", code, Exit::Failed as u8))
}

/// Nobody measures for longer than a day.
const MAX_SECONDS: f64 = 86_400.0;

/// What messages in flight may take of this machine's memory.
const MAX_IN_FLIGHT_BYTES: u64 = 1 << 30;

const SECOND_NS: u64 = 1_000_000_000;

fn within(least: u64, most: u64) -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(least..=most)
}

fn check_times(seconds: f64, warmup: f64) -> Result<(), String> {
    let in_range = |least: f64, value: f64| (least..=MAX_SECONDS).contains(&value);
    if in_range(0.001, seconds) && in_range(0.0, warmup) {
        return Ok(());
    }
    Err(format!("--seconds must be 0.001 to {MAX_SECONDS}, --warmup 0 to {MAX_SECONDS}"))
}

/// The nanoseconds in a time that was checked.
fn ns(seconds: f64) -> u64 {
    Duration::from_secs_f64(seconds).as_nanos() as u64
}

/// Prints a report, as one JSON object or for people. It is the last thing that is printed, and the
/// output remembers why it could not be.
fn show(
    report: &(impl Serialize + Display),
    json: bool,
    out: &mut dyn Write,
) -> Result<(), String> {
    let text = match json {
        true => serde_json::to_string(report).map_err(|error| error.to_string())?,
        false => report.to_string(),
    };
    let _ = writeln!(out, "{text}");
    Ok(())
}
