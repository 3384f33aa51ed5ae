//! Tests of the study of this protocol: its checkers against small runs.

use super::super::SLEW;
use super::*;
use crate::check;
use node_lab::study::{AGREE, Bounds};
use node_protocols::core::{Correction, Epoch, NodeId};

const MS: u64 = 1_000_000;

/// A history with bounds of 10 ms of skew, rounds of 20 ms, every 1000 ms, slewing by a tenth;
/// times are milliseconds.
fn history(timeline: impl IntoIterator<Item = (u64, What)>) -> Run {
    let timeline = timeline.into_iter().map(|(at, what)| Happening { at: at * MS, what });
    let bounds = Bounds::default()
        .with(&SKEW, 10 * MS)
        .with(&ROUND, 20 * MS)
        .with(&INTERVAL, 1_000 * MS)
        .with(&AGREE, 3_000 * MS)
        .with(&SLEW, 100_000)
        .with(&FAR, 1_000 * MS)
        .with(&MOVED, 100 * MS);
    Run { timeline: timeline.collect(), bounds, ..Run::default() }
}

fn start(node: u32) -> What {
    What::Start { node, durable: false, runs: Vec::new() }
}

/// A reading of a clock that has no correction.
fn reads(node: u32, ahead_ms: i64) -> What {
    owes(node, ahead_ms, 0)
}

fn owes(node: u32, ahead_ms: i64, owed_ms: i64) -> What {
    let (ahead, owed) = (ahead_ms * MS as i64, owed_ms * MS as i64);
    What::Clock { node, ahead, correction: 0, owed, own: true }
}

fn corrected(node: u32) -> What {
    What::fact(node, ClockOffset { correction: Correction::default() })
}

fn sets(node: u32) -> What {
    What::Fault { kind: FaultKind::Clock(node), until: 0 }
}

fn holds(node: u32, id: u32) -> What {
    What::fact(node, Coordinator { id: NodeId(id), epoch: Epoch(1) })
}

/// Two nodes, with two rounds behind them at 1010 ms, and what comes then.
fn two(more: impl IntoIterator<Item = (u64, What)>) -> Run {
    let mut timeline = Vec::new();
    for node in [1, 2] {
        timeline.extend([(0, start(node)), (5, holds(node, 2))]);
    }
    for round in [10, 1_000] {
        timeline.extend([(round, corrected(1)), (round + 10, corrected(2))]);
    }
    timeline.extend(more);
    history(timeline)
}

fn verdict(property: &str, history: &Run) -> &'static str {
    match check(property, history) {
        Verdict::Held => "held",
        Verdict::Unknown { .. } | Verdict::Undecided { .. } => "unknown",
        Verdict::Violated(violation) => {
            assert!(violation.at.is_some() && !violation.why.contains('\n'));
            "violated"
        }
    }
}

fn skew(more: impl IntoIterator<Item = (u64, What)>) -> &'static str {
    verdict("skew_bound", &two(more))
}

#[test]
fn clocks_of_one_round_are_held_to_the_bound() {
    assert_eq!(skew([(1_100, reads(1, 5)), (1_100, reads(2, -5))]), "held");
    assert_eq!(skew([(1_100, reads(1, 5)), (1_100, reads(2, -6))]), "violated");
    // What slewing owes does not count, but what it should not owe does.
    assert_eq!(skew([(1_100, reads(1, 5)), (1_100, owes(2, -50, 50))]), "held");
    assert_eq!(skew([(1_100, reads(1, 5)), (1_100, owes(2, 5, 50))]), "violated");
}

#[test]
fn what_no_round_brought_together_is_not_held_to_it() {
    let apart = |at| [(at, reads(1, 50)), (at, reads(2, -50))];
    assert_eq!(skew(apart(1_100)), "violated");
    assert_eq!(skew(apart(2_000)), "violated");
    // The next round is overdue.
    assert_eq!(skew(apart(2_011)), "unknown");
    // Only one of them had it, or a clock was set, or a node started, since.
    for since in [corrected(1), sets(1), start(2), What::Down { node: 2 }] {
        let what = format!("{since:?}");
        let history = [(1_050, since)].into_iter().chain(apart(1_100));
        assert_eq!(skew(history), "unknown", "{what}");
    }
    // After a start the second round counts again.
    let both = |at| [(at, corrected(1)), (at, corrected(2))];
    let again = [(1_050, start(2)), (1_050, holds(2, 2))].into_iter().chain(both(1_200));
    assert_eq!(skew(again.clone().chain(apart(1_300))), "unknown");
    assert_eq!(skew(again.chain(both(1_300)).chain(apart(1_400))), "violated");
    // Two coordinators have two rounds at a time.
    let parted = [(1_050, holds(1, 1))].into_iter().chain(both(1_200)).chain(apart(1_300));
    assert_eq!(skew(parted), "unknown");
    // Readings of different times say nothing.
    assert_eq!(skew([(1_100, reads(1, 50)), (1_101, reads(2, -50))]), "unknown");
}

