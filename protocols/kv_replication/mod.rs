//! `kv_replication`: a key-value store on N nodes with one fixed leader (document 003).
//!
//! ```text
//!  client          any server           leader                     followers
//!    │  PUT k v        │                   │                           │
//!    ├────────────────►│ Forward k v       │                           │
//!    │                 ├──────────────────►│ apply under timestamp t   │
//!    │                 │                   │ Replication k v t         │
//!    │                 │                   ├──────────────────────────►│ apply in order
//!    │                 │                   │◄──────────────────────────┤ ReplicationOk t
//!    │                 │  Forwarded t      │ once all have answered    │
//!    │◄────────────────┤◄──────────────────┤                           │
//!    │  PUT_OK t       │                   │                           │
//!
//!  link up, or leader restarted:  Probe ► State ◄, then Resume ► (the log reaches back)
//!                                 or Resync ► Pull ◄ Chunk ► … (a copy of the table)
//! ```
//!
//! **Timestamps** are the leader's counter, one step per PUT; followers store what they are told,
//! in order, without gaps. Many PUTs are in flight at once. `ReplicationOk` is cumulative.
//!
//! **Histories** are matched, not counted: a PUT is named by its timestamp, the epoch that gave it
//! that, and a hash over everything up to it (`history`), and every acknowledgement has the hash. A
//! leader that starts believes no disk, not even its own: it hears from all followers, and goes on
//! with the longest history that contradicts no other, or that a majority of those who have one
//! agrees on; it copies what it lacks. A follower whose history is no part of the leader's gets a
//! copy. Nobody answers a GET or takes a PUT before that.
//!
//! **Failure assumptions.** Nodes stop and come back, with their log (`durability = "disk"`) or
//! with nothing (`"memory"`); messages are lost, duplicated, delayed and reordered; the leader
//! never changes. One disk at a time may be damaged, emptied, an older copy or another store's: it
//! is mended from the others. When more are, or when memories are lost one after the other, what is
//! left is either everything, and goes on, or is refused in words, as long as one node still knows
//! that there was more; when all nodes of a memory cluster are down at once, the data is gone.
//!
//! **Guarantees.** PUT_OK(t) means that every node has the write (on disk, with `"disk"`). A GET
//! that starts after PUT_OK(t) returns t or newer at any server, or is refused. A client that
//! passes its last timestamp of a key never sees that key go back. A PUT that is answered with an
//! error says whether it may still take effect; on a full disk it does not. **Not guaranteed:**
//! linearizable reads — a GET may return a value whose PUT is not answered yet, and another server
//! may still have the older one. In memory, such a value is gone when all nodes that had it lost
//! everything; its timestamp is then given to another PUT.
//!
//! **Departures from the document.** Several PUTs at a time; an absent key counts as timestamp 0
//! also for a client that has seen it (NULL would show an older state than the client knows);
//! nodes may die.

mod follower;
mod history;
mod leader;
mod log;
mod message;
mod mutants;
mod resp;
mod shown;
mod table;
mod transfer;

use self::follower::Follower;
use self::history::Chain;
use self::leader::Leader;
pub use self::message::{
    Entry, FollowerInfo, ForwardId, Hash, History, Info, Message, Outcome, Record, Reply, Request,
    Standing, Timestamp,
};
#[cfg(feature = "mutants")]
pub use self::mutants::Mutant;
#[cfg(not(feature = "mutants"))]
use self::mutants::Mutant;
use self::mutants::Planted;
pub use self::resp::Resp;
use self::table::Table;
use crate::core::{
    Bytes, Caller, ConfigError, Context, Corrupt, Env, Epoch, Escaped, NodeId, Protocol,
    RecordSink, Rng,
};
use ::core::fmt;
use ::core::time::Duration;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// The table `[protocols.kv_replication]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The node that assigns timestamps: this one or a peer.
    pub leader: NodeId,
    /// What a PUT_OK survives.
    #[serde(default)]
    pub durability: Durability,
    /// How long a PUT may wait for all followers, in milliseconds.
    #[serde(default = "default_put_timeout_ms")]
    pub put_timeout_ms: u64,
    /// How long to wait for an answer of another node before sending again, in milliseconds.
    #[serde(default = "default_resend_after_ms")]
    pub resend_after_ms: u64,
    /// The longest key, in bytes.
    #[serde(default = "default_max_key_bytes")]
    pub max_key_bytes: usize,
    /// The longest value, in bytes.
    #[serde(default = "default_max_value_bytes")]
    pub max_value_bytes: usize,
    /// How many PUTs may wait at once; more are refused at once.
    #[serde(default = "default_max_pending_puts")]
    pub max_pending_puts: usize,
    /// How much the leader remembers for followers that are behind, in bytes; one that needs
    /// more gets a copy of the table.
    #[serde(default = "default_max_log_bytes")]
    pub max_log_bytes: usize,
    /// How much of the table goes into one part of a copy, in bytes; the default is some turns of
    /// the loop at loopback speed, so that heartbeats and clients get through in between.
    #[serde(default = "default_chunk_bytes")]
    pub chunk_bytes: usize,
    /// The bug to plant.
    #[cfg(feature = "mutants")]
    #[serde(default)]
    pub mutant: Option<Mutant>,
}

