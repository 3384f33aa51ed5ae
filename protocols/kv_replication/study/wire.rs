//! The store's foreign clients: what they put on the wire, and what they make of what comes back.
//! Written from the protocols' documents, and not with the gateways' own code.

use node_protocols::core::Rng;
use serde::Deserialize;
use serde_json::Value;

/// What a scenario's clients speak instead of typed requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wire {
    /// RESP, as Redis clients.
    Resp,
    /// JSON objects.
    Json,
}

impl Wire {
    /// The gateway that understands it.
    pub fn gateway(self) -> &'static str {
        match self {
            Wire::Resp => "resp",
            Wire::Json => "json",
        }
    }
}

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask<'a> {
    /// Store a value.
    Put {
        /// The key.
        key: &'a str,
        /// The value.
        value: &'a str,
    },
    /// Read a value.
    Get {
        /// The key.
        key: &'a str,
        /// The last timestamp that the client has seen for the key.
        timestamp: u64,
        /// The last that it has seen for any key.
        applied: u64,
    },
}

/// What it reads in the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The PUT is done; with its timestamp, where the form has one.
    Stored(Option<u64>),
    /// The value; with its timestamp, where the form has one.
    Value(String, Option<u64>),
    /// There is none.
    Null,
    /// The server is behind.
    Behind,
    /// The PUT has no effect.
    NotApplied,
    /// The PUT may have one.
    MayStillApply,
}

/// A client's end of a connection.
pub struct Foreign {
    wire: Wire,
    /// Draws in which form it asks, and which server it stays with.
    rng: Rng,
    /// What has come and is no whole answer.
    input: Vec<u8>,
    /// What is to come, the first last.
    expected: Vec<Expected>,
    /// The answer that counts, when it has come before the others.
    answer: Option<Answer>,
}

/// An answer that is to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    /// To the operation.
    Operation,
    /// To the same GET again, which asks nothing new.
    Again,
    /// To a PING.
    Pong,
}

impl Foreign {
    /// A client that speaks so.
    pub fn new(wire: Wire, seed: u64, id: u32) -> Foreign {
        let rng = Rng::stream(seed, &format!("workload/{id}/wire"));
        Foreign { wire, rng, input: Vec::new(), expected: Vec::new(), answer: None }
    }

    /// Draws anew what it has not drawn yet.
    pub fn redraw(&mut self, by: u64) {
        self.rng.redraw(by);
    }

    /// Whether it goes on with the server that it is connected to: that is its session.
    pub fn stays(&mut self) -> bool {
        self.rng.below(4) > 0
    }

    /// The bytes of a request. What came before is over.
    pub fn ask(&mut self, ask: Ask<'_>) -> Vec<u8> {
        self.input.clear();
        self.answer = None;
        self.expected.clear();
        match self.wire {
            Wire::Resp => self.ask_resp(ask),
            Wire::Json => self.ask_json(ask),
        }
    }

    fn ask_resp(&mut self, ask: Ask<'_>) -> Vec<u8> {
        let form = self.rng.below(6);
        self.expected = vec![Expected::Operation];
        let words: Vec<&str> = match ask {
            Ask::Put { key, value } => vec!["SET", key, value],
            // Of two keys that are one the first counts.
            Ask::Get { key, .. } if form == 0 => vec!["MGET", key, key],
            Ask::Get { key, .. } => vec!["GET", key],
        };
        match form {
            1 => format!("{}\r\n", words.join(" ")).into_bytes(),
            2 => {
                self.expected = vec![Expected::Operation, Expected::Pong];
                [array(&["PING"]), array(&words)].concat()
            }
            3 => {
                self.expected = vec![Expected::Pong, Expected::Operation];
                [array(&words), array(&["PING"])].concat()
            }
            4 if words[0] == "GET" => {
                self.expected = vec![Expected::Again, Expected::Operation];
                array(&words).repeat(2)
            }
            _ => array(&words),
        }
    }

