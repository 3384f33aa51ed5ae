//! The verdict on all runs of `node sim`: what is told of them, as lines and as JSON. Knows no
//! protocol.

use super::progress::Shrinking;
use super::replay::save;
use crate::cli::output::Output;
use node_lab::check::describe::Millis;
use node_lab::registry::Registry;
use node_lab::sim::plan::Plan;
use node_lab::sim::run::{Failure, Outcome};
use node_lab::sim::scenario::Scenario;
use node_lab::sim::smallest_told;
use node_lab::sim::tally::{Judged, Tally, Word};
use node_lab::trace::{Testimony, lines};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// What is done with runs that fail.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Where the first is saved.
    pub folder: &'a Path,
    /// Whether it is shrunk before.
    pub shrinks: bool,
    /// Whether it is one that was.
    pub is_replay: bool,
}

/// The verdict on all runs.
#[derive(Serialize)]
pub(super) struct Summary {
    scenario: String,
    pub verdict: Word,
    /// The property that the scenario is there to show violated.
    #[serde(skip_serializing_if = "Option::is_none")]
    violates: Option<&'static str>,
    runs: u64,
    failed: u64,
    /// How many of them violate that property.
    shown: u64,
    /// Whether that is what the runs show, and nothing else: then all is as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_shown: Option<bool>,
    unknown: u64,
    properties: Vec<Judged>,
    /// What is unknown, or was in some runs, for people.
    #[serde(skip)]
    lines: Vec<String>,
    events: u64,
    deliveries: u64,
    virtual_seconds: f64,
    real_seconds: f64,
    /// How far seeds repeat runs of programs.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    tiers: BTreeSet<String>,
    /// The first starts that nodes refused, because of what was on their disks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<String>,
    /// What else there is to say of runs: branches that met nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    failures: Vec<Report>,
    /// Files that were asked for and are not whole, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unwritten: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Report {
    seed: u64,
    property: String,
    why: String,
    at_ms: f64,
    /// What runs it again.
    #[serde(skip)]
    plan: Plan,
    /// What it rests on, in the order of telling.
    witnesses: Vec<Testimony<'static>>,
    /// The command that runs it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<String>,
    /// Why the command is not that of a shrunk run: its file could not be saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    unsaved: Option<String>,
    faults: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    branches: Vec<String>,
}

/// So many failing seeds are told one by one; all are counted.
const MAX_REPORTS: usize = 5;

/// The verdict on these runs, of which the first that failed is shrunk.
pub(super) fn summarize(
    asked: Asked<'_>,
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    outcomes: Vec<Outcome>,
    tally: Tally,
    started: Instant,
) -> Summary {
    let mut summary = Summary {
        scenario: scenario.path.display().to_string(),
        verdict: tally.verdict(),
        violates: scenario.violates.map(|property| property.name),
        runs: outcomes.len() as u64,
        failed: 0,
        shown: 0,
        is_shown: None,
        unknown: 0,
        lines: tally.lines(),
        properties: tally.into_properties(),
        events: 0,
        deliveries: 0,
        virtual_seconds: 0.0,
        real_seconds: started.elapsed().as_secs_f64(),
        tiers: BTreeSet::new(),
        refused: Vec::new(),
        notes: Vec::new(),
        failures: Vec::new(),
        unwritten: Vec::new(),
    };
    for outcome in outcomes {
        summary.events += outcome.events;
        summary.deliveries += outcome.deliveries;
        summary.virtual_seconds += outcome.virtual_ns as f64 / 1e9;
        summary.unknown += u64::from(!outcome.unknown.is_empty());
        summary.tiers.extend(outcome.reached.as_ref().map(ToString::to_string));
        let seed = outcome.plan.seed;
        let refused = outcome.refused.iter().map(|start| format!("seed {seed}: {start}"));
        summary.refused.extend(refused.take(MAX_REPORTS - summary.refused.len()));
        summary.notes.extend(outcome.notes.iter().map(|note| format!("seed {seed}: {note}")));
        let Some(failure) = &outcome.failure else { continue };
        summary.failed += 1;
        summary.shown += u64::from(Some(failure.property.as_str()) == summary.violates);
        if summary.failures.len() < MAX_REPORTS {
            let first = summary.failures.is_empty();
            summary.failures.push(report(asked, scenario, registry, &outcome, failure, first));
        }
    }
    summary.is_shown = summary.violates.map(|_| summary.shows(asked.is_replay));
    summary
}

impl Summary {
    /// The command that runs the first that failed again, as it was saved.
    pub fn replay(&self) -> Option<&str> {
        self.failures.first()?.replay.as_deref()
    }

    /// The first run that failed, shrunk if it was.
    pub fn first_failing(&self) -> Option<&Plan> {
        self.failures.first().map(|report| &report.plan)
    }

    /// Whether runs show the violation that the scenario is there to show, and nothing else broken
    /// or unknown. One that was shrunk to that violation has evidence of little else.
    fn shows(&self, is_replay: bool) -> bool {
        let is_as_meant =
            |one: &Judged| self.violates == Some(one.property) || one.verdict == Word::Held;
        self.shown > 0
            && self.shown == self.failed
            && (is_replay || self.unknown == 0 && self.properties.iter().all(is_as_meant))
    }

