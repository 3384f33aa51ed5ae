//! Whether replicas agree in the end. Knows nothing of clients.

use super::history::Replica;
use node_lab::check::describe::Short;
use node_lab::study::{Memory, Snapshot, Verdict, Violation, Witness};
use node_protocols::core::{NodeId, Protocol};
use node_protocols::kv_replication::KvReplication;
use std::collections::{BTreeMap, BTreeSet};

/// **Replicas equal.** Once nothing is under way any more, all replicas have applied the same
/// number of PUTs and hold byte-identical tables, which their digests stand for.
///
/// Evidence: two replicas, and a PUT that one of them has.
///
/// The convergence that remains to be shown once all updates reached all replicas: Vogels,
/// Eventually Consistent, CACM 52(1), 2009; here for replicas that apply one log (Schneider,
/// Implementing Fault-Tolerant Services Using the State Machine Approach, ACM Computing Surveys
/// 22(4), 1990).
pub(super) fn replicas_equal(replicas: &[Replica]) -> Verdict {
    let Some((first, others)) = replicas.split_first() else {
        return Verdict::Unknown { why: "the history says nothing of replicas".into() };
    };
    let differs =
        |other: &&Replica| (other.applied, &other.digest) != (first.applied, &first.digest);
    match others.iter().find(differs) {
        None if others.is_empty() => {
            Verdict::Unknown { why: "the history has one replica, which equals itself".into() }
        }
        None if first.applied == 0 => {
            Verdict::Unknown { why: "the replicas have no PUT in which they could differ".into() }
        }
        None => Verdict::Held,
        Some(other) => {
            let witness = |role, one: &Replica| Witness::operation(role, one.place, show(one));
            let witnesses = vec![witness("one replica", first), witness("other replica", other)];
            let why = format!("{} but {}", show(first), show(other));
            Verdict::Violated(Violation::by(witnesses, why))
        }
    }
}

/// **Replicas never differ.** Complete replicas that end at the same PUT hold the same table, at
/// every moment of a run.
///
/// Evidence: two complete replicas that end at the same PUT, which is not none.
pub(super) fn never_differ(nodes: &Snapshot<'_>, _: &mut Memory) -> Result<(), String> {
    let mut known = BTreeMap::new();
    for (id, store) in nodes.of::<KvReplication>() {
        let Some(applied) = store.complete_up_to() else { continue };
        let (first, theirs) = *known.entry(applied).or_insert((id, store));
        if store.digest() != theirs.digest() {
            return Err(format!(
                "nodes {first} and {id} both end at PUT {applied}, and {}",
                difference((first, theirs), (id, store))
            ));
        }
    }
    Ok(())
}

/// A key that two tables hold differently, and what each has, with how many others there are.
fn difference(one: (NodeId, &KvReplication), other: (NodeId, &KvReplication)) -> String {
    let table = |store: &KvReplication| -> Table {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        store.entries().map(|(key, value, put)| (text(key), (text(value), put.0))).collect()
    };
    let (ours, theirs) = (table(one.1), table(other.1));
    let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let mut differing = keys.into_iter().filter(|key| ours.get(*key) != theirs.get(*key));
    let Some(key) = differing.next() else { return "their digests differ".into() };
    let held = |table: &Table, id: NodeId| match table.get(key) {
        Some((value, put)) => format!("{} (timestamp {put}) at node {id}", Short(value)),
        None => format!("absent at node {id}"),
    };
    let more = match differing.count() {
        0 => String::new(),
        1 => "; so does one other key".into(),
        more => format!("; so do {more} other keys"),
    };
    let (first, second) = (held(&ours, one.0), held(&theirs, other.0));
    let key = Short(key);
    if more.is_empty() {
        return format!("{key} is {first} and {second}");
    }
    format!("{key} differs: it is {first} and {second}{more}")
}

/// What a table holds: values and timestamps by keys.
type Table = BTreeMap<String, (String, u64)>;

/// Whether two of them could differ.
pub(super) fn could_differ(nodes: &Snapshot<'_>) -> bool {
    let mut ends = nodes.of::<KvReplication>().filter_map(|(_, store)| store.complete_up_to());
    let mut known = BTreeSet::new();
    ends.any(|end| end.0 > 0 && !known.insert(end))
}

fn show(replica: &Replica) -> String {
    let Replica { replica, applied, digest, .. } = replica;
    format!("{} ends at PUT {applied} with digest {}", Short(replica), Short(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(name: &str, applied: u64, digest: &str) -> Replica {
        Replica { replica: name.into(), applied, digest: digest.into(), place: 0 }
    }

    #[test]
    fn equal_replicas_hold_and_one_or_none_or_empty_ones_say_nothing() {
        let [a, b, c] = ["a", "b", "c"].map(|name| replica(name, 7, "00ff"));
        assert_eq!(replicas_equal(&[a.clone(), b, c]), Verdict::Held);
        let empty = ["a", "b"].map(|name| replica(name, 0, "0"));
        for nothing in [&[][..], &[a], &empty] {
            assert!(matches!(replicas_equal(nothing), Verdict::Unknown { .. }), "{nothing:?}");
        }
    }

    #[test]
    fn another_count_or_another_table_is_named() {
        let a = replica("a", 7, "00ff");
        for c in [replica("c", 6, "00ff"), replica("c", 7, "00fe")] {
            let Verdict::Violated(violation) = replicas_equal(&[a.clone(), a.clone(), c.clone()])
            else {
                panic!("{c:?} differs")
            };
            let (applied, digest) = (c.applied, c.digest);
            assert_eq!(
                violation.why,
                format!(
                    "a ends at PUT 7 with digest 00ff but c ends at PUT {applied} with digest {digest}"
                )
            );
        }
    }
}
