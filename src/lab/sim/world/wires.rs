//! Connections of clients that speak through a gateway: bytes in pieces, cut where the seed says,
//! with the session and the codec of real nodes at the node's end. Knows no gateway's form.

use super::{Nanos, What, World, within};
use crate::wire::{Fault, Session, Step};
use node_core::{Caller, ClientId, Host, RequestId, Rng};

/// A client's side of it, and its node's.
pub(super) struct Wire {
    gateway: &'static str,
    /// Draws the pieces.
    cuts: Rng,
    /// What traces call the client's operation under way.
    sequence: u32,
    /// The node's end of the last connection that it knew.
    end: Option<End>,
    /// The connections up to this one have lost bytes, as their node went down.
    broken: Option<u32>,
    /// When the last piece of each direction arrives: to the node, to the client.
    last: [Nanos; 2],
    /// The replies of this connection as the codec got them.
    given: Vec<Vec<u8>>,
}

/// A push as it goes out to the connections of one form.
#[derive(Default)]
pub(super) struct Shared {
    /// The gateway, and what its sessions have in common.
    form: Option<&'static str>,
    common: Vec<u8>,
    /// What goes out, and what that does to each session that gets it.
    bytes: Vec<u8>,
    tally: Vec<(usize, u64)>,
}

struct End {
    generation: u32,
    session: Session,
    /// Not taken yet.
    input: Vec<u8>,
}

/// What real nodes allow a request, unless their configs say otherwise.
const MAX_REQUEST_BYTES: usize = 4 << 20;
/// Text in more pieces than this is not likelier to be cut at the wrong place.
const MAX_PIECES: u64 = 64;
/// How long a piece may come after the one before it.
const MAX_GAP: Nanos = 3_000_000;
/// How much waits in the connection of a client that does not read before its node knows.
pub(super) const WAITING_PUSHES: usize = 2;
/// How much waits for a client that cannot be told what it missed before its connection ends: more
/// than what others are told after, so that some read on in time.
const WAITING_UNTOLD: usize = 8;

impl Wire {
    /// Cuts otherwise from now on.
    pub(super) fn redraw(&mut self, by: u64) {
        self.cuts.redraw(by);
    }
}

impl World {
    /// Has a client speak through a gateway from now on.
    pub(super) fn add_wire(&mut self, client: u32, gateway: &'static str) {
        let cuts = self.stream(self.seed, &format!("sim/client/{client}/cuts"));
        self.clients[client as usize].wire = Some(Box::new(Wire {
            gateway,
            cuts,
            sequence: 0,
            end: None,
            broken: None,
            last: [0; 2],
            given: Vec::new(),
        }));
    }

    /// Sends the bytes of a client's operation, over a new connection when it goes to another node
    /// than the last; answers which of the client's connections that is.
    pub fn say(&mut self, client: u32, node: usize, sequence: u32, bytes: &[u8]) -> u32 {
        self.connect_to(client, node);
        if let Some(wire) = &mut self.clients[client as usize].wire {
            wire.sequence = sequence;
            wire.given.clear();
        }
        let node = node as u16;
        let generation = self.clients[client as usize].generation;
        let piece = |slot| What::Piece { client, generation, node, slot };
        self.send_pieces(client, bytes, 0, piece);
        generation
    }

    /// The replies to what the client said last, as its gateway's codec got them.
    pub fn given(&self, client: u32) -> &[Vec<u8>] {
        self.clients[client as usize].wire.as_ref().map_or(&[], |wire| &wire.given)
    }

    fn send_pieces(
        &mut self,
        client: u32,
        bytes: &[u8],
        direction: usize,
        what: impl Fn(u32) -> What,
    ) {
        let state = &mut self.clients[client as usize];
        let Some(wire) = state.wire.as_mut().filter(|_| !bytes.is_empty()) else { return };
        let at = self.now + within(&mut state.rng, &self.network.client_delay);
        let mut at = at.max(wire.last[direction]);
        let mut pieces = Vec::new();
        let mut start = 0;
        for end in cut(&mut wire.cuts, bytes.len()) {
            let slot = self.payloads.put(&bytes[start..end]);
            pieces.push((at, slot));
            // Or it is there at once, for a read of its own.
            if wire.cuts.below(2) == 0 {
                at += wire.cuts.below(MAX_GAP);
            }
            start = end;
        }
        wire.last[direction] = at;
        for (at, slot) in pieces {
            self.at(at, what(slot));
        }
    }

    /// A connection has lost bytes: what may still come over it means nothing.
    pub(super) fn break_wire(&mut self, client: u32, generation: u32) {
        if let Some(wire) = &mut self.clients[client as usize].wire {
            wire.broken = wire.broken.max(Some(generation));
        }
    }

