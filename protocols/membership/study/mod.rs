//! The study of ranks, and of the list of who is there.

mod agreement;
mod members;

use node_lab::study::{
    Bound, Invariant, Most, NOTICE, Needs, NoSettings, Property, Run, Shipped, Study, Unit,
};
use node_protocols::core::FactKind;
use node_protocols::facts::{Listed, Rank};
use node_protocols::membership::Membership;

/// Ranks for ever, and a list by heartbeats.
pub struct MembershipStudy;

const fn time(name: &'static str, default: u64, statement: &'static str) -> Bound {
    Bound { name, unit: Unit::Millis, default, most: Most::Run, statement }
}

/// How often a node says that it is there.
pub const HEARTBEAT: Bound = time("heartbeat_ms", 5_000, "how often a node says that it is there");
/// How long a silent node stays on the list.
pub const TIMEOUT: Bound =
    time("timeout_ms", 30_000, "how long a node that says nothing stays on the list");
/// How long a message is on its way.
pub const DELAY: Bound = time("delay_ms", 100, "how long a message is on its way");

fn publish_ranks(history: &Run) -> bool {
    history.saw(|what| what.read::<Rank>().is_some() || what.read::<Listed>().is_some())
}

impl Study for MembershipStudy {
    type Protocol = Membership;
    type Settings = NoSettings;
    const SCENARIOS: &'static [Shipped] = shipped! {
        "sim/membership.toml"
    };
    const CONFIGS: &'static [Shipped] = shipped! {
        "membership/reference.toml"
        "membership/server-1.toml"
        "membership/server-2.toml"
        "membership/server-3.toml"
        "membership/server-4.toml"
    };
    const PROPERTIES: &'static [Property] = &[
        Property {
            name: "ranks_unique_and_stable",
            statement: "a node has one rank for ever, and a rank one node",
            source: "document 002",
            needs: Needs::NODES,
            bounds: &[],
            is_promised: true,
            missing: |cast| cast.lacks_publisher(FactKind::of::<Rank>()),
            shows: publish_ranks,
            judge: members::ranks_unique_and_stable,
        },
        Property {
            name: "death_noticed_in_time",
            statement: "who dies is off the list after timeout_ms, less what had passed since its \
                        last heartbeat, and nobody else, not even when the reference server was \
                        held up; who comes back is on it again",
            source: "document 002; Chandra and Toueg: Unreliable Failure Detectors for Reliable \
                     Distributed Systems, JACM 43(2), 1996",
            needs: Needs::NODES,
            bounds: &[HEARTBEAT, TIMEOUT, DELAY, NOTICE],
            // How long it takes is the scenario's to say.
            is_promised: false,
            missing: |cast| cast.lacks_publisher(FactKind::of::<Listed>()),
            shows: publish_ranks,
            judge: members::death_noticed_in_time,
        },
    ];

    const INVARIANTS: &'static [Invariant] = &[Invariant {
        is_evidence: agreement::could_disagree,
        ..Invariant::of::<Membership>(
            "members_agree_on_ranks",
            "no two live nodes know one node by two ranks, or two nodes by one rank",
            "document 002",
            agreement::members_agree_on_ranks,
        )
    }];
}
