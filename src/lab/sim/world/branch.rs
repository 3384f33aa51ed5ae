//! What a branch of a run changes in the world: from a moment on all that is still to be drawn is
//! drawn anew, and single messages are lost, late or first. Until then nothing is otherwise: no
//! draw, no event, no order. Knows no plan.

use super::{Nanos, Scheduled, What, World};
use crate::sim::tracer::FaultText;
use node_core::{NodeId, Rng};
use std::collections::BTreeMap;

/// How a message fares, instead of as the network has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// It is lost where it would have arrived.
    Drop,
    /// It arrives so much later. Where links keep their order, what follows it waits behind it.
    Late(Nanos),
    /// It arrives at once, before all that is under way on its link, whatever holds that back.
    First,
}

/// The messages that fare otherwise, by their numbers.
#[derive(Default)]
pub(super) struct Diverted {
    ways: BTreeMap<u64, Diversion>,
    /// What is sent from then on fares as it does.
    until: Nanos,
}

struct Diversion {
    way: Way,
    /// Its number in the trace, among faults.
    place: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The message was not sent yet, or was lost before it set out.
    Waits,
    /// It was sent when it was too late.
    TooLate,
    /// It is under way.
    SetOut,
    /// It has fared so.
    Met,
}

impl World {
    /// Draws from now on all that is still to be drawn from other streams, which `by` names: ways,
    /// losses, syncs, crashes' fates, new links, what clients' connections do, and what nodes get
    /// at later starts. What is scheduled stays.
    pub fn redraw(&mut self, by: u64) {
        let by = match self.redrawn {
            None => by,
            Some(before) => {
                let mut both = Rng::stream(before, "sim/branch");
                both.redraw(by);
                both.next_u64()
            }
        };
        self.redrawn = Some(by);
        for node in &mut self.nodes {
            node.sync_time.redraw(by);
            node.crash_fate.redraw(by);
            node.disk.redraw(by);
        }
        for stream in &mut self.streams {
            for rng in [&mut stream.delay, &mut stream.fate, &mut stream.redial] {
                rng.redraw(by);
            }
        }
        for client in &mut self.clients {
            client.rng.redraw(by);
            client.wire.iter_mut().for_each(|wire| wire.redraw(by));
        }
        self.redraw_lies(by);
    }

    /// A stream that begins now.
    pub(super) fn stream(&self, seed: u64, label: &str) -> Rng {
        let mut rng = Rng::stream(seed, label);
        if let Some(by) = self.redrawn {
            rng.redraw(by);
        }
        rng
    }

    /// Lets time pass in which nothing happens.
    pub fn pass(&mut self, until: Nanos) {
        let next = self.next_at().unwrap_or(until);
        self.now = self.now.max(until.min(next));
    }

    /// Has the message of that number fare so, if it is sent before `until`; `place` is the number
    /// that a trace shows it by, among faults.
    pub fn divert(&mut self, id: u64, way: Way, place: usize, until: Nanos) {
        self.diverted.until = until;
        self.diverted.ways.insert(id, Diversion { way, place, state: State::Waits });
    }

    /// Why a message did not fare as it should have; none when it did.
    pub fn not_diverted(&self, id: u64) -> Option<String> {
        let state = self.diverted.ways.get(&id)?.state;
        Some(match state {
            State::Met => return None,
            State::TooLate => format!("message {id} was sent when the time for faults was over"),
            State::SetOut => format!("message {id} did not arrive, or the run was over before"),
            State::Waits if id > self.tracer.messages() => {
                format!("there is no message {id}: the run has {}", self.tracer.messages())
            }
            State::Waits => format!("message {id} was lost before it set out"),
        })
    }

    /// A frame is under way, to arrive at that time. Answers when it does.
    pub(super) fn set_out(&mut self, at: Nanos, frame: What) -> Nanos {
        let What::Frame { from, to, id, .. } = frame else { return at };
        let (now, until) = (self.now, self.diverted.until);
        let Some(one) = self.diverted.ways.get_mut(&id) else {
            self.at(at, frame);
            return at;
        };
        if now >= until {
            one.state = State::TooLate;
            self.at(at, frame);
            return at;
        }
        let (sender, receiver) = (self.ids[from as usize], self.ids[to as usize]);
        match one.way {
            Way::Drop => {
                one.state = State::SetOut;
                self.at(at, frame);
                at
            }
            Way::Late(by) => {
                self.tell_way(id, sender, receiver, now + by);
                self.at(at + by, frame);
                at + by
            }
            Way::First => {
                self.tell_way(id, sender, receiver, now);
                // Before all that has a number and happens now.
                self.queue.push(Scheduled { at: now, sequence: 0, what: frame });
                now
            }
        }
    }

    /// Whether a frame that arrives now is lost instead.
    pub(super) fn is_dropped(&mut self, id: u64, from: NodeId, to: NodeId) -> bool {
        let one = self.diverted.ways.get(&id);
        if one.is_none_or(|one| one.way != Way::Drop || one.state != State::SetOut) {
            return false;
        }
        self.tell_way(id, from, to, self.now);
        self.tracer.lost(self.now, from, to, id, "branch");
        true
    }

    /// A message fares otherwise.
    fn tell_way(&mut self, id: u64, from: NodeId, to: NodeId, until: Nanos) {
        let Some(one) = self.diverted.ways.get_mut(&id) else { return };
        one.state = State::Met;
        let (way, place) = (one.way, one.place);
        let (sender, receiver) = (self.tracer.call(from), self.tracer.call(to));
        let text = || FaultText {
            kind: way.name(),
            nodes: vec![from.0, to.0],
            label: format!("message {id} from {sender} to {receiver} {way}"),
        };
        self.tracer.fault(self.now, place, until, &text);
    }
}

impl Way {
    /// Its name among kinds of faults.
    pub fn name(self) -> &'static str {
        match self {
            Way::Drop => "drop",
            Way::Late(_) => "late",
            Way::First => "first",
        }
    }
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Way::Drop => f.write_str("is lost"),
            Way::Late(by) => write!(f, "takes {} ms more", by / 1_000_000),
            Way::First => f.write_str("arrives at once, before all others"),
        }
    }
}
