//! The `resp` gateway: the store for any Redis client (RESP2, and RESP3 for who asks with HELLO 3;
//! redis.io/docs/reference/protocol-spec).
//!
//! A connection is a session: the gateway keeps the highest timestamp that the connection has
//! seen, and its GETs carry it, so that a server which has not come as far answers `-TRYAGAIN`
//! instead of an older value. SETs are pipelined; every other command waits for the ones before
//! it on its connection, so a GET sees the SETs sent before it.

use super::{Info, KvReplication, Reply, Request, Timestamp};
use crate::core::{Bytes, Decoded, Escaped, Gateway};
use ::core::fmt::{Display, Write};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The state of one connection.
#[derive(Default)]
pub struct Resp {
    /// The highest timestamp in any answer so far.
    seen: Timestamp,
    /// Whether the client asked for RESP3, in which a null and a map have forms of their own.
    resp3: bool,
}

/// Commands have few arguments; longer ones are none that this store knows. Redis allows 1 Mi.
const MAX_ARGUMENTS: usize = 1_024;
/// The longest argument: above the longest value that a config can allow.
const MAX_BULK_BYTES: usize = 16 << 20;
/// The longest line (a header, or a whole inline command), as in Redis.
const MAX_LINE_BYTES: usize = 64 << 10;
/// How many arguments are looked at; the rest is only counted.
const KEPT_ARGUMENTS: usize = 4;

/// A command: its first arguments, how many there are, and how many bytes they took.
struct Command<'a> {
    kept: [&'a [u8]; KEPT_ARGUMENTS],
    count: usize,
    used: usize,
}

enum Parsed<'a> {
    Incomplete,
    Command(Command<'a>),
    Wrong(&'static str),
}

impl Gateway for Resp {
    const NAME: &'static str = "resp";
    type Protocol = KvReplication;

    fn decode<'a>(
        &mut self,
        input: &'a [u8],
        idle: bool,
        output: &mut Vec<u8>,
    ) -> Decoded<Request<'a>> {
        let command = match parse(input) {
            Parsed::Incomplete => return Decoded::Incomplete,
            Parsed::Wrong(_) if !idle => return Decoded::Wait,
            Parsed::Wrong(reason) => {
                error(output, format_args!("ERR Protocol error: {reason}"));
                return Decoded::Close { reason: Some(reason.into()) };
            }
            Parsed::Command(command) => command,
        };
        let used = command.used;
        if command.is("SET") && command.count == 3 {
            let (key, value) = (Bytes::new(command.kept[1]), Bytes::new(command.kept[2]));
            return Decoded::Request { used, request: Request::Put { key, value } };
        }
        if !idle {
            return Decoded::Wait;
        }
        if command.is("GET") && command.count == 2 {
            let key = Bytes::new(command.kept[1]);
            let request = Request::Get { key, timestamp: Timestamp(0), applied: self.seen };
            return Decoded::Request { used, request };
        }
        if command.is("INFO") {
            return Decoded::Request { used, request: Request::Info {} };
        }
        if command.is("QUIT") {
            output.extend_from_slice(b"+OK\r\n");
            return Decoded::Close { reason: None };
        }
        if command.is("HELLO") {
            self.hello(&command, output);
        } else if command.is("CONFIG") && command.count == 3 && command.sub("GET") {
            self.config(command.kept[2], output);
        } else if command.is("CLIENT") && command.sub("GETNAME") {
            // Names are taken, but nothing here shows them.
            self.null(output);
        } else if command.count > 0 {
            // An empty line or an empty array is no command, and gets no answer.
            command.answer(output);
        }
        Decoded::Answered { used }
    }

    fn encode(&mut self, reply: Reply<'_>, output: &mut Vec<u8>) {
        match reply {
            Reply::PutOk { timestamp } => {
                self.seen = self.seen.max(timestamp);
                output.extend_from_slice(b"+OK\r\n");
            }
            Reply::Value { value, timestamp } => {
                self.seen = self.seen.max(timestamp);
                bulk(output, &value);
            }
            Reply::Null {} => self.null(output),
            Reply::TryOtherServerOrLater { .. } => error(
                output,
                format_args!("TRYAGAIN this server is behind; try again, or another server"),
            ),
            Reply::NotApplied { reason } => {
                error(output, format_args!("NOTAPPLIED the SET has no effect: {reason}"));
            }
            Reply::MayStillApply { reason } => {
                error(output, format_args!("UNKNOWN the SET may still take effect: {reason}"));
            }
            Reply::Info(info) => bulk(output, info_text(&info).as_bytes()),
        }
    }
}

