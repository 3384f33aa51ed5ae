//! Processes that are watched: within a time, within what an account may use, and with an end of
//! all that they started. Knows no task.

use super::account::{Account, TOKEN};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, setrlimit};
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// What a watched process may use.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Real time.
    pub wall: Duration,
    /// Memory of its account, in MiB; none where somebody else looks at it.
    pub memory_mb: Option<u64>,
    /// Processes of its account, likewise.
    pub processes: Option<u64>,
    /// What it writes to stdout and stderr, in MiB.
    pub output_mb: u64,
    /// What it leaves where all users can write, in MiB.
    pub disk_mb: u64,
}

/// How a watched process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// By itself, with that status.
    Exited(i32),
    /// By a signal.
    Killed(i32),
    /// It took too long.
    OutOfTime,
    /// It used more than it may, in words.
    Excess(String),
}

/// What a process writes, as it comes.
pub enum Said<'a> {
    /// To its stdout.
    Out(&'a [u8]),
    /// To its stderr.
    Err(&'a [u8]),
}

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Every so many looks also at shared folders.
const STRAYS_EVERY: u32 = 8;
/// Pipes that somebody holds open after the end are waited for so long.
const PIPES_WITHIN: Duration = Duration::from_secs(2);

/// A command in an environment of which a submission may know all.
pub fn command(program: &Path, account: &Account, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for name in ["PATH", "RUSTUP_HOME", "CARGO_HOME", "JAVA_HOME", "GOROOT", "GOFLAGS"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("LANG", "C.UTF-8").env("HOME", home).env("TMPDIR", home);
    command.env(TOKEN, account.token());
    command.process_group(0);
    command
}

/// Watches a process until it and all that its account runs have ended.
///
/// # Errors
/// It cannot be started.
pub fn watch(
    mut command: Command,
    account: &Account,
    bounds: &Bounds,
    hear: &mut dyn FnMut(Said<'_>),
) -> io::Result<End> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let (sender, said) = sync_channel(64);
    if let Some(pipe) = child.stdout.take() {
        read(pipe, false, sender.clone());
    }
    if let Some(pipe) = child.stderr.take() {
        read(pipe, true, sender);
    }
    let end = attend(&mut child, account, bounds, &said, hear);
    if let Some(group) = Pid::from_raw(child.id() as i32) {
        // There is none any more where all have ended.
        let _ = kill_process_group(group, Signal::KILL);
    }
    account.sweep();
    let status = child.wait()?;
    let began = Instant::now();
    while let Ok((is_err, bytes)) = said.recv_timeout(LOOK_EVERY) {
        hear(if is_err { Said::Err(&bytes) } else { Said::Out(&bytes) });
        if began.elapsed() > PIPES_WITHIN {
            break;
        }
    }
    account.tidy();
    Ok(end.unwrap_or_else(|| of_status(status)))
}

/// Waits for its end; answers why it has to be ended instead.
fn attend(
    child: &mut Child,
    account: &Account,
    bounds: &Bounds,
    said: &Receiver<(bool, Vec<u8>)>,
    hear: &mut dyn FnMut(Said<'_>),
) -> Option<End> {
    let (began, mut bytes, mut looks) = (Instant::now(), 0_u64, 0_u32);
    let mut last_look = began;
    loop {
        match said.recv_timeout(LOOK_EVERY) {
            Ok((is_err, part)) => {
                bytes += part.len() as u64;
                hear(if is_err { Said::Err(&part) } else { Said::Out(&part) });
            }
            Err(RecvTimeoutError::Timeout) => {}
            // It closed them, and may go on.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(Duration::from_millis(5)),
        }
        if bytes > bounds.output_mb << 20 {
            let most = bounds.output_mb;
            return Some(End::Excess(format!("it wrote more than {most} MB (output_mb)")));
        }
        if began.elapsed() > bounds.wall {
            return Some(End::OutOfTime);
        }
        // An error is one of an id that is not ours: its end shows otherwise.
        if let Ok(Some(_)) = child.try_wait() {
            return None;
        }
        if last_look.elapsed() >= LOOK_EVERY {
            last_look = Instant::now();
            looks = looks.wrapping_add(1);
            if let Some(excess) = excess(account, bounds, looks.is_multiple_of(STRAYS_EVERY)) {
                return Some(End::Excess(excess));
            }
        }
    }
}

fn excess(account: &Account, bounds: &Bounds, look_around: bool) -> Option<String> {
    if bounds.memory_mb.is_some() || bounds.processes.is_some() {
        let usage = account.usage();
        if let Some(most) = bounds.processes.filter(|most| usage.processes > *most) {
            return Some(format!("it has more than {most} processes (processes)"));
        }
        if let Some(most) = bounds.memory_mb.filter(|most| usage.memory > most << 20) {
            return Some(format!("it uses more than {most} MB of memory (memory_mb)"));
        }
    }
    let most = bounds.disk_mb << 20;
    (look_around && account.strays(most) > most)
        .then(|| format!("it has more than {} MB in shared folders (disk_mb)", bounds.disk_mb))
}

fn of_status(status: ExitStatus) -> End {
    status.code().map_or_else(|| End::Killed(status.signal().unwrap_or(0)), End::Exited)
}

fn read(mut pipe: impl Read + Send + 'static, is_err: bool, to: SyncSender<(bool, Vec<u8>)>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => return,
                Ok(len) => {
                    if to.send((is_err, buffer[..len].to_vec())).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
}

/// What a process sets for itself before it becomes a submission's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Confines {
    /// Whose it becomes.
    pub user: Option<u32>,
    /// How many processes its user may have; none where its user is the grader's.
    pub processes: Option<u64>,
    /// The largest file, in MiB.
    pub file_mb: u64,
}

impl Confines {
    /// Sets the limits of this process, and of all that it starts.
    ///
    /// # Errors
    /// The system refuses.
    pub fn limit(&self) -> io::Result<()> {
        let both = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(Resource::Core, both(0))?;
        setrlimit(Resource::Fsize, both(self.file_mb << 20))?;
        if let Some(most) = self.processes {
            setrlimit(Resource::Nproc, both(most))?;
        }
        Ok(())
    }

    /// Becomes a command. Answers only when it cannot.
    pub fn become_command(&self, line: &[String]) -> io::Error {
        let Some((program, arguments)) = line.split_first() else {
            return io::ErrorKind::InvalidInput.into();
        };
        if let Err(error) = self.limit() {
            return error;
        }
        let mut command = Command::new(program);
        command.args(arguments);
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.exec()
    }
}
