//! The study of the bulletin board: its clients, and what they hear.

mod clients;
pub mod history;
mod json;
mod judge;
mod nats;
mod settings;
mod wire;

use self::clients::Crowd;
use self::history::Known;
use self::settings::{Roles, Settings};
use node_lab::study::{
    Bound, Cast, Clients, NOTICE, Needs, Property, Run, Shipped, Study, Verdict,
};
use node_protocols::board::Board;
use node_protocols::core::Protocol;

/// The bulletin board.
pub struct BoardStudy;

const fn heard(
    name: &'static str,
    statement: &'static str,
    bounds: &'static [Bound],
    judge: fn(&Run) -> Verdict,
) -> Property {
    Property {
        name,
        statement,
        source: "Hadzilacos and Toueg: A Modular Approach to Fault-Tolerant Broadcasts and Related \
                 Problems, 1994; document 002",
        needs: Needs::OPERATIONS,
        bounds,
        is_promised: true,
        missing: |cast| {
            let run = "the nodes be a bulletin system, with all its roles";
            cast.lacks_clients(Board::NAME, "the board's clients", run)
        },
        shows: |run| Known::of(run).board.is_some(),
        judge,
    }
}

impl Study for BoardStudy {
    type Protocol = Board;
    type Settings = Settings;
    const SCENARIOS: &'static [Shipped] = shipped! {
        "sim/board-election.toml"
        "sim/board-json.toml"
        "sim/board-nats.toml"
        "sim/board.toml"
    };
    const CONFIGS: &'static [Shipped] = shipped! {
        "board/bot-1.toml"
        "board/bot-2.toml"
        "board/broker.toml"
        "board/proxy.toml"
        "board/reference.toml"
        "board/server-1.toml"
        "board/server-2.toml"
        "board/server-3.toml"
    };
    const PROPERTIES: &'static [Property] = &[
        heard(
            "per_publisher_order",
            "over a connection, a user's posts are heard in the order in which they were sent",
            &[],
            judge::per_publisher_order,
        ),
        heard(
            "delivered_at_most_once",
            "no client hears a post twice",
            &[],
            judge::delivered_at_most_once,
        ),
        Property {
            source: "Eugster et al.: The Many Faces of Publish/Subscribe, ACM Computing Surveys \
                     35(2), 2003; document 002",
            ..heard(
                "no_silent_gap",
                "who listens hears every post that is said to be published, or is told that \
                 something is missing",
                &[NOTICE],
                judge::no_silent_gap,
            )
        },
        heard(
            "answers_match_deliveries",
            "what is heard was posted, and its client not told that it was not published",
            &[],
            judge::answers_match_deliveries,
        ),
    ];

    fn clients(settings: Settings, cast: &Cast<'_>) -> Result<Option<Box<dyn Clients>>, String> {
        let Some(roles) = Roles::read(cast.nodes)? else { return Ok(None) };
        if let Some(wire) = settings.wire {
            for place in roles.spoken_to(wire) {
                cast.listens(&cast.nodes[place..=place], wire.gateway(), Board::NAME)?;
            }
        }
        Ok(Some(Box::new(Crowd { settings, roles })))
    }
}
