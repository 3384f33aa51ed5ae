//! What clients may do, over TCP and in real time, and the record of it: the run that properties
//! are judged by, and the trace.

use super::addresses::Addresses;
use super::counts::Counts;
use super::link::{Came, Failure, Link, Trouble};
use mio::Token;
use node_lab::config::Config;
use node_lab::registry::{JsonForm, NATIVE, Registry};
use node_lab::study::{Asked, Met, Nanos, Port, Run, Said};
use node_lab::trace::ClientWriter;
use node_lab::wire::PUSHED;
use node_protocols::core::{NodeId, protocol_tag};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long it takes a client to learn that nobody took its connection: a node that restarts is
/// found soon, and one that is gone costs little, however eager the clients are.
const REFUSED_AFTER: Nanos = 100_000_000;

/// What is due at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Due {
    /// The client may go on.
    Wake(u32),
    /// The client's operation of that sequence has taken too long, unless it is over.
    Expire(u32, u32),
    /// The client learns that its connection of that number is gone.
    Closed(u32, u32),
    /// It is looked whether the run is over.
    Look,
}

/// The clients' end of all connections.
pub(super) struct TcpPort<'a> {
    nodes: &'a [Config],
    addresses: &'a Addresses,
    plugins: &'a Registry,
    sockets: mio::Registry,
    started: Instant,
    /// When that was, in nanoseconds since the Unix epoch.
    started_ns: u64,
    clients: Vec<Client>,
    timers: BinaryHeap<Reverse<(Nanos, u64, Due)>>,
    timers_made: u64,
    /// How many of them wake a client.
    wakes: usize,
    /// The clients whose connections may have more to read, without an event.
    pub unread: Vec<u32>,
    pub run: Run,
    pub trace: Option<ClientWriter>,
    pub counts: Counts,
    /// What a client was told is not what its server may say: why.
    pub garbled: Option<String>,
    /// Why the run cannot go on.
    pub failure: Option<String>,
    /// Why clients cannot go on; what they have met so far counts.
    pub stuck: Option<String>,
}

struct Client {
    protocol: &'static str,
    form: Option<JsonForm>,
    /// What it speaks, unless frames.
    gateway: Option<&'static str>,
    /// The place of the node that it is connected to.
    node: Option<usize>,
    /// The number of its connection.
    generation: u32,
    link: Link,
    /// It does not read.
    is_asleep: bool,
    /// The operations under way: their sequences, and their places in the run.
    open: Vec<(u32, usize)>,
}

