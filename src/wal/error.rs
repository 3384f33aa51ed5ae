//! What can go wrong with a data directory, and what to do then.

use node_lab::log::format::{MAX_BATCH_LEN, Unsound};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a data directory cannot be used, or not any more.
#[derive(Debug)]
pub enum WalError {
    /// The system refuses something.
    Io {
        /// To what.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// Another process has the directory open.
    Locked {
        /// The lock.
        path: PathBuf,
    },
    /// The directory is another node's.
    Elsewhere {
        /// The directory.
        path: PathBuf,
        /// The cluster whose it is.
        cluster: String,
        /// The node whose it is.
        node: u32,
    },
    /// The log cannot be taken.
    Unsound {
        /// The log.
        path: PathBuf,
        /// Why.
        what: Unsound,
    },
    /// A protocol's own file is not what the log tells of.
    File {
        /// The file.
        path: PathBuf,
        /// How it differs.
        why: String,
    },
    /// What this node writes to is not what its path names any more.
    Vanished {
        /// The path.
        path: PathBuf,
        /// What is there now.
        now: String,
    },
    /// The log has not the length that this node gave it: another process truncated it, or wrote to it.
    Changed {
        /// The log.
        path: PathBuf,
        /// How many bytes it has.
        length: u64,
        /// How many this node has written.
        written: u64,
    },
    /// What is to be written is longer than a batch may be.
    TooLong {
        /// The log.
        path: PathBuf,
        /// How long.
        len: usize,
    },
    /// A checkpoint would not fit, and was not begun.
    NoRoom {
        /// The directory.
        path: PathBuf,
        /// What it would take.
        bytes: u64,
        /// What the disk takes.
        room: u64,
    },
    /// An earlier operation failed; nothing is accepted after it.
    Poisoned {
        /// The file.
        path: PathBuf,
    },
}

pub(crate) fn io_error(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> WalError {
    move |source| WalError::Io { path: path.to_path_buf(), doing, source }
}

impl fmt::Display for WalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
            WalError::Elsewhere { cluster, node, .. } => write!(
                f,
                "{path} is the data directory of node {node} of the cluster {cluster:?}; name this \
                 node's own, or an empty one, or put id and cluster right"
            ),
            WalError::Unsound { what, .. } => write!(f, "{path}: {what}; {}", advice(what)),
            WalError::File { why, .. } => write!(f, "{path}: {why}"),
            WalError::Vanished { now, .. } => write!(
                f,
                "{path} is not what this node writes to: {now}; what it has promised since is not \
                 there; put the data_dir back where it was, then start the node again"
            ),
            WalError::Changed { length, written, .. } => write!(
                f,
                "{path} has {length} bytes, and this node has written {written}: another process \
                 truncated or replaced it, and what this node has promised may not be there; find \
                 out which, and put this node's own log back whole, or move what is left of it \
                 away; then start the node again"
            ),
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

/// What to do about a log that this node needs.
fn advice(what: &Unsound) -> &'static str {
    match what {
        Unsound::Damaged { .. } => {
            "the file is left as it is; restore it from a copy or retire this node, for with an \
             empty data_dir it would forget what it has promised to others"
        }
        Unsound::Refused { .. } => {
            "start the node with the version and configuration that wrote it"
        }
        Unsound::Foreign { .. } => {
            "the file is left as it is; put this node's own log back, or name the data_dir that it \
             came from"
        }
        Unsound::Unclaimed { .. } => {
            "the files are left as they are; put the whole data_dir back from a copy"
        }
        Unsound::Gone => {
            "put it back, for this node would forget what it has promised to others; to begin \
             anew, name an empty data_dir"
        }
        Unsound::Old => {
            "start the node with the version that wrote it, or begin anew with an empty data_dir"
        }
    }
}

impl WalError {
    fn path(&self) -> &Path {
        match self {
            WalError::Io { path, .. }
            | WalError::Locked { path }
            | WalError::Elsewhere { path, .. }
            | WalError::Unsound { path, .. }
            | WalError::File { path, .. }
            | WalError::Vanished { path, .. }
            | WalError::Changed { path, .. }
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
            WalError::Locked { .. }
            | WalError::Elsewhere { .. }
            | WalError::Unsound { .. }
            | WalError::File { .. }
            | WalError::Vanished { .. }
            | WalError::Changed { .. }
            | WalError::TooLong { .. }
            | WalError::NoRoom { .. }
            | WalError::Poisoned { .. } => None,
        }
    }
}
