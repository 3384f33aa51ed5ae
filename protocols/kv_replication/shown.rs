//! What people see of the store: how far a replica is, and messages in short.

use super::{KvReplication, Message, Outcome, Record, Reply, Request, Role, Standing, Timestamp};
use crate::core::{Clipped, Epoch, NodeId};
use ::core::fmt::{self, Write};
use alloc::vec::Vec;
use serde::Serialize;

/// How far a replica is.
#[derive(Serialize)]
pub(super) struct View {
    role: &'static str,
    /// Whether it has everything, and so answers.
    complete: bool,
    /// Whether it has all that it ever acknowledged, as far as it can know by itself.
    standing: Standing,
    applied: Timestamp,
    keys: usize,
    epoch: Epoch,
    #[serde(flatten)]
    part: Part,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Part {
    Leader(SeenLeader),
    Follower(SeenFollower),
}

#[derive(Serialize)]
pub(crate) struct SeenLeader {
    /// Whether it takes PUTs.
    pub(crate) active: bool,
    /// PUTs that some follower has not acknowledged, and how many of them somebody waits for.
    pub(crate) log: usize,
    pub(crate) waiting: usize,
    /// The followers that get every PUT as it comes, and the others, as far as that is short.
    pub(crate) in_step: Vec<NodeId>,
    pub(crate) behind: Vec<NodeId>,
}

#[derive(Serialize)]
pub(crate) struct SeenFollower {
    pub(crate) linked: bool,
    /// Whether the leader has said what comes next.
    pub(crate) resumed: bool,
    /// Whether it copies the leader's table.
    pub(crate) copying: bool,
    /// PUTs that it passed on.
    pub(crate) waiting: usize,
}

impl KvReplication {
    pub(super) fn seen(&self) -> View {
        let (role, epoch, part) = match &self.role {
            Role::Leader(leader) => ("leader", leader.epoch(), Part::Leader(leader.seen())),
            Role::Follower(follower) => {
                ("follower", follower.epoch(), Part::Follower(follower.seen()))
            }
        };
        View {
            role,
            complete: self.complete,
            standing: self.standing,
            applied: self.replica.applied(),
            keys: self.replica.table.len(),
            epoch,
            part,
        }
    }
}

/// How much of a key, a value or a reason a short form has.
const MAX_TEXT: usize = 8;
const MAX_REASON: usize = 16;

fn text(bytes: &[u8]) -> Clipped<'_> {
    Clipped(bytes, MAX_TEXT)
}

pub(super) fn message(message: &Message<'_>, out: &mut dyn Write) -> fmt::Result {
    match message {
        Message::Probe { .. } => out.write_str("PROBE"),
        Message::State { history, .. } => {
            write!(out, "STATE @{} {:?}", history.applied, history.standing)
        }
        Message::Resume { history, .. } => write!(out, "RESUME @{}", history.applied),
        Message::Resync { transfer, contradicts: false, .. } => write!(out, "RESYNC {transfer}"),
        Message::Resync { transfer, contradicts: true, .. } => {
            write!(out, "RESYNC {transfer}, differs")
        }
        Message::Replication { timestamp, key, value, .. } => {
            write!(out, "REPL {}={} @{timestamp}", text(key), text(value))
        }
        Message::ReplicationOk { applied, .. } => write!(out, "REPL_OK @{applied}"),
        Message::DiskFull { .. } => out.write_str("DISK FULL"),
        Message::Staged { received, .. } => write!(out, "STAGED @{received}"),
        Message::Pull { transfer, cursor, .. } => write!(out, "PULL {transfer} from {cursor}"),
        Message::Chunk { transfer, cursor, entries, .. } => {
            write!(out, "CHUNK {transfer} from {cursor}: {}", entries.len())
        }
        Message::Forward { key, value, .. } => write!(out, "FWD {}={}", text(key), text(value)),
        Message::Forwarded { outcome, .. } => match outcome {
            Outcome::Ok { timestamp } => write!(out, "PUT_OK @{timestamp}"),
            Outcome::NotApplied { .. } => out.write_str("NOT APPLIED"),
            Outcome::MayStillApply { .. } => out.write_str("MAY STILL APPLY"),
        },
    }
}

