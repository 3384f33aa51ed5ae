//! Simulated disks: the bytes of a node's data directory, as a real one has them, what of them
//! survives a crash, and what can happen to them while nobody looks. What a node makes of them when
//! it starts is decided by the code that decides it on real disks.

use super::{Nanos, World, within};
use crate::log::checkpoint_at;
use crate::log::format::{FILE_HEADER_LEN, Replayed, Sink, TooLong, file_header, push_batch};
use crate::log::identity::{self, Claim, Owner};
use crate::log::recovery::{Verdict, recover};
use node_core::{Host, NodeId, Rng};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::RangeInclusive;

/// A disk: what is on it survives the node.
pub(super) struct Disk {
    pub(super) folder: Folder,
    /// The cluster whose nodes have it; none for a node without a data directory.
    home: Option<String>,
    /// The directory's identity, while the node runs.
    identity: u128,
    /// The sequence of the log's next batch, while the node runs.
    next_seq: u64,
    /// The log's length at which it is rewritten.
    checkpoint_at: u64,
    /// By how much it grows until then, drawn each time; without, as on real disks.
    growth: Option<RangeInclusive<u64>>,
    growths: Rng,
    /// What the node wrote may not be on it any more.
    pub(super) is_new: bool,
    /// A fault changed it since the node ran.
    is_bad: bool,
    /// What was on it before.
    sound: Option<Folder>,
    /// Why the node does not start with what is on it.
    pub(super) refusal: Option<String>,
    /// The next sync fails, which is fatal to the node.
    pub(super) fail_next: bool,
    /// Until when every sync fails.
    pub(super) full_until: Nanos,
    /// The node knows that its disk is full.
    pub(super) is_measured: bool,
    identities: Rng,
    /// How much of a batch is there after a crash.
    tears: Rng,
}

/// The bytes of a data directory. That of a node that never ran is the default.
#[derive(Clone, Default)]
pub struct Folder {
    /// The file `identity`.
    identity: Option<Vec<u8>>,
    /// The file `log`.
    log: Option<Vec<u8>>,
    /// What is in protocols' files, by tag.
    pub(super) files: BTreeMap<u16, Vec<u8>>,
}

/// What a turn writes.
pub(super) enum Written {
    /// Records, to be one batch.
    Batch(Vec<u8>),
    /// A log in the place of the old one, how many bytes of records it has, and the sequence of its
    /// next batch.
    Checkpoint { log: Vec<u8>, bytes: usize, next_seq: u64 },
}

impl Written {
    /// How many bytes of records it has.
    pub(super) fn len(&self) -> usize {
        match self {
            Written::Batch(records) => records.len(),
            Written::Checkpoint { bytes, .. } => *bytes,
        }
    }
}

/// How a part of a log goes bad.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rot {
    /// One bit is another.
    Flip,
    /// So many bytes are zero.
    Zeroes(u64),
    /// So many bytes are anything.
    Garbage(u64),
    /// All that follows is gone.
    Cut,
}

/// Places in a log are told in parts of this many, since nobody knows its length beforehand.
pub const PLACES: u64 = 1_000_000;

impl Disk {
    pub(super) fn new(seed: u64, id: &str) -> Disk {
        Disk {
            folder: Folder::default(),
            home: None,
            identity: 0,
            next_seq: 1,
            checkpoint_at: 0,
            growth: None,
            growths: Rng::stream(seed, &format!("sim/checkpoint/{id}")),
            is_new: false,
            is_bad: false,
            sound: None,
            refusal: None,
            fail_next: false,
            full_until: 0,
            is_measured: false,
            identities: Rng::stream(seed, &format!("sim/identity/{id}")),
            tears: Rng::stream(seed, &format!("sim/tear/{id}")),
        }
    }

    /// Draws anew what is not drawn yet.
    pub(super) fn redraw(&mut self, by: u64) {
        for rng in [&mut self.growths, &mut self.identities, &mut self.tears] {
            rng.redraw(by);
        }
    }

