//! What tests here share: protocols to register, and properties that none judges.

use crate::registry::Registry;
use crate::study::{Needs, Property, Verdict};
use node_protocols::berkeley::Berkeley;
use node_protocols::board::{Board, Nats};
use node_protocols::bully::Bully;
use node_protocols::echo::{Echo, EchoBytes};
use node_protocols::kv_replication::{KvReplication, Resp};
use node_protocols::lamport::Lamport;
use node_protocols::lottery::{Lottery, LotteryText};
use node_protocols::membership::Membership;

/// The protocols and gateways of this tree.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.register::<Berkeley>();
    registry.register::<Board>();
    registry.register_gateway::<Nats>();
    registry.register::<Bully>();
    registry.register::<Echo>();
    registry.register_gateway::<EchoBytes>();
    registry.register::<KvReplication>();
    registry.register_gateway::<Resp>();
    registry.register::<Lamport>();
    registry.register::<Lottery>();
    registry.register_gateway::<LotteryText>();
    registry.register::<Membership>();
    registry
}

const fn nothing(name: &'static str) -> Property {
    Property {
        name,
        statement: "",
        source: "",
        needs: Needs::NOTHING,
        bounds: &[],
        is_promised: true,
        missing: |_| None,
        shows: |_| true,
        judge: |_| Verdict::Held,
    }
}

/// Two properties.
pub(crate) static PROPERTIES: [Property; 2] = [nothing("monotonic_reads"), nothing("linearizable")];

/// One of them.
pub(crate) fn property(name: &str) -> &'static Property {
    PROPERTIES.iter().find(|property| property.name == name).expect("one of the two")
}
