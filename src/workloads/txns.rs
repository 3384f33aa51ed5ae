//! The workloads `txn-list-append` and `txn-rw-register`: programs take transactions, and keep them
//! apart. How far, a scenario says by the property that it names: each level is one. What the
//! levels are, [`txn`](crate::txn) knows.

use crate::crew::{Asks, Crew};
use crate::errors::Told;
use crate::json::{Json, Key};
use crate::txn::{Fate, Level, Model, Op, Txn, check};
use node_core::{Protocol, Rng};
use node_lab::hosted::{Body, Program};
use node_lab::study::{Cast, Clients, Needs, Property, Run, Shipped, Study, Verdict, Violation};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The study of lists.
pub struct ListAppend;
/// The study of registers.
pub struct RwRegister;

crate::settings! {
    /// `[workload] kind = "txn-list-append"` and `"txn-rw-register"`.
    Settings {
        /// How many keys there are at a time.
        keys: u64 = 5,
        /// How many reads and writes a transaction has at most.
        txn_length: u64 = 4,
        /// How often a key is written, about, before another takes its place.
        writes_per_key: u64 = 16,
    }
}

const SOURCE: &str =
    "Adya 1999; Kingsbury, Alvaro: Elle, VLDB 2020; Maelstrom, doc/workloads.md: txn";

macro_rules! isolated {
    (
        $about:literal, $const:ident, $name:literal, $level:expr, $promised:literal, $says:literal
    ) => {
        #[doc = $about]
        pub const $const: Property = Property {
            name: $name,
            statement: $says,
            source: SOURCE,
            needs: Needs::OPERATIONS.and(Needs::EVERY_CLIENT),
            bounds: &[],
            is_promised: $promised,
            missing: |cast| {
                let kinds = [ListAppend::NAME, RwRegister::NAME].map(Some);
                (!kinds.contains(&cast.clients_of)).then(|| {
                    "is judged by transactions: let the scenario say [workload] kind = \
                     \"txn-list-append\" or \"txn-rw-register\""
                        .into()
                })
            },
            shows: |run| !history(run).0.is_empty(),
            judge: |run| judge(run, $level),
        };
    };
}

isolated!(
    "Strict serializability.",
    TXN_STRICT,
    "txn_strict_serializable",
    Level::StrictSerializable,
    true,
    "transactions are strictly serializable: no dependencies among them, and no times at which they \
     were asked and answered, form a cycle"
);
isolated!(
    "Serializability.",
    TXN_SERIALIZABLE,
    "txn_serializable",
    Level::Serializable,
    false,
    "transactions are serializable: no dependencies among them form a cycle"
);
isolated!(
    "Snapshot isolation.",
    TXN_SNAPSHOT,
    "txn_snapshot_isolation",
    Level::SnapshotIsolation,
    false,
    "no update is lost, and each cycle of dependencies has two rw next to each other"
);
isolated!(
    "Read committed.",
    TXN_READ_COMMITTED,
    "txn_read_committed",
    Level::ReadCommitted,
    false,
    "none of G0, G1a, G1b, G1c: what is read was written by committed transactions, in the end"
);
isolated!(
    "Read uncommitted.",
    TXN_READ_UNCOMMITTED,
    "txn_read_uncommitted",
    Level::ReadUncommitted,
    false,
    "no G0: writes of transactions form no cycle, and nothing is read that nobody wrote"
);

impl Study for ListAppend {
    type Protocol = Program;
    const NAME: &'static str = "txn-list-append";
    type Settings = Settings;
    const PROPERTIES: &'static [Property] = &[];

    fn clients(settings: Settings, cast: &Cast<'_>) -> Result<Option<Box<dyn Clients>>, String> {
        Txns::clients(Self::NAME, "append", &settings, cast)
    }
}

impl Study for RwRegister {
    type Protocol = Program;
    const NAME: &'static str = "txn-rw-register";
    type Settings = Settings;
    const SCENARIOS: &'static [Shipped] = shipped! {
        "sim/glomers/6a.toml"
        "sim/glomers/6b.toml"
        "sim/glomers/6c.toml"
    };
    const PROPERTIES: &'static [Property] =
        &[TXN_STRICT, TXN_SERIALIZABLE, TXN_SNAPSHOT, TXN_READ_COMMITTED, TXN_READ_UNCOMMITTED];

    fn clients(settings: Settings, cast: &Cast<'_>) -> Result<Option<Box<dyn Clients>>, String> {
        Txns::clients(Self::NAME, "w", &settings, cast)
    }
}

