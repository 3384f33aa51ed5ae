//! `node bench`: load.
