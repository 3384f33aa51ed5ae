//! The deterministic simulator: the same Hosts as on real nodes, from the same configs, in virtual
//! time, with faults that a seed draws.
//!
//! ```text
//!   scenario ─ seed ─► plan (faults, clients: data) ─► world: event queue, nodes, links, disks
//!                                                        │
//!                 shrink ◄── verdicts ◄── history ◄──────┴──► trace
//! ```
//!
//! Nothing here reads a clock, the system's entropy or a map of random order, and a run is one
//! thread: a plan gives the same trace, byte for byte, on every machine. Random streams are hashed
//! from (seed, label), so that removing a fault shifts no other draw. A scenario's own programs
//! ([`checker`]) judge runs that are over, within a real time: what takes longer is undecided.
//! Nodes that are programs ([`hosted`](crate::hosted)) are repeated as far as their tier says.

pub mod branch;
pub mod checker;
pub mod cluster;
pub mod compare;
mod doing;
pub mod errors;
pub mod explore;
pub mod fault;
mod forks;
mod hosting;
pub mod moves;
pub mod plan;
pub mod run;
pub mod scenario;
pub mod shrink;
pub mod tally;
mod token;
pub mod tracer;
mod trial;
pub mod why;
pub mod world;

pub use self::trial::{Finding, Report, smallest, smallest_told, try_scenario};
