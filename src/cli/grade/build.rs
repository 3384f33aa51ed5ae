//! One submission made ready: copied, built under its own user and limits, sealed. Must not know
//! what it is asked for.

use super::account::Account;
use super::assignment::{Assignment, Kind};
use super::exchange::Program;
use super::folder::{self, NoCopy};
use super::launch::{Bounds, Confines, End, Said, command, watch};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A submission that can be run.
pub struct Built {
    /// What runs, in its copy.
    pub file: PathBuf,
}

/// Why a submission cannot be run.
#[derive(Debug, Clone)]
pub enum NotBuilt {
    /// It is not what it has to be.
    Submission(String),
    /// The grader cannot build it.
    Grader(String),
}

/// How much of what a build wrote last is shown.
const TAIL: usize = 2_000;

/// Copies and builds a submission in `place`, an empty folder of the grader's.
///
/// # Errors
/// Whose fault it is, and what.
pub fn build(
    assignment: &Assignment,
    submission: &Path,
    place: &Path,
    account: &Account,
) -> Result<Built, NotBuilt> {
    let grader = |error: &dyn std::fmt::Display| NotBuilt::Grader(format!("no place: {error}"));
    let (copy, home) = (place.join("submission"), place.join("home"));
    folder::home(&home, account).map_err(|error| grader(&error))?;
    folder::copy(submission, &copy, account, assignment.limits.disk_mb).map_err(
        |error| match error {
            NoCopy::Submission(why) => NotBuilt::Submission(why),
            NoCopy::Grader(why) => NotBuilt::Grader(why),
        },
    )?;
    let (command, file) = match &assignment.submission.kind {
        Kind::Bin(bin) => (assignment.submission.build.clone(), copy.join(bin)),
        Kind::Cargo { folder, main, binary } => {
            let target = copy.join(folder).join("src/main.rs");
            put_main(main, &target).map_err(|error| grader(&error))?;
            let own = assignment.submission.build.clone();
            let command = own.unwrap_or_else(|| "cargo build --release --offline".into());
            let file = copy.join(folder).join("target/release").join(binary);
            (Some(format!("cd '{}' && {command}", folder.display())), file)
        }
    };
    if let Some(line) = command {
        run(assignment, &line, &copy, &home, account)?;
    }
    folder::seal(&copy, account).map_err(|error| grader(&error))?;
    let name = file.strip_prefix(&copy).unwrap_or(&file).display().to_string();
    let is_link = file.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
    if is_link || !file.is_file() {
        return Err(NotBuilt::Submission(format!("there is no file {name} in it")));
    }
    // Archives lose that it is a program.
    fs::set_permissions(&file, Permissions::from_mode(0o755)).map_err(|error| grader(&error))?;
    Ok(Built { file })
}

/// The teacher's `main.rs` instead of whatever is there.
fn put_main(main: &Path, target: &Path) -> std::io::Result<()> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    if target.symlink_metadata().is_ok() {
        fs::remove_file(target)?;
    }
    fs::copy(main, target)?;
    fs::set_permissions(target, Permissions::from_mode(0o644))
}

fn run(
    assignment: &Assignment,
    line: &str,
    copy: &Path,
    home: &Path,
    account: &Account,
) -> Result<(), NotBuilt> {
    let limits = &assignment.limits;
    let grader = |error: &dyn std::fmt::Display| NotBuilt::Grader(format!("no build: {error}"));
    let confines = Confines {
        user: account.user,
        processes: account.user.map(|_| limits.processes + 1),
        file_mb: limits.disk_mb,
    };
    let confines = serde_json::to_string(&confines).map_err(|error| grader(&error))?;
    let own = std::env::current_exe().map_err(|error| grader(&error))?;
    let mut command = command(&own, account, home);
    command.args(["grade", "confine", &confines, "--", "/bin/sh", "-c", line]);
    command.current_dir(copy).stdin(std::process::Stdio::null());
    let bounds = Bounds {
        wall: Duration::from_secs(limits.build_s),
        memory_mb: Some(limits.memory_mb),
        processes: Some(limits.processes),
        output_mb: limits.output_mb,
        disk_mb: limits.disk_mb,
    };
    let mut tail = Vec::new();
    let mut hear = |said: Said<'_>| {
        let (Said::Out(bytes) | Said::Err(bytes)) = said;
        tail.extend_from_slice(bytes);
        let excess = tail.len().saturating_sub(TAIL);
        tail.drain(..excess);
    };
    let end = watch(command, account, &bounds, &mut hear).map_err(|error| grader(&error))?;
    let told = |how: String| {
        let last = String::from_utf8_lossy(&tail).trim().to_string();
        let last = if last.is_empty() { last } else { format!("; it wrote last: {last}") };
        NotBuilt::Submission(format!("the build (`{line}`) {how}{last}"))
    };
    let size = super::account::size_of(copy, limits.disk_mb << 20);
    Err(match end {
        End::Exited(0) if size > limits.disk_mb << 20 => {
            told(format!("leaves more than {} MB (disk_mb)", limits.disk_mb))
        }
        End::Exited(0) => return Ok(()),
        End::Exited(code) => told(format!("ended with exit code {code}")),
        End::Killed(signal) => told(format!("was ended by signal {signal}")),
        End::OutOfTime => told(format!("took more than {} s (build_s)", limits.build_s)),
        End::Excess(what) => told(format!("was ended: {what}")),
    })
}

/// What a worker is told to judge.
pub fn program(assignment: &Assignment, built: &Built, place: &Path, account: &Account) -> Program {
    let (bin, user) = (built.file.clone(), account.user);
    match assignment.submission.kind {
        Kind::Bin(_) => Program::Hosted { bin, user },
        Kind::Cargo { .. } => Program::Traced { bin, user, folder: place.join("home") },
    }
}
