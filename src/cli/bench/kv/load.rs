//! The load's event loop: one thread, all connections, until the time is up.
//!
//! Closed loop: every connection keeps its depth in flight. Open loop (a rate): operation i is
//! due at i/rate, goes to the next connection that is free, and its latency counts from when it
//! was due, however late it left. The loop allocates nothing for an operation, unless a history
//! is written.

use super::Plan;
use super::alarm::Alarm;
use super::connection::{Connection, Operation};
use super::history::{History, Line};
use super::stats::{Leftover, Stats};
use super::workload::{Kind, Workload};
use crate::cli::bench::SECOND_NS;
use crate::cli::bench::stats::Trouble;
use mio::{Events, Poll, Token};
use node_protocols::kv_replication::{Reply, Timestamp};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How often connections are looked after that no event tells of.
const TICK_NS: u64 = 20_000_000;
/// More events at a time than connections that are commonly busy.
const EVENTS: usize = 1024;
/// What one read takes at most.
const READ_BYTES: usize = 64 << 10;
const ALARM: Token = Token(usize::MAX);

/// What all connections share.
pub struct Run {
    /// When it ends, in nanoseconds since it began.
    pub end_ns: u64,
    /// What is asked.
    pub workload: Workload,
    /// What is counted.
    pub stats: Stats,
    began: Instant,
    keys: usize,
    /// The last timestamp of each key at each client; empty when clients do not remember.
    known: Vec<Timestamp>,
    history: Option<History>,
    /// Why the history is not whole.
    history_error: Option<io::Error>,
    servers: Vec<String>,
}

impl Run {
    fn new(plan: &Plan, history: Option<History>) -> Result<Run, String> {
        let end_ns = plan.warmup_ns() + plan.measured_ns();
        let remembered = if plan.sessions { plan.clients() * plan.keys as usize } else { 0 };
        Ok(Run {
            end_ns,
            workload: Workload::new(
                plan.seed,
                plan.keys,
                plan.put_percent,
                plan.value_bytes,
                history.is_some(),
            ),
            stats: Stats::new((plan.warmup_ns(), end_ns))?,
            began: Instant::now(),
            keys: plan.keys as usize,
            known: vec![Timestamp(0); remembered],
            history,
            history_error: None,
            servers: plan.servers.iter().map(ToString::to_string).collect(),
        })
    }

    /// The run's one clock: nanoseconds since it began.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// What a client knows of a key.
    pub fn known(&self, client: u32, key: u32) -> Timestamp {
        self.known.get(client as usize * self.keys + key as usize).copied().unwrap_or_default()
    }

    /// Takes the reply to an operation; false when it fits no such operation.
    pub fn complete(
        &mut self,
        connection: &Connection,
        operation: Operation,
        reply: &Reply<'_>,
        now: u64,
    ) -> bool {
        let (outcome, timestamp) = match (operation.kind, reply) {
            (Kind::Put, Reply::PutOk { timestamp })
            | (Kind::Get, Reply::Value { timestamp, .. }) => ("ok", *timestamp),
            (Kind::Get, Reply::Null {}) => ("null", Timestamp(0)),
            (Kind::Get, Reply::TryOtherServerOrLater { timestamp }) => {
                self.stats.troubles.add(Trouble::TryOther, String::new);
                ("try_other", *timestamp)
            }
            (_, Reply::NotApplied { reason }) => {
                self.stats.troubles.add(Trouble::NotApplied, || reason.to_string());
                ("not_applied", Timestamp(0))
            }
            (_, Reply::MayStillApply { reason }) => {
                self.stats.troubles.add(Trouble::MayStillApply, || reason.to_string());
                ("may_still_apply", Timestamp(0))
            }
            (Kind::Put, Reply::Value { .. } | Reply::Null {})
            | (Kind::Put, Reply::TryOtherServerOrLater { .. })
            | (Kind::Get, Reply::PutOk { .. })
            | (_, Reply::Info(_)) => return false,
        };
        if matches!(outcome, "ok" | "null") {
            self.stats.done(operation.kind, operation.due, now);
            self.saw(operation.client, operation.key, timestamp);
        }
        let value = if let Reply::Value { value, .. } = reply { Some(&value[..]) } else { None };
        self.record(
            connection,
            operation,
            Ending { outcome, returned: Some(now), timestamp, value },
        );
        true
    }

