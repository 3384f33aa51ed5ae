//! How fast the simulator is, on small protocols through the real Host:
//!
//!   cargo bench --bench sim -- ping N K     (1) N deliveries, 5 nodes, K messages in flight each
//!   cargo bench --bench sim -- lossy N K    (2) the same with 2 % loss and 2 % duplication
//!   cargo bench --bench sim -- kv N K       (3) N PUTs, a client, a leader, 4 replicas, K at once
//!   cargo bench --bench sim -- seeds N      (4) N runs of 2,000 deliveries

use node_lab::sim::tracer::Tracer;
use node_lab::sim::world::{Birth, CHANCE, Network, Step, Weather, World};
use node_protocols::core::{
    Bytes, Caller, ConfigError, Context, Env, Host, LamportRule, Never, NodeId, Protocol, erase,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[derive(Clone, Serialize, Deserialize)]
struct PingConfig {
    in_flight: u64,
    lossy: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Token {
    token: u64,
    hop: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    Tick,
    Refill,
}

/// Passes tokens on to random others; sets a timer every tenth time.
struct Ping {
    config: PingConfig,
    me: u64,
    peers: Vec<NodeId>,
    links: usize,
    count: u64,
    window: u64,
    next: u64,
    seen: [(u64, u32); 64],
}

impl Ping {
    fn inject(&mut self, cx: &mut Context<'_, Self>) {
        let token = self.me << 32 | self.next;
        self.next += 1;
        self.pass(Token { token, hop: 0 }, cx);
    }

    fn pass(&mut self, token: Token, cx: &mut Context<'_, Self>) {
        let to = cx.rng().below(self.peers.len() as u64) as usize;
        cx.send(self.peers[to], &token);
    }
}

impl Protocol for Ping {
    const NAME: &'static str = "ping";
    type Config = PingConfig;
    type Message<'a> = Token;
    type Record<'a> = Never;
    type Timer = Timer;
    type Request<'a> = Never;
    type Reply<'a> = Never;

    fn new(config: PingConfig, env: &Env) -> Result<Self, ConfigError> {
        let (me, peers) = (env.id.0.into(), env.peers.clone());
        let seen = [(u64::MAX, 0); 64];
        Ok(Ping { config, me, peers, links: 0, count: 0, window: 0, next: 0, seen })
    }

    fn on_link(&mut self, _: NodeId, up: bool, cx: &mut Context<'_, Self>) {
        self.links += usize::from(up);
        if self.links == self.peers.len() {
            for _ in 0..self.config.in_flight {
                self.inject(cx);
            }
            if self.config.lossy {
                cx.set_timer(Timer::Refill, Duration::from_millis(20));
            }
        }
    }

    fn on_message(&mut self, _: NodeId, token: Token, cx: &mut Context<'_, Self>) {
        if self.config.lossy {
            let place = (token.token.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as usize;
            if self.seen[place] == (token.token, token.hop) {
                return;
            }
            self.seen[place] = (token.token, token.hop);
        }
        self.count += 1;
        self.window += 1;
        if self.count.is_multiple_of(10) {
            cx.set_timer(Timer::Tick, Duration::from_millis(5));
        }
        self.pass(Token { token: token.token, hop: token.hop + 1 }, cx);
    }

    fn on_timer(&mut self, timer: Timer, cx: &mut Context<'_, Self>) {
        if timer == Timer::Refill {
            if self.window < 2 * self.config.in_flight {
                self.inject(cx);
            }
            self.window = 0;
            cx.set_timer(Timer::Refill, Duration::from_millis(20));
        }
    }

    fn on_request(&mut self, _: Caller, request: Never, _: &mut Context<'_, Self>) {
        match request {}
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct KvConfig {
    total: u64,
    at_once: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum Kv<'a> {
    Put {
        id: u64,
        #[serde(borrow)]
        key: Bytes<'a>,
        #[serde(borrow)]
        value: Bytes<'a>,
    },
    Replicate {
        id: u64,
        #[serde(borrow)]
        key: Bytes<'a>,
        #[serde(borrow)]
        value: Bytes<'a>,
    },
    Ack {
        id: u64,
    },
    Ok {
        id: u64,
    },
}

/// Node 1 is the client, 2 the leader, 3 to 6 its replicas.
struct PrimaryBackup {
    config: KvConfig,
    me: NodeId,
    links: usize,
    table: BTreeMap<[u8; 16], [u8; 64]>,
    pending: BTreeMap<u64, u32>,
    next: u64,
}

const CLIENT: NodeId = NodeId(1);
const LEADER: NodeId = NodeId(2);

impl PrimaryBackup {
    fn put(&mut self, cx: &mut Context<'_, Self>) {
        if self.next >= self.config.total {
            return;
        }
        let id = self.next;
        self.next += 1;
        let (mut key, value) = ([b'k'; 16], [id as u8; 64]);
        key[..8].copy_from_slice(&(id % 1_000).to_le_bytes());
        cx.send(LEADER, &Kv::Put { id, key: Bytes::new(&key), value: Bytes::new(&value) });
    }

    fn store(&mut self, key: &[u8], value: &[u8]) {
        if let (Ok(key), Ok(value)) = (key.try_into(), value.try_into()) {
            self.table.insert(key, value);
        }
    }
}

impl Protocol for PrimaryBackup {
    const NAME: &'static str = "primary_backup";
    type Config = KvConfig;
    type Message<'a> = Kv<'a>;
    type Record<'a> = Never;
    type Timer = Never;
    type Request<'a> = Never;
    type Reply<'a> = Never;

    fn new(config: KvConfig, env: &Env) -> Result<Self, ConfigError> {
        let (table, pending) = (BTreeMap::new(), BTreeMap::new());
        Ok(PrimaryBackup { config, me: env.id, links: 0, table, pending, next: 0 })
    }

    fn on_link(&mut self, _: NodeId, up: bool, cx: &mut Context<'_, Self>) {
        self.links += usize::from(up);
        if self.me == CLIENT && self.links == 5 {
            for _ in 0..self.config.at_once {
                self.put(cx);
            }
        }
    }

    fn on_message(&mut self, from: NodeId, message: Kv<'_>, cx: &mut Context<'_, Self>) {
        match message {
            Kv::Put { id, key, value } => {
                self.store(&key, &value);
                self.pending.insert(id, 0);
                cx.multicast((3..=6).map(NodeId), &Kv::Replicate { id, key, value });
            }
            Kv::Replicate { id, key, value } => {
                self.store(&key, &value);
                cx.send(from, &Kv::Ack { id });
            }
            Kv::Ack { id } => {
                if let Some(acks) = self.pending.get_mut(&id) {
                    *acks += 1;
                    if *acks == 4 {
                        self.pending.remove(&id);
                        cx.send(CLIENT, &Kv::Ok { id });
                    }
                }
            }
            Kv::Ok { .. } => self.put(cx),
        }
    }

    fn on_timer(&mut self, timer: Never, _: &mut Context<'_, Self>) {
        match timer {}
    }

    fn on_request(&mut self, _: Caller, request: Never, _: &mut Context<'_, Self>) {
        match request {}
    }
}

/// Runs a world of `n` nodes until so many deliveries, or to its end; answers how many events and
/// deliveries there were.
fn go<P: Protocol>(
    seed: u64,
    n: u32,
    weather: Weather,
    most: u64,
    config: impl Fn() -> P::Config + 'static,
) -> (u64, u64) {
    let ids: Vec<NodeId> = (1..=n).map(NodeId).collect();
    let all = ids.clone();
    let build = move |Birth { place, incarnation, identity, .. }| {
        let id = all[place];
        let peers = all.iter().copied().filter(|peer| *peer != id).collect();
        let seed = seed ^ u64::from(id.0);
        let env = Env { id, peers, incarnation, identity, seed, durable: false };
        let protocol = erase::<P>(config(), &env).expect("the config is right");
        Host::new(&env, vec![protocol], LamportRule::MaxPlusOne)
    };
    let network = Network { ordered: false, redial: 0..=0, ..Network::default() };
    let mut world = World::new(seed, &ids, &[], network, Box::new(build), Tracer::new());
    world.set_weather(weather);
    for node in 0..ids.len() {
        world.start(node);
    }
    while world.counts().1 < most && !matches!(world.step(), Step::End) {}
    world.counts()
}

fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let kb = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kb| kb.parse().ok());
    kb.unwrap_or(0.0) / 1_024.0
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |place: usize, default: u64| {
        words.get(place).and_then(|word| word.parse().ok()).unwrap_or(default)
    };
    let (n, k) = (number(1, 1_000_000), number(2, 1));
    let clear = Weather::default();
    let lossy = Weather { loss: 2 * CHANCE / 100, duplicate: 2 * CHANCE / 100, delay: 0 };
    let ping = move |lossy| move || PingConfig { in_flight: k, lossy };
    let started = Instant::now();
    let (what, (events, deliveries)) = match words.first().map(String::as_str) {
        Some("ping") => ("deliveries", go::<Ping>(1, 5, clear, n, ping(false))),
        Some("lossy") => ("deliveries", go::<Ping>(1, 5, lossy, n, ping(true))),
        Some("kv") => {
            let config = move || KvConfig { total: n, at_once: k };
            ("PUTs", go::<PrimaryBackup>(1, 6, clear, u64::MAX, config))
        }
        Some("seeds") => {
            let runs = (0..n).map(|seed| go::<Ping>(seed, 5, clear, 2_000, ping(false)));
            ("seeds", runs.fold((0, 0), |sum, run| (sum.0 + run.0, sum.1 + run.1)))
        }
        _ => return println!("say what to measure: ping, lossy, kv or seeds; then N and K"),
    };
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{} {what}: {n} in {seconds:.3} s, {:.0}/s; {deliveries} deliveries, {:.1} M/s, {:.0} ns an \
         event; peak {:.1} MB",
        words.join(" "),
        n as f64 / seconds,
        deliveries as f64 / seconds / 1e6,
        seconds * 1e9 / events as f64,
        peak_mb(),
    );
}
