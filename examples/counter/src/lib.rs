//! `counter`: how often anybody added to it, at any node; a protocol of somebody else's.
//!
//! ```text
//!   client        node              the others
//!     │  add n      │                   │
//!     ├────────────►│ own share += n    │
//!     │◄────────────┤ Share n           │
//!     │  the total  ├──────────────────►│ share of that node = max(known, n)
//! ```
//!
//! A grow-only counter (Shapiro et al., "A comprehensive study of Convergent and Commutative
//! Replicated Data Types", 2011): each node counts its own share and knows the others' from what
//! they say. Losing, repeating or reordering messages does no harm, since shares only grow and
//! are said again from time to time. Nodes do not stop, or their share is lost.

use node_protocols::core::{Caller, ConfigError, Context, Env, Never, NodeId, Protocol};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The table `[protocols.counter]`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How often a node says its share again, in milliseconds.
    #[serde(default = "default_gossip_ms")]
    pub gossip_ms: u64,
}

fn default_gossip_ms() -> u64 {
    1_000
}

/// A node's own share.
#[derive(Debug, Serialize, Deserialize)]
pub struct Share(pub u64);

/// When to say the share again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// Now.
    Gossip,
}

/// What clients ask.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Add to the counter.
    Add {
        /// How much.
        amount: u32,
    },
    /// Only read.
    Total {},
}

/// The counter as this node knows it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The sum of all shares.
    pub total: u64,
}

/// One node's knowledge.
pub struct Counter {
    gossip: Duration,
    me: NodeId,
    shares: BTreeMap<NodeId, u64>,
}

impl Protocol for Counter {
    const NAME: &'static str = "counter";
    type Config = Config;
    type Message<'a> = Share;
    type Record<'a> = Never;
    type Timer = Timer;
    type Request<'a> = Request;
    type Reply<'a> = Reply;

    fn new(config: Config, env: &Env) -> Result<Self, ConfigError> {
        if config.gossip_ms == 0 {
            return Err(ConfigError { key: "gossip_ms", rule: "it must be at least 1".into() });
        }
        let gossip = Duration::from_millis(config.gossip_ms);
        Ok(Counter { gossip, me: env.id, shares: BTreeMap::from([(env.id, 0)]) })
    }

    fn on_start(&mut self, cx: &mut Context<'_, Self>) {
        cx.set_timer(Timer::Gossip, self.gossip);
    }

    fn on_message(&mut self, from: NodeId, Share(theirs): Share, _: &mut Context<'_, Self>) {
        let known = self.shares.entry(from).or_default();
        *known = theirs.max(*known);
    }

    fn on_timer(&mut self, Timer::Gossip: Timer, cx: &mut Context<'_, Self>) {
        cx.broadcast(&Share(self.shares[&self.me]));
        cx.set_timer(Timer::Gossip, self.gossip);
    }

    fn on_request(&mut self, caller: Caller, request: Request, cx: &mut Context<'_, Self>) {
        if let Request::Add { amount } = request {
            let own = self.shares.entry(self.me).or_default();
            *own = own.saturating_add(u64::from(amount));
            cx.broadcast(&Share(*own));
        }
        let total = self.shares.values().fold(0, |sum: u64, share| sum.saturating_add(*share));
        cx.reply(caller.request, &Reply { total });
    }

    /// What a trace shows of a node, whenever it has changed.
    fn view(&self) -> impl Serialize {
        &self.shares
    }

    /// What stands at an arrow.
    fn brief(Share(share): &Share, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "SHARE {share}")
    }
}
