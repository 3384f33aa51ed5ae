//! The `resp` gateway: the store for any Redis client (RESP2, and RESP3 for who asks with HELLO 3;
//! redis.io/docs/reference/protocol-spec).
//!
//! A connection is a session: the gateway keeps the highest timestamp that the connection has seen,
//! and its GETs carry it, so that a server which has not come as far answers `-TRYAGAIN` instead of
//! an older value. SETs are pipelined, and so are GETs, since one server's answers never go back; a
//! GET waits for the SETs before it on its connection, and sees them. Every other command waits for
//! all before it. A command with several keys makes a request for each.
//!
//! **No transactions.** The store cannot keep others out between two commands, and does not pretend
//! to: after MULTI every command is refused and none is executed, until EXEC answers `-EXECABORT`
//! or DISCARD ends it.

mod answers;
mod commands;
mod parse;
#[cfg(test)]
mod tests;

use self::answers::{bulk, error, info_text, integer, shown, status, text};
use self::commands::{Name, find};
use self::parse::{Command, Parsed, Parser};
use super::{KvReplication, Reply, Request, Timestamp};
use crate::core::{Bytes, ClientId, Decoded, Gateway, is_http};
use alloc::vec::Vec;

/// The state of one connection.
#[derive(Default)]
pub struct Resp {
    parser: Parser,
    session: Session,
}

/// What a connection has said and seen.
#[derive(Default)]
struct Session {
    /// Unlike any other's.
    id: u64,
    /// What the client calls itself.
    name: Vec<u8>,
    /// The highest timestamp in any answer so far.
    seen: Timestamp,
    /// Whether the client asked for RESP3, in which a null and a map have forms of their own.
    resp3: bool,
    transaction: Transaction,
    /// How many SETs, and how many GETs, have no answer yet.
    sets: usize,
    gets: usize,
    asked: Asked,
}

/// What MULTI has begun.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Transaction {
    #[default]
    None,
    /// No command has followed yet.
    Empty,
    /// At least one was refused.
    Refused,
}

/// What the replies are for that are neither a SET's nor a GET's. They are to one command, since
/// every other command waits for the ones before it.
#[derive(Clone, Copy, Default)]
struct Asked {
    what: What,
    /// How many keys it has, how many of them were asked for, and how many are answered.
    keys: usize,
    sent: usize,
    answered: usize,
    /// How many of them exist.
    found: usize,
    /// The command is answered with an error already, or is to be.
    is_refused: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum What {
    #[default]
    Mget,
    Exists,
    Strlen,
    Type,
    Info,
    Dbsize,
}

/// There are fewer connections at once.
const SLOT_BITS: u32 = 21;

const BEHIND: &str = "TRYAGAIN this server is behind; try again, or another server";
const NO_TRANSACTIONS: &str = "ERR this store has no transactions, and executes nothing between MULTI \
                               and EXEC: send the commands without them (redis-py: \
                               pipeline(transaction=False))";

impl Gateway for Resp {
    const NAME: &'static str = "resp";
    type Protocol = KvReplication;

    fn identify(&mut self, client: ClientId) {
        // Redis' ids begin at 1. All of these are below 2^53, for clients whose numbers have no
        // more.
        let id = u64::from(client.generation) << SLOT_BITS | u64::from(client.slot);
        self.session.id = id + 1;
    }

    fn is_http(&self, input: &[u8]) -> bool {
        is_http(input, &["GET"])
    }

    fn turn_away(&mut self, reason: &str, output: &mut Vec<u8>) {
        error(output, format_args!("ERR {reason}"));
    }

    fn decode<'a>(
        &mut self,
        input: &'a [u8],
        idle: bool,
        output: &mut Vec<u8>,
    ) -> Decoded<Request<'a>> {
        let decoded = match self.parser.parse(input) {
            Parsed::Incomplete => return Decoded::Incomplete,
            Parsed::Wrong(_) if !idle => return Decoded::Wait,
            Parsed::Wrong(reason) => {
                error(output, format_args!("ERR Protocol error: {reason}"));
                return Decoded::Close { reason: Some(reason.into()) };
            }
            Parsed::Command(command) => self.session.run(&command, idle, output),
        };
        if let Decoded::Request { used: 1.., .. } | Decoded::Answered { .. } = decoded {
            self.parser.reset();
        }
        decoded
    }

    fn encode(&mut self, reply: Reply<'_>, output: &mut Vec<u8>) {
        let session = &mut self.session;
        match reply {
            Reply::PutOk { timestamp } => {
                session.sets = session.sets.saturating_sub(1);
                session.seen = session.seen.max(timestamp);
                output.extend_from_slice(b"+OK\r\n");
            }
            Reply::Value { value, timestamp } => {
                session.seen = session.seen.max(timestamp);
                session.key_answered(Ok(Some(&value)), output);
            }
            Reply::Null {} => session.key_answered(Ok(None), output),
            Reply::TryOtherServerOrLater { .. } => session.key_answered(Err(BEHIND), output),
            Reply::NotApplied { reason } => {
                session.sets = session.sets.saturating_sub(1);
                error(output, format_args!("NOTAPPLIED the SET has no effect: {reason}"));
            }
            Reply::MayStillApply { reason } => {
                session.sets = session.sets.saturating_sub(1);
                error(output, format_args!("UNKNOWN the SET may still take effect: {reason}"));
            }
            Reply::Info(info) => match session.asked.what {
                What::Dbsize => integer(output, info.keys),
                _ => bulk(output, info_text(&info).as_bytes()),
            },
        }
    }
}

