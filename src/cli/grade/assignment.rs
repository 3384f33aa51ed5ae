//! The form of an assignment: what is asked of a submission, and for how many points. Owns the
//! file's checks; must not know how anything is run.

use super::points::{Points, points};
use super::secret::{MAX_INDEX, Secret};
use node_lab::text::{self, line_of};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use toml::Spanned;

/// A checked assignment.
#[derive(Debug)]
pub struct Assignment {
    /// Its file.
    pub path: PathBuf,
    /// What it is called.
    pub title: String,
    /// How a submission is made into something that runs.
    pub submission: Submission,
    /// What a submission may use.
    pub limits: Limits,
    /// What it is asked for.
    pub tasks: Vec<Task>,
}

/// How a submission is made into something that runs.
#[derive(Debug, Clone)]
pub struct Submission {
    /// What runs.
    pub kind: Kind,
    /// The command that makes it, in its folder.
    pub build: Option<String>,
}

/// What runs.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A program that speaks line JSON: its file, in the submission's folder.
    Bin(PathBuf),
    /// A package of Rust: its folder in the submission's, the teacher's `main.rs`, and the name of
    /// the binary.
    Cargo {
        /// Where its `Cargo.toml` is.
        folder: PathBuf,
        /// The file that replaces the submission's `src/main.rs`.
        main: PathBuf,
        /// What Cargo calls the binary.
        binary: String,
    },
}

/// `[limits]`: what a submission may use, in the task that needs the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The real time of one task with all its seeds, in seconds.
    pub wall_s: u64,
    /// The real time of the build, in seconds.
    pub build_s: u64,
    /// How long a failure is made smaller, in seconds.
    pub shrink_s: u64,
    /// The memory of one node, or of the build, in MiB.
    pub memory_mb: u64,
    /// The processes of one node, or of the build.
    pub processes: u64,
    /// What one node, or the build, writes to stdout and stderr, in MiB.
    pub output_mb: u64,
    /// What the submission's folder, or a node's, holds, in MiB.
    pub disk_mb: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            wall_s: 300,
            build_s: 120,
            shrink_s: 20,
            memory_mb: 1_024,
            processes: 64,
            output_mb: 50,
            disk_mb: 256,
        }
    }
}

/// Something that is asked for.
#[derive(Debug, Clone)]
pub struct Task {
    /// Names it in results and on the command line.
    pub id: String,
    /// For its properties.
    pub points: Points,
    /// Its scenario: a file, or a name of one that comes with the binary.
    pub scenario: PathBuf,
    /// Seeds that everybody knows: 1 to this.
    pub seeds: u64,
    /// How many seeds nobody knows.
    pub hidden: u64,
    /// How seeds make points.
    pub score: Score,
    /// Who sees it, and when.
    pub visibility: Visibility,
    /// How often a seed is run whose run it does not repeat; most of them decide.
    pub repeats: u32,
    /// Further points.
    pub limits: Vec<Limit>,
}

/// How seeds make points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// All points when every seed holds, else none.
    #[default]
    All,
    /// The part of the seeds that hold.
    Fraction,
    /// The part before the first that does not.
    UntilFirstFailure,
}

/// Gradescope's four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Always.
    #[default]
    Visible,
    /// When grades are published.
    AfterPublished,
    /// When the due date is over.
    AfterDueDate,
    /// Never.
    Hidden,
}

impl Visibility {
    /// As results have it.
    pub fn word(self) -> &'static str {
        match self {
            Visibility::Visible => "visible",
            Visibility::AfterPublished => "after_published",
            Visibility::AfterDueDate => "after_due_date",
            Visibility::Hidden => "hidden",
        }
    }
}

/// Points for a measure that is small enough in every run.
#[derive(Debug, Clone)]
pub struct Limit {
    /// A key of a scenario's `[bounds]`.
    pub measure: String,
    /// In its unit.
    pub at_most: u64,
    /// For it.
    pub points: Points,
}

/// A seed of a task, as results name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed {
    /// The seed.
    pub value: u64,
    /// Which hidden seed of its task it is, from 1; none for one that everybody knows.
    pub hidden: Option<u64>,
}

impl Seed {
    /// Its name where students read it, or its value where it is no secret.
    pub fn name(self, reveal: bool) -> String {
        match self.hidden {
            Some(index) if reveal => format!("hidden seed #{index} ({})", self.value),
            Some(index) => format!("hidden seed #{index}"),
            None => format!("seed {}", self.value),
        }
    }

    /// Whether what tells its value may be shown.
    pub fn is_open(self, reveal: bool) -> bool {
        reveal || self.hidden.is_none()
    }
}

