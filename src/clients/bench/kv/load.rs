//! The load's event loop: one thread, all connections, until the time is up.
//!
//! Closed loop: every connection keeps its depth in flight. Open loop (a rate): operation i is
//! due at i/rate, goes to the next connection that is free, and its latency counts from when it
//! was due, however late it left. The loop allocates nothing for an operation, unless a history
//! is written.

use super::Plan;
use super::alarm::Alarm;
use super::connection::Connection;
use super::run::Run;
use super::stats::{Leftover, Stats};
use crate::clients::bench::SECOND_NS;
use mio::{Events, Poll, Token};
use node_lab::trace::ClientWriter;
use std::io::{self, Write};
use std::time::Duration;

/// How often connections are looked after that no event tells of.
const TICK_NS: u64 = 20_000_000;
/// More events at a time than connections that are commonly busy.
const EVENTS: usize = 1024;
/// What one read takes at most.
const READ_BYTES: usize = 64 << 10;
const ALARM: Token = Token(usize::MAX);

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
    pub fn new(plan: &'p Plan, trace: Option<ClientWriter>) -> Result<Load<'p>, String> {
        let system = |error: io::Error| format!("the load cannot start: {error}");
        let poll = Poll::new().map_err(system)?;
        let alarm = match plan.rate {
            Some(_) => Some(Alarm::new(poll.registry(), ALARM).map_err(system)?),
            None => None,
        };
        let connections = (0..plan.connections).map(|client| {
            let server = client % plan.servers.len();
            Connection::new(client as u32, plan.servers[server], plan.depth)
        });
        Ok(Load {
            plan,
            poll,
            alarm,
            connections: connections.collect(),
            run: Run::new(plan, trace)?,
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
            if now >= self.run.end_ns || self.run.has_failed() {
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
            for operation in connection.in_flight() {
                let age_us = now.saturating_sub(operation.due) / 1_000;
                leftover.in_flight += 1;
                leftover.oldest_in_flight_us = leftover.oldest_in_flight_us.max(age_us);
            }
        }
        if let Some(rate) = self.plan.rate {
            leftover.unsent = due_before(self.run.end_ns, rate).saturating_sub(self.issued);
        }
        self.run.finish_trace()?;
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
