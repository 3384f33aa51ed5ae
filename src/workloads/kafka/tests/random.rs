//! Random histories of a correct model, a third of them broken on purpose, and judged twice: by the
//! checkers, and by what properties say, word for word.

use super::*;
use history::{Sent, What};

/// How a history is broken.
const MUTATIONS: [&str; 8] =
    ["lose", "swap", "repeat", "skip", "reuse", "rewrite", "forget", "promise"];

/// A request of the model, its times, and its answer where it has one.
type Row = (u64, String, u64, Option<(u64, String)>);

/// What clients who take turns ask of logs, with answers that may come late, or never.
fn random(rng: &mut Rng, mutation: Option<&str>) -> Vec<Row> {
    let mut logs: BTreeMap<&str, Vec<(i64, u64)>> = BTreeMap::new();
    let mut committed: BTreeMap<&str, i64> = BTreeMap::new();
    let mut positions: BTreeMap<(u64, &str), i64> = BTreeMap::new();
    let mut rows = Vec::new();
    let count = 6 + rng.below(14);
    for n in 0..count + 4 {
        let is_last = n >= count;
        let client = if is_last { FINAL + n % 2 } else { rng.below(3) };
        let key = if is_last { ["a", "b"][(n - count) as usize / 2] } else { "a" };
        let key = if !is_last && rng.below(3) == 0 { "b" } else { key };
        let is_broken = rng.below(3) == 0;
        let broken = mutation.filter(|_| is_broken).unwrap_or_default();
        let log = logs.entry(key).or_default();
        let next = log.last().map_or(0, |(offset, _)| offset + 1);
        let position = positions.entry((client, key)).or_default();
        let (asked, told) = match if is_last { 5 } else { rng.below(9) } {
            0..=3 => {
                let mut offset = next + i64::from(rng.below(4) == 0);
                if broken == "reuse" && next > 0 {
                    offset = rng.below(next as u64) as i64;
                }
                if broken != "lose" {
                    log.push((offset, n));
                }
                (format!("s {key} {n}"), offset.to_string())
            }
            4..=6 => {
                let from = *position;
                let mut shown: Vec<(i64, u64)> =
                    log.iter().copied().filter(|(offset, _)| *offset >= from).collect();
                if !is_last {
                    shown.truncate(rng.below(5) as usize);
                }
                mutate(&mut shown, broken, rng);
                *position =
                    shown.iter().map(|(offset, _)| offset + 1).max().unwrap_or(from).max(from);
                let words = shown.iter().map(|(offset, message)| format!("{offset} {message}"));
                (format!("p {key} {from}"), words.collect::<Vec<_>>().join(" "))
            }
            7 if *position > 0 => {
                let offset = *position - 1;
                let known = committed.entry(key).or_insert(offset);
                if broken != "forget" {
                    *known = offset.max(*known);
                }
                (format!("c {key} {offset}"), "ok".into())
            }
            _ => {
                let mut known = committed.get(key).copied();
                if broken == "forget" {
                    known = known.filter(|known| *known > 0).map(|known| known - 1);
                }
                if broken == "promise" {
                    known = Some(known.unwrap_or_default() + 1);
                }
                *position = known.map_or(0, |known| known + 1);
                (format!("l {key}"), known.map_or(String::new(), |known| known.to_string()))
            }
        };
        let told = if rng.below(12) == 0 && !is_last { "-".into() } else { told };
        // Some begin before the one before has ended, as another client's.
        let (begin, end) = (10 * n + 1, 10 * n + 2 + 10 * rng.below(3));
        let answer = answered(&asked, &told).map(|it| (end, it.to_string()));
        rows.push((client, super::asked(&asked).to_string(), begin, answer));
    }
    rows
}

