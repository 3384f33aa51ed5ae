//! Keeping the clocks of a group of servers together by the Berkeley algorithm.
//!
//! ```text
//!  coordinator                                  each server
//!     │ ── Ask (reign, round) ──────────────────► │ notes what its correction is
//!     │ ◄────────────────────── Time (its clock) ─│
//!     │   the answer is half a round trip old: that gives the offset of each clock
//!     │   the average of the clocks that agree; how far each is from it
//!     │ ── Adjust (a difference) ───────────────► │ slews to it from where it was when asked
//! ```
//!
//! **Source.** R. Gusella and S. Zatti, "The Accuracy of the Clock Synchronization Achieved by TEMPO in
//! Berkeley UNIX 4.3BSD", IEEE Transactions on Software Engineering 15(7), 1989; half the round trip as
//! in F. Cristian, "Probabilistic Clock Synchronization", Distributed Computing 3, 1989. Document 002
//! prescribes it, and a round for every 10 messages processed.
//!
//! **Average.** Of the largest group of clocks that lie within `gamma_ms` of each other, the
//! coordinator's own among equals: a clock outside it moves nobody, but is itself corrected. A difference
//! is sent, not a time, so that its way does not matter.
//!
//! **Guarantees.** A server's corrected clock never runs backwards: it slews at `slew_ppm` at most. After
//! a round over a network whose largest round trip is `r`, two clocks that owe nothing differ by `r` at
//! most, and until the next round by twice what the worse of them drifts. No algorithm does better than
//! u(1 − 1/n) for n clocks and delays that vary by u (J. Lundelius and N. Lynch, "An Upper and Lower Bound
//! for Clock Synchronization", Information and Control 62, 1984).
//!
//! **Assumes** one coordinator at a time, from the fact `Coordinator`. Rounds carry its reign, and a server
//! follows nobody but the coordinator of that fact, in that reign: what an earlier one still says is ignored,
//! and so is one that names itself. An answer that comes too late for its round is ignored too; who
//! did not answer is asked again in the next. Servers are trusted to tell what their clocks show, not to
//! have good ones.

mod message;
mod mutants;
mod shown;

pub use self::message::{Message, Reply, Request};
#[cfg(feature = "mutants")]
pub use self::mutants::Mutant;

#[cfg(not(feature = "mutants"))]
use self::mutants::Mutant;

