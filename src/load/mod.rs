//! A scenario's clients, driven over TCP against real nodes and in real time: the second thing that
//! is behind the laboratory's `Port`, beside the simulator. Faults are whoever's who breaks the
//! nodes meanwhile. Knows no protocol, and no command line.

mod addresses;
mod counts;
mod link;
mod port;
mod verdicts;

pub use self::addresses::Addresses;
pub use self::counts::{Counts, Latency};
pub use self::verdicts::verdicts;

use self::link::Came;
use self::port::{Due, TcpPort};
use mio::{Events, Poll};
use node_lab::registry::Registry;
use node_lab::sim::plan::Plan;
use node_lab::sim::run::PROBE_EVERY;
use node_lab::sim::scenario::Scenario;
use node_lab::study::{Nanos, Port, Run, Workload};
use node_lab::trace::ClientWriter;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How much is read of a connection at a time.
const READ_BYTES: usize = 64 << 10;
/// How many sockets are told of at a time; the others are in the next turn.
const MAX_EVENTS: usize = 1_024;

/// What is to be driven, and against whom.
pub struct Load<'a> {
    /// The scenario; its faults are left out.
    pub scenario: &'a Scenario,
    /// What its clients' protocol is looked up in.
    pub registry: &'a Registry,
    /// The seed, how many clients, and how many operations each.
    pub plan: &'a Plan,
    /// Where the nodes listen.
    pub addresses: &'a Addresses,
    /// When clients begin no more operations, in milliseconds.
    pub millis: u64,
    /// What they see is written there.
    pub trace: Option<ClientWriter>,
    /// Whether it is to end now, and be judged as far as it is.
    pub is_stopped: &'a AtomicBool,
}

/// How far a load is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// For how long it has gone on.
    pub since: Duration,
    /// How many operations were asked.
    pub asked: u64,
    /// How many of them were answered.
    pub answered: u64,
}

/// What came of a load.
pub struct Driven {
    /// What clients asked and were told.
    pub run: Run,
    /// What was counted.
    pub counts: Counts,
    /// What a client was told is not what its server may say: why, and when.
    pub garbled: Option<(String, Nanos)>,
    /// Why the run did not come to rest in time, if so.
    pub unsettled: Option<String>,
    /// Why the trace is not whole, if it is not.
    pub trace_error: Option<String>,
}

/// Drives a scenario's clients until they are done, or the scenario's time to settle is over; tells
/// `watch` now and then how far it is.
///
/// # Errors
/// The scenario has no clients that can be driven, or nobody they can speak to, in one line.
pub fn drive(load: Load<'_>, watch: &mut dyn FnMut(Progress)) -> Result<Driven, String> {
    let Load { scenario, registry, plan, addresses, millis, trace, is_stopped } = load;
    let name = scenario.path.display();
    let clients = scenario.workload.as_ref().ok_or_else(|| {
        format!("{name}: it has no clients to drive: its nodes act by themselves")
    })?;
    if let Some(place) = clients.draws_inputs_of().first() {
        let node = scenario.nodes[*place].id;
        return Err(format!(
            "{name}: a seed draws what node {node} reads when it starts, and real nodes read \
             files of their own: its clients are for node sim alone"
        ));
    }
    let told = |error: std::io::Error| format!("no sockets: {error}");
    let mut poll = Poll::new().map_err(told)?;
    let sockets = poll.registry().try_clone().map_err(told)?;
    let mut port = TcpPort::new(&scenario.nodes, addresses, registry, sockets, trace)?;
    let workload = clients.start(&plan.load(), &mut port);
    port.check().map_err(|why| format!("{name}: {why}"))?;
    port.at(0, Due::Look);
    let (calm, settle) = (millis.saturating_mul(1_000_000), scenario.settle_millis * 1_000_000);
    let (idle_since, has_enough) = (None, false);
    let mut driver = Driver { port, workload, calm, settle, idle_since, has_enough, is_stopped };
    let unsettled = driver.go(&mut poll, watch)?;
    Ok(driver.end(scenario, plan, unsettled))
}

struct Driver<'a> {
    port: TcpPort<'a>,
    workload: Box<dyn Workload>,
    /// When clients begin no more operations.
    calm: Nanos,
    /// How long after that the run ends whatever is under way, or after they are done.
    settle: Nanos,
    /// Since when they have been found with nothing to do, if they were the last time.
    idle_since: Option<Nanos>,
    /// They know that they begin no more.
    has_enough: bool,
    is_stopped: &'a AtomicBool,
}

