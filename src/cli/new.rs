//! `node new`: writes a package with a protocol of its own. The templates are `examples/counter`,
//! under another name, and what stands in `new/`.

use super::output::Output;
use super::tell;
use clap::Args;
use node_lab::registry::Registry;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Write a package with a protocol of your own: it builds, and its scenarios run
///
///   node new tally
///   cd tally
///   cargo test
///
/// The package has a small protocol, its study (who uses it, and one property), a scenario that
/// holds, one that fails, and the configs of two real nodes. Change it into what you want to study;
/// docs/first-protocol.md goes on from here.
///
/// Exit codes: 0 written, 2 not, and nothing of what was there is changed.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct NewArgs {
    /// The protocol's name, and the package's: a word in lower case, as Rust has them
    #[arg(value_name = "NAME")]
    name: String,
    /// The folder to write, which is new or empty [default: NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The folder of this program's source, which the package depends on [default: where it was
    /// built]
    #[arg(long, value_name = "PATH")]
    node: Option<PathBuf>,
}

/// What is written, by its place in the package.
const FILES: [(&str, &str); 12] = [
    ("Cargo.toml", include_str!("new/Cargo.toml.in")),
    ("README.md", include_str!("new/README.md.in")),
    (".gitignore", "/target\n/run\n"),
    ("rustfmt.toml", include_str!("../../rustfmt.toml")),
    ("src/lib.rs", include_str!("../../examples/counter/src/lib.rs")),
    ("src/main.rs", include_str!("../../examples/counter/src/main.rs")),
    ("src/study.rs", include_str!("../../examples/counter/src/study.rs")),
    ("tests/scenarios.rs", include_str!("../../examples/counter/tests/scenarios.rs")),
    ("configs/sim.toml", include_str!("../../examples/counter/configs/sim.toml")),
    ("configs/sim/holds.toml", include_str!("../../examples/counter/configs/sim/holds.toml")),
    ("configs/sim/crash.toml", include_str!("../../examples/counter/configs/sim/crash.toml")),
    ("configs/node-1.toml", include_str!("../../examples/counter/configs/node-1.toml")),
];
/// The second of two nodes: the first with the ids and ports the other way round.
const NODE_2: (&str, &str) =
    ("configs/node-2.toml", include_str!("../../examples/counter/configs/node-2.toml"));

/// What cannot name a package or a module: keywords, and crates that are there already.
const RESERVED: [&str; 61] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "node_core",
    "node_lab",
    "node_protocols",
    "node_studies",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];
/// The longest name: it stands in file names, and in every line of a trace.
const MAX_NAME: usize = 32;

/// Runs it.
pub fn run(args: &NewArgs, registry: &Registry) -> ExitCode {
    let mut out = Output::default();
    let code = match write(args, registry) {
        Ok(told) => {
            told.lines().for_each(|line| out.say(format_args!("{line}")));
            0
        }
        Err(why) => {
            tell!("node new: {why}");
            2
        }
    };
    ExitCode::from(out.end("node new", code, 2))
}

/// Writes the package, and answers what there is to say.
fn write(args: &NewArgs, registry: &Registry) -> Result<String, String> {
    let name = &args.name;
    check(name, registry).map_err(|why| format!("{name}: {why}"))?;
    let folder = args.out.clone().unwrap_or_else(|| PathBuf::from(name));
    let source = source(args.node.as_deref())?;
    let at = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    match std::fs::read_dir(&folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(format!("{}: there is something in it", folder.display()));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(at(&folder, error)),
    }
    for (path, text) in FILES.iter().chain([&NODE_2]) {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(&folder);
        std::fs::create_dir_all(parent).map_err(|error| at(parent, error))?;
        let text = text.replace("@DEPENDENCIES@", &dependencies(source.as_deref()));
        std::fs::write(&path, renamed(&text, name)).map_err(|error| at(&path, error))?;
    }
    Ok(next_steps(&folder, source.as_deref()))
}

/// Whether a package can have this name.
fn check(name: &str, registry: &Registry) -> Result<(), String> {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_word = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(is_letter);
    if !is_word || name.len() > MAX_NAME || name.ends_with('_') || name.contains("__") {
        return Err(format!(
            "a name is a word of a-z, 0-9 and single _, which begins with a letter, of at most \
             {MAX_NAME} characters"
        ));
    }
    if registry.protocol_names().contains(&name) {
        return Err("there is a protocol of this name".into());
    }
    let camel = camel(name);
    if RESERVED.contains(&name) || has_word(name) || has_word(&camel) {
        return Err("the word is Rust's, or one of the package's own: choose another".into());
    }
    Ok(())
}

