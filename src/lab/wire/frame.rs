//! What nodes and native clients put on a connection: frames, and the greeting that comes first.
//!
//! ```text
//!   frame    = length (u32, little-endian) payload
//!   first    = Hello from who dialled, Welcome back; both postcard
//!   peers    = Hello, Proof, Welcome; then frames whose payload the Host makes and reads
//!   clients  = then requests: sequence (u32, little-endian), postcard of the protocol's Request
//!              and replies:   the request's sequence, postcard of the protocol's Reply
//!              and pushes:    the sequence 2^32 - 1, likewise
//! ```
//!
//! Replies to a native client come in any order; the sequence tells which request they answer.
//!
//! Whoever says that it is a peer is believed when it listens where the config of the node that it
//! dialled has that peer:
//!
//! ```text
//!   1 ─► 2   Hello Peer        I am node 1
//!   2 ─► 1   Hello Verify      to the address of [peers].1, another connection: a challenge
//!   1 ─► 2   Welcome Accepted  over that one, which ends: I am greeting you (or Refused: I am not)
//!   1 ─► 2   Proof             over the first: the challenge
//!   2 ─► 1   Welcome Accepted  the link is made
//! ```

use node_core::{LamportTime, NodeId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What the first frame begins with, so that a stray connection is told at once.
pub const MAGIC: [u8; 4] = *b"NODE";

/// Goes up when a frame's form changes; nodes of different versions do not talk.
pub const VERSION: u16 = 3;

/// The length before a frame's payload.
pub const LENGTH_BYTES: usize = 4;

/// The sequence before a request or reply of a native client.
pub const SEQUENCE_BYTES: usize = 4;
/// The sequence of what a client gets without having asked; no request has it.
pub const PUSHED: u32 = u32::MAX;

/// The longest first frame: names are short, and nobody is known yet.
pub const MAX_HELLO_BYTES: usize = 1 << 10;

/// The first frame of whoever dialled.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// [`MAGIC`]
    pub magic: [u8; 4],
    /// [`VERSION`]
    pub version: u16,
    /// Who speaks.
    #[serde(borrow)]
    pub role: Role<'a>,
}

/// Who speaks.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role<'a> {
    /// Another node.
    Peer {
        /// The cluster that it belongs to.
        #[serde(borrow)]
        cluster: Cow<'a, str>,
        /// Its id.
        id: NodeId,
        /// Whom it means to reach.
        to: NodeId,
        /// Names its data directory, or its process if it has none.
        identity: u128,
        /// Larger each time that it starts.
        incarnation: u64,
        /// Larger each time that it dials; with the incarnation it names the link in traces.
        dial: u64,
        /// Where its Lamport clock stands.
        lamport: LamportTime,
    },
    /// A client of one protocol.
    Client {
        /// The protocol's name.
        #[serde(borrow)]
        protocol: Cow<'a, str>,
    },
    /// A node that somebody has greeted as the peer that is dialled here. The answer ends the
    /// connection.
    Verify {
        /// The cluster that it belongs to.
        #[serde(borrow)]
        cluster: Cow<'a, str>,
        /// Its id.
        id: NodeId,
        /// Whom it means to reach.
        to: NodeId,
        /// What the peer is to say over the connection on which it greeted.
        challenge: u128,
    },
    /// A node that the peer that is dialled here should have dialled, and did not for some time.
    /// The answer ends the connection, and says so if another process has its place.
    Knock {
        /// The cluster that it belongs to.
        #[serde(borrow)]
        cluster: Cow<'a, str>,
        /// Its id.
        id: NodeId,
        /// Whom it means to reach.
        to: NodeId,
        /// Names its data directory, or its process if it has none.
        identity: u128,
        /// Larger each time that it starts.
        incarnation: u64,
    },
}

/// What follows the greeting of a peer: it has heard what only the peer hears.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// That of a [`Role::Verify`].
    pub challenge: u128,
}

