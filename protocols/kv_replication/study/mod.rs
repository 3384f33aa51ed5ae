//! The study of the replicated key-value store: its clients, and what they may see.

mod clients;
pub mod history;
mod linearizable;
mod regular;
mod replicas;
mod script;
mod sessions;
#[cfg(test)]
pub(crate) mod testing;
mod wire;
mod writes;

pub use self::clients::Settings;
pub use self::history::{Store, TWIN};

use self::history::Op;
use node_lab::study::{Cast, Clients, Invariant, Needs, Property, Run, Shipped, Study, Verdict};
use node_protocols::core::Protocol;
use node_protocols::kv_replication::KvReplication;

/// The replicated key-value store.
pub struct StoreStudy;

/// What clients of the store see.
const fn seen(
    name: &'static str,
    statement: &'static str,
    source: &'static str,
    judge: fn(&Run) -> Verdict,
) -> Property {
    Property {
        name,
        statement,
        source,
        needs: Needs::OPERATIONS,
        bounds: &[],
        is_promised: true,
        missing: ask,
        shows: |run| !Store::of(run).ops.is_empty(),
        judge,
    }
}

/// The verdict on what clients saw.
fn seen_by(run: &Run, judge: fn(&[Op]) -> Verdict) -> Verdict {
    let store = Store::of(run);
    let verdict = history::with_source(judge(&store.ops), &store.ops);
    verdict.placed(&store.ops, |op| store.place(op))
}

fn ask(cast: &Cast<'_>) -> Option<String> {
    let run = "every node run kv_replication";
    cast.lacks_clients(KvReplication::NAME, "the store's clients", run)
}

const TERRY: &str =
    "Terry et al.: Session Guarantees for Weakly Consistent Replicated Data, PDIS 1994";
const WING: &str = "Herlihy and Wing: Linearizability: A Correctness Condition for Concurrent Objects, \
                    TOPLAS 12(3), 1990";

impl Study for StoreStudy {
    type Protocol = KvReplication;
    type Settings = Settings;
    const SCENARIOS: &'static [Shipped] = shipped! {
        "sim/explore/kv-3.toml"
        "sim/kv-all.toml"
        "sim/kv-bad-disk.toml"
        "sim/kv-calm.toml"
        "sim/kv-copies.toml"
        "sim/kv-crash.toml"
        "sim/kv-disk-all.toml"
        "sim/kv-disk.toml"
        "sim/kv-json.toml"
        "sim/kv-large.toml"
        "sim/kv-liar.toml"
        "sim/kv-linearizable.toml"
        "sim/kv-lost-memory.toml"
        "sim/kv-messages.toml"
        "sim/kv-partition.toml"
        "sim/kv-pause.toml"
        "sim/kv-resp.toml"
        "sim/kv-restarts.toml"
        "sim/kv-rolling.toml"
        "sim/kv-twin.toml"
    };
    const CONFIGS: &'static [Shipped] = shipped! {
        "kv-disk/node-1.toml"
        "kv-disk/node-2.toml"
        "kv-disk/node-3.toml"
        "kv-follower-2.toml"
        "kv-follower-3.toml"
        "kv-leader.toml"
        "kv-small/node-1.toml"
        "kv-small/node-2.toml"
        "kv-small/node-3.toml"
    };
    const PROPERTIES: &'static [Property] = &[
        seen("monotonic_reads", "a client never sees a key go back", TERRY, |run| {
            seen_by(run, sessions::monotonic_reads)
        }),
        seen(
            "read_your_writes",
            "a client sees its own writes of a key, or newer ones",
            TERRY,
            |run| seen_by(run, sessions::read_your_writes),
        ),
        Property {
            needs: Needs::OPERATIONS.and(Needs::EVERY_CLIENT),
            ..seen(
                "regular_register",
                "a GET sent after a PUT was answered sees it or a newer one; every value read was put \
                 by somebody",
                "Lamport: On Interprocess Communication, Distributed Computing 1(2), 1986",
                |run| seen_by(run, regular::regular_register),
            )
        },
        seen(
            "unique_timestamps",
            "a timestamp stands for one value, and a PUT takes effect once",
            "document 003",
            |run| seen_by(run, regular::unique_timestamps),
        ),
        seen(
            "linearizable_writes",
            "PUTs have one order, that of their timestamps, and it respects time",
            WING,
            |run| seen_by(run, writes::linearizable_writes),
        ),
        Property {
            needs: Needs::REPLICAS,
            shows: |run| !Store::of(run).replicas.is_empty(),
            missing: |cast| ask(cast).or_else(|| cast.lacks_others("replicas")),
            ..seen(
                "replicas_equal",
                "in the end all replicas hold the same",
                "document 003",
                |run| replicas::replicas_equal(&Store::of(run).replicas),
            )
        },
        Property {
            needs: Needs::OPERATIONS.and(Needs::EVERY_CLIENT),
            is_promised: false,
            ..seen(
                "linearizable",
                "each key behaves as one register: also the GETs of different clients have one order. \
                 The store does not promise this: a follower may still answer with the value before",
                WING,
                |run| seen_by(run, linearizable::linearizable),
            )
        },
    ];

    const INVARIANTS: &'static [Invariant] = &[Invariant {
        is_evidence: replicas::could_differ,
        ..Invariant::of::<KvReplication>(
            "replicas_never_differ",
            "no two complete replicas that end at the same PUT hold different tables",
            "Schneider: Implementing Fault-Tolerant Services Using the State Machine Approach, ACM \
         Computing Surveys 22(4), 1990",
            replicas::never_differ,
        )
    }];

    fn clients(settings: Settings, cast: &Cast<'_>) -> Result<Option<Box<dyn Clients>>, String> {
        if !cast.all_run(KvReplication::NAME) {
            return Ok(None);
        }
        if let Some(wire) = settings.wire {
            cast.listens(cast.nodes, wire.gateway(), KvReplication::NAME)?;
        }
        let asked = settings.script.iter().flatten().filter_map(|step| Some(step.asks()?.node));
        let is_there = |id: &u32| cast.nodes.iter().any(|node| node.id.0 == *id);
        if let Some(id) = asked.into_iter().find(|id| !is_there(id)) {
            return Err(format!("workload: script: there is no node {id}"));
        }
        Ok(Some(Box::new(settings)))
    }
}
