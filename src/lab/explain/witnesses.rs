//! Where a violation's witnesses are among a run's entries.

use super::{Entry, Merged, kind};
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
        if wanted == "push" && witness.node.is_none() {
            return self.pushed(at);
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
    /// The last `push` of what a client heard then: where it reached the client has no entry.
    fn pushed(&self, at: u64) -> Option<usize> {
        let heard = self.run.heard.iter().find(|heard| heard.at == at)?;
        let name = format!("client {}", heard.connection);
        let is_it = |entry: &Entry<'_>| {
            entry.line.at <= at
                && matches!(&entry.line.event,
                    Event::Push { client, label, .. } if *client == name && *label == heard.label)
        };
        self.run.entries.iter().rposition(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Source, merge};

    #[test]
    fn what_a_client_heard_is_the_push_of_its_node() {
        let push = |at: u64, client: u32, label: &str| {
            format!(
                r#"{{"at":{at},"node":1,"kind":"push","client":"client {client}","label":"{label}"}}"#
            )
        };
        let text = [
            r#"{"at":0,"kind":"run","source":"sim","scenario":"","nodes":[1]}"#.into(),
            push(1, 3, "a"),
            push(2, 4, "a"),
            push(3, 3, "b"),
            r#"{"at":5,"kind":"contact","connection":3,"what":"pushed","label":"a"}"#.into(),
            r#"{"at":6,"kind":"contact","connection":3,"what":"left"}"#.into(),
            push(7, 3, "a"),
            r#"{"at":9,"kind":"violation","property":"p","label":"","witnesses":[
                {"role":"heard","says":"","at":5,"event":"push"},
                {"role":"never heard","says":"","at":6,"event":"push"}]}"#
                .replace('\n', ""),
        ];
        let sources = [Source { name: "t".into(), text: text.join("\n") }];
        assert_eq!(merge(&sources).unwrap().witnesses(), [[Some(0), None]]);
    }
}
