//! A protocol without its types: the only place that decodes the bytes of messages, requests and
//! records, and that owns timer tables.

use super::brief::brief_of;
use super::io::{FrameError, Io, Malformed, decode};
use super::outbox::{Effect, RecordSink};
use super::timers::Timers;
use super::{
    Caller, ClientId, ConfigError, Context, Corrupt, Counter, Env, Fact, FactKind, Input,
    LamportTime, NodeId, Protocol, Rng, Time,
};
use ::core::any::Any;
use ::core::fmt::Debug;
use ::core::net::SocketAddr;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use serde::{Deserialize, Serialize};

/// A protocol as the Host holds it. Made by [`erase`] alone.
pub trait DynProtocol {
    /// [`Protocol::NAME`]
    fn name(&self) -> &'static str;
    /// The number that stands for the name in frames and in the log.
    fn tag(&self) -> u16;
    /// [`Protocol::PUBLISHES`]
    fn publishes(&self) -> &'static [FactKind];
    /// [`Protocol::needs`]
    fn needs(&self) -> &'static [FactKind];
    /// [`Protocol::FILE`]
    fn file(&self) -> Option<&'static str>;
    /// [`Protocol::input`]
    fn input(&self) -> Option<Input<'_>>;
    /// [`Protocol::on_input`]
    fn take_input(&mut self, content: Arc<[u8]>);
    /// [`Protocol::persists`]
    fn persists(&self) -> bool;
    /// [`Protocol::digest`]
    fn digest(&self) -> u64;
    /// [`Protocol::check_invariants`]
    fn check_invariants(&self);
    /// [`Protocol::unhashed`]
    fn unhashed(&self, body: &[u8]) -> usize;
    /// A message as JSON, for traces.
    fn describe(&self, body: &[u8]) -> String;
    /// A request as JSON, for traces.
    fn describe_request(&self, body: &[u8]) -> String;
    /// A reply as JSON, for traces.
    fn describe_reply(&self, body: &[u8]) -> String;
    /// [`Protocol::brief`]
    fn brief(&self, body: &[u8]) -> Option<String>;
    /// [`Protocol::brief_request`]
    fn brief_request(&self, body: &[u8]) -> Option<String>;
    /// [`Protocol::brief_reply`]
    fn brief_reply(&self, body: &[u8]) -> Option<String>;
    /// [`Protocol::brief_record`]
    fn brief_record(&self, record: &[u8]) -> Option<String>;
    /// The protocol itself, for invariants over several nodes.
    fn state(&self) -> &dyn Any;
    /// [`Protocol::view`] as JSON; none where there is nothing to see.
    fn view(&self) -> Option<String>;
    #[doc(hidden)]
    fn set_place(&mut self, place: usize);
    #[doc(hidden)]
    fn recover(&mut self, record: &[u8]) -> Result<(), Corrupt>;
    /// [`Protocol::restores`]
    fn restores(&self) -> bool;
    #[doc(hidden)]
    fn log_lost(&mut self);
    #[doc(hidden)]
    fn recover_file(&mut self, bytes: u64) -> Result<u64, Corrupt>;
    #[doc(hidden)]
    fn client(&mut self, client: ClientId, addr: SocketAddr, up: bool, io: &mut Io);
    #[doc(hidden)]
    fn backpressure(&mut self, client: ClientId, full: bool, io: &mut Io);
    #[doc(hidden)]
    fn stop(&mut self, io: &mut Io);
    #[doc(hidden)]
    fn snapshot(&self, write: &mut dyn FnMut(u16, &[u8]));
    #[doc(hidden)]
    fn turn_end(&mut self, io: &mut Io);
    #[doc(hidden)]
    fn start(&mut self, io: &mut Io);
    #[doc(hidden)]
    fn message(
        &mut self,
        from: NodeId,
        sent: LamportTime,
        body: &[u8],
        io: &mut Io,
    ) -> Result<(), FrameError>;
    #[doc(hidden)]
    fn request(&mut self, caller: Caller, body: &[u8], io: &mut Io) -> Result<(), Malformed>;
    #[doc(hidden)]
    fn link(&mut self, peer: NodeId, up: bool, io: &mut Io);
    #[doc(hidden)]
    fn fact(&mut self, fact: &Fact, io: &mut Io);
    #[doc(hidden)]
    fn fire(&mut self, io: &mut Io) -> bool;
    #[doc(hidden)]
    fn deadline(&self) -> Option<Time>;
}

