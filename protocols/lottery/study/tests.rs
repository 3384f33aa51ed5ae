//! Tests of the study of this protocol: its checkers against small runs.

use super::super::model::{Answer, Ask, Bet, Loss};
use super::*;
use crate::check;

const ALL: [&str; 5] = [
    "stored_exactly_once",
    "ack_implies_durable",
    "batch_all_or_nothing",
    "draw_once_after_all",
    "winners_only_to_their_agency",
];

const ONE: &str = "1,Ana,Paz,10,2000-01-01,7574\n1,\"Paz, \"\"P\"\"\nJr\",Paz,11,2000-01-01,5\n";
const TWO: &str = "2,Ana,Paz,20,2000-01-01,7574\n";

/// The bets of rows.
fn bets(rows: &str) -> Vec<Bet> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(rows.as_bytes());
    reader.deserialize().map(|row| row.unwrap()).collect()
}

fn ask(agency: u32, ask: Asked, invoke_ns: u64, told: Option<Told>) -> Ask {
    let answer = told.map(|told| Answer { at_ns: invoke_ns + 5, told });
    Ask { agency, node: None, ask, invoke_ns, answer }
}

fn send(agency: u32, batch: u64, rows: &str, invoke_ns: u64, told: Option<Told>) -> Ask {
    ask(agency, Asked::Bets { batch, bets: bets(rows) }, invoke_ns, told)
}

fn stored(bets: u64) -> Option<Told> {
    Some(Told::Stored(bets))
}

fn refused() -> Option<Told> {
    Some(Told::Refused("no".into()))
}

fn file(at_ns: u64, text: impl Into<String>) -> File {
    File { at_ns, text: text.into() }
}

/// Two agencies with a batch each, of which the first is sent again, a restart, and the draw.
fn run() -> Lottery {
    Lottery {
        agencies: 2,
        winning_number: 7574,
        asks: vec![
            send(1, 1, ONE, 10, None),
            send(1, 1, ONE, 20, stored(2)),
            send(2, 1, TWO, 30, stored(1)),
            ask(1, Asked::Finished, 40, Some(Told::Finished)),
            ask(1, Asked::Results, 50, Some(Told::NotDrawn)),
            ask(2, Asked::Finished, 60, Some(Told::Finished)),
            ask(1, Asked::Results, 70, Some(Told::Winners(vec![10]))),
            ask(2, Asked::Results, 80, Some(Told::Winners(vec![20]))),
        ],
        files: vec![file(0, ""), file(37, [ONE, TWO].concat()), file(90, [ONE, TWO].concat())],
        draws: vec![62],
        losses: vec![],
    }
}

/// What is violated, and why.
fn violated(run: &Lottery) -> Vec<(&'static str, String)> {
    let history = Run::from(run.clone());
    let why = |property| match check(property, &history) {
        Verdict::Held => None,
        Verdict::Violated(violation) => {
            assert!(violation.ops().iter().all(|ask| *ask < run.asks.len()));
            Some((property, violation.why))
        }
        Verdict::Unknown { why } | Verdict::Undecided { why } => panic!("{property}: {why}"),
    };
    ALL.into_iter().filter_map(why).collect()
}

/// That this property is violated, with these words.
#[track_caller]
fn assert_violated(run: &Lottery, property: &str, words: &str) {
    let found = violated(run);
    let why = found.iter().find(|(found, _)| *found == property).map(|(_, why)| why.as_str());
    assert!(why.is_some_and(|why| why.contains(words)), "{property}: {found:?}");
}

#[test]
fn a_run_as_it_should_be_holds() {
    assert_eq!(violated(&run()), []);
    // The crash lost the line of the draw.
    assert_eq!(violated(&Lottery { draws: vec![], ..run() }), []);
    // A batch without a number is stored each time that it arrives.
    let mut again = run();
    again.asks[0] = send(1, 0, ONE, 10, None);
    again.asks[1] = send(1, 0, ONE, 20, stored(2));
    again.files[2].text = [ONE, TWO].concat();
    assert_eq!(violated(&again), []);
}

