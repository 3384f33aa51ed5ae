//! Verdicts on histories: pure functions that say whether a named property held in a run.

pub mod history;
