//! Clients' connections: requests on their way to nodes, replies on their way back.

use super::wires::{Shared, WAITING_PUSHES};
use super::{Client, What, World, within};
use crate::study::Met;
use crate::wire::PUSHED;
use node_core::{Caller, ClientId, Host, RequestId, protocol_tag};
use std::net::SocketAddr;

impl World {
    /// Adds a client of a protocol, which all nodes that it asks run.
    pub fn add_client(&mut self, seed: u64, protocol: &'static str) -> u32 {
        let client = self.clients.len() as u32;
        let rng = self.stream(seed, &format!("sim/client/{client}"));
        let port = 20_000 + (client % 40_000) as u16;
        self.clients.push(Client {
            protocol,
            tag: protocol_tag(protocol),
            generation: 0,
            node: None,
            rng,
            last_push: 0,
            is_asleep: false,
            waiting: Vec::new(),
            is_backed_up: false,
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
            wire: None,
            open: Vec::new(),
        });
        client
    }

    /// The address from which a client asks.
    pub fn addr(&self, client: u32) -> SocketAddr {
        self.clients[client as usize].addr
    }

    /// Sends a request, over a new connection when it goes to another node than the last.
    pub fn request(&mut self, client: u32, node: usize, sequence: u32, request: &[u8]) {
        self.connect_to(client, node);
        let state = &mut self.clients[client as usize];
        let generation = state.generation;
        let at = self.now + within(&mut state.rng, &self.network.client_delay);
        let slot = self.payloads.put(request);
        let node = node as u16;
        self.at(at, What::Request { client, generation, node, sequence, slot });
    }

