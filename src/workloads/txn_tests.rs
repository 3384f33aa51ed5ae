//! Tests of isolation: each anomaly in few words, and all serial orders of small histories.

use super::*;
use node_core::Rng;

fn write(key: i64, value: i64) -> Op {
    Op::Write(Json::Int(key), Json::Int(value))
}

fn read(key: i64, seen: &[i64]) -> Op {
    Op::Read(Json::Int(key), seen.iter().copied().map(Json::Int).collect())
}

fn txn(place: usize, fate: Fate, ops: &[Op], start: u64, end: u64) -> Txn {
    Txn { place, fate, ops: ops.to_vec(), start, end }
}

/// What each level finds, all at one time.
#[track_caller]
fn finds(model: Model, all: &[(Fate, &[Op])], weakest: Option<Level>, name: &str) {
    let one = |(at, (fate, ops)): (usize, &(Fate, &[Op]))| txn(at, *fate, ops, 0, 9);
    let txns: Vec<Txn> = all.iter().enumerate().map(one).collect();
    for level in LEVELS {
        match check(&txns, model, level).unwrap() {
            Err(found) => {
                assert!(weakest.is_some_and(|least| level >= least), "{level:?}: {found:?}");
                assert!(found.why.starts_with(name), "{level:?}: {found:?}");
            }
            Ok(_) => assert!(weakest.is_none_or(|least| level < least), "{level:?}"),
        }
    }
}

const LEVELS: [Level; 6] = [
    Level::ReadUncommitted,
    Level::ReadCommitted,
    Level::SnapshotIsolation,
    Level::RepeatableRead,
    Level::Serializable,
    Level::StrictSerializable,
];

use Fate::{Aborted, Committed, Open};
use Model::{List, Register};

#[test]
fn each_anomaly_by_its_name() {
    let ok = Committed;
    let g0: &[(Fate, &[Op])] = &[
        (ok, &[write(1, 1), write(2, 1)]),
        (ok, &[write(1, 2), write(2, 2)]),
        (ok, &[read(1, &[1, 2]), read(2, &[2, 1])]),
    ];
    finds(List, g0, Some(Level::ReadUncommitted), "G0");
    let g1a: &[(Fate, &[Op])] = &[(Aborted, &[write(1, 1)]), (ok, &[read(1, &[1])])];
    finds(List, g1a, Some(Level::ReadCommitted), "G1a");
    finds(Register, g1a, Some(Level::ReadCommitted), "G1a");
    let open: &[(Fate, &[Op])] = &[(Open, &[write(1, 1)]), (ok, &[read(1, &[1])])];
    finds(List, open, None, "");
    let g1b: &[(Fate, &[Op])] = &[(ok, &[write(1, 1), write(1, 2)]), (ok, &[read(1, &[1])])];
    finds(Register, g1b, Some(Level::ReadCommitted), "G1b");
    finds(List, g1b, Some(Level::ReadCommitted), "G1b");
    let g1c: &[(Fate, &[Op])] =
        &[(ok, &[write(1, 1), read(2, &[1])]), (ok, &[write(2, 1), read(1, &[1])])];
    finds(List, g1c, Some(Level::ReadCommitted), "G1c");
    finds(Register, g1c, Some(Level::ReadCommitted), "G1c");
    let single: &[(Fate, &[Op])] =
        &[(ok, &[write(1, 1), write(2, 1)]), (ok, &[read(1, &[1]), read(2, &[])])];
    finds(List, single, Some(Level::SnapshotIsolation), "G-single");
    finds(Register, single, Some(Level::SnapshotIsolation), "G-single");
    let skew: &[(Fate, &[Op])] =
        &[(ok, &[read(1, &[]), write(2, 1)]), (ok, &[read(2, &[]), write(1, 1)])];
    finds(List, skew, Some(Level::RepeatableRead), "G2");
    finds(Register, skew, Some(Level::RepeatableRead), "G2");
    let lost: &[(Fate, &[Op])] =
        &[(ok, &[read(1, &[]), write(1, 1)]), (ok, &[read(1, &[]), write(1, 2)])];
    finds(Register, lost, Some(Level::SnapshotIsolation), "lost update");
    let internal: &[(Fate, &[Op])] = &[(ok, &[write(1, 1), read(1, &[])])];
    finds(Register, internal, Some(Level::SnapshotIsolation), "internal");
    finds(List, internal, Some(Level::SnapshotIsolation), "internal");
    let orders: &[(Fate, &[Op])] = &[
        (ok, &[write(1, 1)]),
        (ok, &[write(1, 2)]),
        (ok, &[read(1, &[1])]),
        (ok, &[read(1, &[2, 1])]),
    ];
    finds(List, orders, Some(Level::ReadCommitted), "incompatible order");
    let garbage: &[(Fate, &[Op])] = &[(ok, &[read(1, &[7])])];
    finds(List, garbage, Some(Level::ReadUncommitted), "garbage read");
}