pub(super) fn request(request: &Request<'_>, out: &mut dyn Write) -> fmt::Result {
    match request {
        Request::Put { key, value } => write!(out, "PUT {}={}", text(key), text(value)),
        Request::Get { key, timestamp: Timestamp(0), .. } => write!(out, "GET {}", text(key)),
        Request::Get { key, timestamp, .. } => write!(out, "GET {} @{timestamp}", text(key)),
        Request::Info {} => out.write_str("INFO"),
    }
}

pub(super) fn reply(reply: &Reply<'_>, out: &mut dyn Write) -> fmt::Result {
    match reply {
        Reply::PutOk { timestamp } => write!(out, "PUT_OK @{timestamp}"),
        Reply::NotApplied { reason } => {
            write!(out, "NOT APPLIED {}", Clipped(reason.as_bytes(), MAX_REASON))
        }
        Reply::MayStillApply { .. } => out.write_str("MAY STILL APPLY"),
        Reply::Value { value, timestamp } => write!(out, "{} @{timestamp}", text(value)),
        Reply::Null {} => out.write_str("NULL"),
        Reply::TryOtherServerOrLater { timestamp } => write!(out, "TRY OTHER @{timestamp}"),
        Reply::Info(info) => write!(out, "INFO @{}", info.applied),
    }
}

