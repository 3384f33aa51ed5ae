//! The `nats` gateway: the proxy for any NATS client (docs.nats.io, "Client Protocol"). To its
//! users the proxy is a NATS server: wildcards, queue groups, replies, headers and limits on
//! `UNSUB` are there.
//!
//! What a client subscribes to and what it publishes reaches the board's other subscribers, and
//! theirs reaches it, as `MSG`. Clients end for good at an `-ERR` that they do not know. So what is
//! refused while the connection goes on is refused as a `Permissions Violation`, which all of them
//! survive; and whoever does not read is not told what it missed: its connection ends, and it makes
//! another.

mod wire;

use self::wire::{
    CRLF, Heard, MAX_LINE_BYTES, PUBLISH, Publication, SUBSCRIPTION, Words, close, find_end, name,
    number, refuse, refuse_subject, sound, subject_fault, subject_of, too_long,
};
use super::proxy::MAX_TOPICS;
use super::subject::{Subjects, is_subject};
use super::{Board, MAX_TEXT_BYTES, Member, Reply, Request};
use crate::core::{Bytes, ClientId, Decoded, Escaped, Gateway, Text, is_http};
use ::core::fmt::Write;
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::Deserialize;

/// The state of one connection.
#[derive(Default)]
pub struct Nats {
    /// What the client may know its connection by.
    client_id: u64,
    options: Options,
    /// Its subscriptions. A place that is free is taken by the next one.
    places: Vec<Option<Subscription>>,
    /// Their places, by the client's own names for them, and by subject for those that hear
    /// everything.
    names: BTreeMap<Arc<str>, usize>,
    subjects: Subjects<Vec<usize>>,
    /// What the answer that is waited for is of, unless it is a publication's.
    asked: Option<Asked>,
    /// Subscriptions that have had all that they were to have.
    over: Vec<usize>,
    /// What pushes did to subscriptions, for connections of the same form: place and number of
    /// messages.
    tally: Vec<(usize, u64)>,
    /// What connections have in common that are sent the same, unless it has changed since.
    form: Vec<u8>,
    is_formed: bool,
    /// Buffers.
    found: Vec<usize>,
    path: String,
}

/// One `SUB`.
struct Subscription {
    sid: Arc<str>,
    subject: Arc<str>,
    /// With whom it shares.
    group: Option<Arc<str>>,
    /// How many messages it has had, and how many it is to have.
    had: u64,
    limit: Option<u64>,
}

impl Subscription {
    fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| self.had >= limit)
    }
}

/// What is being asked of the proxy.
enum Asked {
    Subscription(usize),
    /// The client's wish that a subscription ends, now or later.
    End(usize),
    /// That one ends which has had everything; nobody is told.
    Over,
}

/// What a client says of itself; what it leaves out is as NATS has it, and so is what is not known
/// here.
#[derive(Default, Deserialize)]
struct Options {
    /// Wants an `+OK` for everything.
    verbose: Option<bool>,
    /// Wants to hear what it publishes itself.
    echo: Option<bool>,
    /// Knows headers.
    headers: Option<bool>,
    /// Wants to be told when nobody can answer a request.
    no_responders: Option<bool>,
}

/// How many subscriptions a client may have.
const MAX_SUBSCRIPTIONS: usize = MAX_TOPICS;
/// How often a client may get one message, and how many bytes that may be: each of its
/// subscriptions that the message belongs to gets a copy.
const MAX_COPIES: usize = 64;
const MAX_COPIED_BYTES: usize = 8 << 20;

/// What may wait for a client, as in NATS' own server. All clients together have a bound, too.
const MAX_PENDING_BYTES: usize = 64 << 20;

impl Gateway for Nats {
    const NAME: &'static str = "nats";
    const MAX_PENDING_BYTES: Option<usize> = Some(MAX_PENDING_BYTES);
    type Protocol = Board;

    fn identify(&mut self, client: ClientId) {
        self.client_id = (u64::from(client.generation) << 32) + u64::from(client.slot) + 1;
    }

