//! The random-number workload, step by step: what each call costs a clock, what is lost, late,
//! doubled and forged, and the clock condition whatever the network does.

use node_lab::sim::cluster::{Cluster, MS};
use node_lab::study::Verdict;
use node_protocols::core::{
    ConfigError, Counter, DynProtocol, Env, FrameError, Jump, LamportTime, NodeId, Protocol, Rng,
    Time, erase, protocol_tag,
};
use node_protocols::lamport::{Config, Lamport, Message, NUMBERS, Reply, Request, Status};
use node_studies::lamport::LamportStudy;

const ONE: u32 = 1;
const TWO: u32 = 2;

fn config() -> Config {
    Config { interval_ms: [10, 10], timeout_ms: 100, calls: 0 }
}

/// A node that serves, and calls nobody in the time that a test takes.
fn server() -> Config {
    Config { interval_ms: [3_600_000, 3_600_000], ..config() }
}

/// Nodes 1 to N with these configs, started.
fn nodes(seed: u64, configs: &[Config]) -> Cluster {
    let ids: Vec<u32> = (1..).take(configs.len()).collect();
    let configs = configs.to_vec();
    let build = move |env: &Env| -> Vec<Box<dyn DynProtocol>> {
        let config = configs[env.id.0 as usize - 1].clone();
        vec![erase::<Lamport>(config, env).expect("the config is right")]
    };
    let mut cluster = Cluster::new(seed, &ids, build);
    cluster.watch::<LamportStudy>();
    cluster.start_all();
    cluster
}

/// Node 1 calls, node 2 serves, and call 1 is under way.
fn called() -> Cluster {
    let mut cluster = nodes(1, &[config(), server()]);
    cluster.run(10 * MS);
    assert_eq!(printed(&cluster), ["[1.1] sent call 1 to node 2"]);
    cluster
}

fn printed(cluster: &Cluster) -> Vec<&str> {
    cluster.printed().map(|(_, line)| line).collect()
}

fn status(cluster: &mut Cluster, node: u32) -> Status {
    match cluster.ask::<Lamport>(node, &Request::Status {}) {
        Reply::Status(status) => status,
        other => panic!("{other:?}"),
    }
}

fn stale(cluster: &Cluster, node: u32) -> u64 {
    cluster.host(node).counters().value(Counter::Stale)
}

/// Who was sent the last call.
fn callee(cluster: &Cluster) -> u32 {
    cluster.sent::<Lamport>().last().expect("there was a call").1
}

#[test]
fn a_fresh_pair_ends_a_call_at_caller_5_and_server_4() {
    let mut cluster = called();
    cluster.run(2 * MS);
    let answer = cluster.sent::<Lamport>().last();
    let Some((TWO, ONE, Message::Answer { call: 1, number: drawn })) = answer else {
        panic!("{answer:?}")
    };
    assert!(drawn < NUMBERS);
    assert_eq!(
        printed(&cluster),
        [
            "[1.1] sent call 1 to node 2",
            "[2.2] got call 1 from node 1",
            &format!("[3.2] drew {drawn}"),
            &format!("[4.2] sent {drawn} to node 1"),
            &format!("[5.1] got {drawn} from node 2, for call 1"),
        ]
    );
    let clocks = [ONE, TWO].map(|node| cluster.host(node).lamport());
    assert_eq!(clocks, [LamportTime(5), LamportTime(4)]);
    let (process, clock) = (NodeId(ONE), LamportTime(5));
    let expected = Status { process, clock, calls: 1, answered: 1, timed_out: 0, served: 0 };
    assert_eq!(status(&mut cluster, ONE), expected);
    assert_eq!(status(&mut cluster, TWO).served, 1);
    assert_eq!(cluster.host(ONE).digest(), 1 << 32 | 1, "calls and answers");
}