    /// What came of the runs, in a few words.
    fn outcome(&self) -> String {
        let others = self.properties.iter().filter(|one| self.violates != Some(one.property));
        let unknown = others.filter(|one| one.verdict == Word::Unknown).count();
        let other = if self.violates.is_some() { "other " } else { "" };
        let rest = match (self.failed - self.shown, unknown) {
            (0, 0) if self.unknown > 0 => format!("{} runs undecided", self.unknown),
            (0, 0) if self.properties.is_empty() => "unknown".to_string(),
            (0, 0) if self.violates.is_some() && self.properties.len() == 1 => {
                "no other property is judged".to_string()
            }
            (0, 0) => format!("every {other}property held"),
            (0, unknown) => {
                format!("{unknown} of {} properties unknown", self.properties.len())
            }
            (failed, _) if self.violates.is_some() => format!("{failed} violate something else"),
            (failed, _) => format!("{failed} violated"),
        };
        let runs = if self.runs == 1 { "1 run".into() } else { format!("{} runs", self.runs) };
        match (self.violates, self.is_shown, self.shown) {
            (Some(property), Some(true), shown) => format!(
                "shows what it is there to show: {property} violated in {shown} of {runs}; {rest}"
            ),
            (Some(property), _, 0) => format!(
                "does not show what it is there to show: {property} violated in none of {runs}; \
                 {rest}; try more seeds"
            ),
            (Some(property), _, shown) => format!(
                "does not show alone what it is there to show: {property} violated in {shown} of \
                 {runs}; {rest}"
            ),
            (None, ..) => format!("{runs}, {rest}"),
        }
    }
}

/// Tells one failing run; the first is shrunk and saved. If it cannot be saved, it is told all the
/// same, with the command that finds it again.
fn report(
    asked: Asked<'_>,
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    outcome: &Outcome,
    failure: &Failure,
    first: bool,
) -> Report {
    let (mut plan, mut failure) = (outcome.plan.clone(), failure.clone());
    let (mut replay, mut unsaved) = (None, None);
    if first && asked.shrinks && !asked.is_replay {
        let mut shrinking = Shrinking::new(plan.seed);
        let mut tell = |runs, most| shrinking.runs(runs, most);
        (plan, failure) = smallest_told(scenario, registry, &plan, &failure, &mut tell);
        shrinking.end();
        let property = &failure.property;
        replay = Some(match save(asked.folder, scenario, &plan, property) {
            Ok(path) => format!("node sim --replay {}", path.display()),
            Err(why) => {
                unsaved = Some(why);
                let (path, seed) = (scenario.path.display(), plan.seed);
                format!("node sim {path} --seeds {seed}..{seed}")
            }
        });
    }
    Report {
        seed: plan.seed,
        property: failure.property,
        why: failure.why,
        at_ms: failure.at as f64 / 1e6,
        witnesses: failure.witnesses,
        replay,
        unsaved,
        faults: plan.faults.iter().map(|fault| scenario.tell(fault)).collect(),
        branches: plan.branches.iter().map(|branch| scenario.tell_branch(branch)).collect(),
        plan,
    }
}

/// Tells it to people.
pub(super) fn print(summary: &Summary, out: &mut Output) {
    for report in &summary.failures {
        let Report {
            seed, property, why, at_ms, witnesses, replay, unsaved, faults, branches, ..
        } = report;
        let at = Millis((at_ms * 1e6).round() as u64);
        out.say(format_args!("seed {seed}: {property} is violated at {at}: {why}"));
        for line in lines(witnesses) {
            out.say(format_args!("  {line}"));
        }
        for line in faults.iter().chain(branches) {
            out.say(format_args!("  {line}"));
        }
        if let Some(why) = unsaved {
            out.say(format_args!("  not saved: {why}"));
        }
        if let Some(replay) = replay {
            out.say(format_args!("  again: {replay}"));
        }
    }
    for start in &summary.refused {
        out.say(format_args!("{start}: it does not start until that is put right"));
    }
    for note in &summary.notes {
        out.say(format_args!("{note}"));
    }
    let more = summary.failed - summary.failures.len() as u64;
    if more > 0 {
        out.say(format_args!("and {more} seeds more"));
    }
    for line in &summary.lines {
        out.say(format_args!("{line}"));
    }
    for tier in &summary.tiers {
        out.say(format_args!("tier: {tier}"));
    }
    let real = summary.real_seconds.max(1e-9);
    let rate = match summary.tiers.is_empty() {
        true => String::new(),
        false => format!(" ({:.0} a second)", summary.deliveries as f64 / real),
    };
    out.say(format_args!(
        "{}: {}; {:.0} s simulated in {:.1} s ({:.0} times real time), {} messages{rate}",
        summary.scenario,
        summary.outcome(),
        summary.virtual_seconds,
        summary.real_seconds,
        summary.virtual_seconds / real,
        summary.deliveries,
    ));
}
