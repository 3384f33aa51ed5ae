//! The run as text in fixed columns: time, node, Lamport value, kind, detail. One event a line,
//! whatever bytes a peer or a client sent; under a violation a line for each of its witnesses.

use super::{Entry, Merged, kind};
use crate::check::describe::Millis;
use crate::trace::{Event, lines};
use node_core::{ClockOffset, Escaped, Fact};
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
        if let Event::Violation { witnesses, .. } = &entry.line.event {
            for line in lines(witnesses) {
                writeln!(out, "{:45}{line}", "")?;
            }
        }
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

/// An event in one line: when, in milliseconds, whose, what.
pub fn told(run: &Merged, entry: &Entry) -> String {
    let whose = entry.line.node.map_or(String::new(), |node| format!("node {node}"));
    let (kind, detail) = (kind(&entry.line.event), detail(run, entry));
    let at = Millis(entry.t).to_string();
    let line = format!("{at:>12}  {whose:<8} {kind:<9} {detail}");
    Escaped(line.trim_end().as_bytes()).to_string()
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
        Event::Fact { protocol, .. } => {
            let said = entry.line.event.to_fact().map(|fact| statement(&fact));
            format!("{protocol}: {}", said.unwrap_or_default())
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

/// A fact in words: what it is called, the node that it is about, and what it states of it:
/// `Coordinator node 5, epoch 1`. Not escaped.
pub(super) fn statement(fact: &Fact) -> String {
    if let Some(ClockOffset { correction }) = fact.read() {
        return format!("clock corrected by {}", signed_millis(correction.target()));
    }
    let mut words = Vec::new();
    words.extend(fact.subject().map(|node| format!("node {node}")));
    match fact.json() {
        Value::Null => {}
        Value::Object(fields) => {
            let is_subject = |value: &Value| {
                let subject = fact.subject().map(|node| u64::from(node.0));
                subject.is_some() && value.as_u64() == subject
            };
            let said = fields.iter().filter(|(name, value)| *name != "id" || !is_subject(value));
            words.extend(said.map(|(name, value)| of_field(name, value)));
        }
        other => words.push(plain(&other)),
    }
    format!("{} {}", fact.name(), words.join(", ")).trim_end().to_string()
}

/// A field of a fact: its name and value, and of what is yes or no only the name, or that it is
/// not.
fn of_field(name: &str, value: &Value) -> String {
    let name = name.replace('_', " ");
    match value {
        Value::Bool(true) => name,
        Value::Bool(false) => format!("not {name}"),
        other => format!("{name} {}", plain(other)),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Nanoseconds with their sign, as milliseconds: `−1.2 ms`.
fn signed_millis(nanos: i64) -> String {
    let size = nanos.unsigned_abs();
    let sign = if nanos < 0 { '−' } else { '+' };
    format!("{sign}{}.{} ms", size / 1_000_000, size / 100_000 % 10)
}

#[cfg(test)]
mod tests {
    use super::super::{Source, merge};
    use node_core::{Fact, NodeId};

    #[test]
    fn facts_have_words_whatever_they_state() {
        let words = |subject: Option<u32>, json| {
            let value = serde_json::from_str(json).unwrap();
            super::statement(&Fact::recorded("Fact", subject.map(NodeId), value))
        };
        assert_eq!(words(None, "null"), "Fact");
        assert_eq!(words(Some(2), "null"), "Fact node 2");
        assert_eq!(words(None, "7"), "Fact 7");
        assert_eq!(words(None, r#""seven""#), "Fact seven");
        assert_eq!(words(None, "[1,{\"a\":2}]"), r#"Fact [1,{"a":2}]"#);
        let several = r#"{"id":3,"why":"late","more":{"a":2}}"#;
        assert_eq!(words(None, several), r#"Fact id 3, more {"a":2}, why late"#);
        assert_eq!(words(Some(4), several), r#"Fact node 4, id 3, more {"a":2}, why late"#);
        assert_eq!(words(Some(3), r#"{"id":3,"is_on":true}"#), "Fact node 3, is on");
        assert_eq!(words(Some(3), r#"{"id":3,"is_on":false}"#), "Fact node 3, not is on");
        let offset = r#"{"correction":{"from":0,"rate_ppm":1,"since":0,"to":-1250000}}"#;
        let offset = Fact::recorded("ClockOffset", None, serde_json::from_str(offset).unwrap());
        assert_eq!(super::statement(&offset), "clock corrected by −1.2 ms");
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
