//! Nodes for the targets: protocols with small bounds, made often and fast.

use node_protocols::berkeley::Berkeley;
use node_protocols::board::Board;
use node_protocols::bully::Bully;
use node_protocols::core::{DynProtocol, Env, Host, LamportRule, NodeId, Protocol, erase};
use node_protocols::echo::Echo;
use node_protocols::kv_replication::KvReplication;
use node_protocols::lamport::Lamport;
use node_protocols::lottery::Lottery;
use node_protocols::membership::Membership;
use std::sync::Arc;

/// A node, as often as it starts.
pub(crate) struct Blueprint {
    pub(crate) id: NodeId,
    pub(crate) durable: bool,
    /// The other nodes.
    peers: Vec<NodeId>,
    /// What a protocol that reads a file finds in it.
    input: &'static str,
    parts: Vec<Part>,
}

type Part = Box<dyn Fn(&Env) -> Box<dyn DynProtocol>>;

fn part<P: Protocol>(table: &str) -> Part
where
    P::Config: Clone,
{
    let config: P::Config = toml::from_str(table).expect("the table is right");
    Box::new(move |env| erase::<P>(config.clone(), env).expect("the table keeps to the rules"))
}

impl Blueprint {
    fn new(id: u32, durable: bool, parts: Vec<Part>) -> Blueprint {
        Blueprint { id: NodeId(id), durable, peers: Vec::new(), input: "", parts }
    }

    /// The node before its first record.
    pub(crate) fn host(&self, incarnation: u64) -> Host {
        let env = Env {
            id: self.id,
            peers: self.peers.clone(),
            incarnation,
            identity: u128::from(self.id.0),
            seed: incarnation,
            durable: self.durable,
        };
        let mut parts: Vec<_> = self.parts.iter().map(|part| part(&env)).collect();
        for part in &mut parts {
            if part.input().is_some() {
                part.take_input(Arc::from(self.input.as_bytes()));
            }
        }
        Host::new(&env, parts, LamportRule::MaxPlusOne)
    }
}

const KV: &str = "leader = 1\nput_timeout_ms = 200\nresend_after_ms = 50\nmax_key_bytes = 8\n\
                  max_value_bytes = 300\nmax_pending_puts = 4\nmax_log_bytes = 300\nchunk_bytes = 1\n";

/// The bets of an agency: too many for a message, and for the most that goes into one here.
const BETS: &str = "Ana,Lima,30904465,1999-03-17,7574\n\"Zoe, B\",Paz,21689196,2000-05-01,1\n\
                    Eva,Sol,34407251,2001-02-28,9999\n";

/// Every kind of node alone, each for the clients of its protocol, whose name is told too.
pub(crate) fn alone() -> Vec<(&'static str, Blueprint)> {
    let one = |part: Part| Blueprint::new(1, false, vec![part]);
    let of_two = |parts| Blueprint { peers: vec![NodeId(2)], ..Blueprint::new(1, false, parts) };
    vec![
        (KvReplication::NAME, one(part::<KvReplication>(KV))),
        (
            Lottery::NAME,
            Blueprint::new(1, true, vec![part::<Lottery>("agencies = 2\nwinning_number = 7574\n")]),
        ),
        (Board::NAME, one(part::<Board>("role = \"proxy\"\n"))),
        (Board::NAME, of_two(vec![part::<Board>("role = \"broker\"\nservers = [2]\n")])),
        (Membership::NAME, Blueprint::new(1, true, vec![part::<Membership>(REFERENCE)])),
        (Echo::NAME, one(part::<Echo>(""))),
        (Lamport::NAME, one(part::<Lamport>(""))),
        (Bully::NAME, one(part::<Bully>(""))),
        (Berkeley::NAME, of_two(vec![part::<Bully>(""), part::<Berkeley>("")])),
    ]
}

const REFERENCE: &str = "role = \"reference\"\nheartbeat_ms = 100\ntimeout_ms = 600\n";

fn member(name: &str, reference: u32) -> Part {
    part::<Membership>(&format!(
        "role = \"member\"\nname = \"{name}\"\nreference = {reference}\nheartbeat_ms = 100\n\
         timeout_ms = 600\n"
    ))
}

/// Clusters of a few nodes.
pub(crate) fn clusters() -> Vec<Vec<Blueprint>> {
    let kv = |durable: bool| {
        let durability = if durable { "durability = \"disk\"\n" } else { "" };
        let node = |id| {
            Blueprint::new(id, durable, vec![part::<KvReplication>(&format!("{KV}{durability}"))])
        };
        (1..=3).map(node).collect()
    };
    let lamport =
        |id| Blueprint::new(id, id == 1, vec![part::<Lamport>("interval_ms = [0, 20]\n")]);
    let bully = || part::<Bully>("election_timeout_ms = 50\nhealth_check_ms = 30\n");
    let berkeley = || part::<Berkeley>("interval_ms = 40\ntimeout_ms = 20\ngamma_ms = 50\n");
    let agency = |id: u32| Blueprint {
        input: BETS,
        ..Blueprint::new(
            id,
            false,
            vec![part::<Lottery>(&format!(
                "role = \"agency\"\nagency = {id}\ncentral = 6\nbets = \"bets.csv\"\n\
                 bets_per_chunk = 2\nperiod_ms = 20\nresend_after_ms = 20\n"
            ))],
        )
    };
    let central = part::<Lottery>("agencies = 2\nwinning_number = 7574\n");
    let server = |id: u32| {
        let board = format!("role = \"server\"\nname = \"s{id}\"\nproxy = 7\n");
        let by_rank = part::<Bully>("by = \"rank\"\nelection_timeout_ms = 50\n");
        let clock = part::<Berkeley>("servers = [1, 2]\nevery_messages = 2\n");
        Blueprint::new(
            id,
            false,
            vec![member(&format!("s{id}"), 8), by_rank, clock, part::<Board>(&board)],
        )
    };
    let bot =
        "role = \"bot\"\nname = \"b\"\nbroker = 6\nproxy = 7\ntexts = [\"x\"]\ninterval_ms = 20\n";
    let mut clusters = vec![
        kv(false),
        kv(true),
        (1..=3).map(lamport).collect(),
        (1..=3).map(|id| Blueprint::new(id, false, vec![bully()])).collect(),
        (1..=3).map(|id| Blueprint::new(id, false, vec![bully(), berkeley()])).collect(),
        vec![agency(1), agency(2), Blueprint::new(6, true, vec![central])],
        vec![
            Blueprint::new(1, false, vec![member("a", 3)]),
            Blueprint::new(2, false, vec![member("b", 3)]),
            Blueprint::new(3, true, vec![part::<Membership>(REFERENCE)]),
        ],
        vec![
            server(1),
            server(2),
            Blueprint::new(4, false, vec![part::<Board>(bot)]),
            Blueprint::new(
                6,
                false,
                vec![part::<Board>("role = \"broker\"\nservers = [1, 2]\ntimeout_ms = 50\n")],
            ),
            Blueprint::new(7, false, vec![part::<Board>("role = \"proxy\"\n")]),
            Blueprint::new(8, true, vec![part::<Membership>(REFERENCE)]),
        ],
    ];
    for cluster in &mut clusters {
        let ids: Vec<NodeId> = cluster.iter().map(|node| node.id).collect();
        for node in cluster {
            node.peers = ids.iter().copied().filter(|id| *id != node.id).collect();
        }
    }
    clusters
}
