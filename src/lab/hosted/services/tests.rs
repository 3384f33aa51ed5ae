//! Tests of services: what each answers, and how consistent its answers are, by brute force.

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

#[test]
fn what_stores_answer() {
    for name in ["lin-kv", "seq-kv"] {
        let (mut store, mut rng) = (service(name).unwrap(), Rng::stream(1, name));
        let mut told = |body: &str| ask(&mut *store, "n0", body, &mut rng);
        assert_eq!(told(r#"{"type":"read","key":"a"}"#)["code"], 20);
        assert_eq!(told(r#"{"type":"cas","key":"a","from":1,"to":2}"#)["code"], 20);
        let create =
            r#"{"type":"cas","key":{"b":[1],"a":2},"from":0,"to":7,"create_if_not_exists":true}"#;
        assert_eq!(told(create), json!({"type": "cas_ok"}));
        assert_eq!(told(r#"{"type":"read","key":{"a": 2, "b": [ 1 ]}}"#)["value"], 7);
        assert_eq!(told(r#"{"type":"read","key":{"a":"2","b":[1]}}"#)["code"], 20);
        assert_eq!(told(r#"{"type":"write","key":null,"value":null}"#)["type"], "write_ok");
        let null = json!({"type": "read_ok", "value": null});
        assert_eq!(told(r#"{"type":"read","key":null}"#), null);
        assert_eq!(told(r#"{"type":"cas","key":null,"from":1,"to":2}"#)["code"], 22);
        assert_eq!(told(r#"{"type":"cas","key":null,"from":null,"to":2}"#)["type"], "cas_ok");
        for (body, lacks) in [
            (r#"{"type":"read"}"#, "a read needs a key \"key\""),
            (r#"{"type":"write","key":1}"#, "a write needs a key \"value\""),
            (r#"{"type":"cas","key":1,"to":1}"#, "a cas needs a key \"from\""),
            (r#"{"type":"cas","key":1,"from":1}"#, "a cas needs a key \"to\""),
            (
                r#"{"type":"cas","key":1,"from":1,"to":1,"create_if_not_exists":1}"#,
                "create_if_not_exists is true or false",
            ),
        ] {
            assert_eq!(told(body), json!({"type": "error", "code": 12, "text": lacks}));
        }
        assert_eq!(told(r#"{"type":"append","key":1}"#)["code"], 10);
    }
}

#[test]
fn numbers_are_kept_however_large() {
    let large = "340282366920938463463374607431768211457";
    let (mut store, mut rng) = (LinKv::default(), Rng::stream(1, "large"));
    let mut told = |text: &str| store.ask("n0", &Body::parse(text).unwrap().0, &mut rng);
    told(&format!(r#"{{"type":"write","key":{large},"value":[{large}]}}"#));
    let read = told(&format!(r#"{{"type":"read","key":{large}}}"#));
    assert_eq!(read.text(), format!(r#"{{"type":"read_ok","value":[{large}]}}"#));
    let near = large.replace('7', "8");
    assert!(told(&format!(r#"{{"type":"read","key":{near}}}"#)).text().contains("20"));
}

#[test]
fn timestamps_rise() {
    let (mut service, mut rng) = (LinTso::default(), Rng::stream(1, "ts"));
    for ts in 0..5 {
        let told = ask(&mut service, "n0", r#"{"type":"ts"}"#, &mut rng);
        assert_eq!(told, json!({"type": "ts_ok", "ts": ts}));
    }
    assert_eq!(ask(&mut service, "n0", r#"{"type":"read"}"#, &mut rng)["code"], 10);
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
fn seq_kv_has_updates_take_place_in_the_past() {
    let is_past = |seed| {
        let (mut store, mut rng) = (SeqKv::default(), Rng::stream(seed, "past"));
        let mut told = |from: &str, body: &str| ask(&mut store, from, body, &mut rng);
        told("n1", r#"{"type":"write","key":"x","value":1}"#);
        told("n2", r#"{"type":"cas","key":"x","from":1,"to":2}"#);
        assert_eq!(told("n1", r#"{"type":"write","key":"x","value":1}"#)["type"], "write_ok");
        told("n2", r#"{"type":"read","key":"x"}"#)["value"] == 2
    };
    let past = (0..100).filter(|seed| is_past(*seed)).count();
    assert!((10..90).contains(&past), "{past}");
}

#[test]
fn seq_kv_shows_the_newest_state_in_the_end_and_forgets_the_oldest() {
    let (mut store, mut rng) = (SeqKv::default(), Rng::stream(1, "end"));
    for value in 0..1_000 {
        let write = json!({"type": "write", "key": value % 3, "value": value}).to_string();
        ask(&mut store, "n0", &write, &mut rng);
    }
    assert!(store.versions.values().all(|versions| versions.len() <= 33));
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        let told = ask(&mut store, "n1", r#"{"type":"read","key":0}"#, &mut rng);
        seen.insert(told["value"].as_u64().unwrap());
    }
    assert!(seen.len() > 1 && seen.contains(&999), "{seen:?}");
    assert!(seen.iter().all(|value| *value >= 966), "{seen:?}");
}

#[test]
fn lww_kv_loses_updates() {
    let left = |seed| {
        let (mut store, mut rng) = (LwwKv::default(), Rng::stream(seed, "lww"));
        let mut told = |from: &str, body: &str| ask(&mut store, from, body, &mut rng);
        told("n0", r#"{"type":"write","key":"x","value":1}"#);
        told("n1", r#"{"type":"write","key":"x","value":2}"#);
        let mut last = Vec::new();
        for _ in 0..300 {
            last.push(told("n2", r#"{"type":"read","key":"x"}"#)["value"].as_u64());
        }
        // They converge.
        assert!(last[200..].iter().all(|value| *value == last[200]), "{last:?}");
        last[200]
    };
    let lost = (0..100).filter(|seed| left(*seed) == Some(1)).count();
    assert!((10..90).contains(&lost), "{lost}");
    assert!((0..2_000).any(|seed| !is_sequential(&history("lww-kv", seed))));
}
