//! Clients of the bulletin board. Each has a connection to the broker, over which it posts one text
//! after the other, and one to the proxy, over which it listens to every topic. What is not
//! answered in time is given up with its connection, and not posted again; whose listening ends
//! listens anew.

use node_lab::config::Config;
use node_lab::study::Load;
use node_lab::study::Nanos;
use node_lab::study::{Clients, Port, Workload};
use node_lab::wire::PUSHED;
use node_protocols::board::{Board, Reply, Request, Role};
use node_protocols::core::{Bytes, LamportTime, Protocol, Rng, encode};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What clients do: the table `[workload.board]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many clients.
    pub clients: u32,
    /// How many posts each sends.
    pub operations: u32,
    /// Under how many topics.
    pub topics: u64,
    /// The longest pause between two posts of a client, in milliseconds.
    pub think_ms: u64,
    /// When a client gives up an answer, in milliseconds.
    pub timeout_ms: u64,
    /// How many of a hundred posts lose their connection on the way or on the way back.
    pub cut_percent: u64,
    /// How many of a hundred posts are followed by a time in which their client does not read what
    /// it listens to.
    pub doze_percent: u64,
    /// The longest such time, in milliseconds.
    pub doze_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            clients: 4,
            operations: 30,
            topics: 2,
            think_ms: 1_000,
            timeout_ms: 5_000,
            cut_percent: 0,
            doze_percent: 0,
            doze_ms: 5_000,
        }
    }
}

/// Bounds that keep a run finite.
const MAX_CLIENTS: u32 = 1_000;
const MAX_OPERATIONS: u32 = 10_000;
const MAX_TOPICS: u64 = 100;

impl Settings {
    /// What of them makes no sense in a run of so many milliseconds.
    pub fn check(&self, millis: u64, settle_millis: u64) -> Result<(), String> {
        if !(1..=MAX_CLIENTS).contains(&self.clients)
            || self.operations > MAX_OPERATIONS
            || !(1..=MAX_TOPICS).contains(&self.topics)
        {
            return Err(format!(
                "workload: clients 1 to {MAX_CLIENTS}, operations at most {MAX_OPERATIONS}, topics 1 \
                 to {MAX_TOPICS}"
            ));
        }
        if self.cut_percent > 100 || self.doze_percent > 100 || self.timeout_ms == 0 {
            return Err(
                "workload: cut_percent and doze_percent at most 100, timeout_ms at least 1".into(),
            );
        }
        let pauses = u64::from(self.operations).saturating_mul(self.think_ms);
        if self.timeout_ms.max(self.doze_ms) > settle_millis || pauses > millis + settle_millis {
            return Err("workload: operations times think_ms must fit into seconds and \
                        settle_seconds, and timeout_ms and doze_ms into settle_seconds, or clients would not \
                        come to an end"
                .into());
        }
        Ok(())
    }
}

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

/// Whom clients talk to: the places of the nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Roles {
    broker: usize,
    proxy: usize,
}

impl Roles {
    /// Those that the nodes' configs give; none where no node runs the board.
    pub fn read(nodes: &[Config]) -> Result<Option<Roles>, String> {
        let (mut brokers, mut proxies, mut runs) = (Vec::new(), Vec::new(), false);
        for (place, node) in nodes.iter().enumerate() {
            let Some(config) = node.of::<Board>() else { continue };
            runs = true;
            match config.role {
                Role::Broker => brokers.push(place),
                Role::Proxy => proxies.push(place),
                _ => {}
            }
        }
        match (&brokers[..], &proxies[..]) {
            _ if !runs => Ok(None),
            ([broker], [proxy]) => Ok(Some(Roles { broker: *broker, proxy: *proxy })),
            _ => Err("nodes: a board that is simulated has one broker and one proxy".into()),
        }
    }
}

/// All clients of a run. The port's client 2n is the connection of client n to the broker, 2n + 1
/// that to the proxy.
pub struct Crew {
    clients: Vec<Client>,
    settings: Settings,
    roles: Roles,
    operations: u32,
    /// When each text was posted.
    sent_at: BTreeMap<String, Nanos>,
    /// Since when every client is done and listens.
    done_at: Option<Nanos>,
    scratch: Vec<u8>,
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
            Client {
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
            sent_at: BTreeMap::new(),
            done_at: None,
            scratch: Vec::new(),
        };
        for place in 0..plan.clients {
            for connection in [2 * place, 2 * place + 1] {
                port.add_client(Board::NAME);
                clients.think(connection, port);
            }
        }
        clients
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
        let user = format!("user{place}");
        let topic = format!("topic{}", client.think.below(self.settings.topics));
        let text = format!("{place}-{}", client.sent);
        self.sent_at.insert(text.clone(), port.now());
        let request = Request::Send {
            user: user.into(),
            topic: topic.into(),
            text: Bytes::new(text.as_bytes()),
            timestamp: port.now() / 1_000_000,
            clock: client.clock,
        };
        self.scratch.clear();
        encode(&request, &mut self.scratch);
        client.posting = Some(sequence);
        let is_cut = client.cuts.below(100) < self.settings.cut_percent;
        let cut = client.cuts.below(CUT_WITHIN);
        let patience = if is_cut { cut } else { self.settings.timeout_ms * 1_000_000 };
        port.request(connection, place.into(), self.roles.broker, sequence, &self.scratch);
        port.expire(port.now() + patience, connection, sequence);
        self.doze(place, port);
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
        let topic = format!("topic{topics}");
        *topics += 1;
        client.sequence += 1;
        client.subscribing = Some(client.sequence);
        self.scratch.clear();
        encode(&Request::Subscribe { topic: topic[..].into(), member: None }, &mut self.scratch);
        let (connection, sequence) = (2 * place + 1, client.sequence);
        port.request(connection, place.into(), self.roles.proxy, sequence, &self.scratch);
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
            // Nobody asked for these at the broker.
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
                    && self.sent_at.get(&text).is_some_and(|at| *at >= until)
                {
                    client.doze = None;
                }
            }
            Reply::Missed { .. } if sequence == PUSHED => {
                client.doze = client.doze.take().filter(|doze| doze.until.is_none());
            }
            // What is refused is asked again on a new connection.
            Reply::Error { .. } => {
                port.disconnect(2 * place + 1);
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

    fn is_done(&self, client: &Client) -> bool {
        let listens =
            client.listening == Some(self.settings.topics) && client.subscribing.is_none();
        let is_idle = client.posting.is_none() && !client.is_dozing();
        client.sent >= self.operations && is_idle && listens
    }
}

impl Workload for Crew {
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

    fn timeout(&mut self, connection: u32, sequence: u32, port: &mut dyn Port) {
        let (place, client) = (connection / 2, &self.clients[connection as usize / 2]);
        if connection.is_multiple_of(2) {
            if client.posting == Some(sequence) {
                port.disconnect(connection);
                self.over(place, port);
            }
        } else if client.subscribing == Some(sequence) {
            port.disconnect(connection);
            self.end_listening(place, port);
        }
    }

    fn closed(&mut self, connection: u32, port: &mut dyn Port) {
        match connection % 2 {
            0 => self.over(connection / 2, port),
            _ => self.end_listening(connection / 2, port),
        }
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
