//! Nodes that a test makes up, for clients and checkers: what they answer is a function, and time
//! goes by as far as events do.

use node_core::{NodeId, protocol_tag};
use node_lab::hosted::Body;
use node_lab::study::{Asked, Clients, Load, Nanos, Port, Run, Said};
use serde_json::Value;
use std::collections::BTreeMap;

/// A millisecond.
pub(crate) const MS: Nanos = 1_000_000;

/// What a node answers, and after how long; none for nothing.
pub(crate) type Answers<'a> = dyn FnMut(usize, &Body<'_>, Nanos) -> Option<(Nanos, Value)> + 'a;

enum Event {
    Wake(u32),
    Expire(u32, u32),
    Reply(u32, u32, u32, Vec<u8>),
    Probe,
}

/// Nodes, and the clients' connections.
pub(crate) struct Nodes<'a> {
    pub(crate) run: Run,
    now: Nanos,
    count: usize,
    answers: Box<Answers<'a>>,
    events: BTreeMap<(Nanos, u64), Event>,
    made: u64,
    /// Each client's connection, and the places of its open operations by their sequences.
    clients: Vec<(u32, BTreeMap<u32, usize>)>,
}

impl<'a> Nodes<'a> {
    pub(crate) fn new(
        count: usize,
        answers: impl FnMut(usize, &Body<'_>, Nanos) -> Option<(Nanos, Value)> + 'a,
    ) -> Nodes<'a> {
        Nodes {
            run: Run::default(),
            now: 0,
            count,
            answers: Box::new(answers),
            events: BTreeMap::new(),
            made: 0,
            clients: Vec::new(),
        }
    }

    fn at(&mut self, at: Nanos, event: Event) {
        self.made += 1;
        self.events.insert((at, self.made), event);
    }

    /// A run of these clients, who have `millis` for operations and as much as they are asked for
    /// until `settle` after. Answers why it did not come to rest, if it did not.
    pub(crate) fn go(
        &mut self,
        clients: &dyn Clients,
        load: &Load,
        millis: u64,
        settle: u64,
    ) -> Result<(), String> {
        let mut workload = clients.start(load, self);
        self.at(millis * MS, Event::Probe);
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            match event {
                Event::Wake(client) => workload.wake(client, self),
                Event::Expire(client, sequence) => workload.timeout(client, sequence, self),
                Event::Reply(client, generation, sequence, reply) => {
                    let (current, open) = &mut self.clients[client as usize];
                    if *current == generation {
                        if let Some(place) = open.remove(&sequence) {
                            self.run.answer(place, at, &reply);
                        }
                        workload.reply(client, sequence, &reply, self);
                    }
                }
                Event::Probe => {
                    let limit = (millis + settle) * MS;
                    if workload.is_over(self, limit) {
                        self.run.end_ns = at;
                        return Ok(());
                    }
                    if at > limit {
                        return Err(workload.unsettled(self));
                    }
                    self.at(at + 200 * MS, Event::Probe);
                }
            }
        }
        Err("nothing happens any more".into())
    }
}

impl Port for Nodes<'_> {
    fn now(&self) -> Nanos {
        self.now
    }
    fn nodes(&self) -> usize {
        self.count
    }
    fn id(&self, node: usize) -> NodeId {
        NodeId(node as u32 + 1)
    }
    fn twins_up(&self) -> Vec<usize> {
        Vec::new()
    }
    fn has_ended(&self, _: usize) -> bool {
        false
    }
    fn add_client(&mut self, _: &'static str) -> u32 {
        self.clients.push((0, BTreeMap::new()));
        self.clients.len() as u32 - 1
    }
    fn set_wire(&mut self, _: u32, _: &'static str) {}
    fn wake(&mut self, at: Nanos, client: u32) {
        self.at(at, Event::Wake(client));
    }
    fn expire(&mut self, at: Nanos, client: u32, sequence: u32) {
        self.at(at, Event::Expire(client, sequence));
    }
    fn request(&mut self, client: u32, whose: u64, node: usize, sequence: u32, request: &[u8]) {
        let at_ns = self.now;
        let asked = asked(whose, node as u32 + 1, sequence, at_ns, request);
        let place = self.run.ask(Asked { connection: client, ..asked });
        let (generation, open) = &mut self.clients[client as usize];
        open.insert(sequence, place);
        let generation = *generation;
        let body: Body<'_> = postcard::from_bytes(request).unwrap();
        if let Some((after, reply)) = (self.answers)(node, &body, at_ns) {
            let reply = postcard::to_allocvec(&Body::of(&reply)).unwrap();
            self.at(at_ns + after, Event::Reply(client, generation, sequence, reply));
        }
    }
    fn connect(&mut self, client: u32, _: usize) -> u32 {
        self.clients[client as usize].0
    }
    fn say(&mut self, _: u32, _: u64, _: usize, _: u32, _: Said<'_>) {}
    fn say_aside(&mut self, _: u32, _: u32, _: &[u8]) {}
    fn given(&self, _: u32) -> Option<&[Vec<u8>]> {
        None
    }
    fn answered(&mut self, _: u32, _: u32, _: &[u8]) {}
    fn pushed(&mut self, _: u32, _: &[u8]) {}
    fn disconnect(&mut self, client: u32) {
        self.clients[client as usize].0 += 1;
    }
    fn stop_reading(&mut self, _: u32) {}
    fn read_on(&mut self, _: u32) {}
    fn garbled(&mut self, why: String) {
        panic!("{why}");
    }
    fn look(&mut self) {}
}

/// A program's operation.
pub(crate) fn asked(
    client: u64,
    node: u32,
    sequence: u32,
    at_ns: Nanos,
    request: &[u8],
) -> Asked<'_> {
    Asked {
        client,
        connection: client as u32,
        sequence,
        tag: protocol_tag("program"),
        is_seen_at_node: false,
        node: Some(node),
        is_twin: false,
        at_ns,
        request,
    }
}

/// Client, request, when it was asked in milliseconds, and when it was answered what.
pub(crate) type Line<'a> = (u64, &'a str, u64, Option<(u64, &'a str)>);

/// A run in few words: bodies as JSON, without the quotes' escapes that a type needs.
pub(crate) fn run_of(lines: &[Line<'_>]) -> Run {
    let mut run = Run::default();
    for (sequence, (client, request, at, answer)) in (0..).zip(lines) {
        let place = run.ask_json(asked(*client, 1, sequence, at * MS, request.as_bytes()));
        if let Some((at, reply)) = answer {
            run.answer_json(place, at * MS, reply);
        }
    }
    run
}