    /// An operation will get no reply any more.
    pub fn lose(&mut self, connection: &Connection, operation: Operation) {
        self.stats.troubles.add(Trouble::Lost, || "in flight when its connection ended".into());
        self.record(connection, operation, UNKNOWN);
    }

    fn saw(&mut self, client: u32, key: u32, timestamp: Timestamp) {
        let known = self.known.get_mut(client as usize * self.keys + key as usize);
        if let Some(known) = known {
            *known = timestamp.max(*known);
        }
    }

    fn record(&mut self, connection: &Connection, operation: Operation, ending: Ending<'_>) {
        let Some(history) = &mut self.history else { return };
        let (client, number) = (operation.client, operation.number);
        let (key, put) = self.workload.key_and_value(operation.key, client, number);
        let value = match operation.kind {
            Kind::Put => Some(put),
            Kind::Get => ending.value,
        };
        let line = Line {
            client,
            op: operation.kind.name(),
            key: String::from_utf8_lossy(key),
            value: value.map(String::from_utf8_lossy),
            invoke_ns: operation.sent,
            return_ns: ending.returned,
            outcome: ending.outcome,
            timestamp: ending.timestamp.0,
            server: &self.servers[connection.server],
        };
        if let Err(error) = history.write(&line) {
            // Half a history would mislead whoever checks it: the loop stops.
            self.history_error.get_or_insert(error);
        }
    }

    fn finish_history(&mut self) -> Result<(), String> {
        let flushed = self.history.as_mut().map_or(Ok(()), History::finish);
        let error = self.history_error.take().or(flushed.err());
        error.map_or(Ok(()), |error| {
            Err(format!("the history cannot be written and is not whole: {error}"))
        })
    }
}

/// How an operation ended, for the history.
struct Ending<'a> {
    outcome: &'static str,
    returned: Option<u64>,
    timestamp: Timestamp,
    value: Option<&'a [u8]>,
}

const UNKNOWN: Ending<'static> =
    Ending { outcome: "unknown", returned: None, timestamp: Timestamp(0), value: None };

/// All of it.
pub struct Load<'p> {
    plan: &'p Plan,
    poll: Poll,
    alarm: Option<Alarm>,
    connections: Vec<Connection>,
    run: Run,
    /// Where reads go.
    buffer: Vec<u8>,
    /// Open loop: how many operations have been sent.
    issued: u64,
    /// Open loop: the connection to look at first.
    cursor: usize,
    /// Open loop: connections with something to write.
    dirty: Vec<usize>,
}

impl<'p> Load<'p> {
    /// Makes the load ready; the clock starts here.
    pub fn new(plan: &'p Plan, history: Option<History>) -> Result<Load<'p>, String> {
        let system = |error: io::Error| format!("the load cannot start: {error}");
        let poll = Poll::new().map_err(system)?;
        let alarm = match plan.rate {
            Some(_) => Some(Alarm::new(poll.registry(), ALARM).map_err(system)?),
            None => None,
        };
        let connections = (0..plan.connections).map(|client| {
            let server = client % plan.servers.len();
            Connection::new(client as u32, server, plan.servers[server], plan.depth)
        });
        Ok(Load {
            plan,
            poll,
            alarm,
            connections: connections.collect(),
            run: Run::new(plan, history)?,
            buffer: vec![0; READ_BYTES],
            issued: 0,
            cursor: 0,
            dirty: Vec::new(),
        })
    }

    /// Runs until the time is up. With `progress`, says each second how it goes.
    pub fn run(
        mut self,
        mut progress: Option<&mut dyn Write>,
    ) -> Result<(Stats, Leftover), String> {
        let mut events = Events::with_capacity(EVENTS);
        let (mut next_tick, mut next_second, mut shown) = (0, SECOND_NS, (0, 0));
        loop {
            let now = self.run.now_ns();
            if now >= self.run.end_ns || self.run.history_error.is_some() {
                break;
            }
            if now >= next_tick {
                next_tick = now + TICK_NS;
                self.tick();
            }
            if now >= next_second {
                next_second += SECOND_NS;
                if let Some(err) = &mut progress {
                    shown = self.show_progress(shown, *err);
                }
            }
            self.issue_due(now);
            let wake = next_tick.min(next_second).min(self.run.end_ns);
            self.wait(&mut events, wake).map_err(|error| format!("poll failed: {error}"))?;
            for event in &events {
                if let Some(connection) = self.connections.get_mut(event.token().0) {
                    let closed_loop = self.plan.rate.is_none();
                    connection.on_event(event, closed_loop, &mut self.buffer, &mut self.run);
                }
            }
        }
        self.finish()
    }

    /// Waits for events until `wake`, or until the next operation is due.
    fn wait(&mut self, events: &mut Events, wake: u64) -> io::Result<()> {
        let due = self.next_due().filter(|_| self.connections.iter().any(Connection::is_free));
        let wait = wake.min(due.unwrap_or(u64::MAX)).saturating_sub(self.run.now_ns());
        let wait = Duration::from_nanos(wait);
        let timeout = match &mut self.alarm {
            Some(alarm) if !wait.is_zero() => alarm.set(wait)?,
            _ => Some(wait),
        };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            polled => polled,
        }
    }

