//! Elections in real processes and in the simulator: who wins, what it costs in messages, and what
//! strangers can do about it.

mod common;

use common::clients::Native;
use common::group::Group;
use common::{LONG, Node, wait_until, with_more_time};
use node_lab::check::timeline::What;
use node_lab::explain::{Source, merge};
use node_lab::sim::run::run;
use node_lab::sim::scenario::Scenario;
use node_lab::sim::tracer::Tracer;
use node_lab::wire::{Hello, Role, push_frame};
use node_protocols::bully::Message;
use node_protocols::core::{Epoch, LamportTime, NodeId, encode, protocol_tag};
use node_studies::bully::Elects;
use node_studies::bully::elections::{Election, count, textbook_most};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Nodes of which `checker` alone finds out that the coordinator is gone.
fn prepare(nodes: usize, checker: usize, timeout_ms: u64) -> Group {
    let table = |check| format!("election_timeout_ms = {timeout_ms}\nhealth_check_ms = {check}");
    let tables: Vec<String> =
        (1..=nodes).map(|id| table(if id == checker { 200 } else { 0 })).collect();
    let mut group = Group::prepare("bully", &tables.iter().map(String::as_str).collect::<Vec<_>>());
    group.trace = true;
    group
}

/// Starts all at once, and waits until all hold the highest coordinator.
fn start_all(group: &Group) -> Vec<Node> {
    let nodes: Vec<Node> = (1..=group.len()).map(|id| group.spawn(id)).collect();
    wait_agreed(group, group.len(), group.len());
    nodes
}

/// Waits until nodes 1 to `last` hold `coordinator`.
fn wait_agreed(group: &Group, coordinator: usize, last: usize) {
    for id in 1..=last {
        wait_until("it holds the coordinator", LONG, || {
            common::clients::try_connect(group.json_addr(id)).ok()?;
            let status = group.status(id);
            let holds = status["coordinator"] == coordinator && status["electing"] == false;
            holds.then_some(())
        });
    }
}

/// The elections that the nodes' traces show.
fn elections(group: &Group) -> Vec<Election> {
    let load = |id| Source::load(&group.path(id, "jsonl")).expect("a trace");
    let sources: Vec<Source> = (1..=group.len()).map(load).collect();
    count(&merge(&sources).expect("they merge"))
}

/// What elections take in milliseconds, on a machine that is not too busy for it.
const TIMEOUT_MS: u64 = 1_500;

/// The election after the highest of `nodes` real processes was killed and `checker` found out, if
/// no message took longer than the timeout.
fn cost(nodes: usize, checker: usize, timeout_ms: u64) -> Election {
    let group = prepare(nodes, checker, timeout_ms);
    let mut processes = start_all(&group);
    drop(processes.pop());
    wait_agreed(&group, nodes - 1, nodes - 1);
    drop(processes);
    elections(&group).pop().expect("there was an election")
}

