//! What the page can ask: commands by name, JSON in and out. Each answers at once, but for a run,
//! or begins a job. Knows no HTTP.

use super::Opened;
use super::catalog::Catalog;
use super::compare::compare;
use super::faults;
use super::jobs::{Job, Jobs};
use super::live::Live;
use super::runs::{Asked, Gate, Runs, Scene, lock, square};
use super::server::{Request, Response};
use crate::cli::sim::replay;
use node_lab::explain::{Source, html, merge};
use node_lab::registry::Registry;
use node_lab::sim::branch::Branch;
use node_lab::sim::plan::Plan;
use node_lab::sim::run::run;
use node_lab::sim::smallest;
use node_lab::sim::tally::Tally;
use node_lab::sim::tracer::Tracer;
use node_lab::sim::why::{Effort, Point, why};
use node_lab::study::Run;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The most seeds of one strip.
const MAX_SEEDS: u64 = 100_000;
/// How many checked scenarios are remembered.
const MAX_SCENES: usize = 8;

/// The studio: what the page sees of it are answers.
pub(super) struct Studio {
    pub registry: Arc<Registry>,
    pub catalog: Catalog,
    pub runs: Arc<Runs>,
    pub jobs: Jobs,
    pub live: Option<Live>,
    pub opened: Opened,
    pub scenes: Mutex<Vec<Scene>>,
}

/// A scenario: the name that it began as, and its text; without, that of the file.
#[derive(Deserialize)]
struct Named {
    name: String,
    text: Option<String>,
}

#[derive(Deserialize)]
struct SetFault {
    text: String,
    family: String,
    low: u64,
    high: u64,
}

#[derive(Deserialize)]
struct SaveAs {
    name: String,
    text: String,
    wanted: String,
}

#[derive(Deserialize)]
struct Seeds {
    #[serde(flatten)]
    named: Named,
    first: u64,
    last: u64,
}

#[derive(Deserialize)]
struct OneSeed {
    #[serde(flatten)]
    named: Named,
    /// Text: numbers of JavaScript are exact to 2^53 only.
    seed: String,
}

#[derive(Deserialize)]
struct OfJob {
    job: u64,
    #[serde(default)]
    from: usize,
}

#[derive(Deserialize)]
struct OfRun {
    run: usize,
}

/// A run's plan with these branches instead of its own.
#[derive(Deserialize)]
struct Fork {
    run: usize,
    branches: Vec<Branch>,
}

#[derive(Deserialize)]
struct Pair {
    one: usize,
    other: usize,
}

/// A run that was lost; with fewer points and runs, for who is in a hurry.
#[derive(Deserialize)]
struct Lost {
    run: usize,
    points: Option<usize>,
    runs: Option<u32>,
}

#[derive(Deserialize)]
struct Control {
    node: String,
    what: String,
}

#[derive(Deserialize)]
struct SavePlan {
    run: usize,
    wanted: String,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// The page and its parts: path, form, text.
const ASSETS: [(&str, &str, &str); 8] = [
    ("", HTML, include_str!("studio.html")),
    ("studio.css", CSS, include_str!("studio.css")),
    ("core.js", JS, include_str!("core.js")),
    ("scene.js", JS, include_str!("scene.js")),
    ("forks.js", JS, include_str!("forks.js")),
    ("runs.js", JS, include_str!("runs.js")),
    ("live.js", JS, include_str!("live.js")),
    ("start.js", JS, include_str!("start.js")),
];

impl Studio {
    /// Answers a request that may be answered.
    pub fn answer(self: &Arc<Self>, request: Request) -> Response {
        let Request { path, command } = request;
        let Some(body) = command else { return self.get(&path) };
        let Some(name) = path.strip_prefix("api/") else {
            return Response::refusal(404, "there is no such command");
        };
        let is_controlled = self.live.as_ref().is_some_and(Live::is_controlled);
        if name == "control" && !is_controlled {
            let why = "nodes are left alone: start node studio DIR with --allow-control";
            return Response::refusal(403, why);
        }
        match self.command(name, &body) {
            Some(Ok(value)) => Response::json(&value),
            Some(Err(why)) => Response::refusal(400, &why),
            None => Response::refusal(404, "there is no such command"),
        }
    }

