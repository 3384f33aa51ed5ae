//! The lines of NATS' client protocol: what clients say, taken apart, and what they are told. Knows
//! no connection.

use super::super::proxy::{Said, fault};
use super::super::subject::is_literal;
use super::super::{MAX_TOPIC_BYTES, Request, is_topic, is_word, topic_fault};
use crate::core::{Decoded, Escaped, Text};
use ::core::fmt::{Arguments, Write};
use alloc::borrow::Cow;
use alloc::format;
use alloc::vec::Vec;
use memchr::memchr;

/// A line holds a command, names and numbers; only `CONNECT` has more.
pub(super) const MAX_LINE_BYTES: usize = 4 << 10;
pub(super) const CRLF: &[u8] = b"\r\n";

/// What is refused, as clients know it.
pub(super) const PUBLISH: &str = "Publish";
pub(super) const SUBSCRIPTION: &str = "Subscription";

/// A message, as this client gets it.
pub(super) struct Heard<'a> {
    pub(super) topic: &'a str,
    pub(super) reply: Option<&'a str>,
    pub(super) headers: Option<&'a [u8]>,
    pub(super) text: &'a [u8],
}

impl Heard<'_> {
    /// `MSG topic sid [reply] bytes`, and the text; or `HMSG topic sid [reply] header_bytes bytes`,
    /// and headers and text.
    pub(super) fn write(&self, sid: &str, output: &mut Vec<u8>) {
        let Heard { topic, reply, headers, text } = self;
        let (reply, header_bytes) = (reply.unwrap_or_default(), headers.map_or(0, <[u8]>::len));
        let bytes = header_bytes + text.len();
        output.reserve(topic.len() + sid.len() + reply.len() + bytes + 48);
        output.extend_from_slice(if headers.is_some() { b"HMSG " } else { b"MSG " });
        output.extend_from_slice(topic.as_bytes());
        output.push(b' ');
        output.extend_from_slice(sid.as_bytes());
        output.push(b' ');
        if !reply.is_empty() {
            output.extend_from_slice(reply.as_bytes());
            output.push(b' ');
        }
        if let Some(headers) = headers {
            output.extend_from_slice(itoa::Buffer::new().format(header_bytes).as_bytes());
            output.push(b' ');
            output.extend_from_slice(itoa::Buffer::new().format(bytes).as_bytes());
            output.extend_from_slice(CRLF);
            output.extend_from_slice(headers);
        } else {
            output.extend_from_slice(itoa::Buffer::new().format(bytes).as_bytes());
            output.extend_from_slice(CRLF);
        }
        output.extend_from_slice(text);
        output.extend_from_slice(CRLF);
    }
}

/// A line `PUB` or `HPUB`.
pub(super) struct Publication<'a> {
    pub(super) topic: &'a [u8],
    pub(super) reply: Option<&'a [u8]>,
    pub(super) header_bytes: usize,
    /// Of headers and text.
    pub(super) bytes: usize,
}

impl<'a> Publication<'a> {
    pub(super) fn read(mut words: Words<'a>, has_headers: bool) -> Option<Publication<'a>> {
        let (topic, second, third) = (words.next()?, words.next()?, words.next());
        let (reply, header_bytes, bytes) = match (has_headers, third, words.next()) {
            (false, None, _) => (None, None, second),
            (false, Some(third), None) => (Some(second), None, third),
            (true, Some(third), None) => (None, Some(second), third),
            (true, Some(third), Some(fourth)) => (Some(second), Some(third), fourth),
            _ => return None,
        };
        let (header_bytes, bytes) = (header_bytes.map_or(Some(0), number)?, number(bytes)?);
        let is_whole = words.next().is_none() && header_bytes <= bytes;
        is_whole.then_some(Publication { topic, reply, header_bytes, bytes })
    }
}

/// The topics of a publication, or why it is refused.
pub(super) fn sound<'a>(
    topic: &'a [u8],
    reply: Option<&'a [u8]>,
    headers: Option<&[u8]>,
    text: &[u8],
) -> Result<(&'a str, Option<&'a str>), Cow<'static, str>> {
    let rule = "no word between dots is empty, * or >";
    let topic = subject_of(topic, is_literal).ok_or_else(|| subject_fault(topic, rule))?;
    let answers = |reply: &'a [u8]| {
        let fault = || format!("its reply subject cannot be: {}", topic_fault(reply));
        subject_of(reply, |_| true).ok_or_else(|| Cow::Owned(fault()))
    };
    let reply = reply.map(answers).transpose()?;
    match fault(&Said { topic, user: "", text, reply, headers }) {
        None => Ok((topic, reply)),
        Some(reason) => Err(reason),
    }
}

pub(super) fn subject_of(subject: &[u8], is_sound: fn(&str) -> bool) -> Option<&str> {
    str::from_utf8(subject).ok().filter(|text| is_topic(text) && is_sound(text))
}

/// What is wrong with a subject.
pub(super) fn subject_fault(subject: &[u8], rule: &str) -> Cow<'static, str> {
    let fault = topic_fault(subject);
    if subject.len() > MAX_TOPIC_BYTES { fault.into() } else { format!("{fault}; {rule}").into() }
}

/// Where a line's end is. NATS' own servers take one without CR, too.
pub(super) fn find_end(input: &[u8]) -> Option<usize> {
    memchr(b'\n', &input[..input.len().min(MAX_LINE_BYTES)])
}

/// What blanks part.
pub(super) struct Words<'a>(pub(super) &'a [u8]);

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
pub(super) fn number(digits: &[u8]) -> Option<usize> {
    digits.iter().try_fold(0usize, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| usize::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// A group or a client's name for a subscription, if it can be one.
pub(super) fn name(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok().filter(|text| is_word(text))
}

pub(super) fn too_long(output: &mut Vec<u8>) -> Decoded<Request<'static>> {
    error(output, format_args!("Maximum Control Line Exceeded"));
    Decoded::Close { reason: Some("a line of more than 4096 bytes".into()) }
}

pub(super) fn close(
    output: &mut Vec<u8>,
    idle: bool,
    reason: &'static str,
) -> Decoded<Request<'static>> {
    if !idle {
        return Decoded::Wait;
    }
    error(output, format_args!("{reason}"));
    Decoded::Close { reason: Some(reason.into()) }
}

/// Refuses what has a subject, in the very words that clients look for.
pub(super) fn refuse_subject(output: &mut Vec<u8>, what: &str, subject: &[u8], reason: &str) {
    // A line that is too long for clients tells them nothing.
    let shown = &subject[..subject.len().min(MAX_TOPIC_BYTES)];
    let (shown, reason) = (Escaped(shown), Escaped(reason.as_bytes()));
    error(output, format_args!("Permissions Violation for {what} to \"{shown}\": {reason}"));
}

/// Tells a client something, and goes on: the form is the only one that all clients survive.
pub(super) fn refuse(output: &mut Vec<u8>, reason: Arguments<'_>) {
    error(output, format_args!("Permissions Violation: {reason}"));
}

pub(super) fn error(output: &mut Vec<u8>, reason: Arguments<'_>) {
    let _ = write!(Text(output), "-ERR '{reason}'\r\n");
}
