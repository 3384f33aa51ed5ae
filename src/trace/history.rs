//! Histories from traces: what the key-value store's clients saw, by the requests and replies that
//! the nodes noted, and what the nodes did. Knows the store's requests, and no property.

mod timeline;

pub(crate) use self::timeline::{coordinator, rank};

use self::timeline::Timeline;
use super::{Event, Line};
use crate::check::History;
use crate::check::history::{Kind, Op, Outcome};
use crate::check::timeline::Happening;
use crate::text::is_beginning;
use node_protocols::kv_replication::{Reply, Request};
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;

/// How the first line of every trace begins.
const BEGINNING: &[u8] = b"{\"at\":";

/// Whether these are the first bytes of a trace rather than of a history.
pub fn is_trace(head: &[u8]) -> bool {
    head.starts_with(BEGINNING)
}

/// Reads the traces of one run, which share their messages' names.
#[derive(Default)]
pub struct Traces {
    timeline: Timeline,
}

/// Reads one trace's operations.
#[derive(Default)]
struct Reader {
    ops: Vec<Op>,
    /// The operations under way, by name: their places and their clients.
    open: BTreeMap<String, (usize, String)>,
    /// Clients' numbers, and how many operations of each are under way.
    clients: BTreeMap<String, (u64, usize)>,
    next_client: u64,
    /// Which clients know a timestamp of which keys.
    known: BTreeSet<(String, String)>,
}

impl Traces {
    /// Reads a trace; an error names the line. Returns its operations, in a history that lacks what
    /// the nodes did: that is known once all traces are read.
    ///
    /// Times are the nodes': several traces make one history only when their clocks agree, as on
    /// one machine. A connection is a client; what it pipelines counts as of other clients, since a
    /// client's operations do not overlap. So does a GET that passes no timestamp though the connection
    /// knows one: it asks as somebody who has seen nothing yet.
    ///
    /// A node that was killed may have left the beginning of a last line: that is left out, and its
    /// number comes with the history.
    pub fn read(&mut self, mut input: impl BufRead) -> Result<(History, Option<usize>), String> {
        let mut reader = Reader::default();
        let (mut buffer, mut cut) = (Vec::new(), None);
        for number in 1.. {
            let error = |why: String| format!("line {number}: {why}");
            buffer.clear();
            let read = input.read_until(b'\n', &mut buffer);
            if read.map_err(|why| error(why.to_string()))? == 0 {
                break;
            }
            if buffer.trim_ascii().is_empty() {
                continue;
            }
            if buffer.last() != Some(&b'\n') && is_beginning(&buffer) {
                cut = Some(number);
                break;
            }
            let line: Line<'_> =
                serde_json::from_slice(&buffer).map_err(|why| error(why.to_string()))?;
            self.timeline.line(&line);
            let node = line.node.unwrap_or_default();
            match line.event {
                Event::Request { op, client, label, .. } => {
                    reader.request(&op, &client, &label, line.at, node);
                }
                Event::Reply { op, label, .. } => reader.reply(&op, &label, line.at),
                _ => {}
            }
        }
        self.timeline.end_of_trace();
        Ok((History { ops: reader.ops, ..History::default() }, cut))
    }

    /// What the nodes did, by all the traces together.
    pub fn finish(self) -> Vec<Happening> {
        self.timeline.finish()
    }
}

/// Reads a trace that is all there is of a run, and whole.
pub fn read(input: impl BufRead) -> Result<History, String> {
    let mut traces = Traces::default();
    match traces.read(input)? {
        (history, None) => Ok(History { timeline: traces.finish(), ..history }),
        (_, Some(line)) => Err(format!("line {line}: it is cut off")),
    }
}

impl Reader {
    /// A request of another protocol, or one that only asks how a server is, is no operation.
    fn request(&mut self, name: &str, client: &str, label: &str, at: u64, node: u32) {
        let (kind, key, value, passes) = match serde_json::from_str::<Request<'_>>(label) {
            Ok(Request::Put { key, value }) => (Kind::Put, key, Some(value), true),
            Ok(Request::Get { key, timestamp, applied }) => {
                (Kind::Get, key, None, timestamp.max(applied).0 > 0)
            }
            Ok(Request::Info {}) | Err(_) => return,
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut number = self.client(client);
        if !passes && self.known.contains(&(client.to_string(), text(&key))) {
            number = self.next_client;
        }
        self.open.insert(name.to_string(), (self.ops.len(), client.to_string()));
        self.ops.push(Op {
            client: number,
            op: kind,
            key: text(&key),
            value: value.map(|value| text(&value)),
            invoke_ns: at,
            return_ns: None,
            outcome: Outcome::Unknown,
            timestamp: 0,
            server: node.to_string(),
        });
    }

    fn client(&mut self, name: &str) -> u64 {
        self.next_client += 1;
        let fresh = self.next_client;
        let (number, open) = self.clients.entry(name.to_string()).or_insert((fresh, 0));
        *open += 1;
        if *open == 1 { *number } else { fresh }
    }

