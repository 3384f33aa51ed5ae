//! A node's data directory: whose it is, the log, the files that protocols add to, and the order in
//! which both become durable. Knows the Host, and no protocol.
//!
//! ```text
//!   identity    whose the directory is: cluster, node, and a random identity made with it
//!   lock        keeps a second process out
//!   log         the write-ahead log; its header carries the identity
//!   bets.csv …  what protocols add to
//! ```
//!
//! A protocol's file is ahead of the log, never behind: what is appended is durable before the
//! record that tells of it. So at the start a file may be longer than the log knows, never shorter.
//!
//! It also tells the Host how much the disk still takes, so that protocols can refuse what would
//! not fit. A write that fails all the same, because another process was faster, is final as any
//! is.

mod directory;
mod files;
mod watch;

pub use self::directory::{Directory, Log};

use self::directory::{IDENTITY_NAME, LOCK_NAME};
use self::files::Appended;
use self::watch::Watched;
use crate::wal::{Wal, WalError, io_error, sync_dir};
use node_lab::log::{MIN_CHECKPOINT_BYTES, checkpoint_at};
use node_protocols::core::{Host, RECORD_HEADER_LEN, Time};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

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
    dir: PathBuf,
    room: Room,
    /// What must not vanish but the log, whose file changes with each checkpoint.
    watched: Vec<Watched>,
    log: Watched,
    /// When it is looked at again.
    look_at: Option<Time>,
    /// Open as long as the node runs: the lock holds, and no number of these is given to others.
    _held: [File; 3],
}

/// How much the disk takes, as it was measured last, less what was written since.
struct Room {
    bytes: u64,
    /// How much is written before it is measured again.
    until_measured: u64,
    measured: Option<Time>,
    /// It was little, and that was told.
    low: bool,
}

