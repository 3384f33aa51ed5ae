//! `lamport`: nodes that call each other for random numbers, and show the Lamport clock at each
//! step (document 000).
//!
//! ```text
//!    caller, node 1                                server, node 2
//!  [1.1] sends Call ──────────────────────────────► [2.2] receives it
//!                                                   [3.2] its handler draws the number
//!  [5.1] receives the number ◄───────────────────── [4.2] sends Answer
//! ```
//!
//! **The clock** is the node's own, which the Host keeps in the envelope of every frame (Lamport,
//! "Time, Clocks, and the Ordering of Events in a Distributed System", CACM 1978): one step for a
//! local event and for a send, `max(local, received) + 1` for a receive. This protocol adds the
//! events that are its own: drawing a number, and giving up a call. `value.process` orders all
//! events totally, as in the paper: by value, and between equal values by process.
//!
//! **The workload.** A node waits a random time, calls a random other node, waits for the answer or
//! for `timeout_ms`, and begins again; one call at a time. A client with a clock of its own can
//! call too: its value comes in the request, the node's goes back in the reply.
//!
//! **Failure assumptions.** Messages are lost, duplicated, delayed and reordered, and nodes stop
//! and come back. A call that is lost either way is given up and never repeated; a call that comes
//! twice is served twice; an answer that nobody waits for is dropped and counted (`dropped_stale`).
//! A node that comes back counts its calls from 1: that an answer to its former self does not pass
//! for one to a new call rests on links that replay nothing, as the transport's do.
//!
//! **Guarantees.** If an event can have caused another, its value is smaller. With a `data_dir` a
//! node's clock never goes back across a restart. Nothing is promised of the numbers, or that a
//! call is answered.
//!
//! **Departures from the document.** No thread and no lock: a node serves others while its own call
//! is under way. Its clock lives in the transport, and not in wrappers around each call. A call
//! that finds nobody is a step like any other: nodes that are down are called too, as there, but
//! the caller goes on after `timeout_ms`, where a refused connection ends the document's client.
//! Numbers are 0 to 99.

mod message;
mod mutants;
mod shown;

pub use self::message::{Message, NUMBERS, Reply, Request, Status};
#[cfg(feature = "mutants")]
pub use self::mutants::Mutant;

