//! The clients of all workloads: when they ask, whom, and how they go on when nobody answers. What
//! they ask, a workload says ([`Asks`]). Knows no workload, and no process.
//!
//! ```text
//! 1 s        all nodes have           seconds        + final_after_ms
//!  |  setup  |  acknowledged            |   quiet          |  last operations
//!  +---------+--- op -- op --- op ------+------------------+---- op, until answered
//! ```
//!
//! As in Maelstrom (`src/maelstrom/core.clj`, `doc/workloads.md`): each client has a node for the
//! whole run, and asks it one thing at a time. One whose request has an unknown outcome gives up
//! its connection and goes on as another process, under a number of its own, as in Jepsen. In the
//! end each node is asked by somebody who was not there before.

use crate::errors::Told;
use node_core::{Protocol, Rng};
use node_lab::check::describe::{FINALS, SETUPS};
use node_lab::hosted::{Body, Program};
use node_lab::study::{Cast, Clients, Load, Nanos, Port, Workload};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

/// When the first client asks: programs have had the time to start.
pub const BEGIN: Nanos = 1_000_000_000;
/// How long after an answer that is none the same is asked again, where it has to be done.
const AGAIN: Nanos = 500_000_000;
/// Clients of a run, at most.
const MAX_CLIENTS: u32 = 1_000;
/// Operations a second of all clients together, at most.
const MAX_RATE: u32 = 100_000;
/// What one client's numbers are apart: there are fewer clients and nodes than this.
const LIFE: u64 = 10_000;

/// Whether an operation is one of those with which a run ends, by its client's number.
pub fn is_final(client: u64) -> bool {
    (FINALS..SETUPS).contains(&client)
}

/// Whether an operation sets a node up, by its client's number: it is none of the workload's.
pub fn is_setup(client: u64) -> bool {
    client >= SETUPS
}

/// What the clients of a workload ask. Cloned for each run.
pub trait Asks: fmt::Debug + Send + Sync + 'static {
    /// How many clients the scenario has: a plan may have fewer, and asks the same with them.
    fn begin(&mut self, clients: u32) {
        let _ = clients;
    }

    /// What a node, by its place, must acknowledge before anything is asked of any.
    fn setup(&self, node: usize, nodes: usize) -> Option<Body<'static>> {
        let _ = (node, nodes);
        None
    }

    /// What a client asks next; nothing this time when it has nothing to ask.
    fn next(&mut self, client: u32, rng: &mut Rng) -> Option<Body<'static>>;

    /// What became of what a client asked.
    fn told(&mut self, client: u32, request: &Body<'_>, told: &Told) {
        let _ = (client, request, told);
    }

    /// Whether a request may change something: a client that does not know whether it did goes on
    /// as another process.
    fn changes(&self, request: &Body<'_>) -> bool {
        request.kind() != "read"
    }

    /// Whether nodes are asked something in the end.
    fn has_last(&self) -> bool {
        true
    }

    /// What a client that comes in the end asks its node: each round after the answer to the one
    /// before. None when it is done. There is one for each node, with the numbers after all others.
    fn last(&mut self, client: u32, round: u32, rng: &mut Rng) -> Option<Body<'static>> {
        let _ = (client, rng);
        (round == 0).then(|| Body::of(&serde_json::json!({ "type": "read" })))
    }
}

/// How fast the clients of a run are, and how patient: keys of every workload's table.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How many clients; without, as many as nodes.
    pub clients: Option<u32>,
    /// How many operations a second they make together.
    pub rate: u32,
    /// When a client gives up, in milliseconds.
    pub timeout_ms: u64,
    /// How long nodes have, when all is mended, until they are asked for the last time, in
    /// milliseconds.
    pub final_after_ms: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { clients: None, rate: 5, timeout_ms: 5_000, final_after_ms: 10_000 }
    }
}

