//! Tests of the study of this protocol: its checkers against small runs.

use super::super::*;
use super::*;
use crate::check;
use node_lab::study::Bounds;

const MS: u64 = 1_000_000;

/// A history with heartbeats of 100 ms, a timeout of 500 ms and 20 ms to notice, of which 10 ms are
/// a message's; times are milliseconds. Node 9 keeps the list, and nodes 1 and 2 have been on it
/// since 10 ms.
fn history(more: impl IntoIterator<Item = (u64, What)>) -> Run {
    let nodes = [9, 1, 2].map(|node| (0, What::Start { node, durable: true, runs: Vec::new() }));
    let all = nodes.into_iter().chain([(10, listed(1, 1)), (10, listed(2, 2))]).chain(more);
    let timeline = all.map(|(at, what)| Happening { at: at * MS, what });
    let bounds = Bounds::default()
        .with(&HEARTBEAT, 100 * MS)
        .with(&TIMEOUT, 500 * MS)
        .with(&DELAY, 10 * MS)
        .with(&NOTICE, 20 * MS);
    let timeline = timeline.collect();
    Run { timeline, bounds, is_simulated: true, ..Run::default() }
}

fn listed(id: u32, rank: u32) -> What {
    What::fact(9, Listed { id: NodeId(id), rank, on: true })
}

fn off(id: u32) -> What {
    What::fact(9, Listed { id: NodeId(id), rank: id, on: false })
}

fn down(node: u32) -> What {
    What::Down { node }
}

fn start(node: u32) -> What {
    What::Start { node, durable: true, runs: Vec::new() }
}

fn pause(node: u32, on: bool) -> What {
    What::Pause { node, on }
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

fn death(more: impl IntoIterator<Item = (u64, What)>) -> &'static str {
    verdict("death_noticed_in_time", &history(more))
}

#[test]
fn a_death_is_noticed_within_its_bounds() {
    let dies = |off_at: Option<u64>, end| {
        let off = off_at.map(|at| (at, off(1)));
        death([Some((1_000, down(1))), off, Some((end, What::End))].into_iter().flatten())
    };
    assert_eq!(dies(Some(1_390), 3_000), "held");
    assert_eq!(dies(Some(1_389), 3_000), "violated");
    assert_eq!(dies(Some(1_520), 3_000), "held");
    assert_eq!(dies(Some(1_521), 3_000), "violated");
    assert_eq!(dies(None, 1_520), "held");
    assert_eq!(dies(None, 1_521), "violated");
    // It came back, and was heard before its time was over.
    assert_eq!(death([(1_000, down(1)), (1_300, start(1)), (3_000, What::End)]), "held");
    // A pause is a death, and the pause after it goes on with it.
    assert_eq!(death([(1_000, pause(1, true)), (3_000, What::End)]), "violated");
    let twice = [(1_000, pause(1, true)), (1_390, pause(1, false)), (1_395, down(1))];
    assert_eq!(death(twice.into_iter().chain([(1_400, off(1)), (3_000, What::End)])), "held");
}

#[test]
fn nobody_else_is_taken_off_the_list() {
    assert_eq!(death([(1_000, off(1))]), "violated");
    assert_eq!(death([(1_000, down(2)), (1_450, off(1))]), "violated");
    // What it says now may not have been heard.
    let back = |at| death([(1_000, down(1)), (1_400, start(1)), (at, off(1))]);
    assert_eq!(back(1_450), "held");
    assert_eq!(back(1_520), "held");
    assert_eq!(back(1_521), "violated");
}

#[test]
fn a_keepers_time_stands_still_while_it_is_held_up() {
    let dead = |more: Vec<(u64, What)>| death([(1_000, down(1))].into_iter().chain(more));
    let held_up = |from, until| [(from, pause(9, true)), (until, pause(9, false))];
    let end = |at| (at, What::End);
    assert_eq!(dead(vec![end(1_600)]), "violated");
    assert_eq!(dead([&held_up(1_100, 1_200)[..], &[end(1_620)]].concat()), "held");
    assert_eq!(dead([&held_up(1_100, 1_200)[..], &[end(1_621)]].concat()), "violated");
    assert_eq!(dead(vec![(1_100, pause(9, true)), end(5_000)]), "held");
    // It died while the keeper was held up.
    let [begins, ends] = held_up(900, 1_200);
    let before = |at| death([begins.clone(), (1_000, down(1)), ends.clone(), end(at)]);
    assert_eq!((before(1_720), before(1_721)), ("held", "violated"));
    // Not before its time by the keeper's time, but for what that does not know of each pause.
    let off_at = |from, until, at| dead([&held_up(from, until)[..], &[(at, off(1))]].concat());
    assert_eq!(off_at(1_100, 1_200, 1_390), "violated");
    assert_eq!(off_at(1_100, 1_200, 1_469), "violated");
    assert_eq!(off_at(1_100, 1_200, 1_470), "held");
    let fault = What::Fault { kind: FaultKind::Other, until: 1_500 * MS };
    assert_eq!(dead(vec![(1_100, fault), end(1_600)]), "held");
}

