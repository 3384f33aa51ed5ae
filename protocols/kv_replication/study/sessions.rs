//! The session guarantees of clients that carry their last timestamp of each key. A session is a
//! client on a key, at whichever servers. Knows nothing of other clients.
//!
//! Terry, Demers, Petersen, Spreitzer, Theimer, Welch: Session Guarantees for Weakly Consistent
//! Replicated Data, PDIS 1994.

use super::history::{Again, Op, Read, by_client, by_invocation, shown};
use node_lab::study::Verdict;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// **Monotonic reads.** Of two reads of a key by one client, the later returns no smaller
/// timestamp. NULL is timestamp 0; a refused GET is no read.
///
/// Terry et al. 1994: successive reads reflect a non-decreasing set of writes; on one
/// key whose writes are in the order of their timestamps, the last one stands for the set.
///
/// Evidence: two reads of a key by one client.
pub(super) fn monotonic_reads(ops: &[Op]) -> Verdict {
    let mut newest: BTreeMap<(u64, &str), (u64, usize)> = BTreeMap::new();
    let mut first: Option<(usize, usize)> = None;
    let mut is_read_again = false;
    for i in by_client(ops) {
        let op = &ops[i];
        let Some(seen) = op.seen_timestamp() else { continue };
        let mut known = match newest.entry((op.client, &op.key)) {
            Entry::Occupied(known) => known,
            Entry::Vacant(first) => {
                first.insert((seen, i));
                continue;
            }
        };
        is_read_again = true;
        let (before, witness) = known.get_mut();
        if seen < *before {
            first = earlier(ops, first, (i, *witness));
        } else {
            (*before, *witness) = (seen, i);
        }
    }
    let broken = first.map(|(i, witness)| {
        let why = format!("{}, after its {}", Read(&ops[i]), Again(&ops[witness]));
        shown(ops, &[("newer read", witness), ("older read", i)], why)
    });
    Verdict::of(broken, is_read_again, "no client read a key twice")
}

/// **Read your writes.** A read of a key by a client that has had PUT_OK(t) for it returns
/// timestamp t or greater.
///
/// Terry et al. 1994: a read reflects all writes of its session before it.
///
/// Evidence: such a read.
pub(super) fn read_your_writes(ops: &[Op]) -> Verdict {
    let own = own_puts(ops);
    let mut has_read = false;
    let broken = by_invocation(ops).into_iter().find_map(|i| {
        let (put, seen) = own[i].zip(ops[i].seen_timestamp())?;
        has_read = true;
        (seen < ops[put].timestamp).then_some((i, put))
    });
    let broken = broken.map(|(i, put)| {
        let why = format!("{}, after its {}", Read(&ops[i]), Again(&ops[put]));
        shown(ops, &[("own write", put), ("read without it", i)], why)
    });
    Verdict::of(broken, has_read, "no client read a key that it had PUT")
}

/// For each operation, the acknowledged PUT of its key with the greatest timestamp that the same
/// client had made before.
pub(super) fn own_puts(ops: &[Op]) -> Vec<Option<usize>> {
    let mut own = vec![None; ops.len()];
    let mut newest: BTreeMap<(u64, &str), usize> = BTreeMap::new();
    for i in by_client(ops) {
        let op = &ops[i];
        let session = (op.client, op.key.as_str());
        own[i] = newest.get(&session).copied();
        if op.is_acknowledged_put()
            && own[i].is_none_or(|before: usize| ops[before].timestamp < op.timestamp)
        {
            newest.insert(session, i);
        }
    }
    own
}

