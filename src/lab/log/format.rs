//! The bytes of a log: how they are written, and what is read back from them. Knows no file: a
//! node's log and a simulated one are read and written by the same code.
//!
//! A log is a header, then batches. All numbers are little-endian:
//!
//! ```text
//! log    = "NODELOG2", identity u128, crc32c(the fields before) u32, batches
//! batch  = header, body
//! header = magic u32, seq u64, body length u32, crc32c(body) u32, crc32c(the fields before) u32
//! body   = records back to back
//! record = tag u16, length u32, bytes
//! ```
//!
//! A batch is the atomic unit: it is on disk as a whole before the next one is written. So when a
//! batch does not check out and a later one follows, the log has lost what was synced. When nothing
//! valid follows, it is a write that a crash cut short, or the last batch that was synced, gone
//! bad: nobody can tell the two apart by the log alone.

use node_core::{RECORD_HEADER_LEN, push_record, split_record};
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};

const MAGIC: [u8; 8] = *b"NODELOG2";
const OLD_MAGIC: [u8; 8] = *b"NODELOG1";
/// How many bytes precede the first batch.
pub const FILE_HEADER_LEN: usize = 28;
/// The part of the file header that its checksum covers.
const CHECKED_FILE_LEN: usize = FILE_HEADER_LEN - 4;
/// Not text and without a zero byte, so that neither prose nor a hole in the file resembles it.
pub const BATCH_MAGIC: [u8; 4] = 0xD1A7_B49C_u32.to_le_bytes();
/// The bytes before a batch.
pub const BATCH_HEADER_LEN: usize = 24;
/// The part of a batch header that its own checksum covers.
const CHECKED_LEN: usize = BATCH_HEADER_LEN - 4;

/// The longest body of a batch: reading holds one batch in memory, one write(2) moves less than
/// 2 GiB, and the length field ends at 4 GiB.
pub const MAX_BATCH_LEN: usize = 1 << 30;
/// The size a checkpoint's batches aim for: large enough that headers and system calls cost
/// nothing, small enough that reading them back needs little memory.
pub const CHECKPOINT_BATCH_LEN: usize = 1 << 20;
/// What the write buffer keeps between batches, so that one huge batch does not hold its memory
/// for the life of the node.
const KEPT_BUFFER_LEN: usize = 4 << 20;
/// How much of a bad tail is in memory at once while it is searched for later batches.
pub const SCAN_LEN: usize = 64 << 10;

/// Takes each record, in the order of writing; an `Err` says why it makes no sense.
pub type OnRecord<'a> = dyn FnMut(u16, &[u8]) -> Result<(), String> + 'a;

/// What a sound log had.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// How many records.
    pub records: u64,
    /// How many bytes are sound; a torn end comes behind them.
    pub len: u64,
    /// The sequence of the next batch.
    pub next_seq: u64,
    /// What does not check out at its end, and is to be cut.
    pub torn: Option<Torn>,
}

/// The end of a log that does not check out, with nothing valid behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub cut_bytes: u64,
}

/// Why a log cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsound {
    /// Its directory has had one, and it is not there.
    Gone,
    /// It belongs to another directory, or to another time of this one.
    Foreign {
        /// The identity that it carries.
        theirs: u128,
        /// Its directory's.
        ours: u128,
    },
    /// The directory does not say whose it is.
    Unclaimed {
        /// It did, and what it said does not check out.
        damaged: bool,
    },
    /// It has lost what was synced, or this program did not write it.
    Damaged {
        /// Where.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// The bytes are sound, but whoever they are for cannot make sense of a record.
    Refused {
        /// Where.
        offset: u64,
        /// Whose record.
        tag: u16,
        /// What they say of it.
        why: String,
    },
    /// An earlier version wrote it.
    Old,
}

