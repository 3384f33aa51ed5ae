//! A scenario: which nodes, what clients do, what may break, what must hold.

pub mod explore;
mod file;

pub use self::file::Clocks;

use self::explore::Explore;
use self::file::{File, NO_TWINS};
use super::branch::{Branch, MAX_BRANCHES};
use super::checker::{self, Beside, Checker, MAX_CHECKERS};
use super::fault::{Fault, Kind, Ranges};
use super::hosting::Hosted;
use super::plan::{Known, Plan, parse};
use super::world::Network;
use crate::config::{ClockError, Config};
use crate::hosted::Guest;
use crate::registry::Registry;
use crate::study::{Bounds, Cast, Clients, Property, Run, Shipped, StudyPlugin, Verdict};
use crate::text;
use node_core::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A checked scenario.
#[derive(Debug)]
pub struct Scenario {
    /// Its file.
    pub path: PathBuf,
    /// The nodes' configs.
    pub nodes: Arc<[Config]>,
    /// The programs that the nodes are; none where they run protocols.
    pub hosted: Option<Hosted>,
    /// What must hold.
    pub properties: Vec<&'static Property>,
    /// The programs that judge those of them that are the scenario's own.
    pub checkers: Vec<Checker>,
    /// The one of them that it is there to show violated, by some seed; all others hold.
    pub violates: Option<&'static Property>,
    /// How long faults happen, in milliseconds.
    pub millis: u64,
    /// How long after that everything must be in order again, in milliseconds.
    pub settle_millis: u64,
    /// Whether it must be: where what was lost is lost, whoever refuses to go on is right.
    pub settles: bool,
    /// What clients do; none where no protocol of the nodes has simulated clients.
    pub workload: Option<Box<dyn Clients>>,
    /// What elections, clocks and lists are held against.
    pub bounds: Bounds,
    /// How wrong clocks are; none for what nodes' configs say.
    pub clocks: Option<Clocks>,
    /// Between what all orders of it are tried, where they are.
    pub explore: Option<Explore>,
    /// The network when nothing is broken.
    pub network: Network,
    /// By how many bytes a log grows before it is rewritten; without, as on real disks.
    pub checkpoint_bytes: Option<RangeInclusive<u64>>,
    /// What to draw faults from.
    pub ranges: Ranges,
    /// Faults that the file fixes instead.
    pub fixed: Vec<Fault>,
    /// The ids of the nodes that have disks.
    pub disks: Vec<u32>,
}

impl Scenario {
    /// Reads a scenario and the configs that it names, relative to its folder.
    ///
    /// # Errors
    /// What is wrong with the scenario or one of its configs, in one line.
    pub fn load(path: &Path, registry: &Registry) -> Result<Scenario, String> {
        Scenario::load_with(path, registry, &[])
    }

    /// The scenario of a file, or the one that a study brings by that name.
    ///
    /// # Errors
    /// That there is neither, or what is wrong with it, in one line.
    pub fn open(path: &Path, registry: &Registry) -> Result<Scenario, String> {
        Scenario::open_hosted(path, registry, None)
    }

    /// Likewise, with that program instead of the one that it names: its file, what it is started
    /// with, whose it is and what it may use.
    ///
    /// # Errors
    /// That there is no such scenario, or what is wrong with it or the program, in one line.
    pub fn open_hosted(
        path: &Path,
        registry: &Registry,
        given: Option<&Guest>,
    ) -> Result<Scenario, String> {
        let Some((study, shipped)) = brought(path, registry) else {
            let is_name = !path.exists() && path.extension().is_none();
            return Scenario::read(path, registry, given, &[]).map_err(|why| match is_name {
                true => format!("{why}, and no scenario of that name: see node scenarios"),
                false => why,
            });
        };
        let load = &mut |named: &Path| load_brought(path, named, study, shipped, registry);
        Scenario::parse(path, shipped.text, registry, given, load)
    }

