//! The write-ahead log of one node: the file `log` in its data_dir, the lock that keeps a second
//! node out of that folder, and the decision what a log that does not read back cleanly means.
//!
//! Records are opaque bytes under a tag. This module must not know which protocol a tag names,
//! what a record says, or when the event loop syncs; it promises only that what was synced is read
//! back, in order, and that nothing else ever is.
//!
//! The file is an 8-byte header, then batches. All numbers are little-endian:
//!
//! ```text
//! batch  = header, body
//! header = magic u32, seq u64, body length u32, crc32c(body) u32, crc32c(the fields before) u32
//! body   = records back to back
//! record = tag u16, length u32, bytes
//! ```
//!
//! A batch is the atomic unit: it is on disk as a whole before the next one is written. So a batch
//! that does not check out is the torn end of the log when nothing valid follows it, and it never
//! was acknowledged; when a later batch follows, acknowledged data is lost and the log is damaged.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const LOG_NAME: &str = "log";
/// A log under construction. It counts for nothing until it is renamed to `log`.
const NEW_NAME: &str = "log.new";
const LOCK_NAME: &str = "lock";

const FILE_HEADER: [u8; 8] = *b"NODELOG1";
const FILE_HEADER_LEN: u64 = FILE_HEADER.len() as u64;
/// Not text and without a zero byte, so that neither prose nor a hole in the file resembles it.
const BATCH_MAGIC: [u8; 4] = 0xD1A7_B49C_u32.to_le_bytes();
const BATCH_HEADER_LEN: usize = 24;
/// The part of a batch header that its own checksum covers.
const CHECKED_LEN: usize = BATCH_HEADER_LEN - 4;
const RECORD_HEADER_LEN: usize = 6;

/// The longest body of a batch: reading holds one batch in memory, one write(2) moves less than
/// 2 GiB, and the length field ends at 4 GiB.
const MAX_BATCH_LEN: usize = 1 << 30;
/// The size a checkpoint's batches aim for: large enough that headers and system calls cost
/// nothing, small enough that reading them back needs little memory.
const CHECKPOINT_BATCH_LEN: usize = 1 << 20;
/// What the write buffer keeps between batches, so that one huge batch does not hold its memory
/// for the life of the node.
const KEPT_BUFFER_LEN: usize = 4 << 20;
/// How much of a bad tail is in memory at once while it is searched for later batches.
const SCAN_LEN: usize = 64 << 10;

/// Takes each recovered record, in the order of writing; an `Err` says why it makes no sense.
pub type OnRecord<'a> = dyn FnMut(u16, &[u8]) -> Result<(), String> + 'a;

/// An open log, and the lock on its folder for as long as it lives.
#[derive(Debug)]
pub struct Wal {
    dir: PathBuf,
    tail: Tail,
    /// A batch is written that no sync covers yet.
    dirty: bool,
    /// An operation failed or is under way. A failed fsync may have dropped the very pages it did
    /// not write, so that a second one succeeds without them: only a restart tells what is there.
    poisoned: bool,
    /// Whether `sync` syncs; without it a batch is the operating system's once it is written.
    syncs: bool,
    _lock: File,
}

/// What `Wal::open` found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Recovery {
    pub records: u64,
    /// The length of the log as it was kept, headers included.
    pub bytes: u64,
    pub torn: Option<Torn>,
    /// There was no log.
    pub is_new: bool,
}

/// The end of the log that a crash left half written, now cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    pub offset: u64,
    pub cut_bytes: u64,
}

/// `Locked`: another process has the folder open. `Damaged`: the file lost data that was synced,
/// or this program did not write it. `Refused`: the bytes are sound, but the consumer cannot make
/// sense of the record. `File`: a protocol's own file is not what the log tells of. `NoRoom`: a checkpoint would not fit, and was not begun. `Poisoned`: an earlier operation failed; nothing is accepted after it.
#[derive(Debug)]
pub enum WalError {
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    Locked { path: PathBuf },
    Damaged { path: PathBuf, offset: u64, why: String },
    Refused { path: PathBuf, offset: u64, why: String },
    File { path: PathBuf, why: String },
    TooLong { path: PathBuf, len: usize },
    NoRoom { path: PathBuf, bytes: u64, room: u64 },
    Poisoned { path: PathBuf },
}