use crate::core::{
    Caller, ClockOffset, ConfigError, Context, Correction, Counter, Env, Epoch, Fact, FactKind,
    LamportTime, MAX_SLEW_PPM, Never, NodeId, Protocol, Time, WallTime,
};
use crate::facts::{Coordinator, Processed};
use ::core::fmt;
use ::core::time::Duration;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The table `[protocols.berkeley]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The ids of the servers whose clocks are kept together, this node's and another's at least. Empty
    /// for all nodes.
    pub servers: Vec<u32>,
    /// How often the coordinator holds a round, in milliseconds; 0 for never.
    pub interval_ms: u64,
    /// After how many processed messages at a server a round is held; 0 for never.
    pub every_messages: u64,
    /// How long the coordinator waits for answers, in milliseconds.
    pub timeout_ms: u64,
    /// γ: clocks that differ by more than this are not averaged with each other, in milliseconds.
    pub gamma_ms: u64,
    /// How fast a clock is corrected, in parts per million.
    pub slew_ppm: u32,
    /// The bug to plant.
    #[cfg(feature = "mutants")]
    pub mutant: Option<Mutant>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            servers: Vec::new(),
            interval_ms: 1_000,
            every_messages: 10,
            timeout_ms: 500,
            gamma_ms: 100,
            slew_ppm: 100_000,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }
}

/// An hour: longer waits are a typing error.
const MAX_WAIT_MS: u64 = 3_600_000;

/// One server's part in keeping the clocks together.
pub struct Berkeley {
    me: NodeId,
    config: Config,
    /// The other servers, in ascending order, and whether there is a link to them.
    peers: Vec<(NodeId, bool)>,
    coordinator: Option<Reign>,
    correction: Correction,
    /// The last question of a coordinator.
    asked: Option<Asked>,
    /// The round under way, at the coordinator.
    round: Option<Round>,
    rounds: u64,
    adjustments: u64,
    /// Messages processed here since this server last had a round held.
    processed: u64,
}

/// A coordinator's time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Reign {
    epoch: Epoch,
    id: NodeId,
}

/// A question: of one reign, those of a later round are later.
struct Asked {
    reign: Reign,
    round: u64,
    /// What the correction was then.
    correction: i64,
}

struct Round {
    number: u64,
    asked_at: Time,
    /// What the coordinator's clock showed then, and the correction in it: offsets are from there on, by
    /// the monotonic clock, so that neither slewing nor a step of its wall clock meanwhile blurs them.
    clock: WallTime,
    correction: i64,
    /// How many were asked.
    asked: usize,
    answers: Vec<Answer>,
}

/// How far a server's clock is ahead of the coordinator's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Answer {
    id: NodeId,
    offset: i64,
}

/// What a server waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// The next round.
    Round,
    /// The end of the round under way, whoever has answered.
    Close,
}

impl Protocol for Berkeley {
    const NAME: &'static str = "berkeley";
    const PUBLISHES: &'static [FactKind] = &[FactKind::of::<ClockOffset>()];
    type Config = Config;
    type Message<'a> = Message;
    type Record<'a> = Never;
    type Timer = Timer;
    type Request<'a> = Request;
    type Reply<'a> = Reply;

    fn new(config: Config, env: &Env) -> Result<Berkeley, ConfigError> {
        let wrong = |key, rule: &str| Err(ConfigError { key, rule: String::from(rule) });
        if config.interval_ms > MAX_WAIT_MS {
            return wrong("interval_ms", "it must be at most 3600000 (an hour), 0 for never");
        }
        if !(1..=MAX_WAIT_MS).contains(&config.timeout_ms) {
            return wrong("timeout_ms", "it must be 1 to 3600000 (an hour)");
        }
        if !(1..=MAX_WAIT_MS).contains(&config.gamma_ms) {
            return wrong("gamma_ms", "it must be 1 to 3600000 (an hour)");
        }
        if !(1..=MAX_SLEW_PPM).contains(&config.slew_ppm) {
            return wrong("slew_ppm", "it must be 1 to 900000: a clock never stands still");
        }
        let is_node = |id: &u32| *id == env.id.0 || env.peers.contains(&NodeId(*id));
        if !config.servers.iter().all(is_node) {
            return wrong("servers", "each must be an id of [peers], or this node's");
        }
        if !config.servers.is_empty() && !config.servers.contains(&env.id.0) {
            return wrong("servers", "this node runs berkeley, so its own id must be among them");
        }
        let mut servers = config.servers.clone();
        servers.sort_unstable();
        servers.dedup();
        if servers.len() < config.servers.len() {
            return wrong("servers", "each id stands there once");
        }
        if servers.len() == 1 {
            return wrong("servers", "a clock is kept with others': name two servers or more");
        }
        let takes_part = |id: &&NodeId| config.servers.is_empty() || config.servers.contains(&id.0);
        Ok(Berkeley {
            me: env.id,
            peers: env.peers.iter().filter(takes_part).map(|id| (*id, false)).collect(),
            config,
            coordinator: None,
            correction: Correction::default(),
            asked: None,
            round: None,
            rounds: 0,
            adjustments: 0,
            processed: 0,
        })
    }

    fn needs(&self) -> &'static [FactKind] {
        const { &[FactKind::of::<Coordinator>()] }
    }

    fn on_message(&mut self, from: NodeId, message: Message, cx: &mut Context<'_, Self>) {
        if self.peers.binary_search_by_key(&from, |peer| peer.0).is_err() {
            return cx.count(Counter::Stale);
        }
        match message {
            Message::Ask { epoch, round } => self.on_ask(Reign { epoch, id: from }, round, cx),
            Message::Time { epoch, round, clock } => self.on_time(from, epoch, round, clock, cx),
            Message::Adjust { epoch, round, nanos } => {
                self.on_adjust(Reign { epoch, id: from }, round, nanos, cx);
            }
            Message::Due if self.coordinates() => self.start_round(cx),
            Message::Due => cx.count(Counter::Stale),
        }
    }

    fn on_timer(&mut self, timer: Timer, cx: &mut Context<'_, Self>) {
        match timer {
            Timer::Round => self.start_round(cx),
            Timer::Close => self.close_round(cx),
        }
    }

    fn on_request(&mut self, caller: Caller, request: Request, cx: &mut Context<'_, Self>) {
        match request {
            Request::Status {} => {
                let wall = cx.wall_clock();
                let status = Reply::Status {
                    node: self.me,
                    clock: self.correction.read(wall),
                    correction: self.correction.nanos(wall),
                    owed: self.correction.owed(wall),
                    coordinator: self.coordinator.map(|reign| reign.id),
                    rounds: self.rounds,
                    adjustments: self.adjustments,
                };
                cx.reply(caller.request, &status);
            }
        }
    }

    fn on_link(&mut self, id: NodeId, up: bool, _: &mut Context<'_, Self>) {
        if let Ok(place) = self.peers.binary_search_by_key(&id, |peer| peer.0) {
            self.peers[place].1 = up;
        }
    }

    fn on_fact(&mut self, fact: &Fact, cx: &mut Context<'_, Self>) {
        if let Some(Coordinator { id, epoch }) = fact.read() {
            self.coordinator = Some(Reign { epoch, id });
            self.round = None;
            cx.cancel_timer(Timer::Close);
            cx.cancel_timer(Timer::Round);
            if self.coordinates() {
                self.start_round(cx);
            }
        } else if let Some(Processed) = fact.read() {
            self.on_processed(cx);
        }
    }

    fn digest(&self) -> u64 {
        self.rounds ^ self.adjustments << 32
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
}

impl Berkeley {
    fn coordinates(&self) -> bool {
        self.coordinator.is_some_and(|reign| reign.id == self.me)
    }

    /// The board processed a message.
    fn on_processed(&mut self, cx: &mut Context<'_, Self>) {
        self.processed += 1;
        if self.config.every_messages == 0 || self.processed < self.config.every_messages {
            return;
        }
        self.processed = 0;
        match self.coordinator {
            Some(Reign { id, .. }) if id == self.me => self.start_round(cx),
            Some(Reign { id, .. }) => cx.send(id, &Message::Due),
            None => {}
        }
    }

    /// Asks all servers for their time, unless that is under way.
    fn start_round(&mut self, cx: &mut Context<'_, Self>) {
        let Some(Reign { epoch, .. }) = self.coordinator else { return };
        if self.config.interval_ms > 0 {
            cx.set_timer(Timer::Round, Duration::from_millis(self.config.interval_ms));
        }
        let is_over = self.rounds >= 2 && self.config.planted().has(Mutant::RoundsEnd);
        if self.round.is_some() || is_over {
            return;
        }
        let asked = self.peers.iter().filter(|peer| peer.1).count();
        if asked == 0 {
            return;
        }
        self.rounds += 1;
        let number = self.rounds;
        let to = self.peers.iter().filter(|peer| peer.1).map(|peer| peer.0);
        cx.multicast(to, &Message::Ask { epoch, round: number });
        let wall = cx.wall_clock();
        self.round = Some(Round {
            number,
            asked_at: cx.now(),
            clock: self.correction.read(wall),
            correction: self.correction.nanos(wall),
            asked,
            answers: Vec::with_capacity(asked),
        });
        cx.set_timer(Timer::Close, Duration::from_millis(self.config.timeout_ms));
    }

    /// A coordinator asks what time it is here.
    fn on_ask(&mut self, reign: Reign, round: u64, cx: &mut Context<'_, Self>) {
        let is_known = |asked: &Asked| asked.reign == reign && asked.round >= round;
        if self.coordinator != Some(reign) || self.asked.as_ref().is_some_and(is_known) {
            return cx.count(Counter::Stale);
        }
        let wall = cx.wall_clock();
        let correction = self.correction.nanos(wall);
        self.asked = Some(Asked { reign, round, correction });
        let clock = wall.plus(correction);
        cx.send(reign.id, &Message::Time { epoch: reign.epoch, round, clock });
    }

    fn on_time(
        &mut self,
        from: NodeId,
        epoch: Epoch,
        number: u64,
        clock: WallTime,
        cx: &mut Context<'_, Self>,
    ) {
        let is_ours = self.coordinator == Some(Reign { epoch, id: self.me });
        let round = self.round.as_mut().filter(|round| is_ours && round.number == number);
        let Some(round) = round.filter(|round| round.answers.iter().all(|one| one.id != from))
        else {
            // Too late, or twice.
            return cx.count(Counter::Stale);
        };
        let round_trip = i64::try_from((cx.now() - round.asked_at).as_nanos()).unwrap_or(i64::MAX);
        // When the server answered, half a round trip ago and half of one after the question.
        let offset = clock.since(round.clock.plus(round_trip / 2));
        round.answers.push(Answer { id: from, offset });
        if round.answers.len() == round.asked {
            self.close_round(cx);
        }
    }

    /// Averages what has come, and tells everybody how far to move.
    fn close_round(&mut self, cx: &mut Context<'_, Self>) {
        cx.cancel_timer(Timer::Close);
        let (Some(round), Some(Reign { epoch, .. })) = (self.round.take(), self.coordinator) else {
            return;
        };
        if round.answers.is_empty() {
            return;
        }
        let mut offsets: Vec<i64> = round.answers.iter().map(|answer| answer.offset).collect();
        offsets.push(0);
        offsets.sort_unstable();
        // At most an hour.
        let gamma = (self.config.gamma_ms * 1_000_000) as i64;
        let everybody = self.config.planted().has(Mutant::OutlierAveraged);
        let agreeing = if everybody { &offsets[..] } else { agreeing(&offsets, gamma) };
        let sum: i128 = agreeing.iter().map(|offset| i128::from(*offset)).sum();
        // The average of some numbers of a type fits into it.
        let average = (sum / agreeing.len() as i128) as i64;
        let is_left_out = self.config.planted().has(Mutant::OneNotAdjusted);
        let lowest = round.answers.iter().map(|answer| answer.id).min();
        for answer in &round.answers {
            if is_left_out && Some(answer.id) == lowest {
                continue;
            }
            let half = self.config.planted().has(Mutant::HalfAdjusted);
            let nanos = average.saturating_sub(answer.offset) / if half { 2 } else { 1 };
            cx.send(answer.id, &Message::Adjust { epoch, round: round.number, nanos });
        }
        let (clock, me, number) = (cx.lamport().0, self.me, round.number);
        let lines = Times { me, answers: &round.answers };
        let gamma_ms = self.config.gamma_ms;
        cx.print(format_args!(
            "[{clock}.{me}] round {number}: offsets {lines}; average {} of {}{}; adjusts {}",
            Ms(average),
            agreeing.len(),
            LeftOut { agreeing, gamma_ms, times: lines },
            Adjustments { average, times: lines }
        ));
        self.adjust(round.correction, average, cx);
    }

    fn on_adjust(&mut self, reign: Reign, round: u64, nanos: i64, cx: &mut Context<'_, Self>) {
        let asked = self.asked.as_ref().filter(|_| self.coordinator == Some(reign));
        let asked = asked.filter(|asked| (asked.reign, asked.round) == (reign, round));
        let Some(asked) = asked else {
            // For a question that another has followed. One that comes twice says the same.
            return cx.count(Counter::Stale);
        };
        let was = asked.correction;
        let (LamportTime(clock), me) = (cx.lamport(), self.me);
        cx.print(format_args!("[{clock}.{me}] adjusts its clock by {}", Ms(nanos)));
        self.adjust(was, nanos, cx);
    }

    /// Slews to `nanos` from what the correction was.
    fn adjust(&mut self, was: i64, nanos: i64, cx: &mut Context<'_, Self>) {
        self.adjustments += 1;
        let to = was.saturating_add(nanos);
        self.correction = self.correction.slew(cx.wall_clock(), to, self.config.slew_ppm);
        cx.publish(ClockOffset { correction: self.correction });
    }
}

/// Of sorted offsets, the largest group within `gamma`; among equals one with the coordinator's, which
/// is 0, in it, or else the lowest.
fn agreeing(offsets: &[i64], gamma: i64) -> &[i64] {
    let mut best = &offsets[..0];
    let mut start = 0;
    for end in 0..offsets.len() {
        while offsets[end].saturating_sub(offsets[start]) > gamma {
            start += 1;
        }
        let group = &offsets[start..=end];
        let has_ours = |group: &[i64]| group.binary_search(&0).is_ok();
        let is_better = (group.len(), has_ours(group)) > (best.len(), has_ours(best));
        if is_better {
            best = group;
        }
    }
    best
}

/// Nanoseconds as milliseconds with a sign.
struct Ms(i64);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        let micros = self.0.unsigned_abs() / 1_000;
        write!(f, "{sign}{}.{:03} ms", micros / 1_000, micros % 1_000)
    }
}

/// Whose clock is how far ahead of the coordinator's.
#[derive(Clone, Copy)]
struct Times<'a> {
    me: NodeId,
    answers: &'a [Answer],
}

impl fmt::Display for Times<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.me, Ms(0))?;
        self.answers.iter().try_for_each(|one| write!(f, ", {}: {}", one.id, Ms(one.offset)))
    }
}

/// Whose clocks are not averaged, and why; nothing if all are.
struct LeftOut<'a> {
    /// Sorted, and all there are between the first and the last.
    agreeing: &'a [i64],
    gamma_ms: u64,
    times: Times<'a>,
}

impl fmt::Display for LeftOut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = Answer { id: self.times.me, offset: 0 };
        let all = [own].into_iter().chain(self.times.answers.iter().copied());
        let out = all.filter(|one| self.agreeing.binary_search(&one.offset).is_err());
        for (place, Answer { id, .. }) in out.clone().enumerate() {
            match place {
                0 => write!(f, " (gamma {} ms leaves out {id}", self.gamma_ms)?,
                _ => write!(f, ", {id}")?,
            }
        }
        if out.count() > 0 { f.write_str(")") } else { Ok(()) }
    }
}

/// Who has to move how far.
struct Adjustments<'a> {
    average: i64,
    times: Times<'a>,
}

impl fmt::Display for Adjustments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.times.me, Ms(self.average))?;
        self.times.answers.iter().try_for_each(|one| {
            write!(f, ", {}: {}", one.id, Ms(self.average.saturating_sub(one.offset)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn the_largest_group_that_agrees_is_averaged() {
        assert_eq!(agreeing(&[0], 10), [0]);
        assert_eq!(agreeing(&[-5, 0, 3, 3_600_000], 10), [-5, 0, 3]);
        // Those who agree outvote the coordinator.
        assert_eq!(agreeing(&[0, 100, 103], 10), [100, 103]);
        // Nobody agrees with anybody: the coordinator's own.
        assert_eq!(agreeing(&[-2_000, 0, 2_000], 10), [0]);
        assert_eq!(agreeing(&[-15, -5, 0, 5, 12], 10), [-5, 0, 5]);
        assert_eq!(agreeing(&[i64::MIN, 0, i64::MAX], 10), [0]);
    }

    #[test]
    fn who_is_left_out_is_named() {
        let answers = [(2, 100), (5, -300), (7, 400)];
        let answers = answers.map(|(id, offset)| Answer { id: NodeId(id), offset });
        let times = Times { me: NodeId(3), answers: &answers };
        let shown = |agreeing: &[i64]| format!("{}", LeftOut { agreeing, gamma_ms: 50, times });
        assert_eq!(shown(&[-300, 0, 100, 400]), "");
        assert_eq!(shown(&[0, 100, 400]), " (gamma 50 ms leaves out 5)");
        assert_eq!(shown(&[400]), " (gamma 50 ms leaves out 3, 2, 5)");
    }

    #[test]
    fn times_are_shown_in_milliseconds_with_a_sign() {
        assert_eq!(format!("{}", Ms(1_234_567)), "+1.234 ms");
        assert_eq!(format!("{}", Ms(-45_600)), "-0.045 ms");
        assert_eq!(format!("{}", Ms(i64::MIN)), "-9223372036854.775 ms");
    }
}
