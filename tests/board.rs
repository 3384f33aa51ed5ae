//! The bulletin system as real processes: posts over all gateways, servers that are killed and stopped
//! under traffic, the reference server's services byte by byte, and subscribers that do not read.

mod common;

use common::clients::{Json, connect};
use common::{LONG, Node, PATIENT, free_port, local, wait_until, with_more_time};
use node::client::Client;
use node_protocols::berkeley::{self, Berkeley};
use node_protocols::board::{Board, Maybe, Reply, Request};
use node_protocols::core::{Bytes, LamportTime, Protocol};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SERVERS: [u32; 3] = [1, 2, 3];
const BROKER: u32 = 4;
const PROXY: u32 = 5;
const REFERENCE: u32 = 6;

/// Three servers, a broker, a proxy and a reference server, all on this machine.
struct System {
    dir: TempDir,
    /// Native, JSON and NATS; not all nodes open all.
    ports: BTreeMap<u32, [u16; 3]>,
    /// Lines of the proxy's `[limits]`.
    limits: &'static str,
    /// How long the reference server lists a server that is silent.
    listed: Duration,
    nodes: BTreeMap<u32, Node>,
}

impl System {
    /// Starts all, and waits until the servers agree on a coordinator and take posts.
    fn start(limits: &'static str) -> System {
        System::start_listing(limits, LONG)
    }

    /// The same, and who is silent for so long leaves the reference server's list.
    fn start_listing(limits: &'static str, listed: Duration) -> System {
        let ids = SERVERS.into_iter().chain([BROKER, PROXY, REFERENCE]);
        let ports = ids.map(|id| (id, [free_port(), free_port(), free_port()])).collect();
        let dir = tempfile::tempdir().expect("a folder for the test");
        let mut system = System { dir, ports, limits, listed, nodes: BTreeMap::new() };
        for id in system.ports.keys().copied().collect::<Vec<_>>() {
            fs::write(system.path(id), system.config(id)).expect("a config");
            system.run(id);
        }
        system.wait_coordinator(&SERVERS);
        let mut client = system.client(BROKER);
        wait_until("a post is published", LONG, || {
            matches!(post(&mut client, "nobody", "nowhere", b""), Reply::Sent { .. }).then_some(())
        });
        system
    }

    fn path(&self, id: u32) -> PathBuf {
        self.dir.path().join(format!("{id}.toml"))
    }

    fn config(&self, id: u32) -> String {
        let [native, json, nats] = self.ports[&id];
        let listener = |port: u16, gateway: &str| {
            format!("[[listeners]]\naddr = \"127.0.0.1:{port}\"\ngateway = \"{gateway}\"\n")
        };
        let peers: String = self
            .ports
            .iter()
            .filter(|(peer, _)| **peer != id)
            .map(|(peer, ports)| format!("{peer} = \"127.0.0.1:{}\"\n", ports[0]))
            .collect();
        let mut node = format!("[node]\nid = {id}\ncluster = \"test\"\n");
        let limits = if id == PROXY { self.limits } else { "" };
        let mut listeners = listener(native, "native");
        let protocols = match id {
            BROKER => {
                listeners += &listener(json, "json");
                "[protocols.board]\nrole = \"broker\"\nservers = [1, 2, 3]\n".to_string()
            }
            PROXY => {
                listeners += &listener(json, "json");
                listeners += &listener(nats, "nats");
                "[protocols.board]\nrole = \"proxy\"\n".to_string()
            }
            REFERENCE => {
                listeners += &listener(json, "json");
                node += &format!("data_dir = {:?}\n", self.dir.path().join("data"));
                let listed = self.listed.as_millis();
                format!(
                    "[protocols.membership]\nrole = \"reference\"\nheartbeat_ms = 200\n\
                     timeout_ms = {listed}\n"
                )
            }
            server => {
                node += &format!("clock_offset_ms = {}\n", (i64::from(server) - 2) * 50);
                format!(
                    "[protocols.membership]\nrole = \"member\"\nname = \"server{server}\"\n\
                     reference = {REFERENCE}\nheartbeat_ms = 200\n\
                     [protocols.bully]\nby = \"rank\"\nelection_timeout_ms = 700\n\
                     health_check_ms = 300\n\
                     [protocols.berkeley]\nservers = [1, 2, 3]\nslew_ppm = 500000\n\
                     interval_ms = 200\n\
                     [protocols.board]\nrole = \"server\"\nname = \"server{server}\"\n\
                     proxy = {PROXY}\n"
                )
            }
        };
        format!("{node}[peers]\n{peers}{listeners}[limits]\n{PATIENT}{limits}\n{protocols}")
    }

    /// Starts a node, and waits until it listens.
    fn run(&mut self, id: u32) {
        let node = Node::spawn(&self.path(id), &self.path(id).with_extension(""), None);
        wait_until("the node listens", LONG, || {
            node.assert_runs();
            TcpStream::connect(self.native(id)).ok()
        });
        self.nodes.insert(id, node);
    }

