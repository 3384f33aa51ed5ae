//! The workload `lin-kv`: programs keep keys' values, each as if there were one copy of it.
//!
//! A compare-and-set that is refused says something too: that the key was missing (error 20), or
//! held another value (error 22), at one time between its request and its answer. So does a read
//! that is told that the key is missing; a value of `null` says the same.

use crate::crew::{Asks, Crew};
use crate::errors::Told;
use crate::json::{Json, Key};
use node_core::{Protocol, Rng};
use node_lab::hosted::{Body, Program};
use node_lab::study::spec::{Answer, Spec, linearizable};
use node_lab::study::{Cast, Clients, Needs, Operation, Property, Run, Study};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;

/// The study.
pub struct LinKv;

crate::settings! {
    /// `[workload] kind = "lin-kv"`.
    Settings {
        /// How many keys there are at a time.
        keys: u32 = 3,
        /// How many operations a key has, about, before another takes its place: the longer one is
        /// used, the more orders there are where answers are missing.
        ops_per_key: u32 = 100,
    }
}

/// Values are below this: few, so that some comparisons are met.
const VALUES: u64 = 5;

/// Whether there is an order.
pub const LIN_KV_LINEARIZABLE: Property = Property {
    name: "lin_kv_linearizable",
    statement: "each key is one register: its reads, writes and compare-and-sets, also those that \
                errors 20 and 22 refuse, have an order that fits their times and answers",
    source: "Herlihy, Wing 1990; Maelstrom, doc/workloads.md: lin-kv",
    needs: Needs::OPERATIONS.and(Needs::EVERY_CLIENT),
    bounds: &[],
    is_promised: true,
    missing: |cast| {
        (cast.clients_of != Some(LinKv::NAME)).then(|| {
            "is judged by what clients of keys read: let the scenario say [workload] kind = \
             \"lin-kv\""
                .into()
        })
    },
    shows: |run| {
        let mut operations = run.operations_of(Program::NAME);
        operations.any(|(_, operation)| Registers::input(run, operation).is_some())
    },
    judge: linearizable::<Registers>,
};

impl Study for LinKv {
    type Protocol = Program;
    const NAME: &'static str = "lin-kv";
    type Settings = Settings;
    const PROPERTIES: &'static [Property] = &[LIN_KV_LINEARIZABLE];

    fn clients(settings: Settings, cast: &Cast<'_>) -> Result<Option<Box<dyn Clients>>, String> {
        if settings.keys == 0 || settings.ops_per_key == 0 {
            return Err("workload: keys and ops_per_key are at least 1".into());
        }
        let (keys, ops_per_key) = (settings.keys.into(), settings.ops_per_key.into());
        let asks = Registers { keys, ops_per_key, clients: 1, asked: BTreeMap::new() };
        Crew::clients(Self::NAME, settings.pace(), cast, asks)
    }
}

/// What clients ask of keys, and what these are held against.
#[derive(Clone, Debug)]
struct Registers {
    keys: u64,
    ops_per_key: u64,
    clients: u64,
    /// How much each client has asked.
    asked: BTreeMap<u32, u64>,
}

impl Asks for Registers {
    fn begin(&mut self, clients: u32) {
        self.clients = clients.into();
    }

    fn next(&mut self, client: u32, rng: &mut Rng) -> Option<Body<'static>> {
        let asked = self.asked.entry(client).or_default();
        // Clients ask as often as each other: they go on to other keys at about one time.
        let era = *asked * self.clients / self.ops_per_key.saturating_mul(self.keys);
        *asked += 1;
        let key = era * self.keys + rng.below(self.keys);
        let (from, to) = (rng.below(VALUES), rng.below(VALUES));
        Some(Body::of(&match rng.below(3) {
            0 => json!({ "type": "read", "key": key }),
            1 => json!({ "type": "write", "key": key, "value": to }),
            _ => json!({ "type": "cas", "key": key, "from": from, "to": to }),
        }))
    }

    fn has_last(&self) -> bool {
        false
    }
}

