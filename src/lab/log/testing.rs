//! A protocol for tests of disks, real and simulated.

use node_protocols::core::{
    Caller, ClientId, ConfigError, Context, Corrupt, Env, Host, LamportRule, Never, NodeId, Now,
    Protocol, RecordSink, RequestId, Time, WallTime, encode, erase,
};
use serde::{Deserialize, Serialize};

pub(crate) fn env() -> Env {
    let (id, peers) = (NodeId(1), vec![]);
    Env { id, peers, incarnation: 1, identity: 1, seed: 1, durable: true }
}

/// Counts; its peers, if it had any, would know how far.
struct Count {
    config: CountConfig,
    sum: u64,
    is_lost: bool,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct CountConfig {
    persists: bool,
}

impl Protocol for Count {
    const NAME: &'static str = "count";
    type Config = CountConfig;
    type Message<'a> = Never;
    type Record<'a> = u64;
    type Timer = Never;
    type Request<'a> = u64;
    type Reply<'a> = Never;

    fn new(config: CountConfig, _: &Env) -> Result<Self, ConfigError> {
        Ok(Count { config, sum: 0, is_lost: false })
    }
    fn persists(&self) -> bool {
        self.config.persists
    }
    fn restores(&self) -> bool {
        true
    }
    fn on_log_lost(&mut self) {
        assert_eq!(self.sum, 0, "a Host of its own");
        self.is_lost = true;
    }
    fn on_recover(&mut self, record: u64) -> Result<(), Corrupt> {
        if !self.config.persists {
            return Err(Corrupt("it is another config's"));
        }
        if record == 666 {
            return Err(Corrupt("it is none"));
        }
        self.sum += record;
        Ok(())
    }
    fn snapshot(&self, sink: &mut RecordSink<'_>) {
        sink.record(&self.sum);
    }
    fn on_request(&mut self, _: Caller, request: u64, cx: &mut Context<'_, Self>) {
        self.sum += request;
        cx.persist(&request);
    }
    fn on_message(&mut self, _: NodeId, message: Never, _: &mut Context<'_, Self>) {
        match message {}
    }
    fn on_timer(&mut self, timer: Never, _: &mut Context<'_, Self>) {
        match timer {}
    }
    fn digest(&self) -> u64 {
        self.sum << 1 | u64::from(self.is_lost)
    }
}

pub(crate) fn count(persists: bool) -> Host {
    let protocol = erase::<Count>(CountConfig { persists }, &env()).unwrap();
    Host::new(&env(), vec![protocol], LamportRule::MaxPlusOne)
}

/// What [`count`]'s digest is.
pub(crate) fn counted(sum: u64, is_lost: bool) -> u64 {
    count(true).digest() ^ (sum << 1 | u64::from(is_lost))
}

/// A client asks, and nobody waits for the answer.
pub(crate) fn ask(host: &mut Host, request: &impl Serialize) {
    let mut bytes = Vec::new();
    encode(request, &mut bytes);
    let client = ClientId { slot: 0, generation: 0 };
    let addr = ([127, 0, 0, 1], 1).into();
    let caller = Caller { request: RequestId { client, sequence: 0 }, addr };
    let now = Now { time: Time(0), wall: WallTime(0) };
    host.handle_request(0, caller, &bytes, now).unwrap();
    host.outbox_mut().clear_effects();
}