#[test]
fn a_lost_call_and_a_lost_answer_are_given_up_counted_and_told() {
    let mut cluster = nodes(1, &[config(), server()]);
    cluster.set_weather(100, 0);
    cluster.run(109 * MS);
    assert_eq!(status(&mut cluster, ONE).timed_out, 0);
    cluster.run(MS);
    assert_eq!(printed(&cluster).last(), Some(&"[2.1] gave up call 1 to node 2 after 100 ms"));
    cluster.set_weather(0, 0);
    cluster.run(10 * MS);
    assert_eq!(printed(&cluster).last(), Some(&"[3.1] sent call 2 to node 2"));
    cluster.set_weather(100, 0);
    cluster.run(100 * MS);
    assert_eq!(status(&mut cluster, TWO).served, 1, "the call came, the answer did not");
    let Status { calls, answered, timed_out, .. } = status(&mut cluster, ONE);
    assert_eq!((calls, answered, timed_out), (2, 0, 2));
}

#[test]
fn a_late_answer_is_dropped_and_counted_but_moves_the_clock() {
    let mut cluster = called();
    // The answer comes a millisecond after the second call has gone.
    cluster.network().delay = 110 * MS..=110 * MS;
    cluster.run(MS);
    cluster.network().delay = MS..=MS;
    cluster.run(109 * MS);
    assert!(printed(&cluster).last().unwrap().ends_with("sent call 2 to node 2"));
    let before = cluster.host(ONE).lamport();
    cluster.run(MS);
    assert_eq!(stale(&cluster, ONE), 1);
    assert!(cluster.host(ONE).lamport() > before);
    let ignored = "ignored an answer of node 2 to call 1";
    assert_eq!(printed(&cluster).iter().filter(|line| line.ends_with(ignored)).count(), 1);
    // Call 2 is still under way, and its answer counts.
    assert_eq!(status(&mut cluster, ONE).answered, 0);
    cluster.run(MS);
    let Status { calls, answered, timed_out, .. } = status(&mut cluster, ONE);
    assert_eq!((calls, answered, timed_out), (2, 1, 1));
}

#[test]
fn a_call_that_comes_twice_is_served_twice_and_ends_once() {
    let mut cluster = nodes(1, &[config(), server()]);
    cluster.set_weather(0, 100);
    cluster.run(10 * MS);
    cluster.set_weather(0, 0);
    cluster.run(5 * MS);
    assert_eq!(status(&mut cluster, ONE).answered, 1);
    assert_eq!(status(&mut cluster, TWO).served, 2);
    assert_eq!(stale(&cluster, ONE), 1);
}

#[test]
fn an_answer_of_a_stranger_of_another_call_or_out_of_range_is_dropped() {
    let mut cluster = nodes(1, &[config(), server(), server()]);
    cluster.set_weather(100, 0);
    cluster.run(10 * MS);
    let callee = callee(&cluster);
    let stranger = if callee == TWO { 3 } else { TWO };
    let right = Message::Answer { call: 1, number: 99 };
    for (from, message) in [
        (stranger, right),
        (callee, Message::Answer { call: 0, number: 1 }),
        (callee, Message::Answer { call: 2, number: 1 }),
        (callee, Message::Answer { call: u64::MAX, number: 1 }),
        (callee, Message::Answer { call: 1, number: 100 }),
    ] {
        let before = stale(&cluster, ONE);
        cluster.forge::<Lamport>(from, ONE, &message);
        assert_eq!(stale(&cluster, ONE), before + 1, "{message:?}");
        assert_eq!(status(&mut cluster, ONE).answered, 0);
    }
    cluster.forge::<Lamport>(callee, ONE, &right);
    assert_eq!(status(&mut cluster, ONE).answered, 1);
    // Nothing is under way now.
    cluster.forge::<Lamport>(callee, ONE, &right);
    assert_eq!((status(&mut cluster, ONE).answered, stale(&cluster, ONE)), (1, 6));
}

#[test]
fn an_interval_of_nothing_calls_again_with_the_answer_until_all_calls_are_made() {
    let busy = Config { interval_ms: [0, 0], calls: 4, ..config() };
    let mut cluster = nodes(1, &[busy, server()]);
    // The first goes when there is no link yet.
    cluster.run(100 * MS);
    for call in 2..=4 {
        let sent = cluster.sent::<Lamport>().count() as u64;
        assert_eq!(sent, 2 * call - 2, "one call at a time");
        assert_eq!(status(&mut cluster, ONE).calls, call);
        cluster.run(2 * MS);
    }
    assert_eq!(cluster.host(ONE).deadline(), None, "there is no fifth call, nor a timer");
    let Status { calls, answered, .. } = status(&mut cluster, ONE);
    assert_eq!((calls, answered), (4, 3));
}