#[test]
fn without_a_lottery_there_is_no_verdict() {
    let histories = [
        Run::default(),
        Run::from(Lottery { asks: vec![], ..run() }),
        Run::from(Lottery { files: vec![], ..run() }),
    ];
    for history in histories {
        for property in ALL {
            assert!(matches!(check(property, &history), Verdict::Unknown { .. }), "{property}");
        }
    }
    // What was only asked, and not answered, breaks nothing.
    let mut silent = Lottery { draws: vec![], ..run() };
    silent.asks.iter_mut().for_each(|ask| ask.answer = None);
    silent.files.iter_mut().for_each(|file| file.text.clear());
    let history = Run::from(silent);
    for property in ALL {
        assert!(matches!(check(property, &history), Verdict::Unknown { .. }), "{property}");
    }
    // Whose the row is cannot be told.
    let mut run = run();
    run.asks.push(send(1, 2, ONE, 35, None));
    let history = Run::from(run);
    let verdict = check("stored_exactly_once", &history);
    assert!(matches!(verdict, Verdict::Unknown { .. }), "{verdict:?}");
}

#[test]
fn a_batch_that_is_stored_twice_or_lost_or_of_nobody() {
    let exactly = "stored_exactly_once";
    let end = |text: &[&str]| {
        let mut run = run();
        run.files[2].text = text.concat();
        run
    };
    assert_violated(&end(&[ONE, TWO, ONE]), exactly, "is in the file 2 times");
    assert_violated(&end(&[ONE]), exactly, "is in the file 0 times");
    let foreign = "2,Eva,Paz,21,2000-01-01,1\n";
    assert_violated(&end(&[ONE, TWO, foreign]), exactly, "nobody sent");
    // Never acknowledged, and twice all the same.
    let mut twice = end(&[ONE, TWO, foreign, foreign]);
    twice.asks.push(send(2, 2, foreign, 35, None));
    assert_violated(&twice, exactly, "acknowledged 0, and is in the file 2 times");
    let mut other = end(&[ONE, TWO, foreign]);
    other.asks.push(send(2, 1, foreign, 35, stored(1)));
    assert_violated(&other, exactly, "two batches of different bets");
    let mut short = run();
    short.asks[1] = send(1, 1, ONE, 20, stored(1));
    assert_violated(&short, exactly, "is acknowledged as another");
    // Without a number: acknowledged twice, and there once.
    let mut lost = run();
    lost.asks[0] = send(1, 0, ONE, 10, stored(2));
    lost.asks[1] = send(1, 0, ONE, 20, stored(2));
    assert_violated(&lost, exactly, "acknowledged 2, and is in the file 1 times");
}

#[test]
fn a_retry_that_is_refused() {
    let exactly = "stored_exactly_once";
    let mut again = run();
    again.asks.push(send(1, 1, ONE, 75, refused()));
    assert_violated(&again, exactly, "was acknowledged at 0.0 ms, and then refused: no");
    // It was sent before the acknowledgement.
    again.asks[8].invoke_ns = 24;
    assert_eq!(violated(&again), []);
    // Without a number it is another batch.
    let mut none = run();
    none.asks.push(send(1, 0, "1,Eva,Paz,12,2000-01-01,1\n", 75, refused()));
    assert_eq!(violated(&none), []);
}

#[test]
fn two_nodes_that_speak_for_one_agency() {
    let exactly = "stored_exactly_once";
    let by = |node, ask: Ask| Ask { node: Some(node), ..ask };
    let mut two = run();
    two.asks[1] = by(8, two.asks[1].clone());
    two.asks.push(by(9, ask(1, Asked::Finished, 40, Some(Told::Finished))));
    // The start at 37 has forgotten node 8.
    assert_eq!(violated(&two), []);
    two.files[1].at_ns = 24;
    assert_violated(&two, exactly, "node 9 was heard for agency 1");
    for at_ns in [26, 45] {
        two.losses = vec![Loss { at_ns, node: 8 }];
        assert_eq!(violated(&two), [], "{at_ns}");
    }
    for (at_ns, node) in [(24, 8), (46, 8), (30, 9)] {
        two.losses = vec![Loss { at_ns, node }];
        assert_violated(&two, exactly, "while node 8 spoke for it");
    }
    // Who is refused is not heard, and its retry of what the other sent is none.
    two.losses.clear();
    two.asks[8] = by(9, send(1, 1, ONE, 40, refused()));
    assert_eq!(violated(&two), []);
}

