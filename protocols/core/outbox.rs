//! What protocols want done, as data: the driver carries it out after the callbacks of a turn.
//!
//! All bytes lie in one arena that is reused, so collecting effects allocates nothing once the
//! arena has grown to a turn's size.

use super::records::push_record;
use super::{ClientId, Exit, Fact, NodeId, RequestId};
use ::core::fmt;
use alloc::vec::Vec;
use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

/// A place in the [`Outbox`]'s arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    start: u32,
    end: u32,
}

/// A list of clients in the [`Outbox`]. Pushes one after the other to the same clients have equal
/// groups, so that a driver can serve them in one go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Group {
    start: u32,
    end: u32,
}

/// The place of a fact in the [`Outbox`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FactPlace(u32);

/// One thing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send a frame's payload to a peer; dropped when there is no link.
    Send {
        /// The peer.
        to: NodeId,
        /// The payload: envelope and message.
        payload: Span,
    },
    /// Answer a request; dropped when the client has gone.
    Reply {
        /// The request.
        to: RequestId,
        /// The encoded reply.
        reply: Span,
    },
    /// A request is over, and its client wants no answer.
    Over {
        /// The request.
        to: RequestId,
    },
    /// Send clients something that they have not asked for just now; dropped for those who have
    /// gone.
    Push {
        /// The clients.
        to: Group,
        /// The encoded reply.
        reply: Span,
    },
    /// Print a line on the console.
    Print {
        /// UTF-8, escaped, without the line's end.
        line: Span,
    },
    /// A line for the trace of the run.
    Note {
        /// UTF-8, escaped, without the line's end.
        line: Span,
    },
    /// For the trace: a timer of the protocol at `place` fired.
    Timer {
        /// The protocol's place in config order.
        place: usize,
        /// Which timer, as text.
        label: Span,
    },
    /// For traces and checkers: the protocol at `place` published a fact.
    Fact {
        /// The protocol's place in config order.
        place: usize,
        /// The fact.
        fact: FactPlace,
    },
    /// End the node, as when it is told to stop. Where a node has no process to end, it may go on.
    Stop {
        /// What to tell whoever started it.
        exit: Exit,
    },
}

/// The effects of the callbacks since the driver last drained it.
///
/// **The durability fence.** When there is something in [`files`](Outbox::files), the driver
/// appends it and makes it durable; when then [`records`](Outbox::records) is not empty or
/// [`checkpoint`](Outbox::checkpoint) is set, it makes the log durable; and only then any effect
/// leaves the node.
#[derive(Default)]
pub struct Outbox {
    arena: Vec<u8>,
    effects: Vec<Effect>,
    /// The clients of all groups.
    clients: Vec<ClientId>,
    /// The last push's.
    group: Group,
    /// What was published.
    facts: Vec<Fact>,
    /// What pushes to several clients take beyond the arena, once each has its own.
    copied: usize,
    records: Vec<u8>,
    /// What to append to protocols' files, by their tags.
    files: Vec<(u16, Vec<u8>)>,
    checkpoint: bool,
    pub(crate) console: bool,
    pub(crate) trace: bool,
}

/// Arenas beyond this are given back after the turn that needed them, so that one large value
/// does not stay in memory for ever.
const ARENA_KEPT: usize = 1 << 20;

impl Outbox {
    /// What to do, in order.
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// The bytes behind an effect.
    pub fn bytes(&self, span: Span) -> &[u8] {
        &self.arena[span.start as usize..span.end as usize]
    }

    /// The clients of a push.
    pub fn clients(&self, group: Group) -> &[ClientId] {
        &self.clients[group.start as usize..group.end as usize]
    }

    /// What was published.
    pub fn fact(&self, place: FactPlace) -> &Fact {
        &self.facts[place.0 as usize]
    }

    /// How many bytes the effects have, here and where they go: what is pushed to several clients
    /// counts for each.
    pub fn len(&self) -> usize {
        self.arena.len() + self.copied + self.effects.len() * size_of::<Effect>()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty() && !self.has_to_be_durable()
    }

    /// Whether there is something for the disk.
    pub fn has_to_be_durable(&self) -> bool {
        !self.records.is_empty() || self.checkpoint || self.files().next().is_some()
    }

    /// What to append to protocols' files, by the protocols' tags.
    pub fn files(&self) -> impl Iterator<Item = (u16, &[u8])> {
        let some = self.files.iter().filter(|(_, bytes)| !bytes.is_empty());
        some.map(|(tag, bytes)| (*tag, &bytes[..]))
    }

    /// Records to append to the log, as [`split_record`](super::split_record) takes them apart.
    pub fn records(&self) -> &[u8] {
        &self.records
    }

