//! `node load`: a scenario's clients against real nodes, against servers that lie, and against
//! servers that go away.

mod common;

use common::{Cluster, Setup, free_port, wait_until, with_more_time};
use node_lab::wire::{Hello, LENGTH_BYTES, Welcome, push_frame_with, push_message};
use node_protocols::core::{LamportTime, NodeId, encode};
use node_protocols::kv_replication::{Reply, Request, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// What the store promises its clients.
const PROMISES: &str = r#"["monotonic_reads", "read_your_writes", "regular_register",
    "linearizable_writes"]"#;

/// What a command said, and its exit code.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn node(words: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    Said::of(command.args(words).stdin(Stdio::null()).output().expect("the binary runs"))
}

impl Said {
    fn of(output: Output) -> Said {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it says text");
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The verdicts, by property.
    fn verdicts(&self) -> BTreeMap<&str, &str> {
        let words = ["held", "violated", "unknown"];
        let verdict = |line| {
            let (property, rest) = str::split_once(line, ' ')?;
            let rest = rest.trim_start();
            words.iter().any(|word| rest.starts_with(word)).then_some((property, rest))
        };
        self.out.lines().filter_map(verdict).collect()
    }

    #[track_caller]
    fn expect(&self, code: i32) -> &Said {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn all_held(&self) {
        let verdicts = self.verdicts();
        assert!(verdicts.len() >= 4, "{}", self.out);
        assert!(verdicts.values().all(|verdict| *verdict == "held"), "{}", self.out);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

/// A scenario of a cluster's nodes, in its folder.
fn scenario(cluster: &Cluster, rest: &str) -> PathBuf {
    let path = cluster.dir.path().join("scenario.toml");
    let nodes: Vec<String> =
        (1..=cluster.setup.nodes).map(|id| format!("\"node-{id}.toml\"")).collect();
    let nodes = nodes.join(", ");
    fs::write(&path, format!("nodes = [{nodes}]\n{rest}")).expect("a scenario");
    path
}

#[test]
fn real_nodes_keep_the_promises_and_their_traces_and_the_clients_say_so() {
    let cluster = Cluster::start(Setup { trace: true, ..Setup::default() });
    let replicas = PROMISES.replace(']', ", \"replicas_equal\"]");
    // As kv-all.toml, without its faults.
    let scenario = scenario(&cluster, &format!("properties = {replicas}\nseconds = 20\n"));
    let clients = cluster.dir.path().join("clients.jsonl");
    let said = node(&["load", text(&scenario), "--trace", text(&clients)]);
    said.expect(0).all_held();
    assert!(said.out.contains(" 0 without an answer"), "{}", said.out);
    assert!(said.out.contains("latency: median "), "{}", said.out);

    node(&["verify", text(&clients)]).expect(0).all_held();
    let traces: Vec<PathBuf> =
        (1..=3).map(|id| cluster.dir.path().join(format!("{id}.jsonl"))).collect();
    let mut words = vec!["verify", text(&clients)];
    words.extend(traces.iter().map(|path| text(path)));
    node(&words).expect(0).all_held();
    // Half a run is not written over a whole one.
    let again = node(&["load", text(&scenario), "--trace", text(&clients)]);
    assert!(again.expect(2).err.contains("clients.jsonl: File exists"), "{}", again.err);
}

#[test]
fn clients_speak_through_gateways_and_to_servers_that_are_named() {
    let cluster = Cluster::start(Setup::default());
    let workload = "[workload.kv_replication]\nwire = \"json\"\n";
    let rest = format!("properties = {PROMISES}\nseconds = 20\n{workload}");
    let path = scenario(&cluster, &rest);
    // The configs name other ports, where nobody listens.
    let other = Cluster::prepare(Setup::default());
    for id in 1..=3 {
        fs::write(cluster.config_path(id), other.config(id)).expect("a config");
    }
    let named = |gateway: &str, of: fn(&common::Ports) -> u16| {
        let all = (1..).zip(&cluster.ports);
        let all = all.map(|(id, ports)| format!("{id}{gateway}=127.0.0.1:{}", of(ports)));
        all.collect::<Vec<_>>().join(",")
    };
    let (native, json) = (named("", |ports| ports.native), named("/json", |ports| ports.json));
    let servers = format!("{native},{json}");
    node(&["load", text(&path), "--servers", &servers]).expect(0).all_held();

    let said = node(&["load", text(&path), "--servers", &native]);
    assert!(said.expect(2).err.contains("--servers ID/json=HOST:PORT"), "{}", said.err);
    let said = node(&["load", text(&path), "--servers", "9=127.0.0.1:1"]);
    assert!(said.expect(2).err.contains("there is no node 9; there are 1, 2, 3"), "{}", said.err);
    let mixed = native.replacen("1=", "4=", 1).replacen("2=", "1=", 1).replacen("4=", "2=", 1);
    let said = node(&["load", text(&path), "--servers", &format!("{mixed},{json}")]);
    assert!(said.expect(2).err.contains("answers where node"), "{}", said.err);
}

/// RESP's answers have no timestamps: that they came is known, and nothing is made of it.
#[test]
fn answers_that_do_not_tell_all_count_as_answers_alone() {
    let cluster = Cluster::start(Setup::default());
    let workload = "[workload.kv_replication]\nwire = \"resp\"\noperations = 30\n";
    let rest = "properties = [\"read_your_writes\", \"replicas_equal\"]\nseconds = 20\n";
    let path = scenario(&cluster, &format!("{rest}{workload}"));
    let said = node(&["load", text(&path)]);
    let verdicts = said.expect(2).verdicts();
    assert_eq!(verdicts["read_your_writes"], "unknown: no client read a key that it had PUT");
    assert_eq!(verdicts["replicas_equal"], "held", "who asks in the end speaks natively");
    assert!(said.out.contains(" 0 without an answer"), "{}", said.out);
}

#[test]
fn requests_of_a_scenario_are_asked_of_real_nodes() {
    let cluster = Cluster::start(Setup::default());
    let workload = r#"
seconds = 20
[workload]
kind = "requests"
think_ms = 20
timeout_ms = 60000
operations = 30
[[workload.request]]
json = '{"put":{"key":"$key(2)","value":"$unique"}}'
[[workload.request]]
json = '{"get":{"key":"$key(2)"}}'
[workload.final]
json = '{"info":{}}'
after_ms = 100
"#;
    let path = scenario(
        &cluster,
        &format!("properties = [\"regular_register\", \"replicas_equal\"]\n{workload}"),
    );
    let clients = cluster.dir.path().join("clients.jsonl");
    let said = node(&["load", text(&path), "--trace", text(&clients), "--json"]);
    let report: serde_json::Value = serde_json::from_str(&said.expect(0).out).expect("JSON");
    assert_eq!((&report["verdict"], &report["operations"]), (&"held".into(), &93.into()));
    assert!(report["latency_us"]["p99"].as_f64().is_some_and(|us| us > 0.0), "{report}");
    node(&["verify", text(&clients), "--property", "regular_register"]).expect(0);
}

/// What a fake node does about a request.
type Answer = Option<Reply<'static>>;

/// A node of id 1 that answers as `answer` says, or ends the connection; on a port of its own.
fn fake(mut answer: impl FnMut(Request<'_>) -> Answer + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it has one").port();
    let answer = Arc::new(Mutex::new(move |request: Request<'_>| answer(request)));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            let one = move |request: Request<'_>| (answer.lock().expect("nobody panics"))(request);
            std::thread::spawn(move || serve(stream.expect("a connection"), one));
        }
    });
    port
}

/// Serves one connection until it ends.
fn serve(mut stream: TcpStream, mut answer: impl FnMut(Request<'_>) -> Answer) -> Option<()> {
    let hello = read_frame(&mut stream)?;
    postcard::from_bytes::<Hello<'_>>(&hello).expect("a client greets");
    let mut out = Vec::new();
    let lamport = LamportTime::default();
    push_message(
        &mut out,
        &Welcome::Accepted { id: NodeId(1), identity: 1, incarnation: 1, lamport },
    );
    loop {
        stream.write_all(&out).ok()?;
        let frame = read_frame(&mut stream)?;
        let (sequence, body) = frame.split_first_chunk::<4>()?;
        let reply = answer(postcard::from_bytes(body).expect("a request"))?;
        out.clear();
        push_frame_with(&mut out, |out| {
            out.extend_from_slice(sequence);
            encode(&reply, out);
        });
    }
}

fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; LENGTH_BYTES];
    stream.read_exact(&mut length).ok()?;
    let mut payload = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut payload).ok()?;
    Some(payload)
}

/// The store's clients at one node, for a short while.
fn at_one_node() -> (Cluster, PathBuf) {
    let cluster = Cluster::prepare(Setup { nodes: 1, ..Setup::default() });
    let rest = format!(
        "properties = {PROMISES}\nseconds = 20\nsettle_seconds = 1\n[workload.kv_replication]\n\
         operations = 20\nthink_ms = 50\ntimeout_ms = 3000\n"
    );
    let path = scenario(&cluster, &rest);
    (cluster, path)
}

#[test]
fn a_server_that_gives_old_values_is_found_out() {
    let (cluster, path) = at_one_node();
    // It acknowledges all PUTs, and forgets all but the first of each key.
    let (mut first, mut last) = (BTreeMap::new(), 0);
    let port = fake(move |request| {
        Some(match request {
            Request::Put { key, value } => {
                last += 1;
                first.entry(key.to_vec()).or_insert((value.to_vec(), Timestamp(last)));
                Reply::PutOk { timestamp: Timestamp(last) }
            }
            Request::Get { key, .. } => match first.get(&key[..]) {
                Some((value, timestamp)) => {
                    let value = node_protocols::core::Bytes(value.clone().into());
                    Reply::Value { value, timestamp: *timestamp }
                }
                None => Reply::Null {},
            },
            Request::Info {} => Reply::Null {},
        })
    });
    let clients = cluster.dir.path().join("clients.jsonl");
    let servers = format!("1=127.0.0.1:{port}");
    let said = node(&["load", text(&path), "--servers", &servers, "--trace", text(&clients)]);
    let verdicts = said.expect(1).verdicts();
    for property in ["regular_register", "read_your_writes"] {
        assert!(verdicts[property].starts_with("violated: "), "{}", said.out);
    }
    assert!(verdicts["converges"].starts_with("unknown: "), "{}", said.out);
    let said = node(&["verify", text(&clients)]);
    assert!(said.expect(1).verdicts()["regular_register"].starts_with("violated: "));
}

#[test]
fn what_gets_no_answer_is_neither_done_nor_held() {
    let (_cluster, path) = at_one_node();
    // It takes every request, and goes away instead of answering.
    let port = fake(|_| None);
    let silent = format!("1=127.0.0.1:{port}");
    let nobody = format!("1=127.0.0.1:{}", free_port());
    for (servers, trouble) in [(silent, "closed"), (nobody, "connect_failed")] {
        let said = node(&["load", text(&path), "--servers", &servers]);
        let verdicts = said.expect(2).verdicts();
        assert_eq!(verdicts.len(), 5, "{}", said.out);
        assert!(verdicts.values().all(|one| one.starts_with("unknown: ")), "{}", said.out);
        assert!(said.out.contains(", 0 answered"), "{}", said.out);
        assert!(said.out.contains(&format!("errors: {trouble} ")), "{}", said.out);
    }
}

#[test]
fn a_node_that_dies_leaves_no_promise_broken_and_the_end_unknown() {
    with_more_time(2_000, |ms| {
        let mut cluster = Cluster::start(Setup::default());
        let asked = PROMISES.replace(']', ", \"replicas_equal\", \"clock_condition\"]");
        let rest = format!(
            "properties = {asked}\nsettle_seconds = 2\n[workload.kv_replication]\n\
             timeout_ms = 1000\nthink_ms = 50\n"
        );
        let path = scenario(&cluster, &rest);
        let seconds = (ms / 1_000).to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
        command.args(["load", text(&path), "--seconds", &seconds, "--operations", "100000"]);
        let load = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        wait_until("a PUT has taken effect", common::LONG, || {
            (cluster.info(1)["applied_timestamp"] != "0").then_some(())
        });
        cluster.kill(3);
        let said = Said::of(load.expect("it runs").wait_with_output().expect("it ends"));
        if said.code == Some(0) {
            return Err("the load was over before the node died".into());
        }
        let verdicts = said.expect(2).verdicts();
        assert!(verdicts.values().all(|one| !one.starts_with("violated")), "{}", said.out);
        assert_eq!(verdicts["replicas_equal"], "unknown: the run did not come to rest");
        assert!(verdicts["converges"].contains("node 3 silent"), "{}", said.out);
        let unseen = "unknown: clients do not see nodes, messages; node verify --scenario does";
        assert!(verdicts["clock_condition"].starts_with(unseen), "{}", said.out);
        assert!(said.out.contains("errors: connect_failed "), "{}", said.out);
        Ok(())
    });
}

#[test]
fn a_load_that_is_stopped_is_judged_as_far_as_it_is() {
    let cluster = Cluster::start(Setup::default());
    let path = scenario(&cluster, "properties = [\"linearizable_writes\", \"replicas_equal\"]\n");
    let clients = cluster.dir.path().join("clients.jsonl");
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    command.args(["load", text(&path), "--trace", text(&clients)]);
    command.args(["--seconds", "86400", "--operations", "900000"]);
    let load = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let load = load.expect("the binary runs");
    wait_until("PUTs have taken effect", common::LONG, || {
        let applied = &cluster.info(1)["applied_timestamp"];
        applied.parse::<u64>().is_ok_and(|applied| applied > 8).then_some(())
    });
    kill_process(Pid::from_child(&load), Signal::INT).expect("the process is there");
    let said = Said::of(load.wait_with_output().expect("it ends"));
    let verdicts = said.expect(2).verdicts();
    assert_eq!(verdicts["linearizable_writes"], "held", "{}", said.out);
    assert_eq!(verdicts["replicas_equal"], "unknown: the run did not come to rest");
    assert!(verdicts["converges"].contains("stopped"), "{}", said.out);
    node(&["verify", text(&clients), "--property", "linearizable_writes"]).expect(0);
}

/// A server that answers each connection's first bytes with these, and ends it.
fn babbler(words: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it has one").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 1024]);
            // Whoever has gone does not want to know.
            let _ = stream.write_all(words);
        }
    });
    port
}

