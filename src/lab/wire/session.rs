//! A client's session: which protocol it talks to, in which form, and which of its requests are
//! still unanswered. Bytes in, bytes out: the simulator's nodes have the same ones.

use super::frame::{Frame, PUSHED, SEQUENCE_BYTES, next_frame, push_frame_with};
use crate::plugins::{DynGateway, NATIVE};
use node_core::Decoded;
use std::collections::BTreeMap;

/// A client's session at the node's end: the order of its replies, and its gateway's codec.
pub struct Session {
    /// The protocol's place in the Host.
    pub place: usize,
    codec: Codec,
    /// How many requests are unanswered.
    pub outstanding: usize,
}

enum Codec {
    /// Frames that carry the client's own sequence numbers; replies go out as they come.
    Native,
    /// Replies go out in the order of the requests.
    Ordered {
        gateway: Box<dyn DynGateway>,
        /// What the config calls it.
        name: &'static str,
        next_sequence: u32,
        /// The sequence whose reply goes out next.
        next_reply: u32,
        /// Replies that came before their turn.
        early: BTreeMap<u32, Option<Vec<u8>>>,
        early_bytes: usize,
    },
}

/// What the bytes at hand are for the node.
pub enum Step {
    /// Nothing whole.
    Incomplete,
    /// Earlier requests must be answered first.
    Wait,
    /// A request, left in the buffer given.
    Request {
        /// How many bytes it took.
        used: usize,
        /// Its number in the session.
        sequence: u32,
    },
    /// Dealt with.
    Answered {
        /// How many bytes it took.
        used: usize,
    },
    /// The session ends, for a fault of the client's or because it asked.
    Close {
        /// What the client did wrong, if it did.
        fault: Option<Fault>,
    },
}

/// What a client did wrong.
pub enum Fault {
    /// A request of so many bytes.
    TooLong(usize),
    /// Bytes that are no request, and why.
    Malformed(String),
    /// It is a web browser, or as good as one.
    Http,
}

impl Session {
    /// Of a client that speaks frames.
    pub fn native(place: usize) -> Session {
        Session::new(place, Codec::Native)
    }

    /// Whether its client speaks frames.
    pub fn is_native(&self) -> bool {
        matches!(self.codec, Codec::Native)
    }

    /// Of a client that speaks through a gateway, and is answered in its order.
    pub fn ordered(place: usize, name: &'static str, gateway: Box<dyn DynGateway>) -> Session {
        let codec = Codec::Ordered {
            gateway,
            name,
            next_sequence: 0,
            next_reply: 0,
            early: BTreeMap::new(),
            early_bytes: 0,
        };
        Session::new(place, codec)
    }

    fn new(place: usize, codec: Codec) -> Session {
        Session { place, codec, outstanding: 0 }
    }