impl Unsound {
    /// What the file is called when it is set aside; none where there is no file.
    pub fn name_aside(&self) -> Option<&'static str> {
        match self {
            Unsound::Foreign { .. } | Unsound::Unclaimed { .. } => Some("foreign"),
            Unsound::Damaged { .. } | Unsound::Refused { .. } => Some("damaged"),
            Unsound::Gone | Unsound::Old => None,
        }
    }
}

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsound::Gone => f.write_str("it is gone"),
            Unsound::Foreign { theirs, ours } => write!(
                f,
                "it is another directory's: it carries the identity {theirs:032x}, and its \
                 directory has {ours:032x}"
            ),
            Unsound::Unclaimed { damaged: false } => {
                f.write_str("no file `identity` beside it says whose it is")
            }
            Unsound::Unclaimed { damaged: true } => f.write_str(
                "the file `identity` beside it is damaged, and does not say whose it is",
            ),
            Unsound::Damaged { offset, why } => write!(f, "it is damaged at byte {offset}: {why}"),
            Unsound::Refused { offset, why, .. } => {
                write!(f, "its record at byte {offset} makes no sense here: {why}")
            }
            Unsound::Old => f.write_str("an earlier version wrote it, in a form that is not read"),
        }
    }
}

/// A header's bytes.
pub fn file_header(identity: u128) -> [u8; FILE_HEADER_LEN] {
    let mut bytes = [0; FILE_HEADER_LEN];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..CHECKED_FILE_LEN].copy_from_slice(&identity.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..CHECKED_FILE_LEN]);
    bytes[CHECKED_FILE_LEN..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// How a log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With a sound header.
    Header {
        /// Its identity.
        identity: u128,
    },
    /// With what may become one.
    Stub,
    /// As an earlier version had it.
    Old,
    /// Otherwise.
    Damaged,
}

/// Reads the header, and leaves the position behind it.
///
/// # Errors
/// Those of `log`.
pub fn read_start(log: &mut impl Read) -> io::Result<Start> {
    let mut bytes = Vec::with_capacity(FILE_HEADER_LEN);
    log.take(FILE_HEADER_LEN as u64).read_to_end(&mut bytes)?;
    if bytes.starts_with(&OLD_MAGIC) {
        return Ok(Start::Old);
    }
    let Some((checked, crc)) =
        bytes.split_at_checked(CHECKED_FILE_LEN).filter(|_| bytes.len() == FILE_HEADER_LEN)
    else {
        let is_stub = bytes.iter().zip(&MAGIC).all(|(one, other)| one == other);
        return Ok(if is_stub { Start::Stub } else { Start::Damaged });
    };
    let identity = checked.strip_prefix(&MAGIC).and_then(|rest| rest.try_into().ok());
    Ok(match identity.filter(|_| crc == crc32c::crc32c(checked).to_le_bytes()) {
        Some(identity) => Start::Header { identity: u128::from_le_bytes(identity) },
        None => Start::Damaged,
    })
}

/// Hands out all records of the batches that follow the header.
///
/// # Errors
/// The log cannot be read, or where it is unsound.
pub fn replay(
    log: &mut (impl Read + Seek),
    len: u64,
    on_record: &mut OnRecord,
) -> io::Result<Result<Replayed, Unsound>> {
    let mut body = Vec::new();
    let mut replayed = Replayed { len: FILE_HEADER_LEN as u64, next_seq: 1, ..Replayed::default() };
    while replayed.len < len {
        let (at, seq) = (replayed.len, replayed.next_seq);
        match read_batch(log, len - at, seq, &mut body)? {
            Batch::Whole => {
                let body_at = at + BATCH_HEADER_LEN as u64;
                match deliver(&body, body_at, on_record) {
                    Ok(records) => replayed.records += records,
                    Err(unsound) => return Ok(Err(unsound)),
                }
                replayed.len = body_at + body.len() as u64;
                replayed.next_seq += 1;
            }
            Batch::Impossible { why } => {
                return Ok(Err(Unsound::Damaged { offset: at, why: why.to_string() }));
            }
            Batch::Bad { why, extent } => {
                if let Some(later) = find_later(log, at + extent, seq)? {
                    let why = format!("{why}, and a later batch stands at byte {later}");
                    return Ok(Err(Unsound::Damaged { offset: at, why }));
                }
                replayed.torn = Some(Torn { offset: at, cut_bytes: len - at });
                break;
            }
        }
    }
    Ok(Ok(replayed))
}

