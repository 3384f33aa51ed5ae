//! What takes long goes on by itself, and the page asks how far it is: each piece of a result comes
//! once it is there. Knows neither runs nor HTTP.

use super::runs::lock;
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// The most jobs that are remembered.
const MAX_JOBS: usize = 16;

/// All of them.
#[derive(Default)]
pub(super) struct Jobs(Mutex<Vec<Arc<Job>>>);

/// One: what there is of it so far.
pub(super) struct Job {
    number: u64,
    kind: &'static str,
    said: Mutex<Said>,
    stopped: Arc<AtomicBool>,
}

#[derive(Default)]
struct Said {
    pieces: Vec<Value>,
    /// What it all came to, or why to nothing.
    end: Option<Result<Value, String>>,
}

impl Job {
    /// One piece more.
    pub fn say(&self, piece: Value) {
        lock(&self.said).pieces.push(piece);
    }

    /// What ends the runs of it.
    pub fn stop(&self) -> Arc<AtomicBool> {
        self.stopped.clone()
    }

    /// Whether nobody wants the rest.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

impl Jobs {
    /// Begins one, on a thread of its own; an earlier one of the kind stops. Answers its number.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn begin(
        &self,
        kind: &'static str,
        work: impl FnOnce(&Job) -> Result<Value, String> + Send + 'static,
    ) -> Result<u64, String> {
        let mut all = lock(&self.0);
        for other in all.iter().filter(|other| other.kind == kind) {
            other.stopped.store(true, Ordering::Relaxed);
        }
        let number = all.last().map_or(1, |last| last.number + 1);
        let said = Mutex::default();
        let job = Arc::new(Job { number, kind, said, stopped: Arc::default() });
        let own = job.clone();
        let thread = move || {
            let end = catch_unwind(AssertUnwindSafe(|| work(&own)));
            let end = end.unwrap_or_else(|_| Err("the studio made a mistake".into()));
            lock(&own.said).end = Some(end);
        };
        let spawned = std::thread::Builder::new().spawn(thread);
        spawned.map_err(|error| format!("no thread for it: {error}"))?;
        all.push(job);
        let more = all.len().saturating_sub(MAX_JOBS);
        all.drain(..more).for_each(|old| old.stopped.store(true, Ordering::Relaxed));
        Ok(number)
    }

    /// What a job has said from that piece on.
    ///
    /// # Errors
    /// There is no such job, or it failed.
    pub fn read(&self, number: u64, from: usize) -> Result<Value, String> {
        let job = self.job(number)?;
        let said = lock(&job.said);
        let pieces = said.pieces.get(from..).unwrap_or_default();
        match &said.end {
            Some(Err(why)) => Err(why.clone()),
            Some(Ok(end)) => Ok(json!({"pieces": pieces, "is_over": true, "end": end})),
            None => Ok(json!({"pieces": pieces, "is_over": false})),
        }
    }

    /// Has it stop soon.
    ///
    /// # Errors
    /// There is no such job.
    pub fn stop(&self, number: u64) -> Result<(), String> {
        self.job(number)?.stopped.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn job(&self, number: u64) -> Result<Arc<Job>, String> {
        let all = lock(&self.0);
        let job = all.iter().find(|job| job.number == number);
        job.cloned().ok_or_else(|| format!("there is no job {number}"))
    }
}