/// The answer to a [`Hello`].
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome<'a> {
    /// Go on.
    Accepted {
        /// The node's id.
        id: NodeId,
        /// Names its data directory, or its process if it has none.
        identity: u128,
        /// Larger each time that it starts.
        incarnation: u64,
        /// Where its Lamport clock stands.
        lamport: LamportTime,
    },
    /// The connection ends here.
    Refused {
        /// Why, and what to do.
        #[serde(borrow)]
        reason: Cow<'a, str>,
    },
}

impl<'a> Hello<'a> {
    /// A greeting of this version.
    pub fn new(role: Role<'a>) -> Hello<'a> {
        Hello { magic: MAGIC, version: VERSION, role }
    }
}

/// Appends `message` as one frame.
pub fn push_message(out: &mut Vec<u8>, message: &impl Serialize) {
    push_frame_with(out, |out| {
        let bytes = postcard::to_allocvec(message);
        // Greetings hold strings and numbers, which postcard always takes.
        out.extend_from_slice(&bytes.unwrap_or_default());
    });
}

/// Appends one frame with this payload.
pub fn push_frame(out: &mut Vec<u8>, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("limits keep payloads far below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Appends one frame whose payload `fill` writes.
pub fn push_frame_with(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    fill(out);
    let length = out.len() - start - LENGTH_BYTES;
    let length = u32::try_from(length).expect("limits keep payloads far below 4 GiB");
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
}

/// What the bytes at hand begin with.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Not a whole frame yet.
    Incomplete,
    /// A frame, which took this many bytes with its length.
    Whole {
        /// The payload.
        payload: &'a [u8],
        /// How many bytes to drop.
        used: usize,
    },
    /// A frame longer than `limit`.
    TooLong {
        /// What its length says.
        length: usize,
    },
}

/// Looks for a frame at the beginning of `input`.
pub fn next_frame(input: &[u8], limit: usize) -> Frame<'_> {
    let Some((length, rest)) = input.split_first_chunk::<LENGTH_BYTES>() else {
        return Frame::Incomplete;
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > limit {
        return Frame::TooLong { length };
    }
    match rest.get(..length) {
        Some(payload) => Frame::Whole { payload, used: LENGTH_BYTES + length },
        None => Frame::Incomplete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_cut_anywhere_are_incomplete_and_come_out_as_they_went_in(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..5)
        ) {
            let mut bytes = Vec::new();
            for payload in &payloads {
                push_frame(&mut bytes, payload);
            }
            let mut at = 0;
            for expected in &payloads {
                for cut in 0..LENGTH_BYTES + expected.len() {
                    prop_assert_eq!(next_frame(&bytes[at..at + cut], 64), Frame::Incomplete);
                }
                let used = LENGTH_BYTES + expected.len();
                prop_assert_eq!(
                    next_frame(&bytes[at..], 64),
                    Frame::Whole { payload: &expected[..], used }
                );
                at += used;
            }
            prop_assert_eq!(at, bytes.len());
        }

        #[test]
        fn greetings_survive_and_noise_is_an_error_or_another_greeting(noise: Vec<u8>) {
            let hello = Hello::new(Role::Client { protocol: "kv_replication".into() });
            let mut bytes = Vec::new();
            push_message(&mut bytes, &hello);
            let Frame::Whole { payload, .. } = next_frame(&bytes, MAX_HELLO_BYTES) else {
                panic!("a greeting is a frame");
            };
            prop_assert_eq!(postcard::from_bytes::<Hello>(payload).ok(), Some(hello));
            let _ = postcard::from_bytes::<Hello>(&noise);
            let _ = postcard::from_bytes::<Welcome>(&noise);
        }
    }

    #[test]
    fn a_length_above_the_limit_is_told_before_its_payload_is_there() {
        assert_eq!(next_frame(&[255; 4], 64), Frame::TooLong { length: 0xFFFF_FFFF });
    }
}
