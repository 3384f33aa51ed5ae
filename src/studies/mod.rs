//! The studies of this tree's protocols: what is registered through the same door as anybody's.

pub mod berkeley;
pub mod board;
pub mod bully;
pub mod kv_replication;
pub mod lamport;
pub mod lottery;
pub mod membership;

use crate::registry::Registry;
use node_protocols::board::Nats;
use node_protocols::echo::{Echo, EchoBytes};
use node_protocols::kv_replication::Resp;
use node_protocols::lottery::LotteryText;

/// The protocols of this tree, their gateways and their studies.
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.register::<Echo>();
    registry.register_gateway::<EchoBytes>();
    registry.register_study::<kv_replication::StoreStudy>();
    registry.register_gateway::<Resp>();
    registry.register_study::<lamport::LamportStudy>();
    registry.register_study::<bully::BullyStudy>();
    registry.register_study::<berkeley::BerkeleyStudy>();
    registry.register_study::<membership::MembershipStudy>();
    registry.register_study::<board::BoardStudy>();
    registry.register_gateway::<Nats>();
    registry.register_study::<lottery::LotteryStudy>();
    registry.register_gateway::<LotteryText>();
    registry
}

#[cfg(test)]
use crate::study::{Property, Run, Verdict};

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
