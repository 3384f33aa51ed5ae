//! Tests of the study of this protocol: its checkers against small runs.

use super::*;
use proptest::prelude::*;

const MS: u64 = 1_000_000;

fn start(at: u64, node: u32, durable: bool) -> Happening {
    Happening { at: at * MS, what: What::Start { node, durable, runs: Vec::new() } }
}

/// A send whose event has the message's number.
fn send(at: u64, node: u32, message: u64, lamport: u64) -> Happening {
    copy(at, node, message, lamport, message)
}

fn copy(at: u64, node: u32, message: u64, lamport: u64, event: u64) -> Happening {
    Happening { at: at * MS, what: What::Send { node, message, lamport, event } }
}

fn receive(at: u64, node: u32, message: u64, lamport: u64) -> Happening {
    Happening { at: at * MS, what: What::Receive { node, message, lamport } }
}

fn why(verdict: Verdict) -> String {
    match verdict {
        Verdict::Violated(violation) => violation.why,
        other => panic!("{other:?}"),
    }
}

fn is_violated(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Violated(_))
}

fn is_unknown(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Unknown { .. } | Verdict::Undecided { .. })
}

#[test]
fn a_call_keeps_the_condition() {
    let call = [
        start(0, 1, false),
        start(0, 2, false),
        send(1, 1, 7, 1),
        receive(2, 2, 7, 2),
        send(3, 2, 8, 4),
        receive(4, 1, 8, 5),
    ];
    assert_eq!(clock_condition(&call), Verdict::Held);
    assert_eq!(clock_strictly_increases(&call), Verdict::Held);
}

#[test]
fn a_receipt_that_equals_its_send_is_named() {
    let timeline = [start(0, 1, false), send(1, 1, 7, 5), receive(2, 2, 7, 5)];
    let Verdict::Violated(violation) = clock_condition(&timeline) else { panic!("it is broken") };
    assert_eq!(
        violation.why,
        "node 2 receiving 7 at 2.0 ms has Lamport value 5 and vector {1: 1, 2: 1}, but the event \
         of node 1 in its past, at 1.0 ms, has 5"
    );
    assert_eq!((violation.at, violation.ops()), (Some(2 * MS), Vec::new()));
    assert!(is_unknown(&clock_strictly_increases(&timeline)), "each has one event");
}

#[test]
fn causes_reach_over_several_nodes() {
    // Node 3 hears of node 1 by node 2 alone.
    let held = [send(1, 1, 7, 9), receive(2, 2, 7, 10), send(3, 2, 8, 11), receive(4, 3, 8, 12)];
    assert_eq!(clock_condition(&held), Verdict::Held);
    // Its own value is above that of node 2, which is broken already, but not of node 1.
    let broken = [send(1, 1, 7, 9), receive(2, 2, 7, 3), send(3, 2, 8, 4), receive(4, 3, 8, 5)];
    assert!(why(clock_condition(&broken)).starts_with("node 2 receiving 7 at 1.0 ms"));
    let mut past = Past::new(&broken);
    let mut ready = VecDeque::from([0, 1, 2]);
    while let Some(lane) = ready.pop_front() {
        past.advance(lane, &mut ready);
    }
    assert_eq!(past.processes[2].vector, [1, 2, 1]);
}

#[test]
fn the_order_of_the_timeline_is_that_of_each_node_only() {
    let timeline = [
        receive(4, 1, 8, 5),
        send(5, 1, 9, 6),
        receive(3, 2, 9, 7),
        start(0, 3, false),
        send(3, 3, 8, 4),
    ];
    assert_eq!(clock_condition(&timeline), Verdict::Held);
    let mut broken = timeline.clone();
    broken[4] = send(3, 3, 8, 5);
    assert!(why(clock_condition(&broken)).contains("vector {1: 1, 3: 1}"));
}

#[test]
fn copies_of_a_multicast_are_one_event() {
    let timeline =
        [copy(1, 1, 7, 3, 1), copy(1, 1, 8, 3, 1), receive(2, 2, 7, 4), receive(2, 3, 8, 4)];
    assert_eq!(clock_condition(&timeline), Verdict::Held);
    assert!(is_unknown(&clock_strictly_increases(&timeline)), "each has one event");
    let two = [send(1, 1, 7, 3), send(1, 1, 8, 3)];
    assert!(why(clock_condition(&two)).contains("vector {1: 2}, but the event of node 1"));
    let said = why(clock_strictly_increases(&two));
    assert_eq!(
        said,
        "node 1 sending 8 at 0.0 ms has Lamport value 3, but the node's event before it, at \
         0.0 ms, has 3"
    );
}

