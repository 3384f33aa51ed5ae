//! What a Host and its protocols hand each other: the state that all protocols of a node share, and what
//! becomes of bytes that are none of theirs.

use super::{Counter, Counters, Fact, Jump, LamportClock, LamportTime, NodeId, Now, Outbox};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use serde::Deserialize;

/// What all protocols of a node share.
pub struct Io {
    pub(crate) id: NodeId,
    pub(crate) peers: Vec<NodeId>,
    pub(crate) now: Now,
    pub(crate) lamport: LamportClock,
    /// The value of the last receive.
    pub(crate) received: LamportTime,
    pub(crate) outbox: Outbox,
    pub(crate) facts: VecDeque<(usize, Fact)>,
    pub(crate) counters: Counters,
    /// How many bytes of records and files the disk has room for.
    pub(crate) room: u64,
    /// A protocol asked for the end of the turn.
    pub(crate) wants_turn_end: bool,
}

/// Bytes that are not of the form that their protocol defines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

/// A frame that was dropped, and so changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// The envelope or the message does not decode.
    Malformed,
    /// This node does not run the protocol.
    UnknownProtocol(u16),
    /// The Lamport value is too far ahead.
    Jump(Jump),
}

impl FrameError {
    /// What counts it.
    pub fn counter(&self) -> Counter {
        match self {
            FrameError::Malformed | FrameError::UnknownProtocol(_) => Counter::BadFrame,
            FrameError::Jump(_) => Counter::LamportJump,
        }
    }
}

/// Decodes all of `body`; bytes left over are as wrong as bytes missing.
pub(super) fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Malformed> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(Malformed),
    }
}
