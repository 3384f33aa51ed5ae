//! What people see of the lottery: how far the central and the agencies are, and messages in short.

use super::{Lottery, Message, Record, Reply, Request, Role};
use crate::core::Clipped;
use ::core::fmt::{self, Write};
use alloc::vec::Vec;
use serde::Serialize;

/// How far a node is.
#[derive(Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub(super) enum View {
    Central {
        bets: u64,
        /// How many agencies have finished, of how many, and which, as far as that is short.
        finished: u32,
        agencies: u32,
        list: Vec<u32>,
        drawn: bool,
        /// How many winning bets there are; told only once drawn.
        winners: usize,
    },
    Agency {
        agency: u32,
        step: SeenStep,
        /// The number of what it asks: of a batch, its own.
        ask: u64,
        /// How many bets are in that batch.
        in_chunk: usize,
        /// How far it is in its file.
        read_bytes: usize,
        file_bytes: usize,
    },
}

/// What an agency asks.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SeenStep {
    Bets,
    Finished,
    Results,
    Over,
}

impl Lottery {
    pub(super) fn seen(&self) -> View {
        match &self.0 {
            Role::Central(central) => central.seen(),
            Role::Agency(agency) => agency.seen(),
        }
    }
}

/// How much of a reason a short form has.
const MAX_REASON: usize = 16;

pub(super) fn message(message: &Message<'_>, out: &mut dyn Write) -> fmt::Result {
    match message {
        Message::Ask { request: ask, .. } => request(ask, out),
        Message::Answer { reply: answer, .. } => reply(answer, out),
    }
}

pub(super) fn request(request: &Request<'_>, out: &mut dyn Write) -> fmt::Result {
    match request {
        Request::Bets { batch: 0, bets } => write!(out, "BETS {}", bets.len()),
        Request::Bets { batch, bets } => write!(out, "BETS {} (batch {batch})", bets.len()),
        Request::Finished { agency } => write!(out, "FINISHED agency {agency}"),
        Request::Results { agency } => write!(out, "RESULTS agency {agency}"),
        Request::Status {} => out.write_str("STATUS"),
        Request::Unreadable { .. } => out.write_str("UNREADABLE"),
        Request::Bare { bets } => write!(out, "BARE BETS {}", bets.len()),
    }
}

pub(super) fn reply(reply: &Reply<'_>, out: &mut dyn Write) -> fmt::Result {
    match reply {
        Reply::Stored { bets } => write!(out, "STORED {bets}"),
        Reply::Finished {} => out.write_str("FINISHED"),
        Reply::Winners { documents } => write!(out, "WINNERS {}", documents.len()),
        Reply::NotDrawn {} => out.write_str("NOT DRAWN"),
        Reply::Refused { reason } => {
            write!(out, "REFUSED {}", Clipped(reason.as_bytes(), MAX_REASON))
        }
        Reply::Status { bets, drawn: false, .. } => write!(out, "{bets} bets"),
        Reply::Status { bets, drawn: true, .. } => write!(out, "{bets} bets, drawn"),
        Reply::Later { .. } => out.write_str("LATER"),
        Reply::Echo {} => out.write_str("ECHO"),
    }
}

