//! Submissions in Rust: the package with the teacher's `main.rs` simulates in a process of its own,
//! and only the trace that it writes is judged. That process is the submission's: its trace is what
//! somebody else says of a run, so it must be one of the run that was asked for (its seed, its
//! clients, its nodes, its faults at their times), and it is judged by the grader's own properties.

use super::exchange::{Failed, PROGRAM, Ran};
use super::worker::measured;
use node_lab::registry::Registry;
use node_lab::sim::plan::Plan;
use node_lab::sim::scenario::Scenario;
use node_lab::study::{Bounds, Property, Run, Verdict};
use node_lab::trace::history::Traces;
use node_lab::trace::{Event, Line};
use rustix::fs::OFlags;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A program that simulates itself.
pub struct Traced {
    /// The program.
    pub bin: PathBuf,
    /// Whose it is.
    pub user: Option<u32>,
    /// A folder of that user.
    pub folder: PathBuf,
    /// The largest trace, in MiB.
    pub most_mb: u64,
}
