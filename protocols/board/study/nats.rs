//! The board's clients that speak NATS: what they put on the wire, and what they make of what comes
//! back. Written from NATS' documentation ("Client Protocol"), and not with the gateway's own code.
//!
//! ```text
//!   client                                   proxy
//!     │ ── CONNECT, SUB, [SUB,] PING ────────► │
//!     │ ◄── INFO, [+OK,] PONG ──────────────── │   the subscription is there
//!     │ ── PUB or HPUB, [PING] ──────────────► │
//!     │ ◄── +OK or PONG ────────────────────── │   it is published
//!     │ ◄── MSG or HMSG, one for each SUB ──── │
//!     │ ── UNSUB, PING ──────────────────────► │   a second SUB ends after so many
//! ```
//!
//! Some topics have a second subscription, which gets **copies**: to the same subject, to a
//! pattern, or as the only member of a group. Each message must come to each of a connection's
//! subscriptions that it belongs to, one right after the other, and to one that ends after so many
//! no more than that.

use super::wire::{Beside, End, Post, Told, shown};
use node_protocols::board::Reply;
use node_protocols::core::{Bytes, LamportTime, NodeId, Rng};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};

/// A client's end of its connections to the proxy, one after the other.
pub(super) struct Nats {
    /// Draws what it says of itself, and in which form it speaks.
    rng: Rng,
    /// The connection, as the client's other names are made of it.
    connection: u32,
    /// How many connections there have been, and posts.
    connections: u32,
    posts: u32,
    state: State,
}

/// What is known of one connection.
#[derive(Default)]
struct State {
    is_greeted: bool,
    is_connected: bool,
    is_verbose: bool,
    has_headers: bool,
    /// What has come and is nothing whole.
    input: Vec<u8>,
    /// What is to come, in its order.
    expected: VecDeque<Expected>,
    /// By their names, which are their places.
    subscriptions: Vec<Subscription>,
    /// The message that came last, and which subscriptions have had it.
    last: Option<(String, String, BTreeSet<usize>)>,
    /// Under which subject answers to the post under way are waited for.
    inbox: Option<String>,
    /// What it is about to say.
    say: String,
}

