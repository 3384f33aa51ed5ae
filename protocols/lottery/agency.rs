//! An agency: sends its file chunk by chunk, says that it was all, and asks for its winners until there
//! are any. One ask at a time; one without an answer is repeated.

use super::line::{Line, Value};
use super::rows::{BadRow, Chunk, Rows};
use super::shown::{SeenStep, View};
use super::{Config, Lottery, Message, Reply, Request};
use crate::core::{ConfigError, Context, Counter, Env, Escaped, Exit, Input, NodeId, RequestId};
use ::core::time::Duration;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The timer of an agency: it is time to ask, for the first time or again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ask;

pub(super) struct Agency {
    id: u32,
    central: NodeId,
    /// The file, as the config has it.
    path: String,
    bets_per_chunk: u32,
    period: Duration,
    resend_after: Duration,
    file: Arc<[u8]>,
    /// How much of it has gone into chunks.
    taken: usize,
    rows: Rows,
    step: Step,
    /// The number of the ask under way.
    number: u64,
}

/// What is asked, or to be asked.
enum Step {
    Bets(Chunk),
    Finished,
    Results,
    /// All is done, or cannot be.
    Over,
}

type Cx<'a> = Context<'a, Lottery>;

/// As for `node agency`.
const MAX_BETS_PER_CHUNK: u32 = 10_000;
/// An hour: whoever waits longer wants no answer.
const MAX_WAIT_MS: u64 = 3_600_000;

impl Agency {
    pub(super) fn new(config: Config, env: &Env) -> Result<Agency, ConfigError> {
        let wrong = |key, rule: String| Err(ConfigError { key, rule });
        if config.agency == 0 {
            return wrong("agency", String::from("say which agency this is: 1, 2, …"));
        }
        let Some(central) = config.central.filter(|central| env.peers.contains(central)) else {
            return wrong("central", String::from("it must be the central's id, a key of [peers]"));
        };
        let Some(path) = config.bets else {
            return wrong("bets", String::from("name the CSV file with this agency's bets"));
        };
        if !(1..=MAX_BETS_PER_CHUNK).contains(&config.bets_per_chunk) {
            return wrong("bets_per_chunk", format!("it must be 1 to {MAX_BETS_PER_CHUNK}"));
        }
        let waits = [("period_ms", config.period_ms), ("resend_after_ms", config.resend_after_ms)];
        for (key, ms) in waits {
            if !(1..=MAX_WAIT_MS).contains(&ms) {
                let rule = format!("it must be 1 to {MAX_WAIT_MS} milliseconds (an hour)");
                return wrong(key, rule);
            }
        }
        Ok(Agency {
            id: config.agency,
            central,
            path,
            bets_per_chunk: config.bets_per_chunk,
            period: Duration::from_millis(config.period_ms),
            resend_after: Duration::from_millis(config.resend_after_ms),
            file: Arc::from(Vec::new()),
            taken: 0,
            rows: Rows::new(config.agency, config.bets_per_chunk as usize),
            step: Step::Finished,
            number: 0,
        })
    }

    pub(super) fn seen(&self) -> View {
        let (step, in_chunk) = match &self.step {
            Step::Bets(chunk) => (SeenStep::Bets, chunk.bets.len()),
            Step::Finished => (SeenStep::Finished, 0),
            Step::Results => (SeenStep::Results, 0),
            Step::Over => (SeenStep::Over, 0),
        };
        View::Agency {
            agency: self.id,
            step,
            ask: self.number,
            in_chunk,
            read_bytes: self.taken,
            file_bytes: self.file.len(),
        }
    }