    /// Likewise, as if that file, or the scenario of that name, had this text.
    ///
    /// # Errors
    /// What is wrong with the text or a config that it names, in one line.
    pub fn open_text(
        path: &Path,
        text: &str,
        registry: &Registry,
        given: Option<&Guest>,
    ) -> Result<Scenario, String> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let load = &mut |named: &Path| match brought(path, registry) {
            Some((study, shipped)) => load_brought(path, named, study, shipped, registry),
            None => load_node(&folder.join(named), registry, &[]),
        };
        Scenario::parse(path, text, registry, given, load)
    }

    /// Like `load`, with some protocols' keys set otherwise than in the nodes' files, in all of
    /// them that run it: protocol, key, value; or of all nodes, where the protocol is `node`.
    ///
    /// # Errors
    /// As `load`, and that no node runs a protocol that is named.
    pub fn load_with(
        path: &Path,
        registry: &Registry,
        keys: &[(&str, &str, toml::Value)],
    ) -> Result<Scenario, String> {
        Scenario::read(path, registry, None, keys)
    }

    fn read(
        path: &Path,
        registry: &Registry,
        given: Option<&Guest>,
        keys: &[(&str, &str, toml::Value)],
    ) -> Result<Scenario, String> {
        let text = text::read(path).map_err(|error| error.of(path))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let load = &mut |config: &Path| load_node(&folder.join(config), registry, keys);
        let scenario = Scenario::parse(path, &text, registry, given, load)?;
        let runs = |name: &str| {
            scenario.nodes.iter().any(|node| node.protocols.iter().any(|one| one == name))
        };
        let names_none = |protocol: &str| protocol != "node" && !runs(protocol);
        match keys.iter().find(|(protocol, ..)| names_none(protocol)) {
            Some((protocol, ..)) => Err(format!("{}: no node runs {protocol}", path.display())),
            None => Ok(scenario),
        }
    }

    /// Checks a text; `path` only names it, and `load` reads the configs that it names.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    #[doc(hidden)]
    pub fn parse(
        path: &Path,
        text: &str,
        registry: &Registry,
        given: Option<&Guest>,
        load: &mut dyn FnMut(&Path) -> Result<Config, String>,
    ) -> Result<Scenario, String> {
        let name = path.display();
        let mut file: File = parse(path, text)?;
        let rule = |what: &str| Err(format!("{name}: {what}"));
        let hosted = file.hosted(path, given, registry).map_err(|why| format!("{name}: {why}"))?;
        if file.nodes.is_empty() && hosted.is_none() {
            return rule("nodes: name at least one config, or a program under [hosted]");
        }
        file.check().map_err(|why| format!("{name}: {why}"))?;
        let (millis, settle_millis) = (file.seconds * 1_000, file.settle_seconds * 1_000);
        let mut nodes = match &hosted {
            Some(hosted) => hosted.nodes(),
            None => file.load_nodes(path, load)?,
        };
        let checkers = checkers(std::mem::take(&mut file.checker), path, registry);
        let checkers = checkers.map_err(|why| format!("{name}: checker: {why}"))?;
        let (properties, violates) =
            file.properties(&checkers, registry).map_err(|why| format!("{name}: {why}"))?;
        let named: Vec<String> = file.workload.keys().cloned().collect();
        let cast = Cast { nodes: &nodes, plugins: registry, clients_of: None };
        let (clients_of, workload) = registry.clients(path, text, &named, &cast)?.unzip();
        let drawn = workload.as_ref().map_or(&[][..], |clients| clients.draws_inputs_of());
        for (_, node) in nodes.iter_mut().enumerate().filter(|(place, _)| !drawn.contains(place)) {
            node.read_inputs(registry).map_err(|error| error.to_string())?;
        }
        if let Some(clients) = &workload {
            clients.check(millis, settle_millis).map_err(|why| format!("{name}: {why}"))?;
        }
        let cast = Cast { nodes: &nodes, plugins: registry, clients_of };
        for property in &properties {
            if let Some(why) = (property.missing)(&cast) {
                return rule(&format!("properties: {property} {why}"));
            }
        }
        let bounds = resolve_bounds(&file.bounds, registry, millis + settle_millis);
        let bounds = bounds.map_err(|why| format!("{name}: bounds: {why}"))?;
        if let Some(explore) = &file.explore {
            if hosted.is_some() {
                return rule("explore: a program's order cannot be chosen: leave it out");
            }
            let fits = explore.check(nodes.len(), millis);
            fits.map_err(|why| format!("{name}: explore: {why}"))?;
        }
        let network = file.network(&nodes[0]).map_err(|why| format!("{name}: {why}"))?;
        // A program's folder is its disk.
        let has_disk = |config: &&Config| hosted.is_some() || config.data_dir.is_some();
        let disks: Vec<u32> = nodes.iter().filter(has_disk).map(|config| config.id.0).collect();
        let meets_twins = workload.as_ref().is_some_and(|clients| clients.meet_twins());
        let fit = file.check_faults(&nodes, &disks, meets_twins);
        fit.map_err(|why| format!("{name}: faults: {why}"))?;
        let scenario = Scenario {
            path: path.into(),
            nodes: nodes.into(),
            hosted,
            properties,
            checkers,
            violates,
            millis,
            settle_millis,
            workload,
            bounds,
            clocks: file.clocks,
            explore: file.explore,
            network,
            settles: file.settles,
            checkpoint_bytes: file.disk.checkpoint_bytes.map(|[low, high]| low..=high),
            ranges: file.faults,
            fixed: file.fault,
            disks,
        };
        scenario.check_faults(&scenario.fixed).map_err(|why| format!("{name}: fault {why}"))?;
        Ok(scenario)
    }

    /// A fault of it, for people.
    pub fn tell(&self, fault: &Fault) -> String {
        match self.hosted {
            Some(_) => fault.among_programs(),
            None => fault.to_string(),
        }
    }

    /// The verdict on one of its properties in a run, of which that is known of its plan.
    pub fn judge(
        &self,
        property: &Property,
        run: &Run,
        registry: &Registry,
        known: Known,
    ) -> Verdict {
        let own = self.checkers.iter().find(|checker| checker.property() == property);
        let verdict = match own {
            None => (property.judge)(run),
            Some(checker) => {
                let has_finals = self.workload.as_ref().is_some_and(|one| one.has_finals());
                checker.judge(run, Beside { scenario: &self.path, registry, known, has_finals })
            }
        };
        verdict.told(run, || registry.json_forms())
    }

    /// Marks what clients asked that came when the others were done, where there are such clients.
    pub fn mark_late(&self, run: &mut Run, plan: &Plan) {
        if self.workload.as_ref().is_some_and(|clients| clients.has_finals()) {
            let is_late = |client: u64| client >= u64::from(plan.clients);
            run.operations.iter_mut().for_each(|one| one.is_late = is_late(one.client));
        }
    }

    /// Whether a plan that was read from a file is one of this scenario.
    ///
    /// # Errors
    /// Why the plan is none of this scenario.
    pub fn check(&self, plan: &Plan) -> Result<(), String> {
        if let Some(workload) = &self.workload {
            let most = workload.most();
            if !(1..=most).contains(&plan.clients) {
                return Err(format!("clients must be 1 to {most}"));
            }
            let (_, most) = workload.counts();
            if plan.operations > most {
                return Err(format!("operations must be at most the scenario's, {most}"));
            }
        } else if plan.clients > 0 {
            return Err("clients must be 0: the scenario has none".into());
        }
        if plan.choices.is_some() && self.explore.is_none() {
            return Err("choice: the scenario has no table [explore]".into());
        }
        if plan.choices.is_some() && !(plan.faults.is_empty() && plan.branches.is_empty()) {
            return Err("choice: where the order is chosen, faults are choices too".into());
        }
        self.check_faults(&plan.faults).map_err(|why| format!("fault {why}"))?;
        self.check_branches(&plan.branches)
    }

    /// A branch at a node that is not there, or of a message that has one already, is a mistake.
    /// Whether its message is sent, and its node up, shows in the run.
    fn check_branches(&self, branches: &[Branch]) -> Result<(), String> {
        if branches.len() > MAX_BRANCHES {
            return Err(format!("at most {MAX_BRANCHES} branches"));
        }
        let mut messages = BTreeSet::new();
        for (place, branch) in branches.iter().enumerate() {
            let wrong = |why: String| Err(format!("branch {}: {why}", place + 1));
            if let Some(id) = branch.node() {
                if self.place(id).is_none() {
                    return wrong(format!("there is no node {id}"));
                }
                if branch.is_of_disks() && !self.disks.contains(&id) {
                    return wrong(format!("node {id} has no data_dir: crash it"));
                }
            }
            if let Branch::Message { id, .. } = branch
                && !messages.insert(*id)
            {
                return wrong(format!("message {id} has a branch already"));
            }
            if let Some(why) = branch.excess(self.millis) {
                return wrong(why);
            }
        }
        Ok(())
    }

    /// The place of a node.
    pub fn place(&self, id: u32) -> Option<usize> {
        self.nodes.iter().position(|config| config.id.0 == id)
    }

    /// A node, for people.
    pub fn call(&self, id: u32) -> String {
        match self.hosted {
            Some(_) => format!("n{}", id.saturating_sub(1)),
            None => format!("node {id}"),
        }
    }

    /// A branch of a plan of it, for people.
    pub fn tell_branch(&self, branch: &Branch) -> String {
        branch.tell(&|id| self.call(id))
    }

    fn meets_twins(&self) -> bool {
        self.workload.as_ref().is_some_and(|clients| clients.meet_twins())
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
            if matches!(fault.kind, Kind::Twin { .. }) && !self.meets_twins() {
                return wrong(NO_TWINS.into());
            }
            if let Some(id) = fault.spared().iter().find(|id| !known(id)) {
                return wrong(format!("spares: there is no node {id}"));
            }
            // What is drawn may be of a node without a disk, where others have one: it meets none.
            let is_of_any = matches!(fault.kind, Kind::SyncError { .. } | Kind::DiskFull { .. });
            let is_drawn = is_of_any && self.ranges.are_of_disks();
            let is_named = fault.is_of_disks() && !is_drawn;
            let nodes = fault.nodes();
            if let Some(id) = nodes.iter().find(|id| is_named && !self.disks.contains(id)) {
                return wrong(format!("node {id} has no data_dir"));
            }
            if let Some(why) = fault.excess() {
                return wrong(why.into());
            }
        }
        Ok(())
    }

    /// How wrong a seed makes the nodes' clocks, by their places.
    pub fn draw_clocks(&self, seed: u64) -> Vec<(usize, ClockError)> {
        let Some(Clocks { offset_ms, drift_ppm, liar_ms }) = self.clocks else {
            return Vec::new();
        };
        let either_way = |rng: &mut Rng, most: u64| rng.below(2 * most + 1) as i64 - most as i64;
        let mut rng = Rng::stream(seed, "sim/clock/liar");
        let liar = rng.below(self.nodes.len() as u64) as usize;
        let lie = if rng.below(2) == 0 { liar_ms as i64 } else { -(liar_ms as i64) };
        let draw = |place: usize| {
            let mut rng = Rng::stream(seed, &format!("sim/clock/{}", self.nodes[place].id));
            let mut offset = either_way(&mut rng, offset_ms);
            if liar_ms > 0 && place == liar {
                offset = lie;
            }
            let drift = either_way(&mut rng, drift_ppm);
            (place, ClockError { offset_ms: offset, drift_ppm: drift })
        };
        (0..self.nodes.len()).map(draw).collect()
    }

    /// The faults of a plan of it anew, with other luck: who keeps what it has is as the seed has
    /// it. Where the scenario draws none, the plan's come with a chance of one half each, as kinds
    /// that are drawn do.
    pub fn faults_anew(&self, plan: &Plan, luck: u64) -> Vec<Fault> {
        if self.fixed.is_empty() && !self.ranges.kinds().is_empty() {
            let ids: Vec<u32> = self.nodes.iter().map(|config| config.id.0).collect();
            return self.ranges.draw_with(plan.seed, luck, &ids, self.millis, &self.disks);
        }
        let comes = |place: usize| Rng::stream(luck, &format!("fault/fixed/{place}")).below(2) == 0;
        let fixed = plan.faults.iter().enumerate().filter(|(place, _)| comes(*place));
        fixed.map(|(_, fault)| fault.clone()).collect()
    }

    /// What a seed makes of the scenario.
    pub fn plan(&self, seed: u64) -> Plan {
        let ids: Vec<u32> = self.nodes.iter().map(|config| config.id.0).collect();
        let faults = if self.fixed.is_empty() {
            self.ranges.draw(seed, &ids, self.millis, &self.disks)
        } else {
            self.fixed.clone()
        };
        let (clients, operations) = self.workload.as_ref().map_or((0, 0), |one| one.counts());
        Plan { seed, clients, operations, faults, branches: Vec::new(), choices: None }
    }
}

