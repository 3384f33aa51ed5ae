//! Whether each key behaves as one register: which operations say something about it, what to say
//! when they cannot be ordered. The search itself is in [`super::search`].

use super::history::{Described, Kind, Op, Outcome, Read, by_client, by_invocation, shown};
use super::regular::has_read;
use node_lab::check::describe::Short;
use node_lab::check::search::{Found, NEVER, Step, UNWRITTEN, search};
use node_lab::check::zones::are_in_conflict;
use node_lab::study::{Verdict, Violation};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};

/// How many states the search for one key's linearization may visit, about 100 bytes each: some
/// hundred times what a valid history of 10,000 operations needs.
const MAX_STATES: usize = 1_000_000;

/// How many states each step of explaining a violation may visit. What it does not find in time
/// only makes the explanation longer.
const MAX_STATES_TO_EXPLAIN: usize = 50_000;

/// How many operations a verdict describes besides the one that broke the property; it lists all.
const MAX_DESCRIBED: usize = 4;

/// **Linearizable.** For each key there is an order of its operations in which each GET returns
/// the value of the last PUT before it, or NULL when there is none, and in which an operation
/// whose answer came before another was sent goes first. PUTs that were not answered, or answered
/// "may still apply", take effect at any one time after they were sent, or never; PUTs that were
/// answered "not applied" never do; GETs that were refused or not answered say nothing.
///
/// A violation names the first answer that no order explains: with the answers before it alone
/// the history is linearizable. With it go those operations that suffice to rule it out.
///
/// Herlihy, Wing: Linearizability: A Correctness Condition for Concurrent Objects, TOPLAS 12(3),
/// 1990; it is local (theorem 1), so that each key is checked by itself.
///
/// Evidence: a GET that returned a value.
pub(super) fn linearizable(ops: &[Op]) -> Verdict {
    linearizable_within(ops, MAX_STATES)
}

fn linearizable_within(ops: &[Op], max_states: usize) -> Verdict {
    let mut first: Option<(u64, Violation)> = None;
    let mut unknown = None;
    for (key, events) in events_by_key(ops) {
        match find(&events, max_states) {
            Found::Order => {}
            Found::Exhausted => {
                unknown.get_or_insert_with(|| {
                    format!("gave up on key {} after {max_states} states", Short(key))
                });
            }
            Found::NoOrder => {
                let core = explain(&events, max_states);
                let end_ns = core.first().map_or(NEVER, |event| event.return_ns);
                if first.as_ref().is_none_or(|(before, _)| end_ns < *before) {
                    first = Some((end_ns, violation(ops, &core)));
                }
            }
        }
    }
    match (first, unknown) {
        (Some((_, violation)), _) => Verdict::Violated(violation),
        (None, Some(why)) => Verdict::Undecided { why },
        (None, None) => Verdict::of(None, has_read(ops), "no GET returned a value"),
    }
}

/// An operation that says something about its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Event {
    /// Its index in the history.
    op: usize,
    is_write: bool,
    value: u32,
    invoke_ns: u64,
    /// [`NEVER`] for a write that may take effect at any time or not at all.
    return_ns: u64,
    /// The client's previous event, when that was answered at the very time this one was sent.
    after: Option<usize>,
}

impl Event {
    fn is_answered(&self) -> bool {
        self.return_ns != NEVER
    }
}

/// The events of each key in the order in which they were sent, their values numbered.
fn events_by_key(ops: &[Op]) -> BTreeMap<&str, Vec<Event>> {
    type Numbers<'a> = HashMap<&'a str, u32, BuildHasherDefault<DefaultHasher>>;
    let after = just_before(ops);
    let mut keys: BTreeMap<&str, (Numbers, Vec<Event>)> = BTreeMap::new();
    for i in by_invocation(ops) {
        let op = &ops[i];
        let Some(is_sure) = is_sure(op) else { continue };
        let (numbers, events) = keys.entry(&op.key).or_default();
        let value = match op.value.as_deref() {
            Some(value) if op.outcome != Outcome::Null => {
                let next = numbers.len() as u32 + UNWRITTEN + 1;
                *numbers.entry(value).or_insert(next)
            }
            _ => UNWRITTEN,
        };
        events.push(Event {
            op: i,
            is_write: op.op == Kind::Put,
            value,
            invoke_ns: op.invoke_ns,
            return_ns: if is_sure { op.end_ns().max(op.invoke_ns) } else { NEVER },
            after: after[i],
        });
    }
    keys.into_iter().map(|(key, (_, events))| (key, events)).collect()
}

