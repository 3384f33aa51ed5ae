//! What a client has seen: the last timestamp of each key, which is what read-your-writes and
//! monotonic reads rest on; and the file that carries it from one run to the next.

use node_protocols::kv_replication::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A client's timestamps.
#[derive(Debug, Default)]
pub struct Session {
    timestamps: BTreeMap<Vec<u8>, Timestamp>,
    file: Option<PathBuf>,
}

/// The file's form. JSON has no strings for bytes that are no UTF-8: such keys are in hexadecimal.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    timestamps: BTreeMap<String, Timestamp>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    timestamps_hex: BTreeMap<String, Timestamp>,
}

impl Session {
    /// Reads `file`; one that is not there yet is an empty session.
    pub fn load(file: &Path) -> Result<Session, String> {
        let shown = file.display();
        match fs::metadata(file) {
            Ok(found) if !found.is_file() => {
                return Err(format!("session {shown} is no file; name one that can be replaced"));
            }
            Ok(_) | Err(_) => {}
        }
        let timestamps = match fs::read(file) {
            Ok(bytes) => Session::read(&bytes, file)?.timestamps,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(format!("session {shown} cannot be read: {error}")),
        };
        Ok(Session { timestamps, file: Some(file.into()) })
    }

    /// What is in a file, which is only named here; nothing is saved.
    #[doc(hidden)]
    pub fn read(bytes: &[u8], file: &Path) -> Result<Session, String> {
        let shown = file.display();
        let stored: Stored = serde_json::from_slice(bytes).map_err(|error| {
            format!(
                "session {shown} is damaged ({error}) and was left as it is; \
                 repair it, or remove it and lose what the client has seen"
            )
        })?;
        let timestamps = decode(stored).map_err(|key| {
            format!("session {shown} is damaged: timestamps_hex has the key {key:?}; repair it")
        })?;
        Ok(Session { timestamps, file: None })
    }

    /// The last timestamp that the client has seen for `key`; 0 when none.
    pub fn known(&self, key: &[u8]) -> Timestamp {
        self.timestamps.get(key).copied().unwrap_or_default()
    }

    /// Notes what the client has seen, and saves it if there is a file and it is news.
    pub fn saw(&mut self, key: &[u8], timestamp: Timestamp) -> Result<(), String> {
        if timestamp <= self.known(key) {
            return Ok(());
        }
        self.timestamps.insert(key.into(), timestamp);
        match &self.file {
            Some(file) => self.save(file).map_err(|error| {
                let shown = file.display();
                format!("session {shown} cannot be written: {error}; it lacks the last timestamp")
            }),
            None => Ok(()),
        }
    }

    /// Replaces the file in one step: whoever reads it sees the old session or the new one.
    fn save(&self, file: &Path) -> std::io::Result<()> {
        let mut name = OsString::from(file);
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = PathBuf::from(name);
        let write = || {
            let mut out = File::create(&temporary)?;
            out.write_all(&serde_json::to_vec(&self.stored())?)?;
            out.write_all(b"\n")?;
            out.sync_all()?;
            fs::rename(&temporary, file)
        };
        write().inspect_err(|_| {
            // What is left of it helps nobody; the first error is the one to tell.
            let _ = fs::remove_file(&temporary);
        })
    }

    fn stored(&self) -> Stored {
        let mut stored = Stored::default();
        for (key, &timestamp) in &self.timestamps {
            match str::from_utf8(key) {
                Ok(text) => stored.timestamps.insert(text.into(), timestamp),
                Err(_) => stored.timestamps_hex.insert(to_hex(key), timestamp),
            };
        }
        stored
    }
}

fn decode(stored: Stored) -> Result<BTreeMap<Vec<u8>, Timestamp>, String> {
    let mut timestamps = BTreeMap::new();
    for (key, timestamp) in stored.timestamps {
        timestamps.insert(key.into_bytes(), timestamp);
    }
    for (key, timestamp) in stored.timestamps_hex {
        timestamps.insert(from_hex(&key).ok_or(key)?, timestamp);
    }
    Ok(timestamps)
}

/// Two digits a byte.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| (c as char).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_there_again_and_never_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("session.json");
        let mut session = Session::load(&file).unwrap();
        session.saw(b"k", Timestamp(5)).unwrap();
        session.saw(b"k", Timestamp(4)).unwrap();
        session.saw(b"\xff\x0a", Timestamp(6)).unwrap();
        let again = Session::load(&file).unwrap();
        assert_eq!(again.known(b"k"), Timestamp(5));
        assert_eq!(again.known(b"\xff\x0a"), Timestamp(6));
        assert_eq!(again.known(b"other"), Timestamp(0));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "a temporary file is left");
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            "{\"timestamps\":{\"k\":5},\"timestamps_hex\":{\"ff0a\":6}}\n"
        );
    }

    #[test]
    fn a_damaged_file_is_told_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("session.json");
        for damaged in
            ["{\"timestamps\":{", "[]", "", "{\"timestamps\":{},\"timestamps_hex\":{\"xy\":1}}"]
        {
            fs::write(&file, damaged).unwrap();
            let error = Session::load(&file).unwrap_err();
            assert!(error.contains("damaged"), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), damaged);
        }
    }

    #[test]
    fn what_is_no_file_or_cannot_be_written_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Session::load(dir.path()).unwrap_err().contains("is no file"));
        let mut session = Session::load(&dir.path().join("no/such/folder")).unwrap();
        let error = session.saw(b"k", Timestamp(1)).unwrap_err();
        assert!(error.contains("cannot be written"), "{error}");
        assert_eq!(session.known(b"k"), Timestamp(1));
    }
}
