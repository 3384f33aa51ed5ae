//! Ranks and the list: the document's boundaries to the millisecond, restarts of both sides, names
//! that two want, and the JSON form.

use node_lab::sim::cluster::{Cluster, MS, SECOND};
use node_protocols::core::{LamportTime, NodeId, erase};
use node_protocols::facts::Rank;
use node_protocols::membership::{Config, Member, Membership, Message, Reply, Request, Role};

const REFERENCE: u32 = 9;

fn config(id: u32) -> Config {
    let is_reference = id == REFERENCE;
    Config {
        role: if is_reference { Role::Reference } else { Role::Member },
        name: if is_reference { String::new() } else { format!("server{id}") },
        reference: if is_reference { 0 } else { REFERENCE },
        heartbeat_ms: 5_000,
        timeout_ms: 30_000,
    }
}

/// A reference server and so many members, down.
fn group(seed: u64, members: u32) -> Cluster {
    let ids: Vec<u32> = (1..=members).chain([REFERENCE]).collect();
    let build = |env: &node_protocols::core::Env| {
        vec![erase::<Membership>(config(env.id.0), env).expect("the config is right")]
    };
    Cluster::with_disks(seed, &ids, build)
}

/// Name and rank of those on the list.
fn list(group: &mut Cluster) -> Vec<(String, u32)> {
    let request = Request::List { timestamp: 0, clock: LamportTime(0) };
    match group.ask::<Membership>(REFERENCE, &request) {
        Reply::List { list, .. } => {
            list.into_iter().map(|one| (one.name.into_owned(), one.rank)).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn names(group: &mut Cluster) -> Vec<String> {
    list(group).into_iter().map(|(name, _)| name).collect()
}

fn rank(group: &mut Cluster, user: &str) -> Reply<'static> {
    let request = Request::Rank { user: user.into(), timestamp: 0, clock: LamportTime(0) };
    group.ask::<Membership>(REFERENCE, &request)
}

fn heartbeat(group: &mut Cluster, user: &str) -> Reply<'static> {
    let request = Request::Heartbeat { user: user.into(), timestamp: 0, clock: LamportTime(0) };
    group.ask::<Membership>(REFERENCE, &request)
}

/// How many messages there were.
fn sent(group: &Cluster) -> usize {
    group.sent::<Membership>().count()
}

/// The ranks that a node published, in order.
fn published(group: &Cluster, node: u32) -> Vec<(u32, u32)> {
    group.facts(node).filter_map(|fact| fact.read().map(|Rank { id, rank }| (id.0, rank))).collect()
}

#[test]
fn ranks_go_by_order_and_all_members_hear_of_all() {
    let mut group = group(1, 3);
    for id in [REFERENCE, 2, 1, 3] {
        group.start(id);
        group.run(10 * MS);
    }
    group.run(100 * MS);
    let ranks = [("server2", 1), ("server1", 2), ("server3", 3)];
    assert_eq!(list(&mut group), ranks.map(|(name, rank)| (name.to_string(), rank)));
    for node in 1..=3 {
        let mut all = published(&group, node);
        all.sort_unstable();
        assert_eq!(all, [(1, 2), (2, 1), (3, 3)], "each once, at node {node}");
    }
}

#[test]
fn a_server_that_dies_is_listed_until_its_time_is_over_to_the_nanosecond() {
    let mut group = group(1, 2);
    group.start_all();
    // Joined, as the reference server sees it, at 1 ms; heartbeats arrive at 5.001 s, 10.001 s, …
    group.run_until(10_001 * MS);
    group.crash(1);
    group.run_until(40_001 * MS - 1);
    assert_eq!(names(&mut group), ["server1", "server2"]);
    group.run_until(40_001 * MS);
    assert_eq!(names(&mut group), ["server2"]);
    group.run_until(60 * SECOND);
    group.start(1);
    group.run(2 * MS);
    assert_eq!(list(&mut group)[0], ("server1".to_string(), 1), "it has its rank again");
}

#[test]
fn a_server_that_is_held_up_for_less_stays() {
    let mut group = group(1, 2);
    group.start_all();
    group.run_until(6 * SECOND);
    // Nothing comes through for ten seconds.
    group.cut(1, REFERENCE);
    for second in 6..16 {
        group.run_until(second * SECOND);
        assert_eq!(names(&mut group), ["server1", "server2"]);
    }
    group.heal(1, REFERENCE);
    group.run_until(100 * SECOND);
    assert_eq!(names(&mut group), ["server1", "server2"]);
    assert!(!group.printed().any(|(_, line)| line.contains("off the list")));
}

#[test]
fn one_that_never_sends_a_heartbeat_goes_too_and_a_heartbeat_brings_it_back() {
    let mut group = group(1, 0);
    group.start_all();
    assert!(matches!(rank(&mut group, "a"), Reply::Rank { rank: 1, .. }));
    assert!(matches!(heartbeat(&mut group, "b"), Reply::Error { .. }), "it has no rank");
    group.run_until(30 * SECOND - 1);
    assert_eq!(names(&mut group), ["a"]);
    group.run_until(30 * SECOND);
    assert_eq!(names(&mut group), [""; 0]);
    assert!(matches!(heartbeat(&mut group, "a"), Reply::Heartbeat { .. }));
    assert_eq!(names(&mut group), ["a"]);
}

#[test]
fn ranks_survive_both_sides_and_are_never_given_twice() {
    for seed in 0..50 {
        let mut group = group(seed, 4);
        group.network().delay = MS..=20 * MS;
        group.set_weather(10, 10);
        group.start_all();
        for step in 0..20 {
            group.run(7 * SECOND);
            match (seed + step) % 4 {
                0 => {
                    group.crash(REFERENCE);
                    group.run(SECOND);
                    group.start(REFERENCE);
                }
                rest => {
                    group.crash(rest as u32);
                    group.run(3 * SECOND);
                    group.start(rest as u32);
                }
            }
        }
        group.set_weather(0, 0);
        group.run(10 * SECOND);
        let mut now = list(&mut group);
        now.sort_unstable();
        assert_eq!(now.len(), 4, "seed {seed}: {now:?}");
        let mut ranks: Vec<u32> = now.iter().map(|(_, rank)| *rank).collect();
        ranks.sort_unstable();
        assert_eq!(ranks, [1, 2, 3, 4], "seed {seed}");
        for (name, rank) in now {
            let node: u32 = name.trim_start_matches("server").parse().expect("a number");
            let said = (1..=4).flat_map(|at| published(&group, at)).filter(|(id, _)| *id == node);
            assert!(said.clone().count() > 0);
            assert!(said.clone().all(|(_, one)| one == rank), "seed {seed}: {name} had another");
        }
    }
}

#[test]
fn a_name_is_one_nodes_and_a_node_has_one_name() {
    let mut group = group(1, 3);
    for id in [REFERENCE, 1, 2] {
        group.start(id);
    }
    group.run(10 * MS);
    group.forge::<Membership>(3, REFERENCE, &Message::Join { name: "server1".into() });
    group.forge::<Membership>(2, REFERENCE, &Message::Join { name: "other".into() });
    group.forge::<Membership>(3, REFERENCE, &Message::Join { name: "".into() });
    group.forge::<Membership>(3, REFERENCE, &Message::Heartbeat { list: 0 });
    assert_eq!(list(&mut group), [("server1".into(), 1), ("server2".into(), 2)]);
    // A client may ask for a server's rank, and a name that a client brought may become a node's.
    assert!(matches!(rank(&mut group, "server2"), Reply::Rank { rank: 2, .. }));
    assert!(matches!(rank(&mut group, "server3"), Reply::Rank { rank: 3, .. }));
    group.start(3);
    group.run(110 * MS);
    assert_eq!(published(&group, 1).last(), Some(&(3, 3)));
    let long = "x".repeat(65);
    assert!(matches!(rank(&mut group, &long), Reply::Error { .. }));
    // What comes from nodes that are not the reference server changes nothing.
    group.forge::<Membership>(2, 1, &Message::Members { list: vec![] });
    let members = vec![Member { node: NodeId(1), rank: 77 }];
    group.forge::<Membership>(2, 1, &Message::Members { list: members });
    assert!(!published(&group, 1).contains(&(1, 77)));
}

#[test]
fn a_list_of_thousands_is_published_and_one_without_end_is_cut() {
    let mut group = group(1, 2);
    for id in [REFERENCE, 1, 2] {
        group.start(id);
    }
    group.run(10 * MS);
    for (first, known) in [(100, 5_001), (5_100, 10_000), (10_100, 10_000)] {
        let list = (first..first + 5_000).map(|id| Member { node: NodeId(id), rank: id });
        let list = list.collect();
        group.forge::<Membership>(REFERENCE, 1, &Message::Members { list });
        assert_eq!(published(&group, 1).len(), known);
    }
}

#[test]
fn names_that_clients_bring_cost_members_nothing_and_are_bounded() {
    let mut group = group(1, 2);
    group.start_all();
    group.run(SECOND);
    let told = sent(&group);
    for name in 0..10_000 {
        assert!(matches!(rank(&mut group, &format!("c{name}")), Reply::Rank { .. }), "{name}");
    }
    group.run(SECOND);
    assert_eq!(sent(&group), told, "members hear of nodes alone");
    let Reply::Error { reason, .. } = rank(&mut group, "one-more") else {
        panic!("it is too many")
    };
    assert!(reason.contains("10000 names"), "{reason}");
    // Who has one keeps it, and nodes get theirs, one of which a client had: that makes place for
    // another.
    assert!(matches!(rank(&mut group, "c9999"), Reply::Rank { rank: 10_002, .. }));
    group.crash(REFERENCE);
    group.start(REFERENCE);
    assert!(matches!(rank(&mut group, "one-more"), Reply::Error { .. }), "after a restart too");
    let join = |name: &'static str| Message::Join { name: name.into() };
    group.forge::<Membership>(3, REFERENCE, &join("server3"));
    assert!(matches!(rank(&mut group, "server3"), Reply::Rank { rank: 10_003, .. }));
    assert!(matches!(rank(&mut group, "one-more"), Reply::Error { .. }));
    group.forge::<Membership>(4, REFERENCE, &join("c5"));
    assert!(matches!(rank(&mut group, "one-more"), Reply::Rank { rank: 10_004, .. }));
    assert!(matches!(rank(&mut group, "and-another"), Reply::Error { .. }));
}

#[test]
fn many_nodes_that_start_at_a_time_are_told_at_once_and_not_for_each() {
    const MEMBERS: u32 = 8;
    let mut group = group(1, MEMBERS);
    group.start_all();
    group.run(SECOND);
    for node in 1..=MEMBERS {
        assert_eq!(published(&group, node).len(), MEMBERS as usize, "at node {node}");
    }
    // Each joins and is answered, and all are told once, besides the first.
    assert!(sent(&group) < 4 * MEMBERS as usize, "{} messages", sent(&group));
}

/// What a reference server that was held up could not hear is nobody's silence.
#[test]
fn a_reference_server_that_was_held_up_takes_nobody_off_for_it() {
    for held_up in [2, 31, 36, 300] {
        let mut group = group(1, 3);
        group.start_all();
        group.run_until(12 * SECOND);
        group.crash(3);
        group.run_until(13 * SECOND);
        group.pause(REFERENCE, held_up * SECOND);
        let goes_on = group.now();
        group.run(5 * SECOND);
        let living = ["server1", "server2"];
        assert_eq!(names(&mut group), [&living[..], &["server3"]].concat(), "after {held_up} s");
        // The dead one is taken off it all the same, by as much later, as far as that is known.
        group.run_until(goes_on + 30 * SECOND);
        assert_eq!(names(&mut group), living, "after {held_up} s");
    }
}

#[test]
fn every_answer_has_time_and_clock_and_what_is_refused_takes_no_clock() {
    let mut group = group(1, 1);
    group.start_all();
    group.run_until(6 * SECOND);
    let mut last = 0;
    let request = |user: &'static str, clock| Request::Rank {
        user: user.into(),
        timestamp: 7,
        clock: LamportTime(clock),
    };
    let beat = |user: &'static str, clock| Request::Heartbeat {
        user: user.into(),
        timestamp: 7,
        clock: LamportTime(clock),
    };
    let far = 900_000;
    for (node, request, is_right) in [
        (REFERENCE, request("a", 0), true),
        (REFERENCE, beat("a", 0), true),
        (REFERENCE, Request::List { timestamp: 7, clock: LamportTime(0) }, true),
        (REFERENCE, request("a b", far), false),
        (REFERENCE, request("a\u{1b}", far), false),
        (REFERENCE, request("", far), false),
        (REFERENCE, beat("b", far), false),
        (REFERENCE, Request::Malformed { reason: "no JSON".into() }, false),
        (REFERENCE, request("a", u64::MAX), false),
        (1, request("a", 0), false),
    ] {
        let wall = group.wall(node).millis();
        let reply = group.ask::<Membership>(node, &request);
        assert_eq!(!matches!(reply, Reply::Error { .. }), is_right, "{request:?}: {reply:?}");
        let (Reply::Rank { timestamp, clock, .. }
        | Reply::List { timestamp, clock, .. }
        | Reply::Heartbeat { timestamp, clock }
        | Reply::Error { timestamp, clock, .. }) = reply;
        assert_eq!(timestamp, wall, "{request:?}");
        assert!(clock.0 < far, "{request:?} moved the clock to {clock:?}");
        if node == REFERENCE {
            assert!(clock.0 > last, "{request:?}: {clock:?}");
            last = clock.0;
        }
    }
    // What is right moves it.
    let Reply::Rank { clock, .. } = group.ask::<Membership>(REFERENCE, &request("a", far)) else {
        panic!("it has a rank")
    };
    assert!(clock.0 > far);
}

