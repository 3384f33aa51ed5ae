//! What clients write of themselves, and what reading makes of it beside the traces of nodes.

use super::*;
use crate::plugins::JsonForm;
use crate::study::Contact;
use crate::trace::ClientWriter;
use node_protocols::core::{Protocol, encode};
use node_protocols::kv_replication::{KvReplication, Reply, Request, Timestamp};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics with it").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn asked(client: u64, at_ns: u64, request: &[u8]) -> Asked<'_> {
    Asked {
        client,
        connection: 3,
        sequence: 9,
        tag: protocol_tag(KvReplication::NAME),
        is_seen_at_node: false,
        node: Some(2),
        is_twin: false,
        at_ns,
        request,
    }
}

fn bytes(typed: &impl serde::Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(typed, &mut bytes);
    bytes
}

#[test]
fn what_clients_write_is_read() {
    let sink = Sink::default();
    let mut writer = ClientWriter::new(Box::new(sink.clone()), "load", None);
    let (form, from) = (JsonForm::of::<KvReplication>(), writer.origin_ns());
    let request = bytes(&Request::Put { key: b"k"[..].into(), value: b"v"[..].into() });
    let reply = bytes(&Reply::PutOk { timestamp: Timestamp(7) });
    writer.ask(&asked(5, from + 10, &request), &form);
    writer.answer(from + 20, 3, 9, &reply, &form);
    writer.push(from + 25, 3, &reply, &form);
    writer.ask(&asked(5, from + 30, &request), &form);
    writer.ask(&asked(5, from + 35, &[255]), &form);
    writer.meet(from + 40, 3, Met::Closed);
    writer.flush().expect("memory takes it");
    let text = String::from_utf8(sink.0.lock().expect("nobody panics with it").clone());
    let text = text.expect("a trace is text");
    assert!(text.contains(r#""brief":"PUT k=v""#), "{text}");
    let run = read(text.as_bytes()).expect("it is a trace");
    let [first, second] = &run.operations[..] else { panic!("{:?}", run.operations) };
    assert_eq!((first.client, first.node, first.connection), (5, Some(2), 3));
    assert_eq!((first.invoke_ns, first.return_ns), (10, Some(20)), "from the run's beginning");
    assert_eq!((second.invoke_ns, second.return_ns), (30, None));
    let told = run.reply::<Reply<'_>>(first);
    assert_eq!(told, Some(Reply::PutOk { timestamp: Timestamp(7) }));
    let met = run.contacts.iter().map(|Contact { at_ns, what, .. }| (*at_ns, what));
    let met: Vec<_> = met.collect();
    assert!(matches!(met[2], (25, Met::Pushed(_))), "{met:?}");
    assert!(matches!(met[4], (40, Met::Closed)), "{met:?}");
}

#[test]
fn what_cannot_be_written_is_told() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut writer = ClientWriter::new(Box::new(Full), "load", None);
    writer.meet(1, 1, Met::Left);
    assert!(writer.has_failed() && writer.flush().is_err());
}

fn invoke(at: u64, op: &str, client: u64) -> String {
    format!(
        r#"{{"at":{at},"kind":"invoke","op":"{op}","client":{client},"to":1,"protocol":"p","label":"1"}}"#
    )
}

fn returned(at: u64, op: &str) -> String {
    format!(r#"{{"at":{at},"kind":"return","op":"{op}","label":"2"}}"#)
}

/// What a node saw of a client of protocol `p`.
fn seen(at: u64, protocol: &str) -> String {
    format!(
        r#"{{"at":{at},"node":1,"kind":"request","op":"1-{at}","client":"c","protocol":"{protocol}","label":"1"}}
        {{"at":{at},"node":1,"kind":"reply","op":"1-{at}","client":"c","protocol":"{protocol}","label":"2"}}"#
    )
}

fn read_all(traces: &[&[String]]) -> Result<(Run, Vec<u64>), String> {
    let (mut reader, mut run, mut moved) = (Traces::default(), Run::default(), Vec::new());
    for trace in traces {
        moved.push(reader.read(trace.join("\n").as_bytes(), &mut run)?.moved);
    }
    reader.finish(&mut run);
    Ok((run, moved))
}

/// The clients and connections of different traces are different ones, and what they tell stands
/// for what nodes saw of their protocol.
#[test]
fn clients_speak_for_themselves() {
    let node = [seen(1, "p"), seen(2, "q")];
    let one = [invoke(1, "1-1", 3), returned(2, "1-1"), invoke(3, "2-1", 0)];
    let two = [invoke(1, "1-1", 3), returned(2, "1-1")];
    for traces in [[&node[..], &one, &two], [&one, &node, &two], [&one, &two, &node]] {
        let (run, moved) = read_all(&traces).expect("they are traces");
        let mut clients: Vec<(u64, bool)> =
            run.operations.iter().map(|one| (one.client, one.is_seen_at_node)).collect();
        clients.retain(|(_, at_node)| !at_node);
        assert_eq!(clients, [(3, false), (0, false), (7, false)]);
        assert_eq!(run.operations.len(), 4, "of q only the node tells");
        assert_eq!(moved.iter().max(), Some(&4));
        let mut connections: Vec<u32> =
            run.operations.iter().map(|operation| operation.connection).collect();
        connections.sort_unstable();
        connections.dedup();
        assert_eq!(connections.len(), 4);
        // Places still name the operations that they named.
        for contact in &run.contacts {
            let (Met::Asked(place) | Met::Told(place)) = contact.what else { panic!() };
            assert_eq!(run.operations[place].connection, contact.connection);
        }
    }
    let (run, _) = read_all(&[&node]).expect("a trace");
    assert_eq!(run.operations.len(), 2);
}

#[test]
fn what_cannot_have_happened_is_refused() {
    let error = |lines: &[String]| read_all(&[lines]).expect_err("it is refused");
    let early = error(&[invoke(5, "1-1", 1), returned(4, "1-1")]);
    assert_eq!(early, "line 2: the answer to 1-1 is before what was asked");
    let both = error(&[invoke(5, "1-1", 1), invoke(6, "1-2", 1), returned(7, "1-1")]);
    assert_eq!(both, "line 3: client 1 has asked for more before this answer");
    // Of a scenario's clients, its study knows.
    let run = r#"{"at":5,"kind":"run","source":"clients","scenario":"s","seed":7,"nodes":[]}"#;
    let all = [run.into(), invoke(5, "1-1", 1), invoke(6, "2-1", 1), returned(7, "1-1")];
    let (run, _) = read_all(&[&all]).expect("it is a trace");
    assert_eq!(run.operations[0].return_ns, Some(2));
    // Going on after what gets no answer is none of that.
    let on = [invoke(5, "1-1", 1), invoke(6, "1-2", 1), returned(7, "1-2"), returned(8, "4-4")];
    assert!(read_all(&[&on]).is_ok());
    let endless = io::BufReader::new(io::repeat(b' '));
    let long = Traces::default().read(endless, &mut Run::default()).expect_err("it has no end");
    assert!(long.contains("longer than"), "{long}");
}
