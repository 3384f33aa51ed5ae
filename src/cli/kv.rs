//! `node kv`: the client.