/// A torn write can look `Bad`; no write of this program, torn or not, looks `Impossible`.
/// `extent` is how many bytes certainly belong to the batch: its records may quote anything, even
/// batch headers, so they are not searched for later batches.
enum Batch {
    Whole,
    Bad { why: &'static str, extent: u64 },
    Impossible { why: &'static str },
}

/// Reads the batch at the reader's position into `body`, `left` bytes before the end of the log.
fn read_batch(
    reader: &mut impl Read,
    left: u64,
    seq: u64,
    body: &mut Vec<u8>,
) -> io::Result<Batch> {
    if left < BATCH_HEADER_LEN as u64 {
        return Ok(Batch::Bad { why: "a batch header is cut short", extent: left });
    }
    let mut bytes = [0; BATCH_HEADER_LEN];
    reader.read_exact(&mut bytes)?;
    let Some(header) = BatchHeader::decode(&bytes) else {
        return Ok(Batch::Bad { why: "a batch header fails its checksum", extent: 0 });
    };
    if header.seq != seq {
        return Ok(Batch::Bad { why: "a batch is out of sequence", extent: 0 });
    }
    let len = header.len as usize;
    if len > MAX_BATCH_LEN {
        return Ok(Batch::Impossible { why: "a batch is longer than any this program writes" });
    }
    let extent = (BATCH_HEADER_LEN + len) as u64;
    // Checked before the body gets its memory, which so never exceeds the log.
    if extent > left {
        return Ok(Batch::Bad { why: "a batch is cut short", extent: left });
    }
    body.resize(len, 0);
    reader.read_exact(body)?;
    if crc32c::crc32c(body) != header.body_crc {
        return Ok(Batch::Bad { why: "the records of a batch fail their checksum", extent });
    }
    if !is_well_framed(body) {
        return Ok(Batch::Impossible { why: "the records of a batch do not add up to its length" });
    }
    Ok(Batch::Whole)
}

fn deliver(body: &[u8], body_at: u64, on_record: &mut OnRecord) -> Result<u64, Unsound> {
    let mut count = 0;
    let mut rest = body;
    while let Some((tag, bytes, after)) = split_record(rest) {
        on_record(tag, bytes).map_err(|why| {
            let offset = body_at + (body.len() - rest.len()) as u64;
            Unsound::Refused { offset, tag, why }
        })?;
        count += 1;
        rest = after;
    }
    Ok(count)
}

/// Whether a batch's body is whole records.
pub fn is_well_framed(mut body: &[u8]) -> bool {
    while let Some((_, _, rest)) = split_record(body) {
        body = rest;
    }
    body.is_empty()
}

/// Where, at or after `from`, a valid header stands of a batch written after batch `seq`.
fn find_later(log: &mut (impl Read + Seek), from: u64, seq: u64) -> io::Result<Option<u64>> {
    log.seek(SeekFrom::Start(from))?;
    let mut window = Vec::new();
    let mut window_at = from;
    while log.by_ref().take(SCAN_LEN as u64).read_to_end(&mut window)? > 0 {
        let is_later = |bytes| BatchHeader::decode(bytes).is_some_and(|header| header.seq > seq);
        if let Some(index) = window.windows(BATCH_HEADER_LEN).position(is_later) {
            return Ok(Some(window_at + index as u64));
        }
        // The last bytes stay: a header may stand across the border of two windows.
        let done = window.len().saturating_sub(BATCH_HEADER_LEN - 1);
        window.drain(..done);
        window_at += done as u64;
    }
    Ok(None)
}

/// A body that no batch can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    /// Its length.
    pub len: usize,
}

/// Adds one batch to the end of `bytes`. `body` is what [`push_record`] built.
///
/// # Errors
/// When the body is longer than a batch may be; nothing is added then.
pub fn push_batch(bytes: &mut Vec<u8>, seq: u64, body: &[u8]) -> Result<(), TooLong> {
    let too_long = TooLong { len: body.len() };
    let len = u32::try_from(body.len()).map_err(|_| too_long)?;
    if body.len() > MAX_BATCH_LEN {
        return Err(too_long);
    }
    let header = BatchHeader { seq, len, body_crc: crc32c::crc32c(body) };
    bytes.reserve(BATCH_HEADER_LEN + body.len());
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(body);
    Ok(())
}

/// A batch was not written.
#[derive(Debug)]
pub enum WriteError {
    /// What it goes to failed.
    Io(io::Error),
    /// No batch can have it.
    TooLong(TooLong),
}

/// The writing end of a log.
#[derive(Debug)]
pub struct Tail<W> {
    /// Where the bytes go.
    pub out: W,
    /// How many there are, the header included.
    pub len: u64,
    /// The sequence of the next batch.
    pub next_seq: u64,
    /// Header and body side by side, for one write(2).
    buffer: Vec<u8>,
}

impl<W: Write> Tail<W> {
    /// Begins a log.
    ///
    /// # Errors
    /// When the header cannot be written.
    pub fn create(mut out: W, identity: u128) -> io::Result<Tail<W>> {
        out.write_all(&file_header(identity))?;
        Ok(Tail::resume(out, FILE_HEADER_LEN as u64, 1))
    }

