//! What a node's TOML file says, checked as a whole before anything starts.
//!
//! Raw form (what serde reads) becomes resolved form (every value in its type, every rule
//! checked). An error names file, line, key, value and the rule that is broken.

mod limits;
mod locate;

pub use self::limits::Limits;
use self::locate::Source;
use crate::plugins::{NATIVE, Plugins, TypedConfig, config_of};
use crate::text;
use node_core::{DynProtocol, Env, Escaped, Host, Input, LamportRule, NodeId, Protocol};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One node's config, resolved.
#[derive(Clone, Debug)]
pub struct Config {
    source: Source,
    /// This node.
    pub id: NodeId,
    /// What people call it; none for its id.
    pub name: Option<String>,
    /// The name that all nodes of a cluster share.
    pub cluster: String,
    /// Where the log is kept; relative paths are relative to the working directory.
    pub data_dir: Option<PathBuf>,
    /// Whether what is written there is synced before anything that rests on it leaves the node.
    pub sync: bool,
    /// Whether the console lines that documents prescribe are printed.
    pub console: bool,
    /// What a receive does to the Lamport clock.
    pub lamport_rule: LamportRule,
    /// How wrong this node's wall clock is.
    pub clock: ClockError,
    /// The other nodes and where they listen.
    pub peers: BTreeMap<NodeId, String>,
    /// Where this node listens.
    pub listeners: Vec<Listener>,
    /// Bounds on time and memory.
    pub limits: Limits,
    /// The protocols, in the order of the file.
    pub protocols: Vec<String>,
    /// Their tables, in the same order.
    typed: Vec<Arc<dyn TypedConfig>>,
    /// What is in the files that protocols read, by protocol.
    inputs: BTreeMap<String, Arc<[u8]>>,
}

/// How wrong a node's wall clock is made: on one machine all clocks agree otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClockError {
    /// What it is ahead at the start, in milliseconds.
    pub offset_ms: i64,
    /// How much faster it runs, in parts per million.
    pub drift_ppm: i64,
}

impl ClockError {
    /// What the clock is ahead so many nanoseconds after the start.
    pub fn nanos(self, elapsed: u64) -> i64 {
        let drift = i128::from(elapsed) * i128::from(self.drift_ppm) / 1_000_000;
        let off = i128::from(self.offset_ms) * 1_000_000 + drift;
        i64::try_from(off).unwrap_or(if off < 0 { i64::MIN } else { i64::MAX })
    }
}

/// A year: clocks that are further off are typing errors.
const MAX_CLOCK_OFFSET_MS: u64 = 365 * 86_400_000;
/// Half as fast, or half as fast again.
const MAX_CLOCK_DRIFT_PPM: u64 = 500_000;

/// One listening socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// Where.
    pub addr: SocketAddr,
    /// What is spoken there.
    pub gateway: String,
    /// The protocol whose requests come there; none on a native listener, whose clients say it.
    pub protocol: Option<String>,
}

/// What is wrong with a config, in one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// From 1; none when the file could not be read, or something is missing from it.
    pub line: Option<usize>,
    /// The key with its tables.
    pub key: String,
    /// The value as the file has it.
    pub value: Option<String>,
    /// The rule that is broken, and what to do.
    pub rule: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}", self.key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            write!(f, ":")?;
        }
        write!(f, " {}", self.rule)
    }
}

impl std::error::Error for ConfigError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    node: RawNode,
    #[serde(default)]
    peers: toml::Table,
    #[serde(default)]
    listeners: Vec<RawListener>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    protocols: toml::Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    id: u32,
    name: Option<String>,
    #[serde(default = "default_cluster")]
    cluster: String,
    data_dir: Option<PathBuf>,
    #[serde(default = "default_sync")]
    sync: bool,
    #[serde(default = "default_console")]
    console: bool,
    #[serde(default)]
    lamport_rule: LamportRule,
    #[serde(default)]
    clock_offset_ms: i64,
    #[serde(default)]
    clock_drift_ppm: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListener {
    addr: String,
    #[serde(default = "default_gateway")]
    gateway: String,
    protocol: Option<String>,
}

