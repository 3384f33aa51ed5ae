//! Real nodes that run the protocol: what is added at one shows at the other, and a scenario's
//! clients find nothing wrong with them.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process that does not outlive the test.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Node `id`, whose port among those of all nodes is `native[id - 1]`.
fn start(dir: &Path, id: u32, native: &[u16], json: u16) -> Node {
    let own = native[id as usize - 1];
    let peers = (1..).zip(native).filter(|(peer, _)| *peer != id);
    let peers: String =
        peers.map(|(peer, port)| format!("{peer} = \"127.0.0.1:{port}\"\n")).collect();
    let file = dir.join(format!("node-{own}.toml"));
    let config = format!(
        "[node]\nid = {id}\n[peers]\n{peers}\
         [[listeners]]\naddr = \"127.0.0.1:{own}\"\n\
         [[listeners]]\naddr = \"127.0.0.1:{json}\"\ngateway = \"json\"\n\
         [protocols.counter]\ngossip_ms = 20\n"
    );
    std::fs::write(&file, config).expect("the folder is writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_counter"));
    let child = command.arg("--config").arg(file).stdout(Stdio::null()).spawn();
    Node(child.expect("the binary was built"))
}

/// Long enough for a busy machine; only a failure waits this long.
const LONG: Duration = Duration::from_secs(90);

fn connect(port: u16) -> TcpStream {
    let end = Instant::now() + LONG;
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < end, "node is not up: {error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ask(stream: &mut BufReader<TcpStream>, request: &str) -> u64 {
    stream.get_mut().write_all(format!("{request}\n").as_bytes()).expect("the node is up");
    let mut line = String::new();
    stream.read_line(&mut line).expect("the node answers");
    let reply: counter::Reply = serde_json::from_str(&line).expect("it answers with a total");
    reply.total
}

/// The first of six ports that are free, below those that systems give to outgoing connections;
/// each test has a range of its own.
fn free_ports(from: u16) -> u16 {
    let first = from + (std::process::id() % 100) as u16 * 6;
    let is_free = |port: &u16| (0..6).all(|n| TcpListener::bind(("127.0.0.1", port + n)).is_ok());
    (first..from + 990).step_by(6).find(is_free).expect("there are ports")
}

#[test]
fn what_is_added_at_one_node_shows_at_the_other() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let port = free_ports(18_000);
    let (native, json) = ([port, port + 1], [port + 2, port + 3]);
    let _one = start(dir, 1, &native, json[0]);
    let _two = start(dir, 2, &native, json[1]);
    let mut at_one = BufReader::new(connect(json[0]));
    let mut at_two = BufReader::new(connect(json[1]));
    assert_eq!(ask(&mut at_one, r#"{"add":{"amount":5}}"#), 5);
    ask(&mut at_two, r#"{"add":{"amount":2}}"#);
    let end = Instant::now() + LONG;
    while ask(&mut at_one, r#"{"total":{}}"#) != 7 || ask(&mut at_two, r#"{"total":{}}"#) != 7 {
        assert!(Instant::now() < end, "the nodes do not agree on 7");
    }
}

fn counter(words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_counter")).args(words).output();
    let output = output.expect("the binary was built");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_clients_of_a_scenario_find_nothing_wrong_with_real_nodes() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let port = free_ports(19_000);
    let native = [port, port + 1, port + 2];
    let json = [port + 3, port + 4, port + 5];
    let nodes: Vec<Node> =
        (1..).zip(json).map(|(id, json)| start(dir, id, &native, json)).collect();
    for port in json {
        connect(port);
    }
    let trace = dir.join(format!("clients-{port}.jsonl"));
    let _ = std::fs::remove_file(&trace);
    let trace = trace.to_str().expect("the folder's name is text");
    let servers: Vec<String> =
        (1..).zip(native).map(|(id, port)| format!("{id}=127.0.0.1:{port}")).collect();
    let servers = servers.join(",");
    let load = ["load", "configs/sim/holds.toml", "--servers", &servers, "--trace", trace];
    for words in [&load[..], &["verify", trace]] {
        let (code, said) = counter(words);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.starts_with("total_equals_acknowledged_adds held"), "{said}");
    }
    drop(nodes);
}
