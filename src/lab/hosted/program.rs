//! A process as a protocol: what reaches the node, the process reads as a line, and what the process
//! writes, the node sends and answers. Knows no workload.
//!
//! ```text
//!   client ── request ──► node n0 ── line ──► process ── line ──► n0 ── letter ──► node n1
//!          ◄── reply ────    │                                    │ ── letter ──► lin-kv
//!                            └── init, once ──►                    └── sleep, now ──► its own clock
//! ```
//!
//! Messages are those of Maelstrom (`doc/protocol.md` there): `src`, `dest` and a body with a
//! `type`. A node begins with `init`, and asks its process for nothing that clients want before
//! that is answered. Of one turn, what goes to one destination keeps its order; the destinations go
//! by their names, as programs with threads write in any order. What a process says that is no
//! message, or goes nowhere, ends the run: so does its own end.

use super::body::{Body, Ids};
use super::child::{Child, Rest};
use super::names::{Names, Party};
use super::services::{Service, service};
use super::shim::{Ask, Shim};
use super::stage::{Stage, Tier, Timers};
use node_core::{Caller, ConfigError, Context, Env, Escaped, NodeId, Protocol, RequestId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A node that is a process, or a service for those that are.
pub struct Program {
    names: Names,
    role: Role,
}

enum Role {
    /// It only shows that its config is one.
    Unset,
    Service(Box<dyn Service>),
    Process(Box<Process>),
}

/// What goes between nodes. What only names it comes last: it tells no runs apart.
#[derive(Debug, Serialize, Deserialize)]
pub struct Letter<'a> {
    /// What it says.
    #[serde(borrow)]
    pub body: Body<'a>,
    /// What names it.
    pub ids: Ids,
}

/// `[protocols.program]`, as the simulator makes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How many nodes are programs: those with the lowest ids.
    pub nodes: u32,
    /// The service that this node is; none for a program.
    pub service: Option<String>,
    /// Where it takes place.
    #[serde(skip)]
    pub seat: Option<Seat>,
}

/// A program's place in a run.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The run's stage.
    pub stage: Arc<Stage>,
    /// Whether the node begins with an empty folder.
    pub is_new: bool,
}

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

