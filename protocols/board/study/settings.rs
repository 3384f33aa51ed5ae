//! What a scenario says of the board's clients, and whom they talk to.

use super::wire::Wire;
use node_lab::config::Config;
use node_protocols::board::{Board, Role};
use serde::Deserialize;

/// What clients do: the table `[workload.board]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many clients.
    pub clients: u32,
    /// How many posts each sends.
    pub operations: u32,
    /// Under how many topics.
    pub topics: u64,
    /// The longest pause between two posts of a client, in milliseconds.
    pub think_ms: u64,
    /// When a client gives up an answer, in milliseconds.
    pub timeout_ms: u64,
    /// How many of a hundred posts lose their connection on the way or on the way back.
    pub cut_percent: u64,
    /// How many of a hundred posts are followed by a time in which their client does not read what
    /// it listens to.
    pub doze_percent: u64,
    /// The longest such time, in milliseconds.
    pub doze_ms: u64,
    /// What the clients speak, through the gateway's codec and in pieces that the seed cuts;
    /// without, their requests and replies are typed.
    pub wire: Option<Wire>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            clients: 4,
            operations: 30,
            topics: 2,
            think_ms: 1_000,
            timeout_ms: 5_000,
            cut_percent: 0,
            doze_percent: 0,
            doze_ms: 5_000,
            wire: None,
        }
    }
}

/// Bounds that keep a run finite.
pub(super) const MAX_CLIENTS: u32 = 1_000;
const MAX_OPERATIONS: u32 = 10_000;
const MAX_TOPICS: u64 = 100;

impl Settings {
    /// What of them makes no sense in a run of so many milliseconds.
    pub fn check(&self, millis: u64, settle_millis: u64) -> Result<(), String> {
        if !(1..=MAX_CLIENTS).contains(&self.clients)
            || self.operations > MAX_OPERATIONS
            || !(1..=MAX_TOPICS).contains(&self.topics)
        {
            return Err(format!(
                "workload: clients 1 to {MAX_CLIENTS}, operations at most {MAX_OPERATIONS}, \
                 topics 1 to {MAX_TOPICS}"
            ));
        }
        if self.cut_percent > 100 || self.doze_percent > 100 || self.timeout_ms == 0 {
            return Err(
                "workload: cut_percent and doze_percent at most 100, timeout_ms at least 1".into(),
            );
        }
        let pauses = u64::from(self.operations).saturating_mul(self.think_ms);
        if self.timeout_ms.max(self.doze_ms) > settle_millis || pauses > millis + settle_millis {
            return Err("workload: operations times think_ms must fit into seconds and \
                        settle_seconds, and timeout_ms and doze_ms into settle_seconds, or \
                        clients would not come to an end"
                .into());
        }
        Ok(())
    }
}

/// Whom clients talk to: the places of the nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Roles {
    pub(super) broker: usize,
    pub(super) proxy: usize,
}

impl Roles {
    /// Those that the nodes' configs give; none where no node runs the board.
    pub fn read(nodes: &[Config]) -> Result<Option<Roles>, String> {
        let (mut brokers, mut proxies, mut runs) = (Vec::new(), Vec::new(), false);
        for (place, node) in nodes.iter().enumerate() {
            let Some(config) = node.of::<Board>() else { continue };
            runs = true;
            match config.role {
                Role::Broker => brokers.push(place),
                Role::Proxy => proxies.push(place),
                _ => {}
            }
        }
        match (&brokers[..], &proxies[..]) {
            _ if !runs => Ok(None),
            ([broker], [proxy]) => Ok(Some(Roles { broker: *broker, proxy: *proxy })),
            _ => Err("nodes: a board that is simulated has one broker and one proxy".into()),
        }
    }

    /// The places of the nodes that clients who speak so talk to in bytes.
    pub fn spoken_to(&self, wire: Wire) -> Vec<usize> {
        match wire {
            Wire::Json => vec![self.broker, self.proxy],
            Wire::Nats => vec![self.proxy],
        }
    }
}
