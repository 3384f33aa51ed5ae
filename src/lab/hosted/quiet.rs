//! Whether a process has come to rest, by what `/proc` says of its threads: nothing that it was
//! given is still being worked on. Knows no message.
//!
//! The rule: two looks at all threads of a process and of those that it started find the same
//! threads, all asleep, with the same counts of context switches, and none of them in `nanosleep`.
//! The counts of a thread stand still only as long as it does not run, so at some instant between
//! the looks all slept. A thread in `nanosleep` is waited for: it goes on by itself (a program that
//! sleeps for a while, and Go's `sysmon`, which starts what is runnable).

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// The threads of a process and of those that it started.
pub(super) struct Threads {
    root: u32,
    processes: Vec<u32>,
    threads: Vec<Thread>,
    /// The newest process of the machine when these were looked for.
    newest: u32,
    /// New ones that were not to be seen yet, and how often they are still looked for: a process
    /// has its number some time before it is there, and its parent runs as long.
    unborn: Vec<(u32, u8)>,
    loadavg: Option<File>,
    buffer: Vec<u8>,
    first: Vec<Count>,
    second: Vec<Count>,
}

struct Thread {
    process: u32,
    id: u32,
    status: File,
}

/// A thread, and how often it went to sleep and was put to sleep.
type Count = (u32, u64, u64);

/// What one look finds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Somebody runs, or the threads are others by now.
    Busy,
    /// All are asleep.
    Asleep,
}

/// What a process at rest waits for, where that is the machine's time rather than input.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct TimedWait {
    /// The system call.
    pub call: &'static str,
}

/// What one process may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Usage {
    /// Processes, itself among them.
    pub processes: usize,
    /// Resident memory of all of them, in bytes.
    pub bytes: u64,
}

impl Threads {
    /// Those of the process `root`, which has just been started.
    pub fn of(root: u32) -> Threads {
        Threads {
            root,
            processes: vec![root],
            threads: Vec::new(),
            newest: 0,
            unborn: Vec::new(),
            loadavg: File::open("/proc/loadavg").ok(),
            buffer: vec![0; 4096],
            first: Vec::new(),
            second: Vec::new(),
        }
    }

    /// Whether all are at rest.
    pub fn are_at_rest(&mut self) -> bool {
        let mut first = std::mem::take(&mut self.first);
        let mut second = std::mem::take(&mut self.second);
        let is_at_rest = self.look(&mut first) == Look::Asleep
            && self.look(&mut second) == Look::Asleep
            && first == second
            && !self.any_naps();
        (self.first, self.second) = (first, second);
        is_at_rest
    }

    fn look(&mut self, counts: &mut Vec<Count>) -> Look {
        counts.clear();
        self.find_processes();
        if self.threads.is_empty() {
            self.find_threads();
        }
        let mut leaders = 0;
        for at in 0..self.threads.len() {
            let Thread { process, id, status } = &self.threads[at];
            let Ok(len) = status.read_at(&mut self.buffer, 0) else {
                // It is gone.
                self.threads.clear();
                return Look::Busy;
            };
            let Some(seen) = Seen::read(&self.buffer[..len]) else { return Look::Busy };
            if !matches!(seen.state, b'S' | b'Z' | b'X' | b'T' | b't') {
                return Look::Busy;
            }
            if process == id {
                leaders += 1;
                let known = self.threads.iter().filter(|one| one.process == *process).count();
                if seen.threads != known && seen.state != b'Z' {
                    self.threads.clear();
                    return Look::Busy;
                }
            }
            counts.push((*id, seen.voluntary, seen.involuntary));
        }
        // Whoever makes a process runs as long as that is not there: now nobody does.
        for (_, looks) in &mut self.unborn {
            *looks -= 1;
        }
        if leaders == 0 {
            // Nobody is left: what ended is at rest.
            self.threads.clear();
        }
        Look::Asleep
    }

