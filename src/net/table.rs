//! The table of connections: slots that are reused, with generations that tell a connection from
//! the one that had its slot before. Knows nothing of what a connection carries.

use mio::Token;
use node_protocols::core::ClientId;

/// Names one connection for as long as it lives.
pub(super) type Key = ClientId;

pub(super) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Table<T> {
    pub(super) fn new() -> Table<T> {
        Table { slots: Vec::new(), free: Vec::new() }
    }

    /// The key that the next inserted value gets.
    pub(super) fn next_key(&self) -> Key {
        match self.free.last() {
            Some(slot) => Key { slot: *slot, generation: self.slots[*slot as usize].generation },
            None => Key { slot: self.slots.len() as u32, generation: 0 },
        }
    }

    pub(super) fn insert(&mut self, value: T) -> Key {
        let key = self.next_key();
        match self.free.pop() {
            Some(slot) => self.slots[slot as usize].value = Some(value),
            None => self.slots.push(Slot { generation: 0, value: Some(value) }),
        }
        key
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.slot);
        Some(value)
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.slot as usize)?;
        slot.value.as_ref().filter(|_| slot.generation == key.generation)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        slot.value.as_mut().filter(|_| slot.generation == key.generation)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().zip(0..).filter_map(|(slot, at)| {
            let key = Key { slot: at, generation: slot.generation };
            slot.value.as_ref().map(|value| (key, value))
        })
    }
}

/// A key as mio carries it.
pub(super) fn token(key: Key) -> Token {
    Token(key.slot as usize | (key.generation as usize) << 32)
}

/// The key that a token carries.
pub(super) fn key(token: Token) -> Key {
    Key { slot: token.0 as u32, generation: (token.0 >> 32) as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_is_not_found_under_the_old_key() {
        let mut table = Table::new();
        let old = table.insert('a');
        assert_eq!(table.remove(old), Some('a'));
        let new = table.insert('b');
        assert_eq!(old.slot, new.slot);
        assert_eq!(table.get(old), None);
        assert_eq!(table.remove(old), None);
        assert_eq!(table.get(key(token(new))), Some(&'b'));
    }
}
