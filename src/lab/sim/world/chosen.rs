//! Steps of a world whose order is chosen: what the chooser says, done to nodes, links and disks,
//! and told in the trace. Knows not who chooses.

use super::super::moves::Touched;
use super::super::tracer::FaultText;
use super::chooser::Chooser;
use super::under_way::Next;
use super::{Nanos, Step, What, World};

impl World {
    /// Has a chooser say what is next, from now on; before anything happens.
    pub fn set_chooser(&mut self, chooser: Box<Chooser>) {
        self.network.take_no_time();
        self.chooser = Some(chooser);
    }

    /// The chooser, with what it kept.
    pub fn take_chooser(&mut self) -> Option<Box<Chooser>> {
        let mut chooser = self.chooser.take()?;
        chooser.close(self);
        Some(chooser)
    }

    /// Whether a chooser gave the run up.
    pub fn is_given_up(&self) -> bool {
        self.chooser.as_ref().is_some_and(|chooser| chooser.is_given_up())
    }

    /// The time that a node goes by.
    pub(super) fn time_of(&self, node: usize) -> Nanos {
        self.chooser.as_ref().map_or(self.now, |chooser| chooser.under_way.time_of(node))
    }

    /// A step has to do with a node.
    pub(super) fn touch(&mut self, node: usize) {
        if let Some(chooser) = &mut self.chooser {
            chooser.touch(Touched::node(node));
        }
    }

    /// Whether a crash finds on the disk what was being synced, if that is chosen.
    pub(super) fn fate(&mut self) -> Option<bool> {
        self.chooser.as_mut().and_then(|chooser| chooser.fate.take())
    }

    /// Lets the next thing happen that is chosen.
    pub(super) fn chosen_step(&mut self) -> Step {
        let Some(mut chooser) = self.chooser.take() else { return Step::End };
        let (next, begins) = chooser.next(self);
        if begins {
            self.now = chooser.tick(self.now);
        }
        self.chooser = Some(chooser);
        self.events += 1;
        match next {
            Next::Happens(what) => return self.chosen(what),
            Next::Late(what) => {
                if let What::Frame { from, to, .. } = what {
                    self.tell_chosen("delay", &[from.into(), to.into()], "arrives late");
                }
                return self.chosen(what);
            }
            Next::Timers(node) => {
                let at = self.nodes[node].wake_at;
                self.timers(node as u16, at);
            }
            Next::Starts(node) => self.start(node),
            Next::Crashes(node) => {
                self.tell_chosen("crash", &[node], "stops");
                self.crash(node, false);
                if let Some(chooser) = &mut self.chooser {
                    chooser.under_way.put_start(node);
                }
            }
            Next::Loses(what) => {
                if let What::Frame { from, to, id, .. } = what {
                    let (from, to) = (usize::from(from), usize::from(to));
                    self.tell_chosen("loss", &[from, to], "is lost");
                    self.tracer.lost(self.now, self.ids[from], self.ids[to], id, "loss");
                }
                self.discard(what);
            }
            Next::Copies(what, nth) => self.copy_frame(what, nth),
            Next::Holds(from, to) => self.tell_chosen("delay", &[from, to], "is held back"),
            Next::Passes => {}
            Next::Nothing => return Step::End,
        }
        Step::Inside
    }

    /// What happens; clients that are told something answer at once.
    fn chosen(&mut self, what: What) -> Step {
        let step = self.happen(what);
        let is_clients = match &step {
            Step::Reply { .. } | Step::Heard { .. } | Step::Closed { .. } => true,
            Step::Inside | Step::Wake { .. } | Step::End => false,
        };
        if let Some(chooser) = self.chooser.as_mut().filter(|_| is_clients) {
            chooser.touch(Touched::CLIENTS);
        }
        step
    }

    fn copy_frame(&mut self, what: What, nth: u32) {
        let What::Frame { from, to, generation, slot, id } = what else { return };
        self.tell_chosen("duplicate", &[from.into(), to.into()], "arrives twice");
        let copy = self.tracer.duplicate(self.now, self.ids[usize::from(to)], id);
        let bytes = self.payloads.take(slot);
        let slot_of_copy = self.payloads.put(&bytes);
        self.payloads.put_back(slot, bytes);
        self.sequence += 1;
        let (sequence, what) =
            (self.sequence, What::Frame { from, to, generation, slot: slot_of_copy, id: copy });
        if let Some(chooser) = &mut self.chooser {
            chooser.under_way.put_late(sequence, what, nth);
        }
    }

    /// A fault that was chosen, in the trace.
    fn tell_chosen(&mut self, kind: &'static str, places: &[usize], what: &str) {
        let nodes: Vec<u32> = places.iter().map(|place| self.ids[*place].0).collect();
        let whose = match nodes[..] {
            [from, to] => format!("a message {from}→{to}"),
            _ => nodes.iter().map(|id| format!("node {id}")).collect(),
        };
        let text = || FaultText {
            kind,
            nodes: if kind == "crash" { nodes.clone() } else { Vec::new() },
            label: format!("chosen: {whose} {what}"),
        };
        let (now, place) = (self.now, self.chosen_faults);
        self.chosen_faults += 1;
        self.tracer.fault(now, place, now, &text);
    }
}
