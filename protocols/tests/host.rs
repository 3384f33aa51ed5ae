//! The Host: facts between protocols, frames and requests that are not what they should be, and
//! the wire forms that everything rests on.

use node_protocols::core::{
    Caller, ClientId, Context, Counter, Effect, Env, Epoch, Fact, FactKind, FactType, FrameError,
    Host, LamportRule, LamportTime, Malformed, Never, NodeId, Now, Protocol, RequestId, Time,
    WallTime, erase, protocol_tag,
};
use node_protocols::facts::{Coordinator, Rank};
use node_protocols::kv_replication::{
    Config, Durability, Entry, FollowerInfo, ForwardId, Hash, History, Info, KvReplication,
    Message, Outcome, Record, Reply, Request, Standing, Timestamp,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

fn env(id: u32) -> Env {
    let peers = (1..=3).map(NodeId).filter(|peer| peer.0 != id).collect();
    Env { id: NodeId(id), peers, incarnation: 1, identity: 1, seed: 1, durable: true }
}

fn now() -> Now {
    Now { time: Time(1_000), wall: WallTime(1) }
}

fn caller() -> Caller {
    let client = ClientId { slot: 0, generation: 0 };
    Caller { request: RequestId { client, sequence: 0 }, addr: ([127, 0, 0, 1], 9).into() }
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).expect("it has a postcard form")
}

fn frame(protocol: &str, lamport: u64, message: &impl Serialize) -> Vec<u8> {
    bytes(&((protocol_tag(protocol), lamport), message))
}

// Facts.

#[derive(Clone, Deserialize, Serialize)]
struct ToyConfig {
    /// The rank to publish when it starts.
    rank: Option<u32>,
}

/// A fact that no crate but this one knows.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
struct Suspected {
    who: NodeId,
    why: String,
}

impl FactType for Suspected {
    const NAME: &'static str = "Suspected";
    fn subject(&self) -> Option<NodeId> {
        Some(self.who)
    }
}

/// Publishes the coordinator that a request names, or for 0 whom it suspects, and its rank when it
/// starts; shows what it gets.
struct Publisher(ToyConfig);

/// Shows what it gets, with every request too.
struct Listener {
    heard: Vec<Fact>,
}

impl Protocol for Publisher {
    const NAME: &'static str = "publisher";
    const PUBLISHES: &'static [FactKind] =
        &[FactKind::of::<Coordinator>(), FactKind::of::<Rank>(), FactKind::of::<Suspected>()];
    type Config = ToyConfig;
    type Message<'a> = u32;
    type Record<'a> = Never;
    type Timer = Never;
    type Request<'a> = u32;
    type Reply<'a> = ();

    fn new(config: ToyConfig, _: &Env) -> Result<Self, node_protocols::core::ConfigError> {
        Ok(Publisher(config))
    }
    fn on_start(&mut self, cx: &mut Context<'_, Self>) {
        if let Some(rank) = self.0.rank {
            cx.publish(Rank { id: cx.me(), rank });
        }
    }
    fn on_message(&mut self, _: NodeId, id: u32, cx: &mut Context<'_, Self>) {
        cx.publish(Coordinator { id: NodeId(id), epoch: Epoch(1) });
    }
    fn on_timer(&mut self, timer: Never, _: &mut Context<'_, Self>) {
        match timer {}
    }
    fn on_request(&mut self, _: Caller, id: u32, cx: &mut Context<'_, Self>) {
        match id {
            0 => cx.publish(Suspected { who: NodeId(9), why: "it is late".into() }),
            _ => cx.publish(Coordinator { id: NodeId(id), epoch: Epoch(0) }),
        }
        cx.print(format_args!("published {id}"));
    }
    fn on_fact(&mut self, fact: &Fact, cx: &mut Context<'_, Self>) {
        cx.print(format_args!("publisher heard {fact:?}"));
    }
}