    pub(super) fn piece_arrives(&mut self, client: u32, generation: u32, node: u16, slot: u32) {
        let what = What::Piece { client, generation, node, slot };
        let place = client as usize;
        let is_broken = |wire: &Wire| wire.broken.is_some_and(|broken| broken >= generation);
        if self.clients[place].generation != generation
            || self.clients[place].wire.as_deref().is_none_or(is_broken)
        {
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
        // The node has been down since, and knows no such connection.
        let knows = self.nodes[node as usize].callers.contains(&(client, generation));
        let is_known =
            |wire: &Wire| wire.end.as_ref().is_some_and(|end| end.generation == generation);
        if !knows && self.clients[place].wire.as_deref().is_some_and(is_known) {
            return self.discard(what);
        }
        let bytes = self.payloads.take(slot);
        if !knows {
            self.accept(client, generation, node);
        }
        if let Some(end) = self.clients[place].wire.as_mut().and_then(|wire| wire.end.as_mut()) {
            end.input.extend_from_slice(&bytes);
        }
        self.payloads.give(slot, bytes);
        self.take_request(client, generation, node);
        self.finish_turn(node as usize);
    }

    /// A node's end of a new connection.
    fn accept(&mut self, client: u32, generation: u32, node: u16) {
        let now = self.node_now(node as usize);
        let state = &mut self.clients[client as usize];
        let (addr, protocol) = (state.addr, state.protocol);
        let Some(wire) = &mut state.wire else { return };
        let Some(host) = &mut self.nodes[node as usize].host else { return };
        let Some(place) = host.place(protocol) else { return };
        let id = ClientId { slot: client, generation };
        let codec = self.codecs.as_ref().and_then(|all| all.codec(wire.gateway, protocol));
        let Some((name, mut codec)) = codec else { return };
        let mut greeting = Vec::new();
        codec.identify(id);
        codec.greet(&mut greeting);
        let session = Session::ordered(place, name, codec);
        wire.end = Some(End { generation, session, input: Vec::new() });
        self.nodes[node as usize].callers.insert((client, generation));
        if let Some(host) = &mut self.nodes[node as usize].host {
            host.handle_client(place, id, addr, true, now);
        }
        self.tell_in_bytes(client, generation, &greeting);
    }

    /// Takes one request from what has come; the rest of it is another turn's.
    fn take_request(&mut self, client: u32, generation: u32, node: u16) {
        let now = self.node_now(node as usize);
        let state = &mut self.clients[client as usize];
        let (addr, protocol) = (state.addr, state.protocol);
        let Some(wire) = &mut state.wire else { return };
        let Some(end) = &mut wire.end else { return };
        let (mut request, mut out) = (Vec::new(), Vec::new());
        let taken = loop {
            match end.session.next(&end.input, MAX_REQUEST_BYTES, &mut request, &mut out) {
                Step::Incomplete | Step::Wait => break None,
                Step::Answered { used } => drop(end.input.drain(..used)),
                Step::Request { used, sequence } => {
                    end.input.drain(..used);
                    break Some(sequence);
                }
                Step::Close { fault } => {
                    end.input.clear();
                    let why = fault.map_or("it said so".into(), |fault| match fault {
                        Fault::TooLong(bytes) => format!("a request of {bytes} bytes"),
                        Fault::Malformed(why) => why,
                        Fault::Http => "it looks like HTTP".into(),
                    });
                    let id = self.nodes[node as usize].id;
                    let why = format!("node {id} refuses what client {client} says: {why}");
                    self.garbled.get_or_insert(why);
                    break None;
                }
            }
        };
        let (has_more, name) = (!end.input.is_empty(), wire.sequence);
        self.tell_in_bytes(client, generation, &out);
        let Some(sequence) = taken else { return };
        let at = self.nodes[node as usize].id;
        if let Some(host) = &mut self.nodes[node as usize].host
            && let Some(place) = host.place(protocol)
        {
            let request_at = &*host.protocols()[place];
            self.tracer.request(self.now, at, client, name, &request, request_at);
            let id = ClientId { slot: client, generation };
            let caller = Caller { request: RequestId { client: id, sequence }, addr };
            if host.handle_request(place, caller, &request, now).is_err() {
                self.garbled.get_or_insert(format!("client {client}'s request does not decode"));
            }
        }
        if has_more {
            self.go_on(client, generation, node);
        }
    }

    /// Has a node look again at what has come from a client.
    fn go_on(&mut self, client: u32, generation: u32, node: u16) {
        let slot = self.payloads.put(&[]);
        self.at(self.now, What::Piece { client, generation, node, slot });
    }

    /// Has bytes wait in the connection of a client that does not read, and sends them to others.
    pub(super) fn tell_in_bytes(&mut self, client: u32, generation: u32, bytes: &[u8]) {
        let state = &mut self.clients[client as usize];
        if state.generation == generation && state.is_asleep {
            if !bytes.is_empty() {
                state.waiting.push(self.payloads.put(bytes));
            }
            return;
        }
        self.send_pieces(client, bytes, 1, |slot| What::Heard { client, generation, slot });
    }

    /// A reply on its way through the codec, in its turn; none for a request that has none.
    pub(super) fn reply_in_bytes(
        &mut self,
        node: usize,
        to: RequestId,
        reply: Option<&[u8]>,
        host: &Host,
    ) {
        let ClientId { slot: client, generation } = to.client;
        let state = &mut self.clients[client as usize];
        let Some(wire) = &mut state.wire else { return };
        if let (Some(place), Some(reply)) = (host.place(state.protocol), reply) {
            let protocol = &*host.protocols()[place];
            self.tracer.reply(self.now, self.ids[node], client, wire.sequence, reply, protocol);
        }
        let Some(end) = wire.end.as_mut().filter(|end| end.generation == generation) else {
            return;
        };
        if state.generation != generation {
            return;
        }
        wire.given.extend(reply.map(<[u8]>::to_vec));
        let mut out = Vec::new();
        end.session.reply(to.sequence, reply, &mut out);
        let has_more = !end.input.is_empty();
        self.tell_in_bytes(client, generation, &out);
        if has_more {
            self.go_on(client, generation, node as u16);
        }
    }

    /// What a client subscribed to, on its way through the codec: made once for all of one form, as
    /// on real nodes (`src/net/pushes.rs`).
    pub(super) fn push_in_bytes(
        &mut self,
        node: usize,
        to: ClientId,
        reply: &[u8],
        host: &Host,
        shared: &mut Shared,
    ) {
        let ClientId { slot: client, generation } = to;
        let state = &mut self.clients[client as usize];
        if let Some(place) = host.place(state.protocol) {
            let protocol = &*host.protocols()[place];
            self.tracer.push(self.now, self.ids[node], client, reply, protocol);
        }
        let end = state.wire.as_mut().and_then(|wire| wire.end.as_mut());
        let Some(End { session, .. }) = end.filter(|end| end.generation == generation) else {
            return;
        };
        if state.generation != generation {
            return;
        }
        let (form, common) = session.form();
        if shared.form == Some(form) && shared.common == common {
            session.apply_tally(&shared.tally);
        } else {
            *shared = Shared { form: Some(form), common: common.to_vec(), ..Shared::default() };
            session.encode_push(reply, &mut shared.bytes);
            session.take_tally(&mut shared.tally);
        }
        let is_told = session.max_pending_bytes().is_none();
        self.tell_in_bytes(client, generation, &shared.bytes);
        self.back_up(client, is_told);
    }

    /// Too much may wait for a client that does not read: its node hears of it, or ends the
    /// connection of one that cannot be told what it missed.
    fn back_up(&mut self, client: u32, is_told: bool) {
        let most = if is_told { WAITING_PUSHES } else { WAITING_UNTOLD };
        let state = &mut self.clients[client as usize];
        if state.waiting.len() <= most || state.is_backed_up {
            return;
        }
        state.is_backed_up = true;
        let (generation, node) = (state.generation, state.node);
        if is_told {
            self.tell(client, true);
        } else if let Some(node) = node {
            // What waited goes with it, and the client may make another.
            self.at(self.now, What::Gone { client, generation, node });
            self.at(self.now + self.network.notice, What::Closed { client, generation });
        }
    }
}

/// Where text of so many bytes is cut: the pieces' ends.
fn cut(rng: &mut Rng, length: usize) -> Vec<usize> {
    let length = length as u64;
    let pieces = match rng.below(4) {
        0 => 1,
        1 => 2,
        2 => 2 + rng.below(6),
        _ if length <= MAX_PIECES => return (1..=length as usize).collect(),
        _ => MAX_PIECES,
    };
    let mut ends: Vec<usize> = (1..pieces).map(|_| rng.below(length) as usize).collect();
    ends.push(length as usize);
    ends.sort_unstable();
    ends.dedup();
    ends.retain(|end| *end > 0);
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_all_of_it_in_its_order_and_as_small_as_a_byte() {
        let mut counts = Vec::new();
        for seed in 0..200 {
            let length = 1 + seed as usize % 40;
            let ends = cut(&mut Rng::stream(seed, "x"), length);
            assert!(ends.is_sorted_by(|a, b| a < b) && ends[0] > 0, "{ends:?}");
            assert_eq!(ends.last(), Some(&length));
            counts.push((ends.len(), length));
        }
        assert!(counts.iter().any(|(count, length)| *length > 20 && count == length));
        assert!(counts.iter().any(|(count, length)| *length > 20 && *count == 1));
    }
}
