//! The verdict on many runs of one scenario. A property of which no run had evidence is unknown; it
//! is enough that some runs had: each seed breaks something else.

use super::run::Outcome;
use crate::study::{Property, Verdict};
use serde::Serialize;

/// What runs showed, property by property.
#[derive(Debug)]
pub struct Tally {
    properties: Vec<Judged>,
    failed: u64,
    /// Runs with something that nobody could decide or see, and the first of it.
    undecided: u64,
    first_undecided: Option<(u64, String)>,
}

/// What runs showed of one property.
#[derive(Debug, Serialize)]
pub struct Judged {
    /// Which.
    pub property: &'static str,
    /// The verdict on all runs: one violation is one, and without a run in which it held, or with
    /// one in which nobody could tell, it is unknown.
    pub verdict: Word,
    /// In how many runs it held.
    pub held: u64,
    /// In how many it was violated.
    pub violated: u64,
    /// How many had no evidence of it.
    pub no_evidence: u64,
    /// In how many its checker gave up.
    pub undecided: u64,
    /// What the run with the lowest seed that does not show it lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(skip)]
    seed: u64,
}

/// A verdict in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// It held.
    Held,
    /// It did not.
    Violated,
    /// Nobody knows.
    Unknown,
}

impl Tally {
    /// Of no run yet.
    pub fn new(properties: &[&'static Property]) -> Tally {
        let fresh = |property: &&'static Property| Judged {
            property: property.name,
            verdict: Word::Unknown,
            held: 0,
            violated: 0,
            no_evidence: 0,
            undecided: 0,
            why: None,
            seed: u64::MAX,
        };
        Tally {
            properties: properties.iter().map(fresh).collect(),
            failed: 0,
            undecided: 0,
            first_undecided: None,
        }
    }

    /// Takes a run, in any order; its verdicts are not kept beside.
    pub fn take(&mut self, outcome: &mut Outcome) {
        let seed = outcome.plan.seed;
        self.failed += u64::from(outcome.failure.is_some());
        if let Some(why) = outcome.unknown.first() {
            self.undecided += 1;
            if self.first_undecided.as_ref().is_none_or(|(first, _)| seed < *first) {
                self.first_undecided = Some((seed, why.clone()));
            }
        }
        for (property, verdict) in std::mem::take(&mut outcome.verdicts) {
            let name = property.name;
            let Some(judged) = self.properties.iter_mut().find(|one| one.property == name) else {
                continue;
            };
            judged.take(seed, verdict);
        }
    }

    /// Takes what another knows of other runs of the same properties.
    pub fn merge(&mut self, other: Tally) {
        self.failed += other.failed;
        self.undecided += other.undecided;
        let first = [self.first_undecided.take(), other.first_undecided];
        self.first_undecided = first.into_iter().flatten().min_by_key(|(seed, _)| *seed);
        for (one, other) in self.properties.iter_mut().zip(other.properties) {
            one.held += other.held;
            one.violated += other.violated;
            one.no_evidence += other.no_evidence;
            one.undecided += other.undecided;
            if other.seed < one.seed {
                (one.why, one.seed) = (other.why, other.seed);
            }
            one.judge();
        }
    }

    /// The verdict on everything. A violation outweighs what is unknown, and where nothing is asked
    /// nothing is known.
    pub fn verdict(&self) -> Word {
        let unknown = |one: &Judged| one.verdict == Word::Unknown;
        if self.failed > 0 {
            Word::Violated
        } else if self.undecided > 0
            || self.properties.is_empty()
            || self.properties.iter().any(unknown)
        {
            Word::Unknown
        } else {
            Word::Held
        }
    }

    /// What is known of each property, in the scenario's order.
    pub fn into_properties(self) -> Vec<Judged> {
        self.properties
    }

    /// What there is to say of what is unknown, or was in some runs, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.properties.iter().filter_map(Judged::line).collect();
        if self.properties.is_empty() {
            lines.push("the scenario names no property, so that nothing is judged".into());
        }
        if let Some((seed, why)) = &self.first_undecided {
            lines.push(format!("{} runs undecided, first seed {seed}: {why}", self.undecided));
        }
        lines
    }
}

impl Judged {
    fn take(&mut self, seed: u64, verdict: Verdict) {
        let why = match verdict {
            Verdict::Held => {
                self.held += 1;
                None
            }
            Verdict::Violated(_) => {
                self.violated += 1;
                None
            }
            Verdict::Unknown { why } => {
                self.no_evidence += 1;
                Some(why)
            }
            Verdict::Undecided { why } => {
                self.undecided += 1;
                Some(why)
            }
        };
        if why.is_some() && seed < self.seed {
            (self.why, self.seed) = (why, seed);
        }
        self.judge();
    }

