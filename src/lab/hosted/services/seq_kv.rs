//! `seq-kv`: a store that is sequentially consistent (Lamport 1979), and no more.
//!
//! There is a total order of states, each made of the one before by one update. A client stands at
//! one of them. What it asks meets, by the seed, any state from there to the newest, and that is
//! where it stands then: so it never goes back, and sees what it wrote itself. An update that leaves
//! that old state as it is takes place there. Any other could contradict what others saw of the
//! states after it, so it takes place on the newest, and makes the next one.
//!
//! ```text
//! n1 writes x = 1        state 1
//! n2 cas x 1 -> 2        state 2
//! n1 writes x = 1        on state 1, where it changes nothing: n1 is still there
//! n2 reads x = 2         state 2
//! ```

use super::Service;
use super::store::{Ask, Value};
use crate::hosted::Body;
use node_core::Rng;
use std::collections::BTreeMap;

/// How many states can be met: as many as in Maelstrom (`src/maelstrom/service.clj`).
const STATES: u64 = 32;

/// The store.
#[derive(Default)]
pub(super) struct SeqKv {
    /// The number of the newest state.
    newest: u64,
    /// What each key became, and in which state, in ascending order. Of those that no state can
    /// show any more, the last one stays.
    pub(super) versions: BTreeMap<String, Vec<(u64, Value)>>,
    /// Where each client stands.
    clients: BTreeMap<String, u64>,
}

impl SeqKv {
    /// A key's value in a state.
    fn value(&self, key: &str, state: u64) -> Option<&Value> {
        let versions = self.versions.get(key)?;
        versions.iter().rev().find(|(since, _)| *since <= state).map(|(_, value)| value)
    }

    fn oldest(&self) -> u64 {
        (self.newest + 1).saturating_sub(STATES)
    }

    fn write(&mut self, key: String, value: Value) {
        self.newest += 1;
        let (newest, oldest) = (self.newest, self.oldest());
        let versions = self.versions.entry(key).or_default();
        versions.push((newest, value));
        let gone = versions.iter().filter(|(since, _)| *since <= oldest).count();
        versions.drain(..gone.saturating_sub(1));
    }
}

impl Service for SeqKv {
    fn ask(&mut self, from: &str, body: &Body<'_>, rng: &mut Rng) -> Body<'static> {
        let ask = match Ask::of(body) {
            Ok(ask) => ask,
            Err(refusal) => return refusal,
        };
        let stands = self.clients.get(from).copied().unwrap_or_default().max(self.oldest());
        let meets = stands + rng.below(self.newest - stands + 1);
        let value = self.value(&ask.key, meets);
        let (written, answer) = ask.apply(value);
        if written.is_none() || written.as_ref() == value {
            self.clients.insert(from.into(), meets);
            return answer;
        }
        let value = self.value(&ask.key, self.newest);
        let (written, answer) = ask.apply(value);
        if let Some(written) = written.filter(|written| Some(written) != value) {
            self.write(ask.key, written);
        }
        self.clients.insert(from.into(), self.newest);
        answer
    }
}
