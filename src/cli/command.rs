//! The door by which commands come in beside the command line's own: those that talk to one
//! protocol's nodes.

use clap::{ArgMatches, Args};
use std::process::ExitCode;

/// The exit code of a wrong command line, where a command does not say otherwise.
pub(super) const WRONG_USAGE: u8 = 2;

type Run = dyn Fn(&ArgMatches) -> Result<ExitCode, clap::Error>;

/// A command of `node`, `node NAME …`, as whoever brings it hands it to [`main`](super::main).
pub struct Command {
    /// Its name on the command line.
    pub name: &'static str,
    arguments: fn(clap::Command) -> clap::Command,
    run: Box<Run>,
    wrong_usage: u8,
    simulates: bool,
}

impl Command {
    /// A command with the arguments `A`, whose documentation is its help.
    pub fn of<A: Args + 'static>(name: &'static str, run: fn(&A) -> ExitCode) -> Command {
        Command {
            name,
            arguments: A::augment_args,
            run: Box::new(move |matches| Ok(run(&A::from_arg_matches(matches)?))),
            wrong_usage: WRONG_USAGE,
            simulates: false,
        }
    }

    /// The same, for one whose low exit codes are outcomes: a wrong command line ends with `code`.
    pub fn wrong_usage(self, code: u8) -> Command {
        Command { wrong_usage: code, ..self }
    }

    /// The same, for one that runs the simulator: its runs have a log of their own.
    pub fn simulates(self) -> Command {
        Command { simulates: true, ..self }
    }

    /// Whether it runs the simulator.
    pub(super) fn has_own_log(&self) -> bool {
        self.simulates
    }

    /// How a wrong command line ends.
    pub(super) fn code_of_wrong_usage(&self) -> u8 {
        self.wrong_usage
    }

    /// What clap has to know of it.
    pub(super) fn clap(&self) -> clap::Command {
        (self.arguments)(clap::Command::new(self.name))
    }

    /// Does it.
    pub(super) fn run(&self, matches: &ArgMatches) -> Result<ExitCode, clap::Error> {
        (self.run)(matches)
    }
}