impl Wal {
    /// Locks the folder, hands every record of its log to `on_record`, and readies it for appends.
    pub fn open(dir: &Path, on_record: &mut OnRecord) -> Result<(Wal, Recovery), WalError> {
        let path = dir.join(LOG_NAME);
        // A log comes after its folder was made durable, so its presence shows that it was.
        if !path.exists() {
            make_dir(dir)?;
        }
        let lock = lock_dir(dir)?;
        let (tail, recovery) = match open_log(&path)? {
            Existing::Log(file) => replay(file, path, on_record)?,
            Existing::Nothing { stub } => {
                let tail = Sink::create(dir)?.install(dir)?;
                let torn = (stub > 0).then_some(Torn { offset: 0, cut_bytes: stub });
                let recovery = Recovery { records: 0, bytes: tail.len, torn, is_new: true };
                (tail, recovery)
            }
        };
        remove_leftover(&dir.join(NEW_NAME))?;
        // What was just read may sit only in the page cache: a node killed between write and sync,
        // or between rename and folder sync, leaves it so. The consumer acts on it from here on.
        tail.file.sync_all().map_err(io_error(&tail.path, "syncing"))?;
        sync_dir(dir)?;
        let dir = dir.to_path_buf();
        Ok((Wal { dir, tail, dirty: false, poisoned: false, syncs: true, _lock: lock }, recovery))
    }

    /// Writes one batch. `records` is a body that `push_record` built. Durable only after `sync`.
    pub fn append(&mut self, records: &[u8]) -> Result<(), WalError> {
        debug_assert!(is_well_framed(records), "a body is made by push_record");
        self.guarded(|wal| {
            if records.is_empty() {
                return Ok(());
            }
            // Two batches in flight may reach the disk in either order, and the second without
            // the first reads as damage.
            wal.settle()?;
            wal.dirty = true;
            wal.tail.write_batch(records)
        })
    }

    /// Whether batches are synced, which is so at first. Otherwise they survive the process, and
    /// not the machine: after a power failure the log may be damaged, and is then refused.
    pub fn set_sync(&mut self, sync: bool) {
        self.syncs = sync;
    }

    /// Makes every batch appended so far durable.
    pub fn sync(&mut self) -> Result<(), WalError> {
        self.guarded(Wal::settle)
    }

    /// Checkpoint: puts a log of just the records that `fill` streams in the place of this one.
    /// A crash at any point leaves either the old log or the new one, whole.
    pub fn replace(&mut self, fill: &mut dyn FnMut(&mut Sink)) -> Result<(), WalError> {
        self.guarded(|wal| {
            let mut sink = Sink::create(&wal.dir)?;
            fill(&mut sink);
            wal.tail = sink.install(&wal.dir)?;
            wal.dirty = false;
            Ok(())
        })
    }

    /// Bytes in the file.
    #[expect(clippy::len_without_is_empty, reason = "the file always holds its header")]
    pub fn len(&self) -> u64 {
        self.tail.len
    }

    /// Runs `op` so that every way out of it but success, a panic included, poisons the log.
    fn guarded(
        &mut self,
        op: impl FnOnce(&mut Wal) -> Result<(), WalError>,
    ) -> Result<(), WalError> {
        if self.poisoned {
            return Err(WalError::Poisoned { path: self.tail.path.clone() });
        }
        self.poisoned = true;
        op(self)?;
        self.poisoned = false;
        Ok(())
    }

    fn settle(&mut self) -> Result<(), WalError> {
        if self.dirty && self.syncs {
            self.tail.file.sync_data().map_err(io_error(&self.tail.path, "syncing"))?;
            self.dirty = false;
        }
        Ok(())
    }
}

/// Takes the records of a checkpoint. An error is kept and surfaces from `Wal::replace`, so that
/// the code that streams its state has none to handle.
#[derive(Debug)]
pub struct Sink {
    tail: Tail,
    body: Vec<u8>,
    failed: Option<WalError>,
}

impl Sink {
    pub fn record(&mut self, tag: u16, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        // Flushed before rather than after, so that a record as long as a batch still fits in one.
        if self.body.len() + RECORD_HEADER_LEN + bytes.len() > CHECKPOINT_BATCH_LEN {
            self.flush();
        }
        push_record(&mut self.body, tag, bytes);
    }

