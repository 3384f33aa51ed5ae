//! A `node` binary with this protocol: nodes, the simulator, traces and the page.

use std::process::ExitCode;

fn main() -> ExitCode {
    node::cli::main(ring::registry(), &[])
}
