//! stub
use std::process::ExitCode;
#[derive(clap::Args)]
pub struct KvArgs {}
pub fn run(_: KvArgs) -> ExitCode {
    ExitCode::SUCCESS
}
