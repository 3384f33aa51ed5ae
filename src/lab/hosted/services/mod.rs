//! Stub.
use super::body::Body;
use node_core::Rng;
/// Stub.
pub trait Service {
    /// Stub.
    fn ask(&mut self, from: &str, body: &Body<'_>, rng: &mut Rng) -> Body<'static>;
}
/// Stub.
pub const NAMES: [&str; 4] = ["lin-kv", "seq-kv", "lww-kv", "lin-tso"];
struct Nothing;
impl Service for Nothing {
    fn ask(&mut self, _: &str, _: &Body<'_>, _: &mut Rng) -> Body<'static> {
        Body::of(&serde_json::json!({"type": "error", "code": 10}))
    }
}
/// Stub.
pub fn service(name: &str) -> Option<Box<dyn Service>> {
    NAMES.contains(&name).then(|| Box::new(Nothing) as Box<dyn Service>)
}
