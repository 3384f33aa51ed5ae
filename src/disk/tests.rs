//! Data directories as nodes find them: their own, others', damaged, gone.

use super::directory::{Directory, Log};
use super::testing::{ask, count, counted, env};
use super::*;
use crate::wal::LOG_NAME;
use node_lab::log::format::{FILE_HEADER_LEN, Unsound};
use node_protocols::core::{LamportRule, NodeId, erase};
use node_protocols::lottery::{Config, Lottery, Request};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::tempdir;

/// The lottery's central, whose log nobody else has.
fn host() -> Host {
    let protocol = erase::<Lottery>(Config::default(), &env()).unwrap();
    Host::new(&env(), vec![protocol], LamportRule::MaxPlusOne)
}

const FRESH: u128 = 0xABCD;

/// A process that another test starts has this one's lock, too, until it becomes its program.
fn claim(dir: &Path, id: u32, fresh: u128) -> Result<Directory, WalError> {
    let start = Instant::now();
    loop {
        match Directory::claim(dir, "test", NodeId(id), fresh) {
            Err(WalError::Locked { .. }) if start.elapsed() < Duration::from_secs(60) => {
                std::thread::yield_now();
            }
            claimed => return claimed,
        }
    }
}

fn recover(dir: &Path, host: &mut Host) -> Result<(Directory, Log), WalError> {
    let directory = claim(dir, 1, FRESH)?;
    let log = directory.recover(host)?;
    Ok((directory, log))
}

fn open(dir: &Path, host: &mut Host) -> Disk {
    let (directory, log) = recover(dir, host).unwrap();
    assert!(!log.is_lost);
    Disk::open(directory, log, true, host).unwrap()
}

/// As a node does: a Host that cannot be used is made anew.
fn start(dir: &Path, make: fn() -> Host) -> Result<(Disk, Host), WalError> {
    let mut host = make();
    let (directory, log) = recover(dir, &mut host)?;
    if log.is_lost {
        host = make();
        host.handle_log_lost();
    }
    Ok((Disk::open(directory, log, true, &mut host)?, host))
}

/// A directory in which a node has counted 1, 2, 3, and stopped.
fn counted_dir() -> tempfile::TempDir {
    let dir = tempdir().unwrap();
    let mut host = count(true);
    let mut disk = open(dir.path(), &mut host);
    for number in 1..=3_u64 {
        ask(&mut host, &number);
        disk.write(&mut host).unwrap();
    }
    dir
}

/// The names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Has something persisted.
fn persist(host: &mut Host, agency: u32) {
    ask(host, &Request::Finished { agency });
}

#[test]
fn a_checkpoint_waits_for_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = host();
    let mut disk = open(dir.path(), &mut host);
    (disk.checkpoint_at, disk.room.bytes) = (0, 20);
    let before = disk.wal.len();
    persist(&mut host, 1);
    disk.write(&mut host).unwrap();
    assert!(disk.wal.len() > before, "the record is in the old log");
    assert!(disk.checkpoint_at > MIN_CHECKPOINT_BYTES, "it is not due each turn");
    (disk.checkpoint_at, disk.room.bytes) = (0, 10_000);
    persist(&mut host, 2);
    disk.write(&mut host).unwrap();
    assert_eq!(disk.checkpoint_at, MIN_CHECKPOINT_BYTES, "it was made");
    drop(disk);
    let mut again = self::host();
    open(dir.path(), &mut again);
    assert_eq!(again.digest(), host.digest());
}

#[test]
fn room_is_measured_again_when_it_is_old_or_little_or_used_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = host();
    let mut disk = open(dir.path(), &mut host);
    let mut measures = |disk: &mut Disk, seconds: u64| {
        disk.room.bytes = 1;
        disk.measure(Time(seconds * 1_000_000_000), &mut host);
        disk.room.bytes != 1
    };
    assert!(measures(&mut disk, 1));
    disk.room.low = false;
    assert!(!measures(&mut disk, 1));
    assert!(measures(&mut disk, 2), "it is old");
    disk.room.low = true;
    assert!(measures(&mut disk, 2), "it was little");
    disk.room.low = false;
    disk.room.take(MEASURE_EVERY);
    assert!(measures(&mut disk, 2), "much was written");
}

