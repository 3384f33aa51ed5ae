//! The `json` gateway: objects, for any protocol. Requests and replies have serde's own form, or the
//! keys of the protocol's document.
//!
//! An object is taken when its last brace is there, whether or not a line ends behind it, so it may be
//! alone, one of many on a line, or spread over many. What is no object ends with its line. A
//! connection's requests are answered one after the other.

use super::DynGateway;
use memchr::{memchr, memchr3};
use node_protocols::core::{Decoded, Protocol};
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::marker::PhantomData;

pub(super) struct Json<P: Protocol> {
    scanner: Scanner,
    /// What was wrong may go on to the end of its line, and is answered already.
    rest_of_line: bool,
    /// The names of all requests.
    names: &'static [&'static str],
    protocol: PhantomData<P>,
}

impl<P: Protocol> Json<P> {
    pub(super) fn new() -> Json<P> {
        let mut names: &[&str] = &[];
        // It asks for the names, and has no request.
        let _ = <P::Request<'_>>::deserialize(Names(&mut names));
        let (scanner, rest_of_line) = (Scanner::default(), false);
        Json { scanner, rest_of_line, names, protocol: PhantomData }
    }

    /// A request in the bytes of an object, or of what should be one.
    fn request(&self, object: &[u8], request: &mut Vec<u8>) -> serde_json::Result<()> {
        if !object.starts_with(b"{") {
            return Err(serde_json::Error::custom("a request is a JSON object"));
        }
        let Some(keys) = P::JSON_KEYS else {
            if let Some(name) = first_key(object) {
                self.check_name(&name)?;
            }
            let typed = serde_json::from_slice::<P::Request<'_>>(object)?;
            node_protocols::core::encode(&typed, request);
            return Ok(());
        };
        let (name, content) = keyless(object, keys)?;
        self.check_name(&name)?;
        let value: Value = [(name, content)].into_iter().collect();
        node_protocols::core::encode(&<P::Request<'_>>::deserialize(&value)?, request);
        Ok(())
    }

    /// Requests of gateways are none of a client's.
    fn check_name(&self, name: &str) -> serde_json::Result<()> {
        let public = || self.names.iter().filter(|name| !P::INTERNAL.contains(name));
        if self.names.is_empty() || public().any(|other| *other == name) {
            return Ok(());
        }
        let expected: Vec<String> = public().map(|name| format!("`{name}`")).collect();
        let expected = expected.join(", ");
        let error = format!("unknown request `{name}`, expected one of {expected}");
        Err(serde_json::Error::custom(error))
    }

    /// How many bytes at the start of a request belong to none.
    fn blank(&mut self, input: &[u8]) -> usize {
        let is_blank = |byte: &u8| byte.is_ascii_whitespace();
        if self.rest_of_line {
            let ends = |byte: &u8| matches!(byte, b'\n' | b'{');
            let Some(end) = input.iter().position(ends) else { return input.len() };
            self.rest_of_line = false;
            return end + usize::from(input[end] == b'\n');
        }
        input.iter().position(|byte| !is_blank(byte)).unwrap_or(input.len())
    }
}

impl<P: Protocol> DynGateway for Json<P> {
    fn turn_away(&mut self, reason: &str, output: &mut Vec<u8>) {
        error_line(output, reason);
    }

    fn decode(
        &mut self,
        input: &[u8],
        idle: bool,
        request: &mut Vec<u8>,
        output: &mut Vec<u8>,
    ) -> Decoded<()> {
        if !idle {
            return Decoded::Wait;
        }
        if self.scanner.is_at_start() {
            let used = self.blank(input);
            if used > 0 {
                return Decoded::Answered { used };
            }
        }
        let Some(end) = self.scanner.scan(input) else { return Decoded::Incomplete };
        self.scanner = Scanner::default();
        let object = &input[..end];
        // The line's end, which mostly comes along, makes no turn of its own.
        let used = end + self.blank(&input[end..]);
        let error = match self.request(object.trim_ascii(), request) {
            Ok(()) => return Decoded::Request { used, request: () },
            Err(error) => error,
        };
        // Past the end of a line that was wrong there is none of it left.
        let ended = object.ends_with(b"\n") || input[end..used].contains(&b'\n');
        self.rest_of_line = !ended;
        let error = error.to_string();
        request.clear();
        match P::malformed(&error) {
            Some(answers_it) => {
                node_protocols::core::encode(&answers_it, request);
                Decoded::Request { used, request: () }
            }
            None => {
                error_line(output, &error);
                Decoded::Answered { used }
            }
        }
    }

