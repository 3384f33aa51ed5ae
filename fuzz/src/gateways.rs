//! Clients' bytes through every gateway into a node of its protocol, and the replies back, as the
//! event loop does it.

use super::nodes::{self, Blueprint};
use super::{Input, cut};
use node_lab::registry::{DynGateway, JSON, Registry};
use node_protocols::core::{
    Caller, ClientId, Decoded, Effect, Gateway, Host, Now, RequestId, Time, WallTime,
};
use node_protocols::echo::EchoBytes;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

/// A gateway's name, a protocol's, and a node that runs it.
type Door = (&'static str, usize);

struct Doors {
    registry: Registry,
    nodes: Vec<(&'static str, Blueprint)>,
    doors: Vec<Door>,
}

thread_local! {
    static DOORS: OnceCell<Doors> = const { OnceCell::new() };
}

impl Doors {
    fn new() -> Doors {
        let registry = node_studies::registry();
        let nodes = nodes::alone();
        let doors = nodes.iter().enumerate().flat_map(|(place, (protocol, _))| {
            let own = registry.gateway_names().into_iter();
            let own = own.filter(|name| registry.gateway_protocol(name) == Some(protocol));
            [JSON].into_iter().chain(own).map(move |gateway| (gateway, place)).collect::<Vec<_>>()
        });
        Doors { doors: doors.collect(), registry, nodes }
    }
}

/// One byte for the door, two for the cuts, one for how replies come; then what the client sends.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let (door, seed, patience) = (input.byte(), input.number(), input.byte() % 4);
    let bytes = input.rest();
    DOORS.with(|doors| {
        let doors = doors.get_or_init(Doors::new);
        let door = doors.doors[usize::from(door) % doors.doors.len()];
        let whole = doors.session(door, &[bytes], 0);
        let pieces = doors.session(door, &cut(bytes, seed), patience);
        if whole.is_http || pieces.is_http {
            // What shows in the middle of a line that is none may have been passed over by then.
            let both = whole.requests.iter().zip(&pieces.requests);
            return assert!(both.into_iter().all(|(one, other)| one == other));
        }
        // For `echo` a request is what has come.
        if door.0 != EchoBytes::NAME {
            assert_eq!(pieces.requests, whole.requests, "cuts and delays change no request");
        }
        assert_eq!(pieces.is_closed, whole.is_closed, "cuts and delays change no end");
        if patience == 0 {
            assert_eq!(pieces.output, whole.output, "cuts change no answer");
        }
    });
}

/// What came of a session.
#[derive(Default)]
struct Seen {
    requests: Vec<Vec<u8>>,
    output: Vec<u8>,
    is_closed: bool,
    /// Because it was a browser's.
    is_http: bool,
}

/// What one step of a gateway may write, beside what it was given: the longest of its answers is a
/// description of all its commands.
const MAX_ANSWER_BYTES: usize = 64 << 10;

impl Doors {
    /// `patience` is how many requests may be unanswered before the first of them is answered.
    fn session(&self, door: Door, pieces: &[&[u8]], patience: u8) -> Seen {
        let (protocol, blueprint) = &self.nodes[door.1];
        let (_, mut codec) = self.registry.codec(door.0, protocol).expect("it is registered");
        let mut host = blueprint.host(1);
        host.handle_start(now(0));
        host.outbox_mut().clear_effects();
        let place = host.place(protocol).expect("it runs there");
        host.handle_client(place, CLIENT, ADDR, true, now(0));
        let mut client = Client::default();
        codec.identify(CLIENT);
        codec.greet(&mut client.seen.output);
        client.take_effects(&mut host, codec.as_mut());
        let mut inbox = Vec::new();
        for piece in pieces {
            inbox.extend_from_slice(piece);
            let used = client.requests(&inbox, codec.as_mut(), &mut host, place, patience);
            inbox.drain(..used);
            if client.seen.is_closed {
                break;
            }
        }
        host.check_invariants();
        client.seen
    }
}

const CLIENT: ClientId = ClientId { slot: 0, generation: 0 };
const ADDR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);

fn now(millis: u64) -> Now {
    Now { time: Time(millis * 1_000_000), wall: WallTime::from_millis(1_700_000_000_000 + millis) }
}

