//! Traces to show: a small replicated store, run in virtual time from a seed, with faults. With
//! `forgetful` its leader answers a PUT when most nodes have it instead of all, so that a GET at
//! a node that was cut off returns an older value: the violation that the page is to explain.
//!
//! This is no simulator; it only writes what one would.

use node_lab::trace::{Event, Line, Testimony};
use node_protocols::core::{Epoch, Fact, NodeId};
use node_protocols::facts::Coordinator;
use std::collections::BTreeMap;

/// What to write.
pub struct Sample {
    pub nodes: u32,
    pub events: usize,
    pub forgetful: bool,
    pub seed: u64,
}

const MS: u64 = 1_000_000;

enum Act {
    Timer(u32),
    Ask(u32),
    Deliver { id: String, from: u32, to: u32, lamport: u64, message: Message },
    Restart(u32),
    Resume(u32),
}

#[derive(Clone)]
enum Message {
    Put { op: usize },
    Ok { op: usize },
    Heartbeat,
}

struct Op {
    client: u32,
    key: u32,
    node: u32,
    version: u64,
    acks: u32,
    done: bool,
}

#[derive(Default, Clone)]
struct Server {
    down: bool,
    paused_until: u64,
    cut_until: u64,
    lamport: u64,
    table: BTreeMap<u32, u64>,
}

struct World {
    sample: Sample,
    random: u64,
    now: u64,
    ids: u64,
    queue: BTreeMap<(u64, u64), Act>,
    servers: Vec<Server>,
    ops: Vec<Op>,
    acked: BTreeMap<u32, (u64, usize)>,
    version: u64,
    found: bool,
    out: Vec<String>,
}

impl Sample {
    /// The trace.
    pub fn write(self) -> String {
        let nodes: Vec<u32> = (1..=self.nodes).collect();
        let scenario = format!("kv-{}", if self.forgetful { "forgetful-leader" } else { "steady" });
        let mut world = World {
            random: self.seed | 1,
            now: 0,
            ids: 0,
            queue: BTreeMap::new(),
            servers: vec![Server::default(); nodes.len() + 1],
            ops: Vec::new(),
            acked: BTreeMap::new(),
            version: 0,
            found: false,
            out: Vec::new(),
            sample: self,
        };
        let seed = Some(world.sample.seed);
        let head = Event::Run {
            source: "sim".into(),
            scenario: scenario.into(),
            seed,
            clients: None,
            nodes: nodes.clone(),
        };
        world.write(None, None, head);
        for node in nodes {
            world.write(
                Some(node),
                None,
                Event::Start { incarnation: 1, durable: false, runs: Vec::new(), name: None },
            );
            world.coordinator(node);
            let first = world.below(50) * MS;
            world.at(first, Act::Timer(node));
        }
        for client in 1..=4 {
            world.at(u64::from(client) * 7 * MS, Act::Ask(client));
        }
        world.run();
        world.out.join("\n") + "\n"
    }
}

impl World {
    fn run(&mut self) {
        let mut faults = 0;
        while self.out.len() <= self.sample.events {
            let Some(((now, _), act)) = self.queue.pop_first() else { break };
            self.now = now;
            if now / (400 * MS) > faults {
                faults = now / (400 * MS);
                self.fault(faults);
            }
            match act {
                Act::Timer(node) => self.timer(node),
                Act::Ask(client) => self.ask(client),
                Act::Deliver { id, from, to, lamport, message } => {
                    self.deliver(id, from, to, lamport, message);
                }
                Act::Restart(node) => {
                    self.servers[node as usize].down = false;
                    self.write(
                        Some(node),
                        None,
                        Event::Start {
                            incarnation: 2,
                            durable: false,
                            runs: Vec::new(),
                            name: None,
                        },
                    );
                    self.coordinator(node);
                    self.at(20 * MS, Act::Timer(node));
                }
                Act::Resume(node) => self.write(Some(node), None, Event::Pause { on: false }),
            }
        }
    }

    fn fault(&mut self, number: u64) {
        let node = 2 + self.below(u64::from(self.sample.nodes) - 1) as u32;
        let until = self.now + (120 + self.below(120)) * MS;
        let (fault, nodes, label) = match number % 4 {
            1 => ("partition", vec![node], format!("partition: {node} alone")),
            2 => ("crash", vec![node], format!("crash {node}")),
            3 => ("loss", vec![], "loss 10%, duplication 5%".to_string()),
            _ => ("pause", vec![node], format!("pause {node}")),
        };
        let place = number as usize;
        let event = Event::Fault { place, fault: fault.into(), nodes, until, label: label.into() };
        self.write(None, None, event);
        let wait = until - self.now;
        let server = &mut self.servers[node as usize];
        match number % 4 {
            1 => server.cut_until = until,
            2 => {
                server.down = true;
                self.write(Some(node), None, Event::Crash);
                self.at(wait, Act::Restart(node));
            }
            3 => {}
            _ => {
                server.paused_until = until;
                self.write(Some(node), None, Event::Pause { on: true });
                self.at(wait, Act::Resume(node));
            }
        }
    }

