//! The gateways' codecs in the simulated path: that bugs in them are found, and which clients speak
//! through them.

use node_lab::registry::Registry;
use node_lab::sim::run::run;
use node_lab::sim::scenario::Scenario;
use node_lab::sim::tracer::Tracer;
use node_protocols::board::{self, Board, Nats};
use node_protocols::core::{Bytes, ClientId, Decoded, Gateway};
use node_protocols::kv_replication::{KvReplication, Reply, Request, Resp};
use node_studies::berkeley::BerkeleyStudy;
use node_studies::board::BoardStudy;
use node_studies::bully::BullyStudy;
use node_studies::kv_replication::StoreStudy;
use node_studies::membership::MembershipStudy;
use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// RESP, but the byte before which a request was cut is lost.
#[derive(Default)]
struct LosesBytes {
    resp: Resp,
    /// Where the request under way was cut.
    cuts: Vec<usize>,
}

impl Gateway for LosesBytes {
    const NAME: &'static str = "resp";
    type Protocol = KvReplication;

    fn identify(&mut self, client: ClientId) {
        self.resp.identify(client);
    }

    fn is_http(&self, input: &[u8]) -> bool {
        self.resp.is_http(input)
    }

    fn decode<'a>(
        &mut self,
        input: &'a [u8],
        idle: bool,
        output: &mut Vec<u8>,
    ) -> Decoded<Request<'a>> {
        let is_kept = |place: &usize| !self.cuts.contains(place);
        let kept: Vec<u8> = (0..input.len()).filter(is_kept).map(|place| input[place]).collect();
        let lost = input.len() - kept.len();
        let decoded = owned(self.resp.decode(&kept, idle, output), lost);
        match decoded {
            Decoded::Incomplete if self.cuts.last() != Some(&input.len()) => {
                self.cuts.push(input.len());
            }
            Decoded::Request { .. } | Decoded::Answered { .. } => self.cuts.clear(),
            Decoded::Incomplete | Decoded::Wait | Decoded::Close { .. } => {}
        }
        decoded
    }

    fn encode(&mut self, reply: Reply<'_>, output: &mut Vec<u8>) {
        self.resp.encode(reply, output);
    }
}

/// RESP, but it takes every moment for one in which nothing is unanswered.
#[derive(Default)]
struct NeverWaits(Resp);

impl Gateway for NeverWaits {
    const NAME: &'static str = "resp";
    type Protocol = KvReplication;

    fn is_http(&self, input: &[u8]) -> bool {
        self.0.is_http(input)
    }

    fn decode<'a>(
        &mut self,
        input: &'a [u8],
        _: bool,
        output: &mut Vec<u8>,
    ) -> Decoded<Request<'a>> {
        self.0.decode(input, true, output)
    }

    fn encode(&mut self, reply: Reply<'_>, output: &mut Vec<u8>) {
        self.0.encode(reply, output);
    }
}

/// RESP, but of a value's bytes the last is another.
#[derive(Default)]
struct ChangesValues(Resp);

impl Gateway for ChangesValues {
    const NAME: &'static str = "resp";
    type Protocol = KvReplication;

    fn is_http(&self, input: &[u8]) -> bool {
        self.0.is_http(input)
    }

    fn decode<'a>(
        &mut self,
        input: &'a [u8],
        idle: bool,
        output: &mut Vec<u8>,
    ) -> Decoded<Request<'a>> {
        match owned(self.0.decode(input, idle, output), 0) {
            Decoded::Request { used, request: Request::Put { key, value } } => {
                let mut value = value.0.into_owned();
                value.pop();
                value.push(b'x');
                let value = Bytes(Cow::Owned(value));
                Decoded::Request { used, request: Request::Put { key, value } }
            }
            other => other,
        }
    }

    fn encode(&mut self, reply: Reply<'_>, output: &mut Vec<u8>) {
        self.0.encode(reply, output);
    }
}

/// NATS, but with a bug in what is pushed, or with none.
#[derive(Default)]
struct Pushed<const BUG: u8>(Nats);

const NO_BUG: u8 = 0;
/// The last byte of a text is another, in the last copy.
const CHANGED: u8 = 1;
/// What a connection gets that was encoded for another is not counted.
const NOT_COUNTED: u8 = 2;
/// All connections are taken for such as get the same bytes.
const ONE_FORM: u8 = 3;

impl<const BUG: u8> Gateway for Pushed<BUG> {
    const NAME: &'static str = "nats";
    const MAX_PENDING_BYTES: Option<usize> = Nats::MAX_PENDING_BYTES;
    type Protocol = Board;

    fn identify(&mut self, client: ClientId) {
        self.0.identify(client);
    }

    fn greet(&mut self, output: &mut Vec<u8>) {
        self.0.greet(output);
    }

    fn is_http(&self, input: &[u8]) -> bool {
        self.0.is_http(input)
    }

    fn decode<'a>(
        &mut self,
        input: &'a [u8],
        idle: bool,
        output: &mut Vec<u8>,
    ) -> Decoded<board::Request<'a>> {
        self.0.decode(input, idle, output)
    }

    fn form(&mut self) -> &[u8] {
        if BUG == ONE_FORM { &[] } else { self.0.form() }
    }

    fn take_tally(&mut self, tally: &mut Vec<(usize, u64)>) {
        self.0.take_tally(tally);
    }

    fn apply_tally(&mut self, tally: &[(usize, u64)]) {
        if BUG != NOT_COUNTED {
            self.0.apply_tally(tally);
        }
    }

    fn encode(&mut self, reply: board::Reply<'_>, output: &mut Vec<u8>) {
        let is_message = matches!(reply, board::Reply::Message { .. });
        self.0.encode(reply, output);
        if let (true, CHANGED, Some(last)) = (is_message, BUG, output.len().checked_sub(3)) {
            output[last] = b'x';
        }
    }
}

