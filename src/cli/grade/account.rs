//! Whose submissions are: a user of their own for each place of the pool, and the end of all that
//! such a user has left running or lying about. Knows no task.

use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Whose processes and files a submission's are.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user; none where the grader is no superuser, and submissions run as it does.
    pub user: Option<u32>,
    token: String,
    /// Held as long as it is.
    _lock: Option<Arc<File>>,
}

/// What an account uses now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Processes.
    pub processes: u64,
    /// Their resident memory, in bytes.
    pub memory: u64,
}

/// The environment variable that tells whose a process is, where users do not.
pub const TOKEN: &str = "NODE_GRADE_TOKEN";

/// The first user: neither people, nor packages, nor systemd's services, users and containers have
/// ids from here to 61183.
const FIRST_USER: u32 = 60_706;
const LAST_USER: u32 = 61_183;
/// Where graders of one machine see which users are taken.
const LOCKS: &str = "/run/node-grade-users";
/// Tells the accounts of one grader apart.
static NEXT: AtomicU64 = AtomicU64::new(0);
/// Who starts processes faster than they are killed does not for so long.
const SWEEP_WITHIN: Duration = Duration::from_secs(10);
/// Where every user can write.
const SHARED: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

impl Account {
    /// One that nobody else has while it is there.
    ///
    /// # Errors
    /// There is none.
    pub fn free() -> Result<Account, String> {
        let token = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        if !Account::has_users() {
            return Ok(Account { user: None, token, _lock: None });
        }
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(LOCKS);
        made.map_err(|error| format!("{LOCKS}: {error}"))?;
        for user in FIRST_USER..=LAST_USER {
            let path = Path::new(LOCKS).join(user.to_string());
            let lock = File::create(&path).map_err(|error| format!("{LOCKS}: {error}"))?;
            let account = Account { user: Some(user), token: token.clone(), _lock: None };
            let is_free = lock.try_lock().is_ok() && !is_in_passwd(user);
            if is_free && account.processes().is_empty() {
                return Ok(Account { _lock: Some(Arc::new(lock)), ..account });
            }
        }
        Err(format!(
            "submissions would run as a user of {FIRST_USER} to {LAST_USER}, and all of these are \
             somebody: end what other graders left behind"
        ))
    }

    /// Whether submissions can have users of their own.
    pub fn has_users() -> bool {
        geteuid().is_root()
    }

    /// What its processes have in their environment.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Its processes.
    fn processes(&self) -> Vec<u32> {
        let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
        let ids = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter(|id| self.owns(*id)).collect()
    }

    fn owns(&self, process: u32) -> bool {
        match self.user {
            Some(user) => users_of(process).contains(&user),
            None => {
                let environ = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
                let ours = format!("{TOKEN}={}", self.token);
                environ.split(|byte| *byte == 0).any(|one| one == ours.as_bytes())
            }
        }
    }

    /// What it uses now.
    pub fn usage(&self) -> Usage {
        let processes = self.processes();
        let page = rustix::param::page_size() as u64;
        let resident = |id: &u32| -> Option<u64> {
            let text = fs::read_to_string(format!("/proc/{id}/statm")).ok()?;
            text.split(' ').nth(1)?.parse::<u64>().ok()
        };
        let pages: u64 = processes.iter().filter_map(resident).sum();
        Usage { processes: processes.len() as u64, memory: pages * page }
    }

    /// Ends all its processes: stopped first, so that none starts another meanwhile.
    pub fn sweep(&self) {
        let began = Instant::now();
        loop {
            let all = self.processes();
            for signal in [Signal::STOP, Signal::KILL] {
                for id in all.iter().filter_map(|id| Pid::from_raw(*id as i32)) {
                    // It may have ended by itself.
                    let _ = kill_process(id, signal);
                }
            }
            let is_over = all.is_empty() || began.elapsed() > SWEEP_WITHIN;
            if is_over {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// How many bytes it has where all users can write, counted until they are more than `most`.
    pub fn strays(&self, most: u64) -> u64 {
        let mut bytes = 0;
        for path in self.left_behind() {
            bytes += size_of(&path, most.saturating_sub(bytes));
            if bytes > most {
                break;
            }
        }
        bytes
    }

    /// Removes what it left there.
    pub fn tidy(&self) {
        for path in self.left_behind() {
            let is_folder = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
            // What cannot be removed is somebody else's problem, not this submission's verdict.
            let _ = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
    }

    fn left_behind(&self) -> Vec<PathBuf> {
        let Some(user) = self.user else { return Vec::new() };
        let entries = SHARED.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        let paths = entries.flatten().map(|entry| entry.path());
        let is_its = |path: &PathBuf| path.symlink_metadata().is_ok_and(|meta| meta.uid() == user);
        paths.filter(is_its).collect()
    }
}

/// The users that a process has: it may have said that nobody looks into it, and then its files in
/// /proc are the superuser's.
fn users_of(process: u32) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let ids = line.unwrap_or_default().split_whitespace();
    ids.filter_map(|id| id.parse().ok()).collect()
}

fn is_in_passwd(user: u32) -> bool {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    text.lines().any(|line| line.split(':').nth(2) == Some(&user.to_string()))
}

/// The bytes of what is there, counted until they are more than `most`; links are not followed.
pub fn size_of(path: &Path, most: u64) -> u64 {
    let (mut left, mut bytes) = (vec![path.to_path_buf()], 0);
    while let Some(path) = left.pop() {
        let Ok(meta) = path.symlink_metadata() else { continue };
        if meta.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path()));
        } else {
            // A file with holes takes less than it is long; one of few bytes takes a block.
            bytes += meta.blocks() * 512;
        }
        if bytes > most {
            break;
        }
    }
    bytes
}
