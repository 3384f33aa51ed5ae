//! A node's data directory: the log, the files that protocols add to, and the order in which both
//! become durable. Knows the Host, and no protocol.
//!
//! A protocol's file is ahead of the log, never behind: what is appended is durable before the
//! record that tells of it. So at the start a file may be longer than the log knows, never shorter.
//!
//! It also tells the Host how much the disk still takes, so that protocols can refuse what would not
//! fit. A write that fails all the same, because another process was faster, is final as any is.

use crate::wal::{self, Wal, WalError, io_error, sync_dir};
use node_protocols::core::{Host, Time};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
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

/// A file that a protocol adds to.
struct Appended {
    tag: u16,
    file: File,
    path: PathBuf,
}

/// A log shorter than this is not worth a checkpoint; a longer one is rewritten when it has
/// doubled since the last.
const MIN_CHECKPOINT_BYTES: u64 = 64 << 20;

/// What the disk keeps free besides: parts of blocks, batch headers, bounds of the Lamport clock, and
/// what the file system needs for itself.
const ROOM_MARGIN: u64 = 64 << 10;
/// While there is less room, it is measured each turn.
const LOW_ROOM: u64 = 16 << 20;
/// While there is more, it is measured after so many bytes.
const MEASURE_EVERY: u64 = 1 << 20;
/// And after so long, since others write too.
const MEASURE_AFTER: Duration = Duration::from_secs(1);

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
        let is_new = recovery.is_new;
        let open = |(tag, name): (u16, &'static str)| open_file(tag, &dir.join(name), is_new, host);
        let files: Vec<Appended> = named.into_iter().map(open).collect::<Result<_, _>>()?;
        if !files.is_empty() {
            // A file that is new is only there for good once its name is.
            sync_dir(dir)?;
        }
        let checkpoint_at = checkpoint_at(wal.len());
        let room = Room { bytes: u64::MAX, until_measured: 0, measured: None, low: false };
        Ok(Disk { wal, files, sync, checkpoint_at, poisoned: false, dir: dir.into(), room })
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
        self.room.take(written as u64);
        if self.makes_checkpoint(host)? {
            self.wal.replace(&mut |sink| {
                host.snapshot(&mut |tag, record| sink.record(tag, record));
            })?;
            self.checkpoint_at = checkpoint_at(self.wal.len());
            self.room.until_measured = 0;
            log::info!(target: "wal", "checkpoint: the log has {} bytes now", self.wal.len());
        } else if !outbox.records().is_empty() {
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
            host.snapshot(&mut |_, record| bytes += wal::record_len(record));
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

/// Opens a protocol's file. Nothing is cut that this node may not have written: a crash leaves no file
/// without a log, and cuts in the middle of no line.
fn open_file(tag: u16, path: &Path, is_new: bool, host: &mut Host) -> Result<Appended, WalError> {
    let refused = |why: &str| WalError::File { path: path.into(), why: why.into() };
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => return Err(refused("it is no file: move it away")),
        Ok(found) if is_new && found.len() > 0 => {
            return Err(refused(
                "there is no log beside it, so it is another's, or the log is lost: move it away, or \
                 put the log back",
            ));
        }
        Ok(_) | Err(_) => {}
    }
    let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
    let mut file = opened.map_err(io_error(path, "opening"))?;
    let length = file.metadata().map_err(io_error(path, "looking at"))?.len();
    let kept = host.handle_file(tag, length).map_err(|corrupt| refused(corrupt.0))?;
    if let Some(last) = kept.checked_sub(1) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, last).map_err(io_error(path, "reading"))?;
        if byte != *b"\n" {
            return Err(refused(
                "what the log tells of ends in the middle of a line: it was changed, put it back",
            ));
        }
    }
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

impl Room {
    fn take(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.until_measured = self.until_measured.saturating_sub(bytes);
    }
}

fn checkpoint_at(len: u64) -> u64 {
    (2 * len).max(MIN_CHECKPOINT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use node_protocols::core::{
        Caller, ClientId, Env, LamportRule, NodeId, Now, RequestId, WallTime, encode, erase,
    };
    use node_protocols::lottery::{Config, Lottery, Request};

    fn host() -> Host {
        let env = Env {
            id: NodeId(1),
            peers: vec![],
            incarnation: 1,
            identity: 1,
            seed: 1,
            durable: true,
        };
        let protocol = erase::<Lottery>(Config::default(), &env).unwrap();
        Host::new(&env, vec![protocol], LamportRule::MaxPlusOne)
    }

    /// Has something persisted.
    fn persist(host: &mut Host, agency: u32) {
        let mut request = Vec::new();
        encode(&Request::Finished { agency }, &mut request);
        let client = ClientId { slot: 0, generation: 0 };
        let addr = ([127, 0, 0, 1], 1).into();
        let caller = Caller { request: RequestId { client, sequence: 0 }, addr };
        let now = Now { time: Time(0), wall: WallTime(0) };
        host.handle_request(0, caller, &request, now).unwrap();
        host.outbox_mut().clear_effects();
    }

    #[test]
    fn a_checkpoint_waits_for_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = host();
        let mut disk = Disk::open(dir.path(), true, &mut host).unwrap();
        (disk.checkpoint_at, disk.room.bytes) = (0, 20);
        let before = disk.wal.len();
        persist(&mut host, 1);
        disk.write(&mut host).unwrap();
        assert!(disk.wal.len() > before, "the record is in the old log");
        assert!(disk.checkpoint_at > MIN_CHECKPOINT_BYTES, "it is not due each turn");
        (disk.checkpoint_at, disk.room.bytes) = (0, 10_000);
        persist(&mut host, 2);
        disk.write(&mut host).unwrap();
        assert_eq!(disk.checkpoint_at, MIN_CHECKPOINT_BYTES, "it was made");
        drop(disk);
        let mut again = self::host();
        Disk::open(dir.path(), true, &mut again).unwrap();
        assert_eq!(again.digest(), host.digest());
    }

    #[test]
    fn room_is_measured_again_when_it_is_old_or_little_or_used_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = host();
        let mut disk = Disk::open(dir.path(), true, &mut host).unwrap();
        let mut measures = |disk: &mut Disk, seconds: u64| {
            disk.room.bytes = 1;
            disk.measure(Time(seconds * 1_000_000_000), &mut host);
            disk.room.bytes != 1
        };
        assert!(measures(&mut disk, 1));
        disk.room.low = false;
        assert!(!measures(&mut disk, 1));
        assert!(measures(&mut disk, 2), "it is old");
        disk.room.low = true;
        assert!(measures(&mut disk, 2), "it was little");
        disk.room.low = false;
        disk.room.take(MEASURE_EVERY);
        assert!(measures(&mut disk, 2), "much was written");
    }
}
