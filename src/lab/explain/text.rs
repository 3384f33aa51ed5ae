//! The run as text in fixed columns: time, node, Lamport value, kind, detail. One event a line,
//! whatever bytes a peer or a client sent.

use super::{Entry, Merged, kind};
use crate::trace::Event;
use node_core::Escaped;
use serde_json::Value;
use std::io::{self, Write};

/// Writes all events. Lines that begin with `#` say what run it is.
///
/// # Errors
/// Those of `out`.
pub fn write(run: &Merged, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "# {}", title(run))?;
    for note in &run.notes {
        writeln!(out, "# note: {}", Escaped(note.as_bytes()))?;
    }
    writeln!(out, "#{:>18} {:>5} {:>8} {:<9} detail", "time", "node", "lamport", "kind")?;
    for entry in &run.entries {
        let node = entry.line.node.map_or("-".into(), |node| node.to_string());
        let lamport = entry.line.lamport.map_or("-".into(), |value| value.to_string());
        let digest = entry.line.digest.as_deref().map_or(String::new(), |it| format!("  ={it}"));
        let line = format!(
            "{:>19} {node:>5} {lamport:>8} {:<9} {}{digest}",
            seconds(entry.t),
            kind(&entry.line.event),
            detail(run, entry),
        );
        writeln!(out, "{}", Escaped(line.trim_end().as_bytes()))?;
    }
    Ok(())
}

/// What run it is, in one line.
pub fn title(run: &Merged) -> String {
    let seed = run.seed.map_or(String::new(), |seed| format!(", seed {seed}"));
    let begin = if run.base == 0 { String::new() } else { format!(", from {}", seconds(run.base)) };
    let title = format!(
        "{}{seed} ({}): {} nodes, {} events, {} violations{begin}",
        run.scenario,
        run.source,
        run.nodes.len(),
        run.entries.len(),
        run.violations(),
    );
    Escaped(title.as_bytes()).to_string()
}

/// Nanoseconds as seconds, with all digits.
fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// What happened, beyond its kind. Not escaped.
pub(super) fn detail(run: &Merged, entry: &Entry) -> String {
    let message = || match run.message(entry) {
        Some((protocol, label, None)) => format!("{protocol}: {label}"),
        Some((protocol, label, Some(brief))) => format!("{protocol}: {brief} | {label}"),
        None => "(sent in no trace here)".into(),
    };
    match &entry.line.event {
        Event::Run { scenario, .. } => scenario.to_string(),
        Event::Start { incarnation, name, .. } => {
            let name = name.as_ref().map_or(String::new(), |name| format!("{name}, "));
            format!("{name}incarnation {incarnation}")
        }
        Event::Crash | Event::Stop => String::new(),
        Event::Pause { on } => if *on { "held up" } else { "goes on" }.into(),
        Event::Link { peer, up } => format!("{} {peer}", if *up { "up" } else { "down" }),
        Event::Send { id, to, .. } => format!("-> {to} [{id}] {}", message()),
        Event::Recv { id, from } => format!("<- {from} [{id}] {}", message()),
        Event::Drop { id, from, why } => format!("x- {from} [{id}] {why}; {}", message()),
        Event::Duplicate { id, of } => format!("[{id}] copy of [{of}] {}", message()),
        Event::Timer { protocol, label } => format!("{protocol}: {label}"),
        Event::Request { op, client, label, .. } => format!("{client} [{op}] {label}"),
        Event::Reply { op, client, label, .. } => format!("{client} [{op}] {label}"),
        Event::Push { client, label, .. } => format!("{client} {label}"),
        Event::Fact { protocol, fact, value, .. } => {
            format!("{protocol}: {}", statement(fact, value))
        }
        Event::Invoke { op, client, to, label, .. } => {
            format!("client {client} [{op}] -> {to} {label}")
        }
        Event::Return { op, label, .. } => format!("[{op}] {label}"),
        Event::Contact { connection, what, label } => {
            format!("connection {connection} {what} {label}")
        }
        Event::View { protocol, value } => format!("{protocol}: {value}"),
        Event::File { protocol, content } => format!("{protocol}: {} bytes", content.len()),
        Event::Sync { bytes, ok } => format!("{bytes} bytes{}", if *ok { "" } else { " FAILED" }),
        Event::Print { line } | Event::Note { line } => line.to_string(),
        Event::Fault { place, fault, nodes, until, label } => {
            let whom = if nodes.is_empty() { "all".into() } else { format!("{nodes:?}") };
            let until = seconds(until.saturating_sub(run.base));
            format!("{place}: {fault} {whom} until {until}; {label}")
        }
        Event::Violation { property, label, witnesses } => {
            let ops = witnesses.iter().filter_map(|one| one.op.as_deref());
            format!("{property}: {label} [{}]", ops.collect::<Vec<_>>().join(", "))
        }
    }
}

/// A fact in words: its name, and what it states. Not escaped.
pub(super) fn statement(fact: &str, value: &Value) -> String {
    let word = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let words = match value {
        Value::Null => return fact.to_string(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name} {}", word(value)));
            fields.collect::<Vec<_>>().join(", ")
        }
        other => word(other),
    };
    format!("{fact} {words}")
}

#[cfg(test)]
mod tests {
    use super::super::{Source, merge};

    #[test]
    fn facts_have_words_whatever_they_state() {
        let words = |json| super::statement("Fact", &serde_json::from_str(json).unwrap());
        assert_eq!(words("null"), "Fact");
        assert_eq!(words("7"), "Fact 7");
        assert_eq!(words(r#""seven""#), "Fact seven");
        assert_eq!(words("[1,{\"a\":2}]"), r#"Fact [1,{"a":2}]"#);
        assert_eq!(
            words(r#"{"id":3,"why":"late","more":{"a":2}}"#),
            r#"Fact id 3, more {"a":2}, why late"#
        );
    }

    #[test]
    fn the_form_is_fixed() {
        let text = include_str!("testdata/small.jsonl").to_string();
        let sources = [Source { name: "small".into(), text }];
        let run = merge(&sources).unwrap();
        let mut out = Vec::new();
        super::write(&run, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out, include_str!("testdata/small.txt"), "\n{out}");
        assert!(!out.contains('\u{1b}'));
    }
}
