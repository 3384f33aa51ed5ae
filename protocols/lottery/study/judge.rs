//! Whether the lottery's central kept every bet, once, and told each agency its winners: by what
//! agencies asked and were told, and what was in the file of bets after each start and in the end.
//! Reads the file by itself, and knows nothing of the central's log.
//!
//! The source of all five: document 001, "TP0 - Sistemas Distribuidos" (2024), exercises 6 and 7;
//! what it leaves open about crashes is decided as in the head of `protocols/lottery`.

use super::history::Known;
use super::model::{Answer, Ask, Asked, File, Lottery, Told};
use super::reading::{Batch, Held, Reading};
use node_lab::check::describe::{Millis, Short};
use node_lab::study::Run;
use node_lab::study::{Verdict, Violation, Witness};
use std::collections::BTreeMap;

/// **Stored exactly once.** In the end every batch that was acknowledged is in the file, with as
/// many bets as it was sent with; a batch with a number is there once, however often it was sent,
/// and of two batches with one number of one agency one at most; a batch without a number is there
/// no more often than it was sent, and no less often than it was acknowledged; and every row of the
/// file is a bet that some agency sent. A batch with a number that was acknowledged is so whenever
/// it is sent again. And no two nodes' batches are mixed: while one speaks for an agency, as long
/// as its link to the central lasts, the central does nothing for another.
///
/// Exactly-once by numbered requests: Birrell and Nelson, Implementing Remote Procedure Calls, ACM
/// TOCS 2(1), 1984.
pub(super) fn stored_exactly_once(history: &Run) -> Verdict {
    judge(Evidence::Stored, history, |run| {
        let (file, held) = run.last();
        if let Some(row) = &held.foreign {
            return Err(Found::at(file, format!("nobody sent what is in the file: {row}"), &[]));
        }
        let mut by_number: BTreeMap<(u32, u64), usize> = BTreeMap::new();
        for (place, batch) in run.reading.batches.iter().enumerate() {
            let copies = held.whole[place];
            let acknowledged = &batch.acknowledged;
            let (least, most) = match batch.number {
                0 => (acknowledged.len(), batch.asks.len()),
                _ => (acknowledged.len().min(1), 1),
            };
            if copies < least || copies > most {
                let why = format!(
                    "{} was sent {} times and acknowledged {}, and is in the file {copies} times",
                    run.name(batch),
                    batch.asks.len(),
                    acknowledged.len()
                );
                let asks = if acknowledged.is_empty() { &batch.asks } else { acknowledged };
                return Err(Found::at(file, why, asks));
            }
            for ask in acknowledged {
                let told = run.lottery.asks[*ask].answer.as_ref().map(|answer| &answer.told);
                if told != Some(&Told::Stored(batch.bets(run.lottery).len() as u64)) {
                    let why = format!("{} is acknowledged as another: {told:?}", run.name(batch));
                    return Err(Found::at(file, why, &[*ask]));
                }
            }
            retries_are_acknowledged(run, batch)?;
            let is_taken = copies > 0 || !acknowledged.is_empty();
            if batch.number > 0 && is_taken {
                let other = by_number.insert((batch.agency, batch.number), place);
                if let Some(other) = other.map(|other| &run.reading.batches[other]) {
                    let why =
                        format!("two batches of different bets were taken as {}", run.name(batch));
                    let asks = [&batch.asks[..], &other.asks[..]].concat();
                    return Err(Found::at(file, why, &asks));
                }
            }
        }
        one_node_speaks_for_an_agency(run)
    })
}

/// What was acknowledged is not refused when it comes again.
fn retries_are_acknowledged(run: &Kept<'_>, batch: &Batch) -> Result<(), Found> {
    let Some((at_ns, _)) = run.first_acknowledged(batch).filter(|_| batch.number > 0) else {
        return Ok(());
    };
    for place in &batch.asks {
        let ask = &run.lottery.asks[*place];
        let Some(Answer { at_ns: told_ns, told: Told::Refused(reason) }) = &ask.answer else {
            continue;
        };
        // A node may be refused for what another of its agency is, or was.
        let is_rival = |other: &Ask| other.agency == ask.agency && other.node != ask.node;
        let has_rival = ask.node.is_some() && run.lottery.asks.iter().any(is_rival);
        if at_ns < ask.invoke_ns && !has_rival {
            let (name, reason) = (run.name(batch), Short(reason));
            let why =
                format!("{name} was acknowledged at {}, and then refused: {reason}", Millis(at_ns));
            return Err(Found::of("refused retry", vec![*place], *told_ns, why));
        }
    }
    Ok(())
}

