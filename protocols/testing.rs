//! What tests of several protocols share.

use crate::core::{Env, NodeId, Protocol, brief_of};
use ::core::fmt::{self, Write};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// A node of three.
pub(crate) fn env(id: u32) -> Env {
    let peers: Vec<NodeId> = (1..=3).map(NodeId).filter(|peer| peer.0 != id).collect();
    Env { id: NodeId(id), peers, incarnation: 5, identity: 1, seed: 1, durable: true }
}

/// The view as JSON.
pub(crate) fn view<P: Protocol>(protocol: &P) -> String {
    serde_json::to_string(&protocol.view()).expect("a view has a form in JSON")
}

/// What `write` writes of these, and what it should.
pub(crate) fn assert_briefs<T>(
    write: impl Fn(&T, &mut dyn Write) -> fmt::Result,
    briefs: &[(T, &str)],
) {
    for (what, expected) in briefs {
        let brief = brief_of(|out| write(what, out));
        assert_eq!(brief, Some(expected.to_string()));
    }
}
