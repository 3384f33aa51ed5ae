//! The run as a log for [ShiViz](https://bestchai.bitbucket.io/shiviz/): per event a line with
//! the host and its vector clock as JSON, and a line that describes it.
//!
//! The first line is the parser expression, the second the (empty) delimiter of executions, as
//! ShiViz wants them in a file that is uploaded. Clocks are computed from the trace: an event
//! ticks its node's entry, a receipt takes over what the sender knew. What the network and the
//! simulator do are events of hosts of their own, `network` and `run`: a lost message ends at
//! `network`, a copy starts there.

use super::text::detail;
use super::{Entry, Merged, kind};
use crate::trace::Event;
use node_core::Escaped;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

/// What ShiViz must be told to read the log.
pub const PARSER: &str = r"(?<host>\S*) (?<clock>{.*})\n(?<event>.*)";

/// Writes the log.
///
/// # Errors
/// Those of `out`.
pub fn write(run: &Merged, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{PARSER}\n")?;
    let mut clocks = Clocks::of(run);
    // Clients have no clocks: what they say stands at the nodes, too.
    let of_nodes = |(_, entry): &(usize, &Entry)| !entry.line.event.is_of_client();
    for (index, entry) in run.entries.iter().enumerate().filter(of_nodes) {
        let host = clocks.turn(index, entry);
        let text = format!("{} {}", kind(&entry.line.event), detail(run, entry));
        writeln!(out, "{} {}", clocks.name(host), clocks.json(host))?;
        writeln!(out, "{}", Escaped(text.trim_end().as_bytes()))?;
    }
    Ok(())
}

/// What a host knows of each; hosts that it knows nothing of are left out, so that a trace that
/// names very many costs no more than it uses.
type Clock = BTreeMap<usize, u64>;

/// The vector clocks: one of each host, and those at the events that others follow from.
struct Clocks<'a> {
    nodes: &'a [u32],
    now: Vec<Clock>,
    then: Vec<Option<Clock>>,
}

impl<'a> Clocks<'a> {
    fn of(run: &'a Merged) -> Self {
        let now = vec![Clock::new(); run.nodes.len() + 2];
        Clocks { nodes: &run.nodes, now, then: vec![None; run.entries.len()] }
    }

    /// Moves the clock of the event's host, and says which that is.
    fn turn(&mut self, index: usize, entry: &Entry) -> usize {
        let (network, run) = (self.nodes.len(), self.nodes.len() + 1);
        let host = match (&entry.line.event, entry.line.node) {
            (Event::Drop { .. } | Event::Duplicate { .. }, _) => network,
            (Event::Fault { .. } | Event::Violation { .. } | Event::Run { .. }, _) => run,
            (_, Some(node)) => self.nodes.binary_search(&node).unwrap_or(run),
            (_, None) => run,
        };
        let cause = entry.cause.and_then(|cause| self.then[cause].as_ref());
        let now = &mut self.now[host];
        for (other, known) in cause.into_iter().flatten() {
            let value = now.entry(*other).or_default();
            *value = (*value).max(*known);
        }
        *now.entry(host).or_default() += 1;
        if matches!(entry.line.event, Event::Send { .. } | Event::Duplicate { .. }) {
            self.then[index] = Some(now.clone());
        }
        host
    }

    fn name(&self, host: usize) -> String {
        match self.nodes.get(host) {
            Some(node) => format!("n{node}"),
            None if host == self.nodes.len() => "network".into(),
            None => "run".into(),
        }
    }

    fn json(&self, host: usize) -> String {
        let mut json = String::from("{");
        for (other, value) in &self.now[host] {
            let comma = if json.len() > 1 { ", " } else { "" };
            let _ = write!(json, "{comma}\"{}\":{value}", self.name(*other));
        }
        json.push('}');
        json
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Source, merge};

    #[test]
    fn clocks_follow_messages_copies_and_losses() {
        let text = concat!(
            r#"{"at":0,"kind":"run","source":"sim","scenario":"s","nodes":[1,2]}"#,
            "\n",
            r#"{"at":1,"node":1,"kind":"send","id":"a","to":2,"protocol":"p","label":"A {}"}"#,
            "\n",
            r#"{"at":1,"kind":"duplicate","id":"a2","of":"a"}"#,
            "\n",
            r#"{"at":2,"node":2,"kind":"timer","protocol":"p","label":"t"}"#,
            "\n",
            r#"{"at":3,"node":2,"kind":"recv","id":"a","from":1}"#,
            "\n",
            r#"{"at":4,"node":2,"kind":"recv","id":"a2","from":1}"#,
            "\n",
            r#"{"at":5,"node":2,"kind":"send","id":"b","to":1,"protocol":"p","label":"B\nx"}"#,
            "\n",
            r#"{"at":6,"node":1,"kind":"drop","id":"b","from":2,"why":"loss"}"#,
            "\n",
            r#"{"at":7,"node":1,"kind":"crash"}"#,
            "\n",
        );
        let sources = [Source { name: "s".into(), text: text.into() }];
        let run = merge(&sources).unwrap();
        let mut out = Vec::new();
        super::write(&run, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[..2], [super::PARSER, ""]);
        let clocks: Vec<&str> = lines[2..].iter().step_by(2).copied().collect();
        assert_eq!(
            clocks,
            [
                r#"n1 {"n1":1}"#,
                r#"network {"n1":1, "network":1}"#,
                r#"n2 {"n2":1}"#,
                r#"n2 {"n1":1, "n2":2}"#,
                r#"n2 {"n1":1, "n2":3, "network":1}"#,
                r#"n2 {"n1":1, "n2":4, "network":1}"#,
                r#"network {"n1":1, "n2":4, "network":2}"#,
                r#"n1 {"n1":2}"#,
            ]
        );
        assert_eq!(lines[13], r"send -> 1 [b] p: B\nx");
    }
}