fn default_cluster() -> String {
    "node".into()
}
fn default_sync() -> bool {
    true
}
fn default_console() -> bool {
    true
}
fn default_gateway() -> String {
    NATIVE.into()
}

/// A cluster's name travels in a greeting of at most 1 KiB.
const MAX_CLUSTER_BYTES: usize = 64;
/// A name stands before a lane.
const MAX_NAME_BYTES: usize = 32;

impl Config {
    /// Reads and checks a file, down to every protocol's own table.
    ///
    /// # Errors
    /// The file cannot be read, or which key breaks which rule, with its line.
    pub fn load(path: &Path, plugins: &Plugins) -> Result<Config, ConfigError> {
        let text = text::read(path).map_err(|error| ConfigError {
            path: path.into(),
            line: error.line,
            key: String::new(),
            value: None,
            rule: error.why,
        })?;
        Config::parse(path, text, plugins)
    }

    /// Checks a text; `path` only names it.
    ///
    /// # Errors
    /// Which key breaks which rule, with its line.
    pub fn parse(path: &Path, text: String, plugins: &Plugins) -> Result<Config, ConfigError> {
        let source = Source::new(path, text)?;
        let raw: Raw = source.read()?;
        let config = Config::resolve(source, raw, plugins)?;
        // Building the protocols is the only full check of their tables.
        config.build(plugins, &config.env(1, 1, 0))?;
        Ok(config)
    }

    fn resolve(source: Source, raw: Raw, plugins: &Plugins) -> Result<Config, ConfigError> {
        let id = NodeId(raw.node.id);
        let cluster_bytes = raw.node.cluster.len();
        if !(1..=MAX_CLUSTER_BYTES).contains(&cluster_bytes) {
            let rule = format!("it must have 1 to {MAX_CLUSTER_BYTES} bytes");
            return Err(source.error(&["node", "cluster"], rule));
        }
        if raw.node.name.as_ref().is_some_and(|name| !is_name(name)) {
            let rule = format!(
                "it must be 1 to {MAX_NAME_BYTES} bytes of printable text, with no space at either end"
            );
            return Err(source.error(&["node", "name"], rule));
        }
        raw.limits.check().map_err(|(key, rule)| source.error(&["limits", key], rule))?;
        let clock =
            ClockError { offset_ms: raw.node.clock_offset_ms, drift_ppm: raw.node.clock_drift_ppm };
        if clock.offset_ms.unsigned_abs() > MAX_CLOCK_OFFSET_MS {
            let rule = "it must be at most 31536000000 (a year) either way".into();
            return Err(source.error(&["node", "clock_offset_ms"], rule));
        }
        if clock.drift_ppm.unsigned_abs() > MAX_CLOCK_DRIFT_PPM {
            let rule = "it must be at most 500000 (half as fast) either way".into();
            return Err(source.error(&["node", "clock_drift_ppm"], rule));
        }
        let peers = resolve_peers(&source, id, &raw.peers)?;
        let protocols: Vec<String> = raw.protocols.keys().cloned().collect();
        let known = plugins.protocol_names();
        if protocols.is_empty() {
            let rule =
                format!("a node runs at least one protocol; there are: {}", known.join(", "));
            return Err(source.error(&["protocols"], rule));
        }
        // Before the listeners, whose errors would hide that a name is misspelt.
        if let Some(name) = protocols.iter().find(|name| !known.contains(&name.as_str())) {
            let rule = format!("no such protocol; there are: {}", known.join(", "));
            return Err(source.error(&["protocols", name], rule));
        }
        let typed = read_tables(&source, &protocols, plugins)?;
        let listeners = resolve_listeners(&source, &raw.listeners, &protocols, plugins)?;
        let native = listeners.iter().any(|listener| listener.gateway == NATIVE);
        if let Some(peer) = peers.keys().next().filter(|_| !native) {
            let rule = format!(
                "node {peer} connects to this node, to make a link or to see that one comes from here: \
                 add a listener with gateway \"native\", where [peers] of node {peer} has this node"
            );
            return Err(source.error(&["listeners"], rule));
        }
        Ok(Config {
            source,
            id,
            name: raw.node.name,
            cluster: raw.node.cluster,
            data_dir: raw.node.data_dir,
            sync: raw.node.sync,
            console: raw.node.console,
            lamport_rule: raw.node.lamport_rule,
            clock,
            peers,
            listeners,
            limits: raw.limits,
            protocols,
            typed,
            inputs: BTreeMap::new(),
        })
    }

