//! `node studio`: the page of `node explain` with the run's controls on, served to a browser on
//! this machine.
//!
//! Who may ask what is `server`'s; what can be asked, `api`'s, `pages`' and, where it takes long,
//! `long`'s. Behind them are `catalog` (scenarios and files), `faults` (sliders), `runs`, `show`,
//! `compare` and `jobs`; nodes that run are `live`'s. The page itself is `studio.html` and the
//! `.css` and `.js` beside it; it frames the page of a run as `node explain` writes it, and uses
//! its hook (`window.explain`).

mod api;
mod asked;
mod catalog;
mod compare;
mod faults;
mod jobs;
mod live;
mod long;
mod pages;
mod runs;
mod server;
mod show;

use self::api::Studio;
use self::catalog::Catalog;
use self::jobs::Jobs;
use self::live::Live;
use self::runs::Runs;
use self::server::Server;
use super::output::Output;
use super::{page, tell};
use crate::client::escaped;
use clap::Args;
use node_lab::registry::Registry;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

/// Run, fork and compare in a browser: the page of node explain, with the run's controls on
///
/// Give it a scenario (a file, or a name of node scenarios), a plan that was saved, traces, or the
/// folder of nodes that run (scripts/cluster.sh, make election), whose traces it follows:
///
///   node studio kv-linearizable
///   node studio run/sim/kv-linearizable-15.toml
///   node studio n1.jsonl n2.jsonl n3.jsonl
///   node studio run/election --allow-control
///
/// It serves one page on 127.0.0.1 and prints its address, which has a token in it: whoever has the
/// address can run scenarios as you, and nobody else can. It ends with Ctrl-C. Scenarios and plans
/// are saved under new names in the working folder, and nothing is ever overwritten.
///
/// Exit codes: 1 when it cannot begin, 2 for a wrong command line.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct StudioArgs {
    /// A scenario, a saved plan, traces, or a folder of nodes [default: choose in the page]
    #[arg(value_name = "SCENARIO | REPLAY | TRACE | DIR")]
    what: Vec<PathBuf>,
    /// The port on 127.0.0.1 [default: any that is free]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Open the page in a browser, too
    #[arg(long)]
    open: bool,
    /// The page may kill, pause and start the nodes of DIR
    #[arg(long)]
    allow_control: bool,
}

/// What the command line names.
enum Opened {
    Nothing,
    Scenario(String),
    Replay(String),
    Traces(Vec<PathBuf>),
    Folder(PathBuf),
}

impl Opened {
    /// # Errors
    /// It is nothing that can be opened.
    fn of(what: &[PathBuf], registry: &Registry) -> Result<Opened, String> {
        let [first, more @ ..] = what else { return Ok(Opened::Nothing) };
        let name = first.display().to_string();
        if more.is_empty() && !first.exists() {
            return match registry.scenario(&name) {
                Some(_) => Ok(Opened::Scenario(name)),
                None => Err(format!("{name}: no such file, and no scenario of node scenarios")),
            };
        }
        if first.is_dir() && more.is_empty() {
            return Ok(Opened::Folder(first.clone()));
        }
        if first.extension().is_some_and(|extension| extension == "toml") {
            if !more.is_empty() {
                return Err("one scenario or plan at a time".into());
            }
            let table = fs::read_to_string(first).map_err(|error| format!("{name}: {error}"))?;
            let table: toml::Table = table.parse().map_err(|error| format!("{name}: {error}"))?;
            let is_plan = table.contains_key("scenario");
            return Ok(if is_plan { Opened::Replay(name) } else { Opened::Scenario(name) });
        }
        match what.iter().find(|file| !file.is_file()) {
            Some(none) => Err(format!("{}: no such file", none.display())),
            None => Ok(Opened::Traces(what.to_vec())),
        }
    }

    /// For the page.
    fn told(&self) -> Value {
        match self {
            Opened::Nothing => json!({"kind": "nothing"}),
            Opened::Scenario(name) => json!({"kind": "scenario", "name": name}),
            Opened::Replay(name) => json!({"kind": "replay", "name": name}),
            Opened::Traces(files) => {
                let names: Vec<String> = files.iter().map(|it| it.display().to_string()).collect();
                json!({"kind": "traces", "names": names})
            }
            Opened::Folder(folder) => {
                json!({"kind": "folder", "name": folder.display().to_string()})
            }
        }
    }
}

/// Serves until it is told to stop.
pub(super) fn main(args: &StudioArgs, registry: Registry) -> ExitCode {
    // A failed assertion of a run is told as its verdict.
    std::panic::set_hook(Box::new(|_| {}));
    let mut out = Output::default();
    let begun = begin(args, registry);
    let (server, studio) = match begun {
        Ok(both) => both,
        Err(why) => {
            tell!("node studio: {}", escaped(why.as_bytes()));
            return ExitCode::FAILURE;
        }
    };
    let url = server.url();
    out.say(format_args!("{url}"));
    let code = out.end("node studio", 0, 1);
    if code != 0 {
        return ExitCode::from(code);
    }
    tell!("node studio: open this address in a browser on this machine; end with Ctrl-C");
    if args.open {
        page::open(url.as_ref()).unwrap_or_else(|why| tell!("node studio: {why}"));
    }
    server.serve(Arc::new(move |request| studio.answer(request)));
    ExitCode::SUCCESS
}

fn begin(args: &StudioArgs, registry: Registry) -> Result<(Server, Arc<Studio>), String> {
    let registry = Arc::new(registry);
    let opened = Opened::of(&args.what, &registry)?;
    let live = match &opened {
        Opened::Folder(folder) => {
            Some(Live::new(folder.clone(), registry.clone(), args.allow_control))
        }
        _ if args.allow_control => return Err("--allow-control is for a folder of nodes".into()),
        _ => None,
    };
    let server = Server::listen(args.port)
        .map_err(|error| format!("127.0.0.1:{}: {error}; take another --port", args.port))?;
    let mut named = args.what.clone();
    if let Opened::Replay(name) = &opened {
        named.extend(scenario_of(name));
    }
    let studio = Studio {
        catalog: Catalog::new(named)?,
        runs: Arc::new(Runs::new(registry.clone())),
        jobs: Jobs::default(),
        live,
        opened,
        scenes: Mutex::default(),
        registry,
    };
    Ok((server, Arc::new(studio)))
}

/// The scenario that a plan names: it may lie elsewhere, as the plan may.
fn scenario_of(plan: &str) -> Option<PathBuf> {
    let table: toml::Table = fs::read_to_string(plan).ok()?.parse().ok()?;
    table.get("scenario").and_then(toml::Value::as_str).map(PathBuf::from)
}
