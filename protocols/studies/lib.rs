//! The studies of this tree's protocols: what is registered through the same door as anybody's.

/// Files of `configs/`, by their paths there.
macro_rules! shipped {
    ($($path:literal)*) => {
        &[$(node_lab::study::Shipped {
            path: $path,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/", $path)),
        }),*]
    };
}

#[path = "../berkeley/study/mod.rs"]
pub mod berkeley;
#[path = "../board/study/mod.rs"]
pub mod board;
#[path = "../bully/study/mod.rs"]
pub mod bully;
#[path = "../kv_replication/study/mod.rs"]
pub mod kv_replication;
#[path = "../lamport/study/mod.rs"]
pub mod lamport;
#[path = "../lottery/study/mod.rs"]
pub mod lottery;
#[path = "../membership/study/mod.rs"]
pub mod membership;

use node_lab::registry::Registry;
use node_protocols::board::Nats;
use node_protocols::echo::{Echo, EchoBytes};
use node_protocols::kv_replication::Resp;
use node_protocols::lottery::LotteryText;

/// The protocols of this tree, their gateways, their studies, and the studies' tables.
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.register::<Echo>();
    registry.register_gateway::<EchoBytes>();
    registry.register_study::<kv_replication::StoreStudy>();
    registry.register_gateway::<Resp>();
    registry.register_study::<lamport::LamportStudy>();
    registry.register_study::<bully::BullyStudy>();
    registry.register_table(bully::elections::TABLE);
    registry.register_study::<berkeley::BerkeleyStudy>();
    registry.register_study::<membership::MembershipStudy>();
    registry.register_study::<board::BoardStudy>();
    registry.register_gateway::<Nats>();
    registry.register_study::<lottery::LotteryStudy>();
    registry.register_gateway::<LotteryText>();
    node_workloads::register(&mut registry);
    registry
}

#[cfg(test)]
use node_lab::study::{Property, Run, Verdict};

/// A property of this tree.
#[cfg(test)]
pub(crate) fn property(name: &str) -> &'static Property {
    registry().property(name).expect("a property of this tree")
}

/// The verdict on a property of this tree.
#[cfg(test)]
pub(crate) fn check(name: &str, run: &Run) -> Verdict {
    (property(name).judge)(run)
}

#[cfg(test)]
mod traces;

#[cfg(test)]
mod tests {
    use super::*;

    /// What nothing could have broken is not held.
    #[test]
    fn an_empty_run_shows_nothing_of_any_property() {
        for property in registry().properties() {
            let verdict = (property.judge)(&Run::default());
            assert!(matches!(verdict, Verdict::Unknown { .. }), "{property}: {verdict:?}");
        }
    }
}
