//! `lin-kv`: a linearizable store. Each request takes place when it arrives, on the one state there
//! is.

use super::Service;
use super::store::{Ask, Value};
use crate::hosted::Body;
use node_core::Rng;
use std::collections::BTreeMap;

/// The store.
#[derive(Default)]
pub(super) struct LinKv(BTreeMap<String, Value>);

impl Service for LinKv {
    fn ask(&mut self, _: &str, body: &Body<'_>, _: &mut Rng) -> Body<'static> {
        let ask = match Ask::of(body) {
            Ok(ask) => ask,
            Err(refusal) => return refusal,
        };
        let (written, answer) = ask.apply(self.0.get(&ask.key));
        if let Some(value) = written {
            self.0.insert(ask.key, value);
        }
        answer
    }
}
