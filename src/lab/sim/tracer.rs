//! What is kept of a run as it happens: always a hash of every event, and on demand the lines of
//! `trace`, written as they come, so that memory does not grow with the run.

use super::doing::Doing;
use crate::check::timeline::{FaultKind, Happening, Running, What};
use crate::config::Config;
use crate::study::{Befell, Load, Mishap, Nanos, Needs, Property};
use crate::trace::{self, Event, LineWriter, Testimony};
use node_core::{DynProtocol, Escaped, Fact, Host, NodeId};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where events go.
pub struct Tracer {
    hash: u64,
    /// The last message's number.
    last_id: u64,
    full: Option<LineWriter>,
    /// Ends the run.
    stop: Option<Arc<AtomicBool>>,
    /// What configs call their nodes.
    names: BTreeMap<NodeId, String>,
    /// Nodes that a trace begins to show when something is sent to them, and how they began.
    unused: BTreeMap<NodeId, Option<Event<'static>>>,
    /// Whether links are none that a trace shows: messages are alone, as datagrams are.
    hides_links: bool,
    /// What checkers want to see.
    watched: Watched,
    /// Whether they want to see what corrected clocks show.
    clocks: bool,
    timeline: Vec<Happening>,
    /// What befell nodes, whatever checkers want to see.
    mishaps: Vec<Mishap>,
    /// When each node that is up last made something durable, and how many bytes.
    synced: BTreeMap<u32, (Nanos, u64)>,
    /// The node of whose doings something was seen last.
    last_node: Option<u32>,
    /// What nodes did last, where lines are written.
    doing: Doing,
    /// How many send events there were: one for all copies of a multicast.
    sends: u64,
    /// The messages whose second copies these are.
    copies: BTreeMap<u64, u64>,
}

/// What checkers want to see of what nodes do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Watched {
    /// Nothing: they judge what clients saw.
    Nothing,
    /// Failures, repairs, and what protocols tell each other.
    Nodes,
    /// Also every message, and every link.
    Messages,
}

/// A fault as a trace shows it.
pub struct FaultText {
    /// Its kind.
    pub kind: &'static str,
    /// The nodes that it concerns; empty for all.
    pub nodes: Vec<u32>,
    /// The fault, for people.
    pub label: String,
}

/// What an event is, in the hash.
#[repr(u64)]
enum Kind {
    Start = 1,
    Crash,
    Pause,
    Timer,
    Sync,
    Send,
    Lost,
    Duplicate,
    Recv,
    Link,
    Request,
    Reply,
    Fault,
    Push,
    Refused,
}

impl Tracer {
    /// Keeps only the hash.
    pub fn new() -> Tracer {
        Tracer {
            hash: 0xCBF2_9CE4_8422_2325,
            last_id: 0,
            full: None,
            stop: None,
            names: BTreeMap::new(),
            unused: BTreeMap::new(),
            hides_links: false,
            watched: Watched::Nothing,
            clocks: false,
            timeline: Vec::new(),
            mishaps: Vec::new(),
            synced: BTreeMap::new(),
            last_node: None,
            doing: Doing::default(),
            sends: 0,
            copies: BTreeMap::new(),
        }
    }

    /// Also writes every event as a line.
    pub fn to(sink: Box<dyn Write + Send>) -> Tracer {
        Tracer { full: Some(LineWriter::new(sink)), ..Tracer::new() }
    }

    /// Has the run end where it is, undecided, once the flag is set.
    #[must_use]
    pub fn stopping(self, stop: Arc<AtomicBool>) -> Tracer {
        Tracer { stop: Some(stop), ..self }
    }

