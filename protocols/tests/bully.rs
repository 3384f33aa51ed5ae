//! The Bully algorithm on real Hosts over a network in memory, step by step: who says what to whom,
//! and what each node then holds.

use node_protocols::bully::{Bully, Config, Message, Reply, Request};
use node_protocols::core::{
    Caller, ClientId, ConfigError, Counter, Effect, Env, Epoch, Host, LamportRule, LamportTime,
    NodeId, Now, Protocol, RequestId, Time, WallTime, encode, erase, protocol_tag,
};
use node_protocols::facts::Coordinator;
use std::collections::{BTreeMap, BTreeSet};

/// `T` of these tests, and how long a message takes.
const TIMEOUT_MS: u64 = 1_000;
const DELAY_MS: u64 = 10;

fn kind(message: &Message) -> &'static str {
    match message {
        Message::Election { .. } => "Election",
        Message::Ok => "Ok",
        Message::Coordinator { .. } => "Coordinator",
        Message::Check { .. } => "Check",
        Message::Alive { .. } => "Alive",
    }
}

/// A message on its way: when it arrives, its number, from, to, payload.
type Way = (u64, u64, u32, u32, Vec<u8>);

struct Net {
    now: u64,
    nodes: BTreeMap<u32, Host>,
    ids: Vec<u32>,
    /// Which nodes check their coordinator.
    checking: BTreeSet<u32>,
    ways: BTreeSet<Way>,
    number: u64,
    /// How many messages of each kind were sent.
    sent: BTreeMap<&'static str, u64>,
    /// Whom each node said that it holds coordinator, in order.
    said: Vec<(u32, u32, u64)>,
    printed: Vec<String>,
    /// Pairs that cannot reach each other, although their links stay.
    cut: BTreeSet<(u32, u32)>,
}

impl Net {
    /// Nodes 1 to n, all down.
    fn new(n: u32, checking: impl IntoIterator<Item = u32>) -> Net {
        Net {
            now: 0,
            nodes: BTreeMap::new(),
            ids: (1..=n).collect(),
            checking: checking.into_iter().collect(),
            ways: BTreeSet::new(),
            number: 0,
            sent: BTreeMap::new(),
            said: Vec::new(),
            printed: Vec::new(),
            cut: BTreeSet::new(),
        }
    }

    /// Nodes 1 to n, started together, that have elected.
    fn elected(n: u32, checking: impl IntoIterator<Item = u32>) -> Net {
        let mut net = Net::new(n, checking);
        for id in 1..=n {
            net.start(id);
        }
        net.link_all();
        net.run(100);
        net.assert_all_hold(n);
        net.sent.clear();
        net
    }

    fn clock(&self) -> Now {
        Now { time: Time(self.now * 1_000_000), wall: WallTime::from_millis(self.now) }
    }

    fn start(&mut self, id: u32) {
        let peers = self.ids.iter().filter(|peer| **peer != id).map(|peer| NodeId(*peer));
        let env = Env {
            id: NodeId(id),
            peers: peers.collect(),
            incarnation: self.now + 1,
            identity: u128::from(id),
            seed: 1,
            durable: false,
        };
        let health_check_ms = if self.checking.contains(&id) { 1_000 } else { 0 };
        let config =
            Config { election_timeout_ms: TIMEOUT_MS, health_check_ms, ..Config::default() };
        let protocol = erase::<Bully>(config, &env).expect("the config is right");
        let mut host = Host::new(&env, vec![protocol], LamportRule::MaxPlusOne);
        host.set_output(true, true);
        host.handle_start(self.clock());
        self.nodes.insert(id, host);
        self.turn(id);
    }

    fn link(&mut self, one: u32, other: u32) {
        let lamports = [one, other].map(|id| self.nodes[&id].lamport());
        let now = self.clock();
        for (place, (id, peer)) in [(one, other), (other, one)].into_iter().enumerate() {
            let host = self.nodes.get_mut(&id).expect("it runs");
            host.handle_greeting(lamports[1 - place], now).expect("nobody forges");
            host.handle_link(NodeId(peer), true, now);
        }
        self.turn(one);
        self.turn(other);
    }

    fn link_all(&mut self) {
        let running: Vec<u32> = self.nodes.keys().copied().collect();
        for (place, one) in running.iter().enumerate() {
            for other in &running[place + 1..] {
                self.link(*one, *other);
            }
        }
    }

    /// Starts a node anew, and links it to all that run.
    fn restart(&mut self, id: u32) {
        let running: Vec<u32> = self.nodes.keys().copied().collect();
        self.start(id);
        for other in running {
            self.link(id, other);
        }
    }