#[test]
fn what_nobody_sends_and_what_comes_twice_says_no_more() {
    let timeline = [receive(1, 2, 99, 1), send(1, 1, 7, 4), receive(2, 2, 7, 5)];
    assert_eq!(clock_condition(&timeline), Verdict::Held);
    let twice = [send(1, 1, 7, 4), receive(2, 2, 7, 5), receive(2, 2, 7, 6)];
    assert_eq!(clock_condition(&twice), Verdict::Held);
    let two_senders = [send(1, 1, 7, 4), send(1, 3, 7, 40), receive(2, 2, 7, 5)];
    assert_eq!(clock_condition(&two_senders), Verdict::Held);
}

#[test]
fn a_node_that_forgets_is_another_one() {
    let again = |durable, second| {
        [start(0, 1, durable), send(1, 1, 7, 9), start(2, 1, durable), send(3, 1, 8, second)]
    };
    for (durable, second, held) in [(false, 1, true), (true, 1, false), (true, 10, true)] {
        let timeline = again(durable, second);
        assert_eq!(is_violated(&clock_condition(&timeline)), !held);
        assert_eq!(is_violated(&clock_strictly_increases(&timeline)), !held);
    }
    let mut given_a_disk = again(true, 1);
    given_a_disk[0] = start(0, 1, false);
    assert!(is_unknown(&clock_condition(&given_a_disk)), "each of the two has one event");
    assert!(is_unknown(&clock_strictly_increases(&given_a_disk)));
    // What it hears of its former life is a cause all the same.
    let mut timeline = Vec::from(again(false, 1));
    timeline.insert(2, receive(2, 2, 7, 10));
    timeline.insert(3, send(2, 2, 5, 11));
    timeline.push(receive(4, 1, 5, 3));
    let said = why(clock_condition(&timeline));
    assert!(said.contains("vector {1: 1, 2: 2, 1/2: 2}"), "{said}");
    assert_eq!(clock_strictly_increases(&timeline), Verdict::Held);
}

#[test]
fn a_receipt_that_a_crash_undid_is_no_cause() {
    let timeline = |last| {
        [
            start(0, 1, true),
            send(1, 1, 7, 9),
            receive(2, 1, 99, 20),
            start(3, 1, true),
            send(4, 1, 8, last),
        ]
    };
    assert_eq!(clock_condition(&timeline(10)), Verdict::Held);
    assert_eq!(clock_strictly_increases(&timeline(10)), Verdict::Held);
    assert!(why(clock_condition(&timeline(9))).contains("has 9"));
    assert!(why(clock_strictly_increases(&timeline(9))).contains("has 9"));
}

#[test]
fn the_earliest_breach_is_told() {
    let timeline =
        [send(1, 1, 7, 3), send(9, 1, 8, 3), send(1, 2, 4, 3), send(5, 2, 5, 3), send(6, 2, 6, 3)];
    for verdict in [clock_condition(&timeline), clock_strictly_increases(&timeline)] {
        let Verdict::Violated(violation) = verdict else { panic!("it is broken") };
        assert_eq!(violation.at, Some(5 * MS));
    }
}

#[test]
fn what_is_no_run_or_shows_nothing_is_not_known() {
    assert!(is_unknown(&clock_condition(&[])));
    assert!(is_unknown(&clock_strictly_increases(&[])));
    assert!(is_unknown(&clock_condition(&[start(0, 1, false)])));
    assert!(is_unknown(&clock_strictly_increases(&[start(0, 1, false)])));
    let circle = [receive(0, 1, 8, 5), send(1, 1, 7, 6), receive(0, 2, 7, 7), send(1, 2, 8, 8)];
    let Verdict::Undecided { why } = clock_condition(&circle) else { panic!("it is no run") };
    assert!(why.starts_with("node 1 receiving 8 at 0.0 ms is before its send"), "{why}");
    let crowd: Vec<Happening> = (0..=MAX_PROCESSES as u32).map(|n| send(0, n, 1, 1)).collect();
    assert!(is_unknown(&clock_condition(&crowd)));
    let restless = (0..100_000).flat_map(|n| [start(n, 1, false), send(n, 1, n, 1)]);
    let restless: Vec<Happening> = restless.collect();
    assert!(is_unknown(&clock_condition(&restless)));
}

#[test]
fn long_runs_are_judged_in_a_moment() {
    let (mut timeline, mut clock) = (Vec::new(), 0);
    for message in 0..50_000_u64 {
        let (from, to) = ((message % 5) as u32, ((message + 1) % 5) as u32);
        timeline.push(send(message, from, message, clock + 1));
        timeline.push(receive(message, to, message, clock + 2));
        clock += 2;
    }
    assert_eq!(clock_condition(&timeline), Verdict::Held);
    assert_eq!(clock_strictly_increases(&timeline), Verdict::Held);
    // One node after the other, so that everybody waits for everybody.
    timeline.sort_by_key(|one| match one.what {
        What::Send { node, .. } | What::Receive { node, .. } => node,
        _ => 0,
    });
    assert_eq!(clock_condition(&timeline), Verdict::Held);
}

