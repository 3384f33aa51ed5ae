//! The lottery's central on a real Host: what is stored, refused, drawn and told, across restarts;
//! and the document's wire.

use node_protocols::core::{
    Caller, ClientId, Decoded, Effect, Env, Gateway, Host, LamportRule, NodeId, Now, Protocol,
    RequestId, Time, WallTime, encode, erase, protocol_tag,
};
use node_protocols::lottery::{
    Bet, Config, Lottery, LotteryText, MAX_CHUNK_BYTES, Reply, Request, bets_text, winners_of_text,
};
use proptest::prelude::*;
use std::borrow::Cow;

const WINNER: u32 = 7_574;

/// A central and its disk.
struct Central {
    host: Host,
    /// Tag and bytes of each record.
    log: Vec<(u16, Vec<u8>)>,
    file: Vec<u8>,
    printed: Vec<String>,
}

fn host(agencies: u32) -> Host {
    let env =
        Env { id: NodeId(1), peers: vec![], incarnation: 1, identity: 1, seed: 1, durable: true };
    let config = Config { agencies, ..Config::default() };
    let protocol = erase::<Lottery>(config, &env).expect("the config is right");
    let mut host = Host::new(&env, vec![protocol], LamportRule::MaxPlusOne);
    host.set_output(true, false);
    host
}

fn now() -> Now {
    Now { time: Time(0), wall: WallTime::from_millis(1_711_142_764_000) }
}

fn caller() -> Caller {
    let client = ClientId { slot: 0, generation: 0 };
    Caller { request: RequestId { client, sequence: 0 }, addr: ([10, 0, 0, 7], 9).into() }
}

fn encoded(request: &Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(request, &mut bytes);
    bytes
}

impl Central {
    fn new(agencies: u32) -> Central {
        let mut central =
            Central { host: host(agencies), log: vec![], file: vec![], printed: vec![] };
        central.start();
        central
    }

    fn start(&mut self) {
        for (tag, record) in &self.log {
            self.host.handle_record(*tag, record).expect("its own record");
        }
        let tag = protocol_tag(Lottery::NAME);
        let kept = self.host.handle_file(tag, self.file.len() as u64).expect("its own file");
        self.file.truncate(kept as usize);
        self.host.handle_start(now());
        self.turn();
    }

    /// Killed and started again; `agencies` as before. What was not recorded of the file is `torn`.
    fn restart(&mut self, agencies: u32, torn: &[u8]) {
        self.file.extend_from_slice(torn);
        self.host = host(agencies);
        self.start();
    }

    /// The same from a snapshot, as after a checkpoint.
    fn checkpoint(&mut self) {
        self.log.clear();
        let Central { host, log, .. } = self;
        host.snapshot(&mut |tag, record| log.push((tag, record.to_vec())));
    }

    fn turn(&mut self) -> Option<Vec<u8>> {
        let outbox = self.host.outbox();
        for (_, bytes) in outbox.files() {
            self.file.extend_from_slice(bytes);
        }
        let mut rest = outbox.records();
        while let Some((head, tail)) = rest.split_first_chunk::<6>() {
            let length = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
            self.log.push((u16::from_le_bytes([head[0], head[1]]), tail[..length].to_vec()));
            rest = &tail[length..];
        }
        let mut answer = None;
        for effect in outbox.effects() {
            match *effect {
                Effect::Reply { reply, .. } => answer = Some(outbox.bytes(reply).to_vec()),
                Effect::Print { line } => {
                    let line = String::from_utf8(outbox.bytes(line).to_vec()).expect("text");
                    let (time, text) = line.split_at("2024-03-22 21:26:04 ".len());
                    assert_eq!(time, "2024-03-22 21:26:04 ");
                    self.printed.push(text.to_string());
                }
                _ => {}
            }
        }
        self.host.outbox_mut().clear_effects();
        self.host.outbox_mut().clear_records();
        self.host.check_invariants();
        answer
    }