    /// As kill -9 does.
    fn kill(&mut self, id: u32) {
        drop(self.nodes.remove(&id).expect("it runs"));
    }

    fn native(&self, id: u32) -> SocketAddr {
        local(self.ports[&id][0])
    }

    fn json(&self, id: u32) -> Json {
        Json::connect(local(self.ports[&id][1]))
    }

    /// A client of the board.
    fn client(&self, id: u32) -> Client {
        Client::connect(self.native(id), Board::NAME, LONG).expect("the node takes clients")
    }

    fn subscriber(&self, topics: &[&str]) -> Client {
        let mut client = self.client(PROXY);
        for topic in topics {
            let request = Request::Subscribe { topic: (*topic).into(), member: None };
            let reply: Reply<'_> = client.request(&request, LONG).expect("the proxy answers");
            assert!(
                matches!(&reply, Reply::Subscribed { topic: one, .. } if one == topic),
                "{reply:?}"
            );
        }
        client
    }

    fn coordinator(&self, id: u32) -> Option<u32> {
        let mut client = Client::connect(self.native(id), Berkeley::NAME, LONG).ok()?;
        let asked = client.request(&berkeley::Request::Status {}, LONG).ok()?;
        let berkeley::Reply::Status { coordinator, .. } = asked;
        coordinator.map(|id| id.0)
    }

    /// Waits until these servers hold the same one of them coordinator.
    fn wait_coordinator(&self, servers: &[u32]) -> u32 {
        wait_until("the servers agree on a coordinator", LONG, || {
            let first = self.coordinator(servers[0])?;
            let agree = servers.iter().all(|id| self.coordinator(*id) == Some(first));
            (agree && servers.contains(&first)).then_some(first)
        })
    }

    /// Names and ranks on the reference server's list.
    fn list(&self) -> BTreeMap<String, u64> {
        let request = r#"{"service":"list","data":{"timestamp":0,"clock":0}}"#;
        let mut answer = self.json(REFERENCE).ask(request);
        let list = answer["data"]["list"].take();
        let list = list.as_array().expect("a list").iter();
        let of = |one: &Value| {
            (one["name"].as_str().expect("a name").into(), one["rank"].as_u64().expect("a rank"))
        };
        list.map(of).collect()
    }
}

fn post(client: &mut Client, user: &str, topic: &str, text: &[u8]) -> Reply<'static> {
    let request = Request::Send {
        user: user.into(),
        topic: topic.into(),
        text: Bytes::new(text),
        timestamp: 0,
        clock: LamportTime(0),
    };
    match client.request(&request, LONG).expect("the broker answers") {
        Reply::Sent { server, timestamp, clock } => Reply::Sent { server, timestamp, clock },
        Reply::Error { reason, published, timestamp, clock } => {
            Reply::Error { reason: reason.into_owned().into(), published, timestamp, clock }
        }
        other => panic!("no answer to a post: {other:?}"),
    }
}

/// What a subscriber hears next: topic, user, text.
fn hear(client: &mut Client) -> (String, String, String) {
    match client.next_push(LONG).expect("the proxy is there") {
        Some(Reply::Message { topic, user, text, .. }) => {
            (topic.into(), user.into(), String::from_utf8_lossy(&text).into())
        }
        other => panic!("no message: {other:?}"),
    }
}

/// A NATS client by hand.
struct Nats {
    stream: BufReader<TcpStream>,
}

impl Nats {
    fn connect(system: &System, topic: &str) -> Nats {
        let stream = connect(local(system.ports[&PROXY][2]));
        let mut nats = Nats { stream: BufReader::new(stream) };
        assert!(nats.line().starts_with("INFO {"));
        nats.send("CONNECT {\"verbose\":false}\r\n");
        nats.send(&format!("SUB {topic} 1\r\nPING\r\n"));
        assert_eq!(nats.line(), "PONG");
        nats
    }

    fn send(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).expect("the proxy reads");
    }

    /// The next line; empty when the connection has ended.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("the proxy writes");
        line.strip_suffix("\r\n").unwrap_or_default().into()
    }

    /// The next message's text, or what comes instead.
    fn hear(&mut self) -> Result<Vec<u8>, String> {
        let line = self.line();
        let Some(rest) = line.strip_prefix("MSG ") else { return Err(line) };
        let length: usize = rest.rsplit(' ').next().expect("a length").parse().expect("a number");
        let mut text = vec![0; length + 2];
        match self.stream.read_exact(&mut text) {
            Ok(()) => {
                text.truncate(length);
                Ok(text)
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(String::new()),
            Err(error) => panic!("{error}"),
        }
    }

    /// All that has come when the proxy answers.
    fn all(&mut self) -> String {
        self.send("PING\r\n");
        let mut all = String::new();
        while !all.ends_with("PONG\r\n") {
            let bytes = self.stream.read_line(&mut all).expect("the proxy writes");
            assert!(bytes > 0, "it has ended: {all}");
        }
        all
    }
}