    fn encode(&mut self, reply: &[u8], output: &mut Vec<u8>) {
        let reply = postcard::from_bytes::<P::Reply<'_>>(reply);
        // The Host encoded it from this very type a moment ago.
        let reply = reply.expect("a reply decodes as what it was encoded from");
        let start = output.len();
        if let Err(error) = serde_json::to_writer(&mut *output, &reply) {
            output.truncate(start);
            return error_line(output, &error.to_string());
        }
        if let Some(keys) = P::JSON_KEYS {
            put_keys(output, start, keys);
        }
        output.push(b'\n');
    }
}

/// Finds where an object ends, in bytes that come in pieces: each is looked at once, however small the
/// pieces are.
#[derive(Default)]
struct Scanner {
    /// The bytes before this have been looked at.
    at: usize,
    depth: usize,
    in_string: bool,
    /// The byte before was a backslash in a string.
    escaped: bool,
    /// The last byte that is no blank, outside of strings.
    last: u8,
    /// It is no object: it goes on to the end of its line.
    is_wrong: bool,
}

/// No request is nested so deeply; serde_json has the same bound.
const MAX_DEPTH: usize = 128;

impl Scanner {
    fn is_at_start(&self) -> bool {
        self.at == 0
    }

    /// Where what is under way ends: as an object, or as what cannot become one.
    fn scan(&mut self, input: &[u8]) -> Option<usize> {
        while self.at < input.len() {
            if self.is_wrong {
                let end = memchr(b'\n', &input[self.at..]).map(|end| self.at + end + 1);
                self.at = end.unwrap_or(input.len());
                return end;
            }
            let byte = input[self.at];
            if self.in_string {
                self.string(input);
                continue;
            }
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {}
                // Another object begins: the one under way was never finished.
                b'{' if self.depth > 0 && !matches!(self.last, b'[' | b',' | b':') => {
                    return Some(self.at);
                }
                b'{' | b'[' if self.depth > 0 || byte == b'{' => {
                    self.depth += 1;
                    self.is_wrong = self.depth > MAX_DEPTH;
                }
                b'}' | b']' if self.depth > 0 => self.depth -= 1,
                b'"' => self.in_string = true,
                _ => {}
            }
            self.is_wrong |= self.at == 0 && byte != b'{';
            self.at += 1;
            if !byte.is_ascii_whitespace() {
                self.last = byte;
                if self.depth == 0 && !self.is_wrong {
                    return Some(self.at);
                }
            }
        }
        None
    }

    /// Goes on in a string, to its end or to that of the bytes.
    fn string(&mut self, input: &[u8]) {
        if self.escaped {
            self.escaped = false;
            // A line's end cannot be escaped either.
            self.is_wrong = input[self.at] == b'\n';
            self.at += usize::from(!self.is_wrong);
            return;
        }
        let Some(found) = memchr3(b'"', b'\\', b'\n', &input[self.at..]) else {
            self.at = input.len();
            return;
        };
        self.at += found;
        match input[self.at] {
            b'"' => self.in_string = false,
            b'\\' => self.escaped = true,
            // Strings do not go over lines: somebody forgot the other quote.
            _ => {
                self.is_wrong = true;
                return;
            }
        }
        self.at += 1;
    }
}

/// Asks a type for the names of its variants, if it is an enum, and gives it nothing.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("it is no enum"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = variants;
        Err(Self::Error::custom("its variants are known"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The first key of an object, which names the request; none where there is no such thing.
fn first_key(object: &[u8]) -> Option<Cow<'_, str>> {
    let inside = object.strip_prefix(b"{")?.trim_ascii_start();
    let quoted = inside.strip_prefix(b"\"")?;
    let mut end = 0;
    loop {
        match quoted.get(end)? {
            b'"' => break,
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
    match str::from_utf8(&quoted[..end]) {
        Ok(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        Ok(_) => serde_json::from_slice(&inside[..end + 2]).ok(),
        Err(_) => None,
    }
}

/// Kind and content of an object that has them under keys of their own.
fn keyless(object: &[u8], (kind, content): (&str, &str)) -> serde_json::Result<(String, Value)> {
    let mut object: Map<String, Value> = serde_json::from_slice(object)?;
    let missing = |key: &str| serde_json::Error::custom(format!("missing field `{key}`"));
    let name = match object.remove(kind) {
        Some(Value::String(name)) => name,
        Some(_) => return Err(serde_json::Error::custom(format!("`{kind}` must be a string"))),
        None => return Err(missing(kind)),
    };
    let content = object.remove(content).ok_or_else(|| missing(content))?;
    if let Some(key) = object.keys().next() {
        return Err(serde_json::Error::custom(format!("unknown field `{key}`")));
    }
    Ok((name, content))
}

/// The other way round, for the text `{"kind":content}` at `start`, which keeps its order.
fn put_keys(output: &mut Vec<u8>, start: usize, (kind, content): (&str, &str)) {
    let Some(colon) = output[start..].iter().position(|byte| *byte == b':') else { return };
    let between = format!(",\"{content}\":");
    output.splice(start + colon..=start + colon, between.into_bytes());
    output.splice(start + 1..start + 1, format!("\"{kind}\":").into_bytes());
}

fn error_line(output: &mut Vec<u8>, error: &str) {
    output.extend_from_slice(serde_json::json!({ "error": error }).to_string().as_bytes());
    output.push(b'\n');
}
