//! What nodes showed in a run beside what they told clients: files, lines, facts, frames, lost
//! links.

use super::Nanos;
use node_core::Fact;

/// What nodes showed on their disks and consoles.
#[derive(Debug, Default)]
pub struct Seen {
    /// What was in protocols' files each time that a node had started, cut to what its log knows.
    pub files: Vec<FileSeen>,
    /// When which node printed which line.
    pub lines: Vec<(Nanos, usize, String)>,
    /// When which node published which fact.
    pub facts: Vec<(Nanos, usize, Fact)>,
    /// What nodes sent each other, whether it arrived or not.
    pub frames: Vec<FrameSeen>,
    /// When which node noticed that its link to which other was gone.
    pub links_lost: Vec<(Nanos, usize, usize)>,
}

/// A frame that left a node.
#[derive(Debug)]
pub struct FrameSeen {
    /// When.
    pub at: Nanos,
    /// Whose.
    pub from: usize,
    /// Whom it is for.
    pub to: usize,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// What was in a protocol's file.
#[derive(Debug)]
pub struct FileSeen {
    /// When.
    pub at: Nanos,
    /// Whose.
    pub node: usize,
    /// The protocol's tag.
    pub tag: u16,
    /// All of it.
    pub bytes: Vec<u8>,
}
