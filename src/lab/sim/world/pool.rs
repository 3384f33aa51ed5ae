//! Buffers for what is under way: used again and again, so that a run allocates nothing per
//! message.

/// Buffers for what is under way, used again and again.
#[derive(Default)]
pub(super) struct Pool {
    slots: Vec<Vec<u8>>,
    free: Vec<u32>,
    spare: Vec<Vec<u8>>,
}

impl Pool {
    pub(super) fn put(&mut self, bytes: &[u8]) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(self.spare.pop().unwrap_or_default());
            (self.slots.len() - 1) as u32
        });
        let buffer = &mut self.slots[slot as usize];
        buffer.clear();
        buffer.extend_from_slice(bytes);
        slot
    }

    /// Takes a buffer out; `give` puts it back and frees the slot.
    pub(super) fn take(&mut self, slot: u32) -> Vec<u8> {
        std::mem::take(&mut self.slots[slot as usize])
    }

    /// Puts a buffer back that is still needed in its slot.
    pub(super) fn put_back(&mut self, slot: u32, buffer: Vec<u8>) {
        self.slots[slot as usize] = buffer;
    }

    pub(super) fn give(&mut self, slot: u32, buffer: Vec<u8>) {
        self.slots[slot as usize] = buffer;
        self.free.push(slot);
    }

    pub(super) fn free_buffer(&mut self, buffer: Vec<u8>) {
        self.spare.push(buffer);
    }
}