#[test]
fn a_post_goes_through_broker_and_server_to_subscribers_over_every_gateway() {
    let system = System::start("");
    let mut native = system.subscriber(&["general"]);
    let mut nats = Nats::connect(&system, "general");
    let mut json = system.json(PROXY);
    let subscribed = json.ask(r#"{"service":"subscribe","data":{"topic":"general"}}"#);
    assert_eq!(subscribed["service"], "subscribed");
    assert_eq!(subscribed["data"]["topic"], "general");
    assert!(subscribed["data"]["clock"].is_u64() && subscribed["data"]["timestamp"].is_u64());

    let sent = system.json(BROKER).ask(
        r#"{"service":"send","data":{"user":"ana","topic":"general","text":"hello é","timestamp":1,"clock":5000}}"#,
    );
    assert_eq!(sent["service"], "sent");
    let server = sent["data"]["server"].as_u64().expect("a server");
    assert!((1..=3).contains(&server), "{sent}");
    // Lamport: the answer is after the question.
    assert!(sent["data"]["clock"].as_u64() > Some(5_000), "{sent}");

    assert_eq!(hear(&mut native), ("general".into(), "ana".into(), "hello é".into()));
    assert_eq!(nats.hear(), Ok("hello é".into()));
    let heard = json.answer();
    let data = &heard["data"];
    // The answer has the message's own time.
    assert_eq!(data["timestamp"], sent["data"]["timestamp"], "{heard} {sent}");
    assert_eq!(heard["service"], "message");
    let who = (&data["topic"], &data["user"], &data["server"], &data["text"]);
    assert_eq!(who, (&json!("general"), &json!("ana"), &json!(server), &json!("hello é")));
    assert!(data["clock"].as_u64() > Some(5_000), "{heard}");
    assert!(data["timestamp"].as_u64() > Some(1_700_000_000_000), "{heard}");

    let wrong = json.ask("{\"service\":\"subscribe\",\"data\":{}}");
    assert_eq!(wrong["service"], "error");
    assert_eq!(wrong["data"]["reason"], "missing field `topic`");
    assert!(wrong["data"]["clock"].is_u64() && wrong["data"]["timestamp"].is_u64(), "{wrong}");

    // What a NATS client publishes reaches the others, and itself.
    nats.send("PUB general 2\r\nhi\r\n");
    assert_eq!(hear(&mut native), ("general".into(), String::new(), "hi".into()));
    assert_eq!(nats.hear(), Ok("hi".into()));
    assert_eq!(json.answer()["data"]["text"], "hi");

    // What it hears and its answers come in the order of its requests, however many come at once,
    // and whoever else hears them.
    nats.send("CONNECT {}\r\n");
    assert_eq!(nats.line(), "+OK");
    let (count, mut requests) = (100, String::new());
    for number in 100..100 + count {
        requests += &format!("PUB general 3\r\n{number}\r\n");
    }
    nats.send(&requests);
    for number in 100..100 + count {
        assert_eq!(nats.hear(), Ok(number.to_string().into_bytes()));
        assert_eq!(nats.line(), "+OK");
        assert_eq!(hear(&mut native).2, number.to_string());
        assert_eq!(json.answer()["data"]["text"], number.to_string());
    }
}

/// How each post of a user ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ended {
    Published,
    Refused,
    Unknown,
}

/// Posts `USER N`, one after the other, until told to stop.
fn talk(mut client: Client, user: String, stop: &AtomicBool) -> Vec<Ended> {
    let mut ended = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let text = ended.len().to_string();
        ended.push(match post(&mut client, &user, "general", text.as_bytes()) {
            Reply::Error { published: Maybe::No, .. } => Ended::Refused,
            Reply::Error { published: Maybe::Unknown, .. } => Ended::Unknown,
            _ => Ended::Published,
        });
    }
    ended
}

