//! Whether whoever greets as a peer is that peer: the process that listens where this node's config
//! has it. It is dialled there and given a challenge, which it says over the connection on which it
//! greeted; nobody else hears it. Connections that say the same are told apart by one question, so
//! a crowd of them does not keep the peer out.

use super::connection::{Claim, State};
use super::table::Key;
use super::tracing::LinkNames;
use super::{Node, entropy};
use node_lab::wire::{Frame, MAX_HELLO_BYTES, Proof, next_frame};
use node_protocols::core::NodeId;
use std::time::Duration;

/// How many connections at once may say that they are one peer. The peer has one, and another when
/// it could not yet see the end of that; a question clears the others within moments.
const MAX_CLAIMS: usize = 16;

/// Proofs that wait to be sent in answer to questions that anybody can ask.
const MAX_PROOF_BYTES: usize = 64 << 10;

impl Node {
    /// Somebody greets as a peer. Answers why it is not even asked whether that is true.
    pub(super) fn claim(&mut self, key: Key, claim: Claim) -> Option<String> {
        let peer = self.connections.links.get(claim.peer)?;
        if peer.claims.len() >= MAX_CLAIMS {
            let id = claim.peer;
            return Some(format!(
                "{MAX_CLAIMS} connections say that they are node {id}; try again"
            ));
        }
        self.connections.turn_into(key, State::Claiming(claim), self.now.time);
        self.connections.sweep_within(self.config.limits.greeting_timeout_ms, self.now.time);
        self.connections.links.check_soon(claim.peer);
        None
    }

    /// The peer is being asked: all that say they are it wait for its answer. Gives the challenge.
    pub(super) fn ask_claims(&mut self, id: NodeId) -> u128 {
        for key in self.connections.claims(id) {
            if let Some(connection) = self.connections.get_mut(key)
                && let State::Claiming(claim) = &mut connection.state
            {
                claim.asked = true;
            }
        }
        let Some(peer) = self.connections.links.get_mut(id) else { return entropy() };
        // The same until it is answered: its answer may be under way while it is asked again.
        *peer.challenge.get_or_insert_with(entropy)
    }

    /// A peer asks whether this node is greeting it.
    pub(super) fn prove(&mut self, key: Key, id: NodeId, challenge: u128) {
        let greeted = self.connections.links.get(id).and_then(|peer| peer.greeted);
        let waiting = greeted.and_then(|key| Some((key, self.connections.get(key)?.out.len())));
        let Some((dialed, waiting)) = waiting else { return self.deny(key, id) };
        if waiting < MAX_PROOF_BYTES {
            self.connections.say(dialed, &Proof { challenge });
        }
        if self.connections.links.asked(id)
            && let Some(connection) = self.connections.get_mut(dialed)
        {
            // It has as long again.
            connection.last_heard = self.now.time;
        }
        self.answer_once(key);
    }

    /// A peer asks about a greeting that is not this node's.
    fn deny(&mut self, key: Key, id: NodeId) {
        let (me, timeout) = (self.env.id, self.config.limits.greeting_timeout_ms);
        let lately = Duration::from_millis(2 * timeout);
        if self.connections.links.greeted_within(id, lately, self.now.time) {
            // Perhaps it asks late, about one that this node gave up.
            self.refuse(key, &format!("node {me} is not greeting node {id} now; try again"));
            return;
        }
        let why = format!(
            "another process says to node {id} that it is node {me}: stop that one, or give it an id \
             and a data_dir of its own"
        );
        self.reject_news(key, id, &[], &why);
    }

    /// A node of a higher id asks why this one has not dialled it. Answers that another has its
    /// place.
    pub(super) fn knocked(&mut self, key: Key, id: NodeId, process: (u128, u64)) -> Option<String> {
        let links = &self.connections.links;
        if links.get(id).is_some_and(|peer| peer.link.is_some() && peer.process != process) {
            let (addr, me) = (links.addr(id), self.env.id);
            return Some(format!(
                "another process is node {id}, at {addr}, where [peers] of node {me} has it: stop one \
                 of them, or give this one an id and a data_dir of its own"
            ));
        }
        // It is dialled when it is time.
        self.answer_once(key);
        None
    }

