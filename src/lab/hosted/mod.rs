//! Programs of any language as nodes: processes that speak line JSON (the protocol of Maelstrom,
//! `doc/protocol.md` there) over stdin and stdout, driven by the simulator like any other protocol.
//!
//! A [`Program`] is a protocol whose state is a process: what reaches the node goes to the process
//! as a line, and what the process says is what the node sends and answers. So everything that the
//! simulator does to nodes, it does to programs. Knows no workload, and no scenario.

mod body;
mod child;
mod names;
mod process;
mod program;
mod quiet;
pub mod services;
mod shim;
mod stage;

pub use self::body::{Body, Ids};
pub use self::program::{Config, Letter, Program, Seat};
pub use self::stage::{Guest, Hosting, Limits, Reached, Stage, Tier, Timers};