pub(super) fn record(record: &Record<'_>, out: &mut dyn Write) -> fmt::Result {
    match record {
        Record::Put { timestamp, key, value, .. } => {
            write!(out, "PUT {}={} @{timestamp}", text(key), text(value))
        }
        Record::Entry { timestamp, key, value } => {
            write!(out, "ENTRY {}={} @{timestamp}", text(key), text(value))
        }
        Record::Applied { timestamp, .. } => write!(out, "APPLIED @{timestamp}"),
        Record::Complete => out.write_str("COMPLETE"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Durability, Entry, ForwardId, Hash, History, Info, Put};
    use super::*;
    use crate::core::{Bytes, Protocol};
    use crate::testing::{assert_briefs, env, view};
    use alloc::collections::BTreeMap;
    use alloc::string::String;
    use alloc::vec;

    fn node(id: u32) -> KvReplication {
        let config = Config {
            leader: NodeId(1),
            durability: Durability::Memory,
            put_timeout_ms: 1,
            resend_after_ms: 1,
            max_key_bytes: 9,
            max_value_bytes: 9,
            max_pending_puts: 9,
            max_log_bytes: 9,
            chunk_bytes: 9,
            #[cfg(feature = "mutants")]
            mutant: None,
        };
        KvReplication::new(config, &env(id)).expect("the config is right")
    }

    #[test]
    fn leader_and_followers_show_how_far_they_are() {
        let leader = r#"{"role":"leader","complete":false,"standing":"Nothing","applied":0,"#;
        let rest = r#""keys":0,"epoch":5,"active":false,"log":0,"waiting":0,"#;
        let lists = r#""in_step":[],"behind":[2,3]}"#;
        assert_eq!(view(&node(1)), [leader, rest, lists].concat());
        let mut follower = node(2);
        let put = Put { reign: Epoch(1), timestamp: Timestamp(1), key: b"k", value: b"v" };
        follower.replica.apply(&put);
        follower.complete = true;
        follower.standing = Standing::Whole;
        let first = r#"{"role":"follower","complete":true,"standing":"Whole","applied":1,"#;
        let rest = r#""keys":1,"epoch":0,"linked":false,"resumed":false,"copying":false,"#;
        assert_eq!(view(&follower), [first, rest, r#""waiting":0}"#].concat());
    }

    fn key() -> Bytes<'static> {
        Bytes::new(b"k\x1b0")
    }

    fn value() -> Bytes<'static> {
        Bytes::new(b"0123456789")
    }

    const AT: Timestamp = Timestamp(35);

    #[test]
    fn messages_have_short_forms() {
        let (epoch, reign, hash, transfer, cursor) = (Epoch(5), Epoch(5), Hash(0), 2, 40);
        let history = History { applied: AT, standing: Standing::Whole, ..History::default() };
        let entries = vec![Entry { timestamp: AT, key: key(), value: value() }];
        let (base, head) = (history, AT);
        let id = ForwardId::default();
        let addr = ([127, 0, 0, 1], 9).into();
        let forwarded = |outcome| Message::Forwarded { id, outcome };
        let reason = || "r".into();
        let messages = [
            (Message::Probe { epoch, at: vec![], known: true }, "PROBE"),
            (Message::State { epoch, history, marks: vec![] }, "STATE @35 Whole"),
            (Message::Resume { epoch, history }, "RESUME @35"),
            (Message::Resync { epoch, transfer, contradicts: false }, "RESYNC 2"),
            (Message::Resync { epoch, transfer, contradicts: true }, "RESYNC 2, differs"),
            (
                Message::Replication { epoch, reign, timestamp: AT, key: key(), value: value() },
                "REPL k\\u{1b}0=01234567… @35",
            ),
            (Message::ReplicationOk { epoch, applied: AT, hash }, "REPL_OK @35"),
            (Message::DiskFull { epoch }, "DISK FULL"),
            (Message::Staged { epoch, received: AT }, "STAGED @35"),
            (Message::Pull { epoch, transfer, cursor }, "PULL 2 from 40"),
            (
                Message::Chunk { epoch, transfer, cursor, next: None, base, head, entries },
                "CHUNK 2 from 40: 1",
            ),
            (Message::Forward { id, addr, key: key(), value: value() }, "FWD k\\u{1b}0=01234567…"),
            (forwarded(Outcome::Ok { timestamp: AT }), "PUT_OK @35"),
            (forwarded(Outcome::NotApplied { reason: reason() }), "NOT APPLIED"),
            (forwarded(Outcome::MayStillApply { reason: reason() }), "MAY STILL APPLY"),
        ];
        assert_briefs(message, &messages);
    }

    #[test]
    fn what_clients_ask_and_are_told_has_short_forms() {
        let get = |timestamp| Request::Get { key: key(), timestamp, applied: Timestamp(0) };
        let requests = [
            (Request::Put { key: key(), value: value() }, "PUT k\\u{1b}0=01234567…"),
            (get(Timestamp(0)), "GET k\\u{1b}0"),
            (get(AT), "GET k\\u{1b}0 @35"),
            (Request::Info {}, "INFO"),
        ];
        assert_briefs(request, &requests);
        let info = Info {
            node: NodeId(1),
            leader: NodeId(1),
            epoch: Epoch(5),
            complete: true,
            reason: "".into(),
            applied: AT,
            keys: 1,
            table_digest: String::new().into(),
            followers: BTreeMap::new(),
            counters: BTreeMap::new(),
        };
        let replies = [
            (Reply::PutOk { timestamp: AT }, "PUT_OK @35"),
            (Reply::NotApplied { reason: "too many\n".into() }, "NOT APPLIED too many\\n"),
            (Reply::MayStillApply { reason: "r".into() }, "MAY STILL APPLY"),
            (Reply::Value { value: value(), timestamp: AT }, "01234567… @35"),
            (Reply::Null {}, "NULL"),
            (Reply::TryOtherServerOrLater { timestamp: AT }, "TRY OTHER @35"),
            (Reply::Info(info), "INFO @35"),
        ];
        assert_briefs(reply, &replies);
    }

    #[test]
    fn records_have_short_forms() {
        let (reign, timestamp, hash) = (Epoch(5), AT, Hash(0));
        let records = [
            (
                Record::Put { reign, timestamp, key: key(), value: value() },
                "PUT k\\u{1b}0=01234567… @35",
            ),
            (
                Record::Entry { timestamp, key: key(), value: value() },
                "ENTRY k\\u{1b}0=01234567… @35",
            ),
            (Record::Applied { timestamp, genesis: hash, hash }, "APPLIED @35"),
            (Record::Complete, "COMPLETE"),
        ];
        assert_briefs(record, &records);
    }
}
