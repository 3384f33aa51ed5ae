//! Tests of the clients of logs, and of each checker by cases in few words.

mod random;

use super::*;
use crate::crew::Pace;
use crate::testing::{Line, MS, Nodes, run_of};
use node_lab::study::{Load, Nanos};
use serde_json::Value;

const FINAL: u64 = 1_000_000_000;

/// What is asked: `s k m`, `p k o`, `c k o`, `l k`; and what of it is answered: offsets and
/// messages, an offset, `ok`; `-` for nothing, `no` for a refusal.
type Short<'a> = (u64, &'a str, &'a str);

fn asked(short: &str) -> Value {
    let words: Vec<&str> = short.split(' ').collect();
    let number = |place: usize| words[place].parse::<i64>().unwrap();
    match words[0] {
        "s" => json!({ "type": "send", "key": words[1], "msg": number(2) }),
        "p" => json!({ "type": "poll", "offsets": { words[1]: number(2) } }),
        "c" => json!({ "type": "commit_offsets", "offsets": { words[1]: number(2) } }),
        "l" => json!({ "type": "list_committed_offsets", "keys": [words[1]] }),
        other => panic!("{other}"),
    }
}

fn answered(short: &str, answer: &str) -> Option<Value> {
    let key = short.split(' ').nth(1).unwrap();
    let numbers = || answer.split(' ').filter_map(|word| word.parse::<i64>().ok());
    Some(match (&short[..1], answer) {
        (_, "-") => return None,
        (_, "no") => json!({ "type": "error", "code": 11 }),
        (_, "bad") => json!({ "type": format!("{}_ok", asked(short)["type"].as_str().unwrap()) }),
        ("s", _) => json!({ "type": "send_ok", "offset": numbers().next() }),
        ("p", _) => {
            let all: Vec<i64> = numbers().collect();
            let msgs: Vec<&[i64]> = all.chunks(2).collect();
            json!({ "type": "poll_ok", "msgs": { key: msgs } })
        }
        ("c", _) => json!({ "type": "commit_offsets_ok" }),
        ("l", "") => json!({ "type": "list_committed_offsets_ok", "offsets": {} }),
        ("l", _) => {
            json!({ "type": "list_committed_offsets_ok", "offsets": { key: numbers().next() } })
        }
        other => panic!("{other:?}"),
    })
}

/// One after the other: each ends before the next begins.
fn run(shorts: &[Short<'_>]) -> Run {
    let text = |(client, short, answer): &Short<'_>| {
        (*client, asked(short).to_string(), answered(short, answer).map(|it| it.to_string()))
    };
    let texts: Vec<_> = shorts.iter().map(text).collect();
    let line = |(n, (client, asked, told)): (u64, &(u64, String, Option<String>))| {
        (*client, asked.clone(), 2 * n + 1, told.clone().map(|told| (2 * n + 2, told)))
    };
    let owned: Vec<_> = (0..).zip(&texts).map(line).collect();
    let lines: Vec<Line<'_>> = owned
        .iter()
        .map(|(client, asked, at, told)| {
            (*client, &**asked, *at, told.as_ref().map(|(at, told)| (*at, &**told)))
        })
        .collect();
    run_of(&lines)
}

