//! The branches of a plan in its run: when each acts, what it does then, and which met nothing.
//! Knows the world, and no protocol.

use super::branch::{Act, Branch, Break, DEFAULT_MS};
use super::plan::Plan;
use super::scenario::Scenario;
use super::token::Token;
use super::tracer::FaultText;
use super::world::{Nanos, World};
use crate::study::Workload;

/// The branches of a run that is under way.
pub(super) struct Forks {
    /// Those that act at moments, by their places in the plan; the next one last.
    due: Vec<(Nanos, usize)>,
    /// Why a branch that acted met nothing, by its place.
    missed: Vec<(usize, String)>,
}

impl Forks {
    /// Those of a plan, none of which has acted.
    pub(super) fn new(scenario: &Scenario, plan: &Plan, world: &mut World) -> Forks {
        let mut due = Vec::new();
        for (place, branch) in plan.branches.iter().enumerate() {
            match *branch {
                Branch::Moment { at_ns, .. } => due.push((at_ns, place)),
                Branch::Message { id, fares } => {
                    let number = plan.faults.len() + place;
                    world.divert(id, fares.into(), number, scenario.millis * 1_000_000);
                }
            }
        }
        due.sort_unstable_by(|one, other| other.cmp(one));
        Forks { due, missed: Vec::new() }
    }

    /// Has those act whose moment is over when the next thing happens.
    pub(super) fn act(
        &mut self,
        scenario: &Scenario,
        plan: &Plan,
        world: &mut World,
        workload: &mut dyn Workload,
    ) {
        while let Some((at, place)) = self.due.last().copied()
            && world.next_at().is_some_and(|next| next > at)
        {
            self.due.pop();
            let Branch::Moment { act: Some(act), .. } = plan.branches[place] else { continue };
            world.pass(at);
            let number = plan.faults.len() + place;
            match act {
                Act::Reseed(by) => {
                    let label = plan.branches[place].to_string();
                    let text =
                        || FaultText { kind: "reseed", nodes: Vec::new(), label: label.clone() };
                    world.tracer.fault(at, number, at, &text);
                    world.redraw(by);
                    workload.redraw(by);
                }
                Act::Break { node, how, for_ms } => {
                    let until = at + lasts(scenario, at, for_ms);
                    let broken = Broken { place, number, node, how, until };
                    if let Err(why) = broken.begin(scenario, world) {
                        self.missed.push((place, why));
                    }
                }
            }
        }
    }

    /// What the branch at a place broke is mended.
    pub(super) fn end(scenario: &Scenario, plan: &Plan, place: u32, world: &mut World) {
        let branch = plan.branches.get(place as usize);
        if let Some(Branch::Moment { act: Some(Act::Break { node, how, .. }), .. }) = branch {
            let number = plan.faults.len() as u32 + place;
            how.kind(*node).end(world, number, &|id| scenario.place(id));
        }
    }

    /// Which branches met nothing in a run that is over, and why.
    pub(super) fn unmet(&self, plan: &Plan, world: &World) -> Vec<String> {
        let late = |(at, place): &(Nanos, usize)| {
            let why = format!("the run was over before {:.3} ms", *at as f64 / 1e6);
            (*place, why)
        };
        let diverted =
            plan.branches.iter().enumerate().filter_map(|(place, branch)| match branch {
                Branch::Message { id, .. } => Some((place, world.not_diverted(*id)?)),
                Branch::Moment { .. } => None,
            });
        let mut unmet: Vec<(usize, String)> = self.missed.clone();
        unmet.extend(self.due.iter().map(late));
        unmet.extend(diverted);
        unmet.sort();
        let told = |(place, why)| format!("branch {} met nothing: {why}", place + 1);
        unmet.into_iter().map(told).collect()
    }
}

/// How long what breaks at a moment lasts: until faults are over at most.
fn lasts(scenario: &Scenario, at: Nanos, for_ms: Option<u64>) -> Nanos {
    let left = (scenario.millis * 1_000_000).saturating_sub(at);
    for_ms.map_or((DEFAULT_MS * 1_000_000).min(left), |ms| ms * 1_000_000)
}

/// A node that a branch breaks.
struct Broken {
    place: usize,
    number: usize,
    node: u32,
    how: Break,
    until: Nanos,
}

impl Broken {
    /// # Errors
    /// Why there is nothing to break.
    fn begin(&self, scenario: &Scenario, world: &mut World) -> Result<(), String> {
        let Broken { place, number, node, how, until } = *self;
        let at = scenario.place(node).ok_or_else(|| format!("there is no node {node}"))?;
        if how != Break::Cut && !world.is_up(at) {
            return Err(format!("{} was down", scenario.call(node)));
        }
        let kind = how.kind(node);
        let now = world.now();
        let act = Act::Break { node, how, for_ms: Some((until - now) / 1_000_000) };
        let told = Branch::Moment { at_ns: now, act: Some(act) };
        let text = || FaultText {
            kind: kind.name(),
            nodes: vec![node],
            label: scenario.tell_branch(&told),
        };
        world.tracer.fault(now, number, until, &text);
        kind.begin(world, number as u32, until, &|id| scenario.place(id));
        world.wake(until, Token::Mend(place as u32).pack());
        Ok(())
    }
}
