//! Making a failing plan small: fewer faults, clients and operations, as long as it still fails
//! in the same property. Running again is all that it takes, since a plan is data (delta
//! debugging: Zeller and Hildebrandt, 2002).

use super::plan::Plan;

/// How many runs shrinking may take: a failing plan is wanted soon rather than at its smallest.
pub const MAX_RUNS: u32 = 400;
/// Likewise where each takes seconds.
pub const MAX_SLOW_RUNS: u32 = 60;

/// The smallest failing plan found within so many runs, and how many it took. `fails` runs a plan.
pub fn shrink(plan: &Plan, most: u32, fails: &mut dyn FnMut(&Plan) -> bool) -> (Plan, u32) {
    let mut shrinker = Shrinker { best: plan.clone(), runs: 0, most, fails };
    // Fewer operations make faults needless, and the other way round: until nothing gives.
    loop {
        let before = shrinker.best.clone();
        shrinker.faults();
        shrinker.branches();
        shrinker.clients();
        shrinker.operations();
        shrinker.durations();
        if shrinker.best == before || shrinker.runs >= most {
            return (shrinker.best, shrinker.runs);
        }
    }
}

struct Shrinker<'a> {
    best: Plan,
    runs: u32,
    most: u32,
    fails: &'a mut dyn FnMut(&Plan) -> bool,
}

impl Shrinker<'_> {
    /// Keeps a smaller plan if it fails too.
    fn try_plan(&mut self, plan: Plan) -> bool {
        if self.runs >= self.most || plan == self.best {
            return false;
        }
        self.runs += 1;
        let fails = (self.fails)(&plan);
        if fails {
            self.best = plan;
        }
        fails
    }

    /// Leaves faults out: all, halves, quarters, … single ones.
    fn faults(&mut self) {
        let mut part = self.best.faults.len().max(1);
        while part >= 1 {
            let mut start = 0;
            while start < self.best.faults.len() {
                let mut plan = self.best.clone();
                let end = (start + part).min(plan.faults.len());
                plan.faults.drain(start..end);
                if !self.try_plan(plan) {
                    start += part;
                }
            }
            part /= 2;
        }
    }

    /// Leaves branches out, likewise.
    fn branches(&mut self) {
        let mut part = self.best.branches.len();
        while part >= 1 {
            let mut start = 0;
            while start < self.best.branches.len() {
                let mut plan = self.best.clone();
                let end = (start + part).min(plan.branches.len());
                plan.branches.drain(start..end);
                if !self.try_plan(plan) {
                    start += part;
                }
            }
            part /= 2;
        }
    }

    fn clients(&mut self) {
        while self.best.clients > 1 {
            let clients = self.best.clients;
            let halved = Plan { clients: clients / 2, ..self.best.clone() };
            let one_less = Plan { clients: clients - 1, ..self.best.clone() };
            if !self.try_plan(halved) && !self.try_plan(one_less) {
                return;
            }
        }
    }

    fn operations(&mut self) {
        while self.best.operations > 1 {
            let operations = self.best.operations;
            let halved = Plan { operations: operations / 2, ..self.best.clone() };
            let less =
                Plan { operations: operations - operations.div_ceil(8), ..self.best.clone() };
            if !self.try_plan(halved) && !self.try_plan(less) {
                return;
            }
        }
    }

    /// Halves how long faults last, and what branches break.
    fn durations(&mut self) {
        for place in 0..self.best.faults.len() {
            let mut plan = self.best.clone();
            plan.faults[place].for_ms /= 2;
            if plan.faults[place].for_ms > 0 {
                self.try_plan(plan);
            }
        }
        for place in 0..self.best.branches.len() {
            let mut plan = self.best.clone();
            if let Some(halved) = plan.branches[place].halved() {
                plan.branches[place] = halved;
                self.try_plan(plan);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::branch::{Act, Branch, Break, Fares};
    use super::super::fault::{Fault, Kind};
    use super::*;

    #[test]
    fn what_does_not_matter_goes_and_what_matters_stays() {
        let fault = |at_ms, node| Fault { at_ms, for_ms: 64, kind: Kind::Pause { node } };
        let faults = (0..20).map(|n| fault(u64::from(n), n)).collect();
        let plan = Plan {
            seed: 1,
            clients: 8,
            operations: 60,
            faults,
            branches: Vec::new(),
            choices: None,
        };
        let mut fails = |plan: &Plan| {
            let has = |node| plan.faults.iter().any(|fault| fault.nodes() == [node]);
            has(3) && has(17) && plan.clients >= 2 && plan.operations >= 5
        };
        let (small, runs) = shrink(&plan, MAX_RUNS, &mut fails);
        let nodes: Vec<u32> = small.faults.iter().flat_map(Fault::nodes).collect();
        assert_eq!(nodes, [3, 17]);
        assert_eq!((small.clients, small.operations), (2, 5));
        assert!(runs < MAX_RUNS);
    }

    #[test]
    fn branches_go_as_faults_do_and_get_shorter() {
        let pause = |node| Some(Act::Break { node, how: Break::Pause, for_ms: Some(64) });
        let moment = |node: u32| Branch::Moment { at_ns: node.into(), act: pause(node) };
        let late = Branch::Message { id: 5, fares: Fares::DelayMs(40) };
        let branches = (0..9).map(moment).chain([late]).collect();
        let plan = Plan {
            seed: 1,
            clients: 1,
            operations: 1,
            faults: Vec::new(),
            branches,
            choices: None,
        };
        let mut fails = |plan: &Plan| {
            let has = |node| plan.branches.iter().any(|branch| branch.node() == Some(node));
            let is_late = |branch: &Branch| match branch {
                Branch::Message { fares: Fares::DelayMs(ms), .. } => *ms >= 10,
                _ => false,
            };
            has(6) && plan.branches.iter().any(is_late)
        };
        let (small, _) = shrink(&plan, MAX_RUNS, &mut fails);
        let [Branch::Moment { act: Some(act), .. }, Branch::Message { fares, .. }] =
            small.branches[..]
        else {
            panic!("{:?}", small.branches)
        };
        assert_eq!(act, Act::Break { node: 6, how: Break::Pause, for_ms: Some(1) });
        assert_eq!(fares, Fares::DelayMs(10));
    }
}