    fn answer_once(&mut self, key: Key) {
        self.welcome(key, State::Parting(self.now.time));
    }

    /// What came over a connection that says it is a peer.
    pub(super) fn on_proof(&mut self, key: Key, claim: Claim, data: &[u8]) -> usize {
        let (payload, used) = match next_frame(data, MAX_HELLO_BYTES) {
            Frame::Incomplete => return 0,
            Frame::TooLong { .. } => (&[][..], data.len()),
            Frame::Whole { payload, used } => (payload, used),
        };
        let Ok((Proof { challenge }, [])) = postcard::take_from_bytes(payload) else {
            let why = "it goes on before it has proved that it is the peer that it says it is";
            return self.reject_news(key, claim.peer, data, why);
        };
        // Anybody can have the peer say something else here.
        if self
            .connections
            .links
            .get(claim.peer)
            .is_some_and(|peer| peer.challenge == Some(challenge))
            && let Some(why) = self.take_link(key, claim)
        {
            return self.reject_news(key, claim.peer, data, &why);
        }
        used
    }

    /// The connection is the peer's: it becomes the link. Answers why not.
    fn take_link(&mut self, key: Key, claim: Claim) -> Option<String> {
        let Claim { peer: id, identity, incarnation, dial, lamport, .. } = claim;
        let peer = self.connections.links.get(id)?;
        if peer.link.is_some() && peer.process.0 != identity {
            // A name in [peers] can stand for several machines, and an end may not be seen yet.
            return Some(format!(
                "another process is linked as node {id}: stop one of them, or wait until that link \
                 is given up"
            ));
        }
        if let Some(why) = self.catch_up(lamport) {
            return Some(why);
        }
        self.welcome(key, State::Link(id, LinkNames::new(id, incarnation, dial)));
        self.link_up(key, id, (identity, incarnation));
        // Whoever else said so when the peer was asked is not.
        let why = format!(
            "node {id} is linked over another connection: this is another process; stop it, or give \
             it an id and a data_dir of its own"
        );
        self.refuse_asked(id, &why);
        None
    }

    /// The peer says that it is greeting this node: the proof is under way.
    pub(super) fn confirmed(&mut self, key: Key, id: NodeId) {
        self.connections.links.checked(id, true, self.now.time);
        self.close(key);
        self.check_the_rest(id);
    }

    /// Whoever listens where this node's config has the peer does not say that it is greeting.
    pub(super) fn denied(&mut self, key: Key, id: NodeId, answer: &str) {
        self.connections.links.checked(id, true, self.now.time);
        self.close(key);
        let (addr, me) = (self.connections.links.addr(id), self.env.id);
        let why = format!(
            "node {id} at {addr}, where [peers] of node {me} has it, was asked whether this is it; \
             {answer}"
        );
        self.refuse_asked(id, &why);
        self.check_the_rest(id);
    }

    /// The connection over which a peer was asked is gone. Nobody can say that it is that peer.
    pub(super) fn check_failed(&mut self, id: NodeId) {
        self.connections.links.checked(id, false, self.now.time);
        self.ask_claims(id);
        let (addr, me) = (self.connections.links.addr(id), self.env.id);
        let why = format!(
            "node {id} does not answer at {addr}, where [peers] of node {me} has it: this is another \
             process, or it listens elsewhere"
        );
        self.refuse_asked(id, &why);
    }

    /// Asks again for those that came while the peer was being asked.
    fn check_the_rest(&mut self, id: NodeId) {
        if self.connections.claims(id).into_iter().any(|key| self.was_asked(key) == Some(false)) {
            self.connections.links.check_soon(id);
        }
    }

    fn refuse_asked(&mut self, id: NodeId, why: &str) {
        for key in self.connections.claims(id) {
            if self.was_asked(key) == Some(true) {
                self.reject_news(key, id, &[], why);
            }
        }
    }

    /// Whether the peer was asked since a connection said that it is it.
    fn was_asked(&self, key: Key) -> Option<bool> {
        match self.connections.get(key)?.state {
            State::Claiming(claim) => Some(claim.asked),
            _ => None,
        }
    }
}
