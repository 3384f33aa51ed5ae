//! The workload `broadcast`: what one node is told, all nodes know in the end. And of `g-set` what
//! is the same there.

use crate::crew::{Asks, Crew, Numbers, programs};
use crate::set;
use crate::topology::Topology;
use node_core::Rng;
use node_lab::check::describe::Millis;
use node_lab::hosted::{Body, Program};
use node_lab::study::{
    Bound, Cast, Clients, Most, Needs, Property, Run, Shipped, Study, Unit, Verdict, Violation,
};
use serde_json::json;

/// The study.
pub struct Broadcast;

crate::settings! {
    /// `[workload] kind = "broadcast"`.
    Settings {
        /// The neighbours that nodes are told to have.
        topology: Topology = Topology::default(),
    }
}

/// Below what the median of the stable latencies is.
pub const MEDIAN: Bound = Bound {
    name: "median_ms",
    unit: Unit::Millis,
    default: 400,
    most: Most::Run,
    statement: "the median of the stable latencies is below this",
};
/// Below what the longest of the stable latencies is.
pub const MAX: Bound = Bound {
    name: "max_ms",
    unit: Unit::Millis,
    default: 600,
    most: Most::Run,
    statement: "the longest of the stable latencies is below this",
};

const SOURCE: &str = "Maelstrom, doc/workloads.md: broadcast, g-set; Jepsen's checker set-full";

pub(crate) const fn of_sets(
    name: &'static str,
    statement: &'static str,
    missing: fn(&Cast<'_>) -> Option<String>,
    shows: fn(&Run) -> bool,
    judge: fn(&Run) -> Verdict,
) -> Property {
    Property {
        name,
        statement,
        source: SOURCE,
        needs: Needs::OPERATIONS.and(Needs::EVERY_CLIENT),
        bounds: &[],
        is_promised: true,
        missing,
        shows,
        judge,
    }
}

fn missing(cast: &Cast<'_>) -> Option<String> {
    const RUN: &str = "the scenario say [workload] kind = \"broadcast\"";
    cast.lacks_clients(Broadcast::NAME, "clients who broadcast", RUN)
}

fn shows(run: &Run) -> bool {
    set::adds(run, "broadcast")
}

fn missing_sets(cast: &Cast<'_>) -> Option<String> {
    let adds = [Broadcast::NAME, "g-set"].map(Some).contains(&cast.clients_of);
    (!adds).then(|| {
        "is judged by what clients of a set read: let the scenario say [workload] kind = \
         \"broadcast\" or \"g-set\""
            .into()
    })
}

/// Whether nothing is lost.
pub const BROADCAST_DELIVERS: Property = of_sets(
    "broadcast_delivers",
    "what was acknowledged or read is in all reads that begin late enough, and in every node's last",
    missing,
    shows,
    set::delivers,
);
/// Whether nothing comes from nowhere.
pub const NO_PHANTOMS: Property = of_sets(
    "no_phantoms",
    "a read shows nothing that nobody had added, and nothing that was refused",
    missing,
    shows,
    set::no_phantoms,
);
/// Whether nothing is there twice.
pub const NO_DUPLICATES: Property =
    of_sets("no_duplicates", "a read shows nothing twice", missing, shows, set::no_duplicates);
/// Whether all nodes know soon: of `g-set`, too.
pub const STABLE_LATENCY: Property = Property {
    bounds: &[MEDIAN, MAX],
    is_promised: false,
    ..of_sets(
        "stable_latency",
        "from when an element is known, the median time and the longest until every read shows it are \
         below their bounds",
        missing_sets,
        |run| set::sets(run).attempts > 0,
        stable_latency,
    )
};

impl Study for Broadcast {
    type Protocol = Program;
    const NAME: &'static str = "broadcast";
    type Settings = Settings;
    const SCENARIOS: &'static [Shipped] = shipped! {
        "sim/glomers/3a.toml"
        "sim/glomers/3b.toml"
        "sim/glomers/3c.toml"
        "sim/glomers/3d.toml"
        "sim/glomers/3e.toml"
    };
    const PROPERTIES: &'static [Property] = &[BROADCAST_DELIVERS, NO_PHANTOMS, NO_DUPLICATES];

    fn clients(settings: Settings, cast: &Cast<'_>) -> Result<Option<Box<dyn Clients>>, String> {
        let neighbours = settings.topology.neighbours(programs(cast).len());
        let topology = Body::of(&json!({ "type": "topology", "topology": neighbours }));
        let asks = Elements {
            kind: "broadcast",
            key: "message",
            topology: Some(topology),
            ..Elements::default()
        };
        Crew::clients(Self::NAME, settings.pace(), cast, asks)
    }
}

