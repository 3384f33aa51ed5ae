//! The command line: what a user can ask for, and the exit code that answers.

pub mod bench;
pub mod kv;
