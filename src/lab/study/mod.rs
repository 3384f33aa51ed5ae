//! A protocol's study: who uses it, what must hold, and what a scenario can say of both. The
//! boundary between the laboratory and what is studied in it: knows no protocol.

mod cast;
mod client;
mod invariant;
mod mishap;
mod property;
pub(crate) mod requests;
mod run;
mod seen;
mod shipped;
pub mod spec;
mod telling;
mod witness;

pub use self::cast::Cast;
pub use self::client::{Clients, Load, NoSettings, Port, Said, Workload};
pub(crate) use self::invariant::Watch;
pub use self::invariant::{Holds, Invariant, Memory, Snapshot};
pub use self::mishap::{Befell, Mishap};
pub use self::property::{
    AGREE, Bound, Bounds, Most, NOTICE, Needs, Property, Unit, Verdict, nothing_of,
};

pub use self::run::{Asked, Body, Contact, Met, Operation, Run};
pub use self::seen::{FileSeen, FrameSeen, Seen};
pub use self::shipped::Shipped;
pub use self::telling::befell_last;
pub use self::witness::{MAX_WITNESSES, Reference, TURN, Violation, Witness, ops};

/// Nanoseconds since a run's beginning, by no node's clock.
pub type Nanos = u64;

use crate::text::line_of;
use node_core::Protocol;
use serde::de::{DeserializeOwned, IntoDeserializer};
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// What is known about a protocol beside the protocol. Registered by
/// [`Registry::register_study`](crate::registry::Registry::register_study).
pub trait Study: 'static {
    /// Whose study it is.
    type Protocol: Protocol;
    /// What `[workload.NAME]` and `[workload] kind = "NAME"` name it by: its protocol's name,
    /// unless the protocol has several studies.
    const NAME: &'static str = Self::Protocol::NAME;
    /// What a scenario's `[workload.NAME]` says; [`NoSettings`] where there are no clients.
    type Settings: DeserializeOwned + Default;
    /// What must hold.
    const PROPERTIES: &'static [Property];
    /// What must hold of all live nodes at once.
    const INVARIANTS: &'static [Invariant] = &[];
    /// Scenarios that come with it, each known by its file's name.
    const SCENARIOS: &'static [Shipped] = &[];
    /// The configs that they name.
    const CONFIGS: &'static [Shipped] = &[];

    /// The clients of a scenario, from its settings and its nodes; none where these nodes have
    /// none.
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
}

/// The clients of a study, where a scenario has some; or what is wrong with the table that says so.
pub type Found = Result<Option<Box<dyn Clients>>, String>;

/// A study without its types, as a registry holds it.
#[derive(Clone, Copy)]
pub struct StudyPlugin {
    /// Its name.
    pub name: &'static str,
    /// The name of the protocol whose study it is.
    pub protocol: &'static str,
    /// What must hold.
    pub properties: &'static [Property],
    /// What must hold of all live nodes at once.
    pub invariants: &'static [Invariant],
    /// Scenarios that come with it.
    pub scenarios: &'static [Shipped],
    /// The configs that they name.
    pub configs: &'static [Shipped],
    clients: fn(&Table<'_>, &Cast<'_>) -> Found,
}

impl StudyPlugin {
    /// That of `S`.
    pub fn of<S: Study>() -> StudyPlugin {
        StudyPlugin {
            name: S::NAME,
            protocol: S::Protocol::NAME,
            properties: S::PROPERTIES,
            invariants: S::INVARIANTS,
            scenarios: S::SCENARIOS,
            configs: S::CONFIGS,
            clients: |table, cast| {
                let settings = table.read::<S::Settings>(S::NAME)?.unwrap_or_default();
                let at = |why| format!("{}: {why}", table.path.display());
                S::clients(settings, cast).map_err(at)
            },
        }
    }

    /// All that can be asked of a run: its properties, and among them those that are invariants.
    pub fn judged(&self) -> impl Iterator<Item = &'static Property> + use<> {
        let invariants = self.invariants.iter().map(|invariant| &invariant.property);
        self.properties.iter().chain(invariants)
    }

    /// See [`Study::clients`].
    ///
    /// # Errors
    /// What is wrong with the table, in one line.
    pub fn clients(&self, table: &Table<'_>, cast: &Cast<'_>) -> Found {
        (self.clients)(table, cast)
    }
}

/// A scenario's text, for the tables that studies read.
pub struct Table<'a> {
    /// Its file.
    pub path: &'a Path,
    /// The text.
    pub text: &'a str,
}

impl Table<'_> {
    /// The kind that the table `[workload]` says it is of, where it says so.
    pub(crate) fn kind(&self) -> Result<Option<String>, String> {
        let document = DeTable::parse(self.text).map_err(|error| self.error(&error))?;
        let Some(workload) = document.get_ref().get("workload") else { return Ok(None) };
        let DeValue::Table(table) = workload.get_ref() else { return Ok(None) };
        let kind = table.get("kind").and_then(|kind| kind.get_ref().as_str());
        Ok(kind.map(str::to_string))
    }

    /// The table `[workload]` itself, but for its `kind`.
    pub(crate) fn whole<T: DeserializeOwned>(&self) -> Result<Option<T>, String> {
        let document = DeTable::parse(self.text).map_err(|error| self.error(&error))?;
        let Some(workload) = document.get_ref().get("workload") else { return Ok(None) };
        let mut workload = workload.clone();
        let DeValue::Table(table) = workload.get_mut() else { return Ok(None) };
        table.remove("kind");
        let read = T::deserialize(workload.into_deserializer());
        read.map(Some).map_err(|error| self.error(&error))
    }

    /// The table `[workload.NAME]`, or `[workload]` of that kind, if it is there.
    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, String> {
        if self.kind()?.as_deref() == Some(name) {
            return self.whole();
        }
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