/// Three servers of one reign, from 10 s on a round a second until so many seconds, for these of
/// them; all are read every 100 ms until 60 s.
fn rounds(reaches: &[u32], until_s: u64, more: &[(u64, What)]) -> &'static str {
    verdict("skew_bound", &run_of_rounds(reaches, until_s, more))
}

fn run_of_rounds(reaches: &[u32], until_s: u64, more: &[(u64, What)]) -> Run {
    let mut timeline = Vec::new();
    for node in [1, 2, 3] {
        timeline.extend([(0, start(node)), (5, holds(node, 3))]);
    }
    for round in (1..until_s).map(|second| second * 1_000) {
        timeline.extend(reaches.iter().map(|node| (round + u64::from(*node), corrected(*node))));
    }
    let reads = |at| [1, 2, 3].map(|node| (at, reads(node, 0)));
    timeline.extend((0..600).flat_map(|tenth| reads(tenth * 100)));
    timeline.extend(more.iter().cloned());
    timeline.push((60_000, What::End));
    timeline.sort_by_key(|(at, _)| *at);
    history(timeline)
}

#[test]
fn rounds_that_end_are_told_with_the_last_one_and_the_first_that_was_missed() {
    let run = run_of_rounds(&[1, 2, 3], 30, &[]);
    let Verdict::Violated(found) = skew_bound(&run) else { panic!("the rounds end") };
    assert_eq!(
        found.why,
        "node 1 was last corrected at 29001.0 ms, and not again until 30021.0 ms, when it was due, \
         though node 3 coordinates and nothing disturbs them"
    );
    assert_eq!(found.at, Some(30_021 * MS));
    let roles: Vec<_> = found.witnesses.iter().map(|one| &*one.role).collect();
    assert_eq!(roles, ["last correction", "last round", "first correction missed"]);
    let says = &found.witnesses[2].says;
    assert!(says.contains("node 3, the coordinator, should have corrected node 1"), "{says}");
    assert!(found.witnesses.iter().all(|one| one.says != found.why));
}

#[test]
fn rounds_reach_all_as_long_as_a_coordinator_reigns_undisturbed() {
    assert_eq!(rounds(&[1, 2, 3], 60, &[]), "held");
    // Nobody is corrected any more; until then everything was as it should be.
    assert_eq!(rounds(&[1, 2, 3], 30, &[]), "violated");
    assert_eq!(rounds(&[], 0, &[]), "violated");
    // One never is.
    assert_eq!(rounds(&[2, 3], 60, &[]), "violated");
    // Unless something disturbs them, or it is not there, or follows another, or is alone.
    let disturbed: Vec<(u64, What)> = (1..60).map(|second| (second * 1_000, start(9))).collect();
    assert_eq!(rounds(&[1, 2, 3], 30, &disturbed), "held");
    assert_eq!(rounds(&[2, 3], 60, &[(6, What::Down { node: 1 })]), "held");
    assert_eq!(rounds(&[2, 3], 60, &[(6, holds(1, 2))]), "held");
    let others = [(30_000, What::Down { node: 1 }), (30_000, What::Down { node: 2 })];
    assert_eq!(rounds(&[1, 2, 3], 30, &others), "held");
    let coordinator = [(29_500, What::Down { node: 3 })];
    assert_eq!(rounds(&[1, 2, 3], 30, &coordinator), "held");
    let loss = What::Fault { kind: FaultKind::Other, until: 58_000 * MS };
    assert_eq!(rounds(&[1, 2, 3], 30, &[(29_000, loss)]), "held");
    // A clock that is set, and messages that come twice, hinder nobody.
    for kind in [FaultKind::Clock(1), FaultKind::Duplicate] {
        let fault = What::Fault { kind, until: 58_000 * MS };
        assert_eq!(rounds(&[1, 2, 3], 30, &[(29_000, fault)]), "violated");
    }
}

