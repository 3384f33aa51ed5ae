//! The store under random faults: loss, duplication, reordering, cut links, nodes that stop and
//! come back. Then the faults end, and everything must come right by itself, without a link that
//! breaks and so starts things afresh.
//!
//! Checked by name: `monotonic_reads`, `read_your_writes`, `regular_register`,
//! `linearizable_writes`, `replicas_equal`; and that every request is answered in time, that a PUT
//! refused as not applied never shows, and that a timestamp names one value.

mod store;

use node_lab::study::Nanos;
use node_protocols::core::Rng;
use node_protocols::kv_replication::{Config, Durability, Reply, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use store::{Store, config, ms};

/// What may be down at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Failures {
    /// Everything: the data is on disk.
    Disk,
    /// One node without its data, until it has everything again.
    MemoryOne,
    /// All nodes but one that has everything.
    MemoryAllButOne,
}

const KEYS: [&str; 4] = ["a", "b", "c", "d"];
const CLIENTS: usize = 16;
const OPERATIONS: usize = 200;
/// The longest sync.
const SYNC: Nanos = ms(1) / 5;

/// A client does one thing at a time and remembers what it has seen of each key.
#[derive(Default)]
struct Client {
    pending: Option<Pending>,
    seen: BTreeMap<&'static str, Timestamp>,
}

struct Pending {
    ticket: u32,
    key: &'static str,
    /// The value of a PUT.
    put: Option<String>,
    begun: Nanos,
    /// The newest PUT_OK of the key before this began; for a PUT, of any key.
    floor: Timestamp,
}

struct Run {
    cluster: Store,
    config: Config,
    failures: Failures,
    /// What values are padded to: large ones make tables of several parts.
    value_bytes: usize,
    /// One fault comes in so many operations.
    fault_every: u64,
    rng: Rng,
    clients: Vec<Client>,
    /// PUT_OK by key.
    acknowledged: BTreeMap<&'static str, Timestamp>,
    /// What each timestamp was seen to stand for.
    values: BTreeMap<Timestamp, (&'static str, String)>,
    /// By value, since each value is written once.
    issued: BTreeSet<String>,
    not_applied: BTreeSet<String>,
    put_ok: BTreeSet<Timestamp>,
    values_read: usize,
}

impl Run {
    fn new(seed: u64, failures: Failures) -> Run {
        let mut rng = Rng::stream(seed, "faults/workload");
        let durability = match failures {
            Failures::Disk => Durability::Disk,
            Failures::MemoryOne | Failures::MemoryAllButOne => Durability::Memory,
        };
        let max_log_bytes = [300, 2_000, 1 << 20][rng.below(3) as usize];
        let config = Config { durability, max_log_bytes, put_timeout_ms: 100, ..config() };
        let mut cluster = Store::new(seed, 2 + rng.below(3) as u32, config.clone());
        let longest = [200, 3_000, 30_000][rng.below(3) as usize];
        let network = cluster.network();
        network.delay = ms(1) / 10..=ms(1) / 10 + longest * ms(1) / 1_000;
        network.ordered = rng.below(3) == 0;
        if failures == Failures::Disk {
            (network.sync, network.redial) = (1..=SYNC, SYNC..=SYNC);
        }
        let loss_percent = [0, 5, 30][rng.below(3) as usize];
        cluster.set_weather(loss_percent, [0, 10, 50][rng.below(3) as usize]);
        Run {
            cluster,
            config,
            failures,
            value_bytes: if seed % 50 == 7 { 90 << 10 } else { 0 },
            fault_every: [6, 15, 50][rng.below(3) as usize],
            rng,
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            acknowledged: BTreeMap::new(),
            values: BTreeMap::new(),
            issued: BTreeSet::new(),
            not_applied: BTreeSet::new(),
            put_ok: BTreeSet::new(),
            values_read: 0,
        }
    }

    fn any_node(&mut self) -> u32 {
        let ids = self.cluster.ids();
        ids[self.rng.below(ids.len() as u64) as usize]
    }

