//! The client's one loop: what it does about lines, answers and messages, and what it prints. It
//! knows no sockets.

use super::link::{Event, Message, Outcome, Post, Side};
use super::{BoardArgs, COMMANDS};
use crate::client::escaped;
use crate::epoch::since_epoch;
use node_protocols::board::Maybe;
use node_protocols::core::{LamportClock, LamportTime, WallTime};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

/// Ends the client once all is answered.
pub const QUIT: &str = "quit";

/// How much is shown of a line that is no command.
const MAX_SHOWN_BYTES: usize = 32;

/// How long the client waits, in the end, for its own messages to come back from the proxy.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// When nothing is due.
const IDLE: Duration = Duration::from_secs(60);

/// The client at work.
pub struct Talk<'a> {
    args: &'a BoardArgs,
    out: &'a mut dyn Write,
    /// Whether a person types at the terminal that `out` writes to.
    at_terminal: bool,
    posts: SyncSender<Post>,
    clock: LamportClock,
    sent: u64,
    /// The numbers of those that are not answered yet.
    waiting: VecDeque<u64>,
    published: u64,
    failed: u64,
    /// How many of its own messages have come back from the proxy.
    heard_back: u64,
    /// When --auto sends next.
    due: Instant,
    /// No more is sent, since then; moved on by every answer.
    ending: Option<Instant>,
    /// Told to end now.
    stopped: Option<Signal>,
}