/// Whether an operation certainly took place, as its answer says; none when it says nothing.
fn is_sure(op: &Op) -> Option<bool> {
    match (op.op, op.outcome) {
        (Kind::Put, Outcome::Ok) => Some(true),
        (Kind::Get, Outcome::Ok | Outcome::Null) => op.return_ns.map(|_| true),
        (Kind::Put, Outcome::MayStillApply | Outcome::Unknown) => Some(false),
        (Kind::Put, Outcome::NotApplied | Outcome::Null | Outcome::TryOther)
        | (
            Kind::Get,
            Outcome::TryOther | Outcome::NotApplied | Outcome::MayStillApply | Outcome::Unknown,
        ) => None,
    }
}

/// For each operation, the last one before it of the same client and key that certainly took
/// place, if its answer came at the very time at which this one was sent. At all other times the
/// times alone say what goes first.
fn just_before(ops: &[Op]) -> Vec<Option<usize>> {
    let mut before = vec![None; ops.len()];
    let mut last: BTreeMap<(u64, &str), usize> = BTreeMap::new();
    for i in by_client(ops) {
        let op = &ops[i];
        let Some(is_sure) = is_sure(op) else { continue };
        let session = (op.client, op.key.as_str());
        before[i] = last.get(&session).copied().filter(|&j| ops[j].end_ns() == op.invoke_ns);
        if is_sure {
            last.insert(session, i);
        }
    }
    before
}

/// Searches for a linearization of `events`, which are in the order in which they were sent.
fn find(events: &[Event], max_states: usize) -> Found {
    let (steps, values) = steps(events);
    if are_in_conflict(&steps, values) {
        return Found::NoOrder;
    }
    search(&steps, values, max_states).0
}

/// The steps of a search, and how many values there are.
///
/// What is known of writes without an answer is used here. One whose value nobody read is left
/// out, as leaving it out never harms a read. One that alone wrote a value that was read did take
/// place, before the first such read was answered. Of several others with one value, the one that
/// was sent first can always be the first to go.
fn steps(events: &[Event]) -> (Vec<Step>, usize) {
    let values = events.iter().map(|event| event.value as usize + 1).max().unwrap_or(1);
    let mut writers = vec![0_u32; values];
    let mut first_read_ns = vec![NEVER; values];
    for event in events {
        let value = event.value as usize;
        if event.is_write {
            writers[value] += 1;
        } else {
            first_read_ns[value] = first_read_ns[value].min(event.return_ns);
        }
    }
    let mut steps: Vec<Step> = Vec::with_capacity(events.len());
    // Of operations to steps, for the few that `after` names.
    let mut places: BTreeMap<usize, u32> =
        events.iter().filter_map(|event| Some((event.after?, u32::MAX))).collect();
    let mut twins: Vec<Option<u32>> = vec![None; values];
    for event in events {
        let value = event.value as usize;
        let place = steps.len() as u32;
        let mut step = Step {
            is_write: event.is_write,
            value: event.value,
            invoke_ns: event.invoke_ns,
            return_ns: event.return_ns,
            is_optional: !event.is_answered(),
            after: event.after.and_then(|op| places.get(&op).copied()).filter(|&at| at != u32::MAX),
        };
        if step.is_optional {
            match (first_read_ns[value], writers[value]) {
                (NEVER, _) => continue,
                (read_ns, 1) => {
                    step.is_optional = false;
                    step.return_ns = read_ns.max(event.invoke_ns);
                }
                _ if step.after.is_none() => step.after = twins[value].replace(place),
                _ => {}
            }
        }
        if let Some(at) = places.get_mut(&event.op) {
            *at = place;
        }
        steps.push(step);
    }
    (steps, values)
}

