//! A protocol's study: who uses it, what must hold, and what a scenario can say of both. The boundary
//! between the laboratory and what is studied in it: knows no protocol.

mod cast;
mod client;
mod invariant;
mod lines;
mod property;
mod run;

pub use self::cast::Cast;
pub use self::client::{Clients, NoSettings, Port, Said, Workload};
pub(crate) use self::invariant::Watch;
pub use self::invariant::{Invariant, Snapshot};
pub use self::lines::{Lines, ReadError, Taken, read_lines};
pub use self::property::{
    AGREE, Bound, Bounds, Most, NOTICE, Needs, Property, Unit, Verdict, Violation,
};

pub use self::run::{Asked, Body, Contact, Met, Operation, Run};

use crate::text::line_of;
use node_core::Protocol;
use serde::de::{DeserializeOwned, IntoDeserializer};
use std::io::{self, Write};
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// What is known about a protocol beside the protocol. Registered by
/// [`Registry::register_study`](crate::registry::Registry::register_study).
pub trait Study: 'static {
    /// Whose study it is.
    type Protocol: Protocol;
    /// What a scenario's `[workload.NAME]` says; [`NoSettings`] where there are no clients.
    type Settings: DeserializeOwned + Default;
    /// What must hold.
    const PROPERTIES: &'static [Property];
    /// What must hold of all live nodes at once.
    const INVARIANTS: &'static [Invariant] = &[];

    /// The clients of a scenario, from its settings and its nodes; none where these nodes have none.
    ///
    /// # Errors
    /// Which setting breaks which rule, in one line.
    fn clients(
        settings: Self::Settings,
        cast: &Cast<'_>,
    ) -> Result<Option<Box<dyn Clients>>, String> {
        let _ = (settings, cast);
        Ok(None)
    }

    /// Reads files of runs in a form of the study's own; none where it has none.
    fn lines() -> Option<Box<dyn Lines>> {
        None
    }

    /// Writes a run in that form.
    ///
    /// # Errors
    /// Those of `out`.
    fn write_lines(run: &Run, out: &mut dyn Write) -> io::Result<()> {
        let _ = (run, out);
        Ok(())
    }
}

/// The clients of a study, where a scenario has some; or what is wrong with the table that says so.
type Found = Result<Option<Box<dyn Clients>>, String>;

/// A study without its types, as a registry holds it.
#[derive(Clone, Copy)]
pub struct StudyPlugin {
    /// The protocol's name.
    pub name: &'static str,
    /// What must hold.
    pub properties: &'static [Property],
    /// What must hold of all live nodes at once.
    pub invariants: &'static [Invariant],
    clients: fn(&Table<'_>, &Cast<'_>) -> Found,
    lines: fn() -> Option<Box<dyn Lines>>,
    write_lines: fn(&Run, &mut dyn Write) -> io::Result<()>,
}

impl StudyPlugin {
    /// That of `S`.
    pub fn of<S: Study>() -> StudyPlugin {
        StudyPlugin {
            name: S::Protocol::NAME,
            properties: S::PROPERTIES,
            invariants: S::INVARIANTS,
            clients: |table, cast| {
                let name = S::Protocol::NAME;
                let settings = table.read::<S::Settings>(name)?.unwrap_or_default();
                let at = |why| format!("{}: {why}", table.path.display());
                S::clients(settings, cast).map_err(at)
            },
            lines: S::lines,
            write_lines: S::write_lines,
        }
    }

    /// See [`Study::lines`].
    pub fn lines(&self) -> Option<Box<dyn Lines>> {
        (self.lines)()
    }

    /// See [`Study::write_lines`].
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_lines(&self, run: &Run, out: &mut dyn Write) -> io::Result<()> {
        (self.write_lines)(run, out)
    }
}

/// A scenario's text, for the tables that studies read.
struct Table<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Table<'_> {
    /// The table `[workload.NAME]`, if it is there.
    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, String> {
        let document = DeTable::parse(self.text).map_err(|error| self.error(&error))?;
        let Some(workload) = document.get_ref().get("workload") else { return Ok(None) };
        let DeValue::Table(tables) = workload.get_ref() else { return Ok(None) };
        let Some(table) = tables.get(name) else { return Ok(None) };
        let read = T::deserialize(table.clone().into_deserializer());
        read.map(Some).map_err(|error| self.error(&error))
    }

    fn error(&self, error: &toml::de::Error) -> String {
        let at = error.span().map_or(0, |span| span.start);
        let line = line_of(self.text.as_bytes(), at);
        format!("{}:{line}: {}", self.path.display(), error.message().replace('\n', "; "))
    }
}

/// Clients, and the protocol whose study they are of.
pub(crate) type Chosen = (&'static str, Box<dyn Clients>);

/// The clients of a scenario whose text is given: those of the study whose table `[workload.NAME]` it
/// has, or of the one study that has clients for these nodes. None where nodes act by themselves.
///
/// # Errors
/// What is wrong with the tables, in one line.
pub(crate) fn clients(
    path: &Path,
    text: &str,
    named: &[String],
    cast: &Cast<'_>,
) -> Result<Option<Chosen>, String> {
    let table = Table { path, text };
    let at = |why: String| format!("{}: {why}", path.display());
    let studies = cast.registry.studies();
    if let Some(other) = named.iter().find(|name| studies.iter().all(|study| study.name != **name))
    {
        let names: Vec<&str> = studies.iter().map(|study| study.name).collect();
        let names = names.join(", ");
        return Err(at(format!("workload.{other}: no protocol's study; there are {names}")));
    }
    let runs = |name: &str| cast.nodes.iter().any(|node| node.protocols.iter().any(|p| p == name));
    let mut found: Option<Chosen> = None;
    for study in studies {
        let is_named = named.iter().any(|name| name == study.name);
        let is_meant = is_named || named.is_empty() && runs(study.name);
        if !is_meant {
            continue;
        }
        match ((study.clients)(&table, cast)?, found.as_ref()) {
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
