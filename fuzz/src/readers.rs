//! Files that programs write and others read: traces, agencies' bets, clients' sessions.

use super::{Input, cut};
use node::clients::kv::session::Session;
use node_lab::explain::{self, Source};
use node_lab::trace;
use node_protocols::lottery::{Chunk, Rows};
use std::path::Path;

/// The first byte says what the others are.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 3 {
        0 => traces(input.rest()),
        1 => bets(&mut input),
        _ => session(input.rest()),
    }
}

/// What `node verify` and `node explain` make of a trace.
fn traces(bytes: &[u8]) {
    if let Ok(run) = trace::history::read(bytes) {
        for property in node_studies::registry().properties() {
            (property.judge)(&run);
        }
    }
    let Ok(text) = String::from_utf8(bytes.to_vec()) else { return };
    let sources = [Source { name: "trace".into(), text }];
    let Ok(merged) = explain::merge(&sources) else { return };
    let mut out = Vec::new();
    for write in [explain::text::write, explain::html::write, explain::shiviz::write] {
        write(&merged, &mut out).expect("memory takes it");
    }
    node_studies::bully::elections::write(&merged, &mut out).expect("memory takes it");
}

/// The same chunks and the same error come out of a file wherever it is cut.
fn bets(input: &mut Input<'_>) {
    let (agency, per_chunk, seed) = (input.byte(), input.byte().max(1), input.number());
    let file = input.rest();
    let whole = chunks(&[file], agency, per_chunk);
    // A byte order mark is one only in one piece, and files are read in larger ones.
    let (mark, rest) = file.split_at(file.len().min(3));
    let pieces: Vec<&[u8]> = [mark].into_iter().chain(cut(rest, seed)).collect();
    assert_eq!(chunks(&pieces, agency, per_chunk), whole, "cuts change no chunk");
}

/// The chunks as text, and the line that is wrong.
fn chunks(pieces: &[&[u8]], agency: u8, per_chunk: u8) -> (Vec<String>, Option<u64>) {
    let mut rows = Rows::new(agency.into(), per_chunk.into());
    let mut chunks = Vec::new();
    let mut inbox = Vec::new();
    for piece in pieces.iter().copied().chain([&[][..]]) {
        inbox.extend_from_slice(piece);
        let mut rest = &inbox[..];
        loop {
            match rows.next(&mut rest) {
                Ok(Some(chunk)) => {
                    let Chunk { bets, first_line, last_line, end, .. } = &chunk;
                    assert!(
                        (1..=per_chunk.into()).contains(&bets.len()) && first_line <= last_line
                    );
                    chunks.push(format!("{bets:?} {first_line} {last_line} {end}"));
                }
                Ok(None) => break,
                Err(row) => return (chunks, Some(row.line)),
            }
            // No input at all would be the file's end.
            if rest.is_empty() && !piece.is_empty() {
                break;
            }
        }
        let left = rest.len();
        inbox.drain(..inbox.len() - left);
    }
    (chunks, None)
}

fn session(bytes: &[u8]) {
    let _ = Session::read(bytes, Path::new("session.json"));
}