    /// Takes the next request from the bytes at hand. Counts it as unanswered.
    pub fn next(
        &mut self,
        input: &[u8],
        limit: usize,
        request: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Step {
        if input.is_empty() {
            return Step::Incomplete;
        }
        request.clear();
        let idle = self.outstanding == 0;
        let step = match &mut self.codec {
            Codec::Native => native_request(input, limit, request),
            Codec::Ordered { gateway, next_sequence, .. } => {
                if gateway.is_http(input) {
                    return Step::Close { fault: Some(Fault::Http) };
                }
                match gateway.decode(input, idle, request, out) {
                    // What it is told must not overtake the replies before.
                    Decoded::Incomplete if input.len() >= limit && !idle => Step::Wait,
                    Decoded::Incomplete if input.len() >= limit => {
                        let reason = format!(
                            "the request has more than {limit} bytes (max_request_bytes): the \
                             connection ends"
                        );
                        gateway.turn_away(&reason, out);
                        Step::Close { fault: Some(Fault::TooLong(input.len())) }
                    }
                    Decoded::Incomplete => Step::Incomplete,
                    Decoded::Wait => Step::Wait,
                    Decoded::Request { used, request: () } => {
                        let sequence = *next_sequence;
                        *next_sequence = next_sequence.wrapping_add(1);
                        Step::Request { used, sequence }
                    }
                    Decoded::Answered { used } => Step::Answered { used },
                    Decoded::Close { reason } => {
                        Step::Close { fault: reason.map(Fault::Malformed) }
                    }
                }
            }
        };
        if let Step::Request { .. } = step {
            self.outstanding += 1;
        }
        step
    }

    /// The client sends no more; what is at hand is to be looked at once again.
    pub fn end(&mut self) {
        match &mut self.codec {
            Codec::Native => {}
            Codec::Ordered { gateway, .. } => gateway.end(),
        }
    }

    /// The last request taken will have no reply.
    pub fn forget_last(&mut self) {
        self.outstanding -= 1;
    }

    /// Encodes something that the client did not ask for just now. It goes out before replies that
    /// wait for their turn.
    pub fn encode_push(&mut self, reply: &[u8], out: &mut Vec<u8>) {
        match &mut self.codec {
            Codec::Native => push_native(out, PUSHED, reply),
            Codec::Ordered { gateway, .. } => gateway.encode(reply, out),
        }
    }

    /// How many bytes may wait for a client that cannot be told what it missed.
    pub fn max_pending_bytes(&self) -> Option<usize> {
        match &self.codec {
            Codec::Native => None,
            Codec::Ordered { gateway, .. } => gateway.max_pending_bytes(),
        }
    }

    /// What encoding pushes did to the session; see [`apply_tally`](Session::apply_tally).
    pub fn take_tally(&mut self, tally: &mut Vec<(usize, u64)>) {
        match &mut self.codec {
            Codec::Native => {}
            Codec::Ordered { gateway, .. } => gateway.take_tally(tally),
        }
    }

    /// It gets what was encoded for another session of the same form.
    pub fn apply_tally(&mut self, tally: &[(usize, u64)]) {
        match &mut self.codec {
            Codec::Native => {}
            Codec::Ordered { gateway, .. } => gateway.apply_tally(tally),
        }
    }

    /// Equal for sessions that encode what is pushed alike.
    pub fn form(&mut self) -> (&'static str, &[u8]) {
        match &mut self.codec {
            Codec::Native => (NATIVE, &[]),
            Codec::Ordered { gateway, name, .. } => (name, gateway.form()),
        }
    }

    /// Puts a reply, in its turn, where it goes out; one that is none lets the next have its turn.
    pub fn reply(&mut self, sequence: u32, reply: Option<&[u8]>, out: &mut Vec<u8>) {
        self.outstanding = self.outstanding.saturating_sub(1);
        match (&mut self.codec, reply) {
            (Codec::Native, None) => {}
            (Codec::Native, Some(reply)) => push_native(out, sequence, reply),
            (Codec::Ordered { gateway, next_reply, early, early_bytes, .. }, reply) => {
                if sequence != *next_reply {
                    *early_bytes += reply.map_or(0, <[u8]>::len);
                    early.insert(sequence, reply.map(<[u8]>::to_vec));
                    return;
                }
                if let Some(reply) = reply {
                    gateway.encode(reply, out);
                }
                *next_reply = next_reply.wrapping_add(1);
                while let Some(reply) = early.remove(next_reply) {
                    if let Some(reply) = reply {
                        *early_bytes -= reply.len();
                        gateway.encode(&reply, out);
                    }
                    *next_reply = next_reply.wrapping_add(1);
                }
            }
        }
    }

    /// What waits in it to be sent in its turn.
    pub fn held_bytes(&self) -> usize {
        match &self.codec {
            Codec::Native => 0,
            Codec::Ordered { early_bytes, .. } => *early_bytes,
        }
    }
}

fn push_native(out: &mut Vec<u8>, sequence: u32, reply: &[u8]) {
    push_frame_with(out, |out| {
        out.extend_from_slice(&sequence.to_le_bytes());
        out.extend_from_slice(reply);
    });
}

fn native_request(input: &[u8], limit: usize, request: &mut Vec<u8>) -> Step {
    match next_frame(input, limit) {
        Frame::Incomplete => Step::Incomplete,
        Frame::TooLong { length } => Step::Close { fault: Some(Fault::TooLong(length)) },
        Frame::Whole { payload, used } => match payload.split_first_chunk::<SEQUENCE_BYTES>() {
            Some((sequence, body)) => {
                request.extend_from_slice(body);
                Step::Request { used, sequence: u32::from_le_bytes(*sequence) }
            }
            None => {
                let fault = Fault::Malformed("a request without a sequence".into());
                Step::Close { fault: Some(fault) }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests are single bytes; replies go out as they are.
    struct Letters;

    impl DynGateway for Letters {
        fn decode(
            &mut self,
            input: &[u8],
            _: bool,
            request: &mut Vec<u8>,
            _: &mut Vec<u8>,
        ) -> Decoded<()> {
            request.push(input[0]);
            Decoded::Request { used: 1, request: () }
        }
        fn encode(&mut self, reply: &[u8], output: &mut Vec<u8>) {
            output.extend_from_slice(reply);
        }
    }

    #[test]
    fn a_browser_is_seen_before_anything_is_decoded_and_while_others_wait() {
        let mut session = Session::ordered(0, "letters", Box::new(Letters));
        let (mut request, mut out) = (Vec::new(), Vec::new());
        let step = session.next(b"x", 64, &mut request, &mut out);
        assert!(matches!(step, Step::Request { .. }));
        let step = session.next(b"POST / HTTP/1.1\r\nxxx", 64, &mut request, &mut out);
        assert!(matches!(step, Step::Close { fault: Some(Fault::Http) }));
        assert!(request.is_empty() && out.is_empty());
    }

    #[test]
    fn replies_that_come_early_go_out_in_the_order_of_the_requests() {
        let mut session = Session::ordered(0, "letters", Box::new(Letters));
        let (mut request, mut out) = (Vec::new(), Vec::new());
        for expected in 0..3 {
            let step = session.next(b"x", 64, &mut request, &mut out);
            assert!(matches!(step, Step::Request { used: 1, sequence } if sequence == expected));
        }
        session.reply(2, Some(b"c"), &mut out);
        session.reply(1, None, &mut out);
        assert_eq!((&out[..], session.outstanding, session.held_bytes()), (&b""[..], 1, 1));
        session.reply(0, Some(b"a"), &mut out);
        assert_eq!((&out[..], session.outstanding, session.held_bytes()), (&b"ac"[..], 0, 0));
    }
}
