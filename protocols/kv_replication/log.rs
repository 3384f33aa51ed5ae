//! The leader's memory of PUTs that some follower has not acknowledged: what is sent again after
//! a gap, and which clients wait for what.

use super::Timestamp;
use super::message::ForwardId;
use crate::core::{Epoch, NodeId, RequestId, Time};
use ::core::net::SocketAddr;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Who is to be told how a PUT ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    /// A client of the leader.
    Client(RequestId),
    /// A client of a follower.
    Forward(NodeId, ForwardId),
}

/// A client that waits for its PUT.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) origin: Origin,
    pub(crate) addr: SocketAddr,
    pub(crate) deadline: Time,
}

pub(crate) struct LogEntry {
    bytes: Vec<u8>,
    key_len: usize,
    /// The epoch in which it got its timestamp.
    pub(crate) reign: Epoch,
    /// Bytes in the log up to and with this entry, since the log began.
    end: u64,
    pub(crate) waiting: Option<Waiting>,
}

impl LogEntry {
    pub(crate) fn key(&self) -> &[u8] {
        &self.bytes[..self.key_len]
    }
    pub(crate) fn value(&self) -> &[u8] {
        &self.bytes[self.key_len..]
    }
}

pub(crate) struct Log {
    /// The timestamp of the front entry, or of the next one when the log is empty.
    first: Timestamp,
    entries: VecDeque<LogEntry>,
    /// `end` of the entry before the front.
    start: u64,
    /// Buffers of entries that have left, for entries to come.
    pool: Vec<Vec<u8>>,
}

/// How many buffers the pool keeps: one turn's worth of PUTs.
const POOL_BUFFERS: usize = 1_024;
/// A buffer larger than this goes back to the allocator instead.
const POOL_BUFFER_BYTES: usize = 4 << 10;
/// What an entry costs beside its key and value.
const ENTRY_OVERHEAD: u64 = size_of::<LogEntry>() as u64;

impl Log {
    pub(crate) fn new() -> Log {
        Log { first: Timestamp(1), entries: VecDeque::new(), start: 0, pool: Vec::new() }
    }

    /// Forgets everything; the next entry follows `applied`.
    pub(crate) fn reset(&mut self, applied: Timestamp) {
        *self = Log { first: applied.next(), ..Log::new() };
    }

    pub(crate) fn first(&self) -> Timestamp {
        self.first
    }

    /// The last timestamp; the one before `first` when the log is empty.
    pub(crate) fn last(&self) -> Timestamp {
        Timestamp(self.first.0 - 1 + self.entries.len() as u64)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.end() - self.start
    }

    fn end(&self) -> u64 {
        self.entries.back().map_or(self.start, |entry| entry.end)
    }

    pub(crate) fn push(
        &mut self,
        reign: Epoch,
        key: &[u8],
        value: &[u8],
        waiting: Option<Waiting>,
    ) {
        let mut bytes = self.pool.pop().unwrap_or_default();
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        let end = self.end() + bytes.len() as u64 + ENTRY_OVERHEAD;
        self.entries.push_back(LogEntry { bytes, key_len: key.len(), reign, end, waiting });
    }

    pub(crate) fn entry(&self, timestamp: Timestamp) -> Option<&LogEntry> {
        self.entries.get(self.place(timestamp)?)
    }

    pub(crate) fn entry_mut(&mut self, timestamp: Timestamp) -> Option<&mut LogEntry> {
        let place = self.place(timestamp)?;
        self.entries.get_mut(place)
    }

    fn place(&self, timestamp: Timestamp) -> Option<usize> {
        usize::try_from(timestamp.0.checked_sub(self.first.0)?).ok()
    }

    pub(crate) fn front(&self) -> Option<&LogEntry> {
        self.entries.front()
    }

    /// Drops the front entry, and keeps its buffer for another.
    pub(crate) fn pop(&mut self) {
        let Some(mut entry) = self.entries.pop_front() else { return };
        self.first = self.first.next();
        self.start = entry.end;
        if self.pool.len() < POOL_BUFFERS && entry.bytes.capacity() <= POOL_BUFFER_BYTES {
            entry.bytes.clear();
            self.pool.push(entry.bytes);
        }
    }

    /// How many bytes lie in the log behind the entry at `from` up to and with the one at `to`;
    /// both must be in the log, or `from` just before it.
    pub(crate) fn distance(&self, from: Timestamp, to: Timestamp) -> u64 {
        let end_of = |timestamp| self.entry(timestamp).map_or(self.start, |entry| entry.end);
        end_of(to).saturating_sub(end_of(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_survive_what_leaves_in_front() {
        let mut log = Log::new();
        assert_eq!((log.first(), log.last()), (Timestamp(1), Timestamp(0)));
        for key in [b"a", b"b", b"c"] {
            log.push(Epoch(1), key, b"v", None);
        }
        log.pop();
        assert_eq!((log.first(), log.last()), (Timestamp(2), Timestamp(3)));
        assert!(log.entry(Timestamp(1)).is_none());
        assert_eq!(log.entry(Timestamp(3)).expect("it is there").key(), b"c");
        assert!(log.entry(Timestamp(4)).is_none());
        log.push(Epoch(1), b"dd", b"", None);
        let entry = log.entry(Timestamp(4)).expect("it is there");
        assert_eq!((entry.key(), entry.value()), (&b"dd"[..], &b""[..]));
    }

    #[test]
    fn distances_are_the_bytes_between() {
        let mut log = Log::new();
        for _ in 0..3 {
            log.push(Epoch(1), b"k", b"123", None);
        }
        let each = 4 + ENTRY_OVERHEAD;
        assert_eq!(log.distance(Timestamp(0), Timestamp(3)), 3 * each);
        assert_eq!(log.bytes(), 3 * each);
        log.pop();
        assert_eq!(log.distance(Timestamp(1), Timestamp(3)), 2 * each);
        assert_eq!(log.distance(Timestamp(3), Timestamp(3)), 0);
        assert_eq!(log.bytes(), 2 * each);
    }
}
