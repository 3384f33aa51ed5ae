//! `[hosted]` of a scenario: nodes that are processes, the services beside them, and what cannot
//! break of them. Knows no workload.

use super::fault::{Fault, Ranges};
use super::world::Network;
use crate::config::Config;
use crate::hosted::{self, Guest, Hosting, Limits, Program, Seat, Stage, Tier, Timers, services};
use crate::registry::Registry;
use node_core::{Env, Host, NodeId, Protocol, erase};
use serde::Deserialize;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The table `[hosted]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    /// The program; without, whoever runs the scenario names it.
    #[serde(default)]
    bin: PathBuf,
    /// What it is started with.
    #[serde(default)]
    args: Vec<String>,
    /// How many nodes run it: `n0`, `n1`, …
    nodes: u32,
    #[serde(default)]
    tier: Tier,
    #[serde(default)]
    timers: Timers,
    /// How long a turn may take, in milliseconds of real time.
    #[serde(default = "default_turn_ms")]
    turn_ms: u64,
    #[serde(default)]
    limits: Limits,
}

fn default_turn_ms() -> u64 {
    5_000
}

/// The most nodes: each is a process.
const MAX_PROGRAMS: u32 = 100;
/// Nobody waits longer for one turn: ten minutes.
const MAX_TURN_MS: u64 = 600_000;

/// The programs of a scenario, checked.
#[derive(Debug)]
pub struct Hosted {
    /// How they are run.
    pub hosting: Hosting,
    /// The nodes' configs.
    nodes: Vec<Config>,
    /// Those of the services beside them.
    pub services: Vec<Config>,
}

impl Table {
    /// Checks it, with the program that is `given` instead of its own.
    ///
    /// # Errors
    /// Which key breaks which rule, in one line.
    pub fn resolve(
        self,
        path: &Path,
        given: Option<&Guest>,
        registry: &Registry,
    ) -> Result<Hosted, String> {
        if !(1..=MAX_PROGRAMS).contains(&self.nodes) {
            return Err(format!("hosted: nodes is 1 to {MAX_PROGRAMS}"));
        }
        if !(1..=MAX_TURN_MS).contains(&self.turn_ms) {
            return Err(format!("hosted: turn_ms is 1 to {MAX_TURN_MS}"));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let own = self.bin.components().next().is_some();
        let mut hosting = Hosting {
            bin: if own { find(&self.bin, folder)? } else { PathBuf::new() },
            args: self.args,
            user: None,
            limits: self.limits,
            tier: self.tier,
            timers: self.timers,
            turn_ms: self.turn_ms,
        };
        if let Some(given) = given {
            hosting.bin = find(&given.bin, Path::new(""))?;
            hosting.args.clone_from(&given.args);
            hosting.user = given.user;
            hosting.limits = given.limits.unwrap_or(hosting.limits);
        }
        let all = self.nodes + services::NAMES.len() as u32;
        let text =
            format!("[node]\nid = 1\n[protocols.{}]\nnodes = {}\n", Program::NAME, self.nodes);
        let base = Config::parse(path, text, registry).map_err(|error| error.to_string())?;
        let config = |id: u32| {
            let mut config = base.clone();
            config.id = NodeId(id);
            config.name = Some(match id.checked_sub(self.nodes + 1) {
                None => format!("n{}", id - 1),
                Some(place) => services::NAMES[place as usize].to_string(),
            });
            let others = (1..=all).filter(|other| *other != id);
            config.peers = others.map(|other| (NodeId(other), String::new())).collect();
            config
        };
        let nodes = (1..=self.nodes).map(config).collect();
        let services = (self.nodes + 1..=all).map(config).collect();
        Ok(Hosted { hosting, nodes, services })
    }
}

/// The program's file, from a folder or, where it is a name alone, from where programs are.
fn find(bin: &Path, folder: &Path) -> Result<PathBuf, String> {
    let is_name = bin.components().count() == 1 && !folder.join(bin).exists();
    if is_name && !bin.starts_with(".") {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut all = std::env::split_paths(&path).map(|folder| folder.join(bin));
        let found = all.find(|path| path.is_file());
        return found.ok_or_else(|| format!("hosted: bin: there is no program {}", bin.display()));
    }
    let file = folder.join(bin);
    let told = |why: &str| format!("hosted: bin: {}: {why}", file.display());
    let whole = file.canonicalize().map_err(|error| told(&error.to_string()))?;
    let meta = whole.metadata().map_err(|error| told(&error.to_string()))?;
    if !meta.is_file() {
        return Err(told("it is no file"));
    }
    if names_this_binary(&whole) {
        return Err(told(
            "its first line runs `node`, and the first of that name in PATH is this program: put Node.js \
             before it",
        ));
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(told(
            "it is no program: make it one with chmod +x, and begin a script with #!",
        ));
    }
    Ok(whole)
}

/// Whether a script for Node.js would be run by this very binary, which can have the same name.
fn names_this_binary(script: &Path) -> bool {
    let mut line = [0; 64];
    let read = std::fs::File::open(script).and_then(|mut file| file.read(&mut line));
    let line = String::from_utf8_lossy(&line[..read.unwrap_or(0)]).into_owned();
    let first = line.lines().next().unwrap_or_default().trim_end();
    let is_script = first.starts_with("#!") && first.ends_with("/env node");
    let own = std::env::current_exe().and_then(|own| own.canonicalize()).ok();
    let found = || find(Path::new("node"), Path::new("")).ok()?.canonicalize().ok();
    is_script && own.is_some() && found() == own
}

impl Hosted {
    /// The nodes that are programs.
    pub fn nodes(&self) -> Vec<Config> {
        self.nodes.clone()
    }

    /// A node's Host: the process, or the service.
    ///
    /// # Errors
    /// It cannot be built, in one line.
    pub fn host(&self, config: &Config, env: &Env, seat: Seat) -> Result<Host, String> {
        let nodes = self.nodes.len() as u32;
        let place = env.id.0.checked_sub(nodes + 1);
        let service = place.and_then(|place| services::NAMES.get(place as usize));
        let service = service.map(|name| (*name).to_string());
        let table = hosted::Config { nodes, service, seat: Some(seat) };
        let program = erase::<Program>(table, env).map_err(|error| error.rule)?;
        Ok(Host::new(env, vec![program], config.lamport_rule))
    }

    /// The stage of a run.
    ///
    /// # Errors
    /// There is no program, or no folder for it.
    pub fn stage(&self) -> Result<Arc<Stage>, String> {
        if self.hosting.bin.as_os_str().is_empty() {
            return Err("no program: name one with --bin, or with bin under [hosted]".into());
        }
        Stage::new(&self.hosting).map(Arc::new)
    }
}

/// Between programs messages are alone, as in datagrams: they keep no order unless it is asked for,
/// and nobody hears that another cannot be reached. Clients' messages take no time: time would hide
/// from them what programs do wrong.
pub(super) fn network() -> Network {
    Network {
        client_delay: 0..=0,
        ordered: false,
        redial: 0..=0,
        link_timeout: 3_600_000_000_000,
        ..Network::default()
    }
}

/// Why a fault cannot be one of a program's; none where it can.
fn refusal(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "sync_error" | "disk_full" | "bit_rot" | "rollback" | "foreign" | "lost_log" => {
            "a program writes its files by itself, and nobody sees what it syncs: crash, with wipe, is what \
             there is of disks"
        }
        "clock" => "a program reads the run's clock, or the machine's: there is none to set",
        "twin" => "a program is known by its name alone: two of one name are one to all others",
        "liar" => "what a program means by its messages nobody knows, so nobody can lie for it",
        _ => return None,
    })
}

/// Whether all faults can be those of programs.
///
/// # Errors
/// Which cannot, and why.
pub(super) fn check_faults(ranges: &Ranges, fixed: &[Fault]) -> Result<(), String> {
    let drawn = ranges.kinds();
    let fixed = fixed.iter().map(Fault::name);
    for kind in drawn.into_iter().chain(fixed) {
        if let Some(why) = refusal(kind) {
            return Err(format!("{kind}: {why}"));
        }
    }
    Ok(())
}