    fn ask_json(&mut self, ask: Ask<'_>) -> Vec<u8> {
        let (is_get, object) = match ask {
            Ask::Put { key, value } => {
                (false, serde_json::json!({ "put": { "key": key, "value": value } }))
            }
            Ask::Get { key, timestamp, applied } => {
                let get = serde_json::json!({
                    "key": key, "timestamp": timestamp, "applied": applied
                });
                (true, serde_json::json!({ "get": get }))
            }
        };
        self.expected = vec![Expected::Operation];
        let line = format!("{object}\n");
        match self.rng.below(4) {
            // Over many lines, and without an end of the last.
            0 => format!("{object:#}").into_bytes(),
            1 => format!("\r\n {object}\0").into_bytes(),
            2 if is_get => {
                self.expected = vec![Expected::Again, Expected::Operation];
                line.repeat(2).into_bytes()
            }
            _ => line.into_bytes(),
        }
    }

    /// Takes a piece of what the server says; answers what the operation has come to, once
    /// everything that is to come has.
    ///
    /// # Errors
    /// When it is not what the server may say.
    pub fn hear(&mut self, bytes: &[u8]) -> Result<Option<Answer>, String> {
        self.input.extend_from_slice(bytes);
        while !self.input.is_empty() {
            let Some(expected) = self.expected.last().copied() else {
                return Err(format!("more than it asked for: {}", shown(&self.input)));
            };
            let whole = match self.wire {
                Wire::Resp => take_resp(&self.input)?,
                Wire::Json => take_json(&self.input)?,
            };
            let Some((said, used)) = whole else { break };
            let said = match (expected, said) {
                (Expected::Pong, Said::Pong) => None,
                (Expected::Operation | Expected::Again, Said::Answer(answer)) => Some(answer),
                (_, said) => return Err(format!("not what it asked for: {said:?}")),
            };
            if expected == Expected::Operation {
                self.answer = said;
            }
            self.input.drain(..used);
            self.expected.pop();
        }
        Ok(if self.expected.is_empty() { self.answer.take() } else { None })
    }
}

/// A whole thing that a server said.
#[derive(Debug)]
enum Said {
    Answer(Answer),
    Pong,
}

fn shown(bytes: &[u8]) -> String {
    let length = bytes.len().min(80);
    bytes[..length].escape_ascii().to_string()
}

fn array(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    text.into_bytes()
}

/// A value of RESP and its length in bytes; none where it is not whole.
fn take_resp(input: &[u8]) -> Result<Option<(Said, usize)>, String> {
    let Some(end) = input.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let wrong = || format!("no RESP: {}", shown(input));
    let (kind, rest) = input.split_first().ok_or_else(wrong)?;
    let line = str::from_utf8(&rest[..end - 1]).map_err(|_| wrong())?;
    let after = end + 2;
    match (kind, line) {
        (b'+', "OK") => Ok(Some((Said::Answer(Answer::Stored(None)), after))),
        (b'+', "PONG") => Ok(Some((Said::Pong, after))),
        (b'$', "-1") => Ok(Some((Said::Answer(Answer::Null), after))),
        (b'-', _) => {
            let answer = match line.split(' ').next() {
                Some("TRYAGAIN") => Answer::Behind,
                Some("NOTAPPLIED") => Answer::NotApplied,
                Some("UNKNOWN") => Answer::MayStillApply,
                _ => return Err(wrong()),
            };
            Ok(Some((Said::Answer(answer), after)))
        }
        (b'$', length) => {
            let length: usize = length.parse().map_err(|_| wrong())?;
            let Some(bulk) = input.get(after..after.saturating_add(length).saturating_add(2))
            else {
                return Ok(None);
            };
            let value = bulk.strip_suffix(b"\r\n").ok_or_else(wrong)?;
            let value = String::from_utf8_lossy(value).into_owned();
            Ok(Some((Said::Answer(Answer::Value(value, None)), after + length + 2)))
        }
        (b'*', "2") => {
            let Some((first, used)) = take_resp(&input[after..])? else { return Ok(None) };
            let Some((_, more)) = take_resp(&input[after + used..])? else { return Ok(None) };
            Ok(Some((first, after + used + more)))
        }
        _ => Err(wrong()),
    }
}

