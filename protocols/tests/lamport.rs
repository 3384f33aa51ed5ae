//! The random-number workload: real Hosts, and a network that does what each test says.

use node_protocols::core::{
    Caller, ClientId, ConfigError, Counter, Effect, Env, FrameError, Host, Jump, LamportRule,
    LamportTime, NodeId, Now, Protocol, RequestId, Rng, Time, WallTime, erase, protocol_tag,
};
use node_protocols::lamport::{Config, Lamport, Message, NUMBERS, Reply, Request, Status};
use std::collections::VecDeque;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

fn config() -> Config {
    Config { interval_ms: [10, 10], timeout_ms: 100, calls: 0 }
}

/// A node that serves, and calls nobody in the time that a test takes.
fn server() -> Config {
    Config { interval_ms: [3_600_000, 3_600_000], ..config() }
}

fn env(id: NodeId, nodes: u32) -> Env {
    let peers = (1..=nodes).map(NodeId).filter(|peer| *peer != id).collect();
    Env { id, peers, incarnation: 1, identity: 1, seed: 1, durable: false }
}

fn bytes(value: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).expect("it has a postcard form")
}

/// A frame between nodes, as the Host makes it.
fn frame(lamport: u64, message: &Message) -> Vec<u8> {
    bytes(&((protocol_tag("lamport"), lamport), message))
}

fn caller() -> Caller {
    let client = ClientId { slot: 0, generation: 0 };
    Caller { request: RequestId { client, sequence: 0 }, addr: ([127, 0, 0, 1], 9).into() }
}

struct Flight {
    from: NodeId,
    to: NodeId,
    payload: Vec<u8>,
}

/// Nodes 1 to N, what they have sent and nobody has delivered yet, and their consoles.
struct Net {
    now_ms: u64,
    hosts: Vec<Host>,
    flights: VecDeque<Flight>,
    console: Vec<String>,
    replies: Vec<Reply>,
}

impl Net {
    fn new(configs: &[Config]) -> Net {
        let nodes = configs.len() as u32;
        let host = |(id, config): (u32, &Config)| {
            let env = env(NodeId(id), nodes);
            let protocol = erase::<Lamport>(config.clone(), &env).expect("the config is right");
            let mut host = Host::new(&env, vec![protocol], LamportRule::MaxPlusOne);
            host.set_output(true, false);
            host
        };
        let hosts = (1..).zip(configs).map(host).collect();
        let (flights, console, replies) = (VecDeque::new(), Vec::new(), Vec::new());
        let mut net = Net { now_ms: 0, hosts, flights, console, replies };
        for id in 1..=nodes {
            let now = net.now();
            net.host(NodeId(id)).handle_start(now);
            net.collect(NodeId(id));
        }
        net
    }

    fn host(&mut self, id: NodeId) -> &mut Host {
        &mut self.hosts[id.0 as usize - 1]
    }

    fn now(&self) -> Now {
        Now { time: Time(self.now_ms * 1_000_000), wall: WallTime(1) }
    }

