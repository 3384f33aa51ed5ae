//! A trace that grows: what is new of it is read as it comes, its last lines are kept, and what is
//! to be known of its node. Of what is kept no more, that is kept which later lines rest on: the
//! start, links that stand, facts that hold.

use node_lab::explain::kind;
use node_lab::trace::{Event, Line};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// How many bytes are read at once; the rest comes the next time.
const MAX_READ: u64 = 8 << 20;
/// Of a trace that is there already so much of the end is read.
const MAX_BEHIND: u64 = 32 << 20;
/// The most lines that are kept of one trace: no window has more.
pub(super) const MAX_LINES: usize = 20_000;
/// The most bytes that are kept of one.
const MAX_BYTES: usize = 32 << 20;
/// A longer line is none.
const MAX_LINE: usize = 4 << 20;

/// A trace, as far as it was read.
pub(super) struct Follow {
    path: PathBuf,
    /// Which file that was: another of its name is read from its beginning.
    inode: u64,
    offset: u64,
    /// The beginning of a line whose end is not there yet.
    partial: Vec<u8>,
    /// Its first line, which says what it is of.
    pub head: Option<String>,
    pub lines: VecDeque<Kept>,
    bytes: usize,
    /// What lines that are not kept leave behind; none as long as all are.
    pub past: Option<Context>,
    pub seen: Seen,
    /// How many lines are none of a trace.
    pub broken: u64,
}

/// A line, and what it says.
pub(super) struct Kept {
    pub at: u64,
    pub text: String,
}

/// What later lines rest on, as lines.
#[derive(Clone, Default)]
pub(super) struct Context {
    start: Option<Kept>,
    links: BTreeMap<u32, Kept>,
    facts: BTreeMap<(String, String, Option<u32>), Kept>,
}

impl Clone for Kept {
    fn clone(&self) -> Kept {
        Kept { at: self.at, text: self.text.clone() }
    }
}

/// What is known of the node, for the table.
#[derive(Default)]
pub(super) struct Seen {
    /// Nobody's, as a trace of clients is.
    pub node: Option<u32>,
    pub name: Option<String>,
    /// Whether it has started, and not stopped.
    pub is_up: bool,
    pub lamport: Option<u64>,
    pub events: u64,
    /// Its last event: when, in nanoseconds, and in words.
    pub last: Option<(u64, String)>,
    pub peers: BTreeMap<u32, bool>,
    /// What it was told last by each protocol about each node, and when.
    pub facts: BTreeMap<(String, String, Option<u32>), (u64, Value)>,
    pub views: BTreeMap<String, Value>,
}

impl Context {
    pub fn take(&mut self, line: &Line<'_>, kept: &Kept) {
        match &line.event {
            Event::Start { .. } | Event::Stop | Event::Crash => {
                *self = Context { start: Some(kept.clone()), ..Context::default() };
            }
            Event::Link { peer, .. } => drop(self.links.insert(*peer, kept.clone())),
            Event::Fact { protocol, fact, subject, .. } => {
                let key = (protocol.to_string(), fact.to_string(), *subject);
                self.facts.insert(key, kept.clone());
            }
            _ => {}
        }
    }

    /// Its lines, by their times.
    pub fn lines(&self) -> Vec<&Kept> {
        let all = self.start.iter().chain(self.links.values()).chain(self.facts.values());
        let mut all: Vec<&Kept> = all.collect();
        all.sort_by_key(|line| line.at);
        all
    }
}

impl Follow {
    /// Nothing of it is read yet.
    pub fn new(path: PathBuf) -> Follow {
        Follow {
            path,
            inode: 0,
            offset: 0,
            partial: Vec::new(),
            head: None,
            lines: VecDeque::new(),
            bytes: 0,
            past: None,
            seen: Seen::default(),
            broken: 0,
        }
    }

    /// Reads what is new. Answers whether something was.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read_on(&mut self) -> io::Result<bool> {
        let mut file = File::open(&self.path)?;
        let about = file.metadata()?;
        if about.ino() != self.inode || about.len() < self.offset {
            *self = Follow { inode: about.ino(), ..Follow::new(std::mem::take(&mut self.path)) };
            if about.len() > MAX_BEHIND {
                self.begin_late(&mut file, about.len())?;
            }
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut new = Vec::new();
        let read = file.take(MAX_READ).read_to_end(&mut new)? as u64;
        self.offset += read;
        let mut rest = &new[..];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            self.line(&line);
        }
        self.partial.extend_from_slice(rest);
        if self.partial.len() > MAX_LINE {
            (self.partial, self.broken) = (Vec::new(), self.broken + 1);
        }
        Ok(read > 0)
    }

    /// Of a long trace the first line is read, and then its end.
    fn begin_late(&mut self, file: &mut File, length: u64) -> io::Result<()> {
        let mut first = Vec::new();
        file.take(64 << 10).read_to_end(&mut first)?;
        let end = first.iter().position(|byte| *byte == b'\n');
        if let Some(end) = end {
            self.line(&first[..end]);
        }
        self.past = Some(Context::default());
        let from = length - MAX_BEHIND;
        file.seek(SeekFrom::Start(from))?;
        let mut part = Vec::new();
        file.take(MAX_LINE as u64).read_to_end(&mut part)?;
        // It begins within a line.
        let skip = part.iter().position(|byte| *byte == b'\n').map_or(part.len(), |end| end + 1);
        self.offset = from + skip as u64;
        Ok(())
    }

    fn line(&mut self, bytes: &[u8]) {
        if bytes.trim_ascii().is_empty() {
            return;
        }
        let text = str::from_utf8(bytes).ok();
        let line = text.and_then(|text| serde_json::from_str::<Line<'_>>(text).ok());
        let Some((text, line)) = text.zip(line) else {
            self.broken += 1;
            return;
        };
        if let Event::Run { .. } = line.event {
            self.head.get_or_insert_with(|| text.to_string());
            return;
        }
        self.seen.take(&line);
        self.bytes += text.len();
        self.lines.push_back(Kept { at: line.at, text: text.to_string() });
        while self.lines.len() > MAX_LINES || self.bytes > MAX_BYTES {
            let Some(old) = self.lines.pop_front() else { return };
            self.bytes -= old.text.len();
            let past = self.past.get_or_insert_default();
            if let Ok(line) = serde_json::from_str::<Line<'_>>(&old.text) {
                past.take(&line, &old);
            }
        }
    }
}

