//! A process as a protocol: what reaches the node, the process reads as a line, and what it writes,
//! the node sends and answers. Knows no workload.
//!
//! ```text
//!   client ── request ──► node n0 ── line ──► process ── line ──► n0 ── letter ──► node n1
//!          ◄── reply ────    │                                    │ ── letter ──► lin-kv
//!                            └── init, once ──►                   └── sleep, now ──► own clock
//! ```
//!
//! Messages are those of Maelstrom (`doc/protocol.md` there): `src`, `dest` and a body with a
//! `type`. A node begins with `init`, and asks its process for nothing that clients want before
//! that is answered. Of one turn, what goes to one destination keeps its order; the destinations go
//! by their names, as programs with threads write in any order. What a process says that is no
//! message, or goes nowhere, ends the run: so does its own end.

use super::body::{Body, Ids};
use super::names::Names;
use super::process::{Does, Process, Timer, Turn};
use super::services::{Service, service};
use super::stage::Stage;
use node_core::{Caller, ConfigError, Context, Env, NodeId, Protocol};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

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
        match &self.role {
            Role::Process(_) => self.turn(cx, Process::start),
            Role::Service(_) => {}
            Role::Unset => {
                log::error!(target: "program", "a program runs in the simulator alone: node sim");
            }
        }
    }

    fn on_message(&mut self, from: NodeId, letter: Letter<'_>, cx: &mut Context<'_, Self>) {
        let from_name = self.names.node(from);
        if let Role::Service(service) = &mut self.role {
            let body = service.ask(&from_name, &letter.body, cx.rng());
            let ids = Ids { msg_id: String::new(), in_reply_to: letter.ids.msg_id };
            if !ids.in_reply_to.is_empty() {
                cx.send(from, &Letter { body, ids });
            }
            return;
        }
        let Letter { body, ids } = letter;
        self.turn(cx, |process, names, turn| process.hear(&from_name, &body, &ids, names, turn));
    }

    fn on_timer(&mut self, timer: Timer, cx: &mut Context<'_, Self>) {
        self.turn(cx, |process, names, turn| process.timer(timer, names, turn));
    }

    fn on_request(&mut self, caller: Caller, request: Body<'_>, cx: &mut Context<'_, Self>) {
        self.turn(cx, |process, names, turn| process.ask(caller, request, names, turn));
    }

    fn digest(&self) -> u64 {
        match &self.role {
            Role::Process(process) => process.digest(),
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

impl Program {
    /// A turn of the process, and what the node does in it.
    fn turn(
        &mut self,
        cx: &mut Context<'_, Self>,
        event: impl FnOnce(&mut Process, &Names, &mut Turn),
    ) {
        let Program { names, role: Role::Process(process) } = self else { return };
        let mut turn = Turn { now: cx.now(), wall: cx.wall_clock(), does: Vec::new() };
        event(process, names, &mut turn);
        for does in turn.does {
            match does {
                Does::Send(to, body, ids) => cx.send(to, &Letter { body, ids }),
                Does::Reply(to, body) => cx.reply(to, &body),
                Does::Set(timer, after) => cx.set_timer(timer, after),
                Does::Cancel(timer) => cx.cancel_timer(timer),
                Does::Note(line) => cx.note(format_args!("{line}")),
            }
        }
    }
}