/// An answer in JSON and its length in bytes; none where its line is not whole.
fn take_json(input: &[u8]) -> Result<Option<(Said, usize)>, String> {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let wrong = || format!("no answer: {}", shown(input));
    let value: Value = serde_json::from_slice(&input[..end]).map_err(|_| wrong())?;
    let object = value.as_object().filter(|object| object.len() == 1).ok_or_else(wrong)?;
    let (name, content) = object.iter().next().ok_or_else(wrong)?;
    let timestamp = content["timestamp"].as_u64();
    let answer = match name.as_str() {
        "put_ok" => Answer::Stored(Some(timestamp.ok_or_else(wrong)?)),
        "value" => {
            let text = content["value"].as_str().ok_or_else(wrong)?;
            Answer::Value(text.into(), Some(timestamp.ok_or_else(wrong)?))
        }
        "null" => Answer::Null,
        "try_other_server_or_later" => Answer::Behind,
        "not_applied" => Answer::NotApplied,
        "may_still_apply" => Answer::MayStillApply,
        _ => return Err(wrong()),
    };
    Ok(Some((Said::Answer(answer), end + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(wire: Wire, expected: Vec<Expected>, text: &str) -> Result<Option<Answer>, String> {
        let mut foreign = Foreign::new(wire, 1, 1);
        foreign.expected = expected;
        let mut last = Ok(None);
        // In single bytes, as any other pieces are made of these.
        for byte in text.as_bytes() {
            assert_eq!(last, Ok(None), "{text}");
            last = foreign.hear(&[*byte]);
        }
        last
    }

    #[test]
    fn answers_are_read_in_pieces_and_others_are_none() {
        let one = || vec![Expected::Operation];
        let value = |timestamp| Answer::Value("a\r\nb".into(), timestamp);
        for (text, answer) in [
            ("+OK\r\n", Answer::Stored(None)),
            ("$4\r\na\r\nb\r\n", value(None)),
            ("*2\r\n$4\r\na\r\nb\r\n$-1\r\n", value(None)),
            ("$-1\r\n", Answer::Null),
            ("-TRYAGAIN x\r\n", Answer::Behind),
            ("-NOTAPPLIED x\r\n", Answer::NotApplied),
            ("-UNKNOWN x\r\n", Answer::MayStillApply),
        ] {
            assert_eq!(heard(Wire::Resp, one(), text), Ok(Some(answer)), "{text}");
        }
        for (text, answer) in [
            ("{\"put_ok\":{\"timestamp\":3}}\n", Answer::Stored(Some(3))),
            ("{\"value\":{\"value\":\"a\\r\\nb\",\"timestamp\":3}}\n", value(Some(3))),
            ("{\"null\":{}}\n", Answer::Null),
        ] {
            assert_eq!(heard(Wire::Json, one(), text), Ok(Some(answer)), "{text}");
        }
        for (wire, text) in [
            (Wire::Resp, "-ERR unknown command 'ST'\r\n"),
            (Wire::Resp, "+PONG\r\n"),
            (Wire::Resp, "$2\r\nabc\r\n"),
            (Wire::Json, "{\"error\":\"x\"}\n"),
            (Wire::Json, "{\"value\":{\"value\":\"a\"}}\n"),
        ] {
            let mut foreign = Foreign::new(wire, 1, 1);
            foreign.expected = one();
            assert!(foreign.hear(text.as_bytes()).is_err(), "{text}");
        }
        let both = || vec![Expected::Pong, Expected::Operation];
        let stored = Ok(Some(Answer::Stored(None)));
        assert_eq!(heard(Wire::Resp, both(), "+OK\r\n+PONG\r\n"), stored);
        let mut foreign = Foreign::new(Wire::Resp, 1, 1);
        foreign.expected = both();
        assert!(foreign.hear(b"+PONG\r\n+OK\r\n").is_err(), "in the order of the requests");
    }
}
