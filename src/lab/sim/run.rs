//! One run: a scenario and a plan in, verdicts, history and trace out. Always the same ones.

use super::errors::Lines;
use super::fault::Kind;
use super::forks::Forks;
use super::hosting::Hosted;
use super::plan::Plan;
use super::scenario::Scenario;
use super::token::Token;
use super::tracer::{FaultText, Tracer};
use super::world::chooser::Chooser;
use super::world::{Birth, Nanos, Step, World};
use crate::check::describe::{Millis, Node};
use crate::config::Config;
use crate::hosted::{Reached, Seat, Stage};
use crate::registry::Registry;
use crate::study::{
    Invariant, Needs, Port, Property, Run, TURN, Verdict, Witness, Workload, befell_last,
};
use crate::trace::{Testimony, told};
use node_core::{Env, NodeId, Rng};
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What a run showed.
#[derive(Debug)]
pub struct Outcome {
    /// The plan that it followed.
    pub plan: Plan,
    /// The hash of its events.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
    /// How many messages arrived.
    pub deliveries: u64,
    /// How long it was, in nanoseconds of its own time.
    pub virtual_ns: Nanos,
    /// What was seen of it.
    pub run: Run,
    /// What broke; none when everything held.
    pub failure: Option<Failure>,
    /// The verdicts, in the order in which they were given, up to the first violation: a property
    /// that is not among them was not judged.
    pub verdicts: Vec<(&'static Property, Verdict)>,
    /// What no checker could decide, and what nobody could see. That a run has no evidence of a
    /// property is among `verdicts`.
    pub unknown: Vec<String>,
    /// Which nodes did not start with what was on their disks, and why.
    pub refused: Vec<String>,
    /// What else there is to say: branches that met nothing.
    pub notes: Vec<String>,
    /// Why it ended before it could be judged: a program was not done in time.
    pub out_of_time: Option<String>,
    /// How far its seed repeats it, where its nodes are programs.
    pub reached: Option<Reached>,
    /// Why the trace is not whole, if it is not.
    pub trace_error: Option<String>,
}

/// What broke in a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The property, or `program`, `invariant`, `error_log`, `recovery`, `codec`, `converges`.
    pub property: String,
    /// One line.
    pub why: String,
    /// When it showed first, in nanoseconds.
    pub at: Nanos,
    /// What it rests on, in the order of telling, as the run's trace has it.
    pub witnesses: Vec<Testimony<'static>>,
}

impl Failure {
    /// A Host's assertion did not hold.
    fn of_panic(panic: &(dyn Any + Send), at: Nanos) -> Failure {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Failure::new("invariant", in_words(text.unwrap_or("a Host panicked")), at)
    }

    /// With what befell nodes last, of a run that does not come to rest, or the turn at which it
    /// showed, of the node that did something last, if nothing else speaks for it.
    fn at_turn_of(mut self, node: Option<u32>, seen: &Run) -> Failure {
        if self.property == CONVERGES && self.witnesses.is_empty() {
            self.witnesses = told(&befell_last(seen), seen);
        }
        if let Some(node) = node.filter(|_| self.witnesses.is_empty()) {
            let says = format!("{} did this last, at {}", Node(node), Millis(self.at));
            let turn = Witness::event("turn at which it showed", node, self.at, TURN, says);
            self.witnesses = told(&[turn], &Run::default());
        }
        self
    }

    fn new(property: &str, why: impl Into<String>, at: Nanos) -> Failure {
        Failure { property: property.into(), why: why.into(), at, witnesses: Vec::new() }
    }
}

/// What an assertion that failed says, on one line: its own words where it has some, with the two
/// values unless the words have them already.
fn in_words(text: &str) -> String {
    let split = || {
        let (what, rest) = text.strip_prefix("assertion `left ")?.split_once(" right` failed: ")?;
        let (says, values) = rest.split_once("\n  left: ")?;
        let (left, right) = values.split_once("\n right: ")?;
        Some((what, says, left, right))
    };
    let said = match split() {
        Some((_, says, left, right)) if says.contains(left) && says.contains(right) => says.into(),
        Some(("==", says, left, right)) => format!("{says}: {left} and {right} differ"),
        Some((_, says, left, right)) => format!("{says}: found {left} and {right}"),
        None => text.to_string(),
    };
    said.replace('\n', " ")
}

/// What is said to be broken when a run does not come to rest.
const CONVERGES: &str = "converges";