    /// Reads the files that the protocols name: once, before the node starts, however often it
    /// does.
    ///
    /// # Errors
    /// Which file cannot be read, and why.
    pub fn read_inputs(&mut self, plugins: &Plugins) -> Result<(), ConfigError> {
        for protocol in self.build(plugins, &self.env(1, 1, 0))? {
            let Some(Input { key, path }) = protocol.input() else { continue };
            let content = read_input(Path::new(path)).map_err(|error| {
                let rule = format!("cannot read it: {error}; name a file that this user may read");
                self.error(&["protocols", protocol.name(), key], rule)
            })?;
            self.inputs.insert(protocol.name().into(), content.into());
        }
        Ok(())
    }

    /// As many nodes with this config as one cluster: 1 to `count`, each other's peers. For
    /// simulations, where nobody dials addresses. Of a name, each gets its own: `name 1`, `name 2`,
    /// …
    pub fn multiply(&self, count: u32) -> Vec<Config> {
        let peers = |me: u32| {
            let others = (1..=count).filter(move |id| *id != me);
            others.map(|id| (NodeId(id), String::new())).collect()
        };
        let config = |id: u32| {
            let name = self.name.as_ref().map(|name| format!("{name} {id}"));
            Config { id: NodeId(id), name, peers: peers(id), ..self.clone() }
        };
        (1..=count).map(config).collect()
    }

    /// What the protocols are told about this node.
    pub fn env(&self, incarnation: u64, identity: u128, seed: u64) -> Env {
        Env {
            id: self.id,
            peers: self.peers.keys().copied().collect(),
            incarnation,
            identity,
            seed,
            durable: self.data_dir.is_some(),
        }
    }

    /// Gives a protocol what is in the file that it names, instead of reading it.
    pub fn give_input(&mut self, protocol: &str, content: Arc<[u8]>) {
        self.inputs.insert(protocol.into(), content);
    }

    /// Builds the node's protocols, with what [`read_inputs`](Config::read_inputs) has read.
    ///
    /// # Errors
    /// A protocol refuses what it is given.
    pub fn host(&self, plugins: &Plugins, env: &Env) -> Result<Host, ConfigError> {
        let mut protocols = self.build(plugins, env)?;
        for protocol in &mut protocols {
            if let Some(content) = self.inputs.get(protocol.name()) {
                protocol.take_input(Arc::clone(content));
            }
        }
        Ok(Host::new(env, protocols, self.lamport_rule))
    }

    fn build(
        &self,
        plugins: &Plugins,
        env: &Env,
    ) -> Result<Vec<Box<dyn DynProtocol>>, ConfigError> {
        let mut protocols = Vec::new();
        for (name, typed) in self.protocols.iter().zip(&self.typed) {
            protocols.push(
                typed.build(env).map_err(|error| {
                    self.source.error(&["protocols", name, error.key], error.rule)
                })?,
            );
        }
        let homeless = protocols.iter().find(|one| one.persists() && self.data_dir.is_none());
        if let Some(protocol) = homeless {
            let rule =
                "it keeps on the disk what it must not forget: set data_dir under [node]".into();
            return Err(self.source.error(&["protocols", protocol.name()], rule));
        }
        self.check_facts(&protocols, plugins)?;
        Ok(protocols)
    }

    /// Each kind of fact has at most one publisher, and whoever needs one gets it.
    fn check_facts(
        &self,
        protocols: &[Box<dyn DynProtocol>],
        plugins: &Plugins,
    ) -> Result<(), ConfigError> {
        let mut publishers = BTreeMap::new();
        for protocol in protocols {
            for kind in protocol.publishes() {
                if let Some(other) = publishers.insert(*kind, protocol.name()) {
                    let rule = format!("{other} publishes {kind} too: run only one of them");
                    return Err(self.source.error(&["protocols", protocol.name()], rule));
                }
            }
        }
        for protocol in protocols {
            let missing = protocol.needs().iter().find(|kind| !publishers.contains_key(kind));
            if let Some(kind) = missing {
                let all = plugins.publishers(*kind);
                let all: Vec<String> =
                    all.iter().map(|name| format!("[protocols.{name}]")).collect();
                let add = match &all[..] {
                    [] => String::new(),
                    all => format!(" (add {})", all.join(" or ")),
                };
                let rule =
                    format!("it needs {kind}, which no protocol of this node publishes{add}");
                return Err(self.source.error(&["protocols", protocol.name()], rule));
            }
        }
        Ok(())
    }