    fn create(dir: &Path) -> Result<Sink, WalError> {
        let path = dir.join(NEW_NAME);
        let mut file = File::create(&path).map_err(io_error(&path, "creating"))?;
        file.write_all(&FILE_HEADER).map_err(io_error(&path, "writing"))?;
        let tail = Tail { file, path, len: FILE_HEADER_LEN, next_seq: 1, buffer: Vec::new() };
        Ok(Sink { tail, body: Vec::new(), failed: None })
    }

    fn flush(&mut self) {
        if !self.body.is_empty() {
            self.failed = self.tail.write_batch(&self.body).err();
            self.body.clear();
        }
    }

    /// Makes the new log durable, and only then the log of the folder.
    fn install(mut self, dir: &Path) -> Result<Tail, WalError> {
        if self.failed.is_none() {
            self.flush();
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut tail = self.tail;
        tail.file.sync_all().map_err(io_error(&tail.path, "syncing"))?;
        let path = dir.join(LOG_NAME);
        fs::rename(&tail.path, &path).map_err(io_error(&tail.path, "renaming to log"))?;
        sync_dir(dir)?;
        tail.path = path;
        Ok(tail)
    }
}

/// How many bytes a record takes in a body.
pub fn record_len(bytes: &[u8]) -> u64 {
    (RECORD_HEADER_LEN + bytes.len()) as u64
}

/// Encodes one record at the end of a body.
pub fn push_record(body: &mut Vec<u8>, tag: u16, bytes: &[u8]) {
    // A length that does not fit makes a body above `MAX_BATCH_LEN`, which no write accepts.
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    body.extend_from_slice(&tag.to_le_bytes());
    body.extend_from_slice(&len.to_le_bytes());
    body.extend_from_slice(bytes);
}

/// The writing end of a log file.
#[derive(Debug)]
struct Tail {
    file: File,
    path: PathBuf,
    len: u64,
    next_seq: u64,
    /// Header and body side by side, for one write(2).
    buffer: Vec<u8>,
}

impl Tail {
    fn write_batch(&mut self, body: &[u8]) -> Result<(), WalError> {
        let too_long = || WalError::TooLong { path: self.path.clone(), len: body.len() };
        if body.len() > MAX_BATCH_LEN {
            return Err(too_long());
        }
        let len = u32::try_from(body.len()).map_err(|_| too_long())?;
        let header = BatchHeader { seq: self.next_seq, len, body_crc: crc32c::crc32c(body) };
        self.buffer.clear();
        self.buffer.extend_from_slice(&header.encode());
        self.buffer.extend_from_slice(body);
        // A second write(2) follows only a short first one, which a full disk causes.
        self.file.write_all(&self.buffer).map_err(io_error(&self.path, "writing"))?;
        self.len += self.buffer.len() as u64;
        self.next_seq += 1;
        self.buffer.shrink_to(KEPT_BUFFER_LEN);
        Ok(())
    }
}

struct BatchHeader {
    seq: u64,
    len: u32,
    body_crc: u32,
}

impl BatchHeader {
    fn encode(&self) -> [u8; BATCH_HEADER_LEN] {
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

enum Existing {
    /// The file header is right, and the position is behind it.
    Log(File),
    /// No log, or `stub` bytes of one whose creation a crash cut short.
    Nothing { stub: u64 },
}

fn open_log(path: &Path) -> Result<Existing, WalError> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Existing::Nothing { stub: 0 });
        }
        Err(error) => return Err(io_error(path, "opening")(error)),
    };
    let mut start = Vec::new();
    (&mut file).take(FILE_HEADER_LEN).read_to_end(&mut start).map_err(io_error(path, "reading"))?;
    if start == FILE_HEADER {
        Ok(Existing::Log(file))
    } else if FILE_HEADER.starts_with(&start) {
        Ok(Existing::Nothing { stub: start.len() as u64 })
    } else {
        Err(damaged(path, 0, "it does not start as the log of a node does".to_string()))
    }
}

