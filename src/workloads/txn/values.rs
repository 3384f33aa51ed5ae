//! What single reads show that a level forbids, whatever depends on what. Knows no cycles.

use super::{Anomaly, Check, Fate, Level, Model, Op, Outside, Txn};
use crate::json::Json;
use std::collections::BTreeMap;

impl Check<'_> {
    /// What single reads show: values of nobody, aborted and intermediate ones, and contradictions.
    pub(super) fn values(&self, level: Level) -> Option<Anomaly> {
        for (at, txn) in self.txns.iter().enumerate() {
            for op in &txn.ops {
                let Op::Read(key, seen) = op else { continue };
                for (nth, value) in seen.iter().enumerate() {
                    let told = format!("{} read {value} of key {key}", self.name(at));
                    if seen[..nth].contains(value) {
                        return self.anomaly(&[at], format!("duplicate: {told} twice"));
                    }
                    let Some((by, _)) = self.writers.get(&(key, value)) else {
                        return self
                            .anomaly(&[at], format!("garbage read: {told}, which nobody wrote"));
                    };
                    if level >= Level::ReadCommitted && self.txns[*by].fate == Fate::Aborted {
                        let why = format!(
                            "G1a, aborted read: {told}, which {} wrote and took back",
                            self.name(*by)
                        );
                        return self.anomaly(&[at, *by], why);
                    }
                }
            }
            if level >= Level::SnapshotIsolation
                && let Some(why) = self.contradiction(txn)
            {
                return self.anomaly(&[at], format!("internal: {} {why}", self.name(at)));
            }
        }
        if level < Level::ReadCommitted {
            return None;
        }
        self.reads().iter().find_map(|read| self.intermediate(read))
    }

    fn intermediate(&self, read: &Outside<'_>) -> Option<Anomaly> {
        let (key, value) = (read.key, read.seen.last()?);
        let (by, op) = *self.writers.get(&(key, value))?;
        let later = &self.txns[by].ops[op + 1..];
        let is_last = !later.iter().any(|op| matches!(op, Op::Write(other, _) if other == key));
        if by == read.at || is_last {
            return None;
        }
        let (reader, writer) = (self.name(read.at), self.name(by));
        let why = format!(
            "G1b, intermediate read: {reader} read {value} of key {key}, after which {writer} \
             wrote that key again"
        );
        self.anomaly(&[read.at, by], why)
    }

    /// Where a transaction's read does not show what it had read and written before.
    fn contradiction(&self, txn: &Txn) -> Option<String> {
        let mut known: BTreeMap<&Json, (bool, Vec<Json>)> = BTreeMap::new();
        for op in &txn.ops {
            match op {
                Op::Write(key, value) => {
                    let (is_whole, values) = known.entry(key).or_default();
                    if self.model == Model::Register {
                        (*is_whole, *values) = (true, Vec::new());
                    }
                    values.push(value.clone());
                }
                Op::Read(key, seen) => {
                    if let Some((is_whole, values)) = known.get(key) {
                        let fits = if *is_whole { seen == values } else { seen.ends_with(values) };
                        if !fits {
                            return Some(format!("read of key {key} what it had not left there"));
                        }
                    }
                    known.insert(key, (true, seen.clone()));
                }
            }
        }
        None
    }
}