    fn timer(&mut self, node: u32) {
        if self.servers[node as usize].down {
            return;
        }
        let (protocol, label) = ("bully".into(), "heartbeat".into());
        self.write(Some(node), None, Event::Timer { protocol, label });
        if node == 1 && self.below(3) == 0 {
            let to = 2 + self.below(u64::from(self.sample.nodes) - 1) as u32;
            self.send(1, to, Message::Heartbeat);
        }
        self.end_turn(node);
        let next = (80 + self.below(40)) * MS;
        self.at(next, Act::Timer(node));
    }

    fn coordinator(&mut self, node: u32) {
        let epoch = Epoch(if self.now < 900 * MS { 1 } else { 2 });
        let fact = Fact::of(Coordinator { id: NodeId(1), epoch });
        self.write(Some(node), None, Event::of_fact("bully", &fact));
    }

    fn ask(&mut self, client: u32) {
        let again = (15 + self.below(30)) * MS;
        let node = 1 + self.below(u64::from(self.sample.nodes)) as u32;
        if self.stuck(node) || self.ops.iter().any(|op| op.client == client && !op.done) {
            // A PUT that waits for a node that is cut off does not wait for ever in this store.
            if let Some(op) = self.ops.iter_mut().find(|op| op.client == client && !op.done)
                && self.random.is_multiple_of(4)
            {
                op.done = true;
            }
            return self.at(again, Act::Ask(client));
        }
        let (index, key) = (self.ops.len(), self.below(3) as u32);
        let put = self.below(2) == 0;
        let node = if put { 1 } else { node };
        if put {
            self.version += 1;
        }
        let version = self.version;
        self.ops.push(Op { client, key, node, version, acks: 1, done: false });
        let label = if put { format!("PUT k{key}=v{version}") } else { format!("GET k{key}") };
        let (op, who) = (format!("c{client}/{index}").into(), format!("client {client}").into());
        self.write(
            Some(node),
            None,
            Event::Request {
                op,
                client: who,
                protocol: "".into(),
                label: label.into(),
                brief: None,
            },
        );
        if put {
            self.servers[1].table.insert(key, version);
            self.write(Some(1), None, Event::Sync { bytes: 64, ok: true });
            for to in 2..=self.sample.nodes {
                self.send(1, to, Message::Put { op: index });
            }
            let line = format!("PUT key: k{key} value: v{version}").into();
            self.write(Some(1), None, Event::Print { line });
        } else {
            let seen = self.servers[node as usize].table.get(&key).copied().unwrap_or(0);
            self.reply(index, &format!("v{seen}"));
            let (newest, put) = self.acked.get(&key).copied().unwrap_or((0, 0));
            if seen < newest && self.sample.forgetful && !self.found {
                self.found = true;
                self.end_turn(node);
                self.violation(index, put, seen, newest);
                return self.at(again, Act::Ask(client));
            }
        }
        self.end_turn(node);
        self.at(again, Act::Ask(client));
    }

