//! The table of keys: in order of first insertion, so that walking it is deterministic and a
//! place in it stays valid while it grows.

use super::Timestamp;
use super::mutants::{Mutant, Planted};
use ::core::hash::{BuildHasher, Hasher};
use alloc::boxed::Box;
use alloc::vec::Vec;
use indexmap::IndexMap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub(crate) struct Entry {
    pub(crate) value: Vec<u8>,
    pub(crate) timestamp: Timestamp,
    /// Over key, timestamp and value.
    hash: u64,
}

pub(crate) struct Table {
    entries: IndexMap<Box<[u8]>, Entry, KeyHash>,
    /// The sum of all entries' hashes: kept up with each PUT, independent of the order.
    digest: u64,
    /// How many bytes keys and values have.
    bytes: u64,
    planted: Planted,
}

/// What an entry takes on a disk beside its key and value: its header, timestamp and lengths.
const ENTRY_BYTES: u64 = 32;

impl Table {
    /// `seed` keeps clients from choosing keys that collide; it moves nothing that can be seen.
    pub(crate) fn new(seed: u64, planted: Planted) -> Table {
        Table { entries: IndexMap::with_hasher(KeyHash(seed)), digest: 0, bytes: 0, planted }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Stores the value unless the key has a newer one; answers the hash over key, timestamp and
    /// value.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8], timestamp: Timestamp) -> u64 {
        let is_cut = value.len() > 64 && self.planted.has(Mutant::ValueCut);
        let value = if is_cut { &value[..64] } else { value };
        let hash = hash(key, value, timestamp);
        if let Some(entry) = self.entries.get_mut(key) {
            if entry.timestamp >= timestamp && !self.planted.has(Mutant::KeyMovesBack) {
                return hash;
            }
            self.digest = self.digest.wrapping_sub(entry.hash).wrapping_add(hash);
            self.bytes = self.bytes - entry.value.len() as u64 + value.len() as u64;
            (entry.timestamp, entry.hash) = (timestamp, hash);
            entry.value.clear();
            entry.value.extend_from_slice(value);
        } else {
            let entry = Entry { value: Vec::from(value), timestamp, hash };
            self.bytes += (key.len() + value.len()) as u64;
            self.digest = self.digest.wrapping_add(hash);
            self.entries.insert(Box::from(key), entry);
        }
        hash
    }

    /// Which bug it has.
    pub(crate) fn planted(&self) -> Planted {
        self.planted
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// About how many bytes the table takes on a disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes + ENTRY_BYTES * self.entries.len() as u64
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// The entries from a place on.
    pub(crate) fn from(&self, place: usize) -> impl Iterator<Item = (&[u8], &Entry)> {
        let rest = self.entries.get_range(place..).into_iter();
        rest.flat_map(|rest| rest.iter().map(|(key, entry)| (&key[..], entry)))
    }
}

fn hash(key: &[u8], value: &[u8], timestamp: Timestamp) -> u64 {
    let with_timestamp = xxh3_64_with_seed(key, timestamp.0);
    xxh3_64_with_seed(value, with_timestamp)
}

/// Hashes keys by XXH3 under a seed.
struct KeyHash(u64);

impl BuildHasher for KeyHash {
    type Hasher = KeyHasher;
    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(self.0)
    }
}

struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }
    /// The length that precedes a slice: mixed in cheaply, the bytes that follow do the rest.
    fn write_usize(&mut self, length: usize) {
        self.0 = self.0.wrapping_add(length as u64);
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_moves_back() {
        let mut table = Table::new(1, Planted::default());
        table.put(b"k", b"new", Timestamp(5));
        table.put(b"k", b"old", Timestamp(4));
        table.put(b"k", b"same", Timestamp(5));
        let entry = table.get(b"k").expect("it was put");
        assert_eq!((&entry.value[..], entry.timestamp), (&b"new"[..], Timestamp(5)));
    }

    #[test]
    fn the_digest_depends_on_content_alone() {
        let (mut one, mut other) =
            (Table::new(1, Planted::default()), Table::new(2, Planted::default()));
        one.put(b"a", b"x", Timestamp(1));
        one.put(b"b", b"y", Timestamp(2));
        one.put(b"a", b"z", Timestamp(3));
        other.put(b"b", b"y", Timestamp(2));
        other.put(b"a", b"z", Timestamp(3));
        assert_eq!(one.digest(), other.digest());
        for (key, value, timestamp) in [(b"a", b"z", 4), (b"a", b"q", 5), (b"c", b"z", 6)] {
            let before = other.digest();
            other.put(key, value, Timestamp(timestamp));
            assert_ne!(before, other.digest());
        }
    }

    #[test]
    fn walking_starts_anywhere_and_ends() {
        let mut table = Table::new(1, Planted::default());
        for key in [b"a", b"b", b"c"] {
            table.put(key, b"", Timestamp(1));
        }
        let keys = |place| table.from(place).map(|(key, _)| key[0]).collect::<Vec<u8>>();
        assert_eq!(keys(0), b"abc");
        assert_eq!(keys(2), b"c");
        assert_eq!(keys(3), b"");
        assert_eq!(keys(99), b"");
    }
}