    fn get(&self, path: &str) -> Response {
        if let Some((_, form, text)) = ASSETS.iter().find(|(asset, ..)| *asset == path) {
            return Response::asset(form, text);
        }
        if path == "traces" {
            return match self.traces() {
                Ok(html) => Response::page(html),
                Err(why) => Response::refusal(404, &why),
            };
        }
        if let Some(most) = path.strip_prefix("live/").and_then(|most| most.parse().ok()) {
            return match self.live().and_then(|live| live.page(most)) {
                Ok(html) => Response::page(html),
                Err(why) => Response::refusal(404, &why),
            };
        }
        let id = path.strip_prefix("run/").and_then(|id| id.parse().ok());
        match id.map(|id| self.runs.shown(id)) {
            Some(Ok(shown)) => Response::page(shown.html.clone()),
            Some(Err(why)) => Response::refusal(404, &why),
            None => Response::refusal(404, "there is no such page"),
        }
    }

    fn live(&self) -> Result<&Live, String> {
        self.live.as_ref().ok_or_else(|| "no folder of nodes was named".into())
    }

    /// None for a command that there is not.
    fn command(self: &Arc<Self>, name: &str, body: &[u8]) -> Option<Result<Value, String>> {
        Some(match name {
            "start" => Ok(self.start()),
            "scenario" => given(body).and_then(|one| self.scenario(&one)),
            "fault" => given(body).and_then(|SetFault { text, family, low, high }| {
                Ok(json!({"text": faults::set(&text, &family, low, high)?}))
            }),
            "save" => given(body).and_then(|SaveAs { name, text, wanted }| {
                let files = self.catalog.save(&name, &text, &wanted, &self.registry)?;
                Ok(json!({"name": wanted, "files": files}))
            }),
            "seeds" => given(body).and_then(|one| self.seeds(&one)),
            "run" => given(body).and_then(|OneSeed { named, seed }| {
                let scene = self.scene(&named)?;
                let seed = seed.parse().map_err(|_| format!("{seed}: a seed is a number"))?;
                self.ask(&scene, &scene.scenario.plan(seed))
            }),
            "fork" => given(body).and_then(|Fork { run, branches }| {
                let Asked { scene, mut plan, .. } = self.runs.asked(run)?;
                plan.branches = branches;
                self.ask(&scene, &plan)
            }),
            "why" => given(body).and_then(|one| self.why(&one)),
            "shrink" => given(body).and_then(|OfRun { run }| self.shrink(run)),
            "compare" => given(body).and_then(|Pair { one, other }| {
                let (one, other) = (self.runs.shown(one)?, self.runs.shown(other)?);
                compare(&one.trace, &other.trace)
            }),
            "replay" => given(body).and_then(|Named { name, .. }| self.replay(&name)),
            "save_plan" => given(body).and_then(|one| self.save_plan(&one)),
            "told" => given(body).and_then(|OfRun { run }| {
                let Asked { scene, told, .. } = self.runs.asked(run)?;
                Ok(json!({"run": run, "told": told, "name": *scene.name, "text": *scene.text}))
            }),
            "live" => self.live().map(Live::look),
            "control" => given(body).and_then(|Control { node, what }| {
                self.live()?.control(&node, &what)?;
                Ok(json!({}))
            }),
            "job" => given(body).and_then(|OfJob { job, from }| self.jobs.read(job, from)),
            "stop" => given(body).and_then(|OfJob { job, .. }| {
                self.jobs.stop(job)?;
                Ok(json!({}))
            }),
            _ => return None,
        })
    }

