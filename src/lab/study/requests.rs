//! `[workload] kind = "requests"`: clients of any protocol without a study. They ask a weighted mix
//! of JSON requests, one after the other, and in the end every node once. Knows no protocol.

mod template;

use self::template::{Asker, MAX_OPERATIONS, Template};
use super::Nanos;
use super::cast::Cast;
use super::client::{Clients, Load, Port, Workload};
use crate::plugins::JsonForm;
use node_core::Rng;
use serde::Deserialize;
use std::collections::BTreeSet;

/// The table `[workload]` with a `kind`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Whose requests; without, the one protocol that all nodes run and that takes some.
    protocol: Option<String>,
    /// How many clients.
    #[serde(default = "default_clients")]
    clients: u32,
    /// How many operations each.
    #[serde(default = "default_operations")]
    operations: u32,
    /// The longest pause between two operations of a client, in milliseconds.
    #[serde(default = "default_think_ms")]
    think_ms: u64,
    /// When a client gives up, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    timeout_ms: u64,
    /// The ids of the nodes that are asked, drawn for each operation; without, all that run the
    /// protocol.
    nodes: Option<Vec<u32>>,
    request: Vec<Weighted>,
    #[serde(rename = "final")]
    last: Option<Last>,
}

/// What `kind` calls them.
pub(crate) const KIND: &str = "requests";

/// A table `[[workload.request]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Weighted {
    /// How often it is asked, beside the others' weights.
    #[serde(default = "default_weight")]
    weight: u32,
    /// The request, as on the gateway `json`.
    json: String,
}

/// The table `[workload.final]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    /// The request, as on the gateway `json`.
    json: String,
    /// How long nodes have to agree before they are asked, in milliseconds.
    #[serde(default = "default_after_ms")]
    after_ms: u64,
}

fn default_clients() -> u32 {
    3
}
fn default_operations() -> u32 {
    20
}
fn default_think_ms() -> u64 {
    200
}
fn default_timeout_ms() -> u64 {
    2_000
}
fn default_weight() -> u32 {
    1
}
fn default_after_ms() -> u64 {
    5_000
}

/// Bounds that keep a run finite.
const MAX_CLIENTS: u32 = 1_000;
/// Likewise for what a scenario's file lists.
const MAX_REQUESTS: usize = 1_000;

/// The clients of a scenario, checked.
#[derive(Debug)]
pub(crate) struct Requests {
    form: JsonForm,
    clients: u32,
    operations: u32,
    think_ms: u64,
    timeout_ms: u64,
    /// The places of the nodes that are asked.
    asked: Vec<usize>,
    mix: Vec<(u32, Template)>,
    last: Option<Ending>,
}

/// What every node is asked in the end.
#[derive(Clone, Debug)]
struct Ending {
    request: Template,
    after: Nanos,
    /// The places of the nodes that run the protocol.
    nodes: Vec<usize>,
}

impl Settings {
    /// Checks everything but the times. Answers the protocol, too.
    ///
    /// # Errors
    /// Which key breaks which rule, in one line.
    pub(crate) fn resolve(self, cast: &Cast<'_>) -> Result<Requests, String> {
        let form = form(self.protocol.as_deref(), cast)?;
        let runs = |place: &usize| cast.nodes[*place].protocols.iter().any(|p| p == form.protocol);
        let running: Vec<usize> = (0..cast.nodes.len()).filter(runs).collect();
        let asked = match &self.nodes {
            None => running.clone(),
            Some(ids) => {
                let ids: BTreeSet<u32> = ids.iter().copied().collect();
                let place = |id: u32| {
                    let found = running.iter().find(|place| cast.nodes[**place].id.0 == id);
                    found
                        .copied()
                        .ok_or_else(|| format!("nodes: no node {id} runs {}", form.protocol))
                };
                ids.into_iter().map(place).collect::<Result<_, _>>()?
            }
        };
        if asked.is_empty() {
            return Err("nodes: name at least one".into());
        }
        if !(1..=MAX_REQUESTS).contains(&self.request.len()) {
            return Err(format!("request: 1 to {MAX_REQUESTS} tables [[workload.request]]"));
        }
        if self.operations >= MAX_OPERATIONS {
            return Err(format!("operations: fewer than {MAX_OPERATIONS}"));
        }
        // Those who ask in the end have the numbers above.
        let client = self.clients.saturating_add(cast.nodes.len() as u32);
        let latest = Asker { client, operation: self.operations.max(1) };
        let template = |key: &str, json: &str| {
            let of = |why: String| format!("{key}: {why}");
            let template = Template::parse(json).map_err(of)?;
            for sample in template.samples(latest) {
                let text = sample.to_string();
                let encoded = form.encode(text.as_bytes(), &mut Vec::new());
                encoded.map_err(|why| {
                    of(format!("{text} is no request of {}: {why}", form.protocol))
                })?;
            }
            Ok::<Template, String>(template)
        };
        let mut mix = Vec::with_capacity(self.request.len());
        for (place, one) in (1..).zip(&self.request) {
            if one.weight == 0 {
                return Err(format!("request {place}: weight is at least 1"));
            }
            mix.push((one.weight, template(&format!("request {place}"), &one.json)?));
        }
        let last = match self.last {
            None => None,
            Some(Last { json, after_ms }) => Some(Ending {
                request: template("final", &json)?,
                after: after_ms.saturating_mul(1_000_000),
                nodes: running,
            }),
        };
        let Settings { clients, operations, think_ms, timeout_ms, .. } = self;
        Ok(Requests { form, clients, operations, think_ms, timeout_ms, asked, mix, last })
    }
}

