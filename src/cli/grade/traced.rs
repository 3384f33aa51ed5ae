//! Submissions in Rust: the package with the teacher's `main.rs` simulates in a process of its own,
//! and only the trace that it writes is judged. That process is the submission's: its trace is what
//! somebody else says of a run, so it must be one of the run that was asked for (its seed, its
//! clients, its nodes, its faults at their times), and it is judged by the grader's own properties.

use super::exchange::{Failed, PROGRAM, Ran};
use super::measures::measured;
use node_lab::registry::Registry;
use node_lab::sim::plan::Plan;
use node_lab::sim::scenario::Scenario;
use node_lab::study::{Bounds, Property, Run, Verdict};
use node_lab::trace::history::Traces;
use node_lab::trace::{Event, Line};
use rustix::fs::OFlags;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A program that simulates itself.
pub struct Traced {
    /// The program.
    pub bin: PathBuf,
    /// Whose it is.
    pub user: Option<u32>,
    /// A folder of that user.
    pub folder: PathBuf,
    /// The largest trace, in MiB.
    pub most_mb: u64,
}

/// What it writes.
const TRACE: &str = "trace.jsonl";
/// How much of its stderr a reason shows.
const MAX_TOLD: usize = 500;

impl Traced {
    /// The trace of the last run.
    pub fn trace(&self) -> PathBuf {
        self.folder.join(TRACE)
    }

    /// Has it simulate a plan, and judges what it writes.
    ///
    /// # Errors
    /// The grader cannot: nobody's verdict.
    pub fn run(
        &self,
        scenario: &Scenario,
        registry: &Registry,
        plan: &Plan,
        measures: &[(&'static Property, Bounds)],
    ) -> Result<Ran, String> {
        if self.trace().symlink_metadata().is_ok() {
            fs::remove_file(self.trace()).map_err(|error| error.to_string())?;
        }
        let mut command = Command::new(&self.bin);
        command.arg("sim").arg(&scenario.path).args(["--no-shrink", "--seed"]);
        command.arg(plan.seed.to_string()).arg("--trace").arg(self.trace());
        command.arg("--save").arg(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        // How it ends says nothing: its trace does.
        let started = command.status();
        let failed = |why: String| {
            let why: String = why.chars().take(MAX_TOLD).collect();
            let failure = Failed { property: PROGRAM.into(), why, at_ns: 0 };
            Ran { failure: Some(failure), ..Ran::default() }
        };
        if let Err(error) = started {
            return Ok(failed(format!("it cannot be started: {error}")));
        }
        let read = self.read(scenario, plan);
        let mut run = match read {
            Ok(run) => run,
            Err(why) => return Ok(failed(format!("its trace is none of this run: {why}"))),
        };
        let mut ran = Ran { measured: measured(&mut run, measures), ..Ran::default() };
        run.bounds = scenario.bounds.clone();
        for property in &scenario.properties {
            let name = property.name.to_string();
            match scenario.judge(property, &run, registry, plan.known()) {
                Verdict::Held => ran.held.push(name),
                Verdict::Unknown { why } => ran.lacks.push((name, why)),
                Verdict::Undecided { why } => ran.undecided.push(format!("{name}: {why}")),
                Verdict::Violated(found) => {
                    let at_ns = found.at.unwrap_or_default();
                    ran.failure = Some(Failed { property: name, why: found.why, at_ns });
                    break;
                }
            }
        }
        Ok(ran)
    }

    /// Opens what may be anything that the submission put there.
    fn open(&self) -> Result<BufReader<File>, String> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(self.trace());
        let file = file.map_err(|error| error.to_string())?;
        let meta = file.metadata().map_err(|error| error.to_string())?;
        match meta.is_file() && meta.len() <= self.most_mb << 20 {
            true => Ok(BufReader::new(file)),
            false => Err(format!("it is no file of at most {} MB", self.most_mb)),
        }
    }

    /// The run in its trace, which is of that plan.
    fn read(&self, scenario: &Scenario, plan: &Plan) -> Result<Run, String> {
        let mut expected: BTreeSet<(u64, u64, String)> =
            plan.faults.iter().map(|one| (one.at(), one.until(), one.to_string())).collect();
        for line in self.open()?.lines() {
            let line = line.map_err(|error| error.to_string())?;
            let Ok(line) = serde_json::from_str::<Line<'_>>(&line) else { continue };
            match line.event {
                Event::Fault { until, label, .. } => {
                    expected.remove(&(line.at, until, label.into_owned()));
                }
                Event::Violation { property, label, .. } => {
                    return Err(format!("it says itself that {property} is violated: {label}"));
                }
                _ => {}
            }
        }
        let (mut traces, mut run) = (Traces::default(), Run::default());
        let cut = traces.read(self.open()?, &mut run)?.cut;
        if cut.is_some() {
            return Err("its end is cut off".into());
        }
        if traces.plan() != (Some(plan.seed), Some(plan.clients)) {
            return Err("it is of another seed, or of other clients".into());
        }
        let nodes: BTreeSet<u32> = scenario.nodes.iter().map(|node| node.id.0).collect();
        if *traces.nodes() != nodes {
            return Err("it is of other nodes".into());
        }
        if let Some((_, _, fault)) = expected.first() {
            return Err(format!("this did not happen in it: {fault}"));
        }
        traces.finish(&mut run);
        run.nodes = scenario.nodes.clone();
        run.is_simulated = true;
        scenario.mark_late(&mut run, plan);
        Ok(run)
    }
}
