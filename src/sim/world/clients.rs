//! Clients' connections: requests on their way to nodes, replies on their way back.

use super::{Client, What, World, within};
use node_protocols::core::{Caller, ClientId, Host, RequestId, Rng};
use std::net::SocketAddr;

impl World {
    /// Adds a client of a protocol, which all nodes that it asks run.
    pub fn add_client(&mut self, seed: u64, protocol: &'static str) -> u32 {
        let client = self.clients.len() as u32;
        let port = 20_000 + (client % 40_000) as u16;
        self.clients.push(Client {
            protocol,
            generation: 0,
            node: None,
            rng: Rng::stream(seed, &format!("sim/client/{client}")),
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
        });
        client
    }

    /// Sends a request, over a new connection when it goes to another node than the last.
    pub fn request(&mut self, client: u32, node: usize, sequence: u32, request: &[u8]) {
        let state = &mut self.clients[client as usize];
        if state.node != Some(node as u16) {
            state.node = Some(node as u16);
            state.generation += 1;
        }
        let generation = state.generation;
        let at = self.now + within(&mut state.rng, &self.network.delay);
        let slot = self.payloads.put(request);
        let node = node as u16;
        self.at(at, What::Request { client, generation, node, sequence, slot });
    }

    pub(super) fn request_arrives(
        &mut self,
        client: u32,
        generation: u32,
        node: u16,
        sequence: u32,
        slot: u32,
    ) {
        let what = What::Request { client, generation, node, sequence, slot };
        if self.clients[client as usize].generation != generation {
            return self.discard(what);
        }
        if self.nodes[node as usize].host.is_none() {
            let at = self.now + self.network.notice;
            self.at(at, What::Closed { client, generation });
            return self.discard(what);
        }
        if self.defers(node, what) {
            return;
        }
        let now = self.node_now(node as usize);
        let request = self.payloads.take(slot);
        let id = ClientId { slot: client, generation };
        let addr = self.clients[client as usize].addr;
        let caller = Caller { request: RequestId { client: id, sequence }, addr };
        let at = self.nodes[node as usize].id;
        let protocol = self.clients[client as usize].protocol;
        if let Some(host) = &mut self.nodes[node as usize].host
            && let Some(place) = host.place(protocol)
        {
            self.tracer.request(
                self.now,
                at,
                client,
                sequence,
                &request,
                &*host.protocols()[place],
            );
            // The workload encodes requests from their types.
            let done = host.handle_request(place, caller, &request, now);
            debug_assert!(done.is_ok(), "a workload's request decodes");
        }
        self.payloads.give(slot, request);
        self.finish_turn(node as usize);
    }

    pub(super) fn reply(&mut self, node: usize, to: RequestId, reply: &[u8], host: &Host) {
        let (client, generation) = (to.client.slot, to.client.generation);
        let state = &mut self.clients[client as usize];
        if let Some(place) = host.place(state.protocol) {
            let protocol = &*host.protocols()[place];
            self.tracer.reply(self.now, self.ids[node], client, to.sequence, reply, protocol);
        }
        let at = self.now + within(&mut state.rng, &self.network.delay);
        let slot = self.payloads.put(reply);
        self.at(at, What::Reply { client, generation, sequence: to.sequence, slot });
    }

    /// The client gives up its connection, and whatever may still come over it.
    pub fn disconnect(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        state.generation += 1;
        state.node = None;
    }

    /// Gives back the buffer of a reply.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.payloads.free_buffer(buffer);
    }
}
