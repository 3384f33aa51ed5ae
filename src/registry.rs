//! Which protocols and gateways there are, by name: the plugin point.
//!
//! A protocol of this tree and one of somebody else's crate register the same way; see
//! [`Registry::register`].

use node_protocols::berkeley::Berkeley;
use node_protocols::board::{Board, Nats};
use node_protocols::bully::Bully;
use node_protocols::core::{
    ClientId, ConfigError, Decoded, DynProtocol, Env, FactKind, Gateway, Protocol, erase,
    protocol_tag,
};
use node_protocols::echo::{Echo, EchoBytes};
use node_protocols::kv_replication::{KvReplication, Resp};
use node_protocols::lamport::Lamport;
use node_protocols::lottery::{Lottery, LotteryText};
use node_protocols::membership::Membership;
use serde::Deserialize;
use serde::de::{Error as _, IntoDeserializer};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use toml::Spanned;
use toml::de::DeValue;

/// The protocols and gateways that a config can name.
pub struct Registry {
    protocols: BTreeMap<&'static str, Plugin>,
    gateways: BTreeMap<&'static str, Codec>,
}

type Build = fn(Spanned<DeValue<'_>>, &Env) -> Result<Box<dyn DynProtocol>, BuildError>;

type Show = fn(Spanned<DeValue<'_>>) -> Option<String>;

struct Plugin {
    build: Build,
    show: Show,
    json: fn() -> Box<dyn DynGateway>,
    publishes: &'static [FactKind],
}

struct Codec {
    protocol: &'static str,
    make: fn() -> Box<dyn DynGateway>,
}

/// Why a protocol could not be built from its table.
#[derive(Debug)]
pub enum BuildError {
    /// The table has not the form of the protocol's config.
    Form(toml::de::Error),
    /// A value breaks a rule.
    Rule(ConfigError),
}

impl Default for Registry {
    fn default() -> Self {
        Registry::new()
    }
}

impl Registry {
    /// The protocols of this tree.
    pub fn new() -> Registry {
        let mut registry = Registry { protocols: BTreeMap::new(), gateways: BTreeMap::new() };
        registry.register::<Berkeley>();
        registry.register::<Board>();
        registry.register_gateway::<Nats>();
        registry.register::<Bully>();
        registry.register::<Echo>();
        registry.register_gateway::<EchoBytes>();
        registry.register::<KvReplication>();
        registry.register::<Lottery>();
        registry.register_gateway::<LotteryText>();
        registry.register::<Lamport>();
        registry.register::<Membership>();
        registry.register_gateway::<Resp>();
        registry
    }

    /// Adds a protocol; `[protocols.NAME]` in a config then runs it, and its requests can be made
    /// through the gateways `native` and `json`.
    ///
    /// # Panics
    /// When the name, or the 16-bit tag made of it, is taken.
    pub fn register<P: Protocol>(&mut self) {
        let name = P::NAME;
        let taken = self.protocols.keys().find(|other| protocol_tag(other) == protocol_tag(name));
        assert!(taken.is_none(), "{name} and {taken:?} share a tag: rename the new one");
        let (build, show, json) = (build::<P>, show::<P>, json::<P>);
        self.protocols.insert(name, Plugin { build, show, json, publishes: P::PUBLISHES });
    }

    /// Adds a gateway of a registered protocol; a listener's `gateway = "NAME"` then uses it.
    ///
    /// # Panics
    /// When the name is taken.
    pub fn register_gateway<G: Gateway>(&mut self) {
        let taken = [NATIVE, JSON].contains(&G::NAME) || self.gateways.contains_key(G::NAME);
        assert!(!taken, "there is already a gateway {}", G::NAME);
        let codec = Codec { protocol: G::Protocol::NAME, make: || Box::new(Typed(G::default())) };
        self.gateways.insert(G::NAME, codec);
    }

    /// The names of all protocols.
    pub fn protocol_names(&self) -> Vec<&'static str> {
        self.protocols.keys().copied().collect()
    }

    /// The protocols that publish facts of a kind.
    pub fn publishers(&self, kind: FactKind) -> Vec<&'static str> {
        let publish = self.protocols.iter().filter(|(_, plugin)| plugin.publishes.contains(&kind));
        publish.map(|(name, _)| *name).collect()
    }

    /// The names of all gateways.
    pub fn gateway_names(&self) -> Vec<&'static str> {
        [NATIVE, JSON].into_iter().chain(self.gateways.keys().copied()).collect()
    }

    /// The protocol that a gateway is bound to; none for those that carry any.
    pub fn gateway_protocol(&self, gateway: &str) -> Option<&'static str> {
        self.gateways.get(gateway).map(|codec| codec.protocol)
    }

    /// Builds a protocol from its table; none when no protocol has that name.
    pub fn build(
        &self,
        name: &str,
        table: Spanned<DeValue<'_>>,
        env: &Env,
    ) -> Option<Result<Box<dyn DynProtocol>, BuildError>> {
        self.protocols.get(name).map(|plugin| (plugin.build)(table, env))
    }

    /// A protocol's table with every default filled in, as TOML.
    pub fn show(&self, name: &str, table: Spanned<DeValue<'_>>) -> Option<String> {
        self.protocols.get(name).and_then(|plugin| (plugin.show)(table))
    }

    /// The codec for one connection of a client, and its gateway's name; none for the native one, which needs none.
    pub fn codec(
        &self,
        gateway: &str,
        protocol: &str,
    ) -> Option<(&'static str, Box<dyn DynGateway>)> {
        match gateway {
            JSON => self.protocols.get(protocol).map(|plugin| (JSON, (plugin.json)())),
            _ => self.gateways.get_key_value(gateway).map(|(name, codec)| (*name, (codec.make)())),
        }
    }
}