impl Resp {
    /// Which protocol to speak, and who is there.
    fn hello(&mut self, command: &Command<'_>, output: &mut Vec<u8>) {
        match command.kept[1] {
            b"" => {}
            b"2" => self.resp3 = false,
            b"3" => self.resp3 = true,
            _ => return error(output, format_args!("NOPROTO unsupported protocol version")),
        }
        self.map(5, output);
        for (name, value) in [("server", "node"), ("version", "7.0.0"), ("mode", "cluster")] {
            bulk(output, name.as_bytes());
            bulk(output, value.as_bytes());
        }
        bulk(output, b"proto");
        text(output, format_args!(":{}\r\n", if self.resp3 { 3 } else { 2 }));
        bulk(output, b"modules");
        output.extend_from_slice(b"*0\r\n");
    }

    /// What redis-benchmark asks for; the store has no parameters that can be set here.
    fn config(&self, name: &[u8], output: &mut Vec<u8>) {
        let known = name.eq_ignore_ascii_case(b"save") || name.eq_ignore_ascii_case(b"appendonly");
        self.map(usize::from(known), output);
        if known {
            bulk(output, name);
            bulk(output, b"");
        }
    }

    fn null(&self, output: &mut Vec<u8>) {
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

impl Command<'_> {
    fn is(&self, name: &str) -> bool {
        self.kept[0].eq_ignore_ascii_case(name.as_bytes())
    }

    fn sub(&self, name: &str) -> bool {
        self.count > 1 && self.kept[1].eq_ignore_ascii_case(name.as_bytes())
    }

    /// Answers what needs no protocol.
    fn answer(&self, output: &mut Vec<u8>) {
        match (self.kept[0].to_ascii_uppercase().as_slice(), self.count) {
            (b"PING", 1) => output.extend_from_slice(b"+PONG\r\n"),
            (b"PING" | b"ECHO", 2) => bulk(output, self.kept[1]),
            (b"COMMAND", _) if self.sub("COUNT") => output.extend_from_slice(b":0\r\n"),
            (b"COMMAND", _) => output.extend_from_slice(b"*0\r\n"),
            (b"CLIENT", _) if self.sub("SETNAME") || self.sub("SETINFO") => {
                output.extend_from_slice(b"+OK\r\n");
            }
            (b"CLIENT", 2) if self.sub("ID") => output.extend_from_slice(b":0\r\n"),
            (b"SELECT", 2) if self.kept[1] == b"0" => output.extend_from_slice(b"+OK\r\n"),
            (b"SELECT", 2) => error(output, format_args!("ERR DB index is out of range")),
            (b"SET", 4..) => {
                error(output, format_args!("ERR syntax error: SET takes no options here"));
            }
            (b"SET" | b"GET" | b"PING" | b"ECHO" | b"SELECT" | b"CONFIG" | b"CLIENT", _) => {
                let name = String::from_utf8_lossy(self.kept[0]).to_ascii_lowercase();
                let known = "wrong number of arguments, or unknown subcommand, for";
                error(output, format_args!("ERR {known} '{name}' command"));
            }
            (name, _) => {
                let shown = Escaped(&name[..name.len().min(64)]);
                error(output, format_args!("ERR unknown command '{shown}'"));
            }
        }
    }
}

fn parse(input: &[u8]) -> Parsed<'_> {
    let Some(first) = input.first() else { return Parsed::Incomplete };
    if *first != b'*' {
        return parse_inline(input);
    }
    let mut at = 0;
    let count = match number(input, &mut at) {
        Ok(Some(count)) => count,
        Ok(None) => return Parsed::Incomplete,
        Err(reason) => return Parsed::Wrong(reason),
    };
    if count > MAX_ARGUMENTS {
        return Parsed::Wrong("invalid multibulk length");
    }
    let mut kept: [&[u8]; KEPT_ARGUMENTS] = [b""; KEPT_ARGUMENTS];
    for place in 0..count {
        match input.get(at) {
            None => return Parsed::Incomplete,
            Some(b'$') => {}
            Some(_) => return Parsed::Wrong("expected '$'"),
        }
        let length = match number(input, &mut at) {
            Ok(Some(length)) => length,
            Ok(None) => return Parsed::Incomplete,
            Err(reason) => return Parsed::Wrong(reason),
        };
        if length > MAX_BULK_BYTES {
            return Parsed::Wrong("invalid bulk length");
        }
        match input.get(at + length..at + length + 2) {
            None => return Parsed::Incomplete,
            Some(b"\r\n") => {}
            Some(_) => return Parsed::Wrong("expected the end of an argument"),
        }
        if let Some(slot) = kept.get_mut(place) {
            *slot = &input[at..at + length];
        }
        at += length + 2;
    }
    Parsed::Command(Command { kept, count, used: at })
}

