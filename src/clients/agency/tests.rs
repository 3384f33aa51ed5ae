//! An agency against fake centrals, which answer late, wrongly or not at all.

use super::*;
use crate::client::testing::{Answer as Does, FakeNode, LONG_MS, with_more_time};
use node_protocols::lottery::{Reply, Request};
use std::sync::mpsc::{self, Receiver};
use tempfile::TempDir;

/// What was printed.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a central got: `batch:bets`, `finished`, or `results`.
type Got = Receiver<String>;

/// A central that does what `answer` says to each of its requests, counted from 0.
fn central(mut answer: impl FnMut(usize, &str) -> Does + Send + 'static) -> (FakeNode, Got) {
    let (sender, got) = mpsc::channel();
    let mut count = 0;
    let node = FakeNode::start_encoded(move |body| {
        let request = match postcard::from_bytes(body).unwrap() {
            Request::Bets { batch, bets } => format!("{batch}:{}", bets.len()),
            Request::Finished { .. } => "finished".into(),
            Request::Results { .. } => "results".into(),
            Request::Status {} | Request::Unreadable { .. } | Request::Bare { .. } => {
                panic!("no agency asks for this")
            }
        };
        let does = answer(count, &request);
        count += 1;
        sender.send(request).unwrap();
        does
    });
    (node, got)
}

fn reply(reply: &Reply<'_>) -> Does {
    Does::Encoded(postcard::to_allocvec(reply).unwrap())
}

/// What a central should answer.
fn right(request: &str) -> Does {
    reply(&match request.split_once(':') {
        Some((_, bets)) => Reply::Stored { bets: bets.parse().unwrap() },
        None if request == "finished" => Reply::Finished {},
        None => Reply::Winners { documents: vec![3, 1] },
    })
}

/// Five bets in chunks of two at `central`: the lines without their times, and the exit code.
fn run_at(central: &FakeNode, timeout_ms: u64) -> (Vec<String>, u8) {
    let (dir, file) = bets();
    let shown = run_with(central, timeout_ms, file);
    drop(dir);
    shown
}

fn bets() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bets.csv");
    let rows: String = (1..=5).map(|row| format!("A,B,{row},1999-03-17,7\r\n")).collect();
    std::fs::write(&file, rows).unwrap();
    (dir, file)
}

fn run_with(central: &FakeNode, timeout_ms: u64, file: PathBuf) -> (Vec<String>, u8) {
    let args = AgencyArgs {
        id: 4,
        central: Some(central.addr.to_string()),
        wire: Wire::Native,
        exercise: None,
        bets: Some(file),
        bets_per_chunk: 2,
        period_ms: 1,
        timeout_ms,
        json: false,
        quiet: false,
    };
    let printed = Printed::default();
    let lines = Arc::new(Mutex::new(Lines::new(Box::new(printed.clone()), false, false)));
    let timeout = Duration::from_millis(timeout_ms);
    let mut agency =
        Agency { args: &args, central: Link::new(&args, central.addr, timeout), lines };
    let exit = agency.report(None);
    let text = String::from_utf8(printed.0.lock().unwrap().clone()).unwrap();
    let strip = |line: &str| line.split_once("\" ").unwrap().1.to_owned();
    (text.lines().map(strip).collect(), exit)
}

/// A quarter of it is for one attempt.
const LONG: u64 = 4 * LONG_MS;

#[test]
fn the_whole_dialogue_in_the_documents_lines() {
    let mut asked = 0;
    let (node, got) = central(move |_, request| {
        asked += usize::from(request == "results");
        match asked {
            1 | 2 => reply(&Reply::NotDrawn {}),
            _ => right(request),
        }
    });
    let (lines, exit) = run_at(&node, LONG);
    assert_eq!(exit, 0);
    let expected = [
        &format!(
            "config | result: success | client_id: 4 | server_address: {} | loop_period: 1ms | bets_per_chunk: 2",
            node.addr
        ),
        "chunk_ack_received | result: success | client_id: 4 | chunk_id: 1",
        "chunk_ack_received | result: success | client_id: 4 | chunk_id: 2",
        "chunk_ack_received | result: success | client_id: 4 | chunk_id: 3",
        "notify_ack_received | result: success | client_id: 4",
        "notify_phase_completed | result: success | client_id: 4",
        "results_phase_started | result: in_progress | client_id: 4",
        "consulta_ganadores | result: success | client_id: 4 | cant_ganadores: 2 | dni_ganadores: [3 1]",
        "loop_finished | result: success | client_id: 4",
    ];
    assert_eq!(lines, expected.map(|line| format!("level=info msg=\"action: {line}\"")));
    let got: Vec<String> = got.try_iter().collect();
    assert_eq!(got, ["1:2", "2:2", "3:1", "finished", "results", "results", "results"]);
}