    fn tick(&mut self) {
        for connection in &mut self.connections {
            connection.tick(self.poll.registry(), self.plan.timeout_ns(), &mut self.run);
        }
    }

    /// Open loop: when the next operation is due.
    fn next_due(&self) -> Option<u64> {
        self.plan.rate.map(|rate| due_ns(self.issued, rate))
    }

    /// Open loop: sends what is due to connections that are free, one after the other.
    fn issue_due(&mut self, now: u64) {
        while let Some(due) = self.next_due().filter(|due| *due <= now) {
            let count = self.connections.len();
            let free = (0..count)
                .map(|step| (self.cursor + step) % count)
                .find(|&index| self.connections[index].is_free());
            let Some(index) = free else { break };
            self.cursor = index + 1;
            self.issued += 1;
            self.run.stats.sent_late(due, now);
            self.connections[index].issue(due, &mut self.run);
            self.dirty.push(index);
        }
        for index in self.dirty.drain(..) {
            let connection = &mut self.connections[index];
            if let Err(failure) = connection.flush() {
                connection.fail(failure, &mut self.run);
            }
        }
    }

    fn show_progress(&self, before: (u64, u64), err: &mut dyn Write) -> (u64, u64) {
        let (done, troubles) = (self.run.stats.total_done(), self.run.stats.troubles.total());
        let second = self.run.now_ns() / SECOND_NS;
        let warm = if self.run.now_ns() < self.plan.warmup_ns() { " (warmup)" } else { "" };
        let (ops, errors) = (done - before.0, troubles - before.1);
        // Who closed stderr does not want to know.
        let _ = writeln!(err, "{second:>4} s  {ops:>9} ops/s  {errors:>6} errors{warm}");
        (done, troubles)
    }

    fn finish(mut self) -> Result<(Stats, Leftover), String> {
        let now = self.run.now_ns();
        let mut leftover = Leftover::default();
        for connection in &self.connections {
            for &operation in connection.in_flight() {
                let age_us = now.saturating_sub(operation.due) / 1_000;
                leftover.in_flight += 1;
                leftover.oldest_in_flight_us = leftover.oldest_in_flight_us.max(age_us);
                self.run.record(connection, operation, UNKNOWN);
            }
        }
        if let Some(rate) = self.plan.rate {
            leftover.unsent = due_before(self.run.end_ns, rate).saturating_sub(self.issued);
        }
        self.run.finish_history()?;
        Ok((self.run.stats, leftover))
    }
}

/// When operation `index` of `rate` a second is due.
fn due_ns(index: u64, rate: u64) -> u64 {
    let ns = u128::from(index) * u128::from(SECOND_NS) / u128::from(rate);
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// How many operations of `rate` a second are due before `end_ns`.
fn due_before(end_ns: u64, rate: u64) -> u64 {
    let count = (u128::from(end_ns) * u128::from(rate)).div_ceil(u128::from(SECOND_NS));
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_due_as_the_schedule_says() {
        for rate in [1, 3, 7, 1_000, 1_000_003] {
            for end in [1, 999_999_999, SECOND_NS, 2 * SECOND_NS + 5] {
                let count = due_before(end, rate);
                assert!(due_ns(count - 1, rate) < end && due_ns(count, rate) >= end);
            }
        }
    }
}
