//! Codecs between a protocol's requests and what foreign clients put on the wire.

use super::{ClientId, Protocol, is_http};
use alloc::string::String;
use alloc::vec::Vec;

/// A codec beside a protocol, with the state of one connection.
pub trait Gateway: Default + 'static {
    /// The name that a listener's `gateway` key gives.
    const NAME: &'static str;
    /// The protocol whose requests it carries.
    type Protocol: Protocol;

    /// How many bytes may wait for a client that cannot be told what it missed: above that, its
    /// connection ends. None where the protocol says what was missed, and the node's own bound
    /// holds.
    const MAX_PENDING_BYTES: Option<usize> = None;

    /// Which connection it is for; the first that it is told.
    fn identify(&mut self, client: ClientId) {
        let _ = client;
    }

    /// What a client is told before it has said anything.
    fn greet(&mut self, output: &mut Vec<u8>) {
        let _ = output;
    }

    /// Whether bytes that begin a request are a web browser's: asked before they are decoded, and
    /// the connection ends without a word if they are. A gateway whose commands are like HTTP's
    /// says which, as [`is_http`] tells.
    fn is_http(&self, input: &[u8]) -> bool {
        is_http(input, &[])
    }

    /// Tells a client, in the gateway's form, why its connection ends.
    fn turn_away(&mut self, reason: &str, output: &mut Vec<u8>) {
        let _ = (reason, output);
    }

    /// Looks at the bytes received so far. `idle` tells that every earlier request of the
    /// connection has been answered.
    fn decode<'a>(
        &mut self,
        input: &'a [u8],
        idle: bool,
        output: &mut Vec<u8>,
    ) -> Decoded<<Self::Protocol as Protocol>::Request<'a>>;

    /// Equal for two connections that encode what is pushed to both alike, so that it is done once.
    fn form(&mut self) -> &[u8] {
        &[]
    }

    /// Moves to `tally` what encoding pushes did to the state of the connection, in the gateway's
    /// own terms, if that is anything.
    fn take_tally(&mut self, tally: &mut Vec<(usize, u64)>) {
        let _ = tally;
    }

    /// Does to the state of the connection what encoding did to that of another one of the same
    /// form, whose bytes it gets.
    fn apply_tally(&mut self, tally: &[(usize, u64)]) {
        let _ = tally;
    }

    /// Appends the wire form of a reply.
    fn encode(&mut self, reply: <Self::Protocol as Protocol>::Reply<'_>, output: &mut Vec<u8>);
}

/// What a gateway makes of the bytes at hand.
#[derive(Debug)]
pub enum Decoded<R> {
    /// Not a whole request yet.
    Incomplete,
    /// A request that must not run before the earlier ones are answered: ask again when idle.
    Wait,
    /// A request for the protocol.
    Request {
        /// How many bytes it took; none if another request is made of the same bytes.
        used: usize,
        /// The request.
        request: R,
    },
    /// A request that the gateway itself answered, into `output`; only when idle.
    Answered {
        /// How many bytes it took.
        used: usize,
    },
    /// The connection ends once `output` is sent, for the reason given, or without one because
    /// the client asked for it.
    Close {
        /// What the client did wrong.
        reason: Option<String>,
    },
}
