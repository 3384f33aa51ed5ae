//! Whether each key behaves as a regular register with timestamps: fresh enough, never a value
//! that nobody wrote, and, apart from that, one write for each timestamp.

use super::history::by_invocation;
use super::history::{Described, Read, Wrote};
use super::history::{Kind, Op, Outcome, shown};
use super::sessions::own_puts;
use node_lab::check::describe::{Millis, Short};
use node_lab::study::{Verdict, Violation};
use std::collections::{BTreeMap, BTreeSet};

/// **Regular register.** For each key:
///
/// 1. A GET that starts after PUT_OK(t) returns timestamp t or greater (NULL is 0), or is refused.
/// 2. No value comes out of thin air: a GET's value was PUT by somebody, sent before the GET was
///    answered, under that timestamp as far as the PUT's answer says, and not by a PUT that was
///    answered "not applied".
///
/// Lamport: On Interprocess Communication, part II, Distributed Computing 1, 1986: a read returns
/// the last value written before it or one written meanwhile. Adapted to many writers, whose order
/// is that of the timestamps: newer values that are not answered yet count as written meanwhile.
/// Two GETs may see two such writes in either order; that is what `linearizable` forbids.
///
/// Evidence: a GET that returned a value.
pub(super) fn regular_register(ops: &[Op]) -> Verdict {
    let order = by_invocation(ops);
    let broken = stale(ops, &order).or_else(|| out_of_thin_air(ops, &order));
    Verdict::of(broken, has_read(ops), "no GET returned a value")
}

/// Whether any GET returned a value.
pub(super) fn has_read(ops: &[Op]) -> bool {
    ops.iter().any(|op| op.op == Kind::Get && op.outcome == Outcome::Ok)
}

/// **Unique timestamps.** For each key, a timestamp always stands for the same value, and each
/// PUT takes effect once, under one timestamp.
///
/// It is what makes a timestamp a version, and what a store in memory cannot keep for a value that
/// was read before any other node had it: when the only node that had it loses its memory, the
/// timestamp is given again. No PUT that was acknowledged is concerned.
///
/// Evidence: a timestamp of a key that was seen twice.
pub(super) fn unique_timestamps(ops: &[Op]) -> Verdict {
    let order = by_invocation(ops);
    let mut is_seen_again = false;
    let broken = two_values(ops, &order, &mut is_seen_again).or_else(|| applied_twice(ops, &order));
    Verdict::of(broken, is_seen_again, "no timestamp of a key was seen twice")
}

/// Part 1.
fn stale(ops: &[Op], order: &[usize]) -> Option<Violation> {
    let own = own_puts(ops);
    let mut answered: Vec<usize> =
        order.iter().copied().filter(|&i| ops[i].is_acknowledged_put()).collect();
    answered.sort_by_key(|&i| (ops[i].end_ns(), i));
    let mut answered = answered.into_iter().peekable();
    let mut newest: BTreeMap<&str, usize> = BTreeMap::new();
    for &i in order {
        let Some(seen) = ops[i].seen_timestamp() else { continue };
        while let Some(j) = answered.next_if(|&j| ops[j].end_ns() < ops[i].invoke_ns) {
            let put = newest.entry(&ops[j].key).or_insert(j);
            if ops[*put].timestamp < ops[j].timestamp {
                *put = j;
            }
        }
        let before = [newest.get(ops[i].key.as_str()).copied(), own[i]];
        if let Some(put) = before.into_iter().flatten().find(|&put| seen < ops[put].timestamp) {
            let (read, newer) = (Read(&ops[i]), Wrote(&ops[put]));
            let when = Millis(ops[put].end_ns());
            let why = format!("{read}, though {newer} had been acknowledged before ({when})");
            return Some(shown(ops, &[("newer write", put), ("older read", i)], why));
        }
    }
    None
}

/// The first part.
fn two_values(ops: &[Op], order: &[usize], is_seen_again: &mut bool) -> Option<Violation> {
    let mut holders: BTreeMap<(&str, u64), usize> = BTreeMap::new();
    for &i in order {
        let op = &ops[i];
        if op.outcome != Outcome::Ok {
            continue;
        }
        let holder = *holders.entry((&op.key, op.timestamp)).or_insert(i);
        *is_seen_again |= holder != i;
        if ops[holder].value != op.value {
            let why = format!(
                "one timestamp of {}, and two values: {}, and {}",
                Short(&op.key),
                Described(&ops[holder]),
                Described(op)
            );
            return Some(shown(ops, &[("one value", holder), ("other value", i)], why));
        }
    }
    None
}