/// A run has this many events at most: one that has more is stuck in a loop.
const MAX_EVENTS: u64 = 50_000_000;

/// How often it is asked whether a run is over: long enough for a probe's answers to come.
pub const PROBE_EVERY: Nanos = 200_000_000;

/// How often all clocks are read, where somebody wants to know.
const CLOCKS_EVERY: Nanos = 100_000_000;

/// Runs a plan.
pub fn run(
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    plan: &Plan,
    tracer: Tracer,
) -> Outcome {
    let chosen = plan.choices.as_ref().zip(scenario.explore);
    let chooser = chosen.map(|(choices, explore)| {
        let rules = explore.rules(scenario.millis, explore.budget());
        Box::new(Chooser::new(rules, choices.clone(), u32::MAX, Vec::new()))
    });
    run_chosen(scenario, registry, plan, tracer, chooser).0
}

/// Runs a plan in the order that a chooser says, if there is one; answers it, with what it kept. A
/// run that it gave up has no verdicts.
pub fn run_chosen(
    scenario: &Arc<Scenario>,
    registry: &Arc<Registry>,
    plan: &Plan,
    tracer: Tracer,
    chooser: Option<Box<Chooser>>,
) -> (Outcome, Option<Box<Chooser>>) {
    let lines = Lines::collect();
    let mut state = State::new(scenario, registry, plan, tracer, chooser);
    // A Host asserts its invariants; one that does not hold is a finding, not the end of the
    // simulator. The state is only read afterwards.
    let went = catch_unwind(AssertUnwindSafe(|| state.go(scenario, plan)));
    let went_on = went.is_ok();
    let mut failure =
        went.unwrap_or_else(|panic| Some(Failure::of_panic(&*panic, state.world.now())));
    // A line that says what must not happen tells more than that nothing went on after it.
    let said = lines.take().into_iter().next();
    if let Some(line) = said.filter(|_| went_on) {
        failure = Some(Failure::new("error_log", line, state.world.now()));
    }
    let mut seen = state.seen(scenario);
    scenario.mark_late(&mut seen, plan);
    let mut unknown: Vec<String> = lines.unseen().into_iter().map(str::to_string).collect();
    // That a run does not come to rest tells less than what it broke on the way.
    let at_rest = failure.is_none();
    if !scenario.settles {
        failure = failure.filter(|failure| failure.property != CONVERGES);
    }
    let mut verdicts = Vec::new();
    let out_of_time = state.out_of_time();
    if let Some(why) = &out_of_time {
        // How it would have gone on nobody knows.
        failure = None;
        unknown.insert(0, why.clone());
    } else if state.world.is_given_up() {
        failure = None;
    } else if failure.as_ref().is_none_or(|failure| failure.property == CONVERGES) {
        let watch = &state.world.watch;
        let judge = |property| {
            let watched = watch.verdict(property);
            watched.unwrap_or_else(|| scenario.judge(property, &seen, registry, plan.known()))
        };
        verdicts = judged(scenario, at_rest, judge);
        let undecided = verdicts.iter().filter_map(|(property, verdict)| match verdict {
            Verdict::Undecided { why } => Some(format!("{property}: {why}")),
            Verdict::Held | Verdict::Unknown { .. } | Verdict::Violated(_) => None,
        });
        unknown.extend(undecided);
        if let Some((property, Verdict::Violated(found))) = verdicts.last() {
            let at = found.shows_at(&seen).unwrap_or(state.world.now());
            let (property, why) = (property.name.to_string(), found.why.clone());
            let witnesses = told(&found.witnesses, &seen);
            failure = Some(Failure { property, why, at, witnesses });
        }
    }
    let failure = failure.map(|one| one.at_turn_of(state.world.tracer.last_node(), &seen));
    state.tell(failure.as_ref(), &mut verdicts);
    let (events, deliveries) = state.world.counts();
    let refused = state.world.refusals().iter();
    let refused = refused.map(|(at, id, why)| format!("{} ms: node {id}: {why}", at / 1_000_000));
    let refused = refused.collect();
    let trace_error = state.world.tracer.finish().err().map(|error| error.to_string());
    let chooser = state.world.take_chooser();
    let misfit = chooser.as_ref().and_then(|chooser| chooser.misfit());
    unknown.extend(misfit.map(|step| format!("its choice at step {step} cannot be made there")));
    let outcome = Outcome {
        plan: plan.clone(),
        hash: state.world.tracer.hash(),
        events,
        deliveries,
        virtual_ns: state.world.now(),
        run: seen,
        failure,
        verdicts,
        unknown,
        refused,
        notes: state.forks.unmet(plan, &state.world),
        out_of_time,
        reached: state.stage.as_ref().map(|stage| stage.reached()),
        trace_error,
    };
    (outcome, chooser)
}

