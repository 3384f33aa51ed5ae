//! Real nodes for tests: ports, configs, processes, and waiting with a deadline. What a client
//! puts on the wire is in `clients`.
//!
//! Nothing here sleeps but [`wait_until`], which polls a condition until its deadline. No verdict
//! depends on how fast the machine is: what has to happen may take [`LONG`], how long it takes is
//! nobody's business, and what a test wants to be in time itself is tried [`with_more_time`].

#![allow(dead_code, reason = "each test binary uses a part of this")]

pub mod clients;
pub mod group;
pub mod lottery;

use self::clients::{Json, Native, Resp};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Long enough for a debug build on a busy machine; only a failure waits this long.
pub const LONG: Duration = Duration::from_secs(90);

/// Lines of `[limits]` by which no node gives up a peer or a client that the machine has no time
/// for.
pub const PATIENT: &str = "link_timeout_ms = 600000\ngreeting_timeout_ms = 600000\n\
                           request_timeout_ms = 600000\nsilent_timeout_ms = 600000\n";

/// Tries what is in time on a machine that is fast enough, with more milliseconds each time that it
/// was not. An error says what was seen instead.
#[track_caller]
pub fn with_more_time<T>(first_ms: u64, mut attempt: impl FnMut(u64) -> Result<T, String>) -> T {
    let mut ms = first_ms;
    loop {
        match attempt(ms) {
            Ok(shown) => return shown,
            Err(seen) => assert!(ms < 30_000, "not with {ms} ms either: {seen}"),
        }
        ms *= 2;
    }
}

/// Asks until there is an answer; panics with `what` after the deadline.
#[track_caller]
pub fn wait_until<T>(what: &str, deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Below the range from which Linux takes the ports of outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// The locks of this process's ports: kept until it ends.
static RESERVED: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port that no other test, of this process or of another, is given.
pub fn free_port() -> u16 {
    let dir = std::env::temp_dir().join("node-test-ports");
    fs::create_dir_all(&dir).expect("the folder of port locks");
    let mut reserved = RESERVED.lock().expect("nobody panics with it");
    let ports = PORTS.len() as u32;
    let first = std::process::id().wrapping_mul(61) + reserved.len() as u32;
    for step in 0..ports {
        let port = PORTS.start + ((first + step) % ports) as u16;
        let lock = File::create(dir.join(port.to_string())).expect("a port's lock");
        let is_free = || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if lock.try_lock().is_ok() && is_free() {
            reserved.push(lock);
            return port;
        }
    }
    panic!("no port is free");
}

pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// What a cluster is made of; fields that a test does not name stay at these values.
#[derive(Clone)]
pub struct Setup {
    pub nodes: u32,
    pub leader: u32,
    pub disk: bool,
    pub console: bool,
    pub put_timeout_ms: u64,
    /// Lines of `[limits]`.
    pub limits: String,
    /// Lines of `[protocols.kv_replication]`.
    pub protocol: String,
    /// The number of descriptors that the nodes may open.
    pub max_descriptors: Option<u32>,
    /// Whether the nodes write their events to `ID.jsonl`.
    pub trace: bool,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            nodes: 3,
            leader: 1,
            disk: false,
            console: false,
            put_timeout_ms: 3_600_000,
            limits: PATIENT.into(),
            protocol: String::new(),
            max_descriptors: None,
            trace: false,
        }
    }
}

/// The ports of one node.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub native: u16,
    pub resp: u16,
    pub json: u16,
}

impl Ports {
    pub fn reserve() -> Ports {
        Ports { native: free_port(), resp: free_port(), json: free_port() }
    }
}

/// The nodes of one cluster, ids from 1. All are killed when this goes.
pub struct Cluster {
    pub dir: TempDir,
    pub setup: Setup,
    pub ports: Vec<Ports>,
    nodes: Vec<Option<Node>>,
}

impl Cluster {
    /// Starts all nodes and waits until all answer.
    pub fn start(setup: Setup) -> Cluster {
        let mut cluster = Cluster::prepare(setup);
        for id in 1..=cluster.setup.nodes {
            cluster.run(id);
        }
        cluster.wait_ready();
        cluster
    }

    /// Writes the configs alone.
    pub fn prepare(setup: Setup) -> Cluster {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let ports: Vec<Ports> = (0..setup.nodes).map(|_| Ports::reserve()).collect();
        let nodes = ports.iter().map(|_| None).collect();
        let cluster = Cluster { dir, setup, ports, nodes };
        for id in 1..=cluster.setup.nodes {
            fs::write(cluster.config_path(id), cluster.config(id)).expect("a config");
        }
        cluster
    }

