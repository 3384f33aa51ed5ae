//! What the page can ask: commands by name, JSON in and out. Each answers at once, but for a run,
//! or begins a job. Knows no HTTP.

use super::Opened;
use super::asked::given;
use super::asked::{Control, Fork, Named, OfJob, OfRun, OneSeed, Pair, SaveAs, SavePlan, SetFault};
use super::catalog::Catalog;
use super::compare::compare;
use super::faults;
use super::jobs::Jobs;
use super::live::Live;
use super::runs::{Asked, Runs, Scene, lock};
use super::server::{Request, Response};
use crate::cli::sim::replay;
use node_lab::registry::Registry;
use node_lab::sim::plan::Plan;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

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

    /// The folder of nodes that was named.
    pub fn live(&self) -> Result<&Live, String> {
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
            "explore" => given(body).and_then(|one| self.explore(&one)),
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
                "explores": scenario.explore.is_some(),
                "has_fixed": !scenario.fixed.is_empty(),
            })
        });
        Ok(json!({
            "name": named.name, "text": text, "families": families,
            "about": about, "wrong": scene.err(),
        }))
    }

    /// Checks a scenario, or remembers that it was.
    pub fn scene(&self, named: &Named) -> Result<Scene, String> {
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

    /// Runs a plan; answers the run's number and what came of it.
    pub fn ask(&self, scene: &Scene, plan: &Plan) -> Result<Value, String> {
        let (run, asked) = self.runs.ask(scene, plan)?;
        Ok(json!({"run": run, "told": asked.told}))
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
}