#[test]
fn two_nodes_cannot_share_a_folder() {
    let dir = tempdir().unwrap();
    let disk = open(dir.path(), &mut count(true));
    let error = Directory::claim(dir.path(), "test", NodeId(1), FRESH).unwrap_err();
    assert!(matches!(error, WalError::Locked { .. }));
    assert!(error.to_string().contains("another node"), "{error}");
    drop(disk);
    open(dir.path(), &mut count(true));
}

#[test]
fn a_log_of_the_clock_alone_nobody_gives_back() {
    let dir = tempdir().unwrap();
    drop(open(dir.path(), &mut count(false)));
    fs::remove_file(dir.path().join(LOG_NAME)).unwrap();
    let error = recover(dir.path(), &mut count(false)).unwrap_err();
    assert!(matches!(error, WalError::Unsound { what: Unsound::Gone, .. }), "{error}");
    drop(recover(dir.path(), &mut count(true)).unwrap());
}

#[test]
fn a_folder_that_cannot_be_is_a_clear_error() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let error = recover(&dir.path().join("file/data"), &mut count(true)).unwrap_err();
    let WalError::Io { path, doing, .. } = &error else { panic!("{error}") };
    assert_eq!((path.as_path(), *doing), (&*dir.path().join("file/data"), "creating the folder"));
    assert!(error.to_string().contains("data_dir"), "{error}");
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let dir = tempdir().unwrap();
    let path = dir.path().join(IDENTITY_NAME);
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let error = recover(dir.path(), &mut count(true)).unwrap_err();
    assert!(error.to_string().contains("it is no file"), "{error}");
}

#[test]
fn a_directory_keeps_its_identity_and_is_no_other_nodes() {
    let dir = counted_dir();
    assert_eq!(names(dir.path()), ["identity", "lock", "log"]);
    let claim = |cluster, id| Directory::claim(dir.path(), cluster, NodeId(id), 7);
    assert_eq!(claim("test", 1).unwrap().identity(), FRESH);
    for (cluster, id) in [("test", 2), ("other", 1)] {
        let error = claim(cluster, id).unwrap_err();
        let words = "is the data directory of node 1 of the cluster \"test\"";
        assert!(error.to_string().contains(words), "{error}");
    }
    let (_, host) = start(dir.path(), || count(true)).unwrap();
    assert_eq!(host.digest(), counted(6, false));
}