    pub fn config_path(&self, id: u32) -> PathBuf {
        self.dir.path().join(format!("node-{id}.toml"))
    }

    pub fn data_dir(&self, id: u32) -> PathBuf {
        self.dir.path().join(format!("data-{id}"))
    }

    /// The text of a node's config.
    pub fn config(&self, id: u32) -> String {
        let Setup { leader, disk, console, put_timeout_ms, limits, protocol, .. } = &self.setup;
        let Ports { native, resp, json } = self.ports[id as usize - 1];
        let peers: String = (1..)
            .zip(&self.ports)
            .filter(|(peer, _)| *peer != id)
            .map(|(peer, ports)| format!("{peer} = \"127.0.0.1:{}\"\n", ports.native))
            .collect();
        let durability = if *disk { "disk" } else { "memory" };
        let data_dir =
            if *disk { format!("data_dir = {:?}", self.data_dir(id)) } else { "".into() };
        format!(
            r#"[node]
id = {id}
cluster = "test"
console = {console}
{data_dir}

[peers]
{peers}
[[listeners]]
addr = "127.0.0.1:{native}"

[[listeners]]
addr = "127.0.0.1:{resp}"
gateway = "resp"

[[listeners]]
addr = "127.0.0.1:{json}"
gateway = "json"

[limits]
{limits}

[protocols.kv_replication]
leader = {leader}
durability = "{durability}"
put_timeout_ms = {put_timeout_ms}
{protocol}
"#
        )
    }

    /// Starts one node, and waits until it takes connections.
    pub fn run(&mut self, id: u32) {
        let ports = self.ports[id as usize - 1];
        let max = self.setup.max_descriptors;
        let name = self.dir.path().join(format!("{id}"));
        let trace = self.setup.trace.then(|| name.with_extension("jsonl"));
        let node = Node::spawn_with(&self.config_path(id), &name, max, trace.as_deref());
        self.nodes[id as usize - 1] = Some(node);
        wait_until("the node listens", LONG, || {
            self.node(id).assert_runs();
            Resp::try_connect(local(ports.resp)).ok()
        });
    }

    /// Waits until all nodes are linked and have everything.
    pub fn wait_ready(&self) {
        wait_until("the cluster is ready", LONG, || {
            let ready = (1..=self.setup.nodes).all(|id| {
                self.node(id).assert_runs();
                let info = self.info(id);
                let up = info.iter().filter(|(_, value)| value.contains("state=up")).count();
                info["complete"] == "1"
                    && (id != self.setup.leader || up == self.setup.nodes as usize - 1)
            });
            ready.then_some(())
        });
    }

    /// Waits until all nodes hold the same table, and answers its last timestamp.
    #[track_caller]
    pub fn wait_equal(&self, deadline: Duration) -> u64 {
        wait_until("the replicas are equal", deadline, || {
            let state = |id| {
                let info = self.info(id);
                let complete = info["complete"] == "1";
                complete.then(|| (info["applied_timestamp"].clone(), info["table_digest"].clone()))
            };
            let first = state(1)?;
            let equal = (2..=self.setup.nodes).all(|id| state(id).as_ref() == Some(&first));
            equal.then(|| first.0.parse().expect("a timestamp"))
        })
    }

    pub fn node(&self, id: u32) -> &Node {
        self.nodes[id as usize - 1].as_ref().expect("the node was started")
    }

    /// Ends a node as kill -9 does, and waits until it is gone.
    pub fn kill(&mut self, id: u32) {
        drop(self.nodes[id as usize - 1].take());
    }

    /// Tells a node to stop, and waits until it has.
    pub fn terminate(&mut self, id: u32) -> ExitStatus {
        let mut node = self.nodes[id as usize - 1].take().expect("the node was started");
        node.signal(Signal::TERM);
        node.wait_exit(LONG)
    }

    /// Waits until a node has ended by itself.
    pub fn wait_exit(&mut self, id: u32) -> ExitStatus {
        let mut node = self.nodes[id as usize - 1].take().expect("the node was started");
        node.wait_exit(LONG)
    }

    pub fn signal(&self, id: u32, signal: Signal) {
        self.node(id).signal(signal);
    }

    pub fn resp(&self, id: u32) -> Resp {
        Resp::connect(local(self.ports[id as usize - 1].resp))
    }