/// How a run ends: why it did not come to rest, unless it did.
type End = Option<String>;

impl Driver<'_> {
    fn go(&mut self, poll: &mut Poll, watch: &mut dyn FnMut(Progress)) -> Result<End, String> {
        let mut events = Events::with_capacity(MAX_EVENTS);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let now = self.port.now();
            while let Some(due) = self.port.due(now) {
                if let Some(end) = self.fire(due, watch) {
                    return Ok(end);
                }
            }
            for client in std::mem::take(&mut self.port.unread) {
                self.read(client, &mut buffer);
            }
            if let Some(why) = self.port.failure.take() {
                return Err(why);
            }
            if let Some(why) = self.port.stuck.take() {
                return if self.port.counts.asked == 0 { Err(why) } else { Ok(Some(why)) };
            }
            if self.port.garbled.is_some() {
                return Ok(None);
            }
            match poll.poll(&mut events, Some(self.port.pause())) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(format!("no sockets: {error}"));
                }
                // An interrupted poll leaves the events of the one before.
                Err(_) => events.clear(),
                Ok(()) => {}
            }
            for event in &events {
                self.port.on_event(event);
            }
        }
    }

    /// Does what is due; answers how the run ends, if it does.
    fn fire(&mut self, due: Due, watch: &mut dyn FnMut(Progress)) -> Option<End> {
        let (port, workload) = (&mut self.port, &mut self.workload);
        match due {
            Due::Wake(client) => workload.wake(client, port),
            Due::Expire(client, sequence) => workload.timeout(client, sequence, port),
            Due::Closed(client, generation) => {
                if port.is_current(client, generation) {
                    port.close(client);
                    workload.closed(client, port);
                }
            }
            Due::Look => {
                let since = Duration::from_nanos(port.now());
                let (asked, answered) = (port.counts.asked, port.counts.answered);
                watch(Progress { since, asked, answered });
                return self.look();
            }
        }
        None
    }

    /// Looks whether the run is over: asks the clients once none of them does anything, or their
    /// time is over.
    fn look(&mut self) -> Option<End> {
        let now = self.port.now();
        if now >= self.calm && !self.has_enough {
            self.has_enough = true;
            self.workload.enough();
        }
        self.idle_since = self.port.is_idle().then(|| self.idle_since.unwrap_or(now));
        let limit = self.idle_since.unwrap_or(now).min(self.calm).saturating_add(self.settle);
        // Before they are asked again, or what nodes have answered since would be forgotten.
        if now > limit {
            let (seconds, why) = (self.settle / 1_000_000_000, self.workload.unsettled(&self.port));
            return Some(Some(format!("{seconds} s after clients were done: {why}")));
        }
        if self.is_stopped.load(Ordering::Relaxed) {
            return Some(Some("the load was stopped before that could be seen".into()));
        }
        let may_be_over = self.has_enough || self.idle_since.is_some();
        if may_be_over && self.workload.is_over(&mut self.port, limit) {
            return Some(None);
        }
        self.port.at(now + PROBE_EVERY, Due::Look);
        None
    }

    fn read(&mut self, client: u32, buffer: &mut [u8]) {
        let (generation, came) = self.port.read(client, buffer);
        for came in came {
            // What a client does about the first may end the connection of the next.
            if !self.port.is_current(client, generation) {
                return;
            }
            match came {
                Came::Greeted(id) => self.port.greeted(client, id),
                Came::Reply(sequence, reply) => {
                    if !self.port.take_reply(client, sequence, &reply) {
                        return;
                    }
                    self.workload.reply(client, sequence, &reply, &mut self.port);
                }
                Came::Bytes(bytes) => self.workload.hear(client, &bytes, &mut self.port),
            }
        }
    }

    fn end(mut self, scenario: &Scenario, plan: &Plan, unsettled: End) -> Driven {
        let now = self.port.now();
        let trace_error = self.port.trace.as_mut().and_then(|trace| trace.flush().err());
        let TcpPort { mut run, counts, garbled, .. } = self.port;
        run.end_ns = now;
        run.bounds = scenario.bounds.clone();
        run.nodes = scenario.nodes.clone();
        scenario.mark_late(&mut run, plan);
        let garbled = garbled.map(|why| (why, now));
        let trace_error = trace_error.map(|error| error.to_string());
        Driven { run, counts, garbled, unsettled, trace_error }
    }
}
