//! Who takes part in a run: what a property asks before any run, to refuse what none can show.

use crate::config::{Config, Listener};
use crate::plugins::Plugins;
use node_core::FactKind;

/// The nodes of a scenario, and whose clients it has.
pub struct Cast<'a> {
    /// The nodes' configs.
    pub nodes: &'a [Config],
    /// What they can run.
    pub plugins: &'a Plugins,
    /// The protocol whose clients take part; none where nodes act by themselves.
    pub clients_of: Option<&'static str>,
}

impl Cast<'_> {
    /// Whether every node runs a protocol.
    pub fn all_run(&self, protocol: &str) -> bool {
        self.nodes.iter().all(|node| node.protocols.iter().any(|one| one == protocol))
    }

    /// Refuses nodes where nobody listens to what clients of a protocol speak.
    ///
    /// # Errors
    /// Which node does not, in one line.
    pub fn listens(&self, nodes: &[Config], gateway: &str, protocol: &str) -> Result<(), String> {
        let serves = |one: &Listener| {
            one.gateway == gateway && one.protocol.as_deref().is_none_or(|name| name == protocol)
        };
        match nodes.iter().find(|node| !node.listeners.iter().any(serves)) {
            None => Ok(()),
            Some(node) => Err(format!(
                "workload: wire: node {} has no listener with gateway = \"{gateway}\"",
                node.id
            )),
        }
    }

    /// What is missing where no node publishes facts of a kind.
    pub fn lacks_publisher(&self, kind: FactKind) -> Option<String> {
        let names = self.plugins.publishers(kind);
        let publishes = |one: &String| names.iter().any(|name| one == name);
        let any = self.nodes.iter().any(|node| node.protocols.iter().any(publishes));
        (!any).then(|| format!("is judged where a node runs {}", names.join(" or ")))
    }

    /// What is missing where there is only one node.
    pub fn lacks_others(&self, what: &str) -> Option<String> {
        (self.nodes.len() < 2).then(|| format!("is judged of several {what}"))
    }

    /// What is missing where no clients of a protocol take part; `whose` and `run` say whose, and how
    /// there are some.
    pub fn lacks_clients(&self, protocol: &str, whose: &str, run: &str) -> Option<String> {
        let has = self.clients_of == Some(protocol);
        (!has).then(|| format!("is judged by what {whose} see: let {run}"))
    }
}
