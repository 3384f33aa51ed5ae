//! A submission's copy: made so that its user can read it, written on while it is built, and sealed
//! after that. Follows no link: a submission may point at anything.

use super::account::{Account, size_of};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

/// Why there is no copy.
#[derive(Debug)]
pub enum NoCopy {
    /// The submission is not what it has to be.
    Submission(String),
    /// The grader cannot make it.
    Grader(String),
}

/// So deep are folders at most, and so many things in them.
const MAX_DEPTH: usize = 64;
const MAX_ENTRIES: usize = 100_000;

/// Copies a submission, for the account to write on. `to` must not exist.
///
/// # Errors
/// What is wrong with the submission, or why it cannot be copied.
pub fn copy(from: &Path, to: &Path, account: &Account, disk_mb: u64) -> Result<(), NoCopy> {
    if size_of(from, disk_mb << 20) > disk_mb << 20 {
        return Err(NoCopy::Submission(format!("it is larger than {disk_mb} MB (disk_mb)")));
    }
    let mut entries = 0;
    copy_folder(from, to, account, 0, &mut entries)
}

fn copy_folder(
    from: &Path,
    to: &Path,
    account: &Account,
    depth: usize,
    entries: &mut usize,
) -> Result<(), NoCopy> {
    let grader = |path: &Path, error: &io::Error| {
        NoCopy::Grader(format!("cannot copy {}: {error}", path.display()))
    };
    if depth > MAX_DEPTH {
        return Err(NoCopy::Submission(format!("its folders are more than {MAX_DEPTH} deep")));
    }
    fs::create_dir(to).map_err(|error| grader(to, &error))?;
    for entry in fs::read_dir(from).map_err(|error| grader(from, &error))? {
        let entry = entry.map_err(|error| grader(from, &error))?;
        *entries += 1;
        if *entries > MAX_ENTRIES {
            return Err(NoCopy::Submission(format!("it has more than {MAX_ENTRIES} files")));
        }
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        let meta = path.symlink_metadata().map_err(|error| grader(&path, &error))?;
        if meta.is_dir() {
            copy_folder(&path, &copy, account, depth + 1, entries)?;
            continue;
        }
        if meta.is_symlink() {
            let done = fs::read_link(&path).and_then(|target| symlink(target, &copy));
            done.map_err(|error| grader(&path, &error))?;
        } else if meta.is_file() {
            fs::copy(&path, &copy).map_err(|error| grader(&path, &error))?;
            let mode = if meta.mode() & 0o100 == 0 { 0o644 } else { 0o755 };
            let done = fs::set_permissions(&copy, Permissions::from_mode(mode));
            done.map_err(|error| grader(&copy, &error))?;
        } else {
            let name = entry.file_name().to_string_lossy().into_owned();
            return Err(NoCopy::Submission(format!("{name} is neither a file nor a folder")));
        }
        give(&copy, account).map_err(|error| grader(&copy, &error))?;
    }
    fs::set_permissions(to, Permissions::from_mode(0o755)).map_err(|error| grader(to, &error))?;
    give(to, account).map_err(|error| grader(to, &error))
}

fn give(path: &Path, account: &Account) -> io::Result<()> {
    match account.user {
        Some(user) => lchown(path, Some(user), Some(user)),
        None => Ok(()),
    }
}

/// A folder that the account can write on.
///
/// # Errors
/// It cannot be made.
pub fn home(path: &Path, account: &Account) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    give(path, account)
}

/// Takes a copy from its account, whose processes have ended, so that the tasks find it as it was
/// built and the account can only read it. What is not the account's stays as it is: a build may
/// have made a second name for somebody's file.
///
/// # Errors
/// Why it cannot be taken.
pub fn seal(folder: &Path, account: &Account) -> io::Result<()> {
    let Some(user) = account.user else { return Ok(()) };
    let mut left: Vec<PathBuf> = vec![folder.to_path_buf()];
    while let Some(path) = left.pop() {
        let meta = path.symlink_metadata()?;
        if meta.uid() != user || meta.is_symlink() {
            continue;
        }
        chown(&path, Some(0), Some(0))?;
        let is_open = meta.is_dir() || meta.mode() & 0o100 != 0;
        let mode = if is_open { 0o755 } else { 0o644 };
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                left.push(entry?.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_follows_no_link_and_takes_no_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("a/b/run.sh"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(from.join("a/b/run.sh"), Permissions::from_mode(0o4755)).unwrap();
        symlink("/etc/passwd", from.join("link")).unwrap();
        let account = Account::free().unwrap();
        copy(&from, &to, &account, 1).unwrap();
        assert!(to.join("link").symlink_metadata().unwrap().is_symlink());
        seal(&to, &account).unwrap();
        let meta = to.join("a/b/run.sh").metadata().unwrap();
        assert_eq!(
            (meta.mode() & 0o7777, meta.uid()),
            (0o755, rustix::process::geteuid().as_raw())
        );
        fs::write(from.join("large"), vec![1; 2 << 20]).unwrap();
        let told = copy(&from, &folder.path().join("again"), &account, 1);
        assert!(matches!(told, Err(NoCopy::Submission(why)) if why.contains("larger than 1 MB")));
    }
}
