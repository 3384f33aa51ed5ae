//! `node --config` and `node check`.

use super::output::Output;
use crate::client::escaped;
use crate::net::Node;
use clap::Args;
use node_lab::config::Config;
use node_lab::registry::Registry;
use node_protocols::core::Exit;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Check configs without running them
///
/// Prints each as it is understood, with every default filled in, or says file, line, key, value
/// and the rule that is broken. Exit code 1 when one is wrong, or cannot be printed.
#[derive(Args)]
pub struct CheckArgs {
    /// The configs
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn check(args: &CheckArgs, registry: &Registry) -> ExitCode {
    let (mut out, mut code) = (Output::default(), 0);
    for file in &args.files {
        match Config::load(file, registry) {
            Ok(config) => out.say(format_args!("# {}\n{}", file.display(), config.show())),
            Err(error) => {
                super::tell!("node: {}", escaped(error.to_string().as_bytes()));
                code = 1;
            }
        }
    }
    ExitCode::from(out.end("node check", code, 1))
}

pub(super) fn node(file: &Path, trace: Option<&Path>, registry: Registry) -> ExitCode {
    let started =
        Config::load(file, &registry).and_then(|config| Node::start(config, registry, trace));
    let node = match started {
        Ok(node) => node,
        Err(error) => {
            super::tell!("node: {}", escaped(error.to_string().as_bytes()));
            return ExitCode::FAILURE;
        }
    };
    match node.run() {
        Ok(Exit::Success) => ExitCode::SUCCESS,
        Ok(Exit::Failure) => ExitCode::FAILURE,
        Err(fatal) => {
            log::error!(target: "node", "{fatal}");
            super::tell!("node: stopped: {fatal}");
            ExitCode::FAILURE
        }
    }
}
