//! Tests of keys' registers: few words, and all orders of small histories.

use super::*;
use crate::testing::{Line, run_of};
use node_lab::study::Verdict;

fn judge(lines: &[Line<'_>]) -> Verdict {
    linearizable::<Registers>(&run_of(lines))
}

const WRITE: &str = r#"{"type":"write","key":0,"value":1}"#;
const READ: &str = r#"{"type":"read","key":0}"#;
const CAS: &str = r#"{"type":"cas","key":0,"from":1,"to":2}"#;
const MISSING: &str = r#"{"type":"error","code":20,"text":""}"#;
const DIFFERS: &str = r#"{"type":"error","code":22,"text":""}"#;

#[test]
fn refusals_say_what_the_state_was() {
    let write = (0, WRITE, 1, Some((2, r#"{"type":"write_ok"}"#)));
    let cas = (0, CAS, 3, Some((4, r#"{"type":"cas_ok"}"#)));
    let two = (1, READ, 5, Some((6, r#"{"type":"read_ok","value":2}"#)));
    assert_eq!(judge(&[write, cas, two, (0, CAS, 7, Some((8, DIFFERS)))]), Verdict::Held);
    assert_eq!(judge(&[(0, CAS, 0, Some((1, MISSING))), write, cas, two]), Verdict::Held);
    for (code, says) in [(DIFFERS, "the value is another"), (MISSING, "there is no such key")] {
        let Verdict::Violated(found) = judge(&[write, (1, CAS, 3, Some((4, code)))]) else {
            panic!("{code}")
        };
        assert_eq!(found.ops(), [1]);
        let why = "no order explains what client 1 was told to cas key 0 from 1 to 2 at 4.0 ms";
        assert_eq!(found.why, format!("{why}: {says}"));
    }
    // A missing key does not hold another value.
    assert!(matches!(judge(&[(1, CAS, 3, Some((4, DIFFERS)))]), Verdict::Violated(_)));
    assert!(matches!(judge(&[write, (1, READ, 3, Some((4, MISSING)))]), Verdict::Violated(_)));
    let null = r#"{"type":"read_ok","value":null}"#;
    assert_eq!(judge(&[(1, READ, 3, Some((4, null)))]), Verdict::Held);
    assert!(matches!(judge(&[write, (1, READ, 3, Some((4, null)))]), Verdict::Violated(_)));
}

#[test]
fn what_nobody_knows_may_have_been() {
    let open = (0, WRITE, 1, Some((2, r#"{"type":"error","code":13}"#)));
    let silent = (1, CAS, 3, None);
    for value in ["null", "1", "2"] {
        let reply = format!(r#"{{"type":"read_ok","value":{value}}}"#);
        assert_eq!(judge(&[open, silent, (2, READ, 5, Some((6, &reply)))]), Verdict::Held);
    }
    let three = (2, READ, 5, Some((6, r#"{"type":"read_ok","value":3}"#)));
    assert!(matches!(judge(&[open, silent, three]), Verdict::Violated(_)));
    let refused = (0, WRITE, 1, Some((2, r#"{"type":"error","code":11}"#)));
    let one = (2, READ, 5, Some((6, r#"{"type":"read_ok","value":1}"#)));
    assert!(matches!(judge(&[refused, one]), Verdict::Violated(_)));
    for lines in [&[][..], &[open], &[(0, WRITE, 1, Some((2, r#"{"type":"write_ok"}"#)))]] {
        assert!(matches!(judge(lines), Verdict::Unknown { .. }), "{lines:?}");
    }
}

/// One operation of a small history: kind, values, from, until (none: unknown), what it was told.
#[derive(Clone, Copy, Debug)]
struct Small {
    kind: u64,
    from: u64,
    to: u64,
    start: u64,
    end: Option<u64>,
    /// 0: done; 20, 22: refused; 100 and more: a value.
    told: u64,
}

/// What a register holding this (0: nothing) tells, and holds then.
fn act(held: u64, one: &Small) -> (u64, u64) {
    match one.kind {
        0 if held == 0 => (20, held),
        0 => (100 + held, held),
        1 => (0, one.to),
        _ if held == 0 => (20, held),
        _ if held == one.from => (0, one.to),
        _ => (22, held),
    }
}

/// All orders, one by one.
fn naive(all: &[Small], taken: u32, held: u64) -> bool {
    let open = |at: &usize| taken & 1 << at == 0;
    let left: Vec<usize> = (0..all.len()).filter(open).collect();
    if left.iter().all(|at| all[*at].end.is_none()) {
        return true;
    }
    left.iter().any(|&at| {
        let one = &all[at];
        let is_first = left
            .iter()
            .all(|&other| all[other].end.is_none_or(|end| other == at || end >= one.start));
        let (told, after) = act(held, one);
        let fits = one.end.is_none() || told == one.told;
        is_first && fits && naive(all, taken | 1 << at, after)
    })
}

#[test]
fn agrees_with_all_orders_one_by_one() {
    let mut rng = Rng::stream(1, "lin-kv");
    let (mut held, mut violated) = (0, 0);
    for n in 0..10_000 {
        let is_broken = n % 3 == 0;
        let (mut all, mut value) = (Vec::<Small>::new(), 0);
        for at in 0..2 + rng.below(5) {
            let (from, to) = (1 + rng.below(2), 1 + rng.below(2));
            let start = 2 + at * 2 - rng.below(3);
            let end = (rng.below(6) > 0).then_some(2 + at * 2 + rng.below(4));
            let mut one = Small { kind: rng.below(3), from, to, start, end, told: 0 };
            (one.told, value) = act(value, &one);
            if is_broken && rng.below(2) == 0 {
                let wrong = [&[20, 101, 102][..], &[0], &[0, 20, 22]][one.kind as usize];
                one.told = wrong[rng.below(wrong.len() as u64) as usize];
            }
            all.push(one);
        }
        all.sort_by_key(|one| one.start);
        let text = |one: &Small| match one.kind {
            0 => READ.to_string(),
            1 => json!({ "type": "write", "key": 0, "value": one.to }).to_string(),
            _ => json!({ "type": "cas", "key": 0, "from": one.from, "to": one.to }).to_string(),
        };
        let reply = |one: &Small| match one.told {
            0 if one.kind == 1 => json!({ "type": "write_ok" }),
            0 => json!({ "type": "cas_ok" }),
            code @ (20 | 22) => json!({ "type": "error", "code": code }),
            value => json!({ "type": "read_ok", "value": value - 100 }),
        };
        let texts: Vec<(String, String)> =
            all.iter().map(|one| (text(one), reply(one).to_string())).collect();
        let line = |(client, (one, (text, reply)))| -> Line<'_> {
            let (one, text, reply): (&Small, &String, &String) = (one, text, reply);
            (client, text, one.start, one.end.map(|end| (end, &**reply)))
        };
        let lines: Vec<Line<'_>> =
            (0..).zip(all.iter().zip(texts.iter().map(|(a, b)| (a, b)))).map(line).collect();
        match (judge(&lines), naive(&all, 0, 0)) {
            (Verdict::Held | Verdict::Unknown { .. }, true) => held += 1,
            (Verdict::Violated(_), false) => violated += 1,
            other => panic!("history {n}: {other:?}: {all:?}"),
        }
    }
    assert!(held > 5_000 && violated > 500, "{held} held, {violated} violated");
}