    fn violation(&mut self, get: usize, put: usize, seen: u64, newest: u64) {
        let name = |index: usize| format!("c{}/{index}", self.ops[index].client).into();
        let label = format!(
            "GET k{} at node {} returned v{seen} after PUT_OK of v{newest}",
            self.ops[get].key, self.ops[get].node
        );
        let witness = |role: &'static str, says: String, op| Testimony {
            role: role.into(),
            says: says.into(),
            op: Some(name(op)),
            ..Testimony::default()
        };
        let witnesses = vec![
            witness("newer write", format!("PUT of v{newest} was acknowledged"), put),
            witness("older read", format!("GET returned the older v{seen}"), get),
        ];
        let property = "regular register".into();
        let node = self.ops[get].node;
        self.write(Some(node), None, Event::Violation { property, label: label.into(), witnesses });
    }

    fn reply(&mut self, index: usize, label: &str) {
        self.ops[index].done = true;
        let op = &self.ops[index];
        let (node, name) = (op.node, format!("c{}/{index}", op.client).into());
        let client = format!("client {}", op.client).into();
        let label = label.to_string().into();
        let protocol = "".into();
        self.write(
            Some(node),
            None,
            Event::Reply { op: name, client, protocol, label, brief: None },
        );
    }

    fn send(&mut self, from: u32, to: u32, message: Message) {
        self.ids += 1;
        let id = format!("{from}/{}", self.ids);
        let (protocol, label) = match &message {
            Message::Put { op } => {
                let op = &self.ops[*op];
                ("kv_replication", format!("Replication k{}=v{}", op.key, op.version))
            }
            Message::Ok { op } => ("kv_replication", format!("Ok v{}", self.ops[*op].version)),
            Message::Heartbeat => ("bully", "Heartbeat".into()),
        };
        self.servers[from as usize].lamport += 1;
        let lamport = self.servers[from as usize].lamport;
        let (name, protocol) = (id.clone().into(), protocol.into());
        let event = Event::Send { id: name, to, protocol, label: label.into(), brief: None };
        self.write(Some(from), Some(lamport), event);
        let delay = (3 + self.below(9)) * MS + self.below(1000) * 1000;
        if self.below(40) == 0 {
            let copy = format!("{id}'");
            let event = Event::Duplicate { id: copy.clone().into(), of: id.clone().into() };
            self.write(None, None, event);
            let message = message.clone();
            self.at(delay + 9 * MS, Act::Deliver { id: copy, from, to, lamport, message });
        }
        self.at(delay, Act::Deliver { id, from, to, lamport, message });
    }

    fn deliver(&mut self, id: String, from: u32, to: u32, lamport: u64, message: Message) {
        let server = &self.servers[to as usize];
        let cut = server.cut_until.max(self.servers[from as usize].cut_until) > self.now;
        let (down, paused) = (server.down, server.paused_until);
        let lost = self.below(60) == 0;
        if down || cut || lost {
            let why = if down {
                "down"
            } else if cut {
                "cut"
            } else {
                "loss"
            };
            let event = Event::Drop { id: id.clone().into(), from, why: why.into() };
            self.write(Some(to), None, event);
            // A steady leader sends again, under a new name, until it arrives.
            if let (Message::Put { op }, false, false) = (message, self.sample.forgetful, down) {
                self.send(from, to, Message::Put { op });
            }
            return;
        }
        if paused > self.now {
            let wait = paused - self.now + MS;
            return self.at(wait, Act::Deliver { id, from, to, lamport, message });
        }
        let server = &mut self.servers[to as usize];
        server.lamport = server.lamport.max(lamport) + 1;
        let now = server.lamport;
        self.write(Some(to), Some(now), Event::Recv { id: id.into(), from });
        match message {
            Message::Put { op } => {
                let (key, version) = (self.ops[op].key, self.ops[op].version);
                let held = self.servers[to as usize].table.entry(key).or_default();
                *held = version.max(*held);
                let line = format!("REPLICATION key: k{key} value: v{version}").into();
                self.write(Some(to), None, Event::Print { line });
                self.send(to, 1, Message::Ok { op });
            }
            Message::Ok { op } => {
                self.ops[op].acks += 1;
                let most = self.sample.nodes / 2 + 1;
                let wanted = if self.sample.forgetful { most } else { self.sample.nodes };
                if self.ops[op].acks == wanted && !self.ops[op].done {
                    let (key, version) = (self.ops[op].key, self.ops[op].version);
                    self.reply(op, &format!("PUT_OK v{version}"));
                    let newest = self.acked.entry(key).or_default();
                    *newest = (*newest).max((version, op));
                }
            }
            Message::Heartbeat => {}
        }
        self.end_turn(to);
    }

    /// The last line of a turn carries the digest.
    fn end_turn(&mut self, node: u32) {
        let server = &self.servers[node as usize];
        let sum: u64 = server.table.iter().map(|(key, version)| version << (key * 8)).sum();
        let digest = sum.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mine = format!("\"node\":{node},");
        if let Some(last) = self.out.iter_mut().rev().find(|line| line.contains(&mine)) {
            last.truncate(last.len() - 1);
            last.push_str(&format!(",\"digest\":\"{digest:016x}\"}}"));
        }
    }

    fn stuck(&self, node: u32) -> bool {
        let server = &self.servers[node as usize];
        server.down || server.paused_until > self.now
    }

    fn write(&mut self, node: Option<u32>, lamport: Option<u64>, event: Event) {
        let line = Line { at: self.now, node, lamport, digest: None, event };
        self.out.push(serde_json::to_string(&line).unwrap());
    }

    fn at(&mut self, wait: u64, act: Act) {
        self.ids += 1;
        self.queue.insert((self.now + wait, self.ids), act);
    }

    /// Xorshift.
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 20) % bound
    }
}
