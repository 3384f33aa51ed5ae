//! The load's event loop: one thread, one publisher, all subscribers, until the time is up.
//!
//! Closed loop: a message is published while the slowest subscriber that reads is less than a
//! window behind. The loop allocates nothing for a message.

use super::Plan;
use super::connection::{Connection, Role};
use super::process::{Usage, own_cpu_s};
use super::run::{MAX_UNWRITTEN_BYTES, Run};
use super::stats::{Sample, Stats};
use crate::clients::bench::SECOND_NS;
use crate::clients::bench::stats::Failure;
use mio::{Events, Poll};
use std::io::{self, Write};
use std::time::Duration;

/// How often is looked for messages that do not come.
const TICK_NS: u64 = 20_000_000;
/// More events at a time than connections that are commonly busy.
const EVENTS: usize = 1024;
/// What one read takes at most.
const READ_BYTES: usize = 64 << 10;
/// How many connect at a time: servers often have 128 places for those that they have not accepted
/// yet, and whoever finds none waits a second or more.
const MAX_CONNECTING: usize = 64;

/// Why the run stops before its end.
enum Stop {
    Failed(Failure),
    /// This machine does not do it.
    System(String),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

/// All of it.
pub struct Load<'p> {
    plan: &'p Plan,
    poll: Poll,
    /// The publisher, subscribers that read, and those that do not.
    connections: Vec<Connection>,
    run: Run,
    /// Where reads go.
    buffer: Vec<u8>,
    events: Events,
    next_tick: u64,
}

impl<'p> Load<'p> {
    /// Makes the load ready.
    pub fn new(plan: &'p Plan) -> Result<Load<'p>, String> {
        let system = |error: io::Error| format!("the load cannot start: {error}");
        Ok(Load {
            plan,
            poll: Poll::new().map_err(system)?,
            connections: Vec::new(),
            run: Run::new(plan)?,
            buffer: vec![0; READ_BYTES],
            events: Events::with_capacity(EVENTS),
            next_tick: 0,
        })
    }

    /// Runs until the time is up and all that was published has come, or a connection fails. With
    /// `progress`, says each second how it goes.
    pub fn run(mut self, progress: Option<&mut dyn Write>) -> Result<Stats, String> {
        match self.connect().and_then(|()| self.load(progress)).and_then(|()| self.drain()) {
            Ok(()) => self.run.stats.whole = true,
            Err(Stop::Failed((trouble, words))) => {
                if self.run.stats.samples.len() == 1 {
                    // What can still be said of the server; it may have ended.
                    let _ = self.sample();
                }
                self.run.stats.troubles.add(trouble, || words);
            }
            Err(Stop::System(error)) => return Err(error),
        }
        let now = self.run.now_ns();
        let Load { connections, mut run, .. } = self;
        for reader in connections.iter().filter(|connection| connection.role == Role::Reader) {
            run.stats.lost += reader.lost_at_the_end(&run);
            run.stats.in_flight += run.published - reader.position(&run);
        }
        run.stats.window_ns.1 = run.stats.window_ns.1.min(now);
        Ok(run.stats)
    }

    /// Connects and subscribes all, some at a time.
    fn connect(&mut self) -> Result<(), Stop> {
        let Plan { subscribers, not_reading, .. } = *self.plan;
        let all = 1 + subscribers + not_reading;
        loop {
            let mut waiting = self.connections.iter().filter(|one| !one.is_ready()).count();
            while self.connections.len() < all && waiting < MAX_CONNECTING {
                let index = self.connections.len();
                let role = match index {
                    0 => Role::Publisher,
                    _ if index <= subscribers => Role::Reader,
                    _ => Role::NotReading,
                };
                let connection = Connection::dial(index, role, self.poll.registry(), &self.run)?;
                self.connections.push(connection);
                waiting += 1;
            }
            let Some(waiting) = self.connections.iter().find(|one| !one.is_ready()) else { break };
            if self.run.now_ns() >= self.run.give_up_ns {
                return Err(waiting.timed_out(&self.run).into());
            }
            self.turn(self.run.give_up_ns)?;
        }
        let idle = |one: &&mut Connection| one.role == Role::NotReading;
        for connection in self.connections.iter_mut().filter(idle) {
            let ignored = connection.socket.ignore(self.poll.registry());
            ignored.map_err(|error| Stop::System(format!("the load cannot start: {error}")))?;
        }
        Ok(())
    }

    /// Publishes until the time is up.
    fn load(&mut self, mut progress: Option<&mut dyn Write>) -> Result<(), Stop> {
        self.run.begin(self.plan);
        let (mut next_second, mut shown) = (SECOND_NS, (0, 0));
        loop {
            let now = self.run.now_ns();
            if self.run.stats.samples.is_empty() && now >= self.plan.warmup_ns() {
                self.sample()?;
            }
            if now >= self.plan.end_ns() {
                return self.sample();
            }
            self.tick(now)?;
            if now >= next_second {
                next_second += SECOND_NS;
                if let Some(err) = &mut progress {
                    shown = self.show_progress(shown, *err);
                }
            }
            let wake = match self.publish(now)? {
                true => now,
                false => self.next_tick.min(self.plan.end_ns()),
            };
            self.turn(wake)?;
        }
    }

    /// Waits for what is on its way: without it, what is lost at the end would not be known.
    fn drain(&mut self) -> Result<(), Stop> {
        let is_behind = |one: &Connection, run: &Run| {
            one.role == Role::Reader && one.position(run) < run.published
        };
        while self.connections.iter().any(|one| is_behind(one, &self.run)) {
            self.tick(self.run.now_ns())?;
            self.turn(self.next_tick)?;
        }
        Ok(())
    }

    /// Publishes as much as the window and the socket take; whether there is more to publish now.
    fn publish(&mut self, now: u64) -> Result<bool, Stop> {
        let run = &mut self.run;
        let readers = &self.connections[1..=self.plan.subscribers];
        let slowest = readers.iter().map(|reader| reader.position(run)).min();
        let window = self.plan.window as u64;
        let end = slowest.unwrap_or_default() + window;
        let publisher = &mut self.connections[0];
        while run.published < end && publisher.socket.pending() < MAX_UNWRITTEN_BYTES {
            run.note_time(now);
            let publication = run.messages.publication(run.published);
            publisher.socket.out.extend_from_slice(publication);
            run.published += 1;
            run.stats.published(now);
        }
        publisher.flush(run)?;
        Ok(run.published < end && publisher.socket.pending() == 0)
    }

    /// Waits for events until `wake`, and handles them.
    fn turn(&mut self, wake: u64) -> Result<(), Stop> {
        let wait = Duration::from_nanos(wake.saturating_sub(self.run.now_ns()));
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled.map_err(|error| Stop::System(format!("poll failed: {error}")))?,
        }
        for event in &self.events {
            if let Some(connection) = self.connections.get_mut(event.token().0) {
                connection.on_event(event, &mut self.buffer, &mut self.run)?;
            }
        }
        Ok(())
    }

