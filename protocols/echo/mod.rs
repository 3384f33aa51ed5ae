//! Sends back the bytes that it gets, as they come: RFC 862, over TCP.
//!
//! ```text
//!   client ── bytes ──► node
//!   client ◄── bytes ── node      the same, in the same order
//! ```
//!
//! A client that has closed its sending side still gets all of them; then the node closes. Nodes say
//! nothing to each other, and nothing is kept. The gateway `echo` has the bare bytes; through `native`
//! and `json` it is a request like any other.
//!
//! **Source.** RFC 862 (1983), but for its port, 7, which the config sets, and without UDP. It is what the
//! server of document 001 does before its fifth exercise.

use crate::core::{
    Bytes, Caller, Clipped, ConfigError, Context, Decoded, Env, Gateway, Never, NodeId, Protocol,
};
use ::core::fmt::{self, Write};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The table `[protocols.echo]`, which has no keys.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// Bytes, there and back.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Data<'a> {
    /// Which.
    #[serde(borrow)]
    pub data: Bytes<'a>,
}

/// It has no state.
pub struct Echo;

impl Protocol for Echo {
    const NAME: &'static str = "echo";
    type Config = Config;
    type Message<'a> = Never;
    type Record<'a> = Never;
    type Timer = Never;
    type Request<'a> = Data<'a>;
    type Reply<'a> = Data<'a>;

    fn new(Config {}: Config, _: &Env) -> Result<Echo, ConfigError> {
        Ok(Echo)
    }

    fn on_message(&mut self, _: NodeId, message: Never, _: &mut Context<'_, Self>) {
        match message {}
    }

    fn on_timer(&mut self, timer: Never, _: &mut Context<'_, Self>) {
        match timer {}
    }

    fn on_request(&mut self, caller: Caller, request: Data<'_>, cx: &mut Context<'_, Self>) {
        cx.reply(caller.request, &request);
    }

    fn brief_request(Data { data }: &Data<'_>, out: &mut dyn Write) -> fmt::Result {
        write!(out, "{}", Clipped(data, MAX_SHOWN))
    }

    fn brief_reply(Data { data }: &Data<'_>, out: &mut dyn Write) -> fmt::Result {
        write!(out, "{}", Clipped(data, MAX_SHOWN))
    }
}

/// How many of the bytes a label shows.
const MAX_SHOWN: usize = 24;

/// The bare bytes.
#[derive(Default)]
pub struct EchoBytes;

impl Gateway for EchoBytes {
    const NAME: &'static str = "echo";
    type Protocol = Echo;

    /// Whatever it sends back, nothing comes of it.
    fn is_http(&self, _: &[u8]) -> bool {
        false
    }

    fn decode<'a>(&mut self, input: &'a [u8], _: bool, _: &mut Vec<u8>) -> Decoded<Data<'a>> {
        match input.len() {
            0 => Decoded::Incomplete,
            used => Decoded::Request { used, request: Data { data: Bytes::new(input) } },
        }
    }

    fn encode(&mut self, reply: Data<'_>, output: &mut Vec<u8>) {
        output.extend_from_slice(&reply.data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn it_has_nothing_to_see_but_the_bytes() {
        assert_eq!(testing::view(&Echo), "null");
        let data = Data { data: Bytes::new(b"a\x1b and what is longer than a label") };
        let brief = "a\\u{1b} and what is long…";
        testing::assert_briefs(Echo::brief_request, &[(data.clone(), brief)]);
        testing::assert_briefs(Echo::brief_reply, &[(data, brief)]);
    }

    #[test]
    fn whatever_comes_is_a_request_and_goes_back() {
        let (mut gateway, mut output) = (EchoBytes, Vec::new());
        assert!(matches!(gateway.decode(b"", true, &mut output), Decoded::Incomplete));
        for input in [&b"a\0\xff\n"[..], b";"] {
            match gateway.decode(input, false, &mut output) {
                Decoded::Request { used, request } => {
                    assert_eq!(used, input.len());
                    gateway.encode(request, &mut output);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(output, b"a\0\xff\n;");
    }
}