    /// Goes on with one of which this was read back.
    pub fn resume(out: W, len: u64, next_seq: u64) -> Tail<W> {
        Tail { out, len, next_seq, buffer: Vec::new() }
    }

    /// Adds a batch.
    ///
    /// # Errors
    /// When it cannot be written; a part of it may be there then.
    pub fn write_batch(&mut self, body: &[u8]) -> Result<(), WriteError> {
        self.buffer.clear();
        push_batch(&mut self.buffer, self.next_seq, body).map_err(WriteError::TooLong)?;
        // A second write(2) follows only a short first one, which a full disk causes.
        self.out.write_all(&self.buffer).map_err(WriteError::Io)?;
        self.len += self.buffer.len() as u64;
        self.next_seq += 1;
        self.buffer.shrink_to(KEPT_BUFFER_LEN);
        Ok(())
    }
}

/// Takes the records of a checkpoint. An error is kept and surfaces from [`finish`](Sink::finish),
/// so that the code that streams its state has none to handle.
#[derive(Debug)]
pub struct Sink<W> {
    /// Where the batches go.
    pub tail: Tail<W>,
    body: Vec<u8>,
    failed: Option<WriteError>,
}

impl<W: Write> Sink<W> {
    /// Begins the log that is to replace another.
    ///
    /// # Errors
    /// When the header cannot be written.
    pub fn create(out: W, identity: u128) -> io::Result<Sink<W>> {
        Ok(Sink { tail: Tail::create(out, identity)?, body: Vec::new(), failed: None })
    }

    /// Adds a record.
    pub fn record(&mut self, tag: u16, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        // Flushed before rather than after, so that a record as long as a batch still fits in one.
        if self.body.len() + RECORD_HEADER_LEN + bytes.len() > CHECKPOINT_BATCH_LEN {
            self.flush();
        }
        push_record(&mut self.body, tag, |body| body.extend_from_slice(bytes));
    }

    fn flush(&mut self) {
        if !self.body.is_empty() {
            self.failed = self.tail.write_batch(&self.body).err();
            self.body.clear();
        }
    }

    /// The whole log's end.
    ///
    /// # Errors
    /// The first that there was.
    pub fn finish(mut self) -> Result<Tail<W>, WriteError> {
        if self.failed.is_none() {
            self.flush();
        }
        self.failed.map_or(Ok(self.tail), Err)
    }
}

/// What stands before a batch.
pub struct BatchHeader {
    /// Its number, from 1.
    pub seq: u64,
    /// The bytes of its body.
    pub len: u32,
    /// The body's CRC-32C.
    pub body_crc: u32,
}

impl BatchHeader {
    /// Its bytes.
    pub fn encode(&self) -> [u8; BATCH_HEADER_LEN] {
        let mut bytes = [0; BATCH_HEADER_LEN];
        bytes[..4].copy_from_slice(&BATCH_MAGIC);
        bytes[4..12].copy_from_slice(&self.seq.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.len.to_le_bytes());
        bytes[16..CHECKED_LEN].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CHECKED_LEN]);
        bytes[CHECKED_LEN..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header that `bytes` starts with, if its magic and checksum are right.
    fn decode(bytes: &[u8]) -> Option<BatchHeader> {
        let rest = bytes.strip_prefix(&BATCH_MAGIC)?;
        let (seq, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (body_crc, rest) = rest.split_first_chunk()?;
        let crc = u32::from_le_bytes(*rest.first_chunk()?);
        (crc == crc32c::crc32c(&bytes[..CHECKED_LEN])).then_some(BatchHeader {
            seq: u64::from_le_bytes(*seq),
            len: u32::from_le_bytes(*len),
            body_crc: u32::from_le_bytes(*body_crc),
        })
    }
}
