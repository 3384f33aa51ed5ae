//! What the RESP gateway answers by itself, and the forms of answers.

use super::commands::{COMMANDS, Name, Spec, find};
use super::parse::Command;
use super::{NO_TRANSACTIONS, Session, Transaction};
use crate::core::{Escaped, Text};
use crate::kv_replication::Info;
use ::core::fmt::{Arguments, Display, Write};
use ::core::mem;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The version of Redis whose commands these are like; clients choose by it what they send.
const VERSION: &str = "7.0.0";

/// Names are for people.
const MAX_NAME_BYTES: usize = 256;

/// In Redis' words, which clients know.
const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default \
                           user. Are you sure your configuration is correct?";

impl Session {
    /// Answers what needs no protocol.
    pub(super) fn answer(&mut self, name: Name, command: &Command<'_, '_>, output: &mut Vec<u8>) {
        match name {
            Name::Ping if command.len() == 1 => status(output, "PONG"),
            Name::Ping if command.len() > 2 => wrong_number(output, "ping"),
            Name::Ping | Name::Echo => bulk(output, &command.argument(1)),
            Name::Set => error(output, "ERR syntax error: SET takes no options here"),
            Name::Multi if self.transaction != Transaction::None => {
                error(output, "ERR MULTI calls can not be nested");
            }
            Name::Multi => {
                self.transaction = Transaction::Empty;
                status(output, "OK");
            }
            Name::Exec => match mem::take(&mut self.transaction) {
                Transaction::None => error(output, "ERR EXEC without MULTI"),
                Transaction::Empty => text(output, format_args!("*0\r\n")),
                Transaction::Refused => {
                    let why = "EXECABORT Transaction discarded because of previous errors.";
                    error(output, why);
                }
            },
            Name::Discard => match mem::take(&mut self.transaction) {
                Transaction::None => error(output, "ERR DISCARD without MULTI"),
                Transaction::Empty | Transaction::Refused => status(output, "OK"),
            },
            Name::Watch => error(output, NO_TRANSACTIONS),
            Name::Unwatch => status(output, "OK"),
            Name::Auth if command.len() > 3 => error(output, "ERR syntax error"),
            Name::Auth => error(output, NO_PASSWORD),
            Name::Hello => self.hello(command, output),
            Name::Client => self.client(command, output),
            Name::Select if *command.argument(1) == *b"0" => status(output, "OK"),
            Name::Select => error(output, "ERR DB index is out of range"),
            Name::Command => self.command(command, output),
            Name::Config => self.config(command, output),
            Name::Reset => {
                // What it has seen it has seen: to forget that could only show it something older.
                self.name.clear();
                self.resp3 = false;
                self.transaction = Transaction::None;
                status(output, "RESET");
            }
            // They are requests, or the end.
            Name::Get | Name::Mget | Name::Exists | Name::Strlen | Name::Type | Name::Dbsize => {}
            Name::Info | Name::Quit => {}
        }
    }

    /// Which protocol to speak, and who is there: HELLO [version [AUTH user password] [SETNAME
    /// name]]. Nothing is changed if any of it is refused.
    fn hello(&mut self, command: &Command<'_, '_>, output: &mut Vec<u8>) {
        let resp3 = match &*command.argument(1) {
            b"" if command.len() == 1 => self.resp3,
            b"2" => false,
            b"3" => true,
            other if other.is_empty() || !other.iter().all(u8::is_ascii_digit) => {
                return error(output, "ERR Protocol version is not an integer or out of range");
            }
            _ => return error(output, "NOPROTO unsupported protocol version"),
        };
        let (mut place, mut name) = (2, None);
        while place < command.len() {
            if command.is(place, "AUTH") && place + 2 < command.len() {
                return error(output, NO_PASSWORD);
            } else if command.is(place, "SETNAME") && place + 1 < command.len() {
                name = Some(command.argument(place + 1));
                place += 2;
            } else {
                let option = command.argument(place);
                let option = shown(&option);
                return error(output, format_args!("ERR Syntax error in HELLO option '{option}'"));
            }
        }
        if let Some(name) = name
            && let Err(why) = self.set_name(&name)
        {
            return error(output, why);
        }
        self.resp3 = resp3;
        self.map(7, output);
        for (name, value) in [("server", "node"), ("version", VERSION)] {
            bulk(output, name.as_bytes());
            bulk(output, value.as_bytes());
        }
        bulk(output, b"proto");
        integer(output, if self.resp3 { 3 } else { 2 });
        bulk(output, b"id");
        integer(output, self.id);
        // Any server takes writes.
        for (name, value) in [("mode", "standalone"), ("role", "master")] {
            bulk(output, name.as_bytes());
            bulk(output, value.as_bytes());
        }
        bulk(output, b"modules");
        text(output, format_args!("*0\r\n"));
    }