/// Reads the number behind the type byte at `at`, and moves `at` behind its line.
fn number(input: &[u8], at: &mut usize) -> Result<Option<usize>, &'static str> {
    let mut value: usize = 0;
    for (place, byte) in input.iter().enumerate().skip(*at + 1) {
        match byte {
            b'0'..=b'9' => {
                value = value.saturating_mul(10).saturating_add(usize::from(byte - b'0'));
            }
            b'\r' if place > *at + 1 => {
                return match input.get(place + 1) {
                    None => Ok(None),
                    Some(b'\n') => {
                        *at = place + 2;
                        Ok(Some(value))
                    }
                    Some(_) => Err("expected a line's end"),
                };
            }
            _ => return Err("expected a number"),
        }
        if place - *at > MAX_LINE_BYTES {
            return Err("too big a number");
        }
    }
    Ok(None)
}

/// A line of words, as a person types it.
fn parse_inline(input: &[u8]) -> Parsed<'_> {
    let line = &input[..input.len().min(MAX_LINE_BYTES)];
    let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
        let too_long = input.len() >= MAX_LINE_BYTES;
        return if too_long { Parsed::Wrong("too big inline request") } else { Parsed::Incomplete };
    };
    let mut kept: [&[u8]; KEPT_ARGUMENTS] = [b""; KEPT_ARGUMENTS];
    let mut count = 0;
    let words = line[..end].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    for word in words {
        if let Some(slot) = kept.get_mut(count) {
            *slot = word;
        }
        count += 1;
    }
    Parsed::Command(Command { kept, count, used: end + 1 })
}

fn bulk(output: &mut Vec<u8>, bytes: &[u8]) {
    text(output, format_args!("${}\r\n", bytes.len()));
    output.extend_from_slice(bytes);
    output.extend_from_slice(b"\r\n");
}

/// An error line. What it says comes from this program, or is escaped.
fn error(output: &mut Vec<u8>, message: impl Display) {
    text(output, format_args!("-{message}\r\n"));
}

fn text(output: &mut Vec<u8>, arguments: ::core::fmt::Arguments<'_>) {
    struct Sink<'a>(&'a mut Vec<u8>);
    impl Write for Sink<'_> {
        fn write_str(&mut self, text: &str) -> ::core::fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    // A vector takes everything.
    let _ = Sink(output).write_fmt(arguments);
}