#[test]
fn a_keeper_that_was_held_up_drops_nobody_for_it() {
    for (from, until) in [(1_000, 1_001), (1_000, 9_000)] {
        let held_up = [(from, pause(9, true)), (until, pause(9, false))];
        for at in [until, until + 1, until + 50, until + 121, until + 5_000] {
            let drops = held_up.iter().cloned().chain([(at, off(1))]);
            assert_eq!(death(drops), "violated", "{from} to {until}, at {at}");
        }
    }
    // One that had long been silent then may go before it is heard.
    let long =
        [(1_000, down(1)), (1_450, pause(9, true)), (1_460, start(1)), (1_470, pause(9, false))];
    let at = |at| death(long.iter().cloned().chain([(at, off(1)), (at + 100, listed(1, 1))]));
    assert_eq!((at(1_500), at(1_591)), ("held", "violated"));
}

#[test]
fn who_comes_back_is_listed_again() {
    let back = [(1_000, down(1)), (1_450, off(1)), (2_000, start(1))];
    let then = |more: Vec<(u64, What)>| death(back.iter().cloned().chain(more));
    assert_eq!(then(vec![(2_120, What::End)]), "held");
    assert_eq!(then(vec![(2_121, What::End)]), "violated");
    assert_eq!(then(vec![(2_120, listed(1, 1)), (9_000, What::End)]), "held");
    assert_eq!(then(vec![(2_100, down(1)), (9_000, What::End)]), "held");
    // Neither is heard of by a keeper that is held up, or that starts.
    let held_up = [(2_050, pause(9, true)), (3_000, pause(9, false))];
    assert_eq!(then([&held_up[..], &[(3_120, What::End)]].concat()), "held");
    assert_eq!(then([&held_up[..], &[(3_121, What::End)]].concat()), "violated");
    let forgot = [(1_000, down(9)), (1_200, start(9))];
    let again = [(1_210, listed(1, 1)), (1_220, listed(2, 2))];
    let then = |more: &[(u64, What)]| death([&forgot[..], more].concat());
    assert_eq!(then(&[&again[..], &[(5_000, What::End)]].concat()), "held");
    assert_eq!(then(&[again[0].clone(), (5_000, What::End)]), "violated");
    // It does not list the dead again; or did, by what was on its way.
    let forgot = [(1_000, down(9)), (1_100, down(1)), (1_200, start(9)), again[1].clone()];
    assert_eq!(death([&forgot[..], &[(5_000, What::End)]].concat()), "held");
    assert_eq!(
        death([&forgot[..], &[(1_221, listed(1, 1)), (5_000, What::End)]].concat()),
        "violated"
    );
}

#[test]
fn nobody_leaves_a_list_twice() {
    let off_twice = [(1_000, down(1)), (1_450, off(1)), (1_460, off(1))];
    assert_eq!(death(off_twice.clone()), "violated");
    assert_eq!(
        death([(1_000, down(1)), (1_450, off(1)), (1_455, listed(1, 1)), (1_955, off(1))]),
        "held"
    );
    let unknown = off(3);
    assert_eq!(death([(1_000, unknown)]), "violated");
}

#[test]
fn ranks_are_of_one_node_for_ever() {
    let ranks = |more: Vec<(u64, What)>| verdict("ranks_unique_and_stable", &history(more));
    let rank = |node, id, rank| (50, What::fact(node, Rank { id: NodeId(id), rank }));
    assert_eq!(ranks(vec![rank(1, 1, 1), rank(2, 1, 1), rank(1, 2, 2), rank(1, 3, 3)]), "held");
    assert_eq!(ranks(vec![rank(1, 1, 1), rank(2, 1, 3)]), "violated");
    assert_eq!(ranks(vec![rank(1, 3, 2)]), "violated");
    // The reference server came back and gave the first rank again.
    assert_eq!(ranks(vec![(20, down(9)), (30, start(9)), (40, listed(2, 1))]), "violated");
}

#[test]
fn without_a_list_there_is_no_verdict() {
    let timeline = vec![Happening { at: 0, what: start(1) }, Happening { at: 5, what: What::End }];
    let silent = Run { timeline, ..Run::default() };
    for property in ["ranks_unique_and_stable", "death_noticed_in_time"] {
        assert_eq!(verdict(property, &silent), "unknown");
    }
    assert_eq!(death([(509, What::End)]), "unknown", "nobody was there for long");
    assert_eq!(death([(510, What::End)]), "held");
    let from_traces = Run { is_simulated: false, ..history([(3_000, What::End)]) };
    assert_eq!(verdict("death_noticed_in_time", &from_traces), "unknown");
    let once = Run { timeline: from_traces.timeline[..4].to_vec(), ..from_traces };
    assert_eq!(verdict("ranks_unique_and_stable", &once), "unknown", "one rank, said once");
}