#[test]
fn the_last_call_may_also_be_given_up() {
    let mut cluster = nodes(1, &[Config { calls: 1, ..config() }, server()]);
    cluster.set_weather(100, 0);
    cluster.run(110 * MS);
    let Status { calls, timed_out, .. } = status(&mut cluster, ONE);
    assert_eq!((calls, timed_out), (1, 1));
    assert_eq!(cluster.host(ONE).deadline(), None);
}

#[test]
fn waits_are_drawn_from_the_interval_and_all_others_are_called() {
    let drawn = Config { interval_ms: [5, 9], ..config() };
    let mut cluster = nodes(1, &[drawn, server(), server(), server()]);
    let (mut waits, mut callees) = ([0; 15], [0; 5]);
    for _ in 0..400 {
        let Time(due) = cluster.host(ONE).deadline().unwrap();
        let wait = due - cluster.now();
        waits[(wait / MS) as usize] += 1;
        cluster.run(wait);
        callees[callee(&cluster) as usize] += 1;
        cluster.run(2 * MS);
    }
    assert!(waits[5..=9].iter().all(|count| *count > 40), "{waits:?}");
    assert_eq!(waits[5..=9].iter().sum::<u32>(), 400, "and no other");
    assert!(callees[2..=4].iter().all(|count| *count > 90), "{callees:?}");
}

#[test]
fn a_node_alone_calls_nobody_and_serves_clients() {
    let mut net = nodes(1, &[config()]);
    assert_eq!(net.host(ONE).deadline(), None);
    let reply = net.ask::<Lamport>(ONE, &Request::Number { clock: LamportTime(1) });
    assert!(matches!(reply, Reply::Number { clock: LamportTime(4), .. }), "{reply:?}");
}

// Clients.

#[test]
fn a_clients_clock_moves_the_nodes_and_comes_back_larger() {
    let mut net = nodes(1, &[server(), server()]);
    let request = Request::Number { clock: LamportTime(7) };
    let Reply::Number { number, clock } = net.ask::<Lamport>(ONE, &request) else {
        panic!("a number is due")
    };
    assert_eq!(clock, LamportTime(10), "receive 8, handler 9, reply 10");
    let client = net.addr::<Lamport>(ONE, 0);
    assert_eq!(
        printed(&net),
        [
            format!("[8.1] got a call from client {client}"),
            format!("[9.1] drew {number}"),
            format!("[10.1] sent {number} to client {client}"),
        ]
    );
    let Status { clock, served, .. } = status(&mut net, ONE);
    assert_eq!((clock, served), (LamportTime(10), 1), "asking is no event");
}

#[test]
fn a_clock_that_cannot_be_true_is_refused_counted_and_changes_nothing() {
    let mut net = called();
    for forged in [u64::MAX, (1 << 32) + 2] {
        let jumps = net.host(ONE).counters().value(Counter::LamportJump);
        let reply = net.ask::<Lamport>(ONE, &Request::Number { clock: LamportTime(forged) });
        let reason = format!("its Lamport value {forged} is too far above the local 1");
        assert_eq!(reply, Reply::Refused { reason });
        assert_eq!(net.host(ONE).counters().value(Counter::LamportJump), jumps + 1);
        assert_eq!(net.host(ONE).lamport(), LamportTime(1));
        let call = ((protocol_tag("lamport"), forged), Message::Call { call: 1 });
        let payload = postcard::to_allocvec(&call).expect("it has a postcard form");
        let jump = Jump { local: LamportTime(1), received: LamportTime(forged) };
        let refused = net.inject(TWO, ONE, &payload);
        assert_eq!(refused, Err(FrameError::Jump(jump)));
    }
    assert_eq!(status(&mut net, ONE).served, 0);
}

