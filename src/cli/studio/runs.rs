//! The runs that were asked for: each is a scenario's text and a plan, so that it can be had again
//! at any time, and what it takes much room to show is kept as long as there is room.
//!
//! Knows no HTTP. A bounded number of runs go on at once, whoever asks for them.

use super::show::page;
use node_lab::explain::Source;
use node_lab::registry::Registry;
use node_lab::sim::plan::Plan;
use node_lab::sim::run::{Failure, Outcome, run};
use node_lab::sim::scenario::Scenario;
use node_lab::sim::tally::Tally;
use node_lab::sim::tracer::Tracer;
use node_lab::study::{Property, Verdict};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest trace of a run that is shown, in bytes.
const MAX_TRACE: usize = 128 << 20;
/// How long a run may take that is shown.
const MAX_TIME: Duration = Duration::from_secs(60);
/// The most bytes of traces and pages that are kept.
const MAX_KEPT: usize = 256 << 20;
/// The most runs that are known; what is more is refused until the studio is started anew.
const MAX_RUNS: usize = 5_000;

/// A lock that whoever failed has not spoilt: all that is kept is replaced whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many runs go on at once.
pub(super) struct Gate {
    free: Mutex<usize>,
    freed: Condvar,
}

/// The right to one run.
struct Pass<'a>(&'a Gate);

impl Gate {
    /// One for each processor.
    pub fn new() -> Gate {
        Gate { free: Mutex::new(Gate::width()), freed: Condvar::new() }
    }

    /// How many go on at once.
    pub fn width() -> usize {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    }

    /// Does it when there is room.
    pub fn through<T>(&self, what: impl FnOnce() -> T) -> T {
        let mut free = lock(&self.free);
        while *free == 0 {
            free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        drop(free);
        let _pass = Pass(self);
        what()
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.freed.notify_one();
    }
}

/// A scenario as it stands in the page.
#[derive(Clone)]
pub(super) struct Scene {
    /// The file or the name that it began as.
    pub name: Arc<str>,
    /// Its text.
    pub text: Arc<str>,
    /// Checked.
    pub scenario: Arc<Scenario>,
}

/// A run that was asked for.
#[derive(Clone)]
pub(super) struct Asked {
    /// Its scenario.
    pub scene: Scene,
    /// What it follows.
    pub plan: Plan,
    /// What came of it, for the page.
    pub told: Value,
    /// What it violates; none when everything held.
    pub failure: Option<Failure>,
}

/// What shows a run.
pub(super) struct Shown {
    /// Its events, as JSON lines.
    pub trace: String,
    /// Its page.
    pub html: Vec<u8>,
}

struct Entry {
    asked: Asked,
    shown: Option<Arc<Shown>>,
    /// When it was looked at last, by a count.
    looked: u64,
}

/// All of them, by number.
pub(super) struct Runs {
    registry: Arc<Registry>,
    /// How many at once.
    pub gate: Gate,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entries: Vec<Entry>,
    looks: u64,
}

impl Runs {
    /// None yet.
    pub fn new(registry: Arc<Registry>) -> Runs {
        Runs { registry, gate: Gate::new(), kept: Mutex::default() }
    }

    /// Runs a plan, unless it was run. Answers its number and what came of it.
    ///
    /// # Errors
    /// The plan is none of the scenario, or there are too many runs, in one line.
    pub fn ask(&self, scene: &Scene, plan: &Plan) -> Result<(usize, Asked), String> {
        let is_same = |entry: &&Entry| {
            let one = &entry.asked;
            one.plan == *plan && one.scene.name == scene.name && one.scene.text == scene.text
        };
        {
            let kept = lock(&self.kept);
            if let Some(id) = kept.entries.iter().position(|entry| is_same(&entry)) {
                return Ok((id, kept.entries[id].asked.clone()));
            }
            if kept.entries.len() >= MAX_RUNS {
                return Err(format!("there are {MAX_RUNS} runs: start node studio anew"));
            }
        }
        scene.scenario.check(plan)?;
        let (mut outcome, shown) = self.run(scene, plan)?;
        let failure = outcome.failure.clone();
        let told = tell(&scene.scenario, &mut outcome);
        let asked = Asked { scene: scene.clone(), plan: plan.clone(), told, failure };
        let mut kept = lock(&self.kept);
        kept.entries.push(Entry { asked: asked.clone(), shown: None, looked: 0 });
        let id = kept.entries.len() - 1;
        kept.keep(id, Arc::new(shown));
        Ok((id, asked))
    }

    /// The run of that number.
    ///
    /// # Errors
    /// There is none.
    pub fn asked(&self, id: usize) -> Result<Asked, String> {
        let kept = lock(&self.kept);
        let entry = kept.entries.get(id).ok_or_else(|| format!("there is no run {id}"))?;
        Ok(entry.asked.clone())
    }

    /// What shows the run of that number; it is run again when that is not kept.
    ///
    /// # Errors
    /// There is none, or it cannot be shown.
    pub fn shown(&self, id: usize) -> Result<Arc<Shown>, String> {
        let asked = self.asked(id)?;
        {
            let mut kept = lock(&self.kept);
            kept.looks += 1;
            let looks = kept.looks;
            if let Some(entry) = kept.entries.get_mut(id) {
                entry.looked = looks;
                if let Some(shown) = &entry.shown {
                    return Ok(shown.clone());
                }
            }
        }
        let (_, shown) = self.run(&asked.scene, &asked.plan)?;
        let shown = Arc::new(shown);
        lock(&self.kept).keep(id, shown.clone());
        Ok(shown)
    }