/// Transactions of reads and writes, half of each.
#[derive(Clone, Debug)]
struct Txns {
    write: &'static str,
    keys: u64,
    length: u64,
    per_key: u64,
    clients: u64,
    /// How much each client has written.
    written: BTreeMap<u32, u64>,
}

impl Txns {
    fn clients(
        name: &'static str,
        write: &'static str,
        settings: &Settings,
        cast: &Cast<'_>,
    ) -> Result<Option<Box<dyn Clients>>, String> {
        let Settings { keys, txn_length: length, writes_per_key: per_key, .. } = *settings;
        if keys == 0 || length == 0 || per_key == 0 {
            return Err("workload: keys, txn_length and writes_per_key are at least 1".into());
        }
        let written = BTreeMap::new();
        let asks = Txns { write, keys, length, per_key, clients: 1, written };
        Crew::clients(name, settings.pace(), cast, asks)
    }
}

impl Asks for Txns {
    fn begin(&mut self, clients: u32) {
        self.clients = clients.into();
    }

    fn next(&mut self, client: u32, rng: &mut Rng) -> Option<Body<'static>> {
        let mut ops = Vec::new();
        for _ in 0..1 + rng.below(self.length) {
            let written = self.written.entry(client).or_default();
            // Clients write as often as each other: they go on to other keys at about one time.
            let era = *written * self.clients / self.per_key.saturating_mul(self.keys);
            let key = era * self.keys + rng.below(self.keys);
            if rng.below(2) == 0 {
                ops.push(json!(["r", key, null]));
            } else {
                // No two clients have one in common.
                let value = *written * self.clients + u64::from(client) + 1;
                *written += 1;
                ops.push(json!([self.write, key, value]));
            }
        }
        Some(Body::of(&json!({ "type": "txn", "txn": ops })))
    }

    fn has_last(&self) -> bool {
        false
    }
}

type Micro = (String, Box<RawValue>, Box<RawValue>);

/// What a body's micro-operations say; reads only where they were done.
fn ops(body: &Body<'_>, model: Option<Model>, is_done: bool) -> Option<(Vec<Op>, Option<Model>)> {
    let all: Vec<Micro> = Key::of(body, "txn").read()?;
    let is_list = all.iter().any(|(what, ..)| what == "append");
    let is_register = all.iter().any(|(what, ..)| what == "w");
    let own = if is_list { Some(Model::List) } else { is_register.then_some(Model::Register) };
    let mut ops = Vec::new();
    for (what, key, value) in &all {
        match what.as_str() {
            "append" | "w" => ops.push(Op::Write(Json::of(key), Json::of(value))),
            "r" if !is_done => {}
            "r" => {
                let seen = match (value.get(), model.or(own)) {
                    ("null", _) => Vec::new(),
                    (_, Some(Model::Register)) => vec![Json::of(value)],
                    (_, _) => Json::list(value)?,
                };
                ops.push(Op::Read(Json::of(key), seen));
            }
            _ => return None,
        }
    }
    Some((ops, own))
}

/// What a request and its reply have in common, whatever was read.
fn shape(body: &Body<'_>) -> Option<Vec<(String, Json, Option<Json>)>> {
    let all: Vec<Micro> = Key::of(body, "txn").read()?;
    let one = |(what, key, value): Micro| {
        let value = (what != "r").then(|| Json::of(&value));
        (what, Json::of(&key), value)
    };
    Some(all.into_iter().map(one).collect())
}

