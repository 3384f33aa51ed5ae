//! The servers as a client sees them: picked at random, each with a connection that is kept open,
//! and the others tried when one cannot be reached.
//!
//! It knows who may be asked twice (a GET changes nothing) and who may not (a PUT that may have
//! arrived), and nothing of what is printed.

use crate::client::{Client, ClientError};
use node_protocols::core::{Protocol, Rng};
use node_protocols::kv_replication::{KvReplication, Reply, Request};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The servers that a client uses.
pub struct Cluster {
    servers: Vec<Server>,
    timeout: Duration,
    rng: Rng,
}

struct Server {
    addr: SocketAddr,
    client: Option<Client>,
}

/// Why a request has no answer.
#[derive(Debug)]
pub enum Failure {
    /// No server could be reached; nothing was sent.
    Unreachable {
        /// What each of them said.
        reason: String,
    },
    /// It is longer than a server takes; nothing was sent.
    TooLong {
        /// How long, and what the limit is.
        reason: String,
    },
    /// A server may have got it.
    Unanswered {
        /// Which one.
        addr: SocketAddr,
        /// What happened.
        reason: String,
    },
}

impl Failure {
    /// What happened.
    pub fn reason(&self) -> &str {
        match self {
            Failure::Unreachable { reason }
            | Failure::TooLong { reason }
            | Failure::Unanswered { reason, .. } => reason,
        }
    }
}

impl Cluster {
    /// Connects to nobody yet. A request takes no longer than `timeout`.
    pub fn new(servers: &[SocketAddr], timeout: Duration) -> Cluster {
        let servers = servers.iter().map(|&addr| Server { addr, client: None }).collect();
        // A client's choice need not be repeatable: the seed is the system's.
        let rng = Rng::stream(RandomState::new().hash_one(0), "kv/client");
        Cluster { servers, timeout, rng }
    }

    /// The servers' addresses.
    pub fn addrs(&self) -> impl Iterator<Item = SocketAddr> {
        self.servers.iter().map(|server| server.addr)
    }

    /// Asks one server, picked at random. While the request has not been sent, or changes
    /// nothing, the others are tried, and `err` is told. `read` takes from a reply what the caller
    /// needs, or nothing if it answers another question.
    pub fn ask<T>(
        &mut self,
        request: &Request<'_>,
        read: impl Fn(Reply<'_>) -> Option<T>,
        err: &mut dyn Write,
    ) -> Result<(SocketAddr, T), Failure> {
        let started = Instant::now();
        let order = self.shuffled();
        let mut reasons: Vec<String> = Vec::new();
        let mut unanswered = None;
        for (tried, &index) in order.iter().enumerate() {
            let left = self.timeout.saturating_sub(started.elapsed());
            let share = left / (order.len() - tried) as u32;
            let server = &mut self.servers[index];
            if let Some(reason) = reasons.last() {
                if left.is_zero() {
                    break;
                }
                // Who closed stderr does not want to know.
                let _ = writeln!(err, "{reason}; trying {}", server.addr);
            }
            let failure = match server.ask(request, &read, share, left) {
                Ok(found) => return Ok((server.addr, found)),
                Err(error) => error,
            };
            let reason = failure.to_string();
            if matches!(failure, ClientError::TooLong { .. }) {
                return Err(Failure::TooLong { reason });
            }
            if failure.may_have_arrived() {
                unanswered = Some((server.addr, reason.clone()));
                if changes_something(request) {
                    break;
                }
            }
            reasons.push(reason);
        }
        Err(match unanswered {
            Some((addr, reason)) => Failure::Unanswered { addr, reason },
            None => Failure::Unreachable { reason: reasons.join("; ") },
        })
    }

    /// The servers' places in random order (Fisher and Yates).
    fn shuffled(&mut self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, self.rng.below(last as u64 + 1) as usize);
        }
        order
    }
}

