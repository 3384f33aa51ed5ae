//! What clients tell of themselves: the lines `invoke`, `return` and `contact`, which simulated
//! clients and those of real nodes write alike. Knows no protocol.

use super::{Event, LineWriter, brief};
use crate::plugins::JsonForm;
use crate::study::{Asked, Load, Met};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Lines wait for this many bytes before they are written: who measures seldom waits for the disk.
const BUFFER_BYTES: usize = 1 << 20;

impl Event<'static> {
    /// A client asks for something; none where that is of another form.
    pub fn invoke(asked: &Asked<'_>, form: &JsonForm) -> Option<Event<'static>> {
        let label = form.request_text(asked.request)?;
        Some(Event::Invoke {
            op: op_name(asked.connection, asked.sequence).into(),
            client: asked.client,
            to: asked.node?,
            twin: asked.is_twin,
            protocol: form.protocol.into(),
            brief: brief(form.brief_request(asked.request), &label),
            label: label.into(),
        })
    }

    /// The answer to what was asked on a connection reaches its client, likewise.
    pub fn returned(
        connection: u32,
        sequence: u32,
        reply: &[u8],
        form: &JsonForm,
    ) -> Option<Event<'static>> {
        let label = form.reply_text(reply)?;
        let brief = brief(form.brief_reply(reply), &label);
        Some(Event::Return { op: op_name(connection, sequence).into(), label: label.into(), brief })
    }

    /// What a client subscribed to reaches it, likewise.
    pub fn pushed(connection: u32, reply: &[u8], form: &JsonForm) -> Option<Event<'static>> {
        let (what, label) = ("pushed".into(), form.reply_text(reply)?.into());
        Some(Event::Contact { connection, what, label })
    }

    /// Something else happens to a client's connection; none for what has a line of its own.
    pub fn met(connection: u32, met: Met) -> Option<Event<'static>> {
        let what = met.word().filter(|_| !matches!(met, Met::Pushed(_)))?.into();
        Some(Event::Contact { connection, what, label: "".into() })
    }
}

/// What traces call a client's operation.
fn op_name(connection: u32, sequence: u32) -> String {
    format!("{connection}-{sequence}")
}

/// Writes what the clients of real nodes see: a trace for `node verify` and `node explain`, beside
/// those of the nodes or alone.
///
/// Times are nanoseconds since the Unix epoch, as in the nodes' traces: those of a monotonic clock
/// after [`ClientWriter::origin_ns`]. An operation's answer belongs to the last that was asked
/// under its sequence on its connection.
pub struct ClientWriter {
    lines: LineWriter,
    origin_ns: u64,
}

impl ClientWriter {
    /// Writes to `sink`, as the clients of a run that has this name and begins now; of a scenario,
    /// with the plan that they follow.
    pub fn new(sink: Box<dyn Write + Send>, scenario: &str, plan: Option<Load>) -> ClientWriter {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let mut lines = LineWriter::new(sink);
        let (source, scenario) = ("clients".into(), scenario.to_string().into());
        let (seed, clients) = plan.map(|plan| (plan.seed, plan.clients)).unzip();
        let run = Event::Run { source, scenario, seed, clients, nodes: Vec::new() };
        lines.line(origin_ns, None, None, run);
        ClientWriter { lines, origin_ns }
    }

    /// Writes to a file, which must not exist yet: a run is not to be lost by a second one.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path, scenario: &str, plan: Option<Load>) -> io::Result<ClientWriter> {
        let file = BufWriter::with_capacity(BUFFER_BYTES, File::create_new(path)?);
        Ok(ClientWriter::new(Box::new(file), scenario, plan))
    }

    /// When the run began, in nanoseconds since the Unix epoch.
    pub fn origin_ns(&self) -> u64 {
        self.origin_ns
    }

    /// A client asks a node for something. What is of another form is not written.
    pub fn ask(&mut self, asked: &Asked<'_>, form: &JsonForm) {
        self.line(asked.at_ns, Event::invoke(asked, form));
    }

    /// The answer reaches the client.
    pub fn answer(
        &mut self,
        at_ns: u64,
        connection: u32,
        sequence: u32,
        reply: &[u8],
        form: &JsonForm,
    ) {
        self.line(at_ns, Event::returned(connection, sequence, reply, form));
    }

    /// What the client subscribed to reaches it.
    pub fn push(&mut self, at_ns: u64, connection: u32, reply: &[u8], form: &JsonForm) {
        self.line(at_ns, Event::pushed(connection, reply, form));
    }

    /// Something else happens to a client's connection: it is closed, left, not read, or read on.
    pub fn meet(&mut self, at_ns: u64, connection: u32, met: Met) {
        self.line(at_ns, Event::met(connection, met));
    }

    fn line(&mut self, at_ns: u64, event: Option<Event<'static>>) {
        if let Some(event) = event {
            self.lines.line(at_ns, None, None, event);
        }
    }

    /// Whether something could not be written: half a trace would mislead whoever judges it.
    pub fn has_failed(&self) -> bool {
        self.lines.has_failed()
    }

    /// Hands over what waits, and says whether everything could be written.
    ///
    /// # Errors
    /// Not everything could be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.lines.flush()
    }
}
