//! The national lottery: a central that stores the agencies' bets, draws once all have finished, and
//! tells each agency its winners; and agencies, which may be clients or nodes.
//!
//! ```text
//!  agency                                    central
//!    │ ── Bets (a batch) ──────────────────────► │ appended to bets.csv, recorded, durable
//!    │ ◄──────────────────────────── Stored ──── │
//!    │ ── Finished ────────────────────────────► │ after the last agency's: the draw, once
//!    │ ◄────────────────────────── Finished ──── │
//!    │ ── Results ─────────────────────────────► │
//!    │ ◄─────────────── NotDrawn, or Winners ─── │ only its own, never partial
//! ```
//!
//! **Source.** Document 001, "TP0 - Sistemas Distribuidos" (2024); the lines that it prescribes are
//! printed as it has them, in its language. The gateway `lottery-text` speaks its wire, byte for byte.
//!
//! **Guarantees.** A batch is stored whole or not at all, and acknowledged only when it is durable.
//! Batches with numbers are stored exactly once, across restarts of either side: a retry with the same
//! number is acknowledged and not stored again, one with other content is refused. The text wire has no
//! numbers, so there a retry is stored again (at least once). The draw takes place once, when every
//! agency has finished; a second Finished changes nothing, and bets after it are refused. What the disk
//! has no room for is put off (`Later`), and nothing of it is done; all else goes on.
//!
//! **An agency as a node** (`role = "agency"`) asks over its link to the central what a client asks over
//! its connection. Messages are lost, duplicated, delayed and reordered: it has one ask under way, with a
//! number that its answer must have, and repeats it after `resend_after_ms` and on every new link. It keeps
//! nothing on disk: after a restart it begins with batch 1 again, and the central acknowledges what it has.
//! That the answer to an ask of its former self does not pass for one to its own rests on links that replay
//! nothing, as the transport's do. When it has its winners it ends its node, with success; when the central
//! refuses, or a row of the file is bad, with failure: batches that were acknowledged stay.
//!
//! **Whom the central trusts.** Peers and clients are what they say they are: nothing is authenticated. A
//! peer's batches must have numbers, as they may come twice. A peer speaks for the first agency that it
//! names, and no other peer then speaks for that one, while its link is up: this finds two nodes
//! that were given the same agency by mistake.
//!
//! **Assumes** one central that comes back with its data directory. Its memory holds winners and what
//! tells batches apart (8 bytes each), not bets; an agency's holds its file.

mod agency;
mod answers;
mod bet;
mod central;
mod line;
mod message;
mod mutants;
mod rows;
mod shown;
mod text;

pub use self::agency::Ask;
pub use self::answers::DISK_FULL;
pub use self::bet::{Bet, MAX_NAME_BYTES};
pub use self::line::{Line, Value};
pub use self::message::{Message, Record, Reply, Request};
#[cfg(feature = "mutants")]
pub use self::mutants::Mutant;
pub use self::rows::{BadRow, Chunk, Rows, bet_of};
pub use self::text::{LotteryText, MAX_CHUNK_BYTES, MAX_MESSAGE_BYTES, bets_text, winners_of_text};

use self::agency::Agency;
use self::central::Central;
use crate::core::{
    Caller, ClientId, ConfigError, Context, Corrupt, Env, Input, NodeId, Protocol, RecordSink,
};
use ::core::fmt;
use ::core::net::SocketAddr;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use serde::{Deserialize, Serialize};

