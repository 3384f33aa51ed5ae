//! The study of Lamport's clock, which is in the envelope of every protocol's messages.

mod clocks;

use node_lab::check::timeline::What;
use node_lab::study::Run;
use node_lab::study::{Needs, NoSettings, Property, Study, Verdict};
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
    const PROPERTIES: &'static [Property] = &[
        of_messages(
            "clock_condition",
            "an event that another may have caused has a greater Lamport value",
            |history| clocks::clock_condition(&history.timeline),
        ),
        of_messages(
            "clock_strictly_increases",
            "a node's Lamport values only grow, across restarts too when it has a data directory",
            |history| clocks::clock_strictly_increases(&history.timeline),
        ),
    ];
}
