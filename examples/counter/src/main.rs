//! A `node` binary with one protocol more.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut registry = node_studies::registry();
    registry.register::<counter::Counter>();
    node::cli::main(registry)
}