    /// Has the client connected to a node, over a new connection unless it is already.
    pub(super) fn connect_to(&mut self, client: u32, node: usize) {
        if self.clients[client as usize].node != Some(node as u16) {
            self.disconnect(client);
            self.clients[client as usize].node = Some(node as u16);
        }
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
            self.touch(node.into());
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
        let state = &mut self.nodes[node as usize];
        if let Some(host) = &mut state.host
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
            if state.callers.insert((client, generation)) {
                host.handle_client(place, id, addr, true, now);
            }
            // The workload encodes requests from their types.
            let done = host.handle_request(place, caller, &request, now);
            debug_assert!(done.is_ok(), "a workload's request decodes");
        }
        self.payloads.give(slot, request);
        self.finish_turn(node as usize);
    }

    pub(super) fn reply(&mut self, node: usize, to: RequestId, reply: &[u8], host: &Host) {
        if self.clients[to.client.slot as usize].wire.is_some() {
            return self.reply_in_bytes(node, to, Some(reply), host);
        }
        let (client, generation) = (to.client.slot, to.client.generation);
        let state = &mut self.clients[client as usize];
        if let Some(place) = host.place(state.protocol) {
            let protocol = &*host.protocols()[place];
            self.tracer.reply(self.now, self.ids[node], client, to.sequence, reply, protocol);
        }
        let at = self.now + within(&mut state.rng, &self.network.client_delay);
        let slot = self.payloads.put(reply);
        self.at(at, What::Reply { client, generation, sequence: to.sequence, slot });
    }

    /// A request is over without a reply: of typed ones nobody waits for it.
    pub(super) fn over(&mut self, node: usize, to: RequestId, host: &Host) {
        if self.clients[to.client.slot as usize].wire.is_some() {
            self.reply_in_bytes(node, to, None, host);
        }
    }

    /// What clients subscribed to.
    pub(super) fn push(&mut self, node: usize, to: &[ClientId], reply: &[u8], host: &Host) {
        let mut shared = Shared::default();
        for client in to {
            match self.clients[client.slot as usize].wire {
                Some(_) => self.push_in_bytes(node, *client, reply, host, &mut shared),
                None => self.push_typed(node, *client, reply, host),
            }
        }
    }

    /// Replies with the sequence [`PUSHED`], in their order.
    fn push_typed(&mut self, node: usize, to: ClientId, reply: &[u8], host: &Host) {
        let state = &mut self.clients[to.slot as usize];
        if let Some(place) = host.place(state.protocol) {
            let protocol = &*host.protocols()[place];
            self.tracer.push(self.now, self.ids[node], to.slot, reply, protocol);
        }
        let slot = self.payloads.put(reply);
        if state.generation != to.generation || !state.is_asleep {
            return self.bring(to, slot);
        }
        state.waiting.push(slot);
        if state.waiting.len() > WAITING_PUSHES && !state.is_backed_up {
            state.is_backed_up = true;
            self.tell(to.slot, true);
        }
    }

    /// Brings a client what was pushed, in its order.
    fn bring(&mut self, to: ClientId, slot: u32) {
        let state = &mut self.clients[to.slot as usize];
        let at = self.now + within(&mut state.rng, &self.network.client_delay);
        let at = at.max(state.last_push);
        state.last_push = at;
        let (client, generation) = (to.slot, to.generation);
        self.at(at, What::Reply { client, generation, sequence: PUSHED, slot });
    }

    /// Has the client's node hear whether it reads.
    pub fn tell(&mut self, client: u32, full: bool) {
        let Client { node, generation, .. } = self.clients[client as usize];
        if let Some(node) = node {
            self.at(self.now, What::Backpressure { client, generation, node, full });
        }
    }

    /// The client reads no more, until it [reads on](World::read_on): what it subscribed to waits
    /// in its connection, and when that is full its node hears of it. What it asked for still
    /// comes, unless it speaks through a gateway: bytes do not overtake each other.
    pub fn stop_reading(&mut self, client: u32) {
        self.clients[client as usize].is_asleep = true;
    }

    /// The client reads what waits, and from now on what comes.
    pub fn read_on(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        state.is_asleep = false;
        let to = ClientId { slot: client, generation: state.generation };
        let in_bytes = state.wire.is_some();
        for slot in std::mem::take(&mut state.waiting) {
            if in_bytes {
                let bytes = self.payloads.take(slot);
                self.tell_in_bytes(client, to.generation, &bytes);
                self.payloads.give(slot, bytes);
            } else {
                self.bring(to, slot);
            }
        }
        if std::mem::take(&mut self.clients[client as usize].is_backed_up) {
            self.tell(client, false);
        }
    }

    pub(super) fn backpressure(&mut self, client: u32, generation: u32, node: u16, full: bool) {
        if self.defers(node, What::Backpressure { client, generation, node, full }) {
            return;
        }
        let now = self.node_now(node as usize);
        let protocol = self.clients[client as usize].protocol;
        let state = &mut self.nodes[node as usize];
        if state.callers.contains(&(client, generation))
            && let Some(host) = &mut state.host
            && let Some(place) = host.place(protocol)
        {
            host.handle_backpressure(place, ClientId { slot: client, generation }, full, now);
            self.finish_turn(node as usize);
        }
    }

    /// The client's connection is gone, with what waits in it.
    pub(super) fn next_generation(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        state.generation += 1;
        (state.is_asleep, state.is_backed_up) = (false, false);
        state.open.clear();
        for slot in std::mem::take(&mut state.waiting) {
            let bytes = self.payloads.take(slot);
            self.payloads.give(slot, bytes);
        }
    }

    /// The client gives up its connection, and whatever may still come over it.
    pub fn disconnect(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        let (generation, node) = (state.generation, state.node.take());
        self.next_generation(client);
        if let Some(node) = node {
            self.note_contact(client, Met::Left);
            let at = self.now + self.network.notice;
            self.at(at, What::Gone { client, generation, node });
        }
    }

    /// A node notices that a client's connection is gone.
    pub(super) fn client_gone(&mut self, client: u32, generation: u32, node: u16) {
        if self.defers(node, What::Gone { client, generation, node }) {
            return;
        }
        let now = self.node_now(node as usize);
        let Client { protocol, addr, .. } = self.clients[client as usize];
        let state = &mut self.nodes[node as usize];
        if state.callers.remove(&(client, generation))
            && let Some(host) = &mut state.host
            && let Some(place) = host.place(protocol)
        {
            let id = ClientId { slot: client, generation };
            host.handle_client(place, id, addr, false, now);
            self.finish_turn(node as usize);
        }
    }

    /// Gives back the buffer of a reply.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.payloads.free_buffer(buffer);
    }
}
