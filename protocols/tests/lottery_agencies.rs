//! Agencies as nodes: real Hosts, and a network that loses, copies, delays and reorders, with
//! restarts of both sides. What the agencies sent is in the file once, and each gets its own
//! winners.

use node_protocols::core::{
    ConfigError, Effect, Env, Exit, Host, LamportRule, NodeId, Now, Protocol, Rng, Time, WallTime,
    erase, protocol_tag,
};
use node_protocols::lottery::{Bet, Config, Lottery, Message, Reply, Request, RoleName};
use std::collections::BTreeMap;

const CENTRAL: NodeId = NodeId(9);

/// Nodes 1 to N are agencies 1 to N.
struct Net {
    now_ms: u64,
    rng: Rng,
    files: Vec<String>,
    hosts: BTreeMap<NodeId, Host>,
    /// Which agencies are linked to the central.
    links: BTreeMap<NodeId, bool>,
    wire: Vec<Flight>,
    log: Vec<(u16, Vec<u8>)>,
    bets: Vec<u8>,
    console: Vec<(NodeId, String)>,
    exits: BTreeMap<NodeId, Exit>,
    starts: u64,
}

#[derive(Clone)]
struct Flight {
    from: NodeId,
    to: NodeId,
    payload: Vec<u8>,
}

/// Where the central stops in a turn that writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fuse {
    None,
    BeforeDisk,
    AfterDisk,
}

fn agency(id: u32) -> Config {
    Config {
        role: RoleName::Agency,
        agency: id,
        central: Some(CENTRAL),
        bets: Some(format!("agency-{id}.csv")),
        bets_per_chunk: 2,
        period_ms: 50,
        resend_after_ms: 20,
        ..Config::default()
    }
}

fn env(id: NodeId, agencies: u32, incarnation: u64) -> Env {
    let peers = match id {
        CENTRAL => (1..=agencies).map(NodeId).collect(),
        _ => vec![CENTRAL],
    };
    Env { id, peers, incarnation, identity: id.0.into(), seed: 1, durable: id == CENTRAL }
}

fn bytes(value: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).expect("it has a postcard form")
}

impl Net {
    /// All nodes started and linked; `files` has the agencies' bets.
    fn new(seed: u64, files: Vec<String>) -> Net {
        let mut net = Net {
            now_ms: 0,
            rng: Rng::stream(seed, "agencies"),
            hosts: BTreeMap::new(),
            links: BTreeMap::new(),
            wire: vec![],
            log: vec![],
            bets: vec![],
            console: vec![],
            exits: BTreeMap::new(),
            starts: 0,
            files,
        };
        net.start(CENTRAL);
        for id in net.agencies() {
            net.start(id);
            net.link(id);
        }
        net
    }

    fn agencies(&self) -> Vec<NodeId> {
        (1..=self.files.len() as u32).map(NodeId).collect()
    }

    fn now(&self) -> Now {
        let wall = WallTime::from_millis(1_711_142_764_000 + self.now_ms);
        Now { time: Time(self.now_ms * 1_000_000), wall }
    }

    fn start(&mut self, id: NodeId) {
        self.starts += 1;
        let agencies = self.files.len() as u32;
        let env = env(id, agencies, self.starts);
        let config = match id {
            CENTRAL => Config { agencies, ..Config::default() },
            NodeId(id) => agency(id),
        };
        let mut protocol = erase::<Lottery>(config, &env).expect("the config is right");
        match protocol.input().map(|input| (input.key, input.path.to_string())) {
            None => assert_eq!(id, CENTRAL),
            Some((key, path)) => {
                assert_eq!((key, path), ("bets", format!("agency-{id}.csv")));
                protocol.take_input(self.files[id.0 as usize - 1].as_bytes().into());
            }
        }
        let mut host = Host::new(&env, vec![protocol], LamportRule::MaxPlusOne);
        host.set_output(true, false);
        if id == CENTRAL {
            for (tag, record) in &self.log {
                host.handle_record(*tag, record).expect("its own record");
            }
            let tag = protocol_tag(Lottery::NAME);
            let kept = host.handle_file(tag, self.bets.len() as u64).expect("its own file");
            self.bets.truncate(kept as usize);
        } else {
            assert_eq!(host.files().count(), 0, "an agency keeps nothing");
        }
        host.handle_start(self.now());
        self.hosts.insert(id, host);
        self.collect(id, Fuse::None);
    }