impl Server {
    /// Connects within `share`, unless connected, and has the answer within `left`.
    fn ask<T>(
        &mut self,
        request: &Request<'_>,
        read: impl Fn(Reply<'_>) -> Option<T>,
        share: Duration,
        left: Duration,
    ) -> Result<T, ClientError> {
        let started = Instant::now();
        let mut client = match self.client.take().filter(Client::is_open) {
            Some(client) => client,
            None => Client::connect(self.addr, KvReplication::NAME, share)?,
        };
        let reply = client.request(request, left.saturating_sub(started.elapsed()))?;
        let Some(found) = read(reply) else {
            let why = "an answer to another question".into();
            return Err(ClientError::Malformed { addr: self.addr, why });
        };
        // Only a connection that has just worked is kept.
        self.client = Some(client);
        Ok(found)
    }
}

/// Whether sending it twice could do more than sending it once.
fn changes_something(request: &Request<'_>) -> bool {
    match request {
        Request::Put { .. } => true,
        Request::Get { .. } | Request::Info {} => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::testing::{Answer, FakeNode, LONG_MS, with_more_time};
    use node_protocols::kv_replication::Timestamp;
    use std::net::TcpListener;

    const TIMEOUT: Duration = Duration::from_millis(LONG_MS);
    const PUT_OK: Reply<'static> = Reply::PutOk { timestamp: Timestamp(1) };

    fn timestamp(reply: Reply<'_>) -> Option<u64> {
        if let Reply::PutOk { timestamp } = reply { Some(timestamp.0) } else { None }
    }

    fn put() -> Request<'static> {
        Request::Put { key: "k".into(), value: "v".into() }
    }

    fn nobody() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    #[test]
    fn every_server_is_picked_sooner_or_later() {
        let nodes = [FakeNode::store(), FakeNode::store(), FakeNode::store()];
        let mut cluster = Cluster::new(&nodes.each_ref().map(|node| node.addr), TIMEOUT);
        let mut seen: Vec<SocketAddr> = Vec::new();
        // The odds of missing one in 200 draws are below 2^-115.
        for _ in 0..200 {
            let (addr, _) = cluster.ask(&put(), timestamp, &mut Vec::new()).unwrap();
            seen.push(addr);
        }
        assert!(cluster.addrs().all(|addr| seen.contains(&addr)));
    }

    #[test]
    fn a_put_goes_to_whoever_can_be_reached_and_says_so() {
        let node = FakeNode::store();
        let mut cluster = Cluster::new(&[nobody(), node.addr], TIMEOUT);
        let mut err = Vec::new();
        for _ in 0..50 {
            assert_eq!(cluster.ask(&put(), timestamp, &mut err).unwrap().0, node.addr);
        }
        let err = String::from_utf8(err).unwrap();
        assert!(err.contains(&format!("; trying {}\n", node.addr)), "{err}");
    }

    #[test]
    fn a_put_that_may_have_arrived_is_sent_to_nobody_else() {
        let closes = || FakeNode::start(|_| Answer::Close);
        let mut cluster = Cluster::new(&[closes().addr, closes().addr], TIMEOUT);
        let mut err = Vec::new();
        let failure = cluster.ask(&put(), timestamp, &mut err).unwrap_err();
        assert!(matches!(failure, Failure::Unanswered { .. }), "{failure:?}");
        assert_eq!(err, b"");
    }

    #[test]
    fn a_question_may_be_asked_again_elsewhere() {
        let node = FakeNode::start(|_| Answer::Reply(PUT_OK));
        let closes = FakeNode::start(|_| Answer::Close);
        let mut cluster = Cluster::new(&[closes.addr, node.addr], TIMEOUT);
        for _ in 0..50 {
            let (addr, _) = cluster.ask(&Request::Info {}, timestamp, &mut Vec::new()).unwrap();
            assert_eq!(addr, node.addr);
        }
    }

    #[test]
    fn when_time_is_up_nobody_else_is_tried() {
        let silent = || FakeNode::start(|_| Answer::Silence).addr;
        with_more_time(30, |ms| {
            let mut cluster = Cluster::new(&[silent(), silent()], Duration::from_millis(ms));
            let mut err = Vec::new();
            let failure = cluster.ask(&Request::Info {}, timestamp, &mut err).unwrap_err();
            let is_alone = matches!(failure, Failure::Unanswered { .. }) && err.is_empty();
            if is_alone { Ok(()) } else { Err(format!("{failure:?}")) }
        });
    }

    #[test]
    fn nobody_reached_names_everyone() {
        let servers = [nobody(), nobody()];
        let mut cluster = Cluster::new(&servers, TIMEOUT);
        let failure = cluster.ask(&put(), timestamp, &mut Vec::new()).unwrap_err();
        let Failure::Unreachable { reason } = failure else { panic!("{failure:?}") };
        assert!(servers.iter().all(|addr| reason.contains(&addr.to_string())), "{reason}");
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        let node = FakeNode::start(|_| Answer::Reply(Reply::Null {}));
        let mut cluster = Cluster::new(&[node.addr], TIMEOUT);
        let failure = cluster.ask(&put(), timestamp, &mut Vec::new()).unwrap_err();
        assert!(matches!(failure, Failure::Unanswered { .. }), "{failure:?}");
    }

    #[test]
    fn a_connection_that_the_server_closed_is_replaced_before_anything_is_sent() {
        // The fake closes after each reply: only a fresh connection gets an answer.
        let node = FakeNode::start(|_| Answer::ReplyAndClose(PUT_OK));
        let mut cluster = Cluster::new(&[node.addr], TIMEOUT);
        for _ in 0..3 {
            cluster.ask(&put(), timestamp, &mut Vec::new()).unwrap();
            let client = cluster.servers[0].client.as_ref().unwrap();
            client.wait_for_close();
        }
    }
}