/// The condition by its definition: every pair of the transitive closure.
fn naive(timeline: &[Happening]) -> bool {
    let mut values = Vec::new();
    let mut edges = Vec::new();
    let mut sends: BTreeMap<u64, usize> = BTreeMap::new();
    let mut receipts = Vec::new();
    for node in 0..4 {
        let mut last = None;
        let mut sent: Option<(u64, usize)> = None;
        let mut had_disk = false;
        for one in timeline {
            let (lamport, event) = match one.what {
                What::Start { node: it, durable, .. } if it == node => {
                    sent = sent.filter(|_| durable && had_disk);
                    had_disk = durable;
                    last = sent.map(|sent| sent.1);
                    continue;
                }
                What::Send { node: it, message, event, lamport } if it == node => {
                    let place = match sent {
                        Some((before, place)) if before == event => place,
                        _ => values.len(),
                    };
                    sends.insert(message, place);
                    sent = Some((event, place));
                    if place < values.len() {
                        continue;
                    }
                    (lamport, values.len())
                }
                What::Receive { node: it, message, lamport } if it == node => {
                    receipts.push((message, values.len()));
                    (lamport, values.len())
                }
                _ => continue,
            };
            values.push(lamport);
            edges.extend(last.map(|last| (last, event)));
            last = Some(event);
        }
    }
    for (message, event) in receipts {
        edges.extend(sends.get(&message).map(|send| (*send, event)));
    }
    let n = values.len();
    let mut before = vec![vec![false; n]; n];
    for (a, b) in edges {
        before[a][b] = true;
    }
    for via in 0..n {
        for a in 0..n {
            for b in 0..n {
                before[a][b] |= before[a][via] && before[via][b];
            }
        }
    }
    (0..n).all(|a| (0..n).all(|b| !before[a][b] || values[a] < values[b]))
}

/// A run of four nodes whose clocks are mostly right, from what is to happen next, where, with
/// which message, and whether the clock is off.
fn history(steps: &[(u8, u32, usize, u8)], forget: bool) -> Vec<Happening> {
    let mut timeline = Vec::new();
    let mut clocks = [0_u64; 4];
    let mut last_event = [None; 4];
    let mut sent: Vec<u64> = Vec::new();
    for (place, &(kind, node, pick, off)) in steps.iter().enumerate() {
        let (at, message, own) = (place as u64, place as u64, node as usize);
        let tick = |clock: u64| if off == 0 { clock } else { clock + 1 };
        match kind {
            0..=3 => {
                clocks[own] = tick(clocks[own]);
                last_event[own] = Some((message, clocks[own]));
                timeline.push(send(at, node, message, clocks[own]));
                sent.push(message);
            }
            4 => {
                let Some((event, value)) = last_event[own] else { continue };
                timeline.push(copy(at, node, message, value, event));
                sent.push(message);
            }
            5..=8 if !sent.is_empty() => {
                let message = sent[pick % sent.len()];
                let carried = timeline.iter().find_map(|one| match one.what {
                    What::Send { message: it, lamport, .. } if it == message => Some(lamport),
                    _ => None,
                });
                clocks[own] = tick(clocks[own].max(carried.unwrap()));
                timeline.push(receive(at, node, message, clocks[own]));
            }
            9 => {
                clocks[own] = tick(clocks[own]);
                timeline.push(receive(at, node, 1_000, clocks[own]));
            }
            10 => timeline.push(start(at, node, true)),
            _ => {
                if forget {
                    (clocks[own], last_event[own]) = (0, None);
                }
                timeline.push(start(at, node, false));
            }
        }
    }
    timeline
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn vectors_say_what_the_closure_says(
        steps in prop::collection::vec((0..12_u8, 0..4_u32, 0..50_usize, 0..40_u8), 0..40),
        forget in any::<bool>(),
        by_node in any::<bool>(),
    ) {
        let mut timeline = history(&steps, forget);
        if by_node {
            timeline.sort_by_key(|one| match one.what {
                What::Start { node, .. } | What::Send { node, .. } | What::Receive { node, .. } => {
                    3 - node
                }
                _ => 0,
            });
        }
        match clock_condition(&timeline) {
            Verdict::Held | Verdict::Unknown { .. } => prop_assert!(naive(&timeline)),
            Verdict::Violated(_) => prop_assert!(!naive(&timeline)),
            Verdict::Undecided { why } => prop_assert!(false, "{why}"),
        }
    }
}