/// What the central does for a node, in the order in which it did it.
fn one_node_speaks_for_an_agency(run: &Kept<'_>) -> Result<(), Found> {
    enum Event {
        /// The central has started, and knows of no node.
        Start,
        Loss(u32),
        Heard {
            agency: u32,
            node: u32,
            ask: usize,
        },
    }
    let heard = run.lottery.asks.iter().enumerate().filter_map(|(ask, asked)| {
        let answer = asked.answer.as_ref()?;
        let (agency, node) = (asked.agency, asked.node?);
        let is_heard = !matches!(answer.told, Told::Refused(_));
        is_heard.then_some((answer.at_ns, Event::Heard { agency, node, ask }))
    });
    let losses = run.lottery.losses.iter().map(|loss| (loss.at_ns, Event::Loss(loss.node)));
    // The last file is that of the end; what comes then takes nothing from anybody.
    let starts = run.lottery.files.iter().map(|file| (file.at_ns, Event::Start));
    let mut events: Vec<(u64, Event)> = starts.chain(losses).chain(heard).collect();
    events.sort_by_key(|(at_ns, _)| *at_ns);
    let mut speakers: BTreeMap<u32, (u32, usize)> = BTreeMap::new();
    for (at_ns, event) in events {
        match event {
            Event::Start => speakers.clear(),
            Event::Loss(node) => speakers.retain(|_, (speaker, _)| *speaker != node),
            Event::Heard { agency, node, ask } => {
                let (speaker, first) = *speakers.entry(agency).or_insert((node, ask));
                if speaker != node {
                    let why = format!(
                        "node {node} was heard for agency {agency} at {}, while node {speaker} spoke \
                         for it",
                        Millis(at_ns)
                    );
                    return Err(Found::of("two nodes of an agency", vec![ask, first], at_ns, why));
                }
            }
        }
    }
    Ok(())
}

/// **Acknowledged is durable.** A batch is in the file after every start of the central that comes
/// after its acknowledgement, and in the end.
///
/// A log written ahead of the answer: Gray and Reuter, Transaction Processing, 1993, chapter 9.
pub(super) fn ack_implies_durable(history: &Run) -> Verdict {
    judge(Evidence::Stored, history, |run| {
        let first = |batch: &Batch| run.first_acknowledged(batch);
        let first: Vec<Option<(u64, usize)>> = run.reading.batches.iter().map(first).collect();
        for (file, held) in run.looks() {
            for (place, first) in first.iter().enumerate() {
                let Some((at_ns, ask)) = first.filter(|(at, _)| *at <= file.at_ns) else {
                    continue;
                };
                if held.whole[place] == 0 {
                    let why = format!(
                        "{} was acknowledged at {}, and is not in the file at {}",
                        run.name(&run.reading.batches[place]),
                        Millis(at_ns),
                        Millis(file.at_ns)
                    );
                    return Err(Found::at(file, why, &[ask]));
                }
            }
        }
        Ok(())
    })
}

/// **All or nothing.** After every start, and in the end, the file has whole rows, the bets of a
/// batch are there in their order with none missing and none between them, and of a batch that was
/// refused none is there.
///
/// Atomicity: Gray, The Transaction Concept: Virtues and Limitations, VLDB 1981.
pub(super) fn batch_all_or_nothing(history: &Run) -> Verdict {
    judge(Evidence::Taken, history, |run| {
        for (file, held) in run.looks() {
            if let Some(torn) = &held.torn {
                let why = format!("the file is no whole rows at {}: {torn}", Millis(file.at_ns));
                return Err(Found::at(file, why, &[]));
            }
            for (place, batch) in run.reading.batches.iter().enumerate() {
                if held.parts[place] {
                    let (name, at) = (run.name(batch), Millis(file.at_ns));
                    let why = format!("a part of {name} is in the file at {at}");
                    return Err(Found::at(file, why, &batch.asks));
                }
                let is_refused = |ask: &&usize| {
                    let answer = run.lottery.asks[**ask].answer.as_ref();
                    answer.is_some_and(|answer| matches!(answer.told, Told::Refused(_)))
                };
                // One that was refused for now, and later taken, is there by right.
                let refused = batch.asks.iter().find(is_refused);
                let refused = refused.filter(|_| batch.asks.iter().all(|ask| is_refused(&ask)));
                if let Some(ask) = refused.filter(|_| held.whole[place] > 0) {
                    let (name, at) = (run.name(batch), Millis(file.at_ns));
                    let why = format!("{name} was refused, and is in the file at {at}");
                    return Err(Found::at(file, why, &[*ask]));
                }
            }
        }
        Ok(())
    })
}

