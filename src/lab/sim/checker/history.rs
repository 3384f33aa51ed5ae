//! A run as a program reads it: JSON lines. Knows no protocol.

use super::Beside;
use crate::check::timeline::What;
use crate::study::Run;
use serde_json::{Map, Value, json};

/// The head, to which the process adds the number of the run.
pub(super) fn head(run: &Run, beside: Beside<'_>) -> Map<String, Value> {
    let nodes: Vec<u32> = run.nodes.iter().map(|node| node.id.0).collect();
    let pairs = [
        ("scenario", json!(beside.scenario.display().to_string())),
        ("seed", json!(beside.known.seed)),
        ("nodes", json!(nodes)),
        ("clients", json!(beside.known.clients)),
    ];
    pairs.into_iter().map(|(key, value)| (key.into(), value)).collect()
}

/// The operations, in the order in which they were sent, then what nodes did.
pub(super) fn lines(run: &Run, beside: Beside<'_>) -> String {
    let forms = beside.registry.json_forms();
    let mut lines = String::new();
    let mut line = |value: Value| {
        lines += &value.to_string();
        lines.push('\n');
    };
    for (place, operation) in run.operations.iter().enumerate() {
        let form = forms.get(&operation.tag);
        let mut value = json!({
            "op": place,
            "client": operation.client,
            "node": operation.node,
            "protocol": form.map(|form| form.protocol),
            "request": run.request_as_json(operation, form),
            "reply": run.reply_as_json(operation, form),
            "invoke_ns": operation.invoke_ns,
            "return_ns": operation.return_ns,
        });
        if beside.has_finals && operation.is_late {
            value["final"] = true.into();
        }
        if operation.is_twin {
            value["twin"] = true.into();
        }
        line(value);
    }
    for happening in &run.timeline {
        let at = happening.at;
        match &happening.what {
            What::Start { node, .. } => line(json!({ "start": node, "at_ns": at })),
            What::Down { node } => line(json!({ "down": node, "at_ns": at })),
            What::Fact { node, fact } => line(json!({
                "fact": fact.name(),
                "node": node,
                "at_ns": at,
                "subject": fact.subject().map(|id| id.0),
                "value": fact.json(),
            })),
            What::Pause { .. }
            | What::Fault { .. }
            | What::Clock { .. }
            | What::Send { .. }
            | What::Receive { .. }
            | What::Link { .. }
            | What::End => {}
        }
    }
    lines
}
