//! A node's data directory: the log, the files that protocols add to, and the order in which both
//! become durable. Knows the Host, and no protocol.
//!
//! A protocol's file is ahead of the log, never behind: what is appended is durable before the
//! record that tells of it. So at the start a file may be longer than the log knows, never shorter.

use crate::wal::{Wal, WalError, io_error, sync_dir};
use node_protocols::core::Host;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// An open data directory.
pub struct Disk {
    wal: Wal,
    files: Vec<Appended>,
    /// Whether what is written is synced before anything leaves the node.
    sync: bool,
    /// The log's length at which the next checkpoint is made.
    checkpoint_at: u64,
    /// A file could not be written, and may hold a part of what was to be appended.
    poisoned: bool,
}

/// A file that a protocol adds to.
struct Appended {
    tag: u16,
    file: File,
    path: PathBuf,
}

/// A log shorter than this is not worth a checkpoint; a longer one is rewritten when it has
/// doubled since the last.
const MIN_CHECKPOINT_BYTES: u64 = 64 << 20;

impl Disk {
    /// Locks the folder, gives the log's records and the files' lengths to the Host, and cuts what
    /// of either was never acknowledged.
    pub fn open(dir: &Path, sync: bool, host: &mut Host) -> Result<Disk, WalError> {
        let mut give_back = |tag, record: &[u8]| {
            host.handle_record(tag, record).map_err(|corrupt| corrupt.to_string())
        };
        let (mut wal, recovery) = Wal::open(dir, &mut give_back)?;
        wal.set_sync(sync);
        let (records, bytes) = (recovery.records, recovery.bytes);
        log::info!(target: "wal", "recovered {records} records from {bytes} bytes");
        if let Some(torn) = recovery.torn {
            log::warn!(
                target: "wal",
                "the log ended in the middle of a write at offset {}: {} bytes that were never \
                 acknowledged are cut",
                torn.offset,
                torn.cut_bytes
            );
        }
        let named: Vec<(u16, &'static str)> = host.files().collect();
        let open = |(tag, name): (u16, &'static str)| open_file(tag, &dir.join(name), host);
        let files: Vec<Appended> = named.into_iter().map(open).collect::<Result<_, _>>()?;
        if !files.is_empty() {
            // A file that is new is only there for good once its name is.
            sync_dir(dir)?;
        }
        let checkpoint_at = checkpoint_at(wal.len());
        Ok(Disk { wal, files, sync, checkpoint_at, poisoned: false })
    }

    /// Makes what the Host's outbox asks for durable, files first, and answers how many bytes
    /// that were. A failure is final: nothing is written after it.
    pub fn write(&mut self, host: &mut Host) -> Result<usize, WalError> {
        let outbox = host.outbox();
        if !outbox.has_to_be_durable() {
            return Ok(0);
        }
        let mut written = outbox.records().len();
        for (tag, bytes) in outbox.files() {
            self.append(tag, bytes)?;
            written += bytes.len();
        }
        let due = self.wal.len() + outbox.records().len() as u64 > self.checkpoint_at;
        if outbox.checkpoint() || (due && !outbox.records().is_empty()) {
            self.wal.replace(&mut |sink| {
                host.snapshot(&mut |tag, record| sink.record(tag, record));
            })?;
            self.checkpoint_at = checkpoint_at(self.wal.len());
            log::info!(target: "wal", "checkpoint: the log has {} bytes now", self.wal.len());
        } else if !outbox.records().is_empty() {
            self.wal.append(outbox.records())?;
            self.wal.sync()?;
        }
        host.outbox_mut().clear_records();
        Ok(written)
    }

    fn append(&mut self, tag: u16, bytes: &[u8]) -> Result<(), WalError> {
        let Some(place) = self.files.iter().position(|file| file.tag == tag) else {
            // The files were opened by what the protocols declare.
            return Ok(());
        };
        let Appended { file, path, .. } = &mut self.files[place];
        if self.poisoned {
            return Err(WalError::Poisoned { path: path.clone() });
        }
        self.poisoned = true;
        file.write_all(bytes).map_err(io_error(path, "writing"))?;
        if self.sync {
            file.sync_data().map_err(io_error(path, "syncing"))?;
        }
        self.poisoned = false;
        Ok(())
    }
}

fn open_file(tag: u16, path: &Path, host: &mut Host) -> Result<Appended, WalError> {
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let mut file = opened.map_err(io_error(path, "opening"))?;
    let length = file.metadata().map_err(io_error(path, "looking at"))?.len();
    let kept = host.handle_file(tag, length).map_err(|corrupt| WalError::Refused {
        path: path.into(),
        offset: length,
        why: corrupt.to_string(),
    })?;
    if kept < length {
        let cut = length - kept;
        log::warn!(
            target: "wal",
            "{} ended with {cut} bytes that were never acknowledged: they are cut",
            path.display()
        );
        file.set_len(kept).map_err(io_error(path, "cutting"))?;
    }
    // What is there may sit only in the page cache, and the log may speak of it.
    file.sync_all().map_err(io_error(path, "syncing"))?;
    file.seek(SeekFrom::End(0)).map_err(io_error(path, "seeking in"))?;
    Ok(Appended { tag, file, path: path.into() })
}

fn checkpoint_at(len: u64) -> u64 {
    (2 * len).max(MIN_CHECKPOINT_BYTES)
}
