//! A node's log without its file: its bytes, whose they are, and what becomes of them at a start. Real disks
//! and simulated ones share all of it.

pub mod format;
pub mod identity;
pub mod recovery;

/// A log shorter than this is not worth a checkpoint; a longer one is rewritten when it has
/// doubled since the last.
pub const MIN_CHECKPOINT_BYTES: u64 = 64 << 20;

/// How long a log of `len` bytes may grow until the next checkpoint.
pub fn checkpoint_at(len: u64) -> u64 {
    (2 * len).max(MIN_CHECKPOINT_BYTES)
}

#[cfg(test)]
pub(crate) mod testing;
