//! Workloads for hosted programs, through the same door as anybody's: what clients ask, what must
//! hold of the answers, and the checkers that say whether it did. Knows no process.

#![warn(missing_docs)]

/// Scenarios by their paths in `configs/`.
macro_rules! shipped {
    ($($path:literal)*) => {
        &[$(node_lab::study::Shipped {
            path: $path,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/", $path)),
        }),*]
    };
}

pub mod broadcast;
pub mod counters;
pub mod crew;
pub mod echo;
pub mod errors;
pub mod g_set;
pub mod json;
pub mod kafka;
pub mod lin_kv;
pub mod program;
pub mod set;
#[cfg(test)]
mod testing;
pub mod topology;
pub mod txn;
pub mod txns;
pub mod unique_ids;

use node_lab::registry::Registry;

/// Adds all of them.
pub fn register(registry: &mut Registry) {
    registry.register_study::<program::ProgramStudy>();
    registry.register_study::<echo::Echo>();
    registry.register_study::<unique_ids::UniqueIds>();
    registry.register_study::<broadcast::Broadcast>();
    registry.register_study::<g_set::GSet>();
    registry.register_study::<counters::GCounter>();
    registry.register_study::<counters::PnCounter>();
    registry.register_study::<kafka::Kafka>();
    registry.register_study::<lin_kv::LinKv>();
    registry.register_study::<txns::ListAppend>();
    registry.register_study::<txns::RwRegister>();
}