/// What a PUT_OK survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// The failure of all nodes but one.
    #[default]
    Memory,
    /// The failure of all nodes: every node has the write on disk.
    Disk,
}

fn default_put_timeout_ms() -> u64 {
    5_000
}
fn default_resend_after_ms() -> u64 {
    500
}
fn default_max_key_bytes() -> usize {
    4 << 10
}
fn default_max_value_bytes() -> usize {
    1 << 20
}
fn default_max_pending_puts() -> usize {
    100_000
}
fn default_max_log_bytes() -> usize {
    64 << 20
}
fn default_chunk_bytes() -> usize {
    256 << 10
}

/// Keys are copied into several messages and console lines; nobody needs longer ones.
const MAX_KEY_BYTES: usize = 64 << 10;
/// A value must fit, with its key, into one frame (16 MiB by default).
const MAX_VALUE_BYTES: usize = 8 << 20;
/// A part must fit, with the longest value that may end it, into one frame.
const MAX_CHUNK_BYTES: usize = 4 << 20;

impl Config {
    fn check(&self, env: &Env) -> Result<(), ConfigError> {
        let rule = |key, rule: String| Err(ConfigError { key, rule });
        if self.leader != env.id && !env.peers.contains(&self.leader) {
            let id = env.id;
            return rule("leader", format!("it must be this node's id ({id}) or a key of [peers]"));
        }
        if self.durability == Durability::Disk && !env.durable {
            return rule("durability", "\"disk\" needs data_dir under [node]".into());
        }
        for (key, value) in
            [("put_timeout_ms", self.put_timeout_ms), ("resend_after_ms", self.resend_after_ms)]
        {
            if !(1..=3_600_000).contains(&value) {
                return rule(key, "it must be 1 to 3600000 milliseconds (an hour)".into());
            }
        }
        for (key, value, most) in [
            ("max_key_bytes", self.max_key_bytes, MAX_KEY_BYTES),
            ("max_value_bytes", self.max_value_bytes, MAX_VALUE_BYTES),
            ("max_pending_puts", self.max_pending_puts, 10_000_000),
            ("max_log_bytes", self.max_log_bytes, 1 << 40),
            ("chunk_bytes", self.chunk_bytes, MAX_CHUNK_BYTES),
        ] {
            if !(1..=most).contains(&value) {
                return rule(key, format!("it must be 1 to {most}"));
            }
        }
        Ok(())
    }

    fn put_timeout(&self) -> Duration {
        Duration::from_millis(self.put_timeout_ms)
    }

    fn resend_after(&self) -> Duration {
        Duration::from_millis(self.resend_after_ms)
    }
}

/// What a PUT takes in the log beside its key and value, at most: headers, timestamps and lengths.
const PUT_RECORD_BYTES: u64 = 64;

/// The protocol's timers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// The oldest waiting PUT has waited long enough.
    Deadline,
    /// Something that another node should have answered is to be sent again.
    Resend,
}

/// One node's part in the store.
pub struct KvReplication {
    config: Config,
    replica: Replica,
    /// Whether the replica is known to have everything that any client was ever told is stored.
    /// Only then may a follower answer GETs and a leader take PUTs. Never so at a start: a disk can
    /// have lost what was on it, or hold an older copy, and only the others can tell.
    complete: bool,
    /// Whether it has all that it ever acknowledged, as far as it can know by itself.
    standing: Standing,
    /// Whether there are others to get back from what is lost here.
    has_peers: bool,
    role: Role,
}

