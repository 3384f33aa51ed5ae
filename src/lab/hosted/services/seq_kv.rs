//! `seq-kv`: a store that is only sequentially consistent (Lamport, 1979). All operations have one
//! order, in which each client's own keep theirs; but an operation need not have its place when it
//! arrives.
//!
//! A state has a number, that of the changes before it. A client has seen the states up to one.
//! What changes nothing in some state from there on, and no more than some behind the newest, may
//! have its place there; what changes something has it behind all others. So a read may be old, a
//! failed compare-and-set too, and a write that changes nothing lands in the past.

use super::Service;
use super::kv::{Json, apply, read};
use crate::hosted::body::Body;
use node_core::Rng;
use std::collections::BTreeMap;

/// So many changes an answer is old at most.
const OLDEST: u64 = 32;

/// The store.
#[derive(Default)]
pub(super) struct SeqKv {
    /// The number of the newest state.
    newest: u64,
    /// Of each key, its values, each with the state that first had it; ascending.
    values: BTreeMap<String, Vec<(u64, Json)>>,
    /// The states that clients have seen.
    seen: BTreeMap<String, u64>,
}

impl SeqKv {
    fn value(&self, key: &str, state: u64) -> Option<&Json> {
        let values = self.values.get(key)?;
        let (_, value) = values.iter().rev().find(|(first, _)| *first <= state)?;
        Some(value)
    }
}

impl Service for SeqKv {
    fn ask(&mut self, from: &str, body: &Body<'_>, rng: &mut Rng) -> Body<'static> {
        let (key, op) = match read(body) {
            Ok(asked) => asked,
            Err(error) => return error,
        };
        let seen = self.seen.get(from).copied().unwrap_or(0);
        let oldest = seen.max(self.newest.saturating_sub(OLDEST));
        // Half of all answers are as new as can be.
        let is_old = rng.below(2) == 0;
        let back = rng.below(self.newest - oldest + 1);
        let state = if is_old { self.newest - back } else { self.newest };
        let value = self.value(&key, state);
        let (answer, change) = apply(&op, value);
        if change.as_ref().is_none_or(|change| Some(change) == value) {
            self.seen.insert(from.into(), state);
            return answer;
        }
        let (answer, change) = apply(&op, self.value(&key, self.newest));
        if let Some(change) = change {
            self.newest += 1;
            let values = self.values.entry(key).or_default();
            values.push((self.newest, change));
            // Of what nobody can be given any more, the last is still there.
            let first = self.newest.saturating_sub(OLDEST);
            let gone = values.iter().skip(1).take_while(|(state, _)| *state <= first).count();
            values.drain(..gone);
        }
        self.seen.insert(from.into(), self.newest);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ask(kv: &mut SeqKv, from: &str, body: serde_json::Value, rng: &mut Rng) -> String {
        kv.ask(from, &Body::of(&body), rng).text().to_string()
    }

    /// Two writers count up, each a key of its own; a third reads both. What it sees of one key
    /// never goes back, some of it is old, and the writers see their own.
    #[test]
    fn a_client_goes_ahead_alone_and_is_behind_others_sometimes() {
        let mut old = 0;
        for seed in 0..50 {
            let (mut kv, mut rng) = (SeqKv::default(), Rng::stream(seed, "test"));
            let mut last = [0, 0];
            for n in 1..40u64 {
                for (place, who) in [(0, "n0"), (1, "n1")] {
                    let write = json!({"type": "write", "key": place, "value": n});
                    ask(&mut kv, who, write, &mut rng);
                    let own = ask(&mut kv, who, json!({"type": "read", "key": place}), &mut rng);
                    assert_eq!(own, format!(r#"{{"type":"read_ok","value":{n}}}"#));
                    let seen = ask(&mut kv, "n2", json!({"type": "read", "key": place}), &mut rng);
                    let Some(rest) = seen.strip_prefix(r#"{"type":"read_ok","value":"#) else {
                        continue;
                    };
                    let seen: u64 = rest.trim_end_matches('}').parse().unwrap();
                    assert!(seen >= last[place] && seen <= n, "{seen} after {}", last[place]);
                    last[place] = seen;
                    old += u64::from(seen < n);
                }
            }
        }
        assert!(old > 100, "{old}");
    }

    /// The example of Maelstrom's document, which is legal there.
    #[test]
    fn a_write_that_changes_nothing_in_the_past_has_its_place_there() {
        let mut found = false;
        for seed in 0..200 {
            let (mut kv, mut rng) = (SeqKv::default(), Rng::stream(seed, "test"));
            let write = || json!({"type": "write", "key": "x", "value": 1});
            ask(&mut kv, "n1", write(), &mut rng);
            ask(&mut kv, "n2", json!({"type": "cas", "key": "x", "from": 1, "to": 2}), &mut rng);
            ask(&mut kv, "n1", write(), &mut rng);
            let seen = ask(&mut kv, "n2", json!({"type": "read", "key": "x"}), &mut rng);
            found |= seen.contains(":2");
        }
        assert!(found);
    }
}