    fn reply(&mut self, name: &str, label: &str, at: u64) {
        let Some((place, client)) = self.open.remove(name) else { return };
        if let Some((_, open)) = self.clients.get_mut(&client) {
            *open -= 1;
        }
        let op = &mut self.ops[place];
        let (outcome, timestamp) = match serde_json::from_str::<Reply<'_>>(label) {
            Ok(Reply::PutOk { timestamp }) => (Outcome::Ok, timestamp.0),
            Ok(Reply::Value { value, timestamp }) => {
                op.value = Some(String::from_utf8_lossy(&value).into_owned());
                (Outcome::Ok, timestamp.0)
            }
            Ok(Reply::Null {}) => (Outcome::Null, 0),
            Ok(Reply::TryOtherServerOrLater { timestamp }) => (Outcome::TryOther, timestamp.0),
            Ok(Reply::NotApplied { .. }) => (Outcome::NotApplied, 0),
            Ok(Reply::MayStillApply { .. }) => (Outcome::MayStillApply, 0),
            Ok(Reply::Info(_)) | Err(_) => return,
        };
        op.return_ns = Some(at);
        (op.outcome, op.timestamp) = (outcome, timestamp);
        if timestamp > 0 && outcome == Outcome::Ok {
            self.known.insert((client, op.key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::timeline::{Bounds, What};
    use crate::check::{Property, check};
    use crate::explain;
    use proptest::prelude::*;

    fn request(at: u64, op: &str, label: &str) -> String {
        let label = serde_json::Value::from(label);
        format!(
            r#"{{"at":{at},"node":1,"kind":"request","op":"{op}","client":"c","label":{label}}}"#
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
        assert!(is_trace(trace[0].as_bytes()));
        let history = read(trace.join("\n").as_bytes()).expect("it is a trace");
        let shown: Vec<_> = history
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
        assert_eq!(history.ops[1].value.as_deref(), Some("v"));
        assert_eq!(history.timeline, [Happening { at: 5, what: What::End }]);
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
        let history = read(trace.join("\n").as_bytes()).expect("it is a trace");
        let clients: Vec<u64> = history.ops.iter().map(|op| op.client).collect();
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
        (at, 0..4_u32, 0..19, 0..4_u32, value).prop_map(|(at, node, kind, other, value)| {
            let what = match kind {
                0 => r#""run","source":"node","scenario":"","nodes":[]"#.into(),
                1 => r#""run","source":"sim","scenario":"","nodes":[4294967295]"#.into(),
                2 | 3 => format!(
                    r#""start","incarnation":{value},"durable":{},"elects":"{}""#,
                    other > 1,
                    ["no", "id", "rank", "rank"][other as usize]
                ),
                4 => r#""crash""#.into(),
                5 => r#""stop""#.into(),
                6 => format!(r#""pause","on":{}"#, other > 1),
                7 | 8 => format!(
                    r#""send","id":"{other}","to":{other},"protocol":"bully","label":"{}""#,
                    ["Election {}", "Ok", "Coordinator {}", "Alive {}"][other as usize]
                ),
                9 | 10 => format!(r#""recv","id":"{other}","from":{other}"#),
                11 => format!(r#""duplicate","id":"{other}","of":"{node}""#),
                12 | 13 => format!(
                    r#""fact","protocol":"","fact":"","label":"Coordinator {{ id: {other}, epoch: {value} }}""#
                ),
                14 => format!(
                    r#""fault","place":0,"fault":"partition","nodes":[{other}],"until":{value},"label":"""#
                ),
                15 => format!(
                    r#""fault","place":0,"fault":"loss","nodes":[],"until":{value},"label":"""#
                ),
                16 => format!(
                    r#""fact","protocol":"","fact":"","label":"Rank {{ id: {other}, rank: {node} }}""#
                ),
                17 => format!(
                    r#""fact","protocol":"","fact":"","label":"Listed {{ id: {other}, rank: {node}, on: true }}""#
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
            let mut reader = Traces::default();
            let run = r#"{"at":5,"kind":"run","source":"node","scenario":"","nodes":[1,2]}"#;
            let texts = traces.iter().map(|lines| format!("{run}\n{}", lines.join("\n")));
            let mut sources = Vec::new();
            for text in texts {
                reader.read(text.as_bytes()).expect("it is a trace");
                sources.push(explain::Source { name: String::new(), text });
            }
            let bounds = Bounds { agree_ns: 3, handover_ns: 1, ..Bounds::default() };
            let history = History { timeline: reader.finish(), bounds, ..History::default() };
            for property in Property::ALL {
                check(property, &history);
            }
            let merged = explain::merge(&sources).expect("they are traces");
            explain::elections::write(&merged, &mut Vec::new()).expect("memory takes it");
        }
    }
}
