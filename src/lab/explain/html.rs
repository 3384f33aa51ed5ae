//! The run as one page: the assets beside this file with the run's data in their midst. The page
//! asks no network for anything, and shows what is in the trace as text only.
//!
//! The data is JSON in a `<script type="application/json">`, where the one thing that could end
//! it early is a `<`: it is escaped, as are `>`, `&` and the two line ends that JSON has and old
//! JavaScript has not. The page's own script puts strings into `textContent` or on a canvas.

use super::witnesses::Places;
use super::{Merged, text};
use crate::trace::{Event, Testimony};
use serde_json::{Value, json};
use std::io::{self, Write};

const PAGE: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
/// In the order in which they are needed.
const SCRIPTS: &[&str] = &[
    include_str!("model.js"),
    include_str!("view.js"),
    include_str!("levels.js"),
    include_str!("draw.js"),
    include_str!("shades.js"),
    include_str!("lanes.js"),
    include_str!("arrows.js"),
    include_str!("marks.js"),
    include_str!("overview.js"),
    include_str!("curve.js"),
    include_str!("because.js"),
    include_str!("state.js"),
    include_str!("panel.js"),
    include_str!("menu.js"),
    include_str!("find.js"),
    include_str!("notes.js"),
    include_str!("picture.js"),
    include_str!("predict.js"),
    include_str!("pointer.js"),
    include_str!("share.js"),
    include_str!("because_test.js"),
    include_str!("selftest.js"),
    include_str!("page.js"),
];

/// The largest integer up to which JavaScript's numbers are exact; what is larger goes as text.
const EXACT: u64 = 1 << 53;

/// What a page shows beside what is in the traces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extras {
    /// How likely the failure was at moments of the run, ascending: nanoseconds after
    /// [`Merged::base`], and the share (0 to 1) of runs that fail when the rest is drawn anew then.
    /// A curve over the diagram; none when there are fewer than two.
    pub curve: Vec<(u64, f64)>,
}

/// Writes the page.
///
/// # Errors
/// Those of `out`.
pub fn write(run: &Merged, out: &mut impl Write) -> io::Result<()> {
    write_with(run, &Extras::default(), out)
}

/// Writes the page, with more on it.
///
/// # Errors
/// Those of `out`.
pub fn write_with(run: &Merged, extras: &Extras, out: &mut impl Write) -> io::Result<()> {
    // The template is cut before anything is inserted, so that nothing inserted is looked at.
    let (head, rest) = PAGE.split_once("/*css*/").unwrap_or((PAGE, ""));
    let (body, rest) = rest.split_once("/*data*/").unwrap_or((rest, ""));
    let (between, end) = rest.split_once("/*js*/").unwrap_or((rest, ""));
    put(out, head)?;
    put(out, CSS)?;
    put(out, body)?;
    data(run, extras, out)?;
    put(out, between)?;
    for script in SCRIPTS {
        put(out, script)?;
    }
    put(out, end)
}

fn put(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())
}