struct Process {
    stage: Arc<Stage>,
    is_new: bool,
    child: Option<Child>,
    shim: Option<Shim>,
    is_ready: bool,
    /// What clients asked before it was.
    early: VecDeque<(Caller, Body<'static>)>,
    /// What clients asked, by client and number of the message.
    asked: BTreeMap<(u32, u64), RequestId>,
    last_msg_id: u64,
    own: VecDeque<(Body<'static>, Ids)>,
    /// Whom sleeps wake: what is answered.
    sleeps: BTreeMap<u64, String>,
    last_sleep: u64,
    complaints: VecDeque<String>,
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
/// The last lines of stderr that a verdict shows.
const MAX_COMPLAINTS: usize = 5;
/// Who sends `init`.
const INIT_CLIENT: &str = "c0";

impl Protocol for Program {
    const NAME: &'static str = "program";
    type Config = Config;
    type Message<'a> = Letter<'a>;
    type Record<'a> = node_core::Never;
    type Timer = Timer;
    type Request<'a> = Body<'a>;
    type Reply<'a> = Body<'a>;

    fn new(config: Config, env: &Env) -> Result<Program, ConfigError> {
        let names = Names::new(env.id, config.nodes);
        let role = match (&config.service, config.seat) {
            (Some(name), _) => {
                let rule = || ConfigError { key: "service", rule: "there is none".into() };
                Role::Service(service(name).ok_or_else(rule)?)
            }
            (None, Some(Seat { stage, is_new })) => {
                Role::Process(Box::new(Process::new(stage, is_new, env)))
            }
            (None, None) => Role::Unset,
        };
        Ok(Program { names, role })
    }

    fn on_start(&mut self, cx: &mut Context<'_, Self>) {
        match &mut self.role {
            Role::Process(process) => {
                process.start(&self.names, cx);
                cx.set_timer(Timer::Init, INIT_AFTER);
            }
            Role::Service(_) => {}
            Role::Unset => {
                log::error!(target: "program", "a program runs in the simulator alone: node sim");
            }
        }
    }

    fn on_message(&mut self, from: NodeId, letter: Letter<'_>, cx: &mut Context<'_, Self>) {
        let Program { names, role } = self;
        let from_name = names.node(from);
        match role {
            Role::Process(process) => {
                process.received += 1;
                let line = names.line(&from_name, &letter.body.named(&letter.ids));
                process.event(names, Some(&line), cx);
            }
            Role::Service(service) => {
                let body = service.ask(&from_name, &letter.body, cx.rng());
                let ids = Ids { msg_id: String::new(), in_reply_to: letter.ids.msg_id };
                if !ids.in_reply_to.is_empty() {
                    cx.send(from, &Letter { body, ids });
                }
            }
            Role::Unset => {}
        }
    }

    fn on_timer(&mut self, timer: Timer, cx: &mut Context<'_, Self>) {
        let Program { names, role } = self;
        if let Role::Process(process) = role {
            process.timer(timer, names, cx);
        }
    }

    fn on_request(&mut self, caller: Caller, request: Body<'_>, cx: &mut Context<'_, Self>) {
        let Program { names, role } = self;
        let Role::Process(process) = role else { return };
        if process.is_ready {
            process.ask(caller, &request, names, cx);
        } else if process.early.len() < MAX_WAITING {
            process.early.push_back((caller, request.into_owned()));
        }
    }

    fn digest(&self) -> u64 {
        match &self.role {
            Role::Process(process) => process.said,
            Role::Service(_) | Role::Unset => 0,
        }
    }

    fn view(&self) -> impl Serialize {
        match &self.role {
            Role::Process(process) => Some(process.view()),
            Role::Service(_) | Role::Unset => None,
        }
    }

    fn brief(letter: &Letter<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        letter.body.brief(out)
    }

    fn brief_request(request: &Body<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        request.brief(out)
    }

    fn brief_reply(reply: &Body<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        reply.brief(out)
    }

    fn unhashed(message: &[u8]) -> usize {
        let read = postcard::take_from_bytes::<Body<'_>>(message);
        read.map_or(0, |(_, ids)| ids.len())
    }
}

impl Process {
    fn new(stage: Arc<Stage>, is_new: bool, env: &Env) -> Process {
        Process {
            stage,
            is_new,
            child: None,
            shim: None,
            is_ready: false,
            early: VecDeque::new(),
            asked: BTreeMap::new(),
            last_msg_id: 0,
            own: VecDeque::new(),
            sleeps: BTreeMap::new(),
            last_sleep: 0,
            complaints: VecDeque::new(),
            turns: 0,
            sent: 0,
            received: 0,
            said: 0,
            seed: env.seed,
        }
    }

    fn view(&self) -> serde_json::Value {
        json!({"ready": self.is_ready, "sent": self.sent, "received": self.received,
               "asked": self.asked.len()})
    }

    /// Starts the process. It is given nothing yet.
    fn start(&mut self, names: &Names, cx: &mut Context<'_, Program>) {
        let started = self.try_start(names, cx);
        if let Err(why) = started {
            self.stage.fail(format!("{}: {why}", names.me()));
        }
    }

    fn try_start(&mut self, names: &Names, cx: &mut Context<'_, Program>) -> Result<(), String> {
        let hosting = self.stage.hosting().clone();
        let (folder, clock) = self.stage.folders(names.me(), self.is_new)?;
        let mut env = vec![("NODE_SEED".to_string(), self.seed.to_string())];
        if hosting.timers == Timers::Shim {
            let shim = Shim::new(&clock).map_err(|error| error.to_string())?;
            shim.set_now(wall_ns(cx)).map_err(|error| error.to_string())?;
            env.extend(shim.env());
            self.shim = Some(shim);
        }
        self.child = Some(Child::start(&hosting, &folder, &env)?);
        self.event(names, None, cx);
        if hosting.tier == Tier::Wall {
            cx.set_timer(Timer::Poll, POLL_EVERY);
        }
        Ok(())
    }

    fn timer(&mut self, timer: Timer, names: &Names, cx: &mut Context<'_, Program>) {
        match timer {
            Timer::Init => {
                self.last_msg_id += 1;
                let all: Vec<String> = names.programs().collect();
                let id = self.last_msg_id;
                let body = json!({"type": "init", "msg_id": id, "node_id": names.me(),
                                  "node_ids": all});
                cx.set_timer(Timer::Overdue, INIT_WITHIN);
                self.event(names, Some(&names.line(INIT_CLIENT, &body.to_string())), cx);
            }
            Timer::Overdue if self.is_ready => {}
            Timer::Overdue => {
                let seconds = INIT_WITHIN.as_secs();
                self.fail(names, format!("it has not answered init within {seconds} s"));
            }
            Timer::Poll => {
                self.event(names, None, cx);
                cx.set_timer(Timer::Poll, POLL_EVERY);
            }
            Timer::Own => {
                for (body, ids) in std::mem::take(&mut self.own) {
                    self.received += 1;
                    let line = names.line(names.me(), &body.named(&ids));
                    self.event(names, Some(&line), cx);
                }
            }
            Timer::Shim(id) => {
                self.set_now(names, cx);
                if let Some(Err(why)) = self.shim.as_mut().map(|shim| shim.wake(id)) {
                    return self.fail(names, why.to_string());
                }
                self.event(names, None, cx);
            }
            Timer::Sleep(id) => {
                if let Some(line) = self.sleeps.remove(&id) {
                    self.event(names, Some(&line), cx);
                }
            }
        }
    }

    /// A client asks.
    fn ask(
        &mut self,
        caller: Caller,
        request: &Body<'_>,
        names: &Names,
        cx: &mut Context<'_, Program>,
    ) {
        self.last_msg_id += 1;
        let (id, client) = (self.last_msg_id, caller.request.client.slot + 1);
        self.asked.insert((client, id), caller.request);
        if self.asked.len() > MAX_WAITING {
            self.asked.pop_first();
        }
        let ids = Ids { msg_id: id.to_string(), in_reply_to: String::new() };
        let line = names.line(&format!("c{client}"), &request.named(&ids));
        self.event(names, Some(&line), cx);
    }

    /// Gives the process a line, or only time, waits until it is at rest, and does what it says.
    fn event(&mut self, names: &Names, line: Option<&str>, cx: &mut Context<'_, Program>) {
        self.stage.pace(cx.now().0);
        if self.stage.failure().is_some() {
            return;
        }
        self.set_now(names, cx);
        if let (Some(child), Some(line)) = (&mut self.child, line) {
            child.write_line(line);
        }
        if let Err(why) = self.turn(names, cx) {
            self.fail(names, why);
        }
    }

    fn set_now(&mut self, names: &Names, cx: &Context<'_, Program>) {
        let set = self.shim.as_ref().map(|shim| shim.set_now(wall_ns(cx)));
        if let Some(Err(why)) = set {
            self.fail(names, why.to_string());
        }
    }

    fn turn(&mut self, names: &Names, cx: &mut Context<'_, Program>) -> Result<(), String> {
        let hosting = self.stage.hosting().clone();
        let patience = Duration::from_millis(hosting.turn_ms);
        let mut said = Vec::new();
        let mut clocks = 0;
        loop {
            let Some(child) = &mut self.child else { return Ok(()) };
            let rest = match hosting.tier {
                Tier::Lockstep => child.settle(patience),
                Tier::Wall => child.collect(),
            };
            let mut asked_clock = false;
            while let Some(line) = self.child.as_mut().and_then(Child::next_line) {
                match names.read(&line)? {
                    (Party::Clock, body, ids) => {
                        asked_clock = true;
                        clocks += 1;
                        self.clock(&body, &ids, names, cx);
                    }
                    (to, body, ids) => said.push((to, body, ids)),
                }
            }
            self.hear_complaints(cx);
            self.hear_shim(cx)?;
            match rest {
                Rest::Still => {}
                Rest::Ended(how) => return Err(how),
                Rest::Excess(what) => return Err(what),
                Rest::Restless => {
                    return Err(format!(
                        "it did not come to rest within {} ms of real time after a message (turn_ms)",
                        hosting.turn_ms
                    ));
                }
            }
            if clocks > MAX_CLOCKS {
                return Err(format!("it asked its clock more than {MAX_CLOCKS} times in one turn"));
            }
            if !asked_clock {
                break;
            }
        }
        self.look_around(names)?;
        // What goes to one destination keeps its order.
        said.sort_by(|one, other| one.0.cmp(&other.0));
        for (to, body, ids) in said {
            self.say(&to, body, ids, names, cx);
        }
        Ok(())
    }

    /// What is looked at now and then.
    fn look_around(&mut self, names: &Names) -> Result<(), String> {
        self.turns += 1;
        if self.turns.is_multiple_of(WAITS_EVERY)
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

    fn hear_complaints(&mut self, cx: &mut Context<'_, Program>) {
        while let Some(line) = self.child.as_mut().and_then(Child::next_complaint) {
            let line = Escaped(&line).to_string();
            cx.note(format_args!("stderr: {line}"));
            self.complaints.push_back(line);
            if self.complaints.len() > MAX_COMPLAINTS {
                self.complaints.pop_front();
            }
        }
    }

    fn hear_shim(&mut self, cx: &mut Context<'_, Program>) -> Result<(), String> {
        let Some(shim) = &mut self.shim else { return Ok(()) };
        for ask in shim.asks().map_err(|error| error.to_string())? {
            match ask {
                Ask::Timer { id, at_ns } => {
                    let left = at_ns.saturating_sub(cx.wall_clock().0);
                    cx.set_timer(Timer::Shim(id), Duration::from_nanos(left));
                }
                Ask::Cancel { id } => cx.cancel_timer(Timer::Shim(id)),
            }
        }
        if shim.has_connected() {
            self.stage.has_virtual_timers();
        }
        Ok(())
    }

    /// The process asks its own clock, which no fault stands before.
    fn clock(&mut self, body: &Body<'_>, ids: &Ids, names: &Names, cx: &mut Context<'_, Program>) {
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
                cx.set_timer(Timer::Sleep(self.last_sleep), Duration::from_millis(ms));
                return;
            }
            ("now", _) => json!({"type": "now_ok", "ns": cx.wall_clock().0}),
            ("random", _) => json!({"type": "random_ok", "value": cx.rng().next_u64()}),
            _ => json!({"type": "error", "code": 10,
                        "text": "clock takes sleep with ms, now, and random"}),
        };
        if let Some(child) = &mut self.child {
            child.write_line(&names.line("clock", &reply_to(&answer, ids)));
        }
    }

    /// The process has sent a message.
    fn say(
        &mut self,
        to: &Party,
        body: Body<'static>,
        ids: Ids,
        names: &Names,
        cx: &mut Context<'_, Program>,
    ) {
        self.sent += 1;
        self.said = mix(self.said, to, &body);
        match to {
            Party::Node(id) if *id == cx.me() => {
                self.own.push_back((body, ids));
                cx.set_timer(Timer::Own, Duration::ZERO);
            }
            Party::Node(id) => cx.send(*id, &Letter { body, ids }),
            Party::Client(0) => {
                if body.kind() == "init_ok" {
                    self.ready(names, cx);
                } else {
                    let text = Escaped(body.text().as_bytes()).to_string();
                    self.fail(names, format!("it answers init with {text}"));
                }
            }
            Party::Client(client) => {
                let id = ids.in_reply_to.parse().ok();
                let request = id.and_then(|id: u64| self.asked.remove(&(*client, id)));
                match request {
                    Some(request) => cx.reply(request, &body),
                    None => cx
                        .note(format_args!("nobody waits for {}", Escaped(body.text().as_bytes()))),
                }
            }
            Party::Clock => {}
        }
    }

    fn ready(&mut self, names: &Names, cx: &mut Context<'_, Program>) {
        if !std::mem::replace(&mut self.is_ready, true) {
            cx.cancel_timer(Timer::Overdue);
            for (caller, request) in std::mem::take(&mut self.early) {
                self.ask(caller, &request, names, cx);
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

fn wall_ns(cx: &Context<'_, Program>) -> u64 {
    cx.wall_clock().0
}

/// Adds to what tells two programs' outputs apart.
fn mix(said: u64, to: &Party, body: &Body<'_>) -> u64 {
    let mut hash = said ^ to.word();
    for byte in body.text().bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    }
    hash
}
