//! The `json` gateway: objects, for any protocol. Requests and replies have serde's own form, or
//! the keys of the protocol's document.
//!
//! An object is taken when its last brace is there, whether or not a line ends behind it, so it may
//! be alone, one of many on a line, or spread over many. What is no object, or is nested too
//! deeply, ends with its line. Where the client sends no more, everything ends. A connection's
//! requests are answered one after the other.

use super::DynGateway;
use memchr::{memchr, memchr3};
use node_core::{Decoded, Protocol, brief_of};
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize, forward_to_deserialize_any};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

pub(super) struct Json<P: Protocol> {
    scanner: Scanner,
    /// What was wrong may go on to the end of its line, and is answered already.
    rest_of_line: bool,
    /// The client sends no more.
    ended: bool,
    /// The names of all requests.
    names: &'static [&'static str],
    protocol: PhantomData<P>,
}

impl<P: Protocol> Json<P> {
    pub(super) fn new() -> Json<P> {
        let names = names_of::<P>().unwrap_or_default();
        let scanner = Scanner::default();
        Json { scanner, rest_of_line: false, ended: false, names, protocol: PhantomData }
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
            node_core::encode(&typed, request);
            return Ok(());
        };
        let (name, content) = keyless(object, keys)?;
        self.check_name(&name)?;
        let value: Value = [(name, content)].into_iter().collect();
        node_core::encode(&<P::Request<'_>>::deserialize(&value)?, request);
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
        // Clients in C may send their strings' ends, too.
        let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
        if self.rest_of_line {
            let ends = |byte: &u8| matches!(byte, b'\n' | b'{');
            let Some(end) = input.iter().position(ends) else { return input.len() };
            self.rest_of_line = false;
            return end + usize::from(input[end] == b'\n');
        }
        input.iter().position(|byte| !is_blank(byte)).unwrap_or(input.len())
    }
}

/// A protocol's requests and replies as the gateway has them, for who writes or reads them without
/// one.
#[derive(Clone, Copy)]
pub struct JsonForm {
    /// The protocol's name.
    pub protocol: &'static str,
    /// Whether there is anything to ask it.
    pub takes_requests: bool,
    encode: fn(&[u8], &mut Vec<u8>) -> Result<(), String>,
    request: fn(&[u8]) -> Option<Value>,
    reply: fn(&[u8]) -> Option<Value>,
    request_text: fn(&[u8]) -> Option<String>,
    reply_text: fn(&[u8]) -> Option<String>,
    brief_request: fn(&[u8]) -> Option<String>,
    brief_reply: fn(&[u8]) -> Option<String>,
}

impl fmt::Debug for JsonForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.protocol)
    }
}

impl JsonForm {
    /// That of protocol `P`.
    pub fn of<P: Protocol>() -> JsonForm {
        JsonForm {
            protocol: P::NAME,
            takes_requests: names_of::<P>().is_none_or(|names| !names.is_empty()),
            encode: |object, request| {
                let encoded = Json::<P>::new().request(object.trim_ascii(), request);
                encoded.map_err(|error| error.to_string())
            },
            request: |body| {
                let typed: P::Request<'_> = postcard::from_bytes(body).ok()?;
                Some(keyed::<P>(&typed))
            },
            reply: |body| {
                let typed: P::Reply<'_> = postcard::from_bytes(body).ok()?;
                Some(keyed::<P>(&typed))
            },
            request_text: |body| {
                let typed: P::Request<'_> = postcard::from_bytes(body).ok()?;
                Some(text(&typed))
            },
            reply_text: |body| {
                let typed: P::Reply<'_> = postcard::from_bytes(body).ok()?;
                Some(text(&typed))
            },
            brief_request: |body| {
                let typed: P::Request<'_> = postcard::from_bytes(body).ok()?;
                brief_of(|out| P::brief_request(&typed, out))
            },
            brief_reply: |body| {
                let typed: P::Reply<'_> = postcard::from_bytes(body).ok()?;
                brief_of(|out| P::brief_reply(&typed, out))
            },
        }
    }