/// The data: one event a line.
fn data(run: &Merged, extras: &Extras, out: &mut impl Write) -> io::Result<()> {
    let head = json!({
        "title": text::title(run),
        "source": run.source,
        "scenario": run.scenario,
        "seed": run.seed.map(|seed| seed.to_string()),
        "nodes": run.nodes,
        "base": run.base.to_string(),
        "notes": run.notes,
    });
    write!(out, "{{\"run\":{},", escaped(&head.to_string()))?;
    if !extras.curve.is_empty() {
        let point = |(t, share): &(u64, f64)| json!({"t": t, "share": share});
        let points: Vec<Value> = extras.curve.iter().map(point).collect();
        write!(out, "\"curve\":{},", Value::from(points))?;
    }
    put(out, "\"events\":[")?;
    let places = Places::of(run);
    for (index, entry) in run.entries.iter().enumerate() {
        let mut event = serde_json::to_value(&entry.line)?;
        if let Value::Object(fields) = &mut event {
            fields.remove("at");
            if let Some(until) = fields.get_mut("until") {
                let from_base = until.as_u64().unwrap_or(0).saturating_sub(run.base);
                *until = from_base.into();
            }
            // Times stay numbers: the page computes with them, and a run of 100 days is exact.
            for (_, value) in fields.iter_mut().filter(|(name, _)| *name != "until") {
                exact(value);
            }
            // Nobody reads it there, and it may be large.
            if let Event::File { content, .. } = &entry.line.event {
                fields.insert("content".into(), content.len().into());
            }
            if let Some(fact) = entry.line.event.to_fact() {
                fields.insert("label".into(), text::statement(&fact).into());
            }
            if let Event::Violation { witnesses, .. } = &entry.line.event {
                let witnesses = witnesses.iter().map(|one| resolved(one, places.find(one)));
                fields.insert("witnesses".into(), witnesses.collect());
            }
            fields.insert("t".into(), entry.t.into());
            if let Some(cause) = entry.cause {
                fields.insert("cause".into(), cause.into());
            }
        }
        let comma = if index == 0 { "\n" } else { ",\n" };
        write!(out, "{comma}{}", escaped(&event.to_string()))?;
    }
    put(out, "\n]}")
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

#[cfg(test)]
mod tests {
    use super::super::{Source, merge};

    fn page(label: &str) -> String {
        let run = r#"{"at":0,"kind":"run","source":"sim","scenario":"SCENARIO","nodes":[1]}"#;
        let line = serde_json::json!({"at": 1, "node": 1, "kind": "print", "line": label});
        let scenario = serde_json::to_string(label).unwrap();
        let text = format!("{}\n{line}\n", run.replace("\"SCENARIO\"", &scenario));
        let sources = [Source { name: "t".into(), text }];
        let mut out = Vec::new();
        super::write(&merge(&sources).unwrap(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_in_a_trace_becomes_markup() {
        let hostile = "</script><img src=x onerror=alert(1)><!--<script>/*js*/ & \u{2028}";
        let page = page(hostile);
        assert_eq!(page.len() - page.replace("<img", "").len(), 0);
        assert!(!page.contains("onerror=alert(1)>"), "the label's `>` is escaped");
        assert!(!page.contains('\u{2028}'));
        let blank = super::tests::page("plain");
        let count = |page: &str, what: &str| page.matches(what).count();
        for what in ["<script", "</script>", "<!--", "/*css*/", "/*data*/"] {
            assert_eq!(count(&page, what), count(&blank, what), "{what}");
        }
        // And it is still the same label.
        let json = page.split("type=\"application/json\">").nth(1).unwrap();
        let json = json.split("</script>").next().unwrap();
        let data: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(data["events"][0]["line"], hostile);
        assert_eq!(data["run"]["scenario"], hostile);
    }

    #[test]
    fn the_page_gets_a_fact_as_it_is_and_in_words_and_no_number_is_rounded() {
        let text = format!(
            "{}\n{}\n",
            r#"{"at":0,"kind":"run","source":"sim","scenario":"","nodes":[1]}"#,
            r#"{"at":1,"node":1,"kind":"fact","protocol":"p","fact":"Load","subject":1,"value":{"a":[9007199254740993,-9007199254740993],"b":9007199254740992}}"#,
        );
        let sources = [Source { name: "t".into(), text }];
        let mut out = Vec::new();
        super::write(&merge(&sources).unwrap(), &mut out).unwrap();
        let page = String::from_utf8(out).unwrap();
        let json = page.split("type=\"application/json\">").nth(1).unwrap();
        let json = json.split("</script>").next().unwrap();
        let data: serde_json::Value = serde_json::from_str(json).unwrap();
        let (event, exact) = (&data["events"][0], 9_007_199_254_740_992_u64);
        let value = serde_json::json!({"a": ["9007199254740993", "-9007199254740993"], "b": exact});
        assert_eq!((&event["value"], &event["subject"]), (&value, &1.into()));
        assert_eq!(
            event["label"],
            "Load node 1, a [9007199254740993,-9007199254740993], b 9007199254740992"
        );
    }

    #[test]
    fn a_curve_is_data_like_the_rest() {
        let run = r#"{"at":0,"kind":"run","source":"sim","scenario":"x","nodes":[1]}"#;
        let sources = [Source { name: "t".into(), text: run.to_string() + "\n" }];
        let mut out = Vec::new();
        let extras = super::Extras { curve: vec![(0, 0.1), (5_000, 0.9)] };
        super::write_with(&merge(&sources).unwrap(), &extras, &mut out).unwrap();
        let page = String::from_utf8(out).unwrap();
        assert!(page.contains(r#""curve":[{"share":0.1,"t":0},{"share":0.9,"t":5000}],"#));
    }

    #[test]
    fn the_page_gets_witnesses_with_the_entries_that_they_mean() {
        let lines = [
            r#"{"at":0,"kind":"run","source":"sim","scenario":"","nodes":[1,2]}"#,
            r#"{"at":1,"kind":"invoke","op":"1-1","client":1,"to":1,"protocol":"p","label":"x"}"#,
            r#"{"at":2,"node":1,"kind":"request","op":"1-1","client":"c","label":"x"}"#,
            r#"{"at":3,"node":1,"kind":"fact","protocol":"p","fact":"One","value":1}"#,
            r#"{"at":3,"node":1,"kind":"fact","protocol":"p","fact":"Two","value":1}"#,
            r#"{"at":4,"node":1,"kind":"reply","op":"1-1","client":"c","label":"y"}"#,
            r#"{"at":5,"kind":"return","op":"1-1","label":"y"}"#,
            r#"{"at":6,"kind":"fault","place":0,"fault":"loss","nodes":[],"until":9,"label":"l"}"#,
            r#"{"at":7,"kind":"invoke","op":"2-1","client":2,"to":2,"protocol":"p","label":"x"}"#,
            r#"{"at":8,"node":2,"kind":"print","line":"x"}"#,
            r#"{"at":9,"kind":"violation","property":"p","label":"why","witnesses":[
               {"role":"a","says":"s","op":"1-1"},{"role":"b","op":"2-1"},
               {"role":"c","node":1,"at":3,"event":"fact Two"},{"role":"d","at":6,"event":"fault"},
               {"role":"e","node":2,"at":9,"event":"turn"},{"role":"f","op":"none"},
               {"role":"g","node":2,"at":3,"event":"fact"}]}"#,
        ];
        let text = lines.map(|line| line.replace('\n', " ")).join("\n");
        let sources = [Source { name: "t".into(), text }];
        let mut out = Vec::new();
        super::write(&merge(&sources).unwrap(), &mut out).unwrap();
        let page = String::from_utf8(out).unwrap();
        let json = page.split("type=\"application/json\">").nth(1).unwrap();
        let json = json.split("</script>").next().unwrap();
        let data: serde_json::Value = serde_json::from_str(json).unwrap();
        let witnesses = data["events"][9]["witnesses"].as_array().unwrap();
        let found: Vec<_> = witnesses.iter().map(|one| one["event"].as_u64()).collect();
        assert_eq!(found, [Some(5), Some(7), Some(3), Some(6), Some(8), None, None]);
        let first = serde_json::json!({"role": "a", "says": "s", "op": "1-1", "event": 5});
        assert_eq!(witnesses[0], first);
    }

    #[test]
    fn the_page_refers_to_nothing_outside() {
        // An object URL names what the page itself made, for saving it.
        let page = page("plain").to_lowercase().replace("objecturl(", "");
        for what in ["http:", "https:", "src=", "href=", "@import", "url(", "fetch(", "xmlhttp"] {
            assert!(!page.contains(what), "{what}");
        }
        for what in ["innerhtml", "outerhtml", "insertadjacent", "document.write", "eval("] {
            assert!(!page.contains(what), "{what}");
        }
        assert!(page.contains("default-src 'none'"));
        assert!(page.trim_end().ends_with("</html>"));
    }
}