/// An answer that is to come, and what it tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    Ok(Tells),
    Pong(Tells),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tells {
    Nothing,
    Posted,
    Subscribed,
    /// The limit of this subscription stands.
    Limited(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// For a topic: what it gets counts.
    Topic,
    /// Gets copies.
    Copy,
    /// For answers to what the client posts.
    Inbox,
}

struct Subscription {
    kind: Kind,
    subject: String,
    /// The proxy has it.
    is_there: bool,
    had: u64,
    /// After how many messages it is to end, and the most that it may have since that stands.
    limit: Option<u64>,
    most: Option<u64>,
}

impl Subscription {
    /// Whether a message is for it, by NATS' rules.
    fn takes(&self, subject: &str) -> bool {
        match self.subject.strip_suffix('*') {
            Some(start) => subject
                .strip_prefix(start)
                .is_some_and(|rest| !rest.is_empty() && !rest.contains('.')),
            None => self.subject == subject,
        }
    }
}

/// One of so many copies makes its subscription one that ends.
const ENDS_OF: u64 = 4;
/// After at most so many more.
const MORE: u64 = 4;
/// What goes beside some texts, and what tells that nobody listens.
const HEADERS: &str = "NATS/1.0\r\nSimulated: yes\r\n\r\n";
const NOBODY: &str = "NATS/1.0 503\r\n\r\n";
/// No clock is told over NATS, and no server.
const CLOCK: LamportTime = LamportTime(0);
const SERVER: NodeId = NodeId(0);

impl Nats {
    pub(super) fn new(seed: u64, connection: u32) -> Nats {
        let rng = Rng::stream(seed, &format!("workload/board/nats/{connection}"));
        Nats { rng, connection, connections: 0, posts: 0, state: State::default() }
    }

    /// Says who it is, if it has not.
    fn connect(&mut self) {
        if self.state.is_connected {
            return;
        }
        self.connections += 1;
        let verbose = ["\"verbose\":true,", "\"verbose\":false,", ""][self.rng.below(3) as usize];
        let has_headers = self.rng.below(2) == 0;
        let state = &mut self.state;
        state.is_connected = true;
        state.is_verbose = !verbose.contains("false");
        state.has_headers = has_headers;
        state.say.push_str(&format!(
            "CONNECT {{{verbose}\"headers\":{has_headers},\"no_responders\":{has_headers},\
             \"lang\":\"simulated\",\"protocol\":1}}\r\n"
        ));
        state.expect_ok(Tells::Nothing);
    }

    /// A second subscription beside one to a topic, perhaps.
    fn copy(&mut self, topic: &str) {
        let pattern = topic.rsplit_once('.').map(|(start, _)| format!("{start}.*"));
        let sid = self.state.subscriptions.len();
        let (subject, group) = match self.rng.below(6) {
            0 => (topic.to_string(), String::new()),
            1 => (pattern.unwrap_or_else(|| topic.into()), String::new()),
            // No other connection, and no other subscription, is of this group.
            2 => {
                let group = format!("only-{}-{}-{sid} ", self.connection, self.connections);
                (topic.to_string(), group)
            }
            _ => return,
        };
        self.state.add(Kind::Copy, &subject, &group);
    }

    /// A copy has come: its subscription is perhaps to end.
    fn limit(&mut self, sid: usize) {
        let state = &mut self.state;
        let Some(one) = state.subscriptions.get_mut(sid) else { return };
        let ends = one.kind == Kind::Copy && one.is_there && one.limit.is_none();
        if !ends || self.rng.below(ENDS_OF) > 0 {
            return;
        }
        // At once, if it has had as many, or if it is not said after how many.
        let limit = self.rng.below(one.had + MORE);
        one.limit = Some(limit);
        let limit = if limit > 0 { format!(" {limit}") } else { String::new() };
        state.say.push_str(&format!("UNSUB {sid}{limit}\r\n"));
        state.expect_ok(Tells::Nothing);
        state.ping(Tells::Limited(sid));
    }
}

impl End for Nats {
    fn redraw(&mut self, by: u64) {
        self.rng.redraw(by);
    }

    fn lost(&mut self) {
        self.state = State::default();
    }

    fn post(&mut self, post: &Post) -> (Vec<u8>, Beside) {
        let is_new = !self.state.is_connected;
        self.connect();
        let own = format!("inbox.{}", self.connection);
        if is_new && self.state.has_headers {
            self.state.add(Kind::Inbox, &format!("{own}.*"), "");
        }
        self.posts += 1;
        let (form, pings) = (self.rng.below(4), self.rng.below(2) == 0);
        let state = &mut self.state;
        let reply = (form % 2 == 0).then(|| format!("{own}.{}", self.posts));
        let headers = (form < 2 && state.has_headers).then(|| HEADERS.to_string());
        state.inbox = reply.clone();
        let (topic, text, header) = (&post.topic, &post.text, headers.as_deref().unwrap_or(""));
        let to = reply.as_ref().map(|to| format!("{to} ")).unwrap_or_default();
        let bytes = header.len() + text.len();
        let line = match header.len() {
            0 => format!("PUB {topic} {to}{bytes}"),
            header => format!("HPUB {topic} {to}{header} {bytes}"),
        };
        state.say.push_str(&format!("{line}\r\n{header}{text}\r\n"));
        if pings || !state.is_verbose {
            state.expect_ok(Tells::Nothing);
            state.ping(Tells::Posted);
        } else {
            state.expect_ok(Tells::Posted);
        }
        (self.say(), Beside { reply, headers })
    }

    fn subscribe(&mut self, topic: &str) -> Vec<u8> {
        self.connect();
        self.state.add(Kind::Topic, topic, "");
        self.copy(topic);
        self.state.ping(Tells::Subscribed);
        self.say()
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<Vec<Told>, String> {
        self.state.input.extend_from_slice(bytes);
        let mut said = Vec::new();
        while let Some((line, payload, used)) = whole(&self.state.input)? {
            self.state.input.drain(..used);
            match payload {
                None => said.extend(self.state.line(&line)?),
                Some(payload) => {
                    let (sid, message) = self.state.message(&line, payload)?;
                    said.extend(message.map(Told::Pushed));
                    self.limit(sid);
                }
            }
        }
        Ok(said)
    }

    fn say(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.state.say).into_bytes()
    }

    fn knows_headers(&self) -> bool {
        self.state.has_headers
    }
}

impl State {
    fn expect_ok(&mut self, tells: Tells) {
        if self.is_verbose {
            self.expected.push_back(Expected::Ok(tells));
        }
    }

    fn ping(&mut self, tells: Tells) {
        self.say.push_str("PING\r\n");
        self.expected.push_back(Expected::Pong(tells));
    }

    /// Subscribes, in a group if that is named.
    fn add(&mut self, kind: Kind, subject: &str, group: &str) {
        let sid = self.subscriptions.len();
        self.say.push_str(&format!("SUB {subject} {group}{sid}\r\n"));
        self.expect_ok(Tells::Nothing);
        let subject = subject.into();
        let (is_there, had, limit, most) = (false, 0, None, None);
        self.subscriptions.push(Subscription { kind, subject, is_there, had, limit, most });
    }

    /// What a line without a payload tells.
    fn line(&mut self, line: &str) -> Result<Option<Told>, String> {
        self.end_last()?;
        let wrong = || format!("what it did not ask for: {}", shown(line.as_bytes()));
        if let Some(info) = line.strip_prefix("INFO ") {
            let info: Value = serde_json::from_str(info).map_err(|_| wrong())?;
            let is_whole = info["server_id"].is_string() && info["max_payload"].is_u64();
            if self.is_greeted || !is_whole {
                return Err(wrong());
            }
            self.is_greeted = true;
            return Ok(None);
        }
        let tells = match (line, self.expected.pop_front()) {
            ("+OK", Some(Expected::Ok(tells))) | ("PONG", Some(Expected::Pong(tells))) => tells,
            _ => return Err(wrong()),
        };
        if line == "PONG" {
            // Whoever is answered this has done everything before.
            self.subscriptions
                .iter_mut()
                .for_each(|one| one.is_there |= tells == Tells::Subscribed);
        }
        Ok(match tells {
            Tells::Nothing => None,
            Tells::Posted => {
                self.inbox = None;
                Some(Told::Answer(Reply::Sent { server: SERVER, timestamp: 0, clock: CLOCK }))
            }
            Tells::Subscribed => {
                let is_topic = |one: &&Subscription| one.kind == Kind::Topic;
                let last = self.subscriptions.iter().rfind(is_topic);
                let topic = last.map(|one| one.subject.clone().into()).unwrap_or_default();
                Some(Told::Answer(Reply::Subscribed { topic, timestamp: 0, clock: CLOCK }))
            }
            Tells::Limited(sid) => {
                if let Some(one) = self.subscriptions.get_mut(sid) {
                    one.most = one.limit.map(|limit| limit.max(one.had));
                }
                None
            }
        })
    }

    /// `MSG subject sid [reply] bytes`, or `HMSG subject sid [reply] header_bytes bytes`: answers
    /// for which subscription it is, and the message if it counts.
    fn message(
        &mut self,
        line: &str,
        payload: Vec<u8>,
    ) -> Result<(usize, Option<Reply<'static>>), String> {
        let wrong = |why: &str| format!("{why}: {}", shown(line.as_bytes()));
        let words: Vec<&str> = line.split(' ').collect();
        let has_headers = words[0] == "HMSG";
        let (topic, sid) = (words[1].to_string(), words[2].parse::<usize>());
        let reply = (words.len() == 5 + usize::from(has_headers)).then(|| words[3].to_string());
        let header = match has_headers {
            true => words[words.len() - 2].parse().ok().filter(|header| *header <= payload.len()),
            false => Some(0),
        };
        let (headers, text) = payload.split_at(header.ok_or_else(|| wrong("no lengths"))?);
        let read = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| wrong("no text"));
        let (headers, text) = (read(headers)?, read(text)?);
        let headers = has_headers.then_some(headers);
        let subscribed = sid.ok().and_then(|sid| Some((sid, self.subscriptions.get(sid)?)));
        let Some((sid, one)) = subscribed.filter(|(_, one)| one.takes(&topic)) else {
            return Err(wrong("what it did not subscribe to"));
        };
        if one.most.is_some_and(|most| one.had >= most) {
            return Err(wrong("one more than it is to have"));
        }
        if has_headers && !self.has_headers {
            return Err(wrong("headers, which it does not know"));
        }
        let kind = one.kind;
        self.subscriptions[sid].had += 1;
        if kind == Kind::Inbox {
            let is_it = self.inbox.as_deref() == Some(&topic) && text.is_empty();
            let is_said = headers.as_deref() == Some(NOBODY) && is_it;
            return if is_said {
                Ok((sid, None))
            } else {
                Err(wrong("an answer that nobody gave"))
            };
        }
        self.keep(&topic, &text, sid)?;
        let owned = |text: String| Bytes(Cow::Owned(text.into_bytes()));
        let message = Reply::Message {
            topic: topic.into(),
            user: "".into(),
            server: None,
            text: owned(text),
            reply: reply.map(Cow::Owned),
            headers: headers.map(owned),
            member: None,
            timestamp: 0,
            clock: CLOCK,
        };
        Ok((sid, (kind == Kind::Topic).then_some(message)))
    }

    /// A subscription has had a message.
    fn keep(&mut self, topic: &str, text: &str, sid: usize) -> Result<(), String> {
        if let Some((its_topic, its_text, had)) = &mut self.last
            && (&its_topic[..], &its_text[..]) == (topic, text)
            && had.insert(sid)
        {
            return Ok(());
        }
        self.end_last()?;
        self.last = Some((topic.into(), text.into(), BTreeSet::from([sid])));
        Ok(())
    }

    /// All copies of a message have come: that is all that there are to be.
    fn end_last(&mut self) -> Result<(), String> {
        let Some((topic, text, had)) = self.last.take() else { return Ok(()) };
        let lacks = |(sid, one): &(usize, &Subscription)| {
            let goes_on = one.limit.is_none_or(|limit| one.had < limit);
            one.is_there && goes_on && one.takes(&topic) && !had.contains(sid)
        };
        match self.subscriptions.iter().enumerate().find(lacks) {
            None => Ok(()),
            Some((sid, _)) => {
                Err(format!("[{text}] under {topic}, but not for subscription {sid}"))
            }
        }
    }
}