/// The events of a history without linearization that suffice to rule out one, its first answer
/// that no order explains first. Never empty.
fn explain(events: &[Event], max_states: usize) -> Vec<Event> {
    let mut answers: Vec<&Event> = events.iter().filter(|event| event.is_answered()).collect();
    answers.sort_by_key(|event| (event.return_ns, event.invoke_ns, event.op));
    // Histories up to an answer are linearizable up to some answer, and never again from the next.
    let (mut held, mut broken) = (0, answers.len());
    while broken - held > 1 {
        let middle = held + (broken - held) / 2;
        match find(&up_to(events, &answers[..middle]), max_states) {
            Found::NoOrder => broken = middle,
            Found::Order | Found::Exhausted => held = middle,
        }
    }
    let mut core = up_to(events, &answers[..broken]);
    // A value goes with all its reads and writes, or a read without the others: what is ruled out
    // by the rest alone is then ruled out by the whole.
    let value = |event: &Event| (event.value != UNWRITTEN).then_some(event.value);
    core = shrink(core, value);
    core = shrink(core, |event| (!event.is_write).then_some(event.op));
    core = shrink(core, value);
    let answered = core.iter().filter(|event| event.is_answered());
    let last = answered.max_by_key(|event| (event.return_ns, event.invoke_ns, event.op));
    if let Some(last) = last.map(|last| last.op) {
        core.sort_by_key(|event| event.op != last);
    }
    core
}

/// What was known when the last of `answers`, the first answers of the history, had come.
fn up_to(events: &[Event], answers: &[&Event]) -> Vec<Event> {
    let Some(last) = answers.last() else { return Vec::new() };
    let end = (last.return_ns, last.invoke_ns, last.op);
    let known = events.iter().filter(|event| event.invoke_ns <= last.return_ns);
    known
        .filter_map(|event| {
            if (event.return_ns, event.invoke_ns, event.op) <= end {
                Some(*event)
            } else {
                event.is_write.then_some(Event { return_ns: NEVER, ..*event })
            }
        })
        .collect()
}

/// Leaves out as many groups of events as it can so that there is still no linearization: half of
/// them at once, then ever smaller parts (after Zeller, Hildebrandt: Simplifying and Isolating
/// Failure-Inducing Input, TSE 28(2), 2002). Events without a group stay.
fn shrink<G: Ord + Copy>(
    mut events: Vec<Event>,
    group: impl Fn(&Event) -> Option<G>,
) -> Vec<Event> {
    let mut groups: Vec<G> = events.iter().filter_map(&group).collect();
    groups.sort_unstable();
    groups.dedup();
    let mut part = groups.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        while at < groups.len() {
            let end = (at + part).min(groups.len());
            let out = &groups[at..end];
            let is_out =
                |event: &Event| group(event).is_some_and(|g| out.binary_search(&g).is_ok());
            let rest: Vec<Event> = events.iter().copied().filter(|event| !is_out(event)).collect();
            if find(&rest, MAX_STATES_TO_EXPLAIN) == Found::NoOrder {
                events = rest;
                groups.drain(at..end);
            } else {
                at = end;
            }
        }
        part = if part == 1 { 0 } else { part.div_ceil(2) };
    }
    events
}

