//! Linearizability against a sequential specification: for what is no register.
//!
//! A study says what an operation asks, what it was told, and what one does to a state;
//! [`linearizable`] finds out whether the operations can have taken place one after the other, each
//! at one time between its request and its answer.
//!
//! Registers have a search of their own, [`search`](super::search) with [`zones`](super::zones): it
//! knows that a read of the present value can go first, and that a value with readers left is not
//! overwritten, so that little is left to try. A [`Spec`] is for anything else: counters, queues,
//! locks, compare-and-swap.
//!
//! Wing, Gong: Testing and Verifying Concurrent Objects, JPDC 17, 1993: take an operation that no
//! other precedes, apply it, go on; go back where none fits. Lowe: Testing for Linearizability,
//! Concurrency and Computation 29(4), 2017: never go on twice from one set of taken operations and
//! one state. Herlihy, Wing: Linearizability, TOPLAS 12(3), 1990, theorem 1: objects are judged one
//! by one, so a [`Spec::key`] makes many short searches of a long one.

use super::{Operation, Run, Verdict, Violation};
use crate::check::describe::{Millis, Short};
use crate::check::search::{Found, NEVER};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash};

/// How many states the search for one key's order may visit: each is kept, with its state.
const MAX_STATES: usize = 200_000;

/// What operations do, one after the other.
///
/// ```
/// use node_lab::study::spec::{Answer, Spec};
/// use node_lab::study::{Operation, Run};
/// # use serde::Deserialize;
///
/// # #[derive(Deserialize)]
/// # enum Request { Add { amount: u64 }, Total {} }
/// # #[derive(Deserialize)]
/// # struct Reply { total: u64 }
/// /// A counter whose additions answer the new total.
/// struct Total;
///
/// impl Spec for Total {
///     const PROTOCOL: &'static str = "counter";
///     type State = u64;
///     type Input = u64;
///     type Output = u64;
///
///     fn input(run: &Run, operation: &Operation) -> Option<u64> {
///         Some(match run.request(operation)? {
///             Request::Add { amount } => amount,
///             Request::Total {} => 0,
///         })
///     }
///
///     fn output(run: &Run, operation: &Operation) -> Answer<u64> {
///         run.reply(operation).map_or(Answer::Maybe, |Reply { total }| Answer::Told(total))
///     }
///
///     fn step(state: &u64, input: &u64, output: Option<&u64>) -> Option<u64> {
///         let total = state + input;
///         output.is_none_or(|told| *told == total).then_some(total)
///     }
/// }
/// ```
pub trait Spec: 'static {
    /// Whose operations it is about.
    const PROTOCOL: &'static str;
    /// What the operations so far have made of nothing.
    type State: Clone + Eq + Hash + Default;
    /// What an operation asks.
    type Input: Debug;
    /// What it is told.
    type Output: Debug;

    /// What an operation asks; none where that says nothing of this.
    fn input(run: &Run, operation: &Operation) -> Option<Self::Input>;
    /// What an operation that was answered was told.
    fn output(run: &Run, operation: &Operation) -> Answer<Self::Output>;
    /// The state after an operation; none when it cannot have had this output there. Without an
    /// output nobody knows what it was, and any will do.
    fn step(
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;
    /// The object that it is about, where there are several: each begins with the default state.
    fn key(input: &Self::Input) -> Option<String> {
        let _ = input;
        None
    }
    /// Whether an answer could have been another: what only acknowledges is no evidence.
    fn is_evidence(input: &Self::Input, output: &Self::Output) -> bool {
        let _ = (input, output);
        true
    }
}

/// What an answer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer<T> {
    /// The operation took place, and had this output.
    Told(T),
    /// It may take place at any time after it was asked, or never, as one without an answer.
    Maybe,
    /// It never does.
    Never,
}

/// **Linearizable.** For each key there is an order of its operations, each of them at one time
/// between its request and its answer, in which the specification allows each answer. Operations
/// without an answer take effect at any time after their request, or never.
///
/// A violation names the first answer that no order explains: with the answers before it alone
/// there is one. The operations that were under way beside it go with it.
///
/// Undecided where the search of a key visits too many states.
pub fn linearizable<S: Spec>(run: &Run) -> Verdict {
    linearizable_within::<S>(run, MAX_STATES)
}