/// Hands out all records, cuts a torn end, and leaves the position where the next batch goes.
fn replay(
    mut file: File,
    path: PathBuf,
    on_record: &mut OnRecord,
) -> Result<(Tail, Recovery), WalError> {
    let reading = |source| io_error(&path, "reading")(source);
    let len = file.metadata().map_err(reading)?.len();
    let mut reader = BufReader::new(&file);
    let mut body = Vec::new();
    let (mut at, mut seq) = (FILE_HEADER_LEN, 1);
    let mut recovery = Recovery::default();
    while at < len {
        match read_batch(&mut reader, len - at, seq, &mut body).map_err(reading)? {
            Batch::Whole => {
                let body_at = at + BATCH_HEADER_LEN as u64;
                recovery.records += deliver(&body, body_at, &path, on_record)?;
                at = body_at + body.len() as u64;
                seq += 1;
            }
            Batch::Impossible { why } => return Err(damaged(&path, at, why.to_string())),
            Batch::Bad { why, extent } => {
                if let Some(later) = find_later(&file, at + extent, seq).map_err(reading)? {
                    let why = format!("{why}, and a later batch stands at byte {later}");
                    return Err(damaged(&path, at, why));
                }
                recovery.torn = Some(Torn { offset: at, cut_bytes: len - at });
                break;
            }
        }
    }
    if recovery.torn.is_some() {
        file.set_len(at).map_err(io_error(&path, "cutting the torn end of"))?;
    }
    file.seek(SeekFrom::Start(at)).map_err(reading)?;
    recovery.bytes = at;
    Ok((Tail { file, path, len: at, next_seq: seq, buffer: Vec::new() }, recovery))
}

