//! A run as whoever watched it knows it: what clients asked and were told, what nodes did, and what
//! they showed. The simulator fills one as it goes, and `trace` reads one from traces; every
//! property is judged by one.

use super::{Befell, Bounds, Mishap, Seen};
use crate::check::timeline::{Happening, What};
use crate::config::Config;
use crate::plugins::JsonForm;
use node_core::protocol_tag;
use serde::Deserialize;
use serde_json::Value;
use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

/// A run. Times are nanoseconds of one clock.
#[derive(Debug)]
pub struct Run {
    /// What clients asked, in the order in which they did.
    pub operations: Vec<Operation>,
    /// What else clients met, in its order.
    pub contacts: Vec<Contact>,
    /// What nodes did, in the order in which it happened on each node; empty when nobody looked.
    pub timeline: Vec<Happening>,
    /// What befell nodes, in the order of time, whatever its properties ask to see.
    pub mishaps: Vec<Mishap>,
    /// What nodes showed on their disks and consoles, and what they sent; empty when nobody looked.
    pub seen: Seen,
    /// The nodes' configs; empty where they are not known.
    pub nodes: Arc<[Config]>,
    /// What its properties are held against.
    pub bounds: Bounds,
    /// Whether who wrote it saw all nodes from outside: who was held up, and when faults were. The
    /// simulator does; traces of real nodes do not.
    pub is_simulated: bool,
    /// When it was over.
    pub end_ns: u64,
    /// What it keeps beside.
    pub kept: Kept,
}

/// What a run keeps: the encoded requests and replies, and what studies derived.
#[derive(Debug, Default)]
pub struct Kept {
    bytes: Vec<u8>,
    derived: Derived,
}

/// Something that a client asked of a node.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The client: its operations do not overlap.
    pub client: u64,
    /// Names it in traces, together with its sequence there.
    pub connection: u32,
    /// The number of the operation on its connection.
    pub sequence: u32,
    /// The tag of the protocol whose request it is.
    pub tag: u16,
    /// Whether only the node saw it: its client is then its connection, and its times are the
    /// node's.
    pub is_seen_at_node: bool,
    /// The node that was asked; none where that is not known.
    pub node: Option<u32>,
    /// Whether that was a second process of the node's id.
    pub is_twin: bool,
    /// Whether its client is none of those that the run began with.
    pub is_late: bool,
    /// When it was asked.
    pub invoke_ns: u64,
    /// When the answer came; none when none did.
    pub return_ns: Option<u64>,
    request: Body,
    reply: Option<Body>,
}

/// Something that happened to a client's connection.
#[derive(Clone, Copy, Debug)]
pub struct Contact {
    /// When.
    pub at_ns: u64,
    /// Whose connection.
    pub connection: u32,
    /// What.
    pub what: Met,
}

/// What a client met, on a connection.
#[derive(Clone, Copy, Debug)]
pub enum Met {
    /// It asked: the place of the operation.
    Asked(usize),
    /// It was answered: the place of the operation.
    Told(usize),
    /// What it had subscribed to reached it.
    Pushed(Body),
    /// It learned that its connection was gone.
    Closed,
    /// It gave its connection up.
    Left,
    /// It stopped reading what it subscribed to.
    Dozes,
    /// It read on.
    Reads,
}

/// An encoded request or reply.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    start: usize,
    end: usize,
    form: Form,
}

/// How it is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// As between a node and its driver.
    Postcard,
    /// As on the `json` gateway.
    Json,
}

impl Default for Run {
    fn default() -> Run {
        Run {
            operations: Vec::new(),
            contacts: Vec::new(),
            timeline: Vec::new(),
            mishaps: Vec::new(),
            seen: Seen::default(),
            nodes: Arc::new([]),
            bounds: Bounds::default(),
            is_simulated: false,
            end_ns: 0,
            kept: Kept::default(),
        }
    }
}

impl Met {
    /// What traces call it; none for what has lines of its own.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Met::Asked(_) | Met::Told(_) => None,
            Met::Pushed(_) => Some("pushed"),
            Met::Closed => Some("closed"),
            Met::Left => Some("left"),
            Met::Dozes => Some("dozes"),
            Met::Reads => Some("reads"),
        }
    }
}