impl KvReplication {
    /// Up to which PUT it holds everything, in use; none while it may lack what clients were told.
    pub fn complete_up_to(&self) -> Option<Timestamp> {
        self.complete.then(|| self.replica.applied())
    }

    /// What its table holds: keys, values, and the PUTs that they come from.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8], Timestamp)> {
        let all = self.replica.table.from(0);
        all.map(|(key, entry)| (key, &entry.value[..], entry.timestamp))
    }
}

/// A PUT that has its place.
pub(crate) struct Put<'a> {
    pub(crate) reign: Epoch,
    pub(crate) timestamp: Timestamp,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

enum Role {
    Leader(Leader),
    Follower(Follower),
}

/// The table, and the history of the PUTs that it holds.
pub(crate) struct Replica {
    table: Table,
    chain: Chain,
}

impl Replica {
    fn new(seed: u64, planted: Planted) -> Replica {
        Replica { table: Table::new(seed, planted), chain: Chain::nothing() }
    }

    /// It holds every PUT up to this one.
    fn applied(&self) -> Timestamp {
        self.chain.applied()
    }

    /// Takes the PUT that follows.
    fn apply(&mut self, put: &Put<'_>) {
        let hash = self.table.put(put.key, put.value, put.timestamp);
        self.chain.append(put.reign, hash);
    }
}

type Cx<'a> = Context<'a, KvReplication>;

impl Protocol for KvReplication {
    const NAME: &'static str = "kv_replication";
    type Config = Config;
    type Message<'a> = Message<'a>;
    type Record<'a> = Record<'a>;
    type Timer = Timer;
    type Request<'a> = Request<'a>;
    type Reply<'a> = Reply<'a>;

    fn new(config: Config, env: &Env) -> Result<Self, ConfigError> {
        config.check(env)?;
        let table_seed = Rng::stream(env.seed, "kv_replication/table").next_u64();
        let role = if config.leader == env.id {
            Role::Leader(Leader::new(env, table_seed, config.planted()))
        } else {
            let planted = config.planted();
            Role::Follower(Follower::new(config.leader, env.incarnation, table_seed, planted))
        };
        let replica = Replica::new(table_seed, config.planted());
        let has_peers = !env.peers.is_empty();
        let standing = Standing::Nothing;
        Ok(KvReplication { config, replica, complete: false, standing, has_peers, role })
    }

    fn persists(&self) -> bool {
        self.config.durability == Durability::Disk
    }

    fn on_recover(&mut self, record: Record<'_>) -> Result<(), Corrupt> {
        if !self.persists() {
            // It would go on from what is long out of date.
            return Err(Corrupt("it is of durability = \"disk\": set that, or another data_dir"));
        }
        match record {
            Record::Put { reign, timestamp, key, value } => {
                if timestamp != self.replica.applied().next() {
                    return Err(Corrupt("a PUT does not follow the one before it"));
                }
                let put = Put { reign, timestamp, key: &key, value: &value };
                self.replica.apply(&put);
                if let Role::Leader(leader) = &mut self.role {
                    leader.recover_put(&put, &self.config);
                }
            }
            Record::Entry { timestamp, key, value } => {
                self.replica.table.put(&key, &value, timestamp);
            }
            Record::Applied { timestamp, genesis, hash } => {
                self.replica.chain = Chain::at(genesis, timestamp, hash);
                self.standing = Standing::Partial;
                if let Role::Leader(leader) = &mut self.role {
                    leader.recover_applied(timestamp);
                }
            }
            Record::Complete => self.standing = Standing::Whole,
        }
        Ok(())
    }

    fn restores(&self) -> bool {
        self.has_peers
    }

    fn on_log_lost(&mut self) {
        self.standing = Standing::Partial;
    }

