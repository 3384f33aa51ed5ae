//! A run of the lottery: made of what clients and nodes asked and were told, or read from a file of one
//! line for the run.

use super::model::{Answer, Ask, File, Lottery, asked, told};
use super::reading::Reading;
use super::rules::Rules;
use super::{DRAW, nodes};
use node_lab::study::{Lines, Run};
use node_protocols::core::{Protocol, protocol_tag};
use node_protocols::lottery::{self, Reply, Request};
use serde::Deserialize;
use std::sync::{Arc, OnceLock};

/// A run of the lottery, and what checkers make of it.
#[derive(Default)]
pub struct Known {
    /// The run; none when there was none.
    pub lottery: Option<Lottery>,
    /// The place in the run of each ask; those of nodes, and those read from a file, have none.
    places: Vec<usize>,
    reading: OnceLock<Result<Reading, String>>,
}

/// What was read from a file.
#[derive(Default)]
struct Given(Option<Lottery>);

#[cfg(test)]
impl From<Lottery> for Run {
    /// A run of which that is all that is known.
    fn from(lottery: Lottery) -> Run {
        let mut run = Run::default();
        run.give::<Given>().0 = Some(lottery);
        run
    }
}

impl Known {
    /// What there is to know of a run.
    pub fn of(run: &Run) -> Arc<Known> {
        run.derive(Known::new)
    }

    fn new(run: &Run) -> Known {
        let given = run.given::<Given>().and_then(|given| given.0.clone());
        let rules = Rules::read(&run.nodes).ok().flatten();
        let Some(rules) = rules else {
            return Known { lottery: given, ..Known::default() };
        };
        let (mut asks, mut places) = (Vec::new(), Vec::new());
        for (place, operation) in run.operations_of(lottery::Lottery::NAME) {
            let Some(request) = run.request::<Request<'_>>(operation) else { continue };
            let answer = run.reply::<Reply<'_>>(operation).and_then(told);
            let answer = answer.zip(operation.return_ns);
            places.push(place);
            asks.push(Ask {
                agency: operation.client as u32,
                node: None,
                ask: asked(&request),
                invoke_ns: operation.invoke_ns,
                answer: answer.map(|(told, at_ns)| Answer { at_ns, told }),
            });
        }
        let (of_nodes, losses) = nodes::heard(&rules, &run.seen);
        asks.extend(of_nodes);
        let tag = protocol_tag(lottery::Lottery::NAME);
        let files = run.seen.files.iter().filter(|file| file.tag == tag);
        let files = files.map(|seen| File {
            at_ns: seen.at,
            text: String::from_utf8_lossy(&seen.bytes).into_owned(),
        });
        let draws = run.seen.lines.iter().filter(|(_, _, line)| line.contains(DRAW));
        let lottery = Lottery {
            agencies: rules.agencies,
            winning_number: rules.winning_number,
            asks,
            files: files.collect(),
            draws: draws.map(|(at, _, _)| *at).collect(),
            losses,
        };
        Known { lottery: Some(lottery), places, ..Known::default() }
    }

    /// What checkers make of it.
    pub(super) fn reading(&self, lottery: &Lottery) -> &Result<Reading, String> {
        self.reading.get_or_init(|| Reading::new(lottery))
    }

    /// The place in the run of an ask.
    pub(super) fn place(&self, ask: usize) -> Option<usize> {
        self.places.get(ask).copied()
    }
}

/// Reads lines, each a run of the lottery or a part of one.
#[derive(Default)]
pub(super) struct Reader(Option<Lottery>);

impl Lines for Reader {
    fn take(&mut self, _: usize, line: &serde_json::Value) -> Result<bool, String> {
        if line.get("asks").is_none() {
            return Ok(false);
        }
        let part = Lottery::deserialize(line).map_err(|error| error.to_string())?;
        check(&part)?;
        join(&mut self.0, part);
        Ok(true)
    }

    fn finish(self: Box<Self>, run: &mut Run) -> Result<u64, (usize, String)> {
        if let Some(lottery) = self.0 {
            join(&mut run.give::<Given>().0, lottery);
        }
        Ok(0)
    }
}

/// Joins parts of one run of the lottery.
fn join(whole: &mut Option<Lottery>, part: Lottery) {
    match whole {
        None => *whole = Some(part),
        Some(whole) => {
            whole.asks.extend(part.asks);
            whole.files.extend(part.files);
            whole.files.sort_by_key(|file| file.at_ns);
            whole.draws.extend(part.draws);
        }
    }
}

/// What a run of the lottery must satisfy by itself.
fn check(lottery: &Lottery) -> Result<(), &'static str> {
    if !lottery.files.is_sorted_by_key(|file| file.at_ns) {
        return Err("the files are not in the order of time");
    }
    for ask in &lottery.asks {
        if ask.answer.as_ref().is_some_and(|answer| answer.at_ns < ask.invoke_ns) {
            return Err("an answer is before what was asked");
        }
        if !(1..=lottery.agencies).contains(&ask.agency) {
            return Err("there is no such agency");
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