/// A torn write can look `Bad`; no write of this program, torn or not, looks `Impossible`.
/// `extent` is how many bytes certainly belong to the batch: its records may quote anything, even
/// batch headers, so they are not searched for later batches.
enum Batch {
    Whole,
    Bad { why: &'static str, extent: u64 },
    Impossible { why: &'static str },
}

/// Reads the batch at the reader's position into `body`, `left` bytes before the end of the file.
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
    // Checked before the body gets its memory, which so never exceeds the file.
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

fn deliver(
    body: &[u8],
    body_at: u64,
    path: &Path,
    on_record: &mut OnRecord,
) -> Result<u64, WalError> {
    let mut count = 0;
    let mut rest = body;
    while let Some((tag, bytes, after)) = split_record(rest) {
        on_record(tag, bytes).map_err(|why| {
            let offset = body_at + (body.len() - rest.len()) as u64;
            WalError::Refused { path: path.to_path_buf(), offset, why }
        })?;
        count += 1;
        rest = after;
    }
    Ok(count)
}

fn is_well_framed(mut body: &[u8]) -> bool {
    while let Some((_, _, rest)) = split_record(body) {
        body = rest;
    }
    body.is_empty()
}

/// The tag and bytes of the first record, and what follows it.
fn split_record(body: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (tag, rest) = body.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some((u16::from_le_bytes(*tag), bytes, rest))
}

/// Where, at or after `from`, a valid header stands of a batch written after batch `seq`.
fn find_later(mut file: &File, from: u64, seq: u64) -> io::Result<Option<u64>> {
    file.seek(SeekFrom::Start(from))?;
    let mut window = Vec::with_capacity(SCAN_LEN + BATCH_HEADER_LEN);
    let mut window_at = from;
    while file.take(SCAN_LEN as u64).read_to_end(&mut window)? > 0 {
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

/// Creates the folder, and syncs the parent of every level that is new.
fn make_dir(dir: &Path) -> Result<(), WalError> {
    let missing = dir.ancestors().filter(|level| !level.exists()).count();
    fs::create_dir_all(dir).map_err(io_error(dir, "creating the folder"))?;
    // At least one: an earlier run may have created the folder and died before this sync.
    for parent in dir.ancestors().skip(1).take(missing.max(1)) {
        sync_dir(parent)?;
    }
    Ok(())
}

fn lock_dir(dir: &Path) -> Result<File, WalError> {
    let path = dir.join(LOCK_NAME);
    let file = File::create(&path).map_err(io_error(&path, "creating"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(WalError::Locked { path }),
        Err(TryLockError::Error(source)) => Err(io_error(&path, "locking")(source)),
    }
}

fn remove_leftover(path: &Path) -> Result<(), WalError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error(path, "removing")(error)),
        _ => Ok(()),
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), WalError> {
    // The parent of a relative path of one level is the empty path.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error(dir, "syncing the folder"))
}

pub(crate) fn io_error(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> WalError {
    move |source| WalError::Io { path: path.to_path_buf(), doing, source }
}

fn damaged(path: &Path, offset: u64, why: String) -> WalError {
    WalError::Damaged { path: path.to_path_buf(), offset, why }
}

impl fmt::Display for WalError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let path = self.path().display();
        match self {
            WalError::Io { doing, source, .. } => write!(
                f,
                "{doing} {path}: {source}; check that data_dir is a folder this user may write \
                 to, on a sound disk with free space, then start the node again"
            ),
            WalError::Locked { .. } => write!(
                f,
                "{path} is locked: another node runs on this data_dir; stop it, or give this node \
                 a data_dir of its own"
            ),
            WalError::Damaged { offset, why, .. } => write!(
                f,
                "{path} is damaged at byte {offset}: {why}; the file is left as it is; restore it \
                 from a copy or retire this node, for with an empty data_dir it would forget what \
                 it has promised to others"
            ),
            WalError::Refused { offset, why, .. } => write!(
                f,
                "the record at byte {offset} of {path} makes no sense here: {why}; start the node \
                 with the version and configuration that wrote it"
            ),
            WalError::File { why, .. } => write!(f, "{path}: {why}"),
            WalError::TooLong { len, .. } => write!(
                f,
                "a batch of {len} bytes for {path} exceeds the limit of {MAX_BATCH_LEN}; make the \
                 requests smaller, then start the node again"
            ),
            WalError::NoRoom { bytes, room, .. } => write!(
                f,
                "the log in {path} has to be written anew, with {bytes} bytes, and the disk takes \
                 {room} more; make room, then start the node again"
            ),
            WalError::Poisoned { .. } => write!(
                f,
                "{path} takes no more after an error; see the first one in the node's output, \
                 then start the node again"
            ),
        }
    }
}

impl WalError {
    fn path(&self) -> &Path {
        match self {
            WalError::Io { path, .. }
            | WalError::Locked { path }
            | WalError::Damaged { path, .. }
            | WalError::Refused { path, .. }
            | WalError::File { path, .. }
            | WalError::TooLong { path, .. }
            | WalError::NoRoom { path, .. }
            | WalError::Poisoned { path } => path,
        }
    }
}

impl std::error::Error for WalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WalError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tempfile::{TempDir, tempdir};

    type Record = (u16, Vec<u8>);
    type Opened = (Wal, Recovery, Vec<Record>);

    fn open(dir: &Path) -> Result<Opened, WalError> {
        let mut records = Vec::new();
        let (wal, recovery) = Wal::open(dir, &mut |tag, bytes| {
            records.push((tag, bytes.to_vec()));
            Ok(())
        })?;
        assert_eq!(recovery.records, records.len() as u64);
        assert_eq!(recovery.bytes, wal.len());
        assert_eq!(wal.len(), fs::metadata(dir.join(LOG_NAME)).unwrap().len());
        Ok((wal, recovery, records))
    }

    fn body(records: &[Record]) -> Vec<u8> {
        let mut body = Vec::new();
        for (tag, bytes) in records {
            push_record(&mut body, *tag, bytes);
        }
        body
    }

    fn encoded(seq: u64, body: &[u8]) -> Vec<u8> {
        let header = BatchHeader { seq, len: body.len() as u32, body_crc: crc32c::crc32c(body) };
        [&header.encode()[..], body].concat()
    }

    /// The bytes of a log of these batches, and where each batch ends, the file header first.
    fn image(batches: &[Vec<Record>]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = FILE_HEADER.to_vec();
        let mut ends = vec![bytes.len()];
        for (seq, batch) in (1..).zip(batches) {
            bytes.extend(encoded(seq, &body(batch)));
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn small() -> Vec<Vec<Record>> {
        vec![
            vec![(1, b"first".to_vec()), (2, Vec::new())],
            vec![(3, vec![0; 9])],
            vec![(1, b"third".to_vec()), (u16::MAX, vec![0xFF; 3])],
        ]
    }

    fn with_log(bytes: &[u8]) -> TempDir {
        let dir = tempdir().unwrap();
        put(dir.path(), bytes);
        dir
    }

    fn put(dir: &Path, bytes: &[u8]) {
        fs::write(dir.join(LOG_NAME), bytes).unwrap();
    }

    fn log(dir: &Path) -> Vec<u8> {
        fs::read(dir.join(LOG_NAME)).unwrap()
    }

    /// Opens `bytes` as a log, and expects damage at `at` that leaves the file alone.
    fn assert_damaged(dir: &Path, bytes: &[u8], at: usize) {
        put(dir, bytes);
        match open(dir) {
            Err(WalError::Damaged { offset, .. }) => assert_eq!(offset, at as u64),
            other => panic!("{other:?}, not damage at {at}"),
        }
        assert_eq!(log(dir), bytes);
    }

    /// Opens `bytes` as a log, and expects just the first `whole` batches and the rest cut.
    fn assert_cut(dir: &Path, bytes: &[u8], batches: &[Vec<Record>], whole: usize) -> Wal {
        put(dir, bytes);
        let (clean, ends) = image(&batches[..whole]);
        let (wal, recovery, records) = open(dir).unwrap();
        assert_eq!(records, batches[..whole].concat());
        let offset = if bytes.len() < FILE_HEADER.len() { 0 } else { ends[whole] };
        let cut_bytes = (bytes.len() - offset) as u64;
        let torn = (cut_bytes > 0).then_some(Torn { offset: offset as u64, cut_bytes });
        assert_eq!(recovery.torn, torn);
        assert_eq!(log(dir), clean);
        wal
    }

    /// How many batches lie whole in the first `len` bytes.
    fn whole_batches(ends: &[usize], len: usize) -> usize {
        ends.iter().filter(|end| **end <= len).count().saturating_sub(1)
    }

    #[test]
    fn records_come_back_and_the_sequence_goes_on() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("some/new/folder");
        let batches = small();
        for (index, batch) in batches.iter().enumerate() {
            let (mut wal, recovery, records) = open(&path).unwrap();
            assert_eq!(records, batches[..index].concat());
            assert_eq!(recovery.torn, None);
            wal.append(&body(batch)).unwrap();
            wal.sync().unwrap();
            wal.sync().unwrap();
            wal.append(&[]).unwrap();
            assert!(!wal.dirty);
            assert_eq!(wal.len(), log(&path).len() as u64);
        }
        assert_eq!(log(&path), image(&batches).0);
    }

    #[test]
    fn a_batch_is_synced_before_the_next_is_written() {
        let dir = tempdir().unwrap();
        let (mut wal, ..) = open(dir.path()).unwrap();
        wal.append(&body(&[(1, vec![1])])).unwrap();
        // Syncing this fails, and a read-only file takes no write: which of the two is reported?
        wal.tail.file = File::open("/dev/null").unwrap();
        let error = wal.append(&body(&[(1, vec![2])])).unwrap_err();
        assert!(matches!(error, WalError::Io { doing: "syncing", .. }), "{error}");
    }

    #[test]
    fn truncation_at_every_offset_leaves_a_prefix_that_goes_on() {
        let dir = tempdir().unwrap();
        let batches = small();
        let (bytes, ends) = image(&batches);
        for len in 0..=bytes.len() {
            let whole = whole_batches(&ends, len);
            let mut wal = assert_cut(dir.path(), &bytes[..len], &batches, whole);
            let more = vec![(7, b"more".to_vec())];
            wal.append(&body(&more)).unwrap();
            drop(wal);
            let expected = [&batches[..whole], &[more]].concat();
            assert_eq!(log(dir.path()), image(&expected).0);
            assert_eq!(open(dir.path()).unwrap().2, expected.concat());
        }
    }

    #[test]
    fn a_flip_of_any_bit_is_damage_or_cuts_the_last_batch() {
        let dir = tempdir().unwrap();
        let batches = small();
        let (bytes, ends) = image(&batches);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if bit / 8 < FILE_HEADER.len() {
                assert_damaged(dir.path(), &flipped, 0);
                continue;
            }
            let hit = whole_batches(&ends, bit / 8);
            if hit + 1 < batches.len() {
                assert_damaged(dir.path(), &flipped, ends[hit]);
            } else {
                assert_cut(dir.path(), &flipped, &batches, hit);
            }
        }
    }

    #[test]
    fn a_zeroed_end_is_torn() {
        let dir = tempdir().unwrap();
        let batches = small();
        let (bytes, ends) = image(&batches);
        for zeros in [1, BATCH_HEADER_LEN, 3 * SCAN_LEN] {
            let padded = [&bytes[..], &vec![0; zeros]].concat();
            assert_cut(dir.path(), &padded, &batches, 3);
        }
        // The file has its full length, but the last pages never made it.
        for from in ends[2]..bytes.len() - 1 {
            let mut partial = bytes.clone();
            partial[from..].fill(0);
            assert_cut(dir.path(), &partial, &batches, 2);
        }
    }

    #[test]
    fn a_later_batch_is_found_at_any_distance() {
        let dir = tempdir().unwrap();
        let later = encoded(9, &body(&[(1, vec![1])]));
        let (bytes, ends) = image(&small());
        for shift in 0..2 * BATCH_HEADER_LEN {
            let noise = vec![BATCH_MAGIC[0]; 2 * SCAN_LEN - shift];
            assert_damaged(dir.path(), &[&bytes[..], &noise, &later].concat(), ends[3]);
        }
        assert_damaged(dir.path(), &[&bytes[..], &later].concat(), ends[3]);
        // An earlier one proves nothing about what is lost.
        assert_cut(dir.path(), &[&bytes[..], &bytes[8..]].concat(), &small(), 3);
    }

    #[test]
    fn a_record_that_quotes_a_batch_is_not_a_later_batch() {
        let dir = tempdir().unwrap();
        let mut batches = small();
        batches.push(vec![(1, encoded(99, b"quoted")), (1, vec![0; 50])]);
        let (mut bytes, _) = image(&batches);
        assert_cut(dir.path(), &bytes[..bytes.len() - 1], &batches, 3);
        *bytes.last_mut().unwrap() ^= 1;
        assert_cut(dir.path(), &bytes, &batches, 3);
    }

    #[test]
    fn sound_checksums_over_nonsense_are_damage() {
        let dir = tempdir().unwrap();
        let (bytes, ends) = image(&small());
        let whole = body(&[(1, vec![1]), (2, vec![2; 9])]);
        for len in [1, 5, 6, 8, whole.len() - 1] {
            let nonsense = [&bytes[..], &encoded(4, &whole[..len])].concat();
            assert_damaged(dir.path(), &nonsense, ends[3]);
        }
        let endless = BatchHeader { seq: 4, len: u32::MAX, body_crc: 0 };
        assert_damaged(dir.path(), &[&bytes[..], &endless.encode()].concat(), ends[3]);
        assert_damaged(dir.path(), b"NODE?", 0);
        assert_damaged(dir.path(), b"something else altogether", 0);
    }

    #[test]
    fn a_refused_record_is_named_by_its_offset() {
        let (bytes, ends) = image(&small());
        let dir = with_log(&bytes);
        let error = Wal::open(dir.path(), &mut |tag, _| {
            if tag == u16::MAX { Err("no such protocol".to_string()) } else { Ok(()) }
        })
        .unwrap_err();
        let at = (ends[2] + BATCH_HEADER_LEN + RECORD_HEADER_LEN + 5) as u64;
        assert!(matches!(error, WalError::Refused { offset, .. } if offset == at), "{error}");
        assert!(error.to_string().contains("no such protocol"));
        assert_eq!(log(dir.path()), bytes);
    }

    #[test]
    fn replace_keeps_just_what_is_streamed() {
        let dir = with_log(&image(&small()).0);
        let (mut wal, ..) = open(dir.path()).unwrap();
        // Enough for several batches, and one record larger than a batch aims to be.
        let mut kept: Vec<Record> = (0..300).map(|tag| (tag, vec![tag as u8; 5000])).collect();
        kept.push((300, vec![3; CHECKPOINT_BATCH_LEN + 1]));
        kept.push((301, Vec::new()));
        wal.append(&body(&[(9, b"superseded".to_vec())])).unwrap();
        wal.replace(&mut |sink| kept.iter().for_each(|(tag, bytes)| sink.record(*tag, bytes)))
            .unwrap();
        assert_eq!(wal.tail.next_seq, 5);
        assert!(!wal.dirty);
        kept.push((9, b"after".to_vec()));
        wal.append(&body(&kept[302..])).unwrap();
        wal.sync().unwrap();
        drop(wal);
        assert!(!dir.path().join(NEW_NAME).exists());
        let (mut wal, recovery, records) = open(dir.path()).unwrap();
        assert!(records == kept && recovery.torn.is_none());
        wal.replace(&mut |_| {}).unwrap();
        drop(wal);
        assert_eq!(log(dir.path()), FILE_HEADER);
        assert_eq!(open(dir.path()).unwrap().2, []);
    }

    #[test]
    fn a_crash_before_the_rename_changes_nothing() {
        let (bytes, _) = image(&small());
        let dir = with_log(&bytes);
        fs::write(dir.path().join(NEW_NAME), image(&small()[..1]).0).unwrap();
        assert_eq!(open(dir.path()).unwrap().2, small().concat());
        assert_eq!(log(dir.path()), bytes);
        assert!(!dir.path().join(NEW_NAME).exists());
    }

    #[test]
    fn two_nodes_cannot_share_a_folder() {
        let dir = tempdir().unwrap();
        let (wal, ..) = open(dir.path()).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, WalError::Locked { .. }));
        assert!(error.to_string().contains("another node"), "{error}");
        drop(wal);
        open(dir.path()).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_is_a_clear_error() {
        let dir = tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let error = open(&dir.path().join("file/data")).unwrap_err();
        let WalError::Io { path, doing, .. } = &error else { panic!("{error}") };
        assert_eq!(
            (path.as_path(), *doing),
            (&*dir.path().join("file/data"), "creating the folder")
        );
        assert!(error.to_string().contains("data_dir"), "{error}");
    }

