//! The study of Lamport's clock, which is in the envelope of every protocol's messages.

mod clocks;

use node_lab::check::timeline::What;
use node_lab::study::Run;
use node_lab::study::{Needs, NoSettings, Property, Shipped, Study, Verdict};
use node_protocols::lamport::Lamport;

/// Lamport's clock.
pub struct LamportStudy;

const fn of_messages(
    name: &'static str,
    statement: &'static str,
    judge: fn(&Run) -> Verdict,
) -> Property {
    Property {
        name,
        statement,
        source: "Lamport: Time, Clocks, and the Ordering of Events in a Distributed System, CACM 21(7), \
                 1978",
        needs: Needs::NODES.and(Needs::MESSAGES),
        bounds: &[],
        is_promised: true,
        missing: |cast| cast.lacks_others("nodes, which send each other messages"),
        shows: |history| history.saw(|what| matches!(what, What::Send { .. })),
        judge,
    }
}

impl Study for LamportStudy {
    type Protocol = Lamport;
    type Settings = NoSettings;
    const SCENARIOS: &'static [Shipped] = shipped! {
        "sim/clocks-max.toml"
        "sim/clocks-requests.toml"
        "sim/clocks-restarts.toml"
        "sim/clocks.toml"
    };
    const CONFIGS: &'static [Shipped] = shipped! {
        "clocks/durable.toml"
        "clocks/max.toml"
        "clocks/node-1.toml"
        "clocks/node-2.toml"
        "clocks/node-3.toml"
        "clocks/node-4.toml"
    };
    const PROPERTIES: &'static [Property] = &[
        of_messages(
            "clock_condition",
            "what happened before has the smaller Lamport value; judged by vector clocks that the \
             checker keeps",
            |history| clocks::clock_condition(&history.timeline),
        ),
        of_messages(
            "clock_strictly_increases",
            "a node's Lamport values only grow, across restarts too when it has a data directory",
            |history| clocks::clock_strictly_increases(&history.timeline),
        ),
    ];
}