fn violation(ops: &[Op], core: &[Event]) -> Violation {
    let mut why = match core.first() {
        Some(event) if ops[event.op].op == Kind::Get => {
            format!("no order explains that {}", Read(&ops[event.op]))
        }
        Some(event) => format!("no order explains {}", Described(&ops[event.op])),
        None => "there is no order".into(),
    };
    for (i, event) in core.iter().skip(1).take(MAX_DESCRIBED).enumerate() {
        why += if i == 0 { ", beside: " } else { ", " };
        why += &Described(&ops[event.op]).to_string();
    }
    if let Some(more @ 1..) = core.len().checked_sub(1 + MAX_DESCRIBED) {
        why += &format!(" and {more} more");
    }
    let Some((last, others)) = core.split_first() else { return Violation::of(Vec::new(), why) };
    let read = &ops[last.op];
    let is_newer = |event: &Event| {
        let other = &ops[event.op];
        read.op == Kind::Get && other.timestamp > read.timestamp && other.end_ns() < read.invoke_ns
    };
    let role = |event: &Event| match (is_newer(event), event.is_write) {
        (true, true) => "newer write",
        (true, false) => "newer read",
        (false, true) => "write",
        (false, false) => "read",
    };
    let mut roles: Vec<_> = others.iter().map(|event| (role(event), event.op)).collect();
    let is_older = others.iter().any(is_newer);
    roles.push((if is_older { "older read" } else { "answer that fits no order" }, last.op));
    shown(ops, &roles, why)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOTHING, get, lost, on, put, refused, register_run, small_run};
    use super::*;
    use node_protocols::core::Rng;
    use std::time::Instant;
    use todc_utils::linearizability::WGLChecker;
    use todc_utils::linearizability::history::{Action, History};
    use todc_utils::specifications::register::RegisterOperation::{self, Read, Write};
    use todc_utils::specifications::register::RegisterSpecification;

    fn broken(ops: &[Op]) -> Vec<usize> {
        match linearizable(ops) {
            Verdict::Held | Verdict::Unknown { .. } => Vec::new(),
            Verdict::Violated(violation) => violation.ops(),
            Verdict::Undecided { why } => panic!("{why}"),
        }
    }

    #[test]
    fn what_nobody_read_shows_nothing() {
        for ops in [&[][..], &[put(1, "a", 0, 0, 1), get(2, None, 0, 0, 1)]] {
            assert!(matches!(linearizable(ops), Verdict::Unknown { .. }), "{ops:?}");
        }
        let read = [put(1, "a", 0, 0, 1), get(2, Some("a"), 0, 2, 3)];
        assert_eq!(linearizable(&read), Verdict::Held);
    }

    #[test]
    fn overlapping_operations_may_have_any_order() {
        let ops = [
            put(1, "a", 0, 0, 30),
            put(2, "b", 0, 0, 30),
            put(3, "c", 0, 0, 30),
            get(4, Some("c"), 0, 1, 5),
            get(4, Some("b"), 0, 6, 9),
            get(4, Some("a"), 0, 10, 12),
            on("x", get(4, None, 0, 13, 14)),
        ];
        assert_eq!(broken(&ops), NOTHING);
    }

    /// The same PUTs in another order leave another value, from which the search goes on again.
    #[test]
    fn values_that_are_written_again_are_told_apart() {
        let ops = [
            put(1, "a", 0, 0, 10),
            put(2, "b", 0, 0, 10),
            get(1, Some("a"), 0, 11, 12),
            put(1, "b", 0, 20, 21),
            get(1, Some("b"), 0, 22, 23),
            put(1, "a", 0, 24, 25),
            get(1, Some("a"), 0, 26, 27),
        ];
        assert_eq!(broken(&ops), NOTHING);
    }

    #[test]
    fn a_stale_read_is_named_with_what_rules_it_out() {
        let ops = [
            get(9, None, 0, 0, 1),
            put(1, "a", 1, 2, 3),
            put(1, "b", 2, 4, 5),
            get(2, Some("b"), 2, 6, 7),
            get(3, Some("a"), 1, 8, 9),
            get(4, Some("b"), 2, 10, 11),
        ];
        let Verdict::Violated(violation) = linearizable(&ops) else { panic!("it is stale") };
        assert_eq!(violation.ops(), [4, 1, 2]);
        assert_eq!(
            violation.why,
            "no order explains that client 3's GET k returned a (timestamp 1) at 0.0 ms, beside: \
             client 1 PUT k=a returned PUT_OK (timestamp 1, 0.0 to 0.0 ms), \
             client 1 PUT k=b returned PUT_OK (timestamp 2, 0.0 to 0.0 ms)"
        );
    }

    #[test]
    fn new_then_old_is_regular_but_not_linearizable() {
        let ops = [
            put(1, "a", 1, 0, 1),
            put(1, "b", 2, 2, 20),
            get(2, Some("b"), 2, 3, 4),
            get(3, Some("a"), 1, 5, 6),
        ];
        assert_eq!(super::super::regular::regular_register(&ops), Verdict::Held);
        assert_eq!(broken(&ops), [3, 0, 1, 2]);
    }

    #[test]
    fn values_from_nowhere_and_null_after_a_put_are_named() {
        assert_eq!(broken(&[put(1, "a", 1, 0, 1), get(2, Some("z"), 1, 2, 3)]), [1]);
        assert_eq!(broken(&[put(1, "a", 1, 0, 1), get(2, None, 0, 2, 3)]), [1, 0]);
        assert_eq!(broken(&[get(2, Some("a"), 1, 0, 1), put(1, "a", 1, 2, 3)]), [0]);
        let not = Op { outcome: Outcome::NotApplied, ..put(1, "a", 0, 0, 1) };
        assert_eq!(broken(&[not, get(2, Some("a"), 1, 2, 3)]), [1]);
    }

    #[test]
    fn a_put_without_answer_takes_effect_once_at_any_time_or_never() {
        let late = [
            lost(put(1, "a", 0, 0, 1)),
            get(2, None, 0, 2, 3),
            put(2, "b", 1, 4, 5),
            get(2, Some("a"), 2, 6, 7),
        ];
        assert_eq!(broken(&late), NOTHING);
        let may = Op { outcome: Outcome::MayStillApply, ..put(1, "a", 0, 0, 1) };
        assert_eq!(broken(&[may.clone(), late[1].clone()]), NOTHING);
        assert_eq!(broken(&[may, late[3].clone()]), NOTHING);
        let twice = [
            lost(put(1, "a", 0, 0, 1)),
            get(2, Some("a"), 1, 2, 3),
            put(2, "b", 2, 4, 5),
            get(2, Some("a"), 3, 6, 7),
        ];
        assert_eq!(broken(&twice), [3, 0, 1, 2]);
        let with_another = [&twice[..], &[lost(put(3, "a", 0, 0, 1))]].concat();
        assert_eq!(broken(&with_another), NOTHING);
    }

    #[test]
    fn refused_and_unanswered_gets_say_nothing() {
        let ops =
            [put(1, "a", 1, 0, 1), refused(get(2, None, 0, 2, 3)), lost(get(3, None, 0, 2, 3))];
        assert_eq!(broken(&ops), NOTHING);
    }

    #[test]
    fn equal_times_overlap_but_for_one_client() {
        assert_eq!(broken(&[put(1, "a", 1, 0, 5), get(2, None, 0, 5, 6)]), NOTHING);
        assert_eq!(broken(&[put(1, "a", 1, 0, 5), get(1, None, 0, 5, 6)]), [1, 0]);
    }

    #[test]
    fn the_first_violation_of_all_keys_is_named() {
        let ops = [
            put(1, "a", 1, 0, 1),
            on("x", put(1, "a", 2, 2, 3)),
            get(2, None, 0, 8, 9),
            on("x", get(3, None, 0, 6, 7)),
        ];
        assert_eq!(broken(&ops), [3, 1]);
    }

    #[test]
    fn a_search_that_gives_up_says_unknown() {
        // Every order of the PUTs must be tried: the last GETs see each value written twice.
        let values = ["a", "b", "c", "d", "e", "f"];
        let mut ops = Vec::new();
        for (i, value) in values.iter().enumerate() {
            ops.push(put(2 * i as u64, value, 0, 0, 100));
            ops.push(put(2 * i as u64 + 1, value, 0, 0, 100));
        }
        let mut at = 1;
        for _ in 0..3 {
            ops.push(get(99, Some("a"), 0, at, at + 1));
            ops.push(get(99, Some("b"), 0, at + 2, at + 3));
            at += 4;
        }
        assert!(matches!(linearizable_within(&ops, 20), Verdict::Undecided { .. }));
        assert!(matches!(linearizable(&ops), Verdict::Violated(_)));
        // A violation elsewhere is one all the same.
        ops.push(on("x", get(100, Some("z"), 0, 0, 1)));
        assert!(matches!(linearizable_within(&ops, 20), Verdict::Violated(_)));
    }

    /// A large valid run needs about as many states as it has operations; time follows.
    #[test]
    fn large_valid_runs_are_cheap() {
        for seed in 0..5 {
            let ops = register_run(seed, 8, 5_000);
            for events in events_by_key(&ops).values() {
                let (steps, values) = steps(events);
                let (found, states) = search(&steps, values, MAX_STATES);
                assert_eq!(found, Found::Order);
                assert!(states <= ops.len(), "seed {seed}: {states} states");
            }
        }
    }

    /// One read of a large run is made stale; the checker names that very read.
    #[test]
    fn one_wrong_read_among_thousands_is_found() {
        for (seed, clients) in (0..20).zip([8, 64].into_iter().cycle()) {
            let mut ops = register_run(seed, clients, 2_000);
            let puts: Vec<usize> = (0..1_000).filter(|&i| ops[i].op == Kind::Put).collect();
            let old = ops[puts[seed as usize]].value.clone();
            let at = (1_500..2_000).find(|&i| ops[i].op == Kind::Get).unwrap();
            ops[at].value = old;
            let broken = broken(&ops);
            assert_eq!(broken[0], at, "seed {seed}");
            assert!(broken.len() <= 8, "seed {seed}: {broken:?}");
        }
    }

    #[test]
    #[ignore = "measures; run it with --release --nocapture"]
    fn speed() {
        for (count, clients) in [(1_000, 8), (10_000, 8), (100_000, 8), (10_000, 64)] {
            let ops = register_run(7, clients, count);
            let mut times: Vec<_> = (0..15)
                .map(|_| {
                    let start = Instant::now();
                    assert_eq!(linearizable(&ops), Verdict::Held);
                    start.elapsed()
                })
                .collect();
            times.sort();
            let (best, median, worst) = (times[0], times[7], times[14]);
            println!("{count} operations, {clients} clients: {best:?} {median:?} {worst:?}");
            let mut ops = ops;
            let at = (count / 2..count).find(|&i| ops[i].op == Kind::Get).unwrap();
            ops[at].value = ops[..8].iter().find(|op| op.op == Kind::Put).unwrap().value.clone();
            let start = Instant::now();
            assert_eq!(broken(&ops)[0], at);
            println!("  violated and explained: {:?}", start.elapsed());
        }
    }

    /// The verdict of an independent checker. It knows no unknown outcomes and no equal times: a
    /// write without answer is answered at the end, and calls go before answers.
    fn todc(ops: &[Op]) -> bool {
        let mut points = Vec::new();
        for (i, op) in ops.iter().enumerate() {
            let number = op.value.as_ref().map_or(0, |value| u32::from(value.as_bytes()[0]));
            let end = if op.outcome == Outcome::MayStillApply { NEVER } else { op.end_ns() };
            let step: RegisterOperation<u32> = match op.op {
                Kind::Put => Write(number),
                Kind::Get => Read(Some(number)),
            };
            points.push((op.invoke_ns, false, i, Action::Call(step)));
            points.push((end, true, i, Action::Response(step)));
        }
        points.sort_by_key(|(at, is_end, i, _)| (*at, *is_end, *i));
        let actions = points.into_iter().map(|(_, _, i, action)| (i, action)).collect();
        WGLChecker::<RegisterSpecification<u32>>::is_linearizable(History::from_actions(actions))
    }

    /// What was known of `ops` just after, or just before, the answer to the GET `at`.
    fn known(ops: &[Op], at: usize, with: bool) -> Vec<Op> {
        let rank = |i: usize| (ops[i].end_ns(), ops[i].invoke_ns, i);
        let sent = (0..ops.len()).filter(|&i| ops[i].invoke_ns <= ops[at].end_ns());
        sent.filter_map(|i| {
            if rank(i) < rank(at) || (with && i == at) {
                Some(ops[i].clone())
            } else {
                let may = Op { outcome: Outcome::MayStillApply, ..ops[i].clone() };
                (may.op == Kind::Put).then_some(may)
            }
        })
        .collect()
    }

    #[test]
    fn agrees_with_an_independent_checker() {
        const HISTORIES: usize = 20_000;
        let mut rng = Rng::stream(1, "todc");
        let mut invalid = 0;
        for n in 0..HISTORIES {
            let ops = small_run(&mut rng, false);
            for events in events_by_key(&ops).values() {
                let (steps, values) = steps(events);
                let (found, _) = search(&steps, values, MAX_STATES);
                assert_eq!(found, find(events, MAX_STATES), "history {n}, without zones");
            }
            match linearizable(&ops) {
                Verdict::Held | Verdict::Unknown { .. } => {
                    assert!(todc(&ops), "history {n}: {ops:#?}");
                }
                Verdict::Violated(violation) => {
                    invalid += 1;
                    assert!(!todc(&ops), "history {n}: {ops:#?}");
                    let at = violation.ops()[0];
                    assert!(!todc(&known(&ops, at, true)), "history {n}, {at}: {ops:#?}");
                    let before = known(&ops, at, false);
                    assert!(before.is_empty() || todc(&before), "history {n}, {at}: {ops:#?}");
                    let core: Vec<Op> = violation.ops().iter().map(|&i| ops[i].clone()).collect();
                    assert!(!todc(&core), "history {n}, {:?}: {ops:#?}", violation.ops());
                }
                Verdict::Undecided { why } => panic!("history {n}: {why}"),
            }
        }
        let share = invalid * 100 / HISTORIES;
        assert!((28..40).contains(&share), "{share} % are not linearizable");
    }

    /// Whether the operations of `left` can follow in some order on a register that holds `value`,
    /// straight from the definition.
    fn by_definition(ops: &[Op], left: &[usize], value: Option<&str>) -> bool {
        let precedes = |a: usize, b: usize| {
            let (x, y) = (&ops[a], &ops[b]);
            let by_one = x.client == y.client && a < b;
            x.outcome != Outcome::MayStillApply
                && (x.end_ns() < y.invoke_ns || by_one && x.end_ns() == y.invoke_ns)
        };
        let must = |i: usize| ops[i].outcome != Outcome::MayStillApply;
        !left.iter().any(|&i| must(i))
            || left.iter().any(|&i| {
                let fits = ops[i].op == Kind::Put || ops[i].value.as_deref() == value;
                let rest: Vec<usize> = left.iter().copied().filter(|&j| j != i).collect();
                fits && !rest.iter().any(|&j| precedes(j, i))
                    && by_definition(ops, &rest, ops[i].value.as_deref())
            })
    }

    #[test]
    fn agrees_with_the_definition_when_clients_send_at_once() {
        let mut rng = Rng::stream(2, "definition");
        let mut invalid = 0;
        for n in 0..5_000 {
            let mut ops = small_run(&mut rng, true);
            ops.truncate(7);
            let all: Vec<usize> = (0..ops.len()).collect();
            let valid = by_definition(&ops, &all, None);
            let is_broken = matches!(linearizable(&ops), Verdict::Violated(_));
            assert_eq!(is_broken, !valid, "history {n}: {ops:#?}");
            invalid += usize::from(!valid);
        }
        assert!(invalid > 1_000, "{invalid} are not linearizable");
    }
}
