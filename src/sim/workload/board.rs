//! Clients of the bulletin board. Each has a connection to the broker, over which it posts one text
//! after the other, and one to the proxy, over which it listens to every topic. What is not answered
//! in time is given up with its connection, and not posted again; whose listening ends listens anew.
//! They make typed requests, or speak through a gateway ([`wire`]).

mod json;
mod nats;
mod settings;
mod typed;
mod wire;

pub(super) use self::settings::MAX_CLIENTS;
pub use self::settings::{Roles, Settings};
pub use self::wire::Wire;

use self::typed::Waits;
use self::wire::{Beside, End, Message, Said};
use super::{Token, Workload, codec_maker};
use crate::check::History;
use crate::check::history::{self, Connection, Heard, Post, Posted};
use crate::net::wire::PUSHED;
use crate::registry::Registry;
use crate::sim::plan::Plan;
use crate::sim::world::{Nanos, World};
use node_protocols::board::{Board, Reply, Request};
use node_protocols::core::{LamportTime, Protocol, Rng, encode};
use std::sync::Arc;

/// All clients of a run. The world's client 2n is the connection over which client n posts, 2n + 1
/// that over which it listens.
pub struct Clients {
    clients: Vec<Client>,
    settings: Settings,
    roles: Roles,
    operations: u32,
    posts: Vec<Post>,
    /// What went beside each.
    besides: Vec<Beside>,
    /// Connection and sequence of each, as traces name them.
    names: Vec<(u64, u32)>,
    connections: Vec<Connection>,
    /// Since when every client is done and listens.
    done_at: Option<Nanos>,
    scratch: Vec<u8>,
}

