//! What nodes and clients are called in line JSON, and the lines themselves. Knows no process.

use super::body::{Body, Ids};
use super::services::NAMES as SERVICES;
use node_core::{Escaped, NodeId};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Who is called what, as one node sees it.
pub(super) struct Names {
    me: String,
    programs: u32,
}

/// To whom a message goes. Destinations have an order: a turn's messages are sent in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Party {
    /// A program, or a service.
    Node(NodeId),
    /// A client; 0 is who sent `init`.
    Client(u32),
    /// The node's own clock.
    Clock,
}

impl Party {
    /// A number for each.
    pub fn word(&self) -> u64 {
        match self {
            Party::Node(id) => u64::from(id.0) << 2,
            Party::Client(client) => u64::from(*client) << 2 | 1,
            Party::Clock => 2,
        }
    }
}

impl Names {
    /// Of the node `me`, where the ids up to `programs` are programs, and services follow.
    pub fn new(me: NodeId, programs: u32) -> Names {
        Names { me: name(me, programs), programs }
    }

    /// This node's.
    pub fn me(&self) -> &str {
        &self.me
    }

    /// A node's.
    pub fn node(&self, id: NodeId) -> String {
        name(id, self.programs)
    }

    /// Those of all programs.
    pub fn programs(&self) -> impl Iterator<Item = String> {
        (0..self.programs).map(|place| format!("n{place}"))
    }

    /// A message to this node.
    pub fn line(&self, from: &str, body: &str) -> String {
        format!(r#"{{"src":"{from}","dest":"{}","body":{body}}}"#, self.me)
    }

    /// What a process has written.
    ///
    /// # Errors
    /// Why it is no message, with the line.
    pub fn read(&self, line: &[u8]) -> Result<(Party, Body<'static>, Ids), String> {
        #[derive(Deserialize)]
        struct Message<'a> {
            #[serde(borrow)]
            src: Option<Cow<'a, str>>,
            #[serde(borrow)]
            dest: Cow<'a, str>,
            #[serde(borrow)]
            body: &'a RawValue,
        }
        let shown = || {
            let cut = &line[..line.len().min(MAX_SHOWN)];
            let more = if cut.len() < line.len() { "…" } else { "" };
            format!("{}{more}", Escaped(cut))
        };
        let message: Message<'_> = serde_json::from_slice(line).map_err(|error| {
            format!(
                "it wrote a line to stdout that is no message ({error}): {}; stdout is for messages alone, \
                 stderr for everything else",
                shown()
            )
        })?;
        let wrong = |why: String| format!("it wrote {}: {why}", shown());
        if let Some(src) = message.src.as_deref().filter(|src| *src != self.me) {
            let src = Escaped(src.as_bytes()).to_string();
            return Err(wrong(format!("its src is {src}, and it is {}", self.me)));
        }
        let dest = self.party(&message.dest).ok_or_else(|| {
            let last = self.programs.saturating_sub(1);
            wrong(format!(
                "there is nobody of that dest; there are n0 to n{last}, clients c0, c1, …, clock, {}",
                SERVICES.join(", ")
            ))
        })?;
        let (body, ids) = Body::parse(message.body.get()).map_err(wrong)?;
        Ok((dest, body, ids))
    }

    fn party(&self, name: &str) -> Option<Party> {
        if name == "clock" {
            return Some(Party::Clock);
        }
        if let Some(place) = SERVICES.iter().position(|one| *one == name) {
            return Some(Party::Node(NodeId(self.programs + 1 + place as u32)));
        }
        let number = |digits: &str| {
            let is_plain = digits == "0" || !digits.starts_with(['0', '+']);
            digits.parse::<u32>().ok().filter(|_| is_plain)
        };
        if let Some(digits) = name.strip_prefix('n') {
            let place = number(digits).filter(|place| *place < self.programs)?;
            return Some(Party::Node(NodeId(place + 1)));
        }
        name.strip_prefix('c').and_then(number).map(Party::Client)
    }
}

/// So much of a wrong line is shown.
const MAX_SHOWN: usize = 400;

fn name(id: NodeId, programs: u32) -> String {
    if (1..=programs).contains(&id.0) {
        return format!("n{}", id.0 - 1);
    }
    let service = id.0.checked_sub(programs + 1).and_then(|place| SERVICES.get(place as usize));
    service.map_or_else(|| format!("node {id}"), |name| (*name).to_string())
}