    fn ask(&mut self, request: &Request<'_>) -> Reply<'static> {
        self.host.handle_request(0, caller(), &encoded(request), now()).expect("it decodes");
        let answer = self.turn().expect("every request is answered at once");
        match postcard::from_bytes(&answer).expect("it decodes") {
            Reply::Refused { reason } => Reply::Refused { reason: Cow::Owned(reason.into_owned()) },
            Reply::Stored { bets } => Reply::Stored { bets },
            Reply::Finished {} => Reply::Finished {},
            Reply::Winners { documents } => Reply::Winners { documents },
            Reply::NotDrawn {} => Reply::NotDrawn {},
            Reply::Status { bets, finished, drawn } => Reply::Status { bets, finished, drawn },
            Reply::Later { reason } => Reply::Later { reason: Cow::Owned(reason.into_owned()) },
            Reply::Echo {} => Reply::Echo {},
        }
    }

    fn send(&mut self, batch: u64, bets: &[Bet<'static>]) -> Reply<'static> {
        self.ask(&Request::Bets { batch, bets: bets.to_vec() })
    }

    fn finish(&mut self, agency: u32) -> Reply<'static> {
        self.ask(&Request::Finished { agency })
    }

    fn winners(&mut self, agency: u32) -> Reply<'static> {
        self.ask(&Request::Results { agency })
    }

    fn rows(&self) -> Vec<&str> {
        str::from_utf8(&self.file).expect("text").lines().collect()
    }

    fn draws(&self) -> usize {
        self.printed.iter().filter(|line| line.contains("action: sorteo |")).count()
    }
}

fn bet(agency: u32, document: u64, number: u32) -> Bet<'static> {
    Bet {
        agency,
        name: "Ciro".into(),
        surname: "Hernández".into(),
        document,
        birthdate: "1991-08-10".into(),
        number,
    }
}

#[track_caller]
fn assert_refused(reply: &Reply<'_>, part: &str) {
    let Reply::Refused { reason } = reply else { panic!("{reply:?}") };
    assert!(reason.contains(part), "{reason}");
}

#[test]
fn bets_are_stored_the_draw_comes_last_and_each_agency_gets_its_own_winners() {
    let mut central = Central::new(2);
    assert_eq!(central.send(0, &[bet(1, 11, 5), bet(1, 12, WINNER)]), Reply::Stored { bets: 2 });
    assert_eq!(central.send(0, &[bet(2, 21, WINNER)]), Reply::Stored { bets: 1 });
    assert_eq!(
        central.rows(),
        [
            "1,Ciro,Hernández,11,1991-08-10,5",
            "1,Ciro,Hernández,12,1991-08-10,7574",
            "2,Ciro,Hernández,21,1991-08-10,7574",
        ]
    );
    assert_eq!(central.winners(1), Reply::NotDrawn {});
    assert_eq!(central.finish(1), Reply::Finished {});
    assert_eq!(central.finish(1), Reply::Finished {}, "a second time changes nothing");
    assert_eq!(central.winners(1), Reply::NotDrawn {});
    assert_eq!(central.draws(), 0);
    assert_eq!(central.finish(2), Reply::Finished {});
    assert_eq!(central.finish(2), Reply::Finished {});
    assert_eq!(central.draws(), 1);
    assert_eq!(central.winners(1), Reply::Winners { documents: vec![12] });
    assert_eq!(central.winners(2), Reply::Winners { documents: vec![21] });
}

