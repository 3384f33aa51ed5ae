//! The form of records where several lie one behind the other, in the [`Outbox`](super::Outbox) and
//! in a log's batches: tag (u16), length (u32), bytes, little-endian.

use alloc::vec::Vec;
use serde::Serialize;

/// The tag and the length before each record.
pub const RECORD_HEADER_LEN: usize = 2 + 4;

/// Encodes one record at the end of `body`; `fill` writes its bytes.
pub fn push_record(body: &mut Vec<u8>, tag: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    body.extend_from_slice(&tag.to_le_bytes());
    let length_at = body.len()..body.len() + 4;
    body.extend_from_slice(&[0; 4]);
    fill(body);
    // A length that does not fit makes a body longer than any log takes.
    let length = u32::try_from(body.len() - length_at.end).unwrap_or(u32::MAX);
    body[length_at].copy_from_slice(&length.to_le_bytes());
}

/// The tag and bytes of the first record, and what follows it; none where no whole record is.
pub fn split_record(body: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (tag, rest) = body.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((u16::from_le_bytes(*tag), bytes, rest))
}

/// How many bytes a record of this encoded value takes.
pub(crate) fn record_len(record: &impl Serialize) -> u64 {
    let size = postcard::serialize_with_flavor(record, postcard::ser_flavors::Size::default());
    size.map_or(u64::MAX, |bytes| (RECORD_HEADER_LEN + bytes) as u64)
}