struct Client {
    think: Rng,
    cuts: Rng,
    dozes: Rng,
    /// The last time in which it did not read what it listens to, until it is known that whatever it
    /// missed then was told.
    doze: Option<Doze>,
    /// Its own Lamport clock.
    clock: LamportTime,
    sequence: u32,
    sent: u32,
    /// The post under way: its place, and its sequence.
    posting: Option<(usize, u32)>,
    /// Where it listens, or is about to: the place of the connection.
    listening: Option<usize>,
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

impl Clients {
    /// The clients of a plan, at the beginning of the run.
    pub fn new(
        settings: &Settings,
        roles: &Roles,
        plan: &Plan,
        registry: &Arc<Registry>,
        world: &mut World,
    ) -> Clients {
        let client = |number: u32| {
            let stream =
                |label: &str| Rng::stream(plan.seed, &format!("workload/board/{number}/{label}"));
            // The broker speaks no NATS.
            let at_proxy = settings.wire == Some(Wire::Nats) && stream("wire").below(2) == 0;
            let is_typed = settings.wire == Some(Wire::Nats) && !at_proxy;
            let end = |connection| settings.wire.map(|wire| wire.end(plan.seed, connection));
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
        let mut clients = Clients {
            clients: (0..plan.clients).map(client).collect(),
            settings: settings.clone(),
            roles: *roles,
            operations: plan.operations,
            posts: Vec::new(),
            besides: Vec::new(),
            names: Vec::new(),
            connections: Vec::new(),
            done_at: None,
            scratch: Vec::new(),
        };
        for place in 0..plan.clients {
            for connection in [2 * place, 2 * place + 1] {
                world.add_client(plan.seed, Board::NAME);
                if let (Some(wire), Some(_)) = (settings.wire, clients.end(connection)) {
                    let make = codec_maker(wire.gateway(), Board::NAME, registry);
                    world.set_wire(plan.seed, connection, make);
                }
                clients.think(connection, world);
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

    fn think(&mut self, connection: u32, world: &mut World) {
        let client = &mut self.clients[connection as usize / 2];
        let pause = client.think.below(self.settings.think_ms * 1_000 + 1);
        world.wake(world.now() + pause * 1_000, Token::Think(connection).pack());
    }

    /// Sends the next post.
    fn post(&mut self, place: u32, world: &mut World) {
        let client = &mut self.clients[place as usize];
        if client.posting.is_some() || client.sent >= self.operations {
            return;
        }
        client.sent += 1;
        client.sequence += 1;
        client.clock.0 += 1;
        let (sequence, connection, sent) = (client.sequence, 2 * place, client.sent);
        let topic = client.think.below(self.settings.topics);
        client.posting = Some((self.posts.len(), sequence));
        let is_cut = client.cuts.below(100) < self.settings.cut_percent;
        let cut = client.cuts.below(CUT_WITHIN);
        let post = Post {
            user: format!("user{place}"),
            topic: self.topic(topic),
            text: format!("{place}-{sent}"),
            invoke_ns: world.now(),
            over_ns: None,
            answer: None,
        };
        let patience = if is_cut { cut } else { self.settings.timeout_ms * 1_000_000 };
        let beside = self.send(place, &post, sequence, world);
        self.posts.push(post);
        self.besides.push(beside);
        self.names.push((connection.into(), sequence));
        world.wake(world.now() + patience, Token::Timeout(connection, sequence).pack());
        self.doze(place, world);
    }

    /// Sends a post, in what the client speaks; answers what goes beside it.
    fn send(&mut self, place: u32, post: &Post, sequence: u32, world: &mut World) -> Beside {
        let client = &mut self.clients[place as usize];
        let (connection, node, clock) = (2 * place, client.posts_at, client.clock);
        let timestamp = world.now() / 1_000_000;
        if let Some(end) = &mut client.ends[0] {
            let (bytes, beside) = end.post(post, timestamp, clock);
            world.say(connection, node, sequence, &bytes);
            return beside;
        }
        let request = typed::send(post, timestamp, clock);
        self.scratch.clear();
        encode(&request, &mut self.scratch);
        world.request(connection, node, sequence, &self.scratch);
        Beside::default()
    }

    /// Perhaps does not read for a while.
    fn doze(&mut self, place: u32, world: &mut World) {
        let client = &mut self.clients[place as usize];
        let begins = client.dozes.below(100) < self.settings.doze_percent;
        let pause = client.dozes.below(self.settings.doze_ms * 1_000 + 1) * 1_000;
        if begins && client.listening.is_some() && !client.is_dozing() {
            let from = client.doze.take().map_or(world.now(), |doze| doze.from);
            client.doze = Some(Doze { from, until: None });
            world.stop_reading(2 * place + 1);
            world.wake(world.now() + pause, Token::Think(2 * place + 1).pack());
        }
    }

    /// The post is over: its client was told so, or waits no longer.
    fn over(&mut self, place: u32, answer: Option<Posted>, world: &mut World) {
        let Some((post, _)) = self.clients[place as usize].posting.take() else { return };
        self.posts[post].over_ns = Some(world.now());
        self.posts[post].answer = answer;
        self.think(2 * place, world);
    }

    /// Subscribes to the next topic, over a new connection if there is none.
    fn subscribe(&mut self, place: u32, world: &mut World) {
        let client = &mut self.clients[place as usize];
        if client.subscribing.is_some() {
            return;
        }
        let listening = *client.listening.get_or_insert_with(|| {
            self.connections.push(Connection {
                client: place.into(),
                topics: Vec::new(),
                until_ns: None,
                heard: Vec::new(),
                missed: Vec::new(),
            });
            self.connections.len() - 1
        });
        let topics = &self.connections[listening].topics;
        if topics.len() as u64 >= self.settings.topics {
            return;
        }
        let number = topics.len() as u64;
        client.sequence += 1;
        client.subscribing = Some(client.sequence);
        let (connection, sequence) = (2 * place + 1, client.sequence);
        let topic = self.topic(number);
        let proxy = self.roles.proxy;
        if let Some(end) = self.end(connection) {
            world.say(connection, proxy, sequence, &end.subscribe(&topic));
        } else {
            let request = Request::Subscribe { topic: topic[..].into(), member: None };
            self.scratch.clear();
            encode(&request, &mut self.scratch);
            world.request(connection, proxy, sequence, &self.scratch);
        }
        self.connections[listening].topics.push((topic, None));
        let patience = self.settings.timeout_ms * 1_000_000;
        world.wake(world.now() + patience, Token::Timeout(connection, sequence).pack());
    }

    /// The client knows that it listens no more, and begins anew.
    fn end_listening(&mut self, place: u32, world: &mut World) {
        let client = &mut self.clients[place as usize];
        client.subscribing = None;
        // What it did not read went with the connection, and so did the word of what it missed.
        let until = client.doze.take().map_or(world.now(), |doze| doze.from);
        if let Some(listening) = client.listening.take() {
            self.connections[listening].until_ns = Some(until);
        }
        self.think(2 * place + 1, world);
    }

    /// What a client reads over one of its connections.
    fn read(&mut self, connection: u32, said: Said, world: &mut World) {
        let place = connection / 2;
        let client = &mut self.clients[place as usize];
        match said {
            Said::Posted(answer, clock) => {
                if let Some(clock) = clock {
                    client.clock = LamportTime(client.clock.max(clock).0 + 1);
                }
                self.over(place, Some(answer), world);
            }
            Said::Subscribed => {
                client.subscribing = None;
                let Some(listening) = client.listening else { return };
                if let Some((_, from)) = self.connections[listening].topics.last_mut() {
                    *from = Some(world.now());
                }
                self.subscribe(place, world);
            }
            Said::Message(message) => self.heard(place, message, world),
            Said::Missed(messages) => {
                let Some(listening) = client.listening else { return };
                self.connections[listening].missed.push((world.now(), messages));
                client.doze = client.doze.take().filter(|doze| doze.until.is_none());
            }
            // What is refused is asked again on a new connection.
            Said::Refused => {
                if client.listening.is_some() {
                    self.hang_up(connection, world);
                    self.end_listening(place, world);
                }
            }
        }
    }

    fn heard(&mut self, place: u32, message: Message, world: &mut World) {
        let client = &mut self.clients[place as usize];
        let Some(listening) = client.listening else { return };
        let post = self.posts.iter().position(|post| post.text == message.text);
        // What was missed is told before anything that is published later.
        if let Some(until) = client.doze.as_ref().and_then(|doze| doze.until)
            && post.is_some_and(|post| self.posts[post].invoke_ns >= until)
        {
            client.doze = None;
        }
        if let Some(beside) = post.map(|post| &self.besides[post])
            && !beside.is_in(&message)
        {
            let why = format!("client {place} hears {message:?}, which was posted with {beside:?}");
            world.garbled.get_or_insert(why);
        }
        let Message { topic, user, text, .. } = message;
        // Where the form does not tell whose it is, the text does.
        let user = user.or_else(|| post.map(|post| self.posts[post].user.clone()));
        let user = user.unwrap_or_default();
        let heard = Heard { at_ns: world.now(), user, topic, text };
        self.connections[listening].heard.push(heard);
    }

    /// What a client waits for, if it is a reply of that sequence; none if nobody does.
    fn waits(&self, connection: u32, sequence: u32) -> Option<Waits> {
        let client = &self.clients[connection as usize / 2];
        if connection.is_multiple_of(2) {
            let is_it = client.posting.is_some_and(|(_, posting)| posting == sequence);
            return is_it.then_some(Waits::Posting);
        }
        Some(match sequence {
            PUSHED => Waits::Pushed,
            _ if client.subscribing == Some(sequence) => Waits::Subscribing,
            _ => Waits::Listening,
        })
    }

    /// The client gives up a connection.
    fn hang_up(&mut self, connection: u32, world: &mut World) {
        world.disconnect(connection);
        self.lost(connection);
    }

    /// A connection is gone, with what was said over it.
    fn lost(&mut self, connection: u32) {
        if let Some(end) = self.end(connection) {
            end.lost();
        }
    }

    fn is_done(&self, client: &Client) -> bool {
        let listens = client.listening.is_some_and(|place| {
            let topics = &self.connections[place].topics;
            topics.len() as u64 == self.settings.topics && client.subscribing.is_none()
        });
        let is_idle = client.posting.is_none() && !client.is_dozing();
        client.sent >= self.operations && is_idle && listens
    }
}

impl Workload for Clients {
    fn wake(&mut self, connection: u32, world: &mut World) {
        match connection % 2 {
            0 => self.post(connection / 2, world),
            _ => {
                let client = &mut self.clients[connection as usize / 2];
                if let Some(doze @ Doze { until: None, .. }) = &mut client.doze {
                    doze.until = Some(world.now());
                    world.read_on(connection);
                }
                self.subscribe(connection / 2, world);
            }
        }
    }

    fn reply(&mut self, connection: u32, sequence: u32, reply: &[u8], world: &mut World) {
        // The Host encoded it from this type; what does not decode is no reply.
        let Ok(reply) = postcard::from_bytes::<Reply<'_>>(reply) else { return };
        let waits = self.waits(connection, sequence);
        if let Some(said) = waits.and_then(|waits| typed::said(reply, waits)) {
            self.read(connection, said, world);
        }
    }

    fn hear(&mut self, connection: u32, bytes: &[u8], world: &mut World) {
        let Some(end) = self.end(connection) else { return };
        let (said, says) = (end.hear(bytes), end.say());
        let said = match said {
            Ok(said) => said,
            Err(why) => {
                let why = format!("client {} is told {why}", connection / 2);
                world.garbled.get_or_insert(why);
                return;
            }
        };
        if !says.is_empty() {
            let client = &mut self.clients[connection as usize / 2];
            client.sequence += 1;
            world.say(connection, self.roles.proxy, client.sequence, &says);
        }
        for said in said {
            self.read(connection, said, world);
        }
    }

    fn timeout(&mut self, connection: u32, sequence: u32, world: &mut World) {
        let (place, client) = (connection / 2, &self.clients[connection as usize / 2]);
        if connection.is_multiple_of(2) {
            if client.posting.is_some_and(|(_, posting)| posting == sequence) {
                self.hang_up(connection, world);
                self.over(place, None, world);
            }
        } else if client.subscribing == Some(sequence) {
            self.hang_up(connection, world);
            self.end_listening(place, world);
        }
    }

    fn closed(&mut self, connection: u32, world: &mut World) {
        self.lost(connection);
        match connection % 2 {
            0 => self.over(connection / 2, None, world),
            _ => self.end_listening(connection / 2, world),
        }
    }

    fn is_over(&mut self, world: &mut World, _: Nanos) -> bool {
        if !self.clients.iter().all(|client| self.is_done(client)) {
            self.done_at = None;
            return false;
        }
        let done_at = *self.done_at.get_or_insert(world.now());
        world.now() >= done_at + LISTEN_ON
    }

    fn unsettled(&self, _: &World) -> String {
        let late = self.clients.iter().enumerate().filter(|(_, client)| !self.is_done(client));
        let describe = |(place, client): (usize, &Client)| {
            let what = if client.listening.is_some() { "listens" } else { "does not listen" };
            format!("client {place} has sent {} posts and {what}", client.sent)
        };
        late.map(describe).collect::<Vec<_>>().join(", ")
    }

    fn take_history(&mut self, world: &mut World) -> History {
        let board = history::Board {
            posts: std::mem::take(&mut self.posts),
            connections: std::mem::take(&mut self.connections),
            end_ns: world.now(),
        };
        History { board: Some(board), ..History::default() }
    }

    fn name(&self, post: usize) -> Option<(u64, u32)> {
        self.names.get(post).copied()
    }
}
