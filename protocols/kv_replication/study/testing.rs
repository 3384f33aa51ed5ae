//! Histories for tests: single operations in few words, and runs of a register.

use super::history::{Kind, Op, Outcome};
use node_lab::study::{Verdict, Violation};
use node_protocols::core::Rng;

/// The operations of a violation that is none.
pub(crate) const NOTHING: [usize; 0] = [];

/// What a verdict tells to be broken.
pub(crate) fn violation(verdict: Verdict) -> Option<Violation> {
    match verdict {
        Verdict::Violated(violation) => Some(violation),
        Verdict::Held | Verdict::Unknown { .. } | Verdict::Undecided { .. } => None,
    }
}

/// A PUT of key `k` that was answered.
pub(crate) fn put(client: u64, value: &str, timestamp: u64, invoke_ns: u64, return_ns: u64) -> Op {
    Op {
        client,
        op: Kind::Put,
        key: "k".into(),
        value: Some(value.into()),
        invoke_ns,
        return_ns: Some(return_ns),
        outcome: Outcome::Ok,
        timestamp,
        server: String::new(),
    }
}

/// A GET of key `k` that was answered, with NULL when `value` is none.
pub(crate) fn get(
    client: u64,
    value: Option<&str>,
    timestamp: u64,
    invoke_ns: u64,
    return_ns: u64,
) -> Op {
    Op {
        op: Kind::Get,
        value: value.map(Into::into),
        outcome: if value.is_some() { Outcome::Ok } else { Outcome::Null },
        ..put(client, "", timestamp, invoke_ns, return_ns)
    }
}

/// The same, without an answer.
pub(crate) fn lost(op: Op) -> Op {
    Op { outcome: Outcome::Unknown, return_ns: None, ..op }
}

/// The same GET, refused.
pub(crate) fn refused(op: Op) -> Op {
    Op { outcome: Outcome::TryOther, value: None, ..op }
}

/// The same on another key.
pub(crate) fn on(key: &str, op: Op) -> Op {
    Op { key: key.into(), ..op }
}

/// A run of one register in which each operation takes effect at one time between its invocation
/// and its answer: it has every property. The clients work in closed loops, half PUT, half GET,
/// each PUT with a value of its own, timestamps in the order of effect.
pub(crate) fn register_run(seed: u64, clients: u64, count: usize) -> Vec<Op> {
    let mut rng = Rng::stream(seed, "register");
    let mut ops: Vec<Op> = Vec::new();
    let mut effects: Vec<(u64, usize)> = Vec::new();
    let mut free_at = vec![0; clients as usize];
    for i in 0..count {
        // The client that is free first, so that the loops advance together.
        let client = (0..clients).min_by_key(|&c| free_at[c as usize]).unwrap_or(0);
        let invoke_ns = free_at[client as usize] + 1 + rng.below(1_000);
        let effect_ns = invoke_ns + rng.below(10_000);
        let return_ns = effect_ns + rng.below(10_000);
        free_at[client as usize] = return_ns + 1;
        effects.push((effect_ns, i));
        let op = put(client, &format!("value {i}"), 0, invoke_ns, return_ns);
        let op = if rng.below(2) == 0 { op } else { Op { op: Kind::Get, ..op } };
        ops.push(op);
    }
    effects.sort_unstable();
    let (mut value, mut timestamp) = (None, 0);
    for (_, i) in effects {
        let op = &mut ops[i];
        match op.op {
            Kind::Put => {
                timestamp += 1;
                value = op.value.clone();
            }
            Kind::Get => {
                op.value = value.clone();
                op.outcome = if value.is_some() { Outcome::Ok } else { Outcome::Null };
            }
        }
        op.timestamp = timestamp;
    }
    ops
}

/// A few operations on one register by a few clients: values recur, times coincide, answers are
/// missing, and about a third of these histories are not linearizable. A client sends strictly
/// after its answer, or at once when `at_once`.
pub(crate) fn small_run(rng: &mut Rng, at_once: bool) -> Vec<Op> {
    let clients = 1 + rng.below(4);
    let values = 2 + rng.below(3);
    let mut free_at = vec![0; clients as usize];
    let mut ops = Vec::new();
    let mut effects = Vec::new();
    for i in 0..2 + rng.below(10) as usize {
        let client = rng.below(clients);
        let gap = if at_once { rng.below(2) } else { 1 + rng.below(3) };
        let invoke_ns = free_at[client as usize] + gap;
        let effect_ns = invoke_ns + rng.below(4);
        let return_ns = effect_ns + rng.below(4);
        free_at[client as usize] = return_ns;
        effects.push((effect_ns, i));
        let value = (b'a' + rng.below(values) as u8) as char;
        let op = put(client, &value.to_string(), 0, invoke_ns, return_ns);
        ops.push(match rng.below(10) {
            0..5 => Op { op: Kind::Get, ..op },
            5..9 => op,
            _ => Op { outcome: Outcome::MayStillApply, ..op },
        });
    }
    effects.sort_by_key(|&(at, _)| at);
    let mut value = None;
    for (_, i) in effects {
        match ops[i].op {
            Kind::Put => {
                let lost = ops[i].outcome != Outcome::Ok && rng.below(2) == 0;
                value = if lost { value } else { ops[i].value.clone() };
            }
            Kind::Get => {
                // Now and then a value that was not the register's.
                if rng.below(5) > 0 {
                    ops[i].value = value.clone();
                }
                if ops[i].value.is_none() {
                    ops[i].outcome = Outcome::Null;
                }
            }
        }
    }
    ops
}