/// A workload's table: [`Pace`]'s keys, and its own with their defaults.
#[macro_export]
macro_rules! settings {
    ($(#[$about:meta])* $name:ident {
        $($(#[$doc:meta])* $key:ident: $type:ty = $default:expr,)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            /// How many clients; without, as many as nodes.
            pub clients: Option<u32>,
            /// How many operations a second they make together.
            pub rate: u32,
            /// When a client gives up, in milliseconds.
            pub timeout_ms: u64,
            /// How long nodes have, when all is mended, until they are asked for the last time, in
            /// milliseconds.
            pub final_after_ms: u64,
            $($(#[$doc])* pub $key: $type,)*
        }

        impl Default for $name {
            fn default() -> $name {
                let $crate::crew::Pace { clients, rate, timeout_ms, final_after_ms } =
                    $crate::crew::Pace::default();
                $name { clients, rate, timeout_ms, final_after_ms, $($key: $default,)* }
            }
        }

        impl $name {
            /// The keys that all workloads have.
            pub fn pace(&self) -> $crate::crew::Pace {
                let $name { clients, rate, timeout_ms, final_after_ms, .. } = *self;
                $crate::crew::Pace { clients, rate, timeout_ms, final_after_ms }
            }
        }
    };
}

/// The places of the nodes that are programs.
pub fn programs(cast: &Cast<'_>) -> Vec<usize> {
    let runs = |place: &usize| {
        cast.nodes[*place].protocols.iter().any(|protocol| protocol == Program::NAME)
    };
    (0..cast.nodes.len()).filter(runs).collect()
}

/// What a program calls itself: the node of id 1 is `n0`.
pub fn name(node: u32) -> String {
    format!("n{}", i64::from(node) - 1)
}

/// Numbers that no two clients of a run share, whichever of them it has.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    clients: u64,
    taken: BTreeMap<u32, u64>,
}

impl Numbers {
    /// For so many clients, as the scenario has.
    pub fn of(clients: u32) -> Numbers {
        Numbers { clients: clients.into(), taken: BTreeMap::new() }
    }

    /// The client's next one.
    pub fn next(&mut self, client: u32) -> u64 {
        let taken = self.taken.entry(client).or_default();
        let number = *taken * self.clients + u64::from(client);
        *taken += 1;
        number
    }
}

/// The clients of a scenario.
#[derive(Debug)]
pub struct Crew<A> {
    /// The workload's name, for its streams of random numbers.
    name: &'static str,
    asks: A,
    pace: Pace,
    clients: u32,
    /// The places of the programs.
    nodes: Vec<usize>,
    /// How long operations are asked, known when the scenario's times are.
    millis: OnceLock<u64>,
}

impl<A: Asks + Clone> Crew<A> {
    /// Those of a workload, among these nodes; none where none is a program.
    ///
    /// # Errors
    /// Which key breaks which rule, in one line.
    pub fn clients(
        name: &'static str,
        pace: Pace,
        cast: &Cast<'_>,
        asks: A,
    ) -> Result<Option<Box<dyn Clients>>, String> {
        let nodes = programs(cast);
        if nodes.is_empty() {
            return Ok(None);
        }
        let rule = |what: String| Err(format!("workload: {what}"));
        let clients = pace.clients.unwrap_or((nodes.len() as u32).min(MAX_CLIENTS));
        if !(1..=MAX_CLIENTS).contains(&clients) {
            return rule(format!("clients is 1 to {MAX_CLIENTS}"));
        }
        if pace.rate > MAX_RATE {
            return rule(format!("rate is at most {MAX_RATE} operations a second"));
        }
        if pace.timeout_ms == 0 {
            return rule("timeout_ms is at least 1".into());
        }
        let millis = OnceLock::new();
        Ok(Some(Box::new(Crew { name, asks, pace, clients, nodes, millis })))
    }

    /// Those of a test, without a scenario.
    #[cfg(test)]
    pub(crate) fn of_nodes(
        name: &'static str,
        pace: Pace,
        clients: u32,
        nodes: usize,
        asks: A,
    ) -> Crew<A> {
        Crew { name, asks, pace, clients, nodes: (0..nodes).collect(), millis: OnceLock::new() }
    }

    /// How many operations each client makes, and how far apart they are.
    fn share(&self) -> (u32, Nanos) {
        let begin = BEGIN / 1_000_000;
        let span = self.millis.get().copied().unwrap_or_default().saturating_sub(begin);
        let all = u64::from(self.pace.rate) * span / 1_000;
        let each = all.div_ceil(self.clients.into());
        (each as u32, span * 1_000_000 / each.max(1))
    }
}

impl<A: Asks + Clone> Clients for Crew<A> {
    fn check(&self, millis: u64, settle_millis: u64) -> Result<(), String> {
        if millis * 1_000_000 <= BEGIN {
            return Err("workload: seconds must be at least 2: clients begin at 1 s".into());
        }
        let quiet = if self.asks.has_last() { self.pace.final_after_ms } else { 0 };
        let ends = quiet.saturating_add(self.pace.timeout_ms);
        if ends >= settle_millis {
            return Err(format!(
                "workload: final_after_ms and timeout_ms need {ends} ms after the run, and \
                 settle_seconds leaves {settle_millis}: make it larger"
            ));
        }
        self.millis.get_or_init(|| millis);
        Ok(())
    }

    fn counts(&self) -> (u32, u32) {
        (self.clients, self.share().0)
    }

    fn most(&self) -> u32 {
        MAX_CLIENTS
    }

    fn start(&self, load: &Load, port: &mut dyn Port) -> Box<dyn Workload> {
        let nodes = self.nodes.len();
        let number = |number: u32| {
            let place = number as usize;
            let helps = place.checked_sub(load.clients as usize);
            let stream = |what| Rng::stream(load.seed, &format!("{}/{what}/{number}", self.name));
            let helper = |node| format!("{}/last/{node}", self.name);
            Client {
                node: self.nodes[helps.unwrap_or(place % nodes)],
                first: helps.map_or(number.into(), |node| FINALS + node as u64),
                lives: 0,
                pace: stream("pace"),
                rng: helps
                    .map_or_else(|| stream("asks"), |node| Rng::stream(load.seed, &helper(node))),
                asked: 0,
                slot: 0,
                is_due: false,
                current: None,
                todo: None,
                round: 0,
            }
        };
        let clients: Vec<Client> = (0..load.clients + nodes as u32).map(number).collect();
        let mut team = Team {
            asks: Box::new(self.asks.clone()),
            workers: load.clients,
            operations: load.operations,
            period: self.share().1,
            timeout: self.pace.timeout_ms * 1_000_000,
            quiet: self.pace.final_after_ms * 1_000_000,
            clients,
            begun: None,
            is_closed: false,
            calm: None,
            are_last: false,
        };
        team.asks.begin(self.clients);
        for number in 0..team.clients.len() as u32 {
            port.add_client(Program::NAME);
            if let Some(node) = number.checked_sub(team.workers) {
                let setup = team.asks.setup(node as usize, nodes);
                team.clients[number as usize].todo = setup;
                port.wake(BEGIN, number);
            }
        }
        Box::new(team)
    }
}

/// The clients of a run: first those who work, then one for each node, which sets it up and asks it
/// in the end.
struct Team {
    asks: Box<dyn Asks>,
    workers: u32,
    /// How many operations each worker makes.
    operations: u32,
    period: Nanos,
    timeout: Nanos,
    quiet: Nanos,
    clients: Vec<Client>,
    /// When all nodes had been set up.
    begun: Option<Nanos>,
    /// Whether no operation begins any more, but for the last ones.
    is_closed: bool,
    /// When everything was mended.
    calm: Option<Nanos>,
    /// Whether nodes are asked the last operations.
    are_last: bool,
}

struct Client {
    /// The place of its node.
    node: usize,
    /// Its number in its first life.
    first: u64,
    /// How many lives it has had before.
    lives: u64,
    pace: Rng,
    rng: Rng,
    /// How many requests it has made: the last one's sequence.
    asked: u32,
    /// How many of its operations' times have come.
    slot: u32,
    /// Whether one has come for which it had no time yet.
    is_due: bool,
    /// The request under way.
    current: Option<Body<'static>>,
    /// What has to be asked until it is done.
    todo: Option<Body<'static>>,
    /// Which of its last requests it is at.
    round: u32,
}

impl Team {
    fn ask(&mut self, number: u32, body: Body<'static>, port: &mut dyn Port) {
        let is_setup = number >= self.workers && !self.are_last;
        let client = &mut self.clients[number as usize];
        client.asked += 1;
        let base = if is_setup { SETUPS - FINALS } else { 0 };
        let whose = client.first + base + client.lives * LIFE;
        // A body's form between nodes: a string of a length.
        let bytes = postcard::to_allocvec(&body).unwrap_or_default();
        client.current = Some(body);
        port.request(number, whose, client.node, client.asked, &bytes);
        port.expire(port.now() + self.timeout, number, client.asked);
    }

    /// A worker's next operation, if it is time and it has none under way.
    fn work(&mut self, number: u32, port: &mut dyn Port) {
        let client = &mut self.clients[number as usize];
        if self.is_closed || !client.is_due || client.current.is_some() {
            return;
        }
        client.is_due = false;
        if let Some(body) = self.asks.next(number, &mut client.rng) {
            self.ask(number, body, port);
        }
    }

    /// Has a worker woken for its next operation: once in each of its periods.
    fn schedule(&mut self, number: u32, port: &mut dyn Port) {
        let (begun, period) = (self.begun.unwrap_or_default(), self.period);
        let client = &mut self.clients[number as usize];
        if client.slot < self.operations {
            let within = client.pace.below(period.max(1));
            port.wake(begun + u64::from(client.slot) * period + within, number);
        }
    }

    /// Begins when no node has to be set up any more.
    fn begin(&mut self, port: &mut dyn Port) {
        let is_set_up = self.helpers().all(|client| client.todo.is_none());
        if self.begun.is_none() && is_set_up {
            self.begun = Some(port.now());
            (0..self.workers).for_each(|number| self.schedule(number, port));
        }
    }

    fn helpers(&self) -> impl Iterator<Item = &Client> {
        self.clients[self.workers as usize..].iter()
    }

    /// Has a client ask what it has to do, or find out that it is done.
    fn help(&mut self, number: u32, port: &mut dyn Port) {
        let client = &self.clients[number as usize];
        match client.todo.clone() {
            Some(body) if client.current.is_none() => self.ask(number, body, port),
            Some(_) => {}
            None => self.begin(port),
        }
    }

    /// A client's request is over.
    fn end(&mut self, number: u32, reply: Option<Body<'_>>, port: &mut dyn Port) {
        let client = &mut self.clients[number as usize];
        let Some(request) = client.current.take() else { return };
        let told = Told::of(&request, reply);
        if told == Told::Unknown && self.asks.changes(&request) {
            client.lives += 1;
            port.disconnect(number);
        }
        if number < self.workers {
            self.asks.told(number, &request, &told);
            return self.work(number, port);
        }
        if self.are_last {
            self.asks.told(number, &request, &told);
        }
        if !told.is_done() {
            return port.wake(port.now() + AGAIN, number);
        }
        client.todo = None;
        if self.are_last {
            client.round += 1;
            client.todo = self.asks.last(number, client.round, &mut client.rng);
        }
        self.help(number, port);
    }
}

impl Workload for Team {
    fn redraw(&mut self, by: u64) {
        for client in &mut self.clients {
            client.pace.redraw(by);
            client.rng.redraw(by);
        }
    }

    fn wake(&mut self, number: u32, port: &mut dyn Port) {
        if number >= self.workers {
            return self.help(number, port);
        }
        let client = &mut self.clients[number as usize];
        client.slot += 1;
        client.is_due = true;
        self.schedule(number, port);
        self.work(number, port);
    }

    fn reply(&mut self, number: u32, sequence: u32, reply: &[u8], port: &mut dyn Port) {
        if self.clients[number as usize].asked == sequence {
            self.end(number, postcard::from_bytes(reply).ok(), port);
        }
    }

    fn timeout(&mut self, number: u32, sequence: u32, port: &mut dyn Port) {
        let client = &self.clients[number as usize];
        if client.asked == sequence && client.current.is_some() {
            port.disconnect(number);
            self.end(number, None, port);
        }
    }

    fn closed(&mut self, number: u32, port: &mut dyn Port) {
        self.end(number, None, port);
    }

    fn enough(&mut self) {
        self.is_closed = true;
    }

    fn is_over(&mut self, port: &mut dyn Port, _: Nanos) -> bool {
        self.is_closed = true;
        let calm = *self.calm.get_or_insert(port.now());
        let works = self.clients[..self.workers as usize].iter().any(|one| one.current.is_some());
        if self.begun.is_none() || works {
            return false;
        }
        if !self.asks.has_last() {
            return true;
        }
        if port.now() < calm + self.quiet {
            return false;
        }
        if !self.are_last {
            self.are_last = true;
            for number in self.workers..self.clients.len() as u32 {
                let client = &mut self.clients[number as usize];
                client.todo = self.asks.last(number, 0, &mut client.rng);
                self.help(number, port);
            }
        }
        self.helpers().all(|client| client.todo.is_none())
    }

    fn unsettled(&self, port: &dyn Port) -> String {
        if self.clients[..self.workers as usize].iter().any(|one| one.current.is_some()) {
            return "clients still wait for answers".into();
        }
        let silent = self.helpers().filter_map(|client| {
            let todo = client.todo.as_ref()?;
            let name = name(port.id(client.node).0);
            Some(format!("{name} has not answered {} with {0}_ok", todo.kind()))
        });
        silent.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
#[path = "crew_tests.rs"]
mod tests;