impl<'a> TcpPort<'a> {
    /// For the nodes of a scenario; the run begins now.
    pub fn new(
        nodes: &'a [Config],
        addresses: &'a Addresses,
        plugins: &'a Registry,
        sockets: mio::Registry,
        trace: Option<ClientWriter>,
    ) -> Result<TcpPort<'a>, String> {
        let (started, counts) = (Instant::now(), Counts::new()?);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(TcpPort {
            nodes,
            addresses,
            plugins,
            sockets,
            started,
            started_ns: nanos(since),
            clients: Vec::new(),
            timers: BinaryHeap::new(),
            timers_made: 0,
            wakes: 0,
            unread: Vec::new(),
            run: Run::default(),
            trace,
            counts,
            garbled: None,
            failure: None,
            stuck: None,
        })
    }

    /// Refuses clients whose way of speaking no node has a listener for.
    pub fn check(&self) -> Result<(), String> {
        for client in &self.clients {
            let gateway = client.gateway.unwrap_or(NATIVE);
            let at = |node| self.addresses.of(node, gateway, client.protocol);
            if self.nodes.iter().all(|node| at(node).is_none()) {
                return Err(Addresses::lack("no node has a listener", gateway));
            }
        }
        Ok(())
    }

    pub fn at(&mut self, at: Nanos, due: Due) {
        self.timers_made += 1;
        self.wakes += usize::from(matches!(due, Due::Wake(_)));
        self.timers.push(Reverse((at, self.timers_made, due)));
    }

    /// What is due at a time, the earliest first.
    pub fn due(&mut self, now: Nanos) -> Option<Due> {
        let Reverse((at, ..)) = self.timers.peek()?;
        if *at > now {
            return None;
        }
        let Reverse((_, _, due)) = self.timers.pop()?;
        self.wakes -= usize::from(matches!(due, Due::Wake(_)));
        Some(due)
    }

    /// How long nothing is due.
    pub fn pause(&self) -> Duration {
        if !self.unread.is_empty() {
            return Duration::ZERO;
        }
        let next = self.timers.peek().map_or(0, |Reverse((at, ..))| *at);
        Duration::from_nanos(next.saturating_sub(self.now()))
    }

    /// Whether no client is about to do anything, or waits for an answer.
    pub fn is_idle(&self) -> bool {
        self.wakes == 0 && self.clients.iter().all(|client| client.open.is_empty())
    }

    /// A socket can do something.
    pub fn on_event(&mut self, event: &mio::event::Event) {
        let (client, generation) = unpack(event.token());
        if self.is_current(client, generation) {
            let done = self.clients[client as usize].link.on_event(event);
            self.keep_or_lose(client, done);
            self.unread.push(client);
        }
    }

    /// Reads a client's connection; what came is the answer, with the connection's number.
    pub fn read(&mut self, client: u32, buffer: &mut [u8]) -> (u32, Vec<Came>) {
        let mut came = Vec::new();
        let state = &mut self.clients[client as usize];
        let generation = state.generation;
        if state.is_asleep {
            return (generation, came);
        }
        match state.link.read(buffer, &mut came) {
            Ok(true) => self.unread.push(client),
            Ok(false) => {}
            Err(failure) => self.lose(client, failure),
        }
        (generation, came)
    }

    /// Whether a connection is still the client's.
    pub fn is_current(&self, client: u32, generation: u32) -> bool {
        self.clients.get(client as usize).is_some_and(|one| one.generation == generation)
    }

    /// Who answers has to be the node that was meant, or verdicts would name the wrong one.
    pub fn greeted(&mut self, client: u32, id: u32) {
        let meant = self.clients[client as usize].node.map(|node| self.nodes[node].id.0);
        if let Some(meant) = meant.filter(|meant| *meant != id) {
            let why = format!("node {id} answers where node {meant} should be: see --servers");
            self.failure.get_or_insert(why);
        }
    }

    /// A native reply, or what was pushed; false where it is none of the client's protocol.
    pub fn take_reply(&mut self, client: u32, sequence: u32, reply: &[u8]) -> bool {
        let state = &self.clients[client as usize];
        if state.form.is_some_and(|form| form.reply(reply).is_none()) {
            let what = format!("a reply that is none of {}", state.protocol);
            let failure = state.link.malformed(what);
            self.lose(client, failure);
            return false;
        }
        match sequence {
            PUSHED => self.pushed(client, reply),
            _ => self.answered(client, sequence, reply),
        }
        true
    }

    /// The client learns that its connection is gone.
    pub fn close(&mut self, client: u32) {
        let now = self.now();
        self.clients[client as usize].node = None;
        self.next_generation(client);
        self.meet(now, client, Met::Closed);
    }

    /// The connection is gone; its client learns it soon.
    fn lose(&mut self, client: u32, failure: Failure) {
        let later = match failure.0 {
            Trouble::ConnectFailed | Trouble::Refused | Trouble::Malformed => REFUSED_AFTER,
            Trouble::Closed => 0,
        };
        self.counts.trouble(failure);
        let state = &mut self.clients[client as usize];
        state.link.hang_up();
        let closed = Due::Closed(client, state.generation);
        self.at(self.now() + later, closed);
    }

    fn keep_or_lose(&mut self, client: u32, done: Result<(), Failure>) {
        if let Err(failure) = done {
            self.lose(client, failure);
        }
    }

    fn next_generation(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        state.link.hang_up();
        state.generation += 1;
        state.is_asleep = false;
        state.open.clear();
    }

    fn connect_to(&mut self, client: u32, node: usize) {
        if self.clients[client as usize].node == Some(node) {
            return;
        }
        self.disconnect(client);
        let (addresses, config) = (self.addresses, &self.nodes[node]);
        let state = &mut self.clients[client as usize];
        state.node = Some(node);
        let gateway = state.gateway.unwrap_or(NATIVE);
        let Some(addr) = addresses.of(config, gateway, state.protocol) else {
            let why = Addresses::lack(&format!("node {} has no listener", config.id), gateway);
            self.stuck.get_or_insert(why);
            return;
        };
        let native = state.gateway.is_none().then_some(state.protocol);
        let token = pack(client, state.generation);
        let done = state.link.dial(addr, native, &self.sockets, token);
        self.keep_or_lose(client, done);
    }

    fn note(&mut self, client: u32, whose: u64, node: usize, sequence: u32, request: &[u8]) {
        let at_ns = self.now();
        let state = &mut self.clients[client as usize];
        let asked = Asked {
            client: whose,
            connection: client,
            sequence,
            tag: protocol_tag(state.protocol),
            is_seen_at_node: false,
            node: Some(self.nodes[node].id.0),
            is_twin: false,
            at_ns,
            request,
        };
        state.open.push((sequence, self.run.ask(asked)));
        self.counts.asked += 1;
        if let (Some(trace), Some(form)) = (&mut self.trace, &state.form) {
            trace.ask(&Asked { at_ns: self.started_ns + at_ns, ..asked }, form);
        }
    }

    fn meet(&mut self, at_ns: Nanos, client: u32, met: Met) {
        self.run.meet(at_ns, client, met);
        if let Some(trace) = &mut self.trace {
            trace.meet(self.started_ns + at_ns, client, met);
        }
    }
}

