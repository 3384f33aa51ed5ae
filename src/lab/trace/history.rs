//! Runs from traces: what clients asked and were told, by the requests and replies that the nodes
//! noted, and what the nodes did. Knows no protocol, and no property.

mod timeline;

use self::timeline::Timeline;
use super::{Event, Line};
use crate::study::{Asked, Met, Run};
use crate::text::is_beginning;
use node_core::protocol_tag;
use std::collections::BTreeMap;
use std::io::BufRead;

/// How the first line of every trace begins.
const BEGINNING: &[u8] = b"{\"at\":";

/// Whether these are the first bytes of a trace rather than of another file of a run.
pub fn is_trace(head: &[u8]) -> bool {
    head.starts_with(BEGINNING)
}

/// Reads the traces of one run, which share their messages' names.
#[derive(Default)]
pub struct Traces {
    timeline: Timeline,
    /// How many connections there were in all traces.
    connections: u32,
}

/// Reads one trace's operations.
struct Reader<'a> {
    run: &'a mut Run,
    /// The operations under way, by name: their places.
    open: BTreeMap<String, usize>,
    /// Connections' numbers, by the clients' names.
    connections: BTreeMap<String, u32>,
    next_connection: &'a mut u32,
    /// The operations that clients tell of themselves, by name: their places.
    told: BTreeMap<String, usize>,
    /// Whether clients do, as all simulated ones.
    is_simulated: bool,
}

impl Traces {
    /// Adds a trace's operations to a run; an error names the line. What the nodes did is known
    /// once all traces are read.
    ///
    /// Times are the nodes': several traces make one run only when their clocks agree, as on
    /// one machine. A connection is a client.
    ///
    /// A node that was killed may have left the beginning of a last line: that is left out, and its
    /// number is answered.
    ///
    /// # Errors
    /// Which line is none of a trace, and why.
    pub fn read(
        &mut self,
        mut input: impl BufRead,
        run: &mut Run,
    ) -> Result<Option<usize>, String> {
        let mut reader = Reader {
            run,
            open: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: &mut self.connections,
            told: BTreeMap::new(),
            is_simulated: false,
        };
        let (mut buffer, mut cut) = (Vec::new(), None);
        for number in 1.. {
            let error = |why: String| format!("line {number}: {why}");
            buffer.clear();
            let read = input.read_until(b'\n', &mut buffer);
            if read.map_err(|why| error(why.to_string()))? == 0 {
                break;
            }
            if buffer.trim_ascii().is_empty() {
                continue;
            }
            if buffer.last() != Some(&b'\n') && is_beginning(&buffer) {
                cut = Some(number);
                break;
            }
            let line: Line<'_> =
                serde_json::from_slice(&buffer).map_err(|why| error(why.to_string()))?;
            self.timeline.line(&line);
            let node = line.node.unwrap_or_default();
            match line.event {
                Event::Run { source, .. } => reader.is_simulated = source == "sim",
                Event::Request { op, client, protocol, label, .. } => {
                    reader.request(&op, &client, &protocol, &label, line.at, node);
                }
                Event::Reply { op, label, .. } => reader.reply(&op, &label, line.at),
                Event::Invoke { op, client, to, twin, protocol, label } => {
                    let asked = (to, twin, &*protocol, &*label);
                    reader.invoke(&op, client, asked, line.at);
                }
                Event::Return { op, label } => reader.returned(&op, &label, line.at),
                Event::Contact { connection, what, label } => {
                    reader.contact(connection, &what, &label, line.at);
                }
                _ => {}
            }
        }
        self.timeline.end_of_trace();
        Ok(cut)
    }

    /// What the nodes did, by all the traces together.
    pub fn finish(self, run: &mut Run) {
        run.timeline = self.timeline.finish();
        run.end_ns = run.timeline.iter().map(|one| one.at).max().unwrap_or_default();
    }
}

/// Reads a trace that is all there is of a run, and whole.
///
/// # Errors
/// Which line is none of a trace, or that the last one is cut off.
pub fn read(input: impl BufRead) -> Result<Run, String> {
    let (mut traces, mut run) = (Traces::default(), Run::default());
    match traces.read(input, &mut run)? {
        None => {
            traces.finish(&mut run);
            Ok(run)
        }
        Some(line) => Err(format!("line {line}: it is cut off")),
    }
}

impl Reader<'_> {
    fn request(
        &mut self,
        name: &str,
        client: &str,
        protocol: &str,
        label: &str,
        at_ns: u64,
        node: u32,
    ) {
        // Its client tells of it.
        if self.is_simulated {
            return;
        }
        let next = &mut *self.next_connection;
        let connection = *self.connections.entry(client.to_string()).or_insert_with(|| {
            *next += 1;
            *next
        });
        let place = self.run.ask_json(Asked {
            client: connection.into(),
            connection,
            sequence: 0,
            tag: protocol_tag(protocol),
            is_seen_at_node: true,
            node: Some(node),
            is_twin: false,
            at_ns,
            request: label.as_bytes(),
        });
        self.open.insert(name.to_string(), place);
    }

    fn reply(&mut self, name: &str, label: &str, at_ns: u64) {
        if let Some(place) = self.open.remove(name) {
            self.run.answer_json(place, at_ns, label);
        }
    }

    /// A client tells of an operation of its own.
    fn invoke(
        &mut self,
        name: &str,
        client: u64,
        (to, is_twin, protocol, label): (u32, bool, &str, &str),
        at_ns: u64,
    ) {
        let number = |text: &str| text.parse().unwrap_or_default();
        let (connection, sequence) = name.split_once('-').unwrap_or((name, ""));
        let place = self.run.ask_json(Asked {
            client,
            connection: number(connection),
            sequence: number(sequence),
            tag: protocol_tag(protocol),
            is_seen_at_node: false,
            node: Some(to),
            is_twin,
            at_ns,
            request: label.as_bytes(),
        });
        self.told.insert(name.to_string(), place);
    }

    fn returned(&mut self, name: &str, label: &str, at_ns: u64) {
        if let Some(place) = self.told.get(name) {
            self.run.answer_json(*place, at_ns, label);
        }
    }

    fn contact(&mut self, connection: u32, what: &str, label: &str, at_ns: u64) {
        match what {
            "pushed" => self.run.push_json(at_ns, connection, label),
            "closed" => self.run.meet(at_ns, connection, Met::Closed),
            "left" => self.run.meet(at_ns, connection, Met::Left),
            "dozes" => self.run.meet(at_ns, connection, Met::Dozes),
            "reads" => self.run.meet(at_ns, connection, Met::Reads),
            // Of a later form of traces.
            _ => {}
        }
    }
}
