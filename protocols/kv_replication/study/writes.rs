//! Whether PUTs have one order that respects time. Knows nothing of GETs.

use super::history::{Described, Op, Wrote, by_client, by_invocation, shown};
use node_lab::check::describe::Millis;
use node_lab::study::{Verdict, Violation};
use std::collections::BTreeMap;

/// **Linearizable writes.** Acknowledged PUTs of all keys together have distinct timestamps, from
/// 1, and one whose answer came before another was sent has the smaller timestamp. The order of
/// the timestamps is then a linearization of the PUTs, as of the steps of one counter.
///
/// Herlihy, Wing: Linearizability: A Correctness Condition for Concurrent Objects, TOPLAS 12(3),
/// 1990.
///
/// Evidence: two acknowledged PUTs.
pub(super) fn linearizable_writes(ops: &[Op]) -> Verdict {
    let sent: Vec<usize> =
        by_invocation(ops).into_iter().filter(|&i| ops[i].is_acknowledged_put()).collect();
    Verdict::of(out_of_order(ops, &sent), sent.len() > 1, "no two PUTs were acknowledged")
}

fn out_of_order(ops: &[Op], sent: &[usize]) -> Option<Violation> {
    let mut holders: BTreeMap<u64, usize> = BTreeMap::new();
    for &i in sent {
        let put = &ops[i];
        if put.timestamp == 0 {
            let why = format!("{} has no timestamp", Described(put));
            return Some(shown(ops, &[("write without a timestamp", i)], why));
        }
        if let Some(holder) = holders.insert(put.timestamp, i) {
            let why = format!(
                "two PUTs of one timestamp: {}, and {}",
                Described(&ops[holder]),
                Described(put)
            );
            let roles = [("write of the timestamp", holder), ("other write of it", i)];
            return Some(shown(ops, &roles, why));
        }
    }

    let previous = previous_puts(ops);
    let mut answered = sent.to_vec();
    answered.sort_by_key(|&i| (ops[i].end_ns(), i));
    let mut answered = answered.into_iter().peekable();
    let mut greatest: Option<usize> = None;
    for &i in sent {
        let put = &ops[i];
        while let Some(j) = answered.next_if(|&j| ops[j].end_ns() < put.invoke_ns) {
            if greatest.is_none_or(|g| ops[g].timestamp < ops[j].timestamp) {
                greatest = Some(j);
            }
        }
        for before in [greatest, previous[i]].into_iter().flatten() {
            if put.timestamp <= ops[before].timestamp {
                let (later, first) = (Wrote(put), Wrote(&ops[before]));
                let (sent, when) = (Millis(put.invoke_ns), Millis(ops[before].end_ns()));
                let why = format!(
                    "{later} was sent at {sent}, after {first} had been acknowledged ({when}), and \
                     its timestamp is not greater"
                );
                let roles = [("earlier write", before), ("later write, smaller timestamp", i)];
                return Some(shown(ops, &roles, why));
            }
        }
    }
    None
}

/// For each operation, the acknowledged PUT of any key that the same client made last before it.
fn previous_puts(ops: &[Op]) -> Vec<Option<usize>> {
    let mut previous = vec![None; ops.len()];
    let mut last: BTreeMap<u64, usize> = BTreeMap::new();
    for i in by_client(ops) {
        previous[i] = last.get(&ops[i].client).copied();
        if ops[i].is_acknowledged_put() {
            last.insert(ops[i].client, i);
        }
    }
    previous
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOTHING, get, lost, on, put, violation};
    use super::*;

    fn broken(ops: &[Op]) -> Vec<usize> {
        violation(linearizable_writes(ops)).map(|violation| violation.ops()).unwrap_or_default()
    }

    #[test]
    fn timestamps_in_the_order_of_time_hold() {
        let ops = [
            put(1, "a", 1, 0, 1),
            on("x", put(2, "b", 2, 2, 9)),
            put(1, "c", 3, 2, 3),
            put(1, "d", 7, 3, 9),
            lost(put(3, "e", 0, 0, 1)),
            get(3, Some("a"), 1, 9, 10),
        ];
        assert_eq!(broken(&ops), NOTHING);
    }

    #[test]
    fn one_put_has_no_order() {
        let ops = [put(1, "a", 1, 0, 1), get(1, Some("a"), 1, 2, 3), lost(put(2, "b", 0, 0, 1))];
        assert!(matches!(linearizable_writes(&ops), Verdict::Unknown { .. }));
        assert_eq!(
            linearizable_writes(&[put(1, "a", 1, 0, 1), put(1, "b", 2, 2, 3)]),
            Verdict::Held
        );
    }

    #[test]
    fn overlapping_puts_may_have_any_order() {
        assert_eq!(broken(&[put(1, "a", 2, 0, 5), put(2, "b", 1, 1, 4)]), NOTHING);
        // An answer and a request at the same time overlap, but for one client.
        assert_eq!(broken(&[put(1, "a", 2, 0, 5), put(2, "b", 1, 5, 6)]), NOTHING);
        assert_eq!(broken(&[put(1, "a", 2, 0, 5), put(1, "b", 1, 5, 6)]), [1, 0]);
    }

    #[test]
    fn a_later_put_with_a_smaller_timestamp_is_named() {
        let ops = [
            put(1, "a", 2, 0, 1),
            put(2, "b", 9, 0, 2),
            on("x", put(3, "c", 5, 3, 4)),
            put(1, "d", 10, 5, 6),
        ];
        let violation = violation(linearizable_writes(&ops)).unwrap();
        assert_eq!(violation.ops(), [2, 1]);
        assert_eq!(
            violation.why,
            "client 3's PUT x=c (timestamp 5) was sent at 0.0 ms, after client 2's PUT k=b (timestamp \
             9) had been acknowledged (0.0 ms), and its timestamp is not greater"
        );
    }

    #[test]
    fn a_timestamp_that_is_used_twice_is_named() {
        let ops = [put(1, "a", 2, 0, 9), on("x", put(2, "b", 2, 1, 8))];
        assert_eq!(broken(&ops), [1, 0]);
        assert_eq!(broken(&[put(1, "a", 0, 0, 1)]), [0]);
    }
}
