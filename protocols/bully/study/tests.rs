//! Tests of the study of this protocol: its checkers against small runs.

use super::*;
use crate::check;
use node_lab::check::timeline::Running;
use node_lab::study::Bounds;

const MS: u64 = 1_000_000;
const CALM: [&str; 3] =
    ["election_terminates", "one_coordinator_per_component", "highest_live_id_wins"];

/// A history with bounds of 100 ms to agree and 10 ms to hand over; times are milliseconds.
fn history(timeline: impl IntoIterator<Item = (u64, What)>) -> Run {
    let timeline = timeline.into_iter().map(|(at, what)| Happening { at: at * MS, what });
    let bounds = Bounds::default().with(&AGREE, 100 * MS).with(&HANDOVER, 10 * MS);
    Run { timeline: timeline.collect(), bounds, ..Run::default() }
}

fn start(node: u32) -> What {
    start_by(node, Elects::Id)
}

fn start_by(node: u32, elects: Elects) -> What {
    let names = |names: &[&'static str]| names.iter().map(|name| (*name).into()).collect();
    let (publishes, needs) = match elects {
        Elects::No => (names(&["Rank"]), names(&[])),
        Elects::Id => (names(&["Coordinator"]), names(&[])),
        Elects::Rank => (names(&["Coordinator"]), names(&["Rank"])),
    };
    let runs = vec![Running { protocol: "bully".into(), publishes, needs }];
    What::Start { node, durable: false, runs }
}

/// A node publishes its own rank.
fn rank(node: u32, rank: u32) -> What {
    What::fact(node, Rank { id: NodeId(node), rank })
}

fn down(node: u32) -> What {
    What::Down { node }
}

fn pause(node: u32, on: bool) -> What {
    What::Pause { node, on }
}

fn holds(node: u32, id: u32) -> What {
    reign(node, id, 1)
}

fn fault(kind: FaultKind, until: u64) -> What {
    What::Fault { kind, until: until * MS }
}

fn partition(side: &[u32], until: u64) -> What {
    fault(FaultKind::Partition(side.to_vec()), until)
}

/// Three nodes that hold node 3 coordinator from 5 ms on, and what comes then.
fn three(more: impl IntoIterator<Item = (u64, What)>) -> Run {
    let mut timeline: Vec<(u64, What)> = (1..=3).map(|node| (0, start(node))).collect();
    timeline.extend((1..=3).map(|node| (5, holds(node, 3))));
    timeline.extend(more);
    history(timeline)
}

/// Node 9 gives ranks and does not elect, nor does node 4; nodes 1, 2 and 3 get ranks 3, 2 and 1,
/// and hold node 1 coordinator from 5 ms on; and what comes then.
fn three_by_rank(more: impl IntoIterator<Item = (u64, What)>) -> Run {
    let mut timeline: Vec<(u64, What)> =
        (1..=3).map(|node| (0, start_by(node, Elects::Rank))).collect();
    timeline.extend([4, 9].map(|node| (0, start_by(node, Elects::No))));
    timeline.extend([(2, rank(1, 3)), (2, rank(2, 2)), (2, rank(3, 1))]);
    timeline.extend((1..=3).map(|node| (5, holds(node, 1))));
    timeline.extend(more);
    history(timeline)
}

/// What each property of a calm cluster says: `.` held, `x` violated, `?` unknown.
fn verdicts(history: &Run) -> String {
    let show = |property| match check(property, history) {
        Verdict::Held => '.',
        Verdict::Violated(violation) => {
            assert_eq!(violation.ops().len(), 0);
            assert!(!violation.why.contains('\n'));
            'x'
        }
        Verdict::Unknown { .. } => '?',
        Verdict::Undecided { why } => panic!("{why}"),
    };
    CALM.into_iter().map(show).collect()
}

fn violation(property: &str, history: &Run) -> (u64, String) {
    match check(property, history) {
        Verdict::Violated(violation) => (violation.at.expect("it has a time") / MS, violation.why),
        other => panic!("{property}: {other:?}"),
    }
}

fn leaders(history: &Run) -> Option<u64> {
    match check("one_coordinator", history) {
        Verdict::Held => None,
        Verdict::Violated(violation) => violation.at,
        Verdict::Unknown { why } | Verdict::Undecided { why } => panic!("{why}"),
    }
}

#[test]
fn agreement_on_the_highest_holds() {
    let history = three([(200, What::End)]);
    assert_eq!(verdicts(&history), "...");
    assert_eq!(leaders(&history), None);
}

#[test]
fn the_next_takes_over_and_the_highest_again_when_it_is_back() {
    let history = three([
        (200, down(3)),
        (250, holds(2, 2)),
        (251, holds(1, 2)),
        (400, start(3)),
        (410, holds(3, 3)),
        (411, holds(2, 3)),
        (412, holds(1, 3)),
        (600, What::End),
    ]);
    assert_eq!(verdicts(&history), "...");
    assert_eq!(leaders(&history), None);
}

#[test]
fn who_holds_nobody_in_time_is_named() {
    let history = history([(0, start(1)), (0, start(2)), (20, holds(2, 2)), (100, What::End)]);
    assert_eq!(
        violation("election_terminates", &history),
        (100, "node 1 holds no coordinator at 100.0 ms, undisturbed since 0.0 ms".into())
    );
    assert_eq!(verdicts(&history), "x?.", "one alone agrees with nobody");
}

#[test]
fn agreement_is_due_at_the_bound_and_not_before() {
    let late = |at, end| {
        let two = [(10, start(1)), (10, start(2)), (30, holds(2, 2))];
        history(two.into_iter().chain([(at, holds(1, 2)), (end, What::End)]))
    };
    assert_eq!(verdicts(&late(110, 200)), "...");
    assert_eq!(verdicts(&late(111, 200)), "x..");
    // Too short a run shows nothing, and the last moment counts.
    assert_eq!(verdicts(&late(109, 109)), "???");
    assert_eq!(verdicts(&late(110, 110)), "...");
}

#[test]
fn a_run_may_begin_at_any_time_and_be_in_any_order() {
    let mut history = three([(150, What::End)]);
    history.timeline.reverse();
    for happening in &mut history.timeline {
        happening.at += 1_763_729_511 * 1_000 * MS;
    }
    assert_eq!(verdicts(&history), "...");
    history.timeline.retain(|one| one.what != holds(1, 3));
    let (_, why) = violation("election_terminates", &history);
    assert!(why.ends_with("at 100.0 ms, undisturbed since 0.0 ms"), "{why}");
}

#[test]
fn a_coordinator_that_is_down_or_nobody_is_none() {
    let history = three([(200, down(3)), (300, What::End)]);
    let (at, why) = violation("election_terminates", &history);
    assert_eq!(at, 300);
    assert!(why.starts_with("node 1 holds node 3 coordinator, which is down"), "{why}");
    assert_eq!(verdicts(&history), "x.x");
    let nobody = three([(1..=3, 9)].into_iter().flat_map(|(nodes, id)| {
        nodes.map(move |node| (20, holds(node, id))).chain([(100, What::End)])
    }));
    let (_, why) = violation("election_terminates", &nobody);
    assert!(why.contains("node 9 coordinator, which never was"), "{why}");
    assert_eq!(verdicts(&nobody), "x.x");
}

#[test]
fn a_restart_forgets_who_coordinates() {
    let history = three([(200, start(1)), (300, What::End)]);
    assert_eq!(verdicts(&history), "x..");
}

#[test]
fn two_coordinators_in_a_component_are_named() {
    let history = three([(20, holds(2, 2)), (100, What::End)]);
    let (at, why) = violation("one_coordinator_per_component", &history);
    assert_eq!(at, 100);
    assert!(why.starts_with("node 1 holds node 3 coordinator, but node 2 holds node 2"), "{why}");
    assert_eq!(verdicts(&history), ".xx");
}

#[test]
fn one_that_is_not_the_highest_is_named() {
    let all = (1..=3).map(|node| (20, holds(node, 2)));
    let history = three(all.chain([(100, What::End)]));
    let (_, why) = violation("highest_live_id_wins", &history);
    assert!(
        why.starts_with("node 1 holds node 2 coordinator, but the highest within its reach is 3")
    );
    assert_eq!(verdicts(&history), "..x");
}

#[test]
fn who_takes_no_part_need_not_hold_anybody_and_cannot_win() {
    let no = |node| (0, start_by(node, Elects::No));
    let with = |held| {
        let bystander = three([no(7), (200, holds(1, held)), (250, What::End)]);
        (verdicts(&bystander), bystander)
    };
    assert_eq!(with(3).0, "...");
    let (said, history) = with(7);
    assert_eq!(said, "xxx");
    let (_, why) = violation("election_terminates", &history);
    assert!(why.starts_with("node 1 holds node 7 coordinator, which takes no part"), "{why}");
    // Nobody elects, and that is no verdict.
    assert_eq!(verdicts(&self::history([no(1), no(2), (900, What::End)])), "???");
    // A node that elected before may be started again without.
    let changed = three([(200, start_by(2, Elects::No)), (400, What::End)]);
    assert_eq!(verdicts(&changed), "...");
}

#[test]
fn the_highest_rank_wins_where_elections_go_by_rank() {
    let history = three_by_rank([(200, What::End)]);
    assert_eq!(verdicts(&history), "...");
    assert_eq!(leaders(&history), None);
    // The next rank takes over, and the highest again when it is back and has its rank.
    let back = [
        (200, down(1)),
        (250, holds(2, 2)),
        (250, holds(3, 2)),
        (400, start_by(1, Elects::Rank)),
        (550, rank(1, 3)),
    ];
    let again = [(560, holds(1, 1)), (561, holds(2, 1)), (562, holds(3, 1)), (800, What::End)];
    assert_eq!(verdicts(&three_by_rank(back.iter().cloned().chain(again))), "...");
    // Its rank begins its part in the election: all have the bound from then.
    assert_eq!(verdicts(&three_by_rank(back.iter().cloned().chain([(649, What::End)]))), "...");
    assert_eq!(verdicts(&three_by_rank(back.into_iter().chain([(650, What::End)]))), "x.x");
}

#[test]
fn a_rank_that_is_not_the_highest_is_named_though_its_node_has_the_highest_id() {
    let all = (1..=3).map(|node| (20, holds(node, 3)));
    let history = three_by_rank(all.chain([(102, What::End)]));
    let (at, why) = violation("highest_live_id_wins", &history);
    assert_eq!(at, 102);
    assert_eq!(
        why,
        "node 1 holds node 3 coordinator, but the highest within its reach is 1, by its rank 3 at \
         102.0 ms, undisturbed since 2.0 ms"
    );
    assert_eq!(verdicts(&history), "..x");
    let dead = three_by_rank(
        [(200, down(1)), (210, holds(2, 3)), (210, holds(3, 3))]
            .into_iter()
            .chain([(300, What::End)]),
    );
    assert_eq!(verdicts(&dead), "..x");
}

#[test]
fn without_a_rank_a_node_takes_no_part() {
    let fresh = (200, start_by(3, Elects::Rank));
    let history = three_by_rank([fresh.clone(), (400, What::End)]);
    assert_eq!(verdicts(&history), "...");
    // Whoever holds it coordinator is as wrong as with one that is down.
    let held = three_by_rank([fresh.clone(), (210, holds(2, 3)), (400, What::End)]);
    let (_, why) = violation("election_terminates", &held);
    assert!(why.starts_with("node 2 holds node 3 coordinator, which takes no part"), "{why}");
    assert_eq!(verdicts(&held), "xxx");
    // Once it has one, it has to hold somebody in time; what others say of its rank is not enough.
    let told = (210, What::fact(1, Rank { id: NodeId(3), rank: 1 }));
    assert_eq!(verdicts(&three_by_rank([fresh.clone(), told, (400, What::End)])), "...");
    assert_eq!(verdicts(&three_by_rank([fresh, (210, rank(3, 1)), (400, What::End)])), "x..");
    let nobody = (1..=3).map(|node| (0, start_by(node, Elects::Rank)));
    let nobody = self::history(nobody.chain([(400, What::End)]));
    match check("election_terminates", &nobody) {
        Verdict::Unknown { why } => assert!(why.contains("no node takes part"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_pause_and_each_fault_suspends_while_it_lasts_and_for_the_bound_after() {
    // Node 1 loses faith at 120 ms, in spite of a calm cluster but for what comes before.
    let broken = |before: &[(u64, What)], end| {
        verdicts(&three(before.iter().cloned().chain([(120, holds(1, 1)), (end, What::End)])))
    };
    assert_eq!(broken(&[], 120), ".xx");
    let loss = |at, until| (at, fault(FaultKind::Other, until));
    assert_eq!(broken(&[loss(10, 130)], 229), "???");
    assert_eq!(broken(&[loss(10, 130)], 230), ".xx");
    assert_eq!(broken(&[loss(110, 110)], 120), "...");
    assert_eq!(broken(&[loss(110, 110)], 210), ".xx");
    assert_eq!(broken(&[loss(10, 50), loss(20, 30)], 149), "???");
    assert_eq!(broken(&[loss(10, 50), loss(20, 30)], 150), ".xx");
    assert_eq!(broken(&[(110, pause(2, true))], 1_000), "...");
    assert_eq!(broken(&[(110, pause(2, true)), (115, pause(2, false))], 214), "...");
    assert_eq!(broken(&[(110, pause(2, true)), (115, pause(2, false))], 215), ".xx");
    // A crash ends a pause.
    assert_eq!(broken(&[(110, pause(2, true)), (115, down(2))], 215), ".xx");
    assert_eq!(broken(&[(10, fault(FaultKind::Duplicate, 500))], 120), ".xx");
    assert_eq!(broken(&[loss(10, u64::MAX / MS)], 900), "???");
    assert_eq!(broken(&[loss(10, 5)], 120), ".xx");
}

#[test]
fn what_is_over_in_the_same_moment_does_not_count() {
    let history = three([(150, holds(1, 1)), (150, holds(1, 3)), (200, What::End)]);
    assert_eq!(verdicts(&history), "...");
    let history = three([(150, holds(1, 1)), (151, holds(1, 3)), (200, What::End)]);
    assert_eq!(violation("highest_live_id_wins", &history).0, 150);
}

#[test]
fn the_sides_of_a_partition_elect_each_for_themselves() {
    let parted = |more: &[(u64, What)]| {
        let all = [(20, partition(&[1, 2], 300)), (50, holds(1, 2)), (51, holds(2, 2))];
        three(all.into_iter().chain(more.iter().cloned()))
    };
    assert_eq!(verdicts(&parted(&[(299, What::End)])), "...");
    // Healed, they have the same bound to be one again.
    assert_eq!(verdicts(&parted(&[(399, What::End)])), "...");
    assert_eq!(verdicts(&parted(&[(400, What::End)])), ".xx");
    let healed = [(350, holds(1, 3)), (351, holds(2, 3)), (400, What::End)];
    assert_eq!(verdicts(&parted(&healed)), "...");
    // Who goes on believing in the other side holds nobody who could help.
    let loyal = three([(20, partition(&[3], 300)), (299, What::End)]);
    let (at, why) = violation("election_terminates", &loyal);
    assert_eq!(at, 120);
    assert!(why.starts_with("node 1 holds node 3 coordinator, which is beyond a partition"));
    assert_eq!(verdicts(&loyal), "x.x");
}

#[test]
fn partitions_at_one_time_are_intersected() {
    // 1 | 2 | 3, from 30 to 200; then 1 | 2 3 until 400.
    let parts = [(20, partition(&[1], 400)), (30, partition(&[1, 2], 200))];
    let alone = [(50, holds(1, 1)), (50, holds(2, 2))];
    let history = |more: &[(u64, What)]| {
        three(parts.iter().chain(&alone).cloned().chain(more.iter().cloned()))
    };
    assert_eq!(verdicts(&history(&[(199, What::End)])), ".?.", "each is alone");
    assert_eq!(verdicts(&history(&[(300, What::End)])), ".xx");
    assert_eq!(verdicts(&history(&[(250, holds(2, 3)), (399, What::End)])), "...");
}

#[test]
fn two_that_hold_themselves_coordinator_are_named_when_it_lasts() {
    let until = |end| three([(200, holds(2, 2)), (end, holds(2, 3)), (900, What::End)]);
    assert_eq!(leaders(&until(210)), None);
    assert_eq!(leaders(&until(211)), Some(210 * MS + 1));
    let (_, why) = violation("one_coordinator", &until(211));
    assert_eq!(
        why,
        "nodes 3 and 2 each hold themselves coordinator from 200.0 ms on, for longer than \
         10.0 ms"
    );
    // To the end of the run counts too.
    assert_eq!(leaders(&three([(200, holds(2, 2)), (210, What::End)])), None);
    assert_eq!(leaders(&three([(200, holds(2, 2)), (211, What::End)])), Some(210 * MS + 1));
}

#[test]
fn no_disturbance_excuses_two_coordinators_but_who_cannot_act_is_none() {
    let parted = three([(20, partition(&[2], 900)), (50, holds(2, 2)), (100, What::End)]);
    assert_eq!(leaders(&parted), Some(60 * MS + 1));
    let dead = three([(50, down(3)), (60, holds(2, 2)), (900, What::End)]);
    assert_eq!(leaders(&dead), None);
    let held_up = |more: &[(u64, What)]| {
        let paused = [(50, pause(3, true)), (60, holds(2, 2)), (300, pause(3, false))];
        leaders(&three(paused.into_iter().chain(more.iter().cloned())))
    };
    assert_eq!(held_up(&[(305, holds(3, 2)), (900, What::End)]), None);
    assert_eq!(held_up(&[(900, What::End)]), Some(310 * MS + 1));
    // Saying it again is no new reign.
    let again = three([(50, holds(2, 2)), (55, holds(2, 2)), (61, holds(2, 1)), (99, What::End)]);
    assert_eq!(leaders(&again), Some(60 * MS + 1));
    // Three that take turns are never two for long.
    let turns = three([(50, holds(2, 2)), (56, holds(3, 2)), (60, holds(1, 1)), (66, holds(2, 1))]);
    assert_eq!(leaders(&turns), None);
}

#[test]
fn what_says_nothing_of_elections_is_not_known() {
    let send = What::Send { node: 1, message: 1, lamport: 1, event: 1 };
    for timeline in [vec![], vec![(0, send)], vec![(0, down(1)), (900, What::End)]] {
        let history = history(timeline);
        assert_eq!(verdicts(&history), "???");
        assert!(matches!(check("one_coordinator", &history), Verdict::Unknown { .. }));
    }
    // Nodes that start and never elect do not terminate.
    assert_eq!(verdicts(&history([(0, start(1)), (100, What::End)])), "x??");
}

#[test]
fn times_at_the_end_of_their_range_are_no_trouble() {
    let far = u64::MAX / MS;
    let history = history([
        (far, start(1)),
        (far, fault(FaultKind::Other, far)),
        (0, partition(&[7], far)),
        (far, holds(1, 1)),
        (1, pause(4, false)),
    ]);
    for property in CALM.into_iter().chain(["one_coordinator"]) {
        check(property, &history);
    }
}

fn reign(node: u32, id: u32, epoch: u64) -> What {
    What::fact(node, Coordinator { id: NodeId(id), epoch: Epoch(epoch) })
}

#[test]
fn of_one_coordinator_two_epochs_are_two_reigns() {
    let late = three([(10, reign(3, 3, 7)), (11, reign(2, 3, 7)), (200, What::End)]);
    assert_eq!(verdicts(&late), ".x.");
    let (_, why) = violation("one_coordinator_per_component", &late);
    assert!(why.starts_with("node 1 holds node 3 coordinator in epoch 1, but node 2 in epoch 7"));
    let told = [(10, reign(3, 3, 7)), (11, reign(2, 3, 7)), (12, reign(1, 3, 7)), (200, What::End)];
    assert_eq!(verdicts(&three(told)), "...");
}

#[test]
fn a_node_that_goes_back_to_an_earlier_reign_is_named() {
    let verdict = |more: &[(u64, What)]| check("reigns_go_forward", &three(more.to_vec()));
    assert!(matches!(verdict(&[]), Verdict::Unknown { .. }), "each node saw one reign");
    assert!(matches!(check("reigns_go_forward", &history([])), Verdict::Unknown { .. }));
    assert_eq!(verdict(&[(10, reign(1, 2, 2))]), Verdict::Held);
    let broken = three([(10, reign(1, 2, 4)), (12, reign(1, 3, 3)), (20, What::End)]);
    let (at, why) = violation("reigns_go_forward", &broken);
    assert_eq!(at, 12);
    assert_eq!(why, "node 1 turns to node 3 in epoch 3 at 12.0 ms, after node 2 in epoch 4");
    // Of one epoch the higher id is the later reign; a node that starts knows none.
    assert!(matches!(verdict(&[(10, reign(1, 2, 1))]), Verdict::Violated(_)));
    let again = [(10, reign(1, 2, 9)), (11, reign(1, 2, 10)), (12, start(1)), (13, reign(1, 3, 1))];
    assert_eq!(verdict(&again), Verdict::Held);
}

#[test]
fn a_node_that_hears_a_higher_one_turns_to_nobody_below_it() {
    let send = |at, node, message| (at, What::Send { node, message, lamport: 1, event: message });
    let receive = |at, node, message| (at, What::Receive { node, message, lamport: 1 });
    let link = |at, node, peer| (at, What::Link { node, peer, up: false });
    let judge = |more: &[(u64, What)]| {
        let mut history = three(more.to_vec());
        history.bounds = history.bounds.with(&ALIVE, 50 * MS);
        history
    };
    let verdict = |more: &[(u64, What)]| check("live_higher_prevails", &judge(more));
    assert!(matches!(verdict(&[]), Verdict::Unknown { .. }), "nobody heard anybody");
    let hears = [send(10, 3, 1), receive(11, 1, 1)];
    let turns = |at, more: &[(u64, What)]| [&hears[..], more, &[(at, reign(1, 2, 9))]].concat();
    let (at, why) = violation("live_higher_prevails", &judge(&turns(60, &[])));
    assert_eq!(at, 60);
    assert_eq!(
        why,
        "node 1 turns to node 2 in epoch 9 at 60.0 ms, though it heard node 3 at 11.0 ms"
    );
    // It heard it too long ago, or the link is lost, or it started anew, or nobody knows its time.
    let clock = (12, fault(FaultKind::Clock(1), 12));
    for more in [turns(61, &[]), turns(30, &[link(20, 1, 3)]), turns(30, &[(20, start(1))])] {
        assert!(matches!(verdict(&more), Verdict::Unknown { .. }), "{more:?}");
    }
    assert!(matches!(verdict(&turns(30, &[clock])), Verdict::Unknown { .. }));
    let lower = [send(10, 2, 1), receive(11, 1, 1), (12, reign(1, 3, 9))];
    assert_eq!(verdict(&lower), Verdict::Held);
}

#[test]
fn who_is_cut_off_is_told_first() {
    let history = three([(100, partition(&[1, 2], 1_000)), (300, What::End)]);
    let verdict = crate::check("election_terminates", &history);
    let Verdict::Violated(found) = verdict else { panic!("node 3 is out of reach") };
    let says =
        "the partition of [1, 2] from the others began at 100.0 ms: nothing disturbs after it";
    assert_eq!(found.witnesses[0].says, says);
    assert_eq!(found.witnesses[1].role, "coordinator held");
}