    /// Whether the log is to be rewritten from the protocols' snapshots, which also hold what
    /// [`records`](Outbox::records) would add.
    pub fn checkpoint(&self) -> bool {
        self.checkpoint
    }

    /// How many bytes the records and what goes to files have.
    pub fn durable_len(&self) -> u64 {
        let files: usize = self.files.iter().map(|(_, bytes)| bytes.len()).sum();
        (self.records.len() + files) as u64
    }

    /// Forgets the effects, which the driver has moved to where they go; records stay.
    pub fn clear_effects(&mut self) {
        self.effects.clear();
        self.effects.shrink_to(ARENA_KEPT / size_of::<Effect>());
        self.clients.clear();
        self.clients.shrink_to(ARENA_KEPT / size_of::<ClientId>());
        self.group = Group::default();
        self.facts.clear();
        self.facts.shrink_to(ARENA_KEPT / size_of::<Fact>());
        self.copied = 0;
        self.arena.clear();
        self.arena.shrink_to(ARENA_KEPT);
    }

    /// Forgets the records and what went to files, which are durable now.
    pub fn clear_records(&mut self) {
        for (_, bytes) in &mut self.files {
            bytes.clear();
            bytes.shrink_to(ARENA_KEPT);
        }
        self.checkpoint = false;
        self.records.clear();
        self.records.shrink_to(ARENA_KEPT);
    }

    pub(crate) fn file(&mut self, tag: u16) -> &mut Vec<u8> {
        let place = self.files.iter().position(|(other, _)| *other == tag);
        let place = place.unwrap_or_else(|| {
            self.files.push((tag, Vec::new()));
            self.files.len() - 1
        });
        &mut self.files[place].1
    }

    pub(crate) fn request_checkpoint(&mut self) {
        self.checkpoint = true;
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn publish(&mut self, place: usize, fact: Fact) {
        let at = FactPlace(index(self.facts.len()));
        self.facts.push(fact);
        self.effects.push(Effect::Fact { place, fact: at });
    }

    /// Pushes to these clients what `fill` writes, if there are any.
    pub(crate) fn push_to(
        &mut self,
        to: impl IntoIterator<Item = ClientId>,
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.clients.len();
        self.clients.extend(to);
        if self.clients.len() == start {
            return;
        }
        if self.clients[start..] == *self.clients(self.group) {
            self.clients.truncate(start);
        } else {
            self.group = Group { start: index(start), end: index(self.clients.len()) };
        }
        let reply = self.span(fill);
        let others = (self.group.end - self.group.start - 1) as usize;
        self.copied += others * (reply.end - reply.start) as usize;
        self.effects.push(Effect::Push { to: self.group, reply });
    }

    pub(crate) fn span(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.arena.len();
        fill(&mut self.arena);
        Span { start: index(start), end: index(self.arena.len()) }
    }

    pub(crate) fn text(&mut self, line: fmt::Arguments<'_>) -> Span {
        self.span(|arena| {
            // Writing to a vector cannot fail; a Display that fails leaves a shorter line.
            let _ = fmt::write(&mut Text(arena), line);
        })
    }

    pub(crate) fn record(&mut self, tag: u16, record: &impl Serialize) {
        push_record(&mut self.records, tag, |out| encode(record, out));
    }
}

/// Takes the records that rebuild a protocol's state; see `Protocol::snapshot`.
pub struct RecordSink<'a> {
    pub(crate) tag: u16,
    pub(crate) write: &'a mut dyn FnMut(u16, &[u8]),
    pub(crate) scratch: Vec<u8>,
}

impl RecordSink<'_> {
    /// Adds one record.
    pub fn record(&mut self, record: &impl Serialize) {
        self.scratch.clear();
        encode(record, &mut self.scratch);
        (self.write)(self.tag, &self.scratch);
    }
}

/// Appends the postcard form of `value`.
///
/// # Panics
/// When its type has none.
pub fn encode(value: &impl Serialize, out: &mut Vec<u8>) {
    let done = postcard::serialize_with_flavor(value, Tail(out));
    // A growing vector takes everything, so only a type that postcard cannot carry (a map of
    // unknown length, an untagged enum) gets here, on its first use in any test.
    assert!(done.is_ok(), "a message, reply or record has no postcard form: {done:?}");
}

/// What [`encode`] made of a value; none when these bytes are no such value.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}

fn index(place: usize) -> u32 {
    u32::try_from(place).expect("limits on frames and turns keep the arena far below 4 GiB")
}

/// Takes formatted text into bytes, which cannot fail.
pub struct Text<'a>(pub &'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

struct Tail<'a>(&'a mut Vec<u8>);

impl Flavor for Tail<'_> {
    type Output = ();
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