    fn greet(&mut self, output: &mut Vec<u8>) {
        // Writing to a vector cannot fail. The version is that of NATS whose clients' protocol this
        // is.
        let _ = write!(
            Text(output),
            "INFO {{\"server_id\":\"node\",\"server_name\":\"node\",\"version\":\"2.9.0\",\"proto\":1,\
             \"headers\":true,\"max_payload\":{MAX_TEXT_BYTES},\"client_id\":{}}}\r\n",
            self.client_id
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
        let is = |name: &str| command.eq_ignore_ascii_case(name.as_bytes());
        if is("PUB") || is("HPUB") {
            return self.publish(words, input, after, idle, output);
        }
        if !idle {
            // Its answer must not overtake those before it.
            return Decoded::Wait;
        }
        if let Some(request) = self.end_what_is_over() {
            return Decoded::Request { used: 0, request };
        }
        let done = Decoded::Answered { used: after };
        let asked = if is("PING") {
            output.extend_from_slice(b"PONG\r\n");
            return done;
        } else if is("PONG") || is("+OK") || command.is_empty() {
            return done;
        } else if is("CONNECT") {
            self.connect(words.0, output)
        } else if is("SUB") {
            self.subscribe(words, output)
        } else if is("UNSUB") {
            self.unsubscribe(words, output)
        } else {
            Err("Unknown Protocol Operation")
        };
        match asked {
            Ok(Some(request)) => Decoded::Request { used: after, request },
            Ok(None) => done,
            // What follows may be a payload: nobody knows where the next line begins.
            Err(reason) => close(output, idle, reason),
        }
    }

    fn form(&mut self) -> &[u8] {
        if !self.is_formed {
            self.is_formed = true;
            self.form.clear();
            self.form.push(u8::from(self.options.has_headers()));
            let pushed = |one: &&Subscription| one.group.is_none();
            if self.places.iter().flatten().filter(pushed).any(|one| one.limit.is_some()) {
                // What it is sent depends on what it has had.
                self.form.extend_from_slice(&self.client_id.to_le_bytes());
                return &self.form;
            }
            // Subjects and names hold no blank and no line's end, so this tells any two lists
            // apart.
            for place in &self.places {
                if let Some(one) = place.as_ref().filter(pushed) {
                    self.form.extend_from_slice(one.subject.as_bytes());
                    self.form.push(b' ');
                    self.form.extend_from_slice(one.sid.as_bytes());
                }
                self.form.push(b'\n');
            }
        }
        &self.form
    }

    fn take_tally(&mut self, tally: &mut Vec<(usize, u64)>) {
        tally.append(&mut self.tally);
    }

    fn apply_tally(&mut self, tally: &[(usize, u64)]) {
        for (place, messages) in tally {
            self.count(*place, *messages);
        }
    }

    fn encode(&mut self, reply: Reply<'_>, output: &mut Vec<u8>) {
        match reply {
            Reply::Message { topic, text, reply, headers, member, .. } => {
                let headers = headers.as_deref().filter(|_| self.options.has_headers());
                let message =
                    Heard { topic: &topic, reply: reply.as_deref(), headers, text: &text };
                match member {
                    None => self.hear(&message, output),
                    Some(member) => self.hear_as(&member, &message, output),
                }
            }
            Reply::Missed { messages, .. } => {
                refuse(output, format_args!("{messages} messages missed"))
            }
            Reply::Error { reason, .. } => match self.asked.take() {
                Some(Asked::Subscription(place)) => {
                    if let Some(Subscription { subject, .. }) = self.free(place) {
                        refuse_subject(output, SUBSCRIPTION, subject.as_bytes(), &reason);
                    }
                }
                Some(Asked::End(_) | Asked::Over) | None => {
                    refuse(output, format_args!("{}", Escaped(reason.as_bytes())));
                }
            },
            Reply::Subscribed { .. } | Reply::Unsubscribed { .. } | Reply::Published { .. } => {
                match self.asked.take() {
                    Some(Asked::Over) => return,
                    Some(Asked::End(place)) => {
                        let one = self.places.get(place).and_then(Option::as_ref);
                        if one.is_some_and(|one| one.limit.is_none() || one.is_over()) {
                            self.free(place);
                        }
                    }
                    Some(Asked::Subscription(_)) | None => {}
                }
                output.extend_from_slice(self.options.ok());
            }
            // Nobody asks for these here.
            Reply::Sent { .. } | Reply::Status { .. } => {
                refuse(output, format_args!("an answer without a question"));
            }
        }
    }
}

impl Options {
    fn is_verbose(&self) -> bool {
        self.verbose.unwrap_or(true)
    }

    fn has_headers(&self) -> bool {
        self.headers.unwrap_or(false)
    }

    fn ok(&self) -> &'static [u8] {
        if self.is_verbose() { b"+OK\r\n" } else { b"" }
    }
}

/// What a line asks of the proxy, if anything; or why nothing can be read behind it.
type Asks = Result<Option<Request<'static>>, &'static str>;

impl Nats {
    fn connect(&mut self, options: &[u8], output: &mut Vec<u8>) -> Asks {
        let wrong = "CONNECT needs its options, as a JSON object";
        self.options = serde_json::from_slice(options).map_err(|_| wrong)?;
        if self.options.no_responders == Some(true) && !self.options.has_headers() {
            return Err("no responders requires headers support");
        }
        self.is_formed = false;
        output.extend_from_slice(self.options.ok());
        Ok(None)
    }

    /// `SUB subject [group] sid`.
    fn subscribe(&mut self, mut words: Words<'_>, output: &mut Vec<u8>) -> Asks {
        let (Some(subject), Some(second), third, None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err("SUB needs a subject, perhaps a queue group, and a name");
        };
        let (group, sid) = third.map_or((None, second), |third| (Some(second), third));
        let Some(topic) = subject_of(subject, is_subject) else {
            let reason = subject_fault(subject, "no word between dots is empty, and > is the last");
            refuse_subject(output, SUBSCRIPTION, subject, &reason);
            return Ok(None);
        };
        let (Some(group), Some(sid)) =
            (group.map_or(Some(None), |one| name(one).map(Some)), name(sid))
        else {
            let reason = "a queue group and a name are 1 to 64 bytes without quotes";
            refuse_subject(output, SUBSCRIPTION, subject, reason);
            return Ok(None);
        };
        if self.names.contains_key(sid) {
            // As in NATS: the first one stands.
            output.extend_from_slice(self.options.ok());
            return Ok(None);
        }
        let copies = self.subjects.subject(topic).map_or(0, Vec::len);
        if self.names.len() >= MAX_SUBSCRIPTIONS || (group.is_none() && copies >= MAX_COPIES) {
            let reason = "a connection has at most 1000 subscriptions, and 64 to one subject";
            refuse_subject(output, SUBSCRIPTION, subject, reason);
            return Ok(None);
        }
        let is_new = self.add(topic, group, sid);
        if !is_new {
            output.extend_from_slice(self.options.ok());
            return Ok(None);
        }
        let member = group.map(|group| member(group, sid));
        Ok(Some(Request::Subscribe { topic: String::from(topic).into(), member }))
    }