    /// An error about this config that only shows when the node starts.
    pub fn error(&self, key: &[&str], rule: String) -> ConfigError {
        self.source.error(key, rule)
    }

    /// The whole config as TOML, with every default filled in.
    pub fn show(&self) -> String {
        let mut text = self.to_string();
        for (name, typed) in self.protocols.iter().zip(&self.typed) {
            text += &format!("\n[protocols.{name}]\n{}", typed.show());
        }
        text
    }

    /// What a node's config says of a protocol; none where the node does not run it.
    pub fn of<P: Protocol>(&self) -> Option<&P::Config> {
        let place = self.protocols.iter().position(|name| name == P::NAME)?;
        config_of::<P>(&*self.typed[place])
    }
}

/// Reads the tables of a node's protocols.
fn read_tables(
    source: &Source,
    protocols: &[String],
    plugins: &Plugins,
) -> Result<Vec<Arc<dyn TypedConfig>>, ConfigError> {
    let document = source.document()?;
    let mut typed = Vec::new();
    for name in protocols {
        let path = ["protocols", name.as_str()];
        let table = Source::value(&document, &path)
            .ok_or_else(|| source.error(&path, "it must be a table".into()))?;
        let read = plugins.read(name, table.clone()).ok_or_else(|| {
            let known = plugins.protocol_names().join(", ");
            source.error(&path, format!("no such protocol; there are: {known}"))
        })?;
        typed.push(read.map_err(|error| source.form_error(&document, &path, &error))?);
    }
    Ok(typed)
}

/// Whether it can stand on a screen as it is: text that begins and ends with what is seen.
fn is_name(name: &str) -> bool {
    let is_shown = Escaped(name.as_bytes()).to_string() == name;
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.trim() == name && is_shown
}

/// The node keeps it in memory as long as it runs.
const MAX_INPUT_BYTES: u64 = 1 << 30;

fn read_input(path: &Path) -> io::Result<Vec<u8>> {
    // Before it is opened: a pipe that nobody writes to would never let go.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let file = File::open(path)?;
    let mut content = Vec::new();
    file.take(MAX_INPUT_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_INPUT_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_INPUT_BYTES} bytes")));
    }
    Ok(content)
}

fn resolve_peers(
    source: &Source,
    id: NodeId,
    raw: &toml::Table,
) -> Result<BTreeMap<NodeId, String>, ConfigError> {
    let mut peers = BTreeMap::new();
    for (key, addr) in raw {
        let path = ["peers", key.as_str()];
        let rule = |rule: &str| Err(source.error(&path, rule.into()));
        let Ok(peer) = key.parse::<u32>().map(NodeId) else {
            return rule("a peer's key is its id, a number from 0 to 4294967295");
        };
        if peer == id {
            return rule("it is this node's own id: list only the other nodes");
        }
        let Some(addr) = addr.as_str().filter(|addr| is_host_and_port(addr)) else {
            return rule("a peer needs an address, such as \"127.0.0.1:10098\"");
        };
        if peers.insert(peer, addr.to_string()).is_some() {
            return rule("this id is listed twice");
        }
    }
    Ok(peers)
}