/// **One draw, after all.** No agency is told winners before every agency has said that it has
/// finished; once one was told, none hears that the draw is still to come; no batch that its agency
/// sent first after its own end was acknowledged is taken; and the central prints that it has drawn
/// once at most, after all have finished. A crash may lose the line, never double it.
pub(super) fn draw_once_after_all(history: &Run) -> Verdict {
    judge(Evidence::Draw, history, |run| {
        let asks = || run.lottery.asks.iter().enumerate();
        // When each agency first said that it has finished, and when it first had the answer.
        let mut ends: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for (_, ask) in asks().filter(|(_, ask)| ask.ask == Asked::Finished) {
            let (said, heard) = ends.entry(ask.agency).or_insert((u64::MAX, u64::MAX));
            match &ask.answer {
                // It may have been taken.
                None => *said = ask.invoke_ns.min(*said),
                Some(Answer { told: Told::Finished, at_ns }) => {
                    *said = ask.invoke_ns.min(*said);
                    *heard = (*at_ns).min(*heard);
                }
                Some(_) => {}
            }
        }
        let said = |agency| ends.get(&agency).map_or(u64::MAX, |(said, _)| *said);
        let all = (1..=run.lottery.agencies).map(said).max().unwrap_or(u64::MAX);
        let mut told: Option<(u64, usize)> = None;
        for (place, ask) in asks() {
            let Some(answer) = &ask.answer else { continue };
            if !matches!(answer.told, Told::Winners(_)) {
                continue;
            }
            if answer.at_ns < all {
                let (agency, at) = (ask.agency, Millis(answer.at_ns));
                let why = format!("agency {agency} was told winners at {at}, before all finished");
                return Err(Found::of("answer too early", vec![place], answer.at_ns, why));
            }
            told = Some(told.map_or((answer.at_ns, place), |told| told.min((answer.at_ns, place))));
        }
        let heard = |agency| ends.get(&agency).map_or(u64::MAX, |(_, heard)| *heard);
        let all_heard = (1..=run.lottery.agencies).map(heard).max().unwrap_or(u64::MAX);
        for (place, ask) in asks() {
            let Some(answer) = &ask.answer else { continue };
            if all_heard < ask.invoke_ns && answer.told == Told::NotDrawn {
                let (agency, at) = (ask.agency, Millis(answer.at_ns));
                let why =
                    format!("agency {agency} was told no winners at {at}, after all finished");
                return Err(Found::of("answer without winners", vec![place], answer.at_ns, why));
            }
            let is_after = told.is_some_and(|(at, _)| at < ask.invoke_ns);
            if is_after && answer.told == Told::NotDrawn {
                let (agency, at) = (ask.agency, Millis(answer.at_ns));
                let why =
                    format!("agency {agency} was told at {at} that the draw is to come again");
                let asks = [place].into_iter().chain(told.map(|(_, place)| place)).collect();
                return Err(Found::of("answers to one question", asks, answer.at_ns, why));
            }
        }
        nothing_after_the_end(run, heard)?;
        draws_once(run, all, told)
    })
}

/// No batch is taken that its agency sent first after it `heard` that its end was noted.
fn nothing_after_the_end(run: &Kept<'_>, heard: impl Fn(u32) -> u64) -> Result<(), Found> {
    let (_, last) = run.last();
    for (place, batch) in run.reading.batches.iter().enumerate() {
        let sent = batch.asks.iter().map(|ask| run.lottery.asks[*ask].invoke_ns).min();
        let is_taken = last.whole[place] > 0 || !batch.acknowledged.is_empty();
        let heard = batch.bets(run.lottery).iter().map(|bet| heard(bet.agency)).min();
        if let (Some(heard), Some(sent), true) = (heard, sent, is_taken)
            && heard < sent
        {
            let why = format!("{} was sent after the agency's end, and taken", run.name(batch));
            return Err(Found::of("batch after the end", batch.asks.clone(), sent, why));
        }
    }
    Ok(())
}