    fn crash(&mut self, id: NodeId) {
        self.hosts.remove(&id);
        for agency in self.agencies() {
            if id == CENTRAL || id == agency {
                self.unlink(agency);
            }
        }
    }

    fn link(&mut self, agency: NodeId) {
        let up = self.hosts.contains_key(&agency) && self.hosts.contains_key(&CENTRAL);
        if up && self.links.insert(agency, true) != Some(true) {
            self.tell_link(agency, true);
        }
    }

    /// Nothing that is under way outlives the link.
    fn unlink(&mut self, agency: NodeId) {
        if self.links.insert(agency, false) == Some(true) {
            self.wire.retain(|flight| flight.from != agency && flight.to != agency);
            self.tell_link(agency, false);
        }
    }

    fn tell_link(&mut self, agency: NodeId, up: bool) {
        let now = self.now();
        for (id, peer) in [(agency, CENTRAL), (CENTRAL, agency)] {
            if let Some(host) = self.hosts.get_mut(&id) {
                host.handle_link(peer, up, now);
                self.collect(id, Fuse::None);
            }
        }
    }

    /// Carries out what a node wants done.
    fn collect(&mut self, id: NodeId, fuse: Fuse) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        host.check_invariants();
        let outbox = host.outbox();
        if outbox.has_to_be_durable() && fuse == Fuse::BeforeDisk {
            // Of the file any part may be there.
            for (_, bytes) in outbox.files() {
                let part = self.rng.below(bytes.len() as u64 + 1) as usize;
                self.bets.extend_from_slice(&bytes[..part]);
            }
            return self.crash(id);
        }
        for (_, bytes) in outbox.files() {
            assert_eq!(id, CENTRAL);
            self.bets.extend_from_slice(bytes);
        }
        let mut rest = outbox.records();
        while let Some((head, tail)) = rest.split_first_chunk::<6>() {
            let length = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
            self.log.push((u16::from_le_bytes([head[0], head[1]]), tail[..length].to_vec()));
            rest = &tail[length..];
        }
        if outbox.has_to_be_durable() && fuse == Fuse::AfterDisk {
            return self.crash(id);
        }
        for effect in outbox.effects() {
            match *effect {
                Effect::Send { to, payload } => {
                    let agency = if id == CENTRAL { to } else { id };
                    if self.links.get(&agency) == Some(&true) {
                        let payload = outbox.bytes(payload).to_vec();
                        self.wire.push(Flight { from: id, to, payload });
                    }
                }
                Effect::Print { line } => {
                    let line = std::str::from_utf8(outbox.bytes(line)).expect("UTF-8");
                    self.console.push((id, line.to_string()));
                }
                Effect::Stop { exit } => assert_eq!(self.exits.insert(id, exit), None),
                Effect::Reply { .. }
                | Effect::Over { .. }
                | Effect::Push { .. }
                | Effect::Note { .. }
                | Effect::Timer { .. }
                | Effect::Fact { .. } => {}
            }
        }
        host.outbox_mut().clear_effects();
        host.outbox_mut().clear_records();
        if self.exits.contains_key(&id) {
            self.crash(id);
        }
    }

    fn give(&mut self, flight: &Flight, fuse: Fuse) {
        let now = self.now();
        if let Some(host) = self.hosts.get_mut(&flight.to) {
            host.handle_frame(flight.from, &flight.payload, now).expect("it is well formed");
            self.collect(flight.to, fuse);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        let now = self.now();
        for id in self.hosts.keys().copied().collect::<Vec<_>>() {
            if let Some(host) = self.hosts.get_mut(&id) {
                host.handle_timers(now);
                self.collect(id, Fuse::None);
            }
        }
    }

    /// Whatever can happen, once.
    fn chaos(&mut self) {
        let node = 1 + self.rng.below(self.files.len() as u64) as u32;
        let node = NodeId(node);
        match self.rng.below(100) {
            0..60 if !self.wire.is_empty() => {
                let any = self.rng.below(self.wire.len() as u64) as usize;
                let flight = self.wire[any].clone();
                // One in four arrives again, or arrives never.
                if self.rng.below(4) > 0 {
                    self.wire.swap_remove(any);
                }
                if self.rng.below(4) > 0 {
                    let fuse = match self.rng.below(20) {
                        0 => Fuse::BeforeDisk,
                        1 => Fuse::AfterDisk,
                        _ => Fuse::None,
                    };
                    self.give(&flight, if flight.to == CENTRAL { fuse } else { Fuse::None });
                }
            }
            60..85 => {
                let ms = self.rng.below(30);
                self.pass(ms);
            }
            85..88 => self.unlink(node),
            88..94 => self.link(node),
            94..96 => self.crash(node),
            96 => self.crash(CENTRAL),
            _ => self.mend(),
        }
    }

    fn mend(&mut self) {
        if !self.hosts.contains_key(&CENTRAL) {
            self.start(CENTRAL);
        }
        for id in self.agencies() {
            if !self.hosts.contains_key(&id) && !self.exits.contains_key(&id) {
                self.start(id);
            }
            self.link(id);
        }
    }

    /// All that is under way arrives, in order, and time passes, until all agencies have ended.
    fn run(&mut self) {
        for _ in 0..100_000 {
            if self.exits.len() == self.files.len() {
                return;
            }
            self.mend();
            match self.wire.is_empty() {
                true => self.pass(1),
                false => {
                    let flight = self.wire.remove(0);
                    self.give(&flight, Fuse::None);
                }
            }
        }
        panic!("the agencies do not come to an end: {:?}", self.exits);
    }

    /// The lines of a node, without their times.
    fn lines(&self, id: NodeId) -> Vec<&str> {
        let lines = self.console.iter().filter(|(node, _)| *node == id);
        lines.map(|(_, line)| line.split_once("\" ").map_or(&line[..], |(_, rest)| rest)).collect()
    }

    /// What a node that is no agency of its own is answered.
    fn ask(&mut self, from: u32, number: u64, request: Request<'_>) -> Reply<'static> {
        let message = Message::Ask { number, request };
        let payload = bytes(&((protocol_tag(Lottery::NAME), 1_u64), message));
        self.links.insert(NodeId(from), true);
        self.wire.clear();
        self.give(&Flight { from: NodeId(from), to: CENTRAL, payload }, Fuse::None);
        let answer = self.wire.pop().expect("an answer").payload.leak();
        let (_, message): ((u16, u64), Message<'_>) = postcard::from_bytes(answer).expect("it");
        match message {
            Message::Answer { number: answered, reply } if answered == number => reply,
            other => panic!("{other:?}"),
        }
    }
}

/// The bets of an agency, those at `winning` win; and the rows that the central is to have.
fn bets(id: u32, count: u32, winning: &[u32]) -> (String, String) {
    let (mut file, mut rows) = (String::new(), String::new());
    for bet in 1..=count {
        let number = if winning.contains(&bet) { 7_574 } else { bet };
        let document = id * 1_000 + bet;
        let row = format!("Zoë,\"Pérez, h.\",{document},1999-03-17,{number}");
        file += &format!("{row}\r\n");
        rows += &format!("{id},{row}\n");
    }
    (file, rows)
}

#[test]
fn whatever_breaks_each_bet_is_stored_once_and_each_agency_gets_its_winners() {
    let winning: [&[u32]; 3] = [&[3, 11], &[], &[1]];
    let counts = [11, 8, 1];
    for seed in 0..300 {
        let made: Vec<_> =
            (0..3).map(|place| bets(place as u32 + 1, counts[place], winning[place])).collect();
        let files = made.iter().map(|(file, _)| file.clone()).collect();
        let mut net = Net::new(seed, files);
        for _ in 0..400 {
            net.chaos();
        }
        net.run();
        for (id, (_, rows)) in (1..).zip(&made) {
            let stored = std::str::from_utf8(&net.bets).unwrap().lines();
            let own: Vec<_> = stored.filter(|row| row.starts_with(&format!("{id},"))).collect();
            assert_eq!(own, rows.lines().collect::<Vec<_>>(), "seed {seed}");
            assert_eq!(net.exits[&NodeId(id)], Exit::Success, "seed {seed}");
            let documents: Vec<_> =
                winning[id as usize - 1].iter().map(|bet| (id * 1_000 + bet).to_string()).collect();
            let line = format!(
                "level=info msg=\"action: consulta_ganadores | result: success | client_id: {id} | cant_ganadores: {} | dni_ganadores: [{}]\"",
                documents.len(),
                documents.join(" ")
            );
            let lines = net.lines(NodeId(id));
            let told = lines.iter().filter(|line| line.contains("consulta_ganadores")).count();
            assert!(lines.contains(&&line[..]) && told == 1, "seed {seed}: {lines:?}");
        }
        // The line of a draw may have been lost with the central.
        let central = net.lines(CENTRAL);
        assert!(central.iter().filter(|line| line.contains("action: sorteo |")).count() <= 1);
    }
}

#[test]
fn an_agency_prints_the_lines_of_the_document() {
    let mut net = Net::new(1, vec![bets(1, 3, &[2]).0]);
    net.run();
    let expected = [
        "config | result: success | client_id: 1 | server_address: node 9 | loop_period: 50ms | bets_per_chunk: 2",
        "chunk_ack_received | result: success | client_id: 1 | chunk_id: 1",
        "chunk_ack_received | result: success | client_id: 1 | chunk_id: 2",
        "notify_ack_received | result: success | client_id: 1",
        "notify_phase_completed | result: success | client_id: 1",
        "results_phase_started | result: in_progress | client_id: 1",
        "consulta_ganadores | result: success | client_id: 1 | cant_ganadores: 1 | dni_ganadores: [1002]",
        "loop_finished | result: success | client_id: 1",
    ];
    assert_eq!(
        net.lines(NodeId(1)),
        expected.map(|line| format!("level=info msg=\"action: {line}\""))
    );
    assert!(net.console[1].1.starts_with("2024-03-22 21:26:04 INFO     action: accept"));
    assert_eq!(net.exits[&NodeId(1)], Exit::Success);
}

#[test]
fn an_agency_that_is_told_to_stop_says_so_and_asks_no_more() {
    let mut net = Net::new(1, vec![bets(1, 3, &[]).0]);
    let now = net.now();
    net.hosts.get_mut(&NodeId(1)).unwrap().handle_stop(now);
    net.collect(NodeId(1), Fuse::None);
    let expected =
        ["socket_closing", "signal_receiver_channel_shutdown", "loop_finished"].map(|action| {
            format!("level=info msg=\"action: {action} | result: success | client_id: 1\"")
        });
    assert_eq!(net.lines(NodeId(1))[1..], expected);
    net.wire.clear();
    net.pass(1_000);
    assert!(net.wire.is_empty());
}

#[test]
fn a_bad_row_or_a_refusal_ends_the_agency_with_failure() {
    let (file, rows) = bets(1, 7, &[]);
    for (bad, stored, told) in [
        (
            file.replace(",1005,", ",x,"),
            4,
            "read_bets | result: fail | client_id: 1 | error: agency-1.csv:5: the document is digits, and not too many: \\\"x\\\"",
        ),
        (
            file.replace("17,5\r", "17,10000\r"),
            4,
            "chunk_ack_received | result: fail | client_id: 1 | chunk_id: 3 | error: bet 1: the number is out of range (agency-1.csv, lines 5 to 6)",
        ),
        (
            file.replace("Zoë", ""),
            0,
            "read_bets | result: fail | client_id: 1 | error: agency-1.csv:1: a name has 1 to 1024 bytes",
        ),
    ] {
        let mut net = Net::new(1, vec![bad]);
        net.run();
        assert_eq!(net.exits[&NodeId(1)], Exit::Failure);
        let told = format!("level=error msg=\"action: {told}\"");
        assert_eq!(net.lines(NodeId(1)).last(), Some(&&told[..]));
        let part: Vec<_> = rows.lines().take(stored).collect();
        assert_eq!(std::str::from_utf8(&net.bets).unwrap().lines().collect::<Vec<_>>(), part);
        // With the right file it goes on where it was.
        net.files = vec![file.clone()];
        net.exits.clear();
        net.run();
        assert_eq!(net.exits[&NodeId(1)], Exit::Success);
        assert_eq!(std::str::from_utf8(&net.bets).unwrap(), rows);
    }
}

#[test]
fn what_the_central_puts_off_is_asked_again_after_a_while() {
    let (file, rows) = bets(1, 3, &[]);
    let mut net = Net::new(1, vec![file]);
    net.hosts.get_mut(&CENTRAL).unwrap().set_room(0);
    let mut asked = 0;
    for _ in 0..500 {
        match net.wire.is_empty() {
            true => net.pass(1),
            false => {
                let flight = net.wire.remove(0);
                asked += usize::from(flight.to == CENTRAL);
                net.give(&flight, Fuse::None);
            }
        }
    }
    assert!((5..=10).contains(&asked), "every 50 ms: {asked}");
    assert_eq!((net.bets.len(), net.exits.len()), (0, 0));
    net.hosts.get_mut(&CENTRAL).unwrap().set_room(u64::MAX);
    net.run();
    assert_eq!(std::str::from_utf8(&net.bets).unwrap(), rows);
    assert_eq!(net.exits[&NodeId(1)], Exit::Success);
}

#[test]
fn a_file_without_bets_is_sent_as_well_as_any() {
    for file in ["", "\r\n\n"] {
        let mut net = Net::new(1, vec![file.into()]);
        net.run();
        assert_eq!((net.exits[&NodeId(1)], net.bets.len()), (Exit::Success, 0));
    }
}

#[test]
fn a_node_speaks_for_one_agency_and_its_batches_have_numbers() {
    let files = vec![String::new(), String::new(), String::new()];
    let mut net = Net::new(1, files);
    let bet = |agency| Bet {
        agency,
        name: "A".into(),
        surname: "B".into(),
        document: 1,
        birthdate: "2000-01-01".into(),
        number: 1,
    };
    let send = |batch, agency| Request::Bets { batch, bets: vec![bet(agency)] };
    let refused = |reply: Reply<'_>, part: &str| {
        let Reply::Refused { reason } = &reply else { panic!("{reply:?}") };
        assert!(reason.contains(part), "{reason}");
    };
    refused(net.ask(1, 1, send(0, 1)), "have numbers");
    assert_eq!(net.ask(1, 1, send(1, 1)), Reply::Stored { bets: 1 });
    refused(net.ask(1, 2, send(1, 2)), "for another agency");
    refused(net.ask(2, 1, Request::Finished { agency: 1 }), "another node");
    refused(net.ask(2, 1, Request::Finished { agency: 7 }), "no such agency");
    // Its own is still open to it.
    assert_eq!(net.ask(2, 1, Request::Finished { agency: 2 }), Reply::Finished {});
    let status = Reply::Status { bets: 1, finished: vec![2], drawn: false };
    assert_eq!(net.ask(3, 1, Request::Status {}), status);
    // After a restart whoever comes first speaks for it.
    net.crash(CENTRAL);
    net.start(CENTRAL);
    assert_eq!(net.ask(3, 1, send(1, 1)), Reply::Stored { bets: 1 });
    assert_eq!(std::str::from_utf8(&net.bets).unwrap().lines().count(), 1);
}

#[test]
fn what_is_wrong_with_a_config_is_told_by_its_key() {
    let fault = |config: Config, id| {
        let error: ConfigError = Lottery::new(config, &env(id, 3, 1)).err().expect("it is wrong");
        (error.key, error.rule)
    };
    let one = NodeId(1);
    for (config, key, part) in [
        (Config { agency: 0, ..agency(1) }, "agency", "say which"),
        (Config { central: None, ..agency(1) }, "central", "a key of [peers]"),
        (Config { central: Some(NodeId(8)), ..agency(1) }, "central", "a key of [peers]"),
        (Config { bets: None, ..agency(1) }, "bets", "name the CSV file"),
        (Config { bets_per_chunk: 0, ..agency(1) }, "bets_per_chunk", "1 to 10000"),
        (Config { period_ms: 0, ..agency(1) }, "period_ms", "1 to 3600000"),
        (Config { resend_after_ms: 3_600_001, ..agency(1) }, "resend_after_ms", "an hour"),
        (Config { agencies: 3, ..agency(1) }, "agencies", "a key of the central"),
    ] {
        let (told, rule) = fault(config, one);
        assert_eq!(told, key);
        assert!(rule.contains(part), "{rule}");
    }
    let central = Config { bets: Some("x".into()), ..Config::default() };
    assert_eq!(fault(central, CENTRAL).0, "bets");
}
