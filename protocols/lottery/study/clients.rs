//! Agencies of the lottery: each sends its batches one after the other, as `node agency` does, says
//! that it has finished, and asks for its winners. What gets no answer is asked again. Between
//! times an agency may ask what nobody should. Agencies that are nodes of the scenario act by
//! themselves ([`nodes`]).

use super::bets::{Luck, MISDEEDS, batches, document, draw, spoil};
use super::model::{Told, told};
use super::rules::Rules;
use super::settings::Settings;
use super::{nodes, text};
use node_lab::sim::run::PROBE_EVERY;
use node_lab::study::Load;
use node_lab::study::Nanos;
use node_lab::study::{Clients, Port, Said, Workload};
use node_protocols::core::{Protocol, Rng, encode};
use node_protocols::lottery::{Bet, Lottery, Reply, Request};
use std::sync::Arc;

/// The agencies of a scenario: its settings, and what its nodes' configs say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lot {
    pub(super) settings: Settings,
    pub(super) rules: Rules,
}

impl Clients for Lot {
    fn check(&self, millis: u64, settle_millis: u64) -> Result<(), String> {
        self.settings.check(millis, settle_millis)
    }

    fn counts(&self) -> (u32, u32) {
        (self.rules.agencies, self.settings.operations)
    }

    fn most(&self) -> u32 {
        self.rules.agencies
    }

    fn draws_inputs_of(&self) -> &[usize] {
        self.rules.node_places()
    }

    fn inputs(&self, plan: &Load) -> Vec<(usize, &'static str, Arc<[u8]>)> {
        nodes::inputs(&self.settings, &self.rules, plan)
    }

    fn start(&self, plan: &Load, port: &mut dyn Port) -> Box<dyn Workload> {
        Box::new(Agencies::new(&self.settings, &self.rules, plan, port))
    }
}

/// All agencies of a run that are clients. A plan with fewer clients has agencies without bets,
/// which only finish: the draw waits for them too.
pub struct Agencies {
    agencies: Vec<Agency>,
    settings: Settings,
    rules: Rules,
    seed: u64,
    /// The plan may leave nobody to finish for an agency.
    may_block: bool,
    scratch: Vec<u8>,
}

struct Agency {
    number: u32,
    /// How many batches it has.
    batches: u64,
    luck: Luck,
    rng: Rng,
    cuts: Rng,
    moods: Rng,
    /// It has two connections, so that what was sent over one that it gave up may still arrive when
    /// the other is in use.
    connection: u32,
    sequence: u32,
    /// The acknowledged batches.
    stored: Vec<Vec<Bet<'static>>>,
    finished: bool,
    /// How many times it was told its winners.
    told: u32,
    /// What is asked until there is an answer.
    asking: Option<Asking>,
    /// The sequence of the request under way.
    current: Option<u32>,
    misdeeds: u64,
    /// Draws how it writes.
    forms: Rng,
    /// What has come over each of its connections and is no whole answer.
    inputs: [Vec<u8>; 2],
    /// It did as it should, and was refused: why.
    stuck: Option<String>,
}

#[derive(Clone)]
struct Asking {
    request: Request<'static>,
    /// The next batch, and not what comes beside.
    is_next: bool,
}

impl Agencies {
    /// The agencies of a plan, at the beginning of the run.
    pub fn new(settings: &Settings, rules: &Rules, plan: &Load, port: &mut dyn Port) -> Agencies {
        let agency = |number: u32| {
            let stream =
                |label: &str| Rng::stream(plan.seed, &format!("workload/agency/{number}/{label}"));
            Agency {
                number,
                batches: batches(number, plan),
                luck: Luck::draw(plan.seed, number, settings),
                rng: stream("think"),
                cuts: stream("cuts"),
                moods: stream("moods"),
                connection: 0,
                sequence: 0,
                stored: Vec::new(),
                finished: false,
                told: 0,
                asking: None,
                current: None,
                misdeeds: 0,
                forms: stream("wire"),
                inputs: [Vec::new(), Vec::new()],
                stuck: None,
            }
        };
        let mut agencies = Agencies {
            agencies: rules.clients().map(agency).collect(),
            settings: settings.clone(),
            rules: rules.clone(),
            seed: plan.seed,
            may_block: nodes::may_block(rules, plan),
            scratch: Vec::new(),
        };
        port.look();
        for place in 0..agencies.agencies.len() as u32 {
            for _ in 0..2 {
                let client = port.add_client(Lottery::NAME);
                if let Some(wire) = settings.wire {
                    port.set_wire(client, wire.gateway());
                }
            }
            agencies.think(place, port);
        }
        agencies
    }