/// The central prints one draw, after `all` have finished; `told` is when the first winners were.
fn draws_once(run: &Kept<'_>, all: u64, told: Option<(u64, usize)>) -> Result<(), Found> {
    match run.lottery.draws[..] {
        [] => {
            // The first file is that of the first start, the last that of the end.
            let is_lost = run.lottery.files.len() > 2;
            let Some((at_ns, place)) = told.filter(|_| !is_lost) else { return Ok(()) };
            let why = "winners were told, no draw, and nothing can have lost its line".into();
            Err(Found::of("winners told", vec![place], at_ns, why))
        }
        [at_ns] if at_ns >= all => Ok(()),
        [at_ns] => {
            let why = format!("a draw at {}, before all finished", Millis(at_ns));
            Err(Found::of("draw", Vec::new(), at_ns, why))
        }
        [_, at_ns, ..] => {
            let why = format!("a second draw at {}", Millis(at_ns));
            Err(Found::of("draw", Vec::new(), at_ns, why))
        }
    }
}

/// **Winners to their own agency.** Whenever an agency is told winners, they are the documents of
/// those rows of the file that are its own and bet on the winning number, all of them, in their
/// order.
pub(super) fn winners_only_to_their_agency(history: &Run) -> Verdict {
    judge(Evidence::Winners, history, |run| {
        for (place, ask) in run.lottery.asks.iter().enumerate() {
            let Some(answer) = &ask.answer else { continue };
            let Told::Winners(told) = &answer.told else { continue };
            let own = run.reading.winners.get(&ask.agency).map_or(&[][..], |own| own);
            if told != own {
                let (agency, at_ns) = (ask.agency, answer.at_ns);
                let why = format!("agency {agency} was told {}", differences(told, own));
                return Err(Found::of("winners told", vec![place], at_ns, why));
            }
        }
        Ok(())
    })
}

/// How the winners that an agency was told differ from its own.
fn differences(told: &[u64], own: &[u64]) -> String {
    let missing: Vec<u64> = own.iter().copied().filter(|one| !told.contains(one)).collect();
    let foreign: Vec<u64> = told.iter().copied().filter(|one| !own.contains(one)).collect();
    let few = |all: &[u64]| {
        let mut text: Vec<String> = all.iter().take(3).map(u64::to_string).collect();
        text.extend((all.len() > 3).then(|| "…".to_string()));
        text.join(", ")
    };
    let are = |all: &[u64]| if all.len() == 1 { "is" } else { "are" };
    let right = own.len() - missing.len();
    let mut says = match (right, own.len()) {
        (0, 0) => "winners, and has none".to_string(),
        (0, all) => format!("none of its {all} winners"),
        (right, all) => format!("{right} of its {all} winners"),
    };
    if !missing.is_empty() {
        let (count, are) = (missing.len(), are(&missing));
        says += &format!(", {count} {are} missing ({})", few(&missing));
    }
    if !foreign.is_empty() {
        let (count, are) = (foreign.len(), are(&foreign));
        says += &format!(", and {count} that {are} not its own ({})", few(&foreign));
    }
    if missing.is_empty() && foreign.is_empty() {
        says += if told.len() == own.len() { ", in another order" } else { ", some of them twice" };
    }
    says
}

/// What breaks a property.
struct Found {
    /// The part of `asks`.
    role: &'static str,
    why: String,
    asks: Vec<usize>,
    at_ns: u64,
}

impl Found {
    /// What was asked, the one that broke it last; then what the file had or the console showed.
    fn violation(self, history: &Run) -> Violation {
        let at = self.at_ns;
        let id = |place: usize| history.nodes.get(place).map_or(place as u32, |node| node.id.0);
        let roles: Vec<_> = self.asks.iter().skip(1).chain(self.asks.first()).collect();
        let asks = roles.into_iter().map(|ask| Witness::operation(self.role, *ask, ""));
        let mut witnesses: Vec<Witness> = asks.collect();
        let file = history.seen.files.iter().find(|file| file.at == at);
        witnesses.extend(file.map(|file| {
            let says = format!("the file of node {} is read at {}", id(file.node), Millis(at));
            Witness::event("file", id(file.node), at, "file", says)
        }));
        let line = history.seen.lines.iter().find(|(when, ..)| *when == at);
        witnesses.extend(line.map(|(_, node, line)| {
            let says = format!("node {} prints {} at {}", id(*node), Short(line), Millis(at));
            Witness::event("printed", id(*node), at, "print", says)
        }));
        Violation { at: Some(at), ..Violation::by(witnesses, self.why) }
    }