macro_rules! listener {
    ($type:ident, $name:literal) => {
        struct $type(Listener);

        impl Protocol for $type {
            const NAME: &'static str = $name;
            type Config = ();
            type Message<'a> = Never;
            type Record<'a> = Never;
            type Timer = Never;
            type Request<'a> = ();
            type Reply<'a> = ();

            fn needs(&self) -> &'static [FactKind] {
                const { &[FactKind::of::<Coordinator>()] }
            }
            fn new((): (), _: &Env) -> Result<Self, node_protocols::core::ConfigError> {
                Ok($type(Listener { heard: Vec::new() }))
            }
            fn on_message(&mut self, _: NodeId, message: Never, _: &mut Context<'_, Self>) {
                match message {}
            }
            fn on_timer(&mut self, timer: Never, _: &mut Context<'_, Self>) {
                match timer {}
            }
            fn on_request(&mut self, _: Caller, (): (), cx: &mut Context<'_, Self>) {
                cx.print(format_args!("{} knows {:?}", $name, self.0.heard));
            }
            fn on_fact(&mut self, fact: &Fact, cx: &mut Context<'_, Self>) {
                cx.print(format_args!("{} heard {fact:?}", $name));
                self.0.heard.push(fact.clone());
            }
        }
    };
}

listener!(First, "first");
listener!(Second, "second");

fn toys(rank: Option<u32>) -> Host {
    let env = env(1);
    let first = erase::<First>((), &env).expect("it has no config");
    let publisher = erase::<Publisher>(ToyConfig { rank }, &env).expect("any rank will do");
    let second = erase::<Second>((), &env).expect("it has no config");
    let mut host = Host::new(&env, vec![first, publisher, second], LamportRule::MaxPlusOne);
    host.set_output(true, false);
    host
}

fn printed(host: &mut Host) -> Vec<String> {
    let effects = host.outbox().effects().iter();
    let lines = effects.filter_map(|effect| match *effect {
        Effect::Print { line } => {
            Some(String::from_utf8(host.outbox().bytes(line).to_vec()).expect("UTF-8"))
        }
        Effect::Send { .. }
        | Effect::Reply { .. }
        | Effect::Over { .. }
        | Effect::Push { .. }
        | Effect::Note { .. }
        | Effect::Timer { .. }
        | Effect::Fact { .. }
        | Effect::Stop { .. } => None,
    });
    let lines = lines.collect();
    host.outbox_mut().clear_effects();
    lines
}

#[test]
fn a_fact_reaches_the_others_in_config_order_before_the_next_event() {
    let mut host = toys(None);
    host.handle_start(now());
    assert_eq!(printed(&mut host), [""; 0]);
    host.handle_request(1, caller(), &bytes(&3_u32), now()).expect("it is well formed");
    let fact = Coordinator { id: NodeId(3), epoch: Epoch(0) };
    assert_eq!(
        printed(&mut host),
        ["published 3".into(), format!("first heard {fact:?}"), format!("second heard {fact:?}")],
        "and the publisher does not hear itself"
    );
    host.handle_request(2, caller(), &bytes(&()), now()).expect("it is well formed");
    assert_eq!(printed(&mut host), [format!("second knows {:?}", [fact])]);
}

#[test]
fn a_fact_of_a_start_or_a_message_reaches_the_others_too() {
    let mut host = toys(Some(7));
    host.handle_start(now());
    let fact = Fact::of(Rank { id: NodeId(1), rank: 7 });
    let heard = |fact: Fact| [format!("first heard {fact:?}"), format!("second heard {fact:?}")];
    assert_eq!(printed(&mut host), heard(fact));
    host.handle_frame(NodeId(2), &frame("publisher", 1, &5_u32), now()).expect("well formed");
    let fact = Fact::of(Coordinator { id: NodeId(5), epoch: Epoch(1) });
    assert_eq!(printed(&mut host), heard(fact));
}

#[test]
fn a_protocol_of_any_crate_has_facts_of_its_own() {
    let mut host = toys(None);
    host.handle_start(now());
    host.handle_request(1, caller(), &bytes(&0_u32), now()).expect("it is well formed");
    let said = Suspected { who: NodeId(9), why: "it is late".into() };
    let fact = host.outbox().effects().iter().find_map(|effect| match *effect {
        Effect::Fact { place: 1, fact } => Some(host.outbox().fact(fact).clone()),
        _ => None,
    });
    let fact = fact.expect("the driver hears of it");
    assert_eq!((fact.read(), fact.subject()), (Some(said.clone()), Some(NodeId(9))));
    let heard = [format!("first heard {said:?}"), format!("second heard {said:?}")];
    assert_eq!(printed(&mut host)[1..], heard);
}

// What is not of its form.

