//! What takes long: many seeds, all orders, when a run was lost, a smaller run. Each is a job; all
//! but the last say how far they are, and can be stopped.

use super::api::Studio;
use super::asked::{Bounded, Lost, Seeds};
use super::jobs::Job;
use super::runs::{Asked, Gate, Scene, lock, square};
use node_lab::sim::explore::{self, Ended, explore};
use node_lab::sim::run::run;
use node_lab::sim::smallest;
use node_lab::sim::tally::Tally;
use node_lab::sim::tracer::Tracer;
use node_lab::sim::why::{Effort, Point, why};
use node_lab::study::Run;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest search of all orders.
const MAX_SECONDS: u64 = 600;
/// After so many runs a search says how far it is.
const TOLD_EVERY: u64 = 200;
/// The most seeds of one strip.
const MAX_SEEDS: u64 = 100_000;

impl Studio {
    /// Begins a strip of seeds: a square for each as it is done.
    pub fn seeds(self: &Arc<Self>, asked: &Seeds) -> Result<Value, String> {
        let (first, last) = (asked.first, asked.last);
        if first > last || last - first >= MAX_SEEDS {
            return Err(format!("seeds: 1 to {MAX_SEEDS} of them"));
        }
        let (scene, studio) = (self.scene(&asked.named)?, self.clone());
        let job = self.jobs.begin("seeds", move |job| studio.strip(&scene, first, last, job))?;
        Ok(json!({"job": job}))
    }

    fn strip(&self, scene: &Scene, first: u64, last: u64, job: &Job) -> Result<Value, String> {
        let next = AtomicU64::new(0);
        let tally = Mutex::new(Tally::new(&scene.scenario.properties));
        std::thread::scope(|scope| {
            for _ in 0..Gate::width() {
                scope.spawn(|| {
                    while !job.is_stopped() {
                        let place = next.fetch_add(1, Ordering::Relaxed);
                        // Counted from the first, since the last may be the largest number.
                        if place > last - first {
                            return;
                        }
                        let seed = first + place;
                        let plan = scene.scenario.plan(seed);
                        let tracer = Tracer::new().stopping(job.stop());
                        let one = || run(&scene.scenario, &self.registry, &plan, tracer);
                        let mut outcome = self.runs.gate.through(one);
                        if job.is_stopped() {
                            return;
                        }
                        outcome.run = Run::default();
                        job.say(square(&outcome));
                        lock(&tally).take(&mut outcome);
                    }
                });
            }
        });
        let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(json!({
            "verdict": tally.verdict(),
            "lines": tally.lines(),
            "properties": tally.into_properties(),
            "violates": scene.scenario.violates.map(|property| property.name),
            "is_stopped": job.is_stopped(),
        }))
    }

    /// Begins to find out when a run was lost; says how far it is, and ends with the curve and the
    /// run that it is of: one with more operations, where this one has few left.
    pub fn why(self: &Arc<Self>, asked: &Lost) -> Result<Value, String> {
        let run = asked.run;
        let (of, studio) = (self.runs.asked(run)?, self.clone());
        let usual = Effort::default();
        let effort = Effort {
            points: asked.points.unwrap_or(usual.points).clamp(2, usual.points),
            closer: usual.closer,
            runs: asked.runs.unwrap_or(usual.runs).clamp(1, usual.runs),
            jobs: Gate::width(),
        };
        if of.scene.scenario.hosted.is_some() {
            return Err("its nodes are programs, which are slow: save the plan, and ask node why \
                        with --points and --runs"
                .into());
        }
        let job = self.jobs.begin("why", move |job| {
            let Asked { scene, plan, .. } = &of;
            let mut told = 0;
            let mut progress = |done: usize, all: usize| {
                let percent = 100 * done / all.max(1);
                if percent > told {
                    told = percent;
                    job.say(json!(percent));
                }
                if job.is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let ask = || why(&scene.scenario, &studio.registry, plan, effort, &mut progress);
            let why = studio.runs.gate.through(ask)?;
            let mut answer = match why.plan.operations == plan.operations {
                true => json!({"run": run, "told": of.told}),
                false => studio.ask(scene, &why.plan)?,
            };
            let point =
                |one: &Point| json!({"t": one.at_ns, "share": one.share(), "runs": one.runs});
            answer["points"] = why.points.iter().map(point).collect();
            answer["step"] = why.bracket().map_or(Value::Null, |(before, after)| {
                let is_clear = why.step.is_some_and(|step| step.is_clear());
                json!({"before": point(&before), "after": point(&after), "is_clear": is_clear})
            });
            Ok(answer)
        })?;
        Ok(json!({"job": job}))
    }

    /// Begins to make a run smaller that still breaks the same; ends with that run.
    pub fn shrink(self: &Arc<Self>, run: usize) -> Result<Value, String> {
        let (of, studio) = (self.runs.asked(run)?, self.clone());
        let failure = of.failure.clone().ok_or("this run breaks nothing")?;
        let job = self.jobs.begin("shrink", move |_| {
            let Asked { scene, plan, .. } = &of;
            let smaller = || smallest(&scene.scenario, &studio.registry, plan, &failure);
            let (plan, _) = studio.runs.gate.through(smaller);
            studio.ask(scene, &plan)
        })?;
        Ok(json!({"job": job}))
    }

    /// Begins to try all orders of a small scenario; ends with what that came to, and with the run
    /// that breaks something, if one does.
    pub fn explore(self: &Arc<Self>, asked: &Bounded) -> Result<Value, String> {
        let (scene, studio) = (self.scene(&asked.named)?, self.clone());
        if scene.scenario.explore.is_none() {
            return Err(format!("{}: no table [explore]: see docs/exploring.md", scene.name));
        }
        let limit = Duration::from_secs(asked.seconds.clamp(1, MAX_SECONDS));
        let job = self.jobs.begin("explore", move |job| {
            let began = Instant::now();
            let goes_on = |done: u64| {
                if done.is_multiple_of(TOLD_EVERY) {
                    job.say(json!(done));
                }
                !job.is_stopped() && began.elapsed() < limit
            };
            let how = explore::Asked {
                seed: 1,
                jobs: Gate::width(),
                reduces: true,
                hears: &|_| {},
                goes_on: &goes_on,
            };
            let search = || explore(&scene.scenario, &studio.registry, &how);
            let explored = studio.runs.gate.through(search)?;
            let mut answer = match &explored.found {
                Some(found) => studio.ask(&scene, &found.plan)?,
                None => json!({}),
            };
            answer["ended"] = json!(match explored.ended {
                Ended::Exhausted => "exhausted",
                Ended::Found => "found",
                Ended::Stopped => "time",
                Ended::Deep => "depth",
            });
            answer["schedules"] = explored.schedules.into();
            answer["bounds"] = explored.explore.budget().to_string().into();
            answer["depth"] = explored.explore.depth.into();
            answer["verdict"] = json!(explored.tally.verdict());
            answer["lines"] = json!(explored.tally.lines());
            Ok(answer)
        })?;
        Ok(json!({"job": job}))
    }
}
