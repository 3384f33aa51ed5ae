//! What clients alone can say of a scenario's properties: what they cannot see is unknown.

use super::Driven;
use node_lab::registry::Registry;
use node_lab::sim::plan::Plan;
use node_lab::sim::scenario::Scenario;
use node_lab::study::{Needs, Property, Verdict, Violation};

/// That the run ends in order: what the clients' study asks for beside its properties.
static CONVERGES: Property = Property {
    name: "converges",
    statement: "when clients are done, everything comes to rest",
    ..ASIDE
};

/// That clients can read what they are told.
static CODEC: Property = Property {
    name: "codec",
    statement: "what clients are told is what a server may say",
    ..ASIDE
};

const ASIDE: Property = Property {
    name: "",
    statement: "",
    source: "",
    needs: Needs::OPERATIONS,
    bounds: &[],
    is_promised: true,
    missing: |_| None,
    shows: |_| false,
    judge: |_| Verdict::Unknown { why: String::new() },
};

/// The verdicts on a scenario's properties, and on what went wrong beside them.
pub fn verdicts(
    scenario: &Scenario,
    registry: &Registry,
    plan: &Plan,
    driven: &Driven,
) -> Vec<(&'static Property, Verdict)> {
    let judge = |property: &'static Property| {
        let verdict = unseen(property, driven);
        let judged = || scenario.judge(property, &driven.run, registry, plan.known());
        (property, verdict.unwrap_or_else(judged))
    };
    let mut all: Vec<_> = scenario.properties.iter().copied().map(judge).collect();
    if let Some((why, at)) = &driven.garbled {
        let last = driven.run.operations.iter().rposition(|one| one.invoke_ns <= *at);
        let shown = Violation::shown_by(last.map(|place| ("operation asked last", place)), &**why);
        let violation = Violation { at: Some(*at), ..shown };
        all.push((&CODEC, Verdict::Violated(violation)));
    }
    if let Some(why) = driven.unsettled.as_ref().filter(|_| scenario.settles) {
        all.push((&CONVERGES, Verdict::Unknown { why: why.clone() }));
    }
    all
}

/// Why a property is none that clients can say something of.
fn unseen(property: &Property, driven: &Driven) -> Option<Verdict> {
    let needs = property.needs;
    let of = |what: &[Needs]| -> Vec<&str> {
        what.iter().filter(|one| needs.contains(**one)).flat_map(|one| one.names()).collect()
    };
    let (traced, shown) =
        (of(&[Needs::NODES, Needs::MESSAGES, Needs::FILES]), of(&[Needs::CLOCKS]));
    let lacks = [&traced[..], &shown].concat().join(", ");
    if !lacks.is_empty() {
        let who = match shown[..] {
            [] => "node verify --scenario does, with the traces of the nodes",
            _ => "only node sim does",
        };
        return Some(Verdict::Unknown { why: format!("clients do not see {lacks}; {who}") });
    }
    let is_at_rest = driven.unsettled.is_none() && driven.garbled.is_none();
    (needs.contains(Needs::REPLICAS) && !is_at_rest).then(|| {
        let why = "the run did not come to rest".to_string();
        Verdict::Unknown { why }
    })
}
