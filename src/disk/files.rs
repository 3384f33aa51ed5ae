//! The files that protocols add to, beside the log.

use crate::wal::{WalError, io_error};
use node_protocols::core::Host;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A file that a protocol adds to.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) tag: u16,
    pub(super) file: File,
    pub(super) path: PathBuf,
}

/// Whether a folder without a log is free of what its files may be: then they are another's, or the
/// log is lost.
pub(super) fn check_unclaimed(dir: &Path, host: &Host) -> Result<(), WalError> {
    for (_, name) in host.files() {
        let path = dir.join(name);
        match path.symlink_metadata() {
            Ok(found) if !found.is_file() => return Err(no_file(&path)),
            Ok(found) if found.len() > 0 => {
                let why = "there is no log beside it, so it is another's, or the log is lost: move \
                           it away, or put the log back";
                return Err(WalError::File { path, why: why.into() });
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// Opens a protocol's file, and cuts what the log does not tell of. In the middle of no line: what
/// a crash leaves behind begins with one.
pub(super) fn open(tag: u16, path: &Path, host: &mut Host) -> Result<Appended, WalError> {
    let refused = |why: &str| WalError::File { path: path.into(), why: why.into() };
    if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return Err(no_file(path));
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
            "{cut} bytes at the end of {} are not in the log, and are cut: a write that a crash \
             cut short, unless the log's own end was cut",
            path.display()
        );
        file.set_len(kept).map_err(io_error(path, "cutting"))?;
    }
    // What is there may sit only in the page cache, and the log may speak of it.
    file.sync_all().map_err(io_error(path, "syncing"))?;
    file.seek(SeekFrom::End(0)).map_err(io_error(path, "seeking in"))?;
    Ok(Appended { tag, file, path: path.into() })
}

pub(super) fn no_file(path: &Path) -> WalError {
    WalError::File { path: path.into(), why: "it is no file: move it away".into() }
}
