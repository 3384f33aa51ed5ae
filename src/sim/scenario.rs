//! A scenario: which nodes, what clients do, what may break, what must hold.

use super::fault::{Fault, Ranges};
use super::world::Network;
use crate::check::Property;
use crate::config::Config;
use crate::registry::Registry;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A scenario's file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    nodes: Vec<PathBuf>,
    properties: Vec<String>,
    #[serde(default = "default_expect")]
    expect: Expect,
    #[serde(default = "default_seconds")]
    seconds: u64,
    #[serde(default = "default_settle_seconds")]
    settle_seconds: u64,
    #[serde(default)]
    workload: Workload,
    #[serde(default)]
    network: RawNetwork,
    #[serde(default)]
    faults: Ranges,
    #[serde(default)]
    fault: Vec<Fault>,
}

/// The verdict that a scenario is there to show.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// Every property holds, for every seed.
    Held,
    /// Some property is violated, for some seed.
    Violated,
}

/// What clients do: the table `[workload]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// How many clients.
    pub clients: u32,
    /// How many operations each.
    pub operations: u32,
    /// How many keys they share.
    pub keys: u64,
    /// How many of a hundred operations are PUTs.
    pub put_percent: u64,
    /// How many of a hundred GETs are a newcomer's, who has seen nothing: a server that is behind
    /// must not answer it either, and cannot know that from the GET.
    pub newcomer_percent: u64,
    /// Clients keep one timestamp for all keys instead of one for each, as Redis clients must.
    pub one_timestamp: bool,
    /// The longest pause between two operations of a client, in milliseconds.
    pub think_ms: u64,
    /// When a client gives up, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for Workload {
    fn default() -> Self {
        Workload {
            clients: 4,
            operations: 60,
            keys: 3,
            put_percent: 50,
            newcomer_percent: 20,
            one_timestamp: false,
            think_ms: 200,
            timeout_ms: 12_000,
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawNetwork {
    delay_us: Option<[u64; 2]>,
    sync_us: Option<[u64; 2]>,
}

fn default_expect() -> Expect {
    Expect::Held
}
fn default_seconds() -> u64 {
    20
}
fn default_settle_seconds() -> u64 {
    60
}

/// A checked scenario.
#[derive(Debug)]
pub struct Scenario {
    /// Its file.
    pub path: PathBuf,
    /// The nodes' configs.
    pub nodes: Vec<Config>,
    /// What must hold.
    pub properties: Vec<Property>,
    /// What it is there to show.
    pub expect: Expect,
    /// How long faults happen, in milliseconds.
    pub millis: u64,
    /// How long after that everything must be in order again, in milliseconds.
    pub settle_millis: u64,
    /// What clients do.
    pub workload: Workload,
    /// The network when nothing is broken.
    pub network: Network,
    /// What to draw faults from.
    pub ranges: Ranges,
    /// Faults that the file fixes instead.
    pub fixed: Vec<Fault>,
    /// Whether nodes have disks.
    pub durable: bool,
}

/// Bounds that keep a run finite.
const MAX_SECONDS: u64 = 3_600;
const MAX_CLIENTS: u32 = 1_000;
/// The longest delay of a message or a sync.
const MAX_DELAY_US: u64 = 60_000_000;
/// In the end every key is read at every node, within the time to settle. How much of that time
/// a key may take: about twice what it does.
const READ_KEY_MS: u64 = 20;

impl Scenario {
    /// Reads a scenario and the configs that it names, relative to its folder.
    pub fn load(path: &Path, registry: &Registry) -> Result<Scenario, String> {
        Scenario::load_with(path, registry, &[])
    }

    /// Like `load`, with some protocols' keys set otherwise than in the nodes' files, in all of
    /// them: protocol, key, value.
    pub fn load_with(
        path: &Path,
        registry: &Registry,
        keys: &[(&str, &str, toml::Value)],
    ) -> Result<Scenario, String> {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        let file: File = toml::from_str(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
            format!("{name}:{line}: {}", error.message().replace('\n', "; "))
        })?;
        let rule = |what: &str| Err(format!("{name}: {what}"));
        if file.nodes.is_empty() {
            return rule("nodes: name at least one config");
        }
        let seconds = 1..=MAX_SECONDS;
        if !seconds.contains(&file.seconds) || !seconds.contains(&file.settle_seconds) {
            return rule("seconds and settle_seconds must be 1 to 3600");
        }
        let workload = &file.workload;
        let percent = workload.put_percent.max(workload.newcomer_percent);
        let one = workload.keys >= 1 && workload.timeout_ms >= 1;
        if !(1..=MAX_CLIENTS).contains(&workload.clients) || !one || percent > 100 {
            return rule(
                "workload: clients 1 to 1000, keys and timeout_ms at least 1, put_percent and newcomer_percent at most 100",
            );
        }
        let (millis, settle_millis) = (file.seconds * 1_000, file.settle_seconds * 1_000);
        if workload.keys > settle_millis / READ_KEY_MS {
            let most = settle_millis / READ_KEY_MS;
            return rule(&format!(
                "workload: at most {most} keys can be read at the end within settle_seconds"
            ));
        }
        let whole = millis + settle_millis;
        if workload.timeout_ms > whole
            || u64::from(workload.operations).saturating_mul(workload.think_ms) > whole
        {
            return rule(
                "workload: operations times think_ms, and timeout_ms, must fit into seconds and \
                 settle_seconds, or clients would not come to an end",
            );
        }
        file.faults.check().map_err(|why| format!("{name}: faults: {why}"))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut nodes = Vec::new();
        for config in &file.nodes {
            nodes.push(load_node(&folder.join(config), registry, keys)?);
        }
        let mut ids = BTreeSet::new();
        for config in &nodes {
            if !ids.insert(config.id.0) {
                return rule(&format!("nodes: two of them have id {}", config.id));
            }
        }
        let mut properties = Vec::new();
        for property in &file.properties {
            let known = property.parse::<Property>();
            properties.push(known.map_err(|error| format!("{name}: {property}: {error}"))?);
        }
        let mut network = Network::default();
        for (range, given) in
            [(&mut network.delay, file.network.delay_us), (&mut network.sync, file.network.sync_us)]
        {
            if let Some([low, high]) = given {
                if low > high || high > MAX_DELAY_US {
                    return rule(
                        "network: a range goes from its lower to its higher bound, which is at \
                         most 60000000 (a minute)",
                    );
                }
                *range = low * 1_000..=high * 1_000;
            }
        }
        network.link_timeout = nodes[0].limits.link_timeout_ms * 1_000_000;
        let durable = nodes.iter().any(|config| config.data_dir.is_some());
        let scenario = Scenario {
            path: path.into(),
            nodes,
            properties,
            expect: file.expect,
            millis,
            settle_millis,
            workload: file.workload,
            network,
            ranges: file.faults,
            fixed: file.fault,
            durable,
        };
        scenario.check_faults(&scenario.fixed).map_err(|why| format!("{name}: fault {why}"))?;
        Ok(scenario)
    }

    /// Whether a plan that was read from a file is one of this scenario.
    pub fn check(&self, plan: &Plan) -> Result<(), String> {
        if !(1..=MAX_CLIENTS).contains(&plan.clients) {
            return Err(format!("clients must be 1 to {MAX_CLIENTS}"));
        }
        if plan.operations > self.workload.operations {
            let most = self.workload.operations;
            return Err(format!("operations must be at most the scenario's, {most}"));
        }
        self.check_faults(&plan.faults).map_err(|why| format!("fault {why}"))
    }

    /// A fault that begins after the run, or at a node that is not there, breaks nothing: that
    /// everything held would then mean little.
    fn check_faults(&self, faults: &[Fault]) -> Result<(), String> {
        for (place, fault) in faults.iter().enumerate() {
            let wrong = |why: String| Err(format!("{} ({}): {why}", place + 1, fault.name()));
            if fault.at_ms.checked_add(fault.for_ms).is_none_or(|end| end > self.millis) {
                return wrong(format!("it must end within the run's {} ms", self.millis));
            }
            let known = |id: &u32| self.nodes.iter().any(|config| config.id.0 == *id);
            if let Some(id) = fault.nodes().iter().find(|id| !known(id)) {
                return wrong(format!("there is no node {id}"));
            }
            if let Some(why) = fault.excess() {
                return wrong(why.into());
            }
        }
        Ok(())
    }

    /// What a seed makes of the scenario.
    pub fn plan(&self, seed: u64) -> Plan {
        let ids: Vec<u32> = self.nodes.iter().map(|config| config.id.0).collect();
        let faults = if self.fixed.is_empty() {
            self.ranges.draw(seed, &ids, self.millis, self.durable)
        } else {
            self.fixed.clone()
        };
        let (clients, operations) = (self.workload.clients, self.workload.operations);
        Plan { seed, clients, operations, faults }
    }
}

fn load_node(
    path: &Path,
    registry: &Registry,
    keys: &[(&str, &str, toml::Value)],
) -> Result<Config, String> {
    let config = Config::load(path, registry).map_err(|error| error.to_string())?;
    if keys.is_empty() {
        return Ok(config);
    }
    let text = config.show(registry);
    let mut table: toml::Table = toml::from_str(&text).map_err(|error| error.to_string())?;
    for (protocol, key, value) in keys {
        let protocols = table.get_mut("protocols").and_then(|table| table.get_mut(protocol));
        let protocol = protocols.and_then(toml::Value::as_table_mut);
        let table =
            protocol.ok_or_else(|| format!("{}: it runs no such protocol", path.display()))?;
        table.insert((*key).into(), value.clone());
    }
    Config::parse(path, table.to_string(), registry).map_err(|error| error.to_string())
}

/// A run to be: a scenario and a plan give one trace, always the same.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Seeds every stream of random numbers.
    pub seed: u64,
    /// How many clients.
    pub clients: u32,
    /// How many operations each.
    pub operations: u32,
    /// What breaks when.
    #[serde(default, rename = "fault")]
    pub faults: Vec<Fault>,
}