    pub(super) fn input(&self) -> Input<'_> {
        Input { key: "bets", path: &self.path }
    }

    pub(super) fn on_input(&mut self, content: Arc<[u8]>) {
        self.file = content;
    }

    pub(super) fn on_start(&mut self, cx: &mut Cx<'_>) {
        // Addresses are the driver's.
        let server = format!("node {}", self.central);
        let period = format!("{}ms", self.period.as_millis());
        let fields = [
            ("server_address", Value::Text(&server)),
            ("loop_period", Value::Text(&period)),
            ("bets_per_chunk", Value::Number(self.bets_per_chunk.into())),
        ];
        self.say(cx, "config", "success", &fields);
        self.next_chunk(cx);
    }

    pub(super) fn on_link(&mut self, peer: NodeId, up: bool, cx: &mut Cx<'_>) {
        match up {
            _ if peer != self.central => {}
            true => self.ask(cx),
            false => cx.cancel_timer(Ask),
        }
    }

    pub(super) fn on_timer(&mut self, Ask: Ask, cx: &mut Cx<'_>) {
        self.ask(cx);
    }

    pub(super) fn on_request(&self, to: RequestId, cx: &mut Cx<'_>) {
        cx.reply(to, &NO_CENTRAL);
    }

    pub(super) fn on_stop(&mut self, cx: &mut Cx<'_>) {
        if let Step::Over = self.step {
            return;
        }
        self.step = Step::Over;
        for action in ["socket_closing", "signal_receiver_channel_shutdown", "loop_finished"] {
            self.say(cx, action, "success", &[]);
        }
    }

    pub(super) fn on_message(&mut self, from: NodeId, message: Message<'_>, cx: &mut Cx<'_>) {
        let (number, reply) = match message {
            Message::Answer { number, reply } => (number, reply),
            Message::Ask { number, .. } => {
                return cx.send(from, &Message::Answer { number, reply: NO_CENTRAL });
            }
        };
        if from != self.central || number != self.number {
            return cx.count(Counter::Stale);
        }
        match (&self.step, reply) {
            (Step::Over, _) => cx.count(Counter::Stale),
            (Step::Bets(chunk), Reply::Stored { bets }) if bets == chunk.bets.len() as u64 => {
                let chunk = ("chunk_id", Value::Number(self.number));
                self.say(cx, "chunk_ack_received", "success", &[chunk]);
                self.next_chunk(cx);
                self.ask(cx);
            }
            (Step::Finished, Reply::Finished {}) => {
                self.say(cx, "notify_ack_received", "success", &[]);
                self.say(cx, "notify_phase_completed", "success", &[]);
                self.say(cx, "results_phase_started", "in_progress", &[]);
                self.step = Step::Results;
                self.number += 1;
                self.ask(cx);
            }
            (Step::Results, Reply::NotDrawn {}) => cx.set_timer(Ask, self.period),
            (Step::Results, Reply::Winners { documents }) => {
                let fields = [
                    ("cant_ganadores", Value::Number(documents.len() as u64)),
                    ("dni_ganadores", Value::Documents(&documents)),
                ];
                self.say(cx, "consulta_ganadores", "success", &fields);
                self.say(cx, "loop_finished", "success", &[]);
                self.end(Exit::Success, cx);
            }
            (_, Reply::Later { reason }) => {
                let reason = Escaped(reason.as_bytes());
                log::warn!(target: "lottery", "the central puts it off: {reason}");
                cx.set_timer(Ask, self.period);
            }
            (_, Reply::Refused { reason }) => {
                let reason = Escaped(reason.as_bytes()).to_string();
                self.fail(&reason, cx);
            }
            (_, _) => self.fail("the answer is to something else", cx),
        }
    }

    pub(super) fn digest(&self) -> u64 {
        let step = match self.step {
            Step::Bets(_) => 0,
            Step::Finished => 1,
            Step::Results => 2,
            Step::Over => 3,
        };
        self.number << 2 | step
    }

    /// Takes the next chunk from the file, and goes on to the next step when there is none.
    fn next_chunk(&mut self, cx: &mut Cx<'_>) {
        let mut rest = &self.file[self.taken..];
        let mut next = self.rows.next(&mut rest);
        if let Ok(None) = next {
            next = self.rows.next(&mut &b""[..]);
        }
        self.taken = self.file.len() - rest.len();
        self.number += 1;
        match next {
            Ok(Some(chunk)) => self.step = Step::Bets(chunk),
            Ok(None) => self.step = Step::Finished,
            Err(BadRow { line, fault }) => {
                let path = Escaped(self.path.as_bytes());
                let error = format!("{path}:{line}: {fault}");
                self.error(cx, "read_bets", &[("error", Value::Text(&error))]);
                self.end(Exit::Failure, cx);
            }
        }
    }

    /// Asks, and sees to it that it asks again.
    fn ask(&self, cx: &mut Cx<'_>) {
        let request = match &self.step {
            Step::Bets(chunk) => Request::Bets { batch: self.number, bets: chunk.bets.clone() },
            Step::Finished => Request::Finished { agency: self.id },
            Step::Results => Request::Results { agency: self.id },
            Step::Over => return,
        };
        cx.send(self.central, &Message::Ask { number: self.number, request });
        cx.set_timer(Ask, self.resend_after);
    }

    /// The central does not do what it was asked.
    fn fail(&mut self, error: &str, cx: &mut Cx<'_>) {
        match &self.step {
            Step::Bets(chunk) => {
                let (path, first, last) =
                    (Escaped(self.path.as_bytes()), chunk.first_line, chunk.last_line);
                let error = format!("{error} ({path}, lines {first} to {last})");
                let fields =
                    [("chunk_id", Value::Number(self.number)), ("error", Value::Text(&error))];
                self.error(cx, "chunk_ack_received", &fields);
            }
            Step::Finished => {
                self.error(cx, "notify_ack_received", &[("error", Value::Text(error))]);
            }
            Step::Results | Step::Over => {
                self.error(cx, "consulta_ganadores", &[("error", Value::Text(error))]);
            }
        }
        self.end(Exit::Failure, cx);
    }

    fn end(&mut self, exit: Exit, cx: &mut Cx<'_>) {
        self.step = Step::Over;
        cx.cancel_timer(Ask);
        cx.stop(exit);
    }

    fn say(&self, cx: &mut Cx<'_>, action: &str, result: &str, more: &[(&str, Value<'_>)]) {
        self.print(cx, ["info", action, result], more);
    }

    fn error(&self, cx: &mut Cx<'_>, action: &str, more: &[(&str, Value<'_>)]) {
        self.print(cx, ["error", action, "fail"], more);
    }

    fn print(
        &self,
        cx: &mut Cx<'_>,
        [level, action, result]: [&str; 3],
        more: &[(&str, Value<'_>)],
    ) {
        let mut fields = alloc::vec![("client_id", Value::Number(self.id.into()))];
        fields.extend_from_slice(more);
        let line = Line { time: cx.wall_clock(), level, action, result, fields: &fields };
        cx.print(format_args!("{line}"));
    }
}

const NO_CENTRAL: Reply<'static> =
    Reply::Refused { reason: Cow::Borrowed("this node is an agency: ask the central") };