    /// Lets time pass, and fires what is due.
    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        let now = self.now();
        for id in 1..=self.hosts.len() as u32 {
            self.host(NodeId(id)).handle_timers(now);
            self.collect(NodeId(id));
        }
    }

    /// Delivers the frame that has been under way longest.
    fn deliver(&mut self) {
        let flight = self.flights.pop_front().expect("a frame is under way");
        self.give(&flight).expect("a frame of another node is taken");
    }

    fn give(&mut self, flight: &Flight) -> Result<(), FrameError> {
        let now = self.now();
        let done = self.host(flight.to).handle_frame(flight.from, &flight.payload, now);
        self.collect(flight.to);
        done
    }

    fn ask(&mut self, node: NodeId, request: Request) -> Reply {
        let now = self.now();
        let asked = self.host(node).handle_request(0, caller(), &bytes(&request), now);
        asked.expect("the request is well formed");
        self.collect(node);
        self.replies.pop().expect("a request is answered at once")
    }

    fn status(&mut self, node: NodeId) -> Status {
        match self.ask(node, Request::Status {}) {
            Reply::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    fn stale(&mut self, node: NodeId) -> u64 {
        self.host(node).counters().value(Counter::Stale)
    }

    /// Takes what the last event made a node do.
    fn collect(&mut self, node: NodeId) {
        let host = &mut self.hosts[node.0 as usize - 1];
        host.check_invariants();
        let outbox = host.outbox();
        for effect in outbox.effects() {
            match *effect {
                Effect::Send { to, payload } => {
                    let payload = outbox.bytes(payload).to_vec();
                    self.flights.push_back(Flight { from: node, to, payload });
                }
                Effect::Print { line } => {
                    let line = std::str::from_utf8(outbox.bytes(line)).expect("UTF-8");
                    self.console.push(line.to_string());
                }
                Effect::Reply { reply, .. } => {
                    let reply = postcard::from_bytes(outbox.bytes(reply)).expect("a reply");
                    self.replies.push(reply);
                }
                Effect::Push { .. } | Effect::Over { .. } => {
                    panic!("calls are answered, and no more")
                }
                Effect::Note { .. }
                | Effect::Timer { .. }
                | Effect::Fact { .. }
                | Effect::Stop { .. } => {}
            }
        }
        host.outbox_mut().clear_effects();
        host.outbox_mut().clear_records();
    }
}

/// Node 1 calls, node 2 serves, and call 1 is under way.
fn called() -> Net {
    let mut net = Net::new(&[config(), server()]);
    net.pass(10);
    assert_eq!(net.console, ["[1.1] sent call 1 to node 2"]);
    net
}

/// The number in an answer that is under way.
fn number(flight: &Flight) -> u8 {
    type Frame = ((u16, LamportTime), Message);
    match postcard::from_bytes::<Frame>(&flight.payload).expect("a frame").1 {
        Message::Answer { number, .. } => number,
        Message::Call { .. } => panic!("it is a call"),
    }
}

#[test]
fn a_fresh_pair_ends_a_call_at_caller_5_and_server_4() {
    let mut net = called();
    net.deliver();
    let drawn = number(&net.flights[0]);
    assert!(drawn < NUMBERS);
    net.deliver();
    assert_eq!(
        net.console,
        [
            "[1.1] sent call 1 to node 2".into(),
            "[2.2] got call 1 from node 1".into(),
            format!("[3.2] drew {drawn}"),
            format!("[4.2] sent {drawn} to node 1"),
            format!("[5.1] got {drawn} from node 2, for call 1"),
        ]
    );
    assert_eq!(
        (net.host(ONE).lamport(), net.host(TWO).lamport()),
        (LamportTime(5), LamportTime(4))
    );
    assert_eq!(
        net.status(ONE),
        Status {
            process: ONE,
            clock: LamportTime(5),
            calls: 1,
            answered: 1,
            timed_out: 0,
            served: 0
        }
    );
    assert_eq!(net.status(TWO).served, 1);
    assert_eq!(net.host(ONE).digest(), 1 << 32 | 1, "calls and answers");
}

#[test]
fn a_lost_call_and_a_lost_answer_are_given_up_counted_and_told() {
    let mut net = called();
    net.flights.clear();
    net.pass(99);
    assert_eq!(net.status(ONE).timed_out, 0);
    net.pass(1);
    assert_eq!(net.console.last().unwrap(), "[2.1] gave up call 1 to node 2 after 100 ms");
    net.pass(10);
    assert_eq!(net.console.last().unwrap(), "[3.1] sent call 2 to node 2");
    net.deliver();
    net.flights.clear();
    net.pass(100);
    let Status { calls, answered, timed_out, .. } = net.status(ONE);
    assert_eq!((calls, answered, timed_out), (2, 0, 2));
}

#[test]
fn a_late_answer_is_dropped_and_counted_but_moves_the_clock() {
    let mut net = called();
    net.deliver();
    let late = net.flights.pop_front().unwrap();
    net.pass(100);
    net.pass(10);
    let before = net.host(ONE).lamport();
    net.give(&late).unwrap();
    assert_eq!(net.stale(ONE), 1);
    assert!(net.host(ONE).lamport() > before);
    assert!(net.console.last().unwrap().ends_with("ignored an answer of node 2 to call 1"));
    // Call 2 is still under way, and its answer counts.
    net.deliver();
    net.deliver();
    let Status { calls, answered, timed_out, .. } = net.status(ONE);
    assert_eq!((calls, answered, timed_out), (2, 1, 1));
}

#[test]
fn a_call_that_comes_twice_is_served_twice_and_ends_once() {
    let mut net = called();
    let call = net.flights.pop_front().unwrap();
    net.give(&call).unwrap();
    net.give(&call).unwrap();
    net.deliver();
    net.deliver();
    assert_eq!((net.status(ONE).answered, net.status(TWO).served), (1, 2));
    assert_eq!(net.stale(ONE), 1);
}

#[test]
fn an_answer_of_a_stranger_of_another_call_or_out_of_range_is_dropped() {
    let mut net = Net::new(&[config(), server(), server()]);
    net.pass(10);
    let callee = net.flights.pop_front().unwrap().to;
    let stranger = if callee == TWO { NodeId(3) } else { TWO };
    let right = Message::Answer { call: 1, number: 99 };
    for (from, message) in [
        (stranger, right),
        (callee, Message::Answer { call: 0, number: 1 }),
        (callee, Message::Answer { call: 2, number: 1 }),
        (callee, Message::Answer { call: u64::MAX, number: 1 }),
        (callee, Message::Answer { call: 1, number: 100 }),
    ] {
        let stale = net.stale(ONE);
        net.give(&Flight { from, to: ONE, payload: frame(9, &message) }).unwrap();
        assert_eq!(net.stale(ONE), stale + 1, "{message:?}");
        assert_eq!(net.status(ONE).answered, 0);
    }
    net.give(&Flight { from: callee, to: ONE, payload: frame(9, &right) }).unwrap();
    assert_eq!(net.status(ONE).answered, 1);
    // Nothing is under way now.
    net.give(&Flight { from: callee, to: ONE, payload: frame(9, &right) }).unwrap();
    assert_eq!((net.status(ONE).answered, net.stale(ONE)), (1, 6));
}

#[test]
fn an_interval_of_nothing_calls_again_with_the_answer_until_all_calls_are_made() {
    let busy = Config { interval_ms: [0, 0], calls: 3, ..config() };
    let mut net = Net::new(&[busy, server()]);
    net.pass(0);
    for call in 1..=3 {
        assert_eq!(net.flights.len(), 1, "one call at a time");
        assert_eq!(net.status(ONE).calls, call);
        net.deliver();
        net.deliver();
    }
    assert_eq!(net.host(ONE).deadline(), None, "there is no fourth call, nor a timer");
    assert!(net.flights.is_empty());
    assert_eq!((net.status(ONE).calls, net.status(ONE).answered), (3, 3));
}

#[test]
fn the_last_call_may_also_be_given_up() {
    let mut net = Net::new(&[Config { calls: 1, ..config() }, server()]);
    net.pass(10);
    net.pass(100);
    assert_eq!((net.status(ONE).calls, net.status(ONE).timed_out), (1, 1));
    assert_eq!(net.host(ONE).deadline(), None);
}

#[test]
fn waits_are_drawn_from_the_interval_and_all_others_are_called() {
    let drawn = Config { interval_ms: [5, 9], ..config() };
    let mut net = Net::new(&[drawn, server(), server(), server()]);
    let (mut waits, mut callees) = ([0; 15], [0; 5]);
    for _ in 0..400 {
        let Time(due) = net.host(ONE).deadline().unwrap();
        let wait = due / 1_000_000 - net.now_ms;
        waits[wait as usize] += 1;
        net.pass(wait);
        callees[net.flights[0].to.0 as usize] += 1;
        net.deliver();
        net.deliver();
    }
    assert!(waits[5..=9].iter().all(|count| *count > 40), "{waits:?}");
    assert_eq!(waits[5..=9].iter().sum::<u32>(), 400, "and no other");
    assert!(callees[2..=4].iter().all(|count| *count > 90), "{callees:?}");
}

#[test]
fn a_node_alone_calls_nobody_and_serves_clients() {
    let mut net = Net::new(&[config()]);
    assert_eq!(net.host(ONE).deadline(), None);
    let reply = net.ask(ONE, Request::Number { clock: LamportTime(1) });
    assert!(matches!(reply, Reply::Number { clock: LamportTime(4), .. }), "{reply:?}");
}

// Clients.

#[test]
fn a_clients_clock_moves_the_nodes_and_comes_back_larger() {
    let mut net = Net::new(&[server(), server()]);
    let Reply::Number { number, clock } = net.ask(ONE, Request::Number { clock: LamportTime(7) })
    else {
        panic!("a number is due")
    };
    assert_eq!(clock, LamportTime(10), "receive 8, handler 9, reply 10");
    assert_eq!(
        net.console,
        [
            "[8.1] got a call from client 127.0.0.1:9".into(),
            format!("[9.1] drew {number}"),
            format!("[10.1] sent {number} to client 127.0.0.1:9"),
        ]
    );
    assert_eq!(net.status(ONE).clock, LamportTime(10), "asking is no event");
    assert_eq!(net.status(ONE).served, 1);
}

#[test]
fn a_clock_that_cannot_be_true_is_refused_counted_and_changes_nothing() {
    let mut net = called();
    for forged in [u64::MAX, (1 << 32) + 2] {
        let jumps = net.host(ONE).counters().value(Counter::LamportJump);
        let reply = net.ask(ONE, Request::Number { clock: LamportTime(forged) });
        let reason = format!("its Lamport value {forged} is too far above the local 1");
        assert_eq!(reply, Reply::Refused { reason });
        assert_eq!(net.host(ONE).counters().value(Counter::LamportJump), jumps + 1);
        assert_eq!(net.host(ONE).lamport(), LamportTime(1));
        let payload = frame(forged, &Message::Call { call: 1 });
        let jump = Jump { local: LamportTime(1), received: LamportTime(forged) };
        let refused = net.give(&Flight { from: TWO, to: ONE, payload });
        assert_eq!(refused, Err(FrameError::Jump(jump)));
    }
    assert_eq!(net.status(ONE).served, 0);
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
    let status = called().status(ONE);
    assert_eq!(
        json(&Reply::Status(status)),
        r#"{"status":{"process":1,"clock":1,"calls":1,"answered":0,"timed_out":0,"served":0}}"#
    );
}

// Configs.

fn refused(config: Config) -> Option<ConfigError> {
    Lamport::new(config, &env(ONE, 2)).err()
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

/// Lamport's condition on everything that happened: no event has the value of another of its node,
/// and each receive is later than its send.
#[test]
fn values_only_grow_and_a_receive_is_later_than_its_send_whatever_the_network_does() {
    for seed in 0..50 {
        let mut rng = Rng::stream(seed, "network");
        let busy = Config { interval_ms: [0, 3], timeout_ms: 20, calls: 0 };
        let mut net = Net::new(&[busy.clone(), busy.clone(), busy]);
        let mut last = [LamportTime(0); 3];
        for _ in 0..500 {
            if net.flights.is_empty() || rng.below(3) == 0 {
                net.pass(rng.below(5));
            } else {
                let place = rng.below(net.flights.len() as u64) as usize;
                let flight = net.flights.remove(place).unwrap();
                let (_, sent, _) = net.host(flight.to).describe_parts(&flight.payload).unwrap();
                match rng.below(10) {
                    0 => continue,
                    1 => {
                        net.flights.push_back(Flight { payload: flight.payload.clone(), ..flight })
                    }
                    _ => {}
                }
                let before = net.host(flight.to).lamport();
                net.give(&flight).unwrap();
                let received = net.host(flight.to).lamport_of_receive();
                assert!(received > sent && received > before, "seed {seed}");
            }
            for line in net.console.drain(..) {
                let (stamp, _) = line[1..].split_once(']').unwrap();
                let (value, process) = stamp.split_once('.').unwrap();
                let value = LamportTime(value.parse().unwrap());
                let last = &mut last[process.parse::<usize>().unwrap() - 1];
                assert!(value > *last, "seed {seed}: {line} after {last:?}");
                *last = value;
            }
        }
        let calls: u64 = (1..=3).map(|id| net.status(NodeId(id)).calls).sum();
        let answered: u64 = (1..=3).map(|id| net.status(NodeId(id)).answered).sum();
        let timed_out: u64 = (1..=3).map(|id| net.status(NodeId(id)).timed_out).sum();
        assert!(answered > 10 && timed_out > 0 && answered < calls, "{calls} {answered}");
    }
}