/// The table `[protocols.lottery]`. What is the other role's must be left out.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default, into = "Shown")]
pub struct Config {
    /// What this node is.
    pub role: RoleName,
    /// The central: how many agencies there are; 1 to this many are their numbers.
    pub agencies: u32,
    /// The central: the number that wins.
    pub winning_number: u32,
    /// The central: the highest number that can be bet on.
    pub highest_number: u32,
    /// An agency: which.
    pub agency: u32,
    /// An agency: the central's id.
    pub central: Option<NodeId>,
    /// An agency: the file with its bets, one a line: name,surname,document,birthdate,number.
    pub bets: Option<String>,
    /// An agency: how many bets are sent at a time, at most; fewer where they would exceed 8 KiB.
    pub bets_per_chunk: u32,
    /// An agency: how long to wait before asking for results again, in milliseconds.
    pub period_ms: u64,
    /// An agency: how long to wait for an answer before asking again, in milliseconds.
    pub resend_after_ms: u64,
    /// The bug to plant.
    #[cfg(feature = "mutants")]
    pub mutant: Option<Mutant>,
}

/// What a node of the lottery is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleName {
    /// It stores bets and draws.
    Central,
    /// It sends the bets of a file.
    Agency,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            role: RoleName::Central,
            agencies: 5,
            winning_number: 7_574,
            highest_number: 9_999,
            agency: 0,
            central: None,
            bets: None,
            bets_per_chunk: 50,
            period_ms: 1_000,
            resend_after_ms: 1_000,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }
}

/// A config with the keys of its role alone.
#[derive(Serialize)]
#[serde(untagged)]
enum Shown {
    Central {
        role: RoleName,
        agencies: u32,
        winning_number: u32,
        highest_number: u32,
    },
    Agency {
        role: RoleName,
        agency: u32,
        central: Option<NodeId>,
        bets: Option<String>,
        bets_per_chunk: u32,
        period_ms: u64,
        resend_after_ms: u64,
    },
}

impl From<Config> for Shown {
    fn from(config: Config) -> Shown {
        let Config { role, agencies, winning_number, highest_number, .. } = config;
        let Config { agency, central, bets, bets_per_chunk, period_ms, resend_after_ms, .. } =
            config;
        match role {
            RoleName::Central => Shown::Central { role, agencies, winning_number, highest_number },
            RoleName::Agency => Shown::Agency {
                role,
                agency,
                central,
                bets,
                bets_per_chunk,
                period_ms,
                resend_after_ms,
            },
        }
    }
}

impl Config {
    /// Keys of the other role would have no effect.
    fn check_role(&self) -> Result<(), ConfigError> {
        let none = Config::default();
        let central = [
            ("agencies", self.agencies != none.agencies),
            ("winning_number", self.winning_number != none.winning_number),
            ("highest_number", self.highest_number != none.highest_number),
        ];
        let agency = [
            ("agency", self.agency != none.agency),
            ("central", self.central != none.central),
            ("bets", self.bets != none.bets),
            ("bets_per_chunk", self.bets_per_chunk != none.bets_per_chunk),
            ("period_ms", self.period_ms != none.period_ms),
            ("resend_after_ms", self.resend_after_ms != none.resend_after_ms),
        ];
        let (others, rule): (&[_], _) = match self.role {
            RoleName::Central => {
                (&agency, "it is a key of an agency: set role = \"agency\", or leave it out")
            }
            RoleName::Agency => (&central, "it is a key of the central: leave it out"),
        };
        match others.iter().find(|(_, is_set)| *is_set) {
            Some((key, _)) => Err(ConfigError { key, rule: String::from(rule) }),
            None => Ok(()),
        }
    }
}

/// A node of the lottery, by its role.
pub struct Lottery(Role);

enum Role {
    Central(Central),
    /// Boxed: its parser of CSV is large.
    Agency(Box<Agency>),
}

