//! One order for the events of several traces: a topological order of "earlier on the same node"
//! and "sent before received", in which the wall clock decides what these leave open.
//!
//! A trace's simulated order is kept as it is: all of its events are in one file, and among equal
//! times of one file the earlier line comes first. Between files equal times are ordered by
//! Lamport value.

use super::{Entry, Merged};
use crate::trace::{Event, Line};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, hash_map};

/// What orders events that nothing else does: time, Lamport value, file, line.
type Key = (u64, u64, usize, usize);

/// One event before it has its place.
struct Item<'a> {
    line: Line<'a>,
    key: Key,
    /// The next event of the same node in the same file.
    next: Option<usize>,
    /// The event before it on the node has its place, or there is none.
    node_ready: bool,
    /// The same for the event that it is caused by.
    cause_ready: bool,
    cause: Option<usize>,
}

pub(super) fn merge<'a>(mut files: Vec<Vec<Line<'a>>>, mut notes: Vec<String>) -> Merged<'a> {
    super::kills::mark(&mut files);
    tell_clients_apart(&mut files);
    let head = Head::of(&files, &mut notes);
    let mut items = items(files);
    let effects = causes(&mut items, &mut notes);
    let order = order(&mut items, &effects, &mut notes);

    let mut place = vec![0; items.len()];
    for (at, item) in order.iter().enumerate() {
        place[*item] = at;
    }
    let entry = |item: Item<'a>| {
        let cause = item.cause.map(|cause| place[cause]);
        Entry { t: item.line.at, line: item.line, cause }
    };
    let mut entries: Vec<Entry> = if order.is_sorted() {
        // Where they are: a second copy of a large run is a gigabyte.
        items.into_iter().map(entry).collect()
    } else {
        let mut slots: Vec<Option<Entry>> = Vec::new();
        slots.resize_with(items.len(), || None);
        for (index, item) in items.into_iter().enumerate() {
            slots[place[index]] = Some(entry(item));
        }
        slots.into_iter().flatten().collect()
    };
    // An event that had to wait for another is shown no earlier than it, so times never fall.
    let mut latest = head.base;
    for entry in &mut entries {
        latest = latest.max(entry.t);
        entry.t = latest - head.base;
    }
    Merged {
        source: head.source,
        scenario: head.scenario,
        seed: head.seed,
        nodes: head.nodes,
        base: head.base,
        entries,
        notes,
        judged: None,
        heard: Vec::new(),
    }
}

