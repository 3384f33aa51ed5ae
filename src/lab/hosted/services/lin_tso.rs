//! `lin-tso`: a linearizable source of timestamps, which only ever rise.

use super::Service;
use super::store::{refusal, shown};
use crate::hosted::Body;
use node_core::Rng;

/// The next timestamp.
#[derive(Default)]
pub(super) struct LinTso(u64);

impl Service for LinTso {
    fn ask(&mut self, _: &str, body: &Body<'_>, _: &mut Rng) -> Body<'static> {
        let kind = body.kind();
        if kind != "ts" {
            let text = format!("this service does ts, and not {}", shown(&kind));
            return refusal(10, &text);
        }
        let ts = self.0;
        self.0 += 1;
        Body::of(&serde_json::json!({ "type": "ts_ok", "ts": ts }))
    }
}
