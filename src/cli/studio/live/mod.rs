//! Nodes that run now: a folder of configs, pid files and traces as scripts/cluster.sh leaves them.
//! The traces are followed as somebody looks; nothing is done to nodes unless that was allowed.

mod follow;
mod process;
mod window;

use self::follow::{Follow, Seen};
use self::window::Window;
use super::runs::lock;
use super::show::page;
use node_lab::registry::Registry;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The events of the sliding window that is judged.
const WINDOW: usize = 20_000;
/// The shortest time between two verdicts.
const JUDGED_EVERY: Duration = Duration::from_secs(2);
/// The most traces and configs of a folder.
const MAX_FILES: usize = 200;

/// A folder of nodes.
pub(super) struct Live {
    folder: PathBuf,
    registry: Arc<Registry>,
    /// Whether nodes may be killed, paused and started.
    is_controlled: bool,
    state: Mutex<State>,
    verdict: Arc<Mutex<Judged>>,
}

#[derive(Default)]
struct State {
    traces: BTreeMap<String, Follow>,
    /// Where nodes ran when they were seen last.
    folders: BTreeMap<String, PathBuf>,
    /// Those that were started here.
    children: Vec<Child>,
}

/// The last verdict.
#[derive(Default)]
struct Judged {
    said: Value,
    began: Option<Instant>,
    is_under_way: bool,
    /// Whether something has happened since it began.
    is_old: bool,
}

impl Live {
    /// Nothing is read before somebody looks.
    pub fn new(folder: PathBuf, registry: Arc<Registry>, is_controlled: bool) -> Live {
        let (state, verdict) = (Mutex::default(), Arc::default());
        Live { folder, registry, is_controlled, state, verdict }
    }

    /// Whether commands to nodes are allowed.
    pub fn is_controlled(&self) -> bool {
        self.is_controlled
    }

    /// How it stands: each node, and the last verdict.
    pub fn look(&self) -> Value {
        let mut state = lock(&self.state);
        let is_new = state.read_on(&self.folder);
        let nodes: Vec<Value> =
            state.names(&self.folder).iter().map(|name| self.node(name, &mut state)).collect();
        self.judge(&state, is_new);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        json!({
            "folder": self.folder.display().to_string(),
            "is_controlled": self.is_controlled,
            "now_ms": now.as_millis() as u64,
            "nodes": nodes,
            "judged": lock(&self.verdict).said,
            "broken": state.traces.values().map(|one| one.broken).sum::<u64>(),
        })
    }

    fn node(&self, name: &str, state: &mut State) -> Value {
        let process = process::of(&self.folder, name);
        if let Some(folder) = process.as_ref().and_then(|process| process.folder.clone()) {
            state.folders.insert(name.into(), folder);
        }
        let is = match &process {
            None => "down",
            Some(process) if process.is_paused => "paused",
            Some(_) => "up",
        };
        let none = Seen::default();
        let seen = state.traces.get(name).map_or(&none, |trace| &trace.seen);
        // What was told last holds first.
        let mut facts: Vec<_> = seen.facts.iter().collect();
        facts.sort_by_key(|(_, (at, _))| std::cmp::Reverse(*at));
        let facts = facts.into_iter().map(|((protocol, fact, _), (_, value))| {
            json!({"protocol": protocol, "fact": fact, "value": value})
        });
        let views = seen
            .views
            .iter()
            .map(|(protocol, value)| json!({"protocol": protocol, "value": value}));
        let (peers, all) = (seen.peers.values().filter(|up| **up).count(), seen.peers.len());
        json!({
            "node": name, "id": seen.node, "name": seen.name, "is": is,
            "pid": process.map(|process| process.pid),
            "has_config": self.folder.join(format!("{name}.toml")).is_file(),
            "has_trace": state.traces.contains_key(name),
            "is_up_by_trace": seen.is_up, "lamport": seen.lamport, "events": seen.events,
            "last_ms": seen.last.as_ref().map(|(at, _)| at / 1_000_000),
            "last": seen.last.as_ref().map(|(_, words)| words),
            "links": peers, "of_links": all,
            "facts": facts.collect::<Vec<_>>(), "views": views.collect::<Vec<_>>(),
        })
    }

