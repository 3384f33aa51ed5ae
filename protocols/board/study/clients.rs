//! Clients of the bulletin board. Each has a connection to the broker, over which it posts one text
//! after the other, and one to the proxy, over which it listens to every topic. What is not
//! answered in time is given up with its connection, and not posted again; whose listening ends
//! listens anew. They make typed requests, or speak through a gateway: what they say then, and what
//! they read, is recorded as what it means.

use super::json::Json;
use super::nats::Nats;
use super::settings::{MAX_CLIENTS, Roles, Settings};
use super::wire::{Beside, End, Post, Told, Wire};
use node_lab::study::Load;
use node_lab::study::Nanos;
use node_lab::study::{Clients, Port, Said, Workload};
use node_lab::wire::PUSHED;
use node_protocols::board::{Board, Reply, Request};
use node_protocols::core::{LamportTime, Protocol, Rng, encode};
use std::collections::BTreeMap;

/// The clients of a scenario: its settings, and whom they talk to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Crowd {
    pub(super) settings: Settings,
    pub(super) roles: Roles,
}

impl Clients for Crowd {
    fn check(&self, millis: u64, settle_millis: u64) -> Result<(), String> {
        self.settings.check(millis, settle_millis)
    }

    fn counts(&self) -> (u32, u32) {
        (self.settings.clients, self.settings.operations)
    }

    fn most(&self) -> u32 {
        MAX_CLIENTS
    }

    fn start(&self, plan: &Load, port: &mut dyn Port) -> Box<dyn Workload> {
        Box::new(Crew::new(&self.settings, &self.roles, plan, port))
    }
}

/// All clients of a run. The port's client 2n is the connection over which client n posts, 2n + 1
/// that over which it listens.
pub struct Crew {
    clients: Vec<Client>,
    settings: Settings,
    roles: Roles,
    operations: u32,
    /// What was posted, by its text.
    sent: BTreeMap<String, Sent>,
    /// Since when every client is done and listens.
    done_at: Option<Nanos>,
    scratch: Vec<u8>,
}

/// What is known of a post.
struct Sent {
    at: Nanos,
    user: String,
    /// What went beside it.
    beside: Beside,
}

struct Client {
    think: Rng,
    cuts: Rng,
    dozes: Rng,
    /// The last time in which it did not read what it listens to, until it is known that whatever
    /// it missed then was told.
    doze: Option<Doze>,
    /// Its own Lamport clock.
    clock: LamportTime,
    sequence: u32,
    sent: u32,
    /// The sequence of the post under way.
    posting: Option<u32>,
    /// It listens, or is about to: to how many topics.
    listening: Option<u64>,
    /// The subscription under way: its sequence.
    subscribing: Option<u32>,
    /// Its ends of both connections, where it speaks in bytes.
    ends: [Option<Box<dyn End>>; 2],
    /// The place of the node where it posts.
    posts_at: usize,
}

/// A time in which a client does not read what it listens to.
struct Doze {
    from: Nanos,
    /// When it reads on; none as long as it does not.
    until: Option<Nanos>,
}

impl Client {
    fn is_dozing(&self) -> bool {
        self.doze.as_ref().is_some_and(|doze| doze.until.is_none())
    }
}

/// When a connection that breaks does so: about as long after the request as its answer may take.
const CUT_WITHIN: Nanos = 60_000_000;
/// How long after the last answer what is published is still waited for.
const LISTEN_ON: Nanos = 2_000_000_000;

impl Crew {
    /// The clients of a plan, at the beginning of the run.
    pub fn new(settings: &Settings, roles: &Roles, plan: &Load, port: &mut dyn Port) -> Crew {
        let client = |number: u32| {
            let stream =
                |label: &str| Rng::stream(plan.seed, &format!("workload/board/{number}/{label}"));
            // The broker speaks no NATS.
            let at_proxy = settings.wire == Some(Wire::Nats) && stream("wire").below(2) == 0;
            let is_typed = settings.wire == Some(Wire::Nats) && !at_proxy;
            let end = |connection| settings.wire.map(|wire| end(wire, plan.seed, connection));
            Client {
                ends: [end(2 * number).filter(|_| !is_typed), end(2 * number + 1)],
                posts_at: if at_proxy { roles.proxy } else { roles.broker },
                think: stream("think"),
                cuts: stream("cuts"),
                dozes: stream("dozes"),
                doze: None,
                clock: LamportTime(0),
                sequence: 0,
                sent: 0,
                posting: None,
                listening: None,
                subscribing: None,
            }
        };
        let mut clients = Crew {
            clients: (0..plan.clients).map(client).collect(),
            settings: settings.clone(),
            roles: *roles,
            operations: plan.operations,
            sent: BTreeMap::new(),
            done_at: None,
            scratch: Vec::new(),
        };
        for place in 0..plan.clients {
            for connection in [2 * place, 2 * place + 1] {
                port.add_client(Board::NAME);
                if let (Some(wire), Some(_)) = (settings.wire, clients.end(connection)) {
                    port.set_wire(connection, wire.gateway());
                }
                clients.think(connection, port);
            }
        }
        clients
    }

