//! The workload `unique-ids`: programs make ids, and no id twice.

use crate::crew::{Asks, Crew, name};
use crate::errors::Told;
use crate::json::{Json, Key};
use node_core::Rng;
use node_lab::hosted::{Body, Program};
use node_lab::study::{Cast, Clients, Needs, Property, Run, Shipped, Study, Verdict, Violation};
use serde_json::json;
use std::collections::BTreeMap;

/// The study.
pub struct UniqueIds;

crate::settings! {
    /// `[workload] kind = "unique-ids"`.
    Settings {}
}

/// Whether all ids differ.
pub const UNIQUE_IDS: Property = Property {
    name: "unique_ids",
    statement: "no two generate_ok have the same `id`, of whatever JSON type",
    source: "Maelstrom, doc/workloads.md: unique-ids",
    needs: Needs::OPERATIONS.and(Needs::EVERY_CLIENT),
    bounds: &[],
    is_promised: true,
    missing: |cast| {
        cast.lacks_clients(
            "unique-ids",
            "clients",
            "the scenario say [workload] kind = \"unique-ids\"",
        )
    },
    shows: |run| ids(run).next().is_some(),
    judge: unique_ids,
};

impl Study for UniqueIds {
    type Protocol = Program;
    const NAME: &'static str = "unique-ids";
    type Settings = Settings;
    const SCENARIOS: &'static [Shipped] = shipped! {
        "sim/glomers/2.toml"
    };
    const PROPERTIES: &'static [Property] = &[UNIQUE_IDS];

    fn clients(settings: Settings, cast: &Cast<'_>) -> Result<Option<Box<dyn Clients>>, String> {
        Crew::clients(Self::NAME, settings.pace(), cast, Wants)
    }
}

#[derive(Clone, Debug)]
struct Wants;

impl Asks for Wants {
    fn next(&mut self, _: u32, _: &mut Rng) -> Option<Body<'static>> {
        Some(Body::of(&json!({ "type": "generate" })))
    }

    fn has_last(&self) -> bool {
        false
    }
}

/// The ids that were told; nothing for a generate_ok without.
fn ids(run: &Run) -> impl Iterator<Item = (usize, Option<Json>)> {
    run.operations_of("program").filter_map(|(place, operation)| {
        let request = run.request::<Body<'_>>(operation)?;
        let Told::Done(reply) = Told::of(&request, run.reply(operation)) else { return None };
        (request.kind() == "generate").then(|| (place, Key::of(&reply, "id").value()))
    })
}

/// Evidence: two ids.
fn unique_ids(run: &Run) -> Verdict {
    let at = |place: usize| name(run.operations[place].node.unwrap_or_default());
    let mut known: BTreeMap<Json, usize> = BTreeMap::new();
    for (place, id) in ids(run) {
        let Some(id) = id else {
            let why = format!("{} answered generate_ok without an id", at(place));
            return Verdict::Violated(Violation::shown_by([("answer without an id", place)], why));
        };
        if let Some(before) = known.insert(id.clone(), place) {
            let why =
                format!("{} made the id {id}, which {} had made before", at(place), at(before));
            let roles = [("first of the id", before), ("second of the id", place)];
            return Verdict::Violated(Violation::shown_by(roles, why));
        }
    }
    Verdict::of(None, known.len() > 1, "fewer than two ids were made")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MS, asked, run_of};
    use node_lab::study::Asked;

    const ASK: &str = r#"{"type":"generate"}"#;

    fn verdict(ids: &[&str]) -> Verdict {
        let replies: Vec<String> =
            ids.iter().map(|id| format!(r#"{{"type":"generate_ok","id":{id}}}"#)).collect();
        let line = |reply| (0, ASK, 1, Some((2, reply)));
        unique_ids(&run_of(&replies.iter().map(|reply| line(&**reply)).collect::<Vec<_>>()))
    }

    #[test]
    fn ids_of_any_type_are_told_apart() {
        assert_eq!(verdict(&["1", "\"1\"", "[1]", "1.5", "{\"a\":1}", "null"]), Verdict::Held);
        let Verdict::Violated(violation) = verdict(&["[1, 2]", "3", "[1,2]"]) else { panic!() };
        assert_eq!(violation.ops(), [2, 0]);
        assert_eq!(violation.why, "n0 made the id [1,2], which n0 had made before");
    }

    #[test]
    fn ids_larger_than_any_integer_are_told_apart() {
        let of = |ids: [&str; 2]| {
            let mut run = Run::default();
            for id in ids {
                let bytes =
                    |text: &str| postcard::to_allocvec(&Body::parse(text).unwrap().0).unwrap();
                let place = run.ask(Asked { at_ns: MS, ..asked(0, 1, 0, 0, &bytes(ASK)) });
                let reply = bytes(&format!(r#"{{"type":"generate_ok","id":{id}}}"#));
                run.answer(place, 2 * MS, &reply);
            }
            unique_ids(&run)
        };
        let large = "340282366920938463463374607431768211456";
        assert_eq!(of([large, "340282366920938463463374607431768211457"]), Verdict::Held);
        assert!(matches!(of([large, large]), Verdict::Violated(_)));
    }

    #[test]
    fn one_id_shows_nothing_and_none_is_none() {
        assert!(matches!(verdict(&["1"]), Verdict::Unknown { .. }));
        assert!(matches!(unique_ids(&run_of(&[(0, ASK, 1, None)])), Verdict::Unknown { .. }));
        let without = unique_ids(&run_of(&[(0, ASK, 1, Some((2, r#"{"type":"generate_ok"}"#)))]));
        assert!(matches!(without, Verdict::Violated(_)));
    }
}