/// The transactions of a run, what their values are, and the first whose reply is not its own.
fn history(run: &Run) -> (Vec<Txn>, Model, Option<usize>) {
    let asked: Vec<_> = run
        .operations_of(Program::NAME)
        .filter_map(|(place, operation)| {
            let request: Body<'_> = run.request(operation)?;
            (request.kind() == "txn").then_some((place, operation, request))
        })
        .collect();
    let models = asked.iter().filter_map(|(.., request)| ops(request, None, false)?.1);
    let model = models.into_iter().next().unwrap_or(Model::Register);
    let (mut all, mut strange) = (Vec::new(), None);
    for (place, operation, request) in asked {
        let told = Told::of(&request, run.reply(operation));
        let Some((wrote, _)) = ops(&request, Some(model), false) else { continue };
        let (fate, ops) = match &told {
            Told::Done(reply) => match ops(reply, Some(model), true) {
                Some((ops, _)) if shape(reply) == shape(&request) => (Fate::Committed, ops),
                _ => {
                    strange.get_or_insert(place);
                    (Fate::Open, wrote)
                }
            },
            Told::Refused(_) => (Fate::Aborted, wrote),
            Told::Unknown => (Fate::Open, wrote),
        };
        let end = operation.return_ns.filter(|_| fate == Fate::Committed).unwrap_or(u64::MAX);
        all.push(Txn { place, fate, ops, start: operation.invoke_ns, end });
    }
    (all, model, strange)
}

/// Evidence: a dependency that the level is about.
fn judge(run: &Run, level: Level) -> Verdict {
    let (txns, model, strange) = history(run);
    if let Some(place) = strange {
        let why = format!("the txn_ok to #{place} is not of the form of its request");
        return Verdict::Violated(Violation::shown_by([("answer of no form", place)], why));
    }
    match check(&txns, model, level) {
        Err(why) => Verdict::Undecided { why },
        Ok(Err(found)) => {
            let roles = found.places.into_iter().map(|place| ("transaction", place));
            Verdict::Violated(Violation::shown_by(roles, found.why))
        }
        Ok(Ok(count)) => Verdict::of(None, count > 0, "no transaction depends on another"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run_of;

    #[test]
    fn a_run_in_few_words() {
        let write = r#"{"type":"txn","txn":[["w",1,1],["w",2,1]]}"#;
        let wrote = r#"{"type":"txn_ok","txn":[["w",1,1],["w",2,1]]}"#;
        let read = r#"{"type":"txn","txn":[["r",1,null],["r",2,null]]}"#;
        let one = r#"{"type":"txn_ok","txn":[["r",1,1],["r",2,1]]}"#;
        let half = r#"{"type":"txn_ok","txn":[["r",1,1],["r",2,null]]}"#;
        let short = r#"{"type":"txn_ok","txn":[["r",1,1]]}"#;
        let write = (0, write, 1, Some((2, wrote)));
        let of = |reply| run_of(&[write, (1, read, 3, Some((4, reply)))]);
        assert_eq!(judge(&of(one), Level::StrictSerializable), Verdict::Held);
        assert_eq!(judge(&of(half), Level::ReadCommitted), Verdict::Held);
        let Verdict::Violated(found) = judge(&of(half), Level::Serializable) else { panic!() };
        assert_eq!(found.ops().len(), 2);
        assert!(found.why.starts_with("G-single, a cycle: #0 before #1 (wr)"), "{}", found.why);
        let Verdict::Violated(found) = judge(&of(short), Level::Serializable) else { panic!() };
        assert_eq!(found.ops(), [1]);
        let alone = judge(&run_of(&[write]), Level::StrictSerializable);
        assert!(matches!(alone, Verdict::Unknown { .. }), "{alone:?}");
    }

    #[test]
    fn lists_and_what_was_refused() {
        let append = r#"{"type":"txn","txn":[["append",1,1]]}"#;
        let no = r#"{"type":"error","code":30}"#;
        let read = r#"{"type":"txn","txn":[["r",1,null]]}"#;
        let saw = r#"{"type":"txn_ok","txn":[["r",1,[1]]]}"#;
        let of = |reply| run_of(&[(0, append, 1, reply), (1, read, 3, Some((4, saw)))]);
        assert_eq!(judge(&of(None), Level::StrictSerializable), Verdict::Held);
        let Verdict::Violated(found) = judge(&of(Some((2, no))), Level::ReadCommitted) else {
            panic!()
        };
        assert!(found.why.starts_with("G1a"), "{}", found.why);
    }
}
