//! The `nats` gateway: the proxy for any NATS client (docs.nats.io, "Client Protocol"), without wildcards,
//! queue groups, headers and replies.
//!
//! What a client subscribes to and what it publishes reaches the board's other subscribers, and theirs
//! reaches it, as `MSG`. A client that does not read is told with `-ERR` how many messages it has missed,
//! and stays connected.

use super::{Board, MAX_NAME_BYTES, MAX_TEXT_BYTES, Reply, Request};
use crate::core::{Bytes, Decoded, Escaped, Gateway, Text, is_http};
use ::core::fmt::Write;
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use memchr::memchr;

/// The state of one connection.
pub struct Nats {
    /// Whether the client wants an `+OK` for everything; NATS' default.
    verbose: bool,
    /// The client's own names for its subscriptions, by topic, and the topics by name.
    subscriptions: BTreeMap<String, Vec<String>>,
    topics: BTreeMap<String, String>,
    /// The topic that is being subscribed to.
    subscribing: Option<String>,
    /// All of them, as text, unless they have changed since.
    form: Vec<u8>,
    has_changed: bool,
}

/// How many subscriptions a client may have.
const MAX_SUBSCRIPTIONS: usize = 1_000;
/// How many of them to one topic. Each gets a copy of what is said under it.
const MAX_COPIES: usize = 8;

/// A line holds a command, names and a number; only `CONNECT` has more.
const MAX_LINE_BYTES: usize = 4 << 10;
const CRLF: &[u8] = b"\r\n";

impl Default for Nats {
    fn default() -> Nats {
        Nats {
            verbose: true,
            subscriptions: BTreeMap::new(),
            topics: BTreeMap::new(),
            subscribing: None,
            form: Vec::new(),
            has_changed: false,
        }
    }
}

/// What a line asks for.
enum Line<'a> {
    Request(Request<'a>),
    /// The gateway answers with this, if with anything.
    Answer(&'static str),
    /// The client is told what is wrong, and goes on.
    Wrong(&'static str),
    /// What follows may be a payload: nobody knows where the next line begins.
    Unknown,
}

impl Gateway for Nats {
    const NAME: &'static str = "nats";
    type Protocol = Board;

    fn greet(&mut self, output: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = write!(
            Text(output),
            "INFO {{\"server_id\":\"node\",\"server_name\":\"node\",\"version\":\"2.0.0\",\"proto\":0,\
             \"headers\":false,\"max_payload\":{MAX_TEXT_BYTES}}}\r\n"
        );
    }

    fn is_http(&self, input: &[u8]) -> bool {
        is_http(input, &["CONNECT"])
    }

    fn decode<'a>(
        &mut self,
        input: &'a [u8],
        idle: bool,
        output: &mut Vec<u8>,
    ) -> Decoded<Request<'a>> {
        let Some(end) = find_end(input) else {
            return if input.len() > MAX_LINE_BYTES {
                too_long(output)
            } else {
                Decoded::Incomplete
            };
        };
        let (line, after) = (input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]), end + 1);
        let mut words = Words(line);
        let command = words.next().unwrap_or_default();
        if command.eq_ignore_ascii_case(b"PUB") {
            return self.publish(words, input, after, idle, output);
        }
        if !idle {
            // Its answer must not overtake those before it.
            return Decoded::Wait;
        }
        match self.line(command, words, line) {
            Line::Request(request) => Decoded::Request { used: after, request },
            Line::Answer(answer) => {
                output.extend_from_slice(answer.as_bytes());
                Decoded::Answered { used: after }
            }
            Line::Wrong(reason) => {
                wrong(output, reason);
                Decoded::Answered { used: after }
            }
            Line::Unknown => close(output, idle, "Unknown Protocol Operation"),
        }
    }

    fn form(&mut self) -> &[u8] {
        if self.has_changed {
            self.has_changed = false;
            self.form.clear();
            // Topics and names hold no space and no line's end, so this tells any two lists apart.
            for (topic, sids) in &self.subscriptions {
                for word in [topic].into_iter().chain(sids) {
                    self.form.extend_from_slice(word.as_bytes());
                    self.form.push(b' ');
                }
                self.form.push(b'\n');
            }
        }
        &self.form
    }

    fn encode(&mut self, reply: Reply<'_>, output: &mut Vec<u8>) {
        match reply {
            Reply::Message { topic, text, .. } => {
                for sid in self.subscriptions.get(&*topic).into_iter().flatten() {
                    output.reserve(topic.len() + sid.len() + text.len() + 32);
                    output.extend_from_slice(b"MSG ");
                    output.extend_from_slice(topic.as_bytes());
                    output.push(b' ');
                    output.extend_from_slice(sid.as_bytes());
                    output.push(b' ');
                    output.extend_from_slice(itoa::Buffer::new().format(text.len()).as_bytes());
                    output.extend_from_slice(CRLF);
                    output.extend_from_slice(&text);
                    output.extend_from_slice(CRLF);
                }
            }
            Reply::Missed { messages, .. } => {
                let _ =
                    write!(Text(output), "-ERR 'Slow Consumer: {messages} messages missed'\r\n");
            }
            Reply::Error { reason, .. } => {
                // Nothing else is asked while a subscription is being made.
                if let Some(refused) = self.subscribing.take() {
                    for sid in self.subscriptions.remove(&refused).unwrap_or_default() {
                        self.topics.remove(&sid);
                    }
                    self.has_changed = true;
                }
                wrong(output, &reason);
            }
            Reply::Subscribed { .. } | Reply::Unsubscribed { .. } | Reply::Published { .. } => {
                self.subscribing = None;
                output.extend_from_slice(self.ok().as_bytes());
            }
            // Nobody asks for these here.
            Reply::Sent { .. } | Reply::Status { .. } => {
                wrong(output, "Unknown Protocol Operation")
            }
        }
    }
}