    /// A client's end of a connection over which it speaks in bytes.
    fn end(&mut self, connection: u32) -> Option<&mut Box<dyn End>> {
        let (place, side) = (connection as usize / 2, connection as usize % 2);
        self.clients[place].ends[side].as_mut()
    }

    /// The topic of that number. NATS' patterns are for words between dots.
    fn topic(&self, number: u64) -> String {
        let dot = if self.settings.wire == Some(Wire::Nats) { "." } else { "" };
        format!("topic{dot}{number}")
    }

    fn think(&mut self, connection: u32, port: &mut dyn Port) {
        let client = &mut self.clients[connection as usize / 2];
        let pause = client.think.below(self.settings.think_ms * 1_000 + 1);
        port.wake(port.now() + pause * 1_000, connection);
    }

    /// Sends the next post.
    fn post(&mut self, place: u32, port: &mut dyn Port) {
        let client = &mut self.clients[place as usize];
        if client.posting.is_some() || client.sent >= self.operations {
            return;
        }
        client.sent += 1;
        client.sequence += 1;
        client.clock.0 += 1;
        let (sequence, connection) = (client.sequence, 2 * place);
        client.posting = Some(sequence);
        let topic = client.think.below(self.settings.topics);
        let is_cut = client.cuts.below(100) < self.settings.cut_percent;
        let cut = client.cuts.below(CUT_WITHIN);
        let patience = if is_cut { cut } else { self.settings.timeout_ms * 1_000_000 };
        let post = Post {
            user: format!("user{place}"),
            text: format!("{place}-{}", client.sent),
            timestamp: port.now() / 1_000_000,
            clock: client.clock,
            topic: self.topic(topic),
        };
        self.send(place, post, sequence, port);
        port.expire(port.now() + patience, connection, sequence);
        self.doze(place, port);
    }

    /// Sends a post, in what the client speaks.
    fn send(&mut self, place: u32, post: Post, sequence: u32, port: &mut dyn Port) {
        let client = &mut self.clients[place as usize];
        let (connection, node) = (2 * place, client.posts_at);
        self.scratch.clear();
        encode(&post.request(), &mut self.scratch);
        let request = &self.scratch[..];
        let mut beside = Beside::default();
        match &mut client.ends[0] {
            None => port.request(connection, place.into(), node, sequence, request),
            Some(end) => {
                let (bytes, its) = end.post(&post);
                beside = its;
                let said = Said { request, bytes: &bytes };
                port.say(connection, place.into(), node, sequence, said);
            }
        }
        let Post { user, text, .. } = post;
        self.sent.insert(text, Sent { at: port.now(), user, beside });
    }

    /// Perhaps does not read for a while.
    fn doze(&mut self, place: u32, port: &mut dyn Port) {
        let client = &mut self.clients[place as usize];
        let begins = client.dozes.below(100) < self.settings.doze_percent;
        let pause = client.dozes.below(self.settings.doze_ms * 1_000 + 1) * 1_000;
        if begins && client.listening.is_some() && !client.is_dozing() {
            let from = client.doze.take().map_or(port.now(), |doze| doze.from);
            client.doze = Some(Doze { from, until: None });
            port.stop_reading(2 * place + 1);
            port.wake(port.now() + pause, 2 * place + 1);
        }
    }

    /// The post is over: its client was told so, or waits no longer.
    fn over(&mut self, place: u32, port: &mut dyn Port) {
        if self.clients[place as usize].posting.take().is_some() {
            self.think(2 * place, port);
        }
    }

    /// Subscribes to the next topic, over a new connection if there is none.
    fn subscribe(&mut self, place: u32, port: &mut dyn Port) {
        let client = &mut self.clients[place as usize];
        if client.subscribing.is_some() {
            return;
        }
        let topics = client.listening.get_or_insert(0);
        if *topics >= self.settings.topics {
            return;
        }
        let number = *topics;
        *topics += 1;
        client.sequence += 1;
        client.subscribing = Some(client.sequence);
        let (connection, sequence, node) = (2 * place + 1, client.sequence, self.roles.proxy);
        let topic = self.topic(number);
        self.scratch.clear();
        encode(&Request::Subscribe { topic: topic[..].into(), member: None }, &mut self.scratch);
        let request = &self.scratch[..];
        match &mut self.clients[place as usize].ends[1] {
            None => port.request(connection, place.into(), node, sequence, request),
            Some(end) => {
                let said = Said { request, bytes: &end.subscribe(&topic) };
                port.say(connection, place.into(), node, sequence, said);
            }
        }
        let patience = self.settings.timeout_ms * 1_000_000;
        port.expire(port.now() + patience, connection, sequence);
    }

