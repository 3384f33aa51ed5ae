//! A scenario: which nodes, what clients do, what may break, what must hold.

use super::fault::{Fault, Ranges};
use super::workload::store::Settings;
use super::world::Network;
use crate::check::Property;
use crate::check::timeline::Bounds;
use crate::config::Config;
use crate::registry::Registry;
use node_protocols::core::Protocol;
use node_protocols::kv_replication::KvReplication;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A scenario's file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    nodes: Vec<PathBuf>,
    properties: Vec<String>,
    violates: Option<String>,
    /// Makes this many nodes of the one config.
    count: Option<u32>,
    #[serde(default = "default_seconds")]
    seconds: u64,
    #[serde(default = "default_settle_seconds")]
    settle_seconds: u64,
    workload: Option<Settings>,
    #[serde(default)]
    bounds: RawBounds,
    #[serde(default)]
    network: RawNetwork,
    #[serde(default)]
    faults: Ranges,
    #[serde(default)]
    fault: Vec<Fault>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawNetwork {
    delay_us: Option<[u64; 2]>,
    sync_us: Option<[u64; 2]>,
}

/// What elections are held against.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawBounds {
    agree_ms: Option<u64>,
    handover_ms: Option<u64>,
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
    /// The one of them that it is there to show violated, by some seed; all others hold.
    pub violates: Option<Property>,
    /// How long faults happen, in milliseconds.
    pub millis: u64,
    /// How long after that everything must be in order again, in milliseconds.
    pub settle_millis: u64,
    /// What clients do; none where nodes run no store.
    pub workload: Option<Settings>,
    /// What elections are held against.
    pub bounds: Bounds,
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
/// The nodes' links are a square.
const MAX_NODES: u32 = 2_000;
/// The longest delay of a message or a sync.
const MAX_DELAY_US: u64 = 60_000_000;

/// The protocol whose clients can be simulated.
const STORE: &str = KvReplication::NAME;

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
        let (millis, settle_millis) = (file.seconds * 1_000, file.settle_seconds * 1_000);
        file.faults.check().map_err(|why| format!("{name}: faults: {why}"))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut nodes = Vec::new();
        for config in &file.nodes {
            nodes.push(load_node(&folder.join(config), registry, keys)?);
        }
        if let Some(count) = file.count {
            if nodes.len() != 1 || !(1..=MAX_NODES).contains(&count) {
                return rule(&format!("count: 1 to {MAX_NODES} nodes, made of one config"));
            }
            nodes = nodes[0].multiply(count);
        }
        let mut ids = BTreeSet::new();
        for config in &nodes {
            if !ids.insert(config.id.0) {
                return rule(&format!("nodes: two of them have id {}", config.id));
            }
        }
        let parse = |property: &String| {
            let known = property.parse::<Property>();
            known.map_err(|error| format!("{name}: {property}: {error}"))
        };
        let properties: Vec<Property> =
            file.properties.iter().map(parse).collect::<Result<_, _>>()?;
        let violates = file.violates.as_ref().map(parse).transpose()?;
        if violates.is_some_and(|property| !properties.contains(&property)) {
            return rule("violates: name one of properties");
        }
        let is_store = |config: &Config| config.protocols.iter().any(|one| one == STORE);
        let workload = match (nodes.iter().all(is_store), file.workload) {
            (true, workload) => Some(workload.unwrap_or_default()),
            (false, None) => None,
            (false, Some(_)) => {
                return rule("workload: its clients are the store's, which not all nodes run");
            }
        };
        if let Some(workload) = &workload {
            workload.check(millis, settle_millis).map_err(|why| format!("{name}: {why}"))?;
        }
        let bounds = resolve_bounds(&file.bounds, millis + settle_millis);
        let bounds = bounds.map_err(|why| format!("{name}: bounds: {why}"))?;
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
            violates,
            millis,
            settle_millis,
            workload,
            bounds,
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
        if let Some(workload) = &self.workload {
            workload.check_plan(plan)?;
        } else if plan.clients > 0 {
            return Err("clients must be 0: the scenario has none".into());
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
        let counts = |workload: &Settings| (workload.clients, workload.operations);
        let (clients, operations) = self.workload.as_ref().map_or((0, 0), counts);
        Plan { seed, clients, operations, faults }
    }
}

fn resolve_bounds(raw: &RawBounds, whole_ms: u64) -> Result<Bounds, String> {
    let mut bounds = Bounds::default();
    for (bound, given) in
        [(&mut bounds.agree_ns, raw.agree_ms), (&mut bounds.handover_ns, raw.handover_ms)]
    {
        if let Some(ms) = given {
            if !(1..=whole_ms).contains(&ms) {
                return Err(format!("a bound is 1 to the run's {whole_ms} ms"));
            }
            *bound = ms * 1_000_000;
        }
    }
    Ok(bounds)
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
