//! Tests of services: how consistent their answers are, by brute force.

use super::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn ask(service: &mut dyn Service, from: &str, body: &str, rng: &mut Rng) -> Value {
    let (body, _) = Body::parse(body).unwrap();
    serde_json::from_str(service.ask(from, &body, rng).text()).unwrap()
}

#[test]
fn there_are_the_named_ones_and_no_others() {
    assert!(NAMES.iter().all(|name| service(name).is_some()));
    assert!(service("lin-queue").is_none());
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Read(u64),
    Write(u64, u64),
    Cas(u64, u64, u64),
}

/// What an operation is told: a value, that it is done, or an error's code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Value(u64),
    Done,
    Error(u64),
}

type State = BTreeMap<u64, u64>;

fn model(state: &mut State, op: Op) -> Told {
    match op {
        Op::Read(key) => state.get(&key).map_or(Told::Error(20), |value| Told::Value(*value)),
        Op::Write(key, value) => {
            state.insert(key, value);
            Told::Done
        }
        Op::Cas(key, from, to) => match state.get_mut(&key) {
            None => Told::Error(20),
            Some(value) if *value == from => {
                *value = to;
                Told::Done
            }
            Some(_) => Told::Error(22),
        },
    }
}

/// What clients did, in the order in which they were answered: none overlap.
fn history(name: &str, seed: u64) -> Vec<(usize, Op, Told)> {
    let mut rng = Rng::stream(seed, "history");
    let (mut store, mut of_store) = (service(name).unwrap(), Rng::stream(seed, name));
    let mut done = Vec::new();
    for _ in 0..4 + rng.below(8) {
        let (client, key) = (rng.below(3) as usize, rng.below(2));
        let (op, body) = match rng.below(4) {
            0 => {
                let value = rng.below(3);
                let body = json!({"type": "write", "key": key, "value": value});
                (Op::Write(key, value), body)
            }
            1 => {
                let (from, to) = (rng.below(3), rng.below(3));
                let body = json!({"type": "cas", "key": key, "from": from, "to": to});
                (Op::Cas(key, from, to), body)
            }
            _ => (Op::Read(key), json!({"type": "read", "key": key})),
        };
        let told = ask(&mut *store, &format!("n{client}"), &body.to_string(), &mut of_store);
        let told = match (told["code"].as_u64(), told["value"].as_u64()) {
            (Some(code), _) => Told::Error(code),
            (None, Some(value)) => Told::Value(value),
            (None, None) => Told::Done,
        };
        done.push((client, op, told));
    }
    done
}

fn is_linearizable(history: &[(usize, Op, Told)]) -> bool {
    let mut state = State::new();
    history.iter().all(|(_, op, told)| model(&mut state, *op) == *told)
}

/// Whether an order of all operations that keeps each client's explains what each was told.
fn is_sequential(history: &[(usize, Op, Told)]) -> bool {
    let of = |client| history.iter().filter(move |one| one.0 == client).collect::<Vec<_>>();
    let clients: Vec<Vec<_>> = (0..3).map(of).collect();
    let (mut seen, mut todo) = (BTreeSet::new(), vec![(vec![0; 3], State::new())]);
    while let Some((places, state)) = todo.pop() {
        if (0..3).all(|client| places[client] == clients[client].len()) {
            return true;
        }
        for client in 0..3 {
            let Some((_, op, told)) = clients[client].get(places[client]) else { continue };
            let (mut after, mut places) = (state.clone(), places.clone());
            places[client] += 1;
            if model(&mut after, *op) == *told && seen.insert((places.clone(), after.clone())) {
                todo.push((places, after));
            }
        }
    }
    false
}

#[test]
fn lin_kv_is_linearizable() {
    assert!((0..2_000).all(|seed| is_linearizable(&history("lin-kv", seed))));
}

#[test]
fn seq_kv_is_sequential_and_often_no_more() {
    let histories: Vec<_> = (0..2_000).map(|seed| history("seq-kv", seed)).collect();
    for (seed, history) in histories.iter().enumerate() {
        assert!(is_sequential(history), "seed {seed}: {history:?}");
    }
    let weak = histories.iter().filter(|history| !is_linearizable(history)).count();
    assert!(weak > 200, "{weak}");
}

#[test]
fn lww_kv_loses_updates() {
    let left = |seed| {
        let (mut store, mut rng) = (service("lww-kv").unwrap(), Rng::stream(seed, "lww"));
        let mut told = |from: &str, body: &str| ask(&mut *store, from, body, &mut rng);
        told("n0", r#"{"type":"write","key":"x","value":1}"#);
        told("n1", r#"{"type":"write","key":"x","value":2}"#);
        let mut last = Vec::new();
        for _ in 0..1_000 {
            last.push(told("n2", r#"{"type":"read","key":"x"}"#)["value"].as_u64());
        }
        // They converge.
        assert!(last[900..].iter().all(|value| *value == last[900]), "{last:?}");
        last[900]
    };
    let lost = (0..100).filter(|seed| left(*seed) == Some(1)).count();
    assert!((5..90).contains(&lost), "{lost}");
    assert!((0..2_000).any(|seed| !is_sequential(&history("lww-kv", seed))));
}
