//! What agencies ask of the central, as its clients or as nodes, and what it writes down.

use super::bet::Bet;
use alloc::borrow::Cow;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// From agencies.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request<'a> {
    /// Store these bets, all or none.
    Bets {
        /// Of the agency's batches, which: from 1, one after the other. A batch that is sent again
        /// is stored once. 0 for none, as on the text wire: then it is stored again.
        #[serde(default)]
        batch: u64,
        /// The bets; of one agency, if there is a number.
        #[serde(borrow)]
        bets: Vec<Bet<'a>>,
    },
    /// The agency has sent all of its bets.
    Finished {
        /// Which.
        agency: u32,
    },
    /// Who of the agency's players has won?
    Results {
        /// Which agency.
        agency: u32,
    },
    /// How far the central is.
    Status {},
    /// From the text wire: a message that cannot be read, and is refused.
    Unreadable {
        /// Its first letter.
        kind: char,
        /// What is wrong with it.
        #[serde(borrow)]
        reason: Cow<'a, str>,
    },
    /// From the text wire: bets without a letter before them, as the document's exercises 5 and 6
    /// send them. They have no number.
    Bare {
        /// The bets.
        #[serde(borrow)]
        bets: Vec<Bet<'a>>,
    },
}

/// To agencies.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply<'a> {
    /// The bets are stored.
    Stored {
        /// How many.
        bets: u64,
    },
    /// It is noted that the agency has finished.
    Finished {},
    /// The winners among the agency's players: documents, in the order of their bets.
    Winners {
        /// Documents.
        documents: Vec<u64>,
    },
    /// Not all agencies have finished: ask again later.
    NotDrawn {},
    /// Nothing was done, and sending it again ends alike.
    Refused {
        /// Why.
        #[serde(borrow)]
        reason: Cow<'a, str>,
    },
    /// How far the central is.
    Status {
        /// How many bets are stored.
        bets: u64,
        /// Which agencies have finished.
        finished: Vec<u32>,
        /// Whether the draw has taken place.
        drawn: bool,
    },
    /// Nothing was done, for a reason that passes: send the same again.
    Later {
        /// Why.
        #[serde(borrow)]
        reason: Cow<'a, str>,
    },
    /// To the text wire: the one bare bet is stored, and is sent back, as in the document's
    /// exercise 5.
    Echo {},
}

/// Between an agency that is a node and the central.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message<'a> {
    /// To the central.
    Ask {
        /// Which of the agency's asks: a batch has its own number, what follows the batches the
        /// next.
        number: u64,
        /// What a client would ask.
        #[serde(borrow)]
        request: Request<'a>,
    },
    /// To the agency.
    Answer {
        /// Which ask it answers.
        number: u64,
        /// What a client would be answered.
        #[serde(borrow)]
        reply: Reply<'a>,
    },
}

/// In the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Record {
    /// The first record: what must not change before the draw, or after it.
    Rules {
        /// How many agencies there are.
        agencies: u32,
        /// The number that wins.
        winning_number: u32,
    },
    /// A batch was appended to the file.
    Batch {
        /// Whose; 0 when the batch has no number.
        agency: u32,
        /// Its number; 0 for none.
        number: u64,
        /// What tells its content from another.
        hash: u64,
        /// How many bets.
        bets: u64,
        /// How long the file is with it.
        end: u64,
        /// The winners among them: agency and document.
        winners: Vec<(u32, u64)>,
    },
    /// An agency has finished.
    Finished {
        /// Which.
        agency: u32,
    },
    /// In a snapshot: how many bets there are, and how long the file is.
    Total {
        /// How many bets.
        bets: u64,
        /// How long the file is.
        end: u64,
    },
    /// In a snapshot: what an agency's next batches were, in order.
    Batches {
        /// Which agency.
        agency: u32,
        /// What tells the content of each from others.
        hashes: Vec<u64>,
    },
    /// In a snapshot: an agency's next winners.
    Winners {
        /// Which agency.
        agency: u32,
        /// Documents.
        documents: Vec<u64>,
    },
}
