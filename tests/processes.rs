//! Clusters of real processes: what they print, and what survives stops, kills and restarts.

mod common;

use common::clients::{Answer, Resp, bulk, get, ok, set, try_connect};
use common::{Cluster, LONG, Node, PATIENT, Setup, wait_until, with_more_time};
use node_protocols::kv_replication::{Reply, Request, Timestamp};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[test]
fn every_server_takes_every_request_through_every_gateway() {
    let cluster = Cluster::start(Setup { leader: 2, ..Setup::default() });
    let mut expected = 0;
    for id in 1..=3 {
        let (mut resp, mut json, mut native) =
            (cluster.resp(id), cluster.json(id), cluster.native(id));
        let name = |gateway: &str| format!("{gateway} of node {id}");
        resp.set(&name("resp"), "1");
        let put = format!(r#"{{"put":{{"key":"{}","value":"2"}}}}"#, name("json"));
        expected += 2;
        assert_eq!(json.ask(&put), serde_json::json!({"put_ok": {"timestamp": expected}}));
        expected += 1;
        assert_eq!(native.put(&name("native"), "3"), Timestamp(expected));
    }
    // PUT_OK came after every replica had the value, so that any server has it now.
    for id in 1..=3 {
        let (mut resp, mut json, mut native) =
            (cluster.resp(id), cluster.json(id), cluster.native(id));
        for of in 0..3 {
            let ask = |gateway: &str| format!("{gateway} of node {}", of + 1);
            assert_eq!(resp.get(&ask("resp")), bulk(b"1"));
            let get = format!(r#"{{"get":{{"key":"{}"}}}}"#, ask("json"));
            let value = serde_json::json!({"value": {"value": "2", "timestamp": of * 3 + 2}});
            assert_eq!(json.ask(&get), value);
            let value = Reply::Value { value: b"3".into(), timestamp: Timestamp(of * 3 + 3) };
            assert_eq!(native.get(&ask("native"), 0), value);
        }
        assert_eq!(resp.get("nothing"), Answer::Null);
        assert_eq!(json.ask(r#"{"get":{"key":"nothing"}}"#), serde_json::json!({"null": {}}));
        assert_eq!(native.get("nothing", 0), Reply::Null {});
        let info = json.ask(r#"{"info":{}}"#);
        assert_eq!((&info["info"]["node"], &info["info"]["applied"]), (&id.into(), &9.into()));
    }
    cluster.wait_equal(LONG);
}

#[test]
fn standard_output_has_the_lines_of_the_document_and_nothing_else() {
    let mut cluster = Cluster::start(Setup { console: true, ..Setup::default() });
    let mut follower = cluster.resp(2);
    let mut leader = cluster.native(1);
    let (through_follower, through_leader) =
        (follower.stream.local_addr().unwrap(), leader.stream.local_addr().unwrap());
    follower.set("k", "v w");
    assert_eq!(follower.get("k"), bulk(b"v w"));
    // Escape codes and line ends arrive at the console escaped.
    assert_eq!(leader.put("\x1b[31m\nção", "a\0b"), Timestamp(2));
    assert_eq!(leader.get("none", 0), Reply::Null {});
    let refused = leader.get("k", 7);
    assert_eq!(refused, Reply::TryOtherServerOrLater { timestamp: Timestamp(1) });
    let outputs = [1, 2, 3].map(|id| {
        // What a node prints is there when it has ended.
        let path = cluster.dir.path().join(format!("{id}.out"));
        assert!(cluster.terminate(id).success());
        fs::read_to_string(path).unwrap()
    });
    let at_leader = format!(
        "Cliente {through_follower} PUT key:k value:v w\n\
         Enviando PUT_OK ao Cliente {through_follower} da key:k ts:1\n\
         Cliente {through_leader} PUT key:\\u{{1b}}[31m\\nção value:a\\0b\n\
         Enviando PUT_OK ao Cliente {through_leader} da key:\\u{{1b}}[31m\\nção ts:2\n\
         Cliente {through_leader} GET key:none ts:0. Meu ts é 0, portanto devolvendo NULL\n\
         Cliente {through_leader} GET key:k ts:7. Meu ts é 1, portanto devolvendo \
         TRY_OTHER_SERVER_OR_LATER\n"
    );
    let replications = "REPLICATION key:k value:v w ts:1\n";
    let second = "REPLICATION key:\\u{1b}[31m\\nção value:a\\0b ts:2\n";
    let at_follower = format!(
        "Encaminhando PUT key:k value:v w\n{replications}\
         Cliente {through_follower} GET key:k ts:0. Meu ts é 1, portanto devolvendo v w\n{second}"
    );
    assert_eq!(outputs, [at_leader, at_follower, format!("{replications}{second}")]);
}

#[test]
fn console_off_leaves_standard_output_empty_and_logs_go_to_standard_error() {
    let mut cluster = Cluster::start(Setup::default());
    cluster.resp(2).set("k", "v");
    assert_eq!(cluster.resp(3).get("k"), bulk(b"v"));
    for id in 1..=3 {
        let path = cluster.dir.path().join(format!("{id}.out"));
        assert!(cluster.node(id).log_lines("listens on") >= 3);
        assert!(cluster.terminate(id).success());
        assert_eq!(fs::read_to_string(path).unwrap(), "");
    }
}

/// Clients that SET as fast as they are answered, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
    stored: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Load {
    /// One client for each address; each has keys of its own, and writes each several times.
    fn start(name: &str, addrs: &[SocketAddr]) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let stored = Arc::new(Mutex::new(BTreeMap::new()));
        let clients = addrs.iter().enumerate().map(|(client, addr)| {
            let (stop, acknowledged, stored) = (stop.clone(), acknowledged.clone(), stored.clone());
            let (name, addr) = (name.to_string(), *addr);
            std::thread::spawn(move || {
                let mut connection = None;
                for n in 1.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let key = format!("{name} client {client} key {}", n % 50);
                    let result = Load::set(&mut connection, addr, &key, n);
                    if result == Some(ok()) {
                        stored.lock().expect("no client panics").insert(key, n);
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    } else if result.is_none() {
                        connection = None;
                        std::thread::yield_now();
                    }
                }
            })
        });
        let clients = clients.collect();
        Load { stop, acknowledged, clients, stored }
    }

    fn set(resp: &mut Option<Resp>, addr: SocketAddr, key: &str, n: u64) -> Option<Answer> {
        if resp.is_none() {
            try_connect(addr).ok()?;
            *resp = Resp::try_connect(addr).ok();
        }
        let resp = resp.as_mut()?;
        resp.stream.write_all(&set(key.as_bytes(), n.to_string().as_bytes())).ok()?;
        resp.try_answer().ok()
    }

    /// Waits until this many more PUTs are acknowledged.
    fn wait_more(&self, more: usize) {
        let until = self.acknowledged.load(Ordering::Relaxed) + more;
        wait_until("PUTs are acknowledged", LONG, || {
            (self.acknowledged.load(Ordering::Relaxed) >= until).then_some(())
        });
    }

    /// Ends it; answers each key's last value that was acknowledged.
    fn finish(self) -> BTreeMap<String, u64> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client ends well");
        }
        self.stored.lock().expect("no client panics").clone()
    }
}

/// Every key that was acknowledged is there with that value or a newer one, at every node.
fn assert_stored(cluster: &Cluster, stored: &BTreeMap<String, u64>) {
    assert!(!stored.is_empty());
    for id in 1..=cluster.setup.nodes {
        let mut resp = cluster.resp(id);
        for (key, expected) in stored {
            let Answer::Bulk(value) = resp.get(key) else { panic!("node {id} lost {key}") };
            let value = String::from_utf8(value).expect("a number is text");
            let value: u64 = value.parse().expect("what was PUT is a number");
            assert!(value >= *expected, "node {id} has {key} at {value}, {expected} was PUT_OK");
        }
    }
}

#[test]
fn a_follower_killed_under_load_loses_nothing_and_catches_up() {
    let mut cluster = Cluster::start(Setup::default());
    let load = Load::start("a", &[1, 2, 1].map(|id| cluster.resp_addr(id)));
    load.wait_more(200);
    cluster.kill(3);
    cluster.run(3);
    load.wait_more(200);
    let stored = load.finish();
    cluster.wait_equal(LONG);
    assert_stored(&cluster, &stored);
}

#[test]
fn a_peer_that_dies_is_noticed_at_once_not_by_its_silence() {
    let long = "heartbeat_ms = 1800000\nlink_timeout_ms = 3600000".to_string();
    let mut cluster = Cluster::start(Setup { limits: long, ..Setup::default() });
    cluster.kill(3);
    wait_until("the link is down", LONG, || {
        (cluster.info(1)["follower3"].starts_with("state=down")).then_some(())
    });
    assert_eq!(cluster.counter(1, "link_down"), 1);
    cluster.run(3);
    wait_until("the link is up", LONG, || {
        (cluster.info(1)["follower3"].starts_with("state=up")).then_some(())
    });
    cluster.resp(2).set("k", "v");
    cluster.wait_equal(LONG);
}

#[test]
fn a_put_that_a_stopped_follower_holds_up_ends_with_an_error_and_may_still_apply() {
    let (cluster, timeout) = with_more_time(300, |put_timeout_ms| {
        let cluster = Cluster::start(Setup { put_timeout_ms, ..Setup::default() });
        match cluster.resp(1).ask(&set(b"k", b"old")) {
            answer if answer == ok() => Ok((cluster, Duration::from_millis(put_timeout_ms))),
            other => Err(format!("{other:?}")),
        }
    });
    cluster.signal(3, Signal::STOP);
    for id in [1, 2] {
        let start = Instant::now();
        let Answer::Error(error) = cluster.resp(id).ask(&set(b"k", b"new")) else {
            panic!("a PUT_OK without node 3")
        };
        assert!(error.starts_with("UNKNOWN the SET may still take effect: "), "{error}");
        assert!(error.contains("from nodes [3] for timestamp"), "it names who is missing: {error}");
        let waited = start.elapsed();
        assert!(waited >= timeout, "{waited:?}");
    }
    cluster.signal(3, Signal::CONT);
    assert_eq!(cluster.wait_equal(LONG), 3);
    wait_until("a PUT is in time", LONG, || {
        (cluster.resp(2).ask(&set(b"k", b"newest")) == ok()).then_some(())
    });
    assert_eq!(cluster.resp(3).get("k"), bulk(b"newest"));
}

#[test]
fn a_leader_that_restarts_empty_gets_everything_back_from_its_followers() {
    let mut cluster = Cluster::start(Setup::default());
    let before: Vec<_> = (0..100).map(|n| (format!("key {n}"), format!("value {n}"))).collect();
    let mut resp = cluster.resp(2);
    for (key, value) in &before {
        resp.set(key, value);
    }
    cluster.kill(1);
    let Answer::Error(error) = resp.ask(&set(b"k", b"v")) else { panic!("there is no leader") };
    assert!(error.starts_with("NOTAPPLIED ") || error.starts_with("UNKNOWN "), "{error}");
    // Followers go on answering GETs meanwhile.
    assert_eq!(resp.get("key 7"), bulk(b"value 7"));
    cluster.run(1);
    cluster.wait_ready();
    let last = cluster.wait_equal(LONG);
    assert!((100..=101).contains(&last), "at most the PUT without an answer came in: {last}");
    assert_eq!(cluster.native(3).put("after", "it"), Timestamp(last + 1));
    for id in 1..=3 {
        let mut resp = cluster.resp(id);
        for (key, value) in &before {
            assert_eq!(resp.get(key), bulk(value.as_bytes()));
        }
    }
}

#[test]
fn on_disk_every_put_ok_survives_the_death_of_all_nodes_at_once() {
    let mut cluster = Cluster::start(Setup { disk: true, ..Setup::default() });
    let mut stored = BTreeMap::new();
    for round in ["first", "second"] {
        let load = Load::start(round, &[1, 2, 3].map(|id| cluster.resp_addr(id)));
        load.wait_more(100);
        for id in [2, 1, 3] {
            cluster.signal(id, Signal::KILL);
        }
        for id in 1..=3 {
            cluster.kill(id);
        }
        stored.extend(load.finish());
        for id in 1..=3 {
            cluster.run(id);
        }
        cluster.wait_ready();
        cluster.wait_equal(LONG);
        assert_stored(&cluster, &stored);
    }
}

#[test]
fn a_follower_that_lost_its_disk_copies_the_table() {
    let mut cluster = Cluster::start(Setup { disk: true, ..Setup::default() });
    let mut resp = cluster.resp(3);
    for n in 0..50 {
        resp.set(&format!("key {n}"), &"x".repeat(20_000));
    }
    assert!(cluster.terminate(2).success());
    fs::remove_dir_all(cluster.data_dir(2)).unwrap();
    cluster.run(2);
    assert_eq!(cluster.wait_equal(LONG), 50);
    assert_eq!(cluster.resp(2).get("key 49"), bulk("x".repeat(20_000).as_bytes()));
    // What it copied is in its log: it has it after a restart without anyone's help, and answers
    // once its leader has said that this is all.
    cluster.kill(1);
    cluster.kill(2);
    cluster.run(2);
    let info = cluster.json(2).ask(r#"{"info":{}}"#);
    assert_eq!((&info["info"]["keys"], &info["info"]["complete"]), (&50.into(), &false.into()));
    let Answer::Error(refusal) = cluster.resp(2).get("key 0") else { panic!("it cannot know") };
    assert!(refusal.starts_with("TRYAGAIN"), "{refusal}");
    cluster.run(1);
    assert_eq!(cluster.wait_equal(LONG), 50);
    assert_eq!(cluster.resp(2).get("key 0"), bulk("x".repeat(20_000).as_bytes()));
}

#[test]
fn a_second_node_on_a_data_dir_is_refused() {
    let mut cluster = Cluster::start(Setup { disk: true, nodes: 1, ..Setup::default() });
    let mut other = Cluster::prepare(Setup { disk: true, nodes: 1, ..Setup::default() });
    let (theirs, ours) = (cluster.data_dir(1), other.data_dir(1));
    let config = other.config(1).replace(ours.to_str().unwrap(), theirs.to_str().unwrap());
    fs::write(other.config_path(1), config).unwrap();
    let name = other.dir.path().join("1");
    let mut second = Node::spawn(&other.config_path(1), &name, None);
    assert_eq!(second.wait_exit(LONG).code(), Some(1));
    let said = second.stderr();
    let place = format!("{}:5: node.data_dir = {theirs:?}: ", other.config_path(1).display());
    let line = said.lines().find(|line| line.starts_with("node: ")).expect("one line says why");
    assert!(line.contains(&place) && line.contains("another node runs on this data_dir"), "{said}");
    // The first goes on, and leaves the folder to the second when it stops.
    cluster.resp(1).set("k", "v");
    assert!(cluster.terminate(1).success());
    other.run(1);
    assert_eq!(other.resp(1).get("k"), bulk(b"v"));
}

/// What a node that does not start says of its data_dir.
fn refusal(cluster: &Cluster, id: u32) -> String {
    let mut node = Node::spawn(&cluster.config_path(id), &cluster.dir.path().join("refused"), None);
    assert_eq!(node.wait_exit(LONG).code(), Some(1));
    let said = node.stderr();
    let line = said.lines().rfind(|line| line.starts_with("node: ")).expect("one line says why");
    assert!(line.contains("node.data_dir = "), "{line}");
    line.into()
}

#[test]
fn a_data_dir_of_another_node_is_refused() {
    let mut cluster = Cluster::start(Setup { disk: true, ..Setup::default() });
    cluster.resp(1).set("k", "v");
    for id in 1..=3 {
        assert!(cluster.terminate(id).success());
    }
    let (two, three) = (cluster.data_dir(2), cluster.data_dir(3));
    let theirs = fs::read(three.join("log")).unwrap();
    fs::rename(&two, two.with_extension("own")).unwrap();
    fs::rename(&three, &two).unwrap();
    let line = refusal(&cluster, 2);
    assert!(line.contains("is the data directory of node 3 of the cluster \"test\""), "{line}");
    assert_eq!(fs::read(two.join("log")).unwrap(), theirs, "it is left alone");
    fs::rename(&two, &three).unwrap();
    fs::rename(two.with_extension("own"), &two).unwrap();
    // So is one's own, to a node of another name.
    let config = cluster.config(2).replace("cluster = \"test\"", "cluster = \"other\"");
    fs::write(cluster.config_path(2), config).unwrap();
    assert!(refusal(&cluster, 2).contains("is the data directory of node 2 of the cluster"));
    fs::write(cluster.config_path(2), cluster.config(2)).unwrap();
    for id in 1..=3 {
        cluster.run(id);
    }
    cluster.wait_ready();
    assert_eq!(cluster.resp(2).get("k"), bulk(b"v"));
}

#[test]
fn a_log_that_cannot_be_taken_is_set_aside_and_its_node_healed() {
    let mut cluster = Cluster::start(Setup { disk: true, ..Setup::default() });
    let mut resp = cluster.resp(1);
    for n in 0..20 {
        resp.set(&format!("key {n}"), "value");
    }
    cluster.kill(2);
    cluster.kill(3);
    let logs = [2, 3].map(|id| cluster.data_dir(id).join("log"));
    let mut damaged = fs::read(&logs[0]).unwrap();
    damaged[60] ^= 1;
    fs::write(&logs[0], &damaged).unwrap();
    let foreign = fs::read(cluster.data_dir(1).join("log")).unwrap();
    fs::write(&logs[1], &foreign).unwrap();
    cluster.run(2);
    cluster.run(3);
    assert_eq!(cluster.wait_equal(LONG), 20);
    for (id, name, bytes) in [(2, "log.damaged-1", damaged), (3, "log.foreign-1", foreign)] {
        let aside = cluster.data_dir(id).join(name);
        assert!(fs::read(&aside).unwrap() == bytes, "nothing of it is lost");
        let told =
            format!("it is set aside as {}, and this node begins without it", aside.display());
        assert_eq!(cluster.node(id).log_lines(&told), 1, "{}", cluster.node(id).stderr());
        assert_eq!(cluster.resp(id).get("key 0"), bulk(b"value"));
    }
}

#[test]
fn a_data_dir_that_vanishes_ends_its_node() {
    let mut cluster = Cluster::start(Setup { disk: true, nodes: 1, ..Setup::default() });
    cluster.resp(1).set("k", "v");
    let (dir, moved) = (cluster.data_dir(1), cluster.dir.path().join("moved"));
    let log = dir.join("log");
    let vanish: [&dyn Fn(); 2] = [&|| fs::rename(&dir, &moved).unwrap(), &|| {
        // Another file with the same bytes, as a copy that was put back too early.
        let bytes = fs::read(&log).unwrap();
        fs::remove_file(&log).unwrap();
        fs::write(&log, bytes).unwrap();
    }];
    for (vanish, path) in vanish.into_iter().zip([&dir, &log]) {
        vanish();
        // Nobody asks it anything meanwhile.
        assert_eq!(cluster.wait_exit(1).code(), Some(1));
        let said = fs::read_to_string(cluster.dir.path().join("1.err")).unwrap();
        let line = said.lines().rfind(|line| line.starts_with("node: ")).expect("it says why");
        let told = format!("stopped: {} is not what this node writes to", path.display());
        assert!(line.contains(&told), "{line}");
        if moved.exists() {
            fs::rename(&moved, &dir).unwrap();
        }
        cluster.run(1);
        assert_eq!(cluster.resp(1).get("k"), bulk(b"v"));
    }
}

#[test]
fn a_log_that_is_truncated_under_its_node_ends_it() {
    let mut cluster = Cluster::start(Setup { disk: true, nodes: 1, ..Setup::default() });
    cluster.resp(1).set("k", "v");
    let log = cluster.data_dir(1).join("log");
    let whole = fs::read(&log).unwrap();
    // Nobody asks it anything meanwhile.
    fs::write(&log, "").unwrap();
    assert_eq!(cluster.wait_exit(1).code(), Some(1));
    let said = fs::read_to_string(cluster.dir.path().join("1.err")).unwrap();
    let line = said.lines().rfind(|line| line.starts_with("node: ")).expect("it says why");
    let told = format!("stopped: {} has 0 bytes, and this node has written", log.display());
    assert!(line.contains(&told) && line.contains("put this node's own log back"), "{line}");
    fs::write(&log, whole).unwrap();
    cluster.run(1);
    assert_eq!(cluster.resp(1).get("k"), bulk(b"v"));
}

#[test]
fn a_node_that_is_told_to_stop_answers_what_is_in_flight() {
    let limits = format!("{PATIENT}drain_ms = 600000");
    let mut cluster = Cluster::start(Setup { limits, ..Setup::default() });
    // The follower is stopped, so that the PUT is in flight when the signal comes.
    cluster.signal(3, Signal::STOP);
    let mut waiting = cluster.resp(1);
    waiting.send(&set(b"k", b"v"));
    wait_until("the PUT is in flight", LONG, || {
        (cluster.counter(1, "requests_in") > 0 && cluster.info(1)["applied_timestamp"] == "1")
            .then_some(())
    });
    let mut idle = cluster.resp(1);
    cluster.signal(1, Signal::TERM);
    // Who has nothing in flight is let go at once, and nobody else comes in.
    assert!(idle.try_answer().is_err(), "an idle client is closed");
    assert!(try_connect(cluster.resp_addr(1)).is_err(), "no further connections");
    cluster.node(1).assert_runs();
    cluster.signal(3, Signal::CONT);
    assert_eq!(waiting.answer(), ok());
    assert!(waiting.try_answer().is_err(), "then it is closed");
    assert!(cluster.terminate(1).success(), "the second signal changes nothing after the end");
}

#[test]
fn a_drain_that_takes_too_long_is_cut_and_still_exits_0() {
    let limits = format!("{PATIENT}drain_ms = 200");
    let mut cluster = Cluster::start(Setup { limits, ..Setup::default() });
    cluster.signal(3, Signal::STOP);
    let mut waiting = cluster.resp(1);
    waiting.send(&set(b"k", b"v"));
    wait_until("the PUT is in flight", LONG, || {
        (cluster.info(1)["applied_timestamp"] == "1").then_some(())
    });
    assert!(cluster.terminate(1).success());
    // Had it waited for longer, there would be an answer.
    assert!(waiting.try_answer().is_err(), "it never was PUT_OK");
}

#[test]
fn a_server_behind_its_client_refuses_a_get_instead_of_going_back() {
    let mut cluster = with_more_time(200, |put_timeout_ms| {
        let cluster = Cluster::start(Setup { disk: true, put_timeout_ms, ..Setup::default() });
        match cluster.native(1).ask(&Request::Put { key: "k".into(), value: "old".into() }) {
            Reply::PutOk { timestamp: Timestamp(1) } => Ok(cluster),
            other => Err(format!("{other:?}")),
        }
    });
    // A client that has seen what this server has not.
    let behind = Reply::TryOtherServerOrLater { timestamp: Timestamp(1) };
    let old = Reply::Value { value: b"old".into(), timestamp: Timestamp(1) };
    assert_eq!(cluster.native(3).get("k", 2), behind);
    assert_eq!(cluster.native(3).get("k", 1), old);
    let mut json = cluster.json(3);
    let refused = serde_json::json!({"try_other_server_or_later": {"timestamp": 1}});
    assert_eq!(json.ask(r#"{"get":{"key":"k","timestamp":2}}"#), refused);
    assert_eq!(json.ask(r#"{"get":{"key":"k","applied":2}}"#), refused);
    // A key that it never had counts as timestamp 0, which is older than what the client knows.
    let refused = serde_json::json!({"try_other_server_or_later": {"timestamp": 0}});
    assert_eq!(json.ask(r#"{"get":{"key":"other","timestamp":1}}"#), refused);
    cluster.kill(3);
    // Node 3 is down, so this PUT is answered with an error; the leader has it all the same.
    let Answer::Error(_) = cluster.resp(1).ask(&set(b"k", b"new")) else { panic!("no PUT_OK") };
    let new = Reply::Value { value: b"new".into(), timestamp: Timestamp(2) };
    assert_eq!(cluster.native(1).get("k", 1), new);
    // Node 3 is back, and nobody tells it what it has missed: what it has may be too little.
    cluster.signal(1, Signal::STOP);
    cluster.run(3);
    assert_eq!(cluster.native(3).get("k", 1), behind);
    cluster.signal(1, Signal::CONT);
    cluster.wait_equal(LONG);
    assert_eq!(cluster.native(3).get("k", 2), new);
}

/// The largest values that a config allows, with the smallest limits on what goes between nodes.
#[test]
fn the_largest_values_pass_the_smallest_limits() {
    let setup = Setup {
        limits: format!(
            "{PATIENT}max_frame_bytes = 16777216\nmax_link_queue_bytes = 33554432\n\
             max_request_bytes = 16777216"
        ),
        protocol: "max_value_bytes = 8388608".into(),
        ..Setup::default()
    };
    let mut cluster = Cluster::start(setup);
    let value = vec![b'x'; 8 << 20];
    let mut resp = cluster.resp(2);
    for key in [b"a", b"b", b"c", b"d"] {
        resp.send(&set(key, &value));
    }
    for _ in 0..4 {
        assert_eq!(resp.answer(), ok());
    }
    cluster.kill(3);
    cluster.run(3);
    assert_eq!(cluster.wait_equal(LONG), 4);
    for id in 1..=3 {
        assert_eq!(cluster.counter(id, "link_overflow"), 0);
        assert_eq!(cluster.counter(id, "closed_too_long"), 0);
    }
    assert!(cluster.resp(3).ask(&get(b"d")) == bulk(&value));
}

/// A server takes SETs faster than they are stored everywhere: that slows the client down, and
/// costs nobody a link or an error.
fn flood(id: u32) {
    let cluster = Cluster::start(Setup::default());
    let value = vec![b'x'; 1 << 20];
    let (mut resp, count) = (cluster.resp(id), 100);
    let mut sender = resp.stream.try_clone().expect("a descriptor");
    let writer = std::thread::spawn(move || {
        for n in 0..count {
            let key = format!("key {}", n % 7);
            sender.write_all(&set(key.as_bytes(), &value)).expect("the node reads");
        }
    });
    for n in 0..count {
        assert_eq!(resp.answer(), ok(), "SET {n}: {}", cluster.node(id).stderr());
    }
    writer.join().expect("all is written");
    assert_eq!(cluster.wait_equal(LONG), count);
    for id in 1..=3 {
        assert_eq!(cluster.counter(id, "link_down"), 0, "node {id}");
    }
}

#[test]
fn a_flood_of_large_puts_through_a_follower_is_slowed_down_not_broken() {
    flood(2);
}

#[test]
fn a_flood_of_large_puts_at_the_leader_is_slowed_down_not_broken() {
    flood(1);
}

#[test]
fn nodes_that_were_frozen_beyond_the_link_timeout_find_each_other_again() {
    let limits = "heartbeat_ms = 50\nlink_timeout_ms = 1000\ngreeting_timeout_ms = 1000".into();
    let cluster = Cluster::start(Setup { limits, put_timeout_ms: 200, ..Setup::default() });
    for frozen in 1..=3 {
        let awake = if frozen == 2 { 3 } else { 2 };
        let seen_by = if frozen == 1 { awake } else { 1 };
        cluster.signal(frozen, Signal::STOP);
        let before = cluster.counter(seen_by, "link_down");
        let Answer::Error(_) = cluster.resp(awake).ask(&set(b"k", b"lost?")) else {
            panic!("node {frozen} cannot have answered")
        };
        wait_until("the link is given up", LONG, || {
            (cluster.counter(seen_by, "link_down") > before).then_some(())
        });
        cluster.signal(frozen, Signal::CONT);
        cluster.wait_ready();
        cluster.wait_equal(LONG);
        wait_until("PUTs work again", LONG, || {
            (cluster.resp(frozen).ask(&set(b"k", b"v")) == ok()).then_some(())
        });
    }
    cluster.wait_equal(LONG);
}

#[test]
fn a_second_signal_ends_a_drain() {
    let limits = format!("{PATIENT}drain_ms = 3600000");
    let put_timeout_ms = 3_600_000;
    let mut cluster = Cluster::start(Setup { limits, put_timeout_ms, ..Setup::default() });
    cluster.signal(3, Signal::STOP);
    let mut waiting = cluster.resp(1);
    waiting.send(&set(b"k", b"v"));
    wait_until("the PUT is in flight", LONG, || {
        (cluster.info(1)["applied_timestamp"] == "1").then_some(())
    });
    cluster.signal(1, Signal::INT);
    wait_until("it drains", LONG, || {
        (cluster.node(1).log_lines("finishing what is in flight") == 1).then_some(())
    });
    assert!(cluster.terminate(1).success());
}