#[test]
fn a_cycle_in_words_and_in_time() {
    let late = [txn(3, Committed, &[write(1, 1)], 0, 1), txn(5, Committed, &[read(1, &[])], 2, 3)];
    assert!(check(&late, Register, Level::Serializable).unwrap().is_ok());
    let found = check(&late, Register, Level::StrictSerializable).unwrap().unwrap_err();
    assert_eq!(found.places, [3, 5]);
    assert_eq!(
        found.why,
        "G-single-realtime, a cycle: #3 before #5 (time): #5 began after it had ended; #5 before \
         #3 (rw): #3 overwrote nothing of key 1, which it read"
    );
    let twice = [txn(0, Open, &[write(1, 1)], 0, 1), txn(1, Open, &[write(1, 1)], 0, 1)];
    assert!(check(&twice, List, Level::Serializable).is_err());
}

/// Whether some order, one after the other, explains all that was read.
fn naive(all: &[Txn], model: Model, strict: bool, taken: u32, state: &[Vec<Json>; 3]) -> bool {
    let left: Vec<usize> = (0..all.len()).filter(|at| taken & 1 << at == 0).collect();
    if left.iter().all(|at| all[*at].fate != Committed) {
        return true;
    }
    left.iter().any(|&at| {
        let one = &all[at];
        let waits = left.iter().any(|&other| {
            all[other].fate == Committed && other != at && all[other].end < one.start
        });
        if one.fate == Aborted || (strict && waits) {
            return false;
        }
        let mut state = state.clone();
        apply(one, model, &mut state) && naive(all, model, strict, taken | 1 << at, &state)
    })
}

fn place(key: &Json) -> usize {
    if let Json::Int(key) = key { *key as usize } else { 0 }
}

fn apply(one: &Txn, model: Model, state: &mut [Vec<Json>; 3]) -> bool {
    one.ops.iter().all(|op| match op {
        Op::Write(key, value) => {
            if model == Register {
                state[place(key)].clear();
            }
            state[place(key)].push(value.clone());
            true
        }
        Op::Read(key, seen) => state[place(key)] == *seen,
    })
}

/// Up to four transactions, one after the other, some of whose reads are wrong; for lists another
/// one reads all in the end, which makes the order known.
fn small(rng: &mut Rng, model: Model, is_broken: bool) -> Vec<Txn> {
    let (mut all, mut state, mut value) = (Vec::new(), [const { Vec::new() }; 3], 0);
    let mut old = state.clone();
    let count = 2 + rng.below(3) as usize;
    for at in 0..count {
        let fate =
            [Committed, Committed, Committed, Committed, Open, Aborted][rng.below(6) as usize];
        let mut now = state.clone();
        let mut ops = Vec::new();
        for _ in 0..1 + rng.below(3) {
            let key = rng.below(3) as i64;
            if rng.below(2) == 0 {
                value += 1;
                ops.push(write(key, value));
                if model == Register {
                    now[key as usize].clear();
                }
                now[key as usize].push(Json::Int(value));
            } else if fate == Committed {
                let stale = is_broken && rng.below(2) == 0;
                let from = if stale { &old } else { &now };
                ops.push(Op::Read(Json::Int(key), from[key as usize].clone()));
            }
        }
        let start = (at as u64 * 4).saturating_sub(rng.below(6));
        all.push(txn(at, fate, &ops, start, at as u64 * 4 + 2));
        if fate == Committed || (fate == Open && rng.below(2) == 0) {
            old = state;
            state = now;
        }
    }
    if model == List {
        let ops: Vec<Op> =
            (0..3).map(|key| Op::Read(Json::Int(key), state[key as usize].clone())).collect();
        all.push(txn(count, Committed, &ops, 90, 99));
    }
    all
}

#[test]
fn agrees_with_all_serial_orders() {
    let mut rng = Rng::stream(1, "txn");
    for model in [List, Register] {
        let (mut held, mut violated, mut missed) = (0, 0, 0);
        for n in 0..10_000 {
            let all = small(&mut rng, model, n % 3 == 0);
            let strict = n % 2 == 0;
            let level = if strict { Level::StrictSerializable } else { Level::Serializable };
            let state = [const { Vec::new() }; 3];
            match (check(&all, model, level).unwrap(), naive(&all, model, strict, 0, &state)) {
                (Ok(_), true) => held += 1,
                (Err(_), false) => violated += 1,
                // Registers show less of their order.
                (Ok(_), false) if model == Register => missed += 1,
                other => panic!("{model:?} {n}: {other:?}: {all:?}"),
            }
        }
        assert!(held > 5_000 && violated > 300, "{held} held, {violated} violated");
        assert!(missed < violated / 4, "{missed} missed of {violated}");
    }
}
