//! `node grade`: submissions judged by scenarios, from outside, and what they earn. Owns the
//! command and the order of its steps; must not know a protocol.

mod account;
mod assignment;
mod build;
mod exchange;
mod folder;
mod judge;
mod launch;
mod measures;
mod points;
mod report;
mod results;
mod secret;
mod traced;
mod worker;
mod writing;

use self::account::Account;
use self::assignment::{Assignment, Kind, Seed, Task};
use self::build::{NotBuilt, build, program};
use self::judge::{Bench, Result as Judged, Status};
use self::launch::Confines;
use self::measures::{bounds_with, measured_by};
use self::report::Report;
use self::results::csv;
use self::secret::Secret;
use self::writing::{create_private, page, write_private, write_results};
use super::tell;
use crate::client::escaped;
use clap::{Args, Subcommand};
use node_lab::hosted::{Guest, Tier};
use node_lab::registry::Registry;
use node_lab::sim::scenario::Scenario;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Grade submissions by the scenarios of an assignment
///
/// One submission, with results for Gradescope, GitHub Classroom, JUnit, a row of CSV and a report:
///
///   node grade assignment.toml --submission DIR --secret FILE -o results/
///
/// A whole class, one row for each folder:
///
///   node grade all SUBMISSIONS/ --secret FILE -o class.csv
///
/// What a submission prints, or how it ends, is never its verdict: its nodes are run and judged
/// from outside. Run as root, so that submissions are other users, who cannot read the secret; as
/// anybody else, they can read and end whatever you can. See docs/teaching.md.
///
/// Exit codes: 0 all points, 1 not all, 2 something could not be graded: never read that as zero.
#[derive(Args)]
#[command(verbatim_doc_comment, args_conflicts_with_subcommands = true)]
#[command(subcommand_negates_reqs = true)]
pub struct GradeArgs {
    #[command(subcommand)]
    other: Option<Other>,
    /// The assignment
    #[arg(value_name = "ASSIGNMENT", required = true)]
    assignment: Option<PathBuf>,
    /// The folder of the submission
    #[arg(long, value_name = "DIR", required = true)]
    submission: Option<PathBuf>,
    /// The folder for the results; it is made
    #[arg(short, long, value_name = "DIR", required = true)]
    output: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

#[derive(Args, Clone)]
struct How {
    /// What hidden seeds are derived from: a file that only you can read; - is standard input
    #[arg(long, value_name = "FILE")]
    secret: Option<PathBuf>,
    /// Leave hidden seeds out: nobody's grade
    #[arg(long, conflicts_with = "secret")]
    no_hidden: bool,
    /// Only this task; may be given several times
    #[arg(long, value_name = "TASK")]
    only: Vec<String>,
    /// Show hidden seeds in results: when all is over
    #[arg(long)]
    reveal: bool,
    /// How many at once [default: one for each processor]
    #[arg(long, value_name = "J")]
    jobs: Option<usize>,
}

#[derive(Subcommand)]
enum Other {
    /// Grade every folder of a folder, one row of CSV each
    All(AllArgs),
    /// Runs one task, for the grader
    #[command(hide = true)]
    Worker,
    /// Becomes a command, within limits
    #[command(hide = true)]
    Confine {
        confines: String,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

#[derive(Args)]
struct AllArgs {
    /// The folder with a folder for each submission
    #[arg(value_name = "SUBMISSIONS")]
    submissions: PathBuf,
    /// The assignment
    #[arg(long, value_name = "FILE", default_value = "assignment.toml")]
    assignment: PathBuf,
    /// The table
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Also write each submission's results into this folder
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

/// As many at once: each is a user of its own.
const MAX_JOBS: usize = 400;

/// What could not be graded.
const NOT_GRADED: u8 = 2;

/// Does it.
pub fn main(args: GradeArgs, registry: Registry) -> ExitCode {
    if !matches!(args.other, Some(Other::Worker | Other::Confine { .. })) {
        close_inherited();
    }
    // Who made the secret as docs/teaching.md says has another; what others may read is said file
    // by file.
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    let done = match args.other {
        Some(Other::Worker) => return worker::main(registry),
        Some(Other::Confine { confines, command }) => return confine(&confines, &command),
        Some(Other::All(all)) => grade_all(&all, &registry),
        None => {
            let (assignment, submission) = (args.assignment, args.submission);
            let all = assignment.zip(submission).zip(args.output);
            let one = all.ok_or_else(|| "name the assignment".to_string());
            one.and_then(|((assignment, submission), output)| {
                grade_one(&assignment, &submission, &output, &args.how, &registry)
            })
        }
    };
    let code = done.unwrap_or_else(|why| {
        tell!("node grade: {}", escaped(why.as_bytes()));
        NOT_GRADED
    });
    ExitCode::from(code)
}

/// Closes what whoever started this left open: every submission would have it, too.
fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let number = |name: std::ffi::OsString| name.to_str()?.parse::<i32>().ok();
    let all: Vec<i32> = entries.flatten().filter_map(|entry| number(entry.file_name())).collect();
    for fd in all.into_iter().filter(|fd| *fd > 2) {
        // That of the folder's list is closed by now.
        let _ = nix::unistd::close(fd);
    }
}

fn confine(confines: &str, command: &[String]) -> ExitCode {
    let error = match serde_json::from_str::<Confines>(confines) {
        Ok(confines) => confines.become_command(command).to_string(),
        Err(error) => error.to_string(),
    };
    tell!("node grade: {}: {error}", command.first().map_or("", String::as_str));
    ExitCode::from(126)
}

/// What all submissions have in common.
struct Course<'a> {
    assignment: &'a Assignment,
    tasks: Vec<(&'a Task, Vec<Seed>)>,
    reveal: bool,
    work: tempfile::TempDir,
}

impl<'a> Course<'a> {
    fn new(
        assignment: &'a Assignment,
        how: &How,
        registry: &Registry,
    ) -> Result<Course<'a>, String> {
        let path = assignment.path.display();
        let is_known = |id: &&String| assignment.tasks.iter().any(|task| task.id == **id);
        if let Some(id) = how.only.iter().find(|id| !is_known(id)) {
            let all: Vec<&str> = assignment.tasks.iter().map(|task| task.id.as_str()).collect();
            return Err(format!("--only {id}: no such task; there are {}", all.join(", ")));
        }
        let secret = how.secret.as_deref().map(Secret::load).transpose()?;
        let mut tasks = Vec::new();
        for task in &assignment.tasks {
            check(assignment, task, registry)?;
            if !how.only.is_empty() && !how.only.contains(&task.id) {
                continue;
            }
            if task.hidden > 0 && secret.is_none() && !how.no_hidden {
                return Err(format!(
                    "{path}: task {} has hidden seeds: give --secret FILE, or --no-hidden to see \
                     how the others go",
                    task.id
                ));
            }
            let seeds = task.all_seeds(&assignment.title, secret.as_ref());
            if seeds.is_empty() {
                return Err(format!("{path}: task {} has hidden seeds alone", task.id));
            }
            tasks.push((task, seeds));
        }
        let told = |error: std::io::Error| format!("no folder to work in: {error}");
        let work = tempfile::Builder::new().prefix("node-grade-").tempdir().map_err(told)?;
        fs::set_permissions(work.path(), Permissions::from_mode(0o711)).map_err(told)?;
        if !Account::has_users() {
            tell!(
                "WARN node grade: not root, so submissions run as you do: they can read the secret \
                 and end the grader"
            );
        }
        Ok(Course { assignment, tasks, reveal: how.reveal, work })
    }

    fn grade(&self, submission: &Path, place: usize, pages: Option<&Path>) -> Report<'a> {
        let name = submission.file_name().unwrap_or(submission.as_os_str());
        let name = name.to_string_lossy().into_owned();
        let folder = self.work.path().join(place.to_string());
        let tasks = self.judge(submission, &folder, pages);
        // The next one of this place finds nothing.
        let _ = fs::remove_dir_all(&folder);
        Report { assignment: self.assignment, name, tasks, reveal: self.reveal }
    }