fn info_text(info: &Info<'_>) -> String {
    let mut text = format!(
        "# Replication\r\nnode:{}\r\nrole:{}\r\nleader:{}\r\nepoch:{}\r\ncomplete:{}\r\n\
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

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8], idle: bool) -> (Decoded<Request<'_>>, String) {
        let mut output = Vec::new();
        let decoded = Resp::default().decode(input, idle, &mut output);
        (decoded, String::from_utf8(output).expect("answers are text"))
    }

    const SET: &[u8] = b"*3\r\n$3\r\nSeT\r\n$2\r\nk\n\r\n$4\r\n\r\n\xff!\r\n";

    #[test]
    fn a_set_cut_at_every_byte_is_incomplete_and_whole_is_a_put() {
        for cut in 0..SET.len() {
            assert!(matches!(decode(&SET[..cut], true).0, Decoded::Incomplete), "at {cut}");
        }
        let (Decoded::Request { used, request: Request::Put { key, value } }, _) =
            decode(SET, false)
        else {
            panic!("a SET is a PUT");
        };
        assert_eq!((used, &key[..], &value[..]), (SET.len(), &b"k\n"[..], &b"\r\n\xff!"[..]));
    }

    #[test]
    fn a_get_waits_for_what_was_sent_before_it() {
        let get = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        assert!(matches!(decode(get, false).0, Decoded::Wait));
        assert!(matches!(decode(get, true).0, Decoded::Request { .. }));
        assert!(matches!(decode(b"PING\r\n", false).0, Decoded::Wait));
    }

    #[test]
    fn a_get_carries_what_the_connection_has_seen() {
        let mut session = Resp::default();
        let mut output = Vec::new();
        session.encode(Reply::PutOk { timestamp: Timestamp(7) }, &mut output);
        session
            .encode(Reply::Value { value: Bytes::new(b"v"), timestamp: Timestamp(3) }, &mut output);
        assert_eq!(output, b"+OK\r\n$1\r\nv\r\n");
        let Decoded::Request { request: Request::Get { applied, .. }, .. } =
            session.decode(b"GET k\r\n", true, &mut output)
        else {
            panic!("a GET is a request");
        };
        assert_eq!(applied, Timestamp(7));
    }

    #[test]
    fn commands_of_redis_tools_are_answered() {
        for (input, answer) in [
            (&b"PING\r\n"[..], "+PONG\r\n"),
            (b"*2\r\n$4\r\nping\r\n$2\r\nhi\r\n", "$2\r\nhi\r\n"),
            (b"ECHO x\r\n", "$1\r\nx\r\n"),
            (b"COMMAND DOCS\r\n", "*0\r\n"),
            (b"CONFIG GET save\r\n", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"),
            (b"CONFIG GET maxmemory\r\n", "*0\r\n"),
            (b"CLIENT SETINFO LIB-NAME x\r\n", "+OK\r\n"),
            (b"SELECT 0\r\n", "+OK\r\n"),
            (
                b"HELLO 2\r\n",
                "*10\r\n$6\r\nserver\r\n$4\r\nnode\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$4\r\nmode\r\n\
                 $7\r\ncluster\r\n$5\r\nproto\r\n:2\r\n$7\r\nmodules\r\n*0\r\n",
            ),
            (b"HELLO 9\r\n", "-NOPROTO unsupported protocol version\r\n"),
            (b"SELECT 1\r\n", "-ERR DB index is out of range\r\n"),
            (b"SET k v EX 5\r\n", "-ERR syntax error: SET takes no options here\r\n"),
            (b"DE\x1bL k\r\n", "-ERR unknown command 'DE\\u{1b}L'\r\n"),
        ] {
            let (decoded, said) = decode(input, true);
            assert!(matches!(decoded, Decoded::Answered { used } if used == input.len()));
            assert_eq!(said, answer);
        }
    }

    #[test]
    fn who_says_hello_3_gets_resp3() {
        let mut session = Resp::default();
        let mut output = Vec::new();
        session.decode(b"HELLO 3\r\n", true, &mut output);
        assert!(output.starts_with(b"%5\r\n$6\r\nserver\r\n"));
        output.clear();
        session.encode(Reply::Null {}, &mut output);
        session.decode(b"CONFIG GET save\r\n", true, &mut output);
        assert_eq!(output, b"_\r\n%1\r\n$4\r\nsave\r\n$0\r\n\r\n");
    }

    #[test]
    fn what_is_no_resp_ends_the_connection_with_a_reason() {
        let long_line = [b'x'; MAX_LINE_BYTES];
        for input in [
            &b"*2000\r\n"[..],
            b"*1\r\n:3\r\n",
            b"*x\r\n",
            b"*\r\n",
            b"*1\r\n$99999999999999999999999999\r\n",
            b"*1\r\n$1\r\nabc",
            &long_line,
        ] {
            let (decoded, said) = decode(input, true);
            assert!(matches!(decoded, Decoded::Close { reason: Some(_) }), "{input:?}");
            assert!(said.starts_with("-ERR Protocol error: "), "{said}");
        }
        assert!(matches!(decode(b"QUIT\r\n", true).0, Decoded::Close { reason: None }));
    }
}
