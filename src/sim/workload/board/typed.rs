//! The board's clients that speak through no gateway: their requests and replies are typed.

use super::wire::{Headers, Message, Said};
use crate::check::history::{Post, Posted};
use node_protocols::board::{Maybe, Reply, Request};
use node_protocols::core::{Bytes, LamportTime};

/// The request that posts something at the broker.
pub(super) fn send(post: &Post, timestamp: u64, clock: LamportTime) -> Request<'_> {
    Request::Send {
        user: post.user[..].into(),
        topic: post.topic[..].into(),
        text: Bytes::new(post.text.as_bytes()),
        timestamp,
        clock,
    }
}

/// What a client waits for over a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waits {
    /// For an answer to its post, or to its subscription.
    Posting,
    Subscribing,
    /// It listens, and this is pushed to it.
    Pushed,
    /// It listens, and this answers nothing that it waits for.
    Listening,
}

/// What a reply tells; none if nobody waits for it.
pub(super) fn said(reply: Reply<'_>, waits: Waits) -> Option<Said> {
    match (reply, waits) {
        (Reply::Sent { clock, .. }, Waits::Posting) => {
            Some(Said::Posted(Posted::Published, Some(clock)))
        }
        (Reply::Error { published, clock, .. }, Waits::Posting) => {
            let answer = match published {
                Maybe::No => Posted::Not,
                Maybe::Unknown => Posted::Unknown,
            };
            Some(Said::Posted(answer, Some(clock)))
        }
        (Reply::Error { .. }, Waits::Subscribing | Waits::Pushed | Waits::Listening) => {
            Some(Said::Refused)
        }
        (Reply::Subscribed { .. }, Waits::Subscribing) => Some(Said::Subscribed),
        (Reply::Message { topic, user, text, .. }, Waits::Pushed) => Some(Said::Message(Message {
            topic: topic.into_owned(),
            user: Some(user.into_owned()),
            text: String::from_utf8_lossy(&text).into_owned(),
            reply: None,
            headers: Headers::Unknown,
        })),
        (Reply::Missed { messages, .. }, Waits::Pushed) => Some(Said::Missed(messages)),
        (
            Reply::Sent { .. }
            | Reply::Subscribed { .. }
            | Reply::Message { .. }
            | Reply::Missed { .. }
            | Reply::Unsubscribed { .. }
            | Reply::Published { .. }
            | Reply::Status { .. },
            _,
        ) => None,
    }
}