    fn think(&mut self, place: u32, port: &mut dyn Port) {
        let agency = &mut self.agencies[place as usize];
        let pause = agency.rng.below(self.settings.think_ms * 1_000 + 1);
        port.wake(port.now() + pause * 1_000, place);
    }

    /// What the agency asks now: what it has no answer to, or the next thing.
    fn ask(&mut self, place: u32, port: &mut dyn Port) {
        let agency = &mut self.agencies[place as usize];
        if agency.asking.is_none() {
            let misdeed = agency.misdeed(&self.settings, &self.rules, self.seed);
            agency.asking = match misdeed {
                Some(request) => Some(Asking { request, is_next: false }),
                None => agency.next(&self.settings, &self.rules, self.seed),
            };
        }
        let Some(asking) = &mut agency.asking else { return };
        if let (Some(_), Request::Bets { batch, .. }) = (self.settings.wire, &mut asking.request) {
            *batch = 0;
        }
        agency.sequence += 1;
        let (sequence, connection) = (agency.sequence, place * 2 + agency.connection);
        agency.current = Some(sequence);
        let (whose, central) = (u64::from(agency.number), self.rules.central);
        self.scratch.clear();
        encode(&asking.request, &mut self.scratch);
        if self.settings.wire.is_some() {
            agency.inputs[agency.connection as usize].clear();
            let bytes = text::message(&asking.request, &mut agency.forms);
            let said = Said { request: &self.scratch, bytes: &bytes };
            port.say(connection, whose, central, sequence, said);
        } else {
            port.request(connection, whose, central, sequence, &self.scratch);
        }
        // A connection that breaks does so before the request arrives, after it, or not at all.
        let is_cut = agency.cuts.below(100) < self.settings.cut_percent;
        let cut = agency.cuts.below(CUT_WITHIN);
        let patience = if is_cut { cut } else { self.settings.timeout_ms * 1_000_000 };
        port.expire(port.now() + patience, place, sequence);
    }

    /// The request was refused, for now or for ever: what has to be done is asked again.
    fn refused(&mut self, place: u32, port: &mut dyn Port) {
        let agency = &mut self.agencies[place as usize];
        agency.current = None;
        agency.asking = agency.asking.take().filter(|asking| asking.is_next);
        self.think(place, port);
    }

    /// The request gets no answer any more; it is asked again.
    fn give_up(&mut self, place: u32, port: &mut dyn Port) {
        let agency = &mut self.agencies[place as usize];
        agency.current = None;
        if agency.cuts.below(2) == 0 {
            port.disconnect(place * 2 + agency.connection);
        }
        agency.connection = 1 - agency.connection;
        port.disconnect(place * 2 + agency.connection);
        self.think(place, port);
    }
}

/// When a connection that breaks does so: about as long after the request as its answer may take.
const CUT_WITHIN: Nanos = 30_000_000;

impl Agency {
    /// What comes next for one that does as it should.
    fn next(&self, settings: &Settings, rules: &Rules, seed: u64) -> Option<Asking> {
        let agency = self.number;
        let batch = self.stored.len() as u64 + 1;
        let request = if batch <= self.batches {
            let label = format!("workload/agency/{agency}/batch/{batch}");
            let first = document(agency, batch);
            let bets =
                draw(agency, first, settings, rules, self.luck, &mut Rng::stream(seed, &label));
            Request::Bets { batch, bets }
        } else if !self.finished {
            Request::Finished { agency }
        } else if self.told < settings.results {
            Request::Results { agency }
        } else {
            return None;
        };
        Some(Asking { request, is_next: true })
    }

    /// Now and then, something that it should not ask.
    fn misdeed(
        &mut self,
        settings: &Settings,
        rules: &Rules,
        seed: u64,
    ) -> Option<Request<'static>> {
        let is_done = self.told >= settings.results;
        if is_done || self.moods.below(100) >= settings.misbehave_percent {
            return None;
        }
        self.misdeeds += 1;
        let (agency, last) = (self.number, self.stored.len() as u64);
        let label = format!("workload/agency/{agency}/misdeed/{}", self.misdeeds);
        let rng = &mut Rng::stream(seed, &label);
        let other = |rng: &mut Rng| {
            let first = document(agency, MISDEEDS + self.misdeeds);
            draw(agency, first, settings, rules, self.luck, rng)
        };
        let earlier = |rng: &mut Rng| (last > 0).then(|| 1 + rng.below(last));
        match rng.below(4) {
            0 => {
                let batch = earlier(rng)?;
                Some(Request::Bets { batch, bets: self.stored[batch as usize - 1].clone() })
            }
            1 => Some(Request::Bets { batch: earlier(rng)?, bets: other(rng) }),
            2 => {
                let mut bets = other(rng);
                spoil(&mut bets, rules, rng);
                Some(Request::Bets { batch: last + 1, bets })
            }
            _ if !self.finished => None,
            _ if rng.below(3) == 0 => Some(Request::Finished { agency }),
            _ => Some(Request::Bets { batch: last + 1, bets: other(rng) }),
        }
    }

    fn is_done(&self, settings: &Settings) -> bool {
        self.told >= settings.results && self.asking.is_none()
    }
}