#[test]
fn the_documents_lines() {
    let mut central = Central::new(1);
    central.send(0, &[bet(1, 11, 5)]);
    central.send(0, &[bet(1, 11, 5), bet(1, 12, 5)]);
    central.send(0, &[bet(9, 11, 5)]);
    for kind in ['B', 'N', '\u{1b}'] {
        let reason = "a bet\u{1b}".into();
        let reply = central.ask(&Request::Unreadable { kind, reason });
        assert_refused(&reply, "a bet\u{1b}");
    }
    central.winners(1);
    central.finish(1);
    central.winners(1);
    let client = ClientId { slot: 0, generation: 0 };
    central.host.handle_client(0, client, ([10, 0, 0, 7], 9).into(), true, now());
    central.host.handle_stop(now());
    central.turn();
    assert_eq!(
        central.printed,
        [
            "INFO     action: config | result: success | agencies: 1 | winning_number: 7574",
            "INFO     action: accept_connections | result: in_progress",
            "INFO     action: chunk_received | result: success | agency: 1 | number_of_bets: 1",
            "INFO     action: apuesta_recibida | result: success | cantidad: 1",
            "INFO     action: apuesta_almacenada | result: success | dni: 11 | numero: 5",
            "INFO     action: chunk_received | result: success | agency: 1 | number_of_bets: 2",
            "INFO     action: apuesta_recibida | result: success | cantidad: 2",
            "ERROR    action: chunk_received | result: fail | error: bet 1: no such agency is expected",
            "ERROR    action: apuesta_recibida | result: fail | cantidad: 1",
            "ERROR    action: chunk_received | result: fail | error: a bet\\u{1b}",
            "ERROR    action: notify_received | result: fail | error: a bet\\u{1b}",
            "ERROR    action: receive_message | result: fail | error: a bet\\u{1b}",
            "INFO     action: results_query_received | result: success | agency: 1",
            "INFO     action: notify_received | result: success | agency: 1",
            "INFO     action: sorteo | result: success",
            "INFO     action: results_query_received | result: success | agency: 1",
            "INFO     action: accept_connections | result: success | ip: 10.0.0.7",
            "INFO     action: accept_connections | result: in_progress",
            "INFO     action: exiting_due_to_signal | result: in_progress",
            "INFO     action: socket_closing | result: success",
        ]
    );
}

#[test]
fn a_numbered_batch_is_stored_once_whoever_was_killed() {
    let mut central = Central::new(1);
    let (first, second) = ([bet(1, 11, 5)], [bet(1, 12, WINNER)]);
    assert_eq!(central.send(1, &first), Reply::Stored { bets: 1 });
    assert_eq!(central.send(1, &first), Reply::Stored { bets: 1 });
    central.restart(1, b"1,half of a row");
    assert_eq!(central.send(1, &first), Reply::Stored { bets: 1 });
    assert_refused(&central.send(1, &second), "given to other bets");
    assert_refused(&central.send(3, &second), "missing");
    assert_eq!(central.send(2, &second), Reply::Stored { bets: 1 });
    central.checkpoint();
    central.restart(1, b"");
    assert_eq!(central.send(2, &second), Reply::Stored { bets: 1 });
    assert_eq!(central.finish(1), Reply::Finished {});
    // Also after the draw a retry is what it was.
    assert_eq!(central.send(2, &second), Reply::Stored { bets: 1 });
    central.checkpoint();
    central.restart(1, b"");
    assert_eq!(central.winners(1), Reply::Winners { documents: vec![12] });
    assert_eq!(central.rows().len(), 2);
    assert_eq!(central.draws(), 1);
    let all = Reply::Status { bets: 2, finished: vec![1], drawn: true };
    assert_eq!(central.ask(&Request::Status {}), all);
}

#[test]
fn without_numbers_a_retry_is_stored_again() {
    let mut central = Central::new(1);
    central.send(0, &[bet(1, 11, 5)]);
    central.send(0, &[bet(1, 11, 5)]);
    assert_eq!(central.rows().len(), 2);
}

