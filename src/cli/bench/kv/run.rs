//! What all connections of a load share: the clock, the workload, what is counted, what clients know, and
//! the history.

use super::Plan;
use super::history::{History, Line};
use super::stats::Stats;
use super::workload::{Kind, Workload};
use crate::cli::bench::stats::Trouble;
use node_protocols::kv_replication::{Reply, Timestamp};
use std::io;
use std::time::Instant;

/// One operation in flight. Times are nanoseconds since the run began.
#[derive(Clone, Copy)]
pub struct Operation {
    /// Whose it is.
    pub client: u32,
    /// PUT or GET.
    pub kind: Kind,
    /// The key's number.
    pub key: u32,
    /// Its place among the connection's operations.
    pub number: u64,
    /// When it should have been sent: latency counts from here.
    pub due: u64,
    /// When it was.
    pub sent: u64,
}

/// What all connections share.
pub struct Run {
    /// When it ends, in nanoseconds since it began.
    pub end_ns: u64,
    /// What is asked.
    pub workload: Workload,
    /// What is counted.
    pub stats: Stats,
    began: Instant,
    keys: usize,
    /// The last timestamp of each key at each client; empty when clients do not remember.
    known: Vec<Timestamp>,
    history: Option<History>,
    /// Why the history is not whole.
    history_error: Option<io::Error>,
    servers: Vec<String>,
}

impl Run {
    pub fn new(plan: &Plan, history: Option<History>) -> Result<Run, String> {
        let end_ns = plan.warmup_ns() + plan.measured_ns();
        let remembered = if plan.sessions { plan.clients() * plan.keys as usize } else { 0 };
        Ok(Run {
            end_ns,
            workload: Workload::new(
                plan.seed,
                plan.keys,
                plan.put_percent,
                plan.value_bytes,
                history.is_some(),
            ),
            stats: Stats::new((plan.warmup_ns(), end_ns))?,
            began: Instant::now(),
            keys: plan.keys as usize,
            known: vec![Timestamp(0); remembered],
            history,
            history_error: None,
            servers: plan.servers.iter().map(ToString::to_string).collect(),
        })
    }

    /// The run's one clock: nanoseconds since it began.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// What a client knows of a key.
    pub fn known(&self, client: u32, key: u32) -> Timestamp {
        self.known.get(client as usize * self.keys + key as usize).copied().unwrap_or_default()
    }

    /// Takes the reply to an operation; false when it fits no such operation.
    pub fn complete(
        &mut self,
        server: usize,
        operation: Operation,
        reply: &Reply<'_>,
        now: u64,
    ) -> bool {
        let (outcome, timestamp) = match (operation.kind, reply) {
            (Kind::Put, Reply::PutOk { timestamp })
            | (Kind::Get, Reply::Value { timestamp, .. }) => ("ok", *timestamp),
            (Kind::Get, Reply::Null {}) => ("null", Timestamp(0)),
            (Kind::Get, Reply::TryOtherServerOrLater { timestamp }) => {
                self.stats.troubles.add(Trouble::TryOther, String::new);
                ("try_other", *timestamp)
            }
            (_, Reply::NotApplied { reason }) => {
                self.stats.troubles.add(Trouble::NotApplied, || reason.to_string());
                ("not_applied", Timestamp(0))
            }
            (_, Reply::MayStillApply { reason }) => {
                self.stats.troubles.add(Trouble::MayStillApply, || reason.to_string());
                ("may_still_apply", Timestamp(0))
            }
            (Kind::Put, Reply::Value { .. } | Reply::Null {})
            | (Kind::Put, Reply::TryOtherServerOrLater { .. })
            | (Kind::Get, Reply::PutOk { .. })
            | (_, Reply::Info(_)) => return false,
        };
        if matches!(outcome, "ok" | "null") {
            self.stats.done(operation.kind, operation.due, now);
            self.saw(operation.client, operation.key, timestamp);
        }
        let value = if let Reply::Value { value, .. } = reply { Some(&value[..]) } else { None };
        self.record(server, operation, Ending { outcome, returned: Some(now), timestamp, value });
        true
    }

    /// An operation will get no reply any more.
    pub fn lose(&mut self, server: usize, operation: Operation) {
        self.stats.troubles.add(Trouble::Lost, || "in flight when its connection ended".into());
        self.record(server, operation, UNKNOWN);
    }

    /// Whether the history could not be written.
    pub fn has_failed(&self) -> bool {
        self.history_error.is_some()
    }

    /// The run is over, and the operation still in flight.
    pub fn leave(&mut self, server: usize, operation: Operation) {
        self.record(server, operation, UNKNOWN);
    }

    fn saw(&mut self, client: u32, key: u32, timestamp: Timestamp) {
        let known = self.known.get_mut(client as usize * self.keys + key as usize);
        if let Some(known) = known {
            *known = timestamp.max(*known);
        }
    }

    fn record(&mut self, server: usize, operation: Operation, ending: Ending<'_>) {
        let Some(history) = &mut self.history else { return };
        let (client, number) = (operation.client, operation.number);
        let (key, put) = self.workload.key_and_value(operation.key, client, number);
        let value = match operation.kind {
            Kind::Put => Some(put),
            Kind::Get => ending.value,
        };
        let line = Line {
            client,
            op: operation.kind.name(),
            key: String::from_utf8_lossy(key),
            value: value.map(String::from_utf8_lossy),
            invoke_ns: operation.sent,
            return_ns: ending.returned,
            outcome: ending.outcome,
            timestamp: ending.timestamp.0,
            server: &self.servers[server],
        };
        if let Err(error) = history.write(&line) {
            // Half a history would mislead whoever checks it: the loop stops.
            self.history_error.get_or_insert(error);
        }
    }

    pub fn finish_history(&mut self) -> Result<(), String> {
        let flushed = self.history.as_mut().map_or(Ok(()), History::finish);
        let error = self.history_error.take().or(flushed.err());
        error.map_or(Ok(()), |error| {
            Err(format!("the history cannot be written and is not whole: {error}"))
        })
    }
}

/// How an operation ended, for the history.
struct Ending<'a> {
    outcome: &'static str,
    returned: Option<u64>,
    timestamp: Timestamp,
    value: Option<&'a [u8]>,
}

const UNKNOWN: Ending<'static> =
    Ending { outcome: "unknown", returned: None, timestamp: Timestamp(0), value: None };
