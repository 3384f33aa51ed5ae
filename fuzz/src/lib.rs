//! What the fuzz targets do, one function of bytes for each surface, and nothing of who calls it:
//! `cargo fuzz` runs them over mutated inputs, `tests/corpus.rs` over the corpus.
//!
//! A target panics when the code under test does, or when what it says does not fit together.

pub mod config;
pub mod gateways;
pub mod host;
mod nodes;
pub mod readers;
pub mod wal;
pub mod wire;

/// What a target does with an input.
pub type Target = fn(&[u8]);

/// The targets, by the names of their programs and of their folders in `corpus/`.
pub const TARGETS: [(&str, Target); 6] = [
    ("config", config::run),
    ("gateways", gateways::run),
    ("host", host::run),
    ("readers", readers::run),
    ("wal", wal::run),
    ("wire", wire::run),
];

/// An input, read from its beginning. It has no end: zeroes follow.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// One of the places 0 to `count` - 1; 0 where there are none.
    fn place(&mut self, count: usize) -> usize {
        usize::from(self.byte()).checked_rem(count).unwrap_or(0)
    }

    /// So many bytes, or what is left.
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Bytes behind their number.
    fn short(&mut self) -> &'a [u8] {
        let count = self.byte();
        self.bytes(count.into())
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// Cuts bytes into pieces, always the same for a seed: single bytes, or lengths of all sizes.
fn cut(mut bytes: &[u8], seed: u16) -> Vec<&[u8]> {
    let mut state = u32::from(seed) | 1 << 16;
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let most = match seed % 4 {
            0 => 1,
            _ => 1 << (state % 10),
        };
        let (piece, rest) = bytes.split_at((1 + (state >> 8) as usize % most).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}