#[derive(Default)]
struct Client {
    seen: Seen,
    /// Replies, by the sequences of their requests; none for a request that gets none.
    replies: BTreeMap<u32, Option<Vec<u8>>>,
    next_reply: u32,
    millis: u64,
}

impl Client {
    fn outstanding(&self) -> usize {
        self.seen.requests.len() - self.next_reply as usize
    }

    /// Takes what is whole; answers how many bytes that was.
    fn requests(
        &mut self,
        inbox: &[u8],
        codec: &mut dyn DynGateway,
        host: &mut Host,
        place: usize,
        patience: u8,
    ) -> usize {
        let (mut used, mut steps) = (0, 0);
        while used < inbox.len() {
            steps += 1;
            assert!(steps <= 4 * inbox.len() + 16, "a gateway goes on without end");
            let (rest, before) = (&inbox[used..], self.seen.output.len());
            if codec.is_http(rest) {
                (self.seen.is_closed, self.seen.is_http) = (true, true);
                return inbox.len();
            }
            let mut request = Vec::new();
            let idle = self.outstanding() == 0;
            let step = codec.decode(rest, idle, &mut request, &mut self.seen.output);
            assert!(self.seen.output.len() - before <= MAX_ANSWER_BYTES + 8 * rest.len());
            match step {
                Decoded::Incomplete => return used,
                Decoded::Wait => {
                    assert!(!idle, "it waits for nothing");
                    if !self.answer(codec, host) {
                        return used;
                    }
                }
                Decoded::Answered { used: step } => {
                    assert!(idle, "an answer overtakes replies");
                    assert!((1..=rest.len()).contains(&step));
                    used += step;
                }
                Decoded::Request { used: step, request: () } => {
                    assert!(step <= rest.len());
                    used += step;
                    self.ask(request, codec, host, place);
                    while self.outstanding() > patience.into() && self.answer(codec, host) {}
                }
                Decoded::Close { .. } => {
                    while self.answer(codec, host) {}
                    self.seen.is_closed = true;
                    return inbox.len();
                }
            }
        }
        used
    }

    fn ask(&mut self, request: Vec<u8>, codec: &mut dyn DynGateway, host: &mut Host, place: usize) {
        let sequence = self.seen.requests.len() as u32;
        let caller = Caller { request: RequestId { client: CLIENT, sequence }, addr: ADDR };
        let taken = host.handle_request(place, caller, &request, now(self.millis));
        assert_eq!(taken, Ok(()), "a gateway's request decodes");
        self.seen.requests.push(request);
        self.take_effects(host, codec);
    }

    /// Pushes go out at once, replies when it is their turn.
    fn take_effects(&mut self, host: &mut Host, codec: &mut dyn DynGateway) {
        host.handle_turn_end();
        for effect in host.outbox().effects() {
            match effect {
                Effect::Reply { to, reply } => {
                    let reply = host.outbox().bytes(*reply).to_vec();
                    let twice = self.replies.insert(to.sequence, Some(reply));
                    assert!(
                        twice.is_none() && to.sequence >= self.next_reply,
                        "it is answered twice"
                    );
                }
                Effect::Over { to } => {
                    self.replies.insert(to.sequence, None);
                }
                Effect::Push { to, reply } => {
                    for _ in host.outbox().clients(*to) {
                        codec.form();
                        codec.encode(host.outbox().bytes(*reply), &mut self.seen.output);
                    }
                }
                Effect::Send { .. }
                | Effect::Print { .. }
                | Effect::Note { .. }
                | Effect::Timer { .. }
                | Effect::Fact { .. }
                | Effect::Stop { .. } => {}
            }
        }
        host.outbox_mut().clear_effects();
        host.outbox_mut().clear_records();
    }

    /// Gives the client its next reply; lets time pass for one that does not come. Answers whether
    /// something happened.
    fn answer(&mut self, codec: &mut dyn DynGateway, host: &mut Host) -> bool {
        for _ in 0..4 {
            if self.outstanding() == 0 {
                return false;
            }
            if let Some(reply) = self.replies.remove(&self.next_reply) {
                self.next_reply += 1;
                if let Some(reply) = reply {
                    codec.encode(&reply, &mut self.seen.output);
                }
                return true;
            }
            self.millis += 5_000;
            host.handle_timers(now(self.millis));
            self.take_effects(host, codec);
        }
        false
    }
}