/// The gateway of peers and of this program's own clients.
pub const NATIVE: &str = "native";
/// The gateway of one JSON object a line.
pub const JSON: &str = "json";

fn build<P: Protocol>(
    table: Spanned<DeValue<'_>>,
    env: &Env,
) -> Result<Box<dyn DynProtocol>, BuildError> {
    let config = P::Config::deserialize(table.into_deserializer()).map_err(BuildError::Form)?;
    erase::<P>(config, env).map_err(BuildError::Rule)
}

fn show<P: Protocol>(table: Spanned<DeValue<'_>>) -> Option<String> {
    let config = P::Config::deserialize(table.into_deserializer()).ok()?;
    toml::to_string(&config).ok()
}

fn json<P: Protocol>() -> Box<dyn DynGateway> {
    Box::new(Json::<P> { searched: 0, protocol: PhantomData })
}

/// A gateway without its types: requests and replies are postcard on the Host's side.
pub trait DynGateway {
    /// See [`Gateway::identify`].
    fn identify(&mut self, client: ClientId) {
        let _ = client;
    }

    /// See [`Gateway::greet`].
    fn greet(&mut self, output: &mut Vec<u8>) {
        let _ = output;
    }

    /// See [`Gateway::form`].
    fn form(&mut self) -> &[u8] {
        &[]
    }

    /// See [`Gateway::MAX_PENDING_BYTES`].
    fn max_pending_bytes(&self) -> Option<usize> {
        None
    }

    /// See [`Gateway::take_tally`].
    fn take_tally(&mut self, tally: &mut Vec<(usize, u64)>) {
        let _ = tally;
    }

    /// See [`Gateway::apply_tally`].
    fn apply_tally(&mut self, tally: &[(usize, u64)]) {
        let _ = tally;
    }

    /// See [`Gateway::decode`]; a request is left in `request`.
    fn decode(
        &mut self,
        input: &[u8],
        idle: bool,
        request: &mut Vec<u8>,
        output: &mut Vec<u8>,
    ) -> Decoded<()>;

    /// See [`Gateway::encode`].
    fn encode(&mut self, reply: &[u8], output: &mut Vec<u8>);
}

struct Typed<G: Gateway>(G);

impl<G: Gateway> DynGateway for Typed<G> {
    fn identify(&mut self, client: ClientId) {
        self.0.identify(client);
    }

    fn greet(&mut self, output: &mut Vec<u8>) {
        self.0.greet(output);
    }

