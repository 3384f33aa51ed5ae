//! Tests of what is asked of any program.

use super::*;
use crate::testing::{MS, run_of};
use node_lab::check::timeline::Happening;

const READ: &str = r#"{"type":"read"}"#;
const OK: &str = r#"{"type":"read_ok"}"#;
const NO: &str = r#"{"type":"error","code":11}"#;
const SETUP: u64 = 2_000_000_000;

fn broken(verdict: Verdict) -> String {
    let Verdict::Violated(violation) = verdict else { panic!("{verdict:?}") };
    violation.why
}

fn is_unknown(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Unknown { .. })
}

#[test]
fn who_refuses_is_not_available() {
    let good = run_of(&[(0, READ, 1, Some((2, OK))), (SETUP, READ, 1, Some((2, NO)))]);
    assert_eq!(available(&good), Verdict::Held);
    let mut bad = run_of(&[
        (0, READ, 1, Some((2, OK))),
        (0, READ, 3, Some((4, OK))),
        (0, READ, 5, Some((6, NO))),
        (0, READ, 7, None),
    ]);
    let why = "2 of 4 operations are done, and 1000000 of a million have to be: n0 was asked to read at \
               5.0 ms, and answered {\"code\":11,\"type\":\"error\"}";
    assert_eq!(broken(available(&bad)), why);
    bad.bounds.set(&AVAILABLE, 500_000, 1).unwrap();
    assert_eq!(available(&bad), Verdict::Held);
    bad.bounds.set(&AVAILABLE, 500_001, 1).unwrap();
    assert!(broken(available(&bad)).starts_with("2 of 4"));
    let silent = run_of(&[(0, READ, 7, None)]);
    assert!(broken(available(&silent)).ends_with("and did not answer"));
    assert!(is_unknown(&available(&Run::default())));
}

#[test]
fn replies_have_a_form() {
    let judge = |reply| answers_in_form(&run_of(&[(0, READ, 1, Some((2, reply)))]));
    for reply in [OK, NO, r#"{"type":"error","code":9999}"#] {
        assert_eq!(judge(reply), Verdict::Held);
    }
    for reply in [r#"{"type":"error"}"#, r#"{"type":"reed_ok"}"#, r#"{"type":"error","code":"no"}"#]
    {
        assert!(broken(judge(reply)).starts_with("n0 was asked to read at 1.0 ms"), "{reply}");
    }
    assert!(is_unknown(&answers_in_form(&run_of(&[(0, READ, 1, None)]))));
}

#[test]
fn messages_are_counted_for_each_operation() {
    let mut run = run_of(&[(0, READ, 1, Some((2, OK))), (SETUP, READ, 1, Some((2, OK)))]);
    assert!(is_unknown(&messages_per_operation(&run)));
    let send = |message| What::Send { node: 1, message, lamport: message, event: message };
    run.timeline = (1..=3).map(|n| Happening { at: MS, what: send(n) }).collect();
    assert_eq!(messages_per_operation(&run), Verdict::Held);
    run.bounds.set(&MESSAGES, 3_000, 1).unwrap();
    let why = "3 messages for 1 operations are 3.000 for each, and not below 3.000";
    assert_eq!(broken(messages_per_operation(&run)), why);
    run.bounds.set(&MESSAGES, 3_001, 1).unwrap();
    assert_eq!(messages_per_operation(&run), Verdict::Held);
}

#[test]
fn latencies_are_those_of_what_was_done() {
    let mut run = run_of(&[
        (0, READ, 1, Some((11, OK))),
        (0, READ, 20, Some((50, OK))),
        (0, READ, 60, Some((900, NO))),
    ]);
    run.bounds.set(&MEDIAN, 31, 1_000).unwrap();
    run.bounds.set(&MAX, 30, 1_000).unwrap();
    assert_eq!((MEDIAN_LATENCY.judge)(&run), Verdict::Held);
    let why = "the longest of 2 operations took 30.0 ms, and not less than 30.0 ms";
    assert_eq!(broken((MAX_LATENCY.judge)(&run)), why);
    assert!(is_unknown(&(MAX_LATENCY.judge)(&run_of(&[(0, READ, 1, Some((2, NO)))]))));
    assert!(is_unknown(&(MEDIAN_LATENCY.judge)(&Run::default())));
}

#[test]
fn numbers_are_for_tables() {
    let shown = r#"{"type":"read_ok","messages":[1]}"#;
    let numbers = numbers(&run_of(&[
        (SETUP, r#"{"type":"topology"}"#, 1, Some((1, r#"{"type":"topology_ok"}"#))),
        (0, r#"{"type":"broadcast","message":1}"#, 1, Some((2, r#"{"type":"broadcast_ok"}"#))),
        (0, READ, 3, Some((5, shown))),
        (0, READ, 6, Some((7, NO))),
        (0, READ, 8, None),
    ]));
    assert_eq!((numbers.operations, numbers.ok, numbers.fail, numbers.info), (4, 2, 1, 1));
    assert_eq!((numbers.latencies.unwrap().min, numbers.latencies.unwrap().max), (MS, 2 * MS));
    assert_eq!(numbers.stable_latencies.unwrap().max, 0);
    let elements = numbers.elements.unwrap();
    assert_eq!((elements.attempts, elements.stable, elements.lost), (1, 1, 0));
    assert_eq!(numbers.server_messages, None);
}