    /// What the directory says to its node, and the identity that it has or gets.
    pub(super) fn claim(&mut self, id: NodeId) -> Result<(Claim, u128), Owner> {
        let mut fresh = || {
            u128::from(self.identities.next_u64()) << 64 | u128::from(self.identities.next_u64())
        };
        let Some((cluster, text)) = self.home.as_ref().zip(self.folder.identity.as_ref()) else {
            return Ok((Claim::New, fresh()));
        };
        let claim = identity::read(text, cluster, id)?;
        let identity = match claim {
            Claim::Known(identity) => identity,
            Claim::New | Claim::Damaged => fresh(),
        };
        Ok((claim, identity))
    }

    /// Gives what is on the disk to a Host, and readies it for more: see
    /// [`Directory::recover`](crate::log::Directory::recover).
    pub(super) fn recover(
        &mut self,
        id: NodeId,
        claim: Claim,
        identity: u128,
        host: &mut Host,
    ) -> Verdict {
        let Some(cluster) = &self.home else { return Verdict::New };
        let mut log = self.folder.log.as_ref().map(|bytes| (Cursor::new(&bytes[..]), bytes.len()));
        let log = log.as_mut().map(|(log, len)| (log, *len as u64));
        let verdict = recover(claim, log, host).expect("memory can be read");
        self.identity = identity;
        match &verdict {
            Verdict::Kept(Replayed { len, next_seq, .. }) => {
                self.next_seq = *next_seq;
                if let Some(log) = &mut self.folder.log {
                    log.truncate(*len as usize);
                }
            }
            Verdict::New | Verdict::Lost(_) => {
                self.next_seq = 1;
                self.folder.log = Some(file_header(identity).to_vec());
                let text = identity::encode(cluster, id, identity);
                self.folder.identity = Some(text.into_bytes());
            }
            Verdict::Refused(_) => return verdict,
        }
        self.set_checkpoint();
        verdict
    }

    /// The node runs with what is on the disk.
    pub(super) fn accepted(&mut self) {
        self.is_bad = false;
        self.sound = None;
    }

    /// The node does not start with what is on the disk; answers whether a fault explains it.
    pub(super) fn refused(&mut self, why: String) -> bool {
        self.refusal = Some(why);
        self.is_bad
    }

    /// Whoever runs the node puts the directory right with a copy from before it went bad.
    pub(super) fn put_right(&mut self) {
        if self.refusal.take().is_some()
            && let Some(sound) = self.sound.take()
        {
            self.folder = sound;
            self.is_bad = false;
        }
    }

    fn set_checkpoint(&mut self) {
        let len = self.log_len() as u64;
        self.checkpoint_at = match &self.growth {
            Some(growth) => len.saturating_add(within(&mut self.growths, growth)),
            None => checkpoint_at(len),
        };
    }

    fn log_len(&self) -> usize {
        self.folder.log.as_ref().map_or(FILE_HEADER_LEN, Vec::len)
    }

    /// What a turn of the Host has to write.
    pub(super) fn written(&self, host: &Host) -> Written {
        let outbox = host.outbox();
        let records = outbox.records();
        let is_due =
            !records.is_empty() && (self.log_len() + records.len()) as u64 > self.checkpoint_at;
        if !outbox.checkpoint() && !is_due {
            return Written::Batch(records.to_vec());
        }
        let mut sink = Sink::create(Vec::new(), self.identity).expect("memory can be written");
        let mut bytes = 0;
        host.snapshot(&mut |tag, record| {
            bytes += node_core::RECORD_HEADER_LEN + record.len();
            sink.record(tag, record);
        });
        let tail = sink.finish().expect("no simulated batch is as long as that");
        Written::Checkpoint { log: tail.out, bytes, next_seq: tail.next_seq }
    }

