//! The events of this node as lines of `trace`, for `node explain` and `node verify`.
//!
//! A message has the same name at both ends: its link's (who dialled, its incarnation, its how
//! many-th dial), its direction, and its number on it. TCP keeps the order, so counting is enough.

use crate::disk::Disk;
use node_lab::check::timeline::Running;
use node_lab::config::Config;
use node_lab::trace::{self, Event, LineWriter};
use node_protocols::core::{Effect, Env, Host, NodeId, RequestId, Time};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::Path;

pub(super) struct Tracing {
    writer: LineWriter,
    node: u32,
    /// Nanoseconds since the Unix epoch at the origin of the node's monotonic clock.
    origin: u64,
    /// When the present turn began.
    at: u64,
    /// How many messages had no link to go over.
    lost: u64,
    /// Whether all lines so far could be written.
    whole: bool,
}

/// Numbers the messages of one link.
#[derive(Default)]
pub(super) struct LinkNames {
    link: String,
    sent: u64,
    received: u64,
}

impl LinkNames {
    pub(super) fn new(dialer: NodeId, incarnation: u64, dial: u64) -> LinkNames {
        LinkNames { link: format!("{dialer}.{incarnation}.{dial}"), sent: 0, received: 0 }
    }

    fn next_sent(&mut self, from: u32, to: NodeId) -> String {
        self.sent += 1;
        format!("{}:{from}>{to}:{}", self.link, self.sent)
    }

    fn next_received(&mut self, from: NodeId, to: u32) -> String {
        self.received += 1;
        format!("{}:{from}>{to}:{}", self.link, self.received)
    }
}

impl Tracing {
    pub(super) fn create(path: &Path, node: NodeId, origin: u64) -> io::Result<Tracing> {
        // A node that starts again goes on in its trace: the restart is what one wants to see.
        let mut file = File::options().create(true).read(true).append(true).open(path)?;
        cut_torn_line(&mut file)?;
        let sink = Box::new(BufWriter::new(file));
        Ok(Tracing {
            writer: LineWriter::new(sink),
            node: node.0,
            origin,
            at: origin,
            lost: 0,
            whole: true,
        })
    }

    pub(super) fn run(&mut self, config: &Config, nodes: Vec<u32>, env: &Env, host: &Host) {
        let (source, scenario) = ("node".into(), config.cluster.clone().into());
        let (seed, clients) = (None, None);
        let run = Event::Run { source, scenario, seed, clients, nodes };
        self.writer.line(self.at, None, None, run);
        let (incarnation, durable) = (env.incarnation, env.durable);
        let runs = Running::all_on(host);
        let name = config.name.clone().map(Cow::Owned);
        self.line(None, Event::Start { incarnation, durable, runs, name });
    }

    /// What is in protocols' files now.
    pub(super) fn files(&mut self, disk: Option<&Disk>, host: &Host) {
        let contents = match disk.map_or_else(|| Ok(Vec::new()), Disk::contents) {
            Ok(contents) => contents,
            Err(error) => {
                return log::warn!(target: "net", "the trace lacks what is in a file: {error}");
            }
        };
        for (tag, bytes) in contents {
            let Some(protocol) = host.name_of(tag) else { continue };
            let content = String::from_utf8_lossy(&bytes).into_owned().into();
            self.line(None, Event::File { protocol: protocol.into(), content });
        }
    }

    pub(super) fn begin_turn(&mut self, now: Time) {
        self.at = self.origin + now.0;
    }

    /// Hands a turn's lines over; a trace that cannot be written ends, the node goes on.
    pub(super) fn end_turn(&mut self, host: &Host) {
        self.writer.end_turn(self.at, self.node, host);
        if let Err(error) = self.writer.flush() {
            log::error!(target: "net", "the trace ends here, it cannot be written: {error}");
            self.whole = false;
        }
    }

