//! What the board's foreign clients have in common: what they may speak, and what they read.

use super::json::Json;
use super::nats::Nats;
use crate::check::history::{Post, Posted};
use node_protocols::core::LamportTime;
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

    /// A client's end of a connection.
    pub(super) fn end(self, seed: u64, connection: u32) -> Box<dyn End> {
        match self {
            Wire::Json => Box::new(Json::new(seed, connection)),
            Wire::Nats => Box::new(Nats::new(seed, connection)),
        }
    }
}

/// A client's end of a connection, which has one post or subscription under way at most.
pub(super) trait End {
    /// The connection is gone: the next one begins anew.
    fn lost(&mut self);
    /// The bytes that post something; and what goes beside it, if the form has such.
    fn post(&mut self, post: &Post, timestamp: u64, clock: LamportTime) -> (Vec<u8>, Beside);
    /// The bytes that subscribe to a topic.
    fn subscribe(&mut self, topic: &str) -> Vec<u8>;
    /// Takes a piece of what is told.
    ///
    /// # Errors
    /// When it is not what a server may say.
    fn hear(&mut self, bytes: &[u8]) -> Result<Vec<Said>, String>;
    /// What the client says because of what it heard.
    fn say(&mut self) -> Vec<u8>;
}

/// What a client reads, whatever it speaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// What became of its post, and its server's clock, where the form has one.
    Posted(Posted, Option<LamportTime>),
    /// It is subscribed to what it asked for.
    Subscribed,
    /// It is not.
    Refused,
    /// Something that was published.
    Message(Message),
    /// So many messages are gone.
    Missed(u64),
}

/// Something that was published, as a client reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    /// Who said it, where the form tells.
    pub(super) user: Option<String>,
    pub(super) text: String,
    /// What went beside it, as far as this client gets that.
    pub(super) reply: Option<String>,
    pub(super) headers: Headers,
}

/// What a client gets of headers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Headers {
    /// It has said that it knows none.
    Unknown,
    /// It knows them, and these are there.
    Known(Option<String>),
}

/// What is published beside a text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Beside {
    pub(super) reply: Option<String>,
    pub(super) headers: Option<String>,
}

impl Beside {
    /// Whether a client that is to get it read it so.
    pub(super) fn is_in(&self, message: &Message) -> bool {
        let has_headers = match &message.headers {
            Headers::Unknown => true,
            Headers::Known(headers) => *headers == self.headers,
        };
        has_headers && message.reply == self.reply
    }
}

/// The beginning of what was said, for people.
pub(super) fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(120)].escape_ascii().to_string()
}
