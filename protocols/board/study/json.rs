//! The board's clients that speak JSON: what they put on the wire, and what they make of what comes
//! back. Written from the document and README, and not with the gateway's own code.

use super::wire::{Beside, End, Post, Told, shown};
use node_protocols::board::{Maybe, Reply};
use node_protocols::core::{Bytes, LamportTime, NodeId, Rng};
use serde_json::{Value, json};
use std::borrow::Cow;

/// A client's end of a connection to the broker or the proxy.
pub(super) struct Json {
    /// Draws how it writes.
    rng: Rng,
    /// What has come and is no whole line.
    input: Vec<u8>,
    asked: Option<Asked>,
}

/// What has no answer yet.
enum Asked {
    Post,
    Topic(String),
}

impl Json {
    pub(super) fn new(seed: u64, connection: u32) -> Json {
        let rng = Rng::stream(seed, &format!("workload/board/json/{connection}"));
        Json { rng, input: Vec::new(), asked: None }
    }

    fn written(&mut self, object: &Value) -> Vec<u8> {
        let text = match self.rng.below(4) {
            // Over many lines, and without an end of the last.
            0 => format!("{object:#}"),
            1 => format!("\r\n {object}\0"),
            _ => format!("{object}\n"),
        };
        text.into_bytes()
    }

    /// What a line tells.
    fn read(&mut self, line: &[u8]) -> Result<Told, String> {
        let wrong = || format!("no answer of a board: {}", shown(line));
        let value: Value = serde_json::from_slice(line).map_err(|_| wrong())?;
        let data = &value["data"];
        let text = |key: &str| data[key].as_str().map(String::from);
        let number = |key: &str| data[key].as_u64().ok_or_else(wrong);
        let (clock, timestamp) = (LamportTime(number("clock")?), number("timestamp")?);
        let service = value["service"].as_str().ok_or_else(wrong)?;
        let pushed = match service {
            "message" => {
                let (topic, user) = (text("topic").ok_or_else(wrong)?, text("user"));
                Reply::Message {
                    topic: topic.into(),
                    user: user.ok_or_else(wrong)?.into(),
                    server: node(&data["server"]),
                    text: owned(text("text").ok_or_else(wrong)?),
                    reply: text("reply").map(Cow::Owned),
                    headers: text("headers").map(owned),
                    member: None,
                    timestamp,
                    clock,
                }
            }
            "missed" => Reply::Missed { messages: number("messages")?, timestamp, clock },
            _ => {
                let asked = self.asked.take().ok_or_else(wrong)?;
                let answer = answer(&asked, service, data, timestamp, clock);
                return answer.map(Told::Answer).ok_or_else(wrong);
            }
        };
        Ok(Told::Pushed(pushed))
    }
}

/// What a line answers; none if it is no answer to that.
fn answer(
    asked: &Asked,
    service: &str,
    data: &Value,
    timestamp: u64,
    clock: LamportTime,
) -> Option<Reply<'static>> {
    match (service, asked) {
        ("sent", Asked::Post) => {
            Some(Reply::Sent { server: node(&data["server"])?, timestamp, clock })
        }
        ("subscribed", Asked::Topic(topic)) if data["topic"] == **topic => {
            Some(Reply::Subscribed { topic: topic.clone().into(), timestamp, clock })
        }
        ("error", asked) => {
            let published = match (asked, data["published"].as_str()?) {
                (_, "no") => Maybe::No,
                (Asked::Post, "unknown") => Maybe::Unknown,
                _ => return None,
            };
            let reason = data["reason"].as_str()?.to_string().into();
            Some(Reply::Error { reason, published, timestamp, clock })
        }
        _ => None,
    }
}

/// A node's id, if that is one.
fn node(value: &Value) -> Option<NodeId> {
    value.as_u64().and_then(|id| u32::try_from(id).ok()).map(NodeId)
}

fn owned(text: String) -> Bytes<'static> {
    Bytes(Cow::Owned(text.into_bytes()))
}

