//! Two real nodes that run the protocol: what is added at one shows at the other.

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

fn start(dir: &Path, id: u32, peer: u32, native: [u16; 2], json: u16) -> Node {
    let own = native[id as usize - 1];
    let other = native[peer as usize - 1];
    let file = dir.join(format!("node-{id}.toml"));
    let config = format!(
        "[node]\nid = {id}\n[peers]\n{peer} = \"127.0.0.1:{other}\"\n\
         [[listeners]]\naddr = \"127.0.0.1:{own}\"\n\
         [[listeners]]\naddr = \"127.0.0.1:{json}\"\ngateway = \"json\"\n\
         [protocols.counter]\ngossip_ms = 20\n"
    );
    std::fs::write(&file, config).expect("the folder is writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_counter"));
    let child = command.arg("--config").arg(file).stdout(Stdio::null()).spawn();
    Node(child.expect("the binary was built"))
}

fn connect(port: u16) -> TcpStream {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < end, "node is not up: {error}"),
        }
        std::thread::yield_now();
    }
}

fn ask(stream: &mut BufReader<TcpStream>, request: &str) -> u64 {
    stream.get_mut().write_all(format!("{request}\n").as_bytes()).expect("the node is up");
    let mut line = String::new();
    stream.read_line(&mut line).expect("the node answers");
    let reply: counter::Reply = serde_json::from_str(&line).expect("it answers with a total");
    reply.total
}

#[test]
fn what_is_added_at_one_node_shows_at_the_other() {
    let dir = tempfile::tempdir().expect("there is room for a folder");
    let ports: Vec<TcpListener> =
        (0..4).map(|_| TcpListener::bind("127.0.0.1:0").expect("there are ports")).collect();
    let port = |at: usize| ports[at].local_addr().expect("it is bound").port();
    let (native, json) = ([port(0), port(1)], [port(2), port(3)]);
    drop(ports);
    let _one = start(dir.path(), 1, 2, native, json[0]);
    let _two = start(dir.path(), 2, 1, native, json[1]);
    let mut at_one = BufReader::new(connect(json[0]));
    let mut at_two = BufReader::new(connect(json[1]));
    assert_eq!(ask(&mut at_one, r#"{"add":{"amount":5}}"#), 5);
    ask(&mut at_two, r#"{"add":{"amount":2}}"#);
    let end = Instant::now() + Duration::from_secs(10);
    while ask(&mut at_one, r#"{"total":{}}"#) != 7 || ask(&mut at_two, r#"{"total":{}}"#) != 7 {
        assert!(Instant::now() < end, "the nodes do not agree on 7");
    }
}
