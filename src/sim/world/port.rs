//! What clients may do in the world.

use super::{Nanos, Seen, World};
use crate::sim::token::Token;
use crate::study::Port;
use node_protocols::core::NodeId;

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
        (self.len()..self.nodes.len()).filter(|place| self.is_up(*place)).collect()
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

    fn expire(&mut self, at: Nanos, client: u32, sequence: u32) {
        World::wake(self, at, Token::Timeout(client, sequence).pack());
    }

    fn request(&mut self, client: u32, node: usize, sequence: u32, request: &[u8]) {
        World::request(self, client, node, sequence, request);
    }

    fn say(&mut self, client: u32, node: usize, sequence: u32, bytes: &[u8]) -> u32 {
        World::say(self, client, node, sequence, bytes)
    }

    fn given(&self, client: u32) -> &[Vec<u8>] {
        World::given(self, client)
    }

    fn disconnect(&mut self, client: u32) {
        World::disconnect(self, client);
    }

    fn stop_reading(&mut self, client: u32) {
        World::stop_reading(self, client);
    }

    fn read_on(&mut self, client: u32) {
        World::read_on(self, client);
    }

    fn garbled(&mut self, why: String) {
        self.garbled.get_or_insert(why);
    }

    fn look(&mut self) {
        World::look(self);
    }

    fn take_seen(&mut self) -> Seen {
        World::take_seen(self)
    }
}
