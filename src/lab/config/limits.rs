//! Bounds on what a node spends on others, each with its reason. Knows no protocol.

use serde::Deserialize;
use std::fmt;

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $default:expr, $low:expr, $high:expr;)*) => {
        /// The table `[limits]`.
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Limits { $($(#[$doc])* pub $name: u64,)* }

        impl Default for Limits {
            fn default() -> Self {
                Limits { $($name: $default,)* }
            }
        }

        impl Limits {
            /// The first key that is out of its bounds, and the bounds.
            pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
                $(if !($low..=$high).contains(&self.$name) {
                    return Err((stringify!($name), format!("it must be {} to {}", $low, $high)));
                })*
                Ok(())
            }
        }

        impl fmt::Display for Limits {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, "{} = {}", stringify!($name), self.$name)?;)*
                Ok(())
            }
        }
    };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const HOUR_MS: u64 = 3_600_000;

limits! {
    /// Connections of clients at once. Each costs a descriptor, and the node keeps some for itself
    /// and its peers: the cap in force is lower where the process may not open that many. Whoever
    /// has not greeted yet on a native listener has a place of its own, as it may be a peer.
    max_clients: 16_384, 1, 1_000_000;
    /// A client's request: above any value that a protocol takes, with the overhead of JSON.
    max_request_bytes: 4 * MIB, KIB, 64 * MIB;
    /// A frame of a peer: never below what a protocol may send, which is two of the largest
    /// values. A frame that the other side refuses would be sent again for ever.
    max_frame_bytes: 16 * MIB, 16 * MIB, 1024 * MIB;
    /// Half-received requests and unread replies of all clients together; above it, the client
    /// that holds most is closed.
    max_client_memory_bytes: 32 * MIB, MIB, MIB << 20;
    /// Unread replies, or unanswered requests, of one client above which its next requests wait.
    client_high_water_bytes: MIB, KIB, KIB << 20;
    /// Frames that wait for one peer; above it the link starts anew and the protocols resend.
    /// Never below the largest frame and a window of others, or resending would not help.
    max_link_queue_bytes: 64 * MIB, 32 * MIB, MIB << 20;
    /// How long a connection may take to greet.
    greeting_timeout_ms: 5_000, 10, HOUR_MS;
    /// How long a request may take to arrive once it has begun.
    request_timeout_ms: 30_000, 10, HOUR_MS;
    /// How long a connection may be there and never say anything: long enough for somebody who
    /// types, and clients that connect ahead of their first request; short enough that connections
    /// that nobody uses do not take the places of others for good.
    silent_timeout_ms: 60_000, 10, 24 * HOUR_MS;
    /// How long a client that has said something may be silent with nothing asked; 0 is for ever,
    /// since subscribers only listen.
    idle_timeout_ms: 0, 0, 24 * HOUR_MS;
    /// How often a link carries something, if only a heartbeat.
    heartbeat_ms: 1_000, 10, HOUR_MS;
    /// How long a link may be silent before it is given up.
    link_timeout_ms: 5_000, 20, HOUR_MS;
    /// The longest wait before a peer is dialled again; the first is a 40th of it.
    redial_max_ms: 2_000, 40, HOUR_MS;
    /// How long a node that is told to stop finishes what is in flight.
    drain_ms: 5_000, 0, HOUR_MS;
}
