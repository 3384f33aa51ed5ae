//! A child process and its pipes: lines in, lines out, and its end. Nothing here waits without a
//! bound. Knows no message.

use super::quiet::{Threads, TimedWait, Usage};
use super::stage::{Hosting, Limits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A line of a program is no longer: one that does not end fills no memory.
pub(super) const MAX_LINE: usize = 1 << 20;

/// What a pipe holds at least: who has written less is not held up by it.
const PIPE: usize = 32 << 10;

/// A process, from its start until it is dropped, which kills it and all that it started.
pub(super) struct Child {
    process: std::process::Child,
    threads: Threads,
    stdin: ChildStdin,
    /// What stdin does not take yet.
    unwritten: VecDeque<u8>,
    stdout: Lines<ChildStdout>,
    stderr: Lines<ChildStderr>,
    limits: Limits,
    /// How many looks at it there were: what it uses is measured now and then.
    looks: u32,
    buffer: Vec<u8>,
}

/// How a wait for a process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Rest {
    /// It has come to rest.
    Still,
    /// It has ended, or closed its stdout.
    Ended(String),
    /// It did not come to rest in time.
    Restless,
    /// It uses more than it may, in words.
    Excess(String),
}

/// What comes out of a pipe, by lines.
struct Lines<R> {
    pipe: R,
    partial: Vec<u8>,
    whole: VecDeque<Vec<u8>>,
    is_over: bool,
    bytes: u64,
}