    /// What the page opens with.
    fn start(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "opened": self.opened.told(),
            "scenarios": self.catalog.list(&self.registry),
        })
    }

    /// A scenario's text, what its faults stand at, and what is wrong with it, if so.
    fn scenario(&self, named: &Named) -> Result<Value, String> {
        let text = match &named.text {
            Some(text) => text.clone(),
            None => self.catalog.text(&named.name, &self.registry)?,
        };
        let families = faults::read(&text);
        let scene = self.scene(&Named { name: named.name.clone(), text: Some(text.clone()) });
        let about = scene.as_ref().ok().map(|scene| {
            let scenario = &scene.scenario;
            let properties = scenario
                .properties
                .iter()
                .map(|property| json!({"name": property.name, "statement": property.statement}));
            json!({
                "nodes": scenario.nodes.len(),
                "properties": properties.collect::<Vec<_>>(),
                "violates": scenario.violates.map(|property| property.name),
                "is_hosted": scenario.hosted.is_some(),
                "has_fixed": !scenario.fixed.is_empty(),
            })
        });
        Ok(json!({
            "name": named.name, "text": text, "families": families,
            "about": about, "wrong": scene.err(),
        }))
    }

    /// Checks a scenario, or remembers that it was.
    fn scene(&self, named: &Named) -> Result<Scene, String> {
        let Named { name, text } = named;
        let text: Arc<str> = match text {
            Some(text) => text.as_str().into(),
            None => self.catalog.text(name, &self.registry)?.into(),
        };
        let mut scenes = lock(&self.scenes);
        if let Some(known) = scenes.iter().find(|one| *one.name == **name && one.text == text) {
            return Ok(known.clone());
        }
        let scenario = Arc::new(self.catalog.scenario(name, &text, &self.registry)?);
        let scene = Scene { name: name.as_str().into(), text, scenario };
        // A file's configs may change behind it: only what the binary brings is remembered.
        if self.registry.scenario(name).is_some() {
            scenes.truncate(MAX_SCENES - 1);
            scenes.insert(0, scene.clone());
        }
        Ok(scene)
    }

    fn ask(&self, scene: &Scene, plan: &Plan) -> Result<Value, String> {
        let (run, asked) = self.runs.ask(scene, plan)?;
        Ok(json!({"run": run, "told": asked.told}))
    }

    /// Begins a strip of seeds: a square for each as it is done.
    fn seeds(self: &Arc<Self>, asked: &Seeds) -> Result<Value, String> {
        let (first, last) = (asked.first, asked.last);
        if first > last || last - first >= MAX_SEEDS {
            return Err(format!("seeds: 1 to {MAX_SEEDS} of them"));
        }
        let (scene, studio) = (self.scene(&asked.named)?, self.clone());
        let job = self.jobs.begin("seeds", move |job| studio.strip(&scene, first, last, job))?;
        Ok(json!({"job": job}))
    }

    fn strip(&self, scene: &Scene, first: u64, last: u64, job: &Job) -> Result<Value, String> {
        let next = AtomicU64::new(first);
        let tally = Mutex::new(Tally::new(&scene.scenario.properties));
        std::thread::scope(|scope| {
            for _ in 0..Gate::width() {
                scope.spawn(|| {
                    while !job.is_stopped() {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed > last {
                            return;
                        }
                        let plan = scene.scenario.plan(seed);
                        let mut outcome = self
                            .runs
                            .gate
                            .through(|| run(&scene.scenario, &self.registry, &plan, Tracer::new()));
                        outcome.run = Run::default();
                        job.say(square(&outcome));
                        lock(&tally).take(&mut outcome);
                    }
                });
            }
        });
        let tally = tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
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
    fn why(self: &Arc<Self>, asked: &Lost) -> Result<Value, String> {
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
    fn shrink(self: &Arc<Self>, run: usize) -> Result<Value, String> {
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

    /// Runs a saved plan.
    fn replay(&self, name: &str) -> Result<Value, String> {
        let text = self.catalog.text(name, &self.registry)?;
        let saved = replay::parse(&PathBuf::from(name), &text)?;
        if saved.program.is_some() {
            return Err(format!("{name}: its nodes are programs: use node sim --replay {name}"));
        }
        let scenario = saved.scenario.display().to_string();
        let scene = self.scene(&Named { name: scenario.clone(), text: None })?;
        let mut answer = self.ask(&scene, &saved.plan)?;
        answer["name"] = scenario.into();
        Ok(answer)
    }

    /// Saves the plan of a run for `node sim --replay`.
    fn save_plan(&self, asked: &SavePlan) -> Result<Value, String> {
        let of = self.runs.asked(asked.run)?;
        let name = &of.scene.name;
        if self.catalog.text(name, &self.registry)? != *of.scene.text {
            return Err(format!("{name} was changed: save the scenario first, and run it again"));
        }
        let path = self.catalog.place(&asked.wanted)?;
        let property = of.failure.as_ref().map_or("", |failure| &failure.property);
        let text = replay::text(&of.scene.scenario, &of.plan, property)?;
        super::catalog::write(&path, &text)?;
        Ok(json!({"file": asked.wanted, "command": format!("node sim --replay {}", asked.wanted)}))
    }

    /// The page of the traces that the command line names.
    fn traces(&self) -> Result<Vec<u8>, String> {
        let Opened::Traces(files) = &self.opened else { return Err("no traces were named".into()) };
        let sources: Result<Vec<Source>, _> = files.iter().map(|file| Source::load(file)).collect();
        let sources = sources.map_err(|error| error.to_string())?;
        let mut html = Vec::new();
        let run = merge(&sources).map_err(|error| error.to_string())?;
        html::write(&run, &mut html).map_err(|error| error.to_string())?;
        Ok(html)
    }
}

/// What a command was given.
fn given<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("the command is none: {error}"))
}
