//! Properties as values: what can be asked of a run, what it takes to see it, what it is held
//! against, and the function that judges it. Knows no protocol.

use super::cast::Cast;
use super::run::Run;
use super::witness::Violation;
use crate::check::timeline::Happening;
use crate::plugins::JsonForm;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::BitOr;

/// What can be asked of a run. Its name, statement, source and needs stand here once; help, lists
/// and scenarios read them.
pub struct Property {
    /// Its name in scenarios, on the command line and in verdicts.
    pub name: &'static str,
    /// What holds, in one sentence.
    pub statement: &'static str,
    /// The paper or document that it comes from.
    pub source: &'static str,
    /// What has to be seen of a run to judge it.
    pub needs: Needs,
    /// What it holds a run against.
    pub bounds: &'static [Bound],
    /// Whether it is judged where nobody names properties: what is promised only under conditions
    /// that a run does not show is not.
    pub is_promised: bool,
    /// Why no run of these nodes and clients can have it; none when one can.
    pub missing: fn(&Cast<'_>) -> Option<String>,
    /// Whether a run has anything in it that it is about: where nobody names properties, it is
    /// judged then.
    pub shows: fn(&Run) -> bool,
    /// Whether it held.
    pub judge: fn(&Run) -> Verdict,
}

impl PartialEq for Property {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Property {}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// What has to be seen of a run: a set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Needs(u16);

impl Needs {
    /// Nothing.
    pub const NOTHING: Needs = Needs(0);
    /// What clients asked and were told.
    pub const OPERATIONS: Needs = Needs(1);
    /// When nodes started and stopped, what was broken, and the facts that they published.
    pub const NODES: Needs = Needs(1 << 1);
    /// Every message and link, and the Lamport clock at each.
    pub const MESSAGES: Needs = Needs(1 << 2);
    /// What corrected clocks show, all at once.
    pub const CLOCKS: Needs = Needs(1 << 3);
    /// Protocols' files after each start, and console lines.
    pub const FILES: Needs = Needs(1 << 4);
    /// What replicas hold in the end.
    pub const REPLICAS: Needs = Needs(1 << 5);

    /// What all clients asked: what one of them did that is left out could explain what another was
    /// told.
    pub const EVERY_CLIENT: Needs = Needs(1 << 6);

    /// Whether all of `other` is among them.
    pub fn contains(self, other: Needs) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of what is in the set.
    pub fn names(self) -> Vec<&'static str> {
        let all = [
            (Needs::OPERATIONS, "operations"),
            (Needs::NODES, "nodes"),
            (Needs::MESSAGES, "messages"),
            (Needs::CLOCKS, "clocks"),
            (Needs::FILES, "files"),
            (Needs::REPLICAS, "replicas"),
            (Needs::EVERY_CLIENT, "every client"),
        ];
        all.into_iter().filter(|(one, _)| self.contains(*one)).map(|(_, name)| name).collect()
    }
}

impl Needs {
    /// Both together.
    pub const fn and(self, other: Needs) -> Needs {
        Needs(self.0 | other.0)
    }
}

impl BitOr for Needs {
    type Output = Needs;

    fn bitor(self, other: Needs) -> Needs {
        self.and(other)
    }
}

impl fmt::Debug for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join("|"))
    }
}

/// Something that a property holds a run against: a key of a scenario's `[bounds]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    /// The key.
    pub name: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// What it is where a scenario does not say, in its unit.
    pub default: u64,
    /// The most that it can be.
    pub most: Most,
    /// What is held against it, in one sentence.
    pub statement: &'static str,
}

/// What a bound counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Parts of a million, or anything else that is a number.
    Plain,
}

/// The most that a bound can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Most {
    /// As long as the run.
    Run,
    /// So many of its unit.
    Of(u64),
}

impl Bound {
    const fn scale(&self) -> u64 {
        match self.unit {
            Unit::Millis => 1_000_000,
            Unit::Micros => 1_000,
            Unit::Plain => 1,
        }
    }
}