impl Session {
    fn run<'a>(
        &mut self,
        command: &Command<'a, '_>,
        idle: bool,
        output: &mut Vec<u8>,
    ) -> Decoded<Request<'a>> {
        let used = command.used;
        if self.asked.sent < self.asked.keys {
            return self.ask(command);
        }
        let in_transaction = self.transaction != Transaction::None;
        if command.is(0, "SET") && command.len() == 3 && !in_transaction {
            let (key, value) = (Bytes(command.argument(1)), Bytes(command.argument(2)));
            self.sets += 1;
            return Decoded::Request { used, request: Request::Put { key, value } };
        }
        let only_gets = idle || (self.gets > 0 && self.sets == 0);
        if only_gets && command.is(0, "GET") && command.len() == 2 && !in_transaction {
            return self.get(command);
        }
        if !idle {
            return Decoded::Wait;
        }
        if command.len() == 0 {
            // An empty line or an empty array is no command, and gets no answer.
            return Decoded::Answered { used };
        }
        let name = command.argument(0);
        let spec = find(&name);
        if in_transaction && !spec.is_some_and(|spec| ends_transaction(spec.command)) {
            self.transaction = Transaction::Refused;
            error(output, NO_TRANSACTIONS);
            return Decoded::Answered { used };
        }
        let Some(spec) = spec else {
            error(output, format_args!("ERR unknown command '{}'", shown(&name)));
            return Decoded::Answered { used };
        };
        if !spec.takes(command.len()) {
            let name = spec.name;
            error(output, format_args!("ERR wrong number of arguments for '{name}' command"));
            return Decoded::Answered { used };
        }
        match spec.command {
            Name::Get => self.get(command),
            Name::Mget => self.begin(What::Mget, command),
            Name::Exists => self.begin(What::Exists, command),
            Name::Strlen => self.begin(What::Strlen, command),
            Name::Type => self.begin(What::Type, command),
            Name::Dbsize | Name::Info => {
                let what = if spec.command == Name::Info { What::Info } else { What::Dbsize };
                self.asked = Asked { what, ..Asked::default() };
                Decoded::Request { used, request: Request::Info {} }
            }
            Name::Quit => {
                status(output, "OK");
                Decoded::Close { reason: None }
            }
            other => {
                self.answer(other, command, output);
                Decoded::Answered { used }
            }
        }
    }

    /// Asks for the keys of a command, one after the other.
    fn begin<'a>(&mut self, what: What, command: &Command<'a, '_>) -> Decoded<Request<'a>> {
        self.asked = Asked { what, keys: command.len() - 1, ..Asked::default() };
        self.ask(command)
    }

    /// Asks for the next key. The command's bytes are taken with the last.
    fn ask<'a>(&mut self, command: &Command<'a, '_>) -> Decoded<Request<'a>> {
        self.asked.sent += 1;
        let key = Bytes(command.argument(self.asked.sent));
        let used = if self.asked.sent == self.asked.keys { command.used } else { 0 };
        let request = Request::Get { key, timestamp: Timestamp(0), applied: self.seen };
        Decoded::Request { used, request }
    }

    fn get<'a>(&mut self, command: &Command<'a, '_>) -> Decoded<Request<'a>> {
        self.gets += 1;
        let (key, timestamp) = (Bytes(command.argument(1)), Timestamp(0));
        let request = Request::Get { key, timestamp, applied: self.seen };
        Decoded::Request { used: command.used, request }
    }

    /// A key's value has come, or why it does not.
    fn key_answered(&mut self, value: Result<Option<&[u8]>, &str>, output: &mut Vec<u8>) {
        if self.gets > 0 {
            self.gets -= 1;
            return match value {
                Ok(Some(value)) => bulk(output, value),
                Ok(None) => self.null(output),
                Err(why) => error(output, why),
            };
        }
        let asked = &mut self.asked;
        asked.answered += 1;
        asked.found += usize::from(matches!(value, Ok(Some(_))));
        let (is_first, is_last) = (asked.answered == 1, asked.answered == asked.keys);
        match (asked.what, value) {
            (What::Strlen | What::Type, Err(why)) => error(output, why),
            (What::Strlen, Ok(value)) => integer(output, value.map_or(0, <[u8]>::len) as u64),
            (What::Type, Ok(Some(_))) => status(output, "string"),
            (What::Type, Ok(None)) => status(output, "none"),
            (What::Exists, value) => {
                asked.is_refused |= value.is_err();
                match asked.is_refused {
                    true if is_last => error(output, BEHIND),
                    false if is_last => integer(output, asked.found as u64),
                    _ => {}
                }
            }
            // Once the array has begun, what is refused is an element of it.
            (What::Mget, Err(why)) if is_first => {
                asked.is_refused = true;
                error(output, why);
            }
            (What::Mget, _) if asked.is_refused => {}
            (What::Mget, value) => {
                if is_first {
                    text(output, format_args!("*{}\r\n", asked.keys));
                }
                match value {
                    Ok(Some(value)) => bulk(output, value),
                    Ok(None) => self.null(output),
                    Err(why) => error(output, why),
                }
            }
            // Those have no keys.
            (What::Info | What::Dbsize, _) => {}
        }
    }
}

/// What is not refused after MULTI.
fn ends_transaction(command: Name) -> bool {
    matches!(command, Name::Multi | Name::Exec | Name::Discard | Name::Reset | Name::Quit)
}
