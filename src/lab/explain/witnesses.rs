//! Where a violation's witnesses are among a run's entries.

use super::{Merged, kind};
use crate::trace::{Event, TURN, Testimony};
use std::collections::BTreeMap;

/// Finds entries by what a witness says of them.
pub struct Places<'a> {
    run: &'a Merged<'a>,
    /// Of each operation that a witness names: the entry of its answer, or of what is known beside.
    ops: BTreeMap<&'a str, usize>,
    /// The entries of each time and node that a witness names.
    events: BTreeMap<(u64, Option<u32>), Vec<usize>>,
    /// The last entry until then of each node, at each time that a witness names.
    turns: BTreeMap<(u64, u32), usize>,
}

impl<'a> Places<'a> {
    /// Those of a run's violations. It looks at each entry once, however many they are.
    pub fn of(run: &'a Merged<'a>) -> Places<'a> {
        let mut places =
            Places { run, ops: BTreeMap::new(), events: BTreeMap::new(), turns: BTreeMap::new() };
        let named = run.entries.iter().filter_map(|entry| match &entry.line.event {
            Event::Violation { witnesses, .. } => Some(witnesses),
            _ => None,
        });
        let mut wanted = BTreeMap::new();
        let mut until: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for witness in named.flatten() {
            if let Some(op) = &witness.op {
                wanted.insert(&**op, 0);
            }
            if let Some(at) = witness.at {
                places.events.insert((at, witness.node), Vec::new());
                if let Some(node) = witness.node {
                    until.entry(node).or_default().push(at);
                }
            }
        }
        for (index, entry) in run.entries.iter().enumerate() {
            places.look(index, &mut wanted);
            let Some(times) = entry.line.node.and_then(|node| until.get(&node)) else { continue };
            let is_of_node = !matches!(
                entry.line.event,
                Event::Violation { .. } | Event::Drop { .. } | Event::View { .. }
            );
            for at in times.iter().filter(|at| is_of_node && entry.line.at <= **at) {
                places.turns.insert((*at, entry.line.node.unwrap_or_default()), index);
            }
        }
        places
    }

    /// Notes an entry that a witness may mean. What is known best of an operation is its return,
    /// then its reply, then what was asked.
    fn look(&mut self, index: usize, wanted: &mut BTreeMap<&'a str, u8>) {
        let line = &self.run.entries[index].line;
        let known = match &line.event {
            Event::Return { op, .. } => Some((op, 3)),
            Event::Reply { op, .. } => Some((op, 2)),
            Event::Invoke { op, .. } | Event::Request { op, .. } => Some((op, 1)),
            _ => None,
        };
        if let Some((op, rank)) = known
            && let Some((name, best)) = wanted.get_key_value(&**op)
            && rank > *best
        {
            let name = *name;
            wanted.insert(name, rank);
            self.ops.insert(name, index);
        }
        if let Some(places) = self.events.get_mut(&(line.at, line.node)) {
            places.push(index);
        }
    }

    /// The entry that a witness means; none where none fits.
    pub fn find(&self, witness: &Testimony) -> Option<usize> {
        if let Some(op) = &witness.op {
            return self.ops.get(&**op).copied();
        }
        let (at, wanted) = (witness.at?, witness.event.as_deref()?);
        if wanted == TURN {
            return self.turns.get(&(at, witness.node?)).copied();
        }
        let (wanted, which) = wanted.split_once(' ').unwrap_or((wanted, ""));
        let fits = |index: &&usize| {
            let event = &self.run.entries[**index].line.event;
            let is_meant = match event {
                Event::Fact { fact, .. } => which.is_empty() || fact == which,
                _ => true,
            };
            kind(event) == wanted && is_meant
        };
        self.events.get(&(at, witness.node))?.iter().find(fits).copied()
    }
}
