//! The command line: what a user can ask for, and the exit code that answers.

mod command;
pub mod explain;
mod explore;
mod grade;
mod load;
mod new;
pub(crate) mod output;
mod page;
mod properties;
mod run;
mod scenarios;
pub mod sim;
mod studio;
mod verify;
mod why;

/// `eprintln!` without its panic: who has closed standard error does not want to know.
macro_rules! tell {
    ($($part:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($part)*);
    }};
}
pub(crate) use tell;

pub use self::command::Command;

use self::command::WRONG_USAGE;
use self::output::Output;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use log::LevelFilter;
use node_lab::registry::Registry;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs distributed protocols for real: one node of a cluster, as its TOML file says.
///
/// Start the three servers of a replicated key-value store, each in its own terminal:
///
///   node --config configs/kv-leader.toml
///   node --config configs/kv-follower-2.toml
///   node --config configs/kv-follower-3.toml
///
/// and talk to them with `node kv`, or with any Redis client on the ports that the files name.
///
/// Exit codes: 0 when the node was told to stop (SIGTERM, SIGINT) and finished what was in
/// flight, or when its work is done (an agency of the lottery), 1 when it cannot start or cannot
/// go on, or when console lines or lines of its trace were lost, 2 for a wrong command line. A
/// command whose output cannot be written fails; that its reader has gone (| head) is no error, but
/// one that it cuts short ends with 141, as with any command.
#[derive(Parser)]
#[command(name = "node", version, args_conflicts_with_subcommands = true, verbatim_doc_comment)]
struct Cli {
    /// Run the node that this file describes
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Also write every event of the node to this file, for node explain
    #[arg(long, value_name = "FILE", requires = "config")]
    trace: Option<PathBuf>,

    #[command(flatten)]
    log: LogArgs,

    #[command(subcommand)]
    command: Option<Own>,
}

#[derive(Args)]
struct LogArgs {
    /// What to log on standard error: off, error, warn, info, debug or trace
    #[arg(long, env = "NODE_LOG", default_value = "info", value_name = "LEVEL", global = true)]
    log_level: LevelFilter,
}

#[derive(Subcommand)]
enum Own {
    Check(run::CheckArgs),
    Verify(verify::VerifyArgs),
    Properties(properties::PropertiesArgs),
    Sim(sim::SimArgs),
    Why(why::WhyArgs),
    Explore(explore::ExploreArgs),
    Scenarios(scenarios::ScenariosArgs),
    Load(load::LoadArgs),
    Explain(explain::ExplainArgs),
    New(new::NewArgs),
    Grade(grade::GradeArgs),
    Studio(studio::StudioArgs),
}

/// Parses the command line and does what it says, with the protocols of `registry` and, beside its
/// own commands, those given. A binary with protocols of its own registers them and calls this.
pub fn main(registry: Registry, commands: &[Command]) -> ExitCode {
    let known = Cli::command()
        .mut_subcommand("explain", |it| explain::with_tables(it, &registry))
        .subcommands(commands.iter().map(Command::clap));
    let done = known.try_get_matches().and_then(|matches| {
        let brought = matches.subcommand().and_then(|(name, given)| {
            commands.iter().find(|command| command.name == name).map(|command| (command, given))
        });
        if let Some((command, given)) = brought {
            if !command.has_own_log() {
                start_log(LogArgs::from_arg_matches(&matches)?.log_level);
            }
            return command.run(given);
        }
        Ok(run_own(Cli::from_arg_matches(&matches)?, registry))
    });
    done.unwrap_or_else(|error| wrong_usage(&error, commands))
}

/// Does what a command line without brought commands says.
fn run_own(cli: Cli, registry: Registry) -> ExitCode {
    // The simulator's runs have a log of their own.
    let own_log = matches!(
        cli.command,
        Some(Own::Sim(_) | Own::Why(_) | Own::Explore(_) | Own::Grade(_) | Own::Studio(_))
    );
    if !own_log {
        start_log(cli.log.log_level);
    }
    match (cli.command, cli.config) {
        (Some(Own::Check(args)), _) => run::check(&args, &registry),
        (Some(Own::Verify(args)), _) => verify::run(&args, &registry),
        (Some(Own::Properties(args)), _) => properties::run(&args, &registry),
        (Some(Own::Sim(args)), _) => sim::main(&args, registry),
        (Some(Own::Why(args)), _) => why::main(&args, registry),
        (Some(Own::Explore(args)), _) => explore::main(&args, registry),
        (Some(Own::Scenarios(args)), _) => scenarios::run(&args, &registry),
        (Some(Own::Load(args)), _) => load::run(&args, &registry),
        (Some(Own::Explain(args)), _) => explain::run(args, &registry),
        (Some(Own::New(args)), _) => new::run(&args, &registry),
        (Some(Own::Grade(args)), _) => grade::main(args, registry),
        (Some(Own::Studio(args)), _) => studio::main(&args, registry),
        (None, Some(config)) => run::node(&config, cli.trace.as_deref(), registry),
        (None, None) => {
            tell!("node: nothing to do: give --config FILE, or a command; see node --help");
            ExitCode::from(WRONG_USAGE)
        }
    }
}

/// Shows the help that was asked for, or what is wrong with the command line.
fn wrong_usage(error: &clap::Error, commands: &[Command]) -> ExitCode {
    let name = std::env::args_os().nth(1);
    let command = commands.iter().find(|command| name.as_ref().is_some_and(|n| n == command.name));
    let wrong = command.map_or(WRONG_USAGE, Command::code_of_wrong_usage);
    if error.use_stderr() {
        // Who closed stderr has the exit code.
        let _ = error.print();
        return ExitCode::from(wrong);
    }
    let mut out = Output::default();
    out.help(error);
    ExitCode::from(out.end("node", 0, wrong))
}

/// Logs go to standard error: standard output belongs to the console lines.
fn start_log(level: LevelFilter) {
    use simplelog::{ConfigBuilder, WriteLogger};
    let config = ConfigBuilder::new()
        .set_time_format_rfc3339()
        .set_thread_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Error)
        // The editor of lines would log into the line that it edits.
        .add_filter_ignore_str("rustyline")
        .build();
    // Only a second logger in the same process is refused, and then the first goes on.
    let _ = WriteLogger::init(level, config, std::io::stderr());
}