    #[test]
    fn nothing_is_accepted_after_a_failure() {
        type Failure<'a> = &'a dyn Fn(&mut Wal) -> Result<(), WalError>;
        let batch = body(&[(1, vec![1])]);
        let failures: [Failure; 5] = [
            &|wal| {
                wal.tail.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
                wal.append(&batch)
            },
            &|wal| {
                wal.append(&batch)?;
                wal.tail.file = File::open("/dev/null").unwrap();
                wal.sync()
            },
            &|wal| {
                fs::create_dir(wal.dir.join(NEW_NAME)).unwrap();
                wal.replace(&mut |_| {})
            },
            &|wal| {
                wal.replace(&mut |sink| {
                    sink.tail.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
                    sink.record(1, &vec![0; CHECKPOINT_BATCH_LEN]);
                    sink.record(2, &[]);
                    // Later success does not cover up the failure.
                    sink.tail.file = tempfile::tempfile().unwrap();
                    sink.record(3, &vec![0; CHECKPOINT_BATCH_LEN]);
                })
            },
            &|wal| {
                let too_long = vec![0; MAX_BATCH_LEN + 1];
                wal.guarded(|wal| wal.tail.write_batch(&too_long))
            },
        ];
        for fail in failures {
            let dir = with_log(&image(&small()).0);
            let (mut wal, ..) = open(dir.path()).unwrap();
            let error = fail(&mut wal).unwrap_err();
            assert!(matches!(error, WalError::Io { .. } | WalError::TooLong { .. }), "{error}");
            for result in [wal.append(&batch), wal.sync(), wal.replace(&mut |_| {})] {
                assert!(matches!(result, Err(WalError::Poisoned { .. })));
            }
            drop(wal);
            let _ = fs::remove_dir(dir.path().join(NEW_NAME));
            assert!(open(dir.path()).unwrap().2.starts_with(&small().concat()));
        }
    }