/// Part 3, where a value comes from.
fn out_of_thin_air(ops: &[Op], order: &[usize]) -> Option<Violation> {
    let puts = puts_by_value(ops, order);
    for &i in order {
        let get = &ops[i];
        if get.op != Kind::Get || get.outcome != Outcome::Ok {
            continue;
        }
        let none = Vec::new();
        let writers = puts.get(&(get.key.as_str(), get.value.as_deref())).unwrap_or(&none);
        let mut whys = writers.iter().map(|j| wrong(get, &ops[*j]));
        if whys.any(|wrong| wrong.is_none()) {
            continue;
        }
        let read = Read(get);
        return Some(match writers.first() {
            Some(j) => {
                let why = format!("{read}, though {}", wrong(get, &ops[*j]).unwrap_or_default());
                shown(ops, &[("write of that value", *j), ("read of it", i)], why)
            }
            None => {
                let why = format!("{read}, which nobody PUT");
                shown(ops, &[("read of what nobody PUT", i)], why)
            }
        });
    }
    None
}

/// Why a GET cannot have its value from this PUT of it; none where it can.
fn wrong(get: &Op, put: &Op) -> Option<String> {
    let wrote = Wrote(put);
    if put.invoke_ns > get.end_ns() {
        return Some(format!("{wrote} was sent only later ({})", Millis(put.invoke_ns)));
    }
    let when = Millis(put.end_ns());
    match put.outcome {
        Outcome::NotApplied => Some(format!(
            "{wrote} had been answered with \"not applied\", and so was never to take effect ({when})"
        )),
        Outcome::Ok if put.timestamp != get.timestamp => {
            Some(format!("{wrote} was acknowledged under another timestamp ({when})"))
        }
        Outcome::Ok
        | Outcome::MayStillApply
        | Outcome::Unknown
        | Outcome::Null
        | Outcome::TryOther => None,
    }
}

/// Each PUT once: no value is seen under more timestamps than PUTs of it can have had.
fn applied_twice(ops: &[Op], order: &[usize]) -> Option<Violation> {
    let puts = puts_by_value(ops, order);
    let mut seen: BTreeMap<(&str, Option<&str>), BTreeSet<u64>> = BTreeMap::new();
    for &i in order {
        let get = &ops[i];
        if get.op != Kind::Get || get.outcome != Outcome::Ok {
            continue;
        }
        let place = (get.key.as_str(), get.value.as_deref());
        let Some(writers) = puts.get(&place) else { continue };
        let timestamps = seen.entry(place).or_default();
        timestamps.insert(get.timestamp);
        let told = writers.iter().filter(|&&j| ops[j].is_acknowledged_put());
        let told: BTreeSet<u64> = told.map(|&j| ops[j].timestamp).collect();
        let untold = writers.iter().filter(|&&j| is_uncertain(&ops[j])).count();
        if timestamps.difference(&told).count() > untold {
            let put = writers.iter().find(|&&j| is_uncertain(&ops[j]));
            let why = format!(
                "{}: that took effect more often than it was PUT, under timestamps {timestamps:?}",
                Read(get),
            );
            let put = put.map(|j| ("write of that value", *j));
            let roles: Vec<_> =
                put.into_iter().chain([("read under another timestamp", i)]).collect();
            return Some(shown(ops, &roles, why));
        }
    }
    None
}

fn is_uncertain(put: &Op) -> bool {
    matches!(put.outcome, Outcome::MayStillApply | Outcome::Unknown)
}