#[test]
fn servers_killed_under_traffic_cost_no_answer_no_order_and_nothing_comes_twice() {
    let mut system = System::start("");
    // The highest rank: with all three there, it stays the coordinator.
    wait_until("all are listed", LONG, || (system.list().len() == 3).then_some(()));
    let highest = system.list().into_iter().max_by_key(|one| one.1).expect("three are listed").0;
    let first = wait_until("the highest rank coordinates", LONG, || {
        Some(system.wait_coordinator(&SERVERS)).filter(|id| highest == format!("server{id}"))
    });
    let others: Vec<u32> = SERVERS.into_iter().filter(|id| *id != first).collect();
    let mut subscriber = system.subscriber(&["general", "servers"]);
    let stop = Arc::new(AtomicBool::new(false));
    let users = ["ana", "bob", "eve"].map(|user| {
        let (client, stop) = (system.client(BROKER), Arc::clone(&stop));
        thread::spawn(move || talk(client, user.into(), &stop))
    });

    let mut heard: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut coordinators = Vec::new();
    // Takes in what is said, until `enough`.
    let mut listen = |system: &System, enough: &dyn Fn(usize, &[String]) -> bool| {
        let (start, before) = (Instant::now(), heard.values().map(Vec::len).sum::<usize>());
        loop {
            let count: usize = heard.values().map(Vec::len).sum();
            if enough(count - before, &coordinators) {
                return;
            }
            assert!(start.elapsed() < LONG, "{}", system.nodes[&PROXY].stderr());
            let (topic, user, text) = hear(&mut subscriber);
            if topic == "servers" {
                let said: Value = serde_json::from_str(&text).expect("it is JSON");
                assert_eq!(said["service"], "election");
                coordinators.push(said["data"]["coordinator"].as_str().expect("a name").into());
            } else {
                heard.entry(user).or_default().push(text.parse().expect("a number"));
            }
        }
    };
    listen(&system, &|count, _| count >= 100);
    system.kill(others[0]);
    listen(&system, &|count, _| count >= 100);
    system.run(others[0]);
    listen(&system, &|count, _| count >= 100);
    system.kill(first);
    let name = format!("server{first}");
    listen(&system, &|_, coordinators| coordinators.last().is_some_and(|last| *last != name));
    system.wait_coordinator(&others);
    listen(&system, &|count, _| count >= 100);
    stop.store(true, Ordering::Relaxed);

    // Each call returned: each post was answered, and what was published or may have been is heard.
    let ended = users.map(|user| user.join().expect("each post is answered"));
    let mut client = system.client(BROKER);
    let last = post(&mut client, "last", "general", b"0");
    assert!(matches!(last, Reply::Sent { .. }), "{last:?}");
    loop {
        let (topic, user, text) = hear(&mut subscriber);
        if user == "last" {
            break;
        }
        if topic == "general" {
            heard.entry(user).or_default().push(text.parse().expect("a number"));
        }
    }
    for (user, ended) in ["ana", "bob", "eve"].into_iter().zip(ended) {
        let heard = &heard[user];
        assert!(heard.windows(2).all(|two| two[0] < two[1]), "{user}: {heard:?}");
        for (number, ended) in ended.iter().enumerate() {
            let is_heard = heard.binary_search(&number).is_ok();
            let right = match ended {
                Ended::Published => is_heard,
                Ended::Refused => !is_heard,
                Ended::Unknown => true,
            };
            assert!(right, "{user}'s {number}: {ended:?}, heard: {is_heard}");
        }
    }
}

/// One line of JSON, as it comes.
fn raw(stream: &mut BufReader<TcpStream>, line: &str) -> String {
    writeln!(stream.get_mut(), "{line}").expect("the node reads");
    let mut answer = String::new();
    stream.read_line(&mut answer).expect("the node answers");
    answer.trim_end().into()
}

/// The text with each number in place of `#`, which are returned apart.
fn numbers(text: &str) -> (String, Vec<u64>) {
    let mut form = String::new();
    let mut found = Vec::new();
    let mut digits = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        if !digits.is_empty() {
            found.push(std::mem::take(&mut digits).parse().expect("a number"));
            form.push('#');
        }
        form.push(c);
    }
    (form.trim_end().into(), found)
}