    /// The node is gone, and the others notice that their links are.
    fn kill(&mut self, id: u32) {
        self.nodes.remove(&id);
        self.ways.retain(|(_, _, from, to, _)| *from != id && *to != id);
        let now = self.clock();
        let running: Vec<u32> = self.nodes.keys().copied().collect();
        for other in running {
            let host = self.nodes.get_mut(&other).expect("it runs");
            host.handle_link(NodeId(id), false, now);
            self.turn(other);
        }
    }

    /// Hands a message to a node, as if from a peer.
    fn deliver(&mut self, from: u32, to: u32, lamport: u64, message: Message) {
        let mut payload = Vec::new();
        encode(&(protocol_tag(Bully::NAME), lamport), &mut payload);
        encode(&message, &mut payload);
        let now = self.clock();
        let host = self.nodes.get_mut(&to).expect("it runs");
        // What is refused is counted; the tests look at the counter.
        let _ = host.handle_frame(NodeId(from), &payload, now);
        self.turn(to);
    }

    fn turn(&mut self, id: u32) {
        let host = self.nodes.get_mut(&id).expect("it runs");
        for effect in host.outbox().effects() {
            match *effect {
                Effect::Send { to, payload } => {
                    let payload = host.outbox().bytes(payload).to_vec();
                    let (_, body) = Host::message_of(&payload).expect("it has an envelope");
                    let message = postcard::from_bytes(body).expect("it decodes");
                    *self.sent.entry(kind(&message)).or_default() += 1;
                    self.number += 1;
                    let pair = (id.min(to.0), id.max(to.0));
                    if !self.cut.contains(&pair) {
                        self.ways.insert((self.now + DELAY_MS, self.number, id, to.0, payload));
                    }
                }
                Effect::Fact { fact, .. } => {
                    if let Some(Coordinator { id: coordinator, epoch }) =
                        host.outbox().fact(fact).read()
                    {
                        self.said.push((id, coordinator.0, epoch.0));
                    }
                }
                Effect::Print { line } => {
                    let line = String::from_utf8_lossy(host.outbox().bytes(line)).into_owned();
                    self.printed.push(line);
                }
                _ => {}
            }
        }
        host.outbox_mut().clear_effects();
        host.check_invariants();
    }

