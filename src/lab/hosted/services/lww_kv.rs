//! `lww-kv`: a store of several replicas that answer each by itself, and now and then take over
//! from each other what was written last by their clocks, which do not quite agree. What is written
//! may be gone, come back, and be gone again.

use super::Service;
use super::kv::{Json, apply, read};
use crate::hosted::body::Body;
use node_core::Rng;
use std::collections::BTreeMap;

/// Replicas.
const REPLICAS: usize = 5;
/// One of so many requests has two replicas exchange what they have.
const EXCHANGES: u64 = 8;
/// How far a replica's clock is behind at most, in requests.
const SKEW: u64 = 4;

/// The store.
#[derive(Default)]
pub(super) struct LwwKv {
    /// How many requests there were: the time.
    now: u64,
    replicas: [BTreeMap<String, (Stamp, Json)>; REPLICAS],
}

/// When something was written, by its replica's clock, and its number among all requests: no two
/// are equal, or replicas would never agree on one key.
type Stamp = (u64, u64);

impl Service for LwwKv {
    fn ask(&mut self, _: &str, body: &Body<'_>, rng: &mut Rng) -> Body<'static> {
        self.now += 1;
        let replica = rng.below(REPLICAS as u64) as usize;
        let late = rng.below(SKEW + 1);
        let (from, to) = (rng.below(REPLICAS as u64) as usize, rng.below(REPLICAS as u64) as usize);
        if rng.below(EXCHANGES) == 0 {
            self.exchange(from, to);
        }
        let (key, op) = match read(body) {
            Ok(asked) => asked,
            Err(error) => return error,
        };
        let values = &mut self.replicas[replica];
        let (answer, change) = apply(&op, values.get(&key).map(|(_, value)| value));
        if let Some(value) = change {
            values.insert(key, ((self.now.saturating_sub(late), self.now), value));
        }
        answer
    }
}

impl LwwKv {
    fn exchange(&mut self, from: usize, to: usize) {
        for (key, (stamp, value)) in self.replicas[from].clone() {
            let is_newer = self.replicas[to].get(&key).is_none_or(|(other, _)| *other < stamp);
            if is_newer {
                self.replicas[to].insert(key, (stamp, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn writes_are_lost_for_some_readers_and_agreed_upon_in_the_end() {
        let (mut kv, mut rng) = (LwwKv::default(), Rng::stream(3, "test"));
        let ask = |kv: &mut LwwKv, body, rng: &mut Rng| {
            kv.ask("n0", &Body::of(&body), rng).text().to_string()
        };
        let read = || json!({"type": "read", "key": 1});
        let mut lost = 0;
        for n in 0..50 {
            ask(&mut kv, json!({"type": "write", "key": 1, "value": n}), &mut rng);
            let told = ask(&mut kv, read(), &mut rng);
            lost += u32::from(told != format!(r#"{{"type":"read_ok","value":{n}}}"#));
        }
        assert!(lost > 5, "{lost}");
        for _ in 0..500 {
            ask(&mut kv, read(), &mut rng);
        }
        let told = ask(&mut kv, read(), &mut rng);
        assert!((0..20).all(|_| ask(&mut kv, read(), &mut rng) == told));
    }
}