/// Builds a protocol and erases its types.
///
/// # Errors
/// The config breaks a rule of the protocol.
pub fn erase<P: Protocol>(
    config: P::Config,
    env: &Env,
) -> Result<Box<dyn DynProtocol>, ConfigError> {
    Ok(Box::new(Erased {
        state: P::new(config, env)?,
        timers: Timers::new(),
        rng: Rng::stream(env.seed, &format!("node/{}/{}", env.id, P::NAME)),
        tag: protocol_tag(P::NAME),
        place: 0,
    }))
}

/// The number that stands for a protocol's name in frames and in the log: 16 bits of FNV-1a, never
/// 0, which is the Host's own. The registry refuses two names that share one.
pub fn protocol_tag(name: &str) -> u16 {
    let mut hash: u32 = 0x811C_9DC5;
    for byte in name.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    ((hash ^ (hash >> 16)) as u16).max(1)
}

struct Erased<P: Protocol> {
    state: P,
    timers: Timers<P::Timer>,
    rng: Rng,
    tag: u16,
    place: usize,
}

impl<P: Protocol> Erased<P> {
    fn split<'a>(&'a mut self, io: &'a mut Io) -> (&'a mut P, Context<'a, P>) {
        let Erased { state, timers, rng, tag, place } = self;
        (state, Context { io, timers, rng, tag: *tag, place: *place })
    }
}

/// Programs read messages, requests and replies in traces, so they are JSON; what JSON cannot carry
/// is only for people.
fn as_json<'a, T: Deserialize<'a> + Serialize + Debug>(body: &'a [u8]) -> String {
    match decode::<T>(body) {
        Ok(value) => serde_json::to_string(&value).unwrap_or_else(|_| format!("{value:?}")),
        Err(Malformed) => String::from("(malformed)"),
    }
}