/// The scenario that a study brings by that name, unless there is such a file.
fn brought<'a>(path: &Path, registry: &'a Registry) -> Option<(&'a StudyPlugin, &'static Shipped)> {
    let shipped = path.to_str().and_then(|name| registry.scenario(name));
    shipped.filter(|_| !path.exists())
}

/// A config that a brought scenario names.
fn load_brought(
    path: &Path,
    named: &Path,
    study: &StudyPlugin,
    shipped: &Shipped,
    registry: &Registry,
) -> Result<Config, String> {
    let named = shipped.named(&named.to_string_lossy());
    let config = study.configs.iter().find(|config| config.path == named);
    let config = config.ok_or_else(|| format!("{}: no config {named}", path.display()))?;
    let parsed = Config::parse(Path::new(config.path), config.text.into(), registry);
    parsed.map_err(|error| error.to_string())
}

fn checkers(
    tables: Vec<checker::Settings>,
    path: &Path,
    registry: &Registry,
) -> Result<Vec<Checker>, String> {
    if tables.len() > MAX_CHECKERS {
        return Err(format!("at most {MAX_CHECKERS}"));
    }
    let mut checkers: Vec<Checker> = Vec::new();
    for table in tables {
        let checker = Checker::new(table, path, registry)?;
        if checkers.iter().any(|one| one.property() == checker.property()) {
            return Err(format!("{}: two have that name", checker.property()));
        }
        checkers.push(checker);
    }
    Ok(checkers)
}