    /// Whether whoever asked for the run no longer wants it.
    pub fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    /// Whether lines are written.
    pub fn is_full(&self) -> bool {
        self.full.is_some()
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// A node, for people: by its name, if it has one.
    pub(super) fn call(&self, node: NodeId) -> String {
        self.names.get(&node).cloned().unwrap_or_else(|| format!("node {node}"))
    }

    /// How many messages there were; they are numbered from 1.
    pub fn messages(&self) -> u64 {
        self.last_id
    }

    /// Keeps what these properties are judged by.
    pub fn watch(&mut self, properties: impl IntoIterator<Item = &'static Property>) {
        for property in properties {
            let least = match property.needs {
                needs if needs.contains(Needs::MESSAGES) => Watched::Messages,
                needs if needs.contains(Needs::NODES) => Watched::Nodes,
                _ => Watched::Nothing,
            };
            self.watched = self.watched.max(least);
            self.clocks |= property.needs.contains(Needs::CLOCKS);
        }
    }

    /// Whether somebody wants to know what corrected clocks show.
    pub fn reads_clocks(&self) -> bool {
        self.clocks
    }

    /// What a node's corrected clock shows; see [`What::Clock`].
    pub(super) fn clock(
        &mut self,
        at: Nanos,
        node: NodeId,
        ahead: i64,
        correction: i64,
        owed: i64,
        own: bool,
    ) {
        let node = node.0;
        self.saw(at, Watched::Nodes, || What::Clock { node, ahead, correction, owed, own });
    }

    /// What nodes did, in a run that ends now.
    pub fn take_timeline(&mut self, at: Nanos) -> Vec<Happening> {
        self.saw(at, Watched::Nodes, || What::End);
        std::mem::take(&mut self.timeline)
    }

    /// What befell nodes until now, in the order of time.
    pub(super) fn mishaps(&self) -> &[Mishap] {
        &self.mishaps
    }

    /// What befell nodes.
    pub fn take_mishaps(&mut self) -> Vec<Mishap> {
        std::mem::take(&mut self.mishaps)
    }

    /// How much of what nodes did is kept.
    pub(super) fn timeline_len(&self) -> usize {
        self.timeline.len()
    }

    fn saw(&mut self, at: Nanos, least: Watched, what: impl FnOnce() -> What) {
        if self.watched >= least {
            self.timeline.push(Happening { at, what: what() });
        }
    }

    /// The node of whose doings something was seen last; none before any did something.
    pub fn last_node(&self) -> Option<u32> {
        self.last_node
    }

    fn mix(&mut self, kind: Kind, at: Nanos, a: u64, b: u64) {
        if !matches!(kind, Kind::Fault | Kind::Lost | Kind::Duplicate) {
            self.last_node = Some(a as u32);
        }
        let word = at ^ (kind as u64) << 56 ^ a.rotate_left(40) ^ b.rotate_left(20);
        self.word(word);
    }

    fn word(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.hash ^= self.hash >> 29;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last) ^ (bytes.len() as u64) << 56);
    }

    fn line(
        &mut self,
        at: Nanos,
        node: Option<NodeId>,
        lamport: Option<u64>,
        event: Event<'static>,
    ) {
        if let Some(full) = &mut self.full {
            self.doing.note(at, node.map(|node| node.0), &event);
            full.line(at, node.map(|node| node.0), lamport, event);
        }
    }

    /// The first line of a trace.
    pub fn run(&mut self, scenario: &str, load: &Load, nodes: &[Config]) {
        let named = nodes.iter().filter_map(|node| Some((node.id, node.name.clone()?)));
        self.names = named.collect();
        let shown = nodes.iter().filter(|node| !self.unused.contains_key(&node.id));
        let nodes = shown.map(|node| node.id.0).collect();
        let (source, scenario) = ("sim".into(), Cow::Owned(scenario.to_string()));
        let (seed, clients) = (Some(load.seed), Some(load.clients));
        self.line(0, None, None, Event::Run { source, scenario, seed, clients, nodes });
    }

    /// Has a trace show no links, and these nodes only once something is sent to them.
    pub fn hide(&mut self, services: impl IntoIterator<Item = NodeId>) {
        self.unused = services.into_iter().map(|service| (service, None)).collect();
        self.hides_links = true;
    }

    /// A fault begins.
    pub fn fault(&mut self, at: Nanos, place: usize, until: Nanos, fault: &dyn Fn() -> FaultText) {
        self.mix(Kind::Fault, at, place as u64, until);
        let FaultText { kind, nodes, label } = fault();
        if let Some(known) = FaultKind::named(kind, &nodes) {
            let what = Befell::Fault { nodes: nodes.clone(), until, says: label.clone() };
            self.mishaps.push(Mishap { at, what });
            self.saw(at, Watched::Nodes, || What::Fault { kind: known, until });
        }
        if self.is_full() {
            let (fault, label) = (kind.into(), label.into());
            self.line(at, None, None, Event::Fault { place, fault, nodes, until, label });
        }
    }

    /// A property does not hold.
    pub fn violation(
        &mut self,
        at: Nanos,
        property: &str,
        why: &str,
        witnesses: &[Testimony<'static>],
    ) {
        if self.is_full() {
            let (property, label) = (property.to_string().into(), why.to_string().into());
            let witnesses = witnesses.iter().map(|one| self.doing.told(one)).collect();
            self.line(at, None, None, Event::Violation { property, label, witnesses });
        }
    }

    /// Writes what is left, and says whether everything could be written.
    ///
    /// # Errors
    /// Not everything could be written.
    pub fn finish(&mut self) -> io::Result<()> {
        self.full.as_mut().map_or(Ok(()), LineWriter::flush)
    }

    pub(super) fn start(
        &mut self,
        at: Nanos,
        node: NodeId,
        incarnation: u64,
        durable: bool,
        host: &Host,
    ) {
        self.mix(Kind::Start, at, node.0.into(), incarnation);
        if !self.unused.contains_key(&node) {
            self.mishaps.push(Mishap { at, what: Befell::Start { node: node.0, durable } });
        }
        self.saw(at, Watched::Nodes, || {
            let runs = Running::all_on(host);
            What::Start { node: node.0, durable, runs }
        });
        if self.is_full() {
            let runs = Running::all_on(host);
            let name = self.names.get(&node).cloned().map(Cow::Owned);
            let event = Event::Start { incarnation, durable, runs, name };
            match self.unused.get_mut(&node) {
                Some(unused) => *unused = Some(event),
                None => self.line(at, Some(node), None, event),
            }
        }
    }

    /// A node does not start with what is on its disk.
    pub(super) fn refused(&mut self, at: Nanos, node: NodeId, why: &str) {
        self.mix(Kind::Refused, at, node.0.into(), 0);
        let line = format!("does not start: {why}").into();
        self.line(at, Some(node), None, Event::Note { line });
    }

    pub(super) fn crash(&mut self, at: Nanos, node: NodeId) {
        self.mix(Kind::Crash, at, node.0.into(), 0);
        let synced = self.synced.remove(&node.0);
        let what = Befell::Down { node: node.0, is_crash: true, synced };
        self.mishaps.push(Mishap { at, what });
        self.saw(at, Watched::Nodes, || What::Down { node: node.0 });
        self.line(at, Some(node), None, Event::Crash);
    }

    pub(super) fn pause(&mut self, at: Nanos, node: NodeId, on: bool) {
        self.mix(Kind::Pause, at, node.0.into(), on.into());
        if on {
            self.mishaps.push(Mishap { at, what: Befell::Pause { node: node.0 } });
        }
        self.saw(at, Watched::Nodes, || What::Pause { node: node.0, on });
        self.line(at, Some(node), None, Event::Pause { on });
    }

    pub(super) fn timer(&mut self, at: Nanos, node: NodeId) {
        self.mix(Kind::Timer, at, node.0.into(), 0);
    }

    pub(super) fn fired(&mut self, at: Nanos, node: NodeId, protocol: &'static str, label: &[u8]) {
        let (protocol, label) = (protocol.into(), text(label));
        self.line(at, Some(node), None, Event::Timer { protocol, label });
    }

    pub(super) fn fact(&mut self, at: Nanos, node: NodeId, protocol: &'static str, fact: &Fact) {
        self.saw(at, Watched::Nodes, || What::Fact { node: node.0, fact: fact.clone() });
        if self.is_full() {
            self.line(at, Some(node), None, Event::of_fact(protocol, fact));
        }
    }

    pub(super) fn sync(&mut self, at: Nanos, node: NodeId, bytes: usize, ok: bool) {
        self.mix(Kind::Sync, at, node.0.into(), (bytes as u64) << 1 | u64::from(ok));
        if ok {
            self.synced.insert(node.0, (at, bytes as u64));
        }
        self.line(at, Some(node), None, Event::Sync { bytes: bytes as u64, ok });
    }

    pub(super) fn file(&mut self, at: Nanos, node: NodeId, protocol: &'static str, bytes: &[u8]) {
        if self.is_full() {
            let (protocol, content) = (protocol.into(), text(bytes));
            self.line(at, Some(node), None, Event::File { protocol, content });
        }
    }

    pub(super) fn print(&mut self, at: Nanos, node: NodeId, line: &[u8]) {
        self.line(at, Some(node), None, Event::Print { line: text(line) });
    }

    pub(super) fn note(&mut self, at: Nanos, node: NodeId, line: &[u8]) {
        self.line(at, Some(node), None, Event::Note { line: text(line) });
    }

    /// What of a node's state can be seen after a turn, and its digest with the turn's last line.
    pub(super) fn end_turn(&mut self, at: Nanos, node: NodeId, host: &Host) {
        if self.unused.contains_key(&node) {
            return;
        }
        if let Some(full) = &mut self.full {
            full.end_turn(at, node.0, host);
        }
    }

    pub(super) fn send(
        &mut self,
        at: Nanos,
        from: NodeId,
        to: NodeId,
        payload: &[u8],
        is_copy: bool,
        host: &Host,
    ) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.mix(Kind::Send, at, from.0.into(), to.0.into());
        self.bytes(host.hashed(payload));
        if self.watched == Watched::Messages {
            self.sends += u64::from(!is_copy);
            let lamport = Host::lamport_of(payload).unwrap_or_default().0;
            let event = self.sends;
            let what = What::Send { node: from.0, message: id, lamport, event };
            self.timeline.push(Happening { at, what });
        }
        if let Some(Some(start)) = self.unused.remove(&to) {
            self.line(at, Some(to), None, start);
        }
        if self.is_full() {
            let (protocol, lamport, label) = match host.describe_parts(payload) {
                Some((protocol, lamport, label)) => (protocol, Some(lamport.0), label),
                None => ("?", None, String::from("(malformed)")),
            };
            let brief = trace::brief(host.brief(payload), &label);
            let (protocol, label) = (protocol.into(), label.into());
            let event = Event::Send { id: name(id), to: to.0, protocol, label, brief };
            self.line(at, Some(from), lamport, event);
        }
        id
    }

    pub(super) fn lost(&mut self, at: Nanos, from: NodeId, to: NodeId, id: u64, why: &str) {
        self.mix(Kind::Lost, at, to.0.into(), id);
        if self.is_full() {
            let why = why.to_string().into();
            self.line(at, Some(to), None, Event::Drop { id: name(id), from: from.0, why });
        }
    }

    pub(super) fn duplicate(&mut self, at: Nanos, to: NodeId, of: u64) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.mix(Kind::Duplicate, at, to.0.into(), of);
        if self.watched == Watched::Messages {
            self.copies.insert(id, of);
        }
        self.line(at, Some(to), None, Event::Duplicate { id: name(id), of: name(of) });
        id
    }

    pub(super) fn recv(&mut self, at: Nanos, from: NodeId, to: NodeId, id: u64, host: &Host) {
        self.mix(Kind::Recv, at, to.0.into(), id);
        if self.watched == Watched::Messages {
            let (message, lamport) =
                (*self.copies.get(&id).unwrap_or(&id), host.lamport_of_receive().0);
            let what = What::Receive { node: to.0, message, lamport };
            self.timeline.push(Happening { at, what });
        }
        if self.is_full() {
            let lamport = Some(host.lamport_of_receive().0);
            self.line(at, Some(to), lamport, Event::Recv { id: name(id), from: from.0 });
        }
    }

    pub(super) fn link(&mut self, at: Nanos, node: NodeId, peer: NodeId, up: bool) {
        self.mix(Kind::Link, at, node.0.into(), u64::from(peer.0) << 1 | u64::from(up));
        self.saw(at, Watched::Messages, || What::Link { node: node.0, peer: peer.0, up });
        if !self.hides_links {
            self.line(at, Some(node), None, Event::Link { peer: peer.0, up });
        }
    }

    pub(super) fn request(
        &mut self,
        at: Nanos,
        node: NodeId,
        client: u32,
        sequence: u32,
        request: &[u8],
        protocol: &dyn DynProtocol,
    ) {
        self.mix(Kind::Request, at, node.0.into(), client.into());
        self.bytes(request);
        if self.is_full() {
            let (op, client) = (format!("{client}-{sequence}"), format!("client {client}"));
            let label = protocol.describe_request(request);
            let brief = trace::brief(protocol.brief_request(request), &label);
            let (op, client, label) = (op.into(), client.into(), label.into());
            let protocol = protocol.name().into();
            let event = Event::Request { op, client, protocol, label, brief };
            self.line(at, Some(node), None, event);
        }
    }

    pub(super) fn reply(
        &mut self,
        at: Nanos,
        node: NodeId,
        client: u32,
        sequence: u32,
        reply: &[u8],
        protocol: &dyn DynProtocol,
    ) {
        self.mix(Kind::Reply, at, node.0.into(), client.into());
        self.bytes(reply);
        if self.is_full() {
            let (op, client) = (format!("{client}-{sequence}"), format!("client {client}"));
            let label = protocol.describe_reply(reply);
            let brief = trace::brief(protocol.brief_reply(reply), &label);
            let (op, client, label) = (op.into(), client.into(), label.into());
            let protocol = protocol.name().into();
            let event = Event::Reply { op, client, protocol, label, brief };
            self.line(at, Some(node), None, event);
        }
    }

    /// What a client says; the hash has what nodes do.
    pub(super) fn of_client(&mut self, at: Nanos, event: Event<'static>) {
        self.line(at, None, None, event);
    }

    pub(super) fn push(
        &mut self,
        at: Nanos,
        node: NodeId,
        client: u32,
        reply: &[u8],
        protocol: &dyn DynProtocol,
    ) {
        self.mix(Kind::Push, at, node.0.into(), client.into());
        self.bytes(reply);
        if self.is_full() {
            let client = format!("client {client}").into();
            let label = protocol.describe_reply(reply);
            let brief = trace::brief(protocol.brief_reply(reply), &label);
            let (protocol, label) = (protocol.name().into(), label.into());
            self.line(at, Some(node), None, Event::Push { client, protocol, label, brief });
        }
    }
}

impl Default for Tracer {
    fn default() -> Self {
        Tracer::new()
    }
}

fn name(id: u64) -> Cow<'static, str> {
    id.to_string().into()
}

/// What a protocol wrote is escaped already; this only makes text of it.
fn text(bytes: &[u8]) -> Cow<'static, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_string().into(),
        Err(_) => Escaped(bytes).to_string().into(),
    }
}