    /// Looks for processes that were started since the last look: those that have a parent here, or
    /// belong to the root's group.
    fn find_processes(&mut self) {
        let Some(file) = &self.loadavg else { return };
        let Ok(len) = file.read_at(&mut self.buffer, 0) else { return };
        let text = String::from_utf8_lossy(&self.buffer[..len]);
        let newest = text.split_whitespace().last().and_then(|last| last.parse().ok());
        let newest: u32 = newest.unwrap_or(0);
        let mut unborn = std::mem::take(&mut self.unborn);
        unborn.retain(|(_, looks)| *looks > 0);
        if newest != self.newest {
            let from = std::mem::replace(&mut self.newest, newest);
            let is_near = from != 0 && from < newest && newest - from < MAX_NEW;
            let new: Vec<u32> =
                if is_near { (from + 1..=newest).collect() } else { all_processes() };
            unborn.extend(new.into_iter().map(|id| (id, UNBORN_LOOKS)));
            self.forget_gone();
        }
        for (id, looks) in unborn {
            match self.find(id) {
                Some(true) => {
                    self.processes.push(id);
                    self.threads.clear();
                }
                Some(false) => {}
                None => self.unborn.push((id, looks)),
            }
        }
    }

    fn forget_gone(&mut self) {
        let is_there = |id: &u32| fs::exists(format!("/proc/{id}")).unwrap_or(false);
        let (root, before) = (self.root, self.processes.len());
        self.processes.retain(|id| *id == root || is_there(id));
        if self.processes.len() != before {
            self.threads.clear();
        }
    }

    /// Whether a process is one of these; none where there is none yet, or no more.
    fn find(&self, id: u32) -> Option<bool> {
        if self.processes.contains(&id) {
            return Some(false);
        }
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name is in parentheses, and may have any in it.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace().skip(1).map(|field| field.parse::<u32>());
        let (parent, group) = (fields.next(), fields.next());
        let parent = parent.and_then(Result::ok).is_some_and(|one| self.processes.contains(&one));
        let group = group.and_then(Result::ok) == Some(self.root);
        // A thread has such a folder too, of its process' task.
        let is_process = || {
            fs::read_to_string(format!("/proc/{id}/status")).is_ok_and(|status| {
                status.lines().any(|line| {
                    line.strip_prefix("Tgid:").is_some_and(|t| t.trim() == id.to_string())
                })
            })
        };
        Some((parent || group) && is_process())
    }

    fn find_threads(&mut self) {
        for process in &self.processes {
            let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { continue };
            for task in tasks.flatten() {
                let id = task.file_name().to_str().and_then(|name| name.parse().ok());
                let status = File::open(task.path().join("status"));
                if let (Some(id), Ok(status)) = (id, status) {
                    self.threads.push(Thread { process: *process, id, status });
                }
            }
        }
    }

    /// Whether a thread sleeps for a time that will be over.
    fn any_naps(&self) -> bool {
        self.threads.iter().any(|thread| matches!(call_of(thread), Some(Call::Nap)))
    }

    /// What first threads wait for that is the machine's time.
    pub fn timed_wait(&self) -> Option<TimedWait> {
        let firsts = self.threads.iter().filter(|thread| thread.process == thread.id);
        let waits = firsts.filter_map(|thread| match call_of(thread)? {
            Call::Nap => Some(TimedWait { call: "nanosleep" }),
            Call::Timed(call) => Some(TimedWait { call }),
        });
        waits.min()
    }

    /// What the processes use.
    pub fn usage(&mut self) -> Usage {
        self.find_processes();
        let resident = |id: &u32| {
            let statm = fs::read_to_string(format!("/proc/{id}/statm")).unwrap_or_default();
            let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
            pages.unwrap_or(0) * PAGE
        };
        Usage { processes: self.processes.len(), bytes: self.processes.iter().map(resident).sum() }
    }

    /// The processes, the root first.
    pub fn processes(&self) -> &[u32] {
        &self.processes
    }
}

/// How often a new process that is not there is looked for while all others are asleep.
const UNBORN_LOOKS: u8 = 4;
/// So many new processes are looked at one by one; where there are more, all that there are.
const MAX_NEW: u32 = 200;

/// Linux' on the machines that there are, and the unit of `statm`.
const PAGE: u64 = 4096;

