//! Tests of what becomes of elements.

use super::*;
use crate::testing::{Line, run_of};
use node_core::Rng;

const FINAL: u64 = 1_000_000_000;

/// An addition, answered or not, or a read and what it shows: client, times in milliseconds.
#[derive(Clone, Debug)]
enum Did {
    Add(u64, u32, u64, Option<u64>),
    Refused(u64, u32, u64, u64),
    Read(u64, u64, u64, Vec<u32>),
}

fn run(did: &[Did]) -> Run {
    let texts: Vec<(String, String)> = did
        .iter()
        .map(|one| match one {
            Did::Add(_, element, ..) => {
                (format!(r#"{{"type":"add","element":{element}}}"#), r#"{"type":"add_ok"}"#.into())
            }
            Did::Refused(_, element, ..) => (
                format!(r#"{{"type":"broadcast","message":{element}}}"#),
                r#"{"type":"error","code":11}"#.into(),
            ),
            Did::Read(.., shown) => (
                r#"{"type":"read"}"#.into(),
                format!(r#"{{"type":"read_ok","messages":{shown:?}}}"#),
            ),
        })
        .collect();
    let line = |(one, (request, reply)): (&Did, &'_ (String, String))| -> Line<'static> {
        let (request, reply) = (request.clone().leak(), &*reply.clone().leak());
        match one {
            Did::Add(client, _, at, end) => (*client, request, *at, end.map(|end| (end, reply))),
            Did::Refused(client, _, at, end) | Did::Read(client, at, end, _) => {
                (*client, request, *at, Some((*end, reply)))
            }
        }
    };
    run_of(&did.iter().zip(&texts).map(line).collect::<Vec<_>>())
}

fn broken(verdict: Verdict) -> Option<(Vec<usize>, String)> {
    match verdict {
        Verdict::Held => None,
        Verdict::Violated(violation) => Some((violation.ops(), violation.why)),
        other => panic!("{other:?}"),
    }
}

use Did::{Add, Read, Refused};

#[test]
fn what_is_acknowledged_is_read_at_last() {
    let good = [Add(0, 7, 1, Some(2)), Read(1, 3, 4, vec![]), Read(1, 5, 6, vec![7])];
    assert_eq!(broken(delivers(&run(&good))), None);
    let sets = sets(&run(&good));
    assert_eq!((sets.stable, sets.stale, &sets.latencies[..]), (1, 1, &[1_000_001][..]));
    let lost = [Add(0, 7, 1, Some(2)), Read(1, 3, 4, vec![7]), Read(1, 5, 6, vec![])];
    let (ops, why) = broken(delivers(&run(&lost))).unwrap();
    assert_eq!(ops, [2, 0]);
    let expected = "1 element is lost: n0 was asked for 7 at 1.0 ms, and acknowledged it at \
                    2.0 ms; n0 does not show it at 5.0 ms";
    assert_eq!(why, expected);
}

#[test]
fn what_was_seen_is_known_though_nobody_acknowledged_it() {
    let lost = [Add(0, 7, 1, None), Read(1, 3, 4, vec![7]), Read(1, 5, 6, vec![])];
    let (ops, why) = broken(delivers(&run(&lost))).unwrap();
    assert_eq!(ops, [2, 0]);
    assert!(why.contains("did not acknowledge it, but it was read"), "{why}");
    let never = [Add(0, 7, 1, None), Read(1, 3, 4, vec![])];
    assert!(matches!(delivers(&run(&never)), Verdict::Unknown { .. }));
}

#[test]
fn a_read_that_began_before_it_was_known_need_not_show_it() {
    let open = [Add(0, 7, 1, Some(5)), Read(1, 5, 6, vec![])];
    assert!(matches!(delivers(&run(&open)), Verdict::Unknown { .. }));
    assert_eq!(sets(&run(&open)).never_read, 1);
    assert!(matches!(delivers(&Run::default()), Verdict::Unknown { .. }));
}

/// Jepsen's checker would call it stable, as the read that began last shows it.
#[test]
fn every_nodes_last_read_shows_it() {
    let one = [Add(0, 7, 1, Some(2)), Read(FINAL, 9, 9, vec![]), Read(FINAL + 1, 9, 9, vec![7])];
    let (ops, why) = broken(delivers(&run(&one))).unwrap();
    assert_eq!(ops, [1, 0]);
    assert!(why.ends_with("at 9.0 ms, in the end"), "{why}");
}

#[test]
fn nothing_comes_from_nowhere_nor_twice() {
    let good = [Add(0, 7, 1, None), Read(1, 3, 4, vec![7])];
    assert_eq!(broken(no_phantoms(&run(&good))), None);
    assert_eq!(broken(no_duplicates(&run(&good))), None);
    for phantom in [
        vec![Read(1, 3, 4, vec![9])],
        vec![Refused(0, 9, 1, 2), Read(1, 3, 4, vec![9])],
        vec![Read(1, 3, 4, vec![9]), Add(0, 9, 5, Some(6))],
    ] {
        let (ops, why) = broken(no_phantoms(&run(&phantom))).unwrap();
        assert_eq!(ops.len(), 1);
        assert!(why.starts_with("n0 shows 9 at 3.0 ms"), "{why}");
    }
    let twice = [Add(0, 7, 1, None), Read(1, 3, 4, vec![7, 7])];
    assert_eq!(broken(no_duplicates(&run(&twice))).unwrap().0, [1]);
    let empty = [Add(0, 7, 1, None), Read(1, 3, 4, vec![])];
    assert!(matches!(no_phantoms(&run(&empty)), Verdict::Unknown { .. }));
    assert!(matches!(no_duplicates(&run(&empty)), Verdict::Unknown { .. }));
}

#[test]
fn a_read_that_is_no_list_is_told() {
    let lines = [(0, r#"{"type":"read"}"#, 1, Some((2, r#"{"type":"read_ok","messages":7}"#)))];
    let (_, why) = broken(delivers(&run_of(&lines))).unwrap();
    assert_eq!(why, "n0 answered read_ok without a list");
}

#[test]
fn quantiles_are_jepsens() {
    assert_eq!(quantile(&[], 50), None);
    assert_eq!(quantile(&[4], 100), Some(4));
    let four = [1, 2, 3, 4];
    assert_eq!([0, 50, 95, 100].map(|percent| quantile(&four, percent).unwrap()), [1, 3, 4, 4]);
}

/// The definitions, read by read: stable elements with their latencies, and lost ones.
fn naive(did: &[Did]) -> (Vec<u64>, Vec<u32>, bool, bool) {
    let mut reads: Vec<(usize, u64, u64, bool, &Vec<u32>)> = did
        .iter()
        .enumerate()
        .filter_map(|(place, one)| match one {
            Read(client, at, end, shown) => Some((place, *at, *end, *client >= FINAL, shown)),
            Add(..) | Refused(..) => None,
        })
        .collect();
    reads.sort_by_key(|read| (read.1, read.0));
    let (mut latencies, mut lost) = (Vec::new(), Vec::new());
    for one in did {
        let Add(_, element, asked, acknowledged) = one else { continue };
        let shows = |read: &(usize, u64, u64, bool, &Vec<u32>)| read.4.contains(element);
        let seen = reads.iter().filter(|read| shows(read) && read.2 >= *asked).map(|read| read.2);
        let Some(known) = seen.chain(*acknowledged).min() else { continue };
        let misses = |read: &(usize, u64, u64, bool, &Vec<u32>)| !shows(read) && read.2 >= *asked;
        let about: Vec<_> = reads.iter().filter(|read| shows(read) || misses(read)).collect();
        let last_is_missing = about.last().is_some_and(|read| misses(read) && read.1 > known);
        let end_is_missing = about.iter().any(|read| read.3 && misses(read) && read.1 > known);
        if last_is_missing || end_is_missing {
            lost.push(*element);
        } else if about.last().is_some_and(|read| shows(read)) {
            let before = about.iter().filter(|read| misses(read)).map(|read| read.1 * MS + 1).max();
            latencies.push(before.unwrap_or(0).saturating_sub(known * MS));
        }
    }
    latencies.sort_unstable();
    let added = |element: u32, end: u64| {
        did.iter().any(|one| matches!(one, Add(_, e, at, _) if *e == element && *at <= end))
    };
    let phantom = reads.iter().any(|read| read.4.iter().any(|one| !added(*one, read.2)));
    let twice = |shown: &Vec<u32>| shown.iter().collect::<BTreeSet<_>>().len() < shown.len();
    let twice = reads.iter().any(|read| twice(read.4));
    (latencies, lost, phantom, twice)
}

/// Nodes that get what is broadcast after a while, or not.
fn history(rng: &mut Rng) -> Vec<Did> {
    let is_broken = rng.below(3) == 0;
    let nodes = 1 + rng.below(3);
    let (mut did, mut at) = (Vec::new(), vec![0_u64; nodes as usize + 1]);
    // When each element is at each node.
    let mut there: Vec<(u32, Vec<Option<u64>>)> = Vec::new();
    for element in 0..2 + rng.below(7) as u32 {
        let client = rng.below(nodes);
        let start = at[client as usize] + rng.below(4);
        let end = start + rng.below(4);
        at[client as usize] = end;
        if rng.below(2) == 0 {
            if rng.below(6) == 0 {
                did.push(Refused(client, element, start, end));
                continue;
            }
            let answered = (rng.below(5) > 0).then_some(end);
            did.push(Add(client, element, start, answered));
            let mut arrives = |node| match is_broken && rng.below(4) == 0 {
                true => None,
                false => Some(start + if node == client { 0 } else { rng.below(12) }),
            };
            there.push((element, (0..nodes).map(&mut arrives).collect()));
        } else {
            did.push(read(client, client, start, end, &there, is_broken, rng));
        }
    }
    let end = at.iter().max().unwrap() + rng.below(16);
    for node in 0..nodes {
        did.push(read(FINAL + node, node, end, end + rng.below(2), &there, is_broken, rng));
    }
    did
}

fn read(
    client: u64,
    node: u64,
    start: u64,
    end: u64,
    there: &[(u32, Vec<Option<u64>>)],
    is_broken: bool,
    rng: &mut Rng,
) -> Did {
    let has = |at: &Option<u64>| at.is_some_and(|at| at <= end);
    let shown = there.iter().filter(|(_, at)| has(&at[node as usize])).map(|(one, _)| *one);
    let mut shown: Vec<u32> = shown.collect();
    if is_broken {
        match rng.below(12) {
            0 => drop(shown.pop()),
            1 => shown.push(rng.below(9) as u32),
            _ => {}
        }
    }
    Read(client, start, end, shown)
}

#[test]
fn agrees_with_the_definitions_read_by_read() {
    let mut rng = Rng::stream(1, "set");
    let (mut lost_runs, mut phantoms, mut stable) = (0, 0, 0);
    for n in 0..10_000 {
        let did = history(&mut rng);
        let run = run(&did);
        let sets = sets(&run);
        let (latencies, lost, phantom, twice) = naive(&did);
        let told = |place: &usize| match &did[*place] {
            Add(_, element, ..) => *element,
            other => panic!("{other:?} is no addition"),
        };
        assert_eq!(sets.latencies, latencies, "history {n}: {did:?}");
        let told: Vec<u32> = sets.lost.iter().map(|(add, _)| told(add)).collect();
        assert_eq!(told, lost, "history {n}: {did:?}");
        assert_eq!(sets.phantoms.is_empty(), !phantom, "history {n}: {did:?}");
        assert_eq!(sets.duplicated.is_empty(), !twice, "history {n}: {did:?}");
        let is_violated = |verdict| matches!(verdict, Verdict::Violated(_));
        assert_eq!(is_violated(delivers(&run)), !lost.is_empty());
        assert_eq!(is_violated(no_phantoms(&run)), phantom);
        assert_eq!(is_violated(no_duplicates(&run)), twice);
        lost_runs += usize::from(!lost.is_empty());
        phantoms += usize::from(phantom);
        stable += usize::from(!latencies.is_empty());
    }
    let told =
        format!("{lost_runs} with lost ones, {phantoms} with phantoms, {stable} with stable ones");
    assert!(lost_runs > 1_500 && phantoms > 300 && stable > 5_000, "{told}");
}
