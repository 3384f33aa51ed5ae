//! The study of `counter`: clients that add, a last read at each node, and what must be true of
//! both.

use crate::Counter;
use crate::{Reply, Request};
use node_core::{Protocol, Rng, decode, encode};
use node_lab::study::{
    Cast, Clients, Load, Needs, Port, Property, Run, Study, Verdict, Violation, Workload,
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Who adds, and what must be true.
pub struct CounterStudy;

impl Study for CounterStudy {
    type Protocol = Counter;
    type Settings = Settings;
    const PROPERTIES: &'static [Property] = &[Property {
        name: "total_equals_acknowledged_adds",
        statement: "in the end every node's total is the sum of the adds that were acknowledged; \
                    one that was not may be in it or not",
        source: "Shapiro et al.: A comprehensive study of Convergent and Commutative Replicated \
                 Data Types, INRIA 7506, 2011 (strong eventual consistency)",
        needs: Needs::OPERATIONS.and(Needs::EVERY_CLIENT),
        bounds: &[],
        is_promised: true,
        missing: |cast| cast.lacks_clients(Counter::NAME, "clients that add", "nodes run counter"),
        shows: |run| run.operations_of(Counter::NAME).next().is_some(),
        judge: total_equals_acknowledged_adds,
    }];

    fn clients(settings: Settings, cast: &Cast<'_>) -> Result<Option<Box<dyn Clients>>, String> {
        Ok(cast.all_run(Counter::NAME).then(|| Box::new(settings) as Box<dyn Clients>))
    }
}

/// The last `total` of each node lies between what was acknowledged and what was asked for.
///
/// Evidence: an add that was acknowledged, and a read of a node that began when no add was under
/// way any more.
fn total_equals_acknowledged_adds(run: &Run) -> Verdict {
    let (mut acknowledged, mut asked, mut last_add, mut over) = (0_u64, 0_u64, None, 0);
    for (place, operation) in run.operations_of(Counter::NAME) {
        if let Some(Request::Add { amount }) = run.request(operation) {
            asked += u64::from(amount);
            over = over.max(operation.return_ns.unwrap_or(operation.invoke_ns));
            if operation.return_ns.is_some() {
                acknowledged += u64::from(amount);
                last_add = Some(place);
            }
        }
    }
    // What clients asked first comes first: the last read of a node is the last that is found.
    let mut reads = BTreeMap::new();
    for (place, operation) in run.operations_of(Counter::NAME) {
        let is_read = run.request(operation) == Some(Request::Total {});
        if let (true, Some(node), Some(Reply { total })) =
            (is_read && operation.invoke_ns >= over, operation.node, run.reply(operation))
        {
            reads.insert(node, (place, total));
        }
    }
    let wrong = reads.iter().find(|(_, (_, total))| !(acknowledged..=asked).contains(total));
    let broken = wrong.map(|(node, (place, total))| {
        let why = match asked - acknowledged {
            0 => format!("node {node} has {total} in the end, but {acknowledged} was acknowledged"),
            open => format!(
                "node {node} has {total} in the end, but {acknowledged} was acknowledged, and \
                 {open} more was asked for"
            ),
        };
        let add = last_add.map(|add| ("last acknowledged addition", add));
        Violation::shown_by(add.into_iter().chain([("wrong total", *place)]), why)
    });
    let differ = reads.iter().zip(reads.iter().skip(1)).find(|(one, other)| one.1.1 != other.1.1);
    let broken = broken.or_else(|| {
        let ((node, (place, total)), (other, (there, others))) = differ?;
        let why = format!("node {node} has {total} in the end, but node {other} has {others}");
        let roles = [("total here", *place), ("total there", *there)];
        Some(Violation::shown_by(roles, why))
    });
    let has_evidence = last_add.is_some() && !reads.is_empty();
    Verdict::of(broken, has_evidence, "nothing was added and then read")
}

/// What clients do: the table `[workload.counter]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many clients.
    pub clients: u32,
    /// How many adds each.
    pub operations: u32,
    /// The longest pause between two adds of a client, in milliseconds.
    pub think_ms: u64,
    /// When a client gives up, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { clients: 3, operations: 20, think_ms: 500, timeout_ms: 2_000 }
    }
}

/// Bounds that keep a run finite.
const MAX_CLIENTS: u32 = 100;
/// So often every node is read in the end, five times a second: for longer than it takes to hear
/// from all.
const MAX_ROUNDS: u32 = 100;
/// The most that is added at once.
const MAX_AMOUNT: u64 = 9;
const MILLI: u64 = 1_000_000;

impl Clients for Settings {
    fn check(&self, millis: u64, settle_millis: u64) -> Result<(), String> {
        let longest = u64::from(self.operations).saturating_mul(self.think_ms + self.timeout_ms);
        if !(1..=MAX_CLIENTS).contains(&self.clients) || self.think_ms == 0 || self.timeout_ms == 0
        {
            return Err(format!("workload: clients is 1 to {MAX_CLIENTS}, times are at least 1"));
        }
        if longest > millis + settle_millis {
            return Err(
                "workload: operations times think_ms and timeout_ms must fit into seconds \
                        and settle_seconds"
                    .into(),
            );
        }
        Ok(())
    }

