//! How a violation is told: in words where its study has none, and with what befell nodes between
//! its first operation and its last. Knows no protocol.

use super::mishap::{Befell, Mishap};
use super::run::{Operation, Run};
use super::witness::{MAX_WITNESSES, Reference, Violation, Witness};
use crate::check::describe::{Client, Millis, Node, Short, Span};
use crate::plugins::JsonForm;
use node_core::Escaped;
use std::collections::BTreeMap;

impl Violation {
    /// As it is told: with words for the operations of which the study has none, and with what
    /// befell nodes between the first and the last of several, as far as there is room.
    #[must_use]
    pub fn told(mut self, run: &Run, forms: &BTreeMap<u16, JsonForm>) -> Violation {
        let operation = |witness: &Witness| run.operations.get(witness.op()?);
        let name = |node: u32| node_name(node, run);
        if self.witnesses.len() > MAX_WITNESSES {
            // The last one broke it; the first ones tell where it began.
            self.witnesses.drain(MAX_WITNESSES - 1..self.witnesses.len() - 1);
        }
        let asked: Vec<&Operation> = self.witnesses.iter().filter_map(operation).collect();
        let room = MAX_WITNESSES - self.witnesses.len();
        let events = self.witnesses.iter().filter_map(|witness| match &witness.of {
            Reference::Event { node, kind, .. } => Some((*node, &**kind)),
            Reference::Operation(_) => None,
        });
        let events: Vec<(Option<u32>, &str)> = events.collect();
        // Where its study tells what befell whom, nothing is to be added.
        let is_told = events.iter().any(|(_, kind)| TOLD.contains(kind));
        if let [.., before, last] = &self.witnesses[..]
            && let Some(span) = before.at(run).zip(last.at(run))
            && !is_told
        {
            let nodes = events.iter().filter_map(|(node, _)| *node);
            let nodes: Vec<u32> = nodes.chain(asked.iter().filter_map(|one| one.node)).collect();
            let promised = before.op().and_then(|place| run.operations.get(place));
            let promised = promised.filter(|one| one.return_ns.is_some());
            let promised = promised.and_then(|one| Some((one.node?, one.invoke_ns)));
            let between = between(&run.mishaps, &nodes, promised, span, room, &name);
            let place = self.witnesses.len() - 1;
            self.witnesses.splice(place..place, between);
        }
        for witness in self.witnesses.iter_mut().filter(|witness| witness.says.is_empty()) {
            if let Some(operation) = witness.op().and_then(|place| run.operations.get(place)) {
                witness.says = operation_in_words(operation, run, forms);
            }
        }
        self
    }
}

/// The kinds of lines that say what befell a node.
const TOLD: [&str; 5] = ["start", "crash", "stop", "pause", "fault"];

/// What a node is called, by its config if that says so.
fn node_name(node: u32, run: &Run) -> String {
    let named = run.nodes.iter().find(|one| one.id.0 == node);
    let name = named.and_then(|one| one.name.as_deref());
    name.map_or_else(|| Node(node).to_string(), |name| Short(name).to_string())
}

/// The longest request or reply that is shown in full, in characters.
const MAX_SAID: usize = 80;

/// Who asked whom for what, and was told what.
fn operation_in_words(operation: &Operation, run: &Run, forms: &BTreeMap<u16, JsonForm>) -> String {
    let form = forms.get(&operation.tag);
    let of = operation.node.map_or("nobody".into(), |node| node_name(node, run));
    let asked = run.request_in_words(operation, form);
    let asked = asked.map_or("something".into(), |asked| clipped(&asked));
    let told = match (operation.return_ns, run.reply_in_words(operation, form)) {
        (None, _) => "got no answer".into(),
        (Some(_), None) => "was answered".into(),
        (Some(_), Some(told)) => format!("was told {}", clipped(&told)),
    };
    let span = Span(operation.invoke_ns, operation.return_ns);
    format!("{} asked {of} {asked} and {told} ({span})", Client(operation.client))
}

/// One line, never with raw bytes.
fn clipped(said: &str) -> String {
    match said.char_indices().nth(MAX_SAID) {
        Some((end, _)) => format!("{}…", Escaped(&said.as_bytes()[..end])),
        None => Escaped(said.as_bytes()).to_string(),
    }
}

/// The least weight of what takes a node's memory.
const LOSES_MEMORY: u8 = 3;

impl Mishap {
    /// Whether it concerns a node.
    fn is_of(&self, id: u32) -> bool {
        match &self.what {
            Befell::Start { node, .. } | Befell::Down { node, .. } | Befell::Pause { node } => {
                *node == id
            }
            Befell::Fault { nodes, .. } => nodes.is_empty() || nodes.contains(&id),
        }
    }

