//! A node's process, turn by turn: it is given a line or only time, waits until it is at rest, and
//! says what the node does. Knows no [`Context`](node_core::Context).

use super::body::{Body, Ids};
use super::child::{Child, Rest};
use super::names::{Names, Party};
use super::shim::{Ask, Shim};
use super::stage::{Stage, Tier, Timers};
use node_core::{Caller, Env, Escaped, NodeId, RequestId, Rng, Time, WallTime};
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a program waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// All links are there: `init` goes out.
    Init,
    /// `init` should have been answered by now.
    Overdue,
    /// In real time: what it has written is read.
    Poll,
    /// What it sent to itself arrives.
    Own,
    /// A timer of its own, by its number.
    Shim(u64),
    /// It asked its clock to be told then.
    Sleep(u64),
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Timer::Init => f.write_str("init"),
            Timer::Overdue => f.write_str("init is overdue"),
            Timer::Poll => f.write_str("poll"),
            Timer::Own => f.write_str("a message to itself"),
            Timer::Shim(_) => f.write_str("a timer"),
            Timer::Sleep(_) => f.write_str("a sleep"),
        }
    }
}

pub(super) struct Process {
    id: NodeId,
    rng: Rng,
    stage: Arc<Stage>,
    is_new: bool,
    child: Option<Child>,
    shim: Option<Shim>,
    /// It was given `init`.
    has_begun: bool,
    /// What other nodes sent before that.
    letters: VecDeque<String>,
    is_ready: bool,
    /// What clients asked before it was.
    early: VecDeque<(Caller, Body<'static>)>,
    /// What clients asked, by client and number of the message.
    asked: BTreeMap<(u32, u64), RequestId>,
    last_msg_id: u64,
    own: VecDeque<(Body<'static>, Ids)>,
    /// Whom sleeps wake: what is answered.
    sleeps: BTreeMap<u64, String>,
    /// The timers of its library that are pending.
    timers: BTreeSet<u64>,
    last_sleep: u64,
    complaints: VecDeque<String>,
    /// When its last turn was, and how many there were then.
    instant: (Time, u32),
    turns: u64,
    sent: u64,
    received: u64,
    said: u64,
    seed: u64,
}

/// Links need no time, and nodes start together: after this they hear each other.
const INIT_AFTER: Duration = Duration::from_millis(10);
/// How long `init` may take, in the run's time.
const INIT_WITHIN: Duration = Duration::from_secs(10);
/// In real time, how often what it writes is read.
const POLL_EVERY: Duration = Duration::from_millis(1);
/// How many answers of its clock a process may ask for in one turn.
const MAX_CLOCKS: u32 = 10_000;
/// How many requests wait until a node is ready, and how many timers it has.
const MAX_WAITING: usize = 100_000;
/// How many turns of a program there are at one instant.
const MAX_TURNS_AT_ONCE: u32 = 20_000;
/// The last lines of stderr that a verdict shows.
const MAX_COMPLAINTS: usize = 5;
/// Who sends `init`.
const INIT_CLIENT: &str = "c0";

/// One turn of a node: when it is, and what it does in it.
pub(super) struct Turn {
    /// The node's clock.
    pub now: Time,
    /// The time of day there.
    pub wall: WallTime,
    /// What the node does, in this order.
    pub does: Vec<Does>,
}

/// Something that a node does.
pub(super) enum Does {
    /// It sends a message.
    Send(NodeId, Body<'static>, Ids),
    /// It answers a client.
    Reply(RequestId, Body<'static>),
    /// It sets a timer.
    Set(Timer, Duration),
    /// It takes a timer back.
    Cancel(Timer),
    /// It adds a line to the trace.
    Note(String),
}

impl Process {
    /// One that is not started yet.
    pub fn new(stage: Arc<Stage>, is_new: bool, env: &Env) -> Process {
        Process {
            id: env.id,
            rng: Rng::stream(env.seed, "program/clock"),
            stage,
            is_new,
            child: None,
            shim: None,
            has_begun: false,
            letters: VecDeque::new(),
            is_ready: false,
            early: VecDeque::new(),
            asked: BTreeMap::new(),
            last_msg_id: 0,
            own: VecDeque::new(),
            sleeps: BTreeMap::new(),
            timers: BTreeSet::new(),
            last_sleep: 0,
            complaints: VecDeque::new(),
            instant: (Time::default(), 0),
            turns: 0,
            sent: 0,
            received: 0,
            said: 0,
            seed: env.seed,
        }
    }

    /// What can be seen of it.
    pub fn view(&self) -> serde_json::Value {
        json!({"ready": self.is_ready, "sent": self.sent, "received": self.received,
               "asked": self.asked.len()})
    }

    /// Starts the process. It is given nothing yet.
    pub fn start(&mut self, names: &Names, turn: &mut Turn) {
        turn.does.push(Does::Set(Timer::Init, INIT_AFTER));
        let started = self.try_start(names, turn);
        if let Err(why) = started {
            self.stage.fail(format!("{}: {why}", names.me()));
        }
    }

    fn try_start(&mut self, names: &Names, turn: &mut Turn) -> Result<(), String> {
        let hosting = self.stage.hosting().clone();
        let (folder, clock) = self.stage.folders(names.me(), self.is_new)?;
        let mut env = vec![("NODE_SEED".to_string(), (self.seed as u32).to_string())];
        if hosting.timers == Timers::Shim {
            let shim = Shim::new(&clock).map_err(|error| error.to_string())?;
            shim.set_now(turn.wall.0).map_err(|error| error.to_string())?;
            env.extend(shim.env());
            self.shim = Some(shim);
        }
        self.child = Some(Child::start(&hosting, &folder, &env)?);
        self.event(names, None, turn);
        if hosting.tier == Tier::Wall {
            turn.does.push(Does::Set(Timer::Poll, POLL_EVERY));
        }
        Ok(())
    }

    /// A timer is due.
    pub fn timer(&mut self, timer: Timer, names: &Names, turn: &mut Turn) {
        match timer {
            Timer::Init => {
                self.last_msg_id += 1;
                let all: Vec<String> = names.programs().collect();
                let id = self.last_msg_id;
                let body = json!({"type": "init", "msg_id": id, "node_id": names.me(),
                                  "node_ids": all});
                turn.does.push(Does::Set(Timer::Overdue, INIT_WITHIN));
                self.event(names, Some(&names.line(INIT_CLIENT, &body.to_string())), turn);
                self.has_begun = true;
                for line in std::mem::take(&mut self.letters) {
                    self.received += 1;
                    self.event(names, Some(&line), turn);
                }
            }
            Timer::Overdue if self.is_ready => {}
            Timer::Overdue => {
                let seconds = INIT_WITHIN.as_secs();
                self.fail(names, format!("it has not answered init within {seconds} s"));
            }
            Timer::Poll => {
                self.event(names, None, turn);
                turn.does.push(Does::Set(Timer::Poll, POLL_EVERY));
            }
            Timer::Own => {
                for (body, ids) in std::mem::take(&mut self.own) {
                    self.received += 1;
                    let line = names.line(names.me(), &body.named(&ids));
                    self.event(names, Some(&line), turn);
                }
            }
            Timer::Shim(id) => {
                self.timers.remove(&id);
                self.set_now(names, turn);
                if let Some(Err(why)) = self.shim.as_mut().map(|shim| shim.wake(id)) {
                    return self.fail(names, why.to_string());
                }
                self.event(names, None, turn);
            }
            Timer::Sleep(id) => {
                if let Some(line) = self.sleeps.remove(&id) {
                    self.event(names, Some(&line), turn);
                }
            }
        }
    }

    /// A client asks: once the process is ready, it hears of it.
    pub fn ask(&mut self, caller: Caller, request: Body<'_>, names: &Names, turn: &mut Turn) {
        if self.is_ready {
            self.give(caller, &request, names, turn);
        } else if self.early.len() < MAX_WAITING {
            self.early.push_back((caller, request.into_owned()));
        }
    }

    /// A message of another node.
    pub fn hear(&mut self, from: &str, body: &Body<'_>, ids: &Ids, names: &Names, turn: &mut Turn) {
        let line = names.line(from, &body.named(ids));
        if self.has_begun {
            self.received += 1;
            self.event(names, Some(&line), turn);
        } else if self.letters.len() < MAX_WAITING {
            self.letters.push_back(line);
        }
    }

    /// Tells states apart, as far as they show.
    pub fn digest(&self) -> u64 {
        self.said
    }

    /// A client asks a process that is ready.
    fn give(&mut self, caller: Caller, request: &Body<'_>, names: &Names, turn: &mut Turn) {
        self.last_msg_id += 1;
        let (id, client) = (self.last_msg_id, caller.request.client.slot + 1);
        self.asked.insert((client, id), caller.request);
        if self.asked.len() > MAX_WAITING {
            self.asked.pop_first();
        }
        let ids = Ids { msg_id: id.to_string(), in_reply_to: String::new() };
        let line = names.line(&format!("c{client}"), &request.named(&ids));
        self.event(names, Some(&line), turn);
    }

    /// Gives the process a line, or only time, waits until it is at rest, and does what it says.
    fn event(&mut self, names: &Names, line: Option<&str>, turn: &mut Turn) {
        self.stage.pace(turn.now.0);
        if self.stage.is_over() || !self.may_go_on(names, turn) {
            return;
        }
        self.set_now(names, turn);
        if let (Some(child), Some(line)) = (&mut self.child, line) {
            child.write_line(line);
        }
        if let Err(why) = self.turn(names, turn) {
            self.fail(names, why);
        }
    }

    /// Whether this is not one turn too many at one instant: then time would stand still.
    fn may_go_on(&mut self, names: &Names, turn: &Turn) -> bool {
        let (at, turns) = self.instant;
        self.instant = if at == turn.now { (at, turns + 1) } else { (turn.now, 1) };
        if self.instant.1 > MAX_TURNS_AT_ONCE {
            let why = format!(
                "it went on for more than {MAX_TURNS_AT_ONCE} turns without any time between them: \
                 a message to itself takes none"
            );
            self.fail(names, why);
        }
        self.instant.1 <= MAX_TURNS_AT_ONCE
    }

    fn set_now(&mut self, names: &Names, turn: &Turn) {
        let set = self.shim.as_ref().map(|shim| shim.set_now(turn.wall.0));
        if let Some(Err(why)) = set {
            self.fail(names, why.to_string());
        }
    }

    fn turn(&mut self, names: &Names, turn: &mut Turn) -> Result<(), String> {
        let (tier, turn_ms) = (self.stage.hosting().tier, self.stage.hosting().turn_ms);
        let patience = Duration::from_millis(turn_ms);
        let mut said = Vec::new();
        let mut clocks = 0;
        loop {
            let Some(child) = &mut self.child else { return Ok(()) };
            let rest = match tier {
                Tier::Lockstep => child.settle(patience),
                Tier::Wall => child.collect(),
            };
            let mut asked_clock = false;
            while let Some(line) = self.child.as_mut().and_then(Child::next_line) {
                match names.read(&line)? {
                    (Party::Clock, body, ids) => {
                        asked_clock = true;
                        clocks += 1;
                        self.clock(&body, &ids, names, turn);
                    }
                    (to, body, ids) => said.push((to, body, ids)),
                }
            }
            self.hear_complaints(turn);
            self.hear_shim(turn)?;
            match rest {
                Rest::Still => {}
                Rest::Ended(how) => return Err(how),
                Rest::Excess(what) => return Err(what),
                Rest::Restless => {
                    self.stage.give_up(format!(
                        "{}: it did not come to rest within {turn_ms} ms of real time after a message \
                         (turn_ms): on a machine with nothing else to do it may; a program that never \
                         waits needs tier = \"wall\"",
                        names.me()
                    ));
                    return Ok(());
                }
            }
            let was_full = self.shim.as_ref().is_some_and(Shim::was_full);
            clocks += u32::from(was_full);
            if clocks > MAX_CLOCKS {
                return Err(format!("it asked its clock more than {MAX_CLOCKS} times in one turn"));
            }
            if !asked_clock && !was_full {
                break;
            }
        }
        self.look_around(names)?;
        // What goes to one destination keeps its order.
        said.sort_by(|one, other| one.0.cmp(&other.0));
        for (to, body, ids) in said {
            self.say(&to, body, ids, names, turn);
        }
        Ok(())
    }

    /// What is looked at now and then.
    fn look_around(&mut self, names: &Names) -> Result<(), String> {
        self.turns += 1;
        // Libraries of virtual timers leave none of a program's waits to the machine's clock; what
        // their runtimes wait for is their own housekeeping.
        let has_library = self.shim.as_ref().is_some_and(Shim::has_connected);
        if !has_library
            && self.turns.is_multiple_of(WAITS_EVERY)
            && let Some(wait) = self.child.as_ref().and_then(Child::timed_wait)
        {
            self.stage.waits(names.me(), wait.call);
        }
        if self.turns.is_multiple_of(DISK_EVERY) {
            let (mb, most) = (self.stage.disk_mb(names.me()), self.stage.hosting().limits.disk_mb);
            if mb > most {
                return Err(format!("its folder holds more than {most} MB"));
            }
        }
        Ok(())
    }

    fn hear_complaints(&mut self, turn: &mut Turn) {
        while let Some(line) = self.child.as_mut().and_then(Child::next_complaint) {
            let line = Escaped(&line).to_string();
            turn.does.push(Does::Note(format!("stderr: {line}")));
            self.complaints.push_back(line);
            if self.complaints.len() > MAX_COMPLAINTS {
                self.complaints.pop_front();
            }
        }
    }

    fn hear_shim(&mut self, turn: &mut Turn) -> Result<(), String> {
        let Some(shim) = &mut self.shim else { return Ok(()) };
        for ask in shim.asks().map_err(|error| error.to_string())? {
            match ask {
                Ask::Timer { id, at_ns } => {
                    self.timers.insert(id);
                    let left = at_ns.saturating_sub(turn.wall.0);
                    turn.does.push(Does::Set(Timer::Shim(id), Duration::from_nanos(left)));
                }
                Ask::Cancel { id } => {
                    self.timers.remove(&id);
                    turn.does.push(Does::Cancel(Timer::Shim(id)));
                }
            }
        }
        if self.timers.len() > MAX_WAITING {
            return Err(format!("it has more than {MAX_WAITING} timers"));
        }
        if shim.has_connected() {
            self.stage.has_virtual_timers();
        }
        Ok(())
    }

    /// The process asks its own clock, which no fault stands before.
    fn clock(&mut self, body: &Body<'_>, ids: &Ids, names: &Names, turn: &mut Turn) {
        #[derive(Deserialize)]
        struct Sleep {
            ms: u64,
        }
        self.stage.has_virtual_timers();
        let kind = body.kind();
        let answer = match (kind.as_str(), body.read::<Sleep>()) {
            ("sleep", Some(Sleep { ms })) if self.sleeps.len() < MAX_WAITING => {
                self.last_sleep += 1;
                let answer = json!({"type": "sleep_ok"});
                let line = names.line("clock", &reply_to(&answer, ids));
                self.sleeps.insert(self.last_sleep, line);
                turn.does.push(Does::Set(Timer::Sleep(self.last_sleep), Duration::from_millis(ms)));
                return;
            }
            ("now", _) => json!({"type": "now_ok", "ns": turn.wall.0}),
            ("random", _) => json!({"type": "random_ok", "value": self.rng.next_u64()}),
            _ => json!({"type": "error", "code": 10,
                        "text": "clock takes sleep with ms, now, and random"}),
        };
        if let Some(child) = &mut self.child {
            child.write_line(&names.line("clock", &reply_to(&answer, ids)));
        }
    }

    /// The process has sent a message.
    fn say(&mut self, to: &Party, body: Body<'static>, ids: Ids, names: &Names, turn: &mut Turn) {
        self.sent += 1;
        self.said = mix(self.said, to, &body);
        match to {
            Party::Node(id) if *id == self.id => {
                self.own.push_back((body, ids));
                turn.does.push(Does::Set(Timer::Own, Duration::ZERO));
            }
            Party::Node(id) => turn.does.push(Does::Send(*id, body, ids)),
            Party::Client(0) => {
                if body.kind() == "init_ok" {
                    self.ready(names, turn);
                } else {
                    let text = Escaped(body.text().as_bytes()).to_string();
                    self.fail(names, format!("it answers init with {text}"));
                }
            }
            Party::Client(client) => {
                let id = ids.in_reply_to.parse().ok();
                let request = id.and_then(|id: u64| self.asked.remove(&(*client, id)));
                match request {
                    Some(request) => turn.does.push(Does::Reply(request, body)),
                    None => {
                        let text = Escaped(body.text().as_bytes());
                        turn.does.push(Does::Note(format!("nobody waits for {text}")));
                    }
                }
            }
            Party::Clock => {}
        }
    }

    fn ready(&mut self, names: &Names, turn: &mut Turn) {
        if !std::mem::replace(&mut self.is_ready, true) {
            turn.does.push(Does::Cancel(Timer::Overdue));
            for (caller, request) in std::mem::take(&mut self.early) {
                self.give(caller, &request, names, turn);
            }
        }
    }

    fn fail(&mut self, names: &Names, why: String) {
        let mut text = format!("{}: {why}", names.me());
        if !self.complaints.is_empty() {
            let lines: Vec<&str> = self.complaints.iter().map(String::as_str).collect();
            text.push_str(&format!("; its stderr ends with: {}", lines.join(" / ")));
        }
        self.stage.fail(text);
    }
}

/// How often it is asked what a process waits for, in turns.
const WAITS_EVERY: u64 = 16;
/// How often what a folder holds is measured, in turns.
const DISK_EVERY: u64 = 64;

fn reply_to(answer: &serde_json::Value, ids: &Ids) -> String {
    let ids = Ids { msg_id: String::new(), in_reply_to: ids.msg_id.clone() };
    Body::of(answer).named(&ids)
}

/// Adds to what tells two programs' outputs apart.
fn mix(said: u64, to: &Party, body: &Body<'_>) -> u64 {
    let mut hash = said ^ to.word();
    for byte in body.text().bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    }
    hash
}
