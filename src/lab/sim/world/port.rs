//! What clients may do in the world, and the record of it.

use super::{Nanos, World};
use crate::registry::JsonForm;
use crate::sim::token::Token;
use crate::study::{Asked, Met, Port, Run, Said};
use crate::trace::Event;
use node_core::NodeId;
use std::mem::take;

impl World {
    /// What clients asked and met, and what nodes showed, in a run that ends now.
    pub fn take_run(&mut self) -> Run {
        let mut run = take(&mut self.run);
        run.end_ns = self.now;
        if self.seen.is_some() {
            run.seen = self.take_seen();
        }
        run
    }

    fn note(&mut self, client: u32, whose: u64, node: usize, sequence: u32, request: &[u8]) {
        let (to, twin) = (self.ids[node].0, node >= self.linked());
        let state = &mut self.clients[client as usize];
        let asked = Asked {
            client: whose,
            connection: client,
            sequence,
            tag: state.tag,
            is_seen_at_node: false,
            node: Some(to),
            is_twin: twin,
            at_ns: self.now,
            request,
        };
        state.open.push((sequence, self.run.ask(asked)));
        self.say_in_trace(client, |form| Event::invoke(&asked, form));
    }

    /// Has a client say something in the trace, if there is one.
    fn say_in_trace(
        &mut self,
        client: u32,
        event: impl FnOnce(&JsonForm) -> Option<Event<'static>>,
    ) {
        if !self.tracer.is_full() {
            return;
        }
        let protocol = self.clients[client as usize].protocol;
        let form = self.codecs.as_ref().and_then(|codecs| codecs.json_form(protocol));
        if let Some(event) = form.as_ref().and_then(event) {
            self.tracer.of_client(self.now, event);
        }
    }

    /// What a client subscribed to reached it.
    pub(super) fn note_push(&mut self, client: u32, reply: &[u8]) {
        self.run.push(self.now, client, reply);
        self.say_in_trace(client, |form| Event::pushed(client, reply, form));
    }

    /// Something happened to a client's connection.
    pub(super) fn note_contact(&mut self, client: u32, met: Met) {
        self.run.meet(self.now, client, met);
        self.say_in_trace(client, |_| Event::met(client, met));
    }

    /// A reply reached a client.
    pub(super) fn note_reply(&mut self, client: u32, sequence: u32, reply: &[u8]) {
        let open = &mut self.clients[client as usize].open;
        let Some(at) = open.iter().rposition(|(asked, _)| *asked == sequence) else { return };
        let (_, place) = open.swap_remove(at);
        self.run.answer(place, self.now, reply);
        self.say_in_trace(client, |form| Event::returned(client, sequence, reply, form));
    }
}

impl Port for World {
    fn now(&self) -> Nanos {
        self.now
    }

    fn nodes(&self) -> usize {
        self.len()
    }

    fn id(&self, node: usize) -> NodeId {
        self.ids[node]
    }

    fn twins_up(&self) -> Vec<usize> {
        (self.linked()..self.nodes.len()).filter(|place| self.is_up(*place)).collect()
    }

    fn has_ended(&self, node: usize) -> bool {
        self.nodes[node].has_ended
    }

    fn add_client(&mut self, protocol: &'static str) -> u32 {
        World::add_client(self, self.seed, protocol)
    }

    fn set_wire(&mut self, client: u32, gateway: &'static str) {
        self.add_wire(client, gateway);
    }

    fn wake(&mut self, at: Nanos, client: u32) {
        World::wake(self, at, Token::Think(client).pack());
    }

    fn rest(&mut self, at: Nanos, client: u32) {
        World::wake(self, at, Token::Rest(client).pack());
    }

    fn expire(&mut self, at: Nanos, client: u32, sequence: u32) {
        World::wake(self, at, Token::Timeout(client, sequence).pack());
    }

    fn request(&mut self, client: u32, whose: u64, node: usize, sequence: u32, request: &[u8]) {
        self.connect_to(client, node);
        self.note(client, whose, node, sequence, request);
        World::request(self, client, node, sequence, request);
    }

    fn connect(&mut self, client: u32, node: usize) -> u32 {
        self.connect_to(client, node);
        self.clients[client as usize].generation
    }

    fn say(&mut self, client: u32, whose: u64, node: usize, sequence: u32, said: Said<'_>) {
        self.connect_to(client, node);
        self.note(client, whose, node, sequence, said.request);
        World::say(self, client, node, sequence, said.bytes);
    }

    fn say_aside(&mut self, client: u32, sequence: u32, bytes: &[u8]) {
        if let Some(node) = self.clients[client as usize].node {
            World::say(self, client, node.into(), sequence, bytes);
        }
    }

    fn given(&self, client: u32) -> Option<&[Vec<u8>]> {
        Some(World::given(self, client))
    }

    fn answered(&mut self, client: u32, sequence: u32, reply: &[u8]) {
        self.note_reply(client, sequence, reply);
    }

    fn pushed(&mut self, client: u32, reply: &[u8]) {
        self.note_push(client, reply);
    }

    fn disconnect(&mut self, client: u32) {
        World::disconnect(self, client);
    }

    fn stop_reading(&mut self, client: u32) {
        self.note_contact(client, Met::Dozes);
        World::stop_reading(self, client);
    }

    fn read_on(&mut self, client: u32) {
        self.note_contact(client, Met::Reads);
        World::read_on(self, client);
    }

    fn garbled(&mut self, why: String) {
        self.garbled.get_or_insert(why);
    }

    fn look(&mut self) {
        World::look(self);
    }
}