impl Child {
    /// Starts a program in a folder.
    ///
    /// # Errors
    /// Why it cannot be started, in one line.
    pub fn start(
        hosting: &Hosting,
        folder: &Path,
        env: &[(String, String)],
    ) -> Result<Child, String> {
        let mut command = Command::new(&hosting.bin);
        command.args(&hosting.args).current_dir(folder).envs(env.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        if let Some(user) = hosting.user {
            command.uid(user).gid(user);
        }
        let bin = hosting.bin.display();
        let told = |error: io::Error| format!("cannot start {bin}: {error}");
        let mut process = command.spawn().map_err(told)?;
        let pipes = process.stdin.take().zip(process.stdout.take()).zip(process.stderr.take());
        let Some(((stdin, stdout), stderr)) = pipes else {
            return Err(format!("cannot start {bin}: it has no pipes"));
        };
        do_not_block(&stdin).and(do_not_block(&stdout)).and(do_not_block(&stderr)).map_err(told)?;
        let threads = Threads::of(process.id());
        Ok(Child {
            process,
            threads,
            stdin,
            unwritten: VecDeque::new(),
            stdout: Lines::of(stdout),
            stderr: Lines::of(stderr),
            limits: hosting.limits,
            looks: 0,
            buffer: vec![0; 64 << 10],
        })
    }

    /// Gives it a line.
    pub fn write_line(&mut self, line: &str) {
        self.unwritten.extend(line.as_bytes());
        self.unwritten.push_back(b'\n');
        self.flush();
    }

    fn flush(&mut self) {
        while !self.unwritten.is_empty() {
            let (front, _) = self.unwritten.as_slices();
            match self.stdin.write(front) {
                Ok(0) => return,
                Ok(written) => drop(self.unwritten.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It reads later, or never again: its end shows on stdout.
                Err(_) => return,
            }
        }
    }

    /// Reads what is there. Answers how many bytes that was.
    fn drain(&mut self) -> usize {
        self.stdout.drain(&mut self.buffer) + self.stderr.drain(&mut self.buffer)
    }

    /// Waits until it has come to rest, or until `patience` is over.
    pub fn settle(&mut self, patience: Duration) -> Rest {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut wait_for_output = true;
        loop {
            if wait_for_output {
                self.await_output(pause);
            }
            self.flush();
            self.drain();
            if self.stdout.is_over {
                return Rest::Ended(self.how_it_ended());
            }
            if let Some(excess) = self.excess() {
                return Rest::Excess(excess);
            }
            if self.threads.are_at_rest() {
                // What was written before it came to rest. A pipe that was full held it up.
                let late = self.drain();
                if self.stdout.is_over {
                    return Rest::Ended(self.how_it_ended());
                }
                if late < PIPE {
                    return self.excess().map_or(Rest::Still, Rest::Excess);
                }
            }
            if began.elapsed() > patience {
                return Rest::Restless;
            }
            wait_for_output = true;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Reads what is there without waiting for more.
    pub fn collect(&mut self) -> Rest {
        self.flush();
        self.drain();
        if self.stdout.is_over {
            return Rest::Ended(self.how_it_ended());
        }
        self.excess().map_or(Rest::Still, Rest::Excess)
    }

    /// Waits until it writes something, but not for long.
    fn await_output(&self, most: Duration) {
        let mut pipes = [
            PollFd::new(&self.stdout.pipe, PollFlags::IN),
            PollFd::new(&self.stderr.pipe, PollFlags::IN),
        ];
        let watched = if self.stderr.is_over { &mut pipes[..1] } else { &mut pipes[..] };
        let most = Timespec { tv_sec: 0, tv_nsec: most.as_nanos() as i64 };
        let _ = poll(watched, Some(&most));
    }

    /// What it has more of than it may.
    fn excess(&mut self) -> Option<String> {
        let Limits { memory_mb, processes, output_mb, .. } = self.limits;
        let (out, err) = (&self.stdout, &self.stderr);
        if out.partial.len() > MAX_LINE || err.partial.len() > MAX_LINE {
            return Some(format!("it wrote a line of more than {MAX_LINE} bytes"));
        }
        if out.bytes + err.bytes > output_mb << 20 {
            return Some(format!("it wrote more than {output_mb} MB in one run"));
        }
        self.looks = self.looks.wrapping_add(1);
        if !self.looks.is_multiple_of(MEASURED_EVERY) {
            return None;
        }
        let usage: Usage = self.threads.usage();
        if usage.processes as u64 > processes {
            return Some(format!("it has {} processes, more than {processes}", usage.processes));
        }
        let used = usage.bytes >> 20;
        (used > memory_mb).then(|| format!("it uses {used} MB of memory, more than {memory_mb}"))
    }

    fn how_it_ended(&mut self) -> String {
        let began = Instant::now();
        let status = loop {
            match self.process.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if began.elapsed() < EXIT_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(None) | Err(_) => return "it closed its stdout".into(),
            }
        };
        self.drain();
        in_words(status)
    }

    /// The next whole line that it wrote.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        self.stdout.whole.pop_front()
    }

    /// The next whole line of its stderr; in the end what is left.
    pub fn next_complaint(&mut self) -> Option<Vec<u8>> {
        self.stderr.whole.pop_front()
    }

    /// What it waits for that is the machine's time, now that it is at rest.
    pub fn timed_wait(&self) -> Option<TimedWait> {
        self.threads.timed_wait()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.threads.usage();
        if let Some(group) = Pid::from_raw(self.process.id() as i32) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let others = self.threads.processes().iter().skip(1);
        for other in others.filter_map(|id| Pid::from_raw(*id as i32)) {
            let _ = kill_process(other, Signal::KILL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Most answers come in less.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
/// A process that works is looked at so often.
const LONGEST_PAUSE: Duration = Duration::from_millis(2);
/// A process whose stdout is closed ends soon, or does not.
const EXIT_PATIENCE: Duration = Duration::from_millis(500);
/// What it uses is measured at every such look.
const MEASURED_EVERY: u32 = 32;

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it exited with status {code}"),
        (None, Some(signal)) => format!("it was killed by signal {signal}"),
        (None, None) => "it ended".into(),
    }
}

fn do_not_block(pipe: &impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(pipe)?;
    Ok(fcntl_setfl(pipe, flags | OFlags::NONBLOCK)?)
}

impl<R: Read> Lines<R> {
    fn of(pipe: R) -> Lines<R> {
        Lines { pipe, partial: Vec::new(), whole: VecDeque::new(), is_over: false, bytes: 0 }
    }

    fn drain(&mut self, buffer: &mut [u8]) -> usize {
        let mut all = 0;
        // A program that writes for ever is asked about in between.
        while !self.is_over && all < MAX_LINE {
            match self.pipe.read(buffer) {
                Ok(0) => self.is_over = true,
                Ok(len) => {
                    all += len;
                    self.take(&buffer[..len]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.is_over = true,
            }
        }
        if self.is_over && !self.partial.is_empty() {
            self.whole.push_back(std::mem::take(&mut self.partial));
        }
        self.bytes += all as u64;
        all
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.partial.extend_from_slice(&bytes[..end]);
            self.whole.push_back(std::mem::take(&mut self.partial));
            bytes = &bytes[end + 1..];
        }
        self.partial.extend_from_slice(bytes);
    }
}
