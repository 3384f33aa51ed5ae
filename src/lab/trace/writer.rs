//! Writes lines as they come, so that memory does not grow with the run.

use super::views::Views;
use super::{Event, Line};
use node_core::Host;
use std::io::{self, Write};

/// Where lines go.
pub struct LineWriter {
    sink: Box<dyn Write + Send>,
    /// The last line, which may yet get its turn's digest.
    pending: Option<Line<'static>>,
    error: Option<io::Error>,
    views: Views,
}

impl LineWriter {
    /// Writes to `sink`.
    pub fn new(sink: Box<dyn Write + Send>) -> LineWriter {
        LineWriter { sink, pending: None, error: None, views: Views::default() }
    }

    /// Adds a line.
    pub fn line(
        &mut self,
        at: u64,
        node: Option<u32>,
        lamport: Option<u64>,
        event: Event<'static>,
    ) {
        self.write_pending();
        if let (Event::Start { .. }, Some(node)) = (&event, node) {
            self.views.forget(node);
        }
        self.pending = Some(Line { at, node, lamport, digest: None, event });
    }

    /// A node's turn ends: the digest of its state goes with the turn's last line, and after it
    /// comes what of the state can be seen and has changed.
    pub fn end_turn(&mut self, at: u64, node: u32, host: &Host) {
        if let Some(line) = self.pending.as_mut().filter(|line| line.node == Some(node)) {
            line.digest = Some(format!("{:016x}", host.digest()).into());
        }
        for event in self.views.changed(node, host) {
            self.line(at, Some(node), None, event);
        }
    }

    /// Whether something could not be written.
    pub fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    /// Hands over what there is, and says whether everything so far could be written; the first
    /// failure ends the writing.
    ///
    /// # Errors
    /// Not everything could be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.write_pending();
        match self.error.take() {
            Some(error) => {
                self.sink = Box::new(io::sink());
                Err(error)
            }
            None => self.sink.flush(),
        }
    }

    fn write_pending(&mut self) {
        let Some(line) = self.pending.take().filter(|_| self.error.is_none()) else { return };
        let written = serde_json::to_writer(&mut self.sink, &line).map_err(io::Error::from);
        if let Err(error) = written.and_then(|()| self.sink.write_all(b"\n")) {
            self.error = Some(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use node_core::{Env, LamportRule, NodeId, Now, erase};
    use node_protocols::bully::{Bully, Config};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panics with it").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_state_is_seen_at_a_start_and_when_it_changes_and_never_otherwise() {
        let (id, peers) = (NodeId(1), vec![]);
        let env = Env { id, peers, incarnation: 1, identity: 1, seed: 1, durable: false };
        let bully = erase::<Bully>(Config::default(), &env).expect("the config is right");
        let mut host = Host::new(&env, vec![bully], LamportRule::MaxPlusOne);
        let lines = Lines::default();
        let mut writer = LineWriter::new(Box::new(lines.clone()));
        let start = || {
            let (durable, runs, name) = (false, Vec::new(), None);
            Event::Start { incarnation: 1, durable, runs, name }
        };
        for turn in 0..3 {
            writer.line(turn, Some(1), None, start());
            writer.end_turn(turn, 1, &host);
            writer.line(turn, Some(1), None, Event::Pause { on: true });
            writer.end_turn(turn, 1, &host);
        }
        host.handle_start(Now::default());
        writer.line(3, Some(1), None, Event::Pause { on: false });
        writer.end_turn(3, 1, &host);
        writer.flush().expect("memory takes it");
        let text = String::from_utf8(lines.0.lock().expect("nobody panics with it").clone());
        let text = text.expect("a trace is text");
        let lines =
            text.lines().map(|line| serde_json::from_str::<Line<'_>>(line).expect("a line"));
        let shown = lines.map(|line| match line.event {
            Event::View { value, .. } => value["phase"].as_str().expect("a word").to_string(),
            event => {
                format!("{}{}", crate::explain::kind(&event), ["", "="][line.digest.iter().len()])
            }
        });
        let once = ["start=", "starting", "pause="];
        let all = [&once[..], &once, &once, &["pause=", "normal"]].concat();
        assert_eq!(shown.collect::<Vec<_>>(), all);
    }
}
