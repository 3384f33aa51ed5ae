//! Runs beside each other: a plan's trace as text, and where two traces part. Knows no protocol.

use super::plan::Plan;
use super::run::{Outcome, run};
use super::scenario::Scenario;
use super::tracer::Tracer;
use super::world::Nanos;
use crate::check::describe::Millis;
use crate::registry::Registry;
use serde_json::Value;
use std::fmt;
use std::io::{self, BufRead, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Runs a plan, and answers its trace too: lines of JSON, each with its end.
pub fn traced(
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    plan: &Plan,
) -> (String, Outcome) {
    let lines = Lines::default();
    let outcome = run(scenario, registry, plan, Tracer::to(Box::new(lines.clone())));
    let bytes = std::mem::take(&mut *lines.0.lock().unwrap_or_else(PoisonError::into_inner));
    // Lines are JSON, which is UTF-8.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    (text, outcome)
}

/// Where two traces part.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// The number of the line, from 0: all before it are the same in both.
    pub line: usize,
    /// When, in nanoseconds: the earlier of both.
    pub at_ns: Nanos,
    /// What the one has there, without what differs in name alone; none where it is over.
    pub one: Option<Value>,
    /// What the other has there.
    pub other: Option<Value>,
}

/// The first lines of two traces that differ in more than what names messages; none when none do.
///
/// # Errors
/// A trace cannot be read.
pub fn first_difference(
    one: &mut impl BufRead,
    other: &mut impl BufRead,
) -> io::Result<Option<Difference>> {
    let (mut a, mut b) = (String::new(), String::new());
    for line in 0.. {
        a.clear();
        b.clear();
        if one.read_line(&mut a)? + other.read_line(&mut b)? == 0 {
            break;
        }
        if a == b {
            continue;
        }
        let (first, second) = (essence(&a), essence(&b));
        if first != second {
            let at = |line: &Option<Value>| line.as_ref().and_then(|line| line["at"].as_u64());
            let at_ns = at(&first).into_iter().chain(at(&second)).min().unwrap_or_default();
            return Ok(Some(Difference { line, at_ns, one: first, other: second }));
        }
    }
    Ok(None)
}

/// An event without what names its message, and without what is derived from that; none of nothing.
fn essence(line: &str) -> Option<Value> {
    if line.is_empty() {
        return None;
    }
    let mut event: Value = serde_json::from_str(line).unwrap_or(Value::Null);
    if let Some(event) = event.as_object_mut() {
        event.remove("digest");
        for key in ["label", "message"] {
            let text = event.get(key).and_then(Value::as_str).map(str::to_string);
            let parsed = text.and_then(|text| serde_json::from_str::<Value>(&text).ok());
            if let Some(parsed) = parsed {
                event.insert(key.into(), parsed);
            }
            if let Some(message) = event.get_mut(key).and_then(Value::as_object_mut) {
                message.remove("ids");
            }
        }
    }
    Some(event)
}

impl Difference {
    /// Whose event is the first that differs: a node by its name or id, or clients.
    pub fn whose(&self) -> String {
        let event = self.one.as_ref().or(self.other.as_ref());
        let node = event.and_then(|event| event.get("name").or(event.get("node")));
        node.map_or_else(|| "clients".to_string(), |node| format!("node {node}"))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = |line: &Option<Value>| match line {
            Some(line) => line.to_string(),
            None => "nothing: the run is over".to_string(),
        };
        let (whose, at) = (self.whose(), Millis(self.at_ns));
        writeln!(f, "the first event that differs is of {whose}, at {at}:")?;
        write!(f, "  {}\n  {}", what(&self.one), what(&self.other))
    }
}

/// A trace in memory.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// What was written.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
