//! The document's wire against servers that answer as the document's own do, late, twice or not at
//! all.

use super::super::{Agency, AgencyArgs, Lines, Link, Wire};
use super::*;
use node_protocols::lottery::bet_of;
use std::io::BufRead;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;

/// Long enough for a busy machine; what needs a short one says so.
const LONG: u64 = 30_000;

/// What a server does with a message.
enum Does {
    /// Sends these bytes.
    Say(String),
    /// Sends these, and closes.
    Last(&'static str),
}

/// A server that takes one connection after the other, and what came over each: messages with the
/// number of their connection.
fn server(
    mut answer: impl FnMut(usize, &str) -> Does + Send + 'static,
) -> (SocketAddr, Receiver<(usize, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (sender, got) = mpsc::channel();
    thread::spawn(move || {
        let mut count = 0;
        for (connection, stream) in listener.incoming().enumerate() {
            let mut stream = io::BufReader::new(stream.unwrap());
            loop {
                let mut message = Vec::new();
                // Whoever asked no more has gone.
                if stream.read_until(b';', &mut message).unwrap_or(0) == 0 {
                    break;
                }
                let message = String::from_utf8(message).unwrap();
                let does = answer(count, &message);
                count += 1;
                if sender.send((connection, message)).is_err() {
                    return;
                }
                match does {
                    // Byte by byte: an answer comes in as many pieces as the network likes.
                    Does::Say(bytes) => bytes.bytes().for_each(|byte| {
                        let _ = stream.get_mut().write_all(&[byte]);
                    }),
                    Does::Last(bytes) => {
                        let _ = stream.get_mut().write_all(bytes.as_bytes());
                        break;
                    }
                }
            }
        }
    });
    (addr, got)
}

/// Five bets in chunks of two, or a single one: the lines without their times, and the exit code.
fn run(addr: SocketAddr, exercise: Option<u8>, rows: Option<&str>) -> (String, u8) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bets.csv");
    let bets: Option<PathBuf> = rows.map(|rows| {
        std::fs::write(&file, rows).unwrap();
        file
    });
    let args = AgencyArgs {
        id: 4,
        central: Some(addr.to_string()),
        wire: Wire::Text,
        exercise,
        bets,
        bets_per_chunk: 2,
        period_ms: 1,
        timeout_ms: LONG,
        json: false,
        quiet: false,
    };
    let printed = Printed::default();
    let lines = Arc::new(Mutex::new(Lines::new(Box::new(printed.clone()), false, false)));
    let central = Link::new(&args, addr, Duration::from_millis(LONG));
    let single = rows.is_none().then(|| bet_of(4, &SINGLE).unwrap());
    let exit = Agency { args: &args, central, lines }.report(single);
    let text = String::from_utf8(printed.0.lock().unwrap().clone()).unwrap();
    (text, exit)
}

const SINGLE: [&[u8]; 5] = [b"Ana", b"Paz", b"1", b"2000-01-01", b"7574"];
const FIVE: &str = "A,B,1,1999-03-17,7\r\nA,B,2,1999-03-17,7\r\nA,B,3,1999-03-17,7\r\n\
                    A,B,4,1999-03-17,7\r\nA,\u{d1},5,1999-03-17,7\r\n";

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

/// As the document's server of exercise 8; `waits` queries come before the draw.
fn right(message: &str, waits: &mut u32) -> &'static str {
    match message.as_bytes()[0] {
        b'B' => "ACK_CHUNK;",
        b'N' => "ACK_NOTIFY;",
        _ if *waits > 0 => {
            *waits -= 1;
            "W;;"
        }
        _ => "R{PlayerDocID:30876370},{PlayerDocID:24807259};",
    }
}

fn bet(name: &str, document: u32) -> String {
    format!(
        "{{PlayerName:A,PlayerSurname:{name},PlayerDocID:{document},\
         PlayerDateOfBirth:1999-03-17,WageredNumber:7,AgencyID:4}}"
    )
}

fn messages(got: &Receiver<(usize, String)>) -> Vec<(usize, String)> {
    got.try_iter().collect()
}

#[test]
fn the_whole_dialogue_over_one_connection() {
    let mut waits = 2;
    let (addr, got) = server(move |_, message| Does::Say(right(message, &mut waits).into()));
    let (said, exit) = run(addr, None, Some(FIVE));
    assert_eq!(exit, 0, "{said}");
    let expected = [
        format!("B{},{};", bet("B", 1), bet("B", 2)),
        format!("B{},{};", bet("B", 3), bet("B", 4)),
        format!("B{};", bet("\u{d1}", 5)),
        "N{AgencyID:4};".into(),
        "Q{AgencyID:4};".into(),
        "Q{AgencyID:4};".into(),
        "Q{AgencyID:4};".into(),
    ];
    assert_eq!(messages(&got), expected.map(|message| (0, message)));
    assert_eq!(said.matches("action: chunk_ack_received | result: success").count(), 3);
    let winners = "cant_ganadores: 2 | dni_ganadores: [30876370 24807259]";
    assert!(said.contains(winners) && said.contains("action: loop_finished"), "{said}");
}

