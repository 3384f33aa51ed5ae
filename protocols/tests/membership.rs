//! Ranks and the list: the document's boundaries to the millisecond, restarts of both sides, names that
//! two want, and the JSON form.

mod group;

use group::{Group, MS, SECOND};
use node_protocols::core::{Fact, LamportTime, NodeId, erase};
use node_protocols::membership::{Config, Membership, Message, Reply, Request, Role};

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
fn group(seed: u64, members: u32) -> Group {
    let ids: Vec<u32> = (1..=members).chain([REFERENCE]).collect();
    let build = |env: &node_protocols::core::Env| {
        vec![erase::<Membership>(config(env.id.0), env).expect("the config is right")]
    };
    Group::new(seed, &ids, Box::new(build))
}

/// Name and rank of those on the list.
fn list(group: &mut Group) -> Vec<(String, u32)> {
    let request = Request::List { timestamp: 0, clock: LamportTime(0) };
    match group.ask::<Membership>(REFERENCE, &request) {
        Reply::List { list, .. } => {
            list.into_iter().map(|one| (one.name.into_owned(), one.rank)).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn names(group: &mut Group) -> Vec<String> {
    list(group).into_iter().map(|(name, _)| name).collect()
}

fn rank(group: &mut Group, user: &str) -> Reply<'static> {
    let request = Request::Rank { user: user.into(), timestamp: 0, clock: LamportTime(0) };
    group.ask::<Membership>(REFERENCE, &request)
}

fn heartbeat(group: &mut Group, user: &str) -> Reply<'static> {
    let request = Request::Heartbeat { user: user.into(), timestamp: 0, clock: LamportTime(0) };
    group.ask::<Membership>(REFERENCE, &request)
}

/// The ranks that a node published, in order.
fn published(group: &Group, node: u32) -> Vec<(u32, u32)> {
    let ranks = group.facts.iter().filter(|(id, _)| *id == node);
    let ranks = ranks.filter_map(|(_, fact)| match fact {
        Fact::Rank { id, rank } => Some((id.0, *rank)),
        _ => None,
    });
    ranks.collect()
}

#[test]
fn ranks_go_by_order_and_all_members_hear_of_all() {
    let mut group = group(1, 3);
    for id in [REFERENCE, 2, 1, 3] {
        group.start(id);
        group.run(10 * MS);
    }
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
    group.kill(1);
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
    assert!(!group.printed.iter().any(|(_, line)| line.contains("off the list")));
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
        group.delay = MS..20 * MS;
        group.loss_percent = 10;
        group.duplicate_percent = 10;
        group.start_all();
        for step in 0..20 {
            group.run(7 * SECOND);
            match (seed + step) % 4 {
                0 => {
                    group.kill(REFERENCE);
                    group.run(SECOND);
                    group.start(REFERENCE);
                }
                rest => {
                    group.kill(rest as u32);
                    group.run(3 * SECOND);
                    group.start(rest as u32);
                }
            }
        }
        group.loss_percent = 0;
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
    group.forge::<Membership>(3, REFERENCE, &Message::Heartbeat);
    assert_eq!(list(&mut group), [("server1".into(), 1), ("server2".into(), 2)]);
    // A client may ask for a server's rank, and a name that a client brought may become a node's.
    assert!(matches!(rank(&mut group, "server2"), Reply::Rank { rank: 2, .. }));
    assert!(matches!(rank(&mut group, "server3"), Reply::Rank { rank: 3, .. }));
    group.start(3);
    group.run(10 * MS);
    assert_eq!(published(&group, 1).last(), Some(&(3, 3)));
    let long = "x".repeat(65);
    assert!(matches!(rank(&mut group, &long), Reply::Error { .. }));
    // What comes from nodes that are not the reference server changes nothing.
    group.forge::<Membership>(2, 1, &Message::Members { list: vec![] });
    let members = vec![node_protocols::membership::Member {
        name: "server1".into(),
        rank: 77,
        node: Some(NodeId(1)),
    }];
    group.forge::<Membership>(2, 1, &Message::Members { list: members });
    assert!(!published(&group, 1).contains(&(1, 77)));
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
            seed: 1,
            durable: id != REFERENCE,
        };
        erase::<Membership>(config, &env).err().expect("it is refused").key
    };
    assert_eq!(refused(&|config| config.name.clear(), 1), "name");
    assert_eq!(refused(&|config| config.reference = 8, 1), "reference");
    assert_eq!(refused(&|config| config.heartbeat_ms = 0, 1), "heartbeat_ms");
    assert_eq!(refused(&|config| config.timeout_ms = 5_000, 1), "timeout_ms");
    assert_eq!(refused(&|_| {}, REFERENCE), "role", "without a data directory");
}