/// Each damage, and under which name the log is found after it.
type Damage = (&'static str, fn(&Path), &'static [&'static str]);

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

const DAMAGES: [Damage; 7] = [
    (
        "a bit in the middle",
        |dir| {
            edit(&dir.join(LOG_NAME), |log| log[FILE_HEADER_LEN + 3] ^= 4);
        },
        &["log.damaged-1"],
    ),
    ("a bit of the header", |dir| edit(&dir.join(LOG_NAME), |log| log[9] ^= 4), &["log.damaged-1"]),
    ("an empty log", |dir| edit(&dir.join(LOG_NAME), Vec::clear), &["log.damaged-1"]),
    ("no log", |dir| fs::remove_file(dir.join(LOG_NAME)).unwrap(), &[]),
    (
        "another directory's log",
        |dir| {
            let other = tempdir().unwrap();
            let directory = claim(other.path(), 1, 5).unwrap();
            directory.recover(&mut count(true)).unwrap();
            fs::copy(other.path().join(LOG_NAME), dir.join(LOG_NAME)).unwrap();
        },
        &["log.foreign-1"],
    ),
    (
        "a bit of the file identity",
        |dir| {
            edit(&dir.join(IDENTITY_NAME), |text| text[100] ^= 1);
        },
        &["identity.damaged-1", "log.foreign-1"],
    ),
    (
        "no file identity",
        |dir| fs::remove_file(dir.join(IDENTITY_NAME)).unwrap(),
        &["log.foreign-1"],
    ),
];

#[test]
fn what_peers_give_back_is_set_aside_and_nothing_is_deleted() {
    for (what, damage, aside) in DAMAGES {
        let dir = counted_dir();
        damage(dir.path());
        let bad = fs::read(dir.path().join(LOG_NAME)).ok();
        let (mut disk, mut host) = start(dir.path(), || count(true)).expect(what);
        assert_eq!(host.digest(), counted(0, true), "{what}");
        let expected = [aside, &["identity", "lock", "log"]].concat();
        let mut found = names(dir.path());
        found.sort_by_key(|name| !name.contains('.'));
        assert_eq!(found, expected, "{what}");
        if let Some(name) = aside.iter().find(|name| name.starts_with("log")) {
            assert_eq!(fs::read(dir.path().join(name)).ok(), bad, "{what}");
        }
        // The new log is as good as any.
        ask(&mut host, &9_u64);
        disk.write(&mut host).unwrap();
        drop((disk, host));
        let (_, host) = start(dir.path(), || count(true)).expect(what);
        assert_eq!(host.digest(), counted(9, false), "{what}");
    }
}

#[test]
fn a_second_log_is_set_aside_under_another_name() {
    let dir = counted_dir();
    for n in 1..=2 {
        edit(&dir.path().join(LOG_NAME), |log| log[9] ^= 4);
        start(dir.path(), || count(true)).unwrap();
        assert!(dir.path().join(format!("log.damaged-{n}")).exists());
    }
}

#[test]
fn what_nobody_else_has_is_refused_and_left_alone() {
    for (what, damage, _) in DAMAGES {
        let dir = tempdir().unwrap();
        let mut host = self::host();
        let mut disk = open(dir.path(), &mut host);
        for agency in 1..=3 {
            persist(&mut host, agency);
            disk.write(&mut host).unwrap();
        }
        drop(disk);
        damage(dir.path());
        let (before, log) = (names(dir.path()), fs::read(dir.path().join(LOG_NAME)).ok());
        for _ in 0..2 {
            let error = start(dir.path(), self::host).map(|_| ()).expect_err(what);
            assert!(matches!(error, WalError::Unsound { .. }), "{what}: {error}");
            assert!(error.to_string().contains("put ") || error.to_string().contains("restore it"));
        }
        assert_eq!(names(dir.path()), before, "{what}");
        assert_eq!(fs::read(dir.path().join(LOG_NAME)).ok(), log, "{what}");
    }
}

#[test]
fn an_earlier_versions_log_is_refused_in_words_and_never_set_aside() {
    let dir = counted_dir();
    edit(&dir.path().join(LOG_NAME), |log| log[7] = b'1');
    for with_identity in [true, false] {
        if !with_identity {
            fs::remove_file(dir.path().join(IDENTITY_NAME)).unwrap();
        }
        let error = start(dir.path(), || count(true)).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("an earlier version wrote it"), "{error}");
        assert!(!dir.path().join("log.damaged-1").exists());
    }
}

/// The log is sound, and the config is not the one that wrote it.
#[test]
fn a_log_is_not_set_aside_for_a_mistake_in_the_config() {
    let dir = counted_dir();
    for make in [host, || count(false)] {
        let error = start(dir.path(), make).map(|_| ()).unwrap_err();
        let refused = matches!(&error, WalError::Unsound { what: Unsound::Refused { .. }, .. });
        assert!(refused, "{error}");
    }
    let (_, host) = start(dir.path(), || count(true)).unwrap();
    assert_eq!(host.digest(), counted(6, false));
    drop(dir);

    // A record that its own protocol refuses is damage that no checksum shows.
    let dir = tempdir().unwrap();
    let mut host = count(true);
    let mut disk = open(dir.path(), &mut host);
    ask(&mut host, &666_u64);
    disk.write(&mut host).unwrap();
    drop(disk);
    let (_, host) = start(dir.path(), || count(true)).unwrap();
    assert_eq!(host.digest(), counted(0, true));
}

/// A crash while a directory is made leaves one that is new.
#[test]
fn a_directory_that_was_not_finished_is_new() {
    let dir = counted_dir();
    let log = fs::read(dir.path().join(LOG_NAME)).unwrap();
    fs::remove_file(dir.path().join(IDENTITY_NAME)).unwrap();
    for len in [0, 5, FILE_HEADER_LEN] {
        fs::write(dir.path().join(LOG_NAME), &log[..len]).unwrap();
        let (_, host) = start(dir.path(), self::host).unwrap();
        assert_eq!(host.digest(), self::host().digest());
        fs::remove_file(dir.path().join(IDENTITY_NAME)).unwrap();
    }
}

/// Each time that a folder with somebody's file is looked at.
#[test]
fn a_file_that_was_there_before_the_node_is_not_touched() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("bets.csv");
    fs::write(&file, "mine\n").unwrap();
    for _ in 0..3 {
        let error = start(dir.path(), self::host).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("there is no log beside it"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine\n");
    }
}

/// Where a write comes before the next look, a hole would take the place of what is missing.
#[test]
fn a_log_that_another_process_changes_in_place_is_noticed() {
    let change: [Vanish; 3] = [
        ("truncated", |dir| fs::write(dir.join("log"), "").unwrap()),
        ("cut", |dir| {
            let length = dir.join("log").metadata().unwrap().len();
            let log = fs::OpenOptions::new().write(true).open(dir.join("log")).unwrap();
            log.set_len(length - 1).unwrap();
        }),
        ("a longer one", |dir| fs::write(dir.join("log"), [0; 1_000]).unwrap()),
    ];
    for (what, change) in change {
        for writes in [false, true] {
            let dir = tempdir().unwrap();
            let mut host = host();
            let mut disk = open(dir.path(), &mut host);
            persist(&mut host, 1);
            disk.write(&mut host).unwrap();
            disk.look(Time(0)).expect(what);
            change(dir.path());
            let error = if writes {
                persist(&mut host, 2);
                disk.write(&mut host).map(|_| ()).expect_err(what)
            } else {
                disk.look(Time(500_000_000)).expect_err(what)
            };
            assert!(matches!(error, WalError::Changed { .. }), "{what}: {error}");
        }
    }
}

/// How something vanishes.
type Vanish = (&'static str, fn(&Path));

#[test]
fn whatever_vanishes_under_a_running_node_is_noticed() {
    let vanish: [Vanish; 6] = [
        ("deleted", |dir| fs::remove_dir_all(dir).unwrap()),
        ("renamed", |dir| fs::rename(dir, dir.with_extension("old")).unwrap()),
        ("another log", |dir| {
            fs::copy(dir.join("log"), dir.join("copy")).unwrap();
            fs::rename(dir.join("copy"), dir.join("log")).unwrap();
        }),
        ("no lock", |dir| fs::remove_file(dir.join("lock")).unwrap()),
        ("no identity", |dir| fs::remove_file(dir.join("identity")).unwrap()),
        ("no file", |dir| fs::remove_file(dir.join("bets.csv")).unwrap()),
    ];
    for (what, vanish) in vanish {
        let parent = tempdir().unwrap();
        let dir = parent.path().join("data");
        let mut host = host();
        let mut disk = open(&dir, &mut host);
        let second = |n: u64| Time(n * 500_000_000);
        disk.look(second(0)).expect(what);
        // A checkpoint puts another file in the log's place, and nothing is wrong.
        disk.checkpoint_at = 0;
        persist(&mut host, 1);
        disk.write(&mut host).unwrap();
        disk.look(second(1)).expect(what);
        vanish(&dir);
        assert_eq!(disk.look_at(), Some(second(2)));
        disk.look(Time(second(2).0 - 1)).expect("it is not time yet");
        let error = disk.look(second(2)).expect_err(what);
        assert!(error.to_string().contains("is not what this node writes to"), "{error}");
    }
}
