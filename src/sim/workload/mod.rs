//! What clients do in a run, and when the run is over.
//!
//! The key-value store has clients ([`store`]), and so have the lottery's central ([`lottery`]) and the
//! bulletin board ([`board`]), whose nodes are of several kinds.
//! Protocols that act by themselves need none: their run is [`Watch`]ed for a while after everything
//! is mended.

pub mod board;
pub mod lottery;
pub mod store;
pub mod wire;

use super::plan::{self, Plan};
use super::world::{MakeCodec, Nanos, World};
use crate::check::History;
use crate::config::{Config, Listener};
use crate::registry::Registry;
use node_protocols::board::Board;
use node_protocols::core::Protocol;
use node_protocols::kv_replication::KvReplication;
use node_protocols::lottery::Lottery;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::path::Path;
use std::sync::Arc;

/// What clients do: the table `[workload]` of a scenario, whose keys depend on what its nodes run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Settings {
    /// The store's clients.
    Store(store::Settings),
    /// The lottery's agencies.
    Lottery(lottery::Settings, lottery::Rules),
    /// The board's clients.
    Board(board::Settings, board::Roles),
}

/// A scenario's table, for the clients of one protocol.
#[derive(Deserialize)]
struct Table<T> {
    workload: Option<T>,
}

/// Whether any table says what clients speak.
#[derive(Deserialize)]
struct Spoken {
    wire: Option<IgnoredAny>,
}

/// Refuses nodes where nobody listens to what clients speak.
fn listen<'a>(
    path: &Path,
    nodes: impl IntoIterator<Item = &'a Config>,
    gateway: &str,
    protocol: &str,
) -> Result<(), String> {
    let serves = |one: &Listener| {
        one.gateway == gateway && one.protocol.as_deref().is_none_or(|name| name == protocol)
    };
    match nodes.into_iter().find(|node| !node.listeners.iter().any(serves)) {
        None => Ok(()),
        Some(node) => Err(format!(
            "{}: workload: wire: node {} has no listener with gateway = \"{gateway}\"",
            path.display(),
            node.id
        )),
    }
}

/// Makes a gateway's codec for each connection of a client.
fn codec_maker(
    gateway: &'static str,
    protocol: &'static str,
    registry: &Arc<Registry>,
) -> MakeCodec {
    let registry = registry.clone();
    Box::new(move || {
        let codec = registry.codec(gateway, protocol);
        codec.expect("a listener has it, so the scenario was refused without")
    })
}

impl Settings {
    /// What the text of a scenario says of the clients of what its nodes run; none where that has no
    /// clients.
    pub fn read(
        path: &Path,
        text: &str,
        nodes: &[Config],
        registry: &Registry,
    ) -> Result<Option<Settings>, String> {
        let run = |name| nodes.iter().all(|node| node.protocols.iter().any(|one| one == name));
        if run(KvReplication::NAME) {
            let table: Table<store::Settings> = plan::parse(path, text)?;
            let settings = table.workload.unwrap_or_default();
            if let Some(wire) = settings.wire {
                listen(path, nodes, wire.gateway(), KvReplication::NAME)?;
            }
            return Ok(Some(Settings::Store(settings)));
        }
        if run(Lottery::NAME) {
            let rules = lottery::Rules::read(nodes, registry);
            let rules = rules.map_err(|why| format!("{}: {why}", path.display()))?;
            let Some(rules) = rules else { return Ok(None) };
            let table: Table<lottery::Settings> = plan::parse(path, text)?;
            let settings = table.workload.unwrap_or_default();
            if let Some(wire) = settings.wire {
                let central = &nodes[rules.central..=rules.central];
                listen(path, central, wire.gateway(), Lottery::NAME)?;
            }
            return Ok(Some(Settings::Lottery(settings, rules)));
        }
        let roles = board::Roles::read(nodes, registry);
        if let Some(roles) = roles.map_err(|why| format!("{}: {why}", path.display()))? {
            let table: Table<board::Settings> = plan::parse(path, text)?;
            let settings = table.workload.unwrap_or_default();
            if let Some(wire) = settings.wire {
                let spoken_to = roles.spoken_to(wire).into_iter().map(|place| &nodes[place]);
                listen(path, spoken_to, wire.gateway(), Board::NAME)?;
            }
            return Ok(Some(Settings::Board(settings, roles)));
        }
        let table: Table<Spoken> = plan::parse(path, text)?;
        if table.workload.is_some_and(|workload| workload.wire.is_some()) {
            return Err(format!(
                "{}: workload: wire: of simulated clients the store's, the lottery's and the board's \
                 speak through a gateway, and no others: leave it out",
                path.display()
            ));
        }
        Ok(None)
    }

    /// What of them makes no sense in a run of so many milliseconds.
    pub fn check(&self, millis: u64, settle_millis: u64) -> Result<(), String> {
        match self {
            Settings::Store(settings) => settings.check(millis, settle_millis),
            Settings::Lottery(settings, _) => settings.check(millis, settle_millis),
            Settings::Board(settings, _) => settings.check(millis, settle_millis),
        }
    }

    /// Whether a plan keeps to them.
    pub fn check_plan(&self, plan: &Plan) -> Result<(), String> {
        let most = match self {
            Settings::Store(_) => store::MAX_CLIENTS,
            Settings::Lottery(_, rules) => rules.agencies,
            Settings::Board(..) => board::MAX_CLIENTS,
        };
        if !(1..=most).contains(&plan.clients) {
            return Err(format!("clients must be 1 to {most}"));
        }
        let (_, most) = self.counts();
        if plan.operations > most {
            return Err(format!("operations must be at most the scenario's, {most}"));
        }
        Ok(())
    }

