//! Bytes that came in or are to go out, and how much memory they may keep.

/// Bytes that came in, or are to go out: one contiguous buffer, of which a front part may be gone
/// already.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    gone: usize,
}

/// What all clients' empty buffers keep of their memory: a busy client's next reply needs no new
/// one, and thousands that are idle do not hold what their last one took.
const KEPT_BYTES: usize = 2 << 20;
/// One client's share, however few there are.
pub(super) const MAX_KEPT_BYTES: usize = 256 << 10;

/// What an empty buffer of one of so many clients keeps.
pub(super) fn kept_bytes(clients: usize) -> usize {
    (KEPT_BYTES / clients.max(1)).min(MAX_KEPT_BYTES)
}

/// Empties a buffer, and gives all of it back if it is larger than `kept`. Cutting it down would
/// leave a hole beside it that is just too small for the next one of its size.
pub(super) fn give_back(bytes: &mut Vec<u8>, kept: usize) {
    if bytes.capacity() > kept {
        *bytes = Vec::new();
    } else {
        bytes.clear();
    }
}

/// Makes room for `more` bytes: in steps of a quarter, since doubling would leave up to half of a
/// large buffer unused.
fn grow(bytes: &mut Vec<u8>, more: usize) {
    if bytes.capacity() - bytes.len() < more {
        bytes.reserve_exact(more.max(bytes.len() / 4));
    }
}

/// About what a gateway adds to a reply.
const FRAMING_BYTES: usize = 64;

/// A front part that is gone is dropped when it is larger than this, and most of the buffer.
const GONE_BYTES: usize = 64 << 10;

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.gone
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it takes of memory while something is in it: more than just that.
    pub(super) fn memory(&self) -> usize {
        if self.is_empty() { 0 } else { self.bytes.capacity() }
    }

    /// Where to append.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Where to append something of about this many bytes.
    pub(super) fn tail_for(&mut self, bytes: usize) -> &mut Vec<u8> {
        grow(&mut self.bytes, bytes + FRAMING_BYTES);
        &mut self.bytes
    }

    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.gone..]
    }

    /// So many bytes more are gone. An empty buffer keeps at most `kept` bytes.
    pub(super) fn advance(&mut self, bytes: usize, kept: usize) {
        self.gone += bytes;
        if self.gone == self.bytes.len() {
            give_back(&mut self.bytes, kept);
            self.gone = 0;
        } else if self.gone > GONE_BYTES && self.gone > self.bytes.len() / 2 {
            // What is gone is dropped when it is most of the buffer: each byte moves once.
            self.bytes.drain(..self.gone);
            self.gone = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_partial_write_goes_next_and_in_order() {
        let mut out = Buffer::default();
        let all: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
        out.tail().extend_from_slice(&all);
        let mut sent = Vec::new();
        for step in [1, 70_000, 100_000, 100_000, 29_999] {
            sent.extend_from_slice(&out.pending()[..step]);
            out.advance(step, 1_000);
        }
        assert!(out.is_empty());
        assert_eq!(out.bytes.capacity(), 0);
        assert_eq!(sent, all);
    }

    #[test]
    fn what_idle_clients_keep_does_not_grow_with_their_number() {
        assert_eq!(kept_bytes(0), MAX_KEPT_BYTES);
        for clients in [1, 50, 1_000, 16_384] {
            assert!(clients * kept_bytes(clients) <= KEPT_BYTES);
        }
    }

    #[test]
    fn a_buffer_grows_in_small_steps_but_not_for_every_byte() {
        let (mut bytes, mut steps) = (Vec::new(), 0);
        while bytes.len() < 1 << 20 {
            let before = bytes.capacity();
            grow(&mut bytes, 1);
            bytes.push(0);
            steps += usize::from(bytes.capacity() != before);
            assert!(bytes.capacity() <= bytes.len() + bytes.len() / 4 + 1);
        }
        assert!(steps < 100, "{steps} steps");
    }
}