    /// Keeps a subscription; answers whether the proxy must know of it.
    fn add(&mut self, topic: &str, group: Option<&str>, sid: &str) -> bool {
        let place = self.places.iter().position(Option::is_none).unwrap_or(self.places.len());
        let (sid, group): (Arc<str>, Option<Arc<str>>) = (sid.into(), group.map(Into::into));
        let (subject, is_new) = if group.is_none() {
            let (subject, places) = self.subjects.entry(topic);
            places.push(place);
            (subject, places.len() == 1)
        } else {
            (topic.into(), true)
        };
        self.names.insert(Arc::clone(&sid), place);
        let one = Some(Subscription { sid, subject, group, had: 0, limit: None });
        match self.places.get_mut(place) {
            Some(free) => *free = one,
            None => self.places.push(one),
        }
        self.is_formed = false;
        if is_new {
            self.asked = Some(Asked::Subscription(place));
        }
        is_new
    }

    /// Forgets a subscription. The proxy is not asked.
    fn free(&mut self, place: usize) -> Option<Subscription> {
        let one = self.places.get_mut(place)?.take()?;
        self.is_formed = false;
        self.names.remove(&one.sid);
        if one.group.is_none()
            && let Some(places) = self.subjects.get_mut(&one.subject)
        {
            places.retain(|other| *other != place);
            if places.is_empty() {
                self.subjects.remove(&one.subject);
            }
        }
        Some(one)
    }

    /// `UNSUB sid [messages]`.
    fn unsubscribe(&mut self, mut words: Words<'_>, output: &mut Vec<u8>) -> Asks {
        let (Some(sid), limit, None) = (words.next(), words.next(), words.next()) else {
            return Err("UNSUB needs the name of a subscription, and perhaps a number of messages");
        };
        let limit = limit.and_then(number).map(|limit| limit as u64).filter(|limit| *limit > 0);
        let place = name(sid).and_then(|sid| self.names.get(sid).copied());
        let Some((place, one)) =
            place.and_then(|place| Some((place, self.places.get_mut(place)?.as_mut()?)))
        else {
            output.extend_from_slice(self.options.ok());
            return Ok(None);
        };
        one.limit = limit;
        let topic = || String::from(&*one.subject).into();
        if let Some(group) = &one.group {
            // The proxy counts, too: what it gives to this one goes to no other.
            let (topic, member) = (topic(), Some(member(group, &one.sid)));
            self.asked = Some(Asked::End(place));
            return Ok(Some(Request::Unsubscribe { topic, member, after: limit }));
        }
        self.is_formed = false;
        let goes_on = limit.is_some() && !one.is_over();
        let is_last = self.subjects.subject(&one.subject).is_none_or(|places| places.len() == 1);
        if !goes_on && is_last {
            // Until the answer, what was said before is on its way.
            let (topic, member, after) = (topic(), None, None);
            self.asked = Some(Asked::End(place));
            return Ok(Some(Request::Unsubscribe { topic, member, after }));
        }
        if !goes_on {
            self.free(place);
        }
        output.extend_from_slice(self.options.ok());
        Ok(None)
    }