#[test]
fn the_servers_of_exercises_6_and_7_take_a_connection_for_each_message() {
    let mut waits = 1;
    let (addr, got) = server(move |_, message| match message.as_bytes()[0] {
        b'N' => Does::Last(""),
        _ => Does::Last(right(message, &mut waits)),
    });
    let (said, exit) = run(addr, Some(7), Some(FIVE));
    assert_eq!(exit, 0, "{said}");
    let got: Vec<(usize, char)> =
        messages(&got).iter().map(|(at, text)| (*at, text.chars().next().unwrap())).collect();
    assert_eq!(got, [(0, 'B'), (1, 'B'), (2, 'B'), (3, 'N'), (4, 'Q'), (5, 'Q')]);
    assert!(said.contains("dni_ganadores: [30876370 24807259]"), "{said}");

    let (addr, got) = server(|_, _| Does::Last("ACK_CHUNK;"));
    let (said, exit) = run(addr, Some(6), Some(FIVE));
    assert_eq!(exit, 0, "{said}");
    let expected = [
        (0, format!("{},{};", bet("B", 1), bet("B", 2))),
        (1, format!("{},{};", bet("B", 3), bet("B", 4))),
        (2, format!("{};", bet("\u{d1}", 5))),
    ];
    assert_eq!(messages(&got), expected);
    assert!(said.contains("action: loop_finished") && !said.contains("notify"), "{said}");
}

#[test]
fn a_single_bet_is_that_of_exercise_5_and_its_answer_is_itself() {
    let (addr, got) = server(|_, message| Does::Say(message.into()));
    let (said, exit) = run(addr, None, None);
    assert_eq!(exit, 0, "{said}");
    assert!(said.contains("action: apuesta_enviada | result: success | dni: 1 | numero: 7574"));
    let text = "{PlayerName:Ana,PlayerSurname:Paz,PlayerDocID:1,PlayerDateOfBirth:2000-01-01,\
                WageredNumber:7574,AgencyID:4};";
    assert_eq!(messages(&got), [(0, text.into())]);
    // An echo server is no central, whatever it sends back.
    let (addr, _got) = server(|_, message| Does::Say(message.into()));
    let (said, exit) = run(addr, None, Some("A,B,1,1999-03-17,7\n"));
    assert_eq!(exit, 3);
    assert!(said.contains("error: the answer is to something else"), "{said}");
}

#[test]
fn what_may_have_been_taken_is_not_sent_again_and_a_query_is() {
    for (lost, action, lines) in [
        (1, "chunk_ack_received", "bets.csv, lines 3 to 4)"),
        (3, "notify_ack_received", "before you send the rest\""),
    ] {
        let mut waits = 0;
        let (addr, got) = server(move |count, message| match count {
            _ if count == lost => Does::Last(""),
            _ => Does::Say(right(message, &mut waits).into()),
        });
        let (said, exit) = run(addr, None, Some(FIVE));
        assert_eq!((exit, messages(&got).len()), (3, lost + 1), "{said}");
        let last = said.lines().last().unwrap();
        assert!(last.contains(&format!("action: {action} | result: fail")), "{last}");
        assert!(last.contains("it may have been taken") && last.contains(lines), "{last}");
    }
    let mut waits = 0;
    let (addr, got) = server(move |count, message| match count {
        4 => Does::Last("R{PlayerDocID:3"),
        _ => Does::Say(right(message, &mut waits).into()),
    });
    let (said, exit) = run(addr, None, Some(FIVE));
    assert_eq!((exit, messages(&got).len()), (0, 6), "{said}");
    assert!(said.contains("dni_ganadores: [30876370 24807259]"), "{said}");
}

#[test]
fn refusals_and_a_full_disk_are_told_apart() {
    let mut waits = 0;
    let (addr, got) = server(move |count, message| match count {
        0 | 1 => Does::Say(format!("E{{{DISK_FULL}}};")),
        2 => Does::Say("E{bet 2: no \u{1b}};".into()),
        _ => Does::Say(right(message, &mut waits).into()),
    });
    let (said, exit) = run(addr, None, Some(FIVE));
    assert_eq!((exit, messages(&got).len()), (1, 3), "{said}");
    assert!(said.contains("error: bet 2: no \\\\u{1b} ("), "{said}");
}

#[test]
fn a_name_that_the_documents_server_would_take_apart_is_not_sent() {
    for name in ["\"a,b\"", "a:b", "a;b", "{a"] {
        let (addr, got) = server(|_, _| Does::Say("ACK_CHUNK;".into()));
        let rows = format!("A,B,1,1999-03-17,7\nA,B,2,1999-03-17,7\n{name},B,3,1999-03-17,7\n");
        let (said, exit) = run(addr, None, Some(&rows));
        assert_eq!((exit, messages(&got).len()), (1, 1), "{said}");
        let words = "the text wire carries no name with , : ; { or }";
        assert!(said.contains(words) && said.contains("bets.csv, lines 3 to 3)"), "{said}");
    }
}