    fn form(&mut self) -> &[u8] {
        self.0.form()
    }

    fn max_pending_bytes(&self) -> Option<usize> {
        G::MAX_PENDING_BYTES
    }

    fn take_tally(&mut self, tally: &mut Vec<(usize, u64)>) {
        self.0.take_tally(tally);
    }

    fn apply_tally(&mut self, tally: &[(usize, u64)]) {
        self.0.apply_tally(tally);
    }

    fn decode(
        &mut self,
        input: &[u8],
        idle: bool,
        request: &mut Vec<u8>,
        output: &mut Vec<u8>,
    ) -> Decoded<()> {
        match self.0.decode(input, idle, output) {
            Decoded::Incomplete => Decoded::Incomplete,
            Decoded::Wait => Decoded::Wait,
            Decoded::Request { used, request: typed } => {
                node_protocols::core::encode(&typed, request);
                Decoded::Request { used, request: () }
            }
            Decoded::Answered { used } => Decoded::Answered { used },
            Decoded::Close { reason } => Decoded::Close { reason },
        }
    }

    fn encode(&mut self, reply: &[u8], output: &mut Vec<u8>) {
        let reply = postcard::from_bytes::<<G::Protocol as Protocol>::Reply<'_>>(reply);
        // The Host encoded it from this very type a moment ago.
        let reply = reply.expect("a reply decodes as what it was encoded from");
        self.0.encode(reply, output);
    }
}

/// One JSON object a line, for any protocol: requests and replies in serde's own form. A
/// connection's requests are answered one after the other.
struct Json<P: Protocol> {
    /// How many bytes of a line that is still coming are known to hold no end: each is looked at
    /// once, however small the pieces are.
    searched: usize,
    protocol: PhantomData<P>,
}

impl<P: Protocol> DynGateway for Json<P> {
    fn decode(
        &mut self,
        input: &[u8],
        idle: bool,
        request: &mut Vec<u8>,
        output: &mut Vec<u8>,
    ) -> Decoded<()> {
        if !idle {
            return Decoded::Wait;
        }
        let unsearched = input.get(self.searched..).unwrap_or_default();
        let Some(end) = unsearched.iter().position(|byte| *byte == b'\n') else {
            self.searched = input.len();
            return Decoded::Incomplete;
        };
        let end = self.searched + end;
        self.searched = 0;
        let (line, used) = (input[..end].trim_ascii(), end + 1);
        if line.is_empty() {
            return Decoded::Answered { used };
        }
        let value = P::JSON_KEYS.map(|keys| keyless(line, keys)).transpose();
        let typed = value.as_ref().map_err(ToString::to_string).and_then(|value| {
            let typed = match value {
                None => serde_json::from_slice::<P::Request<'_>>(line),
                Some(value) => P::Request::deserialize(value),
            };
            typed.map_err(|error| error.to_string())
        });
        match typed {
            Ok(typed) => {
                node_protocols::core::encode(&typed, request);
                Decoded::Request { used, request: () }
            }
            Err(error) => match P::malformed(&error) {
                Some(answers_it) => {
                    node_protocols::core::encode(&answers_it, request);
                    Decoded::Request { used, request: () }
                }
                None => {
                    json_line(output, &serde_json::json!({ "error": error }));
                    Decoded::Answered { used }
                }
            },
        }
    }

    fn encode(&mut self, reply: &[u8], output: &mut Vec<u8>) {
        let reply = postcard::from_bytes::<P::Reply<'_>>(reply);
        let reply = reply.expect("a reply decodes as what it was encoded from");
        let start = output.len();
        if let Err(error) = serde_json::to_writer(&mut *output, &reply) {
            output.truncate(start);
            return json_line(output, &serde_json::json!({ "error": error.to_string() }));
        }
        if let Some(keys) = P::JSON_KEYS {
            put_keys(output, start, keys);
        }
        output.push(b'\n');
    }
}

