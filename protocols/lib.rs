//! Distributed protocols as deterministic state machines, and the small core that they are
//! written against.
//!
//! This crate owns protocol logic and nothing else. It is `no_std`, so a socket, a file, a
//! thread, a clock or the system's entropy cannot be reached from here: whatever a protocol
//! needs comes in as an event, and whatever it wants done goes out as an effect. Drivers (the
//! mio event loop, the simulator) live elsewhere.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

pub use node_core as core;

pub mod berkeley;
pub mod board;
pub mod bully;
pub mod echo;
pub mod facts;
pub mod kv_replication;
pub mod lamport;
pub mod lottery;
pub mod membership;

#[cfg(test)]
mod testing;
