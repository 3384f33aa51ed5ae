//! Agencies that are nodes: what is in their files, and what they and the central told each other, read
//! off the frames between them.
//!
//! Two nodes that were given the same agency by mistake are the first of them and its rivals. A rival
//! has the same file, an empty one, or another: the central must let one of them speak at a time.

use super::bets::{Luck, asked, document, draw};
use super::clients::{Settings, batches, told};
use super::history::{Answer, Ask, Loss};
use super::rules::Rules;
use node_lab::sim::plan::Plan;
use node_lab::sim::world::Seen;
use node_protocols::core::{Host, NodeId, Protocol, Rng, protocol_tag};
use node_protocols::lottery::{self, Lottery, Message};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An agency that is a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Speaker {
    /// Among the nodes.
    pub(super) place: usize,
    pub(super) id: NodeId,
    pub(super) agency: u32,
    bets_per_chunk: u32,
    /// How many other nodes of the same agency come before it.
    rank: u64,
}

/// Their documents must not meet, nor those of what agencies should not send.
const MAX_RIVALS: u64 = 3;
/// The first document of each has room for this many batches.
const BATCHES_EACH: u64 = 1_000_000;

impl Speaker {
    pub(super) fn new(
        place: usize,
        id: NodeId,
        config: &lottery::Config,
        others: &[Speaker],
    ) -> Result<Speaker, String> {
        let agency = config.agency;
        let rank = others.iter().filter(|other| other.agency == agency).count() as u64;
        if rank > MAX_RIVALS {
            return Err(format!("nodes: more than {} speak for agency {agency}", MAX_RIVALS + 1));
        }
        Ok(Speaker { place, id, agency, bets_per_chunk: config.bets_per_chunk, rank })
    }

    fn file(&self, rules: &Rules, plan: &Plan) -> File {
        if self.rank == 0 {
            return File::First;
        }
        let label = format!("workload/node/{}/file", self.id);
        let first = rules.speakers.iter().find(|one| one.agency == self.agency && one.rank == 0);
        // Cut otherwise, its chunks would be others.
        let is_cut_alike = first.is_some_and(|one| one.bets_per_chunk == self.bets_per_chunk);
        match Rng::stream(plan.seed, &label).below(3) {
            0 if is_cut_alike => File::First,
            1 => File::Empty,
            _ => File::Other,
        }
    }
}

/// Which file a node has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum File {
    /// That of the first of its agency.
    First,
    Empty,
    Other,
}

/// What a plan has in the files of agencies that are nodes: by the node's place, the protocol that reads
/// it and its content.
pub fn inputs(
    settings: &Settings,
    rules: &Rules,
    plan: &Plan,
) -> Vec<(usize, &'static str, Arc<[u8]>)> {
    let input = |speaker: &Speaker| {
        let rank = match speaker.file(rules, plan) {
            File::First => Some(0),
            File::Empty => None,
            File::Other => Some(speaker.rank),
        };
        let content =
            rank.map_or_else(Vec::new, |rank| rows(speaker.agency, rank, settings, rules, plan));
        (speaker.place, Lottery::NAME, content.into())
    };
    rules.speakers.iter().map(input).collect()
}

fn rows(agency: u32, rank: u64, settings: &Settings, rules: &Rules, plan: &Plan) -> Vec<u8> {
    let luck = Luck::draw(plan.seed, agency, settings);
    let mut rows = Vec::new();
    for batch in 1..=batches(agency, plan) {
        let label = format!("workload/agency/{agency}/{rank}/batch/{batch}");
        let first = document(agency, (1 + rank) * BATCHES_EACH + batch);
        for bet in draw(agency, first, settings, rules, luck, &mut Rng::stream(plan.seed, &label)) {
            // An agency's own file does not say whose it is.
            let mut row = Vec::new();
            bet.row(&mut row);
            let comma = row.iter().position(|byte| *byte == b',').map_or(0, |comma| comma + 1);
            rows.extend_from_slice(&row[comma..]);
        }
    }
    rows
}

/// Whether nodes with different files are given one agency: the central refuses the one while the other
/// speaks, and when that is cut off before it has finished, nobody goes on.
pub(super) fn may_block(rules: &Rules, plan: &Plan) -> bool {
    rules.speakers.iter().any(|speaker| speaker.file(rules, plan) != File::First)
}

/// What nodes asked and were told, and when the central lost its links to them.
pub(super) fn heard(rules: &Rules, seen: &Seen) -> (Vec<Ask>, Vec<Loss>) {
    let speaker = |place: usize| rules.speakers.iter().find(|one| one.place == place);
    let tag = protocol_tag(Lottery::NAME);
    let mut asks: Vec<Ask> = Vec::new();
    // The asks of a node with one number that have no answer yet, the latest first. Which of them
    // is answered makes no difference: each was sent before the answer was.
    let mut open: BTreeMap<(usize, u64), Vec<usize>> = BTreeMap::new();
    for frame in &seen.frames {
        let Some((_, body)) = Host::message_of(&frame.payload).filter(|(of, _)| *of == tag) else {
            continue;
        };
        // Nodes encode their messages from this type.
        let Ok(message) = postcard::from_bytes::<Message<'_>>(body) else { continue };
        match (message, speaker(frame.from), speaker(frame.to)) {
            (Message::Ask { number, request }, Some(Speaker { agency, id, .. }), _) => {
                open.entry((frame.from, number)).or_default().insert(0, asks.len());
                let (ask, invoke_ns) = (asked(&request), frame.at);
                asks.push(Ask { agency: *agency, node: Some(id.0), ask, invoke_ns, answer: None });
            }
            (Message::Answer { number, reply }, _, Some(_)) => {
                let unanswered = open.entry((frame.to, number)).or_default();
                if let Some(told) = told(reply)
                    && let Some(ask) = unanswered.pop()
                {
                    asks[ask].answer = Some(Answer { at_ns: frame.at, told });
                }
            }
            (Message::Ask { .. } | Message::Answer { .. }, _, _) => {}
        }
    }
    let losses = seen.links_lost.iter().filter(|(_, node, _)| *node == rules.central);
    let losses = losses.filter_map(|(at_ns, _, peer)| {
        speaker(*peer).map(|one| Loss { at_ns: *at_ns, node: one.id.0 })
    });
    (asks, losses.collect())
}