fn store(id: u32) -> Host {
    let env = env(id);
    let config = Config {
        leader: NodeId(1),
        durability: Durability::Disk,
        put_timeout_ms: 100,
        resend_after_ms: 10,
        max_key_bytes: 64,
        max_value_bytes: 64,
        max_pending_puts: 4,
        max_log_bytes: 1_000,
        chunk_bytes: 256 << 10,
        #[cfg(feature = "mutants")]
        mutant: None,
    };
    let protocol = erase::<KvReplication>(config, &env).expect("the config is right");
    let mut host = Host::new(&env, vec![protocol], LamportRule::MaxPlusOne);
    host.set_output(true, true);
    host.handle_start(now());
    for peer in env.peers {
        host.handle_link(peer, true, now());
    }
    drain(&mut host);
    host
}

fn drain(host: &mut Host) {
    host.check_invariants();
    host.outbox_mut().clear_effects();
    host.outbox_mut().clear_records();
}

/// All that may not change when a frame is dropped.
fn state(host: &Host) -> (LamportTime, u64, usize, Option<Time>) {
    (host.lamport(), host.protocols()[0].digest(), host.outbox().effects().len(), host.deadline())
}

fn assert_dropped(host: &mut Host, frame: &[u8], error: FrameError, counter: Counter) {
    let (before, counted) = (state(host), host.counters().value(counter));
    assert_eq!(host.handle_frame(NodeId(1), frame, now()), Err(error));
    assert_eq!(state(host), before, "{error}");
    assert_eq!(host.counters().value(counter), counted + 1);
    assert_eq!(host.counters().value(Counter::FramesIn), 0);
}

fn probe() -> Message<'static> {
    Message::Probe { epoch: Epoch(1), at: vec![], known: false }
}

#[test]
fn a_malformed_frame_is_counted_and_changes_nothing() {
    let mut host = store(2);
    let good = frame("kv_replication", 9, &probe());
    let mut longer = good.clone();
    longer.push(0);
    let unknown_message = frame("kv_replication", 9, &200_u8);
    for bad in [&[][..], &good[..1], &longer, &good[..good.len() - 1], &unknown_message] {
        assert_dropped(&mut host, bad, FrameError::Malformed, Counter::BadFrame);
        assert_eq!(host.describe(bad).as_str(), "(malformed)");
    }
    assert_eq!(host.handle_frame(NodeId(1), &good, now()), Ok(()));
    assert_eq!(host.counters().value(Counter::FramesIn), 1);
}

/// A protocol that says nothing of how it is shown.
#[test]
fn a_protocol_has_no_view_and_the_messages_own_text_unless_it_says_otherwise() {
    let toy = erase::<Publisher>(ToyConfig { rank: None }, &env(1)).expect("the config is right");
    assert_eq!(toy.view(), None);
    assert_eq!(toy.brief(&bytes(&7_u32)), Some("7".into()));
    assert_eq!(toy.brief_request(&bytes(&7_u32)), None);
    assert_eq!((toy.brief_reply(&[]), toy.brief_record(&[])), (None, None));
    assert_eq!(toy.brief(b""), None, "what does not decode has no short form");
    let host = store(2);
    assert_eq!(host.brief(&frame("kv_replication", 9, &probe())), Some("PROBE".into()));
    assert_eq!(host.brief(&frame("bully", 9, &probe())), None);
}

#[test]
fn a_frame_of_an_unknown_protocol_is_counted_and_changes_nothing() {
    let mut host = store(2);
    let other = frame("bully", 9, &probe());
    let error = FrameError::UnknownProtocol(protocol_tag("bully"));
    assert_dropped(&mut host, &other, error, Counter::BadFrame);
    assert_eq!(host.describe(&other), "(unknown)");
}

#[test]
fn a_frame_from_the_far_future_is_counted_and_changes_nothing() {
    let mut host = store(2);
    let local = host.lamport();
    let (far, farther) = ((1 << 32) + local.0, u64::MAX);
    for forged in [far + 1, farther] {
        let frame = frame("kv_replication", forged, &probe());
        let jump = node_protocols::core::Jump { local, received: LamportTime(forged) };
        assert_dropped(&mut host, &frame, FrameError::Jump(jump), Counter::LamportJump);
    }
    let frame = frame("kv_replication", far, &probe());
    assert_eq!(host.handle_frame(NodeId(1), &frame, now()), Ok(()));
    // One step for the receive, one for the State that answers.
    assert_eq!(host.lamport(), LamportTime(far + 2));
}

/// The first record of the outbox: its tag and its bytes.
fn first_record(host: &Host) -> (u16, Vec<u8>) {
    let records = host.outbox().records();
    let (head, rest) = records.split_first_chunk::<6>().expect("a record");
    let length = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
    (u16::from_le_bytes([head[0], head[1]]), rest[..length].to_vec())
}

