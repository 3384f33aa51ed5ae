//! Which file of a package imports which: read off the text, without comments and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A package's sources.
pub struct Package {
    pub name: &'static str,
    pub folder: &'static str,
    /// Folders that are other packages', or tests.
    pub without: &'static [&'static str],
}

/// A package's modules, and which others each names.
pub struct Graph {
    pub package: &'static str,
    pub edges: BTreeMap<String, BTreeSet<String>>,
}

/// All Rust files below a folder, in order.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    if folder.is_file() {
        return vec![folder.to_path_buf()];
    }
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && !path.ends_with("target") {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    found
}

/// A file without comments, and without what follows its first test.
pub fn code(file: &Path) -> String {
    let is_test = |part: &str| part.contains("tests") || part == "testing";
    if file.file_stem().is_some_and(|stem| is_test(&stem.to_string_lossy())) {
        return String::new();
    }
    let text = fs::read_to_string(file).expect("a source file");
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_string();
    let bare = |line: &str| line.split("//").next().unwrap_or_default().to_string();
    text.lines().map(bare).collect::<Vec<_>>().join("\n")
}

impl Package {
    pub fn graph(&self, root: &Path) -> Graph {
        let folder = root.join(self.folder);
        let mut sources: BTreeMap<String, String> = BTreeMap::new();
        for file in files(&folder) {
            let inside = file.strip_prefix(&folder).expect("it is below").with_extension("");
            let mut parts: Vec<String> =
                inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            let is_other = parts.iter().any(|part| self.without.contains(&&**part));
            if parts.last().is_some_and(|last| last == "mod") {
                parts.pop();
            }
            let is_root = parts == ["lib"] || parts == ["main"];
            if !is_other && !is_root && !parts.is_empty() {
                sources.insert(parts.join("::"), code(&file));
            }
        }
        let known: BTreeSet<String> = sources.keys().cloned().collect();
        let edges = sources.iter().map(|(name, text)| (name.clone(), names(name, text, &known)));
        Graph { package: self.name, edges: edges.collect() }
    }
}

/// The modules that a module's text names: by `crate::`, `super::` and `self::`.
fn names(module: &str, text: &str, known: &BTreeSet<String>) -> BTreeSet<String> {
    let own: Vec<&str> = module.split("::").collect();
    let mut found = BTreeSet::new();
    for (start, keyword) in
        ["crate::", "super::", "self::"].iter().flat_map(|keyword| text.match_indices(keyword))
    {
        let before = text[..start].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let (mut base, mut rest) = (own.clone(), &text[start..]);
        match keyword {
            "crate::" => {
                base.clear();
                rest = &rest[keyword.len()..];
            }
            "super::" => {
                while let Some(after) = rest.strip_prefix("super::") {
                    base.pop();
                    rest = after;
                }
            }
            _ => rest = &rest[keyword.len()..],
        }
        for path in paths(rest) {
            let whole: Vec<&str> = base.iter().copied().chain(path).collect();
            let deepest = (1..=whole.len()).rev().map(|n| whole[..n].join("::"));
            let target = deepest.into_iter().find(|name| known.contains(name));
            // A room's files know their room, and it them.
            let is_own = |target: &String| {
                let below = |a: &str, b: &str| a.starts_with(&format!("{b}::"));
                target == module || below(target, module) || below(module, target)
            };
            found.extend(target.filter(|target| !is_own(target)));
        }
    }
    found
}

/// The paths that a text begins with: one, or those of a list in braces.
fn paths(text: &str) -> Vec<Vec<&str>> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let head = &text[..end.unwrap_or(text.len())];
    let parts: Vec<&str> = head.split("::").filter(|part| !part.is_empty()).collect();
    let rest = &text[head.len()..];
    if !head.ends_with("::") && !head.is_empty() || !rest.starts_with('{') {
        return vec![parts];
    }
    let list = rest[1..].split('}').next().unwrap_or_default();
    let first = |item: &str| -> Option<usize> {
        let item = item.trim();
        item.find(|c: char| !(c.is_alphanumeric() || c == '_')).or(Some(item.len()))
    };
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| {
            let name = &item[..first(item).unwrap_or(item.len())];
            parts.iter().copied().chain([name]).collect()
        })
        .collect()
}

impl Graph {
    /// Modules that know each other by whatever way: a line for each such set.
    pub fn circles(&self) -> Vec<String> {
        let reach: BTreeMap<&String, BTreeSet<&String>> =
            self.edges.keys().map(|module| (module, self.reachable(module))).collect();
        let mut seen: BTreeSet<&String> = BTreeSet::new();
        let mut circles = Vec::new();
        for module in self.edges.keys() {
            let knows_it =
                |other: &&&String| reach.get(**other).is_some_and(|r| r.contains(module));
            let circle: Vec<&str> =
                reach[module].iter().filter(knows_it).map(|other| other.as_str()).collect();
            if !circle.is_empty() && !seen.contains(module) {
                circles.push(format!("{}: {}", self.package, circle.join(", ")));
                seen.extend(reach[module].iter().filter(knows_it));
            }
        }
        circles
    }

    fn reachable<'a>(&'a self, from: &'a String) -> BTreeSet<&'a String> {
        let (mut found, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            for to in self.edges.get(module).into_iter().flatten() {
                if found.insert(to) {
                    next.push(to);
                }
            }
        }
        found
    }

    /// Which room, a folder or file of the top, knows which.
    pub fn between_rooms(&self) -> BTreeSet<(String, String)> {
        let room = |module: &str| module.split("::").next().unwrap_or_default().to_string();
        let all = self.edges.iter();
        all.flat_map(|(from, to)| to.iter().map(move |to| (room(from), room(to))))
            .filter(|(from, to)| from != to)
            .collect()
    }
}
