//! What happens because time passes or memory runs short: timers, heartbeats, deadlines of
//! connections, the bound on what clients hold.

use super::Node;
use super::table::Key;
use node_protocols::core::Counter;
use std::time::Duration;

impl Node {
    pub(super) fn on_time(&mut self) {
        if self.host.deadline().is_some_and(|at| at <= self.now.time) {
            self.host.handle_timers(self.now);
        }
        if self.draining.is_none() {
            self.dial_due();
        }
        self.heartbeat();
        self.sweep();
    }

    /// Gives up links that are silent.
    fn heartbeat(&mut self) {
        let timeout = Duration::from_millis(self.config.limits.link_timeout_ms);
        for (key, peer) in self.connections.heartbeat(self.now.time) {
            log::warn!(target: "net", "node {peer} was silent for {timeout:?}: the link is given up");
            self.close(key);
        }
    }

    /// Closes connections that took too long.
    fn sweep(&mut self) {
        for (key, cause) in self.connections.late(self.now.time) {
            let Some(connection) = self.connections.get(key) else { continue };
            let (addr, what) = (connection.addr, connection.state.lateness());
            self.tell(cause, format_args!("{addr} is closed: {what}"));
            self.close(key);
        }
    }

    /// Brings the sum of what clients hold up to date, and keeps it within its bound.
    pub(super) fn account(&mut self, key: Key) {
        self.connections.account(key);
        while let Some((key, connection)) = self.connections.largest_of_too_much() {
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