fn mutate(shown: &mut Vec<(i64, u64)>, broken: &str, rng: &mut Rng) {
    if shown.is_empty() {
        return;
    }
    let place = rng.below(shown.len() as u64) as usize;
    match broken {
        "swap" => shown.swap(0, place),
        "repeat" => shown.push(shown[place]),
        "skip" => drop(shown.remove(place)),
        "rewrite" => shown[place].1 = rng.below(20),
        _ => {}
    }
}

/// Whether a property is broken.
type Naive = fn(&[Call]) -> bool;
/// A checker, and what it is held against.
type Pair = (fn(&[Call]) -> Verdict, Naive);

type Shows<'a> = (&'a Call, &'a str, i64, Vec<(i64, &'a crate::json::Json)>);

fn polls(calls: &[Call]) -> Vec<Shows<'_>> {
    let mut all = Vec::new();
    for call in calls {
        let What::Poll { from, shown } = &call.what else { continue };
        for (key, from) in from {
            let list = shown.get(key).into_iter().flatten().map(|(at, it)| (*at, it)).collect();
            all.push((call, &**key, *from, list));
        }
    }
    all
}

fn sends(calls: &[Call]) -> Vec<(&Call, &str, i64, &crate::json::Json)> {
    let mut all = Vec::new();
    for call in calls {
        if let What::Send { key, message, sent: Sent::At(at) } = &call.what {
            all.push((call, &**key, *at, message));
        }
    }
    all
}

fn lost(calls: &[Call]) -> bool {
    let polls = polls(calls);
    sends(calls).iter().any(|(_, key, at, message)| {
        let of_key: Vec<_> = polls.iter().filter(|poll| poll.1 == *key).collect();
        let shows = |poll: &&&Shows<'_>| poll.3.contains(&(*at, *message));
        let reaches = of_key.iter().any(|poll| poll.3.iter().any(|one| one.0 >= *at));
        let never = !of_key.iter().any(|poll| shows(&poll));
        let last: Vec<_> = of_key.iter().filter(|poll| is_late(poll.0)).collect();
        let came = last.iter().any(|poll| {
            poll.2 <= *at && (poll.3.is_empty() || poll.3.iter().any(|one| one.0 >= *at))
        });
        reaches && never || came && !last.iter().any(shows)
    })
}

fn is_late(call: &Call) -> bool {
    call.client >= FINAL
}

fn unordered(calls: &[Call]) -> bool {
    let polls = polls(calls);
    let within = polls.iter().any(|poll| poll.3.windows(2).any(|two| two[0].0 >= two[1].0));
    let sends = sends(calls);
    let of_sends = sends.iter().enumerate().any(|(n, late)| {
        let before =
            sends[..n].iter().rev().find(|one| one.0.client == late.0.client && one.1 == late.1);
        before.is_some_and(|before| before.2 >= late.2)
    });
    let shown: Vec<_> = polls.iter().filter(|poll| !poll.3.is_empty()).collect();
    let between = shown.iter().enumerate().any(|(n, late)| {
        let same = |one: &&&Shows<'_>| one.0.client == late.0.client && one.1 == late.1;
        let Some(before) = shown[..n].iter().rev().find(same) else { return false };
        let is_anew = calls.iter().any(|call| {
            matches!(call.what, What::List { .. })
                && call.client == late.0.client
                && (before.0.place..late.0.place).contains(&call.place)
        });
        let most = before.3.iter().map(|one| one.0).max().unwrap();
        !is_anew && late.2 > most && late.3[0].0 <= most
    });
    within || of_sends || between
}

fn skips(calls: &[Call]) -> bool {
    let (polls, sends) = (polls(calls), sends(calls));
    polls.iter().any(|(_, key, from, shown)| {
        (*from..shown.iter().map(|one| one.0 + 1).max().unwrap_or(*from)).any(|at| {
            let is_sent = sends.iter().any(|send| send.1 == *key && send.2 == at);
            let has = |poll: &Shows<'_>| poll.1 == *key && poll.3.iter().any(|one| one.0 == at);
            (is_sent || polls.iter().any(has)) && shown.iter().all(|one| one.0 != at)
        })
    })
}

