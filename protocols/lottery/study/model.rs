//! What there is to know of a run of the lottery: the form that checkers judge, and how requests
//! and replies are taken into it.

use node_protocols::lottery::{self, Reply, Request};
use serde::Serialize;

/// A run of the lottery: what agencies asked and were told, and what the central kept and printed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Lottery {
    /// How many agencies there are: 1 to this many are their numbers.
    pub agencies: u32,
    /// The number that wins.
    pub winning_number: u32,
    /// What agencies asked, in any order.
    pub asks: Vec<Ask>,
    /// What was in the file of bets each time that the central had started, and last in the end.
    pub files: Vec<File>,
    /// When the central printed that the draw took place, in nanoseconds.
    pub draws: Vec<u64>,
    /// When the central noticed that its link to an agency's node was gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<Loss>,
}

/// The end of a link between the central and a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Loss {
    /// When, in nanoseconds.
    pub at_ns: u64,
    /// The node.
    pub node: u32,
}

/// Something that an agency asked of the central.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Ask {
    /// The agency.
    pub agency: u32,
    /// The node that asked for it; none for a client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    /// What it asked.
    pub ask: Asked,
    /// When, in nanoseconds of one clock for the whole history.
    pub invoke_ns: u64,
    /// What came back; none when nothing did.
    pub answer: Option<Answer>,
}

/// What an agency can ask.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// To store bets, all or none.
    Bets {
        /// The batch's number; 0 for none.
        batch: u64,
        /// The bets. No two batches of different content have a bet in common.
        bets: Vec<Bet>,
    },
    /// To note that it has sent all of its bets.
    Finished,
    /// Who has won.
    Results,
}

/// A bet, and a row of the file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub struct Bet {
    /// Who took it.
    pub agency: u32,
    /// The player's first name.
    pub name: String,
    /// The player's surname.
    pub surname: String,
    /// The player's document number.
    pub document: u64,
    /// The player's date of birth.
    pub birthdate: String,
    /// The number that was bet on.
    pub number: u32,
}

/// What an agency was told. To a node it is told when the answer leaves the central, whether it
/// arrives or not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Answer {
    /// When, in nanoseconds.
    pub at_ns: u64,
    /// What.
    pub told: Told,
}

/// What the central can tell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// So many bets are stored.
    Stored(u64),
    /// It is noted that the agency has finished.
    Finished,
    /// The documents of the agency's winners.
    Winners(Vec<u64>),
    /// Not all agencies have finished.
    NotDrawn,
    /// Nothing was done, and why.
    Refused(String),
}

/// What was in the file of bets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct File {
    /// When, in nanoseconds.
    pub at_ns: u64,
    /// All of it.
    pub text: String,
}

/// As histories have it.
pub(super) fn asked(request: &Request<'_>) -> Asked {
    let bet = |bet: &lottery::Bet<'_>| Bet {
        agency: bet.agency,
        name: bet.name.clone().into_owned(),
        surname: bet.surname.clone().into_owned(),
        document: bet.document,
        birthdate: bet.birthdate.clone().into_owned(),
        number: bet.number,
    };
    match request {
        Request::Bets { batch, bets } => {
            Asked::Bets { batch: *batch, bets: bets.iter().map(bet).collect() }
        }
        Request::Bare { bets } => Asked::Bets { batch: 0, bets: bets.iter().map(bet).collect() },
        Request::Finished { .. } => Asked::Finished,
        // Agencies do not ask how far the central is, and their messages can be read.
        Request::Results { .. } | Request::Status {} | Request::Unreadable { .. } => Asked::Results,
    }
}

/// What an answer tells a checker; none for what is no answer to an agency.
pub(super) fn told(reply: Reply<'_>) -> Option<Told> {
    Some(match reply {
        Reply::Stored { bets } => Told::Stored(bets),
        Reply::Echo {} => Told::Stored(1),
        Reply::Finished {} => Told::Finished,
        Reply::Winners { documents } => Told::Winners(documents),
        Reply::NotDrawn {} => Told::NotDrawn,
        Reply::Refused { reason } => Told::Refused(reason.into_owned()),
        // The same is asked again, and may then be done; and nobody asks for the other.
        Reply::Later { .. } | Reply::Status { .. } => return None,
    })
}