impl<P: Protocol> DynProtocol for Erased<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }
    fn tag(&self) -> u16 {
        self.tag
    }
    fn publishes(&self) -> &'static [FactKind] {
        P::PUBLISHES
    }
    fn needs(&self) -> &'static [FactKind] {
        self.state.needs()
    }
    fn file(&self) -> Option<&'static str> {
        P::FILE.filter(|_| self.state.persists())
    }
    fn input(&self) -> Option<Input<'_>> {
        self.state.input()
    }
    fn take_input(&mut self, content: Arc<[u8]>) {
        self.state.on_input(content);
    }
    fn persists(&self) -> bool {
        self.state.persists()
    }
    fn digest(&self) -> u64 {
        self.state.digest()
    }
    fn check_invariants(&self) {
        self.state.check_invariants();
    }
    fn unhashed(&self, body: &[u8]) -> usize {
        P::unhashed(body)
    }
    fn describe(&self, body: &[u8]) -> String {
        as_json::<P::Message<'_>>(body)
    }
    fn describe_request(&self, body: &[u8]) -> String {
        as_json::<P::Request<'_>>(body)
    }
    fn describe_reply(&self, body: &[u8]) -> String {
        as_json::<P::Reply<'_>>(body)
    }
    fn brief(&self, body: &[u8]) -> Option<String> {
        let message = decode::<P::Message<'_>>(body).ok()?;
        brief_of(|out| P::brief(&message, out))
    }
    fn brief_request(&self, body: &[u8]) -> Option<String> {
        let request = decode::<P::Request<'_>>(body).ok()?;
        brief_of(|out| P::brief_request(&request, out))
    }
    fn brief_reply(&self, body: &[u8]) -> Option<String> {
        let reply = decode::<P::Reply<'_>>(body).ok()?;
        brief_of(|out| P::brief_reply(&reply, out))
    }
    fn brief_record(&self, record: &[u8]) -> Option<String> {
        let record = decode::<P::Record<'_>>(record).ok()?;
        brief_of(|out| P::brief_record(&record, out))
    }
    fn state(&self) -> &dyn Any {
        &self.state
    }
    fn view(&self) -> Option<String> {
        // What JSON cannot carry is nothing to see, rather than a node that ends.
        serde_json::to_string(&self.state.view()).ok().filter(|json| json != "null")
    }
    fn set_place(&mut self, place: usize) {
        self.place = place;
    }
    fn recover(&mut self, record: &[u8]) -> Result<(), Corrupt> {
        let record = decode(record).map_err(|Malformed| Corrupt("the record does not decode"))?;
        self.state.on_recover(record)
    }
    fn restores(&self) -> bool {
        self.state.restores()
    }
    fn log_lost(&mut self) {
        self.state.on_log_lost();
    }
    fn recover_file(&mut self, bytes: u64) -> Result<u64, Corrupt> {
        self.state.on_file(bytes)
    }
    fn client(&mut self, client: ClientId, addr: SocketAddr, up: bool, io: &mut Io) {
        let (state, mut cx) = self.split(io);
        state.on_client(client, addr, up, &mut cx);
    }
    fn backpressure(&mut self, client: ClientId, full: bool, io: &mut Io) {
        let (state, mut cx) = self.split(io);
        state.on_backpressure(client, full, &mut cx);
    }
    fn turn_end(&mut self, io: &mut Io) {
        let (state, mut cx) = self.split(io);
        state.on_turn_end(&mut cx);
    }
    fn stop(&mut self, io: &mut Io) {
        let (state, mut cx) = self.split(io);
        state.on_stop(&mut cx);
    }
    fn snapshot(&self, write: &mut dyn FnMut(u16, &[u8])) {
        let mut sink = RecordSink { tag: self.tag, write, scratch: alloc::vec::Vec::new() };
        self.state.snapshot(&mut sink);
    }
    fn start(&mut self, io: &mut Io) {
        let (state, mut cx) = self.split(io);
        state.on_start(&mut cx);
    }
    fn message(
        &mut self,
        from: NodeId,
        sent: LamportTime,
        body: &[u8],
        io: &mut Io,
    ) -> Result<(), FrameError> {
        let message = decode(body).map_err(|Malformed| FrameError::Malformed)?;
        // Only now, so that a frame that is dropped does not move the clock either.
        io.received = io.observe(sent).map_err(FrameError::Jump)?;
        let (state, mut cx) = self.split(io);
        state.on_message(from, message, &mut cx);
        Ok(())
    }
    fn request(&mut self, caller: Caller, body: &[u8], io: &mut Io) -> Result<(), Malformed> {
        let request = decode(body)?;
        io.counters.add(Counter::RequestsIn);
        let (state, mut cx) = self.split(io);
        state.on_request(caller, request, &mut cx);
        Ok(())
    }
    fn link(&mut self, peer: NodeId, up: bool, io: &mut Io) {
        let (state, mut cx) = self.split(io);
        state.on_link(peer, up, &mut cx);
    }
    fn fact(&mut self, fact: &Fact, io: &mut Io) {
        let (state, mut cx) = self.split(io);
        state.on_fact(fact, &mut cx);
    }
    fn fire(&mut self, io: &mut Io) -> bool {
        let Some(timer) = self.timers.take_due(io.now.time) else { return false };
        if io.outbox.trace {
            let label = io.outbox.text(format_args!("{timer:?}"));
            io.outbox.push(Effect::Timer { place: self.place, label });
        }
        let (state, mut cx) = self.split(io);
        state.on_timer(timer, &mut cx);
        true
    }
    fn deadline(&self) -> Option<Time> {
        self.timers.earliest()
    }
}