impl Port for TcpPort<'_> {
    fn now(&self) -> Nanos {
        nanos(self.started.elapsed())
    }

    fn nodes(&self) -> usize {
        self.nodes.len()
    }

    fn id(&self, node: usize) -> NodeId {
        self.nodes[node].id
    }

    fn twins_up(&self) -> Vec<usize> {
        Vec::new()
    }

    fn has_ended(&self, _: usize) -> bool {
        false
    }

    fn add_client(&mut self, protocol: &'static str) -> u32 {
        self.clients.push(Client {
            protocol,
            form: self.plugins.json_form(protocol),
            gateway: None,
            node: None,
            generation: 0,
            link: Link::default(),
            is_asleep: false,
            open: Vec::new(),
        });
        self.clients.len() as u32 - 1
    }

    fn set_wire(&mut self, client: u32, gateway: &'static str) {
        self.clients[client as usize].gateway = Some(gateway);
    }

    fn wake(&mut self, at: Nanos, client: u32) {
        self.at(at, Due::Wake(client));
    }

    fn expire(&mut self, at: Nanos, client: u32, sequence: u32) {
        self.at(at, Due::Expire(client, sequence));
    }

    fn request(&mut self, client: u32, whose: u64, node: usize, sequence: u32, request: &[u8]) {
        self.connect_to(client, node);
        self.note(client, whose, node, sequence, request);
        let done = self.clients[client as usize].link.request(sequence, request);
        self.keep_or_lose(client, done);
    }

    fn connect(&mut self, client: u32, node: usize) -> u32 {
        self.connect_to(client, node);
        self.clients[client as usize].generation
    }

    fn say(&mut self, client: u32, whose: u64, node: usize, sequence: u32, said: Said<'_>) {
        self.connect_to(client, node);
        self.note(client, whose, node, sequence, said.request);
        self.say_aside(client, sequence, said.bytes);
    }

    fn say_aside(&mut self, client: u32, _: u32, bytes: &[u8]) {
        let done = self.clients[client as usize].link.say(bytes);
        self.keep_or_lose(client, done);
    }

    fn given(&self, _: u32) -> Option<&[Vec<u8>]> {
        None
    }

    fn answered(&mut self, client: u32, sequence: u32, reply: &[u8]) {
        let now = self.now();
        let state = &mut self.clients[client as usize];
        let Some(at) = state.open.iter().rposition(|(asked, _)| *asked == sequence) else { return };
        let (_, place) = state.open.swap_remove(at);
        self.counts.answer(self.run.operations[place].invoke_ns, now);
        if reply.is_empty() {
            return;
        }
        self.run.answer(place, now, reply);
        if let (Some(trace), Some(form)) = (&mut self.trace, &state.form) {
            trace.answer(self.started_ns + now, client, sequence, reply, form);
        }
    }

    fn pushed(&mut self, client: u32, reply: &[u8]) {
        let now = self.now();
        self.run.push(now, client, reply);
        let form = &self.clients[client as usize].form;
        if let (Some(trace), Some(form)) = (&mut self.trace, form) {
            trace.push(self.started_ns + now, client, reply, form);
        }
    }

    fn disconnect(&mut self, client: u32) {
        let now = self.now();
        let was = self.clients[client as usize].node.take();
        self.next_generation(client);
        if was.is_some() {
            self.meet(now, client, Met::Left);
        }
    }

    fn stop_reading(&mut self, client: u32) {
        let now = self.now();
        self.meet(now, client, Met::Dozes);
        self.clients[client as usize].is_asleep = true;
    }

    fn read_on(&mut self, client: u32) {
        let now = self.now();
        self.meet(now, client, Met::Reads);
        self.clients[client as usize].is_asleep = false;
        // What came in between has had its event.
        self.unread.push(client);
    }

    fn garbled(&mut self, why: String) {
        self.garbled.get_or_insert(why);
    }

    fn look(&mut self) {}
}

/// A run ends long before the numbers do.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A connection as its socket's events name it.
fn pack(client: u32, generation: u32) -> Token {
    Token((generation as usize) << 32 | client as usize)
}

fn unpack(token: Token) -> (u32, u32) {
    (token.0 as u32, (token.0 >> 32) as u32)
}
