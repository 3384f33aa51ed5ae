//! How far a command that takes long is: a line on a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// A line on a terminal that tells how far it is.
pub(in crate::cli) struct Progress {
    what: &'static str,
    all: u64,
    done: u64,
    failed: u64,
    started: Instant,
    shown: Instant,
    on: bool,
}

impl Progress {
    /// Nothing is done yet of so many of what it is.
    pub fn new(what: &'static str, all: u64) -> Progress {
        let now = Instant::now();
        let on = std::io::stderr().is_terminal();
        Progress { what, all, done: 0, failed: 0, started: now, shown: now, on }
    }

    /// One more is done.
    pub fn one(&mut self, failed: bool) {
        self.done += 1;
        self.failed += u64::from(failed);
        if self.on && self.shown.elapsed() >= Duration::from_millis(100) {
            self.shown = Instant::now();
            let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
            let (full, rate) = ((30 * self.done / self.all) as usize, self.done as f64 / seconds);
            let _ = write!(
                io::stderr(),
                "\r[{}{}] {}/{} {}, {rate:.0}/s, {} failed ({:.2}/s) ",
                "#".repeat(full),
                ".".repeat(30 - full),
                self.done,
                self.all,
                self.what,
                self.failed,
                self.failed as f64 / seconds,
            );
        }
    }

    /// Takes the line away.
    pub fn end(&self) {
        if self.on {
            let _ = write!(io::stderr(), "\r{:90}\r", "");
        }
    }
}

/// Tells that a failing run is made smaller, when that takes longer than a second.
pub(super) struct Shrinking {
    seed: u64,
    started: Instant,
    is_terminal: bool,
    is_told: bool,
}

impl Shrinking {
    /// That of a seed begins.
    pub fn new(seed: u64) -> Shrinking {
        let is_terminal = io::stderr().is_terminal();
        Shrinking { seed, started: Instant::now(), is_terminal, is_told: false }
    }

    /// It took so many runs until now, and takes so many at most.
    pub fn runs(&mut self, runs: u32, most: u32) {
        if self.started.elapsed() < Duration::from_secs(1) {
            return;
        }
        let seed = self.seed;
        if self.is_terminal {
            let _ = write!(
                io::stderr(),
                "\rmaking seed {seed} smaller: {runs} of at most {most} runs "
            );
        } else if !self.is_told {
            let _ =
                writeln!(io::stderr(), "node sim: making seed {seed} smaller: at most {most} runs");
        }
        self.is_told = true;
    }

    /// Takes the line away.
    pub fn end(&self) {
        if self.is_terminal && self.is_told {
            let _ = write!(io::stderr(), "\r{:90}\r", "");
        }
    }
}
