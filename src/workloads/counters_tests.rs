//! Tests of what counters are held against.

use super::*;
use crate::testing::run_of;
use std::collections::BTreeSet;

const FINAL: u64 = 1_000_000_000;

/// An addition and its outcome (acknowledged, refused, unknown).
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Done,
    Refused,
    Open,
    Silent,
}

fn verdict(adds: &[(i64, Outcome)], reads: &[(u64, &str)]) -> Verdict {
    let texts: Vec<String> =
        adds.iter().map(|(delta, _)| format!(r#"{{"type":"add","delta":{delta}}}"#)).collect();
    let told: Vec<String> =
        reads.iter().map(|(_, value)| format!(r#"{{"type":"read_ok","value":{value}}}"#)).collect();
    let mut lines = Vec::new();
    for (text, (_, outcome)) in texts.iter().zip(adds) {
        let reply = match outcome {
            Outcome::Done => Some(r#"{"type":"add_ok"}"#),
            Outcome::Refused => Some(r#"{"type":"error","code":11}"#),
            Outcome::Open => Some(r#"{"type":"error","code":13}"#),
            Outcome::Silent => None,
        };
        lines.push((0, &**text, 1, reply.map(|reply| (2, reply))));
    }
    for (reply, (client, _)) in told.iter().zip(reads) {
        lines.push((*client, r#"{"type":"read"}"#, 3, Some((4, &**reply))));
    }
    counter_sums(&run_of(&lines))
}

use Outcome::{Done, Open, Refused, Silent};

#[test]
fn the_sum_is_that_of_what_took_place() {
    let adds = [(3, Done), (4, Refused), (2, Done)];
    assert_eq!(verdict(&adds, &[(FINAL, "5"), (FINAL + 1, "5")]), Verdict::Held);
    let Verdict::Violated(violation) = verdict(&adds, &[(FINAL, "5"), (FINAL + 1, "9")]) else {
        panic!("a refused addition was added")
    };
    assert_eq!(violation.ops(), [4, 2]);
    let roles: Vec<_> = violation.witnesses.iter().map(|one| &*one.role).collect();
    assert_eq!(roles, ["last acknowledged addition", "wrong sum"]);
    assert_eq!(violation.why, "n0 read 9 at 3.0 ms, but the sum is 5");
}

#[test]
fn what_nobody_knows_is_added_or_not() {
    let adds = [(3, Done), (-4, Open), (10, Silent)];
    for value in ["3", "-1", "13", "9"] {
        assert_eq!(verdict(&adds, &[(FINAL, value)]), Verdict::Held, "{value}");
    }
    for value in ["0", "10", "6", "3.0", "\"3\"", "null"] {
        let verdict = verdict(&adds, &[(FINAL, value)]);
        let Verdict::Violated(violation) = verdict else { panic!("{value}: {verdict:?}") };
        assert!(violation.why.ends_with("but the sum is -1, 3, 9, 13"), "{}", violation.why);
    }
}

#[test]
fn only_the_last_reads_count() {
    assert!(matches!(verdict(&[(3, Done)], &[(0, "77")]), Verdict::Unknown { .. }));
    assert!(matches!(verdict(&[(3, Silent)], &[(FINAL, "3")]), Verdict::Unknown { .. }));
    assert!(matches!(verdict(&[(0, Done)], &[(FINAL, "0")]), Verdict::Unknown { .. }));
    assert!(matches!(verdict(&[], &[]), Verdict::Unknown { .. }));
    // Without any evidence of additions, a sum out of nowhere is one all the same.
    assert!(matches!(verdict(&[], &[(FINAL, "1")]), Verdict::Violated(_)));
}

#[test]
fn too_many_sums_are_not_decided() {
    let adds: Vec<_> = (0..40).map(|n| (1_i64 << n, Silent)).collect();
    assert_eq!(reachable(0, &[1, 2, 4]), Some(vec![(0, 7)]), "they touch");
    assert_eq!(verdict(&[&adds[..], &[(1, Done)]].concat(), &[(FINAL, "1")]), Verdict::Held);
    let apart: Vec<_> = (0..40).map(|n| (1_i64 << (n + 1) | 1 << (n / 2), Silent)).collect();
    let verdict = verdict(&apart, &[(FINAL, "0")]);
    assert!(matches!(verdict, Verdict::Undecided { .. }), "{verdict:?}");
}

/// All subsets, one by one.
fn naive(adds: &[(i64, Outcome)]) -> BTreeSet<i64> {
    let done = adds.iter().filter(|(_, outcome)| matches!(outcome, Done)).map(|(delta, _)| delta);
    let mut sums = BTreeSet::from([done.sum()]);
    for (delta, outcome) in adds {
        if matches!(outcome, Open | Silent) {
            sums = sums.iter().flat_map(|sum| [*sum, sum + delta]).collect();
        }
    }
    sums
}

#[test]
fn agrees_with_all_subsets_one_by_one() {
    let mut rng = Rng::stream(1, "counters");
    let (mut held, mut violated) = (0, 0);
    for n in 0..10_000 {
        let least = if n % 2 == 0 { 0 } else { -5 };
        let mut adds = Vec::new();
        for _ in 0..rng.below(9) {
            let outcome = [Done, Done, Done, Open, Silent, Refused][rng.below(6) as usize];
            adds.push((least + rng.below((5 - least) as u64) as i64, outcome));
        }
        let sums: Vec<i64> = naive(&adds).into_iter().collect();
        // A third are broken on purpose.
        let is_broken = rng.below(3) == 0;
        let mut reads = Vec::new();
        for node in 0..1 + rng.below(3) {
            let mut value = sums[rng.below(sums.len() as u64) as usize];
            if is_broken && rng.below(2) == 0 {
                value += rng.below(9) as i64 - 4;
            }
            reads.push((FINAL + node, value));
        }
        let expected = reads.iter().all(|(_, value)| sums.contains(value));
        let texts: Vec<String> = reads.iter().map(|(_, value)| value.to_string()).collect();
        let lines: Vec<(u64, &str)> =
            reads.iter().zip(&texts).map(|((client, _), text)| (*client, &**text)).collect();
        match verdict(&adds, &lines) {
            Verdict::Held | Verdict::Unknown { .. } if expected => held += 1,
            Verdict::Violated(_) if !expected => violated += 1,
            other => panic!("history {n}: {other:?}: {adds:?} {reads:?}"),
        }
    }
    assert!(held > 2_000 && violated > 1_000, "{held} held, {violated} violated");
}
