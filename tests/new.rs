//! What `node new` writes builds and runs as it is printed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn node_new(args: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    command.arg("new").args(args).current_dir(folder).output().expect("the binary was built")
}

/// A fresh folder outside the tree's packages.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("there is room for a folder");
    folder
}

/// Runs cargo in a package, with what the examples have built already.
fn cargo(package: &Path, args: &[&str]) -> (Option<i32>, String) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../examples");
    let mut command = Command::new(env!("CARGO"));
    command.args(args).current_dir(package).env("CARGO_TARGET_DIR", target);
    let output = command.output().expect("cargo starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn what_it_writes_builds_and_shows_what_it_says() {
    let folder = folder("new");
    let output = node_new(&["word_sum"], &folder);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    let package = folder.join("word_sum");
    // The versions that the example has, so that nothing is built twice.
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/counter/Cargo.lock");
    let lock = std::fs::read_to_string(lock).expect("it is in the tree");
    let lock = lock.replace("name = \"counter\"", "name = \"word_sum\"");
    std::fs::write(package.join("Cargo.lock"), lock).expect("the folder is writable");
    let commands: Vec<&str> =
        printed.lines().filter_map(|line| line.trim().strip_prefix("cargo ")).collect();
    assert_eq!(commands.len(), 2, "{printed}");
    let words = |line: &'static str| line.split(' ').collect::<Vec<_>>();
    let (code, text) = cargo(&package, &words("test"));
    assert!(code == Some(0) && text.contains("2 passed"), "{text}");
    let run: Vec<&str> = commands[1].split(' ').collect();
    let (code, text) = cargo(&package, &run);
    assert_eq!(code, Some(0), "it shows what it is there to show: {text}");
    let found = "total_equals_acknowledged_adds is violated at";
    assert!(text.contains(found) && text.contains("but"), "{text}");
    let (_, text) = cargo(&package, &words("fmt --check"));
    assert_eq!(text, "", "it is in form");
}

#[test]
fn what_is_there_is_left_alone() {
    let folder = folder("new-taken");
    std::fs::create_dir(folder.join("mine")).expect("the folder is writable");
    std::fs::write(folder.join("mine/notes"), "mine").expect("the folder is writable");
    for args in [&["mine"][..], &["bully"], &["../up"], &["mine2", "--node", "."]] {
        let output = node_new(args, &folder);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("node new: "), "{output:?}");
    }
    let entries: Vec<_> = std::fs::read_dir(&folder).expect("it is there").collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
}