#[cfg(not(feature = "mutants"))]
use self::mutants::Mutant;
use crate::core::{
    Caller, ConfigError, Context, Counter, Env, LamportTime, Never, NodeId, Protocol,
};
use ::core::fmt;
use ::core::time::Duration;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The table `[protocols.lamport]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The shortest and the longest time before a call, in milliseconds. `[0, 0]` calls as soon as
    /// the answer has come.
    #[serde(default = "default_interval_ms")]
    pub interval_ms: [u64; 2],
    /// How long a call waits for its answer, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// How many calls to make in all; 0 is no end.
    #[serde(default)]
    pub calls: u64,
    /// The bug to plant.
    #[cfg(feature = "mutants")]
    #[serde(default)]
    pub mutant: Option<Mutant>,
}

fn default_interval_ms() -> [u64; 2] {
    [500, 3_000]
}
fn default_timeout_ms() -> u64 {
    2_000
}

/// An hour: whoever waits longer for a call wants none.
const MAX_WAIT_MS: u64 = 3_600_000;

impl Config {
    fn check(&self) -> Result<(), ConfigError> {
        let rule = |key, rule: String| Err(ConfigError { key, rule });
        let [min, max] = self.interval_ms;
        if min > max {
            let text = format!("it is [MIN, MAX], the shorter time first: [{max}, {min}]");
            return rule("interval_ms", text);
        }
        if max > MAX_WAIT_MS {
            let text = format!("both must be 0 to {MAX_WAIT_MS} milliseconds (an hour)");
            return rule("interval_ms", text);
        }
        if !(1..=MAX_WAIT_MS).contains(&self.timeout_ms) {
            let text = format!("it must be 1 to {MAX_WAIT_MS} milliseconds (an hour)");
            return rule("timeout_ms", text);
        }
        Ok(())
    }
}

/// The protocol's timers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// The next call is due.
    Call,
    /// The call under way has waited long enough.
    GiveUp,
}

/// One node's part in the workload.
pub struct Lamport {
    config: Config,
    peers: Vec<NodeId>,
    /// Who is to answer the last call; none when it has ended.
    callee: Option<NodeId>,
    calls: u64,
    answered: u64,
    timed_out: u64,
    served: u64,
}

/// An event as Lamport's total order names it.
struct Stamp(LamportTime, NodeId);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}.{}]", self.0.0, self.1)
    }
}

type Cx<'a> = Context<'a, Lamport>;

impl Protocol for Lamport {
    const NAME: &'static str = "lamport";
    type Config = Config;
    type Message<'a> = Message;
    type Record<'a> = Never;
    type Timer = Timer;
    type Request<'a> = Request;
    type Reply<'a> = Reply;

    fn new(config: Config, env: &Env) -> Result<Self, ConfigError> {
        config.check()?;
        let peers = env.peers.clone();
        let (calls, answered, timed_out, served) = (0, 0, 0, 0);
        Ok(Lamport { config, peers, callee: None, calls, answered, timed_out, served })
    }

    fn on_start(&mut self, cx: &mut Cx<'_>) {
        if self.peers.is_empty() {
            log::info!(target: Self::NAME, "there are no peers to call; it only serves");
            return;
        }
        self.wait(cx);
    }

    fn on_message(&mut self, from: NodeId, message: Message, cx: &mut Cx<'_>) {
        match message {
            Message::Call { call } => {
                let received = stamp(cx);
                cx.print(format_args!("{received} got call {call} from node {from}"));
                let number = self.serve(cx);
                cx.send(from, &Message::Answer { call, number });
                let sent = stamp(cx);
                cx.print(format_args!("{sent} sent {number} to node {from}"));
            }
            Message::Answer { call, number } => self.answer(from, call, number, cx),
        }
    }

    fn on_timer(&mut self, timer: Timer, cx: &mut Cx<'_>) {
        match timer {
            Timer::Call => self.call(cx),
            Timer::GiveUp => self.give_up(cx),
        }
    }

    fn on_request(&mut self, caller: Caller, request: Request, cx: &mut Cx<'_>) {
        let reply = match request {
            Request::Number { clock } => self.number(caller, clock, cx),
            Request::Status {} => Reply::Status(Status {
                process: cx.me(),
                clock: cx.lamport(),
                calls: self.calls,
                answered: self.answered,
                timed_out: self.timed_out,
                served: self.served,
            }),
        };
        cx.reply(caller.request, &reply);
    }

    /// Calls made, and calls answered in the lower half: legible in a trace.
    fn digest(&self) -> u64 {
        (self.calls << 32) | (self.answered & 0xffff_ffff)
    }

    fn view(&self) -> impl Serialize {
        self.seen()
    }

    fn brief(message: &Message, out: &mut dyn fmt::Write) -> fmt::Result {
        shown::message(message, out)
    }

    fn brief_request(request: &Request, out: &mut dyn fmt::Write) -> fmt::Result {
        shown::request(request, out)
    }

    fn brief_reply(reply: &Reply, out: &mut dyn fmt::Write) -> fmt::Result {
        shown::reply(reply, out)
    }

    fn check_invariants(&self) {
        let ended = self.answered + self.timed_out;
        let under_way = u64::from(self.callee.is_some());
        let (ends, calls) = (ended + under_way, self.calls);
        assert_eq!(ends, calls, "each call ends once, or is under way: {ends} for {calls} calls");
    }
}

impl Lamport {
    /// Has the next call made after a random time, unless it was the last one.
    fn wait(&mut self, cx: &mut Cx<'_>) {
        if self.is_done() {
            return;
        }
        let [min, max] = self.config.interval_ms;
        let wait_ms = min + cx.rng().below(max - min + 1);
        cx.set_timer(Timer::Call, Duration::from_millis(wait_ms));
    }

    fn is_done(&self) -> bool {
        self.config.calls != 0 && self.calls >= self.config.calls
    }

    fn call(&mut self, cx: &mut Cx<'_>) {
        let callee = self.peers[cx.rng().below(self.peers.len() as u64) as usize];
        self.calls += 1;
        self.callee = Some(callee);
        cx.send(callee, &Message::Call { call: self.calls });
        cx.set_timer(Timer::GiveUp, Duration::from_millis(self.config.timeout_ms));
        let (sent, call) = (stamp(cx), self.calls);
        cx.print(format_args!("{sent} sent call {call} to node {callee}"));
    }

    fn answer(&mut self, from: NodeId, call: u64, number: u8, cx: &mut Cx<'_>) {
        let received = stamp(cx);
        let is_awaited = self.callee == Some(from) && call == self.calls;
        let is_taken = is_awaited || self.config.planted().has(Mutant::AnyAnswerTaken);
        if !is_taken || number >= NUMBERS {
            cx.count(Counter::Stale);
            cx.print(format_args!("{received} ignored an answer of node {from} to call {call}"));
            return;
        }
        self.answered += 1;
        cx.print(format_args!("{received} got {number} from node {from}, for call {call}"));
        self.end(cx);
    }

    fn give_up(&mut self, cx: &mut Cx<'_>) {
        let Some(callee) = self.callee else { return };
        self.timed_out += u64::from(!self.config.planted().has(Mutant::GivenUpUncounted));
        let event = cx.local_event();
        let (event, call, after_ms) = (Stamp(event, cx.me()), self.calls, self.config.timeout_ms);
        log::debug!(target: Self::NAME, "no answer of node {callee} to call {call}");
        cx.print(format_args!("{event} gave up call {call} to node {callee} after {after_ms} ms"));
        self.end(cx);
    }

    /// The call under way has ended.
    fn end(&mut self, cx: &mut Cx<'_>) {
        self.callee = None;
        cx.cancel_timer(Timer::GiveUp);
        // A timer of 0 ms would do the same, one look at the timers later.
        if self.config.interval_ms == [0, 0] && !self.is_done() {
            self.call(cx);
        } else {
            self.wait(cx);
        }
    }

    fn number(&mut self, caller: Caller, clock: LamportTime, cx: &mut Cx<'_>) -> Reply {
        let received = match cx.receive_event(clock) {
            Ok(value) => Stamp(value, cx.me()),
            Err(jump) => return Reply::Refused { reason: jump.to_string() },
        };
        cx.print(format_args!("{received} got a call from client {}", caller.addr));
        let number = self.serve(cx);
        let clock = cx.local_event();
        let sent = Stamp(clock, cx.me());
        cx.print(format_args!("{sent} sent {number} to client {}", caller.addr));
        Reply::Number { number, clock }
    }

    /// The handler, an event of its own.
    fn serve(&mut self, cx: &mut Cx<'_>) -> u8 {
        let number = cx.rng().below(u64::from(NUMBERS)) as u8;
        self.served += 1;
        let event = Stamp(cx.local_event(), cx.me());
        cx.print(format_args!("{event} drew {number}"));
        number
    }
}

/// The clock as it stands: the value of the event that has just been counted.
fn stamp(cx: &Cx<'_>) -> Stamp {
    Stamp(cx.lamport(), cx.me())
}