    /// What was written is durable.
    pub(super) fn keep(&mut self, written: &mut Written) -> Result<(), TooLong> {
        let log = self.folder.log.get_or_insert_with(|| file_header(self.identity).to_vec());
        match written {
            Written::Batch(records) if records.is_empty() => {}
            Written::Batch(records) => {
                push_batch(log, self.next_seq, records)?;
                self.next_seq += 1;
            }
            Written::Checkpoint { log: new, next_seq, .. } => {
                *log = std::mem::take(new);
                self.next_seq = *next_seq;
                self.set_checkpoint();
            }
        }
        Ok(())
    }

    /// What was being written is there in part; a log that was to replace another, not at all.
    pub(super) fn tear(&mut self, written: &Written) {
        let Written::Batch(records) = written else { return };
        let mut batch = Vec::new();
        if !records.is_empty() && push_batch(&mut batch, self.next_seq, records).is_ok() {
            batch.truncate(self.tears.below(batch.len() as u64) as usize);
            self.folder.log.get_or_insert_default().extend_from_slice(&batch);
        }
    }

    /// What follows changes what is on the disk.
    fn spoil(&mut self) -> &mut Folder {
        if !std::mem::replace(&mut self.is_bad, true) {
            self.sound = Some(self.folder.clone());
        }
        self.is_new = true;
        &mut self.folder
    }
}

impl World {
    /// Gives a node a data directory, of a node of that cluster, whose log is rewritten when it has
    /// grown by a number of bytes from `growth`.
    pub fn set_home(&mut self, node: usize, cluster: &str, growth: Option<RangeInclusive<u64>>) {
        let disk = &mut self.nodes[node].disk;
        disk.home = Some(cluster.into());
        disk.growth = growth;
    }

    /// Which nodes did not start with what was on their disks, when, and why.
    pub fn refusals(&self) -> &[(Nanos, NodeId, String)] {
        &self.refusals
    }

    /// What is on the disk of a node, which stops, is to be changed.
    fn spoil(&mut self, node: usize) -> &mut Folder {
        self.crash(node, false);
        self.nodes[node].disk.spoil()
    }

    /// A node stops, and its log goes bad at a place, out of [`PLACES`].
    pub fn rot(&mut self, node: usize, place: u64, rot: Rot) {
        let Some(log) = &mut self.spoil(node).log else { return };
        let at = (u128::from(place) * log.len() as u128 / u128::from(PLACES)) as usize;
        let at = at.min(log.len().saturating_sub(1));
        let until = |bytes: u64| log.len().min(at.saturating_add(bytes as usize));
        match rot {
            Rot::Flip => {
                if let Some(byte) = log.get_mut(at) {
                    *byte ^= 1 << (place % 8);
                }
            }
            Rot::Zeroes(bytes) => {
                let until = until(bytes);
                log[at..until].fill(0);
            }
            Rot::Garbage(bytes) => {
                let until = until(bytes);
                let mut garbage = Rng::stream(place, "sim/garbage");
                log[at..until].fill_with(|| garbage.next_u64() as u8);
            }
            Rot::Cut => log.truncate(at),
        }
    }

    /// A node's directory as it is now.
    pub fn folder(&self, node: usize) -> Folder {
        self.nodes[node].disk.folder.clone()
    }

    /// A node stops, and comes back with this directory.
    pub fn set_folder(&mut self, node: usize, folder: Folder) {
        *self.spoil(node) = folder;
    }

    /// A node stops, and its log is gone, its directory is not.
    pub fn lose_log(&mut self, node: usize) {
        self.spoil(node).log = None;
    }

    /// Copies a node's directory as it is now, under a number.
    pub fn copy_directory(&mut self, node: usize, number: u32) {
        self.copies.insert(number, self.folder(node));
    }

    /// A node stops, to come back with a copy of its directory.
    pub fn roll_back(&mut self, node: usize, number: u32) {
        if let Some(copy) = self.copies.remove(&number) {
            self.set_folder(node, copy);
        }
    }