/// What the disk keeps free besides: parts of blocks, batch headers, bounds of the Lamport clock,
/// and what the file system needs for itself.
const ROOM_MARGIN: u64 = 64 << 10;
/// While there is less room, it is measured each turn.
const LOW_ROOM: u64 = 16 << 20;
/// While there is more, it is measured after so many bytes.
const MEASURE_EVERY: u64 = 1 << 20;
/// And after so long, since others write too.
const MEASURE_AFTER: Duration = Duration::from_secs(1);
/// How often the directory is looked at: so often that one that vanished is noticed within a
/// second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Disk {
    /// Opens what protocols add to, and cuts what of it the log does not tell of. The Host has the
    /// log's records, or was told that it was lost.
    ///
    /// # Errors
    /// When a file is not what the log tells of, or the disk fails.
    pub fn open(
        directory: Directory,
        log: Log,
        sync: bool,
        host: &mut Host,
    ) -> Result<Disk, WalError> {
        let Directory { path: dir, lock, .. } = directory;
        let Log { mut wal, .. } = log;
        wal.set_sync(sync);
        let named: Vec<(u16, &'static str)> = host.files().collect();
        let open = |(tag, name): (u16, &'static str)| files::open(tag, &dir.join(name), host);
        let files: Vec<Appended> = named.into_iter().map(open).collect::<Result<_, _>>()?;
        if !files.is_empty() {
            // A file that is new is only there for good once its name is.
            sync_dir(&dir)?;
        }
        let held = |path: &PathBuf| File::open(path).map_err(io_error(path, "opening"));
        let identity_path = dir.join(IDENTITY_NAME);
        let (folder, identity) = (held(&dir)?, held(&identity_path)?);
        let mut watched = vec![
            Watched::new(&dir, &folder)?,
            Watched::new(&identity_path, &identity)?,
            Watched::new(&dir.join(LOCK_NAME), &lock)?,
        ];
        for Appended { file, path, .. } in &files {
            watched.push(Watched::new(path, file)?);
        }
        let room = Room { bytes: u64::MAX, until_measured: 0, measured: None, low: false };
        Ok(Disk {
            checkpoint_at: checkpoint_at(wal.len()),
            log: Watched::new(wal.path(), wal.file())?,
            wal,
            files,
            sync,
            poisoned: false,
            dir,
            room,
            watched,
            look_at: None,
            _held: [folder, identity, lock],
        })
    }

    /// Looks whether what the node writes to is still in its place, and the log as long as it was
    /// made, when it is time to.
    ///
    /// # Errors
    /// When it is not.
    pub fn look(&mut self, now: Time) -> Result<(), WalError> {
        if self.look_at.is_some_and(|at| now < at) {
            return Ok(());
        }
        self.look_at = Some(now + LOOK_EVERY);
        self.watched.iter().chain([&self.log]).try_for_each(Watched::look)?;
        self.wal.check_length()
    }

    /// When it is time to look again.
    pub fn look_at(&self) -> Option<Time> {
        self.look_at
    }

    /// Tells the Host how much the disk takes. For the beginning of a turn: it asks the system only
    /// when what it knows is old, or little.
    pub fn measure(&mut self, now: Time, host: &mut Host) {
        let Room { until_measured, measured, low, .. } = self.room;
        let is_old = measured.is_none_or(|at| now - at >= MEASURE_AFTER);
        if !low && !is_old && until_measured > 0 {
            return;
        }
        // A file system that does not say is taken to have room, as all are where nobody asks.
        let free = rustix::fs::statvfs(&self.dir)
            .map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        let bytes = free.saturating_sub(ROOM_MARGIN);
        let is_low = bytes < LOW_ROOM;
        let dir = self.dir.display();
        match (low, is_low) {
            (false, true) => log::warn!(
                target: "wal",
                "the disk of {dir} has room for {bytes} bytes only: make room"
            ),
            (true, false) => log::info!(target: "wal", "the disk of {dir} has room again"),
            (false, false) | (true, true) => {}
        }
        self.room = Room { bytes, until_measured: MEASURE_EVERY, measured: Some(now), low: is_low };
        host.set_room(bytes);
    }

    /// What is in protocols' files, by their tags.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn contents(&self) -> std::io::Result<Vec<(u16, Vec<u8>)>> {
        self.files.iter().map(|file| Ok((file.tag, std::fs::read(&file.path)?))).collect()
    }

    /// Makes what the Host's outbox asks for durable, files first, and answers how many bytes
    /// that were. A failure is final: nothing is written after it.
    ///
    /// # Errors
    /// The disk failed: fatal, and never tried again.
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
        self.room.take(written as u64);
        if self.makes_checkpoint(host)? {
            self.wal.replace(&mut |sink| {
                host.snapshot(&mut |tag, record| sink.record(tag, record));
            })?;
            self.log = Watched::new(self.wal.path(), self.wal.file())?;
            self.checkpoint_at = checkpoint_at(self.wal.len());
            self.room.until_measured = 0;
            log::info!(target: "wal", "checkpoint: the log has {} bytes now", self.wal.len());
        } else if !outbox.records().is_empty() {
            // What is written behind a hole would hide that something is missing until the next
            // start.
            self.wal.check_length()?;
            self.wal.append(outbox.records())?;
            self.wal.sync()?;
        }
        host.outbox_mut().clear_records();
        host.set_room(self.room.bytes);
        Ok(written)
    }

    /// Whether the log is rewritten now. That is not begun without room for the new log beside the
    /// old: one that is due waits, one that a protocol asked for cannot.
    fn makes_checkpoint(&mut self, host: &Host) -> Result<bool, WalError> {
        let (outbox, room) = (host.outbox(), self.room.bytes);
        if outbox.checkpoint() {
            let mut bytes = 0;
            host.snapshot(&mut |_, record| bytes += (RECORD_HEADER_LEN + record.len()) as u64);
            return match bytes <= room {
                true => Ok(true),
                false => Err(WalError::NoRoom { path: self.dir.clone(), bytes, room }),
            };
        }
        let log = self.wal.len() + outbox.records().len() as u64;
        if outbox.records().is_empty() || log <= self.checkpoint_at {
            return Ok(false);
        }
        // What a snapshot has is in the log, in more records.
        if log <= room {
            return Ok(true);
        }
        self.checkpoint_at = log + MIN_CHECKPOINT_BYTES;
        log::warn!(
            target: "wal",
            "no room for a checkpoint: the log has {log} bytes and grows, and the disk takes {room} more"
        );
        Ok(false)
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

impl Room {
    fn take(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.until_measured = self.until_measured.saturating_sub(bytes);
    }
}

#[cfg(test)]
#[path = "../lab/log/testing.rs"]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