/// The first thing that was said: a line, its payload if it has one, and how long both are; none
/// where it is not whole.
type Whole = Option<(String, Option<Vec<u8>>, usize)>;

fn whole(input: &[u8]) -> Result<Whole, String> {
    let Some(end) = input.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let wrong = || format!("no NATS: {}", shown(input));
    let line = str::from_utf8(&input[..end]).map_err(|_| wrong())?;
    let (start, words) = (end + 2, line.split(' ').count());
    let has_payload = match line.split(' ').next() {
        Some("MSG") if (4..=5).contains(&words) => true,
        Some("HMSG") if (5..=6).contains(&words) => true,
        Some("MSG" | "HMSG") => return Err(wrong()),
        _ => false,
    };
    if !has_payload {
        return Ok(Some((line.into(), None, start)));
    }
    let bytes: usize =
        line.rsplit(' ').next().and_then(|last| last.parse().ok()).ok_or_else(wrong)?;
    let Some(payload) = input.get(start..start.saturating_add(bytes).saturating_add(2)) else {
        return Ok(None);
    };
    let payload = payload.strip_suffix(b"\r\n").ok_or_else(wrong)?;
    Ok(Some((line.into(), Some(payload.to_vec()), start + bytes + 2)))
}

#[cfg(test)]
mod tests;