    /// A node stops, and gets the log of another, or all of its directory; as it is, or as one of
    /// the same id in another cluster would have it.
    pub fn give_foreign(&mut self, node: usize, from: usize, whole: bool, stranger: bool) {
        let mut theirs = self.nodes[from].disk.folder.clone();
        if stranger {
            let identity = !self.nodes[from].disk.identity;
            let text = identity::encode("another cluster", self.nodes[node].id, identity);
            theirs.identity = Some(text.into_bytes());
            if let Some(header) = theirs.log.as_mut().and_then(|log| log.get_mut(..FILE_HEADER_LEN))
            {
                header.copy_from_slice(&file_header(identity));
            }
        }
        let folder = self.spoil(node);
        match whole {
            true => *folder = theirs,
            false => folder.log = theirs.log,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::format::Unsound;
    use crate::log::testing::{ask, count, counted};

    const ID: NodeId = NodeId(1);

    fn disk(growth: u64) -> Disk {
        Disk {
            home: Some("test".into()),
            growth: Some(growth..=growth),
            ..Disk::new(1, &ID.to_string())
        }
    }

    /// A node that starts with what is on the disk.
    fn start(disk: &mut Disk) -> (Host, Verdict) {
        let (claim, identity) = disk.claim(ID).expect("it is this node's");
        let mut host = count(true);
        let verdict = disk.recover(ID, claim, identity, &mut host);
        (host, verdict)
    }

    /// One turn: what it has to write.
    fn turn(disk: &Disk, host: &mut Host, number: u64) -> Written {
        ask(host, &number);
        let written = disk.written(host);
        host.outbox_mut().clear_records();
        written
    }

    #[test]
    fn a_log_is_rewritten_when_it_is_long_enough() {
        for (min, most) in [(200, 300), (u64::MAX, usize::MAX)] {
            let mut disk = disk(min);
            let (mut host, verdict) = start(&mut disk);
            assert_eq!(verdict, Verdict::New);
            let mut longest = 0;
            for _ in 0..100 {
                let mut written = turn(&disk, &mut host, 1);
                disk.keep(&mut written).unwrap();
                longest = longest.max(disk.log_len());
            }
            assert!(longest <= most && (longest > 1_000) == (most > 1_000), "{longest} bytes");
            let (host, verdict) = start(&mut disk);
            assert!(matches!(verdict, Verdict::Kept(_)));
            assert_eq!(host.digest(), counted(100, false));
        }
    }

    #[test]
    fn what_a_crash_tears_is_cut() {
        let mut disk = disk(u64::MAX);
        let (mut host, _) = start(&mut disk);
        let mut torn = 0;
        for number in 1..=50 {
            let written = turn(&disk, &mut host, 1);
            disk.tear(&written);
            let verdict;
            (host, verdict) = start(&mut disk);
            let Verdict::Kept(replayed) = verdict else { panic!("{verdict:?}") };
            torn += u32::from(replayed.torn.is_some());
            assert_eq!(host.digest(), counted(number - 1, false));
            let mut written = turn(&disk, &mut host, 1);
            disk.keep(&mut written).unwrap();
        }
        assert!(torn > 20, "{torn} of 50 left a part of a batch");
    }

    #[test]
    fn a_disk_that_went_bad_is_put_right_where_its_node_does_not_start() {
        let mut disk = disk(u64::MAX);
        let (mut host, _) = start(&mut disk);
        disk.keep(&mut turn(&disk, &mut host, 5)).unwrap();
        disk.accepted();
        disk.spoil().log = None;
        let (_, verdict) = start(&mut disk);
        assert_eq!(verdict, Verdict::Lost(Unsound::Gone));
        // What the second fault does to a disk is nothing to go back to.
        disk.spoil().log = Some(Vec::new());
        assert!(disk.refused("as a test wants it".into()), "a fault explains it");
        disk.put_right();
        let (host, _) = start(&mut disk);
        assert_eq!(host.digest(), counted(5, false));
        disk.accepted();
        assert!(!disk.refused("of itself".into()), "nothing explains it");
    }
}