/// The verdicts on a scenario's properties, up to the first violation. The one that it is there to
/// show comes last, so that it hides no other.
fn judged(
    scenario: &Scenario,
    at_rest: bool,
    judge: impl Fn(&'static Property) -> Verdict,
) -> Vec<(&'static Property, Verdict)> {
    let (shown, others): (Vec<&'static Property>, Vec<&'static Property>) =
        scenario.properties.iter().partition(|one| Some(**one) == scenario.violates);
    let mut verdicts = Vec::with_capacity(scenario.properties.len());
    for property in others.into_iter().chain(shown) {
        if !at_rest && property.needs.contains(Needs::REPLICAS) {
            continue;
        }
        let verdict = judge(property);
        let is_violated = matches!(verdict, Verdict::Violated(_));
        verdicts.push((property, verdict));
        if is_violated {
            break;
        }
    }
    verdicts
}

struct State {
    world: World,
    /// Where programs take place.
    stage: Option<Arc<Stage>>,
    /// Why there is no place for them.
    unstaged: Option<String>,
    workload: Box<dyn Workload>,
    forks: Forks,
}

/// No clients: the run is over when its time is.
struct Nobody;

impl Workload for Nobody {
    fn wake(&mut self, _: u32, _: &mut dyn Port) {}
    fn reply(&mut self, _: u32, _: u32, _: &[u8], _: &mut dyn Port) {}
    fn timeout(&mut self, _: u32, _: u32, _: &mut dyn Port) {}
    fn closed(&mut self, _: u32, _: &mut dyn Port) {}
    fn is_over(&mut self, port: &mut dyn Port, limit: Nanos) -> bool {
        port.now() >= limit
    }
    fn unsettled(&self, _: &dyn Port) -> String {
        String::new()
    }
}

/// What a node draws from that starts.
fn luck(seed: u64, id: NodeId, incarnation: u64, redrawn: Option<u64>) -> u64 {
    let mut stream = Rng::stream(seed, &format!("host/{id}/{incarnation}"));
    redrawn.into_iter().for_each(|by| stream.redraw(by));
    stream.next_u64()
}

/// The second processes of a plan: the faults that start them, and their ids.
fn twins(plan: &Plan) -> Vec<(u32, NodeId)> {
    let twins = (0..).zip(&plan.faults).filter_map(|(number, fault)| match fault.kind {
        Kind::Twin { node } => Some((number, NodeId(node))),
        _ => None,
    });
    twins.collect()
}

impl State {
    fn new(
        scenario: &Arc<Scenario>,
        registry: &Arc<Registry>,
        plan: &Plan,
        mut tracer: Tracer,
        chooser: Option<Box<Chooser>>,
    ) -> State {
        let services = scenario.hosted.as_ref().map_or(&[][..], |hosted| &hosted.services);
        let configs: Vec<Config> = scenario.nodes.iter().chain(services).cloned().collect();
        let ids: Vec<NodeId> = configs.iter().map(|config| config.id).collect();
        let (stage, unstaged) = match scenario.hosted.as_ref().map(Hosted::stage).transpose() {
            Ok(stage) => (stage, None),
            Err(why) => (None, Some(why)),
        };
        if scenario.hosted.is_some() {
            tracer.hide(services.iter().map(|service| service.id));
        }
        tracer.run(&scenario.path.display().to_string(), &plan.load(), &configs);
        let (scene, plugins, seed) = (scenario.clone(), registry.clone(), plan.seed);
        let given = scene.workload.as_ref().map_or_else(BTreeMap::new, |workload| {
            let given =
                workload.inputs(&plan.load()).into_iter().map(|(place, protocol, content)| {
                    let mut config = scene.nodes[place].clone();
                    config.give_input(protocol, content);
                    (place, config)
                });
            given.collect()
        });
        let twins = twins(plan);
        let twins_of: Vec<usize> = twins
            .iter()
            .filter_map(|(_, id)| scenario.nodes.iter().position(|config| config.id == *id))
            .collect();
        let places: Vec<usize> = (0..ids.len()).chain(twins_of).collect();
        let (of, all, seats) = (places.clone(), configs.clone(), stage.clone());
        let build = move |Birth { place, incarnation, identity, is_new, redrawn }| {
            let place: usize = of[place];
            let config = given.get(&place).unwrap_or(&all[place]);
            let luck = luck(seed, config.id, incarnation, redrawn);
            let env: Env = config.env(incarnation, identity, luck);
            let seat = seats.clone().map(|stage| Seat { stage, is_new });
            let host = match scene.hosted.as_ref().zip(seat) {
                Some((hosted, seat)) => hosted.host(config, &env, seat),
                None => config.host(&plugins, &env).map_err(|error| error.to_string()),
            };
            host.expect("the scenario was checked when it was loaded")
        };
        tracer.watch(scenario.properties.iter().copied());
        let asked = |one: &&Invariant| scenario.properties.contains(&&one.property);
        let network = scenario.network.clone();
        let mut world = World::new(plan.seed, &ids, &twins, network, Box::new(build), tracer);
        if let Some(chooser) = chooser {
            world.set_chooser(chooser);
        }
        world.set_services(services.len());
        for (place, of) in places.into_iter().enumerate() {
            let config = &configs[of];
            world.set_clock(place, config.clock);
            if config.data_dir.is_some() {
                world.set_home(place, &config.cluster, scenario.checkpoint_bytes.clone());
            }
        }
        for (place, clock) in scenario.draw_clocks(plan.seed) {
            world.set_clock(place, clock);
        }
        world.watch.set(registry.invariants().filter(asked));
        world.set_codecs(registry.clone());
        let clients = scenario.workload.as_ref();
        let workload: Box<dyn Workload> = match clients {
            Some(clients) => clients.start(&plan.load(), &mut world),
            None => Box::new(Nobody),
        };
        let forks = Forks::new(scenario, plan, &mut world);
        State { world, stage, unstaged, workload, forks }
    }

    /// Faults, then order again, within bounds.
    fn go(&mut self, scenario: &Scenario, plan: &Plan) -> Option<Failure> {
        if let Some(failure) = self.stopped() {
            return Some(failure);
        }
        for node in 0..self.world.linked() {
            self.world.start(node);
        }
        if plan.faults.iter().any(|fault| matches!(fault.kind, Kind::Liar { .. })) {
            self.world.listen();
        }
        for (place, fault) in (0..).zip(&plan.faults) {
            self.world.wake(fault.at(), Token::Begin(place).pack());
            self.world.wake(fault.until(), Token::End(place).pack());
            if let Some((at, _)) = fault.copies() {
                self.world.wake(at, Token::Copy(place).pack());
            }
        }
        if self.world.tracer.reads_clocks() {
            self.world.wake(0, Token::Clocks.pack());
        }
        let calm = scenario.millis * 1_000_000;
        self.world.wake(calm, Token::Settle.pack());
        let limit = calm + scenario.settle_millis * 1_000_000;
        loop {
            if let Some(failure) = self.stopped() {
                return Some(failure);
            }
            let (world, workload) = (&mut self.world, &mut self.workload);
            self.forks.act(scenario, plan, world, &mut **workload);
            match world.step() {
                Step::Inside => {}
                Step::End => {
                    return Some(Failure::new(CONVERGES, "nothing happens any more", limit));
                }
                Step::Reply { client, sequence, reply } => {
                    workload.reply(client, sequence, &reply, world);
                    world.recycle(reply);
                }
                Step::Heard { client, bytes } => {
                    workload.hear(client, &bytes, world);
                    world.recycle(bytes);
                }
                Step::Closed { client } => workload.closed(client, world),
                Step::Wake { token } => match Token::unpack(token) {
                    Token::Think(client) | Token::Rest(client) => workload.wake(client, world),
                    Token::Timeout(client, sequence) => workload.timeout(client, sequence, world),
                    Token::Clocks => {
                        world.read_clocks();
                        world.wake(world.now() + CLOCKS_EVERY, Token::Clocks.pack());
                    }
                    Token::Copy(place) => self.copy(scenario, plan, place),
                    Token::Begin(place) => self.fault(scenario, plan, place, true),
                    Token::End(place) => self.fault(scenario, plan, place, false),
                    Token::Mend(place) => Forks::end(scenario, plan, place, world),
                    Token::Settle => {
                        if let Some(end) = self.settle(scenario, limit) {
                            return end;
                        }
                    }
                },
            }
        }
    }

    /// Looks whether everything is in order again; answers how the run ends, if it does.
    fn settle(&mut self, scenario: &Scenario, limit: Nanos) -> Option<Option<Failure>> {
        // A disk that fails at the first sync after its fault stops its node when nobody would
        // start it again.
        self.world.mend();
        if self.workload.is_over(&mut self.world, limit) {
            return Some(None);
        }
        let now = self.world.now();
        if now > limit {
            let seconds = scenario.settle_millis / 1_000;
            let nodes = self.workload.unsettled(&self.world);
            let why = format!("{seconds} s after the last fault not all are settled: {nodes}");
            return Some(Some(Failure::new(CONVERGES, why, now)));
        }
        self.world.wake(now + PROBE_EVERY, Token::Settle.pack());
        None
    }

    /// Why it is over though nothing says how it would have gone on.
    fn out_of_time(&self) -> Option<String> {
        let late = self.stage.as_ref().and_then(|stage| stage.out_of_time());
        let is_stopped = self.world.tracer.is_stopped();
        late.or_else(|| is_stopped.then(|| "it was stopped".into()))
    }

    /// Why the run cannot go on.
    fn stopped(&mut self) -> Option<Failure> {
        let now = self.world.now();
        if self.out_of_time().is_some() {
            return Some(Failure::new(CONVERGES, "it was not done in time", now));
        }
        if let Some((property, violation)) = self.world.watch.broken() {
            let witnesses = told(&violation.witnesses, &Run::default());
            let failure = Failure::new(property.name, violation.why.clone(), now);
            return Some(Failure { witnesses, ..failure });
        }
        let program = self.stage.as_ref().and_then(|stage| stage.failure());
        let program = self.unstaged.take().or(program);
        if let Some(why) = program {
            return Some(Failure::new("program", why, now));
        }
        if let Some(why) = self.world.failure.take() {
            return Some(Failure::new("recovery", why, now));
        }
        if let Some(why) = self.world.garbled.take() {
            return Some(Failure::new("codec", why, now));
        }
        let is_stuck = self.world.counts().0 > MAX_EVENTS;
        is_stuck.then(|| Failure::new(CONVERGES, format!("{MAX_EVENTS} events and no end"), now))
    }

    /// Copies the directory that a fault to come brings back.
    fn copy(&mut self, scenario: &Scenario, plan: &Plan, place: u32) {
        let copied = plan.faults[place as usize].copies();
        let at = |id: u32| scenario.nodes.iter().position(|config| config.id.0 == id);
        if let Some(node) = copied.and_then(|(_, node)| at(node)) {
            self.world.copy_directory(node, place);
        }
    }

    fn fault(&mut self, scenario: &Scenario, plan: &Plan, place: u32, begins: bool) {
        let fault = &plan.faults[place as usize];
        let at = |id: u32| scenario.nodes.iter().position(|config| config.id.0 == id);
        if begins {
            let text = || FaultText {
                kind: fault.name(),
                nodes: fault.nodes(),
                label: scenario.tell(fault),
            };
            let now = self.world.now();
            self.world.tracer.fault(now, place as usize, fault.until(), &text);
            fault.begin(&mut self.world, place, &at);
        } else {
            fault.end(&mut self.world, place, &at);
        }
    }

    /// Writes what broke behind what broke it, with the verdict on a broken invariant.
    fn tell(
        &mut self,
        failure: Option<&Failure>,
        verdicts: &mut Vec<(&'static Property, Verdict)>,
    ) {
        let broken = self.world.watch.broken().map(|(property, _)| property);
        let is_told = |failure: &&Failure| broken.is_some_and(|one| one.name == failure.property);
        if let Some(property) = broken {
            verdicts.extend(self.world.watch.verdict(property).map(|verdict| (property, verdict)));
        }
        // The trace has a broken invariant already, behind what broke it.
        if let Some(failure) = failure.filter(|failure| !is_told(failure)) {
            let Failure { property, why, at, witnesses } = failure;
            self.world.tracer.violation(*at, property, why, witnesses);
        }
    }

    fn seen(&mut self, scenario: &Scenario) -> Run {
        let mut run = self.world.take_run();
        run.timeline = self.world.tracer.take_timeline(self.world.now());
        run.mishaps = self.world.tracer.take_mishaps();
        run.bounds = scenario.bounds.clone();
        run.nodes = scenario.nodes.clone();
        run.is_simulated = true;
        run
    }
}
