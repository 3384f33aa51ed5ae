//! The forms of what the page asks: a command's JSON. What cannot be read is refused with a reason.

use node_lab::sim::branch::Branch;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What a command was given.
///
/// # Errors
/// It is none of that form, in one line.
pub(super) fn given<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("the command is none: {error}"))
}

/// A scenario: the name that it began as, and its text; without, that of the file.
#[derive(Deserialize)]
pub(super) struct Named {
    pub name: String,
    pub text: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct SetFault {
    pub text: String,
    pub family: String,
    pub low: u64,
    pub high: u64,
}

#[derive(Deserialize)]
pub(super) struct SaveAs {
    pub name: String,
    pub text: String,
    pub wanted: String,
}

#[derive(Deserialize)]
pub(super) struct Seeds {
    #[serde(flatten)]
    pub named: Named,
    pub first: u64,
    pub last: u64,
}

/// A search of all orders, for so many seconds at most.
#[derive(Deserialize)]
pub(super) struct Bounded {
    #[serde(flatten)]
    pub named: Named,
    pub seconds: u64,
}

#[derive(Deserialize)]
pub(super) struct OneSeed {
    #[serde(flatten)]
    pub named: Named,
    /// Text: numbers of JavaScript are exact to 2^53 only.
    pub seed: String,
}

#[derive(Deserialize)]
pub(super) struct OfJob {
    pub job: u64,
    #[serde(default)]
    pub from: usize,
}

#[derive(Deserialize)]
pub(super) struct OfRun {
    pub run: usize,
}

/// A run's plan with these branches instead of its own.
#[derive(Deserialize)]
pub(super) struct Fork {
    pub run: usize,
    pub branches: Vec<Branch>,
}

#[derive(Deserialize)]
pub(super) struct Pair {
    pub one: usize,
    pub other: usize,
}

/// A run that was lost; with fewer points and runs, for who is in a hurry.
#[derive(Deserialize)]
pub(super) struct Lost {
    pub run: usize,
    pub points: Option<usize>,
    pub runs: Option<u32>,
}

#[derive(Deserialize)]
pub(super) struct Control {
    pub node: String,
    pub what: String,
}

#[derive(Deserialize)]
pub(super) struct SavePlan {
    pub run: usize,
    pub wanted: String,
}
