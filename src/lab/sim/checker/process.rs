//! The processes of checkers: one for each program and thread, started when it is first asked,
//! ended with its thread, started again when it fails.
//!
//! A process that says of which run its answer is (`"run"`, as in the head) is kept: nothing that
//! it said of an earlier run can pass for an answer to a later one. One that does not is not kept:
//! its input ends with the run, and it has to end in order. One that was kept and ends without an
//! answer is started again, once; whatever else goes wrong is the reason why nothing is decided.

use serde::Deserialize;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

/// What judges, and for how long at most.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Program {
    pub folder: PathBuf,
    pub command: Vec<String>,
    pub timeout: Duration,
}

/// What it says.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    pub verdict: Word,
    #[serde(default)]
    pub why: String,
    #[serde(default)]
    pub operations: Vec<usize>,
    pub run: Option<u64>,
}

/// A verdict in a word.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    Held,
    Violated,
    Unknown,
}

/// The longest answer, in bytes.
const MAX_ANSWER: u64 = 1 << 20;
/// How much of what a program writes to its standard error is kept, in bytes: the end of it.
const MAX_ERRORS: usize = 4 << 10;
/// So many lines wait to be read; a program that says more waits.
const MAX_LINES: usize = 2;
/// So many processes are kept for a thread: as many as a scenario has checkers.
const MAX_KEPT: usize = super::MAX_CHECKERS;
/// How often it is asked whether a process that has closed its output has ended.
const ENDED_EVERY: Duration = Duration::from_millis(1);
/// How long to wait for the last words of a process that has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

thread_local! {
    static KEPT: RefCell<BTreeMap<Program, Process>> = const { RefCell::new(BTreeMap::new()) };
}

/// Has a program judge a run.
///
/// # Errors
/// Why nothing is decided.
pub(super) fn ask(
    program: &Program,
    head: Map<String, Value>,
    lines: &str,
) -> Result<Answer, String> {
    let kept = KEPT.with_borrow_mut(|kept| kept.remove(program));
    if let Some(process) = kept {
        match process.judge(program, &head, lines) {
            Err(Failure::Ended(_)) => {}
            done => return done.map_err(Failure::why),
        }
    }
    let process = Process::start(program).map_err(|error| {
        format!("cannot start {}: {error}", program.command.first().map_or("", String::as_str))
    })?;
    process.judge(program, &head, lines).map_err(Failure::why)
}

/// Why there is no answer.
enum Failure {
    /// The process ended, which one that was kept may.
    Ended(String),
    Other(String),
}

impl Failure {
    fn why(self) -> String {
        match self {
            Failure::Ended(why) | Failure::Other(why) => why,
        }
    }
}

/// What is read of a process.
enum Said {
    Line(Vec<u8>),
    TooLong,
}

struct Process {
    child: Child,
    /// What is written to it; its input ends when this does.
    input: Option<Sender<Vec<u8>>>,
    /// What it says, to its end.
    output: Receiver<Said>,
    /// The end of what it wrote to its standard error, when that is over.
    errors: Receiver<Vec<u8>>,
    /// How many runs it was given.
    runs: u64,
}