    /// Lets time pass.
    fn run(&mut self, ms: u64) {
        let until = self.now + ms;
        loop {
            let way = self.ways.first().map(|way| way.0);
            let deadlines = self.nodes.values().filter_map(Host::deadline);
            let timer = deadlines.map(|at| at.0.div_ceil(1_000_000)).min();
            let Some(next) = way.into_iter().chain(timer).min().filter(|at| *at <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(next);
            let now = self.clock();
            if way == Some(next) {
                let (_, _, from, to, payload) = self.ways.pop_first().expect("there is one");
                if let Some(host) = self.nodes.get_mut(&to) {
                    host.handle_frame(NodeId(from), &payload, now).expect("peers send frames");
                    self.turn(to);
                }
                continue;
            }
            let due = |host: &Host| host.deadline().is_some_and(|at| at <= now.time);
            let due: Vec<u32> =
                self.nodes.iter().filter(|(_, host)| due(host)).map(|(id, _)| *id).collect();
            for id in due {
                self.nodes.get_mut(&id).expect("it runs").handle_timers(now);
                self.turn(id);
            }
        }
    }

    /// Who coordinates in a node's eyes, in which epoch, and how many elections it has held.
    fn status(&mut self, id: u32) -> (Option<u32>, u64, u64) {
        let mut request = Vec::new();
        encode(&Request::Status {}, &mut request);
        let client = ClientId { slot: 0, generation: 0 };
        let addr = "127.0.0.1:1".parse().expect("an address");
        let caller = Caller { request: RequestId { client, sequence: 0 }, addr };
        let now = self.clock();
        let host = self.nodes.get_mut(&id).expect("it runs");
        host.handle_request(0, caller, &request, now).expect("it decodes");
        let reply = host.outbox().effects().iter().find_map(|effect| match *effect {
            Effect::Reply { reply, .. } => Some(host.outbox().bytes(reply).to_vec()),
            _ => None,
        });
        let reply = postcard::from_bytes(&reply.expect("it answers")).expect("it decodes");
        self.turn(id);
        let Reply::Status { coordinator, epoch, elections, .. } = reply;
        (coordinator.map(|id| id.0), epoch.0, elections)
    }

    #[track_caller]
    fn assert_all_hold(&mut self, coordinator: u32) {
        let running: Vec<u32> = self.nodes.keys().copied().collect();
        let epochs: BTreeSet<u64> = running
            .into_iter()
            .map(|id| {
                let (held, epoch, _) = self.status(id);
                assert_eq!(held, Some(coordinator), "in the eyes of node {id}");
                epoch
            })
            .collect();
        assert_eq!(epochs.len(), 1, "{epochs:?}");
    }

    fn count(&self, id: u32, counter: Counter) -> u64 {
        self.nodes[&id].counters().value(counter)
    }

    /// The messages of elections: health checks are none.
    fn election_messages(&self) -> u64 {
        let count = |kind: &str| self.sent.get(kind).copied().unwrap_or_default();
        count("Election") + count("Ok") + count("Coordinator")
    }
}

#[test]
fn nodes_that_start_together_elect_once() {
    for n in [1, 2, 4, 10] {
        let mut net = Net::new(n, []);
        for id in 1..=n {
            net.start(id);
        }
        net.link_all();
        net.run(5 * TIMEOUT_MS);
        net.assert_all_hold(n);
        let elections: u64 = (1..=n).map(|id| net.status(id).2).sum();
        assert_eq!(elections, u64::from(n > 1), "n = {n}");
        assert_eq!(net.election_messages(), u64::from(n) - 1, "the announcement alone, n = {n}");
    }
}

#[test]
fn the_highest_may_never_come() {
    let mut net = Net::new(4, []);
    for id in 1..=3 {
        net.start(id);
    }
    net.link_all();
    net.run(3 * TIMEOUT_MS);
    net.assert_all_hold(3);
}

#[test]
fn when_the_lowest_finds_out_an_election_costs_what_the_textbook_says() {
    for n in 3..=12u32 {
        let mut net = Net::elected(n, [1]);
        net.kill(n);
        net.run(6 * TIMEOUT_MS);
        net.assert_all_hold(n - 1);
        let n = u64::from(n);
        assert_eq!(net.sent["Election"], n * (n - 1) / 2);
        assert_eq!(net.sent.get("Ok").copied().unwrap_or_default(), (n - 1) * (n - 2) / 2);
        assert_eq!(net.sent["Coordinator"], n - 2);
        assert_eq!(net.election_messages(), n * n - n - 1);
    }
}

#[test]
fn when_the_second_highest_finds_out_it_asks_one_and_tells_the_others() {
    for n in 3..=12u32 {
        let mut net = Net::elected(n, [n - 1]);
        net.kill(n);
        net.run(6 * TIMEOUT_MS);
        net.assert_all_hold(n - 1);
        assert_eq!(net.election_messages(), u64::from(n) - 1);
    }
}

#[test]
fn everybody_finding_out_at_once_costs_no_more() {
    for n in 3..=12u32 {
        let mut net = Net::elected(n, 1..=n);
        net.kill(n);
        net.run(8 * TIMEOUT_MS);
        net.assert_all_hold(n - 1);
        let n = u64::from(n);
        let most = n * n - n - 1;
        assert!(net.election_messages() <= most, "{:?}", net.sent);
    }
}

#[test]
fn a_higher_node_that_comes_back_takes_over_in_a_later_epoch() {
    let mut net = Net::elected(4, 1..=4);
    let (_, first, _) = net.status(1);
    net.kill(4);
    net.run(6 * TIMEOUT_MS);
    net.assert_all_hold(3);
    let (_, second, _) = net.status(1);
    net.restart(4);
    net.run(100);
    net.assert_all_hold(4);
    let (_, third, _) = net.status(1);
    assert!(first < second && second < third, "{first} {second} {third}");
    assert_eq!(net.said.last().map(|said| said.1), Some(4));
}

#[test]
fn a_coordinator_back_before_anybody_noticed_reigns_anew() {
    let mut net = Net::elected(4, 1..=4);
    let (_, first, _) = net.status(1);
    net.kill(4);
    net.restart(4);
    net.run(3 * TIMEOUT_MS);
    net.assert_all_hold(4);
    assert!(net.status(1).1 > first);
}

#[test]
fn a_winner_that_dies_before_it_announces_itself_is_not_waited_for_for_ever() {
    let mut net = Net::elected(4, [1]);
    net.kill(4);
    // Node 1 misses 4, and is answered by 2 and 3; 3 waits for 4's answer, and dies meanwhile.
    while !net.printed.iter().any(|line| line.contains("3 answers OK")) {
        net.run(1);
    }
    net.kill(3);
    net.run(5 * TIMEOUT_MS);
    assert!(net.printed.iter().any(|line| line.ends_with("no announcement came: asks again")));
    net.assert_all_hold(2);
}

#[test]
fn a_node_holds_one_election_at_a_time() {
    let mut net = Net::elected(4, []);
    net.kill(4);
    net.sent.clear();
    for _ in 0..3 {
        net.deliver(1, 3, 50, Message::Election { epoch: Epoch(0) });
        net.deliver(2, 3, 50, Message::Election { epoch: Epoch(0) });
    }
    assert_eq!(net.sent["Election"], 1, "3 asks 4 once");
    assert_eq!(net.sent["Ok"], 6);
}

#[test]
fn announcements_of_earlier_reigns_change_nothing_and_are_counted() {
    let mut net = Net::elected(4, []);
    let (_, epoch, _) = net.status(1);
    let held = net.said.len();
    for stale in [epoch - 1, 0] {
        net.deliver(4, 1, 60, Message::Coordinator { epoch: Epoch(stale) });
        net.deliver(4, 1, 60, Message::Coordinator { epoch: Epoch(stale) });
    }
    assert_eq!(net.count(1, Counter::Stale), 4);
    assert_eq!(net.said.len(), held);
    net.assert_all_hold(4);
}

#[test]
fn an_announcement_below_a_live_node_is_refused() {
    let mut net = Net::elected(4, []);
    // Node 2 is mistaken, or lies: 4 was heard from a moment ago.
    net.deliver(2, 1, 2_000, Message::Coordinator { epoch: Epoch(1_000) });
    assert_eq!(net.count(1, Counter::Stale), 1);
    net.assert_all_hold(4);
    // Node 3 knows better: it is higher itself, and 4 settles it for all.
    net.deliver(2, 3, 2_000, Message::Coordinator { epoch: Epoch(1_000) });
    net.run(3 * TIMEOUT_MS);
    net.assert_all_hold(4);
}

#[test]
fn a_frame_with_a_forged_lamport_value_changes_nothing() {
    let mut net = Net::elected(4, []);
    let before = net.nodes[&1].lamport();
    net.deliver(4, 1, u64::MAX, Message::Coordinator { epoch: Epoch(u64::MAX) });
    assert_eq!(net.nodes[&1].lamport(), before);
    assert_eq!(net.count(1, Counter::LamportJump), 1);
    // Nor does an epoch that no clock has reached, whatever message brings it.
    let epoch = Epoch(u64::MAX);
    for (from, message) in [
        (4, Message::Coordinator { epoch }),
        (3, Message::Coordinator { epoch: Epoch(100) }),
        (2, Message::Election { epoch }),
        (2, Message::Check { coordinator: NodeId(2), epoch }),
    ] {
        net.deliver(from, 1, 90, message);
    }
    assert_eq!(net.count(1, Counter::Stale), 4);
    net.assert_all_hold(4);
}

#[test]
fn parts_that_were_cut_off_elect_each_their_own_and_then_one_again() {
    let mut net = Net::elected(4, 1..=4);
    net.cut = [(1, 3), (1, 4), (2, 3), (2, 4)].into();
    net.run(8 * TIMEOUT_MS);
    assert_eq!([1, 2, 3, 4].map(|id| net.status(id).0), [2, 2, 4, 4].map(Some));
    net.cut.clear();
    net.run(3 * TIMEOUT_MS);
    net.assert_all_hold(4);
}

/// Found by the simulator: configs/sim/election-crash.toml, seed 645.
#[test]
fn of_two_elections_that_end_at_once_the_higher_node_s_stands() {
    let mut net = Net::elected(4, [1]);
    net.cut = [(3, 4)].into();
    // Node 3 asks 4, and hears nothing; meanwhile 4 starts anew and announces itself to the others.
    net.deliver(1, 3, 50, Message::Election { epoch: Epoch(1) });
    net.kill(4);
    net.restart(4);
    net.deliver(1, 4, 50, Message::Check { coordinator: NodeId(4), epoch: Epoch(1) });
    let (_, earlier, _) = net.status(4);
    // Of what 3 hears meanwhile nothing comes from 4.
    net.deliver(1, 3, 500, Message::Alive { coordinates: false });
    net.run(TIMEOUT_MS + 50);
    assert_eq!([3, 4].map(|id| net.status(id).0), [3, 4].map(Some));
    assert!(net.status(3).1 > earlier);
    net.cut.clear();
    net.deliver(4, 3, 90, Message::Coordinator { epoch: Epoch(earlier) });
    net.run(100);
    net.assert_all_hold(4);
}

#[test]
fn a_coordinator_that_was_only_slow_reigns_again() {
    let mut net = Net::elected(4, 1..=4);
    net.cut = [(1, 4), (2, 4), (3, 4)].into();
    net.run(8 * TIMEOUT_MS);
    assert_eq!(net.status(1).0, Some(3));
    assert_eq!(net.status(4).0, Some(4));
    net.cut.clear();
    net.run(3 * TIMEOUT_MS);
    net.assert_all_hold(4);
}

#[test]
fn what_it_prints() {
    let mut net = Net::elected(3, [1]);
    net.printed.clear();
    net.kill(3);
    net.run(5 * TIMEOUT_MS);
    let lines: Vec<&str> =
        net.printed.iter().map(|line| line.split_once("] ").expect("a clock").1).collect();
    assert_eq!(
        lines,
        [
            "coordinator 3 does not answer",
            "asks 2, 3 (ELECTION)",
            "is asked by 1, answers OK",
            "asks 3 (ELECTION)",
            "2 answers OK: waits for its announcement",
            "I am the coordinator, and tell 1 (COORDINATOR)",
            "2 is the coordinator",
        ]
    );
    // Each behind clock and process, in an order that respects causes.
    let asked = net.printed[2].clone();
    assert!(asked.starts_with('[') && asked.contains(".2] "), "{asked}");
}

#[test]
fn a_higher_node_that_appears_during_an_election_is_asked_too() {
    let mut net = Net::elected(4, []);
    net.kill(4);
    net.deliver(1, 3, 50, Message::Election { epoch: Epoch(1) });
    net.run(TIMEOUT_MS - 50);
    // A moment before 3 would take over, 4 is there; it has not found out yet that it is the
    // highest.
    net.start(4);
    net.link(3, 4);
    net.run(TIMEOUT_MS / 2);
    assert!(net.said.iter().all(|said| said.0 != 3 || said.1 == 4), "{:?}", net.said);
    net.link(1, 4);
    net.link(2, 4);
    net.run(3 * TIMEOUT_MS);
    net.assert_all_hold(4);
}

#[test]
fn a_follower_of_an_earlier_reign_is_told_of_the_present_one() {
    let mut net = Net::elected(4, []);
    let (_, epoch, _) = net.status(4);
    net.sent.clear();
    let check = Message::Check { coordinator: NodeId(4), epoch: Epoch(epoch - 1) };
    net.deliver(1, 4, 50, check);
    assert_eq!(net.sent.get("Coordinator"), Some(&1));
    assert_eq!(net.sent.get("Alive"), None);
}

#[test]
fn a_coordinator_that_is_checked_before_it_knows_takes_over_at_once() {
    let mut net = Net::elected(4, []);
    net.kill(4);
    net.start(4);
    net.link(1, 4);
    net.deliver(1, 4, 50, Message::Check { coordinator: NodeId(4), epoch: Epoch(1) });
    assert_eq!(net.status(4).0, Some(4));
}

#[test]
fn a_node_whose_link_is_down_does_not_keep_a_lower_one_from_coordinating() {
    let mut net = Net::elected(4, []);
    net.deliver(4, 1, 50, Message::Alive { coordinates: true });
    net.kill(4);
    net.deliver(3, 1, 2_000, Message::Coordinator { epoch: Epoch(1_000) });
    assert_eq!(net.status(1).0, Some(3));
}

#[test]
fn configs_that_cannot_work_are_refused() {
    let env =
        Env { id: NodeId(1), peers: vec![], incarnation: 1, identity: 1, seed: 1, durable: false };
    let refusal = |election_timeout_ms, health_check_ms| {
        let config = Config { election_timeout_ms, health_check_ms, ..Config::default() };
        let built = erase::<Bully>(config, &env);
        built.err().map(|ConfigError { key, .. }| key)
    };
    assert_eq!(refusal(0, 0), Some("election_timeout_ms"));
    assert_eq!(refusal(3_600_001, 0), Some("election_timeout_ms"));
    assert_eq!(refusal(1, 3_600_001), Some("health_check_ms"));
    assert_eq!(refusal(1, 0), None);
}

#[test]
fn clients_ask_in_json() {
    let request: Request = serde_json::from_str(r#"{"status":{}}"#).unwrap();
    assert_eq!(request, Request::Status {});
    let reply = Reply::Status {
        node: NodeId(1),
        coordinator: None,
        epoch: Epoch(0),
        electing: true,
        elections: 1,
        ignored: 2,
        clock: LamportTime(7),
    };
    assert_eq!(
        serde_json::to_string(&reply).unwrap(),
        r#"{"status":{"node":1,"coordinator":null,"epoch":0,"electing":true,"elections":1,"ignored":2,"clock":7}}"#
    );
}
