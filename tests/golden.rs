//! Golden traces, as data: each file of `tests/golden/` is a small scenario and, below a line
//! `----`, what its run shows: the trace as text, then the verdicts. What differs is shown.
//!
//! ```sh
//! cargo test --test golden                 # all of them
//! cargo test --test golden bully           # those whose names have this in them
//! cargo test --test golden -- --rewrite    # accept what the runs show now, and read the diff
//! ```
//!
//! The scenario is one of `node sim`, with a table of its own: `[golden]` says which `seed` is
//! run, and which lines to `hide`: those that have one of these texts. The trace is that of `node
//! explain --format text` but for digests, and of a message stands its short form alone, where it
//! has one.

use node_lab::config::Config;
use node_lab::explain::{Source, merge, text};
use node_lab::registry::Registry;
use node_lab::sim::run::run;
use node_lab::sim::scenario::Scenario;
use node_lab::sim::tracer::Tracer;
use node_lab::study::Verdict;
use serde::Deserialize;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

/// What stands between the scenario and what its run shows.
const SEPARATOR: &str = "\n----\n";

/// So many lines are shown from the first that differs on.
const SHOWN_LINES: usize = 8;

/// The table `[golden]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    /// The seed of the run.
    seed: u64,
    /// Lines that have one of these texts are left out.
    #[serde(default)]
    hide: Vec<String>,
}

fn main() -> ExitCode {
    let (flags, names): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
    let rewrite = flags.iter().any(|flag| flag == "--rewrite");
    let registry = Arc::new(node_studies::registry());
    let mut wrong = 0;
    for path in files().expect("tests/golden is there") {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if !names.is_empty() && !names.iter().any(|part| name.contains(part)) {
            continue;
        }
        let said = match check(&path, &registry, rewrite) {
            Ok(said) => said.to_string(),
            Err(why) => {
                wrong += 1;
                format!("FAILED\n{why}")
            }
        };
        println!("golden {name} ... {said}");
    }
    if wrong > 0 {
        println!("{wrong} failed; to accept what runs show: cargo test --test golden -- --rewrite");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The golden files, in the order of their names.
fn files() -> io::Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = folder.read_dir()?.collect::<io::Result<Vec<_>>>()?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(!paths.is_empty(), "no golden files");
    Ok(paths)
}

/// Runs a file's scenario, and compares what it shows or writes that into the file.
fn check(
    path: &Path,
    registry: &Arc<Registry>,
    rewrite: bool,
) -> Result<&'static str, Box<dyn Error>> {
    let content = std::fs::read_to_string(path)?;
    let (head, golden) = content.split_once(SEPARATOR).unwrap_or((content.trim_end(), ""));
    let shown = show(path, head, registry)?;
    if shown == golden {
        return Ok("ok");
    }
    if rewrite {
        std::fs::write(path, format!("{head}{SEPARATOR}{shown}"))?;
        return Ok("rewritten");
    }
    Err(difference(head.lines().count() + 1, golden, &shown).into())
}

/// What the run of a scenario shows.
fn show(path: &Path, head: &str, registry: &Arc<Registry>) -> Result<String, Box<dyn Error>> {
    let mut scenario: toml::Table = toml::from_str(head)?;
    let golden: Golden = scenario.remove("golden").ok_or("no table [golden]")?.try_into()?;
    let folder = path.parent().unwrap_or(path);
    let mut load = |config: &Path| {
        Config::load(&folder.join(config), registry).map_err(|error| error.to_string())
    };
    let name = PathBuf::from(path.file_name().unwrap_or_default());
    let scenario = Scenario::parse(&name, &scenario.to_string(), registry, None, &mut load)?;
    let (scenario, trace) = (Arc::new(scenario), Trace::default());
    let tracer = Tracer::to(Box::new(trace.clone()));
    let outcome = run(&scenario, registry, &scenario.plan(golden.seed), tracer);
    let source = Source { name: name.display().to_string(), text: trace.text()? };
    let mut lines = Vec::new();
    text::write(&merge(&[source])?, &mut lines)?;
    let mut shown = String::new();
    for line in String::from_utf8(lines)?.lines() {
        if !golden.hide.iter().any(|text| line.contains(text)) {
            writeln!(shown, "{}", short(line))?;
        }
    }
    writeln!(shown)?;
    for (property, verdict) in &outcome.verdicts {
        match verdict {
            Verdict::Held => writeln!(shown, "{property}: held")?,
            Verdict::Violated(found) => writeln!(shown, "{property}: violated: {}", found.why)?,
            Verdict::Unknown { why } | Verdict::Undecided { why } => {
                writeln!(shown, "{property}: unknown: {why}")?;
            }
        }
    }
    match outcome.failure {
        Some(failure) if outcome.verdicts.iter().all(|(one, _)| one.name != failure.property) => {
            writeln!(shown, "{}: {}", failure.property, failure.why)?;
        }
        Some(_) | None => {}
    }
    Ok(shown)
}

/// A line without what only machines read: its digest, and the long form behind the short one.
fn short(line: &str) -> &str {
    let kinds = [" send ", " recv ", " drop ", " duplicate "];
    let is_message = kinds.iter().any(|kind| line.contains(kind));
    if let Some((short, _)) = line.split_once(" | ").filter(|_| is_message) {
        return short;
    }
    match line.rsplit_once("  =") {
        Some((rest, digest)) if digest.len() == 16 => rest,
        Some(_) | None => line,
    }
}

/// From the first lines that differ on, what was, below so many lines, and what is.
fn difference(above: usize, golden: &str, shown: &str) -> String {
    let equal = golden.lines().zip(shown.lines()).take_while(|(was, is)| was == is).count();
    let mut text = format!("differs from line {} on:\n", above + equal + 1);
    for (sign, lines) in [('-', golden), ('+', shown)] {
        for line in lines.lines().skip(equal).take(SHOWN_LINES) {
            let _ = writeln!(text, "{sign} {line}");
        }
    }
    text
}

/// A trace in memory.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<u8>>>);

impl Trace {
    fn text(&self) -> Result<String, Box<dyn Error>> {
        let bytes = self.0.lock().map_err(|_| "the run panicked")?;
        Ok(String::from_utf8(bytes.clone())?)
    }
}

impl Write for Trace {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().map_err(|_| io::ErrorKind::Other)?.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