    fn snapshot(&self, sink: &mut RecordSink<'_>) {
        if !self.persists() {
            return;
        }
        let left_out = usize::from(self.config.planted().has(Mutant::CheckpointMissesTail));
        let entries = self.replica.table.len().saturating_sub(left_out);
        for (key, entry) in self.replica.table.from(0).take(entries) {
            let (key, value) = (Bytes::new(key), Bytes::new(&entry.value));
            sink.record(&Record::Entry { timestamp: entry.timestamp, key, value });
        }
        let chain = &self.replica.chain;
        if !chain.is_nothing() {
            let (timestamp, genesis, hash) = (chain.applied(), chain.genesis(), chain.hash());
            sink.record(&Record::Applied { timestamp, genesis, hash });
        }
        if self.standing == Standing::Whole {
            sink.record(&Record::Complete);
        }
    }

    fn on_start(&mut self, cx: &mut Cx<'_>) {
        if let Role::Leader(_) = self.role {
            self.start_leading(cx);
        }
    }

    fn on_link(&mut self, peer: NodeId, up: bool, cx: &mut Cx<'_>) {
        match &mut self.role {
            Role::Leader(_) => self.follower_link(peer, up, cx),
            Role::Follower(follower) if follower.leader == peer => follower.leader_link(up, cx),
            Role::Follower(_) => {}
        }
    }

    fn on_message(&mut self, from: NodeId, message: Message<'_>, cx: &mut Cx<'_>) {
        match &self.role {
            Role::Leader(_) => self.leader_message(from, message, cx),
            Role::Follower(follower) if follower.leader == from => {
                self.follower_message(message, cx)
            }
            // Followers have nothing to say to each other.
            Role::Follower(_) => {}
        }
    }

    fn on_timer(&mut self, timer: Timer, cx: &mut Cx<'_>) {
        match (&mut self.role, timer) {
            (Role::Leader(_), Timer::Deadline) => self.expire_puts(cx),
            (Role::Leader(_), Timer::Resend) => self.resend(cx),
            (Role::Follower(follower), Timer::Deadline) => follower.expire_forwards(cx),
            (Role::Follower(_), Timer::Resend) => self.pull_again(cx),
        }
    }

    fn on_turn_end(&mut self, cx: &mut Cx<'_>) {
        self.acknowledge_if_due(cx);
    }

    fn on_request(&mut self, caller: Caller, request: Request<'_>, cx: &mut Cx<'_>) {
        match request {
            Request::Put { key, value } => self.put_request(caller, &key, &value, cx),
            Request::Get { key, timestamp, applied } => {
                self.get_request(caller, &key, timestamp, applied, cx);
            }
            Request::Info {} => {
                let info = self.info(cx);
                cx.reply(caller.request, &Reply::Info(info));
            }
        }
    }

    fn digest(&self) -> u64 {
        self.replica.table.digest() ^ self.replica.applied().0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
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

    fn brief_record(record: &Record<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        shown::record(record, out)
    }

    fn check_invariants(&self) {
        if let Role::Leader(leader) = &self.role {
            leader.check_invariants(self.replica.applied());
        }
    }
}

impl KvReplication {
    fn put_request(&mut self, caller: Caller, key: &[u8], value: &[u8], cx: &mut Cx<'_>) {
        let (most_key, most_value) = (self.config.max_key_bytes, self.config.max_value_bytes);
        let refusal = if key.len() > most_key {
            Some(format!("the key has {} bytes, the limit is {most_key}", key.len()))
        } else if value.len() > most_value {
            Some(format!("the value has {} bytes, the limit is {most_value}", value.len()))
        } else {
            None
        };
        if let Some(reason) = refusal {
            return cx.reply(caller.request, &Reply::NotApplied { reason: reason.into() });
        }
        match &mut self.role {
            Role::Leader(_) => self.put_from_client(caller, key, value, cx),
            Role::Follower(_) if self.config.planted().has(Mutant::OwnTimestamp) => {
                let timestamp = self.replica.applied().next();
                self.apply(&Put { reign: Epoch(0), timestamp, key, value }, cx);
                cx.reply(caller.request, &Reply::PutOk { timestamp });
            }
            Role::Follower(follower) => follower.forward(caller, key, value, &self.config, cx),
        }
    }

