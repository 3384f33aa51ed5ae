//! What the board's foreign clients have in common: what they may speak, what they say, and what
//! they read.

use node_protocols::board::{Reply, Request};
use node_protocols::core::{Bytes, LamportTime};
use serde::Deserialize;

/// What a scenario's clients speak instead of typed requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wire {
    /// JSON objects, to broker and proxy.
    Json,
    /// NATS, to the proxy. Half of the clients post at the broker, which speaks no NATS: typed.
    Nats,
}

impl Wire {
    /// The gateway that understands it.
    pub fn gateway(self) -> &'static str {
        match self {
            Wire::Json => "json",
            Wire::Nats => "nats",
        }
    }
}

/// A client's end of a connection, which has one post or subscription under way at most.
pub(super) trait End {
    /// The connection is gone: the next one begins anew.
    fn lost(&mut self);
    /// Draws anew what it has not drawn yet.
    fn redraw(&mut self, by: u64);
    /// The bytes that post something; and what goes beside it, if the form has such.
    fn post(&mut self, post: &Post) -> (Vec<u8>, Beside);
    /// The bytes that subscribe to a topic.
    fn subscribe(&mut self, topic: &str) -> Vec<u8>;
    /// Takes a piece of what is told.
    ///
    /// # Errors
    /// When it is not what a server may say.
    fn hear(&mut self, bytes: &[u8]) -> Result<Vec<Told>, String>;
    /// What the client says because of what it heard.
    fn say(&mut self) -> Vec<u8>;
    /// Whether it has said that it knows headers.
    fn knows_headers(&self) -> bool;
}

/// What a client posts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Post {
    /// Who says it.
    pub(super) user: String,
    /// Where.
    pub(super) topic: String,
    /// What. No two posts have the same text.
    pub(super) text: String,
    /// Milliseconds of the client's clock.
    pub(super) timestamp: u64,
    /// Its Lamport clock.
    pub(super) clock: LamportTime,
}

impl Post {
    /// What posts it, typed: what every form of it means.
    pub(super) fn request(&self) -> Request<'_> {
        Request::Send {
            user: self.user[..].into(),
            topic: self.topic[..].into(),
            text: Bytes::new(self.text.as_bytes()),
            timestamp: self.timestamp,
            clock: self.clock,
        }
    }
}

/// What a client reads, whatever it speaks: what it means among typed ones. What the form does not
/// tell is empty or 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Told {
    /// The answer to what is under way.
    Answer(Reply<'static>),
    /// What came without being asked for.
    Pushed(Reply<'static>),
}

/// What is published beside a text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Beside {
    pub(super) reply: Option<String>,
    pub(super) headers: Option<String>,
}

impl Beside {
    /// Whether a client that is to get it read it so: reply subjects go to all, headers to who
    /// knows them.
    pub(super) fn is(&self, reply: Option<&str>, headers: Option<&[u8]>, knows: bool) -> bool {
        let to_have = self.headers.as_deref().filter(|_| knows).map(str::as_bytes);
        self.reply.as_deref() == reply && to_have == headers
    }
}

/// The beginning of what was said, for people.
pub(super) fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(120)].escape_ascii().to_string()
}
