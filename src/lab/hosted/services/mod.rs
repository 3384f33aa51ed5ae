//! What Maelstrom calls services (`doc/services.md` there): stores and a clock that programs may
//! build on, each a pure machine that answers one request after the other, as its seed has it. Knows
//! no process, no network and no time.

mod lin_kv;
mod lin_tso;
mod lww_kv;
mod seq_kv;
mod store;
#[cfg(test)]
mod tests;

use self::lin_kv::LinKv;
use self::lin_tso::LinTso;
use self::lww_kv::LwwKv;
use self::seq_kv::SeqKv;
use super::body::Body;
use node_core::Rng;

/// Something that answers programs.
pub trait Service {
    /// The answer to what a program asks, which has the service's state changed. All that it leaves
    /// to chance comes from `rng`.
    fn ask(&mut self, from: &str, body: &Body<'_>, rng: &mut Rng) -> Body<'static>;
}

/// The names of all services: what programs send to.
pub const NAMES: [&str; 4] = ["lin-kv", "seq-kv", "lww-kv", "lin-tso"];

/// The service of that name, as it is before anybody asks it.
pub fn service(name: &str) -> Option<Box<dyn Service>> {
    match name {
        "lin-kv" => Some(Box::new(LinKv::default())),
        "seq-kv" => Some(Box::new(SeqKv::default())),
        "lww-kv" => Some(Box::new(LwwKv::default())),
        "lin-tso" => Some(Box::new(LinTso::default())),
        _ => None,
    }
}
