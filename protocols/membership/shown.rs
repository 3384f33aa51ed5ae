//! What people see of the group: who has which rank, as a node knows it, and messages in short.

use super::{Membership, Message, Part, Record, Reply, Request};
use crate::core::{Clipped, Escaped, MAX_LISTED};
use ::core::fmt::{self, Write};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde::Serialize;

/// What a node knows; lists are `rank name` or `rank node ID`, and only their beginning.
#[derive(Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub(super) enum View<'a> {
    Reference {
        /// How many ranks are given out.
        ranks: usize,
        /// How many servers are there, and which.
        listed: usize,
        list: Vec<String>,
    },
    Member {
        name: &'a str,
        rank: Option<u32>,
        /// How many nodes' ranks it knows, and which.
        known: usize,
        list: Vec<String>,
    },
}

impl Membership {
    pub(super) fn seen(&self) -> View<'_> {
        match &self.part {
            Part::Reference(reference) => {
                let line =
                    |(rank, name): (u32, &str)| format!("{rank} {}", Escaped(name.as_bytes()));
                let listed = reference.listed().map(|(rank, server)| (rank, &server.name[..]));
                View::Reference {
                    ranks: reference.ranks(),
                    listed: reference.listed().count(),
                    list: listed.take(MAX_LISTED).map(line).collect(),
                }
            }
            Part::Member(member) => {
                let mut ranks: Vec<_> =
                    member.ranks.iter().map(|(id, rank)| (*rank, *id)).collect();
                ranks.sort_unstable();
                let line = |(rank, id)| format!("{rank} node {id}");
                View::Member {
                    name: &member.name,
                    rank: member.rank(),
                    known: ranks.len(),
                    list: ranks.into_iter().take(MAX_LISTED).map(line).collect(),
                }
            }
        }
    }
}

/// How much of a name, or of a reason, a short form has.
const MAX_NAME: usize = 16;

fn name(name: &str) -> Clipped<'_> {
    Clipped(name.as_bytes(), MAX_NAME)
}

pub(super) fn message(message: &Message<'_>, out: &mut dyn Write) -> fmt::Result {
    match message {
        Message::Join { name: own } => write!(out, "JOIN {}", name(own)),
        Message::Heartbeat { .. } => out.write_str("HEARTBEAT"),
        Message::Members { list } => {
            out.write_str("MEMBERS")?;
            list.iter().try_for_each(|member| write!(out, " {}", member.node))
        }
        Message::Refused { reason } => write!(out, "REFUSED {}", name(reason)),
    }
}

pub(super) fn request(request: &Request<'_>, out: &mut dyn Write) -> fmt::Result {
    match request {
        Request::Rank { user, .. } => write!(out, "RANK of {}", name(user)),
        Request::List { .. } => out.write_str("LIST"),
        Request::Heartbeat { user, .. } => write!(out, "HEARTBEAT {}", name(user)),
        Request::Malformed { .. } => out.write_str("MALFORMED"),
    }
}

pub(super) fn reply(reply: &Reply<'_>, out: &mut dyn Write) -> fmt::Result {
    match reply {
        Reply::Rank { rank, .. } => write!(out, "RANK {rank}"),
        Reply::List { list, .. } => write!(out, "LIST of {}", list.len()),
        Reply::Heartbeat { .. } => out.write_str("HEARTBEAT"),
        Reply::Error { reason, .. } => write!(out, "ERROR {}", name(reason)),
    }
}

pub(super) fn record(record: &Record<'_>, out: &mut dyn Write) -> fmt::Result {
    write!(out, "RANK {} {}", record.rank, name(&record.name))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Listed, Member, Role};
    use super::*;
    use crate::core::{LamportTime, NodeId, Protocol};
    use crate::testing::{assert_briefs, env, view};
    use alloc::borrow::Cow;
    use alloc::vec;

    fn node(role: Role, name: &str, reference: u32) -> Membership {
        let config = Config {
            role,
            name: name.into(),
            reference,
            heartbeat_ms: 1,
            timeout_ms: 2,
            #[cfg(feature = "mutants")]
            mutant: None,
        };
        Membership::new(config, &env(2)).expect("the config is right")
    }

    #[test]
    fn nodes_show_who_has_which_rank() {
        let mut member = node(Role::Member, "server2", 3);
        let none = r#"{"role":"member","name":"server2","rank":null,"known":0,"list":[]}"#;
        assert_eq!(view(&member), none);
        let Part::Member(follower) = &mut member.part else { panic!("a member") };
        follower.ranks = (1..=20).map(|id| (NodeId(id), 21 - id)).collect();
        let seen = view(&member);
        let first =
            r#"{"role":"member","name":"server2","rank":19,"known":20,"list":["1 node 20","#;
        assert!(seen.starts_with(first) && seen.ends_with("\"16 node 5\"]}"), "{seen}");

        let mut reference = node(Role::Reference, "", 0);
        let record = Record { name: "server1".into(), rank: 1, node: None };
        reference.on_recover(record).expect("it is the first");
        assert_eq!(view(&reference), r#"{"role":"reference","ranks":1,"listed":0,"list":[]}"#);
    }

    #[test]
    fn messages_have_short_forms() {
        let name = || Cow::from("server-of-somebody\n");
        let (timestamp, clock) = (0, LamportTime(1));
        let member = |node| Member { node: NodeId(node), rank: 1 };
        let messages = [
            (Message::Join { name: name() }, "JOIN server-of-somebo…"),
            (Message::Heartbeat { list: 1 }, "HEARTBEAT"),
            (Message::Members { list: vec![member(2), member(7)] }, "MEMBERS 2 7"),
            (Message::Refused { reason: "no\x1b".into() }, "REFUSED no\\u{1b}"),
        ];
        assert_briefs(message, &messages);
        let user = || Cow::from("a");
        let requests = [
            (Request::Rank { user: user(), timestamp, clock }, "RANK of a"),
            (Request::List { timestamp, clock }, "LIST"),
            (Request::Heartbeat { user: user(), timestamp, clock }, "HEARTBEAT a"),
            (Request::Malformed { reason: user() }, "MALFORMED"),
        ];
        assert_briefs(request, &requests);
        let list = vec![Listed { name: user(), rank: 1 }];
        let replies = [
            (Reply::Rank { rank: 4, timestamp, clock }, "RANK 4"),
            (Reply::List { list, timestamp, clock }, "LIST of 1"),
            (Reply::Heartbeat { timestamp, clock }, "HEARTBEAT"),
            (Reply::Error { reason: user(), timestamp, clock }, "ERROR a"),
        ];
        assert_briefs(reply, &replies);
        assert_briefs(record, &[(Record { name: user(), rank: 4, node: None }, "RANK 4 a")]);
    }
}
