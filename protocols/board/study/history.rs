//! A run of the bulletin board, made of what clients posted and heard.

use node_lab::study::{Met, Run};
use node_protocols::board::{self, Maybe, Reply, Request};
use node_protocols::core::{Protocol, protocol_tag};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A run of the board, and where its posts are in the run.
#[derive(Default)]
pub struct Known {
    /// The run; none when there was none.
    pub board: Option<Board>,
    /// The place in the run of each post.
    places: Vec<usize>,
}

#[cfg(test)]
impl From<Board> for Run {
    /// A run of which that is all that is known.
    fn from(board: Board) -> Run {
        let run = Run::default();
        run.derive(|_| Known { board: Some(board), places: Vec::new() });
        run
    }
}

/// What is made of a run, contact by contact.
#[derive(Default)]
struct Maker {
    board: Board,
    places: Vec<usize>,
    /// The post under way on each connection.
    posting: BTreeMap<u32, usize>,
    listeners: BTreeMap<u32, Listener>,
}

/// A connection that subscribes.
#[derive(Default)]
struct Listener {
    /// Its place among the board's connections, as long as it lasts.
    listening: Option<usize>,
    /// The last time in which its client did not read, until it is known that whatever it missed
    /// then was told.
    doze: Option<Doze>,
}

/// A time in which a client does not read what it listens to.
struct Doze {
    from_ns: u64,
    /// When it reads on; none as long as it does not.
    until_ns: Option<u64>,
}

impl Known {
    /// What there is to know of a run.
    pub fn of(run: &Run) -> Arc<Known> {
        run.derive(Known::new)
    }

    fn new(run: &Run) -> Known {
        let mut maker = Maker::default();
        for contact in &run.contacts {
            maker.take(run, contact.at_ns, contact.connection, contact.what);
        }
        let Maker { mut board, places, .. } = maker;
        if board.posts.is_empty() && board.connections.is_empty() {
            return Known::default();
        }
        board.end_ns = run.end_ns;
        Known { board: Some(board), places }
    }

    /// The place in the run of a post.
    pub(super) fn place(&self, post: usize) -> Option<usize> {
        self.places.get(post).copied()
    }
}

impl Maker {
    fn take(&mut self, run: &Run, at_ns: u64, connection: u32, what: Met) {
        match what {
            Met::Asked(place) => self.asked(run, at_ns, place),
            Met::Told(place) => self.told(run, at_ns, place),
            Met::Pushed(body) => {
                if let Some(reply) = run.read::<Reply<'_>>(body) {
                    self.heard(at_ns, connection, reply);
                }
            }
            Met::Closed | Met::Left => {
                if let Some(post) = self.posting.remove(&connection) {
                    self.board.posts[post].over_ns = Some(at_ns);
                }
                if let Some(listener) = self.listeners.get_mut(&connection) {
                    // What it did not read went with the connection, and so did the word of what it
                    // missed.
                    let until_ns = listener.doze.take().map_or(at_ns, |doze| doze.from_ns);
                    if let Some(listening) = listener.listening.take() {
                        self.board.connections[listening].until_ns = Some(until_ns);
                    }
                }
            }
            Met::Dozes => {
                if let Some(listener) = self.listeners.get_mut(&connection) {
                    let from_ns = listener.doze.take().map_or(at_ns, |doze| doze.from_ns);
                    listener.doze = Some(Doze { from_ns, until_ns: None });
                }
            }
            Met::Reads => {
                let listener = self.listeners.get_mut(&connection);
                if let Some(doze) = listener.and_then(|listener| listener.doze.as_mut()) {
                    doze.until_ns.get_or_insert(at_ns);
                }
            }
        }
    }

    fn asked(&mut self, run: &Run, at_ns: u64, place: usize) {
        let operation = &run.operations[place];
        if operation.tag != protocol_tag(board::Board::NAME) {
            return;
        }
        match run.request::<Request<'_>>(operation) {
            Some(Request::Send { user, topic, text, .. }) => {
                self.posting.insert(operation.connection, self.board.posts.len());
                self.places.push(place);
                self.board.posts.push(Post {
                    user: user.into_owned(),
                    topic: topic.into_owned(),
                    text: String::from_utf8_lossy(&text).into_owned(),
                    invoke_ns: at_ns,
                    over_ns: None,
                    answer: None,
                });
            }
            Some(Request::Subscribe { topic, .. }) => {
                let listener = self.listeners.entry(operation.connection).or_default();
                let connections = &mut self.board.connections;
                let listening = *listener.listening.get_or_insert_with(|| {
                    connections.push(Connection {
                        client: operation.client,
                        topics: Vec::new(),
                        until_ns: None,
                        heard: Vec::new(),
                        missed: Vec::new(),
                    });
                    connections.len() - 1
                });
                connections[listening].topics.push((topic.into_owned(), None));
            }
            _ => {}
        }
    }

    fn told(&mut self, run: &Run, at_ns: u64, place: usize) {
        let operation = &run.operations[place];
        let Some(reply) = run.reply::<Reply<'_>>(operation) else { return };
        let answer = match &reply {
            Reply::Sent { .. } => Some(Posted::Published),
            Reply::Error { published: Maybe::No, .. } => Some(Posted::Not),
            Reply::Error { published: Maybe::Unknown, .. } => Some(Posted::Unknown),
            _ => None,
        };
        if let Some(post) = self.posting.get(&operation.connection).copied()
            && self.places[post] == place
            && answer.is_some()
        {
            self.posting.remove(&operation.connection);
            self.board.posts[post].over_ns = Some(at_ns);
            self.board.posts[post].answer = answer;
        }
        let listener = self.listeners.get(&operation.connection);
        let listening = listener.and_then(|listener| listener.listening);
        if let (Some(listening), Reply::Subscribed { .. }) = (listening, reply)
            && let Some((_, from)) = self.board.connections[listening].topics.last_mut()
        {
            *from = Some(at_ns);
        }
    }

    fn heard(&mut self, at_ns: u64, connection: u32, reply: Reply<'_>) {
        let Some(listener) = self.listeners.get_mut(&connection) else { return };
        let Some(listening) = listener.listening else { return };
        let connection = &mut self.board.connections[listening];
        match reply {
            Reply::Message { topic, user, text, .. } => {
                let text = String::from_utf8_lossy(&text).into_owned();
                // What was missed is told before anything that is published later.
                if let Some(until) = listener.doze.as_ref().and_then(|doze| doze.until_ns)
                    && self
                        .board
                        .posts
                        .iter()
                        .any(|post| post.text == text && post.invoke_ns >= until)
                {
                    listener.doze = None;
                }
                connection.heard.push(Heard {
                    at_ns,
                    user: user.into_owned(),
                    topic: topic.into_owned(),
                    text,
                });
            }
            Reply::Missed { messages, .. } => {
                connection.missed.push((at_ns, messages));
                listener.doze = listener.doze.take().filter(|doze| doze.until_ns.is_none());
            }
            _ => {}
        }
    }
}

/// A run of the bulletin board: what clients posted and heard.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Board {
    /// What clients asked to have published, in any order.
    pub posts: Vec<Post>,
    /// Over which connections they listened, each client's in their order.
    pub connections: Vec<Connection>,
    /// When the run was over, in nanoseconds of one clock for the whole history.
    pub end_ns: u64,
}

/// Something that a client asked to have published. No two have the same text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
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
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
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
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
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
