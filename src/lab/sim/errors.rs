//! Error lines of a run. A protocol that logs an error has met what it says must not happen, so a
//! run that logs one has failed, whoever runs it.
//!
//! The `log` crate has one logger a process. A run sets its own when the process has none; it collects
//! what runs say and shows nothing. A program that wants a logger beside it hands that one to
//! [`pass_on`]. Under a logger that the program set by itself no run sees its lines, and no run's
//! verdict is "held" ([`Outcome::unknown`](super::run::Outcome::unknown)).

use log::{Level, LevelFilter, Log, Metadata, Record};
use std::cell::RefCell;
use std::sync::OnceLock;

/// A run that says more has said enough.
const MAX_LINES: usize = 16;

thread_local! {
    /// A run is one thread, and so are its log lines; none while no run is under way there.
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

static COLLECTOR: Collector = Collector { other: OnceLock::new() };

struct Collector {
    /// The program's own logger, and how much it wants.
    other: OnceLock<(Box<dyn Log>, LevelFilter)>,
}

impl Collector {
    fn other(&self, metadata: &Metadata<'_>) -> Option<&dyn Log> {
        let (other, most) = self.other.get()?;
        (metadata.level() <= *most && other.enabled(metadata)).then_some(&**other)
    }

    /// Makes it the process's logger, if there is none; answers whether it is.
    fn install(&'static self) -> bool {
        // It fails when there is one, perhaps this one.
        let _ = log::set_logger(self);
        let is_set = std::ptr::addr_eq(log::logger(), self);
        if is_set && log::max_level() < LevelFilter::Error {
            log::set_max_level(LevelFilter::Error);
        }
        is_set
    }
}

impl Log for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() == Level::Error || self.other(metadata).is_some()
    }
    fn log(&self, record: &Record<'_>) {
        if record.level() == Level::Error {
            let line = format!("{}: {}", record.target(), record.args());
            // A thread that ends has no run.
            let _ = LINES.try_with(|lines| {
                if let Some(lines) = &mut *lines.borrow_mut()
                    && lines.len() < MAX_LINES
                {
                    lines.push(line);
                }
            });
        }
        if let Some(other) = self.other(record.metadata()) {
            other.log(record);
        }
    }
    fn flush(&self) {
        if let Some((other, _)) = self.other.get() {
            other.flush();
        }
    }
}

/// Sets the program's logger so that runs still see their error lines: it gets every line up to
/// `most`, those of runs too. To be called instead of [`log::set_boxed_logger`].
///
/// # Errors
/// When the process has a logger of its own already, or this was called before.
pub fn pass_on(logger: Box<dyn Log>, most: LevelFilter) -> Result<(), String> {
    if !COLLECTOR.install() {
        return Err("the process has a logger already: set none before this one".into());
    }
    let set = COLLECTOR.other.set((logger, most));
    set.map_err(|_| "a logger was passed before: there is one for the whole process")?;
    log::set_max_level(most.max(LevelFilter::Error));
    Ok(())
}

/// The error lines of a run on this thread, from here on.
pub(super) struct Lines {
    are_seen: bool,
}

impl Lines {
    pub(super) fn collect() -> Lines {
        let are_seen = COLLECTOR.install() && log::STATIC_MAX_LEVEL >= LevelFilter::Error;
        LINES.set(Some(Vec::new()));
        Lines { are_seen }
    }

    /// Why there can be none.
    pub(super) fn unseen(&self) -> Option<&'static str> {
        (!self.are_seen).then_some(
            "error lines are not seen: the program has set a logger, which it has to give to \
             sim::errors::pass_on instead",
        )
    }

    pub(super) fn take(&self) -> Vec<String> {
        LINES.replace(Some(Vec::new())).unwrap_or_default()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        LINES.set(None);
    }
}
