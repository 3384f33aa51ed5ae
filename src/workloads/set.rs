//! What became of elements that clients added to a set, by what reads showed: for `broadcast` and
//! `g-set`. Knows no program.
//!
//! The definitions are those of Jepsen's checker `set-full`. An element is **known** when its
//! addition is acknowledged, or when the first read that shows it ends, whichever is first. It is
//!
//! * **stable** when the last read that could show it, does: the last one is that which began last.
//!   It became so just after the last read that did not show it had begun; the **stable latency**
//!   is the time from when it was known until then, or 0;
//! * **lost** when a read that began after it was known does not show it, and none that began later
//!   does;
//! * **never read** otherwise: no read began after it was known.
//!
//! One thing is stricter. There, of the reads with which a run ends, one a node, the last one
//! decides whether an element is stable: who misses it goes unnoticed if another read began after.
//! Here an element is lost too when any node's last read misses it: every node has had the time.

use crate::crew::{is_final, name};
use crate::errors::Told;
use crate::json::{Json, Key};
use node_lab::check::describe::Millis;
use node_lab::hosted::Body;
use node_lab::study::{Nanos, Operation, Run, Verdict, Violation};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An addition.
#[derive(Clone, Debug)]
pub struct Add {
    /// The operation's place.
    pub place: usize,
    /// What was added.
    pub element: Json,
    /// When it was asked for.
    pub asked: Nanos,
    /// When it was acknowledged; none when it was not.
    pub acknowledged: Option<Nanos>,
    /// Whether it was refused: then it never takes place.
    pub is_refused: bool,
}

/// A read that was answered.
#[derive(Clone, Debug)]
pub struct Read {
    /// The operation's place.
    pub place: usize,
    /// When it began.
    pub asked: Nanos,
    /// When it ended.
    pub answered: Nanos,
    /// Whether it is one of those with which the run ends.
    pub is_final: bool,
    /// What it showed, in its order; none where that is no list.
    pub shown: Option<Vec<Json>>,
}

/// What clients of a set asked, and were told: each in the order in which it was asked.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Additions.
    pub adds: Vec<Add>,
    /// Reads.
    pub reads: Vec<Read>,
}

/// What became of the elements.
#[derive(Clone, Debug, Default)]
pub struct Sets {
    /// How many additions were asked for.
    pub attempts: usize,
    /// How many elements are stable.
    pub stable: usize,
    /// Those that are lost: the places of the addition and of a read that misses it.
    pub lost: Vec<(usize, usize)>,
    /// How many were never read.
    pub never_read: usize,
    /// How many are stable, but not from when they were known.
    pub stale: usize,
    /// The stable latencies, in ascending order.
    pub latencies: Vec<Nanos>,
    /// The largest of them, with the places of the addition and of the last read that misses it.
    pub slowest: Option<(Nanos, usize, usize)>,
    /// Whether a read began after an element was known.
    pub has_reads: bool,
    /// Whether a read showed anything.
    pub shows_any: bool,
    /// Reads that showed what nobody had added: the read's place, and the first of it.
    pub phantoms: Vec<(usize, Json)>,
    /// Reads that showed something twice, likewise.
    pub duplicated: Vec<(usize, Json)>,
    /// The places of reads that are no list.
    pub malformed: Vec<usize>,
}

impl History {
    /// That of a run: broadcasts and additions, and reads of messages and values.
    pub fn of(run: &Run) -> History {
        let mut history = History::default();
        for (place, operation) in run.operations_of("program") {
            let Some(request) = run.request::<Body<'_>>(operation) else { continue };
            let kind = request.kind();
            match &*kind {
                "broadcast" | "add" => {
                    let key = if kind == "add" { "element" } else { "message" };
                    let Some(element) = Key::of(&request, key).value() else { continue };
                    let told = Told::of(&request, run.reply(operation));
                    let acknowledged = operation.return_ns.filter(|_| told.is_done());
                    let is_refused = matches!(told, Told::Refused(_));
                    let asked = operation.invoke_ns;
                    history.adds.push(Add { place, element, asked, acknowledged, is_refused });
                }
                "read" => history.reads.extend(read(run, place, operation, &request)),
                _ => {}
            }
        }
        history
    }

