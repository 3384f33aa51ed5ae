//! What must hold of all live nodes at once, after every turn. Knows no protocol, and not who asks.

use super::cast::Cast;
use super::mishap::Mishap;
use super::property::{Needs, Property, Verdict};
use super::telling::between;
use super::witness::{TURN, Violation, Witness};
use crate::check::describe::Node;
use node_core::{Host, NodeId, Protocol};
use std::any::Any;

/// A statement on the states of all live nodes. A scenario names it among its `properties`; the
/// simulator looks after every turn of a node that runs the protocol, and stops at the first one
/// that breaks it. Traces do not carry states whole, so in a run of real nodes it is unknown.
pub struct Invariant {
    /// Its name, statement and source, as of any property.
    pub property: Property,
    /// The protocol whose states it is about.
    pub protocol: &'static str,
    /// Whether it holds, or which nodes break it how, in one line.
    pub holds: Holds,
    /// Whether a snapshot could have broken it: it held only in a run that had one.
    pub is_evidence: fn(&Snapshot<'_>) -> bool,
}

/// What looks at the states of all live nodes, and remembers of them what it will.
pub type Holds = fn(&Snapshot<'_>, &mut Memory) -> Result<(), String>;

/// What an invariant remembers of the snapshots of a run: one value, of a type of its own.
#[derive(Default)]
pub struct Memory(Option<Box<dyn Any>>);

impl Memory {
    /// The value; before anything is remembered it is the type's default.
    pub fn of<T: Default + 'static>(&mut self) -> &mut T {
        let known = self.0.take_if(|value| value.is::<T>());
        let value = self.0.insert(known.unwrap_or_else(|| Box::new(T::default())));
        value.downcast_mut().expect("it has just been seen to be one")
    }
}

impl Invariant {
    /// One of the states of `P`. Its evidence is two live nodes that were seen at once.
    pub const fn of<P: Protocol>(
        name: &'static str,
        statement: &'static str,
        source: &'static str,
        holds: Holds,
    ) -> Invariant {
        let property = Property {
            name,
            statement,
            source,
            needs: Needs::NOTHING,
            bounds: &[],
            is_promised: true,
            missing: missing::<P>,
            shows: |_| false,
            judge: |_| Verdict::Unknown {
                why: "nobody saw the states of all nodes at once".into(),
            },
        };
        let is_evidence = |snapshot: &Snapshot<'_>| snapshot.of::<P>().nth(1).is_some();
        Invariant { property, protocol: P::NAME, holds, is_evidence }
    }
}

fn missing<P: Protocol>(cast: &Cast<'_>) -> Option<String> {
    let runs = cast.nodes.iter().any(|node| node.protocols.iter().any(|one| one == P::NAME));
    (!runs).then(|| format!("is judged where a node runs {}", P::NAME))
}

/// The live nodes between two turns. A node that waits for its disk is not among them: nothing of
/// its turn has left it, and a crash may undo it. It is seen again when the turn is durable.
pub struct Snapshot<'a> {
    hosts: &'a [(NodeId, &'a Host)],
}

impl<'a> Snapshot<'a> {
    /// That of these nodes.
    pub fn new(hosts: &'a [(NodeId, &'a Host)]) -> Snapshot<'a> {
        Snapshot { hosts }
    }

    /// The states of protocol `P`, by node.
    pub fn of<P: Protocol>(&self) -> impl Iterator<Item = (NodeId, &'a P)> + use<'a, P> {
        self.hosts.iter().filter_map(|(id, host)| {
            let place = host.place(P::NAME)?;
            let state: &dyn Any = host.protocols()[place].state();
            Some((*id, state.downcast_ref()?))
        })
    }
}

/// An invariant that somebody asks for.
struct Asked {
    invariant: &'static Invariant,
    has_evidence: bool,
    memory: Memory,
}

/// The invariants that somebody asks for, and what was seen of them.
#[derive(Default)]
pub(crate) struct Watch {
    asked: Vec<Asked>,
    broken: Option<(&'static Invariant, Violation)>,
}

impl Watch {
    /// Looks at these from now on.
    pub(crate) fn set(&mut self, invariants: impl Iterator<Item = &'static Invariant>) {
        let asked = |invariant| Asked { invariant, has_evidence: false, memory: Memory::default() };
        self.asked = invariants.map(asked).collect();
    }

    /// Whether there is anything to look for.
    pub(crate) fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether there is anything to look for after a turn of this Host.
    pub(crate) fn concerns(&self, host: &Host) -> bool {
        let concerns = |one: &Asked| host.place(one.invariant.protocol).is_some();
        self.broken.is_none() && self.asked.iter().any(concerns)
    }

    /// Looks after a turn of `host`, which is that node's. Answers what is broken, once: with what
    /// befell that node before, of `mishaps`.
    pub(crate) fn look(
        &mut self,
        at: u64,
        node: NodeId,
        host: &Host,
        snapshot: &Snapshot<'_>,
        mishaps: &[Mishap],
    ) -> Option<(&'static str, &Violation)> {
        for Asked { invariant, has_evidence, memory } in &mut self.asked {
            if host.place(invariant.protocol).is_none() {
                continue;
            }
            *has_evidence |= (invariant.is_evidence)(snapshot);
            if let Err(why) = (invariant.holds)(snapshot, memory) {
                let says = format!("after this turn of node {} it does not hold", node.0);
                let turn = Witness::event("turn that broke it", node.0, at, TURN, says);
                let name = |id| Node(id).to_string();
                let mut witnesses = between(mishaps, &[node.0], None, (0, at), 3, &name);
                witnesses.push(turn);
                let violation = Violation::at(at, why).with(witnesses);
                let broken = self.broken.insert((*invariant, violation));
                return Some((broken.0.property.name, &broken.1));
            }
        }
        None
    }

    /// What broke, if anything did.
    pub(crate) fn broken(&self) -> Option<(&'static Property, &Violation)> {
        self.broken.as_ref().map(|(invariant, violation)| (&invariant.property, violation))
    }

    /// The verdict on a property; none when it is no invariant that somebody asked for.
    pub(crate) fn verdict(&self, property: &Property) -> Option<Verdict> {
        let asked = self.asked.iter().find(|one| one.invariant.property == *property)?;
        let broken = self.broken().filter(|(broken, _)| *broken == property);
        let broken = broken.map(|(_, violation)| violation.clone());
        Some(Verdict::of(
            broken,
            asked.has_evidence,
            "no moment was seen that could have broken it",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_is_empty_at_first_and_keeps_one_value() {
        let mut memory = Memory::default();
        assert!(memory.of::<Vec<u8>>().is_empty());
        memory.of::<Vec<u8>>().push(7);
        assert_eq!(*memory.of::<Vec<u8>>(), [7]);
        assert_eq!(*memory.of::<u8>(), 0, "of another type it is another value");
        assert!(memory.of::<Vec<u8>>().is_empty());
    }
}
