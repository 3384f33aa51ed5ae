//! The trait that a protocol implements, and what it is told about its node.

use super::{Caller, ClientId, Context, Fact, FactKind, NodeId, RecordSink};
use ::core::fmt::{self, Debug};
use ::core::net::SocketAddr;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A distributed protocol on one node: events in, effects out, and nothing else.
///
/// Callbacks run one at a time, to the end, and must not depend on anything but the state, the
/// event and what [`Context`] offers: then a run can be repeated from its seed. No callback may
/// panic on what a peer, a client or a log record holds; a broken invariant of the protocol's own
/// asserts.
///
/// Messages between nodes may be lost, duplicated, reordered and delayed, and a node may stop at
/// any callback and start again with only what it [persisted](Context::persist). What the real
/// transport adds: a frame never arrives over a link that has been replaced since, so nothing
/// that was sent to or by an earlier incarnation of either end is delivered.
pub trait Protocol: Sized + 'static {
    /// The name in the config, in logs and in traces; also the log target.
    const NAME: &'static str;
    /// The kinds of facts that this protocol publishes.
    const PUBLISHES: &'static [FactKind] = &[];

    /// The file of lines in the node's data directory that [`Context::file`] adds to, if there is
    /// one. What a record tells of ends with a line's end. Where it does not
    /// [persist](Protocol::persists), there is none.
    const FILE: Option<&'static str> = None;

    /// The keys under which the JSON gateway has a request's or reply's kind and content, as in
    /// `{"service":"rank","data":{…}}`, if a document wants that; serde's own form is
    /// `{"rank":{…}}`.
    const JSON_KEYS: Option<(&'static str, &'static str)> = None;

    /// The requests that only gateways make, by their names in JSON: a client can neither make them
    /// nor learn of them there.
    const INTERNAL: &'static [&'static str] = &[];

    /// The table `[protocols.NAME]` of the config.
    type Config: DeserializeOwned + Serialize + Clone + Send + Sync + 'static;
    /// What goes between nodes.
    type Message<'a>: Serialize + Deserialize<'a> + Debug;
    /// What is written to the log.
    type Record<'a>: Serialize + Deserialize<'a> + Debug;
    /// Names of timers.
    type Timer: Copy + Ord + Debug;
    /// What clients ask; [`Never`] where there are none.
    type Request<'a>: Serialize + Deserialize<'a> + Debug;
    /// What clients are answered.
    type Reply<'a>: Serialize + Deserialize<'a> + Debug;

    /// Builds the initial state, or says which key of the config is wrong.
    ///
    /// # Errors
    /// Which key breaks which rule.
    fn new(config: Self::Config, env: &Env) -> Result<Self, ConfigError>;

    /// The request that has a JSON client's line that is none answered, and why it is none; without
    /// one the line is answered `{"error":…}`. For documents that want more in every answer.
    fn malformed(reason: &str) -> Option<Self::Request<'_>> {
        let _ = reason;
        None
    }

    /// The kinds of facts without which it cannot work.
    fn needs(&self) -> &'static [FactKind] {
        &[]
    }

    /// The file that it reads, if there is one: whoever runs the node reads it whole, before
    /// anything else happens, and gives it to [`on_input`](Protocol::on_input).
    fn input(&self) -> Option<Input<'_>> {
        None
    }

    /// What is in the file that [`input`](Protocol::input) names. Runs right after `new`.
    fn on_input(&mut self, content: Arc<[u8]>) {
        let _ = content;
    }

    /// Whether it writes to the log, and the node therefore needs a `data_dir`.
    fn persists(&self) -> bool {
        false
    }

    /// Takes back one record, in the order in which they were written. Runs before `on_start`.
    ///
    /// # Errors
    /// The record is none that this config can have written.
    fn on_recover(&mut self, record: Self::Record<'_>) -> Result<(), Corrupt> {
        let _ = record;
        Err(Corrupt("this protocol writes no records"))
    }

    /// Whether it gets back from its peers what its own log has lost. A log that is damaged, or
    /// belongs elsewhere, is then set aside and the node starts without it; otherwise it does not
    /// start.
    fn restores(&self) -> bool {
        false
    }

    /// The node's log was set aside: what it had is not known here. Runs before `on_start`, without
    /// any
    /// [`on_recover`](Protocol::on_recover).
    fn on_log_lost(&mut self) {}

    /// The protocol's file has this many bytes; runs after the records, before `on_start`. Answers
    /// how many of them its records know of: the rest is cut.
    ///
    /// # Errors
    /// The file is shorter than the log knows.
    fn on_file(&mut self, bytes: u64) -> Result<u64, Corrupt> {
        Ok(bytes)
    }

    /// Writes the records from which `on_recover` rebuilds the present state.
    fn snapshot(&self, sink: &mut RecordSink<'_>) {
        let _ = sink;
    }

    /// The node starts.
    fn on_start(&mut self, cx: &mut Context<'_, Self>) {
        let _ = cx;
    }

    /// A message of the same protocol on another node.
    fn on_message(&mut self, from: NodeId, message: Self::Message<'_>, cx: &mut Context<'_, Self>);

    /// A timer that was set and neither replaced nor cancelled is due.
    fn on_timer(&mut self, timer: Self::Timer, cx: &mut Context<'_, Self>);

    /// A client asks. Answer with [`Context::reply`], now or later, once.
    fn on_request(
        &mut self,
        caller: Caller,
        request: Self::Request<'_>,
        cx: &mut Context<'_, Self>,
    );

    /// The link to a peer came up (and is a new one) or went down (and lost what was under way).
    fn on_link(&mut self, peer: NodeId, up: bool, cx: &mut Context<'_, Self>) {
        let _ = (peer, up, cx);
    }

    /// The turn of which a callback [asked for the end](Context::at_turn_end) ends: all that the
    /// node had at hand has been delivered, and the effects leave next. For what is said once for
    /// many events.
    fn on_turn_end(&mut self, cx: &mut Context<'_, Self>) {
        let _ = cx;
    }

    /// A client of this protocol connected or is gone.
    fn on_client(
        &mut self,
        client: ClientId,
        addr: SocketAddr,
        up: bool,
        cx: &mut Context<'_, Self>,
    ) {
        let _ = (client, addr, up, cx);
    }

    /// A client does not read, and what is [pushed](Context::push) to it only fills memory, until
    /// it has room again: then `full` is false.
    fn on_backpressure(&mut self, client: ClientId, full: bool, cx: &mut Context<'_, Self>) {
        let _ = (client, full, cx);
    }

    /// The node stops, and takes no further requests: it was told to, or one of its protocols
    /// [asked](Context::stop).
    fn on_stop(&mut self, cx: &mut Context<'_, Self>) {
        let _ = cx;
    }

    /// Another protocol of this node published a fact.
    fn on_fact(&mut self, fact: &Fact, cx: &mut Context<'_, Self>) {
        let _ = (fact, cx);
    }

    /// A number that is equal on two nodes, or in two runs, exactly when what matters of the
    /// state is.
    fn digest(&self) -> u64 {
        0
    }

    /// What somebody who watches the node wants to see of the state: a handful of fields by name,
    /// with lists cut to [`MAX_LISTED`](super::MAX_LISTED). `()` is nothing. It is asked for at the
    /// end of turns where a trace is written, and never otherwise.
    fn view(&self) -> impl Serialize {}

    /// A message in short, for the arrow that shows it: `REPL k=v @35`, about 24 characters. What
    /// is longer than [`MAX_BRIEF`](super::MAX_BRIEF) is cut, and control characters are escaped,
    /// whoever writes them. Nothing written is no short form; the default is the text of [`Debug`].
    ///
    /// # Errors
    /// Those of `out`.
    fn brief(message: &Self::Message<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{message:?}")
    }

    /// A client's request in short, likewise; there is none by default.
    ///
    /// # Errors
    /// Those of `out`.
    fn brief_request(request: &Self::Request<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        let _ = (request, out);
        Ok(())
    }

    /// What a client is answered in short, likewise; there is none by default.
    ///
    /// # Errors
    /// Those of `out`.
    fn brief_reply(reply: &Self::Reply<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        let _ = (reply, out);
        Ok(())
    }

    /// What is written to the log in short, likewise; there is none by default.
    ///
    /// # Errors
    /// Those of `out`.
    fn brief_record(record: &Self::Record<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        let _ = (record, out);
        Ok(())
    }

    /// How many bytes at the end of an encoded message only name it: two runs that differ in them
    /// alone are the same run.
    fn unhashed(message: &[u8]) -> usize {
        let _ = message;
        0
    }

    /// Asserts what must always hold. Test drivers call it after every event.
    fn check_invariants(&self) {}
}

/// What a protocol is told about its node when it is built.
#[derive(Clone, Debug)]
pub struct Env {
    /// This node.
    pub id: NodeId,
    /// The other nodes, in ascending order.
    pub peers: Vec<NodeId>,
    /// Larger each time that this node starts, and never zero.
    pub incarnation: u64,
    /// Names the node's data directory: random, made with it, and kept in it. A node without one
    /// has another at each start.
    pub identity: u128,
    /// Seeds the random streams of this node's protocols.
    pub seed: u64,
    /// Whether the node has a data directory, so that records survive it.
    pub durable: bool,
}

/// A file that a protocol reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Input<'a> {
    /// The key of the protocol's table that names it.
    pub key: &'static str,
    /// Where it is; relative to the working directory.
    pub path: &'a str,
}

/// How a node ends whose protocol asked to [stop](Context::stop).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// What it was there for is done.
    Success,
    /// It cannot be done, and the console says why.
    Failure,
}

/// A value in a protocol's config that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The key within the protocol's table.
    pub key: &'static str,
    /// The rule that it breaks, and what to write instead.
    pub rule: String,
}

/// A record that makes no sense where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corrupt(pub &'static str);

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The type without values: for a protocol that has no requests, messages, records or timers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Never {}