/// Traces of clients may all begin to count at 0: those of each after the first go on where the
/// ones before ended, as for `node verify`, and their operations have the trace's number.
fn tell_clients_apart(files: &mut [Vec<Line<'_>>]) {
    let is_clients =
        |line: &Line<'_>| matches!(&line.event, Event::Run { source, .. } if source == "clients");
    let (mut first, mut next) = (0, 0);
    let of_clients = files.iter_mut().filter(|lines| lines.iter().any(is_clients));
    for (number, lines) in (1..).zip(of_clients) {
        for line in lines {
            if let Event::Invoke { client, .. } = &mut line.event {
                *client = client.saturating_add(first);
                next = next.max(client.saturating_add(1));
            }
            if let Event::Invoke { op, .. } | Event::Return { op, .. } = &mut line.event
                && number > 1
            {
                *op = format!("{number}:{op}").into();
            }
        }
        first = next;
    }
}

/// What the `run` lines say together.
struct Head {
    source: String,
    scenario: String,
    seed: Option<u64>,
    nodes: Vec<u32>,
    base: u64,
}

impl Head {
    fn of(files: &[Vec<Line<'_>>], notes: &mut Vec<String>) -> Head {
        let mut nodes = BTreeSet::new();
        let (mut sources, mut scenarios, mut seeds) = (Vec::new(), Vec::new(), Vec::new());
        for line in files.iter().flatten() {
            nodes.extend(line.node);
            match &line.event {
                Event::Run { source, scenario, seed, nodes: all, .. } => {
                    sources.push(source.to_string());
                    scenarios.push(scenario.to_string());
                    seeds.extend(*seed);
                    nodes.extend(all);
                }
                Event::Send { to: peer, .. }
                | Event::Recv { from: peer, .. }
                | Event::Drop { from: peer, .. }
                | Event::Link { peer, .. } => {
                    nodes.insert(*peer);
                }
                Event::Fault { nodes: all, .. } => nodes.extend(all),
                _ => {}
            }
        }
        let simulated = sources.iter().any(|source| source == "sim");
        if simulated && sources.len() > 1 {
            notes.push("several runs are merged, and a simulated one is among them".into());
        }
        let begin = files.iter().flatten().map(|line| line.at).min().unwrap_or(0);
        let joined = |mut names: Vec<String>| {
            names.sort();
            names.dedup();
            names.join(", ")
        };
        Head {
            source: joined(sources),
            scenario: joined(scenarios),
            seed: seeds.first().copied(),
            nodes: nodes.into_iter().collect(),
            base: if simulated { 0 } else { begin },
        }
    }
}

/// All events, each knowing the next of its node in its file. What belongs to no node has no
/// order but the clock's; nor have violations, which are found when the run is over.
fn items(files: Vec<Vec<Line<'_>>>) -> Vec<Item<'_>> {
    let several = files.len() > 1;
    let mut items: Vec<Item> = Vec::with_capacity(files.iter().map(Vec::len).sum());
    for (file, lines) in files.into_iter().enumerate() {
        // The node's last event, and its clock there.
        let mut last: BTreeMap<u32, (usize, u64)> = BTreeMap::new();
        for line in lines {
            if matches!(line.event, Event::Run { .. }) {
                continue;
            }
            let index = items.len();
            let node = match line.event {
                Event::Violation { .. } => None,
                _ => line.node,
            };
            let before = node.and_then(|node| last.get(&node).copied());
            let lamport = line.lamport.or(before.map(|before| before.1)).unwrap_or(0);
            if let Some(node) = node {
                last.insert(node, (index, lamport));
            }
            if let Some((before, _)) = before {
                items[before].next = Some(index);
            }
            items.push(Item {
                key: (line.at, if several { lamport } else { 0 }, file, index),
                line,
                next: None,
                node_ready: before.is_none(),
                cause_ready: true,
                cause: None,
            });
        }
    }
    items
}

/// Finds who sent what was received, lost or copied. Returns (cause, effect), sorted.
fn causes(items: &mut [Item], notes: &mut Vec<String>) -> Vec<(usize, usize)> {
    // Looked up alone, in no order.
    let mut makers: HashMap<&str, usize> = HashMap::new();
    let mut twice = Counted::default();
    for (index, item) in items.iter().enumerate() {
        if let Event::Send { id, .. } | Event::Duplicate { id, .. } = &item.line.event {
            match makers.entry(&**id) {
                hash_map::Entry::Occupied(_) => twice.count(id),
                hash_map::Entry::Vacant(place) => {
                    place.insert(index);
                }
            }
        }
    }
    let mut effects = Vec::new();
    let mut orphans = Counted::default();
    for (index, item) in items.iter().enumerate() {
        let (Event::Recv { id, .. } | Event::Drop { id, .. } | Event::Duplicate { of: id, .. }) =
            &item.line.event
        else {
            continue;
        };
        match makers.get(&**id) {
            Some(maker) if *maker != index => effects.push((*maker, index)),
            _ => orphans.count(id),
        }
    }
    drop(makers);
    for (maker, index) in &effects {
        items[*index].cause = Some(*maker);
        items[*index].cause_ready = false;
    }
    effects.extend(operations(items));
    twice.note(notes, "messages are sent twice under one name (is a trace given twice?)");
    orphans.note(notes, "messages arrive, get lost or are copied that no trace here sends");
    effects.sort_unstable();
    effects
}

/// Finds which request a client's asking became, and which reply its answer was, where one trace
/// has both: (cause, effect). A name may come again when its operation is over.
fn operations(items: &mut [Item]) -> Vec<(usize, usize)> {
    // By whether it is a reply, and the operation's name.
    let mut causes: BTreeMap<(bool, String), usize> = BTreeMap::new();
    let mut found = Vec::new();
    for (index, item) in items.iter_mut().enumerate() {
        let cause = match &item.line.event {
            Event::Invoke { op, .. } => {
                causes.insert((false, op.to_string()), index);
                None
            }
            Event::Reply { op, .. } => {
                causes.insert((true, op.to_string()), index);
                None
            }
            Event::Request { op, .. } => causes.remove(&(false, op.to_string())),
            Event::Return { op, .. } => causes.remove(&(true, op.to_string())),
            _ => None,
        };
        if let Some(cause) = cause {
            (item.cause, item.cause_ready) = (Some(cause), false);
            found.push((cause, index));
        }
    }
    found
}

/// The topological order, by key where it leaves a choice.
fn order(items: &mut [Item], effects: &[(usize, usize)], notes: &mut Vec<String>) -> Vec<usize> {
    // A simulated run stands in its order.
    let is_ordered = items.is_sorted_by_key(|item| item.key)
        && items.iter().enumerate().all(|(at, item)| item.cause.is_none_or(|cause| cause < at));
    if is_ordered {
        return (0..items.len()).collect();
    }
    let mut order = Vec::with_capacity(items.len());
    let mut ready = BinaryHeap::new();
    // Waiting for its cause alone. When nothing is ready the traces contradict themselves, and
    // the first of these goes without.
    let mut stalled = BinaryHeap::new();
    let mut placed = vec![false; items.len()];
    let mut contradictions = Counted::default();
    for item in items.iter().filter(|item| item.node_ready) {
        if item.cause_ready {
            ready.push(Reverse(item.key));
        } else {
            stalled.push(Reverse(item.key));
        }
    }
    loop {
        let index = match (ready.pop(), stalled.is_empty()) {
            (Some(Reverse((.., index))), _) => index,
            (None, true) => break,
            (None, false) => {
                let Some(Reverse((.., index))) = stalled.pop() else { break };
                if placed[index] || items[index].cause_ready {
                    continue;
                }
                items[index].cause_ready = true;
                if let Event::Recv { id, .. }
                | Event::Drop { id, .. }
                | Event::Duplicate { id, .. } = &items[index].line.event
                {
                    contradictions.count(id);
                }
                index
            }
        };
        if placed[index] {
            continue;
        }
        placed[index] = true;
        order.push(index);
        if let Some(next) = items[index].next {
            items[next].node_ready = true;
            if items[next].cause_ready {
                ready.push(Reverse(items[next].key));
            } else {
                stalled.push(Reverse(items[next].key));
            }
        }
        let from = effects.partition_point(|(cause, _)| *cause < index);
        for (_, effect) in effects[from..].iter().take_while(|(cause, _)| *cause == index) {
            let effect = &mut items[*effect];
            if !effect.cause_ready {
                effect.cause_ready = true;
                if effect.node_ready {
                    ready.push(Reverse(effect.key));
                }
            }
        }
    }
    contradictions.note(notes, "messages arrive before they are sent, in whatever order");
    order
}

/// How many messages something is wrong with, and the first as an example.
#[derive(Default)]
struct Counted {
    count: usize,
    example: String,
}

impl Counted {
    fn count(&mut self, id: &str) {
        if self.count == 0 {
            self.example = id.to_string();
        }
        self.count += 1;
    }

    fn note(self, notes: &mut Vec<String>, what: &str) {
        if self.count > 0 {
            notes.push(format!("{} {what}, such as {:?}", self.count, self.example));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Error, Merged, Source, kind, merge};
    use crate::trace::Event;

    fn source(name: &str, lines: &[&str]) -> Source {
        let head = r#"{"at":0,"kind":"run","source":"node","scenario":"kv","nodes":[1,2]}"#;
        let mut text = head.replace("\"at\":0", "\"at\":1000");
        for line in lines {
            text.push('\n');
            text.push_str(line);
        }
        text.push('\n');
        Source { name: name.into(), text }
    }

    fn shown(run: &Merged) -> Vec<String> {
        let show = |e: &super::Entry| {
            format!("{} {} {}", e.t, e.line.node.unwrap_or(0), kind(&e.line.event))
        };
        run.entries.iter().map(show).collect()
    }

    const SEND: &str = r#"{"at":1500,"node":1,"lamport":4,"kind":"send","id":"m","to":2,"protocol":"p","label":"hello"}"#;

    #[test]
    fn a_receipt_follows_its_sending_though_the_clock_is_behind() {
        let one = source("one", &[SEND]);
        let two = source(
            "two",
            &[
                r#"{"at":1100,"node":2,"kind":"timer","protocol":"p","label":"t"}"#,
                r#"{"at":1200,"node":2,"lamport":5,"kind":"recv","id":"m","from":1}"#,
                r#"{"at":1300,"node":2,"kind":"print","line":"x"}"#,
                r#"{"at":1600,"node":2,"kind":"stop"}"#,
            ],
        );
        let both = [two, one];
        let run = merge(&both).unwrap();
        assert_eq!(
            shown(&run),
            ["100 2 timer", "500 1 send", "500 2 recv", "500 2 print", "600 2 stop"]
        );
        assert_eq!(run.entries[2].cause, Some(1));
        assert_eq!(run.message(&run.entries[2]), Some(("p", "hello", None)));
        assert!(run.notes.is_empty(), "{:?}", run.notes);
    }

    #[test]
    fn lamport_values_order_equal_times_of_two_files_and_lines_those_of_one() {
        let line = |node: u32, lamport: u64| {
            format!(r#"{{"at":1500,"node":{node},"lamport":{lamport},"kind":"stop"}}"#)
        };
        let files = [source("one", &[&line(1, 9)]), source("two", &[&line(2, 3)])];
        assert_eq!(shown(&merge(&files).unwrap()), ["500 2 stop", "500 1 stop"]);
        let file = [source("one", &[&line(1, 9), &line(2, 3)])];
        assert_eq!(shown(&merge(&file).unwrap()), ["500 1 stop", "500 2 stop"]);
    }

    #[test]
    fn contradictions_are_shown_and_noted() {
        let two = [source(
            "x",
            &[
                r#"{"at":2000,"node":1,"kind":"recv","id":"b","from":2}"#,
                r#"{"at":2001,"node":1,"kind":"send","id":"a","to":2,"protocol":"p","label":""}"#,
                r#"{"at":2002,"node":2,"kind":"recv","id":"a","from":1}"#,
                r#"{"at":2003,"node":2,"kind":"send","id":"b","to":1,"protocol":"p","label":""}"#,
                r#"{"at":2004,"node":2,"kind":"recv","id":"nobody's","from":1}"#,
                r#"{"at":2005,"kind":"duplicate","id":"d","of":"d"}"#,
            ],
        )];
        let run = merge(&two).unwrap();
        assert_eq!(run.entries.len(), 6);
        assert_eq!(run.notes.len(), 2, "{:?}", run.notes);
        assert!(run.notes[1].contains("before they are sent"), "{:?}", run.notes);
    }

    const INVOKE: &str =
        r#"{"at":1100,"kind":"invoke","op":"0-1","client":0,"to":1,"protocol":"p","label":"1"}"#;
    const RETURN: &str = r#"{"at":1400,"kind":"return","op":"0-1","label":"2"}"#;

    #[test]
    fn what_clients_and_nodes_tell_is_tied_together_in_one_trace() {
        let request =
            r#"{"at":1200,"node":1,"kind":"request","op":"0-1","client":"c","label":"1"}"#;
        let reply = request.replace("request", "reply");
        let contact = r#"{"at":1400,"kind":"contact","connection":0,"what":"left"}"#;
        let lost = [INVOKE, RETURN];
        let once = [INVOKE, request, &reply, RETURN, contact];
        let files = [source("x", &[&once[..], &once, &lost].concat())];
        let run = merge(&files).unwrap();
        assert!(run.notes.is_empty(), "{:?}", run.notes);
        let tied = run.entries.iter().filter_map(|entry| {
            let cause = &run.entries[entry.cause?].line.event;
            Some((kind(cause), kind(&entry.line.event)))
        });
        let tied: Vec<_> = tied.collect();
        let (asks, answers) = (("invoke", "request"), ("reply", "return"));
        assert_eq!(tied, [asks, asks, answers, answers]);
        assert_eq!(run.entries.len(), 10);
    }

    #[test]
    fn clients_of_several_traces_are_told_apart() {
        let clients = || {
            let source = source("clients", &[INVOKE, RETURN]);
            Source { text: source.text.replace(r#""node","s"#, r#""clients","s"#), ..source }
        };
        let all = [clients(), clients()];
        let run = merge(&all).unwrap();
        let named = run.entries.iter().map(|entry| match &entry.line.event {
            Event::Invoke { op, client, .. } => format!("{op} of {client}"),
            Event::Return { op, .. } => format!("{op} returns"),
            other => kind(other).to_string(),
        });
        let named: Vec<_> = named.collect();
        assert_eq!(named, ["0-1 of 0", "2:0-1 of 1", "0-1 returns", "2:0-1 returns"]);
    }

    #[test]
    fn broken_lines_are_named() {
        let error = |lines: &[&str]| match merge(&[source("t.jsonl", lines)]) {
            Err(error @ Error::Line { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        };
        let unknown = error(&[SEND, r#"{"at":1,"kind":"no\u001bwhere"}"#]);
        assert!(unknown.starts_with("t.jsonl:3: not a line of a trace: unknown variant"));
        assert!(!unknown.contains('\u{1b}'), "{unknown:?}");
        assert!(error(&["{\"at\":", SEND]).starts_with("t.jsonl:2: "));
        assert!(error(&[r#"{"at":-1,"kind":"crash"}"#]).starts_with("t.jsonl:2: "));
        let headless = [Source { name: "h".into(), text: SEND.into() }];
        assert!(merge(&headless).unwrap_err().to_string().starts_with("h:1: a trace begins"));
        let empty = [Source { name: "e".into(), text: "\n\n".into() }];
        assert_eq!(merge(&empty).unwrap_err().to_string(), "e:1: no events");
    }

    #[test]
    fn a_last_line_cut_off_by_a_kill_is_left_out_and_said() {
        let mut cut = source("cut", &[SEND]);
        cut.text.push_str("{\"at\":1600,\"node\":1,\"ki");
        let files = [cut];
        let run = merge(&files).unwrap();
        assert_eq!(run.entries.len(), 1);
        assert_eq!(run.notes, ["cut:3: the last line is cut off, and left out"]);
    }
}