fn linearizable_within<S: Spec>(run: &Run, max_states: usize) -> Verdict {
    let (mut first, mut gave_up, mut has_evidence) = (None, None, false);
    for (key, calls) in calls_by_key::<S>(run) {
        let told =
            |call: &Call<S>| call.output.as_ref().is_some_and(|o| S::is_evidence(&call.input, o));
        has_evidence |= calls.iter().any(told);
        match search(&calls.iter().collect::<Vec<_>>(), NEVER, max_states) {
            Found::Order => {}
            Found::Exhausted => {
                let key = key.map_or_else(String::new, |key| format!(" on key {}", Short(&key)));
                gave_up.get_or_insert(format!("gave up{key} after {max_states} states"));
            }
            Found::NoOrder => {
                let (at, violation) = explain(&calls, max_states);
                if first.as_ref().is_none_or(|(before, _)| at < *before) {
                    first = Some((at, violation));
                }
            }
        }
    }
    match (first, gave_up) {
        (Some((_, violation)), _) => Verdict::Violated(violation),
        (None, Some(why)) => Verdict::Undecided { why },
        (None, None) => Verdict::of(None, has_evidence, "no operation was told anything"),
    }
}

/// An operation that says something.
struct Call<S: Spec> {
    /// Its place in the run.
    place: usize,
    client: u64,
    input: S::Input,
    /// None where it may take effect at any time, or never.
    output: Option<S::Output>,
    invoke_ns: u64,
    /// [`NEVER`] without an output.
    return_ns: u64,
    /// The client's call before it in the list, when that was answered at the very time this one
    /// was sent.
    after: Option<usize>,
}

/// The calls of each key, in the order in which they were sent.
fn calls_by_key<S: Spec>(run: &Run) -> BTreeMap<Option<String>, Vec<Call<S>>> {
    let mut keys: BTreeMap<Option<String>, Vec<Call<S>>> = BTreeMap::new();
    let mut places: Vec<(usize, &Operation)> = run.operations_of(S::PROTOCOL).collect();
    places.sort_by_key(|(place, operation)| (operation.invoke_ns, *place));
    for (place, operation) in places {
        let Some(input) = S::input(run, operation) else { continue };
        let answer = match operation.return_ns {
            Some(at) => (S::output(run, operation), at.max(operation.invoke_ns)),
            None => (Answer::Maybe, NEVER),
        };
        let (output, return_ns) = match answer {
            (Answer::Told(output), at) => (Some(output), at),
            (Answer::Maybe, _) => (None, NEVER),
            (Answer::Never, _) => continue,
        };
        let calls = keys.entry(S::key(&input)).or_default();
        let client = operation.client;
        let before = calls.iter().rposition(|call| call.client == client && call.output.is_some());
        let after = before.filter(|at| calls[*at].return_ns == operation.invoke_ns);
        let invoke_ns = operation.invoke_ns;
        calls.push(Call { place, client, input, output, invoke_ns, return_ns, after });
    }
    keys
}

/// A state to come back to.
struct Branch<T> {
    /// All calls from here on are not taken.
    horizon: usize,
    /// The calls below it that are not taken, in ascending order: those that were under way when
    /// the last one below it was sent.
    undone: Vec<u32>,
    /// How many that must be taken are not.
    missing: usize,
    state: T,
    /// The calls that can come next, and how many of them were tried.
    next: Vec<u32>,
    tried: usize,
}

/// Searches for an order of calls, which are in the order in which they were sent, as it was known
/// at a time: what was answered later was not answered.
fn search<S: Spec>(calls: &[&Call<S>], known: u64, max_states: usize) -> Found {
    type Seen<T> = HashSet<(usize, Vec<u32>, T), BuildHasherDefault<DefaultHasher>>;
    let mut seen: Seen<S::State> = HashSet::default();
    let missing = calls.iter().filter(|call| end(call, known) != NEVER).count();
    let mut branches = vec![branch(calls, known, 0, Vec::new(), missing, S::State::default())];
    while let Some(now) = branches.last_mut() {
        if now.missing == 0 {
            return Found::Order;
        }
        let Some(&choice) = now.next.get(now.tried) else {
            branches.pop();
            continue;
        };
        now.tried += 1;
        let call = calls[choice as usize];
        let is_told = end(call, known) != NEVER;
        let output = call.output.as_ref().filter(|_| is_told);
        let Some(state) = S::step(&now.state, &call.input, output) else { continue };
        let (mut horizon, mut undone) = (now.horizon, now.undone.clone());
        match (choice as usize).checked_sub(horizon) {
            None => undone.retain(|one| *one != choice),
            Some(_) => {
                undone.extend(horizon as u32..choice);
                horizon = choice as usize + 1;
            }
        }
        let missing = now.missing - usize::from(is_told);
        if !seen.insert((horizon, undone.clone(), state.clone())) {
            continue;
        }
        if seen.len() > max_states {
            return Found::Exhausted;
        }
        branches.push(branch(calls, known, horizon, undone, missing, state));
    }
    Found::NoOrder
}