    fn client(&mut self, command: &Command<'_, '_>, output: &mut Vec<u8>) {
        let is = |name, arguments| command.is(1, name) && command.len() == arguments;
        if is("ID", 2) {
            integer(output, self.id);
        } else if is("GETNAME", 2) {
            match &*self.name {
                [] => self.null(output),
                name => bulk(output, name),
            }
        } else if is("SETNAME", 3) {
            match self.set_name(&command.argument(2)) {
                Ok(()) => status(output, "OK"),
                Err(why) => error(output, why),
            }
        } else if is("SETINFO", 4) {
            // Nobody asks for it.
            status(output, "OK");
        } else {
            unknown_subcommand(output, command, "client");
        }
    }

    fn set_name(&mut self, name: &[u8]) -> Result<(), &'static str> {
        if name.len() > MAX_NAME_BYTES {
            return Err("ERR Client names have at most 256 bytes here");
        }
        if !name.iter().all(u8::is_ascii_graphic) {
            return Err("ERR Client names cannot contain spaces, newlines or special characters.");
        }
        self.name = Vec::from(name);
        Ok(())
    }

    /// What commands there are.
    fn command(&self, command: &Command<'_, '_>, output: &mut Vec<u8>) {
        let named = || (2..command.len()).map(|place| find(&command.argument(place)));
        if command.len() == 1 || (command.is(1, "INFO") && command.len() == 2) {
            text(output, format_args!("*{}\r\n", COMMANDS.len()));
            COMMANDS.iter().for_each(|spec| describe(spec, output));
        } else if command.is(1, "INFO") {
            text(output, format_args!("*{}\r\n", command.len() - 2));
            for spec in named() {
                match spec {
                    Some(spec) => describe(spec, output),
                    None if self.resp3 => self.null(output),
                    None => text(output, format_args!("*-1\r\n")),
                }
            }
        } else if command.is(1, "DOCS") {
            let chosen: Vec<&Spec> = match command.len() {
                2 => COMMANDS.iter().collect(),
                _ => named().flatten().collect(),
            };
            self.map(chosen.len(), output);
            for Spec { name, summary, since, group, .. } in chosen {
                bulk(output, name.as_bytes());
                self.map(3, output);
                for (key, value) in [("summary", summary), ("since", since), ("group", group)] {
                    bulk(output, key.as_bytes());
                    bulk(output, value.as_bytes());
                }
            }
        } else if command.is(1, "COUNT") && command.len() == 2 {
            integer(output, COMMANDS.len() as u64);
        } else if command.is(1, "LIST") && command.len() == 2 {
            text(output, format_args!("*{}\r\n", COMMANDS.len()));
            COMMANDS.iter().for_each(|spec| bulk(output, spec.name.as_bytes()));
        } else {
            unknown_subcommand(output, command, "command");
        }
    }

    /// What redis-benchmark asks for; the store has no parameters that can be set here.
    fn config(&self, command: &Command<'_, '_>, output: &mut Vec<u8>) {
        if !command.is(1, "GET") || command.len() < 3 {
            return unknown_subcommand(output, command, "config");
        }
        let asks = |name: &&str| (2..command.len()).any(|place| command.is(place, name));
        let known = ["save", "appendonly"].into_iter().filter(asks);
        self.map(known.clone().count(), output);
        for name in known {
            bulk(output, name.as_bytes());
            bulk(output, b"");
        }
    }

    pub(super) fn null(&self, output: &mut Vec<u8>) {
        output.extend_from_slice(if self.resp3 { &b"_\r\n"[..] } else { b"$-1\r\n" });
    }

    /// The head of a map: in RESP2 an array of names and values.
    fn map(&self, entries: usize, output: &mut Vec<u8>) {
        if self.resp3 {
            text(output, format_args!("%{entries}\r\n"));
        } else {
            text(output, format_args!("*{}\r\n", 2 * entries));
        }
    }
}