    /// Looks for a message that does not come.
    fn tick(&mut self, now: u64) -> Result<(), Stop> {
        if now < self.next_tick {
            return Ok(());
        }
        self.next_tick = now + TICK_NS;
        for reader in self.connections.iter().filter(|one| one.role == Role::Reader) {
            let position = reader.position(&self.run);
            if position >= self.run.published {
                continue;
            }
            // One of which nobody knows when it was published has the time of the whole run.
            let due = self.run.published_at(position);
            let due = due.map_or(self.run.give_up_ns, |at| at.saturating_add(self.run.timeout_ns));
            if now > due {
                return Err(reader.timed_out(&self.run).into());
            }
        }
        Ok(())
    }

    /// Notes what was used up to now.
    fn sample(&mut self) -> Result<(), Stop> {
        let server = self.plan.pid.map(Usage::of).transpose().map_err(Stop::System)?;
        let (at_ns, deliveries) = (self.run.now_ns(), self.run.stats.total_deliveries);
        self.run.stats.samples.push(Sample { at_ns, deliveries, own_cpu_s: own_cpu_s(), server });
        Ok(())
    }

    fn show_progress(&self, before: (u64, u64), err: &mut dyn Write) -> (u64, u64) {
        let stats = &self.run.stats;
        let second = self.run.now_ns() / SECOND_NS;
        let warm = if self.run.now_ns() < self.plan.warmup_ns() { " (warmup)" } else { "" };
        let (deliveries, lost) = (stats.total_deliveries - before.0, stats.lost - before.1);
        // Who closed stderr does not want to know.
        let _ = writeln!(err, "{second:>4} s  {deliveries:>9} deliveries/s  {lost:>6} lost{warm}");
        (stats.total_deliveries, stats.lost)
    }
}
