//! Stub.
use std::io;
use std::path::Path;
/// Stub.
pub enum Ask {
    /// Stub.
    Timer {
        /// Stub.
        id: u64,
        /// Stub.
        at_ns: u64,
    },
    /// Stub.
    Cancel {
        /// Stub.
        id: u64,
    },
}
/// Stub.
pub struct Shim;
impl Shim {
    /// Stub.
    pub fn new(_: &Path) -> io::Result<Shim> {
        Ok(Shim)
    }
    /// Stub.
    pub fn env(&self) -> Vec<(String, String)> {
        vec![("PYTHONHASHSEED".into(), "0".into())]
    }
    /// Stub.
    pub fn set_now(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
    /// Stub.
    pub fn asks(&mut self) -> io::Result<Vec<Ask>> {
        Ok(Vec::new())
    }
    /// Stub.
    pub fn wake(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
    /// Stub.
    pub fn has_connected(&self) -> bool {
        false
    }
}
