//! The folder itself: its lock, the file that says whose it is, and the log that it has or gets.

use super::files;
use crate::wal::{LOG_NAME, Wal, WalError, io_error, sync_dir};
use node_lab::log::format::{Replayed, Unsound};
use node_lab::log::identity::{self, Claim};
use node_lab::log::recovery::{Verdict, recover};
use node_protocols::core::{Host, NodeId};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

pub(super) const LOCK_NAME: &str = "lock";
pub(super) const IDENTITY_NAME: &str = "identity";
/// What becomes the file `identity` by being renamed.
const NEW_IDENTITY_NAME: &str = "identity.new";
/// The file is a few lines: what is longer, this program did not write.
const MAX_IDENTITY_BYTES: u64 = 4 << 10;

/// A locked data directory, before its log is read.
#[derive(Debug)]
pub struct Directory {
    pub(super) path: PathBuf,
    pub(super) lock: File,
    claim: Claim,
    /// The text of the file `identity`, as it is or will be.
    text: String,
    identity: u128,
}

/// The log that a directory has after it was recovered.
#[derive(Debug)]
pub struct Log {
    pub(super) wal: Wal,
    /// Its predecessor was lost: the Host that was to take its records is to be made anew, and
    /// told.
    pub is_lost: bool,
}

impl Directory {
    /// Makes the folder if it is not there, locks it, and reads whose it is. A new one gets `fresh`
    /// for its identity.
    ///
    /// # Errors
    /// When it is another node's, runs already, or cannot be used.
    pub fn claim(
        path: &Path,
        cluster: &str,
        node: NodeId,
        fresh: u128,
    ) -> Result<Directory, WalError> {
        // A log comes after its folder was made durable, so its presence shows that it was.
        if !path.join(LOG_NAME).exists() {
            make_dir(path)?;
        }
        let lock = lock(path)?;
        let claim = match read_identity(&path.join(IDENTITY_NAME))? {
            None => Claim::New,
            Some(bytes) => identity::read(&bytes, cluster, node).map_err(|owner| {
                let path = path.to_path_buf();
                WalError::Elsewhere { path, cluster: owner.cluster, node: owner.node }
            })?,
        };
        let identity = match claim {
            Claim::Known(identity) => identity,
            Claim::New | Claim::Damaged => fresh,
        };
        let text = identity::encode(cluster, node, identity);
        Ok(Directory { path: path.into(), lock, claim, text, identity })
    }

    /// The directory's identity, or the one that it will have.
    pub fn identity(&self) -> u128 {
        self.identity
    }

    /// Gives the log's records to the Host. A log that cannot be taken, and whose records the
    /// node's peers have, is set aside under another name, and a new one begins.
    ///
    /// # Errors
    /// When the log cannot be taken and nobody else has its records, or the disk fails.
    pub fn recover(&self, host: &mut Host) -> Result<Log, WalError> {
        let path = self.path.join(LOG_NAME);
        let file = open_log(&path)?;
        let reading = io_error(&path, "reading");
        let verdict = match &file {
            None => recover(self.claim, None::<(&mut BufReader<&File>, u64)>, host),
            Some(file) => file.metadata().and_then(|found| {
                recover(self.claim, Some((&mut BufReader::new(file), found.len())), host)
            }),
        };
        match (verdict.map_err(reading)?, file) {
            (Verdict::Kept(replayed), Some(file)) => {
                let wal = self.go_on(file, &replayed)?;
                Ok(Log { wal, is_lost: false })
            }
            (Verdict::New | Verdict::Kept(_), _) => {
                // Before there is a log, so that a second look finds the same.
                files::check_unclaimed(&self.path, host)?;
                Ok(Log { wal: self.begin()?, is_lost: false })
            }
            (Verdict::Lost(what), _) => {
                files::check_unclaimed(&self.path, host)?;
                self.set_aside(&what)?;
                Ok(Log { wal: self.begin()?, is_lost: true })
            }
            (Verdict::Refused(what), _) => Err(WalError::Unsound { path, what }),
        }
    }

    fn go_on(&self, file: File, replayed: &Replayed) -> Result<Wal, WalError> {
        let Replayed { records, len, .. } = replayed;
        log::info!(target: "wal", "recovered {records} records from {len} bytes");
        if let Some(torn) = &replayed.torn {
            log::warn!(
                target: "wal",
                "{} bytes at the end of {}, from byte {} on, do not check out and are cut: a write \
                 that a crash cut short, or the last one before it, gone bad on the disk",
                torn.cut_bytes,
                self.path.join(LOG_NAME).display(),
                torn.offset
            );
        }
        Wal::resume(&self.path, self.identity, file, replayed)
    }

    /// A new log, and only then the file that says whose it is: where that is, a log has been.
    fn begin(&self) -> Result<Wal, WalError> {
        let wal = Wal::create(&self.path, self.identity)?;
        if let Claim::Known(_) = self.claim {
            return Ok(wal);
        }
        let (new, path) = (self.path.join(NEW_IDENTITY_NAME), self.path.join(IDENTITY_NAME));
        let mut file = File::create(&new).map_err(io_error(&new, "creating"))?;
        file.write_all(self.text.as_bytes()).map_err(io_error(&new, "writing"))?;
        file.sync_all().map_err(io_error(&new, "syncing"))?;
        fs::rename(&new, &path).map_err(io_error(&new, "renaming to identity"))?;
        sync_dir(&self.path)?;
        Ok(wal)
    }

    /// Nothing is deleted: somebody may want to know what was in it.
    fn set_aside(&self, what: &Unsound) -> Result<(), WalError> {
        let log = self.path.join(LOG_NAME);
        let mut aside = String::new();
        if let Some(kind) = what.name_aside() {
            let path = rename_aside(&log, kind)?;
            aside = format!("it is set aside as {}, and ", path.display());
        }
        if let Claim::Damaged = self.claim {
            rename_aside(&self.path.join(IDENTITY_NAME), "damaged")?;
        }
        sync_dir(&self.path)?;
        log::warn!(
            target: "wal",
            "{}: {what}: {aside}this node begins without it, and asks its peers for what it had",
            log.display()
        );
        Ok(())
    }
}

fn open_log(path: &Path) -> Result<Option<File>, WalError> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(path, "opening")(error)),
    }
}

fn read_identity(path: &Path) -> Result<Option<Vec<u8>>, WalError> {
    // Opening a pipe would wait for whoever writes to it.
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return Err(files::no_file(path));
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path, "opening")(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_IDENTITY_BYTES).read_to_end(&mut bytes).map_err(io_error(path, "reading"))?;
    Ok(Some(bytes))
}

/// Gives a file the first name of `NAME.KIND-1`, `NAME.KIND-2`, … that is free. Nobody else gives
/// names in a folder that is locked.
fn rename_aside(path: &Path, kind: &str) -> Result<PathBuf, WalError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let named = |n: u64| path.with_file_name(format!("{name}.{kind}-{n}"));
    let free = (1..).map(named).find(|path| path.symlink_metadata().is_err());
    let aside = free.unwrap_or_else(|| named(0));
    fs::rename(path, &aside).map_err(io_error(path, "setting aside"))?;
    Ok(aside)
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

fn lock(dir: &Path) -> Result<File, WalError> {
    let path = dir.join(LOCK_NAME);
    let file = File::create(&path).map_err(io_error(&path, "creating"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(WalError::Locked { path }),
        Err(TryLockError::Error(source)) => Err(io_error(&path, "locking")(source)),
    }
}