    /// Forgets what has had all that it was to have; asks the proxy to.
    fn end_what_is_over(&mut self) -> Option<Request<'static>> {
        while let Some(place) = self.over.pop() {
            let one = self.places.get(place).and_then(Option::as_ref);
            if !one.is_some_and(Subscription::is_over) {
                continue;
            }
            let Some(Subscription { subject, group, .. }) = self.free(place) else { continue };
            // The proxy knows when a member has had everything.
            if group.is_none() && self.subjects.subject(&subject).is_none() {
                self.asked = Some(Asked::Over);
                let (topic, member, after) = (String::from(&*subject).into(), None, None);
                return Some(Request::Unsubscribe { topic, member, after });
            }
        }
        None
    }

    /// `PUB topic [reply] bytes`, and the bytes; or `HPUB topic [reply] header_bytes bytes`, and
    /// headers and text.
    fn publish<'a>(
        &self,
        words: Words<'a>,
        input: &'a [u8],
        after: usize,
        idle: bool,
        output: &mut Vec<u8>,
    ) -> Decoded<Request<'a>> {
        let has_headers = matches!(input.first(), Some(b'H' | b'h'));
        if has_headers && !self.options.has_headers() {
            return close(output, idle, "message headers not supported");
        }
        let Some(line) = Publication::read(words, has_headers) else {
            // Where the next line begins is not known then.
            let reason =
                "PUB needs a subject, perhaps a reply subject, and a length; HPUB two lengths";
            return close(output, idle, reason);
        };
        let Publication { topic, reply, header_bytes, bytes } = line;
        if bytes > MAX_TEXT_BYTES {
            return close(output, idle, "Maximum Payload Violation");
        }
        let used = after + bytes + CRLF.len();
        let Some(payload) = input.get(after..used) else { return Decoded::Incomplete };
        let Some(payload) = payload.strip_suffix(CRLF) else {
            return close(
                output,
                idle,
                "a message ends with CR LF, after as many bytes as it says",
            );
        };
        let (headers, text) = payload.split_at(header_bytes);
        let headers = has_headers.then_some(headers);
        let sound = sound(topic, reply, headers, text);
        let (topic, reply) = match sound {
            Ok(sound) => sound,
            // Its answer must not overtake those before it.
            Err(_) if !idle => return Decoded::Wait,
            Err(reason) => {
                refuse_subject(output, PUBLISH, topic, &reason);
                return Decoded::Answered { used };
            }
        };
        let request = Request::Publish {
            topic: Cow::Borrowed(topic),
            text: Bytes::new(text),
            quiet: !self.options.is_verbose(),
            reply: reply.map(Cow::Borrowed),
            headers: headers.map(Bytes::new),
            no_echo: self.options.echo == Some(false),
            no_responders: reply.is_some() && self.options.no_responders == Some(true),
        };
        Decoded::Request { used, request }
    }

    /// What is said goes to each subscription that it belongs to.
    fn hear(&mut self, message: &Heard<'_>, output: &mut Vec<u8>) {
        let Nats { subjects, places, found, path, .. } = self;
        let is_on = |place: usize| {
            let one = places.get(place).and_then(Option::as_ref);
            one.is_some_and(|one| !one.is_over())
        };
        found.clear();
        let own = subjects.topic(message.topic).map_or(&[][..], |own| own);
        found.extend(own.iter().filter(|place| is_on(**place)));
        subjects.each_pattern(message.topic, path, &mut |_, own| {
            found.extend(own.iter().filter(|place| is_on(**place)));
        });
        let bytes = message.text.len() + message.headers.map_or(0, <[u8]>::len);
        let copies = found.len();
        if copies > MAX_COPIES || (copies > 1 && copies * bytes > MAX_COPIED_BYTES) {
            let topic = Escaped(message.topic.as_bytes());
            return refuse(
                output,
                format_args!(
                    "a message under {topic} is missed: {copies} subscriptions overlap there, and get \
                     at most 64 copies and 8 MiB"
                ),
            );
        }
        for number in 0..copies {
            let place = self.found[number];
            if let Some(Some(one)) = self.places.get(place) {
                message.write(&one.sid, output);
            }
            self.count(place, 1);
            match self.tally.last_mut() {
                Some((last, messages)) if *last == place => *messages += 1,
                _ => self.tally.push((place, 1)),
            }
        }
    }

    /// What is said goes to one subscription, for its group.
    fn hear_as(&mut self, member: &Member<'_>, message: &Heard<'_>, output: &mut Vec<u8>) {
        let Some(place) = self.names.get(&*member.name).copied() else { return };
        if let Some(Some(one)) = self.places.get(place)
            && one.group.as_deref() == Some(&*member.group)
        {
            message.write(&one.sid, output);
            self.count(place, 1);
        }
    }

    /// A subscription has had messages.
    fn count(&mut self, place: usize, messages: u64) {
        let Some(Some(one)) = self.places.get_mut(place) else { return };
        one.had = one.had.saturating_add(messages);
        if one.is_over() {
            self.over.push(place);
        }
    }
}