impl Nats {
    fn ok(&self) -> &'static str {
        if self.verbose { "+OK\r\n" } else { "" }
    }

    fn line<'a>(&mut self, command: &[u8], mut words: Words<'a>, line: &[u8]) -> Line<'a> {
        let is = |name: &str| command.eq_ignore_ascii_case(name.as_bytes());
        let (first, second, third) = (words.next(), words.next(), words.next());
        if is("PING") {
            Line::Answer("PONG\r\n")
        } else if is("PONG") {
            Line::Answer("")
        } else if is("CONNECT") {
            self.verbose = !is_quiet(line);
            Line::Answer(self.ok())
        } else if is("SUB") {
            let (Some(topic), Some(sid)) = (first, second) else {
                return Line::Wrong("SUB needs a subject and a name for the subscription");
            };
            if third.is_some() {
                return Line::Wrong("Queue groups are not supported");
            }
            let (Some(topic), Some(sid)) = (word(topic), word(sid)) else {
                return Line::Wrong("Invalid Subject");
            };
            if topic.contains(['*', '>']) {
                return Line::Wrong("Wildcards are not supported");
            }
            if self.topics.contains_key(sid) {
                return Line::Wrong("a subscription has this name already");
            }
            let copies = self.subscriptions.get(topic).map_or(0, Vec::len);
            if self.topics.len() >= MAX_SUBSCRIPTIONS || copies >= MAX_COPIES {
                return Line::Wrong("Maximum Subscriptions Exceeded");
            }
            self.topics.insert(sid.into(), topic.into());
            self.subscriptions.entry(topic.into()).or_default().push(sid.into());
            self.has_changed = true;
            if copies > 0 {
                return Line::Answer(self.ok());
            }
            self.subscribing = Some(topic.into());
            Line::Request(Request::Subscribe { topic: Cow::Borrowed(topic) })
        } else if is("UNSUB") {
            let Some(sid) = first else {
                return Line::Wrong("UNSUB needs the name of a subscription");
            };
            if second.is_some() {
                return Line::Wrong("Limits are not supported");
            }
            let own = str::from_utf8(sid).ok().and_then(|sid| self.topics.remove_entry(sid));
            let Some((sid, topic)) = own else { return Line::Answer(self.ok()) };
            self.has_changed = true;
            if let Some(sids) = self.subscriptions.get_mut(&topic) {
                sids.retain(|own| *own != sid);
                if !sids.is_empty() {
                    return Line::Answer(self.ok());
                }
            }
            self.subscriptions.remove(&topic);
            Line::Request(Request::Unsubscribe { topic: topic.into() })
        } else if command.is_empty() {
            Line::Answer("")
        } else {
            Line::Unknown
        }
    }

    /// `PUB topic bytes`, and the bytes.
    fn publish<'a>(
        &self,
        mut words: Words<'a>,
        input: &'a [u8],
        after: usize,
        idle: bool,
        output: &mut Vec<u8>,
    ) -> Decoded<Request<'a>> {
        let (topic, length, more) = (words.next(), words.next(), words.next());
        let length = length.and_then(number);
        let (Some(topic), Some(length), None) = (topic.and_then(word), length, more) else {
            // Where the next line begins is not known then.
            return close(
                output,
                idle,
                "PUB needs a subject and a length, and takes no reply subject",
            );
        };
        if length > MAX_TEXT_BYTES {
            return close(output, idle, "Maximum Payload Violation");
        }
        let used = after + length + CRLF.len();
        let Some(text) = input.get(after..used) else { return Decoded::Incomplete };
        let Some(text) = text.strip_suffix(CRLF) else {
            return close(
                output,
                idle,
                "a message ends with CR LF, after as many bytes as it says",
            );
        };
        let (topic, text, quiet) = (Cow::Borrowed(topic), Bytes::new(text), !self.verbose);
        Decoded::Request { used, request: Request::Publish { topic, text, quiet } }
    }
}