#[test]
fn what_a_clock_owes_it_is_given_at_its_rate() {
    // From so far to so far of 9 s, and whether the clock was corrected, in a second.
    let slews = |from_ms: i64, to_ms: i64, corrections: u64, then_owed_ms: i64| {
        let read = |added_ms: i64, owed_ms: i64| {
            let (correction, owed) = (added_ms * MS as i64, owed_ms * MS as i64);
            let ahead = correction - 9_000 * MS as i64;
            What::Clock { node: 1, ahead, correction, owed, own: false }
        };
        let first = [(1_100, read(from_ms, 9_000 - from_ms))];
        let between = (0..corrections).map(|place| (1_101 + place, corrected(1)));
        let last = [(2_000, read(to_ms, then_owed_ms))];
        skew(first.into_iter().chain(between).chain(last)) == "violated"
    };
    // At 100,000 ppm 90 ms in 900 ms; a tenth less is borne.
    assert!(!slews(0, 90, 0, 8_910));
    assert!(!slews(0, 81, 0, 8_919));
    assert!(slews(0, 80, 0, 8_920));
    assert!(slews(0, 0, 0, 9_000), "it owes for ever");
    assert!(slews(0, -90, 0, 9_090));
    // It arrives, and stays.
    assert!(!slews(8_960, 9_000, 0, 0));
    assert!(!slews(9_000, 9_000, 0, 0));
    // A round tells it to go on, and it does not; or sends it elsewhere.
    assert!(slews(0, 0, 1, 9_000));
    assert!(!slews(0, 90, 1, 8_910));
    assert!(!slews(0, 0, 1, -5));
    assert!(!slews(0, 0, 2, 9_000));
}

#[test]
fn a_clock_that_runs_back_is_seen_unless_its_node_started() {
    let never = |more: Vec<(u64, What)>| verdict("clock_never_backwards", &two(more));
    assert_eq!(never(vec![(1_100, reads(1, 50)), (1_110, reads(1, 40))]), "held");
    assert_eq!(never(vec![(1_100, reads(1, 50))]), "unknown", "it is read once");
    let back = |between: Option<What>| {
        let between = between.map(|what| (1_105, what));
        let readings = [(1_100, reads(1, 50)), (1_110, reads(1, 39))];
        let [first, second] = readings;
        never([Some(first), between, Some(second)].into_iter().flatten().collect())
    };
    assert_eq!(back(None), "violated");
    assert_eq!(back(Some(corrected(1))), "violated");
    assert_eq!(back(Some(sets(1))), "violated");
    assert_eq!(back(Some(start(1))), "unknown", "each life has one reading");
    // Nobody at the node has seen it.
    let other = What::Clock { node: 1, ahead: 0, correction: 0, owed: 0, own: false };
    assert_eq!(never(vec![(1_100, reads(1, 50)), (1_149, other), (1_150, reads(1, 1))]), "held");
}

#[test]
fn a_liar_may_be_moved_but_moves_nobody() {
    let moves = |node, by_ms: i64| {
        let correction = by_ms * MS as i64;
        let ahead = if node == 3 { 3_600_000 * MS as i64 } else { 0 };
        What::Clock { node, ahead: ahead + correction, correction, owed: 0, own: true }
    };
    let judge = |more: Vec<(u64, What)>| {
        let first = [1, 2, 3, 4].map(|node| (0, moves(node, 0)));
        verdict("one_liar_moves_nobody", &history(first.into_iter().chain(more)))
    };
    assert_eq!(judge(vec![]), "unknown");
    assert_eq!(judge(vec![(5, corrected(1)), (10, moves(1, 100))]), "held");
    assert_eq!(judge(vec![(5, corrected(1)), (10, moves(1, -101))]), "violated");
    assert_eq!(judge(vec![(5, corrected(3)), (5, corrected(1)), (10, moves(3, -5_000))]), "held");
    // What is still owed counts.
    let owed =
        What::Clock { node: 2, ahead: 0, correction: 0, owed: 900_000 * MS as i64, own: true };
    assert_eq!(judge(vec![(5, corrected(2)), (10, owed)]), "violated");
    // Two liars, or two clocks of which one lies.
    let two = (0, reads(5, 3_600_000));
    assert_eq!(judge(vec![two, (5, corrected(1))]), "unknown");
    let few = history([(0, reads(1, 0)), (0, reads(2, 3_600_000)), (5, corrected(1))]);
    assert_eq!(verdict("one_liar_moves_nobody", &few), "unknown");
}

#[test]
fn without_readings_there_is_no_verdict_and_absurd_ones_do_not_panic() {
    let all = ["skew_bound", "clock_never_backwards", "one_liar_moves_nobody"];
    for property in all {
        assert_eq!(verdict(property, &two([])), "unknown");
    }
    let far = |node, ahead, owed| What::Clock { node, ahead, correction: owed, owed, own: true };
    let absurd = two([
        (1_100, far(1, i64::MAX, i64::MAX)),
        (1_100, far(2, i64::MIN, i64::MIN)),
        (1_200, far(1, i64::MIN, i64::MIN)),
    ]);
    assert_eq!(verdict("skew_bound", &absurd), "violated");
    assert_eq!(verdict("clock_never_backwards", &absurd), "violated");
    assert_eq!(verdict("one_liar_moves_nobody", &absurd), "unknown");
}
