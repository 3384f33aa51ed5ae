//! `node`: one binary that runs distributed protocols for real, over a mio event loop.
//!
//! This crate owns everything that touches the world: sockets, files, clocks, configuration and
//! the command line. The protocols themselves are in `node-protocols` and know nothing of it.

// They panic, or lose that an output could not be written: `cli::output` is for that.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod client;
pub mod clients;
pub mod disk;
mod epoch;
pub mod load;
pub mod net;
pub mod wal;