/// Where a line's end is. NATS' own servers take one without CR, too.
fn find_end(input: &[u8]) -> Option<usize> {
    memchr(b'\n', &input[..input.len().min(MAX_LINE_BYTES)])
}

/// What blanks part.
struct Words<'a>(&'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        // Words are a few bytes long: searches that prepare for more take longer.
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let start = self.0.iter().position(|byte| !is_blank(byte))?;
        let rest = &self.0[start..];
        let (word, rest) = rest.split_at(rest.iter().position(is_blank).unwrap_or(rest.len()));
        self.0 = rest;
        Some(word)
    }
}

/// A number without a sign.
fn number(digits: &[u8]) -> Option<usize> {
    digits.iter().try_fold(0usize, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| usize::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// A name, if it can be one.
fn word(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_NAME_BYTES)
}

/// Whether a client's options switch `+OK` off.
fn is_quiet(line: &[u8]) -> bool {
    let text: String = String::from_utf8_lossy(line).split_whitespace().collect();
    text.contains("\"verbose\":false")
}

fn too_long(output: &mut Vec<u8>) -> Decoded<Request<'static>> {
    wrong(output, "Maximum Control Line Exceeded");
    Decoded::Close { reason: Some("a line of more than 4096 bytes".into()) }
}

fn close(output: &mut Vec<u8>, idle: bool, reason: &'static str) -> Decoded<Request<'static>> {
    if !idle {
        return Decoded::Wait;
    }
    wrong(output, reason);
    Decoded::Close { reason: Some(reason.into()) }
}

fn wrong(output: &mut Vec<u8>, reason: &str) {
    let _ = write!(Text(output), "-ERR '{}'\r\n", Escaped(reason.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::LamportTime;
    use alloc::vec;

    /// What the gateway makes of the input, request by request, and what it says itself.
    fn talk(nats: &mut Nats, input: &str) -> (Vec<Request<'static>>, String) {
        let (mut requests, mut output) = (Vec::new(), Vec::new());
        // A request borrows from the bytes, and a test is short.
        let mut rest: &'static [u8] = String::from(input).leak().as_bytes();
        while !rest.is_empty() {
            match nats.decode(rest, true, &mut output) {
                Decoded::Request { used, request } => {
                    requests.push(request);
                    rest = &rest[used..];
                }
                Decoded::Answered { used } => rest = &rest[used..],
                Decoded::Incomplete | Decoded::Wait | Decoded::Close { .. } => break,
            }
        }
        (requests, String::from_utf8(output).unwrap())
    }

    fn quiet() -> Nats {
        let mut nats = Nats::default();
        assert_eq!(talk(&mut nats, "CONNECT {\"verbose\": false,\"lang\":\"c\"}\r\n").1, "");
        nats
    }

    fn message(topic: &'static str, text: &'static str) -> Reply<'static> {
        let (server, timestamp, clock) = (None, 1, LamportTime(1));
        let text = Bytes::new(text.as_bytes());
        Reply::Message { topic: topic.into(), user: "".into(), server, text, timestamp, clock }
    }

    fn subscribed() -> Reply<'static> {
        Reply::Subscribed { topic: "a".into(), timestamp: 1, clock: LamportTime(1) }
    }

    fn published() -> Reply<'static> {
        Reply::Published { subscribers: 1, timestamp: 1, clock: LamportTime(1) }
    }

    fn encoded(nats: &mut Nats, reply: Reply<'_>) -> String {
        let mut output = Vec::new();
        nats.encode(reply, &mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn a_dialogue_as_the_protocols_documentation_has_it() {
        let mut nats = Nats::default();
        let mut greeting = Vec::new();
        nats.greet(&mut greeting);
        let greeting = str::from_utf8(&greeting).unwrap();
        assert!(greeting.starts_with("INFO {\"server_id\"") && greeting.ends_with("}\r\n"));
        assert_eq!(talk(&mut nats, "CONNECT {}\r\nPING\r\n"), (vec![], "+OK\r\nPONG\r\n".into()));
        let (requests, _) =
            talk(&mut nats, "SUB foo.bar 90\r\nsub  x\t7\r\nPUB x 5\r\nhe\r\n!\r\n");
        let text = Bytes::new(b"he\r\n!");
        assert_eq!(
            requests,
            [
                Request::Subscribe { topic: "foo.bar".into() },
                Request::Subscribe { topic: "x".into() },
                Request::Publish { topic: "x".into(), text, quiet: false },
            ]
        );
        assert_eq!(encoded(&mut nats, published()), "+OK\r\n");
        assert_eq!(encoded(&mut nats, message("x", "hi")), "MSG x 7 2\r\nhi\r\n");
        assert_eq!(encoded(&mut nats, message("foo.bar", "")), "MSG foo.bar 90 0\r\n\r\n");
        let (requests, _) = talk(&mut nats, "UNSUB 7\r\nUNSUB 8\r\n");
        assert_eq!(requests, [Request::Unsubscribe { topic: "x".into() }]);
        assert_eq!(encoded(&mut nats, message("x", "hi")), "", "it is on its way no more");
        let missed = Reply::Missed { messages: 3, timestamp: 1, clock: LamportTime(1) };
        assert!(encoded(&mut nats, missed).contains("3 messages missed"));
    }

    #[test]
    fn who_does_not_want_it_gets_no_ok() {
        let mut nats = quiet();
        assert_eq!(talk(&mut nats, "SUB a 1\r\nUNSUB 2\r\nPONG\r\n").1, "");
        let (requests, _) = talk(&mut nats, "PUB a 0\r\n\r\n");
        assert!(matches!(requests[..], [Request::Publish { quiet: true, .. }]), "{requests:?}");
    }

    #[test]
    fn a_topic_may_have_several_subscriptions_and_all_get_the_message() {
        let mut nats = quiet();
        let (requests, said) = talk(&mut nats, "SUB a 1\r\nSUB a 2\r\nSUB b 1\r\n");
        assert_eq!(requests, [Request::Subscribe { topic: "a".into() }]);
        assert!(said.contains("has this name already"), "{said}");
        let got = encoded(&mut nats, message("a", "hi"));
        assert_eq!(got, "MSG a 1 2\r\nhi\r\nMSG a 2 2\r\nhi\r\n");
        assert_eq!(talk(&mut nats, "UNSUB 1\r\n"), (vec![], String::new()));
        assert_eq!(encoded(&mut nats, message("a", "hi")), "MSG a 2 2\r\nhi\r\n");
        let (requests, _) = talk(&mut nats, "UNSUB 2\nPING\n");
        assert_eq!(
            requests,
            [Request::Unsubscribe { topic: "a".into() }],
            "a line may end so, too"
        );
    }

    #[test]
    fn a_subscription_that_is_refused_is_none_and_they_are_bounded() {
        let (reason, published) = ("no".into(), super::super::Maybe::No);
        let refusal = Reply::Error { reason, published, timestamp: 1, clock: LamportTime(1) };
        let mut nats = quiet();
        talk(&mut nats, "SUB a 1\r\n");
        encoded(&mut nats, refusal.clone());
        assert_eq!(encoded(&mut nats, message("a", "hi")), "");
        talk(&mut nats, "SUB a 1\r\n");
        encoded(&mut nats, subscribed());
        encoded(&mut nats, refusal);
        assert_eq!(encoded(&mut nats, message("a", "hi")), "MSG a 1 2\r\nhi\r\n");
        let copies: String = (2..=MAX_COPIES).map(|n| alloc::format!("SUB a {n}\r\n")).collect();
        assert_eq!(talk(&mut nats, &copies).1, "");
        assert!(talk(&mut nats, "SUB a 0\r\n").1.contains("Maximum Subscriptions"));
        let others = MAX_COPIES + 1..=MAX_SUBSCRIPTIONS;
        let others: String = others.map(|n| alloc::format!("SUB a{n} {n}\r\n")).collect();
        assert!(talk(&mut nats, &others).1.is_empty());
        assert!(talk(&mut nats, "SUB b 0\r\n").1.contains("Maximum Subscriptions"));
    }

    #[test]
    fn connections_with_equal_subscriptions_have_one_form() {
        let (mut one, mut other) = (quiet(), quiet());
        assert_eq!(one.form(), other.form());
        talk(&mut one, "SUB a 1\r\n");
        assert_ne!(one.form(), other.form());
        talk(&mut other, "SUB a 2\r\n");
        assert_ne!(one.form(), other.form(), "the client's name for it goes out too");
        talk(&mut other, "UNSUB 2\r\nSUB a 1\r\n");
        assert_eq!(one.form(), other.form());
    }

    #[test]
    fn a_message_may_come_in_pieces_of_any_size() {
        let input = b"PUB topic 11\r\nhello\r\nworld\r\n".split_last().unwrap().1;
        for end in 0..input.len() {
            let mut output = Vec::new();
            let step = quiet().decode(&input[..end], true, &mut output);
            assert!(matches!(step, Decoded::Incomplete), "{end}: {step:?}");
            assert!(output.is_empty());
        }
    }

    #[test]
    fn what_is_not_supported_is_told_and_what_cannot_be_read_on_ends_it() {
        for (line, reason) in [
            ("SUB a.* 1", "Wildcards"),
            ("SUB > 1", "Wildcards"),
            ("SUB a group 1", "Queue groups"),
            ("SUB a", "SUB needs"),
            ("UNSUB", "UNSUB needs"),
            ("UNSUB 1 5", "Limits"),
        ] {
            let (requests, said) = talk(&mut quiet(), &alloc::format!("{line}\r\nPING\r\n"));
            assert!(requests.is_empty(), "{line}");
            assert!(said.starts_with("-ERR '") && said.contains(reason), "{line}: {said}");
            assert!(said.ends_with("PONG\r\n"), "it goes on");
        }
        let long = alloc::format!("SUB {} 1\r\n", "x".repeat(5_000));
        for wrong in [
            "PUB a\r\n",
            "PUB a x\r\n",
            "PUB a -1\r\n",
            "PUB a +1\r\nb\r\n",
            "PUB a inbox 3\r\nabc\r\n",
            "PUB a 1048577\r\n",
            "PUB a 99999999999999999999\r\n",
            "PUB a 2\r\nabcd\r\n",
            // Its payload would be taken for lines.
            "HPUB a 12 23\r\nNATS/1.0\r\n\r\nPUB b 1\r\nx\r\n\r\n",
            "\u{1b}[2J\r\n",
            &long,
        ] {
            let mut output = Vec::new();
            let step = quiet().decode(wrong.as_bytes(), true, &mut output);
            assert!(matches!(step, Decoded::Close { reason: Some(_) }), "{wrong}: {step:?}");
            assert!(output.starts_with(b"-ERR '") && output.ends_with(b"'\r\n"));
        }
    }

    #[test]
    fn only_publications_are_taken_before_earlier_requests_are_answered() {
        let mut output = Vec::new();
        for line in ["PING\r\n", "SUB a 1\r\n", "CONNECT {}\r\n", "PUB a x\r\n"] {
            let step = quiet().decode(line.as_bytes(), false, &mut output);
            assert!(matches!(step, Decoded::Wait), "{line}: {step:?}");
        }
        let step = quiet().decode(b"PUB a 1\r\nx\r\n", false, &mut output);
        assert!(matches!(step, Decoded::Request { used: 12, .. }), "{step:?}");
        assert!(output.is_empty());
    }
}