#[test]
fn four_that_start_at_once_elect_one_once() {
    with_more_time(TIMEOUT_MS, |ms| {
        let group = prepare(4, 1, ms);
        let nodes = start_all(&group);
        let electing: u64 = (1..=4).filter_map(|id| group.status(id)["elections"].as_u64()).sum();
        let lines: Vec<String> = nodes.iter().map(Node::stdout).collect();
        let became = lines.iter().flat_map(|lines| lines.lines());
        let became = became.filter(|line| line.contains("I am the coordinator")).count();
        drop(nodes);
        let found = (electing, became, elections(&group).len());
        if found == (1, 1, 1) { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

#[test]
fn real_elections_cost_what_the_textbook_says_when_the_lowest_finds_out() {
    for nodes in [4, 10] {
        costs(nodes, 1, textbook_most(nodes));
    }
}

#[test]
fn real_elections_cost_what_the_textbook_says_when_the_second_highest_finds_out() {
    for nodes in [4, 10] {
        costs(nodes, nodes - 1, nodes as u64 - 1);
    }
}

fn costs(nodes: usize, checker: usize, messages: u64) {
    with_more_time(TIMEOUT_MS, |ms| {
        let election = cost(nodes, checker, ms);
        let found = (election.by, election.winner, election.messages());
        let right = (checker as u32, Some(nodes as u32 - 1), messages);
        if found == right { Ok(()) } else { Err(format!("{election:?}")) }
    });
}

/// Three servers elect by rank, and node 4, which gives the ranks, does not elect: the table has
/// neither its consent nor its messages, and the next rank wins when the highest dies.
#[test]
fn by_rank_only_those_that_elect_have_to_agree() {
    with_more_time(TIMEOUT_MS, elect_by_rank);
}

fn elect_by_rank(timeout_ms: u64) -> Result<(), String> {
    let server = |id: u32| {
        format!(
            "role = \"member\"\nname = \"server{id}\"\nreference = 4\n[protocols.bully]\n\
             by = \"rank\"\nelection_timeout_ms = {timeout_ms}\nhealth_check_ms = 200"
        )
    };
    let tables = [server(1), server(2), server(3), "role = \"reference\"".into()];
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    let mut group = Group::prepare("membership", &tables);
    group.trace = true;
    for id in 1..=3 {
        let config = fs::read_to_string(group.path(id, "toml")).expect("a config");
        let json = "gateway = \"json\"\n";
        let config = config.replace(json, &format!("{json}protocol = \"bully\"\n"));
        fs::write(group.path(id, "toml"), config).expect("a config");
    }
    let mut nodes: BTreeMap<usize, Node> = (1..=4).map(|id| (id, group.spawn(id))).collect();
    // Ascending by rank.
    let ranked: Vec<usize> = wait_until("all have ranks", LONG, || {
        common::clients::try_connect(group.json_addr(4)).ok()?;
        let request = r#"{"service":"list","data":{"timestamp":0,"clock":0}}"#;
        let answer = group.json(4).ask(request);
        let mut list: Vec<_> = answer["data"]["list"].as_array().expect("a list").clone();
        list.sort_by_key(|one| one["rank"].as_u64());
        let id = |name: &str| name.strip_prefix("server")?.parse().ok();
        let ids = list.iter().filter_map(|one| id(one["name"].as_str()?));
        Some(ids.collect::<Vec<usize>>()).filter(|ids| ids.len() == 3)
    });
    let agree = |on: usize, who: &[usize]| {
        for id in who {
            wait_until("it holds the coordinator", LONG, || {
                common::clients::try_connect(group.json_addr(*id)).ok()?;
                let status = group.status(*id);
                (status["coordinator"] == on && status["electing"] == false).then_some(())
            });
        }
    };
    agree(ranked[2], &ranked);
    drop(nodes.remove(&ranked[2]));
    agree(ranked[1], &ranked[..2]);
    drop(nodes);
    let found = elections(&group);
    let won = |id: usize| {
        let by = |one: &&Election| one.winner == Some(id as u32) && one.agreed.is_some();
        found.iter().filter(by).count()
    };
    if won(ranked[2]) < 1 || won(ranked[1]) < 1 {
        return Err(format!("{found:?}"));
    }
    for (id, elects) in [(1, Elects::Rank), (2, Elects::Rank), (3, Elects::Rank), (4, Elects::No)] {
        let trace = fs::read(group.path(id, "jsonl")).expect("a trace");
        let timeline = node_lab::trace::history::read(&trace[..]).expect("it reads").timeline;
        let says =
            |what: &What| matches!(what, What::Start { runs, .. } if Elects::of(runs) == elects);
        assert_eq!(timeline.iter().filter(|one| says(&one.what)).count(), 1, "node {id}");
    }
    Ok(())
}

/// The same in the simulator, for more nodes: everybody may find out, so the count is at most the
/// textbook's, and exactly that when only one does.
#[test]
fn simulated_elections_cost_what_the_textbook_says() {
    for nodes in [4u32, 10, 50] {
        for (checker, cost) in [(1, textbook_most(nodes as usize)), (nodes - 1, nodes.into())] {
            let election = simulated(nodes, Some(checker));
            assert_eq!(election.by, checker);
            assert_eq!(election.winner, Some(nodes - 1));
            let cost = if checker == 1 { cost } else { cost - 1 };
            assert_eq!(election.messages(), cost, "{nodes} nodes, {checker} finds out");
        }
        assert!(simulated(nodes, None).messages() <= textbook_most(nodes as usize));
    }
}

/// The election after the highest of `nodes` died in a simulated run; `checker` alone finds out, or
/// all do.
fn simulated(nodes: u32, checker: Option<u32>) -> Election {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name);
    let mut names = Vec::new();
    for id in 1..=nodes {
        let others = (1..=nodes).filter(|peer| *peer != id);
        let peers: String = others.map(|peer| format!("{peer} = \"127.0.0.1:{peer}\"\n")).collect();
        let check = if checker.is_none_or(|checker| checker == id) { 1_000 } else { 0 };
        let config = format!(
            "[node]\nid = {id}\n[peers]\n{peers}[[listeners]]\naddr = \"127.0.0.1:{id}\"\n\
             [protocols.bully]\nelection_timeout_ms = 1000\nhealth_check_ms = {check}\n"
        );
        names.push(format!("{id}.toml"));
        fs::write(path(&names[names.len() - 1]), config).expect("a config");
    }
    let scenario = format!(
        "nodes = {names:?}\n\
         properties = [\"election_terminates\", \"one_coordinator_per_component\", \
         \"highest_live_id_wins\", \"one_coordinator\"]\n\
         seconds = 15\nsettle_seconds = 1\n[bounds]\nagree_ms = 8000\n\
         [[fault]]\nat_ms = 3000\nfor_ms = 12000\nkind = \"crash\"\nnode = {nodes}\n"
    );
    fs::write(path("scenario.toml"), scenario).expect("a scenario");
    let registry = Arc::new(node_studies::registry());
    let scenario = Scenario::load(&path("scenario.toml"), &registry).expect("it loads");
    let scenario = Arc::new(scenario);
    let trace = path("trace.jsonl");
    let tracer = Tracer::to(Box::new(File::create(&trace).expect("a file")));
    let outcome = run(&scenario, &registry, &scenario.plan(1), tracer);
    assert_eq!(outcome.failure, None);
    elections_of(&trace).into_iter().find(|one| one.began > 3_000_000_000).expect("an election")
}

fn elections_of(trace: &Path) -> Vec<Election> {
    count(&merge(&[Source::load(trace).expect("a trace")]).expect("it merges"))
}

/// A hundred thousand seeds are a command's work (see docs/scenarios.md); here as many as fit into
/// a test.
#[test]
fn beyond_the_papers_assumptions_only_the_property_that_the_docs_name_is_lost() {
    let registry = Arc::new(node_studies::registry());
    for name in ["election-partition", "election-slow"] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("configs/sim").join(name);
        let scenario = Scenario::load(&path.with_extension("toml"), &registry).expect("it loads");
        let scenario = Arc::new(scenario);
        for seed in 1..=100 {
            let outcome = run(&scenario, &registry, &scenario.plan(seed), Tracer::new());
            let lost = outcome.failure.map(|failure| failure.property);
            assert_eq!(lost.as_deref(), Some("one_coordinator"), "{name}, seed {seed}");
        }
    }
}

/// A link to node 4, in the name of node 3, whose process does not run.
fn link_as_3(group: &Group) -> Native {
    let door = std::net::TcpListener::bind(group.native_addr(3)).expect("its port is free");
    let (id, to, lamport) = (NodeId(3), NodeId(4), LamportTime(0));
    let (identity, incarnation, dial) = (3, 1, 1);
    let cluster = "test".into();
    let hello = Hello::new(Role::Peer { cluster, id, to, identity, incarnation, dial, lamport });
    Native::link(group.native_addr(4), &hello, &door)
}

fn frame(lamport: u64, message: Message) -> Vec<u8> {
    let (mut payload, mut bytes) = (Vec::new(), Vec::new());
    encode(&(protocol_tag("bully"), lamport), &mut payload);
    encode(&message, &mut payload);
    push_frame(&mut bytes, &payload);
    bytes
}

#[test]
fn strangers_replays_and_forged_clocks_change_nothing_and_are_told() {
    let group = prepare(4, 4, TIMEOUT_MS);
    let node = group.start(4);
    wait_until("it coordinates", LONG, || (group.status(4)["coordinator"] == 4).then_some(()));
    let before = group.status(4);

    // Who is no peer: another cluster, an id that is not listed, a client without a protocol.
    let stranger = |cluster: &str, id: u32| {
        let stream = common::clients::try_connect(group.native_addr(4)).expect("it listens");
        let mut native = Native::raw(stream);
        let (id, to, lamport) = (NodeId(id), NodeId(4), LamportTime(0));
        let role = Role::Peer {
            cluster: cluster.to_string().into(),
            id,
            to,
            identity: 3,
            incarnation: 1,
            dial: 1,
            lamport,
        };
        native.greet(&Hello::new(role));
        native.refusal().expect("it is refused")
    };
    assert!(stranger("other", 3).contains("of cluster other"));
    assert!(stranger("test", 7).contains("not in this node's [peers]"));
    // Lines about one cause come at most once a second.
    assert!(node.log_lines("closed_bad_handshake: ") >= 1, "{}", node.stderr());

    // A peer's link that says what cannot be, twice each.
    let mut link = link_as_3(&group);
    let forged = frame(u64::MAX, Message::Coordinator { epoch: Epoch(5) });
    let future = frame(100, Message::Election { epoch: Epoch(1 << 40) });
    for bytes in [&forged, &forged, &future, &future] {
        link.stream.write_all(bytes).expect("it reads");
    }
    // An answer shows that all of it was read.
    link.stream.write_all(&frame(101, Message::Election { epoch: Epoch(0) })).expect("it reads");
    wait_until("it answers", LONG, || {
        let payload = link.frame().expect("the link is up");
        (payload.len() > 2).then_some(())
    });
    let after = group.status(4);
    assert_eq!(after["epoch"], before["epoch"]);
    assert_eq!(after["coordinator"], 4);
    assert_eq!(after["elections"], before["elections"]);
    assert!(after["clock"].as_u64() < Some(1_000 + before["clock"].as_u64().expect("a clock")));
    // Once a second at most.
    assert!((1..=2).contains(&node.log_lines("dropped_lamport_jump: ")), "{}", node.stderr());
}

#[test]
fn a_replayed_announcement_is_told_once_and_changes_nothing() {
    // Node 4 follows 5, whose part this test plays; 5 dials nobody, so the test waits for its dial.
    let group = prepare(2, 1, TIMEOUT_MS);
    let nodes = start_all(&group);
    let status = group.status(1);
    assert_eq!(status["coordinator"], 2);
    drop(nodes);
    // Node 2's place is taken by a replay: the same announcement, of an epoch long past.
    let listener = wait_until("its port is free", LONG, || {
        std::net::TcpListener::bind(group.native_addr(2)).ok()
    });
    let node = group.start(1);
    let (stream, _) = listener.accept().expect("node 1 dials");
    let mut link = Native::raw(stream);
    link.frame().expect("a greeting");
    let welcome = node_lab::wire::Welcome::Accepted {
        id: NodeId(2),
        identity: 2,
        incarnation: 1,
        lamport: LamportTime(4_000_000),
    };
    let mut bytes = Vec::new();
    node_lab::wire::push_message(&mut bytes, &welcome);
    bytes.extend(frame(5_000_000, Message::Coordinator { epoch: Epoch(4_500_000) }));
    let replay = frame(5_000_001, Message::Coordinator { epoch: Epoch(7) });
    for _ in 0..20 {
        bytes.extend(&replay);
    }
    bytes.extend(frame(5_000_002, Message::Election { epoch: Epoch(0) }));
    link.stream.write_all(&bytes).expect("it reads");
    wait_until("the announcement is taken", LONG, || {
        (group.status(1)["epoch"] == 4_500_000).then_some(())
    });
    let ignored = "dropped_stale: the announcement of node 2, epoch 7: ";
    wait_until("the replay is told", LONG, || (node.log_lines(ignored) > 0).then_some(()));
    assert_eq!(node.log_lines(ignored), 1, "{}", node.stderr());
    assert_eq!(group.status(1)["epoch"], 4_500_000);
}