#[test]
fn an_answer_that_is_none_is_a_violation_through_a_gateway_and_no_answer_in_frames() {
    let (_cluster, path) = at_one_node();
    let servers = format!("1=127.0.0.1:{}", babbler(b"\x02\0\0\0\x09\x09"));
    let said = node(&["load", text(&path), "--servers", &servers]);
    assert!(said.expect(2).out.contains("no greeting of a node"), "{}", said.out);
    let gateway = fs::read_to_string(&path).expect("a scenario") + "wire = \"json\"\n";
    fs::write(&path, gateway).expect("a scenario");
    let servers = format!("{servers},1/json=127.0.0.1:{}", babbler(b"{\"odd\":1}\n"));
    let said = node(&["load", text(&path), "--servers", &servers]);
    let verdicts = said.expect(1).verdicts();
    assert!(verdicts["codec"].starts_with("violated: "), "{}", said.out);
    assert!(verdicts["regular_register"].starts_with("unknown: "), "{}", said.out);
}

#[test]
fn what_has_no_clients_to_drive_is_told() {
    for (scenario, words) in [
        ("configs/sim/election-all.toml", "it has no clients to drive"),
        ("configs/sim/lottery-nodes.toml", "real nodes read files of their own"),
        ("configs/sim/nothing.toml", "nothing.toml"),
    ] {
        let said = node(&["load", scenario]);
        assert!(said.expect(2).err.contains(words), "{}", said.err);
    }
}
