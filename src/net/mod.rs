//! The mio driver.

pub mod wire;