/// Kind and content of a line that has them under keys of their own, in serde's form.
fn keyless(line: &[u8], (kind, content): (&str, &str)) -> serde_json::Result<serde_json::Value> {
    let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line)?;
    let missing = |key: &str| serde_json::Error::custom(format!("missing field `{key}`"));
    let name = match object.remove(kind) {
        Some(serde_json::Value::String(name)) => name,
        Some(_) => return Err(serde_json::Error::custom(format!("`{kind}` must be a string"))),
        None => return Err(missing(kind)),
    };
    let content = object.remove(content).ok_or_else(|| missing(content))?;
    if let Some(key) = object.keys().next() {
        return Err(serde_json::Error::custom(format!("unknown field `{key}`")));
    }
    Ok([(name, content)].into_iter().collect())
}

/// The other way round, for the text `{"kind":content}` at `start`, which keeps its order.
fn put_keys(output: &mut Vec<u8>, start: usize, (kind, content): (&str, &str)) {
    let Some(colon) = output[start..].iter().position(|byte| *byte == b':') else { return };
    let between = format!(",\"{content}\":");
    output.splice(start + colon..=start + colon, between.into_bytes());
    output.splice(start + 1..start + 1, format!("\"{kind}\":").into_bytes());
}

fn json_line(output: &mut Vec<u8>, line: &serde_json::Value) {
    output.extend_from_slice(line.to_string().as_bytes());
    output.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use node_protocols::membership::Request;

    /// What the JSON gateway makes of a line for `membership`.
    fn decoded(line: &str) -> Result<Vec<u8>, String> {
        let (_, mut codec) = Registry::new().codec(JSON, "membership").unwrap();
        let (mut request, mut output) = (Vec::new(), Vec::new());
        let line = format!("{line}\n");
        match codec.decode(line.as_bytes(), true, &mut request, &mut output) {
            Decoded::Request { used, .. } if used == line.len() && output.is_empty() => {
                match postcard::from_bytes(&request).unwrap() {
                    Request::Malformed { reason } => Err(reason.into_owned()),
                    Request::Rank { .. } | Request::List { .. } | Request::Heartbeat { .. } => {
                        Ok(request)
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn json_has_the_documents_keys_where_a_document_has_them() {
        use node_protocols::core::LamportTime;
        use node_protocols::membership::{Listed, Reply};
        let line =
            r#"{"service":"rank","data":{"user":"server1","timestamp":1234567890,"clock":1}}"#;
        let request = decoded(line).unwrap();
        let expected = Request::Rank {
            user: "server1".into(),
            timestamp: 1_234_567_890,
            clock: LamportTime(1),
        };
        assert_eq!(postcard::from_bytes::<Request<'_>>(&request).unwrap(), expected);
        // In any order, as JSON has it.
        let other =
            r#"{"data":{"clock":1,"user":"server1","timestamp":1234567890},"service":"rank"}"#;
        assert_eq!(decoded(other).unwrap(), request);
        for (line, why) in [
            (r#"{"service":"rank"}"#, "missing field `data`"),
            (r#"{"data":{}}"#, "missing field `service`"),
            (r#"{"service":"rang","data":{}}"#, "unknown variant `rang`"),
            (r#"{"service":7,"data":{}}"#, "`service` must be a string"),
            (r#"{"service":"list","data":{},"more":1}"#, "unknown field `more`"),
            (r#"{"service":"list","data":{"timestamp":1}}"#, "missing field `clock`"),
            ("[]", "invalid type"),
            ("{", "EOF"),
        ] {
            let error = decoded(line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
        let list = vec![Listed { name: "a:\"b\"".into(), rank: 1 }];
        let reply = Reply::List { list, timestamp: 5, clock: LamportTime(2) };
        let (mut bytes, mut output) = (Vec::new(), Vec::new());
        node_protocols::core::encode(&reply, &mut bytes);
        Registry::new().codec(JSON, "membership").unwrap().1.encode(&bytes, &mut output);
        assert_eq!(
            String::from_utf8(output).unwrap(),
            "{\"service\":\"list\",\"data\":{\"list\":[{\"name\":\"a:\\\"b\\\"\",\"rank\":1}],\
             \"timestamp\":5,\"clock\":2}}\n"
        );
    }
}
