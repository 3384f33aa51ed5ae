//! What clients saw and what was left in the end: the input of every checker. As JSON lines, one
//! record a line; simulated runs, `node bench kv --history` and tests write the same form.

use crate::studies::lottery::Reading;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::OnceLock;

/// One line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Record {
    /// A client's operation.
    Op(Op),
    /// What a replica held at the end, when nothing was under way any more.
    Replica(Replica),
    /// A run of the lottery.
    Lottery(Lottery),
    /// A run of the bulletin board.
    Board(Board),
}

/// A client's operation on a key-value store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Op {
    /// The client; its operations do not overlap.
    pub client: u64,
    /// Which operation.
    pub op: Kind,
    /// The key.
    pub key: String,
    /// PUT: the value written, unique in the history. GET: the value read; none where none was.
    pub value: Option<String>,
    /// When it was sent, in nanoseconds of one clock for the whole history.
    pub invoke_ns: u64,
    /// When its answer came; none when none did.
    pub return_ns: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// PUT: the timestamp that the server gave. GET: the timestamp of the value, or the server's
    /// own for the key when it refused; 0 for none.
    #[serde(default)]
    pub timestamp: u64,
    /// The server that was asked.
    #[serde(default)]
    pub server: String,
}

/// Which operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Store a value.
    Put,
    /// Read a value.
    Get,
}

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// PUT_OK, or a value.
    Ok,
    /// GET: the key was never PUT.
    Null,
    /// GET: refused, the server is behind the client.
    TryOther,
    /// PUT: it did not and will not take effect.
    NotApplied,
    /// PUT: it may have taken effect, or still take effect.
    MayStillApply,
    /// No answer came: as `MayStillApply` for a PUT, nothing for a GET.
    Unknown,
}

/// What a replica held at the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Replica {
    /// Which replica.
    pub replica: String,
    /// Its last PUT.
    pub applied: u64,
    /// A digest of its table, in hexadecimal.
    pub digest: String,
}

/// A run of the lottery: what agencies asked and were told, and what the central kept and printed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<Loss>,
    /// What checkers make of it. Whoever changes a run that was judged judges a clone.
    #[serde(skip)]
    pub(crate) reading: Memo<Result<Reading, String>>,
}

/// What is derived from the rest of a value, once: no part of it, and its copies derive it anew.
pub(crate) struct Memo<T>(OnceLock<T>);

impl<T> Memo<T> {
    pub(crate) fn get_or_init(&self, derive: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(derive)
    }
}

impl<T> Default for Memo<T> {
    fn default() -> Memo<T> {
        Memo(OnceLock::new())
    }
}

impl<T> Clone for Memo<T> {
    fn clone(&self) -> Memo<T> {
        Memo::default()
    }
}

impl<T> PartialEq for Memo<T> {
    fn eq(&self, _: &Memo<T>) -> bool {
        true
    }
}

impl<T> Eq for Memo<T> {}

impl<T> fmt::Debug for Memo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}

/// The end of a link between the central and a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Loss {
    /// When, in nanoseconds.
    pub at_ns: u64,
    /// The node.
    pub node: u32,
}

/// Something that an agency asked of the central.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// The agency.
    pub agency: u32,
    /// The node that asked for it; none for a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    /// What it asked.
    pub ask: Asked,
    /// When, in nanoseconds of one clock for the whole history.
    pub invoke_ns: u64,
    /// What came back; none when nothing did.
    pub answer: Option<Answer>,
}

/// What an agency can ask.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
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
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// When, in nanoseconds.
    pub at_ns: u64,
    /// What.
    pub told: Told,
}

/// What the central can tell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct File {
    /// When, in nanoseconds.
    pub at_ns: u64,
    /// All of it.
    pub text: String,
}

/// A run of the bulletin board: what clients posted and heard.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Board {
    /// What clients asked to have published, in any order.
    pub posts: Vec<Post>,
    /// Over which connections they listened, each client's in their order.
    pub connections: Vec<Connection>,
    /// When the run was over, in nanoseconds of one clock for the whole history.
    pub end_ns: u64,
}

/// Something that a client asked to have published. No two have the same text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Post {
    /// Who says it.
    pub user: String,
    /// Where.
    pub topic: String,
    /// What.
    pub text: String,
    /// When, in nanoseconds.
    pub invoke_ns: u64,
    /// When its answer came, or its client gave it up and closed the connection; none when neither
    /// happened.
    pub over_ns: Option<u64>,
    /// The answer; none when none came.
    pub answer: Option<Posted>,
}

/// What became of a post, as its client was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Posted {
    /// It was published.
    Published,
    /// It was not, and will not be.
    Not,
    /// That is not known.
    Unknown,
}

/// A connection over which a client listened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Connection {
    /// The client; its connections do not overlap.
    pub client: u64,
    /// Topics, and when the client was told that it hears what is said under them from now on; none
    /// for one that it only asked for.
    pub topics: Vec<(String, Option<u64>)>,
    /// When the client knew that it had ended; none when it lasted until the end of the run.
    pub until_ns: Option<u64>,
    /// What it heard, in order.
    pub heard: Vec<Heard>,
    /// When it was told that it had missed how many posts.
    pub missed: Vec<(u64, u64)>,
}

/// Something that a client heard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Heard {
    /// When, in nanoseconds.
    pub at_ns: u64,
    /// Who said it.
    pub user: String,
    /// Where.
    pub topic: String,
    /// What.
    pub text: String,
}
