//! `lww-kv`: a store whose last writer wins (Thomas 1979), which loses updates on purpose.
//!
//! Five replicas answer on their own: which of them a request meets, the seed says. Each has a clock
//! that runs ahead of the others' by a little, and never behind what its replica has seen; a write
//! is stamped by it. Now and then one replica takes over what another has, key by key, the later
//! stamp first. So of two updates on two replicas one is lost, and not always the earlier one.

use super::Service;
use super::store::{Ask, Value};
use crate::hosted::Body;
use node_core::Rng;
use std::collections::BTreeMap;

/// How many replicas: as in Maelstrom.
const REPLICAS: usize = 5;
/// Clocks are apart by less than this many requests.
const SKEW: u64 = 10;
/// One request of so many finds that a replica has just heard from another.
const GOSSIP_OF: u64 = 2;

/// The store.
#[derive(Default)]
pub(super) struct LwwKv {
    /// How many requests there were: the time, roughly.
    asked: u64,
    replicas: Vec<Replica>,
}

#[derive(Clone, Default)]
struct Replica {
    /// How far ahead its clock is.
    ahead: u64,
    /// The last stamp that it made or saw.
    last: u64,
    /// Values and their stamps; of equal ones the higher replica's is later.
    values: BTreeMap<String, ((u64, usize), Value)>,
}

impl LwwKv {
    fn gossip(&mut self, from: usize, to: usize) {
        let from = self.replicas[from].clone();
        let to = &mut self.replicas[to];
        to.last = to.last.max(from.last);
        for (key, (stamp, value)) in from.values {
            let held = to.values.get(&key).map(|(held, _)| *held);
            if held.is_none_or(|held| held < stamp) {
                to.values.insert(key, (stamp, value));
            }
        }
    }
}

impl Service for LwwKv {
    fn ask(&mut self, _: &str, body: &Body<'_>, rng: &mut Rng) -> Body<'static> {
        let ask = match Ask::of(body) {
            Ok(ask) => ask,
            Err(refusal) => return refusal,
        };
        if self.replicas.is_empty() {
            let replica = |_| Replica { ahead: rng.below(SKEW), ..Replica::default() };
            self.replicas = (0..REPLICAS).map(replica).collect();
        }
        self.asked += 1;
        let mut any = || rng.below(REPLICAS as u64) as usize;
        let (from, to, place) = (any(), any(), any());
        if rng.below(GOSSIP_OF) == 0 && from != to {
            self.gossip(from, to);
        }
        let replica = &mut self.replicas[place];
        let (written, answer) = ask.apply(replica.values.get(&ask.key).map(|(_, value)| value));
        if let Some(value) = written {
            replica.last = (replica.last + 1).max(self.asked + replica.ahead);
            replica.values.insert(ask.key, ((replica.last, place), value));
        }
        answer
    }
}
