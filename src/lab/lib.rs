//! The laboratory: what somebody who studies a protocol needs beside the protocol.
//!
//! ```text
//!   core ◄── log, wire ◄── registry, config ◄── study ◄── sim ◄── explain
//!                                    check, trace ─┘
//! ```
//!
//! A [`study`] says who uses a protocol and what must hold; the simulator ([`sim`]) runs its
//! scenarios and breaks them; every property is judged by a [`study::Run`], which the simulator
//! fills and [`trace`] reads from real nodes' traces. This crate names no protocol and opens no
//! socket; the only processes that it starts are [`hosted`] programs, and those of a scenario's
//! [`sim::checker`]s, and only for them does it read a clock.

#![deny(clippy::print_stdout, clippy::print_stderr)]
#![warn(missing_docs)]

pub mod check;
pub mod config;
pub mod explain;
pub mod hosted;
pub mod log;
mod plugins;
pub mod registry;
pub mod sim;
pub mod study;
pub mod text;
pub mod trace;
pub mod wire;

#[cfg(test)]
mod testing;