#[test]
fn a_batch_is_stored_whole_or_not_at_all() {
    let mut central = Central::new(2);
    central.finish(2);
    let bad = |change: &dyn Fn(&mut Bet<'static>)| {
        let mut bet = bet(1, 12, 5);
        change(&mut bet);
        bet
    };
    for (bad, reason) in [
        (bad(&|bet| bet.birthdate = "1991-02-30".into()), "date of birth"),
        (bad(&|bet| bet.number = 10_000), "out of range"),
        (bad(&|bet| bet.name = "".into()), "a name has"),
        (bad(&|bet| bet.surname = "x".repeat(1_025).into()), "a name has"),
        (bad(&|bet| bet.name = "\u{feff}Eva".into()), "byte order mark"),
        (bad(&|bet| bet.surname = "P\u{feff}az".into()), "byte order mark"),
        (bad(&|bet| bet.agency = 3), "no such agency"),
        (bad(&|bet| bet.agency = 0), "no such agency"),
        (bad(&|bet| bet.agency = 2), "has finished"),
    ] {
        assert_refused(&central.send(0, &[bet(1, 11, WINNER), bad]), reason);
    }
    assert_refused(&central.send(1, &[bet(1, 11, 5), bet(2, 21, 5)]), "of one agency");
    assert_refused(&central.send(0, &[]), "at least one");
    assert_eq!(central.rows(), [""; 0]);
    central.finish(1);
    assert_eq!(central.winners(1), Reply::Winners { documents: vec![] });
    assert_refused(&central.send(0, &[bet(1, 11, 5)]), "has finished");
    assert_refused(&central.finish(3), "no such agency");
    assert_refused(&central.winners(3), "no such agency");
}

#[test]
fn the_refusal_of_a_batch_names_the_bet() {
    let mut central = Central::new(2);
    let mut bets = vec![bet(1, 11, 5); 20];
    bets[16].number = 10_000;
    assert_refused(&central.send(1, &bets), "bet 17: the number is out of range");
    bets[16] = bet(2, 11, 5);
    assert_refused(&central.send(1, &bets), "bet 17: a numbered batch is of one agency");
    bets[0].name = "".into();
    assert_refused(&central.send(0, &bets), "bet 1: a name has 1 to 1024 bytes");
    assert!(central.printed.iter().any(|line| line
        == "ERROR    action: chunk_received | result: fail | error: bet 17: the number is out of range"));
}

const FULL: &str = "the disk is full: make room, then send again";

#[test]
fn what_the_disk_has_no_room_for_is_put_off_and_all_else_goes_on() {
    let full = || Reply::Later { reason: FULL.into() };
    let mut central = Central::new(2);
    let first = [bet(1, 11, WINNER)];
    assert_eq!(central.send(1, &first), Reply::Stored { bets: 1 });
    let (file, log) = (central.file.clone(), central.log.len());
    // A row, and a record of more than 8 bytes.
    for room in [0, 8, file.len() as u64 + 8] {
        central.host.set_room(room);
        assert_eq!(central.send(2, &[bet(1, 12, 5)]), full());
        assert_eq!(central.send(0, &[bet(2, 21, WINNER)]), full());
        assert_eq!((&central.file, central.log.len()), (&file, log), "nothing was done");
    }
    central.host.set_room(0);
    assert_eq!(central.finish(1), full());
    assert_refused(&central.send(0, &[bet(9, 11, 5)]), "no such agency");
    assert_eq!(central.send(1, &first), Reply::Stored { bets: 1 }, "it was stored already");
    assert_eq!(central.winners(1), Reply::NotDrawn {});
    let fail = |action| format!("ERROR    action: {action} | result: fail | error: {FULL}");
    assert_eq!(central.printed.iter().filter(|line| **line == fail("chunk_received")).count(), 6);
    assert!(central.printed.contains(&fail("notify_received")));
    assert!(
        central
            .printed
            .contains(&"ERROR    action: apuesta_recibida | result: fail | cantidad: 1".into())
    );

    central.host.set_room(1 << 10);
    assert_eq!(central.send(2, &[bet(1, 12, 5)]), Reply::Stored { bets: 1 });
    assert_eq!([central.finish(1), central.finish(2)], [Reply::Finished {}, Reply::Finished {}]);
    central.restart(2, b"half of a row");
    assert_eq!(central.rows().len(), 2);
    assert_eq!(central.winners(1), Reply::Winners { documents: vec![11] });
    assert_eq!(central.draws(), 1);
}