impl Run {
    /// A client asks for something, in its encoded form. Answers the operation's place.
    pub fn ask(&mut self, operation: Asked<'_>) -> usize {
        let Asked { client, connection, sequence, tag, node, is_twin, at_ns, request, .. } =
            operation;
        let place = self.operations.len();
        let request = self.keep(request, Form::Postcard);
        self.operations.push(Operation {
            client,
            connection,
            sequence,
            tag,
            is_seen_at_node: operation.is_seen_at_node,
            node,
            is_twin,
            is_late: false,
            invoke_ns: at_ns,
            return_ns: None,
            request,
            reply: None,
        });
        self.contacts.push(Contact { at_ns, connection, what: Met::Asked(place) });
        place
    }

    /// The operation of that place is answered.
    pub fn answer(&mut self, place: usize, at_ns: u64, reply: &[u8]) {
        let reply = self.keep(reply, Form::Postcard);
        self.answered(place, at_ns, reply);
    }

    /// Likewise, as JSON.
    pub fn answer_json(&mut self, place: usize, at_ns: u64, reply: &str) {
        let reply = self.keep(reply.as_bytes(), Form::Json);
        self.answered(place, at_ns, reply);
    }

    fn answered(&mut self, place: usize, at_ns: u64, reply: Body) {
        let operation = &mut self.operations[place];
        operation.return_ns = Some(at_ns);
        operation.reply = Some(reply);
        let connection = operation.connection;
        self.contacts.push(Contact { at_ns, connection, what: Met::Told(place) });
    }

    /// A client asks for something, as JSON. Answers the operation's place.
    pub fn ask_json(&mut self, operation: Asked<'_>) -> usize {
        let place = self.ask(operation);
        self.operations[place].request.form = Form::Json;
        place
    }

    /// What a client subscribed to reached it.
    pub fn push(&mut self, at_ns: u64, connection: u32, reply: &[u8]) {
        let what = Met::Pushed(self.keep(reply, Form::Postcard));
        self.contacts.push(Contact { at_ns, connection, what });
    }

    /// Likewise, as JSON.
    pub fn push_json(&mut self, at_ns: u64, connection: u32, reply: &str) {
        let what = Met::Pushed(self.keep(reply.as_bytes(), Form::Json));
        self.contacts.push(Contact { at_ns, connection, what });
    }

    /// Something happened to a connection.
    pub fn meet(&mut self, at_ns: u64, connection: u32, what: Met) {
        self.contacts.push(Contact { at_ns, connection, what });
    }

    /// Has the run begin at `base`: all times are moved.
    pub(crate) fn begin_at(&mut self, base: u64) {
        let move_to = |at: &mut u64| *at = at.saturating_sub(base);
        for operation in &mut self.operations {
            move_to(&mut operation.invoke_ns);
            operation.return_ns.iter_mut().for_each(move_to);
        }
        self.contacts.iter_mut().for_each(|contact| move_to(&mut contact.at_ns));
        self.seen.files.iter_mut().for_each(|file| move_to(&mut file.at));
        self.seen.lines.iter_mut().for_each(|(at, ..)| move_to(at));
        for Mishap { at, what } in &mut self.mishaps {
            move_to(at);
            match what {
                Befell::Fault { until: at, .. } | Befell::Down { synced: Some((at, _)), .. } => {
                    move_to(at);
                }
                Befell::Start { .. } | Befell::Down { .. } | Befell::Pause { .. } => {}
            }
        }
        for Happening { at, what } in &mut self.timeline {
            move_to(at);
            if let What::Fault { until, .. } = what {
                move_to(until);
            }
        }
    }

    /// Leaves out what only nodes saw of what was asked of these protocols: their clients tell of
    /// it themselves.
    pub(crate) fn leave_to_clients(&mut self, protocols: &BTreeSet<u16>) {
        let stays = |one: &Operation| !one.is_seen_at_node || !protocols.contains(&one.tag);
        let mut places = Vec::with_capacity(self.operations.len());
        let mut next = 0;
        for operation in &self.operations {
            places.push(stays(operation).then_some(next));
            next += usize::from(stays(operation));
        }
        self.operations.retain(stays);
        self.contacts.retain_mut(|contact| match &mut contact.what {
            Met::Asked(place) | Met::Told(place) => match places[*place] {
                Some(stays) => {
                    *place = stays;
                    true
                }
                None => false,
            },
            Met::Pushed(_) | Met::Closed | Met::Left | Met::Dozes | Met::Reads => true,
        });
    }

    fn keep(&mut self, bytes: &[u8], form: Form) -> Body {
        let start = self.kept.bytes.len();
        self.kept.bytes.extend_from_slice(bytes);
        Body { start, end: self.kept.bytes.len(), form }
    }

