//! A program's clock, where a library that is loaded into it asks the simulator for the time, for
//! timers and for random numbers: the library's files, and the driver's side of the two pipes and
//! the file between them. Knows no message.
//!
//! In a folder of the node's own: `now`, the node's time of day in nanoseconds since 1970, 8 bytes,
//! little-endian; `asks`, where the library writes `timer ID AT_NS`, `cancel ID` and `hello NAME`,
//! a line each; `wakes`, where it reads the ids of timers that are due.

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The driver's side.
pub(super) struct Shim {
    folder: PathBuf,
    now: File,
    asks: File,
    wakes: File,
    partial: Vec<u8>,
    /// How many bytes the last look found.
    read: usize,
    has_connected: bool,
}

/// What a library asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    /// To be woken at a time of day, instead of when it asked for under this id before.
    Timer {
        /// Names the timer.
        id: u64,
        /// When, in nanoseconds since 1970.
        at_ns: u64,
    },
    /// Not to be woken.
    Cancel {
        /// Names the timer.
        id: u64,
    },
}

/// The libraries: their files' names, and what is in them.
const LIBRARIES: [(&str, &str); 3] = [
    ("sitecustomize.py", include_str!("shims/sitecustomize.py")),
    ("shim.js", include_str!("shims/shim.js")),
    ("shim.rb", include_str!("shims/shim.rb")),
];

/// What a pipe holds at least.
const PIPE: usize = 32 << 10;
/// A library that says more in one turn is none of these.
const MAX_ASKS: usize = 1 << 20;

impl Shim {
    /// Makes the files in a folder that is there, and empty.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn new(folder: &Path) -> io::Result<Shim> {
        let path = folder.to_string_lossy();
        if path.contains([' ', ':', '\t']) {
            return Err(io::Error::other(format!(
                "{path}: no library can be named there, for a space or colon in it: set TMPDIR"
            )));
        }
        let make = |name: &str, mode: u32| {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(mode).open(folder.join(name))
        };
        for (name, text) in LIBRARIES {
            make(name, 0o644)?.write_all(text.as_bytes())?;
        }
        for pipe in ["asks", "wakes"] {
            let path = folder.join(pipe);
            mknodat(CWD, &path, FileType::Fifo, Mode::from(0o666), 0)?;
            // The program may be another user's.
            fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        }
        let open = |name: &str| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
            options.open(folder.join(name))
        };
        let (asks, wakes) = (open("asks")?, open("wakes")?);
        let now = make("now", 0o644)?;
        let folder = folder.to_path_buf();
        Ok(Shim { folder, now, asks, wakes, partial: Vec::new(), read: 0, has_connected: false })
    }

    /// What has a program load its library.
    pub fn env(&self) -> Vec<(String, String)> {
        let folder = self.folder.display();
        let before = |name: &str, first: String, between: &str| match std::env::var(name) {
            Ok(given) if !given.is_empty() => {
                (name.to_string(), format!("{first}{between}{given}"))
            }
            _ => (name.to_string(), first),
        };
        vec![
            ("NODE_CLOCK".into(), folder.to_string()),
            ("PYTHONHASHSEED".into(), "0".into()),
            before("PYTHONPATH", folder.to_string(), ":"),
            before("NODE_OPTIONS", format!("--require {folder}/shim.js"), " "),
            before("RUBYOPT", format!("-r{folder}/shim.rb"), " "),
        ]
    }

    /// Sets the time of day. The program is at rest.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_now(&self, ns: u64) -> io::Result<()> {
        self.now.write_all_at(&ns.to_le_bytes(), 0)
    }

    /// What it has asked for since.
    ///
    /// # Errors
    /// It is not in the form of these libraries.
    pub fn asks(&mut self) -> io::Result<Vec<Ask>> {
        let mut buffer = [0; 4096];
        self.read = 0;
        loop {
            match self.asks.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => {
                    self.read += len;
                    self.partial.extend_from_slice(&buffer[..len]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.partial.len() > MAX_ASKS {
                return Err(wrong("more than any library says"));
            }
        }
        let Some(end) = memchr::memrchr(b'\n', &self.partial) else { return Ok(Vec::new()) };
        let lines: Vec<u8> = self.partial.drain(..=end).collect();
        let text = String::from_utf8(lines).map_err(|_| wrong("no text"))?;
        let mut asks = Vec::new();
        for line in text.lines() {
            let mut words = line.split(' ');
            let mut number = || words.next().and_then(|word| word.parse().ok());
            match line.split(' ').next() {
                Some("hello") => self.has_connected = true,
                Some("timer") => {
                    number();
                    let (id, at_ns) = (number(), number());
                    let timer = id.zip(at_ns).map(|(id, at_ns)| Ask::Timer { id, at_ns });
                    asks.push(timer.ok_or_else(|| wrong(line))?);
                }
                Some("cancel") => {
                    number();
                    let cancel = number().map(|id| Ask::Cancel { id });
                    asks.push(cancel.ok_or_else(|| wrong(line))?);
                }
                _ => return Err(wrong(line)),
            }
        }
        Ok(asks)
    }

    /// Whether so much was said that the pipe may have been full, and held the program up.
    pub fn was_full(&self) -> bool {
        self.read >= PIPE
    }

    /// A timer is due.
    ///
    /// # Errors
    /// The program cannot be told: it has not read of thousands that were due before.
    pub fn wake(&mut self, id: u64) -> io::Result<()> {
        let told = self.wakes.write_all(format!("{id}\n").as_bytes());
        told.map_err(|error| wrong(&format!("no room for what is due: {error}")))
    }

    /// Whether a library was loaded.
    pub fn has_connected(&self) -> bool {
        self.has_connected
    }
}

fn wrong(what: &str) -> io::Error {
    let what: String = what.chars().take(80).collect();
    let what = node_core::Escaped(what.as_bytes()).to_string();
    io::Error::other(format!("the pipe of its clock has {what}"))
}
