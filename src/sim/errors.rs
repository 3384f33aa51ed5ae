//! Error lines of a run. A protocol that logs an error has met what it says must not happen, so a
//! run that logs one has failed.

use log::{Level, LevelFilter, Log, Metadata, Record};
use std::cell::RefCell;

thread_local! {
    /// A run is one thread, and so are its log lines.
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Collector;

impl Log for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() == Level::Error
    }
    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("{}: {}", record.target(), record.args());
            LINES.with_borrow_mut(|lines| lines.push(line));
        }
    }
    fn flush(&self) {}
}

/// Makes the process's log collect errors instead of showing lines. Once is enough.
pub fn collect() {
    // A test that runs beside others may find it done.
    if log::set_logger(&Collector).is_ok() {
        log::set_max_level(LevelFilter::Error);
    }
}

/// The lines of this thread since this was last asked.
pub(super) fn take() -> Vec<String> {
    LINES.with_borrow_mut(std::mem::take)
}