    /// How much it may explain: what loses memory before what only delays.
    fn weight(&self) -> u8 {
        match &self.what {
            Befell::Start { durable: false, .. } => 4,
            Befell::Down { is_crash: true, .. } => LOSES_MEMORY,
            Befell::Down { .. } | Befell::Start { .. } => 2,
            Befell::Fault { .. } => 1,
            Befell::Pause { .. } => 0,
        }
    }

    /// Whether it is the stop of a node.
    fn is_down(&self, id: u32) -> bool {
        matches!(self.what, Befell::Down { node, .. } if node == id)
    }

    /// It, as what speaks for a verdict: of a node that stopped also that it had made nothing
    /// durable since it was asked for something, at `asked`. `name` says what nodes are called.
    fn witness(&self, asked: Option<u64>, name: &dyn Fn(u32) -> String) -> Witness {
        let at = self.at;
        let time = Millis(at);
        match &self.what {
            Befell::Start { node, durable } => {
                let with = if *durable { "with what its disk had" } else { "with nothing" };
                let says = format!("{} started again {with} at {time}", name(*node));
                Witness::event("restart", *node, at, "start", says)
            }
            Befell::Down { node, is_crash, synced } => {
                let (role, kind, how) = match is_crash {
                    true => ("crash", "crash", "stopped without warning"),
                    false => ("stop", "stop", "stopped"),
                };
                let sync = synced.map_or_else(String::new, |(when, bytes)| {
                    let last =
                        format!("; its last sync, of {bytes} bytes, was at {}", Millis(when));
                    match asked.filter(|asked| when < *asked) {
                        Some(asked) => format!("{last}, before it was asked at {}", Millis(asked)),
                        None => last,
                    }
                });
                let says = format!("{} {how} at {time}{sync}", name(*node));
                Witness::event(role, *node, at, kind, says)
            }
            Befell::Pause { node } => {
                let says = format!("{} was held up from {time} on", name(*node));
                Witness::event("pause", *node, at, "pause", says)
            }
            Befell::Fault { says, .. } => Witness::fault(at, says.clone()),
        }
    }
}

/// How many of what befell nodes last speak for a run that does not come to rest.
const LAST: usize = 3;

/// What befell nodes last in a run, in the order of time: from there on it did not come to rest. A
/// node's first start is none.
pub fn befell_last(run: &Run) -> Vec<Witness> {
    let mishaps = &run.mishaps;
    let is_first = |place: usize| match &mishaps[place].what {
        Befell::Start { node, .. } => !mishaps[..place].iter().any(|one| one.is_down(*node)),
        Befell::Down { .. } | Befell::Pause { .. } | Befell::Fault { .. } => false,
    };
    let all = (0..mishaps.len()).filter(|place| !is_first(*place)).collect::<Vec<_>>();
    let name = |node: u32| node_name(node, run);
    let last = &all[all.len().saturating_sub(LAST)..];
    last.iter().map(|place| mishaps[*place].witness(None, &name)).collect()
}