    fn of(role: &'static str, asks: Vec<usize>, at_ns: u64, why: String) -> Found {
        Found { role, asks, at_ns, why }
    }

    fn at(file: &File, why: String, asks: &[usize]) -> Found {
        Found { role: "batch", why, asks: asks.to_vec(), at_ns: file.at_ns }
    }
}

/// What could have broken a property; without it, a run has no evidence.
#[derive(Clone, Copy)]
enum Evidence {
    /// A batch that was acknowledged.
    Stored,
    /// A batch that was taken, or refused.
    Taken,
    /// A draw.
    Draw,
    /// An agency that was told winners.
    Winners,
}

fn judge(
    evidence: Evidence,
    history: &Run,
    look: impl FnOnce(&Kept<'_>) -> Result<(), Found>,
) -> Verdict {
    let unknown = |why: &str| Verdict::Unknown { why: why.into() };
    let known = Known::of(history);
    if let Some(lacks) = known.lacks {
        return unknown(lacks);
    }
    let Some(lottery) = &known.lottery else {
        return unknown("the history says nothing of a lottery");
    };
    let Some(last) = lottery.files.last().filter(|_| !lottery.asks.is_empty()) else {
        return unknown("the history says nothing of what agencies asked, or what the file had");
    };
    let reading = match known.reading(lottery) {
        Ok(reading) => reading,
        Err(why) => return Verdict::Unknown { why: why.clone() },
    };
    let run = Kept { lottery, reading, last };
    match look(&run) {
        Ok(()) => {
            let (has_evidence, lacks) = evidence.is_in(&run);
            Verdict::of(None, has_evidence, lacks)
        }
        Err(found) => {
            let found = Verdict::Violated(found.violation(history));
            found.placed(&lottery.asks, |ask| known.place(ask))
        }
    }
}

impl Evidence {
    /// Whether it is in a run, and what the run lacks if not.
    fn is_in(self, run: &Kept<'_>) -> (bool, &'static str) {
        let told = |is: fn(&Told) -> bool| {
            let mut answers = run.lottery.asks.iter().filter_map(|ask| ask.answer.as_ref());
            answers.any(|answer| is(&answer.told))
        };
        let are_winners = || told(|told| matches!(told, Told::Winners(_)));
        match self {
            Evidence::Stored => {
                (told(|told| matches!(told, Told::Stored(_))), "no batch was acknowledged")
            }
            Evidence::Taken => {
                let has_rows = run.lottery.files.iter().any(|file| !file.text.is_empty());
                (has_rows || told(|told| matches!(told, Told::Refused(_))), "no batch was taken")
            }
            Evidence::Draw => (are_winners() || !run.lottery.draws.is_empty(), "there was no draw"),
            Evidence::Winners => (are_winners(), "no agency was told winners"),
        }
    }
}

/// A run, with what there is to know of it.
struct Kept<'a> {
    lottery: &'a Lottery,
    reading: &'a Reading,
    /// The file in the end.
    last: &'a File,
}

impl<'a> Kept<'a> {
    /// When an ask was first answered that its batch is stored, and which it was.
    fn first_acknowledged(&self, batch: &Batch) -> Option<(u64, usize)> {
        let answer = |ask: &usize| self.lottery.asks[*ask].answer.as_ref();
        batch.acknowledged.iter().filter_map(|ask| Some((answer(ask)?.at_ns, *ask))).min()
    }

    fn name(&self, batch: &Batch) -> String {
        batch.name(self.lottery)
    }

    fn last(&self) -> (&'a File, &'a Held) {
        // There is a look for each file, and a file.
        let held = self.reading.looks.last().expect("a run has a file");
        (self.last, held)
    }

    /// What was in each file.
    fn looks(&self) -> impl Iterator<Item = (&'a File, &'a Held)> {
        self.lottery.files.iter().zip(&self.reading.looks)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