/// What is asked of a key.
struct Ask {
    key: Json,
    what: What,
}

enum What {
    Read,
    Write(Json),
    Cas(Json, Json),
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.what {
            What::Read => write!(f, "read key {key}"),
            What::Write(value) => write!(f, "write key {key}, {value}"),
            What::Cas(from, to) => write!(f, "cas key {key} from {from} to {to}"),
        }
    }
}

/// What an answer says of a key's value.
#[derive(PartialEq, Eq)]
enum Say {
    /// That a write or a compare-and-set took place.
    Done,
    /// The value.
    Value(Json),
    /// That there is none.
    Missing,
    /// That it is not the one that was compared with.
    Differs,
}

impl fmt::Debug for Say {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Say::Done => f.write_str("done"),
            Say::Value(value) => write!(f, "{value}"),
            Say::Missing => f.write_str("there is no such key"),
            Say::Differs => f.write_str("the value is another"),
        }
    }
}

impl Spec for Registers {
    const PROTOCOL: &'static str = Program::NAME;
    type State = Option<Json>;
    type Input = Ask;
    type Output = Say;

    fn input(run: &Run, operation: &Operation) -> Option<Ask> {
        let request: Body<'_> = run.request(operation)?;
        let value = |key| Key::of(&request, key).value();
        let what = match &*request.kind() {
            "read" => What::Read,
            "write" => What::Write(value("value")?),
            "cas" => What::Cas(value("from")?, value("to")?),
            _ => return None,
        };
        Some(Ask { key: value("key")?, what })
    }

    fn output(run: &Run, operation: &Operation) -> Answer<Say> {
        let Some(Ask { what, .. }) = Registers::input(run, operation) else {
            return Answer::Never;
        };
        match (what, Told::by(run, operation)) {
            (What::Read, Told::Done(reply)) => match Key::of(&reply, "value").value() {
                Some(Json::Text(null)) if null == "null" => Answer::Told(Say::Missing),
                Some(value) => Answer::Told(Say::Value(value)),
                None => Answer::Never,
            },
            (What::Read | What::Cas(..), Told::Refused(20)) => Answer::Told(Say::Missing),
            (What::Cas(..), Told::Refused(22)) => Answer::Told(Say::Differs),
            (What::Write(_) | What::Cas(..), Told::Done(_)) => Answer::Told(Say::Done),
            // A read that says nothing changes nothing.
            (What::Read, Told::Unknown) | (_, Told::Refused(_)) => Answer::Never,
            (What::Write(_) | What::Cas(..), Told::Unknown) => Answer::Maybe,
        }
    }

    fn step(state: &Option<Json>, input: &Ask, output: Option<&Say>) -> Option<Option<Json>> {
        let same = |fits: bool| fits.then(|| state.clone());
        match (&input.what, output) {
            (What::Read, Some(Say::Value(value))) => same(state.as_ref() == Some(value)),
            (What::Read, None) => same(true),
            (What::Read | What::Cas(..), Some(Say::Missing)) => same(state.is_none()),
            (What::Write(value), Some(Say::Done) | None) => Some(Some(value.clone())),
            (What::Cas(from, _), Some(Say::Differs)) => {
                same(state.as_ref().is_some_and(|value| value != from))
            }
            (What::Cas(from, to), Some(Say::Done) | None) => {
                // One that changes nothing never needs to have taken place.
                (state.as_ref() == Some(from)).then(|| Some(to.clone()))
            }
            (_, Some(_)) => None,
        }
    }

    fn key(input: &Ask) -> Option<String> {
        Some(input.key.to_string())
    }

    fn is_evidence(input: &Ask, _: &Say) -> bool {
        !matches!(input.what, What::Write(_))
    }
}

#[cfg(test)]
#[path = "lin_kv_tests.rs"]
mod tests;
