//! The scenarios that the studio offers: those that come with the binary, and the files of the
//! working folder; and saving under new names, within that folder. Knows no run.
//!
//! What the page sends as a scenario's text may not name other programs than its file does: a page
//! edits numbers, and who wants to start a program writes a file.

use crate::cli::scenarios::files;
use node_lab::registry::Registry;
use node_lab::sim::scenario::Scenario;
use node_lab::text;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Component, Path, PathBuf};

/// The longest text of a scenario or plan, in bytes.
pub(super) const MAX_TEXT: usize = 1 << 20;
/// How many entries of folders are looked at for scenarios.
const MAX_ENTRIES: usize = 4_000;
/// How many folders deep.
const MAX_DEPTH: usize = 4;
/// How many files are listed.
const MAX_LISTED: usize = 300;

/// What can be opened, and where can be saved.
pub(super) struct Catalog {
    /// The working folder, as the system knows it.
    folder: PathBuf,
    /// Files that the command line names: they may lie elsewhere.
    pub named: Vec<PathBuf>,
}

/// A file's form, by its keys.
enum Kind {
    Scenario,
    Replay,
}

impl Catalog {
    /// Of the working folder.
    ///
    /// # Errors
    /// It is gone.
    pub fn new(named: Vec<PathBuf>) -> Result<Catalog, String> {
        let folder = Path::new(".").canonicalize();
        let folder = folder.map_err(|error| format!("the working folder: {error}"))?;
        Ok(Catalog { folder, named })
    }

    /// All, by groups: a study's name, `files` or `saved plans`.
    pub fn list(&self, registry: &Registry) -> Vec<Value> {
        let mut all = Vec::new();
        for study in registry.studies() {
            for one in study.scenarios {
                let (name, about) = (one.name(), one.about());
                all.push(json!({"group": study.name, "name": name, "about": about}));
            }
        }
        let (mut found, mut seen) = (Vec::new(), 0);
        walk(Path::new(""), MAX_DEPTH, &mut seen, &mut found);
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        found.truncate(MAX_LISTED);
        for (path, kind) in found {
            let group = match kind {
                Kind::Scenario => "files",
                Kind::Replay => "saved plans",
            };
            all.push(json!({"group": group, "name": path.display().to_string(), "about": ""}));
        }
        all
    }

    /// The text of a scenario: of one that comes with the binary, of a file below the working
    /// folder, or of one that the command line names.
    ///
    /// # Errors
    /// There is none, or it may not be read.
    pub fn text(&self, name: &str, registry: &Registry) -> Result<String, String> {
        let path = Path::new(name);
        if !path.exists()
            && let Some((_, shipped)) = registry.scenario(name)
        {
            return Ok(shipped.text.into());
        }
        let is_named = self.named.iter().any(|one| one == path);
        if !is_named {
            let whole = path.canonicalize().map_err(|error| format!("{name}: {error}"))?;
            if !whole.starts_with(&self.folder) || path.extension().is_none_or(|e| e != "toml") {
                return Err(format!("{name}: only .toml files below the working folder"));
            }
        }
        let text = text::read(path).map_err(|error| error.of(path))?;
        if text.len() > MAX_TEXT {
            return Err(format!("{name}: it has more than {MAX_TEXT} bytes"));
        }
        Ok(text)
    }

    /// The scenario that a text is, in the place of the one of that name.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn scenario(
        &self,
        name: &str,
        text: &str,
        registry: &Registry,
    ) -> Result<Scenario, String> {
        if text.len() > MAX_TEXT {
            return Err(format!("{name}: the text has more than {MAX_TEXT} bytes"));
        }
        let own = self.text(name, registry)?;
        // What is no TOML is told so below.
        if programs(text).is_some_and(|named| programs(&own) != Some(named)) {
            return Err(format!(
                "{name}: [hosted] and [[checker]] name programs: change them in the file"
            ));
        }
        Scenario::open_text(Path::new(name), text, registry, None)
    }

    /// Where a new file may be made: below the working folder, in folders that are made when they
    /// are not there.
    ///
    /// # Errors
    /// It may not.
    pub fn place(&self, wanted: &str) -> Result<PathBuf, String> {
        let path = PathBuf::from(wanted);
        // What is hidden is other programs' own, and not listed here either.
        let is_plain = path.components().all(|part| match part {
            Component::Normal(name) => !name.as_encoded_bytes().starts_with(b"."),
            _ => false,
        });
        let is_toml = path.extension().is_some_and(|extension| extension == "toml");
        if !is_plain || !is_toml || wanted.chars().any(char::is_control) {
            return Err(format!("{wanted}: name a .toml file below the working folder"));
        }
        // A folder of it that is there may be a link that leads elsewhere.
        let parent = path.parent().unwrap_or(Path::new(""));
        let there = parent.ancestors().find(|one| one.as_os_str().is_empty() || one.exists());
        let there = self.folder.join(there.unwrap_or(Path::new("")));
        if !there.canonicalize().is_ok_and(|whole| whole.starts_with(&self.folder)) {
            return Err(format!("{wanted}: it leads out of the working folder"));
        }
        if path.symlink_metadata().is_ok() {
            return Err(format!(
                "{wanted}: File exists: nothing is overwritten, take another name"
            ));
        }
        Ok(path)
    }

    /// Saves a scenario that began as the one of that name; one that comes with the binary, with
    /// the configs that it names. Answers the files.
    ///
    /// # Errors
    /// It is none, or cannot be written there.
    pub fn save(
        &self,
        name: &str,
        text: &str,
        wanted: &str,
        registry: &Registry,
    ) -> Result<Vec<String>, String> {
        let path = self.place(wanted)?;
        self.scenario(name, text, registry)?;
        let mut written = Vec::new();
        let shipped = registry.scenario(name).filter(|_| !Path::new(name).exists());
        if let Some((study, shipped)) = shipped {
            let Some(root) = root(&path, shipped.path) else {
                let depth = shipped.path.matches('/').count();
                return Err(format!(
                    "{wanted}: its configs go beside it: name it {depth} folders below one for \
                     them, such as mine/{}",
                    shipped.path
                ));
            };
            for config in &files(study, shipped)[1..] {
                let place = root.join(config.path);
                if fs::read(&place).is_ok_and(|there| there == config.text.as_bytes()) {
                    continue;
                }
                self.place(&place.display().to_string())?;
                write(&place, config.text)?;
                written.push(place.display().to_string());
            }
        }
        // What it names may lie elsewhere from there; `..` leads nowhere where its folder is not.
        path.parent().map_or(Ok(()), fs::create_dir_all).map_err(|error| error.to_string())?;
        Scenario::open_text(&path, text, registry, None)?;
        write(&path, text)?;
        written.push(path.display().to_string());
        Ok(written)
    }
}

