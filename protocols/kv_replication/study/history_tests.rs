//! Reading histories of the store, and what a run's operations make of it.

use super::super::testing::{get, lost, put};
use super::*;
use node_lab::study::{ReadError, read_lines};

fn read(text: &[u8]) -> Result<Store, ReadError> {
    let mut run = Run::default();
    read_lines(text, crate::registry().studies(), &mut run)?;
    Ok(Store::of(&run).as_ref().clone())
}

fn error(text: &str) -> String {
    read(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn names_what_happened_on_one_line() {
    let show = |op: &Op| Described(op).to_string();
    assert_eq!(show(&put(1, "a\nb", 3, 10, 20)), "client 1 PUT k=[a\\nb] (timestamp 3, 10..20 ns)");
    assert_eq!(show(&get(2, None, 0, 10, 20)), "client 2 GET k=NULL (10..20 ns)");
    assert_eq!(show(&lost(put(1, "a", 0, 10, 20))), "client 1 PUT k=[a] (no answer, 10.. ns)");
}

#[test]
fn reads_what_is_written() {
    let ops = vec![put(1, "é\n", 1, 5, 9), get(2, None, 0, 6, 7)];
    let replicas = vec![Replica { replica: "n1".into(), applied: 1, digest: "00ff".into() }];
    let store = Store { ops, replicas, places: Vec::new() };
    let mut text = Vec::from(*b"\n");
    store.write(&mut text).unwrap();
    assert_eq!(read(&text).unwrap(), store);
    let text = String::from_utf8(text).unwrap().replace('\n', "\r\n\n");
    assert_eq!(read(text.as_bytes()).unwrap(), store);
    assert_eq!(read(b"").unwrap(), Store::default());
}

#[test]
fn names_the_line_and_what_is_wrong() {
    let good = serde_json::to_string(&put(1, "a", 1, 5, 9)).unwrap();
    assert!(error(&format!("{good}\n{{\n")).starts_with("line 2: no JSON object"));
    assert!(error(r#"{"client":1,"op":"put"}"#).contains("missing field `key`"));
    assert!(error(r#"{"replica":"a"}"#).contains("missing field `applied`"));
    assert!(error("[]").starts_with("line 1: "));
    assert!(error("\n7\n").starts_with("line 2: "));
    assert!(read(b"\xff\n").is_err());
}

#[test]
fn refuses_what_cannot_have_happened() {
    let line = |op: &Op| serde_json::to_string(op).unwrap();
    let mut op = put(1, "a", 1, 5, 4);
    assert!(error(&line(&op)).contains("before"));
    op = Op { return_ns: None, ..op };
    assert!(error(&line(&op)).contains("without return_ns"));
    op = Op { outcome: Outcome::Null, return_ns: Some(9), ..op };
    assert!(error(&line(&op)).contains("outcome"));
    op = Op { outcome: Outcome::Ok, value: None, ..op };
    assert!(error(&line(&op)).contains("without its value"));
    op = Op { op: Kind::Get, ..op };
    assert!(error(&line(&op)).contains("without a value"));
    op = Op { outcome: Outcome::Null, value: Some("a".into()), ..op };
    assert!(error(&line(&op)).contains("has a value"));
}

#[test]
fn refuses_a_client_that_does_two_things_at_once() {
    let [a, b, c] = [put(1, "a", 1, 5, 9), put(2, "b", 2, 6, 7), get(1, None, 0, 8, 9)];
    let text = [a, b, c].map(|op| serde_json::to_string(&op).unwrap()).join("\n");
    assert_eq!(error(&text), "line 3: client 1 has an operation that is not over, that of line 1");
}

#[test]
fn refuses_a_line_without_end() {
    let endless = io::BufReader::new(io::repeat(b' '));
    let error = read_lines(endless, crate::registry().studies(), &mut Run::default()).unwrap_err();
    assert!(error.to_string().contains("longer than"));
}

#[test]
fn the_clients_of_several_files_are_kept_apart() {
    let (mut run, registry) = (Run::default(), crate::registry());
    let moved = [3, 0, 3].map(|client| {
        let line = serde_json::to_string(&put(client, "a", 1, 5, 9)).unwrap();
        read_lines(line.as_bytes(), registry.studies(), &mut run).unwrap().moved
    });
    let store = Store::of(&run);
    assert_eq!(store.ops.iter().map(|op| op.client).collect::<Vec<_>>(), [3, 4, 8]);
    assert_eq!(moved, [0, 4, 5]);
}
