//! What can be seen of nodes' states, as far as it has changed.

use super::Event;
use node_core::Host;
use std::collections::BTreeMap;

/// What was last written of each node's protocols, in config order: JSON, or nothing.
#[derive(Default)]
pub(super) struct Views(BTreeMap<u32, Vec<Option<String>>>);

impl Views {
    /// A node that starts shows everything.
    pub(super) fn forget(&mut self, node: u32) {
        self.0.remove(&node);
    }

    /// The views that have changed, as events.
    pub(super) fn changed(&mut self, node: u32, host: &Host) -> Vec<Event<'static>> {
        let last = self.0.entry(node).or_default();
        last.resize(host.protocols().len(), None);
        let mut events = Vec::new();
        for (last, protocol) in last.iter_mut().zip(host.protocols()) {
            let Some(view) = protocol.view() else { continue };
            if last.as_deref() == Some(&view[..]) {
                continue;
            }
            if let Ok(value) = serde_json::from_str(&view) {
                events.push(Event::View { protocol: protocol.name().into(), value });
            }
            *last = Some(view);
        }
        events
    }
}
