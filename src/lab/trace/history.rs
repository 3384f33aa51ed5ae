//! Runs from traces: what clients asked and were told, by the requests and replies that the nodes
//! noted, and what the nodes did. Knows no protocol, and no property.

mod timeline;

use self::timeline::Timeline;
use super::{Event, Line};
use crate::study::{Asked, FileSeen, Met, Operation, Run};
use crate::text::is_beginning;
use node_core::protocol_tag;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read};

/// The longest line, in bytes: the longest value of a request, with every byte escaped.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// Reads the traces of one run, which share their messages' names.
#[derive(Default)]
pub struct Traces {
    timeline: Timeline,
    /// How many connections there were in all traces, at most.
    connections: u32,
    /// How many clients told of themselves, at most.
    clients: u64,
    /// The first time in all traces.
    begin: Option<u64>,
    /// The protocols whose clients did, by their tags.
    told: BTreeSet<u16>,
    /// What the first trace that knows of a plan says of it: the seed, and how many clients it
    /// begins with.
    plan: (Option<u64>, Option<u32>),
    /// The nodes that traces say there are, and those that they are of.
    nodes: BTreeSet<u32>,
    traced: BTreeSet<u32>,
}

/// Reads one trace's operations.
struct Reader<'a> {
    run: &'a mut Run,
    /// The operations under way, by name: their places.
    open: BTreeMap<String, usize>,
    /// Connections' numbers, by the clients' names.
    connections: BTreeMap<String, u32>,
    next_connection: &'a mut u32,
    /// What clients tell of themselves.
    told: Told<'a>,
    /// Whether all of them do, and the simulator wrote what they say.
    is_simulated: bool,
    /// Whether they are a study's, drawn from a seed: its checkers know which operations of theirs
    /// overlap.
    is_of_workload: bool,
    /// How many clients it began with.
    clients: Option<u32>,
}

/// What the clients of one trace tell of themselves. The clients and connections of different
/// traces are different ones: their numbers are moved.
struct Told<'a> {
    /// The operations under way, by name: their places.
    open: BTreeMap<String, usize>,
    /// The last operation of each client.
    last: BTreeMap<u64, usize>,
    first_connection: u32,
    first_client: u64,
    next_client: &'a mut u64,
    protocols: &'a mut BTreeSet<u16>,
}

/// What was read of a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// By how much the numbers were moved of the clients that tell of themselves.
    pub moved: u64,
    /// The number of the last line, of which only the beginning is there, as its writer was killed:
    /// it is left out.
    pub cut: Option<usize>,
}

impl Traces {
    /// The seed of the run, and how many clients it began with, where a trace says so.
    pub fn plan(&self) -> (Option<u64>, Option<u32>) {
        self.plan
    }

    /// When the run began, in nanoseconds as its traces have it: what times are from in a run that
    /// is read.
    pub fn begin(&self) -> u64 {
        self.begin.unwrap_or_default()
    }

    /// The nodes of which there is a trace.
    pub fn traced(&self) -> &BTreeSet<u32> {
        &self.traced
    }

    /// The nodes that traces say there are.
    pub fn nodes(&self) -> &BTreeSet<u32> {
        &self.nodes
    }

    /// Adds a trace's operations to a run; an error names the line. What the nodes did is known
    /// once all traces are read.
    ///
    /// Several traces make one run only when their clocks agree, as on one machine. Where clients
    /// tell what they asked of a protocol, nothing else counts as asked of it; of what only nodes
    /// saw, a connection is a client.
    ///
    /// # Errors
    /// Which line is none of a trace, and why.
    pub fn read(&mut self, mut input: impl BufRead, run: &mut Run) -> Result<Taken, String> {
        let mut reader = Reader {
            run,
            open: BTreeMap::new(),
            connections: BTreeMap::new(),
            told: Told {
                open: BTreeMap::new(),
                last: BTreeMap::new(),
                // Those that only nodes saw are numbered from 1.
                first_connection: match self.connections {
                    0 => 0,
                    last => last.saturating_add(1),
                },
                first_client: self.clients,
                next_client: &mut self.clients,
                protocols: &mut self.told,
            },
            next_connection: &mut self.connections,
            is_simulated: false,
            is_of_workload: false,
            clients: None,
        };
        let mut buffer = Vec::new();
        let mut taken = Taken { moved: 0, cut: None };
        for number in 1.. {
            let error = |why: String| format!("line {number}: {why}");
            buffer.clear();
            let mut limited = (&mut input).take(MAX_LINE_BYTES);
            let read = limited.read_until(b'\n', &mut buffer);
            let read = read.map_err(|why| error(why.to_string()))?;
            if read == 0 {
                break;
            }
            if read as u64 == MAX_LINE_BYTES && buffer.last() != Some(&b'\n') {
                return Err(error(format!("longer than {MAX_LINE_BYTES} bytes")));
            }
            if buffer.trim_ascii().is_empty() {
                continue;
            }
            if buffer.last() != Some(&b'\n') && is_beginning(&buffer) {
                taken.cut = Some(number);
                break;
            }
            let line: Line<'_> =
                serde_json::from_slice(&buffer).map_err(|why| error(why.to_string()))?;
            match &line.event {
                Event::Run { seed, clients, nodes, .. } => {
                    self.plan = (self.plan.0.or(*seed), self.plan.1.or(*clients));
                    self.nodes.extend(nodes);
                }
                Event::Start { .. } => self.traced.extend(line.node),
                _ => {}
            }
            self.timeline.line(&line);
            self.begin = Some(self.begin.map_or(line.at, |begin| begin.min(line.at)));
            reader.line(line).map_err(error)?;
        }
        if !reader.told.last.is_empty() {
            taken.moved = reader.told.first_client;
        }
        self.timeline.end_of_trace();
        Ok(taken)
    }