#[test]
fn what_is_not_answered_is_sent_again_with_the_same_number() {
    let twice = ["1:2", "2:2", "2:2", "2:2", "3:1", "3:1", "finished", "finished", "results"];
    // The answers come within a quarter of the time, and the one that does not come does not.
    with_more_time(800, |ms| {
        let (node, got) = central(|count, request| match count {
            1 | 4 => Does::Close,
            2 => Does::Silence,
            6 => Does::Raw(vec![255; 4]),
            _ => right(request),
        });
        let (lines, exit) = run_at(&node, ms);
        let got: Vec<String> = got.try_iter().collect();
        let stored = lines.iter().filter(|line| line.contains("chunk_ack_received")).count();
        let is_so = (exit, stored) == (0, 3) && got == twice;
        if is_so { Ok(()) } else { Err(format!("{exit} {got:?} {lines:?}")) }
    });
}

#[test]
fn a_refusal_ends_it_with_the_reason_and_the_place() {
    let (node, got) = central(|count, request| match count {
        1 => reply(&Reply::Refused { reason: "no \"\x1b[2J\"".into() }),
        _ => right(request),
    });
    let (lines, exit) = run_at(&node, LONG);
    assert_eq!(exit, 1);
    let last = lines.last().unwrap();
    let words = "level=error msg=\"action: chunk_ack_received | result: fail | client_id: 4 | \
                 chunk_id: 2 | error: no \\\"\\\\u{1b}[2J\\\" (";
    assert!(last.starts_with(words), "{last}");
    assert!(last.ends_with("bets.csv, lines 3 to 4)\""), "{last}");
    assert_eq!(got.try_iter().collect::<Vec<_>>(), ["1:2", "2:2"]);
}

#[test]
fn what_the_central_puts_off_is_sent_again_until_it_takes_it() {
    let full: fn() -> Does = || reply(&Reply::Later { reason: "the disk is full".into() });
    let (node, got) = central(move |count, request| match count {
        1 | 2 | 5 => full(),
        _ => right(request),
    });
    let (lines, exit) = run_at(&node, LONG);
    assert_eq!(exit, 0, "{lines:?}");
    let got: Vec<String> = got.try_iter().collect();
    assert_eq!(got, ["1:2", "2:2", "2:2", "2:2", "3:1", "finished", "finished", "results"]);

    let words = "action: chunk_ack_received | result: fail | client_id: 4 | chunk_id: 1 | error: the \
                 disk is full (tried for ";
    it_asks_more_than_once_and_gives_up(words, full);
}

/// When the central always does this, and there is time for it to be asked more than once.
fn it_asks_more_than_once_and_gives_up(words: &str, does: fn() -> Does) {
    with_more_time(200, |ms| {
        let (node, got) = central(move |_, _| does());
        let (lines, exit) = run_at(&node, ms);
        assert_eq!(exit, 3);
        let last = lines.last().unwrap();
        let is_so = last.contains(words) && got.try_iter().count() >= 2;
        if is_so { Ok(()) } else { Err(last.clone()) }
    });
}

#[test]
fn an_answer_to_something_else_ends_it() {
    for wrong in [Reply::Stored { bets: 3 }, Reply::Finished {}] {
        let (node, _got) = central(move |_, _| reply(&wrong));
        let (lines, exit) = run_at(&node, LONG);
        assert_eq!(exit, 3);
        let last = lines.last().unwrap();
        assert!(last.ends_with("error: the answer is to something else\""), "{last}");
    }
}

#[test]
fn a_central_that_says_nothing_is_given_up() {
    it_asks_more_than_once_and_gives_up("chunk_id: 1 | error: no answer for ", || Does::Silence);
    it_asks_more_than_once_and_gives_up(": no answer within ", || Does::Silence);
}

#[test]
fn a_bad_row_ends_it_and_the_central_is_not_told_that_these_were_all() {
    let (node, got) = central(|_, request| right(request));
    let (dir, file) = bets();
    let rows = std::fs::read_to_string(&file).unwrap().replace("A,B,4,", "A,B,x,");
    std::fs::write(&file, rows).unwrap();
    let (lines, exit) = run_with(&node, LONG, file.clone());
    assert_eq!(exit, 1);
    let last = lines.last().unwrap();
    assert!(last.contains("action: read_bets | result: fail | client_id: 4 | error: "), "{last}");
    assert!(last.contains("bets.csv:4: the document is digits"), "{last}");
    assert_eq!(got.try_iter().collect::<Vec<_>>(), ["1:2"]);
    let (lines, exit) = run_with(&node, LONG, dir.path().join("none.csv"));
    assert_eq!((exit, lines.len()), (1, 2));
    let (_, exit) = run_with(&node, LONG, dir.path().to_owned());
    assert_eq!(exit, 1);
}
