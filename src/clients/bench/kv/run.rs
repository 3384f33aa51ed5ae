//! What all connections of a load share: the clock, the workload, what is counted, what clients
//! know, and the trace.

use super::Plan;
use super::stats::Stats;
use super::workload::{Kind, Workload};
use crate::clients::bench::stats::Trouble;
use node_lab::registry::JsonForm;
use node_lab::study::Asked;
use node_lab::trace::ClientWriter;
use node_protocols::core::{Protocol, protocol_tag};
use node_protocols::kv_replication::{KvReplication, Reply, Timestamp};
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
    trace: Option<ClientWriter>,
    /// How requests and replies stand in it.
    form: JsonForm,
}

/// An operation on its connection.
#[derive(Clone, Copy)]
pub struct Place {
    /// The connection's number.
    pub connection: u32,
    /// The operation's sequence there.
    pub sequence: u32,
}

impl Run {
    pub fn new(plan: &Plan, trace: Option<ClientWriter>) -> Result<Run, String> {
        let end_ns = plan.warmup_ns() + plan.measured_ns();
        let remembered = if plan.sessions { plan.clients() * plan.keys as usize } else { 0 };
        Ok(Run {
            end_ns,
            workload: Workload::new(
                plan.seed,
                plan.keys,
                plan.put_percent,
                plan.value_bytes,
                trace.is_some(),
            ),
            stats: Stats::new((plan.warmup_ns(), end_ns))?,
            began: Instant::now(),
            keys: plan.keys as usize,
            known: vec![Timestamp(0); remembered],
            trace,
            form: JsonForm::of::<KvReplication>(),
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

    /// Notes that an operation was sent to a node.
    pub fn note_sent(&mut self, at: Place, node: u32, operation: &Operation, request: &[u8]) {
        let Some(trace) = &mut self.trace else { return };
        let asked = Asked {
            client: operation.client.into(),
            connection: at.connection,
            sequence: at.sequence,
            tag: protocol_tag(KvReplication::NAME),
            is_seen_at_node: false,
            node: Some(node),
            is_twin: false,
            at_ns: trace.origin_ns() + operation.sent,
            request,
        };
        trace.ask(&asked, &self.form);
    }

    /// Notes the reply to an operation.
    pub fn note_reply(&mut self, at: Place, reply: &[u8], now: u64) {
        if let Some(trace) = &mut self.trace {
            let at_ns = trace.origin_ns() + now;
            trace.answer(at_ns, at.connection, at.sequence, reply, &self.form);
        }
    }

    /// Takes the reply to an operation; false when it fits no such operation.
    pub fn complete(&mut self, operation: &Operation, reply: &Reply<'_>, now: u64) -> bool {
        let seen = match (operation.kind, reply) {
            (Kind::Put, Reply::PutOk { timestamp })
            | (Kind::Get, Reply::Value { timestamp, .. }) => Some(*timestamp),
            (Kind::Get, Reply::Null {}) => Some(Timestamp(0)),
            (Kind::Get, Reply::TryOtherServerOrLater { .. }) => {
                self.stats.troubles.add(Trouble::TryOther, String::new);
                None
            }
            (_, Reply::NotApplied { reason }) => {
                self.stats.troubles.add(Trouble::NotApplied, || reason.to_string());
                None
            }
            (_, Reply::MayStillApply { reason }) => {
                self.stats.troubles.add(Trouble::MayStillApply, || reason.to_string());
                None
            }
            (Kind::Put, Reply::Value { .. } | Reply::Null {})
            | (Kind::Put, Reply::TryOtherServerOrLater { .. })
            | (Kind::Get, Reply::PutOk { .. })
            | (_, Reply::Info(_)) => return false,
        };
        if let Some(timestamp) = seen {
            self.stats.done(operation.kind, operation.due, now);
            self.saw(operation.client, operation.key, timestamp);
        }
        true
    }

    /// An operation will get no reply any more.
    pub fn lose(&mut self) {
        self.stats.troubles.add(Trouble::Lost, || "in flight when its connection ended".into());
    }

    /// Whether the trace could not be written: half of one would mislead whoever judges it.
    pub fn has_failed(&self) -> bool {
        self.trace.as_ref().is_some_and(ClientWriter::has_failed)
    }

    fn saw(&mut self, client: u32, key: u32, timestamp: Timestamp) {
        let known = self.known.get_mut(client as usize * self.keys + key as usize);
        if let Some(known) = known {
            *known = timestamp.max(*known);
        }
    }

    /// Writes what waits.
    pub fn finish_trace(&mut self) -> Result<(), String> {
        let written = self.trace.as_mut().map_or(Ok(()), ClientWriter::flush);
        written.map_err(|error| format!("the trace cannot be written and is not whole: {error}"))
    }
}
