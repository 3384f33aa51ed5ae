//! What a NATS server says to a client (docs.nats.io, "Client Protocol"), and the payload of this
//! load's messages. Pure functions of bytes: nothing here panics on what a server sends.

use std::ops::Range;

/// A line but `INFO`: a command, names and numbers, or the reason of an error.
const MAX_LINE_BYTES: usize = 4 << 10;

/// `INFO` also lists the servers of a cluster.
const MAX_INFO_BYTES: usize = 64 << 10;

/// The longest message that is read, as that is the longest that is published.
pub const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// Each message's number, and the run's mark.
pub const MIN_MESSAGE_BYTES: usize = 16;

const CRLF: &[u8] = b"\r\n";

/// What a server says.
#[derive(PartialEq, Eq, Debug)]
pub enum Op<'a> {
    Info(&'a [u8]),
    Message {
        topic: &'a [u8],
        sid: &'a [u8],
        payload: &'a [u8],
    },
    Ping,
    Pong,
    Ok,
    /// The reason, without its quotes.
    Err(&'a [u8]),
}

/// The beginning of what was read.
#[derive(PartialEq, Eq, Debug)]
pub enum Parsed<'a> {
    Whole {
        op: Op<'a>,
        used: usize,
    },
    Incomplete,
    /// It is no NATS: why.
    Wrong(&'static str),
}

/// Takes the first op of `input`.
pub fn parse(input: &[u8]) -> Parsed<'_> {
    let Some(newline) = input.iter().take(MAX_INFO_BYTES).position(|byte| *byte == b'\n') else {
        return match input.len() {
            // What cannot become a line is told at once, and not waited for.
            _ if !is_text(input.first()) => Parsed::Wrong("no NATS"),
            MAX_INFO_BYTES.. => Parsed::Wrong("a line without end"),
            _ => Parsed::Incomplete,
        };
    };
    let line = &input[..newline];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let used = newline + 1;
    let (word, rest) = line.split_at(line.iter().position(is_blank).unwrap_or(line.len()));
    let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    if is("MSG") {
        return message(input, rest, used);
    }
    let rest = rest.trim_ascii();
    if line.len() > MAX_LINE_BYTES && !is("INFO") {
        return Parsed::Wrong("a line of more than 4096 bytes");
    }
    let op = match word {
        _ if is("PING") => Op::Ping,
        _ if is("PONG") => Op::Pong,
        _ if is("+OK") => Op::Ok,
        _ if is("INFO") => Op::Info(rest),
        _ if is("-ERR") => Op::Err(unquoted(rest)),
        _ => return Parsed::Wrong("a line that is no NATS"),
    };
    Parsed::Whole { op, used }
}

