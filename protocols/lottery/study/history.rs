//! A run of the lottery, made of what clients and nodes asked and were told.

use super::model::{Answer, Ask, File, Lottery, asked, told};
use super::reading::Reading;
use super::rules::Rules;
use super::{DRAW, nodes};
use node_lab::study::Run;
use node_protocols::core::{Protocol, protocol_tag};
use node_protocols::lottery::{self, Reply, Request};
use std::sync::{Arc, OnceLock};

/// A run of the lottery, and what checkers make of it.
#[derive(Default)]
pub struct Known {
    /// The run; none when there was none.
    pub lottery: Option<Lottery>,
    /// Why it cannot be judged, though there was one.
    pub(super) lacks: Option<&'static str>,
    /// The place in the run of each ask; those of nodes have none.
    places: Vec<usize>,
    reading: OnceLock<Result<Reading, String>>,
}

#[cfg(test)]
impl From<Lottery> for Run {
    /// A run of which that is all that is known.
    fn from(lottery: Lottery) -> Run {
        let run = Run::default();
        run.derive(|_| Known { lottery: Some(lottery), ..Known::default() });
        run
    }
}

impl Known {
    /// What there is to know of a run.
    pub fn of(run: &Run) -> Arc<Known> {
        run.derive(Known::new)
    }

    fn new(run: &Run) -> Known {
        let rules = Rules::read(&run.nodes).ok().flatten();
        let Some(rules) = rules else { return Known::default() };
        if !run.is_simulated && !rules.node_places().is_empty() {
            let lacks = "traces do not have what agencies that are nodes asked";
            return Known { lacks: Some(lacks), ..Known::default() };
        }
        let (mut asks, mut places) = (Vec::new(), Vec::new());
        for (place, operation) in run.operations_of(lottery::Lottery::NAME) {
            let Some(request) = run.request::<Request<'_>>(operation) else { continue };
            let agency = match operation.is_seen_at_node {
                true => speaks_for(&request),
                false => u32::try_from(operation.client).ok(),
            };
            let Some(agency) = agency else { continue };
            let answer = run.reply::<Reply<'_>>(operation).and_then(told);
            let answer = answer.zip(operation.return_ns);
            places.push(place);
            asks.push(Ask {
                agency,
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
        let files: Vec<File> = files.collect();
        let last_answer = asks.iter().filter_map(|ask| Some(ask.answer.as_ref()?.at_ns)).max();
        let lacks = if run.is_simulated {
            None
        } else if files.last().map(|file| file.at_ns) < last_answer {
            Some("nobody saw the file of bets after the last answer: stop the central in order")
        } else if asks.iter().any(|ask| !(1..=rules.agencies).contains(&ask.agency)) {
            Some("some clients are no agencies: give one trace of clients, that of node load")
        } else {
            None
        };
        let lottery = Lottery {
            agencies: rules.agencies,
            winning_number: rules.winning_number,
            asks,
            files,
            draws: draws.map(|(at, _, _)| *at).collect(),
            losses,
        };
        Known { lottery: Some(lottery), lacks, places, ..Known::default() }
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

/// Whose request it is, as it says; none where it does not.
fn speaks_for(request: &Request<'_>) -> Option<u32> {
    match request {
        Request::Bets { bets, .. } | Request::Bare { bets } => bets.first().map(|bet| bet.agency),
        Request::Finished { agency } | Request::Results { agency } => Some(*agency),
        Request::Status {} | Request::Unreadable { .. } => None,
    }
}