impl Workload for Agencies {
    /// What stands in bets and batches stays: that is what the agencies have, and not what they do.
    fn redraw(&mut self, by: u64) {
        for agency in &mut self.agencies {
            let Agency { rng, cuts, moods, forms, .. } = agency;
            [rng, cuts, moods, forms].into_iter().for_each(|rng| rng.redraw(by));
        }
    }

    fn wake(&mut self, place: u32, port: &mut dyn Port) {
        let agency = &self.agencies[place as usize];
        if agency.current.is_none() && agency.stuck.is_none() {
            self.ask(place, port);
        }
    }

    fn reply(&mut self, connection: u32, sequence: u32, reply: &[u8], port: &mut dyn Port) {
        // The Host encoded it from this type; what does not decode is no reply.
        let Ok(reply) = postcard::from_bytes::<Reply<'_>>(reply) else { return };
        let place = connection / 2;
        let agency = &mut self.agencies[place as usize];
        if agency.current != Some(sequence) {
            return;
        }
        agency.current = None;
        if let Reply::Later { .. } = reply {
            // The same is asked again, and may then be done: for a checker it has no answer yet.
            return self.think(place, port);
        }
        let Some(Asking { request, is_next }) = agency.asking.take() else { return };
        let Some(told) = told(reply) else { return };
        match (request, &told) {
            (Request::Bets { bets, .. }, Told::Stored(_)) if is_next => agency.stored.push(bets),
            (Request::Finished { .. }, Told::Finished) => agency.finished = true,
            (Request::Results { .. }, Told::Winners(_)) => agency.told += 1,
            (Request::Results { .. }, Told::NotDrawn) => {}
            (_, told) if is_next => agency.stuck = Some(format!("was told {told:?}")),
            _ => {}
        }
        self.think(place, port);
    }

    fn hear(&mut self, connection: u32, bytes: &[u8], port: &mut dyn Port) {
        let agency = &mut self.agencies[connection as usize / 2];
        let Some(sequence) = agency.current.filter(|_| agency.connection == connection % 2) else {
            return;
        };
        let input = &mut agency.inputs[connection as usize % 2];
        input.extend_from_slice(bytes);
        let Some(asking) = &agency.asking else { return };
        match text::heard(&asking.request, input, port.given(connection)) {
            Ok(None) => {}
            Ok(Some(reply)) => {
                port.answered(connection, sequence, &reply);
                if reply.is_empty() {
                    return self.refused(connection / 2, port);
                }
                self.reply(connection, sequence, &reply, port);
            }
            Err(why) => {
                let why = format!("agency {} is told {why}", agency.number);
                port.garbled(why);
            }
        }
    }

    fn timeout(&mut self, place: u32, sequence: u32, port: &mut dyn Port) {
        if self.agencies[place as usize].current == Some(sequence) {
            self.give_up(place, port);
        }
    }

    fn closed(&mut self, connection: u32, port: &mut dyn Port) {
        let place = connection / 2;
        let agency = &self.agencies[place as usize];
        if agency.connection == connection % 2 && agency.current.is_some() {
            self.give_up(place, port);
        }
    }

    fn is_over(&mut self, port: &mut dyn Port, limit: Nanos) -> bool {
        let mut speakers = self.rules.speakers.iter();
        let is_over = self.agencies.iter().all(|agency| agency.is_done(&self.settings))
            && speakers.all(|speaker| port.has_ended(speaker.place));
        is_over || self.may_block && port.now() + PROBE_EVERY > limit
    }

    fn unsettled(&self, port: &dyn Port) -> String {
        let describe = |agency: &Agency| {
            let (number, stored) = (agency.number, agency.stored.len());
            match &agency.stuck {
                Some(why) => format!("agency {number} {why}"),
                None if agency.finished => format!("agency {number} has finished"),
                None => format!("agency {number} has {stored} batches stored"),
            }
        };
        let late = self.agencies.iter().filter(|agency| !agency.is_done(&self.settings));
        let late = late.map(describe);
        let speakers = self.rules.speakers.iter().filter(|one| !port.has_ended(one.place));
        let nodes = speakers.map(|one| format!("node {} of agency {} goes on", one.id, one.agency));
        late.chain(nodes).collect::<Vec<_>>().join(", ")
    }
}