    fn judge(&mut self) {
        self.verdict = match (self.violated, self.undecided, self.held) {
            (0, 0, 1..) => Word::Held,
            (0, _, _) => Word::Unknown,
            (_, _, _) => Word::Violated,
        };
    }

    fn line(&self) -> Option<String> {
        let Judged { property, held, no_evidence, seed, .. } = self;
        let why = self.why.as_ref()?;
        Some(match self.verdict {
            Word::Unknown => format!("{property} is unknown: {why} (seed {seed})"),
            Word::Held | Word::Violated => {
                format!(
                    "{property}: held in {held}, no evidence in {no_evidence} ({why}: seed {seed})"
                )
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::plan::Plan;
    use crate::sim::run::Failure;
    use crate::study::{Run, Violation};
    use crate::testing::property;

    const ONE: &str = "monotonic_reads";
    const OTHER: &str = "linearizable";

    fn outcome(seed: u64, verdicts: Vec<(&str, Verdict)>) -> Outcome {
        let is_violated = |one: &(&str, Verdict)| matches!(one.1, Verdict::Violated(_));
        let failure = verdicts.iter().any(is_violated).then(|| Failure {
            property: ONE.into(),
            why: String::new(),
            at: 0,
            witnesses: Vec::new(),
        });
        Outcome {
            plan: Plan {
                seed,
                clients: 1,
                operations: 1,
                faults: Vec::new(),
                branches: Vec::new(),
                choices: None,
            },
            hash: 0,
            events: 0,
            deliveries: 0,
            virtual_ns: 0,
            run: Run::default(),
            failure,
            verdicts: verdicts.into_iter().map(|(name, one)| (property(name), one)).collect(),
            unknown: Vec::new(),
            refused: Vec::new(),
            notes: Vec::new(),
            out_of_time: None,
            reached: None,
            trace_error: None,
        }
    }

    fn lacks() -> Verdict {
        Verdict::Unknown { why: "nobody read".into() }
    }

    fn tally(runs: impl IntoIterator<Item = Outcome>) -> Tally {
        let mut tally = Tally::new(&[property(ONE), property(OTHER)]);
        runs.into_iter().for_each(|mut run| tally.take(&mut run));
        tally
    }

    #[test]
    fn a_property_needs_evidence_in_some_run_and_none_in_a_single_one_is_told() {
        let held = |seed| outcome(seed, vec![(ONE, Verdict::Held), (OTHER, Verdict::Held)]);
        let some = |seed| outcome(seed, vec![(ONE, lacks()), (OTHER, Verdict::Held)]);
        assert_eq!(tally([held(1), held(2)]).verdict(), Word::Held);
        assert_eq!(tally([held(1), held(2)]).lines(), [""; 0]);
        let mixed = tally([some(9), held(3), some(4)]);
        assert_eq!(mixed.verdict(), Word::Held);
        let line = "monotonic_reads: held in 1, no evidence in 2 (nobody read: seed 4)";
        assert_eq!(mixed.lines(), [line]);
        let none = tally([some(1), some(2)]);
        assert_eq!(none.verdict(), Word::Unknown);
        assert_eq!(none.lines(), ["monotonic_reads is unknown: nobody read (seed 1)"]);
        let [one, other] = &none.into_properties()[..] else { panic!("two") };
        assert_eq!((one.verdict, one.no_evidence, other.verdict), (Word::Unknown, 2, Word::Held));
    }

    #[test]
    fn nothing_that_is_asked_or_nobody_who_could_tell_is_unknown() {
        assert_eq!(Tally::new(&[]).verdict(), Word::Unknown);
        assert_eq!(tally([]).verdict(), Word::Unknown);
        let gave_up = Verdict::Undecided { why: "too long".into() };
        let mut run = outcome(2, vec![(ONE, Verdict::Held), (OTHER, gave_up)]);
        run.unknown.push("linearizable: too long".into());
        let held = outcome(1, vec![(ONE, Verdict::Held), (OTHER, Verdict::Held)]);
        let all = tally([held, run]);
        assert_eq!(all.verdict(), Word::Unknown);
        assert!(all.lines()[1].starts_with("1 runs undecided, first seed 2: linearizable"));
    }

    #[test]
    fn one_violation_is_one() {
        let broken = Violation::at(0, String::new());
        let run = outcome(1, vec![(ONE, Verdict::Violated(broken))]);
        let all = tally([run, outcome(2, vec![(ONE, Verdict::Held), (OTHER, lacks())])]);
        assert_eq!(all.verdict(), Word::Violated);
    }
}
