//! Clients of a run: what a scenario says of them, what each does, and what it may do. The
//! simulator is behind the [`Port`] here, or real nodes are; knows no protocol.

use super::Nanos;
use node_core::NodeId;
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;

/// No keys: the settings of a study without clients.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// What a plan asks of the clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// Seeds every stream of random numbers.
    pub seed: u64,
    /// How many clients.
    pub clients: u32,
    /// How many operations each.
    pub operations: u32,
}

/// What a scenario says of its clients, checked: makes those of each plan.
pub trait Clients: fmt::Debug + Send + Sync {
    /// What of them makes no sense in a run with so many milliseconds of faults, and so many after.
    ///
    /// # Errors
    /// Which setting breaks which rule, in one line.
    fn check(&self, millis: u64, settle_millis: u64) -> Result<(), String>;
    /// How many clients, and how many operations each.
    fn counts(&self) -> (u32, u32);
    /// The most clients that a plan may have.
    fn most(&self) -> u32;
    /// The places of the nodes whose input files are drawn, and not read.
    fn draws_inputs_of(&self) -> &[usize] {
        &[]
    }
    /// What a plan has in those files: by the node's place, the protocol that reads it and its
    /// content.
    fn inputs(&self, load: &Load) -> Vec<(usize, &'static str, Arc<[u8]>)> {
        let _ = load;
        Vec::new()
    }
    /// Whether they meet second processes of a node's id.
    fn meet_twins(&self) -> bool {
        false
    }
    /// Whether clients with larger numbers than a plan's come when the others are done: their
    /// requests are the run's last.
    fn has_finals(&self) -> bool {
        false
    }
    /// The clients of a plan, at the beginning of the run.
    fn start(&self, load: &Load, port: &mut dyn Port) -> Box<dyn Workload>;
}

/// The clients of a run.
pub trait Workload {
    /// The client may go on.
    fn wake(&mut self, client: u32, port: &mut dyn Port);
    /// A reply reached the client, or, with the sequence [`PUSHED`](crate::wire::PUSHED), what it
    /// subscribed to.
    fn reply(&mut self, client: u32, sequence: u32, reply: &[u8], port: &mut dyn Port);
    /// Bytes reached the client, which speaks through a gateway.
    fn hear(&mut self, client: u32, bytes: &[u8], port: &mut dyn Port) {
        let _ = (client, bytes, port);
    }
    /// The client's operation of that sequence has taken too long, unless it is over.
    fn timeout(&mut self, client: u32, sequence: u32, port: &mut dyn Port);
    /// The client's connection is gone.
    fn closed(&mut self, client: u32, port: &mut dyn Port);
    /// The time for operations is over: none begins any more, but for those that a run ends with.
    /// Whoever drives real nodes says so; clients that have to end what they began go on.
    fn enough(&mut self) {}
    /// Draws from now on what is still to be drawn from other streams, which `by` names: every
    /// [`Rng`](node_core::Rng) that is kept is [drawn anew](node_core::Rng::redraw). What draws
    /// nothing has nothing to do.
    fn redraw(&mut self, by: u64) {
        let _ = by;
    }
    /// Everything is mended: is the run over? Asked every
    /// [`PROBE_EVERY`](crate::sim::run::PROBE_EVERY), until it is, or until `limit`.
    fn is_over(&mut self, port: &mut dyn Port, limit: Nanos) -> bool;
    /// Why the run is not over, for people.
    fn unsettled(&self, port: &dyn Port) -> String;
}

/// What clients may do.
pub trait Port {
    /// The time, in nanoseconds since the run's beginning.
    fn now(&self) -> Nanos;
    /// How many nodes there are; second processes are none.
    fn nodes(&self) -> usize;
    /// A node's id, by its place.
    fn id(&self, node: usize) -> NodeId;
    /// The places of the second processes that run.
    fn twins_up(&self) -> Vec<usize>;
    /// Whether a protocol of a node has asked for the node's end since its last start.
    fn has_ended(&self, node: usize) -> bool;
    /// Adds a client of a protocol, which all nodes that it asks run: its number is its
    /// connection's in everything else here.
    fn add_client(&mut self, protocol: &'static str) -> u32;
    /// Has a client speak through a gateway from now on, in pieces that the seed cuts.
    fn set_wire(&mut self, client: u32, gateway: &'static str);
    /// Has the client woken at a time.
    fn wake(&mut self, at: Nanos, client: u32);
    /// Likewise, and not before, where the order of a run is chosen: what it waits for takes time.
    fn rest(&mut self, at: Nanos, client: u32) {
        self.wake(at, client);
    }
    /// Has the client told at a time that its operation of that sequence has taken too long.
    fn expire(&mut self, at: Nanos, client: u32, sequence: u32);
    /// Sends an encoded request, over a new connection when it goes to another node than the last.
    /// It is noted as an operation of `whose`, whose operations do not overlap, and so is its reply
    /// when it comes.
    fn request(&mut self, client: u32, whose: u64, node: usize, sequence: u32, request: &[u8]);
    /// Has the client connected to a node, over a new connection unless it is already; answers the
    /// connection's number.
    fn connect(&mut self, client: u32, node: usize) -> u32;
    /// Sends an operation in the bytes of the client's gateway; `request` is what they mean, and is
    /// noted.
    fn say(&mut self, client: u32, whose: u64, node: usize, sequence: u32, said: Said<'_>);
    /// Sends more bytes over the client's connection, under a sequence of their own in traces: they
    /// ask for nothing that counts, and are not noted.
    fn say_aside(&mut self, client: u32, sequence: u32, bytes: &[u8]);
    /// The replies to what the client said last, as its gateway's codec got them; none where nobody
    /// sees into the node: then the bytes are all that is known.
    fn given(&self, client: u32) -> Option<&[Vec<u8>]>;
    /// The client has read a whole answer to what it said, which means `reply`: it is noted. An
    /// empty one is an answer whose form does not tell what it means.
    fn answered(&mut self, client: u32, sequence: u32, reply: &[u8]);
    /// The client has read something that it subscribed to, which means `reply`: it is noted.
    fn pushed(&mut self, client: u32, reply: &[u8]);
    /// The client gives up its connection, and whatever may still come over it.
    fn disconnect(&mut self, client: u32);
    /// The client stops reading what it subscribed to.
    fn stop_reading(&mut self, client: u32);
    /// It reads on.
    fn read_on(&mut self, client: u32);
    /// What a client was told is not what its server said: the run fails.
    fn garbled(&mut self, why: String);
    /// Keeps from now on what nodes show: files, lines, frames, lost links.
    fn look(&mut self);
}

/// What a client says in bytes, and what it means by that.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// The encoded request.
    pub request: &'a [u8],
    /// The bytes.
    pub bytes: &'a [u8],
}