/// When a call was answered, as far as is known at a time.
fn end<S: Spec>(call: &Call<S>, known: u64) -> u64 {
    if call.return_ns <= known { call.return_ns } else { NEVER }
}

fn branch<S: Spec>(
    calls: &[&Call<S>],
    known: u64,
    horizon: usize,
    undone: Vec<u32>,
    missing: usize,
    state: S::State,
) -> Branch<S::State> {
    let ends = undone.iter().map(|&at| end(calls[at as usize], known));
    let mut first_end = ends.min().unwrap_or(NEVER);
    let is_open = |at: usize| at >= horizon || undone.binary_search(&(at as u32)).is_ok();
    let mut next = undone.clone();
    for (at, call) in calls.iter().enumerate().skip(horizon) {
        if call.invoke_ns > first_end || call.invoke_ns > known {
            break;
        }
        first_end = first_end.min(end(call, known));
        next.push(at as u32);
    }
    next.retain(|&at| calls[at as usize].after.is_none_or(|before| !is_open(before)));
    // Those that must take place come first: few orders need one that was never answered.
    next.sort_by_key(|&at| (end(calls[at as usize], known), at));
    Branch { horizon, undone, missing, state, next, tried: 0 }
}

/// The first answer that no order explains, and when it came.
fn explain<S: Spec>(calls: &[Call<S>], max_states: usize) -> (u64, Violation) {
    let all: Vec<&Call<S>> = calls.iter().collect();
    let mut ends: Vec<u64> = calls.iter().map(|call| call.return_ns).collect();
    ends.retain(|end| *end != NEVER);
    ends.sort_unstable();
    ends.dedup();
    // What was known at a time can be ordered up to some answer, and never again from the next.
    let (mut held, mut broken) = (0, ends.len().saturating_sub(1));
    while held < broken {
        let middle = held + (broken - held) / 2;
        match search(&all, ends[middle], max_states) {
            Found::NoOrder => broken = middle,
            Found::Order | Found::Exhausted => held = middle + 1,
        }
    }
    let at = ends.get(broken).copied().unwrap_or(NEVER);
    let Some(last) = calls.iter().find(|call| call.return_ns == at) else {
        let all = calls.iter().map(|call| ("operation", call.place));
        return (at, Violation::shown_by(all, "there is no order"));
    };
    let others = calls.iter().filter(|call| call.place != last.place);
    let beside = others.filter(|call| call.invoke_ns <= at && call.return_ns >= last.invoke_ns);
    let beside = beside.map(|call| ("beside it", call.place));
    let roles: Vec<_> = beside.chain([("answer that fits no order", last.place)]).collect();
    let (input, output) = (format!("{:?}", last.input), format!("{:?}", last.output.as_ref()));
    let output = output.strip_prefix("Some(").and_then(|text| text.strip_suffix(')'));
    let why = format!(
        "no order explains what client {} was told to {} at {}: {}",
        last.client,
        Short(&input),
        Millis(at),
        Short(output.unwrap_or("nothing")),
    );
    (at, Violation::shown_by(roles, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::Asked;
    use node_core::{Rng, protocol_tag};
    use serde::{Deserialize, Serialize};
    use todc_utils::linearizability::WGLChecker;
    use todc_utils::linearizability::history::{Action, History};
    use todc_utils::specifications::Specification;

    /// A register that can be written and added to; each answers what it holds then.
    #[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
    enum Ask {
        Set(u8, u64),
        Add(u8, u64),
        Get(u8),
    }

    struct Cell;

    fn apply(state: u64, ask: &Ask) -> u64 {
        match ask {
            Ask::Set(_, value) => *value,
            Ask::Add(_, more) => state + more,
            Ask::Get(_) => state,
        }
    }

    /// What an answer that says that nothing was done is.
    const REFUSED: u64 = u64::MAX;

    impl Spec for Cell {
        const PROTOCOL: &'static str = "cell";
        type State = u64;
        type Input = Ask;
        type Output = u64;

        fn input(run: &Run, operation: &Operation) -> Option<Ask> {
            run.request(operation)
        }

        fn output(run: &Run, operation: &Operation) -> Answer<u64> {
            match run.reply(operation) {
                Some(REFUSED) => Answer::Never,
                Some(value) => Answer::Told(value),
                None => Answer::Maybe,
            }
        }

        fn step(state: &u64, input: &Ask, output: Option<&u64>) -> Option<u64> {
            let after = apply(*state, input);
            output.is_none_or(|told| *told == after).then_some(after)
        }

        fn key(input: &Ask) -> Option<String> {
            let (Ask::Set(key, _) | Ask::Add(key, _) | Ask::Get(key)) = input;
            Some(key.to_string())
        }

        fn is_evidence(input: &Ask, _: &u64) -> bool {
            !matches!(input, Ask::Set(..))
        }
    }

    /// Client, request, when it was sent, and when it was answered what.
    type Told = (u64, Ask, u64, Option<(u64, u64)>);

    fn run_of(told: &[Told]) -> Run {
        let mut run = Run::default();
        for (client, ask, at_ns, answer) in told {
            let place = run.ask(Asked {
                client: *client,
                connection: *client as u32,
                sequence: 0,
                tag: protocol_tag("cell"),
                is_seen_at_node: false,
                node: None,
                is_twin: false,
                at_ns: *at_ns,
                request: &postcard::to_allocvec(ask).unwrap(),
            });
            if let Some((at, value)) = answer {
                run.answer(place, *at, &postcard::to_allocvec(value).unwrap());
            }
        }
        run
    }

    fn broken(told: &[Told]) -> Option<Vec<usize>> {
        match linearizable::<Cell>(&run_of(told)) {
            Verdict::Held => None,
            Verdict::Violated(violation) => Some(violation.ops()),
            other => panic!("{other:?}"),
        }
    }

    use Ask::{Add, Get, Set};

    #[test]
    fn small_histories() {
        let held = |told: &[Told]| assert_eq!(broken(told), None, "{told:?}");
        held(&[(1, Add(0, 2), 0, Some((1, 2))), (2, Get(0), 2, Some((3, 2)))]);
        // Overlapping ones go in either order, and equal times overlap.
        held(&[(1, Add(0, 2), 0, Some((5, 2))), (2, Get(0), 1, Some((2, 0)))]);
        held(&[(1, Add(0, 2), 0, Some((5, 2))), (2, Get(0), 5, Some((6, 0)))]);
        // An addition without an answer takes effect at any time, or never.
        held(&[
            (1, Add(0, 2), 0, None),
            (2, Get(0), 9, Some((10, 0))),
            (2, Get(0), 11, Some((12, 2))),
        ]);
        held(&[(1, Add(0, 2), 0, None), (2, Get(0), 9, Some((10, 0)))]);
        // Keys are objects of their own.
        held(&[(1, Add(0, 2), 0, Some((1, 2))), (2, Get(1), 2, Some((3, 0)))]);

        let late = [(1, Add(0, 2), 0, Some((1, 2))), (2, Get(0), 2, Some((3, 0)))];
        assert_eq!(broken(&late), Some(vec![1]));
        let before = [(1, Get(0), 0, Some((1, 2))), (2, Add(0, 2), 2, None)];
        assert_eq!(broken(&before), Some(vec![0]));
        let back = [
            (1, Add(0, 2), 0, None),
            (2, Get(0), 9, Some((10, 2))),
            (2, Get(0), 11, Some((12, 0))),
            (3, Get(0), 13, Some((14, 0))),
        ];
        assert_eq!(broken(&back), Some(vec![2, 0]));
        // One client's are in order, even at one time.
        let same = [(1, Add(0, 2), 0, Some((5, 2))), (1, Get(0), 5, Some((6, 0)))];
        assert_eq!(broken(&same), Some(vec![1, 0]));
        // What was refused never takes place.
        let refused = [(1, Add(0, 2), 0, Some((1, REFUSED))), (2, Get(0), 2, Some((3, 2)))];
        assert_eq!(broken(&refused), Some(vec![1]));
    }

    #[test]
    fn what_is_told_names_the_first_answer_that_none_explains() {
        let late = [(1, Add(0, 2), 0, Some((1, 2))), (2, Get(0), 2, Some((3_000_000, 7)))];
        let Verdict::Violated(violation) = linearizable::<Cell>(&run_of(&late)) else { panic!() };
        let why = "no order explains what client 2 was told to Get(0) at 3.0 ms: 7";
        assert_eq!(violation.why, why);
    }

    #[test]
    fn what_only_acknowledges_or_takes_too_long_is_not_held() {
        let nothing = linearizable::<Cell>(&run_of(&[(1, Set(0, 2), 0, Some((1, 2)))]));
        assert!(matches!(nothing, Verdict::Unknown { .. }), "{nothing:?}");
        assert!(matches!(linearizable::<Cell>(&Run::default()), Verdict::Unknown { .. }));
        // Twenty additions whose sums all differ, and no order at all.
        let mut told: Vec<Told> = (0..20).map(|n| (n, Add(0, 1 << n), 0, None)).collect();
        told.push((99, Get(0), 1, Some((2, 1 << 40))));
        let run = run_of(&told);
        let verdict = linearizable_within::<Cell>(&run, 1_000);
        assert_eq!(
            verdict,
            Verdict::Undecided { why: "gave up on key 0 after 1000 states".into() }
        );
    }

    /// The same, for the other checker: an operation and what it was told.
    struct Other;

    impl Specification for Other {
        type State = u64;
        type Operation = (Ask, Option<u64>);

        fn init() -> u64 {
            0
        }

        fn apply((ask, told): &(Ask, Option<u64>), state: &u64) -> (bool, u64) {
            let after = apply(*state, ask);
            (told.is_none_or(|told| told == after), after)
        }
    }

    /// It knows no operation that never takes place: those without an answer end after all others,
    /// where they change nothing that anybody sees.
    fn is_linearizable(told: &[Told]) -> bool {
        let mut points = Vec::new();
        for (place, (_, ask, start, answer)) in told.iter().enumerate() {
            let end = answer.map_or(u64::MAX, |(at, _)| at);
            let operation = (ask.clone(), answer.map(|(_, value)| value));
            points.push((*start, false, place, Action::Call(operation.clone())));
            points.push((end, true, place, Action::Response(operation)));
        }
        points.sort_by_key(|(at, is_end, place, _)| (*at, *is_end, *place));
        let actions = points.into_iter().map(|(_, _, place, action)| (place, action)).collect();
        WGLChecker::<Other>::is_linearizable(History::from_actions(actions))
    }

    /// A few clients on a cell, which is right or wrong at random.
    fn small_run(rng: &mut Rng) -> Vec<Told> {
        let (mut told, mut free, mut value) = (Vec::new(), [0_u64; 4], 0);
        for _ in 0..3 + rng.below(6) {
            let client = rng.below(4);
            let start = free[client as usize] + 1 + rng.below(4);
            let end = start + rng.below(12);
            free[client as usize] = end;
            let ask = match rng.below(4) {
                0 => Set(0, rng.below(3)),
                1 => Add(0, 1 + rng.below(2)),
                _ => Get(0),
            };
            value = apply(value, &ask);
            let said = if rng.below(4) == 0 { rng.below(5) } else { value };
            told.push((client, ask, start, (rng.below(6) > 0).then_some((end, said))));
        }
        told
    }

    #[test]
    fn agrees_with_an_independent_checker() {
        let mut rng = Rng::stream(1, "spec");
        let (mut held, mut violated) = (0, 0);
        for n in 0..5_000 {
            let told = small_run(&mut rng);
            let run = run_of(&told);
            match (linearizable::<Cell>(&run), is_linearizable(&told)) {
                (Verdict::Held | Verdict::Unknown { .. }, true) => held += 1,
                (Verdict::Violated(violation), false) => {
                    violated += 1;
                    // With what was known just before the answer alone, there is an order.
                    let at = told[violation.ops()[0]].3.unwrap().0;
                    let cut = |(client, ask, start, answer): &Told| {
                        let known = answer.filter(|(end, _)| *end < at);
                        (*client, ask.clone(), *start, known)
                    };
                    let before: Vec<Told> = told.iter().map(cut).collect();
                    assert!(is_linearizable(&before), "history {n}: {told:?}");
                }
                (verdict, other) => panic!("history {n}: {verdict:?}, {other}: {told:?}"),
            }
        }
        assert!(held > 300 && violated > 300, "{held} held, {violated} violated");
    }
}