impl<'a> Talk<'a> {
    pub fn new(
        args: &'a BoardArgs,
        out: &'a mut dyn Write,
        at_terminal: bool,
        posts: SyncSender<Post>,
        theirs: LamportTime,
    ) -> Talk<'a> {
        // As between nodes that make a link. One that cannot be true is told of with what comes.
        let mut clock = LamportClock::default();
        clock.set_wall(WallTime(since_epoch()));
        let _ = clock.catch_up(theirs);
        Talk {
            args,
            out,
            at_terminal,
            posts,
            clock,
            sent: 0,
            waiting: VecDeque::new(),
            published: 0,
            failed: 0,
            heard_back: 0,
            due: Instant::now(),
            ending: None,
            stopped: None,
        }
    }

    /// How many messages failed or are not answered, and of how many.
    pub fn failed(&self) -> (u64, u64) {
        (self.failed + self.waiting.len() as u64, self.sent)
    }

    /// Goes on until the end, or until it is told to stop by a signal. What is `urgent` comes
    /// before the events that wait.
    pub fn go_on(
        &mut self,
        events: &Receiver<Event>,
        urgent: &Receiver<Event>,
    ) -> io::Result<Option<Signal>> {
        while !self.is_over() {
            while let Ok(event) = urgent.try_recv() {
                self.take(event)?;
            }
            if self.stopped.is_some() {
                break;
            }
            self.speak()?;
            match events.recv_timeout(self.wait()) {
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => {}
                // The threads end after this loop.
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(self.stopped)
    }

    /// All that was sent is answered, and has come back or had time to.
    fn is_over(&self) -> bool {
        self.ending.is_some_and(|since| {
            self.waiting.is_empty()
                && (self.heard_back >= self.published || since.elapsed() >= LAST_WORDS)
        })
    }

    /// How long nothing is to be done unless something happens.
    fn wait(&self) -> Duration {
        match self.ending {
            Some(since) => LAST_WORDS.saturating_sub(since.elapsed()).max(Duration::from_millis(1)),
            None if self.args.auto && self.waiting.is_empty() => {
                self.due.saturating_duration_since(Instant::now())
            }
            None => IDLE,
        }
    }

    /// Sends the automatic client's next message, when it is due.
    fn speak(&mut self) -> io::Result<()> {
        let is_due = self.waiting.is_empty() && Instant::now() >= self.due;
        if !self.args.auto || self.ending.is_some() || !is_due {
            return Ok(());
        }
        if self.args.count.is_some_and(|count| self.sent >= count) {
            self.ending = Some(Instant::now());
            return Ok(());
        }
        self.due = Instant::now() + Duration::from_millis(self.args.interval_ms);
        self.send(format!("message {} of {}", self.sent + 1, self.args.user).into_bytes())
    }

    fn take(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Line(line) => self.obey(&line)?,
            Event::Typed(line, obeyed) => {
                self.obey(&line)?;
                drop(obeyed);
            }
            Event::InputEnded => self.end(),
            Event::Stop(signal) => self.stopped = Some(signal),
            Event::Look => {}
            Event::Answered(outcome) => self.on_answer(outcome)?,
            Event::Heard(message) => self.on_message(&message)?,
            Event::Missed(messages) => {
                let object = json!({ "event": "missed", "messages": messages });
                self.print(object, format_args!("missed {messages} messages: they came too fast"))?;
            }
            Event::Gone(side, reason) => {
                let side = side.name();
                let object = json!({ "event": "gone", "side": side, "reason": reason });
                let line = format_args!("the {side} is gone: {reason}; trying to connect again");
                self.print(object, line)?;
            }
            Event::Back(side) => {
                let lost = match side {
                    Side::Broker => "",
                    Side::Proxy => "; messages may have been missed meanwhile",
                };
                let side = side.name();
                let object = json!({ "event": "back", "side": side });
                self.print(object, format_args!("the {side} is there again{lost}"))?;
            }
        }
        Ok(())
    }

    fn end(&mut self) {
        self.ending.get_or_insert_with(Instant::now);
    }

    fn obey(&mut self, line: &[u8]) -> io::Result<()> {
        let line = line.trim_ascii();
        // After the command's end nothing more is sent.
        if self.ending.is_some() || line.is_empty() {
            return Ok(());
        }
        match line.strip_prefix(b"send") {
            Some(b"") => self.advise(format_args!("send what?")),
            Some(text) if text[0].is_ascii_whitespace() => self.send(text.trim_ascii().to_vec()),
            _ if line == QUIT.as_bytes() => {
                self.end();
                Ok(())
            }
            _ => {
                let start = escaped(&line[..line.len().min(MAX_SHOWN_BYTES)]);
                self.advise(format_args!("\"{start}\" is no command."))
            }
        }
    }

    /// Says what is wrong with a command. Standard output is for what is said, unless it is a
    /// terminal, which the editor has to itself.
    fn advise(&mut self, what: fmt::Arguments<'_>) -> io::Result<()> {
        if self.at_terminal {
            writeln!(self.out, "{what} {COMMANDS}")?;
            return self.out.flush();
        }
        let _ = writeln!(io::stderr(), "{what} {COMMANDS}");
        Ok(())
    }

    fn send(&mut self, text: Vec<u8>) -> io::Result<()> {
        let (user, topic) = (self.args.user.clone(), self.args.topic[0].clone());
        let clock = self.clock.tick();
        self.sent += 1;
        let number = self.sent;
        let post = Post { user, topic, text, clock, made: Instant::now() };
        if let Err(full) = self.posts.try_send(post) {
            let reason = match full {
                TrySendError::Full(_) => "too many messages wait for their answers",
                TrySendError::Disconnected(_) => "nothing is sent any more",
            };
            return self.fail(number, reason, Maybe::No);
        }
        self.waiting.push_back(number);
        let topic = &self.args.topic[0];
        let object = json!({ "event": "sending", "number": number, "clock": clock });
        self.print(object, format_args!("I send message {number} under {topic}"))
    }

    fn on_answer(&mut self, outcome: Outcome) -> io::Result<()> {
        // The broker answers one after the other.
        let number = self.waiting.pop_front().unwrap_or_default();
        if let Some(since) = &mut self.ending {
            *since = Instant::now();
        }
        match outcome {
            Outcome::Published { server, timestamp, clock } => {
                self.published += 1;
                let received = self.receive(clock)?;
                let object = json!({
                    "event": "sent", "number": number, "server": server,
                    "timestamp": timestamp, "clock": clock, "received": received,
                });
                let (time, clock) = (WallTime::from_millis(timestamp), clock.0);
                self.print(
                    object,
                    format_args!(
                        "server {server} published message {number} | {time:.3} | clock {clock}"
                    ),
                )
            }
            Outcome::Failed { reason, published, clock } => {
                if let Some(clock) = clock {
                    self.receive(clock)?;
                }
                self.fail(number, &reason, published)
            }
        }
    }

    fn fail(&mut self, number: u64, reason: &str, published: Maybe) -> io::Result<()> {
        self.failed += 1;
        let object = json!({
            "event": "not_sent", "number": number, "published": published, "reason": reason,
        });
        let what = match published {
            Maybe::No => "was not published",
            Maybe::Unknown => "may not have been published, and is not sent again",
        };
        self.print(object, format_args!("message {number} {what}: {reason}"))
    }

    fn on_message(&mut self, message: &Message) -> io::Result<()> {
        let Message { topic, user, server, text, timestamp, clock } = message;
        if *user == self.args.user && *topic == self.args.topic[0] {
            self.heard_back += 1;
        }
        let received = self.receive(*clock)?;
        let [topic, user, text] = [topic.as_bytes(), user.as_bytes(), text].map(escaped);
        let object = json!({
            "event": "message", "topic": topic, "user": user, "server": server, "text": text,
            "timestamp": timestamp, "clock": clock, "received": received,
        });
        let (time, clock) = (WallTime::from_millis(*timestamp), clock.0);
        match server {
            Some(server) => self.print(
                object,
                format_args!(
                    "{topic} | {time:.3} | {user} via server {server}, clock {clock}: {text}"
                ),
            ),
            None => self.print(
                object,
                format_args!("{topic} | {time:.3} | somebody at the proxy, clock {clock}: {text}"),
            ),
        }
    }

    /// Lamport's rule for what was sent at `clock`.
    fn receive(&mut self, clock: LamportTime) -> io::Result<LamportTime> {
        if let Err(jump) = self.clock.observe(clock) {
            let object = json!({ "event": "untrue_clock", "reason": jump.to_string() });
            self.print(object, format_args!("a clock cannot be true, and is not taken: {jump}"))?;
        }
        Ok(self.clock.value())
    }

    fn print(&mut self, object: Value, line: fmt::Arguments<'_>) -> io::Result<()> {
        if self.args.json {
            writeln!(self.out, "{object}")?;
        } else {
            writeln!(self.out, "[{}] {line}", self.clock.value().0)?;
        }
        self.out.flush()
    }
}
