//! Hidden seeds: the same for all submissions, and guessed by none. Must not print anything.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What hidden seeds are derived from.
pub struct Secret(Vec<u8>);

/// The most hidden seeds of a task.
pub const MAX_INDEX: u64 = 100_000;

/// A shorter one can be tried out: 16 characters of hexadecimal are 64 bits.
const LEAST: usize = 16;
/// A key is no longer; a larger file is another file.
const MOST: u64 = 4_096;

impl Secret {
    /// Reads it from a file that only its owner can read, or from standard input (`-`).
    ///
    /// # Errors
    /// What is wrong with the file, and what to do; never what is in it.
    pub fn load(path: &Path) -> Result<Secret, String> {
        let told = |why: &str| format!("--secret {}: {why}", path.display());
        let mut bytes = Vec::new();
        let read = if path == Path::new("-") {
            std::io::stdin().lock().take(MOST + 1).read_to_end(&mut bytes)
        } else {
            let file = File::open(path).map_err(|error| told(&error.to_string()))?;
            let mode = file.metadata().map_err(|error| told(&error.to_string()))?.permissions();
            if mode.mode() & 0o077 != 0 {
                return Err(told(
                    "others can read it: chmod 600 it, and where it has been so for \
                                 some time, take a new one",
                ));
            }
            file.take(MOST + 1).read_to_end(&mut bytes)
        };
        read.map_err(|error| told(&error.to_string()))?;
        Secret::of(&bytes).map_err(|why| told(&why))
    }

    /// That in these bytes, without the line's end.
    ///
    /// # Errors
    /// It is too short or too long.
    pub fn of(bytes: &[u8]) -> Result<Secret, String> {
        let bytes = bytes.trim_ascii_end();
        match bytes.len() {
            len if len < LEAST => {
                Err(format!("a secret has at least {LEAST} bytes: openssl rand -hex 32 makes one"))
            }
            len if len as u64 > MOST => Err(format!("a secret has at most {MOST} bytes")),
            _ => Ok(Secret(bytes.to_vec())),
        }
    }

    /// The hidden seed `k` of a task, from 1: 63 bits of HMAC-SHA256 over title, task and k, a line
    /// each, so that whoever has the secret can derive it again.
    pub fn seed(&self, title: &str, task: &str, k: u64) -> u64 {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            unreachable!("HMAC takes keys of any length");
        };
        mac.update(format!("{title}\n{task}\n{k}").as_bytes());
        let digest = mac.finalize().into_bytes();
        let first = digest.iter().take(8).fold(0, |seed: u64, byte| seed << 8 | u64::from(*byte));
        // Files of plans have signed numbers.
        first & (u64::MAX >> 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

    #[test]
    fn seeds_are_those_that_anybody_with_the_secret_derives() {
        let secret = Secret::of(b"0123456789abcdef\n").unwrap();
        // printf 'Broadcast\n3c\n1' | openssl dgst -sha256 -hmac 0123456789abcdef
        let expected = SEED_OF_OPENSSL & (u64::MAX >> 1);
        assert_eq!(secret.seed("Broadcast", "3c", 1), expected);
        let others = [("Broadcast", "3c", 2), ("Broadcast", "3d", 1), ("Echo", "3c", 1)];
        for (title, task, k) in others {
            assert_ne!(secret.seed(title, task, k), expected);
            assert!(secret.seed(title, task, k) < 1 << 63);
        }
        let other = Secret::of(b"0123456789abcdeg").unwrap();
        assert_ne!(other.seed("Broadcast", "3c", 1), expected);
    }

    const SEED_OF_OPENSSL: u64 = 0xf095d6be8e6a32d6;

    #[test]
    fn a_secret_that_others_read_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, "0123456789abcdef").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let told = Secret::load(&file).err().unwrap();
        assert!(told.contains("chmod 600") && !told.contains("0123"), "{told}");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        assert!(Secret::load(&file).is_ok());
        fs::write(&file, "short").unwrap();
        assert!(Secret::load(&file).err().unwrap().contains("openssl rand"));
    }
}