/// The folder below which a file is where `model` is below another.
fn root(path: &Path, model: &str) -> Option<PathBuf> {
    let depth = Path::new(model).components().count();
    path.ancestors().nth(depth).map(Path::to_path_buf)
}

/// Writes a new file, whole or not at all.
pub(super) fn write(path: &Path, text: &str) -> Result<(), String> {
    let told = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => format!("{}: File exists", path.display()),
        _ => format!("{}: {error}", path.display()),
    };
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(told)?;
    let mut file = File::create_new(path).map_err(told)?;
    file.write_all(text.as_bytes()).map_err(|error| {
        let _ = fs::remove_file(path);
        told(error)
    })
}

/// What of a text names programs.
fn programs(text: &str) -> Option<[Option<toml::Value>; 2]> {
    let table: toml::Table = text.parse().ok()?;
    Some(["hosted", "checker"].map(|key| table.get(key).cloned()))
}

/// Finds scenarios and saved plans below a folder. What is hidden, or built, is passed by.
fn walk(folder: &Path, depth: usize, seen: &mut usize, found: &mut Vec<(PathBuf, Kind)>) {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = fs::read_dir(here) else { return };
    for entry in entries.flatten() {
        *seen += 1;
        if *seen > MAX_ENTRIES {
            return;
        }
        let name = entry.file_name();
        let (path, is_hidden) = (folder.join(&name), name.to_string_lossy().starts_with('.'));
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth > 0 && !is_hidden && name != "target" {
            walk(&path, depth - 1, seen, found);
        } else if kind.is_file()
            && path.extension().is_some_and(|extension| extension == "toml")
            && let Some(kind) = kind_of(&path)
        {
            found.push((path, kind));
        }
    }
}

fn kind_of(path: &Path) -> Option<Kind> {
    let is_short = fs::metadata(path).is_ok_and(|about| about.len() <= MAX_TEXT as u64);
    let text = is_short.then(|| fs::read_to_string(path).ok()).flatten()?;
    let table: toml::Table = text.parse().ok()?;
    let has = |key: &str| table.contains_key(key);
    if has("scenario") && has("property") && has("seed") {
        Some(Kind::Replay)
    } else if has("properties") && (has("nodes") || has("hosted")) {
        Some(Kind::Scenario)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(folder: &Path) -> Catalog {
        Catalog { folder: folder.canonicalize().unwrap(), named: Vec::new() }
    }

    #[test]
    fn nothing_is_saved_outside_or_over_something() {
        let folder = Path::new(".");
        let all = catalog(folder);
        for wrong in [
            "",
            "x",
            "x.txt",
            "/tmp/x.toml",
            "../x.toml",
            "a/../../x.toml",
            "./x.toml",
            "Cargo.toml",
            "a\n.toml",
            ".git/x.toml",
            "mine/.x.toml",
        ] {
            assert!(all.place(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(all.place("mine/sim/x.toml").unwrap(), Path::new("mine/sim/x.toml"));
        let elsewhere = Catalog { folder: "/proc".into(), named: Vec::new() };
        assert!(elsewhere.text("Cargo.toml", &Registry::new()).is_err());
    }

    #[test]
    fn a_text_from_the_page_names_no_program_that_its_file_does_not() {
        let registry = node_studies::registry();
        let all = catalog(Path::new("."));
        let (_, shipped) = registry.scenario("kv-calm").expect("it is shipped");
        all.scenario("kv-calm", shipped.text, &registry).unwrap();
        let more = format!("{}\n[[checker]]\nname = \"x\"\ncommand = [\"true\"]\n", shipped.text);
        let why = all.scenario("kv-calm", &more, &registry).unwrap_err();
        assert!(why.contains("name programs"), "{why}");
        let hosted = "[hosted]\nbin = \"/bin/true\"\nnodes = 1\n";
        assert!(all.scenario("kv-calm", hosted, &registry).is_err());
    }

    #[test]
    fn what_comes_with_the_binary_is_listed_by_study() {
        let all = catalog(Path::new(".")).list(&node_studies::registry());
        assert!(all.iter().any(|one| one["name"] == "kv-all" && one["group"] == "kv_replication"));
    }
}