fn disagree(calls: &[Call]) -> bool {
    let mut all: Vec<_> = sends(calls).iter().map(|one| (one.1, one.2, one.3)).collect();
    for poll in polls(calls) {
        all.extend(poll.3.iter().map(|one| (poll.1, one.0, one.1)));
    }
    let is_sent = |at: &(&str, i64, &crate::json::Json)| {
        calls.iter().any(|call| match &call.what {
            What::Send { key, message, .. } => key == at.0 && message == at.2,
            _ => false,
        })
    };
    // Each message of these histories is sent once.
    all.iter().any(|one| {
        let differs = |other: &(&str, i64, &crate::json::Json)| {
            one.0 == other.0 && (one.1 == other.1) != (one.2 == other.2)
        };
        !is_sent(one) || all.iter().any(differs)
    })
}

fn goes_back(calls: &[Call]) -> bool {
    let commits: Vec<(&Call, &String, i64)> = calls
        .iter()
        .flat_map(|call| match &call.what {
            What::Commit(all) => all.iter().map(|(key, at)| (call, key, *at)).collect(),
            _ => Vec::new(),
        })
        .collect();
    calls.iter().any(|list| {
        let What::List { keys, offsets } = &list.what else { return false };
        let (key, done) = (&keys[0], list.done.unwrap());
        let of_key: Vec<_> =
            commits.iter().filter(|one| one.1 == key && one.0.asked < done).collect();
        let shown = offsets.get(key).copied();
        let is_more = shown.is_some_and(|shown| of_key.iter().all(|one| one.2 < shown));
        // What may be the last commit before the list, or with it.
        let is_hidden = of_key.iter().any(|one| {
            let is_done = one.0.done.is_some_and(|end| end <= list.asked);
            let later = |other: &&&(&Call, &String, i64)| {
                other.0.done.is_none_or(|end| end > one.0.asked) && Some(other.2) == shown
            };
            is_done && shown < Some(one.2) && of_key.iter().find(later).is_none()
        });
        is_more || is_hidden
    })
}

#[test]
fn checkers_agree_with_what_properties_say() {
    let pairs: [Pair; 5] = [
        (judge::no_lost_writes, lost),
        (judge::monotonic, unordered),
        (judge::no_skips, skips),
        (judge::consistent, disagree),
        (judge::commits, goes_back),
    ];
    let mut rng = Rng::stream(1, "kafka");
    let mut counts = [[0_u32; 2]; 5];
    for n in 0..10_000 {
        let mutation = (n % 3 == 0).then(|| MUTATIONS[rng.below(8) as usize]);
        let rows = random(&mut rng, mutation);
        let lines: Vec<Line<'_>> = rows
            .iter()
            .map(|(client, asked, at, told)| {
                (*client, &**asked, *at, told.as_ref().map(|(at, told)| (*at, &**told)))
            })
            .collect();
        let run = run_of(&lines);
        let calls = calls(&run);
        for (place, (judge, naive)) in pairs.iter().enumerate() {
            let (name, verdict, is_broken) =
                (Kafka::PROPERTIES[place].name, judge(&calls), naive(&calls));
            let agrees = match &verdict {
                Verdict::Violated(violation) => is_broken && !violation.ops().is_empty(),
                Verdict::Held | Verdict::Unknown { .. } => !is_broken,
                Verdict::Undecided { .. } => false,
            };
            assert!(agrees, "{n} {mutation:?} {}: {verdict:?}\n{rows:#?}", name);
            counts[place][usize::from(is_broken)] +=
                u32::from(!matches!(verdict, Verdict::Unknown { .. }));
            let is_right = mutation.is_none() && is_broken;
            assert!(!is_right, "{n} is right, but {}: {verdict:?}\n{rows:#?}", name);
        }
    }
    assert!(counts.iter().all(|[held, broken]| *held > 300 && *broken > 200), "{counts:?}");
}
