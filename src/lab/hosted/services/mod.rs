//! The services beside programs, as Maelstrom has them (`doc/services.md` there): pure machines,
//! asked by messages. Knows no process, and no time.

mod kv;
mod lww_kv;
mod seq_kv;
#[cfg(test)]
mod tests;
mod tso;

use super::body::Body;
use node_core::Rng;

/// Something that answers each message at once.
pub trait Service {
    /// What it answers whoever is called `from`. What it may choose, `rng` chooses.
    fn ask(&mut self, from: &str, body: &Body<'_>, rng: &mut Rng) -> Body<'static>;
}

/// What they are called.
pub const NAMES: [&str; 4] = ["lin-kv", "seq-kv", "lww-kv", "lin-tso"];

/// The one of that name, with nothing in it.
pub fn service(name: &str) -> Option<Box<dyn Service>> {
    Some(match name {
        "lin-kv" => Box::new(kv::LinKv::default()),
        "seq-kv" => Box::new(seq_kv::SeqKv::default()),
        "lww-kv" => Box::new(lww_kv::LwwKv::default()),
        "lin-tso" => Box::new(tso::LinTso::default()),
        _ => return None,
    })
}