    /// How many clients, and how many operations each.
    pub fn counts(&self) -> (u32, u32) {
        match self {
            Settings::Store(settings) => (settings.clients, settings.operations),
            Settings::Lottery(settings, rules) => (rules.agencies, settings.operations),
            Settings::Board(settings, _) => (settings.clients, settings.operations),
        }
    }

    /// The places of the nodes whose files are drawn, and not read.
    pub fn draws_inputs_of(&self) -> &[usize] {
        match self {
            Settings::Lottery(_, rules) => rules.node_places(),
            Settings::Store(_) | Settings::Board(..) => &[],
        }
    }

    /// What a plan has in those files: by the node's place, the protocol that reads it and its content.
    pub fn inputs(&self, plan: &Plan) -> Vec<(usize, &'static str, Arc<[u8]>)> {
        match self {
            Settings::Lottery(settings, rules) => lottery::inputs(settings, rules, plan),
            Settings::Store(_) | Settings::Board(..) => Vec::new(),
        }
    }

    /// The clients of a plan, at the beginning of the run.
    pub fn start(
        &self,
        plan: &Plan,
        registry: &Arc<Registry>,
        world: &mut World,
    ) -> Box<dyn Workload> {
        match self {
            Settings::Store(settings) => {
                Box::new(store::Clients::new(settings, plan, registry, world))
            }
            Settings::Lottery(settings, rules) => {
                Box::new(lottery::Agencies::new(settings, rules, plan, registry, world))
            }
            Settings::Board(settings, roles) => {
                Box::new(board::Clients::new(settings, roles, plan, registry, world))
            }
        }
    }
}

/// The clients of a run.
pub trait Workload {
    /// The client may go on.
    fn wake(&mut self, client: u32, world: &mut World);
    /// A reply reached the client.
    fn reply(&mut self, client: u32, sequence: u32, reply: &[u8], world: &mut World);
    /// Bytes reached the client, which speaks through a gateway.
    fn hear(&mut self, client: u32, bytes: &[u8], world: &mut World) {
        let _ = (client, bytes, world);
    }
    /// The client's operation of that sequence has taken too long, unless it is over.
    fn timeout(&mut self, client: u32, sequence: u32, world: &mut World);
    /// The client's connection is gone.
    fn closed(&mut self, client: u32, world: &mut World);
    /// Everything is mended: is the run over? Asked every [`PROBE_EVERY`], until it is, or until
    /// `limit`.
    fn is_over(&mut self, world: &mut World, limit: Nanos) -> bool;
    /// Why the run is not over, for people.
    fn unsettled(&self, world: &World) -> String;
    /// What clients saw, and what was left in the end.
    fn take_history(&mut self, world: &mut World) -> History;
    /// Client and sequence of an operation that a verdict rests on, as traces name them.
    fn name(&self, op: usize) -> Option<(u64, u32)>;
}

/// Long enough for a probe's answers to come.
pub const PROBE_EVERY: Nanos = 200_000_000;

/// No clients: the run is over when its time is.
pub struct Watch;

impl Workload for Watch {
    fn wake(&mut self, _: u32, _: &mut World) {}
    fn reply(&mut self, _: u32, _: u32, _: &[u8], _: &mut World) {}
    fn timeout(&mut self, _: u32, _: u32, _: &mut World) {}
    fn closed(&mut self, _: u32, _: &mut World) {}
    fn is_over(&mut self, world: &mut World, limit: Nanos) -> bool {
        world.now() >= limit
    }
    fn unsettled(&self, _: &World) -> String {
        String::new()
    }
    fn take_history(&mut self, _: &mut World) -> History {
        History::default()
    }
    fn name(&self, _: usize) -> Option<(u64, u32)> {
        None
    }
}

/// What a wake-up of the world is for. Sequences tell a timeout of an operation that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token {
    /// The client may go on.
    Think(u32),
    /// The client's operation of that sequence has taken too long.
    Timeout(u32, u32),
    /// A fault of the plan begins.
    Begin(u32),
    /// It ends.
    End(u32),
    /// Look whether everything is in order again.
    Settle,
    /// Look what clocks show.
    Clocks,
    /// A fault of the plan needs a copy of a node's directory as it is now.
    Copy(u32),
}

impl Token {
    /// As the world carries it.
    pub fn pack(self) -> u64 {
        let (kind, a, b) = match self {
            Token::Think(client) => (0, client, 0),
            Token::Timeout(client, sequence) => (1, client, sequence),
            Token::Begin(place) => (2, place, 0),
            Token::End(place) => (3, place, 0),
            Token::Settle => (4, 0, 0),
            Token::Clocks => (5, 0, 0),
            Token::Copy(place) => (6, place, 0),
        };
        kind << 60 | u64::from(a) << 32 | u64::from(b)
    }

    /// What the world carried.
    pub fn unpack(token: u64) -> Token {
        let (a, b) = ((token >> 32) as u32 & 0x0FFF_FFFF, token as u32);
        match token >> 60 {
            0 => Token::Think(a),
            1 => Token::Timeout(a, b),
            2 => Token::Begin(a),
            3 => Token::End(a),
            4 => Token::Settle,
            6 => Token::Copy(a),
            _ => Token::Clocks,
        }
    }
}
