//! The workload `echo`: a program sends back what it is sent.

use crate::crew::{Asks, Crew, name};
use crate::errors::Told;
use crate::json::Key;
use node_core::Rng;
use node_lab::hosted::{Body, Program};
use node_lab::study::{Cast, Clients, Needs, Property, Run, Shipped, Study, Verdict, Violation};
use serde_json::json;

/// The study.
pub struct Echo;

crate::settings! {
    /// `[workload] kind = "echo"`.
    Settings {}
}

/// Whether every answer says what its request said.
pub const ECHOES: Property = Property {
    name: "echoes",
    statement: "the `echo` of each echo_ok is that of its request",
    source: "Maelstrom, doc/workloads.md: echo",
    needs: Needs::OPERATIONS,
    bounds: &[],
    is_promised: true,
    missing: |cast| {
        cast.lacks_clients("echo", "clients", "the scenario say [workload] kind = \"echo\"")
    },
    shows: |run| asks(run).next().is_some(),
    judge: echoes,
};

impl Study for Echo {
    type Protocol = Program;
    const NAME: &'static str = "echo";
    type Settings = Settings;
    const SCENARIOS: &'static [Shipped] = shipped! {
        "sim/glomers/1.toml"
    };
    const PROPERTIES: &'static [Property] = &[ECHOES];

    fn clients(settings: Settings, cast: &Cast<'_>) -> Result<Option<Box<dyn Clients>>, String> {
        Crew::clients(Self::NAME, settings.pace(), cast, Shouts)
    }
}

#[derive(Clone, Debug)]
struct Shouts;

impl Asks for Shouts {
    fn next(&mut self, _: u32, rng: &mut Rng) -> Option<Body<'static>> {
        let echo = format!("Please echo {}", rng.below(128));
        Some(Body::of(&json!({ "type": "echo", "echo": echo })))
    }

    fn changes(&self, _: &Body<'_>) -> bool {
        false
    }

    fn has_last(&self) -> bool {
        false
    }
}

fn asks(run: &Run) -> impl Iterator<Item = (usize, Body<'_>)> {
    let operations = run.operations_of("program");
    let asked = operations.filter_map(|(place, one)| Some((place, run.request::<Body<'_>>(one)?)));
    asked.filter(|(_, body)| body.kind() == "echo")
}

/// Evidence: an echo_ok.
fn echoes(run: &Run) -> Verdict {
    let mut has_evidence = false;
    for (place, request) in asks(run) {
        let operation = &run.operations[place];
        let Told::Done(reply) = Told::of(&request, run.reply(operation)) else { continue };
        let (said, echoed) = (Key::of(&request, "echo").value(), Key::of(&reply, "echo").value());
        has_evidence = true;
        if said != echoed {
            let shown = |value: Option<crate::json::Json>| {
                value.map_or_else(|| "nothing".into(), |value| value.to_string())
            };
            let node = name(operation.node.unwrap_or_default());
            let why = format!("{node} was to echo {}, and echoed {}", shown(said), shown(echoed));
            return Verdict::Violated(Violation::shown_by([("wrong echo", place)], why));
        }
    }
    Verdict::of(None, has_evidence, "nothing was echoed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run_of;

    const ASK: &str = r#"{"type":"echo","echo":{"a":1,"b":"x"}}"#;

    fn verdict(reply: Option<&str>) -> Verdict {
        echoes(&run_of(&[(0, ASK, 1, reply.map(|reply| (2, reply)))]))
    }

    #[test]
    fn an_echo_is_what_was_said() {
        assert_eq!(verdict(Some(r#"{"type":"echo_ok","echo":{"b":"x", "a":1}}"#)), Verdict::Held);
        for (reply, echoed) in [
            (r#"{"type":"echo_ok","echo":{"a":2,"b":"x"}}"#, r#"{"a":2,"b":"x"}"#),
            (r#"{"type":"echo_ok"}"#, "nothing"),
        ] {
            let Verdict::Violated(violation) = verdict(Some(reply)) else { panic!("{reply}") };
            assert_eq!(violation.ops(), [0]);
            let why = format!(r#"n0 was to echo {{"a":1,"b":"x"}}, and echoed {echoed}"#);
            assert_eq!(violation.why, why);
        }
    }

    #[test]
    fn without_an_echo_nothing_is_known() {
        for reply in [None, Some(r#"{"type":"error","code":10}"#), Some(r#"{"type":"read_ok"}"#)] {
            assert!(matches!(verdict(reply), Verdict::Unknown { .. }), "{reply:?}");
        }
        assert!(matches!(echoes(&Run::default()), Verdict::Unknown { .. }));
    }
}
