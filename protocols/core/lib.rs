//! The boundary between protocols and whatever drives them.
//!
//! ```text
//!   driver ── handle_* ──► Host ── on_* ──► Protocol
//!   driver ◄── Outbox ──── Host ◄─ effects ─ Context
//! ```
//!
//! A [`Protocol`] is a deterministic state machine. A [`Host`] holds the protocols of one node,
//! decodes what reaches them, keeps their timers and the node's Lamport clock, and collects what
//! they want done in an [`Outbox`]. The contract of a driver is written at [`Host`].
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

mod backoff;
mod brief;
mod bytes;
mod context;
mod counters;
mod erased;
mod escape;
mod facts;
mod gateway;
mod host;
mod http;
mod ids;
mod io;
mod lamport;
mod outbox;
mod planted;
mod protocol;
mod records;
mod rng;
mod time;
mod timers;

pub use self::backoff::Backoff;
pub use self::brief::{Clipped, MAX_BRIEF, MAX_LISTED, brief_of};
pub use self::bytes::Bytes;
pub use self::context::Context;
pub use self::counters::{Counter, Counters};
pub use self::erased::{DynProtocol, erase, protocol_tag};
pub use self::escape::Escaped;
pub use self::facts::{ClockOffset, Fact, FactKind, FactType};
pub use self::gateway::{Decoded, Gateway};
pub use self::host::{HOST_TAG, Host};
pub use self::http::is_http;
pub use self::ids::{Caller, ClientId, Epoch, NodeId, RequestId};
pub use self::io::{FrameError, Malformed};
pub use self::lamport::{Jump, LamportClock, LamportRule, LamportTime};
pub use self::outbox::{Effect, FactPlace, Group, Outbox, RecordSink, Span, Text, decode, encode};
pub use self::protocol::{ConfigError, Corrupt, Env, Exit, Input, Never, Protocol};
pub use self::records::{RECORD_HEADER_LEN, push_record, split_record};
pub use self::rng::Rng;
pub use self::time::{Correction, MAX_SLEW_PPM, Now, Time, WallTime};