/// `MSG topic sid [reply] bytes`, and the bytes.
fn message<'a>(input: &'a [u8], rest: &'a [u8], after: usize) -> Parsed<'a> {
    let mut words = rest.split(is_blank).filter(|word| !word.is_empty());
    let (Some(topic), Some(sid), Some(third)) = (words.next(), words.next(), words.next()) else {
        return Parsed::Wrong("MSG without topic, name and length");
    };
    let length = words.next().unwrap_or(third);
    let Some(length) = number(length).filter(|_| words.next().is_none()) else {
        return Parsed::Wrong("MSG without a length");
    };
    if length > MAX_MESSAGE_BYTES {
        return Parsed::Wrong("a message of more than 8 MiB");
    }
    let end = after + length;
    let Some(payload) = input.get(after..end).filter(|_| input.len() >= end + CRLF.len()) else {
        return Parsed::Incomplete;
    };
    if !input[end..].starts_with(CRLF) {
        return Parsed::Wrong("a message that is not as long as it says");
    }
    Parsed::Whole { op: Op::Message { topic, sid, payload }, used: end + CRLF.len() }
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_text(byte: Option<&u8>) -> bool {
    byte.is_none_or(|byte| byte.is_ascii_graphic())
}

fn number(digits: &[u8]) -> Option<usize> {
    let number = str::from_utf8(digits).ok()?;
    number.bytes().all(|digit| digit.is_ascii_digit()).then(|| number.parse().ok())?
}

fn unquoted(words: &[u8]) -> &[u8] {
    words.strip_prefix(b"'").and_then(|words| words.strip_suffix(b"'")).unwrap_or(words)
}

/// How many messages a server says that it did not deliver: `Permissions Violation: 17 messages
/// missed`. None when it says something else.
pub fn told_lost(reason: &[u8]) -> Option<u64> {
    let rest = reason.strip_prefix(b"Permissions Violation: ")?;
    let digits = rest.strip_suffix(b" messages missed")?;
    number(digits).and_then(|number| u64::try_from(number).ok())
}

/// What a server says of itself; what it leaves out is as NATS has it.
#[derive(Debug, serde::Deserialize)]
#[serde(default)]
pub struct Info {
    pub version: String,
    pub server_name: String,
    pub max_payload: u64,
    pub auth_required: bool,
    pub tls_required: bool,
}

impl Default for Info {
    fn default() -> Info {
        Info {
            version: String::new(),
            server_name: String::new(),
            max_payload: 1 << 20,
            auth_required: false,
            tls_required: false,
        }
    }
}

/// Makes this run's messages, and knows them again.
pub struct Messages {
    /// `PUB …`, a message, and the end; only the number changes.
    frame: Vec<u8>,
    number: Range<usize>,
    /// What follows the number.
    rest: Range<usize>,
}

impl Messages {
    /// Messages of `bytes` bytes under `topic`, with a mark that tells runs apart.
    pub fn new(topic: &str, bytes: usize, mark: u64) -> Messages {
        let bytes = bytes.max(MIN_MESSAGE_BYTES);
        let mut frame = format!("PUB {topic} {bytes}\r\n").into_bytes();
        let start = frame.len();
        frame.extend_from_slice(&[0; 8]);
        frame.extend_from_slice(&mark.to_le_bytes());
        frame.resize(start + bytes, b'.');
        frame.extend_from_slice(CRLF);
        Messages { frame, number: start..start + 8, rest: start + 8..start + bytes }
    }

    /// The publication of a message.
    pub fn publication(&mut self, number: u64) -> &[u8] {
        self.frame[self.number.clone()].copy_from_slice(&number.to_le_bytes());
        &self.frame
    }

    /// The number in a payload, if the message is of this run and has come whole.
    pub fn number(&self, payload: &[u8]) -> Option<u64> {
        let (number, rest) = payload.split_first_chunk()?;
        (rest == &self.frame[self.rest.clone()]).then(|| u64::from_le_bytes(*number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(input: &[u8]) -> (Op<'_>, usize) {
        match parse(input) {
            Parsed::Whole { op, used } => (op, used),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_servers_say_is_read() {
        let message = |payload| Op::Message { topic: b"a.b", sid: b"1", payload };
        assert_eq!(whole(b"MSG a.b 1 3\r\nx\r\n\r\nPING\r\n"), (message(b"x\r\n"), 18));
        assert_eq!(whole(b"msg\ta.b  1 inbox 0\r\n\r\n"), (message(b""), 22));
        assert_eq!(whole(b"PING\r\n").0, Op::Ping);
        assert_eq!(whole(b"pong\r\n").0, Op::Pong);
        assert_eq!(whole(b"+OK\r\n").0, Op::Ok);
        assert_eq!(whole(b"INFO {\"a\": 1} \r\n").0, Op::Info(b"{\"a\": 1}"));
        assert_eq!(whole(b"-ERR 'no, not''\r\n").0, Op::Err(b"no, not'"));
        assert_eq!(whole(b"-ERR\r\n").0, Op::Err(b""));
    }

    #[test]
    fn every_op_may_come_in_pieces_of_any_size() {
        for input in [&b"MSG topic 1 7\r\n\r\nMSG \n\r\n"[..], b"INFO {}\r\n", b"-ERR 'x y'\r\n"] {
            for end in 0..input.len() {
                assert_eq!(parse(&input[..end]), Parsed::Incomplete, "{end}");
            }
            assert_eq!(whole(input).1, input.len());
        }
    }

    #[test]
    fn what_is_no_nats_is_told() {
        let wrong = |input: &[u8]| match parse(input) {
            Parsed::Wrong(why) => why,
            other => panic!("{other:?}"),
        };
        for input in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\r\n",
            b"\xff",
            b"\0\0\0",
            b"MSG\r\n",
            b"MSG a 1\r\n",
            b"MSG a 1 x\r\n",
            b"MSG a 1 -1\r\n",
            b"MSG a 1 +1\r\n",
            b"MSG a 1 b 2 3\r\n",
            b"MSG a 1 8388609\r\n",
            b"MSG a 1 99999999999999999999999\r\n",
            b"MSG a 1 1\r\nabc",
        ] {
            assert!(!wrong(input).is_empty());
        }
        assert!(wrong(&[b'x'; MAX_INFO_BYTES]).contains("without end"));
        let long = [&b"-ERR "[..], &[b'x'; MAX_LINE_BYTES], b"\r\n"].concat();
        assert!(wrong(&long).contains("4096"));
    }

    #[test]
    fn what_a_server_says_is_lost_is_counted() {
        assert_eq!(told_lost(b"Permissions Violation: 17 messages missed"), Some(17));
        for other in
            ["Slow Consumer", "Permissions Violation:  messages missed", "17 messages missed"]
        {
            assert_eq!(told_lost(other.as_bytes()), None);
        }
    }

    #[test]
    fn a_message_is_known_again_by_its_number_and_only_whole() {
        let mut messages = Messages::new("t", 20, 7);
        let frame = messages.publication(513).to_vec();
        let (head, end) = (b"PUB t 20\r\n", frame.len() - 2);
        assert!(frame.starts_with(head) && frame.ends_with(CRLF));
        let payload = &frame[head.len()..end];
        assert_eq!((payload.len(), messages.number(payload)), (20, Some(513)));
        assert_eq!(Messages::new("t", 20, 8).number(payload), None, "another run's");
        assert_eq!(messages.number(&payload[..19]), None);
        assert_eq!(messages.number(&[payload, b"."].concat()), None);
        assert_eq!(messages.number(b""), None);
        assert_eq!(Messages::new("t", 0, 7).publication(0).len(), "PUB t 16\r\n\r\n".len() + 16);
    }
}