    /// The client knows that it listens no more, and begins anew.
    fn end_listening(&mut self, place: u32, port: &mut dyn Port) {
        let client = &mut self.clients[place as usize];
        client.subscribing = None;
        // What it did not read went with the connection, and so did the word of what it missed.
        (client.doze, client.listening) = (None, None);
        self.think(2 * place + 1, port);
    }

    fn told(&mut self, place: u32, sequence: u32, reply: Reply<'_>, port: &mut dyn Port) {
        let client = &mut self.clients[place as usize];
        if client.posting != Some(sequence) {
            return;
        }
        let clock = match reply {
            Reply::Sent { clock, .. } | Reply::Error { clock, .. } => clock,
            // Nobody asked for these where it posts.
            Reply::Subscribed { .. }
            | Reply::Unsubscribed { .. }
            | Reply::Published { .. }
            | Reply::Message { .. }
            | Reply::Missed { .. }
            | Reply::Status { .. } => return,
        };
        client.clock = LamportTime(client.clock.max(clock).0 + 1);
        self.over(place, port);
    }

    fn heard(&mut self, place: u32, sequence: u32, reply: Reply<'_>, port: &mut dyn Port) {
        let client = &mut self.clients[place as usize];
        if client.listening.is_none() {
            return;
        }
        match reply {
            Reply::Subscribed { .. } if client.subscribing == Some(sequence) => {
                client.subscribing = None;
                self.subscribe(place, port);
            }
            Reply::Message { text, .. } if sequence == PUSHED => {
                let text = String::from_utf8_lossy(&text).into_owned();
                // What was missed is told before anything that is published later.
                if let Some(until) = client.doze.as_ref().and_then(|doze| doze.until)
                    && self.sent.get(&text).is_some_and(|sent| sent.at >= until)
                {
                    client.doze = None;
                }
            }
            Reply::Missed { .. } if sequence == PUSHED => {
                client.doze = client.doze.take().filter(|doze| doze.until.is_none());
            }
            // What is refused is asked again on a new connection.
            Reply::Error { .. } => {
                self.hang_up(2 * place + 1, port);
                self.end_listening(place, port);
            }
            Reply::Subscribed { .. }
            | Reply::Message { .. }
            | Reply::Missed { .. }
            | Reply::Sent { .. }
            | Reply::Unsubscribed { .. }
            | Reply::Published { .. }
            | Reply::Status { .. } => {}
        }
    }

    /// What a client reads over a connection where it speaks in bytes.
    fn read(&mut self, connection: u32, told: Told, port: &mut dyn Port) {
        let place = connection / 2;
        let client = &self.clients[place as usize];
        let posts = connection.is_multiple_of(2);
        // Whose connection is given up because of what it read reads no more over it.
        if !posts && client.listening.is_none() {
            return;
        }
        let (sequence, mut reply) = match told {
            Told::Answer(reply) => {
                let asked = if posts { client.posting } else { client.subscribing };
                let Some(sequence) = asked else { return };
                (sequence, reply)
            }
            Told::Pushed(reply) => (PUSHED, reply),
        };
        if let Err(why) = self.fill(connection, &mut reply) {
            port.garbled(why);
        }
        self.scratch.clear();
        encode(&reply, &mut self.scratch);
        match sequence {
            PUSHED => port.pushed(connection, &self.scratch),
            _ => port.answered(connection, sequence, &self.scratch),
        }
        match posts {
            true => self.told(place, sequence, reply, port),
            false => self.heard(place, sequence, reply, port),
        }
    }

    /// Fills in whose message it is, where the form does not tell: the text does. An error when
    /// what went beside the text is not there.
    fn fill(&self, connection: u32, reply: &mut Reply<'_>) -> Result<(), String> {
        let (place, side) = (connection as usize / 2, connection as usize % 2);
        let knows = self.clients[place].ends[side].as_ref().is_some_and(|end| end.knows_headers());
        let Reply::Message { user, text, reply, headers, .. } = reply else { return Ok(()) };
        let Some(sent) = self.sent.get(&*String::from_utf8_lossy(text)) else { return Ok(()) };
        if user.is_empty() {
            *user = sent.user.clone().into();
        }
        if sent.beside.is(reply.as_deref(), headers.as_deref(), knows) {
            return Ok(());
        }
        Err(format!(
            "client {place} hears [{}] with {reply:?} and {headers:?}, which was posted with {:?}",
            String::from_utf8_lossy(text),
            sent.beside
        ))
    }