impl Protocol for Lottery {
    const NAME: &'static str = "lottery";
    const INTERNAL: &'static [&'static str] = &["unreadable", "bare"];
    const FILE: Option<&'static str> = Some("bets.csv");
    type Config = Config;
    type Message<'a> = Message<'a>;
    type Record<'a> = Record;
    type Timer = Ask;
    type Request<'a> = Request<'a>;
    type Reply<'a> = Reply<'a>;

    fn new(config: Config, env: &Env) -> Result<Lottery, ConfigError> {
        config.check_role()?;
        Ok(Lottery(match config.role {
            RoleName::Central => Role::Central(Central::new(config, env)?),
            RoleName::Agency => Role::Agency(Box::new(Agency::new(config, env)?)),
        }))
    }

    fn input(&self) -> Option<Input<'_>> {
        match &self.0 {
            Role::Central(_) => None,
            Role::Agency(agency) => Some(agency.input()),
        }
    }

    fn on_input(&mut self, content: Arc<[u8]>) {
        match &mut self.0 {
            Role::Central(_) => {}
            Role::Agency(agency) => agency.on_input(content),
        }
    }

    fn persists(&self) -> bool {
        match self.0 {
            Role::Central(_) => true,
            Role::Agency(_) => false,
        }
    }

    fn on_recover(&mut self, record: Record) -> Result<(), Corrupt> {
        match &mut self.0 {
            Role::Central(central) => central.on_recover(record),
            Role::Agency(_) => Err(Corrupt("it is the central's, and this node is an agency")),
        }
    }

    fn on_file(&mut self, bytes: u64) -> Result<u64, Corrupt> {
        match &mut self.0 {
            Role::Central(central) => central.on_file(bytes),
            Role::Agency(_) => Ok(bytes),
        }
    }

    fn snapshot(&self, sink: &mut RecordSink<'_>) {
        match &self.0 {
            Role::Central(central) => central.snapshot(sink),
            Role::Agency(_) => {}
        }
    }

    fn on_start(&mut self, cx: &mut Context<'_, Self>) {
        match &mut self.0 {
            Role::Central(central) => central.on_start(cx),
            Role::Agency(agency) => agency.on_start(cx),
        }
    }

    fn on_message(&mut self, from: NodeId, message: Message<'_>, cx: &mut Context<'_, Self>) {
        match &mut self.0 {
            Role::Central(central) => central.on_message(from, message, cx),
            Role::Agency(agency) => agency.on_message(from, message, cx),
        }
    }

    fn on_timer(&mut self, timer: Ask, cx: &mut Context<'_, Self>) {
        match &mut self.0 {
            Role::Central(_) => {}
            Role::Agency(agency) => agency.on_timer(timer, cx),
        }
    }

    fn on_request(&mut self, caller: Caller, request: Request<'_>, cx: &mut Context<'_, Self>) {
        match &mut self.0 {
            Role::Central(central) => central.on_request(caller, request, cx),
            Role::Agency(agency) => agency.on_request(caller.request, cx),
        }
    }

    fn on_link(&mut self, peer: NodeId, up: bool, cx: &mut Context<'_, Self>) {
        match &mut self.0 {
            Role::Central(central) => central.on_link(peer, up, cx),
            Role::Agency(agency) => agency.on_link(peer, up, cx),
        }
    }

    fn on_client(&mut self, _: ClientId, addr: SocketAddr, up: bool, cx: &mut Context<'_, Self>) {
        match &mut self.0 {
            Role::Central(central) => central.on_client(addr, up, cx),
            Role::Agency(_) => {}
        }
    }

    fn on_stop(&mut self, cx: &mut Context<'_, Self>) {
        match &mut self.0 {
            Role::Central(central) => central.on_stop(cx),
            Role::Agency(agency) => agency.on_stop(cx),
        }
    }

    fn digest(&self) -> u64 {
        match &self.0 {
            Role::Central(central) => central.digest(),
            Role::Agency(agency) => agency.digest(),
        }
    }

    fn view(&self) -> impl Serialize {
        self.seen()
    }

    fn brief(message: &Message<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        shown::message(message, out)
    }

    fn brief_request(request: &Request<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        shown::request(request, out)
    }

    fn brief_reply(reply: &Reply<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        shown::reply(reply, out)
    }

    fn brief_record(record: &Record, out: &mut dyn fmt::Write) -> fmt::Result {
        shown::record(record, out)
    }

    fn check_invariants(&self) {
        match &self.0 {
            Role::Central(central) => central.check_invariants(),
            Role::Agency(_) => {}
        }
    }
}