    /// What became of the elements.
    pub fn judge(&self) -> Sets {
        let mut sets = Sets { attempts: self.adds.len(), ..Sets::default() };
        let mut elements: Vec<Element<'_>> = Vec::with_capacity(self.adds.len());
        let mut index: BTreeMap<&Json, usize> = BTreeMap::new();
        for add in &self.adds {
            index.entry(&add.element).or_insert_with(|| {
                elements.push(Element::new(add));
                elements.len() - 1
            });
        }
        let mut sorted: Vec<&Read> = self.reads.iter().collect();
        sorted.sort_by_key(|read| (read.asked, read.place));
        let mut reads: Vec<(&Read, Vec<bool>)> = Vec::with_capacity(sorted.len());
        for read in sorted {
            match &read.shown {
                Some(shown) => {
                    reads.push((read, sets.read(read, shown, &index, &mut elements)));
                }
                None => sets.malformed.push(read.place),
            }
        }
        for (place, mut element) in elements.into_iter().enumerate() {
            for (number, (read, shown)) in reads.iter().enumerate() {
                element.meet(number, read, shown[place]);
            }
            element.end(&mut sets);
        }
        sets.latencies.sort_unstable();
        sets.lost.sort_unstable();
        sets
    }
}

impl Sets {
    /// Which elements a read shows, by their places; what is wrong with it is noted.
    fn read(
        &mut self,
        read: &Read,
        shown: &[Json],
        index: &BTreeMap<&Json, usize>,
        elements: &mut [Element<'_>],
    ) -> Vec<bool> {
        let mut marks = vec![false; elements.len()];
        let (mut strangers, mut twice, mut phantom) = (BTreeSet::new(), None, None);
        for one in shown {
            let place = index.get(one).copied();
            let was_there = match place {
                Some(place) => std::mem::replace(&mut marks[place], true),
                None => !strangers.insert(one),
            };
            if was_there {
                twice.get_or_insert(one);
                continue;
            }
            match place.map(|place| &mut elements[place]) {
                Some(element) if element.can_show(read) => element.is_known_at(read.answered),
                _ => drop(phantom.get_or_insert(one)),
            }
        }
        self.shows_any |= !shown.is_empty();
        self.duplicated.extend(twice.map(|one| (read.place, one.clone())));
        self.phantoms.extend(phantom.map(|one| (read.place, one.clone())));
        marks
    }
}

fn read(run: &Run, place: usize, operation: &Operation, request: &Body<'_>) -> Option<Read> {
    let Told::Done(reply) = Told::of(request, run.reply(operation)) else { return None };
    let list = |key| Key::of(&reply, key).0.map(|raw| Json::list(&raw));
    let shown = list("messages").or_else(|| list("value")).flatten();
    let (asked, answered) = (operation.invoke_ns, operation.return_ns?);
    let is_final = is_final(operation.client);
    Some(Read { place, asked, answered, is_final, shown })
}

/// An element, and the reads that showed it and did not: each the last that began, by its number
/// and its beginning.
struct Element<'a> {
    add: &'a Add,
    known: Option<Nanos>,
    shown: Option<usize>,
    missed: Option<(usize, &'a Read)>,
    /// The first of the run's last reads that does not show it.
    lacks: Option<&'a Read>,
    /// Whether a read began after it was known.
    tried: bool,
}

impl<'a> Element<'a> {
    fn new(add: &'a Add) -> Element<'a> {
        Element {
            add,
            known: add.acknowledged,
            shown: None,
            missed: None,
            lacks: None,
            tried: false,
        }
    }

    fn can_show(&self, read: &Read) -> bool {
        !self.add.is_refused && self.add.asked <= read.answered
    }

    fn is_known_at(&mut self, at: Nanos) {
        self.known = Some(self.known.map_or(at, |known| known.min(at)));
    }

    fn meet(&mut self, number: usize, read: &'a Read, is_shown: bool) {
        let was_known = self.known.is_some_and(|known| known < read.asked);
        self.tried |= was_known;
        if is_shown {
            self.shown = Some(number);
        } else if read.answered >= self.add.asked {
            self.missed = Some((number, read));
            if read.is_final && was_known {
                self.lacks.get_or_insert(read);
            }
        }
    }

    fn end(&self, sets: &mut Sets) {
        let Some(known) = self.known.filter(|_| !self.add.is_refused) else {
            sets.never_read += 1;
            return;
        };
        sets.has_reads |= self.tried;
        let is_missed_last = self.missed.filter(|(number, read)| {
            known < read.asked && self.shown.is_none_or(|shown| shown < *number)
        });
        if let Some(read) = self.lacks.or(is_missed_last.map(|(_, read)| read)) {
            sets.lost.push((self.add.place, read.place));
        } else if self.shown > self.missed.map(|(number, _)| number) {
            let stable = self.missed.map_or(0, |(_, read)| read.asked + 1);
            let latency = stable.saturating_sub(known);
            sets.stable += 1;
            sets.stale += usize::from(latency >= MS);
            sets.latencies.push(latency);
            if let Some((_, read)) = self.missed {
                let known = (latency, self.add.place, read.place);
                sets.slowest = sets.slowest.max(Some(known));
            }
        } else {
            sets.never_read += 1;
        }
    }
}

/// Latencies are told in milliseconds, and what is less is none.
const MS: Nanos = 1_000_000;

/// Whether clients of a run add elements by requests of this type.
pub fn adds(run: &Run, kind: &str) -> bool {
    let places = History::of(run).adds.into_iter().map(|add| add.place);
    let mut requests = places.filter_map(|at| run.request::<Body<'_>>(&run.operations[at]));
    requests.any(|request| request.kind() == kind)
}

/// That of a run, made once.
pub fn sets(run: &Run) -> Arc<Sets> {
    run.derive(|run| History::of(run).judge())
}

/// Jepsen's quantile of ascending values, in parts of a hundred; none of nothing.
pub fn quantile(sorted: &[Nanos], percent: usize) -> Option<Nanos> {
    let place = (sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?);
    sorted.get(place).copied()
}

/// Whether nothing that was acknowledged, or seen, is lost. Evidence: a read that
/// began after an element was known.
pub fn delivers(run: &Run) -> Verdict {
    let sets = sets(run);
    let at = |place: usize| &run.operations[place];
    if let Some(place) = sets.malformed.first() {
        let why = format!("{} answered read_ok without a list", node(at(*place)));
        return Verdict::Violated(Violation::shown_by([("read of no list", *place)], why));
    }
    if let Some((add, read)) = sets.lost.first() {
        let (added, missed) = (at(*add), at(*read));
        let is_last = if is_final(missed.client) { ", in the end" } else { "" };
        let told = match added.return_ns {
            Some(at) if Told::by(run, added).is_done() => {
                format!("acknowledged it at {}", Millis(at))
            }
            _ => "did not acknowledge it, but it was read".into(),
        };
        let element = run.request::<Body<'_>>(added);
        let element = element.as_ref().and_then(element_of);
        let why = format!(
            "{} lost: {} was asked for {} at {}, and {told}; {} does not show it at {}{is_last}",
            counted(sets.lost.len()),
            node(added),
            element.map_or_else(|| "one".into(), |element| element.to_string()),
            Millis(added.invoke_ns),
            node(missed),
            Millis(missed.invoke_ns),
        );
        let roles = [("lost element", *add), ("read without it", *read)];
        return Verdict::Violated(Violation::shown_by(roles, why));
    }
    Verdict::of(None, sets.has_reads, "no read began after an element was known")
}

/// So many elements are.
pub(crate) fn counted(elements: usize) -> String {
    match elements {
        1 => "1 element is".into(),
        many => format!("{many} elements are"),
    }
}

fn element_of(request: &Body<'_>) -> Option<Json> {
    Key::of(request, "message").value().or_else(|| Key::of(request, "element").value())
}

fn node(operation: &Operation) -> String {
    name(operation.node.unwrap_or_default())
}

/// Whether nothing is read that nobody added. Evidence: a read that shows something.
pub fn no_phantoms(run: &Run) -> Verdict {
    let sets = sets(run);
    let broken = sets.phantoms.first().map(|(place, element)| {
        let at = &run.operations[*place];
        let shown = format!("{} shows {element} at {}", node(at), Millis(at.invoke_ns));
        let why = format!("{shown}, which nobody had added, or which was refused");
        Violation::shown_by([("read of what nobody added", *place)], why)
    });
    Verdict::of(broken, sets.shows_any, "no read showed anything")
}

/// Whether nothing is read twice at once. Evidence: a read that shows something.
pub fn no_duplicates(run: &Run) -> Verdict {
    let sets = sets(run);
    let broken = sets.duplicated.first().map(|(place, element)| {
        let at = &run.operations[*place];
        let shown = format!("{} shows {element} twice at {}", node(at), Millis(at.invoke_ns));
        Violation::shown_by([("read of it twice", *place)], shown)
    });
    Verdict::of(broken, sets.shows_any, "no read showed anything")
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