/// The one of two findings, each an operation and its witness, that was sent first.
fn earlier(ops: &[Op], a: Option<(usize, usize)>, b: (usize, usize)) -> Option<(usize, usize)> {
    match a {
        Some(a) if ops[a.0].invoke_ns <= ops[b.0].invoke_ns => Some(a),
        _ => Some(b),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{get, lost, on, put, refused, violation};
    use super::*;

    fn broken(verdict: Verdict) -> Vec<usize> {
        violation(verdict).map(|violation| violation.ops()).unwrap_or_default()
    }

    #[test]
    fn one_read_of_a_key_shows_nothing() {
        let alone = [put(1, "a", 3, 0, 1), on("x", get(1, None, 0, 2, 3)), get(2, None, 0, 0, 1)];
        for verdict in [monotonic_reads(&alone), read_your_writes(&alone)] {
            assert!(matches!(verdict, Verdict::Unknown { .. }), "{verdict:?}");
        }
        let ops = [put(1, "a", 3, 0, 1), get(1, Some("a"), 3, 2, 3), get(1, Some("a"), 3, 4, 5)];
        assert_eq!(monotonic_reads(&ops), Verdict::Held);
        assert_eq!(read_your_writes(&ops[..2]), Verdict::Held);
        assert!(matches!(monotonic_reads(&ops[..2]), Verdict::Unknown { .. }));
    }

    #[test]
    fn reads_that_stay_or_advance_are_monotonic() {
        let ops = [
            get(1, None, 0, 0, 1),
            get(1, None, 0, 2, 3),
            get(1, Some("a"), 4, 4, 5),
            get(1, Some("a"), 4, 6, 7),
            get(1, Some("b"), 9, 8, 9),
        ];
        assert_eq!(violation(monotonic_reads(&ops)), None);
    }

    #[test]
    fn a_read_that_goes_back_is_named_with_the_newest_before() {
        let ops = [
            get(1, Some("a"), 4, 0, 1),
            get(1, Some("b"), 9, 2, 3),
            get(1, Some("a"), 5, 4, 5),
            get(1, Some("a"), 4, 6, 7),
        ];
        let violation = violation(monotonic_reads(&ops)).unwrap();
        assert_eq!(violation.ops(), [2, 1]);
        assert_eq!(
            violation.why,
            "client 1's GET k returned a (timestamp 5) at 0.0 ms, after its \
             GET returned b (timestamp 9, 0.0 to 0.0 ms)"
        );
    }

    #[test]
    fn null_after_a_value_goes_back() {
        assert_eq!(
            broken(monotonic_reads(&[get(1, Some("a"), 1, 0, 1), get(1, None, 0, 1, 2)])),
            [1, 0]
        );
    }

    #[test]
    fn the_order_is_the_clients_not_the_files() {
        let ops = [get(1, Some("b"), 9, 6, 7), get(1, Some("a"), 4, 0, 1)];
        assert_eq!(violation(monotonic_reads(&ops)), None);
        // Sent at the very time of the answer before, and over at once.
        let ops = [get(1, Some("b"), 9, 5, 5), get(1, Some("a"), 4, 5, 5)];
        assert_eq!(broken(monotonic_reads(&ops)), [1, 0]);
    }

    #[test]
    fn other_clients_other_keys_and_refusals_do_not_count() {
        let ops = [
            get(1, Some("b"), 9, 0, 1),
            get(2, Some("a"), 4, 2, 3),
            on("other", get(1, Some("a"), 4, 4, 5)),
            refused(get(1, None, 4, 6, 7)),
            lost(get(1, None, 0, 8, 9)),
        ];
        assert_eq!(violation(monotonic_reads(&ops)), None);
        assert_eq!(violation(read_your_writes(&ops)), None);
    }

    #[test]
    fn the_first_of_several_is_named() {
        let ops = [
            get(1, Some("b"), 9, 10, 11),
            get(1, Some("a"), 4, 12, 13),
            get(2, Some("b"), 9, 0, 1),
            get(2, Some("a"), 4, 2, 3),
        ];
        assert_eq!(broken(monotonic_reads(&ops)), [3, 2]);
    }

    #[test]
    fn a_client_that_sees_its_write_or_a_newer_one_reads_its_writes() {
        let ops = [
            put(1, "a", 3, 0, 1),
            get(1, Some("a"), 3, 1, 2),
            get(1, Some("b"), 5, 3, 4),
            put(2, "b", 5, 0, 9),
            get(2, Some("b"), 5, 9, 10),
        ];
        assert_eq!(violation(read_your_writes(&ops)), None);
    }

    #[test]
    fn a_client_that_misses_its_write_is_named() {
        let ops = [put(1, "b", 5, 0, 1), put(1, "c", 3, 1, 2), get(1, Some("a"), 4, 2, 3)];
        let violation = violation(read_your_writes(&ops)).unwrap();
        assert_eq!(violation.ops(), [2, 0]);
        assert!(violation.why.contains("after its PUT of b returned PUT_OK (timestamp 5"));
        let ops = [put(1, "a", 1, 0, 1), get(1, None, 0, 1, 2)];
        assert_eq!(broken(read_your_writes(&ops)), [1, 0]);
    }

    #[test]
    fn a_write_without_answer_promises_nothing() {
        let ops = [lost(put(1, "a", 7, 0, 1)), get(1, None, 0, 2, 3), put(1, "b", 8, 4, 5)];
        assert_eq!(violation(read_your_writes(&ops)), None);
    }
}