#[test]
fn an_acknowledged_batch_that_a_crash_takes() {
    let mut lost = run();
    lost.files[1].text = ONE.into();
    assert_violated(&lost, "ack_implies_durable", "agency 2's batch 1");
    // It was acknowledged after that start, at 35.
    lost.files[1].at_ns = 34;
    assert_eq!(violated(&lost), []);
}

#[test]
fn a_part_of_a_batch() {
    let all = "batch_all_or_nothing";
    let first = ONE.split_inclusive('\n').next().unwrap();
    let mut part = run();
    part.files[1].text = [TWO, ONE, first].concat();
    assert_violated(&part, all, "a part of agency 1's batch 1");
    part.files[1].text = [first, TWO, &ONE[first.len()..]].concat();
    assert_violated(&part, all, "a part of agency 1's batch 1");
    part.files[1].text = [ONE, TWO, "1,Ana,P"].concat();
    assert_violated(&part, all, "row 4 is no bet");
    part.files[1].text = [ONE, TWO.trim_end()].concat();
    assert_violated(&part, all, "the last has no end");
    let mut rest = run();
    rest.asks.push(send(
        1,
        2,
        "1,Eva,Paz,12,2000-01-01,1\n1,Eva,,13,2000-01-01,1\n",
        37,
        refused(),
    ));
    rest.files[2].text += "1,Eva,Paz,12,2000-01-01,1\n";
    assert_violated(&rest, all, "a part of agency 1's batch 2");
    rest.files[2].text += "1,Eva,,13,2000-01-01,1\n";
    assert_violated(&rest, all, "was refused, and is in the file");
}

#[test]
fn a_draw_too_early_or_twice() {
    let once = "draw_once_after_all";
    let mut early = run();
    early.asks[4] = ask(1, Asked::Results, 50, Some(Told::Winners(vec![10])));
    assert_violated(&early, once, "before all finished");
    assert_violated(&Lottery { draws: vec![59], ..run() }, once, "before all finished");
    assert_violated(&Lottery { draws: vec![62, 95], ..run() }, once, "a second draw");
    let mut untold = Lottery { draws: vec![], ..run() };
    untold.files.remove(1);
    assert_violated(&untold, once, "no draw");
    let mut back = run();
    back.asks.push(ask(1, Asked::Results, 76, Some(Told::NotDrawn)));
    assert_violated(&back, once, "after all finished");
    // Sent before the last end was acknowledged, it may be answered after.
    back.asks[8] = ask(1, Asked::Results, 65, Some(Told::NotDrawn));
    assert_eq!(violated(&back), []);
    // Nobody heard of the last end, but of the draw.
    back.asks[5] = ask(2, Asked::Finished, 60, None);
    back.asks[8] = ask(1, Asked::Results, 76, Some(Told::NotDrawn));
    assert_violated(&back, once, "is to come again");
    // An end that was refused is none.
    let mut without = run();
    without.asks[5] = ask(2, Asked::Finished, 60, refused());
    assert_violated(&without, once, "before all finished");
    let late = "1,Eva,Paz,12,2000-01-01,1\n";
    let mut after = run();
    after.asks.push(send(1, 2, late, 46, None));
    assert_eq!(violated(&after), []);
    after.files[2].text += late;
    assert_violated(&after, once, "after the agency's end");
    // Whoever sends them: the bets say whose they are.
    let mut other = after.clone();
    other.asks[8] = send(2, 0, late, 46, None);
    assert_violated(&other, once, "after the agency's end");
    // Sent before the end was acknowledged, it may have come first.
    after.asks[8] = send(1, 2, late, 44, None);
    assert_eq!(violated(&after), []);
}

#[test]
fn winners_of_others_or_not_all() {
    let own = "winners_only_to_their_agency";
    let cases = [
        (vec![], "none of its 1 winners, 1 is missing (10)"),
        (vec![20], "1 is missing (10), and 1 that is not its own (20)"),
        (vec![10, 20], "1 of its 1 winners, and 1 that is not its own (20)"),
        (vec![10, 10], "1 of its 1 winners, some of them twice"),
    ];
    for (told, words) in cases {
        let mut run = run();
        run.asks[6] = ask(1, Asked::Results, 70, Some(Told::Winners(told)));
        assert_violated(&run, own, "agency 1 was told ");
        assert_violated(&run, own, words);
    }
}