impl Seen {
    fn take(&mut self, line: &Line<'_>) {
        self.events += 1;
        self.node = self.node.or(line.node);
        self.lamport = line.lamport.or(self.lamport);
        match &line.event {
            Event::Start { name, .. } => {
                (self.is_up, self.name) = (true, name.as_ref().map(ToString::to_string));
                self.peers.clear();
                self.facts.clear();
                self.views.clear();
            }
            Event::Stop | Event::Crash => self.is_up = false,
            Event::Link { peer, up } => drop(self.peers.insert(*peer, *up)),
            Event::Fact { protocol, fact, subject, value } => {
                let key = (protocol.to_string(), fact.to_string(), *subject);
                self.facts.insert(key, (line.at, value.clone()));
            }
            Event::View { protocol, value } => {
                self.views.insert(protocol.to_string(), value.clone());
            }
            _ => {}
        }
        // What a turn leaves behind is shown beside it.
        if !matches!(line.event, Event::View { .. }) {
            self.last = Some((line.at, words(&line.event)));
        }
    }
}

/// An event in a few words.
fn words(event: &Event<'_>) -> String {
    let name = kind(event);
    match event {
        Event::Send { to, brief, label, .. } => {
            format!("{name} {} to {to}", short(brief.as_deref().unwrap_or(label)))
        }
        Event::Recv { from, .. } => format!("{name} from {from}"),
        Event::Request { brief, label, .. } | Event::Reply { brief, label, .. } => {
            format!("{name} {}", short(brief.as_deref().unwrap_or(label)))
        }
        Event::Timer { label, .. } => format!("{name} {}", short(label)),
        Event::Print { line } | Event::Note { line } => format!("{name} {}", short(line)),
        Event::Link { peer, up } => format!("link to {peer} {}", if *up { "up" } else { "down" }),
        Event::Fact { fact, .. } => format!("{name} {}", short(fact)),
        _ => name.to_string(),
    }
}

fn short(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const RUN: &str = r#"{"at":0,"kind":"run","source":"node","scenario":"x","nodes":[1,2]}"#;

    fn append(path: &std::path::Path, text: &str) {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn what_is_new_is_read_once_its_line_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node-1.jsonl");
        let mut follow = Follow::new(path.clone());
        assert!(follow.read_on().is_err(), "it is not there yet");
        let start = r#"{"at":1,"node":1,"kind":"start","incarnation":1,"name":"one"}"#;
        append(&path, &format!("{RUN}\n{start}\n{{\"at\":2,\"node\":1,\"kind\":\"pri"));
        assert!(follow.read_on().unwrap());
        assert_eq!((follow.lines.len(), follow.seen.is_up), (1, true));
        assert_eq!(follow.seen.name.as_deref(), Some("one"));
        append(&path, "nt\",\"line\":\"x\"}\nno line\n");
        assert!(follow.read_on().unwrap());
        assert_eq!((follow.lines.len(), follow.broken), (2, 1));
        assert_eq!(follow.seen.last, Some((2, "print x".into())));
        assert!(!follow.read_on().unwrap());
        // Another file of its name is another trace.
        std::fs::remove_file(&path).unwrap();
        append(&path, &format!("{RUN}\n"));
        follow.read_on().unwrap();
        assert_eq!((follow.lines.len(), follow.seen.is_up), (0, false));
    }

    #[test]
    fn of_what_is_kept_no_more_what_holds_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node-1.jsonl");
        let line = |at: usize, rest: &str| format!("{{\"at\":{at},\"node\":1,{rest}}}\n");
        let fact = |n: usize| {
            format!(r#""kind":"fact","protocol":"p","fact":"F","subject":{},"value":{n}"#, n % 2)
        };
        let mut text = format!("{RUN}\n{}", line(1, r#""kind":"start","incarnation":1"#));
        text += &line(2, r#""kind":"link","peer":2,"up":true"#);
        (3..7).for_each(|n| text += &line(n, &fact(n)));
        (7..MAX_LINES + 7).for_each(|n| text += &line(n, r#""kind":"print","line":"x""#));
        append(&path, &text);
        let mut follow = Follow::new(path);
        while follow.read_on().unwrap() {}
        assert_eq!(follow.lines.len(), MAX_LINES);
        let past = follow.past.unwrap();
        let times: Vec<u64> = past.lines().iter().map(|kept| kept.at).collect();
        assert_eq!(times, [1, 2, 5, 6], "the start, the link, the last fact about each");
    }
}