    fn any_batches() -> impl Strategy<Value = Vec<Vec<Record>>> {
        let record = (any::<u16>(), prop::collection::vec(any::<u8>(), 0..200));
        prop::collection::vec(prop::collection::vec(record, 1..5), 0..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_truncation_recovers_a_prefix(batches in any_batches(), cut in 0.0..=1.0) {
            let dir = tempdir().unwrap();
            let (mut wal, ..) = open(dir.path()).unwrap();
            for batch in &batches {
                wal.append(&body(batch)).unwrap();
            }
            drop(wal);
            let (bytes, ends) = image(&batches);
            prop_assert_eq!(&log(dir.path()), &bytes);
            let len = (cut * bytes.len() as f64) as usize;
            assert_cut(dir.path(), &bytes[..len], &batches, whole_batches(&ends, len));
        }

        #[test]
        fn no_file_panics_or_yields_what_was_not_written(
            batches in any_batches(),
            at in any::<prop::sample::Index>(),
            noise in prop::collection::vec(any::<u8>(), 1..40),
        ) {
            let (mut bytes, _) = image(&batches);
            let at = at.index(bytes.len());
            bytes.splice(at..(at + noise.len()).min(bytes.len()), noise);
            let dir = with_log(&bytes);
            if let Ok((_, _, records)) = open(dir.path()) {
                prop_assert!(batches.concat().starts_with(&records));
            }
        }
    }
}