#[track_caller]
fn held(property: &Property, shorts: &[Short<'_>]) {
    assert_eq!((property.judge)(&run(shorts)), Verdict::Held);
}

#[track_caller]
fn unknown(property: &Property, shorts: &[Short<'_>]) {
    let verdict = (property.judge)(&run(shorts));
    assert!(matches!(verdict, Verdict::Unknown { .. }), "{verdict:?}");
}

#[track_caller]
fn violated(property: &Property, shorts: &[Short<'_>], ops: &[usize], why: &str) {
    let verdict = (property.judge)(&run(shorts));
    let Verdict::Violated(violation) = verdict else { panic!("{verdict:?}") };
    assert_eq!((&*violation.ops(), &*violation.why), (ops, why));
}

#[test]
fn what_was_acknowledged_is_polled_in_the_end() {
    let it = &NO_LOST_WRITES;
    held(it, &[(0, "s a 7", "0"), (FINAL, "p a 0", "0 7"), (FINAL, "p a 1", "")]);
    // Nobody has come to it: unobserved, and no loss.
    held(it, &[(0, "s a 7", "0"), (0, "s a 8", "1"), (1, "p a 0", "0 7"), (1, "p a 1", "")]);
    unknown(it, &[(0, "s a 7", "0"), (1, "p a 0", "")]);
    unknown(it, &[(0, "s a 7", "-"), (1, "p a 0", "3 8")]);
    unknown(it, &[(0, "s a 7", "0"), (FINAL, "p b 0", "")]);
    violated(
        it,
        &[(0, "s a 7", "1"), (1, "p a 0", "0 6 2 8")],
        &[1, 0],
        "message 7 was acknowledged at offset 1 of key a by send at 1.0 ms on n0, no poll shows \
         it, and poll at 3.0 ms on n0 shows 2",
    );
    violated(
        it,
        &[(0, "s a 7", "0"), (1, "p a 0", "0 7"), (FINAL, "p a 0", "")],
        &[2, 0],
        "message 7 was acknowledged at offset 0 of key a by send at 1.0 ms on n0, and no last \
         poll shows it: not poll at 5.0 ms on n0",
    );
}

#[test]
fn offsets_ascend() {
    let it = &OFFSETS_MONOTONIC;
    held(it, &[(0, "p a 0", "0 7 2 8"), (0, "p a 3", "5 1")]);
    held(it, &[(0, "s a 7", "0"), (0, "s a 8", "4"), (1, "s a 9", "2")]);
    unknown(it, &[(0, "p a 0", "0 7"), (1, "p a 0", "0 7"), (0, "s a 1", "1")]);
    // Assigned anew, it may see again what it has seen.
    unknown(it, &[(0, "p a 0", "4 7"), (0, "l a", ""), (0, "p a 0", "0 7")]);
    let why = "poll at 1.0 ms on n0 shows of key a offset 2 after 2";
    violated(it, &[(0, "p a 0", "2 7 2 7")], &[0], why);
    violated(
        it,
        &[(0, "p a 0", "0 6 1 7"), (0, "p a 2", "1 7 2 8")],
        &[1, 0],
        "poll at 3.0 ms on n0 shows offset 1 of key a, after the same client's poll at 1.0 ms \
         on n0 had shown 1",
    );
    violated(
        it,
        &[(0, "s a 7", "3"), (0, "s b 7", "1"), (0, "s a 8", "2")],
        &[2, 0],
        "send at 5.0 ms on n0 was acknowledged at offset 2 of key a, after the same client's \
         send at 1.0 ms on n0 at 3",
    );
}

#[test]
fn polls_skip_nothing_that_exists() {
    let it = &NO_SKIPS;
    held(it, &[(0, "s a 7", "3"), (1, "p a 1", "3 7 9 1")]);
    // What comes after all that it shows, it may show later.
    unknown(it, &[(0, "s a 7", "3"), (1, "p a 0", "2 6")]);
    unknown(it, &[(0, "s a 7", "3"), (1, "p a 4", "9 1")]);
    let internal = "poll at 3.0 ms on n0 from offset 0 of key a shows 4 and skips 3, which \
                    exists: send at 1.0 ms on n0";
    violated(it, &[(0, "s a 7", "3"), (1, "p a 0", "1 6 4 8")], &[1, 0], internal);
    let external = "poll at 5.0 ms on n0 from offset 2 of key a shows 4 and skips 3, which \
                    exists: poll at 1.0 ms on n0";
    let polls = [(0, "p a 3", "3 7"), (1, "p a 0", "1 6"), (1, "p a 2", "4 8")];
    violated(it, &polls, &[2, 0], external);
}

#[test]
fn all_agree_on_what_is_where() {
    let it = &CONSISTENT_OFFSETS;
    held(it, &[(0, "s a 7", "3"), (1, "p a 0", "3 7")]);
    held(it, &[(0, "s a 7", "-"), (1, "p a 0", "3 7"), (2, "p a 0", "3 7")]);
    // What is sent twice is there twice.
    held(it, &[(0, "s a 7", "3"), (0, "s a 7", "4"), (1, "p a 0", "3 7 4 7")]);
    unknown(it, &[(0, "s a 7", "3"), (0, "s b 7", "3"), (1, "p a 0", "")]);
    violated(
        it,
        &[(0, "s a 7", "3"), (1, "s a 8", "3")],
        &[1, 0],
        "offset 3 of key a has two messages: 8 says send at 3.0 ms on n0, and 7 send at 1.0 \
         ms on n0",
    );
    violated(
        it,
        &[(0, "s a 7", "3"), (1, "p a 0", "4 7")],
        &[1, 0],
        "message 7 of key a has two offsets: 4 says poll at 3.0 ms on n0, and 3 send at 1.0 \
         ms on n0",
    );
    for answer in ["no", "4"] {
        let shorts = [(0, if answer == "no" { "s a 7" } else { "s b 7" }, answer)];
        let shorts = [&shorts[..], &[(1, "p a 0", "3 7")]].concat();
        let why = "poll at 3.0 ms on n0 shows message 7 at offset 3 of key a, which nobody sent \
                   there, or which was refused";
        violated(it, &shorts, &[1], why);
    }
    for short in ["s a 1", "p a 0", "l a"] {
        let Verdict::Violated(violation) = (it.judge)(&run(&[(0, short, "bad")])) else {
            panic!("{short}")
        };
        assert!(violation.why.ends_with("but not in its form"), "{}", violation.why);
    }
}

#[test]
fn commits_do_not_go_back() {
    let it = &COMMITS;
    held(it, &[(0, "c a 3", "ok"), (1, "l a", "3"), (1, "c a 5", "-"), (0, "l a", "5")]);
    held(it, &[(0, "c a 3", "ok"), (1, "c a 2", "ok"), (1, "l a", "2")]);
    unknown(it, &[(0, "c a 3", "-"), (1, "l a", "")]);
    unknown(it, &[(0, "c a 3", "no"), (1, "l a", "")]);
    unknown(it, &[(0, "c a 3", "ok"), (1, "l b", "")]);
    violated(
        it,
        &[(0, "c a 2", "ok"), (0, "c a 3", "ok"), (1, "l a", "2")],
        &[2, 1],
        "list_committed_offsets at 5.0 ms on n0 shows 2 for key a, after 3 was acknowledged: \
         commit_offsets at 3.0 ms on n0",
    );
    violated(
        it,
        &[(0, "c a 2", "ok"), (1, "l a", "")],
        &[1, 0],
        "list_committed_offsets at 3.0 ms on n0 shows nothing for key a, after 2 was \
         acknowledged: commit_offsets at 1.0 ms on n0",
    );
    let why = "list_committed_offsets at 3.0 ms on n0 shows 4 for key a: nobody committed so much";
    violated(it, &[(0, "c a 3", "ok"), (1, "l a", "4")], &[1], why);
}

/// A node that does it right, with one message a poll.
#[derive(Default)]
struct Right {
    logs: BTreeMap<String, Vec<Value>>,
    committed: Offsets,
}

impl Right {
    fn answer(&mut self, body: &Body<'_>) -> Value {
        let body: Value = serde_json::from_str(body.text()).unwrap();
        match body["type"].as_str().unwrap() {
            "send" => {
                let log = self.logs.entry(body["key"].as_str().unwrap().into()).or_default();
                log.push(body["msg"].clone());
                json!({ "type": "send_ok", "offset": log.len() - 1 })
            }
            "poll" => {
                let mut msgs = serde_json::Map::new();
                for (key, from) in body["offsets"].as_object().unwrap() {
                    let message =
                        self.logs.get(key).and_then(|log| log.get(from.as_u64().unwrap() as usize));
                    if let Some(message) = message {
                        msgs.insert(key.clone(), json!([[from, message]]));
                    }
                }
                json!({ "type": "poll_ok", "msgs": msgs })
            }
            "commit_offsets" => {
                for (key, offset) in body["offsets"].as_object().unwrap() {
                    let offset = offset.as_i64().unwrap();
                    let committed = self.committed.entry(key.clone()).or_insert(offset);
                    *committed = offset.max(*committed);
                }
                json!({ "type": "commit_offsets_ok" })
            }
            _ => json!({ "type": "list_committed_offsets_ok", "offsets": self.committed }),
        }
    }
}

#[test]
fn clients_of_a_right_program_show_all_properties() {
    let asks = Logs { keys: 4, writes_per_key: 16, ..Logs::default() };
    let crew = Crew::of_nodes("kafka", Pace { rate: 100, ..Pace::default() }, 3, 2, asks);
    crew.check(11_000, 60_000).unwrap();
    let (clients, operations) = crew.counts();
    let mut right = Right::default();
    let mut nodes = Nodes::new(2, |_, body, _| Some((MS as Nanos, right.answer(body))));
    nodes.go(&crew, &Load { seed: 1, clients, operations }, 11_000, 60_000).unwrap();
    for property in Kafka::PROPERTIES {
        assert_eq!((property.judge)(&nodes.run), Verdict::Held, "{}", property.name);
    }
    let calls = calls(&nodes.run);
    let sends = calls.iter().filter(|one| matches!(one.what, history::What::Send { .. })).count();
    // Every message is polled by both who come in the end.
    for client in [FINAL, FINAL + 1] {
        let polls = calls.iter().filter(|one| one.client == client);
        let shown = |call: &Call| {
            let history::What::Poll { shown, .. } = &call.what else { panic!() };
            shown.values().map(Vec::len).sum::<usize>()
        };
        assert_eq!(polls.map(shown).sum::<usize>(), sends);
    }
    let most = right_lengths(&calls);
    assert!(most.len() > 8 && most.values().all(|count| *count <= 18), "{most:?}");
}

fn right_lengths(calls: &[Call]) -> BTreeMap<String, u32> {
    let mut lengths = BTreeMap::new();
    for call in calls {
        if let history::What::Send { key, .. } = &call.what {
            *lengths.entry(key.clone()).or_default() += 1;
        }
    }
    lengths
}

#[test]
fn another_process_is_assigned_anew() {
    let mut asks = Logs { keys: 2, writes_per_key: 16, ..Logs::default() };
    asks.begin(1);
    let list = Body::of(&json!({ "type": "list_committed_offsets", "keys": ["0", "1"] }));
    let listed = json!({ "type": "list_committed_offsets_ok", "offsets": { "0": 4 } });
    asks.told(0, &list, &Told::Done(Body::of(&listed)));
    let positions = |asks: &Logs| asks.workers[&0].positions.clone();
    assert_eq!(positions(&asks), BTreeMap::from([("0".into(), 5), ("1".into(), 0)]));
    let polled = poll(&positions(&asks));
    let shown = json!({ "type": "poll_ok", "msgs": { "0": [[7, 1], [9, 2]], "x": [[1, 1]] } });
    asks.told(0, &polled, &Told::Done(Body::of(&shown)));
    assert_eq!(positions(&asks), BTreeMap::from([("0".into(), 10), ("1".into(), 0)]));
    asks.told(0, &polled, &Told::Unknown);
    assert_eq!(positions(&asks).len(), 2);
    asks.told(0, &Body::of(&json!({ "type": "send" })), &Told::Unknown);
    assert_eq!(positions(&asks), BTreeMap::new());
}
