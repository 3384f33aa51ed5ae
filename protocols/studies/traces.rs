//! What the studies make of traces, the odd ones too.

use crate::kv_replication::Store;
use crate::kv_replication::history::Outcome;
use node_lab::check::timeline::{Happening, What};
use node_lab::explain;
use node_lab::study::{AGREE, Bounds, Run};
use node_lab::trace::history::{Traces, read};
use proptest::prelude::*;

fn request(at: u64, op: &str, label: &str) -> String {
    let label = serde_json::Value::from(label);
    format!(
        r#"{{"at":{at},"node":1,"kind":"request","op":"{op}","client":"c","protocol":"kv_replication","label":{label}}}"#
    )
}

fn reply(at: u64, op: &str, label: &str) -> String {
    request(at, op, label).replace("\"request\"", "\"reply\"")
}

#[test]
fn requests_and_replies_make_operations() {
    let trace = [
        r#"{"at":0,"kind":"run","source":"node","scenario":"kv","nodes":[1]}"#.to_string(),
        request(1, "a", r#"{"put":{"key":"k","value":"v"}}"#),
        request(2, "b", r#"{"get":{"key":"k"}}"#),
        reply(3, "a", r#"{"put_ok":{"timestamp":7}}"#),
        reply(4, "b", r#"{"value":{"value":"v","timestamp":7}}"#),
        request(5, "c", r#"{"get":{"key":"x"}}"#),
        request(5, "d", r#"{"info":{}}"#),
    ];
    let run = read(trace.join("\n").as_bytes()).expect("it is a trace");
    let store = Store::of(&run);
    let shown: Vec<_> = store
        .ops
        .iter()
        .map(|op| (op.client, op.invoke_ns, op.return_ns, op.outcome, op.timestamp))
        .collect();
    assert_eq!(
        shown,
        [
            (1, 1, Some(3), Outcome::Ok, 7),
            (2, 2, Some(4), Outcome::Ok, 7),
            (1, 5, None, Outcome::Unknown, 0),
        ]
    );
    assert_eq!(store.ops[1].value.as_deref(), Some("v"));
    assert_eq!(run.timeline, [Happening { at: 5, what: What::End }]);
}

#[test]
fn who_passes_no_timestamp_has_seen_nothing_yet() {
    let get = r#"{"get":{"key":"k"}}"#;
    let trace = [
        r#"{"at":0,"kind":"run","source":"node","scenario":"kv","nodes":[1]}"#.to_string(),
        request(1, "a", get),
        reply(2, "a", r#"{"value":{"value":"v","timestamp":7}}"#),
        request(3, "b", get),
        reply(4, "b", r#"{"value":{"value":"u","timestamp":6}}"#),
        request(5, "c", r#"{"get":{"key":"k","timestamp":7}}"#),
        reply(6, "c", r#"{"value":{"value":"v","timestamp":7}}"#),
        request(7, "d", r#"{"get":{"key":"other"}}"#),
    ];
    let run = read(trace.join("\n").as_bytes()).expect("it is a trace");
    let store = Store::of(&run);
    let clients: Vec<u64> = store.ops.iter().map(|op| op.client).collect();
    assert_eq!(clients, [1, 2, 1, 1]);
}

#[test]
fn a_broken_line_is_named() {
    let error = read(&b"{\"at\":0,\"kind\":\"crash\"}\n{\"at\""[..]).expect_err("it is broken");
    assert!(error.starts_with("line 2: "), "{error}");
}

/// A line that says anything at any time, in the form of a trace.
fn any_line() -> impl Strategy<Value = String> {
    let at = prop_oneof![0..50_u64, 2_000_000_000..2_000_000_050_u64, Just(u64::MAX)];
    let value = prop_oneof![0..9_u64, Just(u64::MAX)];
    (at, 0..4_u32, 0..23, 0..4_u32, value).prop_map(|(at, node, kind, other, value)| {
        let what = match kind {
            0 => r#""run","source":"node","scenario":"","nodes":[]"#.into(),
            1 => r#""run","source":"sim","scenario":"","nodes":[4294967295]"#.into(),
            2 | 3 => format!(
                r#""start","incarnation":{value},"durable":{},"runs":[{}]"#,
                other > 1,
                [
                    r#"{"protocol":""}"#,
                    "",
                    r#"{"protocol":"","publishes":["Coordinator"]}"#,
                    r#"{"protocol":"x","publishes":["Coordinator"],"needs":["Rank"]}"#,
                ][other as usize]
            ),
            4 => r#""crash""#.into(),
            5 => r#""stop""#.into(),
            6 => format!(r#""pause","on":{}"#, other > 1),
            7 | 8 => format!(
                r#""send","id":"{other}","to":{other},"protocol":"bully","label":"{}""#,
                [
                    r#"{\"Election\":{\"epoch\":1}}"#,
                    r#"\"Ok\""#,
                    r#"{\"Coordinator\":{\"epoch\":1}}"#,
                    "Ok"
                ][other as usize]
            ),
            9 | 10 => format!(r#""recv","id":"{other}","from":{other}"#),
            11 => format!(r#""duplicate","id":"{other}","of":"{node}""#),
            12 | 13 => format!(
                r#""fact","protocol":"","fact":"Coordinator","value":{{"id":{other},"epoch":{value}}}"#
            ),
            14 => format!(
                r#""fault","place":0,"fault":"partition","nodes":[{other}],"until":{value},"label":"""#
            ),
            15 => format!(
                r#""fault","place":0,"fault":"loss","nodes":[],"until":{value},"label":"""#
            ),
            16 => format!(
                r#""fact","protocol":"","fact":"Rank","value":{{"id":{other},"rank":{node}}}"#
            ),
            17 => format!(
                r#""fact","protocol":"","fact":"Listed","value":{{"id":{other},"rank":{node},"on":true}}"#
            ),
            18 => format!(r#""fact","protocol":"","fact":"Rank","value":[{value}]"#),
            19 => format!(r#""fact","protocol":"","fact":"ClockOffset","value":{value}"#),
            20 => format!(
                r#""invoke","op":"{node}-{other}","client":{value},"to":{other},"protocol":"{}","label":"{}""#,
                ["board", "kv_replication", "lottery", ""][other as usize],
                [r#"{\"info\":{}}"#, r#"{\"get\":{\"key\":\"\"}}"#, "{}", "1"][node as usize]
            ),
            21 => format!(
                r#""contact","connection":{},"what":"{}","label":"{{}}""#,
                value.min(u64::from(u32::MAX)),
                ["pushed", "closed", "dozes", "reads"][other as usize]
            ),
            _ => r#""note","line":"""#.into(),
        };
        let node = if kind == 14 || kind == 15 { "null".into() } else { node.to_string() };
        format!(r#"{{"at":{at},"node":{node},"lamport":{value},"kind":{what}}}"#)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_trace_is_too_odd_to_judge_and_to_show(
        traces in prop::collection::vec(prop::collection::vec(any_line(), 0..40), 1..4),
    ) {
        let bounds = Bounds::default().with(&AGREE, 3).with(&crate::bully::HANDOVER, 1);
        let (mut reader, mut seen) = (Traces::default(), Run { bounds, ..Run::default() });
        let run = r#"{"at":5,"kind":"run","source":"node","scenario":"","nodes":[1,2]}"#;
        let texts = traces.iter().map(|lines| format!("{run}\n{}", lines.join("\n")));
        let mut sources = Vec::new();
        for text in texts {
            reader.read(text.as_bytes(), &mut seen).expect("it is a trace");
            sources.push(explain::Source { name: String::new(), text });
        }
        reader.finish(&mut seen);
        for property in crate::registry().properties() {
            (property.judge)(&seen);
        }
        let merged = explain::merge(&sources).expect("they are traces");
        crate::bully::elections::write(&merged, &mut Vec::new()).expect("memory takes it");
    }
}
