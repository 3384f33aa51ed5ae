//! The run as one page: the assets beside this file with the run's data in their midst. The page
//! asks no network for anything, and shows what is in the trace as text only.
//!
//! The data cannot end the element that it is in; see `data.rs`. The page's own script puts
//! strings into `textContent` or on a canvas.

pub use super::data::Extras;

use super::{Merged, data};
use std::io::{self, Write};

const PAGE: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
/// In the order in which they are needed.
const SCRIPTS: &[&str] = &[
    include_str!("decode.js"),
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
    include_str!("part.js"),
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
    data::write(run, extras, out)?;
    put(out, between)?;
    for script in SCRIPTS {
        put(out, script)?;
    }
    put(out, end)
}

fn put(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::{Source, merge};
    use serde_json::Value;

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

    /// A page's data as its script sees it: `data.events[i]` with its fields by name.
    fn data_of(page: &str) -> Value {
        let json = page.split("type=\"application/json\">").nth(1).unwrap();
        let mut data: Value =
            serde_json::from_str(json.split("</script>").next().unwrap()).unwrap();
        let (words, shapes) = (data["words"].clone(), data["shapes"].clone());
        let word = |place: &Value| words[place.as_u64().unwrap() as usize].clone();
        let mut views = std::collections::BTreeMap::new();
        for row in data["events"].as_array_mut().unwrap() {
            let shape = shapes[row[0].as_u64().unwrap() as usize].as_array().unwrap();
            let mut event = serde_json::json!({ "kind": shape[0] });
            for (field, value) in shape[1..].iter().zip(&row.as_array().unwrap()[3..]) {
                let (sign, name) = field.as_str().unwrap().split_at(1);
                match sign {
                    "$" => event[name] = word(value),
                    "#" => {
                        event[name] = serde_json::from_str(word(value).as_str().unwrap()).unwrap()
                    }
                    "~" => {
                        let key = format!("{} {}", event["node"], event["protocol"]);
                        let mut whole: Value = views.get(&key).cloned().unwrap();
                        let changed = value.as_object().unwrap().clone();
                        whole.as_object_mut().unwrap().extend(changed);
                        event[name] = whole;
                    }
                    _ => event[field.as_str().unwrap()] = value.clone(),
                }
            }
            if event["kind"] == "view" {
                let key = format!("{} {}", event["node"], event["protocol"]);
                views.insert(key, event["value"].clone());
            }
            *row = event;
        }
        data
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
        let data = data_of(&page);
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
        let data = data_of(&page);
        let (event, exact) = (&data["events"][0], 9_007_199_254_740_992_u64);
        let value = serde_json::json!({"a": ["9007199254740993", "-9007199254740993"], "b": exact});
        assert_eq!((&event["value"], &event["subject"]), (&value, &1.into()));
        assert_eq!(
            event["label"],
            "Load node 1, a [9007199254740993,-9007199254740993], b 9007199254740992"
        );
    }

    #[test]
    fn of_views_the_page_gets_what_changed_and_has_all_of_them_again() {
        let values = [
            serde_json::json!({"a": 1, "b": [1, {"c": "<"}], "d": {"x": 1}}),
            serde_json::json!({"a": 2, "b": [1, {"c": "<"}], "d": {"x": 1}}),
            serde_json::json!({"a": 2, "b": [], "d": null}),
            serde_json::json!({"a": 2, "b": []}),
            serde_json::json!("a word"),
            serde_json::json!({"a": 2, "b": [], "__proto__": 1}),
        ];
        let mut text =
            r#"{"at":0,"kind":"run","source":"sim","scenario":"","nodes":[1,2]}"#.to_string();
        let line = |node: u32, value: &Value| {
            let line = serde_json::json!({"at": 1, "node": node, "kind": "view", "protocol": "p", "value": value});
            format!("\n{line}")
        };
        for value in &values {
            text += &line(1, value);
            text += &line(2, &values[0]);
        }
        let sources = [Source { name: "t".into(), text }];
        let mut out = Vec::new();
        super::write(&merge(&sources).unwrap(), &mut out).unwrap();
        let page = String::from_utf8(out).unwrap();
        let events = data_of(&page)["events"].as_array().unwrap().clone();
        let own = |node: u64| events.iter().filter(move |event| event["node"] == node);
        assert_eq!(own(1).map(|event| event["value"].clone()).collect::<Vec<_>>(), values);
        assert!(own(2).all(|event| event["value"] == values[0]));
        assert_eq!(page.matches("\\u003c\\").count(), 1, "what did not change is said once");
    }

    #[test]
    fn a_curve_is_data_like_the_rest() {
        let run = r#"{"at":0,"kind":"run","source":"sim","scenario":"x","nodes":[1]}"#;
        let sources = [Source { name: "t".into(), text: run.to_string() + "\n" }];
        let mut out = Vec::new();
        let extras = super::Extras { curve: vec![(0, 0.1), (5_000, 0.9)], part: None };
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
        let data = data_of(&page);
        let witnesses = data["events"][9]["witnesses"].as_array().unwrap();
        let found: Vec<_> = witnesses.iter().map(|one| one["event"].as_u64()).collect();
        assert_eq!(found, [Some(5), Some(7), Some(3), Some(6), Some(8), None, None]);
        let first = serde_json::json!({"role": "a", "says": "s", "op": "1-1", "event": 5});
        assert_eq!(witnesses[0], first);
    }

    /// A message that goes round in a circle has a cause behind it, and one that is its own copy
    /// none; of very many witnesses some are shown.
    #[test]
    fn a_trace_that_contradicts_itself_is_shown_as_far_as_it_goes() {
        let witness = r#"{"role":"r","says":"s"}"#;
        let text = [
            r#"{"at":0,"kind":"run","source":"sim","scenario":"","nodes":[1,2]}"#.to_string(),
            r#"{"at":1,"node":1,"kind":"duplicate","id":"a","of":"b"}"#.into(),
            r#"{"at":2,"node":1,"kind":"duplicate","id":"b","of":"a"}"#.into(),
            r#"{"at":3,"node":1,"kind":"duplicate","id":"q","of":"q"}"#.into(),
            format!(
                r#"{{"at":4,"kind":"violation","property":"p","label":"","witnesses":[{}]}}"#,
                vec![witness; 3_000].join(",")
            ),
        ];
        let sources = [Source { name: "t".into(), text: text.join("\n") }];
        let mut out = Vec::new();
        super::write(&merge(&sources).unwrap(), &mut out).unwrap();
        let page = String::from_utf8(out).unwrap();
        let json = page.split("type=\"application/json\">").nth(1).unwrap();
        let data: Value = serde_json::from_str(json.split("</script>").next().unwrap()).unwrap();
        let rows = data["events"].as_array().unwrap().iter();
        let mut causes: Vec<i64> = rows.map(|row| row[2].as_i64().unwrap()).collect();
        causes.sort_unstable();
        assert_eq!(causes, [-1, 0, 0, 1]);
        let data = data_of(&page);
        let mut events = data["events"].as_array().unwrap().iter();
        let violation = events.find(|event| event["kind"] == "violation").unwrap();
        assert!(violation["witnesses"].as_array().unwrap().len() < 100);
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
