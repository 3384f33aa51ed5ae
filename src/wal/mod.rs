//! The write-ahead log of one node: the file `log` in its data_dir.
//!
//! Records are opaque bytes under a tag. This module must not know which protocol a tag names,
//! what a record says, or when the event loop syncs; it promises only that what was synced is read
//! back, in order, and that nothing else ever is. The bytes are in [`format`], which knows no file.

mod error;

pub use self::error::WalError;
pub(crate) use self::error::io_error;

use node_lab::log::format::{Replayed, Sink, Tail, WriteError};
use std::fs::{self, File};
use std::io::{ErrorKind, Seek, SeekFrom};
use std::path::{Path, PathBuf};

pub(crate) const LOG_NAME: &str = "log";
/// A log under construction. It counts for nothing until it is renamed to `log`.
const NEW_NAME: &str = "log.new";

/// An open log.
#[derive(Debug)]
pub struct Wal {
    dir: PathBuf,
    path: PathBuf,
    /// What its header carries, and that of every log in its place.
    identity: u128,
    tail: Tail<File>,
    /// A batch is written that no sync covers yet.
    dirty: bool,
    /// An operation failed or is under way. A failed fsync may have dropped the very pages it did
    /// not write, so that a second one succeeds without them: only a restart tells what is there.
    poisoned: bool,
    /// Whether `sync` syncs; without it a batch is the operating system's once it is written.
    syncs: bool,
}

impl Wal {
    /// Begins an empty log in a folder. What stands in its place is gone once it is whole.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn create(dir: &Path, identity: u128) -> Result<Wal, WalError> {
        let tail = install(Wal::sink(dir, identity)?, dir)?;
        Wal::new(dir, identity, tail)
    }

    /// Goes on with a log that was read back: cuts its torn end, and readies it for appends.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn resume(
        dir: &Path,
        identity: u128,
        mut file: File,
        replayed: &Replayed,
    ) -> Result<Wal, WalError> {
        let path = dir.join(LOG_NAME);
        if replayed.torn.is_some() {
            file.set_len(replayed.len).map_err(io_error(&path, "cutting the end of"))?;
        }
        file.seek(SeekFrom::Start(replayed.len)).map_err(io_error(&path, "seeking in"))?;
        Wal::new(dir, identity, Tail::resume(file, replayed.len, replayed.next_seq))
    }

    fn new(dir: &Path, identity: u128, tail: Tail<File>) -> Result<Wal, WalError> {
        let path = dir.join(LOG_NAME);
        remove_leftover(&dir.join(NEW_NAME))?;
        // What was just read may sit only in the page cache: a node killed between write and sync,
        // or between rename and folder sync, leaves it so. The consumer acts on it from here on.
        tail.out.sync_all().map_err(io_error(&path, "syncing"))?;
        sync_dir(dir)?;
        let dir = dir.to_path_buf();
        Ok(Wal { dir, path, identity, tail, dirty: false, poisoned: false, syncs: true })
    }

    /// Writes one batch. `records` is a body that `push_record` built. Durable only after `sync`.
    ///
    /// # Errors
    /// When the disk refuses; the log takes nothing more then.
    pub fn append(&mut self, records: &[u8]) -> Result<(), WalError> {
        debug_assert!(
            node_lab::log::format::is_well_framed(records),
            "a body is made by push_record"
        );
        self.guarded(|wal| {
            if records.is_empty() {
                return Ok(());
            }
            // Two batches in flight may reach the disk in either order, and the second without
            // the first reads as damage.
            wal.settle()?;
            wal.dirty = true;
            wal.tail.write_batch(records).map_err(|error| wal.failed(error, LOG_NAME))
        })
    }

    /// Whether batches are synced, which is so at first. Otherwise they survive the process, and
    /// not the machine: after a power failure the log may be damaged.
    pub fn set_sync(&mut self, sync: bool) {
        self.syncs = sync;
    }

    /// Makes every batch appended so far durable.
    ///
    /// # Errors
    /// When the disk refuses; the log takes nothing more then.
    pub fn sync(&mut self) -> Result<(), WalError> {
        self.guarded(Wal::settle)
    }

    /// Checkpoint: puts a log of just the records that `fill` streams in the place of this one.
    /// A crash at any point leaves either the old log or the new one, whole.
    ///
    /// # Errors
    /// When the disk refuses; the log takes nothing more then.
    pub fn replace(&mut self, fill: &mut dyn FnMut(&mut Sink<File>)) -> Result<(), WalError> {
        self.guarded(|wal| {
            let mut sink = Wal::sink(&wal.dir, wal.identity)?;
            fill(&mut sink);
            wal.tail = install(sink, &wal.dir)?;
            wal.dirty = false;
            Ok(())
        })
    }

    /// Bytes in the file.
    #[expect(clippy::len_without_is_empty, reason = "the file always holds its header")]
    pub fn len(&self) -> u64 {
        self.tail.len
    }

    /// Whether the file is as long as this made it. Nobody else writes to it.
    ///
    /// # Errors
    /// When it is not.
    pub fn check_length(&self) -> Result<(), WalError> {
        let found = self.tail.out.metadata().map_err(io_error(&self.path, "looking at"))?;
        let (length, written) = (found.len(), self.tail.len);
        if length != written {
            return Err(WalError::Changed { path: self.path.clone(), length, written });
        }
        Ok(())
    }

    /// The file under the name `log`.
    pub fn file(&self) -> &File {
        &self.tail.out
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn sink(dir: &Path, identity: u128) -> Result<Sink<File>, WalError> {
        let path = dir.join(NEW_NAME);
        let file = File::create(&path).map_err(io_error(&path, "creating"))?;
        Sink::create(file, identity).map_err(io_error(&path, "writing"))
    }

    fn failed(&self, error: WriteError, name: &str) -> WalError {
        failed(self.dir.join(name), error)
    }

    /// Runs `op` so that every way out of it but success, a panic included, poisons the log.
    fn guarded(
        &mut self,
        op: impl FnOnce(&mut Wal) -> Result<(), WalError>,
    ) -> Result<(), WalError> {
        if self.poisoned {
            return Err(WalError::Poisoned { path: self.path.clone() });
        }
        self.poisoned = true;
        op(self)?;
        self.poisoned = false;
        Ok(())
    }

    fn settle(&mut self) -> Result<(), WalError> {
        if self.dirty && self.syncs {
            self.tail.out.sync_data().map_err(io_error(&self.path, "syncing"))?;
            self.dirty = false;
        }
        Ok(())
    }
}

/// Makes a new log durable, and only then the log of the folder.
fn install(sink: Sink<File>, dir: &Path) -> Result<Tail<File>, WalError> {
    let (new, path) = (dir.join(NEW_NAME), dir.join(LOG_NAME));
    let tail = sink.finish().map_err(|error| failed(new.clone(), error))?;
    tail.out.sync_all().map_err(io_error(&new, "syncing"))?;
    fs::rename(&new, &path).map_err(io_error(&new, "renaming to log"))?;
    sync_dir(dir)?;
    Ok(tail)
}

fn failed(path: PathBuf, error: WriteError) -> WalError {
    match error {
        WriteError::Io(source) => WalError::Io { path, doing: "writing", source },
        WriteError::TooLong(too_long) => WalError::TooLong { path, len: too_long.len },
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

#[cfg(test)]
mod tests;