    fn counts(&self) -> (u32, u32) {
        (self.clients, self.operations)
    }

    fn most(&self) -> u32 {
        MAX_CLIENTS
    }

    fn start(&self, plan: &Load, port: &mut dyn Port) -> Box<dyn Workload> {
        let adder = |id| Adder {
            rng: Rng::stream(plan.seed, &format!("workload/{id}")),
            left: plan.operations,
            sequence: 0,
            waits: false,
        };
        let adders: Vec<Adder> = (0..plan.clients).map(adder).collect();
        let mut crew =
            Crew { settings: self.clone(), adders, readers: vec![None; port.nodes()], round: 0 };
        for id in 0..plan.clients {
            port.add_client(Counter::NAME);
            crew.think(id, port);
        }
        // One more for each node: they read in the end.
        for _ in 0..port.nodes() {
            port.add_client(Counter::NAME);
        }
        Box::new(crew)
    }
}

/// All clients of a run: first those who add, then one reader for each node.
struct Crew {
    settings: Settings,
    adders: Vec<Adder>,
    /// What each node said in this round of reads.
    readers: Vec<Option<u64>>,
    /// The number of the round: the sequence of its reads. None yet is 0.
    round: u32,
}

/// A client that adds.
struct Adder {
    rng: Rng,
    left: u32,
    sequence: u32,
    waits: bool,
}

impl Crew {
    fn think(&mut self, client: u32, port: &mut dyn Port) {
        let pause = self.adders[client as usize].rng.below(self.settings.think_ms) + 1;
        port.wake(port.now() + pause * MILLI, client);
    }

    fn done(&mut self, client: u32, port: &mut dyn Port) {
        self.adders[client as usize].waits = false;
        self.think(client, port);
    }

    fn are_done(&self) -> bool {
        self.adders.iter().all(|adder| adder.left == 0 && !adder.waits)
    }

    /// The adder that waits for the answer to that operation.
    fn waiting(&self, client: u32, sequence: u32) -> bool {
        let adder = self.adders.get(client as usize);
        adder.is_some_and(|adder| adder.waits && adder.sequence == sequence)
    }
}

impl Workload for Crew {
    fn redraw(&mut self, by: u64) {
        self.adders.iter_mut().for_each(|adder| adder.rng.redraw(by));
    }

    fn wake(&mut self, client: u32, port: &mut dyn Port) {
        let Some(adder) = self.adders.get_mut(client as usize) else { return };
        if adder.left == 0 || adder.waits {
            return;
        }
        adder.left -= 1;
        adder.sequence += 1;
        adder.waits = true;
        let node = adder.rng.below(port.nodes() as u64) as usize;
        let amount = 1 + adder.rng.below(MAX_AMOUNT) as u32;
        let mut request = Vec::new();
        encode(&Request::Add { amount }, &mut request);
        port.expire(port.now() + self.settings.timeout_ms * MILLI, client, adder.sequence);
        port.request(client, u64::from(client), node, adder.sequence, &request);
    }

    fn reply(&mut self, client: u32, sequence: u32, reply: &[u8], port: &mut dyn Port) {
        if self.waiting(client, sequence) {
            self.done(client, port);
            return;
        }
        let place = (client as usize).checked_sub(self.adders.len());
        if let Some(read) = place.and_then(|place| self.readers.get_mut(place))
            && sequence == self.round
        {
            *read = decode::<Reply>(reply).map(|reply| reply.total);
        }
    }

    fn timeout(&mut self, client: u32, sequence: u32, port: &mut dyn Port) {
        if self.waiting(client, sequence) {
            port.disconnect(client);
            self.done(client, port);
        }
    }

    fn closed(&mut self, client: u32, port: &mut dyn Port) {
        if self.adders.get(client as usize).is_some_and(|adder| adder.waits) {
            self.done(client, port);
        }
    }

    fn enough(&mut self) {
        self.adders.iter_mut().for_each(|adder| adder.left = 0);
    }

    /// Every node is read again and again, until all say the same, or will not any more.
    fn is_over(&mut self, port: &mut dyn Port, _limit: u64) -> bool {
        if !self.are_done() {
            return false;
        }
        let first = self.readers.first().copied().flatten();
        let agree = first.is_some() && self.readers.iter().all(|read| *read == first);
        if agree || self.round == MAX_ROUNDS {
            return true;
        }
        self.round += 1;
        self.readers.fill(None);
        let mut request = Vec::new();
        encode(&Request::Total {}, &mut request);
        for node in 0..port.nodes() {
            let client = (self.adders.len() + node) as u32;
            port.request(client, u64::from(client), node, self.round, &request);
        }
        false
    }

    fn unsettled(&self, _port: &dyn Port) -> String {
        format!("the nodes' totals differ: {:?}", self.readers)
    }
}
