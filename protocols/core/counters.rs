//! What went wrong how often, and what was carried: the numbers behind the log lines.

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// One cause, or one kind of traffic.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Counter { $($(#[$doc])* $variant,)* }

        const NAMES: &[&str] = &[$($name,)*];
    };
}

counters! {
    /// Frames from peers that were delivered to a protocol.
    FramesIn = "frames_in",
    /// Requests that were delivered to a protocol.
    RequestsIn = "requests_in",
    /// Connections accepted.
    Accepted = "connections_accepted",
    /// Connections refused because the cap on connections was reached.
    OverCap = "refused_over_connection_cap",
    /// Times that the process ran out of file descriptors while accepting.
    NoDescriptor = "refused_no_descriptor",
    /// Connections closed because their first frame was no valid greeting.
    BadHandshake = "closed_bad_handshake",
    /// Connections closed because no greeting or no whole request came in time.
    TooSlow = "closed_too_slow",
    /// Connections closed because they were silent for too long.
    Idle = "closed_idle",
    /// Connections closed because a frame, a line or a request was longer than allowed.
    TooLong = "closed_too_long",
    /// Connections closed because half-received requests took too much memory together.
    InputMemory = "closed_input_memory",
    /// Connections closed because they did not read their replies.
    NotReading = "closed_not_reading",
    /// Connections closed because what they sent was not of their protocol's form.
    BadRequest = "closed_bad_request",
    /// Connections of clients closed because they speak HTTP, as a web page's do.
    Http = "closed_http",
    /// Frames from peers that did not decode, or named a protocol that this node does not run.
    BadFrame = "dropped_bad_frame",
    /// Frames from peers, and requests, whose Lamport value was too far ahead.
    LamportJump = "dropped_lamport_jump",
    /// Messages that a later epoch, or better knowledge, has made void.
    Stale = "dropped_stale",
    /// Messages to a peer that had no link.
    NoLink = "dropped_no_link",
    /// Links closed because the peer fell too far behind in reading.
    LinkOverflow = "link_overflow",
    /// Links that came up.
    LinkUp = "link_up",
    /// Links that went down.
    LinkDown = "link_down",
}

/// All counters of a node, from zero at its start.
#[derive(Clone, Debug)]
pub struct Counters([u64; NAMES.len()]);

impl Default for Counters {
    fn default() -> Self {
        Counters([0; NAMES.len()])
    }
}

impl Counters {
    /// Adds one.
    pub fn add(&mut self, counter: Counter) {
        self.0[counter as usize] += 1;
    }

    /// One value.
    pub fn value(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Names and values, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.iter().copied().zip(self.0.iter().copied())
    }
}

impl Counter {
    /// Its name in `INFO` and in log lines.
    pub fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}