    /// Encodes the request that an object is.
    ///
    /// # Errors
    /// Why it is none of this protocol, in one line.
    pub fn encode(&self, object: &[u8], request: &mut Vec<u8>) -> Result<(), String> {
        (self.encode)(object, request)
    }

    /// An encoded request; none where it is of no such form.
    pub fn request(&self, body: &[u8]) -> Option<Value> {
        (self.request)(body)
    }

    /// An encoded request as traces have it.
    pub fn request_text(&self, body: &[u8]) -> Option<String> {
        (self.request_text)(body)
    }

    /// An encoded reply as traces have it.
    pub fn reply_text(&self, body: &[u8]) -> Option<String> {
        (self.reply_text)(body)
    }

    /// An encoded request in short; none where the protocol has no short form of it.
    pub fn brief_request(&self, body: &[u8]) -> Option<String> {
        (self.brief_request)(body)
    }

    /// An encoded reply in short, likewise.
    pub fn brief_reply(&self, body: &[u8]) -> Option<String> {
        (self.brief_reply)(body)
    }

    /// An encoded reply, likewise.
    pub fn reply(&self, body: &[u8]) -> Option<Value> {
        (self.reply)(body)
    }
}

/// As traces have it: JSON without the keys of a document; what JSON cannot carry is only for
/// people.
fn text(typed: &(impl Serialize + fmt::Debug)) -> String {
    serde_json::to_string(typed).unwrap_or_else(|_| format!("{typed:?}"))
}

/// As the gateway writes it; what JSON cannot carry is text, as in traces.
fn keyed<P: Protocol>(typed: &(impl Serialize + fmt::Debug)) -> Value {
    let value = serde_json::to_value(typed).unwrap_or_else(|_| format!("{typed:?}").into());
    match (P::JSON_KEYS, value) {
        (Some((kind, content)), Value::Object(object)) if object.len() == 1 => {
            let both = |(name, inner): (String, Value)| [(kind, name.into()), (content, inner)];
            object.into_iter().flat_map(both).collect()
        }
        (_, value) => value,
    }
}

impl<P: Protocol> DynGateway for Json<P> {
    fn turn_away(&mut self, reason: &str, output: &mut Vec<u8>) {
        error_line(output, reason);
    }

