//! What the programs of one run share: how they are hosted, where their folders are, the pace of
//! the run's time, and what went wrong. Knows no message.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How a run of programs goes through time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Real time: faults are repeated, the run is not.
    Wall,
    /// Virtual time: one event to one process, which then comes to rest.
    #[default]
    Lockstep,
}

/// By whose time a program's timers go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timers {
    /// The machine's.
    Wall,
    /// The run's, by a library that is loaded into Python, Node.js and Ruby.
    #[default]
    Shim,
    /// The run's: it asks the service `clock` alone.
    Clock,
}

/// What the processes of one node may use. A run in which one uses more fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Resident memory, in MiB.
    pub memory_mb: u64,
    /// Processes.
    pub processes: u64,
    /// What is written to stdout and stderr, in MiB, in one run and by one process.
    pub output_mb: u64,
    /// What its folder holds, in MiB.
    pub disk_mb: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { memory_mb: 4096, processes: 64, output_mb: 256, disk_mb: 1024 }
    }
}

/// A program that is run instead of the one that a scenario names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Guest {
    /// Its file.
    pub bin: PathBuf,
    /// What it is started with.
    pub args: Vec<String>,
    /// Whose it is: the id of a user, and of that user's group; without, whoever runs this.
    pub user: Option<u32>,
    /// What it may use; without, what the scenario says.
    pub limits: Option<Limits>,
}

/// A program, and how it is run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hosting {
    /// The program's file.
    pub bin: PathBuf,
    /// What it is started with.
    pub args: Vec<String>,
    /// Whose it is: the id of a user, and of that user's group; without, whoever runs this.
    pub user: Option<u32>,
    /// What it may use.
    pub limits: Limits,
    /// How it goes through time.
    pub tier: Tier,
    /// By whose time its timers go.
    pub timers: Timers,
    /// How long a turn may take, in milliseconds of real time.
    pub turn_ms: u64,
}

/// The programs of one run.
#[derive(Debug)]
pub struct Stage {
    hosting: Hosting,
    folder: TempDir,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failure: Option<String>,
    out_of_time: Option<String>,
    reached: Reached,
}

/// How far the run of the programs is repeated by its seed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reached {
    /// Whether it was in real time.
    pub is_wall: bool,
    /// Whether a program's timers went by the run's time.
    pub virtual_timers: bool,
    /// A program that waited for the machine's time: who, and in which system call.
    pub waits: Option<(String, &'static str)>,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reached { is_wall, virtual_timers, waits } = self;
        f.write_str(match (is_wall, virtual_timers) {
            (true, _) => "wall: in real time; a seed repeats the faults, not the run",
            (false, true) => "virtual timers: a seed repeats the run, timers and all",
            (false, false) => "lockstep: a seed repeats the run of programs that only react",
        })?;
        match waits {
            Some((who, call)) if !is_wall => write!(
                f,
                "; but {who} waited for the machine's clock ({call}): what it does then, no seed repeats"
            ),
            _ => Ok(()),
        }
    }
}

impl Stage {
    /// A stage with an empty folder.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(hosting: &Hosting) -> Result<Stage, String> {
        let told = |error: io::Error| format!("no folder for programs can be made: {error}");
        let folder = tempfile::Builder::new().prefix("node-programs-").tempdir().map_err(told)?;
        // Programs of another user find their own folders in it, and nothing else.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).map_err(told)?;
        let reached = Reached { is_wall: hosting.tier == Tier::Wall, ..Reached::default() };
        let state = Mutex::new(State { failure: None, out_of_time: None, reached });
        Ok(Stage { hosting: hosting.clone(), folder, began: Instant::now(), state })
    }

    /// How its programs are run.
    pub fn hosting(&self) -> &Hosting {
        &self.hosting
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A program, or what it said, is not what it has to be: the run ends. Only the first is kept.
    pub fn fail(&self, why: String) {
        self.state().failure.get_or_insert(why);
    }

    /// A program was not done in time: the run ends, and nobody knows how it would have gone on.
    pub fn give_up(&self, why: String) {
        self.state().out_of_time.get_or_insert(why);
    }

    /// Why the run ends, if it does.
    pub fn failure(&self) -> Option<String> {
        self.state().failure.clone()
    }

    /// Why it ends undecided, if it does.
    pub fn out_of_time(&self) -> Option<String> {
        self.state().out_of_time.clone()
    }

    /// Whether it is over for one reason or the other.
    pub fn is_over(&self) -> bool {
        let state = self.state();
        state.failure.is_some() || state.out_of_time.is_some()
    }

    /// A program's timers go by the run's time.
    pub fn has_virtual_timers(&self) {
        self.state().reached.virtual_timers = true;
    }

    /// A program waits for the machine's time.
    pub fn waits(&self, who: &str, call: &'static str) {
        self.state().reached.waits.get_or_insert_with(|| (who.to_string(), call));
    }

    /// How far the run is repeated by its seed.
    pub fn reached(&self) -> Reached {
        self.state().reached.clone()
    }

    /// In real time, waits until the run's time is that of the machine.
    pub fn pace(&self, nanos: u64) {
        if self.hosting.tier == Tier::Wall {
            let left = Duration::from_nanos(nanos).checked_sub(self.began.elapsed());
            std::thread::sleep(left.unwrap_or_default());
        }
    }

    /// A node's own folder, where its program runs, and one beside it for its clock.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folders(&self, node: &str, is_new: bool) -> Result<(PathBuf, PathBuf), String> {
        let folder = self.folder.path().join(node);
        let clock = self.folder.path().join(format!("{node}.clock"));
        let told = |error: io::Error| format!("{}: {error}", folder.display());
        if is_new && folder.exists() {
            fs::remove_dir_all(&folder).map_err(told)?;
        }
        if !folder.exists() {
            fs::create_dir(&folder).map_err(told)?;
            if let Some(user) = self.hosting.user {
                chown(&folder, Some(user), Some(user)).map_err(told)?;
            }
        }
        // What an earlier process has made of this one is gone: it may be links to anywhere.
        if clock.exists() {
            fs::remove_dir_all(&clock).map_err(told)?;
        }
        fs::create_dir(&clock).map_err(told)?;
        fs::set_permissions(&clock, Permissions::from_mode(0o755)).map_err(told)?;
        Ok((folder, clock))
    }

    /// What a node's folder holds, in MiB, as far as that is not more than it may.
    pub fn disk_mb(&self, node: &str) -> u64 {
        let most = self.hosting.limits.disk_mb + 1;
        size_of(&self.folder.path().join(node), most << 20) >> 20
    }
}

/// The bytes of the files in a folder, counted until they are more than `most`.
fn size_of(folder: &Path, most: u64) -> u64 {
    let mut left = vec![folder.to_path_buf()];
    let mut bytes = 0;
    while let Some(folder) = left.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                left.push(entry.path());
            } else if let Ok(meta) = entry.metadata() {
                bytes += meta.len();
            }
            if bytes > most {
                return bytes;
            }
        }
    }
    bytes
}