    fn judge(
        &self,
        submission: &Path,
        folder: &Path,
        pages: Option<&Path>,
    ) -> Vec<(&'a Task, Judged)> {
        let all = |status: Status, why: &str| {
            self.tasks.iter().map(|(task, _)| (*task, Judged::of(status, why.into()))).collect()
        };
        let account = match Account::free() {
            Ok(account) => account,
            Err(why) => return all(Status::NotGraded, &why),
        };
        let made = fs::create_dir(folder)
            .and_then(|()| fs::set_permissions(folder, Permissions::from_mode(0o711)));
        if let Err(error) = made {
            return all(Status::NotGraded, &error.to_string());
        }
        let built = match build(self.assignment, submission, folder, &account) {
            Ok(built) => built,
            Err(NotBuilt::Submission(why)) => return all(Status::Failed, &why),
            Err(NotBuilt::Grader(why)) => return all(Status::NotGraded, &why),
        };
        let bench = Bench {
            assignment: self.assignment,
            program: program(self.assignment, &built, folder, &account),
            account: &account,
            place: folder,
            reveal: self.reveal,
        };
        let one = |(task, seeds): &(&'a Task, Vec<Seed>)| {
            let mut judged = bench.judge(task, seeds);
            if let (Some(found), Some(pages)) = (&mut judged.failure, pages) {
                let trace = folder.join("trace.jsonl");
                bench.explain(task, found, &trace);
                if let Err(why) = page(found, task, pages, self.reveal) {
                    tell!("node grade: the page of {}: {}", task.id, escaped(why.as_bytes()));
                }
            }
            (*task, judged)
        };
        self.tasks.iter().map(one).collect()
    }
}

/// Whether a task can be judged at all, before anybody is.
fn check(assignment: &Assignment, task: &Task, registry: &Registry) -> Result<(), String> {
    let told = |why: String| format!("{}: task {}: {why}", assignment.path.display(), task.id);
    let hosting = Guest { bin: PathBuf::from("/bin/sh"), ..Guest::default() };
    let is_bin = matches!(assignment.submission.kind, Kind::Bin(_));
    let given = is_bin.then_some(&hosting);
    let scenario = Scenario::open_hosted(&task.scenario, registry, given).map_err(told)?;
    if scenario.properties.is_empty() {
        return Err(told("its scenario names no property: nothing would be judged".into()));
    }
    let tier = scenario.hosted.as_ref().map(|hosted| hosted.hosting.tier);
    if tier == Some(Tier::Wall) && task.repeats < 3 {
        return Err(told(
            "its scenario is in real time (tier = \"wall\"): a run is luck there; give repeats = 3 \
             or more, or take lockstep"
                .into(),
        ));
    }
    for limit in &task.limits {
        if measured_by(registry, &limit.measure).is_none() {
            let measures = registry.properties().flat_map(|one| one.bounds);
            let all: Vec<&str> = measures.map(|bound| bound.name).collect();
            let (name, all) = (&limit.measure, all.join(", "));
            return Err(told(format!("measure: there is no {name}; there are {all}")));
        }
        bounds_with(registry, &scenario, &limit.measure, limit.at_most)
            .map_err(|why| told(format!("at_most: {why}")))?;
    }
    Ok(())
}

fn grade_one(
    assignment: &Path,
    submission: &Path,
    output: &Path,
    how: &How,
    registry: &Registry,
) -> Result<u8, String> {
    if !submission.is_dir() {
        return Err(format!("--submission {}: there is no such folder", submission.display()));
    }
    let submission = submission.canonicalize().map_err(|error| error.to_string())?;
    let assignment = Assignment::load(assignment)?;
    let course = Course::new(&assignment, how, registry)?;
    create_private(output)?;
    let report = course.grade(&submission, 0, Some(output));
    write_results(&report, output)?;
    for (task, judged) in &report.tasks {
        let (earned, most, word) = (judged.earned, task.most(), judged.status.word());
        tell!("{:<8} {earned}/{most} {word}", task.id);
        for reason in &judged.reasons {
            tell!("         {}", escaped(reason.as_bytes()));
        }
    }
    Ok(report.code())
}

fn grade_all(args: &AllArgs, registry: &Registry) -> Result<u8, String> {
    let assignment = Assignment::load(&args.assignment)?;
    let folders = folders(&args.submissions)?;
    let course = Course::new(&assignment, &args.how, registry)?;
    if let Some(results) = &args.results {
        create_private(results)?;
    }
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = args.how.jobs.unwrap_or(processors).clamp(1, MAX_JOBS).min(folders.len());
    let (next, reports) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let (course, folders, next, reports) = (&course, &folders, &next, &reports);
    std::thread::scope(|scope| {
        for place in 0..jobs {
            scope.spawn(move || {
                while let Some(folder) = folders.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = folder.file_name().unwrap_or_default();
                    let results = args.results.as_ref().map(|results| results.join(name));
                    let told = |why: String| tell!("node grade: {}", escaped(why.as_bytes()));
                    let results =
                        results.filter(|results| create_private(results).map_err(told).is_ok());
                    let report = course.grade(folder, place, results.as_deref());
                    if let Some(results) = &results {
                        write_results(&report, results).unwrap_or_else(told);
                    }
                    let mut reports =
                        reports.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    reports.push((csv::row(&report), report.code()));
                    let score = report.earned().map_or("not graded".into(), |one| one.to_string());
                    let (done, all, most) = (reports.len(), folders.len(), report.most());
                    let name = escaped(report.name.as_bytes()).to_string();
                    tell!("[{done}/{all}] {name}: {score} of {most}");
                }
            });
        }
    });
    let mut reports = reports.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    reports.sort();
    let tasks: Vec<&Task> = course.tasks.iter().map(|(task, _)| *task).collect();
    let rows = reports.iter().map(|(row, _)| row.as_str());
    let text: String = std::iter::once(csv::head(&tasks).as_str()).chain(rows).collect();
    write_private(&args.output, &text)?;
    Ok(reports.iter().map(|(_, code)| *code).max().unwrap_or(NOT_GRADED))
}

/// The submissions, by name.
fn folders(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let told = |why: &str| format!("{}: {why}", folder.display());
    let folder = folder.canonicalize().map_err(|error| told(&error.to_string()))?;
    let entries = fs::read_dir(&folder).map_err(|error| told(&error.to_string()))?;
    let mut all: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let is_hidden = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
    };
    all.retain(|path| path.is_dir() && !is_hidden(path));
    all.sort();
    if all.is_empty() { Err(told("there is no folder of a submission in it")) } else { Ok(all) }
}
