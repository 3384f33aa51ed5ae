//! The board's clients that speak JSON: what they put on the wire, and what they make of what comes
//! back. Written from the document and README, and not with the gateway's own code.

use super::wire::{Beside, End, Headers, Message, Said, shown};
use crate::check::history::{Post, Posted};
use node_protocols::core::{LamportTime, Rng};
use serde_json::{Value, json};

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
    fn read(&mut self, line: &[u8]) -> Result<Said, String> {
        let wrong = || format!("no answer of a board: {}", shown(line));
        let value: Value = serde_json::from_slice(line).map_err(|_| wrong())?;
        let (data, text) =
            (&value["data"], |key: &str| value["data"][key].as_str().map(String::from));
        let clock = data["clock"].as_u64().map(LamportTime).ok_or_else(wrong)?;
        data["timestamp"].as_u64().ok_or_else(wrong)?;
        match (value["service"].as_str().ok_or_else(wrong)?, &self.asked) {
            ("sent", Some(Asked::Post)) if data["server"].is_u64() => {
                self.asked = None;
                Ok(Said::Posted(Posted::Published, Some(clock)))
            }
            ("subscribed", Some(Asked::Topic(topic))) if data["topic"] == **topic => {
                self.asked = None;
                Ok(Said::Subscribed)
            }
            ("error", Some(asked)) if data["reason"].is_string() => {
                let said = match (asked, data["published"].as_str()) {
                    (Asked::Post, Some("no")) => Said::Posted(Posted::Not, Some(clock)),
                    (Asked::Post, Some("unknown")) => Said::Posted(Posted::Unknown, Some(clock)),
                    (Asked::Topic(_), Some("no")) => Said::Refused,
                    _ => return Err(wrong()),
                };
                self.asked = None;
                Ok(said)
            }
            ("message", _) => Ok(Said::Message(Message {
                topic: text("topic").ok_or_else(wrong)?,
                user: Some(text("user").ok_or_else(wrong)?),
                text: text("text").ok_or_else(wrong)?,
                reply: text("reply"),
                headers: Headers::Known(text("headers")),
            })),
            ("missed", _) => Ok(Said::Missed(data["messages"].as_u64().ok_or_else(wrong)?)),
            _ => Err(wrong()),
        }
    }
}

impl End for Json {
    fn lost(&mut self) {
        self.input.clear();
        self.asked = None;
    }

    fn post(&mut self, post: &Post, timestamp: u64, clock: LamportTime) -> (Vec<u8>, Beside) {
        self.asked = Some(Asked::Post);
        let Post { user, topic, text, .. } = post;
        let data = json!({
            "user": user, "topic": topic, "text": text, "timestamp": timestamp, "clock": clock.0
        });
        (self.written(&json!({ "service": "send", "data": data })), Beside::default())
    }

    fn subscribe(&mut self, topic: &str) -> Vec<u8> {
        self.asked = Some(Asked::Topic(topic.into()));
        self.written(&json!({ "service": "subscribe", "data": { "topic": topic } }))
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<Vec<Said>, String> {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(asked: Option<Asked>, text: &str) -> Result<Vec<Said>, String> {
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
        let posted = |end| Ok(vec![Said::Posted(end, Some(LamportTime(7)))]);
        let sent = line("sent", r#""server":1"#);
        assert_eq!(heard(Some(Asked::Post), &sent), posted(Posted::Published));
        for (published, end) in [("no", Posted::Not), ("unknown", Posted::Unknown)] {
            let error = line("error", &format!(r#""reason":"x","published":"{published}""#));
            assert_eq!(heard(Some(Asked::Post), &error), posted(end));
        }
        let subscribed = line("subscribed", r#""topic":"a""#);
        let message = line(
            "message",
            r#""topic":"a","user":"b","server":1,"text":"c\n","reply":null,"headers":null"#,
        );
        let missed = line("missed", r#""messages":3"#);
        let (user, text) = (Some("b".into()), "c\n".into());
        let (reply, headers) = (None, Headers::Known(None));
        let message_read = Message { topic: "a".into(), user, text, reply, headers };
        let all = heard(topic(), &[&message[..], &subscribed, &missed].concat());
        assert_eq!(all, Ok(vec![Said::Message(message_read), Said::Subscribed, Said::Missed(3)]));
        for (asked, text) in [
            (None, &sent[..]),
            (topic(), &sent),
            (Some(Asked::Post), &subscribed),
            (Some(Asked::Topic("b".into())), &subscribed),
            (None, "{\"error\":\"x\"}\n"),
            (None, "{\"service\":\"missed\",\"data\":{\"messages\":3}}\n"),
            (None, &line("message", r#""topic":"a""#)),
            (None, "MSG a 1 0\r\n"),
        ] {
            assert!(heard(asked, text).is_err(), "{text}");
        }
    }
}