    /// The client gives up a connection.
    fn hang_up(&mut self, connection: u32, port: &mut dyn Port) {
        port.disconnect(connection);
        self.lost(connection);
    }

    /// A connection is gone, with what was said over it.
    fn lost(&mut self, connection: u32) {
        if let Some(end) = self.end(connection) {
            end.lost();
        }
    }

    fn is_done(&self, client: &Client) -> bool {
        let listens =
            client.listening == Some(self.settings.topics) && client.subscribing.is_none();
        let is_idle = client.posting.is_none() && !client.is_dozing();
        client.sent >= self.operations && is_idle && listens
    }
}

/// A client's end of a connection.
fn end(wire: Wire, seed: u64, connection: u32) -> Box<dyn End> {
    match wire {
        Wire::Json => Box::new(Json::new(seed, connection)),
        Wire::Nats => Box::new(Nats::new(seed, connection)),
    }
}

impl Workload for Crew {
    fn redraw(&mut self, by: u64) {
        for client in &mut self.clients {
            for rng in [&mut client.think, &mut client.cuts, &mut client.dozes] {
                rng.redraw(by);
            }
            client.ends.iter_mut().flatten().for_each(|end| end.redraw(by));
        }
    }

    fn wake(&mut self, connection: u32, port: &mut dyn Port) {
        match connection % 2 {
            0 => self.post(connection / 2, port),
            _ => {
                let client = &mut self.clients[connection as usize / 2];
                if let Some(doze @ Doze { until: None, .. }) = &mut client.doze {
                    doze.until = Some(port.now());
                    port.read_on(connection);
                }
                self.subscribe(connection / 2, port);
            }
        }
    }

    fn reply(&mut self, connection: u32, sequence: u32, reply: &[u8], port: &mut dyn Port) {
        // The Host encoded it from this type; what does not decode is no reply.
        let Ok(reply) = postcard::from_bytes::<Reply<'_>>(reply) else { return };
        match connection % 2 {
            0 => self.told(connection / 2, sequence, reply, port),
            _ => self.heard(connection / 2, sequence, reply, port),
        }
    }

    fn hear(&mut self, connection: u32, bytes: &[u8], port: &mut dyn Port) {
        let Some(end) = self.end(connection) else { return };
        let (told, says) = (end.hear(bytes), end.say());
        let told = match told {
            Ok(told) => told,
            Err(why) => return port.garbled(format!("client {} is told {why}", connection / 2)),
        };
        if !says.is_empty() {
            let client = &mut self.clients[connection as usize / 2];
            client.sequence += 1;
            port.say_aside(connection, client.sequence, &says);
        }
        for told in told {
            self.read(connection, told, port);
        }
    }

    fn timeout(&mut self, connection: u32, sequence: u32, port: &mut dyn Port) {
        let (place, client) = (connection / 2, &self.clients[connection as usize / 2]);
        if connection.is_multiple_of(2) {
            if client.posting == Some(sequence) {
                self.hang_up(connection, port);
                self.over(place, port);
            }
        } else if client.subscribing == Some(sequence) {
            self.hang_up(connection, port);
            self.end_listening(place, port);
        }
    }

    fn closed(&mut self, connection: u32, port: &mut dyn Port) {
        self.lost(connection);
        match connection % 2 {
            0 => self.over(connection / 2, port),
            _ => self.end_listening(connection / 2, port),
        }
    }

    fn enough(&mut self) {
        self.operations = 0;
    }

    fn is_over(&mut self, port: &mut dyn Port, _: Nanos) -> bool {
        if !self.clients.iter().all(|client| self.is_done(client)) {
            self.done_at = None;
            return false;
        }
        let done_at = *self.done_at.get_or_insert(port.now());
        port.now() >= done_at + LISTEN_ON
    }

    fn unsettled(&self, _: &dyn Port) -> String {
        let late = self.clients.iter().enumerate().filter(|(_, client)| !self.is_done(client));
        let describe = |(place, client): (usize, &Client)| {
            let what = if client.listening.is_some() { "listens" } else { "does not listen" };
            format!("client {place} has sent {} posts and {what}", client.sent)
        };
        late.map(describe).collect::<Vec<_>>().join(", ")
    }
}