/// The protocol that is asked.
fn form(named: Option<&str>, cast: &Cast<'_>) -> Result<JsonForm, String> {
    let forms = cast.plugins.json_forms();
    if let Some(name) = named {
        let form = forms.into_values().find(|form| form.protocol == name);
        return match form {
            Some(form) if form.takes_requests => Ok(form),
            Some(_) => Err(format!("protocol: {name} takes no requests")),
            None => Err(format!("protocol: there is no protocol {name}")),
        };
    }
    let candidates = forms.into_values();
    let candidates = candidates.filter(|form| form.takes_requests && cast.all_run(form.protocol));
    match &candidates.collect::<Vec<_>>()[..] {
        [one] => Ok(*one),
        [] => Err("protocol: no protocol that takes requests is run by all nodes: name one".into()),
        several => {
            let names: Vec<&str> = several.iter().map(|form| form.protocol).collect();
            Err(format!("protocol: all nodes run {}: name one", names.join(" and ")))
        }
    }
}

impl Requests {
    /// Whose clients they are.
    pub(crate) fn protocol(&self) -> &'static str {
        self.form.protocol
    }
}

impl Clients for Requests {
    fn check(&self, millis: u64, settle_millis: u64) -> Result<(), String> {
        let Requests { clients, operations, think_ms, timeout_ms, .. } = *self;
        if !(1..=MAX_CLIENTS).contains(&clients) || timeout_ms == 0 {
            return Err(format!("workload: clients 1 to {MAX_CLIENTS}, timeout_ms at least 1"));
        }
        let whole = millis + settle_millis;
        if timeout_ms > whole || u64::from(operations).saturating_mul(think_ms) > whole {
            return Err("workload: operations times think_ms, and timeout_ms, must fit into \
                        seconds and settle_seconds, or clients would not come to an end"
                .into());
        }
        let settle = settle_millis.saturating_mul(1_000_000);
        if self.last.as_ref().is_some_and(|last| last.after >= settle) {
            return Err("workload: final: after_ms must be less than settle_seconds".into());
        }
        Ok(())
    }

    fn counts(&self) -> (u32, u32) {
        (self.clients, self.operations)
    }

    fn most(&self) -> u32 {
        MAX_CLIENTS
    }

    fn has_finals(&self) -> bool {
        self.last.is_some()
    }

    fn start(&self, plan: &Load, port: &mut dyn Port) -> Box<dyn Workload> {
        let finals = self.last.as_ref().map_or(0, |last| last.nodes.len()) as u32;
        let client = |number: u32| Client {
            rng: Rng::stream(plan.seed, &format!("workload/requests/{number}")),
            asked: 0,
            current: None,
        };
        let mut crew = Crew {
            form: self.form,
            clients: (0..plan.clients + finals).map(client).collect(),
            workers: plan.clients,
            operations: plan.operations,
            think_ms: self.think_ms,
            timeout: self.timeout_ms * 1_000_000,
            asked: self.asked.clone(),
            mix: self.mix.clone(),
            last: self.last.clone(),
            done_at: None,
            answered: vec![false; finals as usize],
            scratch: Vec::new(),
        };
        for number in 0..crew.clients.len() as u32 {
            port.add_client(self.form.protocol);
            if number < crew.workers {
                crew.think(number, port);
            }
        }
        Box::new(crew)
    }
}

/// The clients of a run: first those who ask the mix, then one for each node that is asked in the
/// end.
struct Crew {
    form: JsonForm,
    clients: Vec<Client>,
    workers: u32,
    operations: u32,
    think_ms: u64,
    timeout: Nanos,
    asked: Vec<usize>,
    mix: Vec<(u32, Template)>,
    last: Option<Ending>,
    /// When all operations were over, and everything mended.
    done_at: Option<Nanos>,
    /// Which of those who ask in the end have their answers.
    answered: Vec<bool>,
    scratch: Vec<u8>,
}