/// Additions of numbers, and reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elements {
    pub(crate) kind: &'static str,
    pub(crate) key: &'static str,
    pub(crate) topology: Option<Body<'static>>,
    pub(crate) numbers: Numbers,
}

impl Asks for Elements {
    fn begin(&mut self, clients: u32) {
        self.numbers = Numbers::of(clients);
    }

    fn setup(&self, _: usize, _: usize) -> Option<Body<'static>> {
        self.topology.clone()
    }

    fn next(&mut self, client: u32, rng: &mut Rng) -> Option<Body<'static>> {
        if rng.below(2) == 0 {
            return Some(Body::of(&json!({ "type": "read" })));
        }
        let (kind, key) = (self.kind, self.key);
        Some(Body::of(&json!({ "type": kind, key: self.numbers.next(client) })))
    }
}

/// Evidence: a stable element. One that is lost is not stable however long one waits.
fn stable_latency(run: &Run) -> Verdict {
    let sets = set::sets(run);
    if let Some((add, read)) = sets.lost.first() {
        let why =
            format!("{} lost: not every read shows it in the end", set::counted(sets.lost.len()));
        let roles = [("lost element", *add), ("read without it", *read)];
        return Verdict::Violated(Violation::shown_by(roles, why));
    }
    let mut broken = None;
    for (bound, percent, what) in [(&MEDIAN, 50, "median"), (&MAX, 100, "longest")] {
        let below = run.bounds.of(bound);
        if let Some(latency) = set::quantile(&sets.latencies, percent).filter(|it| *it >= below) {
            let why = format!(
                "the {what} of {} stable latencies is {}, and not below {}",
                sets.latencies.len(),
                Millis(latency),
                Millis(below)
            );
            let slowest = sets.slowest.iter().flat_map(|(_, add, read)| {
                [("slowest element", *add), ("last read without it", *read)]
            });
            broken.get_or_insert(Violation::shown_by(slowest, why));
        }
    }
    Verdict::of(
        broken,
        sets.stable > 0 && sets.has_reads,
        "no read began after an element was known",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run_of;

    const ADD: &str = r#"{"type":"broadcast","message":1}"#;
    const READ: &str = r#"{"type":"read"}"#;
    const NONE: &str = r#"{"type":"read_ok","messages":[]}"#;
    const ONE: &str = r#"{"type":"read_ok","messages":[1]}"#;

    #[test]
    fn what_is_known_late_breaks_its_bounds() {
        let mut run = run_of(&[
            (0, ADD, 1, Some((2, r#"{"type":"broadcast_ok"}"#))),
            (1, READ, 500, Some((501, NONE))),
            (1, READ, 600, Some((601, ONE))),
        ]);
        let Verdict::Violated(violation) = stable_latency(&run) else { panic!() };
        let why = "the median of 1 stable latencies is 498.0 ms, and not below 400.0 ms";
        assert_eq!(violation.why, why);
        run.bounds.set(&MEDIAN, 499, 10_000).unwrap();
        assert_eq!(stable_latency(&run), Verdict::Held);
        run.bounds.set(&MAX, 498, 10_000).unwrap();
        let Verdict::Violated(violation) = stable_latency(&run) else { panic!() };
        assert!(violation.why.starts_with("the longest of 1"), "{}", violation.why);
    }

    #[test]
    fn what_is_lost_was_never_known() {
        let run = run_of(&[
            (0, ADD, 1, Some((2, r#"{"type":"broadcast_ok"}"#))),
            (1, READ, 500, Some((501, NONE))),
        ]);
        assert!(matches!(stable_latency(&run), Verdict::Violated(_)));
        assert!(matches!(stable_latency(&Run::default()), Verdict::Unknown { .. }));
    }

    #[test]
    fn elements_are_shared_out_however_many_clients_there_are() {
        let asks = Elements { kind: "broadcast", key: "message", ..Elements::default() };
        let drawn = |of: &[u32]| {
            let mut asks = asks.clone();
            asks.begin(3);
            let draw = |client: &u32| {
                let mut rng = Rng::stream(u64::from(*client), "t");
                let ask = |_| asks.next(*client, &mut rng).unwrap().text().to_string();
                (0..8).map(ask).collect::<Vec<_>>()
            };
            of.iter().map(draw).collect::<Vec<_>>()
        };
        assert_eq!(drawn(&[0, 1, 2])[2], drawn(&[2])[0]);
        assert!(drawn(&[1])[0].contains(&r#"{"message":1,"type":"broadcast"}"#.to_string()));
    }
}