/// How long agreement may take.
pub const AGREE: Bound = Bound {
    name: "agree_ms",
    unit: Unit::Millis,
    default: 10_000,
    most: Most::Run,
    statement: "after the last failure, repair or start, all agree within this time",
};
/// How long it may take until what is said is heard.
pub const NOTICE: Bound = Bound {
    name: "notice_ms",
    unit: Unit::Millis,
    default: 1_000,
    most: Most::Run,
    statement: "how long it takes, after a start or a silence, until a link is made and what is said is \
                heard; and how exactly a node knows for how long it was held up",
};

/// What a run's properties are held against: what was set, and the defaults of all else.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bounds(BTreeMap<&'static str, u64>);

impl Bounds {
    /// In nanoseconds where it is a time, else as it is.
    pub fn of(&self, bound: &Bound) -> u64 {
        let set = self.0.get(bound.name).copied();
        set.unwrap_or(bound.default * bound.scale())
    }

    /// With one set, in nanoseconds where it is a time.
    #[must_use]
    pub fn with(mut self, bound: &Bound, value: u64) -> Bounds {
        self.0.insert(bound.name, value);
        self
    }

    /// Sets one as a scenario gives it, in its own unit, in a run of so many milliseconds.
    ///
    /// # Errors
    /// When it is none that it can be.
    pub fn set(&mut self, bound: &Bound, given: u64, run_ms: u64) -> Result<(), String> {
        let Bound { name, unit, most, .. } = bound;
        let most = match (most, unit) {
            (Most::Of(most), _) => *most,
            (Most::Run, Unit::Micros) => run_ms.saturating_mul(1_000),
            (Most::Run, Unit::Millis | Unit::Plain) => run_ms,
        };
        if !(1..=most).contains(&given) {
            return Err(format!("{name} is 1 to {most}"));
        }
        self.0.insert(name, given.saturating_mul(bound.scale()));
        Ok(())
    }
}

/// Whether a property held.
///
/// It held only where something in the run could have broken it: each checker says what counts as
/// its **evidence**.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It held in this run, which has evidence of it.
    Held,
    /// It did not.
    Violated(Violation),
    /// The run has no evidence of it: never to be read as success, though another run of
    /// the same kind may have some.
    Unknown {
        /// What it lacks, in one line.
        why: String,
    },
    /// The checker gave up, or this is no run: never to be read as success.
    Undecided {
        /// Why, in one line.
        why: String,
    },
}

impl Verdict {
    /// What broke a property, or that it held if there was evidence of it.
    pub fn of(broken: Option<Violation>, has_evidence: bool, lacks: &str) -> Verdict {
        match broken {
            Some(violation) => Verdict::Violated(violation),
            None if has_evidence => Verdict::Held,
            None => Verdict::Unknown { why: lacks.into() },
        }
    }

    /// As it is told to people: see [`Violation::told`]. The forms are those of all protocols, by
    /// their tags.
    #[must_use]
    pub fn told(self, run: &Run, forms: impl FnOnce() -> BTreeMap<u16, JsonForm>) -> Verdict {
        let Verdict::Violated(found) = self else { return self };
        Verdict::Violated(found.told(run, &forms()))
    }

    /// With the operations of a violation, which are of a list that a study made, placed in the
    /// run.
    #[must_use]
    pub fn placed<T: Serialize>(
        self,
        list: &[T],
        place: impl Fn(usize) -> Option<usize>,
    ) -> Verdict {
        let Verdict::Violated(found) = self else { return self };
        Verdict::Violated(found.placed(list, place))
    }
}

/// The verdict on a timeline that does not have `what` in it.
pub fn nothing_of(timeline: &[Happening], what: &str) -> Verdict {
    let what = if timeline.is_empty() { "what nodes did" } else { what };
    Verdict::Unknown { why: format!("the history says nothing of {what}") }
}
