//! Measures: properties that hold a number of a run against a bound, with a bound of the
//! assignment's own. Knows no submission.

use super::exchange::Measured;
use node_lab::registry::Registry;
use node_lab::sim::scenario::Scenario;
use node_lab::study::{Bounds, Property, Run, Verdict};

/// The longest run of which a measure is taken, in milliseconds: a scenario's.
const LONGEST_MS: u64 = 7_200_000;

/// The property that holds a measure against a bound.
pub fn measured_by(registry: &Registry, measure: &str) -> Option<&'static Property> {
    let has = |one: &&'static Property| one.bounds.iter().any(|bound| bound.name == measure);
    registry.properties().find(has)
}

/// The bounds of a scenario with that measure's set.
///
/// # Errors
/// There is no such measure, or it cannot be that.
pub fn bounds_with(
    registry: &Registry,
    scenario: &Scenario,
    measure: &str,
    at_most: u64,
) -> Result<Bounds, String> {
    let mut bounds = scenario.bounds.clone();
    registry.set_bound(&mut bounds, measure, at_most, LONGEST_MS)?;
    Ok(bounds)
}

/// What came of measures in a run.
pub fn measured(run: &mut Run, measures: &[(&'static Property, Bounds)]) -> Vec<Measured> {
    let one = |(property, bounds): &(&'static Property, Bounds)| {
        run.bounds = bounds.clone();
        match (property.judge)(run) {
            Verdict::Held => Measured::Kept,
            Verdict::Violated(found) => Measured::Exceeded(found.why),
            Verdict::Unknown { why } | Verdict::Undecided { why } => Measured::Nothing(why),
        }
    };
    measures.iter().map(one).collect()
}
