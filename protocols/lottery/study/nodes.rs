//! Agencies that are nodes: what is in their files, and what they and the central told each other, read
//! off the frames between them.
//!
//! Two nodes that were given the same agency by mistake are the first of them and its rivals. A rival
//! has the same file, an empty one, or another: the central must let one of them speak at a time.

use super::bets::{Luck, batches, document, draw};
use super::model::{Answer, Ask, Loss, asked, told};
use super::rules::{BATCHES_EACH, Rules, Speaker};
use super::settings::Settings;
use node_lab::study::Load;
use node_lab::study::Seen;
use node_protocols::core::{Host, Protocol, Rng, protocol_tag};
use node_protocols::lottery::{Lottery, Message};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which file a node has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum File {
    /// That of the first of its agency.
    First,
    Empty,
    Other,
}

/// Which file a node has in a plan.
fn file_of(speaker: &Speaker, rules: &Rules, plan: &Load) -> File {
    if speaker.rank == 0 {
        return File::First;
    }
    let label = format!("workload/node/{}/file", speaker.id);
    let first = rules.speakers.iter().find(|one| one.agency == speaker.agency && one.rank == 0);
    // Cut otherwise, its chunks would be others.
    let is_cut_alike = first.is_some_and(|one| one.bets_per_chunk == speaker.bets_per_chunk);
    match Rng::stream(plan.seed, &label).below(3) {
        0 if is_cut_alike => File::First,
        1 => File::Empty,
        _ => File::Other,
    }
}

/// What a plan has in the files of agencies that are nodes: by the node's place, the protocol that reads
/// it and its content.
pub fn inputs(
    settings: &Settings,
    rules: &Rules,
    plan: &Load,
) -> Vec<(usize, &'static str, Arc<[u8]>)> {
    let input = |speaker: &Speaker| {
        let rank = match file_of(speaker, rules, plan) {
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

fn rows(agency: u32, rank: u64, settings: &Settings, rules: &Rules, plan: &Load) -> Vec<u8> {
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
pub(super) fn may_block(rules: &Rules, plan: &Load) -> bool {
    rules.speakers.iter().any(|speaker| file_of(speaker, rules, plan) != File::First)
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
