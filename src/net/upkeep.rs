//! What happens because time passes or memory runs short: timers, heartbeats, deadlines of
//! connections, the bound on what clients hold.

use super::Node;
use super::connection::{Connection, State};
use super::served::Phase;
use super::table::Key;
use node_lab::wire::push_frame;
use node_protocols::core::{Counter, Time};
use std::time::Duration;

/// Sweeps look at all connections, so they keep at least this distance.
const MIN_SWEEP: Duration = Duration::from_millis(100);

impl Node {
    pub(super) fn on_time(&mut self) {
        let now = self.now.time;
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        if due(self.host.deadline()) {
            self.host.handle_timers(self.now);
        }
        if self.draining.is_none() && due(self.links.next_dial()) {
            self.dial_due();
        }
        if self.draining.is_none() && due(self.links.next_check()) {
            self.check_due();
        }
        if self.draining.is_none() && due(self.links.next_knock()) {
            self.knock_due();
        }
        if due(self.next_heartbeat) {
            self.heartbeat();
        }
        if due(self.next_sweep) {
            self.sweep();
        }
        if due(self.accept_at) {
            self.accept_at = None;
            for place in 0..self.listeners.len() {
                self.accept(place);
            }
        }
    }

    /// Says something over links that were quiet, and gives up those that are.
    fn heartbeat(&mut self) {
        let now = self.now.time;
        let every = Duration::from_millis(self.config.limits.heartbeat_ms);
        let timeout = Duration::from_millis(self.config.limits.link_timeout_ms);
        let (mut quiet, mut silent) = (Vec::new(), Vec::new());
        for peer in self.links.iter_mut() {
            let Some(key) = peer.link else { continue };
            let heard = self.table.get(key).map_or(now, |connection| connection.last_heard);
            if now - heard >= timeout {
                silent.push((key, peer.id));
            } else if now - peer.last_sent >= every / 2 {
                quiet.push(key);
            }
        }
        for key in quiet {
            if let Some(connection) = self.table.get_mut(key) {
                push_frame(connection.out.tail(), &[]);
                self.touch(key);
            }
        }
        for (key, peer) in silent {
            log::warn!(target: "net", "node {peer} was silent for {timeout:?}: the link is given up");
            self.close(key);
        }
        self.next_heartbeat = self.links.any_up().then(|| now + every);
    }

    /// Makes sure that connections are looked at within this time.
    pub(super) fn sweep_within(&mut self, millis: u64) {
        let at = self.now.time + Duration::from_millis(millis);
        self.next_sweep = Some(self.next_sweep.map_or(at, |next| next.min(at)));
    }

    /// Closes connections that took too long.
    fn sweep(&mut self) {
        let now = self.now.time;
        let mut next: Option<Time> = None;
        let mut late = Vec::new();
        for (key, connection) in self.table.iter() {
            let Some((deadline, cause)) = self.deadline_of(connection) else { continue };
            if deadline <= now {
                late.push((key, cause));
            } else {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
            }
        }
        self.next_sweep = next.map(|next| next.max(now + MIN_SWEEP));
        for (key, cause) in late {
            let Some(connection) = self.table.get(key) else { continue };
            let (addr, what) = (connection.addr, describe(&connection.state));
            self.tell(cause, format_args!("{addr} is closed: {what}"));
            self.close(key);
        }
    }

    fn deadline_of(&self, connection: &Connection) -> Option<(Time, Counter)> {
        let limits = &self.config.limits;
        let after = |since: Time, millis: u64| since + Duration::from_millis(millis);
        match &connection.state {
            State::Link(..) => None,
            State::Claiming(claim) => {
                // The peer may take as long to be reached, to answer, and to prove it.
                let most = 3 * limits.greeting_timeout_ms;
                Some((after(claim.since, most), Counter::TooSlow))
            }
            State::Greeting | State::Dialing(_) | State::Greeted(_) => {
                // Counted from its beginning: a byte now and then does not buy time.
                let since = connection.input_since.unwrap_or(connection.last_heard);
                Some((after(since, limits.greeting_timeout_ms), Counter::TooSlow))
            }
            State::Parting(since) => {
                Some((after(*since, limits.greeting_timeout_ms), Counter::TooSlow))
            }
            State::Client(client) => {
                // While it waits for the node its time stands still; a later look goes on with it.
                let high_water = limits.client_high_water_bytes as usize;
                let waits = client.waits(connection.out.len(), high_water);
                let from = |since| if waits { self.now.time } else { since };
                let request = connection
                    .input_since
                    .map(|since| (after(from(since), limits.request_timeout_ms), Counter::TooSlow));
                let idle = (limits.idle_timeout_ms > 0).then(|| {
                    (after(from(connection.last_heard), limits.idle_timeout_ms), Counter::Idle)
                });
                // Somebody may sit before one that has greeted.
                let is_silent = client.phase == Phase::Silent && !client.session.is_native();
                let silent = is_silent.then(|| {
                    (after(connection.last_heard, limits.silent_timeout_ms), Counter::Idle)
                });
                request.into_iter().chain(idle).chain(silent).min()
            }
        }
    }

    /// Brings the sum of what clients hold up to date, and keeps it within its bound.
    pub(super) fn account(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let held = connection.held_bytes();
        self.client_memory = self.client_memory - connection.accounted + held;
        connection.accounted = held;
        while self.client_memory as u64 > self.config.limits.max_client_memory_bytes {
            let largest = self.table.iter().max_by_key(|(_, one)| one.accounted);
            let Some((key, connection)) = largest else { return };
            let (addr, held) = (connection.addr, connection.accounted);
            let unread = connection.out.len() > connection.inbox.len();
            let (cause, what) = if unread {
                (Counter::NotReading, "unread replies")
            } else {
                (Counter::InputMemory, "half-received requests")
            };
            self.tell(cause, format_args!("{addr} is closed: it holds {held} bytes of {what}"));
            self.close(key);
        }
    }
}

fn describe(state: &State) -> &'static str {
    match state {
        State::Greeting => "it did not greet in time",
        State::Claiming(_) => "it did not prove in time that it is the peer that it says it is",
        State::Dialing(_) | State::Greeted(_) => "it did not answer in time",
        State::Link(..) => "the link is silent",
        State::Client(client) if client.session.outstanding == 0 => {
            "it was silent, or its request did not arrive in time"
        }
        State::Client(_) => "it took too long",
        State::Parting(_) => "it did not read in time why it is refused",
    }
}
