//! What clients do in a run, and when the run is over.
//!
//! A scenario of the key-value store has its clients ([`store`]). Protocols that act by themselves
//! need none: their run is [`Watch`]ed for a while after everything is mended.

pub mod store;

use super::world::{Nanos, World};
use crate::check::history::{Op, Replica};

/// The clients of a run.
pub trait Workload {
    /// The client may go on.
    fn wake(&mut self, client: u32, world: &mut World);
    /// A reply reached the client.
    fn reply(&mut self, client: u32, sequence: u32, reply: &[u8], world: &mut World);
    /// The client's operation of that sequence has taken too long, unless it is over.
    fn timeout(&mut self, client: u32, sequence: u32, world: &mut World);
    /// The client's connection is gone.
    fn closed(&mut self, client: u32, world: &mut World);
    /// Everything is mended: is the run over? Asked every [`PROBE_EVERY`], until it is, or until
    /// `limit`.
    fn is_over(&mut self, world: &mut World, limit: Nanos) -> bool;
    /// Why the run is not over, for people.
    fn unsettled(&self, world: &World) -> String;
    /// What clients and replicas saw.
    fn take_history(&mut self, world: &World) -> (Vec<Op>, Vec<Replica>);
    /// Client and sequence of an operation of the history, as traces name them.
    fn name(&self, op: usize) -> Option<(u64, u32)>;
}

/// Long enough for a probe's answers to come.
pub const PROBE_EVERY: Nanos = 200_000_000;

/// No clients: the run is over when its time is.
pub struct Watch;

impl Workload for Watch {
    fn wake(&mut self, _: u32, _: &mut World) {}
    fn reply(&mut self, _: u32, _: u32, _: &[u8], _: &mut World) {}
    fn timeout(&mut self, _: u32, _: u32, _: &mut World) {}
    fn closed(&mut self, _: u32, _: &mut World) {}
    fn is_over(&mut self, world: &mut World, limit: Nanos) -> bool {
        world.now() >= limit
    }
    fn unsettled(&self, _: &World) -> String {
        String::new()
    }
    fn take_history(&mut self, _: &World) -> (Vec<Op>, Vec<Replica>) {
        (Vec::new(), Vec::new())
    }
    fn name(&self, _: usize) -> Option<(u64, u32)> {
        None
    }
}

/// What a wake-up of the world is for. Sequences tell a timeout of an operation that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token {
    /// The client may go on.
    Think(u32),
    /// The client's operation of that sequence has taken too long.
    Timeout(u32, u32),
    /// A fault of the plan begins.
    Begin(u32),
    /// It ends.
    End(u32),
    /// Look whether everything is in order again.
    Settle,
}

impl Token {
    /// As the world carries it.
    pub fn pack(self) -> u64 {
        let (kind, a, b) = match self {
            Token::Think(client) => (0, client, 0),
            Token::Timeout(client, sequence) => (1, client, sequence),
            Token::Begin(place) => (2, place, 0),
            Token::End(place) => (3, place, 0),
            Token::Settle => (4, 0, 0),
        };
        kind << 60 | u64::from(a) << 32 | u64::from(b)
    }

    /// What the world carried.
    pub fn unpack(token: u64) -> Token {
        let (a, b) = ((token >> 32) as u32 & 0x0FFF_FFFF, token as u32);
        match token >> 60 {
            0 => Token::Think(a),
            1 => Token::Timeout(a, b),
            2 => Token::Begin(a),
            3 => Token::End(a),
            _ => Token::Settle,
        }
    }
}
