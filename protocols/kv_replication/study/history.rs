//! What the store's clients saw, and what its replicas held, made of a run's operations.

use node_lab::check::describe::{Client, Millis, Short, Span};
use node_lab::study::{MAX_WITNESSES, Met, Operation, Run, Verdict, Violation, Witness};
use node_protocols::core::Protocol;
use node_protocols::kv_replication::{KvReplication, Reply, Request};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// A run as the store's clients saw it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Store {
    /// The operations.
    pub ops: Vec<Op>,
    /// What replicas held at the end; empty when nobody looked.
    pub replicas: Vec<Replica>,
    /// The place in the run of each of `ops`.
    places: Vec<usize>,
}

/// A client's operation on a key-value store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Op {
    /// The client; its operations do not overlap.
    pub client: u64,
    /// Which operation.
    pub op: Kind,
    /// The key.
    pub key: String,
    /// PUT: the value written, unique in the history. GET: the value read; none where none was.
    pub value: Option<String>,
    /// When it was sent, in nanoseconds of one clock for the whole history.
    pub invoke_ns: u64,
    /// When its answer came; none when none did.
    pub return_ns: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// PUT: the timestamp that the server gave. GET: the timestamp of the value, or the server's
    /// own for the key when it refused; 0 for none.
    pub timestamp: u64,
    /// The server that was asked.
    pub server: String,
}

/// Which operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Store a value.
    Put,
    /// Read a value.
    Get,
}

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// PUT_OK, or a value.
    Ok,
    /// GET: the key was never PUT.
    Null,
    /// GET: refused, the server is behind the client.
    TryOther,
    /// PUT: it did not and will not take effect.
    NotApplied,
    /// PUT: it may have taken effect, or still take effect.
    MayStillApply,
    /// No answer came: as `MayStillApply` for a PUT, nothing for a GET.
    Unknown,
}

/// What a replica held at the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Replica {
    /// Which replica.
    pub replica: String,
    /// Its last PUT.
    pub applied: u64,
    /// A digest of its table, in hexadecimal.
    pub digest: String,
    /// The place in the run of the operation that told.
    #[serde(skip)]
    pub place: usize,
}

impl Op {
    /// A PUT that was answered with PUT_OK.
    pub(crate) fn is_acknowledged_put(&self) -> bool {
        self.op == Kind::Put && self.outcome == Outcome::Ok
    }

    /// The timestamp that a GET saw, NULL counting as 0; none for a PUT, and for a GET that was
    /// refused or not answered, which is no read.
    pub(crate) fn seen_timestamp(&self) -> Option<u64> {
        match (self.op, self.outcome) {
            (Kind::Get, Outcome::Ok) => Some(self.timestamp),
            (Kind::Get, Outcome::Null) => Some(0),
            (
                Kind::Get,
                Outcome::TryOther | Outcome::NotApplied | Outcome::MayStillApply | Outcome::Unknown,
            )
            | (Kind::Put, _) => None,
        }
    }

    /// The end of the operation, in nanoseconds; no time is later than that of one that never
    /// ended.
    pub(crate) fn end_ns(&self) -> u64 {
        self.return_ns.unwrap_or(u64::MAX)
    }
}

/// An operation in words, with its times in milliseconds from the run's beginning:
/// `client 1 PUT k=v at node 2 returned PUT_OK (timestamp 3, 10.0 to 20.5 ms)`.
pub(super) struct Described<'a>(pub &'a Op);

/// What these operations show, each in its role; the last of them broke it.
pub(super) fn shown(ops: &[Op], roles: &[(&'static str, usize)], why: String) -> Violation {
    let says = |i: usize| ops.get(i).map_or_else(String::new, |op| Described(op).to_string());
    let witness = |(role, i): &(&'static str, usize)| Witness::operation(*role, *i, says(*i));
    Violation::by(roles.iter().map(witness).collect(), why)
}

/// With the PUT whose value was read, where it is none of the witnesses and there is room: a read
/// that breaks something is told with where its value comes from.
pub(super) fn with_source(verdict: Verdict, ops: &[Op]) -> Verdict {
    let Verdict::Violated(mut found) = verdict else { return verdict };
    let told = found.ops();
    let read = told.first().and_then(|i| ops.get(*i)).filter(|op| op.op == Kind::Get);
    let wrote = |op: &Op, read: &Op| {
        op.op == Kind::Put
            && (&op.key, &op.value) == (&read.key, &read.value)
            && op.outcome != Outcome::NotApplied
            && (op.outcome != Outcome::Ok || op.timestamp == read.timestamp)
    };
    let read = read.filter(|read| read.outcome == Outcome::Ok);
    let source = read.and_then(|read| ops.iter().position(|op| wrote(op, read)));
    if let Some(source) = source.filter(|i| !told.contains(i))
        && found.witnesses.len() < MAX_WITNESSES
    {
        let begin = ops[source].invoke_ns;
        let is_later = |one: &Witness| one.op().is_some_and(|i| ops[i].invoke_ns > begin);
        let place = found.witnesses.iter().position(is_later).unwrap_or_default();
        let says = Described(&ops[source]).to_string();
        found.witnesses.insert(place, Witness::operation("write of the value read", source, says));
    }
    Verdict::Violated(found)
}

/// The same where the client has been named: `GET at node 1 returned v (timestamp 3, …)`.
pub(super) struct Again<'a>(pub &'a Op);

/// A GET within a sentence: `client 3's GET k at node 3 returned v (timestamp 2) at 20.5 ms`.
pub(super) struct Read<'a>(pub &'a Op);

/// A PUT within a sentence, as something of its client's: `client 1's PUT k=v at node 2 (timestamp
/// 3)`.
pub(super) struct Wrote<'a>(pub &'a Op);

