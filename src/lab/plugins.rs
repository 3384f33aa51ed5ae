//! Which protocols and gateways there are, by name.
//!
//! A protocol of this tree and one of somebody else's crate register the same way; see
//! [`Plugins::register`].

mod json;

use self::json::Json;
use node_core::{
    ClientId, ConfigError, Decoded, DynProtocol, Env, FactKind, Gateway, Protocol, erase, is_http,
    protocol_tag,
};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use toml::Spanned;
use toml::de::DeValue;

/// The protocols and gateways that a config can name.
pub struct Plugins {
    protocols: BTreeMap<&'static str, Plugin>,
    gateways: BTreeMap<&'static str, Codec>,
}

/// A protocol's table of a config, typed once and kept.
pub trait TypedConfig: Any + Send + Sync {
    /// Builds the protocol.
    ///
    /// # Errors
    /// Which key breaks which rule.
    fn build(&self, env: &Env) -> Result<Box<dyn DynProtocol>, ConfigError>;
    /// As TOML, with every default filled in.
    fn show(&self) -> String;
}

struct Typed<P: Protocol>(P::Config);

impl<P: Protocol> TypedConfig for Typed<P> {
    fn build(&self, env: &Env) -> Result<Box<dyn DynProtocol>, ConfigError> {
        erase::<P>(self.0.clone(), env)
    }

    fn show(&self) -> String {
        toml::to_string(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for dyn TypedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

/// The config of protocol `P`, if it is one.
pub fn config_of<P: Protocol>(typed: &dyn TypedConfig) -> Option<&P::Config> {
    let any: &dyn Any = typed;
    any.downcast_ref::<Typed<P>>().map(|typed| &typed.0)
}

type Read = fn(Spanned<DeValue<'_>>) -> Result<Arc<dyn TypedConfig>, toml::de::Error>;

struct Plugin {
    read: Read,
    json: fn() -> Box<dyn DynGateway>,
    publishes: &'static [FactKind],
}

struct Codec {
    protocol: &'static str,
    make: fn() -> Box<dyn DynGateway>,
}

impl Default for Plugins {
    fn default() -> Self {
        Plugins::new()
    }
}

impl Plugins {
    /// Nothing yet.
    pub fn new() -> Plugins {
        Plugins { protocols: BTreeMap::new(), gateways: BTreeMap::new() }
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
        let (read, json) = (read::<P>, json::<P>);
        self.protocols.insert(name, Plugin { read, json, publishes: P::PUBLISHES });
    }

    /// Adds a gateway of a registered protocol; a listener's `gateway = "NAME"` then uses it.
    ///
    /// # Panics
    /// When the name is taken.
    pub fn register_gateway<G: Gateway>(&mut self) {
        let taken = [NATIVE, JSON].contains(&G::NAME) || self.gateways.contains_key(G::NAME);
        assert!(!taken, "there is already a gateway {}", G::NAME);
        let codec = Codec { protocol: G::Protocol::NAME, make: || Box::new(Coded(G::default())) };
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

    /// Reads a protocol's table; none when no protocol has that name.
    pub fn read(
        &self,
        name: &str,
        table: Spanned<DeValue<'_>>,
    ) -> Option<Result<Arc<dyn TypedConfig>, toml::de::Error>> {
        self.protocols.get(name).map(|plugin| (plugin.read)(table))
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
/// The gateway of JSON objects.
pub const JSON: &str = "json";

fn read<P: Protocol>(table: Spanned<DeValue<'_>>) -> Result<Arc<dyn TypedConfig>, toml::de::Error> {
    let config = P::Config::deserialize(table.into_deserializer())?;
    Ok(Arc::new(Typed::<P>(config)))
}

fn json<P: Protocol>() -> Box<dyn DynGateway> {
    Box::new(Json::<P>::new())
}

/// A gateway without its types: requests and replies are postcard on the Host's side.
pub trait DynGateway {
    /// See [`Gateway::identify`].
    fn identify(&mut self, client: ClientId) {
        let _ = client;
    }

    /// See [`Gateway::is_http`].
    fn is_http(&self, input: &[u8]) -> bool {
        is_http(input, &[])
    }

    /// See [`Gateway::turn_away`].
    fn turn_away(&mut self, reason: &str, output: &mut Vec<u8>) {
        let _ = (reason, output);
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

    /// The client sends no more: what it has begun will not become whole, and it may still read why.
    fn end(&mut self) {}

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

struct Coded<G: Gateway>(G);

impl<G: Gateway> DynGateway for Coded<G> {
    fn identify(&mut self, client: ClientId) {
        self.0.identify(client);
    }

    fn is_http(&self, input: &[u8]) -> bool {
        self.0.is_http(input)
    }

    fn turn_away(&mut self, reason: &str, output: &mut Vec<u8>) {
        self.0.turn_away(reason, output);
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
                node_core::encode(&typed, request);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gateway_but_the_one_that_does_nothing_knows_http() {
        let registry = crate::testing::registry();
        for gateway in registry.gateway_names().into_iter().filter(|name| *name != NATIVE) {
            let protocol = registry.gateway_protocol(gateway).unwrap_or("lottery");
            let (_, codec) = registry.codec(gateway, protocol).unwrap();
            for line in ["POST / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n", "Host: x\r\n"] {
                assert_eq!(codec.is_http(line.as_bytes()), gateway != "echo", "{gateway}: {line}");
            }
        }
    }
}