    fn get_request(
        &mut self,
        caller: Caller,
        key: &[u8],
        timestamp: Timestamp,
        applied: Timestamp,
        cx: &mut Cx<'_>,
    ) {
        let found = self.replica.table.get(key);
        let own = found.map_or(Timestamp(0), |entry| entry.timestamp);
        let planted = self.config.planted();
        let complete = self.complete || planted.has(Mutant::AnswerIncomplete);
        let seen = own >= timestamp || planted.has(Mutant::IgnoreTimestamp);
        let reached = self.replica.applied() >= applied || planted.has(Mutant::IgnoreApplied);
        let fresh = complete && seen && reached;
        let (reply, shown) = match found {
            _ if !fresh => {
                let refusal = Reply::TryOtherServerOrLater { timestamp: own };
                (refusal, &b"TRY_OTHER_SERVER_OR_LATER"[..])
            }
            None => (Reply::Null {}, &b"NULL"[..]),
            Some(entry) => {
                let value = Bytes::new(&entry.value);
                (Reply::Value { value, timestamp: own }, &entry.value[..])
            }
        };
        cx.reply(caller.request, &reply);
        cx.print(format_args!(
            "Cliente {} GET key:{} ts:{timestamp}. Meu ts é {own}, portanto devolvendo {}",
            caller.addr,
            Escaped(key),
            Escaped(shown),
        ));
    }

    fn info(&self, cx: &Cx<'_>) -> Info<'static> {
        let (epoch, followers) = match &self.role {
            Role::Leader(leader) => (leader.epoch(), leader.info()),
            Role::Follower(follower) => (follower.epoch(), BTreeMap::new()),
        };
        Info {
            node: cx.me(),
            leader: self.config.leader,
            epoch,
            complete: self.complete,
            reason: if self.complete { "".into() } else { self.why_incomplete().into() },
            applied: self.replica.applied(),
            keys: self.replica.table.len() as u64,
            table_digest: format!("{:016x}", self.replica.table.digest()).into(),
            followers,
            counters: cx.counters().iter().map(|(name, n)| (name.into(), n)).collect(),
        }
    }

    /// Why this replica answers no GET.
    fn why_incomplete(&self) -> String {
        match &self.role {
            Role::Leader(leader) => leader.why_inactive(),
            Role::Follower(follower) => follower.why_incomplete(),
        }
    }

    /// The replica has everything: says so to the log.
    fn becomes_complete(&mut self, cx: &mut Cx<'_>) {
        if self.standing != Standing::Whole {
            self.standing = Standing::Whole;
            self.persist(&Record::Complete, cx);
        }
        if !self.complete {
            self.complete = true;
            ::log::info!(target: Self::NAME, "complete at timestamp {}", self.replica.applied());
        }
    }

    /// A replica that has nothing takes part in a history from its beginning.
    fn begin_history(&mut self, genesis: u64, cx: &mut Cx<'_>) {
        self.replica.chain = Chain::begin(genesis);
        let (genesis, hash) = (self.replica.chain.genesis(), self.replica.chain.hash());
        self.persist(&Record::Applied { timestamp: Timestamp(0), genesis, hash }, cx);
    }

    /// Whether there is room on the disk for this PUT; always, where nothing is on a disk.
    fn has_room(&self, key: &[u8], value: &[u8], cx: &Cx<'_>) -> bool {
        let bytes = PUT_RECORD_BYTES + (key.len() + value.len()) as u64;
        !self.persists() || cx.has_room_for(bytes)
    }

    fn persist(&self, record: &Record<'_>, cx: &mut Cx<'_>) {
        if self.persists() {
            cx.persist(record);
        }
    }

    /// Applies the PUT that follows the last one.
    fn apply(&mut self, put: &Put<'_>, cx: &mut Cx<'_>) {
        self.replica.apply(put);
        if self.config.planted().has(Mutant::NoRecord) {
            return;
        }
        let Put { reign, timestamp, key, value } = *put;
        if self.config.planted().has(Mutant::AnswerBeforeSync) && self.persists() {
            if timestamp.0.is_multiple_of(2) {
                cx.checkpoint();
            }
            return;
        }
        let (key, value) = (Bytes::new(key), Bytes::new(value));
        self.persist(&Record::Put { reign, timestamp, key, value }, cx);
    }

    /// Exchanges the replica for a finished copy of another node's.
    fn adopt(&mut self, replica: Replica, cx: &mut Cx<'_>) {
        self.replica = replica;
        self.standing = Standing::Whole;
        self.complete = true;
        if self.persists() {
            cx.checkpoint();
        }
        let applied = self.replica.applied();
        ::log::info!(target: Self::NAME, "copied the table up to timestamp {applied}");
    }
}
