//! The form of a scenario's file, and what of it can be checked by itself. Knows no run.

use super::explore::Explore;
use crate::config::Config;
use crate::hosted::Guest;
use crate::registry::Registry;
use crate::sim::checker::{self, Checker};
use crate::sim::fault::{Fault, MAX_DRIFT_PPM, MAX_OFFSET_MS, Ranges};
use crate::sim::hosting::{self, Hosted};
use crate::sim::world::Network;
use crate::study::Property;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Bounds that keep a run finite.
const MAX_SECONDS: u64 = 3_600;
/// The nodes' links are a square.
const MAX_NODES: u32 = 2_000;
/// The longest delay of a message or a sync.
const MAX_DELAY_US: u64 = 60_000_000;
/// Why a fault is not one of a scenario.
pub(super) const NO_TWINS: &str = "nobody would meet it: it needs clients that do, as the store's";

/// A scenario's file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub nodes: Vec<PathBuf>,
    /// Nodes that are programs, instead.
    pub hosted: Option<hosting::Table>,
    pub properties: Vec<String>,
    pub violates: Option<String>,
    /// Makes this many nodes of the one config.
    pub count: Option<u32>,
    #[serde(default = "default_seconds")]
    pub seconds: u64,
    #[serde(default = "default_settle_seconds")]
    pub settle_seconds: u64,
    /// Whether everything must be in order again after the faults.
    #[serde(default = "default_settles")]
    pub settles: bool,
    /// A table for each study that it names; the study reads it.
    #[serde(default)]
    pub workload: BTreeMap<String, IgnoredAny>,
    /// Properties of its own, which are judged whether or not `properties` names them.
    #[serde(default)]
    pub checker: Vec<checker::Settings>,
    #[serde(default)]
    pub bounds: BTreeMap<String, u64>,
    pub clocks: Option<Clocks>,
    /// All orders are tried, instead of some drawn.
    pub explore: Option<Explore>,
    #[serde(default)]
    pub network: RawNetwork,
    #[serde(default)]
    pub disk: RawDisk,
    #[serde(default)]
    pub faults: Ranges,
    #[serde(default)]
    pub fault: Vec<Fault>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawNetwork {
    pub delay_us: Option<[u64; 2]>,
    pub sync_us: Option<[u64; 2]>,
    /// Instead of what the nodes' configs say.
    pub link_timeout_ms: Option<u64>,
    /// Whether messages of one direction keep their order.
    pub ordered: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDisk {
    /// By how many bytes a log grows before it is rewritten; without, as on real disks.
    pub checkpoint_bytes: Option<[u64; 2]>,
}

/// How wrong nodes' clocks are from the beginning: drawn for each node, and instead of what its
/// config says, so that many nodes of one config have clocks of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clocks {
    /// The most that a clock is ahead or behind, in milliseconds.
    pub offset_ms: u64,
    /// The most that it runs faster or slower, in parts per million.
    pub drift_ppm: u64,
    /// How far one of them is ahead or behind instead, in milliseconds; 0 for none.
    pub liar_ms: u64,
}

fn default_seconds() -> u64 {
    20
}
fn default_settle_seconds() -> u64 {
    60
}
fn default_settles() -> bool {
    true
}

impl File {
    /// Whether its times, faults and clocks make sense by themselves.
    ///
    /// # Errors
    /// What does not, in one line.
    pub fn check(&self) -> Result<(), String> {
        let seconds = 1..=MAX_SECONDS;
        if !seconds.contains(&self.seconds) || !seconds.contains(&self.settle_seconds) {
            return Err("seconds and settle_seconds must be 1 to 3600".into());
        }
        self.faults.check().map_err(|why| format!("faults: {why}"))?;
        if let Some(Clocks { offset_ms, drift_ppm, liar_ms }) = self.clocks
            && (offset_ms.max(liar_ms) > MAX_OFFSET_MS || drift_ppm > MAX_DRIFT_PPM)
        {
            return Err(
                "clocks: offset_ms and liar_ms are at most 86400000 (a day), drift_ppm 500000 (half)"
                    .into(),
            );
        }
        Ok(())
    }