/// The PUTs of each value of each key, in the order in which they were sent.
fn puts_by_value<'a>(
    ops: &'a [Op],
    order: &[usize],
) -> BTreeMap<(&'a str, Option<&'a str>), Vec<usize>> {
    let mut puts: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for &i in order.iter().filter(|&&i| ops[i].op == Kind::Put) {
        puts.entry((ops[i].key.as_str(), ops[i].value.as_deref())).or_default().push(i);
    }
    puts
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOTHING, get, lost, on, put, refused, violation};
    use super::*;

    fn violated(ops: &[Op]) -> Option<Violation> {
        violation(regular_register(ops)).or_else(|| violation(unique_timestamps(ops)))
    }

    #[test]
    fn what_nobody_read_shows_nothing() {
        let ops = [put(1, "a", 1, 0, 1), on("x", put(2, "b", 2, 2, 3)), get(3, None, 0, 0, 1)];
        for verdict in [regular_register(&ops), unique_timestamps(&ops)] {
            assert!(matches!(verdict, Verdict::Unknown { .. }), "{verdict:?}");
        }
        let read = [put(1, "a", 1, 0, 1), get(3, Some("a"), 1, 2, 3)];
        assert_eq!(
            [regular_register(&read), unique_timestamps(&read)],
            [Verdict::Held, Verdict::Held]
        );
    }

    fn property(ops: &[Op]) -> Option<&'static str> {
        let broken = |verdict| violation(verdict).is_some();
        match (broken(regular_register(ops)), broken(unique_timestamps(ops))) {
            (true, _) => Some("regular_register"),
            (false, true) => Some("unique_timestamps"),
            (false, false) => None,
        }
    }

    fn broken(ops: &[Op]) -> Vec<usize> {
        violated(ops).map(|violation| violation.ops()).unwrap_or_default()
    }

    fn why(ops: &[Op]) -> String {
        violated(ops).unwrap().why
    }

    #[test]
    fn the_last_value_or_one_written_meanwhile_holds() {
        let ops = [
            get(2, None, 0, 0, 1),
            put(1, "a", 1, 2, 3),
            put(1, "b", 2, 10, 20),
            get(2, Some("a"), 1, 11, 12),
            get(3, Some("b"), 2, 11, 12),
            // New, then old: regular, though not linearizable.
            get(4, Some("a"), 1, 13, 14),
            get(4, Some("b"), 2, 21, 22),
            refused(get(5, None, 0, 23, 24)),
            on("other", get(5, None, 0, 25, 26)),
        ];
        assert_eq!(broken(&ops), NOTHING);
    }

    #[test]
    fn a_get_that_misses_an_answered_put_is_named_with_the_newest() {
        let ops = [
            put(1, "a", 1, 0, 1),
            put(2, "b", 2, 0, 2),
            put(3, "c", 3, 0, 9),
            get(4, Some("a"), 1, 3, 4),
        ];
        assert_eq!(broken(&ops), [3, 1]);
        assert_eq!(
            why(&ops),
            "client 4's GET k returned a (timestamp 1) at 0.0 ms, though client 2's PUT k=b \
             (timestamp 2) had been acknowledged before (0.0 ms)"
        );
        assert_eq!(broken(&[put(1, "a", 1, 0, 1), get(2, None, 0, 2, 3)]), [1, 0]);
    }

    #[test]
    fn equal_times_overlap_but_for_one_client() {
        assert_eq!(broken(&[put(1, "a", 1, 0, 5), get(2, None, 0, 5, 6)]), NOTHING);
        let stale = [put(1, "a", 1, 0, 5), get(1, None, 0, 5, 6)];
        assert_eq!((property(&stale), broken(&stale)), (Some("regular_register"), vec![1, 0]));
    }

    #[test]
    fn a_timestamp_has_one_value() {
        let ops = [put(1, "a", 1, 0, 1), lost(put(2, "b", 0, 0, 1)), get(3, Some("b"), 1, 2, 3)];
        assert_eq!(broken(&ops), [2, 0]);
        assert!(why(&ops).starts_with("one timestamp of k, and two values: client 1 PUT"));
        assert_eq!(property(&ops), Some("unique_timestamps"));
        // Two keys have timestamps of their own as far as this property goes.
        assert_eq!(broken(&[put(1, "a", 1, 0, 1), on("x", put(2, "b", 1, 0, 1))]), NOTHING);
    }

    #[test]
    fn a_value_has_a_writer() {
        assert!(
            why(&[get(1, Some("a"), 1, 0, 1)])
                .ends_with("(timestamp 1) at 0.0 ms, which nobody PUT")
        );
        assert!(
            why(&[on("x", put(1, "a", 1, 0, 1)), get(2, Some("a"), 1, 2, 3)]).contains("nobody")
        );
        let late = [get(1, Some("a"), 1, 0, 1), put(2, "a", 1, 2, 3)];
        assert_eq!(broken(&late), [0, 1]);
        assert!(
            why(&late).ends_with("client 2's PUT k=a (timestamp 1) was sent only later (0.0 ms)")
        );
        let other = [put(2, "a", 1, 0, 1), get(1, Some("a"), 2, 2, 3)];
        assert!(why(&other).ends_with("was acknowledged under another timestamp (0.0 ms)"));
        let not = Op { outcome: Outcome::NotApplied, ..put(2, "a", 0, 0, 1) };
        assert_eq!(
            why(&[not, get(1, Some("a"), 2, 2, 3)]),
            "client 1's GET k returned a (timestamp 2) at 0.0 ms, though client 2's PUT k=a had \
             been answered with \"not applied\", and so was never to take effect (0.0 ms)"
        );
    }

    #[test]
    fn a_put_without_answer_may_have_written() {
        let may = Op { outcome: Outcome::MayStillApply, ..put(3, "b", 0, 0, 1) };
        let ops = [
            lost(put(2, "a", 0, 0, 1)),
            may,
            get(1, Some("a"), 1, 2, 3),
            get(1, Some("b"), 2, 4, 5),
        ];
        assert_eq!(broken(&ops), NOTHING);
    }

    #[test]
    fn a_put_takes_effect_once() {
        let mut ops = vec![
            lost(put(2, "a", 0, 0, 1)),
            put(3, "b", 2, 0, 9),
            get(1, Some("a"), 1, 2, 3),
            get(1, Some("a"), 3, 4, 5),
        ];
        assert_eq!(broken(&ops), [3, 0]);
        assert!(why(&ops).ends_with("under timestamps {1, 3}"));
        assert_eq!(property(&ops), Some("unique_timestamps"));
        ops.push(put(4, "a", 3, 0, 9));
        assert_eq!(broken(&ops), NOTHING, "two PUTs of one value have a timestamp each");
    }
}