fn resolve_bounds(
    given: &BTreeMap<String, u64>,
    registry: &Registry,
    whole_ms: u64,
) -> Result<Bounds, String> {
    let mut bounds = Bounds::default();
    for (name, value) in given {
        registry.set_bound(&mut bounds, name, *value, whole_ms)?;
    }
    Ok(bounds)
}

fn load_node(
    path: &Path,
    registry: &Registry,
    keys: &[(&str, &str, toml::Value)],
) -> Result<Config, String> {
    let mut config = Config::load(path, registry).map_err(|error| error.to_string())?;
    if !keys.is_empty() {
        config = with_keys(path, &config, registry, keys)?;
    }
    Ok(config)
}

fn with_keys(
    path: &Path,
    config: &Config,
    registry: &Registry,
    keys: &[(&str, &str, toml::Value)],
) -> Result<Config, String> {
    let text = config.show();
    let mut table: toml::Table = toml::from_str(&text).map_err(|error| error.to_string())?;
    for (protocol, key, value) in keys {
        let place = match *protocol {
            "node" => table.get_mut("node"),
            _ => table.get_mut("protocols").and_then(|table| table.get_mut(protocol)),
        };
        if let Some(table) = place.and_then(toml::Value::as_table_mut) {
            table.insert((*key).into(), value.clone());
        }
    }
    Config::parse(path, table.to_string(), registry).map_err(|error| error.to_string())
}