pub(super) fn record(record: &Record, out: &mut dyn Write) -> fmt::Result {
    match record {
        Record::Rules { agencies, winning_number } => {
            write!(out, "RULES {agencies}, {winning_number} wins")
        }
        Record::Batch { number: 0, bets, .. } => write!(out, "BETS {bets}"),
        Record::Batch { agency, number, bets, .. } => {
            write!(out, "BETS {bets} ({agency}, batch {number})")
        }
        Record::Finished { agency } => write!(out, "FINISHED agency {agency}"),
        Record::Total { bets, .. } => write!(out, "TOTAL {bets}"),
        Record::Batches { agency, hashes } => {
            write!(out, "BATCHES {} of agency {agency}", hashes.len())
        }
        Record::Winners { agency, documents } => {
            write!(out, "WINNERS {} of {agency}", documents.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, RoleName};
    use super::*;
    use crate::core::{NodeId, Protocol};
    use crate::testing::{assert_briefs, env, view};
    use alloc::vec;

    #[test]
    fn nodes_show_how_far_they_are() {
        let config = Config { agencies: 2, ..Config::default() };
        let mut central = Lottery::new(config, &env(3)).expect("the config is right");
        let none = r#"{"role":"central","bets":0,"finished":0,"agencies":2,"list":[],"#;
        assert_eq!(view(&central), [none, r#""drawn":false,"winners":0}"#].concat());
        let batch = Record::Batch {
            agency: 2,
            number: 1,
            hash: 1,
            bets: 50,
            end: 9,
            winners: vec![(2, 77)],
        };
        for record in [batch, Record::Finished { agency: 1 }, Record::Finished { agency: 2 }] {
            central.on_recover(record).expect("they follow each other");
        }
        let drawn = r#"{"role":"central","bets":50,"finished":2,"agencies":2,"list":[1,2],"#;
        assert_eq!(view(&central), [drawn, r#""drawn":true,"winners":1}"#].concat());

        let agency = Config {
            role: RoleName::Agency,
            agency: 1,
            central: Some(NodeId(3)),
            bets: Some("x".into()),
            ..Config::default()
        };
        let mut agency = Lottery::new(agency, &env(1)).expect("the config is right");
        agency.on_input(vec![0; 10].into());
        let first = r#"{"role":"agency","agency":1,"step":"finished","ask":0,"in_chunk":0,"#;
        assert_eq!(view(&agency), [first, r#""read_bytes":0,"file_bytes":10}"#].concat());
    }

    #[test]
    fn messages_have_short_forms() {
        let (agency, bets) = (3, || vec![]);
        let requests = [
            (Request::Bets { batch: 7, bets: bets() }, "BETS 0 (batch 7)"),
            (Request::Bets { batch: 0, bets: bets() }, "BETS 0"),
            (Request::Finished { agency }, "FINISHED agency 3"),
            (Request::Results { agency }, "RESULTS agency 3"),
            (Request::Status {}, "STATUS"),
            (Request::Unreadable { kind: 'x', reason: "y".into() }, "UNREADABLE"),
            (Request::Bare { bets: bets() }, "BARE BETS 0"),
        ];
        assert_briefs(request, &requests);
        let reason = || "bet 5:\u{1b} of the future".into();
        let status = |drawn| Reply::Status { bets: 250, finished: vec![], drawn };
        let replies = [
            (Reply::Stored { bets: 50 }, "STORED 50"),
            (Reply::Finished {}, "FINISHED"),
            (Reply::Winners { documents: vec![1, 2] }, "WINNERS 2"),
            (Reply::NotDrawn {}, "NOT DRAWN"),
            (Reply::Refused { reason: reason() }, "REFUSED bet 5:\\u{1b} of …"),
            (status(false), "250 bets"),
            (status(true), "250 bets, drawn"),
            (Reply::Later { reason: reason() }, "LATER"),
            (Reply::Echo {}, "ECHO"),
        ];
        assert_briefs(reply, &replies);
        let messages = [
            (Message::Ask { number: 7, request: Request::Results { agency } }, "RESULTS agency 3"),
            (Message::Answer { number: 7, reply: Reply::NotDrawn {} }, "NOT DRAWN"),
        ];
        assert_briefs(message, &messages);
    }

    #[test]
    fn records_have_short_forms() {
        let (agency, winners) = (3, vec![]);
        let batch = |number| Record::Batch {
            agency,
            number,
            hash: 1,
            bets: 50,
            end: 9,
            winners: winners.clone(),
        };
        let records = [
            (Record::Rules { agencies: 5, winning_number: 7574 }, "RULES 5, 7574 wins"),
            (batch(0), "BETS 50"),
            (batch(7), "BETS 50 (3, batch 7)"),
            (Record::Finished { agency }, "FINISHED agency 3"),
            (Record::Total { bets: 250, end: 9 }, "TOTAL 250"),
            (Record::Batches { agency, hashes: vec![1] }, "BATCHES 1 of agency 3"),
            (Record::Winners { agency, documents: vec![1] }, "WINNERS 1 of 3"),
        ];
        assert_briefs(record, &records);
    }
}