#[test]
fn what_a_turn_writes_already_takes_room_to_the_byte() {
    // How many of ten batches are stored in one turn, and how many bytes that is.
    let turn = |room| {
        let mut central = Central::new(1);
        central.host.set_room(room);
        for document in 0..10 {
            let request = encoded(&Request::Bets { batch: 0, bets: vec![bet(1, document, 5)] });
            central.host.handle_request(0, caller(), &request, now()).expect("it decodes");
        }
        let outbox = central.host.outbox();
        let replies = outbox.effects().iter().filter_map(|effect| match *effect {
            Effect::Reply { reply, .. } => Some(outbox.bytes(reply)),
            _ => None,
        });
        let stored = Reply::Stored { bets: 1 };
        let stored = replies.filter(|reply| postcard::from_bytes(reply) == Ok(stored.clone()));
        let files: usize = outbox.files().map(|(_, bytes)| bytes.len()).sum();
        (stored.count(), (files + outbox.records().len()) as u64)
    };
    let (stored, bytes) = turn(u64::MAX);
    assert_eq!(stored, 10);
    assert_eq!(turn(bytes), (10, bytes));
    assert_eq!(turn(bytes - 1).0, 9);
    assert_eq!(turn(bytes / 2).0, 5);
}

#[test]
fn a_file_that_lost_bets_is_refused() {
    let mut central = Central::new(1);
    central.send(0, &[bet(1, 11, 5)]);
    let mut again = host(1);
    for (tag, record) in &central.log {
        again.handle_record(*tag, record).expect("its own record");
    }
    let short = central.file.len() as u64 - 1;
    assert!(again.handle_file(protocol_tag(Lottery::NAME), short).is_err());
}

#[test]
fn what_the_draw_rests_on_cannot_change() {
    let mut central = Central::new(2);
    central.finish(1);
    central.finish(2);
    let recovers = |log: &[(u16, Vec<u8>)], agencies| {
        let mut again = host(agencies);
        log.iter().all(|(tag, record)| again.handle_record(*tag, record).is_ok())
    };
    assert!(recovers(&central.log, 2));
    assert!(!recovers(&central.log, 3), "agency 3 was not expected, and would draw again");
    assert!(!recovers(&central.log, 1));
    central.checkpoint();
    assert!(recovers(&central.log, 2) && !recovers(&central.log, 3));
    // Nothing is written again at the next start.
    central.restart(2, b"");
    let records = central.log.len();
    central.restart(2, b"");
    assert_eq!(central.log.len(), records);
}

// The wire.

/// What the gateway makes of bytes that come in pieces: requests, and what the central answers to
/// those that cannot be read.
fn decode(pieces: &[&[u8]]) -> (Vec<Request<'static>>, String) {
    let (mut gateway, mut inbox, mut output) = (LotteryText::default(), Vec::new(), Vec::new());
    let (mut requests, mut answers) = (Vec::new(), Vec::new());
    for piece in pieces {
        inbox.extend_from_slice(piece);
        loop {
            let used = match gateway.decode(&inbox, true, &mut output) {
                Decoded::Incomplete => break,
                Decoded::Request { used, request: Request::Unreadable { kind, reason } } => {
                    let request = Request::Unreadable { kind, reason };
                    let reply = Central::new(1).ask(&request);
                    LotteryText::default().encode(reply, &mut answers);
                    used
                }
                Decoded::Request { used, request } => {
                    let mut bytes = Vec::new();
                    encode(&request, &mut bytes);
                    let owned: &'static [u8] = bytes.leak();
                    requests.push(postcard::from_bytes(owned).expect("it was encoded"));
                    used
                }
                Decoded::Answered { used } => used,
                Decoded::Wait | Decoded::Close { .. } => panic!("it is idle, and never closes"),
            };
            assert!(used > 0 && used <= inbox.len(), "{used} of {}", inbox.len());
            inbox.drain(..used);
        }
    }
    assert!(output.is_empty(), "the gateway says nothing by itself");
    (requests, String::from_utf8(answers).expect("text"))
}

