//! Plans: runs to be, as data. A seed makes one of a scenario, and a file can hold one.

use super::branch::Branch;
use super::fault::Fault;
use super::moves::Choice;
use crate::study::Load;
use crate::text::line_of;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

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
    /// What goes otherwise from when on.
    #[serde(default, rename = "branch", skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<Branch>,
    /// Where the order is chosen: at which steps something else is next than what would be by
    /// itself, in the order of steps.
    #[serde(default, rename = "choice", skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<Choice>>,
}

/// What is known of the plan of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Known {
    /// What it was drawn from.
    pub seed: Option<u64>,
    /// How many clients it began with.
    pub clients: Option<u32>,
}

impl Plan {
    /// All of it.
    pub fn known(&self) -> Known {
        Known { seed: Some(self.seed), clients: Some(self.clients) }
    }

    /// What it asks of the clients.
    pub fn load(&self) -> Load {
        Load { seed: self.seed, clients: self.clients, operations: self.operations }
    }
}

/// What a scenario's or a plan's text says of a `T`, or where it is wrong.
///
/// # Errors
/// The line, and what is wrong with it.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = line_of(text.as_bytes(), at);
        format!("{}:{line}: {}", path.display(), error.message().replace('\n', "; "))
    })
}