#[test]
fn a_durable_clock_writes_a_bound_before_it_speaks_and_never_goes_back() {
    let mut first = toys(None);
    assert!(first.outbox().records().is_empty(), "nothing was said yet");
    let frame = frame(Publisher::NAME, 41, &7_u32);
    first.handle_frame(NodeId(2), &frame, now()).expect("it decodes");
    assert_eq!(first.lamport(), LamportTime(42));
    let (tag, record) = first_record(&first);
    first.outbox_mut().clear_records();
    first.handle_frame(NodeId(2), &frame, now()).expect("it decodes");
    assert!(first.outbox().records().is_empty(), "the bound is far");

    // Started again from the record, and from a snapshot that a checkpoint made.
    let mut snapshot = Vec::new();
    first.snapshot(&mut |tag, record| snapshot.push((tag, record.to_vec())));
    assert_eq!(snapshot, [(tag, record.clone())]);
    let mut again = toys(None);
    again.handle_record(tag, &record).expect("it is the Host's own");
    assert!(again.lamport() > first.lamport());
    let mut broken = toys(None);
    assert!(broken.handle_record(tag, &[0xFF]).is_err());
}

#[test]
fn a_greeting_lifts_a_clock_that_is_behind_unless_it_cannot_be_true() {
    let mut host = toys(None);
    host.handle_greeting(LamportTime(1 << 40), now()).expect("a cluster may be that old");
    assert_eq!(host.lamport(), LamportTime(1 << 40));
    host.handle_greeting(LamportTime(3), now()).expect("a peer may be behind");
    assert_eq!(host.lamport(), LamportTime(1 << 40));
    assert!(host.handle_greeting(LamportTime(u64::MAX), now()).is_err());
    assert_eq!(host.lamport(), LamportTime(1 << 40));
    assert_eq!(host.counters().value(Counter::LamportJump), 1);
}

#[test]
fn a_stored_clock_that_nobody_would_follow_is_told_before_the_start() {
    let stored = |bound: u64| {
        let mut host = toys(None);
        host.handle_record(0, &bytes(&LamportTime(bound))).expect("it is the Host's own");
        host.check_clock(now())
    };
    // What greetings could do to older versions is gone on from.
    assert_eq!(stored((1 << 63) + (1 << 40)), Ok(()));
    let local = LamportTime(u64::MAX);
    assert_eq!(stored(u64::MAX), Err(node_protocols::core::Jump { local, received: local }));
}

#[test]
fn a_malformed_request_is_refused_and_changes_nothing() {
    let mut host = store(1);
    let put = Request::Put { key: "k".into(), value: "v".into() };
    let good = bytes(&put);
    let before = state(&host);
    for cut in 0..good.len() {
        assert_eq!(host.handle_request(0, caller(), &good[..cut], now()), Err(Malformed));
    }
    assert_eq!(state(&host), before);
    assert_eq!(host.counters().value(Counter::RequestsIn), 0, "none was delivered");
    assert_eq!(host.handle_request(0, caller(), &good, now()), Ok(()));
    assert_eq!(host.counters().value(Counter::RequestsIn), 1);
}

// Wire forms.

fn timestamp() -> impl Strategy<Value = Timestamp> {
    prop_oneof![0..20_u64, 0..=1_u64 << 62].prop_map(Timestamp)
}

fn blob() -> impl Strategy<Value = node_protocols::core::Bytes<'static>> {
    prop::collection::vec(any::<u8>(), 0..80)
        .prop_map(|bytes| node_protocols::core::Bytes(bytes.into()))
}

fn epoch() -> impl Strategy<Value = Epoch> {
    prop_oneof![0..3_u64, any::<u64>()].prop_map(Epoch)
}

fn outcome() -> impl Strategy<Value = Outcome<'static>> {
    prop_oneof![
        timestamp().prop_map(|timestamp| Outcome::Ok { timestamp }),
        ".*".prop_map(|reason| Outcome::NotApplied { reason: reason.into() }),
        ".*".prop_map(|reason| Outcome::MayStillApply { reason: reason.into() }),
    ]
}

fn hash() -> impl Strategy<Value = Hash> {
    prop_oneof![0..3_u64, any::<u64>()].prop_map(Hash)
}

