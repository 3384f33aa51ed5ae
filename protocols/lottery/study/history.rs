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