impl Process {
    fn start(program: &Program) -> io::Result<Process> {
        let Program { folder, command, .. } = program;
        let [name, arguments @ ..] = &command[..] else {
            return Err(io::ErrorKind::NotFound.into());
        };
        // A bare name is looked for in PATH; a path is the scenario's.
        let name = match name.contains('/') {
            true => folder.join(name),
            false => name.into(),
        };
        let mut child = Command::new(name)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (input, to_write) = channel();
        let (said, output) = sync_channel(MAX_LINES);
        let (last_words, errors) = channel();
        if let Some(stdin) = child.stdin.take() {
            thread::spawn(move || write(stdin, &to_write));
        }
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || read(stdout, &said));
        }
        if let Some(stderr) = child.stderr.take() {
            thread::spawn(move || drop(last_words.send(read_errors(stderr))));
        }
        Ok(Process { child, input: Some(input), output, errors, runs: 0 })
    }

    /// Judges a run, and is kept if it goes on.
    fn judge(
        mut self,
        program: &Program,
        head: &Map<String, Value>,
        lines: &str,
    ) -> Result<Answer, Failure> {
        self.runs += 1;
        let mut head = head.clone();
        head.insert("run".into(), self.runs.into());
        let text = format!("{}\n{lines}{{\"end\":true}}\n", Value::Object(head));
        if let Some(input) = &self.input {
            // Whoever reads it no more has ended, and is found to have.
            let _ = input.send(text.into_bytes());
        }
        let answer = self.answer(program)?;
        match answer.run {
            Some(run) if run == self.runs => {
                KEPT.with_borrow_mut(|kept| {
                    if kept.len() >= MAX_KEPT {
                        kept.clear();
                    }
                    kept.insert(program.clone(), self);
                });
                Ok(answer)
            }
            Some(run) => {
                let asked = self.runs;
                Err(Failure::Other(format!("it answers for run {run}, and was asked for {asked}")))
            }
            None => self.finish(program.timeout).map(|()| answer),
        }
    }

    fn answer(&mut self, program: &Program) -> Result<Answer, Failure> {
        let line = match self.output.recv_timeout(program.timeout) {
            Ok(Said::Line(line)) => line,
            Ok(Said::TooLong) => {
                let why = format!("its answer is longer than {MAX_ANSWER} bytes");
                return Err(Failure::Other(why));
            }
            Err(RecvTimeoutError::Timeout) => {
                let why = format!("no verdict within {} ms", program.timeout.as_millis());
                return Err(Failure::Other(why));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.status(program.timeout).map_err(Failure::Other)?;
                let why = format!("it ended with {status} without a verdict{}", self.last_words());
                return Err(Failure::Ended(why));
            }
        };
        // Serde would take a list for an object, field by field.
        if !line.trim_ascii_start().starts_with(b"{") {
            let said = String::from_utf8_lossy(&line);
            return Err(Failure::Other(format!("no verdict: it is no JSON object: {said}")));
        }
        serde_json::from_slice(&line).map_err(|error| {
            let said = String::from_utf8_lossy(&line);
            Failure::Other(format!("no verdict: {error}: {said}"))
        })
    }

    /// It gets no more runs: it says nothing more, and ends in order.
    fn finish(mut self, timeout: Duration) -> Result<(), Failure> {
        self.input = None;
        match self.output.recv_timeout(timeout) {
            Err(RecvTimeoutError::Disconnected) => {}
            Ok(_) => return Err(Failure::Other("it says more after its verdict".into())),
            Err(RecvTimeoutError::Timeout) => {
                let why = "it neither says of which run its verdict is nor ends with its input";
                return Err(Failure::Other(why.into()));
            }
        }
        let status = self.status(timeout).map_err(Failure::Other)?;
        if status.success() {
            return Ok(());
        }
        let why = format!("it ended with {status} after its verdict{}", self.last_words());
        Err(Failure::Other(why))
    }

    /// How it ended, having closed its output.
    fn status(&mut self, timeout: Duration) -> Result<ExitStatus, String> {
        let most = timeout.as_millis() / ENDED_EVERY.as_millis();
        for _ in 0..=most {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => thread::sleep(ENDED_EVERY),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("it closed its output and did not end".into())
    }

    /// The last line of what it wrote to its standard error.
    fn last_words(&self) -> String {
        let errors = self.errors.recv_timeout(LAST_WORDS).unwrap_or_default();
        let text = String::from_utf8_lossy(&errors);
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        last.map(|line| format!(": {line}")).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended cannot be ended again, which is all that can go wrong.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(mut stdin: ChildStdin, runs: &Receiver<Vec<u8>>) {
    for run in runs {
        if stdin.write_all(&run).and_then(|()| stdin.flush()).is_err() {
            return;
        }
    }
}

fn read(stdout: ChildStdout, said: &SyncSender<Said>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        let read = (&mut stdout).take(MAX_ANSWER + 1).read_until(b'\n', &mut line);
        let is_over = !matches!(read, Ok(1..));
        let is_long = line.len() as u64 > MAX_ANSWER;
        let next = if is_long { Said::TooLong } else { Said::Line(line) };
        if is_over || said.send(next).is_err() || is_long {
            return;
        }
    }
}

fn read_errors(mut stderr: ChildStderr) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(read @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..read]);
        let more = kept.len().saturating_sub(MAX_ERRORS);
        kept.drain(..more);
    }
    kept
}
