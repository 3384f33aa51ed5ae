//! The run's data as its page takes them: one row an event, without the names of its fields, and
//! every text once. `decode.js` makes events of it again. Knows nothing of the page.
//!
//! A row is `[shape, time, cause, …]`: which fields follow, as `shapes` has them after the event's
//! kind; nanoseconds after the row before; how many rows before it its cause is, 0 for none. A
//! cause that comes after it, in traces that contradict themselves, is so many rows below 0. A
//! field's name begins with what its value is: `$` a place in `words`, `#` the place of a JSON text
//! there, `~` what has changed in the object since the last view of the same node and protocol;
//! without a sign it is the value itself.
//!
//! The data stands in a `<script type="application/json">`, where the one thing that could end it
//! early is a `<`: it is escaped, as are `>`, `&` and the two line ends that JSON has and old
//! JavaScript has not.

use super::slice::Part;
use super::witnesses::Places;
use super::{Entry, Merged, text};
use crate::trace::{Event, Testimony};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::io::{self, Write};

/// What a page shows beside what is in the traces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extras {
    /// How likely the failure was at moments of the run, ascending: nanoseconds after
    /// [`Merged::base`], and the share (0 to 1) of runs that fail when the rest is drawn anew then.
    /// A curve over the diagram; none when there are fewer than two.
    pub curve: Vec<(u64, f64)>,
    /// Of which part of the run the entries are; none when they are all.
    pub part: Option<Part>,
}

/// The largest integer up to which JavaScript's numbers are exact; what is larger goes as text.
const EXACT: u64 = 1 << 53;

/// The most witnesses of a violation: checkers name five, and a page of thousands would not open.
const MOST_WITNESSES: usize = 20;

/// The tables that rows refer to. Nothing iterates over the maps.
#[derive(Default)]
struct Tables {
    words: Vec<String>,
    word_of: HashMap<String, usize>,
    shapes: Vec<Vec<String>>,
    shape_of: HashMap<Vec<String>, usize>,
    /// The last view of each node and protocol.
    views: HashMap<(Option<u64>, String), Map<String, Value>>,
}

/// Writes the data, one event a line.
///
/// # Errors
/// Those of `out`.
pub(super) fn write(run: &Merged, extras: &Extras, out: &mut impl Write) -> io::Result<()> {
    let head = json!({
        "title": text::title(run),
        "source": run.source,
        "scenario": run.scenario,
        "seed": run.seed.map(|seed| seed.to_string()),
        "nodes": run.nodes,
        "base": run.base.to_string(),
        "notes": run.notes,
        "judged": run.judged,
    });
    write!(out, "{{\"run\":{},", escaped(&head.to_string()))?;
    if !extras.curve.is_empty() {
        let point = |(t, share): &(u64, f64)| json!({"t": t, "share": share});
        let points: Vec<Value> = extras.curve.iter().map(point).collect();
        write!(out, "\"curve\":{},", Value::from(points))?;
    }
    if let Some(part) = &extras.part {
        write!(out, "\"part\":{},", escaped(&part.json().to_string()))?;
    }
    out.write_all(b"\"events\":[")?;
    let places = Places::of(run);
    let mut tables = Tables::default();
    let mut before = 0;
    for (index, entry) in run.entries.iter().enumerate() {
        let fields = fields(run, entry, &places, extras.part.as_ref(), index)?;
        let behind = entry.cause.map_or(0, |by| index as i64 - by as i64);
        let row = tables.row(fields, entry.t - before, behind);
        before = entry.t;
        let comma = if index == 0 { "\n" } else { ",\n" };
        write!(out, "{comma}{}", escaped(&Value::from(row).to_string()))?;
    }
    let (words, shapes) = (Value::from(tables.words), Value::from(tables.shapes));
    let (words, shapes) = (escaped(&words.to_string()), escaped(&shapes.to_string()));
    write!(out, "\n],\n\"shapes\":{shapes},\n\"words\":{words}}}")
}

