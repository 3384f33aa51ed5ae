//! Whether transactions were isolated as they should be: dependencies among them, and the cycles
//! that a level forbids. Works on a list of transactions; knows no run.
//!
//! Adya: Weak Consistency, 1999; Kingsbury, Alvaro: Elle, VLDB 2020. A transaction depends on
//! another because it overwrote a value of it (**ww**), read one (**wr**), overwrote one that the
//! other had read (**rw**), or, where the level is strict, began after it had ended. Every
//! dependency here is certain: for lists, the longest read of a key shows the order of its values;
//! for registers, who read a value and then wrote, wrote later, and nothing is before all.
//!
//! That who reads a register writes it later is taken for granted, as in Elle, at every level.
//!
//! An edge to a version later than the next stands for the edge to the next and those after it.

mod cycles;
mod values;

use crate::json::Json;
use std::collections::BTreeMap;

/// What must not be, from weakest to strongest: each forbids what those before it do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// G0: cycles of writes.
    ReadUncommitted,
    /// G1a, G1b, G1c: reads of what was aborted or not final, and cycles of writes and reads.
    ReadCommitted,
    /// Also what has no two rw next to each other, lost updates, and reads that contradict their
    /// own transaction.
    SnapshotIsolation,
    /// All cycles: G2, which without predicates is the same as serializable.
    RepeatableRead,
    /// All cycles.
    Serializable,
    /// Cycles with times, too.
    StrictSerializable,
}

/// What a value is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Model {
    /// Writes append, and reads show all.
    List,
    /// Reads show the last write: none or one.
    Register,
}

/// Whether a transaction took place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It did.
    Committed,
    /// It never did.
    Aborted,
    /// Nobody knows, unless its writes were read.
    Open,
}

/// What a transaction does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Writes or appends a value, which is the only one of its kind.
    Write(Json, Json),
    /// Reads a key's values.
    Read(Json, Vec<Json>),
}

/// A transaction. What one that is not committed has read is not known: it has no reads.
#[derive(Clone, Debug)]
pub struct Txn {
    /// How it is told: its operation's place.
    pub place: usize,
    /// Whether it took place.
    pub fate: Fate,
    /// What it did, in its order.
    pub ops: Vec<Op>,
    /// When it began.
    pub start: u64,
    /// When it ended; after all others without an end.
    pub end: u64,
}

/// What broke a level.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Anomaly {
    /// The places of the transactions.
    pub places: Vec<usize>,
    /// What it is called, and how it came about.
    pub why: String,
}

/// What was found: an anomaly, or how many dependencies there are without one.
pub type Found = Result<usize, Anomaly>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Ww,
    Wr,
    Rw,
    Time,
}

#[derive(Clone, Debug)]
struct Edge {
    to: usize,
    kind: Kind,
    why: String,
}

type Writers<'a> = BTreeMap<(&'a Json, &'a Json), (usize, usize)>;

/// Of each key the longest read, and whose it is.
type Longest<'a> = BTreeMap<&'a Json, (usize, &'a [Json])>;

struct Check<'a> {
    txns: &'a [Txn],
    model: Model,
    /// Transaction and operation that wrote a key's value.
    writers: Writers<'a>,
    edges: Vec<Vec<Edge>>,
}

/// The first anomaly of transactions that a level forbids.
///
/// # Errors
/// Why they cannot be judged.
pub fn check(txns: &[Txn], model: Model, level: Level) -> Result<Found, String> {
    let mut writers = Writers::new();
    for (at, txn) in txns.iter().enumerate() {
        for (op, what) in txn.ops.iter().enumerate() {
            let Op::Write(key, value) = what else { continue };
            if writers.insert((key, value), (at, op)).is_some() {
                return Err(format!("{value} was written to key {key} twice"));
            }
        }
    }
    let mut check = Check { txns, model, writers, edges: vec![Vec::new(); txns.len()] };
    let found = check.values(level).or_else(|| check.depend(level));
    let found = found.or_else(|| check.cycles(level));
    let dependencies = check.edges.iter().flatten().filter(|edge| edge.kind != Kind::Time);
    let count = dependencies.filter(|edge| level > Level::ReadUncommitted || edge.kind == Kind::Ww);
    Ok(found.map_or(Ok(count.count()), Err))
}