fn history() -> impl Strategy<Value = History> {
    let standing =
        prop_oneof![Just(Standing::Nothing), Just(Standing::Partial), Just(Standing::Whole)];
    (hash(), timestamp(), hash(), standing).prop_map(|(genesis, applied, hash, standing)| History {
        genesis,
        applied,
        hash,
        standing,
    })
}

fn message() -> impl Strategy<Value = Message<'static>> {
    let entry = (timestamp(), blob(), blob()).prop_map(|(timestamp, key, value)| Entry {
        timestamp,
        key,
        value,
    });
    let id = (any::<u64>(), any::<u64>())
        .prop_map(|(incarnation, sequence)| ForwardId { incarnation, sequence });
    // An IPv6 scope is not carried: it means something on one machine only.
    let addr = any::<(std::net::IpAddr, u16)>().prop_map(std::net::SocketAddr::from);
    let place = || prop_oneof![0..3_u32, any::<u32>()];
    let part = (place(), place(), prop::option::of(place()), history(), timestamp());
    let entries = prop::collection::vec(entry, 0..4);
    let marks = prop::collection::vec((timestamp(), prop::option::of(hash())), 0..4);
    prop_oneof![
        (epoch(), prop::collection::vec(timestamp(), 0..4))
            .prop_map(|(epoch, at)| Message::Probe { epoch, at, known: false }),
        (epoch(), history(), marks).prop_map(|(epoch, history, marks)| Message::State {
            epoch,
            history,
            marks
        }),
        (epoch(), history()).prop_map(|(epoch, history)| Message::Resume { epoch, history }),
        (epoch(), place(), any::<bool>()).prop_map(|(epoch, transfer, contradicts)| {
            Message::Resync { epoch, transfer, contradicts }
        }),
        (epoch(), epoch(), timestamp(), blob(), blob()).prop_map(
            |(epoch, reign, timestamp, key, value)| Message::Replication {
                epoch,
                reign,
                timestamp,
                key,
                value
            }
        ),
        (epoch(), timestamp(), hash())
            .prop_map(|(epoch, applied, hash)| { Message::ReplicationOk { epoch, applied, hash } }),
        epoch().prop_map(|epoch| Message::DiskFull { epoch }),
        (epoch(), timestamp()).prop_map(|(epoch, received)| Message::Staged { epoch, received }),
        (epoch(), place(), place()).prop_map(|(epoch, transfer, cursor)| Message::Pull {
            epoch,
            transfer,
            cursor
        }),
        (epoch(), part, entries).prop_map(
            |(epoch, (transfer, cursor, next, base, head), entries)| {
                Message::Chunk { epoch, transfer, cursor, next, base, head, entries }
            }
        ),
        (id.clone(), addr, blob(), blob()).prop_map(|(id, addr, key, value)| Message::Forward {
            id,
            addr,
            key,
            value
        }),
        (id, outcome()).prop_map(|(id, outcome)| Message::Forwarded { id, outcome }),
    ]
}

fn record() -> impl Strategy<Value = Record<'static>> {
    prop_oneof![
        (epoch(), timestamp(), blob(), blob()).prop_map(|(reign, timestamp, key, value)| {
            Record::Put { reign, timestamp, key, value }
        }),
        (timestamp(), blob(), blob()).prop_map(|(timestamp, key, value)| Record::Entry {
            timestamp,
            key,
            value
        }),
        (timestamp(), hash(), hash()).prop_map(|(timestamp, genesis, hash)| Record::Applied {
            timestamp,
            genesis,
            hash
        }),
        Just(()).prop_map(|()| Record::Complete),
    ]
}

fn request() -> impl Strategy<Value = Request<'static>> {
    prop_oneof![
        (blob(), blob()).prop_map(|(key, value)| Request::Put { key, value }),
        (blob(), timestamp(), timestamp()).prop_map(|(key, timestamp, applied)| Request::Get {
            key,
            timestamp,
            applied
        }),
        Just(()).prop_map(|()| Request::Info {}),
    ]
}

fn reply() -> impl Strategy<Value = Reply<'static>> {
    let info = (any::<u32>(), epoch(), any::<bool>(), timestamp(), ".*").prop_map(
        |(node, epoch, complete, applied, text)| {
            Reply::Info(Info {
                node: NodeId(node),
                leader: NodeId(1),
                epoch,
                complete,
                reason: text.clone().into(),
                applied,
                keys: applied.0,
                followers: [(NodeId(node), FollowerInfo { up: complete, acked: applied })].into(),
                counters: [(text.clone().into(), applied.0)].into(),
                table_digest: text.into(),
            })
        },
    );
    prop_oneof![
        outcome().prop_map(Reply::from),
        (blob(), timestamp()).prop_map(|(value, timestamp)| Reply::Value { value, timestamp }),
        Just(Reply::Null {}),
        timestamp().prop_map(|timestamp| Reply::TryOtherServerOrLater { timestamp }),
        info,
    ]
}

