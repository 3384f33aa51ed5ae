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
pub mod program;
pub mod set;
#[cfg(test)]
mod testing;
pub mod topology;
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
}

/// What the tests of Maelstrom judge of a workload; none where there is no such workload.
pub fn judged(workload: &str) -> Option<&'static [&'static str]> {
    Some(match workload {
        "echo" => &["echoes", "answers_in_form"],
        "unique-ids" => &["unique_ids", "answers_in_form"],
        "broadcast" | "g-set" => {
            &["broadcast_delivers", "no_phantoms", "no_duplicates", "answers_in_form"]
        }
        "g-counter" | "pn-counter" => &["counter_sums", "answers_in_form"],
        "lin-kv" => &["lin_kv_linearizable", "answers_in_form"],
        "kafka" => &[
            "kafka_no_lost_writes",
            "kafka_offsets_monotonic",
            "kafka_no_skips",
            "kafka_consistent_offsets",
            "kafka_commits",
            "answers_in_form",
        ],
        "txn-list-append" | "txn-rw-register" => &["txn_isolated", "answers_in_form"],
        _ => return None,
    })
}