    /// What an operation asks; none where that is of no such form.
    pub fn request<'a, T: Deserialize<'a>>(&'a self, operation: &Operation) -> Option<T> {
        self.read(operation.request)
    }

    /// What an operation was told; none where it was told nothing, or that is of no such form.
    pub fn reply<'a, T: Deserialize<'a>>(&'a self, operation: &Operation) -> Option<T> {
        self.read(operation.reply?)
    }

    /// What an operation asks, as the `json` gateway has it; none where it is of no such form.
    pub fn request_as_json(&self, operation: &Operation, form: Option<&JsonForm>) -> Option<Value> {
        self.as_json(operation.request, |body| form?.request(body))
    }

    /// What it was told, likewise; none where it was told nothing.
    pub fn reply_as_json(&self, operation: &Operation, form: Option<&JsonForm>) -> Option<Value> {
        self.as_json(operation.reply?, |body| form?.reply(body))
    }

    /// What an operation asks, in a line: in short where its protocol has a short form.
    pub fn request_in_words(
        &self,
        operation: &Operation,
        form: Option<&JsonForm>,
    ) -> Option<String> {
        let brief = self.brief(operation.request, |body| form?.brief_request(body));
        brief.or_else(|| Some(self.request_as_json(operation, form)?.to_string()))
    }

    /// What it was told, likewise; none where it was told nothing.
    pub fn reply_in_words(&self, operation: &Operation, form: Option<&JsonForm>) -> Option<String> {
        let brief = self.brief(operation.reply?, |body| form?.brief_reply(body));
        brief.or_else(|| Some(self.reply_as_json(operation, form)?.to_string()))
    }

    fn brief(&self, body: Body, of: impl FnOnce(&[u8]) -> Option<String>) -> Option<String> {
        let bytes = &self.kept.bytes[body.start..body.end];
        (body.form == Form::Postcard).then(|| of(bytes))?
    }

    fn as_json(&self, body: Body, decode: impl FnOnce(&[u8]) -> Option<Value>) -> Option<Value> {
        let bytes = &self.kept.bytes[body.start..body.end];
        match body.form {
            Form::Postcard => decode(bytes),
            Form::Json => serde_json::from_slice(bytes).ok(),
        }
    }

    /// What was pushed.
    pub fn read<'a, T: Deserialize<'a>>(&'a self, body: Body) -> Option<T> {
        let bytes = &self.kept.bytes[body.start..body.end];
        match body.form {
            Form::Postcard => postcard::from_bytes(bytes).ok(),
            Form::Json => serde_json::from_slice(bytes).ok(),
        }
    }

    /// The operations of a protocol, with their places.
    pub fn operations_of(&self, protocol: &str) -> impl Iterator<Item = (usize, &Operation)> {
        let tag = protocol_tag(protocol);
        let all = self.operations.iter().enumerate();
        all.filter(move |(_, operation)| operation.tag == tag)
    }

    /// Whether something happened.
    pub fn saw(&self, is: fn(&What) -> bool) -> bool {
        self.timeline.iter().any(|one| is(&one.what))
    }

    /// What a study makes of the run, derived once, however many properties are judged by it.
    pub fn derive<T: Any + Send + Sync>(&self, derive: impl FnOnce(&Run) -> T) -> Arc<T> {
        let lock = || self.kept.derived.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = lock().get(&TypeId::of::<T>()).cloned();
        if let Some(known) = known.and_then(|known| known.downcast::<T>().ok()) {
            return known;
        }
        let fresh = Arc::new(derive(self));
        lock().insert(TypeId::of::<T>(), fresh.clone());
        fresh
    }
}

/// What [`Run::ask`] notes.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// See [`Operation::client`].
    pub client: u64,
    /// See [`Operation::connection`].
    pub connection: u32,
    /// See [`Operation::sequence`].
    pub sequence: u32,
    /// See [`Operation::tag`].
    pub tag: u16,
    /// See [`Operation::is_seen_at_node`].
    pub is_seen_at_node: bool,
    /// See [`Operation::node`].
    pub node: Option<u32>,
    /// See [`Operation::is_twin`].
    pub is_twin: bool,
    /// See [`Operation::invoke_ns`].
    pub at_ns: u64,
    /// The encoded request.
    pub request: &'a [u8],
}

/// What is derived from a run, by its type.
#[derive(Default)]
struct Derived(Mutex<BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Derived")
    }
}