    fn operate(&mut self) {
        let client = self.rng.below(CLIENTS as u64) as usize;
        if self.clients[client].pending.is_some() {
            return;
        }
        let node = self.any_node();
        if !self.cluster.is_up(node) {
            return;
        }
        let key = KEYS[self.rng.below(KEYS.len() as u64) as usize];
        let begun = self.cluster.now();
        let pending = if self.rng.below(2) == 0 {
            let value = format!("v{} {}", self.issued.len(), "x".repeat(self.value_bytes));
            self.issued.insert(value.clone());
            let floor = self.put_ok.last().copied().unwrap_or_default();
            let ticket = self.cluster.put(node, key, &value);
            Pending { ticket, key, put: Some(value), begun, floor }
        } else {
            let seen = self.clients[client].seen.get(key).copied().unwrap_or_default();
            let floor = self.acknowledged.get(key).copied().unwrap_or_default();
            let ticket = self.cluster.get(node, key, seen);
            Pending { ticket, key, put: None, begun, floor }
        };
        self.clients[client].pending = Some(pending);
        self.collect();
    }

    /// Takes what has been answered, and judges it.
    fn collect(&mut self) {
        for place in 0..CLIENTS {
            let done = |pending: &mut Pending| self.cluster.ended(pending.ticket).is_some();
            if let Some(pending) = self.clients[place].pending.take_if(done) {
                self.judge(place, &pending);
            }
        }
    }

    fn judge(&mut self, client: usize, pending: &Pending) {
        // What has to wait for the disk, waits for all that is before it.
        let syncs = if self.failures == Failures::Disk { CLIENTS as u64 * SYNC } else { 0 };
        let bound = ms(self.config.put_timeout_ms + self.config.resend_after_ms) + syncs;
        let took = self.cluster.ended(pending.ticket).expect("it has ended") - pending.begun;
        assert!(took <= bound, "request {} took {took} ns", pending.ticket);
        let (key, floor) = (pending.key, pending.floor);
        let seen = self.clients[client].seen.entry(key).or_default();
        let (timestamp, value) = match (self.cluster.answer(pending.ticket), &pending.put) {
            (None, _) | (Some(Reply::TryOtherServerOrLater { .. }), None) => return,
            (Some(Reply::MayStillApply { .. }), Some(_)) => return,
            (Some(Reply::NotApplied { .. }), Some(value)) => {
                self.not_applied.insert(value.clone());
                return;
            }
            (Some(Reply::PutOk { timestamp }), Some(value)) => {
                assert!(timestamp > floor, "linearizable_writes: {timestamp} after {floor}");
                assert!(self.put_ok.insert(timestamp), "linearizable_writes: {timestamp} twice");
                let acknowledged = self.acknowledged.entry(key).or_default();
                *acknowledged = timestamp.max(*acknowledged);
                (timestamp, value.clone())
            }
            (Some(Reply::Null {}), None) => {
                assert_eq!(*seen, Timestamp(0), "monotonic_reads, read_your_writes: {key} gone");
                assert_eq!(floor, Timestamp(0), "regular_register: {key} is not there");
                return;
            }
            (Some(Reply::Value { value, timestamp }), None) => {
                assert!(
                    timestamp >= *seen,
                    "monotonic_reads, read_your_writes: {key} at {timestamp} after {seen}"
                );
                assert!(timestamp >= floor, "regular_register: {key} at {timestamp}, not {floor}");
                self.values_read += 1;
                (timestamp, String::from_utf8(value.to_vec()).expect("as it was put"))
            }
            (other, _) => panic!("request {} got {other:?}", pending.ticket),
        };
        *seen = timestamp.max(*seen);
        assert!(self.issued.contains(&value), "{key} has {value:.9}, which nobody put");
        // In memory, a PUT without PUT_OK is lost with the last node that had it, after some client
        // may have read it, and its timestamp is given out again.
        if self.failures == Failures::Disk || self.put_ok.contains(&timestamp) {
            let first = self.values.entry(timestamp).or_insert((key, value.clone()));
            assert!(*first == (key, value), "timestamp {timestamp} names two PUTs");
        }
    }

    fn fault(&mut self) {
        let (node, other) = (self.any_node(), self.any_node());
        match self.rng.below(8) {
            0 | 1 if node != other => self.cluster.cut(node, other),
            2 | 3 if node != other => self.cluster.heal(node, other),
            4 if self.may_crash(node) => self.cluster.crash(node),
            // Only with a disk does it matter where in a turn a node stops.
            5 if self.failures == Failures::Disk && self.cluster.is_up(node) => {
                let until = self.cluster.now() + ms(20);
                while !self.cluster.is_syncing(node) && self.cluster.step(until) {}
                self.cluster.crash(node);
            }
            6 if self.failures == Failures::Disk && self.rng.below(10) == 0 => {
                for node in self.cluster.ids() {
                    self.cluster.crash(node);
                }
            }
            _ if !self.cluster.is_up(node) => self.cluster.start(node),
            _ => {}
        }
    }

