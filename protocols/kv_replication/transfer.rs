//! Copying a table from one node to another, part by part. The receiver asks for each part, so
//! that a lost message is asked for again and a slow receiver is never flooded.
//!
//! The sender goes on taking PUTs meanwhile, so parts are of different ages. The copy is in order
//! again once it has every PUT from `base` (the sender's last PUT at the first part) to `head`
//! (its last PUT at the last part), which reach the receiver as ordinary Replications.
//!
//! Whoever pulls a copy that its leader does not make is told to begin one that it does.

use super::history::Chain;
use super::message::{Entry, History};
use super::mutants::{Mutant, Planted};
use super::{Cx, Message, Put, Replica, Timestamp};
use crate::core::{Bytes, Epoch, NodeId};
use alloc::vec::Vec;

/// Whether a copy was begun after another. A number that a lie took far ahead is followed by others all
/// the same, since they go round.
pub(crate) fn is_later(transfer: u32, than: u32) -> bool {
    transfer.wrapping_sub(than).cast_signed() > 0
}

/// The receiver's side.
pub(crate) struct Incoming {
    pub(crate) transfer: u32,
    cursor: u32,
    /// Whether the first part is there.
    begun: bool,
    /// Set by the last part.
    until: Option<Timestamp>,
    staged: Replica,
    /// Whether anything came since the last call of `take_progress`.
    progress: bool,
    planted: Planted,
}

impl Incoming {
    pub(crate) fn new(transfer: u32, seed: u64, planted: Planted) -> Incoming {
        let staged = Replica::new(seed, planted);
        Incoming { transfer, cursor: 0, begun: false, until: None, staged, progress: true, planted }
    }

    /// Asks for the next part, unless the last one is there.
    pub(crate) fn pull(&self, epoch: Epoch, from: NodeId, cx: &mut Cx<'_>) {
        if self.until.is_none() {
            let (transfer, cursor) = (self.transfer, self.cursor);
            cx.send(from, &Message::Pull { epoch, transfer, cursor });
        }
    }

    /// Takes a part; answers whether it was the one asked for.
    pub(crate) fn chunk(
        &mut self,
        cursor: u32,
        next: Option<u32>,
        base: History,
        head: Timestamp,
        entries: &[Entry<'_>],
    ) -> bool {
        if cursor != self.cursor || self.until.is_some() {
            return false;
        }
        self.progress = true;
        let left_out = next.is_none() && self.planted.has(Mutant::CopyMissesTail);
        for entry in &entries[..entries.len().saturating_sub(usize::from(left_out))] {
            self.staged.table.put(&entry.key, &entry.value, entry.timestamp);
        }
        if !self.begun {
            self.begun = true;
            self.staged.chain = Chain::at(base.genesis, base.applied, base.hash);
        }
        match next {
            // A next part that does not lie ahead would ask for the same for ever.
            Some(next) if next > self.cursor => {
                self.cursor = next + u32::from(self.planted.has(Mutant::CopySkipsEntry));
            }
            Some(_) | None => self.until = Some(head),
        }
        true
    }

    /// Takes a PUT into the copy if it is the next; answers how far the copy is, or nothing when
    /// it has no beginning yet.
    pub(crate) fn replication(&mut self, put: &Put<'_>) -> Option<Timestamp> {
        if !self.begun {
            return None;
        }
        if put.timestamp == self.staged.applied().next() {
            self.progress = true;
            self.staged.apply(put);
        }
        Some(self.staged.applied())
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.until.is_some_and(|until| self.staged.applied() >= until)
    }

    /// About how many bytes the copy takes on a disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.staged.table.bytes()
    }

    pub(crate) fn into_replica(self) -> Replica {
        self.staged
    }

    /// Whether anything came since this was last asked.
    pub(crate) fn take_progress(&mut self) -> bool {
        ::core::mem::take(&mut self.progress)
    }
}

/// A part to send: which, and of what.
pub(crate) struct Part {
    pub(crate) epoch: Epoch,
    pub(crate) transfer: u32,
    pub(crate) cursor: u32,
    pub(crate) base: History,
}

/// The sender's side: one part of the replica, of about `chunk_bytes`.
pub(crate) fn send_chunk(
    replica: &Replica,
    to: NodeId,
    part: &Part,
    chunk_bytes: usize,
    cx: &mut Cx<'_>,
) {
    let Part { epoch, transfer, cursor, base } = *part;
    let ends_early = replica.table.planted().has(Mutant::CopyEndsEarly);
    let most = if ends_early { 256 } else { replica.table.len() };
    let mut entries = Vec::new();
    let mut bytes = 0;
    for (key, entry) in replica.table.from(cursor as usize) {
        if bytes >= chunk_bytes || cursor as usize + entries.len() >= most {
            break;
        }
        bytes += key.len() + entry.value.len() + size_of::<Entry<'_>>();
        let (key, value) = (Bytes::new(key), Bytes::new(&entry.value));
        entries.push(Entry { timestamp: entry.timestamp, key, value });
    }
    let end = cursor.saturating_add(u32::try_from(entries.len()).unwrap_or(u32::MAX));
    let next = ((end as usize) < most.min(replica.table.len())).then_some(end);
    let head = replica.applied();
    cx.send(to, &Message::Chunk { epoch, transfer, cursor, next, base, head, entries });
}