/// An event's fields, but for its time and cause.
fn fields(
    run: &Merged,
    entry: &Entry,
    places: &Places,
    part: Option<&Part>,
    index: usize,
) -> io::Result<Map<String, Value>> {
    let Value::Object(mut fields) = serde_json::to_value(&entry.line)? else {
        return Ok(Map::new());
    };
    fields.remove("at");
    if let Some(until) = fields.get_mut("until") {
        let from_base = until.as_u64().unwrap_or(0).saturating_sub(run.base);
        *until = from_base.into();
    }
    // Times stay numbers: the page computes with them, and a run of 100 days is exact.
    for (_, value) in fields.iter_mut().filter(|(name, _)| *name != "until") {
        exact(value);
    }
    match &entry.line.event {
        // Nobody reads it there, and it may be large.
        Event::File { content, .. } => {
            fields.insert("content".into(), content.len().into());
        }
        Event::Fact { .. } => {
            if let Some(fact) = entry.line.event.to_fact() {
                fields.insert("label".into(), text::statement(&fact).into());
            }
        }
        Event::Violation { witnesses, .. } => {
            let witnesses =
                witnesses.iter().take(MOST_WITNESSES).map(|one| resolved(one, places.find(one)));
            fields.insert("witnesses".into(), witnesses.collect());
        }
        _ => {}
    }
    if part.is_some_and(|part| part.is_carried(index)) {
        fields.insert("carried".into(), 1.into());
    }
    Ok(fields)
}

impl Tables {
    fn row(&mut self, mut fields: Map<String, Value>, time: u64, cause: i64) -> Vec<Value> {
        let kind = fields.remove("kind");
        let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default().to_string();
        if kind == "view" {
            self.shorten(&mut fields);
        }
        let mut shape = vec![kind];
        let mut row = vec![Value::Null, time.into(), cause.into()];
        for (name, value) in fields {
            let (sign, value) = match value {
                Value::String(text) => ("$", self.word(text).into()),
                Value::Object(_) | Value::Array(_) if !name.starts_with('~') => {
                    ("#", self.word(value.to_string()).into())
                }
                other => ("", other),
            };
            shape.push(format!("{sign}{name}"));
            row.push(value);
        }
        let next = self.shapes.len();
        let place = *self.shape_of.entry(shape.clone()).or_insert(next);
        if place == next {
            self.shapes.push(shape);
        }
        row[0] = place.into();
        row
    }

    fn word(&mut self, text: String) -> usize {
        let next = self.words.len();
        let place = *self.word_of.entry(text.clone()).or_insert(next);
        if place == next {
            self.words.push(text);
        }
        place
    }

    /// Of a view that has the fields of the one before it, leaves what has changed.
    fn shorten(&mut self, fields: &mut Map<String, Value>) {
        let protocol = fields.get("protocol").and_then(Value::as_str).unwrap_or_default();
        let key = (fields.get("node").and_then(Value::as_u64), protocol.to_string());
        let Some(Value::Object(now)) = fields.get("value") else { return };
        let now = now.clone();
        if let Some(before) = self.views.get(&key)
            && before.keys().eq(now.keys())
        {
            let changed = now.iter().filter(|(name, value)| before[*name] != **value);
            let changed: Map<String, Value> =
                changed.map(|(name, value)| (name.clone(), value.clone())).collect();
            fields.remove("value");
            fields.insert("~value".into(), changed.into());
        }
        self.views.insert(key, now);
    }
}

/// A witness with the entry that it means, by its index; without one where none fits.
fn resolved(witness: &Testimony, entry: Option<usize>) -> Value {
    let mut value = json!({ "role": witness.role, "says": witness.says });
    if let Some(op) = &witness.op {
        value["op"] = json!(op);
    }
    if let Some(entry) = entry {
        value["event"] = entry.into();
    }
    value
}

/// Makes text of the numbers that JavaScript would round, however deep they lie.
fn exact(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let is_large = number.as_u64().is_some_and(|number| number > EXACT)
                || number.as_i64().is_some_and(|number| number.unsigned_abs() > EXACT);
            if is_large {
                *value = Value::String(number.to_string());
            }
        }
        Value::Array(values) => values.iter_mut().for_each(exact),
        Value::Object(fields) => fields.values_mut().for_each(exact),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// JSON that cannot end the element it is in. These characters stand in JSON's strings only,
/// where an escape means the same.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            _ => text.push(c),
        }
    }
    text
}
