//! The processes of a folder's nodes, by their pid files: only those that run a config of that
//! folder are seen, and only they are sent signals.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A node's process.
pub(super) struct Process {
    pub pid: i32,
    /// Whether it is held up (SIGSTOP).
    pub is_paused: bool,
    /// Where it runs: paths in its config are relative to that.
    pub folder: Option<PathBuf>,
}

/// The process of a node, if there is one that runs its config.
pub(super) fn of(folder: &Path, name: &str) -> Option<Process> {
    let pid: i32 =
        fs::read_to_string(folder.join(format!("{name}.pid"))).ok()?.trim().parse().ok()?;
    let pid = (pid > 1).then_some(pid)?;
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let stat = fs::read_to_string(proc.join("stat")).ok()?;
    // The name before may hold anything, brackets too.
    let state = stat.rsplit(')').next()?.trim_start().chars().next()?;
    if matches!(state, 'Z' | 'X') {
        return None;
    }
    let cwd = fs::read_link(proc.join("cwd")).ok();
    let config = config_of(&proc)?;
    let config = cwd.as_ref().map_or(config.clone(), |cwd| cwd.join(&config));
    let identity = |path: &Path| fs::metadata(path).ok().map(|about| (about.dev(), about.ino()));
    let own = identity(&folder.join(format!("{name}.toml")))?;
    (identity(&config)? == own).then_some(Process {
        pid,
        is_paused: matches!(state, 'T' | 't'),
        folder: cwd,
    })
}

/// What a process was started with for its config.
fn config_of(proc: &Path) -> Option<PathBuf> {
    let line = fs::read(proc.join("cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word));
    while let Some(word) = words.next() {
        if word == "--config" {
            return words.next().map(|path| PathBuf::from(path.as_ref()));
        }
        if let Some(path) = word.strip_prefix("--config=") {
            return Some(path.into());
        }
    }
    None
}

/// Sends a signal to a node's process.
///
/// # Errors
/// There is no such process, or it cannot be sent one.
pub(super) fn signal(folder: &Path, name: &str, signal: Signal) -> Result<(), String> {
    let none = || format!("{name} does not run");
    let pid = of(folder, name).ok_or_else(none)?.pid;
    let number = Pid::from_raw(pid).ok_or_else(none)?;
    // A number may be another's a moment later: the process is held first, and looked at then.
    let held = pidfd_open(number, PidfdFlags::empty()).map_err(|_| none())?;
    let process = of(folder, name).filter(|process| process.pid == pid).ok_or_else(none)?;
    pidfd_send_signal(&held, signal).map_err(|error| format!("{name} ({}): {error}", process.pid))
}

/// Starts a node that does not run, as scripts/cluster.sh does: its trace, console and log go on.
///
/// # Errors
/// It runs already, has no config, or cannot be started.
pub(super) fn start(folder: &Path, name: &str, within: Option<&Path>) -> Result<Child, String> {
    if of(folder, name).is_some() {
        return Err(format!("{name} runs already"));
    }
    let folder = folder.canonicalize().map_err(|error| format!("{name}: {error}"))?;
    let file = |ending: &str| folder.join(format!("{name}.{ending}"));
    let append = |ending: &str| {
        let path = file(ending);
        let opened = File::options().create(true).append(true).open(&path);
        opened.map_err(|error| format!("{}: {error}", path.display()))
    };
    let told = |error: std::io::Error| format!("{name}: {error}");
    let mut command = Command::new(std::env::current_exe().map_err(told)?);
    command.arg("--config").arg(file("toml")).arg("--trace").arg(file("jsonl"));
    command.stdin(Stdio::null()).stdout(append("out")?).stderr(append("log")?);
    // Ctrl-C ends the studio, and not the nodes.
    command.process_group(0);
    if let Some(within) = within {
        command.current_dir(within);
    }
    let child = command.spawn().map_err(told)?;
    fs::write(file("pid"), format!("{}\n", child.id())).map_err(told)?;
    Ok(child)
}
