//! The study of elections: that nodes agree on who coordinates.

mod election;
pub mod elections;
mod elects;
mod invented;
mod witnesses;

pub use self::elects::Elects;

use node_lab::study::{
    AGREE, Bound, Cast, Invariant, Most, Needs, NoSettings, Property, Run, Shipped, Study, Unit,
    Verdict,
};
use node_protocols::bully::Bully;
use node_protocols::core::FactKind;
use node_protocols::facts::Coordinator;

/// Elections by the bully algorithm.
pub struct BullyStudy;

/// How long two nodes may both hold themselves coordinator.
pub const HANDOVER: Bound = Bound {
    name: "handover_ms",
    unit: Unit::Millis,
    default: 1_000,
    most: Most::Run,
    statement: "while a coordinator takes over from a live one, both may hold themselves \
                coordinator for this long",
};
/// For how long a node that was heard from counts as live.
pub const ALIVE: Bound = Bound {
    name: "alive_ms",
    unit: Unit::Millis,
    default: 1_000,
    most: Most::Run,
    statement: "who was heard of within this time is taken to live, as long as its link is up: T \
                of the election",
};

const SOURCE: &str = "Garcia-Molina: Elections in a Distributed Computing System, IEEE \
                      Transactions on Computers C-31(1), 1982";

/// A property of elections that is promised.
const fn promised(
    name: &'static str,
    statement: &'static str,
    judge: fn(&Run) -> Verdict,
) -> Property {
    Property {
        name,
        statement,
        source: SOURCE,
        needs: Needs::NODES,
        bounds: &[AGREE],
        is_promised: true,
        missing: elect,
        shows: |history| history.saw(|what| what.read::<Coordinator>().is_some()),
        judge,
    }
}

fn elect(cast: &Cast<'_>) -> Option<String> {
    cast.lacks_publisher(FactKind::of::<Coordinator>())
}

impl Study for BullyStudy {
    type Protocol = Bully;
    type Settings = NoSettings;
    const SCENARIOS: &'static [Shipped] = shipped! {
        "sim/explore/election-3.toml"
        "sim/election-1000.toml"
        "sim/election-all.toml"
        "sim/election-crash.toml"
        "sim/election-deaf.toml"
        "sim/election-loss.toml"
        "sim/election-partition.toml"
        "sim/election-slow.toml"
    };
    const CONFIGS: &'static [Shipped] = shipped! {
        "election/node-1.toml"
        "election/node-2.toml"
        "election/node-3.toml"
        "election/node-4.toml"
    };
    const PROPERTIES: &'static [Property] = &[
        promised(
            "election_terminates",
            "left alone for agree_ms, every live node that elects holds a live coordinator that it \
             can reach",
            election::election_terminates,
        ),
        promised(
            "one_coordinator_per_component",
            "left alone for agree_ms, all nodes that can reach each other hold the same \
             coordinator, in the same reign",
            election::one_coordinator_per_component,
        ),
        promised(
            "highest_live_id_wins",
            "left alone for agree_ms, the coordinator is the highest node within reach, by id, or \
             by rank where elections go by rank",
            election::highest_live_id_wins,
        ),
        Property {
            bounds: &[HANDOVER],
            is_promised: false,
            ..promised(
                "one_coordinator",
                "no two live nodes hold themselves coordinator for longer than handover_ms; not \
                 promised under partition, nor when messages take longer than the timeout",
                election::one_coordinator,
            )
        },
        Property {
            source: "Gray and Cheriton: Leases: An Efficient Fault-Tolerant Mechanism for \
                     Distributed File Cache Consistency, SOSP 1989",
            bounds: &[],
            // A short run has one reign.
            shows: |history| {
                let verdict = election::reigns_go_forward(history);
                matches!(verdict, Verdict::Held | Verdict::Violated(_))
            },
            ..promised(
                "reigns_go_forward",
                "no node turns back to a reign, by epoch and id, before the one that it knew, \
                 whatever is broken",
                election::reigns_go_forward,
            )
        },
        Property {
            needs: Needs::NODES.and(Needs::MESSAGES),
            bounds: &[ALIVE],
            is_promised: false,
            missing: |cast| {
                let runs_more = cast.nodes.iter().any(|node| node.protocols.len() > 1);
                let why = "is judged where nodes elect, and run no other protocol";
                elect(cast).or_else(|| runs_more.then(|| why.into()))
            },
            ..promised(
                "live_higher_prevails",
                "who heard from a higher node within alive_ms, over a link that is up, follows \
                 nobody below it; where nodes run nothing but the election",
                election::live_higher_prevails,
            )
        },
    ];

    const INVARIANTS: &'static [Invariant] = &[Invariant {
        is_evidence: invented::could_be_invented,
        ..Invariant::of::<Bully>(
            "no_invented_reign",
            "no live node holds another one coordinator in a reign that this one never began",
            SOURCE,
            invented::no_invented_reign,
        )
    }];
}