    pub fn json(&self, id: u32) -> Json {
        Json::connect(local(self.ports[id as usize - 1].json))
    }

    pub fn native(&self, id: u32) -> Native {
        Native::connect(local(self.ports[id as usize - 1].native))
    }

    pub fn native_addr(&self, id: u32) -> SocketAddr {
        local(self.ports[id as usize - 1].native)
    }

    pub fn resp_addr(&self, id: u32) -> SocketAddr {
        local(self.ports[id as usize - 1].resp)
    }

    pub fn json_addr(&self, id: u32) -> SocketAddr {
        local(self.ports[id as usize - 1].json)
    }

    pub fn info(&self, id: u32) -> BTreeMap<String, String> {
        self.resp(id).info()
    }

    pub fn counter(&self, id: u32, name: &str) -> u64 {
        let info = self.info(id);
        let value = info.get(name).unwrap_or_else(|| panic!("no counter {name} in {info:?}"));
        value.parse().expect("a counter is a number")
    }
}

/// One process. It is killed when this goes.
pub struct Node {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Node {
    /// Starts `node --config`; what it says is added to `NAME.out` and `NAME.err`.
    pub fn spawn(config: &Path, name: &Path, max_descriptors: Option<u32>) -> Node {
        Node::spawn_with(config, name, max_descriptors, None)
    }

    pub fn spawn_with(
        config: &Path,
        name: &Path,
        max_descriptors: Option<u32>,
        trace: Option<&Path>,
    ) -> Node {
        let script = max_descriptors.map(|max| format!("ulimit -n {max}; exec \"$0\" \"$@\""));
        let wrapper: &[&str] = match &script {
            None => &[],
            Some(script) => &["sh", "-c", script],
        };
        Node::launch(wrapper, config, name, trace)
    }

    /// Starts it with these words before its command; the process that they start must become the
    /// node, as exec does.
    pub fn spawn_under(wrapper: &[&str], config: &Path, name: &Path) -> Node {
        Node::launch(wrapper, config, name, None)
    }

    fn launch(wrapper: &[&str], config: &Path, name: &Path, trace: Option<&Path>) -> Node {
        let mut words = wrapper.iter().copied().chain([env!("CARGO_BIN_EXE_node")]);
        let mut command = Command::new(words.next().expect("the last is the binary"));
        command.args(words);
        let (stdout, stderr) = (name.with_extension("out"), name.with_extension("err"));
        let append = |path: &Path| {
            OpenOptions::new().create(true).append(true).open(path).expect("a file for output")
        };
        let child = command
            .arg("--config")
            .arg(config)
            .args(trace.map(|path| ["--trace".as_ref(), path.as_os_str()]).into_iter().flatten())
            .env_remove("NODE_LOG")
            .stdin(Stdio::null())
            .stdout(append(&stdout))
            .stderr(append(&stderr))
            .spawn()
            .expect("the node's binary runs");
        Node { child, stdout, stderr }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the process is there");
    }

    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).expect("standard output is text")
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).expect("standard error is text")
    }

    /// How many lines of the log have this in them.
    pub fn log_lines(&self, part: &str) -> usize {
        self.stderr().lines().filter(|line| line.contains(part)).count()
    }

    /// Panics, with its log, if the process has ended.
    #[track_caller]
    pub fn assert_runs(&self) {
        // The state follows the name, which ends with the last parenthesis; Z waits to be reaped.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let state = stat.rsplit_once(") ").map_or('Z', |(_, rest)| rest.as_bytes()[0].into());
        assert!(state != 'Z', "the node has ended: {}", self.stderr());
    }

    pub fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        let child = &mut self.child;
        wait_until("the node ends", deadline, || child.try_wait().expect("it is our child"))
    }

    /// The memory that it has in use now, beside what of its program's file it has read.
    pub fn rss_bytes(&self) -> u64 {
        self.status_bytes("RssAnon:")
    }

    /// The most memory that it has ever had in use.
    pub fn peak_rss_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, what: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix(what));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<u64>().ok()).expect("it is in kB") << 10
    }

    /// The processor time that it has used, in ticks of 10 ms.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        let stat = stat.expect("the process is there");
        let (_, rest) = stat.rsplit_once(") ").expect("the name is in parentheses");
        // utime and stime are the 14th and 15th field; `rest` begins with the third.
        rest.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }

    pub fn open_descriptors(&self) -> usize {
        let fds = fs::read_dir(format!("/proc/{}/fd", self.pid()));
        fds.expect("the process is there").count()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