fn wire(name: &str) -> String {
    format!(
        "{{PlayerName:{name},PlayerSurname:Hernández,PlayerDocID:11,PlayerDateOfBirth:1991-08-10,\
         WageredNumber:5,AgencyID:1}}"
    )
}

fn named(name: &'static str) -> Bet<'static> {
    Bet { name: name.into(), ..bet(1, 11, 5) }
}

#[test]
fn messages_come_whole_several_at_once_or_byte_by_byte() {
    let text = format!("B{},{};N{{AgencyID:1}};\nQ{{AgencyID:1}};", wire("Ciro"), wire("Ana"));
    let expected = [
        Request::Bets { batch: 0, bets: vec![named("Ciro"), named("Ana")] },
        Request::Finished { agency: 1 },
        Request::Results { agency: 1 },
    ];
    assert_eq!(decode(&[text.as_bytes()]), (expected.to_vec(), String::new()));
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(decode(&bytes), (expected.to_vec(), String::new()));
}

#[test]
fn a_field_holds_whatever_does_not_end_it() {
    for name in ["a,b", "\"q\"", "{x}", "}", "line\nbreak", ",PlayerSurnam:", " spaced "] {
        let (requests, said) = decode(&[format!("B{};", wire(name)).as_bytes()]);
        let [Request::Bets { bets, .. }] = &requests[..] else { panic!("{name}: {said}") };
        assert_eq!(bets[0].name, name);
    }
}

#[test]
fn a_number_is_what_it_says_and_a_document_keeps_its_digits() {
    let text = wire("x").replace(":11,", ":0,").replace("Number:5", "Number:0042");
    let (requests, said) = decode(&[format!("B{};", text.replace("ID:1}", "ID:01}")).as_bytes()]);
    let zero = Bet { name: "x".into(), ..bet(1, 0, 42) };
    assert_eq!(requests, [Request::Bets { batch: 0, bets: vec![zero] }], "{said}");
}

#[test]
fn what_is_no_message_is_refused_and_the_next_one_is_taken() {
    let bad_date = wire("x").replace("AgencyID:1", "AgencyID:one");
    for (bad, reason) in [
        ("X{AgencyID:1}", "begins with B, N or Q, or is {"),
        ("\u{feff}N{AgencyID:1}", "begins with B, N or Q, or is {"),
        ("ñ", "begins with B, N or Q, or is {"),
        ("N{AgencyID:}", "{AgencyID:d}"),
        ("N{AgencyID:+1}", "{AgencyID:d}"),
        ("Q{AgencyID:99999999999}", "{AgencyID:d}"),
        ("Q", "{AgencyID:d}"),
        ("B", "a bet is {"),
        ("B{}", "a bet is {"),
        (&format!("B{},", wire("x")), "a bet is {"),
        (&format!("B{}{}", wire("x"), wire("x")), "E{bet 1: a bet is {"),
        (&format!("B{bad_date}"), "E{bet 1: AgencyID must be digits, at most 4294967295};"),
        (
            &format!("B{},{bad_date}", wire("x")),
            "E{bet 2: AgencyID must be digits, at most 4294967295};",
        ),
        (
            &format!("B{},{}", wire("x"), wire("x").replace(":11,", ":00123,")),
            "E{bet 2: PlayerDocID has leading zeros, which would be lost};",
        ),
        (&format!("B{}", wire("semi;colon")), "a bet is {"),
    ] {
        let (requests, said) = decode(&[format!("{bad};N{{AgencyID:1}};").as_bytes()]);
        assert!(said.starts_with("E{") && said.contains(reason), "{bad}: {said}");
        assert_eq!(requests.last(), Some(&Request::Finished { agency: 1 }), "{bad}");
    }
    let (requests, said) = decode(&[b"B{PlayerName:\xFF};N{AgencyID:1};"]);
    assert_eq!(said, "E{a message is UTF-8};");
    assert_eq!(requests, [Request::Finished { agency: 1 }]);
}

#[test]
fn a_message_over_16_kib_is_refused_once_and_skipped_to_its_end() {
    let long = format!("B{};N{{AgencyID:1}};", wire(&"x".repeat(16_384)));
    let expected =
        (vec![Request::Finished { agency: 1 }], "E{a message has at most 16384 bytes};".into());
    assert_eq!(decode(&[long.as_bytes()]), expected);
    let pieces: Vec<&[u8]> = long.as_bytes().chunks(1_000).collect();
    assert_eq!(decode(&pieces), expected);
}

/// The document's client puts bets into a chunk as long as it has less than 8 KiB, not counting the
/// letter: the last may be as long as a bet can be.
#[test]
fn a_chunk_is_as_long_as_the_documents_client_makes_it() {
    let short = wire(&"x".repeat(70));
    let (mut chunk, mut length) = (Vec::new(), 0);
    while length + short.len() + 1 < 8_192 {
        length += short.len() + 1;
        chunk.push(short.clone());
    }
    let long = wire(&"x".repeat(1_024)).replace("Hernández", &"y".repeat(1_024));
    chunk
        .push(long.replace(":11,", ":18446744073709551615,").replace("Number:5", "Number:0009999"));
    let text = format!("B{};", chunk.join(","));
    assert!(text.len() > 10_000 && text.len() < 10_700, "{}", text.len());
    let (requests, said) = decode(&[text.as_bytes()]);
    let [Request::Bets { bets, .. }] = &requests[..] else { panic!("{said}") };
    assert_eq!(bets.len(), chunk.len());
    // What agencies of this program cut is never longer than the document allows.
    assert_eq!(MAX_CHUNK_BYTES, 8_192);
}

#[test]
fn bare_bets_are_those_of_exercises_5_and_6() {
    let text = format!("{};\n{},{};", wire("a,b"), wire("Ciro"), wire("Ana"));
    let expected = [
        Request::Bare { bets: vec![named("a,b")] },
        Request::Bare { bets: vec![named("Ciro"), named("Ana")] },
    ];
    assert_eq!(decode(&[text.as_bytes()]), (expected.to_vec(), String::new()));
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(decode(&bytes), (expected.to_vec(), String::new()));

    // A single one is sent back, byte for byte, once it is stored; the next waits until then.
    let (mut gateway, mut output) = (LotteryText::default(), Vec::new());
    let number = wire("Zoë").replace("Number:5", "Number:0005");
    let two = format!("\r\n{number};{};", wire("Ana"));
    let bytes = two.as_bytes();
    let Decoded::Request { used, .. } = gateway.decode(bytes, true, &mut output) else { panic!() };
    assert_eq!(used, number.len() + 3);
    assert!(matches!(gateway.decode(&bytes[used..], false, &mut output), Decoded::Wait));
    gateway.encode(Reply::Echo {}, &mut output);
    assert_eq!(output, format!("{number};").as_bytes());
    let next = gateway.decode(&bytes[used..], true, &mut output);
    assert!(matches!(next, Decoded::Request { .. }));
    output.clear();
    gateway.encode(Reply::Refused { reason: "no".into() }, &mut output);
    assert_eq!(output, b"E{no};");
    let next = gateway.decode(&bytes[used..], true, &mut output);
    assert!(matches!(next, Decoded::Request { .. }));
    output.clear();
    gateway.encode(Reply::Echo {}, &mut output);
    assert_eq!(output, format!("{};", wire("Ana")).as_bytes(), "nothing of the one before");
}

#[test]
fn a_single_bare_bet_is_echoed_unless_its_agency_sends_chunks() {
    let mut central = Central::new(2);
    let bare = |documents: &[u64]| Request::Bare {
        bets: documents.iter().map(|document| bet(1, *document, 5)).collect(),
    };
    assert_eq!(central.ask(&bare(&[11])), Reply::Echo {});
    assert_eq!(central.ask(&bare(&[11])), Reply::Echo {}, "it has no number: it is stored again");
    assert_eq!(central.ask(&bare(&[12, 13])), Reply::Stored { bets: 2 });
    assert_eq!(central.ask(&bare(&[14])), Reply::Stored { bets: 1 }, "the last chunk of a file");
    let other = Request::Bare { bets: vec![bet(2, 21, 5)] };
    assert_eq!(central.ask(&other), Reply::Echo {});
    assert_eq!(central.rows().len(), 6);
    let mut bad = bet(1, 15, 5);
    bad.birthdate = "1991-02-30".into();
    assert_refused(&central.ask(&Request::Bare { bets: vec![bad] }), "bet 1: a date of birth");
    central.finish(1);
    assert_refused(&central.ask(&bare(&[16])), "has finished");
    assert_eq!(central.rows().len(), 6);
}

#[test]
fn what_agencies_write_is_what_the_gateway_reads() {
    let bets = vec![named("Zoë"), bet(1, u64::MAX, 0), bet(u32::MAX, 0, u32::MAX)];
    let mut text = b"B".to_vec();
    assert_eq!(bets_text(&bets, &mut text), Ok(()));
    text.push(b';');
    assert_eq!(decode(&[&text]), (vec![Request::Bets { batch: 0, bets }], String::new()));
    for name in ["a,b", "a:b", "a;b", "{", "}"] {
        assert!(bets_text(&[named(name)], &mut Vec::new()).is_err(), "{name}");
    }
    assert_eq!(winners_of_text(""), Some(vec![]));
    assert_eq!(winners_of_text("{PlayerDocID:7},{PlayerDocID:18}"), Some(vec![7, 18]));
    for wrong in [",", "{PlayerDocID:}", "{PlayerDocID:+7}", "{PlayerDocID:7},", "7"] {
        assert_eq!(winners_of_text(wrong), None, "{wrong}");
    }
}

#[test]
fn answers_are_the_documents() {
    let encode = |reply: Reply<'_>| {
        let mut output = Vec::new();
        LotteryText::default().encode(reply, &mut output);
        String::from_utf8(output).expect("text")
    };
    assert_eq!(encode(Reply::Stored { bets: 3 }), "ACK_CHUNK;");
    assert_eq!(encode(Reply::Finished {}), "ACK_NOTIFY;");
    assert_eq!(encode(Reply::NotDrawn {}), "W;");
    assert_eq!(encode(Reply::Winners { documents: vec![] }), "R;");
    let two = Reply::Winners { documents: vec![30_876_370, 24_807_259] };
    assert_eq!(encode(two), "R{PlayerDocID:30876370},{PlayerDocID:24807259};");
    assert_eq!(encode(Reply::Refused { reason: "why".into() }), "E{why};");
    assert_eq!(encode(Reply::Later { reason: "why".into() }), "E{why};");
}

proptest! {
    #[test]
    fn bytes_of_any_kind_never_panic(pieces in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..200), 0..20,
    )) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        decode(&pieces);
    }

    #[test]
    fn bets_of_any_kind_are_stored_or_refused(
        name in ".*", surname in ".*", birthdate in "[0-9-]{8,10}", document: u64,
        number in 0..20_000_u32, agency in 0..4_u32, batch in 0..3_u64,
    ) {
        let mut central = Central::new(2);
        let bet = Bet {
            agency, name: name.into(), surname: surname.into(), document,
            birthdate: birthdate.into(), number,
        };
        let reply = central.ask(&Request::Bets { batch, bets: vec![bet] });
        let stored = matches!(reply, Reply::Stored { .. });
        prop_assert_eq!(stored, !central.file.is_empty());
    }
}
