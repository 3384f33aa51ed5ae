//! What is asked: which operation, which key, which value. Drawn from one seed.

use node_protocols::core::Rng;
use std::io::Write;

/// An operation's kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// PUT.
    Put,
    /// GET.
    Get,
}

/// The source of operations. It keeps one buffer for keys and one for values.
pub struct Workload {
    rng: Rng,
    /// What keys begin with.
    prefix: String,
    seed: u64,
    keys: u32,
    put_percent: u8,
    value_bytes: usize,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Workload {
    /// `put_percent` of the operations are PUTs; keys are drawn evenly from `keys`. With
    /// `own_keys` they are no other run's, as checkers need, who begin with an empty store.
    pub fn new(
        seed: u64,
        keys: u32,
        put_percent: u8,
        value_bytes: usize,
        own_keys: bool,
    ) -> Workload {
        let prefix = if own_keys { format!("key-{seed:x}-") } else { "key-".into() };
        let rng = Rng::stream(seed, "bench/kv");
        let (key, value) = (Vec::new(), Vec::new());
        Workload { rng, prefix, seed, keys, put_percent, value_bytes, key, value }
    }

    /// The next operation: its kind and its key's number.
    pub fn draw(&mut self) -> (Kind, u32) {
        let put = self.rng.below(100) < u64::from(self.put_percent);
        let key = self.rng.below(u64::from(self.keys)) as u32;
        (if put { Kind::Put } else { Kind::Get }, key)
    }

    /// The bytes of a key.
    pub fn key(&mut self, key: u32) -> &[u8] {
        fill_key(&mut self.key, &self.prefix, key);
        &self.key
    }

    /// The bytes of a key, and of the value that `client` writes as its operation `number`: no
    /// two are equal, nor equal to those of a run with another seed while there is room for it.
    pub fn key_and_value(&mut self, key: u32, client: u32, number: u64) -> (&[u8], &[u8]) {
        fill_key(&mut self.key, &self.prefix, key);
        fill_value(&mut self.value, client, number, self.seed, self.value_bytes);
        (&self.key, &self.value)
    }
}

fn fill_key(out: &mut Vec<u8>, prefix: &str, key: u32) {
    out.clear();
    // A Vec takes every write.
    let _ = write!(out, "{prefix}{key}");
}

fn fill_value(out: &mut Vec<u8>, client: u32, number: u64, seed: u64, bytes: usize) {
    out.clear();
    let _ = write!(out, "{client}-{number}");
    if out.len() < bytes {
        let _ = write!(out, "-{seed:x}");
        out.resize(bytes, b'.');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_its_operations_and_the_asked_share_of_puts() {
        let draw = |seed, percent| {
            let mut workload = Workload::new(seed, 10, percent, 8, false);
            (0..1000).map(|_| workload.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, 50), draw(1, 50));
        assert_ne!(draw(1, 50), draw(2, 50));
        assert!(draw(1, 100).iter().all(|(kind, key)| *kind == Kind::Put && *key < 10));
        assert!(draw(1, 0).iter().all(|(kind, _)| *kind == Kind::Get));
        let puts = draw(1, 30).iter().filter(|(kind, _)| *kind == Kind::Put).count();
        assert!((200..400).contains(&puts), "{puts}");
    }

    #[test]
    fn values_are_unique_and_as_long_as_asked_unless_that_is_too_short() {
        let mut workload = Workload::new(0xabc, 10, 100, 12, false);
        assert_eq!(workload.key_and_value(3, 1, 23), (&b"key-3"[..], &b"1-23-abc...."[..]));
        assert_eq!(workload.key_and_value(3, 12, 3).1, b"12-3-abc....");
        let mut short = Workload::new(0xabc, 10, 100, 2, false);
        assert_eq!(short.key_and_value(3, 1, 23).1, b"1-23");
        assert_eq!(Workload::new(0xabc, 10, 100, 2, true).key(3), b"key-abc-3");
    }
}