    /// Begins a verdict where there is something new, on a thread of its own.
    fn judge(&self, state: &State, is_new: bool) {
        let mut judged = lock(&self.verdict);
        judged.is_old |= is_new;
        let is_soon = judged.began.is_some_and(|began| began.elapsed() < JUDGED_EVERY);
        if !judged.is_old || judged.is_under_way || is_soon {
            return;
        }
        (judged.is_old, judged.is_under_way) = (false, true);
        judged.began = Some(Instant::now());
        let window = state.window(WINDOW);
        let (verdict, registry) = (self.verdict.clone(), self.registry.clone());
        let thread = move || {
            let verdicts = window.judge(&registry);
            let mut judged = lock(&verdict);
            judged.is_under_way = false;
            judged.said = json!({
                "properties": verdicts.as_ref().ok(), "wrong": verdicts.as_ref().err(),
                "events": window.events, "is_whole": window.from.is_none(),
                "from_ms": window.from.map(|from| from / 1_000_000), "to_ms": window.to / 1_000_000,
            });
        };
        if std::thread::Builder::new().spawn(thread).is_err() {
            judged.is_under_way = false;
        }
    }

    /// The page of the last so many events.
    ///
    /// # Errors
    /// There are none, or they cannot be shown.
    pub fn page(&self, most: usize) -> Result<Vec<u8>, String> {
        let window = {
            let mut state = lock(&self.state);
            state.read_on(&self.folder);
            state.window(most)
        };
        if window.events == 0 {
            return Err(format!(
                "no trace in {} has an event yet: start its nodes with --trace, or with \
                 NODE_TRACE=1 scripts/cluster.sh up",
                self.folder.display()
            ));
        }
        let command = format!("node explain {}/*.jsonl -o part.html", self.folder.display());
        page(&window.sources, None, &command, |run| window.add_to(run, &self.registry))
    }

    /// Does something to a node: `kill`, `pause`, `go_on` or `start`.
    ///
    /// # Errors
    /// That is not allowed, there is no such node, or it cannot be done.
    pub fn control(&self, name: &str, what: &str) -> Result<(), String> {
        if !self.is_controlled {
            return Err("nodes are left alone: start node studio with --allow-control".into());
        }
        let mut state = lock(&self.state);
        if !state.names(&self.folder).contains(name) {
            return Err(format!("there is no node {name} in {}", self.folder.display()));
        }
        match what {
            "kill" => process::signal(&self.folder, name, Signal::KILL),
            "pause" => process::signal(&self.folder, name, Signal::STOP),
            "go_on" => process::signal(&self.folder, name, Signal::CONT),
            "start" => {
                let within = state.folders.get(name).cloned();
                let child = process::start(&self.folder, name, within.as_deref())?;
                state.children.push(child);
                Ok(())
            }
            _ => Err(format!("{what}: there are kill, pause, go_on and start")),
        }
    }
}

impl State {
    /// Reads what is new of all traces. Answers whether something was.
    fn read_on(&mut self, folder: &Path) -> bool {
        // Whoever has ended is not to stay behind as a zombie.
        self.children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        for name in stems(folder, "jsonl") {
            let path = folder.join(format!("{name}.jsonl"));
            self.traces.entry(name).or_insert_with(|| Follow::new(path));
        }
        let read = self.traces.values_mut().map(|trace| trace.read_on().unwrap_or(false));
        read.fold(false, |any, one| any | one)
    }

    /// The nodes: whoever has a config or a trace, but for clients.
    fn names(&self, folder: &Path) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = stems(folder, "toml").into_iter().collect();
        let nodes = self.traces.iter().filter(|(_, trace)| trace.seen.node.is_some());
        names.extend(nodes.map(|(name, _)| name.clone()));
        names
    }

    fn window(&self, most: usize) -> Window {
        Window::last(self.traces.iter().map(|(name, trace)| (name.as_str(), trace)), most)
    }
}

/// The files of a folder with that ending, without it.
fn stems(folder: &Path, ending: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let stem = |path: PathBuf| {
        let is = path.extension().is_some_and(|extension| extension == ending) && path.is_file();
        is.then(|| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))?
    };
    let found = entries.flatten().filter_map(|entry| stem(entry.path()));
    let mut found: Vec<String> = found.take(MAX_FILES).collect();
    found.sort();
    found
}
