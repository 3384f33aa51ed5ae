//! Workloads for hosted programs, through the same door as anybody's: what clients ask, what must
//! hold of the answers, and the checkers that say whether it did. Knows no process.

#![warn(missing_docs)]

use node_lab::registry::Registry;

/// Adds all of them.
pub fn register(registry: &mut Registry) {
    registry.register::<node_lab::hosted::Program>();
}