    fn end(&mut self) {
        self.ended = true;
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
        let end = self.scanner.scan(input).or_else(|| self.ended.then_some(input.len()));
        let Some(end) = end else { return Decoded::Incomplete };
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
                node_core::encode(&answers_it, request);
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

/// Finds where an object ends, in bytes that come in pieces: each is looked at once, however small
/// the pieces are.
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
    /// It is nested too deeply: it does not go beyond the end of its line.
    is_deep: bool,
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
                b'\n' if self.is_deep => return Some(self.at + 1),
                b' ' | b'\t' | b'\r' | b'\n' => {}
                // Another object begins: the one under way was never finished.
                b'{' if self.depth > 0 && !matches!(self.last, b'[' | b',' | b':') => {
                    return Some(self.at);
                }
                b'{' | b'[' if self.depth > 0 || byte == b'{' => {
                    self.depth += 1;
                    self.is_deep |= self.depth > MAX_DEPTH;
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
struct Names<'a>(&'a mut Option<&'static [&'static str]>);

/// The names of all requests of a protocol, if they have some.
fn names_of<P: Protocol>() -> Option<&'static [&'static str]> {
    let mut names = None;
    // It asks for the names, and has no request.
    let _ = <P::Request<'_>>::deserialize(Names(&mut names));
    names
}

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
        *self.0 = Some(variants);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::JSON;
    use node_protocols::membership::Request;

    /// What the JSON gateway makes of a line for `membership`.
    fn decoded(line: &str) -> Result<Vec<u8>, String> {
        let (_, mut codec) = crate::testing::registry().codec(JSON, "membership").unwrap();
        let (mut request, mut output) = (Vec::new(), Vec::new());
        let line = format!("{line}\n");
        match codec.decode(line.as_bytes(), true, &mut request, &mut output) {
            Decoded::Request { used, .. } if used == line.len() && output.is_empty() => {
                match postcard::from_bytes(&request).unwrap() {
                    Request::Malformed { reason } => Err(reason.into_owned()),
                    Request::Rank { .. } | Request::List { .. } | Request::Heartbeat { .. } => {
                        Ok(request)
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn json_has_the_documents_keys_where_a_document_has_them() {
        use node_core::LamportTime;
        use node_protocols::membership::{Listed, Reply};
        let line =
            r#"{"service":"rank","data":{"user":"server1","timestamp":1234567890,"clock":1}}"#;
        let request = decoded(line).unwrap();
        let expected = Request::Rank {
            user: "server1".into(),
            timestamp: 1_234_567_890,
            clock: LamportTime(1),
        };
        assert_eq!(postcard::from_bytes::<Request<'_>>(&request).unwrap(), expected);
        // In any order, as JSON has it.
        let other =
            r#"{"data":{"clock":1,"user":"server1","timestamp":1234567890},"service":"rank"}"#;
        assert_eq!(decoded(other).unwrap(), request);
        for (line, why) in [
            (r#"{"service":"rank"}"#, "missing field `data`"),
            (r#"{"data":{}}"#, "missing field `service`"),
            (
                r#"{"service":"rang","data":{}}"#,
                "unknown request `rang`, expected one of `rank`, `list`, `heartbeat`",
            ),
            (
                r#"{"service":"malformed","data":{"reason":"x"}}"#,
                "unknown request `malformed`, expected one of `rank`, `list`, `heartbeat`",
            ),
            (r#"{"service":7,"data":{}}"#, "`service` must be a string"),
            (r#"{"service":"list","data":{},"more":1}"#, "unknown field `more`"),
            (r#"{"service":"list","data":{"timestamp":1}}"#, "missing field `clock`"),
            (r#"{"service":"list","data":{"timestamp":1,"clock":1,"x":1}}"#, "unknown field `x`"),
            ("[]", "a request is a JSON object"),
            ("{\"service", "EOF while parsing a string"),
        ] {
            let error = decoded(line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
        let list = vec![Listed { name: "a:\"b\"".into(), rank: 1 }];
        let reply = Reply::List { list, timestamp: 5, clock: LamportTime(2) };
        let (mut bytes, mut output) = (Vec::new(), Vec::new());
        node_core::encode(&reply, &mut bytes);
        crate::testing::registry().codec(JSON, "membership").unwrap().1.encode(&bytes, &mut output);
        assert_eq!(
            String::from_utf8(output).unwrap(),
            "{\"service\":\"list\",\"data\":{\"list\":[{\"name\":\"a:\\\"b\\\"\",\"rank\":1}],\
             \"timestamp\":5,\"clock\":2}}\n"
        );
    }

    /// What the gateway of a protocol says to the bytes, in steps of so many, when a request is
    /// answered with its own length.
    fn talk(protocol: &str, input: &[u8], step: usize) -> Vec<String> {
        let (_, mut codec) = crate::testing::registry().codec(JSON, protocol).unwrap();
        let (mut start, mut end, mut said) = (0, 0, Vec::new());
        while start < input.len() {
            let (mut request, mut output) = (Vec::new(), Vec::new());
            let used = match codec.decode(&input[start..end], true, &mut request, &mut output) {
                Decoded::Request { used, .. } => {
                    said.push(format!("{} bytes", request.len()));
                    used
                }
                Decoded::Answered { used } => {
                    assert!(used > 0);
                    used
                }
                Decoded::Incomplete if end == input.len() => break,
                Decoded::Incomplete => {
                    end = (end + step).min(input.len());
                    continue;
                }
                other => panic!("{other:?}"),
            };
            if !output.is_empty() {
                let error: Value = serde_json::from_slice(&output).unwrap();
                said.push(error["error"].as_str().unwrap().into());
            }
            start += used;
            end = end.max(start);
        }
        said
    }

    const PUT: &str = r#"{"put":{"key":"}{","value":"\\\"}"}}"#;

    #[test]
    fn an_object_is_taken_where_it_ends_however_it_comes() {
        let pretty = "{\r\n  \"put\": {\n\t\"key\": \"}{\",\n\n\"value\": \"\\\\\\\"}\"\n}\n}";
        for (input, count) in [
            (PUT.to_string(), 1),
            (format!("{PUT}\n"), 1),
            (format!("{PUT}\0{PUT}\n\0{PUT}\0"), 3),
            (format!("\n \t{PUT}{PUT} {PUT}\r\n\r\n{PUT}"), 4),
            (pretty.into(), 1),
            (format!("{pretty}{PUT}"), 2),
        ] {
            for step in [1, 2, 7, 1_000] {
                let said = talk("kv_replication", input.as_bytes(), step);
                assert_eq!(said, vec!["8 bytes"; count], "{input:?} by {step}");
            }
        }
        for end in 0..PUT.len() {
            assert!(talk("kv_replication", &PUT.as_bytes()[..end], 1_000).is_empty(), "{end}");
        }
    }

    #[test]
    fn what_is_wrong_has_one_answer_and_what_follows_is_taken() {
        let deep = "{\"a\":".repeat(1_000);
        let nested = format!("{{\"get\":{{\"key\":{}", "[".repeat(200));
        for (wrong, why) in [
            ("hello {}", "a request is a JSON object"),
            ("null", "a request is a JSON object"),
            ("\"info\"", "a request is a JSON object"),
            ("[{\"info\":{}}]", "a request is a JSON object"),
            ("{\"get\":}}}", "expected value"),
            ("{\"get\" 1}, x", "expected `:`"),
            ("{\"put\":{\"key\":\"k,\"value\":\"v\"}}", "expected `,` or `}`"),
            ("{\"put\":{\"key\":\"k\",\"value\":\"v}}", "EOF while parsing a string"),
            ("{\"put\":{\"key\":\"k\\", "EOF while parsing a string"),
            ("{\"get\":{\"key\":\"k\"}", "EOF while parsing"),
            ("{\"get\":{\"key\":\"k\",\"x\":1}}", "unknown field `x`"),
            ("{\"g\\u0065t\":{\"key\":\"k\",\"x\":1}}", "unknown field `x`"),
            (
                "{\"del\":{\"key\":\"k\"}}",
                "unknown request `del`, expected one of `put`, `get`, `info`",
            ),
            ("{}", "expected value"),
            ("{\"put\":[}]", "expected value"),
            (&deep, "unknown request `a`"),
            (&nested, "invalid type: sequence"),
        ] {
            for step in [1, 1_000_000] {
                let input = format!("{wrong}\n{PUT}\n");
                let said = talk("kv_replication", input.as_bytes(), step);
                let [error, answer] = &said[..] else { panic!("{wrong} by {step}: {said:?}") };
                assert!(error.contains(why), "{wrong}: {error}");
                assert_eq!(answer, "8 bytes", "{wrong}");
            }
        }
    }

    #[test]
    fn what_the_client_leaves_unfinished_is_answered_when_it_ends() {
        let deep = "{\"a\":".repeat(1_000);
        for (wrong, why) in [
            ("hello", "a request is a JSON object"),
            ("[1]", "a request is a JSON object"),
            ("123", "a request is a JSON object"),
            ("{\"put\":{\"key\":\"k", "EOF while parsing a string"),
            ("{\"get\":{\"key\":\"k\"}", "EOF while parsing an object"),
            (&deep, "unknown request `a`"),
        ] {
            let (_, mut codec) = crate::testing::registry().codec(JSON, "kv_replication").unwrap();
            let (mut request, mut output) = (Vec::new(), Vec::new());
            let mut decode = |codec: &mut Box<dyn DynGateway>, input: &str| {
                codec.decode(input.as_bytes(), true, &mut request, &mut output)
            };
            assert!(matches!(decode(&mut codec, wrong), Decoded::Incomplete), "{wrong}");
            codec.end();
            let answered = decode(&mut codec, wrong);
            let all = wrong.len();
            assert!(matches!(answered, Decoded::Answered { used } if used == all), "{answered:?}");
            let error: Value = serde_json::from_slice(&output).unwrap();
            assert!(error["error"].as_str().unwrap().contains(why), "{wrong}: {error}");
        }
    }

    #[test]
    fn an_object_nested_too_deeply_is_answered_where_it_ends() {
        let deep = format!("{}{}", "{\"a\":[".repeat(500), "]}".repeat(500));
        for step in [1, 1_000_000] {
            let said = talk("kv_replication", format!("{deep}{PUT}").as_bytes(), step);
            let [error, answer] = &said[..] else { panic!("{said:?}") };
            assert!(error.contains("unknown request `a`"), "{error}");
            assert_eq!(answer, "8 bytes");
        }
    }

    #[test]
    fn unknown_fields_and_requests_are_refused_alike_by_all_protocols() {
        for (protocol, wrong) in [
            ("kv_replication", r#"{"info":{"x":1}}"#),
            ("lamport", r#"{"status":{"x":1}}"#),
            ("bully", r#"{"status":{"x":1}}"#),
            ("berkeley", r#"{"status":{"x":1}}"#),
            ("echo", r#"{"data":"","x":1}"#),
            ("lottery", r#"{"finished":{"agency":1,"x":1}}"#),
            (
                "lottery",
                r#"{"bets":{"bets":[{"agency":1,"name":"a","surname":"b","document":1,
                    "birthdate":"2000-01-01","number":1,"x":1}]}}"#,
            ),
        ] {
            let said = talk(protocol, wrong.as_bytes(), 1_000);
            assert!(said.len() == 1 && said[0].contains("unknown field `x`"), "{wrong}: {said:?}");
        }
        for protocol in crate::testing::registry().protocol_names() {
            // Those of a document answer what is wrong by a request of their own.
            let (_, mut codec) = crate::testing::registry().codec(JSON, protocol).unwrap();
            let wrong = if ["board", "membership"].contains(&protocol) {
                r#"{"service":"status","data":{"x":1}}"#
            } else {
                r#"{"x":{}}"#
            };
            let (mut request, mut output) = (Vec::new(), Vec::new());
            codec.decode(wrong.as_bytes(), true, &mut request, &mut output);
            let said = [request, output].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(said.contains("unknown "), "{protocol}: {said}");
            assert!(!said.contains("malformed") && !said.contains("unreadable"), "{said}");
        }
        for internal in [r#"{"unreadable":{"kind":"B","reason":"x"}}"#, r#"{"unr\u0065adable":{}}"#]
        {
            let said = talk("lottery", internal.as_bytes(), 1_000);
            let names = "expected one of `bets`, `finished`, `results`, `status`";
            assert_eq!(said, [format!("unknown request `unreadable`, {names}")]);
        }
    }

    #[test]
    fn an_object_in_single_bytes_is_looked_at_once() {
        let mut scanner = Scanner::default();
        let input = [&b"{\"put\":{\"key\":\""[..], &b"x".repeat(10_000)].concat();
        for end in 1..input.len() {
            assert_eq!(scanner.scan(&input[..end]), None);
            assert_eq!(scanner.at, end);
        }
    }
}