    fn may_crash(&mut self, node: u32) -> bool {
        if !self.cluster.is_up(node) || self.failures == Failures::Disk {
            return self.cluster.is_up(node);
        }
        let others = self.cluster.ids().into_iter().filter(|id| *id != node);
        let complete = others.filter(|id| self.cluster.is_complete(*id)).count();
        match self.failures {
            Failures::Disk | Failures::MemoryOne => complete + 1 == self.cluster.ids().len(),
            Failures::MemoryAllButOne => complete > 0,
        }
    }

    /// The whole run; answers how many PUT_OKs and values were judged.
    fn run(&mut self) -> [usize; 2] {
        for _ in 0..OPERATIONS {
            self.operate();
            if self.rng.below(self.fault_every) == 0 {
                self.fault();
            }
            let pause = ms(self.rng.below(6));
            self.cluster.run(pause);
            self.collect();
        }
        self.end_of_faults();
        self.quiescence();
        for key in KEYS {
            for node in self.cluster.ids() {
                let floor = self.acknowledged.get(key).copied().unwrap_or_default();
                let ticket = self.cluster.get(node, key, floor);
                match self.cluster.answer(ticket) {
                    Some(Reply::Null {}) => assert_eq!(floor, Timestamp(0), "{key} is lost"),
                    Some(Reply::Value { value, timestamp }) => {
                        assert!(timestamp >= floor, "{key} went back");
                        let value = String::from_utf8(value.to_vec()).expect("as it was put");
                        assert!(!self.not_applied.contains(&value), "{value:.9} was not applied");
                    }
                    other => panic!("GET {key} at {node}: {other:?}"),
                }
            }
        }
        for node in self.cluster.ids() {
            self.cluster.put_ok(node, "last", "put");
        }
        [self.put_ok.len(), self.values_read]
    }

    /// From here on messages arrive. Links that are up stay as they are.
    fn end_of_faults(&mut self) {
        self.cluster.set_weather(0, 0);
        self.cluster.network().sync = 0..=0;
        self.cluster.run(SYNC);
        for node in self.cluster.ids() {
            if !self.cluster.is_up(node) {
                self.cluster.start(node);
            }
            for other in self.cluster.ids().into_iter().filter(|other| *other > node) {
                self.cluster.heal(node, other);
            }
        }
    }

    fn quiescence(&mut self) {
        // Resends back off to every 16th; a few of them in a row may be needed.
        let most = ms(self.config.resend_after_ms * 16 * 6);
        let until = self.cluster.now() + most;
        while !(self.cluster.has_converged() && self.cluster.open().next().is_none()) {
            let late = self.cluster.now() >= until;
            assert!(!late, "replicas_equal: {}", self.cluster.summary());
            self.cluster.run(ms(20));
        }
        self.collect();
    }
}

fn check(seed: u64, failures: Failures) -> [usize; 2] {
    let outcome = std::panic::catch_unwind(|| Run::new(seed, failures).run());
    outcome.unwrap_or_else(|_| panic!("failed with seed {seed} and failures {failures:?}"))
}

/// 100 seeds from `first` on, or as many as FAULT_SEEDS says.
fn check_many(first: u64, failures: Failures) {
    let many = std::env::var("FAULT_SEEDS").ok().and_then(|many| many.parse().ok()).unwrap_or(100);
    let [mut put_ok, mut values] = [0, 0];
    for seed in first..first + many {
        let judged = check(seed, failures);
        put_ok += judged[0] as u64;
        values += judged[1] as u64;
    }
    // Faults that let nothing through would check nothing.
    assert!(put_ok > 10 * many && values > 10 * many, "{put_ok} PUT_OKs, {values} values");
}

#[test]
fn random_faults_with_disks() {
    check_many(0, Failures::Disk);
}

#[test]
fn random_faults_with_one_memory_lost_at_a_time() {
    check_many(1_000_000, Failures::MemoryOne);
}

#[test]
fn random_faults_with_all_memories_lost_but_one() {
    check_many(2_000_000, Failures::MemoryAllButOne);
}

/// A leader's Resume is lost. A follower that took PUTs without it would never become complete.
#[test]
fn seeds_of_a_lost_resume() {
    check(38, Failures::Disk);
}
