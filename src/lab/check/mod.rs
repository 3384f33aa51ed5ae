//! What checkers share: what nodes did in a run ([`timeline`]), the search for a linearization, and how
//! texts and times are told. Knows no protocol.
//!
//! **Time.** All times are of one clock. An operation precedes another when its answer came
//! strictly before the other was sent; equal times count as overlapping. One client's operations
//! are in order even when one is sent at the very time at which the one before was answered.
//!
//! **Start.** A run begins with nothing, and holds every client that asked for something.

pub mod describe;
pub mod search;
pub mod timeline;
pub mod zones;