#[test]
fn the_reference_server_answers_in_the_documents_form() {
    with_more_time(2_000, |ms| {
        let system = System::start_listing("", Duration::from_millis(ms));
        wait_until("all are listed", LONG, || (system.list().len() == 3).then_some(()));
        let list = ask_the_reference_server(&system);
        let one = |name| format!(r##"{{"name":"{name}","rank":#}}"##);
        let all = [one("server#"), one("server#"), one("server#"), one("other")].join(",");
        let expected = r##"{"service":"list","data":{"list":[ALL],"timestamp":#,"clock":#}}"##;
        // Unless somebody was off the list already, for lack of time.
        if list != expected.replace("ALL", &all) {
            return Err(list);
        }
        // Who sends no heartbeat leaves the list.
        let gone = || (!system.list().contains_key("other")).then_some(());
        wait_until("it is off the list", LONG, gone);
        let left = system.list();
        if left.len() == 3 { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

/// Asks for each of its services; answers the form of the list.
fn ask_the_reference_server(system: &System) -> String {
    let mut stream = BufReader::new(connect(local(system.ports[&REFERENCE][1])));
    let rank = r#"{"service":"rank","data":{"user":"other","timestamp":1234567890,"clock":9000}}"#;
    let (form, values) = numbers(&raw(&mut stream, rank));
    assert_eq!(form, r##"{"service":"rank","data":{"rank":#,"timestamp":#,"clock":#}}"##);
    assert_eq!(values[0], 4);
    assert!(values[1] > 1_700_000_000_000 && values[2] > 9_000, "{values:?}");
    // The same one on asking again.
    assert_eq!(numbers(&raw(&mut stream, rank)).1[0], 4);

    let heartbeat =
        r#"{"service":"heartbeat","data":{"user":"other","timestamp":1234567890,"clock":1}}"#;
    let (form, values) = numbers(&raw(&mut stream, heartbeat));
    assert_eq!(form, r##"{"service":"heartbeat","data":{"timestamp":#,"clock":#}}"##);
    assert!(values[1] > 9_000, "{values:?}");

    let list = r#"{"service":"list","data":{"timestamp":1234567890,"clock":1}}"#;
    numbers(&raw(&mut stream, list)).0
}

#[test]
fn a_server_that_is_stopped_for_a_while_stays_listed_and_one_stopped_for_long_comes_back() {
    let (system, ranks) = with_more_time(2_500, |ms| {
        let listed = Duration::from_millis(ms);
        let system = System::start_listing("", listed);
        let ranks = wait_until("all are listed", LONG, || {
            Some(system.list()).filter(|list| list.len() == 3)
        });
        // Half of the time that it has; then it is listed for as long as it likes.
        for (signal, time) in [(Signal::STOP, listed / 2), (Signal::CONT, listed)] {
            system.nodes[&2].signal(signal);
            let since = Instant::now();
            while since.elapsed() < time {
                let list = system.list();
                if list != ranks {
                    return Err(format!("{list:?}"));
                }
            }
        }
        let stopped = Instant::now();
        system.nodes[&2].signal(Signal::STOP);
        wait_until("it is off the list", LONG, || (system.list().len() == 2).then_some(()));
        // A heartbeat may have been up to 200 ms old, and one on its way.
        match stopped.elapsed() {
            early if early < listed - Duration::from_millis(250) => Err(format!("{early:?}")),
            _ => Ok((system, ranks)),
        }
    });
    system.nodes[&2].signal(Signal::CONT);
    wait_until("it is listed with its rank", LONG, || (system.list() == ranks).then_some(()));
    system.wait_coordinator(&SERVERS);
}

#[test]
fn a_subscriber_that_does_not_read_is_told_what_it_missed_and_costs_the_others_nothing() {
    const TEXT_BYTES: usize = 256 << 10;
    // More than the kernel holds for all of them.
    const MESSAGES: usize = 150;
    let system =
        System::start("client_high_water_bytes = 65536\nmax_client_memory_bytes = 4194304");
    let proxy = &system.nodes[&PROXY];
    let mut asleep = system.subscriber(&["general"]);
    let mut nats_asleep = Nats::connect(&system, "general");
    let mut awake = system.subscriber(&["general"]);
    let (sender, heard_one) = mpsc::channel();
    let reader = thread::spawn(move || {
        for _ in 0..MESSAGES {
            hear(&mut awake);
            sender.send(()).expect("the test waits for it");
        }
        awake
    });
    let mut client = system.client(BROKER);
    let text = vec![b'x'; TEXT_BYTES];
    let before = proxy.rss_bytes();
    let mut most = 0;
    for _ in 0..MESSAGES {
        let reply = post(&mut client, "ana", "general", &text);
        assert!(matches!(reply, Reply::Sent { .. }), "{reply:?}");
        most = most.max(proxy.rss_bytes());
        // However little time it gets, it reads: the next comes when it has this one.
        heard_one.recv_timeout(LONG).expect("who reads hears all");
    }
    let mut awake = reader.join().expect("who reads hears all");
    // Three connections with some messages each in both directions, and not the 75 MiB of all.
    assert!(most - before < 16 << 20, "{before} bytes before, {most} at most");

    let (mut heard, mut missed) = (0, 0);
    while missed == 0 {
        match asleep.next_push(LONG).expect("it is still connected") {
            Some(Reply::Message { .. }) => heard += 1,
            Some(Reply::Missed { messages, .. }) => missed = messages as usize,
            other => panic!("neither a message nor what was missed: {other:?}"),
        }
    }
    assert_eq!(heard + missed, MESSAGES);
    // A NATS client would end for good if it were told: its connection ends, and it makes another.
    let mut heard = 0;
    let told = loop {
        match nats_asleep.hear() {
            Ok(_) => heard += 1,
            Err(told) => break told,
        }
    };
    assert_eq!(told, "", "nothing is said");
    assert!(heard < MESSAGES, "it holds no more than all clients may");
    let mut nats_awake = Nats::connect(&system, "general");

    // The others go on.
    post(&mut client, "ana", "general", b"end");
    assert_eq!(nats_awake.hear(), Ok(b"end".to_vec()));
    for client in [&mut asleep, &mut awake] {
        assert_eq!(hear(client).2, "end");
    }
}

/// Where all clients may hold more, one may hold as much as NATS' own server lets it.
#[test]
fn a_nats_client_that_leaves_too_much_unread_is_disconnected_without_a_word() {
    const MESSAGES: usize = 96;
    let system = System::start("max_client_memory_bytes = 268435456");
    let mut asleep = Nats::connect(&system, "general");
    let mut publisher = Nats::connect(&system, "other");
    let text = "x".repeat(1 << 20);
    for _ in 0..MESSAGES {
        publisher.send(&format!("PUB general {}\r\n{text}\r\n", text.len()));
    }
    assert_eq!(publisher.all(), "PONG\r\n");
    let mut heard = 0;
    let told = loop {
        match asleep.hear() {
            Ok(_) => heard += 1,
            Err(told) => break told,
        }
    };
    assert_eq!(told, "", "nothing is said");
    assert!(heard < MESSAGES, "64 MiB, and what the kernel takes");
}

/// What goes out to several connections in one form is counted for each of them.
#[test]
fn limits_of_nats_clients_that_are_sent_the_same_hold_for_each() {
    let system = System::start("");
    let mut clients: Vec<Nats> = (0..3).map(|_| Nats::connect(&system, "a.b")).collect();
    let mut publisher = Nats::connect(&system, "other");
    let mut say = |messages: usize| {
        publisher.send(&"PUB a.b in.1 1\r\nx\r\n".repeat(messages));
        assert_eq!(publisher.all(), "PONG\r\n");
    };
    say(3);
    let limits = [5, 4, 3];
    for (client, limit) in clients.iter_mut().zip(limits) {
        assert_eq!(client.all(), "MSG a.b 1 in.1 1\r\nx\r\n".repeat(3) + "PONG\r\n");
        client.send(&format!("UNSUB 1 {limit}\r\n"));
        client.all();
    }
    say(4);
    for (client, limit) in clients.iter_mut().zip(limits) {
        let left = limit - 3;
        assert_eq!(client.all(), "MSG a.b 1 in.1 1\r\nx\r\n".repeat(left) + "PONG\r\n");
    }
    // They hear nothing any more, and the proxy knows.
    let mut json = system.json(PROXY);
    let said = json.ask(r#"{"service":"publish","data":{"topic":"a.b","text":"x"}}"#);
    assert_eq!(said["data"]["subscribers"], 0, "{said}");
}

#[test]
fn patterns_groups_and_replies_work_over_every_gateway() {
    let system = System::start("");
    let mut nats = Nats::connect(&system, "jobs.*");
    let mut json = system.json(PROXY);
    json.ask(r#"{"service":"subscribe","data":{"topic":"jobs.>","member":{"group":"g"}}}"#);
    nats.send("SUB jobs.1 g 2\r\n");
    assert_eq!(nats.all(), "PONG\r\n");
    // Of the group one gets each: either.
    let mut answered = 0;
    for _ in 0..40 {
        nats.send("PUB jobs.1 in.1 4\r\nwork\r\n");
        let heard = nats.all();
        assert!(heard.contains("MSG jobs.1 1 in.1 4\r\nwork\r\n"), "{heard}");
        if !heard.contains("MSG jobs.1 2 in.1 4\r\nwork\r\n") {
            let got = json.answer();
            let data = &got["data"];
            assert_eq!((&data["reply"], &data["member"]["group"]), (&json!("in.1"), &json!("g")));
            answered += 1;
        }
    }
    assert!((1..40).contains(&answered), "{answered} of 40");
    // Who asks gets an answer from wherever it comes, or hears that nobody is there.
    nats.send("CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n");
    nats.send("SUB in.* 3\r\nPUB nobody in.1 0\r\n\r\n");
    let nobody = "HMSG in.1 3 16 16\r\nNATS/1.0 503\r\n\r\n\r\n";
    assert_eq!(nats.all(), format!("{nobody}PONG\r\n"));
    let said = json.ask(r#"{"service":"publish","data":{"topic":"in.1","text":"done"}}"#);
    assert_eq!(said["data"]["subscribers"], 1, "{said}");
    assert_eq!(nats.all(), "MSG in.1 3 4\r\ndone\r\nPONG\r\n");
    // What is refused is survived.
    nats.send("PUB servers 1\r\nx\r\n");
    let refused = nats.all();
    let words = "-ERR 'Permissions Violation for Publish to \"servers\": ";
    assert!(refused.starts_with(words) && refused.ends_with("'\r\nPONG\r\n"), "{refused}");
}

/// What comes in at once goes out to many: as much of it as the node can hold, and then the rest.
#[test]
fn a_burst_to_many_subscribers_reaches_all_in_bounded_memory() {
    const SUBSCRIBERS: usize = 200;
    const MESSAGES: usize = 20_000;
    let system = System::start("");
    let listen = |mut nats: Nats| {
        move || (0..MESSAGES).for_each(|_| assert_eq!(nats.hear(), Ok(b"x".to_vec())))
    };
    let readers: Vec<_> =
        (0..SUBSCRIBERS).map(|_| thread::spawn(listen(Nats::connect(&system, "burst")))).collect();
    let mut publisher = Nats::connect(&system, "other");
    publisher.send(&"PUB burst 1\r\nx\r\n".repeat(MESSAGES));
    for reader in readers {
        reader.join().expect("it hears all");
    }
    // All of it at once would be 60 MB.
    let peak = system.nodes[&PROXY].peak_rss_bytes();
    assert!(peak < 40 << 20, "{peak} bytes");
}

#[test]
fn the_interactive_client_goes_on_when_the_proxy_is_back_and_skew_reads_the_clocks() {
    let mut system = System::start("");
    let mut child = Command::new(env!("CARGO_BIN_EXE_node"))
        .args(["board", "--json", "--user", "ana", "--timeout-ms", "60000"])
        .args(["--broker", &system.native(BROKER).to_string()])
        .args(["--proxy", &system.native(PROXY).to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut input = child.stdin.take().expect("it is piped");
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    let (sender, events) = mpsc::channel();
    thread::spawn(move || {
        for line in output.lines() {
            let event: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    let wait_for = |event: &str| {
        wait_until(event, LONG, || events.try_recv().ok().filter(|one| one["event"] == event))
    };
    writeln!(input, "send one").expect("it reads");
    assert_eq!(wait_for("message")["text"], "one");
    system.kill(PROXY);
    assert_eq!(wait_for("gone")["side"], "proxy");
    system.run(PROXY);
    assert_eq!(wait_for("back")["side"], "proxy");
    wait_until("a message comes", LONG, || {
        // Until the servers are linked to the proxy, posts are refused.
        writeln!(input, "send two").expect("it reads");
        wait_until("an answer", LONG, || {
            let event = events.try_recv().ok()?;
            (event["event"] == "sent" || event["event"] == "not_sent").then_some(event)
        })["event"]
            .eq("sent")
            .then_some(())
    });
    writeln!(input, "quit").expect("it reads");
    let status = wait_until("it ends", LONG, || child.try_wait().expect("it is our child"));
    assert!(matches!(status.code(), Some(0 | 1)), "{status}");

    // Offsets of 50 ms are gone after a while.
    let nodes = SERVERS.map(|id| system.native(id).to_string()).join(",");
    wait_until("the clocks are together", LONG, || {
        let skew = Command::new(env!("CARGO_BIN_EXE_node"))
            .args(["skew", "--json", "--timeout-ms", "60000", "--nodes", &nodes])
            .output()
            .expect("the binary runs");
        assert!(skew.status.success());
        let skew: Value = serde_json::from_slice(&skew.stdout).expect("JSON");
        // As far as it can be told: a busy machine answers late.
        let (largest, error) = (skew["largest_ms"].as_f64()?, skew["error_ms"].as_f64()?);
        (largest < 5.0 + error).then_some(())
    });
}

/// `node board` at a terminal of its own.
struct AtTerminal {
    child: Child,
    controller: File,
    /// The other end, kept open: a terminal without users has no settings.
    terminal: OwnedFd,
    before: String,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl AtTerminal {
    /// Starts it, and waits until it takes commands.
    fn start(system: &System, columns: u16) -> AtTerminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let controller = openpt(flags).expect("a pseudoterminal");
        unlockpt(&controller).expect("it is ours");
        let terminal = ioctl_tiocgptpeer(&controller, flags).expect("its other end");
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).expect("it is a terminal");
        let end = || Stdio::from(terminal.try_clone().expect("a descriptor"));
        let before = settings(&terminal);
        let child = Command::new(env!("CARGO_BIN_EXE_node"))
            .args(["board", "--user", "ana", "--timeout-ms", "60000"])
            .args(["--broker", &system.native(BROKER).to_string()])
            .args(["--proxy", &system.native(PROXY).to_string()])
            .env("TERM", "xterm")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("the binary runs");
        let controller = File::from(controller);
        let (shown, mut reader) = (Arc::default(), controller.try_clone().expect("a descriptor"));
        let kept: Arc<Mutex<Vec<u8>>> = Arc::clone(&shown);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                kept.lock().expect("nobody panics with it").extend(&bytes[..n]);
            }
        });
        let at = AtTerminal { child, controller, terminal, before, shown };
        at.wait_for("> ");
        at
    }

    fn type_in(&mut self, keys: &str) {
        self.controller.write_all(keys.as_bytes()).expect("the terminal takes it");
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("nobody panics with it")).into()
    }

    #[track_caller]
    fn wait_for(&self, part: &str) {
        wait_until(part, LONG, || self.shown().contains(part).then_some(()));
    }

    /// Waits for its end: the exit code. The terminal must be as it was.
    #[track_caller]
    fn end(mut self) -> Option<i32> {
        let status = wait_until("it ends", LONG, || self.child.try_wait().expect("our child"));
        assert_eq!(settings(&self.terminal), self.before);
        status.code()
    }
}

fn settings(terminal: &OwnedFd) -> String {
    format!("{:?}", tcgetattr(terminal).expect("it is a terminal"))
}

#[test]
fn what_is_typed_at_a_terminal_stays_below_what_comes_and_the_terminal_is_restored() {
    let system = System::start("");
    let mut client = system.client(BROKER);
    let mut subscriber = system.subscriber(&["general"]);
    for columns in [120, 30] {
        let mut at = AtTerminal::start(&system, columns);
        at.type_in("send one two three four five six seven wrong");
        at.wait_for("seven wrong");
        let reply = post(&mut client, "bob", "general", b"look \x1b[31m");
        assert!(matches!(reply, Reply::Sent { .. }), "{reply:?}");
        assert_eq!(hear(&mut subscriber).1, "bob");
        // What was typed is shown anew, and can be corrected.
        wait_until("both are there", LONG, || {
            let shown = at.shown();
            let (_, after) = shown.split_once("look \\u{1b}[31m")?;
            after.contains("> send one").then_some(())
        });
        at.type_in("\x7f\x7f\x7f\x7f\x7fright\r");
        let heard =
            ("general".into(), "ana".into(), "one two three four five six seven right".into());
        assert_eq!(hear(&mut subscriber), heard);
        assert!(!at.shown().contains("\x1b[31m"), "{:?}", at.shown());
        at.type_in("hello\r");
        at.wait_for("\"hello\" is no command. Type send TEXT, or quit.");
        at.type_in("quit\r");
        assert_eq!(at.end(), Some(0));
    }
    let ends: [(&str, Option<Signal>, i32); 4] = [
        ("\x04", None, 0),
        ("\x03", None, 130),
        ("send never", Some(Signal::INT), 130),
        ("send never", Some(Signal::TERM), 143),
    ];
    for (keys, signal, code) in ends {
        let mut at = AtTerminal::start(&system, 80);
        at.type_in(keys);
        if let Some(signal) = signal {
            at.wait_for(keys);
            kill_process(Pid::from_child(&at.child), signal).expect("it runs");
        }
        assert_eq!(at.end(), Some(code), "{keys:?} {signal:?}");
    }
}

#[test]
fn a_client_of_the_wrong_node_does_not_start() {
    let system = System::start("");
    for (broker, proxy, wrong) in [
        (PROXY, PROXY, "broker"),
        (1, PROXY, "broker"),
        (BROKER, BROKER, "proxy"),
        (BROKER, 2, "proxy"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_node"))
            .args(["board", "--user", "ana", "--timeout-ms", "60000"])
            .args(["--broker", &system.native(broker).to_string()])
            .args(["--proxy", &system.native(proxy).to_string()])
            .stdin(Stdio::null())
            .output()
            .expect("the binary runs");
        assert_eq!(output.status.code(), Some(3));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!("--{wrong} takes the {wrong}'s address")), "{said}");
    }
}

#[test]
fn the_generator_writes_configs_of_any_number_of_servers_and_bots() {
    let root = env!("CARGO_MANIFEST_DIR");
    for (servers, bots) in [("1", "0"), ("5", "3")] {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let written = Command::new(format!("{root}/scripts/generate-board.sh"))
            .args(["-n", servers, "-b", bots, "-q", "-T", "6000", "-o"])
            .arg(dir.path())
            .output()
            .expect("it runs");
        assert!(written.status.success(), "{written:?}");
        let files: Vec<PathBuf> = fs::read_dir(dir.path())
            .expect("it is there")
            .map(|file| file.expect("it is").path())
            .collect();
        let count: usize =
            [servers, bots].iter().map(|n| n.parse::<usize>().expect("a number")).sum();
        assert_eq!(files.len(), count + 3);
        let mut check = Command::new(env!("CARGO_BIN_EXE_node"));
        let checked = check.arg("check").args(files).output().expect("it runs");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let said = String::from_utf8_lossy(&checked.stdout);
        let last = [("server", servers), ("bot", bots)].map(|(role, n)| format!("{role} {n}"));
        let named = |name: &str| said.matches(&format!("name = \"{name}\"\n")).count();
        assert_eq!(last.map(|name| named(&name)), [1, usize::from(bots != "0")]);
        assert_eq!(["broker", "proxy", "reference"].map(named), [1; 3]);
    }
    for wrong in ["256.1.1.1", "1.2.3", "localhost", "01.2.3.4", "[::g]", ""] {
        let refused = Command::new(format!("{root}/scripts/generate-board.sh"))
            .args(["-a", wrong, "-o", "/dev/null/none"])
            .output()
            .expect("it runs");
        assert_eq!(refused.status.code(), Some(2), "{wrong}: {refused:?}");
    }
}