#[test]
fn requests_and_replies_have_their_json_form() {
    let request = |text| serde_json::from_str::<Request>(text).map_err(|_| ());
    let number = Request::Number { clock: LamportTime(1) };
    assert_eq!(request(r#"{"number":{"clock":1}}"#), Ok(number));
    assert_eq!(request(r#"{"status":{}}"#), Ok(Request::Status {}));
    for wrong in [
        r#"{"number":{}}"#,
        r#"{"number":{"clock":-1}}"#,
        r#"{"number":{"clock":1,"more":1}}"#,
        r#"{"other":{}}"#,
        r#""status""#,
    ] {
        assert_eq!(request(wrong), Err(()), "{wrong}");
    }
    let json = |reply: &Reply| serde_json::to_string(reply).unwrap();
    let reply = Reply::Number { number: 42, clock: LamportTime(4) };
    assert_eq!(json(&reply), r#"{"number":{"number":42,"clock":4}}"#);
    let reply = Reply::Refused { reason: "no".into() };
    assert_eq!(json(&reply), r#"{"refused":{"reason":"no"}}"#);
    let status = status(&mut called(), ONE);
    assert_eq!(
        json(&Reply::Status(status)),
        r#"{"status":{"process":1,"clock":1,"calls":1,"answered":0,"timed_out":0,"served":0}}"#
    );
}

// Configs.

fn refused(config: Config) -> Option<ConfigError> {
    let (id, peers) = (NodeId(1), vec![NodeId(2)]);
    let env = Env { id, peers, incarnation: 1, identity: 1, seed: 1, durable: false };
    Lamport::new(config, &env).err()
}

#[test]
fn a_bad_config_is_told_by_key_and_rule() {
    let error = |key, rule: &str| Some(ConfigError { key, rule: rule.into() });
    let with = |interval_ms| refused(Config { interval_ms, ..config() });
    assert_eq!(with([0, 0]), None);
    assert_eq!(with([0, 3_600_000]), None);
    assert_eq!(
        with([9, 5]),
        error("interval_ms", "it is [MIN, MAX], the shorter time first: [5, 9]")
    );
    assert_eq!(
        with([0, 3_600_001]),
        error("interval_ms", "both must be 0 to 3600000 milliseconds (an hour)")
    );
    for timeout_ms in [0, 3_600_001, u64::MAX] {
        assert_eq!(
            refused(Config { timeout_ms, ..config() }),
            error("timeout_ms", "it must be 1 to 3600000 milliseconds (an hour)")
        );
    }
}

// Faults.

/// Lamport's condition on everything that happened: what a receive can have been caused by has the
/// smaller value, and no event has the value of another of its node.
#[test]
fn values_only_grow_and_a_receive_is_later_than_its_send_whatever_the_network_does() {
    let properties = node_studies::registry();
    for seed in 0..50 {
        let mut rng = Rng::stream(seed, "network");
        let busy = Config { interval_ms: [0, 3], timeout_ms: 20, calls: 0 };
        let mut net = nodes(seed, &[busy.clone(), busy.clone(), busy]);
        net.set_weather(10, 10);
        for _ in 0..20 {
            net.network().delay = MS / 10..=rng.below(30) * MS + MS;
            net.run(20 * MS);
        }
        let mut last = [LamportTime(0); 3];
        for (node, line) in net.printed() {
            let (stamp, _) = line[1..].split_once(']').unwrap();
            let (value, _) = stamp.split_once('.').unwrap();
            let value = LamportTime(value.parse().unwrap());
            let last = &mut last[node as usize - 1];
            assert!(value > *last, "seed {seed}: {line} after {last:?}");
            *last = value;
        }
        let condition = properties.property("clock_condition").expect("there is one");
        assert_eq!(net.judge(condition), Verdict::Held, "seed {seed}");
        let all: Vec<Status> = (1..=3).map(|node| status(&mut net, node)).collect();
        let sum = |count: fn(&Status) -> u64| all.iter().map(count).sum::<u64>();
        let (calls, answered) = (sum(|one| one.calls), sum(|one| one.answered));
        let timed_out = sum(|one| one.timed_out);
        assert!(answered > 10 && timed_out > 0 && answered < calls, "{calls} {answered}");
    }
}
