//! What a node does with the log that it finds: the same on a real disk and on a simulated one.
//! Knows bytes, no file.

use super::identity::Claim;
use crate::log::format::{FILE_HEADER_LEN, Replayed, Start, Unsound, read_start, replay};
use node_core::{HOST_TAG, Host};
use std::io::{self, Read, Seek};

/// What becomes of a directory's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// There was none: the directory is new.
    New,
    /// The Host has its records.
    Kept(Replayed),
    /// It is set aside, and the node begins without it: its peers have what it had. The Host may
    /// have taken records from it, and is of no use.
    Lost(Unsound),
    /// The node does not start.
    Refused(Unsound),
}

/// Reads a log of so many bytes into a Host. `claim` is what its directory says.
///
/// # Errors
/// When it cannot be read.
pub fn recover(
    claim: Claim,
    log: Option<(&mut (impl Read + Seek), u64)>,
    host: &mut Host,
) -> io::Result<Verdict> {
    let found = match (claim, log) {
        (Claim::New, None) => return Ok(Verdict::New),
        (Claim::Known(_) | Claim::Damaged, None) => Err(Unsound::Gone),
        (claim, Some((log, len))) => match (read_start(log)?, claim) {
            (Start::Old, _) => Err(Unsound::Old),
            // The file `identity` comes after the log, and the first batch after both.
            (Start::Header { .. } | Start::Stub, Claim::New) if len <= FILE_HEADER_LEN as u64 => {
                return Ok(Verdict::New);
            }
            (_, Claim::New) => Err(Unsound::Unclaimed { damaged: false }),
            (_, Claim::Damaged) => Err(Unsound::Unclaimed { damaged: true }),
            (Start::Header { identity: theirs }, Claim::Known(ours)) if theirs != ours => {
                Err(Unsound::Foreign { theirs, ours })
            }
            (Start::Header { .. }, Claim::Known(_)) => replay(log, len, &mut |tag, record| {
                host.handle_record(tag, record).map_err(|corrupt| corrupt.to_string())
            })?,
            (Start::Stub | Start::Damaged, Claim::Known(_)) => {
                let why = "it does not start as the log of a node does".to_string();
                Err(Unsound::Damaged { offset: 0, why })
            }
        },
    };
    Ok(match found {
        Ok(replayed) => Verdict::Kept(replayed),
        Err(unsound) if is_given_back(&unsound, host) => Verdict::Lost(unsound),
        Err(unsound) => Verdict::Refused(unsound),
    })
}

/// Whether the node gets from its peers what the log had.
fn is_given_back(unsound: &Unsound, host: &Host) -> bool {
    match unsound {
        Unsound::Gone
        | Unsound::Foreign { .. }
        | Unsound::Unclaimed { .. }
        | Unsound::Damaged { .. } => host.restores(),
        // Of a protocol that does not run or does not persist here: then the config is wrong, not
        // the log.
        Unsound::Refused { tag, .. } => {
            let mut protocols = host.protocols().iter();
            let owner = protocols.find(|protocol| protocol.tag() == *tag);
            let owned = *tag == HOST_TAG || owner.is_some_and(|owner| owner.persists());
            owned && host.restores()
        }
        Unsound::Old => false,
    }
}