struct Client {
    rng: Rng,
    /// How many requests it has made: the last one's sequence.
    asked: u32,
    /// The sequence of the request under way.
    current: Option<u32>,
}

impl Crew {
    fn think(&mut self, number: u32, port: &mut dyn Port) {
        let pause = self.clients[number as usize].rng.below(self.think_ms * 1_000 + 1);
        port.wake(port.now() + pause * 1_000, number);
    }

    /// Has a client ask a node for what a template says, which none is for the mix.
    fn ask(&mut self, number: u32, node: usize, which: Option<usize>, port: &mut dyn Port) {
        let template = match (which, &self.last) {
            (Some(place), _) => &self.mix[place].1,
            (None, Some(last)) => &last.request,
            (None, None) => return,
        };
        let client = &mut self.clients[number as usize];
        client.asked += 1;
        let asker = Asker { client: number, operation: client.asked };
        let text = template.fill(&mut client.rng, asker).to_string();
        self.scratch.clear();
        if let Err(why) = self.form.encode(text.as_bytes(), &mut self.scratch) {
            // A value between those that were tried when the scenario was loaded.
            let why = format!("{text} is no request of {}: {why}", self.form.protocol);
            return port.garbled(why);
        }
        client.current = Some(client.asked);
        port.request(number, number.into(), node, client.asked, &self.scratch);
        port.expire(port.now() + self.timeout, number, client.asked);
    }

    /// The client's request is over, with an answer or without.
    fn end(&mut self, number: u32, is_answered: bool, port: &mut dyn Port) {
        self.clients[number as usize].current = None;
        match number.checked_sub(self.workers) {
            Some(place) => self.answered[place as usize] |= is_answered,
            None => self.think(number, port),
        }
    }

    fn are_done(&self) -> bool {
        let workers = &self.clients[..self.workers as usize];
        workers.iter().all(|one| one.asked >= self.operations && one.current.is_none())
    }
}

impl Workload for Crew {
    fn redraw(&mut self, by: u64) {
        self.clients.iter_mut().for_each(|client| client.rng.redraw(by));
    }

    fn wake(&mut self, number: u32, port: &mut dyn Port) {
        let operations = self.operations;
        let client = &mut self.clients[number as usize];
        if client.asked >= operations || client.current.is_some() {
            return;
        }
        let node = self.asked[client.rng.below(self.asked.len() as u64) as usize];
        let whole = self.mix.iter().map(|(weight, _)| u64::from(*weight)).sum();
        let mut left = client.rng.below(whole);
        let is_it = |(weight, _): &(u32, Template)| match left.checked_sub(u64::from(*weight)) {
            Some(less) => {
                left = less;
                false
            }
            None => true,
        };
        let which = self.mix.iter().position(is_it);
        self.ask(number, node, which, port);
    }

    fn reply(&mut self, number: u32, sequence: u32, _: &[u8], port: &mut dyn Port) {
        if self.clients[number as usize].current == Some(sequence) {
            self.end(number, true, port);
        }
    }

    fn timeout(&mut self, number: u32, sequence: u32, port: &mut dyn Port) {
        if self.clients[number as usize].current == Some(sequence) {
            port.disconnect(number);
            self.end(number, false, port);
        }
    }

    fn closed(&mut self, number: u32, port: &mut dyn Port) {
        if self.clients[number as usize].current.is_some() {
            self.end(number, false, port);
        }
    }

    fn enough(&mut self) {
        self.operations = 0;
    }

    fn is_over(&mut self, port: &mut dyn Port, _: Nanos) -> bool {
        if !self.are_done() {
            return false;
        }
        let Some((after, nodes)) = self.last.as_ref().map(|last| (last.after, last.nodes.clone()))
        else {
            return true;
        };
        let done_at = *self.done_at.get_or_insert(port.now());
        if port.now() < done_at + after {
            return false;
        }
        for (number, (place, node)) in (self.workers..).zip(nodes.into_iter().enumerate()) {
            // A node that did not answer in time is asked again.
            if !self.answered[place] && self.clients[number as usize].current.is_none() {
                self.ask(number, node, None, port);
            }
        }
        self.answered.iter().all(|is| *is)
    }

    fn unsettled(&self, port: &dyn Port) -> String {
        if !self.are_done() {
            return "clients still ask".into();
        }
        let nodes = self.last.iter().flat_map(|last| &last.nodes);
        let silent = nodes.zip(&self.answered).filter(|(_, is_answered)| !**is_answered);
        let silent = silent.map(|(node, _)| format!("node {} silent", port.id(*node)));
        silent.collect::<Vec<_>>().join(", ")
    }
}
