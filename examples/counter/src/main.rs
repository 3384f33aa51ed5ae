//! A `node` binary with one protocol more.

use node::registry::Registry;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut registry = Registry::new();
    registry.register::<counter::Counter>();
    node::cli::main(registry)
}
