//! Runs beside each other: a plan's trace as text, and where two traces part. Knows no protocol.

use super::plan::Plan;
use super::run::{Outcome, run};
use super::scenario::Scenario;
use super::tracer::Tracer;
use crate::registry::Registry;
use std::io::{self, Write};
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

/// A trace in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