/// How the proxy knows a subscription that shares.
fn member(group: &str, sid: &str) -> Member<'static> {
    Member { group: String::from(group).into(), name: String::from(sid).into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::LamportTime;
    use alloc::format;
    use alloc::vec;

    const AT: (u64, LamportTime) = (1, LamportTime(1));

    /// What the gateway makes of the input, request by request, and what it says: itself, and when
    /// the proxy does as it is asked.
    fn talk(nats: &mut Nats, input: &str) -> (Vec<Request<'static>>, String) {
        let (mut requests, mut output) = (Vec::new(), Vec::new());
        // A request borrows from the bytes, and a test is short.
        let mut rest: &'static [u8] = String::from(input).leak().as_bytes();
        while !rest.is_empty() {
            match nats.decode(rest, true, &mut output) {
                Decoded::Request { used, request } => {
                    rest = &rest[used..];
                    let (timestamp, clock) = AT;
                    match &request {
                        Request::Subscribe { topic, .. } => {
                            let topic = topic.clone();
                            let reply = Reply::Subscribed { topic, timestamp, clock };
                            nats.encode(reply, &mut output);
                        }
                        Request::Unsubscribe { topic, .. } => {
                            let topic = topic.clone();
                            let reply = Reply::Unsubscribed { topic, timestamp, clock };
                            nats.encode(reply, &mut output);
                        }
                        _ => {}
                    }
                    requests.push(request);
                }
                Decoded::Answered { used } => rest = &rest[used..],
                Decoded::Incomplete | Decoded::Wait | Decoded::Close { .. } => break,
            }
        }
        (requests, String::from_utf8(output).unwrap())
    }

    fn connected(options: &str) -> Nats {
        let mut nats = Nats::default();
        talk(&mut nats, &format!("CONNECT {{{options}}}\r\n"));
        nats
    }

    fn quiet() -> Nats {
        let mut nats = Nats::default();
        let connect = "CONNECT {\"verbose\": false,\"lang\":\"c\",\"jwt\":[{}],\"echo\":null}\r\n";
        assert_eq!(talk(&mut nats, connect).1, "");
        nats
    }

    fn message(topic: &'static str, text: &'static str) -> Reply<'static> {
        let ((timestamp, clock), text) = (AT, Bytes::new(text.as_bytes()));
        let (user, server, reply, headers, member) = ("".into(), None, None, None, None);
        let topic = topic.into();
        Reply::Message { topic, user, server, text, reply, headers, member, timestamp, clock }
    }

    /// A message with what is not said in every one.
    fn full(
        topic: &'static str,
        to: Option<&'static str>,
        header: Option<&'static str>,
        of: Option<Member<'static>>,
    ) -> Reply<'static> {
        let Reply::Message { topic, user, server, text, timestamp, clock, .. } =
            message(topic, "hi")
        else {
            panic!("it is a message");
        };
        let (reply, headers, member) = (to.map(Into::into), header.map(Into::into), of);
        Reply::Message { topic, user, server, text, reply, headers, member, timestamp, clock }
    }

    fn subscribe(topic: &'static str) -> Request<'static> {
        Request::Subscribe { topic: topic.into(), member: None }
    }

    fn unsubscribe(topic: &'static str) -> Request<'static> {
        Request::Unsubscribe { topic: topic.into(), member: None, after: None }
    }

    fn encoded(nats: &mut Nats, reply: Reply<'_>) -> String {
        let mut output = Vec::new();
        nats.encode(reply, &mut output);
        String::from_utf8(output).unwrap()
    }

    fn hear(nats: &mut Nats, topic: &'static str) -> String {
        encoded(nats, message(topic, "hi"))
    }

    #[test]
    fn a_dialogue_as_the_protocols_documentation_has_it() {
        let mut nats = Nats::default();
        let mut greeting = Vec::new();
        nats.identify(ClientId { slot: 6, generation: 0 });
        nats.greet(&mut greeting);
        let greeting = str::from_utf8(&greeting).unwrap();
        let info = greeting.strip_prefix("INFO ").and_then(|rest| rest.strip_suffix("\r\n"));
        let info: serde_json::Value = serde_json::from_str(info.unwrap()).unwrap();
        assert_eq!((&info["headers"], &info["proto"]), (&true.into(), &1.into()));
        assert_eq!((&info["max_payload"], &info["client_id"]), (&MAX_TEXT_BYTES.into(), &7.into()));
        assert!(info["server_id"].is_string() && info["version"].is_string(), "{info}");
        assert_eq!(talk(&mut nats, "CONNECT {}\r\nPING\r\n"), (vec![], "+OK\r\nPONG\r\n".into()));
        let (requests, said) =
            talk(&mut nats, "SUB foo.bar 90\r\nsub  x\t7\r\nPUB x 5\r\nhe\r\n!\r\n");
        assert_eq!(said, "+OK\r\n+OK\r\n");
        assert_eq!(requests[..2], [subscribe("foo.bar"), subscribe("x")]);
        let [.., Request::Publish { topic, text, quiet: false, .. }] = &requests[..] else {
            panic!("{requests:?}");
        };
        assert_eq!((&**topic, &**text), ("x", &b"he\r\n!"[..]));
        let (timestamp, clock) = AT;
        let published = Reply::Published { subscribers: 1, timestamp, clock };
        assert_eq!(encoded(&mut nats, published), "+OK\r\n");
        assert_eq!(hear(&mut nats, "x"), "MSG x 7 2\r\nhi\r\n");
        assert_eq!(encoded(&mut nats, message("foo.bar", "")), "MSG foo.bar 90 0\r\n\r\n");
        let (requests, said) = talk(&mut nats, "UNSUB 7\r\nUNSUB 8\r\n");
        assert_eq!((&requests[..], &said[..]), (&[unsubscribe("x")][..], "+OK\r\n+OK\r\n"));
        assert_eq!(hear(&mut nats, "x"), "", "it is on its way no more");
    }

    #[test]
    fn what_was_said_before_a_subscription_ends_still_comes() {
        let mut nats = quiet();
        talk(&mut nats, "SUB a 1\r\n");
        let step = nats.decode(b"UNSUB 1\r\n", true, &mut Vec::new());
        assert!(matches!(step, Decoded::Request { used: 9, .. }), "{step:?}");
        assert_eq!(hear(&mut nats, "a"), "MSG a 1 2\r\nhi\r\n");
        let (timestamp, clock) = AT;
        encoded(&mut nats, Reply::Unsubscribed { topic: "a".into(), timestamp, clock });
        assert_eq!(hear(&mut nats, "a"), "");
    }

    #[test]
    fn who_does_not_want_it_gets_no_ok() {
        let mut nats = quiet();
        assert_eq!(talk(&mut nats, "SUB a 1\r\nUNSUB 2\r\nPONG\r\n+OK\r\n").1, "");
        let (requests, _) = talk(&mut nats, "PUB a 0\r\n\r\n");
        assert!(matches!(requests[..], [Request::Publish { quiet: true, .. }]), "{requests:?}");
    }

    #[test]
    fn a_topic_may_have_several_subscriptions_and_all_get_the_message() {
        let mut nats = quiet();
        let (requests, said) = talk(&mut nats, "SUB a 1\r\nSUB a 2\r\nSUB b 1\r\n");
        assert_eq!((&requests[..], &said[..]), (&[subscribe("a")][..], ""), "the first 1 stands");
        assert_eq!(hear(&mut nats, "a"), "MSG a 1 2\r\nhi\r\nMSG a 2 2\r\nhi\r\n");
        assert_eq!(talk(&mut nats, "UNSUB 1\r\n"), (vec![], String::new()));
        assert_eq!(hear(&mut nats, "a"), "MSG a 2 2\r\nhi\r\n");
        let (requests, _) = talk(&mut nats, "UNSUB 2\nPING\n");
        assert_eq!(requests, [unsubscribe("a")], "a line may end so, too");
    }

    #[test]
    fn each_subscription_that_stands_for_the_topic_gets_the_message_once() {
        let mut nats = quiet();
        let (requests, _) = talk(&mut nats, "SUB a.* 1\r\nSUB > 2\r\nSUB b.> 3\r\nSUB a.b 4\r\n");
        assert_eq!(requests.len(), 4);
        let sids = |said: &str| -> Vec<String> {
            let lines = said.lines().filter_map(|line| line.strip_prefix("MSG "));
            let mut sids: Vec<String> =
                lines.filter_map(|line| line.split(' ').nth(1).map(String::from)).collect();
            sids.sort_unstable();
            sids
        };
        assert_eq!(sids(&hear(&mut nats, "a.b")), ["1", "2", "4"]);
        assert_eq!(sids(&hear(&mut nats, "b.x.y")), ["2", "3"]);
        assert_eq!(sids(&hear(&mut nats, "b")), ["2"]);
        talk(&mut nats, "UNSUB 2\r\n");
        assert_eq!(sids(&hear(&mut nats, "b")), [""; 0]);
    }

    #[test]
    fn a_member_of_a_group_gets_what_is_meant_for_it() {
        let mut nats = quiet();
        let (requests, _) = talk(&mut nats, "SUB jobs.* g 1\r\nSUB jobs.* g 2\r\nSUB > 3\r\n");
        let of = |name: &'static str| Some(Member { group: "g".into(), name: name.into() });
        let named = |name| Request::Subscribe { topic: "jobs.*".into(), member: of(name) };
        assert_eq!(requests, [named("1"), named("2"), subscribe(">")]);
        assert_eq!(hear(&mut nats, "jobs.a"), "MSG jobs.a 3 2\r\nhi\r\n");
        let meant = |nats: &mut Nats, name| encoded(nats, full("jobs.a", None, None, of(name)));
        assert_eq!(meant(&mut nats, "2"), "MSG jobs.a 2 2\r\nhi\r\n");
        assert_eq!(meant(&mut nats, "3") + &meant(&mut nats, "4"), "", "it is of no group");
        let (requests, _) = talk(&mut nats, "UNSUB 2 3\r\nUNSUB 1\r\n");
        let end = |name, after| {
            let (topic, member) = ("jobs.*".into(), of(name));
            Request::Unsubscribe { topic, member, after }
        };
        assert_eq!(requests, [end("2", Some(3)), end("1", None)]);
        assert_eq!(meant(&mut nats, "1"), "");
        assert_eq!(meant(&mut nats, "2").len() + meant(&mut nats, "2").len(), 40);
        assert_eq!(talk(&mut nats, "PING\r\n"), (vec![], "PONG\r\n".into()), "the proxy knows");
        assert_eq!(meant(&mut nats, "2"), "");
    }

    #[test]
    fn a_subscription_with_a_limit_ends_when_it_has_had_so_many() {
        let mut nats = quiet();
        talk(&mut nats, "SUB a 1\r\nSUB a 2\r\n");
        hear(&mut nats, "a");
        assert_eq!(talk(&mut nats, "UNSUB 1 2\r\nUNSUB 2 3\r\nUNSUB 9 1\r\n"), (vec![], "".into()));
        assert_eq!(hear(&mut nats, "a"), "MSG a 1 2\r\nhi\r\nMSG a 2 2\r\nhi\r\n");
        assert_eq!(hear(&mut nats, "a"), "MSG a 2 2\r\nhi\r\n");
        assert_eq!(hear(&mut nats, "a"), "");
        // The proxy is told as soon as the client says anything, and the client nothing of it.
        let (requests, said) = talk(&mut nats, "SUB a 1\r\nPING\r\n");
        assert_eq!(requests, [unsubscribe("a"), subscribe("a")]);
        assert_eq!(said, "PONG\r\n");
        // Had already, none at all, and no number.
        hear(&mut nats, "a");
        for limit in ["1", "0", "x"] {
            let (requests, _) = talk(&mut nats, &format!("UNSUB 1 {limit}\r\nSUB a 1\r\n"));
            assert_eq!(requests, [unsubscribe("a"), subscribe("a")], "{limit}");
        }
    }

    #[test]
    fn who_wants_an_ok_for_everything_gets_none_for_what_the_gateway_asks() {
        let mut nats = Nats::default();
        talk(&mut nats, "SUB a 1\r\nUNSUB 1 1\r\n");
        hear(&mut nats, "a");
        assert_eq!(talk(&mut nats, "PING\r\n"), (vec![unsubscribe("a")], "PONG\r\n".into()));
    }

    #[test]
    fn what_another_connection_of_the_same_form_was_sent_counts() {
        let (mut one, mut other) = (quiet(), quiet());
        for nats in [&mut one, &mut other] {
            talk(nats, "SUB a 1\r\nSUB b 2\r\n");
        }
        let mut tally = Vec::new();
        for topic in ["a", "b", "b"] {
            assert_eq!(one.form(), other.form());
            hear(&mut one, topic);
            tally.clear();
            one.take_tally(&mut tally);
            other.apply_tally(&tally);
        }
        // Each has had one of `a`, and two of `b`.
        for nats in [&mut one, &mut other] {
            let (requests, _) = talk(nats, "UNSUB 1 2\r\nUNSUB 2 2\r\n");
            assert_eq!(requests, [unsubscribe("b")]);
            assert_eq!(hear(nats, "a"), "MSG a 1 2\r\nhi\r\n");
            assert_eq!(hear(nats, "a"), "");
        }
    }

    #[test]
    fn replies_and_headers_pass_and_who_knows_no_headers_gets_the_text() {
        let mut nats = connected("\"verbose\":false,\"headers\":true,\"no_responders\":true");
        let (requests, said) = talk(
            &mut nats,
            "SUB a 1\r\nPUB a in.1 2\r\nhi\r\nHPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n\
             hpub a in.1 12 12\r\nNATS/1.0\r\n\r\n\r\n",
        );
        assert_eq!(said, "");
        let of = |request: &Request<'_>| match request {
            Request::Publish { text, reply, headers, no_responders, .. } => {
                let reply = reply.as_deref().map(String::from);
                (text.to_vec(), reply, headers.as_ref().map(|one| one.len()), *no_responders)
            }
            other => panic!("{other:?}"),
        };
        let published: Vec<_> = requests[1..].iter().map(of).collect();
        assert_eq!(published[0], (b"hi".to_vec(), Some("in.1".into()), None, true));
        assert_eq!(published[1], (b"hi".to_vec(), None, Some(12), false));
        assert_eq!(published[2], (vec![], Some("in.1".into()), Some(12), true));
        let (to, header) = (Some("in.1"), Some("NATS/1.0\r\n\r\n"));
        let heard = |nats: &mut Nats, to, header| encoded(nats, full("a", to, header, None));
        assert_eq!(heard(&mut nats, to, None), "MSG a 1 in.1 2\r\nhi\r\n");
        assert_eq!(heard(&mut nats, None, header), "HMSG a 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
        assert_eq!(heard(&mut nats, to, header), "HMSG a 1 in.1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
        let mut plain = quiet();
        talk(&mut plain, "SUB a 1\r\n");
        assert_ne!(plain.form(), nats.form());
        assert_eq!(heard(&mut plain, to, header), "MSG a 1 in.1 2\r\nhi\r\n");
        let mut deaf = connected("\"verbose\":false,\"echo\":false");
        let (requests, _) = talk(&mut deaf, "PUB a in.1 0\r\n\r\n");
        let [Request::Publish { no_echo: true, no_responders: false, .. }] = requests[..] else {
            panic!("{requests:?}");
        };
    }

    #[test]
    fn a_subscription_that_is_refused_is_none_and_they_are_bounded() {
        let (reason, published, (timestamp, clock)) = ("no".into(), super::super::Maybe::No, AT);
        let refusal = Reply::Error { reason, published, timestamp, clock };
        let mut nats = quiet();
        let step = nats.decode(b"SUB a 1\r\n", true, &mut Vec::new());
        assert!(matches!(step, Decoded::Request { .. }), "{step:?}");
        let told = encoded(&mut nats, refusal.clone());
        assert_eq!(told, "-ERR 'Permissions Violation for Subscription to \"a\": no'\r\n");
        assert_eq!(hear(&mut nats, "a"), "");
        talk(&mut nats, "SUB a 1\r\n");
        assert_eq!(encoded(&mut nats, refusal), "-ERR 'Permissions Violation: no'\r\n");
        assert_eq!(hear(&mut nats, "a"), "MSG a 1 2\r\nhi\r\n");
        let copies: String = (2..=MAX_COPIES).map(|n| format!("SUB a {n}\r\n")).collect();
        assert_eq!(talk(&mut nats, &copies).1, "");
        assert!(talk(&mut nats, "SUB a 0\r\n").1.contains("Subscription to \"a\": a connection"));
        let others = MAX_COPIES + 1..=MAX_SUBSCRIPTIONS;
        let others: String = others.map(|n| format!("SUB a{n} {n}\r\n")).collect();
        assert!(talk(&mut nats, &others).1.is_empty());
        assert!(talk(&mut nats, "SUB b 0\r\n").1.contains("Subscription to \"b\": a connection"));
        assert_eq!(hear(&mut nats, "a").matches("MSG").count(), MAX_COPIES);
        // One more, and longer ones.
        talk(&mut nats, "UNSUB 900\r\nSUB > 900\r\n");
        let told = hear(&mut nats, "a");
        assert!(
            told.starts_with("-ERR 'Permissions Violation: a message under a is missed"),
            "{told}"
        );
        talk(&mut nats, "UNSUB 900\r\n");
        let long: &'static str = "x".repeat(MAX_COPIED_BYTES / MAX_COPIES + 1).leak();
        let told = encoded(&mut nats, message("a", long));
        assert!(
            told.starts_with("-ERR 'Permissions Violation: a message under a is missed"),
            "{told}"
        );
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
        let id = |slot| ClientId { slot, generation: 0 };
        one.identify(id(1));
        other.identify(id(2));
        assert_eq!(one.form(), other.form());
        talk(&mut other, "UNSUB 1 5\r\n");
        assert_ne!(one.form(), other.form(), "one gets all, the other five");
        talk(&mut one, "UNSUB 1 5\r\n");
        assert_ne!(one.form(), other.form(), "whoever has had more gets less");
        for nats in [&mut one, &mut other] {
            talk(nats, "UNSUB 1\r\nSUB a 1\r\n");
        }
        assert_eq!(one.form(), other.form());
    }

    #[test]
    fn a_message_may_come_in_pieces_of_any_size() {
        let plain = "PUB topic 12\r\nhello\r\nworld\r\n";
        let headed = "HPUB topic in 16 21\r\nNATS/1.0\r\nA:\r\n\r\nhello\r\n";
        for input in [plain, headed] {
            for end in 0..input.len() {
                let (mut nats, mut output) = (connected("\"headers\":true"), Vec::new());
                let step = nats.decode(&input.as_bytes()[..end], true, &mut output);
                assert!(matches!(step, Decoded::Incomplete), "{input} {end}: {step:?}");
                assert!(output.is_empty());
            }
        }
    }

    /// Clients end for good at an `-ERR` that is none of a few; `Permissions Violation` is one that
    /// they only report.
    #[test]
    fn what_is_refused_is_told_in_the_form_that_clients_survive() {
        let long = "y".repeat(300);
        for (line, reason) in [
            ("PUB servers 1\r\nx", "Publish to \"servers\": under the topic servers"),
            ("PUB a..b 1\r\nx", "Publish to \"a..b\": "),
            ("PUB a.* 1\r\nx", "Publish to \"a.*\": "),
            ("PUB a\"b 1\r\nx", "Publish to \"a\"b\": a topic is a word of 1 to 256"),
            ("PUB a a\\b 1\r\nx", "Publish to \"a\": its reply subject cannot be"),
            ("HPUB a 4 5\r\nabcdx", "Publish to \"a\": headers begin with"),
            ("SUB a..b 1", "Subscription to \"a..b\": "),
            ("SUB a.>.b 1", "Subscription to \"a.>.b\": "),
            ("SUB a \"g\" 1", "Subscription to \"a\": a queue group"),
            (&format!("SUB {long} 1"), "at most 256 bytes, and this one has 300"),
            (&format!("PUB {long} 1\r\nx"), "at most 256 bytes, and this one has 300"),
        ] {
            let mut nats = connected("\"verbose\":false,\"headers\":true");
            let (requests, said) = talk(&mut nats, &format!("{line}\r\nPING\r\n"));
            assert!(requests.is_empty(), "{line}");
            assert!(said.starts_with("-ERR 'Permissions Violation for "), "{line}: {said}");
            assert!(said.contains(reason), "{line}: {said}");
            assert!(said.ends_with("'\r\nPONG\r\n"), "it goes on");
        }
        let (messages, (timestamp, clock)) = (3, AT);
        let missed = encoded(&mut quiet(), Reply::Missed { messages, timestamp, clock });
        assert_eq!(missed, "-ERR 'Permissions Violation: 3 messages missed'\r\n");
    }

    #[test]
    fn what_cannot_be_read_on_ends_it() {
        let long = format!("SUB {} 1\r\n", "x".repeat(5_000));
        for wrong in [
            "PUB a\r\n",
            "PUB a x\r\n",
            "PUB a -1\r\n",
            "PUB a +1\r\nb\r\n",
            "PUB a b c 1\r\nb\r\n",
            "PUB a 1048577\r\n",
            "PUB a 99999999999999999999\r\n",
            "PUB a 2\r\nabcd\r\n",
            "HPUB a 12\r\n",
            "HPUB a 13 12\r\n",
            "HPUB a b 12 1048577\r\n",
            "HPUB a b c 12 12\r\n",
            "SUB a\r\n",
            "SUB a b c d\r\n",
            "UNSUB\r\n",
            "UNSUB 1 2 3\r\n",
            "CONNECT\r\n",
            "CONNECT {\r\n",
            "CONNECT {\"verbose\":1}\r\n",
            "CONNECT {\"no_responders\":true}\r\n",
            "\u{1b}[2J\r\n",
            &long,
        ] {
            let mut output = Vec::new();
            let mut nats = connected("\"verbose\":false,\"headers\":true");
            let step = nats.decode(wrong.as_bytes(), true, &mut output);
            assert!(matches!(step, Decoded::Close { reason: Some(_) }), "{wrong}: {step:?}");
            assert!(output.starts_with(b"-ERR '") && output.ends_with(b"'\r\n"));
        }
        // Its payload would be taken for lines.
        let mut output = Vec::new();
        let headed = b"HPUB a 12 23\r\nNATS/1.0\r\n\r\nPUB b 1\r\nx\r\n\r\n";
        let step = quiet().decode(headed, true, &mut output);
        assert!(matches!(step, Decoded::Close { reason: Some(_) }), "{step:?}");
    }

    #[test]
    fn only_publications_are_taken_before_earlier_requests_are_answered() {
        let mut output = Vec::new();
        for line in
            ["PING\r\n", "SUB a 1\r\n", "CONNECT {}\r\n", "PUB a x\r\n", "PUB servers 0\r\n\r\n"]
        {
            let step = quiet().decode(line.as_bytes(), false, &mut output);
            assert!(matches!(step, Decoded::Wait), "{line}: {step:?}");
        }
        let step = quiet().decode(b"PUB a 1\r\nx\r\n", false, &mut output);
        assert!(matches!(step, Decoded::Request { used: 12, .. }), "{step:?}");
        assert!(output.is_empty());
    }
}
