//! Where nodes listen: as whoever starts a load says, or as the nodes' configs do. Knows gateways
//! by their names alone.

use node_lab::config::Config;
use node_lab::registry::NATIVE;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A node's listener: the node's id, and what is spoken there.
type Place = (u32, String);

/// Where the nodes of a scenario listen.
#[derive(Debug, Default)]
pub struct Addresses {
    /// What was named; empty for what the configs say.
    named: BTreeMap<Place, SocketAddr>,
}

impl Addresses {
    /// Those that texts name, `ID=HOST:PORT` each for native listeners and `ID/GATEWAY=HOST:PORT`
    /// for others; of no texts, the listeners in the nodes' configs. `resolve` finds the address
    /// behind `HOST:PORT`.
    ///
    /// # Errors
    /// Which text names what is not there, in one line.
    pub fn new(
        texts: &[String],
        nodes: &[Config],
        gateways: &[&str],
        resolve: impl Fn(&str) -> Result<SocketAddr, String>,
    ) -> Result<Addresses, String> {
        let mut named = BTreeMap::new();
        for text in texts {
            let wrong =
                || format!("--servers {text:?}: write ID=HOST:PORT, or ID/GATEWAY=HOST:PORT");
            let (place, addr) = text.split_once('=').ok_or_else(wrong)?;
            let (id, gateway) = place.split_once('/').unwrap_or((place, NATIVE));
            let id: u32 = id.trim().parse().map_err(|_| wrong())?;
            if !nodes.iter().any(|node| node.id.0 == id) {
                let ids: Vec<String> = nodes.iter().map(|node| node.id.to_string()).collect();
                let ids = ids.join(", ");
                return Err(format!("--servers {text:?}: there is no node {id}; there are {ids}"));
            }
            if !gateways.contains(&gateway) {
                let all = gateways.join(", ");
                return Err(format!("--servers {text:?}: no such gateway; there are {all}"));
            }
            let addr = resolve(addr).map_err(|why| format!("--servers: {why}"))?;
            if named.insert((id, gateway.to_string()), addr).is_some() {
                return Err(format!("--servers {text:?}: that listener is named twice"));
            }
        }
        Ok(Addresses { named })
    }

    /// Where a node takes what clients of a protocol say through a gateway.
    pub fn of(&self, node: &Config, gateway: &str, protocol: &str) -> Option<SocketAddr> {
        if !self.named.is_empty() {
            return self.named.get(&(node.id.0, gateway.to_string())).copied();
        }
        let serves = |protocols: &Option<String>| {
            protocols.as_deref().is_none_or(|served| served == protocol)
        };
        let listener = node
            .listeners
            .iter()
            .find(|listener| listener.gateway == gateway && serves(&listener.protocol))?;
        Some(reachable(listener.addr))
    }

    /// What to do when who is said to have none has no such listener.
    pub(super) fn lack(who: &str, gateway: &str) -> String {
        let place = if gateway == NATIVE { "ID".into() } else { format!("ID/{gateway}") };
        format!(
            "{who} for what these clients speak, {gateway}: name it with \
             --servers {place}=HOST:PORT, or in the node's config"
        )
    }
}

/// Who listens everywhere is reached on this machine.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn nodes() -> Vec<Config> {
        let text = "[node]\nid = 3\n[[listeners]]\naddr = \"0.0.0.0:7001\"\n[[listeners]]\n\
                    addr = \"127.0.0.1:7002\"\ngateway = \"json\"\n[protocols.echo]\n";
        let registry = node_studies::registry();
        vec![Config::parse(Path::new("n.toml"), text.into(), &registry).expect("a config")]
    }

    fn named(texts: &[&str]) -> Result<Addresses, String> {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        Addresses::new(&texts, &nodes(), &[NATIVE, "json"], crate::client::resolve)
    }

    #[test]
    fn configs_are_asked_where_nothing_is_named() {
        let (all, nodes) = (named(&[]).expect("none is fine"), nodes());
        let at = |gateway| all.of(&nodes[0], gateway, "echo").map(|addr| addr.to_string());
        assert_eq!(at(NATIVE).as_deref(), Some("127.0.0.1:7001"));
        assert_eq!(at("json").as_deref(), Some("127.0.0.1:7002"));
        assert_eq!(all.of(&nodes[0], "json", "other"), None);
    }

    #[test]
    fn what_is_named_counts_alone_and_what_is_not_there_is_told() {
        let (all, nodes) = (named(&["3=127.0.0.1:9"]).expect("an address"), nodes());
        assert_eq!(all.of(&nodes[0], NATIVE, "echo").map(|addr| addr.port()), Some(9));
        assert_eq!(all.of(&nodes[0], "json", "echo"), None);
        for (text, words) in [
            ("3", "write ID=HOST:PORT"),
            ("x=127.0.0.1:9", "write ID=HOST:PORT"),
            ("4=127.0.0.1:9", "there is no node 4; there are 3"),
            ("3/odd=127.0.0.1:9", "no such gateway; there are native, json"),
            ("3=127.0.0.1", "give IP:port"),
        ] {
            let why = named(&[text]).expect_err("it is wrong");
            assert!(why.contains(words), "{text}: {why}");
        }
        assert!(named(&["3=127.0.0.1:9", "3=127.0.0.1:8"]).is_err());
    }
}