impl fmt::Display for Read<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = self.0;
        write!(f, "{}'s GET {}", Client(op.client), Short(&op.key))?;
        op.describe_place(f)?;
        match (op.outcome, &op.value) {
            (Outcome::Ok, Some(value)) => {
                write!(f, " returned {} (timestamp {})", Short(value), op.timestamp)?;
            }
            _ => f.write_str(" returned NULL")?,
        }
        op.return_ns.map_or(Ok(()), |at| write!(f, " at {}", Millis(at)))
    }
}

impl fmt::Display for Wrote<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = self.0;
        let value = op.value.as_deref().unwrap_or_default();
        write!(f, "{}'s PUT {}={}", Client(op.client), Short(&op.key), Short(value))?;
        op.describe_place(f)?;
        match op.outcome {
            Outcome::Ok => write!(f, " (timestamp {})", op.timestamp),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = self.0;
        write!(f, "{} {} {}", Client(op.client), op.op.name(), Short(&op.key))?;
        if let (Kind::Put, Some(value)) = (op.op, &op.value) {
            write!(f, "={}", Short(value))?;
        }
        op.describe_rest(f)
    }
}

impl fmt::Display for Again<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = self.0;
        f.write_str(op.op.name())?;
        if let (Kind::Put, Some(value)) = (op.op, &op.value) {
            write!(f, " of {}", Short(value))?;
        }
        op.describe_rest(f)
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Kind::Put => "PUT",
            Kind::Get => "GET",
        }
    }
}

impl Op {
    /// Who was asked.
    fn describe_place(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.server.strip_suffix(TWIN).unwrap_or(&self.server);
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        match (is_id, id) {
            (true, _) => write!(f, " at node {}", self.server),
            (false, "") => Ok(()),
            (false, _) => write!(f, " at {}", Short(&self.server)),
        }
    }

    /// Who was asked, what came of it, and when.
    fn describe_rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe_place(f)?;
        match (self.outcome, self.op, &self.value) {
            (Outcome::Ok, Kind::Get, Some(value)) => write!(f, " returned {} (", Short(value))?,
            (Outcome::Ok, _, _) => f.write_str(" returned PUT_OK (")?,
            (Outcome::Null, _, _) => f.write_str(" returned NULL (")?,
            (Outcome::TryOther, _, _) => f.write_str(" was refused (")?,
            (Outcome::NotApplied, _, _) => f.write_str(" was not applied (")?,
            (Outcome::MayStillApply, _, _) => f.write_str(" may still apply (")?,
            (Outcome::Unknown, _, _) => f.write_str(" got no answer (")?,
        }
        if self.outcome == Outcome::Ok {
            write!(f, "timestamp {}, ", self.timestamp)?;
        }
        write!(f, "{})", Span(self.invoke_ns, self.return_ns))
    }
}

/// What a second process of a node's id has behind the id.
pub const TWIN: &str = "'";

impl Store {
    /// What the store's clients saw in a run.
    pub fn of(run: &Run) -> Arc<Store> {
        run.derive(Store::new)
    }

    fn new(run: &Run) -> Store {
        let mut sessions = Sessions::default();
        let mut statuses: BTreeMap<(Option<u32>, bool), Replica> = BTreeMap::new();
        let mut store = Store::default();
        for (place, operation) in run.operations_of(KvReplication::NAME) {
            match run.request::<Request<'_>>(operation) {
                Some(Request::Info {}) => {
                    let node = (operation.node, operation.is_twin);
                    if let Some(Reply::Info(info)) = run.reply::<Reply<'_>>(operation) {
                        let replica = Replica {
                            replica: info.node.to_string(),
                            applied: info.applied.0,
                            digest: info.table_digest.to_string(),
                            place,
                        };
                        statuses.insert(node, replica);
                    }
                }
                Some(request) => {
                    if let Some(mut op) = store_op(operation, &request) {
                        let reply = run.reply::<Reply<'_>>(operation);
                        if let Some((reply, at_ns)) = reply.zip(operation.return_ns) {
                            op.answer(at_ns, &reply);
                        }
                        store.places.push(place);
                        store.ops.push(op);
                    }
                }
                None => {}
            }
        }
        if run.operations.iter().any(|operation| operation.is_seen_at_node) {
            sessions.name(run, &mut store);
        }
        store.replicas.extend(statuses.into_values());
        store
    }

    /// The place in the run of an operation of the store.
    pub fn place(&self, op: usize) -> Option<usize> {
        self.places.get(op).copied()
    }
}