/// Whether it has the form HOST:PORT; names are looked up when the peer is dialled.
fn is_host_and_port(addr: &str) -> bool {
    let parts = addr.rsplit_once(':');
    parts.is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn resolve_listeners(
    source: &Source,
    raw: &[RawListener],
    protocols: &[String],
    plugins: &Plugins,
) -> Result<Vec<Listener>, ConfigError> {
    let mut listeners: Vec<Listener> = Vec::new();
    for (place, listener) in raw.iter().enumerate() {
        let listener = resolve_listener(source, place, listener, protocols, plugins)?;
        // Port 0 is another one each time.
        let is_taken = |other: &Listener| other.addr == listener.addr && listener.addr.port() != 0;
        if let Some(other) = listeners.iter().position(is_taken) {
            let rule = format!("listeners.{other} has this address already");
            return Err(source.error(&["listeners", &place.to_string(), "addr"], rule));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

fn resolve_listener(
    source: &Source,
    place: usize,
    raw: &RawListener,
    protocols: &[String],
    plugins: &Plugins,
) -> Result<Listener, ConfigError> {
    let place = place.to_string();
    let error = |key: &str, rule: String| Err(source.error(&["listeners", &place, key], rule));
    let Ok(addr) = raw.addr.parse::<SocketAddr>() else {
        return error("addr", "it must be IP:PORT, such as \"127.0.0.1:10097\"".into());
    };
    if !plugins.gateway_names().contains(&raw.gateway.as_str()) {
        let known = plugins.gateway_names().join(", ");
        return error("gateway", format!("no such gateway; there are: {known}"));
    }
    let bound = plugins.gateway_protocol(&raw.gateway).map(str::to_string);
    let only = protocols.first().filter(|_| protocols.len() == 1).cloned();
    let protocol = match (&raw.protocol, bound) {
        (None, _) if raw.gateway == NATIVE => None,
        (Some(_), _) if raw.gateway == NATIVE => {
            return error("protocol", "clients of a native listener say it themselves".into());
        }
        (Some(named), Some(bound)) if *named != bound => {
            return error("protocol", format!("this gateway carries {bound} alone"));
        }
        (Some(named), _) => Some(named.clone()),
        (None, Some(bound)) => Some(bound),
        (None, None) => only,
    };
    if raw.gateway != NATIVE {
        let known = protocol.as_ref().is_some_and(|protocol| protocols.contains(protocol));
        if !known {
            let list = protocols.join(", ");
            let key = if raw.protocol.is_some() { "protocol" } else { "gateway" };
            return error(
                key,
                format!("say with protocol = which of this node's it carries: {list}"),
            );
        }
    }
    Ok(Listener { addr, gateway: raw.gateway.clone(), protocol })
}

/// A string in TOML's own form, whose escapes are not those of Rust.
fn quoted(text: &str) -> toml::Value {
    toml::Value::String(text.to_string())
}

impl fmt::Display for Config {
    /// All but the protocols' own tables, as TOML that says every value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[node]\nid = {}", self.id)?;
        if let Some(name) = &self.name {
            writeln!(f, "name = {}", quoted(name))?;
        }
        writeln!(f, "cluster = {}", quoted(&self.cluster))?;
        if let Some(dir) = &self.data_dir {
            writeln!(f, "data_dir = {}", quoted(&dir.to_string_lossy()))?;
            writeln!(f, "sync = {}", self.sync)?;
        }
        let rule = match self.lamport_rule {
            LamportRule::MaxPlusOne => "max_plus_one",
            LamportRule::Max => "max",
            #[cfg(feature = "mutants")]
            LamportRule::Received => "received",
            #[cfg(feature = "mutants")]
            LamportRule::Local => "local",
            #[cfg(feature = "mutants")]
            LamportRule::Forgets => "forgets",
        };
        writeln!(f, "console = {}\nlamport_rule = {rule:?}", self.console)?;
        let ClockError { offset_ms, drift_ppm } = self.clock;
        writeln!(f, "clock_offset_ms = {offset_ms}\nclock_drift_ppm = {drift_ppm}")?;
        if !self.peers.is_empty() {
            writeln!(f, "\n[peers]")?;
        }
        for (peer, addr) in &self.peers {
            writeln!(f, "{peer} = {}", quoted(addr))?;
        }
        for listener in &self.listeners {
            let (addr, gateway) = (&listener.addr, &listener.gateway);
            writeln!(f, "\n[[listeners]]\naddr = \"{addr}\"\ngateway = {gateway:?}")?;
            if let Some(protocol) = &listener.protocol {
                writeln!(f, "protocol = {protocol:?}")?;
            }
        }
        write!(f, "\n[limits]\n{}", self.limits)
    }
}