    /// What the nodes did, by all the traces together. Times are from their beginning.
    pub fn finish(self, run: &mut Run) {
        run.leave_to_clients(&self.told);
        (run.timeline, run.mishaps) = self.timeline.finish();
        run.begin_at(self.begin.unwrap_or_default());
        run.end_ns = run.timeline.iter().map(|one| one.at).max().unwrap_or_default();
    }
}

/// Reads a trace that is all there is of a run, and whole.
///
/// # Errors
/// Which line is none of a trace, or that the last one is cut off.
pub fn read(input: impl BufRead) -> Result<Run, String> {
    let (mut traces, mut run) = (Traces::default(), Run::default());
    match traces.read(input, &mut run)?.cut {
        None => {
            traces.finish(&mut run);
            Ok(run)
        }
        Some(line) => Err(format!("line {line}: it is cut off")),
    }
}

impl Reader<'_> {
    /// # Errors
    /// Why that cannot have happened.
    fn line(&mut self, line: Line<'_>) -> Result<(), String> {
        let node = line.node.unwrap_or_default();
        match line.event {
            Event::Run { source, seed, clients, .. } => self.begins(&source, seed, clients),
            Event::Request { op, client, protocol, label, .. } => {
                self.request(&op, &client, &protocol, &label, line.at, node);
            }
            Event::Reply { op, label, .. } => self.reply(&op, &label, line.at),
            Event::Invoke { op, client, to, twin, protocol, label, .. } => {
                let asked = (to, twin, &*protocol, &*label);
                self.invoke(&op, client, asked, line.at);
            }
            Event::Return { op, label, .. } => {
                self.returned(&op, &label, line.at)?;
            }
            Event::File { protocol, content } => {
                let (node, tag) = (node as usize, protocol_tag(&protocol));
                let bytes = content.into_owned().into_bytes();
                self.run.seen.files.push(FileSeen { at: line.at, node, tag, bytes });
            }
            Event::Print { line: said } => {
                let said = said.into_owned();
                self.run.seen.lines.push((line.at, node as usize, said));
            }
            Event::Contact { connection, what, label } => {
                self.contact(connection, &what, &label, line.at);
            }
            _ => {}
        }
        Ok(())
    }

    fn begins(&mut self, source: &str, seed: Option<u64>, clients: Option<u32>) {
        self.clients = clients;
        self.is_simulated = source == "sim";
        self.is_of_workload = seed.is_some();
    }

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
            *next = next.saturating_add(1);
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
        let is_late = self.clients.is_some_and(|clients| client >= u64::from(clients));
        let (client, tag) = (self.told.client(client), protocol_tag(protocol));
        let connection = self.connection(number(connection));
        self.told.protocols.insert(tag);
        let place = self.run.ask_json(Asked {
            client,
            connection,
            sequence: number(sequence),
            tag,
            is_seen_at_node: false,
            node: Some(to),
            is_twin,
            at_ns,
            request: label.as_bytes(),
        });
        self.run.operations[place].is_late = is_late;
        self.told.open.insert(name.to_string(), place);
        self.told.last.insert(client, place);
    }

    /// # Errors
    /// Why that cannot have happened.
    fn returned(&mut self, name: &str, label: &str, at_ns: u64) -> Result<(), String> {
        let Some(place) = self.told.open.remove(name) else { return Ok(()) };
        let Operation { client, invoke_ns, .. } = self.run.operations[place];
        if at_ns < invoke_ns {
            return Err(format!("the answer to {name} is before what was asked"));
        }
        if !self.is_of_workload && self.told.last.get(&client) != Some(&place) {
            let number = client - self.told.first_client;
            return Err(format!("client {number} has asked for more before this answer"));
        }
        self.run.answer_json(place, at_ns, label);
        Ok(())
    }

    /// The number of a connection that its client tells of.
    fn connection(&mut self, number: u32) -> u32 {
        // Only absurd numbers come near the end; two of them may then fall together.
        let number = self.told.first_connection.saturating_add(number);
        *self.next_connection = (*self.next_connection).max(number.saturating_add(1));
        number
    }

    fn contact(&mut self, connection: u32, what: &str, label: &str, at_ns: u64) {
        let connection = self.connection(connection);
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

impl Told<'_> {
    /// The number of a client that tells of itself.
    fn client(&mut self, number: u64) -> u64 {
        let number = self.first_client.saturating_add(number);
        *self.next_client = (*self.next_client).max(number.saturating_add(1));
        number
    }
}

#[cfg(test)]
mod tests;