/// A PUT or GET without its answer; none for what is neither.
fn store_op(operation: &Operation, request: &Request<'_>) -> Option<Op> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (op, key, value) = match request {
        Request::Put { key, value } => (Kind::Put, text(key), Some(text(value))),
        Request::Get { key, .. } => (Kind::Get, text(key), None),
        Request::Info {} => return None,
    };
    let node = operation.node.map(|node| node.to_string()).unwrap_or_default();
    Some(Op {
        client: operation.client,
        op,
        key,
        value,
        invoke_ns: operation.invoke_ns,
        return_ns: None,
        outcome: Outcome::Unknown,
        timestamp: 0,
        server: if operation.is_twin { node + TWIN } else { node },
    })
}

impl Op {
    fn answer(&mut self, at_ns: u64, reply: &Reply<'_>) {
        let (outcome, timestamp) = match reply {
            Reply::PutOk { timestamp } => (Outcome::Ok, timestamp.0),
            Reply::Value { value, timestamp } => {
                self.value = Some(String::from_utf8_lossy(value).into_owned());
                (Outcome::Ok, timestamp.0)
            }
            Reply::Null {} => (Outcome::Null, 0),
            Reply::TryOtherServerOrLater { timestamp } => (Outcome::TryOther, timestamp.0),
            Reply::NotApplied { .. } => (Outcome::NotApplied, 0),
            Reply::MayStillApply { .. } => (Outcome::MayStillApply, 0),
            Reply::Info(_) => return,
        };
        self.return_ns = Some(at_ns);
        (self.outcome, self.timestamp) = (outcome, timestamp);
    }
}

/// Which client an operation is of, where only its connection was seen, at the node. A connection
/// is a client; what it pipelines counts as of other clients, since a client's operations do not
/// overlap. So does a GET that passes no timestamp though the connection knows one: it asks as
/// somebody who has seen nothing yet.
#[derive(Default)]
struct Sessions {
    /// Clients' numbers, and how many operations of each are under way.
    clients: BTreeMap<u32, (u64, usize)>,
    /// Which connections know a timestamp of which keys.
    known: BTreeSet<(u32, String)>,
    next: u64,
}

impl Sessions {
    /// Numbers the clients of what was seen at nodes.
    fn name(&mut self, run: &Run, store: &mut Store) {
        let of: BTreeMap<usize, usize> = store.places.iter().copied().zip(0..).collect();
        for contact in &run.contacts {
            match contact.what {
                Met::Asked(place) if run.operations[place].is_seen_at_node => {
                    let Some(at) = of.get(&place) else { continue };
                    let operation = &run.operations[place];
                    let op = &mut store.ops[*at];
                    op.client = self.client(operation.connection);
                    let passes = match run.request::<Request<'_>>(operation) {
                        Some(Request::Get { timestamp, applied, .. }) => {
                            timestamp.max(applied).0 > 0
                        }
                        _ => true,
                    };
                    if !passes && self.known.contains(&(operation.connection, op.key.clone())) {
                        op.client = self.next;
                    }
                }
                Met::Told(place) if run.operations[place].is_seen_at_node => {
                    let Some(at) = of.get(&place) else { continue };
                    let connection = run.operations[place].connection;
                    if let Some((_, open)) = self.clients.get_mut(&connection) {
                        *open = open.saturating_sub(1);
                    }
                    let op = &store.ops[*at];
                    if op.timestamp > 0 && op.outcome == Outcome::Ok {
                        self.known.insert((connection, op.key.clone()));
                    }
                }
                _ => {}
            }
        }
    }

    fn client(&mut self, connection: u32) -> u64 {
        self.next += 1;
        let fresh = self.next;
        let (number, open) = self.clients.entry(connection).or_insert((fresh, 0));
        *open += 1;
        if *open == 1 { *number } else { fresh }
    }
}

/// The indexes of `ops` client by client, each client's in the order in which it issued them.
pub(super) fn by_client(ops: &[Op]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..ops.len()).collect();
    order.sort_by_key(|&i| (ops[i].client, ops[i].invoke_ns, ops[i].end_ns(), i));
    order
}

/// The indexes of `ops` in the order in which they were sent.
pub(super) fn by_invocation(ops: &[Op]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..ops.len()).collect();
    order.sort_by_key(|&i| (ops[i].invoke_ns, ops[i].end_ns(), i));
    order
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
