//! The study of the lottery: its agencies, what the central keeps, and whom it tells of winners.

mod bets;
mod clients;
pub mod history;
mod judge;
pub mod model;
mod nodes;
mod reading;
mod rules;
mod settings;
mod text;

use self::clients::Lot;
use self::history::Known;
use self::rules::Rules;
use self::settings::Settings;
use node_lab::study::{Cast, Clients, Needs, Property, Run, Shipped, Study, Verdict};
use node_protocols::core::Protocol;
use node_protocols::lottery::Lottery;

/// In the line that the document prescribes for the draw.
const DRAW: &str = "action: sorteo | result: success";

/// The national lottery.
pub struct LotteryStudy;

const fn of_agencies(
    name: &'static str,
    statement: &'static str,
    source: &'static str,
    judge: fn(&Run) -> Verdict,
) -> Property {
    Property {
        name,
        statement,
        source,
        needs: Needs::OPERATIONS.and(Needs::FILES),
        bounds: &[],
        is_promised: true,
        missing: |cast| {
            let run = "the node be a lottery's central";
            cast.lacks_clients(Lottery::NAME, "the lottery's agencies", run)
        },
        shows: |run| Known::of(run).lottery.is_some(),
        judge,
    }
}

impl Study for LotteryStudy {
    type Protocol = Lottery;
    type Settings = Settings;
    const SCENARIOS: &'static [Shipped] = shipped! {
        "sim/lottery-nodes.toml"
        "sim/lottery-text.toml"
        "sim/lottery-torn.toml"
        "sim/lottery.toml"
    };
    const CONFIGS: &'static [Shipped] = shipped! {
        "lottery/central.toml"
        "lottery/nodes/central.toml"
        "lottery/nodes/node-1.toml"
        "lottery/nodes/node-2.toml"
        "lottery/nodes/node-3.toml"
    };
    const PROPERTIES: &'static [Property] = &[
        of_agencies(
            "stored_exactly_once",
            "every acknowledged batch is in the file of bets, no numbered batch is there twice, \
             and nothing that no agency sent; a numbered batch is acknowledged whenever it is sent \
             again; while a node speaks for an agency, no other is heard",
            "Birrell and Nelson: Implementing Remote Procedure Calls, TOCS 2(1), 1984",
            judge::stored_exactly_once,
        ),
        of_agencies(
            "ack_implies_durable",
            "an acknowledged batch is in the file from then on, after every crash too",
            "Gray and Reuter: Transaction Processing: Concepts and Techniques, 1993",
            judge::ack_implies_durable,
        ),
        of_agencies(
            "batch_all_or_nothing",
            "after every start, and in the end, a batch is in the file whole or not at all",
            "Gray: The Transaction Concept: Virtues and Limitations, VLDB 1981",
            judge::batch_all_or_nothing,
        ),
        of_agencies(
            "draw_once_after_all",
            "one draw, when all agencies have finished, and no bet after that",
            "document 001",
            judge::draw_once_after_all,
        ),
        of_agencies(
            "winners_only_to_their_agency",
            "every agency is told its own winners, all of them, and nobody else's",
            "document 001",
            judge::winners_only_to_their_agency,
        ),
    ];

    fn clients(settings: Settings, cast: &Cast<'_>) -> Result<Option<Box<dyn Clients>>, String> {
        if !cast.all_run(Lottery::NAME) {
            return Ok(None);
        }
        let Some(rules) = Rules::read(cast.nodes)? else { return Ok(None) };
        if let Some(wire) = settings.wire {
            let central = &cast.nodes[rules.central..=rules.central];
            cast.listens(central, wire.gateway(), Lottery::NAME)?;
        }
        Ok(Some(Box::new(Lot { settings, rules })))
    }
}