fn all_processes() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let id = |name: std::ffi::OsString| name.to_str()?.parse().ok();
    let mut all: Vec<u32> = entries.flatten().filter_map(|entry| id(entry.file_name())).collect();
    // Parents before their children.
    all.sort_unstable();
    all
}

/// What a thread's `status` says.
struct Seen {
    state: u8,
    threads: usize,
    voluntary: u64,
    involuntary: u64,
}

impl Seen {
    fn read(status: &[u8]) -> Option<Seen> {
        let mut seen = Seen { state: 0, threads: 0, voluntary: 0, involuntary: 0 };
        for line in status.split(|byte| *byte == b'\n') {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (key, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            let number = || std::str::from_utf8(value).ok()?.parse::<u64>().ok();
            match key {
                b"State" => seen.state = *value.first()?,
                b"Threads" => seen.threads = number()? as usize,
                b"voluntary_ctxt_switches" => seen.voluntary = number()?,
                b"nonvoluntary_ctxt_switches" => {
                    seen.involuntary = number()?;
                    return Some(seen);
                }
                _ => {}
            }
        }
        None
    }
}

/// A system call that ends by itself.
enum Call {
    /// It only sleeps.
    Nap,
    /// It waits for something, and no longer than a time.
    Timed(&'static str),
}

/// The call that a thread is in, if it ends by itself.
fn call_of(thread: &Thread) -> Option<Call> {
    let Thread { process, id, .. } = thread;
    let path = PathBuf::from(format!("/proc/{process}/task/{id}/syscall"));
    let text = fs::read_to_string(path).ok()?;
    let mut words = text.split_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    let arguments: Vec<u64> =
        words.map_while(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()).collect();
    let argument = |place: usize| arguments.get(place).copied().unwrap_or(0);
    let timed = |is_timed: bool, call| is_timed.then_some(Call::Timed(call));
    // A negative timeout is none.
    let millis = |place: usize| argument(place) as i32 > 0;
    match number {
        calls::NANOSLEEP | calls::CLOCK_NANOSLEEP => Some(Call::Nap),
        calls::POLL => timed(millis(2), "poll"),
        calls::SELECT => timed(argument(4) != 0, "select"),
        calls::PSELECT => timed(argument(4) != 0, "pselect"),
        calls::PPOLL => timed(argument(2) != 0, "ppoll"),
        calls::EPOLL_WAIT | calls::EPOLL_PWAIT => timed(millis(3), "epoll_wait"),
        calls::EPOLL_PWAIT2 => timed(argument(3) != 0, "epoll_pwait2"),
        calls::FUTEX => {
            let waits = matches!(argument(1) & 0x7F, 0 | 9);
            timed(waits && argument(3) != 0, "futex")
        }
        _ => None,
    }
}

/// Numbers of system calls; one that the processor does not have is a number that none has.
#[cfg(target_arch = "x86_64")]
mod calls {
    pub const POLL: u64 = 7;
    pub const SELECT: u64 = 23;
    pub const NANOSLEEP: u64 = 35;
    pub const FUTEX: u64 = 202;
    pub const CLOCK_NANOSLEEP: u64 = 230;
    pub const EPOLL_WAIT: u64 = 232;
    pub const PSELECT: u64 = 270;
    pub const PPOLL: u64 = 271;
    pub const EPOLL_PWAIT: u64 = 281;
    pub const EPOLL_PWAIT2: u64 = 441;
}

/// Likewise, of the processors that took the common table.
#[cfg(not(target_arch = "x86_64"))]
mod calls {
    pub const POLL: u64 = u64::MAX;
    pub const SELECT: u64 = u64::MAX - 1;
    pub const NANOSLEEP: u64 = 101;
    pub const FUTEX: u64 = 98;
    pub const CLOCK_NANOSLEEP: u64 = 115;
    pub const EPOLL_WAIT: u64 = u64::MAX - 2;
    pub const PSELECT: u64 = 72;
    pub const PPOLL: u64 = 73;
    pub const EPOLL_PWAIT: u64 = 22;
    pub const EPOLL_PWAIT2: u64 = 441;
}