#[test]
fn a_configs_mistakes_are_named() {
    let refused = |change: &dyn Fn(&mut Config), id: u32| {
        let mut config = config(id);
        change(&mut config);
        let env = node_protocols::core::Env {
            id: NodeId(id),
            peers: vec![NodeId(REFERENCE)],
            incarnation: 1,
            identity: 1,
            seed: 1,
            durable: id != REFERENCE,
        };
        erase::<Membership>(config, &env).err().expect("it is refused").key
    };
    assert_eq!(refused(&|config| config.name.clear(), 1), "name");
    assert_eq!(refused(&|config| config.reference = 8, 1), "reference");
    assert_eq!(refused(&|config| config.heartbeat_ms = 0, 1), "heartbeat_ms");
    assert_eq!(refused(&|config| config.timeout_ms = 5_000, 1), "timeout_ms");
    assert_eq!(refused(&|config| config.heartbeat_ms = 30_000, 1), "heartbeat_ms");
    assert_eq!(refused(&|config| config.timeout_ms = 3_600_001, 1), "timeout_ms");
    for name in ["a b", "a\u{1b}[2J", "a\n", "\"", "\\", "\u{a0}"] {
        assert_eq!(refused(&|config| config.name = name.into(), 1), "name", "{name:?}");
    }
    assert_eq!(refused(&|_| {}, REFERENCE), "role", "without a data directory");
}