    /// Whether all lines so far could be written.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    fn line(&mut self, lamport: Option<u64>, event: Event<'static>) {
        self.writer.line(self.at, Some(self.node), lamport, event);
    }

    pub(super) fn stop(&mut self) {
        self.line(None, Event::Stop);
    }

    pub(super) fn link(&mut self, peer: NodeId, up: bool) {
        self.line(None, Event::Link { peer: peer.0, up });
    }

    pub(super) fn sync(&mut self, bytes: usize) {
        self.line(None, Event::Sync { bytes: bytes as u64, ok: true });
    }

    pub(super) fn sent(
        &mut self,
        to: NodeId,
        payload: &[u8],
        names: Option<&mut LinkNames>,
        host: &Host,
    ) {
        let Some((protocol, lamport, label)) = host.describe_parts(payload) else { return };
        let id = match names {
            Some(names) => names.next_sent(self.node, to),
            None => {
                self.lost += 1;
                format!("lost:{}>{to}:{}.{}", self.node, self.origin, self.lost)
            }
        };
        let brief = trace::brief(host.brief(payload), &label);
        let (id, protocol, label) = (id.into(), protocol.into(), label.into());
        self.line(Some(lamport.0), Event::Send { id, to: to.0, protocol, label, brief });
    }

    pub(super) fn received(
        &mut self,
        from: NodeId,
        names: &mut LinkNames,
        error: Option<String>,
        host: &Host,
    ) {
        let id = names.next_received(from, self.node).into();
        match error {
            None => {
                let lamport = Some(host.lamport_of_receive().0);
                self.line(lamport, Event::Recv { id, from: from.0 });
            }
            Some(why) => self.line(None, Event::Drop { id, from: from.0, why: why.into() }),
        }
    }

    pub(super) fn request(
        &mut self,
        id: RequestId,
        addr: SocketAddr,
        place: usize,
        request: &[u8],
        host: &Host,
    ) {
        let protocol = &host.protocols()[place];
        let label = protocol.describe_request(request);
        let brief = trace::brief(protocol.brief_request(request), &label);
        let (op, client) = (self.op(id).into(), addr.to_string().into());
        let (protocol, label) = (protocol.name().into(), label.into());
        self.line(None, Event::Request { op, client, protocol, label, brief });
    }

    pub(super) fn reply(
        &mut self,
        id: RequestId,
        addr: SocketAddr,
        place: usize,
        reply: &[u8],
        host: &Host,
    ) {
        let (label, brief) = reply_text(place, reply, host);
        let (op, client) = (self.op(id).into(), addr.to_string().into());
        let protocol = host.protocols()[place].name().into();
        self.line(None, Event::Reply { op, client, protocol, label, brief });
    }

    pub(super) fn push(&mut self, addr: SocketAddr, place: usize, reply: &[u8], host: &Host) {
        let (label, brief) = reply_text(place, reply, host);
        let (client, protocol) = (addr.to_string().into(), host.protocols()[place].name().into());
        self.line(None, Event::Push { client, protocol, label, brief });
    }

    fn op(&self, id: RequestId) -> String {
        format!("{}-{}.{}-{}", self.node, id.client.slot, id.client.generation, id.sequence)
    }

    /// Effects that stay within the node.
    pub(super) fn effect(&mut self, effect: Effect, host: &Host) {
        let text = |span| String::from_utf8_lossy(host.outbox().bytes(span)).into_owned();
        match effect {
            // That the node stops is told when it does.
            Effect::Send { .. }
            | Effect::Reply { .. }
            | Effect::Over { .. }
            | Effect::Push { .. }
            | Effect::Stop { .. } => {}
            Effect::Print { line } => self.line(None, Event::Print { line: text(line).into() }),
            Effect::Note { line } => self.line(None, Event::Note { line: text(line).into() }),
            Effect::Timer { place, label } => {
                let protocol = host.protocols()[place].name().into();
                self.line(None, Event::Timer { protocol, label: text(label).into() });
            }
            Effect::Fact { place, fact } => {
                let protocol = host.protocols()[place].name();
                self.line(None, Event::of_fact(protocol, host.outbox().fact(fact)));
            }
        }
    }
}

/// What a client is told, as a label and in short.
fn reply_text(place: usize, reply: &[u8], host: &Host) -> (Text, Option<Text>) {
    let protocol = &host.protocols()[place];
    let label = protocol.describe_reply(reply);
    let brief = trace::brief(protocol.brief_reply(reply), &label);
    (label.into(), brief)
}

type Text = Cow<'static, str>;

/// A node that was killed may have left half a line; the rest of the trace is whole.
fn cut_torn_line(file: &mut File) -> io::Result<()> {
    let metadata = file.metadata()?;
    // Of a pipe or a device there is nothing to cut, and reading it may never end.
    if !metadata.is_file() {
        return Ok(());
    }
    let length = metadata.len();
    let mut tail = Vec::new();
    let from = length.saturating_sub(MAX_LINE_BYTES);
    file.seek(SeekFrom::Start(from))?;
    file.take(MAX_LINE_BYTES).read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < tail.len() {
        file.set_len(from + whole as u64)?;
    }
    Ok(())
}

/// No line of a trace is longer: the longest value of a request, every byte escaped.
const MAX_LINE_BYTES: u64 = 64 << 20;