/// What befell between two times and may explain why the later is not what the earlier promised:
/// of the node that promised, and was asked then, the last stop that took its memory; then of
/// these nodes before that of others, what loses memory before what delays, the last of equals;
/// with a crash the start after it. In the order of time, at most `most`.
pub(super) fn between(
    mishaps: &[Mishap],
    nodes: &[u32],
    promised: Option<(u32, u64)>,
    (from, to): (u64, u64),
    most: usize,
    name: &dyn Fn(u32) -> String,
) -> Vec<Witness> {
    let is_in = |place: usize| match &mishaps[place].what {
        Befell::Fault { until, .. } => mishaps[place].at <= to && *until >= from,
        Befell::Start { node, .. } if !mishaps[..place].iter().any(|one| one.is_down(*node)) => {
            false
        }
        _ => (from..=to).contains(&mishaps[place].at),
    };
    let is_meant = |one: &Mishap| nodes.iter().any(|node| one.is_of(*node));
    // What only delays explains nothing of what other nodes say.
    let matters = |one: &Mishap| is_meant(one) || one.weight() >= LOSES_MEMORY;
    let all = mishaps.iter().enumerate().filter(|(place, one)| is_in(*place) && matters(one));
    let heaviest = all.max_by_key(|(place, one)| (is_meant(one), one.weight(), *place));
    let Some((place, found)) = heaviest else { return Vec::new() };
    let mut told = vec![place];
    match &found.what {
        Befell::Start { node, .. } => {
            let before = mishaps[..place].iter().rposition(|one| one.is_down(*node));
            told.extend(before.filter(|at| is_in(*at)));
        }
        Befell::Down { node, .. } => {
            let is_start =
                |one: &Mishap| matches!(&one.what, Befell::Start { node: of, .. } if of == node);
            let after = mishaps[place + 1..].iter().position(is_start);
            told.extend(after.map(|at| place + 1 + at).filter(|at| is_in(*at)));
        }
        Befell::Pause { .. } | Befell::Fault { .. } => {}
    }
    // What was promised is lost where the node that promised it stops, whoever else does.
    let crash = promised.and_then(|(node, _)| {
        mishaps.iter().enumerate().rposition(|(place, one)| {
            one.is_down(node) && one.weight() >= LOSES_MEMORY && is_in(place)
        })
    });
    if let Some(crash) = crash.filter(|place| !told.contains(place)) {
        told.insert(0, crash);
    }
    told.truncate(most);
    told.sort_unstable();
    let asked = |one: &Mishap| promised.filter(|(node, _)| one.is_down(*node)).map(|(_, at)| at);
    told.into_iter().map(|place| mishaps[place].witness(asked(&mishaps[place]), name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(mishaps: &[Mishap], nodes: &[u32], span: (u64, u64), most: usize) -> Vec<String> {
        told_of(None, mishaps, nodes, span, most)
    }

    fn told_of(
        promised: Option<(u32, u64)>,
        mishaps: &[Mishap],
        nodes: &[u32],
        span: (u64, u64),
        most: usize,
    ) -> Vec<String> {
        let name = |node| format!("node {node}");
        let found = between(mishaps, nodes, promised, span, most, &name);
        found.into_iter().map(|one| one.says).collect()
    }

    #[test]
    fn a_loss_of_memory_explains_more_than_a_delay_and_its_own_node_more_than_others() {
        const MS: u64 = 1_000_000;
        let down = |at, node| {
            let what = Befell::Down { node, is_crash: true, synced: Some((MS, 31)) };
            Mishap { at: at * MS, what }
        };
        let start =
            |at, node, durable| Mishap { at: at * MS, what: Befell::Start { node, durable } };
        let fault = Befell::Fault { nodes: Vec::new(), until: 90 * MS, says: "loss".into() };
        let mishaps = [
            start(0, 1, true),
            start(0, 2, true),
            Mishap { at: MS, what: fault },
            down(10, 1),
            start(20, 1, false),
            down(30, 2),
            start(40, 2, true),
        ];
        let crash = "node 1 stopped without warning at 10.0 ms; its last sync, of 31 bytes, was at \
                     1.0 ms";
        let restart = "node 1 started again with nothing at 20.0 ms";
        assert_eq!(told(&mishaps, &[1], (5 * MS, 50 * MS), 2), [crash, restart]);
        assert_eq!(told(&mishaps, &[1], (5 * MS, 50 * MS), 1), [restart]);
        assert_eq!(told(&mishaps, &[1], (5 * MS, 15 * MS), 2), [crash]);
        let other = told(&mishaps, &[2], (5 * MS, 50 * MS), 2);
        assert!(other[0].starts_with("node 2 stopped") && other[1].contains("its disk had"));
        // The node that promised is told of, also where the other lost more.
        let both = told_of(Some((2, 5 * MS)), &mishaps, &[2, 1], (6 * MS, 50 * MS), 3);
        let unsynced = "node 2 stopped without warning at 30.0 ms; its last sync, of 31 bytes, was at \
                        1.0 ms, before it was asked at 5.0 ms";
        assert_eq!(both, [crash, restart, unsynced]);
        let few = told_of(Some((2, 5 * MS)), &mishaps, &[2, 1], (6 * MS, 50 * MS), 2);
        assert_eq!(few, [restart, unsynced]);
        assert_eq!(told(&mishaps, &[3], (50 * MS, 60 * MS), 2), ["loss"]);
        assert_eq!(told(&mishaps, &[3], (91 * MS, 95 * MS), 2), [""; 0]);
    }
    #[test]
    fn what_befell_last_are_no_first_starts() {
        let down = |at: u64, node| {
            let what = Befell::Down { node, is_crash: true, synced: None };
            Mishap { at: at * 1_000_000, what }
        };
        let start = |at: u64, node| Mishap {
            at: at * 1_000_000,
            what: Befell::Start { node, durable: false },
        };
        let mut run = Run { mishaps: vec![start(0, 1), start(0, 2)], ..Run::default() };
        assert_eq!(befell_last(&run), []);
        run.mishaps.extend([down(5, 1), start(6, 1), down(7, 2), start(8, 2)]);
        let told: Vec<String> = befell_last(&run).into_iter().map(|one| one.says).collect();
        let expected = [
            "node 1 started again with nothing at 6.0 ms",
            "node 2 stopped without warning at 7.0 ms",
            "node 2 started again with nothing at 8.0 ms",
        ];
        assert_eq!(told, expected);
    }
}
