//! The clients of this tree's protocols, and loads for them: each is a command, and comes to the
//! command line by the door that any crate's commands come in by. Knows the wire, not how a node
//! works inside.

mod agency;
pub mod bench;
mod board;
mod clock;
pub mod kv;
mod maelstrom;
mod skew;

use crate::cli::Command;

/// The exit code of a wrong command line, of commands whose low exit codes are outcomes.
const WRONG_USAGE: u8 = 5;

/// All of them.
pub fn commands() -> Vec<Command> {
    vec![
        Command::of("kv", kv::run).wrong_usage(WRONG_USAGE),
        Command::of("clock", clock::run),
        Command::of("agency", agency::run),
        Command::of("board", board::run),
        Command::of("skew", skew::run),
        Command::of("maelstrom", maelstrom::run_command).simulates(),
        Command::of("bench", bench::run).wrong_usage(WRONG_USAGE),
    ]
}
