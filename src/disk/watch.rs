//! Whether what a node writes to is still what its paths name. A folder that was deleted, renamed
//! or unmounted takes writes and syncs as before, and nobody finds them again.

use crate::wal::{WalError, io_error};
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A path, and what it named when it was opened.
#[derive(Debug)]
pub(super) struct Watched {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Watched {
    /// What is open, under the path by which it was.
    pub(super) fn new(path: &Path, file: &File) -> Result<Watched, WalError> {
        let found = file.metadata().map_err(io_error(path, "looking at"))?;
        Ok(Watched { path: path.into(), device: found.dev(), inode: found.ino() })
    }

    /// Whether the path still names it.
    pub(super) fn look(&self) -> Result<(), WalError> {
        let vanished = |now: String| WalError::Vanished { path: self.path.clone(), now };
        let same = |found: &Metadata| (found.dev(), found.ino()) == (self.device, self.inode);
        match fs::metadata(&self.path) {
            Ok(found) if same(&found) => Ok(()),
            Ok(_) => Err(vanished("something else is there".into())),
            Err(error) => Err(vanished(error.to_string())),
        }
    }
}
