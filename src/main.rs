//! The binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    node::cli::main(node_studies::registry(), &node::clients::commands())
}