impl Task {
    /// All points that it can give.
    pub fn most(&self) -> Points {
        self.limits.iter().fold(self.points, |sum, limit| sum + limit.points)
    }

    /// Its seeds: those that everybody knows, then the hidden ones.
    pub fn all_seeds(&self, title: &str, secret: Option<&Secret>) -> Vec<Seed> {
        let known = (1..=self.seeds).map(|value| Seed { value, hidden: None });
        let hidden = secret.into_iter().flat_map(|secret| {
            let seed = |k| Seed { value: secret.seed(title, &self.id, k), hidden: Some(k) };
            (1..=self.hidden).map(seed)
        });
        known.chain(hidden).collect()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    title: Spanned<String>,
    submission: Spanned<RawSubmission>,
    #[serde(default)]
    limits: Option<Spanned<Limits>>,
    #[serde(default)]
    task: Vec<Spanned<RawTask>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSubmission {
    bin: Option<Spanned<PathBuf>>,
    cargo: Option<Spanned<PathBuf>>,
    main: Option<Spanned<PathBuf>>,
    binary: Option<Spanned<String>>,
    build: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTask {
    id: Spanned<String>,
    points: Spanned<f64>,
    scenario: Spanned<PathBuf>,
    seeds: Option<Spanned<u64>>,
    hidden: Option<Spanned<u64>>,
    #[serde(default)]
    score: Score,
    #[serde(default)]
    visibility: Visibility,
    repeats: Option<Spanned<u32>>,
    #[serde(default)]
    limit: Vec<RawLimit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimit {
    measure: Spanned<String>,
    at_most: Spanned<f64>,
    points: Spanned<f64>,
}

/// The most of each limit that makes sense, and keeps sums far from an overflow.
const MAX_LIMIT: u64 = 1 << 20;
/// A repeated seed is run at most so often.
const MAX_REPEATS: u32 = 99;
/// The longest name of anything.
const MAX_NAME: usize = 200;

/// Where a text breaks a rule.
struct Text<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Text<'_> {
    fn wrong<T>(&self, span: Range<usize>, rule: &str) -> Result<T, String> {
        let line = line_of(self.text.as_bytes(), span.start);
        let key = self.key_at(span.start);
        Err(format!("{}:{line}: {key}{rule}", self.path.display()))
    }

    /// The key, or the table's header, in the line of a value.
    fn key_at(&self, at: usize) -> String {
        let before = self.text.get(..at).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let key = match line.trim_start().starts_with('[') {
            true => Some(line.trim()),
            false => line.split_once('=').map(|(key, _)| key.trim()),
        };
        key.filter(|key| !key.is_empty()).map_or(String::new(), |key| format!("{key}: "))
    }

    fn points(&self, given: &Spanned<f64>) -> Result<Points, String> {
        let rule = "points are more than 0 and at most 1000000, with at most two decimal places";
        points(*given.get_ref()).map_or_else(|| self.wrong(given.span(), rule), Ok)
    }

    /// A path that stays below the folder that it starts from.
    fn inside(&self, given: &Spanned<PathBuf>) -> Result<PathBuf, String> {
        let path = given.get_ref();
        let stays = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        match path.components().all(stays) && !path.as_os_str().is_empty() {
            true => Ok(path.clone()),
            false => self.wrong(given.span(), "name something in the folder: no leading /, no .."),
        }
    }

    fn name(&self, given: &Spanned<String>) -> Result<String, String> {
        let name = given.get_ref();
        let is_one = !name.trim().is_empty() && !name.chars().any(char::is_control);
        match is_one && name.len() <= MAX_NAME {
            true => Ok(name.clone()),
            false => self.wrong(given.span(), "give it one line of 1 to 200 bytes"),
        }
    }
}

impl Assignment {
    /// Reads an assignment.
    ///
    /// # Errors
    /// The line, the key and the rule that it breaks.
    pub fn load(path: &Path) -> Result<Assignment, String> {
        let text = text::read(path).map_err(|error| error.of(path))?;
        Assignment::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Assignment, String> {
        let source = Text { path, text };
        let read = toml::from_str::<RawFile>(text);
        let raw = match read {
            Ok(raw) => raw,
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                return source.wrong(span, &error.message().replace('\n', "; "));
            }
        };
        let title = source.name(&raw.title)?;
        let submission = source.submission(&raw.submission)?;
        let limits = source.limits(raw.limits.as_ref())?;
        if raw.task.is_empty() {
            return Err(format!("{}: task: give at least one [[task]]", path.display()));
        }
        let (mut tasks, mut ids) = (Vec::new(), BTreeSet::new());
        for raw in &raw.task {
            let id = &raw.get_ref().id;
            // File systems are not agreed on whether A is a.
            if !ids.insert(id.get_ref().to_lowercase()) {
                return source.wrong(id.span(), "another task has this id");
            }
            tasks.push(source.task(raw.get_ref())?);
        }
        Ok(Assignment { path: path.into(), title, submission, limits, tasks })
    }
}

impl Text<'_> {
    fn submission(&self, given: &Spanned<RawSubmission>) -> Result<Submission, String> {
        let RawSubmission { bin, cargo, main, binary, build } = given.get_ref();
        let build = build.as_ref().map(|build| self.command(build)).transpose()?;
        let kind = match (bin, cargo) {
            (Some(bin), None) => {
                if let Some(span) = main.as_ref().map(Spanned::span) {
                    return self.wrong(span, "it is for cargo submissions; leave it out");
                }
                if let Some(span) = binary.as_ref().map(Spanned::span) {
                    return self.wrong(span, "it is for cargo submissions; leave it out");
                }
                Kind::Bin(self.inside(bin)?)
            }
            (None, Some(cargo)) => {
                let (Some(main), Some(binary)) = (main, binary) else {
                    let rule = "cargo needs main, your main.rs beside this file, and binary, the \
                                name that Cargo gives the program";
                    return self.wrong(cargo.span(), rule);
                };
                let folder = self.path.parent().unwrap_or(Path::new(""));
                let main_path = folder.join(self.inside(main)?);
                if !main_path.is_file() {
                    return self.wrong(main.span(), "there is no such file beside the assignment");
                }
                let binary = self.name(binary)?;
                Kind::Cargo { folder: self.inside(cargo)?, main: main_path, binary }
            }
            _ => {
                let rule = "give bin, the program's file in the submission, or cargo, the folder \
                            of its package; and not both";
                return self.wrong(given.span(), rule);
            }
        };
        Ok(Submission { kind, build })
    }

    fn command(&self, given: &Spanned<String>) -> Result<String, String> {
        match given.get_ref().trim().is_empty() || given.get_ref().contains('\0') {
            true => self.wrong(given.span(), "give a command for sh, or leave it out"),
            false => Ok(given.get_ref().clone()),
        }
    }

    fn limits(&self, given: Option<&Spanned<Limits>>) -> Result<Limits, String> {
        let Some(given) = given else { return Ok(Limits::default()) };
        let limits = *given.get_ref();
        let Limits { wall_s, build_s, shrink_s, memory_mb, processes, output_mb, disk_mb } = limits;
        let all = [wall_s, build_s, shrink_s, memory_mb, processes, output_mb, disk_mb];
        match all.iter().all(|one| (1..=MAX_LIMIT).contains(one)) {
            true => Ok(limits),
            false => self.wrong(given.span(), "every limit is 1 to 1048576"),
        }
    }

    fn task(&self, raw: &RawTask) -> Result<Task, String> {
        let id = self.name(&raw.id)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if !id.chars().all(fits) || id.starts_with('.') {
            let rule = "an id has letters, digits, _, - and ., and does not begin with a dot";
            return self.wrong(raw.id.span(), rule);
        }
        let points = self.points(&raw.points)?;
        let count = |given: &Option<Spanned<u64>>| given.as_ref().map_or(0, |one| *one.get_ref());
        let (seeds, hidden) = (count(&raw.seeds), count(&raw.hidden));
        if seeds == 0 && hidden == 0 || seeds.max(hidden) > MAX_INDEX {
            let span = raw.seeds.as_ref().or(raw.hidden.as_ref()).map(Spanned::span);
            let rule = "give seeds, hidden, or both: how many, together 1 to 100000 each";
            return self.wrong(span.unwrap_or(raw.id.span()), rule);
        }
        let repeats = raw.repeats.as_ref().map_or(1, |one| *one.get_ref());
        if let Some(given) = &raw.repeats
            && (!(1..=MAX_REPEATS).contains(&repeats) || repeats.is_multiple_of(2))
        {
            return self.wrong(given.span(), "an odd number from 1 to 99, so that most decide");
        }
        Ok(Task {
            id,
            points,
            scenario: self.scenario(&raw.scenario),
            seeds,
            hidden,
            score: raw.score,
            visibility: raw.visibility,
            repeats,
            limits: raw.limit.iter().map(|one| self.limit(one)).collect::<Result<_, _>>()?,
        })
    }

    /// A file beside the assignment, or a name.
    fn scenario(&self, given: &Spanned<PathBuf>) -> PathBuf {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let beside = folder.join(given.get_ref());
        if beside.exists() || given.get_ref().extension().is_some() {
            return beside;
        }
        given.get_ref().clone()
    }

    fn limit(&self, raw: &RawLimit) -> Result<Limit, String> {
        let at_most = *raw.at_most.get_ref();
        if at_most.fract() != 0.0 || !(1.0..=1e15).contains(&at_most) {
            return self.wrong(raw.at_most.span(), "a whole number from 1, in the measure's unit");
        }
        let measure = self.name(&raw.measure)?;
        Ok(Limit { measure, at_most: at_most as u64, points: self.points(&raw.points)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
title = "Broadcast"
[submission]
bin = "run.sh"
build = "make"
[limits]
wall_s = 60
[[task]]
id = "3c"
points = 10
scenario = "3c.toml"
seeds = 5
hidden = 3
score = "fraction"
visibility = "after_due_date"
[[task.limit]]
measure = "msgs_per_op"
at_most = 30.0
points = 2.5
[[task]]
id = "3a"
points = 1
scenario = "broadcast-1"
seeds = 1
"#;

    fn parse(text: &str) -> Result<Assignment, String> {
        Assignment::parse(Path::new("course/a.toml"), text)
    }

    #[test]
    fn a_whole_one_is_read() {
        let all = parse(WHOLE).unwrap();
        assert_eq!((all.title.as_str(), all.tasks.len()), ("Broadcast", 2));
        assert_eq!((all.limits.wall_s, all.limits.build_s), (60, 120));
        let task = &all.tasks[0];
        assert_eq!(task.scenario, Path::new("course/3c.toml"));
        assert_eq!(all.tasks[1].scenario, Path::new("broadcast-1"));
        assert_eq!((task.score, task.visibility.word()), (Score::Fraction, "after_due_date"));
        assert_eq!(task.most().to_string(), "12.5");
        let secret = Secret::of(b"0123456789abcdef").unwrap();
        let seeds = task.all_seeds(&all.title, Some(&secret));
        assert_eq!(seeds.len(), 8);
        assert_eq!(seeds[4].name(false), "seed 5");
        assert_eq!(seeds[7].name(false), "hidden seed #3");
        assert!(seeds[7].name(true).contains(&seeds[7].value.to_string()));
        assert_eq!(task.all_seeds(&all.title, None).len(), 5);
    }

    #[test]
    fn what_is_wrong_is_named_by_line_key_and_rule() {
        for (from, to, told) in [
            ("points = 10", "points = 0", "course/a.toml:10: points: points are more than 0"),
            ("points = 10", "points = 1.234", ":10: points: points are"),
            ("points = 10", "points = \"x\"", ":10: points: invalid type"),
            ("wall_s = 60", "wall_s = 0", ":6: [limits]: every limit is"),
            ("wall_s = 60", "wal_s = 60", ":7: wal_s: unknown field `wal_s`"),
            ("id = \"3a\"", "id = \"3C\"", ":21: id: another task has this id"),
            ("id = \"3a\"", "id = \"../x\"", ":21: id: an id has letters"),
            ("bin = \"run.sh\"", "bin = \"/bin/sh\"", ":4: bin: name something in the folder"),
            ("bin = \"run.sh\"", "bin = \"../sh\"", ":4: bin: name something in the folder"),
            ("bin = \"run.sh\"\n", "", ":3: [submission]: give bin"),
            ("build = \"make\"", "build = \" \"", ":5: build: give a command"),
            ("build = \"make\"", "cargo = \".\"", ":3: [submission]: give bin"),
            ("bin = \"run.sh\"", "cargo = \".\"", ":4: cargo: cargo needs main"),
            ("seeds = 1\n", "", ":21: id: give seeds"),
            ("seeds = 5", "seeds = 5\nrepeats = 2", ":13: repeats: an odd number"),
            ("at_most = 30.0", "at_most = 0.5", ":18: at_most: a whole number"),
            ("\"fraction\"", "\"half\"", ":14: score: unknown variant `half`"),
            ("title = \"Broadcast\"", "title = \"\\n\"", ":2: title: give it one line"),
            ("title = \"Broadcast\"", "title = ", ":2: title: "),
        ] {
            let text = WHOLE.replace(from, to);
            assert_ne!(text, WHOLE, "{from}");
            let error = parse(&text).unwrap_err();
            assert!(error.contains(told), "{to}: {error}");
        }
        let none = parse("title = \"x\"\n[submission]\nbin = \"a\"\n").unwrap_err();
        assert!(none.contains("at least one [[task]]"), "{none}");
    }
}