/// An element of COMMAND's answer. Access-control categories, tips, specifications of keys and
/// subcommands are none.
fn describe(spec: &Spec, output: &mut Vec<u8>) {
    let Spec { name, arity, flags, keys: [first, last, step], .. } = spec;
    text(output, format_args!("*10\r\n"));
    bulk(output, name.as_bytes());
    text(output, format_args!(":{arity}\r\n*{}\r\n", flags.len()));
    flags.iter().for_each(|flag| status(output, flag));
    text(output, format_args!(":{first}\r\n:{last}\r\n:{step}\r\n"));
    text(output, format_args!("*0\r\n*0\r\n*0\r\n*0\r\n"));
}

/// What a client said, for an error line.
pub(super) fn shown(bytes: &[u8]) -> Escaped<'_> {
    Escaped(&bytes[..bytes.len().min(64)])
}

fn wrong_number(output: &mut Vec<u8>, name: &str) {
    error(output, format_args!("ERR wrong number of arguments for '{name}' command"));
}

fn unknown_subcommand(output: &mut Vec<u8>, command: &Command<'_, '_>, name: &str) {
    let subcommand = command.argument(1);
    let subcommand = shown(&subcommand);
    let what = "unknown subcommand or wrong number of arguments for";
    error(output, format_args!("ERR {what} '{name} {subcommand}'"));
}

pub(super) fn bulk(output: &mut Vec<u8>, bytes: &[u8]) {
    text(output, format_args!("${}\r\n", bytes.len()));
    output.extend_from_slice(bytes);
    output.extend_from_slice(b"\r\n");
}

pub(super) fn status(output: &mut Vec<u8>, word: &str) {
    text(output, format_args!("+{word}\r\n"));
}

pub(super) fn integer(output: &mut Vec<u8>, number: u64) {
    text(output, format_args!(":{number}\r\n"));
}

/// An error line. What it says comes from this program, or is escaped.
pub(super) fn error(output: &mut Vec<u8>, message: impl Display) {
    text(output, format_args!("-{message}\r\n"));
}

pub(super) fn text(output: &mut Vec<u8>, arguments: Arguments<'_>) {
    // A vector takes everything.
    let _ = Text(output).write_fmt(arguments);
}

pub(super) fn info_text(info: &Info<'_>) -> String {
    let mut text = format!(
        "# Server\r\nredis_version:{VERSION}\r\nredis_mode:standalone\r\nserver_name:node\r\n\r\n\
         # Replication\r\nnode:{}\r\nrole:{}\r\nleader:{}\r\nepoch:{}\r\ncomplete:{}\r\n\
         applied_timestamp:{}\r\nkeys:{}\r\ntable_digest:{}\r\n",
        info.node,
        if info.node == info.leader { "leader" } else { "follower" },
        info.leader,
        info.epoch,
        u8::from(info.complete),
        info.applied,
        info.keys,
        info.table_digest,
    );
    for (id, follower) in &info.followers {
        let state = if follower.up { "up" } else { "down" };
        text += &format!("follower{id}:state={state},acked={}\r\n", follower.acked);
    }
    text += "\r\n# Counters\r\n";
    for (name, value) in &info.counters {
        text += &format!("{name}:{value}\r\n");
    }
    text
}
