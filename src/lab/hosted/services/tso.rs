//! `lin-tso`: an oracle of timestamps, each larger than all before.

use super::Service;
use super::kv::error;
use crate::hosted::body::Body;
use node_core::Rng;
use serde_json::json;

/// The oracle.
#[derive(Default)]
pub(super) struct LinTso {
    next: u64,
}

impl Service for LinTso {
    fn ask(&mut self, _: &str, body: &Body<'_>, _: &mut Rng) -> Body<'static> {
        if body.kind() != "ts" {
            return error(10, &format!("{}: the oracle takes ts", body.kind()));
        }
        self.next += 1;
        Body::of(&json!({"type": "ts_ok", "ts": self.next - 1}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_ascend() {
        let mut tso = LinTso::default();
        let mut ask =
            |kind| tso.ask("n0", &Body::of(&json!({"type": kind})), &mut Rng::stream(1, "t"));
        assert_eq!(ask("ts").text(), r#"{"ts":0,"type":"ts_ok"}"#);
        assert_eq!(ask("ts").text(), r#"{"ts":1,"type":"ts_ok"}"#);
        assert!(ask("read").text().contains(r#""code":10"#));
    }
}
