//! What is registered: protocols, gateways and studies, by name. The plugin point: those of this
//! tree and those of somebody else's crate come in by [`Registry::register_study`] alike.

pub use crate::plugins::{DynGateway, JSON, JsonForm, NATIVE, Plugins, TypedConfig};

use crate::explain::RunTable;
use crate::study::{
    Bounds, Cast, Clients, Invariant, Property, Shipped, Study, StudyPlugin, Table, requests,
};
use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::path::Path;

/// The protocols, gateways and studies that configs and scenarios can name.
#[derive(Default)]
pub struct Registry {
    plugins: Plugins,
    studies: Vec<StudyPlugin>,
    tables: Vec<RunTable>,
}

impl Deref for Registry {
    type Target = Plugins;

    fn deref(&self) -> &Plugins {
        &self.plugins
    }
}

impl DerefMut for Registry {
    fn deref_mut(&mut self) -> &mut Plugins {
        &mut self.plugins
    }
}

impl Registry {
    /// Nothing yet.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Adds a protocol together with its study: what a scenario can say of its clients, and the
    /// properties that can be asked of a run of it.
    ///
    /// # Panics
    /// When the protocol's name or tag, or the name of a property or scenario, is taken.
    pub fn register_study<S: Study>(&mut self) {
        let study = StudyPlugin::of::<S>();
        let (name, protocol) = (study.name, study.protocol);
        assert!(self.studies.iter().all(|one| one.name != name), "there is already a study {name}");
        // A protocol may have several studies.
        if self.studies.iter().all(|one| one.protocol != protocol) {
            self.register::<S::Protocol>();
        }
        for property in study.judged() {
            let name = property.name;
            assert!(self.property(name).is_none(), "there is already a property {name}");
        }
        for scenario in study.scenarios {
            let name = scenario.name();
            assert!(self.scenario(name).is_none(), "there is already a scenario {name}");
        }
        self.studies.push(study);
    }

    /// Adds a table that `node explain` can show of a run.
    ///
    /// # Panics
    /// When its name is taken.
    pub fn register_table(&mut self, table: RunTable) {
        let name = table.name;
        assert!(self.tables.iter().all(|one| one.name != name), "there is already a table {name}");
        self.tables.push(table);
    }

    /// The tables, in the order in which they were registered.
    pub fn tables(&self) -> &[RunTable] {
        &self.tables
    }

    /// The studies, in the order in which they were registered.
    pub fn studies(&self) -> &[StudyPlugin] {
        &self.studies
    }

    /// All properties, and among them those that are invariants.
    pub fn properties(&self) -> impl Iterator<Item = &'static Property> {
        self.studies.iter().flat_map(StudyPlugin::judged)
    }

    /// The scenario of that name that comes with a study, and the study.
    pub fn scenario(&self, name: &str) -> Option<(&StudyPlugin, &'static Shipped)> {
        let of = |study: &'_ StudyPlugin| study.scenarios.iter().find(|one| one.name() == name);
        self.studies.iter().find_map(|study| Some((study, of(study)?)))
    }

    /// All invariants.
    pub fn invariants(&self) -> impl Iterator<Item = &'static Invariant> {
        self.studies.iter().flat_map(|study| study.invariants)
    }

    /// Sets a bound by its name, in its own unit, in a run of so many milliseconds.
    ///
    /// # Errors
    /// When no property is held against it, or it is none that it can be, in one line.
    pub fn set_bound(
        &self,
        bounds: &mut Bounds,
        name: &str,
        value: u64,
        run_ms: u64,
    ) -> Result<(), String> {
        let all = || self.properties().flat_map(|property| property.bounds);
        let bound = all().find(|bound| bound.name == name).ok_or_else(|| {
            let names: BTreeSet<&str> = all().map(|bound| bound.name).collect();
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            format!("{name}: no property is held against it; there are {names}")
        })?;
        bounds.set(bound, value, run_ms)
    }

    /// The property of that name.
    pub fn property(&self, name: &str) -> Option<&'static Property> {
        self.properties().find(|property| property.name == name)
    }

    /// The clients of a scenario whose text is given: those of the study whose table
    /// `[workload.NAME]` it has, or of the one study that has clients for these nodes. None where
    /// nodes act by themselves.
    ///
    /// # Errors
    /// What is wrong with the tables, in one line.
    pub(crate) fn clients(
        &self,
        path: &Path,
        text: &str,
        named: &[String],
        cast: &Cast<'_>,
    ) -> Result<Option<Chosen>, String> {
        let table = Table { path, text };
        let at = |why: String| format!("{}: {why}", path.display());
        let kind = table.kind()?;
        if kind.as_deref() == Some(requests::KIND)
            && let Some(settings) = table.whole::<requests::Settings>()?
        {
            let clients = settings.resolve(cast).map_err(|why| at(format!("workload: {why}")))?;
            return Ok(Some((clients.protocol(), Box::new(clients))));
        }
        let studies = &self.studies;
        let kinds = kind.clone().map(|kind| vec![kind]);
        let named = kinds.as_deref().unwrap_or(named);
        if let Some(other) =
            named.iter().find(|name| studies.iter().all(|study| study.name != **name))
        {
            let names: Vec<&str> = studies.iter().map(|study| study.name).collect();
            let names = names.join(", ");
            let requests = requests::KIND;
            if let Some(kind) = &kind {
                return Err(at(format!(
                    "workload: kind: there is no {kind}; there are {requests}, {names}"
                )));
            }
            return Err(at(format!("workload.{other}: no protocol's study; there are {names}")));
        }
        let runs =
            |name: &str| cast.nodes.iter().any(|node| node.protocols.iter().any(|p| p == name));
        let mut found: Option<Chosen> = None;
        for study in studies {
            let is_named = named.iter().any(|name| name == study.name);
            let is_meant = is_named || named.is_empty() && runs(study.protocol);
            if !is_meant {
                continue;
            }
            match (study.clients(&table, cast)?, found.as_ref()) {
                (Some(clients), None) => found = Some((study.name, clients)),
                (Some(_), Some((other, _))) => {
                    let name = study.name;
                    return Err(at(format!(
                        "workload: {other} and {name} both have clients for these nodes, and a run has \
                         those of one: name it, as [workload.{name}]"
                    )));
                }
                (None, _) if is_named => {
                    let name = study.name;
                    return Err(at(format!(
                        "workload.{name}: what the nodes run has no simulated clients of {name}"
                    )));
                }
                (None, _) => {}
            }
        }
        Ok(found)
    }
}

/// Clients, and the protocol whose study they are of.
pub(crate) type Chosen = (&'static str, Box<dyn Clients>);