/// The same with its own bytes, of which so many more were used.
fn owned<'a>(decoded: Decoded<Request<'_>>, lost: usize) -> Decoded<Request<'a>> {
    let own = |bytes: Bytes<'_>| Bytes(Cow::Owned(bytes.0.into_owned()));
    match decoded {
        Decoded::Request { used, request } => {
            let request = match request {
                Request::Put { key, value } => Request::Put { key: own(key), value: own(value) },
                Request::Get { key, timestamp, applied } => {
                    Request::Get { key: own(key), timestamp, applied }
                }
                Request::Info {} => Request::Info {},
            };
            Decoded::Request { used: if used > 0 { used + lost } else { 0 }, request }
        }
        Decoded::Answered { used } => Decoded::Answered { used: used + lost },
        Decoded::Incomplete => Decoded::Incomplete,
        Decoded::Wait => Decoded::Wait,
        Decoded::Close { reason } => Decoded::Close { reason },
    }
}

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")
}

/// What the first failing seed of so many breaks, where a scenario's gateway is this one.
fn broken<G: Gateway>(name: &str, seeds: u64) -> Option<String> {
    let mut registry = Registry::new();
    registry.register_study::<BerkeleyStudy>();
    registry.register_study::<BoardStudy>();
    registry.register_study::<BullyStudy>();
    registry.register_study::<MembershipStudy>();
    registry.register_study::<StoreStudy>();
    registry.register_gateway::<G>();
    let registry = Arc::new(registry);
    let path = configs().join("sim").join(name);
    let scenario = Arc::new(Scenario::load(&path, &registry).expect("it loads"));
    let fails = |seed| run(&scenario, &registry, &scenario.plan(seed), Tracer::new()).failure;
    let failure = (1..=seeds).find_map(fails)?;
    println!("{failure:?}");
    Some(failure.property)
}

#[test]
fn bugs_in_a_codec_are_found_and_its_own_seeds_hold() {
    assert_eq!(broken::<Resp>("kv-resp.toml", 20), None);
    assert_eq!(broken::<LosesBytes>("kv-resp.toml", 5).as_deref(), Some("codec"));
    assert_eq!(broken::<NeverWaits>("kv-resp.toml", 5).as_deref(), Some("codec"));
    assert_eq!(broken::<ChangesValues>("kv-resp.toml", 5).as_deref(), Some("regular_register"));
}

/// What is pushed comes through the codec: made once for those of one form, and counted by all.
#[test]
fn bugs_in_what_a_codec_makes_of_pushes_are_found() {
    let of = "board-nats.toml";
    assert_eq!(broken::<Pushed<NO_BUG>>(of, 10), None);
    assert_eq!(broken::<Pushed<CHANGED>>(of, 5).as_deref(), Some("codec"));
    assert_eq!(broken::<Pushed<NOT_COUNTED>>(of, 40).as_deref(), Some("codec"));
    assert_eq!(broken::<Pushed<ONE_FORM>>(of, 5).as_deref(), Some("codec"));
}

#[test]
fn clients_that_cannot_speak_so_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("scenario.toml");
    let bare = "[node]\nid = 1\n[[listeners]]\naddr = \"127.0.0.1:1\"\n\
                [protocols.kv_replication]\nleader = 1\n";
    fs::write(dir.path().join("bare.toml"), bare).expect("a file");
    let shipped = |name: &str| configs().join(name).display().to_string();
    let bare = dir.path().join("bare.toml").display().to_string();
    let proxy = fs::read_to_string(configs().join("board/proxy.toml")).expect("a file");
    let without = dir.path().join("proxy.toml");
    fs::write(&without, proxy.replace("\"nats\"", "\"json\"")).expect("a file");
    let with_proxy = |proxy: String| format!("{}\", \"{proxy}", shipped("board/broker.toml"));
    let board_without = with_proxy(without.display().to_string());
    for (node, study, workload, why) in [
        (
            shipped("kv-leader.toml"),
            "kv_replication",
            "wire = \"nats\"",
            "expected `resp` or `json`",
        ),
        (
            shipped("kv-leader.toml"),
            "kv_replication",
            "wire = \"resp\"\none_timestamp = true",
            "leave it out",
        ),
        (
            bare,
            "kv_replication",
            "wire = \"resp\"",
            "node 1 has no listener with gateway = \"resp\"",
        ),
        (shipped("lottery/central.toml"), "lottery", "wire = \"json\"", "expected `lottery-text`"),
        (
            with_proxy(shipped("board/proxy.toml")),
            "board",
            "wire = \"resp\"",
            "expected `json` or `nats`",
        ),
        (
            board_without,
            "board",
            "wire = \"nats\"",
            "node 7 has no listener with gateway = \"nats\"",
        ),
        (shipped("clocks/durable.toml"), "lamport", "wire = \"json\"", "unknown field `wire`"),
    ] {
        let text =
            format!("nodes = [\"{node}\"]\nproperties = []\n[workload.{study}]\n{workload}\n");
        fs::write(&path, text).expect("a file");
        let error = Scenario::load(&path, &node_studies::registry()).expect_err(workload);
        assert!(error.contains(why), "{workload}: {error}");
    }
}
