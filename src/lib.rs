//! `node`: one binary that runs distributed protocols for real, over a mio event loop.
//!
//! This crate owns everything that touches the world: sockets, files, clocks, configuration and
//! the command line. The protocols themselves are in `node-protocols` and know nothing of it.

// They panic, or lose that an output could not be written: `cli::output` is for that.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod check;
pub mod cli;
pub mod client;
pub mod config;
pub mod disk;
pub mod explain;
pub mod net;
pub mod registry;
pub mod sim;
pub mod studies;
pub mod study;
mod text;
pub mod trace;
pub mod wal;
