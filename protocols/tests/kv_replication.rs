//! What the replicated store does, step by step, on the in-memory network.

mod memory;

use memory::{Cluster, LEADER, Options, ms};
use node_protocols::core::NodeId;
use node_protocols::kv_replication::{Reply, Timestamp};

const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

fn ready(options: Options) -> Cluster {
    let mut cluster = Cluster::new(options);
    cluster.run(ms(50));
    assert!(cluster.has_converged(), "an empty cluster is ready at once");
    cluster
}

fn cluster() -> Cluster {
    ready(Options::default())
}

#[test]
fn a_put_at_the_leader_is_answered_once_all_have_it() {
    let mut cluster = cluster();
    assert_eq!(cluster.put_ok(LEADER, "k", "v"), Timestamp(1));
    for node in [LEADER, TWO, THREE] {
        let get = cluster.get(node, "k", Timestamp(1));
        let value = Reply::Value { value: "v".into(), timestamp: Timestamp(1) };
        assert_eq!(cluster.reply(get), Some(value));
    }
}