/// Whether the templates use a word themselves, so that it cannot be the protocol's name too.
fn has_word(word: &str) -> bool {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let code = FILES.iter().filter(|(path, _)| path.ends_with(".rs") || *path == "Cargo.toml");
    let mut words = code.flat_map(|(_, text)| text.split(ends));
    word != TEMPLATE && word != camel(TEMPLATE) && words.any(|one| one == word)
}

/// The name of the template.
const TEMPLATE: &str = "counter";

fn renamed(text: &str, name: &str) -> String {
    text.replace(TEMPLATE, name).replace(&camel(TEMPLATE), &camel(name))
}

/// `token_ring` as the name of a type: `TokenRing`.
fn camel(name: &str) -> String {
    let capital = |part: &str| {
        let (first, rest) = part.split_at(part.len().min(1));
        first.to_ascii_uppercase() + rest
    };
    name.split('_').map(capital).collect()
}

/// Where the crates are; none where that is not known here.
fn source(given: Option<&Path>) -> Result<Option<PathBuf>, String> {
    let is_source = |path: &Path| {
        ["Cargo.toml", "protocols/core/Cargo.toml", "src/lab/Cargo.toml"]
            .iter()
            .all(|file| path.join(file).is_file())
    };
    match given {
        Some(path) if !is_source(path) => {
            Err(format!("--node {}: this is not the source of node", path.display()))
        }
        Some(path) => {
            let path = path.canonicalize().map_err(|error| format!("--node: {error}"))?;
            Ok(Some(path))
        }
        None => Ok(Some(PathBuf::from(env!("CARGO_MANIFEST_DIR"))).filter(|path| is_source(path))),
    }
}

/// The lines of the package's dependencies.
fn dependencies(source: Option<&Path>) -> String {
    let mut lines = String::new();
    if source.is_none() {
        lines += "# PUT HERE where the source of node is: path = \"…\" or git = \"…\".\n";
    }
    let all = [("node", "", true), ("node-core", "protocols/core", false)];
    for (package, folder, is_optional) in all.into_iter().chain([("node-lab", "src/lab", false)]) {
        let place = match source {
            Some(source) => {
                let path = if folder.is_empty() { source.into() } else { source.join(folder) };
                format!("path = {}", toml::Value::from(path.to_string_lossy().as_ref()))
            }
            None => "git = \"https://example.invalid/node.git\"".into(),
        };
        let optional = if is_optional { ", optional = true" } else { "" };
        // Memory takes it.
        let _ = writeln!(lines, "{package} = {{ {place}{optional} }}");
    }
    lines.trim_end().into()
}

fn next_steps(folder: &Path, source: Option<&Path>) -> String {
    let folder = folder.display();
    let first = match source {
        Some(source) => format!("{folder} is written; it builds on {}. Next:", source.display()),
        None => format!(
            "{folder} is written; the source of node is not where this program was built: say in \
             {folder}/Cargo.toml where it is. Then:"
        ),
    };
    format!(
        "{first}\n  cd {folder}\n  cargo test\n  \
         cargo run --features node -- sim configs/sim/crash.toml --seeds 1..50"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_an_identifier_that_nobody_has() {
        let registry = node_studies::registry();
        for right in ["tally", "token_ring", "counter", "x1", "raft"] {
            assert_eq!(check(right, &registry), Ok(()), "{right}");
        }
        let long = "x".repeat(MAX_NAME + 1);
        let wrong = ["", "1x", "Tally", "a-b", "a__b", "a_", "../x", "é", "bully", "fn", "node"];
        for wrong in wrong.into_iter().chain(["core", "config", "share", "study", &long]) {
            assert!(check(wrong, &registry).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_name_stands_everywhere() {
        for (path, text) in FILES.iter().chain([&NODE_2]) {
            let text = renamed(text, "token_ring").to_lowercase();
            assert!(!text.contains(TEMPLATE), "{path}");
        }
        assert!(FILES.iter().any(|(_, text)| {
            renamed(text, "token_ring").contains("impl Protocol for TokenRing")
        }));
    }

    #[test]
    fn without_the_source_a_note_says_what_is_missing() {
        assert!(dependencies(None).starts_with("# PUT HERE"));
        let there = dependencies(Some(Path::new("/a \"b\"")));
        assert!(toml::from_str::<toml::Table>(&there).is_ok(), "{there}");
        assert!(next_steps(Path::new("x"), None).contains("x/Cargo.toml"));
    }
}