    /// The page of the part of a run around that time, in nanoseconds.
    ///
    /// # Errors
    /// There is no such run, or it cannot be shown.
    pub fn part(&self, id: usize, around: u64) -> Result<Vec<u8>, String> {
        let (asked, shown) = (self.asked(id)?, self.shown(id)?);
        let name = asked.scene.name.to_string();
        let sources = [Source { name, text: shown.trace.clone() }];
        page(&sources, Some(around), &command(&asked.scene, &asked.plan), |_| {})
    }

    fn run(&self, scene: &Scene, plan: &Plan) -> Result<(Outcome, Shown), String> {
        self.gate.through(|| {
            let sink = Sink::new();
            let tracer = Tracer::to(Box::new(sink.clone())).stopping(sink.stop.clone());
            let outcome = run(&scene.scenario, &self.registry, plan, tracer);
            if let Some(why) = &outcome.trace_error {
                return Err(format!("seed {}: it cannot be shown: {why}", plan.seed));
            }
            let trace = std::mem::take(&mut *lock(&sink.all));
            let trace = String::from_utf8(trace).map_err(|error| error.to_string())?;
            let sources = [Source { name: scene.name.to_string(), text: trace }];
            let html = page(&sources, None, &command(scene, plan), |_| {})?;
            let [Source { text: trace, .. }] = sources;
            Ok((outcome, Shown { trace, html }))
        })
    }
}

impl Kept {
    /// Keeps what shows a run, and lets go of what was not looked at longest.
    fn keep(&mut self, id: usize, shown: Arc<Shown>) {
        self.looks += 1;
        let looks = self.looks;
        if let Some(entry) = self.entries.get_mut(id) {
            (entry.shown, entry.looked) = (Some(shown), looks);
        }
        let size = |entry: &Entry| {
            entry.shown.as_ref().map_or(0, |shown| shown.trace.len() + shown.html.len())
        };
        let mut all: usize = self.entries.iter().map(size).sum();
        while all > MAX_KEPT {
            let held = self.entries.iter_mut().enumerate();
            let oldest = held.filter(|(place, entry)| *place != id && entry.shown.is_some());
            let Some((_, entry)) = oldest.min_by_key(|(_, entry)| entry.looked) else { return };
            all -= size(entry);
            entry.shown = None;
        }
    }
}

/// Takes a trace in memory, and ends a run that is too long for that.
#[derive(Clone)]
struct Sink {
    all: Arc<Mutex<Vec<u8>>>,
    began: Instant,
    stop: Arc<AtomicBool>,
}

impl Sink {
    fn new() -> Sink {
        Sink { all: Arc::default(), began: Instant::now(), stop: Arc::default() }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = lock(&self.all);
        let is_long = all.len() + bytes.len() > MAX_TRACE;
        if is_long || self.began.elapsed() > MAX_TIME {
            self.stop.store(true, Ordering::Relaxed);
            let what = if is_long { "its trace is too long" } else { "it takes too long" };
            let why = format!("{what} for a page; use node sim --trace and node explain");
            return Err(io::Error::other(why));
        }
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What shows a run in the terminal, for who wants more of it than a page has.
fn command(scene: &Scene, plan: &Plan) -> String {
    let (name, seed) = (&scene.name, plan.seed);
    format!("node sim {name} --seed {seed} --trace run.jsonl; node explain run.jsonl -o part.html")
}

/// A seed's square: `red` when something is violated, `grey` when nobody could decide something.
pub(super) fn square(outcome: &Outcome) -> Value {
    let colour = match (&outcome.failure, outcome.unknown.is_empty()) {
        (Some(_), _) => "red",
        (None, false) => "grey",
        (None, true) => "green",
    };
    let failure = outcome.failure.as_ref();
    json!({
        "seed": outcome.plan.seed,
        "colour": colour,
        "property": failure.map(|failure| &failure.property),
        "why": failure.map(|failure| &failure.why).or(outcome.unknown.first()),
    })
}

/// The branches of a plan, each as its table and in words.
fn branches(scenario: &Scenario, plan: &Plan) -> Vec<Value> {
    let one = |branch| json!({"table": branch, "words": scenario.tell_branch(branch)});
    plan.branches.iter().map(one).collect()
}

/// What came of a run, for the page.
fn tell(scenario: &Scenario, outcome: &mut Outcome) -> Value {
    let word = |(property, verdict): &(&'static Property, Verdict)| {
        let (word, why) = match verdict {
            Verdict::Held => ("held", None),
            Verdict::Violated(violation) => ("violated", Some(&violation.why)),
            Verdict::Unknown { why } | Verdict::Undecided { why } => ("unknown", Some(why)),
        };
        json!({"property": property.name, "verdict": word, "why": why})
    };
    let properties: Vec<Value> = outcome.verdicts.iter().map(word).collect();
    let mut tally = Tally::new(&scenario.properties);
    tally.take(outcome);
    let failure = outcome.failure.as_ref().map(|failure| {
        let at_ms = failure.at as f64 / 1e6;
        json!({"property": failure.property, "why": failure.why, "at_ms": at_ms})
    });
    json!({
        "seed": outcome.plan.seed.to_string(),
        "verdict": tally.verdict(),
        "square": square(outcome),
        "failure": failure,
        "violates": scenario.violates.map(|property| property.name),
        "properties": properties,
        "unknown": outcome.unknown,
        "refused": outcome.refused,
        "faults": outcome.plan.faults.iter().map(|one| scenario.tell(one)).collect::<Vec<_>>(),
        "branches": branches(scenario, &outcome.plan),
        "notes": outcome.notes,
        "clients": outcome.plan.clients,
        "operations": outcome.plan.operations,
        "events": outcome.events,
        "messages": outcome.deliveries,
        "ms": outcome.virtual_ns as f64 / 1e6,
    })
}