/// A committed transaction's read of a key, before which it had written nothing to it.
struct Outside<'a> {
    at: usize,
    op: usize,
    key: &'a Json,
    seen: &'a [Json],
}

impl<'a> Check<'a> {
    fn name(&self, at: usize) -> String {
        format!("#{}", self.txns[at].place)
    }

    fn anomaly(&self, txns: &[usize], why: String) -> Option<Anomaly> {
        let places = txns.iter().map(|at| self.txns[*at].place).collect();
        Some(Anomaly { places, why })
    }

    /// What reads showed, without what their own transaction had written before them.
    fn reads(&self) -> Vec<Outside<'a>> {
        let mut all = Vec::new();
        for (at, txn) in self.txns.iter().enumerate() {
            let mut wrote: BTreeMap<&Json, usize> = BTreeMap::new();
            for (op, what) in txn.ops.iter().enumerate() {
                match what {
                    Op::Write(key, _) => *wrote.entry(key).or_default() += 1,
                    Op::Read(key, seen) => {
                        let own = wrote.get(key).copied().unwrap_or_default();
                        if own > 0 && self.model == Model::Register {
                            continue;
                        }
                        let seen = &seen[..seen.len().saturating_sub(own)];
                        all.push(Outside { at, op, key, seen });
                    }
                }
            }
        }
        all
    }

    fn add(&mut self, from: usize, to: usize, kind: Kind, why: String) {
        let takes_part = |at: usize| self.txns[at].fate != Fate::Aborted;
        if from != to && takes_part(from) && takes_part(to) {
            self.edges[from].push(Edge { to, kind, why });
        }
    }

    /// Finds all dependencies; an anomaly where reads allow none.
    fn depend(&mut self, level: Level) -> Option<Anomaly> {
        let reads = self.reads();
        for read in &reads {
            let Some(value) = read.seen.last() else { continue };
            let Some((by, _)) = self.writers.get(&(read.key, value)).copied() else { continue };
            let why = format!("{} read its {value} of key {}", self.name(read.at), read.key);
            self.add(by, read.at, Kind::Wr, why);
        }
        let found = match self.model {
            Model::List => self.lists(&reads, level),
            Model::Register => {
                self.registers(&reads);
                None
            }
        };
        if level == Level::StrictSerializable {
            self.times();
        }
        let lost = || self.lost_update(&reads);
        found.or_else(|| if level >= Level::SnapshotIsolation { lost() } else { None })
    }

    fn lists(&mut self, reads: &[Outside<'a>], level: Level) -> Option<Anomaly> {
        let mut longest: Longest<'a> = BTreeMap::new();
        for (at, txn) in self.txns.iter().enumerate() {
            for op in &txn.ops {
                let Op::Read(key, seen) = op else { continue };
                let best = longest.entry(key).or_insert((at, &[]));
                if seen.len() > best.1.len() {
                    *best = (at, seen);
                }
            }
        }
        for (at, txn) in self.txns.iter().enumerate() {
            for op in &txn.ops {
                let Op::Read(key, seen) = op else { continue };
                let (other, order) = longest.get(key)?;
                if level >= Level::ReadCommitted && !order.starts_with(seen) {
                    let (one, two) = (self.name(at), self.name(*other));
                    let why = format!(
                        "incompatible order: {one} and {two} read values of key {key} in orders \
                         that no one order explains"
                    );
                    return self.anomaly(&[at, *other], why);
                }
            }
        }
        self.order_of_lists(&longest, reads);
        None
    }

    /// The values that follow so many of a key, and who wrote them: the next, or all unseen ones.
    fn follow(&self, longest: &Longest<'a>, key: &'a Json, nth: usize) -> Vec<(usize, &'a Json)> {
        let order = longest.get(key).map_or(&[][..], |(_, order)| order);
        if let Some(next) = order.get(nth) {
            let by = self.writers.get(&(key, next));
            return by.map(|(by, _)| (*by, next)).into_iter().collect();
        }
        // Who wrote after all that was read, wrote later.
        let all = self.writers.iter().filter(|((other, value), (by, _))| {
            *other == key && self.txns[*by].fate == Fate::Committed && !order.contains(value)
        });
        all.map(|((_, value), (by, _))| (*by, *value)).collect()
    }

    fn order_of_lists(&mut self, longest: &Longest<'a>, reads: &[Outside<'a>]) {
        for (key, (_, order)) in longest {
            for (nth, value) in order.iter().enumerate() {
                let Some((by, _)) = self.writers.get(&(*key, value)).copied() else { continue };
                for (to, after) in self.follow(longest, key, nth + 1) {
                    let name = self.name(to);
                    let why = format!("{name} appended {after} to key {key} after its {value}");
                    self.add(by, to, Kind::Ww, why);
                }
            }
        }
        for read in reads {
            let Some((_, order)) = longest.get(read.key) else { continue };
            if !order.starts_with(read.seen) {
                continue;
            }
            for (to, after) in self.follow(longest, read.key, read.seen.len()) {
                let (name, key) = (self.name(to), read.key);
                let why = format!("{name} appended {after} to key {key}, which it had not read");
                self.add(read.at, to, Kind::Rw, why);
            }
        }
    }

    /// Who first read a key, and wrote it then.
    fn updates(&self, reads: &[Outside<'a>]) -> BTreeMap<(&'a Json, Option<&'a Json>), Vec<usize>> {
        let mut all: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for read in reads {
            let txn = &self.txns[read.at];
            let writes = |op: &Op| matches!(op, Op::Write(key, _) if key == read.key);
            let is_first = !txn.ops[..read.op].iter().any(writes);
            if is_first && txn.ops[read.op..].iter().any(writes) {
                let who = all.entry((read.key, read.seen.last())).or_default();
                if !who.contains(&read.at) {
                    who.push(read.at);
                }
            }
        }
        all
    }

    fn lost_update(&self, reads: &[Outside<'a>]) -> Option<Anomaly> {
        let updates = self.updates(reads);
        let ((key, value), who) = updates.into_iter().find(|(_, who)| who.len() > 1)?;
        let value = value.map_or_else(|| "nothing".into(), ToString::to_string);
        let (one, two) = (self.name(who[0]), self.name(who[1]));
        let why =
            format!("lost update: {one} and {two} both read {value} of key {key}, and wrote it");
        self.anomaly(&who[..2], why)
    }

    fn registers(&mut self, reads: &[Outside<'a>]) {
        let mut after: BTreeMap<(&Json, Option<&Json>), Vec<usize>> = self.updates(reads);
        // Nothing is before all that was written.
        for ((key, _), (by, _)) in &self.writers {
            let all = after.entry((key, None)).or_default();
            if self.txns[*by].fate == Fate::Committed && !all.contains(by) {
                all.push(*by);
            }
        }
        for ((key, value), who) in &after {
            let Some(value) = value else { continue };
            let Some((by, _)) = self.writers.get(&(*key, *value)).copied() else { continue };
            for to in who {
                let why = format!("{} wrote key {key} after its {value}", self.name(*to));
                self.add(by, *to, Kind::Ww, why);
            }
        }
        for read in reads {
            let value = read.seen.last();
            for to in after.get(&(read.key, value)).into_iter().flatten() {
                let shown = value.map_or_else(|| "nothing".into(), ToString::to_string);
                let why = format!(
                    "{} overwrote {shown} of key {}, which it read",
                    self.name(*to),
                    read.key
                );
                self.add(read.at, *to, Kind::Rw, why);
            }
        }
    }

    /// Who began after another had ended: only after those that nobody else came between.
    fn times(&mut self) {
        let mut points = Vec::new();
        for (at, txn) in self.txns.iter().enumerate().filter(|(_, txn)| txn.fate != Fate::Aborted) {
            points.push((txn.start, false, at));
            if txn.fate == Fate::Committed {
                points.push((txn.end, true, at));
            }
        }
        points.sort_unstable();
        let (mut front, mut before) = (Vec::<usize>::new(), BTreeMap::new());
        for (_, is_end, at) in points {
            if is_end {
                let gone: Vec<usize> = before.remove(&at).unwrap_or_default();
                front.retain(|one| !gone.contains(one));
                front.push(at);
                continue;
            }
            for one in &front {
                let why = format!("{} began after it had ended", self.name(at));
                self.add(*one, at, Kind::Time, why);
            }
            before.insert(at, front.clone());
        }
    }
}

#[cfg(test)]
#[path = "txn_tests.rs"]
mod tests;