/// What is written is what is read, and nothing shorter reads as a whole.
macro_rules! assert_round_trip {
    ($type:ident, $value:expr) => {
        let value: $type<'_> = $value;
        let encoded = bytes(&value);
        let (read, rest) =
            postcard::take_from_bytes::<$type<'_>>(&encoded).expect("it was written");
        prop_assert_eq!(format!("{value:?}"), format!("{read:?}"));
        prop_assert!(rest.is_empty());
        for cut in 0..encoded.len() {
            prop_assert!(postcard::from_bytes::<$type<'_>>(&encoded[..cut]).is_err());
        }
    };
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_wire_form_is_read_as_it_was_written(
        message in message(), record in record(), request in request(), reply in reply(),
    ) {
        assert_round_trip!(Message, message);
        assert_round_trip!(Record, record);
        assert_round_trip!(Request, request);
        assert_round_trip!(Reply, reply);
    }

    #[test]
    fn no_part_of_a_frame_is_taken(message in message(), id in 1..=2_u32) {
        let frame = frame("kv_replication", 5, &message);
        let mut host = store(id);
        for cut in 0..frame.len() {
            let before = state(&host);
            // A tag that is cut short can be the tag of another protocol.
            prop_assert!(host.handle_frame(NodeId(3), &frame[..cut], now()).is_err());
            prop_assert_eq!(state(&host), before);
        }
    }

    #[test]
    fn random_bytes_never_panic(
        id in 1..=2_u32,
        parts in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..60), 0..3_u8, 1..=4_u32), 0..20),
    ) {
        let mut host = store(id);
        for (random, kind, from) in parts {
            // Any outcome is right but a panic.
            let _ = match kind {
                0 => host.handle_frame(NodeId(from), &random, now()).is_ok(),
                1 => {
                    let envelope = bytes(&(protocol_tag("kv_replication"), 1_u64));
                    let frame = [&envelope[..], &random].concat();
                    host.describe(&frame);
                    host.handle_frame(NodeId(from), &frame, now()).is_ok()
                }
                _ => host.handle_request(0, caller(), &random, now()).is_ok(),
            };
            host.outbox_mut().clear_effects();
        }
    }

    #[test]
    fn messages_that_make_no_sense_never_panic(
        id in 1..=2_u32,
        events in prop::collection::vec((message(), 1..=4_u32, 0..4_u8), 0..40),
    ) {
        let mut host = store(id);
        let mut time = now();
        for (message, from, also) in events {
            let frame = frame("kv_replication", 1, &message);
            prop_assert_eq!(host.handle_frame(NodeId(from), &frame, time), Ok(()));
            match also {
                0 => {
                    let put = Request::Put { key: "k".into(), value: "v".into() };
                    let put = bytes(&put);
                    prop_assert_eq!(host.handle_request(0, caller(), &put, time), Ok(()));
                }
                1 => {
                    time.time = time.time + std::time::Duration::from_millis(15);
                    host.handle_timers(time);
                }
                2 => host.handle_link(NodeId(from), false, time),
                _ => host.handle_link(NodeId(from), true, time),
            }
            host.outbox_mut().clear_effects();
            host.outbox_mut().clear_records();
        }
    }

    #[test]
    fn records_that_make_no_sense_never_panic(
        id in 1..=2_u32,
        records in prop::collection::vec(record(), 0..20),
    ) {
        let mut host = store(id);
        for record in records {
            // A record in the wrong place may be refused; the node does not start then.
            if host.handle_record(protocol_tag("kv_replication"), &bytes(&record)).is_err() {
                break;
            }
        }
    }
}

#[test]
fn a_timestamp_that_no_leader_ever_gives_does_not_decode() {
    let mut host = store(2);
    for (timestamp, expected) in [(1 << 62, Ok(())), (u64::MAX, Err(FrameError::Malformed))] {
        let history = History { applied: Timestamp(timestamp), ..History::default() };
        let probe = Message::Resume { epoch: Epoch(0), history };
        let frame = frame("kv_replication", 1, &probe);
        assert_eq!(host.handle_frame(NodeId(1), &frame, now()), expected);
    }
}
