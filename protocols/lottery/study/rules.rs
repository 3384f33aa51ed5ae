//! What the configs of a scenario's nodes say of its lottery: the central's rules, and which agencies are
//! nodes.

use node_lab::config::Config;
use node_protocols::core::NodeId;
use node_protocols::lottery::{self, Lottery, RoleName};

/// Keeps a run finite.
const MAX_AGENCIES: u32 = 1_000;

/// What the nodes' configs say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// How many agencies there are.
    pub agencies: u32,
    pub(super) winning_number: u32,
    pub(super) highest_number: u32,
    /// The central's place among the nodes.
    pub(super) central: usize,
    /// The agencies that are nodes, and their places.
    pub(super) speakers: Vec<Speaker>,
    speaker_places: Vec<usize>,
}

impl Rules {
    /// Those of a central and of agencies that are nodes; none unless there is one central.
    pub fn read(nodes: &[Config]) -> Result<Option<Rules>, String> {
        let (mut centrals, mut speakers) = (Vec::new(), Vec::new());
        for (place, node) in nodes.iter().enumerate() {
            let Some(config) = node.of::<Lottery>() else { return Ok(None) };
            match config.role {
                RoleName::Central => centrals.push((place, config)),
                RoleName::Agency => speakers.push(Speaker::new(place, node.id, config, &speakers)?),
            }
        }
        let [(central, config)] = &centrals[..] else { return Ok(None) };
        if config.agencies > MAX_AGENCIES {
            return Err(format!("nodes: at most {MAX_AGENCIES} agencies can be simulated"));
        }
        let &&lottery::Config { agencies, winning_number, highest_number, .. } = config;
        if let Some(other) = speakers.iter().find(|one| !(1..=agencies).contains(&one.agency)) {
            return Err(format!("nodes: the central expects no agency {}", other.agency));
        }
        let speaker_places = speakers.iter().map(|speaker| speaker.place).collect();
        let central = *central;
        Ok(Some(Rules {
            agencies,
            winning_number,
            highest_number,
            central,
            speakers,
            speaker_places,
        }))
    }

    /// The places of the agencies that are nodes.
    pub fn node_places(&self) -> &[usize] {
        &self.speaker_places
    }

    /// The agencies that are clients.
    pub(super) fn clients(&self) -> impl Iterator<Item = u32> {
        let is_node = |agency: u32| self.speakers.iter().any(|one| one.agency == agency);
        (1..=self.agencies).filter(move |agency| !is_node(*agency))
    }
}

/// An agency that is a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Speaker {
    /// Among the nodes.
    pub(super) place: usize,
    pub(super) id: NodeId,
    pub(super) agency: u32,
    pub(super) bets_per_chunk: u32,
    /// How many other nodes of the same agency come before it.
    pub(super) rank: u64,
}

/// Their documents must not meet, nor those of what agencies should not send.
const MAX_RIVALS: u64 = 3;
/// The first document of each has room for this many batches.
pub(super) const BATCHES_EACH: u64 = 1_000_000;

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
}
