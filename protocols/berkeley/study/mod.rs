//! The study of clocks that are kept together.

mod rounds;
mod skew;

use node_lab::check::timeline::What;
use node_lab::study::Run;
use node_lab::study::{
    AGREE, Bound, Most, Needs, NoSettings, Property, Shipped, Study, Unit, Verdict,
};
use node_protocols::berkeley::Berkeley;
use node_protocols::core::{ClockOffset, FactKind, MAX_SLEW_PPM};

/// Clocks by the Berkeley algorithm.
pub struct BerkeleyStudy;

const fn time(name: &'static str, unit: Unit, default: u64, statement: &'static str) -> Bound {
    Bound { name, unit, default, most: Most::Run, statement }
}

/// How far corrected clocks may be apart.
pub const SKEW: Bound = time(
    "skew_us",
    Unit::Micros,
    50_000,
    "two clocks that were corrected in one round differ by no more than this, besides what slewing \
     still owes",
);
/// How long a round takes.
pub const ROUND: Bound =
    time("round_ms", Unit::Millis, 50, "the corrections of one round come within this time");
/// How often there is a round.
pub const INTERVAL: Bound = time(
    "interval_ms",
    Unit::Millis,
    2_000,
    "for so long after a round its clocks are held to skew_us, and then another is due",
);
/// How fast clocks are slewed.
pub const SLEW: Bound = Bound {
    name: "slew_ppm",
    unit: Unit::Plain,
    default: 50_000,
    most: Most::Of(MAX_SLEW_PPM as u64),
    statement: "what a clock owes it is given at this rate at least, in parts of a million; but \
                for a tenth",
};
/// A day, in milliseconds: how far clocks are off has nothing to do with how long the run is.
const DAY_MS: u64 = 86_400_000;
/// How far a liar is off.
pub const FAR: Bound = Bound {
    name: "far_ms",
    unit: Unit::Millis,
    default: 60_000,
    most: Most::Of(DAY_MS),
    statement: "a clock that is further than this from the others is far off",
};
/// How far the others are moved.
pub const MOVED: Bound = Bound {
    name: "moved_ms",
    unit: Unit::Millis,
    default: 1_000,
    most: Most::Of(DAY_MS),
    statement: "no correction of the other clocks is more than this",
};

const fn of_clocks(
    name: &'static str,
    statement: &'static str,
    bounds: &'static [Bound],
    judge: fn(&Run) -> Verdict,
) -> Property {
    Property {
        name,
        statement,
        source: "Gusella and Zatti: The Accuracy of the Clock Synchronization Achieved by TEMPO in \
                 Berkeley UNIX 4.3BSD, IEEE Transactions on Software Engineering 15(7), 1989",
        needs: Needs::NODES.and(Needs::CLOCKS),
        bounds,
        is_promised: true,
        missing: |cast| cast.lacks_publisher(FactKind::of::<ClockOffset>()),
        // Only the simulator sees all clocks at once, and so the traces of real nodes have none.
        shows: |history| history.saw(|what| matches!(what, What::Clock { .. })),
        judge,
    }
}

impl Study for BerkeleyStudy {
    type Protocol = Berkeley;
    type Settings = NoSettings;
    const SCENARIOS: &'static [Shipped] = shipped! {
        "sim/berkeley-crash.toml"
        "sim/berkeley-liar.toml"
        "sim/berkeley-step.toml"
        "sim/berkeley.toml"
    };
    const CONFIGS: &'static [Shipped] = shipped! {
        "clocksync/server.toml"
    };
    const PROPERTIES: &'static [Property] = &[
        of_clocks(
            "skew_bound",
            "two clocks corrected in one round differ by no more than the bound, besides what \
             slewing owes, which is given at its rate; rounds go on, and reach all, while a \
             coordinator reigns undisturbed",
            &[SKEW, ROUND, INTERVAL, SLEW, AGREE],
            skew::skew_bound,
        ),
        of_clocks(
            "clock_never_backwards",
            "a node's corrected clock never goes back while the node runs",
            &[],
            skew::clock_never_backwards,
        ),
        of_clocks(
            "one_liar_moves_nobody",
            "when one clock is far off, the others are corrected by no more than moved_ms",
            &[FAR, MOVED],
            skew::one_liar_moves_nobody,
        ),
    ];
}