    /// The nodes' configs, made and checked.
    pub fn load_nodes(
        &self,
        path: &Path,
        load: &mut dyn FnMut(&Path) -> Result<Config, String>,
    ) -> Result<Vec<Config>, String> {
        let rule = |what: String| Err(format!("{}: {what}", path.display()));
        let mut nodes = Vec::new();
        for config in &self.nodes {
            nodes.push(load(config)?);
        }
        if let Some(count) = self.count {
            if nodes.len() != 1 || !(1..=MAX_NODES).contains(&count) {
                return rule(format!("count: 1 to {MAX_NODES} nodes, made of one config"));
            }
            nodes = nodes[0].multiply(count);
        }
        let mut ids = BTreeSet::new();
        for config in &nodes {
            if !ids.insert(config.id.0) {
                return rule(format!("nodes: two of them have id {}", config.id));
            }
        }
        Ok(nodes)
    }

    /// What must hold, and which of that is to be shown violated.
    pub fn properties(
        &self,
        checkers: &[Checker],
        registry: &Registry,
    ) -> Result<(Vec<&'static Property>, Option<&'static Property>), String> {
        let known = |property: &String| {
            let own = || checkers.iter().map(Checker::property);
            let is_it = |one: &&'static Property| one.name == property;
            own().find(is_it).or_else(|| registry.property(property)).ok_or_else(|| {
                let all: Vec<&str> =
                    registry.properties().chain(own()).map(|one| one.name).collect();
                let all = all.join(", ");
                format!("{property}: no such property; there are {all}")
            })
        };
        let mut properties: Vec<&'static Property> =
            self.properties.iter().map(known).collect::<Result<_, _>>()?;
        for own in checkers.iter().map(Checker::property) {
            if !properties.contains(&own) {
                properties.push(own);
            }
        }
        let violates = self.violates.as_ref().map(known).transpose()?;
        if violates.is_some_and(|property| !properties.contains(&property)) {
            return Err("violates: name one of properties".into());
        }
        Ok((properties, violates))
    }

    /// The programs that the nodes are, checked, if they are programs.
    pub fn hosted(
        &mut self,
        path: &Path,
        given: Option<&Guest>,
        registry: &Registry,
    ) -> Result<Option<Hosted>, String> {
        let Some(table) = self.hosted.clone() else {
            return match given {
                Some(_) => Err("its nodes are no programs: it has no table [hosted]".into()),
                None => Ok(None),
            };
        };
        if !self.nodes.is_empty() || self.count.is_some() {
            return Err("nodes and count are for configs: leave them out beside [hosted]".into());
        }
        if self.clocks.is_some() {
            return Err("clocks: a program reads the run's clock, or the machine's".into());
        }
        hosting::check_faults(&self.faults, &self.fault).map_err(|why| format!("faults: {why}"))?;
        table.resolve(path, given, registry).map(Some)
    }

    /// Whether there are the nodes, disks and clients that its faults are about.
    pub fn check_faults(
        &self,
        nodes: &[Config],
        disks: &[u32],
        meets_twins: bool,
    ) -> Result<(), String> {
        if disks.is_empty() && self.faults.are_of_disks() {
            return Err("no node has a data_dir, so no disk can fail: leave these out".into());
        }
        if self.faults.twin != [0, 0] && !meets_twins {
            return Err(format!("twin: {NO_TWINS}"));
        }
        let is_there = |id: &&u32| nodes.iter().any(|node| node.id.0 == **id);
        match self.faults.liar_spares.iter().find(|id| !is_there(id)) {
            Some(id) => Err(format!("liar_spares: there is no node {id}")),
            None => Ok(()),
        }
    }

    /// The network when nothing is broken.
    pub fn network(&self, first: &Config) -> Result<Network, String> {
        let rule = |what: &str| Err(what.to_string());
        let is_hosted = self.hosted.is_some();
        let mut network = if is_hosted { hosting::network() } else { Network::default() };
        network.ordered = self.network.ordered.unwrap_or(network.ordered);
        for (range, given) in
            [(&mut network.delay, self.network.delay_us), (&mut network.sync, self.network.sync_us)]
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
        if !is_hosted {
            network.client_delay = network.delay.clone();
        }
        if self.disk.checkpoint_bytes.is_some_and(|[low, high]| low > high) {
            return rule("disk: checkpoint_bytes goes from its lower to its higher bound");
        }
        let link_timeout_ms = self.network.link_timeout_ms;
        if link_timeout_ms.is_some_and(|ms| !(1..=MAX_DELAY_US / 1_000).contains(&ms)) {
            return rule("network: link_timeout_ms is 1 to 60000 (a minute)");
        }
        if link_timeout_ms.is_some() || !is_hosted {
            let link_timeout_ms = link_timeout_ms.unwrap_or(first.limits.link_timeout_ms);
            network.link_timeout = link_timeout_ms * 1_000_000;
        }
        Ok(network)
    }
}