impl End for Json {
    fn redraw(&mut self, by: u64) {
        self.rng.redraw(by);
    }

    fn lost(&mut self) {
        self.input.clear();
        self.asked = None;
    }

    fn post(&mut self, post: &Post) -> (Vec<u8>, Beside) {
        self.asked = Some(Asked::Post);
        let Post { user, topic, text, timestamp, clock } = post;
        let data = json!({
            "user": user, "topic": topic, "text": text, "timestamp": timestamp, "clock": clock.0
        });
        (self.written(&json!({ "service": "send", "data": data })), Beside::default())
    }

    fn subscribe(&mut self, topic: &str) -> Vec<u8> {
        self.asked = Some(Asked::Topic(topic.into()));
        self.written(&json!({ "service": "subscribe", "data": { "topic": topic } }))
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<Vec<Told>, String> {
        self.input.extend_from_slice(bytes);
        let mut said = Vec::new();
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            said.push(self.read(&line)?);
        }
        Ok(said)
    }

    fn say(&mut self) -> Vec<u8> {
        Vec::new()
    }

    fn knows_headers(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(asked: Option<Asked>, text: &str) -> Result<Vec<Told>, String> {
        let mut json = Json::new(1, 1);
        json.asked = asked;
        let mut said = Vec::new();
        // In single bytes, as any other pieces are made of these.
        for byte in text.as_bytes() {
            said.append(&mut json.hear(&[*byte])?);
        }
        Ok(said)
    }

    #[test]
    fn answers_and_pushes_are_read_in_pieces_and_others_are_none() {
        let at = r#""timestamp":5,"clock":7"#;
        let line = |service: &str, data: &str| {
            let comma = if data.is_empty() { "" } else { "," };
            format!("{{\"service\":\"{service}\",\"data\":{{{data}{comma}{at}}}}}\n")
        };
        let topic = || Some(Asked::Topic("a".into()));
        let (timestamp, clock) = (5, LamportTime(7));
        let posted = |reply| Ok(vec![Told::Answer(reply)]);
        let sent = line("sent", r#""server":1"#);
        let read = Reply::Sent { server: NodeId(1), timestamp, clock };
        assert_eq!(heard(Some(Asked::Post), &sent), posted(read));
        for (name, published) in [("no", Maybe::No), ("unknown", Maybe::Unknown)] {
            let error = line("error", &format!(r#""reason":"x","published":"{name}""#));
            let read = Reply::Error { reason: "x".into(), published, timestamp, clock };
            assert_eq!(heard(Some(Asked::Post), &error), posted(read));
        }
        let subscribed = line("subscribed", r#""topic":"a""#);
        let message = line(
            "message",
            r#""topic":"a","user":"b","server":1,"text":"c\n","reply":null,"headers":null"#,
        );
        let missed = line("missed", r#""messages":3"#);
        let message_read = Reply::Message {
            topic: "a".into(),
            user: "b".into(),
            server: Some(NodeId(1)),
            text: Bytes::new(b"c\n"),
            reply: None,
            headers: None,
            member: None,
            timestamp,
            clock,
        };
        let all = heard(topic(), &[&message[..], &subscribed, &missed].concat());
        let read = vec![
            Told::Pushed(message_read),
            Told::Answer(Reply::Subscribed { topic: "a".into(), timestamp, clock }),
            Told::Pushed(Reply::Missed { messages: 3, timestamp, clock }),
        ];
        assert_eq!(all, Ok(read));
        for (asked, text) in [
            (None, &sent[..]),
            (topic(), &sent),
            (Some(Asked::Post), &subscribed),
            (Some(Asked::Topic("b".into())), &subscribed),
            (topic(), &line("error", r#""reason":"x","published":"unknown""#)),
            (None, "{\"error\":\"x\"}\n"),
            (None, "{\"service\":\"missed\",\"data\":{\"messages\":3}}\n"),
            (None, &line("message", r#""topic":"a""#)),
            (None, "MSG a 1 0\r\n"),
        ] {
            assert!(heard(asked, text).is_err(), "{text}");
        }
    }
}
